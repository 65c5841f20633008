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
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.blocks import on_cores
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
    n, narrow = len(x), min(x.shape)
    size = 8 * (n * x.shape[1] + narrow * (5 * narrow + n + 2 * max(y.shape[1] for y in ys)))
    return list(nested(Sources(x, ys, fold), np.unique(fold), len(ys), size))


def fits_from_sums(own: FoldSums, sums: Sequence[FoldSums]) -> list[Fit | None]:
    """The same from sums over each fold, of the source with itself and with every target."""
    if not _are_enough(own.size):
        return [None] * len(sums)
    d, e = own.mean_x.shape[1], max(one.mean_y.shape[1] for one in sums)
    size = 8 * d * (6 * d + 3 * e)
    return list(nested(partial(FromSums, own, sums), np.flatnonzero(own.size), len(sums), size))


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
    def fit(self, target: int, fold: int, penalty: float) -> Fit:
        """Predictions of a fold with this penalty."""

    def coefficients(self, target: int, penalty: float) -> Array:
        """Coefficients (d, e) of the rotated source."""
        return np.asarray(self.shrink(penalty)[:, None] * self.to(target))


def nested(
    ridge: Callable[[Array], Ridge], numbers: Array, n_targets: int, size: int = 0
) -> Iterator[Fit]:
    """How every target is predicted, held out, from ``ridge`` without the folds that it is given.

    The penalty for a fold is the one that predicts the other folds best, each from the rest. A
    regression without two folds i and j serves both: it predicts j for i, and i for j. One takes
    ``size`` bytes.
    """

    def missed(pair: tuple[int, int]) -> Array:
        """Squared errors (2, T, penalties) for each of both folds, of predictions of the other."""
        one, other = (numbers[k] for k in pair)
        known = ridge(np.array([one, other]))
        factors = known.shrink(PENALTIES)
        held = [(left_out, known.gram(left_out)) for left_out in (other, one)]
        both = np.empty_like(held[0][1])
        result = np.empty((2, n_targets, len(PENALTIES)))
        for target in range(n_targets):
            covariance = known.to(target)
            square = covariance @ covariance.T
            for k, (left_out, gram) in enumerate(held):
                total, products = known.gap(target, left_out)
                linear = np.vecdot(covariance, products)
                bent = np.vecdot(factors @ np.multiply(gram, square, out=both), factors)
                result[k, target] = total - 2 * factors @ linear + bent
        return result

    pairs = [(i, j) for i in range(len(numbers)) for j in range(i)]
    errors = np.zeros((n_targets, len(numbers), len(PENALTIES)))
    for pair, missing in zip(pairs, on_cores(missed, pairs, size), strict=True):
        errors[:, pair[0]] += missing[0]
        errors[:, pair[1]] += missing[1]
    chosen = PENALTIES[errors.argmin(-1)]

    def predicted(i: int) -> list[Fit]:
        known = ridge(numbers[[i]])
        return [known.fit(target, numbers[i], chosen[target, i]) for target in range(n_targets)]

    folds = on_cores(predicted, range(len(numbers)), size)
    return (_merged(fits) for fits in zip(*folds, strict=True))


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

    def fit(self, target: int, fold: int, penalty: float) -> Fit:
        """Predictions of a fold."""
        test = self.fold == fold
        return _fit_of(
            self._gaps(target, test), self.scores[test] @ self.coefficients(target, penalty)
        )


def _fit_of(gaps: Array, predictions: Array) -> Fit:
    """Of gaps and predictions (m, e) of a fold."""
    mean = np.stack([gaps.mean(0), predictions.mean(0)])
    y, p = gaps - mean[0], predictions - mean[1]
    sums = [np.einsum("ij,ij->j", *pair) for pair in ((y, y), (p, p), (y, p))]
    return Fit(len(gaps), mean, np.stack(sums))


SHARPEST = 1e-7
"""Smallest eigenvalue of products of stimuli, as a share of the largest, that has digits left."""


