"""Any labelled array by its dims, netCDF both ways, and damaged or hostile files."""

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps, no_compute
from tests.test_interop_labelled import DATA, assembly
from xconverge.interop import _hdf5

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")


def activations():
    return xr.DataArray(
        np.arange(24.0).reshape(2, 3, 4),
        dims=("image", "channel", "x"),
        coords={
            "image": [12, 7],
            "channel": ["r", "g", "b"],
            "caption": ("image", ["Katze", "Hündin"]),
            "depth": ("channel", [1, 2, 3]),
        },
        name="conv1",
    )


def test_dims_by_name():
    reps = xc.from_xarray(activations(), stimulus="image", feature=["channel", "x"])
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.model.values.tolist() == ["conv1"]
    assert reps.stimulus.values.tolist() == ["12", "7"]
    assert reps.caption.values.tolist() == ["Katze", "Hündin"]
    for c in range(3):
        for x in range(4):
            at = c * 4 + x
            np.testing.assert_array_equal(reps.values[0, :, at], activations().values[:, c, x])
            assert reps.channel.values[at] == "rgb"[c]
            assert reps.depth.values[at] == c + 1
    other = xc.from_xarray(activations(), stimulus="image", feature=["x", "channel"])
    assert other.values[0, 0, 1] == activations().values[0, 1, 0]
    maps = xc.from_xarray(activations(), stimulus="image", feature="channel", model="net")
    assert maps.dims == ("model", "stimulus", "feature", "x")
    assert maps.channel.dims == ("feature",)


def test_a_dim_of_models_and_labels_from_a_coordinate():
    array = xr.DataArray(
        np.ones((2, 3, 4), np.float32),
        dims=("net", "stimulus", "unit"),
        coords={
            "net": [1, 2],
            "stimulus": [5, 6, 7],
            "image_id": ("stimulus", ["a", "b", "c"]),
            "model": ("net", ["vit", "cnn"]),
            "unit": [10, 20, 30, 40],
        },
    )
    reps = xc.from_xarray(array, model="net", stimulus="image_id", feature="unit", modality="v")
    assert reps.model.values.tolist() == ["1", "2"]
    assert reps.source_model.values.tolist() == ["vit", "cnn"]
    assert reps.stimulus.values.tolist() == ["a", "b", "c"]
    assert reps.source_stimulus.values.tolist() == [5, 6, 7]
    assert reps.unit.values.tolist() == [10, 20, 30, 40]
    assert reps.dtype == np.float32
    assert reps.attrs["modality"] == "v"
    xc.validate(reps)
    indexed = array.drop_vars("stimulus").assign_coords(number=("stimulus", [5, 6, 7]))
    indexed = indexed.set_index(stimulus=["number", "image_id"])
    assert indexed.indexes["stimulus"].nlevels == 2
    flat = xc.from_xarray(indexed, model="net", stimulus="image_id", feature="unit")
    assert flat.stimulus.values.tolist() == ["a", "b", "c"]
    assert flat.number.values.tolist() == [5, 6, 7]


def test_a_lazy_array_stays_lazy():
    with no_compute():
        reps = xc.from_xarray(
            activations().chunk(image=1), stimulus="image", feature=["channel", "x"]
        )
    assert reps.chunks is not None
    expected = xc.from_xarray(activations(), stimulus="image", feature=["channel", "x"])
    xr.testing.assert_identical(reps.compute(), expected)


def test_arrays_that_do_not_fit():
    array = activations()
    with pytest.raises(
        xc.SchemaError, match=r"has the dims \['image', 'channel', 'x'\], and 'stim"
    ):
        xc.from_xarray(array, feature="channel")
    with pytest.raises(xc.SchemaError, match="no labels on 'x'"):
        xc.from_xarray(array, stimulus="x", feature=["image", "channel"])
    with pytest.raises(xc.SchemaError, match="what its model is called"):
        xc.from_xarray(array.rename(None), stimulus="image", feature=["channel", "x"])
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'stimulus': '7'"):
        xc.from_xarray(array.assign_coords(image=[7, 7]), stimulus="image", feature="channel")
    with pytest.raises(xc.SchemaError, match="is a dim of stimuli or features"):
        xc.from_xarray(array, model="image", stimulus="image", feature="channel")
    with pytest.raises(xc.SchemaError, match="real numbers"):
        xc.from_xarray(array.astype(str), stimulus="image", feature="channel")
    array.values[0, 0, 0] = np.nan
    with pytest.raises(xc.SchemaError, match="model 'conv1', 1 of 12 features"):
        xc.from_xarray(array, stimulus="image", feature=["channel", "x"])


