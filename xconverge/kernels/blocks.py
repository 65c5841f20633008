"""Parts of a range, and blocks of it in the cache, on all cores where nobody else uses them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from itertools import pairwise
from typing import TypeVar

from xconverge.kernels.budgets import BUDGETS

Item = TypeVar("Item")
Result = TypeVar("Result")

calm: Callable[[], AbstractContextManager[None]] = nullcontext
"""What leaves each thread one thread of BLAS; the engine says how."""
_OURS = threading.local()


@contextmanager
def on_own_cores(count: int) -> Iterator[None]:
    """So many cores are for blocks of this thread, though it is not the main one."""
    before = getattr(_OURS, "cores", 1)
    _OURS.cores = count
    try:
        yield
    finally:
        _OURS.cores = before


def _cores() -> int:
    """How many threads may work: any but the main one is a worker of dask, one of several."""
    main = threading.current_thread() is threading.main_thread()
    return (os.cpu_count() or 1) if main else getattr(_OURS, "cores", 1)


def _work_on(cores: int, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """In threads that heed ``numpy.errstate`` and other settings of this one."""
    contexts = [copy_context() for _ in items]
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(lambda context, item: context.run(work, item), contexts, items))


def split(whole: slice, step: int) -> list[slice]:
    """Parts of up to ``step`` (or 1), as equal as they can be."""
    return shares(whole, -(-(whole.stop - whole.start) // max(step, 1)))


def shares(whole: slice, count: int) -> list[slice]:
    """So many parts, as equal as they can be."""
    size = whole.stop - whole.start
    edges = (whole.start + i * size // max(count, 1) for i in range(count + 1))
    return [slice(*edge) for edge in pairwise(edges)]


def over_blocks(work: Callable[[Sequence[slice]], None], length: int, row_bytes: int) -> None:
    """Call ``work`` with slices that cover ``length``, each of about 4 MiB.

    From the main thread every core gets its share of the slices in one call; any other thread
    does all of them, because a worker of dask is one of several already.
    """
    step = max(1, BUDGETS.cache_block // max(row_bytes, 1))
    slices = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    cores = _cores()
    if cores < 2 or len(slices) < 2 * cores:
        work(slices)
        return
    _work_on(cores, work, [slices[core::cores] for core in range(cores)])


def on_cores(
    work: Callable[[Item], Result], items: Sequence[Item], item_bytes: int
) -> list[Result]:
    """What ``work`` makes of each of the items, which take so many bytes while they are worked on.

    From the main thread one a core, of those that fit into a small task together.
    """
    fit = BUDGETS.small_task // max(item_bytes, 1)
    count = min(_cores(), len(items), fit)
    if count < 2:
        return [work(item) for item in items]
    with calm():
        return _work_on(count, work, items)
