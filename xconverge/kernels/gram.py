"""Measures of n × n matrices of two models: HSIC between them, over that of each with itself.

CKA of any kernel, and distance correlation. Σ K∘L, row sums and totals say it all, so that a matrix
is formed in blocks and not kept; a permutation changes Σ K∘L alone, a draw weighs rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.hsic import Sums, hsic, normalized, own_hsic
from xconverge.kernels.kernel import EntryKernel, Kernel
from xconverge.kernels.permutations import gathered_products
from xconverge.kernels.rows import Rows
from xconverge.kernels.vectors import Array


class GramRatio(Kernel[Any]):
    """What is made of n × n matrices: permuted, or weighted by draws."""

    debiased: bool

    def ratio(self, cross: Array, own_a: Array, own_b: Array) -> Array:
        """The score, of HSIC between two models and of each with itself."""
        return normalized(cross, own_a, own_b)

    def gram(self, state: Any) -> Array:
        """The matrix (n, n) of a model."""
        raise NotImplementedError

    def scores_of_orders(
        self, a: Sequence[Any], b: Sequence[Any], orders: Array, given: Array | None
    ) -> Array:
        """Σ K∘L is the only sum that a permutation changes in more than its order."""
        kernels_a, kernels_b = (np.stack([self.gram(state) for state in side]) for side in (a, b))
        squares = [np.array([np.vdot(k, k) for k in side]) for side in (kernels_a, kernels_b)]
        rows = [side.sum(2) for side in (kernels_a, kernels_b)]
        diagonals = [np.diagonal(side, axis1=1, axis2=2) for side in (kernels_a, kernels_b)]
        product = gathered_products(kernels_a, kernels_b, orders)
        return self._permuted(product, squares, rows, diagonals, orders, errors_of(a, b))

    def _permuted(
        self,
        product: Array,
        squares: Sequence[Array],
        rows: Sequence[Array],
        diagonals: Sequence[Array],
        orders: Array,
        errors: Sequence[Array],
    ) -> Array:
        """Scores (P, A, B) from Σ K∘L under permutations, Σ K², row sums and diagonals (M, n).

        ``errors`` (M) are how far the rows of the models are off.
        """
        n = orders.shape[1]
        sizes = squares
        if self.debiased:
            product = product - np.einsum("ai,bpi->pab", diagonals[0], diagonals[1][:, orders])
            squares = [s - (d**2).sum(1) for s, d in zip(squares, diagonals, strict=True)]
            rows = [r - d for r, d in zip(rows, diagonals, strict=True)]
        totals = [r.sum(1) for r in rows]
        own = [
            own_hsic(Sums(s, np.vecdot(r, r), t, t, n), self.debiased, size, error)
            for s, r, t, size, error in zip(squares, rows, totals, sizes, errors, strict=True)
        ]
        margins = np.stack([rows[0] @ rows[1][:, order].T for order in orders])
        sums = Sums(product, margins, totals[0][:, None], totals[1], n)
        return self.ratio(hsic(sums, self.debiased), own[0][:, None], own[1])

    def scores_of_counts(self, a: Sequence[Any], b: Sequence[Any], counts: Array) -> Array:
        """Kernels are made once; a draw weighs their rows and columns."""
        weights = counts.astype(np.float64)
        sides = [np.stack([self.gram(state) for state in side]) for side in (a, b)]
        if self.debiased:
            for kernels in sides:
                kernels[:, np.arange(counts.shape[1]), np.arange(counts.shape[1])] = 0.0
        rows = [[weights @ kernel for kernel in side] for side in sides]
        own = [
            np.stack([self._weighted_own(weights, *one) for one in zip(*side, strict=True)], 1)
            for side in zip(sides, rows, errors_of(a, b), strict=True)
        ]
        cross = np.empty((len(counts), len(a), len(b)))
        for i, j in np.ndindex(cross.shape[1:]):
            cross[:, i, j] = self._weighted(
                weights, sides[0][i], sides[1][j], rows[0][i], rows[1][j]
            )
        return self.ratio(cross, own[0][:, :, None], own[1][:, None])

    def _weighted(self, weights: Array, k: Array, m: Array, rows_k: Array, rows_m: Array) -> Array:
        """HSIC (P) for every row of weights, from row sums (P, n) of the weighted kernels."""
        return np.asarray(hsic(_weighted_sums(weights, k, m, rows_k, rows_m), self.debiased))

    def _weighted_own(self, weights: Array, k: Array, rows: Array, error: float) -> Array:
        """Of a kernel with itself."""
        sums = _weighted_sums(weights, k, k, rows, rows)
        return np.asarray(own_hsic(sums, self.debiased, 0.0, error))


def _weighted_sums(weights: Array, k: Array, m: Array, rows_k: Array, rows_m: Array) -> Sums:
    product = np.vecdot(weights @ (k * m), weights)
    margins = np.vecdot(weights, rows_k * rows_m)
    first, second = (np.vecdot(weights, rows) for rows in (rows_k, rows_m))
    return Sums(product, margins, first, second, weights.sum(1))


def errors_of(a: Sequence[Rows], b: Sequence[Rows]) -> list[Array]:
    """How far the rows of the models (A) and (B) are off."""
    return [np.array([state.error for state in side]) for side in (a, b)]


class MatrixSums(NamedTuple):
    """HSIC sums of pairs (A, B), and of the matrices of either side with themselves.

    And how far the rows of either side (A), (B) are off.
    """

    pairs: Sums
    own_a: Sums
    own_b: Sums
    errors: Sequence[Array]


class EntryRatio(GramRatio, EntryKernel[Rows]):
    """Of matrices that have no short form: entries are formed from rows, and summed."""

    needs_scale = True

    def block(self, rows: Array, part: slice) -> Array:
        """Rows ``part`` (b, n) of the matrix that rows (n, f) make."""
        raise NotImplementedError

    def gram(self, state: Rows) -> Array:
        """The whole matrix."""
        return self.block(state.rows, slice(0, len(state.rows)))

    def take(self, state: Rows, where: Array, counts: Array | None = None) -> Rows:
        """Rows of these stimuli; the copies of a draw weigh."""
        weights = None if counts is None else counts.astype(np.float64)
        return Rows(state.rows[where], state.seen[where], weights, state.error)

    def sums(self, a: Sequence[Rows], b: Sequence[Rows], given: Array | None) -> MatrixSums:
        """Every matrix is formed once, block by block, and not kept."""
        models = [state.rows for state in (*a, *b)]
        count, n, weights = len(models), len(models[0]), a[0].weights
        w = np.ones(n) if weights is None else weights
        product, margins = np.zeros((count, count)), np.zeros((count, count))
        total = np.zeros(count)
        step = max(1, BUDGETS.product_block // (8 * max(n, 1) * count))
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            block = np.stack([self.block(rows, part) for rows in models])
            flat, rows_of = block.reshape(count, -1), block @ w
            weighted = flat if weights is None else (block * w * w[part, None]).reshape(count, -1)
            product += weighted @ flat.T
            margins += (w[part] * rows_of) @ rows_of.T
            total += rows_of @ w[part]
        i, j = np.arange(len(a)), np.arange(len(a), count)
        pairs = np.ix_(i, j)
        size = w.sum()
        own = np.diagonal(product), np.diagonal(margins), total, total
        own_a, own_b = (Sums._make([*(field[side] for field in own), size]) for side in (i, j))
        cross = Sums(product[pairs], margins[pairs], total[i, None], total[j], size)
        return MatrixSums(cross, own_a, own_b, errors_of(a, b))

    def finish(self, sums: MatrixSums, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """Scores (A, B)."""
        first, second = (
            own_hsic(own, self.debiased, 0.0, error)
            for own, error in zip((sums.own_a, sums.own_b), sums.errors, strict=True)
        )
        cross = np.asarray(hsic(sums.pairs, self.debiased))
        return self.ratio(cross, first[:, None], second)

    def chance(self, a: Rows, b: Rows) -> float | None:
        """0 without bias."""
        return 0.0 if self.debiased else None

    # --- matrices too large for a task: sums over their entries

    def of_rows(self, sums: Array, common: Array, both: Array) -> Array:
        """ΣK∘L, ΣK², ΣL², the products of row sums, ΣK and ΣL (8, A, B)."""
        k, m, square_k, square_m, cross = sums
        terms = [cross, square_k, square_m, k * m, k**2, m**2, k, m]
        return np.stack([term.sum(-1) for term in terms])

    def of_terms(self, terms: Array, common: Array) -> Array:
        """Scores (A, B)."""
        product, square_k, square_m, margin, margin_k, margin_m, k, m = terms
        cross = hsic(Sums(product, margin, k, m, common), self.debiased)
        own = (
            own_hsic(Sums(square_k, margin_k, k, k, common), self.debiased),
            own_hsic(Sums(square_m, margin_m, m, m, common), self.debiased),
        )
        return self.ratio(np.asarray(cross), *own)
