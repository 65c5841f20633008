"""Distance correlation (Székely, Rizzo & Bakirov 2007): HSIC of distances, normalised.

With a, b the Euclidean distances of all pairs of stimuli, and A, B these with row, column and grand
means taken out, dCor = sqrt(Σ A∘B / sqrt(Σ A∘A Σ B∘B)) (eq. 2.8-2.10). Without bias, A and B are
U-centred and nothing is rooted: R* = Σ A∘B / sqrt(Σ A∘A Σ B∘B) over i ≠ j, which may be negative
(Székely & Rizzo 2014, eq. 3.1-3.2). Σ A∘B is HSIC of the distances in either form, but for a
factor that cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.cka import MatrixSums, Rows, _Cka, standard_rows
from xconverge.kernels.entries import Entries
from xconverge.kernels.hsic import Sums, hsic, normalized
from xconverge.kernels.kernel import EntryKernel
from xconverge.kernels.vectors import METRICS, Array, present, square_distances


@dataclass(frozen=True)
class DistanceCorrelation(_Cka, EntryKernel[Rows]):
    """Of Euclidean distances between rows: R* of U-centred ones, or dCor."""

    debiased: bool = True

    needs_scale = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Centred rows of unit scale, in double, which only scales their distances."""
        real = rows[:, :width].astype(np.float64)
        seen = present(real)
        there = standard_rows(real[seen])
        result = np.zeros((len(real), there.shape[1]))
        result[seen] = there
        return Rows(result, seen)

    def take(self, state: Rows, where: Array, counts: Array | None = None) -> Rows:
        """Rows of these stimuli; the copies of a draw weigh, at a distance of 0."""
        weights = None if counts is None else counts.astype(np.float64)
        return Rows(state.rows[where], state.seen[where], weights)

    def sums(self, a: Sequence[Rows], b: Sequence[Rows], given: Array | None) -> MatrixSums:
        """Distances of all models are formed once, block by block, and not kept."""
        models = [state.rows for state in (*a, *b)]
        count, n, weights = len(models), len(models[0]), a[0].weights
        w = np.ones(n) if weights is None else weights
        product, margins = np.zeros((count, count)), np.zeros((count, count))
        total = np.zeros(count)
        step = max(1, BUDGETS.product_block // (8 * max(n, 1) * count))
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            block = np.stack([_distances(rows[part], rows, start) for rows in models])
            rows_of = block @ w
            weighted = (block * w * w[part, None]).reshape(count, -1)
            product += weighted @ block.reshape(count, -1).T
            margins += (w[part] * rows_of) @ rows_of.T
            total += rows_of @ w[part]
        i, j = np.arange(len(a)), np.arange(len(a), count)
        pairs = np.ix_(i, j)
        own = np.diagonal(product), np.diagonal(margins), total, total
        return MatrixSums(
            Sums(product[pairs], margins[pairs], total[i, None], total[j], w.sum()),
            *(Sums._make([*(field[side] for field in own), w.sum()]) for side in (i, j)),
        )

    def finish(self, sums: MatrixSums, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """Distance correlation (A, B)."""
        cross, first, second = (np.asarray(hsic(part, self.debiased)) for part in sums)
        return self._rooted(normalized(cross, first[:, None], second))

    def gram(self, state: Rows) -> Array:
        """The distances (n, n)."""
        return _distances(state.rows, state.rows, 0)

    def scores_of_orders(
        self, a: Sequence[Rows], b: Sequence[Rows], orders: Array, given: Array | None
    ) -> Array:
        """As CKA does: distances are made once, and a permutation changes Σ a∘b alone."""
        return self._rooted(super().scores_of_orders(a, b, orders, given))

    def scores_of_counts(self, a: Sequence[Rows], b: Sequence[Rows], counts: Array) -> Array:
        """As CKA does: distances are made once, and a draw weighs them."""
        return self._rooted(super().scores_of_counts(a, b, counts))

    def chance(self, a: Rows, b: Rows) -> float | None:
        """0 without bias."""
        return 0.0 if self.debiased else None

    def _rooted(self, ratio: Array) -> Array:
        """The root, of what is biased; that is never negative but for rounding."""
        return ratio if self.debiased else np.asarray(np.sqrt(np.maximum(ratio, 0.0)))

    # --- models too long for a task: sums over entries

    @property
    def entries(self) -> Entries:
        """Distances."""
        return Entries.of_metric(METRICS["euclidean"])

    def scale(self, sample: Array) -> float:
        """The largest entry: scores do not depend on it, but the range of numbers does."""
        return float(np.abs(sample).max(initial=0.0)) or 1.0

    def of_rows(self, sums: Array, common: Array, both: Array) -> Array:
        """Σab, Σa², Σb², the products of row sums, Σa and Σb (8, A, B)."""
        a, b, square_a, square_b, cross = sums
        terms = [cross, square_a, square_b, a * b, a**2, b**2, a, b]
        return np.stack([term.sum(-1) for term in terms])

    def of_terms(self, terms: Array, common: Array) -> Array:
        """Distance correlation (A, B)."""
        product, square_a, square_b, margin, margin_a, margin_b, a, b = terms
        parts = (
            Sums(product, margin, a, b, common),
            Sums(square_a, margin_a, a, a, common),
            Sums(square_b, margin_b, b, b, common),
        )
        return self._rooted(normalized(*(np.asarray(hsic(part, self.debiased)) for part in parts)))


def _distances(rows: Array, others: Array, start: int) -> Array:
    """Distances (q, n) of rows that begin at ``start`` among the others, to all of them."""
    result = np.sqrt(np.maximum(square_distances(rows, others), 0.0))
    result[np.arange(len(rows)), np.arange(start, start + len(rows))] = 0.0
    return np.asarray(result)
