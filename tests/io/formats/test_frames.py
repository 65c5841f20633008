"""Tables: CSV and Parquet; and packages that are missing."""

import csv
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.io.formats.sets import IDS, X, assert_model
from xconverge.labels.messages import SchemaError

# CSV


def test_csv_keeps_text_and_digits(tmp_path):
    ids = ["007", "NA", "null", "nan", "True", "1.0", 'a "b", c', " ü\nx "]
    values = np.random.default_rng(0).standard_normal((8, 3)) * 10.0 ** np.arange(-8, 16, 8)
    table = pd.DataFrame(values, columns=["b", "ä", "c" * 500])
    table.insert(1, "id", ids)
    table.to_csv(tmp_path / "m.csv", index=False)
    assert_model(xc.io.read_csv(tmp_path / "m.csv", "id"), values, ids)
    assert xc.io.read_csv(tmp_path / "m.csv", "id").dtype == np.float64
    chosen = xc.io.read_csv(tmp_path / "m.csv", "id", features=["ä", "b"], model="vit")
    assert_model(chosen, values[:, [1, 0]], ids, "vit")
    other = [f"s{i}" for i in range(8)]
    assert_model(xc.io.read_csv(tmp_path / "m.csv", other, features=["b"]), values[:, :1], other)


def test_csv_of_a_windows_spreadsheet(tmp_path):
    (tmp_path / "m.csv").write_bytes("\ufeffid;a;b\r\ncät;1;2\r\ndog;3;\r\n".encode())
    with pytest.raises(SchemaError, match="'dog' lacks 'b'"):
        xc.io.read_csv(tmp_path / "m.csv", "id", delimiter=";")
    (tmp_path / "m.csv").write_bytes("\ufeffid;a;b\r\ncät;1;2\r\ndog;;NA\r\n".encode())
    reps = xc.io.read_csv(tmp_path / "m.csv", "id", delimiter=";")
    assert_model(reps, [[1, 2], [np.nan, np.nan]], ["cät", "dog"])


def test_ids_that_pandas_would_read_as_something_else(tmp_path):
    ids = ["001", "1e5", "NA", "None", "nan", "N/A", "1.50", "TRUE", "1_000", "+1", "2020-01-01",
           "a\nb", 'c"d', "e,f", "-inf", "#N/A", "0x1F"]  # fmt: skip
    values = np.arange(len(ids))[:, None] / 8
    table = pd.DataFrame({"a": values[:, 0], "id": ids})
    table.to_csv(tmp_path / "m.csv", index=False)
    assert_model(xc.io.read_csv(tmp_path / "m.csv", "id"), values, ids)
    table.to_csv(tmp_path / "m.csv", index=False, sep=";", encoding="utf-8-sig")
    assert_model(xc.io.read_csv(tmp_path / "m.csv", "id", delimiter=";"), values, ids)


@given(
    ids=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6
    ),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_table_that_the_csv_module_writes(tmp_path, ids, values, delimiter):
    """Text and digits come back as they were, in every column."""
    ids = [f"{number}{text}" for number, text in enumerate(ids)]
    path = tmp_path / "m.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [[repr(value), text] for value, text in zip(values, ids, strict=False)]
        csv.writer(file, delimiter=delimiter).writerows([["ä", "id"], *rows])
    read = xc.io.read_csv(path, "id", delimiter=delimiter)
    assert read.stimulus.values.tolist() == ids
    np.testing.assert_array_equal(read.values[0, :, 0], values[: len(ids)])
    path = path.rename(tmp_path / ("m.tsv" if delimiter == "\t" else "m.csv"))
    if delimiter in ",\t":
        np.save(tmp_path / "m.npy", np.ones((len(ids), 2)))
        again = xc.io.read_npy(tmp_path / "m.npy", f"{path}:id")
        assert again.stimulus.values.tolist() == ids


