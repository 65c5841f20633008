"""The checksum of chunks, crc32c: of bytes, and of pieces one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xconverge.kernels.vectors import Array


def checksum(data: Array, before: int = 0) -> int:
    """The crc32c of an array's bytes, or of what had the checksum ``before`` and these."""
    import google_crc32c

    return int(google_crc32c.extend(before, as_bytes(data)))


def joined(crcs: Sequence[int], counts: Sequence[int], size: int) -> int:
    """The crc32c of pieces one after another, from that of each and its length.

    Lengths are counted in units of ``size`` bytes. Bytes that follow change a checksum by a linear
    map over bits, and add their own.
    """
    # crc(a ‖ b) = Z^|b| crc(a) ⊕ crc(b), where Z is what one byte 0 does to a checksum; Z^|b| by
    # squaring, as crc32_combine of zlib does
    whole = 0
    for crc, count in zip(crcs, counts, strict=True):
        for doublings in range(count.bit_length()):
            if count >> doublings & 1:
                whole = _mapped(_shift(size, doublings), whole)
        whole ^= crc
    return whole


Tables = list[list[int]]
"""What each byte of a checksum becomes."""


@lru_cache(maxsize=256)
def _shift(size: int, doublings: int) -> Tables:
    """The map that ``size * 2**doublings`` bytes make."""
    if doublings:
        half = _shift(size, doublings - 1)
        bits = [_mapped(half, _mapped(half, 1 << bit)) for bit in range(32)]
    else:
        # crc32c is affine: what the start value adds is taken away, and a linear map is left
        zeros = np.zeros(size, np.uint8)
        bits = [checksum(zeros, 1 << bit) ^ checksum(zeros) for bit in range(32)]
    tables: Tables = [[0], [0], [0], [0]]
    for bit, image in enumerate(bits):
        table = tables[bit // 8]
        table += [image ^ value for value in table]
    return tables


def _mapped(shift: Tables, crc: int) -> int:
    low, second, third, high = shift
    return low[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ high[crc >> 24]


def as_bytes(data: Array) -> Array:
    """The bytes of an array, row after row."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
