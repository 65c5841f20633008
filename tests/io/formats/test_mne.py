"""Epochs of MNE: channels, times, metadata, subjects."""

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc

mne = pytest.importorskip("mne")


def epochs(seed=0, names=("Oz", "Cz", "Pz"), ids=("cat", "dog", "cat", "emu"), **options):
    rng = np.random.default_rng(seed)
    info = mne.create_info(list(names), 100.0, options.pop("kinds", "eeg"))
    values = rng.standard_normal((len(ids), len(names), 5)) * 1e-6
    metadata = options.pop("metadata", pd.DataFrame({"stimulus_id": list(ids)}))
    return mne.EpochsArray(values, info, tmin=-0.02, metadata=metadata, verbose="error", **options)


def test_channels_are_features_and_time_is_a_dim():
    given = epochs(baseline=(None, 0.0))
    reps = xc.io.from_mne(given, model="eeg", modality="eeg")
    assert dict(reps.sizes) == {
        "model": 1, "stimulus": 3, "feature": 3, "repetition": 2, "time": 5
    }  # fmt: skip
    np.testing.assert_allclose(reps.time, [-0.02, -0.01, 0.0, 0.01, 0.02])
    assert reps.time.attrs["units"] == "s"
    assert reps.channel.values.tolist() == ["Oz", "Cz", "Pz"]
    assert reps.channel_type.values.tolist() == ["eeg"] * 3
    assert reps.attrs["units"] == "V"
    assert reps.attrs["baseline"] == pytest.approx([-0.02, 0.0])
    assert reps.attrs["modality"] == "eeg"
    values = given.get_data()
    for stimulus, trials in {"cat": [0, 2], "dog": [1], "emu": [3]}.items():
        mine = reps.sel(model="eeg", stimulus=stimulus)
        for number, trial in enumerate(trials):
            found = mine.sel(repetition=number).transpose("feature", "time")
            np.testing.assert_array_equal(found, values[trial])
        assert mine.isel(repetition=slice(len(trials), None)).isnull().all()
    xc.validate(reps)
    # time is mapped over: an RDM for each time and repetition
    assert dict(xc.rdm(reps, "euclidean").sizes)["time"] == 5


def test_stimuli_are_a_column_or_the_names_of_events():
    events = np.column_stack([np.arange(4) * 10, np.zeros(4, int), [1, 2, 1, 1]])
    table = pd.DataFrame({"image": [3, 4, 3, 5], "rt": [0.1, 0.2, 0.3, 0.4]})
    given = epochs(events=events, event_id={"face/up": 1, "house": 2}, metadata=table)
    named = xc.io.from_mne(given, model="eeg")
    assert named.stimulus.values.tolist() == ["face/up", "house"]
    assert named.n_repetitions.values.tolist() == [3, 1]
    chosen = xc.io.from_mne(given, stimulus="image", model="eeg")
    assert chosen.stimulus.values.tolist() == ["3", "4", "5"]
    assert chosen.event.values.tolist() == ["face/up", "house", "face/up"]
    np.testing.assert_array_equal(chosen.rt, [[0.1, 0.3], [0.2, np.nan], [0.4, np.nan]])
    with pytest.raises(xc.SchemaError, match="no metadata 'picture'; there is 'image', 'rt'"):
        xc.io.from_mne(given, stimulus="picture", model="eeg")
    bare = epochs(events=events, event_id={"face": 1, "house": 2}, metadata=None)
    assert xc.io.from_mne(bare, model="eeg").stimulus.values.tolist() == ["face", "house"]


def test_channels_are_picked_and_bad_ones_left_out():
    kinds = ["mag", "grad", "eeg", "stim"]
    given = epochs(names=("M", "G", "E", "STI"), kinds=kinds)
    with pytest.warns(RuntimeWarning, match=r"several units \(T, T/m, V\).*picks="):
        whole = xc.io.from_mne(given, model="meg")
    assert whole.channel.values.tolist() == ["M", "G", "E"]
    assert "units" not in whole.attrs
    mag = xc.io.from_mne(given, picks="mag", model="meg")
    assert (mag.channel.values.tolist(), mag.attrs["units"]) == (["M"], "T")
    given.info["bads"] = ["M"]
    with pytest.warns(RuntimeWarning, match="several units"):
        assert "M" not in xc.io.from_mne(given, model="meg").channel.values
    with pytest.raises(xc.SchemaError, match="no channels of picks='seeg'"):
        xc.io.from_mne(given, picks="seeg", model="meg")
    assert given.ch_names == ["M", "G", "E", "STI"]


