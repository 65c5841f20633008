"""Readers while others write, and writers of one thing at once."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import xconverge as xc
from tests.io.kills import ended, fork, forked, without_threads
from tests.io.operations import (
    STIMULI,
    VALUES,
    by_zarr,
    check_modality,
    check_rows,
    check_values,
    extract,
    models,
    study,
)

WAIT = 60.0


# Processes: many writes, and readers that look at each moment


def read_until(stop: Path, read: Callable[[], object], log: Path) -> None:
    """Read again and again, and note how often."""
    reads = 0
    while reads == 0 or not stop.exists():
        read()
        reads += 1
    log.write_text(str(reads))


def read_xc(store: Path, states: list[str]) -> None:
    check_values(xc.open_representations(store, "v"), states)


def read_tree(store: Path, states: list[str]) -> None:
    check_values(xc.open_store(store)["v/representation"], states)


def read_begun(store: Path, states: list[str]) -> None:
    """With the rows of models that are not complete."""
    reps = xc.open_representations(store, "v", incomplete="include")
    check_values(
        reps.isel(model=reps["complete"].values if "complete" in reps.coords else slice(None)),
        states,
    )


def read_plain(store: Path, states: list[str]) -> None:
    check_values(xr.open_zarr(f"{store}/v")["representation"], states)


def read_zarr(store: Path, states: list[str]) -> None:
    check_values(by_zarr(zarr.open_group(f"{store}/v", mode="r")), states)


def read_parts(store: Path, states: list[str]) -> None:
    """Without the one document: an error in between may be, other numbers may not."""
    with suppress(ValueError, KeyError, FileNotFoundError):
        opened = xr.open_zarr(f"{store}/v", consolidated=False)["representation"].load()
        check_values(opened, states)


def read_deep(store: Path, states: list[str]) -> None:
    xc.validate_store(store, deep=True)


def read_study(path: Path, states: list[str]) -> None:
    tree = xc.open_store(path)
    with suppress(FileNotFoundError):
        # opened before it was overwritten, and read after
        seen = {*tree["x/q"].values.tolist(), float(tree["y/r"])}
        assert len(seen) == 1, f"a mixture of {seen}"


def look_while(
    folder: Path, readers: list[Callable[[], object]], write: Callable[[], object]
) -> list[str]:
    """Read in a process for each reader while one writes: what went wrong."""
    stop, running = folder / "stop", {}
    for i, read in enumerate(readers):
        log = folder / f"reads {i}"
        running[fork(partial(read_until, stop, read, log), folder / f"said {i}")] = i
    wrong = [] if forked(write, folder / "said") == 0 else [(folder / "said").read_text()]
    stop.touch()
    for pid, i in running.items():
        if ended(pid) != 0:
            wrong.append((folder / f"said {i}").read_text())
    return wrong


def append_ever_wider(store: Path, names: str) -> None:
    for i, name in enumerate(names):
        if i % 2:
            extract(store, "v", name, [[3, 1, 5], [0, 2, 4]])
        else:
            xc.append_models(store, models(name))


def overwrite_often(store: Path, states: list[str], times: int) -> None:
    for i in range(times):
        xc.write_representations(store, models(states[i % len(states)]), overwrite=True)


def overwrite_studies(path: Path, times: int) -> None:
    for i in range(times):
        xc.write_study(path, study(float(i)), overwrite=True)


def _during_appends(folder: Path, readers: list[Any]) -> list[str]:
    store, states = folder / "s.zarr", ["abfcegd"[:n] for n in range(2, 8)]
    assert forked(partial(xc.write_representations, store, models("ab")), folder / "said") == 0
    reads = [partial(read, store, states) for read in readers]
    return look_while(folder, reads, partial(append_ever_wider, store, "fcegd"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "readers",
    [
        pytest.param([read_xc, read_tree], id="ours"),
        pytest.param([read_plain, read_zarr], id="plain", marks=pytest.mark.slow),
        pytest.param([read_parts, read_begun], id="parts", marks=pytest.mark.slow),
        pytest.param([read_deep], id="deep", marks=pytest.mark.slow),
    ],
)
def test_readers_during_appends_see_one_state(tmp_path: Path, readers: list[Any]) -> None:
    """Also ``open_store``, whose groups are read one after another."""
    wrong = without_threads(_during_appends, tmp_path, readers)
    assert not wrong, "\n".join(wrong)


def _during_overwrites(folder: Path, times: int) -> list[str]:
    store, states = folder / "s.zarr", ["ab", "fe", "dcg"]
    assert forked(partial(xc.write_representations, store, models("ab")), folder / "said") == 0
    reads = [partial(_opened_again, read, store, states) for read in (read_xc, read_tree)]
    return look_while(folder, reads, partial(overwrite_often, store, states, times))


TOLD = "overwritten since it was opened|no longer there"


def _opened_again(read: Callable[..., None], store: Path, states: list[str]) -> None:
    """What was overwritten between opening and reading says so."""
    told = ""
    try:
        read(store, states)
    except FileNotFoundError as error:
        told = str(error)
    assert not told or re.search(TOLD, told), told


@pytest.mark.slow
def test_readers_during_overwrites_see_one_state_or_are_told(tmp_path: Path) -> None:
    wrong = without_threads(_during_overwrites, tmp_path, 12)
    assert not wrong, "\n".join(wrong)


def _during_studies(folder: Path, times: int) -> list[str]:
    path = folder / "r.zarr"
    assert forked(partial(xc.write_study, path, study(0.0)), folder / "said") == 0
    reads: list[Callable[[], object]] = [partial(read_study, path, [])] * 2
    return look_while(folder, reads, partial(overwrite_studies, path, times))


@pytest.mark.slow
def test_a_study_that_is_overwritten_while_it_is_opened_is_no_mixture(tmp_path: Path) -> None:
    wrong = without_threads(_during_studies, tmp_path, 25)
    assert not wrong, "\n".join(wrong)


# Threads: one operation held up in the midst of another


class Gate:
    """Holds up whoever computes the blocks of an array."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def hold(self, reps: xr.DataArray) -> xr.DataArray:
        """The same array, lazy, whose values wait at the gate."""

        def wait(block: np.ndarray) -> np.ndarray:
            self.reached.set()
            assert self.opened.wait(WAIT)
            return block

        lazy = reps.chunk({"model": 1})
        empty = np.empty((0,) * reps.ndim, reps.dtype)
        return lazy.copy(data=lazy.data.map_blocks(wait, dtype=reps.dtype, meta=empty))


