import warnings

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import xconverge as xc
from tests import oracles
from tests.helpers import make_reps, shuffled
from xconverge.cli.demo import shipped
from xconverge.study.leave_out import dispersion_of_others

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


def select(reps, brain, dispersion=None, **options):
    """Quickly; by the dispersion of RDMs, unless another one is given."""
    if dispersion is None:
        dispersion = dispersion_of_others(reps, "rdm")
    quick = {"n_permutations": 0, "n_draws": 99, "n_splits": 2}
    return xc.select_models(reps, brain, dispersion, **{**quick, **options})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho-a"])
def test_scores_are_means_over_subjects_inside_bins_of_the_others(method):
    reps, brain = make_reps(4, 60, [5, 6, 4, 6]), brain_of()
    table = select(reps, brain, method=method, rdm_metric="euclidean")
    rdms = {m: xc.rdm(reps, "euclidean").sel(model=m) for m in reps["model"].values}
    brains = xc.rdm(brain, "euclidean")
    for m in reps["model"].values:
        others = reps.sel(model=[name for name in reps["model"].values if name != m])
        bins = xc.dispersion_bins(xc.dispersion(others, "rdm"), 3).values
        for subset, inside in {"all": bins >= 0, "1 of 3": bins == 0, "3 of 3": bins == 2}.items():
            u = rdms[m].values[np.ix_(inside, inside)][UPPER(inside.sum(), 1)]
            expected = []
            for p in brains["subject"].values:
                v = brains.sel(subject=p, stimulus=rdms[m]["stimulus"]).values
                v = v[
                    :, [list(brains["stimulus_2"].values).index(s) for s in rdms[m].stimulus.values]
                ]
                expected.append(
                    oracles.similarity(u, v[np.ix_(inside, inside)][UPPER(inside.sum(), 1)], method)
                )
            one = table.sel(model=m, subset=subset)
            assert float(one["rsa"]) == pytest.approx(np.mean(expected), abs=1e-9)
            assert int(one["n_stimuli"]) == inside.sum()


@pytest.mark.slow
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


@pytest.mark.slow
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


def regions(count, n=40, seed=0):
    """Brains of several regions, that saw something else."""
    parts = [brain_of(n, 2, seed + i, noise=30.0) for i in range(count)]
    return xr.concat(parts, "region").assign_coords(region=[f"V{i}" for i in range(count)])


@pytest.mark.slow
def test_p_values_are_corrected_for_subsets_and_regions_too():
    reps, brain = make_reps(3, 40, 6), regions(3)
    call = {"n_permutations": 99, "n_draws": 499, "rng": 0}
    whole = select(reps, brain, **call)
    inside = select(reps, brain, corrected_over="subset", **call)
    pair = ["p_value_max_t", "difference_p_value_max_t"]
    for name in pair:
        assert (whole[name] >= inside[name]).all()
        assert (whole[name] > inside[name]).any()
        assert whole[name].dims[0] == "region"
    for i in range(3):
        # every slice draws the same: one region alone is a family of its own
        one = select(reps, brain[i], **call)
        for name in pair:
            np.testing.assert_allclose(inside[name][i], one[name])
    # models alone are what they were compared with before
    models = select(reps, brain, corrected_over="model", **call)
    every = models["p_value_max_t"]
    assert (every <= inside["p_value_max_t"]).all()
    for subset in ("all", "2 of 3"):
        rest = models.sel(subset=subset)
        assert (rest["p_value_max_t"] >= rest["p_value"]).all()
    # the largest of all is beyond what all of them reach in each draw
    best = whole["p_value_max_t"].min()
    assert float(best) >= float(every.min())
    with pytest.raises(ValueError, match="corrected_over='time' is not known; choose one of model"):
        select(reps, brain, corrected_over="time")


