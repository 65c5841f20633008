"""Selections as tables that experiment software and spreadsheets load."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._labels import decoded
from xconverge.io.formats._writing import writing
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.messages import SchemaError, listing

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_selection(
    path: FilePath,
    selection: xr.Dataset,
    *,
    overwrite: bool = False,
) -> Path:
    """Write chosen stimuli as a CSV file, one row each, in their order.

    Parameters
    ----------
    path : path
        The file; it appears when it is whole.
    selection : Dataset
        What ``select_stimuli`` or ``optimize_stimuli`` returned, or any with stimuli.
    overwrite : bool
        Replace a file that is there.

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
        Texts begin with ``=``, ``+``, ``-`` or ``@``, which a spreadsheet runs as a formula. They
        are written as they are, because a label that comes back changed names another stimulus:
        import such columns as text.

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
    keep_default_na=False)`` brings every text back as it was, ``NA`` and ``007`` too.

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
    columns = _columns(selection)
    risky = [
        f"{name}: {value}"
        for name, values in columns.items()
        for value in (values if values.dtype == object else ())
        if isinstance(value, str) and value.startswith(FORMULA)
    ]
    if risky:
        warnings.warn(
            f"a spreadsheet would run these texts as formulas: {listing(risky)}; import their "
            "columns as text",
            RuntimeWarning,
            stacklevel=2,
        )
    with (
        writing(path, overwrite=overwrite) as part,
        part.open("x", encoding="utf-8", newline="") as file,
    ):
        # RFC 4180; with newline="" above, Python leaves line breaks inside of texts alone
        pd.DataFrame(columns).to_csv(file, index=False, lineterminator="\r\n")
    return local_path(path)


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
