"""Folders of features that thingsvision wrote, and MATLAB files."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

import xconverge as xc
from tests.helpers import no_compute
from tests.io.formats.sets import IDS, X, assert_model, folder_of, save_hdf5, write_whole
from xconverge.labels.messages import SchemaError


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


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("kind", ["npy", "hdf5", "mat", "txt"])
@pytest.mark.parametrize("write", [write_whole, write_parts])
def test_thingsvision_formats(tmp_path, kind, write):
    folder = folder_of(tmp_path)
    write(folder, kind, X)
    assert_model(xc.io.read_thingsvision(folder), X, IDS, "alexnet")
    assert_model(xc.io.read_thingsvision(folder, list("abcd"), model="m"), X, list("abcd"))
    with pytest.raises(SchemaError, match="4 rows, and there are 3 ids"):
        xc.io.read_thingsvision(folder, list("abc"))
    (folder / "file_names.txt").unlink()
    with pytest.raises(SchemaError, match="thingsvision writes them to file_names.txt"):
        xc.io.read_thingsvision(folder)


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
    assert_model(xc.io.read_thingsvision(folder), X, names, "alexnet")
    assert_model(xc.io.read_thingsvision(folder, list("wxyz")), X, list("wxyz"), "alexnet")


@given(
    dtype=st.sampled_from(
        ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", ">f8", ">i4"]
    ),
    packed=st.booleans(),
    width=st.integers(1, 40),
)
def test_mat_of_every_kind_of_number(tmp_path, dtype, packed, width):
    values = (np.arange(4 * width) % 100).reshape(4, width).astype(dtype)
    with TemporaryDirectory(dir=tmp_path) as name:
        folder = folder_of(Path(name))
        savemat(folder / "features.mat", {"ü": "text", "features": values}, do_compression=packed)
        with pytest.warns(RuntimeWarning, match="'ü' left out"):
            reps = xc.io.read_thingsvision(folder)
        assert_model(reps, values.astype(float), IDS, "alexnet")
        assert reps.dtype == (dtype if dtype == "f4" else "f8")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("text", "'features' is of MATLAB's class 'char', not numbers"),
        ({"a": 1}, "'features' is of MATLAB's class 'struct'"),
        (np.array(["a", 1], dtype=object), "'features' is of MATLAB's class 'cell'"),
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
        xc.io.read_thingsvision(folder)
    savemat(folder / "features.mat", {"features": X}, format="4")
    with pytest.raises(SchemaError, match="no MATLAB file of version 5 or later"):
        xc.io.read_thingsvision(folder)


def test_thingsvision_mat_of_several_variables_of_one_name(tmp_path):
    folder = folder_of(tmp_path)
    path = folder / "features.mat"
    savemat(path, {"features": X})
    savemat(tmp_path / "other.mat", {"features": X + 1})
    path.write_bytes(path.read_bytes() + (tmp_path / "other.mat").read_bytes()[128:])
    with pytest.raises(SchemaError, match="several variables of one name: 'features'"):
        xc.io.read_thingsvision(folder)


def test_thingsvision_mat_that_fills_the_memory(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    savemat(folder / "features.mat", {"features": np.zeros((4, 10_000))}, do_compression=True)
    assert (folder / "features.mat").stat().st_size < 1000
    assert xc.io.read_thingsvision(folder).shape == (1, 4, 10_000)
    monkeypatch.setattr("xconverge.io.formats._reading.free_bytes", lambda: 300_000)
    with pytest.raises(SchemaError, match="GiB of memory are free"):
        xc.io.read_thingsvision(folder)


def test_thingsvision_mat_that_lost_an_image(tmp_path):
    folder = folder_of(tmp_path, ["a.jpg", "a.png", "b.jpg"])
    savemat(folder / "features.mat", {"a": X[0], "b": X[1]})
    with pytest.raises(SchemaError, match="differ only in their extension"):
        xc.io.read_thingsvision(folder)
    savemat(folder / "features.mat", {"a": X[0], "c": X[1], "d": X[2]})
    with pytest.raises(SchemaError, match="one variable an image"):
        xc.io.read_thingsvision(folder)


@pytest.mark.parametrize("order", ["C", "F"])
def test_thingsvision_mat_of_version_73(tmp_path, order):
    h5py = pytest.importorskip("h5py")
    folder = folder_of(tmp_path)
    with h5py.File(folder / "features.mat", "w", userblock_size=512) as file:
        file.create_dataset("features", data=np.asarray(X.T, order=order))
    with (folder / "features.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert_model(xc.io.read_thingsvision(folder), X, IDS, "alexnet")


@pytest.mark.parametrize("kind", ["npy", "hdf5", "mat"])
def test_thingsvision_maps_are_flattened_on_request(tmp_path, kind):
    folder = folder_of(tmp_path)
    maps = np.random.default_rng(0).standard_normal((4, 2, 3, 5)).astype(np.float32)
    write_whole(folder, kind, maps)
    with pytest.raises(SchemaError, match=r"shape \(2, 3, 5\); flatten=True makes one vector"):
        xc.io.read_thingsvision(folder)
    assert_model(xc.io.read_thingsvision(folder, flatten=True), maps.reshape(4, -1), IDS, "alexnet")


def test_thingsvision_modules(tmp_path):
    """As extract_features(output_dir=…) writes them, in blocks of batches."""
    root = folder_of(tmp_path, name="out")
    for module, width in (("features.10", 3), ("features.2", 2)):
        (root / module).mkdir()
        np.save(root / module / "features_train_0-3.npy", X[:3, :width])
        np.save(root / module / "features_train_3-4.npy", X[3:, :width])
    with no_compute():
        reps = xc.io.read_thingsvision(root)
    assert reps.indexes["model"].tolist() == ["features.2", "features.10"]
    assert reps.n_features.values.tolist() == [2, 3]
    np.testing.assert_array_equal(reps.sel(model="features.10"), X)
    with pytest.raises(SchemaError, match="holds 2 models"):
        xc.io.read_thingsvision(root, model="m")
    (root / "features.2" / "file_names.txt").write_text("d\nc\nb\na\n")
    with pytest.raises(SchemaError, match="file names of 'features.10' .* 'features.2'"):
        xc.io.read_thingsvision(root)


def test_thingsvision_names_of_parts_of_all_modules_but_the_first(tmp_path):
    """As thingsvision 2.7 writes several module_names: only the first has its rows in its names."""
    root = folder_of(tmp_path, name="out")
    names = {"conv1": ("0-2", "2-3", "3-4"), "conv2": ("2-2", "3-3", "4-4")}
    for module, parts in names.items():
        (root / module).mkdir()
        for part, rows in zip(parts, (X[:2], X[2:3], X[3:]), strict=True):
            np.save(root / module / f"features_{part}.npy", rows)
    reps = xc.io.read_thingsvision(root)
    for module in names:
        np.testing.assert_array_equal(reps.sel(model=module), X)
    (root / "conv2" / "features_3-3.npy").unlink()
    with pytest.raises(SchemaError, match="its name says otherwise"):
        xc.io.read_thingsvision(root)


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
        xc.io.read_thingsvision(folder)


def test_thingsvision_file_names(tmp_path):
    names = ["img/a.b/cat.jpg", "img/a.b/dog.png", "x\\y\\owl", "img/.hidden"]
    folder = folder_of(tmp_path, names)
    write_whole(folder, "npy", X)
    short = xc.io.read_thingsvision(folder, strip_folder=True, strip_extension=True)
    assert short.stimulus.values.tolist() == ["cat", "dog", "owl", ".hidden"]
    longer = xc.io.read_thingsvision(folder, strip_extension=True)
    assert longer.stimulus.values.tolist() == [
        "img/a.b/cat", "img/a.b/dog", "x\\y\\owl", "img/.hidden"
    ]  # fmt: skip
    other = folder_of(tmp_path, ["a/1.jpg", "b/1.jpg", "a/2.jpg", "a/2.png"], "vgg")
    write_whole(other, "npy", X)
    for option, match in (("strip_folder", "'b/1.jpg'"), ("strip_extension", "'a/2.png'")):
        with pytest.raises(SchemaError, match=f"{match} would both be called"):
            xc.io.read_thingsvision(other, **{option: True})


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
                xc.io.read_thingsvision(folder)


@pytest.mark.parametrize("content", ["", "a b\n", "1 2\n3\n", "1+2j 3\n"])
def test_thingsvision_bad_text(tmp_path, content):
    folder = folder_of(tmp_path, ["a"])
    (folder / "features.txt").write_text(content)
    with pytest.raises(SchemaError, match="cannot be read as a table of numpy.savetxt"):
        xc.io.read_thingsvision(folder)


def test_thingsvision_needs_a_folder(tmp_path):
    np.save(tmp_path / "features.npy", X)
    with pytest.raises(SchemaError, match="is no folder, and a folder"):
        xc.io.read_thingsvision(tmp_path / "features.npy")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        xc.io.read_thingsvision(tmp_path / "none")