@pytest.mark.slow
def test_layers_are_corrected_split_by_split():
    reps = make_reps(6, 60, 6).assign_coords(network=("model", list("xxyyzz")))
    call = {"n_permutations": 99, "n_splits": 4, "n_bins": 2, "rng": 0}
    whole = select(reps, regions(2, 60), **call)
    inside = select(reps, regions(2, 60), corrected_over=["model"], **call)
    assert (whole["p_value_max_t"] >= inside["p_value_max_t"] - 0.02).all()
    assert (inside["p_value_max_t"] >= inside["p_value"]).all()


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_dispersion_of_a_model_does_not_come_from_it():
    reps, brain = make_reps(4, 60, 6, missing=0.0), brain_of()
    changed = reps.copy()
    changed[0] = np.random.default_rng(5).standard_normal(changed[0].shape)
    first, second = select(reps, brain), select(changed, brain)
    name = reps["model"].values[0]
    given = xc.dispersion(reps, "rdm", leave_out="model").sel(model=name)
    same = select(changed, brain, given.drop_vars("model"))
    np.testing.assert_allclose(second["rsa"].sel(model=name), same["rsa"].sel(model=name))
    assert {**first.attrs, "seed": 0} == {**second.attrs, "seed": 0}
    family = select(reps, brain, xc.dispersion(reps, "rdm", leave_out="family"))
    assert family["rsa"].attrs["dispersion_without"] == "family"


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["consensus", "neighborhood", "cosine"])
def test_other_measures_of_dispersion(measure):
    reps = make_reps(4, 60, 6)
    table = select(reps, brain_of(), dispersion_of_others(reps, measure))
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


@pytest.mark.slow
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
def test_prediction_asks_for_one_layer_a_network_before_anything_is_computed():
    reps, brain = layered()
    agreement = xc.alignment(reps.chunk(model=1), brain.chunk().expand_dims(model=["brain"]))
    score = xr.DataArray([0.1, 0.2], dims="model", coords={"model": ["a", "b"]})
    spread = xr.DataArray(np.arange(60.0), dims="stimulus", coords={"stimulus": reps["stimulus"]})
    with pytest.raises(xc.SchemaError, match="agreement has 6, score has 2"):
        xc.cross_modal_prediction(agreement, spread, score, null="labels")


@pytest.mark.slow
def test_the_default_dispersion_is_that_of_other_networks():
    reps, brain = layered()
    third = reps.isel(model=slice(3)) + 0.5 * reps.isel(model=slice(3, 6)).values
    third = third.assign_coords(model=[f"c {i}" for i in range(3)], network=("model", list("ccc")))
    reps = xr.concat([reps, third], "model")
    quick = {"n_permutations": 0, "n_draws": 99, "n_splits": 2, "rng": 0}
    pairs = 1 - xc.alignment(reps, reps, "mutual_knn")
    rows = {}
    for name in "abc":
        one, other = (
            [m for m in reps["model"].values if m[0] == net] for net in "abc" if net != name
        )
        rows[name] = pairs.sel(model_a=one, model_b=other).mean(["model_a", "model_b"])
    plain = xr.concat(list(rows.values()), xr.DataArray(list("abc"), dims="model", name="model"))
    named = xc.select_models(reps, brain, plain.reset_coords(drop=True), **quick)
    whole = xr.DataArray(
        reps.values.reshape(3, 3, 60, 6),
        dims=("model", "layer", "stimulus", "feature"),
        coords={"model": list("abc"), "stimulus": reps["stimulus"].values},
    )
    for one in (reps, whole):
        found = xc.select_models(one, brain, **quick)
        for variable in named.data_vars:
            xr.testing.assert_allclose(
                found[variable].reset_coords(drop=True), named[variable].reset_coords(drop=True)
            )
        assert found.attrs["dispersion_without"] == "network"


def test_too_few_networks_for_bins_are_counted_as_networks():
    reps, brain = layered()
    words = (
        r"no bins for 'a', 'b': .*at least 2 other networks: the 6 models are of 2 \(give "
        r"dispersion=… from elsewhere\)"
    )
    with pytest.warns(RuntimeWarning, match=words):
        table = xc.select_models(reps, brain, n_permutations=0, n_draws=99, n_splits=2, rng=0)
    assert table["rsa"].sel(subset="1 of 3").isnull().all()
    assert table["rsa"].sel(subset="all").notnull().all()


@pytest.mark.slow
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
    assert table["rsa"].sel(subset="1 of 3").isnull().all()
    assert table["best"].values.tolist() == ["net0", "", "", ""]
    by = xr.DataArray(
        np.arange(60.0), dims="stimulus", coords={"stimulus": brain_of()["stimulus"].values}
    )
    assert select(make_reps(1, 60, 6), brain_of(), by)["rsa"].notnull().all()


