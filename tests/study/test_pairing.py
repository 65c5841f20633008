"""Every function of a study on paired inputs: it says so, and maps over repeats or refuses."""

import inspect
import json

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import images_and_captions, no_compute, shuffled
from xconverge import SchemaError, pair
from xconverge.engine.pair import pairing_attrs


def spread_of(reps):
    return xc.dispersion(reps, "rdm").assign_attrs(pairing_attrs(reps))


CALLS = {
    "analyze": lambda a, b: xc.analyze(
        {"vision": a, "language": b},
        k=3,
        n_bins=2,
        n_permutations=9,
        n_components=3,
        rng=0,
        n_equal_noise=0,
    ),
    "binned_rsa": lambda a, b: xc.binned_rsa(a, b, spread_of(a), n_permutations=9, rng=0),
    "binned_rsa_contrast": lambda a, b: xc.binned_rsa_contrast(
        a, b, spread_of(a), n_permutations=9, rng=0, null="labels"
    ),
    "binned_searchlight": lambda a, b: xc.binned_searchlight(
        a, b, spread_of(a), neighborhoods=[[0, 1, 2], [1, 2, 3, 4]]
    ),
    "cross_modal_prediction": lambda a, b: xc.cross_modal_prediction(
        xc.alignment(a, b, "rdm"),
        spread_of(a),
        xr.DataArray([1.0, 3.0, 2.0, 4.0], dims="model", coords={"model": a["model"].values}),
        n_permutations=9,
        rng=0,
        null="labels",
    ),
    "exclude_high_dispersion": lambda a, b: xc.exclude_high_dispersion(b, spread_of(a), 0.2),
    "leave_out_modulation": lambda a, b: xc.leave_out_modulation(
        a, b, k=3, n_bins=2, n_permutations=9, rng=0, null="labels"
    ),
    "modulation": lambda a, b: xc.modulation(
        spread_of(a), xc.alignment(b, b, "rdm"), n_permutations=9, rng=0, null="labels"
    ),
    "optimize_stimuli": lambda a, b: xc.optimize_stimuli(
        b, 5, distances=xc.rdm(a).mean("model"), min_distance=0.01, n_restarts=1, rng=0
    ),
    "pool_curve": lambda a, b: xc.pool_curve(a, b, sizes=[20], k=3, n_repeats=2, rng=0),
    "select_models": lambda a, b: xc.select_models(
        a, subjects(b), n_permutations=9, n_draws=20, n_splits=2, rng=0
    ),
    "select_stimuli": lambda a, b: xc.select_stimuli(
        spread_of(b), 5, distances=xc.rdm(a).mean("model"), min_distance=0.01
    ),
    "subset_contrast": lambda a, b: xc.subset_contrast(
        spread_of(a), a, b, size=8, n_random=19, k=3, rng=0, null="labels"
    ),
}
MAP_OVER = [
    "binned_rsa",
    "binned_rsa_contrast",
    "binned_searchlight",
    "exclude_high_dispersion",
    "leave_out_modulation",
    "modulation",
]


def subjects(texts):
    """Two models as the subjects of a brain."""
    brain = texts.isel(model=[0, 1], feature=slice(12))
    return brain.rename(model="subject").drop_vars("n_features")


def numbers_of(result):
    """Everything that a call found, by name."""
    if isinstance(result, xr.DataTree):
        return {
            f"{node.path}/{name}": one
            for node in result.subtree
            for name, one in node.to_dataset().data_vars.items()
        }
    return dict(result.data_vars) if isinstance(result, xr.Dataset) else {"one": result}


