"""Pairing by another coordinate: its means, what it keeps, and that no function forgets it."""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge import SchemaError, pair
from xconverge.kernels.vectors import working_dtype
from xconverge.labels.joins import natural_rank
from xconverge.testing import planted_study

# --- plain loops -------------------------------------------------------------------------------


def rows_of(array, on):
    """Positions of the rows of every value, in natural order of their labels."""
    rank = natural_rank(array.indexes["stimulus"])
    rows = {}
    for position in np.argsort(rank):
        rows.setdefault(array[on].values[position], []).append(int(position))
    return rows


def mean_of_rows(array, rows):
    """Mean over the rows that are not NaN throughout, vector by vector."""
    values = np.asarray(array.transpose(..., "stimulus", "feature").values, np.float64)
    out = np.full((*values.shape[:-2], values.shape[-1]), np.nan)
    for place in np.ndindex(values.shape[:-2]):
        total, count = np.zeros(values.shape[-1]), 0
        for row in rows:
            vector = values[place][row]
            if not np.isnan(vector).all():
                total, count = total + vector, count + 1
        if count:
            out[place] = total / count
    return out


def mean_of_pairs(square, one, other):
    """Mean distance of two images: over all pairs of their captions that are not NaN."""
    found = [square[i, j] for i in one for j in other if not np.isnan(square[i, j])]
    return sum(found) / len(found) if found else np.nan


# --- sets --------------------------------------------------------------------------------------


@st.composite
def captions(draw, **fixed):
    """Captions of a few images, in any order, some never seen, of any dtype."""
    n = draw(st.integers(3, 9))
    images = [f"img{draw(st.integers(0, 3))}" for _ in range(n)]
    dtype = draw(st.sampled_from(["float16", "float32", "float64", "int16"]))
    missing = 0.0 if dtype == "int16" else draw(st.sampled_from([0.0, 0.4]))
    ragged = dtype != "int16" and draw(st.booleans())
    reps = make_reps(
        2, n, [3, 5] if ragged else 4, draw(st.integers(0, 99)), missing=missing, dtype=dtype,
        **fixed,
    )  # fmt: skip
    return reps.assign_coords(image_id=("stimulus", np.array(images, dtype=object)))