@pytest.mark.parametrize("end", ["x,1,", "x,1,,", "x,1,2", "x", ""])
@pytest.mark.parametrize("before", [0, 3000])
def test_rows_of_another_length_are_refused_in_any_block(tmp_path, end, before):
    rows = [f"s{number},1" for number in range(before)]
    (tmp_path / "m.csv").write_text("\n".join(["id,a", *rows, end, "y,2\n"]))
    with pytest.raises(SchemaError, match=rf"(line|row) {before + 2}\b"):
        xc.io.read_csv(tmp_path / "m.csv", "id")


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ('"1,5"', "decimal comma"),
        ('"1,234.5"', "marks between thousands"),
        ("1.234.567", "marks between thousands"),
        ("1 234", "marks between thousands"),
        ("1\u202f234", "marks between thousands"),
        ("2;3", "is another delimiter meant"),
        ('"[0.1, 0.2]"', "a vector as text"),
        ("one", "which is no number; say"),
        ("1e", "which is no number; say"),
    ],
)
def test_cells_that_are_no_number_say_what_they_may_be(tmp_path, cell, match):
    (tmp_path / "m.csv").write_text(f"id,a,b\nx,1,2\ny,3,{cell}\n", "utf-8")
    with pytest.raises(SchemaError, match=f"column 'b' holds .* for 'y'.*{match}"):
        xc.io.read_csv(tmp_path / "m.csv", "id")


@pytest.mark.parametrize(
    ("text", "ids", "match"),
    [
        ("id,a\nx,1\n", None, "or the name of a column: 'id', 'a'"),
        ("id,a\nx,1\n", "name", "no column of .*'id', 'a', and no file"),
        ("id,a,a\nx,1,2\n", "id", "several columns of one name: 'a'"),
        (",a\n0,1\n", ["x"], "column 1 of .* has no name"),
        ("id,a\nx,1\nx,2\n", "id", "duplicate labels on 'stimulus': 'x'"),
        ("id,a\n,1\n", "id", "empty label"),
        ("id,a\nx,cat\n", "id", "column 'a' holds 'cat' for 'x', which is no number"),
        ("id,a\nx,1_0\n", "id", "holds '1_0'"),
        ('id,a\nx,"1,5"\n', "id", "holds '1,5'"),
        ("id,a\nx,inf\n", "id", "infinity: model 'm', stimulus 'x'"),
        ("id,a\nx,null\n", "id", "holds 'null'"),
        ("id,a,b\nx,1,nan\n", "id", "'x' lacks 'b'"),
        ("id,a\nx,1,2\n", "id", "Expected 2 fields in line 2, saw 3"),
        ("id,a\nx,1\n\ny,2\n", "id", "row 3 has none, it is blank"),
        ("id,a\nx\n", "id", "row 2 has 1 cells"),
        ("id;a\nx;1\n", "id;a", "none that is a feature"),
        ("id,a\n", "id", "empty: 'stimulus' has no labels"),
        ("", "id", "is empty"),
        ("\n", "id", "read as a CSV"),
        ('id,a\n"x,1\n', "id", "read as a CSV"),
        ("id,a\nx,1\n", ["y", "z"], "column 'a'|column 'id' holds 'x'"),
    ],
)
def test_bad_tables(tmp_path, text, ids, match):
    (tmp_path / "m.csv").write_text(text, "utf-8")
    with pytest.raises(SchemaError, match=match):
        xc.io.read_csv(tmp_path / "m.csv", ids)


def test_csv_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.csv"
    path.write_text("id,a,b\nx,1,2\n")
    for features, match in [
        ("a", "must be a list"), ([], "at least one"), (["a", "a"], "none twice"),
        (["a", "id"], "not the ids"), (["c"], "no column 'c'"),
    ]:  # fmt: skip
        with pytest.raises(SchemaError, match=match):
            xc.io.read_csv(path, "id", features=features)
    with pytest.raises(SchemaError, match="one character"):
        xc.io.read_csv(path, "id", delimiter="--")
    (tmp_path / "id").write_text("y\n")
    with pytest.raises(SchemaError, match="names a column of .* and a file is called so too"):
        xc.io.read_csv(path, "id")
    assert_model(xc.io.read_csv(path, "./id", features=["b", "a"]), [[2, 1]], ["y"])


def test_csv_in_blocks_is_what_pandas_wrote(tmp_path):
    values = np.random.default_rng(1).standard_normal((3000, 4))
    table = pd.DataFrame(values, columns=list("abcd"), index=[f"s{i}" for i in range(3000)])
    table.iloc[1500] = np.nan
    table.to_csv(tmp_path / "m.csv", index_label="id")
    reps = xc.io.read_csv(tmp_path / "m.csv", "id")
    assert_model(reps, table.to_numpy(), table.index.tolist())
    assert np.isnan(reps.values[0, 1500]).all()


# Parquet


