"""Orders that values are dealt in under a null, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from tests.kernels.test_mixed_model import places, squares
from xconverge.kernels.mixed_model import Likeness, fit
from xconverge.kernels.nulls import Permuted, Stimuli, Surrogates, all_orders, orders_of
from xconverge.kernels.permutations import BLOCK, permutations
from xconverge.kernels.related_maps import standard_ranks

N = 12
RNG = np.random.default_rng
RANK = RNG(5).permutation(N)
EVERY = np.ones(N, bool)


def field(n: int = N) -> np.ndarray:
    """Covariance of a smooth map."""
    return np.exp(-squares(places(n, 2, 3)) / 2) + 0.1 * np.eye(n)


def test_orders_of_labels_are_the_permutations():
    values, usable = RNG(0).standard_normal(N), EVERY.copy()
    usable[4] = False
    strata, blocks = np.arange(N) % 2, np.arange(N) // 4
    for one in (None, strata):
        found = Permuted(RANK, 7, one)(1, values, usable)
        assert np.array_equal(found, permutations(RANK, 7, 1, one, usable))
    found = Permuted(RANK, 7, None, blocks)(1, values, EVERY)
    assert np.array_equal(found, permutations(RANK, 7, 1, None, EVERY, blocks=blocks))
    # a block of four lies where a block of four was
    assert (blocks[found].reshape(BLOCK, 3, 4) == blocks[found[:, ::4], None]).all()


def test_surrogates_deal_the_values_as_the_field_lies():
    """The lowest value lies where the drawn map is lowest, and so on."""
    factor = np.linalg.cholesky(field())
    values, usable = RNG(0).standard_normal(N), EVERY.copy()
    usable[[2, 9]] = False
    found = Surrogates(RANK, 7, factor)(2, values, usable)
    noise = RNG([7, 2]).standard_normal((BLOCK, N))
    here = np.flatnonzero(usable)
    for order, row in zip(found, noise, strict=True):
        drawn = [float(factor[RANK[i]] @ row) for i in range(N)]
        assert sorted(order[here]) == here.tolist()
        assert order[2] == 2
        assert order[9] == 9
        dealt = values[order]
        assert np.array_equal(np.argsort(dealt[here]), np.argsort(np.array(drawn)[here]))


def test_the_first_order_is_the_values_as_they_are():
    for orders in (Permuted(RANK, 1), Surrogates(RANK, 1, np.linalg.cholesky(field()))):
        assert np.array_equal(orders(0, np.arange(N), EVERY)[0], np.arange(N))
        assert not np.array_equal(orders(1, np.arange(N), EVERY)[0], np.arange(N))


def test_surrogate_maps_have_the_covariance_of_the_field():
    """Dealt normal scores correlate between stimuli as the field does."""
    v = field()
    values = scipy.stats.norm.ppf((np.arange(N) + 0.5) / N)
    orders = all_orders(Surrogates(np.arange(N), 0, np.linalg.cholesky(v)), values, EVERY, 5_000)
    drawn = RNG(1).standard_normal((5_000, N)) @ np.linalg.cholesky(v).T
    by_hand = values[np.argsort(np.argsort(drawn, axis=1), axis=1)]
    np.testing.assert_allclose(np.corrcoef(values[orders].T), np.corrcoef(by_hand.T), atol=0.06)
    assert np.corrcoef(values[orders].T)[~np.eye(N, dtype=bool)].max() > 0.4


@pytest.mark.parametrize("null", ["labels", "blocks", "surrogates"])
def test_orders_follow_labels_and_not_rows(null):
    """Stimuli in another order of rows are dealt the same values."""
    values, turn = RNG(0).permutation(N).astype(float), RNG(2).permutation(N)
    strata, blocks = np.zeros(N, int), np.arange(N) // 3
    factor = (np.linalg.cholesky(field()),) if null == "surrogates" else ()
    here = orders_of(null, 3, RANK, strata, blocks, *factor)
    there = orders_of(null, 3, RANK[turn], strata[turn], blocks[turn], *factor)
    for block in (0, 1):
        dealt = values[here(block, values, EVERY)]
        moved = values[turn][there(block, values[turn], EVERY)]
        assert np.array_equal(dealt[:, turn], moved)


def test_which_orders_a_null_has():
    strata, blocks = np.arange(N) % 2, np.arange(N) // 2
    for null, expected in (
        ("labels", Permuted(RANK, 3, strata)),
        ("blocks", Permuted(RANK, 3, strata, blocks)),
    ):
        found = orders_of(null, 3, RANK, strata, blocks)
        assert np.array_equal(found(1, RANK, EVERY), expected(1, RANK, EVERY))
    assert orders_of("surrogates", 3, RANK, strata, blocks, np.full((N, N), np.nan)) is None


def test_all_orders_are_the_identity_and_the_draws():
    permuted = Permuted(RANK, 3)
    found = all_orders(permuted, RANK, EVERY, BLOCK + 3)
    assert found.shape == (BLOCK + 4, N)
    assert np.array_equal(found[:BLOCK], permuted(0, RANK, EVERY))
    assert np.array_equal(found[BLOCK:], permuted(1, RANK, EVERY)[:4])


def stimuli(order: np.ndarray) -> Stimuli:
    """Of stimuli in this order of rows."""
    square, codes = squares(places(N, 2, 3)), np.arange(N) % 3
    parts = RANK, np.arange(N) % 2, np.arange(N) // 2, square, codes
    return Stimuli.of([part[np.ix_(*[order] * part.ndim)] for part in parts], 1)


def test_stimuli_are_in_the_order_of_labels():
    one, other = stimuli(np.arange(N)), stimuli(RNG(4).permutation(N))
    by_label = np.argsort(RANK)
    assert np.array_equal(one.strata, (np.arange(N) % 2)[by_label])
    assert np.array_equal(one.likeness.squares[0], squares(places(N, 2, 3)[by_label]))
    assert np.array_equal(one.likeness.categories[0], (np.arange(N) % 3)[by_label])
    for name in ("strata", "blocks"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(one.likeness.squares[0], other.likeness.squares[0])


def test_orders_of_stimuli():
    known, maps, none = stimuli(np.arange(N)), places(N, 1, 6).T, np.empty((1, 0, N))
    rank = np.arange(N)
    for name, expected in (
        ("labels", Permuted(rank, 3, known.strata)),
        ("blocks", Permuted(rank, 3, known.strata, known.blocks)),
    ):
        found = known.orders(name, maps, none, 3)
        assert np.array_equal(found(1, maps[0], EVERY), expected(1, maps[0], EVERY))
    assert known.orders("mixed", maps, none, 3) is None
    variances = fit(standard_ranks(maps[0]), np.ones((N, 1)), known.likeness, rank)
    factor = np.linalg.cholesky(known.likeness.covariance(variances, rank))
    found = known.orders("surrogates", maps, none, 3)
    expected = Surrogates(rank, 3, factor)
    assert np.array_equal(found(1, maps[0], EVERY), expected(1, maps[0], EVERY))
    with pytest.warns(RuntimeWarning, match="at least 6 stimuli"):
        assert known.orders("surrogates", np.full((1, N), np.nan), none, 3) is None


def test_a_likeness_without_kernels_is_noise():
    found = Likeness([], [])
    assert len(found) == 0
    assert np.array_equal(found.covariance(np.array([2.0]), np.arange(3)), 2 * np.eye(3))


def test_stimuli_that_were_made_before_are_taken_as_they_are():
    known = stimuli(np.arange(N))
    assert Stimuli.of([known], 1) is known
    # and are told apart by what they hold
    tokens = {one.__dask_tokenize__() for one in (known, stimuli(np.arange(N)))}
    assert len(tokens) == 1
    moved = Stimuli.of([RANK[::-1].copy(), known.strata, known.blocks, np.eye(N)], 1)
    assert moved.__dask_tokenize__() not in tokens
