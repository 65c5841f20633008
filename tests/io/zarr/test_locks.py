"""Locks of a store, and what strangers may have put in their place."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

import xconverge as xc
from tests.io.kills import FORKS
from tests.io.operations import STIMULI, VALUES, check_modality, extract, models
from xconverge.io.zarr import locks
from xconverge.io.zarr.incomplete import folder_name
from xconverge.io.zarr.places import place_of


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside the store, with a file in it and in a folder of it."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for path in (folder / "file", folder / "deep" / "file"):
        path.write_text("precious")
    return folder


def check_victim(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["deep", "file"]
    assert os.listdir(folder / "deep") == ["file"]
    for path in (folder / "file", folder / "deep" / "file"):
        assert path.read_text() == "precious"


def no_locks_on(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """As on file systems that cannot lock folders, or nothing at all."""

    def refused(_: Path) -> Any:
        raise OSError(errno.ENOTSUP, "no locks here")

    for kind in kinds:
        monkeypatch.setattr(locks, kind, refused)


@pytest.fixture
def files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    no_locks_on(monkeypatch, "_locked_folder")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    no_locks_on(monkeypatch, "_locked_folder", "_locked_file")


def make_special(path: Path, kind: str, victim: Path) -> None:
    """What is no regular file."""
    if kind == "link":
        path.symlink_to(victim / "file")
    elif kind == "link to nothing":
        path.symlink_to(victim / "new")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("devices are made by root")


SPECIAL = ["link", "link to nothing", "FIFO", "device"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_in_place_of_the_lock_is_no_lock(
    store: Path, victim: Path, files_alone: None, kind: str
) -> None:
    make_special(store / ".lock", kind, victim)
    with pytest.raises(OSError, match=r"\.lock"):
        xc.append_models(store, models("c"))
    check_victim(victim)
    check_modality(store, "v", {"ab"})
    (store / ".lock").unlink()
    xc.append_models(store, models("c"))
    check_modality(store, "v", {"abc"})


@pytest.mark.slow
def test_a_folder_in_place_of_the_lock_leaves_the_other_kind(
    store: Path, victim: Path, files_alone: None
) -> None:
    make_special(store / ".lock", "folder", victim)
    xc.append_models(store, models("c"))
    check_modality(store, "v", {"abc"})
    assert not (store / locks.MADE).exists()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("kind", [*SPECIAL, "folder"])
def test_a_special_file_in_place_of_the_made_lock(
    store: Path, victim: Path, no_locks: None, kind: str
) -> None:
    make_special(store / locks.MADE, kind, victim)
    with pytest.raises(OSError, match="must be a regular file; remove it"):
        xc.append_models(store, models("c"))
    check_victim(victim)
    check_modality(store, "v", {"ab"})


@pytest.mark.slow
@pytest.mark.parametrize("name", [".lock", locks.MADE])
def test_folders_are_locked_without_a_look_at_such_files(
    store: Path, victim: Path, name: str
) -> None:
    make_special(store / name, "link", victim)
    xc.append_models(store, models("c"))
    extract(store, "v", "d", [list(range(6))])
    xc.write_representations(store, models("ab"), overwrite=True)
    check_modality(store, "v", {"ab"})
    xc.validate_store(store, deep=True)
    check_victim(victim)


@pytest.mark.slow
@pytest.mark.parametrize("name", [".staging-x", ".replaced-v", ".replaced-s.zarr"])
@pytest.mark.parametrize("beside", [False, True])
def test_links_of_strangers_lead_to_no_deletion(
    store: Path, victim: Path, name: str, beside: bool
) -> None:
    (store.parent if beside else store).joinpath(name).symlink_to(victim)
    xc.append_models(store, models("c"))
    xc.write_representations(store, models("fe"), overwrite=True)
    extract(store, "v", "d", [list(range(6))])
    check_modality(store, "v", {"fed"})
    xc.create_store(store, overwrite=True)
    check_victim(victim)


@pytest.mark.slow
def test_a_model_that_is_a_link_is_not_begun(store: Path, victim: Path) -> None:
    """What is there of a model that was begun anew is deleted: it must not be of others."""
    (store / "incomplete_models" / "v").mkdir(parents=True)
    link = store / "incomplete_models" / "v" / folder_name("c")
    link.symlink_to(victim)
    for restart in (False, True):
        with pytest.raises(FileExistsError, match="is a link.*remove the link"):
            extract(store, "v", "c", [], restart=restart)
    check_victim(victim)
    link.unlink()
    extract(store, "v", "c", [list(range(6))])
    check_modality(store, "v", {"abc"})


@pytest.mark.slow
def test_files_of_others_that_are_partial_stay(store: Path, victim: Path) -> None:
    """Behind a link, or by another name than Zarr gives."""
    name = f"zarr.{'0' * 32}.partial"
    kept = [victim / name, store / "film.partial"]
    removed = [store / name, store / "v" / name, store / "v" / "model" / name]
    for path in (*kept, *removed):
        path.write_text("precious")
    (store / "link").symlink_to(victim)
    extract(store, "v", "c", [list(range(6))])
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in removed)


@pytest.mark.parametrize("kinds", [(), ("_locked_folder",), ("_locked_folder", "_locked_file")])
def test_who_holds_a_lock_keeps_others_out(
    store: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    no_locks_on(monkeypatch, *kinds)
    place = place_of(store)
    with locks.locked(place, "first"):
        assert locks.try_lock(store) is None
        with (
            pytest.raises(FileExistsError, match="second: another process, or another call"),
            locks.locked(place, "second", patience=0),
        ):
            raise AssertionError("both have it")
    with locks.locked(place, "third", patience=0):
        pass
    assert not (store / locks.MADE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(), ("_locked_folder",), ("_locked_folder", "_locked_file")])
def test_a_lock_ends_with_its_process(
    store: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    no_locks_on(monkeypatch, *kinds)
    holder = FORKS.Process(target=_lock_and_stay, args=(store, kinds))
    holder.start()
    place = place_of(store)
    deadline = time.monotonic() + 60
    while not (store / "held").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(FileExistsError), locks.locked(place, "second", patience=0):
        raise AssertionError("both have it")
    holder.kill()
    holder.join()
    (store / "held").unlink()
    xc.append_models(store, models("c"))
    check_modality(store, "v", {"abc"})


def _lock_and_stay(store: Path, kinds: tuple[str, ...]) -> None:
    no_locks_on(pytest.MonkeyPatch(), *kinds)
    with locks.locked(place_of(store), "first"):
        (store / "held").touch()
        time.sleep(600)


def test_reading_takes_no_lock_that_it_cannot_have(store: Path, files_alone: None) -> None:
    (store / ".lock").symlink_to(store / "zarr.json")
    xc.validate_store(store, deep=True)
    assert xc.open_representations(store, "v").sel(model="a", stimulus=STIMULI[0]).values[
        0
    ] == pytest.approx(VALUES["a"][0, 0])
