"""RSA inside bins of stimuli, and contrasts of the bins."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.correlation import Method, ranks, settled, similarities
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
