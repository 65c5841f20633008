"""A group is built beside its place, and takes it in one step when it is whole.

No Zarr store can do that. Folders are exchanged by the operating system. Where it has no such
call, the old one takes the name ``.replaced-NAME`` for a moment, and whoever looks for NAME in
that moment finds it there. In a bucket nothing can be renamed, and keys are set one by one, those
that make it a group last.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from xconverge.io.zarr.checksums import GROUP
from xconverge.io.zarr.locks import locked, try_lock, unlock
from xconverge.io.zarr.places import Place, local
from xconverge.labels.arguments import flags
from xconverge.labels.messages import DamagedStoreError

STAGE = ".staging-"
REPLACED = ".replaced-"
UNFINISHED = "xconverge_unfinished"
"""Attr of a group in a bucket from its first key to its last: readers refuse it."""


def check_free(place: Place, overwrite: bool) -> None:
    """Nothing is there, or a group that may be replaced."""
    flags(overwrite=overwrite)
    if not (place.names() or (place.folder and place.folder.is_file())):
        return
    if not _is_group(place):
        raise FileExistsError(
            f"{place} exists and is not a Zarr format 3 group, so it is left alone; "
            "choose another path"
        )
    if not overwrite:
        raise FileExistsError(
            f"{place} exists already; choose another name, or replace it with all it holds by "
            "overwrite=True (append_models adds models to a modality)"
        )


def _is_group(place: Place) -> bool:
    """A Zarr group is here, or one whose document is damaged, which may be replaced."""
    try:
        return place.is_group() or GROUP in place.names()
    except DamagedStoreError:
        return True


@contextmanager
def staged(target: Place, root: Place, overwrite: bool) -> Iterator[Place]:
    """A place to fill, which becomes ``target`` if nothing went wrong.

    Filling it takes no lock. Taking the place does, and fails if the target has changed meanwhile.
    """
    root.check_changes()
    check_free(target, overwrite)
    before: list[bytes | None] = target.read(["zarr.json"]) if overwrite else [None]
    if target.path == "" and not target.consolidates:
        # a transaction, where all goes with the root; it counts when its owner commits it
        target.remove()
        yield target
        return
    if root.folder is None:
        with _staged_keys(target, root, before) as stage:
            yield stage
        return
    with _stage_folder(target, root) as folder:
        yield local(folder / "new")
        with locked(root, f"writing {target}"):
            _check_same(target, before)
            _check_no_writers(target)
            _take_place(folder / "new", _folder(target))


def _check_same(target: Place, before: list[bytes | None]) -> None:
    if target.read(["zarr.json"]) != before:
        raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")


def _check_no_writers(target: Place) -> None:
    """A store is not replaced under the feet of those who extract models into it."""
    for folder in _folder(target).glob("incomplete_models/*/*/"):
        held = try_lock(folder)
        if held is None:
            raise FileExistsError(f"{folder} is being written by a ModelWriter; close it first")
        unlock(held)


def _folder(place: Place) -> Path:
    assert place.folder is not None
    return place.folder


# In a folder


@contextmanager
def _stage_folder(target: Place, root: Place) -> Iterator[Path]:
    """A folder on the same file system, locked as long as somebody fills it."""
    # a store is built beside itself, but for a mount point, which cannot be exchanged
    beside = target.path == "" and not os.path.ismount(_folder(root))
    parent = _folder(root).parent if beside else _folder(root)
    is_new = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    folder = parent / f"{STAGE}{uuid4().hex}"
    folder.mkdir()
    held = try_lock(folder)
    try:
        yield folder
    finally:
        _remove(folder)
        if held is not None:
            unlock(held)
        if is_new:
            with suppress(OSError):
                parent.rmdir()  # stays where something was written


def _remove_abandoned(parent: Path) -> None:
    """Remove what processes that were killed have built, or had replaced."""
    for folder in parent.glob(f"{STAGE}*"):
        if folder.is_dir() and not folder.is_symlink() and (held := try_lock(folder)) is not None:
            _remove(folder)
            unlock(held)


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one, if it is there."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _take_place(new: Path, target: Path) -> None:
    """Put a folder into the place of another, which takes its own."""
    target.parent.mkdir(parents=True, exist_ok=True)
    restore_replaced(target)
    try:
        if not target.exists():
            new.rename(target)
        elif not any(target.iterdir()):
            target.rmdir()
            new.rename(target)
        else:
            _exchange(new, target)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV) or not target.is_dir():
            raise
        _fill_mount_point(new, target)


def _exchange(new: Path, target: Path) -> None:
    """Exchange two folders in one step, or by two renames, of which the first leaves a trace."""
    try:
        exchange(new, target)
        return
    except OSError:
        replaced = target.with_name(REPLACED + target.name)
        target.rename(replaced)
    try:
        new.rename(target)
    except BaseException:
        replaced.rename(target)
        raise
    _remove(replaced)


def _fill_mount_point(new: Path, target: Path) -> None:
    """A mount point cannot be exchanged: it is filled, the document that makes it a store last."""
    if any(not path.name.startswith(STAGE) for path in target.iterdir()):
        raise FileExistsError(
            f"{target} is a mount point, and a store there cannot be replaced in one step; "
            "delete what it holds, or write to a folder in it"
        )
    for path in sorted(new.iterdir(), key=lambda path: path.name == "zarr.json"):
        shutil.move(path, target / path.name)


def restore_replaced(target: Path) -> None:
    """Bring back what a killed process had put aside; the caller holds the lock of the root."""
    replaced = target.with_name(REPLACED + target.name)
    if replaced.is_dir():
        if target.exists():
            _remove(replaced)
        else:
            replaced.rename(target)


def found(place: Place) -> Place:
    """The place, or where a killed process has put aside what was there."""
    if place.folder is None or place.folder.exists() or not place.path:
        return place
    head, _, name = place.path.rpartition("/")
    aside = f"{head}/{REPLACED}{name}".lstrip("/")
    folder = place.folder.with_name(REPLACED + place.folder.name)
    return Place(place.store, aside, place.root, folder) if folder.is_dir() else place


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders in one step; OSError where that is not possible."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        failed = library.renameat2(here, names[0], here, names[1], both)
    elif sys.platform == "darwin":
        failed = library.renamex_np(*names, 2)  # RENAME_SWAP
    else:
        raise OSError(errno.ENOSYS, "folders cannot be exchanged in one step here")
    if failed:
        raise OSError(ctypes.get_errno(), f"{one} and {other} cannot be exchanged")


# In a bucket, or another store of keys


@contextmanager
def _staged_keys(target: Place, root: Place, before: list[bytes | None]) -> Iterator[Place]:
    """Written at once where nothing is; else beside, as the new may be read from the old."""
    if before == [None]:
        try:
            yield target
        except BaseException:
            target.remove()
            raise
        return
    stage = root / f"{STAGE}{uuid4().hex}"
    try:
        yield stage
        _check_same(target, before)
        target.remove("zarr.json", *(n for n in target.names() if not n.startswith(STAGE)))
        _copy(stage, target)
    finally:
        stage.remove()


def _copy(source: Place, target: Place) -> None:
    """Copy keys one by one, documents of arrays first and that of the group last."""
    for key in sorted(source.keys(), key=lambda k: (k == "zarr.json", not k.endswith("zarr.json"))):
        (data,) = source.read([key])
        if data is not None:
            target.put({key: data})
