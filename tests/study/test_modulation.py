"""Modulation with strata and with dispersion of each scored model, against plain loops."""

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled, stream_of
from xconverge.kernels.permutations import permutations
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError

STIMULI = [f"s{i}" for i in range(20)]


def scores(seed=0, models=(2, 3), n=20, missing=()):
    values = np.random.default_rng(seed).standard_normal((*models, n))
    for where in missing:
        values[where] = np.nan
    return xr.DataArray(
        values,
        dims=("model_a", "model_b", "stimulus"),
        coords={
            "model_a": ["x", "y"][: models[0]],
            "model_b": ["u", "v", "w"][: models[1]],
            "stimulus": STIMULI[:n],
        },
    )


def spread(seed=1, n=20, models=None):
    rng = np.random.default_rng(seed)
    if models:
        values = rng.standard_normal((len(models), n))
        return xr.DataArray(values, dims=("model", "stimulus"),
                            coords={"model": models, "stimulus": STIMULI[:n]})  # fmt: skip
    return xr.DataArray(
        rng.standard_normal(n), dims="stimulus", coords={"stimulus": STIMULI[:n]}, name="spread"
    )


def brute(x, y, seed, count, tail="two-sided", strata=None):
    """P-value of one pair by plain loops over the same permutations."""
    n = len(x)
    groups = np.zeros(n, int) if strata is None else strata
    moves = permutations(natural_rank(STIMULI[:n]), seed, 0, groups)[: count + 1]
    r, s = rankdata(x).astype(float), rankdata(y).astype(float)
    for group in np.unique(groups):
        s[groups == group] -= s[groups == group].mean()
    r -= r.mean()
    null = [float(r[p] @ s) for p in moves]
    far = {"two-sided": abs, "greater": float, "less": lambda v: -v}[tail]
    return (1 + sum(far(v) >= far(null[0]) - 1e-9 for v in null[1:])) / (1 + count)


