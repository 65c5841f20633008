"""The checksum of chunks, crc32c: of bytes, of rows, and of rows one after another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xconverge.kernels.rows import Array


def checksum(data: Array, before: int = 0) -> int:
    """The crc32c of an array's bytes, or of what had the checksum ``before`` and these."""
    import google_crc32c

    return int(google_crc32c.extend(before, as_bytes(data)))


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
    doublings = 0
    while len(crcs) > 1:
        # nothing before the first has the checksum 0, which the map leaves 0
        pairs = np.append(np.zeros(len(crcs) % 2, np.uint32), crcs).reshape(-1, 2)
        crcs = _followed(pairs[:, 0], _shift(size, doublings)) ^ pairs[:, 1]
        doublings += 1
    return int(crcs[0])


@lru_cache(maxsize=256)
def _shift(size: int, doublings: int) -> Array:
    """What each byte of a checksum becomes when ``size * 2**doublings`` bytes follow (4, 256)."""
    bytes_ = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    if doublings:
        half = _shift(size, doublings - 1)
        return _followed(_followed(bytes_, half), half)
    zeros = np.zeros(size, np.uint8)
    bits = [checksum(zeros, 1 << bit) ^ checksum(zeros) for bit in range(32)]
    set_ = bytes_[..., None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    shift: Array = np.bitwise_xor.reduce(set_ * np.array(bits, np.uint32), axis=-1)
    return shift


def _followed(crcs: Array, shift: Array) -> Array:
    """Checksums after the bytes of which ``shift`` tells."""
    parts = [table[crcs >> np.uint32(8 * i) & np.uint32(255)] for i, table in enumerate(shift)]
    followed: Array = np.bitwise_xor.reduce(parts)
    return followed


def as_bytes(data: Array) -> Array:
    """The bytes of an array, row after row."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
