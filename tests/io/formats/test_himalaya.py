"""What is handed over to himalaya, and what comes back."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.engine.folds import folds_of_pair
from xconverge.engine.pair import Pair

N = 40


def brain_of(n=N, voxels=3, seed=5):
    """One subject, with voxel coordinates, stimuli in another order."""
    reps = make_reps(1, n, voxels, seed=seed).assign_coords(model=["sub1"])
    reps = reps.assign_coords(
        roi=("feature", ["V1", "V2", "V4"][:voxels]), x=("feature", np.arange(voxels) - 1.0)
    )
    return reps.isel(stimulus=np.random.default_rng(1).permutation(n))


def test_rows_are_joined_by_label():
    models, brain = make_reps(3, N, [5, 2, 4]), brain_of()
    data = xc.io.to_himalaya(models, brain, folds=4, rng=0)
    assert data.bands == models.model.values.tolist()
    assert data.stimuli.tolist() == models.stimulus.values.tolist()
    for name, band, width in zip(data.bands, data.X, [5, 2, 4], strict=True):
        np.testing.assert_array_equal(band, models.sel(model=name).values[:, :width])
    np.testing.assert_array_equal(data.Y, brain[0].sel(stimulus=data.stimuli))
    assert data.slices == [slice(0, 5), slice(5, 7), slice(7, 11)]
    np.testing.assert_array_equal(np.hstack(data.X)[:, data.slices[1]], data.X[1])
    # a lazy set, a target without model, another order of stimuli: the same rows and folds
    alone = brain.isel(model=0, drop=True)
    again = xc.io.to_himalaya(models[:, ::-1].chunk(model=1), alone, folds=4, rng=0, dtype="f4")
    assert again.X[0].dtype == again.Y.dtype == np.float32
    np.testing.assert_array_equal(again.Y[::-1], data.Y.astype("f4"))
    np.testing.assert_array_equal(again.fold[::-1], data.fold)
    whole = xc.io.to_himalaya(models[1:2, :, :2].round().astype(int), brain.round().astype(int))
    assert whole.X[0].dtype == whole.Y.dtype == np.float64


def test_folds_are_those_of_linear_predictivity():
    models, brain = make_reps(1, N, 4), brain_of()
    data = xc.io.to_himalaya(models, brain, folds=3, groups="category", rng=7)
    assert len(data.cv) == 3
    category = models["category"].values
    for k, (train, test) in enumerate(data.cv):
        assert sorted([*train, *test]) == list(range(N))
        assert not set(category[train]) & set(category[test])
        inner = data.inner(k)
        assert len(inner) == 2
        for fit, held in inner:
            assert sorted([*fit, *held]) == list(range(len(train)))
            assert not set(category[train][fit]) & set(category[train][held])
    with pytest.raises(ValueError, match="left_out must be the number of a fold, 0 to 2, got 5"):
        data.inner(5)
    assert data.attrs["seed"] == 7
    expected = folds_of_pair(Pair(models, brain, 7), 3, "category")
    np.testing.assert_array_equal(data.fold, expected)


def test_missing_stimuli_are_left_out_by_name():
    models = make_reps(3, N, [5, 2, 4], missing=[(0, 3), (2, 8)])
    brain = brain_of()
    brain[0, 0] = np.nan
    gone = {models.stimulus[3].item(), models.stimulus[8].item(), brain.stimulus[0].item()}
    with pytest.warns(RuntimeWarning, match="3 of 40 stimuli are left out") as told:
        data = xc.io.to_himalaya(models, brain, rng=0)
    assert all(repr(label) in str(told[0].message) for label in gone)
    assert set(models.stimulus.values) - set(data.stimuli) == gone
    assert all(np.isfinite(rows).all() for rows in (*data.X, data.Y))
    assert len(data.fold) == 37


def test_scores_have_the_coordinates_of_voxels():
    models, brain = make_reps(2, N, [5, 2]), brain_of()
    models = models.assign_coords(layer=("model", [1, 2]))
    data = xc.io.to_himalaya(models, brain, folds=4, rng=0)
    one = xc.io.from_himalaya([0.1, 0.2, 0.3], data, metric="r2")
    assert one.name == "feature_score"
    assert one.dims == ("feature",)
    assert one["roi"].values.tolist() == ["V1", "V2", "V4"]
    assert one["model"].item() == "sub1"
    assert one.attrs["metric"] == "r2"
    assert one.attrs["folds"] == 4
    assert one.attrs["kind"] == "similarity"
    folds = xc.io.from_himalaya(np.arange(12).reshape(4, 3), data, over="fold")
    assert folds.sel(fold=3).values.tolist() == [9, 10, 11]
    split = xc.io.from_himalaya(
        {"all": np.ones((4, 2, 3)), "one": np.zeros((4, 2, 3))}, data, over=["fold", "model"]
    )
    assert split.dims == ("part", "fold", "model", "feature")
    assert split.sel(part="all", model="net1").min() == 1
    assert split["layer"].values.tolist() == [1, 2]
    assert split["target"].item() == "sub1"

    class Tensor:  # as torch's and cupy's are: no array until it is fetched
        def cpu(self):
            return np.ones(3)

    np.testing.assert_array_equal(xc.io.from_himalaya(Tensor(), data), 1)
    np.testing.assert_array_equal(xc.io.from_himalaya([Tensor()] * 4, data, over="fold"), 1)
    with pytest.raises(xc.SchemaError, match=r"the last of size 3, got the shape \(2,\)"):
        xc.io.from_himalaya([0.1, 0.2], data)
    with pytest.raises(xc.SchemaError, match=r"got the shape \(4, 3\); over='fold'"):
        xc.io.from_himalaya(np.ones((4, 3)), data)
    with pytest.raises(xc.SchemaError, match="as many as the 2 models, got 4"):
        xc.io.from_himalaya(np.ones((4, 3)), data, over="model")
    with pytest.raises(ValueError, match="over must be 'fold', 'model' or both, got over='band'"):
        xc.io.from_himalaya(np.ones((4, 3)), data, over="band")
    with pytest.raises(xc.SchemaError, match="a dict of arrays of one shape"):
        xc.io.from_himalaya({"a": np.ones(3), "b": np.ones(2)}, data)
    with pytest.raises(TypeError, match="data must be what to_himalaya returned, got DataArray"):
        xc.io.from_himalaya(np.ones(3), brain)


def test_what_is_refused():
    models, brain = make_reps(2, N, [5, 2]), brain_of()
    with pytest.raises(xc.SchemaError, match=r"models and target must have.*xconverge\.pair"):
        xc.io.to_himalaya(models, brain[:, 1:])
    with pytest.raises(xc.SchemaError, match="target must be one model, and has 'net0', 'net1'"):
        xc.io.to_himalaya(models, models)
    with pytest.raises(xc.SchemaError, match="target must have the dims.*'time'"):
        xc.io.to_himalaya(models, brain.expand_dims(time=[0, 1]))
    with pytest.raises(ValueError, match="folds=50 must be between 2 and 40"):
        xc.io.to_himalaya(models, brain, folds=50)
    brain[0, 2, 1] = np.nan
    with pytest.raises(xc.SchemaError, match=f"'{brain.stimulus[2].item()}'"):
        xc.io.to_himalaya(models, brain)


def test_ridge_of_himalaya_is_the_closed_form():
    himalaya = pytest.importorskip("himalaya.ridge")
    models, brain = make_reps(1, N, 4), brain_of()
    data = xc.io.to_himalaya(models, brain, rng=0)
    (x,), y, alpha = data.X, data.Y, 3.0
    for train, test in data.cv:
        ridge = himalaya.Ridge(alpha=alpha, fit_intercept=True).fit(x[train], y[train])
        centre = x[train] - x[train].mean(0)
        gram = centre.T @ centre + alpha * np.eye(4)
        weight = np.linalg.solve(gram, centre.T @ (y[train] - y[train].mean(0)))
        expected = (x[test] - x[train].mean(0)) @ weight + y[train].mean(0)
        np.testing.assert_allclose(ridge.predict(x[test]), expected, rtol=1e-8)


def test_ridge_cv_of_himalaya_agrees_with_linear_predictivity():
    himalaya = pytest.importorskip("himalaya.ridge")
    models, brain = make_reps(1, 200, 6, noise=0.3), make_reps(1, 200, 6, seed=0, noise=1.0)
    data = xc.io.to_himalaya(models, brain, folds=5, rng=3)
    gaps, guesses = np.empty_like(data.Y), np.empty_like(data.Y)
    for k, (train, test) in enumerate(data.cv):
        ridge = himalaya.RidgeCV(
            alphas=10.0 ** np.arange(-4, 6),
            fit_intercept=True,
            cv=data.inner(k),
            solver_params={"local_alpha": False, "warn": False},
        ).fit(data.X[0][train], data.Y[train])
        mean = data.Y[train].mean(0)
        gaps[test], guesses[test] = data.Y[test] - mean, ridge.predict(data.X[0][test]) - mean
    r = [np.corrcoef(*pair)[0, 1] for pair in zip(gaps.T, guesses.T, strict=True)]
    ours = xc.alignment(models, brain, "linear_predictivity", folds=5, rng=3)
    assert ours.item() > 0.4
    np.testing.assert_allclose(np.mean(r), ours.item(), atol=0.005)


@pytest.fixture(scope="module")
def parts():
    """Two models that share a source, and voxels whose variance is theirs by construction."""
    rng = np.random.default_rng(0)
    n = 600
    own_a, own_b, common = (rng.standard_normal((n, 4)) for _ in range(3))
    ids = [f"s{i}" for i in range(n)]
    models = xc.stack_models(
        {"a": np.hstack([own_a, common]), "b": np.hstack([own_b, common])}, stimuli=ids
    )
    # shares of a alone, b alone, both, noise
    truth = np.array([[0.5, 0.2, 0.2, 0.1], [0.0, 0.7, 0.0, 0.3], [0.0, 0.0, 0.6, 0.4]])
    sources = [z.sum(1) / 2 for z in (own_a, own_b, common)] + [rng.standard_normal(n)]
    voxels = np.stack([np.sqrt(share) @ np.stack(sources) for share in truth], 1)
    brain = xc.stack_models({"sub1": voxels}, stimuli=ids)
    return models, brain.assign_coords(voxel=("feature", ["mixed", "b", "shared"])), truth


def predicted(data, bands, solver):
    """Held-out R² of every voxel from some of the bands."""
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from himalaya.ridge import GroupRidgeCV
    from himalaya.scoring import r2_score

    scores = []
    for k, (train, test) in enumerate(data.cv):
        x = [data.X[i] for i in bands]
        params = {"n_iter": 8, "alphas": np.logspace(-3, 4, 8), "progress_bar": False}
        if solver == "bands":
            ridge = GroupRidgeCV(
                groups="input", cv=data.inner(k), solver_params=params | {"warn": False},
                fit_intercept=True, random_state=0,
            )  # fmt: skip
            fit, held = [band[train] for band in x], [band[test] for band in x]
        else:
            ridge = MultipleKernelRidgeCV(
                kernels="precomputed", cv=data.inner(k), solver_params=params, random_state=0
            )
            fit = np.stack([band[train] @ band[train].T for band in x])
            held = np.stack([band[test] @ band[train].T for band in x])
        ridge.fit(fit, data.Y[train])
        scores.append(r2_score(data.Y[test], ridge.predict(held)))
    return np.stack(scores)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["bands", "kernels"])
def test_variance_is_partitioned_as_it_was_made(parts, solver):
    pytest.importorskip("himalaya")
    models, brain, truth = parts
    data = xc.io.to_himalaya(models, brain, folds=3, rng=0)
    sets = {"a": [0], "b": [1], "a + b": [0, 1]}
    scores = xc.io.from_himalaya(
        {name: predicted(data, bands, solver) for name, bands in sets.items()},
        data,
        over="fold",
        metric="r2",
    ).mean("fold")
    only_a = scores.sel(part="a + b") - scores.sel(part="b")
    only_b = scores.sel(part="a + b") - scores.sel(part="a")
    shared = scores.sel(part="a") + scores.sel(part="b") - scores.sel(part="a + b")
    found = xr.concat([only_a, only_b, shared, 1 - scores.sel(part="a + b")], "share", join="exact")
    np.testing.assert_allclose(found.transpose("feature", "share"), truth, atol=0.06)
    assert found["voxel"].values.tolist() == ["mixed", "b", "shared"]


def test_split_scores_are_over_models(parts):
    pytest.importorskip("himalaya")
    from himalaya.ridge import GroupRidgeCV
    from himalaya.scoring import r2_score, r2_score_split

    models, brain, _ = parts
    data = xc.io.to_himalaya(models, brain, folds=3, rng=0)
    (train, test), *_ = data.cv
    ridge = GroupRidgeCV(
        groups="input", cv=data.inner(0), random_state=0,
        solver_params={"n_iter": 4, "progress_bar": False, "warn": False},
    ).fit([x[train] for x in data.X], data.Y[train])  # fmt: skip
    held = [x[test] for x in data.X]
    y = data.Y[test] - data.Y[test].mean(0)
    split = r2_score_split(y, ridge.predict(held, split=True))
    scores = xc.io.from_himalaya(split, data, over="model")
    whole = xc.io.from_himalaya(r2_score(y, ridge.predict(held)), data)
    assert scores.sel(model="b")[1] > 0.5 > abs(scores.sel(model="a")[1])
    np.testing.assert_allclose(scores.sum("model"), whole, atol=0.03)
