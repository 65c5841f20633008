from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

from xconverge import (
    DamagedStoreError,
    ModelWriter,
    alignment,
    append_models,
    neighbor_graph,
    open_representations,
    open_store,
    rdm,
    stack_models,
    validate_store,
    write_representations,
)
from xconverge.cli.main import main
from xconverge.io import open_neighbors, open_rdms, write_neighbors, write_rdms
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError

STIMULI = [f"s{i} 猫" for i in range(10)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models in chunks of four stimuli, one narrower, and all that can lie beside them."""
    path = tmp_path / "study.zarr"
    monkeypatch.setattr(BUDGETS, "store_chunk", 4 * 3 * 8)
    rng = np.random.default_rng(0)
    reps = stack_models({"a": rng.random((10, 3))}, stimuli=STIMULI, modality="vision")
    reps = reps.assign_coords(caption=("stimulus", [f"é {s}" for s in STIMULI]), family="net")
    write_representations(path, reps)
    wide = stack_models({"b": rng.random((10, 5))}, stimuli=STIMULI, modality="vision")
    append_models(path, wide.assign_coords({n: reps[n] for n in ("caption", "family")}))
    write_neighbors(path, neighbor_graph(reps, k=2))
    write_rdms(path, rdm(reps, "euclidean"), modality="vision")
    return path


def chunks(path: Path) -> list[Path]:
    found = [file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"]
    return sorted(file for file in found if "c" in file.relative_to(path).parts)


def read_all(path: Path) -> None:
    open_representations(path, "vision").compute()
    open_neighbors(path, "vision").compute()
    open_rdms(path, "vision").compute()


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "lengthened": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "missing": Path.unlink,
}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(d, marks=() if d == "flipped" else pytest.mark.slow) for d in DAMAGES],
)
def test_damage_to_any_chunk_is_told_every_time(path: Path, damage: str) -> None:
    files = chunks(path)
    assert len(files) > 15
    for file in files:
        before = file.read_bytes()
        DAMAGES[damage](file)
        with pytest.raises(DamagedStoreError) as caught:
            read_all(path)
        said = str(caught.value)
        array = file.relative_to(path).parts[:-1]
        if "representation" in array:
            m, i, _ = map(int, file.parts[-3:])
            assert f"model '{'ab'[m]}'" in said
            assert all(repr(s) in said for s in STIMULI[4 * i : 4 * i + 3])
            assert not any(repr(s) in said for s in STIMULI[4 * i + 4 :])
        else:
            name = array[array.index("c") - 1] if "c" in array else array[-1]
            assert name in said or "labels" in said
        with pytest.raises(SchemaError):
            validate_store(path, deep=True)
        file.write_bytes(before)
        if damage in ("flipped", "missing"):
            read_all(path)
    validate_store(path, deep=True)


def test_deep_validation_lists_all_of_them(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = [file for file in chunks(path) if "representation" in file.parts][::2]
    for file in damaged:
        flip(file)
    (path / "rdms" / "vision" / "rdm" / "c" / "0" / "0" / "0").unlink()
    with pytest.raises(SchemaError) as caught:
        validate_store(path, deep=True)
    assert len(str(caught.value).splitlines()) == len(damaged) + 1
    for file in damaged:
        key = "/".join(file.parts[-4:])
        assert f"chunk {key} is damaged: its checksum" in str(caught.value)
    assert main(["validate", str(path), "--deep"]) == 1
    said = capsys.readouterr().out
    assert said.count("DAMAGED") == len(damaged) + 1
    assert "vision: FAULTY" in said


def test_padding_may_be_missing(path: Path) -> None:
    (path / "vision" / "representation" / "c" / "0" / "0" / "1").unlink(missing_ok=True)
    reps = open_representations(path, "vision")
    assert np.isnan(reps.sel(model="a").values[:, 3:]).all()
    validate_store(path, deep=True)


def test_damage_is_told_by_measures_and_on_every_scheduler(path: Path) -> None:
    flip(path / "vision" / "representation" / "c" / "1" / "2" / "0")
    reps = open_representations(path, "vision")
    for scheduler in ("synchronous", "threads"):
        with (
            dask.config.set(scheduler=scheduler),
            pytest.raises(DamagedStoreError, match=r"model 'b', stimulus 's8 猫', 's9 猫'"),
        ):
            alignment(reps, reps, "mutual_knn", k=2).compute()
    with pytest.raises(DamagedStoreError):
        open_store(path)["vision/representation"].compute()
    # what is whole can be read
    assert np.isfinite(reps.sel(model="a").values[:, :3]).all()


def test_stores_of_others_tell_what_fails_to_decode(tmp_path: Path) -> None:
    path = tmp_path / "other.zarr"
    reps = stack_models({"a": np.ones((4, 3)), "b": np.ones((4, 3))}, stimuli=STIMULI[:4])
    encoding = {"representation": {"chunks": (1, 2, 3)}}
    reps.to_dataset(name="representation").to_zarr(
        path, group="vision", encoding=encoding, consolidated=False
    )
    file = path / "vision" / "representation" / "c" / "1" / "1" / "0"
    os.truncate(file, 7)
    with pytest.raises(DamagedStoreError, match=r"model 'b', stimulus 's2 猫', 's3 猫'.*damaged"):
        open_representations(path, "vision").compute()
    with pytest.raises(SchemaError, match=r"\(1, 1, 0\) of 'representation'"):
        validate_store(path, deep=True)
    # a chunk that is not there is NaN, as Zarr says
    file.unlink()
    assert np.isnan(open_representations(path, "vision").sel(model="b").values[2:]).all()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"node_type": "array"}'])
@pytest.mark.parametrize("array", ["representation", "stimulus", "caption"])
def test_damaged_metadata_is_an_error_of_ours(path: Path, content: bytes, array: str) -> None:
    (path / "vision" / array / "zarr.json").write_bytes(content)
    with pytest.raises((SchemaError, FileNotFoundError)):
        open_representations(path, "vision").compute()


def test_rows_that_wait_are_checked_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUDGETS, "store_chunk", 2**20)  # all rows in one chunk, which is not full
    coords = {"caption": ("stimulus", [f"é {s}" for s in STIMULI])}
    stimuli = xr.DataArray(np.zeros(10), {"stimulus": STIMULI, **coords}, ("stimulus",))
    options: dict[str, Any] = {"modality": "other", "model": "new", "n_features": 3}
    w = ModelWriter(path, stimuli=stimuli, **options)
    w.write(STIMULI[:2], np.ones((2, 3), "f4"))
    w.write(STIMULI[4:5], np.ones((1, 3), "f4"))
    w.close()
    (part,) = (path / "incomplete_models").rglob("parts/0.0")
    flip(part)
    with pytest.raises(SchemaError, match="model 'new': rows that wait .* are damaged"):
        validate_store(path, deep=True)
    with pytest.warns(RuntimeWarning, match="'new' that an earlier start left are damaged"):
        again = ModelWriter(path, stimuli=stimuli, **options)
    # the flipped byte lies in the first batch; the other is as it was written
    assert again.pending == [s for s in STIMULI if s != STIMULI[4]]
    again.write(again.pending, np.ones((len(again.pending), 3), "f4"))
    again.close()
    assert (open_representations(path, "other") == 1).all()
    validate_store(path, deep=True)


# a commit that was interrupted


@pytest.mark.parametrize("stop_after", range(8))
def test_a_commit_that_was_interrupted_is_carried_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    from xconverge.io.zarr.backends import FolderBackend
    from xconverge.io.zarr.journal import COMMIT

    third = stack_models({"c": np.ones((10, 7))}, stimuli=STIMULI, modality="vision")
    third = third.assign_coords(caption=("stimulus", [f"é {s}" for s in STIMULI]), family="net")
    put = FolderBackend.put
    count = 0

    def dying(self: FolderBackend, key: str, *buffers: Any) -> None:
        nonlocal count
        if self.path.name == "vision":
            count += 1
            if count > stop_after:
                raise KeyboardInterrupt
        put(self, key, *buffers)

    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "put", dying)
        with contextlib.suppress(KeyboardInterrupt):
            append_models(path, third)
    if stop_after % 2:
        # the next to come is a writer
        append_models(path, third.assign_coords(model=["d"]))
        del_last = slice(None, -1)
    else:
        del_last = slice(None)
    reps = open_representations(path, "vision").isel(model=del_last)
    committed = stop_after > 0
    assert reps.indexes["model"].tolist() == ["a", "b", *(["c"] if committed else [])]
    assert reps.n_features.values.tolist() == [3, 5, *([7] if committed else [])]
    assert not (path / "vision" / COMMIT).exists()
    plain = xr.open_zarr(path, group="vision", consolidated=False).isel(model=del_last)
    assert plain.sizes["model"] == reps.sizes["model"]
    validate_store(path, deep=True)
    if not committed:
        append_models(path, third)
        assert open_representations(path, "vision").sizes["model"] == 3


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/../../x", "c/../../x", ".x/c"])
def test_a_commit_writes_nothing_outside_of_its_group(path: Path, name: str) -> None:
    from xconverge.io.zarr.checksums import checksum

    text = json.dumps({name: base64.b64encode(b"x").decode()}).encode()
    crc = checksum(np.frombuffer(text, np.uint8))
    commit = path / "vision" / "representation" / ".commit"
    before = sorted(path.parent.rglob("*"))
    commit.write_bytes(text + b"\n%d" % crc)
    with pytest.raises(DamagedStoreError, match="commit is damaged"):
        open_representations(path, "vision")
    commit.unlink()
    assert sorted(path.parent.rglob("*")) == before


# disks that are full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no right to mount a file system here: {error}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_leaves_what_was_complete(small_disk: Path) -> None:
    path = small_disk / "study.zarr"
    ids = [f"s{i}" for i in range(2000)]
    values = np.random.default_rng(0).standard_normal((2000, 256)).astype("f4")
    with ModelWriter(path, "vision", "small", ids, 64) as w:
        w.write(ids, values[:, :64])
    w = ModelWriter(path, "vision", "large", ids, 256)
    kept = 0

    def write_all() -> None:
        nonlocal kept
        for start in range(0, 2000, 100):
            w.write(ids[start : start + 100], values[start : start + 100])
            kept = start + 100

    with pytest.raises(OSError, match=r"no space left .* 'large': \d+ of 2000 .* are kept") as full:
        write_all()
    w.close()
    assert full.value.errno == errno.ENOSPC
    assert kept >= 1000
    other = stack_models({"other": values}, stimuli=ids, modality="vision")
    with pytest.raises(OSError, match="space"):
        append_models(path, other)
    reps = open_representations(path, "vision")
    assert reps.indexes["model"].tolist() == ["small"]
    np.testing.assert_array_equal(reps.values[0, :, :64], values[:, :64])
    validate_store(path, deep=True)
    begun = open_representations(path, "vision", incomplete="include").sel(model="large")
    np.testing.assert_array_equal(begun.values[:kept], values[:kept])
    # room again: the rest is written, and nothing else
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    with ModelWriter(path, "vision", "large", ids, 256) as w:
        pending = w.pending
        assert len(pending) <= 2000 - kept
        at = [int(label[1:]) for label in pending]
        w.write(pending, values[at])
    reps = open_representations(path, "vision", incomplete="error")
    np.testing.assert_array_equal(reps.sel(model="large").values, values)
    validate_store(path, deep=True)


WRITES = 23
"""How often the writer of the next test writes: the last case has nothing left to fail."""


@pytest.mark.parametrize("fails_at", range(WRITES + 1))
def test_no_space_at_any_write_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """The same without the right to mount: the disk is full in the middle of the n-th write."""
    from xconverge.io.zarr import pending_rows as parts
    from xconverge.io.zarr.backends import FolderBackend

    path = tmp_path / "study.zarr"
    values = np.arange(30, dtype="f4").reshape(10, 3)
    ids = STIMULI
    put, write_rows = FolderBackend.put, parts._write
    count = 0

    def full() -> None:
        nonlocal count
        count += 1
        if count == fails_at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    def putting(self: FolderBackend, key: str, *buffers: Any) -> None:
        full()
        put(self, key, *buffers)

    def writing(file: int, rows: Any, at: int) -> None:
        try:
            full()
        except OSError:
            write_rows(file, rows.reshape(-1).view(np.uint8)[: rows.nbytes // 2], at)
            raise
        write_rows(file, rows, at)

    def write() -> None:
        with ModelWriter(path, "vision", "a", ids, 3) as w:
            todo = [ids.index(s) for s in w.pending]
            for start in range(0, len(todo), 4):
                part = todo[start : start + 4]
                w.write([ids[i] for i in part], values[part])

    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "put", putting)
        patch.setattr(parts, "_write", writing)
        if fails_at < WRITES:
            with pytest.raises(OSError, match="space"):
                write()
        else:
            write()
    write()
    reps = open_representations(path, "vision", incomplete="error")
    np.testing.assert_array_equal(reps.sel(model="a").values, values)
    validate_store(path, deep=True)


def test_checksums_are_those_that_zarr_checks(path: Path) -> None:
    flip(path / "vision" / "representation" / "c" / "0" / "0" / "0")
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(path, path="vision/representation")[0]
    codecs = zarr.open_array(path, path="vision/caption").metadata.codecs
    assert codecs[-1].to_dict()["name"] == "crc32c"


def test_the_table_of_faults_names_tests_that_exist() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "faults.md").read_text("utf-8")
    tests = "".join(file.read_text("utf-8") for file in (root / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []
