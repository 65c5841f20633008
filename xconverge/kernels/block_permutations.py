"""Permutations that move whole blocks of stimuli: near-duplicates, categories.

A block takes the place of another of the same size, its members in random order: with equal sizes
these are all elements of a group, and the test is exact. Blocks of a rare size change places with
those of similar size too, as far as sizes allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from xconverge.kernels.vectors import Array

ALIKE = 5
"""Blocks of one size that are enough by themselves: 5! = 120 arrangements, 4! = 24 are hardly."""
RATIO = 1.5
"""How many times larger a block may be that takes the place of another, so that two thirds of it
stay together; a pair never takes the places of two single stimuli, which would part it."""


def block_permutations(
    rank: Array,
    seed: int,
    block: int,
    strata: Array,
    usable: Array,
    count: int,
    blocks: Array,
) -> Array:
    """Permutations (count, n) as ``permutations`` gives them, of whole ``blocks`` (n).

    The blocks of a size are permuted as all blocks of that size or larger are, the others left out
    of the cycles: uniformly, independently of other sizes, and alike for pairs of models that miss
    different stimuli.
    """
    keys = np.random.default_rng([seed, block]).random((count, len(rank)))[:, rank]
    result = np.tile(np.arange(len(rank)), (count, 1))
    for stratum, ids, full, here in _strata(rank, strata, usable, blocks):
        for chosen in size_classes(here):
            least = int(here[chosen].min())
            rng = np.random.default_rng([seed, block, stratum + 1, least])
            domain = np.flatnonzero(full >= least)
            moved = rng.permuted(np.tile(np.arange(len(domain)), (count, 1)), axis=1)
            source = _induced(moved, np.searchsorted(domain, chosen))
            members, there = _members(ids, usable, rank, chosen)
            more = None if there.all() else rng.random(keys.shape)[:, rank]
            _fill(result, members, there, source, keys, more)
    return result


def size_classes(sizes: Array) -> list[Array]:
    """Positions of the blocks that may change places, for ``sizes`` (B); 0 takes no part.

    Those of one size. Where these are fewer than 5, also the next larger ones, to half as large
    again, and where there are none, those before.
    """
    classes: list[list[int]] = []
    for size in np.unique(sizes[sizes > 0]):
        same = np.flatnonzero(sizes == size).tolist()
        if classes and len(classes[-1]) < ALIKE and _similar(sizes, classes[-1], same):
            classes[-1] += same
        else:
            classes.append(same)
    joined: list[list[int]] = []
    for one in classes:
        if joined and len(one) < ALIKE and _similar(sizes, joined[-1], one):
            joined[-1] += one
        else:
            joined.append(one)
    return [np.array(one) for one in joined]


def _similar(sizes: Array, smaller: list[int], larger: list[int]) -> bool:
    return bool(sizes[larger].max() <= RATIO * sizes[smaller].min())


def log_arrangements(blocks: Array, strata: Array | None = None) -> float:
    """Logarithm of the number of ways in which whole blocks can change places."""
    n = len(blocks)
    strata = np.zeros(n, np.int64) if strata is None else strata
    sizes = _strata(np.arange(n), strata, np.ones(n, bool), blocks)
    return sum(math.lgamma(len(chosen) + 1) for *_, here in sizes for chosen in size_classes(here))


def _strata(
    rank: Array, strata: Array, usable: Array, blocks: Array
) -> Iterator[tuple[int, Array, Array, Array]]:
    """Each stratum that moves: its number, the block (n) of its stimuli, and how many those have.

    Blocks are numbered by the first of their labels; stimuli elsewhere have -1. Sizes are of all
    members, and of those that are usable.
    """
    for stratum in np.unique(strata[strata >= 0]):
        inside = strata == stratum
        ids = np.full(len(rank), -1)
        ids[inside] = numbered(rank[inside], blocks[inside])
        full = np.bincount(ids[inside])
        yield int(stratum), ids, full, np.bincount(ids[inside], usable[inside]).astype(np.int64)


def numbered(rank: Array, blocks: Array) -> Array:
    """Numbers (n) of the ``blocks`` from 0, in the order of the first of their labels."""
    order = np.argsort(rank)
    _, first, codes = np.unique(blocks[order], return_index=True, return_inverse=True)
    numbers = np.empty(len(rank), np.int64)
    numbers[order] = np.argsort(np.argsort(first))[codes]
    return numbers


def _induced(moved: Array, chosen: Array) -> Array:
    """Positions in ``chosen`` (m) that their permutation (count, m) is of, by cycles of all."""
    place = np.full(moved.shape[1], -1)
    place[chosen] = np.arange(len(chosen))
    found = moved[:, chosen]
    while len(lost := np.argwhere(place[found] < 0)):
        draw, at = lost.T
        found[draw, at] = moved[draw, found[draw, at]]
    return np.asarray(place[found])


def _members(ids: Array, usable: Array, rank: Array, chosen: Array) -> tuple[Array, Array]:
    """Stimuli (m, largest) of the ``chosen`` blocks in the order of their labels, and which are."""
    place = np.full(ids.max() + 2, -1)
    place[chosen] = np.arange(len(chosen))
    inside = np.flatnonzero(usable & (place[ids] >= 0))
    inside = inside[np.lexsort((rank[inside], place[ids[inside]]))]
    sizes = np.bincount(place[ids[inside]], minlength=len(chosen))
    there = np.arange(sizes.max()) < sizes[:, None]
    members = np.zeros(there.shape, np.int64)
    members[there] = inside
    return members, there


def _fill(
    result: Array, members: Array, there: Array, source: Array, keys: Array, more: Array | None
) -> None:
    """Write which stimulus comes to the places of the ``members`` of blocks, by ``source``.

    The members of a block come in the order of their ``keys`` (count, n); where sizes differ (then
    there are ``more`` keys) they find its places in random order, and members and places that are
    left over find each other at random.
    """
    draws = np.arange(len(result))[:, None]
    coming = _shuffled(members, there, keys)[draws, source]
    if more is None:
        result[:, members] = coming
        return
    places, full = _shuffled(members, there, more), there[source]
    draw, block, at = np.nonzero(there & full)
    result[draw, places[draw, block, at]] = coming[draw, block, at]
    draw, block, at = np.nonzero(there & ~full)
    over = full & ~there
    left, number = coming[over], np.nonzero(over)[0]
    # as many are left over as places are, in every draw
    result[draw, places[draw, block, at]] = left[np.lexsort((keys[number, left], number))]


def _shuffled(members: Array, there: Array, keys: Array) -> Array:
    """Members (count, m, largest) of each block in the order of their keys (count, n)."""
    if members.shape[1] == 1:
        return np.broadcast_to(members, (len(keys), *members.shape))
    order = np.where(there, keys[:, members], np.inf).argsort(-1)
    return np.take_along_axis(np.broadcast_to(members, order.shape), order, -1)
