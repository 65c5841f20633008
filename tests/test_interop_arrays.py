"""Readers of plain array files, tables and folders of thingsvision, and the writer of .npz."""

import io
import json
import pickle
import struct
import sys
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

import xconverge as xc
from tests.helpers import make_reps, no_compute
from xconverge.io.formats import _hdf5
from xconverge.io.formats._mat import read_mat
from xconverge.labels.messages import SchemaError

X = np.arange(12.0).reshape(4, 3) / 7
IDS = ["007", "NA", "größe/ü.jpg", "日本"]


@pytest.fixture(autouse=True)
def unguarded(monkeypatch):
    """HDF5 files are good here, and are read at once; test_interop_hdf5.py has the others."""
    monkeypatch.setattr(_hdf5, "check_hdf5", lambda file: None)


def same(reps, values, ids, model="m"):
    assert reps.name == "representation"
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.indexes["model"].tolist() == [model]
    assert reps.indexes["stimulus"].tolist() == ids
    np.testing.assert_array_equal(reps.values[0], values)
    xc.validate(reps)


# ids


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_ids_of_a_text_file(tmp_path, end, bom, last):
    ids = [*IDS[:3], " a line\u2028of\x0btext "]
    text = bom + end.join(ids) + end * last
    (tmp_path / "ids.txt").write_bytes(text.encode())
    np.save(tmp_path / "m.npy", X)
    same(xc.read_npy(tmp_path / "m.npy", tmp_path / "ids.txt"), X, ids)
    same(xc.read_npy(str(tmp_path / "m.npy"), str(tmp_path / "ids.txt")), X, ids)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a\n\nc\nd\n", "blank lines: '2'"),
        (b"a\nb\nc\nd\n\n", "blank lines: '5'"),
        (b"", "no ids"),
        ("a\nb\nc\nü\n".encode("latin-1"), "cannot be read as a list of ids"),
        (b"a\nb\nc\na\n", "duplicate labels on 'stimulus': 'a'"),
        (b"a\nb\nc\n", "has 4 rows, and there are 3 ids"),
    ],
)
def test_bad_lists_of_ids(tmp_path, content, match):
    (tmp_path / "ids.txt").write_bytes(content)
    np.save(tmp_path / "m.npy", X)
    with pytest.raises(SchemaError, match=match):
        xc.read_npy(tmp_path / "m.npy", tmp_path / "ids.txt")


