"""What a wrong argument meets: an error of ours that names it, says what came, and what to do."""

import ast
import contextlib
import functools
import importlib
import inspect
import re
import traceback
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import xconverge as xc
from tests.helpers import make_reps, no_compute

PACKAGE = str(Path(xc.__file__).parent)
N = 12


def course(rdm):
    """What `calibrate_rsa` gives over time."""
    film = rdm.isel(model=0, drop=True).expand_dims(time=[0.0, 0.1])
    return xc.calibrate_rsa(rdm, film, n_permutations=39, rng=0)


@pytest.fixture(scope="module")
def data():
    a, b = make_reps(4, N, [5, 6, 4, 5]), make_reps(3, N, [4, 6, 5], seed=1)
    spread = xc.dispersion(a, "rdm")
    rdm_a, rdm_b = xc.rdm(a), xc.rdm(b)
    space = xc.shared_space(a, n_components=3, rng=0)
    agreement = xc.alignment(a, b, k=3)
    score = xr.DataArray(np.arange(4.0), coords=agreement["model_a"].coords)
    return {
        "a": a,
        "b": b,
        "reps": a,
        "shared": make_reps(4, N, 5),
        "spread": spread,
        "rdm_a": rdm_a,
        "rdm_b": rdm_b,
        "brain": rdm_b.isel(model=0, drop=True),
        "rdms": rdm_b.rename(model="subject"),
        "space": space,
        "residual": space["residual"],
        "agreement": agreement,
        "score": score.rename(model_a="model"),
        "film_a": rdm_a.expand_dims(time=[0.0, 0.1]),
        "film_b": rdm_b.expand_dims(time=[0.0, 0.1, 0.2]),
        "course": course(rdm_a),
        "trials": make_reps(4, N, 5).rename(model="repetition"),
    }


