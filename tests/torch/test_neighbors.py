"""Soft neighbourhoods against plain loops and lists; their range, chance level and gradients."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

import xconverge as xc
from tests.helpers import make_reps
from tests.torch.outputs import labelled, outputs, tensors

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")
neighbors = pytest.importorskip("xconverge.torch.neighbors")

WIDTHS = [6, 3, 8]


def memberships(x, k, temperature):
    """Memberships (n, n) from their definition."""
    n = len(x)
    result = np.zeros((n, n))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        cosine = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in others]

        def excess(level, cosine=cosine):
            return sum(expit((c - level) / temperature) for c in cosine) - k

        level = brentq(excess, -2 - 20 * temperature, 2 + 20 * temperature, xtol=1e-15)
        for j, c in zip(others, cosine, strict=True):
            result[i, j] = expit((c - level) / temperature)
    return result


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_against_plain_loops(k, temperature):
    x = make_reps(3, 10, 4).values
    p = [memberships(rows, k, temperature) for rows in x]
    pairs = list(itertools.combinations(range(3), 2))
    shared = [sum((p[a][i] * p[b][i]).sum() / k for a, b in pairs) / len(pairs) for i in range(10)]
    options = {"k": k, "temperature": temperature}
    found = xt.dispersion(torch.tensor(x), "neighborhood", **options)
    np.testing.assert_allclose(found, 1 - np.array(shared), rtol=1e-10)
    found = xt.alignment(*torch.tensor(x[:2]), **options)
    np.testing.assert_allclose(found, (p[0] * p[1]).sum(1) / k, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("k", [1, 4, 19])
def test_lists_in_the_limit(k):
    several = tensors(make_reps(3, 20, WIDTHS))
    reps = labelled(several)
    expected = xc.dispersion(reps, "neighborhood", k=k).values
    found = xt.dispersion(several, "neighborhood", k=k, temperature=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    expected = xc.alignment(reps[:1], reps[1:2], k=k).values[0, 0]
    found = xt.alignment(several[0], several[1], k=k, temperature=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_they_converge_to_lists():
    several = tensors(make_reps(3, 60, WIDTHS))
    expected = xc.dispersion(labelled(several), "neighborhood", k=5).values
    gaps = [
        np.abs(xt.dispersion(several, "neighborhood", k=5, temperature=t).numpy() - expected).mean()
        for t in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.05
    assert gaps[-1] < 1e-3


@given(
    st.integers(0, 99),
    st.integers(2, 15),
    st.floats(1e-12, 1e3),
    st.sampled_from([32, 64]),
    st.data(),
)
def test_rows_hold_k_in_all_at_any_temperature(seed, n, temperature, bits, data):
    k = data.draw(st.integers(1, n - 1))
    dtype = {32: torch.float32, 64: torch.float64}[bits]
    x = torch.tensor(make_reps(2, n, 3, seed).values, dtype=dtype)
    if data.draw(st.booleans()):
        x[:, : n // 2] = x[:, :1]
    p = neighbors.memberships(x[0], k, temperature, "x")
    assert ((p >= 0) & (p <= 1)).all()
    assert (p.diagonal() == 0).all()
    torch.testing.assert_close(p.sum(1), torch.full((n,), k, dtype=dtype))
    rounding = 1e-5 if bits == 32 else 1e-12
    value = xt.dispersion(x, "neighborhood", k=k, temperature=temperature)
    assert ((value > -rounding) & (value < 1 + rounding)).all()


@pytest.mark.parametrize("temperature", [1e-6, 0.05, 2.0])
def test_chance_is_exact_at_any_temperature(temperature):
    n, k = 6, 2
    a, b = torch.tensor(make_reps(2, n, 4).values)
    p, q = (neighbors.memberships(rows, k, temperature, "x") for rows in (a, b))
    orders = [torch.tensor(order) for order in itertools.permutations(range(n))]
    mean = sum(float((p * q[o][:, o]).sum()) for o in orders) / len(orders) / n / k
    assert mean == pytest.approx(k / (n - 1))


def test_collapse_does_not_pay():
    x = torch.tensor(make_reps(3, 30, 6).values)
    collapsed = torch.ones_like(x)
    assert xt.dispersion(collapsed, "cosine").abs().max() < 1e-15
    value = xt.dispersion(collapsed, "neighborhood", k=5)
    np.testing.assert_allclose(value, 1 - 5 / 29)
    assert (xt.dispersion(x[:1].expand(3, -1, -1), "neighborhood", k=5) < 1 - 5 / 29 - 0.2).all()


def test_all_others_are_neighbors():
    a, b = torch.tensor(make_reps(2, 5, 4).values)
    np.testing.assert_allclose(xt.alignment(a, b, k=4), 1)
    np.testing.assert_allclose(xt.alignment(a[:2], b[:2], k=1), 1)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("k", [1, 3, 7, 8])
def test_gradients(k, temperature):
    options = {"k": k, "temperature": temperature}
    several = outputs()
    assert torch.autograd.gradcheck(lambda *x: xt.dispersion(x, "neighborhood", **options), several)
    assert torch.autograd.gradcheck(lambda a, b: xt.alignment(a, b, **options), several[:2])


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-3, 1e-12])
@pytest.mark.parametrize("repeated", [2, 5, 12])
def test_where_rows_repeat(repeated, temperature):
    x = torch.stack([rows.detach() for rows in outputs(12, (4, 4))])
    x[:, :repeated] = x[:, :1].clone()
    x.requires_grad_()
    options = {"k": 3, "temperature": temperature}
    total = xt.dispersion(x, "neighborhood", **options).sum() + xt.alignment(*x, **options).sum()
    if repeated < 12:
        total = total + xt.alignment(*x, "cka") + xt.dispersion(x, "consensus").sum()
    total.backward()
    assert x.grad.isfinite().all()
