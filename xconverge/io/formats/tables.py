"""Long tables of pandas: one row a number, its labels and coordinates in columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import listed, plain_attrs
from xconverge.io.formats._labels import carried, column_values, decoded, filled, text_labels
from xconverge.io.formats._sets import checked
from xconverge.io.formats._tables import check_names
from xconverge.io.formats._vectors import are_vectors, object_vectors
from xconverge.io.zarr.encoding import NAME
from xconverge.labels.checks import check_representations, widths
from xconverge.labels.coordinates import read_coordinates
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import floats
from xconverge.labels.plain import plain

ATTRS = "xconverge"


def to_long(data: xr.DataArray | xr.Dataset) -> pd.DataFrame:
    """Make a long table: one row for each number, its labels and coordinates in columns.

    Parameters
    ----------
    data : DataArray or Dataset
        A representation set, or any result. A lazy one is computed.

    Returns
    -------
    pandas.DataFrame
        Of a representation set: one row for each model, stimulus and real feature (and label of
        any further dim); missing stimuli are rows with NaN. Of a result: one row for each
        combination of labels. A column for each dim (0, 1, … where it has no labels), one for
        each coordinate, and the numbers in a column of the array's name. Variables of a Dataset
        over fewer dims are repeated along the others, as ``Dataset.to_dataframe`` does.

    Raises
    ------
    SchemaError
        A MultiIndex, or a coordinate that has the name of a dim or of the numbers.

    Notes
    -----
    Text is categorical, its categories in the order of the array: a table repeats each label many
    times, and `from_long` then knows the order, however the rows are shuffled. ``frame.attrs``
    says which column belongs to which dims.

    Examples
    --------
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.ones((1, 2)), "b": np.zeros((1, 1))}, stimuli=["cat"])
    >>> print(to_long(reps).to_string(index=False))
    model stimulus  feature  n_features  representation
        a      cat        0           2             1.0
        a      cat        1           2             1.0
        b      cat        0           1             0.0
    """
    if isinstance(data, xr.DataArray):
        name = str(data.name or "value")
        if name in data.coords or name in data.dims:
            raise SchemaError(f"data has a coordinate or dim of its own name, {name!r}; .rename it")
        dataset = read_coordinates(plain(data, "data")).to_dataset(name=name)
    elif isinstance(data, xr.Dataset):
        name, dataset = "", plain(data, "data")
    else:
        raise TypeError(f"data must be an xarray.DataArray or Dataset, got {type(data).__name__}")
    dataset = dataset.compute()
    multi = [n for n, index in dataset.indexes.items() if isinstance(index, pd.MultiIndex)]
    if multi:
        raise SchemaError(f"data has a MultiIndex: {listing(multi)}; use .reset_index first")
    dims = [str(dim) for dim in (dataset[name].dims if name else dataset.sizes)]
    sizes = {dim: dataset.sizes[dim] for dim in dims}
    rows = np.arange(math.prod(sizes.values()))
    if name and {"model", "stimulus", "feature"} <= set(dims):
        real = widths(check_representations(dataset[name], "data"), "data")
        there = xr.DataArray(np.arange(dataset.sizes["feature"]), dims="feature") < real
        whole = there.broadcast_like(dataset[name].reset_coords(drop=True)).transpose(*dims)
        rows = np.flatnonzero(whole.values.ravel())
    columns = map(str, [*dims, *dataset.coords, *dataset.data_vars])
    table = pd.DataFrame({n: _column(dataset[n], sizes, rows) for n in dict.fromkeys(columns)})
    table.attrs[ATTRS] = {
        "dims": dims,
        "columns": {str(n): list(map(str, c.dims)) for n, c in dataset.coords.items()},
        "name": name,
        "attrs": plain_attrs(data.attrs),
    }
    return table


def _column(array: xr.DataArray, sizes: Mapping[str, int], rows: Any) -> Any:
    """Values of these rows of all combinations of labels; of text that is repeated, the codes."""
    if array.dims == tuple(sizes) and array.ndim and array.name not in sizes:
        return array.values.ravel()[rows]
    values = decoded(array.values, f"the coordinate {array.name!r}")
    texts = None
    if values.dtype.kind == "O":
        codes, texts = pd.factorize(values.ravel())
        values = codes.reshape(values.shape)
    others = {dim: size for dim, size in sizes.items() if dim not in array.dims}
    whole = xr.DataArray(values, dims=array.dims).expand_dims(others).transpose(*sizes)
    column = whole.values.ravel()[rows]
    if texts is None:
        return column
    return pd.Categorical.from_codes(column, categories=pd.Index(texts, dtype=object))


def from_long(
    frame: pd.DataFrame,
    *,
    stimulus: str = "stimulus",
    model: str = "model",
    feature: str = "feature",
    value: str = NAME,
    extra: Sequence[str] | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of a long table: one row for each model, stimulus and feature.

    Parameters
    ----------
    frame : DataFrame
        Rows in any order.
    stimulus, model, feature : str
        Columns of the labels.
    value : str
        Column of the numbers.
    extra : sequence of str, optional
        Columns that are further dims (``time_bin`` …); by default those that `to_long` noted
        in ``frame.attrs``, or none.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, …): what `to_long` made of a set comes back
        identical. Models may differ in their features (``n_features``). A combination that is
        not in the table is missing, like one with NaN.

    Raises
    ------
    SchemaError
        No such column, numbers that are text, missing labels, two rows of one combination, or a
        model's vector that lacks a part of its features.

    Notes
    -----
    Labels become text, in the order of a categorical's categories, else of appearance. Features
    0 to n - 1 are positions; other labels are put in natural order (unit2 before unit10), so that
    the order of rows does not matter, and stay as a coordinate.

    Vectors in the cells of ``value`` (lists or arrays, one row a stimulus, no column ``feature``)
    are taken apart; those of one model have one length.

    Other columns become coordinates, of the dims that `to_long` noted; in a table without
    that note, of the first that a column is constant in: the model if it never varies, the
    stimulus, the model, the feature, a further dim, model and feature; columns that vary in other
    ways are left out.

    Examples
    --------
    >>> frame = pd.DataFrame({"net": ["a", "a", "b"], "image": ["cat", "dog", "dog"],
    ...                       "unit": [0, 0, 0], "rate": [1.0, 2.0, 3.0]})
    >>> reps = from_long(frame, stimulus="image", model="net", feature="unit", value="rate")
    >>> reps.sel(model="b").squeeze("feature").to_series().to_dict()
    {'cat': nan, 'dog': 3.0}
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas.DataFrame, got {type(frame).__name__}")
    note = frame.attrs.get(ATTRS, {})
    order = note.get("dims", [])
    if extra is None:
        extra = [d for d in order if d in frame.columns and d not in (model, stimulus, feature)]
    extra = listed(extra)
    if feature not in frame.columns and value in frame.columns and are_vectors(frame[value]):
        frame = _one_row_a_number(frame, (model, stimulus, *extra), feature, value)
    names = [model, stimulus, feature, *extra]
    _check_columns(frame, names, value)
    numbers = _numbers(frame[value])
    codes, labels = {}, {}
    for name in names:
        if name != feature:
            codes[name], labels[name] = _labels(frame[name], text=name in (model, stimulus))
    codes[feature], widths_, feature_labels = _features(frame[feature], codes[model])
    sizes = {name: len(labels[name]) for name in names if name != feature}
    sizes[feature] = int(widths_.max())
    shape = tuple(sizes[name] for name in names)
    # one number for each combination of labels: rows of one combination have the same
    place = np.ravel_multi_index([codes[name] for name in names], shape)
    _check_once(frame, names, place)
    values = np.full(int(np.prod(shape)), np.nan, numbers.dtype)
    values[place] = numbers
    ours = {model: "model", stimulus: "stimulus", feature: "feature"}
    dims = [ours.get(name, name) for name in names]
    array = xr.DataArray(values.reshape(shape), dims=dims, name=NAME)
    array = array.assign_coords(
        {ours.get(n, n): v for n, v in labels.items() if n not in extra or v is not None}
    )
    if feature_labels is not None:
        array = array.assign_coords(feature_label=feature_labels)
    if len(set(widths_)) > 1:
        array = array.assign_coords(n_features=("model", widths_))
    known = {str(k): [ours.get(d, d) for d in v] for k, v in note.get("columns", {}).items()}
    others = [c for c in frame.columns if c not in (*names, value) and str(c) not in array.coords]
    columns = carried({str(c): column_values(frame[c]) for c in others}, what="column ")
    for column, cells in columns.items():
        found = _coordinate(cells, codes, shape, names, known.get(column), ours)
        if found is not None:
            array = array.assign_coords({column: found})
    if set(order) == set(names):
        array = array.transpose(*(ours.get(name, name) for name in order))
    array.attrs = dict(note.get("attrs", {}))
    return checked(array, "frame", modality)


def _check_columns(frame: pd.DataFrame, names: Sequence[str], value: str) -> None:
    """There are rows, a column for each name, and a label in each cell."""
    check_names(frame.columns, "frame")
    lacking = [name for name in (*names, value) if name not in frame.columns]
    if lacking or len({*names, value}) < len(names) + 1:
        model, stimulus, feature, *_ = names
        raise SchemaError(
            f"frame needs one column for each of model={model!r}, stimulus={stimulus!r}, "
            f"feature={feature!r}, value={value!r}; it has {listing(frame.columns, 30)}"
        )
    if not len(frame):
        raise SchemaError("frame has no rows")
    gone = [name for name in names if frame[name].isna().any()]
    if gone:
        raise SchemaError(f"column {listing(gone)} has missing labels; every row needs one")


def _check_once(frame: pd.DataFrame, names: list[str], place: Any) -> None:
    """No combination of labels has two rows."""
    first, rows = np.unique(place, return_index=True)
    if len(first) < len(place):
        again = frame.iloc[np.setdiff1d(np.arange(len(place)), rows)[:5]]
        raise SchemaError(
            f"frame has {len(place) - len(first)} rows too many: one combination several times, "
            f"as {listing([tuple(map(str, r)) for r in again[names].to_numpy()])}; average them "
            "first, or make what tells them apart a dim with extra=[…]"
        )


def _numbers(column: pd.Series) -> Any:
    """Numbers of a column as floats, missing ones as NaN, whichever of pandas' types they have."""
    what = f"column {column.name!r}"
    dtype = column.dtype
    if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)) or (
        isinstance(dtype, pd.CategoricalDtype)
    ):
        raise SchemaError(f"{what} must hold numbers, got {dtype}")
    if isinstance(dtype, np.dtype):
        return floats(column.to_numpy(), what)
    gone = column.isna().to_numpy()
    there = floats(column[~gone].to_numpy(), what)
    numbers = np.full(len(column), np.nan, there.dtype)
    numbers[~gone] = there
    return numbers