FEW = {"n_permutations": 9}
# a call of every public function that works, an argument in quotes is one of the data above
CALLS = {
    "alignment": {"a": "a", "b": "b", "k": 3},
    "alignment svcca": {
        "a": "a", "b": "b", "metric": "svcca", "n_components": 2, "folds": 2, "groups": "category",
    },
    "alignment cka": {"a": "a", "b": "b", "metric": "cka", "kernel": "rbf", "debiased": True,
                      "sigma": 1.0},
    "alignment distance_correlation": {
        "a": "a", "b": "b", "metric": "distance_correlation", "debiased": True},
    "alignment cknna": {"a": "a", "b": "b", "metric": "cknna", "k": 3, "centered": True},
    "alignment rsa": {"a": "a", "b": "b", "metric": "rsa", "method": "pearson"},
    "alignment linear_predictivity": {
        "a": "a", "b": "b", "metric": "linear_predictivity", "folds": 3, "score": "r2",
        "groups": "category",
    },
    "alignment_reliability": {"a": "a", "b": "b", "k": 3},
    "analyze": {"source": {"vision": "a", "language": "b"}, "k": 3, "target": "brain", **FEW},
    "binned_rsa": {"reps": "a", "target": "brain", "dispersion": "spread", **FEW},
    "binned_rsa_contrast": {"reps": "a", "target": "brain", "dispersion": "spread", **FEW},
    "calibrate": {"a": "a", "b": "b", "k": 3, **FEW},
    "calibrate_rsa": {"rdm_a": "rdm_a", "rdm_b": "rdm_b", **FEW},
    "center": {"reps": "a"},
    "clamp": {"reps": "a"},
    "confidence_interval": {"a": "a", "b": "b", "k": 3},
    "cross_modal_prediction": {"agreement": "agreement", "dispersion": "spread", "score": "score"},
    "cross_temporal_rsa": {"rdm_a": "film_a", "rdm_b": "film_b", **FEW},
    "dispersion": {"reps": "shared"},
    "dispersion neighborhood": {"reps": "shared", "metric": "neighborhood", "k": 3},
    "dispersion_bins": {"dispersion": "spread"},
    "exclude_high_dispersion": {"array": "a", "dispersion": "spread"},
    "latency": {"table": "course"},
    "leave_out_modulation": {"a": "a", "b": "b", "k": 3, **FEW},
    "find_duplicates": {"reps": "a", "k": 3},
    "local_density": {"reps": "a", "k": 3},
    "modulation": {"dispersion": "spread", "alignment": "agreement", **FEW},
    "neighbor_graph": {"reps": "a", "k": 3},
    "noise_ceiling": {"rdms": "rdms"},
    "optimize_stimuli": {"reps": "a", "n": 5},
    "overlap_p_value": {"agreement": "agreement"},
    "pair": {"a": "a", "b": "b"},
    "pca": {"reps": "a", "n_components": 2},
    "pool_curve": {"a": "a", "b": "b", "k": 3},
    "rdm": {"reps": "a"},
    "recommend_chunks": {"reps": "a"},
    "reliability": {"reps": "shared"},
    "reliability neighborhood": {"reps": "shared", "metric": "neighborhood", "k": 3},
    "residual_component": {"residual": "residual"},
    "rsa": {"rdm_a": "rdm_a", "rdm_b": "rdm_b"},
    "binned_searchlight": {
        "reps": "a", "target": "brain", "dispersion": "spread", "neighborhoods": [[0, 1], [1, 2]],
    },
    "searchlight": {"reps": "a", "target": "brain", "neighborhoods": [[0, 1], [1, 2]]},
    "select_models": {"reps": "a", "target": "brain", **FEW},
    "select_stimuli": {"dispersion": "spread", "n": 4},
    "set_options": {},
    "shared_space": {"reps": "a"},
    "shared_space folds": {"reps": "a", "folds": 2, "groups": "category"},
    "stimulus_norm": {"reps": "a"},
    "subset_contrast": {"dispersion": "spread", "a": "a", "b": "b", "size": 4, "k": 3},
    "transform": {"reps": "a", "space": "space"},
    "trial_ceiling": {"reps": "trials", "n_splits": 3},
    "trial_reliability": {"reps": "trials", "n_splits": 3},
    "trial_reliability stimulus": {"reps": "trials", "of": "stimulus", "n_splits": 3},
    "unit_rows": {"reps": "a"},
    "validate": {"reps": "a"},
    "zscore": {"reps": "a"},
}  # fmt: skip
ELSEWHERE = {
    # of files and stores: tests/io; of what is stacked and brought in: tests/labels, tests/io
    "ModelWriter", "append_models", "create_store", "extract", "from_xarray", "load_network",
    "open_demo", "open_representations", "open_store", "stack_models", "validate_store",
    "write_representations", "write_study",
}  # fmt: skip
CONSTRAINTS = ("groups", "quotas", "match", "match_bins", "distances", "min_distance")


class Never:
    """Some object that is no argument of anything."""

    def __repr__(self):
        return "<Never>"


NEVER = Never()
NOT_WHOLE = [2.5, True, "10", np.nan, NEVER, [3], np.array([3, 4]), -1]
NOT_REAL = ["0.5", True, np.nan, np.inf, NEVER, [0.5]]
WHOLE = {
    name: [*NOT_WHOLE, *range(least)]
    for least, names in {
        0: "n_permutations n_restarts n_perturbations",
        1: "k n_components n_splits n_draws n_random size match_bins n_repeats max_iterations "
        "n_checked n_probes memory n min_features",
        2: "n_bins rsa_bins folds min_models n_resamples",
    }.items()
    for name in names.split()
}
REAL = {
    "level": [*NOT_REAL, 0, 1, -0.5, 95],
    "alpha": [*NOT_REAL, 0, 1, -0.5, 95],
    "fraction": [*NOT_REAL, 0, 1, -0.5, 0.2],
    "quantile": [*NOT_REAL, 0, -0.5, 95],
    "threshold": [*NOT_REAL, 0, 1, -0.5],
    "of_models": [*NOT_REAL, 0, 1.5, -0.5],
    "share": [*NOT_REAL, 1, -0.5, 10],
    "tolerance": [*NOT_REAL, -1e-8],
    "sigma": [*NOT_REAL, 0, -1],
}
CHOICES = {
    "metric", "method", "rdm_metric", "neighbors", "layers", "tail", "over", "resample",
    "agreement", "which", "missing", "start", "dispersion_metric", "alignment_metric", "kernel",
    "score", "average", "repeats", "join", "pool", "of",
}  # fmt: skip
FLAGS = ["pairwise", "normalize", "exact", "debiased", "centered"]
SEEDS = ["0", 1.5, -1, True, NEVER, np.array([1, 2])]
NAMES = ["by", "leave_out", "groups", "strata", "blocks", "on"]


