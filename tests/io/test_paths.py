"""``~`` is the home folder, in every call that takes a path."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from tests.io.formats.sets import X, assembly, folder_of
from xconverge.cli.main import main

IDS = list("abcd")
SPREAD = xr.DataArray([0.1, 0.9], dims="stimulus", name="d", coords={"stimulus": ["cat", "dog"]})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder; nothing may appear in the working folder, ``~`` least of all."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield tmp_path / "home"
    assert os.listdir(work) == []


def stored(path="~/s.zarr"):
    xc.write_representations(path, make_reps(2, 4, 3), modality="v")
    return path


def written(write, path):
    """What the writer returned, which is where the file is."""
    found = write(path)
    assert found == Path.home() / path[2:]
    assert found.exists()
    return path


def model_writer():
    with xc.ModelWriter("~/w.zarr", "v", "m", IDS, 3) as writer:
        writer.write(IDS, X)
    assert xc.open_representations("~/w.zarr", "v").sizes["stimulus"] == 4


def recording(home):
    assembly(repeats=1).to_netcdf(home / "a.nc", engine="h5netcdf")


def npy(home):
    np.save(home / "m.npy", X)
    (home / "ids.txt").write_text("a\nb\nc\nd\n")
    xc.io.read_npy("~/m.npy", "~/ids.txt")


def csv(home):
    (home / "m.csv").write_text("a,b\n1,2\n3,4\n")
    (home / "ids.txt").write_text("x\ny\n")
    xc.io.read_csv("~/m.csv", "~/ids.txt")


def parquet(home):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pd.DataFrame(X, index=IDS, columns=list("xyz")).to_parquet(home / "m.parquet")
    xc.io.read_parquet("~/m.parquet")


def platonic(home):
    torch = pytest.importorskip("torch")
    torch.save({"feats": torch.ones(4, 2, 3)}, home / "m.pt")
    xc.io.read_platonic("~/m.pt", IDS)


def thingsvision(home):
    np.save(folder_of(home) / "features.npy", X)
    xc.io.read_thingsvision("~/alexnet")


def allen(home):
    array = xr.DataArray(
        np.eye(2), dims=("stimulus_presentation_id", "unit_id"), name="spike_counts",
        coords={"stimulus_id": ("stimulus_presentation_id", [1, 2])},
    )  # fmt: skip
    array.to_netcdf(home / "c.nc", engine="h5netcdf")
    xc.io.read_allen("~/c.nc")


def dataset(home):
    pytest.importorskip("rsatoolbox")
    xc.io.to_rsatoolbox_dataset(make_reps(1, 4, 3)).save(str(home / "d.hdf5"))
    xc.io.read_rsatoolbox_dataset("~/d.hdf5")


def rdms(home):
    pytest.importorskip("rsatoolbox")
    xc.io.to_rsatoolbox_rdms(xc.rdm(make_reps(2, 4, 3))).save(str(home / "r.hdf5"))
    xc.io.read_rsatoolbox_rdms("~/r.hdf5")


def graphs(home):
    graph = xc.neighbor_graph(make_reps(2, 4, 3), k=2)
    xc.io.write_neighbors(stored(), graph.assign_attrs(modality="v"))
    xc.io.open_neighbors("~/s.zarr", "v")


def manifest(home):
    xc.io.write_manifest(stored(), title="t", authors=["a"], license="MIT")
    xc.io.read_manifest("~/s.zarr")


def stored_rdms(home):
    xc.io.write_rdms("~/r.zarr", xc.rdm(make_reps(2, 4, 3)), modality="v")
    xc.io.open_rdms("~/r.zarr", "v")


def study(home):
    xc.write_study("~/study.zarr", xr.DataTree(xr.Dataset({"rsa": 0.5})))
    xc.open_store("~/study.zarr")


def two_sides(home):
    for name in ("vision", "language"):
        xc.write_representations("~/a.zarr", make_reps(3, 24, 4), modality=name)
    with pytest.raises(xc.SchemaError, match="'sound'"):
        xc.analyze("~/a.zarr", modality="sound", other="language", n_equal_noise=0)


def trials(home):
    (home / "trials.csv").write_text("stimulus_id,v1,v2\na,1,2\nb,3,5\na,2,2\nb,1,4\n")
    return xc.io.read_trials("~/trials.csv", features=["v1", "v2"], model="brain")


def nwb(home):
    pytest.importorskip("pynwb")
    from tests.io.formats.test_nwb import write

    write(home / "mouse.nwb")
    return xc.io.read_nwb("~/mouse.nwb")


CALLS = {
    "ModelWriter": lambda home: model_writer(),
    "analyze": two_sides,
    "append_models": lambda home: xc.append_models(
        stored(), make_reps(1, 4, 3).assign_coords(model=["n"]), modality="v"
    ),
    "create_store": lambda home: written(xc.create_store, "~/new.zarr"),
    "modalities": lambda home: xc.io.modalities(stored()),
    "open_neighbors": graphs,
    "open_rdms": stored_rdms,
    "open_representations": lambda home: xc.open_representations(stored(), "v"),
    "open_store": study,
    "read_allen": allen,
    "read_brainio": lambda home: (recording(home), xc.io.read_brainio("~/a.nc")),
    "read_csv": csv,
    "read_manifest": manifest,
    "read_netcdf": lambda home: xc.io.read_netcdf(
        written(lambda path: xc.io.write_netcdf(path, make_reps(1, 4, 3)), "~/m.nc")
    ),
    "read_npy": npy,
    "read_npz": lambda home: xc.io.read_npz(
        written(lambda path: xc.io.write_npz(path, make_reps(1, 4, 3)), "~/m.npz")
    ),
    "read_nwb": nwb,
    "read_parquet": parquet,
    "read_platonic": platonic,
    "read_trials": trials,
    "read_rsatoolbox_dataset": dataset,
    "read_rsatoolbox_rdms": rdms,
    "read_thingsvision": thingsvision,
    "validate_store": lambda home: xc.validate_store(stored()),
    "write_manifest": manifest,
    "write_neighbors": graphs,
    "write_netcdf": lambda home: CALLS["read_netcdf"](home),
    "write_npz": lambda home: CALLS["read_npz"](home),
    "write_rdms": stored_rdms,
    "write_representations": lambda home: stored(),
    "write_selection": lambda home: written(
        lambda path: xc.io.write_selection(path, xc.select_stimuli(SPREAD, 1)), "~/low.csv"
    ),
    "write_study": study,
}


def test_the_table_has_every_call_that_takes_a_path():
    named = {
        name
        for module in (xc, xc.io, xc.plot)
        for name in module.__all__
        if not (inspect.isclass(getattr(module, name)) and name != "ModelWriter")
        if {"path", "source", "file"} & set(inspect.signature(getattr(module, name)).parameters)
    }
    assert named == set(CALLS)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_tilde_is_the_home_folder(home, name):
    CALLS[name](home)
    assert os.listdir(home)


def test_a_store_that_xarray_wrote_is_found(home):
    data = make_reps(1, 4, 3).to_dataset(name="representation")
    data.to_zarr("~/by_xarray.zarr", group="v", consolidated=False, zarr_format=3)
    assert (home / "by_xarray.zarr").is_dir()
    assert xc.open_representations(Path("~/by_xarray.zarr"), "v").sizes["stimulus"] == 4


@pytest.mark.slow
def test_on_the_command_line(home):
    (home / "ids.txt").write_text("a\nb\nc\nd\n")
    np.save(home / "m.npy", X)
    flags = ["--modality", "v", "--ids", "~/ids.txt"]
    assert main(["import", "npy", "~/m.npy", "~/s.zarr", *flags]) == 0
    (home / "ids.csv").write_text("n,id\n1,a\n2,b\n3,c\n4,d\n")
    more = ["--modality", "v", "--ids", "~/ids.csv:id", "--append", "--model", "n"]
    assert main(["import", "npy", "~/m.npy", "~/s.zarr", *more]) == 0
    assert main(["info", "~/s.zarr"]) == 0
    assert main(["validate", "~/s.zarr"]) == 0
    assert sorted(os.listdir(home)) == ["ids.csv", "ids.txt", "m.npy", "s.zarr"]
