"""RDMs against rsatoolbox, scipy and formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cityblock, pdist, squareform

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute
from tests.measures.rdms import rsatoolbox
from tests.measures.sides import one_model, plain_rdm, ragged_sides

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-10}


def dataset(x):
    return rsatoolbox.data.Dataset(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rdms_are_rsatoolboxs(dtype):
    reps = make_reps(1, 14, 6, dtype=dtype)
    x = reps.values[0].astype(np.float64)
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    for mine, name, factor in (("correlation", "correlation", 1), ("sqeuclidean", "euclidean", 6)):
        expected = rsatoolbox.rdm.calc_rdm(dataset(x), method=name).get_matrices()[0] * factor
        np.testing.assert_allclose(xc.rdm(reps, mine)[0], expected, atol=tolerance * factor)


@given(data=st.data())
def test_a_callable_is_called_on_real_features(data):
    reps = make_reps(2, 9, [5, 3], missing=[(0, 2)])
    with no_compute():
        found = xc.rdm(data.draw(chunked(reps)), cityblock)
    found = found.compute()
    for m, width in enumerate([5, 3]):
        seen = ~np.isnan(reps.values[m, :, 0])
        expected = squareform(pdist(reps.values[m, seen, :width], "cityblock"))
        np.testing.assert_allclose(found.values[m][np.ix_(seen, seen)], expected)
        assert np.isnan(found.values[m][~seen]).all()
    assert found.attrs["metric"] == "cityblock"


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e12])
def test_single_precision_rdms_keep_their_digits(metric, scale):
    rng = np.random.default_rng(0)
    base = rng.standard_normal((30, 20)) + 5
    near = base + 1e-3 * rng.standard_normal((30, 20))
    x = (np.vstack([base, near]) * scale).astype(np.float32)
    reps = xc.stack_models({"x": x}, stimuli=[f"s{i}" for i in range(60)])
    found = xc.rdm(reps, metric)
    assert found.dtype == np.float32
    expected = squareform(pdist(x.astype(np.float64), metric))
    np.testing.assert_allclose(found.values[0], expected, rtol=2e-4)
    np.testing.assert_array_equal(found.values[0], found.values[0].T)


def test_an_anisotropic_model_falls_back_to_double():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((50, 30)) + 100).astype(np.float32)
    reps = xc.stack_models({"x": x}, stimuli=[f"s{i}" for i in range(50)])
    expected = squareform(pdist(x.astype(np.float64), "cosine"))
    np.testing.assert_allclose(xc.rdm(reps, "cosine").values[0], expected, rtol=1e-5)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rdm_is_scipys(metric, dtype):
    a, _ = ragged_sides(dtype)
    found = xc.rdm(a, metric)
    assert found.dims == ("model", "stimulus", "stimulus_2")
    assert found.dtype == dtype
    assert found["caption_2"].values.tolist() == a["caption"].values.tolist()
    for name in a["model"].values:
        expected = plain_rdm(one_model(a, name), metric)
        np.testing.assert_allclose(found.sel(model=name), expected, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
def test_near_duplicates_keep_their_digits(metric):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 20)) + 100 * (metric == "euclidean")
    x[1] = x[0] + 1e-7 * rng.standard_normal(20)
    x[3] = x[2]
    found = xc.rdm(xc.stack_models({"a": x}, stimuli=list("abcdef")), metric)[0].values
    unit = x - x.mean(1, keepdims=True) if metric == "correlation" else x
    if metric in ("correlation", "cosine"):
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    square = ((unit[0] - unit[1]) ** 2).sum()
    expected = {"euclidean": np.sqrt(square), "sqeuclidean": square}.get(metric, square / 2)
    assert found[0, 1] == pytest.approx(expected, rel=1e-6)
    assert found[2, 3] == pytest.approx(0, abs=1e-15)


def test_rdm_without_a_model_dim():
    a, _ = ragged_sides()
    one = xc.rdm(a.sel(model="net1"))
    assert one.dims == ("stimulus", "stimulus_2")
    np.testing.assert_array_equal(one, xc.rdm(a).sel(model="net1"))
