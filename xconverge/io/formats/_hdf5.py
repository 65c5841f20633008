"""Damaged or hostile HDF5 files: read once by another process, before they are read here.

The C library of HDF5 can hang, take all memory or crash on a damaged file, which no ``except``
catches. A file is read here only after a process of its own has read all of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from xconverge.io.formats._needs import needs
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError

MAGIC = b"\x89HDF\r\n\x1a\n"
PATIENCE = 20.0
SLOWEST = 5e6
"""Seconds to start and read a small file; bytes a second of a large one."""


def is_hdf5(file: Path) -> bool:
    """Whether a file has the signature of HDF5, at 0 or at 512, 1024, 2048 …"""
    size = file.stat().st_size
    with file.open("rb") as handle:
        offset = 0
        while offset + len(MAGIC) <= size:
            handle.seek(offset)
            if handle.read(len(MAGIC)) == MAGIC:
                return True
            offset = 2 * offset or 512
    return False


def check_hdf5(file: Path) -> None:
    """Refuse a file that the C library of HDF5 cannot read to its end."""
    needs("h5py", "HDF5")
    if not is_hdf5(file):
        with file.open("rb") as handle:
            start = handle.read(4)
        raise SchemaError(f"{file} is no HDF5 file: it starts with {start!r}")
    # -P and -c: nothing of the working directory, and none of this package, is imported there
    code = resources.files("xconverge.io.formats").joinpath("_hdf5_probe.py").read_text("utf-8")
    seconds = PATIENCE + file.stat().st_size / SLOWEST
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-c", code, str(file.absolute()), str(BUDGETS.probe_block)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise SchemaError(
            f"{file} is damaged: it was not read within {seconds:.0f} seconds, by a process that "
            "was then stopped"
        ) from error
    if run.returncode < 0:
        raise SchemaError(
            f"{file} is damaged: it crashed the process that read it (signal {-run.returncode})"
        )
    if run.returncode:
        said = run.stdout.decode("utf-8", "replace").strip() or run.stderr.decode(
            "utf-8", "replace"
        )
        raise SchemaError(
            f"{file} cannot be read as HDF5: {said[-300:]}. It may be damaged, or of another kind"
        )


@contextmanager
def open_hdf5(file: Path) -> Iterator[Any]:
    """A file of HDF5 that another process has read to its end."""
    check_hdf5(file)
    with needs("h5py", "HDF5").File(file, "r") as opened:
        yield opened
