"""Quantile bins, and rank correlations with their permutation null."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from xconverge.kernels.correlation import ranks, standard_rows, undefined
from xconverge.kernels.groups import alike_rows, mean_of_families
from xconverge.kernels.nulls import Orders
from xconverge.kernels.permutations import BLOCK, as_extreme, n_blocks
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


class Rows(NamedTuple):
    """Residual ranks (R, n) of two variables, of unit norm; 0 where a stimulus is not usable.

    ``explained`` (R) says how many covariates were partialled out. Where there is no
    ``correlation`` (R), it is NaN, and ranks are not of unit norm.
    """

    target: Array
    score: Array
    usable: Array
    explained: Array
    correlation: Array


class Correlated(NamedTuple):
    """Of rows (R): correlation, p-value and stimuli; the mean and its p-value; draws of both.

    The mean is that of all rows (families) that have one, under the same draws (D, R), of which the
    first are the observed correlations; NaN where nothing can be dealt anew.
    """

    correlation: Array
    p_value: Array
    n_stimuli: Array
    mean: float
    p_value_of_mean: float
    draws: Array
    draws_of_mean: Array


def rank_correlations(
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    orders: Orders,
    strata: Array,
    n_draws: int,
    tail: str,
    family: Array | None = None,
) -> Correlated:
    """Spearman correlation of every row of ``y`` (R, n) with its row of ``x`` (X, n), and p-values.

    Parameters
    ----------
    x, y : array
        Stimuli where either is not finite drop out of that row alone.
    which : int array (R)
        The row of ``x`` that belongs to each row of ``y``.
    covariates : array (X, c, n)
        Their ranks are partialled out of the ranks of both, and of ``x`` again when dealt anew.
    orders : Orders
        What the ranks of ``x`` are dealt in under the null.
    strata : int array (n)
        Taken out of both sides before ``x`` is dealt anew, inside them; all 0 for none.
    n_draws : int
        0 for none: p-values are NaN.
    tail : {"two-sided", "greater", "less"}
    family : int array (R), optional
        Rows of one family count once in the mean.
    """
    rows = residual_ranks(x, y, which, covariates)
    correlation, count = rows.correlation, rows.usable.sum(1)
    defined = np.flatnonzero(~np.isnan(correlation))
    family = np.arange(len(y)) if family is None else family
    mean = (
        float(mean_of_families(correlation[defined], family[defined])) if len(defined) else np.nan
    )
    p_value, p_of_mean = np.full(len(y), np.nan), np.nan
    draws, together = np.full((1 + n_draws, len(y)), np.nan), np.full(1 + n_draws, np.nan)
    if n_draws and len(defined):
        chosen = Rows(*(part[defined] for part in rows))
        null, free = _null(chosen, which[defined], covariates, orders, strata, n_draws)
        if not free.all():
            warnings.warn(
                f"{(~free).sum()} rows have no stratum in which two stimuli differ: nothing can be "
                "permuted, their p-value is NaN",
                RuntimeWarning,
                stacklevel=2,
            )
        p_value[defined] = np.where(free, _share(null, tail), np.nan)
        draws[:, defined[free]] = null[:, free]
        if free.any():
            # what cannot be permuted adds the same to every draw of the mean
            together = mean_of_families(null, family[defined])
            p_of_mean = float(_share(together, tail))
    return Correlated(correlation, p_value, count, mean, p_of_mean, draws, together)


def residual_ranks(x: Array, y: Array, which: Array, covariates: Array) -> Rows:
    """Residual ranks of the rows of ``rank_correlations``, and their correlations."""
    usable = np.isfinite(y) & (np.isfinite(x) & np.isfinite(covariates).all(1))[which]
    target, score = np.zeros((2, *y.shape))
    explained, correlation = np.zeros(len(y), np.int64), np.full(len(y), np.nan)
    # rows of one target and the same stimuli have one design
    for numbers in alike_rows(usable, which):
        there, i = usable[numbers[0]], which[numbers[0]]
        groups = np.where(there, 0, -1)
        basis = _design(np.where(there, covariates[i], 0.0), groups)
        sides = [_residual(_ranked(part, there), basis, groups) for part in (x[[i]], y[numbers])]
        u, v = (part[:, there] for part in sides)
        if u.shape[1] < 3:
            undefined(f"a correlation needs at least 3 stimuli, got {u.shape[1]}")
        else:
            u, v = standard_rows(u), standard_rows(v)
            found = np.clip(np.vecdot(u, v), -1, 1)
            if np.isnan(found).any():
                undefined("a correlation needs stimuli that differ, got equal values")
            correlation[numbers] = found
        target[np.ix_(numbers, there)], score[np.ix_(numbers, there)] = u, v
        explained[numbers] = len(basis)
    return Rows(target, score, usable, explained, correlation)


def _share(null: Array, tail: str) -> Array:
    """P-values (…) of the first of draws (D, …); a draw without a value counts as extreme."""
    reached = as_extreme(null[1:], null[0], tail) | np.isnan(null[1:])
    return np.asarray((1 + reached.sum(0)) / len(null))


class _Alike(NamedTuple):
    """Rows (r) with the same stimuli and target, and what every draw of them needs.

    Both sides are what strata and covariates leave; ``basis`` (q, n) spans what these covariates
    are inside strata.
    """

    rows: Array
    usable: Array
    target: Array
    scores: Array
    basis: Array

    def draws(self, orders: Array) -> Array:
        """Partial correlations (P, r) of permuted targets with the scores, times their sizes.

        Permuted, a residual t is none: covariates explain some of it again, and a null of larger
        correlations than the observed one's would follow (Freedman & Lane 1983 take it out). The
        scores s need no more than the length of what is left: for orthonormal rows Z with Zs = 0,
        s·(Pt - Z'ZPt) = s·Pt and |Pt - Z'ZPt|² = |t|² - |ZPt|².
        """
        moved = self.target.take(orders)
        products = moved @ self.scores.T
        if not len(self.basis):
            return products
        whole = self.target @ self.target
        left = whole - ((moved @ self.basis.T) ** 2).sum(1)
        some = left > 1e-12 * whole
        size = np.sqrt(np.divide(whole, left, out=np.full(len(left), np.nan), where=some))
        return np.asarray(products * size[:, None])


def _null(
    rows: Rows,
    which: Array,
    covariates: Array,
    orders: Orders,
    strata: Array,
    n_draws: int,
) -> tuple[Array, Array]:
    """Draws (draw, R) of targets dealt anew, the observed first, and whether (R) they can differ.

    Spearman's correlation is the product of ranks of unit norm, and a permutation changes neither
    norm: a draw is one dot product. Rows with the same stimuli and the same target share a
    permutation, and all of a block are one matrix product. Inside strata the products have a mean
    that is not 0: strata are taken out of both sides like covariates, and both tails mean the same.
    """
    free = np.empty(len(which), bool)
    pools: dict[bytes, list[_Alike]] = {}
    for numbers in alike_rows(rows.usable, which):
        usable = rows.usable[numbers[0]]
        groups = np.where(usable, strata, -1)
        basis = _design(np.where(usable, covariates[which[numbers[0]]], 0.0), groups)
        target = _residual(rows.target[numbers[0]], basis, groups)
        scores = _residual(rows.score[numbers], basis, groups)
        free[numbers] = np.linalg.norm(scores, axis=1) > 1e-9
        alike = _Alike(numbers, usable, target, scores, basis)
        pools.setdefault(usable.tobytes(), []).append(alike)
    result = np.empty((n_blocks(n_draws) * BLOCK, len(which)))
    for block in range(n_blocks(n_draws)):
        part = result[block * BLOCK : (block + 1) * BLOCK]
        for pool in pools.values():
            dealt: tuple[Array, Array] | None = None
            for alike in pool:
                # orders that follow no values are the same for all targets of a pool
                if dealt is None or not (orders.of_any or np.array_equal(dealt[0], alike.target)):
                    dealt = alike.target, orders(block, alike.target, alike.usable)
                part[:, alike.rows] = alike.draws(dealt[1])
    return result[: n_draws + 1], free


def _within(values: Array, groups: Array) -> Array:
    """Values (…, n) less their mean inside each group (n); 0 in a negative one."""
    inside = np.flatnonzero(groups >= 0)
    result = np.zeros(values.shape)
    if len(inside):
        inside = inside[np.argsort(groups[inside], kind="stable")]
        starts = np.flatnonzero(np.diff(groups[inside], prepend=-1))
        sizes = np.diff(starts, append=len(inside))
        own = values[..., inside]
        means = np.add.reduceat(own, starts, axis=-1) / sizes
        result[..., inside] = own - np.repeat(means, sizes, axis=-1)
    return result


def _ranked(values: Array, usable: Array) -> Array:
    """Ranks (…, n) of the usable (n) values among themselves, 0 for the others."""
    result = np.zeros(values.shape)
    result[..., usable] = ranks(values[..., usable])
    return result


def _design(covariates: Array, groups: Array) -> Array:
    """Orthonormal rows (≤ c, n) that span the ranks of covariates (c, n) inside the groups (n)."""
    usable = groups >= 0
    if not len(covariates):
        return np.empty((0, len(groups)))
    rows = _within(_ranked(covariates, usable), groups)
    # by SVD: covariates that repeat each other, or are constant, add no row
    _, scale, basis = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(basis[scale > 1e-10 * scale.max(initial=0.0)])


def _residual(values: Array, basis: Array, groups: Array) -> Array:
    """What the means of groups and the rows of ``basis`` (q, n) leave of values (…, n)."""
    values = _within(values, groups)
    left = values - (values @ basis.T) @ basis
    # what a covariate explains wholly is 0, not a correlation of rounding errors
    least = 1e-9 * np.abs(values).max(-1, keepdims=True, initial=0.0)
    return np.where(np.abs(left) < least, 0.0, left)
