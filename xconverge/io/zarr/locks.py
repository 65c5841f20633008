"""Locks: of a file, or where there are none, by a key that only one can create."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil

PATIENCE = 600.0
"""Seconds to wait for somebody else's lock."""
KEY = ".locked-by"
UNKNOWN = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems without locks say; Lustre, unless it is mounted with them."""


class NoFileLocksError(Exception):
    """Files cannot be locked here."""


class Keys(Protocol):
    """Where a key can lie."""

    def __truediv__(self, name: str) -> object:
        """What a key is called in a message."""

    def create(self, key: str, data: bytes) -> None:
        """Set a key that is not there; FileExistsError where it is."""

    def read(self, key: str) -> Any:
        """The bytes of a key."""

    def remove(self, key: str) -> None:
        """Remove a key."""


@contextmanager
def lock_file(path: Path, doing: str, patience: float) -> Iterator[None]:
    """Lock a file, which ends with the process, and which is there only as long as the lock.

    NoFileLocksError where this system, or the file system, has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise NoFileLocksError from None
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while True:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read()
                if time.monotonic() >= deadline or _is_me(holder):
                    raise _locked(doing, holder) from None
                time.sleep(0.01)
                continue
            except OSError as error:
                if error.errno not in UNKNOWN:
                    raise
                path.unlink(missing_ok=True)
                raise NoFileLocksError from error
            # whoever held it has unlinked this very file: others lock the one that is there now
            if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                continue
            try:
                file.truncate(0)
                file.write(_me())
                file.flush()
                yield
            finally:
                # first the name, while it is still locked: it never names a file that is free
                path.unlink(missing_ok=True)
                fcntl.flock(file, fcntl.LOCK_UN)
            return


@contextmanager
def lock_by_key(backend: Keys, doing: str, patience: float) -> Iterator[None]:
    """Lock by a key that only one can create, and that a dead process of this host may leave."""
    deadline = time.monotonic() + patience
    while True:
        try:
            backend.create(KEY, _me())
            break
        except FileExistsError:
            try:
                holder = backend.read(KEY).tobytes()
            except FileNotFoundError:
                continue
            if _is_dead(holder):
                backend.remove(KEY)
            elif time.monotonic() >= deadline or _is_me(holder):
                cure = f" If it is no longer running, delete {backend / KEY}"
                raise _locked(doing, holder, cure) from None
            else:
                time.sleep(0.05)
    try:
        yield
    finally:
        backend.remove(KEY)


def _me() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    who = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "since": since,
    }
    return json.dumps(who).encode()


def _is_me(holder: bytes) -> bool:
    """Whether this very thread holds the lock, which waiting would never change."""
    try:
        who, me = json.loads(holder), json.loads(_me())
        return bool(all(who[part] == me[part] for part in ("host", "pid", "thread")))
    except (ValueError, KeyError, TypeError):
        return False


def _is_dead(holder: bytes) -> bool:
    try:
        who = json.loads(holder)
        return bool(who["host"] == socket.gethostname() and not psutil.pid_exists(who["pid"]))
    except (ValueError, KeyError, TypeError):
        return False


def _locked(doing: str, holder: bytes, cure: str = "") -> FileExistsError:
    try:
        who = json.loads(holder)
        by = f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):
        by = "another process"
    return FileExistsError(f"{doing}: {by}, is at it already; wait for it to end.{cure}")
