"""Features in one file of any kind: NumPy, PyTorch, text, MATLAB, HDF5."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from scipy.io import loadmat, whosmat
from scipy.io.matlab import matfile_version

from xconverge.io.formats._hdf5 import hdf5_rows, open_hdf5
from xconverge.io.formats._needs import needs
from xconverge.io.formats._numpy import NPY, map_npy
from xconverge.io.formats._reading import check_memory, reading
from xconverge.io.formats._rows import all_rows, lazy_rows
from xconverge.io.formats._tensors import check_tensor, import_torch, load, numpy_of
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, escaped, listing
from xconverge.labels.numbers import WHOLE, check_digits, check_numbers, floats

IMAGE = re.compile(r"\.(eps|jpe?g|png|tiff?)$", re.IGNORECASE)
NUMBERS = re.compile(r"double|single|logical|u?int\d+")
"""Classes of MATLAB whose arrays are numbers."""


def open_features(file: Path, names: Sequence[str]) -> Any:
    """The array (stimuli, …) of a file, whose rows are the first of these images."""
    array = OPEN[file.suffix](file, names)
    if array.ndim < 2:
        raise SchemaError(f"{file} has the shape {array.shape}; (stimuli, features) is needed")
    return array


def _npy(file: Path, names: Sequence[str]) -> da.Array:
    with reading(file, NPY) as path:
        return map_npy(path)


def _pt(file: Path, names: Sequence[str]) -> da.Array:
    torch = import_torch("features.pt")
    with reading(file, "a tensor in a .pt file") as path:
        tensor = check_tensor(load(path, torch), str(path), torch)
        if not tensor.ndim:
            raise SchemaError(f"{path} holds a single number")
        dtype = numpy_of(tensor[:0], torch).dtype
        return lazy_rows(_pt_rows, path, None, tuple(tensor.shape), dtype, "a tensor")


def _pt_rows(path: Path, part: None, key: Any) -> Array:
    torch = import_torch("features.pt")
    return np.array(numpy_of(check_tensor(load(path, torch), str(path), torch), torch)[key])


def _txt(file: Path, names: Sequence[str]) -> Array:
    with reading(file, "a table of numpy.savetxt") as path, warnings.catch_warnings():
        warnings.simplefilter("error")
        array: Array = np.loadtxt(path, ndmin=2, encoding="utf-8")
        large = np.abs(array) >= WHOLE
        if large.any():
            cells = np.loadtxt(path, dtype=str, ndmin=2, encoding="utf-8")
            for cell, value in zip(cells[large], array[large], strict=True):
                check_digits(cell, value, str(path))
        return array


def _hdf5(file: Path, names: Sequence[str]) -> da.Array:
    with reading(file, "an HDF5 file of features") as path, open_hdf5(path) as opened:
        there = list(opened)
        keys = [key for key in there if re.fullmatch(r"features(_\d+)?", key)]
        if not keys:
            raise SchemaError(
                f"{path} must hold the dataset 'features', or its parts 'features_01' …; it has "
                f"{listing(there) or 'none'}"
            )
        _left_out([key for key in there if key not in keys], path)
        keys.sort(key=lambda key: int(key.removeprefix("features_") if "_" in key else 0))
        expected = [f"features_{i:02d}" for i in range(1, len(keys) + 1)]
        if keys not in (["features"], expected):
            raise SchemaError(
                f"parts of the features in {path} are missing: it has {listing(keys)}"
            )
        arrays = [_dataset(opened, key, path) for key in keys]
        whole: da.Array = all_rows(arrays, f"parts of the features in {path}")
        return whole


def _left_out(names: Sequence[str], path: Path) -> None:
    """Say what else a file holds, which nobody asked for."""
    if names:
        told = f"{escaped(path)}: {listing(names)} left out"
        warnings.warn(told, RuntimeWarning, stacklevel=3)


def _dataset(opened: Any, key: str, path: Path) -> da.Array:
    dataset, what = opened[key], f"{path}: {key!r}"
    if not isinstance(dataset, needs("h5py", "HDF5").Dataset):
        raise SchemaError(f"{what} must be an array, not a group")
    if not dataset.shape or not dataset.size:
        raise SchemaError(f"{what} must be an array (stimuli, features), got {dataset.shape}")
    if not _written(dataset):
        raise SchemaError(f"{what} was never written in parts, which would read as 0")
    check_numbers(dataset.dtype, what)
    return lazy_rows(hdf5_rows, path, key, dataset.shape, dataset.dtype, "an HDF5 file")


def _written(dataset: Any) -> bool:
    """Whether all of the array is in the file."""
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() >= dataset.nbytes)
    blocks = [-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True)]
    return bool(dataset.id.get_num_chunks() == math.prod(blocks))


def _mat(file: Path, names: Sequence[str]) -> Array:
    with reading(file, "a MATLAB file of features") as path:
        version, _ = matfile_version(path)
        if version == 2:
            return _mat73(path)
        if version != 1:
            raise SchemaError(f"{path} is no MATLAB file of version 5 or later")
        arrays = _variables(path, "features" not in {IMAGE.sub("", name) for name in names})
        if list(arrays) == ["features"]:
            return arrays["features"]
        rows = [arrays[key] for key in _keys(list(arrays), names[: len(arrays)], path)]
        if all(row.ndim == 2 and len(row) == 1 for row in rows):
            rows = [row[0] for row in rows]
        return np.stack(rows)


def _variables(path: Path, alone: bool) -> dict[str, Array]:
    """The arrays of a file by name; only that called ``features`` where it may stand ``alone``."""
    listed = whosmat(path, appendmat=False)
    there = {name: (shape, kind) for name, shape, kind in listed}
    if len(there) < len(listed):
        raise SchemaError(f"{path} has several variables of one name: {listing(there)}")
    # one variable an image may be called so too
    if alone and "features" in there:
        _left_out([name for name in there if name != "features"], path)
        there = {"features": there["features"]}
    for name, (_, kind) in there.items():
        if not NUMBERS.fullmatch(kind):
            raise SchemaError(f"{path}: {name!r} is of MATLAB's class {kind!r}, not numbers")
    check_memory(8 * sum(math.prod(shape) for shape, _ in there.values()), str(path))
    # of a variable that it cannot read, scipy warns alone
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = loadmat(path, variable_names=list(there), mat_dtype=True, appendmat=False)
    return {name: floats(found[name], f"{path}: {name!r}") for name in there}


def _keys(variables: list[str], names: Sequence[str], path: Path) -> list[str]:
    """The variable of every image, by its name with or without the extension."""
    keys = [name if name in variables else IMAGE.sub("", name) for name in names]
    lacking = [name for name, key in zip(names, keys, strict=True) if key not in variables]
    unknown = sorted(set(variables) - set(keys))
    if lacking or unknown or len(set(keys)) < len(keys):
        raise SchemaError(
            f"{path} has one variable an image, and {len(variables)} variables for {len(names)} "
            f"images; without a variable: {listing(lacking) or 'none'}; without an image: "
            f"{listing(unknown) or 'none'}. MATLAB files cannot hold images that differ only in "
            "their extension, or whose names begin with an underscore"
        )
    return keys


def _mat73(path: Path) -> Array:
    """MATLAB 7.3 files are HDF5, with the dims in reverse order."""
    with open_hdf5(path) as opened:
        if "features" not in opened:
            raise SchemaError(f"{path} must hold 'features'; it has {listing(opened)}")
        # '#refs#' is where MATLAB keeps what is in cells
        _left_out([key for key in opened if key not in ("features", "#refs#")], path)
        lazy = _dataset(opened, "features", path)
    check_memory(int(lazy.nbytes), str(path))
    array: Array = lazy.compute(scheduler="synchronous")
    return array.T


OPEN: dict[str, Callable[[Path, Sequence[str]], Any]] = {
    ".npy": _npy,
    ".pt": _pt,
    ".txt": _txt,
    ".mat": _mat,
    ".hdf5": _hdf5,
    ".h5": _hdf5,
}
