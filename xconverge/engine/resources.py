"""What a job may use: threads of BLAS and memory. How much of it, is in ``kernels.budgets``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import dask
import psutil
from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

from xconverge.labels.coordinates import cluster

GIB = 2**30
SHARE = 0.8
"""Of the memory that is free, the part that a job may plan with."""

_lock = threading.Lock()
_calm: dict[str, Any] = {"users": 0, "before": []}


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _blas() -> list[Any]:
    return [library for library in _controller().lib_controllers if library.user_api == "blas"]


def _set_threads(numbers: Sequence[int]) -> None:
    """Give every library of BLAS its number of threads, from whatever thread."""
    for library, number in zip(_blas(), numbers, strict=True):
        # from 3.8 on, threadpoolctl heeds the first thread that sets OpenBLAS's, as long as it is
        # alive, and silently no other: a worker would compute with all cores, and other digits
        getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


@contextmanager
def calm_blas() -> Iterator[None]:
    """One thread of BLAS for each worker of dask, while any of them computes.

    The main thread keeps all: nobody works beside it.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    with _lock:
        if not _calm["users"]:
            _calm["before"] = [library.get_num_threads() for library in _blas()]
            _set_threads([1] * len(_calm["before"]))
        _calm["users"] += 1
    try:
        yield
    finally:
        with _lock:
            _calm["users"] -= 1
            if not _calm["users"]:
                _set_threads(_calm["before"])


def workers() -> tuple[int, int]:
    """Tasks that run at the same time, and how many of them share one memory."""
    client = cluster()
    if client is not None:
        threads = list(client.nthreads().values())
        return max(1, sum(threads)), max([1, *threads])
    local = dask.config.get("num_workers", None) or CPU_COUNT
    return int(local), int(local)


def free_bytes() -> int:
    """Memory that a job may plan with: of a worker of the cluster, or of this machine."""
    client = cluster()
    if client is not None:
        known = client.scheduler_info()["workers"].values()
        limits = [worker["memory_limit"] for worker in known if worker["memory_limit"]]
        return int(SHARE * min(limits)) if limits else sys.maxsize
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, limit - used)
    return int(SHARE * free)


def check_memory(task_bytes: float, n_tasks: int, what: str, cure: str) -> None:
    """Refuse, before it starts, a job whose tasks do not fit into memory together."""
    together = min(workers()[1], max(1, n_tasks))
    free = free_bytes()
    if task_bytes * together <= free:
        return
    fewer = (
        "fewer threads a worker (dask.config.set(num_workers=1), or a cluster of workers with one "
        "thread), "
        if together > 1 and task_bytes <= free
        else ""
    )
    raise MemoryError(
        f"{what} needs {task_bytes / GIB:,.1f} GiB in each of {together} tasks at a time, and "
        f"{free / GIB:,.1f} GiB are free ({os.cpu_count()} cores). Use {fewer}{cure}"
    )
