"""The checksum of chunks, crc32c: of bytes, of rows, and of rows one after another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xconverge.kernels.rows import Array


def checksum(data: Array, before: int = 0) -> int:
    """The crc32c of an array's bytes, or of what had the checksum ``before`` and these."""
    import google_crc32c

    return int(google_crc32c.extend(before, _bytes(data)))


def row_checksums(rows: Array) -> Array:
    """The crc32c of each row of a matrix (rows)."""
    import google_crc32c

    data = np.ascontiguousarray(rows).view(np.uint8)
    return np.array([*map(google_crc32c.value, data)], np.uint32)


def joined(crcs: Array, size: int) -> int:
    """The crc32c of pieces of ``size`` bytes one after another, from those of each (pieces).

    That of two pieces is a linear map of the first, over bits, plus the second: neighbours are
    joined to pieces of twice the size until one is left.
    """
    shift = _shift(size)
    while len(crcs) > 1:
        # nothing before the first has the checksum 0, which the map leaves 0
        pairs = np.append(np.zeros(len(crcs) % 2, np.uint32), crcs).reshape(-1, 2)
        crcs = _mapped(shift, pairs[:, 0]) ^ pairs[:, 1]
        shift = _mapped(shift, shift)
    return int(crcs[0])


@lru_cache
def _shift(size: int) -> Array:
    """What becomes of each bit of a checksum when ``size`` bytes follow (32)."""
    zeros = np.zeros(size, np.uint8)
    return np.array([checksum(zeros, 1 << bit) for bit in range(32)], np.uint32) ^ np.uint32(
        checksum(zeros)
    )


def _mapped(shift: Array, crcs: Array) -> Array:
    bits = crcs[:, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    mapped: Array = np.bitwise_xor.reduce(bits * shift, axis=1)
    return mapped


def _bytes(data: Array) -> Array:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
