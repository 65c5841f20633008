"""Spikes and trials become counts: trial × unit, or trial × unit × time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import carried, column_values
from xconverge.io.formats._places import Place
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._reading import check_memory
from xconverge.io.formats._stacked import models_of
from xconverge.io.formats._tables import check_names
from xconverge.io.formats._trials import by_subject, of_trials
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing

Window = tuple[float, float]
STARTS, ENDS = ("start", "start_time"), ("end", "stop_time")
ONSET, DURATION = "onset", "duration"


@dataclass(frozen=True)
class Spikes:
    """Spike times of units, and when they were recorded: (n, 2) for all, or for each, in s."""

    times: list[Array]
    table: pd.DataFrame
    """What is known of each unit; its index holds their ids."""
    recorded: list[Array] | Array | None = None


@dataclass(frozen=True)
class How:
    """How spikes are counted."""

    window: Window | None
    bin_size: float | None
    rate: bool

    def edges(self, starts: Array, ends: Array, what: str) -> Array:
        """Edges of the bins of each trial (trial, bin + 1), in s."""
        if self.window is None:
            if self.bin_size is not None:
                raise ValueError("bin_size= needs window=(start, stop), in which the bins lie")
            bad = ~(ends > starts)
            if bad.any():
                raise SchemaError(
                    f"{what} end when they begin, or before: {listing(np.flatnonzero(bad))}; give "
                    "window=(start, stop), seconds after the beginning of each"
                )
            return np.stack([starts, ends], axis=1)
        return starts[:, None] + self._bins()

    def _bins(self) -> Array:
        """Edges of the bins of a trial that begins at 0, in s."""
        start, stop = map(float, self.window or ())
        if not (np.isfinite([start, stop]).all() and start < stop):
            raise ValueError(f"window= must be (start, stop) in seconds, got {self.window}")
        size = stop - start if self.bin_size is None else float(self.bin_size)
        if not size > 0:
            raise ValueError(f"bin_size= must be seconds above 0, got {self.bin_size}")
        n_bins = max(round((stop - start) / size), 1)
        if not np.isclose(n_bins * size, stop - start):
            raise ValueError(
                f"bin_size={self.bin_size} does not divide the window from {start} to {stop} s; "
                f"choose {(stop - start) / n_bins:.6g}, or another window"
            )
        return np.linspace(start, stop, n_bins + 1)

    def times(self) -> dict[str, Any]:
        """The coordinate of the bins: their middle."""
        if self.bin_size is None:
            return {}
        edges = self._bins()
        return {"time": ("time", (edges[:-1] + edges[1:]) / 2, {"units": "s"})}

    def attrs(self) -> dict[str, Any]:
        """What the set says of it."""
        how = {"units": "spikes/s" if self.rate else "spikes"}
        window = None if self.window is None else [float(t) for t in self.window]
        return {**how, "window": window, "bin_size": self.bin_size}


def counts(spikes: Spikes, edges: Array, how: How, invalid: Array | None, what: str) -> Array:
    """Spikes (trial, unit, bin) from each edge on and before the next, NaN if not recorded."""
    shape = (len(edges), len(spikes.times), edges.shape[1] - 1)
    check_memory(8 * int(np.prod(shape)), f"{what}: its counts, {shape}")
    found = np.empty(shape)
    for unit, times in enumerate(spikes.times):
        # how many came before: a spike on an edge is in the bin that begins there
        found[:, unit] = np.diff(np.searchsorted(np.sort(times), edges), axis=1)
        if isinstance(spikes.recorded, list):
            found[~_inside(edges, spikes.recorded[unit]), unit] = np.nan
    if invalid is not None and len(invalid):
        spoiled = _meets(edges, invalid)
        found[spoiled] = np.nan
        if spoiled.any():
            warnings.warn(
                f"{what}: {spoiled.sum()} of {len(edges)} trials meet times that the file calls "
                "invalid, and are missing (NaN)",
                RuntimeWarning,
                stacklevel=4,
            )
    if how.rate:
        found /= np.diff(edges, axis=1)[:, None]
    return found


def _inside(edges: Array, intervals: Array) -> Array:
    """Which trials lie in one of the intervals from their first to their last edge."""
    first, last = edges[:, :1], edges[:, -1:]
    # starts are differences of times in a file, and ends sums: equal but for rounding
    inside = (first >= intervals[:, 0] - 1e-9) & (last <= intervals[:, 1] + 1e-9)
    return np.asarray(inside.any(axis=1))


def _meets(edges: Array, intervals: Array) -> Array:
    meets = (edges[:, :1] < intervals[:, 1]) & (edges[:, -1:] > intervals[:, 0])
    return np.asarray(meets.any(axis=1))


def trial_times(table: pd.DataFrame, what: str) -> tuple[Array, Array, pd.DataFrame]:
    """Starts and ends of trials, and their other columns with ``onset`` and ``duration``."""
    start = next((name for name in STARTS if name in table.columns), None)
    end = next((name for name in ENDS if name in table.columns), None)
    if start is None:
        raise SchemaError(
            f"{what} needs a column {listing(STARTS)} with the start of each trial in s; it has "
            f"{listing(table.columns, 30)}"
        )
    starts = np.asarray(table[start], np.float64)
    ends = starts if end is None else np.asarray(table[end], np.float64)
    lost = ~np.isfinite(starts)
    if lost.any() or not len(starts):
        raise SchemaError(f"{what} has trials without a start: {listing(np.flatnonzero(lost))}")
    table = table.drop(columns=[start, *([end] if end else [])]).reset_index(drop=True)
    if ONSET not in table.columns:
        table = table.assign(**{ONSET: starts})
    if DURATION not in table.columns and end is not None:
        table = table.assign(**{DURATION: ends - starts})
    return starts, ends, table


def sets_of(
    spikes: Spikes,
    trials: pd.DataFrame,
    how: How,
    place: Place,
    what: str,
    *,
    stimulus: str,
    repetition: str | None,
    repetitions: Repetitions,
    model: str | None,
    by: str | Sequence[str] | None,
    invalid: Array | None = None,
) -> dict[Place, xr.DataArray]:
    """Representations (stimulus, feature, …) of each model and subject."""
    starts, ends, table = trial_times(trials, f"trials of {what}")
    edges = how.edges(starts, ends, f"trials of {what}")
    if isinstance(spikes.recorded, np.ndarray):
        _check_recorded(edges, spikes.recorded, what)
    lengths = edges[:, -1] - edges[:, 0]
    if not how.rate and not np.allclose(lengths, lengths[0], rtol=1e-3):
        warnings.warn(
            f"trials of {what} last from {lengths.min():.4g} to {lengths.max():.4g} s, and counts "
            "grow with it; rate=True divides by it, window=(start, stop) makes them equal",
            RuntimeWarning,
            stacklevel=3,
        )
    values = counts(spikes, edges, how, invalid, what)
    known = {**_of_units(spikes.table), **how.times()}
    values = values if "time" in known else values[..., 0]
    sets: dict[Place, xr.DataArray] = {}
    for key, (part, rows, who) in by_subject(place, table, values, what).items():
        array = of_trials(rows, part, known, stimulus, repetition, repetitions, who)
        for name, one in models_of(array, "feature", model, by, who).items():
            sets[(*name, *key)] = one
    return sets


def _check_recorded(edges: Array, recorded: Array, what: str) -> None:
    outside = np.flatnonzero(~_inside(edges, recorded))
    if len(outside):
        raise SchemaError(
            f"trials {listing(outside)} of {what} reach outside of its time support, "
            f"{np.round(recorded, 4).tolist()} s, where nobody knows of spikes. Leave them out; "
            "or, as pynapple takes the first and the last spike if it is told nothing, say when "
            "the recording began and ended: TsGroup(…, time_support=IntervalSet(start, end))"
        )


def _of_units(table: pd.DataFrame) -> dict[str, Any]:
    """Coordinates of the units."""
    table = table.rename_axis(None).assign(unit=table.index)
    check_names(table.columns, "the table of units")
    columns = {str(name): column_values(table[name]) for name in table.columns}
    return {name: ("feature", column) for name, column in carried(columns, ("unit",)).items()}
