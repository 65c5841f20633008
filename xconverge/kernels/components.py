"""Principal components of few columns."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.rounding import Array, exponent_of, scaled


def first_component(x: Array) -> tuple[Array, float]:
    """Scores (n) on the first principal component of ``x`` (M, n), and its share of the variance.

    The sign is that of its correlation with the root of the sum of squares over M. NaN where any
    of M is NaN; NaN throughout, with a warning, for fewer than 3 others or where none differ.
    """
    whole = ~np.isnan(x).any(0)
    scores = np.full(x.shape[1], np.nan)
    values = x[:, whole].astype(np.float64)
    exponent = exponent_of(values)
    values = scaled(values, -exponent)
    gap = values - values.mean(1, keepdims=True) if whole.any() else values
    if whole.sum() < 3 or np.linalg.norm(gap) <= 1e-12 * np.linalg.norm(values):
        warnings.warn(
            "a principal component needs at least 3 stimuli that all models saw, and that differ; "
            f"there are {whole.sum()}: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return scores, np.nan
    _, size, axes = np.linalg.svd(gap, full_matrices=False)
    size_of_all = np.sqrt((values**2).sum(0))
    sign = np.sign(axes[0] @ (size_of_all - size_of_all.mean())) or 1.0
    scores[whole] = scaled(sign * size[0] * axes[0], exponent)
    return scores, float(size[0] ** 2 / (size**2).sum())
