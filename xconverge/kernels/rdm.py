"""Dissimilarity matrices (RDMs): distances between all stimuli of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.correlation import ranks
from xconverge.kernels.vectors import METRICS, Array, Metric, norms, padded, prepare, working_dtype

Distance = Callable[[Array, Array], float]


def distances(x: Array, width: int, metric: Metric | Distance) -> Array:
    """RDM (n, n) of the rows ``x`` (n, F), symmetric to the bit; NaN where a stimulus is missing.

    Single precision for features of up to 4 bytes. ``metric`` is a row of METRICS, or a function
    of two vectors.
    """
    dtype = working_dtype(x.dtype)
    if callable(metric):
        rows = x[:, :width].astype(np.float64)
        _, seen = norms(rows, METRICS["euclidean"])
        result = np.full((len(x), len(x)), np.nan, dtype)
        result[np.ix_(seen, seen)] = scipy.spatial.distance.squareform(
            scipy.spatial.distance.pdist(rows[seen], metric), checks=False
        )
        return result
    rows, seen = prepare(x, width, metric)
    result = _symmetric_distances(rows, metric, dtype)
    result[~seen] = np.nan
    result[:, ~seen] = np.nan
    return result


def _symmetric_distances(rows: Array, metric: Metric, dtype: Any) -> Array:
    """Distances (n, n) from one matrix product; entries that cancel in it, from differences.

    |x - y|² / 2 = |x|² / 2 + |y|² / 2 - x·y loses the digits that |x|² has more than |x - y|².
    Where too many cancel for single precision, all of it is done in double.
    """
    single = dtype == np.float32
    scale = 1.0 if metric.unit or not single else np.abs(rows).max(initial=0.0) or 1.0
    less: Array = (rows / scale).astype(dtype)
    half = 0.5 * np.vecdot(less, less)
    result: Array = less @ less.T
    # a row with itself always cancels: its distance is 0, and is not looked at
    result[np.diag_indices(len(rows))] = -np.inf
    threshold = dtype(1e-2 if single else 1e-5)
    near: list[Array] = []

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            block, own = result[part], half[part, None]
            np.subtract(half + own, block, out=block)
            # rows that have no near entry are most of them, and pass by their smallest one
            some = np.flatnonzero(block.min(1) < threshold * (own[:, 0] + half.max()))
            i, j = np.nonzero(block[some] < threshold * (own[some] + half))
            near.append(np.stack([some[i] + part.start, j]))

    over_blocks(work, len(rows), result.itemsize * len(rows))
    i, j = np.concatenate(near, axis=1) if near else np.empty((2, 0), np.int64)
    if single and len(i) > result.size // 100:
        return _symmetric_distances(rows, metric, np.float64).astype(dtype)
    for start in range(0, len(i), 65536):
        one, other = i[start : start + 65536], j[start : start + 65536]
        gap = rows[one] - rows[other]
        result[one, other] = 0.5 * np.vecdot(gap, gap) / scale**2
    np.fill_diagonal(result, 0.0)
    if not metric.unit:
        _finish(result, metric, scale)
    return result


def _finish(half_square: Array, metric: Metric, scale: float) -> None:
    """Half of the squared distances of rows divided by ``scale`` become distances, in place."""

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            square = 2 * half_square[part]
            half_square[part] = metric.of_square(square) * metric.of_square(np.asarray(scale**2))

    over_blocks(work, len(half_square), half_square.itemsize * len(half_square))


def prepared(x: Array, width: int, metric: str) -> Array:
    """Rows (n, F) whose squared distances make the RDM; NaN throughout where missing."""
    rows, seen = prepare(x, width, METRICS[metric])
    return padded(rows, seen, x.shape[1])


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
    mirrored = rdm.T if mirrored is None else mirrored
    if np.array_equal(rdm, mirrored):
        return
    missing = np.isnan(rdm) != np.isnan(mirrored)
    gap = np.abs(rdm - mirrored)
    # fmax leaves out NaN
    largest = np.fmax.reduce(np.abs(rdm), axis=None, initial=0.0)
    wrong = missing | (gap > rounding * largest)
    if wrong.any():
        raise RdmError(ASYMMETRY, np.argwhere(wrong))


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


def upper(rdm: Array, ranked: bool) -> Array:
    """The same of a matrix that is known to be symmetric."""
    # scipy's loop over rows is twenty times as fast as fetching at np.triu_indices
    values = scipy.spatial.distance.squareform(rdm, checks=False).astype(np.float64)
    return ranks(values) if ranked else values


def square(values: Array, n: int) -> Array:
    """The symmetric matrix (n, n) of a triangle, zero on the diagonal."""
    result = np.zeros((n, n))
    result[np.triu_indices(n, 1)] = values
    return np.asarray(result + result.T)
