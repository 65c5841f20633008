"""Canonical correlations of the leading directions of two models (SVCCA).

Raghu et al. (2017): keep the first principal components of each model, then correlate what is left
by canonical correlation analysis (Hotelling 1936). Held out, components and canonical directions
come from the stimuli outside a fold, and correlations from those inside.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.axes import leading, principal_axes
from xconverge.kernels.kernel import RowKernel
from xconverge.kernels.rounding import exponent_of, of_columns, of_spectrum, scaled, unit_of
from xconverge.kernels.sums import (
    Scatter,
    Spread,
    by_fold,
    merged,
    merged_folds,
    merged_spreads,
    scatter,
)
from xconverge.kernels.vectors import Array, column_means, present

STILL = 1e-24
"""Variance of held-out scores, against that of the fitted ones, that is only rounding."""


@dataclass(frozen=True)
class Scores:
    """Scores (n, K, c) of one model on the components outside each of K folds; NaN where unseen."""

    scores: Array
    seen: Array


class Maps(NamedTuple):
    """Mean (f) of a model, and maps (K, f, c) onto the components outside each of K folds.

    Of rows divided by 2^exponent.
    """

    mean: Array
    maps: Array
    exponent: int


class Fold(NamedTuple):
    """Sums over the scores (2 c) of both models: of the stimuli to fit, and of those to score."""

    train: Scatter
    test: Scatter


@dataclass(frozen=True)
class Svcca(RowKernel[Scores]):
    """Mean canonical correlation of the first principal components of standard columns.

    ``given`` (n) are numbers of folds, or -1 throughout: directions and correlations are then of
    the same stimuli.
    """

    n_components: int = 10

    # at least; more are asked for by ``finish``, which knows how many a fold has
    min_stimuli = 3
    fixed = "principal components"
    permuted_inside_folds = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Scores:
        """Components of every fold, once a model: of all stimuli that it saw."""
        assert given is not None
        scores = leading_scores(rows, width, given, self.n_components)
        return Scores(scores, ~np.isnan(scores[:, 0, 0]))

    def take(self, state: Scores, where: Array, counts: Array | None = None) -> Scores:
        """Scores are as they were; copies of a stimulus belong into one fold, as rows of it."""
        again = where if counts is None else np.repeat(where, counts)
        return Scores(state.scores[again], state.seen[again])

    def sums(
        self, a: Sequence[Scores], b: Sequence[Scores], given: Array | None
    ) -> list[list[list[Fold]]]:
        """The folds of every pair."""
        return [[self.cross(x.scores, y.scores, given) for y in b] for x in a]

    def finish(
        self, sums: Sequence[Sequence[Sequence[Fold]]], own_a: Sequence[Any], own_b: Sequence[Any]
    ) -> Array:
        """Mean canonical correlation (A, B) over folds."""
        return np.array([[mean_correlation(folds) for folds in row] for row in sums])

    def scores_of_orders(
        self, a: Sequence[Scores], b: Sequence[Scores], orders: Array, given: Array | None
    ) -> Array:
        """Inside folds, no sum of one side alone changes: only the products of both sides do."""
        assert given is not None
        folds = [
            Moved(train, test, [_side(s, k, train, test) for s in a],
                  [_side(s, k, train, test) for s in b])
            for k, (train, test) in enumerate(_roles(given, a[0].scores.shape[1]))
        ]  # fmt: skip
        result = np.empty((len(orders), len(a), len(b)))
        for i, j in np.ndindex(result.shape[1:]):
            result[:, i, j] = np.mean([fold.correlations(i, j, orders) for fold in folds], axis=0)
        return result

    # --- rows that are read block by block

    def has_row_sums(self, n: int, width: int, folds: int) -> bool:
        """Products of features for every fold must be smaller than the rows."""
        return n > folds * width

    def measure(self, block: Array, width: int, given: Array | None) -> dict[int, Spread]:
        """The spread of each fold."""
        assert given is not None
        return by_fold(block[:, :width], given)

    def merge(self, parts: Sequence[dict[int, Spread]]) -> dict[int, Spread]:
        """Fold by fold."""
        return merged_folds(parts)

    def fitted(self, merged: dict[int, Spread]) -> Maps:
        """Components outside each fold; of all stimuli where there are none."""
        if not merged:
            return Maps(np.zeros(0), np.zeros((0, 0, self.n_components)), 0)
        numbers = [-1] if -1 in merged else range(max(merged) + 1)
        whole = merged_spreads(list(merged.values()))
        mean, exponent = whole.mean, whole.exponent
        maps = np.zeros((len(numbers), len(mean), self.n_components))
        for number, turn in zip(numbers, maps, strict=True):
            known = [part for other, part in merged.items() if other != number or number < 0]
            if known:
                part = merged_spreads(known)
                part = part.times(part.exponent - exponent)
                turn[...] = directions(part.scatter, self.n_components, part.eps)
        return Maps(mean, maps, exponent)

    def place(self, block: Array, width: int, fit: Maps) -> Array:
        """Scores (b, K, c) by all maps, in one product.

        They are less one mean for all folds, which only keeps digits: sums centre them again.
        """
        count = len(fit.maps)
        if not count:
            return np.zeros((len(block), 0, self.n_components))
        flat = fit.maps.swapaxes(0, 1).reshape(width, -1)
        rows = block[:, :width]
        if fit.exponent:
            rows = scaled(rows.astype(np.float64), -fit.exponent)
        scores = (rows - fit.mean) @ flat
        return np.asarray(scores.reshape(len(block), count, self.n_components))

    def cross(self, x: Array, y: Array, given: Array | None) -> list[Fold]:
        """Sums of each fold over joint scores, of x (b, K, c) and y (b, K, c)."""
        assert given is not None
        count = max(x.shape[1], y.shape[1])
        # a model that saw nothing of the last folds has no maps for them: scores that do not vary
        x, y = (np.pad(s, ((0, 0), (0, count - s.shape[1]), (0, 0))) for s in (x, y))
        return [
            Fold(*(scatter(np.concatenate([x[part, k], y[part, k]], 1)) for part in roles))
            for k, roles in enumerate(_roles(given, count))
        ]

    def combine(self, parts: Sequence[list[Fold]]) -> list[Fold]:
        """Fold by fold."""
        return [
            Fold(*(reduce(merged, role) for role in zip(*of_fold, strict=True)))
            for of_fold in zip(*parts, strict=True)
        ]

    def reduced(self, parts: list[Fold]) -> list[list[list[Fold]]]:
        """The folds of the only pair."""
        return [[parts]]


def leading_scores(x: Array, width: int, fold: Array, n_components: int) -> Array:
    """Scores (n, fold, c) of the stimuli on the first principal components of standard columns.

    Means, deviations and components come from the stimuli outside the fold alone; all of them
    where no stimulus has that fold number, as for the single fold of ``fold`` (n) = -1. NaN where
    missing, zero beyond the rank.
    """
    rows = x[:, :width].astype(np.float64)
    seen = present(rows)
    rows = scaled(rows, -exponent_of(np.where(seen[:, None], rows, 0.0)))
    result = np.zeros((max(fold.max() + 1, 1), len(rows), n_components))
    for number, scores in enumerate(result):
        train = seen & (fold != number)
        if not train.any():
            continue
        center = column_means(rows[train])
        centered = rows - center
        scores[...] = centered @ _directions(
            centered[train], center, n_components, unit_of(x.dtype)
        )
    result[:, ~seen] = np.nan
    return np.ascontiguousarray(result.swapaxes(0, 1))


def _directions(rows: Array, center: Array, n_components: int, eps: float) -> Array:
    """``directions`` of centred rows (n, f), of which there may be fewer than columns."""
    if rows.shape[1] <= len(rows):
        return directions(Scatter(len(rows), center, rows.T @ rows), n_components, eps)
    deviation = np.sqrt(np.square(rows).mean(0))
    kept = _varying(deviation, center, eps)
    axes = np.zeros((0, 0))
    if len(kept):
        least = of_spectrum(eps, len(kept))
        axes = principal_axes(rows[:, kept] / deviation[kept], n_components, least)
    return _placed(axes, kept, deviation, n_components)


def directions(of: Scatter, n_components: int, eps: float) -> Array:
    """Map (f, c) of rows onto the leading components of standard columns; zero beyond the rank.

    They were stored in a precision of unit ``eps``.
    """
    deviation = np.sqrt(np.diagonal(of.gram) / max(of.size, 1))
    kept = _varying(deviation, of.mean, eps)
    axes = np.zeros((0, 0))
    if len(kept):
        standard = of.gram[np.ix_(kept, kept)] / deviation[kept] / deviation[kept, None]
        axes = leading(standard, n_components, of_spectrum(eps, len(kept)))
    return _placed(axes, kept, deviation, n_components)


def _varying(deviation: Array, center: Array, eps: float) -> Array:
    """Columns that vary by more than rounding."""
    return np.flatnonzero(deviation > of_columns(eps) * np.abs(center))


def _placed(axes: Array, kept: Array, deviation: Array, n_components: int) -> Array:
    result = np.zeros((len(deviation), n_components))
    result[kept, : axes.shape[1]] = axes / deviation[kept, None]
    return result


def _roles(fold: Array, count: int) -> Iterator[tuple[Array, Array]]:
    """Which stimuli (n) each fold is fitted to, and which it scores; all of them without folds."""
    for number in range(count):
        yield fold != number, (fold == number) | (fold < 0)


def mean_correlation(folds: Sequence[Fold]) -> float:
    """Mean canonical correlation of the folds of one pair.

    NaN with a warning for too few stimuli, and for scores that do not vary.
    """
    values = []
    for train, test in folds:
        count = len(train.mean) // 2
        if not _are_enough(count, train.size, test.size):
            return np.nan
        x, y = slice(count), slice(count, None)
        whiten_x, whiten_y = whitener(train.gram[x, x]), whitener(train.gram[y, y])
        found = correlations(
            whiten_x, whiten_y, (whiten_x.T @ train.gram[x, y] @ whiten_y)[None],
            test.gram[x, x], test.gram[y, y], test.gram[None, x, y],
            STILL * test.size / train.size,
        )  # fmt: skip
        values.append(found[0])
    return float(np.mean(values))


def _are_enough(count: int, n_train: int, n_test: int) -> bool:
    enough = n_train >= count + 2 and n_test >= 3
    if not enough:
        warnings.warn(
            f"svcca of {count} components needs {count + 2} common stimuli to fit "
            f"and 3 to score, a fold has {n_train} and {n_test}: NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    return enough


def correlations(
    whiten_x: Array,
    whiten_y: Array,
    train: Array,
    test_x: Array,
    test_y: Array,
    test: Array,
    least: float,
) -> Array:
    """Mean canonical correlation (P), of P sets of products of the two sides.

    Canonical directions are the singular vectors of X'Y of whitened scores (Golub & Van Loan,
    §6.4.3): ``train`` (P, r, s), of the stimuli fitted. On those to score, products of x (c, c), of
    y (c, c) and of both (P, c, c). NaN with a warning where a variance is not above ``least``.
    """
    if not (whiten_x.size and whiten_y.size):
        return _still(np.zeros(len(train), bool), np.zeros(len(train)))
    u, _, vt = np.linalg.svd(train, full_matrices=False)
    map_x, map_y = whiten_x @ u, whiten_y @ vt.swapaxes(-2, -1)
    square_x, square_y = (
        _columns(turn, gram @ turn) for turn, gram in ((map_x, test_x), (map_y, test_y))
    )
    varies = np.minimum(square_x.min(-1), square_y.min(-1)) >= least
    product = _columns(map_x, test @ map_y)
    # the root of their product, or of 1 where they are nothing
    size = np.sqrt(np.where(varies[:, None], square_x * square_y, 1.0))
    return _still(varies, np.clip(product / size, -1, 1).mean(-1))


def _columns(x: Array, y: Array) -> Array:
    """Products (…, r) of each column of x (…, c, r) with that of y."""
    return np.asarray(np.vecdot(x.swapaxes(-2, -1), y.swapaxes(-2, -1)))


def _still(varies: Array, values: Array) -> Array:
    if not varies.all():
        warnings.warn("svcca: scores that do not vary: NaN", RuntimeWarning, stacklevel=4)
    return np.where(varies, values, np.nan)


def whitener(gram: Array) -> Array:
    """Map (c, rank) of scores with these cross-products onto uncorrelated unit columns."""
    size = np.sqrt(np.diagonal(gram))
    unit = 1 / np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(gram * unit * unit[:, None])
    real = values > 1e-13 * values.max(initial=0.0)
    return np.asarray(unit[:, None] * vectors[:, real] / np.sqrt(values[real]))


class Side(NamedTuple):
    """What one side of a fold is, however the other moves.

    Scores (n, c) centred on the stimuli fitted, and on those to score; whitener (c, r) of the
    first, products (c, c) of the second.
    """

    train: Array
    test: Array
    whiten: Array
    products: Array


def _side(state: Scores, number: int, train: Array, test: Array) -> Side:
    rows = state.scores[:, number]
    # each centred on its own mean, which a permutation inside folds leaves where it is
    fitted, scored = (rows - rows[part].mean(0) if part.any() else rows for part in (train, test))
    known, held = fitted[train], scored[test]
    return Side(fitted, scored, whitener(known.T @ known), held.T @ held)


@dataclass(frozen=True)
class Moved:
    """One fold under permutations: which stimuli (n) fit and which score, the models' sides."""

    train: Array
    test: Array
    a: Sequence[Side]
    b: Sequence[Side]

    def correlations(self, i: int, j: int, orders: Array) -> Array:
        """Mean canonical correlation (P) of two models in each order (P, n)."""
        x, y = self.a[i], self.b[j]
        n_train, n_test = int(self.train.sum()), int(self.test.sum())
        if not _are_enough(x.products.shape[0], n_train, n_test):
            return np.full(len(orders), np.nan)
        known_x, held_x = (x.train[self.train] @ x.whiten).T, x.test[self.test].T
        white_y = y.train @ y.whiten
        train = np.stack([known_x @ white_y[order[self.train]] for order in orders])
        test = np.stack([held_x @ y.test[order[self.test]] for order in orders])
        least = STILL * n_test / n_train
        return correlations(x.whiten, y.whiten, train, x.products, y.products, test, least)
