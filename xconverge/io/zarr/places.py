"""Where a store lies: a path in a Zarr store, which may be a folder of this machine."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xconverge.io.paths import local_path
from xconverge.labels.kinds import came
from xconverge.labels.messages import DamagedStoreError, SchemaError, escaped

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
AT_ONCE = 32
"""Keys that are asked for together; a store in a bucket answers each after a while."""

MANIFEST = "ro-crate-metadata.json"
"""The one file of a store that is none of Zarr's."""
Options = Mapping[str, Any]
"""Credentials and settings for a URL, as fsspec takes them."""
StorePath = Any
"""A path, a URL such as ``s3://bucket/study.zarr``, or a Zarr store."""


@dataclass(frozen=True)
class Place:
    """A path in a Zarr store, and the documents (``zarr.json``) and names below it.

    Zarr and xarray read and write arrays and groups here. What only the bytes of documents can
    tell or do is asked of the store itself.
    """

    store: Any
    path: str
    root: str
    """What the store is called, without credentials."""
    folder: Path | None = None
    """The folder of this machine, where it is one."""

    def __truediv__(self, name: str) -> Place:
        """What lies below by this name; the same place by an empty one."""
        folder = self.folder / name if self.folder else None
        return Place(self.store, self._key(name), self.root, folder)

    def __str__(self) -> str:
        """What it is called, without credentials."""
        return f"{self.root}/{self.path}" if self.path else self.root

    def __format__(self, spec: str) -> str:
        """What it is called in a message, which a terminal may show."""
        return escaped(self)

    @property
    def group(self) -> str | None:
        """The path as xarray takes it."""
        return self.path or None

    def _key(self, key: str) -> str:
        return f"{self.path}/{key}".strip("/")

    @property
    def reading(self) -> Any:
        """The store to read from: Zarr makes the folder of one that may write."""
        try:
            return self.store if self.store.read_only else self.store.with_read_only(True)
        except NotImplementedError:
            return self.store

    def as_reader(self) -> Place:
        """The same, and no right to write."""
        return Place(self.reading, self.path, self.root, self.folder)

    @property
    def consolidates(self) -> bool:
        """Whether a group has one document for all below it; a transaction needs none."""
        return bool(self.store.supports_consolidated_metadata)

    @property
    def holds_files(self) -> bool:
        """Whether there may be files beside Zarr's own keys; a transaction refuses even to look."""
        return self.consolidates

    def read(self, keys: Iterable[str], byte_range: Any = None) -> list[bytes | None]:
        """The bytes at some keys, None where there is none."""
        from zarr.buffer import default_buffer_prototype

        prototype, names = default_buffer_prototype(), [self._key(key) for key in keys]

        async def one(store: Any, key: str, turn: asyncio.Semaphore) -> bytes | None:
            async with turn:
                found = await store.get(key, prototype, byte_range)
            return None if found is None else bytes(found.to_bytes())

        async def all_of_them(store: Any) -> list[bytes | None]:
            turn = asyncio.Semaphore(AT_ONCE)
            return list(await asyncio.gather(*(one(store, name, turn) for name in names)))

        found: list[bytes | None] | None = self._ask(self.reading, all_of_them)
        return [None] * len(names) if found is None else found

    def _ask(self, store: Any, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """Ask the store; what a service says is an OSError that says where."""
        from xconverge.io.zarr.wrappers import ask

        try:
            return ask(store, question)
        except (FileNotFoundError, SchemaError):
            raise
        except Exception as error:
            if self.folder is not None:
                raise
            raise OSError(
                f"{self.root} cannot be reached, or refuses: {type(error).__name__}: {error}"
            ) from error

    def check_changes(self) -> None:
        """What is here may be changed, step by step."""
        if not self.store.supports_deletes:
            raise TypeError(
                f"{self.root} cannot be changed once it is written; write a folder, and pack that"
            )
        if self.store.read_only:
            raise PermissionError(f"{self.root} is open for reading only; open it for writing")

    def document(self, name: str = "") -> dict[str, Any] | None:
        """The metadata of a group or an array, or None where there are none."""
        (data,) = self.read([f"{name}/zarr.json".lstrip("/")])
        return None if data is None else parsed(data, f"{self}/{name}".rstrip("/"))

    def is_group(self) -> bool:
        """Whether a Zarr format 3 group is here."""
        return (self.document() or {}).get("node_type") == "group"

    def put(self, documents: Mapping[str, bytes]) -> None:
        """Set keys one after another, each as a whole."""
        from zarr.buffer.cpu import Buffer

        async def set_them(store: Any) -> None:
            for key, data in documents.items():
                await store.set(self._key(key), Buffer.from_bytes(data))

        self._ask(self.store, set_them)

    def remove(self, *names: str) -> None:
        """Remove all that is here, or what is below by these names: documents first."""
        keys = [self._key(name) for name in names or ("",)]

        async def removed(store: Any) -> None:
            for key in keys:
                # the second: what Zarr had not written to its end when it was killed
                if key.endswith(("zarr.json", ".partial", MANIFEST)):
                    await store.delete(key)
                else:
                    await store.delete(f"{key}/zarr.json".lstrip("/"))
                    await store.delete_dir(key)

        self._ask(self.store, removed)

    def names(self) -> list[str]:
        """What lies directly below, sorted, whether it can be read or not."""

        async def listed(store: Any) -> list[str]:
            return [name async for name in store.list_dir(self.path)]

        found = self._ask(self.reading, listed) or []
        return sorted({name.rstrip("/").rpartition("/")[2] for name in found} - {""})

    def keys(self) -> list[str]:
        """All keys below, sorted."""

        async def listed(store: Any) -> list[str]:
            return [key async for key in store.list_prefix(f"{self.path}/".lstrip("/"))]

        found = self._ask(self.reading, listed) or []
        return sorted(key.removeprefix(self.path).lstrip("/") for key in found)


def parsed(data: bytes, where: str) -> dict[str, Any]:
    """A document, where it can be read."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise DamagedStoreError(
            f"{where}/zarr.json is damaged: {error}. Bring the file back from a copy"
        ) from None
    if not isinstance(found, dict):
        raise DamagedStoreError(f"{where}/zarr.json is damaged. Bring the file back from a copy")
    return found


def to_json(document: Mapping[str, Any]) -> bytes:
    """A document as Zarr writes it."""
    return json.dumps(document, indent=2).encode()


def place_of(path: StorePath, storage_options: Options | None = None) -> Place:
    """The place of a path, a URL or a Zarr store."""
    if not isinstance(path, str | os.PathLike):
        if hasattr(path, "supports_writes") and hasattr(path, "list_dir"):
            return Place(path, "", f"{type(path).__name__}:")
        raise TypeError(f"path must be a path, a URL or a zarr.abc.store.Store, got {came(path)}")
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        return _behind_url(text.rstrip("/"), dict(storage_options or {}))
    if storage_options:
        raise ValueError(f"storage_options are for URLs, and {text!r} is a local path; drop them")
    folder = local_path(text.removeprefix("file://")).resolve()
    return _archive(folder) if folder.suffix == ".zip" and folder.is_file() else local(folder)


def local(folder: Path) -> Place:
    """The place of a folder."""
    from xconverge.io.zarr.wrappers import FolderStore

    # a Path: newer Zarr reads a text as a URL, of which "?" ends the path
    return Place(FolderStore(folder), "", str(folder), folder)


def _archive(file: Path) -> Place:
    """A store in a ZIP file, to read."""
    from zarr.storage import ZipStore

    return Place(ZipStore(file, mode="r"), "", str(file))


def _behind_url(url: str, options: dict[str, Any]) -> Place:
    """A store that fsspec reaches; what another process writes must be seen, so no listings."""
    from zarr.storage import FsspecStore

    scheme, _, rest = url.partition("://")
    bucket, slash, path = rest.partition("?")[0].partition("/")
    shown = f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            f"the URL of {shown} holds credentials; give them by storage_options, or where the "
            "service's own tools look for them"
        )
    try:
        store = FsspecStore.from_url(url, storage_options={"use_listings_cache": False, **options})
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        raise ImportError(
            f"{shown} needs a package that is not here"
            + (f": pip install 'xconverge[{extra}]'" if extra else f": {error}")
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{shown}: stores of the kind {scheme}:// are not known; use a folder, s3://, "
            "gs://, memory:// or another that fsspec has"
        ) from error
    return Place(store, "", shown)
