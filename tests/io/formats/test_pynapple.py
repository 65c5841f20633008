"""Spikes of pynapple in trials, judged by loops and by pynapple itself."""

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc

nap = pytest.importorskip("pynapple")
SPAN = nap.IntervalSet(0, 100)
SHOWN = ["cat", "dog", "cat", "emu", "dog", "cat"]
STARTS = np.array([2.0, 10.0, 20.5, 40.25, 60.0, 90.0])


def group(seed=0, units=(3, 7, 12), **options):
    rng = np.random.default_rng(seed)
    spikes = {u: nap.Ts(np.sort(rng.uniform(0, 100, 400 + 100 * u))) for u in units}
    metadata = pd.DataFrame({"region": ["V1", "IT", "V1", "IT"][: len(units)]}, index=list(units))
    return nap.TsGroup(spikes, time_support=SPAN, metadata=metadata, **options)


def epochs(**columns):
    return nap.IntervalSet(STARTS, STARTS + 1.5, metadata={"stimulus_id": SHOWN, **columns})


def by_loops(units, edges):
    """Spikes (trial, unit, bin), each looked at by itself."""
    found = np.zeros((len(edges), len(units.index), len(edges[0]) - 1))
    for number, key in enumerate(units.index):
        for time in units[key].t:
            for trial, row in enumerate(edges):
                for place in range(len(row) - 1):
                    found[trial, number, place] += row[place] <= time < row[place + 1]
    return found


def trials_in_order(reps):
    """(trial, feature, …) of a set of one model."""
    nth = [SHOWN[:i].count(name) for i, name in enumerate(SHOWN)]
    rows = [
        reps.isel(model=0).sel(stimulus=name, repetition=n)
        for name, n in zip(SHOWN, nth, strict=True)
    ]
    return np.stack([row.transpose("feature", ...).values for row in rows])


def test_counts_of_epochs_are_those_of_loops_and_of_pynapple():
    units, given = group(), epochs(rt=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], block=list("aabbab"))
    reps = xc.io.from_pynapple(units, given, model="probe", modality="spikes")
    assert reps.dims == ("model", "stimulus", "feature", "repetition")
    assert reps.n_repetitions.values.tolist() == [3, 2, 1]
    found = trials_in_order(reps)
    edges = np.stack([given.start, given.end], 1)
    np.testing.assert_array_equal(found, by_loops(units, edges)[..., 0])
    np.testing.assert_array_equal(found, units.count(ep=given).values)
    assert reps.sel(model="probe", stimulus="emu", repetition=1).isnull().all()
    assert reps.unit.values.tolist() == [3, 7, 12]
    assert reps.region.values.tolist() == ["V1", "IT", "V1"]
    assert "rate" not in reps.coords
    np.testing.assert_array_equal(reps.rt.sel(stimulus="cat"), [0.1, 0.3, 0.6])
    np.testing.assert_array_equal(reps.onset.sel(stimulus="cat"), STARTS[[0, 2, 5]])
    assert (reps.duration == 1.5).all()
    assert reps.attrs == {
        "modality": "spikes", "units": "spikes", "window": None, "bin_size": None
    }  # fmt: skip
    xc.validate(reps)


def test_bins_are_those_of_loops_and_of_a_perievent():
    units = group()
    reps = xc.io.from_pynapple(
        units, nap.Ts(STARTS), SHOWN, window=(-0.2, 0.6), bin_size=0.1, model="probe"
    )
    np.testing.assert_allclose(reps.time, np.arange(-0.15, 0.6, 0.1))
    assert reps.time.attrs == {"units": "s"}
    found = trials_in_order(reps)
    edges = STARTS[:, None] + np.linspace(-0.2, 0.6, 9)
    np.testing.assert_array_equal(found, by_loops(units, edges))
    around = nap.compute_perievent(units, nap.Ts(STARTS), (-0.2, 0.6))
    for number, key in enumerate(units.index):
        expected = around[key].count(0.1, nap.IntervalSet(-0.2, 0.6)).values
        np.testing.assert_array_equal(found[:, number].T, expected)
    onsets = xc.io.from_pynapple(
        units, STARTS, SHOWN, window=(-0.2, 0.6), bin_size=0.1, model="probe"
    )
    xr.testing.assert_identical(onsets, reps)
    whole = xc.io.from_pynapple(units, STARTS, SHOWN, window=(-0.2, 0.6), model="probe")
    assert "time" not in whole.dims
    np.testing.assert_array_equal(whole, reps.sum("time", skipna=False))