@pytest.mark.parametrize("tail", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("restricted", [False, True])
def test_p_values_from_plain_loops(tail, restricted):
    x, y = spread(), scores()
    groups = np.arange(20) % 3
    strata = xr.DataArray(groups, dims="stimulus", coords={"stimulus": STIMULI})
    found = xc.modulation(
        x,
        y,
        strata=strata if restricted else None,
        n_permutations=99,
        tail=tail,
        n_bins=2,
        rng=3,
        null="labels",
    )
    for i, j in np.ndindex(2, 3):
        expected = brute(
            x.values, y.values[i, j], stream_of(3), 99, tail, groups if restricted else None
        )
        assert float(found["p_value"][i, j]) == expected
        rho = spearmanr(x, y[i, j]).statistic
        assert float(found["correlation"][i, j]) == pytest.approx(rho)
    mean = found["correlation"].mean()
    assert float(found["mean_correlation"]) == pytest.approx(float(mean))


@pytest.mark.slow
def test_the_mean_over_pairs_has_its_own_null():
    x, y = spread(), scores()
    found = xc.modulation(x, y, n_permutations=99, n_bins=2, rng=3, null="labels")
    moves = permutations(natural_rank(STIMULI), stream_of(3), 0)[:100]
    null = [
        np.mean([spearmanr(x.values[p], y.values[i, j]).statistic for i, j in np.ndindex(2, 3)])
        for p in moves
    ]
    expected = (1 + sum(abs(v) >= abs(null[0]) - 1e-9 for v in null[1:])) / 100
    assert float(found["mean_p_value"]) == expected


def test_few_stimuli_agree_with_all_permutations():
    x, y = spread(n=5), scores(n=5, models=(1, 1))
    exact = [
        spearmanr(x.values[list(p)], y.values[0, 0]).statistic
        for p in itertools.permutations(range(5))
    ]
    share = np.mean(np.abs(exact) >= abs(exact[0]) - 1e-9)
    found = xc.modulation(x, y, n_permutations=20_000, n_bins=2, rng=0, null="labels")
    assert float(found["p_value"].item()) == pytest.approx(share, abs=0.015)


def test_every_pair_has_the_dispersion_of_its_model():
    own, y = spread(models=["y", "z", "x"]), scores(missing=[(0, 0, 4), (0, 1, 4), (0, 2, 4)])
    found = xc.modulation(own, y, n_permutations=49, n_bins=2, rng=0, null="labels")
    for model in ("x", "y"):
        one = xc.modulation(
            own.sel(model=model, drop=True), y.sel(model_a=[model]), n_permutations=49, n_bins=2,
            rng=0,
         null="labels")  # fmt: skip
        for name in ("correlation", "p_value", "n_stimuli", "alignment_by_bin"):
            np.testing.assert_allclose(found[name].sel(model_a=[model]), one[name], err_msg=name)
        by_bin = found["dispersion_by_bin"].sel(model_a=model)
        np.testing.assert_allclose(by_bin, one["dispersion_by_bin"])
    assert "correlation_of_mean" not in found
    assert float(found["mean_correlation"]) == pytest.approx(float(found["correlation"].mean()))
    with pytest.raises(SchemaError, match="no model 'x'"):
        xc.modulation(own.sel(model=["y", "z"]), y, null="labels")
    with pytest.raises(SchemaError, match="only where"):
        xc.modulation(own, y.mean("model_a"), null="labels")


def test_covariates_of_each_model():
    x, y, density = spread(), scores(), spread(5, models=["x", "y"])
    found = xc.modulation(x, y, covariates=density, n_permutations=0, n_bins=2, null="labels")
    for i, model in enumerate(["x", "y"]):
        design = np.stack([np.ones(20), rankdata(density.sel(model=model))], 1)

        def residual(values, design=design):
            ranked = rankdata(values)
            return ranked - design @ np.linalg.lstsq(design, ranked, rcond=None)[0]

        for j in range(3):
            expected = np.corrcoef(residual(x.values), residual(y.values[i, j]))[0, 1]
            assert float(found["correlation"][i, j]) == pytest.approx(expected)


def outside(design, values):
    """What a linear fit of the columns leaves."""
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def freedman_lane(x, y, covariates, labels, seed, count, strata=None):
    """Draws of a partial rank correlation from plain loops: fitted anew for every permutation.

    Strata are columns of the fit: what is correlated is what is left inside them.
    """
    n = len(x)
    groups = np.zeros(n, int) if strata is None else strata
    columns = [*(groups == g for g in np.unique(groups)), *(rankdata(c) for c in covariates)]
    design = np.stack(columns, 1).astype(float)
    left, right = (outside(design, rankdata(values)) for values in (x, y))
    draws = []
    for order in permutations(natural_rank(labels), seed, 0, groups)[: count + 1]:
        moved = outside(design, left[order])
        draws.append(moved @ right / np.linalg.norm(moved) / np.linalg.norm(right))
    return np.array(draws)


def share(draws, tail):
    far = {"two-sided": np.abs, "greater": np.asarray, "less": np.negative}[tail](draws)
    return np.mean(far >= far[0] - 1e-9)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("tail", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("restricted", [False, True])
def test_permuted_residuals_are_made_residuals_again(tail, restricted):
    x, y = spread(), scores()
    y[1, 2] = x**3
    given = [spread(seed) for seed in range(5, 11)]
    given[0] = (given[0] + x).round(0)
    groups = np.arange(20) % 3
    strata = xr.DataArray(groups, dims="stimulus", coords={"stimulus": STIMULI})
    found = xc.modulation(
        x, y, covariates=given, strata=strata if restricted else None, n_permutations=199,
        tail=tail, n_bins=2, rng=3,
     null="labels")  # fmt: skip
    groups = groups if restricted else None
    draws = {
        (i, j): freedman_lane(x.values, y.values[i, j], given, STIMULI, stream_of(3), 199, groups)
        for i, j in np.ndindex(2, 3)
    }
    for where, values in draws.items():
        assert float(found["p_value"][where]) == share(values, tail)
        if not restricted:
            assert float(found["correlation"][where]) == pytest.approx(values[0])
    if not restricted:
        mean = share(np.mean(list(draws.values()), axis=0), tail)
        assert float(found["mean_p_value"]) == mean
    assert len({float(p) for p in found["p_value"].values.ravel()}) > 1


def test_permuted_residuals_of_each_model_and_its_stimuli():
    own, y = spread(models=["y", "x"]), scores(missing=[(0, 1, 4), (0, 1, 9), (1, 0, 3)])
    density = [spread(seed, models=["x", "y"]) for seed in (5, 6, 7)]
    density[0][0, 12] = np.nan
    found = xc.modulation(
        own, y, covariates=density, n_permutations=99, n_bins=2, rng=3, null="labels"
    )
    for i, j in np.ndindex(2, 3):
        model = y["model_a"].values[i]
        parts = [own.sel(model=model), y[i, j], *(one.sel(model=model) for one in density)]
        usable = np.isfinite([part.values for part in parts]).all(0)
        # permutations of some follow those of all: cut, the labels that are left keep their order
        moves = permutations(natural_rank(STIMULI), stream_of(3), 0, None, usable)[:100, usable]
        place = np.cumsum(usable) - 1
        left, right, *given = (rankdata(part.values[usable]) for part in parts)
        design = np.stack([np.ones(usable.sum()), *given], 1)
        left, right = outside(design, left), outside(design, right)
        draws = []
        for order in place[moves]:
            moved = outside(design, left[order])
            draws.append(moved @ right / np.linalg.norm(moved) / np.linalg.norm(right))
        assert int(found["n_stimuli"][i, j]) == usable.sum()
        assert float(found["p_value"][i, j]) == share(np.array(draws), "two-sided")


def null_models(n_covariates, runs, n=60):
    """Dispersion, alignment and covariates of unrelated values: each model is a run."""
    rng = np.random.default_rng(n_covariates)
    labels = {"model": [f"m{i}" for i in range(runs)], "stimulus": [f"s{i}" for i in range(n)]}
    return [
        xr.DataArray(one, dims=("model", "stimulus"), coords=labels)
        for one in rng.standard_normal((2 + n_covariates, runs, n))
    ]


def rejected(n_covariates, runs):
    x, y, *given = null_models(n_covariates, runs)
    y = y.rename(model="model_a")
    found = xc.modulation(
        x, y, covariates=given, n_permutations=199, n_bins=2, rng=0, null="labels"
    )
    return float((found["p_value"] <= 0.05).mean())


def rejected_without_a_second_fit(n_covariates, runs):
    x, y, *given = (one.values for one in null_models(n_covariates, runs))
    rng, count = np.random.default_rng(0), 0
    for run in range(runs):
        design = np.stack([np.ones(x.shape[1]), *(rankdata(one[run]) for one in given)], 1)
        left, right = (outside(design, rankdata(side[run])) for side in (x, y))
        draws = [left @ right, *(rng.permutation(left) @ right for _ in range(199))]
        count += share(np.array(draws), "two-sided") <= 0.05
    return count / runs


@pytest.mark.slow
@pytest.mark.parametrize("n_covariates", [10, 20])
def test_many_covariates_hold_the_level(n_covariates):
    # measured: 0.048 and 0.045 of 2000; 0.072 and 0.107 without the second fit
    assert rejected(n_covariates, 2000) < 0.062
    assert rejected_without_a_second_fit(n_covariates, 2000) > 0.062


@pytest.mark.slow
def test_many_covariates_do_not_reject_often():
    assert rejected(20, 150) < 0.08


def test_order_and_chunks_change_nothing():
    x, y = spread(), scores()
    named = x.assign_coords(category=("stimulus", np.arange(20) % 4))
    call = {"n_permutations": 60, "strata": "category", "n_bins": 2, "rng": 0}
    expected = xc.modulation(named, y, **call, null="labels")
    for left, right in ((shuffled(named), y), (named, shuffled(y)), (named, y.chunk(stimulus=7))):
        found = xc.modulation(left, right, **call, null="labels")
        xr.testing.assert_allclose(found.compute(), expected)
    with no_compute():
        lazy = xc.modulation(named, y.chunk(model_b=1), **call, null="labels")
    assert lazy["p_value"].chunks


def test_strata_that_leave_nothing_to_permute():
    x, y = spread(), scores()
    strata = xr.DataArray(np.arange(20), dims="stimulus", coords={"stimulus": STIMULI})
    with pytest.warns(RuntimeWarning, match="nothing can be permuted"):
        found = xc.modulation(x, y, strata=strata, n_permutations=9, n_bins=2, null="labels")
    assert found["p_value"].isnull().all()
    assert np.isnan(found["mean_p_value"])
    assert found["correlation"].notnull().all()


def test_a_pair_that_nothing_can_be_permuted_of_leaves_the_mean_its_p_value():
    x, y = spread(), scores()
    strata = xr.DataArray(np.arange(20) // 2, dims="stimulus", coords={"stimulus": STIMULI})
    y[0, 0] = strata
    with pytest.warns(RuntimeWarning, match="1 rows .* nothing can be permuted"):
        found = xc.modulation(
            x, y, strata=strata, n_permutations=99, n_bins=2, rng=3, null="labels"
        )
    assert np.isnan(found["p_value"][0, 0])
    assert int(found["p_value"].isnull().sum()) == 1
    moves = permutations(natural_rank(STIMULI), stream_of(3), 0, strata.values)[:100]
    groups, null = strata.values, 0
    for i, j in np.ndindex(2, 3):
        design = np.stack([groups == g for g in range(10)], 1).astype(float)
        right = outside(design, rankdata(y.values[i, j]))
        null = null + np.array([rankdata(x.values)[p] @ right for p in moves])
    assert float(found["mean_p_value"]) == share(null, "two-sided")


@pytest.mark.slow
def test_strata_hold_what_categories_explain():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 5)
    rejected = np.zeros(2)
    for run in range(120):
        level = 3 * rng.permutation(4)[groups]
        x = spread().copy(data=level + rng.standard_normal(20))
        y = scores(models=(1, 1)).copy(data=(level + rng.standard_normal(20))[None, None])
        x = x.assign_coords(category=("stimulus", groups))
        for number, strata in enumerate((None, "category")):
            found = xc.modulation(
                x, y, strata=strata, n_permutations=99, n_bins=2, rng=run, null="labels"
            )
            rejected[number] += float(found["p_value"].item()) <= 0.05
    assert rejected[0] > 90
    assert 1 <= rejected[1] <= 14


def test_norms():
    reps = make_reps(2, 6, [3, 4], missing=[(0, 2)], shared=False)
    found = xc.stimulus_norm(reps)
    for m, width in enumerate((3, 4)):
        expected = np.sqrt((reps.values[m, :, :width] ** 2).sum(1))
        np.testing.assert_allclose(found[m], expected)
    assert np.isnan(found[0, 2])
    assert xc.stimulus_norm(reps.chunk(model=1)).chunks


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["neighborhood", "rdm", "consensus", "cosine"])
@pytest.mark.parametrize("leave_out", ["model", "family"])
def test_what_is_scored_is_left_out(measure, leave_out):
    a, b = make_reps(4, 24, [5, 6, 4, 5], shared=False), make_reps(2, 24, [4, 6], 1, shared=False)
    call = {"n_permutations": 29, "n_bins": 2, "rng": 0}
    found = xc.leave_out_modulation(
        a, b, measure, leave_out=leave_out, nuisance=(), k=4, n_components=4, **call, null="labels"
    )
    groups = a["model" if leave_out == "model" else "family"].values
    for model, group in zip(a["model"].values, groups, strict=True):
        others = a.isel(model=np.flatnonzero(groups != group))
        if measure in ("neighborhood", "rdm"):
            spread = xc.dispersion(others, measure, k=4)
        else:
            spread = xc.dispersion(xc.shared_space(others, n_components=4)["aligned"], measure)
        agreement = xc.alignment(a.sel(model=[model]), b, k=4)
        one = xc.modulation(spread, agreement, **call, null="labels")
        np.testing.assert_allclose(
            found["correlation"].sel(model_a=[model]), one["correlation"], atol=1e-9
        )
        np.testing.assert_allclose(found["p_value"].sel(model_a=[model]), one["p_value"])


@pytest.mark.slow
def test_nuisances_by_name_and_by_value():
    a, b = make_reps(4, 24, 5, shared=False), make_reps(2, 24, 4, 1, shared=False)
    call = {"k": 4, "n_permutations": 0, "n_bins": 2}
    named = xc.leave_out_modulation(a, b, nuisance=("local_density", "norm"), **call, null="labels")
    given = xc.leave_out_modulation(
        a, b, nuisance=(xc.local_density(a, 4), xc.stimulus_norm(a)), **call, null="labels"
    )
    xr.testing.assert_allclose(named, given)
    assert named["correlation"].attrs["n_covariates"] == 2
    assert named["correlation"].attrs["dispersion_without"] == "model"
    strata = xc.leave_out_modulation(
        a, b, strata="category", rng=0, **{**call, "n_permutations": 9}, null="labels"
    )
    assert strata["p_value"].attrs["strata"] == "category"
    with pytest.raises(ValueError, match="nuisance='density'"):
        xc.leave_out_modulation(a, b, nuisance=("density",), null="labels")
    with pytest.raises(SchemaError, match="fewer are left without"):
        xc.leave_out_modulation(a[:2], b, null="labels")
    with pytest.raises(ValueError, match="dispersion_metric='agreement'"):
        xc.leave_out_modulation(a, b, "agreement", null="labels")


K = 3


def two_sides():
    """Two modalities in which some stimuli are missing."""
    a = make_reps(3, 12, [6, 4, 5], seed=1, missing=[(0, 2), (1, 2), (1, 5)])
    b = make_reps(2, 12, [7, 5], seed=2, missing=[(0, 7)])
    return a, b.assign_coords(model=["bert", "gpt"])


@pytest.fixture
def effect():
    a, b = two_sides()
    spread = xc.dispersion(a, "rdm")
    return spread, xc.alignment(a, b, k=K)


def test_modulation_is_spearmans_over_common_stimuli(effect):
    spread, agreement = effect
    table = xc.modulation(
        shuffled(spread), agreement, n_bins=2, n_permutations=200, rng=0, null="labels"
    )
    for p in agreement["model_a"].values:
        for q in agreement["model_b"].values:
            y = agreement.sel(model_a=p, model_b=q).values
            keep = ~np.isnan(y) & ~np.isnan(spread.values)
            one = table.sel(model_a=p, model_b=q)
            expected = spearmanr(spread.values[keep], y[keep]).statistic
            assert float(one["correlation"]) == pytest.approx(expected, abs=1e-12)
            assert int(one["n_stimuli"]) == keep.sum()
            bins = xc.dispersion_bins(spread, 2).values
            for bin in (0, 1):
                mean = np.nanmean(y[bins == bin])
                assert float(one["alignment_by_bin"].sel(bin=bin)) == pytest.approx(mean)
    mean = agreement.mean(["model_a", "model_b"])
    keep = spread.notnull().values
    expected = spearmanr(spread[keep], np.round(mean[keep], 12)).statistic
    assert float(table["correlation_of_mean"]) == pytest.approx(expected, abs=1e-12)
    p_values = table["p_value"].values
    assert ((p_values >= 1 / 201) & (p_values <= 1)).all()


def test_modulation_with_covariates_is_the_partial_correlation(effect):
    spread, agreement = effect
    y = agreement.mean(["model_a", "model_b"]).round(12)
    z = spread.rename("z").reset_coords(drop=True) ** 2
    z = z + np.random.default_rng(0).standard_normal(12)
    keep = spread.notnull().values
    design = np.stack([np.ones(keep.sum()), rankdata(z[keep])], 1)
    left, right = (
        rankdata(v[keep]) - design @ np.linalg.lstsq(design, rankdata(v[keep]), rcond=None)[0]
        for v in (spread, y)
    )
    table = xc.modulation(
        spread, y, covariates=shuffled(z), n_bins=2, n_permutations=10, null="labels"
    )
    assert float(table["correlation"]) == pytest.approx(pearsonr(left, right).statistic, abs=1e-12)


@pytest.mark.slow
def test_p_values_are_the_share_of_permutations():
    x = np.array([1.0, 2, 3, 4, 5, 6])
    y = np.array([2.0, 1, 4, 3, 6, 5])
    labels = {"stimulus": list("abcdef")}
    observed = spearmanr(x, y).statistic
    null = [spearmanr(x[list(p)], y).statistic for p in itertools.permutations(range(6))]
    for tail, exact in (
        ("greater", np.mean([r >= observed - 1e-12 for r in null])),
        ("less", np.mean([r <= observed + 1e-12 for r in null])),
        ("two-sided", np.mean([abs(r) >= abs(observed) - 1e-12 for r in null])),
    ):
        table = xc.modulation(
            xr.DataArray(x, dims="stimulus", coords=labels),
            xr.DataArray(y, dims="stimulus", coords=labels),
            n_bins=2,
            n_permutations=20_000,
            tail=tail,
            rng=0,
            null="labels",
        )
        assert float(table["p_value"]) == pytest.approx(exact, abs=0.01)


@pytest.mark.slow
def test_the_null_is_rejected_as_often_as_said():
    rng = np.random.default_rng(0)
    labels = [f"s{i}" for i in range(25)]
    x = xr.DataArray(rng.standard_normal(25), dims="stimulus", coords={"stimulus": labels})
    y = xr.DataArray(
        rng.standard_normal((1000, 25)), dims=("model_a", "stimulus"), coords={"stimulus": labels}
    )
    p = xc.modulation(x, y, n_permutations=199, rng=0, null="labels")["p_value"].values
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
@given(data=st.data())
def test_modulation_is_lazy_and_chunks_change_no_p_value(data):
    a, b = two_sides()
    spread, agreement = xc.dispersion(a, "rdm"), xc.alignment(a, b, k=K)
    expected = xc.modulation(spread, agreement, n_bins=2, n_permutations=50, rng=1, null="labels")
    lazy = data.draw(chunked(spread)), data.draw(chunked(agreement))
    with no_compute():
        found = xc.modulation(*lazy, n_bins=2, n_permutations=50, rng=1, null="labels")
    xr.testing.assert_allclose(found.compute(scheduler="threads"), expected, rtol=1e-12)
    xr.testing.assert_equal(found["p_value"].compute(scheduler="threads"), expected["p_value"])


def test_modulation_of_too_few_stimuli_is_nan_with_a_warning():
    x = xr.DataArray([1.0, 2.0], dims="stimulus", coords={"stimulus": ["a", "b"]})
    with pytest.warns(RuntimeWarning, match="at least 3 stimuli, got 2"):
        table = xc.modulation(x, x, n_bins=2, n_permutations=9, null="labels")
    assert np.isnan(table["correlation"])
    assert np.isnan(table["p_value"])


def test_the_seed_of_a_result_gives_its_digits():
    x, y = spread(), scores()
    drawn = xc.modulation(x, y, n_permutations=49, n_bins=2, null="labels")
    again = xc.modulation(x, y, n_permutations=49, n_bins=2, rng=drawn.attrs["seed"], null="labels")
    xr.testing.assert_identical(drawn, again)
    assert drawn["p_value"].attrs["seed"] == drawn.attrs["seed"]
    assert xc.modulation(x, y, n_permutations=9, rng=7, null="labels").attrs["seed"] == 7


def test_inputs_of_other_stimuli_are_refused_and_inputs_stay():
    x, y = (read_only(one) for one in (spread(), scores()))
    before = x.copy(deep=True), y.copy(deep=True)
    for arguments in ((x[:15], y), (x, y[..., :15])):
        with pytest.raises(SchemaError, match=r"15.*missing from.*xconverge\.pair"):
            xc.modulation(*arguments, null="labels")
    with pytest.raises(SchemaError, match="dispersion and covariates spread must have the same"):
        xc.modulation(x, y, covariates=x[:15], null="labels")
    xc.modulation(x, y, n_permutations=9, n_bins=2, null="labels")
    for one, same in zip((x, y), before, strict=True):
        xr.testing.assert_identical(one, same)


# --- stimuli that are alike ----------------------------------------------------------------------


def clustered(seed, shared=False, n=60):
    """Two modalities over 12 clusters of stimuli, and two maps that are smooth over both."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(12, size=n)
    latent = rng.standard_normal((12, 5))[centre] + 0.2 * rng.standard_normal((n, 5))
    sides = [
        xc.stack_models(
            {f"{name} {i}": latent @ rng.standard_normal((5, 8)) for i in range(2)},
            stimuli=[f"s{i}" for i in range(n)],
            modality=name,
        )
        for name in ("vision", "language")
    ]
    level = [rng.standard_normal(12) for _ in range(2)]
    maps = [
        xr.DataArray(
            level[number * (not shared)][centre] + 0.3 * rng.standard_normal(n),
            dims="stimulus",
            coords={"stimulus": sides[0]["stimulus"]},
        )
        for number in range(2)
    ]
    return sides, maps


@pytest.mark.slow
def test_maps_over_clusters_are_not_related_by_being_smooth():
    runs = 12
    found = np.array([
        [
            float(xc.modulation(*maps, geometry=sides)["p_value"]),
            float(xc.modulation(*maps, n_permutations=199, rng=0, null="labels")["p_value"]),
        ]
        for sides, maps in (clustered(seed) for seed in range(runs))
    ])  # fmt: skip
    mixed, labels = (found <= 0.05).mean(0)
    assert mixed <= 2 / runs < labels
    sides, maps = clustered(0, shared=True)
    assert float(xc.modulation(*maps, geometry=sides)["p_value"]) < 0.01


def test_a_mixed_model_says_what_its_p_value_rests_on():
    sides, (spread, score) = clustered(3)
    pairs = score.expand_dims(model_a=["a", "b"], model_b=["x"]).copy()
    pairs[1, 0, 4] = np.nan
    found = xc.modulation(spread, pairs, geometry=sides, rng=0)
    assert found.attrs["null"] == "mixed"
    assert found.attrs["null_holds_for"].startswith("maps that are smooth")
    for name in ("t_alignment", "t_dispersion", "n_effective", "moran_i", "p_value_alignment"):
        assert found[name].dims == ("model_a", "model_b")
        assert found[f"{name}_of_mean"].dims == ()
    larger = np.maximum(found["p_value_alignment"], found["p_value_dispersion"])
    xr.testing.assert_equal(found["p_value"].drop_attrs(), larger.drop_attrs())
    plain = xc.modulation(spread, pairs, n_permutations=0, null="labels")
    np.testing.assert_array_equal(found["correlation"], plain["correlation"])
    assert (found["n_effective"] < 40).all()
    assert float(found["dispersion_moran_i"]) > 0.1
    # the whole of one category is one kernel: groups alone are a geometry too
    kind = xr.DataArray(np.arange(60) % 3, dims="stimulus", coords={"stimulus": spread["stimulus"]})
    by_kind = xc.modulation(spread, score, groups=[kind], null="mixed")
    assert 0 < float(by_kind["p_value"]) <= 1
    assert np.isnan(by_kind["moran_i"])


@pytest.mark.usefixtures("raising_scheduler")
def test_a_mixed_model_of_lazy_maps_is_lazy():
    sides, maps = clustered(0)
    lazy = xc.modulation(*(one.chunk() for one in maps), geometry=[s.chunk() for s in sides])
    assert lazy["p_value"].chunks is not None


@pytest.mark.slow
def test_a_mixed_model_of_lazy_maps_is_that_of_maps_in_memory():
    sides, maps = clustered(0)
    lazy = xc.modulation(*(one.chunk() for one in maps), geometry=[s.chunk() for s in sides])
    right = xc.modulation(*maps, geometry=sides)
    for name in right.data_vars:
        np.testing.assert_allclose(lazy[name], right[name], rtol=1e-6)


def test_what_goes_with_which_null():
    sides, maps = clustered(0)
    for null in ("mixed", "surrogates"):
        with pytest.raises(ValueError, match=f"null='{null}' needs geometry="):
            xc.modulation(*maps, null=null)
    with pytest.raises(ValueError, match="blocks= not given"):
        xc.modulation(*maps, null="blocks")
    with pytest.raises(ValueError, match="blocks= given"):
        xc.modulation(*maps, geometry=sides, null="mixed", blocks=maps[0].round())
    with pytest.warns(UserWarning, match="labels are permuted.*null='labels'"):
        found = xc.modulation(*maps, n_permutations=9)
    assert "exchangeable" in found.attrs["null_holds_for"]
    with pytest.raises(ValueError, match="give groups= instead"):
        xc.modulation(*maps, geometry=sides, strata=maps[0].round())
    with pytest.warns(UserWarning, match="lacks language"):
        xc.modulation(
            maps[0].assign_attrs(modality="vision"),
            maps[1].assign_attrs(modality_a="vision", modality_b="language"),
            geometry=sides[0],
        )