@pytest.mark.slow
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
    fewer = brain.drop_sel(stimulus=gone[:2], stimulus_2=gone[:2])
    same = select(*xc.pair(rest, fewer, by, join="inner"))
    np.testing.assert_allclose(table["rsa"], same["rsa"])
    fewer = brain.drop_sel(stimulus=gone, stimulus_2=gone)
    with pytest.raises(xc.SchemaError, match="same labels"):
        select(reps, fewer)
    inner = select(*xc.pair(reps, fewer, join="inner"))
    assert (inner["n_stimuli"].sel(subset="all") == 56).all()
    assert inner["rsa"].attrs["n_dropped"] == 4


def test_bins_with_too_few_stimuli():
    reps, brain = make_reps(4, 15, 6), brain_of(15)
    with pytest.warns(RuntimeWarning, match="standard error needs at least 10 stimuli"):
        table = select(reps, brain)
    assert table["rsa"].notnull().all()
    assert table["standard_error"].sel(subset="1 of 3").isnull().all()
    assert table["standard_error"].sel(subset="all").notnull().all()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = select(reps, brain, n_bins=7, n_permutations=9)
    assert any("score needs at least 3" in str(one.message) for one in said)
    small = table["n_stimuli"] < 3
    assert small.any()
    assert table["rsa"].where(small).isnull().all()
    assert table["p_value"].where(small).isnull().all()


def test_bad_arguments_are_named():
    reps, brain = make_reps(4, 60, 6), brain_of()
    with pytest.raises(xc.SchemaError, match=r"\.rename\(model='subject'\)"):
        select(reps, brain.rename(subject="model"))
    cured = brain.rename(subject="model").rename(model="subject")
    assert select(reps, cured)["rsa"].notnull().all()
    with pytest.raises(ValueError, match="method='kendall' is not known"):
        select(reps, brain, method="kendall")
    with pytest.raises(ValueError, match="n_splits=0"):
        select(reps, brain, n_splits=0)
    by = xc.dispersion(reps, "rdm", leave_out="model")
    with pytest.raises(xc.SchemaError, match="dispersion has no model 'net0'"):
        select(reps, brain, by.isel(model=slice(1, None)))


@pytest.mark.slow
def test_regions_of_a_brain_are_mapped_over():
    reps, brain = make_reps(4, 60, 6), brain_of()
    regions = xr.concat([brain, brain_of(seed=7)], "region").assign_coords(region=["V1", "IT"])
    table = select(reps, regions)
    assert set(table["rsa"].dims) == {"model", "subset", "region"}
    np.testing.assert_allclose(
        table["rsa"].sel(region="V1").transpose("model", "subset"), select(reps, brain)["rsa"]
    )


@pytest.mark.slow
def test_what_dispersion_adds_is_asked_of_the_scores():
    reps, brain = make_reps(5, 60, 6), brain_of(60)
    other = make_reps(2, 60, 4, seed=3)
    other = other.assign_coords(model=["x", "y"])
    spread = xc.dispersion(reps, "rdm", leave_out="model")
    table = select(reps, brain, spread, n_permutations=99, rng=0)
    score = table["rsa"].sel(subset="all", drop=True)
    agreement = xc.alignment(reps, other)
    found = xc.cross_modal_prediction(
        agreement, spread, score, n_permutations=99, rng=0, null="labels"
    )
    same = xc.cross_modal_prediction(
        agreement, spread, score, n_permutations=0, rng=0, null="labels"
    )
    np.testing.assert_allclose(found["correlation"], same["correlation"])
    assert found["gain_p_value"].sel(subset="1 of 3") <= 1
    assert found.attrs["alignment_metric"] == "mutual_knn"


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


@pytest.mark.slow
@pytest.mark.parametrize("runs", [20])
def test_the_planted_best_model_is_found_and_equal_ones_are_not_told_apart(runs):
    """The rates of docs/calibration.md, in short and with a larger difference."""
    found, among, apart = [], [], []
    for run in range(runs):
        reps, brain = world(np.random.default_rng(run), [2.5, 2.5, 1.0, 2.5, 2.5])
        table = select(reps, brain, rdm_metric="euclidean", n_draws=999, rng=run).sel(subset="all")
        found.append(str(table["best"].item()) == "m2")
        among.append(bool(table["among_best"].sel(model="m2")))
        reps, brain = world(np.random.default_rng([run, 1]), [2.0] * 5)
        table = select(reps, brain, rdm_metric="euclidean", n_draws=999, rng=run).sel(subset="all")
        apart.append(float(table["difference_p_value_max_t"].min()) <= 0.05)
    assert np.mean(found) >= 0.9
    assert all(among)
    assert np.mean(apart) <= 0.15


