"""Whatever is killed, at whatever moment: readers see the old or the new, and nothing is lost."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

import xconverge as xc
from tests.benchmarks.bench_kills import measure
from tests.io.kills import forked, swept, without_threads
from tests.io.operations import OPERATIONS, check_modality, models
from xconverge.io.zarr import append

QUICK = ("append wider", "restart", "overwrite")
"""Those that go through most kinds of states."""
BY_EXCHANGE = (
    "overwrite",
    "overwrite study",
    "overwrite graph",
    "overwrite rdms",
    "overwrite store",
)


@pytest.mark.parametrize("name", QUICK)
def test_killed_at_some_moments(tmp_path: Path, name: str) -> None:
    kills, faults = swept(name, tmp_path, few=2)
    assert kills == 2
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_state(tmp_path: Path, name: str) -> None:
    kills, faults = swept(name, tmp_path)
    assert kills > 3
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_EXCHANGE)
def test_killed_at_every_state_without_renameat2(tmp_path: Path, name: str) -> None:
    kills, faults = swept(name, tmp_path, renameat2=False)
    assert kills > 5
    assert not faults, "\n".join(faults)


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


@pytest.mark.slow
def test_killed_at_any_time(tmp_path: Path) -> None:
    for name, (kills, losses, errors) in measure(12, 3, tmp_path).items():
        assert kills >= 3, name
        assert not losses, name
        assert not errors, "\n".join(errors)
