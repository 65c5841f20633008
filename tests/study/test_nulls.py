"""Tests of maps over stimuli that are not exchangeable, in every function that has them."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import shuffled
from xconverge.inference.nulls import null_of
from xconverge.kernels.crossed import crossed, influence
from xconverge.labels.messages import SchemaError
from xconverge.testing import planted_study

IDS = [f"s{i:02d}" for i in range(48)]


def centres(seed=0):
    """Where 48 stimuli lie, in 8 clusters, and which cluster they are of."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(8), 6)
    return rng.standard_normal((8, 4))[cluster] + 0.1 * rng.standard_normal((48, 4)), cluster


def sides(seed=0):
    x, cluster = centres(seed)
    rng = np.random.default_rng(seed + 1)
    return [
        xc.stack_models(
            {f"{name} {i}": x @ rng.standard_normal((4, 6)) for i in range(2)},
            stimuli=IDS,
            modality=name,
        ).assign_coords(cluster=("stimulus", cluster))
        for name in ("vision", "language")
    ]


def a_map(values):
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": IDS})


def of_clusters(seed):
    """A map that is one value a cluster, and a little noise."""
    _, cluster = centres()
    rng = np.random.default_rng(seed)
    return a_map(rng.standard_normal(8)[cluster] + 0.1 * rng.standard_normal(48))


def rejected(null, runs=60, **options):
    p = [
        float(
            xc.modulation(
                of_clusters(seed), of_clusters(seed + 1000), null=null, n_permutations=199,
                n_bins=2, rng=seed, **options,
            )["p_value"]
        )
        for seed in range(runs)
    ]  # fmt: skip
    return float(np.mean(np.array(p) <= 0.05))


@pytest.mark.slow
def test_maps_of_clusters_are_related_by_labels_and_not_by_nulls_that_know_them():
    assert rejected("labels") > 0.4
    _, cluster = centres()
    assert rejected("blocks", blocks=a_map(cluster)) <= 0.15
    assert rejected("surrogates", runs=40, geometry=sides()) <= 0.15


def test_surrogates_find_what_is_there():
    x = of_clusters(0)
    y = a_map(x.values + 0.3 * np.random.default_rng(5).standard_normal(48))
    found = xc.modulation(
        x, y, geometry=sides(), null="surrogates", n_permutations=199, n_bins=2, rng=0
    )
    assert float(found["p_value"]) <= 0.01
    assert 5 < float(found["n_effective"]) < 30
    assert float(found["moran_i"]) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("null", ["mixed", "surrogates", "blocks"])
def test_order_of_stimuli_and_chunks_change_nothing(null):
    x, y, (a, b) = of_clusters(0), of_clusters(1), sides()
    options = {"blocks": "cluster"} if null == "blocks" else {"geometry": (a, b)}
    call = {"null": null, "n_permutations": 49, "n_bins": 2, "rng": 3}
    x = x.assign_coords(cluster=a["cluster"])
    one = xc.modulation(x, y, **options, **call)
    if null != "blocks":
        options = {"geometry": (shuffled(a, 4), shuffled(b, 5))}
    for other in (
        xc.modulation(shuffled(x), shuffled(y, 2), **options, **call),
        xc.modulation(x.chunk(), y.chunk(stimulus=7), **options, **call),
    ):
        xr.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.slow
def test_every_side_at_hand_is_known_without_being_asked():
    study = planted_study(n_models=3, n_stimuli=60, rng=0)
    a, b = study["vision"], study["language"]
    spread = xc.dispersion(a, "neighborhood", k=5)
    brain = b.isel(model=[0])
    contrast = xc.binned_rsa_contrast(a, brain, spread, n_permutations=19, rng=0)
    subsets = xc.subset_contrast(spread, a, b, size=12, k=5, n_random=19, rng=0)
    left = xc.leave_out_modulation(a, b, k=5, n_bins=2, n_permutations=19, rng=0)
    for table, null in ((contrast, "surrogates"), (subsets, "surrogates"), (left, "mixed")):
        assert table.attrs["null"] == null
        assert table.attrs["n_geometries"] == 2
        assert (table["n_effective"] <= 60).all()
        assert np.isfinite(table["dispersion_moran_i"]).all()
    assert subsets["control"].values.tolist() == ["random", "surrogates"]
    assert subsets["low_minus_high_p_value"].dims == ("control", "pool")
    assert subsets["low_minus_high_p_value"].notnull().all()
    for one in (contrast, subsets):
        assert "low_minus_high_p_value" in one


def test_gains_of_a_bin_are_compared_with_bins_of_surrogates():
    study = planted_study(n_models=5, n_stimuli=60, rng=0)
    a, b = study["vision"], study["language"]
    agreement = xc.alignment(a, b, k=5)
    spread = xc.dispersion(a, "neighborhood", k=5, leave_out="model")
    score = agreement.mean(["model_b", "stimulus"]).rename(model_a="model")
    with pytest.warns(UserWarning, match="labels are permuted"):
        labels = xc.cross_modal_prediction(agreement, spread, score, n_permutations=39, rng=0)
    call = {"geometry": (a, b), "n_permutations": 39, "rng": 0}
    found = xc.cross_modal_prediction(agreement, spread, score, **call)
    assert (labels.attrs["null"], found.attrs["null"]) == ("labels", "surrogates")
    for name in ("correlation", "p_value", "gain"):
        np.testing.assert_array_equal(labels[name], found[name])
    assert (found["gain_p_value_max_t"] >= found["gain_p_value"])[1:].all()
    turned = xc.cross_modal_prediction(shuffled(agreement), shuffled(spread), score, **call)
    np.testing.assert_allclose(turned["gain_p_value"], found["gain_p_value"])


