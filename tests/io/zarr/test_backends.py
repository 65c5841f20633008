"""Stores behind URLs, against a real S3 server on loopback, and in Icechunk transactions."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest
import xarray as xr
from xconverge.io.zarr.backends import ObjectStoreBackend, backend_of

from xconverge import (
    DamagedStoreError,
    ModelWriter,
    SchemaError,
    append_models,
    create_store,
    dispersion,
    neighbor_graph,
    open_representations,
    open_store,
    rdm,
    stack_models,
    validate_store,
    write_representations,
    write_study,
)
from xconverge.io import (
    modalities,
    open_neighbors,
    open_rdms,
    write_neighbors,
    write_rdms,
)

KEY, SECRET = "AKIAXCONVERGETEST", "never-to-be-written-anywhere"
STIMULI = ["cat", "é", "猫"]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Storage options for a server of our own."""
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield {
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"},
    }
    running.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any] | None]:
    name = tmp_path.name.replace("_", "-").lower()
    if request.param == "memory":
        return f"memory://{name}/deep/study.zarr", None
    options = request.getfixturevalue("s3")
    files = fsspec.filesystem("s3", **options)
    files.call_s3("create_bucket", Bucket=name)
    return f"s3://{name}/deep/study.zarr", options


def make(names: str = "ab", scale: float = 1.0) -> xr.DataArray:
    rng = np.random.default_rng(0)
    arrays = {name: scale * rng.random((3, 4 + i)) for i, name in enumerate(names)}
    reps = stack_models(arrays, stimuli=STIMULI, modality="vision")
    return reps.assign_coords(caption=("stimulus", ["a", "b", "ü"]))


def test_everything_that_a_folder_can(bucket: tuple[str, dict[str, Any] | None]) -> None:
    url, options = bucket
    write_representations(url, make(), storage_options=options)
    opened = open_representations(url, "vision", storage_options=options)
    assert opened.chunks is not None
    xr.testing.assert_identical(opened.compute(), make())
    append_models(url, make("c"), storage_options=options)
    reps = open_representations(url, "vision", storage_options=options)
    assert reps.indexes["model"].tolist() == ["a", "b", "c"]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_representations(url, make(), storage_options=options)
    before = reps.compute()
    # read from what is replaced
    write_representations(url, reps * 2, modality="vision", overwrite=True, storage_options=options)
    doubled = open_representations(url, "vision", storage_options=options)
    xr.testing.assert_equal(doubled.compute(), 2 * before)
    graph = neighbor_graph(doubled, k=1).assign_attrs(modality="vision")
    write_neighbors(url, graph, storage_options=options)
    xr.testing.assert_equal(open_neighbors(url, "vision", storage_options=options), graph.compute())
    distances = rdm(doubled, "euclidean")
    write_rdms(url, distances, modality="vision", storage_options=options)
    xr.testing.assert_allclose(open_rdms(url, "vision", storage_options=options), distances)
    assert modalities(url, storage_options=options) == ["vision"]
    validate_store(url, deep=True, storage_options=options)
    results = xr.DataTree.from_dict({"/a/b": xr.Dataset({"rsa": ("bin", [0.5, 0.25])})})
    write_study(url + "-results", results, storage_options=options)
    saved = open_store(url + "-results", storage_options=options)
    assert saved["a/b/rsa"].values.tolist() == [0.5, 0.25]
    write_study(
        url + "-results",
        results.map_over_datasets(lambda d: 2 * d),
        overwrite=True,
        storage_options=options,
    )
    saved = open_store(url + "-results", storage_options=options)
    assert saved["a/b/rsa"].values.tolist() == [1.0, 0.5]
    plain = xr.open_zarr(url, group="vision", consolidated=False, storage_options=options)
    xr.testing.assert_equal(plain["representation"].compute(), doubled.compute())