@contextmanager
def held_up(write: Callable[[xr.DataArray], object], reps: xr.DataArray) -> Iterator[Any]:
    """Start writing, stay in its midst, and go on at the end: what became of it is the result."""
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, gate.hold(reps))
        assert gate.reached.wait(WAIT)
        try:
            yield writing
        finally:
            gate.opened.set()
        writing.exception(WAIT)


@pytest.mark.slow
def test_an_overwrite_during_an_append_is_refused_by_name(store: Path) -> None:
    """It waits for the append, and then finds the modality changed."""
    with ThreadPoolExecutor(1) as pool:
        with held_up(partial(xc.append_models, store), models("d")) as append:
            overwrite = pool.submit(xc.write_representations, store, models("fe"), overwrite=True)
            time.sleep(0.3)
            assert not overwrite.done()
            check_values(xc.open_representations(store, "v"), {"ab"})
        with pytest.raises(FileExistsError, match="v was changed by someone else meanwhile"):
            overwrite.result(WAIT)
    assert append.exception() is None
    check_modality(store, "v", {"abd"})
    xc.validate_store(store, deep=True)
    assert sorted(os.listdir(store)) == ["v", "zarr.json"]


@pytest.mark.slow
def test_an_append_during_an_overwrite_stays(store: Path) -> None:
    overwrite = partial(xc.write_representations, store, overwrite=True)
    with held_up(overwrite, models("fe")) as overwriting:
        xc.append_models(store, models("d"))
    assert "changed by someone else" in str(overwriting.exception())
    check_modality(store, "v", {"abd"})
    xc.validate_store(store, deep=True)


@pytest.mark.slow
def test_a_model_that_is_joined_during_an_overwrite_stays(store: Path) -> None:
    overwrite = partial(xc.write_representations, store, overwrite=True)
    with held_up(overwrite, models("fe")) as overwriting:
        extract(store, "v", "c", [list(range(6))])
    assert "changed by someone else" in str(overwriting.exception())
    check_modality(store, "v", {"abc"})


@pytest.mark.slow
def test_of_two_overwrites_at_once_the_first_to_end_stays(store: Path) -> None:
    overwrite = partial(xc.write_representations, store, overwrite=True)
    with held_up(overwrite, models("fe")) as overwriting:
        overwrite(models("dc"))
    assert "changed by someone else" in str(overwriting.exception())
    check_modality(store, "v", {"dc"})
    xc.validate_store(store, deep=True)
    assert sorted(os.listdir(store)) == ["v", "zarr.json"]


def test_a_modality_that_is_overwritten_while_it_is_read_says_so(store: Path) -> None:
    opened = xc.open_representations(store, "v")
    tree = xc.open_store(store)
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: gate.hold(opened).values)
        assert gate.reached.wait(WAIT)
        xc.write_representations(store, models("ba"), overwrite=True)
        gate.opened.set()
        with suppress(FileNotFoundError):
            # blocks that were read before are those of the old; never a mixture
            check_values(opened.copy(data=reading.result(WAIT)), {"ab"})
    for handle in (opened, opened[0, 0], tree["v/representation"]):
        with pytest.raises(FileNotFoundError, match="'v' of .* was overwritten since it was"):
            handle.compute()


def replace_store(path: Path) -> None:
    xc.create_store(path, overwrite=True)


