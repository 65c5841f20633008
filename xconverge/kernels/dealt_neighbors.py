"""Neighbours by cosine in models whose residuals are dealt to other stimuli, draw after draw.

Rows of a draw are f_i + r_p(i). What is fitted has few dimensions q, so in the order p of residuals
the products of rows are G G' + R: G are the rows inside these dimensions, and R, the products of
residuals beyond them, is the same for all draws. A draw costs n² q instead of n² d. Products are
searched in single precision; where that does not decide between two neighbours, rows decide in
double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.equal_noise import Parts
from xconverge.kernels.neighbors import as_on_grid, by_rank_where_tied, candidates_of
from xconverge.kernels.vectors import Array

BLOCK = 2**20
"""Bytes of the products of a draw that are formed and searched while they are in a cache."""
MANY = 8
"""Candidates for each neighbour from which on a closer bound pays."""
UNIT = 2.0**-24
"""How far a number in single precision is off, as a share of it."""


class Neighbors(NamedTuple):
    """Of every stimulus its nearest (n, depth), the mean cosine to the first k, and its norm.

    In what order the first k stand, is not said.
    """

    lists: Array
    density: Array
    norm: Array


class _Draw(NamedTuple):
    """A draw, whose rows stand in an order of their own; what is found, in that of the stimuli.

    Of each place (n) the ``stimulus``, its ``rows`` (n, q) and 1 / norm; of each stimulus (n) its
    ``place``, norm and ``margin``. A row's own norm changes no order, and is left out of values and
    of ``slack`` (n), their margin at each place. Candidates: places in (n, n), and values.
    """

    order: Array
    stimulus: Array
    place: Array
    rows: Array
    norm: Array
    margin: Array
    inverse: Array
    slack: Array
    found: list[Array]
    values: list[Array]


class DealtModel:
    """One model whose stimuli were all seen; relative residuals are of rows of unit norm.

    A cosine does not know the size of a row: f + |f| r and f / |f| + r have the same.
    """

    def __init__(self, model: Parts, n_models: int = 1) -> None:
        self.size = np.ones(len(model.fitted)) if model.size is None else model.size
        self.fitted = model.fitted / self.size[:, None]
        self.residual = model.residual
        self.lengths = [np.linalg.norm(x, axis=1) for x in (self.fitted, self.residual)]
        self.likely = np.empty((len(model.fitted), 0), np.int64)
        n = len(self.fitted)
        # inside the dimensions of what is fitted, or all
        self.inside, self.beyond = (self.fitted, self.residual), np.zeros(n)
        self.products: Array | None = None
        if model.axes is not None and 4 * n * n * n_models <= BUDGETS.products:
            fitted, residual = self.fitted @ model.axes, self.residual @ model.axes
            rest = self.residual - residual @ model.axes.T
            self.inside, self.beyond = (fitted, residual), np.vecdot(rest, rest)
            self.products = (rest @ rest.T).astype(np.float32)
        self.unit = (12 + 4 * np.sqrt(self.inside[0].shape[1])) * UNIT

    def neighbors(self, order: Array, k: int, depth: int) -> Neighbors:
        """Where every stimulus has the residual that ``order`` (n) says; ``depth`` from k on."""
        return self.of_several([order], k, depth)[0]

    def of_several(self, orders: Sequence[Array], k: int, depth: int) -> list[Neighbors]:
        """The same of several draws at a time: what they share of a block is read once."""
        if self.products is None and len(orders) > 1:
            # each has rows of its own
            return [self.neighbors(order, k, depth) for order in orders]
        draws = [self._draw(order) for order in orders]
        likely, n = self._likely(depth), len(self.size)
        step = max(1, BLOCK // (4 * n))
        room = np.empty((min(step, n), n), np.float32)
        for start in range(0, n, step):
            part = slice(start, min(n, start + step))
            own = np.arange(part.stop - start)
            for draw in draws:
                cosines = np.matmul(draw.rows[part], draw.rows.T, out=room[: len(own)])
                if self.products is not None:
                    cosines += self.products[part]
                cosines *= draw.inverse
                cosines[own, start + own] = -np.inf
                these = draw.place[likely[draw.stimulus[part]]] + n * own[:, None]
                few = cosines.reshape(-1).take(these, mode="clip")
                few.partition(few.shape[1] - depth, axis=1)
                lowest = few[:, few.shape[1] - depth] - draw.slack[part]
                at = np.flatnonzero(cosines >= lowest[:, None])
                if len(at) > MANY * depth * len(own):
                    # residuals decide who is near
                    close = candidates_of(cosines, depth, draw.slack[part])
                    at = np.ravel_multi_index(close, cosines.shape)
                row, column = np.divmod(at, n)
                draw.found.append(draw.stimulus[start + row] * n + draw.stimulus[column])
                draw.values.append(cosines.reshape(-1)[at])
        return [Neighbors(*self._nearest(one, k, depth), one.norm * self.size) for one in draws]

    def _draw(self, order: Array) -> _Draw:
        n = len(order)
        rows = self.inside[0] + self.inside[1][order]
        norm = np.sqrt(np.vecdot(rows, rows) + self.beyond[order])
        # how far a cosine is off: the terms of a product may cancel
        error = (self.lengths[0] + self.lengths[1][order]) / norm
        margin = 2 * self.unit * error * error.max()
        # products beyond what is fitted stand in the order of residuals
        place = order if self.products is not None else np.arange(n)
        stimulus = np.empty(n, np.int64)
        stimulus[place] = np.arange(n)
        inverse, slack = ((x[stimulus]).astype(np.float32) for x in (1 / norm, margin * norm))
        return _Draw(
            order, stimulus, place, rows[stimulus].astype(np.float32), norm, margin, inverse, slack,
            [], [],
        )  # fmt: skip

    def _likely(self, depth: int) -> Array:
        """Some stimuli (n, w) that are near each without its residual: most of a draw's are.

        Whoever they are, their cosines bound the ``depth`` largest of all from below.
        """
        n = len(self.fitted)
        wide = min(4 * depth, n - 1)
        known = self.likely
        if known.shape[1] < wide:
            known = np.empty((n, wide), np.int64)
            less = (-1 / np.maximum(self.lengths[0], 1e-300)).astype(np.float32)
            rows = self.inside[0].astype(np.float32)
            step = max(1, BUDGETS.product_block // (4 * n))
            for start in range(0, n, step):
                part = slice(start, start + step)
                away = rows[part] @ rows.T * less
                own = np.arange(len(away))
                away[own, start + own] = np.inf
                near = np.argpartition(away, wide - 1, axis=1)[:, :wide]
                # in the order that they lie in
                known[part] = np.sort(near, axis=1)
            # whole at once: other threads draw meanwhile
            self.likely = known
        return known

    def _rows(self, order: Array, where: Array | slice = slice(None)) -> Array:
        return np.asarray(self.fitted[where] + self.residual[order[where]])

    def _nearest(self, draw: _Draw, k: int, depth: int) -> tuple[Array, Array]:
        """The nearest (n, depth) and the mean cosine (n) to the first k of them.

        From the candidates of a draw, row by row: at least ``depth`` a row.
        """
        n, margin = len(self.size), draw.margin
        rows, columns = np.divmod(np.concatenate(draw.found), n)
        cosine = np.concatenate(draw.values) * draw.inverse[draw.place[rows]]
        # cosines lie in [-1, 1], but for rounding: rows stay apart
        first = np.argsort(4.0 * rows - cosine)
        counts = np.bincount(rows, minlength=n)
        starts = np.cumsum(counts) - counts
        columns, cosine = columns[first], np.append(cosine[first].astype(np.float64), -np.inf)
        top = starts[:, None] + np.arange(depth)
        found, value = columns[top], cosine[top]
        following = cosine[np.where(counts > depth, starts + depth, -1)]
        apart = value[:, k - 1 :] - np.column_stack([value[:, k:], following])
        unsure = np.flatnonzero((apart <= margin[:, None]).any(1))
        if len(unsure):
            # all that may be among the nearest, of these rows alone
            wide = np.arange(counts[unsure].max())
            there = wide < counts[unsure][:, None]
            at = np.where(there, starts[unsure][:, None] + wide, len(columns))
            others = np.append(columns, 0)[at]
            near = there & (cosine[at] >= (value[unsure, depth - 1] - margin[unsure])[:, None])
            exact = np.full(near.shape, -np.inf)
            exact[near] = self._exact(draw.order, unsure[np.nonzero(near)[0]], others[near])
            then = by_rank_where_tied(exact, others)[:, :depth]
            found[unsure] = np.take_along_axis(others, then, 1)
            value[unsure] = np.take_along_axis(exact, then, 1)
        return found, value[:, :k].mean(1)

    def _exact(self, order: Array, one: Array, other: Array) -> Array:
        """Cosines (q) of pairs of rows in double, on the grid where equal ones tie."""
        result = np.empty(len(one))
        step = max(1, BUDGETS.cache_block // (8 * self.fitted.shape[1]))
        for start in range(0, len(one), step):
            pairs = [self._rows(order, which[start : start + step]) for which in (one, other)]
            x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pairs)
            result[start : start + step] = np.vecdot(x, y)
        return as_on_grid(result)
