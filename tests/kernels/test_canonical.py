"""SVCCA on arrays, against plain loops."""

import numpy as np
import pytest

from tests.kernels.rows import assert_law_of_take, assert_pools, cut, in_blocks, models
from xconverge.kernels.canonical import Svcca, leading_scores
from xconverge.kernels.kernel import Kernel
from xconverge.kernels.permutations import permutations

N, C = 40, 3


def states(kernel, rows, fold):
    return [kernel.prepare(x, x.shape[1], np.arange(len(x)), fold) for x in rows]


def scored(kernel, a, b, fold):
    return kernel.finish(kernel.sums(a, b, fold), [None] * len(a), [None] * len(b))


def whitened(rows):
    q, _ = np.linalg.qr(rows - rows.mean(0))
    return q


def oracle(x, y, fold, c):
    """Components and canonical directions from the other folds, correlations held out."""
    values = []
    for number in np.unique(fold):
        train = fold != number if number >= 0 else np.ones(len(fold), bool)
        test = fold == number
        parts = []
        for rows in (x, y):
            z = (rows - rows[train].mean(0)) / rows[train].std(0)
            parts.append(z @ np.linalg.svd(z[train], full_matrices=False)[2][:c].T)
        u, v = (np.linalg.svd(p[train], full_matrices=False) for p in parts)
        left, _, right = np.linalg.svd(u[0].T @ v[0])
        one = parts[0] @ u[2].T / u[1] @ left
        other = parts[1] @ v[2].T / v[1] @ right.T
        values += [np.corrcoef(one[test, i], other[test, i])[0, 1] for i in range(c)]
    return np.mean(values)


FOLDS = {
    "held out": np.random.default_rng(1).permutation(np.arange(N) % 4),
    "in sample": np.full(N, -1),
}


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
@pytest.mark.parametrize("width", [5, 60])
def test_it_is_its_formula(fold, width):
    kernel, a, b = Svcca(C), models(2, width), models(3, 4, seed=1)
    found = scored(kernel, states(kernel, a, fold), states(kernel, b, fold), fold)
    expected = [[oracle(x, y, fold, C) for y in b] for x in a]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_in_sample_it_is_the_cosine_between_the_subspaces():
    kernel, fold = Svcca(C), FOLDS["in sample"]
    x, y = models(1, 5)[0], models(1, 4, seed=1)[0]
    bases = []
    for rows in (x, y):
        z = (rows - rows.mean(0)) / rows.std(0)
        bases.append(np.linalg.svd(z, full_matrices=False)[0][:, :C])
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()
    found = scored(kernel, states(kernel, [x], fold), states(kernel, [y], fold), fold)
    np.testing.assert_allclose(found, [[expected]], atol=1e-12)


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
def test_take_is_prepare_but_for_the_components(fold):
    kernel = Svcca(C)
    a, b = (states(kernel, rows, fold) for rows in (models(2, 5), models(2, 4, seed=1)))
    where = np.random.default_rng(0).permutation(N)
    assert_law_of_take(kernel, a, b, where, fold, rtol=1e-10)
    assert "components" in kernel.fixed


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
def test_many_orders_at_once_are_one_after_the_other(fold):
    kernel = Svcca(C)
    a, b = (states(kernel, rows, fold) for rows in (models(2, 5), models(3, 4, seed=1)))
    orders = permutations(np.arange(N), 3, 0, strata=fold - fold.min(), count=12)
    fast = kernel.scores_of_orders(a, b, orders, fold)
    slow = Kernel.scores_of_orders(kernel, a, b, orders, fold)
    np.testing.assert_allclose(fast, slow, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fast[0], scored(kernel, a, b, fold), rtol=1e-10)


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
def test_every_pair_has_its_own_pool(fold):
    kernel, a, b = Svcca(2), models(2, 5), models(2, 4, seed=1)
    a[0][3:6], b[1][[4, 9]] = np.nan, np.nan

    def expected(x, y):
        one, other = (leading_scores(rows, rows.shape[1], fold, 2) for rows in (x, y))
        common = ~(np.isnan(one[:, 0, 0]) | np.isnan(other[:, 0, 0]))
        there = fold[common]
        values = []
        for k in range(one.shape[1]):
            p, q = one[common, k], other[common, k]
            train = there != k if there.min() >= 0 else np.ones(len(there), bool)
            test = there == k if there.min() >= 0 else train
            u, v = (np.linalg.svd(r[train] - r[train].mean(0), full_matrices=False) for r in (p, q))
            left, _, right = np.linalg.svd(u[0].T @ v[0])
            f, g = p @ u[2].T / u[1] @ left, q @ v[2].T / v[1] @ right.T
            values += [np.corrcoef(f[test, i], g[test, i])[0, 1] for i in range(2)]
        return np.mean(values)

    assert_pools(kernel, a, b, expected, fold, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
def test_blocks_add_up(fold, seed):
    kernel, (x,), (y,) = Svcca(C), models(1, 5), models(1, 7, seed=1)
    x, y = x + 1e3, y - 1e4
    expected = scored(kernel, states(kernel, [x], fold), states(kernel, [y], fold), fold)
    found = in_blocks(kernel, x, y, cut(N, seed), fold)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_last_fold_may_be_one_that_a_model_never_saw():
    kernel, fold, (x,), (y,) = Svcca(2), np.arange(N) % 4, models(1, 5), models(1, 4, seed=1)
    x[fold == 3] = np.nan
    with pytest.warns(RuntimeWarning, match="a fold has 30 and 0: NaN|do not vary: NaN"):
        assert np.isnan(in_blocks(kernel, x, y, cut(N, 0), fold)).all()


def test_too_few_stimuli_and_scores_that_do_not_vary_are_nan():
    kernel, fold = Svcca(C), np.arange(N) % 4
    a, b = (states(kernel, rows, fold) for rows in (models(1, 5), models(1, 4, seed=1)))
    few = np.arange(9)
    a_few, b_few = ([kernel.take(s, few) for s in side] for side in (a, b))
    with pytest.warns(RuntimeWarning, match=r"5 common stimuli to fit.*a fold has 6 and 3|2: NaN"):
        assert np.isnan(scored(kernel, a_few, b_few, fold[few])).all()
    with pytest.warns(RuntimeWarning, match="common stimuli"):
        assert np.isnan(kernel.scores_of_orders(a_few, b_few, np.arange(9)[None], fold[few])).all()
    still = states(kernel, [np.full((N, 5), 0.1)], fold)
    with pytest.warns(RuntimeWarning, match="do not vary: NaN"):
        assert np.isnan(scored(kernel, still, b, fold)).all()
    with pytest.warns(RuntimeWarning, match="do not vary: NaN"):
        assert np.isnan(kernel.scores_of_orders(still, b, np.arange(N)[None], fold)).all()


def test_equal_values_have_no_deviation():
    rows = np.full((5000, 2), 0.1)
    rows[:, 1] = np.arange(5000)
    scores = leading_scores(rows, 2, np.full(5000, -1), 2)[:, 0]
    assert (scores[:, 1] == 0).all()
    assert np.abs(scores[:, 0]).max() == pytest.approx(np.sqrt(3), rel=1e-3)
