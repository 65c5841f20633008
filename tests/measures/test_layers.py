"""Networks of several layers."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import no_compute, shuffled


def layered(seed=0, signal=2.0, n=60, n_layers=3):
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(n)]
    z = rng.standard_normal((n, 5))
    sides = []
    for name, best in (("a", 1), ("b", 2)):
        layers = {
            f"{name}{layer}": (signal * (layer == best)) * z @ rng.standard_normal((5, 8))
            + rng.standard_normal((n, 8))
            for layer in range(n_layers)
        }
        side = xc.stack_models(layers, stimuli=ids)
        sides.append(side.assign_coords(network=("model", [f"net {name}"] * n_layers)))
    return sides


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", ["cka", "mutual_knn", "procrustes"])
def test_the_best_layers_are_found_and_scored_on_other_stimuli(metric):
    a, b = layered()
    found = xc.alignment(a, b, metric, layers="half", rng=3)
    assert found.dims == ("model_a", "model_b")
    assert (found["layer_a"].item(), found["layer_b"].item()) == ("a1", "b2")
    assert found.attrs["n_chosen_on"] == found.attrs["n_scored_on"] == 30
    again = xc.alignment(shuffled(a), shuffled(b), metric, layers="half", rng=3)
    assert float(again[0, 0]) == pytest.approx(float(found[0, 0]), rel=1e-9)


@pytest.mark.slow
def test_a_maximum_over_layers_is_not_clipped_at_zero():
    a, b = layered(signal=0.0)
    values = xc.alignment(a, b, "cka")
    found = xc.calibrate(a - 0, -b, "cka", layers="max", n_permutations=9)["alignment"]
    assert float(found[0, 0]) == pytest.approx(float(values.max()))
    low = next(
        (one, two)
        for one, two in (layered(seed, 0.0, 30, 1) for seed in range(50))
        if float(xc.alignment(one, two, "cka")[0, 0]) < -0.01
    )
    found = xc.calibrate(*low, "cka", layers="max", n_permutations=9)["alignment"]
    assert float(found[0, 0]) < -0.01
    with pytest.raises(ValueError, match="choose one of half"):
        xc.alignment(*low, "cka", layers="max")


def test_the_null_of_the_maximum_of_planted_layers():
    a, b = layered()
    found = xc.calibrate(a, b, "cka", layers="max", n_permutations=39, rng=0)
    assert float(found["p_value"][0, 0]) == pytest.approx(1 / 40)
    assert float(found["threshold"][0, 0]) < float(found["alignment"][0, 0])


@pytest.mark.slow
def test_the_null_of_the_maximum():
    p = [
        float(
            xc.calibrate(*layered(seed, 0.0, 30), "cka", layers="max", n_permutations=19, rng=seed)[
                "p_value"
            ][0, 0]
        )
        for seed in range(30)
    ]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_layers_as_a_dim():
    a, b = layered()
    values = a.values.reshape(1, 3, 60, 8)
    stacked = xr.DataArray(
        values,
        dims=("model", "layer", "stimulus", "feature"),
        coords={"model": ["net a"], "layer": [0, 1, 2], "stimulus": a["stimulus"].values},
    )
    found = xc.alignment(stacked, b, "cka", layers="half", rng=0)
    expected = xc.alignment(a, b, "cka", layers="half", rng=0)
    np.testing.assert_allclose(found, expected)
    assert found["layer_a"].item() == "net a 1"
    with pytest.raises(xc.SchemaError, match="which models of a are layers of one network"):
        xc.alignment(a.drop_vars("network"), b, "cka", layers="half")


def test_a_layer_without_a_network_is_named():
    a, b = layered()
    a = a.assign_coords(network=("model", np.array(["net a", None, "net a"], dtype=object)))
    with pytest.raises(xc.SchemaError, match="'network' is missing for 'a1'"):
        xc.alignment(a, b, "cka", layers="half")


@pytest.mark.slow
def test_networks_stay_lazy():
    a, b = layered()
    with no_compute():
        lazy = xc.alignment(a.chunk(model=1), b.chunk(model=1), "cka", layers="half", rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(lazy.compute(), xc.alignment(a, b, "cka", layers="half", rng=0))
