"""CKA of RBF kernels of long models, from sums over the entries of their kernels."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.entries import Entries, Sides
from xconverge.kernels.hsic import Sums, hsic, normalized
from xconverge.kernels.vectors import METRICS, Array


def rbf_entries(debiased: bool) -> Entries:
    """exp(-d² / 2) of rows divided by the width of the kernel; no diagonal where unbiased."""
    return Entries(METRICS["euclidean"], _gaussian, 0.0 if debiased else 1.0)


def _gaussian(square: Array) -> Array:
    return np.exp(-0.5 * square)


def rbf_totals(sums: Array, sides: Sides, seen: Array) -> Array:
    """Sums (9, A, B) over the rows asking, of sums (5, A, B, q) over all columns of each.

    ΣK∘L, ΣK², ΣL², Σ of products of row sums (K with L, K with K, L with L), ΣK, ΣL, stimuli.
    ``seen`` (models, q) are the rows that are there. Those of other rows are to be added; row sums
    have to be whole before they are multiplied.
    """
    k, m, square_k, square_m, cross = sums
    parts = [cross, square_k, square_m, k * m, k**2, m**2, k, m, sides.both(seen)]
    return np.stack([part.sum(-1) for part in parts])


def rbf_cka(totals: Array, debiased: bool) -> Array:
    """CKA (A, B) of sums (9, A, B) over all rows; NaN for fewer than 4 common stimuli.

    What a kernel has with itself is of the pair too: it is over the stimuli that both saw.
    """
    product, square_k, square_l, margin, margin_k, margin_l, sum_k, sum_l, n = totals
    few = n < 4
    if few.any():
        warnings.warn(
            "CKA needs at least 4 stimuli that both models saw: NaN", RuntimeWarning, stacklevel=2
        )
    n = np.where(few, 4, n)
    cross, first, second = (
        hsic(Sums(*parts, n), debiased)
        for parts in (
            (product, margin, sum_k, sum_l),
            (square_k, margin_k, sum_k, sum_k),
            (square_l, margin_l, sum_l, sum_l),
        )
    )
    # NaN of what has too few is said above, not as a kernel without structure
    safe = (np.where(few, 1.0, part) for part in (first, second))
    return np.where(few, np.nan, normalized(cross, *safe))
