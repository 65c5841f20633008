"""Soft neighbourhoods: who is among the k nearest, as a number between 0 and 1.

The membership of j in the neighbourhood of i is p_ij = sigmoid((s_ij - θ_i) / τ), s the cosine,
with θ_i such that Σ_j p_ij = k, i itself excluded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xconverge.kernels.vectors import METRICS
from xconverge.torch.vectors import directed

MAX_STEPS = 200
"""Far more than needed: every fourth step halves the bracket, the others converge quadratically."""


def memberships(rows: Tensor, k: int, temperature: float, what: str) -> Tensor:
    """Memberships (stimulus, stimulus), zero on the diagonal, of rows (stimulus, width)."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0")
    unit = directed(rows, METRICS["cosine"], what)
    n = len(unit)
    others = ~torch.eye(n, dtype=torch.bool, device=unit.device)
    similarity = (unit @ unit.T)[others].reshape(n, n - 1)
    result = unit.new_zeros(n, n)
    result[others] = soft_largest(similarity, k, temperature).flatten()
    return result


def soft_largest(values: Tensor, k: int, temperature: float) -> Tensor:
    """Memberships (n, m) of the values (n, m) among the k largest of their row; k of each row.

    The gradient follows θ, by the implicit function theorem: with w_j = p_j (1 - p_j),
    dθ = Σ_j w_j ds_j / Σ_j w_j.
    """
    if k == values.shape[1]:
        return torch.ones_like(values)
    # from the k-th largest on: near it, where memberships are decided, no digit is lost
    values = values - values.detach().topk(k, dim=1).values[:, -1:]
    with torch.no_grad():
        threshold = _thresholds(values, k, temperature)
        soft = torch.sigmoid((values - threshold) / temperature)
        weight = soft * (1 - soft)
        # all memberships may have rounded to 0 and 1; the gradient is 0 there, not NaN
        weight /= weight.sum(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    # adds 0 to the value, and to the gradient what the sum over the row asks of θ
    threshold = threshold + (weight * (values - values.detach())).sum(1, keepdim=True)
    return torch.sigmoid((values - threshold) / temperature)


def _thresholds(values: Tensor, k: int, temperature: float) -> Tensor:
    """θ (n, 1) with Σ_j sigmoid((values - θ) / τ) = k: Newton's method inside a bracket.

    m equal values v have θ = v - τ log(k / (m - k)); so the least and the largest bound it.
    """
    offset = temperature * math.log(k / (values.shape[1] - k))
    low = values.amin(1, keepdim=True) - offset
    high = values.amax(1, keepdim=True) - offset
    threshold = (low + high) / 2
    enough = 4 * torch.finfo(values.dtype).eps * values.shape[1]
    for step in range(MAX_STEPS):
        soft = torch.sigmoid((values - threshold) / temperature)
        excess = soft.sum(1, keepdim=True) - k
        if not (excess.abs() > enough).any():
            break
        low = torch.where(excess > 0, threshold, low)
        high = torch.where(excess < 0, threshold, high)
        slope = (soft * (1 - soft)).sum(1, keepdim=True) / temperature
        newton = threshold + excess / slope
        # flat where every membership is near 0 or 1: Newton leaves the bracket, or crawls along it
        inside = (newton > low) & (newton < high) & (step % 4 < 3)
        threshold = torch.where(inside, newton, (low + high) / 2)
    return threshold
