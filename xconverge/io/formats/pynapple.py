"""Spikes of pynapple: units and trials become counts, and averages become frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import text_labels
from xconverge.io.formats._needs import BRIDGES, needs
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._places import Join, Place, by_place
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._spikes import How, Spikes, Window, sets_of
from xconverge.io.formats._stacked import representations
from xconverge.io.formats._trials import designs_of
from xconverge.labels.checks import widths
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing

STIMULUS = "stimulus_id"
COMPUTED = "rate"
"""Column of pynapple's own making: spikes per second of the time support."""


def from_pynapple(
    units: Any,
    trials: Any,
    stimuli: Any = None,
    *,
    stimulus: str = STIMULUS,
    window: Window | None = None,
    bin_size: float | None = None,
    rate: bool = False,
    repetition: str | None = None,
    repetitions: Repetitions = "keep",
    model: str | None = None,
    by: str | Sequence[str] | None = None,
    gaps: Gaps | None = None,
    join: Join = "exact",
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of the spikes of units in trials.

    Parameters
    ----------
    units : pynapple.TsGroup, or dict of these
        Spikes of each unit. A dict has the units of each subject, and gives the dim ``subject``.
    trials : pynapple.IntervalSet, pynapple.Ts, DataFrame, array, or dict of these
        When each trial began and ended: epochs, with what is known of each trial as metadata, or a
        table with the columns ``start`` and ``end``; or when each began (``window`` is then
        needed). A dict has those of each subject; what is no dict holds for all.
    stimuli : sequence, optional
        What each trial showed, in their order; default: the column ``stimulus``.
    stimulus : str
        Column of the trials with the ids of the stimuli.
    window : (float, float), optional
        Seconds after the beginning of a trial in which spikes are counted, as ``(0.05, 0.25)``;
        default: from its beginning to its end.
    bin_size : float, optional
        Seconds of a bin: the window is cut into bins, the dim ``time``.
    rate : bool
        Spikes per second, instead of counts.
    repetition, repetitions
        What numbers the trials of a stimulus, and what to do with several, as in `from_trials`.
    model : str, optional
        What the source is called: ``"probe"``.
    by : str or sequence of str, optional
        Metadata of the units that make the models, one of each value: ``"region"``.
    gaps, join
        As in `from_trials`.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, [subject,] stimulus, feature, repetition[, time]), in memory.
        ``unit`` and the metadata of the units are coordinates on ``feature``; those of the trials,
        ``onset`` and ``duration`` on ``stimulus``, or on (stimulus, repetition) where they differ;
        ``time`` is the middle of a bin, in seconds. attrs say ``units``, ``window``, ``bin_size``.

    Warns
    -----
    RuntimeWarning
        Counts of trials that last differently long.

    Raises
    ------
    ImportError
        pynapple is not installed.
    SchemaError
        No column of ids; trials outside of the time support of the units, in which nobody knows of
        spikes; what `from_trials` refuses.

    Notes
    -----
    A spike belongs to a bin from its beginning on and before its end, so that each is counted once;
    trials may overlap. pynapple's mean rate of a unit over the whole recording is left out.
    Viejo et al. (2023).

    Examples
    --------
    >>> import pynapple as nap
    >>> epochs = nap.IntervalSet([0, 2, 4], [1, 3, 5], metadata={"stimulus_id": ["a", "b", "a"]})
    >>> units = nap.TsGroup(
    ...     {7: nap.Ts([0.1, 0.2, 4.5]), 9: nap.Ts([2.5, 3.5])}, time_support=nap.IntervalSet(0, 5),
    ...     metadata={"region": ["V1", "IT"]})
    >>> reps = from_pynapple(units, epochs, model="probe")
    >>> reps.sel(model="probe", stimulus="a").values.tolist()  # (feature, repetition)
    [[2.0, 1.0], [0.0, 0.0]]
    >>> reps.unit.values.tolist(), reps.region.values.tolist()
    ([7, 9], ['V1', 'IT'])
    """
    nap = needs("pynapple", "from_pynapple", BRIDGES)
    how = How(window, bin_size, rate)
    # a TsGroup is a mapping itself, of units
    one = isinstance(units, nap.TsGroup)
    places = {(): units} if one else by_place(units, ("subject",), "units")
    shown, tables = designs_of(stimuli, list(places)), designs_of(trials, list(places))
    sets: dict[Place, xr.DataArray] = {}
    for place, group in places.items():
        what = f"units of {place[0]!r}" if place else "units"
        if not isinstance(group, nap.TsGroup):
            raise TypeError(f"{what} must be a pynapple.TsGroup, got {came(group)}")
        table = _with_ids(_table(tables[place], window, what, nap), shown[place], stimulus, what)
        known = group.metadata.drop(columns=COMPUTED, errors="ignore")
        times = [np.asarray(group[key].t, np.float64) for key in group.index]
        spikes = Spikes(times, pd.DataFrame(known), np.asarray(group.time_support.values))
        made = sets_of(
            spikes, table, how, place, what, stimulus=stimulus, repetition=repetition,
            repetitions=repetitions, model=model, by=by,
        )  # fmt: skip
        sets.update(made)
    reps = representations(sets, "units", gaps=gaps, join=join, modality=modality)
    return reps.assign_attrs(how.attrs())


def _table(trials: Any, window: Window | None, what: str, nap: Any) -> pd.DataFrame:
    """A row a trial, with the columns start and end."""
    if isinstance(trials, pd.DataFrame):
        return trials
    if isinstance(trials, nap.IntervalSet):
        found: pd.DataFrame = trials.as_dataframe()
        return found
    onsets = np.asarray(trials.t if hasattr(trials, "t") else trials)
    if onsets.ndim != 1 or onsets.dtype.kind not in "iuf":
        raise TypeError(
            f"trials of {what} must be a pynapple.IntervalSet or Ts, a DataFrame, or an array of "
            f"the seconds at which they began, got {came(trials)}"
        )
    if window is None:
        raise ValueError("trials say when they began alone; give window=(start, stop) too")
    return pd.DataFrame({"start": onsets})


def _with_ids(table: pd.DataFrame, stimuli: Any, stimulus: str, what: str) -> pd.DataFrame:
    """The trials with a column of what they showed."""
    if stimuli is None:
        return table
    ids = list(stimuli)
    if len(ids) != len(table):
        raise SchemaError(
            f"stimuli has {len(ids)} ids, and there are {len(table)} trials of {what}"
        )
    if stimulus in table.columns:
        raise SchemaError(
            f"trials of {what} have a column {stimulus!r} themselves; leave stimuli= out, or "
            "call the column of stimuli= otherwise, with stimulus='…'"
        )
    return table.assign(**{stimulus: ids})


def to_pynapple(reps: xr.DataArray) -> Any:
    """Make pynapple frames (time, unit) of responses in time.

    Parameters
    ----------
    reps : DataArray
        (time, feature) of one model, and ``stimulus`` where there is one; repetitions averaged or
        selected first. A lazy one is computed.

    Returns
    -------
    pynapple.TsdFrame, or dict of str to TsdFrame
        One, or one a stimulus. Columns are the coordinate ``unit``, or positions; other coordinates
        on ``feature`` are metadata. Only real features are in it.

    Raises
    ------
    ImportError
        pynapple is not installed.
    SchemaError
        No time, or other dims; several models.

    Examples
    --------
    >>> reps = xr.DataArray(
    ...     np.eye(2)[None], dims=("stimulus", "time", "feature"),
    ...     coords={"stimulus": ["cat"], "time": [0.05, 0.15], "unit": ("feature", [7, 9])})
    >>> frame = to_pynapple(reps)["cat"]
    >>> frame.t.tolist(), frame.columns.tolist()
    ([0.05, 0.15], [7, 9])
    """
    nap = needs("pynapple", "to_pynapple", BRIDGES)
    if not isinstance(reps, xr.DataArray):
        raise TypeError(f"reps must be an xarray.DataArray, got {came(reps)}")
    if "model" in reps.dims:
        reps = reps.squeeze("model") if reps.sizes["model"] == 1 else reps
    known = {"time", "feature", "stimulus"}
    if not {"time", "feature"} <= set(reps.dims) <= known or "time" not in reps.coords:
        raise SchemaError(
            "reps must be over time (with labels) and feature, and stimulus if you like, got "
            f"{list(map(str, reps.dims))}; select a model, and average the repetitions"
        )
    reps = reps.isel(feature=slice(int(widths(reps)))).compute()
    if "stimulus" not in reps.dims:
        return _frame(reps, nap)
    names = text_labels(reps.indexes["stimulus"], "stimulus")
    return {str(name): _frame(reps.isel(stimulus=i), nap) for i, name in enumerate(names)}


def _frame(one: xr.DataArray, nap: Any) -> Any:
    about = {
        str(name): read(coord)
        for name, coord in one.coords.items()
        if coord.dims == ("feature",) and name != "unit"
    }
    columns = read(one["unit"]) if "unit" in one.coords else np.arange(one.sizes["feature"])
    if len(set(columns.tolist())) < len(columns):
        raise SchemaError(f"units have one id twice: {listing(columns)}")
    values = one.transpose("time", "feature").values
    frame = nap.TsdFrame(t=read(one["time"]), d=values, columns=columns.tolist())
    if about:
        frame.set_info(pd.DataFrame(about, index=frame.columns))
    return frame
