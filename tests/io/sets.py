"""A representation set with a coordinate of each kind, and what a folder holds."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xconverge.labels.stack import stack_models

STIMULI = ["s1", "s2", "s3", "s4", "s5"]


def make(names: str = "ab", widths: tuple[int, ...] = (3, 4), **kwargs: Any) -> xr.DataArray:
    """Models with a coordinate of each kind, and values that tell every cell apart."""
    arrays = {}
    for name, width in zip(names, widths, strict=True):
        cells = ord(name) * 1000 + np.arange(5)[:, None] * 10 + np.arange(width)
        arrays[name] = xr.DataArray(
            cells.astype(np.float32), dims=("stimulus", "feature"), coords={"stimulus": STIMULI}
        )
    reps = stack_models(arrays, **kwargs)
    return reps.assign_coords(
        family=("model", [f"net {name}" for name in names]),
        caption=("stimulus", ["é ü 猫", "", "x" * 2000, "d", "e"]),
        rating=("stimulus", [0.1, np.nan, 0.3, 0.4, 0.5]),
    )


def digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def mounted(mount: Path, *options: str) -> Iterator[Path]:
    """A folder at which something is mounted for a while, by these options and what they name."""
    mount.mkdir()
    try:
        subprocess.run(["mount", *options, str(mount)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no right to mount a file system here: {error}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
