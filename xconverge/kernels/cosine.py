"""Cosine of the two vectors of a stimulus in one shared space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xconverge.kernels.kernel import RowKernel
from xconverge.kernels.vectors import METRICS, Array, directed


@dataclass(frozen=True)
class Directions:
    """Unit rows (n, f) of one model, zero where not seen."""

    rows: Array
    seen: Array


@dataclass(frozen=True)
class SharedCosine(RowKernel[Directions]):
    """a_i·b_i / |a_i||b_i|, of models that have the same axes."""

    per_stimulus = True
    # each stimulus is compared with itself alone
    min_stimuli = 1

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Directions:
        """Rows of unit norm."""
        return Directions(*directed(rows, width, METRICS["cosine"], 0)[:2])

    def take(self, state: Directions, where: Array, counts: Array | None = None) -> Directions:
        """Rows of these stimuli; how often each is there matters to a mean alone."""
        return Directions(state.rows[where], state.seen[where])

    def sums(self, a: Sequence[Directions], b: Sequence[Directions], given: Array | None) -> Array:
        """Cosines (A, B, n)."""
        return np.array([[self.cross(x.rows, y.rows, given) for y in b] for x in a])

    def finish(self, sums: Array, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """As they are."""
        return sums

    def scores_of_orders(
        self, a: Sequence[Directions], b: Sequence[Directions], orders: Array, given: Array | None
    ) -> Array:
        """All cosines of two models are one product, and permutations pick theirs."""
        here = np.arange(orders.shape[1])
        result = np.empty((len(orders), len(a), len(b)))
        for i, j in np.ndindex(result.shape[1:]):
            similar = np.clip(a[i].rows @ b[j].rows.T, -1, 1)
            result[:, i, j] = [similar[here, order].mean() for order in orders]
        return result

    def scores_of_counts(
        self, a: Sequence[Directions], b: Sequence[Directions], counts: Array
    ) -> Array:
        """Weighted means of the same cosines."""
        similar = self.sums(a, b, None)
        weights = counts.astype(np.float64)
        return np.asarray(np.tensordot(weights, similar, (1, 2)) / weights.sum(1)[:, None, None])

    # --- rows that are read block by block

    def measure(self, block: Array, width: int, given: Array | None) -> None:
        """Nothing: a row knows its own norm."""

    def merge(self, parts: Sequence[None]) -> None:
        """Nothing."""

    def place(self, block: Array, width: int, fit: None) -> Array:
        """Rows of unit norm."""
        rows, *_ = directed(block, width, METRICS["cosine"], 0)
        return rows

    def cross(self, x: Array, y: Array, given: Array | None) -> Array:
        """Cosines (b) of a block."""
        return np.asarray(np.clip(np.vecdot(x, y), -1, 1))

    def combine(self, parts: Sequence[Array]) -> Array:
        """Blocks one after the other."""
        return np.concatenate(parts)

    def reduced(self, parts: Array) -> Array:
        """Cosines (1, 1, n) of one pair."""
        return parts[None, None]
