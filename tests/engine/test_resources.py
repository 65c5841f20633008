"""Threads and memory that a job may use, here and on a cluster."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.engine import resources
from xconverge.engine.resources import GIB, SHARE, check_memory, free_bytes, rooms, workers
from xconverge.kernels import blocks, lapack
from xconverge.kernels.budgets import BUDGETS


def test_blas_has_one_thread_inside_a_worker():
    def threads(_):
        with resources.calm_blas():
            pools = resources._controller().info()
            return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]

    before = threads(0)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(threads, range(4)):
            assert set(found) == {1}
    assert threads(0) == before


@pytest.fixture
def two_threads():
    """Every library of BLAS has two; what they are called, in their order."""
    before = [library.get_num_threads() for library in resources._blas()]
    resources._set_threads([2] * len(before))
    yield [resources._of_scipy(library) for library in resources._blas()]
    resources._set_threads(before)


def now():
    return [library.get_num_threads() for library in resources._blas()]


def test_lapack_leaves_the_threads_of_numpy_alone(two_threads):
    """Also inside a block where each has one, and after an error."""
    two = [2] * len(two_threads)
    alone = [1 if scipys else 2 for scipys in two_threads] if len(two) > 1 else two
    with resources.one_thread_of_scipy():
        assert now() == alone
        with resources.one_thread_each():
            assert set(now()) == {1}
            with resources.one_thread_of_scipy():
                assert set(now()) == {1}
        assert now() == alone
    assert now() == two
    with pytest.raises(ZeroDivisionError), resources.one_thread_of_scipy():
        1 / 0  # noqa: B018
    assert now() == two


def test_lapack_asks_for_one_thread(two_threads):
    assert lapack.one_thread is resources.one_thread_of_scipy


@pytest.mark.parametrize("moment", [0, 1])
def test_an_interrupt_while_threads_are_set_leaves_them_as_they_were(
    two_threads, moment, monkeypatch
):
    """On the way in or out, in the next block at the latest."""
    calls, plain = [], resources._set_threads

    def interrupted(numbers):
        calls.append(numbers)
        plain(numbers)
        if len(calls) == 1 + moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(resources, "_set_threads", interrupted)
    with pytest.raises(KeyboardInterrupt), resources.one_thread_of_scipy():
        pass
    with resources.one_thread_each():
        assert set(now()) == {1}
    assert set(now()) == {2}
    assert not any(resources._asked.values())


def test_a_worker_that_enters_while_lapack_runs_has_one_thread(two_threads):
    inside, left = threading.Event(), threading.Event()

    def worker():
        with resources.calm_blas():
            inside.set()
            left.wait(10)
            return now()

    with ThreadPoolExecutor(1) as pool:
        with resources.one_thread_of_scipy():
            found = pool.submit(worker)
            assert inside.wait(10)
        # the worker is still there
        assert set(now()) == {1}
        left.set()
        assert set(found.result()) == {1}
    assert set(now()) == {2}


@pytest.mark.parametrize(
    ("path", "scipys"),
    [
        ("env/lib/python3.11/site-packages/scipy.libs/libscipy_openblas-6c.so", True),
        ("env/lib/python3.11/site-packages/scipy/.dylibs/libscipy_openblas.dylib", True),
        ("env/lib/python3.11/site-packages/numpy.libs/libscipy_openblas64_-32.so", False),
        ("env/lib/python3.11/site-packages/numpy/.dylibs/libscipy_openblas64_.dylib", False),
        ("scipy/env/lib/libopenblas.so", False),
    ],
)
def test_wheels_of_both_name_their_library_after_scipy(path, scipys):
    assert resources._of_scipy(SimpleNamespace(filepath=path)) == scipys


def test_any_thread_may_be_the_first_and_the_last():
    """threadpoolctl itself heeds one thread alone."""
    before = [library.get_num_threads() for library in resources._blas()]
    resources._set_threads([2] * len(before))
    entered, left = threading.Event(), threading.Event()

    def first():
        with resources.calm_blas():
            pass
        entered.set()
        left.wait(10)

    def second():
        with resources.calm_blas():
            return [library.get_num_threads() for library in resources._blas()]

    try:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(first)
            entered.wait(10)
            assert set(pool.submit(second).result()) == {1}
            left.set()
        assert {library.get_num_threads() for library in resources._blas()} == {2}
    finally:
        left.set()
        resources._set_threads(before)


def test_workers_are_those_of_dask():
    with dask.config.set(num_workers=3):
        assert workers() == (3, 3)


@pytest.mark.slow
def test_a_cluster_has_its_own_workers_and_memory(client):
    assert workers() == (2, 1)
    assert [room[:2] for room in rooms()] == [(int(SHARE * 2 * GIB), 1)] * 2
    check_memory(int(SHARE * 2 * GIB), 100, "A task", "less")
    with pytest.raises(MemoryError, match=r"A task needs 1\.7 GiB in each of 1 tasks.*Use less"):
        check_memory(1.7 * GIB, 100, "A task", "less")
    with dask.config.set(scheduler="threads"):  # then nothing runs on the cluster
        assert [room.where for room in rooms()] == [f"this machine ({os.cpu_count()} cores)"]


def test_a_task_that_does_not_fit_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(resources, "free_bytes", lambda: 10 * GIB)
    with dask.config.set(num_workers=4):
        check_memory(2.5 * GIB, 100, "A task", "less")
        check_memory(10 * GIB, 1, "A task", "less")
        check_memory(10 * GIB, 100, "A task", "less", here=True)
        with pytest.raises(MemoryError, match=r"3\.0 GiB in each of 4.*fewer threads.*, less"):
            check_memory(3 * GIB, 100, "A task", "less")
        with pytest.raises(MemoryError) as caught:
            check_memory(11 * GIB, 100, "A task", "less")
        with pytest.raises(MemoryError, match=r"needs 11\.0 GiB, and 10\.0 GiB are free on this"):
            check_memory(11 * GIB, 100, "A task", "less", here=True)
    assert "fewer threads" not in str(caught.value)


class FakeClient:
    """What a client knows of its workers: threads, limit, host."""

    def __init__(self, *known):
        self.known = known

    def get(self, *args, **kwargs):
        raise AssertionError("something was computed that should have stayed lazy")

    def scheduler_info(self, n_workers=5):
        assert n_workers == -1
        names = ("nthreads", "memory_limit", "host")
        return {
            "workers": {
                str(i): dict(zip(names, worker, strict=True)) for i, worker in enumerate(self.known)
            }
        }


@pytest.mark.parametrize(
    ("known", "fits", "n_tasks"),
    [
        ([(1, 10 * GIB, "a")], 8, 9),
        ([(4, 10 * GIB, "a")], 2, 9),
        ([(4, 10 * GIB, "a")], 4, 2),  # no more tasks than there are
        # not the smallest limit over the most threads, but the least for a task
        ([(8, 80 * GIB, "a"), (1, 10 * GIB, "b"), (2, 10 * GIB, "c")], 4, 9),
        ([(1, 100 * GIB, "a")] * 7 + [(1, 5 * GIB, "b")], 4, 9),
        # without a limit they share what their machine has; ours stands for it
        ([(1, 0, "a")], 40, 9),
        ([(2, 0, "a"), (2, None, "a"), (2, 0, "b")], 10, 9),
        ([(2, 0, "a"), (1, 10 * GIB, "a")], 8, 9),
        # nothing is known of workers that are yet to come
        ([], 10**6, 9),
    ],
)
def test_what_fits_into_the_workers(monkeypatch, known, fits, n_tasks):
    monkeypatch.setattr(resources, "free_bytes", lambda: 40 * GIB)
    monkeypatch.setattr(resources, "cluster", lambda: FakeClient(*known))
    check_memory(fits * GIB, n_tasks, "A task", "less")
    if known:
        with pytest.raises(MemoryError, match=r"A task needs .* of the cluster.*less"):
            check_memory(fits * GIB * 1.01, n_tasks, "A task", "less")
    with pytest.raises(MemoryError, match="41"):  # what is done here asks no worker
        check_memory(41 * GIB, n_tasks, "A task", "less", here=True)


def test_small_tasks_are_asked_about_on_a_cluster(monkeypatch):
    check_memory(100 * 2**20, 9, "A task", "less")
    monkeypatch.setattr(resources, "cluster", lambda: FakeClient((1, 100 * 2**20, "a")))
    with pytest.raises(MemoryError, match="needs 100 MiB .* 80 MiB are free"):
        check_memory(100 * 2**20, 9, "A task", "less")


LAZY = {
    "rdm": lambda reps: xc.rdm(reps),
    "rsa by ranks": lambda reps: xc.rsa(xc.rdm(reps), xc.rdm(reps)),
    "rsa": lambda reps: xc.alignment(reps, reps, "rsa", method="kendall"),
    "rdm rows": lambda reps: xc.alignment(reps, reps, "rdm"),
    "mutual_knn": lambda reps: xc.alignment(reps, reps),
    "svcca": lambda reps: xc.alignment(reps, reps, "svcca", rng=0),
    "linear_predictivity": lambda reps: xc.alignment(reps, reps, "linear_predictivity", rng=0),
    "cka": lambda reps: xc.alignment(reps, reps, "cka"),
    "procrustes": lambda reps: xc.alignment(reps, reps, "procrustes"),
    "dispersion": lambda reps: xc.dispersion(reps, "rdm"),
    "coordinates": lambda reps: xc.dispersion(reps),
    "pairs": lambda reps: xc.dispersion(reps, "euclidean", pairwise=True),
    "neighborhood": lambda reps: xc.dispersion(reps, "neighborhood"),
    "local_density": lambda reps: xc.local_density(reps),
    "neighbor_graph": lambda reps: xc.neighbor_graph(reps),
    "approximate": lambda reps: xc.neighbor_graph(reps, neighbors="approximate", rng=0),
    "shared_space": lambda reps: xc.shared_space(reps, n_components=64),
    "pca": lambda reps: xc.pca(reps, 64),
    "clamp": lambda reps: xc.clamp(reps, exact=True),
    "noise_ceiling": lambda reps: xc.noise_ceiling(xc.rdm(reps.rename(model="subject"))),
    "binned_rsa": lambda reps: xc.binned_rsa(reps, reps, by_label(reps), n_permutations=0),
}


def by_label(reps):
    """A value of each stimulus."""
    return xr.DataArray(np.arange(reps.sizes["stimulus"]), coords=reps["stimulus"].coords)


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("name", LAZY)
def test_every_call_asks_the_workers_before_it_starts(monkeypatch, name):
    """Of models that no worker can hold a piece of, nothing is read."""
    if name == "approximate":
        pytest.importorskip("faiss")
    client = FakeClient((1, 17 * 2**20, "a"))
    monkeypatch.setattr(BUDGETS, "loaded_space", 0)
    n = 40_000
    values = da.zeros((2, n, 512), chunks=(1, 20_000, 512), dtype=np.float32)
    reps = xr.DataArray(
        values,
        dims=("model", "stimulus", "feature"),
        coords={"model": ["a", "b"], "stimulus": [f"s{i}" for i in range(n)]},
        attrs={"space": "shared"},
    )
    with (
        dask.config.set(scheduler=client),
        pytest.raises(MemoryError, match="of the cluster"),
    ):
        LAZY[name](reps)


@pytest.mark.slow
def test_a_cluster_of_small_workers_refuses_what_threads_take():
    distributed = pytest.importorskip("distributed")
    reps = make_reps(2, 3000, 8).chunk(model=1)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, memory_limit="400MiB", dashboard_address=":0"
        ) as small,
        distributed.Client(small),
    ):
        # an RDM of 3,000 stimuli takes 69 MiB, and no worker has room for two of 8,000
        assert xc.rdm(reps).shape == (2, 3000, 3000)
        many = reps.isel(stimulus=np.arange(8000) % 3000)
        many = many.assign_coords(stimulus=[f"s{i}" for i in range(8000)])
        with pytest.raises(MemoryError, match=r"490 MiB .* 320 MiB are free on a worker"):
            xc.rdm(many)
        with dask.config.set(scheduler="threads"):
            assert xc.rdm(many).sizes["stimulus_2"] == 8000
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
        ) as free,
        distributed.Client(free),
    ):
        (room,) = rooms()  # both share this machine
        assert room.tasks == 2
        assert room.free == pytest.approx(free_bytes(), rel=0.2)


def test_kernels_on_all_cores_have_one_thread_of_blas_each(monkeypatch):
    # OpenMP, which comes with faiss, counts the threads of each thread apart
    libraries = [one for one in resources._blas() if one.threading_layer != "openmp"]

    def threads(item):
        return item, {library.get_num_threads() for library in libraries}

    before = threads(0)[1]
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert blocks.on_cores(threads, range(5), 1) == [(i, {1}) for i in range(5)]
    assert threads(0)[1] == before
    monkeypatch.setattr(BUDGETS, "small_task", 10)
    # no two of them fit
    assert blocks.on_cores(threads, range(2), 6) == [(i, before) for i in range(2)]
    with pytest.raises(ZeroDivisionError):
        blocks.on_cores(lambda item: 1 / item, range(3), 1)
    assert threads(0)[1] == before


def test_threads_heed_what_this_one_was_told(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    def divided(item):
        return np.float64(item) / np.zeros(1)[0]

    with np.errstate(divide="ignore"):
        assert blocks.on_cores(divided, [1, 2, 3], 1) == [np.inf] * 3
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        blocks.on_cores(divided, [1, 2, 3], 1)


@pytest.mark.parametrize(("tasks", "cores"), [(0, 6), (1, 6), (2, 3), (4, 1), (6, 1), (9, 1)])
def test_few_tasks_share_the_cores(tasks, cores):
    with dask.config.set(num_workers=6):
        assert resources.cores_of_a_task(tasks) == cores


@pytest.mark.parametrize("chunks", [{"model": -1}, {"model": 1}, {"model": -1, "stimulus": 4}])
def test_a_task_over_models_is_refused_however_they_lie_in_chunks(chunks, monkeypatch):
    monkeypatch.setattr(BUDGETS, "small_task", 10)
    monkeypatch.setattr(resources, "free_bytes", lambda: 100)
    reps = make_reps(4, 12, 8).assign_attrs(space="shared").chunk(chunks)
    for call in ({}, {"pairwise": True}):
        with pytest.raises(MemoryError, match="A task over"):
            xc.dispersion(reps, **call)
