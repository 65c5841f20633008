"""Neighbours by cosine in models whose residuals are dealt to other stimuli, draw after draw.

Rows of a draw are f_i + r_p(i): their products are sums of entries of three matrices that all draws
share, so that a draw costs n² instead of n² d. They are searched in single precision; where that
does not decide between two neighbours, rows decide in double.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.equal_noise import Parts
from xconverge.kernels.neighbors import as_on_grid, by_rank_where_tied, candidates_of
from xconverge.kernels.vectors import Array

BLOCK = 2**21
"""Bytes of the products of a draw that are formed and searched while they are in a cache."""
UNIT = 2.0**-24
"""How far a number in single precision is off, as a share of it."""


class Neighbors(NamedTuple):
    """Of every stimulus its nearest (n, depth), the mean cosine to the first k, and its norm.

    In what order the first k stand, is not said.
    """

    lists: Array
    density: Array
    norm: Array


class Products(NamedTuple):
    """Products (n, n) of what is fitted, of that with residuals, and of residuals."""

    fitted: Array
    mixed: Array
    turned: Array
    residual: Array


class DealtModel:
    """One model whose stimuli were all seen; relative residuals are of rows of unit norm.

    A cosine does not know the size of a row: f + |f| r and f / |f| + r have the same.
    """

    def __init__(self, model: Parts, n_models: int = 1) -> None:
        self.size = np.ones(len(model.fitted)) if model.size is None else model.size
        self.fitted = model.fitted / self.size[:, None]
        self.residual = model.residual
        self.lengths = [np.linalg.norm(x, axis=1) for x in (self.fitted, self.residual)]
        self.products: Products | None = None
        n, width = self.fitted.shape
        # four entries, three sums, and what each is divided by
        self.unit = 12 * UNIT
        if 16 * n * n * n_models <= BUDGETS.products:
            mixed = (self.fitted @ self.residual.T).astype(np.float32)
            self.products = Products(
                _square(self.fitted), mixed, np.ascontiguousarray(mixed.T), _square(self.residual)
            )
        else:
            self.unit += 4 * np.sqrt(width) * UNIT

    def neighbors(self, order: Array, k: int, depth: int) -> Neighbors:
        """Where every stimulus has the residual that ``order`` (n) says; ``depth`` from k on."""
        norm = self._norms(order)
        # how far a cosine is off: the terms of a product may cancel
        error = (self.lengths[0] + self.lengths[1][order]) / norm
        margin = 2 * self.unit * error * error.max()
        inverse = (1 / norm).astype(np.float32)
        n = len(norm)
        lists, density = np.empty((n, depth), np.int64), np.empty(n)
        step = max(1, BLOCK // (4 * n))
        for start in range(0, n, step):
            part = np.arange(start, min(n, start + step))
            cosines = self._block(order, part)
            cosines *= inverse
            cosines *= inverse[part, None]
            cosines[part - start, part] = -np.inf
            lists[part], density[part] = self._nearest(
                cosines, order, part, (k, depth), margin[part]
            )
        return Neighbors(lists, density, norm * self.size)

    def _rows(self, order: Array, where: Array) -> Array:
        return np.asarray(self.fitted[where] + self.residual[order[where]])

    def _norms(self, order: Array) -> Array:
        """Norms (n), from the products where their terms do not cancel."""
        if self.products is not None:
            both = self.lengths[0] ** 2 + self.lengths[1][order] ** 2
            square = both + 2 * self.products.mixed[np.arange(len(order)), order]
            if (square > 0.01 * both).all():
                return np.asarray(np.sqrt(square))
        return np.asarray(np.linalg.norm(self.fitted + self.residual[order], axis=1))

    def _block(self, order: Array, part: Array) -> Array:
        """Products (b, n) of some rows with all."""
        if self.products is None:
            rows = self._rows(order, np.arange(len(order))).astype(np.float32)
            return np.asarray(rows[part] @ rows.T)
        dealt = order[part]
        both = self.products.residual.take(dealt, 0)
        both += self.products.mixed[part]
        both = both.take(order, 1, mode="clip")
        both += self.products.fitted[part]
        both += self.products.turned.take(dealt, 0)
        return both

    def _nearest(
        self, cosines: Array, order: Array, part: Array, length: tuple[int, int], margin: Array
    ) -> tuple[Array, Array]:
        """The nearest (b, depth) and the mean cosine (b) to the first k of them."""
        k, depth = length
        rows, columns = candidates_of(cosines, depth, margin)
        counts = np.bincount(rows, minlength=len(part))
        place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        shape = (len(part), max(int(counts.max()), depth + 1))
        found, value = np.zeros(shape, np.int64), np.full(shape, -np.inf)
        found[rows, place] = columns
        value[rows, place] = cosines[rows, columns]
        first = np.argsort(-value, axis=1)
        found, value = (np.take_along_axis(x, first, 1) for x in (found, value))
        apart = value[:, k - 1 : depth] - value[:, k : depth + 1]
        unsure = np.flatnonzero((apart <= margin[:, None]).any(1))
        if len(unsure):
            near = value[unsure] >= (value[unsure, depth - 1] - margin[unsure])[:, None]
            at = np.nonzero(near)
            exact = np.full(near.shape, -np.inf)
            exact[at] = self._exact(order, part[unsure[at[0]]], found[unsure][at])
            then = by_rank_where_tied(exact, found[unsure])
            found[unsure] = np.take_along_axis(found[unsure], then, 1)
            value[unsure] = np.take_along_axis(exact, then, 1)
        return found[:, :depth], value[:, :k].mean(1)

    def _exact(self, order: Array, one: Array, other: Array) -> Array:
        """Cosines (q) of pairs of rows in double, on the grid where equal ones tie."""
        result = np.empty(len(one))
        step = max(1, BUDGETS.cache_block // (8 * self.fitted.shape[1]))
        for start in range(0, len(one), step):
            pairs = [self._rows(order, which[start : start + step]) for which in (one, other)]
            x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pairs)
            result[start : start + step] = np.vecdot(x, y)
        return as_on_grid(result)


def _square(rows: Array) -> Array:
    return np.asarray((rows @ rows.T).astype(np.float32))
