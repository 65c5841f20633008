"""What an argument is, in words, and what to do where another kind of data was due."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.messages import LONGEST, listing

KINDS: dict[str, tuple[str, ...]] = {
    "a neighbour graph": ("neighbor",),
    "coordinates of a shared space": ("component",),
    "RDMs": ("stimulus_2",),
    "representations": ("stimulus", "feature"),
    "scores of model pairs": ("model_a",),
    "dispersion of model pairs": ("model_2",),
    "a value of each stimulus": ("stimulus",),
}
"""What arrays are, told by dims of theirs; the first that fits."""


def called(dims: Any) -> str | None:
    """What an array of these dims is."""
    return next((name for name, own in KINDS.items() if set(own) <= set(dims)), None)


CURES = {
    ("representations", "RDMs"): "give the representations that the RDMs were made of",
    ("representations", "scores of model pairs"): "give the representations that were scored",
    ("representations", "a neighbour graph"): (
        "give the representations themselves: a graph says who is near, and not how near"
    ),
    ("RDMs", "a neighbour graph"): (
        "make RDMs of the representations: a graph says who is near, and not how near"
    ),
    ("representations", "a value of each stimulus"): (
        "give the representations that the values were made of"
    ),
    ("RDMs", "representations"): "xconverge.rdm(array) makes RDMs of them",
    ("RDMs", "coordinates of a shared space"): (
        "xconverge.rdm(array.rename(component='feature')) makes RDMs of them"
    ),
    ("a value of each stimulus", "representations"): (
        "xconverge.dispersion(array, 'neighborhood') gives a value of each"
    ),
    ("a value of each stimulus", "scores of model pairs"): (
        "average the pairs, .mean(['model_a', 'model_b'])"
    ),
    ("scores of model pairs", "representations"): "xconverge.alignment(a, b) makes scores",
}
"""What to do where the first is wanted and the second was given."""


def cure(wanted: Any, given: Any) -> str | None:
    """What to do with an array of other dims than are wanted; None where nobody knows."""
    return CURES.get((called(wanted) or "", called(given) or ""))


def came(value: Any) -> str:
    """A value that was given, short enough for an error."""
    if isinstance(value, xr.DataArray):
        return f"a DataArray with the dims {list(map(str, value.dims))}"
    if isinstance(value, xr.Dataset):
        return f"a Dataset of {listing(value.data_vars) or 'nothing'}"
    if isinstance(value, xr.DataTree):
        return f"a DataTree of {listing([*value.children, *value.data_vars]) or 'nothing'}"
    if isinstance(value, os.PathLike):
        return f"the path {os.fspath(value)!r}"
    if hasattr(value, "shape") and hasattr(value, "dtype") and np.ndim(value):
        own = type(value)
        return f"{own.__module__.split('.')[0]}.{own.__name__} of the shape {tuple(value.shape)}"
    if isinstance(value, pd.DataFrame):
        return f"a pandas.DataFrame of the columns {listing(value.columns)}"
    told = repr(value)
    short = told if len(told) <= LONGEST else f"{told[: LONGEST // 2]}…"
    return short if isinstance(value, str | None | int | float) else f"{short} ({_type(value)})"


def _type(value: Any) -> str:
    return type(value).__name__


def no_array(value: Any, dims: tuple[str, ...], what: str) -> TypeError:
    """That this is no DataArray with these dims, and how to get one."""
    return TypeError(
        f"{what} must be an xarray.DataArray with the dims {list(dims)}, got {came(value)}; "
        f"{_to_array(value, dims)}"
    )


def _to_array(value: Any, dims: tuple[str, ...]) -> str:
    """How a DataArray with these dims comes out of something else."""
    wanted = called(dims)
    if isinstance(value, str | os.PathLike):
        if wanted == "representations":
            return f"xconverge.open_representations({os.fspath(value)!r}, modality) opens a store"
        if wanted == "RDMs":
            return f"xconverge.io.open_rdms({os.fspath(value)!r}, modality) opens a store"
        return "open what the file holds first, xconverge.open_store(path) a store"
    if isinstance(value, xr.Dataset | xr.DataTree):
        names = [str(name) for name in value.data_vars] or [
            f"{group}/{name}"
            for group, one in getattr(value, "children", {}).items()
            for name in one.data_vars
        ]
        return f"choose one of its variables: {listing(names) or 'it has none'}"
    if isinstance(value, pd.Series | pd.DataFrame) and wanted != "representations":
        return f"name its index {dims[0]!r} and use .to_xarray(): values are joined on labels"
    if wanted == "representations":
        if type(value).__module__.startswith("zarr"):
            return "xconverge.open_representations(path, modality) opens the store that it is in"
        if isinstance(value, pd.DataFrame):
            return "xconverge.stack_models({'name': frame.values}, stimuli=[…]) labels its rows"
        if isinstance(value, Mapping):
            return "xconverge.stack_models makes one from a dict of arrays"
        return "xconverge.stack_models({'name': array}, stimuli=[…]) labels its rows"
    return (
        "label the values with xarray.DataArray(values, dims=…, coords={…}): they are joined on "
        "labels, never on position"
    )


def check_own_memory(array: xr.DataArray, what: str) -> None:
    """Refuse values that neither numpy nor dask holds (sparse, cupy); nothing is read."""
    # .data would read what xarray itself holds lazily
    held = getattr(array.variable, "_data", None)
    held = getattr(held, "_meta", held) if array.chunks is not None else held
    module = type(held).__module__.split(".")[0]
    ours = isinstance(held, np.ndarray | None)
    if not ours and module not in ("numpy", "xarray", "dask", "pandas"):
        raise TypeError(
            f"{what} holds a {module}.{type(held).__name__}, and only arrays of numpy and dask are "
            f"taken; {what}.as_numpy() makes it one"
        )
