"""Products of a part or the whole in single precision, and orders that hang on rounding."""

import numpy as np
import pytest

from xconverge.kernels import exact_search, neighbors
from xconverge.kernels.budgets import BUDGETS


def near_ties(n, width, seed=0):
    """Rows in single precision of which many differ by about its rounding, and some not at all."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n // 6 + 1, width))
    rows = np.repeat(centres, 6, axis=0)[:n]
    rows = rows * (1 + 1e-6 * rng.standard_normal((n, width)))
    rows[::7] = rows[3]
    return rng.permuted(rows, axis=0).astype(np.float32)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("whole", [0, 2**27])
@pytest.mark.parametrize("many", [0, 8, 10**6])
@pytest.mark.parametrize(("n", "k"), [(12, 3), (150, 1), (300, 10)])
def test_lists_of_single_precision_are_those_of_double(
    n, k, many, whole, machine_code, monkeypatch
):
    monkeypatch.setattr(BUDGETS, "whole_product", whole)
    monkeypatch.setattr(BUDGETS, "cache_block", 2**12)
    monkeypatch.setattr(exact_search, "MANY", many)
    monkeypatch.setattr(exact_search, "LEAST_ROWS", 16)
    rng = np.random.default_rng(1)
    plain = rng.standard_normal((n, 24)).astype(np.float32)
    for rows in (plain, near_ties(n, 24)):
        rank = rng.permutation(n)
        order, cosines = neighbors.nearest(rows, 24, rank, k)
        unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
        same = neighbors.same_row(rows.dtype, 24)
        by_rank = np.argsort(rank)
        found, values = exact_search.search(
            unit[by_rank], np.arange(n), unit[by_rank], k, False, same
        )
        np.testing.assert_array_equal(order[by_rank], by_rank[found])
        np.testing.assert_allclose(cosines[by_rank], values, atol=2e-5)
        mean = neighbors.mean_cosines(rows, 24, rank)
        np.testing.assert_allclose(mean, unit @ unit.mean(0), atol=1e-12)


@pytest.mark.parametrize("columns", [2, 11, 64, 300, 1001])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_no_candidate_is_left_out_and_none_is_told_twice(columns, k):
    rng = np.random.default_rng(columns)
    similarity = rng.standard_normal((20, columns)).astype(np.float32)
    similarity[:, rng.integers(0, columns, columns // 3)] = 0.5
    if k > columns:
        return
    kth = np.sort(similarity, axis=1)[:, -k]
    rows, found = exact_search.candidates_of(similarity, k, 0.25)
    place = rows * columns + found
    assert (np.diff(place) > 0).all()
    needed = np.flatnonzero(similarity >= kth[:, None] - np.float32(0.25))
    assert np.isin(needed, place).all()
