"""What is 0 but for rounding, and what is small and true, on arrays."""

import numpy as np
import pytest

from xconverge.kernels import dispersion as spreads
from xconverge.kernels import rounding
from xconverge.kernels.canonical import leading_scores
from xconverge.kernels.correlation import ranks, settled
from xconverge.kernels.hsic import Sums, own_hsic, sums_of
from xconverge.kernels.neighbors import nearest
from xconverge.kernels.nulls import Permuted
from xconverge.kernels.preprocess import deviations, in_one, standardizing
from xconverge.kernels.procrustes_distance import Procrustes
from xconverge.kernels.ranks import rank_correlations
from xconverge.kernels.rdm import distances
from xconverge.kernels.ridge import Predictivity
from xconverge.kernels.rows import standard_rows, standardized
from xconverge.kernels.vectors import METRICS, square_distances

UNITS = {"f2": 2.0**-10, "f4": 2.0**-23, "f8": 2.0**-52, "i4": 2.0**-52}


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", UNITS)
def test_the_bound_in_plain_words(dtype):
    eps = UNITS[dtype]
    expected = 2 * eps + np.sqrt(100) / 2 * min(eps, 2.0**-23)
    assert rounding.relative(np.dtype(dtype), 100) == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_distances_are_zero_up_to_the_bound_and_true_beyond(metric, dtype):
    # rows x and x + gap, gap orthogonal to x and to the constant: their distance is |gap|
    x = np.tile([1.0, -1, 1, -1], 8)
    gap = np.tile([1.0, 1, -1, -1], 8)
    share = 2 * rounding.relative(np.dtype(dtype), len(x))
    found = {}
    for times in (0.4, 2.5):
        rows = np.stack([x, x + times * share * gap, rng().standard_normal(len(x))])
        # a wider type holds the gap exactly; its error is that of the narrow one
        wide = {"f2": np.float32}.get(dtype, np.float64)
        rdm = distances(rows.astype(wide), len(x), METRICS[metric], share=share / 2)
        found[times] = rdm[0, 1], float(np.linalg.norm((rows[0] - rows[1]).astype(np.float64)))
    assert found[0.4][0] == 0
    size = found[2.5][1] / (np.sqrt(len(x)) if METRICS[metric].unit else 1)
    truth = METRICS[metric].of_square(np.asarray(size**2))
    assert found[2.5][0] == pytest.approx(float(truth), rel=2e-2)


@pytest.mark.parametrize(("dtype", "share"), [("f8", 1e-6), ("f4", 1e-3), ("f8", 1e-12)])
@pytest.mark.parametrize("metric", METRICS)
def test_small_true_distances_survive(metric, dtype, share):
    base = rng().standard_normal(768)
    rows = (base + share * rng().standard_normal((6, 768))).astype(dtype)
    rdm = distances(rows, 768, METRICS[metric]).astype(np.float64)
    wide = rows.astype(np.longdouble)
    if METRICS[metric].centered:
        wide -= wide.mean(1, keepdims=True)
    if METRICS[metric].unit:
        wide /= np.sqrt((wide**2).sum(1, keepdims=True))
    square = ((wide[:, None] - wide) ** 2).sum(-1).astype(np.float64)
    np.testing.assert_allclose(rdm, METRICS[metric].of_square(square), rtol=1e-2)
    apart = ~np.eye(6, dtype=bool)
    assert (rdm[apart] > 0).all()


@pytest.mark.parametrize(("dtype", "share"), [("f8", 1e-6), ("f4", 1e-3)])
def test_small_true_dispersions_survive(dtype, share):
    x = rng().standard_normal((5, 64))
    models = (x + share * rng().standard_normal((3, 5, 64))).astype(dtype)
    for metric in METRICS.values():
        found = spreads.pair_distances(models, metric)[0, 1:]
        assert (found > 0).all()
        if metric.linear:
            finish = lambda ssd, count, metric=metric: spreads.of_pairs(ssd, count, metric)  # noqa: E731
            assert (spreads.dispersion(models, metric, finish, metric.degree)[0] > 0).all()


def test_an_offset_costs_digits():
    base = rng().standard_normal(50)
    # the same pattern around 1e4 in single precision: what differs is the rounding of the offset
    rows = np.stack([(s * base + 1e4).astype(np.float32) for s in (1, 2, 3, 0.5)])
    assert not distances(rows, 50, METRICS["correlation"]).any()
    # what differs by a tenth does so for certain
    rows[1] += np.where(np.arange(50) % 2, 0.1, -0.1).astype(np.float32)
    assert (distances(rows, 50, METRICS["correlation"])[1, [0, 2, 3]] > 0).all()


