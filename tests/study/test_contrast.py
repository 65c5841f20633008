"""Subsets of low and high dispersion, pools of growing size, against plain loops."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_ind

import xconverge as xc
from tests.helpers import make_reps, shuffled
from xconverge.kernels import subsets
from xconverge.labels.joins import natural_rank
from xconverge.testing import planted_study


def two_sides(n=40, missing=0.0):
    return (
        make_reps(3, n, [5, 6, 4], shared=False, missing=missing),
        make_reps(2, n, [4, 6], 1, shared=False, missing=missing),
    )


def by_label(reps, seed=5):
    """A value for every stimulus that follows its label."""
    order = natural_rank(reps["stimulus"].values)
    values = np.random.default_rng(seed).standard_normal(len(order))[order]
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": reps["stimulus"]})


@pytest.mark.slow
def test_scores_in_the_full_pool_and_inside():
    a, b = two_sides(missing=0.1)
    spread = by_label(a)
    table = xc.subset_contrast(spread, a, b, size=12, k=3, n_random=20, rng=0, null="labels")
    order = np.argsort(spread.values)
    shares = xc.alignment(a, b, k=3).mean(["model_a", "model_b"])
    seen = order[np.isfinite(shares.values[order])]
    for subset, chosen in (("low", seen[:12]), ("high", seen[-12:])):
        full = float(shares.isel(stimulus=chosen).mean())
        one = table["score"].sel(subset=subset)
        assert float(one.sel(pool="full")) == pytest.approx(full)
        labels = a["stimulus"].values[chosen]
        small = xc.alignment(a.sel(stimulus=labels), b.sel(stimulus=labels), k=3)
        inside = float(small.mean("stimulus").mean())
        assert float(one.sel(pool="inside")) == pytest.approx(inside)
        corrected = table["corrected"].sel(subset=subset, pool="inside")
        chance = float(small["chance"].mean())
        assert float(corrected) == pytest.approx((inside - chance) / (1 - chance))
    low, high = (table["score"].sel(subset=s) for s in ("low", "high"))
    np.testing.assert_allclose(table["low_minus_high"], low - high)


@pytest.mark.slow
def test_tails_from_plain_loops():
    a, b = two_sides()
    spread = by_label(a)
    table = xc.subset_contrast(spread, a, b, size=10, k=3, n_random=50, rng=4, null="labels")
    seeds = np.random.default_rng(4).integers(2**63, size=3)
    rank = natural_rank(a.indexes["stimulus"])
    pairs = subsets.disjoint_pairs(np.ones(40, bool), rank, 10, 50, int(seeds[0]))
    shares = xc.alignment(a, b, k=3).mean(["model_a", "model_b"]).values
    for name, members in zip(("low", "high"), pairs, strict=True):
        null = [shares[one].mean() for one in members]
        own = float(table["score"].sel(subset=name, pool="full"))
        row = table.sel(control="random", subset=name, pool="full")
        greater = (1 + sum(v >= own - 1e-12 for v in null)) / 51
        less = (1 + sum(v <= own + 1e-12 for v in null)) / 51
        assert float(row["p_value_greater"]) == greater
        assert float(row["p_value_less"]) == less
        assert float(row["p_value"]) == min(1, 2 * min(greater, less))
        assert float(row["random_mean"]) == pytest.approx(np.mean(null))
        assert float(row["random_upper"]) == pytest.approx(np.quantile(null, 0.975))

    def welch(low, high):
        return ttest_ind(shares[low], shares[high], equal_var=False).statistic

    order = np.argsort(spread.values)
    gaps = [welch(x, y) for x, y in zip(*pairs, strict=True)]
    gap = welch(order[:10], order[-10:])
    expected = (1 + sum(abs(v) >= abs(gap) - 1e-9 for v in gaps)) / 51
    assert float(table["low_minus_high_p_value"].sel(pool="full", control="random")) == expected


@pytest.mark.slow
def test_what_the_match_explains_is_no_effect():
    study = planted_study(n_models=2, n_stimuli=120, rng=0)
    vision, language = study["vision"], study["language"]
    table = xc.subset_contrast(
        vision["noise"], vision, language, size=20, n_random=199, match=[vision["noise"]],
        match_bins=4, rng=0,
     null="labels")  # fmt: skip
    low = table["p_value_greater"].sel(subset="low", pool="full")
    assert float(low.sel(control="random")) == 0.005
    assert float(low.sel(control="matched")) > 0.005
    assert table["random_mean"].sel(control="matched", subset="low", pool="full") > (
        table["random_mean"].sel(control="random", subset="low", pool="full")
    )


@pytest.mark.slow
def test_groups_are_matched_exactly_and_order_changes_nothing():
    a, b = two_sides()
    spread = by_label(a)
    call = {"size": 8, "k": 3, "n_random": 20, "groups": "category", "rng": 1}
    expected = xc.subset_contrast(spread, a, b, **call, null="labels")
    assert expected["control"].values.tolist() == ["random", "matched"]
    for arguments in ((shuffled(spread), a, b), (spread, shuffled(a), b), (spread, a.chunk(), b)):
        xr.testing.assert_allclose(xc.subset_contrast(*arguments, **call, null="labels"), expected)


def test_too_few_stimuli_for_subsets():
    a, b = two_sides()
    spread = by_label(a)
    with pytest.warns(RuntimeWarning, match="at least 60 stimuli.*there are 40"):
        table = xc.subset_contrast(spread, a, b, size=30, k=3, n_random=9, null="labels")
    assert table["p_value"].isnull().all()
    with pytest.warns(RuntimeWarning, match="above k=10, got 8"):
        table = xc.subset_contrast(spread, a, b, size=8, n_random=9, rng=0, null="labels")
    assert table["score"].sel(pool="inside").isnull().all()
    assert table["p_value"].sel(pool="full").notnull().all()
    with pytest.warns(RuntimeWarning, match="all of their cell"):
        table = xc.subset_contrast(
            spread, a, b, size=8, k=3, n_random=9, match=spread, match_bins=5, rng=0, null="labels"
        )
    assert table["p_value"].sel(control="matched").isnull().all()
    with pytest.raises(ValueError, match="size=0"):
        xc.subset_contrast(spread, a, b, size=0, null="labels")


@pytest.mark.slow
def test_pools_of_growing_size():
    a, b = two_sides()
    curve = xc.pool_curve(a, b, [10, 20, 40], k=4, n_repeats=3, rng=0)
    whole = xc.alignment(a, b, k=4).mean("stimulus")
    for kind in ("fixed_k", "fixed_share"):
        last = curve["alignment"].sel(pool_size=40, neighbors=kind)
        np.testing.assert_allclose(last, whole)
    assert curve["k"].values.tolist() == [[4, 1], [4, 2], [4, 4]]
    chance = curve["chance"].sel(pool_size=10, neighbors="fixed_k")
    np.testing.assert_allclose(chance, 4 / 9)
    score, corrected = (curve[n].isel(pool_size=0, neighbors=0) for n in ("alignment", "corrected"))
    np.testing.assert_allclose(corrected, (score - 4 / 9) / (1 - 4 / 9))
    same = xc.pool_curve(shuffled(a), b, [10, 20, 40], k=4, n_repeats=3, rng=0)
    xr.testing.assert_allclose(same, curve)
    assert xc.pool_curve(a, b, k=4, n_repeats=1, rng=0)["pool_size"].values.tolist() == [
        5,
        10,
        20,
        40,
    ]
    with pytest.raises(ValueError, match="above k=10"):
        xc.pool_curve(a, b, [5])
