"""Models too long for one task: their rows are read block by block, where they are needed.

A task gets a handle instead of an array and reads one block after the other, in its own thread,
so that its memory does not grow with the number of stimuli, whatever the scheduler does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import dask.array as da
import dask.base
import numpy as np
import xarray as xr

from xconverge.engine.resources import SMALL, check_memory
from xconverge.kernels.blocks import split
from xconverge.kernels.vectors import Array

WHOLE_BYTES = 2**24
"""A model of up to this size is held by one task as it is."""
MANY_BYTES = 2**28
"""Models of up to this size together are held by one task where it compares all of them."""
BLOCK_BYTES = 2**24
"""What a task reads of a model at a time, or one chunk of its source where that is larger."""
MOST_BYTES = 2**26
"""The largest block that a task keeps while it reads the others."""

ROW = "_row"


class Rows:
    """Rows (n, F) of one model, read when asked for."""

    def __init__(self, source: da.Array) -> None:
        (self.source,) = dask.base.optimize(source)
        self.shape = source.shape
        self.dtype = source.dtype
        step = max(1, BLOCK_BYTES // max(1, source.shape[1] * source.dtype.itemsize))
        self.spans = spans(source.chunks[0], step)

    def __dask_tokenize__(self) -> Any:
        return dask.base.tokenize(self.source)

    def read(self, part: slice) -> Array:
        """The rows of this part."""
        return np.asarray(self.source[part].compute(scheduler="synchronous"))


def spans(chunks: tuple[int, ...], step: int) -> list[slice]:
    """Blocks of up to ``step`` rows, made of whole chunks; a larger chunk is one block."""
    stops, end = [0], 0
    for size in chunks:
        if end > stops[-1] and end + size - stops[-1] > step:
            stops.append(end)
        end += size
    return [slice(*pair) for pair in pairwise([*stops, end])]


def is_long(reps: xr.DataArray) -> bool:
    """Whether one model of a lazy set is too large for a task, and longer than wide."""
    if reps.chunks is None or len(reps.variable.chunksizes["stimulus"]) == 1:
        return False
    n, width = reps.sizes["stimulus"], reps.sizes["feature"]
    return n > width and n * width * reps.dtype.itemsize > WHOLE_BYTES and not _on_cluster(reps)


def are_many(reps: xr.DataArray) -> bool:
    """Whether the models of a lazy set are together too large for a task."""
    return reps.chunks is not None and reps.nbytes > MANY_BYTES and not _on_cluster(reps)


def _on_cluster(reps: xr.DataArray) -> bool:
    """Whether its blocks are futures, which only the scheduler can hand to a task."""
    layers = reps.data.dask.layers.values()
    values = (value for layer in layers if len(layer) for value in [next(iter(layer.values()))])
    return any("distributed" in type(getattr(v, "value", v)).__module__ for v in values)


def handles(reps: xr.DataArray) -> xr.DataArray:
    """Handles (…, model) of the rows of each model, each a chunk of its own."""
    array = reps.transpose(..., "stimulus", "feature")
    if array.chunks is None:
        array = array.chunk()
    _check_blocks(array)
    found = np.empty(array.shape[:-2], dtype=object)
    for position in np.ndindex(found.shape):
        found[position] = Rows(array.data[position])
    lazy = da.from_array(found, chunks=1, name=f"rows-{dask.base.tokenize(array.data)}")
    return array.isel({"stimulus": 0, "feature": 0}, drop=True).copy(data=lazy)


def _check_blocks(array: xr.DataArray) -> None:
    """Refuse chunks (…, stimulus, feature) of which a task cannot hold a few, also in double."""
    n_tasks, width = array[..., 0, 0].size, array.shape[-1]
    longest = max(array.data.chunks[-2])
    need = 3 * longest * width * (array.dtype.itemsize + 8)
    if need > SMALL:
        check_memory(
            need + SMALL,
            n_tasks,
            f"Reading chunks of {longest:,} stimuli × {width:,} features",
            "smaller chunks: write_representations(…, overwrite=True) gives a store those of "
            "xconverge.recommend_chunks",
        )


def over_queries(
    reps: xr.DataArray, call: Callable[[slice], Sequence[xr.DataArray]], most: int | None = None
) -> list[xr.DataArray]:
    """Results of ``call`` for every block of stimuli, joined along ``ROW``.

    A block is a sixteenth of a model, within bounds, and a task of its own. Where it must not have
    more than ``most`` rows, chunks are split.
    """
    row = reps.sizes["feature"] * reps.dtype.itemsize
    size = min(max(reps.sizes["stimulus"] * row // 16, BLOCK_BYTES), MOST_BYTES)
    parts = spans(reps.variable.chunksizes["stimulus"], max(1, min(size // row, most or size)))
    if most is not None:
        parts = [piece for part in parts for piece in split(part, most)]
    blocks = [call(part) for part in parts]
    return [
        xr.concat(parts, ROW, coords="minimal", compat="override", join="exact")
        for parts in zip(*blocks, strict=True)
    ]


def on_stimuli(result: xr.DataArray, reps: xr.DataArray) -> xr.DataArray:
    """What is along ``ROW``, with the labels of the stimuli."""
    return result.rename({ROW: "stimulus"}).assign_coords(reps["stimulus"].coords)


def by_rows(reps: xr.DataArray, call: Callable[[slice], xr.DataArray]) -> xr.DataArray:
    """What ``call`` makes of the rows of every block of stimuli, each for itself."""
    if reps.chunks is None:
        return call(slice(None))
    step = max(1, BLOCK_BYTES // (reps.sizes["feature"] * reps.dtype.itemsize))
    parts = [call(part) for part in spans(reps.variable.chunksizes["stimulus"], step)]
    bare = [
        part.drop_vars([name for name, coord in part.coords.items() if "stimulus" in coord.dims])
        for part in parts
    ]
    whole = xr.concat(bare, "stimulus", coords="minimal", compat="override", join="exact")
    return whole.assign_coords(reps["stimulus"].coords)
