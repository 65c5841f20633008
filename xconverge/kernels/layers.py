"""The best pair of layers of two networks."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.vectors import Array


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


def maxima(draws: Array, of_a: Array, of_b: Array) -> tuple[Array, Array, Array]:
    """Largest (D, networks a, networks b) of every draw (D, A, B), and the layers of the first.

    After Gröger et al. (2026): the maximum is taken again in every draw.
    """
    _, first, second = chosen(draws[0], draws[0], of_a, of_b)
    return np.stack([chosen(scores, scores, of_a, of_b)[0] for scores in draws]), first, second