def test_rates_are_counts_over_time():
    units = group()
    options = {"window": (0.0, 0.5), "bin_size": 0.25, "model": "probe"}
    counts = xc.io.from_pynapple(units, STARTS, SHOWN, **options)
    rates = xc.io.from_pynapple(units, STARTS, SHOWN, rate=True, **options)
    np.testing.assert_allclose(rates, counts / 0.25)
    assert rates.attrs["units"] == "spikes/s"
    uneven = nap.IntervalSet(STARTS, STARTS + np.linspace(1, 2, 6))
    with pytest.warns(RuntimeWarning, match=r"last from 1 to 2 s, and counts grow with it"):
        xc.io.from_pynapple(units, uneven, SHOWN, model="probe")
    rate = xc.io.from_pynapple(units, uneven, SHOWN, rate=True, model="probe")
    expected = units.count(ep=uneven).values / np.linspace(1, 2, 6)[:, None]
    np.testing.assert_allclose(trials_in_order(rate), expected)


def test_a_spike_on_an_edge_is_counted_once():
    units = nap.TsGroup({0: nap.Ts([1.0, 1.5, 2.0, 2.5])}, time_support=SPAN)
    reps = xc.io.from_pynapple(
        units, np.array([1.0, 1.5]), ["a", "b"], window=(0.0, 1.0), bin_size=0.5, model="m"
    )
    # trials overlap: what lies in both is in both
    assert reps.squeeze(drop=True).values.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_trials_are_averaged_or_refused():
    units = group()
    kept = xc.io.from_pynapple(units, epochs(), model="probe")
    mean = xc.io.from_pynapple(units, epochs(), model="probe", repetitions="mean")
    np.testing.assert_allclose(mean, kept.mean("repetition"))
    with pytest.raises(xc.SchemaError, match=r"cat \(3 times\)"):
        xc.io.from_pynapple(units, epochs(), model="probe", repetitions="error")
    numbered = epochs(nth=[5, 0, 3, 0, 1, 4])
    reps = xc.io.from_pynapple(units, numbered, model="probe", repetition="nth")
    assert reps.repetition.values.tolist() == [0, 1, 3, 4, 5]


def test_regions_are_models_and_subjects_a_dim(tmp_path):
    units = group()
    reps = xc.io.from_pynapple(units, epochs(), by="region", modality="spikes")
    assert reps.model.values.tolist() == ["V1", "IT"]
    assert reps.n_features.values.tolist() == [2, 1]
    whole = xc.io.from_pynapple(units, epochs(), model="probe")
    np.testing.assert_array_equal(reps.sel(model="V1"), whole[0].isel(feature=[0, 2]))
    two = {"s1": group(), "s2": group(1, units=(5, 6))}
    both = xc.io.from_pynapple(two, {"s1": epochs(), "s2": epochs()}, model="probe", modality="v")
    assert both.n_features.values.tolist() == [[3, 2]]
    np.testing.assert_array_equal(both.sel(subject="s1").values, whole.values)
    xc.write_representations(tmp_path / "s.zarr", both)
    again = xc.open_representations(tmp_path / "s.zarr", "v").load()
    xr.testing.assert_identical(again.transpose(*both.dims), both)


def test_where_nobody_knows_of_spikes():
    units = group()
    late = nap.IntervalSet([2, 99.5], [3, 101], metadata={"stimulus_id": ["a", "b"]})
    with pytest.raises(xc.SchemaError, match=r"trials '1' of units reach outside.*time_support="):
        xc.io.from_pynapple(units, late, model="probe")
    pauses = nap.IntervalSet([0, 50], [40.5, 100])
    with pytest.raises(xc.SchemaError, match="trials '3' of units"):
        xc.io.from_pynapple(units.restrict(pauses), epochs(), model="probe")


