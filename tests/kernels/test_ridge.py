"""Nested ridge regression on arrays, against scikit-learn in plain loops."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.kernels.rows import assert_law_of_take, assert_pools, cut, in_blocks, models
from xconverge.kernels import ridge
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.kernel import Kernel
from xconverge.kernels.permutations import permutations
from xconverge.kernels.ridge import PENALTIES, Predictivity

N = 40
FOLD = np.random.default_rng(1).permutation(np.arange(N) % 4)
SCORES = ["r", "r2"]


def states(kernel, rows):
    return [kernel.prepare(x, x.shape[1], np.arange(len(x)), None) for x in rows]


def scored(kernel, a, b, fold=FOLD):
    return kernel.finish(kernel.sums(a, b, fold), [], [])


def oracle(x, y, fold, score):
    """Penalties by the other folds, each from the rest; r and R² about the mean of the fitted."""
    predicted, baseline = np.empty_like(y), np.empty_like(y)

    def fit(train, test, share):
        rows = x[train] - x[train].mean(0)
        spread = np.linalg.eigvalsh(rows.T @ rows)[-min(x.shape[1], train.sum()) :].mean()
        return Ridge(alpha=share * spread, solver="svd").fit(x[train], y[train]).predict(x[test])

    for one in np.unique(fold):
        others = [k for k in np.unique(fold) if k != one]
        errors = []
        for share in PENALTIES:
            gaps = [
                y[fold == k] - fit((fold != one) & (fold != k), fold == k, share) for k in others
            ]
            errors.append(sum((gap**2).sum() for gap in gaps))
        predicted[fold == one] = fit(fold != one, fold == one, PENALTIES[np.argmin(errors)])
        baseline[fold == one] = y[fold != one].mean(0)
    gap, guess = y - baseline, predicted - baseline
    if score == "r":
        return np.mean([np.corrcoef(gap[:, i], guess[:, i])[0, 1] for i in range(y.shape[1])])
    return 1 - ((y - predicted) ** 2).sum() / (gap**2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("width", [3, 15, 60])
def test_it_is_scikit_learns_nested_ridge(score, width):
    kernel, a, b = Predictivity(score), models(2, width), models(2, 4, seed=1)
    expected = [[oracle(x, y, FOLD, score) for y in b] for x in a]
    found = scored(kernel, states(kernel, a), states(kernel, b))
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_error_of_a_penalty_needs_no_prediction():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 7)), rng.standard_normal((N, 3))
    known = ridge.FromRows(x, [y], FOLD, np.array([0, 1]))
    total, products = known.gap(0, 1)
    covariance, gram = known.to(0), known.gram(1)
    train, test = FOLD > 1, FOLD == 1
    for penalty in (1e-3, 1.0, 10.0):
        factors = known.shrink(penalty)
        linear = factors @ np.vecdot(covariance, products)
        bent = factors @ (gram * (covariance @ covariance.T)) @ factors
        fitted = Ridge(alpha=penalty * known.scale, solver="svd").fit(x[train], y[train])
        expected = ((y[test] - fitted.predict(x[test])) ** 2).sum()
        assert total - 2 * linear + bent == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("width", [3, 60])
def test_take_is_prepare_of_these_rows(score, width):
    kernel, a, b = Predictivity(score), models(2, width), models(2, 4, seed=1)
    where = np.random.default_rng(0).permutation(N)
    assert_law_of_take(kernel, states(kernel, a), states(kernel, b), where, FOLD, rtol=1e-9)
    few = where[:25]
    taken = [[kernel.take(s, few) for s in states(kernel, side)] for side in (a, b)]
    fresh = [states(kernel, [x[few] for x in side]) for side in (a, b)]
    np.testing.assert_allclose(
        scored(kernel, *taken, FOLD[few]), scored(kernel, *fresh, FOLD[few]), rtol=1e-8
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("width", [3, 60])
def test_many_orders_at_once_are_one_after_the_other(score, width, together, monkeypatch):
    kernel, a, b = Predictivity(score), models(2, width), models(2, 4, seed=1)
    if not together:
        monkeypatch.setattr(BUDGETS, "targets", 1)
    sides = states(kernel, a), states(kernel, b)
    orders = permutations(np.arange(N), 3, 0, strata=FOLD, count=6)
    fast = kernel.scores_of_orders(*sides, orders, FOLD)
    slow = Kernel.scores_of_orders(kernel, *sides, orders, FOLD)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)
    np.testing.assert_allclose(fast[0], scored(kernel, *sides), rtol=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_a_source_is_decomposed_once_for_all_targets(score, monkeypatch):
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda gram: calls.append(1) or eigh(gram))
    kernel, a, b = Predictivity(score), models(2, 3), models(5, 4, seed=1)
    scored(kernel, states(kernel, a), states(kernel, b))
    # every fold, and every pair of folds, left out
    assert len(calls) == 2 * (4 + 6)


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_every_pair_has_its_own_pool(score):
    kernel, a, b = Predictivity(score), models(2, 5), models(2, 4, seed=1)
    a[0][3:6], b[1][[4, 9]] = np.nan, np.nan

    def expected(x, y):
        common = ~(np.isnan(x[:, 0]) | np.isnan(y[:, 0]))
        return oracle(x[common], y[common], FOLD[common], score)

    assert_pools(kernel, a, b, expected, FOLD, rtol=1e-7)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("missing", [False, True])
def test_blocks_add_up(score, seed, missing):
    kernel, (x,), (y,) = Predictivity(score), models(1, 5), models(1, 7, seed=1)
    if missing:
        x[3:9], y[[0, 20]] = np.nan, np.nan
    common = ~(np.isnan(x[:, 0]) | np.isnan(y[:, 0]))
    sides = ([rows[common]] for rows in (x, y))
    expected = scored(kernel, *(states(kernel, side) for side in sides), FOLD[common])
    found = in_blocks(kernel, x + 1e3, y - 1e4, cut(N, seed), FOLD)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_sums_over_folds_add_up():
    (x,), (y,) = models(1, 5), models(1, 3, seed=1)
    order = np.argsort(FOLD)  # blocks then have other folds, the last ones none of the first
    expected = ridge.fold_sums(x, y, FOLD)
    for rows in (np.arange(N), order, order[::-1]):
        total = None
        for part in cut(N, 0):
            mine = rows[part]
            sums = ridge.fold_sums(x[mine], y[mine], FOLD[mine])
            total = sums if total is None else ridge.added_sums(total, sums)
        for field, mine in zip(expected, total, strict=True):
            np.testing.assert_allclose(mine, field, rtol=1e-10, atol=1e-10)


def test_ridge_from_sums_is_ridge_from_rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 8)) @ rng.standard_normal((8, 20)) + 100.0
    ys = [x[:, :3] + rng.standard_normal((50, 3)), rng.standard_normal((50, 2))]
    fold = np.arange(50) % 5
    own, sums = ridge.fold_sums(x, x, fold), [ridge.fold_sums(x, y, fold) for y in ys]
    rows = ridge.nested(lambda without: ridge.FromRows(x, ys, fold, without), np.arange(5), 2)
    found = ridge.nested(lambda without: ridge.FromSums(own, sums, without), np.arange(5), 2)
    for one, other in zip(found, rows, strict=True):
        np.testing.assert_allclose(
            ridge.correlation_and_share(one), ridge.correlation_and_share(other), rtol=1e-8
        )


@pytest.mark.parametrize("scale", [1e-160, 1e160])
@pytest.mark.parametrize("width", [3, 60])
def test_any_scale(scale, width):
    for score in SCORES:
        kernel, a, b = Predictivity(score), models(1, width), models(1, 4, seed=1)
        expected = scored(kernel, states(kernel, a), states(kernel, b))
        found = scored(
            kernel, states(kernel, [x * scale for x in a]), states(kernel, [y / scale for y in b])
        )
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("blocks", [False, True])
def test_what_does_not_vary_predicts_nothing_and_has_no_score(blocks):
    (x,), (y,) = models(1, 5), models(1, 4, seed=1)
    still = np.full((N, 3), 0.1)
    for score in SCORES:
        kernel = Predictivity(score)

        def one(u, v, kernel=kernel):
            if blocks:
                return in_blocks(kernel, u, v, cut(N, 0), FOLD)[0, 0]
            return scored(kernel, states(kernel, [u]), states(kernel, [v]))[0, 0]

        assert one(still, y) == pytest.approx(0.0, abs=1e-12)
        assert np.isnan(one(x, still))


def test_too_few_stimuli_or_folds_are_nan():
    for score, width in ((s, w) for s in SCORES for w in (1, 5)):
        kernel, (x,), (y,) = Predictivity(score), models(1, width), models(1, 4, seed=1)
        few = np.flatnonzero(FOLD < 2)
        sides = [[kernel.take(s, few) for s in states(kernel, [rows])] for rows in (x, y)]
        with pytest.warns(RuntimeWarning, match="common stimuli in at least 3 folds, got 20 in 2"):
            assert np.isnan(scored(kernel, *sides, FOLD[few])).all()
        with pytest.warns(RuntimeWarning, match="at least 3 folds, got 20 in 2: NaN"):
            assert np.isnan(kernel.scores_of_orders(*sides, np.arange(20)[None], FOLD[few])).all()
        x[FOLD > 1] = np.nan
        with pytest.warns(RuntimeWarning, match="at least 3 folds, got 20 in 2: NaN"):
            assert np.isnan(in_blocks(kernel, x, y, cut(N, 0), FOLD)).all()


def wide(n, width, rank, noise, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, width))
    x += noise * rng.standard_normal((n, width))
    ys = [x[:, :3] + 0.5 * rng.standard_normal((n, 3)), x @ rng.standard_normal((width, 9))]
    return x - x.mean(0), [y - y.mean(0) for y in ys]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("rank", "noise"), [(60, 0.0), (6, 0.0), (6, 1e-6), (6, 1.0)])
@pytest.mark.parametrize("width", [25, 33, 60])
def test_products_of_stimuli_say_what_rows_say(width, rank, noise):
    x, ys = wide(40, width, rank, noise)
    fold = np.random.default_rng(1).permutation(np.arange(40) % 4)
    fold[fold == 3] = np.where(np.arange(10) < 4, 3, 0)
    numbers = np.arange(4)
    expected = ridge.nested(lambda out: ridge.FromRows(x, ys, fold, out), numbers, 2)
    for one, other in zip(ridge.fits(x, ys, fold), expected, strict=True):
        np.testing.assert_allclose(
            ridge.correlation_and_share(one), ridge.correlation_and_share(other), atol=1e-9
        )


def test_products_that_are_nearly_singular_go_by_rows():
    fold = np.arange(40) % 4
    for noise, kind in ((1.0, ridge.FromProducts), (1e-6, ridge.FromRows)):
        x, ys = wide(40, 60, 6, noise)
        sources = ridge.Sources(x, ys, fold)
        assert type(sources(np.array([1, 2]))) is kind
    x, ys = wide(40, 60, 60, 0.0)
    rows = ridge.FromRows(x, ys, fold, np.array([1]))
    products = ridge.Sources(x, ys, fold)(np.array([1]))
    for penalty in PENALTIES:
        for target in range(2):
            found, expected = (one.fit(target, 1, penalty) for one in (products, rows))
            np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-7, atol=1e-9)


def test_as_many_regressions_at_once_as_fit(monkeypatch):
    x, ys = wide(40, 60, 60, 0.5)
    fold = np.arange(40) % 4
    many = [ridge.correlation_and_share(fit) for fit in ridge.fits(x, ys, fold)]
    monkeypatch.setattr(BUDGETS, "small_task", 1)
    few = [ridge.correlation_and_share(fit) for fit in ridge.fits(x, ys, fold)]
    np.testing.assert_allclose(many, few, rtol=1e-12)
