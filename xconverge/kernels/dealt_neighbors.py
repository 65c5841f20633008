"""Neighbours by cosine in models whose residuals are dealt to other stimuli, draw after draw.

Rows of a draw are f_i + r_p(i): their products are sums of entries of three matrices that all draws
share, so that a draw costs n² instead of n² d. They are searched in single precision; where that
does not decide between two neighbours, rows decide in double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.equal_noise import Parts
from xconverge.kernels.neighbors import as_on_grid, by_rank_where_tied, candidates_of
from xconverge.kernels.rounding import exponent_of, scaled
from xconverge.kernels.vectors import Array

BLOCK = 2**21
"""Bytes of the products of a draw that are formed and searched at a time.

Of smaller blocks, which are in a closer cache, threads wait for each other between many calls.
"""
MANY = 8
"""Candidates for each neighbour from which on a closer bound pays."""
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
    """Products (n, n) of what is fitted, of that with residuals, and of residuals."""

    fitted: Array
    mixed: Array
    turned: Array
    residual: Array


class _Draws(NamedTuple):
    """Orders, norms and margins (B, n) of draws; candidates of each: places in (n, n), and values.

    A row's own norm changes no order, and is left out of values and of ``slack`` (B, n), their
    margin.
    """

    order: Array
    norm: Array
    margin: Array
    inverse: Array
    slack: Array
    places: list[list[Array]]
    values: list[list[Array]]

    def of(self, draw: int) -> _Draws:
        """One of them."""
        parts: Any = (part[draw : draw + 1] for part in self)
        return _Draws(*parts)


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
        self.likely = np.empty((len(model.fitted), 0), np.int64)
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
        if self.products is None and len(orders) > 1:
            # each has rows of its own
            return [self.neighbors(order, k, depth) for order in orders]
        draws = self._draws(np.stack(orders))
        # where no products are held there is one draw
        rows = None if self.products is not None else self._rows(orders[0]).astype(np.float32)
        likely, n = self._likely(depth), len(self.size)
        step = max(1, BLOCK // (4 * n))
        room = np.empty((2, min(step, n), n), np.float32)
        for start in range(0, n, step):
            part = slice(start, min(n, start + step))
            own = np.arange(part.stop - start)
            these = likely[part] + n * own[:, None]
            for draw, order in enumerate(draws.order):
                cosines = self._block(order, rows, part, room)
                cosines *= draws.inverse[draw]
                cosines[own, start + own] = -np.inf
                few = cosines.reshape(-1).take(these, mode="clip")
                few.partition(few.shape[1] - depth, axis=1)
                slack = draws.slack[draw, part]
                at = np.flatnonzero(cosines >= (few[:, few.shape[1] - depth] - slack)[:, None])
                if len(at) > MANY * depth * len(own):
                    # residuals decide who is near
                    at = np.ravel_multi_index(candidates_of(cosines, depth, slack), cosines.shape)
                draws.places[draw].append(at + start * n)
                draws.values[draw].append(cosines.reshape(-1)[at])
        several = [draws]
        if sum(len(at) for own in draws.places for at in own) > MANY * depth * draws.order.size:
            # where many are alike, candidates of all draws together are many
            several = [draws.of(draw) for draw in range(len(orders))]
        found = [self._nearest(some, k, depth) for some in several]
        nearest = (np.concatenate(part) for part in zip(*found, strict=True))
        return [Neighbors(*one) for one in zip(*nearest, draws.norm * self.size, strict=True)]

    def _draws(self, order: Array) -> _Draws:
        norm = np.stack([self._norms(one) for one in order])
        # how far a cosine is off: the terms of a product may cancel
        error = (self.lengths[0] + self.lengths[1][order]) / norm
        margin = 2 * self.unit * error * error.max(1, keepdims=True)
        return _Draws(
            order, norm, margin, (1 / norm).astype(np.float32), (margin * norm).astype(np.float32),
            [[] for _ in order], [[] for _ in order],
        )  # fmt: skip

    def _likely(self, depth: int) -> Array:
        """Some stimuli (n, w) that are near each without its residual: most of a draw's are.

        Whoever they are, their cosines bound the ``depth`` largest of all from below.
        """
        n = len(self.fitted)
        wide = min(8 * depth, n - 1)
        known = self.likely
        if known.shape[1] < wide:
            known = np.empty((n, wide), np.int64)
            less = (-1 / np.maximum(self.lengths[0], 1e-300)).astype(np.float32)
            rows = None if self.products is not None else self.fitted.astype(np.float32)
            step = max(1, BUDGETS.product_block // (4 * n))
            for start in range(0, n, step):
                part = slice(start, start + step)
                if self.products is not None:
                    away = self.products.fitted[part] * less
                else:
                    assert rows is not None
                    away = rows[part] @ rows.T * less
                own = np.arange(len(away))
                away[own, start + own] = np.inf
                near = np.argpartition(away, wide - 1, axis=1)[:, :wide]
                # in the order that they lie in
                known[part] = np.sort(near, axis=1)
            # whole at once: other threads draw meanwhile
            self.likely = known
        return known

    def _rows(self, order: Array) -> Array:
        return np.asarray(self.fitted + self.residual[order])

    def _norms(self, order: Array) -> Array:
        """Norms (n), from the products where their terms do not cancel."""
        if self.products is not None:
            both = self.lengths[0] ** 2 + self.lengths[1][order] ** 2
            square = both + 2 * self.products.mixed[np.arange(len(order)), order]
            if (square > 0.01 * both).all():
                return np.asarray(np.sqrt(square))
        return np.asarray(np.linalg.norm(self._rows(order), axis=1))

    def _block(self, order: Array, rows: Array | None, part: slice, room: Array) -> Array:
        """Products (b, n) of some rows of a draw with all, in one of two rooms (b, n)."""
        one, other = room[:, : part.stop - part.start]
        if self.products is None:
            assert rows is not None
            return np.asarray(np.matmul(rows[part], rows.T, out=other))
        dealt = order[part]
        np.take(self.products.residual, dealt, 0, out=one, mode="clip")
        one += self.products.mixed[part]
        np.take(one, order, 1, out=other, mode="clip")
        other += self.products.fitted[part]
        other += np.take(self.products.turned, dealt, 0, out=one, mode="clip")
        return np.asarray(other)

    def _nearest(self, draws: _Draws, k: int, depth: int) -> tuple[Array, Array]:
        """The nearest (B, n, depth) and the mean cosine (B, n) to the first k of them.

        From the candidates of all draws, row by row: at least ``depth`` a row.
        """
        (size, n), margin = draws.order.shape, draws.margin.reshape(-1)
        places = [np.concatenate(own) + n * n * draw for draw, own in enumerate(draws.places)]
        rows, columns = np.divmod(np.concatenate(places), n)
        values = np.concatenate([np.concatenate(own) for own in draws.values])
        cosine = values * draws.inverse.reshape(-1)[rows]
        # cosines lie in [-1, 1], but for rounding: rows stay apart
        first = np.argsort(4.0 * rows - cosine)
        counts = np.bincount(rows, minlength=size * n)
        starts = np.cumsum(counts) - counts
        columns, cosine = columns[first], np.append(cosine[first].astype(np.float64), -np.inf)
        top = starts[:, None] + np.arange(depth)
        found, value = columns[top], cosine[top]
        following = cosine[np.where(counts > depth, starts + depth, -1)]
        apart = value[:, k - 1 :] - np.column_stack([value[:, k:], following])
        unsure = np.flatnonzero((apart <= margin[:, None]).any(1))
        # where all are alike, every row has them all: some rows at a time
        step = max(1, BUDGETS.product_block // (64 * counts.max(initial=1)))
        for edge in range(0, len(unsure), step):
            some = unsure[edge : edge + step]
            # all that may be among the nearest, of these rows alone
            wide = np.arange(counts[some].max())
            there = wide < counts[some][:, None]
            at = np.where(there, starts[some][:, None] + wide, len(columns))
            others = np.append(columns, 0)[at]
            near = there & (cosine[at] >= (value[some, depth - 1] - margin[some])[:, None])
            exact = np.full(near.shape, -np.inf)
            draw, one = np.divmod(some[np.nonzero(near)[0]], n)
            exact[near] = self._exact(draws.order, draw, one, others[near])
            then = by_rank_where_tied(exact, others)[:, :depth]
            found[some] = np.take_along_axis(others, then, 1)
            value[some] = np.take_along_axis(exact, then, 1)
        return found.reshape(size, n, depth), value[:, :k].mean(1).reshape(size, n)

    def _exact(self, order: Array, draw: Array, one: Array, other: Array) -> Array:
        """Cosines (q) of pairs of rows in double, on the grid where equal ones tie."""
        result = np.empty(len(one))
        step = max(1, BUDGETS.cache_block // (8 * self.fitted.shape[1]))
        for start in range(0, len(one), step):
            part = slice(start, start + step)
            pairs = [
                self.fitted[which[part]] + self.residual[order[draw[part], which[part]]]
                for which in (one, other)
            ]
            x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pairs)
            result[part] = np.vecdot(x, y)
        return as_on_grid(result)


def _square(rows: Array) -> Array:
    return np.asarray((rows @ rows.T).astype(np.float32))
