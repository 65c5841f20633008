"""The checksum of chunks, crc32c: of bytes, and of pieces one after another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xconverge.kernels.rows import Array


def checksum(data: Array, before: int = 0) -> int:
    """The crc32c of an array's bytes, or of what had the checksum ``before`` and these."""
    import google_crc32c

    return int(google_crc32c.extend(before, as_bytes(data)))


def joined(crcs: Array, counts: Array, size: int) -> int:
    """The crc32c of pieces one after another, from that of each and its length (pieces).

    Lengths are counted in units of ``size`` bytes. The checksum of two pieces is a linear map of
    the first, over bits, plus the second: neighbours are joined until one is left.
    """
    while len(crcs) > 1:
        if len(crcs) % 2:
            # the checksum of nothing is 0
            crcs, counts = np.append(np.uint32(0), crcs), np.append(0, counts)
        crcs = _followed(crcs[::2], counts[1::2], size) ^ crcs[1::2]
        counts = counts[::2] + counts[1::2]
    return int(crcs[0])


def _followed(crcs: Array, counts: Array, size: int) -> Array:
    """Of pieces that as many units follow, what that makes of their checksums."""
    followed = crcs.copy()
    for bit in range(int(counts.max()).bit_length()):
        some = counts >> bit & 1 == 1
        followed[some] = _mapped(_shift(size, bit), followed[some])
    return followed


@lru_cache(maxsize=256)
def _shift(size: int, doublings: int) -> Array:
    """What each byte of a checksum becomes when ``size * 2**doublings`` bytes follow (4, 256)."""
    bytes_ = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    if doublings:
        half = _shift(size, doublings - 1)
        return _mapped(half, _mapped(half, bytes_))
    zeros = np.zeros(size, np.uint8)
    bits = [checksum(zeros, 1 << bit) ^ checksum(zeros) for bit in range(32)]
    set_ = bytes_[..., None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    shift: Array = np.bitwise_xor.reduce(set_ * np.array(bits, np.uint32), axis=-1)
    return shift


def _mapped(shift: Array, crcs: Array) -> Array:
    parts = [table[crcs >> np.uint32(8 * i) & np.uint32(255)] for i, table in enumerate(shift)]
    mapped: Array = np.bitwise_xor.reduce(parts)
    return mapped


def as_bytes(data: Array) -> Array:
    """The bytes of an array, row after row."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
