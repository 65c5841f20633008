"""Models by RSA: what is drawn is what the table says."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible

plot = pytest.importorskip("xconverge.plot")


def ranking(n=4, subjects=True):
    drawn = np.random.default_rng(0)
    shape = (n, 3)
    rsa = drawn.uniform(0, 0.6, shape)
    top = np.full(shape, 0.7 if subjects else np.nan)
    names = ("rsa", "lower", "upper", "ceiling_lower", "ceiling_upper", "among_best")
    parts = (rsa, rsa - 0.1, rsa + 0.1, top - 0.1, top, rsa > 0.3)
    return xr.Dataset(
        {name: (("model", "subset"), part) for name, part in zip(names, parts, strict=True)},
        coords={"model": (ODD * 2)[:n], "subset": ["all", "1 of 2", "2 of 2"]},
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("n", "subjects"), [(1, True), (9, True), (9, False)])
def test_models_are_ranked_from_the_best_downwards(n, subjects, monkeypatch):
    table = ranking(n, subjects)
    ax = plot.models_by_subset(table)
    assert_legible(ax.get_figure(), monkeypatch)
    order = np.argsort(table["rsa"][:, 0].values)
    first = np.concatenate([line.get_xydata() for line in ax.lines[:2]])
    np.testing.assert_allclose(first[first[:, 1].argsort(), 0], table["rsa"][order, 0])
    with pytest.raises(xc.SchemaError, match="select_models.*got a Dataset of 'rsa'"):
        plot.models_by_subset(table[["rsa"]])
