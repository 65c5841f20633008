"""Mixed models of maps, against the formulas in plain code and against truth by construction."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy

from xconverge.kernels.mixed_model import (
    KEPT_SUMS,
    LENGTHS,
    Likeness,
    _best_step,
    effective_size,
    fit,
    lower_factor,
    moran,
    regress,
    regress_together,
    restricted_maximum,
    whiten,
)

RNG = np.random.default_rng


def places(n: int, dims: int, seed: int) -> np.ndarray:
    return RNG(seed).standard_normal((n, dims))


def squares(x: np.ndarray) -> np.ndarray:
    return ((x[:, None] - x) ** 2).sum(-1)


def likeness(n: int = 30, seed: int = 0) -> Likeness:
    return Likeness([squares(places(n, 3, seed))], [np.arange(n) % 4])


def drawn(covariance: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Maps (count, n) of a field of this covariance."""
    return rng.standard_normal((count, len(covariance))) @ np.linalg.cholesky(covariance).T


def kernels_of(like: Likeness, n: int) -> list[np.ndarray]:
    return [like.kernel(number, np.arange(n)) for number in range(len(like))]


def restricted_likelihood(y, design, kernels, variances) -> float:
    """Of the contrasts that the design does not reach (Patterson & Thompson 1971)."""
    q, _ = np.linalg.qr(design, mode="complete")
    contrasts = q[:, design.shape[1] :]
    v = sum(s * k for s, k in zip(variances, [*kernels, np.eye(len(y))], strict=True))
    return float(
        scipy.stats.multivariate_normal.logpdf(contrasts.T @ y, cov=contrasts.T @ v @ contrasts)
    )


def test_kernels_are_those_of_the_formula():
    x = places(12, 2, 1)
    like = Likeness([squares(x)], [np.array(list("aabbccddaabb"))])
    where = np.array([3, 0, 7, 11])
    apart = [np.linalg.norm(x[i] - x[j]) for i in range(12) for j in range(i)]
    for number, length in enumerate(LENGTHS):
        for a, i in enumerate(where):
            for b, j in enumerate(where):
                gap = np.linalg.norm(x[i] - x[j]) / (length * np.median(apart))
                assert like.kernel(number, where)[a, b] == pytest.approx(np.exp(-(gap**2) / 2))
    same = [["aabbccddaabb"[i] == "aabbccddaabb"[j] for j in where] for i in where]
    assert np.array_equal(like.kernel(3, where), np.array(same, float))
    variances = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    total = sum(v * k for v, k in zip(variances, kernels_of(like, 12), strict=False))
    np.testing.assert_allclose(
        like.covariance(variances, where), (total + 0.5 * np.eye(12))[np.ix_(where, where)]
    )


def test_covariances_that_are_kept_are_those_of_their_variances_and_stimuli():
    like, every = Likeness([squares(places(12, 2, 1))], []), np.arange(12)
    kernels = kernels_of(like, 12)
    many = RNG(0).random((KEPT_SUMS + 2, len(like) + 1))
    for _ in range(2):
        for variances in many:
            total = sum(v * k for v, k in zip(variances, kernels, strict=False))
            total = total + variances[-1] * np.eye(12)
            for where in (every, every[1:], every[::2], every[:3]):
                found = like.covariance(variances, where)
                np.testing.assert_allclose(found, total[np.ix_(where, where)])
    bare = Likeness([], [])
    for n in (3, 5, 3):
        assert np.array_equal(bare.covariance(np.array([2.0]), np.arange(n)), 2 * np.eye(n))


