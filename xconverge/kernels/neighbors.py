"""Nearest neighbours by cosine, self excluded.

A list holds positions (n, k), nearest first; -1 throughout for a stimulus the model never saw.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.exact_search import by_rank_where_tied, exact_cosines, search
from xconverge.kernels.rounding import relative
from xconverge.kernels.vectors import METRICS, Array, directed, prepare, working_dtype


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
    chosen, cosines = search(pool, own, pool, there, single, same)
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
    chosen, cosines = search(unit[asked], own, unit[by_rank], min(k, len(unit) - 1), False, same)
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
    chosen, value = search(queries, own, pool, min(k, len(pool)), single, same)
    if single:
        value = exact_cosines(queries, pool, chosen, value, same)
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