def study(n=30, each=2, seed=0, fewer=0):
    """Images, and captions of them with ids of their own, a varying number to an image.

    At least ``each``; or so many but for the ``fewer`` last ones.
    """
    planted = planted_study(4, n, rng=seed)
    images = planted["vision"]
    rng = np.random.default_rng(seed)
    which = np.tile(np.arange(n), each)
    which = which[:-fewer] if fewer else np.append(which, rng.integers(n, size=n // 2))
    texts = planted["language"].isel(stimulus=rng.permutation(which))
    ids = texts["stimulus"].values
    texts = texts.assign_coords(
        stimulus=np.array([f"caption {i}" for i in range(len(ids))], dtype=object),
        image_id=("stimulus", ids),
    )
    noise = rng.standard_normal(texts.shape) * 0.3
    return images, texts + noise


# --- the mean ----------------------------------------------------------------------------------


@settings(max_examples=12)
@given(captions(), st.data())
def test_means_are_those_of_plain_loops(reps, data):
    rows = rows_of(reps, "image_id")
    images = make_reps(2, 4, 3).assign_coords(stimulus=[f"img{i}" for i in range(4)])
    _, whole = pair(images, read_only(reps), "image_id")
    assert list(whole.stimulus.values) == list(dict.fromkeys(reps.image_id.values))
    assert whole.dtype == working_dtype(reps.dtype)
    for image, mine in rows.items():
        np.testing.assert_allclose(
            whole.sel(stimulus=image), mean_of_rows(reps, mine), rtol=1e-6, atol=1e-6
        )
        if (np.array([len(r) for r in rows.values()]) > 1).any():
            assert whole.n_repeats.sel(stimulus=image) == len(mine)
    lazy = data.draw(chunked(reps))
    with no_compute():
        _, later = pair(images, lazy, "image_id")
    assert later.chunks is not None
    xr.testing.assert_identical(later.compute(), whole)
    order = shuffled(reps, data.draw(st.integers(0, 9)))
    _, other = pair(images, order, "image_id")
    xr.testing.assert_identical(other.sel(stimulus=whole.stimulus), whole)


@settings(max_examples=12)
@given(captions(extra={"layer": 2}), st.data())
def test_values_per_stimulus_are_averaged_one_by_one(reps, data):
    values = reps.isel(feature=0, drop=True).astype(np.float64).rename("dispersion")
    rows = rows_of(values, "image_id")
    found, _ = pair(values, values, "image_id")
    for image, mine in rows.items():
        expected = mean_of_rows(values.expand_dims("feature", -1), mine)[..., 0]
        np.testing.assert_allclose(found.sel(stimulus=image), expected, rtol=1e-12)
    lazy = data.draw(chunked(values))
    xr.testing.assert_identical(pair(lazy, values, "image_id")[0].compute(), found)


@settings(max_examples=12)
@given(captions(), st.booleans(), st.integers(0, 9))
def test_distances_are_means_over_all_pairs_of_captions(reps, lazy, seed):
    rdms = xc.rdm(reps.astype(np.float64), "euclidean")
    mixed = shuffled(rdms, seed, "stimulus_2")
    given_ = mixed.chunk(stimulus=2, stimulus_2=3) if lazy else read_only(mixed)
    found, _ = pair(given_, reps, "image_id")
    assert (found.chunks is not None) == lazy
    rows = rows_of(reps, "image_id")
    values = found.transpose("model", "stimulus", "stimulus_2").values
    assert found.stimulus_2.values.tolist() == found.stimulus.values.tolist()
    names = list(found.stimulus.values)
    for m, (i, one), (j, other) in itertools.product(range(2), *[list(enumerate(names))] * 2):
        square = rdms.values[m]
        if i != j:
            expected = mean_of_pairs(square, rows[one], rows[other])
            np.testing.assert_allclose(values[m, i, j], expected)
        else:
            seen = ~np.isnan([square[k, k] for k in rows[one]])
            np.testing.assert_equal(values[m, i, i], 0.0 if seen.any() else np.nan)
    again, _ = pair(shuffled(rdms, seed), reps, "image_id")
    order = {"stimulus": found.stimulus.values, "stimulus_2": found.stimulus.values}
    np.testing.assert_array_equal(again.sel(order), found.sel(order))


def test_a_fault_inside_a_row_is_not_averaged_away():
    images, texts = study()
    texts[0, 3, 2] = np.nan
    image = str(texts.image_id.values[3])
    with pytest.raises(SchemaError, match=f"NaN or infinity inside a row.*'{image}'"):
        xc.alignment(images, texts, k=3, pair_on="image_id")


def test_an_rdm_that_is_not_symmetric_is_still_refused():
    images, texts = study()
    rdms = xc.rdm(texts)
    rdms[0, 1, 2] += 1.0
    with pytest.raises(ValueError, match="must be symmetric"):
        xc.rsa(xc.rdm(images), rdms, pair_on="image_id")


def test_the_mean_of_many_float16_is_exact_to_double():
    values = np.full((4096, 1), 0.1, np.float16)
    reps = xr.DataArray(
        values, dims=("stimulus", "feature"),
        coords={"stimulus": [f"c{i}" for i in range(4096)],
                "image_id": ("stimulus", ["a"] * 4096)},
    )  # fmt: skip
    found, _ = pair(reps, reps, "image_id")
    assert found.dtype == np.float32
    assert float(found.squeeze()) == np.float32(np.float16(0.1))


def test_no_task_holds_more_than_a_chunk_or_an_image():
    import dask.array as da

    n = 4000
    lazy = xr.DataArray(
        da.zeros((2, n, 8), chunks=(1, 100, 8)), dims=("model", "stimulus", "feature"),
        coords={"model": ["a", "b"], "stimulus": [f"c{i}" for i in range(n)],
                "image_id": ("stimulus", [f"i{j % (n // 5)}" for j in range(n)])},
    )  # fmt: skip
    with no_compute():
        found, _ = pair(lazy, lazy, "image_id")
    assert found.sizes["stimulus"] == n // 5
    assert max(found.variable.chunksizes["stimulus"]) * 5 <= 130
    assert found.variable.chunksizes["model"] == (1, 1)
    assert float(abs(found).sum()) == 0.0


# --- keep --------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(captions(), st.data())
def test_kept_rows_are_the_rth_of_every_image(reps, data):
    rows = rows_of(reps, "image_id")
    most = max(map(len, rows.values()))
    found, _ = pair(read_only(reps), reps.assign_coords(extra=1), "image_id", repeats="keep")
    if most == 1:
        assert "repeat" not in found.dims
        assert found.stimulus_id.dims == ("stimulus",)
        return
    assert found.dims == ("repeat_a", *reps.dims)
    assert found.sizes["repeat_a"] == most
    for place, image in enumerate(found.stimulus.values):
        mine = rows[image]
        for r in range(most):
            value = found.values[r][:, place]
            names = [found[name].values[r, place] for name in ("stimulus_id", "caption")]
            if r < len(mine):
                np.testing.assert_array_equal(value, reps.values[:, mine[r]])
                assert names == [reps[name].values[mine[r]] for name in ("stimulus", "caption")]
            else:
                assert np.isnan(value).all()
                assert names == ["", ""]
    lazy = data.draw(chunked(reps))
    with no_compute():
        later, _ = pair(lazy, lazy, "image_id", repeats="keep")
    xr.testing.assert_identical(later.compute(), found)
    order = shuffled(reps, 1)
    other, _ = pair(order, order, "image_id", repeats="keep")
    xr.testing.assert_identical(other.sel(stimulus=found.stimulus), found)


def test_rows_are_kept_in_natural_order():
    _, texts = study()
    kept, _ = pair(texts, texts, "image_id", repeats="keep")
    numbers = [[int(name.split()[1]) for name in row if name] for row in kept.stimulus_id.values.T]
    assert all(row == sorted(row) for row in numbers)
    assert any(max(row) > 9 > min(row) for row in numbers)


def test_kept_rdms_are_those_of_the_kept_captions():
    images, texts = study()
    _, kept = pair(images, texts, "image_id", repeats="keep")
    _, rdms = pair(images, xc.rdm(texts), "image_id", repeats="keep")
    expected = xc.rdm(kept)
    np.testing.assert_allclose(rdms.transpose(*expected.dims), expected, atol=1e-12)


def test_one_side_that_repeats_adds_repeat_and_two_make_an_outer_product():
    images, texts = study(fewer=8)
    score = xc.alignment(images, texts, k=3, pair_on="image_id", repeats="keep")
    _, kept = pair(images, texts, "image_id", repeats="keep")
    assert set(score.dims) == {"repeat", "model_a", "model_b", "stimulus"}
    third = kept.isel(repeat=1, drop=True)
    xr.testing.assert_allclose(
        score.isel(repeat=1).drop_vars(["repeat", "stimulus_id"], errors="ignore"),
        xc.alignment(images, third, k=3).drop_vars("stimulus_id", errors="ignore"),
    )
    texts, other = (study(seed=s, fewer=8)[1] for s in (0, 1))
    both = xc.alignment(texts, other, "cka", pair_on="image_id", repeats="keep")
    assert {"repeat_a", "repeat_b"} <= set(both.dims)
    a, b = pair(texts, other, "image_id", repeats="keep")
    one = xc.alignment(a.isel(repeat_a=0, drop=True), b.isel(repeat_b=1, drop=True), "cka")
    np.testing.assert_allclose(both.isel(repeat_a=0, repeat_b=1), one)


def test_repeat_must_be_free():
    images, texts = study()
    with pytest.raises(SchemaError, match="has 'repeat'.*rename"):
        pair(images, texts.expand_dims(repeat=2), "image_id", repeats="keep")


# --- coordinates and names ---------------------------------------------------------------------


def test_coordinates_that_are_the_same_in_all_rows_stay():
    _, texts = study()
    texts = texts.assign_coords(
        photographer=("stimulus", [f"p{i[-1]}" for i in texts.image_id.values]),
        hidden=("stimulus", np.where(texts.image_id == texts.image_id[0], np.nan, 1.0)),
        length=("stimulus", np.arange(texts.sizes["stimulus"])),
    )
    found, _ = pair(texts, texts, "image_id")
    assert {"photographer", "hidden", "image_id", "n_repeats", "noise"} <= set(found.coords)
    assert not {"length", "stimulus_id"} & set(found.coords)
    assert found.photographer.values.tolist() == [f"p{i[-1]}" for i in found.stimulus.values]
    kept, _ = pair(texts, texts, "image_id", repeats="keep")
    assert kept.photographer.dims == ("stimulus",)
    assert kept.length.dims == ("repeat_a", "stimulus")
    assert kept.length.isnull().any()
    assert "n_repeats" not in kept.coords


def test_one_to_one_only_renames():
    images, texts = study()
    texts = texts.isel(stimulus=np.unique(texts.image_id, return_index=True)[1])
    found, same = pair(texts, images, "image_id")
    assert found.data is texts.data or np.shares_memory(found.values, texts.values)
    assert found.stimulus_id.values.tolist() == texts.stimulus.values.tolist()
    assert "n_repeats" not in found.coords
    assert "stimulus_id" not in same.coords
    xr.testing.assert_identical(pair(found, same, "image_id")[0], found)


def test_each_side_may_have_its_own_coordinate():
    images, texts = study()
    named = texts.rename(image_id="photo")
    photos = images.assign_coords(
        key=("stimulus", images.stimulus.values), stimulus=[f"x{i}" for i in range(30)]
    )
    a, b = pair(photos, named, ("key", "photo"))
    assert set(a.stimulus.values) == set(b.stimulus.values) == set(images.stimulus.values)
    c, d = pair(images, named, ("stimulus", "photo"))
    np.testing.assert_array_equal(c, a)
    np.testing.assert_array_equal(d, b)
    assert a.attrs["pair_on"] == ["key", "photo"]
    json.dumps(a.attrs)
    with pytest.raises(SchemaError, match="'key' must be a coordinate on 'stimulus' of b"):
        pair(photos, named, ("key", "key"))


def test_both_sides_may_have_it():
    _, one = study()
    _, other = study(each=3, seed=1)
    a, b = pair(one, other, "image_id")
    assert set(a.stimulus.values) == set(b.stimulus.values)
    assert {"n_repeats_a", "n_repeats_b"} <= set(xc.alignment(a, b, k=3).coords)


def test_other_dims_can_be_named():
    images, texts = study()
    names = {"model": "network", "stimulus": "item", "feature": "unit"}
    a, b = images.rename(names), texts.rename(names)
    plain = xc.alignment(images, texts, k=3, pair_on="image_id")
    named = xc.alignment(a, b, k=3, pair_on="image_id", **names)
    np.testing.assert_array_equal(named, plain)
    _, found = pair(a, b, "image_id", stimulus="item", feature="unit")
    assert found.indexes["item"].is_unique
    one = b.isel(item=np.unique(b.image_id, return_index=True)[1])
    assert "item_id" in pair(a, one, "image_id", stimulus="item", feature="unit")[1].coords


# --- what is refused ---------------------------------------------------------------------------


def with_ids(values, n=4):
    reps = make_reps(2, len(values), 3)
    return reps.assign_coords(image_id=("stimulus", np.array(values, dtype=object)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, "b"], "no 'image_id' for stimulus 's.'.*notnull"),
        (["a", np.nan, "b"], "no 'image_id' for stimulus 's.'"),
        (["a", "", "b"], "empty 'image_id' for stimulus 's.'"),
        (["a", "a ", "b"], "Unicode form or in spaces.*'a' and 'a '"),
        (["é", "e\u0301", "b"], r"'\\\\xe9' and 'e\\\\u0301'"),
        ([1, 2, 3], "b has int values in 'image_id' \\('1', '2', '3'\\), a has text.*astype\\(str"),
        ([1.5, 2.0, 3.0], "b has float values"),
    ],
)
def test_values_that_are_no_labels_are_refused(values, message):
    with pytest.raises(SchemaError, match=message):
        pair(make_reps(2, 3, 3), with_ids(values), "image_id")


