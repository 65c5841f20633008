"""What a job may use: threads of BLAS and memory. How much of it, is in ``kernels.budgets``."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import dask
import psutil
from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

from xconverge.kernels import blocks, lapack
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.coordinates import cluster

GIB = 2**30
SHARE = 0.8
"""Of the memory that is free, the part that a job may plan with."""

_lock = threading.Lock()
_asked: dict[str, set[object]] = {"one each": set(), "of scipy": set()}
_before: list[int] = []
_given: list[int] = []


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
    with one_thread_each():
        yield


def one_thread_each() -> AbstractContextManager[None]:
    """One thread of BLAS, whoever asks."""
    return _threads("one each")


def one_thread_of_scipy() -> AbstractContextManager[None]:
    """One thread for the BLAS that came with scipy, where that of numpy is another."""
    return _threads("of scipy")


@contextmanager
def _threads(asked: str) -> Iterator[None]:
    """While somebody asks. An interrupt may come at any line: who has gone asks no more."""
    me = object()
    try:
        with _lock:
            if not any(_asked.values()):
                now = [library.get_num_threads() for library in _blas()]
                # what an interrupt left is none of the caller's
                if now != _given:
                    _before[:] = now
            _asked[asked].add(me)
            _settle()
        yield
    finally:
        _asked[asked].discard(me)
        with _lock:
            _settle()


def _settle() -> None:
    wanted = _wanted()
    _set_threads(wanted)
    _given[:] = wanted


def _wanted() -> list[int]:
    """What all who ask now agree on, library by library."""
    if _asked["one each"]:
        return [1] * len(_before)
    if _asked["of scipy"] and len(_before) > 1:
        return [1 if _of_scipy(library) else n for library, n in zip(_blas(), _before, strict=True)]
    return _before


def _of_scipy(library: Any) -> bool:
    """Whether it came with scipy: wheels hold it in a folder, both under the name of scipy."""
    return not {"scipy", "scipy.libs"}.isdisjoint(Path(library.filepath).parts[-3:-1])


# kernels know nothing of threads of BLAS
blocks.calm = one_thread_each
lapack.one_thread = one_thread_of_scipy


def client() -> Any:
    """The client of the cluster that what is called now will compute on, or None.

    None too where dask was told of another scheduler (``dask.config.set(scheduler="threads")``).
    Which one a later ``.compute(scheduler=…)`` names, nobody knows yet.
    """
    asked = dask.config.get("scheduler", None)
    asked = getattr(asked, "__self__", asked)  # of a client, or of its method ``get``
    if hasattr(asked, "scheduler_info"):
        return asked
    return cluster() if asked in (None, "dask.distributed", "distributed") else None


def workers() -> tuple[int, int]:
    """Tasks that run at the same time, and how many of them share one memory."""
    found = client()
    if found is not None:
        threads = list(found.nthreads().values())
        return max(1, sum(threads)), max([1, *threads])
    return local_threads(), local_threads()


def cores_of_a_task(n_tasks: int) -> int:
    """Cores of this machine that so few tasks leave to the kernel of each; on a cluster its own."""
    return max(1, local_threads() // max(n_tasks, 1)) if client() is None else 1


def local_threads() -> int:
    """Tasks that run at the same time in this process."""
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _this_machine() -> str:
    return f"this machine ({os.cpu_count()} cores)"


def free_bytes() -> int:
    """Memory of this machine, or of the control group of this process, that may be planned with."""
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, limit - used)
    return int(SHARE * free)


class Room(NamedTuple):
    """One memory: bytes that tasks may take of it, how many run in it at a time, whose it is."""

    free: int
    tasks: int
    where: str


def rooms() -> list[Room]:
    """The memories that tasks run in: this machine's, or that of each worker of the cluster.

    Workers without a limit share the memory of their machine. Of that we know nothing but that of
    ours, which stands for it. A cluster without any worker, as yet, has none.
    """
    found = client()
    if found is None:
        return [Room(free_bytes(), local_threads(), _this_machine())]
    # -1: some versions of distributed tell of five workers alone
    known = found.scheduler_info(n_workers=-1)["workers"]
    result = []
    unlimited: dict[Any, int] = {}
    for worker in known.values():
        threads = int(worker.get("nthreads") or 1)
        if worker.get("memory_limit"):
            result.append(Room(int(SHARE * worker["memory_limit"]), threads, WORKER))
        else:
            host = worker.get("host")
            unlimited[host] = unlimited.get(host, 0) + threads
    return result + [Room(free_bytes(), threads, UNLIMITED) for threads in unlimited.values()]


WORKER = "a worker of the cluster (its memory_limit)"
UNLIMITED = "a machine of the cluster, whose workers have no memory_limit"


def check_memory(
    task_bytes: float, n_tasks: int, what: str, cure: str, *, here: bool = False
) -> None:
    """Refuse, before it starts, a job whose tasks do not fit into memory together.

    Of the smallest worker of the cluster that is active when a function is called, else of this
    machine; of this machine too where the work is done ``here``, in the process that calls.
    """
    small = BUDGETS.small_task if here or client() is None else BUDGETS.any_worker
    if task_bytes <= small:
        return
    known = [Room(free_bytes(), 1, _this_machine())] if here else rooms()
    for room in sorted(known, key=lambda room: room.free / room.tasks):
        together = min(room.tasks, max(1, n_tasks))
        if task_bytes * together <= room.free:
            continue
        fewer = (
            "fewer threads a worker (dask.config.set(num_workers=1), or a cluster of workers with "
            "one thread), "
            if together > 1 and task_bytes <= room.free
            else ""
        )
        at_a_time = f" in each of {together} tasks at a time" if not here else ""
        raise MemoryError(
            f"{what} needs {in_words(task_bytes)}{at_a_time}, and {in_words(room.free)} are free "
            f"on {room.where}. Use {fewer}{cure}"
        )


def room_of_a_task() -> float:
    """Bytes that every task may take, however many run at a time."""
    return min(room.free / room.tasks for room in rooms())


def in_words(n_bytes: float) -> str:
    """A number of bytes as people read it."""
    return f"{n_bytes / GIB:,.1f} GiB" if n_bytes >= GIB else f"{n_bytes / 2**20:,.0f} MiB"
