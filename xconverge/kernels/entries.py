"""Sums over the entries of RDMs or kernels that are never formed whole, for all pairs of a tile.

A tile is some models of either side. A block of rows that ask meets a block of columns: distances
between them are formed once a model, in pieces, and used up in sums that add up over blocks of
columns. Each pair sums over the columns that both of its models saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rounding import exponents
from xconverge.kernels.vectors import Array, Metric, directed, square_distances


class Entries(NamedTuple):
    """What an RDM or kernel is made of: rows, a function of squared distances, the diagonal."""

    metric: Metric
    of_square: Callable[[Array], Array]
    diagonal: float

    @classmethod
    def of_metric(cls, metric: Metric) -> Entries:
        """Distances."""
        return cls(metric, metric.of_square, 0.0)

    def prepared(self, block: Array, width: int, scale: float = 1.0) -> Array:
        """Rows (b, width) of a block (b, F), ready for squared distances; zero where missing.

        Not centred: a block does not know the mean of all, and entries that cancel are formed from
        differences.
        """
        return self.with_error(block, width, scale)[0]

    def with_error(self, block: Array, width: int, scale: float = 1.0) -> tuple[Array, Array]:
        """Those rows, and how far each (b) is off by rounding."""
        # by a power of two first, so that squares stay in the range of numbers
        exponent = 0 if self.metric.unit else int(exponents(np.asarray(scale)))
        found = directed(block, width, self.metric, 0, exponent)
        rest = float(np.ldexp(scale, -exponent))
        if rest != 1:
            return found.rows / rest, found.error / rest
        return found.rows, found.error


class Block(NamedTuple):
    """Prepared rows (b, f) of all models of a tile, which (models, b) are there, the first.

    And how far the rows (b) of each model are off by rounding, if that is to count.
    """

    rows: Sequence[Array]
    seen: Array
    start: int
    error: Sequence[Array] | None = None


class Sides(NamedTuple):
    """Which models of a tile are either side of the pairs: all are both, of a set with itself."""

    a: slice
    b: slice

    def both(self, seen: Array) -> Array:
        """Where (A, B, n) both models of a pair are, of masks (models, n)."""
        return np.asarray(seen[self.a, None] & seen[self.b])

    def common(self, seen: Array) -> Array:
        """How many stimuli (A, B) both models of a pair have, of masks (models, n)."""
        masks = seen.astype(np.float64)
        return np.asarray(masks[self.a] @ masks[self.b].T).astype(np.int64)


def row_sums(entries: Entries, sides: Sides, asking: Block, columns: Block) -> Array:
    """Sums (5, A, B, q) over these columns of the rows asking, of the matrices of each pair.

    Σa, Σb, Σa², Σb², Σab over columns that both saw; zero where either model misses the row.
    Those of other blocks of columns are to be added.
    """
    queries, others = asking.seen.shape[1], columns.seen.shape[1]
    count = len(asking.rows)
    both = sides.both(asking.seen)
    result = np.zeros((queries, 5, *both.shape[:2]))
    # the entries of all models, twice with their squares, and what forms one of them
    side = math.isqrt(BUDGETS.tile // 4 // (8 * (2 * count + 4)))
    for there, mine in product(split(slice(0, others), side), split(slice(0, queries), side)):
        z = np.empty((mine.stop - mine.start, count, there.stop - there.start))
        for i, (rows, against) in enumerate(zip(asking.rows, columns.rows, strict=True)):
            off = [
                0.0 if block.error is None else block.error[i][part]
                for block, part in ((asking, mine), (columns, there))
            ]
            square = square_distances(rows[mine], against[there], None, *off)
            square = np.maximum(square, 0.0)
            z[:, i] = entries.of_square(square)
            place = _diagonal(asking.start + mine.start, columns.start + there.start, square.shape)
            z[:, i][place] = entries.diagonal
        result[mine] += _sums(z, columns.seen[:, there].astype(np.float64), sides)
    return np.asarray(result.transpose(1, 2, 3, 0) * both)


def _sums(z: Array, seen: Array, sides: Sides) -> Array:
    """Those sums (p, 5, A, B) of some entries ``z`` (p, models, c), zeroed where missing."""
    if not seen.all():
        z *= seen
    a, b = z[:, sides.a], z[:, sides.b]
    sum_a, square_a = _over(a, seen[sides.b])
    sum_b, square_b = (found.swapaxes(1, 2) for found in _over(b, seen[sides.a]))
    found = (sum_a, sum_b, square_a, square_b, a @ b.swapaxes(1, 2))
    return np.stack(np.broadcast_arrays(*found), 1)


def _over(z: Array, seen: Array) -> tuple[Array, Array]:
    """Σ and Σ of squares of ``z`` (p, A, c) over the columns of every mask ``seen`` (B, c).

    (p, A, B), or (p, A, 1) where the masks are full.
    """
    if seen.all():
        return z.sum(2, keepdims=True), np.vecdot(z, z)[..., None]
    return z @ seen.T, np.square(z) @ seen.T


def _diagonal(row: int, column: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Entries of a block at ``row``, ``column`` that lie on the diagonal of the whole."""
    i = np.arange(max(row, column), min(row + shape[0], column + shape[1]))
    return i - row, i - column


def correlations(count: Array, sums: Array, centered: bool) -> Array:
    """Pearson's correlation (…), or the cosine, from sums (5, …) over ``count`` (…) entries.

    NaN for fewer than 3 entries, or where those of a side do not differ. A variance is the
    difference Σa² - (Σa)²/n: one below 1e-13 Σa² is nothing but the rounding of its two terms.
    """
    a, b, aa, bb, ab = sums
    safe = np.maximum(count, 1)
    mean_a, mean_b = (a / safe, b / safe) if centered else (np.zeros(()), np.zeros(()))
    var_a, var_b = aa - safe * mean_a**2, bb - safe * mean_b**2
    defined = (count >= 3) & (var_a > 1e-13 * aa) & (var_b > 1e-13 * bb)
    scale = np.sqrt(np.where(defined, var_a * var_b, 1.0))
    value = np.clip((ab - safe * mean_a * mean_b) / scale, -1, 1)
    return np.where(defined, value, np.nan)
