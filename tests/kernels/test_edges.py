"""Neighbour graphs under permutation."""

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.edges import Lookup, graph


def test_edges_are_found_in_a_hashed_table(monkeypatch):
    rng = np.random.default_rng(0)
    n, k = 300, 3
    lists = np.array([[rng.permutation(n)[:k] for _ in range(n)] for _ in range(2)])
    monkeypatch.setattr(BUDGETS, "least_table", 16)
    one = graph(lists)
    lookup = Lookup(one, n)
    assert len(lookup.table) < n**2
    (found,) = lookup.find(one.source, one.target, np.arange(n)[None])
    np.testing.assert_array_equal(found[0], np.arange(len(one.source)))
    np.testing.assert_array_equal(found[1], found[0])
