"""Angles after the best rotation, and the frames of a shared space, on arrays."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm, orthogonal_procrustes

from tests.kernels.rows import assert_law_of_take, assert_pools, cut, in_blocks, merged_in_pairs
from xconverge.kernels import procrustes as spaces
from xconverge.kernels import procrustes_distance
from xconverge.kernels.kernel import Kernel, Model, score
from xconverge.kernels.permutations import permutations
from xconverge.kernels.procrustes_distance import Procrustes
from xconverge.kernels.sums import (
    added_products,
    merged,
    merged_spreads,
    products,
    scatter,
    spread,
)

N = 30
KERNEL = Procrustes()


def models(count, width, seed=0, n=N):
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).standard_normal((n, 6))
    return [
        common @ rng.standard_normal((6, width + m))
        + 0.5 * rng.standard_normal((n, width + m))
        + 10 * rng.standard_normal(width + m)
        for m in range(count)
    ]


def states(rows):
    return [KERNEL.prepare(x, x.shape[1], np.arange(len(x)), None) for x in rows]


def scored(a, b):
    return KERNEL.finish(KERNEL.sums(a, b, None), [], [])


def oracle(x, y):
    """The angle between two configurations after scipy's rotation."""
    common = ~(np.isnan(x[:, 0]) | np.isnan(y[:, 0]))
    x, y = x[common], y[common]
    wide = max(x.shape[1], y.shape[1])
    x, y = (np.pad(rows - rows.mean(0), ((0, 0), (0, wide - rows.shape[1]))) for rows in (x, y))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    turn, _ = orthogonal_procrustes(x, y)
    return np.arccos(np.vdot(x @ turn, y))


@pytest.mark.parametrize("width", [4, 50])
def test_it_is_the_angle_of_scipys_rotation(width):
    a, b = models(2, width), models(3, 5, seed=1)
    expected = [[oracle(x, y) for y in b] for x in a]
    np.testing.assert_allclose(scored(states(a), states(b)), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-160, 1.0, 1e160])
@pytest.mark.parametrize("angle", [0.3, 1e-3, 1e-6, 1e-9])
def test_small_angles_keep_their_digits(angle, scale):
    rng = np.random.default_rng(0)
    x, gap = rng.standard_normal((2, 50, 4))
    x -= x.mean(0)
    gap -= gap.mean(0)
    gap -= x @ np.linalg.lstsq(x, gap, rcond=None)[0]
    y = x / np.linalg.norm(x) * np.cos(angle) + gap / np.linalg.norm(gap) * np.sin(angle)
    found = scored(states([x * scale]), states([y]))
    np.testing.assert_allclose(found, [[angle]], rtol=1e-5)


@pytest.mark.parametrize("width", [4, 50])
def test_take_is_prepare_of_these_rows(width):
    a, b = models(2, width), models(2, 5, seed=1)
    where = np.random.default_rng(0).permutation(N)
    assert_law_of_take(KERNEL, states(a), states(b), where, None, rtol=1e-11)
    few = where[:12]
    taken = [[KERNEL.take(s, few) for s in states(side)] for side in (a, b)]
    fresh = [states([x[few] for x in side]) for side in (a, b)]
    np.testing.assert_allclose(scored(*taken), scored(*fresh), rtol=1e-10)


def test_copies_weigh_as_rows_do():
    a, b = models(2, 4), models(2, 5, seed=1)
    counts = np.random.default_rng(0).integers(0, 3, (3, N))
    found = KERNEL.scores_of_counts(states(a), states(b), counts)
    for count, one in zip(counts, found, strict=True):
        again = np.repeat(np.arange(N), count)
        expected = [[oracle(x[again], y[again]) for y in b] for x in a]
        np.testing.assert_allclose(one, expected, rtol=1e-11)


@pytest.mark.parametrize("width", [4, 50])
def test_many_orders_at_once_are_one_after_the_other(width):
    a, b = models(2, width), models(2, 5, seed=1)
    a.append(a[0] * 2 + 1)
    b.append(np.concatenate([a[0], np.zeros((N, 1))], 1))
    orders = permutations(np.arange(N), 3, 0, count=8)
    fast = KERNEL.scores_of_orders(states(a), states(b), orders, None)
    slow = Kernel.scores_of_orders(KERNEL, states(a), states(b), orders, None)
    np.testing.assert_allclose(fast, slow, rtol=1e-10, atol=1e-14)
    assert (fast[0, [0, 2], 2] < 1e-14).all()


