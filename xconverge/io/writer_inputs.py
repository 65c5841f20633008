"""What a ModelWriter is given, checked and in one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.zarr.encoding import DIMS, NAME
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_labels, check_text
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, listing


class Asked(NamedTuple):
    """What a writer was asked for."""

    model: str
    labels: xr.DataArray
    n_features: int
    dtype: np.dtype[Any] | None
    coords: Mapping[str, Any]

    @classmethod
    def of(
        cls, model: Any, stimuli: Any, n_features: Any, dtype: Any, coords: Mapping[str, Any]
    ) -> Self:
        """The same, checked."""
        return cls(
            _name(model),
            _labelled(stimuli),
            _width(model, n_features),
            _float(dtype),
            _scalars(coords),
        )


def _name(model: object) -> str:
    """Text that is not empty."""
    if not isinstance(model, str) or not model:
        raise SchemaError(f"model must be text that is not empty, got {model!r}")
    return model


def _labelled(stimuli: Any) -> xr.DataArray:
    """Stimuli with their labels and coordinates."""
    if isinstance(stimuli, xr.DataArray) and "stimulus" in stimuli.dims:
        kept = [name for name, c in stimuli.coords.items() if set(c.dims) <= {"stimulus"}]
        coords = {name: stimuli.coords[name] for name in kept}
        size = stimuli.sizes["stimulus"]
    else:
        labels = np.empty(len(stimuli), dtype=object)
        labels[:] = list(stimuli)
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
    """A batch as a NumPy array; torch tensors come from any device, bfloat16 as float32."""
    if hasattr(batch, "detach") and hasattr(batch, "cpu"):
        batch = batch.detach().cpu()
        if "bfloat16" in str(batch.dtype):
            batch = batch.float()
        batch = batch.numpy()
    values = np.asarray(batch)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    if values.dtype.kind not in "fiub":
        raise SchemaError(f"{who}: the batch must hold real numbers, got dtype {values.dtype}")
    return values


def check_rows(stored: Array, values: Array, labels: pd.Index, who: str) -> None:
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
