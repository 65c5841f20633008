"""Spread of models around their mean, as a state that merges.

``ssd`` is the sum over models of the squared distance to the mean; the mean squared distance of
a pair of models is ``2 / (count - 1) * ssd``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.kernel import Kernel, Model, score
from xconverge.kernels.vectors import Array, Metric, counted_from, norms


class Spread(NamedTuple):
    """Models seen (n), their mean (n, f), ssd (n), and sum of their squared norms (n)."""

    models: Array
    mean: Array
    ssd: Array
    square: Array


def leaf(x: Array, metric: Metric) -> Spread | Array:
    """State of the models in one block, from rows ``x`` (model, n, f).

    The rows of a single model stay as they are, checked: their state would be twice their size.
    """
    if len(x) > 1:
        return spread(x, metric)
    _check_rows(x, metric)
    return np.asarray(x[0])


def _check_rows(x: Array, metric: Metric) -> None:
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        square = np.vecdot(x, x)
    if not metric.centered and (np.isfinite(square) & (square > 0)).all():
        return

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            _norms_from(x[:, part].astype(np.float64), part.start, metric)

    over_blocks(work, x.shape[1], len(x) * x.shape[2] * 8)


def spread(x: Array | Sequence[Array], metric: Metric) -> Spread:
    """State of several models, from the rows (n, f) of each."""
    mean = np.empty(x[0].shape)
    count, ssd, square = _deviations(x, metric, mean)
    return Spread(count, mean, ssd, square)


Finish = Callable[[Array, Array], Array]
"""What Σ_m |x_m - x̄|² (n) of a number of models (n, at least 2) makes."""


def of_pairs(ssd: Array, count: Array, metric: Metric) -> Array:
    """Mean distance over pairs of models."""
    return np.asarray(mean_distance(ssd, count, metric))


def of_consensus(ssd: Any, count: Any, root: Callable[[Any], Any] = np.sqrt) -> Any:
    """Root of the summed squared distances to the mean over ``count - 1``, as in a variance.

    Of equal noise it is the same however many models there are; the sum is less for fewer. Of
    arrays of the library of ``root``.
    """
    return root(ssd / (count - 1))


def dispersion(x: Array, metric: Metric, finish: Finish) -> Array:
    """Dispersion, models seen and mean squared norm (3, n) from all models (model, n, f)."""
    return _summary(*_deviations(x, metric, None), finish)


def dispersion_of(state: Spread, finish: Finish) -> Array:
    """Dispersion, models seen and mean squared norm (3, n) from the state of all models."""
    return _summary(state.models, state.ssd, state.square, finish)


def _summary(count: Array, ssd: Array, square: Array, finish: Finish) -> Array:
    value = finish(ssd, np.maximum(count, 2))
    return np.stack([np.where(count > 1, value, np.nan), count, square / np.maximum(count, 1)])


def mean_distance(ssd: Any, count: Any, metric: Metric) -> Any:
    """Mean distance of a pair of ``count`` models; of arrays of any library, as is ``square_gaps``.

    For the linear metrics, whose distance is a multiple of the squared distance.
    """
    return metric.of_square(2 * ssd / (count - 1))


def square_gaps(rows: Any, count: Any, seen: Any, xp: Any = np) -> Any:
    """Sum over models of the squared distance to their mean (n), from rows (model, n, f).

    ``count`` models were seen, missing ones are zero; ``xp`` is the library of the arrays.
    """
    gap = rows - rows.sum(0) / count
    return (xp.linalg.vecdot(gap, gap) * seen).sum(0)


def _deviations(
    x: Array | Sequence[Array], metric: Metric, mean: Array | None
) -> tuple[Array, Array, Array]:
    """Models seen, ssd and sum of squared norms (n) of several models; fills ``mean`` if given.

    Closed form in float64: sum of squared norms minus count times the squared norm of the mean;
    where the two cancel, from the deviations themselves.
    """
    models, (n, width) = len(x), x[0].shape
    norm, seen, inner = np.empty((models, n)), np.ones((models, n), bool), np.empty(n)

    def work(parts: Sequence[slice]) -> None:
        scratch = np.empty((models, parts[0].stop - parts[0].start, width))
        for part in parts:
            rows = scratch[:, : part.stop - part.start]
            _gather(x, part, rows)
            norm[:, part], seen[:, part] = _norms_from(rows, part.start, metric)
            weights = _weights(norm[:, part], seen[:, part], metric)
            total = np.vecmat(weights.T, rows.swapaxes(0, 1))
            np.vecdot(total, total, out=inner[part])
            if mean is not None:
                mean[part] = total

    over_blocks(work, n, models * width * 8)
    count = seen.sum(0)
    square = np.square(norm * _weights(norm, seen, metric) * count).sum(0)
    ssd = np.where(count > 1, square - count * inner, 0.0)
    near = np.flatnonzero((count > 1) & (ssd < 1e-4 * square))
    if near.size:
        ssd[near] = _ssd_from_deviations(x, near, metric)
    return count, ssd, square


def _gather(x: Array | Sequence[Array], part: slice, rows: Array) -> None:
    if isinstance(x, np.ndarray):
        rows[...] = x[:, part]
        return
    for row, model in zip(rows, x, strict=True):
        row[...] = model[part]


def _weights(norm: Array, seen: Array, metric: Metric) -> Array:
    """Weight (model, n) of each row in the mean over models; 0 for a missing one."""
    if seen.all():
        return 1 / (norm * len(norm)) if metric.unit else np.full(norm.shape, 1 / len(norm))
    count = np.where(seen, seen.sum(0), np.inf)
    return 1 / (np.where(seen, norm, 1) * count) if metric.unit else 1 / count


def _ssd_from_deviations(x: Array | Sequence[Array], near: Array, metric: Metric) -> Array:
    """Sum of squared deviations from the mean (len(near)) of these rows."""
    ssd = np.empty(len(near))

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            rows = np.stack([model[near[part]] for model in x], dtype=np.float64)
            norm, seen = _norms_from(rows, 0, metric)
            if metric.unit:
                rows /= np.where(seen, norm, 1)[..., None]
            ssd[part] = square_gaps(rows, np.maximum(seen.sum(0), 1)[:, None], seen)

    over_blocks(work, len(near), len(x) * x[0].shape[1] * 8)
    return ssd


def _norms_from(rows: Array, start: int, metric: Metric) -> tuple[Array, Array]:
    """Norms of a block, its missing rows set to zero; faulty ones count from the whole's start."""
    with counted_from(start):
        norm, seen = norms(rows, metric)
    if not seen.all():
        rows[~seen] = 0.0
        norm[~seen] = 0.0
    return norm, seen


