"""Sums of kernels, and HSIC from them."""

import numpy as np
import pytest
import scipy

from xconverge.kernels.cka import cross, linear_sums
from xconverge.kernels.hsic import hsic, sums_of


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((9, 3)), rng.standard_normal((9, 5)) + 1


def kernels(rows, debiased):
    both = [x @ x.T for x in rows]
    return [k - np.diag(np.diag(k)) if debiased else k for k in both]


def test_sums_are_those_of_plain_loops():
    rng = np.random.default_rng(1)
    k, m = rng.standard_normal((2, 5, 5))
    n = range(5)
    expected = (
        sum(k[i, j] * m[j, i] for i in n for j in n),
        sum(k[i, j] * m[j, h] for i in n for j in n for h in n),
        sum(k[i, j] for i in n for j in n),
        sum(m[i, j] for i in n for j in n),
        5,
    )
    np.testing.assert_allclose(sums_of(k, m), expected, rtol=1e-12)
    sparse = [scipy.sparse.csr_array(kernel) for kernel in (k, m)]
    np.testing.assert_allclose(sums_of(*sparse), expected, rtol=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_rows_have_the_sums_of_their_kernels(rows, debiased):
    expected = sums_of(*kernels(rows, debiased))
    np.testing.assert_allclose(linear_sums(cross(*rows), debiased), expected, rtol=1e-11)


def test_hsic_is_a_trace_of_centred_kernels(rows):
    k, m = kernels(rows, False)
    n = len(k)
    center = np.eye(n) - 1 / n
    expected = np.trace(k @ center @ m @ center) / (n - 1) ** 2
    assert hsic(sums_of(k, m), debiased=False) == pytest.approx(expected, rel=1e-12)


def test_the_unbiased_estimate_is_a_mean_over_four_stimuli(rows):
    """Song et al. (2012), theorem 2: a U-statistic, over all ordered four different stimuli."""
    k, m = (kernel[:6, :6] for kernel in kernels(rows, True))
    terms = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i in range(6) for j in range(6) for q in range(6) for r in range(6)
        if len({i, j, q, r}) == 4
    ]  # fmt: skip
    assert hsic(sums_of(k, m), debiased=True) == pytest.approx(np.mean(terms), rel=1e-11)
