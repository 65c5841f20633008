"""Which stimuli are near-duplicates: pairs that are far nearer than neighbours are, and groups."""

from __future__ import annotations

import numpy as np
import scipy

from xconverge.kernels.block_permutations import numbered
from xconverge.kernels.vectors import METRICS, Array, prepare

CHANCE = 0.05
"""Pairs of one model that may be so near by chance, in a cloud of as many stimuli."""
ROUNDING = 1e-12
"""Cosine distances of equal rows."""
PAIRS_AT_ONCE = 2**16


def reach(cosines: Array, threshold: float) -> float:
    """Cosine distance up to which stimuli of one model are near-duplicates, from lists (n, k).

    ``threshold`` times the median distance to the k-th neighbour; less where a cloud of so few
    dimensions has such pairs by chance. Near a stimulus d dimensions hold k (D / D_k)^(d/2)
    others up to the cosine distance D, and log D_k - log D_j is 2/d Σ 1/i over i = j … k-1 on
    average, whence d (Levina & Bickel 2004); the nearer half of a list, where duplicates are, is
    not used. NaN where no list is full.
    """
    distances = 1 - cosines[~np.isnan(cosines).any(1)]
    n, k = distances.shape
    if not n:
        return np.nan
    half = (k + 1) // 2
    last, middle = (np.maximum(distances[:, i - 1], ROUNDING) for i in (k, half))
    scale = float(np.median(last))
    apart = float(np.median(np.log(last / middle)))
    if k < 2 or apart <= 0:
        return threshold * scale
    dimension = 2 * (1 / np.arange(half, k)).sum() / apart
    by_chance = (2 * CHANCE / (n * k)) ** (2 / dimension)
    return scale * min(threshold, float(by_chance))


def candidates(lists: Array, cosines: Array, most: float) -> Array:
    """Pairs (E, 2), the smaller position first, of neighbours at most so far apart."""
    source, place = np.nonzero((lists >= 0) & (1 - cosines <= max(most, ROUNDING)))
    pairs = np.stack([source, lists[source, place]], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def near(rows: Array, width: int, pairs: Array, most: float) -> Array:
    """Whether pairs (E, 2) of rows (n, F) are near-duplicates in a model; NaN where not seen."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        (one, seen, *_), (other, known, *_) = (
            prepare(rows[pairs[part, end]].astype(np.float64), width, METRICS["cosine"])
            for end in (0, 1)
        )
        distance = ((one - other) ** 2).sum(1) / 2  # 1 - cos, without its cancellation
        result[part] = np.where(seen & known, distance <= max(most, ROUNDING), np.nan)
    return result


def groups(n: int, pairs: Array, share: Array, least: float, rank: Array) -> Array:
    """Position (n) of the first label of the group of each stimulus.

    Of pairs (E, 2) that are near in a ``share`` (E) of the models, ``least`` or more; what is
    linked by others is one group.
    """
    kept = pairs[share >= least]
    graph = scipy.sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(n, n))
    _, found = scipy.sparse.csgraph.connected_components(graph, directed=False)
    numbers = numbered(rank, found)
    order = np.argsort(rank)
    _, first = np.unique(numbers[order], return_index=True)
    return np.asarray(order[first][numbers])
