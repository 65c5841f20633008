"""How alike two sets of values are: ranks, and what correlates values or ranks of them.

Every comparison but Kendall's is an inner product of two vectors, each made of its own side alone.
All pairs of two sets of vectors are then one matrix product.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import scipy

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rounding import TIE, Array, are_equal, exponent_of, scaled

Tell = Callable[[str, Array], None]
"""Told what is missing, and for which pairs (k, 2), by position, there is no similarity."""


class Vector(Protocol):
    """What a side of a comparison becomes: a vector whose inner product with the other's it is.

    ``weights`` (N) say how often each value is there; their roots go into both vectors.
    """

    def __call__(self, u: Array, weights: Array | None = None) -> Array:
        """Of values (N)."""
        ...


class Method(NamedTuple):
    """A comparison: of ranks or not, and the vectors whose inner product it is.

    ``centered`` ones have a mean of 0. None stands for what is no inner product: Kendall's tau.
    """

    ranked: bool
    vector: Vector | None
    centered: bool = True


def settled(values: Array) -> Array:
    """Values in double: all the same where they differ by no more than rounding. NaN stays NaN."""
    wide = values.astype(np.float64)
    if are_equal(values):
        wide[~np.isnan(wide)] = np.fmin.reduce(wide, axis=None, initial=np.inf)
    return wide


def ranks(values: Array) -> Array:
    """Mean ranks along the last axis; NaN stays NaN. Closer than 2^-40 of the largest is a tie.

    Sums of equal terms differ in their last digits with the order of summation; their ranks
    must not. Rounded to a grid, equal values may fall on either side of a step: neighbours on the
    grid tie.
    """
    largest = np.nanmax(np.abs(values), axis=-1, keepdims=True, initial=0.0)
    grid = np.round(values / np.where(largest > 0, largest, 1.0) / TIE)
    if (same := are_equal(values, -1)).any():
        grid = np.where(same[..., None] & ~np.isnan(grid), 0.0, grid)
    # scipy's rankdata sorts stably, which takes three times as long; equal values need no order
    order = np.argsort(grid, axis=-1)
    ordered = np.take_along_axis(grid, order, axis=-1)
    place = np.broadcast_to(np.arange(1.0, grid.shape[-1] + 1), grid.shape)
    with np.errstate(invalid="ignore"):
        differ = ~(ordered[..., 1:] - ordered[..., :-1] <= 1)
    if differ.all():
        middle = place
    else:
        # of each run of equal values the first place, and from behind the last one
        first, last = place.copy(), place.copy()
        first[..., 1:][~differ] = 0.0
        last[..., :-1][~differ] = np.inf
        np.maximum.accumulate(first, axis=-1, out=first)
        last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
        middle = (first + last) / 2
    result = np.empty(grid.shape)
    np.put_along_axis(result, order, middle, axis=-1)
    result[np.isnan(grid)] = np.nan
    return result


def standardize(u: Array, weights: Array | None = None) -> Array:
    """Zero mean and unit norm; NaN throughout where all values are equal."""
    u = scaled(u, -exponent_of(u))
    mean = u.mean() if weights is None else weights @ u / weights.sum()
    gap = weighted(u - mean, weights)
    norm = np.sqrt(gap @ gap)
    largest = max(u.max(initial=0.0), -u.min(initial=0.0))
    # what is left of equal values is the rounding of their mean
    if norm <= 1e-12 * largest * np.sqrt(len(u)):
        return np.full(len(u), np.nan)
    gap /= norm
    return gap


def unit(u: Array, weights: Array | None = None) -> Array:
    """Unit norm; NaN throughout where all values are zero."""
    u = weighted(scaled(u, -exponent_of(u)), weights)
    norm = np.sqrt(u @ u)
    return np.asarray(u / norm) if norm > 0 else np.full(len(u), np.nan)


def centered_ranks(u: Array, weights: Array | None = None) -> Array:
    """Ranks whose inner product is rho-a, Spearman's rho with ties broken at random, on average.

    rho-a = 12 Σ (r - r̄)(s - s̄) / (N³ - N) of mean ranks (Schütt et al. 2023): the norm is that of
    N distinct ranks, whatever the ties, so that ties keep it below 1.
    """
    n = float(len(u) if weights is None else weights.sum())
    return np.asarray(weighted(u - (n + 1) / 2, weights) * np.sqrt(12 / (n**3 - n)))


def weighted(u: Array, weights: Array | None) -> Array:
    """Values times the roots of their weights."""
    return u if weights is None else np.asarray(u * np.sqrt(weights))


METHODS = {
    "spearman": Method(ranked=True, vector=standardize),
    "pearson": Method(ranked=False, vector=standardize),
    "kendall": Method(ranked=True, vector=None),
    "cosine": Method(ranked=False, vector=unit, centered=False),
    "rho-a": Method(ranked=True, vector=centered_ranks),
}


def similarity(u: Array, v: Array, what: str, method: Method = METHODS["pearson"]) -> float:
    """Similarity of two sets of values; NaN with a warning where there is too little to compare."""
    return float(similarities([u], [v], what, method)[0, 0])


def similarities(
    u: Sequence[Array], v: Sequence[Array], what: str, method: Method, tell: Tell | None = None
) -> Array:
    """Similarity (A, B) of all pairs of values (N) of ``u`` (A) and ``v`` (B), ranks if so."""
    size = len(u[0])
    tell = tell or undefined
    if size < 3:
        result = np.full((len(u), len(v)), np.nan)
        tell(f"a correlation needs at least 3 {what}, got {size}", np.argwhere(np.isnan(result)))
        return result
    if method.vector is None:
        return np.array([[tau_a(one, other) for other in v] for one in u])
    result = inner_products(*([method.vector(one) for one in side] for side in (u, v)))
    if np.isnan(result).any():
        message = f"a correlation needs {what} that differ, got equal values"
        tell(message, np.argwhere(np.isnan(result)))
    return np.asarray(np.clip(result, -1, 1))


def inner_products(u: Sequence[Array], v: Sequence[Array]) -> Array:
    """Σ u v (A, B) of vectors (N) of either side, a block of both at a time."""
    result = np.zeros((len(u), len(v)))
    step = max(1, BUDGETS.cache_block // (8 * (len(u) + len(v))))
    for start in range(0, len(u[0]), step):
        one, other = (np.stack([x[start : start + step] for x in side]) for side in (u, v))
        result += one @ other.T
    return result


def tau_a(u: Array, v: Array) -> float:
    """Kendall's tau-a: concordant less discordant pairs, over all pairs, ties included.

    scipy has tau-b, which divides by √(untied pairs of u × untied pairs of v) instead. Tau-a does
    not prefer models that predict ties (Nili et al. 2014).
    """
    total = len(u) * (len(u) - 1) / 2
    untied = [total - (n * (n - 1) / 2).sum() for n in (_multiplicity(u), _multiplicity(v))]
    if not all(untied):
        return 0.0
    return float(
        scipy.stats.kendalltau(u, v).statistic * np.sqrt(untied[0]) * np.sqrt(untied[1]) / total
    )


def _multiplicity(values: Array) -> Array:
    return np.unique(values, return_counts=True)[1]


def undefined(message: str, where: Array | None = None) -> None:
    """Say that there is too little to compare."""
    warnings.warn(f"{message}: NaN", RuntimeWarning, stacklevel=4)
