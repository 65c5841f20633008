"""A store and a study that version 0.1 wrote are read, value by value, and go on.

``data/store_0.1.zarr`` and ``data/study_0.1.zarr`` were written once, by xconverge 0.1.0 (the last
commit with its layout, 6753e83) on xarray 2026.9.0 and zarr 3.1.6, and are never written again.
Every value follows from the functions below. In short, with ``IDS``, ``WIDTHS``, ``MISSING`` and
``values`` of this file, and ``coords`` those of `vision`::

    models = {name: float32 of values(m, 12, width), rows in MISSING[name] NaN}
    vision = stack_models(models, stimuli=IDS, modality="vision").assign_coords(coords)
    vision.attrs["source"] = "made up"
    write_representations(path, vision)
    language = stack_models({"bert0": values(10, 12, 5), "bert1": values(11, 12, 4)},
                            stimuli=IDS[::-1], modality="language")  # float64
    write_representations(path, language.isel(model=[0]))
    append_models(path, language.isel(model=[1], feature=slice(4)))
    lazy = open_representations(path, "vision")
    write_rdms(path, rdm(lazy, "sqeuclidean"))
    write_neighbors(path, neighbor_graph(lazy, k=3))
    with ModelWriter(path, "vision", "resnet", IDS, 3, coords={"family": "conv", "depth": 50}) as w:
        w.write(IDS[4:8], float32 of values(20, 12, 3)[4:8])
        w.write([IDS[1]], float32 of values(20, 12, 3)[[1]])  # and no more: it stays incomplete
    write_study("study_0.1.zarr", DataTree.from_dict({"vision": …, "deeper/binned": …}))
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.io.sets import digest

DATA = Path(__file__).parent / "data"
STORE, STUDY = DATA / "store_0.1.zarr", DATA / "study_0.1.zarr"
IDS = [f"img {i}" for i in range(12)]
WIDTHS = {"vit": 6, "cnn": 4, "größe": 5}
MISSING = {"vit": [], "cnn": [2, 7], "größe": [0]}


def values(model, stimuli, width):
    i, j = np.arange(stimuli)[:, None], np.arange(width)
    return np.sin(1 + model + 3 * i + 7 * j)


def vision_rows():
    """(model, stimulus, feature), padded with NaN, in the precision that was stored."""
    rows = np.full((3, 12, 6), np.nan, np.float32)
    for m, (name, width) in enumerate(WIDTHS.items()):
        rows[m, :, :width] = values(m, 12, width)
        rows[m, MISSING[name]] = np.nan
    return rows


@pytest.fixture
def store(tmp_path):
    """A copy, for what writes."""
    return Path(shutil.copytree(STORE, tmp_path / "store.zarr"))


def check_stimulus_coordinates(array):
    assert array["stimulus"].values.tolist() == IDS
    captions = [f"a cät of {i}" if i else "" for i in range(12)]
    assert array["caption"].values.tolist() == captions
    assert array["category"].values.tolist() == [f"cat{i % 3}" for i in range(12)]
    assert array["trial"].dtype == np.int32
    assert array["trial"].values.tolist() == list(range(0, 120, 10))
    assert array["luminance"].dtype == np.float64
    assert array["luminance"].values.tolist() == [i / 8 for i in range(12)]
    assert array["seen"].dtype == bool
    assert array["seen"].values.tolist() == [i % 2 == 0 for i in range(12)]
    first = pd.Timestamp("2026-01-02T03:04:05")
    assert array["shown"].dtype.kind == "M"
    assert [pd.Timestamp(t) for t in array["shown"].values] == [
        first + pd.Timedelta(hours=i) for i in range(12)
    ]


def test_representations_with_their_coordinates():
    vision = xc.open_representations(STORE, "vision")
    assert vision.name == "representation"
    assert vision.dims == ("model", "stimulus", "feature")
    assert vision.chunks is not None
    assert vision.dtype == np.float32
    np.testing.assert_array_equal(vision.values, vision_rows())
    assert vision["model"].values.tolist() == list(WIDTHS)
    assert vision["n_features"].values.tolist() == list(WIDTHS.values())
    assert vision["family"].values.tolist() == ["transformer", "conv", "conv"]
    assert vision["depth"].dtype == np.int64
    assert vision["depth"].values.tolist() == [12, 5, 9]
    check_stimulus_coordinates(vision)
    assert vision.attrs["modality"] == "vision"
    assert vision.attrs["source"] == "made up"
    xc.validate(vision)


def test_a_modality_that_was_appended_to():
    language = xc.open_representations(STORE, "language")
    assert language.dtype == np.float64
    assert language["model"].values.tolist() == ["bert0", "bert1"]
    assert language["n_features"].values.tolist() == [5, 4]
    assert language["stimulus"].values.tolist() == IDS[::-1]
    np.testing.assert_array_equal(language.values[0], values(10, 12, 5))
    np.testing.assert_array_equal(language.values[1, :, :4], values(11, 12, 4))
    assert np.isnan(language.values[1, :, 4]).all()


def test_plain_xarray_reads_the_same():
    plain = xr.open_zarr(STORE, group="vision", consolidated=False)["representation"]
    np.testing.assert_array_equal(plain.values, vision_rows())
    check_stimulus_coordinates(plain)


def test_rdms():
    rdms = xc.io.open_rdms(STORE, "vision")
    assert rdms.name == "rdm"
    assert rdms.dims == ("model", "stimulus", "stimulus_2")
    rows = vision_rows().astype(float)
    for m, name in enumerate(WIDTHS):
        x = rows[m, :, : WIDTHS[name]]
        expected = ((x[:, None] - x) ** 2).sum(-1)
        np.testing.assert_allclose(rdms.values[m], expected, rtol=1e-5, atol=1e-6)
    check_stimulus_coordinates(rdms)
    for name in ("stimulus", "caption", "trial", "luminance", "seen", "shown"):
        np.testing.assert_array_equal(rdms[f"{name}_2"].values, rdms[name].values)
    assert rdms["family"].values.tolist() == ["transformer", "conv", "conv"]
    assert rdms.attrs["metric"] == "sqeuclidean"
    assert rdms.attrs["kind"] == "distance"
    assert rdms.attrs["xconverge_version"] == "0.1.0"


def test_neighbour_graph():
    graph = xc.io.open_neighbors(STORE, "vision")
    assert graph.name == "neighbor_graph"
    assert graph.dims == ("model", "stimulus", "neighbor")
    rows = vision_rows().astype(float)
    for m, (name, width) in enumerate(WIDTHS.items()):
        x = rows[m, :, :width]
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        similarity = unit @ unit.T
        np.fill_diagonal(similarity, -np.inf)
        similarity[:, MISSING[name]] = -np.inf
        expected = np.argsort(-similarity, axis=1)[:, :3].astype(float)
        expected[MISSING[name]] = np.nan
        np.testing.assert_array_equal(graph.values[m], expected)
    check_stimulus_coordinates(graph)
    assert graph.attrs["modality"] == "vision"


@pytest.mark.slow
def test_a_graph_of_then_scores_as_the_representations_do():
    graph = xc.io.open_neighbors(STORE, "vision").sel(model=["vit"])
    vision = xc.open_representations(STORE, "vision")
    language = xc.open_representations(STORE, "language")
    # vit and both language models saw every stimulus, so that no list runs short
    found = xc.alignment(graph, language, k=3)
    vision = xc.open_representations(STORE, "vision").sel(model=["vit"])
    np.testing.assert_array_equal(found.values, xc.alignment(vision, language, k=3).values)


def test_the_tree_of_everything():
    tree = xc.open_store(STORE)
    assert {"vision", "language", "rdms", "neighbor_graphs"} <= set(tree.children)
    assert tree.attrs["xconverge_version"] == "0.1.0"
    np.testing.assert_array_equal(tree["vision/representation"].values, vision_rows())
    np.testing.assert_array_equal(
        tree["rdms/vision/rdm"].values, xc.io.open_rdms(STORE, "vision").values
    )


@pytest.mark.slow
def test_every_checksum_holds():
    # raises where one does not, as `test_damage_is_still_found` shows
    xc.validate_store(STORE, deep=True)


def test_a_study():
    tree = xc.open_store(STUDY)
    spread = tree["vision/dispersion"]
    assert spread.values.tolist() == [i / 4 for i in range(12)]
    assert spread["stimulus"].values.tolist() == IDS
    assert spread["caption"].values.tolist()[:2] == ["", "a cät of 1"]
    assert spread.attrs["metric"] == "rdm"
    assert spread.attrs["kind"] == "distance"
    assert spread.attrs["parameters"] == {"k": None, "list": [1, "two"]}
    table = tree["deeper/binned"].to_dataset()
    np.testing.assert_array_equal(table["rsa"].values, [0.5, np.nan, -0.25])
    assert table["n_stimuli"].dtype == np.int64
    assert table["n_stimuli"].values.tolist() == [4, 4, 4]
    assert table["bin"].values.tolist() == [0, 1, 2]
    assert table.attrs["seed"] == 0


def test_a_model_that_was_begun_is_left_out_or_named():
    assert "resnet" not in xc.open_representations(STORE, "vision")["model"].values
    for incomplete in ("error", "include"):
        with pytest.raises(
            xc.SchemaError, match=r"'resnet'.*begun by xconverge 0\.1.*restart=True"
        ):
            xc.open_representations(STORE, "vision", incomplete=incomplete)


@pytest.mark.slow
def test_a_model_that_was_begun_is_kept_until_its_rows_are_dropped(store):
    rows = values(20, 12, 3).astype(np.float32)
    given = {"coords": {"family": "conv", "depth": 50}}
    batches = store / "incomplete_models" / "vision" / "resnet-d7ab393d3a3e"
    before = digest(batches)
    assert len(before) == 4
    with pytest.raises(xc.SchemaError, match=r"'resnet'.*begun by xconverge 0\.1.*restart=True"):
        xc.ModelWriter(store, "vision", "resnet", IDS, 3, **given)
    # others are written beside it
    with xc.ModelWriter(store, "vision", "other", IDS, 3, **given) as writer:
        writer.write(IDS, rows)
    assert digest(batches) == before
    with xc.ModelWriter(store, "vision", "resnet", IDS, 3, restart=True, **given) as writer:
        assert writer.pending == IDS
        writer.write(IDS[:5], rows[:5])
        begun = xc.open_representations(store, "vision", incomplete="include")
        np.testing.assert_array_equal(begun.sel(model="resnet").values[:5, :3], rows[:5])
        writer.write(IDS[5:], rows[5:])
    vision = xc.open_representations(store, "vision", incomplete="error")
    assert vision["model"].values.tolist() == [*WIDTHS, "other", "resnet"]
    np.testing.assert_array_equal(vision.sel(model="resnet").values[:, :3], rows)
    np.testing.assert_array_equal(vision.values[:3], vision_rows())
    xc.validate_store(store, deep=True)


def test_attrs_of_that_layout_do_not_show():
    for tree in (xc.open_store(STORE), xc.open_store(STUDY)):
        for node in tree.subtree:
            assert not {"xconverge_layout", "xconverge_writing"} & set(node.attrs)


@pytest.mark.slow
def test_damage_is_still_found(store):
    chunk = store / "vision" / "representation" / "c" / "1" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[20] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(xc.DamagedStoreError, match="model 'cnn', stimulus 'img 0'"):
        xc.validate_store(store, deep=True)


@pytest.mark.slow
def test_models_are_appended_today(store):
    rows = values(30, 12, 7).astype(np.float32)
    more = xc.stack_models({"new": rows[::-1]}, stimuli=IDS[::-1], modality="vision")
    old = xc.open_representations(store, "vision")
    coords = {n: c for n, c in old.coords.items() if c.dims == ("stimulus",) and n != "stimulus"}
    # a DataArray's coordinates are joined by label, so that the order of rows stays reversed
    more = more.assign_coords({n: c.sel(stimulus=IDS[::-1]) for n, c in coords.items()})
    more = more.assign_coords(family=("model", ["mlp"]), depth=("model", [3]))
    xc.append_models(store, more)
    vision = xc.open_representations(store, "vision")
    assert vision["n_features"].values.tolist() == [6, 4, 5, 7]
    np.testing.assert_array_equal(vision.values[:3, :, :6], vision_rows())
    np.testing.assert_array_equal(vision.sel(model="new").values, rows)
    xc.validate_store(store, deep=True)
