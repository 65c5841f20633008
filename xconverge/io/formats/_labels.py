"""What is special about labels that a source holds: bytes are UTF-8, numbers may be floats.

Tools keep their ids as they can, whole numbers as floats where pandas saw a missing one. They
become text here; then they go through the one door (`xconverge.labels.text`) as all labels do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xconverge.labels.messages import SchemaError
from xconverge.labels.text import is_missing, label_text, one_label


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
    numbers = flat.infer_objects().to_numpy()
    if numbers.dtype.kind == "O" and len(kinds) > 1 and all(map(_is_number, kinds)):
        # of several kinds, truth values among them: no array has room for these but one of text
        numbers = np.array(numbers)
        numbers[~missing] = [as_text(value, what) for value in flat[~missing]]
    return numbers.reshape(values.shape)


def _is_number(kind: type) -> bool:
    return issubclass(kind, bool | int | float | np.bool_ | np.number)


def as_text(value: Any, what: str) -> str:
    """A label of a source as text: numbers in plain decimal form (``12``, also for 12.0)."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SchemaError(f"{what} holds {value!r}, which is not text in UTF-8") from error
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
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
