"""The jackknife of an RSA, against plain loops."""

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from tests import oracles
from xconverge.kernels import model_comparison as kernels
from xconverge.kernels.correlation import METHODS

UPPER = np.triu_indices


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho-a"])
def test_the_jackknife_is_that_of_plain_loops(method):
    rng = np.random.default_rng(0)
    x, y = (
        np.round(scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(z)), 1)
        for z in rng.standard_normal((2, 9, 3))
    )
    how = METHODS[method]
    square = [kernels.square(kernels.vector(side, how), 9) for side in (x, y)]
    value, without = kernels.jackknifed(*square, how)
    values = [side[UPPER(9, 1)] for side in (x, y)]
    assert value == pytest.approx(oracles.similarity(*values, method))
    ranked = [scipy.stats.rankdata(v) if how.ranked else v for v in values]
    i, j = UPPER(9, 1)
    ties = np.prod([np.std(r) for r in ranked]) * 12 / (36**2 - 1) if method == "rho-a" else 1
    for left in range(9):
        kept = (i != left) & (j != left)
        scale = "cosine" if method == "cosine" else "pearson"
        expected = ties * oracles.similarity(*(r[kept] for r in ranked), scale)
        assert without[left] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_without_the_one_stimulus_that_differs_there_is_no_similarity(method):
    x = 1.0 - np.eye(9)
    x[2] = x[:, 2] = 2.0
    y = scipy.spatial.distance.cdist(*[np.random.default_rng(1).standard_normal((9, 3))] * 2)
    how = METHODS[method]
    _, without = kernels.jackknifed(
        *(kernels.square(kernels.vector(s, how), 9) for s in (x, y)), how
    )
    assert np.array_equal(np.isnan(without), np.arange(9) == 2)


def test_differences_against_the_largest_of_all_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    rank = rng.permutation(30)
    score, influence = rng.random(3), 0.05 * rng.standard_normal((32, 3))
    members = np.array([30, 30, 30])
    weights = kernels.multipliers(rank, 2, 5, 400)
    np.testing.assert_array_equal(
        weights[:, np.argsort(rank)], kernels.multipliers(np.arange(30), 2, 5, 400)[:, :30]
    )
    difference, p, reached, most = kernels.comparisons(score, influence, members, 30, weights)
    np.testing.assert_allclose(difference, score[:, None] - score)
    drawn = []
    for d in range(400):
        values = []
        for i, j in ((0, 1), (0, 2), (1, 2)):
            gap = influence[:, i] - influence[:, j]
            values.append(abs(weights[d] @ gap) / np.sqrt((gap**2).sum()))
        drawn.append(max(values))
    np.testing.assert_allclose(most, drawn)
    found = kernels.beyond(most, reached)
    for i, j in ((0, 1), (1, 0), (2, 1)):
        normal = scipy.stats.norm.isf(p[i, j] / 2)
        assert reached[i, j] == pytest.approx(normal)
        expected = (1 + sum(value >= normal - 1e-9 for value in drawn)) / 401
        assert found[i, j] == pytest.approx(expected)
    assert (np.diagonal(found) == 1).all()
    # nothing to compare
    alone = kernels.comparisons(score[:1], influence[:, :1], members[:1], 30, weights)
    assert (alone[3] == -np.inf).all()
    assert kernels.beyond(alone[3], alone[2]).tolist() == [[1.0]]


def test_p_values_of_splits_are_twice_their_median():
    p = np.array([[0.1, 0.3, 0.2], [0.9, 0.8, 0.7]])
    assert kernels.of_splits(p) == pytest.approx([0.4, 1.0])
    assert kernels.of_splits(p[:, :1]) == pytest.approx([0.1, 0.9])
