"""Models too long for one task: their rows are read block by block, each block by a task.

A reduction over blocks is data, as in flox: ``part`` of a block, ``merge`` of several, ``finish``.
Whoever passes over a model twice reads it twice: the tasks that read a block have one consumer
each, so that a scheduler never keeps the blocks of one pass until the next needs them, and memory
grows neither with stimuli nor with models. Nothing computes a graph inside a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import dask.array as da
import dask.base
import numpy as np
import xarray as xr

# dask.graph_manipulation.clone loses aliases of rechunked graphs (dask 2025.1 to 2026.8)
from dask._task_spec import (
    Alias,
    DataNode,
    GraphNode,
    Task,
    convert_legacy_graph,
    fuse_linear_task_spec,
)
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

from xconverge.engine.apply import apply, calmly, named_rows
from xconverge.engine.resources import check_memory
from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.coordinates import carried

SPLIT_EVERY = 8
"""Partial results that are merged at a time."""


class Reduction(NamedTuple):
    """How blocks of rows make a result.

    ``part`` takes a block (b, F), its width and what else is given, cut to the block; ``merge`` a
    list of its results, in order; ``finish`` what they merge to.
    """

    part: Callable[..., Any]
    merge: Callable[[list[Any]], Any]
    finish: Callable[[Any], Any]


Key = Any
"""Of a task: text, or a tuple that begins with text."""


class Graph:
    """Tasks that are put together by hand, and become lazy arrays."""

    def __init__(self, *tokens: Any) -> None:
        self.name = f"blockwise-{dask.base.tokenize(*tokens)}"
        self.inputs: list[da.Array] = []
        # how a block is read, for the next pass; what no task has read yet; new tasks, and the rest
        self.ways: dict[Key, tuple[dict[Key, GraphNode], Key]] = {}
        self.reads: dict[Key, GraphNode] = {}
        self.tasks: dict[Key, Any] = {}
        self.done: dict[Key, GraphNode] = {}
        self.known: set[Key] = set()
        self.count = itertools.count()

    def block(self, source: da.Array, part: slice) -> Key:
        """The rows ``part``, read for whoever asks for this key, and for nobody else."""
        where = source.name, part.start, part.stop
        if where not in self.ways:
            self.ways[where] = _way(source[part].rechunk(-1))
        tasks, key = self.ways[where]
        tag = f"{self.name}-{next(self.count)}"
        names: dict[Key, Any] = {
            old: (f"{old[0]}-{tag}", *old[1:]) if isinstance(old, tuple) else f"{old}-{tag}"
            for old, task in tasks.items()
            # what is in memory anyway is referred to
            if not isinstance(task, DataNode)
        }
        nodes = {
            names.get(old, old): task.substitute(names, key=names.get(old, old))
            for old, task in tasks.items()
        }
        read = names.get(key, key)
        if key in names:
            self.reads[read] = nodes.pop(read)
        self.tasks |= nodes
        self.known |= {*nodes, read}
        return read

    def value(self, array: da.Array) -> Key:
        """The only chunk of a lazy array."""
        self.inputs.append(array)
        (key,) = flatten(array.__dask_keys__())
        self.known.add(key)
        return key

    def call(self, function: Callable[..., Any], *keys: Any) -> Key:
        """What a function makes of the values of keys; lists of keys are lists of values."""
        key = f"{self.name}-{next(self.count)}"
        self.tasks[key] = (partial(calmly, function), *keys)
        self.known.add(key)
        return key

    def merged(self, merge: Callable[[list[Any]], Any], keys: Sequence[Key]) -> Key:
        """What many values merge to, in a tree."""
        while len(keys) > 1:
            keys = [
                self.call(merge, list(keys[i : i + SPLIT_EVERY]))
                for i in range(0, len(keys), SPLIT_EVERY)
            ]
        return keys[0]

    def arrays(self, keys: Sequence[Key], shape: tuple[int, ...], dtype: Any) -> list[da.Array]:
        """The values of keys, arrays of this shape, each a lazy array of one chunk."""
        whole = HighLevelGraph.merge(*(array.dask for array in self.inputs))
        layers: dict[str, Any] = {**whole.layers, self.name: self._fused()}
        needs = {**whole.dependencies, self.name: {array.name for array in self.inputs}}
        zeros = tuple(0 for _ in shape)
        names = [f"{self.name}-array-{next(self.count)}" for _ in keys]
        for name, key in zip(names, keys, strict=True):
            layers[name], needs[name] = {(name, *zeros): (np.asarray, key)}, {self.name}
        graph = HighLevelGraph(layers, needs)
        meta = np.empty((0,) * len(shape), dtype)
        return [da.Array(graph, name, tuple((s,) for s in shape), meta=meta) for name in names]

    def _fused(self) -> dict[Key, GraphNode]:
        """All tasks so far, each with the reading of its blocks inside: nothing waits read.

        One dict for all arrays of this graph, since dask takes layers of one name for one layer.
        """
        for key, task in convert_legacy_graph(self.tasks, self.known).items():
            reads = [self.reads.pop(k) for k in task.dependencies if k in self.reads]
            self.done[key] = Task.fuse(task, *reads, key=key) if reads else task
        self.tasks = {}
        return self.done


def _way(rows: da.Array) -> tuple[dict[Key, GraphNode], Key]:
    """The tasks that lead to the only chunk of an array, and the key of the last."""
    (key,) = flatten(rows.__dask_keys__())
    tasks = fuse_linear_task_spec(convert_legacy_graph(dict(rows.dask.cull({key}))), {key})
    while isinstance(tasks[key], Alias):
        key = tasks.pop(key).target
    return tasks, key


def cell(value: Any) -> Array:
    """An array () that holds one object, whatever it is."""
    array = np.empty((), dtype=object)
    array[()] = value
    return array


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
