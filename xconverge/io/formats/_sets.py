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
from xconverge.io.formats._reading import reading
from xconverge.io.formats._tables import DELIMITERS, text_table
from xconverge.io.paths import FilePath, local_path
from xconverge.io.zarr.encoding import NAME
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.checks import check_text, validate, widths
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import float_array
from xconverge.labels.stack import stack_models
from xconverge.labels.text import label_text

Ids = Sequence[object] | FilePath
"""Ids of stimuli: labels, or the path of a text file, or of a table and its column."""
OWN_FEATURES = ("network", "layer", "subject", "region")
"""Extra dims whose every label has features of its own, as every model has."""


def file_and_column(path: FilePath) -> tuple[Path, str | None]:
    """The table and the column of ``ids.csv:image``; what is there as a whole has no column."""
    whole = local_path(path)
    parts = os.path.expanduser(os.fspath(path)).split(":")
    # a drive of Windows, and names of columns, have colons too
    for end in range(len(parts) - 1, 0, -1):
        file, column = Path(":".join(parts[:end])), ":".join(parts[end:])
        # `C:` may be a folder; one that is called ids.csv is a mistake to be told
        table = file.exists() and (not file.is_dir() or file.suffix.lower() in DELIMITERS)
        if column and table and not whole.exists():
            return file, column
    return whole, None


def ids_of_file(path: FilePath) -> list[str]:
    """Ids that are in a file: one a line, or a column of a table, as ``ids.csv:image``."""
    file, column = file_and_column(path)
    return lines_of_file(file, "id") if column is None else _ids_of_column(file, column)


def _ids_of_column(path: Path, column: str) -> list[str]:
    """The cells of a column, as they stand."""
    with reading(path, "a table with ids, .csv or .tsv in UTF-8") as file:
        if file.suffix.lower() not in DELIMITERS:
            raise SchemaError(f"{file} is no .csv or .tsv, which alone have columns of ids")
        table = text_table(file)
        if column not in table:
            raise SchemaError(
                f"{file} has no column {column!r} of ids; its columns are {listing(table, 30)}"
            )
        ids = table[column].tolist()
        blank = [row for row, label in enumerate(ids, 2) if not label.strip()]
        if blank or not ids:
            what = f"none in rows {listing(blank)}" if blank else "no rows"
            raise SchemaError(f"{file} must have an id in every row of {column!r}; it has {what}")
    return ids


def lines_of_file(path: Path, what: str) -> list[str]:
    """One id or text a line, UTF-8; only line feeds, after a carriage return or not, end a line."""
    with reading(path, f"a list of {what}s, UTF-8 text with one {what} a line") as file:
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        lines = text.removesuffix("\n").split("\n")
        blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
        if blank:
            raise SchemaError(
                f"{file} has blank lines: {listing(blank)}; it must have one {what} a line"
            )
    return lines


def ids_of(ids: Ids | None, source: Path, how: str = "") -> list[str]:
    """The ids of the rows of a file; ``how`` says in what other way they can be given."""
    if ids is None:
        raise SchemaError(
            f"{source} does not say which stimuli its rows are, and rows are never named by their "
            f"position; give ids=[…], the path of a text file with one id a line, or of a table "
            f"and its column, 'ids.csv:image'{how}"
        )
    if isinstance(ids, str | os.PathLike):
        return ids_of_file(ids)
    return list(label_text(ids, "ids"))


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
    small = not lazy and sum(array.nbytes for array in models.values()) <= BUDGETS.whole_model
    reps = stack_models(
        {
            # large ones as tasks, of which each padded copy goes as it is joined to the others;
            # name=False: else dask hashes all values
            name: array
            if small or isinstance(array, da.Array)
            else da.from_array(array, -1, name=False)
            for name, array in models.items()
        },
        stimuli=ids,
        modality=modality,
    )
    for dim in ("model", "stimulus"):
        check_text(reps, dim, what=str(source))
    return checked(reps if lazy else reps.compute(scheduler="synchronous"), source)


