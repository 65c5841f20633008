"""Several rows of one value: averaged, or kept along a dim of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.kernels.groups import group_distances, group_means
from xconverge.kernels.vectors import Array, working_dtype
from xconverge.labels.checks import is_graph
from xconverge.labels.coordinates import read_coordinates
from xconverge.labels.joins import natural_rank, on_side, square_rdm
from xconverge.labels.messages import SchemaError
from xconverge.labels.pools import pool_hash
from xconverge.labels.variables import describe

N_REPEATS = "n_repeats"


class Groups(NamedTuple):
    """Rows of the same value: their order, group after group, and how many each group has."""

    labels: Array
    order: Array
    counts: Array

    @property
    def repeated(self) -> bool:
        """Whether a group has several rows."""
        return bool((self.counts > 1).any())

    @property
    def numbers(self) -> Array:
        """Group of each row, in the order of groups."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def firsts(self) -> Array:
        """Position of the first row of each group."""
        return np.asarray(self.order[np.cumsum(self.counts) - self.counts])


def grouped(array: xr.DataArray, values: Array, natural: bool) -> Groups:
    """Groups in order of appearance; inside, rows in an order that follows their labels."""
    numbers, labels = pd.factorize(np.asarray(values, dtype=object))
    counts = np.bincount(numbers, minlength=len(labels))
    order = np.arange(len(numbers))
    if (counts > 1).any():
        names = array.indexes["stimulus"]
        text = [str(name) for name in names]
        rank = natural_rank(names) if natural else np.argsort(np.argsort(np.array(text, object)))
        order = np.lexsort((rank, numbers))
    return Groups(np.asarray(labels, dtype=object), order, counts)


def relabelled(array: xr.DataArray, groups: Groups, what: str, repeat: str | None) -> xr.DataArray:
    """The array over the values of its groups, merged or, along the dim ``repeat``, kept."""
    dims = ["stimulus"]
    if "stimulus_2" in array.dims:
        array = square_rdm(array, what)
        dims.append("stimulus_2")
    if groups.repeated:
        # which of them are the same in all rows of a value, their values say
        array = read_coordinates(array, "stimulus")
    labels, old = np.asarray(array.indexes["stimulus"], dtype=object), "stimulus_id"
    same = len(labels) == len(groups.labels) and bool((labels == groups.labels).all())
    if not same and old not in array.coords and old not in array.dims:
        array = array.assign_coords({old: ("stimulus", labels)})
    bare = array.drop_vars([n for n, c in array.coords.items() if set(dims) & set(c.dims)])
    columns = {
        name: coord.variable.to_base_variable().transpose("stimulus", ...)
        for name, coord in array.coords.items()
        if name != "stimulus" and "stimulus" in coord.dims and "stimulus_2" not in coord.dims
    }
    if not groups.repeated:
        result, coords = bare, columns
    else:
        _check_merging(array, groups, what, repeat, dims)
        if repeat is None:
            result = _merged(bare, groups, dims)
            coords = {
                name: column[groups.firsts]
                for name, column in columns.items()
                if _constant(column, groups)
            }
            counts = describe(xr.DataArray(groups.counts, dims="stimulus"), N_REPEATS)
            coords[N_REPEATS] = counts.variable
        else:
            where = _positions(groups)
            result = _kept(bare, where, repeat, dims)
            coords = {
                name: column[groups.firsts] if _constant(column, groups)
                else _spread(column, where, repeat)
                for name, column in columns.items()
            }  # fmt: skip
    result = result.transpose(..., *array.dims).assign_coords({"stimulus": groups.labels, **coords})
    if len(dims) == 2:
        result = result.assign_coords(on_side(result["stimulus"], "stimulus", "_2").coords)
    result = result.rename(array.name)
    result.attrs = dict(array.attrs)
    if is_graph(array) and array.attrs.get("n_stimuli") == len(groups.labels):
        # stimuli are the same under other names
        result.attrs["pool_hash"] = pool_hash(groups.labels)
    return result


def _check_merging(
    array: xr.DataArray, groups: Groups, what: str, repeat: str | None, dims: Sequence[str]
) -> None:
    """Refuse what cannot be merged or kept, before anything is computed."""
    if is_graph(array):
        raise SchemaError(
            f"{what} is a neighbour graph, which holds positions, and several of its rows are of "
            "one value: pair the representations first (xconverge.pair), then make its "
            "neighbor_graph"
        )
    if repeat is not None:
        if repeat in array.dims or repeat in array.coords:
            raise SchemaError(
                f"{what} has {repeat!r} already, which repeats='keep' adds; .rename it"
            )
        return
    if _is_label(array, dims) and not _is_constant(array, groups):
        raise SchemaError(
            f"{what} ({array.name or 'unnamed'}, {array.dtype}) holds labels or whole numbers, and "
            "they are not known to be the same in all rows of one value: a mean of labels means "
            "nothing. Make them after pairing (dispersion_bins of paired dispersion); if they are "
            "amounts, use .astype(float); if they are lazy, .compute() them first"
        )


def _is_label(array: xr.DataArray, dims: Sequence[str]) -> bool:
    """Whether a mean of values would mean nothing: names, bins, other whole numbers."""
    if array.attrs.get("kind") == "label":
        return True
    single = len(dims) == 1 and _vector_dim(array) is None
    return array.dtype.kind not in "fiub" or (single and array.dtype.kind in "iub")


