"""Tables with one row a stimulus: CSV and Parquet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._needs import needs
from xconverge.io.formats._reading import check_memory, reading
from xconverge.io.formats._sets import Ids, file_and_column, ids_of, representation_set
from xconverge.io.formats._tables import check_names, numbers_of, text_blocks
from xconverge.io.formats._vectors import arrow_numbers, arrow_vectors, is_vector, plain_type
from xconverge.io.paths import FilePath, local_path
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, escaped, listing
from xconverge.labels.numbers import float_dtype
from xconverge.labels.text import label_text


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
        Name of the column with the ids; or ids beside the table, as for `read_npy`. They are text
        and stay as they are: ``007``, ``NA``, ``1.0``.
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
        features are all missing (empty, ``NA``, ``n/a``, ``NaN`` or ``nan``) is one that the
        model never saw.

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
    with reading(source, "a CSV table, UTF-8") as path:
        labels, parts = [], []
        # block by block: as text, a table takes many times the memory of its numbers
        for block in text_blocks(path, delimiter):
            names = list(map(str, block))
            column = _id_column(ids, names, path)
            chosen = _features(features, names, column, path)
            here = [f"row {row + 1}" for row in block.index]
            if column is not None:
                here = block[column].tolist()
                labels += here
            parts.append(numbers_of(block[chosen], here, path))
            _check_missing(parts[-1], chosen, here, path)
        labels = labels if column is not None else ids_of(ids, path)
        return _set(np.concatenate(parts), labels, path, model, modality)


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
        schema = file.schema_arrow
        check_names(schema.names, path)
        index = _pandas_index(schema)
        if ids is None and len(index) == 1 and _is_text(schema.field(index[0]).type):
            ids = index[0]
        column = _id_column(ids, schema.names, path)
        rest = [name for name in schema.names if name not in index]
        chosen = _features(features, rest if features is None else schema.names, column, path)
        if features is None:
            chosen = _default_features(schema, chosen, path)
        dtype = np.result_type(*(_dtype(schema.field(name), path) for name in chosen))
        # before anything is read: a damaged file may claim any number of rows
        check_memory(_n_values(file.metadata, chosen) * dtype.itemsize, str(path))
        table = file.read([*chosen, *([] if column is None else [column])])
        here = [f"row {row}" for row in range(1, len(table) + 1)]
        here = here if column is None else _ids(table[column], path, column)
        values, names = _values(table, chosen, here, path)
        _check_missing(values, names, here, path)
        labels = here if column is not None else ids_of(ids, path)
        return _set(values.astype(dtype, copy=False), labels, path, model, modality)


def _n_values(metadata: Any, names: Sequence[str]) -> int:
    """How many numbers a file claims to hold in these columns, the parts of vectors one by one."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    # the numbers of a list are a column of the file below it: ``emb.list.element``
    inside = tuple(f"{name}." for name in names)
    return sum(c.num_values for c in columns if f"{c.path_in_schema}.".startswith(inside))


def _set(
    values: Array, labels: list[str], path: Path, model: str | None, modality: str | None
) -> xr.DataArray:
    return representation_set(
        {path.stem if model is None else model: values}, labels, path, modality
    )


def _id_column(ids: Ids | None, names: Sequence[str], path: Path) -> str | None:
    """The column of the ids, if they are in one."""
    if ids is None:
        ids_of(None, path, f", or the name of a column: {listing(names)}")
    if not isinstance(ids, str):
        return None
    if ids in names:
        # a text names a column, a file of ids, or ``FILE:COLUMN``: there is no guess
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

    # text that repeats is kept as numbers of a dictionary, as a categorical of pandas is
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _ids(array: Any, path: Path, column: str) -> list[str]:
    values = array.to_pylist()
    if None in values:
        raise SchemaError(f"{path}: column {column!r} lacks an id; every stimulus needs one")
    return list(label_text(values, f"{path}: ids {column!r}"))


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


def _values(
    table: Any, chosen: Sequence[str], labels: Sequence[str], path: Path
) -> tuple[Array, list[str]]:
    """Features (rows, columns), and what each is called in an error: ``emb[0]`` of vectors."""
    parts, names = [], []
    for name in chosen:
        array = table[name].combine_chunks()
        what = f"{path}: column {name!r}"
        if is_vector(plain_type(array.type)):
            part = arrow_vectors(array, labels, what)
            names += [f"{name}[{i}]" for i in range(part.shape[1])]
        else:
            part = arrow_numbers(array, what)[:, None]
            names.append(name)
        parts.append(part)
    return np.concatenate(parts, axis=1), names


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
