"""Stores on a disk that nobody can write: read by everything, written by nothing."""

from __future__ import annotations

import os
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
from tests.io.sets import digest, mounted


@pytest.fixture(scope="module", params=["mount", "chmod"])
def read_only(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with a store and a study."""
    if request.param == "chmod" and os.access("/", os.W_OK):
        pytest.skip("root may write what nobody may")
    folder = tmp_path_factory.mktemp("read-only")
    real = folder / "real"
    prepare(real)
    if request.param == "mount":
        with mounted(folder / "mount", "-o", "bind,ro", str(real)) as mount:
            yield mount
        return
    folders = [real, *(path for path in real.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield real
    finally:
        for path in folders:
            path.chmod(0o755)


@pytest.mark.slow
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


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_written(read_only: Path, name: str) -> None:
    before = digest(read_only)
    with pytest.raises(OSError, match=r"(?i)read-only|permission"):
        OPERATIONS[name].do(read_only, len)
    assert digest(read_only) == before