def test_rows_are_never_named_by_position(tmp_path):
    np.save(tmp_path / "m.npy", X)
    np.savez(tmp_path / "m.npz", m=X)
    for reader, name in ((xc.read_npy, "m.npy"), (xc.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match="never named by their position; give ids="):
            reader(tmp_path / name)
        with pytest.raises(SchemaError, match="4 rows, and there are 5 ids"):
            reader(tmp_path / name, list("abcde"))
        with pytest.raises(SchemaError, match="number 2 is 1.5"):
            reader(tmp_path / name, ["a", 1.5, "c", "d"])
        with pytest.raises(SchemaError, match="number 4 is None"):
            reader(tmp_path / name, ["a", "b", "c", None])
        with pytest.raises(SchemaError, match="empty label on 'stimulus'"):
            reader(tmp_path / name, ["a", "b", "c", ""])
    assert xc.read_npy(tmp_path / "m.npy", [7, np.int8(2), "7.0", 3]).stimulus.values.tolist() == [
        "7", "2", "7.0", "3"
    ]  # fmt: skip


# .npy


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", ">f8", "i1", ">i4", "u8", "?"])
@pytest.mark.parametrize("order", "CF")
def test_numbers_of_every_kind(tmp_path, dtype, order):
    values = np.asarray(np.arange(12).reshape(4, 3) % 5, dtype=dtype, order=order)
    np.save(tmp_path / "m.npy", values)
    np.savez(tmp_path / "m.npz", m=values)
    for reps in (
        xc.read_npy(tmp_path / "m.npy", IDS, modality="vision"),
        xc.read_npz(tmp_path / "m.npz", IDS, modality="vision"),
    ):
        same(reps, values.astype(float), IDS)
        expected = np.dtype(dtype).newbyteorder("=") if "f" in dtype else np.dtype(float)
        assert reps.dtype == reps.compute().dtype == expected
        assert reps.attrs["modality"] == "vision"


REFUSED = {
    "Python objects, which only unpickling could read; unpickling runs code": np.array(
        [["a", 1]], dtype=object
    ),
    "complex": np.ones((1, 2), complex),
    "text": np.array([["a", "b"]]),
    "bytes": np.array([[b"a", b"b"]]),
    "records of several fields": np.zeros((1, 2), [("a", "f4"), ("b", "i4")]),
    "records": np.zeros((1, 2), "V8"),
    "dates": np.zeros((1, 2), "M8[s]"),
    "durations": np.zeros((1, 2), "m8[s]"),
    "no computation here keeps": np.zeros((1, 2), np.longdouble),
    "reshape it": np.zeros((1, 2, 3)),
    "has the shape": np.zeros(1),
    "no features": np.zeros((1, 0)),
    "beyond 2": np.full((1, 2), 2**53 + 1),
    "beyond 2*": np.full((1, 2), -(2**63)),
}


@pytest.mark.parametrize("match", REFUSED)
def test_arrays_that_are_no_features(tmp_path, match):
    array = REFUSED[match]
    np.save(tmp_path / "m.npy", array, allow_pickle=True)
    np.savez(tmp_path / "m.npz", allow_pickle=True, m=array)
    for reader, name in ((xc.read_npy, "m.npy"), (xc.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match=match):
            reader(tmp_path / name, ["a"]).compute()


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "it ran"), "w"))

    np.save(tmp_path / "m.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "m.npz", allow_pickle=True, m=np.array([[Bomb()]], dtype=object))
    for reader, name in ((xc.read_npy, "m.npy"), (xc.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match="unpickling runs code"):
            reader(tmp_path / name, ["a"])
    assert not (tmp_path / "it ran").exists()


def test_npy_stays_on_disk(tmp_path):
    np.save(tmp_path / "m.npy", X)
    with no_compute():
        reps = xc.read_npy(tmp_path / "m.npy", IDS, model="vit")
    assert reps.chunks is not None
    assert reps.indexes["model"].tolist() == ["vit"]
    np.save(tmp_path / "m.npy", X + 1)
    with pytest.raises(SchemaError, match="has changed since it was opened"):
        reps.compute()


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_lazy_files_travel_to_other_processes(tmp_path, kind):
    folder = folder_of(tmp_path)
    write_whole(folder, kind, X)
    reps = pickle.loads(pickle.dumps(xc.read_thingsvision(folder)))
    assert len(pickle.dumps(reps)) < 10_000
    same(reps, X, IDS, "alexnet")


def test_large_npy_is_read_in_blocks(tmp_path, monkeypatch):
    from xconverge.io.formats import _rows

    monkeypatch.setattr(_rows, "BLOCK_BYTES", 2 * 3 * 8)
    np.save(tmp_path / "m.npy", X)
    reps = xc.read_npy(tmp_path / "m.npy", IDS)
    assert reps.chunksizes["stimulus"] == (2, 2)
    same(reps, X, IDS)
    xc.write_representations(tmp_path / "s.zarr", reps, modality="vision")
    same(xc.open_representations(tmp_path / "s.zarr", "vision"), X, IDS)


def header(text, version=1):
    text = text.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as a NumPy"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(4,-3),}"), "claims the shape"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(4,99999999999),}"), "cut off"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(1,1),}") + b"0" * 9, "cut off"),
        (header("{'descr':'|O','fortran_order':False,'shape':(4,3),}"), "unpickling"),
        (header("{'descr':'<f8','fortran_order':__import__('os'),'shape':(4,3),}"), "read as"),
        (header("-" * 9000 + "1"), "damaged"),
        (header("-" * 90000 + "1", 2), "read as"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(1,1),}", 3), "version"),
    ],
)
def test_damaged_headers(tmp_path, content, match):
    (tmp_path / "m.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("m.npy", content)
    for reader, name in ((xc.read_npy, "m.npy"), (xc.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match=match if name == "m.npy" else "damaged|cut|unpi|as|"):
            reader(tmp_path / name, ["a"])


def test_npy_of_python_2(tmp_path):
    text = "{'descr':'<f8','fortran_order':False,'shape':(4L,3L),}".ljust(117) + "\n"
    (tmp_path / "m.npy").write_bytes(header(text) + X.tobytes())
    same(xc.read_npy(tmp_path / "m.npy", IDS), X, IDS)


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    for reader in (xc.read_npy, xc.read_npz, xc.read_csv, xc.read_parquet):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            reader(tmp_path / "none", ["a"])
        with pytest.raises(SchemaError, match="cannot be read as"):
            reader(tmp_path, ["a"])
    np.save(tmp_path / "m.npy", X)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        xc.read_npy(tmp_path / "m.npy", tmp_path / "none.txt")


# .npz


def test_npz_of_several_models(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", **{"../ünet": X, "b": X[:, :2]})
    reps = xc.read_npz(tmp_path / "m.npz", IDS)
    assert reps.indexes["model"].tolist() == ["../ünet", "b"]
    assert reps.n_features.values.tolist() == [3, 2]
    np.testing.assert_array_equal(reps.sel(model="b").values[:, :2], X[:, :2])
    assert {path.name for path in tmp_path.iterdir()} == {"m.npz"}
    with pytest.raises(SchemaError, match="holds 2 models"):
        xc.read_npz(tmp_path / "m.npz", IDS, model="a")


def test_npz_with_its_own_ids(tmp_path):
    np.savez(tmp_path / "m.npz", a=X, stimulus=np.array(IDS))
    same(xc.read_npz(tmp_path / "m.npz", model="m"), X, IDS)
    with pytest.raises(SchemaError, match="has its own ids"):
        xc.read_npz(tmp_path / "m.npz", IDS)
    np.savez(tmp_path / "n.npz", stimulus=np.array(IDS))
    with pytest.raises(SchemaError, match="no features"):
        xc.read_npz(tmp_path / "n.npz")


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_archives_that_lie(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"

    def write(*members, how=zipfile.ZIP_DEFLATED):
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how) as archive:
            warnings.simplefilter("ignore")
            for name, content in members:
                archive.writestr(name, content)

    claim = header("{'descr':'<f8','fortran_order':False,'shape':(4,9999999),}")
    for content, match in [
        ([("m.npy", claim + b"\0" * 99)], "header claims"),
        ([("m.npy", npy_bytes(X) + b"\0" * 99)], "header claims"),
        ([("m.npy", npy_bytes(X)), ("m.npy", npy_bytes(X))], "several members of one name"),
        ([("m.txt", b"hello")], "what is no array: 'm.txt'"),
        ([], "no features"),
    ]:
        write(*content)
        with pytest.raises(SchemaError, match=match):
            xc.read_npz(path, IDS)
    write(("m.npy", npy_bytes(X)), how=zipfile.ZIP_LZMA)
    with pytest.raises(SchemaError, match="NumPy never writes"):
        xc.read_npz(path, IDS)

    write(("m.npy", npy_bytes(X)))
    good = path.read_bytes()
    size = struct.pack("<I", len(npy_bytes(X)))
    assert good.count(size) == 2
    path.write_bytes(good.replace(size, struct.pack("<I", 2**31)))
    with pytest.raises(SchemaError, match="cannot be; the archive is damaged, or made to fill"):
        xc.read_npz(path, IDS)

    zeros = npy_bytes(np.zeros((4, 500_000)))
    write(("m.npy", zeros))
    assert path.stat().st_size < len(zeros) / 500
    assert xc.read_npz(path, IDS).shape == (1, 4, 500_000)
    monkeypatch.setattr("xconverge.io.formats._sets.free_bytes", lambda: len(zeros) - 1)
    with pytest.raises(SchemaError, match="GiB of memory are free"):
        xc.read_npz(path, IDS)


def test_a_changed_byte_of_an_archive_is_seen(tmp_path):
    xc.write_npz(tmp_path / "m.npz", make_reps(2, 50, [30, 20]))
    content = bytearray((tmp_path / "m.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(SchemaError, match="CRC"):
        xc.read_npz(tmp_path / "m.npz")


# write_npz


def rich(lazy=False):
    reps = make_reps(3, 7, [4, 6, 5], missing=[(1, 2)], extra={"subject": 2})
    long = np.array(["é" * 2000, *(f"日本 {i}" for i in range(6))], dtype=object)
    reps = reps.assign_coords(
        stimulus=long,
        day=("stimulus", np.arange(7).astype("M8[D]").astype("M8[ns]")),
        good=("stimulus", np.arange(7) > 3),
        depth=("model", np.array([1, 2, 3], np.int16)),
        note=((), "ünicode"),
        **{"größe": (("model", "stimulus"), np.arange(21.0).reshape(3, 7))},
    )
    reps["depth"].attrs["units"] = "layers"
    reps.attrs |= {"nested": {"a": [1, 2.5, None, "ü"]}, "modality": "vision"}
    return reps.chunk(model=1, stimulus=3) if lazy else reps


@pytest.mark.parametrize("lazy", [False, True])
def test_npz_brings_back_what_was_written(tmp_path, lazy):
    reps = rich(lazy)
    assert xc.write_npz(tmp_path / "m.npz", reps) == tmp_path / "m.npz"
    back = xc.read_npz(tmp_path / "m.npz")
    xr.testing.assert_identical(back, reps.compute())
    assert {n: c.dtype for n, c in back.coords.items()} == {
        n: c.dtype if c.dtype.kind != "U" else np.dtype(object) for n, c in reps.coords.items()
    }
    xr.testing.assert_identical(xc.read_npz(tmp_path / "m.npz", modality="x").drop_attrs(),
                                reps.compute().drop_attrs())  # fmt: skip
    assert xc.read_npz(tmp_path / "m.npz", modality="x").attrs["modality"] == "x"
    for wrong in ({"ids": IDS}, {"model": "m"}):
        with pytest.raises(SchemaError, match="has its own labels"):
            xc.read_npz(tmp_path / "m.npz", **wrong)


@settings(max_examples=3)
@given(order=st.permutations(["subject", "model", "stimulus", "feature"]))
def test_npz_keeps_the_order_of_dims(tmp_path, order):
    reps = rich().transpose(*order)
    xc.write_npz(tmp_path / "m.npz", reps, overwrite=True)
    xr.testing.assert_identical(xc.read_npz(tmp_path / "m.npz"), reps)


@settings(max_examples=10)
@given(
    labels=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
            lambda text: not text.endswith("\0")
        ),
        min_size=1, max_size=5, unique=True,
    )
)  # fmt: skip
def test_npz_keeps_every_label(tmp_path, labels):
    reps = xc.stack_models({labels[0]: np.ones((len(labels), 2))}, stimuli=labels)
    xc.write_npz(tmp_path / "m.npz", reps, overwrite=True)
    xr.testing.assert_identical(xc.read_npz(tmp_path / "m.npz"), reps)


def test_numpy_reads_all_of_an_npz(tmp_path):
    reps = rich()
    with np.load(xc.write_npz(tmp_path / "m.npz", reps), allow_pickle=False) as archive:
        assert set(archive) == {"representation", "xconverge", *map(str, reps.coords)}
        np.testing.assert_array_equal(archive["representation"], reps.values)
        assert archive["stimulus"].tolist() == reps.stimulus.values.tolist()
        assert json.loads(str(archive["xconverge"]))["dims"] == list(reps.dims)


def test_npz_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "m.npz"
    reps = make_reps(2, 5, 3)
    bad = reps.copy(deep=True)
    bad[1, 2, 0] = np.nan
    with pytest.raises(SchemaError, match="NaN inside a row: model 'net1'"):
        xc.write_npz(path, bad)
    assert not list(tmp_path.iterdir())
    xc.write_npz(path, reps)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xc.write_npz(path, reps)
    with pytest.raises(SchemaError, match="NaN inside"):
        xc.write_npz(path, bad, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["m.npz"]
    xr.testing.assert_identical(xc.read_npz(path), reps)


@pytest.mark.parametrize(
    ("coord", "match"),
    [
        ({"caption": ("stimulus", np.array(["a", "b\0"], object))}, "NUL"),
        ({"caption": ("stimulus", np.array(["a", None], object))}, "'b'"),
        ({"xconverge": ("stimulus", [1, 2])}, "which the file needs"),
        ({"a\0b": ("stimulus", [1, 2])}, "cannot hold the name"),
    ],
)
def test_what_an_npz_cannot_hold(tmp_path, coord, match):
    reps = xc.stack_models({"m": np.ones((2, 2))}, stimuli=["a", "b"]).assign_coords(coord)
    with pytest.raises(SchemaError, match=match):
        xc.write_npz(tmp_path / "m.npz", reps)
    assert not list(tmp_path.iterdir())


def test_npz_of_other_dims_and_a_newer_format(tmp_path):
    reps = make_reps(2, 5, 3, dims=("net", "image", "unit"))
    xc.write_npz(tmp_path / "m.npz", reps, model="net", stimulus="image", feature="unit")
    back = xc.read_npz(tmp_path / "m.npz")
    assert back.dims == ("model", "stimulus", "feature")
    np.testing.assert_array_equal(back.values, reps.values)
    np.savez(tmp_path / "n.npz", xconverge=np.array('{"format": 99}'))
    with pytest.raises(SchemaError, match="newer xconverge"):
        xc.read_npz(tmp_path / "n.npz")


# CSV


def test_csv_keeps_text_and_digits(tmp_path):
    ids = ["007", "NA", "null", "nan", "True", "1.0", 'a "b", c', " ü\nx "]
    values = np.random.default_rng(0).standard_normal((8, 3)) * 10.0 ** np.arange(-8, 16, 8)
    table = pd.DataFrame(values, columns=["b", "ä", "c" * 500])
    table.insert(1, "id", ids)
    table.to_csv(tmp_path / "m.csv", index=False)
    same(xc.read_csv(tmp_path / "m.csv", "id"), values, ids)
    assert xc.read_csv(tmp_path / "m.csv", "id").dtype == np.float64
    chosen = xc.read_csv(tmp_path / "m.csv", "id", features=["ä", "b"], model="vit")
    same(chosen, values[:, [1, 0]], ids, "vit")
    other = [f"s{i}" for i in range(8)]
    same(xc.read_csv(tmp_path / "m.csv", other, features=["b"]), values[:, :1], other)


def test_csv_of_a_windows_spreadsheet(tmp_path):
    (tmp_path / "m.csv").write_bytes("\ufeffid;a;b\r\ncät;1;2\r\ndog;3;\r\n".encode())
    with pytest.raises(SchemaError, match="'dog' lacks 'b'"):
        xc.read_csv(tmp_path / "m.csv", "id", delimiter=";")
    (tmp_path / "m.csv").write_bytes("\ufeffid;a;b\r\ncät;1;2\r\ndog;;NA\r\n".encode())
    reps = xc.read_csv(tmp_path / "m.csv", "id", delimiter=";")
    same(reps, [[1, 2], [np.nan, np.nan]], ["cät", "dog"])


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
        ("id,a\nx,1,2\n", "id", "2 columns, and line 2 has 3 cells"),
        ("id,a\nx,1\n\ny,2\n", "id", "line 3 has none, it is blank"),
        ("id,a\nx\n", "id", "line 2 has 1 cells"),
        ("id;a\nx;1\n", "id;a", "none that is a feature"),
        ("id,a\n", "id", "empty: 'stimulus' has no labels"),
        ("", "id", "no columns"),
        ('id,a\n"x,1\n', "id", "read as a CSV"),
        ("id,a\nx,1\n", ["y", "z"], "column 'a'|column 'id' holds 'x'"),
    ],
)
def test_bad_tables(tmp_path, text, ids, match):
    (tmp_path / "m.csv").write_text(text, "utf-8")
    with pytest.raises(SchemaError, match=match):
        xc.read_csv(tmp_path / "m.csv", ids)


def test_csv_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.csv"
    path.write_text("id,a,b\nx,1,2\n")
    for features, match in [
        ("a", "must be a list"), ([], "at least one"), (["a", "a"], "none twice"),
        (["a", "id"], "not the ids"), (["c"], "no column 'c'"),
    ]:  # fmt: skip
        with pytest.raises(SchemaError, match=match):
            xc.read_csv(path, "id", features=features)
    with pytest.raises(SchemaError, match="one character"):
        xc.read_csv(path, "id", delimiter="--")
    (tmp_path / "id").write_text("y\n")
    with pytest.raises(SchemaError, match="names a column of .* and a file is called so too"):
        xc.read_csv(path, "id")
    same(xc.read_csv(path, "./id", features=["b", "a"]), [[2, 1]], ["y"])


def test_csv_in_blocks_is_what_pandas_wrote(tmp_path):
    values = np.random.default_rng(1).standard_normal((3000, 4))
    table = pd.DataFrame(values, columns=list("abcd"), index=[f"s{i}" for i in range(3000)])
    table.iloc[1500] = np.nan
    table.to_csv(tmp_path / "m.csv", index_label="id")
    reps = xc.read_csv(tmp_path / "m.csv", "id")
    same(reps, table.to_numpy(), table.index.tolist())
    assert np.isnan(reps.values[0, 1500]).all()


# Parquet


def test_parquet_of_pandas(tmp_path):
    path = tmp_path / "m.parquet"
    table = pd.DataFrame(X.astype(np.float32), columns=["b", "ä", "c.d"])
    table.assign(id=IDS).to_parquet(path)
    same(xc.read_parquet(path, "id"), X.astype(np.float32), IDS)
    assert xc.read_parquet(path, "id").dtype == np.float32
    with pytest.raises(SchemaError, match="or the name of a column: 'b'"):
        xc.read_parquet(path)
    table.set_axis(IDS).to_parquet(path)
    same(xc.read_parquet(path), X.astype(np.float32), IDS)
    same(xc.read_parquet(path, list("wxyz")), X.astype(np.float32), list("wxyz"))
    table.set_axis(pd.Index(IDS, name="id")).to_parquet(path)
    same(xc.read_parquet(path, features=["c.d"]), X[:, 2:].astype(np.float32), IDS)
    table.set_axis([5, 3, 1, 2]).to_parquet(path)
    with pytest.raises(SchemaError, match="never named by their position"):
        xc.read_parquet(path)
    same(xc.read_parquet(path, "__index_level_0__"), X.astype(np.float32), list("5312"))


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
    same(xc.read_parquet(tmp_path / "m.parquet", "id"), expected, IDS)


def test_parquet_is_refused(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "m.parquet"
    for columns, match in [
        ({"id": ["x", "y"], "a": ["1", "2"]}, "column 'a' holds string, which is no number"),
        ({"id": ["x", "y"], "a": [[1.0], [2.0]]}, "column 'a' holds list"),
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
            xc.read_parquet(path, "id")
    twice = pa.Table.from_arrays([pa.array(["x"]), pa.array([1]), pa.array([2])], ["id", "a", "a"])
    pq.write_table(twice, path)
    with pytest.raises(SchemaError, match="several columns of one name: 'a'"):
        xc.read_parquet(path, "id")
    pq.write_table(pa.table({"id": ["x", "y"], "a": [1.0, 2.0]}), path)
    monkeypatch.setattr("xconverge.io.formats._sets.free_bytes", lambda: 15)
    with pytest.raises(SchemaError, match="of memory are free"):
        xc.read_parquet(path, "id")


def test_integer_ids_of_parquet(tmp_path):
    table = pd.DataFrame({"id": [7, 2**62, -1], "a": [1.0, 2.0, 3.0]})
    table.to_parquet(tmp_path / "m.parquet")
    same(xc.read_parquet(tmp_path / "m.parquet", "id"), [[1], [2], [3]], ["7", str(2**62), "-1"])


@pytest.mark.parametrize("missing", ["pyarrow", "h5py", "torch"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    for name in [n for n in sys.modules if n.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "torch" if missing == "torch" else "interop"
    (tmp_path / "file_names.txt").write_text("a\n")
    (tmp_path / "features.hdf5").write_text("a")
    call = {
        "pyarrow": lambda: xc.read_parquet(tmp_path / "file_names.txt", "id"),
        "torch": lambda: xc.read_platonic(tmp_path / "file_names.txt", "id"),
        "h5py": lambda: xc.read_thingsvision(tmp_path),
    }[missing]
    with pytest.raises(ImportError, match=rf"pip install 'xconverge\[{extra}\]'"):
        call()


# thingsvision


def folder_of(tmp_path, names=IDS, name="alexnet"):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    (folder / "file_names.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")
    return folder


def save_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array)


def write_whole(folder, kind, values):
    if kind == "npy":
        np.save(folder / "features.npy", values)
    elif kind == "hdf5":
        save_hdf5(folder / "features.hdf5", features=values)
    elif kind == "mat":
        savemat(folder / "features.mat", {"features": values})
    else:
        np.savetxt(folder / "features.txt", values)


def write_parts(folder, kind, values):
    """As thingsvision does where memory is short."""
    edges = np.linspace(0, len(values), 3, dtype=int)
    parts = {f"features_{i:02d}": values[edges[i - 1] : edges[i]] for i in (1, 2)}
    if kind == "hdf5":
        save_hdf5(folder / "features.hdf5", **parts)
    for name, part in parts.items():
        if kind == "npy":
            np.save(folder / f"{name}.npy", part)
        elif kind == "mat":
            savemat(folder / f"{name}.mat", {"features": part})
        elif kind == "txt":
            np.savetxt(folder / f"{name}.txt", part)


@pytest.mark.parametrize("kind", ["npy", "hdf5", "mat", "txt"])
@pytest.mark.parametrize("write", [write_whole, write_parts])
def test_thingsvision_formats(tmp_path, kind, write):
    folder = folder_of(tmp_path)
    write(folder, kind, X)
    same(xc.read_thingsvision(folder), X, IDS, "alexnet")
    same(xc.read_thingsvision(folder, list("abcd"), model="m"), X, list("abcd"))
    with pytest.raises(SchemaError, match="4 rows, and there are 3 ids"):
        xc.read_thingsvision(folder, list("abc"))
    (folder / "file_names.txt").unlink()
    with pytest.raises(SchemaError, match="thingsvision writes them to file_names.txt"):
        xc.read_thingsvision(folder)


@pytest.mark.parametrize("parts", [1, 2])
def test_thingsvision_mat_is_joined_on_names(tmp_path, parts):
    names = ["b.jpg", "dir/a.png", "c.x", "d.TIFF"]
    folder = folder_of(tmp_path, names)
    rows = dict(zip(["b", "dir/a", "c.x", "d"], X, strict=True))
    keys = list(rows)
    for i in range(parts):
        here = keys[i * 4 // parts : (i + 1) * 4 // parts][::-1]
        name = "features.mat" if parts == 1 else f"features_{i + 1:02d}.mat"
        savemat(folder / name, {key: rows[key] for key in here})
    same(xc.read_thingsvision(folder), X, names, "alexnet")
    same(xc.read_thingsvision(folder, list("wxyz")), X, list("wxyz"), "alexnet")


@given(
    dtype=st.sampled_from(
        ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", ">f8", ">i4"]
    ),
    packed=st.booleans(),
    width=st.integers(1, 40),
)
def test_mat_is_what_scipy_reads(tmp_path, dtype, packed, width):
    values = (np.arange(4 * width) % 100).reshape(4, width).astype(dtype)
    path = tmp_path / "features.mat"
    savemat(path, {"ü": values[0], "features": values, "c": values[:, :, None]},
            do_compression=packed)  # fmt: skip
    arrays = read_mat(path, "<")
    expected = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype or dtype == "?"


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("text", "'features' is text, not numbers"),
        ({"a": 1}, "'features' is a struct"),
        (np.array(["a", 1], dtype=object), "'features' is cells"),
        (np.ones((2, 2), complex), "complex"),
        (np.array([[2**60]]), "beyond"),
        (scipy.sparse.eye_array(3), "sparse"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_thingsvision_mat_of_other_kinds(tmp_path, value, match, packed):
    folder = folder_of(tmp_path)
    savemat(folder / "features.mat", {"features": value}, do_compression=packed)
    with pytest.raises(SchemaError, match=match):
        xc.read_thingsvision(folder)
    savemat(folder / "features.mat", {"features": X}, format="4")
    with pytest.raises(SchemaError, match="no MATLAB file of version 5 or later"):
        xc.read_thingsvision(folder)


def test_thingsvision_mat_that_fills_the_memory(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    savemat(folder / "features.mat", {"features": np.zeros((4, 10_000))}, do_compression=True)
    assert (folder / "features.mat").stat().st_size < 1000
    assert xc.read_thingsvision(folder).shape == (1, 4, 10_000)
    monkeypatch.setattr("xconverge.io.formats._sets.free_bytes", lambda: 300_000)
    with pytest.raises(SchemaError, match="GiB of memory are free"):
        xc.read_thingsvision(folder)


def test_thingsvision_mat_that_lost_an_image(tmp_path):
    folder = folder_of(tmp_path, ["a.jpg", "a.png", "b.jpg"])
    savemat(folder / "features.mat", {"a": X[0], "b": X[1]})
    with pytest.raises(SchemaError, match="differ only in their extension"):
        xc.read_thingsvision(folder)
    savemat(folder / "features.mat", {"a": X[0], "c": X[1], "d": X[2]})
    with pytest.raises(SchemaError, match="one variable an image"):
        xc.read_thingsvision(folder)


@pytest.mark.parametrize("order", ["C", "F"])
def test_thingsvision_mat_of_version_73(tmp_path, order):
    h5py = pytest.importorskip("h5py")
    folder = folder_of(tmp_path)
    with h5py.File(folder / "features.mat", "w", userblock_size=512) as file:
        file.create_dataset("features", data=np.asarray(X.T, order=order))
    with (folder / "features.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    same(xc.read_thingsvision(folder), X, IDS, "alexnet")


@pytest.mark.parametrize("kind", ["npy", "hdf5", "mat"])
def test_thingsvision_maps_are_flattened_on_request(tmp_path, kind):
    folder = folder_of(tmp_path)
    maps = np.random.default_rng(0).standard_normal((4, 2, 3, 5)).astype(np.float32)
    write_whole(folder, kind, maps)
    with pytest.raises(SchemaError, match=r"shape \(2, 3, 5\); flatten=True makes one vector"):
        xc.read_thingsvision(folder)
    same(xc.read_thingsvision(folder, flatten=True), maps.reshape(4, -1), IDS, "alexnet")


def test_thingsvision_modules(tmp_path):
    """As extract_features(output_dir=…) writes them, in blocks of batches."""
    root = folder_of(tmp_path, name="out")
    for module, width in (("features.10", 3), ("features.2", 2)):
        (root / module).mkdir()
        np.save(root / module / "features_train_0-3.npy", X[:3, :width])
        np.save(root / module / "features_train_3-4.npy", X[3:, :width])
    with no_compute():
        reps = xc.read_thingsvision(root)
    assert reps.indexes["model"].tolist() == ["features.2", "features.10"]
    assert reps.n_features.values.tolist() == [2, 3]
    np.testing.assert_array_equal(reps.sel(model="features.10"), X)
    with pytest.raises(SchemaError, match="holds 2 models"):
        xc.read_thingsvision(root, model="m")
    (root / "features.2" / "file_names.txt").write_text("d\nc\nb\na\n")
    with pytest.raises(SchemaError, match="file names of 'features.10' .* 'features.2'"):
        xc.read_thingsvision(root)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (["features_0-3.npy", "features_2-4.npy"], "missing or twice"),
        (["features_3-4.npy"], "missing or twice"),
        (["features_0-2.npy"], "its name says otherwise"),
        (["features_02.npy", "features_03.npy"], "missing or twice"),
        (["features_1.npy", "features_01.npy"], "missing or twice"),
        (["features.npy", "features_01.npy"], "saved in several ways"),
        (["features.npy", "features.txt"], "saved in several ways"),
        (["features_train.npy", "features_val.npy"], "saved in several ways"),
        (["feature.npy"], "no features of thingsvision"),
        (["features.npy", "layer/features.npy"], "holds features itself and in"),
    ],
)
def test_thingsvision_ambiguous_folders(tmp_path, files, match):
    folder = folder_of(tmp_path)
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        with (folder / file).open("wb") as opened:
            np.save(opened, X)
    with pytest.raises(SchemaError, match=match):
        xc.read_thingsvision(folder)


def test_thingsvision_file_names(tmp_path):
    names = ["img/a.b/cat.jpg", "img/a.b/dog.png", "x\\y\\owl", "img/.hidden"]
    folder = folder_of(tmp_path, names)
    write_whole(folder, "npy", X)
    short = xc.read_thingsvision(folder, strip_folder=True, strip_extension=True)
    assert short.stimulus.values.tolist() == ["cat", "dog", "owl", ".hidden"]
    longer = xc.read_thingsvision(folder, strip_extension=True)
    assert longer.stimulus.values.tolist() == [
        "img/a.b/cat", "img/a.b/dog", "x\\y\\owl", "img/.hidden"
    ]  # fmt: skip
    other = folder_of(tmp_path, ["a/1.jpg", "b/1.jpg", "a/2.jpg", "a/2.png"], "vgg")
    write_whole(other, "npy", X)
    for option, match in (("strip_folder", "'b/1.jpg'"), ("strip_extension", "'a/2.png'")):
        with pytest.raises(SchemaError, match=f"{match} would both be called"):
            xc.read_thingsvision(other, **{option: True})


def test_thingsvision_hdf5_that_is_no_plain_array(tmp_path):
    h5py = pytest.importorskip("h5py")
    folder = folder_of(tmp_path)
    path = folder / "features.hdf5"

    def write(fill):
        with h5py.File(path, "w") as file:
            fill(file)

    def sparse(file):
        file.create_dataset("features", (4, 3), float, chunks=(1, 3))[:2] = X[:2]

    cases = {
        "an array, not a group": [lambda f: f.create_group("features")],
        "never written": [sparse, lambda f: f.create_dataset("features", (4, 3), float)],
        "must hold the dataset 'features'": [lambda f: f.create_dataset("x", data=X), lambda f: 0],
        "are missing": [lambda f: f.create_dataset("features_02", data=X)],
        "holds text|records|objects": [
            lambda f: f.create_dataset("features", data=["a", "b", "c", "d"])
        ],
    }
    for match, fills in cases.items():
        for fill in fills:
            write(fill)
            with pytest.raises(SchemaError, match=match):
                xc.read_thingsvision(folder)


@pytest.mark.parametrize("content", ["", "a b\n", "1 2\n3\n", "1+2j 3\n"])
def test_thingsvision_bad_text(tmp_path, content):
    folder = folder_of(tmp_path, ["a"])
    (folder / "features.txt").write_text(content)
    with pytest.raises(SchemaError, match="cannot be read as a table of numpy.savetxt"):
        xc.read_thingsvision(folder)


def test_thingsvision_needs_a_folder(tmp_path):
    np.save(tmp_path / "features.npy", X)
    with pytest.raises(SchemaError, match="is a file, and a folder"):
        xc.read_thingsvision(tmp_path / "features.npy")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        xc.read_thingsvision(tmp_path / "none")
