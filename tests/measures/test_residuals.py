"""What the residuals of the models have in common."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import shuffled
from xconverge.testing import planted_study


def test_the_component_is_that_of_a_plain_decomposition():
    study = planted_study(n_models=5, rng=0)
    space = xc.shared_space(study["vision"])
    odd = xc.residual_component(space["residual"])
    x = space["residual"].values.T
    values, axes = np.linalg.eigh(np.cov(x.T))
    scores = (x - x.mean(0)) @ axes[:, -1]
    total = np.sqrt((x**2).sum(1))
    scores *= np.sign(np.corrcoef(scores, total)[0, 1])
    np.testing.assert_allclose(odd, scores, atol=1e-12)
    assert odd.attrs["explained"] == pytest.approx(values[-1] / values.sum())
    assert np.corrcoef(odd, xc.dispersion(space["aligned"], "consensus"))[0, 1] > 0.9
    again = xc.residual_component(shuffled(space["residual"]).chunk(stimulus=7))
    xr.testing.assert_allclose(again.sel(stimulus=odd["stimulus"]), odd)
    both = {"component": odd, "consensus": xc.dispersion(space["aligned"], "consensus")}
    chosen = xc.select_stimuli(both, 20, "high")
    assert float(chosen["overlap"][0, 1]) > 0.5


def test_a_component_of_too_little():
    residual = xr.DataArray(
        np.abs(np.random.default_rng(0).standard_normal((3, 6))),
        dims=("model", "stimulus"),
        coords={"model": list("abc"), "stimulus": [f"s{i}" for i in range(6)]},
    )
    hole = residual.copy()
    hole[1, 2] = np.nan
    found = xc.residual_component(hole)
    assert found.isnull().values.tolist() == [False, False, True, False, False, False]
    for few in (hole[:, 1:4], residual * 0 + 1):
        with pytest.warns(RuntimeWarning, match="at least 3 stimuli"):
            assert xc.residual_component(few).isnull().all()
    with pytest.raises(xc.SchemaError, match="at least 2 models"):
        xc.residual_component(residual[:1])
    with pytest.raises(xc.SchemaError, match="'layer'"):
        xc.residual_component(residual.expand_dims(layer=2))