def replace_by_study(path: Path) -> None:
    xc.write_study(path, study(1.0), overwrite=True)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("replace", [replace_store, replace_by_study])
def test_a_store_is_not_replaced_under_a_writer(
    store: Path, replace: Callable[[Path], None]
) -> None:
    with xc.ModelWriter(store, "v", "d", STIMULI, 8) as writer:
        writer.write(STIMULI[:3], VALUES["d"][:3])
        with pytest.raises(FileExistsError, match="is being written by a ModelWriter; close it"):
            replace(store)
        check_rows(store, "v", "d", range(3))
        writer.write(STIMULI[3:], VALUES["d"][3:])
    check_modality(store, "v", {"abd"})
    assert os.listdir(store.parent) == ["s.zarr"]
    replace(store)
    assert "v" not in xc.open_store(store).children


@pytest.mark.slow
def test_a_writer_that_starts_while_a_store_is_replaced_loses_nothing(store: Path) -> None:
    """Either the one or the other is refused."""

    def write(reps: xr.DataArray) -> None:
        tree = xr.DataTree(xr.Dataset({"r": reps.drop_vars(list(reps.coords))}))
        xc.write_study(store, tree, overwrite=True)

    with held_up(write, models("fe")) as replacing:
        writer = xc.ModelWriter(store, "v", "d", STIMULI, 8)
        writer.write(STIMULI[:3], VALUES["d"][:3])
    assert "is being written by a ModelWriter" in str(replacing.exception())
    writer.write(STIMULI[3:], VALUES["d"][3:])
    writer.close()
    check_modality(store, "v", {"abd"})


@pytest.mark.slow
def test_a_model_that_is_completed_after_it_was_opened_says_so(store: Path) -> None:
    """Its rows are not pending, which NaN would mean."""
    with suppress(InterruptedError):
        extract(store, "v", "d", [[0, 1, 2]], finish=False)
    reps = xc.open_representations(store, "v", incomplete="include")
    before = reps.sel(model="d").values
    extract(store, "v", "d", [[3, 4, 5]])
    with pytest.raises(FileNotFoundError, match="'d' was completed, begun anew or removed"):
        reps.compute()
    np.testing.assert_array_equal(before[:3], VALUES["d"][:3])
    check_modality(store, "v", {"abd"})


@pytest.mark.slow
def test_a_model_that_is_begun_anew_after_it_was_opened_says_so(store: Path) -> None:
    for options in ({}, {"restart": True}):
        with suppress(InterruptedError):
            extract(store, "v", "d", [[0, 1, 2]], finish=False, **options)
        if not options:
            reps = xc.open_representations(store, "v", incomplete="include")
    with suppress(InterruptedError):
        extract(store, "v", "d", [[3, 4]], finish=False, restart=True)
    with pytest.raises(FileNotFoundError, match="begun anew"):
        reps.compute()


@pytest.mark.slow
def test_rows_that_are_damaged_before_they_join_are_no_missing_ones(store: Path) -> None:
    writer = xc.ModelWriter(store, "v", "d", STIMULI, 8)
    writer.write(STIMULI, VALUES["d"])
    (chunk,) = (store / "incomplete_models").glob("v/d-*/vectors_6/c/0/0")
    chunk.write_bytes(b"\x00" + chunk.read_bytes()[1:])
    with pytest.raises(xc.DamagedStoreError, match=r"model 'd' .*'s0', .* are damaged"):
        writer.close()
    check_modality(store, "v", {"ab"})
    with pytest.warns(RuntimeWarning, match="pending again"):
        extract(store, "v", "d", [list(range(6))])
    check_modality(store, "v", {"abd"})


# A store that is no longer where it was


def gone(store: Path, how: str) -> None:
    if how == "moved":
        store.rename(store.with_name("moved.zarr"))
    elif how == "renamed":
        (store / "v").rename(store / "u")
    else:
        xc.write_representations(store, models("fe"), overwrite=True)


MEASURES: dict[str, Callable[[xr.DataArray], Any]] = {
    "values": lambda reps: reps.values,
    "neighborhood": lambda reps: xc.dispersion(reps, "neighborhood", k=2),
    "rdm": lambda reps: xc.dispersion(reps, "rdm"),
    "alignment": lambda reps: xc.alignment(reps, reps, k=2),
    "cka": lambda reps: xc.alignment(reps, reps, "cka"),
    "norm": lambda reps: xc.stimulus_norm(reps),
}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("how", ["moved", "renamed", "overwritten"])
def test_no_measure_takes_what_is_gone_for_what_was_never_seen(store: Path, how: str) -> None:
    reps = xc.open_representations(store, "v")
    gone(store, how)
    said = "was overwritten" if how == "overwritten" else "moved, renamed or deleted"
    for measure in MEASURES.values():
        with pytest.raises(FileNotFoundError, match=said):
            np.asarray(measure(reps))
