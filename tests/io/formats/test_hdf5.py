"""Damaged and hostile files of HDF5 and netCDF; ``fuzzing.py`` damages them by chance."""

import sys
import tracemalloc

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps
from tests.io.formats.sets import DATA, assembly

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")


READERS = [
    xc.io.read_brainio, xc.io.read_netcdf, xc.io.read_allen,
    xc.io.read_rsatoolbox_dataset, xc.io.read_rsatoolbox_rdms,
]  # fmt: skip


def outcome(read, path):
    """What reading gives: ``"read"``, or the SchemaError's text."""
    try:
        read(path)
    except xc.SchemaError as error:
        return str(error)
    return "read"


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
        else:
            file.create_dataset("data", (10**6, 10**6), "f8", chunks=(1, 10**6))
        inside = file.create_group("inside")
        inside["first"] = 1.0
        file.move("data", "inside/data")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ExternalLink", "is a ExternalLink"),
        ("SoftLink", "is a SoftLink"),
        ("external data", "keeps its data in other files"),
        ("virtual", "keeps its data in other files"),
        ("huge", "claims 8000000000000 bytes"),
    ],
)
def test_files_that_point_elsewhere_or_claim_too_much(tmp_path, kind, said):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.ones((2, 2))
    hostile(kind, tmp_path / "evil.h5", secret)
    for read in READERS:
        found = outcome(read, tmp_path / "evil.h5")
        assert "'inside/data'" in found
        assert said in found
    things = tmp_path / "things"
    things.mkdir()
    (things / "file_names.txt").write_text("a\nb\n")
    (tmp_path / "evil.h5").rename(things / "features.h5")
    assert said in outcome(xc.io.read_thingsvision, things)


@pytest.mark.parametrize("read", READERS)
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
