"""Coordinates of any name change no number: also those named like variables and dims of results."""

import functools
import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.labels.variables import VARIABLES

FIXED = ["network", "layer", "subject", "region", "time", "repetition"]
OTHERS = [
    "bin", "subset", "control", "pool", "measure", "iteration", "component", "neighbor", "model_a",
    "model_b", "model_2", "stimulus_2", "criterion", "criterion_2", "pool_size", "neighbors",
    "layer_a", "layer_b", "feature", "repeat", "stimulus_id", "network_a", "subject_b",
    "correlation_of_mean", "p_value_of_mean", "n_stimuli_of_mean", "alignment_by_bin_of_mean",
    "position", "estimate_of_mean", "rsa_by_bin", "family_group", "n_features_a", "group",
    "low_minus_high_p_value", "time_2", "model", "stimulus", "source_rsa", "mutual_knn", "rank_a",
]  # fmt: skip
# `n_features` is the one coordinate whose values count, wherever it lies
NAMES = sorted({*VARIABLES, *FIXED, *OTHERS} - {"n_features"})
PLACES = ("", "model", "stimulus", "subject", "model_a", "model_b", "stimulus_2")
QUICK = {"n_permutations": 9, "rng": 0}


def bare(array):
    """Without coordinates but labels and widths."""
    kept = {*array.dims, "n_features"}
    return array.drop_vars([name for name in array.coords if name not in kept])


@functools.cache
def inputs():
    a, b = (bare(make_reps(m, 24, w, i)) for i, (m, w) in enumerate(((4, [5, 6, 4, 5]), (3, 5))))
    shared = bare(make_reps(4, 24, 6))
    agreement = xc.alignment(a, b, k=3)
    brain = xc.rdm(b).rename(model="subject")
    found = {
        "a": a,
        "b": b,
        "shared": shared,
        "rdm_a": xc.rdm(a),
        "rdm_b": xc.rdm(b),
        "one": brain.isel(subject=0, drop=True),
        "brain": bare(brain).drop_vars("n_features", errors="ignore"),
        "voxels": b.rename(model="subject").drop_vars("n_features", errors="ignore"),
        "trials": shared.rename(model="repetition").drop_vars("n_features", errors="ignore"),
        "sessions": xr.concat([brain, 2 * brain], "repetition").assign_coords(
            repetition=["r1", "r2"]
        ),
        "bins": xc.dispersion_bins(xc.dispersion(a, "rdm"), 2),
        "spread": xc.dispersion(a, "rdm"),
        "other": xc.dispersion(shared),
        "others": xc.dispersion(a, "rdm", leave_out="model"),
        "agreement": agreement,
        "score": agreement.mean(["model_b", "stimulus"]).rename(model_a="model"),
        "residual": xc.shared_space(shared)["residual"],
    }
    kept = {"a", "b", "rdm_a", "rdm_b"}
    drop = {n: one.drop_vars("n_features", errors="ignore") for n, one in found.items()}
    return {name: bare(one if name in kept else drop[name]) for name, one in found.items()}


def decorated(array, names, places, salt):
    """The array with a coordinate of each name, on a dim or scalar; other values in each input."""
    coords = {}
    for number, name in enumerate(names):
        place = places[number % len(places)]
        if name in array.dims or name in array.coords:
            continue
        if not place:
            coords[name] = f"{salt}{number}"
        elif place in array.dims:
            values = [f"{salt}{number}.{i}" for i in range(array.sizes[place])]
            coords[name] = (place, np.array(values, dtype=object))
    return array.assign_coords(coords)


def assert_same(found, right):
    """Values, dims and labels are the same; other coordinates may be anything."""
    if isinstance(right, xr.DataTree):
        assert found.groups == right.groups
        for path in right.groups:
            assert_same(found[path].to_dataset(), right[path].to_dataset())
        return
    if isinstance(right, xr.DataArray):
        found, right = ({"": one} for one in (found, right))
    else:
        assert list(found.data_vars) == list(right.data_vars)
        found, right = (dict(one.data_vars) for one in (found, right))
    for name, one in right.items():
        other = found[name]
        assert other.dims == one.dims, name
        np.testing.assert_array_equal(other.values, one.values, err_msg=name)
        for dim in one.dims:
            if dim in one.coords:
                assert other.indexes[dim].equals(one.indexes[dim]), (name, dim)


