from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge import SchemaError, dispersion, stack_models, validate
from xconverge.labels.checks import widths
from xconverge.labels.joins import join_labels, natural_rank
from xconverge.labels.messages import listing


def labelled(values, labels, **coords):
    return xr.DataArray(
        values,
        dims=("stimulus", "feature"),
        coords={"stimulus": list(labels), **coords},
    )


def some(n, width, labels=None, seed=0, **coords):
    values = np.random.default_rng(seed).standard_normal((n, width))
    return labelled(values, labels or [f"s{i}" for i in range(n)], **coords)


# --- joins -----------------------------------------------------------------------------------


def test_equal_labels_pass_through_untouched():
    a, b = make_reps(), make_reps(seed=0)
    left, right, dropped = join_labels(a, b)
    assert left is a
    assert right is b
    assert dropped == 0


def test_shuffled_labels_are_aligned_to_the_first():
    a = make_reps()
    b = shuffled(a, 3)
    left, right, dropped = join_labels(a, b)
    xr.testing.assert_identical(left, a)
    xr.testing.assert_identical(right, a)
    assert dropped == 0


def test_differing_labels_are_refused_with_counts_and_the_first_few():
    a = some(9, 2, labels=["both", *(f"a{i}" for i in range(8))])
    b = some(2, 2, labels=["both", "b0"])
    with pytest.raises(SchemaError) as caught:
        join_labels(a, b, names=("vision", "brain"))
    text = str(caught.value)
    assert "vision has 9, brain has 2, 1 are in both" in text
    assert "missing from brain: 'a0', 'a1', 'a2', 'a3', 'a4', … (8 in all)" in text
    assert "missing from vision: 'b0'" in text
    assert 'join="inner"' in text


def test_a_subset_is_not_exact():
    a = some(5, 2)
    with pytest.raises(SchemaError, match="missing from a: none"):
        join_labels(a, a[:3])


def test_inner_keeps_what_both_have_and_counts_the_rest():
    a, b = some(5, 2), some(4, 2, labels=["s9", "s4", "s1", "s3"], seed=1)
    left, right, dropped = join_labels(a, b, join="inner")
    assert left.stimulus.values.tolist() == ["s1", "s3", "s4"]
    assert right.stimulus.values.tolist() == ["s1", "s3", "s4"]
    assert dropped == 3
    np.testing.assert_array_equal(left, a.values[[1, 3, 4]])
    np.testing.assert_array_equal(right, b.values[[2, 3, 1]])


@pytest.mark.parametrize("join", ["exact", "inner"])
def test_disjoint_labels_are_refused_with_examples(join):
    a, b = some(3, 2), some(2, 2, labels=["dog.jpg", "cat.jpg"])
    with pytest.raises(SchemaError, match="'s0'.*'dog.jpg'"):
        join_labels(a, b, join=join)


def test_unknown_joins_are_refused():
    with pytest.raises(ValueError, match="join='outer'"):
        join_labels(some(2, 2), some(2, 2), join="outer")


def test_joins_are_lazy(raising_scheduler):
    a = make_reps()
    _, right, _ = join_labels(a, shuffled(a, 3).chunk(stimulus=4))
    assert right.chunks is not None


def test_listing_is_short():
    assert listing("ab") == "'a', 'b'"
    assert listing(range(7), 2) == "'0', '1', … (7 in all)"
    assert listing([]) == ""


# --- order and widths ------------------------------------------------------------------------


def test_natural_order():
    labels = ["s10", "s2", "s1", "10", "9", "b", "a10b2", "a10b10", ""]
    order = [labels[i] for i in np.argsort(natural_rank(labels))]
    assert order == ["", "9", "10", "a10b2", "a10b10", "b", "s1", "s2", "s10"] or (
        sorted(order) == sorted(labels)
        and order.index("s1") < order.index("s2") < order.index("s10")
        and order.index("9") < order.index("10")
        and order.index("a10b2") < order.index("a10b10")
    )


@given(st.lists(st.text("sab019 ²٣", max_size=6), unique=True, max_size=12), st.randoms())
def test_natural_rank_does_not_know_positions(labels, random):
    rank = dict(zip(labels, natural_rank(labels), strict=True))
    assert sorted(rank.values()) == list(range(len(labels)))
    random.shuffle(labels)
    assert dict(zip(labels, natural_rank(labels), strict=True)) == rank


def test_numbers_rank_as_numbers():
    assert natural_rank([10, 9, 100]).tolist() == [1, 0, 2]


def test_widths_without_n_features_is_the_whole():
    assert widths(make_reps()).item() == 6


def test_widths_are_read():
    assert widths(make_reps(widths=[3, 5, 2, 4])).values.tolist() == [3, 5, 2, 4]
    assert widths(make_reps(widths=[3, 5, 2, 4]).sel(model="net2")).item() == 2


@pytest.mark.parametrize("wrong", [0, -1, 7, 2.5, np.nan, np.inf])
def test_widths_out_of_range_name_the_model(wrong):
    reps = make_reps().assign_coords(n_features=("model", [6, wrong, 6, 6]))
    with pytest.raises(SchemaError, match=r"between 1 and 6.*'net1'$"):
        widths(reps)