def test_numbers_on_both_sides_are_refused_with_the_cure():
    both = with_ids([1, 2, 2])
    with pytest.raises(SchemaError, match="pairing needs text, and a has int") as caught:
        pair(both, both, "image_id")
    cure = both.assign_coords(image_id=("stimulus", both.image_id.values.astype(str)))
    assert ".assign_coords(image_id=('stimulus', ….image_id.values.astype(str)))" in str(
        caught.value
    )
    assert pair(cure, cure, "image_id")[0].stimulus.values.tolist() == ["1", "2"]


def test_a_coordinate_that_nobody_has():
    images, texts = study()
    with pytest.raises(
        SchemaError, match="'imageid'.*at least one side; a has.*'noise'; b has.*'image_id'"
    ):
        pair(images, texts, "imageid")
    with pytest.raises(SchemaError, match="'model_family'"):
        pair(images.assign_coords(model_family="x"), texts, "model_family")


@pytest.mark.parametrize("on", [None, "", ("a",), ("a", ""), 3, ("a", "b", "c")])
def test_pair_on_is_one_name_or_two(on):
    with pytest.raises((ValueError, TypeError)):
        pair(make_reps(), make_reps(), on)


def test_repeats_is_checked():
    with pytest.raises(ValueError, match="repeats='sum'"):
        pair(make_reps(), make_reps(), "caption", repeats="sum")
    with pytest.raises(ValueError, match="goes with pair_on"):
        xc.alignment(make_reps(), make_reps(), repeats="keep")
    with pytest.raises(TypeError, match="xarray.DataArray"):
        pair(make_reps(), [1, 2], "caption")