def _one_row_a_number(
    frame: pd.DataFrame, names: Sequence[str], feature: str, value: str
) -> pd.DataFrame:
    """A table of vectors with one row for each number of each."""
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise SchemaError(
            f"frame holds vectors in {value!r}, and has no column {listing(lacking)} that labels "
            f"them; it has {listing(frame.columns, 30)}"
        )
    labels = frame[list(names)].astype(str).agg("/".join, axis=1).tolist()
    vectors = object_vectors(frame[value].tolist(), labels, f"column {value!r}")
    lengths = [len(vector) for vector in vectors]
    rows = frame.drop(columns=value).iloc[np.repeat(np.arange(len(frame)), lengths)]
    positions = np.concatenate([np.arange(length) for length in lengths])
    return rows.assign(**{feature: positions, value: np.concatenate(vectors)})


def _labels(column: pd.Series, text: bool) -> tuple[Any, Any]:
    """Codes of the rows and the labels of a dim, in the order of categories or of appearance."""
    values: Any
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
        codes, values = column.cat.codes.to_numpy(np.int64), np.asarray(column.cat.categories)
    else:
        ordered = not text and column.dtype.kind in "iufMm"
        codes, values = _factorized(column, ordered)
    what = repr(column.name)
    return codes, text_labels(values, what) if text else decoded(values, what)