@pytest.mark.parametrize("spectrum", [0.0, 0.7, 4.0])
def test_wide_models_have_the_angle_of_all_singular_values(spectrum):
    """Whether roots of squares serve, or are too rough and thrown away (a steep spectrum)."""
    rng = np.random.default_rng(0)
    size = np.arange(1, 141) ** -spectrum
    common = rng.standard_normal((160, 140)) * size
    w, x, y, z = (common + 0.3 * size * rng.standard_normal((160, 140)) for _ in range(4))
    z = np.concatenate([z, z[:, :9]], 1)
    expected = [[oracle(one, other) for other in (y, z)] for one in (w, x)]
    np.testing.assert_allclose(scored(states([w, x]), states([y, z])), expected, rtol=1e-10)


def test_roots_of_squares_tell_how_far_they_are_off():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((150, 150)))[0] for _ in "ab")
    for least in (0, -3, -6, -9, -15):
        values = np.logspace(0, least, 150)
        total, error = procrustes_distance._from_squares(u * values @ v)
        assert abs(total - values.sum()) <= 10 * error
    assert error > 1e-9


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_set_with_itself_is_scored_by_half(count, monkeypatch):
    mine = [Model(state, None) for state in states(models(count, 4))]
    others = [Model(replace(one.state, rows=one.state.rows.copy()), None) for one in mine]
    pairs = []
    plain = procrustes_distance.compared
    monkeypatch.setattr(
        procrustes_distance, "compared", lambda *a: pairs.append(a[0] is a[1]) or plain(*a)
    )
    found = score(KERNEL, mine, mine)
    assert len(pairs) == count * (count + 1) // 2
    assert sum(pairs) == count
    np.testing.assert_allclose(found, score(KERNEL, mine, others), rtol=1e-12, atol=1e-13)
    assert (found == found.T).all()
    assert not np.diag(found).any()
    still = [*mine, *(Model(state, None) for state in states([np.ones((N, 3))]))]
    with pytest.warns(RuntimeWarning, match="2 common stimuli that differ: NaN"):
        assert np.isnan(score(KERNEL, still, still)[-1]).all()


def test_every_pair_has_its_own_pool():
    a, b = models(2, 4), models(3, 35, seed=1)
    a[0][3:9], b[1][[4, 20]], b[2][10:] = np.nan, np.nan, np.nan
    assert_pools(KERNEL, a, b, oracle)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_add_up(seed, missing):
    (x,), (y,) = models(1, 4), models(1, 7, seed=1)
    x, y = x + 1e3, y - 1e4
    if missing:
        x[3:9], y[[0, 20]] = np.nan, np.nan
    np.testing.assert_allclose(in_blocks(KERNEL, x, y, cut(N, seed)), [[oracle(x, y)]], rtol=1e-9)
    # arccos(1 - 1e-16) is 1e-8: without a second pass a small angle has no more digits
    assert in_blocks(KERNEL, x, 3 * x + 1, cut(N, seed)) < 1e-7


def test_what_does_not_vary_has_no_angle():
    (y,) = models(1, 4)
    still = np.full((N, 3), 0.1)
    pooled = y.copy()
    pooled[:10] = 0.1
    few = np.concatenate([y[:10], np.full((N - 10, 4), np.nan)])
    for x, other in ((still, y), (y, still), (pooled, few)):
        with pytest.warns(RuntimeWarning, match="2 common stimuli that differ: NaN"):
            assert np.isnan(in_blocks(KERNEL, x, other, cut(N, 0))).all()
    with pytest.warns(RuntimeWarning, match="2 common stimuli that differ: NaN"):
        assert np.isnan(scored(states([still]), states([y]))).all()
    once = np.zeros((1, N), int)
    once[0, 4] = N
    with pytest.warns(RuntimeWarning, match="2 common stimuli that differ: NaN"):
        assert np.isnan(KERNEL.scores_of_counts(states([y]), states([y]), once)).all()


# --- the shared space


def large(count=4, n=260, width=210, noise=0.5):
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n, 12))
    x = np.stack([latent @ rng.standard_normal((12, width)) / 4 for _ in range(count)])
    x += noise * rng.standard_normal(x.shape)
    x -= x.mean(1, keepdims=True)
    return x / np.linalg.norm(x, axis=(1, 2), keepdims=True)


