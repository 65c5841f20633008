"""The angle between two models that are rotated onto each other.

Williams et al. (2021): the Riemannian shape metric, arccos of |X'Y|* of centred models of unit
Frobenius norm, |·|* the nuclear norm, since max over orthogonal Q of tr(Q'X'Y) is Σ of singular
values (Schönemann 1966).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.blocks import on_cores
from xconverge.kernels.rounding import DOUBLE, relative
from xconverge.kernels.rows import CenteredRows, Rows, standard, standardized
from xconverge.kernels.vectors import Array

NEAR = 1 - 1e-6
"""A cosine from which on an angle is taken from the residual: arccos(1 - e) is sqrt(2 e), so that
an e of rounding, 1e-16, already is an angle of 1e-8."""


LARGE = 128
"""Singular values from which on they are first taken from their squares."""
ENOUGH = 1e-11
"""Error of an angle, as a share of its sine, that is as good as none in double precision."""


class Products(NamedTuple):
    """Σ x y', Σ x, Σ y, Σ |x|², Σ |y|² and number of stimuli: blocks of them add up."""

    product: Array
    sum_x: Array
    sum_y: Array
    square_x: float
    square_y: float
    n: float


class Turned(NamedTuple):
    """Cosines of the angles of all pairs (A, B), and where they are near 1, the residuals.

    |X Q - Y|² at unit norm and the best Q, which takes a second pass over the rows; NaN elsewhere,
    and where rows are not at hand.
    """

    cosine: Array
    residual: Array


