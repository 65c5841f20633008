import itertools
import warnings

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, shuffled
from xconverge.cli.demo import shipped
from xconverge.kernels import model_comparison as kernels
from xconverge.kernels.rdm import METHODS

UPPER = np.triu_indices


def brain_of(n=60, subjects=3, seed=1, noise=1.0):
    """A brain that sees what ``make_reps(…, n)`` has in common, each subject with own noise."""
    common = np.random.default_rng(0).standard_normal((1, n, 6))[0]
    rng = np.random.default_rng(seed)
    values = common + noise * rng.standard_normal((subjects, n, 6))
    labels = make_reps(1, n, 6)["stimulus"].values
    return xr.DataArray(
        values,
        dims=("subject", "stimulus", "feature"),
        coords={"subject": [f"p{i}" for i in range(subjects)], "stimulus": labels},
    )


def select(*args, **options):
    return xc.select_models(
        *args, **{"n_permutations": 0, "n_draws": 99, "n_splits": 2, "measure": "rdm", **options}
    )


def plain_similarity(u, v, method):
    if method == "spearman":
        return scipy.stats.spearmanr(u, v).statistic
    if method == "pearson":
        return np.corrcoef(u, v)[0, 1]
    if method == "cosine":
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    ranks = [scipy.stats.rankdata(x) - (len(x) + 1) / 2 for x in (u, v)]
    return 12 * (ranks[0] @ ranks[1]) / (len(u) ** 3 - len(u))


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho-a"])
def test_scores_are_means_over_subjects_inside_bins_of_the_others(method):
    reps, brain = make_reps(4, 60, [5, 6, 4, 6]), brain_of()
    table = select(reps, brain, method=method, metric="euclidean")
    rdms = {m: xc.rdm(reps, "euclidean").sel(model=m) for m in reps["model"].values}
    brains = xc.rdm(brain, "euclidean")
    for m in reps["model"].values:
        others = reps.sel(model=[name for name in reps["model"].values if name != m])
        bins = xc.dispersion_bins(xc.dispersion(others, "rdm"), 3).values
        for subset, inside in {"all": bins >= 0, "bin 0": bins == 0, "bin 2": bins == 2}.items():
            u = rdms[m].values[np.ix_(inside, inside)][UPPER(inside.sum(), 1)]
            expected = []
            for p in brains["subject"].values:
                v = brains.sel(subject=p, stimulus=rdms[m]["stimulus"]).values
                v = v[
                    :, [list(brains["stimulus_2"].values).index(s) for s in rdms[m].stimulus.values]
                ]
                expected.append(
                    plain_similarity(u, v[np.ix_(inside, inside)][UPPER(inside.sum(), 1)], method)
                )
            one = table.sel(model=m, subset=subset)
            assert float(one["rsa"]) == pytest.approx(np.mean(expected), abs=1e-9)
            assert int(one["n_stimuli"]) == inside.sum()


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho-a"])
def test_the_jackknife_is_that_of_plain_loops(method):
    rng = np.random.default_rng(0)
    x, y = (
        np.round(scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(z)), 1)
        for z in rng.standard_normal((2, 9, 3))
    )
    how = METHODS[method]
    square = [kernels.square(kernels.vector(side, how), 9) for side in (x, y)]
    value, without = kernels.jackknifed(*square, how)
    values = [side[UPPER(9, 1)] for side in (x, y)]
    assert value == pytest.approx(plain_similarity(*values, method))
    ranked = [scipy.stats.rankdata(v) if how.ranked else v for v in values]
    i, j = UPPER(9, 1)
    ties = np.prod([np.std(r) for r in ranked]) * 12 / (36**2 - 1) if method == "rho-a" else 1
    for left in range(9):
        kept = (i != left) & (j != left)
        scale = "cosine" if method == "cosine" else "pearson"
        expected = ties * plain_similarity(*(r[kept] for r in ranked), scale)
        assert without[left] == pytest.approx(expected, abs=1e-12)


