"""Rank correlations and their null."""

import numpy as np

from xconverge.kernels.ranks import rank_correlations


def test_the_null_of_the_mean_holds_where_pairs_miss_different_stimuli():
    rng = np.random.default_rng(0)
    n, n_pairs, runs = 40, 12, 300
    rejected = 0
    for run in range(runs):
        x = rng.standard_normal((1, n))
        y = rng.standard_normal(n) + 0.3 * rng.standard_normal((n_pairs, n))
        for row in y:
            row[rng.choice(n, 2, replace=False)] = np.nan
        which, zeros = np.zeros(n_pairs, int), np.zeros(n, int)
        *_, p = rank_correlations(
            x, y, which, np.empty((1, 0, n)), np.arange(n), zeros, 99, run, "two-sided"
        )
        rejected += p <= 0.05
    assert rejected / runs < 0.09
