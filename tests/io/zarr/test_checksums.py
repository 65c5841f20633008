"""Checksums survive JSON, and are those that google_crc32c computes."""

from __future__ import annotations

import json
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from xconverge import append_models, stack_models, write_representations
from xconverge.io.zarr import checksums
from xconverge.io.zarr.checksums import GROUP, NONE, UNKNOWN, Checksums
from xconverge.io.zarr.places import place_of
from xconverge.io.zarr.snapshot import Snapshot

CRCS = st.from_regex("[0-9a-f]{8}", fullmatch=True)
NAMES = st.text(min_size=1, max_size=5)
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert checksums.checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


@pytest.mark.slow
@given(
    st.dictionaries(NAMES, SHAPES, max_size=3),
    st.dictionaries(NAMES, st.tuples(SHAPES, CRCS), max_size=3),
    st.dictionaries(NAMES, CRCS, max_size=3),
    st.data(),
)
def test_checksums_survive_json(
    grids: dict[str, tuple[int, ...]],
    values: dict[str, tuple[tuple[int, ...], str]],
    attrs: dict[str, str],
    data: st.DataObject,
) -> None:
    ends = CRCS | st.sampled_from([NONE, UNKNOWN])
    chunks = {}
    for name, shape in grids.items():
        size = int(np.prod(shape, dtype=int))
        texts = data.draw(st.lists(ends, min_size=size, max_size=size))
        chunks[name] = np.array(texts, "<U8").reshape(shape)
    before = Checksums("id", chunks, values, attrs, dict(attrs))
    text = json.dumps(before.to_attrs())
    after = Checksums.of_attrs(json.loads(text))
    assert (after.writing, after.values, after.attrs) == ("id", values, attrs)
    assert after.documents == attrs
    assert set(after.chunks) == set(chunks)
    for name, grid in chunks.items():
        np.testing.assert_array_equal(after.chunks[name], grid)
        for index in np.ndindex(*grid.shape):
            assert after.of_chunk(name, index) == grid[index]
    assert after.of_chunk("none of them", (0,)) == UNKNOWN


@given(st.data())
def test_checksums_check_themselves(data: st.DataObject) -> None:
    """A flipped bit in them is no damage of what they are of."""
    text = json.dumps(
        Checksums("id", {"a": np.array(["01234567"])}, attrs={"": "89abcdef"}).to_attrs()
    )
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = bytearray(text.encode())
    damaged[at] ^= 1 << data.draw(st.integers(0, 6))
    try:
        attrs = json.loads(damaged)
    except ValueError:
        return
    with pytest.raises((KeyError, TypeError, ValueError)):
        Checksums.of_attrs(attrs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    arrays = {"a": np.arange(12.0).reshape(4, 3), "b": np.ones((4, 2))}
    reps = stack_models(arrays, stimuli=list("wxyz"), modality="vision")
    reps = reps.assign_coords(
        shown=("stimulus", np.array(["2026-01-01", "NaT", "2026-01-03", "2026-01-04"], "M8[ns]")),
        rating=("stimulus", [0.5, np.nan, -0.0, 2.0]),
        caption=("stimulus", ["", "é", "猫", "x" * 999]),
    )
    write_representations(tmp_path / "s.zarr", reps)
    return tmp_path / "s.zarr"


def sums_of(path: Path) -> Checksums:
    found = Snapshot.of(place_of(path) / "vision").checksums
    assert found is not None
    return found


@pytest.mark.slow
def test_chunks_end_with_the_checksum_of_all_before(path: Path) -> None:
    more = stack_models({"c": np.ones((4, 5))}, stimuli=list("wxyz"), modality="vision")
    old = Snapshot.of(place_of(path) / "vision").dataset()
    append_models(path, more.assign_coords({n: old[n] for n in ("shown", "rating", "caption")}))
    grid = sums_of(path).chunks["representation"]
    assert grid.shape == (3, 1, 2)
    for index in np.ndindex(*grid.shape):
        file = path / "vision" / "representation" / checksums.chunk_key(index)
        if grid[index] == NONE:
            assert not file.exists()
            continue
        data = file.read_bytes()
        assert int.from_bytes(bytes.fromhex(grid[index]), "little") == google_crc32c.value(
            data[:-4]
        )
        assert data[-4:].hex() == grid[index]
    assert (grid == NONE).sum() == 2  # of the two that were not as wide


def test_labels_have_the_checksum_of_their_values(path: Path) -> None:
    values = sums_of(path).values
    assert set(values) == {"model", "stimulus", "shown", "rating", "caption", "n_features"}
    raw = zarr.open_array(path, path="vision/rating", mode="r")[:]
    assert values["rating"] == ((4,), f"{google_crc32c.value(raw.tobytes()):08x}")
    text = json.dumps(["", "é", "猫", "x" * 999]).encode()
    assert values["caption"] == ((4,), f"{google_crc32c.value(text):08x}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array(["a", "b"]), np.array(["b", "a"])),
        (np.array(["a", "b"], object), np.array(["ab", ""], object)),
        (np.array([0.0, np.nan]), np.array([np.nan, 0.0])),
        (np.array([0.0]), np.array([-0.0])),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array(["2026-01-01"], "M8[ns]"), np.array(["NaT"], "M8[ns]")),
    ],
)
def test_other_values_have_another_checksum(one: np.ndarray, other: np.ndarray) -> None:
    assert checksums.of_values(one) == checksums.of_values(one.copy())
    assert checksums.of_values(one) != checksums.of_values(other)


def test_values_have_one_checksum_however_they_lie_in_memory() -> None:
    values = np.arange(6.0).reshape(2, 3)
    for same in (np.asfortranarray(values), values.astype(">f8"), values[::-1][::-1]):
        assert checksums.of_values(same) == checksums.of_values(values)
    text = np.array(["a", "猫"], object)
    for kind in (np.dtypes.StringDType(), "<U3"):
        assert checksums.of_values(text.astype(kind)) == checksums.of_values(text)


def test_documents_may_have_more_models_and_nothing_else(path: Path) -> None:
    document = Snapshot.of(place_of(path) / "vision").documents["representation"]
    crc = sums_of(path).documents["representation"]
    grown = {**document, "shape": [9, *document["shape"][1:]]}
    assert checksums.says(document, crc)
    assert checksums.says(grown, crc)
    for key in ("data_type", "chunk_grid", "fill_value", "dimension_names", "attributes"):
        assert not checksums.says({**document, key: None}, crc)
    assert not checksums.says({**document, "shape": [2, 4, 2]}, crc)
    assert not checksums.says(None, crc)
    assert GROUP not in sums_of(path).documents
