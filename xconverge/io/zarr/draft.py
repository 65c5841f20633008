"""Documents that are held back until all that they speak of is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from zarr.storage import WrapperStore

from xconverge.io.zarr.checksums import GROUP
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.places import Place


class Draft(WrapperStore[Any]):
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


def draft_of(place: Place) -> Place:
    """The place with documents held back; a transaction shows nothing to others anyway."""
    if not place.consolidates:
        return place
    return Place(Draft(place.store), place.path, place.root)


def commit(draft: Place, place: Place) -> None:
    """Set what was held back: labels, checksums, and the document of the group last."""
    if draft is place:
        return
    held = {
        key.removeprefix(place.path).lstrip("/"): value.to_bytes()
        for key, value in draft.store.held.items()
    }
    order = sorted(held, key=_turn)
    place.put({key: held[key] for key in order})


def _turn(key: str) -> tuple[bool, bool, bool]:
    return key == "zarr.json", key.endswith("zarr.json"), not key.startswith(GROUP)


def _part(held: Any, byte_range: Any) -> Any:
    from zarr.abc.store import SuffixByteRequest

    return held[-byte_range.suffix :] if isinstance(byte_range, SuffixByteRequest) else held
