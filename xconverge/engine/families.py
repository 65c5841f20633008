"""Means over models in which every family counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from xconverge.labels.families import Families, families


def family_mean(
    array: xr.DataArray, dims: Sequence[str], of: Mapping[str, Families] | None = None
) -> xr.DataArray:
    """Mean over models (``model``, ``model_a``, ``model_b``), layers of one network counted once.

    Of every family (and pair of families) the mean over what has a value, then over those that
    have one. Families are those of the coordinates, or ``of`` each dim; lazy where the array is.
    """
    of = {dim: families(array, dim) for dim in dims} if of is None else of
    if not any(of[dim].several for dim in dims):
        if array.dtype.kind == "f" and all(array.sizes[dim] == 1 for dim in dims):
            # numpy's mean without NaN takes several copies
            gone = [name for name, coord in array.coords.items() if {*coord.dims} & {*dims}]
            return array.isel(dict.fromkeys(dims, 0)).drop_vars(gone)
        return array.mean(list(dims), keep_attrs=True)
    means = _within(array, dims, of)
    result: xr.DataArray = means.mean([f"_{dim}" for dim in dims])
    order = [dim for dim in array.dims if dim not in dims]
    return result.transpose(*order).rename(array.name).assign_attrs(array.attrs)


def family_numbers(array: xr.DataArray, dims: Sequence[str]) -> list[xr.DataArray]:
    """Number of the family of each model along each of these dims; a single one where it is none.

    A dim that has no models, ``subject`` say, has families of one.
    """
    return [
        xr.DataArray(families(array, dim).numbers, dims=dim)
        if dim in array.dims
        else xr.DataArray([0], dims=f"_{dim}")
        for dim in dims
    ]


def each_family(array: xr.DataArray, of: Families) -> xr.DataArray:
    """Means over the models (``model``) of each family, labelled by the families."""
    if not of.several:
        return array
    own = _within(array, ["model"], {"model": of}).rename(_model="model")
    order = own.assign_coords(model=of.names).transpose(*array.dims)
    return order.rename(array.name).assign_attrs(array.attrs)


def _within(array: xr.DataArray, dims: Sequence[str], of: Mapping[str, Families]) -> xr.DataArray:
    """Means (_dim) over the models of each family that have a value."""
    there = array.notnull()
    weights = [_members(of[dim], dim) for dim in dims]
    drop = {dim for dim in dims if dim in array.coords}
    parts = [part.drop_vars(drop) for part in (array.fillna(0.0), there.astype(np.float64))]
    total, count = (xr.dot(part, *weights, dim=list(dims)) for part in parts)
    result: xr.DataArray = total / count.where(count > 0)
    return result


def _members(of: Families, dim: str) -> xr.DataArray:
    """Which models (dim) are of each family (_dim): 1 and 0."""
    inside = of.numbers == np.arange(len(of.names))[:, None]
    return xr.DataArray(inside.astype(np.float64), dims=(f"_{dim}", dim))
