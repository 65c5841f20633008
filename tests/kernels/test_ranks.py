"""Rank correlations and their null."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from xconverge.kernels.nulls import Permuted
from xconverge.kernels.ranks import empty_bins, quantile_bins, rank_correlations, rows_in_bins


@pytest.mark.slow
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
        orders = Permuted(np.arange(n), run)
        found = rank_correlations(x, y, which, np.empty((1, 0, n)), orders, zeros, 99, "two-sided")
        rejected += found.p_value_of_mean <= 0.05
    assert rejected / runs < 0.09


TIED = st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=4, max_size=15)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(TIED, st.randoms(use_true_random=False))
def test_a_correlation_of_tied_values_is_that_of_scipy(values, random):
    x = np.array(values)
    y = np.array([random.choice([0.0, 1.0, 5.0]) for _ in values])
    n = len(x)
    correlation, p, count, *_ = rank_correlations(
        x[None], y[None], np.zeros(1, int), np.empty((1, 0, n)), Permuted(np.arange(n), 0),
        np.zeros(n, int), 9, "two-sided",
    )  # fmt: skip
    there = ~np.isnan(x)
    assert count[0] == there.sum()
    if there.sum() < 3 or len(set(x[there])) == 1 or len(set(y[there])) == 1:
        assert np.isnan(correlation[0])
        assert np.isnan(p[0])
    else:
        expected = spearmanr(x[there], y[there]).statistic
        np.testing.assert_allclose(correlation[0], expected, atol=1e-12)
        assert 0 < p[0] <= 1


@given(TIED, st.integers(1, 5))
def test_bins_of_tied_values_by_the_definition(values, n_bins):
    values = np.array(values)
    bins, edges = quantile_bins(values, n_bins)
    for value, found in zip(values, bins, strict=True):
        if np.isnan(value):
            assert found == -1
        else:
            assert found == next(b for b in range(n_bins) if value <= edges[b + 1] + 1e-9)
    assert empty_bins(bins, n_bins) == sorted(set(range(n_bins)) - set(bins.tolist()))
    both = rows_in_bins(np.stack([values, np.full(len(values), np.nan)]), n_bins)
    np.testing.assert_array_equal(both, [bins, np.full(len(values), -1)])
