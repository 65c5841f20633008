"""Dissimilarity matrices, their rows, and how they compare."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.vectors import (
    METRICS,
    Array,
    Metric,
    norms,
    padded,
    prepare,
    square_distances,
    working_dtype,
)

Distance = Callable[[Array, Array], float]

BLOCK_BYTES = 2**25


def distances(x: Array, width: int, metric: Metric | Distance) -> Array:
    """RDM (n, n) of the rows ``x`` (n, F), symmetric to the bit; NaN where a stimulus is missing.

    Single precision for features of up to 4 bytes. ``metric`` is a row of METRICS, or a function
    of two vectors.
    """
    dtype = working_dtype(x.dtype)
    if callable(metric):
        rows = x[:, :width].astype(np.float64)
        _, seen = norms(rows, METRICS["euclidean"])
        result = np.full((len(x), len(x)), np.nan, dtype)
        result[np.ix_(seen, seen)] = scipy.spatial.distance.squareform(
            scipy.spatial.distance.pdist(rows[seen], metric), checks=False
        )
        return result
    rows, seen = prepare(x, width, metric)
    result = _symmetric_distances(rows, metric, dtype)
    result[~seen] = np.nan
    result[:, ~seen] = np.nan
    return result


def _symmetric_distances(rows: Array, metric: Metric, dtype: Any) -> Array:
    """Distances (n, n) from one matrix product; entries that cancel in it, from differences.

    Where too many cancel for single precision, all of it is done in double.
    """
    single = dtype == np.float32
    scale = 1.0 if metric.unit or not single else np.abs(rows).max(initial=0.0) or 1.0
    less: Array = (rows / scale).astype(dtype)
    half = 0.5 * np.vecdot(less, less)
    result: Array = less @ less.T
    result[np.diag_indices(len(rows))] = -np.inf
    threshold = dtype(1e-2 if single else 1e-5)
    near: list[Array] = []

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            block, own = result[part], half[part, None]
            np.subtract(half + own, block, out=block)
            some = np.flatnonzero(block.min(1) < threshold * (own[:, 0] + half.max()))
            i, j = np.nonzero(block[some] < threshold * (own[some] + half))
            near.append(np.stack([some[i] + part.start, j]))

    over_blocks(work, len(rows), result.itemsize * len(rows))
    i, j = np.concatenate(near, axis=1) if near else np.empty((2, 0), np.int64)
    if single and len(i) > result.size // 100:
        return _symmetric_distances(rows, metric, np.float64).astype(dtype)
    for start in range(0, len(i), 65536):
        one, other = i[start : start + 65536], j[start : start + 65536]
        gap = rows[one] - rows[other]
        result[one, other] = 0.5 * np.vecdot(gap, gap) / scale**2
    np.fill_diagonal(result, 0.0)
    if not metric.unit:
        _finish(result, metric, scale)
    return result


def _finish(half_square: Array, metric: Metric, scale: float) -> None:
    """Half of the squared distances of rows divided by ``scale`` become distances, in place."""

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            square = 2 * half_square[part]
            half_square[part] = metric.of_square(square) * metric.of_square(np.asarray(scale**2))

    over_blocks(work, len(half_square), half_square.itemsize * len(half_square))


def prepared(x: Array, width: int, metric: str) -> Array:
    """Rows (n, F) whose squared distances make the RDM; NaN throughout where missing."""
    rows, seen = prepare(x, width, METRICS[metric])
    return padded(rows, seen, x.shape[1])


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
    warn_undefined(np.isnan(result) & seen_a[:, None] & seen_b)
    return result


def warn_undefined(undefined: Array) -> None:
    """Say how many stimuli lack a correlation (A, B, n) that they should have."""
    if undefined.any():
        warnings.warn(
            f"{undefined.any((0, 1)).sum()} stimuli have fewer than 3 distances, or none that "
            "differ, in a model's RDM: their correlation is NaN",
            RuntimeWarning,
            stacklevel=3,
        )


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


class Method(NamedTuple):
    """A comparison of RDMs: of ranks or not, and the vectors whose inner product it is.

    ``centered`` ones have a mean of 0.
    """

    ranked: bool
    vector: Callable[[Array], Array] | None
    centered: bool = True


def standardize(u: Array) -> Array:
    """Zero mean and unit norm; NaN throughout where all values are equal."""
    gap = u - u.mean()
    norm = np.sqrt(gap @ gap)
    if norm <= 1e-12 * np.abs(u).max(initial=0.0) * np.sqrt(len(u)):
        return np.full(len(u), np.nan)
    return np.asarray(gap / norm)


def unit(u: Array) -> Array:
    """Unit norm; NaN throughout where all values are zero."""
    norm = np.sqrt(u @ u)
    return np.asarray(u / norm) if norm > 0 else np.full(len(u), np.nan)


def _centered_ranks(u: Array) -> Array:
    """Ranks whose inner product is rho-a, Spearman's rho with ties broken at random, on average."""
    n = len(u)
    return np.asarray((u - (n + 1) / 2) * np.sqrt(12 / (n**3 - n)))


