"""Where stores lie: a folder, an object store behind a URL, or a Zarr store such as Icechunk's.

A backend is a prefix of keys in one of them. What is put there appears whole, or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from xconverge.io.paths import local_path
from xconverge.io.zarr.locks import PATIENCE, NoFileLocksError, lock_by_key, lock_file
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.kinds import came
from xconverge.labels.messages import escaped

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
FULL = (errno.ENOSPC, errno.EDQUOT)

StorePath = Any
"""A path, a URL such as ``s3://bucket/study.zarr``, or a Zarr store."""


def backend_of(path: StorePath, storage_options: Mapping[str, Any] | None = None) -> Backend:
    """The backend of a path, a URL or a Zarr store."""
    if not isinstance(path, str | os.PathLike):
        if hasattr(path, "supports_writes") and hasattr(path, "list_dir"):
            return ZarrStoreBackend(path, "")
        raise TypeError(f"path must be a path, a URL or a zarr.abc.store.Store, got {came(path)}")
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        return ObjectStoreBackend(text.rstrip("/"), dict(storage_options or {}))
    if storage_options:
        raise ValueError(f"storage_options are for URLs, and {text!r} is a local path; drop them")
    return FolderBackend(local_path(text.removeprefix("file://")).resolve())


class Backend(ABC):
    """A prefix of keys."""

    store: Any
    """What zarr and xarray open …"""
    inside: str = ""
    """… and the path in it."""

    @abstractmethod
    def __truediv__(self, name: str) -> Backend: ...

    @abstractmethod
    def __str__(self) -> str: ...

    def __format__(self, spec: str) -> str:
        """What it is called in a message, which a terminal may show."""
        return escaped(self)

    @abstractmethod
    def read(self, key: str) -> Array:
        """The bytes of a key; FileNotFoundError where there is none."""

    @abstractmethod
    def remove(self, key: str = "") -> None:
        """Remove a key and all below it, or all of them."""

    @abstractmethod
    def exists(self, key: str = "") -> bool:
        """Whether a key is there, or anything below it."""

    @abstractmethod
    def names(self, key: str = "") -> list[str]:
        """What lies directly below a key, sorted; nothing where there is none."""

    def metadata(self) -> dict[str, Any] | None:
        """Metadata of a group or an array, or None where there is none that can be read."""
        try:
            found = json.loads(self.read("zarr.json").tobytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def is_group(self) -> bool:
        """Whether a Zarr format 3 group is here."""
        return (self.metadata() or {}).get("node_type") == "group"


class KeyValueBackend(Backend):
    """Keys that are ours to set; in a Zarr store they are its own."""

    @abstractmethod
    def __truediv__(self, name: str) -> KeyValueBackend: ...

    @abstractmethod
    def put(self, key: str, *buffers: Any) -> None:
        """Set a key to these buffers, one after another, whole or not at all."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Set a key that is not there; FileExistsError where it is."""

    @abstractmethod
    def take_over(self, source: KeyValueBackend, key: str, target: str) -> None:
        """Set ``target`` to what ``source`` has at ``key``, by a link where there are links."""

    def lock(self, doing: str, patience: float = PATIENCE) -> AbstractContextManager[None]:
        """Keep others from what is done here; FileExistsError where it stays locked."""
        return lock_by_key(self, doing, patience)


class FolderBackend(KeyValueBackend):
    """A folder of this machine, or of a file system that it mounts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def store(self) -> Any:
        # newer Zarr reads a text as a URL, of which "?" ends the path
        from zarr.storage import LocalStore

        return LocalStore(self.path)

    def __truediv__(self, name: str) -> FolderBackend:
        return FolderBackend(self.path / name)

    def __str__(self) -> str:
        return str(self.path)

    def read(self, key: str) -> Array:
        return np.fromfile(self.path / key, np.uint8)

    def put(self, key: str, *buffers: Any) -> None:
        target = self.path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        # in the same folder, as only there a rename is one step
        part = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            with part.open("xb") as file:
                reserve(file.fileno(), sum(memoryview(buffer).nbytes for buffer in buffers))
                for buffer in buffers:
                    file.write(buffer)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def take_over(self, source: KeyValueBackend, key: str, target: str) -> None:
        assert isinstance(source, FolderBackend)
        there = self.path / target
        there.parent.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)
        try:
            os.link(source.path / key, there)
        except FileNotFoundError:
            raise
        except OSError:
            self.put(target, source.read(key))

    def remove(self, key: str = "") -> None:
        path = self.path / key
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def exists(self, key: str = "") -> bool:
        path = self.path / key
        return any(path.iterdir()) if path.is_dir() else path.exists()

    def names(self, key: str = "") -> list[str]:
        path = self.path / key
        return sorted(os.listdir(path)) if path.is_dir() else []

    def create(self, key: str, data: bytes) -> None:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)

    @contextmanager
    def lock(self, doing: str, patience: float = PATIENCE) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(lock_file(self.path / ".lock", doing, patience))
            except NoFileLocksError:
                held.enter_context(super().lock(doing, patience))
            yield


class ObjectStoreBackend(KeyValueBackend):
    """An object store behind a URL, by fsspec: ``s3://``, ``gs://``, ``memory://`` …

    Credentials stay in ``options``, which no text and no file of ours ever holds.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        import fsspec

        self.url, self.options = url, options
        scheme, _, rest = url.partition("://")
        if "@" in rest.partition("/")[0]:
            raise ValueError(
                f"the URL of {self} holds credentials; give them by storage_options, or where the "
                "service's own tools look for them"
            )
        try:
            # what another process writes must be seen
            self.files, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            raise ImportError(
                f"{self} needs a package that is not here"
                + (f": pip install 'xconverge[{extra}]'" if extra else f": {error}")
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{self}: stores of the kind {scheme}:// are not known; use a folder, s3://, "
                "gs://, memory:// or another that fsspec has"
            ) from error

    @property
    def store(self) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.url, storage_options=self.options)

    def __truediv__(self, name: str) -> ObjectStoreBackend:
        return ObjectStoreBackend(f"{self.url}/{name}", self.options)

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        bucket, slash, path = rest.partition("?")[0].partition("/")
        return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"

    def _key(self, key: str) -> str:
        return f"{self.root}/{key}".rstrip("/")

    def read(self, key: str) -> Array:
        with self._reached():
            return np.frombuffer(self.files.cat_file(self._key(key)), np.uint8)

    def put(self, key: str, *buffers: Any) -> None:
        with self._reached():
            self.files.pipe_file(self._key(key), b"".join(map(memoryview, buffers)))

    def create(self, key: str, data: bytes) -> None:
        with self._reached():
            try:
                self.files.pipe_file(self._key(key), data, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or self.files.exists(self._key(key)):
                    raise FileExistsError(str(self / key)) from error
                raise

    def take_over(self, source: KeyValueBackend, key: str, target: str) -> None:
        assert isinstance(source, ObjectStoreBackend)
        with self._reached():
            self.files.cp_file(source._key(key), self._key(target))

    def remove(self, key: str = "") -> None:
        with self._reached(), suppress(FileNotFoundError):
            self.files.rm(self._key(key), recursive=True)

    def exists(self, key: str = "") -> bool:
        with self._reached():
            return bool(self.files.exists(self._key(key)))

    def names(self, key: str = "") -> list[str]:
        with self._reached():
            try:
                found = self.files.ls(self._key(key), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted({name.rstrip("/").rpartition("/")[2] for name in found})

    def keys(self) -> list[str]:
        """All keys, sorted."""
        start = len(self.root) + 1
        with self._reached():
            return sorted(name[start:] for name in self.files.find(self.root))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever a service's package says of credentials or the network is an OSError."""
        try:
            yield
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise OSError(
                f"{self} cannot be reached: {type(error).__name__}: {error}. Credentials come from "
                "storage_options, or from where the service's own tools look for them"
            ) from error


class ZarrStoreBackend(Backend):
    """A path in a Zarr store: whoever made the store answers for its transactions."""

    def __init__(self, store: Any, inside: str) -> None:
        self.store, self.inside = store, inside

    def __truediv__(self, name: str) -> ZarrStoreBackend:
        return ZarrStoreBackend(self.store, f"{self.inside}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"{type(self.store).__name__}:/{self.inside}"

    def _key(self, key: str) -> str:
        return f"{self.inside}/{key}".strip("/")

    def read(self, key: str) -> Array:
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        found = sync(self.store.get(self._key(key), default_buffer_prototype()))
        if found is None:
            raise FileNotFoundError(self._key(key))
        return np.frombuffer(found.to_bytes(), np.uint8)

    def remove(self, key: str = "") -> None:
        from zarr.core.sync import sync

        sync(self.store.delete_dir(self._key(key)))
        if key:
            sync(self.store.delete(self._key(key)))

    def exists(self, key: str = "") -> bool:
        from zarr.core.sync import sync

        # a store knows whether a key is there, and nothing of prefixes
        parts = self._key(key).split("/")
        if parts[-1] == "zarr.json" or "c" in parts:
            return bool(sync(self.store.exists(self._key(key))))
        return bool(self.names(key))

    def names(self, key: str = "") -> list[str]:
        from zarr.core.sync import sync

        async def listed() -> list[str]:
            return [name async for name in self.store.list_dir(self._key(key))]

        return sorted({name.rstrip("/").rpartition("/")[2] for name in sync(listed())})


def reserve(file: int, size: int) -> None:
    """Ask for all blocks of a file at once: quicker by a third, and a full disk tells now."""
    if size < BUDGETS.reserved_file or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in FULL:
            raise