def test_bins_are_not_averaged(raising_scheduler):
    images, texts = study()
    spread = xc.dispersion(texts, "rdm")
    bins = xc.dispersion_bins(spread)
    with pytest.raises(SchemaError, match="mean of labels means nothing.*dispersion_bins"):
        pair(bins, images, "image_id")
    plain = bins.drop_attrs()
    with pytest.raises(SchemaError, match=r"whole numbers.*\.astype\(float\)"):
        pair(plain, images, "image_id")
    with pytest.raises(SchemaError, match="if they are lazy"):
        pair(plain.chunk(), images, "image_id")
    number = np.array([int(i.split()[1]) for i in texts.image_id.values])
    same = plain.copy(data=number)
    found, _ = pair(same, images, "image_id")
    assert found.dtype == same.dtype
    assert found.values.tolist() == [int(i.split()[1]) for i in found.stimulus.values]
    kept, _ = pair(bins, images, "image_id", repeats="keep")
    assert set(np.unique(kept.values[~np.isnan(kept.values)])) <= set(np.unique(bins))


def test_graphs_hold_positions():
    images, texts = study()
    graph = xc.neighbor_graph(texts, 3)
    with pytest.raises(SchemaError, match="pair the representations first"):
        xc.alignment(images, graph, k=3, pair_on="image_id")
    with pytest.raises(SchemaError, match="pair the representations first"):
        pair(images, graph, "image_id", repeats="keep")
    one = shuffled(texts.isel(stimulus=np.unique(texts.image_id, return_index=True)[1]))
    xr.testing.assert_allclose(
        xc.alignment(images, xc.neighbor_graph(one, 3), k=3, pair_on="image_id").drop_attrs(),
        xc.alignment(images, one, k=3, pair_on="image_id").drop_attrs().drop_vars("n_features_b"),
    )


