"""Rows of features: which are there, which are faulty, and what a metric makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from xconverge.kernels import rounding
from xconverge.kernels.rounding import Array as Array
from xconverge.kernels.rounding import RangeError, exponents, scaled, without_rounding

TINY = 1e-250
"""Squared norms beyond it, or its inverse, are taken of the row divided by a power of two."""


class RowError(ValueError):
    """Rows that cannot be used; ``where`` holds their positions in the block, one row each."""

    def __init__(self, reason: str, where: Array) -> None:
        super().__init__(reason, where)
        self.reason = reason
        self.where = np.atleast_2d(where)


@contextmanager
def counted_from(start: int) -> Iterator[None]:
    """Positions of stimuli in a RowError count from the start of the whole, not of the block."""
    try:
        yield
    except RowError as error:
        where = error.where.copy()
        where[:, -1] += start
        raise RowError(error.reason, where) from None


class Metric(NamedTuple):
    """A distance between rows, as a function of the squared distance of prepared rows."""

    centered: bool
    unit: bool
    of_square: Callable[[Array], Array]
    linear: bool

    @property
    def degree(self) -> int:
        """The power of the scale of rows that the distance grows with."""
        return 0 if self.unit else 2 if self.linear else 1

    def zero(self) -> str:
        """What a row without a direction is called."""
        return "a constant vector" if self.centered else "a zero vector"


def _half(square: Array) -> Array:
    return 0.5 * square


def unchanged(values: Any) -> Any:
    """What is given, where a function is asked for."""
    return values


METRICS: dict[str, Metric] = {
    "cosine": Metric(centered=False, unit=True, of_square=_half, linear=True),
    "correlation": Metric(centered=True, unit=True, of_square=_half, linear=True),
    "euclidean": Metric(centered=False, unit=False, of_square=np.sqrt, linear=False),
    "sqeuclidean": Metric(centered=False, unit=False, of_square=unchanged, linear=True),
}


class Norms(NamedTuple):
    """Norms of rows (…, n), which are there, and what the norms were before rows were centred."""

    norm: Array
    seen: Array
    whole: Array

    def error(self, relative: float, metric: Metric) -> Array:
        """How far the rows are off, of unit norm if the metric says so; 0 where missing."""
        whole = np.where(self.seen, self.whole, 0.0)
        if not metric.unit:
            return np.asarray(relative * whole)
        return np.asarray(relative * whole / np.where(self.seen, self.norm, 1.0))


def norms(x: Array, metric: Metric, relative: float | None = None) -> Norms:
    """Norm of every float64 row of ``x`` (…, n, f), centred in place if the metric says so.

    A row that is NaN throughout is missing. Where the metric wants unit rows, those whose squares
    leave the range of numbers are divided by a power of two, in place, and have the norm of what
    they are then. ``relative`` is how far rows are off, by default that of double.
    Raises RowError for any other row that is not finite, and for a row without a direction
    where the metric needs one.
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        square = np.vecdot(x, x)
    plain = square.min(initial=1.0) > TINY and square.max(initial=1.0) < 1 / TINY
    if plain and not metric.centered:
        norm = np.sqrt(square)
        return Norms(norm, np.ones(square.shape, bool), norm)
    size = np.sqrt(square) if plain else _sizes(x, square, metric.unit)
    seen = np.isfinite(size)
    if not seen.all():
        gone = np.argwhere(~seen)
        rows = x[tuple(gone.T)]
        faulty = ~np.isnan(rows).all(-1)
        if (faulty & np.isfinite(rows).all(-1)).any():
            raise RangeError("rows whose norm is beyond float64; divide the data by a constant")
        if faulty.any():
            raise RowError("NaN or infinity inside a row", gone[faulty])
    norm = size
    if metric.centered:
        x -= x.mean(-1, keepdims=True)
        norm = np.sqrt(np.vecdot(x, x))
        if relative is None:
            relative = rounding.relative(x.dtype, x.shape[-1])
        norm[seen & (norm <= relative * size)] = 0.0
    if metric.unit and (norm == 0).any():
        raise RowError(
            f"{metric.zero()}, for which this metric is undefined", np.argwhere(norm == 0)
        )
    return Norms(norm, seen, size)


def _sizes(x: Array, square: Array, in_place: bool) -> Array:
    """Norms (…, n) of rows of any size, whose squared norms may have left the range of numbers.

    ``in_place``: those rows are divided by a power of two, and the norms are theirs.
    """
    size = np.sqrt(square)
    odd = ~np.isnan(square) & ~((square > TINY) & (square < 1 / TINY))
    largest = np.abs(x[odd]).max(-1, initial=0.0)
    exponent = np.where(np.isfinite(largest), np.frexp(largest)[1], 0)
    rows = np.ldexp(x[odd], -exponent[:, None])
    with np.errstate(over="ignore", invalid="ignore"):
        less = np.sqrt(np.vecdot(rows, rows))
        size[odd] = less if in_place else np.ldexp(less, exponent)
    if in_place:
        x[odd] = rows
    return np.asarray(size)


