"""Nested cross-validated ridge regression of many targets on one source.

From rows, or from sums over the rows of each fold: the loops over folds are the same.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from xconverge.kernels.vectors import Array, column_means

PENALTIES = 10.0 ** np.arange(-8, 5)
"""Shares of the mean eigenvalue of the source's covariance."""

Scores = tuple[float, float]


def held_out_scores(
    source: Array, width: int, targets: Array, widths: Array, fold: Array
) -> tuple[Array, Array]:
    """Held-out r and R² (B) of every target model (B, n, G) predicted from ``source`` (n, F).

    The penalty for a fold is the one that predicts the other folds best, each from the rest; all
    from one decomposition of the source for each set of stimuli left out.
    """

    def scores(pattern: Array, chosen: Array) -> Iterator[Scores]:
        x = _unit(source[pattern, :width].astype(np.float64))
        ys = [_unit(targets[b][pattern, : widths[b]].astype(np.float64)) for b in chosen]
        folds = fold[pattern]
        count = int(folds.max()) + 1
        if count * width > len(x):
            return nested(partial(FromRows, x, ys, folds), folds, len(ys))
        sums = [
            fold_sums([(x, y, folds)], (count, width, y.shape[1]), not b) for b, y in enumerate(ys)
        ]
        return nested(partial(FromSums, sums), folds, len(ys))

    there = ~np.isnan(targets[:, :, 0]) & ~np.isnan(source[:, 0])
    return by_pattern(there, fold, scores)


