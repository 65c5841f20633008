"""Tests whose null distribution has a closed form."""

import math

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.labels.messages import SchemaError


def two_sides(n, missing=0.0):
    a = make_reps(3, n, [5, 3, 4], 0, missing=missing, shared=False)
    return a, make_reps(2, n, [4, 6], 1, missing=missing, shared=False)


def test_overlap_p_values_are_hypergeometric():
    a, b = two_sides(12)
    agreement = xc.alignment(a, b, k=3)
    found = xc.overlap_p_value(agreement)
    total = math.comb(11, 3)
    for share, p in zip(agreement.values.ravel(), found.values.ravel(), strict=True):
        shared = round(share * 3)
        exact = sum(math.comb(3, s) * math.comb(8, 3 - s) for s in range(shared, 4)) / total
        assert p == pytest.approx(exact)
    lazy = xc.overlap_p_value(xc.alignment(a.chunk(model=1), b, k=3))
    assert lazy.chunks
    xr.testing.assert_allclose(lazy.compute(), found)
    with pytest.raises(SchemaError, match="mutual_knn"):
        xc.overlap_p_value(xc.alignment(a, b, "rdm"))


def test_each_pair_has_the_p_values_of_its_pool():
    a, b = two_sides(26, missing=0.3)
    a[2, 3:] = np.nan
    with pytest.warns(RuntimeWarning, match="at least 4 stimuli"):
        agreement = xc.alignment(a, b, k=3)
    found = xc.overlap_p_value(agreement)
    for i, j in np.ndindex(3, 2):
        shares, p = agreement[i, j].values, found[i, j].values
        pool = int((~np.isnan(shares)).sum())
        for share, one in zip(shares, p, strict=True):
            if np.isnan(share):
                assert np.isnan(one)
                continue
            ways = [math.comb(3, s) * math.comb(pool - 4, 3 - s) for s in range(4)]
            exact = sum(ways[round(share * 3) :]) / math.comb(pool - 1, 3)
            assert one == pytest.approx(exact)
    assert found[2].isnull().all()
    # stimuli that are left out of the scores were in their pool
    xr.testing.assert_equal(xc.overlap_p_value(agreement[..., :9]), found[..., :9])
    counted = xc.overlap_p_value(agreement.drop_vars("chance"))
    np.testing.assert_array_equal(counted, found)
    with pytest.raises(ValueError, match="no share of k=3"):
        xc.overlap_p_value(agreement.mean("model_b").assign_attrs(agreement.attrs))
