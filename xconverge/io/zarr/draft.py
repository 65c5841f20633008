"""Documents that are held back until all that they speak of is there."""

from __future__ import annotations

from xconverge.io.zarr.checksums import GROUP
from xconverge.io.zarr.places import Place


def draft_of(place: Place) -> Place:
    """The place with documents held back; a transaction shows nothing to others anyway."""
    if not place.consolidates:
        return place
    from xconverge.io.zarr.wrappers import Draft

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
