"""Canonical correlations of the leading directions of two models (SVCCA)."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.procrustes import principal_axes
from xconverge.kernels.rows import Array, present


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
        center, largest = rows[train].mean(0), np.abs(rows[train]).max(0, initial=0.0)
        deviation = rows[train].std(0)
        varies = deviation > 8 * np.finfo(np.float64).eps * largest
        standard = (rows[:, varies] - center[varies]) / deviation[varies]
        if varies.any():
            axes = principal_axes(standard[train], n_components)
            scores[:, : axes.shape[1]] = standard @ axes
    result[:, ~seen] = np.nan
    return result


def mean_canonical_correlation(a: Array, b: Array, fold: Array) -> float:
    """Mean canonical correlation of scores ``a``, ``b`` (fold, n, c) on the stimuli of each fold.

    Canonical directions come from the stimuli outside the fold; without folds (-1) they and
    their correlations come from the same stimuli.
    """
    common = ~(np.isnan(a[0, :, 0]) | np.isnan(b[0, :, 0]))
    total = 0.0
    for number, (x, y) in enumerate(zip(a, b, strict=True)):
        train = common & (fold != number)
        test = common & ((fold == number) | (fold < 0))
        if train.sum() < a.shape[2] + 2 or test.sum() < 3:
            warnings.warn(
                f"svcca of {a.shape[2]} components needs {a.shape[2] + 2} common stimuli to fit "
                f"and 3 to score, a fold has {train.sum()} and {test.sum()}: NaN",
                RuntimeWarning,
                stacklevel=2,
            )
            return np.nan
        map_x, map_y, size = _canonical_maps(x[train], y[train])
        held_x, held_y = (x[test] @ map_x)[:, :size], (y[test] @ map_y)[:, :size]
        held_x, held_y = held_x - held_x.mean(0), held_y - held_y.mean(0)
        norms = np.linalg.norm(held_x, axis=0) * np.linalg.norm(held_y, axis=0)
        if not size or (norms == 0).any():
            warnings.warn("svcca: scores that do not vary: NaN", RuntimeWarning, stacklevel=2)
            return np.nan
        total += float(np.clip(np.vecdot(held_x.T, held_y.T) / norms, -1, 1).mean())
    return total / len(a)


def _canonical_maps(x: Array, y: Array) -> tuple[Array, Array, int]:
    """Maps (c, c) of scores onto canonical variates, and how many variates there are."""
    whiten_x, whiten_y = _whitener(x), _whitener(y)
    x, y = x - x.mean(0), y - y.mean(0)
    u, _, vt = np.linalg.svd((x @ whiten_x).T @ (y @ whiten_y))
    size = min(whiten_x.shape[1], whiten_y.shape[1])
    return whiten_x @ u, whiten_y @ vt.T, size


def _whitener(x: Array) -> Array:
    """Map (c, rank) of rows onto uncorrelated unit columns."""
    _, values, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    real = values > 1e-10 * values.max(initial=0.0)
    return np.asarray(vt[real].T / values[real])
