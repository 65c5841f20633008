"""Models of equal noise: what geometry alone makes of a correlation, and what exceeds it."""

from __future__ import annotations

import numpy as np
import pytest

import xconverge as xc
from xconverge.inference.equal_noise import equal_noise
from xconverge.study.modulation import mean_correlation

RNG = np.random.default_rng
NAMES = ("expected_correlation", "equal_noise_p_value", "excess", "excess_lower", "excess_upper")


def study(seed, noise, n=60, models=4):
    """Two modalities that see clusters of stimuli, with noise of these sizes (n) in both."""
    rng = RNG(seed)
    latent = np.repeat(rng.standard_normal((n // 10, 6)), 10, 0) + 0.5 * rng.standard_normal((n, 6))

    def model():
        basis, _ = np.linalg.qr(rng.standard_normal((20, 6)))
        return latent @ basis.T + rng.standard_normal((n, 20)) * noise[:, None] / np.sqrt(10)

    return [
        xc.stack_models(
            {f"{name} {i}": model() for i in range(models)},
            stimuli=[f"s{i}" for i in range(n)],
            modality=name,
        )
        for name in ("vision", "language")
    ]


def test_the_quick_mean_correlation_is_that_of_modulation():
    a, b = study(0, np.ones(60))
    spread = xc.dispersion(a, "neighborhood", leave_out="model", k=5)
    scores, density = xc.alignment(a, b, k=5), xc.local_density(a, 5)
    for covariates in ([], [density], [density, xc.stimulus_norm(a)]):
        right = xc.modulation(
            spread, scores, covariates=covariates, n_bins=2, n_permutations=0, null="labels"
        )
        assert mean_correlation(spread, scores, covariates) == float(right["mean_correlation"])


def test_the_reading_of_the_larger_p_counts():
    """A statistic that only noise relative to norms can reach, and the other way round."""
    a, _ = study(0, np.ones(60))
    size = np.linalg.norm(a.values, axis=2).mean(0)

    def slope(reps):
        gap = np.linalg.norm(reps.values - reps.values.mean(1, keepdims=True), axis=2).mean(0)
        return float(np.corrcoef(gap, size)[0, 1])

    found = equal_noise(a, slope, slope(a), 19, "two-sided", 0)
    assert set(found) == set(NAMES)
    assert found["excess"] == pytest.approx(slope(a) - float(found["expected_correlation"]))
    assert found["excess_lower"] < found["excess"] < found["excess_upper"]
    assert found["excess"].attrs["noise"] in ("absolute", "relative")
    assert found["excess"].attrs["space_rank"] >= 6


def test_leaving_out_tells_what_equal_noise_makes(monkeypatch):
    monkeypatch.setattr("xconverge.kernels.equal_noise.OUTER", 1)
    monkeypatch.setattr("xconverge.kernels.equal_noise.INNER", 2)
    a, b = study(1, np.exp(0.8 * RNG(5).standard_normal(60)))
    call = {"n_permutations": 0, "nuisance": (), "k": 5, "n_bins": 2, "rng": 0, "tail": "less"}
    found = xc.leave_out_modulation(a, b, n_equal_noise=5, **call, null="labels")
    plain = xc.leave_out_modulation(a, b, **call, null="labels")
    assert set(found) - set(plain) == set(NAMES)
    assert found["mean_correlation"] == plain["mean_correlation"]
    assert found["excess"] == found["mean_correlation"] - found["expected_correlation"]
    again = xc.leave_out_modulation(
        a.chunk(model=1), b.chunk(), n_equal_noise=5, **call, null="labels"
    )
    for name in NAMES:
        assert float(again[name]) == pytest.approx(float(found[name]))
    with pytest.raises(xc.SchemaError, match="n_equal_noise= takes no further dims"):
        xc.leave_out_modulation(a, b.expand_dims(time=2), n_equal_noise=5, **call, null="labels")


@pytest.mark.slow
def test_equal_noise_is_seldom_found_and_unequal_noise_often():
    def p_value(seed, noise):
        a, b = study(seed, noise)
        table = xc.leave_out_modulation(
            a,
            b,
            n_permutations=0,
            n_equal_noise=39,
            nuisance=(),
            k=5,
            n_bins=2,
            rng=0,
            tail="less",
            null="labels",
        )
        return float(table["equal_noise_p_value"])

    runs = 12
    equal = [p_value(seed, np.ones(60)) for seed in range(runs)]
    unequal = [p_value(s, np.exp(0.8 * RNG(s).standard_normal(60))) for s in range(runs // 2)]
    assert np.mean(np.array(equal) <= 0.05) <= 2 / runs
    assert np.mean(np.array(unequal) <= 0.05) >= 0.5
