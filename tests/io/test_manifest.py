"""The manifest that a store or study carries, read by the library of RO-Crate itself."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import xconverge as xc
from tests.io.sets import digest, make
from xconverge.cli.main import main
from xconverge.labels.pools import pool_hash

MANIFEST = "ro-crate-metadata.json"
GIVEN: dict[str, Any] = {
    "title": "Five stimuli, é",
    "authors": ["A. Author", {"name": "B. Author", "orcid": "0000-0002-1825-0097"}],
    "license": "CC-BY-4.0",
}


def parts_of(crate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Properties of every group, by its name."""
    known = {one["@id"]: one for one in crate["@graph"]}
    return {
        known[part["@id"]]["name"]: {
            known[one["@id"]]["name"]: known[one["@id"]]["value"]
            for one in known[part["@id"]]["additionalProperty"]
        }
        for part in known["./"]["hasPart"]
    }


def entity(crate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in crate["@graph"] if one["@id"] == name)
    return dict(found)


@pytest.mark.slow
def test_a_store_says_what_it_holds_and_whose_it_is(filled: Path) -> None:
    xc.io.write_neighbors(filled, xc.neighbor_graph(xc.open_representations(filled, "vision"), 2))
    xc.io.write_manifest(filled, **GIVEN)
    crate = xc.io.read_manifest(filled)
    assert crate == json.loads((filled / MANIFEST).read_text("utf-8"))
    parts = parts_of(crate)
    assert list(parts) == ["neighbor_graphs/vision", "vision"]
    reps = xc.open_representations(filled, "vision")
    assert parts["vision"]["models"] == ["a", "b"]
    assert parts["vision"]["n_stimulus"] == 5
    assert parts["vision"]["bytes_unpacked"] == reps.nbytes
    assert {one["pool_hash"] for one in parts.values()} == {pool_hash(reps["stimulus"].values)}
    year = entity(crate, "./")["datePublished"][:4]
    cited = entity(crate, "#citation-of-this")["name"]
    assert cited == f"A. Author, B. Author ({year}). Five stimuli, é."


