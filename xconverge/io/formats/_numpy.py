"""NumPy's files, read by NumPy: nothing is unpickled, and arrays fill their files."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import dask.array as da
import numpy as np

from xconverge.io.formats._reading import check_memory
from xconverge.io.formats._rows import lazy_rows
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import REFUSED, check_numbers

NPY = "a NumPy .npy file"
BFLOAT16 = b"{'descr': '<V2',"
"""How a header begins where `ml_dtypes` was the source; raw bytes of anything else are |V2."""


def map_npy(path: Path) -> da.Array:
    """The array of a .npy file, memory mapped when it is computed."""
    array, brain = _mapped(path)
    dtype = np.dtype(np.float32) if brain else array.dtype
    check_numbers(dtype, str(path))
    return lazy_rows(_rows, path, None, array.shape, dtype, NPY)


def _mapped(path: Path) -> tuple[Any, bool]:
    """The array on disk, and whether it is bfloat16."""
    with _explained(str(path)):
        array: Any = np.lib.format.open_memmap(path, mode="r")
    _check_end(path.stat().st_size - array.offset - array.nbytes, array, str(path))
    with path.open("rb") as file:
        return array, BFLOAT16 in file.read(64)


def _rows(path: Path, part: None, key: Any) -> Array:
    array, brain = _mapped(path)
    return _brain_floats(array[key]) if brain else np.array(array[key])


def _brain_floats(raw: Array) -> Array:
    """bfloat16 is the upper half of float32."""
    return (raw.view("<u2").astype("<u4") << 16).view("<f4")


def _check_end(more: int, array: Array, what: str) -> None:
    if more:
        raise SchemaError(
            f"{what} has more bytes than its header claims (shape {array.shape}, {array.dtype}); "
            "it is damaged"
        )


def read_archive(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name, in memory; nothing is unpacked to disk."""
    with zipfile.ZipFile(path) as opened:
        infos = opened.infolist()
        names = Counter(info.filename for info in infos)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise SchemaError(f"{path} has several members of one name: {listing(twice)}")
        other = [name for name in names if not name.endswith(".npy")]
        if other:
            raise SchemaError(
                f"{path} holds what is no array: {listing(other)}; an .npz file is a zip of .npy "
                "files"
            )
        check_memory(sum(info.file_size for info in infos), str(path))
        return {
            info.filename.removesuffix(".npy"): _member(opened, info, f"{path}: {info.filename!r}")
            for info in infos
        }


def _member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> Array:
    with opened.open(info) as file, _explained(what):
        brain = BFLOAT16 in cast(zipfile.ZipExtFile, file).peek(64)
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        # to the end, where the checksum is compared
        _check_end(len(file.read(1)), array, what)
    return _brain_floats(array) if brain else array


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What NumPy raises on objects and on float8, with the reason; headers of Python 2 are fine."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required additional")
            yield
    except ValueError as error:
        if "bjects" in str(error) or "Object arrays" in str(error):
            raise SchemaError(f"{what} {REFUSED['O']}") from None
        if "'<f1'" in str(error):
            raise SchemaError(
                f"{what} holds numbers of one byte, probably float8, which NumPy writes and does "
                "not read; save array.astype('float32'), which keeps every digit"
            ) from None
        raise