def only_named(
    models: Mapping[str, Any], model: str | None, source: FilePath, names: str
) -> dict[str, Any]:
    """The models; the only one under the name that was given for it."""
    if model is None:
        return dict(models)
    if len(models) > 1:
        raise SchemaError(
            f"{source} holds {len(models)} models, named by their {names}: {listing(models)}; "
            f"model={model!r} can only name a single one"
        )
    return dict(zip([model], models.values(), strict=True))


def checked(reps: xr.DataArray, what: object, modality: str | None = None) -> xr.DataArray:
    """The set as floats; one in memory is validated, block by block."""
    reps = float_array(reps, str(what)).rename(NAME)
    if modality is not None:
        reps = reps.assign_attrs(modality=modality)
    if reps.chunks is None:
        try:
            small = reps.nbytes <= BUDGETS.whole_model
            validate(reps if small else reps.chunk(recommend_chunks(reps)))
        except SchemaError as error:
            _check_whole(reps, what)
            raise SchemaError(f"{what}: {error}") from None
    return reps


def _check_whole(set_: xr.DataArray, what: object) -> None:
    """No vector lacks a few of its features: it is whole, or missing."""
    n_features = widths(set_).broadcast_like(set_["model"])
    real = xr.DataArray(np.arange(set_.sizes["feature"]), dims="feature") < n_features
    gone = set_.isnull() & real
    some = gone & ~(gone | ~real).all("feature")
    if some.any():
        raise gaps_error(
            set_,
            some,
            str(what),
            "A vector is whole or missing: leave these features or these stimuli out, or average "
            "the repetitions in which the features were recorded",
        )


def gaps_error(set_: xr.DataArray, some: xr.DataArray, what: str, cure: str) -> SchemaError:
    """That features are NaN in ``some`` rows and not in others, by the names of all of them."""
    n_features = widths(set_).broadcast_like(set_["model"])
    places = places_of(set_)
    again = [d for d in some.dims if d not in ("stimulus", "feature", *places)]
    some = some.drop_vars(list(some.coords)).any(again).transpose(*places, "stimulus", "feature")
    some = some.compute()
    faults = []
    for at in zip(*np.nonzero(some.any(["stimulus", "feature"]).values), strict=True):
        here, where = some.values[at], dict(zip(places, at, strict=True))
        width = n_features.isel({d: i for d, i in where.items() if d in n_features.dims})
        features = here.any(axis=0)
        name = set_.indexes["model"][where["model"]]
        faults.append(
            f"{place_name(set_, where)}, {features.sum()} of {int(width)} features: "
            f"{listing(_feature_names(set_, name)[features])}; stimuli "
            f"{listing(set_.indexes['stimulus'][here.any(axis=1)])}"
        )
        if len(faults) == 5:
            break
    return SchemaError(
        f"{what} has rows of which some features are NaN and others are not: "
        f"{'. '.join(faults)}. {cure}"
    )


def places_of(set_: xr.DataArray) -> list[str]:
    """``model``, and the other dims that have features of their own, as ``n_features`` may say."""
    known = {
        *OWN_FEATURES,
        *(set_.coords["n_features"].dims if "n_features" in set_.coords else ()),
    }
    return ["model", *(str(d) for d in set_.dims if d in known and d != "model")]


def place_name(set_: xr.DataArray, where: Mapping[str, int]) -> str:
    """What positions along dims are called: ``model 'brain', subject 's1'``."""
    names = {d: set_.indexes[d][i] if d in set_.indexes else i for d, i in where.items()}
    return ", ".join(f"{dim} {str(name)!r}" for dim, name in names.items())


def _feature_names(set_: xr.DataArray, model: str) -> Any:
    """What the features are called: the first coordinate of theirs that is unique, or positions."""
    # numbers of a scale (where a voxel lies) last
    for coord in sorted(set_.coords.values(), key=lambda coord: coord.dtype.kind == "f"):
        if "feature" in coord.dims and set(coord.dims) <= {"model", "feature"}:
            values = coord.sel(model=model).values if "model" in coord.dims else coord.values
            if len(set(values)) == len(values):
                return values
    return np.arange(set_.sizes["feature"])
