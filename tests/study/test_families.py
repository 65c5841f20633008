"""Layers of one network, and parts of one subject, are left out together and counted once."""

import contextlib
import itertools

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from xconverge.engine.families import family_mean
from xconverge.labels.families import as_subjects, families
from xconverge.study.leave_out import dispersion_of_others

NETWORKS = ["vit", "vit", "vit", "dino", "mae", "mae", "clip"]
FAMILY = ["x", "x", "x", "x", "y", "y", "z"]
METRICS = ["cosine", "euclidean", "sqeuclidean", "consensus", "neighborhood", "rdm"]


def layered(missing=(), n=16, owner="network", **options):
    reps = make_reps(7, n, 6, missing=list(missing), **options)
    depth = [0, 1, 2, 0, 0, 1, 0]
    return reps.assign_coords(
        {owner: ("model", np.array(NETWORKS, object)), "layer": ("model", depth)}
    ).assign_coords(family=("model", FAMILY))


HOLES = [(0, 3), (1, 3), (2, 3), (4, 5), (3, 7), (6, 7)]


def plain_dispersion(reps, metric, kept):
    """Mean over pairs of networks of the mean over pairs of their layers, stimulus by stimulus."""
    reps = reps.isel(model=kept)
    nets = list(dict.fromkeys(reps["network"].values))
    one = "sqeuclidean" if metric == "consensus" else metric
    pairs = xc.dispersion(reps.drop_vars("network"), one, pairwise=True, k=4).values
    values, counts = [], []
    for i in range(reps.sizes["stimulus"]):
        means = []
        for g, h in itertools.combinations(nets, 2):
            found = [
                pairs[a, b, i]
                for a, b in itertools.product(range(len(kept)), repeat=2)
                if reps["network"].values[a] == g and reps["network"].values[b] == h
            ]
            found = [value for value in found if not np.isnan(value)]
            if found:
                means.append(np.mean(found))
        seen = ~np.isnan(reps.values[:, i, 0])
        counts.append(len(set(reps["network"].values[seen])))
        value = np.mean(means) if means else np.nan
        # Σ|x - z|² / (G - 1) is half the mean squared distance of two
        values.append(np.sqrt(value / 2) if metric == "consensus" else value)
    return np.array(values), np.array(counts)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", METRICS)
def test_dispersion_is_over_pairs_of_networks(metric):
    reps = layered(HOLES)
    found = xc.dispersion(reps, metric, k=4)
    value, count = plain_dispersion(reps, metric, range(7))
    np.testing.assert_allclose(found, value, rtol=1e-9)
    np.testing.assert_array_equal(found["n_models"], count)
    assert found.attrs["counted_once"] == "network"
    with no_compute():
        lazy = xc.dispersion(reps.chunk(model=2, stimulus=5), metric, k=4)
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), value, rtol=1e-9)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", ["cosine", "consensus", "rdm"])
@pytest.mark.parametrize("leave_out", ["model", "network", "family", "layer"])
def test_another_layer_of_the_network_is_left_out_too(metric, leave_out):
    reps = layered(HOLES)
    few = pytest.warns(RuntimeWarning, match="no dispersion without 'net0', 'net4'.*other networks")
    with few if leave_out == "layer" else contextlib.nullcontext():
        found = xc.dispersion(reps, metric, leave_out=leave_out)
    groups = reps["network" if leave_out == "model" else leave_out].values
    for m, own in enumerate(groups):
        others = [o for o in range(7) if groups[o] != own and NETWORKS[o] != NETWORKS[m]]
        if len(others) < 2:
            assert found[m].isnull().all()
            continue
        value, count = plain_dispersion(reps, metric, others)
        np.testing.assert_allclose(found[m], np.where(count > 1, value, np.nan), rtol=1e-9)
        np.testing.assert_array_equal(found["n_models"][m], count)


def test_a_norm_counts_each_network_once():
    reps = layered(HOLES)
    for metric, power in {"sqeuclidean": 2, "euclidean": 1, "consensus": 1}.items():
        raw, found = (xc.dispersion(reps, metric, normalize=n).values for n in (False, True))
        square = (reps**2).sum("feature", skipna=False)
        nets = square.groupby("network").mean(skipna=True).mean("network").values
        np.testing.assert_allclose(found, raw / nets ** (power / 2), rtol=1e-9)


def test_layers_of_one_network_have_a_dispersion_by_network_alone():
    reps = layered().isel(model=slice(3))
    with pytest.raises(xc.SchemaError, match=r"2 networks, .* the network 'vit'; by='network'"):
        xc.dispersion(reps)
    inside = xc.dispersion(reps, by="network").sel(network="vit")
    np.testing.assert_allclose(inside, xc.dispersion(reps.drop_vars("network")))
    two = layered().isel(model=[0, 1, 4, 5])
    with pytest.warns(RuntimeWarning, match="at least 2 other networks: NaN"):
        assert xc.dispersion(two, "rdm", leave_out="model").isnull().all()
    assert dispersion_of_others(two).isnull().all()


