"""RSA of all pairs at once: plain loops, the laws of a measure, the Mantel test, ceilings."""

import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

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
from xconverge.kernels import rsa
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import METHODS
from xconverge.kernels.entries import Block, Sides, row_sums
from xconverge.kernels.kernel import Kernel
from xconverge.kernels.permutations import run_of, within
from xconverge.kernels.rdm import distances
from xconverge.kernels.rsa import Rsa, comparisons, mantel, noise_ceiling
from xconverge.kernels.vectors import METRICS

N = 14


def plain(u, v, method):
    """The similarity of two sets of distances, from its formula."""
    if method in ("spearman", "rho-a", "kendall"):
        u, v = rankdata(u), rankdata(v)
    if method == "cosine":
        return u @ v / np.sqrt((u @ u) * (v @ v))
    if method == "rho-a":
        size = len(u)
        return 12 * ((u - u.mean()) @ (v - v.mean())) / (size**3 - size)
    if method == "kendall":
        i, j = np.triu_indices(len(u), 1)
        return np.mean(np.sign(u[i] - u[j]) * np.sign(v[i] - v[j]))
    return np.corrcoef(u, v)[0, 1]


def rdms_of(models, metric="correlation"):
    return [distances(rows, rows.shape[1], METRICS[metric]) for rows in models]


