"""How well means of agreement over subsets of stimuli order the models as their scores do."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.correlation import ranks
from xconverge.kernels.nulls import all_orders, orders_of
from xconverge.kernels.permutations import as_extreme, run_of
from xconverge.kernels.vectors import Array

LEAST = 4
"""Models that a correlation over them needs."""


def subset_means(agreement: Array, members: Array) -> Array:
    """Means (subsets, M) of agreement (M, n) over the members (subsets, M, n) that have one."""
    counted = members & ~np.isnan(agreement)
    count = counted.sum(2)
    total = np.where(counted, agreement, 0.0).sum(2)
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
    spread: Array,
    model_rank: Array,
    *dealing: Array,
    null: str,
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
    spread : array (M, n)
        Dispersion, from which bins are made.
    model_rank : int array (M)
        Of the labels.
    *dealing : arrays
        What `nulls.orders_of` takes.
    null, n_bins, n_permutations, level, seed
        As there.

    Returns
    -------
    tuple of arrays
        (subsets, M): mean agreement; (subsets): correlation, its p-value, gain, its lower and upper
        end, correlation of random subsets, p-value of the gain; (D, subsets): draws of the
        correlation with models permuted, and of the gain less what is expected of it.
    """
    members = bins == np.arange(n_bins)[:, None, None]
    everyone = np.ones((1, *agreement.shape), bool)
    whole = np.concatenate([everyone, members])
    means = subset_means(agreement, whole)
    result = np.full((7, n_bins + 1), np.nan)
    draws = np.full((2, 1 + n_permutations, n_bins + 1), np.nan)
    there = np.asarray(~np.isnan(means).any(1))
    if len(score) < LEAST or not there[0] or np.isnan(score).any():
        return means, *result, *draws
    # a subset that some model has no agreement in is NaN, and no other is for it
    orders = orders_of(null, seed, *dealing)
    drawn = None
    if n_permutations and orders is not None:
        # the same draw for all models: bins keep their sizes, and about their overlap
        drawn = np.stack(
            [
                all_orders(orders, row, np.isfinite(row), n_permutations)
                for row in (spread if not orders.of_any else np.zeros((1, spread.shape[1])))
            ],
            axis=1,
        )
    result[:, there], draws[:, :, there] = _of_subsets(
        agreement, whole[there], means[there], score, drawn, model_rank, n_permutations, level, seed
    )
    return means, *result, *draws


def _of_subsets(
    agreement: Array,
    whole: Array,
    means: Array,
    score: Array,
    drawn: Array | None,
    model_rank: Array,
    n_permutations: int,
    level: float,
    seed: int,
) -> tuple[Array, Array]:
    """What there is to say (7, subsets) of the members ``whole`` (subsets, M, n), all first.

    ``drawn`` (D, M or 1, n) are the orders that bins are dealt in under the null. And the draws
    (2, D, subsets).
    """
    observed = correlations(means, score)
    gain = observed - observed[0]
    if not n_permutations:
        none = np.full(len(whole), np.nan)
        parts = np.stack([observed, none, gain, none, none, none, none])
        return parts, np.full((2, 1, len(whole)), np.nan)
    ends = _bootstrap(means, score, model_rank, n_permutations, level, seed)
    orders = run_of(model_rank, seed, n_permutations)
    permuted = correlations(means, score[orders][:, None])
    p_value = _two_sided(permuted, 0.0)
    if drawn is None:
        none = np.full(len(whole), np.nan)
        parts = np.stack([observed, p_value, gain, *ends, none, none])
        return parts, np.stack([permuted, np.full(permuted.shape, np.nan)])
    null = np.array(
        [
            correlations(
                subset_means(agreement, np.take_along_axis(whole, order[None], axis=2)), score
            )
            for order in np.broadcast_to(drawn, (len(drawn), *agreement.shape))
        ]
    )
    expected = null[1:].mean(0)
    # a mean over fewer stimuli correlates less: the gain is compared with that of such subsets
    gains = null - null[:, :1] - (expected - expected[0])
    gains[:, 0] = np.nan
    parts = np.stack([observed, p_value, gain, *ends, expected, _two_sided(gains, 0.0)])
    return parts, np.stack([permuted, gains])


def _bootstrap(
    means: Array, score: Array, rank: Array, draws: int, level: float, seed: int
) -> Array:
    """Lower and upper end (2, subsets) of the gain over models drawn again with replacement."""
    order = np.argsort(rank)
    again = order[np.random.default_rng(seed).integers(len(score), size=(draws, len(score)))]
    drawn = correlations(means[:, again].transpose(1, 0, 2), score[again][:, None])
    # a draw of models that are all equal has no correlation
    defined = drawn[~np.isnan(drawn).any(1)]
    if not len(defined):
        return np.full((2, len(means)), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    return np.asarray(np.quantile(defined - defined[:, :1], tails, axis=0))


def _two_sided(draws: Array, center: Array | float) -> Array:
    """P-value (subsets) of the first of draws (D, subsets): as far from the centre, or farther."""
    gap = draws - center
    reached = as_extreme(gap[1:], gap[0], "two-sided").sum(0)
    return np.where(np.isnan(gap[0]), np.nan, (1 + reached) / len(draws))
