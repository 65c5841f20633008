"""Tiles of long models: sums over the rows of their RDMs or kernels, for all pairs of a tile.

A tile is some models of either side. Their rows are read block by block, and distances are formed
piece by piece, once a model; what is kept of them are sums over the entries of a row.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from xconverge.kernels.blocks import split
from xconverge.kernels.cka import SAMPLE, Sums, hsic, median_distance, normalized
from xconverge.kernels.long import moments
from xconverge.kernels.rdm import warn_undefined
from xconverge.kernels.vectors import METRICS, Array, Blocks, Metric, directed, square_distances

TASK_BYTES = 2**29
"""What a task over a tile holds: 3/8 of it rows that ask, 3/8 a block of each model, 1/4 distances.

Beside it, one chunk of the source while that is read.
"""
TILE = 8
"""Models of either side in a tile, at most."""
LEAST = 384
"""Rows that ask, at least: models too wide for that come in smaller tiles."""


def _rows_bytes() -> int:
    return 3 * TASK_BYTES // 8


def tile_size(width: int) -> int:
    """Models of either side in a tile, where the widest has this many features."""
    return max(1, min(TILE, _rows_bytes() // (2 * LEAST * 8 * width)))


def asking_rows(width: int, size: int) -> int:
    """Rows that ask, with their sums, in a task over ``size`` models of either side."""
    return max(1, _rows_bytes() // (8 * (2 * size * width + 24 * size**2)))


class Model(NamedTuple):
    """Rows of one model, how many features are real, which stimuli (n) are there, the scale."""

    rows: Blocks
    width: int
    seen: Array
    scale: float = 1.0

    def read(self, part: slice) -> Array:
        """Real features of this part; a copy, which does not keep the chunk they are in."""
        return self.rows.read(part)[:, : self.width].copy()

    def prepared(self, block: Array, metric: Metric) -> Array:
        """Rows of a block, ready for squared distances."""
        rows, _ = directed(block, self.width, metric, 0)
        if self.scale != 1:
            rows /= self.scale
        return rows


class Tile(NamedTuple):
    """Models, and which of them are either side of the pairs: all, for a set with itself."""

    models: list[Model]
    a: slice
    b: slice

    def both(self, part: slice) -> Array:
        """Where (A, B, q) both models of a pair have these stimuli."""
        seen = np.array([model.seen[part] for model in self.models])
        return np.asarray(seen[self.a, None] & seen[self.b])

    def common(self) -> Array:
        """How many stimuli (A, B) both models of a pair have."""
        a, b = ([model.seen for model in self.models[side]] for side in (self.a, self.b))
        return np.array([[np.count_nonzero(one & other) for other in b] for one in a])


class Entries(NamedTuple):
    """What an RDM or kernel is made of: rows, a function of squared distances, the diagonal."""

    metric: Metric
    of_square: Callable[[Array], Array]
    diagonal: float


def _tile(sides: Sequence[Array], fields: int) -> Tile:
    """Of ``fields`` arrays of one side, then as many of the other or none: a set with itself."""
    of_a, of_b = sides[:fields], sides[fields:]
    models = [Model(*one) for side in (of_a, of_b) for one in zip(*side, strict=True)]
    size = len(of_a[0])
    return Tile(models, slice(size), slice(size, None) if of_b else slice(size))


def row_sums(tile: Tile, entries: Entries, asking: slice) -> Array:
    """Sums (5, A, B, q) over the rows ``asking`` of the matrices of each pair, common stimuli only.

    Σa, Σb, Σa², Σb², Σab.
    """
    models = tile.models
    queries = [model.prepared(model.read(asking), entries.metric) for model in models]
    both = tile.both(asking)
    result = np.zeros((both.shape[2], 5, *both.shape[:2]))
    side = math.isqrt(TASK_BYTES // 4 // (8 * (2 * len(models) + 4)))
    for part in _blocks(models):
        held = [model.read(part) for model in models]
        for columns, rows in product(split(part, side), split(asking, side)):
            mine, theirs = _inside(rows, asking), _inside(columns, part)
            seen = np.array([model.seen[columns] for model in models], np.float64)
            z = np.empty((rows.stop - rows.start, *seen.shape))
            for i, model in enumerate(models):
                others = model.prepared(held[i][theirs], entries.metric)
                square = np.maximum(square_distances(queries[i][mine], others), 0.0)
                z[:, i] = entries.of_square(square)
                z[:, i][_diagonal(rows.start, columns.start, square.shape)] = entries.diagonal
            result[mine] += _sums(z, seen, tile)
    return result.transpose(1, 2, 3, 0) * both


def _sums(z: Array, seen: Array, tile: Tile) -> Array:
    """Those sums (p, 5, A, B) of some entries ``z`` (p, models, c), zeroed where missing.

    ``seen`` (models, c) are the columns that are there.
    """
    if not seen.all():
        z *= seen
    a, b = z[:, tile.a], z[:, tile.b]
    sum_a, square_a = _over(a, seen[tile.b])
    sum_b, square_b = (found.swapaxes(1, 2) for found in _over(b, seen[tile.a]))
    found = (sum_a, sum_b, square_a, square_b, a @ b.swapaxes(1, 2))
    return np.stack(np.broadcast_arrays(*found), 1)


def _over(z: Array, seen: Array) -> tuple[Array, Array]:
    """Σ and Σ of squares of ``z`` (p, A, c) over the columns of every mask ``seen`` (B, c).

    (p, A, B), or (p, A, 1) where the masks are full.
    """
    if seen.all():
        return z.sum(2, keepdims=True), np.vecdot(z, z)[..., None]
    return z @ seen.T, np.square(z) @ seen.T


def _blocks(models: Sequence[Model]) -> list[slice]:
    """What is read of all models at a time: whole chunks, or parts of chunks that are too large."""
    row = sum(model.width * model.rows.dtype.itemsize for model in models)
    spans = max((model.rows.spans for model in models), key=len)
    return [part for span in spans for part in split(span, _rows_bytes() // row)]


def _inside(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _diagonal(row: int, column: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Entries of a block at ``row``, ``column`` that lie on the diagonal of the whole."""
    i = np.arange(max(row, column), min(row + shape[0], column + shape[1]))
    return i - row, i - column