def test_errors_are_of_the_jackknife_and_of_the_subjects():
    reps, brain = make_reps(3, 60, 6), brain_of()
    table = select(reps, brain, n_bins=1)
    both = select(reps, brain, n_bins=1, over="both")
    scores = xc.rsa(xc.rdm(reps), xc.rdm(brain.rename(subject="model")))
    left = []
    for stimulus in reps["stimulus"].values:
        rest = reps.drop_sel(stimulus=stimulus), brain.drop_sel(stimulus=stimulus)
        left.append(
            xc.rsa(xc.rdm(rest[0]), xc.rdm(rest[1].rename(subject="model"))).mean("model_b")
        )
    left = np.array(left)
    n = len(left)
    plain = np.sqrt((n - 1) / n * ((left - left.mean(0)) ** 2).sum(0))
    found = table["standard_error"].sel(subset="all").values
    np.testing.assert_allclose(found, plain, rtol=0.05)
    between = scores.var("model_b", ddof=1).values / 3
    np.testing.assert_allclose(
        both["standard_error"].sel(subset="all").values, np.sqrt(found**2 + between), rtol=1e-9
    )
    reach = scipy.stats.t.ppf(0.975, n - 1) * found
    np.testing.assert_allclose(
        table["upper"].sel(subset="all") - table["rsa"].sel(subset="all"), reach
    )


def test_p_values_and_ceilings_are_those_of_the_parts():
    reps, brain = make_reps(3, 60, 6), brain_of(noise=4.0)
    table = select(reps, brain, n_permutations=199, rng=0).sel(subset="all")
    one = xc.calibrate_rsa(
        xc.rdm(reps), xc.rdm(brain.isel(subject=[0]).rename(subject="model")), n_permutations=199,
        rng=0,
    )  # fmt: skip
    first = select(reps, brain.isel(subject=0), n_permutations=199, rng=0).sel(subset="all")
    np.testing.assert_allclose(first["p_value"], one["p_value"][:, 0], atol=0.08)
    assert (table["p_value_max_t"] >= table["p_value"]).all()
    ceiling = xc.noise_ceiling(xc.rdm(brain))
    np.testing.assert_allclose(table["ceiling_lower"], float(ceiling["lower"]))
    np.testing.assert_allclose(table["ceiling_upper"], float(ceiling["upper"]))
    assert first["ceiling_upper"].isnull().all()


def test_differences_are_antisymmetric_and_corrected_upwards():
    table = select(make_reps(4, 60, 6), brain_of(), n_draws=999, rng=0)
    difference = table["difference"].sel(subset="all").values
    score = table["rsa"].sel(subset="all").values
    np.testing.assert_allclose(difference, score[:, None] - score)
    assert (table["difference_p_value_max_t"] >= table["difference_p_value"] - 0.02).all()
    np.testing.assert_allclose(np.diagonal(table["difference_p_value"][:, :, 0]), 1.0)


def test_order_of_rows_models_and_subjects_changes_nothing():
    reps, brain = make_reps(4, 60, [5, 6, 4, 6]), brain_of()
    options = {"n_permutations": 99, "rng": 0, "over": "both"}
    expected = select(reps, brain, **options)
    moved = select(
        shuffled(shuffled(reps, 3), 1, "model").chunk(stimulus=7, model=2),
        shuffled(shuffled(brain, 2), 5, "subject"),
        **options,
    )
    for name in expected.data_vars:
        one, other = expected[name], moved[name].sel(model=expected["model"].values) if (
            "model" in moved[name].dims
        ) else moved[name]  # fmt: skip
        if "model_2" in one.dims:
            other = other.sel(model_2=one["model_2"].values)
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other.transpose(*one.dims), atol=1e-12, err_msg=name)
        else:
            assert (one.values == other.transpose(*one.dims).values).all(), name


