"""Permutations of stimulus labels, and what they say of an observed value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from xconverge.kernels.block_permutations import block_permutations, numbered
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array

BLOCK = 250
"""Permutations drawn from one seed; a run is made of blocks, in any order and on any worker."""
SLACK = 1e-12
"""Differences between sums of equal terms in another order."""


def gathered_products(first: Array, second: Array, permutations: Array) -> Array:
    """Σ_ij K_ij L_p(i)p(j) (P, A, B) of ``first`` (A, n, n) and ``second`` (B, n, n).

    A block of rows of L is fetched in its new order and multiplied before it leaves the cache.
    """
    count, n, _ = first.shape
    result = np.zeros((len(permutations), count, len(second)))
    step = max(1, BUDGETS.gather_block // (8 * n))
    for start in range(0, n, step):
        part = first[:, start : start + step].reshape(count, -1)
        for p, total in zip(permutations, result, strict=True):
            for other, column in zip(second, total.T, strict=True):
                fetched = other[p[start : start + step]].take(p, axis=1)
                column += part @ fetched.ravel()
    return result


def permutations(
    rank: Array,
    seed: int,
    block: int,
    strata: Array | None = None,
    usable: Array | None = None,
    count: int = BLOCK,
    blocks: Array | None = None,
) -> Array:
    """Permutations (count, n) of stimuli; the first of block 0 is the identity.

    Those of some stimuli follow the cycles of those of all, the others left out: uniform too, and
    alike for pairs of models that miss different stimuli, so that means over pairs have a null.

    Parameters
    ----------
    rank : int array (n)
        Rank of every stimulus's label: permutations follow labels, not positions.
    seed, block : int
        What the draws depend on, and nothing else.
    strata : int array (n), optional
        Stimuli move only among those of the same stratum; a negative one does not move at all.
    usable : bool array (n), optional
        Stimuli that take part; the others do not move.
    count : int
        How many.
    blocks : int array (n), optional
        Stimuli of one number, all of one stratum, move together (``block_permutations``).
    """
    strata = np.zeros(len(rank), np.int64) if strata is None else np.asarray(strata)
    if blocks is None:
        result = _single_permutations(rank, seed, block, strata, usable, count)
    else:
        there = np.ones(len(rank), bool) if usable is None else usable
        result = block_permutations(rank, seed, block, strata, there, count, blocks)
    if block == 0:
        result[0] = np.arange(len(rank))
    return result


def _single_permutations(
    rank: Array, seed: int, block: int, strata: Array, usable: Array | None, count: int
) -> Array:
    """Permutations (count, n) in which every stimulus moves for itself."""
    rng = np.random.default_rng([seed, block])
    home = np.lexsort((rank, strata))
    moved = np.tile(home, (count, 1))
    starts = np.flatnonzero(np.diff(strata[home], prepend=strata[home[0]] - 1))
    for start, stop in zip(starts, [*starts[1:], len(home)], strict=True):
        if strata[home[start]] >= 0 and stop - start > 1:
            moved[:, start:stop] = rng.permuted(moved[:, start:stop], axis=1)
    result = moved.take(np.argsort(home), axis=1)
    if usable is not None and not usable.all():
        whole = result.copy()
        result[:, ~usable] = np.flatnonzero(~usable)
        stays = usable.copy()
        while len(lost := np.argwhere(~usable[result] & stays)):
            draw, place = lost.T
            result[draw, place] = whole[draw, result[draw, place]]
    return result


def run_of(
    rank: Array,
    seed: int,
    n_permutations: int,
    strata: Array | None = None,
    usable: Array | None = None,
    blocks: Array | None = None,
) -> Array:
    """The identity and all permutations (1 + n_permutations, n) of a run, block after block."""
    return whole_run(
        lambda block: permutations(rank, seed, block, strata, usable, blocks=blocks),
        n_permutations,
    )


def whole_run(draw: Callable[[int], Array], count: int) -> Array:
    """What ``draw`` gives for block after block (BLOCK, n): the identity and ``count`` draws."""
    return np.concatenate([draw(block) for block in range(n_blocks(count))])[: count + 1]


def resamples(
    rank: Array,
    seed: int,
    block: int,
    strata: Array | None = None,
    usable: Array | None = None,
    count: int = BLOCK,
    fraction: float | None = None,
    blocks: Array | None = None,
) -> Array:
    """How often (count, n) each stimulus is drawn; the first of block 0 has each once.

    A share ``fraction`` of the usable ones without replacement, or of all as many as there are
    with replacement; of whole ``blocks`` (n) where there are any. What is not usable is never
    drawn; ``strata`` mean nothing here.
    """
    if blocks is not None:
        ids = numbered(rank, blocks)
        known = np.bincount(ids, usable) > 0 if usable is not None else None
        order = np.arange(ids.max() + 1)
        units = resamples(order, seed, block, None, known, count, fraction)
        return np.asarray(units[:, ids] * (1 if usable is None else usable))
    rng = np.random.default_rng([seed, block])
    n = len(rank)
    there = np.ones(n, bool) if usable is None else usable
    if fraction is None:
        rows = np.arange(count)[:, None] * n
        drawn = (rows + rng.integers(n, size=(count, n))).ravel()
        result = np.bincount(drawn, minlength=count * n).reshape(count, n)[:, rank] * there
    else:
        keys = np.where(there, rng.random((count, n))[:, rank], np.inf)
        order = keys.argsort(1)[:, : round(fraction * there.sum())]
        result = np.zeros((count, n), np.int64)
        np.put_along_axis(result, order, 1, axis=1)
    if block == 0:
        result[0] = there
    return result


def within(orders: Array, common: Array) -> Array:
    """Permutations (P, c) of the common stimuli among themselves, of those (P, n) of all."""
    place = np.cumsum(common) - 1
    return np.asarray(place[orders[:, common]])


def n_blocks(n_permutations: int) -> int:
    """Blocks that hold the identity and this many permutations."""
    return -(-(n_permutations + 1) // BLOCK)


def as_extreme(null: Array, observed: Array, tail: str) -> Array:
    """Which null values are at least as extreme as the observed one."""
    if tail == "greater":
        return np.asarray(null >= observed - SLACK)
    if tail == "less":
        return np.asarray(null <= observed + SLACK)
    return np.asarray(np.abs(null) >= np.abs(observed) - SLACK)


def summary(draws: Array, alpha: float, best: float) -> tuple[float, float, float, float]:
    """The first of ``draws`` (D), and what the others say of it.

    Returns the score s, the mean of the null, p = (1 + #{null >= s}) / D, and the threshold, the
    ceil((1 - alpha) D)-th smallest of all draws; ``best`` is 1 for a similarity and 0 for a
    distance, where large and small change places.
    """
    sign = 1.0 if best else -1.0
    signed = sign * draws
    if len(draws) < 2 or np.isnan(draws).any():
        return float(draws[0]), np.nan, np.nan, np.nan
    p = (1 + (signed[1:] >= signed[0] - SLACK).sum()) / len(draws)
    place = int(np.ceil((1 - alpha) * len(draws))) - 1
    return float(draws[0]), float(draws[1:].mean()), float(p), float(sign * np.sort(signed)[place])


def corrected(score: Array, chance: Array, best: float) -> Array:
    """(s - c) / (best - c): 0 at chance, 1 at the best value; NaN where chance is the best."""
    room = best - chance
    result: Array = np.divide(
        score - chance, room, out=np.full(np.shape(score), np.nan), where=np.abs(room) > SLACK
    )
    return result


def overlap_tail(share: Array, n: Array, k: int) -> Array:
    """P(overlap >= that seen) of each stimulus, from shares (s) of k neighbours among n stimuli.

    Under permuted labels the neighbours that two lists share are Hypergeometric(n - 1, k, k). NaN
    where there is no share.
    """
    seen = ~np.isnan(share)
    shared = np.round(share[seen] * k)
    if (np.abs(share[seen] * k - shared) > 1e-6).any():
        raise ValueError(
            f"agreement has values that are no share of k={k} neighbours; give what alignment "
            "returned, before means are taken"
        )
    result = np.full(share.shape, np.nan)
    result[seen] = scipy.stats.hypergeom.sf(shared - 1, n - 1, k, k)
    return result
