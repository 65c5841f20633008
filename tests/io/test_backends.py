"""Engines of xarray: stores, BrainIO's files and thingsvision's folders without a call of ours."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from tests.io.formats.sets import IDS, X, assembly, folder_of
from tests.io.sets import make
from xconverge.io.backends import BrainioEngine, StoreEngine, ThingsvisionEngine
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import DamagedStoreError

DATA = Path(__file__).parent / "formats" / "data" / "brainio"
NAMES = {"brainio", "thingsvision", "xconverge"}


@pytest.fixture
def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modalities of several chunks, RDMs, and a model that is begun."""
    monkeypatch.setattr(BUDGETS, "store_chunk", 8 * 6 * 5)
    vision = make_reps(3, 12, [4, 6, 5], missing=[(0, 1)], shared=False)
    xc.write_representations(path, vision, modality="vision")
    xc.write_representations(path, make_reps(2, 12, 3, seed=1), modality="language")
    xc.io.write_rdms(path, xc.rdm(vision, "correlation"))
    return path


def opened(path: Path, **options: Any) -> xr.Dataset:
    return xr.open_dataset(path, engine="xconverge", **options)


def test_xarray_knows_the_engines() -> None:
    found = {e.name: e.value for e in entry_points(group="xarray.backends")}
    assert set(found) >= NAMES, "install the package again: its entry points are not known"
    engines = xr.backends.list_engines()
    assert isinstance(engines["xconverge"], StoreEngine)
    assert isinstance(engines["brainio"], BrainioEngine)
    assert isinstance(engines["thingsvision"], ThingsvisionEngine)


@pytest.mark.slow
def test_listing_engines_loads_nothing() -> None:
    code = (
        "import sys, xarray, xconverge.io.backends; heavy = ('zarr', 'h5py', 'dask.array', "
        "'xconverge.io.store', 'xconverge.io.zarr', 'xconverge.io.formats', 'xconverge.labels'); "
        "print(*[name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [None, {}, {"model": 3}])
def test_a_modality_is_what_our_reader_opens(store: Path, chunks: Any) -> None:
    ours = xc.open_representations(store, "vision")
    with no_compute():
        data = opened(store, group="vision", chunks=chunks)
        lazy = data["representation"][1:, 3]
    assert list(data.data_vars) == ["representation"]
    xr.testing.assert_identical(data["representation"].load(), ours.compute())
    xr.testing.assert_identical(lazy.load(), ours[1:, 3].compute())
    chunked = opened(store, group="vision", chunks=chunks)["representation"].chunksizes
    if chunks is None:
        assert not chunked
    elif chunks == {}:
        assert chunked == ours.chunksizes
        assert chunked["stimulus"] == (4, 4, 4)
    xc.validate(data["representation"])


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "key",
    [
        {"model": [2, 0], "stimulus": [7, 1, 1], "feature": slice(None, None, -2)},
        {"model": 1, "stimulus": np.arange(12) % 3 == 0},
        {"model": xr.DataArray([0, 2], dims="pair"), "stimulus": xr.DataArray([3, 4], dims="pair")},
        {"stimulus": slice(9, 2, -3)},
        {"stimulus": []},
    ],
    ids=str,
)
def test_every_kind_of_index_reads_what_numpy_gives(store: Path, key: Any) -> None:
    expected = xc.open_representations(store, "vision").load().isel(key)
    found = opened(store, group="vision")["representation"].isel(key)
    xr.testing.assert_identical(found.load(), expected)


@pytest.mark.slow
def test_measures_take_it(store: Path) -> None:
    sides = [opened(store, group=name, chunks={})["representation"] for name in ("vision",) * 2]
    ours = xc.open_representations(store, "vision")
    with no_compute():
        lazy = xc.alignment(*sides, "cka")
    xr.testing.assert_identical(lazy.compute(), xc.alignment(ours, ours, "cka").compute())


@pytest.mark.slow
def test_a_part_is_read_alone(store: Path) -> None:
    """Damage to one chunk hurts who reads it, and names what is lost."""
    expected = xc.open_representations(store, "vision").load()
    chunk = store / "vision" / "representation" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    for chunks in (None, {}):
        data = opened(store, group="vision", chunks=chunks)["representation"]
        xr.testing.assert_identical(data[0].compute(), expected[0])
        with pytest.raises(DamagedStoreError, match=r"model 'net1'.*stimulus 's"):
            data[1, 2].compute()
    chunk.unlink()
    with pytest.raises(DamagedStoreError, match="chunk c/1/0/0 is missing"):
        opened(store, group="vision").load()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("chunks", [None, {}])
