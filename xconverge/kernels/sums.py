"""Sums over rows that merge: what blocks say of a whole, exactly, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple, TypeVar

import numpy as np

from xconverge.kernels.rounding import DOUBLE, Array, exponent_of, scaled, unit_of
from xconverge.kernels.vectors import column_means

EMPTY = -10_000
"""Exponent of rows that are none or zero: below that of any number."""

T = TypeVar("T", "Moments", "Spread")


def common_exponent(parts: Sequence[T]) -> list[T]:
    """The parts, all of rows divided by the largest of their powers of two."""
    exponent = max(part.exponent for part in parts)
    return [
        part if part.exponent == exponent else part.times(part.exponent - exponent)
        for part in parts
    ]


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


class Products(NamedTuple):
    """X'X of some rows: the rows (r, f) themselves while they are few, then products (f, f).

    So a block of wide rows costs no more than it holds.
    """

    rows: Array
    formed: Array | None

    @property
    def gram(self) -> Array:
        """X'X (f, f) of all rows."""
        own = self.rows.T @ self.rows
        return np.asarray(own if self.formed is None else self.formed + own)


def products(rows: Array) -> Products:
    """Of rows (n, f) as they are."""
    few = len(rows) < rows.shape[1]
    return Products(rows, None) if few else Products(rows[:0], rows.T @ rows)


def added_products(parts: Sequence[Products]) -> Products:
    """Of the rows of several parts."""
    own = products(np.concatenate([part.rows for part in parts]))
    formed = [part.formed for part in (*parts, own) if part.formed is not None]
    return Products(own.rows, reduce(np.add, formed) if formed else None)


class Spread(NamedTuple):
    """Number and mean (f) of some rows, and the products of what is left without the mean.

    Of rows divided by 2^exponent, that were stored in a precision of unit ``eps``.
    """

    size: int
    mean: Array
    products: Products
    exponent: int = 0
    eps: float = DOUBLE

    def times(self, power: int) -> Spread:
        """Of rows multiplied by 2^power."""
        rows, formed = self.products
        gram = None if formed is None else scaled(formed, 2 * power)
        return self._replace(
            mean=scaled(self.mean, power),
            products=Products(scaled(rows, power), gram),
            exponent=self.exponent - power,
        )

    @property
    def scatter(self) -> Scatter:
        """The same with X'X formed."""
        return Scatter(self.size, self.mean, self.products.gram)


def spread(rows: Array) -> Spread:
    """Of rows (n, f) that are all there, in double."""
    eps = unit_of(rows.dtype)
    rows = rows.astype(np.float64)
    if not len(rows):
        return Spread(0, np.zeros(rows.shape[1]), Products(rows, None), EMPTY, eps)
    exponent = exponent_of(rows) if rows.any() else EMPTY
    rows = scaled(rows, -exponent)
    mean = column_means(rows)
    return Spread(len(rows), mean, products(rows - mean), exponent, eps)


def merged_spreads(parts: Sequence[Spread]) -> Spread:
    """Of all rows of several parts.

    The means of parts are rows too: Σ n_i (m_i - m)(m_i - m)' is what lies between them.
    """
    parts = [part for part in parts if part.size] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    parts = common_exponent(parts)
    sizes = np.array([part.size for part in parts], np.float64)
    means = np.stack([part.mean for part in parts])
    # against the first, so that equal means stay what they are, without rounding
    mean = means[0] + sizes @ (means - means[0]) / max(sizes.sum(), 1)
    between = products(np.sqrt(sizes)[:, None] * (means - mean))
    total = added_products([*(part.products for part in parts), between])
    eps = max(part.eps for part in parts)
    return Spread(int(sizes.sum()), mean, total, parts[0].exponent, eps)


def by_fold(rows: Array, fold: Array) -> dict[int, Spread]:
    """The spread of the rows (n, f) of each fold (n) that is there."""
    return {int(number): spread(rows[fold == number]) for number in np.unique(fold)}


def merged_folds(parts: Sequence[Mapping[int, Spread]]) -> dict[int, Spread]:
    """Of all rows of several parts, fold by fold."""
    numbers = sorted({number for part in parts for number in part})
    return {
        number: merged_spreads([part[number] for part in parts if number in part])
        for number in numbers
    }


class Moments(NamedTuple):
    """Number and mean (d) of some rows, and the sum of their squared distances from it.

    Of rows divided by 2^exponent; they are off by a share ``off`` of their norm.
    """

    n: int
    mean: Array
    square: float
    exponent: int = 0
    off: float = 0.0

    @property
    def size(self) -> float:
        """Root of the mean squared distance from the mean; 0 where that is only rounding."""
        square = self.square / max(self.n, 1)
        whole = square + float(self.mean @ self.mean)
        off = max(self.off, 8 * DOUBLE)
        return 0.0 if square <= off**2 * whole else float(np.sqrt(square))

    def times(self, power: int) -> Moments:
        """Of rows multiplied by 2^power."""
        return self._replace(
            mean=scaled(self.mean, power),
            square=float(np.ldexp(self.square, 2 * power)),
            exponent=self.exponent - power,
        )


def moments(rows: Array, off: float = 0.0) -> Moments:
    """Of rows (n, d) that are all there, in double."""
    rows = rows.astype(np.float64)
    if not rows.any():
        return Moments(len(rows), np.zeros(rows.shape[1]), 0.0, EMPTY, off)
    exponent = exponent_of(rows)
    rows = scaled(rows, -exponent)
    mean = rows.mean(0)
    rows -= mean
    return Moments(len(rows), mean, float(np.vdot(rows, rows)), exponent, off)


def merged_moments(parts: Sequence[Moments]) -> Moments:
    """Of all rows of several parts (Chan, Golub & LeVeque 1983)."""
    parts = common_exponent(parts)
    n = sum(part.n for part in parts)
    mean = sum(part.n * part.mean for part in parts) / max(n, 1)
    gaps = [part.mean - mean for part in parts]
    between = sum(part.n * float(gap @ gap) for part, gap in zip(parts, gaps, strict=True))
    square = between + sum(part.square for part in parts)
    off = max(part.off for part in parts)
    return Moments(n, np.asarray(mean), square, parts[0].exponent, off)


def sized(rows: Array, of: Moments) -> Array:
    """Rows (n, d) in double, less the mean and of unit size; zero if they are constant."""
    rows = scaled(rows.astype(np.float64), -of.exponent) if of.exponent else rows
    centered = np.subtract(rows, of.mean, dtype=np.float64)
    return np.divide(centered, of.size, out=centered) if of.size else np.zeros_like(centered)
