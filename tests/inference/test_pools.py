"""Nulls and intervals of models that miss stimuli, each pair in its own pool, in plain loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import xconverge as xc
from tests import oracles
from tests.helpers import make_reps
from xconverge.kernels.intervals import subsample_factor
from xconverge.kernels.permutations import permutations, resamples
from xconverge.labels.joins import natural_rank

K = 2
METRICS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def stream_of(rng):
    return int(np.random.default_rng(rng).integers(2**63))


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
    return lambda x, y: oracles.list_measure(metric, x, y, labels, K)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=8)
@given(
    gone=arrays.arrays(bool, (4, 9), elements=st.booleans()),
    case=st.sampled_from(
        [*((m, {}) for m in METRICS), ("cknna", {"centered": False}), ("cknna", {"centered": True})]
    ),
)
def test_calibrate_by_plain_loops(gone, case):
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
        chance = K / (common.sum() - 1) if metric == "mutual_knn" else np.mean(null[1:])
        assert float(one["chance"]) == pytest.approx(chance, abs=1e-10)


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
