"""The jackknife of an RSA, against plain loops."""

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from xconverge.kernels import model_comparison as kernels
from xconverge.kernels.correlation import METHODS

UPPER = np.triu_indices


def plain_similarity(u, v, method):
    if method == "spearman":
        return scipy.stats.spearmanr(u, v).statistic
    if method == "pearson":
        return np.corrcoef(u, v)[0, 1]
    if method == "cosine":
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    ranks = [scipy.stats.rankdata(x) - (len(x) + 1) / 2 for x in (u, v)]
    return 12 * (ranks[0] @ ranks[1]) / (len(u) ** 3 - len(u))


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
    assert value == pytest.approx(plain_similarity(*values, method))
    ranked = [scipy.stats.rankdata(v) if how.ranked else v for v in values]
    i, j = UPPER(9, 1)
    ties = np.prod([np.std(r) for r in ranked]) * 12 / (36**2 - 1) if method == "rho-a" else 1
    for left in range(9):
        kept = (i != left) & (j != left)
        scale = "cosine" if method == "cosine" else "pearson"
        expected = ties * plain_similarity(*(r[kept] for r in ranked), scale)
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
