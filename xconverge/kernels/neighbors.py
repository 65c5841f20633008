"""Nearest neighbours by cosine, self excluded, and how the lists of two models compare.

A list holds positions (n, k), nearest first; -1 throughout for a stimulus the model never saw.
"""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.vectors import METRICS, Array, Blocks, directed, prepare, working_dtype

BLOCK_BYTES = 2**25
GROUP = 64
GRID = 1.5 * 2.0**12
"""Added and taken away again, it rounds similarities to a grid of 2^-40: equal rows tie."""


class TooFewError(ValueError):
    """Fewer rows than neighbours asked for."""


def warn_none(k: int) -> None:
    """Say that a model has no neighbours because it saw nothing."""
    warnings.warn(
        f"k={k} neighbours need at least {k + 1} stimuli, and a model saw none: NaN",
        RuntimeWarning,
        stacklevel=3,
    )


def nearest(x: Array, width: int, rank: Array, k: int) -> tuple[Array, Array, Array]:
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
        Nearest first.
    similarity : array (n, k)
        Cosine to these neighbours, NaN where missing.
    mean : array (n)
        Mean cosine to all rows that are there, NaN where missing.
    """
    rows, seen = prepare(x, width, METRICS["cosine"])
    n = len(rows)
    if not seen.any():
        warn_none(k)
        return np.full((n, k), -1, np.int64), np.full((n, k), np.nan), np.full(n, np.nan)
    if seen.sum() <= k:
        raise TooFewError(f"k={k} needs at least {k + 1} stimuli, it saw {seen.sum()}")
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    pool = rows[by_rank]
    del rows
    own = np.arange(len(pool))
    chosen, cosines = _search(pool, own, pool, k, working_dtype(x.dtype) == np.float32)
    positions = np.full((n, k), -1, np.int64)
    similarity, mean = np.full((n, k), np.nan), np.full(n, np.nan)
    positions[by_rank] = by_rank[chosen]
    similarity[by_rank] = cosines
    mean[by_rank] = pool @ pool.mean(0)
    return positions, similarity, mean


def nearest_of(
    rows: Blocks, width: int, rank: Array, asking: slice, k: int
) -> tuple[Array, Array, Array]:
    """What ``nearest`` gives for these rows, the others read in blocks.

    Only these rows, one block and the k nearest so far are in memory.
    """
    queries, there = directed(rows.read(asking), width, METRICS["cosine"], asking.start)
    inside = np.flatnonzero(there)
    n = len(there)
    positions = np.full((n, k), -1, np.int64)
    similarity, mean = np.full((n, k), np.nan), np.full(n, np.nan)
    positions[inside], similarity[inside], mean[inside] = nearest_among(
        rows, width, rank, queries[inside], inside + asking.start, k
    )
    return positions, similarity, mean


def nearest_among(
    rows: Blocks, width: int, rank: Array, queries: Array, asked: Array, k: int
) -> tuple[Array, Array, Array]:
    """Positions and cosines (q, k) of the nearest of all rows, and the mean cosine (q) to them.

    ``queries`` (q, width) are unit rows, at the positions ``asked`` (q).
    """
    single = working_dtype(rows.dtype) == np.float32
    found = np.empty((len(asked), 0), np.int64)
    cosines, total, count = np.empty((len(asked), 0)), np.zeros(width), 0
    for part in rows.spans:
        pool, seen = directed(rows.read(part), width, METRICS["cosine"], part.start)
        by_rank = np.argsort(rank[part])
        by_rank = by_rank[seen[by_rank]]
        if not len(by_rank):
            continue
        pool = pool[by_rank]
        total += pool.sum(0)
        count += len(pool)
        own = _places(asked, by_rank + part.start)
        chosen, value = _search(queries, own, pool, min(k, len(pool)), single)
        if single:
            value = _exact(queries, pool, chosen, value)
        found = np.concatenate([found, by_rank[chosen] + part.start], axis=1)
        cosines = np.concatenate([cosines, value], axis=1)
        best = np.lexsort((rank[found], -cosines))[:, :k]
        found = np.take_along_axis(found, best, 1)
        cosines = np.take_along_axis(cosines, best, 1)
    if not count:
        warn_none(k)
        return np.empty((0, k), np.int64), np.empty((0, k)), np.empty(0)
    if count <= k:
        raise TooFewError(f"k={k} needs at least {k + 1} stimuli, it saw {count}")
    return found, cosines, queries @ (total / count)


def from_graph(graph: Array, position: Array, k: int) -> Array:
    """The first k neighbours (n, k) of a graph (n, K), in the order of stimuli now.

    ``position`` (n) is where each stimulus was when the graph was made.
    """
    ids = graph[:, :k]
    seen = ~np.isnan(ids[:, 0])
    now = np.full(int(max(position.max(), np.nanmax(ids, initial=0))) + 1, -1)
    now[position] = np.arange(len(position))
    result = np.full(ids.shape, -1, np.int64)
    result[seen] = now[ids[seen].astype(np.int64)]
    if (result[seen] < 0).any():
        raise ValueError(
            "a neighbour graph holds neighbours that were left out since; make it again from the "
            "stimuli that are left (neighbor_graph)"
        )
    return result


def _places(labels: Array, pool: Array) -> Array:
    """Where in ``pool`` each label is, or -1."""
    order = np.argsort(pool)
    place = np.searchsorted(pool[order], labels)
    inside = place < len(pool)
    place = order[np.where(inside, place, 0)]
    return np.where(inside & (pool[place] == labels), place, -1)


def _exact(queries: Array, pool: Array, chosen: Array, value: Array) -> Array:
    """Cosines (q, k) of the chosen rows in double, on the grid where equal ones tie."""
    result = np.empty(value.shape)
    for part in _parts(np.arange(len(queries)), chosen.shape[1] * pool.shape[1]):
        result[part] = np.vecdot(queries[part, None], pool[chosen[part]])
    result = np.where(np.isfinite(value), result, -np.inf)
    return np.asarray(result + GRID - GRID)


def _search(queries: Array, own: Array, pool: Array, k: int, single: bool) -> tuple[Array, Array]:
    """Columns and cosines (q, k) of the nearest rows of ``pool`` (n, f), the first on ties.

    ``own`` (q) is the row of the pool that is the query itself, or -1.
    """
    chosen, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    unsure = np.ones(len(queries), bool)
    if single:
        # a rounding error grows with the root of the number of terms, seldom beyond four of these
        margin = (4 * np.sqrt(pool.shape[1]) + 8) * 2.0**-23
        asked, less = queries.astype(np.float32), pool.astype(np.float32)
        for part in _parts(np.arange(len(queries)), len(pool)):
            similarity = asked[part[0] : part[-1] + 1] @ less.T
            _leave_out(similarity, own[part])
            chosen[part], cosines[part], unsure[part] = _largest(similarity, k, margin)
    for part in _parts(np.flatnonzero(unsure), len(pool)):
        similarity = queries[part] @ pool.T
        similarity += GRID
        similarity -= GRID
        _leave_out(similarity, own[part])
        chosen[part], cosines[part], _ = _largest(similarity, k, 0.0)
    return chosen, cosines


def _leave_out(similarity: Array, own: Array) -> None:
    inside = np.flatnonzero(own >= 0)
    similarity[inside, own[inside]] = -np.inf


def _parts(rows: Array, columns: int) -> list[Array]:
    step = max(1, BLOCK_BYTES // (8 * columns))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def _largest(similarity: Array, k: int, margin: float) -> tuple[Array, Array, Array]:
    """Columns and values (b, k) of the k largest of each row, largest first, first column on ties.

    And in which rows (b) the order of these k + 1 hangs on less than ``margin``. The maxima of
    k groups of columns bound the k-th largest from below, which leaves few candidates to sort.
    """
    length, columns = similarity.shape
    size = max(1, min(GROUP, columns // (4 * k)))
    groups = columns // size
    maxima = similarity[:, : size * groups].reshape(length, size, groups).max(1)
    bound = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    rows, candidates = np.divmod(
        np.flatnonzero(similarity >= (bound - similarity.dtype.type(margin))[:, None]), columns
    )
    values = similarity[rows, candidates].astype(np.float64)
    order = np.lexsort((candidates, -values, rows))
    counts = np.bincount(rows, minlength=length)
    first = np.cumsum(counts) - counts
    top = order[first[:, None] + np.arange(k)]
    chosen, value = candidates[top], values[top]
    following = order[np.minimum(first + k, len(order) - 1)]
    following = np.where(counts > k, values[following], -np.inf)
    with np.errstate(invalid="ignore"):
        gaps = -np.diff(np.column_stack([value, following]), axis=1)
    return chosen, value, np.asarray((gaps < margin).any(1))


def overlap(a: Array, b: Array) -> Array:
    """Share (n) of the neighbours in ``a`` (n, k) that are in ``b`` (n, k) too."""
    shared = np.zeros(len(a))
    for column in a.T:
        shared += (b == column[:, None]).any(1)
    return _where_both(shared / a.shape[1], a, b)


def cycle(a: Array, b: Array) -> Array:
    """Whether (n) a neighbour in ``b`` has the stimulus itself as a neighbour in ``a``."""
    back = (a[b] == np.arange(len(a))[:, None, None]).any((1, 2))
    return _where_both(back.astype(np.float64), a, b)


def common_subsequence(a: Array, b: Array) -> Array:
    """Length (n) of the longest common subsequence of two ordered lists, as a share of k."""
    k = a.shape[1]
    above = np.zeros((k + 1, len(a)), np.int64)
    for mine in a.T:
        row = np.zeros_like(above)
        for j, theirs in enumerate(b.T):
            longest = np.maximum(above[j + 1], row[j])
            row[j + 1] = np.where(mine == theirs, above[j] + 1, longest)
        above = row
    return _where_both(above[k] / k, a, b)


def edit_similarity(a: Array, b: Array) -> Array:
    """1 - Levenshtein distance / k (n) of two ordered lists."""
    k = a.shape[1]
    above = np.repeat(np.arange(k + 1)[:, None], len(a), 1)
    for i, mine in enumerate(a.T):
        row = np.full_like(above, i + 1)
        for j, theirs in enumerate(b.T):
            one = np.minimum(above[j + 1], row[j]) + 1
            row[j + 1] = np.minimum(one, above[j] + (mine != theirs))
        above = row
    return _where_both(1 - above[k] / k, a, b)


def _where_both(values: Array, a: Array, b: Array) -> Array:
    return np.where((a[:, 0] < 0) | (b[:, 0] < 0), np.nan, values)


def mean_overlap(lists: Array) -> tuple[Array, Array]:
    """Mean overlap (n) over all pairs of models, from lists (model, n, k), and models seen (n).

    A neighbour that c of the models have is shared by c (c - 1) / 2 pairs; nothing is paired.
    """
    models, n, k = lists.shape
    seen = lists[:, :, 0] >= 0
    entries = np.where(seen[:, :, None], lists, -1 - np.arange(models * k).reshape(models, 1, k))
    entries = np.sort(entries.transpose(1, 0, 2).reshape(n, models * k), axis=1)
    shared = np.zeros(n)
    for lag in range(1, models):
        equal = (entries[:, lag:] == entries[:, :-lag]).sum(1)
        if not equal.any():
            break
        shared += equal
    count = seen.sum(0)
    pairs = count * (count - 1) / 2
    return np.divide(shared, k * pairs, out=np.full(n, np.nan), where=pairs > 0), count