def refusing(name):
    """Argument, value: every argument of a call that is no data, and what it must refuse."""
    function = getattr(xc, name.split()[0])
    parameters = inspect.signature(function).parameters
    more = CONSTRAINTS if "constraints" in parameters else ()
    # what one call of a function has tried, another does not try again
    tried = set(parameters) - set(CALLS[name]) if " " in name else set()
    for one in dict.fromkeys([*parameters, *CALLS[name], *more]):
        if one in tried:
            continue
        default = parameters[one].default if one in parameters else None
        given = CALLS[name].get(one)
        if one in WHOLE:
            bad = list(WHOLE[one])
            if one == "n_bins" and name in ("select_models", "cross_modal_prediction"):
                # one bin is all stimuli
                bad = [value for value in bad if type(value) is not int or value != 1]
            if one == "n_permutations" and name.startswith("calibrate"):
                bad.append(0)
            if one == "k" and given:  # else the metric has no neighbours
                bad.append(N)
            if given and default is None and one != "folds":
                bad.append(None)
        elif one in REAL:
            bad = REAL[one]
        elif one in CHOICES and (isinstance(default, str) or isinstance(given, str | None)):
            bad = ["no such", "", 3, NEVER, ["cka"]]
            if default is not None and one != "average":
                bad.append(None)
        elif one in FLAGS:
            bad = ["yes", 1, 0, NEVER]
        elif one == "rng":
            bad = SEEDS
        elif one == "progress":
            bad = ["yes", 3]
        elif one in NAMES:
            bad = ["no such", "", 3, NEVER, ["family"], {"s1": 0}, np.arange(N)]
        elif one == "sizes":
            bad = [[], 5, "5", [3], [N + 1], [5.5], ["5"], {"5": 1}]
        else:
            continue
        yield from ((one, value) for value in bad)


def tokens(value):
    """What an error may say of a list: one of its values."""
    return map(repr, value) if isinstance(value, list) else ()


def fault(name, arguments, argument, *came):
    """What is wrong with the error of a call; None where it is one of ours that says all."""
    function = getattr(xc, name.split()[0])
    try:
        function(**arguments)
    except (ValueError, TypeError) as error:
        where, text = traceback.extract_tb(error.__traceback__)[-1].filename, str(error)
        if type(error) not in (ValueError, TypeError, xc.SchemaError):
            return f"a {type(error).__name__}: {text}"
        if not where.startswith(PACKAGE):
            return f"raised in {where}: {text}"
        if argument not in text:
            return f"does not name {argument}: {text}"
        if came and not any(one in text for one in came):
            return f"does not say {came}: {text}"
        return None
    except Exception as error:
        return f"a {type(error).__name__}: {error}"
    return "no error"


def of(data, name, **changed):
    """The arguments of the call that works, some of them changed."""

    def found(value):
        if isinstance(value, dict):
            return {key: found(one) for key, one in value.items()}
        return data[value] if isinstance(value, str) and value in data else value

    return {key: found(value) for key, value in CALLS[name].items()} | changed


def check_all(data, name, tried):
    """Every one of these (argument, value, *what came) is refused as it should be."""
    with no_compute(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            f"{name}({argument}={value!r:.50})": fault(
                name, of(data, name, **{argument: value}), argument, *came
            )
            for argument, value, *came in tried
        }
    assert not {call: text for call, text in found.items() if text}