def working_dtype(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Single precision for floats of up to 4 bytes, double for everything else."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def padded(
    rows: Array, seen: Array, width: int, fill: float = 0.0, dtype: DTypeLike = np.float64
) -> Array:
    """Rows (n, w) in an array (n, width): ``fill`` in the padding, NaN where missing."""
    result: Array = np.full((len(rows), width), fill, dtype)
    result[:, : rows.shape[1]] = rows
    result[~seen] = np.nan
    return result


def present(rows: Array) -> Array:
    """Which rows (n, f) are there; one that is neither whole nor NaN throughout is a RowError."""
    seen = np.isfinite(rows).all(1)
    rest = np.flatnonzero(~seen)
    faulty = rest[~np.isnan(rows[rest]).all(1)]
    if len(faulty):
        raise RowError("NaN or infinity inside a row", faulty[:, None])
    return np.asarray(seen)


class Directed(NamedTuple):
    """Rows (n, f) as a metric wants them, zero where missing, and which are there (n).

    How far each is off by rounding (n), and the power of two that all of them were divided by.
    """

    rows: Array
    seen: Array
    error: Array
    exponent: int


def prepare(x: Array, width: int, metric: Metric, share: float = 0.0) -> Directed:
    """The real features of one model (n, F) as float64 rows ready for squared distances.

    Rounding left them off by a ``share`` of their norm, if that is more than their type says.
    Where the metric does not divide by norms, rows whose squares would leave the range of numbers
    are divided by one power of two.
    """
    share = max(share, rounding.relative(x.dtype, width))
    found = directed(x, width, metric, 0, 0, share)
    size = found.error.max(initial=0.0) / share
    if not metric.unit and (exponent := int(exponents(size))):
        found = directed(x, width, metric, 0, exponent, share)
    if not metric.unit and found.seen.any():
        found.rows[found.seen] -= found.rows[found.seen].mean(0)
    return found


def directed(
    block: Array, width: int, metric: Metric, start: int, exponent: int = 0, share: float = 0.0
) -> Directed:
    """Rows (b, width) of a block that starts at ``start``, as the metric wants them, not centred.

    And which are there; missing ones are zero. They are divided by 2^exponent first.
    """
    rows = scaled(block[:, :width].astype(np.float64), -exponent)
    share = max(share, rounding.relative(block.dtype, width))
    with counted_from(start):
        found = norms(rows, metric, share)
    if metric.unit:
        rows /= found.norm[:, None]
    rows[~found.seen] = 0.0
    return Directed(rows, found.seen, found.error(share, metric), exponent)


def row_norms(x: Array, width: int) -> Array:
    """Euclidean norm (n) of the real features of ``x`` (n, F); NaN where missing."""
    found = norms(x[:, :width].astype(np.float64), METRICS["euclidean"])
    return np.where(found.seen, found.norm, np.nan)


def square_distances(
    rows: Array,
    others: Array,
    square_others: Array | None = None,
    error: Array | float = 0.0,
    error_others: Array | float = 0.0,
) -> Array:
    """Squared distances (n, m) of rows to others, exact also where rows nearly agree.

    One matrix product, then the entries that cancel in it again, from differences. The squared
    norms (m) of the others may be given. How far rows (n) and others (m) are off by rounding says
    which distances are 0.
    """
    square_rows = np.vecdot(rows, rows)
    if square_others is None:
        square_others = np.vecdot(others, others)
    total = square_rows[:, None] + square_others
    result: Array = rows @ others.T
    result *= -2
    result += total
    errors = np.broadcast_to(error, len(rows)), np.broadcast_to(error_others, len(others))
    total *= 1e-5
    if 2 * sum(np.square(side).max(initial=0.0) for side in errors) > total.min(initial=np.inf):
        np.maximum(total, np.square(errors[0][:, None] + errors[1]), out=total)
    i, j = np.nonzero(result < total)
    for start in range(0, len(i), 65536):
        one, other = i[start : start + 65536], j[start : start + 65536]
        gap = rows[one] - others[other]
        off = errors[0][one] + errors[1][other]
        result[one, other] = without_rounding(np.vecdot(gap, gap), off)
    return result


def column_means(rows: Array) -> Array:
    """Means (f) of rows (n, f), n > 0; of equal values that value, without rounding."""
    return np.asarray(rows[0] + (rows - rows[0]).mean(0))


def chosen(rows: Array, where: Array) -> Array:
    """Rows (n, f) where (n) that holds; not copied if it holds everywhere."""
    return rows if where.all() else rows[where]
