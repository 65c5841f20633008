"""Models too long for one task: their rows are read block by block, each block by a task.

A reduction over blocks is data, as in flox: ``part`` of a block, ``merge`` of several, ``finish``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.apply import apply, named_rows
from xconverge.engine.graph import Graph, Key
from xconverge.engine.resources import check_memory
from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array, present, unchanged
from xconverge.labels.checks import widths
from xconverge.labels.coordinates import carried
from xconverge.labels.joins import on_side


class Reduction(NamedTuple):
    """How blocks of rows make a result.

    ``part`` takes a block (b, F), its width and what else is given, cut to the block; ``merge`` a
    list of its results, in order; ``finish`` what they merge to.
    """

    part: Callable[..., Any]
    merge: Callable[[list[Any]], Any]
    finish: Callable[[Any], Any]


def is_long(reps: xr.DataArray) -> bool:
    """Whether one model of a lazy set is too large for a task, and longer than wide."""
    if reps.chunks is None or len(reps.variable.chunksizes["stimulus"]) == 1:
        return False
    n, width = reps.sizes["stimulus"], reps.sizes["feature"]
    return n > width and n * width * reps.dtype.itemsize > BUDGETS.whole_model


def are_many(reps: xr.DataArray) -> bool:
    """Whether the models of a lazy set are together too large for a task."""
    return reps.chunks is not None and reps.nbytes > BUDGETS.many_models


def are_large(*sets: xr.DataArray) -> bool:
    """Whether a model of any set, or all models of one together, are too large for a task."""
    return any(is_long(reps) or are_many(reps) for reps in sets)


def spans(chunks: tuple[int, ...], step: int) -> list[slice]:
    """Blocks of up to ``step`` rows, made of whole chunks; a larger chunk is one block."""
    stops, end = [0], 0
    for size in chunks:
        if end > stops[-1] and end + size - stops[-1] > step:
            stops.append(end)
        end += size
    return [slice(*pair) for pair in pairwise([*stops, end])]


def read_spans(reps: xr.DataArray) -> list[slice]:
    """What is read of a model at a time; chunks of which a task cannot hold a few are refused."""
    width = reps.sizes["feature"]
    chunks = reps.variable.chunksizes["stimulus"]
    need = 3 * max(chunks) * width * (reps.dtype.itemsize + 8)
    # large chunks stand beside blocks of their own size; those of our stores are blocks themselves
    beside = BUDGETS.small_task if need > BUDGETS.small_task else 0
    check_memory(
        need + beside,
        reps.size // (reps.sizes["stimulus"] * width),
        f"Reading chunks of {max(chunks):,} stimuli × {width:,} features",
        "smaller chunks: write_representations(…, overwrite=True) gives a store those of "
        "xconverge.recommend_chunks",
    )
    return spans(chunks, max(1, BUDGETS.read_block // (width * reps.dtype.itemsize)))


def query_spans(reps: xr.DataArray, most: int | None = None) -> list[slice]:
    """Blocks of stimuli that ask all others, each of which reads the whole model once.

    Where they must not have more than ``most`` rows, chunks are split.
    """
    step = max(1, BUDGETS.query_block // (reps.sizes["feature"] * reps.dtype.itemsize))
    parts = spans(reps.variable.chunksizes["stimulus"], min(step, most or step))
    return parts if most is None else [piece for part in parts for piece in split(part, most)]


def both_lazy(a: xr.DataArray, b: xr.DataArray) -> list[xr.DataArray]:
    """Both sides; one that is in memory in the blocks of the other, which copies nothing."""
    chunks = next(s.variable.chunksizes["stimulus"] for s in (a, b) if s.chunks)
    return [
        # of the variable: .chunk() of a DataArray would make its coordinates lazy too
        side if side.chunks else side.copy(data=side.variable.chunk(stimulus=chunks).data)
        for side in (a, b)
    ]


class Sources:
    """The models of a lazy set, one by one: position in outer dims, rows (n, F), width, name."""

    def __init__(self, reps: xr.DataArray, what: str) -> None:
        array = reps.transpose(..., "stimulus", "feature")
        self.reps, self.what = reps, what
        self.outer = array.isel(stimulus=0, feature=0, drop=True)
        self.shape = self.outer.shape
        self.dims = self.outer.dims
        real = widths(reps, what)
        if real.ndim:
            real, _ = xr.broadcast(real, self.outer.reset_coords(drop=True))
            real = real.transpose(*self.dims)
        self.positions = list(np.ndindex(self.shape))
        self.rows: list[da.Array] = [array.data[position] for position in self.positions]
        self.widths = np.broadcast_to(real.values, self.shape).ravel().astype(int).tolist()
        self.stimuli = np.asarray(reps.indexes["stimulus"], dtype=object)
        names = reps.indexes["model"] if "model" in self.dims else None
        self.names = [
            "" if names is None else names[position[self.dims.index("model")]]
            for position in self.positions
        ]

    def named(self, function: Callable[..., Any], number: int, part: slice) -> Callable[..., Any]:
        """The function; a fault in its rows is told with the labels of model and stimulus."""
        return partial(_named, function, self.names[number], self.stimuli[part], f"{self.what}")

    def numbers(self) -> xr.DataArray:
        """The number (…, model) of every model, with its labels."""
        coords = {n: c for n, c in self.outer.coords.items() if n != "n_features"}
        numbers = np.arange(len(self.names)).reshape(self.shape)
        return xr.DataArray(numbers, dims=self.dims, coords=coords)

    def labelled(self, arrays: Sequence[da.Array], dims: Sequence[str]) -> xr.DataArray:
        """One array (…, model, *dims) of an array of each model."""
        stacked = da.stack(list(arrays)) if self.shape else arrays[0]
        data = stacked.reshape(*self.shape, *arrays[0].shape) if len(self.shape) != 1 else stacked
        labels = self.numbers().coords
        return xr.DataArray(data, dims=(*self.dims, *dims), coords=labels)


def pair_positions(a: Sources, b: Sources) -> tuple[xr.DataArray, xr.DataArray]:
    """Positions in either side of every pair (…, model_a, model_b): extra dims meet by label."""
    places = [on_side(side.numbers(), "model", f"_{w}") for side, w in ((a, "a"), (b, "b"))]
    one, other = xr.broadcast(*xr.align(*places, join="exact"))
    # models last, wherever they are in the sets: tiles are made of them
    one = one.transpose(..., "model_a", "model_b")
    return one, other.transpose(*one.dims)


def _named(
    function: Callable[..., Any], model: str, stimuli: Array, what: str, *blocks: Any
) -> Any:
    return named_rows(function, *blocks, model, stimuli, what=what)


def reduce_rows(
    reps: xr.DataArray,
    reduction: Reduction,
    out: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    dtypes: Sequence[Any],
    given: Sequence[xr.DataArray] = (),
    what: str = "reps",
) -> tuple[xr.DataArray, ...]:
    """What a reduction makes of the rows of every model: arrays (…, model, *out).

    ``given`` are arrays in memory; those with a dim ``stimulus`` are cut to the block. A model
    that is not long is one block, and one task.
    """
    if not is_long(reps):
        found = apply(
            partial(_in_one, reduction=reduction),
            reps,
            widths(reps, what),
            *given,
            core=[["stimulus", "feature"], [], *(list(map(str, array.dims)) for array in given)],
            out=out,
            sizes=sizes,
            dtypes=dtypes,
            labels=("model", "stimulus"),
            what=what,
        )
        return found if isinstance(found, tuple) else (found,)
    sources = Sources(reps, what)
    graph = Graph(reps.data, reduction, given, what)
    parts = read_spans(reps)
    keys: list[list[Key]] = [[] for _ in out]
    for number, (rows, width) in enumerate(zip(sources.rows, sources.widths, strict=True)):
        blocks = [
            graph.call(
                sources.named(
                    partial(_part, reduction.part, width, _cut(given, part)), number, part
                ),
                graph.block(rows, part),
            )
            for part in parts
        ]
        whole = graph.call(
            sources.named(reduction.finish, number, slice(None)),
            graph.merged(reduction.merge, blocks),
        )
        for place, column in enumerate(keys):
            column.append(graph.call(partial(_output, place, len(out)), whole))
    return tuple(
        sources.labelled(graph.arrays(column, tuple(sizes[d] for d in dims), dtype), dims)
        for column, dims, dtype in zip(keys, out, dtypes, strict=True)
    )


def seen_rows(reps: xr.DataArray, what: str) -> da.Array:
    """Which stimuli (…, model, stimulus) are there, as far as their rows are whole or missing."""
    (found,) = reduce_rows(
        reps,
        Reduction(_present, np.concatenate, unchanged),
        [["stimulus"]],
        {"stimulus": reps.sizes["stimulus"]},
        [bool],
        what=what,
    )
    seen: da.Array = da.asarray(found.data)
    return seen


def _present(block: Array, width: int) -> Array:
    return present(block[:, :width])


def reduce_models(
    reps: xr.DataArray,
    reduction: Reduction,
    out: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    dtypes: Sequence[Any],
    given: Sequence[xr.DataArray] = (),
    what: str = "reps",
) -> tuple[xr.DataArray, ...]:
    """What a reduction makes of the rows of all models (model, stimulus, feature) together.

    ``part`` takes blocks (M, b, F), widths (M) and what else is given: arrays in memory, of all
    models; those with a dim ``stimulus`` are cut to the block.
    """
    sources = Sources(reps.transpose("model", "stimulus", "feature"), what)
    graph = Graph(reps.data, reduction, given, "models")
    blocks = []
    for part in read_spans(reps):
        keys = [graph.block(rows, part) for rows in sources.rows]
        call = partial(_together, reduction.part, np.array(sources.widths), _cut(given, part))
        blocks.append(graph.call(call, keys))
    whole = graph.call(reduction.finish, graph.merged(reduction.merge, blocks))
    found = []
    for place, (dims, dtype) in enumerate(zip(out, dtypes, strict=True)):
        key = graph.call(partial(_output, place, len(out)), whole)
        (array,) = graph.arrays([key], tuple(sizes[dim] for dim in dims), dtype)
        found.append(xr.DataArray(array, dims=list(dims)))
    return tuple(found)


def _together(
    function: Callable[..., Any], width: Array, given: Sequence[Array], blocks: list[Array]
) -> Any:
    return function(np.stack(blocks), width, *given)


def _cut(given: Sequence[xr.DataArray], part: slice) -> list[Array]:
    return [
        array.isel(stimulus=part).values if "stimulus" in array.dims else array.values
        for array in given
    ]


def _part(function: Callable[..., Any], width: int, given: Sequence[Array], block: Array) -> Any:
    return function(block, width, *given)


def _output(place: int, count: int, found: Any) -> Any:
    return found[place] if count > 1 else found


def _in_one(rows: Array, width: int, *given: Array, reduction: Reduction) -> Any:
    part = reduction.part(rows, int(width), *given)
    return reduction.finish(reduction.merge([part]))


def by_rows(reps: xr.DataArray, call: Callable[[slice], xr.DataArray]) -> xr.DataArray:
    """What ``call`` makes of the rows of every block of stimuli, each for itself."""
    if reps.chunks is None:
        return call(slice(None))
    step = max(1, BUDGETS.read_block // (reps.sizes["feature"] * reps.dtype.itemsize))
    parts = [call(part) for part in spans(reps.variable.chunksizes["stimulus"], step)]
    bare = [
        part.drop_vars([name for name, coord in part.coords.items() if "stimulus" in coord.dims])
        for part in parts
    ]
    whole = xr.concat(bare, "stimulus", coords="minimal", compat="override", join="exact")
    return carried(whole, reps["stimulus"].coords)