def test_every_public_function_is_tried():
    called = {name.split()[0] for name in CALLS}
    errors = {"DamagedStoreError", "SchemaError", "UnalignedSpaceWarning"}
    assert called | ELSEWHERE | errors == set(xc.__all__)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", CALLS)
def test_numbers_choices_seeds_and_names_are_refused_by_name(data, name):
    tried = [
        (argument, value, repr(value)[:30], repr(str(value)), type(value).__name__, *tokens(value))
        for argument, value in refusing(name)
    ]
    check_all(data, name, tried)


REPS = {"a", "b", "reps"}
RDMS = {"rdm_a", "rdm_b", "rdms"}
VALUES = {"dispersion", "agreement", "alignment", "score", "residual"}
EITHER = {"target"}
MANY = {"covariates": "modulation", "nuisance": "rsa calibrate_rsa leave_out_modulation",
        "match": "select_stimuli optimize_stimuli subset_contrast"}  # fmt: skip


class Sparse:
    """An array of another library, as xarray takes them in."""

    def __init__(self, array):
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __array_function__(self, *args, **kwargs):
        raise AssertionError("used")

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("used")

    def __array_namespace__(self):
        raise AssertionError("used")

    def __getitem__(self, key):
        return self


@functools.cache
def wrong(of):
    """What nobody takes in place of an array, and a word that the error must say of it."""
    return [*wrong_objects(of.array), *wrong_arrays(of.array)]


class Of:
    """An array as a key."""

    def __init__(self, array):
        self.array = array

    def __hash__(self):
        return id(self.array)

    def __eq__(self, other):
        return self.array is other.array


def wrong_objects(array):
    """What is no DataArray, and a word that the error must say of it."""
    values = np.asarray(array.values)
    yield "study.zarr", "'study.zarr'"
    yield Path("study.zarr"), "study.zarr"
    yield array.to_dataset(name="some"), "'some'"
    yield xr.DataTree.from_dict({"group": array.to_dataset(name="some")}), "'group"
    yield values, f"numpy.ndarray of the shape {values.shape}"
    yield da.from_array(values), f"dask.Array of the shape {values.shape}"
    yield values.tolist(), "(list)"
    yield {"net": values}, "(dict)"
    yield pd.DataFrame({"column": [1.0]}), "'column'"
    yield zarr.array(values), f"zarr.Array of the shape {values.shape}"
    yield 3, "3"
    yield None, "None"


def wrong_arrays(array):
    """DataArrays that no function takes, and a word that the error must say of them."""
    for dtype in ("complex128", "datetime64[ns]", object, "U5"):
        made = da.from_array(np.zeros(array.shape, "int64").astype(dtype), -1, name=False)
        yield array.copy(data=made), str(np.dtype(dtype))
    yield array.copy(data=Sparse(array)), "Sparse"
    dim = "stimulus" if "stimulus" in array.dims else "model"
    yield array.drop_vars(dim), f"no labels on '{dim}'"
    yield array.isel({dim: []}), "empty"
    yield array.isel({dim: [0, 1, 1]}), repr(str(array[dim].values[1]))
    yield array.rename({dim: "item"}), "'item'"
    yield array.assign_coords({dim: [None, *array[dim].values[1:]]}), "missing"


