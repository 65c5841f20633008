"""Threads and memory that a job may use, here and on a cluster."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import pytest

from xconverge.engine import resources
from xconverge.engine.resources import GIB, SHARE, check_memory, free_bytes, workers


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


def test_a_cluster_has_its_own_workers_and_memory(client):
    assert workers() == (2, 1)
    assert free_bytes() == int(SHARE * 2 * GIB)
    check_memory(int(SHARE * 2 * GIB), 100, "A task", "less")
    with pytest.raises(MemoryError, match=r"A task needs 1\.7 GiB in each of 1 tasks.*Use less"):
        check_memory(1.7 * GIB, 100, "A task", "less")


def test_a_task_that_does_not_fit_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(resources, "free_bytes", lambda: 10 * GIB)
    with dask.config.set(num_workers=4):
        check_memory(2.5 * GIB, 100, "A task", "less")
        check_memory(10 * GIB, 1, "A task", "less")
        with pytest.raises(MemoryError, match=r"3\.0 GiB in each of 4.*fewer threads.*, less"):
            check_memory(3 * GIB, 100, "A task", "less")
        with pytest.raises(MemoryError) as caught:
            check_memory(11 * GIB, 100, "A task", "less")
    assert "fewer threads" not in str(caught.value)


def test_memory_without_a_limit_is_all(monkeypatch):
    class Client:
        def scheduler_info(self):
            return {"workers": {"one": {"memory_limit": 0}}}

    monkeypatch.setattr(resources, "cluster", Client)
    assert free_bytes() == sys.maxsize
