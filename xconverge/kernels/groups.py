"""Means over groups of rows that follow each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from xconverge.kernels.vectors import Array


def group_means(x: Array, missing: Array, numbers: Array, kind: Any) -> Array:
    """Means (…, G, F) of the rows ``x`` (…, n, F) of each group, summed in double.

    Rows that are ``missing`` (…, n) drop out; a group of which all are is NaN. ``numbers`` (n)
    says which group a row is of: rows of a group follow each other.
    """
    starts = _starts(numbers)
    with np.errstate(invalid="ignore"):
        filled = np.where(missing[..., None], x.dtype.type(0), x)
        sums = np.add.reduceat(filled, starts, axis=-2, dtype=np.float64)
    counts = np.add.reduceat(~missing, starts, axis=-1, dtype=np.int64)[..., None]
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means.astype(kind)


def group_distances(square: Array, numbers: Array, kind: Any) -> Array:
    """Means (G, G) of the distances (n, n) between the rows of two groups, NaN left out.

    The diagonal is the mean of each group's own diagonal: a distance inside a group is none
    between groups.
    """
    starts = _starts(numbers)
    there = ~np.isnan(square)
    sums, counts = (
        np.add.reduceat(
            np.add.reduceat(part, starts, axis=1, dtype=wide), starts, axis=0, dtype=wide
        )
        for part, wide in ((np.where(there, square, 0), np.float64), (there, np.int64))
    )
    if np.array_equal(square, square.T, equal_nan=True):
        sums = (sums + sums.T) / 2  # the two differ in the order of summation alone
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    own = np.diagonal(square)[:, None]
    np.fill_diagonal(means, group_means(own, np.isnan(own[:, 0]), numbers, np.float64))
    return means.astype(kind)


def _starts(numbers: Array) -> Array:
    """Where a new group begins."""
    return np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