def _factorized(column: pd.Series, ordered: bool) -> tuple[Any, Any]:
    """Code of each row, and the values that they stand for."""
    try:
        return pd.factorize(column_values(column), sort=ordered)
    except TypeError as error:
        raise SchemaError(f"column {column.name!r} holds {error}; labels are text") from error


def _features(column: pd.Series, models: Any) -> tuple[Any, Any, Any]:
    """Position of each row's feature in its model, width of each model, labels if they are any."""
    n_models = int(models.max()) + 1
    if column.dtype.kind in "iu":
        positions = column.to_numpy(np.int64)
        widths_ = np.array([positions[models == m].max() + 1 for m in range(n_models)])
        n_distinct = np.array([len(np.unique(positions[models == m])) for m in range(n_models)])
        if positions.min() >= 0 and (n_distinct == widths_).all():
            return positions, widths_, None
    codes, values = _factorized(column, False)
    texts = text_labels(values, repr(column.name))
    rank = natural_rank(texts)
    positions = np.empty(len(codes), np.int64)
    mine = []
    for m in range(n_models):
        here = models == m
        known, positions[here] = np.unique(rank[codes[here]], return_inverse=True)
        mine.append(texts[np.argsort(rank)[known]])
    widths_ = np.array([len(m) for m in mine])
    if all(len(m) == len(mine[0]) and (m == mine[0]).all() for m in mine):
        return positions, widths_, ("feature", mine[0])
    padded = np.full((n_models, widths_.max()), "", object)
    for row, m in zip(padded, mine, strict=True):
        row[: len(m)] = m
    return positions, widths_, (("model", "feature"), padded)


def _coordinate(
    values: Any,
    codes: Mapping[str, Any],
    shape: tuple[int, ...],
    names: Sequence[str],
    known: Sequence[str] | None,
    ours: Mapping[str, str],
) -> tuple[list[str], Any] | None:
    """A column as a coordinate: of the dims it is known to have, or those it is constant in."""
    sizes = dict(zip(names, shape, strict=True))
    kinds = pd.factorize(values)[0]
    theirs = {new: old for old, new in ours.items()}
    if known is not None and all(theirs.get(dim, dim) in names for dim in known):
        candidates = [[theirs.get(dim, dim) for dim in known]]
    else:
        model, stimulus, feature, *extra = names
        singles = [[model]] if (kinds == kinds[0]).all() else [[stimulus], [model], [feature]]
        candidates = [*singles, *([dim] for dim in extra), [model, feature]]
    for dims in candidates:
        size = int(np.prod([sizes[dim] for dim in dims]))
        place = (
            np.ravel_multi_index([codes[d] for d in dims], [sizes[d] for d in dims])
            if dims
            else np.zeros(len(kinds), int)
        )
        first = np.full(size, -1)
        # backwards, so that the first row of each combination is what stays
        first[place[::-1]] = np.arange(len(place))[::-1]
        if not (kinds == kinds[first][place]).all():
            continue
        found = filled(values, first)
        return [ours.get(d, d) for d in dims], found.reshape([sizes[d] for d in dims])
    return None
