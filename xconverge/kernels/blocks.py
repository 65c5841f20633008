"""Parts of a range, and blocks of it in the cache, on all cores where nobody else uses them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

from xconverge.kernels.budgets import BUDGETS

_OURS = threading.local()


@contextmanager
def on_all_cores(allowed: bool) -> Iterator[None]:
    """Whether blocks may use all cores though this is not the main thread: nobody else does."""
    before = getattr(_OURS, "all", False)
    _OURS.all = allowed
    try:
        yield
    finally:
        _OURS.all = before


def split(whole: slice, step: int) -> list[slice]:
    """Parts of up to ``step`` (or 1), as equal as they can be."""
    size = whole.stop - whole.start
    count = -(-size // max(step, 1))
    return [
        slice(*edge) for edge in pairwise(whole.start + i * size // count for i in range(count + 1))
    ]


def over_blocks(work: Callable[[Sequence[slice]], None], length: int, row_bytes: int) -> None:
    """Call ``work`` with slices that cover ``length``, each of about 4 MiB.

    From the main thread every core gets its share of the slices in one call; any other thread
    does all of them, because a worker of dask is one of several already.
    """
    step = max(1, BUDGETS.cache_block // max(row_bytes, 1))
    slices = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    cores = os.cpu_count() or 1
    mine = threading.current_thread() is threading.main_thread() or getattr(_OURS, "all", False)
    if not mine or len(slices) < 2 * cores:
        work(slices)
        return
    with ThreadPoolExecutor(cores) as pool:
        for _ in pool.map(work, [slices[core::cores] for core in range(cores)]):
            pass
