"""Reductions over blocks: what is read, what is alive at a time, and that no task computes."""

import ast
import gc
import threading
import weakref
from itertools import pairwise
from pathlib import Path

import dask
import dask.array as da
import dask.base
import numpy as np
import pytest
import xarray as xr
from dask.core import flatten

import xconverge as xc
from tests.helpers import Counting, make_reps, no_compute
from xconverge.engine.blockwise import (
    Graph,
    Reduction,
    Sources,
    by_rows,
    is_long,
    reduce_models,
    reduce_rows,
    spans,
)
from xconverge.kernels.budgets import BUDGETS

pytestmark = pytest.mark.usefixtures("everything_is_long")

TOTAL = Reduction(lambda block, width: np.nansum(block[:, :width], axis=0).sum(), sum, np.asarray)


def lazy_set(n_models=2, n=60, width=4, chunk=10, missing=0.0):
    reps = make_reps(n_models, n, width, shared=False, missing=missing)
    return reps, reps.chunk(model=1, stimulus=chunk)


# --- blocks ------------------------------------------------------------------------------------


def test_blocks_are_whole_chunks():
    assert spans((3, 3, 3, 3), 6) == [slice(0, 6), slice(6, 12)]
    assert spans((3, 9, 1, 1), 6) == [slice(0, 3), slice(3, 12), slice(12, 14)]
    assert spans((5,), 2) == [slice(0, 5)]


def test_a_model_is_long_if_it_is_lazy_large_and_longer_than_wide(monkeypatch):
    reps, lazy = lazy_set()
    assert is_long(lazy)
    assert not is_long(reps)
    assert not is_long(lazy.chunk(stimulus=-1))
    assert not is_long(make_reps(2, 4, 9).chunk(stimulus=2))
    monkeypatch.setattr(BUDGETS, "whole_model", 60 * 4 * 8)
    assert not is_long(lazy)


# --- reductions --------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [None, {"layer": 2}])
def test_a_reduction_over_rows_is_that_of_the_whole(extra):
    reps = make_reps(3, 60, [4, 2, 3], shared=False, extra=extra)
    with no_compute():
        (found,) = reduce_rows(reps.chunk(stimulus=7, feature=3), TOTAL, [[]], {}, [float])
    expected = reps.sum(["stimulus", "feature"])
    np.testing.assert_allclose(found.transpose(*expected.dims), expected)
    assert found.chunks is not None
    (short,) = reduce_rows(reps, TOTAL, [[]], {}, [float])
    np.testing.assert_allclose(short.transpose(*expected.dims), expected)


def test_what_is_given_is_cut_to_the_block_and_parts_merge_in_order():
    _, lazy = lazy_set()
    number = xr.DataArray(np.arange(60), dims="stimulus")
    weight = xr.DataArray(np.array([2.0]), dims="_one")
    listed = Reduction(
        lambda block, width, mine, one: mine * one[0], np.concatenate, lambda found: found
    )
    found, twice = reduce_rows(
        lazy,
        Reduction(listed.part, listed.merge, lambda found: (found, 2 * found)),
        [["stimulus"]] * 2,
        {"stimulus": 60},
        [float] * 2,
        [number, weight],
    )
    np.testing.assert_array_equal(found, np.tile(2.0 * np.arange(60), (2, 1)))
    np.testing.assert_array_equal(twice, 2 * found)


def test_a_reduction_over_models_sees_all_of_them():
    reps, lazy = lazy_set(3)
    together = Reduction(
        lambda block, widths: block[:, :, : widths.min()].sum((0, 2)), np.concatenate, np.asarray
    )
    with no_compute():
        (found,) = reduce_models(lazy, together, [["stimulus"]], {"stimulus": 60}, [float])
    np.testing.assert_allclose(found, reps.sum(["model", "feature"]))


