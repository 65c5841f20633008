"""Arrays of single models become one representation set, with all that is known of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.interop._flat import free_name, joined_text, rename_dim
from xconverge.schema import SchemaError, listing, validate, widths
from xconverge.stack import stack_models


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
    """A representation set (model, stimulus, feature, …) of arrays (stimulus, feature, …).

    Coordinates on ``feature`` stay there if all models have the same; those with one value in
    each model go to ``model``; others are over (model, feature), padded with NaN or ``""``.
    """
    set_ = stack_models(models, join=join, modality=modality)
    arrays = list(models.values())
    if len(set(set_.n_features.values)) == 1 and "n_features" not in arrays[0].coords:
        set_ = set_.drop_vars("n_features")
    first = arrays[0]
    about = {
        name: coord.variable
        for name, coord in first.coords.items()
        if coord.dims and not {"stimulus", "feature"} & set(coord.dims) and name not in set_.coords
    }
    names = [
        name
        for name, coord in first.coords.items()
        if coord.dims == ("feature",)
        and all(name in a.coords and a.coords[name].dims == ("feature",) for a in arrays)
    ]
    width = set_.sizes["feature"]
    about.update({name: _of_features([a.coords[name] for a in arrays], width) for name in names})
    set_ = set_.assign_coords(about).transpose("model", "stimulus", "feature", ...)
    return checked(set_, what)


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
    if all(v.dtype.kind in "biuf" for v in values):
        dtype = np.result_type(*values)
        ragged = any(len(v) < width for v in values)
        dtype = dtype if dtype.kind == "f" or not ragged else np.dtype(np.float64)
        fill: Any = np.nan if dtype.kind == "f" else 0
    elif all(v.dtype.kind == "M" for v in values):
        dtype, fill = np.result_type(*values), np.datetime64("NaT")
    elif all(v.dtype.kind == "m" for v in values):
        dtype, fill = np.result_type(*values), np.timedelta64("NaT")
    else:
        dtype, fill = np.dtype(object), ""
    rows = np.full((len(values), width), fill, dtype)
    for row, value in zip(rows, values, strict=True):
        row[: len(value)] = value
    return rows


def checked(set_: xr.DataArray, what: str) -> xr.DataArray:
    """The set, named; its values are checked where they are in memory."""
    if set_.dtype.kind != "f":
        set_ = set_.astype(np.float64)
    set_ = set_.rename("representation")
    if set_.chunks is None:
        check_whole(set_, what)
        validate(set_)
    return set_


def check_whole(set_: xr.DataArray, what: str) -> None:
    """No vector lacks a few of its features: it is whole, or missing."""
    n_features = widths(set_).broadcast_like(set_["model"])
    real = xr.DataArray(np.arange(set_.sizes["feature"]), dims="feature") < n_features
    gone = set_.isnull() & real
    some = gone & ~(gone | ~real).all("feature")
    if not some.any():
        return
    faults = []
    for name in set_.indexes["model"]:
        here = some.sel(model=name)
        if not here.any():
            continue
        features = here.any([dim for dim in here.dims if dim != "feature"]).values
        stimuli = here.any([dim for dim in here.dims if dim != "stimulus"]).values
        faults.append(
            f"model {name!r}, {features.sum()} of {int(n_features.sel(model=name))} features: "
            f"{listing(_feature_names(set_, name)[features])}; stimuli "
            f"{listing(set_.indexes['stimulus'][stimuli])}"
        )
    raise SchemaError(
        f"{what} has rows of which some features are NaN and others are not: "
        f"{'. '.join(faults[:5])}. A vector is whole or missing: leave these features or these "
        "stimuli out, or average the repetitions in which the features were recorded"
    )


def _feature_names(set_: xr.DataArray, model: str) -> Any:
    """What the features are called: the first coordinate of theirs that is unique, or positions."""
    for coord in set_.coords.values():
        if "feature" in coord.dims and set(coord.dims) <= {"model", "feature"}:
            values = coord.sel(model=model).values if "model" in coord.dims else coord.values
            if len(set(values)) == len(values):
                return values
    return np.arange(set_.sizes["feature"])
