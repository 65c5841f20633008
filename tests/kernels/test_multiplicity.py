"""Corrections of p-values for many tests, against plain loops, and how often they reject."""

import numpy as np
import pytest

from xconverge.kernels import multiplicity as kernels

SIGNS = {"greater": (1,), "less": (-1,), "two-sided": (1, -1)}


@pytest.mark.parametrize("dependent", [False, True])
def test_false_discovery_is_that_of_a_plain_loop(dependent):
    p = np.array([[0.01, 0.04], [0.03, np.nan], [0.2, 0.002]])
    flat = np.sort(p[~np.isnan(p)])
    m = len(flat)
    factor = sum(1 / i for i in range(1, m + 1)) if dependent else 1.0
    found = kernels.false_discovery(p, dependent)
    assert np.isnan(found[1, 1])
    for value, adjusted in zip(p.ravel(), found.ravel(), strict=True):
        if not np.isnan(value):
            candidates = [flat[j] * m * factor / (j + 1) for j in range(m) if flat[j] >= value]
            assert adjusted == pytest.approx(min(1, min(candidates)))
    assert np.isnan(kernels.false_discovery(p * np.nan, dependent)).all()


@pytest.mark.parametrize("tail", SIGNS)
def test_max_t_is_that_of_a_plain_loop(tail):
    draws = np.random.default_rng(0).standard_normal((100, 2, 3, 4)) * np.arange(1, 5) + 7
    draws[0, 0, 0, 0] = 20 if tail != "less" else -20
    draws[:, 1, 2] = np.nan
    draws[5, 1, 1, 0] = np.nan
    found = kernels.max_adjusted(draws, tail)
    scaled = (draws - draws.mean(0)) / draws.std(0)
    scaled = np.max([sign * scaled for sign in SIGNS[tail]], axis=0)
    cells = np.argwhere(~np.isnan(draws).any(0))
    assert len(cells) == np.isfinite(found).sum() == 2 * 3 * 4 - 5
    for cell in map(tuple, cells):
        beyond = sum(
            max(scaled[d][tuple(other)] for other in cells) >= scaled[0][cell] - 1e-9
            for d in range(1, 100)
        )
        assert found[cell] == (1 + beyond) / 100
    assert found[0, 0, 0] == 0.01


def clusters_of(row):
    """Runs of positive numbers: their places and their sum."""
    found, here = [], []
    for t, value in enumerate([*row, 0.0]):
        if value > 0:
            here.append(t)
        elif here:
            found.append((here, sum(row[t] for t in here)))
            here = []
    return found


def plain_cluster_p(draws, alpha, tail):
    """Cluster-mass p-values (A, T) of draws (D, A, T), by loops."""
    count, rows, bins = draws.shape
    z = np.zeros_like(draws)
    for a, t in np.ndindex(rows, bins):
        one = draws[:, a, t]
        if not np.isnan(one).any() and one.std() > 1e-12:
            z[:, a, t] = (one - one.mean()) / one.std()
    largest, own = np.zeros(count), []
    for sign in SIGNS[tail]:
        share = alpha / len(SIGNS[tail])
        cut = np.sort(sign * z, axis=0)[int(np.ceil((1 - share) * count - 1e-9)) - 1]
        for d, a in np.ndindex(count, rows):
            row = sign * z[d, a]
            row = np.where((row > cut[a] + 1e-9) & (row > 0), row, 0.0)
            for places, mass in clusters_of(row):
                largest[d] = max(largest[d], mass)
                if d == 0:
                    own.append((a, places, mass))
    p = np.where(np.isnan(draws).any(0), np.nan, 1.0)
    for a, places, mass in own:
        p[a, places] = (largest >= mass - 1e-9).mean()
    return p


@pytest.mark.parametrize("tail", SIGNS)
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_cluster_mass_is_that_of_a_plain_loop(alpha, tail):
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((60, 2, 12)) + rng.standard_normal((60, 1, 12))
    draws[0, 0, 3:6] += 8
    draws[0, 1, 8:11] -= 8
    draws[:, 0, 9] = np.nan
    draws[:, 1, 2] = 0.5
    found = kernels.cluster_mass(draws, alpha, tail)
    np.testing.assert_allclose(found, plain_cluster_p(draws, alpha, tail))
    assert np.isnan(found[0, 9])
    assert found[1, 2] == 1
    expected = {"greater": (True, False), "less": (False, True), "two-sided": (True, True)}[tail]
    assert ((found[0, 3:6] <= 0.1).all(), (found[1, 8:11] <= 0.1).all()) == expected


def planes_of(plane):
    """Sets of bins above 0 that share sides: their places and their sum, by flooding."""
    found, seen = [], np.zeros(plane.shape, bool)
    for start in map(tuple, np.argwhere(plane > 0)):
        if seen[start]:
            continue
        todo, here = [start], []
        seen[start] = True
        while todo:
            t, u = todo.pop()
            here.append((t, u))
            for place in ((t - 1, u), (t + 1, u), (t, u - 1), (t, u + 1)):
                inside = 0 <= place[0] < plane.shape[0] and 0 <= place[1] < plane.shape[1]
                if inside and plane[place] > 0 and not seen[place]:
                    seen[place] = True
                    todo.append(place)
        found.append((here, sum(plane[place] for place in here)))
    return found


