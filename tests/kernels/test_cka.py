"""CKA on arrays, against HSIC term by term."""

from itertools import permutations

import numpy as np
import pytest

from tests import oracles
from tests.kernels.laws import scores_of, some_models, states_of
from xconverge.kernels import cka
from xconverge.kernels.cka import LinearCka, RbfCka, median_distance, sample

N = 12
CRITERIA = {True: oracles.hsic, False: oracles.biased_hsic}


def linear(x, y, debiased):
    there = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
    x, y = (rows[there] - rows[there].mean(0) for rows in (x, y))
    return oracles.cka(x @ x.T, y @ y.T, CRITERIA[debiased])


def rbf(x, y, debiased, sigma=1.0):
    """The width of a kernel is that of all stimuli that its model saw."""
    both = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
    kernels = []
    for rows in (x, y):
        seen = ~np.isnan(rows).any(1)
        kernel = np.full((len(x), len(x)), np.nan)
        kernel[np.ix_(seen, seen)] = oracles.rbf(rows[seen], sigma)
        kernels.append(kernel[np.ix_(both, both)])
    return oracles.cka(*kernels, CRITERIA[debiased])


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("of", "plain"), [(LinearCka, linear), (RbfCka, rbf)])
def test_every_pair_in_its_pool_by_plain_loops(of, plain, debiased, missing):
    sides = [some_models(N, (5, 3, 20), seed, missing) for seed in (1, 2)]
    kernel = of(debiased)
    found = scores_of(kernel, *(states_of(kernel, side) for side in sides))
    expected = [[plain(x, y, debiased) for y in sides[1]] for x in sides[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_the_width_of_the_kernel():
    x, y = some_models(N, (5, 3))
    kernel = RbfCka(sigma=0.5)
    found = scores_of(kernel, *(states_of(kernel, [rows]) for rows in (x, y)))
    assert found[0, 0] == pytest.approx(rbf(x, y, True, 0.5), rel=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("of", [LinearCka, RbfCka])
def test_copies_of_a_stimulus_weigh_and_are_not_compared(of, debiased):
    x, y = some_models(8, (5, 3))
    counts = np.array([2, 0, 1, 3, 1, 1, 0, 2])
    index = np.repeat(np.arange(8), counts)
    grams = []
    kernel = of(debiased)
    a, b = (states_of(kernel, [rows]) for rows in (x, y))
    for (state,) in (a, b):
        gram = kernel.gram(state)
        if debiased:
            np.fill_diagonal(gram, 0)
        grams.append(gram[np.ix_(index, index)])
    found = kernel.scores_of_counts(a, b, counts[None])[0, 0, 0]
    centre = np.eye(len(index)) - 1 / len(index)

    def hsic(k, m):
        if not debiased:
            return np.trace(k @ centre @ m @ centre)
        n = len(k)
        cross = k.sum() * m.sum() / ((n - 1) * (n - 2))
        return (k * m).sum() + cross - 2 / (n - 2) * (k.sum(0) * m.sum(0)).sum()

    assert found == pytest.approx(oracles.cka(*grams, hsic), abs=1e-10)


@pytest.mark.parametrize("kernel", [LinearCka(), LinearCka(debiased=False), RbfCka()], ids=str)
def test_chance_is_the_mean_over_all_permutations(kernel):
    a, b = (states_of(kernel, [rows]) for rows in some_models(5, (4, 3)))
    draws = kernel.scores_of_orders(a, b, np.array(list(permutations(range(5)))), None)
    assert draws.mean() == pytest.approx(kernel.chance(a[0], b[0]), abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_orders_by_rows_and_by_kernels_are_the_same(debiased, monkeypatch):
    kernel = LinearCka(debiased)
    a, b = (states_of(kernel, some_models(N, (5, 3), seed)) for seed in (1, 2))
    orders = np.stack([np.random.default_rng(s).permutation(N) for s in range(4)])
    found = []
    for cost in (0, 10**9):
        monkeypatch.setattr(cka, "FLOPS_PER_GATHER", cost)
        found.append(kernel.scores_of_orders(a, b, orders, None))
    np.testing.assert_allclose(*found, rtol=1e-10)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_an_offset_costs_few_digits(offset):
    x, y = some_models(N, (5, 3))
    kernel = LinearCka()
    b = states_of(kernel, [y])
    near, far = (scores_of(kernel, states_of(kernel, [rows]), b) for rows in (x, x + offset))
    np.testing.assert_allclose(far, near, rtol=1e-14 * offset, atol=1e-9)


def test_models_that_do_not_vary_have_no_score():
    x, y = some_models(N, (5, 3))
    kernel = LinearCka()
    a, b = states_of(kernel, [np.full_like(x, 3.0)]), states_of(kernel, [y])
    with pytest.warns(RuntimeWarning, match="NaN"):
        assert np.isnan(scores_of(kernel, a, b)).all()


def test_coinciding_stimuli_have_no_median_distance():
    with pytest.raises(ValueError, match="half its pairs of stimuli coincide"):
        median_distance(np.zeros((5, 3)))


def test_the_sample_follows_labels(monkeypatch):
    monkeypatch.setattr(cka, "SAMPLE", 5)
    rank = np.random.default_rng(0).permutation(20)
    seen = np.arange(20) % 7 != 0
    found = sample(seen, rank)
    assert len(found) == 5
    assert seen[found].all()
    straight = sample(seen[np.argsort(rank)], np.arange(20))
    np.testing.assert_array_equal(rank[found], straight)