# --- every function ----------------------------------------------------------------------------

NOT_PAIRED = {
    "stack_models": "stacks the models of one set, which has one kind of ids; pair() comes before",
    "write_neighbors": "a graph belongs to the very set in the store",
    "transform": "space and reps are joined on models and features, not on stimuli",
}
TWO = {("a", "b"), ("rdm_a", "rdm_b"), ("reps", "target"), ("dispersion", "alignment"),
       ("agreement", "dispersion"), ("array", "dispersion"), ("reps", "space"), ("by", "distances"),
       ("reps", "distances"), ("path", "graph")}  # fmt: skip


def two_labelled_inputs(name):
    """Whether a public function joins labels of several arrays."""
    parameters = inspect.signature(getattr(xc, name)).parameters
    arrays = [p for p, v in parameters.items() if "DataArray" in str(v.annotation)]
    return "join" in parameters or any(set(pair_) <= set(parameters) for pair_ in TWO) or (
        len(arrays) > 1
    )  # fmt: skip


FUNCTIONS = [
    name for name in xc.__all__ if inspect.isfunction(getattr(xc, name)) and name != "pair"
]


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if two_labelled_inputs(name)])
def test_no_function_of_two_inputs_forgets_pair_on(name):
    parameters = inspect.signature(getattr(xc, name)).parameters
    if name in NOT_PAIRED:
        assert "repeats" not in parameters
        return
    for argument, default in (("pair_on", None), ("repeats", "mean")):
        assert parameters[argument].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[argument].default is default or parameters[argument].default == default
    assert name in CALLS


