"""Corrections of p-values for the number of tests: max-T, cluster mass, false discovery.

Draws (D, …) of a family of tests hold the observed statistics first, then those of permutations
that are the same for all tests. Whatever scales them (means, deviations, thresholds) is a symmetric
function of all D, the observed ones too, so that a true null holds its level at any D.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy

from xconverge.kernels.permutations import SLACK
from xconverge.kernels.vectors import Array

CLOSE = 1e-9
"""Standardised statistics of equal terms in another order."""
Correction = Literal["max_t", "cluster", "bh", "by"]


def max_adjusted(draws: Array, tail: str = "greater") -> Array:
    """P-values (…) of draws (D, …) against the null of the most extreme of all tests (max-T).

    Westfall & Young (1993), single step; each test is set on the scale of its own draws, so that
    chance levels may differ. Tests without a draw drop out, and are NaN.
    """
    flat = draws.reshape(len(draws), -1)
    defined = ~np.isnan(flat).any(0)
    result = np.full(flat.shape[1], np.nan)
    if len(draws) > 1 and defined.any():
        values = extremity(standardized(flat[:, defined]), tail)
        most = np.sort(values[1:].max(1))
        # a search in the sorted maxima: to compare all tests with all draws would be much more
        above = len(most) - np.searchsorted(most, values[0] - CLOSE)
        result[defined] = (1 + above) / len(draws)
    return result.reshape(draws.shape[1:])


def cluster_mass(draws: Array, alpha: float = 0.05, tail: str = "greater") -> Array:
    """P-values (…, T) of clusters of neighbouring bins, from draws (D, …, T).

    A bin stands out where its standardised statistic exceeds what a share ``alpha`` of its own
    draws do (each sign apart, and half of it, if two-sided); the mass of a cluster is the sum
    over the bins that stand out in a row. Each bin has the p-value of its cluster: the share of
    draws whose largest mass in the family is at least as large; 1 in no cluster (Maris &
    Oostenveld 2007). Bins without a draw are NaN, and part their neighbours.
    """
    result = np.full(draws.shape[1:], np.nan)
    defined = ~np.isnan(draws).any(0)
    if len(draws) < 2 or not defined.any():
        return result
    values = standardized(np.where(defined, draws, 0.0))
    signed = {"greater": [1.0], "less": [-1.0], "two-sided": [1.0, -1.0]}[tail]
    part = alpha / len(signed)
    sides = [_standing_out(sign * values, part) for sign in signed]
    largest = np.max([_largest_mass(side) for side in sides], axis=0)
    # clusters of either sign never share a bin
    mass = sum(_own_mass(side[0]) for side in sides)
    ordered = np.sort(largest)
    above = len(ordered) - np.searchsorted(ordered, mass - CLOSE)
    result[defined] = np.where(mass > 0, above / len(draws), 1.0)[defined]
    return result


def standardized(draws: Array) -> Array:
    """Draws (D, …) less their mean, by their deviation; 0 where they do not differ."""
    deviation = draws.std(0)
    return np.asarray((draws - draws.mean(0)) / np.where(deviation > SLACK, deviation, np.inf))


def extremity(values: Array, tail: str) -> Array:
    """Values so that more extreme is larger."""
    if tail == "two-sided":
        return np.abs(values)
    return values if tail == "greater" else -values


def _standing_out(values: Array, alpha: float) -> Array:
    """Values (D, …) that are beyond their own upper quantile, and above 0; else 0."""
    place = math.ceil((1 - alpha) * len(values) - CLOSE) - 1
    threshold = np.partition(values, place, axis=0)[place]
    return np.where((values > threshold + CLOSE) & (values > 0), values, 0.0)


def _largest_mass(values: Array) -> Array:
    """Largest sum (D) of neighbours above 0 along the last axis, of values (D, …, T)."""
    running = np.zeros(values.shape[:-1])
    largest = np.zeros(len(values))
    for column in np.moveaxis(values, -1, 0):
        running = np.where(column > 0, running + column, 0.0)
        np.maximum(largest, running.reshape(len(values), -1).max(1), out=largest)
    return largest


def _own_mass(values: Array) -> Array:
    """Of every bin (…, T) the sum over the neighbours above 0 that it is one of, 0 in none."""
    inside = values > 0
    # a new number wherever a row begins, and wherever inside changes
    turns = np.diff(inside, axis=-1, prepend=~inside[..., :1])
    numbers = np.cumsum(turns.reshape(-1)) - 1
    sums = np.bincount(numbers, values.reshape(-1))
    return np.asarray(sums[numbers].reshape(values.shape))


def false_discovery(p: Array, dependent: bool) -> Array:
    """P-values adjusted for their number: Benjamini & Hochberg (1995), or & Yekutieli (2001)."""
    p = np.asarray(p)
    result = np.full(p.shape, np.nan)
    defined = ~np.isnan(p)
    if defined.any():
        method: Literal["by", "bh"] = "by" if dependent else "bh"
        result[defined] = scipy.stats.false_discovery_control(p[defined], method=method)
    return result


def least_draws(m: int, alpha: float, method: Correction) -> int:
    """Permutations B with which one test of ``m``, the others far from it, could be rejected.

    The smallest p-value is 1 / (1 + B). Max-T and cluster mass compare it with alpha, Benjamini &
    Hochberg with alpha / m, and Yekutieli with alpha / (m Σ 1/i).
    """
    factor = {
        "max_t": 1.0,
        "cluster": 1.0,
        "bh": float(m),
        "by": m * float((1 / np.arange(1, m + 1)).sum()),
    }[method]
    return math.ceil(factor / alpha - CLOSE) - 1