def plain_planes(draws, alpha, tail):
    """Cluster-mass p-values (A, T, U) of draws (D, A, T, U), by loops."""
    count = len(draws)
    gone = np.isnan(draws).any(0)
    deviation = draws.std(0)
    z = np.where(gone | (deviation < 1e-12), 0.0, (draws - draws.mean(0)) / deviation)
    largest, own = np.zeros(count), []
    for sign in SIGNS[tail]:
        share = alpha / len(SIGNS[tail])
        cut = np.sort(sign * z, axis=0)[int(np.ceil((1 - share) * count - 1e-9)) - 1]
        for d, a in np.ndindex(draws.shape[:2]):
            plane = sign * z[d, a]
            plane = np.where((plane > cut[a] + 1e-9) & (plane > 0), plane, 0.0)
            for places, mass in planes_of(plane):
                largest[d] = max(largest[d], mass)
                if d == 0:
                    own.append((a, places, mass))
    p = np.where(gone, np.nan, 1.0)
    for a, places, mass in own:
        for place in places:
            p[(a, *place)] = (largest >= mass - 1e-9).mean()
    return p


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("tail", SIGNS)
@pytest.mark.parametrize("budget", [None, 1])
def test_clusters_in_the_plane_are_those_of_a_plain_loop(tail, budget, monkeypatch):
    if budget:
        monkeypatch.setattr(kernels.BUDGETS, "product_block", budget)
    rng = np.random.default_rng(3)
    draws = rng.standard_normal((50, 2, 6, 7)) + rng.standard_normal((50, 1, 6, 1))
    draws[0, 0, 1:4, 2] += 7
    draws[0, 0, 3, 2:5] += 7
    draws[0, 0, 4, 6] += 7
    draws[0, 1, 4:, 5:] -= 7
    draws[:, 0, 2, 3] = np.nan
    draws[:, 1, 0, 0] = 0.5
    found = kernels.cluster_mass(draws, 0.2, tail, ordered=2)
    np.testing.assert_allclose(found, plain_planes(draws, 0.2, tail))
    assert np.isnan(found[0, 2, 3])


def test_corners_and_other_axes_do_not_join():
    draws = np.random.default_rng(4).standard_normal((200, 2, 5, 5))
    draws[0] = 0
    draws[0, 0, 1, 1] = draws[0, 0, 2, 2] = draws[0, 1, 1, 1] = 4
    draws[0, 1, 3, 3:] = 4
    plane = kernels.cluster_mass(draws, ordered=2)
    assert plane[1, 3, 3] == plane[1, 3, 4] < plane[0, 1, 1]
    rows = kernels.cluster_mass(draws.transpose(0, 1, 3, 2))
    assert rows[1, 3, 3] >= plane[1, 3, 3]
    # three ordered axes are as good
    deep = kernels.cluster_mass(draws, ordered=3)
    assert deep[0, 1, 1] == deep[1, 1, 1] < plane[0, 1, 1]


def test_clusters_need_neighbours_and_both_signs_stay_apart():
    draws = np.random.default_rng(2).standard_normal((200, 9))
    draws[0] = [0, 4, 4, -4, -4, 0, 0, 4, 0]
    found = kernels.cluster_mass(draws, 0.05, "two-sided")
    assert found[1] == found[2]
    assert found[3] == found[4]
    assert found[1] < found[7]
    assert found[0] == found[5] == 1
    alone = kernels.cluster_mass(draws[:1], 0.05, "greater")
    assert np.isnan(alone).all()


def test_where_nothing_differs_nothing_is_found():
    draws = np.full((50, 2, 5), 0.3)
    assert (kernels.max_adjusted(draws) == 1).all()
    assert (kernels.cluster_mass(draws) == 1).all()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("smooth", [1, 7])
def test_levels_of_null_draws(smooth):
    """Any finding among 20 bins of 3 tests, independent or smooth, in about 5 of 100 studies."""
    rng = np.random.default_rng(smooth)
    some = {"max_t": 0, "cluster": 0}
    for _ in range(300):
        draws = rng.standard_normal((100, 3, 20 + smooth - 1))
        draws = np.lib.stride_tricks.sliding_window_view(draws, smooth, -1).mean(-1)
        some["max_t"] += kernels.max_adjusted(draws, "two-sided").min() <= 0.05
        some["cluster"] += kernels.cluster_mass(draws, 0.05, "two-sided").min() <= 0.05
    # binomial: 15 ± 3.8
    assert all(5 <= count <= 26 for count in some.values())


@pytest.mark.parametrize("method", ["max_t", "cluster", "bh", "by"])
@pytest.mark.parametrize("m", [1, 2, 36])
def test_least_draws_are_just_enough_for_one_effect(method, m):
    least = kernels.least_draws(m, 0.05, method)
    for count, passes in ((least, True), (least - 1, False)):
        smallest = 1 / (1 + count)
        if method in ("max_t", "cluster"):
            adjusted = smallest
        else:
            p = np.concatenate([[smallest], np.ones(m - 1)])
            adjusted = kernels.false_discovery(p, method == "by")[0]
        assert (adjusted <= 0.05 + 1e-12) == passes


def test_199_permutations_never_pass_for_36_pairs():
    assert kernels.least_draws(36, 0.05, "by") == 3005
    assert kernels.least_draws(36, 0.05, "bh") == 719
    assert kernels.least_draws(36, 0.05, "max_t") == 19
