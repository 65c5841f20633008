"""HDF5 files, read by h5py: all data are in the file itself, and no more than it can hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from xconverge.io.formats._needs import needs
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError

BEST_COMPRESSION = 1100
"""deflate makes at most 1 byte of 1032; what claims to hold more than the file can is damaged."""


@contextmanager
def open_hdf5(file: Path) -> Iterator[Any]:
    """A file of HDF5, of which no link and no array is kept in another file."""
    h5py = needs("h5py", "HDF5")
    with h5py.File(file, "r") as opened:
        most = BEST_COMPRESSION * file.stat().st_size

        # a text ends the visit; what is raised in it does not come out of the C library whole
        def fault(name: str, link: Any) -> str | None:
            if not isinstance(link, h5py.HardLink):
                return f"{name!r} is a {type(link).__name__}, which can name other files"
            item = opened[name]
            if not isinstance(item, h5py.Dataset):
                return None
            if item.external or item.is_virtual:
                return f"{name!r} keeps its data in other files"
            return f"{name!r} claims {item.nbytes} bytes" if item.nbytes > most else None

        found = opened.visititems_links(fault)
        if found:
            raise SchemaError(f"{file}: {found}; it is damaged, or made to do harm")
        yield opened


def hdf5_rows(path: Path, part: str, key: Any) -> Array:
    """Rows of an array in a file, for `lazy_rows`."""
    with needs("h5py", "HDF5").File(path, "r") as opened:
        return np.asarray(opened[part][key])
