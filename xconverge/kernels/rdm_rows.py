"""How alike a stimulus's row of distances is in two RDMs, itself excluded.

No RDM is kept: rows are formed block by block. The Pearson correlation of two rows is the inner
product of both, each less its mean and of unit norm, and a permutation of stimuli changes neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xconverge.kernels import rounding
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.entries import Entries, correlations
from xconverge.kernels.kernel import EntryKernel
from xconverge.kernels.permutations import gathered_products
from xconverge.kernels.rounding import power_of_two
from xconverge.kernels.vectors import METRICS, Array, prepare, square_distances

VARIES = 1e-12
"""Deviation of a row, as a share of its largest entry, below which nothing but rounding is left."""


@dataclass(frozen=True)
class Points:
    """Rows (n, f) of one model whose distances make its RDM, zero where not seen.

    ``error`` (n) is how far each is off by rounding, ``weights`` (n) say how often each stimulus is
    there.
    """

    rows: Array
    seen: Array
    error: Array
    weights: Array | None = None


@dataclass(frozen=True)
class RdmRows(EntryKernel[Points]):
    """Correlation of row i of the two RDMs, i and what either model misses left out."""

    metric: str = "correlation"

    per_stimulus = True
    # 3 other stimuli: two distances can always be ordered alike, or not
    min_stimuli = 4
    # rows of every RDM are formed once
    together = (True, True)

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Points:
        """Rows as the metric wants them."""
        return Points(*prepare(rows, width, METRICS[self.metric])[:3])

    def take(self, state: Points, where: Array, counts: Array | None = None) -> Points:
        """Rows of these stimuli; the copies of a draw weigh, but not in their own row."""
        weights = None if counts is None else counts.astype(np.float64)
        return Points(state.rows[where], state.seen[where], state.error[where], weights)

    def sums(self, a: Sequence[Points], b: Sequence[Points], given: Array | None) -> Array:
        """Correlations (A, B, n): rows of every RDM are standardised once."""
        n = len(a[0].rows)
        w = np.ones(n) if a[0].weights is None else a[0].weights
        result = np.empty((len(a), len(b), n))
        for part in _parts(n, len(a) + len(b)):
            x, y = (np.stack([self.standard(s, part) for s in side], 1) for side in (a, b))
            others = (w.sum() - w[part])[:, None, None]
            values = np.where(others < 3, np.nan, x * w @ y.transpose(0, 2, 1))
            result[:, :, part] = np.clip(values / np.maximum(others, 1), -1, 1).transpose(1, 2, 0)
        return result

    def finish(self, sums: Array, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """As they are."""
        warn_undefined(np.isnan(sums))
        return sums

    def scores_of_pools(
        self, a: Sequence[Points], b: Sequence[Points], seen_a: Array, seen_b: Array
    ) -> Array:
        """Correlations (A, B, n) over the entries that both models of a pair have.

        Each RDM is formed once, whatever the pools: sums under masks, of every row less the mean of
        what its own model saw, so that nothing cancels.
        """
        n = len(a[0].rows)
        result = np.empty((len(a), len(b), n))
        one, other = (
            [replace(state, seen=mask) for state, mask in zip(side, seen, strict=True)]
            for side, seen in ((a, seen_a), (b, seen_b))
        )
        for part in _parts(n, 2 * (len(a) + len(b))):
            x, y = (np.stack([self.standard(s, part) for s in side], 1) for side in (one, other))
            both = [_others(seen, part) for seen in (seen_a, seen_b)]
            result[:, :, part] = _masked(np.nan_to_num(x), np.nan_to_num(y), *both)
        there = seen_a[:, None] & seen_b
        result[~there] = np.nan
        warn_undefined(np.isnan(result) & there)
        return result

    def standard(self, state: Points, part: slice) -> Array:
        """RDM rows (b, n) of a block, zero mean and unit variance over the others that are there.

        Zero for itself and for what is missing; NaN throughout where the others do not differ.
        """
        error = np.where(state.seen, state.error, 0.0)
        square = square_distances(state.rows[part], state.rows, None, error[part], error)
        square = np.maximum(square, 0.0)
        there = _others(state.seen[None], part)[:, 0]
        weights = there if state.weights is None else there * state.weights
        of_square = METRICS[self.metric].of_square
        block = np.where(there, of_square(square), 0.0)
        count = np.maximum(weights.sum(1, keepdims=True), 1)
        largest = block.max(1, keepdims=True)
        block = np.where(there, block - (block * weights).sum(1, keepdims=True) / count, 0.0)
        deviation = np.sqrt((block**2 * weights).sum(1, keepdims=True) / count)
        off = rounding.of_distances(
            of_square,
            np.where(there, square, 0.0).max(1, keepdims=True),
            error[part, None] + error.max(initial=0.0),
            state.rows.shape[1],
        )
        varies = deviation > np.maximum(VARIES * largest, off)
        return np.asarray(
            np.divide(block, deviation, out=np.full_like(block, np.nan), where=varies)
        )

    def scores_of_orders(
        self, a: Sequence[Points], b: Sequence[Points], orders: Array, given: Array | None
    ) -> Array:
        """Σ_ij x_ij y_p(i)p(j) / (n - 1), over the rows that both have."""
        n = orders.shape[1]
        first, second = (self._whole(side) / np.sqrt(n - 1) for side in (a, b))
        total = gathered_products(np.nan_to_num(first), np.nan_to_num(second), orders)
        mine, theirs = (~np.isnan(side[:, :, 0]) for side in (first, second))
        if mine.all() and theirs.all():
            return np.asarray(total / n)
        moved = theirs[:, orders].astype(np.float64)
        size = np.einsum("ai,bpi->pab", mine.astype(np.float64), moved)
        result = np.divide(total, size, out=np.full(total.shape, np.nan), where=size > 0)
        return np.asarray(result)

    def scores_of_counts(self, a: Sequence[Points], b: Sequence[Points], counts: Array) -> Array:
        """RDMs are made once; a draw weighs their columns, and then the stimuli.

        Σ w (x - x̄)(y - ȳ) = Σ w xy - Σ w x Σ w y / W, W = Σ w without the stimulus itself.
        """
        weights = counts.astype(np.float64)
        sides = [np.nan_to_num(self._whole(side)) for side in (a, b)]
        others = weights.sum(1, keepdims=True) - weights
        safe = np.maximum(others, 1)
        means = [[weights @ x.T / safe for x in side] for side in sides]
        squares = [[weights @ np.square(x).T for x in side] for side in sides]
        result = np.empty((len(counts), len(a), len(b)))
        for i, j in np.ndindex(result.shape[1:]):
            x, y = sides[0][i], sides[1][j]
            mean_x, mean_y = means[0][i], means[1][j]
            sums = np.stack(
                [mean_x * safe, mean_y * safe, squares[0][i], squares[1][j], weights @ (x * y).T]
            )
            values = correlations(others, sums, centered=True)
            size = weights * ~np.isnan(values)
            total = np.vecdot(size, np.nan_to_num(values))
            drawn = size.sum(1)
            result[:, i, j] = np.where(drawn > 0, total / np.maximum(drawn, 1), np.nan)
        return result

    def chance(self, a: Points, b: Points) -> float:
        """0: wherever a stimulus goes, its row meets all orders of another of mean 0."""
        return 0.0

    def _whole(self, side: Sequence[Points]) -> Array:
        """Standardised RDMs (M, n, n), for permutations and draws alone."""
        return np.stack([self.standard(state, slice(0, len(state.rows))) for state in side])

    # --- models too long for a task: sums over the entries of their rows

    @property
    def needs_scale(self) -> bool:  # type: ignore[override]
        """Unit rows have one."""
        return not METRICS[self.metric].unit

    def scale(self, sample: Array) -> float:
        """A power of two, where squares would leave the range of numbers."""
        return power_of_two(sample)

    @property
    def entries(self) -> Entries:
        """What these sums are over."""
        return Entries.of_metric(METRICS[self.metric])

    def of_rows(self, sums: Array, common: Array, both: Array) -> Array:
        """Correlations (A, B, q) from sums over all columns (5, A, B, q).

        ``common`` (A, B) counts the stimuli that both models of a pair saw, ``both`` (A, B, q) says
        whether this is one of them.
        """
        result = correlations((common[..., None] - 1) * both, sums, centered=True)
        warn_undefined(np.isnan(result) & both)
        return result


def row_correlations(a: Array, b: Array) -> Array:
    """Correlation (n) of every row of two RDMs (n, n), itself and what either misses left out.

    NaN for fewer than 3 distances, and for those that do not differ.
    """
    n = len(a)
    there = np.isfinite(a) & np.isfinite(b) & ~np.eye(n, dtype=bool)
    count = there.sum(1)
    sides, varies = [], count >= 3
    for rdm in (a, b):
        rows = np.where(there, rdm.astype(np.float64), 0.0)
        largest = np.abs(rows).max(1, initial=0.0)
        rows -= (rows.sum(1) / np.maximum(count, 1))[:, None]
        rows[~there] = 0.0
        size = np.sqrt((rows**2).sum(1))
        varies &= size > VARIES * largest * np.sqrt(np.maximum(count, 1))
        sides.append(rows / np.where(size > 0, size, 1.0)[:, None])
    values = np.where(varies, np.clip(np.vecdot(*sides), -1, 1), np.nan)
    # a stimulus that a side never saw has no row, and is no news
    seen = ~(np.isnan(a).all(1) | np.isnan(b).all(1))
    warn_undefined((np.isnan(values) & seen)[None, None])
    return np.asarray(values)


def _parts(n: int, models: int) -> Iterator[slice]:
    """Rows of all RDMs at a time."""
    step = max(1, BUDGETS.product_block // (8 * max(n, 1) * models))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _others(seen: Array, part: slice) -> Array:
    """Entries (b, M, n) of RDM rows of a block that are there, of masks (M, n)."""
    there = seen.T[part, :, None] & seen
    i = np.arange(len(there))
    there[i, :, part.start + i] = False
    return there


def _masked(x: Array, y: Array, there_x: Array, there_y: Array) -> Array:
    """Pearson correlation (A, B, b) of rows (b, A, n) and (b, B, n) where both masks hold."""
    va, vb = there_x.astype(np.float64), there_y.astype(np.float64).transpose(0, 2, 1)
    y = y.transpose(0, 2, 1)
    count = va @ vb
    safe = np.maximum(count, 1)
    sum_a, sum_b = x @ vb, va @ y
    var_a, var_b = x**2 @ vb - sum_a**2 / safe, va @ y**2 - sum_b**2 / safe
    # rows have unit variance over all that their model saw
    defined = (count >= 3) & (var_a > 1e-12 * count) & (var_b > 1e-12 * count)
    scale = np.sqrt(np.where(defined, var_a * var_b, 1.0))
    values = np.clip((x @ y - sum_a * sum_b / safe) / scale, -1, 1)
    return np.where(defined, values, np.nan).transpose(1, 2, 0)


def warn_undefined(undefined: Array) -> None:
    """Say how many stimuli lack a correlation (A, B, n) that they should have."""
    if undefined.any():
        warnings.warn(
            f"{undefined.any((0, 1)).sum()} stimuli have fewer than 3 distances, or none that "
            "differ, in a model's RDM: their correlation is NaN",
            RuntimeWarning,
            stacklevel=3,
        )
