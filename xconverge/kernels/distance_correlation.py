"""Distance correlation (Székely, Rizzo & Bakirov 2007): HSIC of distances, normalised.

With a, b the Euclidean distances of all pairs of stimuli, and A, B these with row, column and grand
means taken out, dCor = sqrt(Σ A∘B / sqrt(Σ A∘A Σ B∘B)) (eq. 2.8-2.10). Without bias, A and B are
U-centred and nothing is rooted: R* = Σ A∘B / sqrt(Σ A∘A Σ B∘B) over i ≠ j, which may be negative
(Székely & Rizzo 2014, eq. 3.1-3.2). Σ A∘B is HSIC of the distances in either form, but for a
factor that cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xconverge.kernels.entries import Entries
from xconverge.kernels.gram import EntryRatio
from xconverge.kernels.hsic import normalized
from xconverge.kernels.rounding import relative
from xconverge.kernels.rows import Rows, standard
from xconverge.kernels.vectors import METRICS, Array, square_distances


@dataclass(frozen=True)
class DistanceCorrelation(EntryRatio):
    """Of Euclidean distances between rows: R* of U-centred ones, or dCor."""

    debiased: bool = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Centred rows of unit scale, in double, which only scales their distances."""
        return standard(rows[:, :width].astype(np.float64), relative(rows.dtype, width))

    def block(self, rows: Array, part: slice) -> Array:
        """Distances of rows to all of them, exactly 0 to themselves."""
        block = np.sqrt(np.maximum(square_distances(rows[part], rows), 0.0))
        block[np.arange(len(block)), np.arange(part.start, part.stop)] = 0.0
        return np.asarray(block)

    def ratio(self, cross: Array, own_a: Array, own_b: Array) -> Array:
        """Rooted where it is biased, and never negative but for rounding."""
        found = normalized(cross, own_a, own_b)
        return found if self.debiased else np.asarray(np.sqrt(np.maximum(found, 0.0)))

    @property
    def entries(self) -> Entries:
        """Distances."""
        return Entries.of_metric(METRICS["euclidean"])

    def scale(self, sample: Array) -> float:
        """The largest entry: scores do not depend on it, but the range of numbers does."""
        return float(np.abs(sample.astype(np.float64)).max(initial=0.0)) or 1.0