def test_families_are_those_of_the_coordinates():
    reps = layered()
    assert families(reps).owner == "network"
    assert families(reps.drop_vars("network")).owner == "model"
    assert families(reps.assign_coords(network="vit")).owner == "model"
    assert families(layered(owner="subject")).owner == "subject"
    unknown = np.array([*NETWORKS[:5], "", None], object)
    of = families(reps.assign_coords(network=("model", unknown)))
    assert of.names.tolist() == ["vit", "dino", "mae", "net5", "net6"]
    unknown[0] = "net6"
    unknown[1] = "net6"
    with pytest.raises(xc.SchemaError, match="'net6' has no 'network', and there is a network of"):
        families(reps.assign_coords(network=("model", unknown)))


def test_means_count_each_family_once():
    rng = np.random.default_rng(0)
    values = rng.random((5, 3, 4))
    values[rng.random(values.shape) < 0.3] = np.nan
    nets = list("xxyyz"), list("ppq")
    table = xr.DataArray(
        values,
        dims=("model_a", "model_b", "stimulus"),
        coords={
            "network_a": ("model_a", nets[0]),
            "subject_b": ("model_b", nets[1]),
            "model_a": list("abcde"),
            "model_b": list("uvw"),
        },
    )
    expected = []
    for i in range(4):
        means = []
        for g, h in itertools.product("xyz", "pq"):
            block = values[[one == g for one in nets[0]]][:, [one == h for one in nets[1]], i]
            if not np.isnan(block).all():
                means.append(np.nanmean(block))
        expected.append(np.mean(means))
    found = family_mean(table, ["model_a", "model_b"])
    np.testing.assert_allclose(found, expected)
    lazy = family_mean(table.chunk(stimulus=2, model_a=2), ["model_a", "model_b"])
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), expected)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("owner", ["network", "subject"])
def test_means_of_modulation_are_over_pairs_of_networks(owner):
    a, b = layered(n=24, owner=owner), make_reps(3, 24, 5, seed=1)
    b = b.assign_coords(network=("model", list("uuw")))
    agreement = xc.alignment(a, b, k=4)
    spread = xc.dispersion(a, "rdm", leave_out="model")
    table = xc.modulation(spread, agreement, n_bins=2, n_permutations=19, rng=0, null="labels")
    by_pair = [
        np.mean([table["correlation"].values[i, j] for i in rows for j in columns])
        for rows in ([0, 1, 2], [3], [4, 5], [6])
        for columns in ([0, 1], [2])
    ]
    assert float(table["mean_correlation"]) == pytest.approx(np.mean(by_pair))
    whole = xc.modulation(
        spread[0].drop_vars("model"), agreement, n_bins=2, n_permutations=0, null="labels"
    )
    mean = family_mean(agreement, ["model_a", "model_b"])
    alone = xc.modulation(
        spread[0].drop_vars("model"), mean, n_bins=2, n_permutations=0, null="labels"
    )
    assert float(whole["correlation_of_mean"]) == pytest.approx(float(alone["correlation"]))


QUICK = {"n_permutations": 9, "rng": 0}


def by_average(r, o):
    spread = xc.dispersion(r, "rdm")
    return xc.binned_rsa(r, o, spread, 2, n_permutations=0)["rsa"]


# what is said of networks is the same where one of them is there in four copies of its layer
WHOLE = {
    "leave_out_modulation": lambda r, o: xc.leave_out_modulation(
        r, o, k=4, n_bins=2, **QUICK, null="labels"
    )[["mean_correlation", "mean_p_value"]],
    "subset_contrast": lambda r, o: xc.subset_contrast(
        xc.dispersion(r, "rdm"), r, o, size=8, k=3, n_random=5, rng=0, null="labels"
    )[["score", "p_value"]],
    "pool_curve": lambda r, o: xc.pool_curve(r, o, [16, 24], k=3, n_repeats=2, rng=0)[
        ["standard_deviation"]
    ],
    "binned_rsa": lambda r, o: by_average(r, o).to_dataset(),
    "reliability": lambda r, o: xc.reliability(r, "rdm", rng=0)[["reliability", "lower"]],
    "confidence_interval": lambda r, o: xc.confidence_interval(r, o, k=4, rng=0)[
        ["estimate_of_mean", "lower_of_mean"]
    ],
    "interval over both": lambda r, o: xc.confidence_interval(
        r, o, "cka", over="both", n_resamples=9, rng=0
    )[["estimate_of_mean", "lower_of_mean"]],
    "cross_modal_prediction": lambda r, o: xc.cross_modal_prediction(
        xc.alignment(r, o, k=4),
        xc.dispersion(r, "rdm", leave_out="model"),
        xc.rsa(xc.rdm(r), xc.rdm(o)).mean("model_b").rename(model_a="model").drop_vars("network_a"),
        n_bins=2,
        **QUICK,
        null="labels",
    )[["correlation", "p_value", "gain_p_value"]],
    "select_stimuli": lambda r, o: xc.select_stimuli(
        xc.dispersion(r, "rdm"), 6, without=xc.dispersion(r, "rdm", leave_out="model")
    )[["value", "stability"]],
}