@dataclass(frozen=True)
class Procrustes(CenteredRows):
    """Angle in radians between centred, scaled models after the best rotation: a distance.

    Of rows that are read block by block exact to about 1e-7: there is no second pass.
    """

    min_stimuli = 2
    symmetric = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Centred rows of unit scale, in double."""
        return standard(rows[:, :width].astype(np.float64), relative(rows.dtype, width))

    def take(self, state: Rows, where: Array, counts: Array | None = None) -> Rows:
        """Centred again; copies of a stimulus are rows with a weight."""
        rows = state.rows[where]
        if counts is None:
            rows, error = standardized(rows, 0.0, state.error)
            return Rows(rows, state.seen[where], None, error)
        weights = counts.astype(np.float64)
        # Σ w (x - m)(y - l)' is X'Y of rows times √w, m and l their weighted means
        apart = rows - weights @ rows / weights.sum()
        least = 8 * DOUBLE * np.linalg.norm(rows) + state.error * np.sqrt(len(rows))
        rows = (np.linalg.norm(apart) > least) * np.sqrt(weights)[:, None] * apart
        return Rows(rows, state.seen[where], None, state.error)

    def sums(self, a: Sequence[Rows], b: Sequence[Rows], given: Array | None) -> Turned:
        """Of all pairs."""
        return self._turned(a, b)

    def _turned(self, a: Sequence[Rows], b: Sequence[Rows]) -> Turned:
        width = max(state.rows.shape[1] for state in (*a, *b))
        pairs = [(x, y) for x in a for y in b]
        each = on_cores(
            lambda pair: compared(pair[0].rows, pair[1].rows, pair[0].error + pair[1].error),
            pairs, 32 * width**2,
        )  # fmt: skip
        found = np.array(each).reshape(len(a), len(b), 2)
        return Turned(found[..., 0], found[..., 1])

    def finish(self, sums: Turned, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """Angles (A, B); NaN with a warning where a model does not vary."""
        cosine, residual = sums
        if np.isnan(cosine).any():
            warnings.warn(
                "a Procrustes angle needs at least 2 common stimuli that differ: NaN",
                RuntimeWarning,
                stacklevel=2,
            )
        # |x - y|² = 4 sin²(angle / 2) of unit vectors
        half = np.minimum(np.sqrt(residual) / 2, 1.0)
        return np.where(np.isnan(residual), np.arccos(np.minimum(cosine, 1.0)), 2 * np.arcsin(half))

    def scores_of_orders(
        self, a: Sequence[Rows], b: Sequence[Rows], orders: Array, given: Array | None
    ) -> Array:
        """A permutation moves neither the mean nor the norm."""
        turned = [
            self._turned(a, [replace(state, rows=state.rows[order]) for state in b])
            for order in orders
        ]
        sums = Turned(*(np.stack(field) for field in zip(*turned, strict=True)))
        return self.finish(sums, [], [])

    # --- rows that are read block by block

    def cross(self, x: Array, y: Array, given: Array | None) -> Products:
        """What a block adds to the sums of a pair."""
        return Products(
            x.T @ y, x.sum(0), y.sum(0), float(np.vdot(x, x)), float(np.vdot(y, y)), len(x)
        )

    def combine(self, parts: Sequence[Products]) -> Products:
        """Blocks add up."""
        return Products(*(sum(field[1:], field[0]) for field in zip(*parts, strict=True)))

    def reduced(self, parts: Products) -> Turned:
        """The cosine (1, 1) of one pair.

        Centred again on the stimuli that both saw: Σ (x - m)(y - l)' = Σ x y' - Σx Σy' / n.
        """
        product, sum_x, sum_y, *squares, n = parts
        sizes = [
            _left(square, float(total @ total) / n)
            for square, total in zip(squares, (sum_x, sum_y), strict=True)
        ]
        cosine = best_cosine(product - np.outer(sum_x, sum_y / n), *map(np.sqrt, sizes))
        return Turned(np.full((1, 1), cosine), np.full((1, 1), np.nan))


def _left(square: float, of_mean: float) -> float:
    """Σ |x|² - |Σ x|² / n, 0 where that is only rounding."""
    left = square - of_mean
    return left if left > 1e-12 * square else 0.0


def compared(x: Array, y: Array, error: float) -> tuple[float, float]:
    """Cosine and residual of centred rows (n, d) and (n, e): a field of ``Turned`` each.

    ``error`` is how far both are off in all, in root mean squares of rows of size 1. A rotation of
    d columns is off by √d eps and more; the residual is 0 where it is not above either.
    """
    size = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    if x is y and size[0]:
        return 1.0, 0.0
    cosine = best_cosine(x.T @ y, *size, error)
    off = error + 16 * DOUBLE * np.sqrt(max(x.shape[1], y.shape[1]))
    if not cosine >= min(NEAR, 1 - off**2):
        return cosine, np.nan
    left = residual(x / size[0], y / size[1])
    return cosine, left if left > off**2 else 0.0


def best_cosine(product: Array, size_x: float, size_y: float, error: float = 0.0) -> float:
    """|X'Y|* over the norms of X and Y, from X'Y (d, e) of centred rows; NaN where either is 0.

    No more exact than rows that are off by an ``error`` of this share.
    """
    if not (size_x and size_y):
        return np.nan
    if min(product.shape) >= LARGE:
        cosine, off = (one / (size_x * size_y) for one in _from_squares(product))
        if off <= (ENOUGH + error) * (1 - cosine**2):
            return cosine
    return float(np.linalg.svd(product, compute_uv=False).sum() / (size_x * size_y))


def _from_squares(product: Array) -> tuple[float, float]:
    """Sum of the singular values as roots of eigenvalues, three times sooner; and its error.

    An eigenvalue is off by an eps of the largest or so, which is much for the root of a small one.
    """
    gram = product @ product.T if len(product) < product.shape[1] else product.T @ product
    values = np.linalg.eigvalsh(gram)
    off = DOUBLE * max(float(values[-1]), 0.0)
    roots = np.sqrt(np.maximum(values, 0.0))
    return float(roots.sum()), float((off / np.maximum(roots + np.sqrt(off), 1e-300)).sum())


def residual(x: Array, y: Array) -> float:
    """|X Q - Y|² of rows (n, d) and (n, e) of unit norm, at the best Q.

    X'Y = U S V' makes X U and Y V agree; what lies outside the columns of U and V is of no use to
    any rotation.
    """
    u, _, vt = np.linalg.svd(x.T @ y, full_matrices=False)
    gap = x @ u - y @ vt.T
    rest = x - (x @ u) @ u.T, y - (y @ vt.T) @ vt
    return float(np.vdot(gap, gap) + sum(np.vdot(part, part) for part in rest))
