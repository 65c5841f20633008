"""Groups of rows, and means over groups: of rows in a row, of pairs that count each group once."""

from __future__ import annotations

from typing import Any

import numpy as np

from xconverge.kernels.vectors import Array


def alike_rows(seen: Array, which: Array) -> list[Array]:
    """Numbers of the rows (R, n) that have a value at the same stimuli, and the same ``which`` (R).

    Groups of the same stimuli follow each other.
    """
    alike: dict[bytes, dict[int, list[int]]] = {}
    for row, there in enumerate(seen):
        alike.setdefault(there.tobytes(), {}).setdefault(int(which[row]), []).append(row)
    return [np.array(rows) for sources in alike.values() for rows in sources.values()]


def family_shares(family: Array | None, size: int) -> Array:
    """Weight of each of ``size`` members: its share of its family, 1 where there are none."""
    if family is None:
        return np.ones(size)
    _, number, count = np.unique(family, return_inverse=True, return_counts=True)
    return np.asarray(1 / count[number])


def pair_numbers(of_a: Array, of_b: Array) -> Array:
    """Number of the pair of families of each pair of models, side b fastest."""
    return np.asarray((of_a[:, None] * (of_b.max() + 1) + of_b).reshape(-1))


def mean_of_families(values: Array, family: Array) -> Array:
    """Mean (…) over the families of what they have in mean, from values (…, R) of all families."""
    numbers = np.unique(family)
    if len(numbers) < len(family):
        values = np.stack([values[..., family == one].mean(-1) for one in numbers], axis=-1)
    return np.asarray(values.mean(-1))


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
    sums, counts = pair_sums(square, numbers)
    if np.array_equal(square, square.T, equal_nan=True):
        sums = (sums + sums.T) / 2  # the two differ in the order of summation alone
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    own = np.diagonal(square)[:, None]
    np.fill_diagonal(means, group_means(own, np.isnan(own[:, 0]), numbers, np.float64))
    return means.astype(kind)


def pair_sums(values: Array, numbers: Array) -> tuple[Array, Array]:
    """Sums (G, G, …) of the ``values`` (n, n, …) of pairs of members of two groups, and counts.

    NaN is left out. ``numbers`` as in ``group_means``.
    """
    starts = _starts(numbers)
    there = ~np.isnan(values)
    sums, counts = (
        np.add.reduceat(
            np.add.reduceat(part, starts, axis=1, dtype=wide), starts, axis=0, dtype=wide
        )
        for part, wide in ((np.where(there, values, 0), np.float64), (there, np.int64))
    )
    return sums, counts


def pair_means(values: Array, numbers: Array) -> Array:
    """Means (G, G, …) over the pairs of members of two groups that have a value; NaN for none.

    ``numbers`` (n) in any order; groups come out in the order of their numbers.
    """
    order = np.argsort(numbers, kind="stable")
    sums, counts = pair_sums(values[np.ix_(order, order)], numbers[order])
    return np.asarray(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))


def table_mean(values: Array, rows: Array, columns: Array) -> Array:
    """Mean (…) of a table (…, A, B) in which every group of rows, and of columns, counts once.

    Of every two groups the mean over their members that have a value, then over those that have
    one.
    """
    means = table_means(values, rows, columns)
    there = ~np.isnan(means)
    some, whole = there.sum((-2, -1)), np.where(there, means, 0.0).sum((-2, -1))
    return np.asarray(np.divide(whole, some, out=np.full(whole.shape, np.nan), where=some > 0))


def table_means(values: Array, rows: Array, columns: Array) -> Array:
    """Means (…, G, H) of a table (…, A, B) over the members of two groups that have a value.

    ``rows`` (A) and ``columns`` (B) number the groups from 0; NaN where none has one.
    """
    if rows.max() + 1 == len(rows) and columns.max() + 1 == len(columns):
        return np.take(np.take(values, np.argsort(rows), -2), np.argsort(columns), -1)
    there = ~np.isnan(values)
    one, other = (
        (numbers == np.arange(numbers.max() + 1)[:, None]).astype(np.float64)
        for numbers in (rows, columns)
    )
    total, count = (
        one @ part @ other.T for part in (np.where(there, values, 0.0), there.astype(np.float64))
    )
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _starts(numbers: Array) -> Array:
    """Where a new group begins."""
    return np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