def merge(states: Sequence[Spread | Array], metric: Metric) -> Spread:
    """State of all the models of several blocks that hold the same stimuli."""
    rows = [state for state in states if not isinstance(state, Spread)]
    merged = [state for state in states if isinstance(state, Spread)]
    return _join([*merged, spread(rows, metric)] if rows else merged)


def _join(states: Sequence[Spread]) -> Spread:
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
    """Mean (n) over the pairs (M, M, n) of models that have a distance; NaN for none."""
    upper = distances[np.triu_indices(len(distances), 1)]
    there = ~np.isnan(upper)
    total, pairs = np.where(there, upper, 0.0).sum(0), there.sum(0)
    return np.asarray(np.divide(total, pairs, out=np.full(total.shape, np.nan), where=pairs > 0))


def mean_and_seen(distances: Array) -> tuple[Array, Array]:
    """The same, and how many models (n) were seen: those that have a distance from themselves."""
    return mean_over_pairs(distances), (~np.isnan(np.einsum("iin->in", distances))).sum(0)


def mean_disagreement(models: Sequence[Model], kernel: Kernel[Any]) -> tuple[Array, Array]:
    """1 - mean alignment (n) over all pairs of models, each in its own pool, and models seen."""
    seen = np.stack([model.seen for model in models])
    if seen.all() and len(seen[0]) >= kernel.min_stimuli:
        states = [model.state for model in models]
        return 1 - kernel.mean_over_models(states), seen.sum(0)
    # a model that saw nothing has no part in it, and is no pair that lacks a score
    known = [model for model, own in zip(models, seen, strict=True) if own.any()]
    if not known:
        return np.full(seen.shape[1], np.nan), seen.sum(0)
    return mean_over_pairs(1 - score(kernel, known, known)), seen.sum(0)


def without(distances: Array, group: Array) -> tuple[Array, Array]:
    """Mean (M, n) over pairs of the models outside the group of each, and how many these are.

    From the distances (M, M, n) of every pair.
    """
    total, models = _outside(distances, group)
    pairs = models * (models - 1) / 2
    return np.divide(total, pairs, out=np.full(total.shape, np.nan), where=models > 1), models


def without_consensus(squares: Array, group: Array) -> tuple[Array, Array]:
    """Consensus dispersion (M, n) of the models outside the group of each, and their number.

    From squared distances (M, M, n): Σ_m |x_m - z|² = Σ_{m<l} |x_m - x_l|² / M.
    """
    total, models = _outside(squares, group)
    ssd = np.divide(total, models, out=np.full(total.shape, np.nan), where=models > 1)
    return np.asarray(of_consensus(ssd, np.maximum(models, 2))), models


def _outside(distances: Array, group: Array) -> tuple[Array, Array]:
    """Sums (M, n) over the unordered pairs of models outside the group of each, and models."""
    there = ~np.isnan(distances)
    filled = np.where(there, distances, 0.0)
    total, count = np.empty(filled.shape[1:]), np.empty(filled.shape[1:], np.int64)
    for own in np.unique(group):
        others = np.flatnonzero(group != own)
        total[group == own] = filled[np.ix_(others, others)].sum((0, 1)) / 2
        count[group == own] = there[others, others].sum(0)
    return total, count


def mean_pair_distance(x: Array, metric: Metric) -> Array:
    """Mean pair distance, models seen and mean squared norm (3, n) of ``x`` (model, n, f)."""
    distances = pair_distances(x, metric)
    count = (~np.isnan(np.diagonal(distances))).sum(1)
    square = np.nansum(np.vecdot(x, x, dtype=np.float64), 0) / np.maximum(count, 1)
    return np.stack([mean_over_pairs(distances), count, square])
