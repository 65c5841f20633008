"""The root of a store: what it says of itself, and the names of its modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xconverge.io.zarr import groups
from xconverge.io.zarr.backends import Folder, Place, StorePath, place_of
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.staging import check_free

SCHEMA = 1
Options = Mapping[str, Any]
"""Credentials and settings for a URL, as fsspec takes them."""


def store_attrs() -> dict[str, Any]:
    """What a store says of itself."""
    from xconverge import __version__

    return {"xconverge_version": __version__, "xconverge_schema": SCHEMA}


def names_of(root: Place) -> list[str]:
    """Names of the groups that hold representations."""
    names = [name for name in root.names() if not name.startswith(".")]
    return [name for name in names if (root / name).exists(f"{NAME}/zarr.json")]


def ensure_store(root: Place) -> None:
    """Make the store where there is none, whoever is first; not among files of others."""
    check_root(root)
    if not root.is_group():
        groups.new_group(root, store_attrs())


def check_root(root: Place) -> None:
    """A store is here, or one can be made: hidden files, such as a lock, are in nobody's way."""
    hidden = [name.startswith(".") for name in root.names()]
    if not root.is_group() and not (hidden and all(hidden)):
        check_free(root, overwrite=False)


def existing(path: StorePath, storage_options: Options | None) -> Place:
    """The place of a store that is there."""
    root = place_of(path, storage_options)
    if not root.is_group():
        if root.exists() or (isinstance(root, Folder) and root.path.exists()):
            raise FileNotFoundError(f"{root} is not a Zarr format 3 store: it holds no group")
        raise FileNotFoundError(f"there is no store at {root}; write_representations makes one")
    return root
