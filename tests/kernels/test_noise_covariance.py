"""Covariance of measurement noise, against plain loops and scikit-learn."""

import numpy as np
import pytest

from tests.oracles import crossnobis, noise_of_trials
from xconverge.kernels import noise_covariance as noises
from xconverge.kernels.crossnobis import distances, trials
from xconverge.kernels.rounding import of_columns


def data(repetitions=3, n=20, p=7, seed=0, missing=()):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((p, p))
    x = rng.standard_normal((repetitions, n, p)) @ mix + 3 * rng.standard_normal((n, p))
    for r, i in missing:
        x[r, i] = np.nan
    return x


MISSING = {"complete": (), "some missing": ((0, 2), (1, 2), (2, 7), (0, 9))}


def found_of(x):
    found = trials(x, x.shape[2])
    return noises.residuals(found.rows, found.seen, of_columns(x.dtype))


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_residuals_are_those_of_plain_loops(missing):
    x = data(missing=missing)
    found, (expected, freedom) = found_of(x), noise_of_trials(x)
    np.testing.assert_allclose(found.rows, expected, atol=1e-12)
    assert found.freedom == freedom
    np.testing.assert_allclose(noises.variances(found), (expected**2).sum(0) / freedom)


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_shrinkage_of_residuals_is_scikit_learns(missing):
    covariance = pytest.importorskip("sklearn.covariance")
    x = data(missing=missing)
    rows, freedom = noise_of_trials(x)
    expected, _ = covariance.ledoit_wolf(rows, assume_centered=True)
    np.testing.assert_allclose(noises.shrunk_eye(found_of(x)), expected * len(rows) / freedom)


def test_two_repetitions_count_once():
    """Of two trials the residuals are e and -e: one independent vector, √2 e."""
    covariance = pytest.importorskip("sklearn.covariance")
    x = data(2)
    found = noises.shrunk(noises.parts_of(found_of(x), np.ones(20, bool)))
    expected, _ = covariance.ledoit_wolf((x[0] - x[1]) / np.sqrt(2), assume_centered=True)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_ledoit_and_wolf_in_plain_loops(missing):
    x = data(4, missing=missing)
    rows, weights = [], []
    for own in x.swapaxes(0, 1):
        own = own[~np.isnan(own[:, 0])]
        c = len(own)
        if c > 1:
            rows += [np.sqrt(c / (c - 1)) * (trial - own.mean(0)) for trial in own]
            weights += [(c - 1) / c] * c
    count, p = sum(weights), x.shape[2]
    s = sum(w * np.outer(e, e) for w, e in zip(weights, rows, strict=True)) / count
    middle = np.trace(s) / p
    apart = np.square(s - middle * np.eye(p)).sum()
    within = sum(
        w * np.square(np.outer(e, e) - s).sum() for w, e in zip(weights, rows, strict=True)
    )
    share = min(within / count**2, apart) / apart
    expected = share * middle * np.eye(p) + (1 - share) * s
    found = noises.shrunk(noises.parts_of(found_of(x), np.ones(20, bool)))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_the_noise_of_a_pair_comes_from_outside_its_folds(missing):
    x = data(4, 15, 6, missing=missing)
    units = np.tile(np.arange(4), (15, 1))
    folds = np.random.default_rng(0).permutation(np.arange(15) % 5)
    found = distances(trials(x, 6), units, "crossnobis", "shrinkage", folds).rdm
    for i in range(15):
        for j in range(i):
            others = ~np.isin(folds, folds[[i, j]])
            sigma = noises.shrunk(
                noises.parts_of(found_of(x[:, others]), np.ones(others.sum(), bool))
            )
            both = x[:, [i, j]]
            expected = crossnobis(both, units[:2], np.linalg.inv(sigma))[0, 1]
            np.testing.assert_allclose(found[i, j], expected, rtol=1e-8)


def test_what_is_no_covariance_is_refused():
    with pytest.raises(noises.NoiseError, match="NaN or infinity"):
        noises.checked(np.full((2, 2), np.nan))
    with pytest.raises(noises.NoiseError, match=r"symmetric.*differ by up to 0\.5"):
        noises.checked(np.array([[1.0, 0.5], [0.0, 1.0]]))
    for wrong in (np.diag([1.0, -1.0]), np.ones((3, 3)), np.zeros((2, 2))):
        with pytest.raises(noises.NoiseError, match="positive definite, its eigenvalues"):
            noises.factor(wrong)
    np.testing.assert_allclose(noises.factor(np.diag([4.0, 1e-6])), np.diag([2.0, 1e-3]))


def test_noise_that_cannot_be_told_is_refused():
    x = data(3, 6, 4)
    x[:, :, 2] = 1.5
    with pytest.raises(noises.NoiseError, match="features 2 have no noise"):
        noises.variances(found_of(x))
    noises.factor(noises.shrunk_eye(found_of(x)))
    still = np.repeat(x[:1], 3, 0)
    with pytest.raises(noises.NoiseError, match="there is no noise"):
        noises.shrunk_eye(found_of(still))
    with pytest.raises(noises.NoiseError, match="there is no noise"):
        list(noises.shrunk_outside(found_of(still), np.arange(6) % 3, np.arange(3)))
    with pytest.raises(noises.NoiseError, match="1 degrees of freedom at least"):
        noises.variances(found_of(x[:1]))
    few = x.copy()
    few[1:, :4] = np.nan
    few[2] = np.nan
    with pytest.raises(noises.NoiseError, match="2 degrees of freedom at least.* has 1"):
        list(noises.shrunk_outside(found_of(few), np.arange(6) % 3, np.arange(3)))


def test_one_feature():
    x = data(3, 9, 1)
    expected = noises.variances(found_of(x))[0]
    np.testing.assert_allclose(noises.shrunk_eye(found_of(x)), [[expected]])
    np.testing.assert_allclose(noises.shrunk_diagonal(found_of(x)), [[expected]])