def test_rows_of_every_block_for_themselves():
    reps, lazy = lazy_set()
    parts = []

    def call(part):
        parts.append(part)
        return lazy.isel(stimulus=part) * 2

    found = by_rows(lazy, call)
    xr.testing.assert_identical(found.compute().drop_attrs(), (reps * 2).drop_attrs())
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert len(parts) > 2


def test_faults_are_told_with_labels():
    reps, _ = lazy_set()
    label = reps["stimulus"].values[33]

    def part(block, width):
        from xconverge.kernels.vectors import present

        return present(block[:, :width])

    reps[1, 33, 0] = np.nan
    (found,) = reduce_rows(
        reps.chunk(stimulus=10), Reduction(part, np.concatenate, np.asarray), [["stimulus"]],
        {"stimulus": 60}, [bool], what="mine",
    )  # fmt: skip
    with pytest.raises(xc.SchemaError, match=f"mine has NaN.*'net1', stimulus '{label}'"):
        found.compute()


def test_sources_name_their_models():
    reps = make_reps(2, 12, [4, 2], shared=False, extra={"layer": 2}).chunk()
    sources = Sources(reps, "reps")
    assert sources.shape == (2, 2)
    assert sources.names == ["net0", "net1"] * 2
    assert sources.positions == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sources.widths == [4, 2, 4, 2]
    np.testing.assert_array_equal(sources.rows[2], reps.isel(layer=1, model=0))


# --- keys --------------------------------------------------------------------------------------


def test_every_block_of_a_pass_has_keys_of_its_own():
    _, lazy = lazy_set()
    graph = Graph("test")
    rows = lazy.data[0]
    once, twice = graph.block(rows, slice(0, 10)), graph.block(rows, slice(0, 10))
    assert once != twice
    first, second = (
        {key for key in graph.tasks if _reaches(graph.tasks, top, key)} for top in (once, twice)
    )
    assert not first & second
    source = set(map(str, flatten(lazy.data.__dask_keys__())))
    assert not source & set(map(str, graph.tasks))


def _reaches(tasks, top, key):
    """Whether the task ``top`` needs ``key``."""
    seen, stack = set(), [top]
    while stack:
        one = stack.pop()
        if one in seen or one not in tasks:
            continue
        seen.add(one)
        stack.extend(getattr(tasks[one], "dependencies", ()))
    return key in seen


CALLS = {
    "mutual_knn": lambda a, b: xc.alignment(a, b, "mutual_knn", k=3),
    "cka": lambda a, b: xc.alignment(a, b, "cka"),
    "rbf": lambda a, b: xc.alignment(a, b, "cka", kernel="rbf"),
    "rdm": lambda a, b: xc.alignment(a, b, "rdm"),
    "rsa": lambda a, b: xc.alignment(a, b, "rsa", method="pearson"),
    "procrustes": lambda a, b: xc.alignment(a, b, "procrustes"),
    "linear_predictivity": lambda a, b: xc.alignment(a, b, "linear_predictivity", folds=3, rng=0),
    "svcca": lambda a, b: xc.alignment(a, b, "svcca", n_components=2, folds=3, rng=0),
    "neighborhood": lambda a, _: xc.dispersion(a, "neighborhood", k=3),
    "dispersion rdm": lambda a, _: xc.dispersion(a, "rdm"),
    "neighbor_graph": lambda a, _: xc.neighbor_graph(a, k=3),
    "zscore": lambda a, _: xc.zscore(a),
    "pca": lambda a, _: xc.pca(a, 2),
}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", CALLS)
def test_nothing_computes_a_graph_inside_a_task(name, monkeypatch):
    """While a graph runs, no task asks dask to compute another one."""
    (_, a), (_, b) = lazy_set(3), lazy_set(2, missing=0.1)
    with no_compute():
        found = CALLS[name](a, b)
    running, faults = [], []

    def watched(function):
        def compute(*args, **kwargs):
            if running:
                faults.append(threading.current_thread().name)
            return function(*args, **kwargs)

        return compute

    # ``compute`` of a collection, of ``dask`` and of xarray all end here
    for module in (dask, dask.base, da.core):
        if hasattr(module, "compute"):
            monkeypatch.setattr(module, "compute", watched(module.compute))
    monkeypatch.setattr(dask.base, "get_scheduler", watched(dask.base.get_scheduler))
    graph, keys = dict(found.data.__dask_graph__()), list(flatten(found.data.__dask_keys__()))
    running.append(name)
    with dask.config.set(num_workers=2):
        dask.threaded.get(graph, keys)
    assert not faults


