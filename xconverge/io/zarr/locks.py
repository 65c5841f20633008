"""One lock for everything that changes a store in a folder.

Zarr has none. In a bucket nothing can be locked: there a store has one writer, as the docs say.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from xconverge.io.zarr.places import Place

PATIENCE = 600.0
"""Seconds to wait for somebody else's lock."""
FILE = ".lock"
"""What is locked where folders cannot be: on NFS, and on Windows."""
MINE = threading.local()
"""Folders that a thread has locked."""
MADE = ".locked-by"
NOT_FOR_LACK_OF_LOCKS = (errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ELOOP, errno.EINVAL)
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
                f"{doing}: another process, or another call of this one, is changing {place}; "
                f"wait for it to end{_cure(place.folder)}"
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


def _cure(folder: Path) -> str:
    made = folder / MADE
    return f", or delete {made} if nobody is" if made.exists() else ""


Lock = int | Path
"""An open file, or one that is there only while it is held."""


def try_lock(folder: Path) -> Lock | None:
    """Lock a folder; what `unlock` takes, or None if it is locked."""
    for kind in (_locked_folder, _locked_file):
        try:
            held = kind(folder)
        except FileNotFoundError:
            return None  # it is just being exchanged
        except (ImportError, OSError) as error:
            if getattr(error, "errno", None) in NOT_FOR_LACK_OF_LOCKS:
                raise
            continue
        # whoever held it may have put another folder into its place meanwhile
        if held is not None and not _is_at(held, folder):
            unlock(held)
            return None
        return held
    return _made_file(folder / MADE)


def unlock(held: Lock) -> None:
    """Let others lock what `try_lock` has locked."""
    if isinstance(held, Path):
        held.unlink(missing_ok=True)
        return
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

    return _locked(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.flock)


def _locked_file(folder: Path) -> int | None:
    """A file in it is locked: never one that a link of a stranger leads to, nor a device."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    path = folder / FILE
    file = os.open(path, flags, 0o666)
    try:
        _check_regular(path, os.fstat(file))
    except OSError:
        os.close(file)
        raise
    try:
        return _locked(file, _lock_of_a_file())
    except OSError:
        path.unlink(missing_ok=True)  # nobody can lock it
        raise


def _check_regular(path: Path, what: os.stat_result) -> None:
    if not stat.S_ISREG(what.st_mode):
        raise OSError(errno.EINVAL, f"{path} must be a regular file; remove it")


def _lock_of_a_file() -> Callable[[int, int], None]:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        return lambda file, _: msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    return fcntl.flock


def _locked(file: int, lock: Callable[[int, int], None]) -> int | None:
    """An open file, locked; None, and closed, where somebody else has locked it."""
    exclusive, at_once = 2, 4  # LOCK_EX, LOCK_NB
    try:
        lock(file, exclusive | at_once)
    except OSError as error:
        os.close(file)
        if error.errno in BUSY:
            return None
        raise
    return file


def _made_file(path: Path) -> Path | None:
    """Without any locks (Lustre may have none): a file that only one can make.

    It says who made it, because a process that is killed leaves it behind.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        with suppress(FileNotFoundError):
            _check_regular(path, path.lstat())
        if not _is_dead(path):
            return None
        path.unlink(missing_ok=True)
        return _made_file(path)
    with os.fdopen(file, "w") as text:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, text)
    return path


def _is_dead(path: Path) -> bool:
    """Whether the process that made a file has ended, as far as this host can tell."""
    try:
        who = json.loads(path.read_text())
        return bool(who["host"] == socket.gethostname() and not psutil.pid_exists(who["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_at(held: int, folder: Path) -> bool:
    """Whether what is locked is what lies there now."""
    there = os.fstat(held)
    path = folder if stat.S_ISDIR(there.st_mode) else folder / FILE
    try:
        return os.path.samestat(there, path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
