"""Pairs of models that are too long for one task: graphs of tasks over blocks of their rows.

Three shapes, as kernels have them: lists of neighbours, which every block answers; sums over
stimuli, which blocks of rows add to; and sums over pairs of stimuli, which blocks of rows and
columns add to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.apply import CURE
from xconverge.engine.blockwise import (
    Graph,
    Key,
    Reduction,
    Sources,
    cell,
    query_spans,
    read_spans,
    reduce_rows,
    spans,
)
from xconverge.engine.pair import Pair
from xconverge.engine.resources import check_memory
from xconverge.kernels import neighbors
from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.cka import sample
from xconverge.kernels.entries import Block, Sides, row_sums
from xconverge.kernels.kernel import EntryKernel, RowKernel, modeled, warn_few
from xconverge.kernels.knn import ListKernel
from xconverge.kernels.vectors import Array, chosen, present
from xconverge.labels.joins import natural_rank, on_side

# --- neighbour lists of models that are read block by block


def lists_by_blocks(
    kernel: ListKernel, reps: xr.DataArray, rank: xr.DataArray, others: xr.DataArray, what: str
) -> xr.DataArray:
    """Lists of every model, among each set of stimuli that it shares with one of the others.

    Only some rows, one block and their nearest so far are in memory at a time.
    """
    sources, order, k = Sources(reps, what), rank.values, max(kernel.depth, kernel.k)
    # of a pair, the other side has the other letter
    whose = what if others is reps else {"a": "b", "b": "a"}.get(what, what)
    own = _seen(reps, what)
    theirs = own if others is reps else _seen(others, whose)
    graph = Graph("lists", reps.data, others.data, kernel, order, what)
    shared = graph.value(theirs.reshape(-1, theirs.shape[-1]).rechunk(-1))
    blocks, queries = read_spans(reps), query_spans(reps)
    keys = []
    models = zip(sources.positions, sources.rows, sources.widths, strict=True)
    for number, (position, rows, width) in enumerate(models):
        sets = graph.call(neighbors.shared_sets, graph.value(own[position].rechunk(-1)), shared)
        parts = []
        for asking in queries:
            ask = sources.named(partial(_asking, width, asking.start), number, asking)
            asked = graph.call(ask, graph.block(rows, asking))
            found = [
                graph.call(
                    sources.named(partial(_answers, part, order, k), number, part),
                    graph.block(rows, part),
                    asked,
                    sets,
                )
                for part in blocks
            ]
            merged = graph.merged(partial(neighbors.best_answers, rank=order, k=k), found)
            parts.append(graph.call(neighbors.with_mean, merged, asked, sets))
        whole = sources.named(partial(_whole, kernel, order, width), number, slice(None))
        keys.append(graph.call(whole, parts, sets))
    return sources.labelled(graph.arrays(keys, (), object), [])


def _asking(width: int, start: int, block: Array) -> neighbors.Asked:
    return neighbors.asking(block, width, start)


def _answers(
    part: slice, rank: Array, k: int, block: Array, asked: neighbors.Asked, sets: Array
) -> list[neighbors.Found]:
    return neighbors.answers(block, asked, sets, part, rank, k)


def _whole(kernel: ListKernel, rank: Array, width: int, parts: Any, sets: Array) -> Array:
    return cell(modeled(kernel, kernel.of_blocks(parts, sets, rank, width)))


def _seen(reps: xr.DataArray, what: str) -> da.Array:
    """Which stimuli (…, model, stimulus) are there, as far as their rows are whole or missing."""
    (found,) = reduce_rows(
        reps,
        Reduction(_seen_rows, np.concatenate, _same),
        [["stimulus"]],
        {"stimulus": reps.sizes["stimulus"]},
        [bool],
        what=what,
    )
    seen: da.Array = da.asarray(found.data)
    return seen


def _seen_rows(block: Array, width: int) -> Array:
    return present(block[:, :width])


def _same(found: Any) -> Any:
    return found


# --- sums over stimuli, to which blocks of rows add


def has_sums(kernel: RowKernel[Any], pair: Pair, given: xr.DataArray | None) -> bool:
    """Whether sums over products of features are smaller than the rows."""
    width = max(side.sizes["feature"] for side, _ in pair.sides)
    return kernel.has_row_sums(pair.a.sizes["stimulus"], width, _folds(given))


class _Fitted:
    """The models of a side: rows to read, what they were measured to be, which stimuli (n)."""

    def __init__(
        self, graph: Graph, kernel: RowKernel[Any], reps: xr.DataArray, given: Any, what: str
    ) -> None:
        self.sources = Sources(reps, what)
        fits, seen = _measured(kernel, reps, given, what)
        self.keys = [
            (graph.value(fits.data[position]), graph.value(seen.data[position].rechunk(-1)))
            for position in self.sources.positions
        ]

    def own(self, graph: Graph, kernel: RowKernel[Any], parts: Sequence[slice]) -> list[Key]:
        """The own term of every model, from a pass over its rows."""
        if not kernel.has_own:
            return [None] * len(self.keys)
        keys = []
        models = zip(self.sources.rows, self.sources.widths, self.keys, strict=True)
        for rows, width, fitted in models:
            found = [
                graph.call(
                    partial(_own_part, kernel, part, width), graph.block(rows, part), *fitted
                )
                for part in parts
            ]
            merged = graph.merged(kernel.combine, found)
            keys.append(graph.call(kernel.own_of, merged))
        return keys


def _measured(
    kernel: RowKernel[Any], reps: xr.DataArray, given: xr.DataArray | None, what: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """What all blocks of each model say of it (…, model), and which stimuli it saw."""
    fits, seen = reduce_rows(
        reps,
        Reduction(
            partial(_measure, kernel), partial(_merge_measured, kernel), partial(_as_cell, kernel)
        ),
        [[], ["stimulus"]],
        {"stimulus": reps.sizes["stimulus"]},
        [object, bool],
        [] if given is None else [given],
        what,
    )
    return fits, seen


def _measure(kernel: RowKernel[Any], block: Array, width: int, *given: Array) -> Any:
    seen = present(block[:, :width])
    inside = given[0][seen] if given else None
    return kernel.measure(chosen(block, seen), width, inside), seen


def _merge_measured(kernel: RowKernel[Any], parts: list[Any]) -> Any:
    fits, seen = zip(*parts, strict=True)
    return kernel.merge(fits), np.concatenate(seen)


def _as_cell(kernel: RowKernel[Any], found: Any) -> Any:
    return cell(kernel.fitted(found[0])), found[1]


def by_rows(kernel: RowKernel[Any], pair: Pair, given: xr.DataArray | None) -> xr.DataArray:
    """Scores from sums over blocks: a pass or two over each model, one over each pair."""
    if given is not None:
        _check_products(_folds(given), [side for side, _ in pair.sides])
    sides = _both_lazy(pair.a, pair.b)
    graph = Graph("rows", *(side.data for side in sides), kernel, given)
    a, b = (_Fitted(graph, kernel, side, given, w) for side, w in zip(sides, "ab", strict=True))
    parts = _common_spans(sides)
    own_a, own_b = (side.own(graph, kernel, parts) for side in (a, b))
    one, other = a.sources, b.sources
    first, second = _pair_positions(one, other)
    keys = []
    for i, j in zip(first.values.ravel(), second.values.ravel(), strict=True):
        found = [
            graph.call(
                partial(_cross, kernel, part, one.widths[i], other.widths[j], _inside(given, part)),
                graph.block(one.rows[i], part), graph.block(other.rows[j], part),
                *a.keys[i], *b.keys[j],
            )
            for part in parts
        ]  # fmt: skip
        merged = graph.merged(partial(_combined, kernel), found)
        seen = a.keys[i][1], b.keys[j][1]
        keys.append(graph.call(partial(_finished, kernel), merged, own_a[i], own_b[j], *seen))
    shape = (pair.a.sizes["stimulus"],) if kernel.per_stimulus else ()
    values = da.stack(graph.arrays(keys, shape, np.float64)).reshape(*first.shape, *shape)
    dims = (*first.dims, *(["stimulus"] if shape else []))
    return xr.DataArray(values, dims=dims, coords={**second.coords, **first.coords})


def _folds(given: xr.DataArray | None) -> int:
    return 1 if given is None else max(int(given.max()) + 1, 1)


def _check_products(n_folds: int, sides: Sequence[xr.DataArray]) -> None:
    """Refuse products of features, for every fold and a few more, that do not fit."""
    wide = [side.sizes["feature"] for side in sides]
    need = 8 * (n_folds + 4) * sum(width**2 for width in wide)
    features = " and ".join(f"{width:,} × {width:,}" for width in wide)
    check_memory(
        need,
        sides[0].sizes.get("model", 1),
        f"A task with the products of {features} features by fold",
        CURE,
    )


def _both_lazy(a: xr.DataArray, b: xr.DataArray) -> list[xr.DataArray]:
    """Both sides; one that is in memory in the blocks of the other, which copies nothing."""
    chunks = next(s.variable.chunksizes["stimulus"] for s in (a, b) if s.chunks)
    return [
        # of the variable: .chunk() of a DataArray would make its coordinates lazy too
        side if side.chunks else side.copy(data=side.variable.chunk(stimulus=chunks).data)
        for side in (a, b)
    ]


def _common_spans(sides: Sequence[xr.DataArray]) -> list[slice]:
    """Blocks of whole chunks of both sides, so that none is read twice for a pair.

    Where these would be too large, the chunks of the wider side, and others cut where those end.
    """
    widest = max(sides, key=lambda side: side.sizes["feature"])
    row = widest.sizes["feature"] * widest.dtype.itemsize
    ends = [set(np.cumsum(side.variable.chunksizes["stimulus"]).tolist()) for side in sides]
    sizes = np.diff(sorted({0}.union(set.intersection(*ends))))
    if sizes.max() * row > BUDGETS.query_block:
        return read_spans(widest)
    return spans(tuple(sizes.tolist()), max(1, BUDGETS.read_block // row))


def _pair_positions(a: Sources, b: Sources) -> tuple[xr.DataArray, xr.DataArray]:
    """Positions in either side of every pair (…, model_a, model_b): extra dims meet by label."""
    places = [on_side(side.numbers(), "model", f"_{w}") for side, w in ((a, "a"), (b, "b"))]
    one, other = xr.broadcast(*xr.align(*places, join="exact"))
    # models last, wherever they are in the sets: tiles are made of them
    one = one.transpose(..., "model_a", "model_b")
    return one, other.transpose(*one.dims)


def _inside(given: xr.DataArray | None, part: slice) -> Array | None:
    return None if given is None else given.values[part]


def _own_part(
    kernel: RowKernel[Any], part: slice, width: int, block: Any, fit: Any, seen: Array
) -> Any:
    rows = kernel.place(chosen(block, seen[part]), width, _open(fit))
    return kernel.cross(rows, rows, None)


def _cross(
    kernel: RowKernel[Any],
    part: slice,
    wide: int,
    width: int,
    given: Array | None,
    x: Array,
    y: Array,
    fit_x: Any,
    seen_x: Array,
    fit_y: Any,
    seen_y: Array,
) -> list[Any]:
    """What a block adds to the sums of a pair; and of a side with itself that has a smaller pool.

    Over all that it saw, a model's own term is known.
    """
    common = seen_x[part] & seen_y[part]
    inside = None if given is None else given[common]
    rows_x = kernel.place(chosen(x, common), wide, _open(fit_x))
    rows_y = kernel.place(chosen(y, common), width, _open(fit_y))
    smaller_x, smaller_y = (seen_x & ~seen_y).any(), (seen_y & ~seen_x).any()
    return [
        kernel.cross(rows_x, rows_y, inside),
        kernel.cross(rows_x, rows_x, inside) if smaller_x and kernel.has_own else None,
        kernel.cross(rows_y, rows_y, inside) if smaller_y and kernel.has_own else None,
    ]


def _combined(kernel: RowKernel[Any], parts: Sequence[Sequence[Any]]) -> list[Any]:
    return [
        None if column[0] is None else kernel.combine(column) for column in zip(*parts, strict=True)
    ]


def _finished(
    kernel: RowKernel[Any],
    sums: Sequence[Any],
    own_a: Any,
    own_b: Any,
    seen_a: Array,
    seen_b: Array,
) -> Any:
    common = seen_a & seen_b
    size = int(np.count_nonzero(common))
    result = np.full(len(common) if kernel.per_stimulus else (), np.nan)
    if size < kernel.min_stimuli:
        warn_few({size}, kernel.min_stimuli)
        return result
    cross, smaller_a, smaller_b = sums
    own_a = own_a if smaller_a is None else kernel.own_of(smaller_a)
    own_b = own_b if smaller_b is None else kernel.own_of(smaller_b)
    value = kernel.finish(kernel.reduced(cross), [own_a], [own_b])[0, 0]
    result[common if kernel.per_stimulus else ()] = value
    return result


def _open(held: Any) -> Any:
    """What a cell holds."""
    return held.item() if isinstance(held, np.ndarray) else held


# --- sums over pairs of stimuli, to which blocks of rows and columns add

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
    sides = _both_lazy(a, b) if b is not None else [a]
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
    first, second = _pair_positions(one.sources, other.sources)
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
        seen = _seen(reps, what)
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
