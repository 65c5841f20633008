"""Sizes of the graphs that calls hand to the scheduler: tasks, and seconds to make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr

import xconverge as xc
from tests.benchmarks.table import Figure, Table

CALLS: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "sum": lambda reps: reps.sum(),
    "dispersion, cosine": lambda reps: xc.dispersion(reps),
    "dispersion, neighborhood": lambda reps: xc.dispersion(reps, "neighborhood"),
    "neighbor_graph": lambda reps: xc.neighbor_graph(reps),
    "mutual_knn, all pairs": lambda reps: xc.alignment(reps, reps),
    "cka, all pairs": lambda reps: xc.alignment(reps, reps, "cka"),
}


def unwritten(folder: Path, models: int, stimuli: int, features: int) -> xr.DataArray:
    """Representations in the chunks of our stores, of which none is written: all are NaN."""
    shape, dims = (models, stimuli, features), ("model", "stimulus", "feature")
    path = folder / f"{models}x{stimuli}.zarr"
    chunks = xc.recommend_chunks(xr.DataArray(da.zeros(shape, dtype=np.float32), dims=dims))
    zarr.create_group(path).create_array(
        "x",
        shape=shape,
        chunks=tuple(chunks.values()),
        dtype="float32",
        fill_value=np.nan,
        dimension_names=dims,
    )
    array = xr.open_zarr(path, consolidated=False, chunks={})["x"]
    labels = {dim: [f"{dim} {i}" for i in range(array.sizes[dim])] for dim in dims[:2]}
    return array.assign_coords(labels).assign_attrs(space="shared")


def sizes(
    folder: Path, models: int, stimuli: int, features: int, calls: Sequence[str] = tuple(CALLS)
) -> Table:
    """Tasks of each call, and how long making them takes."""
    reps = unwritten(folder, models, stimuli, features)
    chunks = reps.data.npartitions
    table: Table = {}
    for name in calls:
        start = time.perf_counter()
        (lazy,) = dask.optimize(CALLS[name](reps))
        seconds = time.perf_counter() - start
        label = f"{name}, {models} x {stimuli:,} in {chunks:,} chunks:"
        table[f"{label} tasks"] = Figure(len(lazy.__dask_graph__()))
        table[f"{label} seconds to make them"] = Figure(seconds)
    return table


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return sizes(folder, 3, 50_000, 16)
    # a task a block and pair, or a block and block that asks: not for a million stimuli
    one_pass = ["sum", "dispersion, cosine"]
    return {**sizes(folder, 20, 100_000, 768), **sizes(folder, 100, 1_000_000, 1024, one_pass)}
