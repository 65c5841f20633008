"""What a ModelWriter is given, in one form, and whether it fits what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.zarr.encoding import DIMS, NAME
from xconverge.io.zarr.groups import is_finite
from xconverge.io.zarr.incomplete import IncompleteModel
from xconverge.io.zarr.provenance import (
    Provenance,
    checked,
    different,
    merged,
    provenance_of,
)
from xconverge.kernels.vectors import Array
from xconverge.labels.arrays import as_array
from xconverge.labels.checks import check_labels, check_text
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import check_whole
from xconverge.labels.plain import plain
from xconverge.labels.text import label_text


class Asked(NamedTuple):
    """What a writer was asked for."""

    model: str
    labels: xr.DataArray
    n_features: int
    dtype: np.dtype[Any] | None
    coords: Mapping[str, Any]
    provenance: Provenance

    @classmethod
    def of(
        cls,
        model: Any,
        stimuli: Any,
        n_features: Any,
        dtype: Any,
        coords: Mapping[str, Any],
        provenance: Provenance | None,
    ) -> Self:
        """The same, checked."""
        return cls(
            _name(model),
            _labelled(stimuli),
            _width(model, n_features),
            _float(dtype),
            _scalars(coords),
            checked(provenance),
        )


def _name(model: object) -> str:
    """Text that is not empty."""
    if not isinstance(model, str) or not model:
        raise SchemaError(f"model must be text that is not empty, got {model!r}")
    return model


def _labelled(stimuli: Any) -> xr.DataArray:
    """Stimuli with their labels and coordinates."""
    labelled = isinstance(stimuli, xr.DataArray) and "stimulus" in stimuli.indexes
    if labelled:
        if stimuli.ndim == 1 and stimuli.dtype.kind not in "fiub":
            label_text(stimuli, "stimuli")  # refuses values that are other labels
        stimuli = plain(stimuli, "stimuli")
        kept = [name for name, c in stimuli.coords.items() if set(c.dims) <= {"stimulus"}]
        coords = {name: stimuli.coords[name] for name in kept}
        size = stimuli.sizes["stimulus"]
    else:
        labels = label_text(stimuli, "stimuli")
        coords, size = {"stimulus": ("stimulus", labels)}, len(labels)
    array = xr.DataArray(np.zeros(size), coords, ("stimulus",))
    check_labels(array, "stimulus", what="stimuli")
    check_text(array, "stimulus", what="stimuli")
    return array


def _width(model: object, n_features: int) -> int:
    """A whole number from 1 on."""
    if not isinstance(n_features, int | np.integer) or n_features < 1:
        raise SchemaError(
            f"model {model!r}: n_features must be a whole number from 1 on, got {n_features!r}"
        )
    return int(n_features)


def _float(dtype: Any) -> np.dtype[Any] | None:
    """A float that stores hold, or None."""
    if dtype is None:
        return None
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (np.float16, np.float32, np.float64):
        raise SchemaError(f"dtype must be float16, float32 or float64, got {found}")
    return found


def _scalars(coords: Mapping[str, Any]) -> dict[str, Any]:
    """Model coordinates as JSON has them."""
    plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in coords.items()}
    wrong = [
        str(name)
        for name, value in plain.items()
        if not isinstance(name, str)
        or name in (*DIMS, "n_features", "complete", NAME)
        or not isinstance(value, str | bool | int | float)
    ]
    if wrong:
        raise SchemaError(
            f"coords must give one text, number or bool for each model coordinate, and "
            f"{listing(wrong)} does not, or has a name that the store needs"
        )
    return plain


def check_same_labels(there: xr.DataArray, given: xr.DataArray) -> None:
    """Both have the same stimuli, in any order."""
    names = ("the store", "stimuli")
    there = xr.DataArray(np.zeros(there.size), {"stimulus": there["stimulus"]}, ("stimulus",))
    cure = "Give the labels of the store, in any order, or write another modality"
    join_labels(there, given, "stimulus", "exact", names, cure)


def numbers(batch: Any, who: str) -> Array:
    """A batch as a NumPy array of numbers."""
    values = np.asarray(as_array(batch, who))
    if values.dtype.kind not in "fiub":
        raise SchemaError(f"{who}: the batch must hold real numbers, got dtype {values.dtype}")
    check_whole(values, f"{who}: the batch")
    return values


def _check_rows(stored: Array, values: Array, labels: pd.Index, who: str) -> None:
    """Rows are finite, or NaN throughout."""
    nan = np.isnan(stored)
    for what, rows in (
        ("NaN inside a row", nan.any(1) & ~nan.all(1)),
        ("infinity", np.isinf(values).any(1)),
        (f"numbers too large for {stored.dtype}", (np.isinf(stored) & np.isfinite(values)).any(1)),
    ):
        if rows.any():
            where = listing(labels[np.flatnonzero(rows)])
            raise SchemaError(
                f"{who} has {what}: stimulus {where}. A stimulus that the model cannot represent "
                "is a row of NaN only"
            )


def _rounds(values: Array, stored: Array) -> bool:
    """Whether digits may be lost: by the type of floats, by the values of whole numbers."""
    if np.can_cast(values.dtype, stored.dtype):
        return False
    return values.dtype.kind == "f" or bool((np.isfinite(stored) & (stored != values)).any())


def check_modality(existing: xr.DataArray, where: str) -> None:
    """Features of a model can be written into the modality."""
    if set(existing.dims) != set(DIMS):
        raise SchemaError(
            f"{where} has the dims {list(existing.dims)}; ModelWriter writes "
            "(stimulus, feature). Use append_models"
        )
    if existing.attrs.get("space"):
        raise SchemaError(
            f"{where} holds coordinates of a shared space, which new features are not; choose "
            "another modality"
        )


def check_others(
    existing: xr.DataArray | None, others: list[IncompleteModel], asked: Asked, where: str
) -> None:
    """Every model of a modality has the same stimuli, the same coordinates and one dtype."""
    if existing is not None:
        theirs = {str(name) for name, c in existing.coords.items() if "model" in c.dims}
        dtype = existing.dtype
        # not with those of others, which a restart drops one after another
        merged(provenance_of(existing.attrs), asked.provenance, where)
    elif others:
        theirs, dtype = set(others[0].coords), others[0].dtype
        check_same_labels(others[0].stimuli["stimulus"], asked.labels)
    else:
        return
    theirs -= {"model", "n_features"}
    if set(asked.coords) != theirs:
        raise SchemaError(
            f"models of {where} have the coordinates {listing(sorted(theirs)) or 'none'}, and "
            f"coords gives {listing(sorted(asked.coords)) or 'none'}; give one value for each"
        )
    if asked.dtype is not None and asked.dtype != dtype:
        raise SchemaError(
            f"{where} is stored as {dtype}, and dtype is {asked.dtype}; leave dtype out, or choose "
            "another modality"
        )


def check_complete(existing: xr.DataArray, asked: Asked) -> None:
    """The model that is there is the one that is asked for."""
    check_same_labels(existing["stimulus"], asked.labels)
    there = existing.sel(model=asked.model)
    merged(provenance_of(existing.attrs), asked.provenance, "the store")
    width = int(there.coords.get("n_features", there.sizes["feature"]))
    if width != asked.n_features:
        raise SchemaError(
            f"model {asked.model!r} is complete and has {width} features, not "
            f"{asked.n_features}; give the new one another name"
        )
    other = {name: there.coords[name].item() for name in asked.coords if name in there.coords}
    if other != asked.coords:
        raise SchemaError(
            f"model {asked.model!r} is complete and has the coordinates {other}, not "
            f"{asked.coords}; give the new one another name"
        )


def check_incomplete(incomplete: IncompleteModel, asked: Asked) -> None:
    """The model that an earlier start began is the one that is asked for."""
    for what, was, now in (
        ("n_features", incomplete.n_features, asked.n_features),
        ("coords", dict(incomplete.coords), dict(asked.coords)),
        *_provenances(incomplete, asked),
        ("dtype", incomplete.dtype.name, (asked.dtype or incomplete.dtype).name),
    ):
        if was != now:
            told = f"{what} {was!r}, not {now!r}"
            if isinstance(was, dict) and isinstance(now, dict):
                told = f"{what} {different(was, now)}"
            raise SchemaError(
                f"model {asked.model!r} was begun with {told}; go on with that, or drop what was "
                "written by restart=True"
            )


def _provenances(
    incomplete: IncompleteModel, asked: Asked
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What was known of each network, and what is known now."""
    names = {**incomplete.provenance, **asked.provenance}
    was, now = incomplete.provenance, asked.provenance
    return [
        (f"{name!r} made with", dict(was.get(name, {})), dict(now.get(name, {}))) for name in names
    ]


def stored_rows(
    values: Array, asked: Asked, dtype: np.dtype[Any] | None, labels: pd.Index
) -> Array:
    """A batch in the dtype of the store, where that is known; its shape and numbers are good."""
    who = f"model {asked.model!r}"
    shape = (len(labels), asked.n_features)
    if values.shape != shape:
        raise SchemaError(
            f"{who}: the batch has the shape {values.shape}, and {shape} was needed "
            "(stimuli of this batch, n_features)"
        )
    if dtype is None:
        return values
    with np.errstate(over="ignore"):
        stored = values.astype(dtype, copy=False)
    if asked.dtype is None and _rounds(values, stored):
        raise SchemaError(
            f"{who}: the batch is {values.dtype} and is stored as {dtype.name}, which would "
            f"lose digits; if they may go, give ModelWriter dtype={dtype.name!r}, or for a new "
            f"modality dtype={values.dtype.name!r}"
        )
    # one fast pass for good batches; what it cannot vouch for is looked at row by row
    if not is_finite(stored):
        _check_rows(stored, values, labels, who)
    return stored