def test_the_list_of_calls_is_whole():
    found = {name for name in FUNCTIONS if two_labelled_inputs(name)}
    assert found == set(CALLS) | set(NOT_PAIRED)


def sized(f, **fixed):
    def call(*arrays, **kwargs):
        return f(*arrays, **fixed, **kwargs)

    return call


def spread_of(reps):
    return xc.dispersion(reps, "rdm").reset_coords(drop=True)


CALLS = {
    "alignment": sized(xc.alignment, k=3),
    "alignment_reliability": sized(xc.alignment_reliability, k=3, n_splits=3, rng=0),
    "calibrate": sized(xc.calibrate, k=3, n_permutations=9, rng=0),
    "calibrate_rsa": lambda a, b, **kw: xc.calibrate_rsa(
        xc.rdm(a), xc.rdm(b), n_permutations=9, rng=0, **kw
    ),
    "confidence_interval": sized(xc.confidence_interval, k=3, rng=0),
    "rsa": lambda a, b, **kw: xc.rsa(xc.rdm(a), xc.rdm(b), **kw),
}  # fmt: skip
MAP_OVER = ["alignment", "alignment_reliability", "calibrate", "calibrate_rsa",
            "confidence_interval", "rsa"]  # fmt: skip


def numbers_of(result):
    """Everything that a call found, by name."""
    if isinstance(result, xr.DataTree):
        return {
            f"{node.path}/{name}": one
            for node in result.subtree
            for name, one in node.to_dataset().data_vars.items()
        }
    return dict(result.data_vars) if isinstance(result, xr.Dataset) else {"one": result}


def attrs_of(result):
    if isinstance(result, xr.Dataset):
        return {**result.attrs, **next(iter(result.data_vars.values())).attrs}
    return result.attrs


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_with_pair_on_is_the_call_on_what_was_paired(name):
    images, texts = study()
    call = CALLS[name]
    found = call(images, texts, pair_on="image_id")
    assert attrs_of(found)["pair_on"] == "image_id"
    assert attrs_of(found)["repeats"] == "mean"
    if name in ("alignment", "calibrate", "confidence_interval", "alignment_reliability"):
        a, b = pair(images, texts, "image_id")
        expected = numbers_of(call(a, b))
        for key, one in numbers_of(found).items():
            if one.dtype.kind == "f":
                np.testing.assert_allclose(one, expected[key], rtol=1e-9, err_msg=key)
    mixed = call(images, shuffled(texts, 5), pair_on="image_id")
    for key, one in numbers_of(mixed).items():
        other = numbers_of(found)[key]
        if one.dtype.kind == "f" and set(one.dims) == set(one.coords.keys() & set(one.dims)):
            other = other.sel({d: one[d] for d in one.dims})
            np.testing.assert_allclose(one, other.transpose(*one.dims), atol=1e-9, err_msg=key)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_keep_is_mapped_over_or_refused(name):
    images, texts = study(fewer=8)
    if name in MAP_OVER:
        found = CALLS[name](images, texts, pair_on="image_id", repeats="keep")
        parts = numbers_of(found).values()
        assert any("repeat" in one.dims for one in parts)
        assert attrs_of(found)["repeats"] == "keep"
        assert any(np.isfinite(one.isel(repeat=1)).any() for one in parts if "repeat" in one.dims)
    else:
        with pytest.raises(ValueError, match=rf"{name} maps over no further dim.*xconverge.pair"):
            CALLS[name](images, texts, pair_on="image_id", repeats="keep")


