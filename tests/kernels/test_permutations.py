"""Permutations of labels, and the corrections of p-values, against plain loops."""

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


def test_corrections_for_many_pairs():
    p = np.array([[0.01, 0.04], [0.03, np.nan], [0.2, 0.002]])
    flat = np.sort(p[~np.isnan(p)])
    m = len(flat)
    harmonic = sum(1 / i for i in range(1, m + 1))
    for dependent, factor in ((False, 1.0), (True, harmonic)):
        found = kernels.false_discovery(p, dependent)
        assert np.isnan(found[1, 1])
        for value, adjusted in zip(p.ravel(), found.ravel(), strict=True):
            if not np.isnan(value):
                candidates = [flat[j] * m * factor / (j + 1) for j in range(m) if flat[j] >= value]
                assert adjusted == pytest.approx(min(1, min(candidates)))
    draws = np.random.default_rng(0).standard_normal((100, 2, 3))
    draws[0, 0, 0] = 6
    draws[:, 1, 2] = np.nan
    scaled = (draws - draws.mean(0)) / draws.std(0)
    found = kernels.max_adjusted(draws)
    assert np.isnan(found[1, 2])
    for i, j in np.ndindex(2, 3):
        if not np.isnan(draws[0, i, j]):
            beyond = sum(np.nanmax(one) >= scaled[0, i, j] - 1e-9 for one in scaled[1:])
            assert found[i, j] == (1 + beyond) / 100
    assert found[0, 0] == 0.01


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
