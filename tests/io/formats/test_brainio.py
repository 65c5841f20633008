"""BrainIO assemblies: presentations, neuroids, regions, repetitions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import no_compute, shuffled
from tests.io.formats.sets import DATA, assembly
from xconverge.io.formats._presentations import trial_means

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")

SHARED = Path(__file__).parents[4] / "shared" / "data" / "brainio"
FILES = {
    "assy_test_TestMe": ("data", "stimulus_id", "mean"),
    "assy_test_package_assembly": ("__xarray_dataarray_variable__", "image_id", "error"),
    "alexnet-probabilities": ("__xarray_dataarray_variable__", "image_id", "error"),
}


def plain_means(array, key="stimulus_id"):
    """Mean of each stimulus and neuroid over the trials with a value, by loops."""
    means = {}
    for stimulus in dict.fromkeys(array[key].values):
        row = []
        for neuroid in range(array.sizes["neuroid"]):
            trials = [
                float(array.values[p, neuroid])
                for p in range(array.sizes["presentation"])
                if array[key].values[p] == stimulus and not np.isnan(array.values[p, neuroid])
            ]
            row.append(sum(trials) / len(trials) if trials else np.nan)
        means[stimulus] = row
    return means


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_what_a_plain_reading_gives(name):
    variable, key, repetitions = FILES[name]
    reps = xc.io.read_brainio(DATA / f"{name}.nc", repetitions=repetitions)
    assert reps.name == "representation"
    assert reps.dims[:3] == ("model", "stimulus", "feature")
    assert reps.model.values.tolist() == [name]
    with h5py.File(DATA / f"{name}.nc") as file:
        values, ids = file[variable][()], [text.decode() for text in file[key][()]]
    for stimulus in set(ids):
        rows = [values[i].astype(float) for i, other in enumerate(ids) if other == stimulus]
        expected = sum(rows) / len(rows)
        found = reps.sel(stimulus=stimulus).isel(model=0).values
        np.testing.assert_array_equal(found, expected)
    assert reps.stimulus.values.tolist() == list(dict.fromkeys(ids))


def test_what_becomes_what_in_the_real_files(tmp_path):
    reps = xc.io.read_brainio(DATA / "assy_test_package_assembly.nc", modality="brain")
    assert dict(reps.sizes) == {"model": 1, "stimulus": 6, "feature": 3, "time_bin": 1}
    assert reps.time_bin.values.tolist() == ["0-10"]
    assert reps.time_bin_end.values.tolist() == [10]
    assert reps.neuroid_id.values.tolist() == ["A", "B", "C"]
    assert reps.neuroid_id.dims == ("feature",)
    assert reps.image_type.values.tolist() == ["foo"] * 6
    xc.write_representations(tmp_path / "s.zarr", reps)
    xr.testing.assert_identical(xc.open_representations(tmp_path / "s.zarr", "brain").load(), reps)
    choices = xc.io.read_brainio(DATA / "alexnet-probabilities.nc", model="alexnet")
    assert dict(choices.sizes) == {"model": 1, "stimulus": 240, "feature": 24}
    assert choices.choice_.values[-1] == "zebra"
    assert choices.dtype == np.float32


def test_the_real_file_with_repetitions():
    path = DATA / "assy_test_TestMe.nc"
    with pytest.raises(xc.SchemaError, match=r"2 of 4 stimuli.*n0 \(2 times\).*'mean'.*'keep'"):
        xc.io.read_brainio(path)
    kept = xc.io.read_brainio(path, repetitions="keep")
    # `repetition` is 1 for both presentations of n0: order of appearance numbers them
    assert kept.repetition.values.tolist() == [0, 1]
    assert kept.sel(stimulus="n0", repetition=1).values.tolist() == [[10, 11, 12]]
    assert np.isnan(kept.sel(stimulus="n9", repetition=1)).all()
    assert kept.n_repetitions.values.tolist() == [2, 2, 1, 1]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared folder is not there")
def test_the_shipped_files_are_the_shared_ones():
    for name in FILES:
        assert (SHARED / f"{name}.nc").read_bytes() == (DATA / f"{name}.nc").read_bytes()


@pytest.mark.parametrize("lazy", [False, True])
def test_means_are_those_of_loops(lazy):
    array = assembly()
    array.values[2, 1] = array.values[7, 0] = np.nan
    expected = plain_means(array)
    reps = xc.io.from_brainio(
        array.chunk(presentation=4, neuroid=3) if lazy else array, repetitions="mean"
    )
    assert (reps.chunks is not None) == lazy
    assert reps.model.values.tolist() == ["dicarlo.Test"]
    for stimulus, row in expected.items():
        np.testing.assert_allclose(
            reps.sel(model="dicarlo.Test", stimulus=stimulus).values, row, rtol=1e-13
        )
    assert reps.n_repetitions.values.tolist() == [3] * 5
    assert set(reps.coords) == {
        "model", "stimulus", "stimulus_id", "category", "n_repetitions", "neuroid_id", "region",
        "animal", "depth",
    }  # fmt: skip


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_presentations_changes_no_digit(seed):
    array = assembly()
    array.values[3, 2] = np.nan
    other = shuffled(array, seed, "presentation")
    one = xc.io.from_brainio(array, repetitions="mean")
    two = xc.io.from_brainio(other, repetitions="mean")
    xr.testing.assert_identical(two.sel(stimulus=one.stimulus), one)
    whole = array.fillna(0.0)
    one = xc.io.from_brainio(whole, repetitions="keep")
    two = xc.io.from_brainio(shuffled(whole, seed, "presentation"), repetitions="keep")
    xr.testing.assert_identical(two.sel(stimulus=one.stimulus), one)


@given(
    codes=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    data=st.data(),
)
def test_trial_means_against_a_loop(codes, data):
    _, codes = np.unique(codes, return_inverse=True)
    number = st.floats(-1e3, 1e3) | st.just(np.nan)
    x = np.array(
        data.draw(st.lists(st.lists(number, min_size=len(codes), max_size=len(codes)),
                           min_size=2, max_size=2))
    )  # fmt: skip
    found = trial_means(x, codes=codes, n_stimuli=codes.max() + 1, dtype=np.float64)
    for row in range(2):
        for i in range(codes.max() + 1):
            trials = [v for v, c in zip(x[row], codes, strict=True) if c == i and v == v]
            expected = sum(trials) / len(trials) if trials else np.nan
            np.testing.assert_allclose(found[row, i], expected, rtol=1e-12, atol=1e-9)


def test_kept_repetitions_go_by_their_number():
    array = assembly()
    kept = xc.io.from_brainio(array, repetitions="keep", model="m")
    assert kept.dims == ("model", "stimulus", "feature", "repetition")
    for p in range(array.sizes["presentation"]):
        one = array.isel(presentation=p)
        found = kept.sel(
            model="m", stimulus=one.stimulus_id.item(), repetition=one.repetition.item()
        )
        np.testing.assert_array_equal(found.values, one.values)
    assert kept.trial.dims == ("stimulus", "repetition")
    for p in range(array.sizes["presentation"]):
        one = array.isel(presentation=p)
        where = {"stimulus": one.stimulus_id.item(), "repetition": one.repetition.item()}
        assert kept.trial.sel(where).item() == one.trial.item()


def test_nothing_is_computed_of_a_lazy_assembly():
    array = assembly().chunk(presentation=4, neuroid=2)
    with no_compute():
        for repetitions in ("mean", "keep"):
            reps = xc.io.from_brainio(array, repetitions=repetitions, by="region")
    expected = xc.io.from_brainio(array.compute(), repetitions="keep", by="region")
    xr.testing.assert_identical(reps.compute(), expected)


def test_a_faulty_row_of_a_lazy_assembly_is_said_when_it_is_read():
    array = assembly(repeats=1)
    array.values[0, 0] = np.nan
    reps = xc.io.from_brainio(array.chunk(presentation=2), model="m")
    with pytest.raises(xc.SchemaError, match="NaN inside a row"):
        xc.validate(reps)


@pytest.mark.slow
def test_regions_and_models_by_coordinate(tmp_path):
    array = assembly(n_neuroids=5, repeats=1)
    only = xc.io.from_brainio(array, region="IT")
    assert only.model.values.tolist() == ["IT"]
    assert only.neuroid_id.values.tolist() == ["n1", "n3"]
    both = xc.io.from_brainio(array, region=["IT", "V4"], model="both")
    assert both.sizes["feature"] == 5
    reps = xc.io.from_brainio(array, by="region", modality="brain")
    assert reps.model.values.tolist() == ["V4", "IT"]
    assert reps.n_features.values.tolist() == [3, 2]
    assert reps.region.dims == reps.animal.dims == ("model",)
    assert reps.neuroid_id.values.tolist() == [["n0", "n2", "n4"], ["n1", "n3", ""]]
    np.testing.assert_array_equal(reps.depth.values, [[0, 20, 40], [10, 30, np.nan]])
    for region in ("V4", "IT"):
        expected = array.isel(neuroid=array.region.values == region).values
        width = int(reps.n_features.sel(model=region))
        np.testing.assert_array_equal(reps.sel(model=region).values[:, :width], expected)
    xc.write_representations(tmp_path / "s.zarr", reps)
    xr.testing.assert_identical(xc.open_representations(tmp_path / "s.zarr", "brain").load(), reps)
    pairs = xc.io.from_brainio(array, by=["animal", "region"])
    assert pairs.model.values.tolist() == ["monkey/V4", "monkey/IT"]
    # measures take it as it is
    assert xc.rdm(reps).sizes == {"model": 2, "stimulus": 5, "stimulus_2": 5}


def test_what_is_ambiguous_is_refused():
    array = assembly(repeats=1)
    with pytest.raises(xc.SchemaError, match=r"no region 'LIP'; it has 'IT', 'V4'"):
        xc.io.from_brainio(array, region="LIP")
    with pytest.raises(xc.SchemaError, match=r"'region' on 'neuroid'; there is 'neuroid_id'"):
        xc.io.from_brainio(array.drop_vars("region"), region="IT")
    with pytest.raises(xc.SchemaError, match=r"stimulus_id='…': there is 'category', 'trial'"):
        xc.io.from_brainio(array.drop_vars("stimulus_id"))
    with pytest.raises(xc.SchemaError, match="'sex' is not one; there is 'stimulus_id'"):
        xc.io.from_brainio(array, stimulus_id="sex")
    two = array.assign_coords(image_id=("presentation", list("abcde")))
    with pytest.raises(xc.SchemaError, match="'stimulus_id', 'image_id' on .* differ"):
        xc.io.from_brainio(two)
    assert xc.io.from_brainio(two, stimulus_id="image_id").stimulus.values.tolist() == list("abcde")
    with pytest.raises(xc.SchemaError, match="dim 'presentation' and one of 'neuroid', 'choice'"):
        xc.io.from_brainio(array.rename(neuroid="cell"))
    with pytest.raises(xc.SchemaError, match="name it with model="):
        xc.io.from_brainio(array.drop_attrs())
    with pytest.raises(ValueError, match="give one of them"):
        xc.io.from_brainio(array, model="m", by="region")
    with pytest.raises(xc.SchemaError, match="by must name coordinates on 'neuroid'.*'sex'"):
        xc.io.from_brainio(array, by="sex")
    with pytest.raises(ValueError, match="repetitions='all'"):
        xc.io.from_brainio(array, repetitions="all")
    with pytest.raises(TypeError, match="DataArray or Dataset, got ndarray"):
        xc.io.from_brainio(array.values)
    with pytest.raises(xc.SchemaError, match="'stimulus_id' has missing labels"):
        xc.io.from_brainio(array.assign_coords(stimulus_id=("presentation", [1, 2, 3, 4, np.nan])))
    ids = np.array([1, "1", 1, "1", 1], dtype=object)
    with pytest.raises(xc.SchemaError, match="2 labels that are 1 as text"):
        xc.io.from_brainio(
            array.assign_coords(stimulus_id=("presentation", ids)), repetitions="mean"
        )


def test_neuroids_that_were_not_recorded():
    array = assembly(n_stimuli=3, repeats=2)
    gone = np.flatnonzero(array.stimulus_id.values == "bild_ü1")
    array.values[gone, 2] = np.nan
    with pytest.raises(xc.SchemaError, match=r"1 of 4 features: 'n2'; stimuli 'bild_ü1'"):
        xc.io.from_brainio(array, repetitions="mean")
    with pytest.raises(xc.SchemaError, match=r"model 'V4', 1 of 2 features: 'n2'"):
        xc.io.from_brainio(array, repetitions="mean", by="region")
    array.values[gone] = np.nan
    reps = xc.io.from_brainio(array, repetitions="mean")
    assert np.isnan(reps.sel(stimulus="bild_ü1")).all()
    assert not np.isnan(reps.drop_sel(stimulus="bild_ü1")).any()
    assert reps.n_repetitions.sel(stimulus="bild_ü1") == 2
    array.values[:] = 1.0
    array.values[0, 0], array.values[1, 0] = np.inf, -np.inf
    with pytest.raises(xc.SchemaError, match="infinity"):
        xc.io.from_brainio(array, repetitions="mean")


def test_multi_indexed_assemblies_are_the_same():
    array = assembly().expand_dims(time_bin=2, axis=2).assign_coords(
        time_bin_start=("time_bin", [-50, 70]), time_bin_end=("time_bin", [0, 170])
    )  # fmt: skip
    levels = {
        dim: [n for n, c in array.coords.items() if c.dims == (dim,)]
        for dim in ("presentation", "neuroid", "time_bin")
    }
    indexed = array.set_index(append=True, **levels)
    assert len(indexed.indexes["presentation"].names) == 4
    flat = xc.io.from_brainio(array, repetitions="mean", by="region")
    xr.testing.assert_identical(xc.io.from_brainio(indexed, repetitions="mean", by="region"), flat)
    assert flat.time_bin.values.tolist() == ["-50-0", "70-170"]
    np.testing.assert_array_equal(flat.isel(time_bin=0), flat.isel(time_bin=1))


def test_ids_that_are_no_text():
    array = assembly(repeats=1)
    for ids, expected in (
        ([3, 1, 2, 10, 0], ["3", "1", "2", "10", "0"]),
        ([3.0, 0.5, 2.0, 1e20, -0.0], ["3", "0.5", "2", "100000000000000000000", "0"]),
        ([b"\xc3\xa9", b"b", b"c", b"d", b"e"], ["é", "b", "c", "d", "e"]),
        ([True, False, 2, 3, 4.5], None),
    ):
        values = np.array(ids) if expected else np.array(ids, dtype=object)
        reps = xc.io.from_brainio(array.assign_coords(stimulus_id=("presentation", values)))
        assert reps.stimulus.values.tolist() == (expected or ["True", "False", "2", "3", "4.5"])
    bad = np.array([b"\xff", b"b", b"c", b"d", b"e"])
    with pytest.raises(xc.SchemaError, match="not text in UTF-8"):
        xc.io.from_brainio(array.assign_coords(stimulus_id=("presentation", bad)))


def test_foreign_names_that_are_ours_and_attrs_that_are_no_data():
    array = assembly(repeats=1).assign_coords(
        model=("neuroid", ["vit"] * 4), stimulus=("presentation", list("abcde"))
    )
    array.attrs = {"stimulus_set": pd.DataFrame(), "identifier": b"caf\xc3\xa9", "n": np.int64(2)}
    reps = xc.io.from_brainio(array)
    assert reps.attrs == {"identifier": "café", "n": 2}
    assert reps.model.values.tolist() == ["café"]
    assert reps.source_model.values.tolist() == ["vit"] * 4
    assert reps.source_stimulus.values.tolist() == list("abcde")
    assert xc.io.from_brainio(array, by="model").model.values.tolist() == ["vit"]
    assert xc.io.from_brainio(array, stimulus_id="stimulus").stimulus.values.tolist() == list(
        "abcde"
    )


def test_the_variable_of_a_dataset():
    array = assembly(repeats=1)
    data = array.rename("rates").to_dataset().reset_coords(["region", "stimulus_id"])
    assert xc.io.from_brainio(data, region="IT").sizes["feature"] == 2
    several = data.assign(counts=data.rates * 2)
    with pytest.raises(xc.SchemaError, match="variable='…'.*'rates'.*'counts'"):
        xc.io.from_brainio(several)
    chosen = xc.io.from_brainio(several, variable="counts", model="m")
    np.testing.assert_array_equal(chosen.values[0], array.values * 2)
    assert xc.io.from_brainio(several.assign(data=data.rates * 3), model="m").values[0, 0, 0] == (
        3 * array.values[0, 0]
    )
    with pytest.raises(xc.SchemaError, match="no variable 'spikes'"):
        xc.io.from_brainio(several, variable="spikes")


def test_the_input_is_left_as_it_was():
    array = assembly()
    before = array.copy(deep=True)
    array.values.flags.writeable = False
    for repetitions in ("mean", "keep"):
        xc.io.from_brainio(array, repetitions=repetitions, by="region", modality="brain")
    xr.testing.assert_identical(array, before)


def test_netcdf_3_is_read_as_netcdf_4(tmp_path):
    array = assembly().rename("data")
    array.to_netcdf(tmp_path / "new.nc", engine="h5netcdf")
    array.to_netcdf(tmp_path / "old.nc", engine="scipy")
    assert (tmp_path / "old.nc").read_bytes()[:3] == b"CDF"
    new = xc.io.read_brainio(tmp_path / "new.nc", repetitions="mean")
    xr.testing.assert_identical(xc.io.read_brainio(tmp_path / "old.nc", repetitions="mean"), new)
    xr.testing.assert_identical(new, xc.io.from_brainio(array, repetitions="mean"))
    assert new.model.values.tolist() == ["dicarlo.Test"]


@pytest.mark.slow
def test_sessions_and_trials_ride_along_with_their_repetitions(tmp_path):
    array = xr.DataArray(
        np.arange(24.0).reshape(6, 4),
        dims=("presentation", "neuroid"),
        coords={
            "stimulus_id": ("presentation", ["a", "b", "a", "c", "b", "a"]),
            "session": ("presentation", [1, 1, 1, 2, 2, 2]),
            "task": ("presentation", ["go", "go", "stop", "go", "go", "go"]),
            "category": ("presentation", ["x", "y", "x", "y", "y", "x"]),
            "region": ("neuroid", ["IT", "V4", "IT", "IT"]),
        },
    )
    kept = xc.io.from_brainio(array, by="region", repetitions="keep", modality="brain")
    np.testing.assert_array_equal(kept.session, [[1, 1, 2], [1, 2, np.nan], [2, np.nan, np.nan]])
    assert kept.task.values.tolist() == [["go", "stop", "go"], ["go", "go", ""], ["go", "", ""]]
    assert kept.category.dims == ("stimulus",)
    xc.validate(kept)
    assert kept.sel(stimulus="c").isel(repetition=slice(1, None)).isnull().all()
    xc.write_representations(tmp_path / "s.zarr", kept)
    again = xc.open_representations(tmp_path / "s.zarr", "brain").load()
    xr.testing.assert_identical(again.transpose(*kept.dims), kept)
    mean = xc.io.from_brainio(array, by="region", repetitions="mean")
    assert "session" not in mean.coords
    # rdms of each repetition carry them too
    assert xc.rdm(kept, "euclidean").session.dims == ("stimulus", "repetition")


def test_neuroids_of_some_trials_are_left_out_by_name():
    array = xr.DataArray(
        np.arange(12.0).reshape(4, 3),
        dims=("presentation", "neuroid"),
        coords={"stimulus_id": ("presentation", ["a", "b", "a", "b"])},
    )
    array[:, 2] = np.nan
    whole = xc.io.from_brainio(array, repetitions="keep", model="IT")
    assert whole.sizes["feature"] == 2
    array[1, 0] = np.nan
    with pytest.raises(xc.SchemaError, match=r"1 of 3 features: '0'; stimuli 'b'.*gaps='drop'"):
        xc.io.from_brainio(array, repetitions="keep", model="IT")
    with pytest.warns(RuntimeWarning, match="1 of 2 of model 'IT'"):
        some = xc.io.from_brainio(array, repetitions="keep", model="IT", gaps="drop")
    assert some.sel(model="IT", stimulus="b").values.tolist() == [[4.0, 10.0]]
