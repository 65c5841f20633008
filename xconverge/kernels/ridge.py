"""Nested cross-validated ridge regression of many targets on one source.

From rows, or from sums over the rows of each fold: the loops over folds are the same. What the
penalty costs is known without predicting: with C = U'Y the covariance of the stimuli fitted in
eigenvectors U of the source's covariance, f the factors 1 / (eigenvalue + penalty), and G = X'X,
P = X'Y of the stimuli held out in the same eigenvectors,
Σ|y - x'(f∘C)|² = Σ|y|² - 2 f·(C∘P)1 + f'(G∘CC')f, so that one decomposition does for all
penalties and targets.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rows import CenteredRows, Rows, without_constants
from xconverge.kernels.vectors import Array, column_means, present

PENALTIES = 10.0 ** np.arange(-8, 5)
"""Shares of the mean eigenvalue of the source's covariance."""


class Fit(NamedTuple):
    """How predictions of a target's gaps from its mean over the stimuli fitted turned out.

    Number of stimuli, means (2, e) of gaps and predictions, centred squares of both and their
    products (3, e).
    """

    size: int
    mean: Array
    sums: Array


def _merged(fits: Sequence[Fit]) -> Fit:
    """Of all folds together."""
    sizes = np.array([fit.size for fit in fits], float)
    means = np.stack([fit.mean for fit in fits])
    mean = np.tensordot(sizes / sizes.sum(), means, 1)
    y, p = np.moveaxis(means - mean, 1, 0)
    between = np.tensordot(sizes, np.stack([y * y, p * p, y * p], 1), 1)
    return Fit(int(sizes.sum()), mean, between + sum(fit.sums for fit in fits))


class Known(NamedTuple):
    """Sums over the folds of a source with itself, and with one target."""

    own: FoldSums
    sums: FoldSums


