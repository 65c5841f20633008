"""Correlation of a stimulus's rows in two RDMs."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from tests.kernels.laws import (
    check_counts,
    check_orders,
    check_take,
    scores_of,
    some_counts,
    some_models,
    some_orders,
    states_of,
)
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.entries import Block, Sides, row_sums
from xconverge.kernels.kernel import Kernel, modeled, score
from xconverge.kernels.rdm import distances
from xconverge.kernels.rdm_rows import RdmRows
from xconverge.kernels.vectors import METRICS

N = 14


def plain(x, y, metric):
    """Correlation (n) of the rows, over what both saw."""
    a, b = (distances(rows, rows.shape[1], METRICS[metric]) for rows in (x, y))
    np.fill_diagonal(a, np.nan)
    both = ~np.isnan(a + b)
    return [
        np.corrcoef(a[i, both[i]], b[i, both[i]])[0, 1] if both[i].any() else np.nan
        for i in range(len(x))
    ]


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("metric", METRICS)
def test_every_pair_in_its_pool_by_plain_loops(metric, missing, monkeypatch):
    monkeypatch.setattr(BUDGETS, "product_block", 8 * N * 6 * 5)
    sides = [some_models(N, seed=seed, missing=missing) for seed in (1, 2)]
    kernel = RdmRows(metric)
    a, b = (states_of(kernel, side) for side in sides)
    expected = np.array([[plain(x, y, metric) for y in sides[1]] for x in sides[0]])
    np.testing.assert_allclose(scores_of(kernel, a, b), expected, rtol=1e-10, atol=1e-12)
    masks = (np.stack([state.seen for state in side]) for side in (a, b))
    found = kernel.scores_of_pools(a, b, *masks)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_take_orders_and_counts(metric):
    sides = [some_models(N, (5, 3), seed) for seed in (1, 2)]
    kernel = RdmRows(metric)
    check_take(kernel, *sides, np.array([3, 0, 7, 12, 5, 9]))
    a, b = (states_of(kernel, side) for side in sides)
    check_orders(kernel, a, b, some_orders(N))
    check_counts(kernel, a, b, some_counts(N))


@pytest.mark.filterwarnings("ignore:.*have fewer than 3 distances")
def test_rows_that_do_not_differ_drop_out_of_means():
    # stimulus 0 is as far from all others, which are points of a circle
    angle = np.linspace(0, 5, 8)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.vstack([[0.0, 0.0], circle])
    kernel = RdmRows("euclidean")
    a, b = (states_of(kernel, side) for side in ([x], some_models(9, (4, 3))))
    found = scores_of(kernel, a, b)
    assert np.isnan(found[:, :, 0]).all()
    assert not np.isnan(found[:, :, 1:]).any()
    check_orders(kernel, a, b, some_orders(9))
    check_orders(kernel, a, a, some_orders(9))
    check_counts(kernel, a, b, some_counts(9))


def test_copies_of_a_stimulus_are_not_compared():
    x, y = some_models(8, (4, 3), 1)
    counts = np.array([2, 0, 1, 3, 1, 0, 1, 1])
    index = np.repeat(np.arange(8), counts)
    rdms = [distances(rows, rows.shape[1], METRICS["correlation"]) for rows in (x, y)]
    values = []
    for i in index:
        others = index[index != i]
        values.append(np.corrcoef(rdms[0][i, others], rdms[1][i, others])[0, 1])
    kernel = RdmRows()
    a, b = ([state] for state in states_of(kernel, [x, y]))
    found = kernel.scores_of_counts(a, b, counts[None])
    assert found[0, 0, 0] == pytest.approx(np.mean(values), abs=1e-12)


def test_chance_is_the_mean_over_all_permutations():
    kernel = RdmRows()
    a, b = ([state] for state in states_of(kernel, some_models(5, (4, 3), 1)))
    draws = kernel.scores_of_orders(a, b, np.array(list(permutations(range(5)))), None)
    assert draws.mean() == pytest.approx(kernel.chance(a[0], b[0]), abs=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_sums_over_blocks_are_the_score(missing):
    models = some_models(N, missing=missing)
    kernel, all_of_them = RdmRows("euclidean"), Sides(slice(3), slice(3))
    seen = np.array([~np.isnan(rows[:, 0]) for rows in models])

    def block(part):
        rows = [kernel.entries.prepared(x[part], x.shape[1]) for x in models]
        return Block(rows, seen[:, part], part.start)

    states = states_of(kernel, models)
    expected = scores_of(kernel, states, states)
    for asking in (slice(0, 9), slice(9, N)):
        sums = sum(
            row_sums(kernel.entries, all_of_them, block(asking), block(part))
            for part in (slice(0, 3), slice(3, 4), slice(4, N))
        )
        both = all_of_them.both(seen[:, asking])
        found = kernel.of_rows(sums, all_of_them.common(seen), both)
        np.testing.assert_allclose(found, expected[..., asking], rtol=1e-9, atol=1e-12)


def test_a_large_offset_costs_no_digits():
    x, y = some_models(N, (5, 3))
    kernel = RdmRows("euclidean")
    a, b = ([state] for state in states_of(kernel, [x, y]))
    far = states_of(kernel, [x + 1e6])
    np.testing.assert_allclose(scores_of(kernel, far, b), scores_of(kernel, a, b), atol=1e-8)


@pytest.mark.parametrize("missing", [0.1, 0.3])
def test_pools_at_once_are_pools_one_by_one(missing, monkeypatch):
    sides = [some_models(N, seed=seed, missing=missing) for seed in (1, 2)]
    kernel = RdmRows("cosine")
    a, b = (states_of(kernel, side) for side in sides)
    among = np.arange(N) != 4
    models = [[replace(modeled(kernel, s), among=among) for s in side] for side in (a, b)]
    found = score(kernel, *models)
    assert np.isnan(found[:, :, 4]).all()
    monkeypatch.setattr(RdmRows, "scores_of_pools", Kernel.scores_of_pools)
    np.testing.assert_allclose(found, score(kernel, *models), rtol=1e-10, atol=1e-12)