ATTRS = {
    "text": "é", "empty": "", "whole": 3, "float": 0.5, "flag": True, "none": None, "one": [1],
    "list": [1, 2.5], "nothing": [], "dict": {"a": [None, "ü"]}, "large": 2**70,
}  # fmt: skip


@pytest.mark.parametrize("extra", [None, {"layer": 2}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_netcdf_brings_a_set_back_identical(tmp_path, dtype, extra):
    reps = make_reps(3, 6, [4, 2, 3], missing=0.3, dtype=dtype, extra=extra)
    reps = reps.assign_coords(
        caption=("stimulus", [f"naïve 猫 {i}" for i in range(6)]),
        seen=("stimulus", [True, False] * 3),
        day=("stimulus", pd.date_range("2026-01-01", periods=6)),
        lag=("stimulus", pd.to_timedelta(np.arange(6), "s")),
        unit=(("model", "feature"), np.arange(12.0).reshape(3, 4)),
        n_repetitions=("stimulus", np.arange(6)),
    )
    reps.attrs.update(ATTRS)
    reps.caption.attrs.update(ATTRS)
    path = xc.write_netcdf(tmp_path / "ä.nc", reps)
    found = xc.read_netcdf(path)
    xr.testing.assert_identical(found, reps)
    assert found.dtype == dtype
    assert found.dims == reps.dims
    assert [type(v) for v in found.attrs.values()] == [type(v) for v in reps.attrs.values()]
    assert [p.name for p in tmp_path.iterdir()] == ["ä.nc"]


def test_plain_xarray_reads_the_netcdf(tmp_path):
    reps = make_reps(2, 4, [2, 3])
    path = xc.write_netcdf(tmp_path / "r.nc", reps)
    with xr.open_dataset(path, engine="h5netcdf") as data:
        np.testing.assert_array_equal(data["representation"].values, reps.values)
        assert data.stimulus.values.tolist() == reps.stimulus.values.tolist()
        assert data.caption.dims == ("stimulus",)
    with h5py.File(path) as file:
        assert h5py.check_string_dtype(file["stimulus"].dtype).encoding == "utf-8"


def test_results_as_netcdf(tmp_path):
    a = make_reps(3, 12, [5, 6, 4])
    result = xr.Dataset({"rdm": xc.rdm(a), "spread": xc.dispersion(a, "rdm")})
    path = xc.write_netcdf(tmp_path / "r.nc", result)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        for name in result.data_vars:
            np.testing.assert_array_equal(found[name].values, result[name].values)
            assert found[name].attrs["kind"] == "distance"
        assert found.stimulus_2.values.tolist() == result.stimulus_2.values.tolist()


def test_lazy_sets_and_half_precision(tmp_path):
    reps = make_reps(2, 6, 3, dtype=np.float16)
    path = xc.write_netcdf(tmp_path / "r.nc", reps.chunk(model=1, stimulus=2))
    found = xc.read_netcdf(path)
    assert found.dtype == np.float32
    xr.testing.assert_equal(found.astype(np.float16), reps)


def test_what_netcdf_cannot_hold_is_refused(tmp_path):
    reps = make_reps(2, 4, 3)
    path = tmp_path / "r.nc"
    with pytest.raises(xc.SchemaError, match="missing for stimulus"):
        xc.write_netcdf(path, reps.assign_coords(c=("stimulus", ["a", None, "b", "c"])))
    with pytest.raises(xc.SchemaError, match="'c' is complex"):
        xc.write_netcdf(path, reps.assign_coords(c=("stimulus", [1j, 2, 3, 4])))
    with pytest.raises(xc.SchemaError, match="NUL"):
        xc.write_netcdf(path, reps.assign_coords(c=("stimulus", ["a\0b", "b", "c", "d"])))
    with pytest.raises(xc.SchemaError, match="cannot hold"):
        xc.write_netcdf(path, reps.assign_attrs(a="\0"))
    with pytest.raises(TypeError, match="DataArray or Dataset"):
        xc.write_netcdf(path, reps.values)
    assert not list(tmp_path.iterdir())
    xc.write_netcdf(path, reps)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xc.write_netcdf(path, reps)
    assert path.read_bytes() == before
    xc.write_netcdf(path, reps.isel(model=[0]), overwrite=True)
    assert xc.read_netcdf(path).sizes["model"] == 1


@settings(max_examples=5)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
                min_size=2, max_size=4, unique=True))  # fmt: skip
