"""Fitted maps under permutations of the stimuli of one side.

What one side alone decides (centred rows, leading components, decompositions of a source) is kept;
only what joins the two sides is fitted again. Cross-validated measures are permuted inside their
folds, so that what was fitted to the other folds of one side stays as it is.
"""

from __future__ import annotations

import numpy as np

from xconverge.kernels.canonical import mean_canonical_correlation
from xconverge.kernels.procrustes import angle
from xconverge.kernels.ridge import held_out_scores
from xconverge.kernels.vectors import Array

TARGET_BYTES = 2**27


def procrustes_null(
    permutations: Array, common: Array, a: Array, widths_a: Array, b: Array, widths_b: Array
) -> Array:
    """Angles (P, A, B) of centred rows ``a`` (A, n, F) with the permuted ones of ``b``."""
    a, b = np.where(common[:, None], a, np.nan), np.where(common[:, None], b, np.nan)
    return np.array(
        [
            [
                [
                    angle(x, int(wide), y[p], int(width))
                    for y, width in zip(b, widths_b, strict=True)
                ]
                for x, wide in zip(a, widths_a, strict=True)
            ]
            for p in permutations
        ]
    )


def svcca_null(permutations: Array, common: Array, a: Array, b: Array, fold: Array) -> Array:
    """Mean canonical correlations (P, A, B) of scores ``a``, ``b`` (M, fold, n, c)."""
    a, b = np.where(common[:, None], a, np.nan), np.where(common[:, None], b, np.nan)
    return np.array(
        [
            [[mean_canonical_correlation(x, y[:, p], fold) for y in b] for x in a]
            for p in permutations
        ]
    )


def predictivity_null(
    permutations: Array,
    common: Array,
    a: Array,
    widths_a: Array,
    b: Array,
    widths_b: Array,
    fold: Array,
    score: str,
) -> Array:
    """Held-out r or R² (P, A, B) of permuted targets ``b`` (B, n, G) from ``a`` (A, n, F)."""
    result = np.empty((len(permutations), len(a), len(b)))
    step = max(1, TARGET_BYTES // (8 * b.size))
    for start in range(0, len(permutations), step):
        moves = permutations[start : start + step]
        targets = np.concatenate([b[:, p] for p in moves])[:, common]
        real = np.tile(widths_b, len(moves))
        for source, (x, width) in enumerate(zip(a, widths_a, strict=True)):
            r, r2 = held_out_scores(x[common], int(width), targets, real, fold[common])
            values = (r if score == "r" else r2).reshape(len(moves), len(b))
            result[start : start + step, source] = values
    return result
