"""Dispersion against plain loops: numbers, arguments, labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import xconverge as xc
from tests import oracles
from tests.helpers import make_reps, shuffled
from tests.measures.spread import (
    BASIS_FREE,
    COORDINATE,
    EVERY,
    GAPS,
    PAIRED,
    TOLERANCE,
    options,
    truth,
)
from xconverge import SchemaError, UnalignedSpaceWarning, dispersion
from xconverge.kernels.budgets import BUDGETS


def agreeing_reps(target, dtype, n_models=5, n_stimuli=6, width=32):
    """Every pair of models at this cosine distance, for every stimulus."""
    rng = np.random.default_rng(1)
    reps = make_reps(n_models, n_stimuli, width)
    values = np.empty(reps.shape)
    for i in range(n_stimuli):
        q, _ = np.linalg.qr(rng.standard_normal((width, n_models + 1)))
        rows = np.sqrt(1 - target) * q[:, 0] + np.sqrt(target) * q[:, 1:].T
        values[:, i] = rows * rng.uniform(1, 9, (n_models, 1))
    return reps.copy(data=values.astype(dtype))


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.usefixtures("machine_code")
@pytest.mark.slow_after(4)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("metric", EVERY)
def test_equals_the_formula(metric, dtype):
    reps = make_reps(dtype=dtype, seed=3)
    result = dispersion(reps, metric, **options(metric))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, truth(reps, metric), rtol=TOLERANCE[dtype])


@pytest.mark.usefixtures("machine_code")
@pytest.mark.slow_after(6)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", EVERY)
def test_missing_rows_drop_out(metric, dtype):
    reps = make_reps(missing=GAPS, dtype=dtype)
    result = dispersion(reps, metric, **options(metric))
    np.testing.assert_allclose(result, truth(reps, metric), rtol=TOLERANCE[dtype])
    assert np.isnan(result[1])
    np.testing.assert_array_equal(result.n_models, (~np.isnan(reps.values).all(2)).sum(0))


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("metric", BASIS_FREE)
def test_different_widths_are_read_up_to_n_features(metric, pairwise):
    widths = [6, 9, 4, 7]
    reps = make_reps(widths=widths, missing=GAPS, shared=False)
    pairs = (
        oracles.pair_rdm(reps.values, widths=widths)
        if metric == "rdm"
        else oracles.pair_neighborhood(reps.values, reps.stimulus.values, 3, widths)
    )
    result = dispersion(reps, metric, pairwise=pairwise, **options(metric))
    expected = pairs if pairwise else oracles.mean_of_pairs(pairs)
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=6)
@given(gone=arrays.arrays(bool, (4, 9), elements=st.booleans()))
def test_neighborhood_with_any_missing_rows_by_plain_loops(gone):
    gone[:, :4] = False  # k and one more in every model
    reps = make_reps(4, 9, 6, missing=np.argwhere(gone).tolist())
    x, labels = reps.values, reps.stimulus.values
    pairs = oracles.pair_neighborhood(x, labels, 3)
    found = dispersion(reps, "neighborhood", k=3)
    np.testing.assert_allclose(found, oracles.mean_of_pairs(pairs), atol=1e-12)
    np.testing.assert_allclose(dispersion(reps, "neighborhood", k=3, pairwise=True), pairs)
    for out in ("model", "family"):
        without = oracles.neighborhood_without(x, labels, 3, reps[out].values.tolist())
        found = dispersion(reps, "neighborhood", k=3, leave_out=out)
        np.testing.assert_allclose(found, without, atol=1e-12)


def test_copies_that_miss_rows_have_no_neighborhood_dispersion():
    reps = make_reps(3, 16, noise=0.0, missing=[(1, s) for s in range(8)])
    np.testing.assert_array_equal(dispersion(reps, "neighborhood", k=3), 0)


@pytest.mark.parametrize("rdm_metric", PAIRED)
def test_rdm_metric(rdm_metric):
    reps = make_reps(missing=GAPS)
    expected = oracles.mean_of_pairs(oracles.pair_rdm(reps.values, rdm_metric))
    np.testing.assert_allclose(dispersion(reps, "rdm", rdm_metric=rdm_metric), expected, rtol=1e-9)


@pytest.mark.parametrize("metric", EVERY)
def test_equal_padding_changes_nothing(metric):
    reps = make_reps(widths=5)
    padded = reps.pad(feature=(0, 3)).assign_coords(n_features=("model", [5] * 4))
    expected = dispersion(reps, metric, **options(metric))
    found = dispersion(padded, metric, **options(metric))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairwise_equals_the_formula(metric, dtype):
    reps = make_reps(missing=GAPS, dtype=dtype)
    result = dispersion(reps, metric, pairwise=True)
    expected = oracles.pair_dispersion(reps.values, metric)
    assert result.dims == ("model", "model_2", "stimulus")
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=1e-14)
    assert (result.values[range(4), range(4)][~np.isnan(reps.values[..., 0])] == 0).all()


@pytest.mark.parametrize("metric", EVERY)
def test_extra_dims_are_mapped_over(metric):
    reps = make_reps(3, 8, extra={"layer": 2, "time_bin": 2}, missing=[(0, 2)])
    result = dispersion(reps, metric, **options(metric))
    assert set(result.dims) == {"layer", "time_bin", "stimulus"}
    for at in ({"layer": "layer0", "time_bin": "time_bin1"}, {"layer": "layer1"}):
        here, one = reps.sel(at), result.sel(at)
        expected = dispersion(here, metric, **options(metric)).transpose(*one.dims)
        np.testing.assert_allclose(one, expected, rtol=1e-12)


@pytest.mark.parametrize("metric", EVERY)
def test_position_of_dims_does_not_matter(metric):
    reps = make_reps(3, 8, extra={"layer": 2})
    turned = reps.transpose("feature", "stimulus", "layer", "model")
    expected = dispersion(reps, metric, **options(metric))
    result = dispersion(turned, metric, **options(metric)).transpose(*expected.dims)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["output", "neighbor", "model_2"])
@pytest.mark.parametrize("metric", ["cosine", "neighborhood"])
def test_an_extra_dim_may_have_any_name(metric, name):
    reps = make_reps(3, 6, extra={name: 2})
    result = dispersion(reps, metric, **options(metric))
    expected = dispersion(reps.isel({name: 1}), metric, **options(metric))
    np.testing.assert_allclose(result.isel({name: 1}), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", EVERY)
def test_other_dim_names_are_brought_in_at_the_door(metric):
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = make_reps()
    renamed = xc.from_xarray(reps.rename(names), **names)
    found = dispersion(renamed, metric, **options(metric))
    assert found.dims == ("stimulus",)
    np.testing.assert_array_equal(found, dispersion(reps, metric, **options(metric)))
    with pytest.raises(SchemaError, match="from_xarray"):
        dispersion(reps.rename(names), metric)


def test_other_dim_names_are_brought_in_at_the_door_for_pairs():
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = make_reps()
    result = dispersion(xc.from_xarray(reps.rename(names), **names), pairwise=True)
    assert result.dims == ("model", "model_2", "stimulus")
    np.testing.assert_array_equal(result, dispersion(reps, pairwise=True))


@pytest.mark.slow_after(5)
@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("dim", ["stimulus", "model"])
def test_order_changes_no_number(metric, dim):
    reps = make_reps(5, 14, missing=GAPS)
    first = dispersion(reps, metric, **options(metric))
    second = dispersion(shuffled(reps, 7, dim), metric, **options(metric))
    np.testing.assert_allclose(second.sel(stimulus=first.stimulus), first, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=[0, 2**28], ids=["states", "rows"])
def held(request, monkeypatch):
    """Chunks of models are merged as states, or held together."""
    monkeypatch.setattr(BUDGETS, "all_models", request.param)


@pytest.mark.slow_after(1)
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("target", [4e-4, 1e-8])
@pytest.mark.parametrize("metric", ["cosine", "correlation"])
@pytest.mark.parametrize("chunks", [None, {"model": -1}, {"model": 1}, {"model": 2}])
def test_nearly_agreeing_models_in_float32(metric, target, chunks):
    reps = agreeing_reps(target, np.float32)
    expected = oracles.agreeing(reps.values, metric)
    assert 0.5 * target < expected.mean() < 2 * target
    result = dispersion(reps if chunks is None else reps.chunk(chunks), metric)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.usefixtures("machine_code")
@pytest.mark.slow_after(1)
@pytest.mark.parametrize("spread", [3.0, 1.0, 0.5, 0.3, 0.1, 0.05, 0.03, 0.01])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus"])
@pytest.mark.parametrize("chunks", [None, {"model": 2}])
def test_single_precision_keeps_six_digits_at_any_agreement(metric, spread, chunks):
    """Sums are taken in single precision only where their difference keeps its digits."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((50, 64)) + 0.3
    values = (base + spread * rng.standard_normal((9, 50, 64))).astype(np.float32)
    reps = make_reps(9, 50, 64, dtype="float32").copy(data=values)
    expected = truth(reps, metric)
    found = dispersion(reps if chunks is None else reps.chunk(chunks), metric)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("power", [-40, -12, 12, 18])
