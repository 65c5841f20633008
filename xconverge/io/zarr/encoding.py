"""What Zarr can hold: text as strings, attrs as JSON, nothing that comes back as another number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.checks import are_text, check_representations, check_text, widths
from xconverge.labels.coordinates import read_coordinates
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import float_array

NAME = "representation"
TAKEN = ("incomplete_models", "neighbor_graphs", "rdms")
"""Groups of a store that hold something else."""
DIMS = ("model", "stimulus", "feature")
TEXT = np.dtypes.StringDType()
"""A Zarr ``string``; numpy's ``<U`` has no stable Zarr format."""
RESERVED = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "coordinates")
"""xarray gives these attrs a meaning of its own, and would change the numbers by it."""
RESERVED_FOR_TIMES = ("units", "calendar", "dtype")


def modality_of(array: xr.DataArray, modality: str | None) -> str:
    """Name of the group: as given, or that of the attrs."""
    name = array.attrs.get("modality") if modality is None else modality
    if name in TAKEN:
        raise SchemaError(f"modality {name!r} is a name that the store needs; choose another")
    if not isinstance(name, str) or not re.fullmatch(r"(?![.]|__)[^/\\]+", name):
        raise SchemaError(
            f"modality= names a group of the store: text without '/', that does not start with "
            f"'.' or '__'; got {name!r}"
        )
    return name


def encoded_set(reps: xr.DataArray) -> xr.DataArray:
    """The representation set as the store has it, checked but for its values."""
    array = read_coordinates(check_representations(reps))
    for dim in ("model", "stimulus"):
        check_text(array, dim)
    widths(array)
    if NAME in array.coords or NAME in array.dims:
        raise SchemaError(
            f"reps has a coordinate or dim named {NAME!r}, a name that the store needs; .rename "
            "it, or drop it"
        )
    if array.dtype.kind != "f":
        # missing stimuli and padding are NaN, which integers lack
        array = float_array(array, "reps", np.result_type(array.dtype, np.float16))
    return encoded(array.to_dataset(name=NAME))[NAME]


def encoded(dataset: xr.Dataset, where: str = "") -> xr.Dataset:
    """Text as Zarr strings, attrs as JSON, no encoding; what cannot be so is refused by name."""
    for name, index in dataset.xindexes.items():
        if isinstance(index, xr.indexes.PandasMultiIndex):
            raise SchemaError(
                f"{where}{name!r} belongs to a MultiIndex, which Zarr cannot hold; use "
                f".reset_index({index.dim!r}) first"
            )
    new = {}
    for name, variable in dataset.variables.items():
        if not isinstance(name, str) or "/" in name:
            raise SchemaError(f"{where}names must be text without '/', got {name!r}; .rename it")
        new[name] = xr.Variable(
            variable.dims,
            _encoded_values(name, variable, dataset, where),
            _encoded_attrs(variable.attrs, f"{where}{name}.attrs", variable.dtype.kind in "Mm"),
        )
    return xr.Dataset(
        {name: variable for name, variable in new.items() if name in dataset.data_vars},
        xr.Coordinates(
            {name: variable for name, variable in new.items() if name in dataset.coords},
            {name: _encoded_index(index, new[name]) for name, index in dataset.xindexes.items()},
        ),
        _encoded_attrs(dataset.attrs, f"{where}attrs"),
    )


def _encoded_index(index: xr.Index, variable: xr.Variable) -> xr.Index:
    """The index of a coordinate, which knows as what the labels are stored."""
    if variable.dtype.kind != "T" or not isinstance(index, xr.indexes.PandasIndex):
        return index
    return xr.indexes.PandasIndex(index.index, index.dim, coord_dtype=TEXT)


def _encoded_values(name: str, variable: xr.Variable, dataset: xr.Dataset, where: str) -> Any:
    dtype = variable.dtype
    # g and G: long doubles, of which Zarr has no format
    if isinstance(dtype, np.dtype) and dtype.kind in "biufcMm" and dtype.char not in "gG":
        _check_times(name, variable, dataset, where)
        return variable.data
    if isinstance(dtype, np.dtype) and dtype.kind not in "OUT":
        raise SchemaError(
            f"{where}{name!r} has the dtype {dtype}, which Zarr cannot hold; "
            ".astype(float) or .astype(str)"
        )
    if isinstance(dtype, np.dtype):
        values = np.asarray(variable.values)
    else:
        # one by one: .values of a column of pandas would round numbers, and lose the zone of times
        values = np.asarray(variable.to_base_variable().to_index().astype(object), dtype=object)
    if are_text(values.ravel().tolist()):
        return values.astype(TEXT)
    flat = pd.Series(values.ravel(), dtype=object)
    missing = flat.isna().to_numpy()
    there = flat[~missing]
    if are_text(there):
        raise SchemaError(
            f"{where}{name!r} is text and is missing for "
            f"{labels_where(missing.reshape(values.shape), variable, dataset)}; "
            f"fill it first, with .assign_coords({name}=….fillna('')) for example"
        )
    # objects that are all numbers, or all times
    typed = flat.infer_objects().to_numpy()
    if typed.dtype.kind in "biufcMm":
        return typed.reshape(values.shape)
    raise SchemaError(
        f"{where}{name!r} holds {listing(sorted({type(value).__name__ for value in there}))}"
        f"{' and missing values' if missing.any() else ''}, which Zarr cannot hold; "
        "make it text with .astype(str), or one kind of number"
    )


def _check_times(name: str, variable: xr.Variable, dataset: xr.Dataset, where: str) -> None:
    """Xarray reads times back in nanoseconds, which reach from 1678 to 2262."""
    if variable.dtype.kind != "M" or variable.chunks is not None:
        return
    years = variable.values.astype("M8[Y]")
    far = (years < np.datetime64("1678")) | (years > np.datetime64("2261"))
    if far.any():
        raise SchemaError(
            f"{where}{name!r} has times before 1678 or after 2261, which xarray cannot read back: "
            f"{labels_where(far, variable, dataset)}; make it text with .astype(str)"
        )


def labels_where(mask: Any, variable: xr.Variable, dataset: xr.Dataset) -> str:
    """The labels at which a mask over a variable is true: ``stimulus 'cat', 'dog'``."""
    if not variable.dims:
        return "its one value"
    where = {str(d): np.unique(at) for d, at in zip(variable.dims, np.nonzero(mask), strict=True)}
    return "; ".join(
        f"{dim} {listing(dataset.indexes[dim][at] if dim in dataset.indexes else at)}"
        for dim, at in where.items()
    )


def _encoded_attrs(attrs: Mapping[Any, Any], where: str, times: bool = False) -> dict[str, Any]:
    reserved = [key for key in (*RESERVED, *(RESERVED_FOR_TIMES if times else ())) if key in attrs]
    if reserved:
        raise SchemaError(
            f"{where} has {listing(reserved)}, which xarray would act upon when the store is read; "
            "rename the attribute, or drop it"
        )
    return dict(_plain(attrs, where))


def _plain(value: Any, where: str) -> Any:
    """The value as JSON has it: numpy scalars as numbers, arrays and tuples as lists."""
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufUTO":
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise SchemaError(
        f"{where} holds {str(value)[:60]!r} ({type(value).__name__}), which Zarr cannot hold; make "
        "it text, a number, a list, or a dict with text keys, or drop it"
    )