@pytest.mark.slow
def test_a_dict_gives_the_dim_subject(tmp_path):
    given = {
        "s1": epochs(0),
        "s2": epochs(1, names=("Oz", "Pz"), ids=("emu", "dog", "cat", "dog", "cat")),
    }
    reps = xc.io.from_mne(given, model="eeg", modality="eeg")
    assert reps.dims[:2] == ("model", "subject")
    assert reps.n_features.values.tolist() == [[3, 2]]
    assert reps.channel.values.tolist() == [["Oz", "Cz", "Pz"], ["Oz", "Pz", ""]]
    for name, one in given.items():
        alone = xc.io.from_mne(one, model="eeg", modality="eeg")
        mine = reps.sel(subject=name, stimulus=alone.stimulus)
        mine = mine.isel(feature=slice(alone.sizes["feature"])).transpose(*alone.dims)
        np.testing.assert_array_equal(mine.values, alone.values)
    xc.write_representations(tmp_path / "s.zarr", reps)
    again = xc.open_representations(tmp_path / "s.zarr", "eeg").load()
    xr.testing.assert_identical(again.transpose(*reps.dims), reps)
    with pytest.raises(xc.SchemaError, match=r"other labels on 'time' for 's2'"):
        xc.io.from_mne({"s1": epochs(0), "s2": epochs(1).crop(0.0, 0.02)}, model="eeg")


def test_subjects_in_the_metadata_are_no_repetitions():
    table = pd.DataFrame({"stimulus_id": ["cat", "dog"] * 2, "subject": ["s1", "s1", "s2", "s2"]})
    given = epochs(metadata=table)
    reps = xc.io.from_mne(given, model="eeg")
    assert reps.subject.values.tolist() == ["s1", "s2"]
    assert reps.sizes["repetition"] == 1
    with pytest.raises(xc.SchemaError, match="'subject' that says 's1', 's2'"):
        xc.io.from_mne({"s1": given}, model="eeg")


def test_epochs_that_were_dropped_are_not_there():
    info = mne.create_info(["Oz"], 100.0, "eeg")
    raw = mne.io.RawArray(np.arange(60.0)[None], info, verbose="error")
    events = np.array([[5, 0, 1], [20, 0, 2], [58, 0, 1], [40, 0, 1]])
    given = mne.Epochs(
        raw, events[np.argsort(events[:, 0])], {"a": 1, "b": 2}, tmin=0.0, tmax=0.05,
        baseline=None, verbose="error",
    )  # fmt: skip
    reps = xc.io.from_mne(given, model="eeg")
    # the last of stimulus a ends after the recording
    assert reps.n_repetitions.values.tolist() == [2, 1]
    assert reps.sel(model="eeg", stimulus="a", time=0.0).values.tolist() == [[5.0, 40.0]]
    assert reps.attrs["baseline"] is None
    assert not given.preload


def test_what_is_no_epochs_is_refused(monkeypatch):
    with pytest.raises(TypeError, match=r"mne\.Epochs"):
        xc.io.from_mne(epochs().average(), model="eeg")
    with pytest.raises(xc.SchemaError, match="model='…'"):
        xc.io.from_mne(epochs())
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ImportError, match="from_mne needs mne, which is not installed"):
        xc.io.from_mne("epochs", model="eeg")


def test_averages_go_back():
    given = epochs(kinds=["mag", "mag", "mag"], baseline=None)
    given.info["chs"][1]["loc"][:3] = [0.01, 0.02, 0.03]
    reps = xc.io.from_mne(given, model="meg", repetitions="mean")
    found = xc.io.to_mne(reps, given)
    assert list(found) == ["cat", "dog", "emu"]
    for name, evoked in found.items():
        expected = given[f"stimulus_id == {name!r}"].average()
        np.testing.assert_allclose(evoked.data, expected.data, rtol=1e-12)
        np.testing.assert_allclose(evoked.times, expected.times)
        assert (evoked.nave, evoked.ch_names) == (expected.nave, expected.ch_names)
        assert evoked.comment == name
        np.testing.assert_array_equal(evoked.info["chs"][1]["loc"], given.info["chs"][1]["loc"])
    # scores of channels and times, in another order, without knowing where sensors are
    scores = reps.sel(stimulus="dog", model="meg")[::-1].transpose("time", "feature")
    one = xc.io.to_mne(scores)
    np.testing.assert_array_equal(one.data, scores.values.T)
    assert one.get_channel_types() == ["mag"] * 3
    assert one.info["sfreq"] == 100.0
    np.testing.assert_array_equal(
        xc.io.to_mne(scores.isel(feature=[2, 0]), given).data, one.data[[2, 0]]
    )


def test_what_mne_cannot_hold_is_refused(monkeypatch):
    given = epochs()
    reps = xc.io.from_mne(given, model="eeg", repetitions="mean")
    kept = xc.io.from_mne(given, model="eeg")
    with pytest.raises(xc.SchemaError, match="'repetition'.*select or average the others"):
        xc.io.to_mne(kept)
    with pytest.raises(xc.SchemaError, match="coordinate 'channel'"):
        xc.io.to_mne(reps.drop_vars("channel"))
    with pytest.raises(xc.SchemaError, match="evenly spaced"):
        xc.io.to_mne(reps.isel(time=[0, 1, 3]))
    with pytest.raises(xc.SchemaError, match="100 times a second, and reps 50; .*decimate"):
        xc.io.to_mne(reps.isel(time=[0, 2, 4]), given)
    with pytest.raises(xc.SchemaError, match="no channels 'Cz'"):
        xc.io.to_mne(reps, epochs(names=("Oz", "Pz")))
    with pytest.raises(TypeError, match="DataArray"):
        xc.io.to_mne(given)
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ImportError, match="to_mne needs mne"):
        xc.io.to_mne(reps)