def test_there_and_back():
    reps = xc.io.from_pynapple(
        group(), STARTS, SHOWN, window=(0.0, 0.4), bin_size=0.1, model="probe", rate=True,
        repetitions="mean",
    )  # fmt: skip
    frames = xc.io.to_pynapple(reps)
    assert list(frames) == ["cat", "dog", "emu"]
    for name, frame in frames.items():
        assert isinstance(frame, nap.TsdFrame)
        mine = reps.sel(model="probe", stimulus=name)
        np.testing.assert_array_equal(frame.values, mine.transpose("time", "feature"))
        np.testing.assert_allclose(frame.t, reps.time)
        assert frame.columns.tolist() == [3, 7, 12]
        assert frame.metadata["region"].tolist() == ["V1", "IT", "V1"]
    one = xc.io.to_pynapple(reps.sel(stimulus="dog"))
    np.testing.assert_array_equal(one.values, frames["dog"].values)
    with pytest.raises(xc.SchemaError, match="average the repetitions"):
        xc.io.to_pynapple(xc.io.from_pynapple(group(), epochs(), model="probe"))
    with pytest.raises(TypeError, match="DataArray, got"):
        xc.io.to_pynapple(frames)


def test_what_is_wrong_is_said(monkeypatch):
    units = group()
    with pytest.raises(TypeError, match=r"pynapple\.TsGroup, got"):
        xc.io.from_pynapple([1.0, 2.0], epochs(), model="m")
    with pytest.raises(TypeError, match="IntervalSet or Ts, a DataFrame"):
        xc.io.from_pynapple(units, ["a"], ["a"], model="m")
    with pytest.raises(ValueError, match=r"give window="):
        xc.io.from_pynapple(units, STARTS, SHOWN, model="m")
    with pytest.raises(ValueError, match="bin_size= needs window="):
        xc.io.from_pynapple(units, epochs(), bin_size=0.1, model="m")
    with pytest.raises(ValueError, match="does not divide the window.*choose 0.5"):
        xc.io.from_pynapple(units, epochs(), window=(0, 1), bin_size=0.4, model="m")
    with pytest.raises(ValueError, match="seconds above 0"):
        xc.io.from_pynapple(units, epochs(), window=(0, 1), bin_size=0, model="m")
    with pytest.raises(ValueError, match="start, stop"):
        xc.io.from_pynapple(units, epochs(), window=(1, 0), model="m")
    with pytest.raises(xc.SchemaError, match="stimuli has 2 ids, and there are 6 trials"):
        xc.io.from_pynapple(units, STARTS, ["a", "b"], window=(0, 1), model="m")
    with pytest.raises(xc.SchemaError, match="'stimulus_id' themselves"):
        xc.io.from_pynapple(units, epochs(), SHOWN, model="m")
    with pytest.raises(xc.SchemaError, match="needs one column 'image'.*'onset'"):
        xc.io.from_pynapple(units, epochs(), stimulus="image", model="m")
    table = pd.DataFrame({"begin": STARTS, "stimulus_id": SHOWN})
    with pytest.raises(xc.SchemaError, match="needs a column 'start', 'start_time'"):
        xc.io.from_pynapple(units, table, model="m")
    table = pd.DataFrame({"start": STARTS, "end": STARTS, "stimulus_id": SHOWN})
    with pytest.raises(xc.SchemaError, match="end when they begin"):
        xc.io.from_pynapple(units, table, model="m")
    with pytest.raises(xc.SchemaError, match="without a start: '1'"):
        xc.io.from_pynapple(units, np.array([1.0, np.nan]), ["a", "b"], window=(0, 1), model="m")
    monkeypatch.setitem(sys.modules, "pynapple", None)
    for call in (lambda: xc.io.from_pynapple(units, 0), lambda: xc.io.to_pynapple(units)):
        with pytest.raises(ImportError, match=r"needs pynapple.*xconverge\[bridges\]"):
            call()
