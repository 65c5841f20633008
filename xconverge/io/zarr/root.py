"""The root of a store: what it says of itself, and the names of its modalities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xarray as xr

from xconverge.io.zarr import groups
from xconverge.io.zarr.checksums import GROUP, of_json
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.exchange import REPLACED, check_free, found, is_left
from xconverge.io.zarr.places import (
    MANIFEST,
    Options,
    Place,
    StorePath,
    local,
    place_of,
    to_json,
)
from xconverge.io.zarr.snapshot import Snapshot, own_part, steadily
from xconverge.labels.messages import DamagedStoreError

SCHEMA = 2
CHECKSUM = "xconverge_checksum"
INCOMPLETE = "incomplete_models"
FILES = ("zarr.json", MANIFEST)
"""What lies in the root and is no group."""


def store_attrs() -> dict[str, Any]:
    """What a store says of itself."""
    from xconverge import __version__

    attrs = {"xconverge_version": __version__, "xconverge_schema": SCHEMA}
    return {**attrs, CHECKSUM: of_json(attrs)}


def modality_names(root: Place) -> list[str]:
    """Names of the groups that hold representations."""
    names = [name.removeprefix(REPLACED) for name in root.names()]
    names = [name for name in dict.fromkeys(names) if not name.startswith(".")]
    documents = [
        (found(root / name) / NAME).read(["zarr.json"]) for name in names if name not in FILES
    ]
    there = [name for name in names if name not in FILES]
    return sorted(n for n, doc in zip(there, documents, strict=True) if doc != [None])


def ensure_store(root: Place) -> None:
    """Make the store where there is none, whoever is first; not among files of others."""
    check_root(root)
    root.check_changes()
    if not root.is_group():
        groups.new_group(root, store_attrs())
        return
    document = root.document() or {}
    if document.get("consolidated_metadata"):
        # a document of the whole store, as other programs make, would hide what is written now
        root.put({"zarr.json": to_json(own_part(document))})


def check_root(root: Place) -> None:
    """A store is here, or one can be made: hidden files, such as a lock, are in nobody's way.

    Nor is what Zarr had not written to its end when it was killed.
    """
    is_file = root.folder is not None and root.folder.is_file()
    if is_file or not all(n.startswith(".") or is_left(n) for n in root.names()):
        # overwrite: a group may be here, made by another process since it was asked for
        check_free(root, overwrite=True)


def existing_store(path: StorePath, storage_options: Options | None) -> Place:
    """The place of a store that is there."""
    root = place_of(path, storage_options)
    if root.folder is not None and not root.folder.exists():
        aside = root.folder.with_name(REPLACED + root.folder.name)
        root = local(aside) if aside.is_dir() else root
    if not root.is_group():
        if root.names() or (root.folder is not None and root.folder.exists()):
            raise FileNotFoundError(f"{root} is not a Zarr format 3 store: it holds no group")
        raise FileNotFoundError(f"there is no store at {root}; write_representations makes one")
    return root


def open_array(root: Place, modality: str) -> xr.DataArray:
    """What ``read_array`` gives, read again where somebody overwrote it meanwhile."""
    return steadily(lambda: read_array(root, modality))


def read_array(root: Place, modality: str, chunked: bool = True) -> xr.DataArray:
    """Representations: lazy in the chunks of the store, coordinates in memory, no encoding."""
    snapshot = Snapshot.of(found(root / modality))
    if NAME not in snapshot.arrays():
        raise DamagedStoreError(
            f"{snapshot.place}/zarr.json is damaged: it tells nothing of {NAME!r}. Bring "
            "the file back from a copy"
        )
    return snapshot.dataset(chunked=chunked)[NAME]


def open_groups(root: Place, chunked: bool = True) -> dict[str, xr.Dataset]:
    """All groups of a store, or of a study, by path: each as it is at one moment."""

    def nodes() -> dict[str, xr.Dataset]:
        return {
            "/".join(["", *filter(None, (path, group))]) or "/": snapshot.dataset(group, chunked)
            for path, snapshot in wholes(root)
            for group in snapshot.groups()
        }

    return steadily(nodes)


def wholes(root: Place, path: str = "") -> Iterator[tuple[str, Snapshot]]:
    """Groups that were written as one, each with its path; others with their own arrays alone."""
    place = found(root / path)
    if (place / GROUP).document() is not None:
        yield path, Snapshot.of(place)
        return
    documents = {"": place.document() or {}}
    names = [name.removeprefix(REPLACED) for name in place.names()]
    for name in dict.fromkeys(names):
        # incomplete models are groups too, and no results
        if name not in (*FILES, INCOMPLETE) and not name.startswith("."):
            document = found(place / name).document()
            if document and document.get("node_type") == "group":
                yield from wholes(root, f"{path}/{name}".lstrip("/"))
            elif document:
                documents[name] = document
    yield path, Snapshot(place, documents)
