"""Searchlights inside bins of dispersion, against binned RSA of each neighbourhood."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.engine import neighborhoods as hoods_module
from xconverge.kernels.budgets import BUDGETS

LISTS = {"left": range(4), "middle": [2, 3, 9, 10], "right": range(6, 12)}


def sides(n=21, **options):
    reps = make_reps(2, n, 12, **options)
    target = xc.rdm(make_reps(3, n, 6, seed=1))
    values = np.random.default_rng(2).permutation(np.linspace(0.1, 1, n))
    spread = xr.DataArray(values, dims="stimulus", coords={"stimulus": reps["stimulus"].values})
    return reps, target, spread.rename("spread")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine"])
@pytest.mark.parametrize("rdm_metric", ["correlation", "euclidean"])
def test_it_is_binned_rsa_of_each_neighbourhood(rdm_metric, method):
    reps, target, spread = sides(missing=[(0, 3), (1, 8)])
    options = {"rdm_metric": rdm_metric, "method": method}
    found = xc.binned_searchlight(
        shuffled(reps), shuffled(target, 2), shuffled(spread, 3), 3, neighborhoods=LISTS, **options
    )
    assert found["rsa"].dims == ("model_a", "model_b", "center", "bin")
    for name, members in LISTS.items():
        part = reps.isel(feature=list(members))
        right = xc.binned_rsa(part, target, spread, 3, average=None, n_permutations=0, **options)
        one = found["rsa"].sel(center=name).transpose("bin", ...)
        np.testing.assert_allclose(one, right["rsa"], atol=1e-12)
    for name in ("n_stimuli", "dispersion_by_bin"):
        xr.testing.assert_allclose(found[name].reset_coords(drop=True), right[name])
    assert found.attrs["edges"] == right.attrs["edges"]
    assert found["n_features"].values.tolist() == [4, 4, 6]
    assert found.attrs["n_bins"] == found["rsa"].attrs["n_bins"] == 3


def test_bins_together_are_not_the_whole():
    reps, target, spread = sides()
    with pytest.warns(RuntimeWarning, match="fewer than 5 features"):
        found = xc.binned_searchlight(reps, target, spread, 2, neighborhoods=LISTS, min_features=5)
    assert np.isnan(found["rsa"].sel(center=["left", "middle"])).all()
    assert np.isfinite(found["rsa"].sel(center="right")).all()


def test_it_is_lazy_and_the_same_in_blocks(monkeypatch):
    reps, target, spread = sides()
    right = xc.binned_searchlight(reps, target, spread, neighborhoods=LISTS)
    monkeypatch.setattr(BUDGETS, "product_block", 0)
    monkeypatch.setattr(hoods_module, "FEWEST", 1)
    xr.testing.assert_allclose(
        xc.binned_searchlight(reps, target, spread, neighborhoods=LISTS), right, rtol=1e-13
    )
    with no_compute():
        found = xc.binned_searchlight(
            reps.chunk(feature=5, stimulus=8), target, spread, neighborhoods=LISTS
        )
    assert found["rsa"].chunks is not None
    xr.testing.assert_allclose(found.compute(), right, rtol=1e-13)


def test_small_and_merged_bins_are_nan_and_told():
    reps, target, spread = sides()
    rating = spread.copy(data=np.where(np.arange(21) < 2, 5.0, 1.0))
    with pytest.warns(RuntimeWarning) as told:
        found = xc.binned_searchlight(reps, target, rating, 3, neighborhoods=LISTS)
    texts = [str(one.message) for one in told]
    assert any("merged into those below" in text for text in texts)
    assert any("at least 3 pairs of stimuli in bin 2, got fewer" in text for text in texts)
    assert not any("in bin 1" in text for text in texts)
    assert found.attrs["merged_bins"] == [1]
    assert np.isfinite(found["rsa"].sel(bin=0)).all()
    assert np.isnan(found["rsa"].sel(bin=[1, 2])).all()
    few = spread.isel(stimulus=slice(4))
    names = few["stimulus"].values
    cut = {"stimulus": names, "stimulus_2": names}
    with pytest.warns(RuntimeWarning, match="at least 3 pairs of stimuli in bin"):
        found = xc.binned_searchlight(
            reps.sel(stimulus=names), target.sel(cut), few, 2, neighborhoods=LISTS
        )
    assert np.isnan(found["rsa"]).all()


def test_a_flat_pattern_spoils_its_bin_alone():
    reps, target, spread = sides()
    values = reps.values.copy()
    lowest = int(spread.argmin("stimulus"))
    values[0, lowest, :4] = 1.0
    with pytest.warns(RuntimeWarning, match="1 of 3 .*all equal there.*center 'left'"):
        found = xc.binned_searchlight(
            reps.copy(data=values), target, spread, 3, neighborhoods=LISTS
        )
    gone = np.isnan(found["rsa"])
    assert gone.sel(center="left", bin=0)[0].all()
    assert int(gone.sum()) == 3


def test_what_is_no_dispersion_is_refused():
    reps, target, spread = sides()
    with pytest.raises(xc.SchemaError, match="dispersion"):
        xc.binned_searchlight(reps, target, reps, neighborhoods=LISTS)
    with pytest.raises(xc.SchemaError, match="reps and dispersion must have the same labels"):
        xc.binned_searchlight(reps, target, spread[:9], neighborhoods=LISTS)
    with pytest.raises(ValueError, match="n_bins"):
        xc.binned_searchlight(reps, target, spread, 1, neighborhoods=LISTS)
