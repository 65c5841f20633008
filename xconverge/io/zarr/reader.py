"""Reading blocks of arrays, and saying which labels damage hits."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from xconverge.io.zarr.places import Place
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import DamagedStoreError, listing

FOUND_BY = (
    "Write it again, or bring the file back from a copy; "
    "`xconverge validate STORE --deep` lists every such chunk"
)


class GoneError(FileNotFoundError):
    """What was opened is no longer there."""


class StoredArray:
    """What ``dask.array.from_array`` reads the blocks of a variable by.

    Parameters
    ----------
    variable : Variable
        The array as xarray opens it, lazily.
    place : Place
        Its group.
    name : str
        The array.
    """

    def __init__(self, variable: xr.Variable, place: Place, name: str) -> None:
        self.variable, self.place, self.name = variable, place, name
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    @property
    def chunks(self) -> Mapping[Hashable, int]:
        """Sizes of its own chunks."""
        chunks: Mapping[Hashable, int] = self.variable.encoding.get(
            "preferred_chunks", self.variable.sizes
        )
        return chunks

    def lazy(self) -> da.Array:
        """The array, in its own chunks."""
        # a name of its own: dask would take two stores at one path, before and after it was
        # overwritten, for one array
        array: da.Array = da.from_array(
            self,
            chunks=tuple(self.chunks[dim] for dim in self.variable.dims),
            name=f"{self.name}-{uuid4().hex}",
            asarray=False,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )
        return array

    def indexed(self) -> xr.Variable:
        """The array as xarray's engines give it: read where it is indexed, without dask."""
        chunks = {"preferred_chunks": dict(self.chunks)}
        data = LazilyIndexedArray(IndexedArray(self))
        return xr.Variable(self.variable.dims, data, self.variable.attrs, chunks)

    def __getitem__(self, selection: Any) -> Array:
        """Read a selection: slices, integers, or a list along one dim."""
        try:
            return np.asarray(self.variable[selection].values)
        except OSError:
            raise
        except DamagedStoreError as error:
            why = str(error)
        except Exception as error:
            why = f"a chunk is damaged: {type(error).__name__}: {error}"
        raise damaged(self.place, self.name, self.variable.dims, self.shape, selection, why)


class IndexedArray(BackendArray):
    """What xarray indexes lazily: whatever reads a selection, as NumPy does.

    Parameters
    ----------
    array : StoredArray, or dask array
        What it reads.
    """

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        """Read a selection; xarray does the rest of an index that reading cannot do."""
        how = IndexingSupport.OUTER_1VECTOR
        return explicit_indexing_adapter(key, self.shape, how, self._read)

    def _read(self, selection: tuple[Any, ...]) -> Array:
        found = self.array[selection]
        if isinstance(found, da.Array):
            # this may run in a task, which must not wait for others of its cluster
            found = found.compute(scheduler="synchronous")
        return np.asarray(found)


def damaged(
    place: Place, name: str, dims: Any, shape: tuple[int, ...], selection: Any, why: str
) -> DamagedStoreError:
    """An error that says which labels of an array are hit."""
    parts = selection if isinstance(selection, tuple) else (selection,)
    where = [
        f"{dim} {_labels(place, dim, size, part)}"
        for dim, size, part in zip(dims, shape, parts, strict=False)
        if dim != "feature"
    ]
    what = ", ".join([f"{name!r} of {place}", *where])
    return DamagedStoreError(f"{what}: {why}. {FOUND_BY}")


def _labels(place: Place, dim: Any, size: int, part: Any) -> str:
    """Labels along a dim, or positions where they cannot be read."""
    import zarr

    labels: Any = np.arange(size)
    with suppress(Exception):
        there = zarr.open_array(place.reading, path=(place / str(dim)).path, mode="r")
        labels = np.asarray(there[:], dtype=object)
    return listing(np.atleast_1d(labels[part]), 3)
