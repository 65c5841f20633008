"""Distances between all stimuli of one model."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from xconverge.kernels.rdm import distances, square, triangle
from xconverge.kernels.vectors import METRICS


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_distances_are_scipys(metric, dtype):
    x = (3 * np.random.default_rng(0).standard_normal((12, 6)) + 1).astype(dtype)
    found = distances(x, 5, METRICS[metric])
    expected = squareform(pdist(x[:, :5].astype(np.float64), metric))
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-10)
    np.testing.assert_array_equal(found, found.T)
    assert found.dtype == (np.float32 if dtype == np.float32 else np.float64)


def cityblock(u, v):
    return np.abs(u - v).sum()


@pytest.mark.parametrize("metric", [METRICS["cosine"], METRICS["euclidean"], cityblock])
def test_missing_stimuli_are_rows_and_columns_of_nan(metric):
    x = np.random.default_rng(0).standard_normal((9, 4))
    x[[2, 5]] = np.nan
    seen = ~np.isnan(x[:, 0])
    found = distances(x, 4, metric)
    assert np.isnan(found[~seen]).all()
    assert np.isnan(found[:, ~seen]).all()
    np.testing.assert_allclose(found[np.ix_(seen, seen)], distances(x[seen], 4, metric))


def test_near_rows_keep_their_distance():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 20)) + 100
    x[15:] = x[:15] + 1e-7 * rng.standard_normal((15, 20))
    found = distances(x, 20, METRICS["euclidean"])
    np.testing.assert_allclose(found, squareform(pdist(x)), rtol=1e-7)


def test_a_triangle_and_its_square():
    rdm = distances(np.random.default_rng(0).standard_normal((6, 4)), 4, METRICS["cosine"])
    values = triangle(rdm, ranked=False)
    np.testing.assert_array_equal(values, squareform(rdm, checks=False))
    np.testing.assert_array_equal(square(values, 6), rdm)
    np.testing.assert_array_equal(triangle(rdm, ranked=True), rankdata(values))
    rdm[0, 1] += 0.1
    with pytest.raises(ValueError, match="must be symmetric"):
        triangle(rdm, ranked=False)
