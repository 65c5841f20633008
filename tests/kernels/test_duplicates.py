"""Near-duplicates from lists and rows, against plain loops."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from xconverge.kernels import duplicates as kernels
from xconverge.kernels.neighbors import nearest


def lists_of(x, k=10):
    positions, cosines = nearest(x, x.shape[1], np.arange(len(x)), k)
    return positions, cosines


@pytest.mark.parametrize("features", [3, 6, 12, 40])
def test_a_cloud_has_no_pair_within_reach(features):
    found = 0
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((150, features))
        lists, cosines = lists_of(x)
        most = kernels.reach(cosines, 0.2)
        assert 0 < most <= 0.2 * np.median(1 - cosines[:, -1])
        found += len(kernels.candidates(lists, cosines, most))
    # by chance 0.05 pairs a cloud
    assert found <= 4


def test_duplicates_do_not_hide_themselves():
    x = np.random.default_rng(0).standard_normal((60, 12))
    twice = np.repeat(x, 2, axis=0) + 0.05 * np.random.default_rng(1).standard_normal((120, 12))
    lists, cosines = lists_of(twice)
    found = kernels.candidates(lists, cosines, kernels.reach(cosines, 0.2))
    np.testing.assert_array_equal(found, np.arange(120).reshape(60, 2))


def test_pairs_are_measured_in_every_model():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 5))
    x[1], x[3] = 3 * x[0], x[2] + 0.1
    x[4] = np.nan
    pairs = np.array([(i, j) for i in range(8) for j in range(i)])
    distance = cdist(x[:, :4], x[:, :4], "cosine")
    for most in (0.0, 0.05, 0.7):
        found = kernels.near(x, 4, pairs, most)
        for (i, j), value in zip(pairs, found, strict=True):
            if 4 in (i, j):
                assert np.isnan(value)
            else:
                assert value == (distance[i, j] <= max(most, 1e-12))


def test_groups_are_what_pairs_link():
    pairs = np.array([(0, 1), (1, 2), (3, 4), (5, 6)])
    share = np.array([1.0, 0.5, 0.4, np.nan])
    rank = np.array([6, 5, 4, 3, 2, 1, 0])
    found = kernels.groups(7, pairs, share, 0.5, rank)
    assert found.tolist() == [2, 2, 2, 3, 4, 5, 6]
    assert kernels.groups(3, pairs[:0], share[:0], 0.5, np.arange(3)).tolist() == [0, 1, 2]


def test_lists_that_are_not_full_tell_nothing():
    assert np.isnan(kernels.reach(np.full((4, 3), np.nan), 0.2))
    assert kernels.reach(np.ones((4, 3)), 0.2) == pytest.approx(0, abs=1e-11)
