"""Nearest neighbours by cosine, self excluded.

A list holds positions (n, k), nearest first; -1 throughout for a stimulus the model never saw.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels import blocks
from xconverge.kernels.blocks import over_blocks, split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.compiled import loops
from xconverge.kernels.rounding import relative
from xconverge.kernels.vectors import METRICS, Array, directed, prepare, working_dtype

GROUP = 64
LEAST_ROWS = 128
MANY = 8
"""So many times k candidates a row are not taken again one by one."""
GRID = 1.5 * 2.0**12
"""Added and taken away again, it rounds similarities to a grid of 2^-40: equal rows tie."""
STEP = 1.5 * 2.0**-40
"""Closer on the grid is a tie: equal similarities may fall on either side of a step."""


class ShortListsError(ValueError):
    """Lists that were made before hold too few of the stimuli that are left.

    ``left_out`` counts those that the model saw when they were made and that are not looked at now.
    """

    def __init__(self, k: int, left_out: int, length: int) -> None:
        # of k + m nearest, m others at most are left out
        self.enough = k + left_out
        super().__init__(
            f"a neighbour graph of {length} neighbours holds fewer than the k={k} nearest among "
            f"the stimuli that both models saw; {self.enough} are enough for these models "
            f"(neighbor_graph(reps, k={self.enough})), or give the representations themselves"
        )


def overlap_share(common: Any, k: int, lists: Any = 1) -> Any:
    """Overlap |N_a ∩ N_b| / k of two sets of k neighbours; of numpy or another library.

    Its mean where ``common`` counts the neighbours that several ``lists`` of k have in common with
    their partners. |N_a ∩ N_b| is Σ_j p_j q_j of memberships 0 and 1, and of soft ones.
    """
    return common / (k * lists)


def warn_if_few(k: int, size: int) -> None:
    """Say that a model that saw ``size`` stimuli has not k neighbours."""
    if size <= k:
        warnings.warn(
            f"k={k} neighbours need at least {k + 1} stimuli, and a model saw "
            f"{size or 'none'}: NaN",
            RuntimeWarning,
            stacklevel=3,
        )


def nearest(x: Array, width: int, rank: Array, k: int) -> tuple[Array, Array]:
    """The k nearest neighbours of every row of ``x`` (n, F).

    Single precision rows are searched in single precision; where two candidates are closer than
    its error, the row is searched again in double, so that the lists are those of double.

    Parameters
    ----------
    x : array (n, F)
        Rows of one model; NaN throughout where missing.
    width : int
        Leading features that are real.
    rank : array (n)
        Decides ties: the lower rank comes first.
    k : int
        Number of neighbours.

    Returns
    -------
    positions : int array (n, k)
        Nearest first, -1 where there are no more.
    similarity : array (n, k)
        Cosine to these neighbours, NaN where missing.
    """
    pool, by_rank = _in_order(x, width, rank)
    n, there = len(x), min(k, len(pool) - 1)
    positions, similarity = np.full((n, k), -1, np.int64), np.full((n, k), np.nan)
    if there < 1:
        return positions, similarity
    own = np.arange(len(pool))
    single, same = working_dtype(x.dtype) == np.float32, same_row(x.dtype, width)
    chosen, cosines = _search(pool, own, pool, there, single, same)
    positions[by_rank, :there] = by_rank[chosen]
    similarity[by_rank, :there] = cosines
    similarity[np.abs(similarity) <= 2 * relative(x.dtype, width)] = 0.0
    return positions, similarity


def mean_cosines(x: Array, width: int, rank: Array) -> Array:
    """Mean cosine (n) of every row of ``x`` (n, F) to all that are there, NaN where missing."""
    pool, by_rank = _in_order(x, width, rank)
    result = np.full(len(x), np.nan)
    if len(pool) > 1:
        result[by_rank] = pool @ pool.mean(0)
    return result


def _in_order(x: Array, width: int, rank: Array) -> tuple[Array, Array]:
    """The unit rows (m, width) that are there, by rank, and where they stand (m) in ``x``."""
    rows, seen, *_ = prepare(x, width, METRICS["cosine"])
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    # labels mostly come in order, and rows are large
    return rows if np.array_equal(by_rank, np.arange(len(x))) else rows[by_rank], by_rank


def from_graph(graph: Array, position: Array) -> Array:
    """Neighbours (n, K) of a graph (n, K), in the order of stimuli now; -1 for those left out.

    ``position`` (n) is where each stimulus was when the graph was made.
    """
    now = np.full(int(max(position.max(), np.nanmax(graph, initial=0))) + 1, -1)
    now[position] = np.arange(len(position))
    named = ~np.isnan(graph)
    result = np.full(graph.shape, -1, np.int64)
    result[named] = now[graph[named].astype(np.int64)]
    return result


def renumbered(graph: Array, position: Array) -> Array:
    """Lists (n, K) of `from_graph`, of which those that were left out since are gone.

    -1 at the end of lists that have become shorter.
    """
    return filtered(from_graph(graph, position), None, np.arange(len(graph)))[0]


def most_shared(lists: Array, size: int) -> tuple[Array, Array]:
    """The neighbours that most models give a stimulus, and by which share of its models.

    Of lists (model, n, k), -1 where there is none: positions and shares, both (n, size), those
    that share most first, equal ones in order of position; -1 and NaN beyond.
    """
    _, n, _ = lists.shape
    _, stimuli, _ = np.nonzero(lists >= 0)
    # one number for each (stimulus, neighbour): counting them is counting models
    pairs, counts = np.unique(stimuli * n + lists[lists >= 0], return_counts=True)
    of, neighbor = np.divmod(pairs, n)
    order = np.lexsort((neighbor, -counts, of))
    of, neighbor, counts = of[order], neighbor[order], counts[order]
    place = np.arange(len(of)) - np.searchsorted(of, of)
    shown = place < size
    found = np.full((n, size), -1), np.full((n, size), np.nan)
    found[0][of[shown], place[shown]] = neighbor[shown]
    found[1][of[shown], place[shown]] = counts[shown]
    return found[0], found[1] / np.maximum((lists >= 0).any(2).sum(0), 1)[:, None]


def filtered(order: Array, cosines: Array | None, where: Array) -> tuple[Array, Array | None]:
    """Lists (m, K) of the stimuli ``where`` (m) among themselves, -1 at the end where they end.

    From lists (n, K) of positions among all, and the cosines beside them.
    """
    now = np.full(len(order) + 1, -1)
    now[where] = np.arange(len(where))
    lists = now[order[where]]
    values = None if cosines is None else cosines[where]
    gone = lists < 0
    if gone.any():
        left = ~gone
        room = np.arange(lists.shape[1]) < left.sum(1)[:, None]
        lists = _moved(lists, left, room, -1)
        values = None if values is None else _moved(values, left, room, np.nan)
    return lists, values


def _moved(entries: Array, left: Array, room: Array, fill: float) -> Array:
    """The entries (m, K) that are ``left``, in order, in the ``room`` at the start of rows."""
    result = np.full_like(entries, fill)
    result[room] = entries[left]
    return result


def same_row(dtype: np.dtype[Any], width: int) -> float:
    """1 - cosine up to which rows of this type are one and the same but for rounding.

    Of unit rows |x - y|² = 2 - 2 cos.
    """
    return 0.5 * float(np.square(2 * relative(dtype, width)))


def nearest_of_rows(
    unit: Array, rank: Array, asked: Array, k: int, same: float = 0.0
) -> tuple[Array, Array]:
    """Positions and cosines (q, k) of the nearest of unit rows (n, f) to the rows ``asked`` (q).

    In double; fewer than k where there are no more. ``same`` is 1 - cosine of rows that are equal.
    """
    by_rank = np.argsort(rank)
    own = np.argsort(by_rank)[asked]
    chosen, cosines = _search(unit[asked], own, unit[by_rank], min(k, len(unit) - 1), False, same)
    return by_rank[chosen], cosines


class Found(NamedTuple):
    """Nearest neighbours (q, k) so far, of some rows; and the sum of all rows looked at."""

    order: Array
    cosines: Array
    total: Array
    size: int


def nearest_in_block(
    queries: Array, asked: Array, block: Array, start: int, among: Array, rank: Array, k: int
) -> Found:
    """Neighbours of unit rows (q, f) at positions ``asked`` in a block (b, F) that starts there.

    ``among`` (b) says which of its rows count, ``rank`` (b) orders them.
    """
    width = queries.shape[1]
    single = working_dtype(block.dtype) == np.float32
    pool, seen, *_ = directed(block, width, METRICS["cosine"], 0)
    by_rank = np.argsort(rank)
    by_rank = by_rank[(seen & among)[by_rank]]
    if not len(by_rank):
        return Found(
            np.empty((len(asked), 0), np.int64), np.empty((len(asked), 0)), np.zeros(width), 0
        )
    pool = pool[by_rank]
    own = _places(asked, by_rank + start)
    same = same_row(block.dtype, width)
    chosen, value = _search(queries, own, pool, min(k, len(pool)), single, same)
    if single:
        value = _exact(queries, pool, chosen, value, same)
    # of all rows of a block the last may be the one that asks
    order = np.where(np.isfinite(value), by_rank[chosen] + start, -1)
    return Found(order, value, pool.sum(0), len(pool))


def best(parts: Sequence[Found], rank: Array, k: int) -> Found:
    """The k nearest of several blocks; ``rank`` (n) decides ties."""
    order = np.concatenate([part.order for part in parts], axis=1)
    cosines = np.concatenate([part.cosines for part in parts], axis=1)
    first = by_rank_where_tied(cosines, rank[order])[:, :k]
    return Found(
        np.take_along_axis(order, first, 1),
        np.take_along_axis(cosines, first, 1),
        np.sum([part.total for part in parts], axis=0),
        sum(part.size for part in parts),
    )


def _places(labels: Array, pool: Array) -> Array:
    """Where in ``pool`` each label is, or -1."""
    order = np.argsort(pool)
    place = np.searchsorted(pool[order], labels)
    inside = place < len(pool)
    place = order[np.where(inside, place, 0)]
    return np.where(inside & (pool[place] == labels), place, -1)


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


def _exact(queries: Array, pool: Array, chosen: Array, value: Array, same: float) -> Array:
    """Cosines (q, k) of the chosen rows in double, on the grid where equal ones tie."""
    result = np.empty(value.shape)
    for part in parts_of(np.arange(len(queries)), 8 * chosen.shape[1] * pool.shape[1]):
        result[part] = np.vecdot(queries[part, None], pool[chosen[part]])
    result = np.where(np.isfinite(value), result, -np.inf)
    return as_on_grid(result, same)


def as_on_grid(similarity: Array, same: float = 0.0) -> Array:
    """Similarities on the grid, in place, those of rows that are equal but for rounding 1."""
    similarity += GRID
    similarity -= GRID
    if same > STEP:
        similarity[similarity > 1 - same] = 1.0
    return similarity


def _search(
    queries: Array, own: Array, pool: Array, k: int, single: bool, same: float
) -> tuple[Array, Array]:
    """Columns and cosines (q, k) of the nearest rows of ``pool`` (n, f), the first on ties.

    ``own`` (q) is the row of the pool that is the query itself, or -1; ``same`` is 1 - cosine of
    rows that are equal.
    """
    chosen, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    unsure = np.arange(len(queries))
    if single:
        # a rounding error grows with the root of the number of terms, seldom beyond four of these
        margin = max((4 * np.sqrt(pool.shape[1]) + 8) * 2.0**-23, 2 * same)
        unsure = _search_in_single(queries, own, pool, margin, same, chosen, cosines)
    for part in parts_of(unsure, 8 * len(pool)):
        similarity = as_on_grid(queries[part] @ pool.T, same)
        _leave_out(similarity, own[part])
        chosen[part], cosines[part], _ = largest(similarity, k, STEP)
    return chosen, cosines


def _search_in_single(
    queries: Array,
    own: Array,
    pool: Array,
    margin: float,
    same: float,
    chosen: Array,
    cosines: Array,
) -> Array:
    """Fill ``chosen`` and ``cosines`` (q, k) from products in single precision.

    Where an order hangs on less than ``margin``, the candidates are taken again in double. Returns
    rows that have so many of these that a whole product in double is sooner done.
    """
    n, k = len(pool), chosen.shape[1]
    less = pool.astype(np.float32)
    asked = less if queries is pool else queries.astype(np.float32)
    unsettled, fast = np.zeros(len(queries), bool), loops(len(queries) * n, k)

    def work(start: int, similarity: Array) -> None:
        rows = slice(start, start + len(similarity))
        _leave_out(similarity, own[rows])
        chosen[rows], cosines[rows], unsure = largest_in_single(similarity, k, margin, fast)
        again = np.flatnonzero(unsure)
        in_double(start + again, similarity[again])

    def in_double(rows: Array, similarity: Array) -> None:
        at, column = candidates_of(similarity, k, margin)
        if len(at) > MANY * k * len(rows):
            unsettled[rows] = True
        elif len(at):
            exact = np.empty(len(at))
            # gathered rows may be more than all similarities
            for part in split(slice(0, len(at)), BUDGETS.cache_block // (8 * pool.shape[1])):
                exact[part] = np.vecdot(queries[rows[at[part]]], pool[column[part]])
            exact = as_on_grid(exact, same)
            chosen[rows], cosines[rows], _ = _first(at, column, exact, k, len(rows))

    # candidates are sought while similarities are in the cache; a product wants many rows
    step = max(LEAST_ROWS, BUDGETS.cache_block // (less.itemsize * n))
    # of a matrix with itself half is computed
    if asked is less and fast is not None:
        found, value = np.zeros((n, k + 1), np.int64), np.full((n, k + 1), -np.inf, np.float32)
        for part in split(slice(0, n), step):
            fast.join_largest(less[part] @ less[part.start :].T, part.start, found, value)
        chosen[:], cosines[:] = found[:, :k], value[:, :k]
        again = np.flatnonzero(_near(value, margin))

        def of_some(parts: Sequence[slice]) -> None:
            for part in parts:
                similarity = less[again[part]] @ less.T
                _leave_out(similarity, own[again[part]])
                in_double(again[part], similarity)

        with blocks.calm():
            over_blocks(of_some, len(again), less.itemsize * n)
    elif asked is less and less.itemsize * n * n <= BUDGETS.whole_product:
        whole = less @ less.T

        def of_whole(parts: Sequence[slice]) -> None:
            for part in parts:
                work(part.start, whole[part])

        over_blocks(of_whole, n, less.itemsize * n)
    else:
        for part in split(slice(0, len(queries)), step):
            work(part.start, asked[part] @ less.T)
    return np.flatnonzero(unsettled)


def _leave_out(similarity: Array, own: Array) -> None:
    inside = np.flatnonzero(own >= 0)
    similarity[inside, own[inside]] = -np.inf


def parts_of(rows: Array, row_bytes: int) -> list[Array]:
    """Rows, as many at a time as fit into a block of a product."""
    step = max(1, BUDGETS.product_block // row_bytes)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


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


# --- a model that is read block by block: some rows ask, every block answers


class Asked(NamedTuple):
    """Unit rows (q, f) that ask for their neighbours, and their positions (q) among all."""

    unit: Array
    at: Array


def asking(block: Array, width: int, start: int) -> Asked:
    """The rows that are there of a block (b, F) that starts at ``start``."""
    unit, there, *_ = directed(block, width, METRICS["cosine"], 0)
    inside = np.flatnonzero(there)
    return Asked(unit[inside], inside + start)


def shared_sets(own: Array, others: Array) -> Array:
    """What a model saw (n), then each other set (P, n) that it shares with one of ``others``."""
    shared = np.unique(own & others, axis=0)
    different = shared[(shared != own).any(1) & shared.any(1)]
    return np.concatenate([own[None], different])


def answers(
    block: Array, asked: Asked, sets: Array, part: slice, rank: Array, k: int
) -> list[Found]:
    """Neighbours in one block of the rows that ask, among each of the sets (P, n)."""
    return [
        nearest_in_block(
            asked.unit[mask[asked.at]], asked.at[mask[asked.at]], block, part.start, mask[part],
            rank[part], k,
        )
        for mask in sets
    ]  # fmt: skip


def best_answers(parts: Sequence[Sequence[Found]], rank: Array, k: int) -> list[Found]:
    """The nearest of several blocks, among each set."""
    return [best(of_set, rank, k) for of_set in zip(*parts, strict=True)]


class Answered(NamedTuple):
    """For the rows of a block of queries, among one set: where they are, whom they found."""

    at: Array
    order: Array
    cosines: Array
    mean: Array


def with_mean(found: Sequence[Found], asked: Asked, sets: Array) -> list[Answered]:
    """With the mean cosine to all of the set: the cosine is linear in the other row."""
    result = []
    for mask, of_set in zip(sets, found, strict=True):
        mine = mask[asked.at]
        mean = asked.unit[mine] @ (of_set.total / max(of_set.size, 1))
        result.append(Answered(asked.at[mine], of_set.order, of_set.cosines, mean))
    return result


def whole_lists(
    parts: Sequence[Sequence[Answered]], sets: Array, k: int
) -> list[tuple[Array, Array, Array]]:
    """Lists and cosines (n, k) and mean cosines (n) of all rows, among each set."""
    result = []
    for mask, of_set in zip(sets, zip(*parts, strict=True), strict=True):
        n = len(mask)
        order, cosines = np.full((n, k), -1, np.int64), np.full((n, k), np.nan)
        mean = np.full(n, np.nan)
        for found in of_set:
            columns = slice(found.order.shape[1])
            order[found.at, columns] = found.order
            cosines[found.at, columns] = np.where(found.order < 0, np.nan, found.cosines)
            mean[found.at] = found.mean
        result.append((order, cosines, mean))
    return result
