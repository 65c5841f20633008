"""Quantile bins, and rank correlations with their permutation null."""

from __future__ import annotations

import numpy as np

from xconverge.kernels.rdm import ranks, similarity, standardize
from xconverge.kernels.rows import Array

PERMUTATIONS_AT_ONCE = 500


def quantile_bins(values: Array, n_bins: int) -> tuple[Array, Array]:
    """Bin (n) of each finite value, -1 for the others, and the edges (n_bins + 1).

    A value equal to an edge falls into the lower bin.
    """
    finite = np.isfinite(values)
    distinct = len(np.unique(values[finite]))
    if distinct < n_bins:
        raise ValueError(
            f"{n_bins} bins need at least {n_bins} distinct values, there are {distinct}"
        )
    edges = np.quantile(values[finite], np.linspace(0, 1, n_bins + 1))
    if (np.diff(edges) <= 0).any():
        raise ValueError(
            f"{n_bins} quantile bins have equal edges: the {finite.sum()} values take only "
            f"{distinct} distinct ones; ask for fewer bins"
        )
    bins = np.searchsorted(edges[1:-1], values, side="left")
    return np.where(finite, bins, -1), edges


def bin_means(values: Array, bins: Array, n_bins: int) -> Array:
    """Mean (…, n_bins) of the finite ``values`` (…, n) inside each bin."""
    member = (bins == np.arange(n_bins)[:, None]).astype(np.float64)
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0) @ member.T
    count = finite.astype(np.float64) @ member.T
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def rank_correlations(
    x: Array, y: Array, covariates: Array, n_permutations: int, seed: int, tail: str
) -> tuple[Array, Array, Array]:
    """Spearman correlation of ``x`` (n) with every row of ``y`` (…, n), and its p-value.

    Parameters
    ----------
    x, y : array
        Stimuli where either is not finite drop out of that row alone.
    covariates : array (c, n)
        Their ranks are partialled out of the ranks of both.
    n_permutations, seed : int
        Labels of ``x`` are permuted, in the same way for every row; ranks stay as they are.
    tail : {"two-sided", "greater", "less"}

    Returns
    -------
    correlation, p_value, n_stimuli : arrays of the leading shape of ``y``
    """
    rows = y.reshape(-1, y.shape[-1])
    usable = np.isfinite(rows) & np.isfinite(x) & np.isfinite(covariates).all(0)
    correlation, p_value = np.full((2, len(rows)), np.nan)
    patterns, which = np.unique(usable, axis=0, return_inverse=True)
    which = which.reshape(-1)
    for number, keep in enumerate(patterns):
        mine = np.flatnonzero(which == number)
        design = _design(covariates[:, keep])
        target = _residual_ranks(x[keep], design)
        scores = np.stack([_residual_ranks(rows[row, keep], design) for row in mine])
        correlation[mine] = [similarity(target, score, "stimuli") for score in scores]
        if n_permutations:
            p_value[mine] = _p_values(target, scores, correlation[mine], n_permutations, seed, tail)
    shape = y.shape[:-1]
    count = usable.sum(1)
    return correlation.reshape(shape), p_value.reshape(shape), count.reshape(shape)


def _design(covariates: Array) -> Array:
    """Orthonormal basis (n, c + 1) of a constant and the ranks of the covariates."""
    columns = [np.ones(covariates.shape[1]), *(ranks(row) for row in covariates)]
    basis, scale, _ = np.linalg.svd(np.stack(columns, 1), full_matrices=False)
    return np.asarray(basis[:, scale > 1e-10 * scale.max(initial=0.0)])


def _residual_ranks(values: Array, design: Array) -> Array:
    ranked = ranks(values)
    residual = ranked - design @ (design.T @ ranked)
    return np.where(np.abs(residual) < 1e-9 * max(len(ranked), 1), 0.0, residual)


def _p_values(
    target: Array, scores: Array, observed: Array, n_permutations: int, seed: int, tail: str
) -> Array:
    defined = ~np.isnan(observed)
    if not defined.any():
        return np.full(len(scores), np.nan)
    target = standardize(target)
    weights = np.stack([standardize(score) for score in scores]).T
    rng = np.random.default_rng(seed)
    reached = np.zeros(len(scores), np.int64)
    for start in range(0, n_permutations, PERMUTATIONS_AT_ONCE):
        count = min(PERMUTATIONS_AT_ONCE, n_permutations - start)
        null = rng.permuted(np.tile(target, (count, 1)), axis=1) @ weights
        reached += as_extreme(null, observed, tail).sum(0)
    return np.where(defined, (1 + reached) / (1 + n_permutations), np.nan)


def as_extreme(null: Array, observed: Array, tail: str) -> Array:
    """Which null values are at least as extreme as the observed one."""
    slack = 1e-12
    if tail == "greater":
        return np.asarray(null >= observed - slack)
    if tail == "less":
        return np.asarray(null <= observed + slack)
    return np.asarray(np.abs(null) >= np.abs(observed) - slack)
