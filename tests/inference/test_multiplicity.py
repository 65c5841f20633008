"""Corrections over named dims, against the kernels on plain arrays, and through ``calibrate``."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from xconverge.engine.resampling import DRAW
from xconverge.inference.multiplicity import Family, adjusted, family_of, tell_short
from xconverge.kernels import multiplicity as kernels

NAMES = ("p_value_bh", "p_value_by", "p_value_max_t")
FEW = "permutations are too few for a single effect"


def drawn(count=800, seed=0, effect=9.0):
    """Draws (draw, model_a, time, region) and their p-values; the first has an effect."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, 2, 5, 3))
    values[0, 0, 1:3, 0] += effect
    draws = xr.DataArray(
        values, dims=(DRAW, "model_a", "time", "region"), coords={"time": np.arange(5) * 10.0}
    )
    return draws, (draws >= draws.isel({DRAW: 0})).mean(DRAW)


@pytest.mark.parametrize("tail", ["greater", "two-sided"])
def test_all_dims_are_one_family(tail):
    draws, p = drawn(8000)
    found = adjusted(draws, p, family_of(None, draws.isel({DRAW: 0})), tail=tail)
    # time is ordered without being asked
    assert set(found) == {*NAMES, "p_value_cluster"}
    np.testing.assert_array_equal(
        found["p_value_max_t"], kernels.max_adjusted(draws.values, tail=tail)
    )
    for name, dependent in (("p_value_bh", False), ("p_value_by", True)):
        np.testing.assert_allclose(found[name], kernels.false_discovery(p.values, dependent))
    for part in found.values():
        assert part.dims == p.dims
        np.testing.assert_array_equal(part["time"], p["time"])
        assert float(part[0, 1, 0]) <= 0.05


@pytest.mark.parametrize("over", ["time", ["time", "region"], ("model_a", "time")])
def test_other_dims_are_families_of_their_own(over):
    draws, p = drawn(3001)
    family = family_of(over, p, clusters="time")
    found = adjusted(draws, p, family, prefix="trend_")
    rest = [dim for dim in p.dims if dim not in family.dims]
    inside = [*(dim for dim in family.dims if dim != "time"), "time"]
    stacked = p.stack(cell=rest, create_index=False) if rest else p.expand_dims("cell")
    moved = draws.stack(cell=rest, create_index=False) if rest else draws.expand_dims("cell")
    for c in range(stacked.sizes["cell"]):
        one = moved.isel(cell=c).transpose(DRAW, *inside).values
        alone = stacked.isel(cell=c).transpose(*inside).values
        expected = {
            "trend_p_value_bh": kernels.false_discovery(alone, False),
            "trend_p_value_by": kernels.false_discovery(alone, True),
            "trend_p_value_max_t": kernels.max_adjusted(one),
            "trend_p_value_cluster": kernels.cluster_mass(one),
        }
        assert set(expected) == set(found)
        for name, values in expected.items():
            part = found[name]
            part = part.stack(cell=rest, create_index=False) if rest else part.expand_dims("cell")
            np.testing.assert_allclose(part.isel(cell=c).transpose(*inside), values)


def test_lazy_stays_lazy_and_the_same():
    draws, p = drawn(2001)
    family = Family(("time", "region"), ("time",))
    expected = adjusted(draws, p, family)
    with no_compute():
        found = adjusted(draws.chunk(time=2, region=1), p.chunk(time=2), family)
    for name, part in found.items():
        assert part.chunks is not None
        np.testing.assert_allclose(part, expected[name])


def test_dims_are_refused_by_name():
    _, p = drawn(3)
    with pytest.raises(ValueError, match="over='tim' is not known.*did you mean 'time'"):
        family_of("tim", p)
    with pytest.raises(ValueError, match="clusters='region' is not known.*choose one of time"):
        family_of("time", p, clusters="region")
    for wrong in ([], 3, [1], p):
        with pytest.raises(TypeError, match="over must be the name of a dim"):
            family_of(wrong, p)
    with pytest.raises(ValueError, match=r"'time' is not in order: \.sortby\('time'\)"):
        family_of(None, p.isel(time=[2, 0, 1]), clusters="time")
    assert family_of(None, p.isel(time=slice(None, None, -1)), clusters="time").clusters == (
        "time",
    )
    assert family_of(None, p, more=["bin"]).dims == ("bin", "model_a", "time", "region")


