"""Many models of different widths become one labelled array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.checks import check_dims, check_labels, widths
from xconverge.labels.coordinates import read
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, choose, listing

OTHER_JOINS = 'Keep what all saw with join="inner", or all with join="outer"'


def stack_models(
    models: Mapping[str, Any],
    *,
    join: Literal["exact", "inner", "outer"] = "exact",
    stimuli: Sequence[str] | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Stack models of different widths into one representation set.

    Parameters
    ----------
    models : mapping of name to array
        One array of shape (stimulus, feature) for each model: a DataArray with labels on
        ``stimulus``, or a plain array together with ``stimuli``. Coordinates on ``stimulus`` and
        scalar coordinates (``family``, ``layer`` …) are kept, the latter on ``model``.
    join : {"exact", "inner", "outer"}
        What to do where the models' stimuli differ: refuse, keep those that all saw, or keep all,
        with NaN rows for what a model never saw.
    stimuli : sequence of str, optional
        Labels of the rows of plain arrays.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), as wide as the widest model, with the
        coordinate ``n_features``; lazy if any input is. The order of stimuli is the first model's.

    Raises
    ------
    SchemaError
        Missing dims or labels, duplicates, no model, or stimuli that do not match.

    Examples
    --------
    >>> import numpy as np
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dog"])
    >>> dict(reps.sizes), reps.n_features.values.tolist()
    ({'model': 2, 'stimulus': 2, 'feature': 5}, [3, 5])
    """
    choose("join", join, ["exact", "inner", "outer"])
    if not models:
        raise SchemaError("stack_models needs at least one model, got none")
    arrays = {
        str(name): _one_model(str(name), array, stimuli).drop_vars("model", errors="ignore")
        for name, array in models.items()
    }
    names = list(arrays)
    if len(names) != len(models):
        raise SchemaError(f"model names are not unique as text: {listing(models)}")
    first = arrays[names[0]]
    index = first.indexes["stimulus"]
    for name in names[1:]:
        other = arrays[name].indexes["stimulus"]
        if join == "exact":
            sides = (repr(names[0]), repr(name))
            join_labels(first, arrays[name], "stimulus", "exact", sides, OTHER_JOINS)
        elif join == "inner":
            index = index[index.isin(other)]
        else:
            index = index.append(other[~other.isin(index)])
    if not len(index):
        raise SchemaError(f"the models share no label on 'stimulus': {listing(names)}")
    width = max(array.sizes["feature"] for array in arrays.values())
    dtype = np.result_type(*(array.dtype for array in arrays.values()))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    # ``feature`` has no labels to align by: concat needs one width
    padded = [
        array.reset_coords(drop=True)
        .astype(dtype)
        .reindex({"stimulus": index})
        .pad({"feature": (0, width - array.sizes["feature"])}, constant_values=np.nan)
        for array in arrays.values()
    ]
    # coords="minimal": coordinates are merged below, with an error that names what contradicts
    along = xr.concat(
        padded,
        pd.Index(names, name="model", dtype=object),
        join="exact",
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
    ).transpose(..., "model", "stimulus", "feature")
    along = along.assign_coords(_coordinates(arrays, index))
    n_features = [array.sizes["feature"] for array in arrays.values()]
    along = along.assign_coords(n_features=("model", np.asarray(n_features, np.int64)))
    along = along.rename("representation")
    if modality is not None:
        along.attrs["modality"] = modality
    return along


def _one_model(name: str, array: Any, stimuli: Sequence[str] | None) -> xr.DataArray:
    what = f"model {name!r}"
    if not isinstance(array, xr.DataArray):
        if stimuli is None:
            raise SchemaError(
                f"{what} is a plain array; give the labels of its rows with stimuli=[…]"
            )
        if getattr(array, "ndim", None) != 2 or array.shape[0] != len(stimuli):
            raise SchemaError(
                f"{what} must have the shape ({len(stimuli)} stimuli, features), "
                f"got {getattr(array, 'shape', type(array).__name__)}"
            )
        labels = np.asarray([str(label) for label in stimuli], dtype=object)
        array = xr.DataArray(array, dims=("stimulus", "feature"), coords={"stimulus": labels})
    array = check_dims(array, "stimulus", "feature", what=what)
    check_labels(array, "stimulus", what=what)
    if not array.sizes["feature"]:
        raise SchemaError(f"{what} has no features: 'feature' has size 0")
    real = slice(int(widths(array, what)))
    labelled: xr.DataArray = array.isel({"feature": real})
    return labelled.drop_vars(["n_features", "feature"], errors="ignore")


def _coordinates(arrays: Mapping[str, xr.DataArray], index: pd.Index) -> dict[str, tuple[str, Any]]:
    """Stimulus coordinates, merged, which reads them; scalar coordinates, one entry a model."""
    merged: dict[str, tuple[str, Any]] = {}
    for name, array in arrays.items():
        for key, coord in array.coords.items():
            if key == "stimulus" or coord.dims != ("stimulus",):
                continue
            here = pd.Series(read(coord), index=array.indexes["stimulus"]).reindex(index)
            known = merged.get(str(key))
            if known is None:
                merged[str(key)] = ("stimulus", here.to_numpy())
                continue
            old, new = pd.Series(known[1], index=index), here
            differ = old.notna() & new.notna() & (old != new)
            if differ.any():
                raise SchemaError(
                    f"coordinate {key!r} of model {name!r} contradicts that of the models before "
                    f"it at {listing(index[differ])}; rename one of them"
                )
            merged[str(key)] = ("stimulus", old.where(old.notna(), new).to_numpy())
    scalars = sorted({str(k) for a in arrays.values() for k, c in a.coords.items() if not c.dims})
    for key in scalars:
        lacking = [name for name, array in arrays.items() if key not in array.coords]
        if lacking:
            raise SchemaError(
                f"coordinate {key!r} is there for some models but not for {listing(lacking)}"
            )
        merged[key] = ("model", np.asarray([read(a.coords[key]).item() for a in arrays.values()]))
    return merged
