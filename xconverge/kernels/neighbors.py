"""Nearest neighbours by cosine, self excluded, and the overlap of neighbour lists.

A list of positions (n, k), nearest first; -1 throughout for a stimulus the model never saw.
"""

from __future__ import annotations

import numpy as np

from xconverge.kernels.rows import METRICS, Array, prepare

BLOCK_BYTES = 2**25
GRID = 1.5 * 2.0**12
"""Added and taken away again, it rounds similarities to a grid of 2^-40: equal rows tie."""


class TooFewError(ValueError):
    """Fewer rows than neighbours asked for."""


def nearest(x: Array, width: int, rank: Array, k: int) -> tuple[Array, Array]:
    """The k nearest neighbours of every row of ``x`` (n, F).

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
    density : array (n)
        Mean cosine to these neighbours, NaN where missing.
    """
    rows, seen = prepare(x, width, METRICS["cosine"])
    n = len(rows)
    if seen.sum() <= k:
        raise TooFewError(f"k={k} needs at least {k + 1} stimuli, it saw {seen.sum()}")
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    pool = rows[by_rank]
    place = np.full(n, -1)
    place[by_rank] = np.arange(len(by_rank))
    positions = np.full((n, k), -1, np.int64)
    density = np.full(n, np.nan)
    step = max(1, BLOCK_BYTES // (8 * len(pool)))
    present = np.flatnonzero(seen)
    for start in range(0, len(present), step):
        block = present[start : start + step]
        similarity = rows[block] @ pool.T
        similarity += GRID
        similarity -= GRID
        similarity[np.arange(len(block)), place[block]] = -np.inf
        chosen = _largest(similarity, k)
        positions[block] = by_rank[chosen]
        density[block] = np.take_along_axis(similarity, chosen, 1).mean(1)
    return positions, density


def _largest(similarity: Array, k: int) -> Array:
    """Columns of the k largest entries of each row, largest first, the first column on ties."""
    columns = similarity.shape[1]
    chosen = np.argpartition(similarity, columns - k, axis=1)[:, columns - k :]
    values = np.take_along_axis(similarity, chosen, 1)
    smallest = values.min(1, keepdims=True)
    tied = (similarity >= smallest).sum(1) > k
    for row in np.flatnonzero(tied):
        chosen[row] = np.argsort(-similarity[row], kind="stable")[:k]
        values[row] = similarity[row, chosen[row]]
    order = np.lexsort((chosen, -values), axis=1)
    return np.take_along_axis(chosen, order, 1)


def overlap(a: Array, b: Array) -> Array:
    """Share (n) of the neighbours in ``a`` (n, k) that are in ``b`` (n, k) too."""
    k = a.shape[1]
    shared = np.zeros(len(a))
    for column in a.T:
        shared += (b == column[:, None]).any(1)
    return np.where((a[:, 0] < 0) | (b[:, 0] < 0), np.nan, shared / k)


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