def may(name, argument, value):
    """What some of them take by design."""
    array = isinstance(value, xr.DataArray)
    return (
        (name == "recommend_chunks" and array)  # looks at sizes alone
        or (name == "pair" and array and {"stimulus"} <= {*value.dims, *value.indexes})
        or (name == "optimize_stimuli" and array and "stimulus_2" in value.dims)
        or (name == "analyze" and value is None)
        or (name == "cross_temporal_rsa" and argument == "rdm_b" and value is None)
        # any value of each stimulus may be aligned, those of a criterion are named in a dict
        or (name == "modulation" and argument == "alignment" and array)
        or (name == "select_stimuli" and isinstance(value, xr.Dataset | dict))
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", [name for name in CALLS if " " not in name])
def test_other_data_are_refused_by_name(data, name):
    given = of(data, name)
    tried = []
    for argument in (REPS | RDMS | VALUES | EITHER) & set(given):
        array = given[argument]
        if isinstance(array, str):
            continue  # of linear_predictivity
        tried += [(argument, *one) for one in wrong(Of(array))]
        others = {
            "a": REPS | EITHER, "rdm_a": RDMS | EITHER, "brain": RDMS | EITHER,
            "agreement": {"agreement", "alignment"}, "spread": {"dispersion", "alignment"},
            "residual": {"residual", "dispersion"},
        }  # fmt: skip
        for other, takers in others.items():
            if argument not in takers:
                tried.append((argument, data[other], *map(repr, data[other].dims)))
    tried = [one for one in tried if not may(name, one[0], one[1])]
    check_all(data, name, tried)


def tables(array):
    """What has labels in another library, or none: joined by them or refused, never by position."""
    yield array.values, "numpy.ndarray"
    yield array.values.tolist(), "list", f"{array.values[0]}"
    yield dict(zip(array["stimulus"].values, array.values, strict=True)), "dict"
    yield array.to_dataset(name="some"), "'some'"
    yield 3, "3"


@pytest.mark.slow
def test_what_goes_with_a_call_is_refused_by_name(data):
    spread, other = data["spread"], data["spread"].isel(stimulus=slice(5))
    wide = xr.concat([spread, spread], "time")
    for argument, names in {
        "covariates": "modulation",
        "nuisance": "rsa calibrate_rsa leave_out_modulation",
        "match": "select_stimuli optimize_stimuli subset_contrast",
        "groups": "select_stimuli optimize_stimuli subset_contrast exclude_high_dispersion",
        "strata": "modulation leave_out_modulation calibrate calibrate_rsa binned_rsa_contrast",
        "without": "select_stimuli",
    }.items():
        for name in names.split():
            tried = [
                *tables(spread),
                (other, "stimulus"),
                (wide, "time"),
                (data["a"], "feature"),
                (spread.drop_vars("stimulus"), "labels", "'stimulus_2'", "'model'"),
            ]
            if argument in ("covariates", "nuisance", "match"):
                tried += [([value], *came) for value, *came in tried]
            check_all(data, name, [(argument, *one) for one in tried])
    near = data["brain"]
    for value, *came in (*wrong(Of(near)), (data["a"], "'feature'")):
        if value is None:
            continue
        call = {"distances": value, "min_distance": 0.1}
        for name in ("select_stimuli", "optimize_stimuli"):
            assert not fault(name, of(data, name, **call), "distances", *came)


@pytest.mark.slow
def test_further_dims_that_both_sides_have_are_matched_by_label(data):
    """Not by position, and not refused in words of xarray."""
    a, b = data["a"], data["b"]
    times = ["t1", "t2", "t3"]

    def over_time(array, names=times):
        wide = xr.concat([array * (i + 1) + i for i in range(3)], "time")
        return wide if names is None else wide.assign_coords(time=names)

    calls = {
        "alignment": (a, b, "a", "b"),
        "rsa": (data["rdm_a"], data["rdm_b"], "rdm_a", "rdm_b"),
        "binned_rsa": (a, data["brain"], "reps", "target"),
        "select_models": (a, data["brain"], "reps", "target"),
    }
    for name, (one, other, first, second) in calls.items():
        for names, came in {
            ("t1", "t2", "t4"): "'t4'",
            ("t1", "t2", "t2"): "'t2'",
            None: "labels on 'time'",
        }.items():
            given = None if names is None else list(names)
            changed = {first: over_time(one), second: over_time(other, given)}
            assert not fault(name, of(data, name, **changed), second, came), (name, names)
    shuffled = over_time(b).isel(time=[2, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = xc.alignment(over_time(a), over_time(b), "cka")
        xr.testing.assert_identical(xc.alignment(over_time(a), shuffled, "cka"), expected)


def test_unknown_options_and_near_misses_say_what_there_is(data):
    a, b = data["a"], data["b"]
    with pytest.raises(TypeError, match=r"'cka' has no option n_compnents; it has kernel, debia"):
        xc.alignment(a, b, "cka", n_compnents=3)
    with pytest.raises(TypeError, match="no argument quota; constraints are groups, quotas"):
        xc.select_stimuli(data["spread"], 4, quota=2)
    for given, meant in {
        "mutual-knn": "mutual_knn",
        "CKA": "cka",
        "procustes": "procrustes",
    }.items():
        with pytest.raises(ValueError, match=f"{given}' is not known .did you mean '{meant}'"):
            xc.alignment(a, b, given)
    with pytest.raises(ValueError, match="choose one of mutual_knn, cycle_knn") as caught:
        xc.alignment(a, b, "rotation")
    assert "mean" not in str(caught.value)


def test_sources_and_spaces_are_refused_by_name(data):
    for value, word, came in (
        (data["a"], "source", "DataArray"),
        (3, "source", "3"),
        ([data["a"], data["b"]], "source", "list"),
        ({"vision": data["a"]}, "two modalities", "'vision'"),
        ({"vision": data["a"], "language": data["rdm_b"]}, "language", "'stimulus_2'"),
        ({"vision": data["a"], "language": data["b"].values}, "language", "numpy.ndarray"),
    ):
        assert not fault("analyze", of(data, "analyze", source=value), word, came)
    # the brain is a target, not a modality that is there
    for changed, word, came in (
        ({"target": "brain"}, "target", "'brain'"),
        ({"modality": "brain"}, "modality", "'brain'"),
        ({"other": 3}, "other", "3"),
    ):
        assert not fault("analyze", of(data, "analyze") | changed, word, came)
    for value, came in (
        (data["a"], "feature"),
        (data["a"].to_dataset(), "representation"),
        (1, "1"),
    ):
        assert not fault("transform", of(data, "transform", space=value), "space", came)
    assert not fault("pair", of(data, "pair") | {"on": ("a", "b", "c")}, "on", "'c'")
    with pytest.raises(TypeError, match=r"more 0 must be an xarray\.DataArray.*got 3"):
        xc.pair(data["a"], data["b"], 3)


FLAGGED = {
    "create_store": lambda xc, path, data: xc.create_store(path, overwrite="no"),
    "write_representations": lambda xc, path, data: xc.write_representations(
        path, data["a"], overwrite="no"
    ),
    "write_study": lambda xc, path, data: xc.write_study(path, xr.DataTree(), overwrite="no"),
    "write_rdms": lambda xc, path, data: xc.io.write_rdms(
        path, data["rdm_a"], modality="vision", overwrite="no"
    ),
    "write_npz": lambda xc, path, data: xc.io.write_npz(path / "a.npz", data["a"], overwrite="no"),
    "validate_store": lambda xc, path, data: xc.validate_store(path, deep="no"),
    "ModelWriter": lambda xc, path, data: xc.ModelWriter(
        path, "vision", "net", ["s1"], 3, restart="no"
    ),
    "extract": lambda xc, path, data: xc.extract(
        {"s1": "text"}, len, path, modality="v", restart="no"
    ),
    "load_network": lambda xc, path, data: xc.load_network(len, download="no"),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_a_word_is_no_switch(tmp_path, data, name):
    """``overwrite="no"`` would overwrite."""
    xc.create_store(tmp_path / "study.zarr")
    path = tmp_path if name == "write_npz" else tmp_path / "study.zarr"
    with pytest.raises(TypeError, match="(overwrite|deep|restart|download) must be True or.*'no'"):
        FLAGGED[name](xc, path, data)


def test_figures_say_what_they_were_given(data):
    plot = pytest.importorskip("xconverge.plot")
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    effect = xc.modulation(
        data["spread"], data["agreement"], n_bins=2, n_permutations=9, rng=0, null="labels"
    )
    several = xr.concat([effect, effect], "measure", data_vars="all").assign_coords(
        measure=["one", "other"]
    )
    table = xr.Dataset({"rsa": 0.5})
    _, axes = plt.subplots(1, 2)
    for function, given, error, came in (
        (plot.alignment_by_bin, data["a"], TypeError, "effects.*modulation.*DataArray"),
        (plot.alignment_by_bin, {}, ValueError, "effects is empty"),
        (plot.alignment_by_bin, {"x": several}, xc.SchemaError, r"effects\['x'\].*'measure'"),
        (plot.alignment_by_bin, {"x": table}, xc.SchemaError, r"modulation.*Dataset of 'rsa'"),
        (plot.alignment_matrix, effect, TypeError, "scores.*choose one of its variables"),
        (plot.alignment_matrix, data["a"], xc.SchemaError, "scores.*'model_a'"),
        (plot.alignment_matrix, data["agreement"].expand_dims(t=2), xc.SchemaError, "scores.*'t'"),
        (plot.rsa_by_bin, effect, xc.SchemaError, "result.*analyze.*'correlation'"),
        (plot.rsa_by_bin, data["a"], TypeError, "result.*DataArray"),
        (plot.models_by_subset, table, xc.SchemaError, "table.*select_models"),
        (plot.models_by_subset, [1], TypeError, "table.*list"),
    ):
        with pytest.raises(error, match=f"(?s){came}"):
            function(given)
    with pytest.raises(TypeError, match=r"ax must be one Axes.*numpy\.ndarray of the shape \(2,\)"):
        plot.alignment_matrix(data["agreement"], ax=axes)
    with pytest.raises(ValueError, match="no picture of 'dog'"):
        plot.stimuli({"cat": np.zeros((2, 2))}, {"low": ["dog"]})
    # a group of a saved study is a table too
    tree = xr.DataTree.from_dict({"modulation": effect})
    assert plot.alignment_by_bin({"x": tree["modulation"]}, ax=axes[0]) is axes[0]
    plt.close("all")


@pytest.mark.slow
def test_models_that_saw_nothing_give_no_number(data):
    """An error, or NaN with a warning; never a number, nor words of numpy."""
    nothing = xr.full_like(data["shared"], np.nan)
    calls = {
        "alignment": {"a": nothing, "b": data["b"], "k": 3},
        "alignment cka": {"a": nothing, "b": data["b"], "metric": "cka"},
        "alignment svcca": {"a": nothing, "b": data["b"], "metric": "svcca"},
        "alignment procrustes": {"a": nothing, "b": data["b"], "metric": "procrustes"},
        "alignment rsa": {"a": nothing, "b": data["b"], "metric": "rsa"},
        "dispersion": {"reps": nothing},
        "dispersion neighborhood": {"reps": nothing, "metric": "neighborhood", "k": 3},
        "dispersion_bins": {"dispersion": nothing[0, :, 0]},
        "local_density": {"reps": nothing, "k": 3},
        "rdm": {"reps": nothing},
        "center": {"reps": nothing},
        "pca": {"reps": nothing, "n_components": 2},
        "stimulus_norm": {"reps": nothing},
        "shared_space": {"reps": nothing},
    }
    for name, arguments in calls.items():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            text = fault(name, arguments, "")
            if text is None:
                continue
            assert text == "no error", (name, text)
            result = getattr(xc, name.split()[0])(**arguments)
        # of bins -1 says that a stimulus is in none
        nothing_there = result == -1 if name == "dispersion_bins" else result.isnull()
        assert nothing_there.all(), name
        assert all(issubclass(one.category, RuntimeWarning) for one in told), name
        assert not any("numpy" in str(one.filename) for one in told), name


def messages():
    """File, line, text: every piece of text in the package that is no docstring."""
    for path in sorted(Path(PACKAGE).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = getattr(node, "value", None)
            if isinstance(node, ast.JoinedStr):
                pieces = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                yield path, node.lineno, "".join(pieces)
            elif isinstance(node, ast.Constant) and isinstance(text, str) and id(node) not in docs:
                yield path, node.lineno, text


PUBLIC = {name: getattr(xc, name) for name in xc.__all__} | {
    name: getattr(xc.io, name) for name in xc.io.__all__
}
METHODS = (xr.DataArray, xr.Dataset, xr.DataTree, pd.Series, pd.Index, np.ndarray, da.Array, str)
KEYWORDS = {
    keyword
    for call in (
        *PUBLIC.values(),
        *(getattr(xc.plot, name) for name in xc.plot.__all__),
        xc.report.write,
        xr.DataArray.isel,
    )
    if not isinstance(call, type) or call is xc.ModelWriter
    for keyword in inspect.signature(call).parameters
} | {
    *CONSTRAINTS,
    "dims",
    "coords",
    "num_workers",
    *(option for call in CALLS.values() for option in call),
}


OTHERS = {
    "set", "save", "to_dense", "contiguous", "normalize", "toarray", "todense", "decode",
    "read_h5ad", "decimate", "math_img",
}  # fmt: skip
"""Methods of dask.config, rsatoolbox, torch, unicodedata, scipy.sparse, sparse, bytes, anndata,
mne and nilearn.
"""
THEIRS = {"coords", "num_workers", "backed", "img", "interpolation"}
"""Keywords of xarray, dask, anndata and nilearn."""
DIMS = {"model", "stimulus", "feature", "component", "subject"}


def unknown_names(text):
    """What a text names that is not there: functions, keywords in a call, methods."""
    for name in re.findall(r"xconverge\.((?:io\.|plot\.)?[a-z]\w*)", text):
        top, _, below = name.partition(".")
        if top in ("sklearn", "torch"):
            continue  # not everybody has it
        # a subpackage is an attribute once somebody has imported it
        with contextlib.suppress(ImportError):
            importlib.import_module(f"xconverge.{top}")
        if not hasattr(xc, top) or (below and not hasattr(getattr(xc, top), below)):
            yield f"xconverge.{name}"
    for name, inside in re.findall(
        r"(?:(?<=xconverge\.)|(?<![\w.]))([a-z]+_[a-z_]+)\(([^()]*)", text
    ):
        if name not in PUBLIC:
            yield f"{name}()"
            continue
        parameters = inspect.signature(PUBLIC[name]).parameters
        if not {"options", "constraints"} & set(parameters):
            yield from (f"{k}=" for k in re.findall(r"(\w+)=", inside) if k not in parameters)
    for name in re.findall(r"\.([a-z]\w+)\(", text):
        if not any(hasattr(kind, name) for kind in (*METHODS, xc, xc.io)) and name not in OTHERS:
            yield f".{name}()"


@pytest.mark.slow
def test_errors_and_advice_name_only_what_there_is():
    texts = list(messages())
    found = {
        f"{path.name}:{line}: {text!r}": list(unknown_names(text))
        for path, line, text in texts
        if path.parent.name != "cli"
    }
    assert not {where: names for where, names in found.items() if names}
    # the words that are looked for are there, and would be missed
    assert sum("xconverge." in text for _, _, text in texts) > 30
    assert list(unknown_names("use xconverge.no_such, or .no_such(), or no_such(x)")) == [
        "xconverge.no_such", "no_such()", ".no_such()",
    ]  # fmt: skip
    assert list(unknown_names("xconverge.from_xarray(array, subject='…')")) == ["subject="]
    assert "xconverge.io.open_graphs" in unknown_names("xconverge.io.open_graphs(path)")


@pytest.mark.slow
def test_keywords_that_errors_advise_are_arguments():
    """``missing='keep'``: in the text of what is raised or warned, a keyword with a value."""
    found = set()
    for path, line, text in messages():
        if path.parent.name not in ("cli", "torch") and path.name != "sklearn.py":
            for name in re.findall(r"(?<![\w{.])([a-z_]+)=(?:'[a-z]+'|True|False|None|…)", text):
                found.add(name)
                assert name in KEYWORDS | DIMS | THEIRS | {"dims"}, (
                    path,
                    line,
                    text,
                )
    assert len(found) > 15
