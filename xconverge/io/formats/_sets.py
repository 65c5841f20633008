"""What every reader of representations shares: ids, kinds of numbers, and the set they make."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.engine.resources import free_bytes
from xconverge.io.formats._reading import reading
from xconverge.io.zarr.encoding import NAME
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_text, validate, widths
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.stack import stack_models
from xconverge.labels.text import label_text

Ids = Sequence[object] | str | os.PathLike[str]
"""Ids of stimuli: labels, or the path of a text file."""

WHOLE = 2**53
"""The largest whole number below which no float64 skips one."""

REFUSED = {
    "O": "holds Python objects, which only unpickling could read; unpickling runs code",
    "c": "holds complex numbers; save their real and imaginary parts, or their magnitude",
    "U": "holds text, not numbers",
    "S": "holds bytes, not numbers",
    "T": "holds text, not numbers",
    "V": "holds records of several fields; save each field as an array of its own",
    "M": "holds dates, not numbers",
    "m": "holds durations; save them as numbers",
}


def ids_of_file(path: str | os.PathLike[str]) -> list[str]:
    """One id a line, UTF-8; only line feeds, with or without a carriage return, end a line."""
    with reading(path, "a list of ids, UTF-8 text with one id a line") as file:
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        lines = text.removesuffix("\n").split("\n")
        blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
        if blank:
            raise SchemaError(
                f"{file} has {'no ids' if lines == [''] else f'blank lines: {listing(blank)}'}; "
                "it must have one id a line"
            )
    return lines


def ids_of(ids: Ids | None, source: Path, how: str = "") -> list[str]:
    """The ids of the rows of a file; ``how`` says in what other way they can be given."""
    if ids is None:
        raise SchemaError(
            f"{source} does not say which stimuli its rows are, and rows are never named by their "
            f"position; give ids=[…], or the path of a text file with one id a line{how}"
        )
    if isinstance(ids, str | os.PathLike):
        return ids_of_file(ids)
    return list(label_text(ids, "ids"))


def check_numbers(dtype: Any, what: str) -> None:
    """Refuse an array that does not hold real numbers, with the reason."""
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        raise SchemaError(f"{what} {REFUSED['O']}")
    if dtype.kind in REFUSED:
        raise SchemaError(f"{what} {REFUSED[dtype.kind]} (dtype {dtype})")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise SchemaError(f"{what} holds {dtype}, which no computation here keeps; save float64")


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Floats as they are, in the byte order of this machine; all else as float64."""
    dtype = np.dtype(dtype)
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)


def floats(array: Array, what: str) -> Array:
    """Numbers as floats, not one of them changed."""
    check_numbers(array.dtype, what)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        low, high = int(array.min()), int(array.max())
        if max(-low, high) > WHOLE:
            raise SchemaError(
                f"{what} holds whole numbers beyond 2**53 ({low if -low > high else high}), which "
                "floats would round; are they ids, not features?"
            )
    return array.astype(float_dtype(array.dtype), copy=False)


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse to make room for more than there is."""
    free = free_bytes()
    if n_bytes > free:
        raise SchemaError(
            f"{what} claims {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB of memory are "
            "free; it may be damaged. If it is that large, convert it to .npy or to a store, "
            "which are read in parts"
        )


def representation_set(
    models: Mapping[str, Any], ids: Sequence[str], source: Path, modality: str | None
) -> xr.DataArray:
    """One set of arrays (stimulus, feature); what is in memory is checked, lazy arrays stay so."""
    lazy = any(isinstance(array, da.Array) for array in models.values())
    for name, array in models.items():
        if array.ndim != 2:
            raise SchemaError(
                f"{source}: model {name!r} has the shape {array.shape}, and (stimuli, features) is "
                "needed; reshape it with array.reshape(len(array), -1) if all else are features"
            )
        if array.shape[0] != len(ids):
            raise SchemaError(
                f"{source}: model {name!r} has {array.shape[0]} rows, and there are {len(ids)} "
                "ids; each row needs one"
            )
    reps = stack_models(
        {
            # name=False: else dask hashes all values
            name: array if isinstance(array, da.Array) else da.from_array(array, -1, name=False)
            for name, array in models.items()
        },
        stimuli=ids,
        modality=modality,
    )
    for dim in ("model", "stimulus"):
        check_text(reps, dim, what=str(source))
    return checked(reps if lazy else reps.compute(scheduler="synchronous"), source)


def checked(reps: xr.DataArray, what: object) -> xr.DataArray:
    """The set as floats; one in memory is validated, block by block."""
    reps = float_array(reps, str(what)).rename(NAME)
    if reps.chunks is None:
        try:
            validate(reps.chunk(recommend_chunks(reps)))
        except SchemaError as error:
            _check_whole(reps, what)
            raise SchemaError(f"{what}: {error}") from None
    return reps


def float_array(array: xr.DataArray, what: str) -> xr.DataArray:
    """As `floats`, of an array that may be lazy."""
    check_numbers(array.dtype, what)
    if array.dtype.kind == "f":
        return array
    result: xr.DataArray = xr.apply_ufunc(
        floats,
        array,
        kwargs={"what": what},
        dask="parallelized",
        output_dtypes=[np.float64],
        keep_attrs=True,
    )
    return result


def _check_whole(set_: xr.DataArray, what: object) -> None:
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
