"""Chunks of representations as our stores have them: plain numbers and their checksum.

Zarr's own pipeline copies each chunk several times; a chunk is written here at the cost of its
bytes and one pass for the checksum. Any Zarr library reads the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from xconverge.io.zarr.backends import Backend, KeyValueBackend
from xconverge.io.zarr.checksums import checksum
from xconverge.kernels.vectors import Array

Index = tuple[int, ...]
CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


class DamagedError(Exception):
    """A chunk is not what was written."""


@dataclass(frozen=True)
class Layout:
    """How an array is cut into chunks, each a file ``c/0/1/2`` of its numbers and a checksum."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    separator: str = "/"

    @classmethod
    def of(cls, metadata: Mapping[str, Any], separator: str = "/") -> Layout | None:
        """The layout that Zarr metadata tell of, or None where chunks are encoded otherwise."""
        grid = metadata.get("chunk_grid", {})
        keys = metadata.get("chunk_key_encoding", {})
        # some writers give codecs without settings an empty configuration
        codecs = [
            {key: value for key, value in codec.items() if value}
            for codec in metadata.get("codecs", [])
        ]
        if (
            grid.get("name") != "regular"
            or keys.get("name") != "default"
            or keys.get("configuration", {}).get("separator", "/") != separator
            or codecs != CODECS
            or not str(metadata.get("data_type")).startswith("float")
        ):
            return None
        return cls(
            tuple(metadata["shape"]),
            tuple(grid["configuration"]["chunk_shape"]),
            np.dtype(metadata["data_type"]).newbyteorder("<"),
            separator,
        )

    def key(self, index: Index) -> str:
        """Where a chunk lies below its array."""
        return key(index, self.separator)

    def metadata(self, dims: Sequence[str]) -> dict[str, Any]:
        """What a Zarr library needs to read such an array."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunks}},
            "chunk_key_encoding": {
                "name": "default",
                "configuration": {"separator": self.separator},
            },
            "fill_value": "NaN",
            "codecs": CODECS,
            "attributes": {},
            "dimension_names": dims,
        }

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk, without its checksum."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def indices(self, region: Sequence[slice] | None = None) -> Iterator[Index]:
        """All chunks, or those that a region touches, in order."""
        spans = [
            range(size)[part]
            for size, part in zip(
                self.shape, region or [slice(None)] * len(self.shape), strict=True
            )
        ]
        yield from product(
            *(
                range(span.start // step, -(-span.stop // step)) if len(span) else ()
                for span, step in zip(spans, self.chunks, strict=True)
            )
        )

    def region(self, index: Index) -> tuple[slice, ...]:
        """Where a chunk lies in the array."""
        return tuple(
            slice(i * step, min((i + 1) * step, size))
            for i, step, size in zip(index, self.chunks, self.shape, strict=True)
        )

    def encode(self, block: Array) -> tuple[Array, bytes]:
        """The bytes of a chunk, filled up with NaN, and its checksum."""
        whole = np.asarray(block, self.dtype, order="C")
        if whole.shape != self.chunks:
            whole = np.full(self.chunks, np.nan, self.dtype)
            whole[tuple(map(slice, block.shape))] = block
        data = whole.reshape(-1).view(np.uint8)
        return data, checksum(data).to_bytes(4, "little")

    def decode(self, data: Array) -> Array:
        """The numbers of a chunk."""
        if data.size != self.nbytes + 4:
            raise DamagedError(f"it has {data.size} bytes in place of {self.nbytes + 4}")
        if checksum(data[:-4]).to_bytes(4, "little") != data[-4:].tobytes():
            raise DamagedError("its checksum is not that of its bytes")
        return data[:-4].view(self.dtype).reshape(self.chunks)


def key(index: Index, separator: str = "/") -> str:
    """Where a chunk lies below its array."""
    return separator.join(["c", *map(str, index)])


def write_chunk(
    block: Array,
    backend: KeyValueBackend,
    layout: Layout,
    first: Index,
    real: Array | None,
    axes: tuple[int, int],
    block_id: Index,
) -> Array:
    """Write a block that is one chunk, and tell whether its values are surely good.

    Parameters
    ----------
    block : array
        The values.
    backend, layout : KeyValueBackend, Layout
        Of the array.
    first : tuple of int
        The chunk at which the blocks start.
    real : array or None
        Width of each model of the blocks, where that is all that it depends on.
    axes : (int, int)
        Those of models and of features.
    block_id : tuple of int
        Number of the block.

    Returns
    -------
    array
        One bool: real features are finite and padding is NaN. Else the values must be looked at.
    """
    index = tuple(start + number for start, number in zip(first, block_id, strict=True))
    backend.put(layout.key(index), *layout.encode(block))
    good = False
    if real is not None:
        model, feature = axes
        rows = np.moveaxis(block, feature, -1)
        width = max(int(real[block_id[model]]) - index[feature] * layout.chunks[feature], 0)
        good = is_finite(rows[..., :width]) and bool(np.isnan(rows[..., width:]).all())
    return np.full((1,) * block.ndim, good)


def is_finite(values: Array) -> bool:
    """Whether all is finite, in one fast pass; the sum of huge numbers may overflow and say no."""
    with np.errstate(over="ignore", invalid="ignore"):
        dtype = np.result_type(values, np.float32)
        return bool(np.isfinite(np.add.reduce(values, axis=None, dtype=dtype)))


def read_chunk(backend: Backend, layout: Layout, index: Index) -> Array:
    """A chunk, cut to the array; FileNotFoundError or DamagedError where it is not as written."""
    part = tuple(slice(0, s.stop - s.start) for s in layout.region(index))
    return layout.decode(backend.read(layout.key(index)))[part]
