"""Checksums of pieces, and what they make together, against those of all bytes at once."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xconverge.io.zarr.checksums import checksum, joined


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.integers(1, 40),
    st.sampled_from(["f2", "f4", "f8"]),
    st.integers(0, 2**32),
)
def test_checksums_of_pieces_make_that_of_all(
    counts: list[int], width: int, dtype: str, seed: int
) -> None:
    values = np.random.default_rng(seed).standard_normal((sum(counts), width)).astype(dtype)
    pieces = np.split(values, np.cumsum(counts)[:-1])
    crcs = [google_crc32c.value(piece.tobytes()) for piece in pieces]
    whole = google_crc32c.value(values.tobytes())
    assert joined(crcs, counts, width * values.itemsize) == whole


def test_checksums_of_long_pieces_make_that_of_all() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3000, 257)).astype(np.uint8)
    crcs = [checksum(part) for part in np.split(values, [1, 2048])]
    assert joined(crcs, [1, 2047, 952], 257) == google_crc32c.value(values.tobytes())


def test_checksums_of_columns_are_of_their_own_bytes() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert checksum(values[:, 1:3]) == google_crc32c.value(values[:, 1:3].tobytes())
    assert checksum(values[:0]) == 0


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_checksum_goes_on_from_what_came_before(start: int) -> None:
    data = np.arange(9, dtype=np.uint8)
    assert checksum(data[start:], checksum(data[:start])) == checksum(data)
