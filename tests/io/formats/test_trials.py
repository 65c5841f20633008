"""Responses trial by trial and their design: stimuli, repetitions, sessions, subjects, regions."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import no_compute

from_trials = xc.io.from_trials


def shown(rng, n, stimuli=5):
    """Ids of n trials, each stimulus at least once."""
    return [f"im{i}" for i in rng.permutation([*range(stimuli), *rng.integers(0, stimuli, n)])]


def by_loops(values, ids):
    """The rows of each stimulus in the order of its trials."""
    found = {}
    for row, stimulus in zip(values, ids, strict=True):
        found.setdefault(stimulus, []).append(row)
    return found


def check_repetitions(reps, rows, **place):
    """A set (stimulus, repetition, feature) is the rows of each stimulus, all else NaN."""
    mine = reps.sel(model="brain", **place)
    width = int(mine.n_features) if "n_features" in mine.coords else mine.sizes["feature"]
    for stimulus in reps.stimulus.values:
        here = mine.sel(stimulus=stimulus).transpose("repetition", "feature", ...).values
        trials = rows.get(stimulus, [])
        for place_, trial in enumerate(trials):
            np.testing.assert_array_equal(here[place_, :width], trial)
        assert np.isnan(here[len(trials) :]).all()
        assert np.isnan(here[:, width:]).all()


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["numpy", "dask", "list", "lazy list"]))
def test_trials_become_repetitions_in_their_order(seed, kind):
    rng = np.random.default_rng(seed)
    ids = shown(rng, int(rng.integers(0, 9)))
    values = rng.standard_normal((len(ids), 3)).astype(np.float32)
    cut = len(ids) // 2
    responses, design = values, ids
    if "list" in kind:
        responses, design = [values[:cut], values[cut:]], [ids[:cut], ids[cut:]]
    if kind == "dask":
        responses = da.from_array(values, chunks=(2, 2))
    if kind == "lazy list":
        responses = [da.from_array(part, chunks=2) for part in responses]
    with no_compute():
        reps = from_trials(responses, design, model="brain", modality="fmri")
    assert (reps.chunks is not None) == (kind in ("dask", "lazy list"))
    assert reps.dtype == np.float32
    assert reps.attrs["modality"] == "fmri"
    assert reps.stimulus.values.tolist() == list(dict.fromkeys(ids))
    rows = by_loops(values, ids)
    check_repetitions(reps.compute(), rows)
    assert reps.n_repetitions.values.tolist() == [len(rows[s]) for s in reps.stimulus.values]
    xc.validate(reps.compute())
    if "list" in kind:
        sessions = by_loops(np.repeat([0, 1], [cut, len(ids) - cut]), ids)
        assert reps.session.dims == ("stimulus", "repetition")
        for stimulus in reps.stimulus.values:
            found = reps.session.sel(stimulus=stimulus).values
            assert found[~np.isnan(found)].tolist() == sessions[stimulus]


def test_means_are_those_of_the_repetitions():
    rng = np.random.default_rng(0)
    ids = shown(rng, 7)
    values = rng.standard_normal((len(ids), 3))
    kept = from_trials(values, ids, model="brain")
    mean = from_trials(values, ids, model="brain", repetitions="mean")
    np.testing.assert_allclose(kept.mean("repetition").transpose(*mean.dims), mean)
    with pytest.raises(xc.SchemaError, match="several times: 'im"):
        from_trials(values, ids, model="brain", repetitions="error")


def test_columns_of_the_design_are_coordinates():
    table = pd.DataFrame(
        {
            "stimulus_id": [12, 7, 12, 12],
            "category": ["face", "house", "face", "face"],
            "session": [1, 1, 1, 2],
            "onset": [0.0, 2.0, 4.0, 1.0],
            "response": ["left", "right", "right", "left"],
        }
    )
    reps = from_trials(np.arange(8.0).reshape(4, 2), table, model="brain")
    assert reps.stimulus.values.tolist() == ["12", "7"]
    assert reps.category.dims == ("stimulus",)
    assert reps.repetition.values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(reps.session, [[1, 1, 2], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(reps.onset, [[0, 4, 1], [2, np.nan, np.nan]])
    assert reps.response.values.tolist() == [["left", "right", "left"], ["right", "", ""]]
    # also where each stimulus was shown in one session alone
    once = from_trials(np.ones((2, 2)), table[:2], model="brain")
    assert once.session.dims == ("stimulus", "repetition")
    assert once.onset.dims == ("stimulus",)


def test_a_column_labels_the_repetitions():
    table = pd.DataFrame({"stimulus_id": ["a", "b", "a"], "try": [3, 3, 1]})
    values = np.arange(6.0).reshape(3, 2)
    reps = from_trials(values, table, model="brain", repetition="try")
    assert reps.repetition.values.tolist() == [1, 3]
    assert reps.sel(model="brain", stimulus="a", repetition=1).values.tolist() == [4.0, 5.0]
    assert reps.sel(model="brain", stimulus="b", repetition=1).isnull().all()
    named = from_trials(values, table.rename(columns={"try": "repetition"}), model="brain")
    xr.testing.assert_equal(named, reps)
    table["try"] = [3, 3, 3]
    with pytest.raises(xc.SchemaError, match=r"repetition='try' does not tell .* 'a' have"):
        from_trials(values, table, model="brain", repetition="try")
    table["repetition"] = 0
    counted = from_trials(values, table.drop(columns="try"), model="brain")
    assert counted.repetition.values.tolist() == [0, 1]


def subjects_and_regions(seed=0):
    rng = np.random.default_rng(seed)
    ids = {s: [shown(rng, 4), shown(rng, 3)] for s in ("s1", "s2")}
    widths = {("s1", "V1"): 3, ("s1", "IT"): 5, ("s2", "V1"): 4}
    betas = {
        place: [rng.standard_normal((len(day), width)) for day in ids[place[0]]]
        for place, width in widths.items()
    }
    return betas, ids


@pytest.mark.slow
def test_a_dict_gives_the_dims_subject_and_region():
    betas, ids = subjects_and_regions()
    reps = from_trials(betas, ids, model="brain", modality="fmri")
    assert reps.dims[:3] == ("model", "subject", "region")
    # the region that s2 lacks is missing, its width unknown
    assert reps.n_features.isel(model=0).values.tolist() == [[3, 5], [4, 5]]
    for (subject, region), sessions in betas.items():
        rows = by_loops(np.concatenate(sessions), [*ids[subject][0], *ids[subject][1]])
        check_repetitions(reps, rows, subject=subject, region=region)
        alone = from_trials(sessions, ids[subject], model="brain")
        mine = reps.sel(subject=subject, region=region)
        distances = xc.rdm(mine, "euclidean")
        expected = xc.rdm(alone, "euclidean")
        for number in expected.repetition.values:
            one = distances.sel(repetition=number, stimulus=expected.stimulus)
            one = one.sel(stimulus_2=expected.stimulus_2)
            np.testing.assert_allclose(
                one.values.squeeze(), expected.sel(repetition=number).values.squeeze()
            )
    assert reps.sel(subject="s2", region="IT").isnull().all()
    assert reps.session.dims == ("subject", "stimulus", "repetition")
    assert reps.n_repetitions.sel(subject="s2", region="IT").values.tolist() == [0] * 5
    xc.validate(reps)
    lazy = {place: [da.from_array(x, chunks=2) for x in days] for place, days in betas.items()}
    with no_compute():
        later = from_trials(lazy, ids, model="brain", modality="fmri")
    xr.testing.assert_identical(later.compute(), reps)


@pytest.mark.slow
def test_the_store_holds_them(tmp_path):
    betas, ids = subjects_and_regions()
    reps = from_trials(betas, ids, model="brain", modality="fmri")
    xc.write_representations(tmp_path / "s.zarr", reps)
    again = xc.open_representations(tmp_path / "s.zarr", "fmri").load()
    xr.testing.assert_identical(again.transpose(*reps.dims), reps)


def test_subjects_of_other_stimuli_are_joined_as_asked():
    rng = np.random.default_rng(0)
    betas = {s: rng.standard_normal((3, 2)) for s in ("s1", "s2")}
    ids = {"s1": ["a", "b", "c"], "s2": ["c", "d", "b"]}
    with pytest.raises(xc.SchemaError, match="stimulus"):
        from_trials(betas, ids, model="brain")
    inner = from_trials(betas, ids, model="brain", join="inner")
    assert inner.stimulus.values.tolist() == ["b", "c"]
    outer = from_trials(betas, ids, model="brain", join="outer")
    assert outer.stimulus.values.tolist() == ["a", "b", "c", "d"]
    for subject in betas:
        check_repetitions(outer, by_loops(betas[subject], ids[subject]), subject=subject)
    assert outer.n_repetitions.sel(subject="s2").values.tolist() == [0, 1, 1, 1]


def test_one_table_of_all_subjects(tmp_path):
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "subject": np.repeat(["s2", "s1"], 6),
            "run": np.tile([1, 2], 6),
            "stimulus_id": [*shown(rng, 3, 3), *shown(rng, 3, 3)],
            "v1": rng.standard_normal(12),
            "v2": rng.standard_normal(12),
        }
    )
    reps = from_trials(table, features=["v1", "v2"], model="brain")
    assert reps.subject.values.tolist() == ["s2", "s1"]
    assert reps.feature_label.values.tolist() == ["v1", "v2"]
    for subject, part in table.groupby("subject"):
        rows = by_loops(part[["v1", "v2"]].to_numpy(), part["stimulus_id"])
        check_repetitions(reps, rows, subject=subject)
    table.to_csv(tmp_path / "brain.csv", index=False)
    read = xc.io.read_trials(tmp_path / "brain.csv", features=["v1", "v2"])
    xr.testing.assert_allclose(read, reps)
    split = {s: part.drop(columns="subject") for s, part in table.groupby("subject", sort=False)}
    xr.testing.assert_identical(from_trials(split, features=["v1", "v2"], model="brain"), reps)


def test_files_with_ids_as_they_stand(tmp_path):
    values = np.arange(8.0).reshape(4, 2)
    np.save(tmp_path / "betas.npy", values)
    (tmp_path / "events.tsv").write_text(
        "onset\tstimulus_id\tresponse\n0\t007\tn/a\n1\tNA\tleft\n2\t7\tleft\n3\t007\tleft\n"
    )
    reps = xc.io.read_trials(tmp_path / "betas.npy", tmp_path / "events.tsv")
    assert reps.chunks is not None
    assert reps.model.values.tolist() == ["betas"]
    assert reps.stimulus.values.tolist() == ["007", "NA", "7"]
    assert reps.sel(model="betas", stimulus="007").values.tolist() == [[0.0, 6.0], [1.0, 7.0]]
    with pytest.raises(xc.SchemaError, match="no .csv, .tsv or .npy"):
        xc.io.read_trials(tmp_path / "betas.npy", tmp_path / "betas.npy")
    (tmp_path / "long.csv").write_text("stimulus_id,v\na,1,2\nb,3,4\n")
    with pytest.raises(xc.SchemaError, match="cannot be read as a table of trials"):
        xc.io.read_trials(tmp_path / "long.csv", features=["v"])
    (tmp_path / "twice.csv").write_text("stimulus_id,v,v\na,1,2\n")
    with pytest.raises(xc.SchemaError, match="several columns of one name: 'v'"):
        xc.io.read_trials(tmp_path / "twice.csv", features=["v"])
    with pytest.raises(FileNotFoundError, match="no file"):
        xc.io.read_trials(tmp_path / "other.csv")


def test_columns_of_files_are_numbers_only_where_all_cells_are(tmp_path):
    text = """stimulus_id,v,subject,run,ok,seen,code,mixed