def test_what_lies_at_one_place_has_kernels():
    like = Likeness([np.zeros((4, 4))], [])
    assert np.array_equal(like.kernel(0, np.arange(4)), np.ones((4, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_variances_are_those_of_the_largest_likelihood(seed):
    n = 30
    like = likeness(n, seed)
    kernels = kernels_of(like, n)
    truth = np.array([0.0, 0.5, 1.0, 0.5, 0.3])
    y = drawn(like.covariance(truth, np.arange(n)), 1, RNG(seed))[0]
    design = np.column_stack([np.ones(n), places(n, 1, seed + 9)])
    found = restricted_maximum(y, design, kernels)
    assert (found >= 0).all()

    def cost(roots):
        return -restricted_likelihood(y, design, kernels, roots**2 + [0, 0, 0, 0, 1e-9])

    best = min(
        scipy.optimize.minimize(cost, start, method="Nelder-Mead", options={"maxiter": 3000}).fun
        for start in (np.ones(5), np.sqrt(found + 0.01))
    )
    assert -restricted_likelihood(y, design, kernels, found) <= best + 0.01


def test_variances_of_many_stimuli_are_near_the_truth():
    n = 300
    x = places(n, 2, 0)
    like = Likeness([squares(x)], [])
    truth = np.array([0.0, 1.0, 0.0, 0.5])
    where = np.arange(n)
    found = np.mean(
        [
            fit(y, np.ones((n, 1)), like, where)
            for y in drawn(like.covariance(truth, where), 6, RNG(1))
        ],
        axis=0,
    )
    assert found[3] == pytest.approx(0.5, rel=0.15)
    assert found[:3].sum() == pytest.approx(1.0, rel=0.4)


def test_a_map_of_noise_has_no_structure():
    n = 200
    found = fit(places(n, 1, 0)[:, 0], np.ones((n, 1)), likeness(n), np.arange(n))
    # the shortest kernel is nearly the identity, and is noise to the fit
    assert found[1:4].sum() < 0.15 < 0.7 < found[0] + found[4]


def test_a_constant_map_is_all_noise():
    assert fit(np.ones(5), np.ones((5, 1)), likeness(5), np.arange(5)).tolist() == [0, 0, 0, 0, 1]


def test_a_stimulus_that_is_there_twice_does_not_decide():
    """A map without noise that has one value twice fits as it does without the second."""
    n = 80
    x = places(n, 2, 0)
    y = drawn(np.exp(-squares(x) / 2) + 1e-9 * np.eye(n), 1, RNG(1))[0]
    codes = RNG(2).integers(0, 8, n)
    y += 0.5 * RNG(3).standard_normal(8)[codes]
    twice = np.append(np.arange(n), 0)
    fits = [
        fit(y[of], np.ones((len(of), 1)), Likeness([squares(x[of])], [kinds]), np.arange(len(of)))
        for of, kinds in ((np.arange(n), codes), (twice, np.append(codes, (codes[0] + 1) % 8)))
    ]
    assert fits[0][3] > 0.02
    assert fits[1][3] == pytest.approx(fits[0][3], rel=0.5)


def test_a_step_is_the_best_of_the_quadratic_model():
    """Also beside a variance whose information is a million times that of the others."""
    rng = RNG(0)
    root = rng.standard_normal((3, 3)) * np.array([1.0, 1.0, 1e6])
    information, gradient, above = (
        root.T @ root,
        np.array([3.0, -2.0, 5e5]),
        np.array([0.1, 0.2, 0]),
    )

    def cost(t):
        return 0.5 * (t - above) @ information @ (t - above) - gradient @ (t - above)

    found = _best_step(gradient, information, above)
    free = [np.array(s, bool) for s in np.ndindex(2, 2, 2)]
    best = np.inf
    for these in free:
        t = np.zeros(3)
        if these.any():
            right = gradient + information @ above
            t[these] = np.linalg.solve(information[np.ix_(these, these)], right[these])
        if (t >= 0).all():
            best = min(best, cost(t))
    assert (found >= 0).all()
    assert cost(found) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("kept", [40, 2000])
def test_more_stimuli_than_are_fitted_on(kept, monkeypatch):
    """Whether kernels of all are kept, or made where they are asked for."""
    monkeypatch.setattr("xconverge.kernels.mixed_model.FITTED_ON", 40)
    monkeypatch.setattr("xconverge.kernels.mixed_model.KEPT_UP_TO", kept)
    n = 60
    like, y, design = likeness(n), places(n, 1, 2)[:, 0], np.ones((n, 1))
    some = np.sort(RNG(7).permutation(n)[:40])
    found = fit(y, design, like, np.arange(n), seed=7)
    expected = fit(y[some], design[some], like, some)
    np.testing.assert_allclose(found, expected)


def test_regression_is_generalised_least_squares():
    n = 20
    like = likeness(n)
    v = like.covariance(np.array([0.2, 0.3, 0.3, 0.4, 0.5]), np.arange(n))
    design = np.column_stack([np.ones(n), places(n, 1, 1)])
    y, x = places(n, 1, 2)[:, 0], places(n, 1, 3)[:, 0]
    (white_y, white_x), freedom = whiten(np.linalg.cholesky(v), design, y[:, None], x[:, None])
    full, inverse = np.column_stack([design, x]), np.linalg.inv(v)
    information = full.T @ inverse @ full
    beta = np.linalg.solve(information, full.T @ inverse @ y)
    rest = y - full @ beta
    scale = rest @ inverse @ rest / (n - 3)
    t = beta[2] / np.sqrt(scale * np.linalg.inv(information)[2, 2])
    assert freedom == n - 3
    assert regress(white_y, white_x, freedom)[0] == pytest.approx(t)


def test_without_structure_it_is_least_squares():
    y, x = places(15, 1, 2), places(15, 1, 3)
    (white_y, white_x), freedom = whiten(np.eye(15), np.ones((15, 1)), y, x)
    p = 2 * scipy.stats.t.sf(abs(regress(white_y, white_x, freedom)[0]), freedom)
    assert p == pytest.approx(scipy.stats.linregress(x[:, 0], y[:, 0]).pvalue)


def test_covariates_that_repeat_each_other_count_once():
    y, x, c = (places(15, 1, seed) for seed in (2, 3, 4))
    plain, twice = (
        whiten(np.eye(15), np.column_stack(columns), y, x)
        for columns in ([np.ones(15), c], [np.ones(15), c, 2 * c])
    )
    assert plain[1] == twice[1] == 12
    np.testing.assert_allclose(plain[0], twice[0], atol=1e-12)


def test_together_one_predictor_is_the_regression_of_the_mean():
    y, x = places(30, 4, 0), places(30, 1, 1)
    y, x = y - y.mean(0), x - x.mean(0)
    of_mean = regress(y.mean(1, keepdims=True), x, 28)[0]
    assert regress_together(y, np.tile(x, 4), 28) == pytest.approx(of_mean)
    assert regress_together(y[:, :1], x, 28) == pytest.approx(regress(y[:, :1], x, 28)[0])


def test_together_by_loops():
    y, x = places(30, 3, 0), places(30, 3, 1)
    cross, variance = 0.0, 0.0
    rest = []
    for k in range(3):
        cross += x[:, k] @ y[:, k]
        rest.append(y[:, k] - x[:, k] * (x[:, k] @ y[:, k]) / (x[:, k] @ x[:, k]))
    for k in range(3):
        for j in range(3):
            variance += (x[:, k] @ x[:, j]) * (rest[k] @ rest[j]) / 28
    assert regress_together(y, x, 28) == pytest.approx(cross / np.sqrt(variance))


def test_effective_size():
    n = 24
    assert effective_size(np.eye(n), np.eye(n)) == pytest.approx(n)
    groups = np.equal.outer(np.arange(n) // 4, np.arange(n) // 4).astype(float)
    # six groups of four, constant inside: worth six
    assert effective_size(groups, groups) == pytest.approx(6)
    one, other = (likeness(n).kernel(number, np.arange(n)) for number in (3, 3))
    centring = np.eye(n) - 1 / n
    a, b = centring @ one, centring @ other
    assert effective_size(one, other) == pytest.approx(
        1 + np.trace(a) * np.trace(b) / np.trace(a @ b)
    )


def test_an_effective_size_is_never_above_the_stimuli():
    checkers = np.equal.outer(np.arange(8) % 2, np.arange(8) % 2) * 2.0 - 1
    assert effective_size(np.eye(8) + 0.9 * checkers, np.eye(8) - 0.1 * checkers) == 8
    assert effective_size(np.ones((8, 8)), np.eye(8)) == 8


def test_a_factor_of_what_no_space_holds():
    """A covariance with a negative eigenvalue takes the least nugget that helps."""
    v = likeness(6).covariance(np.array([0.2, 0.3, 0.3, 0.4, 0.5]), np.arange(6))
    factor, added = lower_factor(v)
    np.testing.assert_allclose(factor, np.linalg.cholesky(v))
    assert added == 0
    bent = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 1.0]])
    assert np.linalg.eigvalsh(bent)[0] < 0
    factor, added = lower_factor(bent)
    assert added > 0
    more = factor @ factor.T - bent
    np.testing.assert_allclose(more, more[0, 0] * np.eye(3), atol=1e-12)
    assert -np.linalg.eigvalsh(bent)[0] < more[0, 0] <= 10
    with pytest.raises(ValueError, match="not finite"):
        lower_factor(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="no space"):
        lower_factor(np.array([[1.0, 30.0], [30.0, 1.0]]))


def test_moran():
    values = RNG(0).standard_normal(10)
    neighbors = np.array([RNG(i).permutation(np.delete(np.arange(10), i))[:3] for i in range(10)])
    gap = values - values.mean()
    top = sum(gap[i] * gap[j] for i in range(10) for j in neighbors[i])
    assert moran(values, neighbors) == pytest.approx(10 / 30 * top / (gap @ gap))
    assert np.isnan(moran(np.ones(10), neighbors))


def clusters(n_clusters: int, size: int, seed: int) -> np.ndarray:
    rng = RNG(seed)
    return np.repeat(rng.standard_normal((n_clusters, 5)), size, 0) + 0.2 * rng.standard_normal(
        (n_clusters * size, 5)
    )


def rejections(runs: int, shared: float = 0.0) -> tuple[float, float]:
    """How often maps over 12 clusters of 5 are found related: by the model, and by labels."""
    n, design = 60, np.ones((60, 1))
    found = np.zeros((runs, 2))
    for run in range(runs):
        rng = RNG(run)
        like = Likeness([squares(clusters(12, 5, run))], [])
        v = like.covariance(np.array([0.0, 0.0, 1.0, 0.2]), np.arange(n))
        common, y, x = drawn(v, 3, rng)
        y, x = (np.sqrt(1 - shared) * own + np.sqrt(shared) * common for own in (y, x))
        t = []
        for target in (y, x):
            fitted = like.covariance(fit(target, design, like, np.arange(n)), np.arange(n))
            (white_y, white_x), freedom = whiten(
                np.linalg.cholesky(fitted), design, y[:, None], x[:, None]
            )
            t.append(abs(regress(white_y, white_x, freedom)[0]))
        found[run] = 2 * scipy.stats.t.sf(min(t), freedom), scipy.stats.pearsonr(y, x).pvalue
    return tuple((found <= 0.05).mean(0))


@pytest.mark.slow
def test_smooth_maps_are_not_related_by_being_smooth():
    mixed, labels = rejections(40)
    assert mixed <= 0.15 < 0.3 < labels
    assert rejections(10, shared=0.8)[0] >= 0.8


def test_what_a_likeness_keeps_changes_no_digit(monkeypatch):
    """Of the same stimuli, of some, of others: made once, or made anew each time."""
    n = 60
    x, rng = places(n, 3, 5), RNG(5)
    y, ones = rng.standard_normal(n), np.ones((n, 1))

    def likeness():
        return Likeness([squares(x)], [np.arange(n) % 4])

    kept = likeness()
    for where in (np.arange(n), np.arange(0, n, 2), np.arange(5, n), np.arange(n), np.arange(5, n)):
        alone = likeness()
        found, expected = (
            fit(y[where], ones[where], one, where) for one in (kept, alone)
        )  # fmt: skip
        assert np.array_equal(found, expected)
        for one, other in zip(kept.kernels(where), alone.kernels(where), strict=True):
            assert np.array_equal(one, other)
        each = sum(v * kept.kernel(i, where) for i, v in enumerate(found[:-1]))
        np.testing.assert_allclose(
            kept.covariance(found, where), each + found[-1] * np.eye(len(where)), rtol=1e-12
        )
    other = pickle.loads(pickle.dumps(kept))
    assert np.array_equal(other.kernel(1, np.arange(n)), kept.kernel(1, np.arange(n)))
    made = []
    for _ in range(2):
        kept.drawn((0, 0), lambda: made.append(1) or np.zeros(3))
    monkeypatch.setattr("xconverge.kernels.budgets.BUDGETS.kept_draws", 0)
    for _ in range(2):
        kept.drawn((0, 1), lambda: made.append(1) or np.zeros(3))
    assert len(made) == 3


@pytest.mark.parametrize("squares_of_one_place", [False, True])
def test_a_kernel_that_the_constant_explains_changes_nothing(squares_of_one_place):
    """All stimuli at one place, or of one category: nothing tells its variance."""
    n = 30
    y = np.random.default_rng(0).standard_normal(n)
    near = [squares(places(n, 3, 0))]
    more = [np.zeros((n, n))] if squares_of_one_place else []
    like = Likeness([*near, *more], [] if more else [np.zeros(n, int)])
    found = fit(y, np.ones((n, 1)) / np.sqrt(n), like, np.arange(n))
    alone = fit(y, np.ones((n, 1)) / np.sqrt(n), Likeness(near, []), np.arange(n))
    np.testing.assert_array_equal(found[len(LENGTHS) : -1], 0)
    np.testing.assert_allclose(np.delete(found, slice(len(LENGTHS), -1)), alone)
