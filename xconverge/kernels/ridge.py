"""Nested cross-validated ridge regression of many targets on one source."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from xconverge.kernels.rows import Array

PENALTIES = 10.0 ** np.arange(-8, 5)
"""Shares of the mean eigenvalue of the source's covariance."""


def held_out_scores(
    source: Array, width: int, targets: Array, widths: Array, fold: Array
) -> tuple[Array, Array]:
    """Held-out r and R² (B) of every target model (B, n, G) predicted from ``source`` (n, F).

    The penalty for a fold is the one that predicts the other folds best, each from the rest; all
    from one decomposition of the source for each set of stimuli left out.
    """
    r, r2 = np.full(len(targets), np.nan), np.full(len(targets), np.nan)
    there = ~np.isnan(targets[:, :, 0]) & ~np.isnan(source[:, 0])
    for pattern in np.unique(there, axis=0):
        chosen = np.flatnonzero((there == pattern).all(1))
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
        x = source[pattern, :width].astype(np.float64)
        ys = [_unit(targets[b][pattern, : widths[b]].astype(np.float64)) for b in chosen]
        predictions = _nested(_unit(x), ys, folds)
        for b, y, (predicted, baseline) in zip(chosen, ys, predictions, strict=True):
            r[b] = _r(y - baseline, predicted - baseline)
            r2[b] = _r2(y, predicted, baseline)
    return r, r2


def _unit(x: Array) -> Array:
    return np.asarray(x / (np.abs(x).max() or 1.0))


def _nested(x: Array, ys: list[Array], fold: Array) -> list[tuple[Array, Array]]:
    """Held-out predictions of every target, and the means that stand for no prediction at all."""
    numbers = np.unique(fold)
    errors = np.zeros((len(ys), len(numbers), len(PENALTIES)))
    for i, one in enumerate(numbers):
        for j, other in enumerate(numbers[:i]):
            fit = Ridge(x, ~np.isin(fold, [one, other]))
            held = [(i, fit.held_out(fold == other)), (j, fit.held_out(fold == one))]
            for target, y in enumerate(ys):
                covariance = fit.to(y)
                for outer, part in held:
                    errors[target, outer] += fit.errors(covariance, y, part)
    results = [(np.empty(y.shape), np.empty(y.shape)) for y in ys]
    for i, one in enumerate(numbers):
        fit, test = Ridge(x, fold != one), fold == one
        for (predicted, baseline), y, error in zip(results, ys, errors, strict=True):
            predicted[test] = fit.predict(fit.to(y), y, test, PENALTIES[error[i].argmin()])
            baseline[test] = y[fit.train].mean(0)
    return results


class HeldOut(NamedTuple):
    """Stimuli held out (n), the rotated source there (t, d) and its Gram matrix (d, d)."""

    test: Array
    scores: Array
    gram: Array


class Ridge:
    """Eigenvectors of the source's covariance on the stimuli ``train`` (n)."""

    def __init__(self, x: Array, train: Array) -> None:
        self.train = train
        rows = x - x[train].mean(0)
        known = rows[train]
        if known.shape[1] > len(known):
            q, _ = np.linalg.qr(known.T)
            rows = rows @ q
            known = rows[train]
        self.values, axes = np.linalg.eigh(known.T @ known)
        self.values = np.maximum(self.values, 0.0)
        self.scale = self.values.mean() or 1.0
        self.scores = rows @ axes

    def to(self, y: Array) -> Array:
        """Covariance (d, e) of the rotated source with a target on the stimuli to fit."""
        return np.asarray(self.scores[self.train].T @ (y[self.train] - y[self.train].mean(0)))

    def shrink(self, penalty: Array | float) -> Array:
        """Factors (…, d) that turn covariances into coefficients."""
        return np.asarray(1 / (self.values + np.multiply.outer(penalty, self.scale)[..., None]))

    def predict(self, covariance: Array, y: Array, test: Array, penalty: float) -> Array:
        """Predictions of a target for the stimuli ``test``."""
        weights = self.shrink(penalty)[:, None] * covariance
        return np.asarray(self.scores[test] @ weights + y[self.train].mean(0))

    def held_out(self, test: Array) -> HeldOut:
        """The source on the stimuli ``test``, for all targets."""
        scores = self.scores[test]
        return HeldOut(test, scores, scores.T @ scores)

    def errors(self, covariance: Array, y: Array, held: HeldOut) -> Array:
        """Sum of squared errors on stimuli held out, for every penalty at once."""
        gap = y[held.test] - y[self.train].mean(0)
        factors = self.shrink(PENALTIES)
        linear = np.vecdot(covariance, held.scores.T @ gap)
        quadratic = held.gram * (covariance @ covariance.T)
        bent = np.vecdot(factors @ quadratic, factors)
        return np.asarray(np.vdot(gap, gap) - 2 * factors @ linear + bent)


def _r(y: Array, predicted: Array) -> float:
    """Mean correlation over the features of the target that vary.

    Both less the mean of the stimuli fitted, which runs against the mean of those held out and
    would make useless predictions correlate below zero.
    """
    y, predicted = y - y.mean(0), predicted - predicted.mean(0)
    size, guess = np.linalg.norm(y, axis=0), np.linalg.norm(predicted, axis=0)
    real = size > 1e-12 * size.max(initial=0.0)
    if not real.any():
        return np.nan
    product = np.vecdot(y.T, predicted.T)
    safe = np.where(real & (guess > 0), size * guess, 1.0)
    return float(np.clip(np.where(guess > 0, product / safe, 0.0), -1, 1)[real].mean())


def _r2(y: Array, predicted: Array, baseline: Array) -> float:
    """1 - squared error / squared error of the mean of the stimuli that were fitted."""
    total = ((y - baseline) ** 2).sum()
    return float(1 - ((y - predicted) ** 2).sum() / total) if total > 0 else np.nan
