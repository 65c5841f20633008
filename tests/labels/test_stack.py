"""Models of different widths become one labelled array."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from tests.labels.rows import some
from xconverge import (
    ModelWriter,
    SchemaError,
    dispersion,
    from_xarray,
    open_representations,
    stack_models,
    validate,
)


def test_plain_arrays_with_stimuli():
    x, y = np.ones((2, 3)), np.full((2, 5), 2.0)
    reps = stack_models({"a": x, "b": y}, stimuli=["cat", "dog"], modality="vision")
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.name == "representation"
    assert reps.attrs["modality"] == "vision"
    assert reps.model.values.tolist() == ["a", "b"]
    assert reps.stimulus.values.tolist() == ["cat", "dog"]
    assert reps.n_features.values.tolist() == [3, 5]
    assert reps.n_features.dims == ("model",)
    np.testing.assert_array_equal(reps[0, :, :3], x)
    np.testing.assert_array_equal(reps[1], y)
    assert np.isnan(reps[0, :, 3:]).all()
    assert validate(reps) is reps


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_is_kept(dtype):
    models = {"a": np.ones((2, 3), dtype), "b": np.ones((2, 4), dtype)}
    assert stack_models(models, stimuli=["x", "y"]).dtype == dtype


def test_the_widest_dtype_wins():
    models = {"a": np.ones((2, 3), "float16"), "b": np.ones((2, 3), "float32")}
    assert stack_models(models, stimuli=["x", "y"]).dtype == np.float32


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool"])
def test_integers_become_float64(dtype):
    models = {"a": np.ones((2, 3), dtype), "b": np.ones((2, 4), dtype)}
    assert stack_models(models, stimuli=["x", "y"]).dtype == np.float64


def test_rows_follow_the_first_model():
    a = some(6, 3)
    b = shuffled(some(6, 4, seed=1), 2)
    reps = stack_models({"a": a, "b": b})
    assert reps.stimulus.values.tolist() == a.stimulus.values.tolist()
    for label in a.stimulus.values:
        np.testing.assert_array_equal(reps.sel(model="b", stimulus=label), b.sel(stimulus=label))


def test_exact_join_names_what_is_missing():
    with pytest.raises(SchemaError, match="'a' has 6, 'b' has 4.*missing from 'b': 's4', 's5'"):
        stack_models({"a": some(6, 3), "b": some(4, 3)})


def test_inner_join_keeps_what_all_saw():
    models = {"a": some(6, 3), "b": some(3, 3, labels=["s5", "s1", "s7"]), "c": some(8, 2)}
    reps = stack_models(models, join="inner")
    assert reps.stimulus.values.tolist() == ["s1", "s5"]
    np.testing.assert_array_equal(reps.sel(model="b"), models["b"].values[[1, 0]])


def test_inner_join_of_nothing_is_an_error():
    with pytest.raises(SchemaError, match="share no label.*'a', 'b'"):
        stack_models({"a": some(2, 3), "b": some(2, 3, labels=["x", "y"])}, join="inner")


def test_outer_join_fills_with_missing_rows():
    models = {"a": some(3, 3), "b": some(3, 2, labels=["s2", "s9", "s0"], seed=1)}
    reps = stack_models(models, join="outer")
    assert reps.stimulus.values.tolist() == ["s0", "s1", "s2", "s9"]
    assert np.isnan(reps.sel(model="a", stimulus="s9")).all()
    assert np.isnan(reps.sel(model="b", stimulus="s1")).all()
    np.testing.assert_array_equal(
        reps.sel(model="b", stimulus="s9").values[:2], models["b"].values[1]
    )
    assert validate(reps) is reps


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_outer_join_keeps_the_dtype(dtype):
    models = {"a": some(3, 3).astype(dtype), "b": some(4, 3).astype(dtype)}
    assert stack_models(models, join="outer").dtype == dtype


def test_coordinates_of_stimuli_are_merged():
    a = some(3, 2, category=("stimulus", ["x", "y", "z"]))
    b = some(
        3, 2, labels=["s2", "s1", "s3"], category=("stimulus", ["z", "y", "w"]),
        size=("stimulus", [2.0, 1.0, 3.0]),
    )  # fmt: skip
    reps = stack_models({"a": a, "b": b}, join="outer")
    assert reps.category.values.tolist() == ["x", "y", "z", "w"]
    np.testing.assert_array_equal(reps["size"], [np.nan, 1, 2, 3])


def test_integer_coordinates_stay_integers():
    a = some(3, 2, pair=("stimulus", [4, 5, 6]))
    reps = stack_models({"a": a, "b": shuffled(a)})
    assert reps.pair.dtype.kind == "i"
    assert reps.pair.values.tolist() == [4, 5, 6]


def test_contradicting_coordinates_are_named():
    a = some(3, 2, category=("stimulus", ["x", "y", "z"]))
    b = some(3, 2, category=("stimulus", ["x", "other", "z"]))
    with pytest.raises(SchemaError, match="'category' of model 'b' contradicts.*'s1'"):
        stack_models({"a": a, "b": b})


def test_coordinates_missing_in_one_model_are_filled_from_the_other():
    a = some(2, 2, category=("stimulus", np.array(["x", None], dtype=object)))
    b = some(2, 2, category=("stimulus", np.array([None, "y"], dtype=object)))
    assert stack_models({"a": a, "b": b}).category.values.tolist() == ["x", "y"]


def test_scalar_coordinates_go_to_the_model():
    a = some(3, 2).assign_coords(family="cnn", depth=3)
    b = some(3, 2).assign_coords(family="vit", depth=12)
    reps = stack_models({"a": a, "b": b})
    assert reps.family.dims == ("model",)
    assert reps.family.values.tolist() == ["cnn", "vit"]
    assert reps.depth.values.tolist() == [3, 12]


def test_scalar_coordinates_must_be_there_for_all():
    with pytest.raises(SchemaError, match="'family'.*not for 'b'"):
        stack_models({"a": some(3, 2).assign_coords(family="cnn"), "b": some(3, 2)})


def test_names_are_those_of_the_dict_not_of_a_scalar_coordinate():
    reps = make_reps(2, 4)
    again = stack_models({"first": reps.sel(model="net0"), "second": reps.sel(model="net1")})
    assert again.model.values.tolist() == ["first", "second"]


def test_models_of_a_padded_set_can_be_stacked_again():
    reps = make_reps(3, 6, [4, 7, 5])
    again = stack_models({name: reps.sel(model=name) for name in reps.model.values[[2, 0]]})
    assert again.n_features.values.tolist() == [5, 4]
    validate(again)
    expected = dispersion(reps.sel(model=["net2", "net0"]), "neighborhood", k=2)
    np.testing.assert_array_equal(dispersion(again, "neighborhood", k=2), expected)


def test_labelled_features_can_be_stacked():
    a = some(3, 2).assign_coords(feature=["unit7", "unit8"])
    b = some(3, 3).assign_coords(feature=["v1", "v2", "v3"])
    reps = stack_models({"a": a, "b": b})
    assert reps.n_features.values.tolist() == [2, 3]
    np.testing.assert_array_equal(reps[1], b)
    assert validate(reps) is reps


def test_extra_dims_are_kept():
    reps = make_reps(2, 4, 3, extra={"layer": 2}).drop_vars("family")
    models = {name: reps.sel(model=name, drop=True) for name in reps.model.values}
    again = stack_models(models)
    assert again.dims == ("layer", "model", "stimulus", "feature")
    assert again.layer.values.tolist() == ["layer0", "layer1"]
    np.testing.assert_array_equal(again, reps)


def test_dask_inputs_stay_lazy():
    models = {"a": some(6, 3), "b": shuffled(some(8, 4, seed=1), 1)}
    lazy = {
        name: array.assign_coords(size=("stimulus", range(array.sizes["stimulus"]))).chunk(
            stimulus=2
        )
        for name, array in {"a": models["a"], "b": models["a"]}.items()
    }
    with no_compute():
        reps = stack_models(lazy)
        outer = stack_models({n: x.chunk(stimulus=3) for n, x in models.items()}, join="outer")
    assert reps.chunks is not None
    assert outer.chunks is not None
    np.testing.assert_array_equal(outer, stack_models(models, join="outer"))


@pytest.mark.slow
@given(st.data())
def test_any_chunking_gives_the_same(data):
    models = {"a": some(6, 3), "b": shuffled(some(5, 4, seed=1), 1)}
    lazy = {name: data.draw(chunked(array)) for name, array in models.items()}
    expected = stack_models(models, join="outer")
    xr.testing.assert_identical(stack_models(lazy, join="outer").compute(), expected)


def test_inputs_are_not_modified():
    a, b = read_only(some(3, 2)), read_only(some(3, 4))
    before = a.copy(deep=True)
    reps = stack_models({"a": a, "b": b}, modality="vision")
    xr.testing.assert_identical(a, before)
    reps.values[...] = 0
    xr.testing.assert_identical(a, before)


def test_other_names_of_dims_are_brought_in_at_the_door():
    both = stack_models({"a": some(3, 2), "b": some(3, 2)})
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = from_xarray(both.rename(names), **names)
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.n_features.dims == ("model",)
    np.testing.assert_array_equal(reps, both)


@pytest.mark.parametrize(
    ("models", "arguments", "words"),
    [
        ({}, {}, "at least one model"),
        ({"a": np.ones((2, 3))}, {}, "model 'a' is a plain array"),
        ({"a": np.ones((2, 3))}, {"stimuli": ["x"]}, r"model 'a' must have the shape \(1 stimuli"),
        ({"a": np.ones(2)}, {"stimuli": ["x", "y"]}, "model 'a' must have the shape"),
        ({"a": [[1.0, 2.0]]}, {"stimuli": ["x"]}, "model 'a'.*list"),
        ({"a": np.ones((2, 3))}, {"stimuli": ["x", "x"]}, "model 'a' has duplicate labels.*'x'"),
        ({"a": np.ones((2, 0))}, {"stimuli": ["x", "y"]}, "model 'a' has no features"),
        ({"a": np.ones((2, 3), "U1")}, {"stimuli": ["x", "y"]}, "model 'a' must hold real"),
        ({1: some(2, 2), "1": some(2, 2)}, {}, "not unique as text"),
        ({"a": some(2, 2).rename(stimulus="image")}, {}, "model 'a' needs the dims.*'stimulus'"),
        ({"a": some(2, 2).drop_vars("stimulus")}, {}, "model 'a' has no labels"),
        ({"a": some(2, 2)}, {"join": "left"}, "join='left'"),
    ],
)
def test_what_does_not_fit_is_named(models, arguments, words):
    with pytest.raises(ValueError, match=words):
        stack_models(models, **arguments)


def test_coordinates_of_models_keep_their_kind():
    def stacked(*values):
        return stack_models(
            {f"m{i}": some(2, 2).assign_coords(about=value) for i, value in enumerate(values)}
        ).about.values

    times = [np.datetime64("2020-01-01", "ns"), np.datetime64("2021-01-01", "ns")]
    assert stacked(*times).tolist() == np.array(times).tolist()
    assert stacked(*times).dtype.kind == "M"
    assert stacked(np.timedelta64(1, "s"), np.timedelta64(2, "s")).dtype.kind == "m"
    assert stacked(1, 2**60 + 1).tolist() == [1, 2**60 + 1]
    assert stacked(True, False).dtype == bool
    assert stacked("a", "\u00fc").tolist() == ["a", "\u00fc"]
    assert pd.isna(stacked("a", np.nan)[1])
    with pytest.raises(ValueError, match="'about' is text for some models and not for others"):
        stacked("a", 1)


# --- labels that come with the numbers ---------------------------------------------------------

IDS = [f"s{i}" for i in range(8)]
ROWS = np.random.default_rng(0).standard_normal((8, 5))
FRAME = pd.DataFrame(ROWS, index=IDS)


def given_as(kind, frame):
    if kind == "DataFrame":
        return frame
    coords = {"stimulus": frame.index.to_numpy()}
    return xr.DataArray(frame.to_numpy(), coords, ("stimulus", "feature"))


@pytest.mark.parametrize("kind", ["DataFrame", "DataArray"])
def test_rows_that_have_labels_are_joined_by_them(kind):
    mixed = given_as(kind, FRAME.sample(frac=1, random_state=0))
    for models in ({"m": mixed}, {"p": ROWS, "m": mixed}, {"m": mixed, "p": ROWS}):
        reps = stack_models(models, stimuli=IDS)
        assert reps.stimulus.values.tolist() == IDS
        np.testing.assert_array_equal(reps.sel(model="m"), ROWS)
    alone = stack_models({"m": mixed})
    np.testing.assert_array_equal(alone.sel(stimulus=IDS)[0], ROWS)
    other = given_as(kind, FRAME.set_axis([f"q{i}" for i in range(8)]))
    with pytest.raises(SchemaError, match="stimuli and 'm' must have the same labels.*'q0'"):
        stack_models({"m": other}, stimuli=IDS)
    fewer = given_as(kind, FRAME[2:])
    assert stack_models({"m": fewer}, stimuli=IDS, join="inner").stimulus.values.tolist() == IDS[2:]
    outer = stack_models({"m": fewer}, stimuli=IDS, join="outer")
    assert outer[0, :2].isnull().all()
    np.testing.assert_array_equal(outer[0, 2:], ROWS[2:])


def test_the_default_index_of_a_frame_is_no_labels():
    frame = pd.DataFrame(ROWS)
    reps = stack_models({"m": frame}, stimuli=IDS)
    np.testing.assert_array_equal(reps[0], ROWS)
    with pytest.raises(SchemaError, match="'m' is a DataFrame without labels.*counts from 0.*stim"):
        stack_models({"m": frame})
    # rows that were cut out or moved say where they were
    for moved in (frame[2:], frame[::-1], frame.sample(frac=1, random_state=0)):
        with pytest.raises(SchemaError, match="stimuli and 'm' must have the same labels"):
            stack_models({"m": moved}, stimuli=IDS)
        again = stack_models({"m": moved})
        for label in again.stimulus.values:
            np.testing.assert_array_equal(again.sel(stimulus=label)[0], ROWS[int(label)])


def test_columns_of_a_frame_are_numbers():
    whole = pd.DataFrame({"a": [1, 2], "b": [3, None]}, index=["x", "y"]).astype({"a": "Int64"})
    reps = stack_models({"m": whole})
    np.testing.assert_array_equal(reps[0], [[1, 3], [2, np.nan]])
    assert stack_models({"m": FRAME.astype("float32")}).dtype == np.float32
    with pytest.raises(SchemaError, match="'m' has columns that are no numbers: 'id'.*set_index"):
        stack_models({"m": FRAME.assign(id=IDS)})
    two = FRAME.set_axis(pd.MultiIndex.from_product([IDS, [0]]))
    with pytest.raises(SchemaError, match="model 'm'.*index.*MultiIndex of 2 levels"):
        stack_models({"m": two})


def test_the_dims_of_a_variable_say_which_axis_is_which():
    turned = xr.Variable(("feature", "stimulus"), ROWS.T)
    np.testing.assert_array_equal(stack_models({"m": turned}, stimuli=IDS)[0], ROWS)
    with pytest.raises(SchemaError, match="has the dims.*'unit'.*'stimulus', 'feature'.*needed"):
        stack_models({"m": xr.Variable(("stimulus", "unit"), ROWS)}, stimuli=IDS)


# --- numbers of other libraries ----------------------------------------------------------------


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_rows_are_refused_with_the_cure(sparse):
    with pytest.raises(SchemaError, match=rf"model 'm' is sparse \({sparse.__name__}\).*toarray"):
        stack_models({"a": ROWS, "m": sparse(ROWS)}, stimuli=IDS)


def test_arrays_on_disk_stay_there_until_they_are_computed():
    kept = zarr.create_array(store={}, data=ROWS, chunks=(3, 5))
    with no_compute():
        reps = stack_models({"m": kept}, stimuli=IDS)
    assert reps.chunks is not None
    np.testing.assert_array_equal(reps[0], ROWS)


def test_small_floats_of_machine_learning_are_float32(tmp_path):
    small = ROWS.astype(pytest.importorskip("ml_dtypes").bfloat16)
    expected = small.astype(np.float32)
    labelled_rows = xr.DataArray(small, {"stimulus": IDS}, ("stimulus", "feature"))
    for rows in (small, da.from_array(small, chunks=3), labelled_rows):
        reps = stack_models({"m": rows}, stimuli=IDS)
        assert reps.dtype == np.float32
        np.testing.assert_array_equal(reps[0], expected)
    with ModelWriter(tmp_path / "a.zarr", "v", "m", IDS, 5) as writer:
        writer.write(IDS, small)
    xr.testing.assert_equal(open_representations(tmp_path / "a.zarr", "v").compute(), reps)


@pytest.mark.slow
def test_masked_numbers_are_missing_ones(tmp_path):
    rows = np.ma.masked_array(ROWS, np.zeros(ROWS.shape, bool))
    rows[3] = np.ma.masked
    assert stack_models({"m": rows}, stimuli=IDS)[0, 3].isnull().all()
    with ModelWriter(tmp_path / "a.zarr", "v", "m", IDS, 5) as writer:
        writer.write(IDS, rows)
    opened = open_representations(tmp_path / "a.zarr", "v")
    assert opened.isnull().sum() == 5
    assert opened[0, 3].isnull().all()


@pytest.mark.parametrize("models", [[ROWS], ROWS, some(3, 2), "m", None])
def test_models_without_names_are_refused(models):
    with pytest.raises(TypeError, match=f"models must be a dict.*got a {type(models).__name__};"):
        stack_models(models, stimuli=IDS)


def region_of(subject, width, session="a"):
    """Trials of one region of a subject, whose halves differ in width."""
    values = np.random.default_rng(len(subject)).standard_normal((2, 3, 2, 5))
    values[1, ..., width:] = np.nan
    return xr.DataArray(
        values,
        dims=("half", "stimulus", "repetition", "feature"),
        coords={
            "stimulus": ["x", "y", "z"],
            "repetition": ["first", "second"],
            "n_features": ("half", [5, width]),
            "run": ("repetition", [1, 2]),
            "session": (("stimulus", "repetition"), [[session, "b"]] * 3),
        },
    )


def test_further_dims_keep_their_coordinates_and_widths():
    one, other = region_of("p", 3), region_of("qq", 4).isel(stimulus=[2, 0, 1])
    reps = stack_models({"p": one, "q": other})
    assert reps.dims == ("half", "repetition", "model", "stimulus", "feature")
    assert validate(reps) is reps
    assert reps["n_features"].dims == ("model", "half")
    assert reps["n_features"].values.tolist() == [[5, 3], [5, 4]]
    assert reps["run"].dims == ("repetition",)
    assert reps["session"].dims == ("stimulus", "repetition")
    found = reps.sel(model="q").transpose(*other.dims).sel(stimulus=other["stimulus"])
    np.testing.assert_array_equal(found, other)
    differ = stack_models({"p": one, "q": region_of("qq", 4, "c")})
    assert differ["session"].dims == ("model", "stimulus", "repetition")
    assert differ["session"].sel(model="q", repetition="first").values.tolist() == ["c"] * 3


def test_coordinates_of_further_dims_that_do_not_fit_are_refused():
    one, other = region_of("p", 3), region_of("q", 3)
    with pytest.raises(SchemaError, match="'run' is there for some models but not for 'q'"):
        stack_models({"p": one, "q": other.drop_vars("run")})
    moved = other.drop_vars("run").assign_coords(run=("half", [1, 2]))
    with pytest.raises(SchemaError, match="'run' is there .* on other dims for others"):
        stack_models({"p": one, "q": moved})
