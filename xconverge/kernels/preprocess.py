"""What is done to the rows of one model before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from xconverge.kernels.axes import leading, principal_axes
from xconverge.kernels.rounding import of_columns, of_spectrum, scaled
from xconverge.kernels.sums import (
    EMPTY,
    Moments,
    Spread,
    merged_moments,
    merged_spreads,
    moments,
    spread,
)
from xconverge.kernels.vectors import METRICS, Array, norms, padded, present


class Step(NamedTuple):
    """What is fitted to a model, block by block, and what then becomes of its rows.

    ``part`` of a block (b, F) and its width, ``merge`` of several parts, ``finish`` of what they
    merge to: rows (P, F), with which ``place`` changes those of a model.
    """

    part: Callable[[Array, int], Any]
    merge: Callable[[Sequence[Any]], Any]
    finish: Callable[[Any], Array]
    place: Callable[..., Array]


def in_one(x: Array, width: int, step: Step, dtype: DTypeLike) -> Array:
    """A step on rows (n, F) in memory, which are one block."""
    fitted = step.finish(step.merge([step.part(x, width)]))
    return step.place(x, width, fitted, dtype=dtype)


def centering(size: int) -> Step:
    """Rows less their mean; ``size`` is F."""
    return Step(_moments, merged_moments, partial(_means, size=size), centered)


def standardizing(size: int) -> Step:
    """Rows less their mean over their deviation."""
    return Step(deviations, merged_deviations, partial(_standards, size=size), standardized)


def reducing(size: int, n_stimuli: int, n_components: int) -> Step:
    """Scores on axes of largest variance, of which there are less than stimuli."""
    finish = partial(axes, size=size, n_stimuli=n_stimuli, n_components=n_components)
    return Step(_spread, merged_spreads, finish, scores)


def _seen_rows(block: Array, width: int) -> Array:
    """The real features of the rows that are there, in double."""
    rows = block[:, :width]
    return rows[present(rows)].astype(np.float64)


def _moments(block: Array, width: int) -> Moments:
    return moments(_seen_rows(block, width))


def _means(of: Moments, size: int) -> Array:
    """Mean (1, F) over the stimuli seen."""
    return np.pad(scaled(of.mean, of.exponent), (0, size - len(of.mean)))[None]


class Deviations(NamedTuple):
    """Number of rows; of each column, divided by 2^exponent, mean and squares about it (f).

    No entry is then above 1, so that no square overflows; a power of two costs no digits. Columns
    are off by a share ``off`` of their largest entry.
    """

    n: int
    exponent: Array
    mean: Array
    square: Array
    off: float


def deviations(block: Array, width: int) -> Deviations:
    """Of a block of rows (b, F)."""
    rows = _seen_rows(block, width)
    largest = np.abs(rows).max(0, initial=0.0)
    exponent = np.where(largest > 0, np.frexp(largest)[1], EMPTY)
    rows = np.ldexp(rows, -exponent)
    mean = rows.mean(0) if len(rows) else np.zeros(width)
    off = of_columns(block.dtype)
    return Deviations(len(rows), exponent, mean, np.square(rows - mean).sum(0), off)


def merged_deviations(parts: Sequence[Deviations]) -> Deviations:
    """Of all rows of several parts (Chan, Golub & LeVeque 1983)."""
    exponent = np.max([part.exponent for part in parts], axis=0)
    n, mean, square = 0, np.zeros(len(exponent)), np.zeros(len(exponent))
    for part in parts:
        down = part.exponent - exponent
        share = part.n / max(n + part.n, 1)
        gap = np.ldexp(part.mean, down) - mean
        square += np.ldexp(part.square, 2 * down) + n * share * gap**2
        mean += share * gap
        n += part.n
    return Deviations(n, exponent, mean, square, max(part.off for part in parts))


def _standards(of: Deviations, size: int) -> Array:
    """Mean and standard deviation (2, F) over the stimuli seen; 0 for what does not vary."""
    deviation = np.sqrt(of.square / max(of.n, 1))
    deviation[deviation <= of.off] = 0.0
    found = np.ldexp(np.stack([of.mean, deviation]), of.exponent)
    return np.pad(found, ((0, 0), (0, size - len(of.exponent))))


def centered(x: Array, width: int, fitted: Array, dtype: DTypeLike) -> Array:
    """Rows less their mean."""
    rows = x[:, :width] - fitted[0, :width]
    return padded(rows, present(rows), x.shape[1], np.nan, dtype)


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
    norm, seen, _ = norms(rows, METRICS["cosine"])
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


def _spread(block: Array, width: int) -> Spread:
    rows = block[:, :width]
    return spread(rows[present(rows)])


def axes(of: Spread, size: int, n_stimuli: int, n_components: int) -> Array:
    """Mean, then axes of largest variance (1 + c, F), zero beyond the rank.

    The entry of largest magnitude of every axis is positive. NaN beyond the number of features
    or of stimuli. From the smaller of both Gram matrices: rows are kept while they are few.
    """
    width, (rows, formed) = len(of.mean), of.products
    least = of_spectrum(of.eps, width)
    if formed is not None:
        found = leading(of.products.gram, n_components, least)
    else:
        found = principal_axes(rows, n_components, least) if len(rows) else np.empty((width, 0))
    signs = np.sign(found[np.abs(found).argmax(0), np.arange(found.shape[1])])
    result = np.full((1 + n_components, size), np.nan)
    result[: 1 + min(width, max(n_stimuli - 1, 1)), :width] = 0.0
    result[0, :width] = scaled(of.mean, of.exponent)
    result[1 : 1 + found.shape[1], :width] = (found * signs).T
    return result


def scores(x: Array, width: int, fitted: Array, dtype: DTypeLike) -> Array:
    """Scores (n, c) of centred rows on the axes."""
    mean, *axes = fitted[~np.isnan(fitted[:, 0]), :width]
    rows = x[:, :width] - mean
    seen = present(rows)
    return padded(rows @ np.stack(axes, 1), seen, len(fitted) - 1, np.nan, dtype)
