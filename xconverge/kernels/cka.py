"""The Hilbert-Schmidt independence criterion and what is normalised from it: CKA and CKNNA.

Every form of it is a function of four sums over two kernels K and L of n stimuli: Σ K∘L', the
product of the column sums of K with the row sums of L, ΣK and ΣL. For linear kernels they come
from X'Y, row norms and column sums, so that nothing is n × n.

``gathered``, ``hsic`` and ``normalized`` also take arrays of another library for their numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.vectors import METRICS, Array, padded, prepare, present, working_dtype

BLOCK_BYTES = 2**25
SAMPLE = 2048
"""Stimuli between which the median distance is taken, where there are more."""


class Sums(NamedTuple):
    """Σ K∘L', product of the column sums of K and the row sums of L, ΣK, ΣL."""

    product: float
    margins: float
    first: float
    second: float


def gathered(product: Any, rows_k: Any, rows_l: Any, own: tuple[Any, Any] | None) -> Sums:
    """Sums from Σ K∘L' and the row sums (n) of both; without the diagonals ``own`` if given."""
    if own is not None:
        product = product - own[0] @ own[1]
        rows_k, rows_l = rows_k - own[0], rows_l - own[1]
    return Sums(product, rows_k @ rows_l, rows_k.sum(), rows_l.sum())


def hsic(sums: Sums, n: int, debiased: bool) -> float:
    """HSIC from its sums; unbiased after Song et al. (2012), eq. 5, of kernels without diagonal."""
    product, margins, first, second = sums
    if debiased:
        cross = first * second / ((n - 1) * (n - 2)) - 2 * margins / (n - 2)
        return (product + cross) / (n * (n - 3))
    return (product - 2 * margins / n + first * second / n**2) / (n - 1) ** 2


