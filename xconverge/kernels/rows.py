"""Rows of one model, centred and of unit scale: the state of measures that neither moves.

In memory by `standard`; of models that are read block by block by the moments of all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xconverge.kernels.kernel import RowKernel
from xconverge.kernels.rounding import DOUBLE, LARGE, exponent_of, of_columns, relative, scaled
from xconverge.kernels.sums import Moments, merged_moments, moments, sized
from xconverge.kernels.vectors import Array, present


@dataclass(frozen=True)
class Rows:
    """Rows (n, d) of one model, zero where not seen, and how often each was drawn.

    ``error`` is how far they are off by rounding: its root mean square.
    """

    rows: Array
    seen: Array
    weights: Array | None = None
    error: float = 0.0


def standard(rows: Array, off: float = DOUBLE) -> Rows:
    """Rows (n, d), NaN throughout where missing, centred and of mean squared norm 1.

    They were off by the share ``off`` of their norm.
    """
    seen = present(rows)
    there, error = standardized(rows if seen.all() else rows[seen], off)
    if seen.all():
        return Rows(there, seen, None, error)
    result = np.zeros((len(rows), there.shape[1]), there.dtype)
    result[seen] = there
    return Rows(result, seen, None, error)


def standard_rows(rows: Array, error: float = 0.0) -> Array:
    """Rows (n, d) centred and of mean squared norm 1, never wider than long.

    More features than stimuli are rotated into as many as there are stimuli, which changes no inner
    product. Zero where all rows are equal but for an ``error`` of this size.
    """
    return standardized(rows, 0.0, error)[0]


def standardized(rows: Array, off: float, error: float = 0.0) -> tuple[Array, float]:
    """Those rows, and how far they are off: by a share ``off`` of their norm, or by ``error``."""
    if not rows.size:
        return rows, error
    # twice 2^30 and n d have squares in single precision
    exponent = exponent_of(rows, 30 if rows.dtype == np.float32 else LARGE)
    rows, error = scaled(rows, -exponent), float(np.ldexp(error, -exponent))
    off = max(off, 8 * float(np.finfo(rows.dtype).eps))
    error = max(error, off * float(np.sqrt(np.vdot(rows, rows) / len(rows))))
    rows = rows - rows.mean(0, dtype=np.float64).astype(rows.dtype)
    # twice: what the first mean leaves of a large offset, the second takes away
    rows -= rows.mean(0, dtype=np.float64).astype(rows.dtype)
    size = float(np.sqrt(np.vdot(rows, rows) / len(rows)))
    varies = size > error
    rows *= 1 / size if varies else 0
    if rows.shape[1] > len(rows):
        _, r = np.linalg.qr(rows.T.astype(np.float64))
        rows = r.T.astype(rows.dtype)
    return np.asarray(rows), error / size if varies else 0.0


def without_constants(rows: Array, dtype: np.dtype[Any]) -> Array:
    """Centred rows (n, d), in double, 0 in columns that vary by no more than rounding.

    Of rows that are stored as ``dtype``, and of all columns where they do not vary together.
    """
    exponent = exponent_of(rows)
    rows = scaled(rows, -exponent)
    largest, whole = np.abs(rows).max(0), np.vdot(rows, rows)
    rows = rows - rows.mean(0)
    varies = np.abs(rows).max(0) > of_columns(dtype) * largest
    if np.vdot(rows, rows) <= relative(dtype, rows.shape[1]) ** 2 * whole:
        varies[:] = False
    return scaled(np.where(varies, rows, 0.0), exponent)


class CenteredRows(RowKernel[Rows]):
    """A measure of centred rows, by the mean and the size that all blocks of a model make."""

    def measure(self, block: Array, width: int, given: Array | None) -> Moments:
        """Mean and size of a block."""
        return moments(block[:, :width], relative(block.dtype, width))

    def merge(self, parts: Sequence[Moments]) -> Moments:
        """Of several blocks."""
        return merged_moments(parts)

    def place(self, block: Array, width: int, fit: Moments) -> Array:
        """Rows less the mean of all and of unit size, in double."""
        return sized(block[:, :width], fit)
