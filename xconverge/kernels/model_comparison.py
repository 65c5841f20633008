"""Models ranked by how their RDMs compare with those of a target, inside subsets of stimuli.

A subset is one row of a table of members (network, subset, n). Scores are means over the subjects
of the target; their variances come from leaving out one stimulus at a time, which costs no more
than row sums, and from the differences between subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.correlation import Method
from xconverge.kernels.kernel import alike
from xconverge.kernels.permutations import (
    as_extreme,
    gathered_products,
    run_of,
    within,
)
from xconverge.kernels.rdm import square, triangle
from xconverge.kernels.rsa import noise_ceiling
from xconverge.kernels.vectors import Array

LEAST, ENOUGH = 3, 10
"""Stimuli that a score needs, and that a standard error needs."""
KEPT = 8
"""Subsets whose ranked targets are kept."""


class Table(NamedTuple):
    """Scores (G, subsets), and what each unit adds to them (units, G, subsets).

    The units are the stimuli and after them the subjects; sums over units of products of what they
    add are the covariances of the scores. ``layer`` (L) says how often each layer was the one.
    """

    score: Array
    influence: Array
    layer: Array


def vector(rdm: Array, method: Method) -> Array:
    """The triangle of an RDM (m, m) as the comparison wants it; NaN where all are equal."""
    assert method.vector is not None
    return method.vector(triangle(rdm, method.ranked))


def jackknifed(x: Array, y: Array, method: Method) -> tuple[float, Array]:
    """Similarity of two squares (m, m) of ``vector``, and without each stimulus (m).

    Ranks are those of all m stimuli, and so is how far ties keep rho-a below 1.
    """
    m = len(x)
    # each pair stands twice in a square: halves of the sums over all, and rows that lose each of
    # their pairs once. Σ over the pairs without stimulus i = Σ over all - Σ over row i
    sums = [np.vdot(p, q) / 2 for p, q in ((x, y), (x, x), (y, y))]
    rows = [np.vecdot(p, q) for p, q in ((x, y), (x, x), (y, y))]
    cross, xx, yy = (whole - row for whole, row in zip(sums, rows, strict=True))
    if method.centered:
        # the means change with the stimulus that is left out: Σ(x-x̄)(y-ȳ) = Σxy - ΣxΣy / pairs,
        # and Σx over all pairs is 0
        pairs = (m - 1) * (m - 2) / 2
        sx, sy = (side.sum(1) for side in (x, y))
        cross, xx, yy = cross - sx * sy / pairs, xx - sx * sx / pairs, yy - sy * sy / pairs
    # divided by what vector() made of the whole, 1 but for rho-a, whose ties keep it below 1
    size = np.sqrt(np.maximum(xx * yy, 0) / (sums[1] * sums[2]))
    # what is left of equal values is rounding, some 1e-16 of the whole
    some = (xx > 1e-12 * sums[1]) & (yy > 1e-12 * sums[2])
    without = np.divide(cross, size, out=np.full(m, np.nan), where=some)
    return float(np.clip(sums[0], -1, 1)), without


class Scorer:
    """Compares model RDMs (L, n, n) with target RDMs (S, n, n) inside any stimuli.

    What it last made of the target is kept: many models ask for the same stimuli.
    """

    def __init__(self, models: Array, targets: Array, method: Method) -> None:
        self.models, self.targets, self.method = models, targets, method
        self.kept: dict[bytes, Array] = {}

    def of_model(self, layer: Any, members: Array) -> Array:
        """Square (m, m) of one model."""
        return self._square(self.models[layer], np.flatnonzero(members))

    def of_target(self, members: Array) -> Array:
        """Squares (S, m, m) of the subjects."""
        key = members.tobytes()
        if key not in self.kept:
            while len(self.kept) >= KEPT:
                del self.kept[next(iter(self.kept))]
            index = np.flatnonzero(members)
            self.kept[key] = np.stack([self._square(rdm, index) for rdm in self.targets])
        return self.kept[key]

    def _square(self, rdm: Array, index: Array) -> Array:
        return square(vector(rdm[np.ix_(index, index)], self.method), len(index))

    def score(self, layer: Any, members: Array) -> float:
        """Mean similarity over the subjects; NaN for fewer than 3 stimuli."""
        if members.sum() < LEAST:
            return np.nan
        values = np.tensordot(self.of_target(members), self.of_model(layer, members), 2) / 2
        return float(np.clip(values, -1, 1).mean())

    def influence(self, layer: Any, members: Array) -> tuple[float, Array, Array]:
        """Mean similarity, what each stimulus (n) adds to it, and each subject's own (S).

        The first is (m - 1) / √(m (m - 1)) of how far the jackknife's values are from their mean.
        """
        count, m = len(self.targets), int(members.sum())
        added = np.zeros(len(members))
        if m < LEAST:
            return np.nan, added + np.nan, np.full(count, np.nan)
        mine = self.of_model(layer, members)
        parts = [jackknifed(mine, one, self.method) for one in self.of_target(members)]
        own = np.array([value for value, _ in parts])
        without = np.mean([deleted for _, deleted in parts], axis=0)
        # the jackknife's variance, (m-1)/m Σ(θ_i - θ̄)², is the sum of squares of these
        added[members] = np.sqrt((m - 1) / m) * (without.mean() - without)
        return float(own.mean()), added, own


class Way(NamedTuple):
    """Stimuli (n) to choose on and to score on, and the layer (G) that each network chose."""

    choosing: Array
    scoring: Array
    layers: Array


def ways(scorer: Scorer, members: Array, owner: Array, halves: Array) -> list[Way]:
    """Each of the ``halves`` (K, n) in either part; layers are chosen over the first subset.

    Of networks whose members are ``members`` (G, subsets, n); ``owner`` (L) is that of each layer.
    """
    return [
        Way(choosing, scoring, _choose(scorer, members[:, 0] & choosing, owner))
        for half in halves
        for choosing, scoring in ((half, ~half), (~half, half))
    ]


def table(scorer: Scorer, members: Array, owner: Array, several: Sequence[Way]) -> Table:
    """Scores of networks (G, subsets), whose members are ``members`` (G, subsets, n).

    Of several layers the one that was chosen on one part of the stimuli is scored on the other:
    mean over the ways. Of single ones, over all stimuli.
    """
    networks, subsets, n = members.shape
    count = len(scorer.targets)
    score = np.zeros((networks, subsets))
    added = np.zeros((n, networks, subsets))
    own = np.zeros((count, networks, subsets))
    often = np.zeros(len(owner))
    if len(owner) == networks:
        everything = np.ones(n, bool)
        several = [Way(everything, everything, np.argsort(owner))]
    for _, scoring, layers in several:
        np.add.at(often, layers[layers >= 0], 1 / len(several))
        for g, s in np.ndindex(networks, subsets):
            if layers[g] < 0:
                score[g, s] = np.nan
                continue
            value, stimuli, subjects = scorer.influence(layers[g], members[g, s] & scoring)
            score[g, s] += value / len(several)
            added[:, g, s] += stimuli / len(several)
            own[:, g, s] += subjects / len(several)
    # the variance of a mean over S subjects, Σ(o_s - ō)² / (S (S-1)), as a sum of squares
    between = (own - own.mean(0)) / np.sqrt(max(count * (count - 1), 1))
    return Table(score, np.concatenate([added, between]), often)


def _choose(scorer: Scorer, members: Array, owner: Array) -> Array:
    """Layer (G) that scores best among the members (G, n) of its network; -1 where none has."""
    layers = np.full(len(members), -1)
    for g, inside in enumerate(members):
        own = np.flatnonzero(owner == g)
        if len(own) == 1:
            layers[g] = own[0]
            continue
        values = np.array([scorer.score(layer, inside) for layer in own])
        if not np.isnan(values).all():
            layers[g] = own[np.nanargmax(values)]
    return layers


def best_heldout(scorer: Scorer, members: Array, several: Sequence[Way]) -> Array:
    """Score (subsets), on one half of the stimuli, of what is best on the other; mean over ways.

    The network is chosen inside each subset, its layer over the first one.
    """
    networks, subsets, _ = members.shape
    rows = []
    for choosing, scoring, layers in several:
        row = np.full(subsets, np.nan)
        for s in range(subsets):
            values = np.array(
                [
                    scorer.score(layers[g], members[g, s] & choosing) if layers[g] >= 0 else np.nan
                    for g in range(networks)
                ]
            )
            if not np.isnan(values).all():
                best = int(np.nanargmax(values))
                row[s] = scorer.score(layers[best], members[best, s] & scoring)
        rows.append(row)
    values = np.array(rows)
    return np.where(np.isnan(values).any(0), np.nan, values.mean(0))


def null_draws(
    scorer: Scorer,
    members: Array,
    owner: Array,
    halves: Array,
    rank: Array,
    n_permutations: int,
    seed: int,
) -> Array:
    """Scores (K, D, G, subsets) under permuted labels of the target, the observed ones first.

    Alike for all models and subsets. Of layers, labels are permuted inside each of the K halves and
    the choice is made again; without layers K is 1.
    """
    networks, subsets, n = members.shape
    layered = len(owner) > networks
    if not n_permutations:
        return np.full((len(halves) if layered else 1, 1, networks, subsets), np.nan)
    if not layered:
        return _null(scorer, members[owner], rank, np.zeros(n, int), n_permutations, seed)[None]
    each = []
    for half in halves:
        one, other = (
            _null(scorer, (members & side)[owner], rank, half.astype(int), n_permutations, seed)
            for side in (half, ~half)
        )
        each.append((_chosen(one, other, owner) + _chosen(other, one, owner)) / 2)
    return np.array(each)


def of_splits(p: Array) -> Array:
    """One p-value (…) from those of K splits (…, K).

    The median of dependent p-values is no p-value; twice the median is (Meinshausen et al. 2009).
    """
    return p[..., 0] if p.shape[-1] == 1 else np.minimum(1, 2 * np.median(p, axis=-1))


def _null(
    scorer: Scorer, members: Array, rank: Array, strata: Array, n_permutations: int, seed: int
) -> Array:
    """Scores (D, L, subsets) under permuted labels of the target, the observed ones first.

    ``members`` (L, subsets, n); layers with the same members share their permutations.
    """
    layers, subsets, _ = members.shape
    draws = np.full((n_permutations + 1, layers, subsets), np.nan)
    for inside, where in alike(members.reshape(-1, len(rank))):
        if inside.sum() < LEAST:
            continue
        layer, subset = np.divmod(where, subsets)
        orders = within(run_of(rank, seed, n_permutations, strata, inside), inside)
        mine = np.stack([scorer.of_model(one, inside) for one in layer])
        # the score is linear in the target's vector: the mean over subjects is one product
        pooled = scorer.of_target(inside).mean(0)
        draws[:, layer, subset] = gathered_products(mine, pooled[None], orders)[:, :, 0] / 2
    return draws


def _chosen(choosing: Array, scoring: Array, owner: Array) -> Array:
    """Draws (D, G, subsets) of the layer that is best in the same draw of the other half."""
    result = np.empty((len(scoring), owner.max() + 1, scoring.shape[2]))
    for g in range(result.shape[1]):
        own = np.flatnonzero(owner == g)
        values = choosing[:, own, 0]
        best = own[np.where(np.isnan(values), -np.inf, values).argmax(1)]
        result[:, g] = scoring[np.arange(len(scoring)), best]
    return result


def above_chance(draws: Array) -> Array:
    """P-values (G, subsets), one by one, of draws (K, D, G, subsets)."""
    p = (1 + as_extreme(draws[:, 1:], draws[:, :1], "greater").sum(1)) / draws.shape[1]
    return of_splits(np.moveaxis(np.where(np.isnan(draws).any(1), np.nan, p), 0, -1))


def errors(influence: Array, members: Array, n_stimuli: int) -> tuple[Array, Array]:
    """Standard error and degrees of freedom (…) of what the units (units, …) add up to.

    Of stimuli m - 1, ``members`` (…) says how many there are; of subjects S - 1; of both after
    Satterthwaite. NaN for fewer than 10 stimuli.
    """
    by_stimuli = (influence[:n_stimuli] ** 2).sum(0)
    by_subjects = (influence[n_stimuli:] ** 2).sum(0)
    subjects = len(influence) - n_stimuli
    total = by_stimuli + by_subjects
    # Satterthwaite: total² / Σ (variance² / its degrees of freedom)
    inverse = by_stimuli**2 / np.maximum(members - 1, 1) + by_subjects**2 / max(subjects - 1, 1)
    freedom = np.divide(total**2, inverse, out=np.ones_like(total), where=inverse > 0)
    return np.where(members < ENOUGH, np.nan, np.sqrt(total)), freedom


def multipliers(rank: Array, subjects: int, seed: int, draws: int) -> Array:
    """Random normal weights (draws, n + subjects) of the units; those of stimuli follow labels.

    They are the same in every subset and for every target, so that the largest difference of all
    has a null; those of subjects as far as all targets have the same ones.
    """
    stimuli = np.random.default_rng(seed).standard_normal((draws, len(rank)))[:, rank]
    others = np.random.default_rng([seed, 1]).standard_normal((draws, subjects))
    return np.concatenate([stimuli, others], axis=1)


def comparisons(
    score: Array, influence: Array, members: Array, n_stimuli: int, weights: Array
) -> tuple[Array, Array, Array, Array]:
    """Differences (G, G) of scores (G), their p-values, and what these are on the normal scale.

    Student's t for each. The last (draws) is the largest of all in each draw of ``weights``, by
    which what the units add is summed (Chernozhukov et al. 2013); -inf where none is tested.
    """
    difference = score[:, None] - score
    gap = influence[:, :, None] - influence[:, None]
    error, freedom = errors(gap, np.minimum(members[:, None], members), n_stimuli)
    undefined = np.isnan(error) | np.isnan(difference)
    sure = np.where(error > 1e-12, error, np.inf)
    p = 2 * scipy.special.stdtr(freedom, -np.abs(difference / sure))
    p[undefined] = np.nan
    i, j = np.triu_indices(len(score), 1)
    tested = ~undefined[i, j]
    most = np.full(len(weights), -np.inf)
    if tested.any():
        i, j = i[tested], j[tested]
        # multiplier bootstrap: weighted sums of influences have the covariance of the scores
        drawn = weights @ np.nan_to_num(influence)
        most = np.abs((drawn[:, i] - drawn[:, j]) / sure[i, j]).max(1)
    # draws are normal and the tests are t: both are compared on the scale of the p-values
    return difference, p, -scipy.special.ndtri(np.maximum(p, 1e-300) / 2), most


def beyond(most: Array, reached: Array) -> Array:
    """P-values (…) of values ``reached`` (…) against the draws of the largest (draws)."""
    above = len(most) - np.searchsorted(np.sort(most), reached - 1e-9)
    # no difference at all, of a model and itself say, is never one
    p = np.where(reached > 0, (1 + above) / (1 + len(most)), 1.0)
    return np.where(np.isnan(reached), np.nan, p)


def competition_ranks(score: Array) -> Array:
    """Place (G) of each score, 1 the largest; equal ones share the better place."""
    result: Array = scipy.stats.rankdata(-score, method="min", nan_policy="omit")
    return result


def ceilings(scorer: Scorer, members: Array) -> Array:
    """Lower and upper noise ceiling (2, G, subsets); NaN for a single subject."""
    result = np.full((2, *members.shape[:2]), np.nan)
    if len(scorer.targets) < 2:
        return result
    _, subsets, n = members.shape
    for inside, where in alike(members.reshape(-1, n)):
        if inside.sum() >= LEAST:
            index = np.flatnonzero(inside)
            ends = noise_ceiling(scorer.targets[:, index[:, None], index], scorer.method)
            result[:, *np.divmod(where, subsets)] = np.array(ends[:2])[:, None]
    return result


def rank_models(
    models: Array,
    targets: Array,
    usable: Array,
    members: Array,
    owner: Array,
    rank: Array,
    halves: Array,
    *,
    method: Method,
    subjects: bool,
    level: float,
    n_permutations: int,
    n_draws: int,
    seed: int,
) -> tuple[Array, ...]:
    """All that ``select_models`` says.

    Parameters
    ----------
    models, targets : arrays (L, n, n) and (S, n, n)
        RDMs of the layers and of the subjects.
    usable : bool array (S)
        Subjects that count; all of them where there is none, and the scores are NaN.
    members : bool array (G, subsets, n)
        Stimuli of each subset of each network, the first one all of them.
    owner : int array (L)
        Network of each layer.
    rank : int array (n)
        Of the labels.
    halves : bool array (K, n)
    method : Method
        One with a vector.
    subjects : bool
        Whether errors are over subjects too.
    level, n_permutations, n_draws, seed
        Of intervals and tests.

    Returns
    -------
    tuple of arrays
        (G, subsets): score, standard error, lower, upper, p-value, lower and upper ceiling;
        (G, G, subsets): difference, p-value, the same on the normal scale; (draws, subsets): the
        largest of these in each draw; (K, D, G, subsets): scores under permuted labels; (L): share
        of the splits in which a layer was the one; (subsets): held-out score of the best.
    """
    scorer = Scorer(models, targets[usable] if usable.any() else targets, method)
    several = ways(scorer, members, owner, halves)
    score, influence, layer = table(scorer, members, owner, several)
    n = members.shape[2]
    if not subjects:
        influence = influence[:n]
    sizes = members.sum(2)
    error, freedom = errors(influence, sizes, n)
    reach = scipy.special.stdtrit(freedom, (1 + level) / 2) * error
    draws = null_draws(scorer, members, owner, halves, rank, n_permutations, seed)
    weights = multipliers(rank, len(influence) - n, seed, n_draws)
    pairs = [
        comparisons(score[:, s], influence[:, :, s], sizes[:, s], n, weights)
        for s in range(members.shape[1])
    ]
    return (
        score,
        error,
        score - reach,
        score + reach,
        above_chance(draws),
        *ceilings(scorer, members),
        *(np.stack(part, axis=-1) for part in zip(*pairs, strict=True)),
        draws,
        layer,
        best_heldout(scorer, members, several),
    )