def test_the_dispersion_of_a_model_does_not_come_from_it():
    reps, brain = make_reps(4, 60, 6, missing=0.0), brain_of()
    changed = reps.copy()
    changed[0] = np.random.default_rng(5).standard_normal(changed[0].shape)
    first, second = select(reps, brain), select(changed, brain)
    name = reps["model"].values[0]
    given = xc.dispersion(reps, "rdm", leave_out="model").sel(model=name)
    same = select(changed, brain, by=given.drop_vars("model"))
    np.testing.assert_allclose(second["rsa"].sel(model=name), same["rsa"].sel(model=name))
    assert first.attrs == second.attrs
    family = select(reps, brain, leave_out="family")
    assert family["rsa"].attrs["dispersion_without"] == "family"


@pytest.mark.parametrize("measure", ["consensus", "neighborhood", "cosine"])
def test_other_measures_of_dispersion(measure):
    table = select(make_reps(4, 60, 6), brain_of(), measure=measure)
    assert table["rsa"].notnull().all()
    assert table["rsa"].attrs["dispersion_metric"] == measure


def layered(seed=0, good=1, n=60):
    """Two networks of three layers; one layer of the first is what the brain sees."""
    rng = np.random.default_rng(seed)
    labels = [f"s{i}" for i in range(n)]
    common = rng.standard_normal((n, 6))
    values = rng.standard_normal((6, n, 6))
    values[good] = common + 0.3 * values[good]
    reps = xr.DataArray(
        values,
        dims=("model", "stimulus", "feature"),
        coords={
            "model": [f"{net} {layer}" for net in "ab" for layer in range(3)],
            "network": ("model", list("aaabbb")),
            "stimulus": labels,
        },
    )
    brain = xr.DataArray(
        common + rng.standard_normal((n, 6)),
        dims=("stimulus", "feature"),
        coords={"stimulus": labels},
    )
    return reps, brain


def test_layers_are_chosen_on_other_stimuli():
    reps, brain = layered()
    by = xr.DataArray(np.arange(60.0), dims="stimulus", coords={"stimulus": reps["stimulus"]})
    table = select(reps, brain, by, n_permutations=99, n_splits=5, rng=0)
    assert table["model"].values.tolist() == ["a", "b"]
    assert table["best"].values.tolist() == ["a"] * 4
    assert float(table["layer_share"].sel(layer="a 1")) == pytest.approx(1)
    np.testing.assert_allclose(table["layer_share"].groupby("network").sum(), 1)
    assert float(table["p_value"].sel(model="a", subset="all")) <= 0.02
    assert float(table["p_value"].sel(model="b", subset="all")) > 0.05
    assert (table["standard_error"] > 0).all()
    stacked = reps.values.reshape(2, 3, 60, 6)
    dims = ("model", "layer", "stimulus", "feature")
    whole = xr.DataArray(
        stacked, dims=dims, coords={"model": list("ab"), "stimulus": reps["stimulus"].values}
    )
    same = select(whole, brain, by, n_permutations=99, n_splits=5, rng=0)
    np.testing.assert_allclose(same["rsa"], table["rsa"])


@pytest.mark.usefixtures("raising_scheduler")
def test_another_modality_asks_for_one_layer_a_network_before_anything_is_computed():
    reps, brain = layered()
    with pytest.raises(xc.SchemaError, match="choose the layers first"):
        select(reps.chunk(model=1), brain.chunk(), other=reps)


def test_the_score_of_a_chosen_layer_is_not_optimistic():
    """Layers that have nothing to do with the brain score 0 on average, not their maximum."""
    found, largest = [], []
    for seed in range(30):
        reps, brain = layered(seed, n=40)
        brain = brain.assign_coords(stimulus=brain["stimulus"].values[::-1])
        by = xr.DataArray(np.arange(40.0), dims="stimulus", coords={"stimulus": reps["stimulus"]})
        table = select(reps, brain, by, n_bins=1, rng=seed)
        found.append(table["rsa"].sel(subset="all").mean().item())
        largest.append(float(xc.rsa(xc.rdm(reps), xc.rdm(brain)).max()))
    assert abs(np.mean(found)) < 2.5 * np.std(found) / np.sqrt(len(found))
    assert np.mean(largest) > 2 * np.std(found) / np.sqrt(len(found))


