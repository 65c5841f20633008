"""Any labelled array by its dims, and netCDF both ways."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from xconverge.labels.messages import bare

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")


def activations():
    return xr.DataArray(
        np.arange(24.0).reshape(2, 3, 4),
        dims=("image", "channel", "x"),
        coords={
            "image": [12, 7],
            "channel": ["r", "g", "b"],
            "caption": ("image", ["Katze", "Hündin"]),
            "depth": ("channel", [1, 2, 3]),
        },
        name="conv1",
    )


def test_dims_by_name():
    reps = xc.from_xarray(activations(), stimulus="image", feature=["channel", "x"])
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.model.values.tolist() == ["conv1"]
    assert reps.stimulus.values.tolist() == ["12", "7"]
    assert reps.caption.values.tolist() == ["Katze", "Hündin"]
    for c in range(3):
        for x in range(4):
            at = c * 4 + x
            np.testing.assert_array_equal(reps.values[0, :, at], activations().values[:, c, x])
            assert reps.channel.values[at] == "rgb"[c]
            assert reps.depth.values[at] == c + 1
    other = xc.from_xarray(activations(), stimulus="image", feature=["x", "channel"])
    assert other.values[0, 0, 1] == activations().values[0, 1, 0]
    maps = xc.from_xarray(activations(), stimulus="image", feature="channel", model="net")
    assert maps.dims == ("model", "stimulus", "feature", "x")
    assert maps.channel.dims == ("feature",)


def test_a_dim_with_a_name_near_to_ours_is_told():
    betas = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 3, 4, 5)),
        dims=("Subj", "rep", "image", "voxel"),
        coords={"image": list("abcd"), "Subj": ["s1", "s2"]},
    )
    given = {"model": "brain", "stimulus": "image", "feature": "voxel"}
    with pytest.warns(UserWarning, match=r"\.rename\(Subj='subject', rep='repetition'\)"):
        reps = xc.from_xarray(betas, **given)
    assert set(reps.dims) == {"model", "Subj", "rep", "stimulus", "feature"}
    named = betas.rename(Subj="subject", rep="repetition")
    assert xc.from_xarray(named, **given).sizes["repetition"] == 3
    # what is named by the call is known, and beside our own name it is something else
    xc.from_xarray(betas.isel(rep=0), **given | {"model": "Subj"})
    xc.from_xarray(betas.rename(rep="subject", Subj="day"), **given)
    xc.from_xarray(betas.rename(rep="subject").isel(subject=[0]), **given)


def test_a_dim_of_models_and_labels_from_a_coordinate():
    array = xr.DataArray(
        np.ones((2, 3, 4), np.float32),
        dims=("net", "stimulus", "unit"),
        coords={
            "net": [1, 2],
            "stimulus": [5, 6, 7],
            "image_id": ("stimulus", ["a", "b", "c"]),
            "model": ("net", ["vit", "cnn"]),
            "unit": [10, 20, 30, 40],
        },
    )
    reps = xc.from_xarray(array, model="net", stimulus="image_id", feature="unit", modality="v")
    assert reps.model.values.tolist() == ["1", "2"]
    assert reps.source_model.values.tolist() == ["vit", "cnn"]
    assert reps.stimulus.values.tolist() == ["a", "b", "c"]
    assert reps.source_stimulus.values.tolist() == [5, 6, 7]
    assert reps.unit.values.tolist() == [10, 20, 30, 40]
    assert reps.dtype == np.float32
    assert reps.attrs["modality"] == "v"
    xc.validate(reps)
    indexed = array.drop_vars("stimulus").assign_coords(number=("stimulus", [5, 6, 7]))
    indexed = indexed.set_index(stimulus=["number", "image_id"])
    assert indexed.indexes["stimulus"].nlevels == 2
    flat = xc.from_xarray(indexed, model="net", stimulus="image_id", feature="unit")
    assert flat.stimulus.values.tolist() == ["a", "b", "c"]
    assert flat.number.values.tolist() == [5, 6, 7]


def test_a_lazy_array_stays_lazy():
    with no_compute():
        reps = xc.from_xarray(
            activations().chunk(image=1), stimulus="image", feature=["channel", "x"]
        )
    assert reps.chunks is not None
    expected = xc.from_xarray(activations(), stimulus="image", feature=["channel", "x"])
    xr.testing.assert_identical(reps.compute(), expected)


def test_arrays_that_do_not_fit():
    array = activations()
    with pytest.raises(
        xc.SchemaError, match=r"has the dims \['image', 'channel', 'x'\], and 'stim"
    ):
        xc.from_xarray(array, feature="channel")
    with pytest.raises(xc.SchemaError, match="no labels on 'x'"):
        xc.from_xarray(array, stimulus="x", feature=["image", "channel"])
    with pytest.raises(xc.SchemaError, match="what its model is called"):
        xc.from_xarray(array.rename(None), stimulus="image", feature=["channel", "x"])
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'stimulus': '7'"):
        xc.from_xarray(array.assign_coords(image=[7, 7]), stimulus="image", feature="channel")
    with pytest.raises(xc.SchemaError, match="is a dim of stimuli or features"):
        xc.from_xarray(array, model="image", stimulus="image", feature="channel")
    with pytest.raises(xc.SchemaError, match="real numbers"):
        xc.from_xarray(array.astype(str), stimulus="image", feature="channel")
    array.values[0, 0, 0] = np.nan
    with pytest.raises(xc.SchemaError, match="model 'conv1', 1 of 12 features"):
        xc.from_xarray(array, stimulus="image", feature=["channel", "x"])


ATTRS = {
    "text": "é", "empty": "", "whole": 3, "float": 0.5, "flag": True, "none": None, "one": [1],
    "list": [1, 2.5], "nothing": [], "dict": {"a": [None, "ü"]}, "large": 2**70,
}  # fmt: skip


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("extra", [None, {"layer": 2}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_netcdf_brings_a_set_back_identical(tmp_path, dtype, extra):
    reps = make_reps(3, 6, [4, 2, 3], missing=0.3, dtype=dtype, extra=extra)
    reps = reps.assign_coords(
        caption=("stimulus", [f"naïve 猫 {i}" for i in range(6)]),
        seen=("stimulus", [True, False] * 3),
        day=("stimulus", pd.date_range("2026-01-01", periods=6)),
        lag=("stimulus", pd.to_timedelta(np.arange(6), "s")),
        unit=(("model", "feature"), np.arange(12.0).reshape(3, 4)),
        n_repetitions=("stimulus", np.arange(6)),
    )
    reps.attrs.update(ATTRS)
    reps.caption.attrs.update(ATTRS)
    path = xc.io.write_netcdf(tmp_path / "ä.nc", reps)
    found = xc.io.read_netcdf(path)
    xr.testing.assert_identical(found, reps)
    assert found.dtype == dtype
    assert found.dims == reps.dims
    assert [type(v) for v in found.attrs.values()] == [type(v) for v in reps.attrs.values()]
    assert [p.name for p in tmp_path.iterdir()] == ["ä.nc"]


def test_plain_xarray_reads_the_netcdf(tmp_path):
    reps = make_reps(2, 4, [2, 3])
    path = xc.io.write_netcdf(tmp_path / "r.nc", reps)
    with xr.open_dataset(path, engine="h5netcdf") as data:
        np.testing.assert_array_equal(data["representation"].values, reps.values)
        assert data.stimulus.values.tolist() == reps.stimulus.values.tolist()
        assert data.caption.dims == ("stimulus",)
    with h5py.File(path) as file:
        assert h5py.check_string_dtype(file["stimulus"].dtype).encoding == "utf-8"


def test_results_as_netcdf(tmp_path):
    a = make_reps(3, 12, [5, 6, 4])
    result = xr.Dataset({"rdm": xc.rdm(a), "spread": xc.dispersion(a, "rdm")})
    path = xc.io.write_netcdf(tmp_path / "r.nc", result)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        for name in result.data_vars:
            np.testing.assert_array_equal(found[name].values, result[name].values)
            assert found[name].attrs["kind"] == "distance"
        assert found.stimulus_2.values.tolist() == result.stimulus_2.values.tolist()


def test_lazy_sets_and_half_precision(tmp_path):
    reps = make_reps(2, 6, 3, dtype=np.float16)
    path = xc.io.write_netcdf(tmp_path / "r.nc", reps.chunk(model=1, stimulus=2))
    found = xc.io.read_netcdf(path)
    assert found.dtype == np.float32
    xr.testing.assert_equal(found.astype(np.float16), reps)


def test_what_netcdf_cannot_hold_is_refused(tmp_path):
    reps = make_reps(2, 4, 3)
    path = tmp_path / "r.nc"
    with pytest.raises(xc.SchemaError, match="missing for stimulus"):
        xc.io.write_netcdf(path, reps.assign_coords(c=("stimulus", ["a", None, "b", "c"])))
    with pytest.raises(xc.SchemaError, match="'c' is complex"):
        xc.io.write_netcdf(path, reps.assign_coords(c=("stimulus", [1j, 2, 3, 4])))
    with pytest.raises(xc.SchemaError, match="NUL"):
        xc.io.write_netcdf(path, reps.assign_coords(c=("stimulus", ["a\0b", "b", "c", "d"])))
    with pytest.raises(xc.SchemaError, match="cannot hold"):
        xc.io.write_netcdf(path, reps.assign_attrs(a="\0"))
    with pytest.raises(TypeError, match="DataArray or Dataset"):
        xc.io.write_netcdf(path, reps.values)
    assert not list(tmp_path.iterdir())
    xc.io.write_netcdf(path, reps)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xc.io.write_netcdf(path, reps)
    assert path.read_bytes() == before
    xc.io.write_netcdf(path, reps.isel(model=[0]), overwrite=True)
    assert xc.io.read_netcdf(path).sizes["model"] == 1


@pytest.mark.slow
def test_any_text_is_a_label(tmp_path):
    code_points = [c for c in range(1, 0x110000, 997) if not 0xD800 <= c < 0xE000]
    labels = [
        *map(chr, code_points),
        " a ",
        "a\n",
        "a\r\n",
        "é",
        "e\u0301",
        "007",
        "nan",
        "é" * 9000,
    ]
    labels = list({bare(label): label for label in labels if bare(label)}.values())
    reps = xc.stack_models({"é": np.ones((len(labels), 2))}, stimuli=labels)
    path = xc.io.write_netcdf(tmp_path / "r.nc", reps)
    assert xc.io.read_netcdf(path).stimulus.values.tolist() == labels


def test_subjects_are_compared_and_networks_stay(raising_scheduler):
    layers = make_reps(3, 5, [4, 6, 5], extra={"subject": 2})
    reps = xc.from_xarray(layers.chunk(subject=1), model="subject")
    assert reps.dims == ("model", "network", "stimulus", "feature")
    assert reps.model.values.tolist() == ["subject0", "subject1"]
    assert reps.network.values.tolist() == ["net0", "net1", "net2"]
    assert reps.family.dims == ("network",)
    assert reps.n_features.dims == ("model", "network")
    assert reps.chunks is not None
    assert reps.n_features.values.tolist() == [[4, 6, 5], [4, 6, 5]]


def test_the_values_of_networks_are_the_same_on_both_ways():
    layers = make_reps(3, 5, [4, 6, 5], extra={"subject": 2})
    reps = xc.validate(xc.from_xarray(layers, model="subject"))
    for network in layers.model.values:
        for subject in layers.subject.values:
            np.testing.assert_array_equal(
                reps.sel(model=subject, network=network), layers.sel(subject=subject, model=network)
            )
    back = xc.from_xarray(reps.rename(model="subject"), model="network")
    np.testing.assert_array_equal(back.values, layers.values)
    by_subject = xc.rdm(reps, "euclidean").sel(model="subject1", network="net2", drop=True)
    alone = xc.rdm(layers.sel(subject="subject1", drop=True), "euclidean").sel(model="net2")
    np.testing.assert_array_equal(by_subject.values, alone.values)


def test_a_coordinate_network_gives_way_and_a_dim_does_not():
    layers = make_reps(2, 5, 4, extra={"subject": 2})
    named = layers.assign_coords(network=("model", ["a", "b"]))
    reps = xc.from_xarray(named, model="subject")
    assert reps.source_network.values.tolist() == ["a", "b"]
    with pytest.raises(xc.SchemaError, match="'model' and 'network' beside 'subject'"):
        xc.from_xarray(layers.expand_dims(network=["n"]), model="subject")
    # what was model may be flattened into features too
    wide = xc.from_xarray(layers, model="subject", feature=["model", "feature"])
    assert dict(wide.sizes) == {"model": 2, "stimulus": 5, "feature": 8}