@pytest.mark.slow
def test_p_values_are_corrected_over_all_dims_and_clusters_of_time():
    rng = np.random.default_rng(0)
    (a, b), x = sides(), a_map(rng.standard_normal(48))
    values = rng.standard_normal((2, 6, 48))
    values[:, 2:4] += 2 * x.values
    y = xr.DataArray(
        values, dims=("model_a", "time", "stimulus"),
        coords={"model_a": ["u", "v"], "time": np.arange(6) * 0.1, "stimulus": IDS},
    )  # fmt: skip
    for options in ({"null": "labels"}, {"geometry": (a, b)}):
        found = xc.modulation(x, y, n_permutations=499, n_bins=2, rng=0, **options)
        assert found["p_value_max_t"].dims == found["p_value"].dims
        assert (found["p_value_max_t"] >= found["p_value"] - 0.02).all()
        assert (found["p_value_max_t"].isel(time=[2, 3]) <= 0.01).all()
        assert (found["p_value_cluster"].isel(time=[2, 3]) <= 0.01).all()
        assert found["mean_p_value_max_t"].dims == ("time",)
        assert found["p_value_max_t_of_mean"].dims == ("time",)
        alone = xc.modulation(x, y, n_permutations=499, n_bins=2, rng=0, over="model_a", **options)
        assert "p_value_cluster" not in alone
        assert (alone["p_value_max_t"] <= found["p_value_max_t"] + 1e-12).all()
    with pytest.raises(ValueError, match="over='region'"):
        xc.modulation(x, y, null="labels", over="region")


def test_the_interval_of_the_mean_is_crossed_over_stimuli_and_models():
    rng = np.random.default_rng(1)
    x = of_clusters(0)
    slopes = rng.standard_normal((4, 3))
    y = xr.DataArray(
        slopes[..., None] * x.values + rng.standard_normal((4, 3, 48)),
        dims=("model_a", "model_b", "stimulus"),
        coords={"model_a": list("abcd"), "model_b": list("xyz"), "stimulus": IDS},
    )
    found = xc.modulation(x, y, null="labels", n_permutations=0, n_bins=2)
    added = influence(
        x.values[None], y.values.reshape(12, 48), np.zeros(12, int), np.zeros((1, 1, 48))
    )
    expected = crossed(
        found["correlation"].values, added.reshape(4, 3, 48), 48, np.arange(4), np.arange(3)
    )
    assert float(found["mean_correlation_standard_error"]) == pytest.approx(expected.error)
    ends = [float(found[f"mean_correlation_{end}"]) for end in ("lower", "upper")]
    assert ends == pytest.approx([expected.lower, expected.upper])
    # stimuli that are worth fewer make it wider
    wider = xc.modulation(x, y, geometry=sides(), n_permutations=0, n_bins=2)
    assert wider["n_effective"].max() < 48
    assert float(wider["mean_correlation_standard_error"]) >= expected.error


def test_blocks_that_can_hardly_change_places_are_told_and_torn_ones_refused():
    x, y = of_clusters(0), of_clusters(1)
    halves = a_map(np.arange(48) // 24)
    with pytest.warns(RuntimeWarning, match="change places in 2 ways"):
        xc.modulation(x, y, blocks=halves, n_permutations=9, n_bins=2)
    with pytest.raises(SchemaError, match="blocks move inside strata"):
        xc.modulation(x, y, blocks=halves, strata=a_map(np.arange(48) % 2), n_bins=2)


def test_few_stimuli_have_no_mixed_model():
    (a, b), x, y = sides(), of_clusters(0), of_clusters(1)
    few = [one.isel(stimulus=slice(5)) for one in (a, b, x, y)]
    with pytest.warns(RuntimeWarning, match="needs at least 6 stimuli with a value, there are 5"):
        found = xc.modulation(*few[2:], geometry=few[:2], n_bins=2)
    assert np.isnan(found["p_value"])


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_null_that_was_made_before_gives_the_same_table(lazy):
    """With stimuli in any order, eager and lazy, and where the geometry itself is lazy."""
    vision, language = sides()
    spread, scores = xc.dispersion(vision, "neighborhood", k=5), xc.alignment(vision, language, k=5)
    turn = np.random.default_rng(3).permutation(48)
    spread, scores = spread.isel(stimulus=turn), scores.isel(stimulus=turn)
    places = [vision, language]
    if lazy:
        spread, scores = spread.chunk(), scores.chunk()
        places = [vision.chunk(model=1), language]
    options = {"n_permutations": 19, "n_bins": 2, "rng": 0}
    expected = xc.modulation(
        spread, scores, geometry=[vision, language], groups="cluster", **options
    ).compute()
    made = null_of(
        None, (spread, scores), usual="mixed", geometry=places, groups="cluster",
    )  # fmt: skip
    covariate = a_map(np.arange(48.0))
    for _ in range(2):
        found = xc.modulation(spread, scores, null=made, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9)
        assert found.attrs == expected.attrs
        given = xc.modulation(spread, scores, null=made, covariates=covariate, **options)
        assert float(given["mean_p_value"]) != float(expected["mean_p_value"])
