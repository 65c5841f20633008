"""RDMs and what rsatoolbox and scipy make of them, for tests."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import pdist, squareform

import xconverge as xc
from tests.helpers import make_reps

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


def a_pair(dtype=np.float64, missing=True):
    """Two sets of models; some models miss some of the stimuli."""
    gaps = ([(0, 2), (1, 2), (1, 5)], [(0, 7)]) if missing else ([], [])
    a = make_reps(3, 12, [6, 4, 5], seed=1, missing=gaps[0], dtype=dtype)
    b = make_reps(2, 12, [7, 5], seed=2, missing=gaps[1], dtype=dtype)
    return a, b.assign_coords(model=["bert", "gpt"]).assign_attrs(modality="language")


def one_model(reps, name):
    """The real features of one of them."""
    array = reps.sel(model=name)
    return array.values[:, : int(array["n_features"])].astype(np.float64)


def plain_rdm(x, metric):
    """The RDM by scipy, NaN where a stimulus is missing."""
    n = len(x)
    result = np.full((n, n), np.nan)
    seen = [i for i in range(n) if not np.isnan(x[i]).any()]
    result[np.ix_(seen, seen)] = squareform(pdist(x[seen], metric))
    return result