def assert_fitted(x, found):
    """Rotations are orthogonal, and the objective is theirs, to double precision."""
    turns = found.rotation.swapaxes(1, 2) @ found.rotation
    np.testing.assert_allclose(turns, np.broadcast_to(np.eye(x.shape[2]), turns.shape), atol=1e-12)
    placed = x @ found.rotation
    np.testing.assert_allclose(found.consensus, placed.mean(0), atol=1e-13)
    assert found.objective[-1] == pytest.approx(((placed - placed.mean(0)) ** 2).sum(), rel=1e-12)
    assert (np.diff(found.objective) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["noise", "narrow", "flat", "two", "one pass"])
def test_single_precision_first_ends_where_double_does(case, monkeypatch):
    x = large(2 if case == "two" else 4)
    if case == "narrow":
        x[1, :, 150:] = x[2, :, 20:] = 0
    if case == "flat":
        x = x @ np.diag(np.arange(210) < 30)
    seen, passes = np.ones(x.shape[:2], bool), 1 if case == "one pass" else 60
    start = spaces.spectral_start(x)
    found = spaces.align(x, seen, start, 1e-6, passes)
    monkeypatch.setattr(spaces, "LARGE", 1000)
    expected = spaces.align(x, seen, start.astype(np.float64), 1e-6, passes)
    assert_fitted(x, found)
    assert len(found.objective) <= passes
    assert found.objective[-1] <= expected.objective[-1] * (1 + 1e-4)


def test_large_copies_come_back_as_one():
    x = large(1)[0]
    rng = np.random.default_rng(1)
    turns = [np.linalg.qr(rng.standard_normal((210, 210)))[0] for _ in range(3)]
    x = np.stack([x @ turn for turn in turns])
    found = spaces.align(x, np.ones(x.shape[:2], bool), spaces.spectral_start(x), 1e-8, 100)
    assert found.objective[-1] < 1e-20
    for one in x @ found.rotation:
        np.testing.assert_allclose(one, x[0] @ found.rotation[0], atol=1e-12)


@pytest.mark.slow
def test_large_models_with_missing_stimuli_keep_shifts_in_double():
    x, seen = large(3), np.ones((3, 260), bool)
    seen[0, :9] = seen[2, 100:130] = False
    x *= seen[:, :, None]
    found = spaces.align(x, seen, spaces.spectral_start(x), 1e-7, 80)
    placed = seen[:, :, None] * (x @ found.rotation + found.shift[:, None])
    gap = (placed - placed.sum(0) / seen.sum(0)[:, None]) * seen[:, :, None]
    assert found.objective[-1] == pytest.approx((gap**2).sum(), rel=1e-12)
    assert (np.diff(found.objective) <= 0).all()
    assert found.shift.dtype == np.float64


def one_after_the_other(x, seen, start, passes):
    """The objective of plain alternation: every model onto the mean of the others."""
    goal, placed = start, np.zeros_like(x)
    for number in range(passes):
        for m, there in enumerate(seen):
            others = [j for j in range(len(x)) if j != m]
            if number:
                count = seen[others].sum(0)[:, None]
                goal = (placed * seen[:, :, None])[others].sum(0) / np.maximum(count, 1)
            # what all others together weigh beside this one
            weight = np.where(there, 1 - 1 / seen.sum(0), 0)[:, None]
            center, onto = ((weight * rows).sum(0) / weight.sum() for rows in (x[m], goal))
            turn, _ = orthogonal_procrustes(weight * (x[m] - center), goal - onto)
            placed[m] = (x[m] - center) @ turn + onto
    mean = (placed * seen[:, :, None]).sum(0) / seen.sum(0)[:, None]
    return (((placed - mean) * seen[:, :, None]) ** 2).sum()


