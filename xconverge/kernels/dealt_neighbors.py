"""Neighbours by cosine in models whose residuals are dealt to other stimuli, draw after draw.

Rows of a draw are f_i + r_p(i): their products are sums of entries of three matrices that all draws
share, so that a draw costs n² instead of n² d. They are searched in single precision; where that
does not decide between two neighbours, rows decide in double.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.compiled import loops
from xconverge.kernels.equal_noise import Parts
from xconverge.kernels.exact_search import (
    as_on_grid,
    by_rank_where_tied,
    largest_in_single,
    parts_of,
)
from xconverge.kernels.rounding import exponent_of, scaled
from xconverge.kernels.vectors import Array

BLOCK = 2**21
"""Bytes of the products of a draw that are formed and searched at a time.

Of smaller blocks, which are in a closer cache, threads wait for each other between many calls.
"""
DRAWS = 100
"""Roughly how many draws are made of a model."""
LARGE = 30
"""Numbers between 2^-30 and 2^30 have squares that single precision holds."""
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
    """Products (n, n) of what is fitted, of that with residuals, and turned; of residuals.

    In the order that `loops.nearest_dealt` takes them.
    """

    fitted: Array
    mixed: Array
    turned: Array
    residual: Array


class _Draws(NamedTuple):
    """Orders, norms, their inverses in single precision, and margins of cosines (B, n) of draws."""

    order: Array
    norm: Array
    inverse: Array
    margin: Array


class DealtModel:
    """One model whose stimuli were all seen; relative residuals are of rows of unit norm.

    A cosine does not know the size of a row: f + |f| r and f / |f| + r have the same.
    """

    def __init__(self, model: Parts, n_models: int = 1) -> None:
        own = np.ones(len(model.fitted)) if model.size is None else model.size
        both = model.fitted / own[:, None], model.residual
        # squares are to be numbers in single precision too
        exponent = max(exponent_of(x, LARGE) for x in both)
        self.fitted, self.residual = (scaled(x, -exponent) for x in both)
        self.size = scaled(own, exponent)
        self.lengths = [np.sqrt(np.vecdot(x, x)) for x in (self.fitted, self.residual)]
        self.products: Products | None = None
        n, width = self.fitted.shape
        # four entries, three sums, and what each is divided by
        self.unit = 12 * UNIT
        if 16 * n * n * n_models <= BUDGETS.products:
            inside = [self.fitted, self.residual]
            if model.axes is not None:
                # what is fitted has few dimensions: products with it need no more
                inside = [x @ model.axes for x in inside]
            mixed = (inside[0] @ inside[1].T).astype(np.float32)
            self.products = Products(
                _square(inside[0]), mixed, np.ascontiguousarray(mixed.T), _square(self.residual)
            )
        else:
            self.unit += 4 * np.sqrt(width) * UNIT

    def neighbors(self, order: Array, k: int, depth: int) -> Neighbors:
        """Where every stimulus has the residual that ``order`` (n) says; ``depth`` from k on."""
        return self.of_several([order], k, depth)[0]

    def of_several(self, orders: Sequence[Array], k: int, depth: int) -> list[Neighbors]:
        """The same of several draws at a time: what they share of a block is read once."""
        draws = self._draws(np.stack(orders))
        # one more, which tells whether the last is sure; of all rows the own one is the last
        lists, cosines = self._nearest(draws, depth + 1)
        cosines *= draws.inverse[..., None]
        apart = cosines[..., k - 1 : -1] - cosines[..., k:]
        unsure = np.asarray((apart <= draws.margin[..., None]).any(-1))
        lists, cosines = lists[..., :-1], cosines[..., :-1].astype(np.float64)
        for draw in np.unique(np.nonzero(unsure)[0]):
            order, margin = draws.order[draw], draws.margin[draw]
            cosines_of = self._cosines(order, draws.inverse[draw])
            # where all are alike, every row has them all: some rows at a time
            for rows in parts_of(np.flatnonzero(unsure[draw]), 64 * len(order)):
                near = cosines_of(rows)
                near *= draws.inverse[draw, rows, None]
                least = cosines[draw, rows, -1] - margin[rows]
                found = self._in_double(order, rows, near >= least[:, None], depth)
                lists[draw, rows], cosines[draw, rows] = found
        density, norm = cosines[..., :k].mean(-1), draws.norm * self.size
        return [Neighbors(*one) for one in zip(lists, density, norm, strict=True)]

    def _draws(self, order: Array) -> _Draws:
        norm = np.stack([self._norms(one) for one in order])
        terms = self.lengths[0] + self.lengths[1][order]
        # a row that is dealt its opposite has no direction: its cosines are 0, but for rounding
        size = np.where(norm > 0, norm, np.where(terms > 0, terms, 1.0))
        # how far a cosine is off: the terms of a product may cancel
        error = terms / size
        margin = 2 * self.unit * error * error.max(1, keepdims=True)
        return _Draws(order, norm, (1 / size).astype(np.float32), margin)

    def _nearest(self, draws: _Draws, count: int) -> tuple[Array, Array]:
        """The nearest (B, n, count), nearest first, and their cosines but for a row's own norm."""
        n = len(self.size)
        lists = np.empty((*draws.order.shape, count), np.int64)
        cosines = np.empty(lists.shape, np.float32)
        fast = loops(DRAWS * n * n, count)
        if self.products is not None and fast is not None:
            order = draws.order.astype(np.uint32)
            fast.nearest_dealt(*self.products, order, draws.inverse, lists, cosines)
            return lists, cosines
        for draw, (order, inverse) in enumerate(zip(draws.order, draws.inverse, strict=True)):
            cosines_of = self._cosines(order, inverse)
            for part in split(slice(0, n), BLOCK // (4 * n)):
                near = cosines_of(part)
                lists[draw, part], cosines[draw, part], _ = largest_in_single(near, count, 0, fast)
        return lists, cosines

    def _cosines(self, order: Array, inverse: Array) -> Callable[[Array | slice], Array]:
        """What makes cosines (b, n) of some rows of a draw with all, but for their own norms."""
        of_draw = self._rows(order).astype(np.float32) if self.products is None else None

        def cosines(rows: Array | slice) -> Array:
            if self.products is None:
                assert of_draw is not None
                result = of_draw[rows] @ of_draw.T
            else:
                fitted, mixed, turned, residual = self.products
                sums = residual[order[rows]]
                sums += mixed[rows]
                result = sums.take(order, 1, mode="clip")
                result += fitted[rows]
                result += turned.take(order[rows], 0, out=sums, mode="clip")
            result *= inverse
            own = np.arange(len(order))[rows]
            result[np.arange(len(own)), own] = -np.inf
            return np.asarray(result)

        return cosines

    def _rows(self, order: Array, which: Array | slice = slice(None)) -> Array:
        return np.asarray(self.fitted[which] + self.residual[order[which]])

    def _norms(self, order: Array) -> Array:
        """Norms (n), from the products where their terms do not cancel."""
        if self.products is not None:
            both = self.lengths[0] ** 2 + self.lengths[1][order] ** 2
            square = both + 2 * self.products.mixed[np.arange(len(order)), order]
            if (square > 0.01 * both).all():
                return np.asarray(np.sqrt(square))
        return np.asarray(np.linalg.norm(self._rows(order), axis=1))

    def _in_double(self, order: Array, rows: Array, near: Array, depth: int) -> tuple[Array, Array]:
        """The nearest (b, depth) to some rows among those that are ``near`` (b, n), and cosines."""
        one, other = np.nonzero(near)
        counts = np.count_nonzero(near, axis=1)
        # candidates of every row in a table that has room for the most
        wide = np.arange(counts.max())
        there = wide < counts[:, None]
        places = np.zeros(there.shape, np.int64)
        exact = np.full(there.shape, -np.inf)
        places[there], exact[there] = other, self._exact(order, rows[one], other)
        first = by_rank_where_tied(exact, places)[:, :depth]
        return np.take_along_axis(places, first, 1), np.take_along_axis(exact, first, 1)

    def _exact(self, order: Array, one: Array, other: Array) -> Array:
        """Cosines (q) of pairs of rows in double, on the grid where equal ones tie."""
        result = np.empty(len(one))
        for part in split(slice(0, len(one)), BUDGETS.cache_block // (8 * self.fitted.shape[1])):
            x, y = (_directions(self._rows(order, which[part])) for which in (one, other))
            result[part] = np.vecdot(x, y)
        return as_on_grid(result)


def _directions(rows: Array) -> Array:
    """Rows (q, d) of unit norm; one of zeros stays."""
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(size > 0, size, 1.0))


def _square(rows: Array) -> Array:
    return np.asarray((rows @ rows.T).astype(np.float32))
