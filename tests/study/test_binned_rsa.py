"""RSA inside bins, its trend, and low against high, against plain loops and under their nulls."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.stats import pearsonr, rankdata, spearmanr

import xconverge as xc
from tests.helpers import make_reps, no_compute, read_only, shuffled
from xconverge.kernels.permutations import permutations
from xconverge.labels.joins import natural_rank
from xconverge.measures.rsa import METHODS
from xconverge.testing import planted_study

NAMES = ["trend", "low_minus_high"]


def sides(n=24, seed=0, n_models=2, graded=0.0, **options):
    """Model set, RDM of a brain whose noise grows with ``by``, and ``by``."""
    reps = make_reps(n_models, n, seed=seed, **options)
    rng = np.random.default_rng(seed + 1)
    by = xr.DataArray(rng.permutation(np.linspace(0.1, 1, n)), dims="stimulus",
                      coords={"stimulus": reps["stimulus"].values})  # fmt: skip
    noise = rng.standard_normal((n, 6)) * (1 + graded * by.values[:, None])
    common = make_reps(n_models, n, seed=seed).mean("model").reset_coords(drop=True)
    return reps, xc.rdm(common + noise), by.rename("spread")


def triangle_similarity(a, b, labels, correlate):
    labels = list(labels)
    pairs = [(x, y) for i, x in enumerate(labels) for y in labels[i + 1 :]]
    values = [[float(r.sel(stimulus=x, stimulus_2=y)) for x, y in pairs] for r in (a, b)]
    return correlate(*values).statistic


def error_of(a, b, labels, ranked):
    """Jackknife variance of the similarity: each stimulus left out, its pairs go, ranks stay."""
    labels = list(labels)
    pairs = [(x, y) for i, x in enumerate(labels) for y in labels[i + 1 :]]
    values = [[float(r.sel(stimulus=x, stimulus_2=y)) for x, y in pairs] for r in (a, b)]
    values = np.array([rankdata(v) if ranked else v for v in values])
    without = [
        pearsonr(*values[:, [one not in pair for pair in pairs]]).statistic for one in labels
    ]
    m = len(labels)
    return (m - 1) / m * sum((value - np.mean(without)) ** 2 for value in without)


def studentised(a, b, labels, bins, n_bins, correlate):
    """Both contrasts in units of their error: bins share no stimulus, their variances add up."""
    ranked = correlate is spearmanr
    variances = [error_of(a, b, labels[bins == i], ranked) for i in range(n_bins)]
    steps = np.arange(n_bins) - (n_bins - 1) / 2
    weights = np.zeros((2, n_bins))
    weights[0] = steps / (steps @ steps)
    weights[1, [0, -1]] = 1, -1
    contrasts = by_bin(a, b, labels, bins, n_bins, correlate)
    return contrasts / np.sqrt((weights**2) @ variances)


def contrasts_of(values):
    slope = np.polyfit(np.arange(len(values)), values, 1)[0]
    return np.array([slope, values[0] - values[-1]])


def by_bin(a, b, labels, bins, n_bins, correlate):
    return contrasts_of(
        [triangle_similarity(a, b, labels[bins == i], correlate) for i in range(n_bins)]
    )


def values(table, suffix=""):
    return np.array([table[name + suffix].values for name in NAMES])


def p_values(table):
    return values(table, "_p_value")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "correlate"), [("spearman", spearmanr), ("pearson", pearsonr)])
@pytest.mark.parametrize("n_bins", [2, 3])
def test_contrasts_and_their_null_are_those_of_a_plain_loop(n_bins, method, correlate):
    reps, brain, by = sides(18)
    found = xc.binned_rsa_contrast(
        reps,
        shuffled(brain),
        shuffled(by, 2),
        n_bins,
        method=method,
        n_permutations=19,
        rng=5,
        null="labels",
    )
    model = xc.rdm(reps).mean("model")
    labels = reps["stimulus"].values
    bins = xc.dispersion_bins(by, n_bins).sel(stimulus=labels).values
    seed = int(np.random.default_rng(5).integers(2**63))
    draws = permutations(natural_rank(labels), seed, 0)[:20]
    np.testing.assert_allclose(
        values(found), by_bin(model, brain, labels, bins, n_bins, correlate), rtol=1e-9
    )
    null = np.array([studentised(model, brain, labels, bins[p], n_bins, correlate) for p in draws])
    centred = np.abs(null - null.mean(0))
    plain = (np.abs(null[1:]) >= np.abs(null[0]) - 1e-12).sum(0)
    inside = (centred[1:] >= centred[0] - 1e-12).sum(0)
    assert all(
        p in ((1 + one) / 20, (1 + other) / 20)
        for p, one, other in zip(p_values(found), plain, inside, strict=True)
    )
    for tail, sign in (("greater", 1), ("less", -1)):
        one_sided = xc.binned_rsa_contrast(
            reps,
            brain,
            by,
            n_bins,
            method=method,
            n_permutations=19,
            tail=tail,
            rng=5,
            null="labels",
        )
        reached = (sign * null[1:] >= sign * null[0] - 1e-12).sum(0)
        np.testing.assert_allclose(p_values(one_sided), (1 + reached) / 20)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("average", ["rdm", "representation", None])
@pytest.mark.parametrize("method", ["spearman", "cosine", "kendall", "rho-a"])
def test_it_is_the_contrast_of_binned_rsa(average, method):
    reps, brain, by = sides(24)
    options = {"average": average, "method": method, "n_permutations": 0}
    rsa = xc.binned_rsa(reps, brain, by, 4, **options)["rsa"]
    found = xc.binned_rsa_contrast(reps, brain, by, 4, **options, null="labels")
    steps = xr.DataArray([-1.5, -0.5, 0.5, 1.5], dims="bin")
    np.testing.assert_allclose(found["trend"], (rsa * steps).sum("bin") / 5, atol=1e-12)
    np.testing.assert_allclose(found["low_minus_high"], rsa[0] - rsa[-1], atol=1e-12)
    assert np.isnan(p_values(found)).all()
    assert found["trend"].dims == (() if average else ("model_a",))


@pytest.mark.slow
def test_models_and_subjects_of_both_sides():
    reps, brain, by = sides(24, n_models=3)
    subjects = xr.concat(
        [brain, sides(24, seed=4)[1].assign_coords(brain.coords)], "subject", join="exact"
    )
    found = xc.binned_rsa_contrast(
        reps, subjects, by, average=None, n_permutations=29, rng=0, null="labels"
    )
    assert found["trend"].sizes == {"model_a": 3, "subject": 2}
    other = make_reps(2, 24, seed=0, widths=5)
    both = xc.binned_rsa_contrast(
        reps, other, by, average=None, n_permutations=29, rng=0, null="labels"
    )
    assert both["trend"].sizes == {"model_a": 3, "model_b": 2}
    for i, name in enumerate(reps["model"].values):
        one = xc.binned_rsa_contrast(
            reps.sel(model=[name]), subjects[1], by, n_permutations=29, rng=0, null="labels"
        )
        np.testing.assert_allclose(found["trend"][i, 1], one["trend"])
        np.testing.assert_allclose(found["trend_p_value"][i, 1], one["trend_p_value"])


@pytest.mark.slow
def test_a_planted_trend_is_found():
    reps, brain, by = sides(60, graded=4.0, noise=0.2)
    found = xc.binned_rsa_contrast(reps, brain, by, n_permutations=199, rng=0, null="labels")
    assert float(found["trend"]) < -0.05
    assert float(found["low_minus_high"]) > 0.1
    assert (p_values(found) <= 0.02).all()
    low = xc.binned_rsa_contrast(
        reps, brain, by, n_permutations=199, tail="greater", rng=0, null="labels"
    )
    assert float(low["trend_p_value"]) > 0.9
    assert float(low["low_minus_high_p_value"]) < 0.02


@pytest.mark.slow
def test_p_values_are_uniform_where_dispersion_says_nothing():
    p = []
    for run in range(120):
        reps, brain, by = sides(15, seed=run, n_models=1)
        p.append(
            p_values(
                xc.binned_rsa_contrast(reps, brain, by, n_permutations=99, rng=run, null="labels")
            )
        )
    p = np.array(p)
    assert ((p <= 0.05).mean(0) < 0.12).all()
    assert ((p <= 0.5).mean(0) > 0.38).all()
    assert ((p <= 0.5).mean(0) < 0.62).all()


@pytest.mark.slow
def test_order_of_anything_changes_nothing():
    reps, brain, by = sides(24)
    one = xc.binned_rsa_contrast(
        reps, brain, by, n_permutations=49, strata="category", rng=0, null="labels"
    )
    for a, b, c in ((shuffled(reps), brain, by), (reps, shuffled(brain), shuffled(by, 3))):
        other = xc.binned_rsa_contrast(
            a, b, c, n_permutations=49, strata="category", rng=0, null="labels"
        )
        fitted = ["n_effective", *(name for name in one if name.startswith("mean_"))]
        xr.testing.assert_allclose(one.drop_vars(fitted), other.drop_vars(fitted), rtol=1e-9)
        # a likelihood is climbed to within a tolerance
        xr.testing.assert_allclose(one[fitted], other[fitted], rtol=1e-4)
    unrelated = by.copy(data=np.random.default_rng(4).permutation(by.values))
    one, again = (
        xc.binned_rsa_contrast(reps, brain, unrelated, n_permutations=49, rng=seed, null="labels")
        for seed in (0, 1)
    )
    assert (p_values(again) != p_values(one)).any()


@pytest.mark.slow
def test_chunks_change_nothing_and_nothing_is_computed_early():
    reps, brain, by = sides(24)
    expected = xc.binned_rsa_contrast(
        reps, brain, by, average=None, n_permutations=19, rng=0, null="labels"
    )
    with no_compute():
        lazy = xc.binned_rsa_contrast(
            reps.chunk(model=1, stimulus=7), brain.chunk(stimulus=5), by,
            average=None, n_permutations=19, rng=0,
         null="labels")  # fmt: skip
    assert lazy["trend"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), expected)


@pytest.mark.slow
def test_strata_keep_members_and_take_away_what_they_explain():
    """One category fits the brain and has low dispersion: inside it, dispersion says nothing."""
    apart, inside = [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        n = 60
        x = rng.standard_normal((n, 6))
        kind = np.repeat([0, 1], n // 2)
        noisy = x + np.where(kind, 3.0, 0.2)[:, None] * rng.standard_normal((n, 6))
        ids = [f"s{i}" for i in range(n)]
        by = xr.DataArray(kind + 2 * rng.random(n), dims="stimulus", coords={"stimulus": ids})
        reps = xc.stack_models({"net": x}, stimuli=ids)
        kinds = by.copy(data=kind).rename("kind")
        brain = xc.rdm(xc.stack_models({"brain": noisy}, stimuli=ids)).isel(model=0, drop=True)
        options = {"n_bins": 2, "n_permutations": 39, "rng": seed}
        free = xc.binned_rsa_contrast(reps, brain, by, **options, null="labels")
        held = xc.binned_rsa_contrast(reps, brain, by, strata=kinds, **options, null="labels")
        named = xc.binned_rsa_contrast(
            reps.assign_coords(kind=("stimulus", kind)),
            brain,
            by,
            strata="kind",
            **options,
            null="labels",
        )
        xr.testing.assert_allclose(held, named)
        xr.testing.assert_allclose(held["trend"], free["trend"])
        assert held["trend"].attrs["strata"] == "kind"
        apart.append(p_values(free))
        inside.append(p_values(held))
    assert (np.array(apart) <= 0.05).mean() > 0.5
    assert (np.array(inside) <= 0.05).mean() < 0.2


def test_strata_that_hold_one_stimulus_each_leave_nothing_to_permute():
    reps, brain, by = sides(12)
    strata = by.copy(data=np.arange(12))
    with pytest.warns(RuntimeWarning, match="nothing can be permuted"):
        found = xc.binned_rsa_contrast(
            reps, brain, by, n_permutations=19, strata=strata, null="labels"
        )
    assert np.isfinite(values(found)).all()
    assert np.isnan(p_values(found)).all()


@pytest.mark.slow
def test_missing_stimuli_are_in_no_bin_and_do_not_move():
    reps, brain, by = sides(24)
    labels = reps["stimulus"].values
    reps[:, 3] = np.nan
    lost = {"stimulus": labels[5], "stimulus_2": labels[5]}
    brain.loc[{"stimulus": lost["stimulus"]}] = np.nan
    brain.loc[{"stimulus_2": lost["stimulus_2"]}] = np.nan
    by.loc[{"stimulus": labels[7]}] = np.nan
    found = xc.binned_rsa_contrast(reps, brain, by, n_permutations=19, rng=2, null="labels")
    bins = xc.dispersion_bins(by).values.copy()
    bins[[3, 5]] = -1
    seed = int(np.random.default_rng(2).integers(2**63))
    draws = permutations(natural_rank(labels), seed, 0, usable=bins >= 0)[:20]
    model = xc.rdm(reps).mean("model")
    null = np.array([by_bin(model, brain, labels, bins[p], 3, spearmanr) for p in draws])
    np.testing.assert_allclose(values(found), null[0], rtol=1e-9)
    one = xc.binned_rsa_contrast(
        reps, brain, by, n_permutations=19, tail="less", rng=2, null="labels"
    )
    np.testing.assert_allclose(p_values(one), (1 + (null[1:] <= null[0] + 1e-12).sum(0)) / 20)


def test_too_few_stimuli_in_a_bin_are_nan_with_a_warning():
    reps, brain, by = sides(8)
    with pytest.warns(RuntimeWarning, match="fewer than 3 stimuli"):
        found = xc.binned_rsa_contrast(reps, brain, by, 3, n_permutations=9, null="labels")
    assert np.isnan(values(found)).all()
    assert np.isnan(p_values(found)).all()


def test_sets_of_stimuli_and_wrong_arguments():
    reps, brain, by = sides(24)
    with pytest.raises(xc.SchemaError, match="same labels"):
        xc.binned_rsa_contrast(reps, brain, by[:20], null="labels")
    common = xc.pair(reps, brain, by[:20], join="inner")
    inner = xc.binned_rsa_contrast(*common, n_permutations=9, rng=0, null="labels")
    assert inner["trend"].attrs["n_dropped"] == 4
    some = {"stimulus": by["stimulus"][:20].values}
    plain = xc.binned_rsa_contrast(
        reps.sel(some), brain.sel(some | {"stimulus_2": some["stimulus"]}), by[:20],
        n_permutations=9, rng=0,
     null="labels")  # fmt: skip
    xr.testing.assert_allclose(inner, plain)
    for wrong, text in (
        ({"tail": "both"}, "tail='both'"),
        ({"method": "tau"}, "method='tau'"),
        ({"strata": "color"}, "strata='color'"),
        ({"n_bins": 1}, "n_bins=1"),
        ({"n_permutations": -1}, "n_permutations=-1"),
    ):
        with pytest.raises(ValueError, match=text):
            xc.binned_rsa_contrast(reps, brain, by, **wrong, null="labels")


def test_what_is_written_down():
    reps, brain, by = sides(24)
    found = xc.binned_rsa_contrast(reps, brain, by, n_permutations=9, rng=0, null="labels")
    corrected = ["_p_value"]
    means = [f"mean_{n}{e}" for n in NAMES for e in ("", "_standard_error", "_lower", "_upper")]
    told = {"n_effective", "moran_i", "dispersion_moran_i", *means}
    assert set(found.data_vars) == {n + s for n in NAMES for s in ("", *corrected)} | told
    for name, array in found.data_vars.items():
        assert array.name == name
        assert array.attrs["metric"] == "spearman"
        assert array.attrs["n_permutations"] == 9
    assert found["trend_p_value"].attrs["kind"] == "probability"


def binned(**options):
    a = make_reps(3, 12, [6, 4, 5], seed=1)
    b = make_reps(2, 12, [7, 5], seed=2).assign_coords(model=["bert", "gpt"])
    by = xr.DataArray(
        np.random.default_rng(0).permutation(12) / 1.0,
        dims="stimulus",
        coords={"stimulus": a["stimulus"].values},
    )
    return a, b, by, xc.binned_rsa(a, b, shuffled(by), n_bins=2, rng=0, **options)


@pytest.mark.parametrize("average", ["rdm", None])
def test_binned_rsa_is_rsa_inside_each_bin(average):
    a, b, by, table = binned(average=average, n_permutations=49)
    bins = xc.dispersion_bins(by, 2)
    for bin in (0, 1):
        inside = by["stimulus"].values[bins.values == bin]
        models = xc.rdm(a.sel(stimulus=inside))
        models = models.mean("model") if average else models
        expected = xc.rsa(models, xc.rdm(b.sel(stimulus=inside)))
        np.testing.assert_allclose(table["rsa"].sel(bin=bin), expected, rtol=1e-10)
        assert int(table["n_stimuli"].sel(bin=bin)) == len(inside) == 6
    p = table["p_value"].values
    assert ((p >= 1 / 50) & (p <= 1)).all()


def test_binned_rsa_of_the_mean_representation():
    a, b = make_reps(3, 12, 6), make_reps(2, 12, 5, seed=4)
    by = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": a["stimulus"].values})
    table = xc.binned_rsa(a, b, by, 2, average="representation", n_permutations=0)
    low = a.isel(stimulus=slice(6)).mean("model")
    expected = xc.rsa(xc.rdm(low), xc.rdm(b.sel(stimulus=low["stimulus"])))
    np.testing.assert_allclose(table["rsa"].sel(bin=0), expected)
    with pytest.warns(xc.UnalignedSpaceWarning):
        xc.binned_rsa(
            make_reps(3, 12, 6, shared=False), b, by, 2, average="representation", n_permutations=0
        )


def test_mantels_p_value_is_the_share_of_permutations():
    rng = np.random.default_rng(3)
    ids = list("abcde")
    a = xc.stack_models({"a": rng.standard_normal((10, 4))}, stimuli=[*ids, *"vwxyz"])
    b = xc.stack_models({"b": rng.standard_normal((10, 4))}, stimuli=[*ids, *"vwxyz"])
    by = xr.DataArray(np.arange(10.0), dims="stimulus", coords={"stimulus": [*ids, *"vwxyz"]})
    table = xc.binned_rsa(a, b, by, 2, n_permutations=5000, rng=0)
    one, two = (xc.rdm(side.sel(stimulus=ids))[0].values for side in (a, b))
    upper = np.triu_indices(5, 1)
    observed = spearmanr(one[upper], two[upper]).statistic
    null = [
        spearmanr(one[np.ix_(p, p)][upper], two[upper]).statistic
        for p in itertools.permutations(range(5))
    ]
    exact = np.mean([r >= observed - 1e-12 for r in null])
    assert table["p_value"].sel(bin=0).item() == pytest.approx(exact, abs=0.03)


@pytest.mark.slow
def test_bins_pairs_and_time_are_one_family():
    a = make_reps(2, 36, 5, shared=False)
    b = make_reps(1, 36, 5, seed=5, shared=False, extra={"time": 3})
    b = b.sel(stimulus=a["stimulus"].values).assign_coords(time=[0, 10, 20])
    effect = xr.DataArray([0.0, 3.0, 3.0], dims="time")
    by = xr.DataArray(np.arange(36.0), dims="stimulus", coords={"stimulus": a["stimulus"].values})
    b = b + effect * a[0].variable
    options = {"average": None, "n_permutations": 499, "rng": 0}
    found = xc.binned_rsa(a, b, by, 2, clusters="time", **options)
    most = found["p_value_max_t"]
    assert most.sizes == {"bin": 2, "model_a": 2, "time": 3, "model_b": 1}
    assert (most >= found["p_value"]).all()
    assert (most.isel(model_a=0, time=[1, 2]) <= 0.05).all()
    assert (found["p_value_cluster"].isel(model_a=0, time=[1, 2]) <= 0.05).all()
    assert (found["p_value_cluster"].isel(time=0) > 0.05).all()
    one = xc.binned_rsa(a, b, by, 2, over="time", **options)
    two = xc.binned_rsa(a[[1]], b, by, 2, over=["time", "bin"], **options)
    assert (one["p_value_max_t"] <= most).all()
    assert (two["p_value_max_t"] <= most.isel(model_a=[1])).all()
    lazy = xc.binned_rsa(a, b.chunk(time=1), by, 2, clusters="time", **options)
    assert lazy["p_value_cluster"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), found)
    with pytest.raises(ValueError, match="over='subject' is not known; choose one of bin, model_a"):
        xc.binned_rsa(a, b, by, 2, over="subject", average=None)


@pytest.mark.slow
def test_contrasts_are_corrected_over_pairs_and_extra_dims():
    reps, brain, by = sides(30, n_models=3)
    other = xr.concat(
        [brain, sides(30, seed=4)[1].assign_coords(brain.coords)], "subject", join="exact"
    )
    call = {"average": None, "n_permutations": 49, "rng": 0}
    found = xc.binned_rsa_contrast(reps, other, by, **call, null="labels")
    apart = xc.binned_rsa_contrast(reps, other, by, over="model_a", **call, null="labels")
    alone_of_second = xc.binned_rsa_contrast(reps, other[1], by, **call, null="labels")
    for name in NAMES:
        alone, most = found[f"{name}_p_value"], found[f"{name}_p_value_max_t"]
        assert most.dims == alone.dims == ("model_a", "subject")
        assert (most >= alone).all()
        assert (apart[f"{name}_p_value_max_t"] <= most).all()
        one = alone_of_second[f"{name}_p_value_max_t"]
        np.testing.assert_allclose(apart[f"{name}_p_value_max_t"][:, 1], one)
    with pytest.raises(ValueError, match="'bin' is not known"):
        xc.binned_rsa_contrast(reps, other, by, over="bin", n_permutations=0, null="labels")


def test_binned_rsa_with_another_set_of_stimuli():
    a, b, by, table = binned(n_permutations=0)
    with pytest.raises(xc.SchemaError, match="reps has 12, dispersion has 10"):
        xc.binned_rsa(a, b, by[:10], n_bins=2)
    common = xc.pair(a, b.sel(stimulus=by["stimulus"][:11]), by, join="inner")
    inner = xc.binned_rsa(*common, 2)
    assert inner.attrs["n_dropped"] == 1
    assert int(inner["n_stimuli"].sum()) == 11
    assert table["rsa"].dims == ("bin", "model_b")


def test_a_bin_of_two_stimuli_is_nan_with_a_warning():
    a, b, by, _ = binned(n_permutations=0)
    few = by["stimulus"].values[:4]
    with pytest.warns(RuntimeWarning, match="at least 3 pairs"):
        table = xc.binned_rsa(
            a.sel(stimulus=few), b.sel(stimulus=few), by.sel(stimulus=few), 2, n_permutations=9
        )
    assert table["rsa"].isnull().all()
    assert table["p_value"].isnull().all()


def test_binned_rsa_reads_features_only_when_computed():
    a, b, by, expected = binned(average=None, n_permutations=20)
    with no_compute():
        found = xc.binned_rsa(
            a.chunk(stimulus=5, model=1),
            b.chunk(feature=3),
            by,
            2,
            average=None,
            n_permutations=20,
            rng=0,
        )
    xr.testing.assert_allclose(found.compute(scheduler="threads"), expected, rtol=1e-10)


def test_a_planted_effect_is_found_against_a_brain():
    sets = planted_study(rng=1)
    table = xc.binned_rsa(sets["vision"], sets["language"], sets["vision"]["noise"], 3, rng=0)
    low, high = table["rsa"].mean("model_b").sel(bin=[0, 2]).values
    assert low > high + 0.2
    assert (table["p_value"].sel(bin=0) < 0.01).all()


@pytest.mark.slow
def test_the_seed_of_a_result_gives_its_digits():
    reps, brain, by = sides(24)
    for call in (xc.binned_rsa, xc.binned_rsa_contrast):
        drawn = call(reps, brain, by, n_permutations=29)
        again = call(reps, brain, by, n_permutations=29, rng=drawn.attrs["seed"])
        xr.testing.assert_identical(drawn, again)


def test_inputs_are_not_touched():
    before = sides(12)
    reps, brain, by = (read_only(one) for one in before)
    xc.binned_rsa(reps, brain, by, n_bins=2, n_permutations=5)
    xc.binned_rsa_contrast(reps, brain, by, n_bins=2, n_permutations=5, null="labels")
    for one, same in zip((reps, brain, by), before, strict=True):
        xr.testing.assert_identical(one, same)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", METHODS)
def test_binned_rsa_takes_every_method(method):
    reps = make_reps(3, 30, 5)
    brain = xc.rdm(make_reps(1, 30, 4, noise=0.1)).sel(model="net0", drop=True)
    by = xc.dispersion(reps)
    table = xc.binned_rsa(reps, brain, by, 2, method=method, n_permutations=19, rng=0)
    bins = xc.dispersion_bins(by, 2)
    for number in range(2):
        inside = by["stimulus"].values[bins.values == number]
        chosen = {"stimulus": inside, "stimulus_2": inside}
        mean = xc.rdm(reps).mean("model")
        expected = xc.rsa(mean.sel(chosen), brain.sel(chosen), method)
        assert float(table["rsa"][number]) == pytest.approx(float(expected), abs=1e-12)
        assert 0.05 <= float(table["p_value"][number]) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nothing", "all equal"])
def test_one_bad_subject_is_named_with_its_bin_and_leaves_the_others(kind):
    reps, _, by = sides(30)
    people = xc.rdm(make_reps(3, 30, seed=5)).rename(model="subject")
    people = people.drop_vars([n for n in people.coords if "subject" in people[n].dims])
    people = people.assign_coords(subject=["p0", "p1", "p2"])
    wrong = people.copy(deep=True)
    wrong[1] = np.nan if kind == "nothing" else 1 - np.eye(30)
    for function, name in ((xc.binned_rsa, "rsa"), (xc.binned_rsa_contrast, "trend")):
        call = {"n_permutations": 19, "rng": 0}
        if function is xc.binned_rsa_contrast:
            call["null"] = "labels"
        with pytest.warns(RuntimeWarning, match=r"\(subject 'p1'\): NaN$"):
            found = function(reps, wrong, by, 3, **call)
        right = function(reps, people.drop_sel(subject="p1"), by, 3, **call)
        # distances of the subject are part of the geometry all the same
        fitted = [n for n in right if n.startswith("mean_") or n in ("n_effective",)]
        fitted += [n for n in right if "moran" in n]
        xr.testing.assert_equal(
            found.drop_sel(subject="p1").drop_vars(fitted), right.drop_vars(fitted)
        )
        assert found[name].sel(subject="p1").isnull().all()


def test_the_mean_rdm_says_whose_it_is():
    reps, brain, by = sides(24)
    empty = reps.copy(deep=True)
    empty[1] = np.nan
    name = str(reps["model"].values[1])
    right = xc.binned_rsa(reps.drop_isel(model=1), brain, by, 2, n_permutations=0)
    with no_compute():
        lazy = xc.binned_rsa(empty.chunk(model=1), brain, by, 2, n_permutations=0)
    with pytest.warns(RuntimeWarning, match=f"is that of the others: model '{name}' saw no stim"):
        found = lazy.compute(scheduler="synchronous")
    xr.testing.assert_allclose(found, right)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("average", ["rdm", "representation", None])
@pytest.mark.parametrize("families", [False, True])
def test_rdms_of_bins_are_cut_out_of_the_whole(average, families):
    reps, brain, by = sides(30, n_models=3)
    reps = reps.assign_attrs(space="shared")
    if families:
        reps = reps.assign_coords(network=("model", ["x", "x", "y"]))
    reps[{"model": 1, "stimulus": [2, 9]}] = np.nan
    found = xc.binned_rsa(reps, brain, by, 3, average=average, n_permutations=20, rng=0)
    lazy = xc.binned_rsa(
        reps.chunk(stimulus=7), brain, by, 3, average=average, n_permutations=20, rng=0
    ).compute()
    for name in lazy:
        np.testing.assert_allclose(found[name], lazy[name], rtol=1e-10, err_msg=name)
        assert found[name].dims == lazy[name].dims
    assert found.attrs == lazy.attrs
    assert {*found.coords} == {*lazy.coords}


def test_rows_that_are_in_no_bin_are_looked_at_too():
    reps, brain, by = sides(20)
    by[3] = np.nan
    reps[{"model": 0, "stimulus": 3}] = 1.0
    name = str(reps["stimulus"].values[3])
    with pytest.raises(xc.SchemaError, match=f"constant vector.*{name}"):
        xc.binned_rsa(reps, brain, by, 2, n_permutations=0)