def normalized(cross: float, first: float, second: float) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)); NaN with a warning where that is undefined."""
    if not (first > 0 and second > 0):
        warnings.warn(
            "a kernel has no structure beyond chance (its own HSIC is not positive), or fewer "
            "than 4 stimuli are common: the score is NaN",
            RuntimeWarning,
            stacklevel=3,
        )
        return np.nan
    result: float = cross / (first**0.5 * second**0.5)
    return result


def centered(x: Array, width: int) -> Array:
    """Real features (n, F) of ``x``, centred and of unit scale, zero in the padding, NaN missing.

    In single precision where the features are. More features than stimuli are first rotated into
    as many as there are stimuli, which changes no inner product.
    """
    rows = x[:, :width].astype(working_dtype(x.dtype))
    seen = present(rows)
    there = _unit_scale(rows if seen.all() else rows[seen])
    if there.shape[1] > len(there):
        _, r = np.linalg.qr(there.T.astype(np.float64))
        there = r.T.astype(rows.dtype)
    if there.shape == x.shape:
        return there
    result = np.zeros(x.shape, rows.dtype)
    result[seen, : there.shape[1]] = there
    result[~seen] = np.nan
    return result


def centered_sides(
    models: Array | Sequence[Array], widths: Array | Sequence[int], common: Array
) -> list[Array]:
    """Rows (c, d) of every model over the common stimuli, in double, never wider than long."""
    result = []
    for rows, width in zip(models, widths, strict=True):
        there = centered(rows[common].astype(np.float64), int(width))
        result.append(there[:, : min(int(width), len(there))])
    return result


def _unit_scale(rows: Array) -> Array:
    """Rows (n, d) centred and of mean squared norm 1; zero where all are equal."""
    largest = np.abs(rows).max(initial=0.0)
    if not largest:
        return rows
    rows = rows / largest
    for _ in range(2):
        rows -= rows.mean(0, dtype=np.float64).astype(rows.dtype)
    size = np.sqrt(np.vdot(rows, rows) / len(rows))
    rows *= 1 / size if size > 8 * np.finfo(rows.dtype).eps else 0
    return rows


def linear_sums(x: Array, y: Array, debiased: bool) -> Sums:
    """Sums of the linear kernels of rows ``x`` (n, d) and ``y`` (n, e), diagonals zero or not."""
    cross = (x.T @ y).astype(np.float64)
    rows_x, rows_y = (
        np.asarray(rows @ rows.sum(0, dtype=np.float64).astype(rows.dtype), np.float64)
        for rows in (x, y)
    )
    own = None
    if debiased:
        own = np.vecdot(x, x).astype(np.float64), np.vecdot(y, y).astype(np.float64)
    return gathered(np.vdot(cross, cross), rows_x, rows_y, own)


def own_hsic(x: Array, width: int, debiased: bool) -> float:
    """HSIC of a model with itself over the stimuli it saw, from centred rows ``x`` (n, F)."""
    seen = ~np.isnan(x[:, 0])
    return _own(x[seen, :width] if not seen.all() else x[:, :width], debiased)


def _own(x: Array, debiased: bool) -> float:
    return hsic(linear_sums(x, x, debiased), len(x), debiased) if len(x) > 3 else np.nan


def linear_cka(
    x: Array, width_x: int, own_x: float, y: Array, width_y: int, own_y: float, debiased: bool
) -> float:
    """CKA of two models, from centred rows and their own HSIC, over the stimuli both saw."""
    seen_x, seen_y = ~np.isnan(x[:, 0]), ~np.isnan(y[:, 0])
    common = seen_x & seen_y
    if common.sum() < 4:
        return normalized(np.nan, np.nan, np.nan)
    x, y = x[:, :width_x], y[:, :width_y]
    if not common.all():
        x, y = x[common], y[common]
        if common.sum() < seen_x.sum():
            x = x - x.mean(0)
            own_x = _own(x, debiased)
        if common.sum() < seen_y.sum():
            y = y - y.mean(0)
            own_y = _own(y, debiased)
    return normalized(hsic(linear_sums(x, y, debiased), len(x), debiased), own_x, own_y)


def scaled(x: Array, width: int, sigma: float, rank: Array) -> Array:
    """Rows (n, F) divided by ``sigma`` times their median distance, NaN where missing.

    The median is over the pairs of at most 2,048 stimuli, evenly spaced in the order of labels.
    """
    rows, seen = prepare(x, width, METRICS["euclidean"])
    by_rank = np.argsort(rank)
    by_rank = by_rank[seen[by_rank]]
    if len(by_rank) > 1:
        chosen = np.linspace(0, len(by_rank) - 1, min(SAMPLE, len(by_rank))).astype(int)
        rows /= sigma * median_distance(rows[by_rank[chosen]])
    return padded(rows, seen, x.shape[1])


def median_distance(sample: Array) -> float:
    """Median distance of all pairs of rows."""
    largest = np.abs(sample).max() or 1.0
    median = float(np.median(scipy.spatial.distance.pdist(sample / largest)) * largest)
    if median == 0:
        raise ValueError("half its pairs of stimuli coincide; an RBF kernel has no scale there")
    return median


def gaussian(rows: Array) -> Array:
    """Kernel (n, n) exp(-|x - y|² / 2) of rows (n, F)."""
    half = 0.5 * np.vecdot(rows, rows)
    return np.asarray(np.exp(np.minimum(rows @ rows.T - half - half[:, None], 0.0)))


def rbf_cka(a: Array, b: Array, debiased: bool) -> Array:
    """CKA (A, B) of RBF kernels exp(-|x - y|² / 2) of scaled rows ``a`` (A, n, F), ``b`` (B, n, G).

    Every kernel is formed once, block by block, and not kept.
    """
    seen_a, seen_b = ~np.isnan(a[:, :, 0]), ~np.isnan(b[:, :, 0])
    if (seen_a == seen_b[0]).all() and (seen_b == seen_b[0]).all():
        return _rbf_cka(a[:, seen_b[0]], b[:, seen_b[0]], debiased)
    pairs = [
        _rbf_cka(x[None, one & other], y[None, one & other], debiased)
        for x, one in zip(a, seen_a, strict=True)
        for y, other in zip(b, seen_b, strict=True)
    ]
    return np.reshape(pairs, (len(a), len(b)))


def _rbf_cka(a: Array, b: Array, debiased: bool) -> Array:
    models = [*a, *b]
    count, n = len(models), a.shape[1]
    squares = [np.vecdot(rows, rows) for rows in models]
    product, margins, total = np.zeros((count, count)), np.zeros((count, count)), np.zeros(count)
    step = max(1, BLOCK_BYTES // (8 * max(n, 1) * count))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        kernel = np.empty((count, part.stop - start, n))
        for rows, square, block in zip(models, squares, kernel, strict=True):
            np.matmul(rows[part], rows.T, out=block)
            block -= 0.5 * square
            block -= 0.5 * square[part, None]
            np.exp(np.minimum(block, 0.0, out=block), out=block)
            block[np.arange(len(block)), np.arange(start, part.stop)] = 0.0 if debiased else 1.0
        flat, sums = kernel.reshape(count, -1), kernel.sum(2)
        product += flat @ flat.T
        margins += sums @ sums.T
        total += sums.sum(1)

    def value(i: int, j: int) -> float:
        sums = Sums(product[i, j], margins[i, j], total[i], total[j])
        return hsic(sums, n, debiased) if n > 3 else np.nan

    own = [value(i, i) for i in range(count)]
    return np.array(
        [
            [normalized(value(i, len(a) + j), own[i], own[len(a) + j]) for j in range(len(b))]
            for i in range(len(a))
        ]
    )


def cknna(
    lists_a: Array,
    similarity_a: Array,
    mean_a: Array,
    lists_b: Array,
    similarity_b: Array,
    mean_b: Array,
    centered: bool,
) -> float:
    """CKNNA of two models from neighbour lists (n, k), cosines (n, k) and mean cosines (n)."""
    common = (lists_a[:, 0] >= 0) & (lists_b[:, 0] >= 0)
    if common.sum() < 4:
        return normalized(np.nan, np.nan, np.nan)
    k = _on_neighbors(lists_a, similarity_a - centered * mean_a[:, None], common)
    m = _on_neighbors(lists_b, similarity_b - centered * mean_b[:, None], common)
    in_k, in_m = (
        scipy.sparse.csr_array((np.ones_like(x.data), x.indices, x.indptr), shape=x.shape)
        for x in (k, m)
    )
    score = _published if centered else _coded
    return normalized(score(k * in_m, m * in_k), score(k, k), score(m, m))


def own_cknna(lists: Array, values: Array, common: Array, centered: bool) -> float:
    """What a model's CKNNA is divided by: its score with itself among the common stimuli."""
    k = _on_neighbors(lists, values, common)
    return _published(k, k) if centered else _coded(k, k)


def _on_neighbors(lists: Array, values: Array, common: Array) -> scipy.sparse.csr_array:
    """Kernel (c, c) among the common stimuli that is zero, and empty, beyond the neighbours."""
    n, k = lists.shape
    indices = np.where(lists >= 0, lists, 0).ravel()
    filled = np.where(lists >= 0, values, 0.0).ravel()
    whole = scipy.sparse.csr_array((filled, indices, np.arange(0, n * k + 1, k)), shape=(n, n))
    return whole if common.all() else whole[common][:, common]


def _coded(k: scipy.sparse.csr_array, m: scipy.sparse.csr_array) -> float:
    sums = Sums(*map(float, ((k * m.T).sum(), k.sum(0) @ m.sum(1), k.sum(), m.sum())))
    return hsic(sums, k.shape[0], debiased=True)


def _published(k: scipy.sparse.csr_array, m: scipy.sparse.csr_array) -> float:
    return float((k * m).sum())
