"""Tables with one row a stimulus: CSV and Parquet."""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._needs import needs
from xconverge.io.formats._reading import reading
from xconverge.io.formats._sets import (
    Ids,
    check_memory,
    file_and_column,
    ids_of,
    representation_set,
)
from xconverge.io.formats._vectors import arrow_vectors, is_vector, plain_type
from xconverge.io.paths import FilePath, local_path
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, escaped, listing
from xconverge.labels.numbers import WHOLE, check_digits, float_dtype, floats
from xconverge.labels.text import label_text

MISSING = ("", "NA", "NaN", "nan")
"""Cells of features that are missing; ids and names of columns stay text whatever they say."""
ROWS = 1024
"""Rows that are parsed at a time."""


def read_csv(
    source: FilePath,
    ids: Ids | None = None,
    *,
    features: Sequence[str | int] | None = None,
    delimiter: str = ",",
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    r"""Read the features of one model from a CSV table with one row a stimulus.

    Parameters
    ----------
    source : path
        The file: UTF-8, a line with the names of the columns, then one a stimulus.
    ids : str, sequence of str, or path
        Name of the column with the ids; or the ids of the rows, in their order; or a text file
        (UTF-8) with one id a line. They are text and stay as they are: ``007``, ``NA``, ``1.0``.
    features : sequence of str, optional
        Columns that are features, in this order; default all but the ids, in that of the file.
    delimiter : str
        What stands between two cells: ``";"``, or a tab.
    model : str, optional
        Name of the model; default the name of the file without its extension.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), in memory, float64. A stimulus whose
        features are all missing (empty, ``NA``, ``NaN`` or ``nan``) is one that the model never
        saw.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SchemaError
        No ids; columns of one name, or of none; a row of another length; a cell that is no
        number, or is missing while others of its row are not; and what `validate` refuses.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "vit.csv")
    >>> n = path.write_text("image,a,b\n007,0.5,1\nNA,2,3\n")
    >>> reps = read_csv(path, "image")
    >>> reps.stimulus.values.tolist(), reps.sel(model="vit", stimulus="007").values.tolist()
    (['007', 'NA'], [0.5, 1.0])
    """
    if len(delimiter) != 1:
        raise SchemaError(f"delimiter must be one character, got {delimiter!r}")
    with (
        reading(source, "a CSV table, UTF-8") as path,
        # -sig: spreadsheets put a mark before the first name; newline="": as the csv module asks
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        names = next(lines, [])
        column = _id_column(ids, names, path)
        chosen = _features(features, names, column, path)
        labels: list[str] = []
        blocks = []
        for numbers, rows in _whole_rows(lines, names, path):
            here = numbers if column is None else [row[names.index(column)] for row in rows]
            labels += [] if column is None else here
            blocks.append(_parsed(rows, [names.index(name) for name in chosen], names, here, path))
        values = np.concatenate([np.empty((0, len(chosen))), *blocks])
        return representation_set(
            {path.stem if model is None else model: values},
            labels if column is not None else ids_of(ids, path),
            path,
            modality,
        )


def read_parquet(
    source: FilePath,
    ids: Ids | None = None,
    *,
    features: Sequence[str | int] | None = None,
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read the features of one model from a Parquet table with one row a stimulus.

    Parameters
    ----------
    source : path
        The file; needs pyarrow.
    ids : str, sequence of str, or path, optional
        As for `read_csv`. Whole numbers become text in their plain decimal form (``7``, not
        ``007``). Default: the index that pandas saved, if it is text.
    features : sequence of str, optional
        Columns that are features, in this order; default all but the ids and the index that pandas
        saved, in that of the file.
    model : str, optional
        Name of the model; default the name of the file without its extension.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), in memory, in the widest dtype of the
        features, float64 where one is an integer or a boolean. A stimulus whose features are all
        null is one that the model never saw.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        pyarrow is not installed.
    SchemaError
        No ids, or ids that are floats, such as ``1.0``; columns of one name; features that are no
        numbers, or of which a row lacks some; and what `validate` refuses.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> path = tempfile.mkdtemp() + "/vit.parquet"
    >>> pd.DataFrame({"image": ["cat", "dog"], "a": [0.5, 2], "b": [1, 3]}).to_parquet(path)
    >>> read_parquet(path, "image").sel(model="vit", stimulus="dog").values.tolist()
    [2.0, 3.0]
    """
    pq = needs("pyarrow.parquet", "read_parquet")
    with reading(source, "a Parquet table") as path, pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        index = _pandas_index(file.schema_arrow)
        if ids is None and len(index) == 1 and _is_text(file.schema_arrow.field(index[0]).type):
            ids = index[0]
        column = _id_column(ids, names, path)
        rest = [name for name in names if name not in index]
        chosen = _features(features, rest if features is None else names, column, path)
        if features is None:
            chosen = _default_features(file.schema_arrow, chosen, path)
        values, labels = _columns(file, chosen, column, path)
        return representation_set(
            {path.stem if model is None else model: values},
            labels if column is not None else ids_of(ids, path),
            path,
            modality,
        )


def _id_column(ids: Ids | None, names: Sequence[str], path: Path) -> str | None:
    """The column of the ids, if they are in one."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SchemaError(f"{path} has several columns of one name: {listing(twice)}; rename them")
    if not names:
        raise SchemaError(f"{path} has no columns")
    if ids is None:
        ids_of(None, path, f", or the name of a column: {listing(names)}")
    if not isinstance(ids, str):
        return None
    if ids in names:
        if local_path(ids).is_file():
            raise SchemaError(
                f"ids={ids!r} names a column of {path}, and a file is called so too; give the file "
                f"as './{ids}', or rename one of the two"
            )
        return ids
    if not file_and_column(ids)[0].exists():
        raise SchemaError(
            f"ids={ids!r} is no column of {path}, which has {listing(names)}, and no file"
        )
    return None


def _features(
    features: Sequence[str | int] | None, names: Sequence[str], column: str | None, path: Path
) -> list[str]:
    """The columns of the features."""
    if features is None:
        chosen = [name for name in names if name != column]
        if "" in chosen:
            raise SchemaError(
                f"column {names.index('') + 1} of {path} has no name, as the row numbers that "
                "pandas writes; name it, or say which columns are features=[…]"
            )
        if not chosen:
            raise SchemaError(
                f"{path} has the columns {listing(names)}, and none that is a feature; if others "
                "were meant, give the delimiter"
            )
        return chosen
    if isinstance(features, str):
        raise SchemaError(f"features must be a list of columns, got {features!r}")
    chosen = list(label_text(list(features), "features"))
    other = [name for name in chosen if name not in names]
    if other:
        raise SchemaError(f"{path} has no column {listing(other)}; it has {listing(names)}")
    if len(set(chosen)) < len(chosen) or column in chosen or not chosen:
        raise SchemaError(
            f"features={listing(chosen)} must name at least one column, none twice, not the ids"
        )
    return chosen


def _whole_rows(
    lines: Any, names: Sequence[str], path: Path
) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Rows in blocks, with words for where they are; each has a cell for every column."""
    while True:
        numbers, rows = [], []
        for row in islice(lines, ROWS):
            if len(row) != len(names):
                what = f"{len(row)} cells" if row else "none, it is blank"
                raise SchemaError(
                    f"{path} has {len(names)} columns, and line {lines.line_num} has {what}; give "
                    "the delimiter if another was meant"
                )
            numbers.append(f"line {lines.line_num}")
            rows.append(row)
        if not rows:
            return
        yield numbers, rows


def _parsed(
    rows: list[list[str]], places: list[int], names: Sequence[str], labels: list[str], path: Path
) -> Array:
    """Numbers of the cells at these places of every row."""
    values = np.empty((len(rows), len(places)))
    for number, row in enumerate(rows):
        cells = [row[place] for place in places]
        try:
            # NumPy parses a row at once; only a row that fails is looked at cell by cell
            if "_" in "".join(cells):
                raise ValueError("Python reads 1_0 as 10, a table does not")
            values[number] = cells
        except ValueError:
            for i, cell in enumerate(cells):
                values[number, i] = _number(cell, names[places[i]], labels[number], path)
    chosen = [names[place] for place in places]
    for number, i in zip(*np.nonzero(np.abs(values) >= WHOLE), strict=True):
        what = f"{path}: column {chosen[i]!r}, {labels[number]!r},"
        check_digits(rows[number][places[i]], values[number, i], what)
    _check_missing(values, chosen, labels, path)
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


def _check_missing(values: Array, names: Sequence[str], labels: Sequence[str], path: Path) -> None:
    """A row lacks all of its features or none."""
    missing = np.isnan(values)
    partly = missing.any(1) & ~missing.all(1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        lacking = [name for name, gone in zip(names, missing[row], strict=True) if gone]
        raise SchemaError(
            f"{path}: {labels[row]!r} lacks {listing(lacking)} and has other features; a stimulus "
            "has all of them, or none if the model never saw it"
        )


def _pandas_index(schema: Any) -> list[str]:
    """Columns that pandas saved as its index."""
    metadata = schema.pandas_metadata or {}
    saved = metadata.get("index_columns", [])
    return [name for name in saved if isinstance(name, str) and name in schema.names]


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _columns(
    file: Any, chosen: Sequence[str], column: str | None, path: Path
) -> tuple[Array, list[str]]:
    """Features (rows, columns) and the labels of the rows."""
    schema = file.schema_arrow
    dtype = np.result_type(*(_dtype(schema.field(name), path) for name in chosen))
    n_rows = file.metadata.num_rows
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    claimed = n_rows * len(chosen) * dtype.itemsize
    check_memory(max(claimed, sum(g.total_byte_size for g in groups)), str(path))
    values, labels, at = np.empty((n_rows, len(chosen)), dtype), list[str](), 0
    widths: dict[str, int] = {}
    wanted = [*chosen, *([] if column is None else [column])]
    for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
        stop = at + batch.num_rows
        here = [f"row {number}" for number in range(at + 1, stop + 1)]
        if column is not None:
            here = list(
                label_text(_ids(batch.column(column), path, column), f"{path}: ids {column!r}")
            )
        parts = {}
        for name in chosen:
            what = f"{path}: column {name!r}"
            parts[name] = _values(batch.column(name), here, what, widths.get(name))
        if not at:
            widths = {name: part.shape[1] for name, part in parts.items()}
            check_memory(n_rows * sum(widths.values()) * dtype.itemsize, str(path))
            values = np.empty((n_rows, sum(widths.values())), dtype)
        block = np.concatenate(list(parts.values()), axis=1, out=values[at:stop])
        _check_missing(block, _feature_names(widths, schema), here, path)
        labels += here
        at = stop
    if at != n_rows:
        raise SchemaError(f"{path} claims {n_rows} rows and has {at}; it is damaged")
    return values, labels


def _ids(array: Any, path: Path, column: str) -> list[object]:
    values: list[object] = array.to_pylist()
    if None in values:
        raise SchemaError(f"{path}: column {column!r} lacks an id; every stimulus needs one")
    return values


def _dtype(field: Any, path: Path) -> np.dtype[Any]:
    import pyarrow as pa

    kind = plain_type(field.type)
    if is_vector(kind):
        kind = kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return float_dtype(kind.to_pandas_dtype())
    raise SchemaError(
        f"{path}: column {field.name!r} holds {field.type}, which is no number"
        f"{' and no vector' if field.type != kind else ''}; say which columns are features=[…]"
    )


def _values(array: Any, labels: Sequence[str], what: str, width: int | None) -> Array:
    """Numbers (rows, 1) of a column as floats, null as NaN; or its vectors (rows, width)."""
    if is_vector(plain_type(array.type)):
        return arrow_vectors(array, labels, what, width)
    return _numbers(array, what)[:, None]


def _feature_names(widths: Mapping[str, int], schema: Any) -> list[str]:
    """What each feature is called in an error: ``emb[0]`` in a column of vectors."""
    return [
        f"{name}[{i}]" if is_vector(plain_type(schema.field(name).type)) else name
        for name, width in widths.items()
        for i in range(width)
    ]


def _default_features(schema: Any, names: Sequence[str], path: Path) -> list[str]:
    """All columns; the only one of vectors where there is one."""
    wide = [name for name in names if is_vector(plain_type(schema.field(name).type))]
    if not wide:
        return list(names)
    if len(wide) > 1:
        raise SchemaError(
            f"{path} has several columns of vectors: {listing(wide)}; say which of them are the "
            "features of the model with features=[…]"
        )
    others = [name for name in names if name not in wide]
    if others:
        warnings.warn(
            f"{escaped(path)}: the vectors in {wide[0]!r} are the features, and "
            f"{listing(others)} left out; features=[…] says otherwise",
            RuntimeWarning,
            stacklevel=3,
        )
    return wide


def _numbers(array: Any, what: str) -> Array:
    import pyarrow as pa

    if not array.null_count or pa.types.is_floating(array.type):
        return floats(array.to_numpy(zero_copy_only=False), what)
    zero = pa.scalar(False if pa.types.is_boolean(array.type) else 0, array.type)
    values = floats(array.fill_null(zero).to_numpy(zero_copy_only=False), what)
    values[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values