LONG = ("pool_curve", "subset_contrast", "interval over both")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in WHOLE]
)
def test_a_network_of_many_layers_weighs_as_one(name):
    nets = np.array(["a", "b", "c", "d", "e"], object)
    once = make_reps(5, 24, [5, 6, 4, 5, 6]).drop_vars("family")
    once = once.assign_coords(model=nets, network=("model", nets))
    copies = once.isel(model=[0, 0, 0, 0, 1, 2, 3, 4])
    copies = copies.assign_coords(model=["a 0", "a 1", "a 2", "a 3", "b", "c", "d", "e"])
    other = make_reps(3, 24, 5, seed=3)
    found, right = (WHOLE[name](reps, other) for reps in (copies, once))
    for variable in right.data_vars:
        np.testing.assert_allclose(
            found[variable], right[variable], rtol=1e-9, atol=1e-12, err_msg=variable
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_study_of_layers_is_that_of_networks():
    reps, other = layered(n=24), make_reps(2, 24, 5, seed=3)
    study = xc.analyze({"vision": reps, "language": other}, k=4, n_bins=2, **QUICK, n_equal_noise=0)
    spread = study["dispersion/dispersion"]
    value, _ = plain_dispersion(reps, "rdm", range(7))
    np.testing.assert_allclose(spread.sel(measure="rdm"), value, rtol=1e-9)
    others = xc.dispersion(reps, "neighborhood", k=4, leave_out="network")
    agreement = xc.alignment(reps, other, k=4)
    alone = xc.modulation(others, agreement, geometry=(reps, other), n_bins=2, **QUICK)
    found = study["leave_out"].to_dataset().sel(control="none")
    np.testing.assert_allclose(found["correlation"], alone["correlation"])
    np.testing.assert_allclose(found["mean_p_value"], alone["mean_p_value"], rtol=1e-6)
    fewer = reps.isel(model=slice(6))
    assert "leave_out" not in xc.analyze(
        {"vision": fewer, "language": other}, k=4, n_bins=2, n_permutations=0, n_equal_noise=0
    )


@pytest.mark.slow
def test_a_stacked_dim_of_layers_is_a_network():
    values = np.random.default_rng(0).standard_normal((4, 2, 24, 5))
    reps = xr.DataArray(
        values,
        dims=("model", "layer", "stimulus", "feature"),
        coords={"model": list("abcd"), "stimulus": [f"s{i}" for i in range(24)]},
    )
    other = make_reps(2, 24, 5, seed=3)
    table = xc.leave_out_modulation(reps, other, k=4, n_bins=2, **QUICK, null="labels")
    assert table["network_a"].values.tolist() == list("aabbccdd")
    flat = reps.stack(both=("model", "layer")).reset_index("both")
    flat = flat.assign_coords(network=("both", flat["model"].values)).drop_vars(["model", "layer"])
    flat = flat.rename(both="model").assign_coords(model=table["model_a"].values)
    same = xc.leave_out_modulation(
        flat.transpose("model", "stimulus", "feature"), other, k=4, n_bins=2, **QUICK, null="labels"
    )
    np.testing.assert_allclose(same["correlation"], table["correlation"])


def test_models_of_a_brain_are_its_subjects():
    brain = make_reps(3, 20, 5, seed=2).drop_vars("family")
    named = brain.assign_coords(subject=("model", ["p1", "p2", "p3"]))
    plain = brain.rename(model="subject").assign_coords(subject=["p1", "p2", "p3"])
    for variable, value in xc.noise_ceiling(xc.rdm(plain)).items():
        xr.testing.assert_equal(xc.noise_ceiling(xc.rdm(named))[variable], value)
    both = xr.concat([named, named + 1.0], "model").assign_coords(
        region=("model", ["V4"] * 3 + ["IT"] * 3), model=[f"m{i}" for i in range(6)]
    )
    table = xc.noise_ceiling(xc.rdm(both, "euclidean"))
    assert table["lower"].dims == ("region",)
    for i, region in enumerate(["V4", "IT"]):
        one = plain + float(i)
        right = xc.noise_ceiling(xc.rdm(one, "euclidean"))
        np.testing.assert_allclose(table["lower"].sel(region=region), right["lower"])
    with pytest.raises(xc.SchemaError, match=r"6 models of the subjects 'p1', 'p2', 'p3', and"):
        as_subjects(both.drop_vars("region"), "target")
    with pytest.raises(xc.SchemaError, match=r"\.rename\(model='subject'\)"):
        xc.noise_ceiling(xc.rdm(brain))


def test_optimize_stimuli_says_that_layers_count():
    with pytest.warns(RuntimeWarning, match="7 models are of 4 networks, and each of them counts"):
        found = xc.optimize_stimuli(
            layered(n=24), 6, n_restarts=0, n_perturbations=0, leave_out="model", rng=0
        )
    assert found["network"].values.tolist() == ["vit", "dino", "mae", "clip"]
