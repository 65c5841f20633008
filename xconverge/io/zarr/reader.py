"""Reading chunks that are those which were opened, or saying what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr
from zarr.storage import WrapperStore

from xconverge.io.zarr.checksums import GROUP, NONE, UNKNOWN, Checksums, of_end
from xconverge.io.zarr.places import Place
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import DamagedStoreError, escaped, listing

FOUND_BY = (
    "Write it again, or bring the file back from a copy; "
    "`xconverge validate STORE --deep` lists every such chunk"
)


class GoneError(FileNotFoundError):
    """What was opened is no longer there."""


class CheckedStore(WrapperStore[Any]):
    """A Zarr store that shows a group as it was when it was opened.

    Its documents are those that were read then. Each chunk must end with the checksum that they
    have for it, and after it is read, the group must still be the one that was opened: else labels
    in memory and values on disk would no longer belong together.
    """

    def __init__(
        self, store: Any, path: str, documents: Mapping[str, bytes], checksums: Checksums | None
    ) -> None:
        super().__init__(store)
        self.path, self.documents, self.checksums = path, documents, checksums

    def _with_store(self, store: Any) -> CheckedStore:
        return type(self)(store, self.path, self.documents, self.checksums)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """A document as it was, or a chunk."""
        from zarr.buffer.cpu import Buffer

        if key.endswith("zarr.json"):
            known = self.documents.get(key)
            return None if known is None else Buffer.from_bytes(known)
        found = await super().get(key, prototype, byte_range)
        await self._check_same(key, prototype)
        if self.checksums is not None and byte_range is None:
            self._check_chunk(key, found)
        return found

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Groups and arrays that were there."""
        start = f"{prefix.rstrip('/')}/".lstrip("/")
        for name in {k[len(start) :].split("/")[0] for k in self.documents if k.startswith(start)}:
            yield name

    async def _check_same(self, key: str, prototype: Any) -> None:
        """The group is there, and nobody has written it anew."""
        ours = self.checksums is not None
        of = self._below(GROUP) if ours else self._array_of(key)
        witness = await super().get(f"{of}/zarr.json", prototype)
        if witness is None:
            what = "is no longer there: it was moved, renamed or deleted"
        elif self.checksums is not None and self.checksums.writing not in str(
            witness.to_bytes(), "utf8", "replace"
        ):
            what = "was overwritten"
        else:
            return
        raise GoneError(
            f"{escaped(self.path) or 'the store'!r} of {escaped(self._store)} {what} since it was "
            "opened, so its labels and its values no longer belong together. Open it again"
        )

    def _array_of(self, key: str) -> str:
        """The array of a chunk, whatever its chunks are called."""
        while key and f"{key}/zarr.json" not in self.documents:
            key = key.rpartition("/")[0]
        return key

    def _check_chunk(self, key: str, found: Any) -> None:
        """The chunk is the one that was written here."""
        assert self.checksums is not None
        name, _, rest = key.removeprefix(self._below("")).partition("/c/" if "/c/" in key else "/c")
        expected = self.checksums.of_chunk(name, tuple(map(int, rest.split("/"))) if rest else ())
        end = of_end(None if found is None else found.to_bytes()[-8:])
        if expected in (UNKNOWN, end):
            return
        chunk = f"chunk {key.removeprefix(self._below(name)).lstrip('/')}"
        if found is None:
            raise DamagedStoreError(f"{chunk} is missing")
        raise DamagedStoreError(
            f"{chunk} is damaged, or is not the one that was written here: it ends with "
            f"{end if expected != NONE else 'data'}, and {expected.strip('-') or 'nothing'} was "
            "written"
        )

    def _below(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


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

    def lazy(self) -> da.Array:
        """The array, in its own chunks."""
        variable = self.variable
        preferred = variable.encoding.get("preferred_chunks", variable.sizes)
        # a name of its own: dask would take two stores at one path, before and after it was
        # overwritten, for one array
        array: da.Array = da.from_array(
            self,
            chunks=tuple(preferred[dim] for dim in variable.dims),
            name=f"{self.name}-{uuid4().hex}",
            asarray=False,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )
        return array

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
