"""Centred kernel alignment, with a linear or an RBF kernel.

CKA is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019), of the sums in
``kernels.hsic``. For linear kernels K = XX' they all come from X'Y, norms of rows and column sums,
so that nothing is n × n: Σ K∘L = |X'Y|², and row i of K sums to x_i · Σ_j x_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.entries import Entries
from xconverge.kernels.gram import EntryRatio, GramRatio, errors_of
from xconverge.kernels.hsic import Sums, hsic, normalized, own_hsic
from xconverge.kernels.rounding import DOUBLE, SINGLE, relative
from xconverge.kernels.rows import CenteredRows, Rows, standard, standardized
from xconverge.kernels.sums import Moments
from xconverge.kernels.vectors import METRICS, Array, directed, prepare, working_dtype

SAMPLE = 2048
"""Stimuli between which the median distance is taken, where there are more."""
FLOPS_PER_GATHER = 50
"""Multiplications that take as long as fetching one entry of a permuted matrix."""


class Cross(NamedTuple):
    """Sums over stimuli of rows x and y with weights w, of blocks that add up.

    ``product`` is Σ w x y'. The rest takes the diagonals out again: Σ w² |x|²|y|² and
    Σ w³ |x|²|y|²; Σ w² |y|² x and Σ w² |x|² y; Σ w x and Σ w y; Σ w² |x|² and Σ w² |y|²; Σ w.
    """

    product: Any
    both: Any
    triple: Any
    mixed_x: Any
    mixed_y: Any
    sum_x: Any
    sum_y: Any
    square_x: Any
    square_y: Any
    n: Any


def cross(x: Any, y: Any, weights: Any = None) -> Cross:
    """Of rows (n, d) and (n, e), of numpy or another library."""
    w = weights
    own_x, own_y = (x * x).sum(1), (y * y).sum(1)
    u, own_u, own_v = (x, own_x, own_y) if w is None else (w[:, None] * x, w * own_x, w * own_y)
    v = y if w is None else w[:, None] * y
    both = own_u @ own_v
    triple = both if w is None else (w * own_u) @ own_v
    return Cross(
        u.T @ y, both, triple, own_v @ u, own_u @ v, u.sum(0), v.sum(0),
        own_u.sum() if w is None else own_u @ w, own_v.sum() if w is None else own_v @ w,
        len(x) if w is None else w.sum(),
    )  # fmt: skip


def added(parts: Sequence[Cross]) -> Cross:
    """Of several blocks of stimuli."""
    return reduce(
        lambda one, other: Cross(*(p + q for p, q in zip(one, other, strict=True))), parts
    )


def linear_sums(of: Cross, debiased: bool) -> Sums:
    """Sums of the kernels XX' and YY'.

    With r_i = x_i · Σx the row sums of K, 1'KL1 = Σ w r_i s_i = (Σx)' (Σ w x y') (Σy), and its
    diagonal goes out of each factor.
    """
    product = (of.product * of.product).sum()
    margins = of.sum_x @ of.product @ of.sum_y
    first, second = of.sum_x @ of.sum_x, of.sum_y @ of.sum_y
    if debiased:
        product = product - of.both
        margins = margins - of.mixed_x @ of.sum_x - of.mixed_y @ of.sum_y + of.triple
        first, second = first - of.square_x, second - of.square_y
    return Sums(product, margins, first, second, of.n)


@dataclass(frozen=True)
class LinearCka(GramRatio, CenteredRows):
    """CKA of K = XX'."""

    debiased: bool = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Centred rows of unit scale, in single precision where the features are."""
        real = rows[:, :width].astype(working_dtype(rows.dtype))
        return standard(real, relative(rows.dtype, width))

    def take(self, state: Rows, where: Array, counts: Array | None = None) -> Rows:
        """Centred again; the copies of a draw weigh as they are, which moves no centre."""
        rows = state.rows[where]
        if counts is not None:
            return Rows(rows, state.seen[where], counts.astype(np.float64), state.error)
        rows, error = standardized(rows, 0.0, state.error)
        return Rows(rows, state.seen[where], None, error)

    def own(self, state: Rows) -> float:
        """HSIC of a model with itself."""
        of = in_double(cross(state.rows, state.rows, state.weights))
        eps = SINGLE if state.rows.dtype == np.float32 else DOUBLE
        return self._own(of, state.error, eps)

    def _own(self, of: Cross, error: float, eps: float) -> float:
        size = float(np.vdot(of.product, of.product))
        sums = linear_sums(of, self.debiased)
        return float(own_hsic(sums, self.debiased, size, error, eps))

    def sums(self, a: Sequence[Rows], b: Sequence[Rows], given: Array | None) -> Sums:
        """Of all pairs; X'Y is used up at once."""
        found = [
            linear_sums(in_double(cross(x.rows, y.rows, x.weights)), self.debiased)
            for x in a
            for y in b
        ]
        return _shaped(found, (len(a), len(b)))

    def finish(self, sums: Sums, own_a: Sequence[float], own_b: Sequence[float]) -> Array:
        """CKA (A, B)."""
        return normalized(
            np.asarray(hsic(sums, self.debiased)), np.asarray(own_a)[:, None], np.asarray(own_b)
        )

    def gram(self, state: Rows) -> Array:
        """XX', in double."""
        rows = state.rows.astype(np.float64)
        return np.asarray(rows @ rows.T)

    def scores_of_orders(
        self, a: Sequence[Rows], b: Sequence[Rows], orders: Array, given: Array | None
    ) -> Array:
        """As n × n kernels, or where fetching their entries costs more, from products of rows."""
        widest = max(x.rows.shape[1] for x in a) * max(y.rows.shape[1] for y in b)
        if len(orders[0]) * FLOPS_PER_GATHER < widest:
            return super().scores_of_orders(a, b, orders, given)
        rows_a, rows_b = ([s.rows.astype(np.float64) for s in side] for side in (a, b))
        product = np.array([[[_square(x, y[p]) for y in rows_b] for x in rows_a] for p in orders])
        sides = (rows_a, rows_b)
        squares = [np.array([_square(x, x) for x in side]) for side in sides]
        rows = [np.array([x @ x.sum(0) for x in side]) for side in sides]
        diagonals = [np.array([np.vecdot(x, x) for x in side]) for side in sides]
        return self._permuted(product, squares, rows, diagonals, orders, errors_of(a, b))

    def chance(self, a: Rows, b: Rows) -> float:
        """0, or for the biased form sqrt(PR_K PR_L) / (n - 1), PR = (tr K)² / |K|²."""
        if self.debiased:
            return 0.0
        sides = (a.rows.astype(np.float64), b.rows.astype(np.float64))
        ratios = [np.vdot(rows, rows) ** 2 / _square(rows, rows) for rows in sides]
        return float(np.sqrt(np.prod(ratios)) / (len(a.rows) - 1))

    # --- rows that are read block by block

    def place(self, block: Array, width: int, fit: Moments) -> Array:
        """As it is, in single precision where the features are."""
        return super().place(block, width, fit).astype(working_dtype(block.dtype))

    def cross(self, x: Array, y: Array, given: Array | None) -> Cross:
        """What a block adds to the sums of a pair."""
        return in_double(cross(x, y))

    def combine(self, parts: Sequence[Cross]) -> Cross:
        """Blocks add up."""
        return added(parts)

    def reduced(self, parts: Cross) -> Sums:
        """The sums (1, 1) of one pair; those of a model with itself give its ``own``."""
        return _shaped([linear_sums(parts, self.debiased)], (1, 1))

    def own_of(self, parts: Cross) -> float:
        """HSIC of a model with itself."""
        return self._own(parts, 0.0, DOUBLE)


def _shaped(sums: Sequence[Sums], shape: tuple[int, int]) -> Sums:
    """The sums of many pairs as arrays (A, B)."""
    return Sums._make(np.reshape(field, shape) for field in zip(*sums, strict=True))


def in_double(of: Cross) -> Cross:
    """Sums of rows in single precision go on in double."""
    return Cross(*(np.asarray(field, np.float64) for field in of))


def _square(x: Array, y: Array) -> float:
    product = x.T @ y
    return float(np.vdot(product, product))


@dataclass(frozen=True)
class RbfCka(EntryRatio):
    """CKA of K = exp(-|x - y|² / 2 s²), s = ``sigma`` times the median distance of the model."""

    debiased: bool = True
    sigma: float = 1.0

    fixed = "the width of the kernel"

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Rows divided by the width of the kernel."""
        real, seen, error, _ = prepare(rows, width, METRICS["euclidean"])
        chosen = sample(seen, rank)
        size = 1.0
        # fewer have no score, and need no width
        if len(chosen) >= self.min_stimuli:
            size = self.sigma * median_distance(real[chosen], error[chosen])
            real /= size
        return Rows(real, seen, None, float(np.sqrt(np.square(error / size).mean())))

    def block(self, rows: Array, part: slice) -> Array:
        """exp(-|x - y|² / 2) of the scaled rows."""
        half = 0.5 * np.vecdot(rows, rows)
        block = rows[part] @ rows.T
        block -= half
        block -= half[part, None]
        np.exp(np.minimum(block, 0.0, out=block), out=block)
        # the unbiased estimate has no diagonal (Song et al. 2012, eq. 5)
        block[np.arange(len(block)), np.arange(part.start, part.stop)] = not self.debiased
        return np.asarray(block)

    @property
    def entries(self) -> Entries:
        """exp(-d² / 2), with the diagonal that the estimate has."""
        return Entries(METRICS["euclidean"], _gaussian, 0.0 if self.debiased else 1.0)

    def scale(self, sample: Array) -> float:
        """The width of the kernel."""
        if len(sample) < self.min_stimuli:
            return 1.0
        # not centred: squares of a median do not tell what an offset of rows does
        found = directed(sample, sample.shape[1], METRICS["euclidean"], 0)
        return self.sigma * median_distance(found.rows, found.error)


def _gaussian(square: Array) -> Array:
    return np.exp(-0.5 * square)


def sample(seen: Array, rank: Array) -> Array:
    """Stimuli (at most ``SAMPLE``) that were seen, evenly spaced in the order of their labels."""
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    if len(by_rank) <= SAMPLE:
        return by_rank
    return np.asarray(by_rank[np.linspace(0, len(by_rank) - 1, SAMPLE).astype(int)])


def median_distance(rows: Array, error: Array | None = None) -> float:
    """Median distance of all pairs of rows that are off by ``error`` (n)."""
    largest = np.abs(rows).max() or 1.0
    found = scipy.spatial.distance.pdist(rows / largest)
    if error is not None:
        i, j = np.triu_indices(len(rows), 1)
        found[found <= (error[i] + error[j]) / largest] = 0.0
    median = float(np.median(found) * largest)
    if median == 0:
        raise ValueError("half its pairs of stimuli coincide; an RBF kernel has no scale there")
    return median