# --- what rides along --------------------------------------------------------------------------


def test_strata_that_are_the_same_in_all_captions_ride_along():
    images, texts = study()
    kind = np.array([f"kind {int(i.split()[1]) % 2}" for i in texts.image_id.values], object)
    by_caption = xr.DataArray(
        kind, dims="stimulus", coords={"stimulus": texts.stimulus.values}, name="kind"
    )
    by_name = texts.assign_coords(kind=("stimulus", kind))
    calls = [
        xc.calibrate(images, side, k=3, n_permutations=9, rng=0, strata=s, pair_on="image_id")
        for side, s in ((texts, by_caption), (by_name, "kind"))
    ]
    xr.testing.assert_allclose(*calls)
    by_caption[0] = "another"
    with pytest.raises(SchemaError, match=r"strata \(kind, object\).*mean of labels"):
        xc.calibrate(images, texts, k=3, strata=by_caption, pair_on="image_id")


def test_nuisances_and_covariates_are_averaged():
    images, texts = study()
    words = xc.rdm(texts.isel(model=[0])).isel(model=0, drop=True)
    texts = texts.isel(model=[1, 2])
    c = pair(images, words, "image_id")[1]
    found = xc.rsa(xc.rdm(images), xc.rdm(texts), nuisance=[words], pair_on="image_id")
    distances = pair(images, xc.rdm(texts), "image_id")[1]
    np.testing.assert_allclose(found, xc.rsa(xc.rdm(images), distances, nuisance=c))


# --- lazy and untouched ------------------------------------------------------------------------


def test_calls_with_pair_on_stay_lazy(raising_scheduler):
    images, texts = (side.chunk(model=1, stimulus=7, feature=5) for side in study(fewer=8))
    lazily = [
        xc.alignment(images, texts, k=3, pair_on="image_id"),
        xc.alignment(images, texts, k=3, pair_on="image_id", repeats="keep"),
        xc.rsa(xc.rdm(images), xc.rdm(texts), pair_on="image_id"),
    ]
    assert all(one.chunks is not None for one in lazily)


def test_inputs_are_not_modified():
    images, texts = (read_only(side) for side in study())
    before = images.copy(deep=True), texts.copy(deep=True)
    pair(images, texts, "image_id")
    pair(images, texts, "image_id", repeats="keep")
    pair(xc.rdm(images), read_only(xc.rdm(texts)), "image_id")
    for one, other in zip((images, texts), before, strict=True):
        xr.testing.assert_identical(one, other)


def test_coordinates_of_an_opened_store(tmp_path):
    images, texts = study()
    for modality, reps in (("vision", images), ("language", texts)):
        xc.write_representations(tmp_path / "a.zarr", reps, modality=modality)
    a, b = (xc.open_representations(tmp_path / "a.zarr", name) for name in ("vision", "language"))
    found = xc.alignment(a, b, k=3, pair_on="image_id")
    xr.testing.assert_allclose(
        found.compute().drop_attrs().reset_coords(drop=True),
        xc.alignment(images, texts, k=3, pair_on="image_id").drop_attrs().reset_coords(drop=True),
    )
    kept = pair(a, b, "image_id", repeats="keep")[1].rename("kept")
    kept.drop_encoding().to_dataset().to_zarr(tmp_path / "b.zarr", consolidated=False)


def test_the_snippets_of_the_docs_run():
    page = (Path(xc.__file__).parents[1] / "docs" / "data-model.md").read_text("utf-8")
    section = page.split("## Pairing by another coordinate")[1].split("\n## ")[0]
    snippets = [part.split("```")[0] for part in section.split("```python\n")[1:]]
    assert len(snippets) == 2
    exec(compile("\n".join(snippets), "data-model.md", "exec"), {})