def rdm_correlations(*sides: Array, asking: slice, metric: str) -> Array:
    """Correlation (A, B, q) of rows ``asking`` of the RDMs of all pairs, the stimulus left out.

    ``sides``: rows (A), widths (A) and which stimuli are there (A, n), then the same of b, or
    nothing for a set with itself.
    """
    return row_correlations(_rdm_sums(sides, asking, metric))


def rdm_totals(*sides: Array, asking: slice, metric: str) -> Array:
    """Sums (A, B, 6) over rows ``asking`` of two RDMs; ``sides`` as in ``rdm_correlations``.

    How many distances both have, Σa, Σb, Σa², Σb², Σab.
    """
    return np.moveaxis(_rdm_sums(sides, asking, metric).sum(-1), 0, -1)


def _rdm_sums(sides: Sequence[Array], asking: slice, metric: str) -> Array:
    """The same sums (6, A, B, q) of every row."""
    tile, measure = _tile(sides, 3), METRICS[metric]
    sums = row_sums(tile, Entries(measure, measure.of_square, 0.0), asking)
    others = tile.common()[..., None] - 1
    return np.concatenate([[others * tile.both(asking)], sums])


def rbf_totals(*sides: Array, asking: slice, debiased: bool) -> Array:
    """Sums (A, B, 9) over rows ``asking`` of two RBF kernels, over common stimuli.

    ΣK∘L, ΣK², ΣL², Σ of products of row sums (K with L, K with K, L with L), ΣK, ΣL, stimuli.
    ``sides`` as in ``rdm_correlations``, and the scale (A) of each model.
    """
    tile = _tile(sides, 4)
    entries = Entries(METRICS["euclidean"], _gaussian, 0.0 if debiased else 1.0)
    k, m, square_k, square_m, cross = row_sums(tile, entries, asking)
    found = [cross, square_k, square_m, k * m, k**2, m**2, k, m, tile.both(asking)]
    return np.stack([part.sum(-1) for part in found], -1)


def _gaussian(square: Array) -> Array:
    return np.exp(-0.5 * square)


def there(rows: Blocks, width: int, metric: str) -> Array:
    """Which stimuli (n) are there; rows that the metric cannot take are errors."""
    return np.concatenate(
        [directed(rows.read(part), width, METRICS[metric], part.start)[1] for part in rows.spans]
    )


def rbf_scale(rows: Blocks, width: int, rank: Array, sigma: float) -> tuple[Array, float]:
    """Which stimuli (n) are there, and ``sigma`` times the median distance.

    The median is over the pairs of at most 2,048 stimuli, evenly spaced by rank.
    """
    seen = moments(rows, width).seen
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    if len(by_rank) < 2:
        return seen, np.nan
    spaced = np.linspace(0, len(by_rank) - 1, min(SAMPLE, len(by_rank))).astype(int)
    chosen = np.sort(by_rank[spaced])
    sample = [
        rows.read(part)[chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start, :width]
        for part in rows.spans
    ]
    return seen, sigma * median_distance(np.concatenate(sample).astype(np.float64))


def rbf_cka(sums: Array, debiased: bool) -> float:
    """CKA of two kernels from their sums (9)."""
    product, square_k, square_l, margin, margin_k, margin_l, sum_k, sum_l, n = map(float, sums)
    if n < 4:
        return normalized(np.nan, np.nan, np.nan)
    return normalized(
        hsic(Sums(product, margin, sum_k, sum_l), int(n), debiased),
        hsic(Sums(square_k, margin_k, sum_k, sum_k), int(n), debiased),
        hsic(Sums(square_l, margin_l, sum_l, sum_l), int(n), debiased),
    )


def row_correlations(sums: Array) -> Array:
    """Correlation (A, B, q) of the rows of RDMs from their sums (6, A, B, q)."""
    result = _correlation(*sums, centered=True)
    warn_undefined(np.isnan(result) & (sums[0] > 0))
    return result


def rdm_similarity(sums: Array, centered: bool) -> float:
    """Pearson's correlation of two RDMs, or their cosine, from their sums (6)."""
    value = float(_correlation(*sums, centered=centered))
    if np.isnan(value):
        warnings.warn(
            "an RDM has fewer than 3 pairs of stimuli, or distances that do not differ: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    return value


def _correlation(
    count: Array, a: Array, b: Array, aa: Array, bb: Array, ab: Array, *, centered: bool
) -> Array:
    safe = np.maximum(count, 1)
    mean_a, mean_b = (a / safe, b / safe) if centered else (0.0, 0.0)
    var_a, var_b = aa - safe * mean_a**2, bb - safe * mean_b**2
    defined = (count >= 3) & (var_a > 1e-13 * aa) & (var_b > 1e-13 * bb)
    scale = np.sqrt(np.where(defined, var_a * var_b, 1.0))
    value = np.clip((ab - safe * mean_a * mean_b) / scale, -1, 1)
    return np.where(defined, value, np.nan)
