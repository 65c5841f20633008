"""Files of Neurodata Without Borders, written by pynwb and counted by loops."""

import datetime
import itertools
import sys

import numpy as np
import pytest

import xconverge as xc

pynwb = pytest.importorskip("pynwb")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SHOWN = ["cat", "dog", "cat", "emu", "dog"]
STARTS = np.array([2.0, 10.0, 20.5, 40.25, 60.0])


def spikes(unit):
    return np.sort(np.random.default_rng(unit).uniform(0, 100, 300 + 100 * unit))


def write(path, *, trials=True, frames=False, observed=None, invalid=None, subject=None, units=3):
    file = pynwb.NWBFile("a recording", "id", NOW)
    if subject:
        file.subject = pynwb.file.Subject(
            subject_id=subject, species="Mus musculus", sex="U", age="P90D"
        )
    device = file.create_device("probe")
    groups = [
        file.create_electrode_group(name, description="x", location=name[:2], device=device)
        for name in ("V1 shank", "IT shank")
    ]
    if units:
        file.add_unit_column(name="quality", description="how good")
    for unit in range(units):
        more = {} if observed is None else {"obs_intervals": observed[unit]}
        file.add_unit(
            id=10 + unit, spike_times=spikes(unit), quality=["good", "noise"][unit % 2],
            electrode_group=groups[unit % 2], waveform_mean=np.ones(5), **more,
        )  # fmt: skip
    if trials:
        file.add_trial_column(name="stimulus_id", description="what was shown")
        file.add_trial_column(name="rt", description="s")
        for start, shown in zip(STARTS, SHOWN, strict=True):
            file.add_trial(
                start_time=start, stop_time=start + 1.5, stimulus_id=shown, rt=start / 10,
                tags=["a", "b"],
            )  # fmt: skip
    if frames:
        table = pynwb.epoch.TimeIntervals(name="images_presentations", description="x")
        table.add_column(name="frame", description="number of the image")
        for start, frame in zip(STARTS, [4.0, 0.0, 4.0, 1.0, 0.0], strict=True):
            table.add_interval(start_time=start, stop_time=start + 0.5, frame=frame)
        file.add_time_intervals(table)
    for start, stop in invalid or ():
        file.add_invalid_time_interval(start_time=start, stop_time=stop)
    with pynwb.NWBHDF5IO(str(path), "w") as writer:
        writer.write(file)
    return path


def by_loops(start, stop, unit):
    return sum(start <= time < stop for time in spikes(unit))


def test_counts_are_those_of_loops(tmp_path):
    reps = xc.io.read_nwb(write(tmp_path / "mouse.nwb", subject="m1"), modality="spikes")
    assert reps.dims == ("model", "stimulus", "feature", "repetition")
    assert reps.model.values.tolist() == ["mouse"]
    assert reps.n_repetitions.values.tolist() == [2, 2, 1]
    for trial, (start, shown) in enumerate(zip(STARTS, SHOWN, strict=True)):
        for unit in range(3):
            found = reps.sel(
                model="mouse", stimulus=shown, repetition=SHOWN[:trial].count(shown)
            ).isel(feature=unit)
            assert found == by_loops(start, start + 1.5, unit)
    assert reps.unit.values.tolist() == [10, 11, 12]
    assert reps.quality.values.tolist() == ["good", "noise", "good"]
    assert reps.electrode_group.values.tolist() == ["V1 shank", "IT shank", "V1 shank"]
    assert reps.location.values.tolist() == ["V1", "IT", "V1"]
    assert reps.subject.item() == "m1"
    np.testing.assert_array_equal(reps.rt.sel(stimulus="dog"), [1.0, 6.0])
    assert reps.trial.sel(stimulus="emu").values.tolist()[0] == 3
    assert not {"tags", "waveform_mean"} & set(reps.coords)
    assert reps.attrs["units"] == "spikes"
    xc.validate(reps)


