"""Tasks that are put together by hand, and become lazy arrays.

Whoever passes over a model twice reads it twice: the tasks that read a block have one consumer
each, so that a scheduler never keeps the blocks of one pass until the next needs them, and memory
grows neither with stimuli nor with models. Nothing computes a graph inside a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask.array as da
import dask.base
import numpy as np

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

from xconverge.engine.apply import calmly
from xconverge.kernels.vectors import Array

SPLIT_EVERY = 8
"""Partial results that are merged at a time."""


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
