"""Plain NumPy files, and ids that are given beside them."""

import cProfile
import io
import json
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps, no_compute
from tests.io.formats.sets import IDS, X, assert_model, folder_of, write_whole
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError

# ids


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_ids_of_a_text_file(tmp_path, end, bom, last):
    ids = [*IDS[:3], " a line\u2028of\x0btext "]
    text = bom + end.join(ids) + end * last
    (tmp_path / "ids.txt").write_bytes(text.encode())
    np.save(tmp_path / "m.npy", X)
    assert_model(xc.io.read_npy(tmp_path / "m.npy", tmp_path / "ids.txt"), X, ids)
    assert_model(xc.io.read_npy(str(tmp_path / "m.npy"), str(tmp_path / "ids.txt")), X, ids)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a\n\nc\nd\n", "blank lines: '2'"),
        (b"a\nb\nc\nd\n\n", "blank lines: '5'"),
        (b"", "is empty, and a regular file"),
        (b"\n", "blank lines: '1'"),
        ("a\nb\nc\nü\n".encode("latin-1"), "cannot be read as a list of ids"),
        (b"a\nb\nc\na\n", "duplicate labels on 'stimulus': 'a'"),
        (b"a\nb\nc\n", "has 4 rows, and there are 3 ids"),
    ],
)
def test_bad_lists_of_ids(tmp_path, content, match):
    (tmp_path / "ids.txt").write_bytes(content)
    np.save(tmp_path / "m.npy", X)
    with pytest.raises(SchemaError, match=match):
        xc.io.read_npy(tmp_path / "m.npy", tmp_path / "ids.txt")


ODD = ["007", "1e5", "NA", "True", "1.0", "null", "a,b", 'c"d', "e\nf", " ü:x ", "nan"]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("name", "sep"), [("ids.csv", ","), ("ids.tsv", "\t"), ("a:b.csv", ",")])
def test_ids_of_a_column(tmp_path, monkeypatch, name, sep):
    """``ids.csv:nsd_id``: the column of a table, its cells as they stand."""
    table = pd.DataFrame({"row": range(len(ODD)), "nsd_id": ODD, "größe": "x"})
    table.to_csv(tmp_path / name, sep=sep, index=False)
    values = np.arange(3.0 * len(ODD)).reshape(-1, 3)
    np.save(tmp_path / "m.npy", values)
    np.savez(tmp_path / "m.npz", m=values)
    assert_model(xc.io.read_npy(tmp_path / "m.npy", f"{tmp_path}/{name}:nsd_id"), values, ODD)
    assert_model(xc.io.read_npz(tmp_path / "m.npz", tmp_path / f"{name}:nsd_id"), values, ODD)
    pd.DataFrame(values, columns=list("abc")).to_csv(tmp_path / "m.csv", index=False)
    assert_model(xc.io.read_csv(tmp_path / "m.csv", f"{tmp_path}/{name}:nsd_id"), values, ODD)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_model(xc.io.read_npy("~/m.npy", f"~/{name}:nsd_id"), values, ODD)
    assert_model(
        xc.io.read_npy("~/m.npy", f"~/{name}:row"), values, [str(i) for i in range(len(ODD))]
    )


