"""Damage to any file of a store is found, told by name, and never becomes a number."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

from tests.io.sets import mounted
from xconverge import (
    DamagedStoreError,
    ModelWriter,
    SchemaError,
    alignment,
    append_models,
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
from xconverge.io import open_neighbors, open_rdms, write_neighbors, write_rdms
from xconverge.io.zarr.snapshot import TRIES, Snapshot
from xconverge.kernels.budgets import BUDGETS

STIMULI = [f"s{i} 猫" for i in range(10)]
TREE = xr.DataTree.from_dict(
    {
        "/": xr.Dataset({"rsa": 0.5}, attrs={"seed": 1}),
        "/a/b": xr.Dataset(
            {"r": (("model", "bin"), np.arange(6.0).reshape(2, 3))}, {"model": ["m", "n"]}
        ),
    }
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modalities in chunks of four stimuli, and all that can lie beside them; and a study."""
    folder = tmp_path_factory.mktemp("built")
    path, rng = folder / "store.zarr", np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "store_chunk", 4 * 3 * 8)
        sparse = rng.random((10, 4))
        sparse[[1, 6]] = np.nan
        arrays = {"a": rng.random((10, 5)), "b": rng.random((10, 3)), "c": sparse}
        reps = stack_models(arrays, stimuli=STIMULI, modality="vision")
        reps = reps.assign_coords(
            caption=("stimulus", [f"é {s}" for s in STIMULI]), family=("model", list("xyz"))
        )
        write_representations(path, reps)
        wide = stack_models({"d": rng.random((10, 7))}, stimuli=STIMULI, modality="vision")
        append_models(path, wide.assign_coords(caption=reps.caption, family=("model", ["w"])))
        arrays = {"a": rng.random((10, 5)), "e": rng.random((10, 5))}
        write_representations(path, stack_models(arrays, stimuli=STIMULI, modality="language"))
        write_neighbors(path, neighbor_graph(reps[:2], k=2))
        write_rdms(path, rdm(reps[:2], "euclidean"), modality="vision")
        for model in "uv":
            writer = ModelWriter(path, "language", model, STIMULI, 4, dtype="f8")
            for start in (0, 3, 6):
                writer.write(STIMULI[start : start + 3], rng.random((3, 4)))
            writer.close()
        write_study(folder / "study.zarr", TREE)
    return folder


@pytest.fixture
def path(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "store.zarr", tmp_path / "store.zarr"))


@pytest.fixture
def study(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "study.zarr", tmp_path / "study.zarr"))


def files(path: Path, documents: bool) -> list[Path]:
    # of the manifest, what is no longer one is told (test_a_manifest_that_is_none_is_told)
    names = {"ro-crate-metadata.json"}
    found = [file for file in path.rglob("*") if file.is_file() and file.name not in names]
    return sorted(file for file in found if (file.name == "zarr.json") == documents)


def faults(path: Path) -> list[str]:
    """What deep validation lists; any other error is a failure."""
    try:
        validate_store(path, deep=True)
    except DamagedStoreError as error:
        return str(error).splitlines()
    return []


def flip(file: Path, at: float = 0.4) -> None:
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 4
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "lengthened": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "missing": Path.unlink,
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}
SLOW = pytest.mark.slow


def first(*names: Any, quick: int = 1) -> list[Any]:
    """Parameters of which only the first are run by default."""
    return [pytest.param(name, marks=() if i < quick else SLOW) for i, name in enumerate(names)]