def test_a_model_alone_has_a_score_and_no_bins():
    with pytest.warns(RuntimeWarning, match=r"no bins for 'net0'.*at least 2 other models"):
        table = select(make_reps(1, 60, 6), brain_of())
    assert np.isfinite(table["rsa"].sel(subset="all")).all()
    assert table["rsa"].sel(subset="bin 0").isnull().all()
    assert table["best"].values.tolist() == ["net0", "", "", ""]
    by = xr.DataArray(
        np.arange(60.0), dims="stimulus", coords={"stimulus": brain_of()["stimulus"].values}
    )
    assert select(make_reps(1, 60, 6), brain_of(), by)["rsa"].notnull().all()


def test_stimuli_without_brain_data_count_for_nobody():
    reps, brain = make_reps(4, 60, 6), xc.rdm(brain_of())
    gone = reps["stimulus"].values[:4]
    holes = brain.copy()
    for one in gone[:2]:
        holes.loc[{"subject": "p0", "stimulus": one}] = np.nan
        holes.loc[{"subject": "p0", "stimulus_2": one}] = np.nan
    by = xc.dispersion(reps, "rdm", leave_out="model")
    table = select(reps, holes, by)
    assert (table["n_stimuli"].sel(subset="all") == 58).all()
    rest = reps.drop_sel(stimulus=gone[:2])
    same = select(rest, brain.drop_sel(stimulus=gone[:2], stimulus_2=gone[:2]), by, join="inner")
    np.testing.assert_allclose(table["rsa"], same["rsa"])
    fewer = brain.drop_sel(stimulus=gone, stimulus_2=gone)
    with pytest.raises(xc.SchemaError, match="same labels"):
        select(reps, fewer)
    inner = select(reps, fewer, join="inner")
    assert (inner["n_stimuli"].sel(subset="all") == 56).all()
    assert inner["rsa"].attrs["n_dropped"] == 4


def test_bins_with_too_few_stimuli():
    reps, brain = make_reps(4, 15, 6), brain_of(15)
    with pytest.warns(RuntimeWarning, match="standard error needs at least 10 stimuli"):
        table = select(reps, brain, measure="rdm")
    assert table["rsa"].notnull().all()
    assert table["standard_error"].sel(subset="bin 0").isnull().all()
    assert table["standard_error"].sel(subset="all").notnull().all()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = select(reps, brain, n_bins=7, measure="rdm", n_permutations=9)
    assert any("score needs at least 3" in str(one.message) for one in said)
    small = table["n_stimuli"] < 3
    assert small.any()
    assert table["rsa"].where(small).isnull().all()
    assert table["p_value"].where(small).isnull().all()


def test_bad_arguments_are_named():
    reps, brain = make_reps(4, 60, 6), brain_of()
    with pytest.raises(xc.SchemaError, match="subject='model'"):
        select(reps, brain.rename(subject="model"))
    assert select(reps, brain.rename(subject="model"), subject="model")["rsa"].notnull().all()
    with pytest.raises(ValueError, match="method='kendall' is not known"):
        select(reps, brain, method="kendall")
    with pytest.raises(ValueError, match="n_splits=0"):
        select(reps, brain, n_splits=0)
    by = xc.dispersion(reps, "rdm", leave_out="model")
    with pytest.raises(xc.SchemaError, match="by has no model 'net0'"):
        select(reps, brain, by.isel(model=slice(1, None)))


def test_regions_of_a_brain_are_mapped_over():
    reps, brain = make_reps(4, 60, 6), brain_of()
    regions = xr.concat([brain, brain_of(seed=7)], "region").assign_coords(region=["V1", "IT"])
    table = select(reps, regions)
    assert set(table["rsa"].dims) == {"model", "subset", "region"}
    np.testing.assert_allclose(
        table["rsa"].sel(region="V1").transpose("model", "subset"), select(reps, brain)["rsa"]
    )


