"""The shared space as an estimator of scikit-learn."""

import doctest
import pickle

import numpy as np
import pandas as pd
import pytest

import xconverge as xc
from tests.helpers import make_reps

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import xconverge.sklearn
from xconverge.sklearn import SharedSpace


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"output": "aligned", "n_components": 1}])
def test_it_passes_the_checks_of_scikit_learn(options):
    """Every column a model: what the checks call it with has any number of columns."""
    done = check_estimator(SharedSpace(1, **options), on_skip=None)
    assert sum(check["status"] == "passed" for check in done) > 30
    assert not [check["check_name"] for check in done if check["status"] in ("failed", "xfail")]


@pytest.mark.slow
def test_its_example_runs():
    assert doctest.testmod(xconverge.sklearn).failed == 0


@pytest.fixture(scope="module")
def reps():
    """Three networks of other widths; the first lacks one stimulus, the last another."""
    return make_reps(3, 40, [6, 5, 4], missing=[(0, 3), (2, 20)])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"n_components": 3, "n_restarts": 1, "random_state": 5}])
def test_it_is_the_shared_space_of_the_rows_it_was_fitted_to(reps, options):
    data = xc.io.to_sklearn(reps, folds=4, rng=0)
    ours = {"rng" if k == "random_state" else k: v for k, v in options.items()}
    for train, test in data.cv:
        space = xc.shared_space(reps.isel(stimulus=train), **ours)
        placed = xc.transform(reps.isel(stimulus=test), space)
        for output in ("consensus", "aligned", "net1"):
            ready = SharedSpace(data.widths, output=output, **options)
            found = ready.fit(data.X.iloc[train]).transform(data.X.iloc[test])
            if output == "consensus":
                expected = placed.mean("model").values
            elif output == "net1":
                expected = placed.sel(model="net1").values
            else:
                expected = np.hstack(list(placed.transpose("model", ...).values))
            np.testing.assert_allclose(found, expected, atol=1e-10)
            inside = ready.fit_transform(data.X.iloc[train])
            if output == "consensus":
                np.testing.assert_allclose(inside, space["consensus"], atol=1e-10)
        assert ready.space_.stimulus.values.tolist() == reps.stimulus.values[train].tolist()
        assert ready.n_components_ == space.sizes["component"]


@pytest.mark.slow
def test_widths_are_given_in_many_ways(reps):
    data = xc.io.to_sklearn(reps, rng=0)
    expected = SharedSpace(data.widths).fit_transform(data.X)
    # by the names of columns; by numbers alone, of rows without labels
    np.testing.assert_array_equal(SharedSpace().fit_transform(data.X), expected)
    numbers = SharedSpace([6, 5, 4]).fit(data.X.to_numpy())
    assert list(numbers.widths_) == ["model 0", "model 1", "model 2"]
    np.testing.assert_allclose(numbers.transform(data.X.to_numpy()), expected, atol=1e-10)
    same = SharedSpace(5).fit(np.random.default_rng(0).standard_normal((30, 15)))
    assert same.widths_ == {"model 0": 5, "model 1": 5, "model 2": 5}


def test_tables_keep_their_labels(reps):
    data = xc.io.to_sklearn(reps, rng=0)
    space = SharedSpace(data.widths, n_components=2).set_output(transform="pandas")
    table = space.fit_transform(data.X)
    assert table.columns.tolist() == ["component 0", "component 1"]
    assert table.index.tolist() == reps.stimulus.values.tolist()
    back = xc.stack_models({"consensus": table})
    assert back.stimulus.values.tolist() == reps.stimulus.values.tolist()
    both = clone(space).set_params(output="aligned").fit(data.X)
    assert both.get_feature_names_out(data.X.columns).tolist() == [
        f"net{m} component {c}" for m in range(3) for c in range(2)
    ]
    assert both.transform(data.X).shape == (40, 6)
    assert clone(both).get_params() == both.get_params()
    again = pickle.loads(pickle.dumps(both))
    pd.testing.assert_frame_equal(again.transform(data.X), both.transform(data.X))
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        both.get_feature_names_out(data.X.columns[::-1])


