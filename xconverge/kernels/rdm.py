"""Dissimilarity matrices (RDMs): distances between all stimuli of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import scipy

from xconverge.kernels import blocks
from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.correlation import ranks, settled
from xconverge.kernels.rounding import exponent_of, held, of_distances, scaled, without_rounding
from xconverge.kernels.vectors import (
    METRICS,
    Array,
    Metric,
    norms,
    padded,
    prepare,
    unchanged,
    working_dtype,
)

SMALL = 2**27
"""Multiplications that one thread does in a millisecond or two."""
Distance = Callable[[Array, Array], float]


def distances(
    x: Array,
    width: int,
    metric: Metric | Distance,
    any_scale: bool = False,
    share: float = 0.0,
) -> Array:
    """RDM (n, n) of the rows ``x`` (n, F), symmetric to the bit; NaN where a stimulus is missing.

    Single precision for features of up to 4 bytes, and an error where distances do not fit into
    it. ``metric`` is a row of METRICS, or a function of two vectors. With ``any_scale`` distances
    may be a multiple of what they are, for comparisons that do not depend on it. Rounding left rows
    off by a ``share`` of their norm, if that is more than their type says.
    """
    dtype = working_dtype(x.dtype)
    if callable(metric):
        rows = x[:, :width].astype(np.float64)
        seen = norms(rows, METRICS["euclidean"]).seen
        result = np.full((len(x), len(x)), np.nan, dtype)
        values = scipy.spatial.distance.squareform(
            scipy.spatial.distance.pdist(rows[seen], metric), checks=False
        )
        result[np.ix_(seen, seen)] = held(values, 0, dtype)
        return result
    found = prepare(x, width, metric, share)
    half, exponent = _half_squares(found.rows, found.error, metric, dtype)
    _settle(half, np.flatnonzero(found.seen), scaled(found.error, -exponent), width)
    if not metric.unit:
        _finish(half, metric, 0 if any_scale else found.exponent + exponent)
    half[~found.seen] = np.nan
    half[:, ~found.seen] = np.nan
    return half


def _half_squares(rows: Array, error: Array, metric: Metric, dtype: Any) -> tuple[Array, int]:
    """Half of the squared distances (n, n) from one matrix product, of rows less 2^exponent.

    Entries that cancel in it come from differences, and are 0 where rows whose rounding is
    ``error`` (n) are equal.

    |x - y|² / 2 = |x|² / 2 + |y|² / 2 - x·y loses the digits that |x|² has more than |x - y|².
    Where too many cancel for single precision, all of it is done in double.
    """
    single = dtype == np.float32
    exponent = 0
    if single and not metric.unit:
        # 2^±30 have squares in single precision
        exponent = exponent_of(rows, 30)
        rows, error = scaled(rows, -exponent), scaled(error, -exponent)
    less: Array = rows.astype(dtype)
    half = 0.5 * np.vecdot(less, less)
    # a small product is done before another thread of BLAS is awake
    with blocks.calm() if less.size * len(less) < SMALL else nullcontext():
        result: Array = less @ less.T
    # a row with itself always cancels: its distance is 0, and is not looked at
    result[np.diag_indices(len(rows))] = -np.inf
    threshold = dtype(1e-2 if single else 1e-5)
    most = error.max(initial=0.0)
    near: list[Array] = []

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            block, own = result[part], half[part, None]
            np.subtract(half + own, block, out=block)
            # rows that have no near entry are most of them, and pass by their smallest one
            bound = np.maximum(threshold * (own[:, 0] + half.max()), 2 * most**2)
            some = np.flatnonzero(block.min(1) < bound)
            limit = threshold * (own[some] + half)
            if 2 * most**2 > limit.min(initial=np.inf):
                limit = np.maximum(limit, 0.5 * np.square(error[part][some, None] + error))
            i, j = np.nonzero(block[some] < limit)
            near.append(np.stack([some[i] + part.start, j]))

    over_blocks(work, len(rows), result.itemsize * len(rows))
    i, j = np.concatenate(near, axis=1) if near else np.empty((2, 0), np.int64)
    if single and len(i) > result.size // 100:
        result, _ = _half_squares(rows, error, metric, np.float64)
        return result.astype(dtype), exponent
    for start in range(0, len(i), 65536):
        one, other = i[start : start + 65536], j[start : start + 65536]
        gap = rows[one] - rows[other]
        result[one, other] = 0.5 * without_rounding(np.vecdot(gap, gap), error[one] + error[other])
    np.fill_diagonal(result, 0.0)
    return result, exponent


def _settle(half: Array, where: Array, error: Array, width: int) -> None:
    """Give all pairs of stimuli ``where`` one distance, in place, if rounding alone parts them."""
    if len(where) < 3:
        return

    def parted(values: Array) -> bool:
        high = 2.0 * values.max().astype(np.float64)
        off = of_distances(unchanged, high, 2 * error[where].max(), width)
        return bool(high - 2.0 * values.min() > off)

    # nearly always the first row says that they are
    if parted(half[where[0], where[1:]]):
        return
    both = np.ix_(where, where)
    values = half[both]
    apart = ~np.eye(len(where), dtype=bool)
    if not parted(values[apart]):
        half[both] = np.where(apart, values[apart].max(), 0.0)


def _finish(half_square: Array, metric: Metric, exponent: int) -> None:
    """Half of the squared distances of rows divided by 2^exponent become distances, in place."""
    power = exponent * metric.degree

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            distance = metric.of_square(2 * half_square[part])
            half_square[part] = held(distance, power) if power else distance

    over_blocks(work, len(half_square), half_square.itemsize * len(half_square))


def prepared(x: Array, width: int, metric: str) -> Array:
    """Rows (n, F) whose squared distances make the RDM; NaN throughout where missing.

    Of a scale whose squares single precision holds: what compares RDMs does not depend on it.
    """
    found = prepare(x, width, METRICS[metric])
    rows = found.rows
    if not METRICS[metric].unit:
        rows = scaled(rows, -int(np.frexp(np.abs(rows).max(initial=0.0))[1]))
    return padded(rows, found.seen, x.shape[1])


class RdmError(ValueError):
    """What makes a matrix no RDM, and between which stimuli (k, 2), by position."""

    def __init__(self, reason: str, where: Array) -> None:
        super().__init__(reason)
        self.reason, self.where = reason, where


INFINITY = "an RDM must be finite; a distance that is not known is NaN"
ASYMMETRY = "an RDM must be symmetric; average it with its transpose if that is meant"
SIMILARITY = (
    "an RDM holds distances, 0 on the diagonal, and this is a similarity: every stimulus is more "
    "like itself than like any other. Give 1 - r for correlations r"
)


def triangle(rdm: Array, ranked: bool) -> Array:
    """Upper triangle (n (n - 1) / 2) of an RDM (n, n), or the ranks of it; NaN stays NaN."""
    check_symmetric(rdm)
    return upper(rdm, ranked)


def check_symmetric(rdm: Array, mirrored: Array | None = None, rounding: float = 1e-6) -> None:
    """Refuse a matrix whose triangles differ by more than rounding.

    Or a block of one that differs from the transposed block on the other side of the diagonal.
    """
    if _are_equal(rdm, mirrored):
        return
    mirrored = rdm.T if mirrored is None else mirrored
    missing = np.isnan(rdm) != np.isnan(mirrored)
    gap = np.abs(rdm - mirrored)
    # fmax leaves out NaN
    largest = np.fmax.reduce(np.abs(rdm), axis=None, initial=0.0)
    wrong = missing | (gap > rounding * largest)
    if wrong.any():
        raise RdmError(ASYMMETRY, np.argwhere(wrong))


def _are_equal(rdm: Array, mirrored: Array | None) -> bool:
    """Whether a matrix is another, or its own transpose, square by square inside the cache."""
    other = rdm.T if mirrored is None else mirrored
    if rdm.shape != other.shape:
        return False
    for i in range(0, rdm.shape[0], 256):
        for j in range(i if mirrored is None else 0, rdm.shape[1], 256):
            part = slice(i, i + 256), slice(j, j + 256)
            if not np.array_equal(rdm[part], other[part]):
                return False
    return True


def check_finite(block: Array) -> None:
    """Refuse infinity in a block of an RDM."""
    infinite = np.isinf(block)
    if infinite.any():
        raise RdmError(INFINITY, np.argwhere(infinite))


def off_diagonal(block: Array) -> float:
    """How far from 0 a diagonal (n, n) is that is not below the distances; a similarity is refused.

    For inner products of any kind K_ii + K_jj - 2 K_ij = |x_i - x_j|² ≥ 0: no stimulus is more like
    another than itself. In an RDM with a constant added all of these are negative. Where some are
    and some not, as between noisy measurements of the distance of a stimulus to itself, who calls
    is to ask.
    """
    own = np.diagonal(block).astype(np.float64)
    if len(own) < 2 or not (own[~np.isnan(own)] != 0).any():
        return 0.0
    others = block.astype(np.float64)
    np.fill_diagonal(others, np.nan)
    farthest = np.fmax.reduce(np.abs(own), initial=0.0)
    largest = np.fmax.reduce(np.abs(others), axis=None, initial=0.0)
    # a distance of a stimulus to itself that was computed may be the rounding of the others
    if farthest <= 1e-3 * largest:
        return 0.0
    gap = own + own[:, None] - 2 * others
    gap = gap[~np.isnan(gap)]
    rounding = 1e-6 * max(farthest, largest)
    if (gap <= rounding).all():
        return 0.0
    if (gap >= -rounding).all():
        raise RdmError(SIMILARITY, np.empty((0, 2), int))
    return float(farthest)


def upper(rdm: Array, ranked: bool, out: Array | None = None) -> Array:
    """The same of a matrix that is known to be symmetric."""
    # scipy's loop over rows is twenty times as fast as fetching at np.triu_indices
    values = settled(scipy.spatial.distance.squareform(rdm, checks=False), out)
    return ranks(values, values) if ranked else values


def uppers(rdms: Array, ranked: bool) -> Array:
    """The same (…, pairs) of several (…, n, n), on all cores."""
    n = rdms.shape[-1]
    result = np.empty((*rdms.shape[:-2], n * (n - 1) // 2))
    each = list(np.ndindex(rdms.shape[:-2]))

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            for place in each[part]:
                upper(rdms[place], ranked, result[place])

    over_blocks(work, len(each), 8 * n * n)
    return result


def square(values: Array, n: int) -> Array:
    """The symmetric matrix (n, n) of a triangle, zero on the diagonal."""
    result = np.zeros((n, n))
    result[np.triu_indices(n, 1)] = values
    return np.asarray(result + result.T)
