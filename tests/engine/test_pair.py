"""Pairing: joins, means, what is kept, and that every result says how its inputs were paired."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import images_and_captions, make_reps, read_only, shuffled
from xconverge import SchemaError, pair
from xconverge.engine.pair import pairing_attrs, refuse_repeats

# --- coordinates and names ---------------------------------------------------------------------


def test_coordinates_that_are_the_same_in_all_rows_stay():
    _, texts = images_and_captions()
    texts = texts.assign_coords(
        photographer=("stimulus", [f"p{i[-1]}" for i in texts.image_id.values]),
        hidden=("stimulus", np.where(texts.image_id == texts.image_id[0], np.nan, 1.0)),
        length=("stimulus", np.arange(texts.sizes["stimulus"])),
    )
    found, _ = pair(texts, texts, on="image_id")
    assert {"photographer", "hidden", "image_id", "n_repeats", "noise"} <= set(found.coords)
    assert not {"length", "stimulus_id"} & set(found.coords)
    assert found.photographer.values.tolist() == [f"p{i[-1]}" for i in found.stimulus.values]
    kept, _ = pair(texts, texts, on="image_id", repeats="keep")
    assert kept.photographer.dims == ("stimulus",)
    assert kept.length.dims == ("repeat_a", "stimulus")
    assert kept.length.isnull().any()
    assert "n_repeats" not in kept.coords


def test_one_to_one_only_renames():
    images, texts = images_and_captions()
    texts = texts.isel(stimulus=np.unique(texts.image_id, return_index=True)[1])
    found, same = pair(texts, images, on="image_id")
    assert found.data is texts.data or np.shares_memory(found.values, texts.values)
    assert found.stimulus_id.values.tolist() == texts.stimulus.values.tolist()
    assert "n_repeats" not in found.coords
    assert "stimulus_id" not in same.coords
    xr.testing.assert_identical(pair(found, same, on="image_id")[0], found)


def test_each_side_may_have_its_own_coordinate():
    images, texts = images_and_captions()
    named = texts.rename(image_id="photo")
    photos = images.assign_coords(
        key=("stimulus", images.stimulus.values), stimulus=[f"x{i}" for i in range(30)]
    )
    a, b = pair(photos, named, on=("key", "photo"))
    assert set(a.stimulus.values) == set(b.stimulus.values) == set(images.stimulus.values)
    c, d = pair(images, named, on=("stimulus", "photo"))
    np.testing.assert_array_equal(c, a)
    np.testing.assert_array_equal(d, b)
    assert a.attrs["pair_on"] == ["key", "photo"]
    json.dumps(a.attrs)
    with pytest.raises(SchemaError, match="'key' must be a coordinate on 'stimulus' of b"):
        pair(photos, named, on=("key", "key"))


def test_both_sides_may_have_it():
    _, one = images_and_captions()
    _, other = images_and_captions(each=3, seed=1)
    a, b = pair(one, other, on="image_id")
    assert set(a.stimulus.values) == set(b.stimulus.values)
    assert {"n_repeats_a", "n_repeats_b"} <= set(xc.alignment(a, b, k=3).coords)


def test_other_dims_are_named_at_the_door():
    images, texts = images_and_captions()
    names = {"model": "network", "stimulus": "item", "feature": "unit"}
    a, b = (xc.from_xarray(side.rename(names), **names) for side in (images, texts))
    plain = xc.alignment(*pair(images, texts, on="image_id"), k=3)
    named = xc.alignment(*pair(a, b, on="image_id"), k=3)
    np.testing.assert_array_equal(named, plain)
    _, found = pair(a, b, on="image_id")
    assert found.indexes["stimulus"].is_unique
    one = b.isel(stimulus=np.unique(b.image_id, return_index=True)[1])
    assert "stimulus_id" in pair(a, one, on="image_id")[1].coords


# --- what is refused ---------------------------------------------------------------------------


def with_ids(values):
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
        ([1.5, 2.0, 3.0], "labels of b in 'image_id' must be text or whole.*number 1 is 1.5"),
        ([1, "2", "3"], "b: 'image_id' holds 'int', 'str', which xarray or Zarr cannot hold"),
    ],
)
def test_values_that_are_no_labels_are_refused(values, message):
    with pytest.raises(SchemaError, match=message):
        pair(make_reps(2, 3, 3), with_ids(values), on="image_id")


@pytest.mark.parametrize("numbers", [[7, 2, 2], np.array([7, 2, 2], ">i4"), pd.array([7, 2, 2])])
def test_whole_numbers_pair_as_their_text(numbers):
    both = make_reps(2, 3, 3).assign_coords(image_id=("stimulus", numbers))
    assert pair(both, both, on="image_id")[0].stimulus.values.tolist() == ["7", "2"]
    images = make_reps(2, 2, 4).assign_coords(stimulus=["2", "7"])
    other = pair(images, both, on="image_id")[1]
    assert other.stimulus.values.tolist() == ["2", "7"]
    np.testing.assert_allclose(other[:, 0], both[:, 1:].mean("stimulus"))
    np.testing.assert_array_equal(other[:, 1], both[:, 0])
    again = pair(images, both.assign_coords(image_id=("stimulus", ["7", "2", "2"])), on="image_id")
    np.testing.assert_array_equal(again[1], other)


def test_a_coordinate_that_nobody_has():
    images, texts = images_and_captions()
    with pytest.raises(
        SchemaError, match="'imageid'.*at least one side; a has.*'noise'; b has.*'image_id'"
    ):
        pair(images, texts, on="imageid")
    with pytest.raises(SchemaError, match="'model_family'"):
        pair(images.assign_coords(model_family="x"), texts, on="model_family")


@pytest.mark.parametrize("on", ["", ("a",), ("a", ""), 3, ("a", "b", "c")])
def test_on_is_one_name_or_two(on):
    with pytest.raises((ValueError, TypeError)):
        pair(make_reps(), make_reps(), on=on)


def test_without_on_labels_are_the_labels():
    a = make_reps()
    one, other = pair(a, shuffled(a))
    xr.testing.assert_equal(one, a)
    xr.testing.assert_equal(other, a)
    assert one.attrs["join"] == "exact"
    assert not {"pair_on", "repeats"} & set(one.attrs)


def test_repeats_is_checked():
    with pytest.raises(ValueError, match="repeats='sum'"):
        pair(make_reps(), make_reps(), on="caption", repeats="sum")
    with pytest.raises(ValueError, match="goes with on"):
        pair(make_reps(), make_reps(), repeats="keep")
    with pytest.raises(TypeError, match="xarray.DataArray"):
        pair(make_reps(), [1, 2], on="caption")


def test_bins_are_not_averaged(raising_scheduler):
    images, texts = images_and_captions()
    spread = xc.dispersion(texts, "rdm")
    bins = xc.dispersion_bins(spread)
    with pytest.raises(SchemaError, match="mean of labels means nothing.*dispersion_bins"):
        pair(bins, images, on="image_id")
    plain = bins.drop_attrs()
    with pytest.raises(SchemaError, match=r"whole numbers.*\.astype\(float\)"):
        pair(plain, images, on="image_id")
    with pytest.raises(SchemaError, match="if they are lazy"):
        pair(plain.chunk(), images, on="image_id")
    number = np.array([int(i.split()[1]) for i in texts.image_id.values])
    same = plain.copy(data=number)
    found, _ = pair(same, images, on="image_id")
    assert found.dtype == same.dtype
    assert found.values.tolist() == [int(i.split()[1]) for i in found.stimulus.values]
    kept, _ = pair(bins, images, on="image_id", repeats="keep")
    assert set(np.unique(kept.values[~np.isnan(kept.values)])) <= set(np.unique(bins))


def test_graphs_hold_positions():
    images, texts = images_and_captions()
    graph = xc.neighbor_graph(texts, 3)
    with pytest.raises(SchemaError, match="pair the representations first"):
        pair(images, graph, on="image_id")
    with pytest.raises(SchemaError, match="pair the representations first"):
        pair(images, graph, on="image_id", repeats="keep")
    one = shuffled(texts.isel(stimulus=np.unique(texts.image_id, return_index=True)[1]))
    xr.testing.assert_allclose(
        xc.alignment(*pair(images, xc.neighbor_graph(one, 3), on="image_id"), k=3).drop_attrs(),
        xc.alignment(*pair(images, one, on="image_id"), k=3).drop_attrs(),
    )


# --- every function of two inputs; those of a study are in tests/study/test_pairing.py ---------


CALLS = {
    "alignment": lambda a, b: xc.alignment(a, b, k=3),
    "alignment_reliability": lambda a, b: xc.alignment_reliability(a, b, k=3, n_splits=3, rng=0),
    "calibrate": lambda a, b: xc.calibrate(a, b, k=3, n_permutations=9, rng=0),
    "calibrate_rsa": lambda a, b: xc.calibrate_rsa(*rdms_of(a, b), n_permutations=9, rng=0),
    "confidence_interval": lambda a, b: xc.confidence_interval(a, b, k=3, rng=0),
    "cross_temporal_rsa": lambda a, b: xc.cross_temporal_rsa(
        *(rdm.expand_dims(time=[0.0, 0.1]) for rdm in rdms_of(a, b)), n_permutations=9, rng=0
    ),
    "rsa": lambda a, b: xc.rsa(*rdms_of(a, b)),
    "searchlight": lambda a, b: xc.searchlight(a, b, neighborhoods=[[0, 1, 2], [1, 2, 3, 4]]),
}
"""Every one maps over ``repeat``."""
STUDY = {
    "binned_rsa", "binned_rsa_contrast", "binned_searchlight", "cross_modal_prediction",
    "exclude_high_dispersion", "leave_out_modulation", "modulation", "optimize_stimuli",
    "pool_curve", "select_models", "select_stimuli", "subset_contrast",
}  # fmt: skip
ONE_SET = {
    "dispersion_bins": "one dispersion",
    "rdm": "trials and the covariance of their noise, joined on models and further dims",
    "residual_component": "a space and the set that it was fitted to, joined on models too",
    "stack_models": "stacks the models of one set, which has one kind of ids; pair comes before",
    "trial_ceiling": "trials of one set; bins must be of the same stimuli",
    "trial_reliability": "trials of one set; bins must be of the same stimuli",
    "transform": "space and reps are joined on models and features, not on stimuli",
}


def rdms_of(a, b):
    return xc.rdm(a), xc.rdm(b)


TWO = {("a", "b"), ("rdm_a", "rdm_b"), ("reps", "target"), ("dispersion", "alignment"),
       ("agreement", "dispersion"), ("array", "dispersion"), ("reps", "space"),
       ("dispersion", "distances"), ("reps", "distances")}  # fmt: skip


def has_two_labelled_inputs(name):
    """Whether a public function joins labels of several arrays."""
    parameters = inspect.signature(getattr(xc, name)).parameters
    arrays = [p for p, v in parameters.items() if "DataArray" in str(v.annotation)]
    return "join" in parameters or any(set(two) <= set(parameters) for two in TWO) or (
        len(arrays) > 1
    )  # fmt: skip


FUNCTIONS = [
    name for name in xc.__all__ if inspect.isfunction(getattr(xc, name)) and name != "pair"
]


def test_no_function_of_two_inputs_is_forgotten():
    found = {name for name in FUNCTIONS if has_two_labelled_inputs(name)}
    assert found <= set(CALLS) | STUDY | set(ONE_SET)
    assert set(CALLS) <= found


@pytest.mark.parametrize("name", CALLS)
def test_pairing_is_left_to_pair(name):
    parameters = inspect.signature(getattr(xc, name)).parameters
    assert not {"join", "pair_on", "repeats", "stimulus", "feature", "model"} & set(parameters)
    assert "rng" not in parameters or parameters["rng"].default is None


def numbers_of(result):
    """Everything that a call found, by name."""
    return dict(result.data_vars) if isinstance(result, xr.Dataset) else {"one": result}


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_result_says_how_its_inputs_were_paired(name):
    images, texts = images_and_captions()
    found = CALLS[name](*pair(images, texts, on="image_id"))
    for attrs in (found.attrs, *(one.attrs for one in numbers_of(found).values())):
        assert (attrs["pair_on"], attrs["repeats"], attrs["join"]) == ("image_id", "mean", "exact")
        assert attrs["n_dropped"] == 0
        json.dumps(attrs)
    mixed = CALLS[name](*pair(images, shuffled(texts, 5), on="image_id"))
    for key, one in numbers_of(mixed).items():
        other = numbers_of(found)[key]
        if one.dtype.kind == "f":
            other = other.sel({d: one[d] for d in one.dims if d in one.coords})
            np.testing.assert_allclose(one, other.transpose(*one.dims), atol=1e-9, err_msg=key)


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_order_of_stimuli_is_irrelevant(name):
    a, b = (side.isel(model=[0, 1]) for side in pair(*images_and_captions(), on="image_id"))
    found = CALLS[name](a, b)
    mixed = CALLS[name](shuffled(a, 1), shuffled(b, 2))
    for key, one in numbers_of(found).items():
        if one.dtype.kind == "f":
            other = numbers_of(mixed)[key]
            other = other.sel({d: one[d] for d in one.dims if d in one.coords})
            np.testing.assert_allclose(one, other.transpose(*one.dims), atol=1e-9, err_msg=key)


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_kept_repeats_are_mapped_over(name):
    images, texts = images_and_captions(fewer=8)
    found = CALLS[name](*pair(images, texts, on="image_id", repeats="keep"))
    parts = [one for one in numbers_of(found).values() if "repeat" in one.dims]
    assert found.attrs["repeats"] == "keep"
    assert any(np.isfinite(one.isel(repeat=1)).any() for one in parts)


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_sets_of_other_stimuli_are_refused_with_the_cure(name):
    a, b = pair(*images_and_captions(), on="image_id")
    few = a, b.isel(stimulus=slice(25))
    with pytest.raises(SchemaError, match=r"same labels on 'stimulus'.*xconverge\.pair"):
        CALLS[name](*few)
    found = CALLS[name](*pair(*few, join="inner"))
    assert found.attrs["n_dropped"] == 5
    assert found.attrs["join"] == "inner"


# --- joins -------------------------------------------------------------------------------------


def test_more_arrays_are_cut_alike():
    a, b = make_reps(2, 12, 4, seed=1), make_reps(3, 12, 5, seed=2)
    spread = xc.dispersion(make_reps(3, 12, 5, seed=3), "rdm")
    rdms = xc.rdm(shuffled(b, 4))
    few = [a, b.isel(stimulus=slice(10)), spread.isel(stimulus=slice(1, None)), rdms]
    with pytest.raises(SchemaError, match=r"join=\"inner\""):
        pair(*few)
    found = pair(*few, join="inner")
    common = set(b["stimulus"].values[:10]) & set(spread["stimulus"].values[1:])
    order = [s for s in a["stimulus"].values if s in common]
    for one, given in zip(found, few, strict=True):
        assert one["stimulus"].values.tolist() == order
        assert one.attrs["n_dropped"] == 12 - len(order)
        where = {"stimulus": order, **({"stimulus_2": order} if one is found[3] else {})}
        np.testing.assert_array_equal(one, given.sel(where))
    assert found[3]["stimulus_2"].values.tolist() == order


def test_rdms_are_cut_on_both_dims_by_the_pairing():
    images, texts = images_and_captions()
    words = xc.rdm(texts)
    a, b, c = pair(images.isel(stimulus=slice(20)), texts, words, on="image_id", join="inner")
    assert a["stimulus"].values.tolist() == c["stimulus"].values.tolist()
    assert c["stimulus_2"].values.tolist() == c["stimulus"].values.tolist()
    whole = pair(images, words, on="image_id")[1]
    where = dict.fromkeys(("stimulus", "stimulus_2"), c["stimulus"].values)
    np.testing.assert_allclose(c, whole.sel(where))
    assert b.sizes["stimulus"] == 20


def test_nothing_in_common_is_refused():
    a = make_reps()
    other = a.assign_coords(stimulus=[f"x{i}" for i in range(12)])
    for join in ("exact", "inner"):
        with pytest.raises(SchemaError, match="'x0'|share no label"):
            pair(a, other, join=join)
    halves = a.isel(stimulus=slice(8)), a.isel(stimulus=slice(4, None)), a.isel(stimulus=[0, 11])
    with pytest.raises(SchemaError, match="share no label"):
        pair(*halves, join="inner")
    with pytest.raises(ValueError, match="join='outer'"):
        pair(a, a, join="outer")


def test_repeats_that_nothing_maps_over_are_refused_by_name():
    images, texts = images_and_captions(fewer=8)
    a, b = pair(images, texts, on="image_id", repeats="keep")
    refuse_repeats("some_call", a, None)
    for name in ("repeat", "repeat_a", "repeat_b"):
        with pytest.raises(SchemaError, match=rf"some_call maps over no further dim.*'{name}'"):
            refuse_repeats("some_call", a, b.rename(repeat=name))
    # a dim of the user's own
    refuse_repeats("some_call", b.rename(repeat="repeated_by"))


def test_attrs_of_the_first_input_come_first():
    a = make_reps().assign_attrs(join="inner", n_dropped=3)
    b = make_reps().assign_attrs(join="exact", n_dropped=0, pair_on="caption")
    assert pairing_attrs(a, None, b) == {"join": "inner", "n_dropped": 3, "pair_on": "caption"}
    assert pairing_attrs(None) == {}


# --- what rides along --------------------------------------------------------------------------


def test_strata_that_are_the_same_in_all_captions_ride_along():
    images, texts = images_and_captions()
    kind = np.array([f"kind {int(i.split()[1]) % 2}" for i in texts.image_id.values], object)
    by_caption = xr.DataArray(
        kind, dims="stimulus", coords={"stimulus": texts.stimulus.values}, name="kind"
    )
    by_name = texts.assign_coords(kind=("stimulus", kind))
    calls = [
        xc.calibrate(*sides, k=3, n_permutations=9, rng=0, strata=strata)
        for *sides, strata in (
            pair(images, texts, by_caption, on="image_id"),
            (*pair(images, by_name, on="image_id"), "kind"),
        )
    ]
    xr.testing.assert_allclose(*calls)
    by_caption[0] = "another"
    with pytest.raises(SchemaError, match=r"more 0 \(kind, object\).*mean of labels"):
        pair(images, texts, by_caption, on="image_id")


def test_nuisances_and_covariates_are_averaged():
    images, texts = images_and_captions()
    words = xc.rdm(texts.isel(model=[0])).isel(model=0, drop=True)
    texts = texts.isel(model=[1, 2])
    c = pair(images, words, on="image_id")[1]
    *rdms, control = pair(xc.rdm(images), xc.rdm(texts), words, on="image_id")
    found = xc.rsa(*rdms, nuisance=[control])
    distances = pair(images, xc.rdm(texts), on="image_id")[1]
    np.testing.assert_allclose(found, xc.rsa(xc.rdm(images), distances, nuisance=c))


# --- lazy and untouched ------------------------------------------------------------------------


def test_calls_on_paired_inputs_stay_lazy(raising_scheduler):
    images, texts = (
        side.chunk(model=1, stimulus=7, feature=5) for side in images_and_captions(fewer=8)
    )
    mean = pair(images, texts, on="image_id")
    lazily = [
        xc.alignment(*mean, k=3),
        xc.alignment(*pair(images, texts, on="image_id", repeats="keep"), k=3),
        xc.rsa(*(xc.rdm(side) for side in mean)),
        xc.rsa(*pair(*(xc.rdm(side) for side in (images, texts)), on="image_id")),
    ]
    assert all(one.chunks is not None for one in lazily)


def test_inputs_are_not_modified():
    images, texts = (read_only(side) for side in images_and_captions())
    before = images.copy(deep=True), texts.copy(deep=True)
    pair(images, texts, on="image_id")
    pair(images, texts, on="image_id", repeats="keep")
    pair(xc.rdm(images), read_only(xc.rdm(texts)), on="image_id")
    for one, other in zip((images, texts), before, strict=True):
        xr.testing.assert_identical(one, other)


@pytest.mark.slow
def test_coordinates_of_an_opened_store(tmp_path):
    images, texts = images_and_captions()
    for modality, reps in (("vision", images), ("language", texts)):
        xc.write_representations(tmp_path / "a.zarr", reps, modality=modality)
    a, b = (xc.open_representations(tmp_path / "a.zarr", name) for name in ("vision", "language"))
    found = xc.alignment(*pair(a, b, on="image_id"), k=3)
    xr.testing.assert_allclose(
        found.compute().drop_attrs().reset_coords(drop=True),
        xc.alignment(*pair(images, texts, on="image_id"), k=3).drop_attrs().reset_coords(drop=True),
    )
    kept = pair(a, b, on="image_id", repeats="keep")[1].rename("kept")
    kept.drop_encoding().to_dataset().to_zarr(tmp_path / "b.zarr", consolidated=False)


def test_the_snippets_of_the_docs_run():
    page = (Path(xc.__file__).parents[1] / "docs" / "data-model.md").read_text("utf-8")
    section = page.split("## Pairing by another coordinate")[1].split("\n## ")[0]
    snippets = [part.split("```")[0] for part in section.split("```python\n")[1:]]
    assert len(snippets) == 2
    exec(compile("\n".join(snippets), "data-model.md", "exec"), {})
