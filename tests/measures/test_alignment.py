"""Every measure of alignment: properties, invariances, known truths and faults."""

from functools import cache

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from tests.measures.sides import MAPS, PAIRS, TOLERANCE, gaussian, options, two_sides
from xconverge.engine.measure import INVARIANCES
from xconverge.measures import dispersion
from xconverge.measures.alignment import MEASURES

# formulas


# properties of all of them


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", PAIRS)
def test_order_changes_no_number_and_inputs_stay(metric):
    a, b = two_sides(missing=[(0, 2)])
    expected = xc.alignment(read_only(a), read_only(b), metric, **options(metric))
    assert expected.dims == ("model_a", "model_b")
    assert expected.notnull().all()
    for one, two in ((shuffled(a), b), (a, shuffled(b)), (shuffled(a, 1), shuffled(b, 2))):
        found = xc.alignment(one, two, metric, **options(metric))
        xr.testing.assert_allclose(found, expected, rtol=1e-9)


@cache
def expected_of(metric):
    return xc.alignment(*two_sides(missing=[(1, 3)]), metric, **options(metric))


@pytest.mark.slow
@pytest.mark.parametrize("metric", PAIRS)
@settings(max_examples=8)
@given(data=st.data())
def test_chunks_change_nothing_and_stay_lazy(metric, data):
    a, b = two_sides(missing=[(1, 3)])
    expected = expected_of(metric)
    with no_compute():
        lazy = xc.alignment(data.draw(chunked(a)), data.draw(chunked(b)), metric, **options(metric))
    xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("metric", PAIRS)
def test_missing_stimuli_drop_out_of_the_pair(metric):
    a, b = two_sides()
    gone = a["stimulus"].values[[2, 9]]
    holes = a.where(~(a["stimulus"].isin(gone) & (a["model"] == "net0")))
    whole = xc.alignment(a, b, metric, **options(metric))
    found = xc.alignment(holes, b, metric, **options(metric))
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-12)
    assert found.notnull().all()
    assert found["n_stimuli"].values.tolist() == [[22, 22, 22], [24, 24, 24]]
    assert not np.allclose(found[0], whole[0], rtol=1e-9)
    if metric in ("cka", "procrustes", "rsa"):
        fewer = xc.alignment(
            a.drop_sel(stimulus=gone), b.drop_sel(stimulus=gone), metric, **options(metric)
        )
        np.testing.assert_allclose(found[0], fewer[0], rtol=1e-9)


@pytest.mark.slow_after(5)
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("metric", PAIRS)
def test_identical_sets_agree_fully_at_any_scale(metric, dtype, scale):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((60, 8)) * scale).astype(dtype)
    a = xc.stack_models({"x": x}, stimuli=[f"s{i}" for i in range(60)])
    found = float(xc.alignment(a, shuffled(a), metric, k=10)[0, 0])
    assert found == pytest.approx(0.0 if metric == "procrustes" else 1.0, abs=1e-6)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", [m for m in MEASURES if m != "cosine"])
def test_invariances_hold_where_the_table_says_so_and_fail_where_not(metric, name):
    assert set(MEASURES[metric].invariant) <= set(INVARIANCES)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 8)) * np.arange(1, 9)
    y = x[:, :6] + 2 * rng.standard_normal((80, 6))
    ids = [f"s{i}" for i in range(80)]
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    moved = a.copy(data=MAPS[name](x, rng)[None])
    given = {"n_components": 3} if metric == "svcca" else {"k": 5}
    given["rng"] = 0
    before, after = (float(xc.alignment(side, b, metric, **given).mean()) for side in (a, moved))
    same = abs(before - after) < 1e-8
    assert same == (name in MEASURES[metric].invariant)


@pytest.mark.slow_after(15)
@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", dispersion.MEASURES)
def test_invariances_of_dispersion(metric, name, common):
    if common and name not in ("rotation", "translation"):
        pytest.skip("follows from that of one model")
    reps = make_reps(3, 20, 8, offset=0.5)
    moved = reps.copy(deep=True)
    for m in range(3 if common else 1):
        moved[m] = MAPS[name](reps.values[m], np.random.default_rng(0))
    options = {"k": 5} if metric == "neighborhood" else {}
    same = np.allclose(
        xc.dispersion(reps, metric, **options), xc.dispersion(moved, metric, **options), atol=1e-9
    )
    known = dispersion.MEASURES[metric].invariant
    assert same == (name in known or (common and f"common {name}" in known))


