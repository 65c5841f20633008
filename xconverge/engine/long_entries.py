"""Scores of long or many models from sums over pairs of stimuli: no matrix is ever whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.blockwise import (
    Sources,
    both_lazy,
    pair_positions,
    query_spans,
    read_spans,
    seen_rows,
)
from xconverge.engine.graph import Graph, Key
from xconverge.engine.resources import check_memory
from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.cka import sample
from xconverge.kernels.entries import Block, Sides, row_sums
from xconverge.kernels.kernel import EntryKernel, warn_few
from xconverge.kernels.vectors import Array, present
from xconverge.labels.joins import natural_rank

LEAST_ROWS = 384
"""Rows that ask in a task, at least: models too wide for that come in smaller tiles."""
MOST_MODELS = 8
"""Models of either side in a tile, at most."""


def by_entries(
    kernel: EntryKernel[Any], a: xr.DataArray, b: xr.DataArray | None = None
) -> xr.DataArray:
    """Scores of matrices that are never whole (…, model_a, model_b[, stimulus]).

    A task over a tile of models holds their rows that ask, a block of each, and the distances
    between them, which are formed once a model and used up in sums. Without b it is a set with
    itself: a model on both sides is read and formed once, and a score is that of either order.
    """
    sides = both_lazy(a, b) if b is not None else [a]
    width = max(side.sizes["feature"] for side in sides)
    size = min(_tile_models(width), max(side.sizes["model"] for side in sides))
    rows = _asking_rows(width, size)
    check_memory(
        BUDGETS.tile,
        a.sizes["stimulus"] // rows + 1,
        f"A task over a tile of {size} × {size} models",
        "fewer stimuli (.isel), or a measure of neighbours or cross-products (mutual_knn, cka)",
    )
    graph = Graph("entries", *(side.data for side in sides), kernel)
    names = ["reps"] if b is None else ["a", "b"]
    readers = [_Readers(graph, kernel, s, what) for s, what in zip(sides, names, strict=True)]
    one, other = readers[0], readers[-1]
    parts = query_spans(sides[0], rows), _column_spans(sides[0], size)
    tiles = _Tiles(graph, kernel, one, other, *parts)
    first, second = pair_positions(one.sources, other.sources)
    n = a.sizes["stimulus"]
    shape = (*first.shape, n) if kernel.per_stimulus else first.shape
    found: list[da.Array] = []
    for lead in np.ndindex(first.shape[:-2]):
        i, j = first.values[lead][:, 0], second.values[lead][0]
        found.append(tiles.scored(i.tolist(), j.tolist(), size))
    values = da.stack(found).reshape(shape)
    dims = (*first.dims, *(["stimulus"] if kernel.per_stimulus else []))
    return xr.DataArray(values, dims=dims, coords={**second.coords, **first.coords})


def _tile_models(width: int) -> int:
    """Models of either side in a tile, where the widest has this many features."""
    return max(1, min(MOST_MODELS, _rows_bytes() // (2 * LEAST_ROWS * 8 * width)))


def _asking_rows(width: int, size: int) -> int:
    """Rows that ask, with their sums, in a task over ``size`` models of either side."""
    return max(1, _rows_bytes() // (8 * (2 * size * width + 24 * size**2)))


def _rows_bytes() -> int:
    """Of a task, 3/8 are rows that ask, 3/8 a block of each model, 1/4 distances."""
    return 3 * BUDGETS.tile // 8


def _column_spans(reps: xr.DataArray, size: int) -> list[slice]:
    """What is read of all models at a time: whole chunks, or parts of chunks that are too large."""
    row = 2 * size * reps.sizes["feature"] * reps.dtype.itemsize
    return [part for span in read_spans(reps) for part in split(span, _rows_bytes() // row)]


class _Readers:
    """The models of a side, to be read in blocks that are ready for distances."""

    def __init__(
        self, graph: Graph, kernel: EntryKernel[Any], reps: xr.DataArray, what: str
    ) -> None:
        self.graph, self.kernel = graph, kernel
        self.sources = Sources(reps, what)
        seen = seen_rows(reps, what)
        self.seen = [graph.value(seen[position].rechunk(-1)) for position in self.sources.positions]
        self.scales: list[Key] = [1.0] * len(self.seen)
        if kernel.needs_scale:
            rank = natural_rank(reps.indexes["stimulus"])
            self.scales = [
                self._scale(number, rank, read_spans(reps)) for number in range(len(self.seen))
            ]

    def _scale(self, number: int, rank: Array, parts: Sequence[slice]) -> Key:
        """What the rows of a model are divided by."""
        found = [
            self.graph.call(
                partial(_sampled, rank, part, self.sources.widths[number]),
                self.graph.block(self.sources.rows[number], part),
                self.seen[number],
            )
            for part in parts
        ]
        return self.graph.call(self.kernel.scale, self.graph.merged(np.concatenate, found))

    def block(self, number: int, part: slice) -> Key:
        """Rows of a model, and which are there; what the metric cannot take is told by name."""
        prepare = partial(_prepared, self.kernel, self.sources.widths[number])
        return self.graph.call(
            self.sources.named(prepare, number, part),
            self.graph.block(self.sources.rows[number], part),
            self.scales[number],
        )


def _sampled(rank: Array, part: slice, width: int, block: Array, seen: Array) -> Array:
    chosen_ones = np.sort(sample(seen, rank))
    inside = chosen_ones[(chosen_ones >= part.start) & (chosen_ones < part.stop)]
    return np.asarray(block[inside - part.start, :width])


def _prepared(
    kernel: EntryKernel[Any], width: int, block: Array, scale: float
) -> tuple[Array, Array, Array]:
    rows, error = kernel.entries.with_error(block, width, float(scale))
    return rows, present(block[:, :width]), error


class _Tiles(NamedTuple):
    """All pairs of some models of either side at a time."""

    graph: Graph
    kernel: EntryKernel[Any]
    a: _Readers
    b: _Readers
    queries: Sequence[slice]
    columns: Sequence[slice]

    @property
    def itself(self) -> bool:
        """Whether both sides are one set."""
        return self.a is self.b

    def scored(self, i: list[int], j: list[int], size: int) -> da.Array:
        """Scores of the models i of a with the models j of b."""
        found: list[list[da.Array]] = []
        for row, x in enumerate(split(slice(0, len(i)), size)):
            # below the diagonal of a set with itself are the tiles above it
            mirrored = [above[row].swapaxes(0, 1) for above in found] if self.itself else []
            others = split(slice(0, len(j)), size)[len(mirrored) :]
            found.append([*mirrored, *(self._tile(i[x], j[y]) for y in others)])
        whole: da.Array = da.concatenate([da.concatenate(tiles, 1) for tiles in found])
        return whole

    def _second(self, i: list[int], j: list[int]) -> list[int]:
        """Models of the second side that are not those of the first."""
        return [] if self.itself and i == j else j

    def _tile(self, i: list[int], j: list[int]) -> da.Array:
        graph, kernel = self.graph, self.kernel
        second = self._second(i, j)
        sides = Sides(slice(len(i)), slice(len(i), None) if second else slice(len(i)))
        masks = [*(self.a.seen[x] for x in i), *(self.b.seen[y] for y in second)]
        parts = []
        for asking in self.queries:
            asked = self._blocks(i, j, asking)
            sums = [
                graph.call(
                    partial(_row_sums, kernel, sides, asking, part),
                    asked,
                    self._blocks(i, j, part),
                )
                for part in self.columns
            ]
            merged = graph.merged(_added, sums)
            parts.append(graph.call(partial(_of_rows, kernel, sides, asking), merged, masks))
        shape = len(i), len(j)
        if kernel.per_stimulus:
            blocks = [
                graph.arrays([key], (*shape, part.stop - part.start), np.float64)[0]
                for key, part in zip(parts, self.queries, strict=True)
            ]
            joined: da.Array = da.concatenate(blocks, 2)
            return joined
        whole = graph.call(partial(_of_terms, kernel, sides), graph.merged(_added, parts), masks)
        return graph.arrays([whole], shape, np.float64)[0]

    def _blocks(self, i: list[int], j: list[int], part: slice) -> list[Key]:
        second = self._second(i, j)
        return [*(self.a.block(x, part) for x in i), *(self.b.block(y, part) for y in second)]


def _row_sums(
    kernel: EntryKernel[Any], sides: Sides, asking: slice, part: slice, asked: Any, others: Any
) -> Array:
    one, other = (
        Block(rows, np.stack(seen), start, error)
        for (rows, seen, error), start in (
            (zip(*asked, strict=True), asking.start),
            (zip(*others, strict=True), part.start),
        )
    )
    return row_sums(kernel.entries, sides, one, other)


def _added(parts: Sequence[Array]) -> Array:
    return np.asarray(np.sum(parts, axis=0))


def _of_rows(
    kernel: EntryKernel[Any], sides: Sides, asking: slice, sums: Array, masks: Sequence[Array]
) -> Array:
    seen = np.stack(masks)
    return kernel.of_rows(sums, sides.common(seen), sides.both(seen[:, asking]))


def _of_terms(
    kernel: EntryKernel[Any], sides: Sides, terms: Array, masks: Sequence[Array]
) -> Array:
    common = sides.common(np.stack(masks))
    few = common < kernel.min_stimuli
    if few.any():
        warn_few(set(common[few].tolist()), kernel.min_stimuli)
        common = np.where(few, kernel.min_stimuli, common)
    return np.where(few, np.nan, kernel.of_terms(terms, common))