def test_bad_input_leaves_nothing(bucket: tuple[str, dict[str, Any] | None]) -> None:
    url, options = bucket
    write_representations(url, make(), storage_options=options)
    backend = backend_of(url, options)
    assert isinstance(backend, ObjectStoreBackend)
    before = backend.keys()
    bad = make("cd").copy()
    bad[0, 1, 2] = np.inf
    with pytest.raises(SchemaError, match="infinity: model 'c', stimulus 'é'"):
        append_models(url, bad, storage_options=options)
    with pytest.raises(SchemaError, match="infinity"):
        write_representations(url, bad, overwrite=True, storage_options=options)
    assert backend.keys() == before
    xr.testing.assert_identical(
        open_representations(url, "vision", storage_options=options).compute(), make()
    )


def test_damage_is_told(bucket: tuple[str, dict[str, Any] | None]) -> None:
    url, options = bucket
    write_representations(url, make(), storage_options=options)
    backend = backend_of(url, options)
    assert isinstance(backend, ObjectStoreBackend)
    keys = [key for key in backend.keys() if "/c/" in key]  # noqa: SIM118
    for key in keys if options is None else keys[::3]:
        whole = backend.read(key).tobytes()
        for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], None):
            backend.remove(key) if damaged is None else backend.put(key, damaged)
            with pytest.raises(DamagedStoreError):
                open_representations(url, "vision", storage_options=options).compute()
            with pytest.raises(SchemaError):
                validate_store(url, deep=True, storage_options=options)
        backend.put(key, whole)
    validate_store(url, deep=True, storage_options=options)


@pytest.mark.slow
def test_credentials_are_written_nowhere(
    s3: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fsspec.filesystem("s3", **s3).call_s3("create_bucket", Bucket="secrets")
    url = "s3://secrets/study.zarr"
    texts = []
    # also of all that is said while it goes wrong
    with caplog.at_level(logging.DEBUG, logger="xconverge"):
        write_representations(url, make(), storage_options=s3)
        with ModelWriter(
            url, "vision", "w", make().stimulus, 4, storage_options=s3, dtype="f8"
        ) as w:
            w.write(STIMULI[:1], np.ones((1, 4)))
            texts.append(repr(w))
            with pytest.raises(FileExistsError) as locked:
                ModelWriter(url, "vision", "w", make().stimulus, 4, storage_options=s3)
            w.write(STIMULI[1:], np.ones((2, 4)))
        texts.append(str(locked.value))
        reps = open_representations(url, "vision", storage_options=s3)
        texts += [repr(reps), str(reps.attrs), str(reps.encoding), reps._repr_html_()]
        backend = backend_of(url, s3)
        assert isinstance(backend, ObjectStoreBackend)
        texts += [str(backend), repr(backend)]
        for wrong in ("s3://nowhere/study.zarr", f"s3://{KEY}:{SECRET}@secrets/none.zarr"):
            with pytest.raises((OSError, ValueError)) as missing:
                open_representations(wrong, "vision", storage_options=s3)
            texts.append(str(missing.value))
    keys = backend.keys()
    written = [backend.read(key).tobytes().decode("latin-1") for key in keys]
    local = tmp_path / "copy.zarr"
    write_representations(local, reps, modality="vision")
    written += [f.read_bytes().decode("latin-1") for f in local.rglob("*") if f.is_file()]
    for text in [*texts, *written, caplog.text]:
        assert KEY not in text
        assert SECRET not in text


def test_what_cannot_be_reached_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="gopher:// are not known"):
        create_store("gopher://host/study.zarr")
    with pytest.raises(FileNotFoundError, match="no store at memory://nothing/here"):
        open_representations("memory://nothing/here", "vision")
    with pytest.raises(ValueError, match="storage_options are for URLs"):
        create_store("folder", storage_options={"key": "x"})
    with pytest.raises(TypeError, match="path, a URL or a zarr"):
        create_store(3)
    pytest.importorskip("s3fs")
    options = {
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"},
        "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
    }
    with pytest.raises(OSError) as caught:  # noqa: PT011
        open_representations("s3://bucket/study.zarr", "vision", storage_options=options)
    assert SECRET not in str(caught.value)


