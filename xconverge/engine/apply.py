"""The one place where labels meet kernels: dims, chunks, labels in errors.

``apply`` runs a kernel that needs whole dims: they are made one chunk here, in the open. The other
route is ``over_models``, for models of any chunking.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from xconverge.engine.resources import calm_blas, check_memory
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array, RowError
from xconverge.labels.coordinates import set_aside
from xconverge.labels.messages import SchemaError, listing

CURE = "fewer stimuli (.isel), fewer features (xconverge.pca), or workers with more memory"

CURES = {
    "NaN or infinity inside a row": (
        "a stimulus that the model never saw is a row of NaN only; where the model is narrower "
        "than the array, n_features says how many leading features are real"
    ),
    "a zero vector, for which this metric is undefined": (
        "drop these stimuli, set these rows to NaN so that they count as missing, or use a metric "
        "without directions"
    ),
    "a constant vector, for which this metric is undefined": (
        "drop these stimuli, set these rows to NaN so that they count as missing, or use another "
        "metric"
    ),
}


def named_rows(kernel: Callable[..., Any], *args: Any, what: str, **kwargs: Any) -> Any:
    """Call a kernel on ``args`` but the last two: the labels of its models and its stimuli.

    A fault that the kernel knows by position is raised again with the labels.
    """
    *arrays, models, stimuli = args
    try:
        return kernel(*arrays, **kwargs)
    except RowError as error:
        faults = []
        for number, name in enumerate(np.atleast_1d(models)):
            mine = error.where[:, -2] == number if error.where.shape[1] > 1 else slice(None)
            positions = np.unique(error.where[mine, -1])
            if len(positions):
                faults.append(f"model {str(name)!r}, stimulus {listing(stimuli[positions])}")
        raise SchemaError(
            f"{what} has {error.reason}: {'; '.join(faults[:5])}"
            f"{f'; and in {len(faults) - 5} more models' if len(faults) > 5 else ''}. "
            f"{CURES[error.reason]}"
        ) from error
    except ValueError as error:
        if isinstance(error, SchemaError):
            raise
        who = what if "model" in what else f"{what}, model"
        raise SchemaError(f"{who} {listing(np.atleast_1d(models))}: {error}") from error


def entrywise(
    function: Callable[..., tuple[Array, ...]], *arrays: xr.DataArray, dtypes: Sequence[Any]
) -> tuple[xr.DataArray, ...]:
    """Several results of arrays of the same entries, which need no alignment, in one step.

    So that a client may compute one with another as its coordinate: distributed 2026.8 loses a
    result that another one is made of.
    """
    found = xr.apply_ufunc(
        function,
        *(array.variable for array in arrays),
        output_core_dims=[[]] * len(dtypes),
        dask="parallelized",
        output_dtypes=list(dtypes),
    )
    return tuple(
        array.copy(data=variable.data) for array, variable in zip(arrays, found, strict=True)
    )


def label_array(array: xr.DataArray, dim: str) -> xr.Variable:
    """The labels of a dim as data, to travel with the blocks; one empty name if there is none."""
    if dim in array.dims:
        labels: xr.Variable = array.coords[dim].variable.to_base_variable()
        return labels
    single = dim in array.coords and not array.coords[dim].dims
    name = array.coords[dim].item() if single else ""
    return xr.Variable((), np.asarray(str(name), dtype=object))


def one_chunk(array: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Make each of these dims one chunk, the others small enough for blocks of 128 MiB."""
    if array.chunks is None or all(
        len(array.variable.chunksizes.get(dim, ())) <= 1 for dim in dims
    ):
        return array
    if array.dtype.hasobject:
        # handles on blocks have no size; xarray's own .chunk would compute one, looking for dates
        return array.copy(data=array.data.rechunk({array.get_axis_num(dim): -1 for dim in dims}))
    wanted = tuple(-1 if dim in dims else "auto" for dim in array.dims)
    limited = da.core.normalize_chunks(
        wanted, shape=array.shape, limit=BUDGETS.apply_chunk, dtype=array.dtype
    )
    chunks = tuple(
        new if dim in dims else min(max(old), max(new))
        for dim, old, new in zip(array.dims, array.chunks, limited, strict=True)
    )
    return array.copy(data=array.data.rechunk(chunks))