def test_distances_that_rounding_parts_are_one():
    q, _ = np.linalg.qr(rng().standard_normal((12, 12)))
    for dtype in ("f2", "f4", "f8"):
        rdm = distances(q.astype(dtype), 12, METRICS["euclidean"])
        assert len(np.unique(rdm[~np.eye(12, dtype=bool)])) == 1
    q[3] *= 1.05
    rdm = distances(q.astype("f4"), 12, METRICS["euclidean"])
    assert len(np.unique(rdm[~np.eye(12, dtype=bool)])) > 1


def test_errors_that_are_given_make_squares_zero():
    rows = np.array([[1.0, 0], [1, 1e-6], [0, 1]])
    assert square_distances(rows, rows)[0, 1] == pytest.approx(1e-12)
    found = square_distances(rows, rows, None, np.full(3, 1e-6), np.full(3, 1e-6))
    assert found[0, 1] == 0
    assert found[0, 2] == pytest.approx(2)
    # an error that is larger than what cancels in the product
    assert square_distances(rows, rows, None, np.ones(3), np.ones(3)).max() == 0


def test_values_on_either_side_of_a_step_tie():
    steps = (np.arange(1, 2000) + 0.5) / 2**40
    for step in steps[::97]:
        low, high = np.nextafter(0.25 + step, 0), np.nextafter(0.25 + step, 1)
        np.testing.assert_array_equal(ranks(np.array([low, high, 1.0, 0.0])), [2.5, 2.5, 4, 1])
    np.testing.assert_array_equal(ranks(np.array([0.5, 0.5 + 1e-11, 1])), [1, 2, 3])


@pytest.mark.parametrize(("dtype", "noise"), [("f8", 1e-16), ("f4", 1e-7)])
def test_equal_dispersions_have_no_rank_correlation(dtype, noise):
    x = (0.3 * (1 + noise * rng().standard_normal(20))).astype(dtype)
    y, orders = rng().random(20), Permuted(np.arange(20), 0)
    nothing = np.zeros((1, 1, 20)), orders, np.zeros(20, int), 9, "two-sided"
    with pytest.warns(RuntimeWarning, match="got equal values"):
        found = rank_correlations(x[None], y[None], np.zeros(1, int), *nothing)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(("dtype", "noise"), [("f8", 1e-16), ("f4", 1e-7)])
