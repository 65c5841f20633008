"""Stores on a disk that nobody can write: read by everything, written by nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import xconverge as xc
from tests.io.operations import (
    FIRST,
    OPERATIONS,
    Seen,
    check_modality,
    check_rows,
    prepare,
    see_graph,
    see_rdms,
    see_study,
)
from tests.io.sets import digest


def _mounted(real: Path, mount: Path) -> bool:
    mount.mkdir()
    command = ["mount", "-o", "bind,ro", str(real), str(mount)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module", params=["mount", "chmod"])
def read_only(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with a store and a study."""
    if request.param == "chmod" and os.access("/", os.W_OK):
        pytest.skip("root may write what nobody may")
    folder = tmp_path_factory.mktemp("read-only")
    real, mount = folder / "real", folder / "mount"
    prepare(real)
    if request.param == "mount":
        if not _mounted(real, mount):
            pytest.skip("only root may mount")
        try:
            yield mount
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=True)
        return
    folders = [real, *(path for path in real.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield real
    finally:
        for path in folders:
            path.chmod(0o755)


def test_everything_is_read(read_only: Path) -> None:
    before = digest(read_only)
    store, seen = read_only / "s.zarr", Seen(read_only, False, [])
    check_modality(store, "v", {"ab"})
    check_rows(store, "v", "g", FIRST)
    for see in (see_graph, see_rdms, see_study):
        see(seen)
    xc.validate_store(store, deep=True)
    xc.validate_store(read_only / "r.zarr", deep=True)
    assert digest(read_only) == before


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_written(read_only: Path, name: str) -> None:
    before = digest(read_only)
    with pytest.raises(OSError, match=r"(?i)read-only|permission"):
        OPERATIONS[name].do(read_only, len)
    assert digest(read_only) == before
