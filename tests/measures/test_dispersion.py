from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge import SchemaError, UnalignedSpaceWarning, dispersion

PAIRED = ["cosine", "correlation", "euclidean", "sqeuclidean"]
COORDINATE = [*PAIRED, "consensus"]
BASIS_FREE = ["neighborhood", "rdm"]
EVERY = [*COORDINATE, *BASIS_FREE]
TOLERANCE = {"float16": 1e-6, "float32": 1e-6, "float64": 1e-10, "int16": 1e-10, "int64": 1e-10}
GAPS = [(0, 1), (1, 1), (2, 1), (0, 3), (3, 5)]
"""Rows that are missing: stimulus 1 is left with one model of four."""


def options(metric):
    return {"k": 3} if metric == "neighborhood" else {}


def truth(reps, metric, n_features=None):
    x, labels = reps.values, reps.stimulus.values
    if metric == "consensus":
        return oracles.consensus(x)
    if metric == "neighborhood":
        return oracles.mean_of_pairs(oracles.pair_neighborhood(x, labels, 3, n_features))
    if metric == "rdm":
        return oracles.mean_of_pairs(oracles.pair_rdm(x, widths=n_features))
    return oracles.dispersion(x, metric)


def with_rows(reps, rows):
    """The set with rows replaced: {(model, stimulus): value}."""
    values = reps.values.copy()
    for (m, s), value in rows.items():
        values[m, s] = value
    return reps.copy(data=values)


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


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("metric", EVERY)
def test_equals_the_formula(metric, dtype):
    reps = make_reps(dtype=dtype, seed=3)
    result = dispersion(reps, metric, **options(metric))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, truth(reps, metric), rtol=TOLERANCE[dtype])


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
def test_custom_dim_names(metric):
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = make_reps()
    result = dispersion(reps.rename(names), metric, **names, **options(metric))
    assert result.dims == ("image",)
    np.testing.assert_array_equal(result, dispersion(reps, metric, **options(metric)))


def test_custom_dim_names_pairwise():
    names = {"model": "network", "stimulus": "image", "feature": "unit"}
    reps = make_reps()
    result = dispersion(reps.rename(names), pairwise=True, **names)
    assert result.dims == ("network", "network_2", "image")
    np.testing.assert_array_equal(result, dispersion(reps, pairwise=True))


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("dim", ["stimulus", "model"])
def test_order_changes_no_number(metric, dim):
    reps = make_reps(5, 14, missing=GAPS)
    first = dispersion(reps, metric, **options(metric))
    second = dispersion(shuffled(reps, 7, dim), metric, **options(metric))
    np.testing.assert_allclose(second.sel(stimulus=first.stimulus), first, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", [4e-4, 1e-8])
@pytest.mark.parametrize("metric", ["cosine", "correlation"])
@pytest.mark.parametrize("chunks", [None, {"model": -1}, {"model": 1}, {"model": 2}])
def test_nearly_agreeing_models_in_float32(metric, target, chunks):
    reps = agreeing_reps(target, np.float32)
    expected = oracles.agreeing(reps.values, metric)
    assert 0.5 * target < expected.mean() < 2 * target
    result = dispersion(reps if chunks is None else reps.chunk(chunks), metric)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


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


# --- lazily ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("metric", EVERY)
def test_nothing_is_computed_before_it_is_asked_for(metric, pairwise):
    if pairwise and metric == "consensus":
        pytest.skip("has no pairs")
    reps = make_reps(widths=[6, 6, 6, 6], missing=GAPS)
    lazy = reps.chunk(model=1, stimulus=5)
    assert lazy.n_features.chunks is not None
    assert lazy.category.chunks is not None
    with no_compute():
        result = dispersion(lazy, metric, pairwise=pairwise, **options(metric))
    assert result.chunks is not None
    expected = dispersion(reps, metric, pairwise=pairwise, **options(metric))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def test_normalize_is_lazy(raising_scheduler):
    assert dispersion(make_reps().chunk(), "euclidean", normalize=True).chunks is not None


@pytest.mark.parametrize("metric", BASIS_FREE)
def test_differing_widths_are_lazy(metric):
    reps = make_reps(widths=[6, 9, 4, 7])
    with no_compute():
        result = dispersion(reps.chunk(model=2, feature=3), metric, **options(metric))
    np.testing.assert_allclose(result, dispersion(reps, metric, **options(metric)), atol=1e-12)


@given(st.data())
@settings(max_examples=40)
def test_any_chunking_gives_the_same(data):
    metric = data.draw(st.sampled_from(EVERY))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    gaps = data.draw(st.sampled_from([[], GAPS]))
    reps = make_reps(5, 9, 6, missing=gaps, dtype=dtype, extra=data.draw(
        st.sampled_from([{}, {"layer": 2}])
    ))  # fmt: skip
    lazy = data.draw(chunked(reps))
    result = dispersion(lazy, metric, **options(metric))
    expected = dispersion(reps, metric, **options(metric))
    assert result.dims == expected.dims
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=1e-14)
    np.testing.assert_array_equal(result.n_models, expected.n_models)


@given(st.data())
@settings(max_examples=15)
def test_any_chunking_gives_the_same_pairs(data):
    metric = data.draw(st.sampled_from([*PAIRED, *BASIS_FREE]))
    reps = make_reps(4, 8, 6, missing=GAPS)
    result = dispersion(data.draw(chunked(reps)), metric, pairwise=True, **options(metric))
    expected = dispersion(reps, metric, pairwise=True, **options(metric))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus"])