a,1.5,01,1,True,n/a,9007199254740993,1
b,n/a,01,2,False,0.1,2,x
"""
    (tmp_path / "m.csv").write_text(text)
    reps = xc.io.read_trials(tmp_path / "m.csv", features=["v"]).squeeze("model")
    assert reps.subject.values.tolist() == ["01"]
    assert reps.values.ravel().tolist()[0] == 1.5
    assert np.isnan(reps.values.ravel()[1])
    for name, kind, values in [
        ("run", "i", [1, 2]),
        ("ok", "b", [True, False]),
        ("code", "O", ["9007199254740993", "2"]),
        ("mixed", "O", ["1", "x"]),
    ]:
        assert reps[name].dtype.kind == kind
        assert reps[name].values.ravel().tolist() == values
    assert reps.seen.dtype == np.float64
    np.testing.assert_array_equal(reps.seen.values.ravel(), [np.nan, 0.1])
    for cell, match in [
        ("9007199254740993", "whole numbers beyond"),
        ('"1,5"', "decimal comma"),
        ("x", "column 'v' holds 'x' for 'row 2', which is no number"),
    ]:
        (tmp_path / "m.csv").write_text(f"stimulus_id,v\na,{cell}\n")
        with pytest.raises(xc.SchemaError, match=match):
            xc.io.read_trials(tmp_path / "m.csv", features=["v"])
    (tmp_path / "m.csv").write_text("stimulus_id,v,w\na,1\n")
    with pytest.raises(xc.SchemaError, match="3 columns, and row 2 has 2 cells"):
        xc.io.read_trials(tmp_path / "m.csv", features=["v"])


def test_voxels_with_gaps_and_voxels_of_other_sessions():
    values = np.arange(12.0).reshape(4, 3)
    values[:, 1] = np.nan
    ids = ["a", "b", "a", "b"]
    reps = from_trials(values, ids, model="brain")
    assert reps.sizes["feature"] == 2
    values[1, 0] = np.nan
    with pytest.raises(xc.SchemaError, match=r"stimuli 'b'\. .*gaps='drop'"):
        from_trials(values, ids, model="brain")
    with pytest.warns(RuntimeWarning, match="1 of 2 of model 'brain'"):
        assert from_trials(values, ids, model="brain", gaps="drop").sizes["feature"] == 1
    with pytest.raises(
        xc.SchemaError, match=r"sessions of responses differ in shape: '\(2,\)', '\(3,\)'"
    ):
        from_trials([np.ones((2, 3)), np.ones((2, 2))], [["a", "b"], ["a", "b"]], model="brain")


def test_times_are_a_dim():
    values = np.arange(24.0).reshape(4, 2, 3)
    ids = ["a", "b", "a", "b"]
    reps = from_trials(values, ids, model="eeg", times=[-0.1, 0.0, 0.1], features=["Oz", "Cz"])
    assert reps.sel(time=0.0, stimulus="a", repetition=1, model="eeg").values.tolist() == [13, 16]
    assert reps.time.attrs["units"] == "s"
    for wrong in (None, [0.0, 0.1]):
        with pytest.raises(xc.SchemaError, match="times="):
            from_trials(values, ids, model="eeg", times=wrong)
    with pytest.raises(xc.SchemaError, match="times= labels the third axis"):
        from_trials(values[..., 0], ids, model="eeg", times=[0.0])


def test_hdf5_stays_on_disk(tmp_path):
    h5py = pytest.importorskip("h5py")
    values = np.arange(8.0).reshape(4, 2)
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        data = file.create_dataset("betas", data=values)
        reps = from_trials(data, ["a", "b", "a", "b"], model="brain")
        assert reps.chunks is not None
        check_repetitions(reps.compute(), by_loops(values, ["a", "b", "a", "b"]))


WRONG = {
    "no design": ((np.ones((2, 2)), None), "give design="),
    "too few ids": ((np.ones((3, 2)), ["a", "b"]), "has 3 trials, and its design 2"),
    "other sessions": (
        ([np.ones((2, 2)), np.ones((1, 2))], [["a"], ["a", "b"]]),
        r"sessions of '2', '1' trials, and its design of '1', '2'",
    ),
    "no column": ((np.ones((1, 2)), pd.DataFrame({"x": ["a"]})), "'stimulus_id'; it has 'x'"),
    "one axis": ((np.ones(2), ["a", "b"]), r"\(trial, feature\)"),
    "no features named": ((pd.DataFrame({"stimulus_id": ["a"], "v": [1.0]}),), "features="),
    "a dict of designs": ((np.ones((1, 2)), {"s1": ["a"]}), "responses is none"),
    "other subjects": (({"s1": np.ones((1, 2))}, {"s2": ["a"]}), "lacks 's1', responses 's2'"),
    "another subject": (
        ({"s1": np.ones((1, 2))}, pd.DataFrame({"stimulus_id": ["a"], "subject": ["s2"]})),
        "column 'subject' that says 's2'",
    ),
    "columns of ids": ((np.ones((2, 2)), np.array([["a"], ["b"]], object)), "has 2 trials|ravel"),
    "a missing id": ((np.ones((2, 2)), ["a", None]), "missing"),
    "labels of a dim": (
        (np.ones((1, 2)), pd.DataFrame({"stimulus_id": ["a"], "feature": [1]})), "rename"
    ),
    "keys of two kinds": (
        ({"s1": np.ones((1, 2)), ("s2", "V1"): np.ones((1, 2))}, ["a"]), "one kind"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    arguments, message = WRONG[name]
    with pytest.raises(xc.SchemaError, match=message):
        from_trials(*arguments, model="brain")


def test_no_model_no_array():
    with pytest.raises(xc.SchemaError, match="model='…'"):
        from_trials(np.ones((1, 2)), ["a"])
    with pytest.raises(TypeError, match="from_allen"):
        from_trials(xr.DataArray(np.ones((1, 2))), ["a"], model="brain")
    with pytest.raises(TypeError, match="one a trial"):
        from_trials(np.ones((1, 2)), "a", model="brain")
