"""What Datasets and RDMs of rsatoolbox share: descriptors, and files of HDF5 with no pickle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._hdf5 import open_hdf5
from xconverge.io.formats._labels import as_text, carried, decoded, text_labels
from xconverge.io.formats._needs import needs
from xconverge.labels.messages import SchemaError, listing

VLEN_TEXT = np.dtype("O", metadata={"vlen": str})
"""How h5py is told that objects are text in UTF-8."""


def coordinates(
    table: Mapping[str, Any] | None, dim: str, size: int, needed: Collection[str]
) -> dict[str, Any]:
    """The descriptors that have one value for each label of a dim."""
    columns = {str(key): _objects(value) for key, value in (table or {}).items()}
    fitting = {key: values for key, values in columns.items() if values.shape == (size,)}
    found = carried(fitting, needed, "descriptor ")
    return {key: (dim, values) for key, values in found.items()}


def _objects(value: Any) -> Any:
    """An array of the values, of numbers or of objects; ragged ones have one dim."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str | bytes):
        value = [value]
    if not hasattr(value, "__len__"):
        return np.asarray(value)
    values = np.empty(len(value), object)
    for i, item in enumerate(value):
        values[i] = item
    return values


def scalar(value: Any) -> Any:
    """A descriptor of the whole as text, number or boolean; None if it is none of these."""
    if value is None or np.ndim(value) != 0:
        return None
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    with suppress(SchemaError):
        found = decoded(_objects([value[()] if isinstance(value, np.ndarray) else value]), "")[0]
        value = as_text(found, "") if isinstance(found, np.datetime64 | np.timedelta64) else found
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | bool | int | float) else None


def check_no_other(array: xr.DataArray, known: set[str], what: str, cure: str) -> None:
    """No dims but these, of which rsatoolbox has objects."""
    other = [dim for dim in array.dims if dim not in known]
    if other:
        raise SchemaError(
            f"{what} has the dims {listing(other)} too, which rsatoolbox has no place for; select "
            f"from them, or average them ({cure})"
        )


def descriptors_of(array: xr.DataArray, dim: str) -> dict[str, Any]:
    """Coordinates of a dim as rsatoolbox has them: numbers, ASCII text, or text as objects."""
    coords = {name: coord for name, coord in array.coords.items() if coord.dims == (dim,)}
    slashed = [name for name in coords if "/" in str(name)]
    if slashed:
        raise SchemaError(f"names of descriptors cannot hold '/': {listing(slashed)}; .rename them")
    # labels of features come back as a coordinate: our dim has none
    names = {"feature": "feature_label"}
    return {names.get(str(n), str(n)): _descriptor(c.values, repr(n)) for n, c in coords.items()}


def _descriptor(values: Any, what: str) -> Any:
    if values.dtype.kind in "biuf":
        return values
    texts = text_labels(values, what)
    if all(text.isascii() and text for text in texts):
        return texts.astype(str)
    return np.array(texts.tolist(), dtype=VLEN_TEXT)


def load(file: Path, tables: Collection[str]) -> SimpleNamespace:
    """The object of rsatoolbox that a file holds, with these tables of descriptors."""
    with file.open("rb") as handle:
        pickled = handle.read(1) == b"\x80" or file.suffix in (".pkl", ".pickle")
    if pickled and not needs("h5py", "HDF5").is_hdf5(file):
        raise SchemaError(
            f"{file} is a pickle, which can run any program when it is read, and is not read "
            "here. If you trust it, load it with rsatoolbox and .save(…, file_type='hdf5')"
        )
    with open_hdf5(file) as opened:
        found = _group(opened)
    return SimpleNamespace(**found | {name: _table_of(found, name) for name in tables})


def _group(group: Any) -> dict[str, Any]:
    h5py = needs("h5py", "HDF5")
    found: dict[str, Any] = {}
    for key, item in group.items():
        if isinstance(item, h5py.Group):
            found[key] = _group(item)
        elif item.shape is not None:
            found[key] = item[()]
    for key in group.attrs:
        value = group.attrs[key]
        found[key] = None if isinstance(value, h5py.Empty) else value
    return found


def _table_of(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Descriptors; a list that rsatoolbox wrote as a group, item by item, is a list again."""
    table = data.get(name) or {}
    if not isinstance(table, Mapping):
        raise SchemaError(f"{name} must be a group of descriptors")
    return {
        key: [value[k] for k in sorted(value, key=int)] if isinstance(value, Mapping) else value
        for key, value in table.items()
    }
