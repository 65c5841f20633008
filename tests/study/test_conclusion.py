"""What may be said, by both p-values."""

import numpy as np
import pytest
import xarray as xr

from xconverge.study.conclusion import VERDICTS, conclusion


def table(p_structure, p_noise, null="mixed", draws=199):
    values = {
        "mean_correlation": -0.6,
        "mean_p_value": p_structure,
        "expected_correlation": -0.45,
        "excess": -0.15,
        "excess_lower": -0.2,
        "excess_upper": -0.1,
        "equal_noise_p_value": p_noise,
    }
    found = xr.Dataset(values, attrs={"null": null})
    found["equal_noise_p_value"].attrs["n_equal_noise"] = draws
    return found


@pytest.mark.parametrize(
    ("p_structure", "p_noise", "start"),
    [
        (0.01, 0.05, "dispersion and alignment go together, beyond smoothness and beyond"),
        (
            0.05,
            0.06,
            "dispersion and alignment go together beyond smoothness, but no more than equal",
        ),
        (
            0.2,
            0.01,
            "dispersion and alignment go together more than equal noise makes, but no more",
        ),
        (0.2, 0.9, "that dispersion and alignment go together is not shown"),
    ],
)
def test_the_four_sentences(p_structure, p_noise, start):
    told = conclusion(table(p_structure, p_noise))
    assert told.startswith(start)
    for figure in ("-0.60", "-0.45", "-0.15 [-0.20, -0.10]", f"p = {p_noise:.3f}"):
        assert figure in told


def test_every_verdict_is_one_of_four():
    assert len(set(VERDICTS.values())) == 4
    assert "p < 0.001" in conclusion(table(1e-9, 0.01))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (table(0.01, 0.01, null="labels"), "labels were permuted"),
        (table(np.nan, 0.01), "could not be computed"),
        (table(0.01, 0.1, draws=9), "9 draws of equal noise are too few"),
    ],
)
def test_what_cannot_be_said_is_not(given, why):
    assert conclusion(given).startswith("not said: ")
    assert why in conclusion(given)
