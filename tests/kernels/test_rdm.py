"""Distances between all stimuli of one model."""

import numpy as np
import pytest
from scipy.spatial.distance import cityblock, pdist, squareform
from scipy.stats import rankdata

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rdm import RdmError, check_symmetric, distances, square, triangle, uppers
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


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_triangles_of_several_are_those_of_each(ranked, dtype, monkeypatch):
    x = np.random.default_rng(0).standard_normal((2, 5, 12, 6)).astype(dtype)
    rdms = np.array([[distances(rows, 6, METRICS["euclidean"]) for rows in side] for side in x])
    rdms[0, 1, 3] = rdms[0, 1, :, 3] = np.nan
    expected = [[triangle(rdm, ranked) for rdm in side] for side in rdms]
    for block in (2**22, 8 * 12 * 12):
        monkeypatch.setattr(BUDGETS, "cache_block", block)
        np.testing.assert_array_equal(uppers(rdms, ranked), expected)
    assert uppers(rdms[:0], ranked).shape == (0, 5, 66)


@pytest.mark.parametrize("where", [(0, 1), (10, 290), (290, 10), (299, 298), (257, 3)])
def test_one_entry_that_differs_from_its_mirror_is_found(where):
    rdm = squareform(pdist(np.random.default_rng(0).standard_normal((300, 4))))
    check_symmetric(rdm)
    check_symmetric(rdm[:20], rdm.T[:20])
    rdm[where] += 1
    with pytest.raises(RdmError, match="must be symmetric"):
        check_symmetric(rdm)
    with pytest.raises(RdmError, match="must be symmetric"):
        check_symmetric(rdm, rdm.T)
