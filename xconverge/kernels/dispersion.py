"""Spread of models around their mean, as a state that merges.

``ssd`` is the sum over models of the squared distance to the mean; the mean squared distance of
a pair of models is ``2 / (count - 1) * ssd``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.compiled import loops
from xconverge.kernels.groups import pair_means, table_means
from xconverge.kernels.kernel import Kernel, Model, score
from xconverge.kernels.rounding import (
    Array,
    exponents,
    held,
    relative,
    scaled,
    without_rounding,
)
from xconverge.kernels.vectors import TINY, Metric, Norms, counted_from, norms


class Spread(NamedTuple):
    """Models seen (n), their mean (n, f), ssd (n), and sum of their squared norms (n).

    Of rows that are divided by 2^``exponent`` (n), 0 where squares of them are numbers. ``off`` (n)
    is the sum of the squares of how far rows are off by rounding: the largest ssd of equal ones,
    since Σ|e_m - ē|² ≤ Σ|e_m|².
    """

    models: Array
    mean: Array
    ssd: Array
    square: Array
    off: Array
    exponent: Array


def leaf(x: Array, metric: Metric, share: float = 0.0) -> Spread | Array:
    """State of the models in one block, from rows ``x`` (model, n, f).

    The rows of a single model stay as they are, checked: their state would be twice their size.
    """
    if len(x) > 1:
        return spread(x, metric, share)
    _check_rows(x, metric, share)
    return np.asarray(x[0])


def _check_rows(x: Array, metric: Metric, share: float) -> None:
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        square = np.vecdot(x, x)
    if not metric.centered and (np.isfinite(square) & (square > 0)).all():
        return

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            _rows_from(x[:, part].astype(np.float64), part.start, metric, share_of(x, share))

    over_blocks(work, x.shape[1], len(x) * x.shape[2] * 8)


def spread(x: Array | Sequence[Array], metric: Metric, share: float = 0.0) -> Spread:
    """State of several models, from the rows (n, f) of each.

    Rounding left them off by a ``share`` of their norm, if that is more than their type says.
    """
    return _deviations(x, metric, np.empty(x[0].shape), share)


def share_of(x: Array | Sequence[Array], share: float) -> float:
    """How far the rows of models are off: by this share, or by what their type says."""
    return max(share, *(relative(rows.dtype, rows.shape[-1]) for rows in x))


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


def dispersion(
    x: Array | Sequence[Array],
    metric: Metric,
    finish: Finish,
    degree: int,
    normalize: bool = False,
    share: float = 0.0,
) -> Array:
    """Dispersion and models seen (2, n) of all models (model, n, f), as ``dispersion_of``."""
    return dispersion_of(_deviations(x, metric, None, share), finish, degree, normalize)


def dispersion_of(state: Spread, finish: Finish, degree: int, normalize: bool = False) -> Array:
    """Dispersion and models seen (2, n) from the state of all models.

    It grows with the scale of rows to the power ``degree``; ``normalize`` divides it by that power
    of the root of their mean squared norm.
    """
    ssd = without_rounding(state.ssd.copy(), np.sqrt(state.off))
    value = finish(ssd, np.maximum(state.models, 2))
    return _summary(value, state.models, state.square, state.exponent, degree, normalize)


def _summary(
    value: Array, count: Array, square: Array, exponent: Array, degree: int, normalize: bool
) -> Array:
    value = np.where(count > 1, value, np.nan)
    if not normalize:
        return np.stack([held(value, degree * exponent), count])
    size = (square / np.maximum(count, 1)) ** (degree / 2)
    value = np.divide(value, size, out=np.full(value.shape, np.nan), where=square > 0)
    return np.stack([value, count])


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


CANCELS = {4: 0.3, 8: 1e-4}
"""By the bytes of a number: below this share of squared norms, a difference of them is rounding."""
LEFT = 0.06
"""Deviations in single precision keep six digits above this share of squared norms, over width."""
WIDEST = 2**16
"""Features up to which sums in single precision, in the order of a loop, keep seven digits."""
PLAIN = {4: 1e-20, 8: TINY}
"""Squares between it and its inverse, and sums of them, keep all digits of such numbers."""


def _deviations(
    x: Array | Sequence[Array], metric: Metric, mean: Array | None, share: float
) -> Spread:
    """State of several models; fills ``mean`` (n, f) if given.

    Closed form: sum of squared norms minus count times the squared norm of the mean; where the two
    cancel, from the deviations themselves, in double.
    """
    models, (n, width) = len(x), x[0].shape
    ssd, square, off = np.empty(n), np.empty(n), np.empty(n)
    count, exponent, share = np.empty(n, np.int64), np.zeros(n, np.int64), share_of(x, share)
    kind = np.result_type(*(rows.dtype for rows in x))
    fast = loops(models * n * width) if width <= WIDEST else None

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            if isinstance(x, np.ndarray) and (fast is None or x.flags.c_contiguous):
                block, inside = x, part
            else:
                block, inside = _gathered(x, part, kind), slice(0, part.stop - part.start)
            rows, found = block[:, inside], None
            # states of other blocks are merged with this mean, and may nearly agree with it
            if mean is None or kind == np.float64:
                found = _as_they_are(block, inside, metric, share, fast)
            if found is None:
                rows = rows.astype(np.float64)
                found = _rows_from(rows, part.start, metric, share)
            weights = _weights(found.norm, found.seen, metric)
            total = found.mean
            if total is None:
                total = np.vecmat(weights.T.astype(rows.dtype), rows.swapaxes(0, 1))
            count[part], exponent[part] = found.seen.sum(0), found.exponent
            off[part] = np.square(found.error).sum(0)
            square[part] = np.square(found.norm * weights * count[part]).sum(0)
            ssd[part] = square[part] - count[part] * np.vecdot(total, total)
            few = CANCELS[rows.itemsize] * square[part]
            near = np.flatnonzero((count[part] > 1) & (ssd[part] < few))
            if near.size and rows.dtype == np.float32:
                scale = weights * count[part] if metric.unit else None
                apart = (
                    _ssd_in_single(rows, total, scale, near)
                    if found.gaps is None
                    else found.gaps[near]
                )
                ssd[part.start + near] = apart
                near = near[apart * width < LEFT * square[part.start + near]]
            if near.size:
                wide = rows[:, near].astype(np.float64)
                ssd[part.start + near] = _ssd_from_deviations(wide, found.seen[:, near], metric)
            if mean is not None:
                mean[part] = total

    over_blocks(work, n, models * width * kind.itemsize)
    ssd[count < 2] = 0.0
    empty = np.empty((n, 0))
    return Spread(count, empty if mean is None else mean, ssd, square, off, exponent)


def _gathered(x: Array | Sequence[Array], part: slice, kind: np.dtype[Any]) -> Array:
    rows = np.empty((len(x), part.stop - part.start, x[0].shape[1]), kind)
    for row, model in zip(rows, x, strict=True):
        row[...] = model[part]
    return rows


def _as_they_are(
    x: Array, part: slice, metric: Metric, share: float, fast: ModuleType | None
) -> _Rows | None:
    """Of a part of the stimuli in their own precision; None unless all rows are there as they are.

    With mean and gaps where one pass has all.
    """
    if metric.centered or x.dtype not in (np.float32, np.float64):
        return None
    square, mean, gaps = _sums(x, part, metric.unit, fast)
    least = PLAIN[x.itemsize]
    # written so that NaN is not between
    if not (square.min(initial=1.0) > least and square.max(initial=1.0) < 1 / least):
        return None
    norm = np.sqrt(square, dtype=np.float64)
    exponent = np.zeros(norm.shape[1], np.int64)
    if not metric.unit and exponents(norm.max(0)).any():
        return None
    found = Norms(norm, np.ones(norm.shape, bool), norm)
    return _Rows(norm, found.seen, found.error(share, metric), exponent, mean, gaps)


def _sums(
    x: Array, part: slice, unit: bool, fast: ModuleType | None
) -> tuple[Array, Array | None, Array | None]:
    """Squared norms (model, b) of some stimuli; mean (b, f) and gaps (b) of models, or None.

    Gaps are the sums of squared deviations where they are few beside the squares, of single
    precision.
    """
    if fast is None:
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return np.vecdot(x[:, part], x[:, part]), None, None
    models, length = len(x), part.stop - part.start
    square, mean = np.empty((models, length)), np.empty((length, x.shape[2]), x.dtype)
    gaps = np.empty(length)
    # a little more than are asked for: the caller's own sums are rounded otherwise
    cancels = 1.1 * CANCELS[4] if x.dtype == np.float32 else 0.0
    fast.sums_of_rows(x, part.start, part.stop, unit, cancels, square, mean, gaps)
    return square, mean, gaps


def _weights(norm: Array, seen: Array, metric: Metric) -> Array:
    """Weight (model, n) of each row in the mean over models; 0 for a missing one."""
    if seen.all():
        return 1 / (norm * len(norm)) if metric.unit else np.full(norm.shape, 1 / len(norm))
    count = np.where(seen, seen.sum(0), np.inf)
    return 1 / (np.where(seen, norm, 1) * count) if metric.unit else 1 / count


def _ssd_in_single(rows: Array, mean: Array, scale: Array | None, near: Array) -> Array:
    """Sum of squared deviations (len(near)) of rows (model, n, f) from their mean (n, f).

    Rows are first multiplied by their ``scale`` (model, n), if any. The rounding of single
    precision is a share of the rows, not of the deviations, and random: many features average it.
    """
    if len(near) < rows.shape[1]:
        rows, mean = rows[:, near], mean[near]
        scale = None if scale is None else scale[:, near]
    gap = rows - mean if scale is None else rows * scale.astype(np.float32)[..., None]
    if scale is not None:
        gap -= mean
    return np.asarray(np.vecdot(gap, gap).sum(0, dtype=np.float64))


def _ssd_from_deviations(rows: Array, seen: Array, metric: Metric) -> Array:
    """Sum of squared deviations from the mean (n) of rows (model, n, f) in double, in place."""
    if metric.unit:
        rows /= np.sqrt(np.where(seen, np.vecdot(rows, rows), 1))[..., None]
    return np.asarray(square_gaps(rows, np.maximum(seen.sum(0), 1)[:, None], seen))


class _Rows(NamedTuple):
    """Of rows (model, n, f): norms and which are there (model, n), how far they are off, powers.

    Rows of a stimulus are divided by 2^``exponent`` (n). The mean (n, f) of models, of unit rows if
    the metric says so, and the sum of squared gaps (n) to it, where they are known.
    """

    norm: Array
    seen: Array
    error: Array
    exponent: Array
    mean: Array | None = None
    gaps: Array | None = None


def _rows_from(rows: Array, start: int, metric: Metric, share: float) -> _Rows:
    """Norms of a block, its missing rows set to zero; faulty ones count from the whole's start.

    Rows that are off by a ``share`` of their norm. Where the metric does not divide by norms,
    stimuli whose squares would leave the range of numbers are divided by a power of two, in place.
    """
    with counted_from(start):
        found = norms(rows, metric, share)
    norm, seen, _ = found
    if not seen.all():
        rows[~seen] = 0.0
        norm[~seen] = 0.0
    error = found.error(share, metric)
    exponent = np.zeros(norm.shape[1], np.int64)
    if not metric.unit and (exponent := exponents(norm.max(0))).any():
        np.ldexp(rows, -exponent[:, None], out=rows)
        norm, error = np.ldexp(norm, -exponent), np.ldexp(error, -exponent)
    return _Rows(norm, seen, error, exponent)


def merge(states: Sequence[Spread | Array], metric: Metric, share: float = 0.0) -> Spread:
    """State of all the models of several blocks that hold the same stimuli."""
    rows = [state for state in states if not isinstance(state, Spread)]
    merged = [state for state in states if isinstance(state, Spread)]
    return _join([*merged, spread(rows, metric, share)] if rows else merged)


def _join(states: Sequence[Spread]) -> Spread:
    if len(states) == 1:
        return states[0]
    states = _of_one_scale(states)
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
    square = np.sum([state.square for state in states], axis=0)
    off = np.sum([state.off for state in states], axis=0)
    return Spread(count, mean, ssd, square, off, states[0].exponent)


def _of_one_scale(states: Sequence[Spread]) -> Sequence[Spread]:
    """States whose stimuli are divided by the same powers of two."""
    exponent = np.max([state.exponent for state in states], axis=0)
    if all((state.exponent == exponent).all() for state in states):
        return states
    result = []
    for state in states:
        down = state.exponent - exponent
        ssd, square, off = (
            np.ldexp(field, 2 * down) for field in (state.ssd, state.square, state.off)
        )
        mean = np.ldexp(state.mean, down[:, None])
        result.append(Spread(state.models, mean, ssd, square, off, exponent))
    return result


def pair_distances(x: Array, metric: Metric, share: float = 0.0) -> Array:
    """Distance (model, model, n) of every pair of models, from rows ``x`` (model, n, f)."""
    distances, _, exponent = _pair_distances(x, metric, share)
    return held(distances, metric.degree * exponent)


def _pair_distances(x: Array, metric: Metric, share: float) -> tuple[Array, Array, Array]:
    """Those of rows divided by 2^exponent (n), their squared norms (model, n), and exponents."""
    models, n, width = x.shape
    result = np.empty((models, models, n))
    size, exponent, share = np.empty((models, n)), np.zeros(n, np.int64), share_of(x, share)

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            rows = x[:, part].astype(np.float64)
            norm, seen, error, exponent[part], *_ = _rows_from(rows, part.start, metric, share)
            size[:, part] = np.square(norm)
            if metric.unit:
                rows /= np.where(seen, norm, 1)[..., None]
            for m in range(models):
                gap = rows[m:] - rows[m]
                square = without_rounding(np.vecdot(gap, gap), error[m:] + error[m])
                square[~(seen[m:] & seen[m])] = np.nan
                result[m, m:, part] = result[m:, m, part] = metric.of_square(square)

    over_blocks(work, n, models * width * 8)
    return result, size, exponent


def of_families(
    x: Array,
    metric: Metric,
    family: Array,
    finish: Finish,
    degree: int,
    normalize: bool = False,
    share: float = 0.0,
) -> Array:
    """Dispersion and families seen (2, n) of rows ``x`` (model, n, f), as ``dispersion_of``.

    Over pairs of families, each the mean over pairs of their models. Of squared distances that is
    mean |x_l - x_m|² = |x̄_g - x̄_h|² + V_g + V_h, with V_g the mean of |x_l - x̄_g|² in family g.
    """
    _check_rows(x, metric, share)  # by the number of the model, which no state of a family knows
    states = _of_one_scale(
        [spread(x[family == one], metric, share) for one in range(family.max() + 1)]
    )
    models = np.stack([state.models for state in states])
    seen, several = models > 0, np.maximum(models, 1)
    count = seen.sum(0)
    means = np.stack([state.mean for state in states])
    between = square_gaps(means, np.maximum(count, 1)[:, None], seen)
    inside = (np.stack([state.ssd for state in states]) / several).sum(0)
    ssd = between + inside * (count - 1) / np.maximum(count, 1)
    off = np.sum([state.off for state in states], axis=0)
    value = finish(without_rounding(ssd, np.sqrt(off)), np.maximum(count, 2))
    square = (np.stack([state.square for state in states]) / several).sum(0)
    return _summary(value, count, square, states[0].exponent, degree, normalize)


def mean_over_pairs(distances: Array) -> Array:
    """Mean (n) over the pairs (M, M, n) of models that have a distance; NaN for none."""
    upper = distances[np.triu_indices(len(distances), 1)]
    there = ~np.isnan(upper)
    total, pairs = np.where(there, upper, 0.0).sum(0), there.sum(0)
    return np.asarray(np.divide(total, pairs, out=np.full(total.shape, np.nan), where=pairs > 0))


def mean_and_seen(distances: Array, seen: Array, family: Array) -> tuple[Array, Array]:
    """The same over pairs of families, and how many of these (n) were seen.

    ``seen`` (M, n) says which model saw what: one that saw too little has no distances.
    """
    return mean_over_pairs(of_pairs_of_families(distances, family)), families_seen(seen, family)


def of_pairs_of_families(distances: Array, family: Array) -> Array:
    """Distances (G, G, n) of families, the mean over the pairs of their models (M, M, n)."""
    plain = len(np.unique(family)) == len(family)
    return distances if plain else pair_means(distances, family)


def families_seen(seen: Array, family: Array) -> Array:
    """How many families (n) have a model that saw the stimulus, from those that did (M, n)."""
    numbers = np.unique(family)
    return np.asarray(np.sum([seen[family == one].any(0) for one in numbers], axis=0))


def mean_disagreement(
    models: Sequence[Model], family: Array, kernel: Kernel[Any]
) -> tuple[Array, Array]:
    """1 - mean alignment (n) over all pairs of families, each pair of models in its own pool.

    And how many families were seen.
    """
    seen = np.stack([model.seen for model in models])
    if len(np.unique(family)) < len(family):
        return _family_disagreement(models, seen, family, kernel), families_seen(seen, family)
    states = [model.state for model in models]
    if (
        seen.all()
        and len(seen[0]) >= kernel.min_stimuli
        and all(kernel.ready(state) for state in states)
    ):
        return 1 - kernel.mean_over_models(states), seen.sum(0)
    # a model that saw nothing has no part in it, and is no pair that lacks a score
    known = [model for model, own in zip(models, seen, strict=True) if own.any()]
    if not known:
        return np.full(seen.shape[1], np.nan), seen.sum(0)
    return mean_over_pairs(1 - score(kernel, known, known)), seen.sum(0)


def _family_disagreement(
    models: Sequence[Model], seen: Array, family: Array, kernel: Kernel[Any]
) -> Array:
    """Mean (n) over pairs of families; the scores of two families at a time are in memory."""
    total, count = np.zeros(seen.shape[1]), np.zeros(seen.shape[1], np.int64)
    known = [
        [
            model
            for model, own in zip(models, family, strict=True)
            if own == one and model.seen.any()
        ]
        for one in range(family.max() + 1)
    ]
    for one, other in itertools.combinations([part for part in known if part], 2):
        scores = 1 - score(kernel, one, other)
        there = ~np.isnan(scores)
        pairs = there.sum((0, 1))
        total += np.where(there, scores, 0.0).sum((0, 1)) / np.maximum(pairs, 1)
        count += pairs > 0
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))


def without(distances: Array, seen: Array, group: Array, family: Array) -> tuple[Array, Array]:
    """Mean (M, n) over pairs of the families outside the group and the family of each model.

    And how many of these saw the stimulus. From the distances (M, M, n) of every pair of models,
    NaN where a pair has none, and which model saw what (M, n).
    """
    # models of one group and one family are left out together, and stand in for each other
    parts, cell = np.unique(np.stack([group, family]), axis=1, return_inverse=True)
    cell = cell.reshape(-1)
    if parts.shape[1] == len(np.unique(family)) < len(family):
        # no group cuts through a family: their distances are made once
        any_seen = np.stack([seen[cell == one].any(0) for one in range(parts.shape[1])])
        one_each = without(of_pairs_of_families(distances, cell), any_seen, *parts)
        return one_each[0][cell], one_each[1][cell]
    value, count = np.full(distances.shape[1:], np.nan), np.zeros(distances.shape[1:], np.int64)
    for number, own in enumerate(parts.T):
        others = np.flatnonzero((group != own[0]) & (family != own[1]))
        if not len(others):
            continue
        inside = of_pairs_of_families(distances[np.ix_(others, others)], family[others])
        value[cell == number] = mean_over_pairs(inside)
        count[cell == number] = families_seen(seen[others], family[others])
    return value, count


def without_consensus(
    distances: Array, seen: Array, group: Array, family: Array
) -> tuple[Array, Array]:
    """Consensus dispersion (M, n) of the families outside the group of each, and their number.

    From distances (M, M, n): Σ_m |x_m - z|² = Σ_{m<l} |x_m - x_l|² / M.
    """
    exponent = exponents(np.fmax.reduce(distances, axis=(0, 1)))
    mean, count = without(np.square(scaled(distances, -exponent)), seen, group, family)
    value = np.asarray(of_consensus(mean * (count - 1) / 2, np.maximum(count, 2)))
    return scaled(value, exponent), count


def mean_pair_distance(
    x: Array, metric: Metric, family: Array, normalize: bool = False, share: float = 0.0
) -> Array:
    """Mean pair distance and families seen (2, n) of ``x`` (model, n, f), as ``dispersion_of``."""
    distances, square, exponent = _pair_distances(x, metric, share)
    seen = ~np.isnan(np.einsum("iin->in", distances))
    value, count = mean_and_seen(distances, seen, family)
    return _summary(value, count, _once(square, family), exponent, metric.degree, normalize)


def _once(square: Array, family: Array) -> Array:
    """Sum (n) over families of the mean squared norm of their models (M, n), 0 where unseen."""
    mean = table_means(np.where(square > 0, square, np.nan).T[:, :, None], family, np.zeros(1, int))
    return np.asarray(np.nansum(mean[..., 0], axis=1))
