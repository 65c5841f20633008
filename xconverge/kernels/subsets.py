"""Subsets of stimuli: the lowest and highest, random and matched ones, and scores inside them."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.kernel import Model, mean_of, prepared, score
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.vectors import Array


def extremes(values: Array, rank: Array, size: int) -> tuple[Array, Array]:
    """Positions of the ``size`` lowest and highest finite values (n); ties by ``rank``."""
    order = np.lexsort((rank, values))[: np.isfinite(values).sum()]
    return order[:size], order[-size:]


def squared_errors(members: Array, values: Array, size: int) -> Array:
    """Squared standard error (P) of the mean of values (n) over the members (P, n), ``size`` each.

    From values less a centre, so that no digits are lost. NaN for a single member.
    """
    gap = values - values.mean()
    mean, square = members @ gap / size, members @ gap**2 / size
    return np.asarray(np.maximum(square - mean**2, 0.0) / (size - 1) if size > 1 else mean + np.nan)


def disjoint_pairs(
    usable: Array, rank: Array, size: int, count: int, seed: int
) -> tuple[Array, Array]:
    """Two memberships (count, n) of ``size`` usable stimuli each, drawn without overlap."""
    # drawn among the labels in their order, so that the order of rows changes no draw
    pool = np.argsort(rank)
    pool = pool[usable[pool]]
    order = np.random.default_rng(seed).random((count, len(pool))).argsort(1)
    first, second = np.zeros((2, count, len(rank)), bool)
    rows = np.arange(count)[:, None]
    first[rows, pool[order[:, :size]]] = True
    second[rows, pool[order[:, size : 2 * size]]] = True
    return first, second


def matched(members: Array, cells: Array, rank: Array, count: int, seed: int) -> tuple[Array, int]:
    """Memberships (count, n) with as many stimuli of every cell as ``members``, and how many stay.

    ``cells`` (n) is negative for stimuli that cannot be drawn. Those stay that are all of their
    cell: nothing can be drawn in their place.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(rank)
    result = np.zeros((count, len(cells)), bool)
    fixed = 0
    for cell in np.unique(cells[members]):
        pool = order[cells[order] == cell]
        wanted = int((cells[members] == cell).sum())
        drawn = rng.random((count, len(pool))).argsort(1)[:, :wanted]
        result[np.arange(count)[:, None], pool[drawn]] = True
        fixed += wanted if wanted == len(pool) else 0
    return result, fixed


def crossed(codes: Array) -> Array:
    """One number (n) for every combination of codes (c, n); -1 where any is negative."""
    _, number = np.unique(codes, axis=1, return_inverse=True)
    return np.where((codes < 0).any(0), -1, number.reshape(-1))


def apportioned(pool: Array, n: int) -> Array:
    """How many of n each cell gets by its share of the pool (C): largest remainders, then order."""
    exact = pool * (n / pool.sum()) if pool.any() else np.zeros(len(pool))
    # a whole share that rounding left at 2.999… is whole: its remainder is none
    result = np.floor(exact + 1e-9).astype(np.int64)
    left = np.argsort(result - exact, kind="stable")[: n - result.sum()]
    result[left] += 1
    return result


def pick(order: Array, cells: Array, wanted: Array, near: Array | None) -> Array:
    """Stimuli taken in this order as long as their cell (N) wants any and none taken is near.

    ``cells`` is negative for stimuli that are never taken; ``near`` (N, N) says which two are.
    """
    order = order[cells[order] >= 0]
    if near is None:
        # place of each stimulus among those of its cell, without a loop: positions in a stable
        # sort by cell, less the position where its cell begins
        by_cell = np.argsort(cells[order], kind="stable")
        sorted_cells = cells[order[by_cell]]
        before = np.empty(len(order), np.int64)
        before[by_cell] = np.arange(len(order)) - np.searchsorted(sorted_cells, sorted_cells)
        return np.asarray(order[before < wanted[cells[order]]])
    taken: list[int] = []
    left = wanted.copy()
    closed = np.zeros(len(cells), bool)
    for one in order:
        if left[cells[one]] > 0 and not closed[one]:
            taken.append(int(one))
            left[cells[one]] -= 1
            closed |= near[one]
    return np.array(taken, np.int64)


def inside_scores(
    members: Array,
    rank: Array,
    a: Array,
    widths_a: Array,
    b: Array,
    widths_b: Array,
    k: int,
) -> Array:
    """Mean overlap (P, A, B) of neighbours searched among the members (P, n) alone.

    From features ``a`` (A, n, F) and ``b`` (B, n, G). NaN for a model that saw no more than k of
    them.
    """
    kernel = MutualKnn(k)
    rows = [list(zip(*side, strict=True)) for side in ((a, widths_a), (b, widths_b))]
    apart = [[kernel.unsearched(x, int(width), rank) for x, width in side] for side in rows]
    result = np.empty((len(members), len(a), len(b)))
    with warnings.catch_warnings():
        # the caller says which subsets are too small
        warnings.simplefilter("ignore", RuntimeWarning)
        for subset, scores in zip(members, result, strict=True):
            if subset.all():
                sides = [[prepared(kernel, x, width, rank, None) for x, width in s] for s in rows]
            else:
                sides = [[Model(state, None, subset) for state in side] for side in apart]
            scores[...] = mean_of(score(kernel, sides[0], sides[1]))
    return result


def inside_chances(members: Array, seen_a: Array, seen_b: Array, k: int) -> Array:
    """Chance level (P, A, B) of the overlap inside the members (P, n) that both models saw.

    ``seen_a`` (A, n) and ``seen_b`` (B, n) say who saw what. NaN where k neighbours are too many.
    """
    theirs = seen_b.T.astype(np.float64)
    sizes = np.stack([(members & seen).astype(np.float64) @ theirs for seen in seen_a], 1)
    kernel = MutualKnn(k)
    enough = sizes >= kernel.min_stimuli
    return np.asarray(
        np.where(enough, kernel.chance_among(np.where(enough, sizes, np.inf)), np.nan)
    )