EACH = first(*DAMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("damage", first("truncated", "emptied", "a pipe", "flipped"))
def test_a_manifest_that_is_none_is_told(study: Path, damage: str) -> None:
    assert faults(study) == []
    manifest = study / "ro-crate-metadata.json"
    if damage == "flipped":  # still JSON, but of another kind
        manifest.write_text("[]")
    else:
        DAMAGES[damage](manifest)
    assert any("ro-crate-metadata.json" in line for line in faults(study))


def is_said(file: Path, root: Path, lines: list[str]) -> bool:
    """Whether a line tells of a chunk."""
    parts = file.relative_to(root).parts
    at = len(parts) - 1 - parts[::-1].index("c")
    array, key = parts[at - 1], "/".join(parts[at:])
    group = "/".join([str(root), *parts[: at - 1]])
    if array.startswith("rows_"):
        what = [f"row numbers of batch {parts[at + 1]} of {'/'.join(parts[:at])} "]
    elif array.startswith("vectors_"):
        what = [f"batch {parts[at + 1]} of {'/'.join(parts[:at])}: stimulus "]
    elif array in ("representation", "neighbor_graph", "rdm", "rsa", "r"):
        # one that cannot be decoded is told without its key
        what = [f"{array!r} of {group}"] + (
            [f"chunk {key} "] if "chunk c" in "".join(lines) else []
        )
    else:
        what = [f"{group}: the labels ", f"{array!r}"]
    return any(all(text in line for text in what) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("damage", EACH)
def test_damage_to_every_chunk_is_listed(
    path: Path, study: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for root in (path, study):
        chunks = files(root, documents=False)
        # batches whose row numbers are gone have no names for the stimuli of their vectors
        chunks = [file for file in chunks if not re.search("vectors_|rows_./c/2", str(file))]
        assert len(chunks) > (60 if root == path else 2)
        for file in chunks:
            DAMAGES[damage](file)
        lines = faults(root)
        assert [str(file) for file in chunks if not is_said(file, root, lines)] == []
        assert main(["validate", str(root), "--deep"]) == 1
        said = capsys.readouterr()
        assert said.out.count("DAMAGED: ") == len(lines)
        assert said.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("damage", EACH)
def test_damaged_vectors_name_model_and_stimuli(path: Path, damage: str) -> None:
    vectors = list((path / "incomplete_models").rglob("vectors_3/c/*/0"))
    assert len(vectors) == 6
    for file in vectors:
        DAMAGES[damage](file)
    for file in (path / "vision" / "representation" / "c").glob("[13]/1/*"):
        DAMAGES[damage](file)
    lines = faults(path)
    assert all(is_said(file, path, lines) for file in vectors)
    assert any(
        "batch 1 of" in line and "stimulus 's3 猫', 's4 猫', 's5 猫'" in line for line in lines
    )
    for model in "bd":
        (line, *_) = [line for line in lines if f"model '{model}'" in line]
        assert "'s4 猫'" in line or "'s2 猫'" in line or "'s3 猫'" in line
    with (
        pytest.raises(DamagedStoreError, match="model 'u'.*the rows of stimulus 's0 猫', 's1 猫'"),
    ):
        open_representations(path, "language", incomplete="include").sel(model="u").compute()


@SLOW
def test_each_chunk_of_representations_names_its_model_and_stimuli(path: Path) -> None:
    array = zarr.open_array(path, path="vision/representation", mode="r")
    step = array.chunks[1]
    for m, i in ((1, 1), (3, 0)):
        file = path / "vision" / "representation" / "c" / str(m) / str(i) / "0"
        before = file.read_bytes()
        flip(file)
        hit = STIMULI[step * i : step * (i + 1)]
        with pytest.raises(DamagedStoreError) as caught:
            open_representations(path, "vision").compute()
        for said in (str(caught.value), *faults(path)):
            assert f"model '{'abcd'[m]}', stimulus {', '.join(map(repr, hit[:3]))}" in said
        file.write_bytes(before)
    validate_store(path, deep=True)


DOCUMENTS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "early": lambda file: flip(file, 0.15),
    "late": lambda file: flip(file, 0.8),
    "no object": lambda file: file.write_bytes(b"[1]"),
    "an empty object": lambda file: file.write_bytes(b"{}"),
    "no text": lambda file: file.write_bytes(b"\xff\xfe"),
}


def check_document(file: Path, damage: str, root: Path) -> None:
    before = file.read_bytes()
    DOCUMENTS[damage](file)
    lines = faults(root)
    assert any(str(file.parent) in line for line in lines), (file, damage, lines)
    file.unlink(missing_ok=True)
    file.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DOCUMENTS)
def test_damage_to_any_document_is_listed(path: Path, study: Path, damage: str) -> None:
    # each document by some damage or other, as all of them by all would take too long
    shift = list(DOCUMENTS).index(damage)
    for root in (path, study):
        for file in files(root, documents=True)[shift::7]:
            check_document(file, damage, root)


@pytest.mark.slow
@pytest.mark.parametrize("damage", first("flipped", "missing"))
@pytest.mark.parametrize("name", first("vision/", "rdms/", "language/stimulus/", "", quick=2))
def test_damage_to_a_document_is_listed(path: Path, name: str, damage: str) -> None:
    check_document(path / f"{name}zarr.json", damage, path)


def read_all(path: Path) -> dict[str, Any]:
    """What each reader gives, or that it raised an error by name."""

    def tried(read: Callable[[], Any]) -> Any:
        try:
            return read().load()
        except (SchemaError, FileNotFoundError):
            return None

    return {
        "vision": tried(lambda: open_representations(path, "vision")),
        "language": tried(lambda: open_representations(path, "language")),
        "graph": tried(lambda: open_neighbors(path, "vision")),
        "rdms": tried(lambda: open_rdms(path, "vision")),
    }


def check_swap(path: Path, one: Path, other: Path, whole: dict[str, Any]) -> None:
    contents = one.read_bytes(), other.read_bytes()
    assert contents[0] != contents[1]
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    assert faults(path), (one, other)
    for name, found in read_all(path).items():
        assert found is None or found.identical(whole[name]), (one, other, name)
    one.write_bytes(contents[0])
    other.write_bytes(contents[1])


REPS = "{}/representation/c/{}/{}/0"
SWAPS = {
    "chunks of models": (REPS.format("vision", 0, 0), REPS.format("vision", 3, 0)),
    "chunks of a model": (REPS.format("vision", 0, 0), REPS.format("vision", 0, 1)),
    "chunks of modalities": (REPS.format("vision", 0, 0), REPS.format("language", 0, 0)),
    "labels": ("vision/stimulus/c/0", "vision/caption/c/0"),
    "documents": ("vision/zarr.json", "language/zarr.json"),
    "checksums": ("vision/.checksums/zarr.json", "language/.checksums/zarr.json"),
    "an array and a group": ("rdms/vision/rdm/zarr.json", "rdms/zarr.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", first(*SWAPS))
def test_two_files_that_were_exchanged_are_found(path: Path, what: str) -> None:
    one, other = (path / name for name in SWAPS[what])
    check_swap(path, one, other, read_all(path))


@pytest.mark.slow
def test_damage_that_looks_like_another_program_at_work_is_told_soon(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that is another each time is read again, but not tries of tries."""
    one, other = (path / name for name in SWAPS["checksums"])
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    readings = []
    of = Snapshot.of
    monkeypatch.setattr(Snapshot, "of", lambda place: readings.append(place) or of(place))
    with pytest.raises(FileNotFoundError):
        open_representations(path, "vision")
    assert 1 < len(readings) <= 1 + TRIES


@pytest.mark.slow
@pytest.mark.parametrize("documents", [False, True])
def test_any_two_files_that_were_exchanged_are_found(path: Path, documents: bool) -> None:
    whole = read_all(path)
    pairs = list(itertools.combinations(files(path, documents), 2))
    pairs = [(a, b) for a, b in pairs if a.read_bytes() != b.read_bytes()]
    for at in np.random.default_rng(0).choice(len(pairs), 10, replace=False):
        check_swap(path, *pairs[at], whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    first("stimulus", "representation", "model", ".checksums", "every array", "zarr.json", quick=2),
)
def test_parts_of_an_older_copy_are_found(path: Path, tmp_path: Path, what: str) -> None:
    older = Path(shutil.copytree(path / "language", tmp_path / "older"))
    rng = np.random.default_rng(1)
    arrays = {"f": rng.random((10, 5)), "g": rng.random((10, 5))}
    new = stack_models(arrays, stimuli=STIMULI[::-1], modality="language")
    write_representations(path, new, overwrite=True)
    names = [d.name for d in older.iterdir() if d.is_dir()] if what == "every array" else [what]
    for name in names:
        target = path / "language" / name
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(older / name, target)
        else:
            shutil.copy(older / name, target)
    assert faults(path)
    with pytest.raises((DamagedStoreError, FileNotFoundError)):
        open_representations(path, "language").compute()


@pytest.mark.slow
def test_damage_is_told_by_measures_and_on_every_scheduler(path: Path) -> None:
    flip(path / "vision" / "representation" / "c" / "1" / "1" / "0")
    reps = open_representations(path, "vision")
    for scheduler in ("synchronous", "threads"):
        with (
            dask.config.set(scheduler=scheduler),
            pytest.raises(DamagedStoreError, match="model 'b', stimulus 's"),
        ):
            alignment(reps, reps, "mutual_knn", k=2).compute()
    with pytest.raises(DamagedStoreError):
        open_store(path)["vision/representation"].compute()
    # what is whole can be read
    assert np.isfinite(reps.sel(model="a").values[:, :5]).all()


@pytest.mark.slow
def test_what_a_document_no_longer_tells_is_missed(path: Path) -> None:
    """Labels of which the one document of a group tells no more would be silently left out."""
    file = path / "vision" / "zarr.json"
    text, whole = file.read_text(), open_representations(path, "vision").compute()
    for old, new in (
        ('"n_features": {', '"n_featurfs": {'),
        ('"representation": {', '"representatioo": {'),
        ('"node_type": "array"', '"node_type": "brray"'),
        ('"coordinates": "', '"boordinates": "'),
        ('".checksums": {', '".dhecksums": {'),
        ('"stimulus"\n', '"stimulut"\n'),
    ):
        assert old in text
        file.write_text(text.replace(old, new, 1))
        try:
            found = open_representations(path, "vision").compute()
        except (DamagedStoreError, FileNotFoundError):
            pass
        else:
            assert found.identical(whole)


@SLOW
def test_padding_may_be_missing(path: Path) -> None:
    shutil.rmtree(path / "vision" / "representation" / "c" / "1" / "0" / "1", ignore_errors=True)
    reps = open_representations(path, "vision")
    assert np.isnan(reps.sel(model="b").values[:, 3:]).all()
    validate_store(path, deep=True)


@pytest.mark.slow
def test_the_command_line_passes_what_is_whole(
    path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for root in (path, study):
        assert main(["validate", str(root), "--deep"]) == 0
        assert "no file is damaged" in capsys.readouterr().out
    (path / "zarr.json").write_text("{")
    assert main(["validate", str(path), "--deep"]) == 1
    said = capsys.readouterr()
    assert "DAMAGED" in said.out
    assert "vision: good, 4 models, 10 stimuli" in said.out
    assert "Traceback" not in said.err


@pytest.mark.parametrize("what", first("a folder", "a link to nowhere", quick=0))
def test_what_is_no_file_is_listed(path: Path, what: str) -> None:
    for name in ("vision/representation/c/0/0/0", "language/stimulus/c/0"):
        file = path / name
        file.unlink()
        file.mkdir() if what == "a folder" else file.symlink_to("/nowhere")
        lines = faults(path)
        assert is_said(file, path, lines)


# models that are not complete


@pytest.fixture
def begun(path: Path) -> Path:
    (folder,) = (path / "incomplete_models" / "language").glob("u-*")
    return folder


@pytest.mark.slow
def test_row_numbers_that_are_gone_are_damage(path: Path, begun: Path) -> None:
    (begun / "rows_3" / "c" / "1" / "0").unlink()
    assert any("row numbers of batch 1" in line for line in faults(path))
    with pytest.warns(RuntimeWarning, match=r"'u' is damaged.*batch 1 .*NaN"):
        shown = open_representations(path, "language", incomplete="include")
    shown = shown.sel(model="u").compute()
    assert np.isnan(shown.values[3:6]).all()
    assert np.isfinite(shown.values[:3, :4]).all()
    with pytest.warns(RuntimeWarning, match="pending again"):
        writer = ModelWriter(path, "language", "u", STIMULI, 4, dtype="f8")
    assert writer.pending == [*STIMULI[3:6], STIMULI[9]]
    writer.write(writer.pending, np.ones((4, 4)))
    writer.close()
    reps = open_representations(path, "language").sel(model="u").values
    assert (reps[3:6, :4] == 1).all()
    np.testing.assert_array_equal(reps[:3, :4], shown.values[:3, :4])
    validate_store(path, deep=True)


@pytest.mark.slow
def test_the_last_row_numbers_may_not_have_been_written(path: Path, begun: Path) -> None:
    """As after a kill, even one that has left a folder behind."""
    (begun / "rows_3" / "c" / "2" / "0").unlink()
    validate_store(path, deep=True)
    writer = ModelWriter(path, "language", "u", STIMULI, 4, dtype="f8")
    assert writer.pending == STIMULI[6:]
    writer.write(STIMULI[6:9], np.ones((3, 4)))
    validate_store(path, deep=True)
    writer.close()


@SLOW
def test_rows_that_are_damaged_after_they_were_written_are_not_joined(
    path: Path, begun: Path
) -> None:
    writer = ModelWriter(path, "language", "u", STIMULI, 4, dtype="f8")
    writer.write(writer.pending, np.ones((1, 4)))
    flip(begun / "vectors_3" / "c" / "1" / "0")
    with pytest.raises(DamagedStoreError, match="'u'.*'s3 猫', 's4 猫', 's5 猫' are damaged"):
        writer.close()
    assert "u" not in open_representations(path, "language").indexes["model"]
    with pytest.warns(RuntimeWarning, match="pending again"):
        writer = ModelWriter(path, "language", "u", STIMULI, 4, dtype="f8")
    assert writer.pending == STIMULI[3:6]
    writer.write(writer.pending, np.ones((3, 4)))
    writer.close()
    assert "u" in open_representations(path, "language").indexes["model"]
    validate_store(path, deep=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", first("zarr.json", ".checksums/zarr.json", "vectors_3/zarr.json"))
def test_models_that_cannot_be_read_are_not_left_out(path: Path, begun: Path, name: str) -> None:
    (begun / name).write_text("{}")
    for incomplete in ("include", "error"):
        with pytest.raises(DamagedStoreError, match="restart=True"):
            open_representations(path, "language", incomplete=incomplete).compute()  # type: ignore[arg-type]
    assert open_representations(path, "language").sizes["model"] == 2
    with pytest.raises(DamagedStoreError, match="restart=True"):
        ModelWriter(path, "language", "u", STIMULI, 4, dtype="f8")
    # another model is written beside it
    with ModelWriter(path, "language", "w", STIMULI, 4, dtype="f8") as writer:
        writer.write(STIMULI, np.ones((10, 4)))


# stores of others


NOT_SPECIFIED = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")


@pytest.mark.slow
@NOT_SPECIFIED
@pytest.mark.parametrize("consolidated", first(None, False))
def test_stores_of_others_are_whole(tmp_path: Path, consolidated: bool | None) -> None:
    path = tmp_path / "other.zarr"
    reps = stack_models({"a": np.ones((4, 3)), "b": np.eye(4)[:, :3]}, stimuli=STIMULI[:4])
    dataset = reps.to_dataset(name="representation")
    dataset.to_zarr(path, group="vision", consolidated=consolidated)
    more = dataset.assign_coords(model=np.array(["c", "d"], object)) * 2
    for _ in range(2):
        validate_store(path, deep=True)
        assert main(["validate", str(path), "--deep"]) == 0
        xr.testing.assert_equal(
            open_representations(path, "vision").isel(model=slice(2)).compute(), reps
        )
        more.to_zarr(path, group="vision", append_dim="model", consolidated=consolidated)
        more = more.assign_coords(model=np.array(["e", "f"], object))
    found = open_representations(path, "vision")
    assert found.indexes["model"].tolist() == list("abcdef")
    np.testing.assert_array_equal(found.values[4:], 2 * reps.values)


@pytest.mark.slow
@NOT_SPECIFIED
@pytest.mark.parametrize("consolidated", first(None, False))
def test_models_that_others_added_to_ours_are_no_damage(
    path: Path, consolidated: bool | None
) -> None:
    plain = xr.open_zarr(path, group="language", consolidated=False).load().drop_encoding()
    text = plain["stimulus"].dtype  # an older xarray opens text as objects
    new = plain.assign_coords(
        model=np.array(["x", "y"], text), stimulus=plain["stimulus"].values.astype(text)
    )
    new.to_zarr(path, group="language", append_dim="model", consolidated=consolidated)
    validate_store(path, deep=True)
    found = open_representations(path, "language")
    assert found.indexes["model"].tolist() == ["a", "e", "x", "y"]
    np.testing.assert_array_equal(found.values[2:], plain["representation"].values)


def test_chunks_of_others_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "other.zarr"
    reps = stack_models({"a": np.ones((4, 3)), "b": np.eye(4)[:, :3]}, stimuli=STIMULI[:4])
    zarr.create_group(path, zarr_format=3)
    dataset = reps.to_dataset(name="representation")
    group = zarr.create_group(path, path="vision")
    for name, variable in dataset.variables.items():
        values = (
            variable.values.astype(np.dtypes.StringDType())
            if name != "representation"
            else variable.values
        )
        if name == "n_features":
            values = variable.values
        group.create_array(
            str(name),
            data=values,
            dimension_names=variable.dims,
            chunk_key_encoding={"name": "v2", "separator": "."},
        )
    validate_store(path, deep=True)
    np.testing.assert_array_equal(open_representations(path, "vision").values, reps.values)


def test_stores_of_others_tell_what_fails_to_decode(tmp_path: Path) -> None:
    path = tmp_path / "other.zarr"
    reps = stack_models({"a": np.ones((4, 3)), "b": np.ones((4, 3))}, stimuli=STIMULI[:4])
    encoding = {"representation": {"chunks": (1, 2, 3)}}
    reps.to_dataset(name="representation").to_zarr(
        path, group="vision", encoding=encoding, consolidated=False
    )
    file = path / "vision" / "representation" / "c" / "1" / "1" / "0"
    os.truncate(file, 7)
    with pytest.raises(DamagedStoreError, match=r"model 'b', stimulus 's2 猫', 's3 猫'.*damaged"):
        open_representations(path, "vision").compute()
    (line,) = faults(path)
    assert "model 'b', stimulus 's2 猫', 's3 猫'" in line
    # a chunk that is not there is NaN, as Zarr says
    file.unlink()
    assert np.isnan(open_representations(path, "vision").sel(model="b").values[2:]).all()


# disks that are full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as mount:
        yield mount


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_complete(small_disk: Path) -> None:
    path = small_disk / "study.zarr"
    ids = [f"s{i}" for i in range(2000)]
    values = np.random.default_rng(0).standard_normal((2000, 256)).astype("f4")
    with ModelWriter(path, "vision", "small", ids, 64) as w:
        w.write(ids, values[:, :64])
    w = ModelWriter(path, "vision", "large", ids, 256)
    kept = 0

    def write_all() -> None:
        nonlocal kept
        for start in range(0, 2000, 100):
            w.write(ids[start : start + 100], values[start : start + 100])
            kept = start + 100

    with pytest.raises(OSError, match=r"no space left .* 'large': \d+ of 2000 .* are kept") as full:
        write_all()
    w.close()
    assert full.value.errno == errno.ENOSPC
    assert kept >= 1000
    other = stack_models({"other": values}, stimuli=ids, modality="vision")
    with pytest.raises(OSError, match="[Ss]pace"):
        append_models(path, other)
    with pytest.raises(OSError, match="[Ss]pace"):
        write_representations(path, other, overwrite=True)
    reps = open_representations(path, "vision")
    assert reps.indexes["model"].tolist() == ["small"]
    np.testing.assert_array_equal(reps.values[0, :, :64], values[:, :64])
    validate_store(path, deep=True)
    begun = open_representations(path, "vision", incomplete="include").sel(model="large")
    np.testing.assert_array_equal(begun.values[:kept], values[:kept])
    # room again: the rest is written, and nothing else
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    with ModelWriter(path, "vision", "large", ids, 256) as w:
        pending = w.pending
        assert len(pending) == 2000 - kept
        at = [int(label[1:]) for label in pending]
        w.write(pending, values[at])
    reps = open_representations(path, "vision", incomplete="error")
    np.testing.assert_array_equal(reps.sel(model="large").values, values)
    append_models(path, other)
    validate_store(path, deep=True)


class FullDisk:
    """The n-th write of a store in a folder fails, half done."""

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int | None) -> None:
        self.count, self.fails_at = 0, fails_at
        write = Path.write_bytes
        import zarr.storage._local as local

        real = local._put

        def put(path: Path, value: Any, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count - 1 == self.fails_at:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path.with_suffix(f".{0:032x}.partial"), value.to_bytes()[:3])
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, value, *args, **kwargs)

        patch.setattr(local, "_put", put)


def write_model(path: Path, values: Any) -> None:
    with ModelWriter(path, "vision", "a", STIMULI, 3) as w:
        todo = [STIMULI.index(s) for s in w.pending]
        for start in range(0, len(todo), 4):
            part = todo[start : start + 4]
            w.write([STIMULI[i] for i in part], values[part])


def replace_all(path: Path) -> None:
    reps = stack_models({"y": np.ones((10, 5))}, stimuli=STIMULI, modality="vision")
    write_representations(path, reps, overwrite=True)


def append_one(path: Path) -> None:
    append_models(path, stack_models({"x": np.ones((10, 4))}, stimuli=STIMULI, modality="vision"))


def n_writes(do: Callable[[], None]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, None)
        do()
    return disk.count


@pytest.mark.slow
@pytest.mark.parametrize("step", first(9, 2))
def test_no_space_at_any_write_of_a_model_loses_nothing(tmp_path: Path, step: int) -> None:
    """The same without the right to mount: the disk is full in the middle of the n-th write."""
    values = np.arange(30, dtype="f4").reshape(10, 3)
    n = n_writes(lambda: write_model(tmp_path / "whole.zarr", values))
    assert n > 20
    for fails_at in range(0, n, step):
        path = tmp_path / f"{fails_at}.zarr"
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, fails_at)
            with pytest.raises(OSError, match="[Ss]pace"):
                write_model(path, values)
        write_model(path, values)
        reps = open_representations(path, "vision", incomplete="error")
        np.testing.assert_array_equal(reps.sel(model="a").values, values)


@pytest.mark.slow
@pytest.mark.parametrize("step", first(9, 2))
@pytest.mark.parametrize("change", [append_one, replace_all])
def test_no_space_at_any_write_leaves_what_was(
    tmp_path: Path, change: Callable[[Path], None], step: int
) -> None:
    start = tmp_path / "start.zarr"
    reps = stack_models({"a": np.eye(10)[:, :3]}, stimuli=STIMULI, modality="vision")
    write_representations(start, reps)
    before = open_representations(start, "vision").compute()
    n = n_writes(lambda: change(Path(shutil.copytree(start, tmp_path / "whole.zarr"))))
    after = open_representations(tmp_path / "whole.zarr", "vision").compute()
    for fails_at in range(0, n, step):
        path = Path(shutil.copytree(start, tmp_path / f"{fails_at}.zarr"))
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, fails_at)
            with pytest.raises(OSError, match="[Ss]pace"):
                change(path)
        found = open_representations(path, "vision").compute()
        if change is append_one and fails_at == n - 1:
            # all is there but the one document of the group, which the next change sets
            assert found.identical(after)
            append_models(path, found.isel(model=[0]).assign_coords(model=["z"]))
            assert [*open_representations(path, "vision").indexes["model"]] == ["a", "x", "z"]
            validate_store(path, deep=True)
            continue
        assert found.identical(before)
        change(path)
        assert open_representations(path, "vision").compute().identical(after)
        validate_store(path, deep=True)


# what the docs say


def test_checksums_are_those_that_zarr_checks(path: Path) -> None:
    flip(path / "vision" / "representation" / "c" / "0" / "0" / "0")
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(path, path="vision/representation")[0]
    codecs = zarr.open_array(path, path="vision/caption").metadata.codecs
    assert codecs[-1].to_dict()["name"] == "crc32c"


def test_the_table_of_faults_names_tests_that_exist() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "faults.md").read_text("utf-8")
    tests = "".join(file.read_text("utf-8") for file in (root / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []
