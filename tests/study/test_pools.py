"""Studies of models that miss stimuli, each pair in its own pool, in plain loops."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

import xconverge as xc
from tests import oracles
from tests.pools import rows_of
from xconverge.kernels import subsets
from xconverge.labels.joins import natural_rank

N, K = 20, 2
LABELS = [f"s{i}" for i in np.random.default_rng(0).permutation(N)]


def side(names, seed, missing=0.3):
    """Models of one thing, of which each misses other stimuli."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).standard_normal((N, 5))
    models = {}
    for name in names:
        models[name] = common + rng.standard_normal((N, 5))
        models[name][rng.random(N) < missing] = np.nan
    return xc.stack_models(models, stimuli=LABELS)


def inside(x, y, members, k):
    """Mean overlap among the members alone, and its chance; NaN where too few."""
    shares = oracles.mutual_knn(x[members], y[members], np.array(LABELS)[members], k)
    size = (~np.isnan(shares)).sum()
    return (oracles.mean(shares), k / (size - 1)) if size > k else (np.nan, np.nan)


@pytest.mark.slow
def test_pools_of_growing_size():
    a, b = side("ab", 1, 0.2), side("cd", 2, 0.2)
    sizes = [8, N]
    with pytest.warns(RuntimeWarning, match="at least k . 1 stimuli that both models of a pair"):
        curve = xc.pool_curve(a, b, sizes, k=4, n_repeats=2, rng=7)
    seeds = np.random.default_rng(7).integers(2**63, size=len(sizes))
    pairs = list(itertools.product(rows_of(a), rows_of(b)))
    for size, seed in zip(sizes, seeds, strict=True):
        pools, _ = subsets.disjoint_pairs(
            np.ones(N, bool), natural_rank(LABELS), size, 2 if size < N else 1, int(seed)
        )
        for kind, k in (("fixed_k", 4), ("fixed_share", max(1, round(4 * size / N)))):
            one = curve.sel(pool_size=size, neighbors=kind)
            assert int(one["k"]) == k
            found = np.array([[inside(x, y, pool, k) for pool in pools] for x, y in pairs])
            score, chance = (
                np.array([oracles.mean(one) for one in found[..., i]]).reshape(2, 2) for i in (0, 1)
            )
            np.testing.assert_allclose(one["alignment"], score)
            np.testing.assert_allclose(one["chance"], chance)
            room = np.where(chance < 1 - 1e-12, 1 - chance, np.nan)
            np.testing.assert_allclose(one["corrected"], (score - chance) / room)


@pytest.mark.slow
def test_pools_without_enough_are_nan_with_a_warning():
    a, b = side("ab", 1, 0.0), side("cd", 2, 0.0)
    a[0, 4:] = np.nan
    with pytest.warns(RuntimeWarning, match="fewer for some pairs"):
        curve = xc.pool_curve(a, b, [10, N], k=4, n_repeats=2, rng=0)
    for name in ("alignment", "chance", "corrected"):
        assert curve[name].sel(neighbors="fixed_k", model_a="a").isnull().all()
        assert curve[name].sel(neighbors="fixed_k", model_a="b").notnull().all()


def level_and_score(pairs, members, pool):
    """Mean score and chance over the stimuli of a subset and the pairs that saw them."""
    if pool == "inside":
        return np.nanmean([inside(x, y, members, K) for x, y in pairs], axis=0)
    shares = np.array([oracles.mutual_knn(x, y, LABELS, K) for x, y in pairs])
    sizes = (~np.isnan(shares)).sum(1)
    levels = np.where(np.isnan(shares), np.nan, (K / (sizes - 1))[:, None])
    return [np.nanmean(values[:, members], 0).mean() for values in (shares, levels)]


@pytest.mark.slow
def test_subsets_against_what_each_pair_shares():
    a, b = side("ab", 1), side("cd", 2)
    pairs = list(itertools.product(rows_of(a), rows_of(b)))
    spread = xr.DataArray(
        np.random.default_rng(3).standard_normal(N), dims="stimulus", coords={"stimulus": LABELS}
    )
    table = xc.subset_contrast(spread, a, b, size=7, k=K, n_random=19, rng=4, null="labels")
    agreement = xc.alignment(a, b, k=K).mean(["model_a", "model_b"])
    usable = agreement.notnull().values
    values = np.where(usable, spread.values, np.nan)
    order = np.argsort(values)[: usable.sum()]
    ends = {"low": np.isin(np.arange(N), order[:7]), "high": np.isin(np.arange(N), order[-7:])}
    seeds = np.random.default_rng(4).integers(2**63, size=3)
    drawn = subsets.disjoint_pairs(usable, natural_rank(LABELS), 7, 19, int(seeds[0]))
    for (name, own), null in zip(ends.items(), drawn, strict=True):
        for pool in ("full", "inside"):
            one = table.sel(subset=name, pool=pool, control="random")
            score, level = level_and_score(pairs, own, pool)
            assert float(one["score"]) == pytest.approx(score)
            assert float(one["chance"]) == pytest.approx(level)
            assert float(one["corrected"]) == pytest.approx((score - level) / (1 - level))
            draws = np.array([level_and_score(pairs, members, pool) for members in null])
            assert float(one["random_mean"]) == pytest.approx(draws[:, 0].mean())
            beyond = draws[:, 0] - draws[:, 1]
            greater = (1 + sum(beyond >= score - level - 1e-12)) / 20
            assert float(one["p_value_greater"]) == pytest.approx(greater)


def test_subsets_that_no_pair_shares_are_nan_with_a_warning():
    a, b = side("ab", 1, 0.0), side("c", 2, 0.0)
    spread = xr.DataArray(np.arange(N) + 0.0, dims="stimulus", coords={"stimulus": LABELS})
    # of the lowest five, one pair shares three and the other two, among many others
    a[0, 3:5], a[1, :3] = np.nan, np.nan
    with pytest.warns(RuntimeWarning, match="no pair saw as many"):
        table = xc.subset_contrast(spread, a, b, size=5, k=3, n_random=9, rng=0, null="labels")
    low = table.sel(subset="low", control="random")
    for name in ("score", "corrected", "p_value", "p_value_greater", "p_value_less"):
        assert np.isnan(low[name].sel(pool="inside"))
        assert np.isfinite(low[name].sel(pool="full"))
    assert np.isnan(table["low_minus_high_p_value"].sel(pool="inside"))


def test_leave_out_modulation_of_each_pair():
    a, b = side("abcd", 1, 0.15), side("ef", 2, 0.15)
    table = xc.leave_out_modulation(
        a, b, nuisance=(), k=K, n_permutations=9, n_bins=2, rng=0, null="labels"
    )
    spread = oracles.neighborhood_without(a.values, LABELS, K, range(4))
    for i, x in enumerate(rows_of(a)):
        for j, y in enumerate(rows_of(b)):
            shares = oracles.mutual_knn(x, y, LABELS, K)
            expected = spearmanr(spread[i], shares, nan_policy="omit").statistic
            assert float(table["correlation"][i, j]) == pytest.approx(expected)


def test_stimuli_and_models_are_chosen_by_what_was_seen():
    a, b = side("abc", 1, 0.15), side("d", 2, 0.15)
    spread = xc.dispersion(a, "neighborhood", k=K)
    expected = oracles.mean_of_pairs(oracles.pair_neighborhood(a.values, LABELS, K))
    chosen = xc.select_stimuli(spread, 5, "high")
    order = np.lexsort((natural_rank(LABELS), -expected))
    assert chosen["stimulus"].values.tolist() == [LABELS[i] for i in order[:5]]
    best = xc.optimize_stimuli(a, 5, rng=0, n_restarts=1, n_perturbations=1)
    members = [LABELS.index(label) for label in best["stimulus"].values]
    assert not np.isnan(a.values[:, members]).any()
    rdms = [
        np.array([[oracles.DISTANCES["correlation"](p, q) for q in rows] for p in rows])
        for rows in (np.nan_to_num(one, nan=1.0) + np.arange(5) * 1e-9 for one in a.values)
    ]
    agreement = oracles.set_agreement(rdms, members)
    assert float(best["agreement"]) == pytest.approx(agreement, abs=1e-6)
    target = b.isel(model=0, drop=True)
    table = xc.select_models(
        a, target, spread, n_bins=1, n_permutations=0, n_draws=9, n_splits=2, rng=0
    )
    for i, x in enumerate(a.values):
        rsa = oracles.rsa_of_pair(x, target.values, "correlation", "spearman")
        one = table.isel(model=i).sel(subset="all")
        assert float(one["rsa"]) == pytest.approx(rsa)
        assert int(one["n_stimuli"]) == len(oracles.common(x, target.values))


def test_kept_repeats_have_pools_of_their_own():
    images = side(["net"], 1, 0.0)
    rng = np.random.default_rng(0)
    which = np.repeat(LABELS, [2] * 12 + [1] * 8)
    rows = rng.standard_normal((len(which), 4))
    rows[3] = np.nan
    captions = xc.stack_models(
        {"text": rows}, stimuli=[f"c{i:02}" for i in range(len(which))]
    ).assign_coords(image_id=("stimulus", which))
    a, b = xc.pair(images, captions, on="image_id", repeats="keep")
    found = xc.alignment(a, b, k=K)
    table = xc.calibrate(a, b, k=K, n_permutations=9, rng=0)
    for repeat in range(2):
        y = b.isel(repeat=repeat).values[0]
        one = found.isel(repeat=repeat)[0, 0]
        expected = oracles.mutual_knn(a.values[0], y, a["stimulus"].values, K)
        np.testing.assert_allclose(one, expected)
        chance = K / ((~np.isnan(y[:, 0])).sum() - 1)
        assert float(one["chance"]) == chance
        assert float(table["chance"].isel(repeat=repeat)[0, 0]) == chance


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_repeat_that_few_stimuli_have_is_nan_and_harms_no_other():
    images = side(["net"], 1, 0.0)
    which = [*LABELS, *LABELS[:K]]
    rows = np.random.default_rng(0).standard_normal((len(which), 4))
    captions = xc.stack_models(
        {"text": rows}, stimuli=[f"c{i:02}" for i in range(len(which))]
    ).assign_coords(image_id=("stimulus", which))
    found = xc.alignment(*xc.pair(images, captions, on="image_id", repeats="keep"), k=K)
    assert found.isel(repeat=0).notnull().all()
    assert found.isel(repeat=1).isnull().all()
