"""An array of many features becomes one model, or one of each value of a coordinate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import free_name, joined_text, listed, rename_dim
from xconverge.io.formats._padding import Gaps, trimmed
from xconverge.io.formats._places import Join, Place, joined
from xconverge.io.formats._sets import checked
from xconverge.labels.messages import SchemaError
from xconverge.labels.text import one_label


def model_name(model: str | None, dim: str, what: str) -> str:
    """The name of the only model, which has to be given."""
    if model is None:
        raise SchemaError(
            f"{what} does not say what it is called; name it with model='…', or make a model "
            f"of each value of a coordinate on {dim!r} with by='…'"
        )
    return one_label(model, "model")


def models_of(
    array: xr.DataArray,
    dim: str,
    model: str | None,
    by: str | Sequence[str] | None,
    what: str,
) -> dict[Place, xr.DataArray]:
    """One array (stimulus, feature, …) for the model, or each value of coordinates on ``dim``."""
    if by is None:
        return {(model_name(model, dim, what),): rename_dim(array, dim, "feature")}
    if model is not None:
        raise ValueError("model= names the only model and by= makes several; give one of them")
    numbers, names = pd.factorize(joined_text(array, by, dim, "by"))
    by = [free_name(array, key) for key in listed(by)]
    models: dict[Place, xr.DataArray] = {}
    for i, name in enumerate(names):
        part = array.isel({dim: np.flatnonzero(numbers == i)})
        shared = {key: part.coords[key].values[0] for key in by}
        models[(str(name),)] = rename_dim(part.drop_vars(by).assign_coords(shared), dim, "feature")
    return models


def representations(
    sets: Mapping[Place, xr.DataArray],
    what: str,
    *,
    gaps: Gaps | None = None,
    join: Join = "exact",
    modality: str | None = None,
) -> xr.DataArray:
    """The representation set of arrays (stimulus, feature, …), one a (model, subject, region)."""
    whole = joined(sets, ("model", "subject", "region"), join, what)
    return checked(trimmed(whole, gaps, what), what, modality)
