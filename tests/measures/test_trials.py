"""Distances over repetitions: rsatoolbox, labels, units, noise, laziness, and what takes them."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

import xconverge as xc
from tests.benchmarks.bench_trials import means
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from tests.oracles import crossnobis
from xconverge.measures.rsa import METHODS
from xconverge.measures.trials import SAME_TRIALS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rsatoolbox = pytest.importorskip("rsatoolbox")
    from rsatoolbox.data.noise import prec_from_unbalanced

MISSING = {"complete": (), "some missing": ((0, 2), (3, 5), (1, 5), (2, 7))}
NOISES = (None, "diagonal", "shrinkage", "given")


def trials_of(
    n_models=1, n=12, repetitions=4, widths=6, seed=0, missing=(), dtype=np.float64, signal=1.0
):
    """A set (model, stimulus, repetition, feature); ``missing`` are (repetition, stimulus)."""
    reps = make_reps(n_models, n, widths, seed, dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    noise = rng.standard_normal((repetitions, *reps.shape)).astype(dtype)
    result = signal * reps + xr.DataArray(noise, dims=("repetition", *reps.dims))
    result.attrs = reps.attrs
    for r, i in missing:
        result[{"repetition": r, "stimulus": i}] = np.nan
    runs = ["m", "m", "t", "t", "w", "w"][:repetitions]
    return result.transpose("model", "stimulus", "repetition", "feature").assign_coords(
        repetition=[f"r{i}" for i in range(repetitions)], run=("repetition", runs)
    )


def covariance(p=6, seed=1):
    a = np.random.default_rng(seed).standard_normal((p, p))
    return a @ a.T + np.eye(p)


def observations(reps, cv="repetition"):
    """The measured trials of one model, as rsatoolbox has them."""
    flat = reps.isel(model=0).stack(trial=("stimulus", "repetition")).transpose("trial", "feature")
    flat = flat[~np.isnan(flat.values).any(1)]
    return rsatoolbox.data.Dataset(
        flat.values,
        obs_descriptors={
            "stimulus": flat["stimulus"].values.astype(str),
            "cv": flat[cv].values.astype(str),
        },
    )


def square_of(rdms, like):
    """An RDM of rsatoolbox in the order of the labels of ours."""
    names = list(rdms.pattern_descriptors["stimulus"])
    order = [names.index(label) for label in like["stimulus"].values]
    return rdms.get_matrices()[0][np.ix_(order, order)]


@pytest.mark.parametrize("noise", [None, "given", "shrinkage_eye", "shrinkage_diag", "diag"])
@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_crossnobis_is_rsatoolboxs(missing, noise):
    reps = trials_of(missing=missing)
    theirs = observations(reps)
    if noise in (None, "given"):
        sigma = mine = None if noise is None else covariance()
        precision = None if sigma is None else np.linalg.inv(sigma)
    else:
        mine = "diagonal" if noise == "diag" else noise
        precision = prec_from_unbalanced(theirs, "stimulus", method=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = xc.rdm(reps, "crossnobis", noise=mine)
    calls = [rsatoolbox.rdm.calc_rdm_unbalanced]
    if not missing:
        calls.append(rsatoolbox.rdm.calc_rdm)
    for call in calls:
        expected = call(
            theirs, "crossnobis", descriptor="stimulus", cv_descriptor="cv", noise=precision
        )
        np.testing.assert_allclose(found[0], square_of(expected, reps), atol=1e-12)


def test_runs_are_rsatoolboxs():
    """Trials of a run that differ in number: as in its unbalanced estimator.

    Its balanced one gives each fold the same weight, whatever the number of trials in it.
    """
    reps = trials_of(repetitions=6, missing=[(1, 3), (5, 0), (4, 2)])
    theirs = observations(reps, "run")
    found = xc.rdm(reps, "crossnobis", over="run")
    options = {"descriptor": "stimulus", "cv_descriptor": "cv"}
    expected = rsatoolbox.rdm.calc_rdm_unbalanced(theirs, "crossnobis", **options)
    np.testing.assert_allclose(found[0], square_of(expected, reps), atol=1e-12)
    balanced = square_of(rsatoolbox.rdm.calc_rdm(theirs, "crossnobis", **options), reps)
    whole = np.setdiff1d(np.arange(12), [0, 2, 3])
    np.testing.assert_allclose(
        found[0].values[np.ix_(whole, whole)], balanced[np.ix_(whole, whole)]
    )
    assert not np.allclose(found[0], balanced)


def test_it_is_the_mean_over_ordered_pairs_of_repetitions():
    reps, sigma = trials_of(), covariance()
    precision = np.linalg.inv(sigma)
    x = reps[0].transpose("repetition", "stimulus", "feature").values
    total = np.zeros((12, 12))
    for r in range(4):
        for s in range(4):
            if r != s:
                one, other = (x[k][:, None] - x[k] for k in (r, s))
                total += np.einsum("ijp,pq,ijq->ij", one, precision, other)
    found = xc.rdm(reps, "crossnobis", noise=sigma)
    np.testing.assert_allclose(found[0], total / (4 * 3 * 6), atol=1e-12)


def test_what_it_says_of_itself():
    reps = trials_of(2)
    found = xc.rdm(reps, "crossnobis", noise="shrinkage", over="run")
    assert found.dims == ("model", "stimulus", "stimulus_2")
    assert found.name == "rdm"
    told = {"metric": "crossnobis", "noise": "shrinkage", "over": "run", "n_repetitions": 4}
    assert told.items() <= found.attrs.items()
    assert found.attrs["kind"] == "distance"
    assert found.attrs["modality"] == "vision"
    assert {"category", "category_2", "caption_2"} <= set(found.coords)
    assert "run" not in found.coords
    plain = xc.rdm(100 + reps, "cosine", over="repetition").attrs
    assert plain["over"] == "repetition"
    assert "noise" not in plain
    assert xc.rdm(reps, "crossnobis").attrs["noise"] == "none"
    assert xc.rdm(reps, "crossnobis", noise=covariance()).attrs["noise"] == "given"


def test_squares_are_not_divided_by_features():
    reps = trials_of(missing=MISSING["some missing"])
    found = xc.rdm(reps, "sqeuclidean", over="repetition")
    np.testing.assert_allclose(found, 6 * xc.rdm(reps, "crossnobis"), atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_directions_tend_to_those_without_noise(metric):
    truth = make_reps(1, 8, 30, noise=0.0)
    rng = np.random.default_rng(0)
    noise = xr.DataArray(rng.standard_normal((400, *truth.shape)), dims=("repetition", *truth.dims))
    found = xc.rdm(truth + noise, metric, over="repetition")
    expected = squareform(pdist(truth[0].values, metric))
    np.testing.assert_allclose(found[0], expected, atol=0.1)
    exact = xc.rdm(truth + 0 * noise, metric, over="repetition")
    np.testing.assert_allclose(exact[0], expected, atol=1e-12)
    # without it, repetitions are mapped over, as any dim
    assert xc.rdm((truth + noise).isel(repetition=slice(3)), metric).sizes["repetition"] == 3


def test_a_direction_that_is_none_is_nan_and_named():
    reps = trials_of(2, signal=5.0)
    stimulus = reps["stimulus"].values[3]
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    reps[0, 3] = reps[0, 3].values[:1] * signs[:, None]
    with pytest.warns(RuntimeWarning, match=rf"'net0'.* 1 of 12 stimuli is not pos.*{stimulus}"):
        found = xc.rdm(reps, "cosine", over="repetition")
    gone = found["stimulus"].values == stimulus
    assert found[0, gone].isnull().all()
    assert found[0, ~gone].isel(stimulus_2=~gone).notnull().all()
    assert found[1].notnull().all()


def test_one_measurement_is_nan_and_named():
    reps = trials_of(2)
    stimulus = reps["stimulus"].values[3]
    reps[1, 3, 1:] = np.nan
    reps[1, 5] = np.nan
    message = rf"'net1'.*'crossnobis' needs at least 2 independent.*'{stimulus}' has one repetition"
    with pytest.warns(RuntimeWarning, match=message):
        found = xc.rdm(reps, "crossnobis")
    assert found[1].isnull().all("stimulus_2").values.nonzero()[0].tolist() == [3, 5]
    assert found[0].notnull().all()
    reps = trials_of()
    with pytest.warns(RuntimeWarning, match="has one value of 'run' alone"):
        assert xc.rdm(reps.isel(repetition=slice(2)), "crossnobis", over="run").isnull().all()
    with pytest.warns(RuntimeWarning, match="needs at least 2 independent measurements"):
        assert xc.rdm(reps.isel(repetition=[0]), "crossnobis").isnull().all()


@pytest.mark.parametrize("noise", NOISES)
def test_any_order_of_labels_gives_the_same(noise):
    reps = trials_of(2, missing=MISSING["some missing"])
    sigma = xr.DataArray(
        [covariance(seed=1), covariance(seed=2)],
        dims=("model", "feature", "feature_2"),
        coords={"model": ["net0", "net1"]},
    )
    made = sigma if noise == "given" else noise
    one = xc.rdm(reps, "crossnobis", noise=made)
    moved = shuffled(shuffled(shuffled(reps, 3), 4, "repetition"), 5, "model")
    other = xc.rdm(moved.transpose(), "crossnobis", noise=made)
    labels = {dim: one[dim].values for dim in one.dims}
    np.testing.assert_allclose(other.sel(labels).transpose(*one.dims), one, atol=1e-12)


@pytest.mark.parametrize("noise", NOISES)
def test_padding_counts_for_nothing(noise):
    reps = trials_of(3, widths=[6, 4, 5], missing=MISSING["some missing"])
    made = covariance() if noise == "given" else noise
    found = xc.rdm(reps, "crossnobis", noise=made)
    for model, width in zip(reps["model"].values, (6, 4, 5), strict=True):
        alone = reps.sel(model=[model]).isel(feature=slice(width)).drop_vars("n_features")
        own = made[:width, :width] if noise == "given" else made
        expected = xc.rdm(alone, "crossnobis", noise=own)
        np.testing.assert_allclose(found.sel(model=[model]), expected, atol=1e-13)


def test_widths_may_differ_over_subjects_and_regions():
    rng = np.random.default_rng(0)
    widths = np.array([[6, 5, 4], [3, 6, 2]])
    x = rng.standard_normal((2, 3, 4, 8, 6))
    for s, r in np.ndindex(2, 3):
        x[s, r, ..., widths[s, r] :] = np.nan
    x[0, 1, 2, 4] = np.nan
    reps = xr.DataArray(
        x,
        dims=("subject", "model", "repetition", "stimulus", "feature"),
        coords={
            "subject": ["p", "q"],
            "model": ["V1", "V4", "IT"],
            "stimulus": [f"s{i}" for i in range(8)],
            "n_features": (("subject", "model"), widths),
        },
    )
    assert xc.validate(reps) is reps
    found = xc.rdm(reps, "crossnobis", noise="diagonal")
    assert found.dims == ("subject", "model", "stimulus", "stimulus_2")
    assert found.notnull().all()
    for s, r in np.ndindex(2, 3):
        one = reps.isel(subject=s, model=r, feature=slice(widths[s, r])).drop_vars("n_features")
        expected = xc.rdm(one, "crossnobis", noise="diagonal")
        np.testing.assert_allclose(found[s, r], expected, atol=1e-13)
    uneven = reps.assign_coords(
        n_features=(("subject", "repetition"), np.tile([6, 5, 6, 6], (2, 1)))
    )
    with pytest.raises(xc.SchemaError, match="n_features differs between repetitions"):
        xc.rdm(uneven, "crossnobis")
    even = reps.isel(subject=[0], model=[0]).assign_coords(n_features=("repetition", [6] * 4))
    np.testing.assert_array_equal(
        xc.rdm(even, "crossnobis")[0, 0], xc.rdm(reps, "crossnobis")[0, 0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["given", "shrinkage"])
@given(data=st.data())
def test_chunks_change_nothing(noise, data):
    reps = trials_of(2, 10, missing=MISSING["some missing"])
    made = covariance() if noise == "given" else noise
    expected = xc.rdm(reps, "crossnobis", noise=made, over="run")
    lazy = data.draw(chunked(reps))
    with no_compute():
        found = xc.rdm(lazy, "crossnobis", noise=made, over="run")
    assert found.chunks is not None
    xr.testing.assert_identical(found.compute(), expected)


def test_sessions_may_differ_between_stimuli_and_subjects():
    reps = trials_of(n=8, repetitions=3)
    rng = np.random.default_rng(0)
    days = np.array([rng.permutation(5)[:3] for _ in range(8)])
    named = reps.assign_coords(session=(("stimulus", "repetition"), days))
    x = reps[0].transpose("repetition", "stimulus", "feature").values
    found = xc.rdm(named, "crossnobis", over="session")
    np.testing.assert_allclose(found[0], crossnobis(x, days), atol=1e-12)
    # a set whose subjects have sessions of their own
    two = xr.concat([reps, reps], xr.DataArray(["p", "q"], dims="subject", name="subject"))
    other = np.array([rng.permutation(5)[:3] for _ in range(8)])
    two = two.assign_coords(session=(("subject", "stimulus", "repetition"), [days, other]))
    found = xc.rdm(two, "crossnobis", over="session")
    np.testing.assert_allclose(found.sel(subject="p")[0], crossnobis(x, days), atol=1e-12)
    np.testing.assert_allclose(found.sel(subject="q")[0], crossnobis(x, other), atol=1e-12)


@pytest.mark.slow
def test_noise_of_a_run_needs_its_name():
    """What the trials of a stimulus in a run share lifts its distances, unless runs are units."""
    rng = np.random.default_rng(0)
    runs = ["a", "a", "b", "b"]
    plain, over = [], []
    for _ in range(60):
        shared = np.repeat(rng.standard_normal((2, 6, 10)), 2, axis=0)
        x = shared + rng.standard_normal((4, 6, 10))
        reps = xr.DataArray(
            x,
            dims=("repetition", "stimulus", "feature"),
            coords={"stimulus": list("uvwxyz"), "run": ("repetition", runs)},
        )
        plain.append(xc.rdm(reps, "crossnobis").sum() / 30)
        over.append(xc.rdm(reps, "crossnobis", over="run").sum() / 30)
    assert abs(np.mean(over)) < 3 * np.std(over) / np.sqrt(60)
    np.testing.assert_allclose(np.mean(plain), 2 / 3, rtol=0.2)


def test_units_that_are_none_are_refused():
    reps = trials_of(missing=[(1, 0)])
    with pytest.raises(xc.SchemaError, match=r"over='day' must be a coordinate.* there is 'run'"):
        xc.rdm(reps, "crossnobis", over="day")
    with pytest.raises(xc.SchemaError, match=r"it has the dims \['stimulus'\]"):
        xc.rdm(reps, "crossnobis", over="category")
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'repetition'"):
        xc.rdm(reps.assign_coords(repetition=list("aabc")), "crossnobis")
    with pytest.raises(TypeError, match="over must be 'repetition', or the name of a coordinate"):
        xc.rdm(reps, "crossnobis", over=1)
    for gap in (None, ""):
        runs = np.array(["a", gap, "b", "c"], dtype=object)
        some = reps.assign_coords(run=("repetition", runs))
        with pytest.raises(xc.SchemaError, match=r"over='run' has no value for trials .*11 in all"):
            xc.rdm(some, "crossnobis", over="run")
    # a trial that was not measured needs none
    runs = np.tile(np.array(["a", "b", "c", "d"], dtype=object), (12, 1))
    runs[0, 1] = ""
    some = reps.assign_coords(run=(("stimulus", "repetition"), runs))
    expected = xc.rdm(reps, "crossnobis")
    np.testing.assert_allclose(xc.rdm(some, "crossnobis", over="run"), expected, atol=1e-12)


def test_metrics_that_have_no_such_form_are_refused():
    reps = trials_of()
    with pytest.raises(ValueError, match="the root of an unbiased square is biased"):
        xc.rdm(reps, "euclidean", over="repetition")
    with pytest.raises(TypeError, match="over goes with the metrics crossnobis, sqeuclidean"):
        xc.rdm(reps, np.dot, over="repetition")
    for metric in ("cosine", "sqeuclidean"):
        with pytest.raises(TypeError, match="noise goes with metric 'crossnobis'"):
            xc.rdm(reps, metric, noise="diagonal", over="repetition")
    with pytest.raises(xc.SchemaError, match="needs the dim 'repetition'"):
        xc.rdm(reps.isel(repetition=0), "crossnobis")
    with pytest.raises(
        ValueError, match=r"metric='crossnobi' is not known \(did you mean 'crossno"
    ):
        xc.rdm(reps, "crossnobi")


def test_faulty_trials_are_named():
    reps = trials_of(2)
    reps[1, 4, 2, 3] = np.nan
    stimulus = reps["stimulus"].values[4]
    for noise in (None, "shrinkage"):
        with pytest.raises(
            xc.SchemaError, match=rf"inside a row: model 'net1', stimulus '{stimulus}'"
        ):
            xc.rdm(reps, "crossnobis", noise=noise)


def test_covariances_that_are_none_are_refused():
    reps = trials_of()
    sigma = covariance()
    with pytest.raises(ValueError, match="noise='shrink' is not known"):
        xc.rdm(reps, "crossnobis", noise="shrink")
    with pytest.raises(TypeError, match=r"noise must be None, a covariance .* got noise=3"):
        xc.rdm(reps, "crossnobis", noise=3)
    with pytest.raises(xc.SchemaError, match=r"\(6, 6\), got the shape \(5, 5\)"):
        xc.rdm(reps, "crossnobis", noise=sigma[:5, :5])
    with pytest.raises(xc.SchemaError, match=r"'net0': noise must be positive definite"):
        xc.rdm(reps, "crossnobis", noise=-sigma)
    with pytest.raises(xc.SchemaError, match="noise must be symmetric"):
        xc.rdm(reps, "crossnobis", noise=np.triu(sigma))
    with pytest.raises(xc.SchemaError, match="noise holds NaN or infinity"):
        xc.rdm(reps, "crossnobis", noise=sigma * np.nan)
    labelled = xr.DataArray(sigma, dims=("feature", "feature_2"))
    with pytest.raises(xc.SchemaError, match=r"noise needs the dims \['feature', 'feature_2'\]"):
        xc.rdm(reps, "crossnobis", noise=labelled.rename(feature_2="other"))
    with pytest.raises(xc.SchemaError, match=r"the 6 features of reps .* has 5 and 6"):
        xc.rdm(reps, "crossnobis", noise=labelled[:5])
    with pytest.raises(xc.SchemaError, match="noise has the dims 'stimulus' too"):
        xc.rdm(reps, "crossnobis", noise=labelled.expand_dims(stimulus=reps["stimulus"]))
    with pytest.raises(xc.SchemaError, match=r"must have the same labels on 'model'"):
        xc.rdm(reps, "crossnobis", noise=labelled.expand_dims(model=["other"]))
    with pytest.raises(xc.SchemaError, match="at least 3; reps has 2"):
        xc.rdm(reps.isel(stimulus=slice(2)), "crossnobis", noise="shrinkage")
    with pytest.raises(xc.SchemaError, match="needs 2 degrees of freedom .* has 1; measure more"):
        xc.rdm(reps.isel(stimulus=slice(3), repetition=[0, 1]), "crossnobis", noise="shrinkage")


def test_features_with_labels_are_joined_by_them():
    reps = trials_of().assign_coords(feature=list("uvwxyz"))
    sigma = xr.DataArray(
        covariance(),
        dims=("feature", "feature_2"),
        coords={"feature": list("uvwxyz"), "feature_2": list("uvwxyz")},
    )
    moved = shuffled(shuffled(sigma, 1, "feature"), 2, "feature_2")
    expected = xc.rdm(reps, "crossnobis", noise=covariance())
    xr.testing.assert_identical(xc.rdm(reps, "crossnobis", noise=moved), expected)
    lazy = xc.rdm(reps, "crossnobis", noise=moved.chunk(feature=2))
    xr.testing.assert_identical(lazy.compute(), expected)
    bare = reps.drop_vars("feature")
    np.testing.assert_array_equal(xc.rdm(bare, "crossnobis", noise=sigma), expected)


@pytest.mark.parametrize("name", SAME_TRIALS)
def test_noise_of_the_same_trials_warns(name):
    with pytest.warns(UserWarning, match=rf"{name}.*biases them upwards.* \+\d+ %.*'shrinkage'"):
        xc.rdm(trials_of(), "crossnobis", noise=name)


def test_one_of_them_is_the_other():
    reps = trials_of(missing=MISSING["some missing"])
    with pytest.warns(UserWarning, match="biases them upwards"):
        one, other = (
            xc.rdm(reps, "crossnobis", noise=f"shrinkage_{name}") for name in ("same_trials", "eye")
        )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float16])
def test_types(dtype):
    reps = (10 * trials_of()).round().astype(dtype)
    found = xc.rdm(read_only(reps), "crossnobis", noise="shrinkage")
    assert found.dtype == (np.float64 if dtype == np.int16 else np.float32)
    exact = xc.rdm(reps.astype(np.float64), "crossnobis", noise="shrinkage")
    np.testing.assert_allclose(found, exact, atol=1e-5 * float(abs(exact).max()))


def negative():
    """RDMs with many distances below 0."""
    found = xc.rdm(trials_of(3, 16, signal=0.3), "crossnobis", noise="diagonal")
    assert 0.1 < float((found < 0).mean()) < 0.5
    return found


@pytest.mark.parametrize("method", METHODS)
def test_distances_below_0_are_compared(method):
    rdms, other = negative(), xc.rdm(make_reps(2, 16, 5, seed=4), "euclidean")
    found = xc.rsa(rdms, other, method)
    assert found.notnull().all()
    if method == "pearson":
        upper = np.triu_indices(16, 1)
        theirs = other.sel(stimulus=rdms["stimulus"], stimulus_2=rdms["stimulus_2"])
        expected = np.corrcoef(rdms[0].values[upper], theirs[1].values[upper])[0, 1]
        np.testing.assert_allclose(found[0, 1], expected)


@pytest.mark.slow
def test_distances_below_0_go_everywhere(tmp_path):
    rdms, reps = negative(), make_reps(3, 16, 5, seed=4)
    spread = xc.dispersion(reps, "rdm")
    options = {"n_bins": 2, "n_permutations": 19, "rng": 0}
    assert xc.binned_rsa(reps, rdms, spread, **options)["rsa"].notnull().all()
    assert np.isfinite(xc.noise_ceiling(rdms.rename(model="subject"), "pearson")["upper"])
    assert len(xc.optimize_stimuli(rdms, 6, n_restarts=1, rng=0)["stimulus"]) == 6
    path = tmp_path / "study.zarr"
    xc.create_store(path)
    xc.io.write_rdms(path, rdms, modality="vision")
    xr.testing.assert_identical(xc.io.open_rdms(path, "vision").load(), rdms)
    theirs = xc.io.from_rsatoolbox_rdms(xc.io.to_rsatoolbox_rdms(rdms))
    xr.testing.assert_identical(theirs, rdms)


@pytest.mark.slow
def test_trials_are_stored_and_stacked(tmp_path):
    reps = trials_of(2, widths=[6, 4], missing=MISSING["some missing"])
    assert xc.validate(reps) is reps
    path = tmp_path / "study.zarr"
    xc.create_store(path)
    xc.write_representations(path, reps, modality="vision")
    found = xc.open_representations(path, "vision")
    expected = xc.rdm(reps, "crossnobis", over="run")
    xr.testing.assert_identical(xc.rdm(found, "crossnobis", over="run").compute(), expected)
    one = {m: reps.sel(model=m, drop=True) for m in reps["model"].values}
    one["net1"] = one["net1"].isel(feature=slice(4))
    stacked = xc.stack_models(one)
    xr.testing.assert_identical(stacked["run"], reps["run"])
    np.testing.assert_array_equal(xc.rdm(stacked, "crossnobis", over="run"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(20, 4, 50), (92, 2, 100)])
def test_null_data_have_no_distance(shape):
    found = means(shape, "shrinkage", 300, 0)
    assert abs(found.mean()) < 2 * found.std() / np.sqrt(300)
    assert means(shape, "shrinkage_eye", 60, 0).mean() > 0.35
