"""A group is built aside, and takes its place when it is whole and its values are checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from xconverge.io.zarr.backends import Backend, FolderBackend, ObjectStoreBackend
from xconverge.io.zarr.groups import quiet
from xconverge.labels.arguments import flags


def check_free(backend: Backend, overwrite: bool) -> None:
    """Nothing is there, or a group that may be replaced."""
    flags(overwrite=overwrite)
    if not backend.exists():
        return
    if not backend.is_group():
        raise FileExistsError(
            f"{backend} exists and is not a Zarr format 3 group, so it is left alone; "
            "choose another path"
        )
    if not overwrite:
        raise FileExistsError(
            f"{backend} exists already; choose another name, or replace it with all it holds by "
            "overwrite=True (append_models adds models to a modality)"
        )


@contextmanager
def staged(target: Backend, root: Backend) -> Iterator[Backend]:
    """A backend to fill, which becomes ``target`` if nothing went wrong."""
    if isinstance(target, FolderBackend) and isinstance(root, FolderBackend):
        with _staged_folder(target, root) as stage:
            yield stage
    elif isinstance(target, ObjectStoreBackend) and isinstance(root, ObjectStoreBackend):
        with _staged_keys(target, root) as stage:
            yield stage
    else:
        # a transaction: what it holds counts when its owner commits it
        if target.exists():
            target.remove()
        with quiet():
            yield target


@contextmanager
def _staged_folder(target: FolderBackend, root: FolderBackend) -> Iterator[FolderBackend]:
    root.path.parent.mkdir(parents=True, exist_ok=True)
    before = _state(target.path)
    with tempfile.TemporaryDirectory(
        prefix=f".{root.path.name}-", dir=root.path.parent, ignore_cleanup_errors=True
    ) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        with quiet():
            yield FolderBackend(new)
        if _state(target.path) != before:
            raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")
        # two renames: after a kill between them, the old group lies in the scratch folder
        try:
            if target.path.exists():
                target.path.rename(old)
            new.rename(target.path)
        finally:
            if old.exists() and not target.path.exists():
                old.rename(target.path)


def _state(folder: Path) -> tuple[int, int] | None:
    if not folder.exists():
        return None
    stat = folder.stat()
    return stat.st_ino, stat.st_mtime_ns


@contextmanager
def _staged_keys(
    target: ObjectStoreBackend, root: ObjectStoreBackend
) -> Iterator[ObjectStoreBackend]:
    """Where nothing can be renamed: the group's own metadata are set last, and make it one."""
    stage = root / f".{uuid4().hex}"
    before = target.metadata()
    try:
        with quiet():
            yield stage
        if target.metadata() != before:
            raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")
        for name in target.names():
            if not str(stage).endswith(f"/{name}"):
                target.remove(name)
        # False before True: the metadata of the group come last
        for name in sorted(stage.keys(), key="zarr.json".__eq__):
            target.take_over(stage, name, name)
    finally:
        stage.remove()
