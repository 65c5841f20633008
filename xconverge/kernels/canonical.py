"""Canonical correlations of the leading directions of two models (SVCCA)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from xconverge.kernels.procrustes import leading, principal_axes
from xconverge.kernels.sums import Scatter, scatter
from xconverge.kernels.vectors import Array, column_means, present

STILL = 1e-24
"""Variance of held-out scores, against that of the fitted ones, that is only rounding."""


def leading_scores(x: Array, width: int, fold: Array, n_components: int) -> Array:
    """Scores (fold, n, c) of the stimuli on the first principal components of standard columns.

    Means, deviations and components come from the stimuli outside the fold alone; all of them
    where no stimulus has that fold number, as for the single fold of ``fold`` (n) = -1. NaN where
    missing, zero beyond the rank.
    """
    rows = x[:, :width].astype(np.float64)
    seen = present(rows)
    result = np.zeros((max(fold.max() + 1, 1), len(rows), n_components))
    for number, scores in enumerate(result):
        train = seen & (fold != number)
        if not train.any():
            continue
        center = column_means(rows[train])
        centered = rows - center
        scores[...] = centered @ _directions(centered[train], center, n_components)
    result[:, ~seen] = np.nan
    return result


def _directions(rows: Array, center: Array, n_components: int) -> Array:
    """``directions`` of centred rows (n, f), of which there may be fewer than columns."""
    if rows.shape[1] <= len(rows):
        return directions(Scatter(len(rows), center, rows.T @ rows), n_components)
    deviation = np.sqrt(np.square(rows).mean(0))
    kept = _varying(deviation, center)
    axes = np.zeros((0, 0))
    if len(kept):
        axes = principal_axes(rows[:, kept] / deviation[kept], n_components)
    return _placed(axes, kept, deviation, n_components)


def directions(of: Scatter, n_components: int) -> Array:
    """Map (f, c) of rows onto the leading components of standard columns; zero beyond the rank."""
    deviation = np.sqrt(np.diagonal(of.gram) / max(of.size, 1))
    kept = _varying(deviation, of.mean)
    axes = np.zeros((0, 0))
    if len(kept):
        standard = of.gram[np.ix_(kept, kept)] / deviation[kept] / deviation[kept, None]
        axes = leading(standard, n_components)
    return _placed(axes, kept, deviation, n_components)


def _varying(deviation: Array, center: Array) -> Array:
    """Columns that vary by more than rounding."""
    return np.flatnonzero(deviation > 8 * np.finfo(np.float64).eps * np.abs(center))


def _placed(axes: Array, kept: Array, deviation: Array, n_components: int) -> Array:
    result = np.zeros((len(deviation), n_components))
    result[kept, : axes.shape[1]] = axes / deviation[kept, None]
    return result


def mean_canonical_correlation(a: Array, b: Array, fold: Array) -> float:
    """Mean canonical correlation of scores ``a``, ``b`` (fold, n, c) on the stimuli of each fold.

    Canonical directions come from the stimuli outside the fold; without folds (-1) they and
    their correlations come from the same stimuli.
    """
    common = ~(np.isnan(a[0, :, 0]) | np.isnan(b[0, :, 0]))
    fold = fold[common]
    joint = (np.concatenate([x[common], y[common]], 1) for x, y in zip(a, b, strict=True))
    return mean_correlation(
        tuple(scatter(rows[part]) for part in fit_and_score(fold, number))
        for number, rows in enumerate(joint)
    )


def fit_and_score(fold: Array, number: int) -> tuple[Array, Array]:
    """Which stimuli (n) a fold is fitted to, and which it scores; all of them without folds."""
    return fold != number, (fold == number) | (fold < 0)


def mean_correlation(folds: Iterable[tuple[Scatter, ...]]) -> float:
    """Mean canonical correlation from sums over the scores (2 c) of both models.

    Of every fold over the stimuli to fit and over those to score. NaN with a warning for too few
    of them, and for scores that do not vary.
    """
    values = []
    for train, test in folds:
        count = len(train.mean) // 2
        if train.size < count + 2 or test.size < 3:
            warnings.warn(
                f"svcca of {count} components needs {count + 2} common stimuli to fit "
                f"and 3 to score, a fold has {train.size} and {test.size}: NaN",
                RuntimeWarning,
                stacklevel=2,
            )
            return np.nan
        map_x, map_y = _canonical_maps(train.gram)
        x, y = slice(count), slice(count, None)
        squares = [
            np.vecdot(turn.T, (test.gram[side, side] @ turn).T)
            for turn, side in ((map_x, x), (map_y, y))
        ]
        least = STILL * test.size / train.size
        if not map_x.size or min(square.min() for square in squares) < least:
            warnings.warn("svcca: scores that do not vary: NaN", RuntimeWarning, stacklevel=2)
            return np.nan
        product = np.vecdot(map_x.T, (test.gram[x, y] @ map_y).T)
        values.append(np.clip(product / np.sqrt(squares[0] * squares[1]), -1, 1).mean())
    return float(np.mean(values))


def _canonical_maps(gram: Array) -> tuple[Array, Array]:
    """Maps (c, r) of both scores onto canonical variates, from their cross-products (2 c, 2 c)."""
    count = len(gram) // 2
    whiten_x, whiten_y = _whitener(gram[:count, :count]), _whitener(gram[count:, count:])
    u, _, vt = np.linalg.svd(whiten_x.T @ gram[:count, count:] @ whiten_y, full_matrices=False)
    return whiten_x @ u, whiten_y @ vt.T


def _whitener(gram: Array) -> Array:
    """Map (c, rank) of scores with these cross-products onto uncorrelated unit columns."""
    size = np.sqrt(np.diagonal(gram))
    unit = 1 / np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(gram * unit * unit[:, None])
    real = values > 1e-13 * values.max(initial=0.0)
    return np.asarray(unit[:, None] * vectors[:, real] / np.sqrt(values[real]))
