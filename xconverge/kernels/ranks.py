"""Quantile bins, and rank correlations with their permutation null."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from xconverge.kernels.correlation import ranks, similarity, standardize
from xconverge.kernels.permutations import BLOCK, as_extreme, n_blocks, permutations
from xconverge.kernels.vectors import Array


def quantile_bins(values: Array, n_bins: int) -> tuple[Array, Array]:
    """Bin (n) of each finite value, -1 for the others, and the edges (n_bins + 1).

    A value equal to an edge falls into the lower bin; closer than 2^-40 of the largest is equal.
    So bins between equal edges are merged into the lowest of them, and the others are empty; bins
    that hold something keep their numbers. Edges of no value are NaN.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(values.shape, -1), np.full(n_bins + 1, np.nan)
    edges = np.quantile(values[finite], np.linspace(0, 1, n_bins + 1))
    # values that are 0 by construction differ by rounding: 2^-40 of the largest is far above it in
    # double, far below any difference that means something
    near = 2.0**-40 * np.abs(edges).max()
    bins = np.searchsorted(edges[1:-1] + near, values, side="left")
    return np.where(finite, bins, -1), edges


def rows_in_bins(values: Array, n_bins: int) -> Array:
    """Bins (…, n) of every row (…, n) by its own edges."""
    return np.apply_along_axis(lambda row: quantile_bins(row, n_bins)[0], -1, values)


def empty_bins(bins: Array, n_bins: int) -> list[int]:
    """Numbers of the bins that hold no value of some row (…, n)."""
    return [n for n in range(n_bins) if not (bins == n).any(-1).all()]


def bin_means(values: Array, bins: Array, n_bins: int) -> Array:
    """Mean (…, n_bins) of the finite ``values`` (…, n) inside each bin."""
    member = (bins == np.arange(n_bins)[:, None]).astype(np.float64)
    finite = np.isfinite(values)
    # one matrix product for all rows: 0 stands in for what is missing, and is not counted
    total = np.where(finite, values, 0.0) @ member.T
    count = finite.astype(np.float64) @ member.T
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


class Row(NamedTuple):
    """Residual ranks (n) of two variables, of unit norm; 0 where a stimulus is not usable."""

    target: Array
    score: Array
    usable: Array


def rank_correlations(
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    rank: Array,
    strata: Array,
    n_permutations: int,
    seed: int,
    tail: str,
) -> tuple[Array, Array, Array, float, float]:
    """Spearman correlation of every row of ``y`` (R, n) with its row of ``x`` (X, n), and p-values.

    Parameters
    ----------
    x, y : array
        Stimuli where either is not finite drop out of that row alone.
    which : int array (R)
        The row of ``x`` that belongs to each row of ``y``.
    covariates : array (X, c, n)
        Their ranks are partialled out of the ranks of both.
    rank, strata : int array (n)
        Of the stimulus labels; labels of ``x`` are permuted inside the strata.
    n_permutations, seed : int
        Ranks stay as they are.
    tail : {"two-sided", "greater", "less"}

    Returns
    -------
    correlation, p_value, n_stimuli : arrays (R)
    mean, p_value_of_mean : float
        The mean correlation of all rows that have one, under the same permutations.
    """
    rows = [_row(x[i], values, covariates[i]) for i, values in zip(which, y, strict=True)]
    correlation = np.array([_correlation(row) for row in rows])
    count = np.array([row.usable.sum() for row in rows])
    defined = np.flatnonzero(~np.isnan(correlation))
    mean = float(correlation[defined].mean()) if len(defined) else np.nan
    p_value, p_of_mean = np.full(len(rows), np.nan), np.nan
    if n_permutations and len(defined):
        targets, scores = (
            np.stack([row[part] for row in (rows[r] for r in defined)]) for part in (0, 1)
        )
        usable = np.stack([rows[r].usable for r in defined])
        groups = np.where(usable, strata, -1)
        # inside strata the products have a mean that is not 0; scores less their mean inside each
        # stratum take it off all draws alike, and both tails mean the same
        scores = np.stack([_within(one, own) for one, own in zip(scores, groups, strict=True)])
        null = _null(targets, scores, usable, which[defined], rank, strata, n_permutations, seed)
        # of rows of unit norm nothing but rounding is left where no stratum varies
        free = np.linalg.norm(scores, axis=1) > 1e-9
        if not free.all():
            warnings.warn(
                f"{(~free).sum()} rows have no stratum in which two stimuli differ: nothing can be "
                "permuted, their p-value is NaN",
                RuntimeWarning,
                stacklevel=2,
            )
        reached = as_extreme(null[1:], null[0], tail).sum(0)
        p_value[defined] = np.where(free, (1 + reached) / len(null), np.nan)
        if free.all():
            of_mean = null.mean(1)
            p_of_mean = float((1 + as_extreme(of_mean[1:], of_mean[0], tail).sum()) / len(null))
    return correlation, p_value, count, mean, p_of_mean


