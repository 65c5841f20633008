"""NumPy's .npy format: what a header claims is checked before anything is read or mapped."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import dask.array as da
import numpy as np

from xconverge.io.formats._rows import lazy_rows
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError
from xconverge.labels.numbers import check_numbers

NPY = "a NumPy .npy file"


class Header(NamedTuple):
    """What precedes the values of an array, and how many bytes the two take."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int
    stop: int


def read_header(file: IO[bytes], what: str) -> Header:
    """The header of an array; the file then stands at its first value."""
    # not np.load: it believes the shape, and makes room for it
    version = np.lib.format.read_magic(file)
    read: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise SchemaError(
            f"{what} is of version {version} of the .npy format; of those, 1.0 and 2.0 hold numbers"
        )
    try:
        with warnings.catch_warnings():
            # headers of Python 2, with 3L for 3
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required additional")
            shape, fortran, dtype = read(file)
    except ValueError as error:
        if "'<f1'" not in str(error):
            raise
        raise SchemaError(
            f"{what} holds numbers of one byte, probably float8, which NumPy writes and does not "
            "read; save array.astype('float32'), which keeps every digit"
        ) from error
    except MemoryError as error:
        raise SchemaError(f"the header of {what} is damaged: {error}") from error
    if any(size < 0 for size in shape):
        raise SchemaError(f"{what} claims the shape {shape}; it is damaged")
    start = file.tell()
    return Header(shape, fortran, dtype, start, start + math.prod(shape) * dtype.itemsize)


def check_size(header: Header, n_bytes: int, what: str) -> None:
    """An array fills its file: neither more nor less than the header says."""
    if header.stop != n_bytes:
        raise SchemaError(
            f"{what} has {n_bytes} bytes, and its header claims {header.stop} (shape "
            f"{header.shape}, {header.dtype}); it was cut off, or is damaged"
        )


def map_npy(path: Path) -> da.Array:
    """The array of a .npy file, memory mapped when it is computed."""
    with path.open("rb") as file:
        header = read_header(file, str(path))
    check_numbers(header.dtype, str(path))
    check_size(header, path.stat().st_size, str(path))
    return lazy_rows(_mapped, path, None, header.shape, header.dtype, NPY)


def _mapped(path: Path, part: None, key: Any) -> Array:
    with path.open("rb") as file:
        header = read_header(file, str(path))
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.array(np.memmap(path, header.dtype, "r", header.start, header.shape, order)[key])