@pytest.mark.slow
def test_tasks_have_no_word_for_computing():
    """Kernels never compute; the engine does where it says so, and in no function of a task."""
    root = Path(xc.__file__).parent
    allowed = {
        "progress.py": {"in_blocks"},
        "resampling.py": {"run"},
        "searchlight.py": {"_done"},
    }
    for folder in ("kernels", "engine"):
        for path in sorted((root / folder).glob("*.py")):
            for function in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(function, ast.FunctionDef):
                    continue
                called = {
                    node.func.attr
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                }
                if called & {"compute", "persist", "load"}:
                    assert function.name in allowed.get(path.name, set()), (path, function.name)


# --- what is alive -----------------------------------------------------------------------------


class Block(np.ndarray):
    """Rows of which a test can tell that they are gone."""


class Watched(Counting):
    """A source that knows how many of its blocks are alive at a time."""

    def __init__(self, values):
        super().__init__(values)
        self.lock, self.alive, self.most = threading.Lock(), 0, 0

    def __getitem__(self, key):
        found = np.array(super().__getitem__(key)).view(Block)
        with self.lock:
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(found, self._gone)
        return found

    def _gone(self):
        with self.lock:
            self.alive -= 1


def watched(reps, chunk):
    source = Watched(reps.values)
    chunks = (1, chunk, reps.sizes["feature"])
    return source, reps.copy(data=da.from_array(source, chunks=chunks, asarray=False, lock=True))


# what it makes is as large as what it reads: of its result, only a sum is held
SUMMED = {**CALLS, "zscore": lambda a, _: xc.zscore(a).sum("stimulus")}


def most_alive(found, sources):
    """Blocks that are alive at a time with two workers."""
    gc.collect()
    for source in sources:
        source.most = source.alive
    with dask.config.set(scheduler="threads", num_workers=2):
        found.compute()
    return max(source.most for source in sources)


@pytest.mark.slow
@pytest.mark.parametrize("models", [4, 2])
@pytest.mark.parametrize("name", ["mutual_knn", "cka", "procrustes", "rdm", "zscore"])
def test_few_blocks_are_alive_however_many_there_are(name, models):
    """Those that the tasks of two workers hold, and a few; not more with stimuli or models."""
    n = 160 if name in ("mutual_knn", "rdm") else 960
    a, b = (make_reps(m, n, 4, shared=False, noise=m) for m in (models, 2))
    b = b.sel(stimulus=a["stimulus"].values)
    sources, lazy = zip(*(watched(side, 10) for side in (a, b)), strict=True)
    found = SUMMED[name](*lazy)
    # a tile holds one block of each model that asks and one of each that answers; how many tasks
    # dask's own thread has yet to let go of is up to the machine, and does not grow with blocks
    bound = {"rdm": 2 * 2 * models + 6, "mutual_knn": 16}.get(name, 48)
    assert bound < models * n // 10
    # on a busy machine that thread may be late; not time after time
    assert any(most_alive(found, sources) <= bound for _ in range(10)), [s.most for s in sources]


@pytest.mark.slow
def test_blocks_that_two_passes_share_are_told():
    """What the count above is for: plain dask keeps the first pass until the second needs it."""
    source, lazy = watched(make_reps(2, 960, 4, shared=False), 10)
    assert most_alive((lazy - lazy.mean("stimulus")).sum("stimulus"), [source]) > 48
