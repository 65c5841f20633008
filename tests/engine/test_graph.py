"""Graphs that are put together by hand: no block waits for a second reader, nothing computes."""

import ast
import gc
import threading
import weakref
from pathlib import Path

import dask
import dask.array as da
import dask.base
import numpy as np
import pytest
from dask.core import flatten

import xconverge as xc
from tests.helpers import Counting, make_reps, no_compute
from xconverge.engine.graph import Graph

pytestmark = pytest.mark.usefixtures("everything_is_long")


def lazy_set(n_models, missing=0.0):
    reps = make_reps(n_models, 60, 4, shared=False, missing=missing)
    return reps.chunk(model=1, stimulus=10)


# --- keys --------------------------------------------------------------------------------------


def test_every_block_of_a_pass_has_keys_of_its_own():
    lazy = lazy_set(2)
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
    a, b = lazy_set(3), lazy_set(2, missing=0.1)
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