@pytest.mark.parametrize("metric", MEASURES)
def test_every_row_of_the_table_is_filled(metric):
    assert MEASURES[metric].kind in ("distance", "similarity")
    for field in ("formula", "range", "chance", "cost", "avoid"):
        assert getattr(MEASURES[metric], field)


# known truths


def test_independent_sets_score_chance():
    a, b = gaussian(0, 400, 20), gaussian(1, 400, 20)
    for metric in ("svcca", "linear_predictivity"):
        assert abs(float(xc.alignment(a, b, metric, rng=0)[0, 0])) < 0.08
    r2 = xc.alignment(a, b, "linear_predictivity", score="r2", rng=0)
    assert -0.1 < float(r2[0, 0]) < 0.01
    cycle = xc.alignment(a, b, "cycle_knn")
    assert float(cycle[0, 0]) == pytest.approx(float(cycle["chance"][0, 0]), abs=0.06)
    assert float(xc.alignment(a, b, "svcca", folds=None)[0, 0]) > 0.1


# known faults of other tools


@pytest.mark.parametrize("metric", ["procrustes", "biased"])
def test_more_features_than_stimuli_do_not_pass_in_silence(metric):
    a, b = gaussian(0, 30, 60), gaussian(1, 30, 60)
    name, given = ("cka", {"debiased": False}) if metric == "biased" else (metric, {})
    with pytest.warns(RuntimeWarning, match="as many features as stimuli .30. in 'g0' and 'g1'"):
        xc.alignment(a, b, name, **given)


@pytest.mark.parametrize("metric", PAIRS)
def test_a_partial_nan_is_an_error_by_name(metric):
    a, b = two_sides()
    b[1, 4, 2] = np.nan
    label = str(b["stimulus"].values[4])
    with pytest.raises(xc.SchemaError, match=f"b has NaN.*'y', stimulus '{label}'"):
        xc.alignment(a, b, metric, **options(metric))


@pytest.mark.parametrize("metric", ["cka", "cknna", "procrustes", "svcca", "linear_predictivity"])
def test_models_that_share_too_few_stimuli_are_nan_with_a_warning(metric):
    a, b = two_sides()
    a[0, :12] = np.nan
    b = b.sel(stimulus=a["stimulus"].values)
    b[:, 13:] = np.nan
    with pytest.warns(RuntimeWarning, match="NaN"):
        found = xc.alignment(a, b, metric, **options(metric))
    assert found[0].isnull().all()
    assert found[1].notnull().all()


def test_unknown_options_and_values_are_refused():
    a, b = two_sides()
    with pytest.raises(TypeError, match="'cka' has no option n_components; it has kernel"):
        xc.alignment(a, b, "cka", n_components=3)
    for name, wrong in (
        ("cka", {"kernel": "poly"}),
        ("cka", {"kernel": "rbf", "sigma": 0}),
        ("cknna", {"k": 1}),
        ("svcca", {"n_components": 0}),
        ("linear_predictivity", {"folds": 2}),
        ("linear_predictivity", {"score": "rho"}),
        ("rsa", {"method": "tau"}),
        ("nothing", {}),
    ):
        with pytest.raises(ValueError, match="must|needs|at least|choose"):
            xc.alignment(a, b, name, **wrong)


# layers


def test_width_may_depend_on_the_layer():
    a, _ = two_sides()
    a = xr.concat([a, a], "layer").assign_coords(layer=["first", "last"])
    n_features = a["n_features"].expand_dims(layer=a["layer"])
    found = xc.alignment(a.assign_coords(n_features=n_features), a, "procrustes")
    same = found.transpose(..., "layer").values[[0, 1], [0, 1]]
    np.testing.assert_allclose(same, 0, atol=1e-9)