METHODS = {
    "spearman": Method(ranked=True, vector=standardize),
    "pearson": Method(ranked=False, vector=standardize),
    "kendall": Method(ranked=True, vector=None),
    "cosine": Method(ranked=False, vector=unit, centered=False),
    "rho-a": Method(ranked=True, vector=_centered_ranks),
}


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
    """Mean ranks along the last axis; NaN stays NaN. Closer than 2^-40 of the largest is a tie.

    Sums of equal terms differ in their last digits with the order of summation; their ranks
    must not.
    """
    largest = np.nanmax(np.abs(values), axis=-1, keepdims=True, initial=0.0)
    grid = np.round(values / np.where(largest > 0, largest, 1.0) * 2**40)
    result: Array = scipy.stats.rankdata(grid, axis=-1, nan_policy="omit")
    return result


def compare(u: Array, v: Array, nuisance: Array | None = None, *, method: Method) -> float:
    """Similarity of two triangles (pairs), over the pairs that both, and all nuisances, have.

    ``nuisance`` (c, pairs) is regressed out of both. Ranks of ranks are ranks, so that triangles
    ranked once serve every pair of models.
    """
    values = np.vstack([u, v] if nuisance is None else [u, v, nuisance])
    common = ~np.isnan(values).any(0)
    if not common.all():
        values = values[:, common]
        if method.ranked:
            values = np.array([ranks(row) for row in values])
    u, v, *given = values
    if given and len(u) > len(given) + 2:
        u, v = _residual(u, np.array(given)), _residual(v, np.array(given))
    return similarity(u, v, "pairs of stimuli", method)


def _residual(values: Array, nuisance: Array) -> Array:
    """What a linear fit of the nuisances (c, pairs) leaves of the values (pairs)."""
    values = values - values.mean()
    design = nuisance - nuisance.mean(1, keepdims=True)
    q, r = np.linalg.qr(design.T)
    q = q[:, np.abs(np.diagonal(r)) > 1e-10 * np.abs(r).max(initial=0.0)]
    left = values - q @ (q.T @ values)
    small = np.linalg.norm(left) <= 1e-10 * np.linalg.norm(values)
    return np.zeros_like(left) if small else left


def similarity(u: Array, v: Array, what: str, method: Method = METHODS["pearson"]) -> float:
    """Similarity of two sets of values; NaN with a warning where there is too little to compare."""
    if len(u) < 3:
        _undefined(f"a correlation needs at least 3 {what}, got {len(u)}: NaN")
        return np.nan
    if method.vector is None:
        return tau_a(u, v)
    u, v = method.vector(u), method.vector(v)
    if np.isnan(u[0]) or np.isnan(v[0]):
        _undefined(f"a correlation needs {what} that differ, got equal values: NaN")
        return np.nan
    return float(np.clip(u @ v, -1, 1))


def tau_a(u: Array, v: Array) -> float:
    """Kendall's tau-a: concordant less discordant pairs, over all pairs, ties included."""
    total = len(u) * (len(u) - 1) / 2
    untied = [total - (n * (n - 1) / 2).sum() for n in (_multiplicity(u), _multiplicity(v))]
    if not all(untied):
        return 0.0
    return float(
        scipy.stats.kendalltau(u, v).statistic * np.sqrt(untied[0]) * np.sqrt(untied[1]) / total
    )


def _multiplicity(values: Array) -> Array:
    return np.unique(values, return_counts=True)[1]


def noise_ceiling(rdms: Array, method: Method) -> tuple[float, float]:
    """Lower and upper noise ceiling of RDMs (subject, n, n), over the pairs all subjects have.

    Similarity of each subject with the mean of the others, and with the mean of all; ranked, or
    of unit size, before they are averaged, so that no other RDM is nearer to them.
    """
    values = np.array([triangle(rdm, ranked=False) for rdm in rdms])
    values = values[:, ~np.isnan(values).any(0)]
    if values.shape[1] < 3:
        _undefined(f"a noise ceiling needs at least 3 pairs of stimuli, got {values.shape[1]}: NaN")
        return np.nan, np.nan
    if method.ranked:
        values = np.array([ranks(row) for row in values])
    vector = method.vector
    sized = values if vector is None else np.array([vector(row) for row in values])
    total = sized.sum(0)

    def like(row: Array, pool: Array) -> float:
        return similarity(row, ranks(pool) if method.ranked else pool, "pairs of stimuli", method)

    lower = [like(row, total - own) for row, own in zip(values, sized, strict=True)]
    upper = [like(row, total) for row in values]
    return float(np.mean(lower)), float(np.mean(upper))


def _undefined(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