def test_a_handle_says_that_its_store_was_overwritten(path: Path, chunks: Any) -> None:
    reps = make()
    xc.write_representations(path, reps, modality="vision")
    old = opened(path, group="vision", chunks=chunks)
    xc.write_representations(path, reps[:, ::-1], modality="vision", overwrite=True)
    with pytest.raises(FileNotFoundError, match="was overwritten since it was opened"):
        old.load()
    new = opened(path, group="vision", chunks=chunks).load()
    assert new.stimulus.values.tolist() == reps.stimulus.values[::-1].tolist()


@pytest.mark.slow
def test_incomplete_models_are_left_out_or_refused(store: Path) -> None:
    ids = opened(store, group="vision").stimulus.values
    with (
        suppress(InterruptedError),
        xc.ModelWriter(store, "vision", "begun", ids, 2, coords={"family": "f"}) as writer,
    ):
        writer.write(ids[:3], np.ones((3, 2)))
        raise InterruptedError
    assert opened(store, group="vision").sizes["model"] == 3
    with pytest.raises(xc.SchemaError, match="'begun"):
        opened(store, group="vision", incomplete="error")
    with pytest.raises(ValueError, match="choose one of skip, error"):
        opened(store, group="vision", incomplete="include")


@pytest.mark.slow
def test_a_tree_has_all_groups(store: Path) -> None:
    ours = xc.open_store(store)
    with no_compute():
        tree = xr.open_datatree(store, engine="xconverge", chunks={})
    assert tree.groups == ours.groups
    xr.testing.assert_identical(tree.compute(), ours.compute())
    groups = xr.open_groups(store, engine="xconverge")
    assert set(groups) == {"/", "/vision", "/language", "/rdms", "/rdms/vision"}
    xr.testing.assert_identical(
        opened(store, group="rdms/vision")["rdm"].load(), xc.io.open_rdms(store, "vision").load()
    )
    bare = xr.open_datatree(store, engine="xconverge", drop_variables=["family"])
    assert "family" not in bare["vision"].coords


def test_studies_open_too(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/": xr.Dataset({"rsa": 0.5}), "/a": xr.Dataset({"r": 1.0})})
    xc.write_study(tmp_path / "r.zarr", tree)
    assert opened(tmp_path / "r.zarr")["rsa"].item() == 0.5
    assert opened(tmp_path / "r.zarr", group="/a")["r"].item() == 1.0


@pytest.mark.slow
def test_a_group_has_to_be_named(store: Path, tmp_path: Path) -> None:
    listed = r"group='…': 'language', 'vision'; beside them 'rdms/vision'"
    with pytest.raises(xc.SchemaError, match=f"several arrays, each in a group.*{listed}"):
        opened(store)
    with pytest.raises(xc.SchemaError, match=f"no group 'brain'.*{listed}"):
        opened(store, group="brain")
    with pytest.raises(FileNotFoundError, match="no store"):
        opened(tmp_path / "nothing.zarr", group="vision")
    assert not (tmp_path / "nothing.zarr").exists()


@pytest.mark.slow
def test_only_our_stores_are_taken_without_a_word(store: Path, tmp_path: Path) -> None:
    ours = xr.open_dataset(store, group="vision")
    xr.testing.assert_identical(ours.load(), opened(store, group="vision").load())
    guess = StoreEngine().guess_can_open
    assert guess(store)
    assert guess(str(store))
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "plain.zarr", consolidated=False)
    (tmp_path / "list.zarr").mkdir()
    (tmp_path / "list.zarr" / "zarr.json").write_text("[]")
    for other in ("plain.zarr", "list.zarr", "nothing.zarr", "study.zarr/vision"):
        assert not guess(tmp_path / other)
    for other in (b"bytes", {}, "https://example.org/study.zarr", 3):
        assert not guess(other)
    assert "a" in xr.open_dataset(tmp_path / "plain.zarr", consolidated=False)


