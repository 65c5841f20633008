"""Permutations of whole blocks: which there are, how often each comes, and where sizes differ."""

import itertools
import math

import numpy as np
import pytest

from xconverge.kernels import block_permutations as kernels
from xconverge.kernels.permutations import permutations, run_of


def moved(blocks, strata=None, usable=None, parts=1, rank=None, seed=0):
    n = len(blocks)
    rank = np.arange(n) if rank is None else rank
    return np.concatenate(
        [
            permutations(rank, seed, part, strata, usable, blocks=blocks)
            for part in range(1, parts + 1)
        ]
    )


def together(orders, blocks):
    """Whether in every order the places of a block hold the members of one block, all of them."""
    for order in orders:
        for one in np.unique(blocks):
            came = blocks[order[blocks == one]]
            if len(set(came)) > 1 or (blocks == came[0]).sum() != len(came):
                return False
    return True


def arrangements(blocks):
    """All permutations that keep blocks whole, by looking at every permutation there is."""
    return {
        order
        for order in itertools.permutations(range(len(blocks)))
        if together([np.array(order)], np.array(blocks))
    }


@pytest.mark.parametrize("blocks", [[0, 1, 0, 2, 2, 1], [0, 1, 2, 3, 4], [0, 0, 1, 2, 3, 3]])
def test_equal_sizes_give_every_arrangement_equally_often(blocks):
    every = arrangements(blocks)
    found = moved(np.array(blocks), parts=40)
    orders, counts = np.unique(found, axis=0, return_counts=True)
    assert set(map(tuple, orders.tolist())) == every
    expected = len(found) / len(every)
    # chi-square: its mean is the number of arrangements less one
    freedom = len(every) - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * math.sqrt(2 * freedom)
    sizes = np.bincount(np.bincount(blocks))
    assert kernels.log_arrangements(np.array(blocks)) == pytest.approx(
        sum(math.lgamma(count + 1) for count in sizes[1:])
    )


def test_they_follow_labels_and_begin_with_the_identity():
    rng = np.random.default_rng(0)
    blocks = rng.permutation(np.repeat(np.arange(12), [1] * 5 + [2] * 4 + [3] * 3))
    rank = rng.permutation(len(blocks))
    order = np.argsort(rank)
    first = run_of(rank, 3, 300, blocks=blocks)
    assert len(first) == 301
    np.testing.assert_array_equal(first[0], np.arange(len(rank)))
    assert (np.sort(first, 1) == np.arange(len(rank))).all()
    renamed = rng.permutation(12)[blocks]
    straight = run_of(np.arange(len(rank)), 3, 300, blocks=renamed[order])
    np.testing.assert_array_equal(rank[first[:, order]], straight)


def test_strata_and_those_that_stay():
    blocks = np.repeat(np.arange(20), 2)
    strata = np.repeat([0, 1, 2, -1], [16, 16, 4, 4])
    found = moved(blocks, strata)
    assert together(found, blocks)
    assert (strata[found] == strata).all()
    assert (found[:, -4:] == np.arange(36, 40)).all()
    # strata move independently: one may lie still while another moves
    still = (found[:, 32:36] == np.arange(32, 36)).all(1)
    assert 0.03 < still.mean() < 0.3
    assert (found[still][:, :16] != np.arange(16)).any()


def test_pools_keep_blocks_whole_and_move_alike():
    blocks = np.repeat(np.arange(30), 2)
    whole = moved(blocks)
    usable = np.ones(60, bool)
    usable[[0, 1, 8, 9]] = False
    part = moved(blocks, usable=usable)
    assert (part[:, ~usable] == np.flatnonzero(~usable)).all()
    assert (np.sort(part, 1) == np.arange(60)).all()
    assert together(part, blocks)
    assert (part == whole).mean() > 0.8
    usable[[20, 31, 42]] = False
    part = moved(blocks, usable=usable)
    inside = np.flatnonzero(usable)
    place = np.cumsum(usable) - 1
    assert together(place[part[:, inside]], blocks[inside])


def test_a_pool_with_single_members_is_uniform():
    blocks = np.repeat(np.arange(4), 2)
    usable = np.arange(8) != 3
    found = moved(blocks, usable=usable, parts=40)[:, usable]
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == math.factorial(3) * 2**3
    expected = len(found) / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < 47 + 4 * math.sqrt(2 * 47)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * 6 + [2] * 3, [[1] * 6, [2] * 3]),  # pairs are never parted
        ([10] * 3 + [12] * 2 + [14] + [40], [[10, 10, 10, 12, 12, 14], [40]]),
        ([10] * 6 + [12] * 2 + [30] * 5, [[10] * 6 + [12] * 2, [30] * 5]),
        ([0, 0, 4, 6, 9], [[4, 6], [9]]),
        ([], []),
    ],
)
def test_rare_sizes_join_similar_ones(sizes, expected):
    sizes = np.array(sizes, int)
    found = [sizes[one].tolist() for one in kernels.size_classes(sizes)]
    assert found == expected


def test_where_sizes_differ_most_of_a_block_stays_together():
    sizes = [8, 9, 10, 11, 12]
    blocks = np.repeat(np.arange(5), sizes)
    found = moved(blocks, parts=4)
    assert (np.sort(found, 1) == np.arange(50)).all()
    for one, size in enumerate(sizes):
        came = blocks[found[:, blocks == one]]
        most = np.array([np.bincount(row).max() for row in came])
        assert (most >= np.minimum(size, 8)).all()
    # every member comes to every block, and left-over ones not always to the same place
    assert all(len(set(found[:, place])) == 50 for place in (0, 49))


def test_blocks_of_one_are_stimuli():
    blocks = np.arange(9)
    found = moved(blocks, parts=20)
    mean = np.array([(found == value).mean(0) for value in range(9)])
    np.testing.assert_allclose(mean, 1 / 9, atol=0.03)
