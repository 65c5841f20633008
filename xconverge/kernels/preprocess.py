"""What is done to the rows of one model before they are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from xconverge.kernels.procrustes import principal_axes
from xconverge.kernels.rows import METRICS, Array, norms, padded, present


def center(x: Array, width: int, dtype: DTypeLike) -> Array:
    """Rows less their mean over the stimuli seen."""
    rows = x[:, :width].astype(np.float64)
    seen = present(rows)
    return padded(
        rows - rows[seen].mean(0) if seen.any() else rows, seen, x.shape[1], np.nan, dtype
    )


def zscore(x: Array, width: int, dtype: DTypeLike) -> Array:
    """Centred rows, every feature of unit variance over the stimuli seen, or 0 if constant."""
    rows = x[:, :width].astype(np.float64)
    seen = present(rows)
    if seen.any():
        largest = np.abs(rows[seen]).max(0)
        rows /= np.where(largest > 0, largest, 1)
        rows -= rows[seen].mean(0)
        deviation = rows[seen].std(0)
        varies = deviation > 8 * np.finfo(np.float64).eps
        rows = np.where(varies, rows / np.where(varies, deviation, 1), 0.0)
    return padded(rows, seen, x.shape[1], np.nan, dtype)


def unit_rows(x: Array, width: int, dtype: DTypeLike) -> Array:
    """Rows of Euclidean norm 1."""
    rows = x[:, :width].astype(np.float64)
    norm, seen = norms(rows, METRICS["cosine"])
    return padded(rows / norm[:, None], seen, x.shape[1], np.nan, dtype)


def clamp(x: Array, width: Array, quantile: float, exact: bool, dtype: DTypeLike) -> Array:
    """Rows (n, F) of a model, or its layers (L, n, F), clipped at one quantile of their sizes."""
    layers = x.reshape(-1, *x.shape[-2:])
    widths = np.broadcast_to(width, len(layers))
    rows = [layer[:, :w].astype(np.float64) for layer, w in zip(layers, widths, strict=True)]
    seen = np.stack([present(layer) for layer in rows])
    limit = np.inf
    if quantile < 1 and seen.any():
        size = np.abs(np.concatenate(rows, axis=1))[seen.any(0)]
        whole = (seen.all(0) == seen.any(0)).all()
        if exact:
            values = np.sort(size[~np.isnan(size)])
            limit = values[min(int(quantile * len(values)), len(values) - 1)]
        else:
            limit = (np.quantile if whole else np.nanquantile)(size, quantile, axis=1).mean()
    clipped = [
        padded(np.clip(layer, -limit, limit), there, x.shape[-1], np.nan, dtype)
        for layer, there in zip(rows, seen, strict=True)
    ]
    return np.stack(clipped).reshape(x.shape)


def pca(x: Array, width: int, n_components: int, dtype: DTypeLike) -> Array:
    """Scores (n, c) of centred rows on the axes of largest variance; 0 beyond the rank.

    The entry of largest magnitude of every axis is positive. NaN beyond the number of features
    or of stimuli.
    """
    rows = x[:, :width].astype(np.float64)
    seen = present(rows)
    scores = np.zeros((len(rows), min(n_components, width, max(len(rows) - 1, 1))))
    if seen.any():
        rows -= rows[seen].mean(0)
        scale = np.abs(rows[seen]).max() or 1.0
        axes = principal_axes(rows[seen] / scale, scores.shape[1])
        signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
        scores[:, : axes.shape[1]] = rows @ (axes * signs)
    return padded(scores, seen, n_components, np.nan, dtype)
