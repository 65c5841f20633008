"""Stores in folders, in memory, behind URLs, in archives and in transactions."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

from tests.io.sets import mounted
from xconverge import (
    DamagedStoreError,
    ModelWriter,
    SchemaError,
    append_models,
    create_store,
    neighbor_graph,
    open_representations,
    open_store,
    rdm,
    stack_models,
    validate_store,
    write_representations,
    write_study,
)
from xconverge.cli.main import main
from xconverge.io import (
    modalities,
    open_neighbors,
    open_rdms,
    write_neighbors,
    write_rdms,
)
from xconverge.io.zarr.places import Place, place_of

KEY, SECRET = "AKIAXCONVERGETEST", "never-to-be-written-anywhere"
STIMULI = ["cat", "é", "猫"]
SLOW = pytest.mark.slow
Options = dict[str, Any] | None
RESULTS = xr.DataTree.from_dict({"/a/b": xr.Dataset({"rsa": ("bin", [0.5, 0.25])})})


def make(names: str = "ab", scale: float = 1.0) -> xr.DataArray:
    rng = np.random.default_rng(0)
    arrays = {name: scale * rng.random((3, 4 + i)) for i, name in enumerate(names)}
    reps = stack_models(arrays, stimuli=STIMULI, modality="vision")
    return reps.assign_coords(caption=("stimulus", ["a", "b", "ü"]))


def wider(name: str = "c") -> xr.DataArray:
    reps = stack_models({name: np.ones((3, 7))}, stimuli=STIMULI[::-1], modality="vision")
    return reps.assign_coords(caption=("stimulus", ["ü", "b", "a"]))


def check_everything(store: Any, options: Options = None, models: bool = True) -> None:
    """What a store can do, in one place."""
    given: dict[str, Any] = {"storage_options": options}

    def opened() -> xr.DataArray:
        return open_representations(store, "vision", **given)

    write_representations(store, make(), **given)
    assert opened().chunks is not None
    xr.testing.assert_identical(opened().compute(), make())
    append_models(store, wider(), **given)
    assert opened().indexes["model"].tolist() == ["a", "b", "c"]
    assert opened().sizes["feature"] == 7
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_representations(store, make(), **given)
    before, reps = opened().compute(), opened()
    # read from what is replaced
    write_representations(store, reps * 2, modality="vision", overwrite=True, **given)
    xr.testing.assert_equal(opened().compute(), 2 * before)
    graph = neighbor_graph(opened(), k=1).assign_attrs(modality="vision").compute()
    write_neighbors(store, graph, **given)
    xr.testing.assert_equal(open_neighbors(store, "vision", **given), graph)
    distances = rdm(opened(), "euclidean").compute()
    write_rdms(store, distances, modality="vision", **given)
    xr.testing.assert_equal(open_rdms(store, "vision", **given), distances)
    assert modalities(store, **given) == ["vision"]
    if models:
        with ModelWriter(store, "vision", "w", make().stimulus, 2, dtype="f8", **given) as writer:
            writer.write(STIMULI[1:2], np.ones((1, 2)))
            begun = open_representations(store, "vision", incomplete="include", **given)
            assert begun.sel(model="w", stimulus="é").values[:2].tolist() == [1, 1]
            writer.write(STIMULI[:1] + STIMULI[2:], np.zeros((2, 2)))
        assert opened().sel(model="w").values[:, 0].tolist() == [0, 1, 0]
    validate_store(store, deep=True, **given)
    assert set(open_store(store, **given).children) >= {"vision", "rdms", "neighbor_graphs"}


def check_results(store: Any, options: Options = None) -> None:
    write_study(store, RESULTS, storage_options=options)
    twice = RESULTS.map_over_datasets(lambda d: 2 * d)
    write_study(store, twice, overwrite=True, storage_options=options)
    saved = open_store(store, storage_options=options)
    assert saved["a/b/rsa"].values.tolist() == [1.0, 0.5]
    validate_store(store, deep=True, storage_options=options)


# stores of Zarr, and paths


def in_obstore(kind: str, folder: Path) -> Any:
    stores = pytest.importorskip("obstore.store")
    from zarr.storage import ObjectStore

    return ObjectStore(stores.MemoryStore() if kind == "memory" else stores.LocalStore(folder))


KINDS: dict[str, Callable[[Path], Any]] = {
    "memory": lambda _: MemoryStore(),
    "a folder": LocalStore,
    "fsspec": lambda folder: FsspecStore.from_url(f"memory://{folder.name}/x.zarr"),
    "obstore in memory": lambda folder: in_obstore("memory", folder),
    "obstore in a folder": lambda folder: in_obstore("folder", folder),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [k if k == "memory" else pytest.param(k, marks=SLOW) for k in KINDS]
)
def test_stores_of_zarr_can_all_that_a_folder_can(kind: str, tmp_path: Path) -> None:
    check_everything(KINDS[kind](tmp_path))
    (tmp_path / "results").mkdir()
    check_results(KINDS[kind](tmp_path / "results"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a b", "größe 猫", "a?b=c", "a#b", "a%20b", "a/", "x/../y", "a&b;c'd\"e"]
)
def test_names_of_folders_mean_what_they_say(tmp_path: Path, name: str) -> None:
    write_representations(f"{tmp_path}/{name}", make())
    (there,) = tmp_path.iterdir()
    assert there == (tmp_path / name).resolve()
    append_models(f"{tmp_path}/{name}", wider())
    assert open_representations(there, "vision").sizes["model"] == 3
    url = f"file://{there}"
    assert modalities(url) == ["vision"]
    write_representations(url, make("z"), overwrite=True)
    assert open_representations(there, "vision").indexes["model"].tolist() == ["z"]


@pytest.mark.slow
def test_relative_paths_homes_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_representations("study.zarr", make())
    Path("link").symlink_to("study.zarr")
    for path in ("~/study.zarr", "./study.zarr/", "link", Path("link")):
        assert modalities(path) == ["vision"]
        write_representations(path, make(), overwrite=True)
    check_results("results.zarr")
    Path("other").symlink_to("results.zarr")
    write_study("other", RESULTS, overwrite=True)
    assert Path("link").is_symlink()
    assert Path("other").is_symlink()
    assert open_store("results.zarr")["a/b/rsa"].values.tolist() == [0.5, 0.25]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "link",
        "other",
        "results.zarr",
        "study.zarr",
    ]


@pytest.fixture
def mount_point(tmp_path: Path) -> Iterator[Path]:
    """A folder that is bound to a place of its own."""
    real = tmp_path / "real"
    real.mkdir()
    with mounted(tmp_path / "mount", "--bind", str(real)) as mount:
        yield mount


@pytest.mark.slow
def test_a_mount_point_can_be_a_store(mount_point: Path) -> None:
    check_everything(mount_point)
    with pytest.raises(FileExistsError, match="mount point, and a store there cannot be replaced"):
        write_study(mount_point, RESULTS, overwrite=True)
    assert modalities(mount_point) == ["vision"]
    validate_store(mount_point, deep=True)


def test_a_study_fills_a_mount_point(mount_point: Path) -> None:
    write_study(mount_point, RESULTS)
    assert open_store(mount_point)["a/b/rsa"].values.tolist() == [0.5, 0.25]
    validate_store(mount_point, deep=True)
    assert not [name for name in os.listdir(mount_point) if name.startswith(".staging")]


@pytest.mark.slow
def test_archives_are_read_and_never_changed(tmp_path: Path) -> None:
    write_representations(tmp_path / "study.zarr", make())
    file = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "study.zarr"))
    before = file.read_bytes()
    opened = ZipStore(file, mode="r")
    opened._sync_open()
    for store in (file, str(file), ZipStore(file, mode="r"), opened):
        xr.testing.assert_identical(open_representations(store, "vision").compute(), make())
        validate_store(store, deep=True)
        assert set(open_store(store).children) == {"vision"}
        for change in (
            lambda s: write_representations(s, make(), overwrite=True),
            lambda s: append_models(s, wider()),
            lambda s: create_store(s, overwrite=True),
            lambda s: write_study(s, RESULTS, overwrite=True),
            lambda s: write_rdms(s, rdm(make(), "euclidean"), modality="vision"),
        ):
            with pytest.raises(TypeError, match="cannot be changed once it is written"):
                change(store)
        with pytest.raises(TypeError, match="ModelWriter writes to a path"):
            ModelWriter(store, "vision", "w", STIMULI, 2)
    assert file.read_bytes() == before


def test_stores_that_are_open_for_reading_are_not_changed(tmp_path: Path) -> None:
    write_representations(tmp_path, make())
    store = LocalStore(tmp_path, read_only=True)
    xr.testing.assert_identical(open_representations(store, "vision").compute(), make())
    validate_store(store, deep=True)
    for change in (
        lambda: write_representations(store, make(), overwrite=True),
        lambda: append_models(store, wider()),
        lambda: ModelWriter(store, "vision", "w", STIMULI, 2),
    ):
        with pytest.raises(PermissionError, match="open for reading only"):
            change()


# behind URLs


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


def new_bucket(name: str, options: dict[str, Any]) -> str:
    fsspec.filesystem("s3", **options).call_s3("create_bucket", Bucket=name)
    return f"s3://{name}/deep er/study.zarr"


@pytest.fixture(params=["memory", pytest.param("s3", marks=SLOW)])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Options]:
    name = tmp_path.name.replace("_", "-").lower()
    if request.param == "memory":
        return f"memory://{name}/deep er/study.zarr", None
    options = request.getfixturevalue("s3")
    return new_bucket(name, options), options


@pytest.mark.slow
def test_everything_that_a_folder_can(bucket: tuple[str, Options]) -> None:
    url, options = bucket
    check_everything(url, options)
    reps = open_representations(url, "vision", storage_options=options).compute()
    plain = xr.open_zarr(url, group="vision", consolidated=False, storage_options=options)
    xr.testing.assert_equal(plain["representation"].compute(), reps)
    check_results(f"{url}-results", options)


def contents(place: Place) -> dict[str, bytes | None]:
    keys = place.keys()
    return dict(zip(keys, place.read(keys), strict=True))


@pytest.mark.slow
def test_bad_input_leaves_nothing(bucket: tuple[str, Options]) -> None:
    url, options = bucket
    write_representations(url, make(), storage_options=options)
    before = contents(place_of(url, options))
    bad = make("cd").copy()
    bad[0, 1, 2] = np.inf
    with pytest.raises(SchemaError, match="infinity: model 'c', stimulus 'é'"):
        append_models(url, bad, storage_options=options)
    with pytest.raises(SchemaError, match="infinity"):
        write_representations(url, bad, overwrite=True, storage_options=options)
    assert contents(place_of(url, options)) == before


@pytest.mark.slow
def test_damage_is_told(bucket: tuple[str, Options]) -> None:
    url, options = bucket
    write_representations(url, make(), storage_options=options)
    place = place_of(url, options)
    whole = contents(place)
    keys = [key for key in whole if "/c/" in key]
    for key in keys if options is None else keys[::8]:
        data = whole[key]
        assert data is not None
        for damaged in (data[:-1], bytes([data[0] ^ 1]) + data[1:], None):
            (parent, _, name) = key.rpartition("/")
            place.put({key: damaged}) if damaged is not None else (place / parent).remove(name)
            with pytest.raises(DamagedStoreError):
                open_representations(url, "vision", storage_options=options).compute()
            with pytest.raises(DamagedStoreError):
                validate_store(url, deep=True, storage_options=options)
        place.put({key: data})
    validate_store(url, deep=True, storage_options=options)


def test_xarray_opens_it(bucket: tuple[str, Options]) -> None:
    url, options = bucket
    write_representations(url, make(), modality="vision", storage_options=options)
    ours = open_representations(url, "vision", storage_options=options).compute()
    for chunks in (None, {}):
        data = xr.open_dataset(
            url, engine="xconverge", group="vision", chunks=chunks, storage_options=options
        )
        xr.testing.assert_identical(data["representation"].compute(), ours)
    tree = xr.open_datatree(url, engine="xconverge", storage_options=options)
    assert "vision" in tree


@pytest.mark.slow
def test_what_was_not_written_to_its_end_is_refused_by_name(
    bucket: tuple[str, Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket has no renames: the first writing of a modality is seen while it goes on."""
    url, options = bucket
    create_store(url, storage_options=options)

    class KilledError(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("xconverge.io.zarr.groups.finish", killed)
        # a process that is killed removes nothing
        patch.setattr(Place, "remove", lambda *_: None)
        with pytest.raises(KilledError):
            write_representations(url, make(), storage_options=options)
    for read in (
        lambda: open_representations(url, "vision", storage_options=options),
        lambda: validate_store(url, storage_options=options),
        lambda: validate_store(url, deep=True, storage_options=options),
    ):
        with pytest.raises(SchemaError, match="not written to its end.*overwrite=True"):
            read()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_representations(url, make(), storage_options=options)
    write_representations(url, make(), overwrite=True, storage_options=options)
    reps = open_representations(url, "vision", storage_options=options)
    xr.testing.assert_identical(reps.compute(), make())
    validate_store(url, deep=True, storage_options=options)


@pytest.mark.slow
def test_credentials_are_written_nowhere(
    s3: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_bucket("secrets", s3)
    texts = []
    # also of all that is said while it goes wrong
    with caplog.at_level(logging.DEBUG, logger="xconverge"):
        write_representations(url, make(), storage_options=s3)
        with ModelWriter(
            url, "vision", "w", make().stimulus, 4, storage_options=s3, dtype="f8"
        ) as w:
            w.write(STIMULI, np.ones((3, 4)))
            texts.append(repr(w))
        reps = open_representations(url, "vision", storage_options=s3)
        texts += [repr(reps), str(reps.attrs), str(reps.encoding), reps._repr_html_()]
        place = place_of(url, s3)
        texts += [str(place), repr(place), f"{place}"]
        wrong_key = {**s3, "secret": SECRET + "x"}
        closed = {**s3, "client_kwargs": {"endpoint_url": f"http://{KEY}:{SECRET}@127.0.0.1:9"}}
        for wrong, options in (
            ("s3://nowhere/study.zarr", s3),
            (f"s3://{KEY}:{SECRET}@secrets/none.zarr", s3),
            ("s3://secrets/none.zarr", wrong_key),
            (
                "s3://secrets/none.zarr",
                {**closed, "config_kwargs": {"retries": {"max_attempts": 0}}},
            ),
        ):
            with pytest.raises((OSError, ValueError)) as missing:
                open_representations(wrong, "vision", storage_options=options)
            texts.append(str(missing.value))
    written = [str(data) for data in contents(place).values()]
    local = tmp_path / "copy.zarr"
    write_representations(local, reps, modality="vision")
    written += [f.read_bytes().decode("latin-1") for f in local.rglob("*") if f.is_file()]
    for text in [*texts, *written, caplog.text]:
        assert KEY not in text
        assert SECRET not in text


def test_what_is_not_known_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="gopher:// are not known"):
        create_store("gopher://host/study.zarr")
    with pytest.raises(FileNotFoundError, match="no store at memory://nothing/here"):
        open_representations("memory://nothing/here", "vision")
    with pytest.raises(ValueError, match="storage_options are for URLs"):
        create_store("folder", storage_options={"key": "x"})
    with pytest.raises(TypeError, match="path, a URL or a zarr"):
        create_store(3)


@pytest.mark.slow
def test_what_cannot_be_reached_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("s3fs")
    options = {
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"},
        "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
    }
    url = "s3://bucket/study.zarr"
    for change in (
        lambda: open_representations(url, "vision", storage_options=options),
        lambda: write_representations(url, make(), storage_options=options),
    ):
        with pytest.raises(OSError, match="s3://bucket/study.zarr cannot be reached") as caught:
            change()
        assert SECRET not in str(caught.value)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for command in (["info"], ["validate"], ["validate", "--deep"]):
        assert main([*command, "s3://bucket/another.zarr"]) == 1
        said = capsys.readouterr().err
        assert "cannot be reached" in said
        assert "Traceback" not in said


def _extract(url: str, options: dict[str, Any], models: list[str]) -> None:
    for model in models:
        with ModelWriter(url, "vision", model, STIMULI, 2, storage_options=options) as w:
            for number, stimulus in enumerate(w.pending):
                w.write([stimulus], np.full((1, 2), number, "f4"))


@pytest.mark.slow
def test_a_bucket_is_written_by_one_process_after_another(s3: dict[str, Any]) -> None:
    """In a bucket nothing is locked: there a store has one writer at a time, as the docs say."""
    url = new_bucket("many", s3)
    context = multiprocessing.get_context("spawn")
    names = [f"m{i}" for i in range(3)]
    for part in (names[:2], names[2:]):
        process = context.Process(target=_extract, args=(url, s3, part))
        process.start()
        process.join(120)
        assert process.exitcode == 0
    reps = open_representations(url, "vision", incomplete="error", storage_options=s3)
    assert sorted(reps.indexes["model"]) == names
    assert (reps.values == np.arange(3)[:, None]).all()
    validate_store(url, deep=True, storage_options=s3)


# Icechunk: transactions


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    icechunk = pytest.importorskip("icechunk")
    storage = icechunk.local_filesystem_storage(str(tmp_path / "study.icechunk"))
    return icechunk.Repository.create(storage)


@pytest.mark.slow
def test_icechunk_transactions(repository: Any) -> None:
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
    with pytest.raises(PermissionError, match="open for reading only"):
        append_models(now, wider())
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
    with pytest.raises(TypeError, match="path, a URL .*append_models"):
        ModelWriter(back, "vision", "m", STIMULI, 2)


@pytest.mark.slow
def test_icechunk_can_all_that_a_folder_can(repository: Any) -> None:
    session = repository.writable_session("main")
    check_everything(session.store, models=False)
    session.commit("all of it")
    now = repository.readonly_session("main").store
    validate_store(now, deep=True)
    assert open_representations(now, "vision").compute().sizes["model"] == 3
    assert open_neighbors(now, "vision").compute().sizes["model"] == 3
    check_study_in(repository)


def check_study_in(repository: Any) -> None:
    session = repository.writable_session("main")
    write_study(session.store, RESULTS, overwrite=True)
    session.commit("a study in its place")
    saved = open_store(repository.readonly_session("main").store)
    assert saved["a/b/rsa"].values.tolist() == [0.5, 0.25]


def test_an_empty_repository_holds_no_store() -> None:
    icechunk = pytest.importorskip("icechunk")
    empty = icechunk.Repository.create(icechunk.in_memory_storage()).readonly_session("main")
    with pytest.raises(FileNotFoundError, match="no store at"):
        open_representations(empty.store, "vision")
