"""Measures of neighbour lists against their formulas."""

import numpy as np
import pytest

import xconverge as xc
from tests import oracles
from tests.measures.sides import TOLERANCE, K, one_pair


def lists(x, labels):
    return oracles.neighbors(x, labels, K)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("centered", [False, True])
def test_cknna_is_its_formula_in_both_readings(centered, dtype):
    a, b, x, y = one_pair(dtype=dtype)
    labels = a["stimulus"].values
    expected = oracles.cknna(x, y, lists(x, labels), lists(y, labels), centered)
    found = xc.alignment(a, b, "cknna", k=K, centered=centered)
    assert float(found[0, 0]) == pytest.approx(expected, abs=TOLERANCE[dtype])
    assert xc.alignment(a, b, "cknna", k=K).attrs["centered"] == 0


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_family_of_neighbors(dtype):
    a, b, x, y = one_pair(dtype=dtype)
    labels = a["stimulus"].values
    mine, theirs = lists(x, labels), lists(y, labels)
    n = len(mine)
    expected = {
        "cycle_knn": sum(any(i in mine[j] for j in theirs[i]) for i in range(n)) / n,
        "lcs_knn": np.mean(
            [oracles.common_subsequence(*p) / K for p in zip(mine, theirs, strict=True)]
        ),
        "edit_distance_knn": np.mean(
            [1 - oracles.levenshtein(*p) / K for p in zip(mine, theirs, strict=True)]
        ),
    }
    for metric, value in expected.items():
        assert float(xc.alignment(a, b, metric, k=K)[0, 0]) == pytest.approx(value, abs=1e-12)


def test_single_precision_finds_the_neighbors_of_double():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((40, 64))
    x = np.repeat(base, 8, axis=0) + 1e-5 * rng.standard_normal((320, 64))
    a = xc.stack_models({"x": x.astype(np.float32)}, stimuli=[f"s{i}" for i in range(320)])
    exact = a.astype(np.float64)
    for metric in ("lcs_knn", "mutual_knn"):
        assert float(xc.alignment(a, exact, metric, k=K).mean()) == 1.0