def residual(values, design):
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("method", METHODS)
def test_every_pair_in_its_pool_by_plain_loops(method, missing):
    sides = [some_models(N, seed=seed, missing=missing) for seed in (1, 2)]
    kernel = Rsa("euclidean", method)
    found = scores_of(kernel, *(states_of(kernel, side) for side in sides))
    a, b = (rdms_of(side, "euclidean") for side in sides)
    for i, j in np.ndindex(found.shape):
        where = np.triu_indices(N, 1)
        u, v = a[i][where], b[j][where]
        both = ~np.isnan(u + v)
        assert found[i, j] == pytest.approx(plain(u[both], v[both], method), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_take_orders_and_counts(method):
    sides = [[np.round(x, 1) for x in some_models(N, (5, 3), seed)] for seed in (1, 2)]
    kernel = Rsa("sqeuclidean", method)
    check_take(kernel, *sides, np.array([3, 0, 7, 12, 5, 9]))
    a, b = (states_of(kernel, side) for side in sides)
    check_orders(kernel, a, b, some_orders(N, 4))
    check_counts(kernel, a, b, some_counts(N, 4))


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_a_stimulus_make_no_pair(method):
    a, b = some_models(8, (4, 3), 1)
    counts = np.array([2, 0, 1, 3, 1, 0, 1, 0])
    index = np.repeat(np.arange(8), counts)
    one, other = rdms_of([a, b])
    pairs = [(i, j) for p, i in enumerate(index) for j in index[p + 1 :] if i != j]
    u, v = (np.array([rdm[pair] for pair in pairs]) for rdm in (one, other))
    kernel = Rsa(method=method)
    states = [states_of(kernel, [side]) for side in (a, b)]
    found = kernel.scores_of_counts(*states, counts[None])
    assert found[0, 0, 0] == pytest.approx(plain(u, v, method), abs=1e-12)


def test_rdms_of_others_and_nan_for_single_pairs():
    a, b = (rdms_of(some_models(N, (5, 3), seed)) for seed in (1, 2))
    a[0][2, 5] = a[0][5, 2] = b[1][0, 1] = b[1][1, 0] = np.nan
    for rdm in (a[1], b[1]):
        rdm[7] = rdm[:, 7] = np.nan
    for method in METHODS:
        kernel = Rsa(method=method)
        sides = [[kernel.prepare_rdm(rdm) for rdm in side] for side in (a, b)]
        assert [list(np.flatnonzero(~state.seen)) for state in sides[0]] == [[], [7]]
        found = scores_of(kernel, *sides)
        for i, j in np.ndindex(2, 2):
            u, v = (rdm[np.triu_indices(N, 1)] for rdm in (a[i], b[j]))
            both = ~np.isnan(u + v)
            assert found[i, j] == pytest.approx(plain(u[both], v[both], method), abs=1e-12)
    with pytest.raises(ValueError, match="NaN for single pairs"):
        kernel.scores_of_orders(*sides, some_orders(N, 2), None)
    with pytest.raises(ValueError, match="must be symmetric"):
        kernel.prepare_rdm(np.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_nuisances_go_out_of_both_and_again_out_of_permuted_residuals(method, count):
    models = some_models(N, (5, 3), 1), some_models(N, (4, 6), 2)
    controls = rdms_of(some_models(N, (3, 4), 3))
    # the third repeats the first, and adds nothing
    given = np.stack([*controls, 2 * controls[0]][:count], -1)
    kernel = Rsa(method=method)
    a, b = ([kernel.prepare_rdm(rdm, given) for rdm in rdms_of(side)] for side in models)
    orders = some_orders(N, 4)
    found = kernel.scores_of_orders(a, b, orders, given)
    np.testing.assert_allclose(found[0], scores_of(kernel, a, b), atol=1e-12)
    where = np.triu_indices(N, 1)

    def vector(rdm):
        return rankdata(rdm[where]) if method == "spearman" else rdm[where]

    design = np.column_stack([np.ones(len(where[0])), *map(vector, controls[:count])])
    for i, j in np.ndindex(2, 2):
        u, v = (residual(vector(side.rdm), design) for side in (a[i], b[j]))
        whole = np.zeros((N, N))
        whole[where] = v
        whole += whole.T
        for draw, p in zip(found[:, i, j], orders, strict=True):
            moved = residual(whole[np.ix_(p, p)][where], design)
            assert draw == pytest.approx(np.corrcoef(u, moved)[0, 1], abs=1e-12)
    assert kernel.chance(a[0], b[0]) is None


def test_what_a_nuisance_misses_is_left_out():
    models = some_models(N, (5, 3), 1)
    control = rdms_of(some_models(N, (3,), 3))[0]
    control[4] = control[:, 4] = np.nan
    kernel, rest = Rsa(), np.delete(np.arange(N), 4)
    given = control[..., None]
    a, b = ([kernel.prepare_rdm(rdm, given)] for rdm in rdms_of(models))
    fewer = [
        [kernel.prepare_rdm(rdm[np.ix_(rest, rest)], given[np.ix_(rest, rest)])]
        for rdm in rdms_of(models)
    ]
    np.testing.assert_allclose(scores_of(kernel, a, b), scores_of(kernel, *fewer))


def test_what_a_nuisance_explains_wholly_is_nan():
    u, v = np.random.default_rng(0).random((2, 10))
    with pytest.warns(RuntimeWarning, match="NaN"):
        found = comparisons([u, v], [v], 2 * u[None] + 1, method=METHODS["pearson"])
    np.testing.assert_array_equal(np.isnan(found), [[True], [False]])


@pytest.mark.parametrize("method", METHODS)
def test_chance_is_the_mean_over_all_permutations(method):
    from itertools import permutations

    kernel = Rsa(method=method)
    a, b = ([state] for state in states_of(kernel, some_models(5, (4, 3), 1)))
    draws = kernel.scores_of_orders(a, b, np.array(list(permutations(range(5)))), None)
    chance = kernel.chance(a[0], b[0])
    assert (chance is None) == (method == "cosine")
    if chance is not None:
        assert draws.mean() == pytest.approx(chance, abs=1e-12)


def test_equal_distances_and_few_stimuli_are_nan_with_a_warning():
    kernel = Rsa("euclidean", "pearson")
    a, b = states_of(kernel, [np.eye(5), some_models(5, (4,))[0]])
    with pytest.warns(RuntimeWarning, match="got equal values"):
        assert np.isnan(scores_of(kernel, [a], [b])).all()
    few = [kernel.take(state, np.arange(2)) for state in (a, b)]
    with pytest.warns(RuntimeWarning, match="at least 3 stimuli"):
        assert np.isnan(scores_of(kernel, few[:1], few[1:])).all()


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_sums_over_blocks_are_the_score(method, missing, monkeypatch):
    monkeypatch.setattr(BUDGETS, "tile", 4 * 8 * 16 * 9)
    sides = [some_models(N, seed=seed, missing=missing) for seed in (1, 2)]
    kernel = Rsa("euclidean", method)
    assert kernel.has_sums
    assert not Rsa().has_sums
    models = [*sides[0], *sides[1]]
    seen = np.array([~np.isnan(rows[:, 0]) for rows in models])
    tile = Sides(slice(3), slice(3, 6))

    def block(part):
        rows = [kernel.entries.prepared(x[part], x.shape[1]) for x in models]
        return Block(rows, seen[:, part], part.start)

    columns = [slice(0, 3), slice(3, 4), slice(4, N)]
    common = tile.common(seen)
    terms = []
    for asking in (slice(0, 9), slice(9, N)):
        pieces = [row_sums(kernel.entries, tile, block(asking), block(part)) for part in columns]
        terms.append(kernel.of_rows(sum(pieces), common, tile.both(seen[:, asking])))
    found = kernel.of_terms(sum(terms), common)
    expected = scores_of(kernel, *(states_of(kernel, side) for side in sides))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_mantel_test_is_plain_permutation(method):
    a, b = (rdms_of(side)[0] for side in (some_models(9, (4,), 1), some_models(9, (4,), 2)))
    a[3] = a[:, 3] = np.nan
    found = mantel(a, b, np.arange(9), method, 49, seed=5)
    rest = np.delete(np.arange(9), 3)
    kernel = Rsa(method=method)
    one, other = (kernel.prepare_rdm(rdm[np.ix_(rest, rest)]) for rdm in (a, b))
    assert found[0] == pytest.approx(kernel.sums([one], [other], None)[0, 0])
    there = np.arange(9) != 3
    orders = within(run_of(np.arange(9), 5, 49, usable=there), there)
    draws = Kernel.scores_of_orders(kernel, [one], [other], orders, None)[:, 0, 0]
    np.testing.assert_allclose(found, draws, atol=1e-12)
    assert mantel(a, b, np.arange(9), method, 0, seed=5).shape == (1,)
    if method in ("spearman", "pearson"):
        assert np.isnan(mantel(a * 0, b, np.arange(9), method, 3, 5, tell=print)).all()
    b[0, 1] = b[1, 0] = np.nan
    with pytest.raises(ValueError, match="NaN for single pairs"):
        mantel(a, b, np.arange(9), method, 49, seed=5)


def test_tau_a_of_rdms_is_below_tau_b_where_distances_tie():
    models = [np.round(x) for x in some_models(7, (3, 3), 1)]
    kernel = Rsa("sqeuclidean", "kendall")
    a, b = states_of(kernel, models)
    found = kernel.sums([a], [b], None)[0, 0]
    assert abs(found) < abs(kendalltau(a.triangle, b.triangle).statistic)


@pytest.mark.parametrize("method", METHODS)
def test_no_rdm_is_nearer_to_the_subjects_than_the_upper_ceiling(method):
    rdms = np.array(rdms_of(some_models(10, (4, 4, 4, 4), 1), "euclidean"))
    lower, upper, *_ = noise_ceiling(rdms, METHODS[method])
    assert lower < upper
    kernel = Rsa(method=method)
    subjects = [kernel.prepare_rdm(rdm) for rdm in rdms]
    for seed in range(5):
        other = rdms.mean(0) + 0.05 * rdms_of(some_models(10, (4,), seed))[0]
        values = kernel.sums(subjects, [kernel.prepare_rdm(other)], None)
        # Kendall's best mean is not known: the mean of ranks is close to it
        assert values.mean() <= upper + (0.01 if method == "kendall" else 1e-12)


def with_nuisances(runs, count, n=14, width=20):
    """Share of unrelated RDMs whose p-value, given unrelated nuisances, is at most 0.05."""
    kernel = Rsa("euclidean", "pearson")
    rng, rejected = np.random.default_rng(count), 0
    for run in range(runs):
        x = rng.standard_normal((count + 2, n, width))
        u, v, *given = rdms_of(list(x), "euclidean")
        sides = [kernel.prepare_rdm(rdm, np.stack(given, -1)) for rdm in (u, v)]
        orders = run_of(np.arange(n), run, 199)
        draws = kernel.scores_of_orders([sides[0]], [sides[1]], orders, None)[:, 0, 0]
        rejected += np.mean(draws >= draws[0] - 1e-12) <= 0.05
    return rejected / runs


@pytest.mark.slow
def test_some_nuisances_hold_the_level():
    # 0.052 of 500; permuted residuals that are not fitted again reject 0.080
    assert with_nuisances(500, 10) < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", ["spearman", "rho-a"])
@pytest.mark.parametrize("digits", [0, 9])
def test_more_draws_than_are_ranked_at_once(method, digits, monkeypatch):
    sides = [[np.round(x, digits) for x in some_models(N, (5, 3), seed)] for seed in (1, 2)]
    kernel = Rsa("sqeuclidean", method)
    a, b = (states_of(kernel, side) for side in sides)
    counts = some_counts(N, 70)
    # of one stimulus, of two, and of three that are drawn alone
    counts[5], counts[40], counts[41] = 0, 0, 0
    counts[5, 2], counts[40, :2], counts[41, :3] = N, 7, 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        check_counts(kernel, a, b, np.delete(counts, [5, 40], 0))
    found = kernel.scores_of_counts(a, b, counts)
    assert np.isnan(found[5]).all()
    for name, value in (("PAIRS", 7), ("DRAWS", 3)):
        monkeypatch.setattr(rsa, name, value)
        np.testing.assert_allclose(kernel.scores_of_counts(a, b, counts), found, rtol=1e-12)


def test_rdms_of_equal_distances_have_no_score_in_any_draw():
    kernel = Rsa()
    flat = [kernel.prepare_rdm(1.0 - np.eye(N))]
    a = states_of(kernel, some_models(N, (5,), 1))
    assert np.isnan(kernel.scores_of_counts(a, flat, some_counts(N, 4))).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
@pytest.mark.parametrize("stretch", [1, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 9, 10, 14, 15])
def test_running_sums_are_those_of_numpy(length, stretch, dtype, monkeypatch):
    monkeypatch.setattr(rsa, "STRETCH", stretch)
    rows = np.random.default_rng(0).integers(-9, 9, (length, 4)).astype(dtype)
    found = rsa.running_sums(rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.cumsum(rows, 0))
