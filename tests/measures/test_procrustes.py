"""A shared space fitted to cross-products is the one fitted to models in memory."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import Counting, chunked, make_reps, no_compute
from xconverge.kernels.budgets import BUDGETS


@pytest.fixture(autouse=True, scope="module", params=["many", "long"])
def _everything_is_long(request):
    """Sets too large to be loaded, of models that a task holds, or of longer ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "loaded_space", 0)
        patch.setattr(BUDGETS, "read_block", 8 * 6 * 8)
        if request.param == "long":
            patch.setattr(BUDGETS, "whole_model", 0)
        yield


def assert_same_space(found, expected):
    """Equal but for the signs of the axes, which eigenvectors leave open."""
    turns = np.sign((found["consensus"] * expected["consensus"]).sum("stimulus")).compute()
    assert list(found) == list(expected)
    for name in expected:
        mine = found[name].compute()
        if name == "objective":
            continue  # rounding may take a pass more; ``unexplained`` is its end
        if "component" in mine.dims and turns.ndim > 1:
            continue  # a pair of models of other widths has no unique rotation
        if "component" in mine.dims:
            mine = mine * turns
        np.testing.assert_allclose(mine, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
        assert found[name].dims == expected[name].dims
        assert found[name].attrs == expected[name].attrs
        assert set(found[name].coords) == set(expected[name].coords)
    assert found.attrs == expected.attrs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options",
    [{}, {"n_components": 3}, {"start": "net1"}, {"n_restarts": 2}, {"folds": 3},
     {"folds": 3, "n_components": 3, "groups": "category"}, {"by": "family", "folds": 3}],
    ids=str,
)  # fmt: skip
def test_cross_products_give_the_space_of_the_models_in_memory(options, dtype):
    reps = make_reps(4, 120, [6, 4, 5, 6], noise=0.7, offset=3.0, dtype=dtype)
    expected = xc.shared_space(reps, tolerance=1e-7, rng=0, **options)
    found = xc.shared_space(reps.chunk(model=1, stimulus=17), tolerance=1e-7, rng=0, **options)
    assert all(found[name].chunks for name in ("aligned", "consensus", "residual"))
    assert_same_space(found, expected)


@pytest.mark.slow
@settings(max_examples=5)
@given(data=st.data())
def test_chunks_change_no_space(data):
    reps = make_reps(3, 60, [6, 4, 5], noise=0.7)
    options = {"n_components": 4, "folds": 2, "rng": 0}
    expected = xc.shared_space(reps, **options)
    assert_same_space(xc.shared_space(data.draw(chunked(reps)), **options), expected)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("folds", "reads"), [(None, 2), (3, 5)])
def test_iterations_never_touch_the_data(folds, reads):
    import dask.array as da

    reps = make_reps(3, 80, 5, noise=2.0)
    source = Counting(reps.values)
    lazy = reps.copy(data=da.from_array(source, chunks=(1, 20, 5), asarray=False, lock=True))
    space = xc.shared_space(lazy, folds=folds)
    assert len(space["objective"]) >= 5
    assert source.reads.min() == source.reads.max() == reads
    with no_compute():
        spread = xc.dispersion(space["aligned"], "consensus")
    assert source.reads.max() == reads
    spread.compute()
    assert source.reads.max() == reads + 1


@pytest.mark.slow
def test_a_set_with_missing_stimuli_is_fitted_in_memory_or_refused(monkeypatch):
    reps = make_reps(3, 80, 5, noise=0.5, missing=[(1, 7)])
    expected = xc.shared_space(reps)
    xr.testing.assert_equal(xc.shared_space(reps.chunk(stimulus=11)), expected)
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr("xconverge.engine.resources.free_bytes", lambda: 35_000)
    with pytest.raises(MemoryError, match=r"3 models × 80 stimuli.*all models saw.*transform"):
        xc.shared_space(reps.chunk(stimulus=11))
    whole = reps.notnull().all(["model", "feature"]).values
    space = xc.shared_space(reps[:, whole].chunk(stimulus=11))
    assert xc.transform(reps, space)[1, 7].isnull().all()


def test_cross_products_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    # eight times 15² products do not fit, what comes before does
    monkeypatch.setattr("xconverge.engine.resources.free_bytes", lambda: 40_000)
    with (
        dask.config.set(num_workers=8),
        pytest.raises(MemoryError, match="15 components of all"),
    ):
        xc.shared_space(make_reps(3, 80, 5).chunk(stimulus=11))


def test_faults_are_named():
    reps = make_reps(3, 80, 5)
    label = str(reps["stimulus"].values[55])
    faulty = reps.copy(deep=True)
    faulty[1, 55, 2] = np.inf
    with pytest.raises(xc.SchemaError, match=f"infinity.*'net1'.*'{label}'"):
        xc.shared_space(faulty.chunk(stimulus=11))
    same = xr.where(reps["model"] == "net1", 1.0, reps, keep_attrs=True).transpose(*reps.dims)
    with pytest.raises(xc.SchemaError, match="'net1'.*same vector"):
        xc.shared_space(same.chunk(stimulus=11))
