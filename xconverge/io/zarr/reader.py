"""Reading arrays of a store chunk by chunk; damage is told with the labels of what it hit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Self
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.io.zarr.backends import Backend
from xconverge.io.zarr.chunks_on_disk import DamagedError, Index, Layout, read_chunk
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import DamagedStoreError, listing

FOUND_BY = (
    "Write it again, or bring the file back from a copy; "
    "`xconverge validate STORE --deep` lists every such chunk"
)


class ChunkReader:
    """What ``dask.array.from_array`` reads the chunks of a variable by.

    Parameters
    ----------
    backend : Backend
        The group.
    name : str
        The array.
    variable : Variable
        The array as xarray has it, for chunks that are not encoded as ours.
    layout : Layout or None
        How the chunks are encoded, where they are ours.
    whole : bool
        Whether all chunks but those of padding were written, so that a missing one is damage.
    written : tuple of str and object, optional
        An attr of the array that every writing of it changes, and its value when it was opened.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        variable: xr.Variable,
        layout: Layout | None,
        whole: bool,
        written: tuple[str, Any] | None = None,
    ) -> None:
        self.backend, self.name, self.layout, self.whole = backend, name, layout, whole
        self.written = written
        self.variable = variable if layout is None else None
        self.dims = variable.dims
        self.shape: tuple[int, ...] = variable.shape
        self.dtype = variable.dtype
        self.ndim = variable.ndim
        preferred = variable.encoding.get("preferred_chunks", variable.sizes)
        self.chunks = layout.chunks if layout else tuple(preferred[dim] for dim in self.dims)

    @classmethod
    def of_layout(
        cls, backend: Backend, name: str, dims: Sequence[Hashable], layout: Layout, whole: bool
    ) -> Self:
        """A reader of chunks that are encoded as ours; nothing is opened."""
        blank = np.broadcast_to(np.empty((), layout.dtype), layout.shape)
        return cls(backend, name, xr.Variable(dims, blank), layout, whole)

    def lazy(self) -> da.Array:
        """The array, in its own chunks."""
        # a name of its own: dask would take two stores at one path, before and after it was
        # overwritten, for one array
        array: da.Array = da.from_array(
            self,
            chunks=self.chunks,
            name=f"{self.name}-{uuid4().hex}",
            asarray=False,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )
        return array

    def __getitem__(self, selection: Any) -> Array:
        """Read a selection: slices, integers, or a list along one dim."""
        try:
            block = self._selected(selection)
        except DamagedStoreError:
            self._check_written()
            raise
        # after the read: a store that was replaced before it is new by now
        self._check_written()
        return block

    def _check_written(self) -> None:
        """Whether the store is there, and still holds what was opened."""
        if self.written is None:
            return
        attr, value = self.written
        found = (self.backend / self.name).metadata()
        if found is None:
            what = "is no longer there: the store was moved, renamed or deleted"
        elif found.get("attributes", {}).get(attr) != value:
            what = "was overwritten"
        else:
            return
        raise FileNotFoundError(
            f"{self.name!r} of {self.backend} {what} since it was opened, so its labels and its "
            "values no longer belong together. Open it again"
        )

    def _selected(self, selection: Any) -> Array:
        if not self.ndim:
            return self.read(())
        spans, rests = zip(*map(_span, selection, self.shape), strict=True)
        block = self.read(spans)
        for axis in reversed(range(self.ndim)):
            block = block[(slice(None),) * axis + (rests[axis],)]
        return block

    def read(self, region: tuple[slice, ...]) -> Array:
        """A box of the array."""
        if self.layout is None:
            return self._decoded(region)
        indices = list(self.layout.indices(region))
        if len(indices) == 1 and self.layout.region(indices[0]) == region:
            return self.chunk(indices[0])
        block = np.empty([part.stop - part.start for part in region], self.dtype)
        for index in indices:
            there = self.layout.region(index)
            both = [
                (max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(region, there, strict=True)
            ]
            into = tuple(
                slice(lo - a.start, hi - a.start) for (lo, hi), a in zip(both, region, strict=True)
            )
            out_of = tuple(
                slice(lo - b.start, hi - b.start) for (lo, hi), b in zip(both, there, strict=True)
            )
            block[into] = self.chunk(index)[out_of]
        return block

    def chunk(self, index: Index) -> Array:
        """One chunk; NaN where it is padding that was never written."""
        assert self.layout is not None
        try:
            return read_chunk(self.backend / self.name, self.layout, index)
        except FileNotFoundError:
            region = self.layout.region(index)
            if self.whole and not self._is_padding(region):
                raise self._damaged(region, f"chunk {self.layout.key(index)} is missing") from None
            return np.full([part.stop - part.start for part in region], np.nan, self.dtype)
        except DamagedError as error:
            region = self.layout.region(index)
            raise self._damaged(
                region, f"chunk {self.layout.key(index)} is damaged: {error}"
            ) from None

    def _decoded(self, region: tuple[slice, ...]) -> Array:
        assert self.variable is not None
        if self.whole:
            layout = Layout(self.shape, self.chunks, self.dtype)
            for index in layout.indices(region):
                if not (self.backend / self.name).exists(layout.key(index)):
                    raise self._damaged(region, f"chunk {layout.key(index)} is missing")
        try:
            return np.asarray(self.variable[region].values)
        except OSError:
            raise
        except Exception as error:
            why = f"a chunk is damaged: {type(error).__name__}: {error}"
            raise self._damaged(region, why) from error

    def _damaged(self, region: tuple[slice, ...], why: str) -> DamagedStoreError:
        where = [
            f"{dim} {listing(self._labels(str(dim))[part], 3)}"
            for dim, part in zip(self.dims, region, strict=True)
            if dim != "feature"
        ]
        what = ", ".join([f"{self.name!r} of {self.backend}", *where])
        return DamagedStoreError(f"{what}: {why}. {FOUND_BY}")

    def _labels(self, dim: str) -> Array:
        """Labels of a dim, or its positions where they cannot be read."""
        import zarr

        try:
            group = zarr.open_group(self.backend.store, path=self.backend.inside or None, mode="r")
            return np.asarray(group[dim][:], dtype=object)  # type: ignore[index]
        except Exception:
            return np.arange(self.shape[self.dims.index(dim)])

    def _is_padding(self, region: tuple[slice, ...]) -> bool:
        """Whether a box lies beyond the real features of its models, as far as one can read."""
        import zarr

        parts = dict(zip(self.dims, region, strict=True))
        try:
            group = zarr.open_group(self.backend.store, path=self.backend.inside or None, mode="r")
            real: Any = group["n_features"]
            inside = real[tuple(parts[name] for name in real.metadata.dimension_names)]
        except KeyError:
            return False
        except Exception:
            # damage of its own, which is told when coordinates are read
            return True
        return bool(np.all(np.asarray(inside) <= parts["feature"].start))


def _span(part: Any, size: int) -> tuple[slice, Any]:
    """The stretch that holds a selection, and the selection in it."""
    if isinstance(part, slice):
        at = range(size)[part]
        if not at:
            return slice(0, 0), slice(None)
        low = min(at[0], at[-1])
        inside = slice(None) if at.step == 1 else np.asarray(at) - low
        return slice(low, max(at[0], at[-1]) + 1), inside
    positions = np.asarray(part)
    positions = np.where(positions < 0, positions + size, positions)
    low = int(positions.min()) if positions.size else 0
    high = int(positions.max()) + 1 if positions.size else 0
    return slice(low, high), positions - low
