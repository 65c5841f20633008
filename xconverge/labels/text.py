"""The one door for labels: whatever brings them, plain text comes out, or an error that says why.

Text stays as it is. Whole numbers become their digits, of any size; dates and times ISO 8601. All
else may mean several things (``1.0`` and ``1``, bytes of some encoding, a set without an order),
and only its owner knows which: it is refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.coordinates import read
from xconverge.labels.messages import LONGEST, SchemaError, listing, shown

Labels = np.ndarray[Any, np.dtype[np.object_]]

NOT_LABELS: dict[Any, str] = {
    bool | np.bool_: "make them text as they are meant",
    float | np.floating: "1.0 and 1 would be two labels: make them text as they are meant, or "
    "whole numbers with .astype(int)",
    bytes: "make them text with label.decode('utf-8'), or numpy.char.decode(labels, 'utf-8')",
    datetime.timedelta | np.timedelta64: "make them text, or whole numbers of a unit",
    datetime.datetime: "it has a time zone: use .tz_convert('UTC').tz_localize(None)",
    tuple | list | np.ndarray | xr.DataArray: "one label each is needed: make the parts one text, "
    "or choose one column or level; of a column vector take .ravel(), of a DataArray .values",
}
"""What to do about values that are no labels."""


def label_text(values: Any, what: str, place: str = "") -> Labels:
    """Labels as text, one a value.

    ``what`` is the argument, ``place`` where in it the labels are: `` on 'stimulus'``.
    """
    items = _items(values, what, place)
    if set(map(type, items)) <= {str}:
        return _objects(items)
    missing = [number for number, item in enumerate(items, 1) if is_missing(item)]
    if missing:
        raise SchemaError(
            f"{what} has missing labels{place}; every one needs a name, and number {missing[0]} is "
            f"{items[missing[0] - 1]}{f' ({len(missing)} in all)' if len(missing) > 1 else ''}"
        )
    kinds, texts = zip(*(_label(*item, what, place) for item in enumerate(items, 1)), strict=True)
    if len(set(kinds)) > 1:
        one, other = list(dict.fromkeys(kinds))[:2]
        examples = [shown(items[kinds.index(kind)]) for kind in (one, other)]
        raise SchemaError(
            f"{what} has {one} ({examples[0]}) and {other} ({examples[1]}) mixed as labels{place}: "
            "such labels are not unique as text where 1 meets '1'; make all of them text"
        )
    return _objects(texts)


def one_label(value: Any, what: str) -> str:
    """One label as text."""
    text: str = label_text([value], what)[0]
    return text


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, NaT, ``pandas.NA``."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _objects(texts: Sequence[str]) -> Labels:
    labels = np.empty(len(texts), object)
    labels[:] = texts
    return labels


def _items(values: Any, what: str, place: str) -> list[Any]:
    """The values one by one, as Python or NumPy has them; what has no order of rows is refused."""

    def refused(why: str) -> SchemaError:
        return SchemaError(f"{what} must be a sequence of labels{place}, {why}")

    if isinstance(values, str | bytes):
        raise refused(f"got the text {shown(values)}: put it into a list")
    if isinstance(values, set | frozenset):
        raise refused(f"got a {type(values).__name__}, which has no order; sort it into a list")
    if isinstance(values, Iterator):
        raise refused(f"got a {type(values).__name__}, which can be read once only; use list(…)")
    if isinstance(values, pd.DataFrame | Mapping | xr.DataTree):
        raise refused(f"got a {type(values).__name__}, a table; choose the column that holds them")
    if isinstance(values, pd.MultiIndex):
        raise refused(
            f"got a MultiIndex of {values.nlevels} levels; choose one with "
            ".get_level_values(…), or make them one text"
        )
    if isinstance(values, xr.DataArray):
        values = _own_labels(values, what)
    elif isinstance(values, xr.Variable) or hasattr(values, "__dask_graph__"):
        values = read(xr.DataArray(values))
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        # objects, because .values makes floats of whole numbers beside missing ones
        values = np.asarray(values.astype(object), dtype=object)
    if not isinstance(values, np.ndarray):
        if not hasattr(values, "__iter__"):
            raise refused(f"got {shown(values)} ({type(values).__name__})")
        return list(values)
    if values.ndim != 1:
        raise refused(
            f"got an array of the shape {values.shape}; one dim is needed: .ravel() of a column "
            "vector, or choose one column"
        )
    if np.ma.isMaskedArray(values):
        gone = np.ma.getmaskarray(values)
        values = values.data.astype(object)
        values[gone] = None
    # .tolist() would make plain integers of times
    return list(values) if values.dtype.kind in "Mm" else list(values.tolist())


def _own_labels(array: xr.DataArray, what: str) -> Any:
    """The values of a DataArray of labels, whose own labels do not say otherwise."""
    values = read(array)
    index = array.indexes.get(array.dims[0]) if array.ndim == 1 else None
    if index is not None and array.name not in array.dims:
        own = np.asarray(index, dtype=object)
        if not (own == np.asarray(values, dtype=object)).all():
            raise SchemaError(
                f"{what} is a DataArray of values ({listing(values, 2)}) with other labels of "
                f"their own ({listing(own, 2)}); give .values if those are the labels, or "
                f".{array.dims[0]} if these are"
            )
    return values


def _label(number: int, value: Any, what: str, place: str) -> tuple[str, str]:
    """The kind of a label and its text."""
    if isinstance(value, str):
        return "text", str(value)
    # NumPy counts a timedelta among its integers
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64):
        return "whole numbers", str(int(value))
    if isinstance(value, datetime.date | np.datetime64) and not getattr(value, "tzinfo", None):
        try:
            # one text for one time, whatever unit it is kept in
            return "dates", pd.Timestamp(value).isoformat().removesuffix("T00:00:00")
        except ValueError:
            pass  # beyond what pandas can hold
    cure = next((cure for kind, cure in NOT_LABELS.items() if isinstance(value, kind)), None)
    raise SchemaError(
        f"{f'labels of {what}{place}' if place else what} must be text or whole numbers, or dates; "
        f"number {number} is {repr(value)[:LONGEST]} ({type(value).__name__}): "
        f"{cure or 'make them text as they are meant'}"
    )