def test_many_chunks_of_models_merge_in_a_tree(metric):
    reps = make_reps(40, 6, 5, missing=0.3)
    result = dispersion(reps.chunk(model=1), metric)
    np.testing.assert_allclose(result, dispersion(reps, metric), rtol=1e-12)


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("metric", EVERY)
def test_inputs_are_not_modified(metric, pairwise):
    if pairwise and metric == "consensus":
        pytest.skip("has no pairs")
    reps = read_only(make_reps(missing=GAPS))
    before, attrs, coords = reps.values.copy(), dict(reps.attrs), list(reps.coords)
    dispersion(reps, metric, pairwise=pairwise, **options(metric))
    dispersion(reps.chunk(model=2), metric, pairwise=pairwise, **options(metric)).compute()
    np.testing.assert_array_equal(reps.values, before)
    assert reps.attrs == attrs
    assert list(reps.coords) == coords
    assert reps.name == "representation"


def test_faults_are_named_when_computed():
    reps = with_rows(make_reps(), {(2, 4): np.inf}).chunk(model=1, stimulus=3)
    result = dispersion(reps)
    label = reps.stimulus.values[4]
    with pytest.raises(SchemaError, match=f"model 'net2', stimulus '{label}'"):
        result.compute()


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "neighborhood", "rdm"])
def test_threads_of_a_cluster_give_the_same(metric):
    distributed = pytest.importorskip("distributed")
    reps = make_reps(missing=GAPS)
    lazy = reps.chunk(model=1, stimulus=5)
    local = dispersion(lazy, metric, **options(metric)).compute()
    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        result = dispersion(lazy, metric, **options(metric)).compute()
    np.testing.assert_array_equal(result, local)


@pytest.mark.slow
def test_processes_of_a_cluster_give_the_same():
    distributed = pytest.importorskip("distributed")
    reps = make_reps(missing=GAPS)
    lazy = reps.chunk(model=1, stimulus=5)
    with (
        distributed.LocalCluster(
            processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        results = {m: dispersion(lazy, m, **options(m)).compute() for m in EVERY}
        with pytest.raises(SchemaError, match="net0"):
            dispersion(with_rows(make_reps(), {(0, 2): np.inf}).chunk(model=1)).compute()
    for metric, result in results.items():
        local = dispersion(lazy, metric, **options(metric)).compute(scheduler="synchronous")
        np.testing.assert_array_equal(result, local)


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
    with pytest.warns(RuntimeWarning, match="fewer than 3"):
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


def test_too_few_neighbors_in_one_model_names_it():
    reps = make_reps(3, 8, missing=[(1, s) for s in range(5)])
    with pytest.raises(SchemaError, match="'net1'.*k=3.*4 stimuli"):
        dispersion(reps, "neighborhood", k=3)


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
    assert result.stimulus.values.tolist() == numbers
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


# groups, and what is left when one is left out


EVERY = ["cosine", "correlation", "euclidean", "sqeuclidean", "consensus", "neighborhood", "rdm"]


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("out", ["model", "family"])
def test_leaving_out_is_the_dispersion_of_the_others(metric, out):
    reps = make_reps(5, 14, 5, missing=[(0, 3), (2, 3), (4, 3), (1, 6)])
    found = xc.dispersion(reps, metric, leave_out=out, k=3)
    assert found.dims == ("model", "stimulus")
    assert found.attrs["leave_out"] == out
    for model in reps["model"].values:
        group = reps[out].sel(model=model).item()
        others = xc.dispersion(reps.isel(model=reps[out].values != group), metric, k=3)
        np.testing.assert_allclose(found.sel(model=model), others, rtol=1e-9)
        np.testing.assert_array_equal(found["n_models"].sel(model=model), others["n_models"])


@pytest.mark.parametrize("metric", EVERY)
def test_by_group_is_the_dispersion_of_each(metric):
    reps = make_reps(5, 14, 5, missing=[(0, 3), (2, 3)])
    found = xc.dispersion(reps, metric, by="family", k=3)
    assert found.dims == ("family", "stimulus")
    for family in ("family0", "family1"):
        alone = xc.dispersion(reps.isel(model=reps["family"].values == family), metric, k=3)
        np.testing.assert_allclose(found.sel(family=family), alone)
        np.testing.assert_array_equal(found["n_models"].sel(family=family), alone["n_models"])


@pytest.mark.parametrize("options", [{"leave_out": "family"}, {"by": "family"}])
@given(data=st.data())
def test_groups_stay_lazy(options, data):
    reps = make_reps(4, 10, 5, missing=[(0, 3)])
    expected = xc.dispersion(reps, "consensus", **options)
    with no_compute():
        lazy = xc.dispersion(data.draw(chunked(reps)), "consensus", **options)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)


def test_groups_that_do_not_go_are_refused():
    reps = make_reps(3, 10, 5)
    for options, message in (
        ({"by": "family", "pairwise": True}, "exclude each other"),
        ({"leave_out": "model", "normalize": True}, "does not go with leave_out"),
        ({"leave_out": "genus"}, "'genus' must be a coordinate"),
        ({"by": "family"}, "at least 2 models in each; 'family1' has 1"),
    ):
        with pytest.raises(ValueError, match=message):
            xc.dispersion(reps, **options)
    alike = reps.assign_coords(family=("model", ["f"] * 3))
    with pytest.raises(xc.SchemaError, match="leaves no model"):
        xc.dispersion(alike, leave_out="family")
