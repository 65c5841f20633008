"""What is done to the rows of one model before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from xconverge.kernels.long import moments
from xconverge.kernels.procrustes import leading, principal_axes
from xconverge.kernels.sums import merged, scatter
from xconverge.kernels.vectors import (
    METRICS,
    Array,
    Blocks,
    Whole,
    in_blocks,
    norms,
    padded,
    present,
)


class Step(NamedTuple):
    """``fit`` (Blocks, width) gives rows (P, F), with which ``place`` changes those of a model."""

    fit: Callable[..., Array]
    place: Callable[..., Array]


def in_one(x: Array, width: int, step: Step, dtype: DTypeLike, **options: Any) -> Array:
    """A step on rows (n, F) in memory."""
    return step.place(x, width, step.fit(Whole(x), width, **options), dtype=dtype)


def _seen_rows(rows: Blocks, width: int) -> Iterator[Array]:
    """The real features of the rows that are there, block by block."""
    for _, values, seen in in_blocks(rows, width):
        if seen.any():
            yield values[seen].astype(np.float64)


def means(rows: Blocks, width: int) -> Array:
    """Mean (1, F) over the stimuli seen."""
    return moments(rows, width).mean[None]


def centered(x: Array, width: int, fitted: Array, dtype: DTypeLike) -> Array:
    """Rows less their mean."""
    rows = x[:, :width] - fitted[0, :width]
    return padded(rows, present(rows), x.shape[1], np.nan, dtype)


def deviations(rows: Blocks, width: int) -> Array:
    """Mean and standard deviation (2, F) over the stimuli seen; 0 for what does not vary.

    Two passes: the second divides by the largest entry of each feature, so that any scale will do.
    """
    largest = np.zeros(width)
    for values in _seen_rows(rows, width):
        np.maximum(largest, np.abs(values).max(0), out=largest)
    largest[largest == 0] = 1.0
    mean, square, count = np.zeros(width), np.zeros(width), 0
    for values in _seen_rows(rows, width):
        values /= largest
        own = values.mean(0)
        share = len(values) / (count + len(values))
        square += np.square(values - own).sum(0) + count * share * (own - mean) ** 2
        mean += share * (own - mean)
        count += len(values)
    deviation = np.sqrt(square / max(count, 1))
    deviation[deviation <= 8 * np.finfo(np.float64).eps] = 0.0
    found = np.stack([mean * largest, deviation * largest])
    return np.pad(found, ((0, 0), (0, rows.shape[1] - width)))


def standardized(x: Array, width: int, fitted: Array, dtype: DTypeLike) -> Array:
    """Rows less their mean over their deviation, 0 where that is 0."""
    mean, deviation = fitted[:, :width]
    rows = x[:, :width] - mean
    seen = present(rows)
    varies = deviation > 0
    rows = np.where(varies, rows / np.where(varies, deviation, 1), 0.0)
    return padded(rows, seen, x.shape[1], np.nan, dtype)


def unit_rows(x: Array, width: int, dtype: DTypeLike) -> Array:
    """Rows of Euclidean norm 1."""
    rows = x[:, :width].astype(np.float64)
    norm, seen = norms(rows, METRICS["cosine"])
    return padded(rows / norm[:, None], seen, x.shape[1], np.nan, dtype)


def sizes(x: Array, width: Array, quantile: float) -> Array:
    """Quantile (n) of the absolute values of each stimulus, over all layers (L, n, F) that saw it.

    NaN where none did.
    """
    size, seen = _absolute(x, width)
    whole = (seen.all(0) == seen.any(0)).all()
    result = np.full(x.shape[-2], np.nan)
    some = seen.any(0)
    if some.any():
        result[some] = (np.quantile if whole else np.nanquantile)(size[some], quantile, axis=1)
    return result


def exact_limit(x: Array, width: Array, quantile: float) -> float:
    """The absolute value of all layers (L, n, F) that this share of them does not exceed."""
    size, _ = _absolute(x, width)
    values = np.sort(size[~np.isnan(size)])
    return float(values[min(int(quantile * len(values)), len(values) - 1)]) if len(values) else 0.0


def clipped(x: Array, width: Array, limit: float, dtype: DTypeLike) -> Array:
    """Rows (n, F) of a model, or of its layers (L, n, F), clipped at a limit."""
    layers = [
        padded(np.clip(rows, -limit, limit), present(rows), x.shape[-1], np.nan, dtype)
        for rows in _layers(x, width)
    ]
    return np.stack(layers).reshape(x.shape)


def _layers(x: Array, width: Array) -> list[Array]:
    layers = x.reshape(-1, *x.shape[-2:])
    widths = np.broadcast_to(width, len(layers))
    return [layer[:, :w].astype(np.float64) for layer, w in zip(layers, widths, strict=True)]


def _absolute(x: Array, width: Array) -> tuple[Array, Array]:
    """Absolute values (n, features of all layers), and which rows (L, n) are there."""
    layers = _layers(x, width)
    seen = np.stack([present(rows) for rows in layers])
    return np.abs(np.concatenate(layers, axis=1)), seen


def axes(rows: Blocks, width: int, n_components: int) -> Array:
    """Mean, then axes of largest variance (1 + c, F), zero beyond the rank.

    The entry of largest magnitude of every axis is positive. NaN beyond the number of features
    or of stimuli.
    """
    n, full = rows.shape
    mean, scale = np.zeros(width), 1.0
    if width > n or len(rows.spans) == 1:
        values = np.concatenate([np.empty((0, width)), *_seen_rows(rows, width)])
        if len(values):
            mean = values.mean(0)
            values -= mean
            scale = np.abs(values).max() or 1.0
        none = np.empty((width, 0))
        found = principal_axes(values / scale, n_components) if len(values) else none
    else:
        total = scatter(np.empty((0, width)))
        for values in _seen_rows(rows, width):
            total = merged(total, scatter(values))
        mean = total.mean
        found = leading(total.gram, n_components)
    signs = np.sign(found[np.abs(found).argmax(0), np.arange(found.shape[1])])
    result = np.full((1 + n_components, full), np.nan)
    result[: 1 + min(width, max(n - 1, 1)), :width] = 0.0
    result[0, :width] = mean
    result[1 : 1 + found.shape[1], :width] = (found * signs).T
    return result


def scores(x: Array, width: int, fitted: Array, dtype: DTypeLike) -> Array:
    """Scores (n, c) of centred rows on the axes."""
    mean, *axes = fitted[~np.isnan(fitted[:, 0]), :width]
    rows = x[:, :width] - mean
    seen = present(rows)
    return padded(rows @ np.stack(axes, 1), seen, len(fitted) - 1, np.nan, dtype)


CENTER, ZSCORE, PCA = Step(means, centered), Step(deviations, standardized), Step(axes, scores)
