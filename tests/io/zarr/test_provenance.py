"""How models were made: in the attrs of their modality, and one way for each network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge import ModelWriter, SchemaError
from xconverge.io.zarr.provenance import checked, different, merged, provenance_of

VIT, CNN = {"vit": {"weights": "a", "size": 224}}, {"cnn": {"weights": "b"}}


def write(path: Any, model: str, provenance: Any, n: int = 2, **options: Any) -> None:
    stimuli = ["s1", "s2"]
    with ModelWriter(path, "vision", model, stimuli, 3, provenance=provenance, **options) as writer:
        for label in writer.pending[:n]:
            writer.write([label], np.ones((1, 3)))


def known(path: Any, **options: Any) -> Any:
    return xc.open_representations(path, "vision", **options).attrs.get("provenance")


@pytest.fixture(params=["folder", "bucket"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    bucket = f"memory://{tmp_path.name}/s.zarr"
    return bucket if request.param == "bucket" else str(tmp_path / "s.zarr")


@pytest.mark.slow
def test_it_grows_with_the_modality(anywhere: str) -> None:
    write(anywhere, "vit 1", VIT)
    assert known(anywhere) == VIT
    write(anywhere, "plain", None)
    write(anywhere, "vit 2", VIT)
    write(anywhere, "cnn", CNN)
    assert known(anywhere) == VIT | CNN
    xc.validate_store(anywhere, deep=True)


def test_xarray_sees_it(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", "vit", VIT)
    array = xr.open_zarr(tmp_path / "s.zarr" / "vision")["representation"]
    assert array.attrs["provenance"] == VIT


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model '.*' is not complete")
def test_of_models_that_are_begun(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    write(path, "cnn", CNN, n=1)
    assert known(path, incomplete="include") == CNN
    write(path, "vit", VIT)
    assert known(path) == VIT
    assert known(path, incomplete="include") == VIT | CNN
    write(path, "cnn", CNN)
    assert known(path) == VIT | CNN


@pytest.mark.filterwarnings("ignore:model '.*' is not complete")
def test_another_way_is_refused_at_the_start(tmp_path: Path) -> None:
    path, other = tmp_path / "s.zarr", {"vit": {"weights": "a", "size": 112}}
    write(path, "vit 1", VIT, n=1)
    with pytest.raises(SchemaError, match="begun with 'vit' made with size 224, not 112; go on"):
        write(path, "vit 1", other)
    write(path, "vit 1", other, restart=True)
    for model in ("vit 1", "vit 2"):
        with pytest.raises(SchemaError, match="'vit' in .* was made with size 112, not 224"):
            write(path, model, VIT)
    assert known(path) == other


@pytest.mark.slow
def test_what_is_appended_brings_its_own(tmp_path: Path) -> None:
    path, other = tmp_path / "s.zarr", tmp_path / "t.zarr"
    write(path, "vit", VIT)
    write(other, "cnn", CNN)
    write(other, "vit 2", VIT)
    more = xc.open_representations(other, "vision").load()
    xc.append_models(path, more.sel(model=["cnn"]), modality="vision")
    assert known(path) == VIT | CNN
    bad = more.sel(model=["vit 2"]).assign_attrs(provenance={"vit": {"weights": "c", "size": 224}})
    with pytest.raises(SchemaError, match="made with weights 'a', not 'c'"):
        xc.append_models(path, bad, modality="vision")
    # what others call so is theirs, and stays out as all of their attrs do
    xc.append_models(path, bad.assign_attrs(provenance="a museum"), modality="vision")
    assert known(path) == VIT | CNN
    xc.validate_store(path, deep=True)


def test_it_goes_through_files(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", "vit", VIT)
    reps = xc.open_representations(tmp_path / "s.zarr", "vision")
    xc.io.write_npz(tmp_path / "m.npz", reps)
    assert xc.io.read_npz(tmp_path / "m.npz").attrs["provenance"] == VIT
    xc.write_representations(tmp_path / "t.zarr", reps)
    assert known(tmp_path / "t.zarr") == VIT


def test_which_values_differ() -> None:
    assert different({"a": 1, "b": 2}, {"a": 1, "c": 3}) == "b 2, not None; c None, not 3"
    assert not different({"a": 1}, {"a": 1})
    assert merged(VIT, CNN, "x") == VIT | CNN
    assert provenance_of({"provenance": {"vit": 3}}) == {}


@pytest.mark.parametrize(
    ("given", "error"),
    [("vit", TypeError), ({"vit": "a"}, SchemaError), ({1: {}}, SchemaError),
     ({"vit": {"a": [1]}}, SchemaError), ({"vit": {1: "a"}}, SchemaError)],
)  # fmt: skip
def test_what_cannot_be_kept(given: Any, error: type, tmp_path: Path) -> None:
    with pytest.raises(error, match="provenance must"):
        checked(given)
    with pytest.raises(error, match="provenance must"):
        write(tmp_path / "s.zarr", "vit", given)
    assert not (tmp_path / "s.zarr").exists()
