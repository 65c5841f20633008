"""Tiles of long models: all pairs of some models of either side in one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import xarray as xr

from xconverge.engine.apply import apply, one_chunk
from xconverge.engine.blockwise import ROW, over_queries
from xconverge.engine.resources import check_memory
from xconverge.kernels import tiles as kernels
from xconverge.kernels.blocks import split
from xconverge.labels.joins import on_side


class Side(NamedTuple):
    """Models of one side: their set, their dim in a result, what a kernel takes of each, and how.

    That are handles, then arrays with ``core`` dims.
    """

    reps: xr.DataArray
    dim: str
    parts: Sequence[xr.DataArray]
    core: Sequence[Sequence[str]]

    def ending(self, end: str) -> Side:
        """The same, with names that end so."""
        parts = [on_side(part, self.dim, end) for part in self.parts]
        return self._replace(dim=f"{self.dim}{end}", parts=parts)

    def labels(self) -> dict[Any, xr.DataArray]:
        """Coordinates along the models."""
        return {n: coord for n, coord in self.parts[0].coords.items() if self.dim in coord.dims}

    def tiles(self, size: int) -> list[Side]:
        """Up to ``size`` models at a time, without their labels."""
        bare = [
            part.drop_vars([n for n, coord in part.coords.items() if self.dim in coord.dims])
            for part in self.parts
        ]
        return [
            self._replace(
                parts=[one_chunk(part.isel({self.dim: some}), [self.dim]) for part in bare]
            )
            for some in split(slice(0, bare[0].sizes[self.dim]), size)
        ]


def over_tiles(
    kernel: Callable[..., Any], pair: Sequence[Side], out: str, n_sums: int = 0
) -> xr.DataArray:
    """What a kernel of ``kernels.tiles`` gives of all pairs: (…, a.dim, b.dim, out), and ``ROW``.

    ``out`` is ``ROW``, or a dim of ``n_sums`` for each block of rows. Where both sides are of one
    set, a pair is scored once, in either order, and a tile with itself is one side.
    """
    a, b = pair
    own = a.reps is b.reps
    width = max(side.reps.sizes["feature"] for side in pair)
    size = min(kernels.tile_size(width), max(side.reps.sizes["model"] for side in pair))
    check_memory(
        kernels.TASK_BYTES,
        a.reps.sizes["stimulus"] // kernels.asking_rows(width, size) + 1,
        f"A task over a tile of {size} × {size} models",
        "fewer stimuli (.isel), or a measure of neighbours or cross-products (mutual_knn, cka)",
    )

    def score(one: Side, *other: Side) -> xr.DataArray:
        sides = (one, *other)

        def rows(part: slice) -> Sequence[xr.DataArray]:
            found: xr.DataArray = apply(
                kernel,
                *(array for side in sides for array in side.parts),
                core=[[side.dim, *core] for side in sides for core in side.core],
                out=[[a.dim, b.dim, out]],
                sizes={
                    ROW: part.stop - part.start,
                    "_sum": n_sums,
                    b.dim: one.parts[0].sizes[one.dim],
                },
                asking=part,
            )
            return [found if out == ROW else found.expand_dims(ROW)]

        long = a.reps if a.reps.chunks else b.reps
        (found,) = over_queries(long, rows, kernels.asking_rows(width, size))
        return found

    grid: list[list[xr.DataArray]] = []
    for i, one in enumerate(a.tiles(size)):
        grid.append([])
        for j, other in enumerate(b.tiles(size)):
            if own and j < i:
                turned = grid[j][i].rename({a.dim: b.dim, b.dim: a.dim})
                grid[i].append(turned.transpose(*grid[j][i].dims))
            else:
                grid[i].append(score(one) if own and i == j else score(one, other))
    joined = _joined([_joined(row, b.dim) for row in grid], a.dim)
    return joined.assign_coords({**b.labels(), **a.labels()})


def _joined(parts: Sequence[xr.DataArray], dim: str) -> xr.DataArray:
    return xr.concat(parts, dim, coords="minimal", compat="override", join="exact")
