"""Sums over entries of RDMs and kernels that are never whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tests.kernels.laws import scores_of, some_models, states_of
from xconverge.kernels import entries
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.cka import RbfCka
from xconverge.kernels.entries import Block, Entries, Sides, row_sums
from xconverge.kernels.vectors import METRICS

N = 14


def seen_of(models):
    return np.array([~np.isnan(rows[:, 0]) for rows in models])


def block(kind, models, part, scales=None):
    scales = np.ones(len(models)) if scales is None else scales
    rows = [
        kind.prepared(x[part], x.shape[1], scale) for x, scale in zip(models, scales, strict=True)
    ]
    return Block(rows, seen_of(models)[:, part], part.start)


@pytest.mark.parametrize("debiased", [True, False])
def test_sums_are_plain_loops(debiased):
    models = some_models(N, (4, 3, 5), missing=0.2)
    kind, sides = RbfCka(debiased).entries, Sides(slice(2), slice(2, 3))
    whole = slice(0, N)
    found = row_sums(kind, sides, block(kind, models, slice(4, 9)), block(kind, models, whole))
    seen = seen_of(models)
    kernels = [np.exp(-0.5 * cdist(x, x, "sqeuclidean")) for x in models]
    for k in kernels:
        np.fill_diagonal(k, not debiased)
    for i, j, q in np.ndindex(2, 1, 5):
        both = seen[i] & seen[2 + j]
        x, y = kernels[i][4 + q, both], kernels[2 + j][4 + q, both]
        expected = [x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
        there = both[4 + q]
        np.testing.assert_allclose(found[:, i, j, q], np.multiply(expected, there) if there else 0)
    assert sides.common(seen)[1, 0] == (seen[1] & seen[2]).sum()


@given(
    exponent=st.integers(6, 20),
    start=st.integers(0, N - 1),
    length=st.integers(1, N),
    edge=st.integers(1, N - 1),
    debiased=st.booleans(),
)
def test_memory_and_place_change_no_sum(exponent, start, length, edge, debiased):
    models = some_models(N, (6, 6, 6, 6, 6), missing=0.2)
    scales = np.linspace(1.0, 2.0, 5)
    kind, sides = RbfCka(debiased).entries, Sides(slice(3), slice(3, 5))
    part = slice(start, min(start + length, N))
    asking = block(kind, models, part, scales)
    whole = block(kind, models, slice(0, N), scales)
    expected = row_sums(kind, sides, asking, whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "tile", 2**exponent)
        pieces = (block(kind, models, where, scales) for where in (slice(0, edge), slice(edge, N)))
        found = sum(row_sums(kind, sides, asking, piece) for piece in pieces)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_entries_are_formed_once_a_model(monkeypatch):
    formed = []

    def count(rows, others, *more):
        formed.append(len(rows) * len(others))
        return square_distances(rows, others, *more)

    square_distances = entries.square_distances
    monkeypatch.setattr(entries, "square_distances", count)
    monkeypatch.setattr(BUDGETS, "tile", 2**12)
    models = some_models(N, (4, 3, 5))
    kind = Entries.of_metric(METRICS["cosine"])
    whole = block(kind, models, slice(0, N))
    for sides in (Sides(slice(3), slice(3)), Sides(slice(1), slice(1, 3))):
        formed.clear()
        row_sums(kind, sides, whole, whole)
        assert sum(formed) == 3 * N**2


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("debiased", [True, False])
def test_rbf_cka_from_blocks_is_that_of_whole_kernels(debiased, missing):
    sides_of = [some_models(N, seed=seed, missing=missing) for seed in (1, 2)]
    models = [*sides_of[0], *sides_of[1]]
    kernel = RbfCka(debiased)
    states = [states_of(kernel, side) for side in sides_of]
    expected = scores_of(kernel, *states)
    seen, kind, sides = seen_of(models), kernel.entries, Sides(slice(3), slice(3, 6))
    scales = [kernel.scale(x[there]) for x, there in zip(models, seen, strict=True)]
    common, terms = sides.common(seen), []
    for asking in (slice(0, 9), slice(9, N)):
        sums = [
            row_sums(kind, sides, *(block(kind, models, p, scales) for p in (asking, part)))
            for part in (slice(0, 3), slice(3, 4), slice(4, N))
        ]
        terms.append(kernel.of_rows(sum(sums), common, sides.both(seen[:, asking])))
    np.testing.assert_allclose(kernel.of_terms(sum(terms), common), expected, rtol=1e-9)
