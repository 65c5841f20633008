"""The most similar rows of each row by cosine, exactly, from products in single precision.

Where two candidates are closer than its error, they are taken again in double, so that what is
found is what double precision finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from xconverge.kernels import blocks
from xconverge.kernels.blocks import over_blocks, split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.compiled import loops
from xconverge.kernels.vectors import Array

GROUP = 64
"""Columns at most whose maximum is taken first."""
LEAST_ROWS = 128
"""Rows that a product has at least."""
MANY = 8
"""So many times k candidates a row are not taken again one by one."""
GRID = 1.5 * 2.0**12
"""Added and taken away again, it rounds similarities to a grid of 2^-40: equal rows tie."""
STEP = 1.5 * 2.0**-40
"""Closer on the grid is a tie: equal similarities may fall on either side of a step."""


def search(
    queries: Array, own: Array, pool: Array, k: int, single: bool, same: float
) -> tuple[Array, Array]:
    """Columns and cosines (q, k) of the nearest rows of ``pool`` (n, f), the first on ties.

    Queries (q, f) and pool are unit rows in double; ``single`` says that they were no more than
    single precision. ``own`` (q) is the row of the pool that is the query itself, or -1; ``same``
    is 1 - cosine of rows that are equal.
    """
    chosen, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    unsure = np.arange(len(queries))
    if single:
        first = _InSingle(queries, own, pool, same, chosen, cosines)
        first.run()
        unsure = np.flatnonzero(first.unsettled)
    for part in parts_of(unsure, 8 * len(pool)):
        similarity = as_on_grid(queries[part] @ pool.T, same)
        _leave_out(similarity, own[part])
        chosen[part], cosines[part], _ = largest(similarity, k, STEP)
    return chosen, cosines


class _InSingle:
    """Fills in ``chosen`` and ``cosines`` (q, k) from products in single precision.

    Where an order hangs on less than its error, the candidates are taken again in double.
    ``unsettled`` (q) are rows with so many of these that a whole product in double is sooner done.
    """

    def __init__(
        self, queries: Array, own: Array, pool: Array, same: float, chosen: Array, cosines: Array
    ) -> None:
        self.queries, self.own, self.pool, self.same = queries, own, pool, same
        self.chosen, self.cosines = chosen, cosines
        self.less = pool.astype(np.float32)
        self.asked = self.less if queries is pool else queries.astype(np.float32)
        # a rounding error grows with the root of the number of terms, seldom beyond four of these
        self.margin = max((4 * np.sqrt(pool.shape[1]) + 8) * 2.0**-23, 2 * same)
        self.unsettled = np.zeros(len(queries), bool)

    def run(self) -> None:
        """Of a matrix with itself half is computed, or, without compiled loops, all at once."""
        n, k = len(self.pool), self.chosen.shape[1]
        fast = loops(len(self.queries) * n, k)
        with_itself = self.asked is self.less
        if with_itself and fast is not None:
            self._by_halves(fast)
        elif with_itself and self._bytes_of(n) <= BUDGETS.whole_product:
            self._of_whole()
        else:
            for part in self._steps(len(self.queries)):
                self._take(part, self.asked[part] @ self.less.T, fast)

    def _bytes_of(self, n_rows: int) -> int:
        return self.less.itemsize * n_rows * len(self.pool)

    def _steps(self, n_rows: int) -> list[slice]:
        """Candidates are sought while products are in the cache; a product wants many rows."""
        return split(slice(0, n_rows), max(LEAST_ROWS, BUDGETS.cache_block // self._bytes_of(1)))

    def _by_halves(self, fast: ModuleType) -> None:
        less, (n, k) = self.less, self.chosen.shape
        found, value = np.zeros((n, k + 1), np.int64), np.full((n, k + 1), -np.inf, np.float32)
        for part in self._steps(n):
            fast.join_largest(less[part] @ less[part.start :].T, part.start, found, value)
        self.chosen[:], self.cosines[:] = found[:, :k], value[:, :k]
        again = np.flatnonzero(_near(value, self.margin))

        def settle(parts: Sequence[slice]) -> None:
            for part in parts:
                similarity = less[again[part]] @ less.T
                _leave_out(similarity, self.own[again[part]])
                self._in_double(again[part], similarity)

        with blocks.calm():
            over_blocks(settle, len(again), self._bytes_of(1))

    def _of_whole(self) -> None:
        whole = self.less @ self.less.T

        def take(parts: Sequence[slice]) -> None:
            for part in parts:
                self._take(part, whole[part], None)

        over_blocks(take, len(whole), self._bytes_of(1))

    def _take(self, rows: slice, similarity: Array, fast: ModuleType | None) -> None:
        """The largest of some rows, from their similarities (b, n), which are written to."""
        k = self.chosen.shape[1]
        _leave_out(similarity, self.own[rows])
        found = largest_in_single(similarity, k, self.margin, fast)
        self.chosen[rows], self.cosines[rows], unsure = found
        again = np.flatnonzero(unsure)
        self._in_double(rows.start + again, similarity[again])

    def _in_double(self, rows: Array, similarity: Array) -> None:
        """The largest of these rows again, from all that may be among them."""
        k = self.chosen.shape[1]
        at, column = candidates_of(similarity, k, self.margin)
        if len(at) > MANY * k * len(rows):
            self.unsettled[rows] = True
        elif len(at):
            exact = np.empty(len(at))
            # gathered rows may be more than all similarities
            step = BUDGETS.cache_block // (8 * self.pool.shape[1])
            for part in split(slice(0, len(at)), step):
                exact[part] = np.vecdot(self.queries[rows[at[part]]], self.pool[column[part]])
            exact = as_on_grid(exact, self.same)
            self.chosen[rows], self.cosines[rows], _ = _first(at, column, exact, k, len(rows))


def exact_cosines(queries: Array, pool: Array, chosen: Array, value: Array, same: float) -> Array:
    """Cosines (q, k) of the chosen rows in double, on the grid where equal ones tie."""
    result = np.empty(value.shape)
    for part in parts_of(np.arange(len(queries)), 8 * chosen.shape[1] * pool.shape[1]):
        result[part] = np.vecdot(queries[part, None], pool[chosen[part]])
    result = np.where(np.isfinite(value), result, -np.inf)
    return as_on_grid(result, same)


def _leave_out(similarity: Array, own: Array) -> None:
    inside = np.flatnonzero(own >= 0)
    similarity[inside, own[inside]] = -np.inf


def parts_of(rows: Array, row_bytes: int) -> list[Array]:
    """Rows, as many at a time as fit into a block of a product."""
    step = max(1, BUDGETS.product_block // row_bytes)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def as_on_grid(similarity: Array, same: float = 0.0) -> Array:
    """Similarities on the grid, in place, those of rows that are equal but for rounding 1."""
    similarity += GRID
    similarity -= GRID
    if same > STEP:
        similarity[similarity > 1 - same] = 1.0
    return similarity


def by_rank_where_tied(cosines: Array, rank: Array) -> Array:
    """The order of cosines (q, K) from the largest, those that follow within a step by rank."""
    first = np.argsort(-cosines, axis=1, kind="stable")
    sorted_ = np.take_along_axis(cosines, first, 1)
    with np.errstate(invalid="ignore"):
        apart = sorted_[:, :-1] - sorted_[:, 1:] > STEP
    # of no columns none: blocks may hold nothing that a model saw
    group = np.pad(np.cumsum(apart, axis=1), ((0, 0), (1, 0)))[:, : cosines.shape[1]]
    then = np.lexsort((np.take_along_axis(rank, first, 1), group))
    return np.take_along_axis(first, then, 1)


def candidates_of(similarity: Array, k: int, margin: Array | float) -> tuple[Array, Array]:
    """Rows and columns of all entries (b, n) that may be among the k largest of their row.

    Row by row, up to a ``margin`` (b) below the k-th. The maxima of k groups of columns bound the
    k-th largest from below, which leaves few candidates to sort.
    """
    columns = similarity.shape[1]
    size = 1
    while 2 * size <= min(GROUP, columns // (4 * k)):
        size *= 2
    groups = columns // size
    # folded in halves, whose long rows numpy compares fastest
    maxima, half = similarity[:, : size * groups], size * groups // 2
    while half >= groups:
        maxima, half = np.maximum(maxima[:, :half], maxima[:, half:]), half // 2
    bound = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    lowest = bound - np.asarray(margin, similarity.dtype)
    # of most groups the largest says that none of them is a candidate
    row, group = np.divmod(np.flatnonzero(maxima >= lowest[:, None]), groups)
    column = group[:, None] + groups * np.arange(size)
    place, member = np.nonzero(similarity[row[:, None], column] >= lowest[row, None])
    found = row[place] * columns + column[place, member]
    rest = similarity[:, size * groups :] >= lowest[:, None]
    row, column = np.divmod(np.flatnonzero(rest), max(rest.shape[1], 1))
    found = np.concatenate([found, row * columns + column + size * groups])
    found.sort()
    return np.divmod(found, columns)


def largest_in_single(
    similarity: Array, k: int, margin: float, fast: ModuleType | None
) -> tuple[Array, Array, Array]:
    """As `largest`, of similarities in single precision; by compiled loops, where there are."""
    if fast is None:
        return largest(similarity, k, margin)
    found = np.empty((len(similarity), k + 1), np.int64)
    value = np.empty(found.shape, np.float32)
    fast.largest(similarity, found, value)
    return found[:, :k], value[:, :k], _near(value, margin)


def _near(value: Array, margin: float) -> Array:
    """In which rows (b) the order of the largest (b, k) hangs on less than ``margin``."""
    with np.errstate(invalid="ignore"):
        return np.asarray((value[:, :-1] - value[:, 1:] < margin).any(1))


def largest(similarity: Array, k: int, margin: float) -> tuple[Array, Array, Array]:
    """Columns and values (b, k) of the k largest of each row, largest first, first column on ties.

    What follows within ``STEP`` is a tie. And in which rows (b) the order of these k + 1 hangs on
    less than ``margin``.
    """
    rows, candidates = candidates_of(similarity, k, margin)
    values = similarity[rows, candidates].astype(np.float64)
    chosen, value, following = _first(rows, candidates, values, k, len(similarity))
    return chosen, value, _near(np.column_stack([value, following]), margin)


def _first(
    rows: Array, candidates: Array, values: Array, k: int, length: int
) -> tuple[Array, Array, Array]:
    """Of candidates, row by row, the k of largest value (length, k), and the value that follows."""
    order = np.lexsort((candidates, -values, rows))
    drop, apart = -np.diff(values[order]), np.diff(rows) > 0
    if ((drop > 0) & (drop <= STEP) & ~apart).any():
        group = np.concatenate([[0], np.cumsum(apart | (drop > STEP))])
        order = order[np.lexsort((candidates[order], group))]
    counts = np.bincount(rows, minlength=length)
    first = np.cumsum(counts) - counts
    top = order[first[:, None] + np.arange(k)]
    following = order[np.minimum(first + k, len(order) - 1)]
    return candidates[top], values[top], np.where(counts > k, values[following], -np.inf)
