"""Neighbours that most models agree on, counted by plain loops."""

import numpy as np

from xconverge.kernels.neighbors import most_shared


def counted(lists, size):
    n = lists.shape[1]
    place, share = np.full((n, size), -1), np.full((n, size), np.nan)
    for i in range(n):
        seen = [one[i] for one in lists if (one[i] >= 0).any()]
        found = {j: sum(j in one for one in seen) for j in range(n)}
        best = sorted((j for j in found if found[j]), key=lambda j: (-found[j], j))[:size]
        for rank, j in enumerate(best):
            place[i, rank], share[i, rank] = j, found[j] / len(seen)
    return place, share


def test_counts_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    lists = np.array(
        [[rng.choice(np.delete(np.arange(9), i), 4, replace=False) for i in range(9)]
         for _ in range(5)]
    )  # fmt: skip
    lists[1, 3] = lists[:, 6] = -1
    lists[2, 0, 2:] = -1
    for size in (1, 3, 8):
        for found, expected in zip(most_shared(lists, size), counted(lists, size), strict=True):
            np.testing.assert_array_equal(found, expected)
