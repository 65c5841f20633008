"""RSA in alignment, and what RDMs and their comparisons do not see."""

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps
from tests.measures.sides import MAPS, two_sides
from xconverge.measures.rdm import DISTANCES
from xconverge.measures.rsa import METHODS


@pytest.mark.parametrize("method", ["spearman", "pearson", "kendall", "cosine", "rho-a"])
def test_rsa_is_that_of_the_rdms(method):
    a, b = two_sides()
    found = xc.alignment(a, b, "rsa", method=method, rdm_metric="euclidean")
    expected = xc.rsa(xc.rdm(a, "euclidean"), xc.rdm(b, "euclidean"), method)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_invariances_of_rdms(metric, name):
    rng = np.random.default_rng(0)
    reps = make_reps(1, 20, 8, offset=1.0)
    moved = reps.copy(data=MAPS[name](reps.values[0], rng)[None])
    same = np.allclose(xc.rdm(reps, metric), xc.rdm(moved, metric), atol=1e-9)
    assert same == (name in DISTANCES[metric].invariant)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("name", "move"), [("scale", (3.0, 0.0)), ("translation", (1.0, 0.5))])
@pytest.mark.parametrize("method", METHODS)
def test_invariances_of_comparisons(method, name, move):
    factor, added = move
    a, b = xc.rdm(make_reps(1, 12, 5, seed=1)), xc.rdm(make_reps(1, 12, 5, seed=2))
    before, after = (xc.rsa(side, b, method).item() for side in (a, factor * a + added))
    assert (abs(before - after) < 1e-9) == (name in METHODS[method].invariant)