def test_windows_bins_and_regions(tmp_path):
    path = write(tmp_path / "mouse.nwb")
    reps = xc.io.read_nwb(path, window=(-0.5, 0.5), bin_size=0.25, rate=True, by="location")
    assert reps.model.values.tolist() == ["V1", "IT"]
    np.testing.assert_allclose(reps.time, [-0.375, -0.125, 0.125, 0.375])
    one = reps.sel(model="IT", stimulus="emu", repetition=0).isel(feature=0)
    edges = 40.25 + np.linspace(-0.5, 0.5, 5)
    expected = [by_loops(*pair, 1) / 0.25 for pair in itertools.pairwise(edges)]
    np.testing.assert_allclose(one, expected)


def test_it_is_what_pynapple_reads(tmp_path):
    nap = pytest.importorskip("pynapple")
    path = write(tmp_path / "mouse.nwb")
    ours = xc.io.read_nwb(path, model="probe", repetitions="mean")
    with pynwb.NWBHDF5IO(str(path), "r") as opened:
        content = opened.read()
        units = nap.TsGroup(
            {
                int(i): nap.Ts(content.units["spike_times"][n])
                for n, i in enumerate(content.units.id[:])
            },
            time_support=nap.IntervalSet(0, 100),
        )
        trials = content.trials.to_dataframe().drop(columns="tags")
    other = xc.io.from_pynapple(units, trials, model="probe", repetitions="mean")
    np.testing.assert_array_equal(ours, other)
    assert ours.unit.values.tolist() == other.unit.values.tolist()


def test_presentations_are_a_table_too(tmp_path):
    both = write(tmp_path / "both.nwb", frames=True)
    reps = xc.io.read_nwb(both, trials="images_presentations", stimulus="frame")
    assert reps.stimulus.values.tolist() == ["4", "0", "1"]
    only = write(tmp_path / "only.nwb", trials=False, frames=True)
    again = xc.io.read_nwb(only, stimulus="frame", model="both")
    np.testing.assert_array_equal(again, reps)
    with pytest.raises(xc.SchemaError, match=r"'epochs'.*'images_presentations', 'trials'"):
        xc.io.read_nwb(both, trials="epochs")
    with pytest.raises(xc.SchemaError, match="one column 'stimulus_id'.*'frame'"):
        xc.io.read_nwb(only)


def test_units_that_were_not_recorded_all_the_time(tmp_path):
    observed = [[[0.0, 100.0]], [[0.0, 15.0], [18.0, 100.0]], [[0.0, 41.0], [55.0, 100.0]]]
    path = write(tmp_path / "mouse.nwb", observed=observed)
    with pytest.raises(xc.SchemaError, match="'12'; stimuli 'emu'"):
        xc.io.read_nwb(path)
    with pytest.warns(RuntimeWarning, match="1 of 3"):
        reps = xc.io.read_nwb(path, gaps="drop")
    assert reps.unit.values.tolist() == [10, 11]


def test_invalid_times_are_missing(tmp_path):
    path = write(tmp_path / "mouse.nwb", invalid=[(3.0, 3.2), (3.5, 10.0)])
    with pytest.warns(RuntimeWarning, match="1 of 5 trials meet times.*invalid"):
        reps = xc.io.read_nwb(path)
    cat = reps.sel(model="mouse", stimulus="cat")
    assert cat.sel(repetition=0).isnull().all()
    assert cat.sel(repetition=1).notnull().all()
    # what ends where a trial begins does not meet it
    assert reps.sel(model="mouse", stimulus="dog").notnull().all()


def test_what_is_no_recording_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no file"):
        xc.io.read_nwb(tmp_path / "x.nwb")
    (tmp_path / "x.nwb").write_bytes(b"nothing")
    with pytest.raises(xc.SchemaError, match="cannot be read as a file of Neurodata"):
        xc.io.read_nwb(tmp_path / "x.nwb")
    with pytest.raises(xc.SchemaError, match="no units with spike_times"):
        xc.io.read_nwb(write(tmp_path / "u.nwb", units=0))
    with pytest.raises(xc.SchemaError, match="no table of intervals 'trials'.*there is none"):
        xc.io.read_nwb(write(tmp_path / "t.nwb", trials=False))
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ImportError, match=r"needs pynwb.*xconverge\[bridges\]"):
        xc.io.read_nwb(tmp_path / "u.nwb")
