"""Whatever is killed, at whatever moment: readers see the old or the new, and nothing is lost."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import xconverge as xc
from tests.benchmarks.bench_kills import measure
from tests.io.kills import forked, swept, without_threads
from tests.io.operations import OPERATIONS, STIMULI, check_modality, extract, models, prepare
from tests.io.sets import digest
from xconverge.io.zarr import append

BY_EXCHANGE = (
    "overwrite",
    "overwrite study",
    "overwrite graph",
    "overwrite rdms",
    "overwrite store",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_many_states(tmp_path: Path, name: str) -> None:
    """Six of them, from the first to the last; `few=None` goes through all."""
    kills, faults = swept(name, tmp_path, few=6)
    assert kills > 3
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_EXCHANGE)
def test_killed_at_every_state_without_renameat2(tmp_path: Path, name: str) -> None:
    kills, faults = swept(name, tmp_path, renameat2=False)
    assert kills >= 5
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_what_a_killed_append_has_left_is_never_shown(tmp_path: Path) -> None:
    """Its wide chunks lie beyond the array, which a narrow model and a wide one then reach."""
    store = tmp_path / "s.zarr"
    xc.write_representations(store, models("ab"))
    ends = without_threads(_append_and_die, store, tmp_path / "said")
    assert ends == -signal.SIGKILL
    assert (store / "v" / "representation" / "c" / "2" / "0" / "1").exists()
    xc.append_models(store, models("f"))
    xc.append_models(store, models("d"))
    check_modality(store, "v", {"abfd"})
    xc.validate_store(store, deep=True)


def _append_and_die(store: Path, said: Path) -> int:
    return forked(partial(_append_until_commit, store), said)


def _append_until_commit(store: Path) -> None:
    append.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    xc.append_models(store, models("d"))


def _spoil(store: Path, content: bytes | None) -> None:
    """Damage the metadata of the model g, of which some rows are written."""
    (document,) = store.glob("incomplete_models/v/g-*/zarr.json")
    document.unlink() if content is None else document.write_bytes(content)


def _rows(store: Path) -> dict[str, str]:
    return {
        name: crc
        for name, crc in digest(store / "incomplete_models").items()
        if "vectors_" in name or "rows_" in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_rows_whose_metadata_are_damaged_are_kept(tmp_path: Path, content: bytes | None) -> None:
    """Until they are brought back, or the user gives them up."""
    prepare(tmp_path)
    store = tmp_path / "s.zarr"
    (document,) = store.glob("incomplete_models/v/g-*/zarr.json")
    good, before = document.read_bytes(), _rows(store)
    assert any("g-" in name for name in before)
    _spoil(store, content)
    with pytest.raises(xc.DamagedStoreError, match=r"rows of the model are kept.*restart=True"):
        xc.ModelWriter(store, "v", "g", STIMULI, 4)
    # another model is no reason to tidy up
    with suppress(InterruptedError):
        extract(store, "v", "f", [[0, 1]], finish=False)
    assert before.items() <= _rows(store).items()
    document.write_bytes(good)
    extract(store, "v", "g", [[4, 5]])
    check_modality(store, "v", {"abg"})


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("wrong", [{"n_features": 9}, {"coords": {"fam": "x"}}, {"dtype": "f8"}])
def test_a_start_that_asks_for_something_else_keeps_the_rows(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    prepare(tmp_path)
    store = tmp_path / "s.zarr"
    before = digest(store)
    with pytest.raises(xc.SchemaError):
        xc.ModelWriter(store, "v", "g", STIMULI, **{"n_features": 4, **wrong})
    assert digest(store) == before


@pytest.mark.slow
def test_killed_at_any_time(tmp_path: Path) -> None:
    for name, (kills, losses, errors) in measure(6, 1, tmp_path).items():
        assert kills >= 1, name
        assert not losses, name
        assert not errors, "\n".join(errors)
