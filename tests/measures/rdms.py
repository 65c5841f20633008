"""RDMs of subjects that have something in common, and what rsatoolbox makes of them."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import squareform

import xconverge as xc

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rsatoolbox = pytest.importorskip("rsatoolbox")

THEIRS = {
    "spearman": "spearman",
    "pearson": "corr",
    "kendall": "tau-a",
    "cosine": "cosine",
    "rho-a": "rho-a",
}


def subjects(n_subjects=4, n=12, seed=0, ties=False):
    """RDMs of several subjects with a common structure."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 4))
    x = np.stack([common + rng.standard_normal((n, 4)) for _ in range(n_subjects)])
    reps = xr.DataArray(
        x,
        dims=("subject", "stimulus", "feature"),
        coords={
            "subject": [f"p{i}" for i in range(n_subjects)],
            "stimulus": [f"s{i}" for i in range(n)],
        },
    )
    rdms = xc.rdm(reps, "euclidean")
    return rdms.round(0) if ties else rdms


def theirs(rdms):
    vectors = np.array([squareform(values, checks=False) for values in rdms.values])
    return rsatoolbox.rdm.RDMs(vectors)


def flat(n):
    return 1 - np.eye(n)
