"""The root of a store: what it says of itself, and the names of its modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xconverge.io.zarr import groups
from xconverge.io.zarr.backends import Backend, FolderBackend, StorePath, backend_of
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.staging import check_free

SCHEMA = 1
Options = Mapping[str, Any]
"""Credentials and settings for a URL, as fsspec takes them."""


def store_attrs() -> dict[str, Any]:
    """What a store says of itself."""
    from xconverge import __version__

    return {"xconverge_version": __version__, "xconverge_schema": SCHEMA}


def modality_names(root: Backend) -> list[str]:
    """Names of the groups that hold representations."""
    names = [name for name in root.names() if not name.startswith(".")]
    return [name for name in names if (root / name).exists(f"{NAME}/zarr.json")]


def ensure_store(root: Backend) -> None:
    """Make the store where there is none, whoever is first; not among files of others."""
    check_root(root)
    if not root.is_group():
        groups.new_group(root, store_attrs())


def check_root(root: Backend) -> None:
    """A store is here, or one can be made: hidden files, such as a lock, are in nobody's way."""
    names = root.names()
    # asked twice: the lock of another process may appear between the two
    is_file = not names and root.exists() and not root.names()
    if is_file or not all(name.startswith(".") for name in names):
        # overwrite: a group may be here, made by another process since it was asked for
        check_free(root, overwrite=True)


def existing_store(path: StorePath, storage_options: Options | None) -> Backend:
    """The backend of a store that is there."""
    root = backend_of(path, storage_options)
    if not root.is_group():
        if root.exists() or (isinstance(root, FolderBackend) and root.path.exists()):
            raise FileNotFoundError(f"{root} is not a Zarr format 3 store: it holds no group")
        raise FileNotFoundError(f"there is no store at {root}; write_representations makes one")
    return root