def test_file_urls_are_folders(tmp_path: Path) -> None:
    write_representations(f"file://{tmp_path}/study.zarr", make())
    assert modalities(tmp_path / "study.zarr") == ["vision"]


def _extract(url: str, options: dict[str, Any], models: list[str]) -> None:
    for model in models:
        with ModelWriter(url, "vision", model, STIMULI, 2, storage_options=options) as w:
            for number, stimulus in enumerate(w.pending):
                w.write([stimulus], np.full((1, 2), number, "f4"))


@pytest.mark.slow
def test_processes_write_models_into_a_bucket_at_once(s3: dict[str, Any]) -> None:
    fsspec.filesystem("s3", **s3).call_s3("create_bucket", Bucket="many")
    url = "s3://many/study.zarr"
    context = multiprocessing.get_context("spawn")
    names = [f"m{i}" for i in range(4)]
    processes = [
        context.Process(target=_extract, args=(url, s3, part)) for part in (names[:2], names[2:])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    reps = open_representations(url, "vision", incomplete="error", storage_options=s3)
    assert sorted(reps.indexes["model"]) == names
    assert (reps.values == np.arange(3)[:, None]).all()
    validate_store(url, deep=True, storage_options=s3)


@pytest.mark.slow
def test_a_bucket_is_read_by_a_cluster(s3: dict[str, Any]) -> None:
    from distributed import Client, LocalCluster

    fsspec.filesystem("s3", **s3).call_s3("create_bucket", Bucket="cluster")
    url = "s3://cluster/study.zarr"
    reps = make("ab").isel(feature=slice(4)).drop_vars("n_features").assign_attrs(space="shared")
    write_representations(url, reps, storage_options=s3)
    lazy = dispersion(open_representations(url, "vision", storage_options=s3), "cosine")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        on_cluster = lazy.compute()
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_identical(on_cluster, lazy.compute())


# Icechunk: transactions


def test_icechunk_transactions(tmp_path: Path) -> None:
    icechunk = pytest.importorskip("icechunk")
    storage = icechunk.local_filesystem_storage(str(tmp_path / "study.icechunk"))
    repository = icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    write_representations(session.store, make())
    first = session.commit("two models")
    session = repository.writable_session("main")
    append_models(session.store, make("cd", 2))
    # others do not see it yet
    now = repository.readonly_session("main").store
    assert open_representations(now, "vision").sizes["model"] == 2
    session.commit("four models")
    now = repository.readonly_session("main").store
    reps = open_representations(now, "vision")
    assert reps.indexes["model"].tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        reps.sel(model="c", feature=slice(4)), 2 * make().values[0, :, :4]
    )
    validate_store(now, deep=True)
    # what fails is dropped with its session
    session = repository.writable_session("main")
    bad = make("e").copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(SchemaError, match="NaN inside a row"):
        append_models(session.store, bad)
    session.discard_changes()
    assert open_representations(session.store, "vision").sizes["model"] == 4
    write_representations(session.store, make("z"), overwrite=True)
    session.commit("replaced")
    # back to the first version
    repository.reset_branch("main", first)
    back = repository.readonly_session("main").store
    xr.testing.assert_identical(open_representations(back, "vision").compute(), make())
    assert modalities(back) == ["vision"]
    assert "vision" in open_store(back).children
    with pytest.raises(TypeError, match="path or a URL.*append_models"):
        ModelWriter(back, "vision", "m", STIMULI, 2)
    empty = icechunk.Repository.create(icechunk.in_memory_storage()).readonly_session("main")
    with pytest.raises(FileNotFoundError, match="no store at"):
        open_representations(empty.store, "vision")
