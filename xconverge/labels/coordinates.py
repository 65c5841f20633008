"""Coordinates: read by name where they are lazy, and out of the way where a result needs a name."""

from __future__ import annotations

import sys
from collections.abc import Container, Hashable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import dask.base
import numpy as np
import xarray as xr

Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def cluster() -> Any:
    """The client of a dask cluster that this process computes on, or None."""
    if "distributed" in sys.modules:
        from distributed import get_client

        with suppress(ValueError):
            return get_client()
    return None


def read(coord: xr.DataArray) -> np.ndarray[Any, Any]:
    """Values of one coordinate: labels and widths are metadata, the data is not read.

    In the calling thread, so that no pool is started for a few labels; on the cluster where there
    is one, since a coordinate that was persisted lives there.
    """
    if not isinstance(coord.dtype, np.dtype):
        # a column of pandas, of which .values rounds whole numbers and drops time zones
        return np.asarray(coord.to_index().astype(object))
    if coord.chunks is None:
        return np.asarray(coord.values)
    (values,) = dask.base.compute(coord.data, scheduler=cluster() or "synchronous")
    return np.asarray(values)


def read_coordinates(array: xr.DataArray, dim: str | None = None) -> xr.DataArray:
    """The array with its coordinates, or those on a dim, in memory; all are read at once."""
    lazy = {
        name: coord.variable
        for name, coord in array.coords.items()
        if coord.chunks and (dim is None or dim in coord.dims)
    }
    if not lazy:
        return array
    (found,) = dask.base.compute(lazy, scheduler=cluster() or "synchronous")
    return array.assign_coords(found)


def set_aside(array: Data, names: Container[Any]) -> Data:
    """The array, whose coordinates of these names are called ``source_…``; labels of dims stay.

    A result has names of its own, for its variables and dims. What the input calls so is another
    thing, which may have any dims: it rides along, out of the way.
    """
    taken = {name: f"source_{name}" for name in array.coords if name in names}
    taken = {name: new for name, new in taken.items() if name not in array.dims}
    if not taken:
        return array
    free = {name: new for name, new in taken.items() if new not in array.coords}
    return array.drop_vars([name for name in taken if name not in free]).rename(free)


def with_own(array: Data, coords: Mapping[str, Any]) -> Data:
    """The array with coordinates that a result has of its own; others of their names step aside."""
    return set_aside(array, coords).assign_coords(coords)


def carried(result: Data, coords: Mapping[Hashable, xr.DataArray]) -> Data:
    """The result with coordinates of an input, which step aside from its variables and dims."""
    names = {*result.dims, *(result.data_vars if isinstance(result, xr.Dataset) else ())}
    given = xr.Dataset(coords={name: coord.variable for name, coord in coords.items()})
    return result.assign_coords(set_aside(given, names).coords)
