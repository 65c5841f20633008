"""Tests whose null distribution has a closed form."""

import math

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
    a, b = two_sides(26, missing=0.2)
    with pytest.warns(RuntimeWarning, match="no exact p-value"):
        assert xc.overlap_p_value(xc.alignment(a, b, k=3)).isnull().any()