@pytest.mark.parametrize("name", CALLS)
def test_pairing_and_names_of_dims_are_left_to_the_doors(name):
    parameters = inspect.signature(getattr(xc, name)).parameters
    gone = {"join", "pair_on", "repeats", "stimulus", "feature", "model", "by", "measure"}
    assert not gone & set(parameters)
    assert "rng" not in parameters or parameters["rng"].default is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_result_says_how_its_inputs_were_paired(name):
    images, texts = images_and_captions()
    found = CALLS[name](*pair(images, texts, on="image_id"))
    attrs = found.attrs
    assert (attrs["pair_on"], attrs["repeats"], attrs["join"]) == ("image_id", "mean", "exact")
    assert attrs["n_dropped"] == 0
    json.dumps(attrs)
    again = CALLS[name](*pair(images, shuffled(texts, 5), on="image_id"))
    others = numbers_of(again)
    for key, one in numbers_of(found).items():
        if one.dtype.kind == "f":
            other = others[key].sel({d: one[d] for d in one.dims if d in one.coords})
            np.testing.assert_allclose(one, other.transpose(*one.dims), atol=1e-9, err_msg=key)


@pytest.mark.slow_after(2)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_repeats_are_mapped_over_or_refused(name):
    images, texts = images_and_captions(fewer=8)
    a, b = pair(images, texts, on="image_id", repeats="keep")
    if name in MAP_OVER:
        found = CALLS[name](a, b)
        parts = [one for one in numbers_of(found).values() if "repeat" in one.dims]
        assert any(np.isfinite(one.isel(repeat=1)).any() for one in parts)
        assert found.attrs["repeats"] == "keep"
    else:
        with pytest.raises(SchemaError, match=rf"{name} maps over no further dim.*repeats='mean'"):
            CALLS[name](a, b)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_sets_of_other_stimuli_are_refused_with_the_cure(name):
    images, texts = images_and_captions()
    a, b = pair(images, texts, on="image_id")
    if name in ("modulation", "select_stimuli", "optimize_stimuli"):
        few = a.isel(stimulus=slice(25)), b
    else:
        few = a, b.isel(stimulus=slice(25))
    with pytest.raises(SchemaError, match=r"same labels on 'stimulus'.*xconverge\.pair"):
        CALLS[name](*few)
    common = pair(*few, join="inner")
    assert CALLS[name](*common).attrs["n_dropped"] == 5


@pytest.mark.slow
def test_a_third_array_has_the_labels_of_its_side_or_those_of_the_pairing():
    images, texts = images_and_captions()
    by_caption = xc.dispersion(texts, "rdm")
    by_image = pair(by_caption, images, on="image_id")[0]
    bare = by_caption.reset_coords(drop=True)
    calls = [
        xc.binned_rsa(*pair(images, texts, one, on="image_id"), n_permutations=9, rng=0)
        for one in (by_caption, bare, shuffled(bare), by_image, by_image.reset_coords(drop=True))
    ]
    for one in calls[1:]:
        xr.testing.assert_allclose(one, calls[0])
    a, b = pair(images, texts, on="image_id")
    direct = xc.binned_rsa(a, b, by_image, n_permutations=9, rng=0)
    xr.testing.assert_allclose(direct.drop_attrs(), calls[0].drop_attrs())


def test_labels_that_mean_two_things_are_refused():
    images, texts = images_and_captions()
    numbers = [str(i) for i in range(30)]
    images = images.assign_coords(stimulus=numbers)
    texts = texts.assign_coords(
        stimulus=[str(i) for i in range(texts.sizes["stimulus"])],
        image_id=("stimulus", [i.split()[1] for i in texts["image_id"].values]),
    )
    spread = xc.dispersion(images, "rdm").reset_coords(drop=True)
    with pytest.raises(SchemaError, match="can be paired in several ways.*'image_id'"):
        pair(images, texts, spread, on="image_id")
    named = spread.assign_coords(image_id=("stimulus", numbers))
    found = xc.binned_rsa(*pair(images, texts, named, on="image_id"), n_permutations=0)
    a, b = pair(images, texts, on="image_id")
    expected = xc.binned_rsa(a, b, spread, n_permutations=0)
    np.testing.assert_array_equal(found["rsa"], expected["rsa"])


