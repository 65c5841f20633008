"""What every measure of two models keeps to: ``CASES`` is the list that a new one is added to."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from tests.kernels.laws import check_counts, check_orders, some_counts, some_models
from tests.kernels.rows import cut, in_blocks
from xconverge import kernels
from xconverge.kernels.canonical import Svcca
from xconverge.kernels.cka import LinearCka, RbfCka
from xconverge.kernels.cosine import SharedCosine
from xconverge.kernels.distance_correlation import DistanceCorrelation
from xconverge.kernels.entries import Block, Sides, row_sums
from xconverge.kernels.kernel import (
    EntryKernel,
    Kernel,
    RowKernel,
    modeled,
    permuted,
    resampled,
    score,
)
from xconverge.kernels.knn import Cknna, CycleKnn, EditKnn, LcsKnn, ListKernel, MutualKnn
from xconverge.kernels.permutations import permutations, resamples, within
from xconverge.kernels.procrustes_distance import Procrustes
from xconverge.kernels.rdm_rows import RdmRows
from xconverge.kernels.ridge import Predictivity
from xconverge.kernels.rsa import Rsa
from xconverge.measures.alignment import MEASURES

N = 24
FOLDS = np.random.default_rng(5).permutation(np.arange(N) % 3)


@dataclass(frozen=True)
class Case:
    """A measure, its row of the table, and the folds that it is given."""

    kernel: Kernel
    metric: str
    given: np.ndarray | None = None

    def __str__(self):
        return str(self.kernel).replace(", depth=0", "")

    def sides(self, missing=0.0, n=N):
        """Two models of a and two of b."""
        widths = (4, 4) if isinstance(self.kernel, SharedCosine) else (5, 3)
        return [some_models(n, widths, seed, missing) for seed in (1, 2)]

    def states(self, models, where=slice(None)):
        given = None if self.given is None else self.given[where]
        rank = np.arange(len(models[0][where]))
        return [self.kernel.prepare(x[where], x.shape[1], rank, given) for x in models]

    def scores(self, a, b, where=slice(None)):
        given = None if self.given is None else self.given[where]
        return score(
            self.kernel,
            *([modeled(self.kernel, state) for state in side] for side in (a, b)),
            given,
        )

    def orders(self, count=5):
        """Permutations of all stimuli, inside folds where the null is."""
        inside = self.given if self.kernel.permuted_inside_folds else None
        inside = None if inside is None else inside - inside.min()
        return permutations(np.arange(N), 3, 0, inside, count=count)


CASES = [
    Case(MutualKnn(3), "mutual_knn"),
    Case(CycleKnn(3), "cycle_knn"),
    Case(LcsKnn(3), "lcs_knn"),
    Case(EditKnn(3), "edit_distance_knn"),
    Case(Cknna(3), "cknna"),
    Case(Cknna(3, centered=True), "cknna"),
    Case(LinearCka(), "cka"),
    Case(LinearCka(debiased=False), "cka"),
    Case(RbfCka(), "cka"),
    Case(RbfCka(debiased=False), "cka"),
    Case(DistanceCorrelation(), "distance_correlation"),
    Case(DistanceCorrelation(debiased=False), "distance_correlation"),
    Case(Procrustes(), "procrustes"),
    Case(Svcca(2), "svcca", FOLDS),
    Case(Svcca(2), "svcca", np.full(N, -1)),
    Case(Predictivity("r"), "linear_predictivity", FOLDS),
    Case(Predictivity("r2"), "linear_predictivity", FOLDS),
    Case(SharedCosine(), "cosine"),
    Case(RdmRows(), "rdm"),
    Case(RdmRows("euclidean"), "rdm"),
    *(
        Case(Rsa("euclidean", method), "rsa")
        for method in ("spearman", "pearson", "kendall", "cosine", "rho-a")
    ),
]
ALL = pytest.mark.parametrize("case", CASES, ids=str)
ROWS = pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case.kernel, RowKernel)], ids=str
)
ENTRIES = pytest.mark.parametrize(
    "case",
    [c for c in CASES if isinstance(c.kernel, EntryKernel) and c.kernel.has_sums],
    ids=str,
)
RESAMPLED = pytest.mark.parametrize(
    "case", [case for case in CASES if MEASURES[case.metric].resample], ids=str
)


def test_every_measure_is_among_the_cases():
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"xconverge.kernels.{module.name}")

    def below(kind):
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    made = {
        kind
        for kind in below(Kernel)
        if kind.__module__.startswith("xconverge.")
        and not inspect.isabstract(kind)
        and not kind.__name__.startswith("_")
        and kind is not ListKernel
    }
    assert made == {type(case.kernel) for case in CASES}
    assert {case.metric for case in CASES} == set(MEASURES)


@ALL
def test_options_are_fields_and_states_say_what_was_seen(case):
    assert case.kernel == type(case.kernel)(**vars(case.kernel))
    (state, _), _ = (case.states(side) for side in case.sides())
    np.testing.assert_array_equal(state.seen, np.ones(N, bool))
    models, _ = case.sides(missing=0.2)
    (state, _) = case.states(models)
    np.testing.assert_array_equal(state.seen, ~np.isnan(models[0][:, 0]))


@pytest.mark.slow_after(1)
@ALL
@settings(max_examples=3)
@drawn(seed=st.integers(0, 2**16))
def test_the_law_of_take(case, seed):
    """What was taken scores as what is prepared of these stimuli, but for what is fixed."""
    sides = case.sides()
    a, b = (case.states(side) for side in sides)
    kernel, rng = case.kernel, np.random.default_rng(seed)
    whole, some = rng.permutation(N), rng.permutation(N)[:18]
    moved = [[kernel.take(state, whole) for state in side] for side in (a, b)]
    anew = [case.states(side, whole) for side in sides]
    for found in (moved, anew):
        values, expected = case.scores(*found, whole), case.scores(a, b)
        expected = expected[..., whole] if kernel.per_stimulus else expected
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-11)
    taken = [[kernel.take(state, some) for state in side] for side in (a, b)]
    if not kernel.fixed:
        fresh = case.scores(*(case.states(side, some) for side in sides), some)
        np.testing.assert_allclose(case.scores(*taken, some), fresh, rtol=1e-8, atol=1e-11)
    # taken twice is taken once, among other positions
    few = rng.permutation(18)[:15]
    twice = [[kernel.take(state, few) for state in side] for side in taken]
    once = [[kernel.take(state, some[few]) for state in side] for side in (a, b)]
    values = (case.scores(*found, some[few]) for found in (twice, once))
    np.testing.assert_allclose(*values, rtol=1e-8, atol=1e-11)


@pytest.mark.slow_after(8)
@ALL
def test_many_orders_at_once_are_one_after_the_other(case):
    a, b = (case.states(side) for side in case.sides())
    check_orders(case.kernel, a, b, case.orders(), case.given)


@pytest.mark.slow_after(4)
@RESAMPLED
def test_many_draws_at_once_are_one_after_the_other(case):
    kernel = case.kernel.for_draws(N)
    a, b = (
        [kernel.prepare(x, x.shape[1], np.arange(N), case.given) for x in side]
        for side in case.sides()
    )
    check_counts(kernel, a, b, some_counts(N, 4))
    check_counts(kernel, a, b, resamples(np.arange(N), 0, 1, count=3, fraction=0.7))


@pytest.mark.slow_after(10)
@ALL
def test_one_of_each_draw_is_the_score(case):
    a, b = (case.states(side) for side in case.sides())
    expected = case.kernel.mean(case.scores(a, b))
    same = np.arange(N)[None]
    found = case.kernel.scores_of_orders(a, b, same, case.given)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)
    if MEASURES[case.metric].resample:
        found = case.kernel.scores_of_counts(a, b, np.ones((1, N), int))
        np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow_after(3)
@ALL
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_pair_is_permuted_and_drawn_in_its_pool(case):
    sides = case.sides(missing=0.15)
    kernel = case.kernel
    a, b = ([modeled(kernel, state) for state in case.states(side)] for side in sides)
    orders = case.orders(4)
    strata = case.given - case.given.min() if kernel.permuted_inside_folds else None

    def orders_of(common):
        return permutations(np.arange(N), 3, 0, strata, common, count=4)

    def counts_of(common):
        return resamples(np.arange(N), 3, 0, None, common, count=3)

    found = permuted(kernel, a, b, orders_of, case.given)
    drawn_scores = resampled(kernel, a, b, counts_of, case.given) if case.given is None else None
    assert found.shape == (len(orders), 2, 2)
    for i, j in np.ndindex(2, 2):
        common = np.flatnonzero(a[i].seen & b[j].seen)
        one, other = (kernel.take(side.state, common) for side in (a[i], b[j]))
        given = None if case.given is None else case.given[common]
        mask = np.isin(np.arange(N), common)
        inside = within(orders_of(mask), mask)
        expected = Kernel.scores_of_orders(kernel, [one], [other], inside, given)
        np.testing.assert_allclose(found[:, i, j], expected[:, 0, 0], rtol=1e-9, atol=1e-11)
        if MEASURES[case.metric].resample:
            counts = counts_of(mask)[:, common]
            expected = Kernel.scores_of_counts(kernel, [one], [other], counts)
            np.testing.assert_allclose(
                drawn_scores[:, i, j], expected[:, 0, 0], rtol=1e-9, atol=1e-11
            )


@pytest.mark.slow_after(6)
@pytest.mark.parametrize(
    "case", [c for c in CASES if type(c.kernel).chance is not Kernel.chance], ids=str
)
def test_closed_chance_is_the_mean_over_permutations(case):
    a, b = (case.states(side)[:1] for side in case.sides())
    chance = case.kernel.chance(a[0], b[0])
    if chance is None:
        pytest.skip("has none with these options")
    orders = permutations(np.arange(N), 0, 1, count=400)
    draws = case.kernel.scores_of_orders(a, b, orders, case.given)[:, 0, 0]
    assert draws.mean() == pytest.approx(chance, abs=5 * draws.std() / 20)


@pytest.mark.slow_after(2)
@ROWS
@settings(max_examples=4)
@drawn(seed=st.integers(0, 2**16), missing=st.sampled_from([0.0, 0.15]))
def test_rows_in_blocks_are_rows_in_memory(case, seed, missing):
    (x, *_), (y, *_) = case.sides(missing)
    expected = case.scores(case.states([x]), case.states([y]))
    found = in_blocks(case.kernel, x, y, cut(N, seed), case.given)
    if case.kernel.per_stimulus:
        expected = expected[..., ~np.isnan(x[:, 0]) & ~np.isnan(y[:, 0])]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.slow_after(1)
@ENTRIES
@settings(max_examples=4)
@drawn(seed=st.integers(0, 2**16), missing=st.sampled_from([0.0, 0.15]))
def test_entries_in_blocks_are_matrices_in_memory(case, seed, missing):
    a, b = case.sides(missing)
    kernel, models, sides = case.kernel, [*a, *b], Sides(slice(2), slice(2, 4))
    expected = case.scores(case.states(a), case.states(b))
    seen = np.array([~np.isnan(rows[:, 0]) for rows in models])
    scales = [kernel.scale(x[there]) for x, there in zip(models, seen, strict=True)]

    def block(part):
        rows = [
            kernel.entries.prepared(x[part], x.shape[1], scale)
            for x, scale in zip(models, scales, strict=True)
        ]
        return Block(rows, seen[:, part], part.start)

    common, found = sides.common(seen), []
    for asking in cut(N, seed + 1):
        sums = sum(
            row_sums(kernel.entries, sides, block(asking), block(part)) for part in cut(N, seed)
        )
        found.append(kernel.of_rows(sums, common, sides.both(seen[:, asking])))
    if kernel.per_stimulus:
        values = np.concatenate(found, -1)
    else:
        values = kernel.of_terms(sum(found), common)
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-10)