def _is_constant(array: xr.DataArray, groups: Groups) -> bool:
    """Whether values in memory are the same in all rows of every group."""
    plain = array.chunks is None and "stimulus_2" not in array.dims
    return plain and _constant(array.variable.transpose("stimulus", ...), groups)


def _vector_dim(array: xr.DataArray) -> str | None:
    """The dim of vectors, None where an array holds single values."""
    return next((d for d in ("feature", "component", "neighbor") if d in array.dims), None)


def _merged(array: xr.DataArray, groups: Groups, dims: Sequence[str]) -> xr.DataArray:
    """Means over the rows of every group."""
    stimulus = dims[0]
    if _is_label(array, dims):
        return array.isel({stimulus: groups.firsts})
    dtype = working_dtype(array.dtype)
    if len(dims) == 2:
        result: xr.DataArray = apply(
            group_distances,
            array.isel(dict.fromkeys(dims, groups.order)),
            xr.DataArray(groups.numbers, dims=stimulus),
            core=[dims, [stimulus]],
            out=[["_group", "_group_2"]],
            sizes=dict.fromkeys(["_group", "_group_2"], len(groups.counts)),
            dtypes=[dtype],
            cure="fewer stimuli (.isel), or pair the representations, before their RDM",
            kind=dtype,
        )
        return result.rename(_group=dims[0], _group_2=dims[1])
    vector = _vector_dim(array)
    rows = array.transpose(..., stimulus, *([vector] if vector else []))
    means = _means(rows.data if vector else rows.data[..., None], groups, dtype)
    return xr.DataArray(means if vector else means[..., 0], dims=rows.dims, coords=array.coords)


def _means(rows: Any, groups: Groups, dtype: Any) -> Any:
    """Means (…, G, F) of rows (…, n, F), block by block where they are lazy."""
    axis = rows.ndim - 2
    if not isinstance(rows, da.Array):
        rows = np.take(rows, groups.order, axis)
        return group_means(rows, np.isnan(rows).all(-1), groups.numbers, dtype)
    ends = np.cumsum(groups.counts)
    size = -(-rows.shape[axis] // rows.numblocks[axis])
    cuts = ends[:-1][np.diff((ends - 1) // size) > 0]
    rows = rows.shuffle([part.tolist() for part in np.split(groups.order, cuts)], axis)
    chunks = rows.chunks[axis]
    sizes = np.diff(np.searchsorted(ends, np.cumsum(chunks)) + 1, prepend=0)
    dims = tuple(range(rows.ndim))
    return da.blockwise(
        group_means, dims, rows, dims, da.isnan(rows).all(-1), dims[:-1],
        da.from_array(groups.numbers, chunks=(chunks,)), (axis,),
        dtype=dtype, adjust_chunks={axis: tuple(map(int, sizes))},
        meta=np.empty((0,) * rows.ndim, dtype), kind=dtype,
    )  # fmt: skip


def _positions(groups: Groups) -> Array:
    """Position (R, G) of the r-th row of every group, -1 where it has fewer."""
    place = np.arange(len(groups.order)) - np.repeat(
        np.cumsum(groups.counts) - groups.counts, groups.counts
    )
    where = np.full((groups.counts.max(), len(groups.counts)), -1)
    where[place, groups.numbers] = groups.order
    return where


def _kept(array: xr.DataArray, where: Array, repeat: str, dims: Sequence[str]) -> xr.DataArray:
    """The r-th row of every group for each r; NaN where a group has fewer."""
    parts = []
    for row in where:
        part = array.isel(dict.fromkeys(dims, np.where(row < 0, where[0], row)))
        if (where < 0).any():
            for dim in dims:
                part = part.where(xr.DataArray(row >= 0, dims=dim))
        parts.append(part)
    index = pd.RangeIndex(len(where), name=repeat)
    return xr.concat(parts, index, coords="minimal", compat="override", join="exact")


def _constant(column: xr.Variable, groups: Groups) -> bool:
    """Whether a coordinate (stimulus, …) is the same in all rows of every group."""
    values = np.asarray(column.values)
    codes, _ = pd.factorize(values.reshape(-1) if values.dtype.kind in "biufmM"
                            else values.astype(object).reshape(-1))  # fmt: skip
    codes = codes.reshape(len(values), -1)[groups.order]
    firsts = np.cumsum(groups.counts) - groups.counts
    return bool((codes == codes[firsts][groups.numbers]).all())


def _spread(column: xr.Variable, where: Array, repeat: str) -> xr.Variable:
    """A coordinate (stimulus, …) as (repeat, stimulus, …): empty, or NaN, where there is none."""
    values = np.asarray(column.values)
    none = where < 0
    if values.dtype.kind in "biu" and none.any():
        values = values.astype(np.float64)
    if values.dtype.kind not in "biufmM":
        values = values.astype(object)
    values = values[np.where(none, 0, where)]
    if none.any():
        text = values.dtype == object and all(isinstance(v, str) for v in values.ravel())
        time = values.dtype.kind in "mM"
        values[none] = "" if text else np.array("NaT", values.dtype) if time else np.nan
    return xr.Variable((repeat, *column.dims), values, column.attrs)
