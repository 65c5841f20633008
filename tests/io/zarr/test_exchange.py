"""Groups that take the place of others, in one step or in two."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import xconverge as xc
from tests.io.operations import check_modality, check_values, models, study
from xconverge.io.zarr import exchange
from xconverge.io.zarr.exchange import REPLACED, STAGE


@pytest.fixture
def no_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "no such call")

    monkeypatch.setattr(exchange, "exchange", refused)


def test_two_folders_are_exchanged_in_one_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one ?", tmp_path / "other é"
    for path in (one, other):
        path.mkdir()
        (path / path.name).touch()
    try:
        exchange.exchange(one, other)
    except OSError as error:
        pytest.skip(f"not here: {error}")
    assert os.listdir(one) == [other.name]
    assert os.listdir(other) == [one.name]
    with pytest.raises(OSError, match="cannot be exchanged"):
        exchange.exchange(one, tmp_path / "nothing")


@pytest.mark.slow
def test_old_or_new_is_there_at_each_of_two_renames(
    store: Path, no_renameat2: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        result = rename(path, target)
        reps = xc.open_representations(store, "v")
        check_values(reps, {"ab", "fe"})
        assert xc.io.modalities(store) == ["v"]
        check_values(xc.open_store(store)["v/representation"], {"ab", "fe"})
        seen.append("".join(reps["model"].values))
        return result

    monkeypatch.setattr(Path, "rename", watched)
    xc.write_representations(store, models("fe"), overwrite=True)
    assert seen == ["ab", "fe"]
    check_modality(store, "v", {"fe"})
    assert sorted(os.listdir(store)) == ["v", "zarr.json"]


@pytest.mark.slow
def test_what_a_killed_process_put_aside_is_found_and_brought_back(
    store: Path, tmp_path: Path
) -> None:
    (store / "v").rename(store / f"{REPLACED}v")
    check_modality(store, "v", {"ab"}, plain=False)
    xc.validate_store(store, deep=True)
    xc.append_models(store, models("c"))
    check_modality(store, "v", {"abc"})
    store.rename(tmp_path / f"{REPLACED}s.zarr")
    check_values(xc.open_representations(store, "v"), {"abc"})
    assert xc.io.modalities(store) == ["v"]
    xc.validate_store(store, deep=True)


def test_a_study_put_aside_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.zarr"
    xc.write_study(path, study(1.0))
    path.rename(tmp_path / f"{REPLACED}r.zarr")
    assert float(xc.open_store(path)["y/r"]) == 1.0
    xc.write_study(path, study(2.0), overwrite=True)
    assert float(xc.open_store(path)["y/r"]) == 2.0
    assert os.listdir(tmp_path) == ["r.zarr"]


def test_the_old_is_put_back_where_the_new_cannot_take_its_place(
    store: Path, no_renameat2: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, "broken disk")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="broken disk"):
        xc.write_representations(store, models("fe"), overwrite=True)
    check_modality(store, "v", {"ab"})
    assert sorted(os.listdir(store)) == ["v", "zarr.json"]


def test_abandoned_stages_go_and_those_in_use_stay(store: Path) -> None:
    (store / f"{STAGE}left" / "new").mkdir(parents=True)
    with exchange.staged(exchange.local(store) / "u", exchange.local(store), False) as stage:
        xc.append_models(store, models("c"))
        assert not (store / f"{STAGE}left").exists()
        assert stage.folder is not None
        assert stage.folder.parent.exists()
        shutil.copytree(store / "v", stage.folder)
    assert xc.io.modalities(store) == ["u", "v"]