class Sources:
    """Regressions on one source (n, d) without some folds: by its rows, or products of stimuli.

    Of fewer stimuli than features, eigenvectors of K = XX' say the same as those of X'X, and K is
    made once: (X'X + p)^-1 X' = X'(K + p)^-1.
    """

    def __init__(self, x: Array, ys: Sequence[Array], fold: Array) -> None:
        self.x, self.ys, self.fold = x, ys, fold
        sizes = np.bincount(fold)
        least = len(fold) - np.sort(sizes)[-2:].sum()
        self.products = x @ x.T if x.shape[1] > least else None

    def __call__(self, without: Array) -> Ridge:
        """The regression."""
        if self.products is None:
            return FromRows(self.x, self.ys, self.fold, without)
        found = FromProducts(self, without)
        if len(without) > 1 and not found.sharp:
            # squares of what is nearly 0 have lost it
            return FromRows(self.x, self.ys, self.fold, without)
        return found


class FromProducts(Ridge):
    """From the products (n, n) of all stimuli of a source, which has more features than those."""

    def __init__(self, of: Sources, without: Array) -> None:
        assert of.products is not None
        self.of, self.without = of, without
        self.train = np.flatnonzero(~np.isin(of.fold, without))
        # fold after fold
        self.where = {fold: np.flatnonzero(of.fold == fold) for fold in without}
        self.test = np.concatenate(list(self.where.values()))
        inner = of.products[np.ix_(self.train, self.train)]
        mean = inner.mean(0)
        # of rows less the mean of those to fit
        self.cross = of.products[np.ix_(self.test, self.train)] - mean
        self.cross -= self.cross.mean(1, keepdims=True)
        inner -= mean
        inner -= inner.mean(1, keepdims=True)
        self.inner = inner
        size = min(of.x.shape[1], len(self.train))
        self.scale = np.trace(inner) / size or 1.0

    @cached_property
    def axes(self) -> Array:
        """Eigenvectors (m, m - 1) of these products, but the constant one, which has none."""
        values, axes = np.linalg.eigh(self.inner)
        self.values = np.maximum(values[1:], 0.0)
        return np.asarray(axes[:, 1:])

    @cached_property
    def scores(self) -> Array:
        """What a stimulus left out (t, m - 1) makes of them."""
        return np.asarray(self.cross @ self.axes)

    @property
    def sharp(self) -> bool:
        """Whether all of them have digits."""
        return bool(self.axes.size and self.values[0] > SHARPEST * self.values[-1])

    def _centred(self, target: int) -> Array:
        y = self.of.ys[target][self.train]
        return np.asarray(y - y.mean(0))

    def to(self, target: int) -> Array:
        """Covariance (d, e) with a target."""
        return np.asarray(self.axes.T @ self._centred(target))

    def _part(self, fold: int) -> slice:
        first = sum(len(self.where[k]) for k in self.without[: list(self.without).index(fold)])
        return slice(first, first + len(self.where[fold]))

    def gram(self, fold: int) -> Array:
        """Products (d, d) on a fold."""
        scores = self.scores[self._part(fold)]
        return np.asarray(scores.T @ scores)

    def _gaps(self, target: int, fold: int) -> Array:
        y = self.of.ys[target]
        return np.asarray(y[self.where[fold]] - y[self.train].mean(0))

    def gap(self, target: int, fold: int) -> tuple[float, Array]:
        """Squares of a target, products (d, e) with it, on a fold."""
        gaps = self._gaps(target, fold)
        return float(np.vdot(gaps, gaps)), self.scores[self._part(fold)].T @ gaps

    def fit(self, target: int, fold: int, penalty: float) -> Fit:
        """Predictions of a fold, from one system of equations where it is far from singular."""
        if penalty < SHARPEST * len(self.train):
            return self._rows.fit(target, fold, penalty)
        weights = self._solved(penalty)[self._part(fold)]
        return _fit_of(self._gaps(target, fold), weights @ self._centred(target))

    def _solved(self, penalty: float) -> Array:
        """Weights (t, m) of the stimuli fitted in the predictions of those left out."""
        if penalty not in self._weights:
            inner = self.inner + penalty * self.scale * np.eye(len(self.inner))
            factor = scipy.linalg.cho_factor(inner, overwrite_a=True, check_finite=False)
            self._weights[penalty] = scipy.linalg.cho_solve(
                factor, self.cross.T, check_finite=False
            ).T
        weights: Array = self._weights[penalty]
        return weights

    @cached_property
    def _rows(self) -> FromRows:
        return FromRows(self.of.x, self.of.ys, self.of.fold, self.without)

    @cached_property
    def _weights(self) -> dict[float, Array]:
        return {}


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

    def fit(self, target: int, fold: int, penalty: float) -> Fit:
        """Predictions of a fold."""
        of = self.sums[target]
        map_ = self.axes @ self.coefficients(target, penalty)
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
