"""Datasets and RDMs of rsatoolbox, as objects and as HDF5."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, shuffled

h5py = pytest.importorskip("h5py")
pytest.importorskip("rsatoolbox")

from rsatoolbox.data import Dataset, load_dataset  # noqa: E402
from rsatoolbox.data.dataset import TemporalDataset  # noqa: E402
from rsatoolbox.rdm import RDMs, calc_rdm, load_rdm  # noqa: E402


def one_model(**options):
    reps = make_reps(1, 6, 4, missing=[(0, 2)], **options)
    return reps.assign_coords(
        unit=("feature", [7, 3, 9, 1]),
        area=("feature", ["V1", "V1", "É", "V4"]),
        caption=("stimulus", [f"Bär 熊 {i}" for i in range(6)]),
        depth=("model", [0.5]),
    )


def test_a_dataset_of_one_model_there_and_back():
    reps = one_model()
    dataset = xc.io.to_rsatoolbox_dataset(reps)
    assert type(dataset) is Dataset
    np.testing.assert_array_equal(dataset.measurements, reps.values[0])
    assert list(dataset.obs_descriptors["stimulus"]) == reps.stimulus.values.tolist()
    assert list(dataset.channel_descriptors["area"]) == ["V1", "V1", "É", "V4"]
    assert dataset.descriptors["model"] == "net0"
    assert dataset.descriptors["modality"] == "vision"
    assert dataset.descriptors["depth"] == 0.5
    xr.testing.assert_identical(xc.io.from_rsatoolbox_dataset(dataset), reps)
    alone = xc.io.to_rsatoolbox_dataset(reps.isel(model=0))
    np.testing.assert_array_equal(alone.measurements, dataset.measurements)
    assert alone.descriptors == dataset.descriptors
    unnamed = xc.io.to_rsatoolbox_dataset(reps.isel(model=0, drop=True))
    back = xc.io.from_rsatoolbox_dataset(unnamed, model="net0").drop_attrs()
    # what was on the model went with it
    xr.testing.assert_equal(back, reps.drop_vars(["family", "depth"]))


def test_ids_are_those_of_the_descriptor_that_is_asked_for():
    reps = one_model().assign_coords(source_stimulus=("stimulus", list("fedcba")))
    dataset = xc.io.to_rsatoolbox_dataset(reps)
    xr.testing.assert_identical(xc.io.from_rsatoolbox_dataset(dataset), reps)
    with pytest.raises(xc.SchemaError, match="'stimulus' and others of these names with 'source_'"):
        xc.io.from_rsatoolbox_dataset(dataset, stimulus="caption")


def test_several_models_are_a_list():
    reps = make_reps(3, 6, [4, 2, 3], missing=[(1, 0), (2, 5)])
    reps = reps.assign_coords(
        unit=(("model", "feature"), [[1, 2, 3, 4], [5, 6, 0, 0], [7, 8, 9, 0]])
    )
    reps = reps.assign_coords(
        unit=reps.unit.where(xr.DataArray(range(4), dims="feature") < reps.n_features)
    )
    datasets = xc.io.to_rsatoolbox_dataset(reps.chunk(model=1))
    assert [d.n_channel for d in datasets] == [4, 2, 3]
    xr.testing.assert_identical(xc.io.from_rsatoolbox_dataset(datasets), reps)
    # joined on labels, whatever the order of the rows, and what one lacks is missing
    order = [5, 2, 0, 1, 4, 3]
    datasets[1].measurements = datasets[1].measurements[order]
    for key, values in datasets[1].obs_descriptors.items():
        datasets[1].obs_descriptors[key] = values[order]
    xr.testing.assert_identical(xc.io.from_rsatoolbox_dataset(datasets), reps)
    datasets[2] = datasets[2].subset_obs("stimulus", list(reps.stimulus.values[:4]))
    fewer = xc.io.from_rsatoolbox_dataset(datasets)
    assert np.isnan(fewer.sel(model="net2", stimulus=reps.stimulus.values[4])).all()


def test_time_there_and_back(tmp_path):
    reps = one_model(extra={"time_bin": 3}).transpose("model", "stimulus", "feature", "time_bin")
    reps = reps.assign_coords(start=("time_bin", [0.0, 0.1, 0.2]))
    with pytest.raises(xc.SchemaError, match="dims 'time_bin' too.*'time'"):
        xc.io.to_rsatoolbox_dataset(reps)
    reps = reps.rename(time_bin="time")
    dataset = xc.io.to_rsatoolbox_dataset(reps)
    assert type(dataset) is TemporalDataset
    assert dataset.measurements.shape == (6, 4, 3)
    assert list(dataset.time_descriptors["time"]) == ["time_bin0", "time_bin1", "time_bin2"]
    xr.testing.assert_identical(xc.io.from_rsatoolbox_dataset(dataset), reps)
    dataset.save(tmp_path / "t.hdf5")
    xr.testing.assert_identical(xc.io.read_rsatoolbox_dataset(tmp_path / "t.hdf5"), reps)


def test_files_there_and_back(tmp_path):
    reps = one_model()
    path = tmp_path / "ä.hdf5"
    xc.io.to_rsatoolbox_dataset(reps).save(path)
    xr.testing.assert_identical(xc.io.read_rsatoolbox_dataset(path), reps)
    assert xc.io.read_rsatoolbox_dataset(path, model="other", modality="m").attrs["modality"] == "m"


def test_files_of_rsatoolbox_and_of_ours_are_the_same(tmp_path):
    theirs = Dataset(
        np.arange(6.0).reshape(3, 2),
        {"subject": "s1", "session": 2, "nothing": None, "list": [1, 2]},
        {"conds": np.array([3, 1, 2]), "run": [1, 1, 2]},
        {"voxel": np.array(["a", "b"])},
    )
    theirs.save(str(tmp_path / "d.hdf5"))
    reps = xc.io.read_rsatoolbox_dataset(tmp_path / "d.hdf5", stimulus="conds")
    assert reps.model.values.tolist() == ["d"]
    assert reps.stimulus.values.tolist() == ["3", "1", "2"]
    assert reps.voxel.values.tolist() == ["a", "b"]
    assert reps.run.values.tolist() == [1, 1, 2]
    assert reps.subject.values.tolist() == ["s1"]
    assert reps.session.values.tolist() == [2]
    xr.testing.assert_identical(
        reps, xc.io.from_rsatoolbox_dataset(theirs, stimulus="conds", model="d")
    )
    ours = make_reps(1, 4, 3)
    xc.io.to_rsatoolbox_dataset(ours).save(str(tmp_path / "o.hdf5"))
    loaded = load_dataset(str(tmp_path / "o.hdf5"))
    assert list(loaded.obs_descriptors["stimulus"]) == ours.stimulus.values.tolist()


def test_observations_of_one_stimulus():
    dataset = Dataset(
        np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]]),
        {"model": "m"},
        {"stimulus": ["cat", "dog", "cat"], "run": [1, 1, 2]},
    )
    with pytest.raises(xc.SchemaError, match=r"1 of 2 stimuli several times: 'cat \(2 times\)'"):
        xc.io.from_rsatoolbox_dataset(dataset)
    reps = xc.io.from_rsatoolbox_dataset(dataset, repetitions="mean")
    assert reps.sel(model="m", stimulus="cat").values.tolist() == [3.0, 2.0]
    assert reps.n_repetitions.values.tolist() == [2, 1]
    assert "run" not in reps.coords


def test_faulty_datasets():
    dataset = Dataset(np.ones((2, 2)), {}, {"stimulus": ["a", "b"]})
    with pytest.raises(xc.SchemaError, match="no descriptor 'model'"):
        xc.io.from_rsatoolbox_dataset(dataset)
    with pytest.raises(
        xc.SchemaError, match="on 'observation', and 'conds' is not one; there is 'stimulus'"
    ):
        xc.io.from_rsatoolbox_dataset(dataset, stimulus="conds", model="m")
    dataset.descriptors["model"] = "m"
    with pytest.raises(xc.SchemaError, match="two datasets have the name 'm'"):
        xc.io.from_rsatoolbox_dataset([dataset, dataset])
    with pytest.raises(xc.SchemaError, match="empty list"):
        xc.io.from_rsatoolbox_dataset([])
    with pytest.raises(TypeError, match="got ndarray"):
        xc.io.from_rsatoolbox_dataset(np.ones(3))


# RDMs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rdms_there_and_back(tmp_path, dtype):
    reps = make_reps(3, 6, [4, 5, 3], missing=[(1, 2)], dtype=dtype)
    reps = reps.assign_coords(caption=("stimulus", [f"Bär 熊 {i}" for i in range(6)]))
    rdm = xc.rdm(reps, "correlation")
    rdms = xc.io.to_rsatoolbox_rdms(rdm)
    assert rdms.dissimilarity_measure == "correlation"
    assert rdms.n_rdm == 3
    for m in range(3):
        at = 0
        for i in range(6):
            for j in range(i + 1, 6):
                np.testing.assert_array_equal(rdms.dissimilarities[m, at], rdm.values[m, i, j])
                at += 1
    # rsatoolbox keeps the upper half; the lower may differ from it in the last digit
    upper = np.triu(np.ones((6, 6), bool))
    expected = rdm.where(upper, rdm.transpose("model", "stimulus_2", "stimulus").values)
    xr.testing.assert_identical(xc.io.from_rsatoolbox_rdms(rdms), expected.astype(dtype))
    np.testing.assert_allclose(expected, rdm, rtol=1e-5, atol=1e-6)
    rdms.save(tmp_path / "r.hdf5")
    found = xc.io.read_rsatoolbox_rdms(tmp_path / "r.hdf5")
    xr.testing.assert_identical(found, expected.astype(dtype))
    assert found.dtype == rdm.dtype
    plain = xc.rdm(make_reps(2, 4, 3))
    xc.io.to_rsatoolbox_rdms(plain).save(str(tmp_path / "p.hdf5"))
    loaded = load_rdm(str(tmp_path / "p.hdf5"))
    assert list(loaded.pattern_descriptors["stimulus"]) == plain.stimulus.values.tolist()


def test_their_rdms_are_ours():
    reps = make_reps(2, 7, 6, missing=0.0)
    theirs = calc_rdm(
        xc.io.to_rsatoolbox_dataset(reps), method="correlation", descriptor="stimulus"
    )
    found = xc.io.from_rsatoolbox_rdms(theirs, model="model")
    expected = xc.rdm(reps, "correlation")
    aligned = found.sel(stimulus=expected.stimulus, stimulus_2=expected.stimulus_2)
    np.testing.assert_allclose(aligned.values, expected.values, atol=1e-12)
    assert found.attrs["metric"] == "correlation"
    np.testing.assert_allclose(np.diagonal(xc.rsa(found, expected).values), 1.0, rtol=1e-12)


def test_stimuli_and_models_of_rdms_by_descriptor(tmp_path):
    rdms = RDMs(
        np.arange(6.0).reshape(2, 3),
        None,
        {},
        {"subject": ["s1", "s2"]},
        {"conds": [3, 1, 2], "category": ["a", "b", "a"]},
    )
    rdms.save(str(tmp_path / "r.h5"))
    found = xc.io.read_rsatoolbox_rdms(tmp_path / "r.h5", stimulus="conds", model="subject")
    assert found.stimulus.values.tolist() == found.stimulus_2.values.tolist() == ["3", "1", "2"]
    assert found.model.values.tolist() == ["s1", "s2"]
    assert found.category_2.values.tolist() == ["a", "b", "a"]
    assert found.sel(model="s2", stimulus="1", stimulus_2="2") == 5.0
    assert "metric" not in found.attrs
    with pytest.raises(xc.SchemaError, match="no RDM descriptor 'model'.*'subject'"):
        xc.io.from_rsatoolbox_rdms(rdms, stimulus="conds")
    with pytest.raises(xc.SchemaError, match="no pattern descriptor 'stimulus'.*'conds'"):
        xc.io.from_rsatoolbox_rdms(rdms, model="subject")
    numbered = xc.io.from_rsatoolbox_rdms(rdms, stimulus="conds", model="index")
    assert numbered.model.values.tolist() == ["0", "1"]
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'stimulus'"):
        xc.io.from_rsatoolbox_rdms(rdms, stimulus="category", model="subject")


def test_rdms_that_do_not_fit():
    rdm = xc.rdm(make_reps(2, 5, 4))
    with pytest.raises(xc.SchemaError, match="must be symmetric"):
        xc.io.to_rsatoolbox_rdms(rdm + xr.DataArray(np.arange(5.0), dims="stimulus"))
    with pytest.raises(xc.SchemaError, match="dims 'subject' too"):
        xc.io.to_rsatoolbox_rdms(rdm.expand_dims("subject"))
    crossed = rdm.isel(stimulus_2=[3, 0, 4, 2, 1])
    assert xc.io.to_rsatoolbox_rdms(crossed) == xc.io.to_rsatoolbox_rdms(rdm)
    assert xc.io.to_rsatoolbox_rdms(rdm.isel(model=0)).rdm_descriptors["model"] == ["net0"]
    mixed = shuffled(rdm, 1)
    both = mixed.isel(
        stimulus_2=[rdm.indexes["stimulus"].get_loc(s) for s in mixed.stimulus.values]
    )
    xr.testing.assert_allclose(xc.io.from_rsatoolbox_rdms(xc.io.to_rsatoolbox_rdms(both)), both)


# Files


class Evil:
    def __reduce__(self):
        return (exec, ("raise AssertionError('unpickled')",))


@pytest.mark.parametrize("name", ["d.pkl", "d.hdf5"])
def test_pickles_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    for read in (xc.io.read_rsatoolbox_dataset, xc.io.read_rsatoolbox_rdms):
        with pytest.raises(xc.SchemaError, match="is a pickle, which can run any program"):
            read(tmp_path / name)


def test_a_file_of_the_other_kind(tmp_path):
    xc.io.to_rsatoolbox_dataset(one_model()).save(tmp_path / "d.h5")
    xc.io.to_rsatoolbox_rdms(xc.rdm(make_reps(2, 4, 3))).save(tmp_path / "r.h5")
    with pytest.raises(xc.SchemaError, match="holds no RDMs of rsatoolbox"):
        xc.io.read_rsatoolbox_rdms(tmp_path / "d.h5")
    with pytest.raises(xc.SchemaError, match="holds no Dataset of rsatoolbox: its type is None"):
        xc.io.read_rsatoolbox_dataset(tmp_path / "r.h5")


def test_durations_are_refused_by_name():
    reps = make_reps(1, 4, 3, missing=0.0)
    timed = reps.assign_coords(onset=("stimulus", pd.to_timedelta(range(4), unit="s")))
    with pytest.raises(xc.SchemaError, match="'onset' must be text.*whole numbers of a unit"):
        xc.io.to_rsatoolbox_dataset(timed)
    days = reps.assign_coords(onset=("stimulus", pd.date_range("2020-01-31", periods=4)))
    found = xc.io.from_rsatoolbox_dataset(xc.io.to_rsatoolbox_dataset(days))
    assert found.onset.values.tolist()[:2] == ["2020-01-31", "2020-02-01"]


def test_datasets_of_unequal_repetitions_are_padded():
    data = pytest.importorskip("rsatoolbox.data")
    rng = np.random.default_rng(0)
    ids = {"few": ["a", "b", "a"], "many": ["a", "b", "a", "b", "b"]}
    sets = [
        data.Dataset(
            rng.standard_normal((len(shown), 2)),
            descriptors={"model": name},
            obs_descriptors={"stimulus": shown, "run": list(range(len(shown)))},
        )
        for name, shown in ids.items()
    ]
    kept = xc.io.from_rsatoolbox_dataset(sets, repetitions="keep")
    xc.validate(kept)
    assert kept.sizes["repetition"] == 3
    assert kept.n_repetitions.dims == ("model", "stimulus")
    assert kept.n_repetitions.values.tolist() == [[2, 1], [2, 3]]
    assert kept.run.sel(model="many", stimulus="b").values.tolist() == [1, 3, 4]
    for name, one in zip(ids, sets, strict=True):
        for stimulus in "ab":
            rows = one.measurements[[i for i, s in enumerate(ids[name]) if s == stimulus]]
            mine = kept.sel(model=name, stimulus=stimulus).transpose("repetition", "feature")
            np.testing.assert_array_equal(mine[: len(rows)], rows)
            assert mine[len(rows) :].isnull().all()


def test_descriptors_that_differ_between_datasets_are_over_model_too():
    """A caption may be another for each model; what one of them lacks is not made up."""
    stimuli = {"stimulus": ["cat", "dog"]}
    a = Dataset(
        np.eye(2),
        {"model": "a", "depth": 3},
        {**stimuli, "caption": ["x", "y"], "kind": ["m", "n"]},
        {"unit": [1, 2], "side": ["l", "l"], "area": ["V1", "V4"]},
    )
    b = Dataset(
        np.ones((2, 1)),
        {"model": "b"},
        {"stimulus": ["dog", "emu"], "caption": ["z", "w"], "kind": ["n", "o"]},
        {"unit": [1], "side": ["r"]},
    )
    reps = xc.io.from_rsatoolbox_dataset([a, b])
    assert reps.stimulus.values.tolist() == ["cat", "dog", "emu"]
    assert reps.kind.dims == ("stimulus",)
    assert reps.kind.values.tolist() == ["m", "n", "o"]
    assert reps.caption.dims == ("model", "stimulus")
    assert reps.caption.values.tolist() == [["x", "y", ""], ["", "z", "w"]]
    assert reps.side.dims == ("model",)
    np.testing.assert_array_equal(reps.unit, [[1, 2], [1, np.nan]])
    np.testing.assert_array_equal(reps.depth, [3, np.nan])
    assert "area" not in reps.coords
    xc.validate(reps)


def test_datasets_of_other_dims_are_refused():
    stimuli = {"stimulus": ["cat", "dog"]}
    still = Dataset(np.eye(2), {"model": "a"}, stimuli)
    moving = TemporalDataset(np.ones((2, 2, 3)), {"model": "b"}, stimuli, {}, {"time": [1, 2, 3]})
    for datasets in ([still, moving], [moving, still]):
        with pytest.raises(xc.SchemaError, match="dataset has other dims for '[ab]' than for"):
            xc.io.from_rsatoolbox_dataset(datasets)
    later = TemporalDataset(np.ones((2, 2, 3)), {"model": "c"}, stimuli, {}, {"time": [1, 2, 4]})
    with pytest.raises(xc.SchemaError, match="other labels on 'time' for 'c' than for 'b'"):
        xc.io.from_rsatoolbox_dataset([moving, later])


def test_counts_of_one_dataset_are_not_those_of_another():
    stimuli = {"stimulus": ["cat", "dog"]}
    a = Dataset(np.eye(2), {"model": "a"}, {**stimuli, "n_repetitions": [3, 2]})
    b = Dataset(np.eye(2), {"model": "b"}, stimuli)
    assert xc.io.from_rsatoolbox_dataset(a).n_repetitions.values.tolist() == [3, 2]
    assert "n_repetitions" not in xc.io.from_rsatoolbox_dataset([a, b]).coords
