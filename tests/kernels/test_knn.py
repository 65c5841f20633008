"""Measures of neighbour lists on arrays: pools, draws, graphs and blocks, against plain loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests import oracles
from tests.kernels.laws import scores_of, some_models, states_of
from xconverge.kernels import neighbors
from xconverge.kernels.knn import (
    Cknna,
    CycleKnn,
    EditKnn,
    LcsKnn,
    ListKernel,
    MutualKnn,
    expanded,
)
from xconverge.kernels.permutations import resamples

N, K = 9, 2
LABELS = [f"s{i}" for i in range(N)]
NAMES = {
    "mutual_knn": MutualKnn,
    "cycle_knn": CycleKnn,
    "lcs_knn": LcsKnn,
    "edit_distance_knn": EditKnn,
}


def plain(name, x, y):
    return oracles.list_measure(name, x, y, LABELS, K)


masks = arrays.arrays(bool, (5, N), elements=st.booleans())


def models_that_miss(gone):
    """Two models of a and three of b without the rows ``gone`` (5, N); enough are left in each."""
    models = some_models(N, (5, 3, 6, 4, 4))
    for rows, missing in zip(models, gone, strict=True):
        left = np.flatnonzero(~missing)
        kept = np.union1d(left, np.arange(K + 1))
        rows[np.setdiff1d(np.arange(N), kept)] = np.nan
    return models[:2], models[2:]


@pytest.mark.filterwarnings("ignore:a score needs at least")
@settings(max_examples=8)
@given(gone=masks, name=st.sampled_from(list(NAMES)))
def test_every_pair_in_its_pool_by_plain_loops(gone, name):
    a, b = models_that_miss(gone)
    kernel = NAMES[name](K)
    found = kernel.mean(scores_of(kernel, *(states_of(kernel, side) for side in (a, b))))
    np.testing.assert_allclose(found, [[plain(name, x, y) for y in b] for x in a], atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a score needs at least")
@settings(max_examples=8)
@given(gone=masks)
def test_each_stimulus_by_plain_loops(gone):
    a, b = models_that_miss(gone)
    kernel = MutualKnn(K)
    found = scores_of(kernel, *(states_of(kernel, side) for side in (a, b)))
    expected = [[oracles.mutual_knn(x, y, LABELS, K) for y in b] for x in a]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a score needs at least")
@settings(max_examples=8)
@given(gone=masks, centered=st.booleans())
def test_cknna_in_both_readings_by_plain_loops(gone, centered):
    a, b = models_that_miss(gone)
    kernel = Cknna(K, centered=centered)
    found = scores_of(kernel, *(states_of(kernel, side) for side in (a, b)))
    expected = [[oracles.cknna_of_pair(x, y, LABELS, K, centered) for y in b] for x in a]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_every_pattern_of_two_missing_rows():
    x, y = some_models(6, (5, 3))
    kernel = MutualKnn(K)
    for i, j in np.ndindex(6, 6):
        one, other = x.copy(), y.copy()
        one[i], other[j] = np.nan, np.nan
        found = scores_of(kernel, *(states_of(kernel, [side]) for side in (one, other)))
        expected = oracles.mutual_knn(one, other, LABELS[:6], K)
        np.testing.assert_allclose(found[0, 0], expected, atol=1e-12)


def test_a_copy_that_misses_half_scores_one():
    (x,) = some_models(20, (5,))
    half = x.copy()
    half[::2] = np.nan
    for name, of in NAMES.items():
        kernel = of(3)
        a, b = (states_of(kernel, [side]) for side in (x, half))
        found = float(kernel.mean(scores_of(kernel, a, b))[0, 0])
        if name == "cycle_knn":
            assert found == pytest.approx(float(scores_of(kernel, b, b)[0, 0]))
        else:
            assert found == 1.0


def test_too_few_common_stimuli_are_nan_with_a_warning():
    x, y = some_models(8, (5, 3))
    x[5:], y[:3] = np.nan, np.nan
    kernel = MutualKnn(2)
    with pytest.warns(RuntimeWarning, match="at least 3 stimuli.*share 2"):
        found = scores_of(kernel, *(states_of(kernel, [side]) for side in (x, y)))
    assert np.isnan(found).all()


def masked_lists(x, count, k):
    """Neighbours among copies of rows, their own copies left out, by plain loops."""
    copies = [i for i, times in enumerate(count) for _ in range(times)]
    result = []
    for i in copies:
        order = sorted(
            (p for p, j in enumerate(copies) if j != i),
            key=lambda p: (-x[i] @ x[copies[p]] / np.linalg.norm(x[copies[p]]), p),
        )
        result.append(order[:k])
    return np.array(result)


@pytest.mark.parametrize("fraction", [None, 0.7])
@pytest.mark.parametrize("depth", [0, 19])
def test_lists_of_copies_leave_out_the_stimulus_itself(fraction, depth):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 4))
    kernel = MutualKnn(3, depth)
    (state,) = states_of(kernel, [x])
    counts = resamples(np.arange(20), 0, 1, count=5, fraction=fraction)
    for count in counts:
        where = np.flatnonzero(count)
        taken = kernel.take(state, where, count[where])
        found = kernel.lists(taken)
        np.testing.assert_array_equal(found, masked_lists(x, count, 3))
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        copies = np.repeat(np.arange(20), count)
        expected = (unit[copies][:, None] * unit[copies[found]]).sum(-1)
        np.testing.assert_allclose(taken.cosines[:, :3], expected, atol=1e-12)


def test_too_few_neighbours_among_the_drawn_are_missing():
    order = np.array([[1, -1], [0, -1]])
    found, _ = expanded(order, np.ones((2, 2)), np.array([1, 1]), 2)
    assert (found == -1).all()


@pytest.mark.filterwarnings("ignore:a score needs at least")
@settings(max_examples=10)
@given(gone=masks, cuts=st.sets(st.integers(1, N - 1), max_size=3), data=st.data())
def test_lists_in_blocks_are_lists_in_memory(gone, cuts, data):
    (x, y), others = models_that_miss(gone)
    rank = np.array(data.draw(st.permutations(range(N))))
    kernel = MutualKnn(K)
    edges = [0, *sorted(cuts), N]
    parts = [slice(*edge) for edge in itertools.pairwise(edges)]
    seen = [~np.isnan(rows[:, 0]) for rows in (y, *others)]
    own = ~np.isnan(x[:, 0])
    sets = neighbors.shared_sets(own, np.stack(seen))
    answered = []
    for asking in parts:
        asked = neighbors.asking(x[asking], x.shape[1], asking.start)
        found = [neighbors.answers(x[p], asked, sets, p, rank, K) for p in parts]
        merged = neighbors.best_answers(found, rank=rank, k=K)
        answered.append(neighbors.with_mean(merged, asked, sets))
    blocks = kernel.of_blocks(answered, sets, rank, x.shape[1])
    whole = kernel.prepare(x, x.shape[1], rank, None)
    for other in seen:
        common = np.flatnonzero(own & other)
        if len(common) <= K:
            continue
        one, two = (kernel.lists(kernel.take(state, common)) for state in (blocks, whole))
        np.testing.assert_array_equal(one, two)


def test_graphs_of_other_stimuli_and_of_too_few_neighbours():
    (x,) = some_models(N, (5,))
    rank = np.arange(N)
    kernel: ListKernel = MutualKnn(K)
    graph = kernel.prepare(x, 5, rank, None).order[:, :K].astype(float)
    deep = MutualKnn(6).prepare(x, 5, rank, None).order[:, :6].astype(float)
    kept = np.array([0, 2, 3, 4, 6, 7, 8])
    (expected,) = states_of(kernel, [x[kept]])
    found = kernel.of_graph(deep[kept], kept, rank[: len(kept)])
    np.testing.assert_array_equal(kernel.lists(found), kernel.lists(expected))
    fewer = kernel.of_graph(graph[kept], kept, rank[: len(kept)])
    assert not kernel.ready(fewer)
    with pytest.raises(neighbors.ShortListsError, match="4 are enough"):
        scores_of(kernel, [fewer], [expected])
    again = kernel.of_graph(graph, rank, rank, x, 5)
    taken, short = kernel.take(again, kept), kernel.of_graph(graph, rank, rank)
    np.testing.assert_array_equal(kernel.lists(taken), kernel.lists(expected))
    with pytest.raises(neighbors.ShortListsError, match="4 are enough"):
        kernel.take(short, kept)
    with pytest.raises(neighbors.ShortListsError):
        scores_of(MutualKnn(3), [MutualKnn(3).of_graph(graph, rank, rank)], [short])
    (longer,) = states_of(MutualKnn(3), [x])
    found = MutualKnn(3).of_graph(graph, rank, rank, x, 5)
    assert (scores_of(MutualKnn(3), [found], [longer]) == 1).all()