def _null(
    targets: Array,
    scores: Array,
    usable: Array,
    which: Array,
    rank: Array,
    strata: Array,
    n_permutations: int,
    seed: int,
) -> Array:
    """Products (draw, R) of permuted targets with scores (R, n), the observed ones first.

    Spearman's correlation is the product of ranks of unit norm, and a permutation changes neither
    norm: a draw is one dot product. Rows with the same stimuli and the same target share a
    permutation, and all of a block are one matrix product.
    """
    alike: dict[bytes, dict[int, list[int]]] = {}
    for row, seen in enumerate(usable):
        alike.setdefault(seen.tobytes(), {}).setdefault(int(which[row]), []).append(row)
    result = np.empty((n_blocks(n_permutations) * BLOCK, len(targets)))
    for block in range(n_blocks(n_permutations)):
        part = result[block * BLOCK : (block + 1) * BLOCK]
        for members in alike.values():
            seen = usable[next(iter(members.values()))[0]]
            orders = permutations(rank, seed, block, strata, seen)
            for rows in members.values():
                part[:, rows] = targets[rows[0]].take(orders) @ scores[rows].T
    return result[: n_permutations + 1]


def _row(x: Array, y: Array, covariates: Array) -> Row:
    """Residual ranks of both, standardised."""
    usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(covariates).all(0)
    design = _design(covariates[:, usable])
    sides = []
    for values in (x, y):
        side = np.zeros(len(usable))
        side[usable] = _residual_ranks(values[usable], design)
        sides.append(side)
    return Row(sides[0], sides[1], usable)


def _correlation(row: Row) -> float:
    """Correlation of a row, whose sides become of unit norm in place; NaN where there is none."""
    u, v = row.target[row.usable], row.score[row.usable]
    value = similarity(u, v, "stimuli")
    if not np.isnan(value):
        row.target[row.usable], row.score[row.usable] = standardize(u), standardize(v)
    return value


def _within(values: Array, groups: Array) -> Array:
    """Values (n) less their mean inside each group; 0 in a negative one."""
    inside = groups >= 0
    _, number = np.unique(groups[inside], return_inverse=True)
    result = np.zeros(len(values))
    if inside.any():
        means = np.bincount(number, values[inside]) / np.bincount(number)
        result[inside] = values[inside] - means[number]
    return result


def _design(covariates: Array) -> Array:
    """Orthonormal basis (n, c + 1) of a constant and the ranks of the covariates."""
    columns = [np.ones(covariates.shape[1]), *(ranks(row) for row in covariates)]
    # by SVD: covariates that repeat each other, or are constant, add no column
    basis, scale, _ = np.linalg.svd(np.stack(columns, 1), full_matrices=False)
    return np.asarray(basis[:, scale > 1e-10 * scale.max(initial=0.0)])


def _residual_ranks(values: Array, design: Array) -> Array:
    ranked = ranks(values)
    residual = ranked - design @ (design.T @ ranked)
    # what a covariate explains wholly is 0, not a correlation of rounding errors
    return np.where(np.abs(residual) < 1e-9 * max(len(ranked), 1), 0.0, residual)
