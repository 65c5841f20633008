"""Neighbours in draws of dealt residuals, from products: those of the rows of the draw."""

from __future__ import annotations

import numpy as np
import pytest

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.dealt_neighbors import DealtModel
from xconverge.kernels.equal_noise import Parts, drawn, relative

RNG = np.random.default_rng
N, K = 70, 4
pytestmark = pytest.mark.usefixtures("machine_code")


def model(seed=0, width=12, residual=0.6):
    """Fitted rows around a mean that is not zero, and residuals."""
    rng = RNG(seed)
    return Parts(1 + rng.standard_normal((N, width)), residual * rng.standard_normal((N, width)))


def flat(seed=0, width=12, residual=0.6, rank=3):
    """The same, where what is fitted lies in a few dimensions, which are known."""
    rng = RNG(seed)
    axes = np.linalg.qr(np.column_stack([np.ones(width), rng.standard_normal((width, rank))]))[0]
    fitted = 1 + rng.standard_normal((N, rank)) @ axes[:, 1:].T
    return Parts(fitted, residual * rng.standard_normal((N, width)), axes=axes)


def by_hand(rows, k):
    """Neighbours as sets, mean cosines and norms, stimulus by stimulus in plain loops."""
    sets, means, norms = [], [], []
    for i, x in enumerate(rows):
        size = np.sqrt((x**2).sum())
        cosines = {
            j: float((x * y).sum() / size / np.sqrt((y**2).sum()))
            for j, y in enumerate(rows)
            if j != i
        }
        # equal ones by the label that sorts first
        best = sorted(cosines, key=lambda j, c=cosines: (-round(c[j], 12), j))[:k]
        sets.append(set(best))
        means.append(np.mean([cosines[j] for j in best]))
        norms.append(size)
    return sets, means, norms


def check(part, order, depth=K):
    found = DealtModel(part).neighbors(order, K, depth)
    for length in range(K, depth + 1):
        sets, means, norms = by_hand(drawn(part, order), length)
        assert [set(row[:length]) for row in found.lists.tolist()] == sets
    _, means, norms = by_hand(drawn(part, order), K)
    np.testing.assert_allclose(found.density, means, atol=1e-6)
    np.testing.assert_allclose(found.norm, norms, rtol=1e-6)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("budget", [BUDGETS.products, 0])
@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize("make", [flat, model])
def test_neighbours_are_those_of_the_rows(make, by_norm, budget, monkeypatch):
    """Whether products of all stimuli are held or rows are multiplied anew."""
    monkeypatch.setattr(BUDGETS, "products", budget)
    part = relative(make()) if by_norm else make()
    assert (DealtModel(part).products is not None) == (budget > 0)
    for seed in range(3):
        check(part, RNG(seed).permutation(N))


@pytest.mark.slow
@pytest.mark.parametrize("make", [flat, model])
def test_longer_lists_are_in_order_from_the_kth_on(make):
    check(make(), RNG(1).permutation(N), depth=K + 3)


@pytest.mark.parametrize("make", [flat, model])
def test_blocks_of_stimuli_make_one_list(make, monkeypatch):
    monkeypatch.setattr("xconverge.kernels.dealt_neighbors.BLOCK", 16 * 4 * N)
    check(make(), RNG(2).permutation(N))


def test_what_single_precision_cannot_tell_apart_double_does():
    """Rows on a ray, but for a part in 10^4: all cosines are 1 in single precision."""
    rng = RNG(0)
    fitted = np.ones((N, 8)) + 1e-4 * rng.standard_normal((N, 8))
    check(Parts(fitted, 1e-4 * rng.standard_normal((N, 8))), rng.permutation(N))


@pytest.mark.parametrize("block", [BUDGETS.product_block, 64 * N])
@pytest.mark.parametrize("make", [flat, model])
def test_equal_stimuli_tie_and_the_first_label_comes_first(make, block, monkeypatch):
    monkeypatch.setattr(BUDGETS, "product_block", block)
    part = make(residual=0.0)
    part.fitted[1::2] = part.fitted[::2]
    part.fitted[10:20] = part.fitted[10]
    check(part, RNG(0).permutation(N))


@pytest.mark.parametrize("make", [flat, model])
def test_where_residuals_cancel_what_is_fitted_norms_are_right(make):
    part = make()
    order = RNG(4).permutation(N)
    part.residual[order[3]] = -part.fitted[3] * (1 - 1e-6)
    check(part, order)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("budget", [BUDGETS.products, 0])
@pytest.mark.parametrize("make", [flat, model])
def test_several_draws_at_a_time_are_those_of_each(make, budget, monkeypatch):
    """Where residuals are small, and where they decide alone."""
    monkeypatch.setattr(BUDGETS, "products", budget)
    monkeypatch.setattr("xconverge.kernels.dealt_neighbors.BLOCK", 16 * 4 * N)
    for size in (0.1, 30.0):
        part = make(residual=size)
        orders = [RNG(seed).permutation(N) for seed in range(3)]
        dealt = DealtModel(part)
        for found, order in zip(dealt.of_several(orders, K, K + 2), orders, strict=True):
            alone = DealtModel(part).neighbors(order, K, K + 2)
            for one, other in zip(found, alone, strict=True):
                assert np.array_equal(one, other)
            assert [set(row[:K]) for row in found.lists.tolist()] == by_hand(drawn(part, order), K)[
                0
            ]


@pytest.mark.parametrize("exponent", [-200, -80, 90, 300])
@pytest.mark.parametrize("by_norm", [False, True])
def test_how_large_the_numbers_are_changes_nothing_but_norms(exponent, by_norm):
    """Also where single precision holds no squares of them."""
    part, order = model(), RNG(6).permutation(N)
    large = Parts(np.ldexp(part.fitted, exponent), np.ldexp(part.residual, exponent))
    one, other = (
        DealtModel(relative(x) if by_norm else x).neighbors(order, K, K) for x in (part, large)
    )
    np.testing.assert_array_equal(one.lists, other.lists)
    np.testing.assert_array_equal(one.density, other.density)
    np.testing.assert_array_equal(np.ldexp(one.norm, exponent), other.norm)


def test_a_draw_after_one_of_shorter_lists():
    dealt, order = DealtModel(model()), RNG(5).permutation(N)
    dealt.neighbors(order, K, K)
    longer = dealt.neighbors(order, K, K + 5).lists
    assert [set(row) for row in longer.tolist()] == by_hand(drawn(model(), order), K + 5)[0]


@pytest.mark.parametrize("budget", [BUDGETS.products, 0])
def test_a_row_that_is_dealt_its_opposite_has_no_direction(budget, monkeypatch):
    """Its cosines are 0, and equal ones go by label; whole numbers cancel to the last digit."""
    monkeypatch.setattr(BUDGETS, "products", budget)
    rng = RNG(7)
    part = Parts(*(rng.integers(-4, 5, (2, N, 6)).astype(float) + 0.5))
    order = rng.permutation(N)
    part.residual[order[5]] = -part.fitted[5]
    found = DealtModel(part).neighbors(order, K, K)
    assert found.norm[5] == 0
    assert found.density[5] == 0
    assert set(found.lists[5].tolist()) == {0, 1, 2, 3}
    rows = drawn(part, order)
    rows[5] = 0
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None]
    cosines = np.round(unit @ unit.T, 12)
    np.fill_diagonal(cosines, -np.inf)
    for i, row in enumerate(cosines):
        best = sorted(range(N), key=lambda j, row=row: (-row[j], j))[:K]
        assert set(found.lists[i].tolist()) == set(best)
        assert found.density[i] == pytest.approx(row[best].mean(), abs=1e-6)