def test_what_no_draws_can_pass_is_said_once_with_the_number_needed():
    with pytest.warns(RuntimeWarning, match=FEW) as told:
        tell_short(199, 36, 0.05, ["bh", "by", "max_t"])
    assert len(told) == 1
    message = str(told[0].message)
    assert "199 permutations" in message
    assert "36 tests" in message
    assert "p_value_bh (719 needed), p_value_by (3,005 needed)." in message
    assert "max_t" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_short(3005, 36, 0.05, ["bh", "by", "max_t"])
        tell_short(0, 36, 0.05, ["bh", "by", "max_t"])
        tell_short(9, 1, 0.05, ["bh", "by", "max_t"])


def test_tests_without_a_p_value_do_not_count():
    draws, p = drawn(200)
    draws, p = draws.where(draws["time"] == 10), p.where(p["time"] == 10)
    with pytest.warns(RuntimeWarning, match="among 6 tests"):
        adjusted(draws, p, Family(("model_a", "time", "region")))


def test_what_passed_is_not_said_to_be_impossible():
    draws, p = drawn(400)
    draws[0] += 20
    p[:] = 1 / 400
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adjusted(draws, p, Family(("model_a", "time", "region")))
    with pytest.warns(RuntimeWarning, match="p_value_bh .*p_value_by"):
        adjusted(draws.chunk(), p.chunk(), Family(("model_a", "time", "region")))


def recordings(n=20, times=4, missing=0.0, effect=0.0, seed=0):
    """A model, and a brain (time, …) that sees the same in the second and third bin."""
    a, b = (
        make_reps(1, n, 5, one, shared=False, missing=missing, extra={"time": times})
        for one in (seed, seed + 100)
    )
    b = b.sel(stimulus=a["stimulus"].values)
    a = a.isel(time=0, drop=True)
    late = xr.DataArray([0.0, 1.0, 1.0, *[0.0] * (times - 3)], dims="time")
    return a, (b + effect * late * a.variable).assign_coords(time=np.arange(times))


def test_calibrate_corrects_over_time_too():
    a, b = recordings(effect=2.0)
    table = xc.calibrate(a, b, "cka", n_permutations=399, rng=0, clusters="time")
    alone = xc.calibrate(a, b, "cka", n_permutations=399, rng=0, over=["model_a", "model_b"])
    assert "p_value_cluster" not in alone.coords
    np.testing.assert_array_equal(alone["p_value_max_t"], alone["p_value"])
    assert (table["p_value_max_t"] >= table["p_value"]).all()
    assert (table["p_value_max_t"] > table["p_value"]).any()
    for name in (*NAMES, "p_value_cluster"):
        assert table[name].dims == table["p_value"].dims
        assert (table[name].isel(time=[1, 2]) <= 0.05).all()
        assert (table[name].isel(time=[0, 3]) > 0.05).all()
    assert table["p_value_cluster"].attrs["kind"] == "probability"
    u, v = (xc.rdm(side, "euclidean") for side in (a, b))
    rsa = xc.calibrate_rsa(u, v, n_permutations=399, rng=0, clusters="time")
    assert (rsa["p_value_cluster"].squeeze(drop=True)[[1, 2]] <= 0.05).all()
    for wrong in ({"over": "layer"}, {"clusters": "layer"}):
        with pytest.raises(ValueError, match="'layer' is not known"):
            xc.calibrate(a, b, "cka", **wrong)
        with pytest.raises(ValueError, match="'layer' is not known"):
            xc.calibrate_rsa(u, v, **wrong)


def test_slices_share_their_permutations_even_where_stimuli_are_missing():
    """Equal slices have equal draws: nothing is lost to the number of them."""
    a, b = recordings(missing=0.2)
    same = xr.concat([b.isel(time=1)] * 6, "time", coords="minimal", compat="override")
    table = xc.calibrate(a, same, "cka", n_permutations=399, rng=0, over="time")
    np.testing.assert_array_equal(table["p_value_max_t"], table["p_value"])
    # a slice that misses one more stimulus is permuted almost alike
    gone = same.copy()
    gone[0, 0, 3] = np.nan
    table = xc.calibrate(a, gone, "cka", n_permutations=399, rng=0, over="time")
    assert float(table["p_value_max_t"].max()) < float(table["p_value"].max()) + 0.15


def test_calibrate_says_what_36_pairs_need():
    a, b = (make_reps(6, 15, 4, seed, shared=False) for seed in (0, 1))
    with pytest.warns(RuntimeWarning, match=r"p_value_by \(3,005 needed\)") as told:
        xc.calibrate(a, b, k=3, n_permutations=199, rng=0)
    assert told[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="among 6 tests"):
        xc.calibrate(a, b, k=3, n_permutations=19, over="model_a", rng=0)
