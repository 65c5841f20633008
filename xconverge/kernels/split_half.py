"""Halves of models or of stimuli, and how alike what they say is."""

from __future__ import annotations

import warnings
from itertools import combinations
from math import comb

import numpy as np

from xconverge.kernels.correlation import ranks, standardize
from xconverge.kernels.groups import pair_means
from xconverge.kernels.rounding import Array, exponent_of, scaled

Summary = tuple[float, float, float, float]
"""Half correlation, reliability, lower and upper quantile of it."""


def halves(rank: Array, seed: int, n_splits: int) -> Array:
    """First halves (splits, n), True where inside, of n // 2 things; they follow ``rank``.

    Every distinct split once where there are no more than ``n_splits``, else random ones, of which
    some may come twice.
    """
    n = len(rank)
    size = n // 2
    if comb(n, size) // (1 + (n % 2 == 0)) <= n_splits:
        sets = [one for one in combinations(range(n), size) if n % 2 or 0 in one]
        inside = np.zeros((len(sets), n), bool)
        for row, members in zip(inside, sets, strict=True):
            row[list(members)] = True
    else:
        inside = np.tile(np.arange(n) < size, (n_splits, 1))
        inside = np.random.default_rng(seed).permuted(inside, axis=1)
    return np.asarray(inside[:, rank])


def model_halves(
    distances: Array,
    rank: Array,
    seed: int,
    n_splits: int,
    level: float,
    squared: bool = False,
    family: Array | None = None,
) -> Summary:
    """Reliability of the dispersion (n) that distances (M, M, n) of pairs of models make.

    Mean over the pairs inside a half, of their squares if ``squared``; NaN where a half has no
    pair. Models of one ``family`` (M) are one, in one half; ``rank`` (G) is of these.
    """
    if squared:
        # of ranks alone: a common factor keeps squares in the range of numbers
        distances = np.square(scaled(distances, -exponent_of(np.nan_to_num(distances))))
    if len(rank) < 4:
        _warn(f"reliability needs at least 4 models, 2 in each half, got {len(rank)}: NaN")
        return np.nan, np.nan, np.nan, np.nan
    if family is not None and len(rank) < len(family):
        distances = pair_means(distances, family)
    order = np.argsort(rank)
    i, j = np.triu_indices(len(rank), 1)
    pairs = distances[order[i], order[j]]
    there = (~np.isnan(pairs)).astype(np.float64)
    filled = np.nan_to_num(pairs)
    found = []
    for first in halves(np.arange(len(rank)), seed, n_splits):
        both = np.stack([first, ~first]).astype(np.float64)
        inside = both[:, i] * both[:, j]
        total, count = inside @ filled, inside @ there
        value = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        found.append(rank_correlation(*value))
    return summary(np.array(found), level, "stimuli")


def half_means(scores: Array, first: Array) -> tuple[Array, Array]:
    """Mean scores (splits, A, B) of both halves, from scores (A, B, n) and halves (splits, n)."""
    there = ~np.isnan(scores)
    filled, weight = np.where(there, scores, 0.0), there.astype(np.float64)
    means = []
    for half in (first, ~first):
        inside = half.T.astype(np.float64)
        total, count = filled @ inside, weight @ inside
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        means.append(np.moveaxis(mean, -1, 0))
    return means[0], means[1]


def pair_halves(first: Array, second: Array, level: float) -> Summary:
    """Reliability of the scores (splits, A, B) of model pairs in two halves of the stimuli."""
    if first[0].size < 3:
        _warn(f"alignment_reliability needs at least 3 model pairs, got {first[0].size}: NaN")
        return np.nan, np.nan, np.nan, np.nan
    sides = zip(first.reshape(len(first), -1), second.reshape(len(second), -1), strict=True)
    found = np.array([rank_correlation(one, other) for one, other in sides])
    return summary(found, level, "model pairs")


def rank_correlation(u: Array, v: Array) -> float:
    """Spearman's correlation over what both have; NaN for fewer than 3, or for equal values."""
    there = ~(np.isnan(u) | np.isnan(v))
    if there.sum() < 3:
        return np.nan
    value = standardize(ranks(u[there])) @ standardize(ranks(v[there]))
    return float(np.clip(value, -1, 1))


def spearman_brown(r: Array, share: float = 0.5) -> Array:
    """2 r / (1 + r): what the whole has where its halves correlate with r; NaN for r = -1.

    Where a part has another ``share`` p of the whole than one half, and q = 1 - p,
    2 r / (r + √(r² + 4 p q (1 - r²))) (Horst 1951, Psychometrika 16).
    """
    root = np.sqrt(4 * share * (1 - share) + (1 - 2 * share) ** 2 * r**2)
    return np.asarray(
        np.divide(2 * r, root + r, out=np.full(r.shape, np.nan), where=r > -1 + 1e-12)
    )


def summary(r: Array, level: float, what: str) -> Summary:
    """Mean correlation of the halves, its Spearman–Brown value, and that of quantiles over splits.

    The mean comes first. 2r / (1 + r) is concave, steep below 0 and flat above: its mean over
    splits lies below the value of the mean, far below where r scatters around 0.
    """
    defined = ~np.isnan(r)
    if not defined.all():
        _warn(
            f"{(~defined).sum()} of {len(r)} splits have fewer than 3 {what} in both halves, or "
            "values that are all equal: they are left out, NaN if no split is left"
        )
    if not defined.any():
        return np.nan, np.nan, np.nan, np.nan
    mean = r[defined].mean()
    ends = np.quantile(r[defined], [(1 - level) / 2, (1 + level) / 2])
    whole, lower, upper = spearman_brown(np.array([mean, *ends]))
    return float(mean), float(whole), float(lower), float(upper)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
