"""The rows of one model, with labels of stimuli."""

import numpy as np
import xarray as xr


def some(n, width, labels=None, seed=0, **coords):
    values = np.random.default_rng(seed).standard_normal((n, width))
    stimuli = list(labels or [f"s{i}" for i in range(n)])
    return xr.DataArray(values, {"stimulus": stimuli, **coords}, ("stimulus", "feature"))