def apply(
    kernel: Callable[..., Any],
    *arrays: xr.DataArray,
    core: Sequence[Sequence[str]],
    out: Sequence[Sequence[str]] = ((),),
    sizes: Mapping[str, int] | None = None,
    dtypes: Sequence[Any] = (np.float64,),
    labels: tuple[str, str] | None = None,
    named: xr.DataArray | None = None,
    what: str = "reps",
    cure: str = CURE,
    **kwargs: Any,
) -> Any:
    """Run a kernel over labelled arrays, mapped over every dim that is not a core dim.

    Parameters
    ----------
    kernel : callable
        Takes the core arrays and ``kwargs``, returns an array or a tuple of them.
    *arrays : DataArray
        Inputs; a lazy one makes the result lazy.
    core, out : sequences of dims
        Core dims of each input and of each output.
    sizes : mapping, optional
        Sizes of output dims that no input has.
    dtypes : sequence
        Of the outputs.
    labels : (model, stimulus), optional
        Dims whose labels name the faulty rows in an error.
    named : DataArray, optional
        What has these labels; by default the first array.
    what : str
        What it is called in an error.
    cure : str
        What to do where a task does not fit into memory.
    """
    taken = {dim for dims in (*(array.dims for array in arrays), *out) for dim in dims}
    inputs: list[Any] = [
        one_chunk(set_aside(array, taken), dims) for array, dims in zip(arrays, core, strict=True)
    ]
    lazy = any(array.chunks is not None for array in inputs)
    if lazy:
        inputs = _coordinates_once([_lazy_objects(array) for array in inputs])
    core = [list(dims) for dims in core]
    if labels is not None:
        kernel = partial(named_rows, kernel, what=what)
        first = inputs[0]
        for dim in labels:
            names = label_array(first if named is None else named, dim)
            whole = dim in core[0] or dim not in first.dims
            if lazy and names.dims:
                # dask cannot tell the size of objects, to choose chunks of them itself
                chunks = names.shape if whole else first.variable.chunksizes.get(dim, names.shape)
                names = names.astype(object).chunk({dim: chunks})
            inputs.append(names)
            core = [*core, [dim] if whole and names.dims else []]
    variables = [array if isinstance(array, xr.Variable) else array.variable for array in inputs]
    _check_task(variables, core, out, sizes or {}, dtypes, cure)
    kernel = partial(calmly, kernel)
    # numpy's loop over the other dims copies what it gets, which one call for all can do without
    loops = lazy or any({*v.dims} - {*dims} for v, dims in zip(variables, core, strict=True))
    loops = loops or object in dtypes
    if not loops:
        kernel = partial(_once, kernel, dtypes)
    with warnings.catch_warnings():
        # every pair of models is a task of its own, which is what was asked for
        warnings.simplefilter("ignore", da.PerformanceWarning)
        return xr.apply_ufunc(
            kernel,
            *inputs,
            kwargs=kwargs,
            input_core_dims=core,
            output_core_dims=[list(dims) for dims in out],
            vectorize=loops,
            dask="parallelized",
            output_dtypes=list(dtypes),
            dask_gufunc_kwargs={"output_sizes": _new(sizes or {}, inputs, out)},
            keep_attrs=False,
            join="exact",
        )


def _coordinates_once(inputs: Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """Inputs of which the first alone has a coordinate that is lazy in any of them.

    xarray compares coordinates of one name by value, which would compute them here.
    """
    known: dict[Any, bool] = {}
    result = []
    for array in inputs:
        lazy = {n: c.chunks is not None for n, c in array.coords.items() if n not in array.indexes}
        result.append(array.drop_vars([n for n in lazy if n in known and (lazy[n] or known[n])]))
        known = {**lazy, **known}
    return result


def _lazy_objects(array: xr.DataArray) -> xr.DataArray:
    """Objects in memory as one chunk: dask cannot tell their size, to choose chunks itself."""
    if array.chunks is not None or not array.dtype.hasobject:
        return array
    # dask would name a single object by what it prints
    name = None if array.dims else f"object-{tokenize(array.item())}"
    return array.copy(data=da.from_array(array.values, chunks=array.shape, name=name))


def _new(
    sizes: Mapping[str, int], inputs: Sequence[Any], out: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Sizes of the output dims that no input has."""
    known = {dim for array in inputs for dim in array.dims}
    return {dim: sizes[dim] for dims in out for dim in dims if dim in sizes and dim not in known}


def _once(kernel: Callable[..., Any], dtypes: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
    """Call a kernel as one step of that loop does."""
    found = kernel(*(array[()] for array in args), **kwargs)
    parts = found if len(dtypes) > 1 else (found,)
    result = [np.asarray(part, kind) for part, kind in zip(parts, dtypes, strict=True)]
    for i, part in enumerate(result):
        # what is given back is never a view of what was given
        if not part.flags.writeable or any(np.may_share_memory(part, array) for array in args):
            result[i] = part.copy()
    return tuple(result) if len(dtypes) > 1 else result[0]


def calmly(kernel: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a kernel, with one thread of BLAS where it is one task of several."""
    with calm_blas():
        return kernel(*args, **kwargs)


def _check_task(
    inputs: Sequence[xr.Variable],
    core: Sequence[Sequence[str]],
    out: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    dtypes: Sequence[Any],
    cure: str,
) -> None:
    """Refuse tasks that do not fit: what is read, twice that in double, and what comes out."""
    lazy = any(array.chunks is not None for array in inputs)
    length: dict[Any, int] = dict(sizes)
    whole = length.copy()
    need = 0.0
    for array in inputs:
        for dim, size in array.sizes.items():
            whole[dim] = size
            longest = max(array.chunksizes.get(dim, (size,)))
            length[dim] = min(longest, length.get(dim, size))
        if array.chunks is not None and array.dtype.kind == "f":
            need += math.prod(map(max, array.chunks)) * (array.dtype.itemsize + 16)
    mapped = set(whole).difference(sizes, *core)
    repeated = math.prod(length[dim] for dim in mapped)
    for dims, dtype in zip(out, dtypes, strict=True):
        need += repeated * math.prod(whole[dim] for dim in dims) * np.dtype(dtype).itemsize
    read = " × ".join(f"{dim} {size:,}" for dim, size in length.items() if size > 1)
    tasks = math.prod(-(-whole[dim] // max(length[dim], 1)) for dim in length)
    check_memory(need, tasks if lazy else 1, f"A task over {read}", cure, here=not lazy)
