"""How models were made: ``attrs["provenance"]`` of a modality, which grows with its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing

PROVENANCE = "provenance"
Provenance = Mapping[str, Mapping[str, Any]]
"""Of each network what is known of it: its weights, how stimuli were prepared …"""


def provenance_of(attrs: Mapping[str, Any]) -> Provenance:
    """What attrs say of networks; an attr of this name that says something else is not ours."""
    found = attrs.get(PROVENANCE)
    ours = isinstance(found, Mapping) and all(isinstance(one, Mapping) for one in found.values())
    return found if ours and found is not None else {}


def merged(there: Provenance, new: Provenance, where: str) -> dict[str, Any]:
    """What is known of all networks, none of which can have been made in two ways."""
    for name in there.keys() & new.keys():
        differ = different(there[name], new[name])
        if differ:
            raise SchemaError(
                f"{name!r} in {where} was made with {differ}; go on with what it was made with, or "
                "give what is made in another way another name"
            )
    return {**there, **new}


def different(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Values that are not the same in both, in words; nothing where all are."""
    gone = object()
    keys = [key for key in {**was, **now} if was.get(key, gone) != now.get(key, gone)]
    told = (f"{key} {was.get(key)!r}, not {now.get(key)!r}" for key in keys)
    return "; ".join(told) if keys else ""


def checked(provenance: Provenance | None) -> dict[str, dict[str, Any]]:
    """What was given, if attrs can hold it."""
    found = provenance or {}
    if not isinstance(found, Mapping):
        raise TypeError(
            "provenance must be a dict of networks and what is known of each, got "
            f"provenance={came(provenance)}"
        )
    wrong = [
        str(name)
        for name, one in found.items()
        if not isinstance(name, str)
        or not isinstance(one, Mapping)
        or not all(isinstance(v, str | bool | int | float) for v in one.values())
        or not all(isinstance(key, str) for key in one)
    ]
    if wrong:
        raise SchemaError(
            f"provenance must give texts, numbers or bools for each network, by name, and "
            f"{listing(wrong)} does not"
        )
    return {name: dict(one) for name, one in found.items()}