def test_values_that_differ_by_rounding_are_one(dtype, noise):
    values = (1 + noise * rng().standard_normal(50)).astype(dtype)
    values[4] = np.nan
    found = settled(values)
    assert np.isnan(found[4])
    assert len(np.unique(found[~np.isnan(found)])) == 1
    values[0] *= 1 + 1e-4
    np.testing.assert_array_equal(settled(values), values.astype(np.float64))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_neighbours_that_are_copies_come_in_the_order_of_labels(dtype):
    kind = np.dtype(dtype).type
    base = rng().standard_normal((6, 30)).astype(dtype)
    scale = [kind(s) for s in (1, 0.7, 1.3, 0.31, 2.7, 1.9)]
    rows = np.concatenate([[base[i] * s for s in scale] for i in range(6)])
    order, cosines = nearest(rows, 30, np.arange(36), 5)
    own = np.arange(36)
    expected = [[j for j in range(6 * (i // 6), 6 * (i // 6) + 6) if j != i] for i in own]
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_allclose(cosines, 1, atol=1e-11)
    # by label, not by position
    order, _ = nearest(rows, 30, own[::-1], 5)
    np.testing.assert_array_equal(order, [row[::-1] for row in expected])


def test_similarities_on_either_side_of_a_step_tie():
    # cosines to the first row differ by one unit, on either side of every step
    for step in (np.arange(1, 3000, 173) + 0.5) / 2**40:
        cosine = np.array([np.nextafter(0.25 + step, 0), np.nextafter(0.25 + step, 1)])
        rows = np.zeros((3, 2))
        rows[0, 0] = 1
        rows[1:, 0], rows[1:, 1] = cosine, np.sqrt(1 - cosine**2)
        for rank, first in (([0, 1, 2], 1), ([0, 2, 1], 2)):
            order, _ = nearest(rows, 2, np.array(rank), 1)
            assert order[0, 0] == first


def test_a_kernel_without_structure_has_no_hsic_of_its_own():
    k = 0.3 * (1 - np.eye(40))
    assert own_hsic(sums_of(k, k), True) == 0
    noise = 1e-17 * rng().standard_normal((40, 40))
    assert own_hsic(sums_of(k + noise + noise.T, k + noise + noise.T), True) == 0
    true = 1e-4 * rng().standard_normal((40, 40))
    true = (true + true.T) * (1 - np.eye(40))
    assert own_hsic(sums_of(k + true, k + true), True) > 0
    # rows that are off by so much make kernels off by twice that
    sums = sums_of(k + true, k + true)
    assert own_hsic(sums, True, 0.0, 1e-2) == 0
    assert own_hsic(Sums(1.0, 0.0, 0.0, 0.0, 10), True) > 0


@pytest.mark.parametrize(("dtype", "offset"), [("f2", 30), ("f4", 1e3), ("f8", 1e6)])
def test_rows_that_are_equal_but_for_rounding_are_constant(dtype, offset):
    kind = np.dtype(dtype).type
    row = (rng().standard_normal(20) + offset).astype(dtype)
    rows = np.stack([row * kind(s) / kind(s) for s in np.linspace(0.6, 1.7, 15)])
    off = rounding.relative(rows.dtype, 20)
    for work in (np.float32, np.float64):
        assert not standardized(rows.astype(work), off)[0].any()
    shifted = rows.astype(np.float64)
    shifted[3] *= 1 + 100 * off
    assert standardized(shifted, off)[0].any()
    found, error = standardized(rng().standard_normal((15, 20)), off)
    # 40 / 15 of the squares of a subset are those of the whole, and so is its error
    assert error == pytest.approx(off, rel=0.2)
    assert not standard_rows(
        found[:1].repeat(4, 0) * (1 + off / 4 * np.arange(4))[:, None], error
    ).any()


def test_columns_that_vary_by_rounding_alone_are_constant():
    x = rng().standard_normal((30, 4)).astype(np.float32)
    x[:, 1] = (
        np.float32(0.1) * np.linspace(0.5, 2, 30, dtype="f4") / np.linspace(0.5, 2, 30, dtype="f4")
    )
    assert len(np.unique(x[:, 1])) > 1
    scaled = in_one(x, 4, standardizing(4), np.float32)
    assert not scaled[:, 1].any()
    assert deviations(x, 4).off == rounding.of_columns(x.dtype)
    without = leading_scores(x[:, [0, 2, 3]], 3, np.full(30, -1), 2)
    np.testing.assert_allclose(leading_scores(x, 4, np.full(30, -1), 2), without, atol=1e-6)
    state = Predictivity().prepare(x, 4, np.arange(30), None)
    assert not state.rows[:, 1].any()
    assert state.rows[:, 0].any()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_rotated_copy_is_at_no_angle(dtype):
    x = (rng().standard_normal((40, 6)) + 5).astype(dtype)
    q, _ = np.linalg.qr(rng().standard_normal((6, 6)))
    kernel = Procrustes()
    sides = [kernel.prepare(rows, 6, np.arange(40), None) for rows in (x, (x @ q).astype(dtype))]
    assert kernel.finish(kernel.sums(sides[:1], sides[1:], None), [], []) == 0
    near = x.astype(np.float64)
    near[0, 0] += 0.05 if dtype == "f2" else 1e-4
    other = kernel.prepare(near @ q, 6, np.arange(40), None)
    if dtype != "f2":
        assert kernel.finish(kernel.sums(sides[:1], [other], None), [], []) > 1e-6


def test_results_that_their_type_cannot_hold_are_errors():
    values = np.array([1.0, 0.0, np.nan])
    np.testing.assert_array_equal(rounding.held(values, 3), [8, 0, np.nan])
    for exponent in (2000, -2000, -1030):
        with pytest.raises(rounding.RangeError, match=r"about 1e-?\d+ is beyond float64"):
            rounding.held(values, exponent)
    with pytest.raises(rounding.RangeError, match="beyond float32"):
        rounding.held(values, 200, np.float32)
    assert rounding.held(np.array([np.inf]), 1)[0] == np.inf


def test_powers_of_two_are_those_that_leave_the_range():
    np.testing.assert_array_equal(
        rounding.exponents(np.array([0, 1, 1e59, 1e-59, 1e160, 1e-160, np.inf])),
        [0, 0, 0, 0, 532, -531, 0],
    )
    assert rounding.exponent_of(np.array([0.0, -1e100])) == 333
    assert rounding.power_of_two(np.array([3.0])) == 1
