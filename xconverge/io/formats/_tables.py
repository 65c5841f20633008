"""Tables of text, read by pandas: cells as they stand, names of columns that are told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import WHOLE, check_digits

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MISSING = ("", "NA", "n/a", "NaN", "nan")
"""Cells that are missing numbers; ids and names of columns stay text whatever they say."""
TRUTH = {"True": True, "False": False, "TRUE": True, "FALSE": False, "true": True, "false": False}
ROWS = 1024
"""Rows that are parsed at a time."""


def text_blocks(path: Path, delimiter: str) -> Iterator[pd.DataFrame]:
    """The rows of a table in blocks, each cell as the text that it is."""
    # -sig: spreadsheets put a mark before the first name
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = None
        # the engine of Python refuses stray quotes, and knows a cell that is not there from an
        # empty one; header=None: pandas would give columns of one name other names
        for block in pd.read_csv(
            file, sep=delimiter, header=None, dtype=object, na_filter=False, engine="python",
            skip_blank_lines=False, chunksize=ROWS,
        ):  # fmt: skip
            short = block.isna()
            if short.any(axis=None):
                row = int(np.flatnonzero(short.any(axis=1))[0])
                there = block.shape[1] - int(short.iloc[row].sum())
                raise SchemaError(
                    f"{path} has {block.shape[1]} columns, and row {block.index[row] + 1} has "
                    f"{f'{there} cells' if there else 'none, it is blank'}; give the delimiter if "
                    "another was meant"
                )
            if names is None:
                names, block = block.iloc[0].tolist(), block.iloc[1:]
                check_names(names, path)
            yield block.set_axis(names, axis=1)


def check_names(columns: Any, what: object) -> None:
    """Each column has a name of its own, also as text."""
    names = pd.Index([str(name) for name in columns], dtype=object)
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise SchemaError(f"{what} has several columns of one name: {listing(twice)}; rename them")


def text_table(path: Path, delimiter: str | None = None) -> pd.DataFrame:
    """All of a table, each cell as the text that it is; the suffix says what is between cells."""
    delimiter = delimiter or DELIMITERS[path.suffix.lower()]
    return pd.concat(text_blocks(path, delimiter), ignore_index=True)


def numbers_of(block: pd.DataFrame, labels: Sequence[str], path: Path) -> Array:
    """The numbers (rows, columns) that cells of text stand for, none of them changed."""
    names, cells = list(map(str, block)), cast(Any, block.to_numpy(object))
    try:
        if "_" in "".join(cells.flat):
            raise ValueError("Python reads 1_0 as 10, a table does not")
        values: Array = cells.astype(float)
    except ValueError:
        values = np.empty(cells.shape)
        for row, i in np.ndindex(cells.shape):
            values[row, i] = _number(cells[row, i], names[i], labels[row], path)
    for row, i in zip(*np.nonzero(np.abs(values) >= WHOLE), strict=True):
        what = f"{path}: column {names[i]!r}, {labels[row]!r},"
        check_digits(cells[row, i], float(values[row, i]), what)
    return values


def _number(cell: str, name: str, label: str, path: Path) -> float:
    if cell.strip() in MISSING:
        return np.nan
    try:
        if "_" not in cell:
            return float(cell)
    except ValueError:
        pass
    raise SchemaError(
        f"{path}: column {name!r} holds {cell[:40]!r} for {label!r}, which is no number"
        f"{_hint(cell)}; say which columns are features=[…], or correct it"
    )


def _hint(cell: str) -> str:
    """What a cell that is no number was probably meant as."""
    if re.fullmatch(r"\s*[+-]?\d*,\d+\s*", cell):
        return " (with a decimal comma, or a comma between thousands? Write 1.5 and 1000)"
    if re.fullmatch(r"\s*[+-]?\d{1,3}([., '\u00a0\u202f]\d{3})+([.,]\d+)?\s*", cell):
        return " (with marks between thousands? Write 1000)"
    if cell.lstrip().startswith(("[", "(")):
        return " (a vector as text? Write a column a number, or lists in Parquet)"
    return " (is another delimiter meant?)" if re.search("[;\t|]", cell) else ""


def inferred(cells: pd.Series, path: Path) -> Any:
    """A column of text as numbers or booleans where it holds nothing else; else missing as None."""
    gone = cells.str.strip().isin(MISSING).to_numpy()
    there = cells[~gone]
    if there.isin(TRUTH).all() and not gone.any():
        return there.map(TRUTH).to_numpy(bool)
    # 007 is a label
    if not there.str.fullmatch(r"[+-]?0\d+").any():
        with suppress(SchemaError):
            rows = there.index.astype(str).tolist()
            values = np.full(len(cells), np.nan)
            values[~gone] = numbers_of(there.to_frame(), rows, path)[:, 0]
            whole = not gone.any() and there.str.fullmatch(r"\s*[+-]?\d{1,15}\s*").all()
            return values.astype(np.int64) if whole else values
    return cells.mask(gone, None).to_numpy(object)