def test_what_dispersion_adds_is_told_with_another_modality():
    reps, brain = make_reps(5, 60, 6), brain_of(60)
    other = make_reps(2, 60, 4, seed=3)
    other = other.assign_coords(model=["x", "y"])
    table = select(reps, brain, other=other, n_permutations=99, rng=0)
    spread = xc.dispersion(reps, "rdm", leave_out="model")
    score = table["rsa"].sel(subset="all", drop=True)
    same = xc.cross_modal_prediction(
        xc.alignment(reps, other), spread, score, n_permutations=0, rng=0
    )
    np.testing.assert_allclose(table["prediction_correlation"], same["correlation"])
    assert table["prediction_gain_p_value"].sel(subset="bin 0") <= 1


def plain_prediction(agreement, bins, score, subset):
    means = []
    for row, own in zip(agreement, bins, strict=True):
        kept = [v for v, b in zip(row, own, strict=True) if subset is None or b == subset]
        means.append(np.nanmean(kept))
    return scipy.stats.spearmanr(np.round(means, 12), score).statistic


def test_prediction_is_that_of_plain_loops():
    reps, other = make_reps(6, 40, 6), make_reps(3, 40, 5, seed=4, missing=[(0, 3)])
    agreement = xc.alignment(reps, other)
    spread = xc.dispersion(reps, "rdm", leave_out="model")
    score = xr.DataArray(
        np.random.default_rng(0).random(6), dims="model", coords={"model": reps["model"].values}
    )
    found = xc.cross_modal_prediction(agreement, spread, score, n_permutations=199, rng=0)
    plain = agreement.mean("model_b")
    bins = [xc.dispersion_bins(spread.sel(model=m)).values for m in reps["model"].values]
    for subset in (None, 0, 1, 2):
        name = "all" if subset is None else f"bin {subset}"
        expected = plain_prediction(plain.values, bins, score.values, subset)
        assert float(found["correlation"].sel(subset=name)) == pytest.approx(expected)
    assert float(found["gain"].sel(subset="all")) == 0
    moved = xc.cross_modal_prediction(
        shuffled(shuffled(agreement), 2, "model_a"),
        shuffled(spread, 3),
        score.isel(model=[3, 0, 5, 2, 1, 4]),
        n_permutations=199,
        rng=0,
    )
    for name in ("p_value", "gain_p_value", "random_correlation", "gain_lower", "gain_upper"):
        np.testing.assert_allclose(found[name], moved[name], err_msg=name)


def test_the_exact_p_value_of_few_models():
    """With 4 models a perfect order has a two-sided p-value of 2 / 24, drawn or counted."""
    agreement = xr.DataArray(
        np.arange(4.0)[:, None] + np.zeros((4, 30)),
        dims=("model_a", "stimulus"),
        coords={"model_a": list("abcd"), "stimulus": [f"s{i}" for i in range(30)]},
    )
    spread = xr.DataArray(
        np.arange(30.0), dims="stimulus", coords={"stimulus": agreement["stimulus"]}
    )
    score = xr.DataArray(np.arange(4.0), dims="model", coords={"model": list("abcd")})
    found = xc.cross_modal_prediction(agreement, spread, score, n_permutations=4000, rng=0)
    rho = [scipy.stats.spearmanr(range(4), p).statistic for p in itertools.permutations(range(4))]
    exact = np.mean(np.abs(rho) >= 1 - 1e-9)
    assert float(found["p_value"].sel(subset="all")) == pytest.approx(exact, abs=0.02)
    assert (found["gain"] == 0).all()


