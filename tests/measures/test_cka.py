"""CKA: its formula, offsets, more features than stimuli, known truths."""

import numpy as np
import pytest

import xconverge as xc
from tests import oracles
from tests.measures.sides import TOLERANCE, gaussian, one_pair, two_sides


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_its_formula(kernel, debiased, dtype):
    a, b, x, y = one_pair(dtype=dtype)
    k, m = (oracles.rbf(x), oracles.rbf(y)) if kernel == "rbf" else (x @ x.T, y @ y.T)
    expected = oracles.cka(k, m, oracles.hsic if debiased else oracles.biased_hsic)
    found = xc.alignment(a, b, "cka", kernel=kernel, debiased=debiased)
    assert float(found[0, 0]) == pytest.approx(expected, abs=TOLERANCE[dtype])


def test_the_width_of_an_rbf_kernel():
    a, b, x, y = one_pair()
    expected = oracles.cka(oracles.rbf(x, 0.5), oracles.rbf(y, 0.5))
    found = xc.alignment(a, b, "cka", kernel="rbf", sigma=0.5)
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-10)


def test_more_features_than_stimuli_change_no_kernel():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(15)]
    x, y = rng.standard_normal((15, 40)), rng.standard_normal((15, 9))
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    expected = oracles.cka(x @ x.T, y @ y.T)
    assert float(xc.alignment(a, b, "cka")[0, 0]) == pytest.approx(expected, abs=1e-12)


def test_rbf_cka_with_missing_stimuli_is_that_of_the_common_ones():
    a, b = two_sides(missing=[(0, 2), (1, 5)])
    found = xc.alignment(a, b, "cka", kernel="rbf")
    assert found.notnull().all()
    assert float(found.max()) <= 1


@pytest.mark.slow
def test_independent_sets_have_no_unbiased_cka():
    a, b = gaussian(0), gaussian(1)
    assert abs(float(xc.alignment(a, b, "cka")[0, 0])) < 0.005
    assert float(xc.alignment(a, b, "cka", debiased=False)[0, 0]) == pytest.approx(0.435, abs=0.01)
    assert abs(float(xc.alignment(a, b, "cka", kernel="rbf")[0, 0])) < 0.005


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_cka_of_unit_rows_with_themselves_is_one(scale):
    a = xc.unit_rows(gaussian(0, 200, 64)) * np.float32(scale)
    for debiased in (True, False):
        value = xc.alignment(a, a, "cka", debiased=debiased)
        assert float(value[0, 0]) == pytest.approx(1, abs=1e-6)
