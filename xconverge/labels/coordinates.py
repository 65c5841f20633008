"""Coordinates that are lazy: who needs the values of one reads it, by name; no check does."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import dask.base
import numpy as np
import xarray as xr


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
