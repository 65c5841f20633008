"""Files that are no regular ones: told at once, by every reader, and never opened."""

import inspect
import os
import signal
import socket
import time

import numpy as np
import pytest

import xconverge as xc
from tests.io.formats.sets import IDS, X, assert_model

SECONDS = 3


def ids_of_good_file(read):
    """A reader of ids, beside an array that is good."""

    def with_array(path):
        np.save(path.parent / "good.npy", X)
        return read(path.parent / "good.npy", path)

    return with_array


def in_folder(name):
    """A reader of the folder in which a file is."""

    def read(path):
        if name != "file_names.txt":
            (path.parent / "file_names.txt").write_text("a\nb\n")
        return xc.io.read_thingsvision(path.parent)

    return name, read


READERS = {
    "read_npy": ("x.npy", lambda path: xc.io.read_npy(path, IDS)),
    "read_npz": ("x.npz", lambda path: xc.io.read_npz(path, IDS)),
    "read_csv": ("x.csv", lambda path: xc.io.read_csv(path, "image")),
    "read_parquet": ("x.parquet", lambda path: xc.io.read_parquet(path, "image")),
    "read_brainio": ("x.nc", xc.io.read_brainio),
    "read_allen": ("x.nc", lambda path: xc.io.read_allen(path, stimulus="frame")),
    "read_netcdf": ("x.nc", lambda path: xc.io.read_netcdf(path, stimulus="image")),
    "read_rsatoolbox_dataset": ("x.h5", xc.io.read_rsatoolbox_dataset),
    "read_rsatoolbox_rdms": ("x.h5", xc.io.read_rsatoolbox_rdms),
    "read_platonic": ("x.pt", lambda path: xc.io.read_platonic(path, IDS)),
    "read_platonic, of a folder": ("x.pt", lambda path: xc.io.read_platonic(path.parent, IDS)),
    "read_nwb": ("x.nwb", xc.io.read_nwb),
    "from_nifti": ("x.nii", lambda path: xc.io.from_nifti(path, path, ["a"], model="brain")),
    "read_trials": ("x.csv", lambda path: xc.io.read_trials(path, features=["a"])),
    "read_trials, npy": ("x.npy", lambda path: xc.io.read_trials(path)),
    "design": ("x.tsv", ids_of_good_file(xc.io.read_trials)),
    "ids": ("x.txt", ids_of_good_file(xc.io.read_npy)),
    "ids of a column": (
        "x.csv", ids_of_good_file(lambda npy, path: xc.io.read_npy(npy, f"{path}:id")),
    ),
    "ids of a table": ("x.txt", lambda path: xc.io.read_csv(good_table(path), str(path))),
    "read_thingsvision": in_folder("features.npy"),
    "read_thingsvision, hdf5": in_folder("features.hdf5"),
    "read_thingsvision, mat": in_folder("features.mat"),
    "read_thingsvision, txt": in_folder("features.txt"),
    "read_thingsvision, pt": in_folder("features.pt"),
    "read_thingsvision, names": in_folder("file_names.txt"),
}  # fmt: skip


def good_table(path):
    table = path.parent / "good.csv"
    table.write_text("a\n1\n")
    return table


def make(kind, path):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)  # a whole path may be too long
    else:
        path.symlink_to({"device": "/dev/zero", "memory": "/proc/self/mem"}[kind])


def too_long(number, frame):
    raise AssertionError(f"it was not told within {SECONDS} s")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, the working one, in which reading has to end soon."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    yield tmp_path
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


needs_linux = pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="files of Linux")


def test_every_reader_is_here():
    named = {
        name
        for name in xc.io.__all__
        if name.startswith("read_") and inspect.isfunction(getattr(xc.io, name))
    }
    # the manifest is a file of a store, whose files tests/io/test_manifest.py exchanges
    named -= {"read_manifest"}
    assert named == {name.split(",")[0] for name in READERS if name.startswith("read_")}


@needs_linux
@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "memory", "socket", "empty"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_told_at_once(here, reader, kind):
    name, read = READERS[reader]
    if "pt" in name.split("."):
        pytest.importorskip("torch")
    if "nii" in name.split("."):
        pytest.importorskip("nibabel")
    if "thingsvision" in reader:
        np.save(here / ("features.npy" if "names" in reader else "unused"), X)
    make(kind, here / name)
    start = time.monotonic()
    if kind == "folder" and reader in FOLDERS:
        said = FOLDERS[reader]
    else:
        word = {"memory": "empty"}.get(kind, kind)
        said = f"cannot be read as .*: it is (a |an |){word}, and a regular file"
    with pytest.raises((xc.SchemaError, FileNotFoundError), match=said):
        read(here / name)
    assert time.monotonic() - start < SECONDS


FOLDERS = {
    "read_platonic": "no file '\\*.pt' in the folder",
    "read_platonic, of a folder": "no file '\\*.pt' in the folder",
    **{name: "holds no features of thingsvision" for name in READERS if "thingsvision" in name},
    "read_thingsvision, names": "it is a folder",
}
"""What is said of a folder where one is looked into, or passed over."""


def test_a_link_to_a_regular_file_is_one(here):
    np.save(here / "real.npy", X)
    (here / "m.npy").symlink_to(here / "real.npy")
    (here / "real.txt").write_text("".join(f"{name}\n" for name in IDS), "utf-8")
    (here / "ids.txt").symlink_to(here / "real.txt")
    assert_model(xc.io.read_npy(here / "m.npy", here / "ids.txt"), X, IDS)
