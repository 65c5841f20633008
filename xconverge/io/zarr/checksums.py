"""What binds chunks and labels to their place.

Each chunk ends with a checksum of itself (the crc32c codec), which tells whether it is whole, but
not whether it is the one that belongs there. So the group ``.checksums`` beside the arrays, whose
attrs are part of the one document of their group, has for each chunk what it ends with: one that
was exchanged with another, comes from an older copy or is gone is found. A chunk that Zarr left
out because it holds nothing but NaN is told from one that is missing. For coordinates, whose last
chunk changes when models are added, it has the checksum of their values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xconverge.io.zarr.places import Place
from xconverge.kernels.vectors import Array

GROUP = ".checksums"
OWN = "crc32c"
"""Attr of it with the checksum of its other attrs."""
SIZE = 8
"""Hexadecimal digits of a checksum."""
NONE = "-" * SIZE
"""No chunk was written: it would hold the fill value alone."""
UNKNOWN = "?" * SIZE
"""The chunk was written by another program."""
Index = tuple[int, ...]


@dataclass
class Checksums:
    """Of all arrays of a group and of the groups in it."""

    writing: str
    """A text of its own for each time that the group is written."""
    chunks: dict[str, Array] = field(default_factory=dict)
    """By array: what each chunk ends with, or `NONE`, or `UNKNOWN`, in the grid of the chunks."""
    values: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """By coordinate: its shape and the checksum of its values."""
    attrs: dict[str, str] = field(default_factory=dict)
    """By group: the checksum of its attrs."""
    documents: dict[str, str] = field(default_factory=dict)
    """By array: the checksum of what readers go by, but for the number of models."""

    def to_attrs(self) -> dict[str, Any]:
        """As JSON has them."""
        attrs = {
            "writing": self.writing,
            "chunks": {
                name: {"grid": list(grid.shape), "crc32c": "".join(grid.ravel().tolist())}
                for name, grid in self.chunks.items()
            },
            "values": {
                name: {"shape": list(shape), "crc32c": crc}
                for name, (shape, crc) in self.values.items()
            },
            "attrs": self.attrs,
            "documents": self.documents,
        }
        return {**attrs, OWN: of_json(attrs)}

    @classmethod
    def of_attrs(cls, attrs: Mapping[str, Any]) -> Checksums:
        """The same from JSON; ValueError, KeyError or TypeError where it is damaged."""
        attrs = dict(attrs)
        if attrs.pop(OWN) != of_json(attrs):
            raise ValueError("the checksums are not those that were written")
        return cls(
            attrs["writing"],
            {name: _grid(of["grid"], of["crc32c"]) for name, of in attrs["chunks"].items()},
            {name: (tuple(of["shape"]), of["crc32c"]) for name, of in attrs["values"].items()},
            dict(attrs["attrs"]),
            dict(attrs["documents"]),
        )

    def of_chunk(self, name: str, index: Index) -> str:
        """What a chunk ends with."""
        try:
            return str(self.chunks[name][index])
        except (KeyError, IndexError):
            return UNKNOWN


def _grid(shape: Iterable[int], text: str) -> Array:
    return np.array([text[i : i + SIZE] for i in range(0, len(text), SIZE)]).reshape(tuple(shape))


def of_end(data: bytes | None) -> str:
    """What a chunk ends with."""
    return NONE if data is None else data[-SIZE // 2 :].hex()


def of_values(values: Array) -> str:
    """The checksum of numbers, or of text."""
    if values.dtype.kind in "OTU":
        return of_json(values.tolist())
    return f"{checksum(values.astype(values.dtype.newbyteorder('<'))):08x}"


def of_json(value: Any) -> str:
    """The checksum of what JSON can hold."""
    return f"{checksum(np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8)):08x}"


def of_document(document: Mapping[str, Any]) -> str:
    """The checksum of what the document of an array says; other programs may add models."""
    told = (
        "zarr_format",
        "node_type",
        "data_type",
        "chunk_grid",
        "fill_value",
        "dimension_names",
        "attributes",
    )
    names = document.get("dimension_names") or [None] * len(document["shape"])
    shape = [n for n, name in zip(document["shape"], names, strict=False) if name != "model"]
    return of_json({**{key: document.get(key) for key in told}, "shape": shape})


def of_whole(document: Mapping[str, Any]) -> str:
    """The checksum of a document that nobody writes again."""
    return f"={of_json(document)}"


def says(document: Mapping[str, Any] | None, crc: str) -> bool:
    """Whether a document has a checksum."""
    try:
        found = of_whole(document or {}) if crc.startswith("=") else of_document(document or {})
    except (KeyError, TypeError):
        return False
    return found == crc


def checksum(values: Array) -> int:
    """The crc32c of an array."""
    import google_crc32c

    return int(google_crc32c.value(np.ascontiguousarray(values).reshape(-1).view(np.uint8)))


def chunk_key(index: Index) -> str:
    """Where a chunk lies below its array."""
    return "/".join(["c", *map(str, index)])


def chunk_grid(document: Mapping[str, Any]) -> tuple[int, ...]:
    """How many chunks an array has along each dim."""
    steps = document["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-size // step) for size, step in zip(document["shape"], steps, strict=True))


def read_chunk_ends(place: Place, grid: tuple[int, ...], start: Index) -> Array:
    """What the chunks of an array end with, from one on."""
    from zarr.abc.store import SuffixByteRequest

    sizes = [stop - first for first, stop in zip(start, grid, strict=True)]
    indices = [tuple(np.add(start, index).tolist()) for index in np.ndindex(*sizes)]
    ends = place.read(map(chunk_key, indices), SuffixByteRequest(SIZE // 2))
    return np.array([of_end(end) for end in ends], f"<U{SIZE}").reshape(sizes)