@pytest.mark.slow
def test_urls_and_zarr_stores(store: Path) -> None:
    zarr = pytest.importorskip("zarr")
    ours = xc.open_representations(store, "vision")
    local = zarr.storage.LocalStore(store, read_only=True)
    xr.testing.assert_identical(opened(local, group="vision")["representation"].load(), ours.load())
    url = "memory://engines/study.zarr"
    xc.write_representations(url, ours)
    data = opened(url, group="vision", chunks={}, storage_options={})
    xr.testing.assert_identical(data["representation"].load(), ours.load())


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [None, {}])
def test_what_is_open_can_be_sent(store: Path, chunks: Any) -> None:
    data = opened(store, group="vision", chunks=chunks)
    again = pickle.loads(pickle.dumps(data))
    xr.testing.assert_identical(again.load(), xc.open_representations(store, "vision").to_dataset())


def test_many_stores_become_one(tmp_path: Path) -> None:
    reps = make_reps(4, 12, 5)
    for i in range(2):
        part = reps.isel(model=slice(2 * i, 2 * i + 2))
        xc.write_representations(tmp_path / f"{i}.zarr", part, modality="vision")
    paths = [tmp_path / f"{i}.zarr" for i in range(2)]
    with no_compute():
        whole = xr.open_mfdataset(
            paths, engine="xconverge", group="vision", combine="nested", concat_dim="model",
            data_vars="minimal", coords="minimal", compat="override", join="exact",
        )  # fmt: skip
    np.testing.assert_array_equal(whole["representation"], reps)
    assert whole.model.values.tolist() == reps.model.values.tolist()


@pytest.mark.slow
def test_workers_read_it(store: Path, tmp_path: Path, client: Any) -> None:
    data = opened(store, group="vision", chunks={})["representation"]
    ours = xc.open_representations(store, "vision").load()
    xr.testing.assert_identical(data.compute(), ours)
    xr.testing.assert_allclose(data.sum("stimulus").compute(), ours.sum("stimulus"))
    np.save(folder_of(tmp_path) / "features.npy", X)
    features = xr.open_dataset(tmp_path / "alexnet", engine="thingsvision", chunks={})
    np.testing.assert_array_equal(features["representation"].compute()[0], X)


@pytest.mark.parametrize(
    ("engine", "read"),
    [
        (BrainioEngine, xc.io.read_brainio),
        (ThingsvisionEngine, xc.io.read_thingsvision),
        (StoreEngine, xc.open_representations),
    ],
)
def test_an_engine_takes_the_options_of_its_reader(engine: Any, read: Any) -> None:
    def options(function: Any) -> dict[str, Any]:
        return {n: p.default for n, p in inspect.signature(function).parameters.items()}

    known, own = options(read), options(engine.open_dataset)
    renamed = {"modality"} if engine is StoreEngine else set()
    for name in [*known][1:]:
        assert name in renamed or own[name] == known[name]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("chunks", [None, {}])
def test_brainio_files(tmp_path: Path, chunks: Any) -> None:
    pytest.importorskip("h5netcdf")
    assembly().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for options in ({"repetitions": "mean"}, {"repetitions": "keep", "by": "region"}):
        expected = xc.io.read_brainio(tmp_path / "a.nc", modality="brain", **options)
        found = xr.open_dataset(
            tmp_path / "a.nc", engine="brainio", chunks=chunks, modality="brain", **options
        )
        xr.testing.assert_identical(found["representation"].load(), expected)
    with pytest.raises(xc.SchemaError, match="several times"):
        xr.open_dataset(tmp_path / "a.nc", engine="brainio")


@pytest.mark.parametrize("kind", ["npy", "txt"])
def test_thingsvision_folders(tmp_path: Path, kind: str) -> None:
    for name in ("conv1", "fc"):
        folder = folder_of(tmp_path / "alexnet", name=name)
        values = X if name == "fc" else X[:, :2]
        if kind == "npy":
            np.save(folder / "features.npy", values)
        else:
            np.savetxt(folder / "features.txt", values)
    expected = xc.io.read_thingsvision(tmp_path / "alexnet", strip_extension=True)
    for chunks in (None, {}):
        with no_compute():
            found = xr.open_dataset(
                tmp_path / "alexnet", engine="thingsvision", strip_extension=True, chunks=chunks
            )
            array = found["representation"]
        assert (array.chunks is None) == (chunks is None)
        xr.testing.assert_identical(array[:, 2].load(), expected[:, 2].compute())
        xr.testing.assert_identical(array.load(), expected.compute())
    with pytest.raises(FileNotFoundError, match="no folder"):
        xr.open_dataset(tmp_path / "nothing", engine="thingsvision")
    assert len(IDS) == expected.sizes["stimulus"]
