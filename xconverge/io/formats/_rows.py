"""Rows of arrays that stay on disk until they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from xconverge.io.formats._reading import check_memory, reading
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import float_dtype, floats


@dataclass(frozen=True)
class Rows:
    """An array in a file, as floats; every task opens the file anew, wherever it runs."""

    read: Callable[[Path, Any, Any], Array]
    path: Path
    part: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    what: str
    stamp: tuple[int, int]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> Array:
        with reading(self.path, self.what) as path:
            # a file written anew between two tasks would mix two arrays
            if _stamp(path) != self.stamp:
                raise SchemaError(f"{path} has changed since it was opened; read it again")
            return floats(self.read(path, self.part, key), str(path))


def lazy_rows(
    read: Callable[[Path, Any, Any], Array],
    path: Path,
    part: Any,
    shape: tuple[int, ...],
    dtype: Any,
    what: str,
    taken: int = 0,
) -> da.Array:
    """A dask array of the rows of a file, whose shape and dtype are known and good.

    ``taken`` are the bytes that reading a row takes, where it is more than the row.
    """
    path = path.absolute()
    dtype = float_dtype(dtype)
    rows = Rows(read, path, part, tuple(map(int, shape)), dtype, what, _stamp(path))
    row = max(1, taken, math.prod(shape[1:]) * dtype.itemsize)
    step = max(1, BUDGETS.text_block // row)
    if row > BUDGETS.text_block:
        check_memory(row, f"a row of {path}")
    chunks = (step, *(-1 for _ in shape[1:]))
    meta = np.empty((0,) * len(shape), dtype)
    array: da.Array = da.from_array(rows, chunks, meta=meta, inline_array=True)
    return array


def all_rows(arrays: Sequence[Any], what: str, cure: str = "") -> Any:
    """Arrays one after the other, lazy if one of them is."""
    shapes = {tuple(array.shape[1:]) for array in arrays}
    if len(shapes) > 1:
        raise SchemaError(f"{what} differ in shape: {listing(sorted(shapes))}{cure}")
    if len(arrays) == 1:
        return arrays[0]
    lazy = any(isinstance(array, da.Array) for array in arrays)
    return da.concatenate(arrays) if lazy else np.concatenate(arrays)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
