"""Which layers are meant: exact names, or patterns in which ``*`` stands for a part of a name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing

OUTPUT = "output"
"""What the network as a whole gives."""


def chosen(layers: Sequence[str] | str | None, names: Sequence[str], network: str) -> list[str]:
    """The layers that are asked for, each once, those of a pattern in the order of the network.

    ``*`` and ``?`` stand for characters of one part, which ``.`` and ``/`` end; ``**`` for all.
    """
    asked = [OUTPUT] if layers is None else [layers] if isinstance(layers, str) else layers
    several = isinstance(asked, Sequence) and len(asked) > 0
    if not several or not all(isinstance(one, str) and one for one in asked):
        raise TypeError(f"layers must be names or patterns, or None for the output: {came(layers)}")
    found: dict[str, None] = {}
    for one in asked:
        here = [one] if one in names else _matching(one, names)
        if not here:
            raise SchemaError(_unknown(one, names, network))
        found.update(dict.fromkeys(here))
    return list(found)


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    if not set("*?[") & set(pattern):
        return []
    parts = {"**": ".*", "*": "[^./]*", "?": "[^./]"}
    tokens = re.findall(r"\*\*|\*|\?|\[[^\]]+\]|.", pattern, re.S)
    expression = "".join(
        parts.get(token) or (token if len(token) > 1 else re.escape(token)) for token in tokens
    )
    try:
        return [name for name in names if re.fullmatch(expression, name)]
    except re.error:
        return []


def _unknown(asked: str, names: Sequence[str], network: str) -> str:
    """That a layer is not there, and which are close."""
    near = difflib.get_close_matches(asked, names, 5, 0.4)
    near += [name for name in names if asked in name and name not in near][: 5 - len(near)]
    told = f"; close to it are {listing(near)}" if near else ""
    return (
        f"{network} has no layer {asked!r}{told}. It has {len(names)}: {listing(names, 10)}; "
        "load_network(…).layers and --list-layers list all"
    )
