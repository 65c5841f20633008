"""Long runs of draws: in parallel, with progress, and not lost when interrupted."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import dask.base
import xarray as xr

from xconverge.engine.measure import Part, Recipe
from xconverge.engine.resampling import PERMUTATIONS, blocks_of, draw, joined
from xconverge.engine.resources import workers
from xconverge.kernels.permutations import BLOCK, permutations
from xconverge.kernels.vectors import Array

Progress = Callable[[int, int], None]
PATIENCE = 5.0
"""Seconds before progress is shown."""


class Report:
    """Tell on the terminal how many are done, from the fifth second on."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.begin = time.monotonic()
        self.shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        seconds = time.monotonic() - self.begin
        if seconds > PATIENCE and (self.shown or done < total):
            left = seconds / done * (total - done)
            end = "\n" if done >= total else ""
            line = f"\r{self.what}: {done:,} of {total:,}, {left:.0f} s left   "
            print(line, end=end, file=sys.stderr, flush=True)
            self.shown = True


def run(
    recipe: Recipe,
    seen_a: xr.DataArray,
    seen_b: xr.DataArray,
    n_draws: int,
    seed: int,
    strata: xr.DataArray | None,
    progress: Progress,
    draws: Callable[..., Array] = permutations,
) -> tuple[xr.DataArray, int]:
    """Draws (draw, …) in memory, the observed first, and how many others were done.

    What the scores are made of is computed once; then blocks of draws, a few at a time, by
    dask's scheduler or the cluster. An interrupt keeps the blocks that are done.
    """
    recipe = _computed(recipe)
    seen_a, seen_b = dask.base.compute(seen_a, seen_b)
    blocks = blocks_of(n_draws, lazy=True)
    scores = draw(recipe, seen_a, seen_b, blocks, seed, strata, draws)
    done = in_blocks(scores, PERMUTATIONS, BLOCK, n_draws, progress)
    finished = min(n_draws, done.sizes[PERMUTATIONS] * BLOCK - 1)
    return joined(done, finished), finished


def in_blocks(
    lazy: xr.DataArray, dim: str, size: int, total: int, progress: Progress
) -> xr.DataArray:
    """Compute an array a few blocks along ``dim`` at a time; an interrupt keeps those done.

    Every position of ``dim`` stands for ``size`` draws: the observed one first, then ``total``.
    """
    done: list[xr.DataArray] = []
    step = 4 * workers()[0]
    try:
        for start in range(0, lazy.sizes[dim], step):
            done.append(lazy.isel({dim: slice(start, start + step)}).compute())
            progress(min(total, (start + step) * size - 1), total)
    except KeyboardInterrupt:
        if not done:
            raise
        finished = min(total, len(done) * step * size - 1)
        warnings.warn(
            f"interrupted: the result rests on the {finished} of {total} draws that were done",
            RuntimeWarning,
            stacklevel=4,
        )
    return xr.concat(done, dim, coords="minimal", compat="override")


def _computed(recipe: Recipe) -> Recipe:
    """The recipe with its arrays made, in memory or on the cluster."""

    def made(parts: Sequence[Part]) -> list[Part]:
        arrays = dask.base.persist(*(array for array, _ in parts))
        return [(array, core) for array, (_, core) in zip(arrays, parts, strict=True)]

    return replace(recipe, a=made(recipe.a), b=made(recipe.b), both=made(recipe.both))
