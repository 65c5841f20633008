"""Selections as tables that experiment software and spreadsheets load."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import decoded
from xconverge.io.formats._writing import writing
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, choose, listing

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet runs, without the apostrophes that keep it from that."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_selection(
    path: FilePath,
    selection: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    overwrite: bool = False,
    formulas: Literal["keep", "escape"] = "keep",
) -> Path:
    r"""Write chosen stimuli as a CSV file, one row each, in their order.

    Parameters
    ----------
    path : path
        The file; it appears when it is whole.
    selection : Dataset, or mapping of name to Dataset
        What ``select_stimuli`` or ``optimize_stimuli`` returned, or any with stimuli. Several
        sets, ``{"low": low, "high": high}`` say, become one file with a column ``set``.
    overwrite : bool
        Replace a file that is there.
    formulas : {"keep", "escape"}
        What to do with texts (cells and names of columns) that begin with ``=``, ``+``, ``-``,
        ``@``, a tab or a carriage return, which a spreadsheet runs as formulas: write them as they
        are, with a warning, because a label that comes back changed names another stimulus; or
        with an apostrophe before them, for files that others open in a spreadsheet. Numbers stay,
        those that are text (``"-1.5"``) too.

    Returns
    -------
    Path
        The file, UTF-8, with the columns ``order`` (from 1), the label, every variable over
        stimuli (of several criteria one column each, ``value_norm`` say) and every coordinate of
        theirs (caption, category, path …). What has no stimuli (``agreement``, ``overlap`` …) is
        not in it.

    Warns
    -----
    RuntimeWarning
        Texts that a spreadsheet runs as formulas are written as they are: which, of which stimuli.

    Raises
    ------
    FileExistsError
        The file is there.
    SchemaError
        No stimuli, a variable over other dims too, or two columns of one name.

    Notes
    -----
    Numbers have as many digits as bring back the same number; missing ones are empty. Commas,
    quotes and line breaks are quoted. ``pandas.read_csv(path, dtype={"stimulus": str},
    keep_default_na=False)`` brings every text back as it was, ``NA`` and ``007`` too; after
    ``formulas="escape"`` with ``.replace(r"^'('*[=+\-@\t\r])", r"\1", regex=True)``, which takes
    one apostrophe away (a text that begins with some and then with ``=`` has got one more). Without
    that, such a label is that of another stimulus.

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> from xconverge import select_stimuli
    >>> spread = xr.DataArray([0.1, 0.9], dims="stimulus", name="dispersion",
    ...     coords={"stimulus": ["cat", "dog"]})
    >>> path = write_selection(tempfile.mkdtemp() + "/low.csv", select_stimuli(spread, 1))
    >>> print(path.read_text("utf-8"))
    order,stimulus,value,rank,reason
    1,cat,0.1,1,"1st lowest of 2 by dispersion, 0.1"
    <BLANKLINE>
    """
    choose("formulas", formulas, ["keep", "escape"])
    columns = _columns(selection) if isinstance(selection, xr.Dataset) else _of_sets(selection)
    if formulas == "escape":
        columns = {_escaped(name): _all_escaped(values) for name, values in columns.items()}
    else:
        _warn_of_formulas(columns)
    with (
        writing(path, overwrite=overwrite) as part,
        part.open("x", encoding="utf-8", newline="") as file,
    ):
        # RFC 4180; with newline="" above, Python leaves line breaks inside of texts alone
        pd.DataFrame(columns).to_csv(file, index=False, lineterminator="\r\n")
    return local_path(path)


def _of_sets(selections: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Columns of several sets below each other, and which set each row is of."""
    if not isinstance(selections, Mapping) or not selections:
        raise TypeError(
            "selection must be a Dataset of stimuli, or a dict of name to Dataset, got "
            f"{came(selections)}"
        )
    parts = {str(name): _columns(one) for name, one in selections.items()}
    first, *others = parts
    for name in others:
        odd = sorted({*parts[name]} ^ {*parts[first]})
        if odd:
            raise SchemaError(
                f"the sets {first!r} and {name!r} have not the same columns: {listing(odd)}; write "
                "them into two files, or drop what one lacks"
            )
    if "set" in parts[first]:
        raise SchemaError("selection has two columns 'set'; rename one of them")
    names = [name for name, part in parts.items() for _ in part["order"]]
    return {
        "set": np.array(names, object),
        **{key: np.concatenate([part[key] for part in parts.values()]) for key in parts[first]},
    }


def _columns(selection: xr.Dataset) -> dict[str, Any]:
    """Columns by name, as numbers, booleans or text."""
    if "stimulus" not in getattr(selection, "indexes", {}):
        raise SchemaError("selection has no labels on 'stimulus'")
    size = selection.sizes["stimulus"]
    columns: dict[str, Any] = {"order": np.arange(1, size + 1)}

    def add(name: str, array: xr.DataArray) -> None:
        if name in columns:
            raise SchemaError(f"selection has two columns {name!r}; rename one of them")
        values = np.asarray(array)
        if values.dtype.kind in "SO" and any(isinstance(value, bytes) for value in values):
            # pandas would write b'cat'
            values = decoded(values, repr(name))
        columns[name] = values if values.dtype.kind in "biufM" else values.astype(object)

    add("stimulus", selection["stimulus"])
    for name, array in selection.data_vars.items():
        other = [dim for dim in array.dims if dim != "stimulus"]
        if "stimulus" not in array.dims:
            continue
        if len(other) > 1:
            raise SchemaError(
                f"{name!r} has the dims {list(map(str, array.dims))}; choose one with .sel()"
            )
        if other:
            for label in selection.indexes[other[0]]:
                add(f"{name}_{label}", array.sel({other[0]: label}))
        else:
            add(str(name), array)
    for name, coord in selection.coords.items():
        if coord.dims == ("stimulus",) and name != "stimulus":
            add(str(name), coord)
    return columns


def _escaped(value: Any) -> Any:
    """The value; a text that a spreadsheet would run, or that looks escaped, with an apostrophe."""
    text = isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if text else value


def _all_escaped(values: Any) -> Any:
    if values.dtype != object:
        return values
    found = np.empty(len(values), object)
    found[:] = [_escaped(value) for value in values]
    return found


def _warn_of_formulas(columns: dict[str, Any]) -> None:
    """Name the texts that a spreadsheet runs; those that look escaped it does not."""
    stimuli = columns["stimulus"]
    names = [f"the column {name}" for name in columns if _runs(name)]
    cells = [
        f"{name} of {stimulus}: {value}"
        for name, values in columns.items()
        if values.dtype == object
        for stimulus, value in zip(stimuli, values, strict=True)
        if _runs(value)
    ]
    if names or cells:
        warnings.warn(
            f"a spreadsheet would run these texts as formulas: {listing([*names, *cells])}; they "
            'are written as they are. formulas="escape" writes an apostrophe before each; or have '
            "the spreadsheet import their columns as text",
            RuntimeWarning,
            stacklevel=3,
        )


def _runs(value: Any) -> bool:
    """Whether a spreadsheet takes the value for a formula."""
    return bool(_escaped(value) is not value and not value.startswith("'"))
