"""Spread of models around their mean, as a state that merges.

``ssd`` is the sum over models of the squared distance to the mean; the mean squared distance of
a pair of models is ``2 / (count - 1) * ssd``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.rows import METRICS, Array, Metric, RowError, norms


class Spread(NamedTuple):
    """Models seen (n), their mean (n, f), ssd (n), and sum of their squared norms (n)."""

    models: Array
    mean: Array
    ssd: Array
    square: Array


def spread(x: Array, metric: Metric) -> Spread:
    """State of the models in one block, from rows ``x`` (model, n, f).

    Closed form in float64: sum of squared norms minus count times the squared norm of the mean;
    where the two cancel, from the deviations themselves.
    """
    models, n, width = x.shape
    mean = np.empty((n, width))
    norm, seen, inner = np.empty((models, n)), np.empty((models, n), bool), np.empty(n)

    def work(parts: Sequence[slice]) -> None:
        scratch = np.empty((models, parts[0].stop - parts[0].start, width))
        for part in parts:
            rows = scratch[:, : part.stop - part.start]
            rows[...] = x[:, part]
            norm[:, part], seen[:, part] = _norms_from(rows, part.start, metric)
            total = np.vecmat(_weights(norm[:, part], seen[:, part], metric).T, rows.swapaxes(0, 1))
            inner[part] = np.vecdot(total, total)
            mean[part] = total

    over_blocks(work, n, models * width * 8)
    count = seen.sum(0)
    square = np.square(norm * _weights(norm, seen, metric) * count).sum(0)
    ssd = square - count * inner
    near = np.flatnonzero(ssd < 1e-4 * square)
    if near.size:
        ssd[near] = _ssd_from_deviations(x, near, metric)
    return Spread(count, mean, ssd, square)


def _weights(norm: Array, seen: Array, metric: Metric) -> Array:
    """Weight (model, n) of each row in the mean over models; 0 for a missing one."""
    if seen.all():
        return 1 / (norm * len(norm)) if metric.unit else np.full(norm.shape, 1 / len(norm))
    count = np.where(seen, seen.sum(0), np.inf)
    return 1 / (np.where(seen, norm, 1) * count) if metric.unit else 1 / count


def _ssd_from_deviations(x: Array, near: Array, metric: Metric) -> Array:
    """Sum of squared deviations from the mean (len(near)) of these rows."""
    ssd = np.empty(len(near))

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            rows = x[:, near[part]].astype(np.float64)
            norm, seen = _norms_from(rows, 0, metric)
            if metric.unit:
                rows /= np.where(seen, norm, 1)[..., None]
            gap = rows - rows.sum(0) / np.maximum(seen.sum(0), 1)[:, None]
            ssd[part] = (np.vecdot(gap, gap) * seen).sum(0)

    over_blocks(work, len(near), len(x) * x.shape[2] * 8)
    return ssd


def _norms_from(rows: Array, start: int, metric: Metric) -> tuple[Array, Array]:
    """Norms of a block, its missing rows set to zero; faulty ones count from the whole's start."""
    try:
        norm, seen = norms(rows, metric)
    except RowError as error:
        raise RowError(error.reason, error.where + np.array([0, start])) from None
    if not seen.all():
        rows[~seen] = 0.0
        norm[~seen] = 0.0
    return norm, seen


def merge(states: Sequence[Spread]) -> Spread:
    """State of all the models of several blocks that hold the same stimuli."""
    if len(states) == 1:
        return states[0]
    count = np.sum([state.models for state in states], axis=0)
    share = [state.models / np.maximum(count, 1) for state in states]
    mean = np.zeros_like(states[0].mean)
    ssd = np.zeros_like(states[0].ssd)

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            for state, weight in zip(states, share, strict=True):
                mean[part] += state.mean[part] * weight[part, None]
            for state in states:
                gap = state.mean[part] - mean[part]
                ssd[part] += state.ssd[part] + state.models[part] * np.vecdot(gap, gap)

    over_blocks(work, len(ssd), mean.shape[1] * mean.itemsize * len(states))
    return Spread(count, mean, ssd, np.sum([state.square for state in states], axis=0))


def pair_distances(x: Array, metric: Metric) -> Array:
    """Distance (model, model, n) of every pair of models, from rows ``x`` (model, n, f)."""
    models, n, width = x.shape
    result = np.empty((models, models, n))

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            rows = x[:, part].astype(np.float64)
            norm, seen = _norms_from(rows, part.start, metric)
            if metric.unit:
                rows /= np.where(seen, norm, 1)[..., None]
            for m in range(models):
                gap = rows[m:] - rows[m]
                square = np.where(seen[m:] & seen[m], np.vecdot(gap, gap), np.nan)
                result[m, m:, part] = result[m:, m, part] = metric.of_square(square)

    over_blocks(work, n, models * width * 8)
    return result


def mean_over_pairs(distances: Array) -> Array:
    """Mean (n) over the unordered pairs of models that are there; NaN for none."""
    upper = distances[np.triu_indices(len(distances), 1)]
    there = ~np.isnan(upper)
    total, pairs = np.where(there, upper, 0.0).sum(0), there.sum(0)
    return np.asarray(np.divide(total, pairs, out=np.full(total.shape, np.nan), where=pairs > 0))


def mean_pair_distance(x: Array, metric: Metric) -> Array:
    """Mean pair distance, models seen and mean squared norm (3, n) of ``x`` (model, n, f)."""
    distances = pair_distances(x, metric)
    count = (~np.isnan(np.diagonal(distances))).sum(1)
    square = np.nansum(np.vecdot(x, x, dtype=np.float64), 0) / np.maximum(count, 1)
    return np.stack([mean_over_pairs(distances), count, square])


def summary(state: Spread, metric: str) -> Array:
    """Dispersion, models seen and mean squared norm (3, n) from the state of all models."""
    if metric == "consensus":
        value = np.sqrt(state.ssd)
    else:
        value = METRICS[metric].of_square(2 * state.ssd / np.maximum(state.models - 1, 1))
    value = np.where(state.models > 1, value, np.nan)
    return np.stack([value, state.models, state.square / np.maximum(state.models, 1)])
