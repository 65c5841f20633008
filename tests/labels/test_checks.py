"""What the data model asks of an input; and that asking computes nothing."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, read_only
from xconverge import SchemaError, from_xarray, validate
from xconverge.engine.folds import fold_numbers
from xconverge.engine.resampling import per_label, strata_of
from xconverge.labels import checks, coordinates
from xconverge.labels.checks import widths

# --- widths ----------------------------------------------------------------------------------


def test_widths_without_n_features_is_the_whole():
    assert widths(make_reps()).item() == 6


@pytest.mark.slow
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
    reps = from_xarray(make_reps(extra={"layer": 2}, missing=0.3).rename(names), **names)
    assert set(reps.dims) == {"layer", "model", "stimulus", "feature"}
    assert validate(reps) is reps


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


# --- a check never computes ------------------------------------------------------------------


class Unreadable:
    """An array of text or numbers that must not be read."""

    def __init__(self, shape, dtype=object):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)

    def __getitem__(self, key):
        raise AssertionError("a coordinate was read")


def unreadable(array, *names):
    """The array where these coordinates, by default all that are no labels, cannot be read."""
    names = names or [n for n in array.coords if n not in array.dims and n != "n_features"]
    return array.assign_coords(
        {
            n: (array[n].dims, da.from_array(Unreadable(array[n].shape), array[n].shape, name=n))
            for n in names
        }
    )


def lazy_coordinates(array):
    """The array with every coordinate that is no label in chunks of two."""
    return array.assign_coords(
        {
            n: (c.dims, da.from_array(np.asarray(c.values), chunks=2))
            for n, c in array.coords.items()
            if n not in array.dims
        }
    )


def test_checks_read_nothing():
    reps = unreadable(make_reps(3, 12, [4, 6, 5], shared=False).chunk(), "n_features")
    reps = unreadable(reps)
    with no_compute():
        assert checks.check_dims(reps, "model", "stimulus") is reps
        checks.check_labels(reps, "model", "stimulus")
        assert checks.check_representations(reps) is reps
        checks.check_text(reps, "stimulus")
        checks.check_features(reps)
        one = reps.isel(model=0, feature=0, drop=True)
        assert checks.check_only(one, "stimulus", what="one") is one
        assert checks.as_features(reps) is reps


CALLS = {
    "alignment": lambda r: xc.alignment(r, r, k=3),
    "cka": lambda r: xc.alignment(r, r, "cka"),
    "dispersion": lambda r: xc.dispersion(r, "neighborhood", k=3),
    "rdm": lambda r: xc.rdm(r),
    "rsa": lambda r: xc.rsa(xc.rdm(r), xc.rdm(r)),
    "local_density": lambda r: xc.local_density(r, k=3),
    "neighbor_graph": lambda r: xc.neighbor_graph(r, k=3),
    "center": lambda r: xc.center(r),
    "pca": lambda r: xc.pca(r, 2),
    "pair": lambda r: xc.pair(r, r.isel(stimulus=slice(9)), join="inner")[0],
}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("chunks", [{}, {"stimulus": 5}])
@pytest.mark.parametrize("name", CALLS)
def test_coordinates_stay_lazy_and_ride_along(name, chunks):
    reps = make_reps(3, 12, [4, 6, 5], missing=0.1, shared=False)
    expected = CALLS[name](reps)
    bare = reps.chunk(chunks).drop_vars(["n_features", "family", "category", "caption"])
    told = {n: reps[n] for n in ("n_features", "family", "category", "caption")}
    with no_compute():
        found = CALLS[name](unreadable(bare.assign_coords(told)))
    if "category" in expected.coords:
        assert {"category", "caption"} <= set(found.coords)
        assert found["category"].chunks
        with pytest.raises(AssertionError, match="was read"):
            found["category"].compute()
    found = CALLS[name](lazy_coordinates(reps.chunk(chunks)))
    xr.testing.assert_allclose(found.compute(), expected)


def test_stimulus_coordinates_are_compared_by_value_wherever_they_are():
    a = make_reps(2, 12, 5)
    b = make_reps(2, 12, 5, seed=0)
    other = b.assign_coords(caption=("stimulus", [f"text {i}" for i in range(12)]))
    for one, two in ((b, other), (lazy_coordinates(b), lazy_coordinates(other))):
        assert {"category", "caption"} <= set(xc.alignment(a, one, k=3).coords)
        found = set(xc.alignment(a, two, k=3).coords)
        assert {"category", "caption_a", "caption_b"} <= found
        assert "caption" not in found


def test_what_is_read_is_the_one_coordinate_that_is_needed():
    reps = lazy_coordinates(make_reps(4, 12, [4, 6, 5, 6]))
    for needed, call in {
        "n_features": lambda r: widths(r).values.tolist(),
        "family": lambda r: {g: list(m) for g, m in checks.model_groups(r, "family").items()},
        "category": lambda r: strata_of("category", (r, r)).values.tolist(),
        "caption": lambda r: per_label("caption", (r, r), "strata").values.tolist(),
    }.items():
        others = [n for n in reps.coords if n not in (*reps.dims, needed)]
        with no_compute():
            found = call(unreadable(reps, *others))
        assert found == call(reps.compute())
    others = ("family", "caption", "n_features")
    with no_compute():
        folds = fold_numbers(unreadable(reps, *others), 2, "category")
    xr.testing.assert_identical(folds, fold_numbers(reps.compute(), 2, "category"))


def test_pairing_reads_the_coordinate_that_pairs():
    reps = make_reps(2, 12, 4)
    reps = reps.assign_coords(
        image_id=("stimulus", [f"img {s[1:]}" for s in reps["stimulus"].values])
    )
    images = make_reps(2, 12, 3).assign_coords(stimulus=reps["image_id"].values)
    _, expected = xc.pair(images, reps, on="image_id")
    lazy = unreadable(lazy_coordinates(reps), "category", "caption", "family")
    with no_compute():
        b = xc.pair(images, lazy.chunk(), on="image_id")[1]
    assert b["stimulus"].values.tolist() == expected["stimulus"].values.tolist()
    assert b["caption"].chunks


@pytest.mark.slow
def test_a_coordinate_on_a_cluster_is_read_there(client):
    reps = make_reps(3, 12, [4, 6, 5])
    held = lazy_coordinates(reps).persist(scheduler=client)
    assert coordinates.cluster() is client
    assert widths(held).values.tolist() == [4, 6, 5]
    assert list(checks.model_groups(held, "family")) == ["family0", "family1"]


def test_without_a_cluster_there_is_none():
    assert coordinates.cluster() is None


def test_lazy_coordinates_that_two_inputs_have_are_not_compared():
    reps = make_reps(3, 12, 5)
    spread = unreadable(xc.dispersion(reps, "rdm").chunk(), "category", "caption")
    score = xc.alignment(reps, reps, k=3).chunk()
    other = {n: (score[n].dims, score[n].data) for n in ("category", "caption")}
    with no_compute():
        found = xc.modulation(spread, score.assign_coords(other), n_permutations=0, null="labels")
    assert found["correlation"].chunks
