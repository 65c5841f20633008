"""Sums over rows that merge: what blocks say of a whole, exactly, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.vectors import Array, column_means


class Scatter(NamedTuple):
    """Number, mean (f) and centred X'X (f, f) of some rows."""

    size: int
    mean: Array
    gram: Array


def scatter(rows: Array) -> Scatter:
    """Of rows (n, f) that are all there."""
    if not len(rows):
        return Scatter(0, np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2))
    mean = column_means(rows)
    rows = rows - mean
    return Scatter(len(rows), mean, rows.T @ rows)


def merged(one: Scatter, other: Scatter) -> Scatter:
    """Of the rows of both."""
    size = one.size + other.size
    share = other.size / max(size, 1)
    gap = other.mean - one.mean
    between = one.size * share * np.outer(gap, gap)
    return Scatter(size, one.mean + share * gap, one.gram + other.gram + between)


class Moments(NamedTuple):
    """Number and mean (d) of some rows, and the sum of their squared distances from it."""

    count: int
    mean: Array
    square: float

    @property
    def size(self) -> float:
        """Root of the mean squared distance from the mean; 0 where that is only rounding."""
        size = float(np.sqrt(self.square / max(self.count, 1)))
        return 0.0 if size <= 1e-12 * np.abs(self.mean).max(initial=0.0) else size


def moments(rows: Array) -> Moments:
    """Of rows (n, d) that are all there, in double."""
    rows = rows.astype(np.float64)
    if not len(rows):
        return Moments(0, np.zeros(rows.shape[1]), 0.0)
    mean = rows.mean(0)
    rows -= mean
    return Moments(len(rows), mean, float(np.vdot(rows, rows)))


def merged_moments(parts: Sequence[Moments]) -> Moments:
    """Of all rows of several parts (Chan, Golub & LeVeque 1983)."""
    count = sum(part.count for part in parts)
    mean = sum(part.count * part.mean for part in parts) / max(count, 1)
    gaps = [part.mean - mean for part in parts]
    between = sum(
        part.count * float(gap @ gap) for part, gap in zip(parts, gaps, strict=True)
    )
    return Moments(count, np.asarray(mean), between + sum(part.square for part in parts))


def sized(rows: Array, of: Moments) -> Array:
    """Rows (n, d) in double, less the mean and of unit size; zero if they are constant."""
    centered = np.subtract(rows, of.mean, dtype=np.float64)
    return np.divide(centered, of.size, out=centered) if of.size else np.zeros_like(centered)

