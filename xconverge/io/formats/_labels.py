"""Labels as text, one rule for all readers: numbers in plain decimal form, nothing missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xconverge.labels.messages import SchemaError


def decoded(values: Any, what: str) -> Any:
    """Text as Python strings, bytes as UTF-8; numbers among text as text, else as numbers."""
    values = np.asarray(values)
    if values.dtype.kind in "biufcMm":
        return values
    flat = pd.Series(values.astype(object).ravel(), dtype=object)
    missing = flat.isna().to_numpy()
    kinds = {type(value) for value in flat[~missing]}
    if any(issubclass(kind, bytes | str) for kind in kinds):
        new = [v if gone else as_text(v, what) for v, gone in zip(flat, missing, strict=True)]
        texts = np.empty(len(new), object)
        texts[:] = new
        if not all(issubclass(kind, bytes | str) for kind in kinds):
            _check_as_many(flat, texts, what)
        return texts.reshape(values.shape)
    return flat.infer_objects().to_numpy().reshape(values.shape)


def as_text(value: Any, what: str) -> str:
    """A label as text: numbers in plain decimal form (``12``, also for 12.0), times as ISO 8601."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SchemaError(f"{what} holds {value!r}, which is not text in UTF-8") from error
    if pd.api.types.is_scalar(value) and pd.isna(value):
        raise SchemaError(f"{what} has missing labels; every one needs a name")
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        # + 0.0: -0.0 is 0; trim: 12.0 is 12, as integers that pandas read beside NaN are floats
        return np.format_float_positional(value + 0.0, trim="-")
    if isinstance(value, np.datetime64 | np.timedelta64 | pd.Timestamp | pd.Timedelta):
        return str(pd.Series([value]).astype(str).iloc[0])
    raise SchemaError(f"{what} holds {str(value)[:60]!r} ({type(value).__name__}), not a label")


def text_labels(values: Any, what: str) -> Any:
    """Labels as text, none of them missing; two that differ stay different."""
    values = decoded(values, what)
    labels = np.empty(values.size, object)
    labels[:] = [as_text(value, what) for value in values.ravel()]
    return labels


def exact_labels(values: Sequence[object], what: str) -> list[str]:
    """Labels as text where they are typed, or stand in a column: floats are refused.

    ``1.0`` may be an id that is called so, or a 1 among missing ids; only its owner knows.
    """
    for number, value in enumerate(values, 1):
        if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
            raise SchemaError(
                f"{what} must be text or whole numbers; number {number} is "
                f"{value!r} ({type(value).__name__}). Make the ids text as they are meant"
            )
    return [as_text(value, what) for value in values]


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