def test_parquet_of_pandas(tmp_path):
    path = tmp_path / "m.parquet"
    table = pd.DataFrame(X.astype(np.float32), columns=["b", "ä", "c.d"])
    table.assign(id=IDS).to_parquet(path)
    assert_model(xc.io.read_parquet(path, "id"), X.astype(np.float32), IDS)
    assert xc.io.read_parquet(path, "id").dtype == np.float32
    with pytest.raises(SchemaError, match="or the name of a column: 'b'"):
        xc.io.read_parquet(path)
    table.set_axis(IDS).to_parquet(path)
    assert_model(xc.io.read_parquet(path), X.astype(np.float32), IDS)
    assert_model(xc.io.read_parquet(path, list("wxyz")), X.astype(np.float32), list("wxyz"))
    table.set_axis(pd.Index(IDS, name="id")).to_parquet(path)
    assert_model(xc.io.read_parquet(path, features=["c.d"]), X[:, 2:].astype(np.float32), IDS)
    table.set_axis([5, 3, 1, 2]).to_parquet(path)
    with pytest.raises(SchemaError, match="never named by their position"):
        xc.io.read_parquet(path)
    assert_model(xc.io.read_parquet(path, "__index_level_0__"), X.astype(np.float32), list("5312"))


def test_parquet_of_many_kinds(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": pa.array(IDS).dictionary_encode(),
            "i": pa.array([1, None, 3, 2**53], pa.int64()),
            "t": pa.array([True, None, True, False]),
            "h": pa.array(np.array([1, np.nan, 2, 3], np.float16)),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=3)
    expected = [[1, 1, 1], [np.nan] * 3, [3, 1, 2], [2**53, 0, 3]]
    assert_model(xc.io.read_parquet(tmp_path / "m.parquet", "id"), expected, IDS)


def test_parquet_is_refused(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "m.parquet"
    for columns, match in [
        ({"id": ["x", "y"], "a": ["1", "2"]}, "column 'a' holds string, which is no number"),
        ({"id": [1.0, 2.0], "a": [1, 2]}, "ids 'id' must be text or whole numbers.*1.0"),
        ({"id": [True, False], "a": [1, 2]}, "number 1 is True"),
        ({"id": [b"x", b"y"], "a": [1, 2]}, "must be text"),
        ({"id": ["x", None], "a": [1, 2]}, "lacks an id"),
        ({"id": ["x", "y"], "a": [1, 2**60]}, "column 'a' holds whole numbers beyond"),
        ({"id": ["x", "y"], "a": [1, 2], "b": [1, None]}, "'y' lacks 'b'"),
        ({"id": ["x", "x"], "a": [1, 2]}, "duplicate labels"),
        ({"id": ["x"], "a": [np.inf]}, "infinity"),
        ({"id": ["x", "y"]}, "none that is a feature"),
    ]:
        pq.write_table(pa.table(columns), path)
        with pytest.raises(SchemaError, match=match):
            xc.io.read_parquet(path, "id")
    twice = pa.Table.from_arrays([pa.array(["x"]), pa.array([1]), pa.array([2])], ["id", "a", "a"])
    pq.write_table(twice, path)
    with pytest.raises(SchemaError, match="several columns of one name: 'a'"):
        xc.io.read_parquet(path, "id")
    pq.write_table(pa.table({"id": ["x", "y"], "a": [1.0, 2.0]}), path)
    monkeypatch.setattr("xconverge.io.formats._reading.free_bytes", lambda: 15)
    with pytest.raises(SchemaError, match="of memory are free"):
        xc.io.read_parquet(path, "id")


def test_integer_ids_of_parquet(tmp_path):
    table = pd.DataFrame({"id": [7, 2**62, -1], "a": [1.0, 2.0, 3.0]})
    table.to_parquet(tmp_path / "m.parquet")
    assert_model(
        xc.io.read_parquet(tmp_path / "m.parquet", "id"), [[1], [2], [3]], ["7", str(2**62), "-1"]
    )


@pytest.mark.parametrize("missing", ["pyarrow", "h5py", "torch"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    for name in [n for n in sys.modules if n.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "torch" if missing == "torch" else "interop"
    (tmp_path / "file_names.txt").write_text("a\n")
    (tmp_path / "features.hdf5").write_text("a")
    call = {
        "pyarrow": lambda: xc.io.read_parquet(tmp_path / "file_names.txt", "id"),
        "torch": lambda: xc.io.read_platonic(tmp_path / "file_names.txt", "id"),
        "h5py": lambda: xc.io.read_thingsvision(tmp_path),
    }[missing]
    with pytest.raises(ImportError, match=rf"pip install 'xconverge\[{extra}\]'"):
        call()