def test_single_precision_of_any_size(power):
    """Squares that leave the range of single precision are taken in double."""
    reps = make_reps(5, 8, 16, dtype="float32")
    tiny = reps * np.float32(10.0**power)
    found, expected = dispersion(tiny.assign_attrs(reps.attrs)), dispersion(tiny.astype(float))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("target", [4e-4, 1e-8])
@pytest.mark.parametrize("chunks", [None, {"model": 1}])
def test_nearly_agreeing_models_in_float64(target, chunks):
    reps = agreeing_reps(target, np.float64)
    reps = reps if chunks is None else reps.chunk(chunks)
    np.testing.assert_allclose(dispersion(reps), target, rtol=1e-8)
    np.testing.assert_allclose(dispersion(reps), oracles.agreeing(reps.values, "cosine"), rtol=1e-9)
    np.testing.assert_allclose(
        dispersion(reps, pairwise=True).isel(model=0, model_2=1), target, rtol=1e-8
    )


@pytest.mark.slow_after(6)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "correlation", "consensus"])
@pytest.mark.parametrize("chunks", [None, {"model": 1}, {"model": 3, "stimulus": 5}])
def test_an_offset_costs_no_digits(metric, dtype, chunks):
    reps = make_reps(6, 12, 16, offset=1e4, dtype=dtype)
    expected = truth(reps, metric)
    result = dispersion(reps if chunks is None else reps.chunk(chunks), metric)
    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == "float32" else 1e-9)


