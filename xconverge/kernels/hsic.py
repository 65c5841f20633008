"""The Hilbert-Schmidt independence criterion (HSIC) of two kernels over n stimuli.

Every form of it is a function of four sums over two kernels K and L: Σ K∘L', the product of the
column sums of K with the row sums of L, ΣK and ΣL. Arrays of another library do as well.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.rounding import DOUBLE, Array


class Sums(NamedTuple):
    """Of two kernels, numbers or arrays (…, A, B): what HSIC is made of, and over how many stimuli.

    Σ K∘L', product of the column sums of K with the row sums of L, ΣK, ΣL. The diagonals are zero
    where the estimate is to be unbiased.
    """

    product: Any
    margins: Any
    first: Any
    second: Any
    n: Any


def sums_of(k: Any, m: Any) -> Sums:
    """Of two kernels (n, n), dense or sparse, of numpy or another library."""
    return Sums((k * m.T).sum(), k.sum(0) @ m.sum(1), k.sum(), m.sum(), k.shape[0])


def hsic(sums: Sums, debiased: bool) -> Any:
    """HSIC from its sums; the unbiased estimate after Song et al. (2012), eq. 5.

    Biased: tr(KHLH) / (n - 1)², with H = 1 - 11'/n. Unbiased, K and L with zero diagonals:
    [tr(KL) + (1'K1)(1'L1) / ((n - 1)(n - 2)) - 2 / (n - 2) · 1'KL1] / (n (n - 3)).
    """
    product, margins, first, second, n = sums
    if debiased:
        cross = first * second / ((n - 1) * (n - 2)) - 2 * margins / (n - 2)
        return (product + cross) / (n * (n - 3))
    return (product - 2 * margins / n + first * second / n**2) / (n - 1) ** 2


def own_hsic(
    sums: Sums, debiased: bool, size: Any = 0.0, error: Any = 0.0, eps: float = DOUBLE
) -> Any:
    """HSIC of numpy kernels with themselves, 0 where it is the rounding of its terms.

    Sums of n² terms that are off by eps each, a walk at random, are off by less than 64 eps of
    their size, and ``size`` is that of terms which cancelled before. A kernel of rows that are off
    by a share ``error`` of their size is off by twice that, and its HSIC by the square.
    """
    value = hsic(sums, debiased)
    terms = sums.n * (sums.n - 3) if debiased else (sums.n - 1) ** 2
    size = np.maximum(size, sums.product) / np.maximum(terms, 1) + np.abs(value)
    return np.where(np.abs(value) <= (64 * eps + 4 * np.square(error)) * size, 0.0, value)


def ratio(cross: Any, first: Any, second: Any) -> Any:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).

    Nothing is added to the denominator: 1e-6 there would make a model's CKA with itself 0.9992.
    """
    # the root of each factor: their product may leave the range of numbers
    return cross / (first**0.5 * second**0.5)


def normalized(cross: Array, first: Array, second: Array) -> Array:
    """``ratio`` of arrays; NaN with a warning where a kernel has no HSIC with itself."""
    defined = (first > 0) & (second > 0)
    if not np.all(defined):
        warnings.warn(
            "a kernel has no structure beyond chance (its own HSIC is not positive): the score is "
            "NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    safe = (np.where(defined, part, 1.0) for part in (first, second))
    return np.where(defined, ratio(cross, *safe), np.nan)
