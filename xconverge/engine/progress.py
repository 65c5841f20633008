"""Long runs of draws: in parallel, with progress, and not lost when interrupted."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, TypeVar

import xarray as xr

from xconverge.engine.resources import local_threads, one_thread_each, workers
from xconverge.kernels.blocks import shares
from xconverge.labels.messages import escaped

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
PATIENCE = 5.0
"""Seconds before progress is shown."""
QUICK = 1.0
"""Seconds that a few blocks take at least, where there are enough of them."""


_options: dict[str, bool | None] = {"progress": None}


def set_options(*, progress: bool | None = None) -> None:
    """Settings for this process.

    Parameters
    ----------
    progress : bool, optional
        Whether long calls show how far they are: True anywhere, False nowhere; by default, and
        again with None, in a terminal and in Jupyter alone.

    Raises
    ------
    TypeError
        Something else than True, False or None.

    Examples
    --------
    >>> set_options(progress=False)
    >>> set_options(progress=None)
    """
    if not isinstance(progress, bool | None):
        raise TypeError(f"progress={progress!r} must be True, False or None")
    _options["progress"] = progress


def _shown() -> bool:
    """Whether somebody watches: a terminal, or a notebook."""
    if _options["progress"] is not None:
        return bool(_options["progress"])
    return bool(_stderr().isatty()) or "ipykernel" in sys.modules


def _stderr() -> Any:
    """Where a carriage return goes back to the start of the line: the command line escapes it."""
    return getattr(sys.stderr, "unescaped", sys.stderr)


class Report:
    """Tell on the terminal how many are done, from the fifth second on."""

    def __init__(self, what: str) -> None:
        self.what = escaped(what)
        self.begin = time.monotonic()
        self.shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        seconds = time.monotonic() - self.begin
        if _shown() and seconds > PATIENCE and (self.shown or done < total):
            left = seconds / done * (total - done)
            end = "\n" if done >= total else ""
            line = f"\r{self.what}: {done:,} of {total:,}, {left:.0f} s left   "
            print(line, end=end, file=_stderr(), flush=True)
            self.shown = True


def in_blocks(
    lazy: xr.DataArray, dim: str, size: int, total: int, progress: Progress
) -> xr.DataArray:
    """Compute an array a few blocks along ``dim`` at a time; an interrupt keeps those done.

    Every position of ``dim`` stands for ``size`` draws: the observed one first, then ``total``.
    More blocks at a time where they are quick: workers wait for each other at the end of a few.
    """
    done: list[xr.DataArray] = []
    start, step = 0, 4 * workers()[0]
    try:
        while start < lazy.sizes[dim]:
            begin = time.monotonic()
            done.append(lazy.isel({dim: slice(start, start + step)}).compute())
            start += step
            progress(min(total, start * size - 1), total)
            if time.monotonic() - begin < QUICK:
                step *= 2
    except KeyboardInterrupt:
        if not done:
            raise
        finished = min(total, start * size - 1)
        warnings.warn(
            f"interrupted: the result rests on the {finished} of {total} draws that were done",
            RuntimeWarning,
            stacklevel=4,
        )
    return xr.concat(done, dim, coords="minimal", compat="override")


class Interrupted(KeyboardInterrupt):
    """An interrupt, with what was ``done`` before it."""

    def __init__(self, done: list[Any]) -> None:
        super().__init__(f"interrupted after {len(done)}")
        self.done = done


def side_by_side(
    work: Callable[[Sequence[int]], Sequence[Result]],
    total: int,
    size: int,
    told: Progress,
    threads: int | None = None,
) -> list[Result]:
    """What ``work`` makes of the numbers below ``total``, in this process.

    Up to ``size`` numbers are one task, and tasks are as equal as they can be: threads end
    together. One thread is this one.

    Raises
    ------
    Interrupted
        A KeyboardInterrupt that holds what the first of the numbers came to.
    """
    threads = threads or local_threads()
    count = min(total, threads * -(-total // (threads * size)))
    tasks = [range(total)[part] for part in shares(slice(0, total), count)]
    done: list[Result] = []
    with ExitStack() as stack:
        made: Iterator[Sequence[Result]] = map(work, tasks)
        if threads > 1:
            stack.enter_context(one_thread_each())
            pool = stack.enter_context(ThreadPoolExecutor(threads))
            stack.callback(pool.shutdown, cancel_futures=True)
            made = pool.map(work, tasks)
        try:
            for part in made:
                done += part
                told(len(done), total)
        except KeyboardInterrupt:
            raise Interrupted(done) from None
    return done
