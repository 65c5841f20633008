"""RSA inside bins of stimuli, and what changes when the bins are permuted."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.correlation import Method, Tell, ranks, settled, similarities, undefined
from xconverge.kernels.permutations import as_extreme, run_of
from xconverge.kernels.vectors import Array


def in_bins(a: Array, b: Array, bins: Array, n_bins: int, method: Method) -> Array:
    """Similarity (n_bins) of two RDMs (n, n) among the stimuli of each bin (n); NaN for too few."""
    result = np.full(n_bins, np.nan)
    for number in range(n_bins):
        here = np.flatnonzero(bins == number)
        i, j = np.triu_indices(len(here), 1)
        u, v = (settled(rdm[here[i], here[j]]) for rdm in (a, b))
        # two distances can always be ordered alike or not: 3 pairs are the least that say anything
        both = ~(np.isnan(u) | np.isnan(v))
        if both.sum() >= 3:
            u, v = (ranks(x[both]) if method.ranked else x[both] for x in (u, v))
            result[number] = similarities([u], [v], "pairs of stimuli", method, _quietly)[0, 0]
    return result


def _quietly(message: str, where: Array) -> None:
    """NaN tells: who asks for all bins says so, once."""


def contrasts(values: Array, numbers: Array) -> Array:
    """Least-squares slope over bins, and lowest less highest bin (2, …), of values (…, bins).

    ``numbers`` (bins) are those of the bins; some may have been merged away between them.
    """
    # slope of y on centred x: Σ x y / Σ x², since Σ x ȳ = 0
    steps = numbers - numbers.mean()
    return np.stack([values @ steps / (steps @ steps), values[..., 0] - values[..., -1]])


def contrast_test(
    a: Array,
    b: Array,
    bins: Array,
    rank: Array,
    strata: Array,
    method: Method,
    n_permutations: int,
    seed: int,
    tail: str,
    tell: Tell | None = None,
) -> tuple[Array, Array, Array]:
    """Both contrasts (2) of the RSA by bin, their p-values when bins are permuted, and the draws.

    Draws (1 + n_permutations, 2) have the observed contrasts first.

    ``bins`` (n) are negative for stimuli without one; numbers that no stimulus has were merged into
    others, and are no bins. Stimuli without a bin, and stimuli that either RDM misses,
    stay where they are. RDMs are never made again, only ranked inside the permuted bins. The null
    is centred on its mean, which is not 0 inside strata, so that two-sided makes sense.
    """
    here = ~(np.isnan(a).all(1) | np.isnan(b).all(1)) & (bins >= 0)
    none = np.full(2, np.nan)
    undrawn = np.full((1 + n_permutations, 2), np.nan)
    numbers = np.unique(bins[bins >= 0])
    if len(numbers) < 2:
        warnings.warn(
            "a contrast of bins needs two, and dispersion takes too few values: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return none, none, undrawn
    own = np.where(here, np.searchsorted(numbers, bins), -1)
    values = in_bins(a, b, own, len(numbers), method)
    observed = contrasts(values, numbers)
    if np.isnan(values).any():
        message = (
            "a bin has fewer than 3 stimuli, or distances that do not differ: no RSA, no contrasts"
        )
        (tell or undefined)(message, np.zeros((1, 2), int))
        return none, none, undrawn
    groups = np.where(here, strata, -1)
    if not n_permutations or _fixed(own, groups):
        return observed, none, undrawn
    orders = run_of(rank, seed, n_permutations, strata, here)[1:]
    drawn = np.array([in_bins(a, b, own[p], len(numbers), method) for p in orders])
    null = contrasts(drawn, numbers).T
    center = np.nanmean([observed, *null], axis=0)
    # a draw without a contrast counts as extreme: dropping it would make p smaller
    reached = as_extreme(null - center, observed - center, tail) | np.isnan(null)
    return observed, (1 + reached.sum(0)) / (1 + len(orders)), np.array([observed, *null])


def _fixed(bins: Array, groups: Array) -> bool:
    """Whether no group has stimuli of two bins; warns if so."""
    pairs = np.unique(np.stack([groups, bins])[:, groups >= 0], axis=1)
    fixed = bool(len(np.unique(pairs[0])) == pairs.shape[1])
    if fixed:
        warnings.warn(
            "no stratum has stimuli of two bins: nothing can be permuted, the p-values are NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    return fixed
