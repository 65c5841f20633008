"""Procrustes, SVCCA and predictivity against SciPy and scikit-learn; folds."""

import numpy as np
import pytest
import xarray as xr
from scipy.linalg import orthogonal_procrustes, subspace_angles
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge

import xconverge as xc
from tests.helpers import shuffled, stream_of
from tests.measures.sides import TOLERANCE, gaussian, one_pair, two_sides
from xconverge.engine.folds import fold_numbers
from xconverge.kernels.ridge import PENALTIES


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_procrustes_is_the_angle_of_scipys_rotation(dtype):
    a, b, x, y = one_pair(dtype=dtype)
    x, y = x - x.mean(0), np.pad(y - y.mean(0), ((0, 0), (0, 1)))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    _, nuclear = orthogonal_procrustes(x, y)
    found = xc.alignment(a, b, "procrustes")
    assert float(found[0, 0]) == pytest.approx(np.arccos(nuclear), abs=1e-6)
    assert found.attrs["kind"] == "distance"
    assert found.attrs["units"] == "radian"


def test_small_angles_keep_their_digits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    x -= x.mean(0)
    gap = rng.standard_normal((50, 4))
    gap -= gap.mean(0)
    gap -= x @ np.linalg.lstsq(x, gap, rcond=None)[0]
    ids = [f"s{i}" for i in range(50)]
    for angle in (1e-3, 1e-6, 1e-9):
        y = x / np.linalg.norm(x) * np.cos(angle) + gap / np.linalg.norm(gap) * np.sin(angle)
        a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
        assert float(xc.alignment(a, b, "procrustes")[0, 0]) == pytest.approx(angle, rel=1e-5)


def standard(x):
    return (x - x.mean(0)) / x.std(0)


def leading(x, c):
    return np.linalg.svd(x, full_matrices=False)[0][:, :c]


def test_svcca_in_sample_is_the_cosine_of_scipys_angles():
    a, b, x, y = one_pair()
    angles = subspace_angles(leading(standard(x), 3), leading(standard(y), 3))
    found = xc.alignment(a, b, "svcca", n_components=3, folds=None)
    assert float(found[0, 0]) == pytest.approx(np.cos(angles).mean(), abs=1e-10)


def test_svcca_held_out_is_scikit_learns_cca_of_each_fold():
    a, b, x, y = one_pair(60)
    fold = fold_numbers(a, 4, rng=stream_of(5)).values
    values = []
    for number in range(4):
        train, test = fold != number, fold == number
        parts = []
        for rows in (x, y):
            z = (rows - rows[train].mean(0)) / rows[train].std(0)
            axes = np.linalg.svd(z[train], full_matrices=False)[2][:2].T
            parts.append(z @ axes)
        cca = CCA(2, scale=False, tol=1e-14, max_iter=20_000)
        cca.fit(parts[0][train], parts[1][train])
        u, v = cca.transform(parts[0][test], parts[1][test])
        values += [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2)]
    found = xc.alignment(a, b, "svcca", n_components=2, folds=4, rng=5)
    assert float(found[0, 0]) == pytest.approx(np.mean(values), abs=1e-5)


def nested_ridge(x, y, fold):
    """Held-out predictions and baselines with scikit-learn, in plain loops."""
    predicted, baseline = np.empty_like(y), np.empty_like(y)
    x, y = x - x.mean(0), y - y.mean(0)

    def fit(train, test, share):
        spread = np.linalg.eigvalsh(np.cov(x[train].T, ddof=0) * train.sum()).mean()
        model = Ridge(alpha=share * spread, solver="svd").fit(x[train], y[train])
        return model.predict(x[test])

    for one in np.unique(fold):
        errors = []
        for share in PENALTIES:
            gaps = [
                y[fold == other] - fit((fold != one) & (fold != other), fold == other, share)
                for other in np.unique(fold)
                if other != one
            ]
            errors.append(sum((gap**2).sum() for gap in gaps))
        predicted[fold == one] = fit(fold != one, fold == one, PENALTIES[np.argmin(errors)])
        baseline[fold == one] = y[fold != one].mean(0)
    return y, predicted, baseline


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("groups", [None, "category"])
def test_linear_predictivity_is_scikit_learns_nested_ridge(groups):
    a, b, x, y = one_pair(40)
    folds = 3 if groups else 4
    fold = fold_numbers(a, folds, groups, rng=stream_of(0)).values
    y, predicted, baseline = nested_ridge(x, y, fold)
    gap, guess = y - baseline, predicted - baseline
    r = np.mean([np.corrcoef(gap[:, i], guess[:, i])[0, 1] for i in range(y.shape[1])])
    r2 = 1 - ((y - predicted) ** 2).sum() / ((y - baseline) ** 2).sum()
    for score, expected in (("r", r), ("r2", r2)):
        options = {"score": score, "folds": folds, "groups": groups, "rng": 0}
        found = xc.alignment(a, b, "linear_predictivity", **options)
        assert float(found[0, 0]) == pytest.approx(expected, abs=1e-8)


def test_groups_are_held_out_together():
    a, _ = two_sides()
    fold = fold_numbers(a, 3, "category").values
    for name in np.unique(a["category"]):
        assert len(set(fold[a["category"].values == name])) == 1
    with pytest.raises(xc.SchemaError, match="must be a coordinate on 'stimulus'; there is"):
        fold_numbers(a, 3, "family")
    with pytest.raises(ValueError, match="between 2 and 3, the number of groups"):
        fold_numbers(a, 4, "category")


def test_folds_follow_labels():
    a, _ = two_sides()
    expected = fold_numbers(a, 5).assign_coords(stimulus=a["stimulus"])
    again = shuffled(a)
    found = fold_numbers(again, 5).assign_coords(stimulus=again["stimulus"])
    xr.testing.assert_equal(found.sel(stimulus=a["stimulus"]), expected)
    assert np.ptp(np.bincount(expected)) <= 1


def test_a_linear_map_is_predicted_one_way_only():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    y = x[:, :2] @ rng.standard_normal((2, 5))
    ids = [f"s{i}" for i in range(200)]
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    there = float(xc.alignment(a, b, "linear_predictivity", score="r2", rng=0)[0, 0])
    back = float(xc.alignment(b, a, "linear_predictivity", score="r2", rng=0)[0, 0])
    assert there == pytest.approx(1, abs=1e-6)
    assert back == pytest.approx(1 / 3, abs=0.08)


def test_in_sample_svcca_of_many_components_warns():
    a, b = gaussian(0, 30, 20), gaussian(1, 30, 20)
    with pytest.warns(RuntimeWarning, match="15 components for 30 stimuli"):
        xc.alignment(a, b, "svcca", n_components=15, folds=None)
