"""Pairs of models whose rows are read block by block: cross-products, kernels and RDMs as sums.

What is kept of a pair of kernels or RDMs are sums over their entries, never the entries.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from xconverge.kernels.cka import SAMPLE, Sums, hsic, median_distance, normalized
from xconverge.kernels.rows import (
    METRICS,
    Array,
    Blocks,
    Metric,
    counted_from,
    directed,
    present,
    square_distances,
    together,
    working_dtype,
)

BLOCK_BYTES = 2**25


class Moments(NamedTuple):
    """Mean (F) of the rows that are there, root of their mean squared norm, which are there (n)."""

    mean: Array
    size: float
    seen: Array


def moments(rows: Blocks, width: int, among: Array | None = None) -> Moments:
    """Mean and size of the real features, of rows ``among`` (n) these if given."""
    seen = np.zeros(rows.shape[0], bool)
    mean, square, count = np.zeros(rows.shape[1]), 0.0, 0
    for part in rows.spans:
        values = rows.read(part)[:, :width].astype(np.float64)
        with counted_from(part.start):
            seen[part] = present(values)
        if among is not None:
            seen[part] &= among[part]
        values = values[seen[part]]
        if not len(values):
            continue
        own = values.mean(0)
        gap = own - mean[:width]
        share = len(values) / (count + len(values))
        square += np.square(values - own).sum() + count * share * np.vdot(gap, gap)
        mean[:width] += share * gap
        count += len(values)
    size = float(np.sqrt(square / max(count, 1)))
    constant = size <= 1e-12 * np.abs(mean).max(initial=0.0)
    return Moments(mean, 0.0 if constant else size, seen)


class Cross(NamedTuple):
    """Of centred rows of unit size: X'Y (d, e), and Σ |x|²|y|², Σ |x|², Σ |y|² over stimuli."""

    product: Array
    norms: float
    first: float
    second: float

    def sums(self, debiased: bool) -> Sums:
        """What HSIC is made of; centred rows have no column sums but their own norms."""
        square = float(np.vdot(self.product, self.product))
        if not debiased:
            return Sums(square, 0.0, 0.0, 0.0)
        return Sums(square - self.norms, self.norms, -self.first, -self.second)


def cross(
    x: Blocks, width_x: int, of_x: Moments, y: Blocks, width_y: int, of_y: Moments, double: bool
) -> Cross:
    """Cross-products over the stimuli that both have; products in double if asked, sums always."""
    common = of_x.seen & of_y.seen
    product, norms, first, second = np.zeros((width_x, width_y)), 0.0, 0.0, 0.0
    for _, read_x, read_y in together(x, y, common):
        rows_x = sized(read_x, width_x, of_x)
        rows_y = rows_x if y is x else sized(read_y, width_y, of_y)
        own_x, own_y = np.vecdot(rows_x, rows_x), np.vecdot(rows_y, rows_y)
        norms += own_x @ own_y
        first += own_x.sum()
        second += own_y.sum()
        dtypes = {working_dtype(side.dtype) for side in (x, y)}
        if not double and dtypes == {np.float32}:
            rows_x, rows_y = rows_x.astype(np.float32), rows_y.astype(np.float32)
        product += rows_x.T @ rows_y
    return Cross(product, float(norms), float(first), float(second))


def sized(block: Array, width: int, of: Moments) -> Array:
    """Rows (b, width) in double, less the mean and of unit size; zero if they are constant."""
    rows = block[:, :width].astype(np.float64) - of.mean[:width]
    return rows / of.size if of.size else np.zeros_like(rows)


def own_hsic(rows: Blocks, width: int, debiased: bool) -> tuple[Array, float, Array, float]:
    """Mean (F), size, which stimuli are there (n), and the model's HSIC with itself."""
    of = moments(rows, width)
    return *of, _own(rows, width, of, debiased)


