"""Stores: made, written, opened; what fails leaves them as they were."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.sets import STIMULI, digest, make
from xconverge.io import store
from xconverge.io.formats.xarray import from_xarray
from xconverge.io.results import write_study
from xconverge.io.store import (
    append_models,
    create_store,
    modalities,
    open_representations,
    open_store,
    write_representations,
)
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError
from xconverge.labels.stack import stack_models

pytestmark = pytest.mark.usefixtures("no_warning_and_no_litter")


# creating


def test_create_records_schema_and_version(path: Path) -> None:
    from xconverge import __version__

    assert create_store(str(path)) == path
    metadata = json.loads((path / "zarr.json").read_text())
    assert metadata["zarr_format"] == 3
    attrs = metadata["attributes"]
    assert (attrs["xconverge_version"], attrs["xconverge_schema"]) == (__version__, 2)
    assert modalities(path) == []


def test_create_makes_parents_and_takes_an_empty_folder(tmp_path: Path) -> None:
    assert modalities(create_store(tmp_path / "a" / "b.zarr")) == []
    (tmp_path / "empty").mkdir()
    assert modalities(create_store(tmp_path / "empty")) == []


def test_create_refuses_a_store_unless_told(filled: Path) -> None:
    before = digest(filled)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        create_store(filled)
    assert digest(filled) == before
    create_store(filled, overwrite=True)
    assert modalities(filled) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_store_is_never_deleted(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("all of it")
    for call in (
        lambda p: create_store(p, overwrite=overwrite),
        lambda p: write_study(p, xr.DataTree(), overwrite=overwrite),
        lambda p: write_representations(p, make(), modality="vision", overwrite=overwrite),
    ):
        for name in ("thesis", "thesis/thesis.tex"):
            with pytest.raises(FileExistsError, match="not a Zarr"):
                call(tmp_path / name)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "all of it"


# writing and opening


def test_round_trip(path: Path) -> None:
    reps = make()
    reps.attrs |= {"space": "shared", "n": np.int64(3), "list": np.array([1.5, 2.0]), "none": None}
    reps.caption.attrs["language"] = "en"
    given = reps.copy(deep=True)
    write_representations(path, reps, modality="vision")
    xr.testing.assert_identical(reps, given)
    opened = open_representations(path, "vision")
    xr.testing.assert_equal(opened, reps)
    assert opened.name == "representation"
    assert opened.dims == reps.dims
    assert opened.dtype == np.float32
    assert opened.attrs == {
        "space": "shared",
        "n": 3,
        "list": [1.5, 2.0],
        "none": None,
        "modality": "vision",
    }
    assert opened.caption.attrs == {"language": "en"}
    assert opened.caption.values.tolist() == ["é ü 猫", "", "x" * 2000, "d", "e"]
    assert opened.sel(model="b", stimulus="s2").values.tolist() == [98010, 98011, 98012, 98013]


def test_opened_is_lazy_in_the_chunks_of_the_store_with_coordinates_in_memory(
    filled: Path,
) -> None:
    opened = open_representations(filled, "vision")
    assert opened.chunks is not None
    on_disk = zarr.open_array(filled, path="vision/representation", mode="r")
    assert tuple(sizes[0] for sizes in opened.chunks) == on_disk.chunks == (1, 5, 4)
    for coord in opened.coords.values():
        assert coord.chunks is None
        assert coord.encoding == {}
        assert coord.dtype.kind in "Oif"
    assert opened.encoding == {}

    def scheduler(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=scheduler):
        open_representations(filled, "vision")
        open_store(filled)


def test_plain_xarray_opens_it(filled: Path) -> None:
    plain = xr.open_zarr(filled, group="vision", consolidated=False)["representation"]
    xr.testing.assert_equal(plain, make())
    assert set(plain.coords) == set(make().coords)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "text",
    [
        np.array(["a", "é", "", "d", "e"]),
        np.array(["a", "é", "", "d", "e"], object),
        pd.array(["a", "é", "", "d", "e"], dtype="string"),
        np.array(["a", "é", "", "d", "e"], np.dtypes.StringDType()),
        pd.Categorical(["a", "é", "", "d", "e"]),
    ],
    ids=["U", "object", "pandas", "StringDType", "categorical"],
)
def test_text_of_every_kind_is_a_zarr_string(path: Path, text: Any) -> None:
    write_representations(path, make().assign_coords(word=("stimulus", text)), modality="v")
    group = zarr.open_group(path, mode="r", use_consolidated=False)
    for name in ("word", "model", "stimulus", "caption", "family"):
        kind = json.loads((path / "v" / name / "zarr.json").read_text())["data_type"]
        assert kind == "string"
        assert group[f"v/{name}"].dtype in (np.dtypes.StringDType(), object)
    assert open_representations(path, "v").word.values.tolist() == ["a", "é", "", "d", "e"]


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_missing_text_is_refused_by_name(path: Path, gap: Any) -> None:
    words = np.array(["a", gap, "c", gap, "e"], object)
    with pytest.raises(SchemaError, match=r"'word' is text.*'s2', 's4'.*fillna"):
        write_representations(path, make().assign_coords(word=("stimulus", words)), modality="v")
    assert not path.exists()


def test_other_kinds_of_coordinates(path: Path) -> None:
    stimulus = ("stimulus",)
    coords = {
        "day": (stimulus, np.array(["2020-01-01", "NaT", *["2022-05-06"] * 3], "M8[ns]")),
        "lag": (stimulus, np.arange(5).astype("m8[ms]")),
        "onset": (stimulus, np.arange(5), {"units": "milliseconds"}),
        "flag": (stimulus, [True, False, True, False, True]),
        "flag_as_object": (stimulus, np.array([True, False, True, False, True], object)),
        "count": (stimulus, np.arange(5, dtype=np.int16)),
        "level": (stimulus, pd.Categorical([1, 2, 1, 2, 1])),
        "seen": (("model", "stimulus"), np.arange(10).reshape(2, 5) % 3 == 0),
        "word": (("stimulus", "model"), np.array([["a", "b"]] * 5, object)),
        "unit": ("feature", np.arange(4)),
        "dataset": ((), "THINGS"),
        "version": ((), 3),
    }
    reps = make().assign_coords(coords)
    write_representations(path, reps, modality="v")
    opened = open_representations(path, "v")
    assert set(opened.coords) == set(reps.coords)
    for name in coords:
        assert opened[name].dims == reps[name].dims
        assert opened[name].values.tolist() == np.asarray(reps[name].values).tolist(), name
    for name in ("day", "lag", "onset", "flag", "count", "seen", "unit"):
        assert opened[name].dtype == reps[name].dtype, name
    assert opened.onset.attrs == {"units": "milliseconds"}


@pytest.mark.parametrize(
    ("coord", "said"),
    [
        (("stimulus", pd.interval_range(0, 5)), "'bad' holds 'Interval'.*astype"),
        (("stimulus", np.array([1, "a", 2, 3, 4], object)), "'bad' holds 'int', 'str'"),
        (("stimulus", np.array([b"a"] * 5)), "'bad' has the dtype"),
        (("stimulus", np.arange(5, dtype=np.longdouble)), "'bad' has the dtype"),
        (("stimulus", np.arange(5), {"scale_factor": 2.0}), "bad.attrs has 'scale_factor'"),
        (("stimulus", np.zeros(5, "M8[ns]"), {"units": "days"}), "bad.attrs has 'units'"),
        (((), np.array(None, object)), "'bad' is text and is missing for its one value"),
        (("stimulus", np.arange(5), {"f": {1, 2}}), r"bad.attrs\['f'\] holds .*set"),
    ],
)
def test_what_zarr_cannot_hold_is_refused_by_name(path: Path, coord: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        write_representations(path, make().assign_coords(bad=coord), modality="v")
    assert not path.exists()


@pytest.mark.parametrize(
    "value",
    [{1}, Path("x"), b"x", np.datetime64("2020-01-01", "ns"), [1, {"a": object()}], {1: 2}, 1j],
)
def test_attrs_that_json_cannot_hold_are_refused_by_key(path: Path, value: Any) -> None:
    with pytest.raises(SchemaError, match=r"attrs\['odd'\]"):
        write_representations(path, make().assign_attrs(odd=value), modality="v")


def test_attrs_become_json(path: Path) -> None:
    attrs = {
        "t": (1, (np.float32(0.5), "x")),
        "d": {"a": np.array([[1, 2], [3, 4]]), "b": np.bool_(True)},
        "s": np.str_("x"),
        "zero": np.array(1),
    }
    write_representations(path, make().assign_attrs(attrs), modality="v")
    assert open_representations(path, "v").attrs == {
        "t": [1, [0.5, "x"]],
        "d": {"a": [[1, 2], [3, 4]], "b": True},
        "s": "x",
        "zero": 1,
        "modality": "v",
    }


def test_multiindex_is_refused_with_the_cure(path: Path) -> None:
    reps = make().assign_coords(a=("stimulus", list("vwxyz")), b=("stimulus", range(5)))
    with pytest.raises(SchemaError, match="reset_index"):
        write_representations(path, reps.set_index(stimulus=["a", "b"]), modality="v")
    layered = make().expand_dims(layer=2).assign_coords(u=("layer", [1, 2]), v=("layer", [3, 4]))
    with pytest.raises(SchemaError, match=r"reset_index\('layer'\)"):
        write_representations(path, layered.set_index(layer=["u", "v"]), modality="v")


@pytest.mark.slow
def test_other_dims_come_in_by_the_door(path: Path) -> None:
    reps = make()
    dims = {"model": "net", "stimulus": "image", "feature": "unit"}
    named = reps.rename(dims)
    write_representations(path, from_xarray(named, **dims), modality="v")
    xr.testing.assert_equal(open_representations(path, "v"), reps)
    append_models(path, from_xarray(make("c", (4,)).rename(dims), **dims), modality="v")
    assert open_representations(path, "v").indexes["model"].tolist() == ["a", "b", "c"]
    with pytest.raises(SchemaError, match="named 'representation'"):
        write_representations(path, reps.assign_coords(representation=1), modality="w")
    with pytest.raises(SchemaError, match="needs the dims"):
        write_representations(path, named, modality="w")


def test_coordinates_of_a_shared_space_are_features_of_one(path: Path) -> None:
    space = make("ab", (4, 4)).rename(feature="component").drop_vars("n_features")
    write_representations(path, space, modality="v")
    opened = open_representations(path, "v")
    assert opened.dims == ("model", "stimulus", "feature")
    assert opened.attrs["space"] == "shared"
    np.testing.assert_array_equal(opened.values, space.values)


@pytest.mark.slow
def test_extra_dims_in_any_order(path: Path) -> None:
    reps = make().expand_dims(layer=["l1", "l2"], time_bin=[10, 20, 30])
    reps = (reps * xr.DataArray([1.0, 2.0], dims="layer")).astype(np.float32)
    reps = reps.transpose("model", "layer", "stimulus", "feature", "time_bin")
    write_representations(path, reps, modality="v")
    opened = open_representations(path, "v")
    xr.testing.assert_equal(opened, reps)
    assert opened.dims == reps.dims
    assert zarr.open_array(path, path="v/representation", mode="r").chunks == (1, 1, 5, 4, 1)
    new = make("c", (3,)).expand_dims(time_bin=[30, 10, 20], layer=["l2", "l1"])
    append_models(path, new * xr.DataArray([1, 2, 3], dims="time_bin").astype("f4"), modality="v")
    opened = open_representations(path, "v")
    xr.testing.assert_equal(opened.sel(model=["a", "b"]), reps)
    assert opened.sel(model="c", stimulus="s1", layer="l1", time_bin=20)[:3].values.tolist() == [
        3 * 99000 + 3 * i for i in range(3)
    ]
    with pytest.raises(SchemaError, match="dims"):
        append_models(path, make("d", (3,)), modality="v")
    with pytest.raises(SchemaError, match=r"'layer'.*'l1'"):
        append_models(path, new.assign_coords(model=["e"]).sel(layer=["l2"]), modality="v")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("f2", "f2"),
        ("f4", "f4"),
        ("f8", "f8"),
        (">f4", "f4"),
        ("i2", "f4"),
        ("i8", "f8"),
        ("?", "f2"),
    ],
)
def test_dtypes(path: Path, given: str, stored: str) -> None:
    reps = stack_models({"a": np.eye(5, 3), "b": np.ones((5, 3))}, stimuli=STIMULI).astype(given)
    write_representations(path, reps, modality="v")
    opened = open_representations(path, "v")
    assert opened.dtype == np.dtype(stored)
    xr.testing.assert_equal(opened, reps)


def test_missing_rows_and_padding_round_trip(path: Path) -> None:
    reps = make()
    reps[0, 2] = np.nan
    write_representations(path, reps, modality="v")
    xr.testing.assert_equal(open_representations(path, "v"), reps)


def test_zarr_policy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUDGETS, "store_chunk", 2 * 4 * 4)
    write_representations(path, make(), modality="v")
    metadata = json.loads((path / "v/representation/zarr.json").read_text())
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, 2, 4]
    assert [codec["name"] for codec in metadata["codecs"]] == ["bytes", "crc32c"]
    assert metadata["fill_value"] == "NaN"
    told = json.loads((path / "v/zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert told["representation"] == metadata
    monkeypatch.setattr(BUDGETS, "store_chunk", 1)
    write_representations(path, make(), modality="w")
    assert zarr.open_array(path, path="w/representation", mode="r").chunks == (1, 1, 4)


def test_a_chunk_is_at_most_12_MiB_and_chunks_are_even() -> None:
    values = da.zeros((2, 5000, 1024), dtype=np.float32)
    array = xr.DataArray(values, dims=("model", "stimulus", "feature"))
    assert store._chunks(array) == (1, 2500, 1024)
    array = array.isel(stimulus=slice(3072))
    assert store._chunks(array) == (1, 3072, 1024)


def test_a_broken_chunk_is_noticed(filled: Path) -> None:
    chunk = filled / "vision/representation/c/0/0/0"
    raw = bytearray(chunk.read_bytes())
    raw[0] ^= 1
    chunk.write_bytes(raw)
    with pytest.raises(Exception, match=r"(?i)checksum"):
        open_representations(filled, "vision").compute()


def test_lazy_input_is_computed_once_block_by_block(path: Path) -> None:
    calls: list[tuple[int, ...]] = []

    def block(values: np.ndarray) -> np.ndarray:
        calls.append(values.shape)
        return values

    reps = make("abcd", (4, 4, 4, 4))
    lazy = da.from_array(reps.values, chunks=(2, 2, 4)).map_blocks(
        block, meta=np.empty((0, 0, 0), "f4")
    )
    write_representations(path, reps.copy(data=lazy), modality="v")
    assert sorted(calls) == [(2, 1, 4)] * 2 + [(2, 2, 4)] * 4
    xr.testing.assert_equal(open_representations(path, "v"), reps)


@pytest.mark.slow
@settings(max_examples=8)
@given(data=st.data())
def test_any_chunking_round_trips(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    reps = make("abc", (3, 4, 2))

    def split(size: int) -> tuple[int, ...]:
        cuts = sorted(data.draw(st.sets(st.integers(1, size - 1))))
        return tuple(np.diff([0, *cuts, size]).tolist())

    chunks = tuple(split(size) for size in reps.shape)
    lazy = reps.copy(data=da.from_array(reps.values, chunks=chunks))
    path = tmp_path_factory.mktemp("chunks") / "study.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "store_chunk", 16 * data.draw(st.integers(1, 6)))
        write_representations(path, lazy.isel(model=slice(2)), modality="v")
        append_models(path, lazy.isel(model=[2], stimulus=[3, 1, 4, 0, 2]), modality="v")
        write_study(path.with_name("tree.zarr"), xr.DataTree(lazy.to_dataset(name="x")))
    opened = open_representations(path, "v")
    xr.testing.assert_equal(opened, reps)
    xr.testing.assert_equal(open_store(path.with_name("tree.zarr"))["x"], reps)


@pytest.mark.slow
def test_slices_of_an_opened_store_are_saved_again(filled: Path, tmp_path: Path) -> None:
    opened = open_representations(filled, "vision")
    part = opened.isel(stimulus=[4, 1, 2])
    write_representations(tmp_path / "part.zarr", part)
    xr.testing.assert_equal(open_representations(tmp_path / "part.zarr", "vision"), part)
    part.to_dataset().to_zarr(tmp_path / "plain.zarr", consolidated=False, zarr_format=3)
    plain = xr.open_zarr(filled, group="vision", consolidated=False)["representation"]
    write_representations(filled, plain.isel(stimulus=slice(1, 3)), modality="slice")
    xr.testing.assert_equal(
        open_representations(filled, "slice"), make().isel(stimulus=slice(1, 3))
    )
    both = xr.concat([opened.isel(model=[0]), make("z", (4,))], "model", join="exact")
    write_representations(filled, both, modality="both")
    assert open_representations(filled, "both").family.values.tolist() == ["net a", "net z"]


@pytest.mark.slow
def test_modality_comes_from_attrs_or_argument(path: Path) -> None:
    reps = make(modality="language")
    write_representations(path, reps)
    write_representations(path, reps, modality="other")
    assert modalities(path) == ["language", "other"]
    assert open_representations(path, "other").attrs["modality"] == "other"
    assert reps.attrs == {"modality": "language"}
    for bad in (None, "", "a/b", "..", ".x", "__x", 3):
        with pytest.raises(SchemaError, match="modality="):
            write_representations(path, make(), modality=bad)


def test_existing_modality_needs_overwrite(filled: Path) -> None:
    before = digest(filled)
    with pytest.raises(FileExistsError, match=r"vision exists.*overwrite=True.*append_models"):
        write_representations(filled, make("c", (3,)), modality="vision")
    assert digest(filled) == before
    write_representations(filled, make("c", (3,)), modality="vision", overwrite=True)
    assert open_representations(filled, "vision").indexes["model"].tolist() == ["c"]


def faulty(kind: str) -> xr.DataArray:
    reps = make("c", (4,))
    if kind == "NaN":
        reps[0, 1, 2] = np.nan
    elif kind == "infinity":
        reps[0, 1, 2] = np.inf
    elif kind == "padding":
        reps = reps.assign_coords(n_features=("model", [3]))
    elif kind == "width":
        reps = reps.assign_coords(n_features=("model", [9]))
    elif kind == "duplicate":
        reps = reps.isel(stimulus=[0, 0, 1, 2, 3])
    return reps


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["NaN", "infinity", "padding", "width", "duplicate"])
@pytest.mark.parametrize("lazy", [False, True])
def test_bad_input_loses_nothing(filled: Path, kind: str, lazy: bool) -> None:
    reps = faulty(kind).chunk(stimulus=2) if lazy else faulty(kind)
    before = digest(filled)
    with pytest.raises(SchemaError):
        write_representations(filled, reps, modality="vision", overwrite=True)
    with pytest.raises(SchemaError):
        append_models(filled, reps, modality="vision")
    with pytest.raises(SchemaError):
        write_representations(filled.with_name("new.zarr"), reps, modality="vision")
    assert digest(filled) == before
    assert not filled.with_name("new.zarr").exists()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_loses_nothing(filled: Path, error: type[BaseException]) -> None:
    def fail(values: np.ndarray) -> np.ndarray:
        raise error("out of luck")

    reps = make("c", (4,)).chunk(stimulus=2)
    reps = reps.copy(data=reps.data.map_blocks(fail, meta=np.empty((0, 0, 0), "f4")))
    before = digest(filled)
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(error):
            append_models(filled, reps, modality="vision")
        with pytest.raises(error):
            write_representations(filled, reps, modality="vision", overwrite=True)
    assert digest(filled) == before


@pytest.mark.slow
def test_a_modality_can_be_overwritten_with_what_is_read_from_it(filled: Path) -> None:
    opened = open_representations(filled, "vision")
    write_representations(
        filled, opened.isel(stimulus=[3, 0]) * 2, modality="vision", overwrite=True
    )
    xr.testing.assert_equal(
        open_representations(filled, "vision"), make().isel(stimulus=[3, 0]) * 2
    )


@pytest.mark.slow
def test_an_append_inside_an_append_is_refused_at_once(filled: Path) -> None:
    def append_another(values: np.ndarray) -> np.ndarray:
        append_models(filled, make("c", (4,)), modality="vision")
        return values

    slow = make("d", (4,)).chunk()
    slow = slow.copy(data=slow.data.map_blocks(append_another, meta=np.empty((0, 0, 0), "f4")))
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(FileExistsError, match="another call of this one"),
    ):
        append_models(filled, slow, modality="vision")
    assert open_representations(filled, "vision").sizes["model"] == 2


@pytest.mark.slow
def test_two_appends_at_once_wait_for_each_other(filled: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        adding = [
            pool.submit(append_models, filled, make(name, (4,)), modality="vision")
            for name in "cdef"
        ]
        for one in adding:
            one.result(timeout=60)
    reps = open_representations(filled, "vision")
    assert sorted(reps.indexes["model"]) == list("abcdef")
    for name in "cdef":
        xr.testing.assert_equal(reps.sel(model=[name]), make(name, (4,)))


def test_missing_things_say_what_is_there(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"no modality 'brain'; it has 'vision'"):
        open_representations(filled, "brain")
    with pytest.raises(SchemaError, match=r"no modality 'brain'; it has 'vision'"):
        append_models(filled, make("c", (3,)), modality="brain")
    (tmp_path / "folder").mkdir()
    for call in (
        open_store,
        modalities,
        lambda p: open_representations(p, "vision"),
        lambda p: append_models(p, make(), modality="vision"),
    ):
        with pytest.raises(FileNotFoundError, match="no store"):
            call(tmp_path / "nowhere" / "study.zarr")
        with pytest.raises(FileNotFoundError, match="not a Zarr"):
            call(tmp_path / "folder")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_open_store_shows_all_modalities(filled: Path) -> None:
    write_representations(filled, make("x", (2,)), modality="language")
    tree = open_store(filled)
    assert set(tree.children) == {"vision", "language"}
    assert tree.attrs["xconverge_schema"] == 2
    xr.testing.assert_equal(tree["vision/representation"], make())
    assert tree["vision/representation"].chunks is not None
    assert tree["vision/caption"].chunks is None


@pytest.mark.slow
def test_files_of_others_in_a_store_do_no_harm(filled: Path) -> None:
    (filled / ".DS_Store").write_text("x")
    (filled / "vision" / ".DS_Store").write_text("x")
    (filled / "notes").mkdir()
    assert modalities(filled) == ["vision"]
    append_models(filled, make("c", (6,)), modality="vision")
    xr.testing.assert_equal(open_representations(filled, "vision"), make("abc", (3, 4, 6)))
    assert set(open_store(filled).children) == {"vision"}


# --- handles that outlive what they opened -------------------------------------------------------


def _turned(path: Path) -> tuple[Any, Any]:
    """A handle on a store that was then overwritten with its stimuli in another order."""
    reps = make()
    write_representations(path, reps, modality="vision")
    old = open_representations(path, "vision")
    write_representations(path, reps[:, ::-1], modality="vision", overwrite=True)
    return reps, old


@pytest.mark.slow
def test_a_handle_says_that_its_store_was_overwritten(path: Path) -> None:
    reps, old = _turned(path)
    lazy = old.sum("feature")
    for read in (lambda: old.values, lambda: lazy.compute(), lambda: old[0, 0].values):
        with pytest.raises(FileNotFoundError, match="was overwritten since it was opened"):
            read()
    again = open_representations(path, "vision")
    xr.testing.assert_equal(again.sel(stimulus=reps["stimulus"].values).drop_attrs(), reps)


def test_a_smaller_store_in_its_place_is_no_damage(path: Path) -> None:
    reps = make()
    write_representations(path, reps, modality="vision")
    old = open_representations(path, "vision")
    write_representations(path, reps[:1, :2], modality="vision", overwrite=True)
    with pytest.raises(FileNotFoundError, match="was overwritten"):
        old.compute()


def test_a_handle_says_that_its_store_is_gone(path: Path, tmp_path: Path) -> None:
    """And not that no model ever saw these stimuli, which NaN would mean."""
    write_representations(path, make(), modality="vision")
    old = open_representations(path, "vision")
    path.rename(tmp_path / "elsewhere.zarr")
    with pytest.raises(FileNotFoundError, match=r"moved, renamed or deleted.*Open it again"):
        old.compute()


@pytest.mark.slow
def test_a_handle_survives_an_append(path: Path) -> None:
    reps = make()
    write_representations(path, reps[:1], modality="vision")
    old = open_representations(path, "vision")
    append_models(path, reps[1:], modality="vision")
    xr.testing.assert_equal(old.compute(), reps[:1])
