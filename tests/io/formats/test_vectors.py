"""Tables with a vector in each cell: lists of Parquet, arrays and lists of pandas."""

import warnings

import numpy as np
import pandas as pd
import pytest

import xconverge as xc
from tests.io.formats.sets import IDS, X, assert_model
from xconverge.labels.messages import SchemaError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = X.tolist()


def tensors(values):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values[0].size)
    return pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(flat.type.value_type, values.shape[1:]), flat
    )


KINDS = {
    "list": lambda: pa.array(ROWS, pa.list_(pa.float64())),
    "large_list": lambda: pa.array(ROWS, pa.large_list(pa.float64())),
    "fixed_size_list": lambda: pa.array(ROWS, pa.list_(pa.float64(), 3)),
    "tensor": lambda: tensors(X),
}


def table(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"features": ["emb"]}])
def test_a_column_of_lists_is_the_vectors(tmp_path, kind, options):
    path = table(tmp_path / "m.parquet", id=IDS, emb=KINDS[kind]())
    assert_model(xc.io.read_parquet(path, "id", **options), X, IDS)


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [(pa.float16(), "f2"), (pa.float32(), "f4"), (pa.int8(), "f8"), (pa.bool_(), "f8")],
)
def test_vectors_of_every_kind_of_number(tmp_path, numbers, dtype):
    values = (X > 1) * 1
    path = table(tmp_path / "m.parquet", id=IDS, emb=pa.array(values.tolist()).cast(
        pa.list_(numbers)))  # fmt: skip
    reps = xc.io.read_parquet(path, "id")
    assert reps.dtype == dtype
    assert_model(reps, values, IDS)


def test_what_pandas_wrote(tmp_path):
    frame = pd.DataFrame({"emb": list(X.astype("f4"))}, index=IDS)
    frame.to_parquet(tmp_path / "m.parquet")
    assert_model(xc.io.read_parquet(tmp_path / "m.parquet"), X.astype("f4"), IDS)


def test_a_row_of_nan_was_never_seen(tmp_path):
    values = [ROWS[0], [np.nan] * 3, *ROWS[2:]]
    path = table(tmp_path / "m.parquet", id=IDS, emb=values)
    assert_model(xc.io.read_parquet(path, "id"), values, IDS)


def test_lists_and_numbers_side_by_side(tmp_path):
    path = table(
        tmp_path / "m.parquet", id=IDS, a=[1, 2, 3, 4], emb=ROWS, text=list("wxyz"), b=[0.5] * 4
    )
    with pytest.warns(RuntimeWarning, match="'emb' are the features, and 'a', 'text', 'b' left"):
        reps = xc.io.read_parquet(path, "id")
    assert_model(reps, X, IDS)
    reps = xc.io.read_parquet(path, "id", features=["b", "emb", "a"])
    expected = np.column_stack([[0.5] * 4, X, [1, 2, 3, 4]])
    assert_model(reps, expected, IDS)
    path = table(tmp_path / "m.parquet", id=IDS, image=ROWS, text=ROWS)
    with pytest.raises(SchemaError, match="several columns of vectors: 'image', 'text'"):
        xc.io.read_parquet(path, "id")
    assert_model(xc.io.read_parquet(path, "id", features=["text"]), X, IDS)


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ([*ROWS[:3], [1.0]], r"several lengths: 3 numbers, and 1 for '日本'"),
        ([*ROWS[:3], []], r"several lengths: 3 numbers, and 0 for '日本'"),
        ([[], [], [], []], r"empty vectors|no features|is no number"),
        ([*ROWS[:3], None], "no vector for '日本'"),
        ([*ROWS[:3], [1.0, None, 2.0]], "a null inside of its vector for '日本'"),
        ([*ROWS[:3], [1.0, np.nan, 2.0]], r"'日本' lacks 'emb\[1\]'"),
        ([*ROWS[:3], [1.0, np.inf, 2.0]], "infinity: model 'm', stimulus '日本'"),
        ([["a"]] * 4, r"list<.*string>, which is no number and no vector"),
        ([[[1.0, 2.0]]] * 4, "list<.*list<.*double>>, which is no number and no vector"),
    ],
)
def test_vectors_that_are_none(tmp_path, column, match):
    path = table(tmp_path / "m.parquet", id=IDS, emb=column)
    for options in ({}, {"features": ["emb"]}):
        with pytest.raises(SchemaError, match=match):
            xc.io.read_parquet(path, "id", **options)


