"""Comparisons of RDMs against rsatoolbox, scipy and formulas."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import squareform
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, shuffled
from tests.measures.rdms import (
    THEIRS,
    flat,
    rsatoolbox,
    subjects,
    theirs,
)
from tests.measures.sides import one_model, plain_rdm, ragged_sides
from xconverge.kernels.budgets import BUDGETS
from xconverge.measures.rsa import METHODS


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_comparisons_are_rsatoolboxs(method, ties):
    rdms = subjects(ties=ties)
    found = xc.rsa(rdms.rename(subject="one"), rdms.rename(subject="other"), method).transpose(
        "one", "other"
    )
    expected = rsatoolbox.rdm.compare(theirs(rdms), theirs(rdms), method=THEIRS[method])
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_tau_a_counts_pairs():
    u, v = np.array([1.0, 2, 2, 3, 5, 5]), np.array([2.0, 1, 4, 4, 3, 6])
    signs = [np.sign(u[i] - u[j]) * np.sign(v[i] - v[j]) for i in range(6) for j in range(i)]
    rdms = []
    for values in (u, v):
        square = xr.DataArray(
            squareform(values),
            dims=("stimulus", "stimulus_2"),
            coords={"stimulus": list("abcd"), "stimulus_2": list("abcd")},
        )
        rdms.append(square)
    assert float(xc.rsa(*rdms, "kendall")) == pytest.approx(sum(signs) / 15)


@pytest.mark.slow
def test_rho_a_is_the_mean_over_random_orders_of_ties():
    rng = np.random.default_rng(0)
    rdms = subjects(2, 6, ties=True)
    u, v = (squareform(values, checks=False) for values in rdms.values)
    values = []
    for _ in range(4000):
        ranks = [np.argsort(np.argsort(w + 1e-6 * rng.random(len(w)))) for w in (u, v)]
        values.append(np.corrcoef(*ranks)[0, 1])
    found = float(xc.rsa(rdms[0], rdms[1], "rho-a"))
    assert found == pytest.approx(np.mean(values), abs=0.01)


@pytest.mark.parametrize("bad", [np.nan, 1.0])
def test_one_bad_model_is_named_and_leaves_the_others(bad):
    a, b = (xc.rdm(make_reps(3, 10, 5, seed=seed, extra={"layer": 2})) for seed in (1, 2))
    right = xc.rsa(a, b.rename(layer="depth"))
    wrong = a.copy(deep=True)
    wrong[1, 2] = bad * flat(10)
    with pytest.warns(RuntimeWarning, match=r"\(layer 'layer1', depth 'layer0'\): NaN for 'net2'"):
        found = xc.rsa(wrong, b.rename(layer="depth").isel(depth=[0]))
    gone = np.isnan(found).isel(depth=0).transpose("layer", "model_a", "model_b").values
    expected = np.zeros((2, 3, 3), bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(gone, expected)
    np.testing.assert_array_equal(found, right.isel(depth=[0]).where(found.notnull()))


def test_a_nuisance_without_distances_is_named():
    a = xc.rdm(make_reps(2, 12, 5))
    empty = nuisance() * np.nan
    with pytest.warns(RuntimeWarning, match="given nuisance 1, without distances: NaN for all"):
        assert np.isnan(xc.rsa(a, a, nuisance=[nuisance(), empty])).all()


def nuisance(n=12, seed=9):
    reps = make_reps(1, n, 3, seed=seed)
    return xc.rdm(reps, "euclidean").sel(model="net0", drop=True)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("count", [1, 2])
def test_partial_rsa_correlates_the_residuals(method, count):
    a, b = xc.rdm(make_reps(2, 12, 5, seed=1)), xc.rdm(make_reps(3, 12, 4, seed=2))
    given = [nuisance(seed=9 + i) for i in range(count)]
    order = a["stimulus"].values
    where = np.triu_indices(12, 1)

    def vector(rdm):
        values = rdm.sel(stimulus=order, stimulus_2=order).values[where]
        return rankdata(values) if method == "spearman" else values

    design = np.column_stack([np.ones(66), *(vector(control) for control in given)])

    def residual(values):
        return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]

    found = xc.rsa(a, b, method, nuisance=given if count > 1 else given[0])
    for i in range(2):
        for j in range(3):
            expected = np.corrcoef(residual(vector(a[i])), residual(vector(b[j])))[0, 1]
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-12)
    again = xc.rsa(a, b, method, nuisance=[shuffled(control) for control in given])
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_partial_rsa_of_what_the_nuisance_explains_is_nan():
    a = nuisance(seed=1)
    with pytest.warns(RuntimeWarning, match="NaN"):
        assert np.isnan(xc.rsa(a, nuisance(seed=2), "pearson", nuisance=2 * a + 1))
    with pytest.raises(ValueError, match="nuisance goes with"):
        xc.rsa(a, a, "kendall", nuisance=a)
    with pytest.raises(xc.SchemaError, match="nuisance 0 has the dims"):
        xc.rsa(a, a, nuisance=xc.rdm(make_reps(2, 12, 3)))


def test_partial_rsa_joins_the_nuisance_by_label():
    a, b = nuisance(seed=1), nuisance(seed=2)
    fewer = nuisance(seed=3).isel(stimulus=slice(1, None), stimulus_2=slice(1, None))
    with pytest.raises(xc.SchemaError, match="same labels"):
        xc.rsa(a, b, nuisance=fewer)
    one, other, control = xc.pair(a, b, fewer, join="inner")
    found = xc.rsa(one, other, nuisance=control)
    keep = fewer["stimulus"].values
    chosen = {"stimulus": keep, "stimulus_2": keep}
    assert float(found) == pytest.approx(
        float(xc.rsa(a.sel(chosen), b.sel(chosen), nuisance=fewer))
    )
    assert found.attrs["n_dropped"] == 1
    assert found.attrs["join"] == "inner"


def test_tau_b_is_not_tau_a():
    rdms = subjects(2, 6, ties=True)
    u, v = (squareform(values, checks=False) for values in rdms.values)
    assert float(xc.rsa(rdms[0], rdms[1], "kendall")) < float(kendalltau(u, v).statistic)


def test_results_say_how_their_inputs_were_paired():
    a, b = make_reps(2, 12, 5, seed=1), make_reps(1, 11, 4, seed=2)
    one, other = xc.pair(a, b, join="inner")
    rdms = xc.rdm(one), xc.rdm(other)
    people = xc.pair(subjects(4, 12), rdms[0], join="inner")[0]
    ceiling = xc.noise_ceiling(people)
    for result in (*rdms, xc.rsa(*rdms), ceiling, ceiling["upper"]):
        assert result.attrs["join"] == "inner"
        assert result.attrs["n_dropped"] == 1
    assert ceiling.attrs["metric"] == "spearman"
    assert ceiling.attrs["n_subjects"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("small", [True, False])
@given(data=st.data())
def test_rsa_of_any_chunks_is_that_in_memory(data, small):
    extra = make_reps(3, 12, 5, seed=1, missing=0.1, extra={"layer": 2})
    a, b = xc.rdm(extra), xc.rdm(make_reps(2, 12, 4, seed=2, missing=0.1))
    control = nuisance()
    for given_too in ({}, {"nuisance": control}):
        expected = xc.rsa(a, b, **given_too)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BUDGETS, "many_models", 2**28 if small else 0)
            with no_compute():
                lazy = xc.rsa(data.draw(chunked(a)), data.draw(chunked(b)), **given_too)
            xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12)
        assert expected.dims == lazy.dims
        assert set(expected.dims) == {"layer", "model_a", "model_b"}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", METHODS)
def test_missing_and_single_pairs_are_left_out_of_their_pairs_of_models(method):
    a, b = (xc.rdm(make_reps(2, 12, 5, seed=seed, missing=0.1)) for seed in (1, 2))
    order = a["stimulus"].values
    b = b.sel(stimulus=order, stimulus_2=order).copy()
    b[0, 3, 4] = b[0, 4, 3] = np.nan
    found = xc.rsa(a, b, method)
    for i, j in np.ndindex(2, 2):
        both = (a[i].notnull() & b[j].notnull()).values
        one, other = (np.where(both, side.values, np.nan) for side in (a[i], b[j]))
        pair = [side.copy(data=values) for side, values in ((a[i], one), (b[j], other))]
        alone = xc.rsa(*(side.drop_vars("model") for side in pair), method)
        assert float(found[i, j]) == pytest.approx(float(alone), abs=1e-12)


@pytest.mark.parametrize(("method", "plain"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_rsa_compares_upper_triangles(method, plain):
    a, b = ragged_sides()
    found = xc.rsa(xc.rdm(a), xc.rdm(shuffled(b)), method)
    assert found.dims == ("model_a", "model_b")
    for p in a["model"].values:
        for q in b["model"].values:
            one = plain_rdm(one_model(a, p), "correlation")
            two = plain_rdm(one_model(b.sel(stimulus=a["stimulus"]), q), "correlation")
            values = [
                (one[i, j], two[i, j])
                for i in range(12)
                for j in range(i + 1, 12)
                if not np.isnan(one[i, j] + two[i, j])
            ]
            expected = plain(*zip(*values, strict=True)).statistic
            assert float(found.sel(model_a=p, model_b=q)) == pytest.approx(expected, abs=1e-10)


def test_rsa_with_a_brain_without_models():
    a, b = ragged_sides()
    brain = xr.concat([xc.rdm(b).sel(model=m, drop=True) for m in ("bert", "gpt")], "subject")
    found = xc.rsa(xc.rdm(a), brain.assign_coords(subject=["x", "y"]))
    assert found.dims == ("model_a", "subject")
    np.testing.assert_allclose(found, xc.rsa(xc.rdm(a), xc.rdm(b)), rtol=1e-12)
    columns = brain.isel(stimulus_2=np.random.default_rng(0).permutation(12))
    np.testing.assert_allclose(xc.rsa(xc.rdm(a), columns), found, rtol=1e-12)


def test_rsa_refuses_or_says_nan():
    a, b = ragged_sides(missing=False)
    lopsided = xc.rdm(b)
    lopsided[0, 0, 1] += 1
    with pytest.raises(ValueError, match="symmetric"):
        xc.rsa(xc.rdm(a), lopsided)
    with pytest.warns(RuntimeWarning, match="at least 3 pairs of stimuli, got 1"):
        few = xc.rsa(xc.rdm(a[:, :2]), xc.rdm(b.sel(stimulus=a["stimulus"][:2])))
    assert few.isnull().all()
    with pytest.warns(RuntimeWarning, match="differ"):
        flat = xc.rsa(xc.rdm(a), 0 * xc.rdm(b))
    assert flat.isnull().all()
