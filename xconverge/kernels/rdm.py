"""Dissimilarity matrices, their rows, and how they compare."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import rankdata

from xconverge.kernels.rows import METRICS, Array, prepare, square_distances

BLOCK_BYTES = 2**25


def distances(x: Array, width: int, metric: str) -> Array:
    """RDM (n, n) of the rows ``x`` (n, F); NaN where a stimulus is missing."""
    rows, seen = prepare(x, width, METRICS[metric])
    square = square_distances(rows, rows)
    square = np.maximum(0.5 * (square + square.T), 0.0)
    np.fill_diagonal(square, 0.0)
    result = METRICS[metric].of_square(square)
    result[~seen] = np.nan
    result[:, ~seen] = np.nan
    return result


def prepared(x: Array, width: int, metric: str) -> Array:
    """Rows (n, F) whose squared distances make the RDM; NaN throughout where missing."""
    rows, seen = prepare(x, width, METRICS[metric])
    result = np.zeros(x.shape)
    result[:, :width] = rows
    result[~seen] = np.nan
    return result


def row_correlations(a: Array, b: Array, metric: str) -> Array:
    """Correlation (A, B, n) of row i of the RDMs of every model of ``a`` and ``b``.

    From prepared rows ``a`` (A, n, F) and ``b`` (B, n, G); rows of the RDMs are formed block by
    block, no RDM is kept. Row i leaves out itself and every stimulus that either model misses.
    """
    seen_a, seen_b = ~np.isnan(a[:, :, 0]), ~np.isnan(b[:, :, 0])
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    n = a.shape[1]
    step = max(1, BLOCK_BYTES // (8 * n * (len(a) + len(b))))
    result = np.empty((len(a), len(b), n))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        xa, va = _standard_rows(a, seen_a, part, metric)
        xb, vb = _standard_rows(b, seen_b, part, metric)
        result[:, :, part] = _masked_correlation(xa, va, xb, vb).transpose(1, 2, 0)
    undefined = np.isnan(result) & seen_a[:, None] & seen_b
    if undefined.any():
        warnings.warn(
            f"{undefined.any((0, 1)).sum()} stimuli have fewer than 3 distances, or none that "
            "differ, in a model's RDM: their correlation is NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


def _standard_rows(models: Array, present: Array, part: slice, metric: str) -> tuple[Array, Array]:
    """RDM rows (b, M, n) of a block of stimuli, zero mean and unit variance, and their mask."""
    values, masks = [], []
    for rows, seen in zip(models, present, strict=True):
        square = np.maximum(square_distances(rows[part], rows), 0.0)
        mask = seen[part, None] & seen
        mask[np.arange(len(mask)), np.arange(part.start, part.stop)] = False
        block = np.where(mask, METRICS[metric].of_square(square), 0.0)
        count = np.maximum(mask.sum(1, keepdims=True), 1)
        largest = block.max(1, keepdims=True)
        block = np.where(mask, block - block.sum(1, keepdims=True) / count, 0.0)
        deviation = np.sqrt((block**2).sum(1, keepdims=True) / count)
        varies = deviation > 1e-12 * largest
        values.append(np.divide(block, deviation, out=np.zeros_like(block), where=varies))
        masks.append(mask.astype(np.float64))
    return np.stack(values, 1), np.stack(masks, 1)


def _masked_correlation(xa: Array, va: Array, xb: Array, vb: Array) -> Array:
    """Pearson correlation (b, A, B) over the entries where both masks hold."""
    tb, xt = vb.transpose(0, 2, 1), xb.transpose(0, 2, 1)
    count = va @ tb
    safe = np.maximum(count, 1)
    sum_a, sum_b = xa @ tb, va @ xt
    var_a = xa**2 @ tb - sum_a**2 / safe
    var_b = va @ (xt**2) - sum_b**2 / safe
    covariance = xa @ xt - sum_a * sum_b / safe
    defined = (count >= 3) & (var_a > 1e-12 * count) & (var_b > 1e-12 * count)
    scale = np.sqrt(np.where(defined, var_a * var_b, 1.0))
    return np.where(defined, np.clip(covariance / scale, -1, 1), np.nan)


def triangle(rdm: Array, ranked: bool) -> Array:
    """Upper triangle (n (n - 1) / 2) of an RDM (n, n), or the ranks of it; NaN stays NaN."""
    present = ~np.isnan(rdm)
    gap = np.abs(rdm - rdm.T)[present & present.T]
    largest = np.abs(rdm[present]).max(initial=0.0)
    if (present != present.T).any() or gap.max(initial=0.0) > 1e-6 * largest:
        raise ValueError("an RDM must be symmetric; average it with its transpose if that is meant")
    values = np.asarray(rdm[np.triu_indices(len(rdm), 1)], np.float64)
    return ranks(values) if ranked else values


def ranks(values: Array) -> Array:
    """Mean ranks; NaN stays NaN. Values closer than 2^-40 of the largest are a tie.

    Sums of equal terms differ in their last digits with the order of summation; their ranks
    must not.
    """
    largest = np.nanmax(np.abs(values), initial=0.0)
    grid = np.round(values / largest * 2**40) if largest > 0 else values
    result: Array = rankdata(grid, nan_policy="omit")
    return result


def compare(u: Array, v: Array, ranked: bool) -> float:
    """Pearson correlation of two triangles, over the pairs that both have.

    Ranks of ranks are ranks, so that triangles ranked once serve every pair of models.
    """
    common = ~(np.isnan(u) | np.isnan(v))
    if not common.all():
        u, v = u[common], v[common]
        if ranked:
            u, v = ranks(u), ranks(v)
    return correlate(u, v, "pairs of stimuli")


def correlate(u: Array, v: Array, what: str) -> float:
    """Pearson correlation; NaN with a warning where there is too little to correlate."""
    if len(u) < 3:
        _undefined(f"a correlation needs at least 3 {what}, got {len(u)}: NaN")
        return np.nan
    u, v = standardize(u), standardize(v)
    if np.isnan(u[0]) or np.isnan(v[0]):
        _undefined(f"a correlation needs {what} that differ, got equal values: NaN")
        return np.nan
    return float(np.clip(u @ v, -1, 1))


def standardize(u: Array) -> Array:
    """Zero mean and unit norm; NaN throughout where all values are equal."""
    gap = u - u.mean()
    norm = np.sqrt(gap @ gap)
    if norm <= 1e-12 * np.abs(u).max(initial=0.0) * np.sqrt(len(u)):
        return np.full(len(u), np.nan)
    return np.asarray(gap / norm)


def _undefined(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def mantel(a: Array, b: Array, ranked: bool, n_permutations: int, seed: int) -> tuple[float, float]:
    """Correlation of two RDMs (n, n) and its p-value under permutation of stimulus labels.

    Rows and columns of ``a`` move together; ranks and norms are permuted, not computed again.
    p = (1 + #{null >= observed}) / (1 + n_permutations).
    """
    there = ~(np.isnan(a) | np.isnan(b))
    np.fill_diagonal(there, False)
    keep = there.any(1)
    a, b = a[np.ix_(keep, keep)], b[np.ix_(keep, keep)]
    n = int(keep.sum())
    u, v = triangle(a, ranked), triangle(b, ranked)
    if np.isnan(u).any() or np.isnan(v).any():
        raise ValueError("an RDM has NaN for single pairs; a stimulus is missing whole or not")
    observed = correlate(u, v, "pairs of stimuli")
    if np.isnan(observed) or not n_permutations:
        return observed, np.nan
    i, j = np.triu_indices(n, 1)
    square = np.zeros((n, n))
    square[i, j] = square[j, i] = standardize(u)
    flat, v = square.ravel(), standardize(v)
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(n_permutations):
        p = rng.permutation(n)
        reached += flat[p[i] * n + p[j]] @ v >= observed - 1e-12
    return observed, (1 + reached) / (1 + n_permutations)
