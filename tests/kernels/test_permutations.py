"""Permutations of labels, against plain loops."""

import numpy as np
import pytest

from xconverge.kernels import permutations as kernels


def test_permutations_follow_labels_and_strata():
    rank = np.random.default_rng(0).permutation(30)
    strata = np.arange(30) % 3
    strata[4] = -1
    plain, inside = kernels.permutations(rank, 1, 0), kernels.permutations(rank, 1, 2, strata)
    np.testing.assert_array_equal(plain[0], np.arange(30))
    assert (np.sort(plain, 1) == np.arange(30)).all()
    assert (np.sort(inside, 1) == np.arange(30)).all()
    assert (strata[inside] == strata).all()
    assert (inside[:, 4] == 4).all()
    assert len(np.unique(inside, axis=0)) > 200
    order = np.argsort(rank)
    straight = kernels.permutations(np.arange(30), 1, 0)
    np.testing.assert_array_equal(rank[plain[:, order]], straight)


@pytest.mark.parametrize("missing", [[], [1, 4]])
def test_permutations_are_uniform(missing):
    usable = ~np.isin(np.arange(4 + len(missing)), missing)
    rank = np.arange(len(usable))
    moves = np.concatenate([kernels.permutations(rank, 0, i, usable=usable) for i in range(1, 41)])
    assert (moves[:, missing] == missing).all()
    moves = moves[:, usable]
    _, counts = np.unique(moves, axis=0, return_counts=True)
    assert len(counts) == 24
    expected = len(moves) / 24
    assert ((counts - expected) ** 2 / expected).sum() < 50


def test_pairs_that_miss_different_stimuli_are_permuted_alike():
    strata = np.arange(40) % 2
    whole = kernels.permutations(np.arange(40), 0, 1, strata)
    for usable in (np.arange(40) != 3, np.arange(40) % 10 != 7):
        part = kernels.permutations(np.arange(40), 0, 1, strata, usable)
        assert (strata[part] == strata).all()
        assert (part == whole).mean() > 0.75


def test_draws_of_stimuli():
    rank = np.random.default_rng(0).permutation(20)
    usable = np.arange(20) >= 5
    whole = kernels.resamples(rank, 0, 0)
    again = kernels.resamples(rank, 0, 0, usable=usable)
    part = kernels.resamples(rank, 0, 3, usable=usable, fraction=0.6)
    assert (again[0, 5:] == 1).all()
    assert (whole.sum(1) == 20).all()
    np.testing.assert_array_equal(again[:, 5:], whole[:, 5:])
    assert (part.sum(1) == 9).all()
    assert part.max() == 1
    assert again[1:].max() > 1
    assert not again[:, :5].any()
    assert not part[:, :5].any()
    np.testing.assert_allclose(part[:, 5:].mean(0), 0.6, atol=0.12)
