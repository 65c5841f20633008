"""Rows of features: which are there, which are faulty, and what a metric makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


TINY = 1e-250
"""Squared norms beyond it, or its inverse, are taken of the row divided by its largest entry."""


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

    def zero(self) -> str:
        """What a row without a direction is called."""
        return "a constant vector" if self.centered else "a zero vector"


def _half(square: Array) -> Array:
    return 0.5 * square


def _same(square: Array) -> Array:
    return square


METRICS: dict[str, Metric] = {
    "cosine": Metric(centered=False, unit=True, of_square=_half, linear=True),
    "correlation": Metric(centered=True, unit=True, of_square=_half, linear=True),
    "euclidean": Metric(centered=False, unit=False, of_square=np.sqrt, linear=False),
    "sqeuclidean": Metric(centered=False, unit=False, of_square=_same, linear=True),
}


def norms(x: Array, metric: Metric) -> tuple[Array, Array]:
    """Norm of every float64 row of ``x`` (…, n, f), centred in place if the metric says so.

    Returns the norms and which rows are there: a row that is NaN throughout is missing.
    Raises RowError for any other row that is not finite, and for a row without a direction
    where the metric needs one.
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        square = np.vecdot(x, x)
    plain = square.min(initial=1.0) > TINY and square.max(initial=1.0) < 1 / TINY
    if plain and not metric.centered:
        return np.sqrt(square), np.ones(square.shape, bool)
    if not plain and metric.unit:
        _rescale(x, square)
    seen = np.isfinite(square)
    if not seen.all():
        gone = np.argwhere(~seen)
        rows = x[tuple(gone.T)]
        faulty = ~np.isnan(rows).all(-1)
        if faulty.any():
            raise RowError("NaN or infinity inside a row", gone[faulty])
    if metric.centered:
        rounding = 8 * np.finfo(x.dtype).eps * np.sqrt(square)
        x -= x.mean(-1, keepdims=True)
        square = np.vecdot(x, x)
        square[seen & (np.sqrt(square) <= rounding)] = 0.0
    if metric.unit and (square == 0).any():
        raise RowError(
            f"{metric.zero()}, for which this metric is undefined", np.argwhere(square == 0)
        )
    return np.sqrt(square), seen


def _rescale(x: Array, square: Array) -> None:
    """Give rows whose squared norm leaves the range of numbers a largest entry of 1, in place."""
    largest = np.abs(x).max(-1)
    where = np.isfinite(largest) & (largest > 0) & ~((square > TINY) & (square < 1 / TINY))
    x[where] /= largest[where, None]
    square[where] = np.vecdot(x[where], x[where])


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
    faulty = ~seen & ~np.isnan(rows).all(1)
    if faulty.any():
        raise RowError("NaN or infinity inside a row", np.argwhere(faulty))
    return np.asarray(seen)


def prepare(x: Array, width: int, metric: Metric) -> tuple[Array, Array]:
    """The real features of one model (n, F) as float64 rows ready for squared distances.

    Returns the rows (n, width), zero where missing, and which rows are there (n).
    """
    rows, seen = directed(x, width, metric, 0)
    if not metric.unit and seen.any():
        rows[seen] -= rows[seen].mean(0)
    return rows, seen


def directed(block: Array, width: int, metric: Metric, start: int) -> tuple[Array, Array]:
    """Rows (b, width) of a block that starts at ``start``, as the metric wants them, not centred.

    And which are there; missing ones are zero.
    """
    rows = block[:, :width].astype(np.float64)
    with counted_from(start):
        norm, seen = norms(rows, metric)
    if metric.unit:
        rows /= norm[:, None]
    rows[~seen] = 0.0
    return rows, seen


def row_norms(x: Array, width: int) -> Array:
    """Euclidean norm (n) of the real features of ``x`` (n, F); NaN where missing."""
    norm, seen = norms(x[:, :width].astype(np.float64), METRICS["euclidean"])
    return np.where(seen, norm, np.nan)


def square_distances(rows: Array, others: Array, square_others: Array | None = None) -> Array:
    """Squared distances (n, m) of rows to others, exact also where rows nearly agree.

    One matrix product, then the entries that cancel in it again, from differences. The squared
    norms (m) of the others may be given.
    """
    square_rows = np.vecdot(rows, rows)
    if square_others is None:
        square_others = np.vecdot(others, others)
    total = square_rows[:, None] + square_others
    result: Array = rows @ others.T
    result *= -2
    result += total
    i, j = np.nonzero(result < 1e-5 * total)
    for start in range(0, len(i), 65536):
        part = slice(start, start + 65536)
        gap = rows[i[part]] - others[j[part]]
        result[i[part], j[part]] = np.vecdot(gap, gap)
    return result


def column_means(rows: Array) -> Array:
    """Means (f) of rows (n, f), n > 0; of equal values that value, without rounding."""
    return np.asarray(rows[0] + (rows - rows[0]).mean(0))


def chosen(rows: Array, where: Array) -> Array:
    """Rows (n, f) where (n) that holds; not copied if it holds everywhere."""
    return rows if where.all() else rows[where]