def _own(rows: Blocks, width: int, of: Moments, debiased: bool) -> float:
    n = int(of.seen.sum())
    if n < 4:
        return np.nan
    return hsic(cross(rows, width, of, rows, width, of, False).sums(debiased), n, debiased)


def linear_cka(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    size_x: float,
    seen_x: Array,
    own_x: float,
    y: Blocks,
    width_y: int,
    mean_y: Array,
    size_y: float,
    seen_y: Array,
    own_y: float,
    debiased: bool,
) -> float:
    """CKA of two models over the stimuli both saw, from what ``own_hsic`` gives of each."""
    of_x, of_y = Moments(mean_x, size_x, seen_x), Moments(mean_y, size_y, seen_y)
    common = seen_x & seen_y
    n = int(common.sum())
    if n < 4:
        return normalized(np.nan, np.nan, np.nan)
    if n < seen_x.sum():
        of_x = moments(x, width_x, common)
        own_x = _own(x, width_x, of_x, debiased)
    if n < seen_y.sum():
        of_y = moments(y, width_y, common)
        own_y = _own(y, width_y, of_y, debiased)
    sums = cross(x, width_x, of_x, y, width_y, of_y, False).sums(debiased)
    return normalized(hsic(sums, n, debiased), own_x, own_y)


def angle(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    size_x: float,
    seen_x: Array,
    y: Blocks,
    width_y: int,
    mean_y: Array,
    size_y: float,
    seen_y: Array,
) -> float:
    """Procrustes angle in radians, exact to about 1e-7, from what ``moments`` gives of each."""
    of_x, of_y = Moments(mean_x, size_x, seen_x), Moments(mean_y, size_y, seen_y)
    common = seen_x & seen_y
    if common.sum() < seen_x.sum():
        of_x = moments(x, width_x, common)
    if common.sum() < seen_y.sum():
        of_y = moments(y, width_y, common)
    if common.sum() < 2 or not (of_x.size and of_y.size):
        warnings.warn(
            "a Procrustes angle needs at least 2 common stimuli that differ: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return np.nan
    both = cross(x, width_x, of_x, y, width_y, of_y, True)
    values = np.linalg.svd(both.product, compute_uv=False).sum()
    return float(np.arccos(min(1.0, values / np.sqrt(both.first * both.second))))


def there(rows: Blocks, width: int, metric: str) -> Array:
    """Which stimuli (n) are there; rows that the metric cannot take are errors."""
    return np.concatenate(
        [directed(rows.read(part), width, METRICS[metric], part.start)[1] for part in rows.spans]
    )


def rbf_scale(rows: Blocks, width: int, rank: Array, sigma: float) -> tuple[float, Array]:
    """``sigma`` times the median distance, and which stimuli (n) are there.

    The median is over the pairs of at most 2,048 stimuli, evenly spaced by rank.
    """
    seen = moments(rows, width).seen
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    if len(by_rank) < 2:
        return np.nan, seen
    spaced = np.linspace(0, len(by_rank) - 1, min(SAMPLE, len(by_rank))).astype(int)
    chosen = np.sort(by_rank[spaced])
    sample = [
        rows.read(part)[chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start, :width]
        for part in rows.spans
    ]
    return sigma * median_distance(np.concatenate(sample).astype(np.float64)), seen


def rbf_sums(
    x: Blocks,
    width_x: int,
    scale_x: float,
    seen_x: Array,
    y: Blocks,
    width_y: int,
    scale_y: float,
    seen_y: Array,
    asking: slice,
    debiased: bool,
) -> Array:
    """Sums (9) over some rows of two RBF kernels, over common stimuli.

    ΣK∘L, ΣK², ΣL², Σ of products of row sums (K with L, K with K, L with L), ΣK, ΣL, stimuli.
    """
    total = np.zeros(9)
    metric, widths, scales = METRICS["euclidean"], (width_x, width_y), (scale_x, scale_y)
    common = seen_x & seen_y
    queries, here = _both(x, y, widths, asking, metric), common[asking]
    margins = np.zeros((2, len(here)))
    for part in x.spans:
        others = _both(x, y, widths, part, metric)
        for piece in _pieces(len(here), part.stop - part.start):
            mask = here[piece, None] & common[part]
            same = _diagonal(asking.start + piece.start, part.start, mask.shape)
            kernels = []
            for mine, other, scale in zip(queries, others, scales, strict=True):
                square = np.maximum(square_distances(mine[piece] / scale, other / scale), 0.0)
                kernels.append(np.where(mask, np.exp(-0.5 * square), 0.0))
                if debiased:
                    kernels[-1][same] = 0.0
            k, m = kernels
            total[:3] += np.vdot(k, m), np.vdot(k, k), np.vdot(m, m)
            margins[:, piece] += k.sum(1), m.sum(1)
    k_sums, m_sums = margins
    total[3:6] = k_sums @ m_sums, k_sums @ k_sums, m_sums @ m_sums
    total[6:] = k_sums.sum(), m_sums.sum(), here.sum()
    return total


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


def rdm_sums(
    x: Blocks,
    width_x: int,
    seen_x: Array,
    y: Blocks,
    width_y: int,
    seen_y: Array,
    asking: slice,
    metric: str,
) -> Array:
    """Sums (b, 6) over some rows of two RDMs, the stimulus itself left out.

    How many distances both have, Σa, Σb, Σa², Σb², Σab.
    """
    measure, widths = METRICS[metric], (width_x, width_y)
    common = seen_x & seen_y
    queries, here = _both(x, y, widths, asking, measure), common[asking]
    result = np.zeros((len(here), 6))
    for part in x.spans:
        others = _both(x, y, widths, part, measure)
        for piece in _pieces(len(here), part.stop - part.start):
            mask = here[piece, None] & common[part]
            mask[_diagonal(asking.start + piece.start, part.start, mask.shape)] = False
            a, b = (
                np.where(
                    mask, measure.of_square(np.maximum(square_distances(u[piece], v), 0.0)), 0.0
                )
                for u, v in zip(queries, others, strict=True)
            )
            result[piece, 0] += mask.sum(1)
            result[piece, 1] += a.sum(1)
            result[piece, 2] += b.sum(1)
            result[piece, 3] += np.vecdot(a, a)
            result[piece, 4] += np.vecdot(b, b)
            result[piece, 5] += np.vecdot(a, b)
    return result


def row_correlations(sums: Array) -> Array:
    """Correlation (n) of the rows of two RDMs from their sums (n, 6)."""
    result = _correlation(*sums.T, centered=True)
    undefined = np.isnan(result) & (sums[:, 0] > 0)
    if undefined.any():
        warnings.warn(
            f"{undefined.sum()} stimuli have fewer than 3 distances, or none that differ, in a "
            "model's RDM: their correlation is NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


def rdm_similarity(sums: Array, centered: bool) -> float:
    """Pearson's correlation of two RDMs, or their cosine, from the sums (n, 6) of their rows."""
    value = float(_correlation(*sums.sum(0), centered=centered))
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


def _both(
    x: Blocks, y: Blocks, widths: tuple[int, int], part: slice, metric: Metric
) -> list[Array]:
    """Rows of both models."""
    return [
        directed(side.read(part), width, metric, part.start)[0]
        for side, width in zip((x, y), widths, strict=True)
    ]


def _pieces(rows: int, columns: int) -> list[slice]:
    """Rows whose matrix with these columns takes 32 MiB."""
    step = max(1, BLOCK_BYTES // (8 * columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _diagonal(row: int, column: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Entries of a block at ``row``, ``column`` that lie on the diagonal of the whole."""
    i = np.arange(max(row, column), min(row + shape[0], column + shape[1]))
    return i - row, i - column