@dataclass(frozen=True)
class Predictivity(CenteredRows):
    """Held-out ``score`` of a ridge regression of every model of b on every model of a.

    ``"r"``, the mean correlation of the features that vary, or ``"r2"``, the share of their squares
    that is explained. ``given`` (n) are numbers of folds, of which it needs three.
    """

    score: str = "r"

    # at least; more stimuli or folds are asked for where it is known what a fold has
    min_stimuli = 3
    together = (False, True)
    permuted_inside_folds = True

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Rows:
        """Centred rows whose largest entry is 1, in double: neither shift nor scale matter.

        Features that vary by no more than rounding are 0.
        """
        real = rows[:, :width].astype(np.float64)
        seen = present(real)
        if seen.any():
            real[seen] = without_constants(real[seen], rows.dtype)
        real[~seen] = 0.0
        return Rows(real / (np.abs(real).max(initial=0.0) or 1.0), seen)

    def take(self, state: Rows, where: Array, counts: Array | None = None) -> Rows:
        """Rows as they are; copies of a stimulus belong into one fold, as rows of it."""
        again = where if counts is None else np.repeat(where, counts)
        return Rows(state.rows[again], state.seen[again])

    def sums(
        self, a: Sequence[Rows], b: Sequence[Rows], given: Array | None
    ) -> list[list[Fit | None]]:
        """How the targets of all pairs (A, B) are predicted; None where there is too little.

        One decomposition of a source, for each set of folds left out, does for all its targets.
        """
        assert given is not None
        targets = [y.rows for y in b]
        return [fits(x.rows, targets, given) for x in a]

    def finish(
        self, sums: Sequence[Sequence[Fit | None]], own_a: Sequence[Any], own_b: Sequence[Any]
    ) -> Array:
        """Scores (A, B)."""
        return np.array([[self._scored(fit) for fit in row] for row in sums])

    def _scored(self, fit: Fit | None) -> float:
        return np.nan if fit is None else correlation_and_share(fit)[self.score == "r2"]

    def scores_of_orders(
        self, a: Sequence[Rows], b: Sequence[Rows], orders: Array, given: Array | None
    ) -> Array:
        """Permuted targets are many targets: of one source, decomposed once for as many as fit.

        Inside folds a permutation leaves the stimuli of every fold what they are.
        """
        assert given is not None
        result = np.empty((len(orders), len(a), len(b)))
        step = max(1, BUDGETS.targets // (8 * sum(y.rows.size for y in b)))
        for start in range(0, len(orders), step):
            moves = orders[start : start + step]
            targets = [y.rows[order] for order in moves for y in b]
            for i, x in enumerate(a):
                found = [self._scored(fit) for fit in fits(x.rows, targets, given)]
                result[start : start + step, i] = np.reshape(found, (len(moves), len(b)))
        return result

    # --- rows that are read block by block

    def has_row_sums(self, n: int, width: int, folds: int) -> bool:
        """Products of features for every fold must be smaller than the rows."""
        return n > folds * width

    def cross(self, x: Array, y: Array, given: Array | None) -> Known:
        """What a block adds to the sums of a pair, the source's own among them: of this pool."""
        assert given is not None
        return Known(fold_sums(x, x, given), fold_sums(x, y, given))

    def combine(self, parts: Sequence[Known]) -> Known:
        """Fold by fold."""
        return Known(*(reduce(added_sums, field) for field in zip(*parts, strict=True)))

    def reduced(self, parts: Known) -> list[list[Fit | None]]:
        """How the only target is predicted."""
        return [fits_from_sums(parts.own, [parts.sums])]


def fits(x: Array, ys: Sequence[Array], fold: Array) -> list[Fit | None]:
    """How every target (n, e) is predicted from the source (n, d), with these folds (n)."""
    if (int(fold.max(initial=-1)) + 1) * x.shape[1] <= len(x):
        return fits_from_sums(fold_sums(x, x, fold), [fold_sums(x, y, fold) for y in ys])
    if not _are_enough(np.bincount(fold)):
        return [None] * len(ys)
    return list(nested(partial(FromRows, x, ys, fold), np.unique(fold), len(ys)))


def fits_from_sums(own: FoldSums, sums: Sequence[FoldSums]) -> list[Fit | None]:
    """The same from sums over each fold, of the source with itself and with every target."""
    if not _are_enough(own.size):
        return [None] * len(sums)
    return list(nested(partial(FromSums, own, sums), np.flatnonzero(own.size), len(sums)))


def _are_enough(sizes: Array) -> bool:
    """Whether folds of these sizes (K) can be left out two at a time; warns if not."""
    total, there = int(sizes.sum()), sizes[sizes > 0]
    enough = len(there) >= 3 and total - there.max() >= 3
    if not enough:
        warnings.warn(
            f"nested cross-validation needs common stimuli in at least 3 folds, got {total} in "
            f"{len(there)}: NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    return bool(enough)


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


def nested(ridge: Callable[[Array], Ridge], numbers: Array, n_targets: int) -> Iterator[Fit]:
    """How every target is predicted, held out, from ``ridge`` without the folds that it is given.

    The penalty for a fold is the one that predicts the other folds best, each from the rest. A
    regression without two folds i and j serves both: it predicts j for i, and i for j.
    """
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
    return (_merged(fits) for fits in found)


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
    """Of a source and a target on the stimuli of each of K folds.

    Numbers (K), means (K, d) and (K, e), centred products (K, d, e), squares of the target (K, e).
    """

    size: Array
    mean_x: Array
    mean_y: Array
    product: Array
    square: Array


def fold_sums(x: Array, y: Array, fold: Array) -> FoldSums:
    """Of rows (n, d) and (n, e) and their folds (n)."""
    count, d, e = int(fold.max(initial=-1)) + 1, x.shape[1], y.shape[1]
    sums = FoldSums(
        np.zeros(count), np.zeros((count, d)), np.zeros((count, e)), np.zeros((count, d, e)),
        np.zeros((count, e)),
    )  # fmt: skip
    for k in np.unique(fold):
        u, v = (rows[fold == k] for rows in (x, y))
        sums.size[k], sums.mean_x[k], sums.mean_y[k] = len(u), column_means(u), column_means(v)
        u, v = u - sums.mean_x[k], v - sums.mean_y[k]
        sums.product[k], sums.square[k] = u.T @ v, np.einsum("ij,ij->j", v, v)
    return sums


def added_sums(one: FoldSums, other: FoldSums) -> FoldSums:
    """Of the rows of both (Chan, Golub & LeVeque 1983); of the folds that either has."""
    count = max(len(one.size), len(other.size))
    one, other = (FoldSums(*(_lengthened(f, count) for f in of)) for of in (one, other))
    size = one.size + other.size
    share = other.size / np.maximum(size, 1)
    gap_x, gap_y = other.mean_x - one.mean_x, other.mean_y - one.mean_y
    weight = (one.size * share)[:, None]
    return FoldSums(
        size,
        one.mean_x + share[:, None] * gap_x,
        one.mean_y + share[:, None] * gap_y,
        one.product + other.product + (weight * gap_x)[:, :, None] * gap_y[:, None],
        one.square + other.square + weight * gap_y**2,
    )


def _lengthened(field: Array, count: int) -> Array:
    return np.pad(field, [(0, count - len(field)), *((0, 0) for _ in field.shape[1:])])


class FromSums(Ridge):
    """From sums over the folds of one source with itself, ``own``, and with every target."""

    def __init__(self, own: FoldSums, sums: Sequence[FoldSums], without: Array) -> None:
        self.own, self.sums = own, sums
        self.train = np.setdiff1d(np.flatnonzero(own.size), without)
        size = own.size[self.train]
        self.share = size / size.sum()
        self.mean = self.share @ own.mean_x[self.train]
        # centred products of folds, and what lies between their means
        self.apart = np.sqrt(size)[:, None] * (own.mean_x[self.train] - self.mean)
        gram = own.product[self.train].sum(0) + self.apart.T @ self.apart
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
        gap = self.own.mean_x[fold] - self.mean
        gram = self.own.product[fold] + self.own.size[fold] * np.outer(gap, gap)
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
            np.einsum("ij,ij->j", map_, self.own.product[fold] @ map_),
            np.einsum("ij,ij->j", map_, of.product[fold]),
        ]
        return Fit(int(of.size[fold]), np.stack([gap_y, gap_x @ map_]), np.stack(sums))


def correlation_and_share(fit: Fit) -> tuple[float, float]:
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
