"""Measures of neighbour lists against their formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps
from tests.measures.sides import TOLERANCE, K, one_pair


def lists(x, labels):
    return oracles.neighbors(x, labels, K)


@pytest.mark.slow_after(1)
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


MISSING = arrays.arrays(bool, (3, 12), elements=st.booleans())


def missing_sides(gone):
    """A model of a and two of b without these rows; each saw the first four."""
    gone[:, :4] = False
    a = make_reps(1, 12, 5, 1, shared=False, missing=np.argwhere(gone[:1]).tolist())
    b = make_reps(2, 12, [4, 6], 1, shared=False, missing=np.argwhere(gone[1:]).tolist())
    b = b.sel(stimulus=a["stimulus"].values)
    rows = [b.values[m, :, : int(b["n_features"][m])] for m in range(2)]
    return a, b, a.values[0], rows


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=6)
@given(gone=MISSING, metric=st.sampled_from(["mutual_knn", "cycle_knn", "lcs_knn", "cknna"]))
def test_each_pair_in_its_pool_by_plain_loops(gone, metric):
    a, b, x, rows = missing_sides(gone)
    found = xc.alignment(a, b, metric, k=K)
    found = found.mean("stimulus") if metric == "mutual_knn" else found
    labels = a["stimulus"].values
    for j, y in enumerate(rows):
        expected = (
            oracles.cknna_of_pair(x, y, labels, K, False)
            if metric == "cknna"
            else oracles.list_measure(metric, x, y, labels, K)
        )
        assert float(found[0, j]) == pytest.approx(expected, abs=1e-10, nan_ok=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.usefixtures("everything_is_long")
@settings(max_examples=4)
@given(gone=MISSING, data=st.data())
def test_lists_in_blocks_by_plain_loops(gone, data):
    a, b, x, rows = missing_sides(gone)
    found = xc.alignment(data.draw(chunked(a)), data.draw(chunked(b)), k=K)
    for j, y in enumerate(rows):
        expected = oracles.mutual_knn(x, y, a["stimulus"].values, K)
        np.testing.assert_allclose(found[0, j], expected, atol=1e-12)
