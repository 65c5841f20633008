"""Nulls and intervals of models that miss stimuli, each pair in its own pool, in plain loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

import xconverge as xc
from tests import oracles
from tests.helpers import make_reps, stream_of
from xconverge.kernels.intervals import subsample_factor
from xconverge.kernels.permutations import permutations, resamples
from xconverge.kernels.split_half import halves
from xconverge.labels.joins import natural_rank

K = 2
METRICS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def sides(n, gone, kept=K + 1):
    """Two models a side without the rows ``gone`` (4, n); each saw ``kept`` stimuli at least."""
    a = make_reps(2, n, [5, 3], 1, shared=False)
    b = make_reps(2, n, [4, 5], 1, shared=False).sel(stimulus=a["stimulus"].values)
    rows = [side[m] for side in (a, b) for m in range(2)]
    for model, missing in zip(rows, gone, strict=True):
        there = np.union1d(np.flatnonzero(~missing), np.arange(kept))
        model.values[np.setdiff1d(np.arange(n), there)] = np.nan
    return a, b


def models(side):
    return [side.values[m, :, : int(side["n_features"][m])] for m in range(2)]


def score_of(metric, labels, **options):
    if metric == "cknna":
        return lambda x, y: oracles.cknna_of_pair(x, y, labels, K, **options)
    if metric == "cka":
        return lambda x, y: oracles.cka_of_pair(x, y, "linear", options["debiased"])
    if metric == "rsa":
        return lambda x, y: oracles.rsa_of_pair(x, y, "euclidean", options["method"])
    if metric == "rdm":
        return lambda x, y: oracles.mean(oracles.rdm_rows_of_pair(x, y, "correlation"))
    if metric == "distance_correlation":
        return lambda x, y: oracles.distance_correlation_of_pair(x, y, True)
    return lambda x, y: oracles.list_measure(metric, x, y, labels, K)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=6)
@given(
    gone=arrays.arrays(bool, (4, 9), elements=st.booleans()),
    case=st.sampled_from(
        [
            *((m, {}) for m in METRICS),
            ("cknna", {"centered": False}),
            ("cknna", {"centered": True}),
            ("cka", {"debiased": True}),
            ("cka", {"debiased": False}),
            ("rsa", {"method": "spearman", "rdm_metric": "euclidean"}),
            ("rsa", {"method": "pearson", "rdm_metric": "euclidean"}),
            ("rdm", {}),
            ("distance_correlation", {}),
        ]
    ),
)
def test_calibrate_by_plain_loops(gone, case):
    check_calibrate(gone, case)


def check_calibrate(gone, case):
    metric, options = case
    a, b = sides(9, gone)
    table = xc.calibrate(a, b, metric, k=K, n_permutations=19, alpha=0.1, rng=4, **options)
    labels = a["stimulus"].values
    pairs = itertools.product(enumerate(models(a)), enumerate(models(b)))
    for (i, x), (j, y) in pairs:
        common = ~(np.isnan(x).all(1) | np.isnan(y).all(1))
        orders = permutations(natural_rank(labels), stream_of(4), 0, usable=common, count=20)
        pool = oracles.pools(x, y)
        null = oracles.null_of_pair(score_of(metric, labels, **options), *pool, orders)
        one = table.isel(model_a=i, model_b=j)
        assert int(one["n_stimuli"]) == common.sum()
        assert float(one["alignment"]) == pytest.approx(null[0], abs=1e-10, nan_ok=True)
        if np.isnan(null).any():
            assert np.isnan(one["p_value"])
            continue
        p = (1 + sum(value >= null[0] - 1e-9 for value in null[1:])) / 20
        assert float(one["p_value"]) == p
        threshold = sorted(null)[math.ceil(0.9 * 20) - 1]
        assert float(one["threshold"]) == pytest.approx(threshold, abs=1e-10)
        chance = float(one["chance"])
        if metric == "mutual_knn":
            assert chance == K / (common.sum() - 1)
        elif metric in ("rsa", "rdm", "distance_correlation", "cka"):
            # in closed form; that of biased cka is a number of its own
            assert (chance == 0) is options.get("debiased", True)
        else:
            assert chance == pytest.approx(np.mean(null[1:]), abs=1e-10)
        if not np.isnan(one["corrected"]):
            expected = (null[0] - chance) / (1 - chance)
            assert float(one["corrected"]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=5)
@given(gone=arrays.arrays(bool, (4, 9), elements=st.booleans()))
def test_the_chance_of_each_pair_is_that_of_its_pool(gone):
    a, b = sides(9, gone)
    found = xc.alignment(a, b, k=K)
    assert found["chance"].dims == ("model_a", "model_b")
    for i, x in enumerate(models(a)):
        for j, y in enumerate(models(b)):
            common = ~(np.isnan(x).all(1) | np.isnan(y).all(1))
            if common.sum() > K:
                assert float(found["chance"][i, j]) == K / (common.sum() - 1)
            else:
                assert found[i, j].isnull().all()


@pytest.mark.slow
@pytest.mark.parametrize("resample", ["subsample", "bootstrap"])
@settings(max_examples=3)
@given(gone=arrays.arrays(bool, (4, 4), elements=st.booleans()))
def test_intervals_by_plain_loops(resample, gone):
    gone = np.pad(gone, ((0, 0), (10, 0)))
    a, b = sides(14, gone, kept=10)
    found = xc.confidence_interval(a, b, k=K, resample=resample, n_resamples=6, rng=3)
    labels = a["stimulus"].values
    fraction = 0.8 if resample == "subsample" else None
    for i, x in enumerate(models(a)):
        for j, y in enumerate(models(b)):
            pool = oracles.pools(x, y)
            common = ~np.isnan(pool[0]).all(1)
            counts = resamples(
                natural_rank(labels), stream_of(3), 0, usable=common, fraction=fraction
            )[:7]
            draws = [oracles.overlap_of_copies(*pool, labels, count, K) for count in counts]
            factor = float(subsample_factor(common.sum(), fraction))
            error = np.sqrt(np.var(draws[1:], ddof=1) * factor)
            one = found.isel(model_a=i, model_b=j)
            assert float(one["estimate"]) == pytest.approx(draws[0], abs=1e-12)
            assert float(one["standard_error"]) == pytest.approx(error, abs=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=3)
@given(gone=arrays.arrays(bool, (4, 9), elements=st.booleans()))
def test_the_best_layer_is_chosen_again_in_every_permutation(gone):
    a, b = (
        side.assign_coords(network=("model", ["one", "one"])) for side in sides(9, gone, kept=K)
    )
    table = xc.calibrate(a, b, k=K, n_permutations=19, layers="max", rng=4).squeeze()
    labels, draws = a["stimulus"].values, []
    for x, y in itertools.product(models(a), models(b)):
        pool = oracles.pools(x, y)
        common = ~np.isnan(pool[0]).all(1)
        orders = permutations(natural_rank(labels), stream_of(4), 0, usable=common, count=20)
        draws.append(oracles.null_of_pair(score_of("mutual_knn", labels), *pool, orders))
    draws = [row for row in draws if not np.isnan(row).any()]
    if not draws:
        assert table["alignment"].isnull().all()
        return
    best = np.max(draws, axis=0)
    assert float(table["alignment"]) == pytest.approx(best[0])
    assert float(table["chance"]) == pytest.approx(best[1:].mean())
    assert float(table["p_value"]) == (1 + sum(best[1:] >= best[0] - 1e-9)) / 20


def test_draws_that_leave_too_few_are_told():
    a, b = sides(30, np.zeros((4, 30), bool))
    a[:, :9], b[:, 21:] = np.nan, np.nan
    for resample in ("subsample", "bootstrap"):
        with pytest.warns(RuntimeWarning, match=f"{resample}.*fewer than the 11 common stimuli"):
            found = xc.confidence_interval(a, b, k=10, resample=resample, n_resamples=9, rng=0)
        assert found["estimate"].notnull().all()
        for name in ("standard_error", "lower", "upper", "upper_of_mean"):
            assert found[name].isnull().all()


# --- reliability


def half_means_of(pool, a, b, labels, first, k):
    """(score - chance) / (1 - chance) of every pair (2, pairs) in both halves."""
    halves = []
    for half in (first, ~first):
        values = []
        for x, y in itertools.product(models(a), models(b)):
            if pool == "half":
                x, y = x[half], y[half]
            shares = oracles.mutual_knn(x, y, labels[half] if pool == "half" else labels, k)
            size = int((~np.isnan(shares)).sum())
            chance = k / (size - 1) if size > k + 1 else np.nan
            values.append(
                (oracles.mean(shares if pool == "half" else shares[half]) - chance) / (1 - chance)
            )
        halves.append(np.array(values))
    return halves


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("pool", ["half", "all"])
def test_reliability_of_alignment_by_plain_loops(pool):
    gone = np.random.default_rng(0).random((4, 24)) < 0.25
    a, b = sides(24, gone)
    found = xc.alignment_reliability(a, b, k=K, n_splits=4, pool=pool, rng=2)
    labels, correlations = a["stimulus"].values, []
    for first in halves(natural_rank(labels), stream_of(2), 4):
        one, other = half_means_of(pool, a, b, labels, first, K)
        correlations.append(spearmanr(one, other, nan_policy="omit").statistic)
    assert float(found["half_correlation"]) == pytest.approx(np.mean(correlations))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "cycle_knn"])
def test_unrelated_models_that_miss_different_numbers_are_not_reliable(metric):
    rng = np.random.default_rng(1)
    labels = [f"s{i}" for i in range(100)]
    rows = rng.standard_normal((8, 100, 8))
    for count, one in enumerate(rows[:6]):
        one[rng.permutation(100)[: 12 * count]] = np.nan
    a, b = (
        xc.stack_models(dict(zip("abcdef", side, strict=False)), stimuli=labels)
        for side in (rows[:6], rows[6:])
    )
    found = xc.alignment_reliability(a, b, metric, k=5, n_splits=10, rng=0)
    # raw scores, whose chance levels differ, correlate with 0.5
    assert abs(float(found["half_correlation"])) < 0.25


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_reliability_of_dispersion_by_plain_loops():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 14, 5)) + 2 * rng.standard_normal((14, 5))
    rows[rng.random((4, 14)) < 0.2] = np.nan
    labels, names = [f"s{i}" for i in range(14)], list("abcd")
    reps = xc.stack_models(dict(zip(names, rows, strict=True)), stimuli=labels)
    found = xc.reliability(reps, "neighborhood", k=K, rng=0)
    pairs, correlations = oracles.pair_neighborhood(rows, labels, K), []
    for other in (1, 2, 3):
        rest = [m for m in (1, 2, 3) if m != other]
        one, two = pairs[0, other], pairs[rest[0], rest[1]]
        correlations.append(spearmanr(one, two, nan_policy="omit").statistic)
    assert float(found["half_correlation"]) == pytest.approx(np.mean(correlations))


# --- what unrelated models score, whatever they miss


def unrelated_and_related(metric, missing, repeats, related):
    """Alignment, chance, corrected and p-value of pairs of which each model misses other rows."""
    rng, n = np.random.default_rng(5), 60
    labels, found = [f"t{i}" for i in range(n)], []
    for _ in range(repeats):
        rows = rng.standard_normal((2, n, 6))
        if related:
            rows[1] = rows[0] @ rng.standard_normal((6, 6)) + 0.3 * rows[1]
        rows[0, :missing], rows[1, n - missing :] = np.nan, np.nan
        a, b = (xc.stack_models({w: x}, stimuli=labels) for w, x in zip("ab", rows, strict=True))
        table = xc.calibrate(a, b, metric, k=5, n_permutations=39, rng=rng)
        names = ("alignment", "chance", "corrected", "p_value")
        found.append([float(table[name].item()) for name in names])
    return np.array(found).T


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "cycle_knn", "lcs_knn"])
@pytest.mark.parametrize("missing", [0, 15, 25])
def test_unrelated_models_are_at_chance_whatever_they_miss(metric, missing):
    repeats = 60
    score, chance, _, p = unrelated_and_related(metric, missing, repeats, related=False)
    gap = score - chance
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(repeats)
    if metric == "mutual_knn":
        np.testing.assert_allclose(chance, 5 / (60 - 2 * missing - 1))
    # never more often than its level; few distinct scores make it conservative
    for level in (0.05, 0.25, 0.5):
        assert (p <= level).mean() < level + 4 * np.sqrt(level * (1 - level) / repeats)
    related, _, corrected, p = unrelated_and_related(metric, missing, 20, related=True)
    assert related.mean() > score.mean()
    if metric == "mutual_knn":
        assert corrected.mean() > 0.2
    if missing < 25:
        assert (p <= 0.05).all()
