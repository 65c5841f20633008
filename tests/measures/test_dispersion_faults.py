"""Dispersion of faulty, empty and degenerate sets."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.helpers import make_reps, shuffled
from tests.measures.spread import (
    COORDINATE,
    EVERY,
    options,
    truth,
    with_rows,
)
from xconverge import SchemaError, dispersion

# --- degenerate inputs -----------------------------------------------------------------------


@pytest.mark.parametrize("metric", EVERY)
def test_one_model_is_an_error_that_names_it(metric):
    with pytest.raises(SchemaError, match="at least 2 models.*net0"):
        dispersion(make_reps(1), metric, **options(metric))


@pytest.mark.parametrize("metric", COORDINATE)
@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_stimuli_are_enough_for_coordinates(metric, n):
    reps = make_reps(3, n)
    np.testing.assert_allclose(dispersion(reps, metric), truth(reps, metric), rtol=1e-10)


def test_one_stimulus_has_no_neighbors():
    with pytest.raises(ValueError, match="k=1.*at least 2 stimuli.*1"):
        dispersion(make_reps(3, 1), "neighborhood", k=1)


def test_two_stimuli_are_each_others_neighbors():
    np.testing.assert_array_equal(dispersion(make_reps(3, 2), "neighborhood", k=1), 0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_stimuli_for_rdm_rows_are_nan_with_a_warning(n):
    with pytest.warns(RuntimeWarning, match="at least 4 stimuli"):
        result = dispersion(make_reps(3, n), "rdm")
    assert np.isnan(result).all()


@pytest.mark.parametrize("chunks", [None, {"model": 1, "stimulus": 4}])
@pytest.mark.parametrize("metric", ["correlation", "rdm"])
def test_constant_rows_are_named(metric, chunks):
    reps = with_rows(make_reps(), {(1, 6): 3.7})
    label = reps.stimulus.values[6]
    reps = reps if chunks is None else reps.chunk(chunks)
    with pytest.raises(SchemaError, match=f"constant.*model 'net1', stimulus '{label}'"):
        dispersion(reps, metric).compute()


@pytest.mark.parametrize("chunks", [None, {"model": 1, "stimulus": 4}])
@pytest.mark.parametrize("metric", ["cosine", "neighborhood"])
def test_zero_vectors_are_named(metric, chunks):
    reps = with_rows(make_reps(), {(1, 6): 0.0, (3, 2): 0.0})
    labels = reps.stimulus.values
    reps = reps if chunks is None else reps.chunk(chunks)
    with pytest.raises(SchemaError, match="zero vector") as caught:
        dispersion(reps, metric, **options(metric)).compute()
    named = [f"model 'net1', stimulus '{labels[6]}'", f"model 'net3', stimulus '{labels[2]}'"]
    assert any(name in str(caught.value) for name in named)
    if chunks is None and metric == "cosine":
        assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "consensus"])
def test_zero_vectors_have_a_distance(metric):
    reps = with_rows(make_reps(), {(1, 6): 0.0})
    np.testing.assert_allclose(dispersion(reps, metric), truth(reps, metric), rtol=1e-10)


@pytest.mark.slow_after(16)
@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", EVERY)
def test_faults_inside_a_row_are_named(metric, fault, pairwise):
    if pairwise and metric == "consensus":
        pytest.skip("has no pairs")
    reps = make_reps()
    values = reps.values.copy()
    values[2, 7, 3] = fault
    label = reps.stimulus.values[7]
    with pytest.raises(SchemaError, match=f"model 'net2', stimulus '{label}'"):
        dispersion(reps.copy(data=values), metric, pairwise=pairwise, **options(metric))


@pytest.mark.parametrize("metric", ["neighborhood", "rdm"])
def test_nan_in_the_real_part_of_a_padded_row_is_named(metric):
    reps = make_reps(widths=[6, 9, 4, 7])
    reps.values[2, 7, 3] = np.nan
    with pytest.raises(SchemaError, match="net2"):
        dispersion(reps, metric, **options(metric))


@pytest.mark.parametrize("dim", ["model", "stimulus"])
def test_duplicate_labels_are_named(dim):
    reps = make_reps()
    labels = reps[dim].values.copy()
    labels[1] = labels[0]
    with pytest.raises(SchemaError, match=f"duplicate labels on '{dim}': '{labels[0]}'"):
        dispersion(reps.assign_coords({dim: labels}))


@pytest.mark.parametrize("dim", ["model", "stimulus"])
def test_no_labels_is_an_error(dim):
    with pytest.raises(SchemaError, match=f"no labels on '{dim}'"):
        dispersion(make_reps().reset_index(dim).drop_vars(dim))


@pytest.mark.parametrize("dim", ["model", "stimulus", "feature"])
def test_an_empty_set_is_an_error(dim):
    with pytest.raises(SchemaError, match=f"empty: '{dim}'"):
        dispersion(make_reps().isel({dim: slice(0)}))


@pytest.mark.parametrize("saw", [1, 3])
def test_a_model_with_too_few_neighbors_has_no_part_in_it(saw):
    reps = make_reps(4, 8, missing=[(1, s) for s in range(saw, 8)])
    expected = dispersion(reps.isel(model=[0, 2, 3]), "neighborhood", k=3)
    with pytest.warns(RuntimeWarning, match=f"at least 4 stimuli.*that share {saw} have none"):
        result = dispersion(reps, "neighborhood", k=3)
    np.testing.assert_allclose(result, expected, atol=1e-15)
    assert result["n_models"].values.tolist() == [4] * saw + [3] * (8 - saw)
    with pytest.warns(RuntimeWarning):
        without = dispersion(reps, "neighborhood", k=3, leave_out="model")
    one = dispersion(reps.isel(model=[2, 3]), "neighborhood", k=3)
    np.testing.assert_allclose(without[0], one, atol=1e-15)
    np.testing.assert_allclose(without[1], expected, atol=1e-15)


@pytest.mark.parametrize("metric", [*COORDINATE, "rdm"])
def test_a_model_that_saw_nothing_drops_out(metric):
    reps = make_reps(missing=[(1, s) for s in range(12)])
    others = reps.sel(model=["net0", "net2", "net3"])
    result = dispersion(reps, metric)
    np.testing.assert_allclose(result, dispersion(others, metric), rtol=1e-12)
    assert (result.n_models == 3).all()


def test_stimuli_that_nobody_saw_are_nan():
    reps = make_reps(missing=[(m, 2) for m in range(4)])
    for metric in EVERY:
        result = dispersion(reps, metric, **options(metric))
        assert np.isnan(result[2])
        assert result.n_models[2] == 0
        assert np.isfinite(np.delete(result.values, 2)).all()


def test_all_rows_equal_within_a_model():
    reps = make_reps(3, 6)
    same = reps.copy(data=np.broadcast_to(reps.values[:, :1], reps.shape).copy())
    assert np.ptp(dispersion(same).values) < 1e-14
    np.testing.assert_array_equal(dispersion(same, "neighborhood", k=2), 0)
    with pytest.warns(RuntimeWarning, match="none that differ"):
        assert np.isnan(dispersion(same, "rdm")).all()


def test_all_rows_equal_in_one_model_still_counts_it():
    reps = make_reps(3, 8)
    same = with_rows(reps, {(0, s): reps.values[0, 0] for s in range(8)})
    with pytest.warns(RuntimeWarning):
        result = dispersion(same, "rdm")
    assert (result.n_models == 3).all()


def test_ties_go_to_the_label_that_sorts_first():
    reps = make_reps(2, 12, 4, noise=1.0)
    values = reps.values.copy()
    values[0, 3:11] = values[0, 3]
    tied = reps.copy(data=values)
    expected = truth(tied, "neighborhood")
    np.testing.assert_allclose(dispersion(tied, "neighborhood", k=3), expected, atol=1e-12)
    turned = dispersion(shuffled(tied, 5), "neighborhood", k=3)
    np.testing.assert_array_equal(turned.sel(stimulus=tied.stimulus), expected)


@pytest.mark.parametrize("metric", EVERY)
def test_integer_labels_are_labels(metric):
    reps = make_reps()
    numbers = [int(label[1:]) for label in reps.stimulus.values]
    result = dispersion(reps.assign_coords(stimulus=numbers), metric, **options(metric))
    assert result.stimulus.values.tolist() == [str(number) for number in numbers]
    np.testing.assert_array_equal(result, dispersion(reps, metric, **options(metric)))


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 4, 5)), None, "study.zarr", make_reps().to_dataset()]
)
def test_other_types_are_refused(wrong):
    with pytest.raises(TypeError, match="xarray.DataArray"):
        dispersion(wrong)


def test_unnamed_dims_are_refused():
    with pytest.raises(SchemaError, match="'model', 'stimulus', 'feature'.*missing"):
        dispersion(xr.DataArray(np.zeros((3, 4, 5))))


@pytest.mark.parametrize("dtype", [complex, object, "U3"])
def test_other_dtypes_are_refused(dtype):
    reps = make_reps()
    with pytest.raises(SchemaError, match="real numbers"):
        dispersion(reps.copy(data=reps.values.astype(dtype)))


@pytest.mark.parametrize("width", [0, 7, 2.5, np.nan])
def test_widths_out_of_range_are_refused(width):
    reps = make_reps().assign_coords(n_features=("model", [6, 6, 6, width]))
    with pytest.raises(SchemaError, match="n_features.*net3"):
        dispersion(reps)
