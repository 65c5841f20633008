from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from xconverge import DamagedStoreError, ModelWriter, validate_store
from xconverge.io import writer as model_writer
from xconverge.io.store import (
    append_models,
    open_representations,
    open_store,
    write_representations,
)
from xconverge.io.zarr.root import INCOMPLETE
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError
from xconverge.labels.stack import stack_models

STIMULI = [f"s{i} é 猫" for i in range(50)]
WIDTH = 6
VALUES = np.random.default_rng(0).standard_normal((50, WIDTH)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.zarr"


@pytest.fixture(params=["folder", "memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and an object store."""
    if request.param == "folder":
        return str(tmp_path / "study.zarr")
    return f"memory://{tmp_path.name}/study.zarr"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven stimuli in a chunk row."""
    shrink(monkeypatch)


def shrink(patch: Any) -> None:
    patch.setattr(model_writer, "NARROWEST", 1)
    patch.setattr(BUDGETS, "store_chunk", 7 * WIDTH * 4 + 1)


def writer(path: Any, model: str = "vit", **options: Any) -> ModelWriter:
    return ModelWriter(path, "vision", model, STIMULI, WIDTH, **options)


def fill(w: ModelWriter, order: Any, size: int = 8) -> None:
    for start in range(0, len(order), size):
        part = list(order[start : start + size])
        w.write([STIMULI[i] for i in part], VALUES[part])


def check_models(path: Any, models: list[str], **options: Any) -> xr.DataArray:
    reps = open_representations(path, "vision", **options)
    assert reps.indexes["model"].tolist() == models
    assert reps.indexes["stimulus"].tolist() == STIMULI
    for model in models:
        np.testing.assert_array_equal(reps.sel(model=model).values[:, :WIDTH], VALUES)
    return reps


# writing


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 8, 21, 50])
@pytest.mark.parametrize("shuffled", [False, True])
def test_any_batches_in_any_order(anywhere: str, size: int, shuffled: bool) -> None:
    order = np.random.default_rng(size).permutation(50) if shuffled else np.arange(50)
    with writer(anywhere) as w:
        assert w.pending == STIMULI
        fill(w, order, size)
        assert w.pending == []
    reps = check_models(anywhere, ["vit"])
    assert reps.dtype == np.float32
    assert reps.chunks[1] == (7,) * 7 + (1,)
    assert reps.n_features.values.tolist() == [WIDTH]
    assert [node.path for node in open_store(anywhere).subtree] == ["/", "/vision"]


@pytest.mark.slow
@settings(max_examples=8)
@given(
    order=st.permutations(range(12)),
    cuts=st.sets(st.integers(1, 11)),
    piece=st.sampled_from([None, 2, 5]),
    dtype=st.sampled_from(["f2", "f4", "f8"]),
)
def test_batches_and_widths_of_the_modality_change_nothing(
    order: list[int], cuts: set[int], piece: int | None, dtype: str, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("store") / "study.zarr"
    ids = STIMULI[:12]
    values = VALUES[:12].astype(dtype)
    values[3] = np.nan
    if piece is not None:
        # chunks as wide as the first model of the modality
        first = stack_models({"first": np.ones((12, piece), dtype)}, stimuli=ids[::-1])
        write_representations(path, first, modality="vision")
    with ModelWriter(path, "vision", "vit", ids, WIDTH, dtype=dtype) as w:
        for part in np.split(np.array(order), sorted(cuts)):
            w.write([ids[i] for i in part], values[part])
    reps = open_representations(path, "vision").sel(model="vit", stimulus=ids)
    assert reps.dtype == dtype
    np.testing.assert_array_equal(reps.values[:, :WIDTH], values)
    assert np.isnan(reps.values[:, WIDTH:]).all()
    validate_store(path, deep=True)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["vectors", "rows"])
def test_a_damaged_batch_takes_no_other_row(path: Path, of: str) -> None:
    w = writer(path)
    fill(w, range(12), size=3)
    w.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    (chunk,) = (path / INCOMPLETE).rglob(f"{of}_3/c/1/0")
    data = bytearray(chunk.read_bytes())
    data[4] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamagedStoreError, match=r"batch 1 of"):
        validate_store(path, deep=True)
    with pytest.warns(RuntimeWarning, match="damaged"):
        w = writer(path)
    hurt = [3, 4, 5]
    assert w.pending == [STIMULI[i] for i in (*hurt, *range(12, 50))]
    fill(w, [5, 3], size=1)
    w.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    # kept, and told again
    assert chunk.read_bytes() == bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged"):
        w = writer(path)
    fill(w, [4, *range(12, 50)])
    w.close()
    reps = open_representations(path, "vision").sel(model="vit")
    np.testing.assert_array_equal(reps.values, VALUES)
    validate_store(path, deep=True)


@pytest.mark.slow
def test_models_join_a_modality_in_the_order_in_which_they_are_complete(anywhere: str) -> None:
    a, b = writer(anywhere, "a"), writer(anywhere, "b")
    fill(a, range(25))
    fill(b, range(50))
    b.close()
    check_models(anywhere, ["b"])
    fill(a, range(25, 50))
    check_models(anywhere, ["b"])
    a.close()
    check_models(anywhere, ["b", "a"])


@pytest.mark.slow
def test_plain_xarray_and_zarr_read_what_is_written(path: Path) -> None:
    with writer(path) as w:
        fill(w, range(50))
    begun = writer(path, "begun")
    fill(begun, range(20), size=5)
    begun.close()
    plain = xr.open_zarr(path, group="vision", consolidated=False)["representation"]
    np.testing.assert_array_equal(plain.sel(model="vit").values, VALUES)
    tree = xr.open_datatree(path, engine="zarr", consolidated=False)
    (node,) = tree[f"{INCOMPLETE}/vision"].children.values()
    (size,) = {int(str(name).partition("_")[2]) for name in node.data_vars}
    rows = node[f"rows_{size}"].values[:, 0]
    vectors = node[f"vectors_{size}"].values[rows >= 0]
    np.testing.assert_array_equal(vectors, VALUES[rows[rows >= 0]])
    assert set(rows) == {-1, *range(20)}
    assert node["stimulus"].values.tolist() == STIMULI
    array = zarr.open_array(path, path="vision/representation")
    assert [codec.to_dict()["name"] for codec in array.metadata.codecs] == ["bytes", "crc32c"]


@pytest.mark.slow
def test_coordinates_and_labels(path: Path) -> None:
    stimuli = xr.DataArray(
        np.zeros(50),
        {"stimulus": STIMULI, "caption": ("stimulus", [f"ein Bild {s}" for s in STIMULI])},
        ("stimulus",),
    )
    for model, layer in (("a", 1), ("b", 2)):
        coords = {"family": "ViT", "layer": layer}
        with ModelWriter(path, "vision", model, stimuli, WIDTH, coords=coords) as w:
            fill(w, range(50))
    reps = check_models(path, ["a", "b"])
    assert reps.layer.values.tolist() == [1, 2]
    assert reps.family.values.tolist() == ["ViT", "ViT"]
    assert reps.caption.values.tolist() == stimuli.caption.values.tolist()
    with pytest.raises(SchemaError, match="'family', 'layer'.*none"):
        writer(path, "c")
    shuffled = ModelWriter(
        path, "vision", "c", STIMULI[::-1], WIDTH, coords={"family": "x", "layer": 3}
    )
    assert shuffled.pending == STIMULI


@pytest.mark.slow
def test_append_and_writer_take_turns(path: Path) -> None:
    with writer(path, "a") as w:
        fill(w, range(50))
    wide = stack_models({"b": np.ones((50, 11), "f4")}, stimuli=STIMULI)
    append_models(path, wide, modality="vision")
    with writer(path, "c") as w:
        fill(w, range(50))
    reps = open_representations(path, "vision")
    assert reps.n_features.values.tolist() == [6, 11, 6]
    np.testing.assert_array_equal(reps.sel(model="c").values[:, :6], VALUES)
    assert np.isnan(reps.sel(model="c").values[:, 6:]).all()
    assert (reps.sel(model="b") == 1).all()
    validate_store(path, deep=True)


def test_a_modality_of_others_is_filled_too(path: Path) -> None:
    reps = stack_models({"a": VALUES}, stimuli=STIMULI).assign_coords(n_features=("model", [6]))
    reps.to_dataset(name="representation").to_zarr(path, group="vision", consolidated=False)
    with writer(path, "b") as w:
        fill(w, range(50)[::-1])
    check_models(path, ["a", "b"])


# batches


@pytest.mark.slow
def test_dtypes(path: Path) -> None:
    with ModelWriter(path, "half", "a", STIMULI[:2], 2, dtype="float16") as w:
        w.write(STIMULI[:1], np.ones((1, 2), np.float16))
        w.write(STIMULI[1:2], np.full((1, 2), 1 / 3))
    assert open_representations(path, "half").dtype == np.float16
    with ModelWriter(path, "single", "a", STIMULI[:2], 2) as w:
        w.write(STIMULI[:1], np.ones((1, 2), np.float16))
        with pytest.raises(SchemaError, match=r"float64 .* float32.* lose digits.*dtype='float32'"):
            w.write(STIMULI[1:2], np.ones((1, 2)))
        w.write(STIMULI[1:2], np.ones((1, 2), np.int64))
    for dtype, stored in (("f2", "f4"), ("f8", "f8"), ("i8", "f8"), ("?", "f4")):
        with ModelWriter(path, f"first {dtype}", "a", STIMULI[:2], 2) as w:
            w.write(STIMULI[:2], np.ones((2, 2), dtype))
        assert open_representations(path, f"first {dtype}").dtype == stored
    with ModelWriter(path, "single", "b", STIMULI[:2], 2) as w:
        # settled by the modality
        w.write(STIMULI[:2], np.ones((2, 2), "f2"))
    assert open_representations(path, "single").dtype == np.float32
    nothing = ModelWriter(path, "empty", "a", STIMULI[:2], 2)
    assert nothing.pending == STIMULI[:2]
    nothing.close()
    assert not (path / INCOMPLETE).exists()
    with pytest.raises(SchemaError, match="stored as float32, and dtype is float64"):
        ModelWriter(path, "single", "c", STIMULI[:2], 2, dtype="float64")
    with pytest.raises(SchemaError, match="float16, float32 or float64, got int8"):
        ModelWriter(path, "other", "b", STIMULI[:2], 2, dtype="int8")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("ids", "batch", "said"),
    [
        (["nobody"], np.ones((1, 6)), "'vit': 'nobody' not among its 50 stimuli"),
        ([0], np.ones((1, 6)), "'0' not among .* labels are text"),
        (STIMULI[:1] * 2, np.ones((2, 6)), "'s0 é 猫' more than once"),
        (STIMULI[9:10], np.ones((1, 6)), "'s9 é 猫' written already"),
        (STIMULI[:2], np.ones((2, 5)), r"shape \(2, 5\), and \(2, 6\) was needed"),
        (STIMULI[:2], np.ones((3, 6)), r"shape \(3, 6\), and \(2, 6\)"),
        (STIMULI[0], np.ones((1, 6)), "sequence of labels"),
        (STIMULI[:2], [[1, np.nan, 1, 1, 1, 1], [1] * 6], "NaN inside a row: stimulus 's0 é 猫'"),
        (STIMULI[:2], [[1] * 6, [1, np.inf, 1, 1, 1, 1]], "infinity: stimulus 's1 é 猫'"),
        (STIMULI[:1], [[1e39] * 6], "too large for float32: stimulus 's0"),
        (STIMULI[:1], np.ones((1, 6), complex), "real numbers, got dtype complex128"),
        (STIMULI[:1], [["a"] * 6], "real numbers"),
    ],
)
def test_bad_batches_are_refused_and_leave_nothing(
    path: Path, ids: Any, batch: Any, said: str
) -> None:
    with writer(path, dtype="float32") as w:
        fill(w, [9])
        with pytest.raises(SchemaError, match=said):
            w.write(ids, batch)
        assert len(w.pending) == 49
        fill(w, [i for i in range(50) if i != 9])
    check_models(path, ["vit"])


@pytest.mark.slow
def test_huge_numbers_are_no_infinity(path: Path) -> None:
    with ModelWriter(path, "vision", "vit", STIMULI[:2], 2) as w:
        w.write(STIMULI[:2], np.full((2, 2), 3e38, np.float32))
    assert (open_representations(path, "vision") == np.float32(3e38)).all()


def test_rows_that_the_model_cannot_represent(path: Path) -> None:
    with ModelWriter(path, "vision", "vit", STIMULI[:3], 2) as w:
        w.write(STIMULI[:3], np.array([[1, 2], [np.nan, np.nan], [3, 4]], "f4"))
    validate_store(path, deep=True)
    assert np.isnan(open_representations(path, "vision").sel(stimulus=STIMULI[1])).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model must be text that is not empty"),
        ({"model": 3}, "model must be text"),
        ({"n_features": 0}, "'vit': n_features must be a whole number from 1 on, got 0"),
        ({"n_features": 2.5}, "n_features must be"),
        ({"stimuli": []}, "stimuli is empty"),
        ({"stimuli": ["a", "a"]}, "duplicate labels on 'stimulus': 'a'"),
        ({"stimuli": ["a", ""]}, "empty label"),
        ({"stimuli": [1.5, 2.5]}, "must be text or whole numbers"),
        ({"modality": "a/b"}, "without '/'"),
        ({"modality": "rdms"}, "'rdms' is a name that the store needs"),
        ({"coords": {"layer": [1, 2]}}, "coords"),
        ({"coords": {"model": "x"}}, "coords"),
    ],
)
def test_bad_starts_are_refused(path: Path, options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"modality": "vision", "model": "vit", "stimuli": ["a"]}
    with pytest.raises(SchemaError, match=said):
        ModelWriter(path, **{**given, "n_features": 2, **options})
    assert not path.exists() or not (path / INCOMPLETE).exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(FileExistsError, match="not a Zarr format 3 group"):
        writer(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.slow
def test_a_writer_is_for_one_model_of_known_stimuli(path: Path) -> None:
    with writer(path) as w:
        fill(w, range(50))
    with pytest.raises(SchemaError, match="has 50.*has 2.*missing from stimuli"):
        ModelWriter(path, "vision", "b", STIMULI[:2], WIDTH)
    with pytest.raises(SchemaError, match="'vit' is complete and has 6 features, not 7"):
        ModelWriter(path, "vision", "vit", STIMULI, 7)
    again = writer(path)
    assert again.pending == []
    with pytest.raises(SchemaError, match="written already"):
        fill(again, [0])
    again.close()
    check_models(path, ["vit"])
    with pytest.raises(ValueError, match="closed"):
        w.write(STIMULI[:1], VALUES[:1])


# interruptions


@pytest.mark.slow_after(1)
def test_a_second_start_goes_on_where_the_first_ended(anywhere: str) -> None:
    def interrupted() -> None:
        with writer(anywhere) as w:
            fill(w, [3, 40, *range(10, 25)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(SchemaError, match=r"not complete: 'vit \(33 of 50"):
        open_representations(anywhere, "vision")
    with writer(anywhere) as w:
        assert len(w.pending) == 33
        assert repr(w).endswith("17 of 50 stimuli written>")
        fill(w, [STIMULI.index(s) for s in w.pending])
    check_models(anywhere, ["vit"])


@pytest.mark.slow
def test_incomplete_models_are_skipped_included_or_an_error(anywhere: str) -> None:
    with writer(anywhere, "done") as w:
        fill(w, range(50))
    begun = writer(anywhere, "begun")
    fill(begun, [0, *range(7, 14), 30])
    assert open_representations(anywhere, "vision").indexes["model"].tolist() == ["done"]
    with pytest.raises(SchemaError, match=r"begun \(41 of 50 stimuli pending\)"):
        open_representations(anywhere, "vision", incomplete="error")
    with pytest.raises(ValueError, match="skip, include, error"):
        open_representations(anywhere, "vision", incomplete="maybe")  # type: ignore[arg-type]
    both = open_representations(anywhere, "vision", incomplete="include")
    assert both.complete.values.tolist() == [True, False]
    there = np.isfinite(both.sel(model="begun").values).all(1)
    assert np.flatnonzero(there).tolist() == [0, *range(7, 14), 30]
    np.testing.assert_array_equal(both.sel(model="begun").values[there], VALUES[there])
    fill(begun, [i for i in range(50) if not there[i]])
    begun.close()
    check_models(anywhere, ["done", "begun"], incomplete="error")


@pytest.mark.slow_after(1)
def test_restart_drops_what_is_there(anywhere: str) -> None:
    begun = writer(anywhere)
    fill(begun, range(30))
    begun.close()
    with pytest.raises(SchemaError, match=r"begun with n_features 6, not 5.*restart=True"):
        ModelWriter(anywhere, "vision", "vit", STIMULI, 5)
    w = ModelWriter(anywhere, "vision", "vit", STIMULI, 5, restart=True)
    assert w.pending == STIMULI
    for start in (0, 25):
        w.write(STIMULI[start : start + 25], VALUES[start : start + 25, :5])
    w.close()
    np.testing.assert_array_equal(open_representations(anywhere, "vision")[0].values, VALUES[:, :5])


@pytest.mark.slow
def test_two_writers_of_one_model_are_refused(path: Path) -> None:
    first = writer(path)
    with pytest.raises(FileExistsError, match="writing model 'vit'.*another ModelWriter"):
        writer(path)
    fill(first, range(50))
    first.close()
    writer(path).close()
    check_models(path, ["vit"])


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_without_file_locks_a_key_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    first = writer(path)
    with pytest.raises(FileExistsError, match="writing model 'vit'.*another ModelWriter"):
        writer(path)
    fill(first, range(50))
    # what a process of this host has left that is no more
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = {"host": socket.gethostname(), "pid": gone.pid, "thread": 0, "since": "then"}
    (path / ".locked-by").write_text(json.dumps(left))
    first.close()
    check_models(path, ["vit"])
    assert not list(path.rglob(".lock*"))


def test_a_warning_when_stimuli_stay_pending(path: Path) -> None:
    said = r"'vit' is not complete.*'s49 é 猫' pending"
    with pytest.warns(RuntimeWarning, match=said), writer(path) as w:
        fill(w, range(49))
    with pytest.raises(ValueError, match="closed"):
        w.write(STIMULI[49:], VALUES[49:])


FORKS = multiprocessing.get_context("forkserver")
"""Processes of their own, forked from one that has imported everything."""


def extract(path: Path, seed: int, names: list[str], told: Connection) -> None:
    """Write models in small batches, and tell what ``write`` has returned from."""
    shrink(pytest.MonkeyPatch())
    for name in names:
        with writer(path, name) as w:
            todo = np.random.default_rng(seed).permutation([STIMULI.index(s) for s in w.pending])
            for part in np.split(todo, range(4, len(todo), 4)):
                fill(w, part.tolist())
                told.send((name, part.tolist()))


def start(path: Path, seed: int, names: list[str]) -> tuple[Any, Connection]:
    FORKS.set_forkserver_preload(["tests.io.test_writer"])
    reading, writing = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=extract, args=(path, seed, names, writing))
    process.start()
    writing.close()
    return process, reading


def kill_often(path: Path, times: int) -> int:
    """Start the writer of three models again and again, and kill it at random moments."""
    moments = random.Random(0)
    told: dict[str, set[int]] = {name: set() for name in "abc"}
    killed, seed = 0, 0
    while killed < times:
        seed += 1
        process, said = start(path, seed, list("abc"))
        stop_after = moments.randrange(0, 16)
        heard = 0
        if moments.random() < 0.25:
            # at any moment, while it starts too
            time.sleep(moments.random() * 0.4)
            process.kill()
        try:
            while True:
                name, part = said.recv()
                told[name].update(part)
                heard += 1
                if heard == stop_after + 1:
                    time.sleep(moments.random() * 0.01)
                    process.kill()
        except EOFError:
            process.join()
        killed += process.exitcode == -signal.SIGKILL
        check_after_kill(path, told)
        if process.exitcode == 0:
            # all complete: begin anew
            told = {name: set() for name in "abc"}
            shutil.rmtree(path)
    return killed


def check_after_kill(path: Path, told: dict[str, set[int]]) -> None:
    """Everything that was told to be written is there, and nothing else reads as data."""
    if not any(told.values()):
        return
    reps = open_representations(path, "vision", incomplete="include")
    for name, written in told.items():
        if not written:
            continue
        values = reps.sel(model=name).values
        there = np.isfinite(values).all(1)
        assert written <= set(np.flatnonzero(there).tolist())
        np.testing.assert_array_equal(values[there], VALUES[there])
        assert np.isnan(values[~there]).all()
        complete = bool(reps.sel(model=name).coords.get("complete", True))
        assert there.all() if complete else True


@pytest.mark.slow
def test_killed_writers_lose_no_batch(path: Path) -> None:
    assert kill_often(path, 3) == 3


@pytest.mark.slow
def test_writers_killed_many_times_lose_no_batch(path: Path) -> None:
    assert kill_often(path, 12) == 12


@pytest.mark.slow
def test_two_processes_write_sixteen_models_at_once(path: Path) -> None:
    names = [f"model {i}" for i in range(16)]
    running = [start(path, 1, names[:8]), start(path, 2, names[8:])]
    for process, said in running:
        with contextlib.suppress(EOFError):
            while True:
                said.recv()
        process.join()
        assert process.exitcode == 0
    reps = open_representations(path, "vision", incomplete="error")
    assert sorted(reps.indexes["model"]) == sorted(names)
    for name in names:
        np.testing.assert_array_equal(reps.sel(model=name).values, VALUES)
    validate_store(path, deep=True)
    assert not (path / INCOMPLETE).exists()


@pytest.mark.slow
def test_a_start_removes_what_was_killed_and_nothing_that_others_write(path: Path) -> None:
    """Zarr writes a file beside its place first: one that another writer is at must stay."""
    half = f".{'0' * 32}.partial"
    with ModelWriter(path, "vision", "left", STIMULI, WIDTH) as writer:
        writer.write(STIMULI[:25], VALUES[:25])
        (left,) = (path / INCOMPLETE / "vision").glob("left*")
        with (
            contextlib.suppress(KeyError),
            ModelWriter(path, "vision", "now", STIMULI, WIDTH) as now,
        ):
            now.write(STIMULI[:5], VALUES[:5])
            (folder,) = (path / INCOMPLETE / "vision").glob("now*")
            begun = [
                folder / name / f"{file}{half}"
                for name, file in (("", "zarr.json"), ("rows_5", "zarr.json"), ("rows_5/c/0", "0"))
            ]
            killed = [path / f"zarr.json{half}", left / f"zarr.json{half}"]
            for file in begun + killed:
                file.write_bytes(b"half")
            with pytest.warns(RuntimeWarning, match="pending"):
                ModelWriter(path, "vision", "other", STIMULI, WIDTH).__exit__(None, None, None)
            assert [file for file in begun if not file.exists()] == []
            assert not killed[0].exists()
            raise KeyError
        writer.write(STIMULI[25:], VALUES[25:])
    # its own next start tidies up after it
    ModelWriter(path, "vision", "now", STIMULI, WIDTH).close()
    assert [file for file in begun if file.exists()] == []
    validate_store(path, deep=True)
