"""Synthetic sets: their truth, and the seed that brings them back."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.testing import planted_study


@pytest.mark.parametrize("rng", [None, 3, np.random.default_rng(1)])
def test_a_planted_study_says_its_seed(rng):
    study = planted_study(n_models=2, n_stimuli=8, rng=rng)
    assert study["vision"].attrs["seed"] == study["language"].attrs["seed"]
    again = planted_study(n_models=2, n_stimuli=8, rng=study["vision"].attrs["seed"])
    for modality, reps in study.items():
        xr.testing.assert_identical(xc.validate(reps), again[modality])
    other = planted_study(n_models=2, n_stimuli=8, rng=7)
    assert not np.array_equal(other["vision"].values, study["vision"].values)
