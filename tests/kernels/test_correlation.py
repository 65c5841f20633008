"""Ranks, and similarities of two sets of values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from xconverge.kernels import correlation
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import METHODS, similarities, similarity


@st.composite
def values_and_ranks(draw, shapes):
    """Values with ties and gaps, and what scipy says their ranks are."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = rng.standard_normal(draw(st.sampled_from(shapes)))
    values = np.round(values, draw(st.sampled_from([0, 1, 9])))
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
    return values, rankdata(values, axis=-1, nan_policy="omit")


@given(values_and_ranks([(1,), (9,), (4, 7), (2, 3, 5)]))
def test_ranks_are_scipys(both):
    values, expected = both
    np.testing.assert_array_equal(correlation.ranks(values), expected)


def test_ranks_do_not_see_rounding():
    values = np.array([0.1 + 0.2, 0.3, 1.0, 0.2])
    np.testing.assert_array_equal(correlation.ranks(values), [2.5, 2.5, 4, 1])
    np.testing.assert_array_equal(correlation.ranks(values * 1e-300), [2.5, 2.5, 4, 1])
    assert correlation.ranks(np.zeros((2, 0))).shape == (2, 0)


def test_similarities_are_those_of_each_pair(monkeypatch):
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((3, 31)), rng.standard_normal((2, 31))
    ranked = [correlation.ranks(side) for side in (u, v)]
    for block in (2**25, 64):
        monkeypatch.setattr(BUDGETS, "cache_block", block)
        for i, j in np.ndindex(3, 2):
            found = similarities(list(u), list(v), "pairs", METHODS["pearson"])
            assert found[i, j] == pytest.approx(pearsonr(u[i], v[j]).statistic, abs=1e-14)
            found = similarities(list(ranked[0]), list(ranked[1]), "pairs", METHODS["spearman"])
            assert found[i, j] == pytest.approx(spearmanr(u[i], v[j]).statistic, abs=1e-14)


def test_too_little_to_compare_is_nan_with_a_warning():
    flat, slope = np.full(5, 0.1), np.arange(5.0)
    with pytest.warns(RuntimeWarning, match="stimuli that differ, got equal values"):
        assert np.isnan(similarity(flat, slope, "stimuli"))
    with pytest.warns(RuntimeWarning, match="at least 3 stimuli, got 2"):
        assert np.isnan(similarity(slope[:2], slope[:2], "stimuli"))
    with pytest.warns(RuntimeWarning, match="differ"):
        found = similarities([flat, slope], [slope], "pairs", METHODS["pearson"])
    np.testing.assert_allclose(found, [[np.nan], [1.0]])


def test_tau_a_counts_pairs():
    u, v = np.array([1.0, 2, 2, 3, 5, 5]), np.array([2.0, 1, 4, 4, 3, 6])
    signs = [np.sign(u[i] - u[j]) * np.sign(v[i] - v[j]) for i in range(6) for j in range(i)]
    assert correlation.tau_a(u, v) == pytest.approx(sum(signs) / 15)
    assert correlation.tau_a(u, np.ones(6)) == 0.0


@pytest.mark.slow
@given(values_and_ranks([(2,), (9,), (4, 7), (2, 3, 5), (2, 70_000)]))
@settings(max_examples=30, deadline=None)
def test_ranks_whose_places_do_not_fit_into_a_key(both):
    values, expected = both
    np.testing.assert_array_equal(correlation.ranks(values), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "KEY_BITS", 8)
        np.testing.assert_array_equal(correlation.ranks(values), expected)
    np.testing.assert_array_equal(correlation.ranks(values, values), expected)


def test_runs_of_ties_beside_each_other():
    step = 2.0**-40
    values = np.array(
        [[1.0, 0.5, 0.5 + step, 0.5 + 2 * step, 0.7, 0.7], [0.1, 0.1, 0.2, 0.2, 0, 0]]
    )
    expected = [[6, 2, 2, 2, 4.5, 4.5], [3.5, 3.5, 5.5, 5.5, 1.5, 1.5]]
    np.testing.assert_array_equal(correlation.ranks(values), expected)
