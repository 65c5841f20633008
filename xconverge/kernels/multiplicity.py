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

from xconverge.kernels.budgets import BUDGETS
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


def cluster_mass(
    draws: Array, alpha: float = 0.05, tail: str = "greater", ordered: int = 1
) -> Array:
    """P-values (…, T) of clusters of neighbouring bins, from draws (D, …, T).

    A bin stands out where its standardised statistic exceeds what a share ``alpha`` of its own
    draws do (each sign apart, and half of it, if two-sided); the mass of a cluster is the sum
    over the bins that stand out in a row. Each bin has the p-value of its cluster: the share of
    draws whose largest mass in the family is at least as large; 1 in no cluster (Maris &
    Oostenveld 2007). Bins without a draw are NaN, and part their neighbours. Of the last
    ``ordered`` axes, two for time by time: bins next to each other along one of them are
    neighbours, corners are not.
    """
    result = np.full(draws.shape[1:], np.nan)
    defined = ~np.isnan(draws).any(0)
    if len(draws) < 2 or not defined.any():
        return result
    values = standardized(np.where(defined, draws, 0.0))
    signed = {"greater": [1.0], "less": [-1.0], "two-sided": [1.0, -1.0]}[tail]
    part = alpha / len(signed)
    sides = [_standing_out(sign * values, part) for sign in signed]
    masses = [_masses(side, ordered) for side in sides]
    largest = np.sort(np.max([most for most, _ in masses], axis=0))
    # clusters of either sign never share a bin
    mass = np.sum([own for _, own in masses], axis=0)
    above = len(largest) - np.searchsorted(largest, mass - CLOSE)
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


def _masses(values: Array, ordered: int) -> tuple[Array, Array]:
    """Largest mass (D) of a cluster in each of values (D, …), and of every bin of the first (…).

    A cluster are bins above 0 that neighbours along the last ``ordered`` axes join; its mass is
    their sum, and that of a bin in none is 0.
    """
    joins = np.zeros((3,) * values.ndim, bool)
    middle = (1,) * values.ndim
    joins[middle] = True
    for axis in range(values.ndim - ordered, values.ndim):
        joins[tuple(slice(None) if i == axis else 1 for i in range(values.ndim))] = True
    largest = np.zeros(len(values))
    first = np.zeros(values.shape[1:])
    # a block of draws at a time: numbers of clusters are as large as the draws
    step = max(1, BUDGETS.product_block // max(1, values[0].nbytes))
    for start in range(0, len(values), step):
        block = values[start : start + step]
        numbers, _ = scipy.ndimage.label(block > 0, joins)
        sums = np.bincount(numbers.reshape(-1), block.reshape(-1))
        sums[0] = 0.0
        mass = sums[numbers]
        largest[start : start + step] = mass.reshape(len(block), -1).max(1)
        if start == 0:
            first = mass[0]
    return largest, first


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
