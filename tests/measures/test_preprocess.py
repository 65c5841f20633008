"""Pre-processing against plain loops."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only
from xconverge.kernels.budgets import BUDGETS

WIDTHS = [5, 3, 6]
CALLS = {
    "center": xc.center,
    "zscore": xc.zscore,
    "unit_rows": xc.unit_rows,
    "clamp": lambda reps: xc.clamp(reps, 0.7),
    "exact": lambda reps: xc.clamp(reps, 0.7, exact=True),
    "pca": lambda reps: xc.pca(reps, 4),
}


def reps(**options):
    return make_reps(3, 12, WIDTHS, missing=[(0, 3), (2, 7)], shared=False, offset=3.0, **options)


def oracle(name, x):
    """One model, its real features, without missing rows."""
    if name == "center":
        return x - sum(x) / len(x)
    if name == "zscore":
        return np.array([(c - c.mean()) / np.sqrt(((c - c.mean()) ** 2).mean()) for c in x.T]).T
    if name == "unit_rows":
        return np.array([row / np.sqrt((row**2).sum()) for row in x])
    if name == "clamp":
        limit = np.mean([np.quantile(abs(row), 0.7) for row in x])
        return np.clip(x, -limit, limit)
    if name == "exact":
        limit = sorted(abs(x).ravel())[int(0.7 * x.size)]
        return np.clip(x, -limit, limit)
    u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    signs = np.array([np.sign(axis[abs(axis).argmax()]) for axis in vt])
    return (u * s * signs)[:, :4]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CALLS)
def test_each_model_is_its_formula(name, dtype):
    array = reps(dtype=dtype)
    result = CALLS[name](read_only(array))
    assert result.dtype == dtype
    for m, width in enumerate(WIDTHS):
        seen = ~np.isnan(array.values[m, :, 0])
        expected = oracle(name, array.values[m, seen, :width].astype(np.float64))
        kept = expected.shape[1]
        tolerance = 1e-12 if dtype == np.float64 else 2e-6
        np.testing.assert_allclose(result.values[m, seen, :kept], expected, atol=tolerance)
        assert np.isnan(result.values[m, ~seen]).all()
        assert np.isnan(result.values[m, :, kept:]).all()
        assert int(result["n_features"][m]) == kept


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("name", CALLS)
def test_labels_stay_and_the_steps_are_noted(name):
    array = reps()
    before = array.copy(deep=True)
    result = CALLS[name](CALLS["center"](array))
    xr.testing.assert_identical(array, before)
    assert set(result.coords) == set(array.coords)
    xr.testing.assert_equal(result["caption"], array["caption"])
    assert result.attrs["preprocessing"].startswith("center; ")
    assert result.attrs["modality"] == "vision"
    assert xc.validate(result) is result
    assert xc.alignment(result, array, k=3).notnull().any()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", CALLS)
@given(data=st.data())
def test_chunks_change_nothing_and_stay_lazy(name, data):
    array = reps(extra={"layer": 2})
    expected = CALLS[name](array)
    with no_compute():
        lazy = CALLS[name](data.draw(chunked(array)))
    np.testing.assert_allclose(lazy.compute(), expected, atol=1e-12)
    assert lazy.dims == expected.dims == array.dims


def test_layers_of_a_model_share_one_limit():
    array = reps(extra={"layer": 2})
    array[1] *= 10
    result = xc.clamp(array, 0.7)
    for m, width in enumerate(WIDTHS):
        x = array.values[:, m, ~np.isnan(array.values[0, m, :, 0]), :width]
        limit = np.mean([np.quantile(abs(x[:, i]), 0.7) for i in range(x.shape[1])])
        assert float(abs(result[0, m]).max()) <= float(abs(result[1, m]).max())
        assert float(abs(result[:, m]).max()) == pytest.approx(limit)


@pytest.mark.parametrize("exact", [False, True])
def test_layers_that_saw_other_stimuli_are_clipped_too(exact):
    array = make_reps(1, 8, 4, extra={"layer": 2})
    array[0, 0, :4] = array[1, 0, 3:] = np.nan
    values = [abs(row[~np.isnan(row)]) for row in array.values[:, 0].swapaxes(0, 1).reshape(8, -1)]
    values = [row for row in values if len(row)]
    limit = np.mean([np.quantile(row, 0.5) for row in values])
    if exact:
        joined = np.sort(np.concatenate(values))
        limit = joined[int(0.5 * len(joined))]
    expected = np.clip(array.values, -limit, limit)
    np.testing.assert_allclose(xc.clamp(array, 0.5, exact=exact), expected, rtol=1e-12)


@pytest.mark.parametrize("layer", ["last", ("model", ["first", "last"])])
@pytest.mark.parametrize("name", CALLS)
def test_layer_may_be_a_coordinate_and_coordinates_keep_their_attrs(name, layer):
    array = make_reps(2, 8, 4).assign_coords(layer=layer)
    array.coords["caption"].attrs["language"] = "en"
    result = CALLS[name](array)
    xr.testing.assert_identical(result.coords.to_dataset(), array.coords.to_dataset())


def test_components_of_a_shared_space_are_features_afterwards():
    space = xc.shared_space(make_reps(3, 12, 5))["aligned"]
    result = xc.pca(space, 2)
    assert result.dims == ("model", "stimulus", "feature")
    with pytest.warns(xc.UnalignedSpaceWarning):
        xc.dispersion(result, "cosine")


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("name", ["zscore", "unit_rows"])
def test_any_scale(name, scale):
    array = make_reps(2, 8, 4)
    np.testing.assert_allclose(CALLS[name](array * scale), CALLS[name](array), rtol=1e-9)


def test_marks_of_a_shared_space():
    array = make_reps(2, 8, 4)
    assert xc.center(array).attrs["space"] == "shared"
    assert "space" not in xc.pca(array, 2).attrs


def test_constant_features_and_low_rank():
    x = np.ones((6, 3))
    x[:, 0] = range(6)
    array = xc.stack_models({"a": x}, stimuli=list("abcdef"))
    assert not xc.zscore(array).values[0, :, 1:].any()
    scores = xc.pca(array, 2).values[0]
    np.testing.assert_allclose(scores, np.column_stack([x[:, 0] - 2.5, np.zeros(6)]), atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_faulty_rows_are_named(name):
    array = reps()
    array[1, 4, 0] = np.nan
    label = str(array["stimulus"].values[4])
    with pytest.raises(xc.SchemaError, match=f"'net1', stimulus '{label}'"):
        CALLS[name](array)


def test_arguments_out_of_range():
    for quantile in (0, 1.1, -1):
        with pytest.raises(ValueError, match="quantile"):
            xc.clamp(reps(), quantile)
    with pytest.raises(ValueError, match="n_components=0"):
        xc.pca(reps(), 0)
    zero = make_reps(1, 4, 3)
    zero[0, 2] = 0
    with pytest.raises(xc.SchemaError, match="zero vector"):
        xc.unit_rows(zero)
    xr.testing.assert_equal(xc.clamp(zero, 1), zero)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CALLS)
@given(data=st.data())
def test_long_models_are_read_block_by_block(name, dtype, data):
    array = make_reps(2, 30, [6, 4], missing=0.1, shared=False, offset=3.0, dtype=dtype)
    expected = CALLS[name](array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "whole_model", 0)
        patch.setattr(BUDGETS, "read_block", 8 * 6 * 8)
        with no_compute():
            lazy = CALLS[name](data.draw(chunked(array)))
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(lazy.compute(), expected, atol=tolerance)
    xr.testing.assert_identical(lazy.coords.to_dataset(), expected.coords.to_dataset())
    assert lazy.dtype == dtype


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_long_models_of_any_scale(scale, monkeypatch):
    monkeypatch.setattr(BUDGETS, "whole_model", 0)
    array = make_reps(2, 30, 4).chunk(stimulus=7)
    np.testing.assert_allclose(xc.zscore(array * scale), xc.zscore(array), rtol=1e-9)


@pytest.mark.parametrize("name", CALLS)
def test_faults_far_into_long_models_are_named(name, monkeypatch):
    monkeypatch.setattr(BUDGETS, "whole_model", 0)
    array = make_reps(2, 30, 4)
    array[1, 25, 0] = np.nan
    label = str(array["stimulus"].values[25])
    with pytest.raises(xc.SchemaError, match=f"'net1', stimulus '{label}'"):
        CALLS[name](array.chunk(stimulus=7)).compute()
