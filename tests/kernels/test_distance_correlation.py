"""Distance correlation on arrays, against plain loops and truths known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracles
from tests.kernels.laws import (
    check_counts,
    check_orders,
    check_take,
    scores_of,
    some_counts,
    some_models,
    some_orders,
    states_of,
)
from tests.kernels.rows import assert_pools
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.distance_correlation import DistanceCorrelation

N = 14
FORMS = pytest.mark.parametrize("debiased", [True, False])


def one(x, y, debiased=True):
    kernel = DistanceCorrelation(debiased)
    return scores_of(kernel, *(states_of(kernel, [rows]) for rows in (x, y)))[0, 0]


@FORMS
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_every_pair_in_its_pool_by_plain_loops(debiased, missing):
    def plain(x, y):
        there = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
        return oracles.distance_correlation(x[there], y[there], debiased)

    sides = [some_models(N, (5, 3, 20), seed, missing) for seed in (1, 2)]
    assert_pools(DistanceCorrelation(debiased), *sides, plain, rtol=1e-9)


@FORMS
def test_laws(debiased):
    kernel = DistanceCorrelation(debiased)
    models = [some_models(N, (5, 3), seed) for seed in (1, 2)]
    check_take(kernel, *models, np.array([3, 0, 9, 7, 12, 5, 1]))
    a, b = (states_of(kernel, side) for side in models)
    check_orders(kernel, a, b, some_orders(N))
    check_counts(kernel, a, b, some_counts(N))


@FORMS
def test_memory_changes_no_score(debiased, monkeypatch):
    x, y = some_models(N, (5, 3))
    expected = one(x, y, debiased)
    monkeypatch.setattr(BUDGETS, "product_block", 2**9)
    assert one(x, y, debiased) == pytest.approx(expected, rel=1e-12)


@FORMS
@pytest.mark.parametrize("scale", [1e-160, 1.0, 1e160])
def test_rotated_and_scaled_copies_agree_fully(debiased, scale):
    (x,) = some_models(N, (5,))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))
    assert one(x, scale * (x @ turn + 3), debiased) == pytest.approx(1, abs=1e-12)


def test_independent_sets_score_zero_without_bias_and_high_with():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, 40, 60))
        found.append([one(x, y, debiased) for debiased in (True, False)])
    unbiased, biased = np.transpose(found)
    assert abs(unbiased.mean()) < 4 * unbiased.std() / np.sqrt(40)
    assert abs(unbiased.mean()) < 0.02
    assert (unbiased < 0).any()
    assert biased.min() > 0.7


def test_a_symmetric_parabola_is_uncorrelated_but_dependent():
    x = np.linspace(-1, 1, 41)[:, None]
    assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 1e-12
    assert one(x, x**2) > 0.15


@pytest.mark.slow
def test_of_normal_variables_is_the_closed_form():
    """Székely, Rizzo & Bakirov (2007), theorem 7: dCor² as a function of the correlation."""
    rho, n = 0.6, 3000
    z = np.random.default_rng(0).standard_normal((n, 2))
    x, y = z[:, :1], rho * z[:, :1] + np.sqrt(1 - rho**2) * z[:, 1:]
    cross = rho * np.arcsin(rho) + np.sqrt(1 - rho**2)
    cross -= rho * np.arcsin(rho / 2) + np.sqrt(4 - rho**2) - 1
    assert one(x, y) == pytest.approx(cross / (1 + np.pi / 3 - np.sqrt(3)), abs=0.03)


@FORMS
def test_models_that_do_not_vary_have_no_score(debiased):
    (x,) = some_models(N, (5,))
    with pytest.warns(RuntimeWarning, match="NaN"):
        assert np.isnan(one(np.full_like(x, 3.0), x, debiased))