def test_bounds_are_reached():
    values = np.array([[[1.0, 0.0]], [[-1.0, 0.0]]])
    reps = make_reps(2, 1, 2).copy(data=values)
    assert dispersion(reps).item() == 2.0
    assert dispersion(reps, "sqeuclidean").item() == 4.0
    assert dispersion(reps, "euclidean").item() == 2.0
    assert dispersion(reps, "consensus").item() == pytest.approx(np.sqrt(2), rel=1e-15)


def test_cosine_stays_below_m_over_m_minus_1():
    eye = np.eye(3) - 1 / 3
    reps = make_reps(3, 1, 3).copy(data=eye[:, None, :])
    assert dispersion(reps).item() == pytest.approx(1.5, rel=1e-12)


def test_models_that_agree_have_none():
    reps = make_reps(4, 12, noise=0.0)
    for metric in EVERY:
        result = dispersion(reps, metric, **options(metric))
        np.testing.assert_allclose(result, 0, atol=1e-12)
        assert (result >= -1e-15).all()


def test_scale_of_models_does_not_enter_cosine():
    reps = make_reps()
    scaled = reps * xr.DataArray([1.0, 1e-3, 1e6, 7.0], dims="model")
    scaled.attrs = reps.attrs
    np.testing.assert_allclose(dispersion(scaled), dispersion(reps), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_very_small_and_very_large_vectors_have_a_direction(scale):
    reps = make_reps()
    scaled = reps.copy(data=reps.values * scale)
    np.testing.assert_allclose(dispersion(scaled), dispersion(reps), rtol=1e-10)


# --- stimuli that few models saw -------------------------------------------------------------


def equal_noise(n=240, models=6, width=40, share=0.5):
    """One signal, noise of one size everywhere, rows missing at random; two models at least."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, width))
    reps = make_reps(models, n, width)
    gone = rng.random((models, n)) < share
    few = (~gone).sum(0) < 2
    gone[:2, few] = False
    values = x + rng.standard_normal(reps.shape)
    values[gone] = np.nan
    return reps.copy(data=values)


FEW_OR_MANY = [
    *((metric, {}) for metric in EVERY),
    ("consensus", {"normalize": True}),
    ("sqeuclidean", {"normalize": True}),
]


@pytest.mark.parametrize(("metric", "more"), FEW_OR_MANY)
def test_dispersion_does_not_depend_on_how_many_models_saw_a_stimulus(metric, more):
    reps = equal_noise()
    if metric == "correlation":
        reps = reps.copy(data=reps.values + 1)
    spread = dispersion(reps, metric, **options(metric), **more)
    assert_alike_for_few_and_many(spread.values, spread.n_models.values)


@pytest.mark.parametrize("metric", ["consensus", "cosine"])
def test_dispersion_of_the_others_does_not_either(metric):
    spread = dispersion(equal_noise(), metric, leave_out="model")
    for one in spread.transpose("model", "stimulus"):
        assert_alike_for_few_and_many(one.values, one.n_models.values)


def test_neither_in_a_shared_space_nor_in_what_is_chosen_by_it():
    reps = equal_noise(width=8)
    reps = reps.assign_attrs(space=None)
    for more in ({}, {"folds": 4, "rng": 0}):
        aligned = xc.shared_space(reps, tolerance=1e-5, **more)["aligned"]
        spread = dispersion(aligned, "consensus")
        assert_alike_for_few_and_many(spread.values, spread.n_models.values)
        mean = float(spread.n_models.mean())
        chosen = xc.select_stimuli(spread, 60, "low")
        assert float(chosen["n_models"].mean()) == pytest.approx(mean, abs=0.45)
        kept = xc.exclude_high_dispersion(spread, spread, 0.3)
        assert float(kept["n_models"].mean()) == pytest.approx(mean, abs=0.3)


def assert_alike_for_few_and_many(values, count):
    few, many = values[(count > 1) & (count < 4)], values[count > 3]
    error = np.hypot(few.std() / len(few) ** 0.5, many.std() / len(many) ** 0.5)
    # roots of few squares are a little low: 1 - 1/(4 d (M - 1)) of the truth
    assert abs(few.mean() - many.mean()) < 3 * error + 0.015 * many.mean()


# --- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "consensus"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
def test_normalize_divides_by_the_mean_squared_norm(metric, dtype):
    reps = make_reps(dtype=dtype, missing=GAPS if dtype.startswith("f") else 0.0)
    square = oracles.mean_square_norm(reps.values)
    expected = truth(reps, metric) / (square if metric == "sqeuclidean" else np.sqrt(square))
    result = dispersion(reps, metric, normalize=True)
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "consensus"])
def test_normalized_dispersion_is_free_of_scale(metric):
    reps = make_reps()
    larger = reps.copy(data=reps.values * 7)
    np.testing.assert_allclose(
        dispersion(larger, metric, normalize=True), dispersion(reps, metric, normalize=True)
    )
    assert not np.allclose(dispersion(larger, metric), dispersion(reps, metric))


@pytest.mark.parametrize("metric", EVERY)
def test_min_models(metric):
    reps = make_reps(missing=GAPS)
    plain = dispersion(reps, metric, **options(metric))
    strict = dispersion(reps, metric, min_models=4, **options(metric))
    enough = plain.n_models.values >= 4
    assert 0 < enough.sum() < reps.sizes["stimulus"]
    np.testing.assert_array_equal(strict[enough], plain[enough])
    assert np.isnan(strict[~enough]).all()
    np.testing.assert_array_equal(strict.n_models, plain.n_models)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric": "cosin"}, "cosin.*choose one of.*cosine"),
        ({"min_models": 1}, "min_models=1"),
        ({"metric": "consensus", "pairwise": True}, "no pairs"),
        ({"metric": "rdm", "normalize": True}, "normalize"),
        ({"pairwise": True, "normalize": True}, "normalize"),
        ({"metric": "neighborhood", "k": 0}, "k=0"),
        ({"metric": "neighborhood", "k": 12}, "k=12.*13 stimuli.*12"),
        ({"metric": "rdm", "rdm_metric": "manhattan"}, "rdm_metric='manhattan'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        dispersion(make_reps(), **arguments)


# --- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", EVERY)
def test_coordinates_of_stimuli_survive(metric):
    reps = make_reps()
    result = dispersion(reps, metric, **options(metric))
    for name in ("stimulus", "category", "caption"):
        xr.testing.assert_equal(result[name].drop_vars("n_models"), reps[name])
    assert set(result.coords) == {"stimulus", "category", "caption", "n_models"}


@pytest.mark.parametrize("metric", [*PAIRED, *BASIS_FREE])
def test_pairwise_carries_the_coordinates_of_both_models(metric):
    reps = make_reps()
    result = dispersion(reps, metric, pairwise=True, **options(metric))
    assert result.dims == ("model", "model_2", "stimulus")
    for suffix in ("", "_2"):
        assert result[f"model{suffix}"].values.tolist() == reps.model.values.tolist()
        assert result[f"family{suffix}"].dims == (f"model{suffix}",)
        assert result[f"family{suffix}"].values.tolist() == reps.family.values.tolist()
    assert result.category.values.tolist() == reps.category.values.tolist()


@pytest.mark.parametrize("metric", EVERY)
def test_result_says_what_it_is(metric):
    result = dispersion(make_reps(), metric, **options(metric))
    assert result.name == "dispersion"
    assert result.attrs["kind"] == "distance"
    assert result.attrs["metric"] == metric
    assert result.attrs["modality"] == "vision"
    assert result.attrs["xconverge_version"] == xc.__version__
    assert result.attrs["min_models"] == 2
    assert result.attrs.get("k") == (3 if metric == "neighborhood" else None)
    assert result.n_models.attrs["kind"] == "count"
    assert result.n_models.dtype.kind == "i"


@pytest.mark.parametrize("metric", COORDINATE)
def test_unmarked_features_warn(metric):
    with pytest.warns(UnalignedSpaceWarning, match="shared_space"):
        dispersion(make_reps(shared=False), metric)


def test_the_warning_points_to_the_call():
    with pytest.warns(UnalignedSpaceWarning) as caught:
        dispersion(make_reps(shared=False))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("metric", BASIS_FREE)
def test_basis_free_metrics_do_not_warn(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = dispersion(make_reps(shared=False), metric, **options(metric))
    np.testing.assert_array_equal(result, dispersion(make_reps(), metric, **options(metric)))


def test_components_do_not_warn():
    reps = make_reps(shared=False).rename(feature="component")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = dispersion(reps)
    np.testing.assert_array_equal(result, dispersion(make_reps()))


@pytest.mark.parametrize("metric", COORDINATE)
def test_differing_widths_are_refused_by_name(metric):
    with pytest.raises(SchemaError, match=r"net0.*net3.*shared_space"):
        dispersion(make_reps(widths=[6, 9, 4, 7]), metric)