def test_labels_that_no_side_knows_are_left_to_the_join():
    images, texts = images_and_captions()
    spread = xc.dispersion(texts, "rdm").reset_coords(drop=True)
    labels = np.where(np.arange(spread.size) == 3, "elsewhere", spread["stimulus"].values)
    some = spread.assign_coords(stimulus=labels)
    with pytest.raises(SchemaError, match="missing from a: 'elsewhere'"):
        pair(images, texts, some, on="image_id")
    common = pair(images, texts, some, on="image_id", join="inner")
    found = xc.binned_rsa(*common, n_permutations=0)
    assert found["rsa"].attrs["n_dropped"] == 1


def test_covariates_are_averaged():
    images, texts = images_and_captions()
    texts = texts.isel(model=[1, 2])
    density = xc.local_density(texts, 3).mean("model")
    spread = xc.dispersion(texts, "rdm")
    b = pair(images, texts, on="image_id")[1]
    score = xc.alignment(images, b, k=3).reset_coords(drop=True)
    one, values, other = pair(spread, score, density, on="image_id")
    found = xc.modulation(one, values, covariates=[other], n_permutations=9, rng=0, null="labels")
    own, mean = (pair(part, images, on="image_id")[0] for part in (spread, density))
    expected = xc.modulation(own, score, covariates=[mean], n_permutations=9, rng=0, null="labels")
    np.testing.assert_allclose(found["correlation"], expected["correlation"])


def test_captions_of_an_image_go_or_stay_together():
    images, texts = images_and_captions()
    spread = xc.dispersion(images, "rdm")
    captions, own = pair(texts, spread, on="image_id", repeats="keep")
    kept = xc.exclude_high_dispersion(captions, own, 0.2)
    left = set(xc.exclude_high_dispersion(images, spread, 0.2)["stimulus"].values)
    expected = {s for s, i in zip(texts["stimulus"].values, texts["image_id"].values, strict=True)
                if i in left}  # fmt: skip
    assert set(kept["stimulus"].values) == left
    assert set(kept["stimulus_id"].values.ravel()) - {""} == expected
    assert kept.attrs["n_excluded"] == 6
    assert kept.attrs["pair_on"] == "image_id"
    by_caption = xc.dispersion(texts, "rdm")
    same, mean = pair(images, by_caption, on="image_id")
    fewer = xc.exclude_high_dispersion(same.to_dataset(name="x"), mean, 0.2)["x"]
    assert set(fewer["stimulus"].values) == set(mean["stimulus"].values[np.argsort(mean)][:24])
    rdms, own = pair(xc.rdm(texts), spread, on="image_id", repeats="keep")
    both = xc.exclude_high_dispersion(rdms, own, 0.2)
    assert set(both["stimulus"].values) == set(both["stimulus_2"].values) == left


def test_calls_on_paired_inputs_stay_lazy():
    images, texts = (
        side.chunk(model=1, stimulus=7, feature=5) for side in images_and_captions(fewer=8)
    )
    with no_compute():
        spread, score = pair(
            xc.dispersion(texts, "rdm"), xc.alignment(images, images, k=3), on="image_id"
        )
        assert xc.modulation(spread, score, null="labels")["correlation"].chunks is not None


@pytest.mark.slow
def test_a_study_of_paired_sets_of_a_store(tmp_path):
    images, texts = images_and_captions()
    for modality, reps in (("vision", images), ("language", texts)):
        xc.write_representations(tmp_path / "a.zarr", reps, modality=modality)
    opened = (xc.open_representations(tmp_path / "a.zarr", name) for name in ("vision", "language"))
    vision, language = pair(*opened, on="image_id")
    study = xc.analyze({"vision": vision, "language": language}, k=3, n_bins=2, n_permutations=9,
        n_components=3, rng=0, n_equal_noise=0)  # fmt: skip
    xc.write_study(tmp_path / "c.zarr", study)
    assert xc.open_store(tmp_path / "c.zarr").attrs["pair_on"] == "image_id"
