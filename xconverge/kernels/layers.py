"""The best pair of layers of two networks."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.rows import Array


def best(scores: Array, of_a: Array, of_b: Array) -> tuple[Array, Array]:
    """Layers (networks a, networks b) with the largest of ``scores`` (A, B); -1 if all are NaN."""
    first = np.full((of_a.max() + 1, of_b.max() + 1), -1)
    second = first.copy()
    for i, j in np.ndindex(first.shape):
        rows, columns = np.flatnonzero(of_a == i), np.flatnonzero(of_b == j)
        block = scores[np.ix_(rows, columns)]
        if not np.isnan(block).all():
            row, column = np.unravel_index(np.nanargmax(block), block.shape)
            first[i, j], second[i, j] = rows[row], columns[column]
    return first, second


def chosen(select: Array, score: Array, of_a: Array, of_b: Array) -> tuple[Array, Array, Array]:
    """``score`` (A, B) of the layers that are best in ``select`` (A, B), and these layers."""
    first, second = best(select, of_a, of_b)
    return np.where(first < 0, np.nan, score[first, second]), first, second


def maximum(
    scores: Array, null: Array, of_a: Array, of_b: Array, alpha: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Largest of ``scores`` (A, B), its layers, p-value and threshold under ``null`` (K, A, B).

    Gröger et al. (2026): p = (1 + #{null >= s}) / (K + 1); the threshold is the
    ceil((1 - alpha)(K + 1))-th smallest of the observed and the null maxima.
    """
    value, first, second = chosen(scores, scores, of_a, of_b)
    maxima = np.stack([chosen(layer, layer, of_a, of_b)[0] for layer in null])
    p = (1 + (maxima >= value - 1e-12).sum(0)) / (len(null) + 1)
    everything = np.sort(np.concatenate([value[None], maxima]), axis=0)
    place = int(np.ceil((1 - alpha) * (len(null) + 1))) - 1
    return value, first, second, np.where(np.isnan(value), np.nan, p), everything[place]