def by_pattern(
    there: Array, fold: Array, scores: Callable[[Array, Array], Iterable[Scores]]
) -> tuple[Array, Array]:
    """Scores r and R² (B) of targets that share the stimuli ``there`` (B, n) with the source.

    ``scores`` gives those of all targets with the same stimuli at once, from which stimuli (n)
    these are and which targets. NaN with a warning where they are too few.
    """
    result = np.full((2, len(there)), np.nan)
    _, firsts, which = np.unique(
        np.packbits(there, axis=1), axis=0, return_index=True, return_inverse=True
    )
    for number, first in enumerate(firsts):
        pattern = there[first]
        folds = fold[pattern]
        numbers = np.unique(folds)
        if len(numbers) < 3 or min((folds != number).sum() for number in numbers) < 3:
            warnings.warn(
                f"nested cross-validation needs common stimuli in at least 3 folds, got "
                f"{pattern.sum()} in {len(numbers)}: NaN",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        chosen = np.flatnonzero(which.ravel() == number)
        result[:, chosen] = np.transpose(list(scores(pattern, chosen)))
    return result[0], result[1]


def _unit(x: Array) -> Array:
    return np.asarray(x / (np.abs(x).max() or 1.0))


class Fit(NamedTuple):
    """How predictions of a target's gaps from its mean over the stimuli fitted turned out.

    Number of stimuli, means (2, e) of gaps and predictions, centred squares of both and their
    products (3, e).
    """

    size: int
    mean: Array
    sums: Array


def _merged(fits: Sequence[Fit]) -> Fit:
    sizes = np.array([fit.size for fit in fits], float)
    means = np.stack([fit.mean for fit in fits])
    mean = np.tensordot(sizes / sizes.sum(), means, 1)
    y, p = np.moveaxis(means - mean, 1, 0)
    between = np.tensordot(sizes, np.stack([y * y, p * p, y * p], 1), 1)
    return Fit(int(sizes.sum()), mean, between + sum(fit.sums for fit in fits))


class Ridge(ABC):
    """Regressions on the stimuli outside some folds, in eigenvectors of the source's covariance."""

    values: Array
    scale: float

    def _decompose(self, gram: Array, size: int) -> Array:
        """Eigenvectors of the centred X'X of ``size`` stimuli."""
        values, axes = np.linalg.eigh(gram)
        self.values = np.maximum(values, 0.0)
        self.scale = self.values.sum() / min(len(gram), size) or 1.0
        return np.asarray(axes)

    def shrink(self, penalty: Array | float) -> Array:
        """Factors (…, d) that turn covariances into coefficients."""
        return np.asarray(1 / (self.values + np.multiply.outer(penalty, self.scale)[..., None]))

    @abstractmethod
    def to(self, target: int) -> Array:
        """Covariance (d, e) of the rotated source with a target on the stimuli to fit."""

    @abstractmethod
    def gram(self, fold: int) -> Array:
        """Products (d, d) of the rotated source on the stimuli of a fold."""

    @abstractmethod
    def gap(self, target: int, fold: int) -> tuple[float, Array]:
        """Of a target less its mean there: sum of squares, products (d, e) with the source."""

    @abstractmethod
    def fit(self, target: int, fold: int, weights: Array) -> Fit:
        """Predictions of a fold by coefficients (d, e)."""


def nested(ridge: Callable[[Array], Ridge], fold: Array, n_targets: int) -> Iterator[Scores]:
    """Held-out r and R² of every target, from ``ridge`` without these folds."""
    numbers = np.unique(fold)
    errors = np.zeros((n_targets, len(numbers), len(PENALTIES)))
    for i, one in enumerate(numbers):
        for j, other in enumerate(numbers[:i]):
            known = ridge(numbers[[i, j]])
            factors = known.shrink(PENALTIES)
            held = [(i, other, known.gram(other)), (j, one, known.gram(one))]
            for target in range(n_targets):
                covariance = known.to(target)
                square = covariance @ covariance.T
                for outer, left_out, gram in held:
                    total, products = known.gap(target, left_out)
                    linear = np.vecdot(covariance, products)
                    bent = np.vecdot(factors @ (gram * square), factors)
                    errors[target, outer] += total - 2 * factors @ linear + bent
    found: list[list[Fit]] = [[] for _ in range(n_targets)]
    for i, one in enumerate(numbers):
        known = ridge(numbers[[i]])
        for target, fits in enumerate(found):
            factors = known.shrink(PENALTIES[errors[target, i].argmin()])
            fits.append(known.fit(target, one, factors[:, None] * known.to(target)))
    return (_scores(_merged(fits)) for fits in found)


class FromRows(Ridge):
    """From rows of the source (n, f), which may be fewer than features, and of the targets."""

    def __init__(self, x: Array, ys: Sequence[Array], fold: Array, without: Array) -> None:
        self.ys, self.fold = ys, fold
        self.train = ~np.isin(fold, without)
        rows = x - x[self.train].mean(0)
        known = rows[self.train]
        if known.shape[1] > len(known):
            q, _ = np.linalg.qr(known.T)
            rows = rows @ q
            known = rows[self.train]
        self.scores = rows @ self._decompose(known.T @ known, len(known))

    def to(self, target: int) -> Array:
        """Covariance (d, e) with a target."""
        y = self.ys[target][self.train]
        return np.asarray(self.scores[self.train].T @ (y - y.mean(0)))

    def gram(self, fold: int) -> Array:
        """Products (d, d) on a fold."""
        scores = self.scores[self.fold == fold]
        return np.asarray(scores.T @ scores)

    def _gaps(self, target: int, test: Array) -> Array:
        y = self.ys[target]
        return np.asarray(y[test] - y[self.train].mean(0))

    def gap(self, target: int, fold: int) -> tuple[float, Array]:
        """Squares of a target, products (d, e) with it, on a fold."""
        test = self.fold == fold
        gaps = self._gaps(target, test)
        return float(np.vdot(gaps, gaps)), self.scores[test].T @ gaps

    def fit(self, target: int, fold: int, weights: Array) -> Fit:
        """Predictions of a fold."""
        test = self.fold == fold
        both = np.stack([self._gaps(target, test), self.scores[test] @ weights])
        mean = both.mean(1)
        y, p = both - mean[:, None]
        sums = [np.einsum("ij,ij->j", *pair) for pair in ((y, y), (p, p), (y, p))]
        return Fit(both.shape[1], mean, np.stack(sums))


class FoldSums(NamedTuple):
    """Of a source and a target on the stimuli of each fold.

    Numbers (K), means (K, d) and (K, e), centred products (K, d, e), squares of the target (K, e)
    and, if asked for, products of the source (K, d, d).
    """

    size: Array
    mean_x: Array
    mean_y: Array
    product: Array
    square: Array
    own: Array


def fold_sums(
    pieces: Iterable[tuple[Array, Array, Array]], shape: tuple[int, int, int], own: bool
) -> FoldSums:
    """Of rows (b, d) and (b, e) and their folds (b), piece by piece; ``shape`` is (K, d, e)."""
    k, d, e = shape
    sums = FoldSums(
        np.zeros(k), np.zeros((k, d)), np.zeros((k, e)), np.zeros(shape), np.zeros((k, e)),
        np.zeros((k if own else 0, d, d)),
    )  # fmt: skip
    for x, y, fold in pieces:
        for number in np.unique(fold):
            mine = fold == number
            size = sums.size[number]
            u, v = (
                _apart(rows[mine], size, mean[number])
                for rows, mean in ((x, sums.mean_x), (y, sums.mean_y))
            )
            sums.size[number] += len(u) - 1
            sums.product[number] += u.T @ v
            sums.square[number] += np.einsum("ij,ij->j", v, v)
            if own:
                sums.own[number] += u.T @ u
    return sums


def _apart(rows: Array, size: float, mean: Array) -> Array:
    """Centred rows, and the gap of their mean from that of ``size`` others as one row more.

    Their products are what these rows (b, f) add to the centred products of the others. ``mean``
    (f) becomes that of all.
    """
    own = column_means(rows)
    gap, share = own - mean, len(rows) / (size + len(rows))
    mean += share * gap
    return np.vstack([rows - own, np.sqrt(size * share) * gap])


class FromSums(Ridge):
    """From sums over the folds of one source with every target, the first with the source's own."""

    def __init__(self, sums: Sequence[FoldSums], without: Array) -> None:
        self.sums = sums
        first = sums[0]
        self.train = np.setdiff1d(np.flatnonzero(first.size), without)
        size = first.size[self.train]
        self.share = size / size.sum()
        self.mean = self.share @ first.mean_x[self.train]
        self.apart = np.sqrt(size)[:, None] * (first.mean_x[self.train] - self.mean)
        gram = first.own[self.train].sum(0) + self.apart.T @ self.apart
        self.axes = self._decompose(gram, int(size.sum()))

    def _mean(self, target: int) -> Array:
        return np.asarray(self.share @ self.sums[target].mean_y[self.train])

    def to(self, target: int) -> Array:
        """Covariance (d, e) with a target."""
        of = self.sums[target]
        between = self.apart.T @ (
            np.sqrt(of.size[self.train])[:, None] * (of.mean_y[self.train] - self._mean(target))
        )
        return np.asarray(self.axes.T @ (of.product[self.train].sum(0) + between))

    def gram(self, fold: int) -> Array:
        """Products (d, d) on a fold."""
        first = self.sums[0]
        gap = first.mean_x[fold] - self.mean
        gram = first.own[fold] + first.size[fold] * np.outer(gap, gap)
        return np.asarray(self.axes.T @ gram @ self.axes)

    def gap(self, target: int, fold: int) -> tuple[float, Array]:
        """Squares of a target, products (d, e) with it, on a fold."""
        of = self.sums[target]
        gap_x, gap_y = of.mean_x[fold] - self.mean, of.mean_y[fold] - self._mean(target)
        product = of.product[fold] + of.size[fold] * np.outer(gap_x, gap_y)
        square = of.square[fold].sum() + of.size[fold] * np.vdot(gap_y, gap_y)
        return float(square), self.axes.T @ product

    def fit(self, target: int, fold: int, weights: Array) -> Fit:
        """Predictions of a fold."""
        of = self.sums[target]
        map_ = self.axes @ weights
        gap_x, gap_y = of.mean_x[fold] - self.mean, of.mean_y[fold] - self._mean(target)
        sums = [
            of.square[fold],
            np.einsum("ij,ij->j", map_, self.sums[0].own[fold] @ map_),
            np.einsum("ij,ij->j", map_, of.product[fold]),
        ]
        return Fit(int(of.size[fold]), np.stack([gap_y, gap_x @ map_]), np.stack(sums))


def _scores(fit: Fit) -> Scores:
    """r, the mean over the features of the target that vary, and R².

    Both of gaps from the mean of the stimuli fitted, which runs against the mean of those held out
    and would make useless predictions correlate below zero.
    """
    (y, p, product), (mean_y, mean_p) = fit.sums, fit.mean
    size, guess = np.sqrt(y), np.sqrt(np.maximum(p, 0.0))
    real = size > 1e-12 * size.max(initial=0.0)
    r = np.nan
    if real.any():
        safe = np.where(real & (guess > 0), size * guess, 1.0)
        r = float(np.clip(np.where(guess > 0, product / safe, 0.0), -1, 1)[real].mean())
    total = y.sum() + fit.size * np.vdot(mean_y, mean_y)
    missed = (y - 2 * product + p).sum() + fit.size * np.square(mean_y - mean_p).sum()
    return r, float(1 - missed / total) if total > 0 else np.nan