@pytest.fixture
def turned(monkeypatch):
    """How many models turned at a time, pass by pass; spaces of any size count as large."""
    for name in ("LARGE", "WIDE"):
        monkeypatch.setattr(spaces, name, 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    passes, real = [], spaces._one_pass

    def counted(*args):
        passes.append(args[-1])
        return real(*args)

    monkeypatch.setattr(spaces, "_one_pass", counted)
    return passes


def many(count, families, seed=3):
    """Models that share five dims; every two of a family are more alike than others."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((60, 5))
    x = latent @ rng.standard_normal((count, 5, 6)) + 0.2 * rng.standard_normal((count, 60, 6))
    if families:
        own = rng.standard_normal(((count + 1) // 2, 60, 6))
        turns = np.linalg.qr(rng.standard_normal((count, 6, 6)))[0]
        x = np.stack([(0.5 * x[0] + own[m // 2] + 0.2 * x[m]) @ turns[m] for m in range(count)])
    return x - x.mean(1, keepdims=True)


@pytest.mark.parametrize("families", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("count", [spaces.MANY, spaces.MANY + 1, 12])
def test_models_side_by_side_end_where_one_after_the_other_does(count, missing, families, turned):
    x, seen = many(count, families), np.ones((count, 60), bool)
    if missing:
        seen[0, :4] = seen[3, 7:9] = seen[count - 1, 50:] = False
    x *= seen[:, :, None]
    start = spaces.random_start(x, np.random.default_rng(4))
    found = spaces.align(x, seen, start, 1e-12, 2000)
    assert (np.diff(found.objective) <= 0).all()
    assert turned[0] == 2
    # that it has ended, one after the other says
    assert turned[-1] == 1
    assert found.objective[-1] == pytest.approx(
        one_after_the_other(x, seen, found.consensus, 200), rel=1e-7
    )


def test_a_pass_that_rises_is_undone_and_goes_on_one_after_the_other(turned):
    """Twins that turn at once each turn to where the other was."""
    undone = 0
    for seed in range(4):
        x = many(12, True, seed).astype(np.float32)
        seen, start = np.ones((12, 60), bool), spaces.spectral_start(x)
        turned.clear()
        found = spaces.align(x, seen, start, 1e-7, 2000)
        passes = len(found.objective)
        undone += len(turned) > passes and turned.index(1) < passes
        assert (np.diff(found.objective) <= 0).all()
        # there are several ends: from this one plain alternation finds no way down
        lower = one_after_the_other(x.astype(float), seen, found.consensus, 50)
        assert found.objective[-1] == pytest.approx(lower, rel=1e-4)
    assert undone


def test_models_side_by_side_are_the_same_on_one_core(turned):
    x = large(spaces.MANY + 1, 90, 30)
    seen, start = np.ones(x.shape[:2], bool), spaces.spectral_start(x)
    found = spaces.align(x, seen, start, 1e-8, 100)
    with ThreadPoolExecutor(1) as aside:
        # no thread but the main one takes all cores
        other = aside.submit(spaces.align, x, seen, start, 1e-8, 100).result()
    np.testing.assert_allclose(other.rotation, found.rotation, atol=1e-9)
    assert len(other.objective) == len(found.objective)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 1e-3, 1e-2])
def test_a_small_turn_is_nearly_the_closest_rotation(angle):
    rng = np.random.default_rng(0)
    gap = rng.standard_normal((40, 40))
    turn = expm(angle * (gap - gap.T))
    rows = rng.standard_normal((80, 40))
    matrix = turn @ (rows.T @ rows / 80 + np.diag(np.linspace(1, 50, 40)))
    found = spaces._small_turn(matrix)
    np.testing.assert_allclose(found.T @ found, np.eye(40), atol=1e-9)
    if angle:
        own, found_own, best = (np.vdot(one, matrix) for one in (np.eye(40), found, turn))
        assert (1 - 1e-9) * best - 0.02 * (best - own) <= found_own <= (1 + 1e-9) * best
    else:
        np.testing.assert_allclose(found, np.eye(40), atol=1e-12)


@pytest.mark.parametrize("angle", [0.01, 0.1, 0.3, 0.5, 0.55])
@pytest.mark.parametrize("planes", [1, 2, 8])
def test_a_small_turn_is_orthogonal(angle, planes):
    """Also near where it is no longer small; at most 7 digits are lost on the way."""
    gap = np.zeros((64, 64))
    for plane in range(planes):
        gap[2 * plane, 2 * plane + 1] = angle / planes**0.25
    found = spaces._small_turn(expm(gap - gap.T) @ np.diag(np.linspace(2.0, 1.0, 64)))
    assert found is not None
    assert abs(found.T @ found - np.eye(64)).max() < 1e-6


def test_there_is_no_small_turn_of_what_is_far_or_has_no_sign():
    rng = np.random.default_rng(0)
    assert spaces._small_turn(rng.standard_normal((20, 20))) is None
    assert spaces._small_turn(np.diag([1.0, 0.0, 2.0])) is None
    gap = rng.standard_normal((20, 20))
    assert spaces._small_turn(expm(gap - gap.T) @ np.diag(np.arange(1.0, 21))) is None


def test_the_usual_tolerance_is_looser_for_large_models():
    assert spaces.usual_tolerance(64) == 1e-8
    assert spaces.usual_tolerance(768) == 1e-5


def test_virtual_rows_have_the_cross_products_of_the_rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 50, 4))
    x[2] = x[0] @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    joined = x.swapaxes(0, 1).reshape(50, 12)
    rows = spaces.virtual_rows(joined.T @ joined, 3)
    assert rows.shape == (3, 8, 4)
    for one, mine in zip(x, rows, strict=True):
        for other, its in zip(x, rows, strict=True):
            np.testing.assert_allclose(mine.T @ its, one.T @ other, atol=1e-10)


@given(sizes=st.lists(st.integers(0, 5), min_size=2, max_size=6))
def test_scatters_merge(sizes):
    x = 1e6 + np.random.default_rng(0).standard_normal((sum(sizes), 3))
    total = scatter(x[:0])
    pieces = np.split(x, np.cumsum(sizes)[:-1])
    for part in pieces:
        total = merged(total, scatter(part))
    expected = scatter(x)
    spreads = merged_in_pairs(merged_spreads, [spread(part) for part in pieces]).scatter
    for found in (total, spreads):
        assert found.size == expected.size
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(found.gram, expected.gram, atol=1e-8)


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_products_keep_rows_while_they_are_few(sizes):
    x = np.random.default_rng(0).standard_normal((sum(sizes), 4))
    parts = [products(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
    found = added_products(parts)
    assert len(found.rows) < 4
    np.testing.assert_allclose(found.gram, x.T @ x, atol=1e-12)


def test_equal_rows_have_no_spread_however_they_are_cut():
    x = np.full((1000, 3), 0.1)
    parts = [spread(x[part]) for part in cut(1000, 0)]
    found = merged_in_pairs(merged_spreads, [spread(x[:0]), *parts])
    assert (found.mean == 0.1).all()
    assert not found.products.gram.any()


@pytest.mark.parametrize("n_components", [None, 3])
def test_frames_of_blocks_are_those_of_rows(n_components):
    x = np.pad(models(1, 5)[0] + 1e3, ((0, 0), (0, 2)), constant_values=np.nan)
    fold, dim = np.arange(N) % 3, n_components or 6
    parts = [spaces.folds_of(x[p], 5, fold[p]) for p in cut(N, 0)]
    whole = merged_in_pairs(spaces.merged_blocks, parts)
    size, *found = spaces.frames(whole, N, 3, n_components, (7, dim))
    assert size == N
    for number, train in enumerate([np.ones(N, bool), *(fold != k for k in range(3))]):
        expected = spaces.reduce(x, 5, train, n_components, dim).frame
        center, basis, scale, error = (field[number] for field in found)
        np.testing.assert_allclose(error, expected.error, rtol=1e-9)
        np.testing.assert_allclose(center, expected.center, rtol=1e-12)
        assert scale == pytest.approx(expected.scale, rel=1e-10)
        turns = np.sign(np.vecdot(basis, expected.basis, axis=0))
        np.testing.assert_allclose(basis * turns, expected.basis, atol=1e-8)


def test_a_model_without_a_place_is_refused():
    for rows, words in ((np.full((N, 4), np.nan), "no stimulus"), (np.ones((N, 4)), "same vector")):
        part = spaces.folds_of(rows, 4, np.zeros(N, int))
        with pytest.raises(ValueError, match=words):
            spaces.frames(part, N, 0, None, (4, 4))


@pytest.mark.parametrize("seed", range(3))
def test_cross_products_of_blocks_are_those_of_rows(seed):
    rng = np.random.default_rng(seed)
    block = rng.standard_normal((3, N, 5))
    block[1, :, 4:] = np.nan
    widths, train = np.array([5, 4, 5]), np.arange(N) % 4 > 0
    center, scale = np.where(np.isnan(block[:, 0]), np.nan, 1.0), np.array([1.0, 2.0, 3.0])
    basis, goal = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 5, 4))
    parts = [
        spaces.joined(block[:, p], widths, train[p], center, basis, scale, goal)
        for p in cut(N, seed)
    ]
    gram, onto = spaces.cross_products(merged_in_pairs(added_products, parts), 6)
    there = np.nan_to_num(block - center[:, None])[:, train]
    rows = np.einsum("mif,mfd->imd", there, basis) / scale[:, None]
    flat = rows.reshape(-1, 6)
    np.testing.assert_allclose(gram, flat.T @ flat, atol=1e-10)
    target = np.einsum("mif,mfe->ie", there, goal)
    np.testing.assert_allclose(onto, flat.T @ target, atol=1e-10)
