"""The facts that an independent plain-loop program found on the shipped data."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.cli.demo import shipped

NEURAL = [
    "vit_s14_saliency",
    "mobilenetv2_in1k",
    "efficientnet_lite0_in1k",
    "opennsfw_resnet50thin",
    "ppocrv4_det",
    "craft_vgg16bn",
]


def stored(group):
    with shipped() as folder:
        return xc.open_representations(folder / "demo.zarr", group).load()


@pytest.fixture(scope="module")
def vision():
    return stored("vision").sel(model=NEURAL)


@pytest.fixture(scope="module")
def language():
    return stored("language")


@pytest.fixture(scope="module")
def agreement(vision, language):
    return xc.alignment(vision, language, "mutual_knn", k=10)


@pytest.fixture(scope="module")
def density(vision):
    return xc.local_density(vision, k=10).mean("model")


@pytest.fixture(scope="module")
def brains():
    with shipped() as folder:
        return xc.open_store(folder / "demo.zarr").load()


@pytest.mark.slow
def test_mean_mutual_knn(agreement):
    assert agreement.sizes == {"model_a": 6, "model_b": 6, "stimulus": 1380}
    assert float(agreement.mean()) == pytest.approx(0.1528, abs=5e-5)
    pair = agreement.sel(model_a="vit_s14_saliency", model_b="minilm_l6")
    assert float(pair.mean()) == pytest.approx(0.1467, abs=5e-5)
    pools = 1380 - agreement.isnull().sum("stimulus")
    np.testing.assert_array_equal(agreement["chance"], 10 / (pools - 1))
    assert float(agreement["chance"].min()) == 10 / 1379


@pytest.mark.slow
def test_the_caption_without_a_word_is_missing_for_one_model_alone(agreement):
    missing = agreement.isnull().sum("stimulus")
    assert (missing.sel(model_b="wink_sg_100d_mean") == 1).all()
    assert int(missing.sum()) == 6


@pytest.mark.slow
def test_shuffling_one_side_changes_no_number(vision, language, agreement):
    order = np.random.default_rng(0).permutation(1380)
    for a, b in ((vision, language[:, order]), (vision[:, order], language)):
        shuffled = xc.alignment(a, b, "mutual_knn", k=10)
        xr.testing.assert_equal(shuffled.sel(stimulus=agreement["stimulus"]), agreement)


@pytest.fixture(scope="module")
def plain(vision):
    """Dispersion and objective of plain alternation, which two tests need."""
    return plain_procrustes(vision)


@pytest.fixture(scope="module")
def space(vision):
    """The shared space of all models, which two tests need."""
    return xc.shared_space(vision, n_components=64)


def plain_procrustes(vision, iterations=200):
    """Plain alternation from the first model, each model held in place by its own share."""
    models = []
    for name in vision["model"].values:
        x = vision.sel(model=name).values[:, : int(vision["n_features"].sel(model=name))]
        x = x.astype(float) - x.astype(float).mean(0)
        _, _, axes = np.linalg.svd(x, full_matrices=False)
        models.append(x @ axes[:64].T / np.linalg.norm(x @ axes[:64].T))
    consensus = models[0]
    for _ in range(iterations):
        factors = [np.linalg.svd(x.T @ consensus) for x in models]
        aligned = [x @ (u @ vt) for x, (u, _, vt) in zip(models, factors, strict=True)]
        consensus = np.mean(aligned, axis=0)
    residual = np.array([((a - consensus) ** 2).sum(1) for a in aligned])
    return np.sqrt(residual.sum(0)), residual.sum()


def modulated(spread, agreement, density):
    """Correlation, what is left of it without density, and alignment by fifths."""
    effect = xc.modulation(spread, agreement, n_permutations=999, rng=0, null="labels")
    assert float(effect["p_value_of_mean"]) == 0.001
    rest = xc.modulation(spread, agreement, covariates=density, n_permutations=0, null="labels")
    return (
        float(effect["correlation_of_mean"]),
        float(rest["correlation_of_mean"]),
        effect["alignment_by_bin_of_mean"].values,
    )


FIFTHS = [0.261, 0.197, 0.136, 0.096, 0.074]


@pytest.mark.slow
def test_modulation_by_plain_alternation_is_that_of_the_facts(vision, plain, agreement, density):
    spread = xr.DataArray(plain[0], dims="stimulus", coords={"stimulus": vision["stimulus"].values})
    correlation, rest, fifths = modulated(spread, agreement, density)
    assert correlation == pytest.approx(-0.471, abs=5e-4)
    assert rest == pytest.approx(-0.09, abs=5e-3)
    np.testing.assert_allclose(fifths, FIFTHS, atol=5e-4)


@pytest.mark.slow
def test_the_shared_space_finds_a_lower_objective(plain, space):
    assert float(space["objective"][-1]) < plain[1]


@pytest.mark.slow
def test_the_shared_space_tells_the_same_story(space, agreement, density):
    spread = xc.dispersion(space["aligned"], "consensus")
    correlation, rest, fifths = modulated(spread, agreement, density)
    assert correlation == pytest.approx(-0.471, abs=5e-4)
    assert rest == pytest.approx(-0.09, abs=5e-3)
    np.testing.assert_allclose(fifths, FIFTHS, atol=3e-3)
    assert all(low > high for low, high in pairwise(fifths))


@pytest.mark.slow
def test_neighborhood_dispersion(vision, agreement, density):
    spread = xc.dispersion(vision, "neighborhood", k=10)
    assert float(spread.mean()) == pytest.approx(0.752, abs=5e-4)
    rest = xc.modulation(spread, agreement, covariates=density, n_permutations=0, null="labels")
    assert float(rest["correlation_of_mean"]) < -0.5


@pytest.mark.slow
def test_rdms_against_human_it(brains):
    human = brains["images92_it/rdm"].mean(["subject", "session"])
    found = xc.rsa(xc.rdm(stored("images92")), human)
    expected = {
        "mobilenetv2_in1k": 0.266,
        "opennsfw_resnet50thin": 0.290,
        "vit_s14_saliency": 0.228,
        "hsv_hist": 0.169,
    }
    for model, value in expected.items():
        assert float(found.sel(model_a=model)) == pytest.approx(value, abs=5e-4)
    assert float(xc.rsa(human, brains["monkey_it/rdm"])) == pytest.approx(0.439, abs=5e-4)
    behaviour = brains["behaviour/rdm"].mean("subject")
    assert float(xc.rsa(human, behaviour)) == pytest.approx(0.392, abs=5e-4)


def test_each_subject_against_the_others(brains):
    human = brains["images92_it/rdm"].mean("session")
    ceiling = [
        float(xc.rsa(human.sel(subject=s), human.drop_sel(subject=s).mean("subject")))
        for s in human["subject"].values
    ]
    assert min(ceiling) == pytest.approx(0.30, abs=5e-3)
    assert max(ceiling) == pytest.approx(0.45, abs=5e-3)
