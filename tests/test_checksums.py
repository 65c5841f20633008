"""Checksums of rows, and of what they make together, against those of all bytes at once."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xconverge.storage.checksums import checksum, joined, row_checksums


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


@given(st.integers(1, 70), st.integers(1, 40), st.sampled_from(["f2", "f4", "f8"]), st.integers())
def test_checksums_of_rows_make_that_of_all(rows: int, width: int, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(abs(seed))
    values = rng.standard_normal((rows, width)).astype(dtype)
    values[rng.random(rows) < 0.2] = np.nan
    crcs = row_checksums(values)
    assert crcs.tolist() == [google_crc32c.value(row.tobytes()) for row in values]
    assert joined(crcs, values[0].nbytes) == google_crc32c.value(values.tobytes())


def test_checksums_of_columns_are_of_their_own_bytes() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert row_checksums(values[:, 1:3]).tolist() == [
        google_crc32c.value(row[1:3].tobytes()) for row in values
    ]
    assert row_checksums(values[:0]).shape == (0,)


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_checksum_goes_on_from_what_came_before(start: int) -> None:
    data = np.arange(9, dtype=np.uint8)
    assert checksum(data[start:], checksum(data[:start])) == checksum(data)
