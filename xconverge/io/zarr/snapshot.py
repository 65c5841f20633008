"""A group as it was at one moment: what readers go by, whoever writes meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import dask
import numpy as np
import xarray as xr
from xarray.conventions import decode_cf_variables

from xconverge.io.zarr.checksums import GROUP, Checksums, of_values, says
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.exchange import UNFINISHED
from xconverge.io.zarr.places import Place, parsed, to_json
from xconverge.io.zarr.reader import GoneError, StoredArray
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import DamagedStoreError, SchemaError, listing

# else xarray makes durations of numbers whose attrs say units="s"
DECODE: dict[str, Any] = {"decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False)}
TRIES = 100
Read = TypeVar("Read")
MISSING = "{}/zarr.json is missing. Bring the file back from a copy"
LAYOUT = "xconverge_layout"
OF_0_1 = (LAYOUT, "xconverge_writing")
"""Attrs of groups with which version 0.1 said how they are laid out."""
Documents = dict[str, dict[str, Any]]
"""Metadata of the arrays and groups below a group, by path; its own under ``""``."""


def walk(place: Place) -> Documents:
    """The documents of a group and of all below it, each from its own place."""
    document = place.document()
    return {} if document is None else {"": document, **_below(place)}


def _below(place: Place) -> Documents:
    # what is hidden is no part of a group, but the checksums
    names = [name for name in place.names() if name == GROUP or not name.startswith(".")]
    names = [name for name in names if name != "zarr.json"]
    found: Documents = {}
    for name, data in zip(names, place.read(f"{name}/zarr.json" for name in names), strict=True):
        if data is not None:
            found[name] = parsed(data, f"{place / name}")
            if found[name].get("node_type") == "group" and name != GROUP:
                below = _below(place / name)
                found |= {f"{name}/{path}": document for path, document in below.items()}
    return found


def consolidated(place: Place) -> Documents:
    """The documents of a group and of all below it, from the one document of the group."""
    document = place.document()
    if document is None:
        return {}
    inside = (document.get("consolidated_metadata") or {}).get("metadata")
    return {} if inside is None else {"": document, **inside}


@dataclass(frozen=True)
class Snapshot:
    """A group and all below it at one moment."""

    place: Place
    documents: Documents

    @classmethod
    def of(cls, place: Place) -> Snapshot:
        """Read it: from the one document of the group, where that is up to date."""
        documents = consolidated(place)
        if not documents or _is_behind(place, documents):
            own = walk(place)
            if not documents or has_grown(own, documents):
                documents = own
        if not documents and place.names():
            raise DamagedStoreError(MISSING.format(place))
        if not documents:
            raise FileNotFoundError(f"there is no group at {place}")
        if documents[""].get("attributes", {}).get(UNFINISHED):
            raise SchemaError(
                f"{place} was not written to its end; write it again with overwrite=True"
            )
        own_sums = None if GROUP in documents else (place / GROUP).document()
        snapshot = cls(place, {**documents, **({GROUP: own_sums} if own_sums else {})})
        snapshot.check_documents()
        return snapshot

    @cached_property
    def checksums(self) -> Checksums | None:
        """What its chunks and labels must be, where we wrote it."""
        document = self.documents.get(GROUP)
        if document is None:
            return None
        try:
            return Checksums.of_attrs(document["attributes"])
        except (KeyError, TypeError, ValueError):
            raise DamagedStoreError(
                f"{self.place / GROUP}/zarr.json is damaged. Bring the file back from a copy"
            ) from None

    def check_documents(self) -> None:
        """The documents say what was written: else labels, or arrays, would be left out."""
        sums = self.checksums
        if sums is None:
            return
        wrong = [p for p, crc in sums.documents.items() if not says(self.documents.get(p), crc)]
        wrong += set(sums.values) - coordinate_paths(self.documents)
        wrong += set(sums.attrs) - {"", *self.groups()}
        if wrong:
            raise DamagedStoreError(
                f"{self.place}/zarr.json is damaged: what it says of {listing(sorted(set(wrong)))} "
                "is not what was written. Bring the file back from a copy"
            )

    def groups(self) -> list[str]:
        """Paths of the groups in it, itself first."""
        return [
            path
            for path, document in self.documents.items()
            if document.get("node_type") == "group" and path != GROUP
        ]

    def arrays(self, group: str = "") -> Documents:
        """Documents of the arrays directly in a group of it, by name."""
        start = f"{group}/" if group else ""
        below = {
            path.removeprefix(start): document
            for path, document in self.documents.items()
            if path.startswith(start) and document.get("node_type") == "array"
        }
        return {name: document for name, document in below.items() if "/" not in name}

    def dataset(self, group: str = "", chunked: bool = True) -> xr.Dataset:
        """A group of it as it was given to us: data lazy, coordinates in memory, no encoding.

        Data are dask arrays; else what xarray's engines give, which says its chunks in encoding.
        """
        place = self.place / group
        store = self.store(group)
        with damage_of(place, "its labels or metadata"):
            raw = xr.open_zarr(
                store,
                group=place.group,
                zarr_format=3,
                consolidated=False,
                chunks=None,
                decode_cf=False,
                create_default_indexes=False,
            )
            labels = coordinate_paths(self.documents)
            variables = {
                name: self._coordinate(path, variable) if path in labels else variable
                for name, variable in raw.variables.items()
                for path in [f"{group}/{name}".lstrip("/")]
            }
            decoded, attrs, names = decode_cf_variables(variables, raw.attrs, **DECODE)
        stored = {
            name: StoredArray(variable, place.as_reader(), str(name))
            for name, variable in decoded.items()
            if name not in names and name not in variable.dims
        }
        data = {
            name: xr.Variable(decoded[name].dims, one.lazy(), decoded[name].attrs)
            if chunked
            else one.indexed()
            for name, one in stored.items()
        }
        coords = {
            name: with_objects(c).drop_encoding() for name, c in decoded.items() if name not in data
        }
        attrs = {key: value for key, value in attrs.items() if key not in OF_0_1}
        return xr.Dataset(data, coords, attrs)

    def store(self, group: str = "") -> Any:
        """A store that shows a group of it as it was."""
        from xconverge.io.zarr.wrappers import CheckedStore

        shown = {**self.arrays(group), "": own_part(self.documents[group])}
        place = self.place / group
        documents = {
            "/".join(filter(None, (place.path, name, "zarr.json"))): to_json(document)
            for name, document in shown.items()
        }
        return CheckedStore(place.reading, self.place.path, documents, self.checksums)

    def _coordinate(self, path: str, variable: xr.Variable) -> xr.Variable:
        """A coordinate in memory, which has the values that were written."""
        with dask.config.set(scheduler="synchronous"):
            loaded: xr.Variable = variable.compute()
        self.check_labels(path, np.asarray(loaded.values))
        return loaded

    def check_labels(self, path: str, values: Array) -> None:
        """The values of a coordinate are those that were written."""
        shape, crc = (self.checksums.values if self.checksums else {}).get(path, ((), None))
        there = values[tuple(map(slice, shape)) or ...]
        if crc is not None and (there.shape != shape or of_values(there) != crc):
            group, _, name = path.rpartition("/")
            raise DamagedStoreError(
                f"{self.place / group}: the labels {name!r} are not those that were written: a "
                "file is damaged, missing, or comes from another copy. Bring it back"
            )


def steadily(read: Callable[[], Read]) -> Read:
    """What a reading gives, done again where somebody overwrote what it had begun to read."""
    for _ in range(TRIES):
        try:
            return read()
        except GoneError:
            continue
    return read()


def _is_behind(place: Place, documents: Documents) -> bool:
    """Whether models were added by a program that leaves the one document alone."""
    if NAME not in documents:
        return False
    own = (place / NAME).document()
    return own is not None and own.get("shape") != documents[NAME].get("shape")


def has_grown(own: Documents, documents: Documents) -> bool:
    """Whether all arrays have grown by models: else somebody is at it, was killed, or damaged one.

    That all have is the last thing that is done before the group is told.
    """
    now, before = _sizes(own), _sizes(documents)
    return (
        set(documents) <= set(own)
        and all(len(found) == 1 for found in now.values())
        and all(dim in now and min(now[dim]) >= max(before[dim]) for dim in before)
        and min(now.get("model", {0})) > max(before.get("model", {0}))
    )


def _sizes(documents: Documents) -> dict[str, set[int]]:
    """The sizes that the arrays of a group have along each dim."""
    found: dict[str, set[int]] = {}
    for path, document in documents.items():
        if document.get("node_type") == "array" and "/" not in path:
            names = document.get("dimension_names") or ()
            for dim, size in zip(names, document["shape"], strict=False):
                found.setdefault(dim, set()).add(size)
    return found


def same(one: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two documents say the same, but for the copies that one has of those below it."""
    return own_part(one) == own_part(other or {})


def own_part(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without the copies that it has of those below it."""
    return {key: value for key, value in document.items() if key != "consolidated_metadata"}


def coordinate_paths(documents: Documents) -> set[str]:
    """Arrays that xarray takes for coordinates, by what the documents say."""
    found: set[str] = set()
    for path, document in documents.items():
        folder, _, name = path.rpartition("/")
        is_group = document.get("node_type") == "group"
        names = str(document.get("attributes", {}).get("coordinates", "")).split()
        if document.get("dimension_names") == [name]:
            names.append(name)
        found |= {f"{path if is_group else folder}/{name}".lstrip("/") for name in names}
    return found & set(documents)


@contextmanager
def damage_of(place: Place, what: str) -> Iterator[None]:
    """Whatever a library says of files that are not as they were written."""
    try:
        yield
    except (OSError, SchemaError):
        raise
    except Exception as error:
        raise DamagedStoreError(
            f"{place}: {what} cannot be read: {type(error).__name__}: {error}. Bring the file "
            "back from a copy"
        ) from error


def with_objects(variable: xr.Variable) -> xr.Variable:
    """Text as Python objects, as xarray's users have it."""
    return variable.astype(object) if variable.dtype.kind == "T" else variable
