"""Sets of several subjects, or of their regions, become one set with a dim for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import filled
from xconverge.io.zarr.encoding import NAME
from xconverge.labels.checks import widths
from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.stack import join_stimuli
from xconverge.labels.text import label_text

Join = Literal["exact", "inner", "outer"]
Place = tuple[str, ...]
COUNTS = "n_repetitions"


def by_place(given: Any, dims: Sequence[str], what: str) -> dict[Place, Any]:
    """A dict by one label for each dim, ``"s1"`` or ``("s1", "V1")``; all else is of no place."""
    if not isinstance(given, Mapping):
        return {(): given}
    keys = list(given)
    parts = [key if isinstance(key, tuple) else (key,) for key in keys]
    lengths = {len(part) for part in parts}
    if not parts or len(lengths) > 1 or not lengths <= set(range(1, len(dims) + 1)):
        raise SchemaError(
            f"{what} must have keys of one kind, a {dims[0]} each or ({', '.join(dims)}), got "
            f"{listing(keys) or 'none'}"
        )
    columns = [label_text(column, what, " (its keys)") for column in zip(*parts, strict=True)]
    places = list(zip(*columns, strict=True))
    if len(set(places)) < len(places):
        raise SchemaError(f"the keys of {what} are not unique as text: {listing(keys)}")
    return dict(zip(places, given.values(), strict=True))


def joined(
    sets: Mapping[Place, xr.DataArray], dims: Sequence[str], join: Join, what: str
) -> xr.DataArray:
    """Arrays (stimulus, feature, …), one a place, as one set (*dims, …), NaN where one lacks."""
    sets = {
        place: array.isel(feature=slice(int(widths(array).max()))) for place, array in sets.items()
    }
    indexes = _indexes(sets, join, what)
    dims = dims[: len(next(iter(sets)))]
    labels = [list(dict.fromkeys(place[i] for place in sets)) for i in range(len(dims))]
    width = len(indexes["feature"])
    padded = {
        place: array.drop_vars([n for n in array.coords if n not in array.indexes])
        .reindex({dim: indexes[str(dim)] for dim in array.indexes})
        .pad(feature=(0, width - array.sizes["feature"]), constant_values=np.nan)
        for place, array in sets.items()
    }
    nothing = xr.full_like(next(iter(padded.values())), np.nan)
    grid = [padded.get(place, nothing) for place in product(*labels)]
    for dim, names in reversed(list(zip(dims, labels, strict=True))):
        index = pd.Index(names, name=dim, dtype=object)
        grid = [
            xr.concat(
                grid[i : i + len(names)],
                index,
                coords="minimal",
                compat="override",
                join="exact",
                combine_attrs="drop_conflicts",
            )
            for i in range(0, len(grid), len(names))
        ]
    (whole,) = grid
    whole = whole.assign_coords(_coordinates(sets, dims, labels, indexes))
    found = _widths(sets, labels, width)
    if (found < width).any() or any("n_features" in array.coords for array in sets.values()):
        whole = whole.assign_coords(n_features=(dims, found))
    return whole.transpose(*dims, "stimulus", "feature", ...).rename(NAME)


def _indexes(sets: Mapping[Place, xr.DataArray], join: Join, what: str) -> dict[str, pd.Index]:
    """The labels of all dims: stimuli joined, repetitions of all, others equal; or positions."""
    named = {"/".join(place[1:] or place): array for place, array in sets.items()}
    first = next(iter(named.values()))
    other = [name for name, array in named.items() if set(array.dims) != set(first.dims)]
    if other:
        raise SchemaError(
            f"{what} has other dims for {listing(other)} than for {next(iter(named))!r}, "
            f"{list(map(str, first.dims))}; bring them to the same ones first"
        )
    indexes: dict[str, pd.Index] = {
        str(dim): pd.RangeIndex(size) for dim, size in first.sizes.items()
    }
    indexes["feature"] = pd.RangeIndex(max(array.sizes["feature"] for array in sets.values()))
    if not len(indexes["feature"]):
        raise SchemaError(f"{what} has no features: 'feature' has size 0")
    indexes["stimulus"] = join_stimuli({repr(name): s for name, s in named.items()}, join)
    if not len(indexes["stimulus"]):
        raise SchemaError(f"{what} shares no stimulus between {listing(named)}")
    for dim in first.indexes:
        found = [array.indexes[dim] for array in named.values()]
        if dim == "repetition":
            indexes[dim] = _all_labels(found)
        elif dim != "stimulus":
            other = [name for name, i in zip(named, found, strict=True) if not i.equals(found[0])]
            if other:
                raise SchemaError(
                    f"{what} has other labels on {dim!r} for {listing(other)} than for "
                    f"{next(iter(named))!r}; bring them to the same ones first"
                )
            indexes[str(dim)] = found[0]
    return indexes


def _all_labels(indexes: Sequence[pd.Index]) -> pd.Index:
    """The repetitions of all, in their order."""
    whole: pd.Index = max(indexes, key=len)
    for index in indexes:
        whole = whole.append(index[~index.isin(whole)])
    # counted in one and named in another, they have no order between them
    return whole.sort_values() if len(set(map(type, whole))) == 1 else whole


def _widths(sets: Mapping[Place, xr.DataArray], labels: Sequence[Sequence[str]], width: int) -> Any:
    """Width of each place, that of the array where there was nothing."""
    real = np.full([*map(len, labels)], width, np.int64)
    for place, array in sets.items():
        real[_at(place, labels)] = array.sizes["feature"]
    return real


def _coordinates(
    sets: Mapping[Place, xr.DataArray],
    dims: Sequence[str],
    labels: Sequence[Sequence[str]],
    indexes: Mapping[str, pd.Index],
) -> dict[str, xr.Variable]:
    """Coordinates of all sets, on their own dims where no two places differ."""
    names = dict.fromkeys(str(n) for set_ in sets.values() for n in set_.coords)
    found = {}
    for name in names:
        if name in indexes or name == "n_features":
            continue
        coords = {place: s.coords[name] for place, s in sets.items() if name in s.coords}
        # what no one says of the features and trials of a place is not that of another
        own = "feature" in next(iter(coords.values())).dims or name == COUNTS
        if own and len(coords) < len(sets):
            continue
        found[name] = _coordinate(coords, dims, labels, indexes)
    return found


def _coordinate(
    coords: Mapping[Place, xr.DataArray],
    dims: Sequence[str],
    labels: Sequence[Sequence[str]],
    indexes: Mapping[str, pd.Index],
) -> xr.Variable:
    """One coordinate of all places, over those of their dims along which it differs."""
    if len(labels[0]) > 1 and all(coord.dims == ("feature",) for coord in coords.values()):
        coords = _of_models(coords)
    # of one trial a stimulus here, of several there: the longer of both
    own = [str(dim) for dim in max((coord.dims for coord in coords.values()), key=len)]
    counts = all(coord.name == COUNTS for coord in coords.values())
    # elsewhere, a place that lacks a value does not differ from one that has it
    strict = counts or "repetition" in own
    # where there was nothing, nothing was counted
    there = product(*labels) if counts else coords
    # positions in all values, -1 for those that a place lacks, -2 where there is no such place
    where = np.full((*map(len, labels), *(len(indexes[dim]) for dim in own)), -2)
    for place in there:
        where[_at(place, labels)] = -1
    parts: list[Any] = []
    for place, coord in coords.items():
        here = xr.DataArray(
            np.arange(coord.size).reshape(coord.shape) + sum(map(len, parts)), dims=coord.dims
        )
        where[_at(place, labels)] = _aligned(here, coord, own, indexes)
        parts.append(np.asarray(read(coord)).reshape(-1))
    values = parts[0] if len(parts) == 1 else np.concatenate(_one_kind(parts))
    codes = np.append(pd.factorize(values)[0], [-2, -1])[where]
    kept: list[str] = []
    for dim in reversed(dims):
        axis = dims.index(dim)
        most = codes.max(axis=axis, keepdims=True)
        lenient = not (strict or (dim == "model" and "feature" in own))
        same = ((codes == most) | (codes == -2) | ((codes == -1) & lenient)).all()
        # what is said of a model as a whole stays with it
        if same and (own or dim != "model"):
            where, codes = where.max(axis=axis), codes.max(axis=axis)
        else:
            kept.insert(0, dim)
    attrs = next(iter(coords.values())).attrs
    made = filled(values, np.maximum(where, -1))
    if counts:
        made = np.nan_to_num(made).astype(np.int64)
    return xr.Variable((*kept, *own), made, attrs)


def _of_models(coords: Mapping[Place, xr.DataArray]) -> Mapping[Place, xr.DataArray]:
    """A coordinate of features that has one value in each model, and models differ, as that."""
    values = [pd.Series(read(coord)) for coord in coords.values()]
    if all(one.equals(values[0]) for one in values) or any(len(one.unique()) > 1 for one in values):
        return coords
    return {place: coord[0] for place, coord in coords.items()}


def _at(place: Place, labels: Sequence[Sequence[str]]) -> tuple[int, ...]:
    return tuple(names.index(part) for names, part in zip(labels, place, strict=True))


def _aligned(
    here: xr.DataArray, coord: xr.DataArray, own: Sequence[Any], indexes: Mapping[str, pd.Index]
) -> Any:
    """Positions over the labels of all places, -1 where one lacks them."""
    here = here.assign_coords({d: coord.indexes[d] for d in own if d in coord.indexes})
    for dim in own:
        if dim in here.indexes:
            here = here.reindex({dim: indexes[dim]}, fill_value=-1)
        elif dim in here.dims:
            here = here.pad({dim: (0, len(indexes[dim]) - here.sizes[dim])}, constant_values=-1)
        else:
            here = here.expand_dims({dim: len(indexes[dim])})
    return here.transpose(*own).values


def _one_kind(parts: list[Any]) -> list[Any]:
    """Values side by side; NumPy would make text of numbers beside it."""
    kinds = {part.dtype.kind in "biuf" for part in parts}
    return [part.astype(object) for part in parts] if len(kinds) > 1 else parts
