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

from xconverge.kernels.blocks import on_cores
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rounding import TIE, Array, are_equal, exponent_of, exponents, scaled

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


def settled(values: Array, out: Array | None = None) -> Array:
    """Values in double: all the same where they differ by no more than rounding. NaN stays NaN."""
    wide = np.empty(values.shape) if out is None else out
    wide[...] = values
    if are_equal(values):
        wide[~np.isnan(wide)] = np.fmin.reduce(wide, axis=None, initial=np.inf)
    return wide


def ranks(values: Array, out: Array | None = None) -> Array:
    """Mean ranks along the last axis; NaN stays NaN. Closer than 2^-40 of the largest is a tie.

    Sums of equal terms differ in their last digits with the order of summation; their ranks
    must not. Rounded to a grid, equal values may fall on either side of a step: neighbours on the
    grid tie. ``out`` may be the values themselves.
    """
    same = are_equal(values, -1)
    low, high = (f(values, axis=-1, keepdims=True, initial=0.0) for f in (_LEAST, _MOST))
    largest = np.maximum(-low, high)
    result = np.empty(values.shape) if out is None else out
    np.divide(values, np.where(largest > 0, largest, 1.0), out=result, dtype=np.float64)
    # a power of two: exact
    result *= 1 / TIE
    np.rint(result, out=result)
    missing = np.isnan(result)
    if same.any():
        result[same[..., None] & ~missing] = 0.0
    ordered, order = _in_order(result, missing)
    step = result.view(np.uint64)[..., 1:]
    np.subtract(ordered[..., 1:], ordered[..., :-1], out=step)
    differ = step > 1
    place = ordered.view(np.float64)
    _count(place, 1)
    if not differ.all():
        _share_places(place, differ)
    np.put_along_axis(result, order, place, axis=-1)
    result[missing] = np.nan
    return result


_LEAST, _MOST = np.fmin.reduce, np.fmax.reduce
KEY_BITS = 64
"""Of a sorted key: a step of the grid, and in the last bits the position of the value."""


def _in_order(grid: Array, missing: Array) -> tuple[Array, Array]:
    """Steps (…, n) of a grid in ascending order, what is missing last, and where they stood.

    Both in one key, which is sorted with vectors of the processor, in a third of the time of a sort
    of positions; equal values need no order. Steps are told from some number on.
    """
    low = float(_LEAST(grid, axis=None, initial=0.0))
    beyond = float(_MOST(grid, axis=None, initial=0.0)) - low + 2
    # in place, in one buffer: of so many values fresh memory takes longer than the sort
    keys, order = np.empty((2, *grid.shape), np.uint64)
    steps = np.subtract(grid, low, out=keys.view(np.float64))
    steps[missing] = beyond
    # the last 52 bits of 2^52 + a whole number are that number
    steps += 2.0**52
    bits = grid.shape[-1].bit_length()
    if int(beyond).bit_length() + bits > KEY_BITS:
        where = np.argsort(keys, axis=-1)
        return np.take_along_axis(keys, where, axis=-1), where
    keys <<= np.uint64(bits)
    _count(order, 0)
    keys |= order
    keys.sort(axis=-1)
    np.bitwise_and(keys, np.uint64(2**bits - 1), out=order)
    keys >>= np.uint64(bits)
    return keys, order.view(np.int64)


def _count(rows: Array, first: int) -> None:
    """Fill rows (…, n) with whole numbers from the first, in place."""
    for start in range(0, rows.shape[-1], 2**16):
        part = rows[..., start : start + 2**16]
        part[...] = np.arange(first + start, first + start + part.shape[-1])


def _share_places(place: Array, differ: Array) -> None:
    """Mean places of ordered values (…, n), which ``differ`` (…, n - 1) from the last, in place."""
    joined = np.zeros(place.shape, bool)
    joined[..., 1:] = ~differ
    later = np.flatnonzero(joined)
    starts = np.flatnonzero(np.diff(later, prepend=-1) > 1)
    first, size = later[starts] - 1, np.diff(starts, append=len(later))
    flat = place.reshape(-1)
    middle = flat[first] + size / 2
    flat[first], flat[later] = middle, np.repeat(middle, size)


def standardize(u: Array, weights: Array | None = None) -> Array:
    """Zero mean and unit norm; NaN throughout where all values are equal."""
    largest = np.asarray(max(u.max(initial=0.0), -u.min(initial=0.0)), np.float64)
    exponent = -exponents(largest)
    u, largest = scaled(u, exponent), scaled(largest, exponent)
    mean = u.mean() if weights is None else weights @ u / weights.sum()
    gap = weighted(u - mean, weights)
    norm = np.sqrt(_square(gap))
    # what is left of equal values is the rounding of their mean
    if norm <= 1e-12 * largest * np.sqrt(len(u)):
        return np.full(len(u), np.nan)
    gap /= norm
    return gap


def standard_rows(u: Array) -> Array:
    """Rows (R, n) of ranks or their residuals, as `standardize` makes each, without its scaling."""
    gap = u - u.mean(-1, keepdims=True)
    norm = np.linalg.norm(gap, axis=-1, keepdims=True)
    least = 1e-12 * np.abs(u).max(-1, keepdims=True) * np.sqrt(u.shape[-1])
    return np.asarray(gap / np.where(norm > least, norm, np.nan))


LARGE = 2**18
"""Numbers of vectors from which on these are made on all cores."""
ALONE = 2**13
"""Numbers of a vector that BLAS multiplies by itself: for more it wakes, and awaits, threads."""


def _square(u: Array) -> float:
    """Sum of squares (N)."""
    return float(sum(part @ part for part in (u[i : i + ALONE] for i in range(0, len(u), ALONE))))


def unit(u: Array, weights: Array | None = None) -> Array:
    """Unit norm; NaN throughout where all values are zero."""
    u = weighted(scaled(u, -exponent_of(u)), weights)
    norm = np.sqrt(_square(u))
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
    sides = [*u, *v]
    # threads take longer to start than vectors of few numbers to make
    if size >= LARGE:
        made = on_cores(method.vector, sides, 24 * size)
    else:
        made = [method.vector(one) for one in sides]
    result = inner_products(made[: len(u)], made[len(u) :])
    if np.isnan(result).any():
        message = f"a correlation needs {what} that differ, got equal values"
        tell(message, np.argwhere(np.isnan(result)))
    return np.asarray(np.clip(result, -1, 1))


def inner_products(u: Sequence[Array], v: Sequence[Array]) -> Array:
    """Σ u v (A, B) of vectors (N) of either side, a block of both at a time."""
    result = np.zeros((len(u), len(v)))
    step = max(1, BUDGETS.cache_block // (8 * (len(u) + len(v))))
    if len(u) * len(v) <= 32:
        step = min(step, ALONE)
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