def timed(array):
    """The same at two times."""
    return array.drop_vars("time", errors="ignore").expand_dims(time=[0, 1])


def short(function, *args, **options):
    """A call of a public function; arguments may be names of inputs."""
    return lambda i: getattr(xc, function)(*(i.get(one, one) for one in args), **options)


LISTS = [[0, 1, 2], [1, 2, 3]]
BINS = {"n_bins": 2, **QUICK}
SELECT = {"n_bins": 2, "n_splits": 2, "n_draws": 9, **QUICK}
STUDY = {
    "modulation": lambda i: xc.modulation(
        i["spread"], i["agreement"], covariates=[i["other"]], **BINS, null="labels"
    ),
    "modulation of others": short("modulation", "others", "agreement", **BINS, null="labels"),
    "binned_rsa": short("binned_rsa", "a", "brain", "spread", **BINS),
    "select_models": short("select_models", "a", "brain", "others", **SELECT),
    "cross_modal_prediction": short(
        "cross_modal_prediction", "agreement", "others", "score", **BINS, null="labels"
    ),
    "select_stimuli": lambda i: xc.select_stimuli(
        i["spread"], 6, without=i["others"], distances=i["one"], min_distance=1e-6
    ),
    "select_stimuli by two": lambda i: xc.select_stimuli(
        {"one": i["spread"], "other": i["other"]}, 6
    ),
    "optimize_stimuli": short(
        "optimize_stimuli", "a", n=6, n_restarts=1, n_perturbations=0, leave_out="model", rng=0
    ),
    "calibrate": short("calibrate", "a", "b", k=3, **QUICK),
    "calibrate_rsa": short("calibrate_rsa", "rdm_a", "brain", **QUICK),
    "cross_temporal_rsa": lambda i: xc.cross_temporal_rsa(
        *(timed(i[side]) for side in ("rdm_a", "rdm_b")), **QUICK
    ),
    "latency": lambda i: xc.latency(
        xc.calibrate_rsa(i["rdm_a"], timed(i["rdm_a"]), **QUICK), alpha=0.5
    ),
    "confidence_interval": short("confidence_interval", "a", "b", k=3, rng=0),
    "reliability": short("reliability", "a", "rdm", n_splits=3, rng=0),
    "shared_space": short("shared_space", "a"),
    "pairwise dispersion": short("dispersion", "shared", "neighborhood", k=3, pairwise=True),
    "dispersion": short("dispersion", "shared", "consensus"),
    "alignment": short("alignment", "a", "b", "cka"),
    "rdm": short("rdm", "a"),
    "rsa": short("rsa", "rdm_a", "brain"),
    "searchlight": short("searchlight", "a", "brain", neighborhoods=LISTS),
    "binned_searchlight": short(
        "binned_searchlight", "a", "brain", "spread", 2, neighborhoods=LISTS
    ),
    "noise_ceiling": short("noise_ceiling", "brain"),
    "noise_ceiling of both": short("noise_ceiling", "sessions", over=("subject", "repetition")),
    "trial_reliability": short("trial_reliability", "trials", n_splits=2, rng=0),
    "trial_reliability of features": lambda i: xc.trial_reliability(
        i["trials"], "feature", bins=i["bins"], n_splits=2, rng=0
    ),
    "trial_ceiling": short("trial_ceiling", "trials", n_splits=2, rng=0),
    "neighbor_graph": short("neighbor_graph", "a", 3),
}
SLOW = {
    "binned_rsa of models": short("binned_rsa", "a", "rdm_b", "spread", average=None, **BINS),
    "select_models of one": short("select_models", "a", "one", "spread", **SELECT),
    "subset_contrast": lambda i: xc.subset_contrast(
        i["spread"],
        i["a"],
        i["b"],
        size=8,
        k=3,
        n_random=9,
        match=i["other"],
        match_bins=2,
        rng=0,
        null="labels",
    ),
    "analyze": lambda i: xc.analyze(
        {"vision": i["a"], "language": i["b"]},
        target=i["brain"],
        k=3,
        rsa_bins=2,
        **BINS,
        n_equal_noise=0,
    ),
    "leave_out_modulation": short("leave_out_modulation", "a", "b", k=3, **BINS),
    "leave_out_modulation by consensus": short(
        "leave_out_modulation", "a", "b", "consensus", k=3, nuisance=["norm"], **BINS
    ),
    "select_models by default": short("select_models", "a", "voxels", **SELECT),
    "binned_rsa of representations": short(
        "binned_rsa", "shared", "voxels", "spread", average="representation", **BINS
    ),
    "binned_rsa_contrast": short("binned_rsa_contrast", "a", "brain", "spread", **BINS),
    "pool_curve": short("pool_curve", "a", "b", sizes=[12, 24], k=3, n_repeats=2, rng=0),
    "interval over both": short(
        "confidence_interval", "a", "b", "cka", over="both", n_resamples=9, rng=0
    ),
    "alignment_reliability": short("alignment_reliability", "a", "b", k=3, n_splits=3, rng=0),
    "optimize_stimuli by RDMs": short("optimize_stimuli", "rdm_a", n=6, n_restarts=1, rng=0),
    "transform": lambda i: xc.transform(i["a"], xc.shared_space(i["a"])),
    "graphs": lambda i: xc.alignment(xc.neighbor_graph(i["a"], 3), i["b"], k=3),
    "nuisance": lambda i: xc.rsa(i["rdm_a"], i["brain"], nuisance=i["one"]),
    "folds": short("shared_space", "a", folds=3, rng=0),
    "residual_component": short("residual_component", "residual"),
    "find_duplicates": short("find_duplicates", "a", k=3),
    "local_density": short("local_density", "a", 3),
    "stimulus_norm": short("stimulus_norm", "a"),
    "pca": short("pca", "a", 3),
    "zscore": short("zscore", "a"),
    "dispersion_bins": short("dispersion_bins", "spread", 2),
    "exclude_high_dispersion": short("exclude_high_dispersion", "rdm_a", "spread", 0.2),
    "pair": lambda i: xc.pair(i["a"], i["b"], i["spread"], i["rdm_a"])[3],
    "from_xarray": lambda i: xc.from_xarray(i["voxels"], model="subject"),
    **{
        f"{metric} without": short("dispersion", "shared", metric, k=3, leave_out="model")
        for metric in ("cosine", "euclidean", "consensus", "rdm")
    },
    **{
        f"alignment by {metric}": short("alignment", "a", "b", metric, rng=0)
        for metric in ("rdm", "svcca", "procrustes", "linear_predictivity", "rsa")
    },
}
CALLS = STUDY | SLOW


