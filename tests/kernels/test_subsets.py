"""Subsets of stimuli: how they are drawn, and how many each cell gets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xconverge.kernels import subsets
from xconverge.kernels.ranks import quantile_bins


def test_random_subsets_do_not_overlap_and_are_uniform():
    usable = np.ones(20, bool)
    usable[3] = False
    first, second = subsets.disjoint_pairs(usable, np.arange(20), 5, 2000, 0)
    assert (first.sum(1) == 5).all()
    assert (second.sum(1) == 5).all()
    assert not (first & second).any()
    assert not first[:, 3].any()
    np.testing.assert_allclose(first[:, usable].mean(0), 5 / 19, atol=0.05)


def test_matched_subsets_have_the_cells_of_the_subset():
    rng = np.random.default_rng(0)
    cells = subsets.crossed(
        np.stack([quantile_bins(rng.standard_normal(60), 3)[0], rng.integers(2, size=60)])
    )
    assert len(np.unique(cells)) == 6
    members = rng.permutation(60)[:15]
    drawn, fixed = subsets.matched(members, cells, np.arange(60), 200, 1)
    assert fixed == 0
    for one in drawn:
        np.testing.assert_array_equal(
            np.bincount(cells[one], minlength=6), np.bincount(cells[members], minlength=6)
        )
    assert len(np.unique(drawn, axis=0)) > 150


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 60))
def test_shares_of_a_pool(pool, n):
    pool = np.array(pool)
    n = min(n, int(pool.sum()))
    counts = subsets.apportioned(pool, n)
    assert counts.sum() == n
    assert (counts >= 0).all()
    assert (counts <= pool).all()
    assert (np.abs(counts - n * pool / max(pool.sum(), 1)) < 1).all()
