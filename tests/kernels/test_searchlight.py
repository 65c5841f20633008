"""RSA of neighbourhoods against plain loops, and their RDMs against those of one model."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, rankdata

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import METHODS
from xconverge.kernels.rdm import distances as whole_rdm
from xconverge.kernels.rdm import square
from xconverge.kernels.rounding import are_equal
from xconverge.kernels.searchlight import (
    EQUAL,
    FLAT,
    Block,
    distances,
    neighborhood_rsa,
    targets_of,
)
from xconverge.kernels.vectors import METRICS, RowError


def distance(x, y, metric):
    """The distance of two vectors as its definition says."""
    if metric == "correlation":
        x, y = x - x.mean(), y - y.mean()
    if metric in ("correlation", "cosine"):
        return 1 - x @ y / np.sqrt((x @ x) * (y @ y))
    gap = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return np.sqrt(gap) if metric == "euclidean" else gap


def likeness(u, v, method):
    """The comparison of two lists of distances as its definition says."""
    u, v = np.array(u), np.array(v)
    if method in ("spearman", "rho-a"):
        # two features correlate by 1 or -1: ties
        u, v = rankdata(np.round(u, 12)), rankdata(v)
    if method == "rho-a":
        n = len(u)
        return 12 * sum((u - u.mean()) * (v - v.mean())) / (n**3 - n)
    if method == "kendall":  # without ties tau-a and tau-b are one
        return kendalltau(u, v).statistic
    return u @ v / np.sqrt((u @ u) * (v @ v)) if method == "cosine" else pearsonr(u, v).statistic


def plain(x, width, targets, hoods, metric, method, bins=None, n_bins=1):
    """RSA (C, T, bins) in plain loops; NaN for what is missing or too little."""
    seen = [i for i in range(len(x)) if not np.isnan(x[i, :width]).all()]
    result = np.full((len(hoods), len(targets), n_bins), np.nan)
    for c, hood in enumerate(hoods):
        real = [f for f in hood if f < width]
        for t, target in enumerate(targets):
            for number in range(n_bins):
                pairs = [
                    (i, j)
                    for i, j in itertools.combinations(seen, 2)
                    if not np.isnan(target[i, j]) and (bins is None or bins[i] == bins[j] == number)
                ]
                if len(real) < 2 or len(pairs) < 3:
                    continue
                u = [distance(x[i, real], x[j, real], metric) for i, j in pairs]
                v = [target[i, j] for i, j in pairs]
                result[c, t, number] = likeness(u, v, method)
    return result


def block_of(hoods):
    """Lists as the kernel takes them."""
    sizes = [len(hood) for hood in hoods]
    columns, members = np.unique(np.concatenate(hoods).astype(int), return_inverse=True)
    return Block(columns, np.concatenate([[0], np.cumsum(sizes)]), members)


def found(x, width, targets, hoods, metric, method, bins=None, n_bins=1, told=None):
    """What the kernel says of the same."""
    block = block_of(hoods)
    tell = (lambda *what: told.append(what)) if told is not None else pytest.fail
    seen = ~np.isnan(x[:, 0])
    prepared = targets_of(seen, targets, bins, n_bins, METHODS[method], tell)
    return neighborhood_rsa(
        x[:, block.columns], width, prepared, block, METRICS[metric], METHODS[method], 2
    )


def rdm_of(n, rng):
    return square(rng.random(n * (n - 1) // 2), n)


def data(n=9, width=7, n_targets=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width + 2))
    x[:, width:] = np.nan
    x[4] = np.nan
    targets = np.array([rdm_of(n, rng) for _ in range(n_targets)])
    targets[1, 2] = targets[1, :, 2] = np.nan
    # the fourth has two features and two of padding, the last one of each
    hoods = [[0, 1, 2], [2, 3, 4, 5], [0, 6], [1, 5, 7, 8], [3, 7], [0, 1, 2, 3, 4, 5, 6]]
    return x, width, targets, hoods


@pytest.mark.slow_after(7)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
def test_it_is_that_of_plain_loops(metric, method):
    # ties make another tau
    x, width, targets, hoods = data()
    if method == "kendall" and metric == "correlation":
        hoods = [hood for hood in hoods if sum(f < width for f in hood) > 2]
    right = plain(x, width, targets, hoods, metric, method)
    scores, why = found(x, width, targets, hoods, metric, method)
    np.testing.assert_allclose(scores, right, atol=1e-12)
    assert np.isfinite(right).any()
    assert not why.any()


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_bins_cut_every_rdm(method):
    x, width, targets, hoods = data(16)
    bins = np.array([0, 1, 2, -1] * 4)
    told = []
    scores, _ = found(x, width, targets, hoods, "euclidean", method, bins, 3, told)
    right = plain(x, width, targets, hoods, "euclidean", method, bins, 3)
    np.testing.assert_allclose(scores, right, atol=1e-12)
    # stimulus 4, which the model never saw, and 2, which a target never had, are in bins of 4
    assert np.isfinite(scores[:, 0]).sum() == 15
    assert not told


def test_extra_dims_of_targets_are_kept():
    x, width, targets, hoods = data(n_targets=6)
    flat, _ = found(x, width, targets, hoods, "cosine", "spearman")
    nested, _ = found(x, width, targets.reshape(2, 3, 9, 9), hoods, "cosine", "spearman")
    np.testing.assert_array_equal(nested, flat.reshape(len(hoods), 2, 3, 1))


def test_no_budget_changes_a_number(monkeypatch):
    x, width, targets, hoods = data(seed=3)
    hoods = hoods * 5
    right, _ = found(x, width, targets, hoods, "correlation", "spearman")
    for name, size in itertools.product(("gather_block", "product_block"), (0, 700, 2000)):
        monkeypatch.setattr(BUDGETS, name, size)
        scores, _ = found(x, width, targets, hoods, "correlation", "spearman")
        np.testing.assert_allclose(scores, right, atol=1e-14)


def hard_rows(which, rng):
    """Rows (B, n, k) whose distances are easily wrong."""
    rows = rng.standard_normal((3, 8, 5))
    if which == "copies":
        rows[:, 3] = rows[:, 1]
        rows[0, 5] = rows[0, 1] * (1 + 1e-9)
        rows[1, 6] = rows[1, 2] + 1e-7
    elif which == "an offset":
        rows += 1e6
    elif which == "equidistant":
        rows[:] = 0
        rows[:, np.arange(5), np.arange(5)] = 0.1
        rows = rows[:, :5] + 0.3
    elif which == "tiny":
        rows *= 1e-160
    elif which == "huge":
        rows *= 1e160
    elif which == "of any scale":
        rows[0] *= 1e-170
        rows[2] *= 1e170
    return rows


@pytest.mark.parametrize(
    "which", ["plain", "copies", "an offset", "equidistant", "tiny", "huge", "of any scale"]
)
@pytest.mark.parametrize("metric", METRICS)
def test_rdms_are_those_of_a_model_with_these_features(metric, which):
    rows = hard_rows(which, np.random.default_rng(0))
    n, k = rows.shape[1:]
    i, j = np.triu_indices(n, 1)
    share = 2 * 2.0**-52 + 0.5 * np.sqrt(k) * 2.0**-52
    made = distances(rows.copy(), share, METRICS[metric])
    for one, triangle in zip(rows, made, strict=True):
        right = whole_rdm(one, k, METRICS[metric], any_scale=True)[i, j]
        # each on a scale of its own
        np.testing.assert_allclose(triangle / triangle.max(), right / right.max(), rtol=1e-9)
        assert ((triangle == 0) == (right == 0)).all()
        # what comparisons take for equal; the last digits depend on the BLAS
        assert are_equal(triangle) or which != "equidistant"


@pytest.mark.parametrize(("metric", "value"), [("correlation", 0.3), ("cosine", 0.0)])
def test_a_stimulus_without_a_direction_is_told(metric, value):
    x, width, targets, hoods = data()
    x[5, [0, 1, 2]] = value
    scores, why = found(x, width, targets, hoods, metric, "spearman")
    assert np.isnan(scores[0]).all()
    assert why.tolist() == [FLAT, *[0] * 5]
    right = plain(x, width, targets, hoods[1:], metric, "spearman")
    np.testing.assert_allclose(scores[1:], right, atol=1e-12)
    # it is nothing to a target that never had the stimulus
    targets[1, 5] = targets[1, :, 5] = np.nan
    scores, why = found(x, width, targets, hoods, metric, "spearman")
    assert np.isfinite(scores[0, 1, 0])
    assert np.isnan(scores[0, [0, 2], 0]).all()
    assert why[0] == FLAT


def test_distances_that_are_equal_are_told():
    x, width, targets, hoods = data()
    x[:, :3] = 7.0
    x[4] = np.nan
    scores, why = found(x, width, targets, hoods, "euclidean", "pearson")
    assert np.isnan(scores[0]).all()
    assert why.tolist() == [EQUAL, *[0] * 5]
    assert np.isfinite(scores[1]).all()


def test_targets_without_a_result_are_told_once():
    x, width, targets, hoods = data()
    targets[0] = 1.0
    targets[2] = np.nan
    told = []
    scores, why = found(x, width, targets, hoods, "euclidean", "spearman", told=told)
    assert np.isnan(scores[:, [0, 2]]).all()
    assert np.isfinite(scores[0, 1, 0])
    assert not why.any()
    assert [where[:, 1].tolist() for _, where in told] == [[2], [0]]
    assert "at least 3 pairs" in told[0][0]
    assert "that differ" in told[1][0]


def test_a_row_with_holes_is_an_error():
    x, width, targets, hoods = data()
    x[6, 2] = np.nan
    with pytest.raises(RowError) as error:
        found(x, width, targets, hoods, "euclidean", "spearman")
    assert error.value.where.tolist() == [[6]]
    x, width, targets, hoods = data()
    x[6, 1:] = np.nan  # there in the first feature, and in no other of this block
    with pytest.raises(RowError):
        found(x, width, targets, [[1, 2, 3]], "euclidean", "spearman")


def test_a_model_that_saw_nothing_has_none():
    x, width, targets, hoods = data()
    told = []
    scores, why = found(
        np.full_like(x, np.nan), width, targets, hoods, "cosine", "pearson", told=told
    )
    assert np.isnan(scores).all()
    assert not why.any()
    assert len(told) == 1
