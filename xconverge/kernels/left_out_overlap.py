"""How neighbourhood dispersion among the other models goes with mutual-kNN, in draws of models.

The mean rank correlation of `modulation`, of models that saw all stimuli, without labels: for what
is made anew hundreds of times. Neighbours of the other modality are found once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xconverge.kernels.correlation import ranks
from xconverge.kernels.dealt_neighbors import DealtModel, Neighbors
from xconverge.kernels.dispersion import without
from xconverge.kernels.equal_noise import OfDraws, Parts
from xconverge.kernels.groups import mean_of_families, pair_numbers
from xconverge.kernels.kernel import alike
from xconverge.kernels.neighbors import filtered, overlap_share
from xconverge.kernels.vectors import Array

DENSITY, NORM = "local_density", "norm"
"""Covariates that are made of the models themselves."""


@dataclass(frozen=True)
class LeftOutOverlap:
    """The statistic: k neighbours, those of the other side (B, n, k), who is left out with whom.

    ``seen_b`` (B, n) says what the models of the other side saw. ``group`` and ``family`` (A), and
    ``family_b`` (B), number the models. ``covariates`` are names of what is made of the scored
    model, or values (A, n).
    """

    k: int
    lists_b: Array
    seen_b: Array
    group: Array
    family: Array
    family_b: Array
    covariates: Sequence[str | Array]

    def __call__(self, models: Sequence[Parts]) -> OfDraws:
        """What is made once for all draws of these models; then the statistic of draws."""
        prepared = [DealtModel(model, len(models)) for model in models]
        one, other, of_pairs = by_pair(weights_without(self.group, self.family))
        shape = len(self.family), len(self.family_b)
        pair_family = pair_numbers(self.family, self.family_b).reshape(shape)
        # so many that k are left among those that any model of the other side saw
        depth = self.k + int((~self.seen_b).sum(1).max())
        pools = [(np.flatnonzero(seen), members) for seen, members in alike(self.seen_b)]
        n = self.seen_b.shape[1]
        sets_b = [bits(self.lists_b[np.ix_(members, where)], n) for where, members in pools]

        def of_draw(found: Sequence[Neighbors]) -> float:
            lists = np.stack([one.lists for one in found])
            own = bits(lists[:, :, : self.k], n)
            apart = 1 - overlap_share(self._shared(own[:, one], own[:, other]), self.k)
            own_values = {
                DENSITY: np.stack([one.density for one in found]),
                NORM: np.stack([one.norm for one in found]),
            }
            values = [
                of_pairs @ apart,
                *(own_values[c] if isinstance(c, str) else c for c in self.covariates),
            ]
            correlation = np.empty(pair_family.shape)
            for (where, members), theirs in zip(pools, sets_b, strict=True):
                sets = own if len(where) == n else self._among(lists, where)
                spread, *covariates = (part[:, where] for part in values)
                scores = self._shared(sets[:, :, None], theirs[:, None])
                correlation[:, members] = partial_correlations(spread, scores, covariates, self.k)
            return mean_of_pairs(correlation, pair_family)

        return _Draws(prepared, self.k, depth, of_draw)

    def _among(self, lists: Array, where: Array) -> Array:
        """Sets of k neighbours (A, m, …) among the stimuli ``where`` (m) alone."""
        inside = [filtered(one, None, where)[0][:, : self.k] for one in lists]
        return bits(where[np.stack(inside)], self.seen_b.shape[1])

    def _shared(self, a: Array, b: Array) -> Array:
        """How many neighbours (…) two sets of bits (w, …) share."""
        result: Array = np.bitwise_count(a[0] & b[0]).astype(np.min_scalar_type(self.k))
        # word by word: a sum over a short last axis takes four times as long
        for one, other in zip(a[1:], b[1:], strict=True):
            result += np.bitwise_count(one & other)
        return result


@dataclass(frozen=True)
class _Draws:
    """The statistic of draws, by the neighbours in every model."""

    models: Sequence[DealtModel]
    k: int
    depth: int
    of_neighbors: Callable[[Sequence[Neighbors]], float]

    def __call__(self, orders: Sequence[Array]) -> float:
        return self.of_several([orders])[0]

    def of_several(self, draws: Sequence[Sequence[Array]]) -> list[float]:
        """Model by model: one fits into a cache where all do not."""
        found = [
            model.of_several(orders, self.k, self.depth)
            for model, orders in zip(self.models, zip(*draws, strict=True), strict=True)
        ]
        return [self.of_neighbors(of_draw) for of_draw in zip(*found, strict=True)]


def bits(lists: Array, size: int) -> Array:
    """Sets of positions below ``size`` (…, k) as bits (w, …)."""
    rows = lists.reshape(-1, lists.shape[-1])
    words = np.zeros((-(-size // 64), len(rows)), np.uint64)
    each = np.arange(len(rows))
    for column in rows.T:
        # one position of every row: no word is written to twice at a time
        words[column // 64, each] |= np.uint64(1) << (column % 64).astype(np.uint64)
    return words.reshape(-1, *lists.shape[:-1])


def weights_without(group: Array, family: Array) -> Array:
    """What the distance of every pair of models (A, A²) counts in the dispersion without each.

    Of models that saw all stimuli, dispersion is linear in the distances.
    """
    size = len(group)
    distances = np.eye(size**2).reshape(size, size, -1)
    value, _ = without(distances, np.ones((size, size**2), bool), group, family)
    return value


def by_pair(weights: Array) -> tuple[Array, Array, Array]:
    """The models of every two of them, and weights (A, P) of their distances from both orders."""
    size = len(weights)
    one, other = np.triu_indices(size, 1)
    return one, other, weights[:, one * size + other] + weights[:, other * size + one]


def ranks_of_counts(counts: Array, most: int) -> Array:
    """Mean ranks along the last axis, as `ranks` gives them, of integers from 0 to ``most``."""
    rows = counts.reshape(-1, counts.shape[-1])
    start = np.arange(len(rows))[:, None] * (most + 1)
    each = np.bincount((rows + start).reshape(-1), minlength=len(rows) * (most + 1))
    each = each.reshape(len(rows), -1)
    middle = np.cumsum(each, axis=1) - (each - 1) / 2
    return np.asarray(middle.reshape(-1)[rows + start].reshape(counts.shape))


def partial_correlations(
    x: Array, y: Array, covariates: Sequence[Array], most: int | None = None
) -> Array:
    """Rank correlations (A, B) of rows (A, n) with scores (A, B, n); NaN where values are equal.

    Ranks of ``covariates`` (A, n) are partialled out of the ranks of both. Scores may be counts up
    to ``most``, which are ranked faster.
    """
    maps = ranks(np.stack([x, *covariates], axis=1))
    scores = ranks(y) if most is None else ranks_of_counts(y, most)
    ranked = np.concatenate([maps, scores], axis=1)
    ranked -= ranked.mean(-1, keepdims=True)
    count = len(covariates)
    sides = np.delete(ranked, slice(1, 1 + count), axis=1)
    left = sides
    if count:
        _, scale, basis = np.linalg.svd(ranked[:, 1 : 1 + count], full_matrices=False)
        # covariates that repeat each other, or are constant, add no row
        basis *= (scale > 1e-10 * scale.max(1, keepdims=True))[..., None]
        left = sides - (sides @ basis.swapaxes(1, 2)) @ basis
    norm = np.linalg.norm(left, axis=-1)
    # what covariates explain wholly is rounding
    some = norm > 1e-9 * np.linalg.norm(sides, axis=-1)
    left = left / np.where(some, norm, np.nan)[..., None]
    return np.asarray(np.vecdot(left[:, 1:], left[:, :1]))


def mean_of_pairs(correlation: Array, pair_family: Array) -> float:
    """Mean over families of pairs of their mean (A, B), of those that there are; NaN of none."""
    defined = np.isfinite(correlation)
    if not defined.any():
        return np.nan
    return float(mean_of_families(correlation[defined], pair_family[defined]))
