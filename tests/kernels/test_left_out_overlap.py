"""The mean rank correlation of dispersion among others with mutual-kNN, on arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from xconverge.kernels.correlation import ranks
from xconverge.kernels.equal_noise import Parts, dealt, drawn, places
from xconverge.kernels.left_out_overlap import (
    LeftOutOverlap,
    bits,
    by_pair,
    mean_of_pairs,
    partial_correlations,
    ranks_of_counts,
    weights_without,
)

RNG = np.random.default_rng
N, K = 40, 4


def lists_of(rows, among):
    """The K nearest of each stimulus among some, in plain loops; -1 for those that are not."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    result = np.full((N, K), -1)
    for i in among:
        others = [j for j in among if j != i]
        result[i] = sorted(others, key=lambda j, i=i: -(unit[i] @ unit[j]))[:K]
    return result


def shared(one, other, among):
    """Share of K neighbours in common, of the stimuli among which lists were made."""
    return np.array([len({*one[i]} & {*other[i]}) / K for i in among])


def correlation_by_hand(x, y, covariates):
    """Pearson correlation of what least squares on ranks of the covariates leave of ranks."""
    design = np.stack([np.ones(len(x)), *map(scipy.stats.rankdata, covariates)], axis=1)
    left = []
    for side in (x, y):
        rank = scipy.stats.rankdata(side)
        left.append(rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0])
    return np.corrcoef(*left)[0, 1]


def test_a_draw_by_plain_loops():
    """Three networks, one of two layers, against models of which one missed two stimuli."""
    rng = RNG(0)
    models = [
        Parts(rng.standard_normal((N, 6)), 0.4 * rng.standard_normal((N, 6))) for _ in range(4)
    ]
    family, family_b = np.array([0, 0, 1, 2]), np.array([0, 1, 1])
    group = np.array([0, 0, 1, 1])
    models.append(Parts(rng.standard_normal((N, 6)), rng.standard_normal((N, 6))))
    family, group = np.append(family, 3), np.append(group, 2)
    b = [rng.standard_normal((N, 5)) for _ in family_b]
    seen = np.ones((3, N), bool)
    seen[1, [4, 9]] = False
    lists_b = np.stack([lists_of(x, np.flatnonzero(s)) for x, s in zip(b, seen, strict=True)])
    extra = rng.standard_normal((5, N))
    statistic = LeftOutOverlap(
        K, lists_b, seen, group, family, family_b, ("local_density", extra, "norm")
    )
    orders = dealt(places(models, np.arange(N)), N, 3, 1)
    found = statistic(models)(orders)

    rows = [drawn(model, order) for model, order in zip(models, orders, strict=True)]
    every = np.arange(N)
    whole = [lists_of(x, every) for x in rows]
    by_family = {}
    for m, x in enumerate(rows):
        others = [o for o in range(5) if group[o] != group[m] and family[o] != family[m]]
        apart = {}
        for i in others:
            for j in others:
                if family[i] < family[j]:
                    pair = (family[i], family[j])
                    apart.setdefault(pair, []).append(1 - shared(whole[i], whole[j], every))
        spread = np.mean([np.mean(one, axis=0) for one in apart.values()], axis=0)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        density = np.array([np.mean([unit[i] @ unit[j] for j in whole[m][i]]) for i in every])
        covariates = [density, extra[m], np.linalg.norm(x, axis=1)]
        for o in range(3):
            among = np.flatnonzero(seen[o])
            score = shared(lists_of(x, among), lists_b[o], among)
            value = correlation_by_hand(spread[among], score, [c[among] for c in covariates])
            by_family.setdefault((family[m], family_b[o]), []).append(value)
    expected = np.mean([np.mean(values) for values in by_family.values()])
    assert found == pytest.approx(expected, abs=1e-9)


def test_bits_name_positions():
    lists = np.array([[0, 2], [69, 64]])
    found = bits(lists, 70)
    assert found.shape == (2, 2)
    assert np.bitwise_count(found).sum(0).tolist() == [2, 2]
    assert np.bitwise_count(found[:, 0] & bits(np.array([[2, 69]]), 70)[:, 0]).sum() == 1
    assert np.bitwise_count(found[:, 1] & bits(np.array([[2, 69]]), 70)[:, 0]).sum() == 1


def test_weights_are_of_the_pairs_that_are_left():
    alone = weights_without(np.arange(3), np.arange(3)).reshape(3, 3, 3)
    assert alone[0, 1, 2] == 1
    assert alone[0].sum() == 1
    assert np.isnan(weights_without(np.arange(2), np.arange(2))).all()


def test_equal_values_have_no_correlation_and_no_part_in_the_mean():
    rng = RNG(0)
    y = rng.standard_normal((1, 2, 20))
    y[0, 1] = 3.0
    found = partial_correlations(rng.standard_normal((1, 20)), y, [])
    assert np.isnan(found[0]).tolist() == [False, True]
    pairs = np.array([[0, 1]])
    assert mean_of_pairs(found, pairs) == found[0, 0]
    assert np.isnan(mean_of_pairs(np.full((1, 2), np.nan), pairs))


def test_covariates_that_repeat_or_are_constant_count_once():
    rng = RNG(1)
    x, y, c = rng.standard_normal((1, 30)), rng.standard_normal((1, 1, 30)), rng.random((1, 30))
    found = partial_correlations(x, y, [c, 2 * c, np.ones((1, 30))])
    assert found[0, 0] == pytest.approx(correlation_by_hand(x[0], y[0, 0], [c[0]]))
    assert np.isnan(partial_correlations(x, y, [x])[0, 0])


def test_ranks_of_counts_are_those_of_numbers():
    counts = RNG(0).integers(0, 5, (2, 3, 40))
    counts[0, 0] = 2
    assert np.array_equal(ranks_of_counts(counts, 4), ranks(counts.astype(float)))
    assert np.array_equal(ranks_of_counts(counts, 9), ranks(counts / 9))
    x, c = RNG(1).standard_normal((2, 2, 40))
    for covariates in ([], [c]):
        found = partial_correlations(x, counts, covariates, 4)
        expected = partial_correlations(x, counts / 4, covariates)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_weights_of_pairs_are_of_both_orders():
    family = np.array([0, 0, 1, 2])
    weights = weights_without(np.arange(4), family)
    one, other, of_pairs = by_pair(weights)
    apart = RNG(2).random((4, 4, 6))
    apart = apart + apart.swapaxes(0, 1)
    apart[np.arange(4), np.arange(4)] = 0
    np.testing.assert_allclose(of_pairs @ apart[one, other], weights @ apart.reshape(16, 6))
