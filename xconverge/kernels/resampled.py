"""Scores of stimuli drawn again: ``counts`` (P, n) say how often each is there.

A stimulus drawn twice is never compared with itself: its copies are no neighbours of each other,
and no pair of an RDM or a kernel. ``common`` (n) says which stimuli both sides saw; the others are
never drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xconverge.kernels.cka import Sums, centered_sides, cknna, gaussian, hsic, normalized
from xconverge.kernels.neighbors import TooFewError, nearest
from xconverge.kernels.rdm import Method, compare, ranks
from xconverge.kernels.vectors import Array


def long_lists(x: Array, width: int, rank: Array, k: int) -> tuple[Array, Array, Array]:
    """What ``nearest`` gives, with -1 and NaN where a model saw fewer than k other stimuli."""
    there = min(k, int((~np.isnan(x[:, 0])).sum()) - 1)
    if there < 0:
        return nearest(x, width, rank, k)
    if there < 1:
        raise TooFewError(f"it saw {there + 1} stimuli, neighbours need at least 2")
    positions, cosines, mean = nearest(x, width, rank, there)
    pad = ((0, 0), (0, k - there))
    return (
        np.pad(positions, pad, constant_values=-1),
        np.pad(cosines, pad, constant_values=np.nan),
        mean,
    )


def lists_of(order: Array, similarity: Array, count: Array, k: int) -> tuple[Array, Array]:
    """Lists (c, k) of the stimuli that are drawn, as positions among them, and their cosines.

    From the long lists ``order`` (n, K) of all stimuli and ``count`` (n). Copies of a stimulus
    have following positions and the same list; -1 where fewer than k others are there.
    """
    drawn = np.flatnonzero(count)
    first = np.cumsum(count) - count
    deep = order[drawn]
    times = np.where(deep >= 0, count[deep], 0)
    reached = times.cumsum(1)
    lists = np.full((len(drawn), k), -1, np.int64)
    cosines = np.full((len(drawn), k), np.nan)
    enough = np.flatnonzero(reached[:, -1] >= k)
    for place in range(k):
        at = (reached[enough] <= place).sum(1)
        before = reached[enough, at] - times[enough, at]
        lists[enough, place] = first[deep[enough, at]] + place - before
        cosines[enough, place] = similarity[drawn[enough], at]
    again = np.repeat(np.arange(len(drawn)), count[drawn])
    return lists[again], cosines[again]


def compared_lists(
    counts: Array,
    common: Array,
    order_a: Array,
    similarity_a: Array,
    order_b: Array,
    similarity_b: Array,
    k: int,
    compare: Callable[[Array, Array], Array],
) -> Array:
    """Mean (P, A, B) of what ``compare`` says of neighbour lists among the stimuli drawn."""
    result = np.empty((len(counts), len(order_a), len(order_b)))
    for count, scores in zip(counts, result, strict=True):
        a, b = _drawn_lists(count, k, (order_a, similarity_a), (order_b, similarity_b))
        for i, j in np.ndindex(scores.shape):
            values = compare(a[i][0], b[j][0])
            scores[i, j] = values.mean() if not np.isnan(values).any() else np.nanmean(values)
    return result


def drawn_cknna(
    counts: Array,
    common: Array,
    order_a: Array,
    similarity_a: Array,
    order_b: Array,
    similarity_b: Array,
    k: int,
) -> Array:
    """CKNNA (P, A, B), as its authors coded it, among the stimuli drawn."""
    result = np.empty((len(counts), len(order_a), len(order_b)))
    for count, scores in zip(counts, result, strict=True):
        a, b = _drawn_lists(count, k, (order_a, similarity_a), (order_b, similarity_b))
        none = np.zeros(count.sum())
        for i, j in np.ndindex(scores.shape):
            scores[i, j] = cknna(*a[i], none, *b[j], none, centered=False)
    return result


def _drawn_lists(
    count: Array, k: int, *sides: tuple[Array, Array]
) -> list[list[tuple[Array, Array]]]:
    return [
        [lists_of(order, cosines, count, k) for order, cosines in zip(*side, strict=True)]
        for side in sides
    ]


def linear_cka(
    counts: Array,
    common: Array,
    a: Array,
    widths_a: Array,
    b: Array,
    widths_b: Array,
    debiased: bool,
) -> Array:
    """Linear CKA (P, A, B) from rows ``a`` (A, n, F) and ``b`` (B, n, G)."""
    kernels_a, kernels_b = (
        np.stack([rows @ rows.T for rows in centered_sides(side, widths, common)])
        for side, widths in ((a, widths_a), (b, widths_b))
    )
    return kernel_cka(counts[:, common], kernels_a, kernels_b, debiased)


def rbf_cka(counts: Array, common: Array, a: Array, b: Array, debiased: bool) -> Array:
    """CKA (P, A, B) of RBF kernels of scaled rows ``a`` (A, n, F) and ``b`` (B, n, G)."""
    kernels_a, kernels_b = (np.stack([gaussian(rows[common]) for rows in side]) for side in (a, b))
    return kernel_cka(counts[:, common], kernels_a, kernels_b, debiased)


def kernel_cka(counts: Array, a: Array, b: Array, debiased: bool) -> Array:
    """CKA (P, A, B) of kernels ``a`` (A, n, n) and ``b`` (B, n, n), of any counts (P, n)."""
    weights = counts.astype(np.float64)
    a, b = a.copy(), b.copy()
    if debiased:
        for kernel in (*a, *b):
            np.fill_diagonal(kernel, 0.0)
    rows_a, rows_b = ([weights @ kernel for kernel in side] for side in (a, b))
    size = weights.sum(1)
    own_a, own_b = (
        [_hsic(weights, k, k, rows, rows, size, debiased) for k, rows in zip(s, r, strict=True)]
        for s, r in ((a, rows_a), (b, rows_b))
    )
    result = np.empty((len(counts), len(a), len(b)))
    for i, j in np.ndindex(result.shape[1:]):
        cross = _hsic(weights, a[i], b[j], rows_a[i], rows_b[j], size, debiased)
        parts = zip(cross, own_a[i], own_b[j], strict=True)
        result[:, i, j] = [normalized(*values) for values in parts]
    return result


def _hsic(
    weights: Array, k: Array, m: Array, rows_k: Array, rows_m: Array, size: Array, debiased: bool
) -> list[float]:
    """HSIC for every row of weights, from row sums (P, n) of the weighted kernels."""
    product = np.vecdot(weights @ (k * m), weights)
    margins = np.vecdot(weights, rows_k * rows_m)
    totals = np.vecdot(weights, rows_k), np.vecdot(weights, rows_m)
    return [
        hsic(Sums(*map(float, sums)), int(n), debiased)
        for *sums, n in zip(product, margins, *totals, size, strict=True)
    ]


def rsa(counts: Array, common: Array, a: Array, b: Array, method: Method) -> Array:
    """Similarity (P, A, B) of RDMs ``a`` (A, n, n) and ``b`` (B, n, n), ranked again each time."""
    result = np.empty((len(counts), len(a), len(b)))
    for count, scores in zip(counts, result, strict=True):
        index = np.repeat(np.arange(len(count)), count)
        i, j = np.triu_indices(len(index), 1)
        apart = index[i] != index[j]
        i, j = index[i[apart]], index[j[apart]]
        u, v = ([_values(rdm[i, j], method) for rdm in side] for side in (a, b))
        for x, y in np.ndindex(scores.shape):
            scores[x, y] = compare(u[x], v[y], method=method)
    return result


def _values(distances: Array, method: Method) -> Array:
    return ranks(distances) if method.ranked else distances.astype(np.float64)


def rows(counts: Array, common: Array, a: Array, b: Array) -> Array:
    """Mean over stimuli of the correlation (P, A, B) of their rows in two RDMs (n, n)."""
    weights = counts[:, common].astype(np.float64)
    a, b = (side[:, common][:, :, common].astype(np.float64) for side in (a, b))
    for rdm in (*a, *b):
        np.fill_diagonal(rdm, 0.0)
    others = weights.sum(1)[:, None] - weights
    sums_a, sums_b = ([weights @ rdm for rdm in side] for side in (a, b))
    squares_a, squares_b = ([weights @ rdm**2 for rdm in side] for side in (a, b))
    result = np.empty((len(counts), len(a), len(b)))
    for i, j in np.ndindex(result.shape[1:]):
        covariance = weights @ (a[i] * b[j]) - sums_a[i] * sums_b[j] / others
        variance = (squares_a[i] - sums_a[i] ** 2 / others) * (
            squares_b[j] - sums_b[j] ** 2 / others
        )
        safe = np.where(variance > 0, variance, np.nan)
        correlation = np.where(weights > 0, covariance / np.sqrt(safe), 0.0)
        result[:, i, j] = np.vecdot(weights, correlation) / weights.sum(1)
    return result


def cosines(counts: Array, common: Array, a: Array, b: Array) -> Array:
    """Mean cosine (P, A, B) of unit rows ``a`` (A, n, F) with those of ``b``."""
    weights = counts[:, common].astype(np.float64)
    similar = np.vecdot(a[:, None, common], b[None, :, common])
    return np.asarray(np.tensordot(weights, similar, (1, 2)) / weights.sum(1)[:, None, None])
