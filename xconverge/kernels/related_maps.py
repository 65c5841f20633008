"""Are maps over stimuli related, beyond what their smoothness and categories make? For all pairs.

Two regressions answer: of the alignment on the dispersion, given how smooth alignment is, and of
the dispersion on the alignment, given how smooth dispersion is. Each of them alone takes the other
map as it is, and rejects too often where its own model of smoothness fits badly; the larger p
stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.correlation import ranks
from xconverge.kernels.groups import alike_rows, family_shares
from xconverge.kernels.mixed_model import (
    Likeness,
    effective_size,
    fit,
    moran,
    regress,
    regress_together,
    whiten,
)
from xconverge.kernels.vectors import Array

LEAST = 5
"""Stimuli beyond the fixed effects, below which no variance can be told."""


class Related(NamedTuple):
    """Of every row of ``y`` (R): what both regressions say, and how many stimuli it is worth."""

    t_alignment: Array
    t_dispersion: Array
    p_alignment: Array
    p_dispersion: Array
    n_effective: Array

    @property
    def p_value(self) -> Array:
        """The larger p."""
        return np.maximum(self.p_alignment, self.p_dispersion)


def related(
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    likeness: Likeness,
    tail: str,
    seed: int,
    family: Array | None = None,
) -> tuple[Related, Related]:
    """Mixed-model tests of every row of ``y`` (R, n) on its row of ``x`` (X, n).

    Parameters
    ----------
    x, y : array
        Stimuli where either is not finite drop out of that row alone.
    which : int array (R)
        The row of ``x`` that belongs to each row of ``y``.
    covariates : array (X, c, n)
        Fixed effects, by their ranks.
    likeness : Likeness
        Of the n stimuli. One field is fitted to the mean of all rows of ``y``, and one to that of
        ``x``; rows share the ratios of the variances, and have a scale of their own.
    tail : {"two-sided", "greater", "less"}
    seed : int
        Which stimuli the fields are fitted on, where there are many.
    family : int array (R), optional
        Rows of one family count once in the mean.

    Returns
    -------
    each, mean : Related
        Of each row, and (1) of the mean over the rows, from the stimuli that all of them have.
    """
    fields = Fields(x, y, covariates, likeness, seed)
    usable = np.isfinite(y) & np.isfinite(x[which]) & np.isfinite(covariates[which]).all(1)
    each = _nothing(len(y))
    for rows in alike_rows(usable, which):
        sides = _sides(fields, x, y, which, covariates, rows, np.flatnonzero(usable[rows[0]]))
        if sides is not None:
            for part, value in zip(each, _told(sides, regress, tail), strict=True):
                part[rows] = value
    everything = np.arange(len(y))
    sides = _sides(fields, x, y, which, covariates, everything, np.flatnonzero(usable.all(0)))
    if sides is None:
        return each, _nothing(1)
    return each, _told(sides.weighted(family_shares(family, len(y))), regress_together, tail)


def tail_of(t: Array, freedom: int, tail: str) -> Array:
    """P-values of t."""
    if tail == "two-sided":
        return np.asarray(2 * scipy.stats.t.sf(np.abs(t), freedom))
    return np.asarray(scipy.stats.t.sf(t if tail == "greater" else -t, freedom))


def standard_ranks(values: Array) -> Array:
    """Ranks of zero mean and unit variance; 0 throughout where all are equal."""
    ranked = ranks(values)
    gap = ranked - ranked.mean(-1, keepdims=True)
    size = gap.std(-1, keepdims=True)
    return np.asarray(gap / np.where(size > 0, size, 1.0))


class Fields:
    """The fields of alignment and of dispersion, fitted once; their factors for any stimuli."""

    def __init__(
        self, x: Array, y: Array, covariates: Array, likeness: Likeness, seed: int
    ) -> None:
        self.likeness = likeness
        usable = np.asarray(np.isfinite(covariates).all((0, 1)))
        self.variances = [
            _field(maps, covariates.mean(0), usable, likeness, seed) for maps in (y, x)
        ]
        self._where = np.empty(0, np.int64)
        self._there: tuple[list[Array], float] = [], 0.0

    def at(self, where: Array) -> tuple[list[Array], float]:
        """Cholesky factors of both covariances, and the effective number of stimuli."""
        # pairs come by their stimuli: what was asked for before the last is not asked for again
        if not np.array_equal(where, self._where):
            covariances = [
                self.likeness.covariance(part, where) for part in self.variances if part is not None
            ]
            factors = [np.linalg.cholesky(one) for one in covariances]
            self._where, self._there = where, (factors, effective_size(*covariances))
        return self._there


def _field(
    maps: Array, covariates: Array, usable: Array, likeness: Likeness, seed: int
) -> Array | None:
    """Variances of the field of the mean map; None where too few stimuli have one."""
    count = np.isfinite(maps).sum(0)
    mean = np.nansum(maps, axis=0) / np.maximum(count, 1)
    where = np.flatnonzero(usable & (count > 0))
    design = _design(covariates[:, where])
    if len(where) < design.shape[1] + LEAST:
        return None
    return fit(standard_ranks(mean[where]), design, likeness, where, seed)


def _design(covariates: Array) -> Array:
    """A constant and the ranks of the covariates (n, 1 + c)."""
    return np.column_stack([np.ones(covariates.shape[1]), *map(standard_ranks, covariates)])


def morans(maps: Array, likeness: Likeness, k: int = 10) -> Array:
    """Moran's I (R) of maps (R, n) over the k nearest stimuli of all geometries together.

    Each geometry counts in its own median distances. NaN where nothing says what is near, or too
    few stimuli have a value.
    """
    result = np.full(len(maps), np.nan)
    if not likeness.squares:
        return result
    pairs = zip(likeness.squares, likeness.units, strict=True)
    total = np.sum([square / unit for square, unit in pairs], axis=0)
    for number, values in enumerate(maps):
        where = np.flatnonzero(np.isfinite(values))
        if len(where) > k + 1:
            near = np.array(total[np.ix_(where, where)])
            np.fill_diagonal(near, np.inf)
            lists = np.argsort(near, axis=1, kind="stable")[:, :k]
            result[number] = moran(ranks(values[where]), lists)
    return result


class _Sides(NamedTuple):
    """Whitened maps (m, R) of both regressions, response first; what they rest on."""

    regressions: list[tuple[Array, Array]]
    freedom: int
    n_effective: float

    def weighted(self, weights: Array) -> _Sides:
        """With these weights (R) of the rows in a sum over them."""
        return self._replace(regressions=[(y * weights, x) for y, x in self.regressions])


def _sides(
    fields: Fields,
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    rows: Array,
    where: Array,
) -> _Sides | None:
    """Rows of y and their x at some stimuli, whitened; None where there is too little."""
    if any(part is None for part in fields.variances):
        return None
    if len(where) < covariates.shape[1] + 1 + LEAST:
        return None
    scores = standard_ranks(y[np.ix_(rows, where)])
    targets = standard_ranks(x[np.ix_(which[rows], where)])
    if not (scores.any(1).all() and targets.any(1).all()):
        return None
    factors, n_effective = fields.at(where)
    white = [np.empty((2, len(where), len(rows))) for _ in factors]
    freedom = len(where)
    for source in np.unique(which[rows]):
        mine = which[rows] == source
        design = _design(covariates[source][:, where])
        for factor, into in zip(factors, white, strict=True):
            into[:, :, mine], left = whiten(factor, design, scores[mine].T, targets[mine].T)
            freedom = min(freedom, left)
    return _Sides([(white[0][0], white[0][1]), (white[1][1], white[1][0])], freedom, n_effective)


def _told(sides: _Sides, by: Callable[[Array, Array, int], Array], tail: str) -> Related:
    t = [np.atleast_1d(by(*maps, sides.freedom)) for maps in sides.regressions]
    p = [tail_of(one, sides.freedom, tail) for one in t]
    return Related(t[0], t[1], p[0], p[1], np.full(len(t[0]), sides.n_effective))


def _nothing(size: int) -> Related:
    return Related(*(np.full(size, np.nan) for _ in range(5)))