def test_vectors_of_another_length_in_a_later_row_group(tmp_path, monkeypatch):
    path = table(tmp_path / "m.parquet", id=IDS, emb=[*ROWS[:2], [1.0], [2.0]])
    with pytest.raises(SchemaError, match="3 numbers, and 1 for 'größe/ü.jpg', '日本'"):
        xc.io.read_parquet(path, "id")
    monkeypatch.setattr("xconverge.io.formats._reading.free_bytes", lambda: 2000)
    with pytest.raises(SchemaError, match="of memory are free"):
        xc.io.read_parquet(table(tmp_path / "l.parquet", id=IDS, emb=[[0.0] * 100] * 4), "id")


def test_maps_are_no_vectors(tmp_path):
    path = table(tmp_path / "m.parquet", id=IDS, emb=tensors(X[:, None]))
    with pytest.raises(SchemaError, match="fixed_shape_tensor.*which is no number"):
        xc.io.read_parquet(path, "id")


# pandas


@pytest.mark.parametrize("cell", [list, tuple, np.asarray])
def test_a_frame_of_vectors(cell):
    frame = pd.DataFrame({"model": "m", "stimulus": IDS, "emb": [cell(row) for row in ROWS]})
    frame["kind"] = list("xyxy")
    reps = xc.io.from_long(frame, value="emb")
    assert_model(reps, X, IDS)
    assert reps.kind.dims == ("stimulus",)
    both = pd.concat([frame, frame.assign(model="n", emb=[[1.0, 2.0]] * 4)])
    reps = xc.io.from_long(both, value="emb")
    assert reps.n_features.values.tolist() == [3, 2]
    np.testing.assert_array_equal(reps.values[1, :, :2], [[1, 2]] * 4)


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        (None, "column 'emb' has no vector for 'm/日本'"),
        ([1.0], "some features are NaN.*'m', 2 of 3 features.*'日本'"),
        ([], r"holds '\[\]' for 'm/日本', which is no vector of numbers"),
        (["a", "b", "c"], "'m/日本', which is no vector of numbers"),
        ([1.0, None, 2.0], "'m/日本', which is no vector of numbers"),
        ([[1.0], [2.0, 3.0]], "'m/日本', which is no vector of numbers"),
        ("1 2 3", "column 'emb' has no vector for 'm/日本'"),
    ],
)
def test_a_frame_of_vectors_and_something_else(cell, match):
    frame = pd.DataFrame({"model": "m", "stimulus": IDS, "emb": [*ROWS[:3], cell]})
    with pytest.raises(SchemaError, match=match):
        xc.io.from_long(frame, value="emb")


def test_a_frame_of_vectors_needs_its_labels():
    frame = pd.DataFrame({"stimulus": IDS, "emb": ROWS})
    with pytest.raises(SchemaError, match="vectors in 'emb', and has no column 'model'"):
        xc.io.from_long(frame, value="emb")


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "int64[pyarrow]", "double[pyarrow]"])
def test_numbers_of_pandas_own_types(dtype):
    frame = pd.DataFrame({"model": "m", "stimulus": IDS, "feature": 0})
    frame["representation"] = pd.array([1, None, 3, 4], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_model(xc.io.from_long(frame), [[1], [np.nan], [3], [4]], IDS)
    frame["representation"] = pd.Categorical([1, 2, 3, 4])
    with pytest.raises(SchemaError, match="must hold numbers, got category"):
        xc.io.from_long(frame)
