"""Distances over independent trials: plain loops, bias, missing trials, rounding and range."""

import numpy as np
import pytest

from tests.oracles import crossnobis, products_of_trials
from xconverge.kernels.crossnobis import by_unit, crossed, distances, trials
from xconverge.kernels.vectors import RowError


def data(repetitions=4, n=9, p=6, seed=0, missing=(), offset=0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((repetitions, n, p)) + rng.standard_normal((n, p)) + offset
    for r, i in missing:
        x[r, i] = np.nan
    return x


def each(x):
    """Every repetition is a unit."""
    return np.tile(np.arange(x.shape[0]), (x.shape[1], 1))


def covariance(p, seed=1):
    a = np.random.default_rng(seed).standard_normal((p, p))
    return a @ a.T + np.eye(p)


MISSING = {"complete": (), "some missing": ((0, 2), (3, 5), (1, 5), (2, 7))}


@pytest.mark.parametrize("noise", [None, "given"])
@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_crossnobis_is_that_of_plain_loops(missing, noise):
    x = data(missing=missing, offset=3.0)
    sigma = None if noise is None else covariance(6)
    found = distances(trials(x, 6), each(x), "crossnobis", sigma)
    expected = crossnobis(x, each(x), None if sigma is None else np.linalg.inv(sigma))
    np.testing.assert_allclose(found.rdm, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.rdm, found.rdm.T)
    assert not np.diagonal(found.rdm).any()
    assert not len(found.lone)


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_trials_of_one_unit_are_never_multiplied(missing):
    x = data(6, 8, 5, missing=missing)
    rng = np.random.default_rng(3)
    units = rng.integers(0, 3, (8, 6))
    units[:, :2] = [0, 1]
    found = distances(trials(x, 5), units, "sqeuclidean")
    np.testing.assert_allclose(found.rdm, 5 * crossnobis(x, units), rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_many_units_of_few_stimuli_each():
    x = data(3, 40, 5)
    units = np.random.default_rng(0).permuted(np.tile(np.arange(12), (40, 1)), axis=1)[:, :3]
    found = distances(trials(x, 5), units, "crossnobis")
    np.testing.assert_allclose(found.rdm, crossnobis(x, units), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_directions_are_of_unbiased_products(missing, metric):
    x = data(5, 9, 30, missing=missing)
    x[:, 4] = x[0, 4] * np.array([1, -1, 1, -1, 1])[:, None]  # nothing that repeats
    rows = x - x.mean(2, keepdims=True) if metric == "correlation" else x
    g = products_of_trials(rows, each(x))
    own = np.diagonal(g)
    found = distances(trials(x, 30), each(x), metric)
    assert found.undirected.tolist() == np.flatnonzero(own <= 0).tolist() == [4]
    with np.errstate(invalid="ignore"):
        expected = 1 - g / np.sqrt(np.multiply.outer(own, own))
    np.fill_diagonal(expected, np.where(own > 0, 0.0, np.nan))
    np.testing.assert_allclose(found.rdm, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.rdm, found.rdm.T)


def test_rows_that_are_constant_have_no_direction():
    x = data(3, 5, 8)
    x[:, 2] = np.array([0.1, 0.7, 0.3])[:, None]
    x[:, 3] = 0.0
    found = distances(trials(x, 8), each(x), "correlation")
    assert {2, 3} <= set(found.undirected)


def test_too_few_units_are_nan_and_told():
    x = data(3, 6, 4, missing=[(0, 1), (1, 1), (0, 3), (1, 3), (2, 3)])
    found = distances(trials(x, 4), each(x), "crossnobis")
    assert found.lone.tolist() == [1]
    gone = np.isin(np.arange(6), [1, 3])
    assert np.isnan(found.rdm[gone]).all()
    assert np.isnan(found.rdm[:, gone]).all()
    assert np.isfinite(found.rdm[np.ix_(~gone, ~gone)]).all()
    nothing = distances(trials(x[:1], 4), each(x[:1]), "crossnobis")
    assert np.isnan(nothing.rdm).all()
    assert nothing.lone.tolist() == np.flatnonzero(~np.isnan(x[0, :, 0])).tolist()


def test_partly_missing_trials_are_refused_by_stimulus():
    x = data(3, 6, 4)
    x[1, 2, 0] = np.nan
    x[2, 4, 3] = np.inf
    with pytest.raises(RowError) as error:
        trials(x, 4)
    assert error.value.where.tolist() == [[2], [4]]
    x[:, :, 3] = np.nan
    x[1, 2, 0] = 0.0
    assert trials(x, 3).seen.all()


def test_inputs_are_left_alone():
    x = data(3, 6, 4, missing=[(0, 1)])
    x.flags.writeable = False
    before = x.copy()
    for metric in ("crossnobis", "sqeuclidean", "cosine", "correlation"):
        distances(trials(x, 4), each(x), metric)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_single_precision_in_and_out(missing):
    x = data(4, 30, 50, missing=missing, offset=100.0)
    found = distances(trials(x.astype(np.float32), 50), each(x), "crossnobis").rdm
    assert found.dtype == np.float32
    exact = distances(trials(x.astype(np.float32).astype(np.float64), 50), each(x), "crossnobis")
    np.testing.assert_allclose(found, exact.rdm, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_stimuli_are_at_no_distance(dtype):
    x = data(4, 12, 40, offset=5.0).astype(dtype)
    x[:, 6:] = x[:, :6]
    found = distances(trials(x, 40), each(x), "crossnobis").rdm
    assert (found[np.arange(6), np.arange(6, 12)] == 0).all()
    assert (np.abs(found) > 0).sum() == 144 - 24


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_any_scale(scale):
    x = data()
    one = distances(trials(x, 6), each(x), "crossnobis", "diagonal").rdm
    np.testing.assert_allclose(
        distances(trials(scale * x, 6), each(x), "crossnobis", "diagonal").rdm, one, rtol=1e-9
    )
    for metric in ("crossnobis", "cosine"):
        one = distances(trials(x, 6), each(x), metric).rdm
        factor = scale**2 if metric == "crossnobis" else 1.0
        found = distances(trials(scale * x, 6), each(x), metric).rdm
        np.testing.assert_allclose(found / factor, one, rtol=1e-9, equal_nan=True)
    with pytest.raises(ValueError, match="beyond float64"):
        distances(trials(1e160 * x, 6), each(x), "crossnobis")


@pytest.mark.parametrize("complete", [True, False])
def test_products_are_of_different_units(complete):
    x = data(3, 7, 4, missing=() if complete else [(0, 3)])
    found = trials(x, 4)
    units = by_unit(found, each(x))
    rows = np.nan_to_num(x)
    expected = sum(rows[u] @ rows[v].T for u in range(3) for v in range(3) if u != v)
    np.testing.assert_allclose(crossed(units), expected, rtol=1e-12, atol=1e-12)


def test_the_order_of_repetitions_and_stimuli_changes_nothing():
    x = data(4, 10, 6, missing=[(1, 4)])
    rng = np.random.default_rng(0)
    some, order = rng.permutation(4), rng.permutation(10)
    folds = np.arange(10) % 5
    for noise in (None, "diagonal", "shrinkage", "shrinkage_eye", "shrinkage_diag"):
        one = distances(trials(x, 6), each(x), "crossnobis", noise, folds).rdm
        other = distances(
            trials(x[np.ix_(some, order)], 6), each(x), "crossnobis", noise, folds[order]
        ).rdm
        np.testing.assert_allclose(other, one[np.ix_(order, order)], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_noise_does_not_lift_distances():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((8, 20))
    expected = np.square(truth[:, None] - truth).mean(-1)
    found = []
    for _ in range(200):
        x = truth + 2 * rng.standard_normal((3, 8, 20))
        x[rng.integers(3), rng.integers(8)] = np.nan
        found.append(distances(trials(x, 20), each(x), "crossnobis").rdm)
    off = ~np.eye(8, dtype=bool)
    away = (np.mean(found, 0) - expected)[off] / (np.std(found, 0)[off] / np.sqrt(200))
    assert np.abs(away).max() < 4
