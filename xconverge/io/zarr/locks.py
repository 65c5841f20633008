"""One lock for everything that changes a store in a folder.

Zarr has none. In a bucket nothing can be locked: there a store has one writer, as the docs say.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from xconverge.io.zarr.places import Place

PATIENCE = 600.0
"""Seconds to wait for somebody else's lock."""
FILE = ".lock"
"""What is locked where folders cannot be: on NFS, and on Windows."""
MINE = threading.local()
"""Folders that a thread has locked."""
BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def locked(place: Place, doing: str, patience: float = PATIENCE) -> Iterator[None]:
    """Keep others from what is done in a folder; FileExistsError where it stays locked.

    The lock ends with the process, however that ends.
    """
    if place.folder is None:
        yield
        return
    if not place.folder.exists():
        place.folder.mkdir(parents=True, exist_ok=True)
    mine = MINE.__dict__.setdefault("folders", set())
    # what this very thread holds it would wait for in vain
    deadline = time.monotonic() + (0 if place.folder in mine else patience)
    while (held := try_lock(place.folder)) is None:
        if time.monotonic() >= deadline:
            raise FileExistsError(
                f"{doing}: another process, or another thread of this one, is changing "
                f"{place.folder}; wait for it to end"
            )
        time.sleep(0.01)
    mine.add(place.folder)
    try:
        yield
    finally:
        mine.discard(place.folder)
        unlock(held)


@contextmanager
def unchanged(place: Place) -> Iterator[None]:
    """Keep others from changing what is read, where that takes no right to write."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(place, f"reading {place}"))
        yield


def try_lock(folder: Path) -> int | None:
    """Lock a folder; what `unlock` takes, or None if it is locked."""
    try:
        held = _locked_folder(folder)
    except FileNotFoundError:
        return None  # it is just being exchanged
    except (ImportError, OSError):
        held = _locked_file(folder / FILE)
    # whoever held it may have put another folder into its place meanwhile
    if held is not None and not _is_at(held, folder):
        unlock(held)
        return None
    return held


def unlock(held: int) -> None:
    """Let others lock what `try_lock` has locked."""
    try:
        import fcntl

        # closing is not enough where a forked process has the file open too
        fcntl.flock(held, fcntl.LOCK_UN)
    except ImportError:
        pass
    os.close(held)


def _locked_folder(folder: Path) -> int | None:
    """A folder itself is locked, which leaves nothing behind."""
    import fcntl

    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        if error.errno in BUSY:
            return None
        raise
    return held


def _locked_file(path: Path) -> int | None:
    """A file in it is locked: never one that a link of a stranger leads to, nor a device."""
    held = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise OSError(f"{path} must be a regular file to be locked; remove it")
        _lock(held)
    except OSError as error:
        os.close(held)
        if error.errno in BUSY:
            return None
        raise
    return held


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(held: int, folder: Path) -> bool:
    """Whether what is locked is what lies there now."""
    there = os.fstat(held)
    path = folder if stat.S_ISDIR(there.st_mode) else folder / FILE
    try:
        return os.path.samestat(there, path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