def test_low_dispersion_predicts_better_where_it_was_planted():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.1, 0.9, 8)
    share = rng.random((8, 90))
    share[:, :30] = 0.5 * share[:, :30] + quality[:, None]
    names = [f"m{i}" for i in range(8)]
    stimuli = [f"s{i}" for i in range(90)]
    agreement = xr.DataArray(
        share, dims=("model_a", "stimulus"), coords={"model_a": names, "stimulus": stimuli}
    )
    spread = xr.DataArray(np.arange(90.0), dims="stimulus", coords={"stimulus": stimuli})
    score = xr.DataArray(quality, dims="model", coords={"model": names})
    noise = agreement.copy(data=agreement.values + 6.0 * rng.standard_normal((8, 90)) * (
        np.arange(90) >= 30))  # fmt: skip
    found = xc.cross_modal_prediction(noise, spread, score, rng=0)
    low = found.sel(subset="bin 0")
    assert float(low["correlation"]) > 0.9
    assert float(low["gain"]) > 0
    assert float(low["gain_p_value"]) < 0.05


def test_few_models_or_none_with_agreement_are_nan_with_a_warning():
    reps, other = make_reps(3, 40, 6), make_reps(2, 40, 5, seed=4)
    score = xr.DataArray(np.arange(3.0), dims="model", coords={"model": reps["model"].values})
    spread = xc.dispersion(reps, "rdm")
    with pytest.warns(RuntimeWarning, match="needs at least 4"):
        found = xc.cross_modal_prediction(xc.alignment(reps, other), spread, score)
    assert found["correlation"].isnull().all()
    with pytest.raises(xc.SchemaError, match="same labels"):
        xc.cross_modal_prediction(xc.alignment(reps, other), spread, score.isel(model=[0, 1]))


def world(rng, noises, n=60):
    """Models that see four latents as well as their noise lets them, and three subjects."""
    latent = rng.standard_normal((n, 4))

    def see(noise):
        basis, _ = np.linalg.qr(rng.standard_normal((8, 4)))
        return 2 * latent @ basis.T + noise * rng.standard_normal((n, 8))

    labels = {"stimulus": [f"s{i}" for i in range(n)]}
    reps = xr.DataArray(
        np.stack([see(noise) for noise in noises]),
        dims=("model", "stimulus", "feature"),
        coords={"model": [f"m{i}" for i in range(len(noises))], **labels},
    )
    brain = xr.DataArray(
        np.stack([see(2.0) for _ in range(3)]),
        dims=("subject", "stimulus", "feature"),
        coords={"subject": list("xyz"), **labels},
    )
    return reps, brain


def test_the_planted_best_model_is_found_and_equal_ones_are_not_told_apart():
    """The rates of docs/calibration.md, in short and with a larger difference."""
    found, among, apart = [], [], []
    for run in range(20):
        reps, brain = world(np.random.default_rng(run), [2.5, 2.5, 1.0, 2.5, 2.5])
        table = select(reps, brain, metric="euclidean", n_draws=999, rng=run).sel(subset="all")
        found.append(str(table["best"].item()) == "m2")
        among.append(bool(table["among_best"].sel(model="m2")))
        reps, brain = world(np.random.default_rng([run, 1]), [2.0] * 5)
        table = select(reps, brain, metric="euclidean", n_draws=999, rng=run).sel(subset="all")
        apart.append(float(table["difference_p_value_max_t"].min()) <= 0.05)
    assert np.mean(found) >= 0.9
    assert all(among)
    assert np.mean(apart) <= 0.15


def test_the_92_images_against_human_it():
    with shipped() as folder:
        reps = xc.open_representations(folder / "demo.zarr", "images92").load()
        human = xc.open_store(folder / "demo.zarr")["images92_it/rdm"].mean("session").load()
    table = xc.select_models(reps, human, rng=0)
    best = table.sel(subset="all")
    assert str(best["best"].item()) == "opennsfw_resnet50thin"
    each = xc.rsa(xc.rdm(reps), human).mean("subject")
    np.testing.assert_allclose(best["rsa"], each, atol=1e-9)
    assert (best["p_value_max_t"] <= 0.01).all()
    assert (best["lower"] < best["rsa"]).all()
    assert (best["rsa"] < best["ceiling_lower"]).all()
    low = table["rsa"].sel(subset="bin 0")
    assert (low > table["rsa"].sel(subset=["bin 1", "bin 2"]).max("subset")).all()
