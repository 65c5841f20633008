"""Labelled arrays as xarray and Zarr can hold them: text labels, plain coordinates.

pandas has columns that xarray cannot take apart (text of Arrow, categories, nullable numbers), and
NumPy has bytes orders and objects that Zarr cannot write. Whoever takes a set brings it through
`plain` first; what cannot be made plain without a guess is refused by name.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.text import label_text

Set = TypeVar("Set", xr.DataArray, xr.Dataset)
SIDES = ("_2", "_a", "_b")
"""What repeated dims and the sides of a result end in."""

CURES = {
    "bytes": "make it text: numpy.char.decode(values, 'utf-8')",
    "boolean": "fill what is missing, or make it numbers with .astype(float)",
    "datetime": "use times without a zone: .dt.tz_convert('UTC').dt.tz_localize(None)",
    "integer": "whole numbers beyond 2**53 beside missing ones would be rounded; make it text",
}


def plain(array: Set, what: str) -> Set:
    """The array with text on ``model`` and ``stimulus`` and coordinates of plain kinds.

    Untouched where all is plain already. Reads no lazy coordinate.
    """
    multi = _of_multi_index(array)
    new = {}
    for name, variable in array.coords.variables.items():
        if name in multi:
            continue
        if name in array.dims and _holds_labels(str(name)):
            found = _labels(array.indexes[name], str(name), variable, what)
        else:
            found = _values(variable, f"{what}: {name!r}")
        if found is not None:
            new[name] = found
    if isinstance(array, xr.DataArray) and not isinstance(array.dtype, np.dtype):
        # numbers of pandas, nullable ones say, that came by xarray.DataArray(series)
        numbers = _values(array.variable, what)
        assert numbers is not None
        array = array.copy(data=numbers.data)
    return array.assign_coords(new) if new else array


def _of_multi_index(array: xr.DataArray | xr.Dataset) -> set[Any]:
    """Names that belong to a MultiIndex, which `check_labels` refuses with its own words."""
    kind = xr.indexes.PandasMultiIndex
    return {name for name, index in array.xindexes.items() if isinstance(index, kind)}


def _holds_labels(dim: str) -> bool:
    """Whether sets are joined on this dim."""
    return dim in ("model", "stimulus") or (
        dim.endswith(SIDES) and dim[:-2] in ("model", "stimulus")
    )


def _labels(index: pd.Index, dim: str, variable: xr.Variable, what: str) -> xr.Variable | None:
    """Labels of a dim as text, None if they are."""
    if not len(index) or (
        # known to pandas once it was asked, so that checks in a row are cheap
        index.inferred_type == "string"
        and isinstance(variable.dtype, np.dtype)
        and variable.dtype.isnative
        and variable.dtype.kind != "T"
    ):
        return None
    return xr.Variable(dim, label_text(index, what, f" on {dim!r}"), variable.attrs)


def _values(variable: xr.Variable, who: str) -> xr.Variable | None:
    """A coordinate as plain numbers, times or text, None if it is."""
    dtype: Any = variable.dtype
    numpy = isinstance(dtype, np.dtype)
    if numpy and dtype.kind in "biufcMmU" and dtype.isnative:
        return None
    variable = variable.to_base_variable()
    if numpy and dtype.kind in "biufcMmU":
        return variable.astype(dtype.newbyteorder("="))
    if numpy and dtype.kind == "T":
        return variable.astype(object)
    if numpy and dtype.kind != "O":
        raise _refusal(who, "bytes" if dtype.kind == "S" else str(dtype))
    if not numpy and not variable.ndim:
        # xarray 2026.9 makes an array of no length of it, and pandas crashes reading that
        raise SchemaError(
            f"{who} is one value of a pandas column ({dtype}), which xarray cannot hold; make the "
            "column .astype(object) before selecting from it, or .drop_vars it"
        )
    if variable.chunks is not None:
        return None
    given = read(xr.DataArray(variable))
    found = _of_objects(given.reshape(-1), who)
    if numpy and found is None:
        return None
    values = given if found is None else found.reshape(given.shape)
    return xr.Variable(variable.dims, values, variable.attrs)


def _of_objects(values: Any, who: str) -> Any:
    """Objects as numbers or times if they all are, None if they are text; text may be missing."""
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind == "string":
        return None
    kind = pd.api.types.infer_dtype(values, skipna=True)
    missing = pd.isna(values)
    if kind in ("string", "empty"):
        # pandas.NA is neither equal to anything nor different from it
        odd = np.array([value is pd.NA for value in values])
        return np.where(odd, np.nan, values) if odd.any() else None
    if kind in ("floating", "mixed-integer-float") or (kind == "integer" and missing.any()):
        floats = np.where(missing, np.nan, values).astype(np.float64)
        if (floats[~missing].astype(object) == values[~missing]).all():
            return floats
    if kind == "date":
        return np.array([None if no else v for v, no in zip(values, missing, strict=True)], "M8[s]")
    if kind in ("integer", "datetime", "datetime64", "timedelta", "timedelta64") or (
        kind == "boolean" and not missing.any()
    ):
        typed = pd.Series(values, dtype=object).infer_objects().to_numpy()
        if typed.dtype.kind in "biuMm":
            return typed
    raise _refusal(who, kind, values)


def _refusal(who: str, kind: str, values: Any = None) -> SchemaError:
    """That values are of a kind that has no place, and what to do."""
    there = [] if values is None else values[~pd.isna(values)]
    found = f"has the dtype {kind}"
    if values is not None:
        found = f"holds {listing(sorted({type(value).__name__ for value in there}))}"
        found += " and missing values" if len(there) < len(values) else ""
    cure = CURES.get(kind, "make it text with .astype(str), or numbers of one kind")
    return SchemaError(f"{who} {found}, which xarray or Zarr cannot hold; {cure}")


def of_series(series: Any, dim: str, what: str) -> xr.DataArray:
    """A pandas Series as an array over a dim: its index holds the labels."""
    if is_default(series.index):
        raise SchemaError(
            f"{what} is a Series without labels (its index counts from 0); give them with "
            f".set_axis([…]), they are those of {dim!r}"
        )
    return xr.DataArray(
        np.asarray(series), {dim: label_text(series.index, what)}, (dim,), series.name
    )


def is_default(index: pd.Index) -> bool:
    """Whether an index is the one that pandas counts out where none is given."""
    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1
