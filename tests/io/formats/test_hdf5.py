"""Damaged and hostile files of HDF5 and netCDF; ``fuzzing.py`` damages them by chance."""

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps
from tests.io.formats.sets import DATA, assembly
from xconverge.io.formats import _hdf5

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")


def outcome(read, path):
    """What reading gives: ``"read"``, or the SchemaError's text."""
    try:
        read(path)
    except xc.SchemaError as error:
        return str(error)
    return "read"


def test_damage_that_makes_the_c_library_hang(tmp_path, monkeypatch):
    """One byte of a node of a B-tree; in-process reading went on for ever with HDF5 2.0.0."""
    monkeypatch.setattr(_hdf5, "PATIENCE", 2.0)
    damaged = bytearray((DATA / "assy_test_package_assembly.nc").read_bytes())
    damaged[2304] = 18
    (tmp_path / "d.nc").write_bytes(damaged)
    start = time.monotonic()
    said = outcome(xc.io.read_brainio, tmp_path / "d.nc")
    assert time.monotonic() - start < 60
    assert "damaged" in said


def test_a_reader_that_crashes_or_hangs_is_a_damaged_file(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    path.write_bytes(_hdf5.MAGIC)
    run = subprocess.run

    def instead(code):
        def start(command, **options):
            return run([sys.executable, "-S", "-c", code], **options)

        monkeypatch.setattr(subprocess, "run", start)

    instead("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "crashed the process that read it (signal 11)" in outcome(_hdf5.check_hdf5, path)
    monkeypatch.setattr(_hdf5, "PATIENCE", 0.5)
    instead("import time; time.sleep(30)")
    assert "not read within" in outcome(_hdf5.check_hdf5, path)


def hostile(kind, path, secret):
    with h5py.File(path, "w") as file:
        if kind == "ExternalLink":
            file["data"] = h5py.ExternalLink(str(secret), "/data")
        elif kind == "SoftLink":
            file["data"] = h5py.SoftLink("/elsewhere")
        elif kind == "external data":
            file.create_dataset("data", (2, 2), "u1", external=[(str(secret), 0, 4)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 2), "f8")
            layout[:] = h5py.VirtualSource(str(secret), "data", (2, 2))
            file.create_virtual_dataset("data", layout)
        elif kind == "huge":
            file.create_dataset("data", (10**6, 10**6), "f8", chunks=(1, 10**6))
        else:
            group = file
            for _ in range(40):
                group = group.create_group("g")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ExternalLink", "is a ExternalLink"),
        ("SoftLink", "is a SoftLink"),
        ("external data", "keeps its data in other files"),
        ("virtual", "keeps its data in other files"),
        ("huge", "claims 8000000000000 bytes"),
        ("deep", "nested more than 32 deep"),
    ],
)
def test_files_that_point_elsewhere_or_claim_too_much(tmp_path, kind, said):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.ones((2, 2))
    hostile(kind, tmp_path / "evil.h5", secret)
    assert said in outcome(_hdf5.check_hdf5, tmp_path / "evil.h5")


def hdf5_of_every_kind(folder):
    """Good files of HDF5, and who reads them."""
    pytest.importorskip("rsatoolbox")
    reps = make_reps(1, 4, 3)
    assembly(repeats=1).rename("data").to_netcdf(folder / "a.nc", engine="h5netcdf")
    yield xc.io.read_brainio, folder / "a.nc"
    yield xc.io.read_allen, folder / "a.nc"
    yield xc.io.read_netcdf, xc.io.write_netcdf(folder / "r.nc", reps)
    xc.io.to_rsatoolbox_dataset(reps).save(folder / "d.h5")
    yield xc.io.read_rsatoolbox_dataset, folder / "d.h5"
    xc.io.to_rsatoolbox_rdms(xc.rdm(reps)).save(folder / "r.h5")
    yield xc.io.read_rsatoolbox_rdms, folder / "r.h5"
    for name, options in (("features.hdf5", {}), ("features.mat", {"userblock_size": 512})):
        things = folder / name.replace(".", "_")
        things.mkdir()
        (things / "file_names.txt").write_text("a\nb\n")
        with h5py.File(things / name, "w", **options) as file:
            file["features"] = np.ones((2, 2))
        if options:
            with (things / name).open("r+b") as raw:
                raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        yield xc.io.read_thingsvision, things


def test_every_file_of_hdf5_is_read_by_another_process_first(tmp_path, monkeypatch):
    def refuse(command, **options):
        return subprocess.CompletedProcess(command, 1, b"it said no", b"")

    sources = list(hdf5_of_every_kind(tmp_path))
    monkeypatch.setattr(subprocess, "run", refuse)
    for read, source in sources:
        assert "cannot be read as HDF5: it said no" in outcome(read, source)
    assert len(sources) == 7


@pytest.mark.parametrize(
    "read",
    [
        xc.io.read_brainio, xc.io.read_netcdf, xc.io.read_allen,
        xc.io.read_rsatoolbox_dataset, xc.io.read_rsatoolbox_rdms,
    ],
)  # fmt: skip
def test_files_that_are_something_else(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "none.nc")
    for content in (b"", b"CD", b"PK\x03\x04 zip", b"\x89HDF", b"CDF\x01", b"CDF\x05" + bytes(50)):
        path = tmp_path / "x.nc"
        path.write_bytes(content)
        assert "x.nc" in outcome(read, path)
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["numbers"] = np.ones(3)
    assert "h.h5" in outcome(read, tmp_path / "h.h5")


def test_what_to_install_is_said(tmp_path, monkeypatch):
    path = DATA / "assy_test_TestMe.nc"
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ImportError, match=r"needs h5netcdf.*pip install 'xconverge\[interop\]'"):
        xc.io.read_brainio(path)
    with pytest.raises(ImportError, match="h5netcdf"):
        xc.io.write_netcdf(tmp_path / "r.nc", make_reps(2, 3, 2))
    monkeypatch.setitem(sys.modules, "rsatoolbox.rdm", None)
    with pytest.raises(ImportError, match="pip install rsatoolbox"):
        xc.io.to_rsatoolbox_rdms(xc.rdm(make_reps(2, 4, 3)))


@pytest.mark.parametrize("damage", ["length", "dims"])
def test_damage_of_netcdf_3(tmp_path, damage):
    """A length of 2 GB for which scipy made room, and a dim that is there twice."""
    path = tmp_path / "d.nc"
    assembly(n_stimuli=3, repeats=1).rename("data").to_netcdf(path, engine="scipy")
    content = path.read_bytes()
    if damage == "length":
        content = content[:4] + content
    else:
        at = content.rindex(b"data\0\0\0\2") + 8
        content = content[: at + 4] + content[at : at + 4] + content[at + 8 :]
    path.write_bytes(content)
    tracemalloc.start()
    said = outcome(xc.io.read_brainio, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e7
    assert "d.nc cannot be read as a BrainIO assembly in netCDF" in said
