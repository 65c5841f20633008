"""Scores of long models from sums over stimuli, to which blocks of rows add."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.apply import CURE
from xconverge.engine.blockwise import (
    Reduction,
    Sources,
    both_lazy,
    pair_positions,
    read_spans,
    reduce_rows,
    spans,
)
from xconverge.engine.graph import Graph, Key, cell
from xconverge.engine.pair import Pair
from xconverge.engine.resources import check_memory
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.kernel import RowKernel, warn_few
from xconverge.kernels.vectors import Array, chosen, present


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
    sides = both_lazy(pair.a, pair.b)
    graph = Graph("rows", *(side.data for side in sides), kernel, given)
    a, b = (_Fitted(graph, kernel, side, given, w) for side, w in zip(sides, "ab", strict=True))
    parts = _common_spans(sides)
    own_a, own_b = (side.own(graph, kernel, parts) for side in (a, b))
    one, other = a.sources, b.sources
    first, second = pair_positions(one, other)
    keys = []
    for i, j in zip(first.values.ravel(), second.values.ravel(), strict=True):
        widths = one.widths[i], other.widths[j]
        found = [
            graph.call(
                partial(_cross, kernel, part, widths, _inside(given, part)),
                [graph.block(one.rows[i], part), *a.keys[i]],
                [graph.block(other.rows[j], part), *b.keys[j]],
            )
            for part in parts
        ]
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
    widths: tuple[int, int],
    given: Array | None,
    one: Sequence[Any],
    other: Sequence[Any],
) -> list[Any]:
    """What a block adds to the sums of a pair; and of a side with itself that has a smaller pool.

    Over all that it saw, a model's own term is known. Of ``one`` and ``other`` come their rows,
    what they were measured to be, and which stimuli (n) they saw.
    """
    (x, fit_x, seen_x), (y, fit_y, seen_y) = one, other
    common = seen_x[part] & seen_y[part]
    inside = None if given is None else given[common]
    rows_x = kernel.place(chosen(x, common), widths[0], _open(fit_x))
    rows_y = kernel.place(chosen(y, common), widths[1], _open(fit_y))
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
