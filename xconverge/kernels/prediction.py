"""How well means of agreement over subsets of stimuli order the models as their scores do."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.permutations import as_extreme, run_of
from xconverge.kernels.rdm import ranks
from xconverge.kernels.vectors import Array

LEAST = 4
"""Models that a correlation over them needs."""


def subset_means(agreement: Array, members: Array) -> Array:
    """Means (subsets, M) of agreement (M, n) over the members (subsets, M, n) that have one."""
    there = ~np.isnan(agreement)
    count = (members & there).sum(2)
    total = np.where(members & there, agreement, 0.0).sum(2)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


def correlations(means: Array, score: Array) -> Array:
    """Rank correlation (…) over models of means (…, M) with scores (…, M); NaN if all are equal."""
    u, v = (_standard(side) for side in (means, score))
    return np.asarray(np.where(np.isnan(u + v).any(-1), np.nan, np.vecdot(u, v)))


def _standard(values: Array) -> Array:
    """Ranks along the last axis, centred and of unit norm."""
    ranked = ranks(values)
    gap = ranked - ranked.mean(-1, keepdims=True)
    norm = np.sqrt(np.vecdot(gap, gap))[..., None]
    return np.asarray(np.divide(gap, norm, out=np.full(gap.shape, np.nan), where=norm > 0))


def prediction(
    agreement: Array,
    bins: Array,
    score: Array,
    rank: Array,
    model_rank: Array,
    *,
    n_bins: int,
    n_permutations: int,
    level: float,
    seed: int,
) -> tuple[Array, ...]:
    """What ``cross_modal_prediction`` says, over all stimuli and the bins (subsets = 1 + n_bins).

    Parameters
    ----------
    agreement, bins : arrays (M, n)
        Of every model with another modality, and the bin of every stimulus, negative for none.
    score : array (M)
    rank, model_rank : int arrays (n), (M)
        Of the labels.
    n_bins, n_permutations, level, seed
        As there.

    Returns
    -------
    tuple of arrays
        (subsets, M): mean agreement; (subsets): correlation, its p-value, gain, its lower and upper
        end, correlation of random subsets, p-value of the gain.
    """
    members = bins == np.arange(n_bins)[:, None, None]
    everyone = np.ones((1, *agreement.shape), bool)
    whole = np.concatenate([everyone, members])
    means = subset_means(agreement, whole)
    observed = correlations(means, score)
    usable = ~np.isnan(means).any(0) & ~np.isnan(score)
    if len(score) < LEAST or not usable.all():
        none = np.full(n_bins + 1, np.nan)
        return means, *[none] * 7
    gain = observed - observed[0]
    again = _models_again(len(score), model_rank, max(n_permutations, 1), seed)
    drawn = correlations(means[:, again].transpose(1, 0, 2), score[again][:, None])
    lost = np.isnan(drawn).any(1)
    ends = np.quantile(
        drawn[~lost] - drawn[~lost, :1], [(1 - level) / 2, (1 + level) / 2], axis=0
    ) if (~lost).any() else np.full((2, n_bins + 1), np.nan)  # fmt: skip
    if not n_permutations:
        none = np.full(n_bins + 1, np.nan)
        return means, observed, none, gain, *(ends * np.nan), none, none
    moves = run_of(model_rank, seed, n_permutations)
    p_value = _two_sided(correlations(means, score[moves][:, None]), 0.0)
    subsets = [
        correlations(subset_means(agreement, whole[:, :, move]), score)
        for move in run_of(rank, seed, n_permutations)
    ]
    null = np.array(subsets)
    expected = null[1:].mean(0)
    gain_p = _two_sided(null - null[:, :1], expected - expected[0])
    gain_p[0] = np.nan
    return means, observed, p_value, gain, *ends, expected, gain_p


def _models_again(count: int, rank: Array, draws: int, seed: int) -> Array:
    """Models (draws, M) drawn with replacement, by label."""
    order = np.argsort(rank)
    drawn: Array = order[np.random.default_rng(seed).integers(count, size=(draws, count))]
    return drawn


def _two_sided(draws: Array, center: Array | float) -> Array:
    """P-value (subsets) of the first of draws (D, subsets): as far from the centre, or farther."""
    gap = draws - center
    return np.asarray((1 + as_extreme(gap[1:], gap[0], "two-sided").sum(0)) / len(draws))