def test_widths_of_one_model_are_checked():
    reps = make_reps().sel(model="net0").assign_coords(n_features=9)
    with pytest.raises(SchemaError, match="n_features"):
        widths(reps)


# --- validate --------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"model": 1, "stimulus": 5, "feature": 2}])
def test_a_good_set_is_returned_as_it_is(chunks):
    reps = make_reps(widths=[6, 9, 4, 7], missing=0.3)
    reps = reps if chunks is None else reps.chunk(chunks)
    assert validate(reps) is reps


@pytest.mark.parametrize("dtype", ["float16", "int16"])
def test_other_numbers_are_good(dtype):
    reps = make_reps(dtype=dtype)
    assert validate(reps) is reps


def test_extra_and_custom_dims_are_good():
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = make_reps(extra={"layer": 2}, missing=0.3).rename(names)
    assert validate(reps, **names) is reps


def test_validate_does_not_modify():
    reps = read_only(make_reps(missing=0.3))
    validate(reps)
    xr.testing.assert_identical(reps, make_reps(missing=0.3))


def faulty_reps():
    """NaN and infinity inside rows, values in the padding."""
    reps = make_reps(widths=[6, 9, 4, 7]).assign_coords(stimulus=[f"s{i}" for i in range(12)])
    reps.values[0, 3, 2] = np.nan
    reps.values[1, 5, 0] = np.inf
    reps.values[1, 6, 8] = -np.inf
    reps.values[2, 7, 5] = 1.0
    return reps


@pytest.mark.parametrize("chunks", [None, {"model": 1, "stimulus": 5}])
def test_every_faulty_value_is_named_in_one_error(chunks):
    reps = faulty_reps()
    with pytest.raises(SchemaError) as caught:
        validate(reps if chunks is None else reps.chunk(chunks))
    text = str(caught.value)
    assert "NaN inside a row: model 'net0', stimulus 's3'" in text
    assert "infinity: model 'net1', stimulus 's5', 's6'" in text
    assert "values in the padding, beyond n_features: model 'net2', stimulus 's7'" in text
    assert len(text.splitlines()) == 3


def test_faults_in_an_extra_dim_are_named():
    reps = make_reps(extra={"layer": 2})
    reps.values[1, 2, 4, 0] = np.inf
    label = reps.stimulus.values[4]
    with pytest.raises(SchemaError, match=f"infinity: model 'net2', stimulus '{label}'$"):
        validate(reps)


def test_every_faulty_label_is_named_in_one_error():
    reps = make_reps(3, 4).assign_coords(
        model=["a", "a", "b"], stimulus=[1, 2, 3, 3], n_features=("model", [6, 9, 6])
    )
    with pytest.raises(SchemaError) as caught:
        validate(reps)
    text = str(caught.value)
    assert "duplicate labels on 'model': 'a'" in text
    assert "duplicate labels on 'stimulus': '3'" in text
    assert "text labels on 'stimulus'" in text
    assert "n_features" in text


def test_faulty_values_are_named_beside_faulty_labels():
    reps = faulty_reps()
    reps = reps.assign_coords(stimulus=range(12))
    with pytest.raises(SchemaError) as caught:
        validate(reps)
    text = str(caught.value)
    assert "text labels on 'stimulus'" in text
    assert "model 'net0'" in text
    assert "infinity" in text


@pytest.mark.parametrize("dim", ["model", "stimulus"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b", ""], "empty label"),
        (["a", "b", None], "missing labels"),
        (["a", "b", "b"], "duplicate"),
        ([1, 2, 3], "text labels.*got int"),
        ([1.5, 2, 3], "text labels.*got float"),
    ],
)
def test_labels_must_be_unique_text(dim, labels, words):
    reps = make_reps(3, 3).assign_coords({dim: labels})
    with pytest.raises(SchemaError, match=f"(?s){words}.*'?{dim}"):
        validate(reps)


def test_multiindex_is_refused():
    reps = make_reps(3, 4).drop_vars(["category", "caption"])
    index = pd.MultiIndex.from_product([["x", "y"], ["u", "v"]], names=["p", "q"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "stimulus")
    reps = reps.drop_vars("stimulus").assign_coords(coords)
    with pytest.raises(SchemaError, match="MultiIndex"):
        validate(reps)


@pytest.mark.parametrize("dim", ["model", "stimulus", "feature"])
def test_missing_dims_are_named(dim):
    with pytest.raises(SchemaError, match=f"'{dim}'.*missing"):
        validate(make_reps().isel({dim: 0}))


@pytest.mark.parametrize("wrong", [None, np.zeros((2, 3, 4)), [1, 2]])
def test_other_types_are_refused(wrong):
    with pytest.raises(TypeError, match="DataArray"):
        validate(wrong)


# --- stack_models ----------------------------------------------------------------------------


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


def test_custom_dim_names_are_kept():
    names = {"stimulus": "image", "feature": "unit"}
    a = some(3, 2).rename(names)
    reps = stack_models({"a": a, "b": a}, model="network", **names)
    assert reps.dims == ("network", "image", "unit")
    assert reps.n_features.dims == ("network",)


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
