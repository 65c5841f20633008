"""Foreign arrays as plain ones: one variable, flat coordinates, text as text, attrs as data."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import carried, text_labels
from xconverge.io.zarr.encoding import encoded
from xconverge.labels.coordinates import read, read_coordinates
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import numpy_dtype

OURS = ("model", "stimulus", "feature", "representation", "n_features", "n_repetitions")
"""Names that a representation set has a use for; a foreign coordinate of this name is renamed."""


def one_variable(
    data: object, variable: str | None, known: Sequence[str], what: str
) -> xr.DataArray:
    """The array of a Dataset that holds the data, with the attrs of both and 1D ones beside it."""
    if isinstance(data, xr.DataArray):
        if variable is not None and data.name != variable:
            raise SchemaError(
                f"{what} is one array, named {data.name!r}; variable={variable!r} chooses among "
                "those of a Dataset"
            )
        return data
    if not isinstance(data, xr.Dataset):
        raise TypeError(f"{what} must be an xarray.DataArray or Dataset, got {type(data).__name__}")
    name = variable if variable is not None else _the_variable(data, known, what)
    if name not in data.data_vars:
        raise SchemaError(
            f"{what} has no variable {name!r}; it has {listing(data.data_vars) or 'none'}"
        )
    dims = data[name].dims
    about = [
        n for n, v in data.data_vars.items() if n != name and v.ndim == 1 and v.dims[0] in dims
    ]
    array = data.set_coords(about)[name]
    return array.assign_attrs({**data.attrs, **array.attrs})


def _the_variable(data: xr.Dataset, known: Sequence[str], what: str) -> Hashable:
    wide = [name for name, array in data.data_vars.items() if array.ndim > 1]
    named = [name for name in wide if name in known]
    for found in (named, wide):
        if len(found) == 1:
            return found[0]
    variables = ", ".join(f"{n!r} {tuple(map(str, v.dims))}" for n, v in data.data_vars.items())
    raise SchemaError(
        f"{what} needs one variable of two or more dims, or variable='…' that names it; there is "
        f"{variables or 'none'}"
    )


def flat(array: xr.DataArray, needed: Collection[str] | None = None) -> xr.DataArray:
    """A plain DataArray: no MultiIndex, subclass or encoding; ``needed`` coordinates are there."""
    coords = {}
    for name, coord in array.coords.items():
        if isinstance(array.indexes.get(name), pd.MultiIndex) and name in array.dims:
            continue
        # an IndexVariable would bring its pandas index along, of whatever kind that is
        variable = coord.variable.to_base_variable()
        coords[name] = xr.Variable(variable.dims, variable.data, variable.attrs)
    # not array.copy(): BrainIO's DataArrays are a subclass that adds an index to whatever it makes
    data = array.variable.to_base_variable()
    values = data.data.astype(numpy_dtype(data.dtype), copy=False)
    plain = xr.DataArray(values, dims=data.dims, coords=coords, name=array.name)
    plain = read_coordinates(plain)
    needed = list(map(str, plain.dims)) if needed is None else needed
    found = carried({str(name): read(coord) for name, coord in plain.coords.items()}, needed)
    new = {
        name: (plain.coords[name].dims, values, plain_attrs(plain.coords[name].attrs))
        for name, values in found.items()
    }
    plain = plain.drop_vars(list(plain.coords)).assign_coords(new)
    plain.attrs = plain_attrs(array.attrs)
    return plain


def listed(names: str | Sequence[str] | None) -> list[str]:
    """The names, of which one may be given alone, or none."""
    return [names] if isinstance(names, str) else list(names or ())


def known_name(
    array: xr.DataArray, dim: str, given: Any, known: Sequence[str], argument: str, how: str = ""
) -> Any:
    """What says which stimulus was shown: as ``given``, or those known that are there and agree."""
    if given is not None:
        return given
    there = on_dim(array, dim)
    found = [name for name in known if name in there]
    labels = [joined_text(array, name, dim, argument).tolist() for name in found]
    if not found or labels != labels[:1] * len(labels):
        told = f"{listing(found)} on {dim!r} differ, and each" if found else "no coordinate"
        raise SchemaError(
            f"{told} may say which stimulus was shown; name the one on {dim!r} that does with "
            f"{argument}='…'{how}: there is {listing([n for n in there if n != dim], 30) or 'none'}"
        )
    return found[0]


def joined_text(array: xr.DataArray, names: str | Sequence[str], dim: str, what: str) -> Any:
    """Text of one coordinate on ``dim``, or of several with ``/`` between: ``monkey1/IT``."""
    names = [free_name(array, name) for name in listed(names)]
    there = on_dim(array, dim)
    lacking = [name for name in names if name not in there]
    if lacking or not names:
        raise SchemaError(
            f"{what} must name coordinates on {dim!r}, and {listing(lacking) or 'none'} is not "
            f"one; there is {listing(there, 30) or 'none'}"
        )
    parts = [text_labels(array.coords[name].values, f"{name!r}") for name in names]
    joined = np.empty(len(parts[0]), object)
    joined[:] = ["/".join(part) for part in zip(*parts, strict=True)]
    if len(parts) > 1 and len(set(joined)) < len(set(zip(*parts, strict=True))):
        raise SchemaError(f"{what}={names} gives different values the same name, as they hold '/'")
    return joined


def on_dim(array: xr.DataArray, dim: str) -> list[str]:
    """Names of the coordinates of a dim."""
    return [str(name) for name, coord in array.coords.items() if coord.dims == (dim,)]


def free_our_names(array: xr.DataArray, keep: Iterable[str] = ()) -> xr.DataArray:
    """Coordinates that have one of our names are called ``source_model`` and so on."""
    taken = [n for n in OURS if n in array.coords and n not in {*keep, *array.dims}]
    both = [name for name in taken if f"source_{name}" in array.coords]
    if both:
        raise SchemaError(
            f"there are coordinates {listing(both)} and others of these names with 'source_' "
            "before them, which they would be called; .rename one of each"
        )
    return array.rename({name: f"source_{name}" for name in taken})


def free_name(array: xr.DataArray, name: str) -> str:
    """What `free_our_names` calls this coordinate."""
    freed = name in OURS and name not in array.coords and f"source_{name}" in array.coords
    return f"source_{name}" if freed else name


def rename_dim(array: xr.DataArray, old: str, new: str) -> xr.DataArray:
    """Another name for a dim; its labels stay, as a coordinate that is no index."""
    labels = array.coords[old].variable.to_base_variable() if old in array.coords else None
    array = array.drop_vars(old, errors="ignore")
    if old != new:
        if new in array.dims:
            raise SchemaError(f"there is a dim {new!r} beside {old!r}; .rename it first")
        array = array.rename({old: new})
    if labels is None:
        return array
    name = old if old != new else f"{new}_label"
    return array.assign_coords({name: (new, labels.values, labels.attrs)})


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """The attrs that are text, numbers, booleans, None, or lists and dicts of them."""
    kept: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        try:
            kept.update(encoded(xr.Dataset(attrs={key: value})).attrs)
        except SchemaError:
            continue
    return {key: value for key, value in kept.items() if isinstance(key, str)}
