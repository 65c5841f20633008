"""What is special about labels that a source holds: bytes are UTF-8, numbers may be floats.

Tools keep their ids as they can, whole numbers as floats where pandas saw a missing one. They
become text here; then they go through the one door (`xconverge.labels.text`) as all labels do.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import WHOLE, numpy_dtype, why_no_numbers
from xconverge.labels.text import is_missing, label_text, one_label

HELD = (str, bytes, bool, int, float, complex, date, timedelta, np.generic)
"""Types of which a coordinate can hold the values, or their text."""


def decoded(values: Any, what: str) -> Any:
    """Numbers and times as arrays of their own kind, all else as text, which may be missing."""
    values = np.asarray(values)
    if numpy_dtype(values.dtype).kind in "biufcMm":
        return values.astype(numpy_dtype(values.dtype).newbyteorder("="), copy=False)
    if values.dtype.kind not in "OSTU":
        raise SchemaError(f"{what} {why_no_numbers(values.dtype)}")
    flat = pd.Series(values.astype(object).ravel(), dtype=object)
    missing = flat.isna().to_numpy()
    kinds = {type(value) for value in flat[~missing]}
    typed = _typed(flat, missing, kinds, what)
    if typed is not None:
        return typed.reshape(values.shape)
    new = [v if gone else as_text(v, what) for v, gone in zip(flat, missing, strict=True)]
    texts = np.empty(len(new), object)
    texts[:] = new
    if len({_kind(kind) for kind in kinds}) > 1:
        _check_as_many(flat, texts, what)
    return texts.reshape(values.shape)


def _kind(kind: type) -> type:
    """Types between which no two values have the same text."""
    return str if issubclass(kind, bytes | str) else kind


def _typed(flat: pd.Series, missing: Any, kinds: set[type], what: str) -> Any:
    """Objects as numbers or times, if all that are there are; None if they are text, or to be."""
    if not kinds:
        return np.full(len(flat), np.nan)
    truth = all(issubclass(kind, bool | np.bool_) for kind in kinds)
    if truth and not missing.any():
        return flat.to_numpy(bool)
    if truth or not all(issubclass(kind, HELD) for kind in kinds):
        gaps = " and missing values" if missing.any() else ""
        raise SchemaError(
            f"{what} holds {listing(sorted(kind.__name__ for kind in kinds))}{gaps}, which no "
            "coordinate can hold; make it text with .astype(str), or numbers of one kind"
        )
    numbers = (int, float, complex, np.integer, np.floating, np.complexfloating)
    times = (bool, np.bool_, np.timedelta64)
    if all(issubclass(kind, numbers) and not issubclass(kind, times) for kind in kinds):
        there = np.array(flat[~missing].tolist())
        if not missing.any() and all(issubclass(kind, int | np.integer) for kind in kinds):
            low, high = int(flat.min()), int(flat.max())
            for dtype in (np.int64, np.uint64):
                if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                    return flat.to_numpy(dtype)
            return None
        for value in flat[~missing]:
            if isinstance(value, int | np.integer) and abs(int(value)) > WHOLE:
                raise SchemaError(
                    f"{what} holds the whole number {value} among floats or missing values, "
                    "which would round it; make it text"
                )
        numbers_ = np.full(len(flat), np.nan, np.result_type(there.dtype, np.float64))
        numbers_[~missing] = there
        return numbers_
    typed = flat.infer_objects().to_numpy()
    # without a zone: those that have one stay objects
    return typed if typed.dtype.kind in "Mm" else None


def column_values(column: pd.Series | pd.Index) -> Any:
    """Values of a column; those of pandas' own types one by one, or it would round numbers."""
    numpy = isinstance(column.dtype, np.dtype)
    return np.asarray(column if numpy else column.astype(object))


def carried(columns: Mapping[str, Any], needed: Collection[str] = (), what: str = "") -> Any:
    """Columns, `decoded`; what no coordinate can hold goes with a warning, or is ``needed``."""
    found, odd = {}, {}
    for name, values in columns.items():
        try:
            found[name] = decoded(values, repr(name))
        except SchemaError as error:
            if name in needed:
                raise
            odd[name] = error
    if odd:
        warnings.warn(
            f"{what}{listing(odd)} left out: {next(iter(odd.values()))}",
            RuntimeWarning,
            stacklevel=3,
        )
    return found


def as_text(value: Any, what: str) -> str:
    """A label of a source as text: numbers in plain decimal form (``12``, also for 12.0)."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SchemaError(f"{what} holds {value!r}, which is not text in UTF-8") from error
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    # of a time without a zone, the door for labels knows the text
    if isinstance(value, datetime) and getattr(value, "tzinfo", None):
        return value.isoformat()
    if isinstance(value, float | np.floating) and not np.isnan(value):
        # + 0.0: -0.0 is 0; trim: 12.0 is 12, as integers that pandas read beside NaN are floats
        return np.format_float_positional(value + 0.0, trim="-")
    return one_label(value, what)


def text_labels(values: Any, what: str) -> Any:
    """Labels of a source as text, none of them missing; two that differ stay different."""
    values = decoded(values, what).ravel()
    gone = [is_missing(value) for value in values]
    texts = [value if no else as_text(value, what) for value, no in zip(values, gone, strict=True)]
    return label_text(texts, what)


def _check_as_many(values: Any, texts: Any, what: str) -> None:
    """Numbers among text do not take the name of another label."""
    before, after = (pd.Series(v, dtype=object).nunique() for v in (values, texts))
    if before != after:
        raise SchemaError(
            f"{what} has {before} labels that are {after} as text (1 and '1', say); make them "
            "text that differs"
        )


def missing_value(dtype: Any) -> Any:
    """What fills a place that has no value: NaN, NaT, or empty text; 0 for whole numbers."""
    kind = np.dtype(dtype).kind
    if kind in "mM":
        return np.array("NaT", dtype)
    return np.nan if kind == "f" else 0 if kind in "biu" else ""


def filled(values: Any, where: Any) -> Any:
    """Values at these positions; where there is none, -1, NaN or empty text."""
    found = values[where]
    if (where >= 0).all():
        return found
    if found.dtype.kind in "biu":
        found = found.astype(np.float64)
    found[where < 0] = missing_value(found.dtype)
    return found