@pytest.mark.slow
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
    low = table["rsa"].sel(subset="1 of 3")
    assert (low > table["rsa"].sel(subset=["2 of 3", "3 of 3"]).max("subset")).all()


def bad(rdms, kind):
    """RDMs of which the second is of no use."""
    wrong = rdms.copy(deep=True)
    wrong[1] = np.nan if kind == "nothing" else 1 - np.eye(rdms.sizes["stimulus"])
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nothing", "all equal"])
@pytest.mark.parametrize("over", ["stimulus", "both"])
def test_one_bad_subject_is_named_and_leaves_the_others(kind, over):
    reps, brains = make_reps(4, 60), xc.rdm(brain_of(60, 4))
    call = {"over": over, "n_permutations": 19, "rng": 0}
    right = select(reps, brains.drop_isel(subject=1), **call)
    with pytest.warns(RuntimeWarning, match="on the others without subject 'p1'$"):
        found = select(reps, bad(brains, kind), **call)
    for name in right.data_vars:
        xr.testing.assert_equal(found[name], right[name])


@pytest.mark.slow
def test_subjects_are_left_out_of_their_region_alone():
    reps = make_reps(4, 60)
    parts = [xc.rdm(brain_of(60, 3, seed)) for seed in (1, 2)]
    both = xr.concat([parts[0], bad(parts[1], "all equal")], "region")
    both = both.assign_coords(region=["V1", "IT"])
    with pytest.warns(RuntimeWarning, match="without region 'IT', subject 'p1'$"):
        found = select(reps, both)
    found = found.drop_vars("region")
    xr.testing.assert_equal(found["rsa"][0], select(reps, parts[0])["rsa"])
    right = select(reps, parts[1].drop_isel(subject=1))
    xr.testing.assert_equal(found["rsa"][1], right["rsa"])


def test_subjects_of_whom_none_is_of_use_give_nan_by_name():
    reps, brains = make_reps(4, 60), xc.rdm(brain_of(60, 2))
    brains[:] = 1 - np.eye(60)
    with (
        pytest.warns(RuntimeWarning, match="no score .* for net0; net1; net2; net3"),
        pytest.warns(RuntimeWarning, match="without subject 'p0'; subject 'p1'"),
    ):
        found = select(reps, brains)
    assert found["rsa"].isnull().all()


@pytest.mark.slow
def test_a_layer_or_a_model_that_saw_nothing_leaves_the_others():
    reps = make_reps(7, 60)
    reps = reps.assign_coords(network=("model", list("xxxyyzz")))
    spread = xr.DataArray(
        np.random.default_rng(0).random((7, 60)), dims=("model", "stimulus"),
        coords={"model": reps["model"], "stimulus": reps["stimulus"]},
    ).drop_vars(["family", "category", "caption", "network"], errors="ignore")  # fmt: skip
    empty = reps.copy(deep=True)
    empty[2] = np.nan
    call = {"n_permutations": 19, "rng": 0}
    right = select(reps.drop_isel(model=2), brain_of(), spread.drop_isel(model=2), **call)
    with pytest.warns(RuntimeWarning, match="saw no stimulus, and take no part: net2$"):
        found = select(empty, brain_of(), spread, **call)
    for name in ("rsa", "p_value_max_t", "best_rsa_heldout", "difference", "n_stimuli"):
        xr.testing.assert_equal(found[name], right[name])
    assert float(found["layer_share"].sel(layer="net2")) == 0
    alone, rest = (one.drop_vars("network") for one in (empty, reps.drop_isel(model=2)))
    right = select(rest, brain_of(), spread.drop_isel(model=2), **call)
    with (
        pytest.warns(RuntimeWarning, match="no bins for 'net2'"),
        pytest.warns(RuntimeWarning, match="saw no stimulus, and take no part: net2$"),
    ):
        found = select(alone, brain_of(), spread, **call)
    assert found["rsa"].sel(model="net2").isnull().all()
    for name in ("rsa", "p_value_max_t", "rank", "best"):
        others = found[name].drop_sel(model="net2") if "model" in found[name].dims else found[name]
        np.testing.assert_array_equal(others, right[name])
