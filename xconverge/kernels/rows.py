"""Rows of one model, centred and of unit scale: the state of measures that neither moves.

In memory by `standard`; of models that are read block by block by the moments of all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xconverge.kernels.kernel import RowKernel
from xconverge.kernels.sums import Moments, merged_moments, moments, sized
from xconverge.kernels.vectors import Array, present


@dataclass(frozen=True)
class Rows:
    """Rows (n, d) of one model, zero where not seen, and how often each was drawn."""

    rows: Array
    seen: Array
    weights: Array | None = None


def standard(rows: Array) -> Rows:
    """Rows (n, d), NaN throughout where missing, centred and of mean squared norm 1."""
    seen = present(rows)
    if seen.all():
        return Rows(standard_rows(rows), seen)
    there = standard_rows(rows[seen])
    result = np.zeros((len(rows), there.shape[1]), there.dtype)
    result[seen] = there
    return Rows(result, seen)


def standard_rows(rows: Array) -> Array:
    """Rows (n, d) centred and of mean squared norm 1, never wider than long.

    More features than stimuli are rotated into as many as there are stimuli, which changes no inner
    product. Zero where all rows are equal.
    """
    largest = np.abs(rows).max(initial=0.0)
    if not largest:
        return rows
    rows = rows / largest
    # twice: what the first mean leaves of a large offset, the second takes away
    for _ in range(2):
        rows -= rows.mean(0, dtype=np.float64).astype(rows.dtype)
    size = np.sqrt(np.vdot(rows, rows) / len(rows))
    rows *= 1 / size if size > 8 * np.finfo(rows.dtype).eps else 0
    if rows.shape[1] > len(rows):
        _, r = np.linalg.qr(rows.T.astype(np.float64))
        rows = r.T.astype(rows.dtype)
    return np.asarray(rows)


class CenteredRows(RowKernel[Rows]):
    """A measure of centred rows, by the mean and the size that all blocks of a model make."""

    def measure(self, block: Array, width: int, given: Array | None) -> Moments:
        """Mean and size of a block."""
        return moments(block[:, :width])

    def merge(self, parts: Sequence[Moments]) -> Moments:
        """Of several blocks."""
        return merged_moments(parts)

    def place(self, block: Array, width: int, fit: Moments) -> Array:
        """Rows less the mean of all and of unit size, in double."""
        return sized(block[:, :width], fit)
