"""Cross-modal prediction against plain loops and planted truth."""

import itertools

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, shuffled


def plain_prediction(agreement, bins, score, subset):
    means = []
    for row, own in zip(agreement, bins, strict=True):
        kept = [v for v, b in zip(row, own, strict=True) if subset is None or b == subset]
        means.append(np.nanmean(kept))
    return scipy.stats.spearmanr(np.round(means, 12), score).statistic


def test_prediction_is_that_of_plain_loops():
    reps, other = make_reps(6, 40, 6), make_reps(3, 40, 5, seed=4, missing=[(0, 3)])
    agreement = xc.alignment(reps, other)
    spread = xc.dispersion(reps, "rdm", leave_out="model")
    score = xr.DataArray(
        np.random.default_rng(0).random(6), dims="model", coords={"model": reps["model"].values}
    )
    found = xc.cross_modal_prediction(
        agreement, spread, score, n_permutations=199, rng=0, null="labels"
    )
    plain = agreement.mean("model_b")
    bins = [xc.dispersion_bins(spread.sel(model=m)).values for m in reps["model"].values]
    for subset in (None, 0, 1, 2):
        name = "all" if subset is None else f"{subset + 1} of 3"
        expected = plain_prediction(plain.values, bins, score.values, subset)
        assert float(found["correlation"].sel(subset=name)) == pytest.approx(expected)
    assert float(found["gain"].sel(subset="all")) == 0
    moved = xc.cross_modal_prediction(
        shuffled(shuffled(agreement), 2, "model_a"),
        shuffled(spread, 3),
        score.isel(model=[3, 0, 5, 2, 1, 4]),
        n_permutations=199,
        rng=0,
        null="labels",
    )
    for name in ("p_value", "gain_p_value", "random_correlation", "gain_lower", "gain_upper"):
        np.testing.assert_allclose(found[name], moved[name], err_msg=name)


@pytest.mark.slow
def test_the_exact_p_value_of_few_models():
    """With 4 models a perfect order has a two-sided p-value of 2 / 24, drawn or counted."""
    agreement = xr.DataArray(
        np.arange(4.0)[:, None] + np.zeros((4, 30)),
        dims=("model_a", "stimulus"),
        coords={"model_a": list("abcd"), "stimulus": [f"s{i}" for i in range(30)]},
    )
    spread = xr.DataArray(
        np.arange(30.0), dims="stimulus", coords={"stimulus": agreement["stimulus"]}
    )
    score = xr.DataArray(np.arange(4.0), dims="model", coords={"model": list("abcd")})
    found = xc.cross_modal_prediction(
        agreement, spread, score, n_permutations=4000, rng=0, null="labels"
    )
    rho = [scipy.stats.spearmanr(range(4), p).statistic for p in itertools.permutations(range(4))]
    exact = np.mean(np.abs(rho) >= 1 - 1e-9)
    assert float(found["p_value"].sel(subset="all")) == pytest.approx(exact, abs=0.02)
    assert (found["gain"] == 0).all()


@pytest.mark.slow
def test_low_dispersion_predicts_better_where_it_was_planted():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.1, 0.9, 8)
    share = rng.random((8, 90))
    share[:, :30] = 0.5 * share[:, :30] + quality[:, None]
    names = [f"m{i}" for i in range(8)]
    stimuli = [f"s{i}" for i in range(90)]
    agreement = xr.DataArray(
        share, dims=("model_a", "stimulus"), coords={"model_a": names, "stimulus": stimuli}
    )
    spread = xr.DataArray(np.arange(90.0), dims="stimulus", coords={"stimulus": stimuli})
    score = xr.DataArray(quality, dims="model", coords={"model": names})
    noise = agreement.copy(data=agreement.values + 6.0 * rng.standard_normal((8, 90)) * (
        np.arange(90) >= 30))  # fmt: skip
    found = xc.cross_modal_prediction(noise, spread, score, rng=0, null="labels")
    low = found.sel(subset="1 of 3")
    assert float(low["correlation"]) > 0.9
    assert float(low["gain"]) > 0
    assert float(low["gain_p_value"]) < 0.05


def test_few_models_or_none_with_agreement_are_nan_with_a_warning():
    reps, other = make_reps(3, 40, 6), make_reps(2, 40, 5, seed=4)
    score = xr.DataArray(np.arange(3.0), dims="model", coords={"model": reps["model"].values})
    spread = xc.dispersion(reps, "rdm")
    with pytest.warns(RuntimeWarning, match="needs at least 4"):
        found = xc.cross_modal_prediction(xc.alignment(reps, other), spread, score, null="labels")
    assert found["correlation"].isnull().all()
    with pytest.raises(xc.SchemaError, match="same labels"):
        xc.cross_modal_prediction(
            xc.alignment(reps, other), spread, score.isel(model=[0, 1]), null="labels"
        )
