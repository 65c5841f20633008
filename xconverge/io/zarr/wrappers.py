"""Zarr stores of our own: a folder, and some that wrap another store.

They show a group as it was, hold back what is not complete, or ask.

Only here does the package touch Zarr's own protocol of stores, and by its public classes. Imported
late, as Zarr takes a third of the time of importing everything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import zarr
from zarr.abc.store import SuffixByteRequest
from zarr.buffer.cpu import Buffer
from zarr.storage import LocalStore, WrapperStore

from xconverge.io.zarr.checksums import GROUP, NONE, SIZE, UNKNOWN, Checksums, of_end
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.reader import GoneError
from xconverge.labels.messages import DamagedStoreError, escaped


class FolderStore(LocalStore):
    """A folder of which only regular files are read: opening a named pipe would wait for ever.

    Anything else reads as an empty file does: as damage.
    """

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The bytes at a key."""
        path = self.root / key
        try:
            kind = os.stat(path).st_mode
        except (OSError, ValueError):
            pass  # not there: the store itself says so
        else:
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                return Buffer.from_bytes(b"")
        return await super().get(key, prototype, byte_range)


class _Wrapper(WrapperStore[Any]):
    """A store around another, as subclasses make it by ``_with_store``."""

    def with_read_only(self, read_only: bool = False) -> Any:
        """The same for reading; zarr 3.1.3 has this for no wrapper."""
        return self._with_store(self._store.with_read_only(read_only))


class CheckedStore(_Wrapper):
    """A Zarr store that shows a group as it was when it was opened.

    Its documents are those that were read then. Each chunk must end with the checksum that they
    have for it, and after it is read, the group must still be the one that was opened: else labels
    in memory and values on disk would no longer belong together.
    """

    def __init__(
        self, store: Any, path: str, documents: Mapping[str, bytes], checksums: Checksums | None
    ) -> None:
        super().__init__(store)
        self.path, self.documents, self.checksums = path, documents, checksums

    def _with_store(self, store: Any) -> CheckedStore:
        return type(self)(store, self.path, self.documents, self.checksums)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """A document as it was, or a chunk."""
        if key.endswith("zarr.json"):
            known = self.documents.get(key)
            return None if known is None else Buffer.from_bytes(known)
        found = await super().get(key, prototype, byte_range)
        await self._check_same(key, prototype)
        if self.checksums is not None and byte_range is None:
            self._check_chunk(key, found)
        return found

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Groups and arrays that were there."""
        start = f"{prefix.rstrip('/')}/".lstrip("/")
        for name in {k[len(start) :].split("/")[0] for k in self.documents if k.startswith(start)}:
            yield name

    async def _check_same(self, key: str, prototype: Any) -> None:
        """The group is there, and nobody has written it anew."""
        ours = self.checksums is not None
        of = self._below(GROUP) if ours else self._array_of(key)
        witness = await super().get(f"{of}/zarr.json", prototype)
        if witness is None:
            what = "is no longer there: it was moved, renamed or deleted"
        elif self.checksums and self.checksums.writing.encode() not in witness.to_bytes():
            what = "was overwritten"
        else:
            return
        raise GoneError(
            f"{escaped(self.path) or 'the store'!r} of {escaped(self._store)} {what} since it was "
            "opened, so its labels and its values no longer belong together. Open it again"
        )

    def _array_of(self, key: str) -> str:
        """The array of a chunk, whatever its chunks are called."""
        while key and f"{key}/zarr.json" not in self.documents:
            key = key.rpartition("/")[0]
        return key

    def _check_chunk(self, key: str, found: Any) -> None:
        """The chunk is the one that was written here."""
        assert self.checksums is not None
        # names may have a ``/c`` of their own: only documents tell where an array ends
        array = self._array_of(key)
        name = array.removeprefix(self._below(""))
        index = key.removeprefix(f"{array}/c").strip("/")
        expected = self.checksums.of_chunk(name, tuple(map(int, index.split("/"))) if index else ())
        # the end alone: a chunk is not copied to be looked at
        end = of_end(None if found is None else found[-SIZE // 2 :].to_bytes())
        if expected in (UNKNOWN, end):
            return
        chunk = f"chunk {key.removeprefix(self._below(name)).lstrip('/')}"
        if found is None:
            raise DamagedStoreError(f"{chunk} is missing")
        raise DamagedStoreError(
            f"{chunk} is damaged, or is not the one that was written here: it ends with "
            f"{end if expected != NONE else 'data'}, and {expected.strip('-') or 'nothing'} was "
            "written"
        )

    def _below(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


class Draft(_Wrapper):
    """A Zarr store whose new documents and labels only the writer sees, until they are committed.

    Chunks of representations, which are large, go to the store at once: beyond the shape that the
    documents tell of, nobody looks.
    """

    def __init__(self, store: Any, held: dict[str, Any] | None = None) -> None:
        super().__init__(store)
        self.held: dict[str, Any] = {} if held is None else held

    def _with_store(self, store: Any) -> Draft:
        return type(self)(store, self.held)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """A document as the writer wants it, or what the store has."""
        held = self.held.get(key)
        if held is None:
            return await super().get(key, prototype, byte_range)
        return _part(held, byte_range)

    async def exists(self, key: str) -> bool:
        """Whether the writer sees a key."""
        return key in self.held or await super().exists(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """What lies directly below, with what is held back, and nothing hidden or half written."""
        start = f"{prefix.rstrip('/')}/".lstrip("/")
        below = {key[len(start) :].split("/")[0] for key in self.held if key.startswith(start)}
        async for name in super().list_dir(prefix):
            below.discard(name)
            if name == GROUP or not (name.startswith(".") or name.endswith(".partial")):
                yield name
        for name in below:
            yield name

    async def set(self, key: str, value: Any) -> None:
        """Hold back what is small."""
        if f"/{NAME}/c" in f"/{key}":
            await super().set(key, value)
        else:
            self.held[key] = value

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """The same where the key is not there."""
        if not await self.exists(key):
            await self.set(key, value)


def _part(held: Any, byte_range: Any) -> Any:
    return held[-byte_range.suffix :] if isinstance(byte_range, SuffixByteRequest) else held


class Answered(Exception):
    """Carries the answer of a store through Zarr."""

    def __init__(self, answer: Any, error: Exception | None = None) -> None:
        super().__init__()
        self.answer, self.error = answer, error


class Asked(_Wrapper):
    """A Zarr store that puts a question to another when it is opened, and is never open."""

    def __init__(self, store: Any, question: Callable[[Any], Awaitable[Any]]) -> None:
        super().__init__(store)
        self.question = question

    async def get(self, *_: Any, **__: Any) -> Any:
        """What Zarr calls first."""
        try:
            answer = await self.question(self._store)
        except Exception as error:
            raise Answered(None, error) from None
        raise Answered(answer)


def ask(store: Any, question: Callable[[Any], Awaitable[Any]]) -> Any:
    """Put a question to the asynchronous methods of a store; None where its folder is not there.

    Stores of fsspec only work in the event loop that Zarr keeps for itself. There it runs what a
    store does to open a group: here, the question.
    """
    try:
        mode: Any = "r" if store.read_only else "r+"
        zarr.open_group(Asked(store, question), mode=mode, zarr_format=3)
    except Answered as answered:
        if answered.error is not None:
            raise answered.error from None
        return answered.answer
    except FileNotFoundError:
        return None
    raise AssertionError("Zarr opened a group without a look at its metadata")