def test_bad_columns_of_ids(tmp_path):
    np.save(tmp_path / "m.npy", X)
    for text, column, match in [
        ("id,b\nx,1\n", "name", "no column 'name' of ids; its columns are 'id', 'b'"),
        ("id,b\nx,1\n", "id", "has 4 rows, and there are 1 ids"),
        ("id,id\nx,1\n", "id", "several columns of one name"),
        ("id,b\nx\n", "id", "2 columns, and row 2 has 1 cells"),
        ("id,b\nx,1\n,1\ny,1\nz,1\n", "id", "an id in every row of 'id'; it has none in rows '3'"),
        ("id,b\nx,1\nx,1\ny,1\nz,1\n", "id", "duplicate labels on 'stimulus': 'x'"),
        ("id\n" + "ü\n" * 4, "id", "cannot be read as a table with ids"),
    ]:
        (tmp_path / "ids.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(SchemaError, match=match):
            xc.io.read_npy(tmp_path / "m.npy", tmp_path / f"ids.csv:{column}")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.csv"):
        xc.io.read_npy(tmp_path / "m.npy", tmp_path / "none.csv:id")
    # a file of that very name is one
    (tmp_path / "ids.csv:id").write_text("a\nb\nc\nd\n")
    assert_model(xc.io.read_npy(tmp_path / "m.npy", tmp_path / "ids.csv:id"), X, list("abcd"))


def test_rows_are_never_named_by_position(tmp_path):
    np.save(tmp_path / "m.npy", X)
    np.savez(tmp_path / "m.npz", m=X)
    for reader, name in ((xc.io.read_npy, "m.npy"), (xc.io.read_npz, "m.npz")):
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
        with pytest.raises(SchemaError, match=r"whole numbers \('7'\) and text \('7.0'\) mixed"):
            reader(tmp_path / name, [7, np.int8(2), "7.0", 3])
    reps = xc.io.read_npy(tmp_path / "m.npy", [7, np.int8(2), np.uint64(2**64 - 1), 3])
    assert reps.stimulus.values.tolist() == ["7", "2", "18446744073709551615", "3"]


# .npy


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", ">f8", "i1", ">i4", "u8", "?"])
@pytest.mark.parametrize("order", "CF")
def test_numbers_of_every_kind(tmp_path, dtype, order):
    values = np.asarray(np.arange(12).reshape(4, 3) % 5, dtype=dtype, order=order)
    np.save(tmp_path / "m.npy", values)
    np.savez(tmp_path / "m.npz", m=values)
    for reps in (
        xc.io.read_npy(tmp_path / "m.npy", IDS, modality="vision"),
        xc.io.read_npz(tmp_path / "m.npz", IDS, modality="vision"),
    ):
        assert_model(reps, values.astype(float), IDS)
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
    "raw bytes, not numbers": np.zeros((1, 2), "V8"),
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
    for reader, name in ((xc.io.read_npy, "m.npy"), (xc.io.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match=match):
            reader(tmp_path / name, ["a"]).compute()


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "it ran"), "w"))

    np.save(tmp_path / "m.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "m.npz", allow_pickle=True, m=np.array([[Bomb()]], dtype=object))
    for reader, name in ((xc.io.read_npy, "m.npy"), (xc.io.read_npz, "m.npz")):
        with pytest.raises(SchemaError, match="unpickling runs code"):
            reader(tmp_path / name, ["a"])
    assert not (tmp_path / "it ran").exists()


def test_npy_stays_on_disk(tmp_path):
    np.save(tmp_path / "m.npy", X)
    with no_compute():
        reps = xc.io.read_npy(tmp_path / "m.npy", IDS, model="vit")
    assert reps.chunks is not None
    assert reps.indexes["model"].tolist() == ["vit"]
    np.save(tmp_path / "m.npy", X + 1)
    with pytest.raises(SchemaError, match="has changed since it was opened"):
        reps.compute()


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_lazy_files_travel_to_other_processes(tmp_path, kind):
    folder = folder_of(tmp_path)
    write_whole(folder, kind, X)
    reps = pickle.loads(pickle.dumps(xc.io.read_thingsvision(folder)))
    assert len(pickle.dumps(reps)) < 10_000
    assert_model(reps, X, IDS, "alexnet")


def test_large_npy_is_read_in_blocks(tmp_path, monkeypatch):

    monkeypatch.setattr(BUDGETS, "text_block", 2 * 3 * 8)
    np.save(tmp_path / "m.npy", X)
    reps = xc.io.read_npy(tmp_path / "m.npy", IDS)
    assert reps.chunksizes["stimulus"] == (2, 2)
    assert_model(reps, X, IDS)
    xc.write_representations(tmp_path / "s.zarr", reps, modality="vision")
    assert_model(xc.open_representations(tmp_path / "s.zarr", "vision"), X, IDS)


def header(text, version=1):
    text = text.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(4,-3),}"), "read as a NumPy"),
        (
            header("{'descr':'<f8','fortran_order':False,'shape':(4,99999999999),}"),
            "greater than file",
        ),
        (
            header("{'descr':'<f8','fortran_order':False,'shape':(1,1),}") + b"0" * 9,
            "more bytes than its header",
        ),
        (header("{'descr':'|O','fortran_order':False,'shape':(4,3),}"), "unpickling"),
        (header("{'descr':'<f8','fortran_order':__import__('os'),'shape':(4,3),}"), "read as"),
        (header("-" * 9000 + "1"), "damaged"),
        (header("-" * 90000 + "1", 2), "read as"),
        (header("{'descr':'<f8','fortran_order':False,'shape':(1,1),}", 3), "read as a NumPy"),
    ],
)
def test_damaged_headers(tmp_path, content, match):
    (tmp_path / "m.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("m.npy", content)
    for reader, name in ((xc.io.read_npy, "m.npy"), (xc.io.read_npz, "m.npz")):
        with pytest.raises(
            SchemaError, match=match if name == "m.npy" else "damaged|more bytes|unpi"
        ):
            reader(tmp_path / name, ["a"])


def test_npy_of_python_2(tmp_path):
    text = "{'descr':'<f8','fortran_order':False,'shape':(4L,3L),}".ljust(117) + "\n"
    (tmp_path / "m.npy").write_bytes(header(text) + X.tobytes())
    assert_model(xc.io.read_npy(tmp_path / "m.npy", IDS), X, IDS)


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    for reader in (xc.io.read_npy, xc.io.read_npz, xc.io.read_csv, xc.io.read_parquet):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            reader(tmp_path / "none", ["a"])
        with pytest.raises(SchemaError, match="cannot be read as"):
            reader(tmp_path, ["a"])
    np.save(tmp_path / "m.npy", X)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        xc.io.read_npy(tmp_path / "m.npy", tmp_path / "none.txt")


# .npz


def test_npz_of_several_models(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", **{"../ünet": X, "b": X[:, :2]})
    reps = xc.io.read_npz(tmp_path / "m.npz", IDS)
    assert reps.indexes["model"].tolist() == ["../ünet", "b"]
    assert reps.n_features.values.tolist() == [3, 2]
    np.testing.assert_array_equal(reps.sel(model="b").values[:, :2], X[:, :2])
    assert {path.name for path in tmp_path.iterdir()} == {"m.npz"}
    with pytest.raises(SchemaError, match="holds 2 models"):
        xc.io.read_npz(tmp_path / "m.npz", IDS, model="a")


def test_npz_with_its_own_ids(tmp_path):
    np.savez(tmp_path / "m.npz", a=X, stimulus=np.array(IDS))
    assert_model(xc.io.read_npz(tmp_path / "m.npz", model="m"), X, IDS)
    with pytest.raises(SchemaError, match="has its own ids"):
        xc.io.read_npz(tmp_path / "m.npz", IDS)
    np.savez(tmp_path / "n.npz", stimulus=np.array(IDS))
    with pytest.raises(SchemaError, match="no features"):
        xc.io.read_npz(tmp_path / "n.npz")


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
        ([("m.npy", claim + b"\0" * 99)], "EOF: reading array data"),
        ([("m.npy", npy_bytes(X) + b"\0" * 99)], "header claims"),
        ([("m.npy", npy_bytes(X)), ("m.npy", npy_bytes(X))], "several members of one name"),
        ([("m.txt", b"hello")], "what is no array: 'm.txt'"),
        ([], "no features"),
    ]:
        write(*content)
        with pytest.raises(SchemaError, match=match):
            xc.io.read_npz(path, IDS)
    write(("m.npy", npy_bytes(X)))
    good = path.read_bytes()
    size = struct.pack("<I", len(npy_bytes(X)))
    assert good.count(size) == 2
    path.write_bytes(good.replace(size, struct.pack("<I", 2**31)))
    monkeypatch.setattr("xconverge.io.formats._reading.free_bytes", lambda: 2**30)
    with pytest.raises(SchemaError, match="GiB of memory are free"):
        xc.io.read_npz(path, IDS)

    zeros = npy_bytes(np.zeros((4, 500_000)))
    write(("m.npy", zeros))
    assert path.stat().st_size < len(zeros) / 500
    assert xc.io.read_npz(path, IDS).shape == (1, 4, 500_000)
    monkeypatch.setattr("xconverge.io.formats._reading.free_bytes", lambda: len(zeros) - 1)
    with pytest.raises(SchemaError, match="GiB of memory are free"):
        xc.io.read_npz(path, IDS)


def test_a_changed_byte_of_an_archive_is_seen(tmp_path):
    xc.io.write_npz(tmp_path / "m.npz", make_reps(2, 50, [30, 20]))
    content = bytearray((tmp_path / "m.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(SchemaError, match="CRC"):
        xc.io.read_npz(tmp_path / "m.npz")


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


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("lazy", [False, True])
def test_npz_brings_back_what_was_written(tmp_path, lazy):
    reps = rich(lazy)
    assert xc.io.write_npz(tmp_path / "m.npz", reps) == tmp_path / "m.npz"
    back = xc.io.read_npz(tmp_path / "m.npz")
    xr.testing.assert_identical(back, reps.compute())
    assert {n: c.dtype for n, c in back.coords.items()} == {
        n: c.dtype if c.dtype.kind != "U" else np.dtype(object) for n, c in reps.coords.items()
    }
    xr.testing.assert_identical(xc.io.read_npz(tmp_path / "m.npz", modality="x").drop_attrs(),
                                reps.compute().drop_attrs())  # fmt: skip
    assert xc.io.read_npz(tmp_path / "m.npz", modality="x").attrs["modality"] == "x"
    for wrong in ({"ids": IDS}, {"model": "m"}):
        with pytest.raises(SchemaError, match="has its own labels"):
            xc.io.read_npz(tmp_path / "m.npz", **wrong)


@pytest.mark.slow
@settings(max_examples=3)
@given(order=st.permutations(["subject", "model", "stimulus", "feature"]))
def test_npz_keeps_the_order_of_dims(tmp_path, order):
    reps = rich().transpose(*order)
    xc.io.write_npz(tmp_path / "m.npz", reps, overwrite=True)
    xr.testing.assert_identical(xc.io.read_npz(tmp_path / "m.npz"), reps)


@pytest.mark.slow
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
    xc.io.write_npz(tmp_path / "m.npz", reps, overwrite=True)
    xr.testing.assert_identical(xc.io.read_npz(tmp_path / "m.npz"), reps)


def test_numpy_reads_all_of_an_npz(tmp_path):
    reps = rich()
    with np.load(xc.io.write_npz(tmp_path / "m.npz", reps), allow_pickle=False) as archive:
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
        xc.io.write_npz(path, bad)
    assert not list(tmp_path.iterdir())
    xc.io.write_npz(path, reps)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xc.io.write_npz(path, reps)
    with pytest.raises(SchemaError, match="NaN inside"):
        xc.io.write_npz(path, bad, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["m.npz"]
    xr.testing.assert_identical(xc.io.read_npz(path), reps)


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
        xc.io.write_npz(tmp_path / "m.npz", reps)
    assert not list(tmp_path.iterdir())


def test_npz_of_other_dims_and_a_newer_format(tmp_path):
    dims = {"model": "net", "stimulus": "image", "feature": "unit"}
    reps = make_reps(2, 5, 3).rename(dims)
    with pytest.raises(SchemaError, match="from_xarray"):
        xc.io.write_npz(tmp_path / "m.npz", reps)
    xc.io.write_npz(tmp_path / "m.npz", xc.from_xarray(reps, **dims))
    back = xc.io.read_npz(tmp_path / "m.npz")
    assert back.dims == ("model", "stimulus", "feature")
    np.testing.assert_array_equal(back.values, reps.values)
    np.savez(tmp_path / "n.npz", xconverge=np.array('{"format": 99}'))
    with pytest.raises(SchemaError, match="newer xconverge"):
        xc.io.read_npz(tmp_path / "n.npz")


@pytest.mark.slow
def test_the_work_grows_as_the_members_do(tmp_path):
    def calls(n_members):
        np.savez(tmp_path / "m.npz", **{f"m{i}": X for i in range(n_members)})
        profile = cProfile.Profile()
        profile.runcall(xc.io.read_npz, tmp_path / "m.npz", IDS)
        return sum(entry.callcount for entry in profile.getstats())

    calls(2)
    few, many = calls(40), calls(160)
    assert many < 4.2 * few
