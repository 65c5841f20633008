"""Labels that look alike, are of two kinds, long, empty or doubled; models that saw nothing."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge import SchemaError, validate
from xconverge.labels.checks import check_text
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import listing, shown

NFC, NFD = "caf\u00e9", "cafe\u0301"


def named(labels, seed=0):
    """A set with these stimuli."""
    reps = make_reps(2, len(labels), 3, seed)
    return reps.assign_coords(stimulus=np.array(labels, dtype=object))


def why(a, b, **kwargs):
    with pytest.raises(SchemaError) as caught:
        join_labels(a, b, **kwargs)
    return str(caught.value)


# --- labels of two sets that nearly match --------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "ways", "told"),
    [
        (NFC, NFD, "their Unicode form", r"'caf\\xe9' and 'cafe\\u0301'"),
        ("dog", "dog ", "spaces around them", "'dog' and 'dog '"),
        ("dog", "\tdog", "spaces around them", r"'dog' and '\tdog'"),
        ("Dog", "dog", "case", "'Dog' and 'dog'"),
        (NFC.upper() + " ", NFD, "case and spaces around them and their Unicode form", ""),
        ("Straße", "STRASSE", "case", "'Straße' and 'STRASSE'"),
    ],
)
def test_a_join_that_fails_by_next_to_nothing_says_so(one, other, ways, told):
    text = why(named(["a", "b", one]), named(["a", "b", other], 1))
    assert f"1 of them differ only in {ways}: " in text
    assert told in text
    assert "compared exactly" in text
    assert "unicodedata.normalize('NFC', s).strip()" in text
    assert ("casefold" in text) == ("case" in ways)


def test_the_cure_of_the_error_is_one():
    a, b = named(["a", "b", NFC]), named([NFD, "b ", "a"], 1)
    assert "2 of them differ only in" in why(a, b)
    cured = [unicodedata.normalize("NFC", s).strip() for s in b.stimulus.values]
    left, right, _ = join_labels(a, b.assign_coords(stimulus=cured))
    assert left.stimulus.values.tolist() == right.stimulus.values.tolist() == ["a", "b", NFC]


def test_labels_are_never_matched_behind_the_users_back():
    a, b = named(["a", "b", "Dog"]), named(["a", "b", "dog"], 1)
    left, _, dropped = join_labels(a, b, join="inner")
    assert left.stimulus.values.tolist() == ["a", "b"]
    assert dropped == 2


@pytest.mark.parametrize("join", ["exact", "inner"])
def test_nothing_in_common_but_for_case(join):
    text = why(named(["Cat", "Dog"]), named(["cat", "dog"], 1), join=join)
    assert "differ only in case" in text


def test_other_differences_are_not_called_small():
    text = why(named(["a", "b", "dog"]), named(["a", "b", "dogs"], 1))
    assert "differ only in" not in text


def test_disjoint_labels_hint_at_pairing():
    assert "xconverge.pair(…, on='…')" in why(named(["a", "b"]), named(["c", "d"], 1))


@pytest.mark.parametrize("join", ["exact", "inner"])
def test_whole_numbers_are_joined_with_their_text(join):
    text = named(["1", "2", "3"])
    number = text.assign_coords(stimulus=[3, 1, 2])
    left, right, dropped = join_labels(text, number, join=join)
    assert dropped == 0
    assert left.stimulus.values.tolist() == right.stimulus.values.tolist() == ["1", "2", "3"]
    np.testing.assert_array_equal(right, text.values[:, [1, 2, 0]])
    said = why(text, text.assign_coords(stimulus=[1.0, 2.0, 3.0]), join=join)
    assert "labels of b on 'stimulus' must be text or whole numbers, or dates" in said
    assert "number 1 is 1.0 (float)" in said


@pytest.mark.parametrize("join", ["exact", "inner"])
def test_other_dims_have_labels_of_their_own_kind(join):
    text = named(["a", "b"]).expand_dims(layer=["1", "2"])
    number = text.assign_coords(layer=[1, 2])
    for sides, name in (((text, number), "b"), ((number, text), "a")):
        said = why(*sides, dim="layer", join=join)
        other = {"a": "b", "b": "a"}[name]
        assert f"{name} has int labels, {other} has text, and 1 is not '1'" in said
        assert ".assign_coords(layer=….layer.astype(str))" in said


def test_every_measure_says_it():
    a, b = named([f"s{i}" for i in range(6)]), named([f"S{i}" for i in range(6)], 1)
    for call in (
        lambda: xc.alignment(a, b, k=2),
        lambda: xc.rsa(xc.rdm(a), xc.rdm(b)),
        lambda: xc.stack_models({"a": a.isel(model=0, drop=True), "b": b.isel(model=0, drop=True)}),
    ):
        with pytest.raises(SchemaError, match="6 of them differ only in case|only in case"):
            call()


# --- labels of one set that nearly match -------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a", NFC, NFD], r"'caf\\\\xe9' and 'cafe\\\\u0301'"),
        (["a", "dog", "dog "], "'dog' and 'dog '"),
        (["a", " dog", "dog"], "' dog' and 'dog'"),
        (["a", "dog", "dog\u00a0"], "'dog' and 'dog.xa0'"),
    ],
)
def test_labels_that_one_cannot_tell_apart_are_refused(labels, told, tmp_path):
    reps = named(labels)
    for call in (
        lambda: validate(reps),
        lambda: check_text(reps, "stimulus"),
        lambda: xc.write_representations(tmp_path / "a.zarr", reps, modality="vision"),
    ):
        with pytest.raises(SchemaError, match=f"on 'stimulus' that differ only in.*{told}"):
            call()
    models = make_reps(2, 4, 3).assign_coords(model=["net", "net "])
    with pytest.raises(SchemaError, match="labels on 'model' that differ only"):
        validate(models)


@pytest.mark.parametrize("labels", [["dog", "Dog", "DOG"], [" dog", "cat ", "a b"], ["é", "e"]])
def test_other_labels_are_good(labels):
    reps = named(labels)
    assert validate(reps) is reps
    xr.testing.assert_identical(join_labels(reps, reps[:, ::-1])[1], reps)


def test_many_twins_are_counted():
    labels = [f"s{i}" for i in range(8)]
    with pytest.raises(SchemaError, match=r"… \(8 in all\)"):
        validate(named([*labels, *(f"{label} " for label in labels)]))


# --- long, empty, doubled ----------------------------------------------------------------------


def test_long_labels_work_and_are_shown_short():
    long = [f"{i:04d}" + "x" * 1992 + f"{i:04d}" for i in range(12)]
    a, b = named(long), named(long[::-1], 1)
    score = xc.alignment(a, b, k=3)
    assert score.stimulus.values.tolist() == long
    text = why(a, named([*long[:11], "other"], 1))
    assert len(text) < 600
    assert "0011xxxx" in text
    assert "xxx0011' (2,000 characters)" in text
    assert shown("x" * 80) == repr("x" * 80)
    assert len(listing(long)) < 600


def test_long_labels_go_through_a_store(tmp_path):
    reps = named(["y" * 2000, "z" * 2000, "a"])
    xc.write_representations(tmp_path / "a.zarr", reps, modality="vision")
    opened = xc.open_representations(tmp_path / "a.zarr", "vision")
    assert opened.stimulus.values.tolist() == reps.stimulus.values.tolist()


def test_captions_may_be_empty(tmp_path):
    reps = named(["a", "b", "c"]).assign_coords(caption=("stimulus", ["", "a dog", ""]))
    assert validate(reps) is reps
    xc.write_representations(tmp_path / "a.zarr", reps, modality="vision")
    opened = xc.open_representations(tmp_path / "a.zarr", "vision")
    assert opened.caption.values.tolist() == ["", "a dog", ""]


def test_missing_captions_stay_in_memory_and_are_not_written(tmp_path):
    texts = np.array(["a cat", np.nan, None], dtype=object)
    reps = named(["a", "b", "c"]).assign_coords(caption=("stimulus", texts))
    assert validate(reps) is reps
    found = xc.dispersion(reps)
    assert found.caption.isnull().values.tolist() == [False, True, True]
    with pytest.raises(SchemaError, match="'caption' is text and is missing for.*'b', 'c'"):
        xc.write_representations(tmp_path / "a.zarr", reps, modality="vision")


def test_doubled_labels_are_named():
    reps = named(["a", "b", "a", "c", "b"])
    for call in (
        lambda: validate(reps),
        lambda: xc.alignment(reps, reps, k=2),
        lambda: xc.rdm(reps),
        lambda: xc.dispersion(reps, "rdm"),
        lambda: xc.pair(reps, reps, on="caption"),
    ):
        with pytest.raises(SchemaError, match="duplicate labels on 'stimulus': 'a', 'b'"):
            call()


def test_empty_and_missing_labels_are_refused():
    with pytest.raises(SchemaError, match="empty label on 'stimulus'"):
        validate(named(["a", "", "b"]))
    with pytest.raises(SchemaError, match="missing labels on 'stimulus'"):
        xc.alignment(named(["a", None, "b"]), named(["a", None, "b"]), k=1)


# --- models that saw nothing, and have no width ------------------------------------------------


def blind(shared=False):
    """The second of three models saw none of 20 stimuli."""
    widths = 5 if shared else [5, 6, 4]
    return make_reps(3, 20, widths, missing=[(1, i) for i in range(20)], shared=shared)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean", "consensus"])
def test_dispersion_is_that_of_the_others(metric, lazy):
    reps = blind(shared=True)
    found = xc.dispersion(reps.chunk(model=1, stimulus=6) if lazy else reps, metric)
    expected = xc.dispersion(reps.isel(model=[0, 2]), metric)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found.n_models == 2).all()


@pytest.mark.filterwarnings("ignore:k=3 neighbours:RuntimeWarning")
@pytest.mark.parametrize("metric", ["neighborhood", "rdm"])
def test_dispersion_without_bases_is_that_of_the_others(metric):
    found = xc.dispersion(blind(), metric, k=3)
    np.testing.assert_allclose(found, xc.dispersion(blind().isel(model=[0, 2]), metric, k=3))
    alone = xc.dispersion(blind().isel(model=[0, 1]), metric, k=3)
    assert alone.isnull().all()


METRICS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn", "cknna", "cka", "svcca",
           "procrustes", "linear_predictivity", "rsa"]  # fmt: skip


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_alignment_with_a_blind_model_is_nan_with_a_warning(metric, lazy):
    a, b = blind(), make_reps(2, 20, [5, 6], seed=1)
    options = {"n_components": 2} if metric == "svcca" else {}
    if metric in ("svcca", "linear_predictivity"):
        options["rng"] = 0  # both draw their folds
    if lazy:
        a, b = a.chunk(model=1, stimulus=7), b.chunk(model=1)
    with pytest.warns(RuntimeWarning, match="NaN"):
        found = xc.alignment(a, b, metric, k=3, **options).compute()
    others = xc.alignment(a.isel(model=[0, 2]), b, metric, k=3, **options).compute()
    assert found.isel(model_a=1).isnull().all()
    xr.testing.assert_allclose(found.isel(model_a=[0, 2]), others)
    assert others.notnull().any()


def test_neighbors_of_a_blind_model_block_by_block(everything_is_long):
    a, b = blind().chunk(model=1, stimulus=6), make_reps(2, 20, 5, seed=1).chunk(model=1)
    with pytest.warns(RuntimeWarning, match="none: NaN"):  # of the model, and of its pairs
        found = xc.alignment(a, b, k=3).compute()
    assert found.isel(model_a=1).isnull().all()
    assert found.isel(model_a=[0, 2]).notnull().all()


def test_rdms_and_rows_of_a_blind_model_are_nan():
    with pytest.warns(RuntimeWarning, match="pairs that share 0 have none: NaN"):
        rows = xc.alignment(blind(), blind(), "rdm")
    for found in (xc.rdm(blind()), rows, xc.pca(blind(), 2)):
        name = "model_a" if "model_a" in found.dims else "model"
        assert found.isel({name: 1}).isnull().all()
        assert found.isel({name: 0}).notnull().any()
    with pytest.warns(RuntimeWarning, match="need at least 4 stimuli, and a model saw none"):
        density = xc.local_density(blind(), 3)
    assert density.isel(model=1).isnull().all()


def test_p_values_of_a_blind_model_are_nan():
    with pytest.warns(RuntimeWarning) as said:
        table = xc.calibrate(blind(), make_reps(2, 20, 5, seed=1), k=3, n_permutations=19, rng=0)
    assert any("no p-value for 'net1 × net0'" in str(one.message) for one in said)
    assert table["p_value"].isel(model_a=1).isnull().all()
    assert table["alignment"].isel(model_a=1).isnull().all()
    assert table["p_value"].isel(model_a=0).notnull().all()


def test_a_shared_space_names_the_blind_model():
    with pytest.raises(SchemaError, match="'net1': it saw no stimulus"):
        xc.shared_space(blind())


def test_a_width_of_zero_is_refused_by_name():
    reps = make_reps(3, 12, [3, 5, 4]).assign_coords(n_features=("model", [3, 0, 4]))
    for call in (
        lambda: validate(reps),
        lambda: xc.alignment(reps, reps, k=3),
        lambda: xc.rdm(reps),
    ):
        with pytest.raises(SchemaError, match=r"n_features.*it is \[0\] for 'net1'"):
            call()
    with pytest.raises(SchemaError, match="'feature' has size 0"):
        validate(make_reps().isel(feature=slice(0)))
    with pytest.raises(SchemaError, match="model 'b' has no features"):
        xc.stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 0))}, stimuli=["x", "y"])


def test_labels_and_attrs_are_data_and_escaped_in_html(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>{0.__class__}"
    reps = xc.stack_models(
        {hostile: np.ones((2, 3))}, stimuli=[f"{hostile} a", "__import__('os')"], modality="v"
    )
    reps = reps.assign_coords(caption=("stimulus", ["<img src=x onerror=1>", hostile]))
    reps.attrs["note"] = hostile
    xc.write_representations(tmp_path / "s.zarr", reps)
    opened = xc.open_representations(tmp_path / "s.zarr", "v")
    assert opened.indexes["stimulus"].tolist() == reps.indexes["stimulus"].tolist()
    assert opened.attrs["note"] == hostile
    for html in (opened._repr_html_(), xc.open_store(tmp_path / "s.zarr")._repr_html_()):
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html
        assert "<img src=x" not in html