def test_the_library_of_rocrate_reads_it(filled: Path, tmp_path: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    xc.write_representations(filled, make().rename("x"), modality="a b ü")
    xc.io.write_manifest(filled, **GIVEN, citation="10.5555/12345678")
    crate = rocrate.ROCrate(filled)
    assert crate.name == "Five stimuli, é"
    assert [one["name"] for one in crate.root_dataset["author"]] == ["A. Author", "B. Author"]
    assert crate.root_dataset["author"][1].id == "https://orcid.org/0000-0002-1825-0097"
    assert crate.license.id == "https://spdx.org/licenses/CC-BY-4.0"
    assert crate.root_dataset["citation"].id == "https://doi.org/10.5555/12345678"
    parts = crate.root_dataset["hasPart"]
    assert [one["name"] for one in parts] == ["a b ü", "vision"]
    # the folders that it tells of are there: the library copies them
    crate.write(tmp_path / "copy")
    xr.testing.assert_identical(
        xc.open_representations(tmp_path / "copy", "a b ü").load(),
        xc.open_representations(filled, "a b ü").load(),
    )


@pytest.mark.slow
def test_what_changes_a_group_makes_it_stale(filled: Path) -> None:
    xc.io.write_manifest(filled, **GIVEN)
    before = digest(filled)
    assert xc.io.read_manifest(filled)
    assert digest(filled) == before
    changes = {
        "appended": lambda: xc.append_models(filled, make("c", (3,)), modality="vision"),
        "overwritten": lambda: xc.write_representations(
            filled, make() + 1, modality="vision", overwrite=True
        ),
        "added": lambda: xc.write_representations(filled, make(), modality="more"),
    }
    for name, change in changes.items():
        change()
        what = "more" if name == "added" else "vision"
        with pytest.warns(UserWarning, match=f"earlier state: '{what}' changed since"):
            xc.io.read_manifest(filled)
        xc.io.write_manifest(filled)
        crate = xc.io.read_manifest(filled)
        assert entity(crate, "./")["name"] == GIVEN["title"]
        assert entity(crate, "#author-1")["name"] == "A. Author"
    assert list(parts_of(crate)) == ["more", "vision"]


@pytest.mark.slow
def test_what_others_have_said_stays(filled: Path) -> None:
    xc.io.write_manifest(filled, **GIVEN)
    crate = xc.io.read_manifest(filled)
    crate["@graph"][1]["funder"] = {"@id": "https://ror.org/1"}
    crate["@graph"][1]["keywords"] = "emoji"
    crate["@graph"] += [
        {"@id": "https://ror.org/1", "@type": "Organization", "location": {"@id": "#here"}},
        {"@id": "#here", "@type": "Place", "name": "here"},
    ]
    (filled / MANIFEST).write_text(json.dumps(crate), "utf-8")
    xc.append_models(filled, make("c", (3,)), modality="vision")
    xc.io.write_manifest(filled, title="Another")
    again = xc.io.read_manifest(filled)
    assert entity(again, "./")["name"] == "Another"
    assert entity(again, "./")["keywords"] == "emoji"
    assert entity(again, entity(again, "./")["funder"]["@id"])["@type"] == "Organization"
    assert entity(again, "#here")["name"] == "here"


# of zarr, on text as xarray alone writes it
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_what_plain_xarray_writes_makes_it_stale(filled: Path) -> None:
    data = make().drop_vars("caption").to_dataset(name="representation")
    options: dict[str, Any] = {"group": "more", "zarr_format": 3, "consolidated": False}
    data.to_zarr(filled, mode="a", **options)
    xc.io.write_manifest(filled, **GIVEN)
    assert list(parts_of(xc.io.read_manifest(filled))) == ["more", "vision"]
    data.isel(model=[0]).to_zarr(filled, mode="w", **options)
    with pytest.warns(UserWarning, match="'more' changed since"):
        xc.io.read_manifest(filled)


@pytest.mark.slow
def test_a_store_with_a_manifest_is_a_store(filled: Path) -> None:
    xc.io.write_manifest(filled, **GIVEN)
    xc.validate_store(filled, deep=True)
    assert xc.io.modalities(filled) == ["vision"]
    assert list(xc.open_store(filled).children) == ["vision"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(filled / "vision")["representation"]
        np.testing.assert_array_equal(plain, make())
        xc.append_models(filled, make("c", (3,)), modality="vision")
        with xc.ModelWriter(filled, "more", "d", list("xyz"), n_features=3) as writer:
            writer.write(list("xyz"), np.ones((3, 3), np.float32))
    # zarr lists the groups, and says that the file is none
    with pytest.warns(UserWarning, match=rf"{MANIFEST} is not recognized"):
        listed = [name for name, _ in zarr.open_group(filled, mode="r").members()]
    assert {"vision", "more"} <= set(listed)
    xc.create_store(filled, overwrite=True)
    assert not (filled / MANIFEST).exists()


def test_what_a_manifest_lacks_is_asked_for(filled: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no manifest; xconverge.io.write_manifest"):
        xc.io.read_manifest(filled)
    with pytest.raises(ValueError, match="needs title= and authors= and license="):
        xc.io.write_manifest(filled)
    with pytest.raises(ValueError, match="needs authors= and license="):
        xc.io.write_manifest(filled, title="t")
    with pytest.raises(TypeError, match="a list of names"):
        xc.io.write_manifest(filled, **(GIVEN | {"authors": "A. Author"}))
    with pytest.raises(TypeError, match="a dict with 'name'"):
        xc.io.write_manifest(filled, **(GIVEN | {"authors": [{"surname": "Author"}]}))
    assert not (filled / MANIFEST).exists()
    with pytest.raises(FileNotFoundError, match="no store"):
        xc.io.write_manifest(filled.parent / "none.zarr", **GIVEN)
    for damage in ("{", "[]", '{"@graph": []}'):
        (filled / MANIFEST).write_text(damage)
        with pytest.raises(xc.DamagedStoreError, match="no RO-Crate"):
            xc.io.read_manifest(filled)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_a_manifest_that_is_no_file_is_told_at_once(filled: Path, kind: str) -> None:
    place = filled / MANIFEST
    if kind == "FIFO":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises((FileNotFoundError, xc.DamagedStoreError, OSError)):
        xc.io.read_manifest(filled)
    assert xc.io.modalities(filled) == ["vision"]


def test_a_store_of_keys_carries_one_too() -> None:
    store = MemoryStore()
    xc.write_representations(store, make(), modality="vision")
    xc.io.write_manifest(store, **GIVEN)
    xc.validate_store(store, deep=True)
    assert xc.io.modalities(store) == ["vision"]
    assert list(parts_of(xc.io.read_manifest(store))) == ["vision"]
    xc.write_representations(store, make() + 1, modality="vision", overwrite=True)
    with pytest.warns(UserWarning, match="'vision' changed since"):
        xc.io.read_manifest(store)
    xc.create_store(store, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no manifest"):
        xc.io.read_manifest(store)


def test_a_store_of_icechunk_has_no_room_for_one() -> None:
    icechunk = pytest.importorskip("icechunk")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    store = repository.writable_session("main").store
    xc.write_representations(store, make(), modality="vision")
    with pytest.raises(TypeError, match="a manifest is a file"):
        xc.io.write_manifest(store, **GIVEN)
    with pytest.raises(FileNotFoundError, match="no manifest"):
        xc.io.read_manifest(store)
    xc.validate_store(store, deep=True)
    study = repository.writable_session("main").store
    xc.write_study(study, xr.DataTree(xr.Dataset({"rsa": 0.5})))
    assert float(xc.open_store(study)["rsa"]) == 0.5


def test_a_study_says_how_it_was_made(filled: Path, tmp_path: Path) -> None:
    pytest.importorskip("rocrate")
    from rocrate.rocrate import ROCrate

    path = tmp_path / "results.zarr"
    attrs = {"seed": 3, "k": 10, "xconverge_version": xc.__version__, "modality": "vision"}
    groups = {"/": xr.Dataset(attrs=attrs), "/bins": xr.Dataset({"x": 1.0}, attrs={"n": np.nan})}
    tree = xr.DataTree.from_dict(groups)
    xc.write_study(path, tree, inputs=[filled])
    xc.validate_store(path, deep=True)
    crate = xc.io.read_manifest(path)
    made = entity(crate, "#made")
    told = {
        entity(crate, one["@id"])["name"]: entity(crate, one["@id"])["value"]
        for one in made["additionalProperty"]
    }
    assert told == attrs | {"bins/n": "NaN"}
    assert entity(crate, "#made-with")["version"] == xc.__version__
    source = entity(crate, made["object"][0]["@id"])
    # not where it lies: that tells of the machine
    assert source["name"] == filled.name
    assert str(tmp_path) not in (path / MANIFEST).read_text("utf-8")
    (hashed,) = (entity(crate, one["@id"]) for one in source["additionalProperty"])
    xc.io.write_manifest(filled, **GIVEN)
    assert hashed["value"] == parts_of(xc.io.read_manifest(filled))["vision"]["content_hash"]
    xc.io.write_manifest(path, **GIVEN)
    again = xc.io.read_manifest(path)
    assert entity(again, "#made") == made
    assert ROCrate(path).root_dataset["mentions"].id == "#made"
    xc.write_study(path, tree, overwrite=True)
    assert "author" not in entity(xc.io.read_manifest(path), "./")


def test_a_real_study_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.zarr"
    attrs = {"xconverge_version": xc.__version__}
    xc.write_study(path, xr.DataTree(xr.Dataset({"rsa": 0.5}, attrs=attrs)))
    # no error: attrs that begin like those of a store were taken for damaged ones
    xc.validate_store(path, deep=True)
    assert xc.open_store(path).attrs["xconverge_version"] == xc.__version__


@pytest.mark.slow
def test_on_the_command_line(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(filled)
    assert main(["manifest", store]) == 1
    assert "has no manifest" in capsys.readouterr().err
    given = ["--title", "Five stimuli", "--author", "A. Author", "--license", "MIT"]
    assert main(["manifest", store, *given]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Five stimuli\n")
    assert "license: MIT" in told
    xc.append_models(filled, make("c", (3,)), modality="vision")
    assert main(["manifest", store]) == 1
    assert "OUT OF DATE: 'vision' changed since" in capsys.readouterr().out
    assert main(["manifest", store, "--update", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["authors"] == ["A. Author"]
    assert data["stale"] == []
    assert parts_of(data["crate"])["vision"]["models"] == ["a", "b", "c"]