@functools.cache
def adorned(*places):
    return {key: decorated(one, NAMES, places, key) for key, one in inputs().items()}


@functools.cache
def usual(name):
    """What a call says without further coordinates."""
    return CALLS[name](inputs())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of so few stimuli and models
@pytest.mark.parametrize("name", STUDY)
def test_no_name_of_a_coordinate_collides_with_a_result(name):
    # every third name on models, on stimuli and subjects, and without a dim
    assert_same(CALLS[name](adorned("", "model", "stimulus")), usual(name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "place"),
    # a whole study takes seconds: `STUDY` has it with names everywhere
    [(n, p) for n in CALLS for p in PLACES if n != "analyze" or p in ("", "model")],
)
def test_no_name_collides_wherever_it_lies(name, place):
    assert_same(CALLS[name](adorned(place)), usual(name))


def test_coordinates_that_step_aside_ride_along():
    reps = inputs()["a"].assign_coords(rsa=("model", list("wxyz")), subset="mine")
    table = CALLS["select_models"](inputs() | {"a": reps})
    assert table["source_rsa"].dims == ("model",)
    assert table["source_rsa"].values.tolist() == list("wxyz")
    assert table["source_subset"].item() == "mine"
    pairs = xc.dispersion(inputs()["shared"].assign_coords(n_models=7), "rdm", k=3)
    assert pairs["source_n_models"].item() == 7
    assert (pairs["n_models"] == 4).all()


@pytest.mark.slow
def test_results_with_such_coordinates_are_saved_and_opened(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table = STUDY["select_models"](adorned("model"))
    xc.write_study(tmp_path / "study.zarr", xr.DataTree.from_dict({"models": table}))
    again = xc.open_store(tmp_path / "study.zarr")["models"].to_dataset().load()
    assert_same(again[list(table.data_vars)], table)
