"""Many models of different widths become one labelled array."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.arrays import as_array, of_frame
from xconverge.labels.checks import check_dims, check_labels, widths
from xconverge.labels.coordinates import read
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.numbers import check_whole, float_array
from xconverge.labels.plain import is_default
from xconverge.labels.text import Labels, label_text

DIMS = ("stimulus", "feature")

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
        ``stimulus``, a DataFrame whose index holds them, or a plain array (NumPy, dask, torch,
        Zarr, HDF5) together with ``stimuli``. Coordinates on ``stimulus`` and scalar coordinates
        (``family``, ``layer`` …) are kept, the latter on ``model``; so are those on further dims
        (``repetition`` …), on ``model`` too where models differ in them. ``n_features`` may vary
        over further dims.
    join : {"exact", "inner", "outer"}
        What to do where the models' stimuli differ: refuse, keep those that all saw, or keep all,
        with NaN rows for what a model never saw.
    stimuli : sequence of str, optional
        Labels of the rows of plain arrays, and of DataFrames that have none: whose index is the
        one that pandas makes, counting from 0. Whole numbers and dates become their text. Models
        that have labels are joined with these, never taken by position.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (…, model, stimulus, feature), as wide as the widest model, with the
        coordinate ``n_features``; lazy if any input is, arrays on disk too. The order of stimuli
        is that of ``stimuli``, else the first model's.

    Raises
    ------
    SchemaError
        Missing dims or labels, duplicates, no model, or stimuli that do not match; labels that are
        neither text, whole numbers nor dates; sparse arrays.
    TypeError
        ``models`` is no mapping of names to arrays.

    Examples
    --------
    >>> import numpy as np
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dog"])
    >>> dict(reps.sizes), reps.n_features.values.tolist()
    ({'model': 2, 'stimulus': 2, 'feature': 5}, [3, 5])
    """
    choose("join", join, ["exact", "inner", "outer"])
    if not isinstance(models, Mapping):
        raise TypeError(
            "models must be a dict of one array a model, {'name': array}, got a "
            f"{type(models).__name__}; give each array the name of its model"
        )
    if not models:
        raise SchemaError("stack_models needs at least one model, got none")
    names = label_text(list(models), "models", " (their names)").tolist()
    if len(set(names)) != len(names):
        raise SchemaError(f"model names are not unique as text: {listing(models)}")
    rows = None if stimuli is None else label_text(stimuli, "stimuli")
    made = {
        name: _one_model(name, array, rows)
        for name, array in zip(names, models.values(), strict=True)
    }
    arrays = {name: array.drop_vars("model", errors="ignore") for name, (array, _) in made.items()}
    sides = {repr(name): array for name, array in arrays.items()}
    if rows is not None:
        blank = xr.DataArray(np.zeros(len(rows)), {"stimulus": rows}, ("stimulus",))
        check_labels(blank, "stimulus", what="stimuli")
        sides = {"stimuli": blank, **sides}
    index = join_stimuli(sides, join)
    if not len(index):
        raise SchemaError(f"the models share no label on 'stimulus': {listing(names)}")
    width = max(array.sizes["feature"] for array in arrays.values())
    dtype = np.result_type(*(array.dtype for array in arrays.values()))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    # ``feature`` has no labels to align by: concat needs one width
    padded = [
        float_array(array.reset_coords(drop=True), f"model {name!r}", dtype)
        .reindex({"stimulus": index})
        .pad({"feature": (0, width - array.sizes["feature"])}, constant_values=np.nan)
        for name, array in arrays.items()
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
    along = along.assign_coords(_further(arrays, index, along.dims))
    real = xr.broadcast(*(wide for _, wide in made.values()))
    n_features = xr.concat(real, xr.Variable("model", names), coords="minimal", compat="override")
    along = along.assign_coords(n_features=n_features.variable).rename("representation")
    if modality is not None:
        along.attrs["modality"] = modality
    return along


def join_stimuli(sides: Mapping[str, xr.DataArray], join: str) -> pd.Index:
    """The stimuli of all sides, in the order of the first."""
    (name, first), *others = sides.items()
    index: pd.Index = first.indexes["stimulus"]
    for other, array in others:
        labels = array.indexes["stimulus"]
        if join == "exact":
            join_labels(first, array, "stimulus", "exact", (name, other), OTHER_JOINS)
        elif join == "inner":
            index = index[index.isin(labels)]
        else:
            index = index.append(labels[~labels.isin(index)])
    return index


def _one_model(name: str, given: Any, rows: Labels | None) -> tuple[xr.DataArray, xr.DataArray]:
    """The real features of a model, and how many they are, also over further dims."""
    what = f"model {name!r}"
    array = _labelled(given, what)
    if not isinstance(array, xr.DataArray):
        if rows is None:
            kind = (
                "a DataFrame without labels (its index counts from 0)"
                if isinstance(given, pd.DataFrame)
                else "a plain array"
            )
            raise SchemaError(f"{what} is {kind}; give the labels of its rows with stimuli=[…]")
        if getattr(array, "ndim", None) != 2 or array.shape[0] != len(rows):
            raise SchemaError(
                f"{what} must have the shape ({len(rows)} stimuli, features), "
                f"got {getattr(array, 'shape', type(array).__name__)}"
            )
        array = xr.DataArray(array, dims=DIMS, coords={"stimulus": rows})
    array = check_dims(array, "stimulus", "feature", what=what)
    check_labels(array, "stimulus", what=what)
    if not array.sizes["feature"]:
        raise SchemaError(f"{what} has no features: 'feature' has size 0")
    real = widths(array, what)
    labelled: xr.DataArray = array.isel({"feature": slice(int(real.max()))})
    return labelled.drop_vars(["n_features", "feature"], errors="ignore"), real


def _labelled(given: Any, what: str) -> Any:
    """A DataArray where labels came with the numbers, else the numbers alone."""
    if isinstance(given, pd.DataFrame):
        values = of_frame(given, what)
        if is_default(given.index):
            return values
        labels = label_text(given.index, what, " in its index")
        return xr.DataArray(values, {"stimulus": labels}, DIMS)
    if isinstance(given, xr.Variable):
        # its dims say which axis is which
        if set(given.dims) != set(DIMS):
            raise SchemaError(
                f"{what} has the dims {list(given.dims)}, and {list(DIMS)} are needed"
            )
        return as_array(given.transpose(*DIMS).data, what)
    if isinstance(given, xr.DataArray):
        return given.copy(data=as_array(given.data, what))
    return as_array(given, what)


def _coordinates(arrays: Mapping[str, xr.DataArray], index: pd.Index) -> dict[str, tuple[str, Any]]:
    """Stimulus coordinates, merged, which reads them; scalar coordinates, one entry a model."""
    merged: dict[str, tuple[str, Any]] = {}
    for name, array in arrays.items():
        for key, coord in array.coords.items():
            if key == "stimulus" or coord.dims != ("stimulus",):
                continue
            here = pd.Series(read(coord), index=array.indexes["stimulus"])
            if not index.isin(here.index).all():
                # what is missing makes floats of whole numbers
                check_whole(here.to_numpy(), f"coordinate {key!r} of model {name!r}")
            here = here.reindex(index)
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
        merged[key] = ("model", _one_kind([read(a.coords[key])[()] for a in arrays.values()], key))
    return merged


def _further(
    arrays: Mapping[str, xr.DataArray], index: pd.Index, dims: Sequence[Hashable]
) -> dict[str, xr.Variable]:
    """Coordinates on further dims, which are read: on ``model`` too, where models differ."""
    found: dict[str, list[xr.DataArray]] = {}
    for array in arrays.values():
        for key, coord in array.coords.items():
            if set(coord.dims) - {"stimulus"} and "feature" not in coord.dims and key not in dims:
                found.setdefault(str(key), []).append(coord)
    result = {}
    for key, coords in found.items():
        lacking = [name for name, array in arrays.items() if key not in array.coords]
        kinds = {frozenset(coord.dims) for coord in coords}
        if lacking or len(kinds) > 1:
            where = f"not for {listing(lacking)}" if lacking else "on other dims for others"
            raise SchemaError(f"coordinate {key!r} is there for some models but {where}")
        own = [
            xr.DataArray(
                read(one), {d: one.indexes[d] for d in one.dims if d in one.indexes}, one.dims
            )
            for one in coords
        ]
        own = [one.transpose(*own[0].dims) for one in own]
        if "stimulus" in own[0].dims:
            own = [one.reindex(stimulus=index) for one in own]
        same = all(one.equals(own[0]) for one in own)
        result[key] = own[0].variable if same else xr.concat(own, "model", join="exact").variable
    return result


def _one_kind(values: Sequence[Any], key: str) -> Any:
    """Values of one coordinate, one a model: numbers, times, or text that may be missing."""
    # no array of the values as they are: NumPy makes text of a number beside a text, and of NaN
    column = pd.Series(values, dtype=object)
    kinds = {isinstance(value, str) for value in column.dropna()}
    if len(kinds) > 1:
        raise SchemaError(
            f"coordinate {key!r} is text for some models and not for others: {listing(values)}; "
            "make it text for all"
        )
    return column.infer_objects().to_numpy()
