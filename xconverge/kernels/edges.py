"""Neighbour graphs of many models under permutations of the stimuli of one side.

A graph is the union of the edges of all models, with the place that each model gives an edge in
its list. Under a permutation only the edges of one side are renamed and looked up in the other:
the few that are found hold everything that the statistics of neighbours need, for all pairs of
models at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.hsic import Sums, hsic
from xconverge.kernels.neighbors import overlap_share
from xconverge.kernels.vectors import Array

PAIRS_AT_ONCE = 2**17


class Graph(NamedTuple):
    """Edges ``source`` (E) to ``target`` (E), and their ``place`` (M, E) in each list, or -1."""

    source: Array
    target: Array
    place: Array


def graph(lists: Array) -> Graph:
    """The union of the neighbour lists (M, n, k), -1 where missing."""
    _, n, k = lists.shape
    model, source, place = np.nonzero(lists >= 0)
    keys = source * n + lists[model, source, place]
    edges, which = np.unique(keys, return_inverse=True)
    places = np.full((len(lists), len(edges)), -1, np.int8 if k < 128 else np.int32)
    places[model, which] = place
    return Graph(edges // n, edges % n, places)


class Lookup:
    """Which pairs (source, target) are edges of a graph of n stimuli."""

    def __init__(self, graph: Graph, n: int) -> None:
        self.n = n
        self.keys = graph.source * n + graph.target
        size = max(BUDGETS.least_table, 2 ** int(np.ceil(np.log2(16 * len(self.keys) + 1))))
        self.mask = size - 1
        self.table = np.zeros(size, bool)
        self.table[self.keys & self.mask] = True

    def find(
        self, source: Array, target: Array, permutations: Array
    ) -> Iterator[tuple[Array, Array]]:
        """For every permutation, which pairs are edges when renamed, and which edges they are."""
        step = max(1, PAIRS_AT_ONCE // max(len(source), 1))
        for start in range(0, len(permutations), step):
            moves = permutations[start : start + step]
            keys = (moves * self.n).take(source, axis=1)
            keys += moves.take(target, axis=1)
            slots = keys & self.mask if self.n**2 > len(self.table) else keys
            maybe = np.flatnonzero(self.table.take(slots))
            wanted = keys.ravel()[maybe]
            at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            real = self.keys[at] == wanted
            move, pair = np.divmod(maybe[real], len(source))
            ends = np.searchsorted(move, np.arange(1, len(moves)))
            yield from zip(np.split(pair, ends), np.split(at[real], ends), strict=True)


def mutual_edges(lists_a: Array, lists_b: Array) -> tuple[Array, Array, Array, Array]:
    """Pairs of stimuli that are among each other's neighbours in some model.

    Returns their positions (E), (E), and in which models of a (A, E) and b (B, E) they are.
    """
    n = lists_a.shape[1]
    union = graph(np.concatenate([lists_a, lists_b]))
    keys, back = union.source * n + union.target, union.target * n + union.source
    at = np.minimum(np.searchsorted(keys, back), len(keys) - 1)
    there = union.place >= 0
    both = there & there[:, at] & (keys[at] == back)
    some = both.any(0)
    both = both[:, some]
    return union.source[some], union.target[some], both[: len(lists_a)], both[len(lists_a) :]


def mutual_null(orders: Array, lists_a: Array, lists_b: Array) -> Array:
    """Mean overlap (P, A, B) of neighbour lists (M, n, k) under permutations (P, n) of b."""
    a, b = graph(lists_a), graph(lists_b)
    _, n, k = lists_a.shape
    in_a, in_b = _members(a), _members(b)
    found = Lookup(b, n).find(a.source, a.target, orders)
    counts = np.stack([in_a[:, of_a] @ in_b[:, of_b].T for of_a, of_b in found])
    # counted in single precision, where whole numbers are exact up to 2^24
    return np.asarray(overlap_share(counts.astype(np.float64), k, n))


def cycle_null(orders: Array, lists_a: Array, lists_b: Array) -> Array:
    """Share (P, A, B) of stimuli that a neighbour in b leads back to in a."""
    a, b = graph(lists_a), graph(lists_b)
    n = lists_a.shape[1]
    in_a, in_b = _members(a) > 0, _members(b) > 0
    by_end = np.argsort(a.target, kind="stable")
    source, target, in_a = a.source[by_end], a.target[by_end], in_a[:, by_end]
    result = np.zeros((len(orders), len(lists_a), len(lists_b)))
    found = Lookup(b, n).find(target, source, orders)
    for share, (of_a, of_b) in zip(result, found, strict=True):
        if len(of_a):
            both = in_a[:, None, of_a] & in_b[:, of_b]
            starts = np.flatnonzero(np.diff(target[of_a], prepend=-1))
            share += np.logical_or.reduceat(both, starts, axis=2).sum(2)
    return np.asarray(result / n)


def ordered_null(
    orders: Array, lists_a: Array, lists_b: Array, compare: Callable[[Array, Array], Array]
) -> Array:
    """Mean (P, A, B) of what ``compare`` says of ordered lists; it is 0 for disjoint ones."""
    a, b = graph(lists_a), graph(lists_b)
    n, pairs = lists_a.shape[1], (len(lists_a), len(lists_b))
    in_a, in_b = _members(a) > 0, _members(b) > 0
    result = np.zeros((len(orders), *pairs))
    found = Lookup(b, n).find(a.source, a.target, orders)
    for order, total, (of_a, of_b) in zip(orders, result, found, strict=True):
        i, j, edge = np.nonzero(in_a[:, None, of_a] & in_b[:, of_b])
        rows = np.unique((i * pairs[1] + j) * n + a.source[of_a[edge]])
        pair, stimulus = np.divmod(rows, n)
        first, second = np.divmod(pair, pairs[1])
        values = compare(order[lists_a[first, stimulus]], lists_b[second, order[stimulus]])
        total += np.bincount(pair, values, pairs[0] * pairs[1]).reshape(pairs)
    return np.asarray(result / n)


def masked_null(
    orders: Array, lists_a: Array, lists_b: Array, values_a: Array, values_b: Array, centered: bool
) -> Array:
    """S(K, L) of CKNNA (P, A, B) under permutations, from lists and values (M, n, k) on them."""
    a, b = graph(lists_a), graph(lists_b)
    n = lists_a.shape[1]
    on_a, on_b = _on_edges(a, values_a), _on_edges(b, values_b)
    result = np.empty((len(orders), len(lists_a), len(lists_b)))
    found = Lookup(b, n).find(a.source, a.target, orders)
    for scores, (of_a, of_b) in zip(result, found, strict=True):
        for i, j in np.ndindex(scores.shape):
            both = (a.place[i, of_a] >= 0) & (b.place[j, of_b] >= 0)
            edge = of_a[both]
            k, m = on_a[i, edge], on_b[j, of_b[both]]
            scores[i, j] = (
                float(k @ m) if centered else _masked_hsic(a.source[edge], a.target[edge], k, m, n)
            )
    return result


def _masked_hsic(source: Array, target: Array, k: Array, m: Array, n: int) -> float:
    """Unbiased HSIC of two kernels that are zero but on these edges, in the order of their keys."""
    keys, back = source * n + target, target * n + source
    at = np.minimum(np.searchsorted(keys, back), max(len(keys) - 1, 0))
    real = keys[at] == back if len(keys) else np.zeros(0, bool)
    margins = np.bincount(target, k, n) @ np.bincount(source, m, n)
    product = float(k[real] @ m[at[real]])
    return float(hsic(Sums(product, float(margins), k.sum(), m.sum(), n), debiased=True))


def _members(graph: Graph) -> Array:
    return (graph.place >= 0).astype(np.float32)


def _on_edges(graph: Graph, values: Array) -> Array:
    """Values (M, E) of the edges from those of the lists (M, n, k); 0 where it is none."""
    taken = np.take_along_axis(
        values[:, graph.source], np.maximum(graph.place, 0)[:, :, None].astype(np.int64), axis=2
    )[:, :, 0]
    return np.where(graph.place >= 0, taken, 0.0)
