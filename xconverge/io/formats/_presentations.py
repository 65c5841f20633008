"""Presentations become stimuli: several of one stimulus are refused, averaged or kept apart."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import one_chunk
from xconverge.io.formats._flat import on_dim
from xconverge.io.formats._labels import filled
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.numbers import float_array

Repetitions = Literal["error", "mean", "keep"]
CHOICES = ("error", "mean", "keep")
UNITS = ("session", "run")
"""What trials share noise in: known of every repetition, also where a stimulus has but one."""


def by_stimulus(
    array: xr.DataArray,
    presentation: str,
    labels: Any,
    repetitions: Repetitions,
    what: str,
    number: str = "repetition",
) -> xr.DataArray:
    """The array with ``stimulus`` in place of ``presentation``; ``number`` tells repetitions."""
    choose("repetitions", repetitions, CHOICES)
    taken = {"stimulus", *(["repetition"] if repetitions == "keep" else [])} & set(array.dims)
    if taken:
        raise SchemaError(f"{what} has another dim {listing(sorted(taken))}; .rename it first")
    codes, stimuli = pd.factorize(labels)
    if not len(stimuli):
        raise SchemaError(f"{what} is empty: {presentation!r} has size 0")
    counts = np.bincount(codes)
    if repetitions == "error" and counts.max() > 1:
        several = np.flatnonzero(counts > 1)
        times = [f"{stimuli[i]} ({counts[i]} times)" for i in several]
        raise SchemaError(
            f"{what} presents {len(several)} of {len(stimuli)} stimuli several times: "
            f"{listing(times)}; choose repetitions='mean' (their average) or 'keep' (a dim "
            "'repetition')"
        )
    bare = float_array(array, what).drop_vars(
        [name for name, coord in array.coords.items() if presentation in coord.dims]
    )
    trials = None
    if repetitions == "keep":
        told = number in on_dim(array, presentation)
        numbers = array.coords[number].values if told else None
        trials, labels = _trials(codes, counts, numbers)
        result = _kept(bare, presentation, trials, labels)
    elif repetitions == "mean":
        result = _averaged(bare, presentation, codes, len(stimuli))
    else:
        result = bare.rename({presentation: "stimulus"})
    coords = _of_stimuli(array, presentation, codes, trials)
    if repetitions == "keep":
        # the labels of the dim, or no labels
        coords.pop(number, None)
        coords.pop("repetition", None)
    if repetitions != "error":
        coords["n_repetitions"] = xr.Variable("stimulus", counts.astype(np.int64))
    result = result.assign_coords({**coords, "stimulus": np.asarray(stimuli, dtype=object)})
    result.attrs = dict(array.attrs)
    return result


def _of_stimuli(
    array: xr.DataArray, dim: str, codes: Any, trials: Any = None
) -> dict[str, xr.Variable]:
    """Coordinates with one value a stimulus; others are of the ``trials`` that are kept apart."""
    _, first = np.unique(codes, return_index=True)
    kept = {}
    for name in on_dim(array, dim):
        coord = array.coords[name]
        values = coord.values
        kinds = pd.factorize(values)[0]
        same = (kinds == kinds[first][codes]).all()
        if trials is not None and (name in UNITS or not same):
            each = filled(values, trials)
            kept[name] = xr.Variable(("stimulus", "repetition"), each, coord.attrs)
        elif same:
            kept[name] = xr.Variable("stimulus", values[first], coord.attrs)
    return kept


def _trials(codes: Any, counts: Any, numbers: Any) -> tuple[Any, Any]:
    """Which presentation is which repetition (stimulus, repetition), -1 for none; their labels."""
    labels = None
    if numbers is not None:
        place, labels = pd.factorize(numbers, sort=True)
        pairs = pd.MultiIndex.from_arrays([codes, place])
        if (place < 0).any() or not pairs.is_unique:
            labels = None
    if labels is None:
        place = pd.Series(codes).groupby(codes).cumcount().to_numpy()
        labels = np.arange(counts.max())
    trials = np.full((len(counts), len(labels)), -1)
    trials[codes, place] = np.arange(len(codes))
    return trials, labels


def _kept(array: xr.DataArray, dim: str, trials: Any, labels: Any) -> xr.DataArray:
    """(stimulus, repetition, …): NaN where a stimulus has fewer presentations than others."""
    layers = []
    for column in trials.T:
        there = xr.DataArray(column >= 0, dims="stimulus")
        rows = array.isel({dim: np.maximum(column, 0)}).rename({dim: "stimulus"})
        layers.append(rows if there.all() else rows.where(there))
    index = pd.Index(labels, name="repetition")
    return xr.concat(layers, index, coords="minimal", compat="override", join="exact")


def _averaged(array: xr.DataArray, dim: str, codes: Any, n_stimuli: int) -> xr.DataArray:
    """Mean over the presentations of each stimulus in which the value is there."""
    # a mean over trials of one stimulus needs them all: they lie anywhere among the presentations
    array = one_chunk(array, [dim])
    # not by the engine's `apply`, which calls a kernel once for each entry of the other dims: here
    # these are features and times, thousands of them, which one call does together
    dtype = np.result_type(array.dtype, np.float32)
    result: xr.DataArray = xr.apply_ufunc(
        trial_means,
        array,
        input_core_dims=[[dim]],
        output_core_dims=[["stimulus"]],
        kwargs={"codes": codes, "n_stimuli": n_stimuli, "dtype": dtype},
        dask="parallelized",
        output_dtypes=[dtype],
        dask_gufunc_kwargs={"output_sizes": {"stimulus": n_stimuli}},
        keep_attrs=False,
    )
    return result


def trial_means(x: Any, *, codes: Any, n_stimuli: int, dtype: Any) -> Any:
    """Means (…, stimulus) of trials (…, presentation), NaN left out."""
    means = np.empty((*x.shape[:-1], n_stimuli), dtype)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=n_stimuli))
    for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        # sorted, so that no order of the trials changes a digit
        trials = np.sort(x[..., order[start:end]].astype(np.float64), axis=-1)
        there = ~np.isnan(trials)
        with np.errstate(invalid="ignore"):
            total = np.where(there, trials, 0.0).sum(-1)
        total = np.where(np.isinf(trials).any(-1), np.inf, total)
        n = there.sum(-1)
        means[..., i] = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return means
