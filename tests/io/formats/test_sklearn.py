"""Tables and folds for scikit-learn, and scores that come back."""

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps


def test_tables_are_joined_by_label():
    models = make_reps(3, 30, [5, 2, 4], missing=[(1, 4)])
    brain = make_reps(1, 30, 2, seed=3).isel(stimulus=np.random.default_rng(0).permutation(30))
    brain = brain.assign_coords(voxel=("feature", ["left", "right"]))
    data = xc.io.to_sklearn(models.chunk(model=1), brain, folds=3, groups="category", rng=0)
    assert data.X.index.tolist() == data.y.index.tolist() == models.stimulus.values.tolist()
    assert data.X.columns[[0, 4, 5, 7]].tolist() == ["net0 0", "net0 4", "net1 0", "net2 0"]
    assert data.widths == {"net0": 5, "net1": 2, "net2": 4}
    np.testing.assert_array_equal(data.X.iloc[:, 5:7], models[1, :, :2])  # what it missed is NaN
    np.testing.assert_array_equal(data.y, brain[0].sel(stimulus=models.stimulus))
    for train, test in data.cv:
        held = models["category"].values[test]
        assert not set(models["category"].values[train]) & set(held)
    same = xc.io.to_himalaya(models.isel(model=[0, 2]), brain, folds=3, groups="category", rng=0)
    np.testing.assert_array_equal(same.fold, data.fold)
    scores = xc.io.from_sklearn({"r2": [0.1, 0.4]}, data, metric="r2")
    assert scores["voxel"].values.tolist() == ["left", "right"]
    assert scores.attrs["groups"] == "category"


def test_without_a_target():
    models = make_reps(2, 30, [5, 2], missing=[(0, 4), (1, 4), (0, 6)])
    with pytest.warns(RuntimeWarning, match="1 of 30 stimuli are left out, which not any model"):
        data = xc.io.to_sklearn(models, folds=3, rng=0)
    assert data.y is None
    assert models.stimulus[4].item() not in data.X.index
    assert data.X.loc[models.stimulus[6].item(), "net0 0":"net0 4"].isna().all()
    with pytest.raises(xc.SchemaError, match="there is no target"):
        xc.io.from_sklearn([1.0], data)
    with pytest.raises(TypeError, match="what to_sklearn returned, got list"):
        xc.io.from_sklearn([1.0], [])
