"""Arrays of single models become one representation set, with all that is known of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import free_name, joined_text, rename_dim
from xconverge.io.formats._labels import missing_value
from xconverge.io.formats._places import COUNTS, all_labels, coordinate
from xconverge.io.formats._sets import checked
from xconverge.labels.messages import SchemaError
from xconverge.labels.stack import stack_models


def models_of(
    array: xr.DataArray,
    dim: str,
    model: str | None,
    by: str | Sequence[str] | None,
    what: str,
) -> dict[str, xr.DataArray]:
    """One array (stimulus, feature, …) for the model, or for each value of coordinates on ``dim``.

    Models are in order of appearance, the features of each in the order of the array.
    """
    if by is None:
        if model is None:
            raise SchemaError(
                f"{what} does not say what it is called; name it with model='…', or make a model "
                f"of each value of a coordinate on {dim!r} with by='…'"
            )
        return {str(model): rename_dim(array, dim, "feature")}
    if model is not None:
        raise ValueError("model= names the only model and by= makes several; give one of them")
    numbers, names = pd.factorize(joined_text(array, by, dim, "by"))
    by = [free_name(array, key) for key in ([by] if isinstance(by, str) else by)]
    models = {}
    for i, name in enumerate(names):
        part = array.isel({dim: np.flatnonzero(numbers == i)})
        shared = {key: part.coords[key].values[0] for key in by}
        models[str(name)] = rename_dim(part.drop_vars(by).assign_coords(shared), dim, "feature")
    return models


def stacked(
    models: Mapping[str, xr.DataArray],
    modality: str | None,
    *,
    what: str,
    join: Literal["exact", "outer"] = "exact",
) -> xr.DataArray:
    """The set that `side_by_side` makes, checked."""
    return checked(side_by_side(models, modality, join), what)


def side_by_side(
    models: Mapping[str, xr.DataArray],
    modality: str | None,
    join: Literal["exact", "outer"] = "exact",
) -> xr.DataArray:
    """A representation set (model, stimulus, feature, …) of arrays (stimulus, feature, …).

    Coordinates on ``feature`` stay there if all models have the same; those with one value in
    each model go to ``model``; others are over (model, feature), padded with NaN or ``""``.
    """
    arrays = list(models.values())
    first = arrays[0]
    # stack_models keeps what is on the stimuli alone, and has them agree on that
    of_trials: dict[str, dict[tuple[str, ...], xr.DataArray]] = {
        str(name): {(key,): model.coords[name] for key, model in models.items()}
        for name, coord in first.coords.items()
        if (coord.ndim > 1 or name == COUNTS)
        and "stimulus" in coord.dims
        and "feature" not in coord.dims
        and all(name in a.coords and a.coords[name].dims == coord.dims for a in arrays)
    }
    bare = {name: array.drop_vars(list(of_trials)) for name, array in models.items()}
    if all("repetition" in array.indexes for array in arrays):
        whole = all_labels([array.indexes["repetition"] for array in arrays])
        bare = {
            name: array
            if array.indexes["repetition"].equals(whole)
            else array.drop_vars(
                [n for n, c in array.coords.items() if "repetition" in c.dims and n not in c.dims]
            ).reindex(repetition=whole)
            for name, array in bare.items()
        }
    set_ = stack_models(bare, join=join, modality=modality)
    if len(set(set_.n_features.values)) == 1 and "n_features" not in first.coords:
        set_ = set_.drop_vars("n_features")
    about = {
        name: coord.variable
        for name, coord in bare[next(iter(bare))].coords.items()
        if coord.dims and not {"stimulus", "feature"} & set(coord.dims) and name not in set_.coords
    }
    indexes = {str(dim): index for dim, index in set_.indexes.items()}
    for name, coords in of_trials.items():
        about[name] = coordinate(coords, ["model"], [list(models)], indexes)
    names = [
        name
        for name, coord in first.coords.items()
        if coord.dims == ("feature",)
        and all(name in a.coords and a.coords[name].dims == ("feature",) for a in arrays)
    ]
    width = set_.sizes["feature"]
    # stack_models drops coordinates of features: models have different ones
    about.update({name: _of_features([a.coords[name] for a in arrays], width) for name in names})
    return set_.assign_coords(about).transpose("model", "stimulus", "feature", ...)


def _of_features(coords: Sequence[xr.DataArray], width: int) -> xr.Variable:
    """One coordinate of the features of every model."""
    values = [coord.values for coord in coords]
    attrs = coords[0].attrs
    if all(pd.Index(v).equals(pd.Index(values[0])) for v in values):
        return xr.Variable("feature", values[0], attrs)
    if all(len(pd.unique(pd.Series(v))) == 1 for v in values):
        return xr.Variable("model", _together([v[:1] for v in values])[:, 0], attrs)
    return xr.Variable(("model", "feature"), _together(values, width), attrs)


def _together(values: Sequence[Any], width: int = 1) -> Any:
    """Rows of one kind, each padded to ``width``."""
    kinds = {v.dtype.kind for v in values}
    if kinds <= set("biuf") or kinds in ({"M"}, {"m"}):
        dtype = np.result_type(*values)
        if dtype.kind in "biu" and any(len(v) < width for v in values):
            dtype = np.dtype(np.float64)
    else:
        dtype = np.dtype(object)
    rows = np.full((len(values), width), missing_value(dtype), dtype)
    for row, value in zip(rows, values, strict=True):
        row[: len(value)] = value
    return rows