@pytest.mark.slow
def test_held_out_rows_change_nothing(reps):
    """No leakage: the space of a fold knows the training rows alone."""
    target = make_reps(1, 40, 2, seed=4)
    data = xc.io.to_sklearn(reps, target, folds=4, rng=0)
    pipe = make_pipeline(SharedSpace(data.widths, n_components=3), Ridge())
    done = cross_validate(pipe, data.X, data.y, cv=data.cv, return_estimator=True)
    for (train, test), fitted in zip(data.cv, done["estimator"], strict=True):
        wild = data.X.copy()
        wild.iloc[test] = np.random.default_rng(0).standard_normal((len(test), wild.shape[1]))
        alone = clone(pipe).fit(wild.iloc[train], data.y.iloc[train])
        np.testing.assert_array_equal(alone[0].space_["rotation"], fitted[0].space_["rotation"])
        assert not set(fitted[0].space_.stimulus.values) & set(data.X.index[test])


@pytest.mark.slow
def test_cross_validated_scores_are_those_of_the_construction():
    """Rotated copies of one geometry, of which the target is a part, and noise."""
    rng = np.random.default_rng(0)
    n, ids = 3000, [f"s{i}" for i in range(3000)]
    z = rng.standard_normal((n, 4))
    turns = [np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(3)]
    nets = {
        f"net{i}": 10.0**i * (z + 0.05 * rng.standard_normal((n, 4))) @ turn + i
        for i, turn in enumerate(turns)
    }
    share = np.array([0.8, 0.5, 0.0])  # of the variance of a voxel
    noise = rng.standard_normal((n, 3))
    voxels = np.sqrt(share) * z[:, :3] + np.sqrt(1 - share) * noise
    models = xc.stack_models(nets, stimuli=ids)
    brain = xc.stack_models({"sub1": voxels}, stimuli=ids).isel(stimulus=rng.permutation(n))
    data = xc.io.to_sklearn(models, brain, folds=5, rng=0)
    pipe = make_pipeline(SharedSpace(data.widths), LinearRegression())
    for voxel, expected in enumerate(share):
        r2 = cross_val_score(pipe, data.X, data.y.iloc[:, voxel], cv=data.cv, scoring="r2")
        np.testing.assert_allclose(r2.mean(), expected, atol=0.04)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*components for:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:the shared space stopped:RuntimeWarning")
def test_what_has_nothing_in_common_predicts_nothing():
    """In the sample it would: noise networks are rotated onto each other."""
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(40)]
    models = xc.stack_models({n: rng.standard_normal((40, 25)) for n in "abc"}, stimuli=ids)
    data = xc.io.to_sklearn(models, folds=4, rng=0)
    y = rng.standard_normal(40)
    pipe = make_pipeline(SharedSpace(data.widths, max_iterations=20), LinearRegression())
    assert pipe.fit(data.X, y).score(data.X, y) > 0.5
    assert cross_val_score(pipe, data.X, y, cv=data.cv).mean() < 0


def test_a_stimulus_that_nobody_saw_has_no_place(reps):
    data = xc.io.to_sklearn(reps, rng=0)
    X = data.X.copy()
    X.iloc[0] = np.nan
    found = SharedSpace(data.widths).fit(data.X).transform(X)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"widths": [6, 5]}, r"widths=\[6, 5\] must be .* n_features = 15"),
        ({"widths": 4}, "add up to the columns"),
        ({"widths": [15]}, "at least 2 models, and widths=.* makes 1"),
        ({"widths": [6, 9, 0]}, "at least 1 each"),
        ({"output": "net9"}, "output must be one of 'consensus', 'aligned', 'net0'"),
        ({"start": "net9"}, "start='net9' is not known"),
    ],
)
def test_what_is_refused(reps, options, match):
    data = xc.io.to_sklearn(reps, rng=0)
    with pytest.raises(ValueError, match=match):
        SharedSpace(**{"widths": data.widths, **options}).fit(data.X)


def test_columns_that_do_not_say_whose_they_are(reps):
    X = xc.io.to_sklearn(reps, rng=0).X
    with pytest.raises(xc.SchemaError, match="does not say which columns belong to which model"):
        SharedSpace().fit(X.to_numpy())
    for columns in (X.columns[::-1], X.columns[[0, 2, 1, *range(3, 15)]], ["a", *X.columns[1:]]):
        with pytest.raises(xc.SchemaError, match="columns must be called .MODEL NUMBER."):
            SharedSpace().fit(X.set_axis(list(columns), axis=1))
    mixed = X[["net0 0", "net1 0", "net0 1"]]
    with pytest.raises(xc.SchemaError, match="X has a column 'net0 1'"):
        SharedSpace().fit(mixed)
    X = X.copy()
    X.iloc[5, 1] = np.nan
    with pytest.raises(xc.SchemaError, match=f"'net0'.*'{X.index[5]}'"):
        SharedSpace().fit(X)
