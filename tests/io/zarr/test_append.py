"""Models that join a modality."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.io.sets import digest, make
from xconverge.io.store import (
    append_models,
    create_store,
    open_representations,
    open_store,
    write_representations,
)
from xconverge.io.zarr.encoding import encoded
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError

pytestmark = pytest.mark.usefixtures("no_warning_and_no_litter")


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(4,), (2,), (7,)], ids=["equal", "narrower", "wider"])
@pytest.mark.parametrize(
    ("order", "lazy"), [([0, 1, 2, 3, 4], False), ([3, 1, 4, 0, 2], True)], ids=["same", "shuffled"]
)
def test_append(
    path: Path, monkeypatch: pytest.MonkeyPatch, widths: tuple[int], order: list[int], lazy: bool
) -> None:
    monkeypatch.setattr(BUDGETS, "store_chunk", 2 * 4 * 4)
    write_representations(path, make(), modality="vision")
    new = make("c", widths).isel(stimulus=order)
    append_models(path, new.chunk(stimulus=3) if lazy else new, modality="vision")
    append_models(path, make("d", (1,)), modality="vision")
    expected = make("abcd", (3, 4, *widths, 1))
    opened = open_representations(path, "vision")
    xr.testing.assert_equal(opened, expected)
    assert opened.n_features.dtype == np.int64
    plain = xr.open_zarr(path, group="vision", consolidated=False)["representation"]
    xr.testing.assert_equal(plain, expected)
    assert opened.attrs["modality"] == "vision"


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("width", [3, 5])
def test_append_writes_n_features_for_all(path: Path, old: bool, new: bool, width: int) -> None:
    first, second = make("a", (3,)), make("b", (width,))
    write_representations(path, first if old else first.drop_vars("n_features"), modality="v")
    append_models(path, second if new else second.drop_vars("n_features"), modality="v")
    xr.testing.assert_equal(open_representations(path, "v"), make("ab", (3, width)))
    plain = xr.open_zarr(path, group="v", consolidated=False)["representation"]
    assert plain.n_features.values.tolist() == [3, width]


@pytest.mark.slow
def test_append_with_n_features_by_layer(path: Path) -> None:
    reps = make("a", (3,)).expand_dims(layer=["l1", "l2"]).copy()
    reps[1, 0, :, 2] = np.nan
    reps = reps.assign_coords(n_features=(("layer", "model"), [[3], [2]]))
    write_representations(path, reps, modality="v")
    append_models(path, make("b", (4,)).expand_dims(layer=["l1", "l2"]), modality="v")
    opened = open_representations(path, "v")
    assert opened.n_features.transpose("layer", "model").values.tolist() == [[3, 4], [2, 4]]


@pytest.mark.slow
def test_append_joins_coordinates_of_every_kind(path: Path) -> None:
    def coords(reps: xr.DataArray, at: int) -> xr.DataArray:
        grid = np.arange(5)[None] + 10 * at
        return reps.assign_coords(
            depth=("model", [at]),
            day=("model", np.array([f"202{at}-01-01"], "M8[ns]")),
            seen=(("stimulus", "model"), grid.T % 2 == 0),
            word=(("model", "stimulus"), grid.astype(str)),
            when=("stimulus", np.array(["2020-01-01"] * 4 + ["NaT"], "M8[ns]")),
            dataset="THINGS",
        )

    write_representations(path, coords(make("a", (3,)), 0), modality="v")
    append_models(path, coords(make("b", (3,)), 1).isel(stimulus=[4, 3, 2, 1, 0]), modality="v")
    opened = open_representations(path, "v")
    assert opened.depth.values.tolist() == [0, 1]
    assert opened.day.dt.year.values.tolist() == [2020, 2021]
    assert opened.word.sel(model="b").values.tolist() == ["10", "11", "12", "13", "14"]
    assert opened.seen.sel(model="b", stimulus="s2").item() is False
    assert opened.dataset.item() == "THINGS"


def new_model(**coords: Any) -> xr.DataArray:
    return make("c", (3,)).assign_coords(coords)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("reps", "said"),
    [
        (make("b", (3,)), "models of these names already: 'b'"),
        (new_model().isel(stimulus=slice(3)), r"has 5.*has 3.*missing from reps: 's4', 's5'"),
        (new_model(stimulus=["s1", "s2", "s3", "s4", "new"]), r"'s5'.*'new'"),
        (new_model().drop_vars("family"), "missing from reps: 'family'"),
        (new_model().drop_vars("caption"), "missing from reps: 'caption'"),
        (new_model(layer=("model", [3])), "not in the store: 'layer'"),
        (new_model(score=("stimulus", range(5))), "not in the store: 'score'"),
        (new_model(caption=("stimulus", list("abcde"))), "'caption' contradicts.*stimulus 's1'"),
        (new_model(rating=("stimulus", [0.1, 0.2, 0.3, 0.4, 0.5])), "'rating' contra.*'s2'"),
        (new_model(family=("model", [3])), "'family' is text.*number"),
        (new_model(family="net c"), "'family' is text over.*model.* over "),
        (make("c", (3,)).astype(np.float64), r"float32.*float64.*astype\('float32'\)"),
        (make("c", (3,)).assign_attrs(space="shared"), "attrs\\['space'\\]"),
        (make("c", (3,)).expand_dims("layer"), "dims"),
        (new_model(family=("model", np.array([None], object))), "'family' is text and is missing"),
    ],
)
def test_refused_appends_touch_nothing(filled: Path, reps: xr.DataArray, said: str) -> None:
    before = digest(filled)
    with pytest.raises(SchemaError, match=said) as error:
        append_models(filled, reps, modality="vision")
    assert "join=" not in str(error.value)
    assert digest(filled) == before


@pytest.mark.slow
def test_append_casts_what_loses_nothing(filled: Path) -> None:
    append_models(filled, stack_like(np.float16), modality="vision")
    opened = open_representations(filled, "vision")
    assert opened.dtype == np.float32
    assert opened.sel(model="c").values[:, :3].tolist() == [[0.5] * 3] * 5


def stack_like(dtype: Any) -> xr.DataArray:
    return (make("c", (3,)) * 0 + 0.5).astype(dtype)


@pytest.mark.slow
def test_coordinates_on_feature_cannot_grow(path: Path) -> None:
    write_representations(
        path, make("a", (3,)).assign_coords(unit=("feature", [1, 2, 3])), modality="v"
    )
    append_models(path, make("b", (3,)).assign_coords(unit=("feature", [1, 2, 3])), modality="v")
    before = digest(path)
    with pytest.raises(SchemaError, match=r"'unit'.*cannot grow"):
        append_models(path, make("c", (4,)).assign_coords(unit=("feature", range(4))), modality="v")
    assert digest(path) == before
    mean = {"mean": (("model", "feature"), np.ones((1, 3)))}
    write_representations(path, make("a", (3,)).assign_coords(mean), modality="w")
    append_models(path, make("b", (3,)).assign_coords(mean), modality="w")
    mean = {"mean": (("model", "feature"), np.ones((1, 4)))}
    with pytest.raises(SchemaError, match=r"'mean'.*cannot grow"):
        append_models(path, make("c", (4,)).assign_coords(mean), modality="w")


@pytest.mark.slow
def test_scalar_coordinates_must_agree(path: Path) -> None:
    write_representations(path, make().assign_coords(dataset="THINGS", at=1.0), modality="v")
    for coords in ({"dataset": "NSD", "at": 1.0}, {"dataset": "THINGS", "at": 2.0}):
        with pytest.raises(SchemaError, match="contradicts that of the store at its one value"):
            append_models(path, new_model(**coords), modality="v")
    append_models(path, new_model(dataset="THINGS", at=1.0), modality="v")


@pytest.mark.slow
def test_append_to_a_sharded_array_of_others(path: Path) -> None:
    create_store(path)
    encoding = {"representation": {"chunks": (1, 2, 4), "shards": (1, 4, 4)}}
    reps = make().chunk({"model": 1, "stimulus": 4})
    encoded(reps.to_dataset()).to_zarr(
        path, group="v", mode="a", encoding=encoding, consolidated=False
    )
    append_models(path, make("c", (6,)).chunk(stimulus=3), modality="v")
    xr.testing.assert_equal(open_representations(path, "v"), make("abc", (3, 4, 6)))
    assert open_representations(path, "v").attrs["modality"] == "v"


def test_append_rewrites_no_earlier_chunk(filled: Path) -> None:
    chunk = filled / "vision/representation/c/0/0/0"
    before = chunk.stat().st_ino
    append_models(filled, make("c", (6,)), modality="vision")
    assert chunk.stat().st_ino == before


@pytest.mark.slow
def test_append_without_links(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.link

    def no_links(source: str, target: str) -> None:
        if Path(source).is_relative_to(filled):
            raise OSError("not on this file system")
        really(source, target)

    monkeypatch.setattr(os, "link", no_links)
    append_models(filled, make("c", (6,)), modality="vision")
    xr.testing.assert_equal(open_representations(filled, "vision"), make("abc", (3, 4, 6)))


@pytest.mark.slow
def test_append_keeps_what_else_is_in_the_group(filled: Path) -> None:
    thumbs = xr.Dataset({"thumbnail": ("stimulus", np.arange(5))}, attrs={"by": "us"})
    thumbs.to_zarr(filled, group="vision", mode="a", consolidated=False)
    thumbs.to_zarr(filled, group="vision/more", mode="a", consolidated=False)
    append_models(filled, make("c", (6,)), modality="vision")
    tree = open_store(filled)
    assert tree["vision/thumbnail"].values.tolist() == tree["vision/more/thumbnail"].values.tolist()
    assert tree["vision"].attrs == {"by": "us"}
    xr.Dataset({"loss": ("model", np.arange(3))}).to_zarr(
        filled, group="vision", mode="a", consolidated=False
    )
    with pytest.raises(SchemaError, match="'loss'"):
        append_models(filled, make("d", (6,)), modality="vision")


@pytest.mark.slow
def test_append_to_stores_of_others(path: Path) -> None:
    create_store(path)
    plain = make().assign_coords(caption=("stimulus", list("abcde")))
    for name, model_chunk in (("mixed", 2), ("apart", 1)):
        encoding = {"representation": {"chunks": (model_chunk, 2, 4)}}
        encoded(plain.to_dataset()).to_zarr(
            path, group=name, mode="a", encoding=encoding, consolidated=False
        )
    new = make("c", (4,)).assign_coords(caption=("stimulus", list("abcde")))
    with pytest.raises(SchemaError, match="mix models"):
        append_models(path, new, modality="mixed")
    append_models(path, new, modality="apart")
    assert open_representations(path, "apart").sizes["model"] == 3
    assert open_representations(path, "mixed").sizes["model"] == 2