def test_any_text_is_a_label(tmp_path, labels):
    reps = xc.stack_models({"é": np.ones((len(labels), 2))}, stimuli=labels)
    path = xc.write_netcdf(tmp_path / "r.nc", reps, overwrite=True)
    assert xc.read_netcdf(path).stimulus.values.tolist() == labels


# Damaged and hostile files


def outcome(read, path):
    """What reading gives: ``"read"``, or the SchemaError's text."""
    try:
        read(path)
    except xc.SchemaError as error:
        return str(error)
    return "read"


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_damaged_files_are_errors_that_say_so(tmp_path, engine):
    good = tmp_path / "good.nc"
    if engine == "scipy":
        assembly(n_stimuli=3, repeats=1).rename("data").to_netcdf(good, engine=engine)
    else:
        good = DATA / "assy_test_package_assembly.nc"
    content = good.read_bytes()
    rng = np.random.default_rng(0)
    found = []
    for number in range(12 if engine == "h5netcdf" else 60):
        damaged = bytearray(content)
        if number % 4 == 0:
            del damaged[rng.integers(len(damaged)) :]
        for at in rng.integers(0, len(damaged) or 1, 20):
            if len(damaged):
                damaged[at] = rng.integers(256)
        path = tmp_path / "damaged.nc"
        path.write_bytes(damaged)
        found.append(outcome(xc.read_brainio, path))
    assert sum(text != "read" for text in found) > len(found) // 4
    assert all("damaged.nc" in t or "assembly" in t or t == "read" or "reps" in t for t in found)


def test_damage_that_makes_the_c_library_hang(tmp_path, monkeypatch):
    """One byte of a node of a B-tree; in-process reading went on for ever with HDF5 2.0.0."""
    monkeypatch.setattr(_hdf5, "PATIENCE", 3.0)
    damaged = bytearray((DATA / "assy_test_package_assembly.nc").read_bytes())
    damaged[2304] = 18
    (tmp_path / "d.nc").write_bytes(damaged)
    start = time.monotonic()
    said = outcome(xc.read_brainio, tmp_path / "d.nc")
    assert time.monotonic() - start < 60
    assert "damaged" in said


def test_a_reader_that_crashes_or_hangs_is_a_damaged_file(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    path.write_bytes(_hdf5.MAGIC)
    run = subprocess.run

    def instead(code):
        def start(command, **options):
            return run([sys.executable, "-c", code], **options)

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
    for read in (xc.read_netcdf, xc.read_rsatoolbox_dataset):
        assert said in outcome(read, tmp_path / "evil.h5")


@pytest.mark.parametrize(
    "read",
    [
        xc.read_brainio, xc.read_netcdf, xc.read_allen,
        xc.read_rsatoolbox_dataset, xc.read_rsatoolbox_rdms,
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
    with pytest.raises(ImportError, match=r"needs h5netcdf: pip install 'xconverge\[interop\]'"):
        xc.read_brainio(path)
    with pytest.raises(ImportError, match="h5netcdf"):
        xc.write_netcdf(tmp_path / "r.nc", make_reps(2, 3, 2))
    monkeypatch.setitem(sys.modules, "rsatoolbox.rdm", None)
    with pytest.raises(ImportError, match="pip install rsatoolbox"):
        xc.to_rsatoolbox_rdms(xc.rdm(make_reps(2, 4, 3)))
