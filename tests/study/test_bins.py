"""Quantile bins against plain loops."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from xconverge.study.bins import bin_labels, subset_labels


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(2, 4))
def test_bins_follow_the_edges(values, n_bins):
    x = xr.DataArray(
        np.array(values, float),
        dims="stimulus",
        coords={"stimulus": [f"s{i}" for i in range(len(values))]},
    )
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        bins = xc.dispersion_bins(x, n_bins)
    assert bins.attrs["edges"] == pytest.approx(edges.tolist())
    for value, found in zip(values, bins.values, strict=True):
        expected = next(b for b in range(n_bins) if value <= edges[b + 1])
        assert found == expected
    empty = sorted(set(range(n_bins)) - set(bins.values.tolist()))
    assert bins.attrs.get("merged_bins", []) == empty


def test_a_stimulus_without_dispersion_has_no_bin():
    x = xr.DataArray(
        [0.1, np.nan, 0.3, 0.2, 0.4], dims="stimulus", coords={"stimulus": list("abcde")}
    )
    assert xc.dispersion_bins(x, 2).values.tolist() == [0, -1, 1, 0, 1]
    with pytest.raises(ValueError, match="n_bins=1"):
        xc.dispersion_bins(x, 1)


def test_readers_count_bins_from_one():
    assert bin_labels(3) == ["1 of 3", "2 of 3", "3 of 3"]
    assert subset_labels(2) == ["all", "1 of 2", "2 of 2"]
