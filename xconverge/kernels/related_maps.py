"""Are maps over stimuli related, beyond what their smoothness and categories make? For all pairs.

Two regressions answer: of the alignment on the dispersion, given how smooth alignment is, and of
the dispersion on the alignment, given how smooth dispersion is. Each of them alone takes the other
map as it is, and rejects too often where its own model of smoothness fits badly; the larger p
stands.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import ranks
from xconverge.kernels.groups import alike_rows, family_shares
from xconverge.kernels.mixed_model import (
    KEPT_UP_TO,
    Likeness,
    effective_size,
    fit,
    lower_factor,
    moran,
    regress,
    regress_together,
    whiten,
)
from xconverge.kernels.permutations import BLOCK
from xconverge.kernels.vectors import Array

LEAST = 5
"""Stimuli beyond the fixed effects, below which no variance can be told."""
FEW_MISSING = 0.1
"""Share of the stimuli of all rows that a row may miss without factors of its own."""


class Related(NamedTuple):
    """Of every row of ``y`` (R): what both regressions say, and how many stimuli it is worth.

    ``draws_*`` (D, R) are normal scores of both, the observed ones first and then what they are
    under the null, alike for rows that share models or stimuli.
    """

    t_alignment: Array
    t_dispersion: Array
    p_alignment: Array
    p_dispersion: Array
    n_effective: Array
    draws_alignment: Array
    draws_dispersion: Array

    @property
    def p_value(self) -> Array:
        """The larger p."""
        return np.maximum(self.p_alignment, self.p_dispersion)


def usable_of(x: Array, y: Array, which: Array, covariates: Array) -> Array:
    """Which stimuli (R, n) every row of ``y`` has in common with its row of ``x`` and covariates.

    Arguments as in `related`.
    """
    there = np.isfinite(y) & np.isfinite(x[which])
    return np.asarray(there & np.isfinite(covariates[which]).all(1))


def related(
    fields: Fields,
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    tail: str,
    n_draws: int = 0,
    seed: int = 0,
    family: Array | None = None,
) -> tuple[Related, Related]:
    """Mixed-model tests of every row of ``y`` (R, n) on its row of ``x`` (X, n), and of the mean.

    Parameters
    ----------
    fields : Fields
        Rows share the ratios of the variances, and have a scale of their own.
    x, y : array
        Stimuli where either is not finite drop out of that row alone, and of the mean.
    which : int array (R)
        The row of ``x`` that belongs to each row of ``y``.
    covariates : array (X, c, n)
        Fixed effects, by their ranks.
    tail : {"two-sided", "greater", "less"}
    n_draws, seed : int
        Draws of all rows together under the null, for corrections.
    family : int array (R), optional
        Rows of one family count once in the mean.

    Returns
    -------
    each : Related
        Of the rows (R).
    mean : Related
        Of the mean (1) over the rows.
    """
    usable = usable_of(x, y, which, covariates)
    every, common = np.flatnonzero(usable.any(0)), np.flatnonzero(usable.all(0))
    groups = alike_rows(usable, which)
    places = [np.flatnonzero(usable[rows[0]]) for rows in groups]
    for where in (common, *places):
        if _shares(where, every):
            # now, for of many stimuli there is no room for covariances beside the factors of all
            fields.n_effective(where)
    sides_of = partial(_sides, fields, x, y, which, covariates, every)
    null_of = partial(
        _null_scores, n=x.shape[1], count=n_draws, seed=seed, likeness=fields.likeness
    )
    together = sides_of(np.arange(len(y)), common)
    mean = _nothing(1, n_draws)
    if together is not None:
        weighted = together.weighted(family_shares(family, len(y)))
        told = _told(weighted, regress_together, tail)
        sums = [one.sum(1, keepdims=True) for one in weighted.products()]
        drawn = null_of(sums, weighted.among)
        scores = (_normal_scores(p, tail)[None] for p in told[2:4])
        mean = Related(*told, *map(np.concatenate, zip(scores, drawn, strict=True)))
    each = _nothing(len(y), n_draws)
    if len(groups) > 1:
        together = None
    for rows, where in zip(groups, places, strict=True):
        sides = together or sides_of(rows, where)
        if sides is not None:
            found = _told(sides, regress, tail)
            for part, value in zip(each[:5], found, strict=True):
                part[rows] = value
            draws = null_of(sides.products(), sides.among)
            for part, null, p in zip(each[5:], draws, found[2:4], strict=True):
                part[0, rows] = _normal_scores(p, tail)
                part[1:, rows] = null
    return each, mean


def _normal_scores(p: Array, tail: str) -> Array:
    """Normal deviates that p-values are of."""
    below = scipy.special.ndtri(np.maximum(p / 2 if tail == "two-sided" else p, 1e-300))
    return np.asarray(below if tail == "less" else -below)


def _null_scores(
    products: Sequence[Array], where: Array, n: int, count: int, seed: int, likeness: Likeness
) -> list[Array]:
    """Normal deviates (count, r) of each regression, as alike under the null as the rows are.

    ``products`` (m, r) of whitened values are independent over the stimuli ``where`` (m) of n:
    their sums with random normal weights have the covariance of the t of all rows (the multiplier
    bootstrap of Chernozhukov, Chetverikov & Kato 2013, Annals of Statistics 41). Weights are of
    stimuli, the same for every set of rows.
    """
    together = np.concatenate(products, axis=1)
    size = np.sqrt((together**2).sum(0))
    scaled = np.divide(together, size, out=np.full(together.shape, np.nan), where=size > 0)
    blocks = []
    for block in range(-(-count // BLOCK)):
        weights = likeness.drawn((seed, block), partial(_normals, seed, block, n))
        blocks.append((weights if len(where) == n else weights[:, where]) @ scaled)
    drawn = np.concatenate([np.empty((0, together.shape[1])), *blocks])[:count]
    return np.split(drawn, len(products), axis=1)


def _normals(seed: int, block: int, n: int) -> Array:
    """A block of random normal weights (BLOCK, n)."""
    return np.random.default_rng([seed, block]).standard_normal((BLOCK, n))


def tail_of(t: Array, freedom: int, tail: str) -> Array:
    """P-values of t, by the function behind ``scipy.stats.t``, which takes long to get there."""
    if tail == "two-sided":
        return np.asarray(2 * scipy.special.stdtr(freedom, -np.abs(t)))
    return np.asarray(scipy.special.stdtr(freedom, -t if tail == "greater" else t))


def standard_ranks(values: Array) -> Array:
    """Ranks of zero mean and unit variance; 0 throughout where all are equal."""
    ranked = ranks(values)
    gap = ranked - ranked.mean(-1, keepdims=True)
    size = gap.std(-1, keepdims=True)
    return np.asarray(gap / np.where(size > 0, size, 1.0))


class Factors(NamedTuple):
    """Lower Cholesky factors (m, m) of both covariances, and whether these are positive definite.

    Else they have a larger nugget.
    """

    lower: tuple[Array, ...]
    definite: bool


class Fields:
    """The fields of alignment and of dispersion, fitted once; their factors for any stimuli."""

    def __init__(
        self, x: Array, mean: Array, covariates: Array, likeness: Likeness, seed: int
    ) -> None:
        """Fit one field to the mean of the rows of ``x`` (X, n), one to ``mean`` (n).

        ``mean`` is the alignment of all pairs together, ``covariates`` (X, c, n) are fixed effects,
        and ``seed`` says which stimuli are fitted on where there are many.
        """
        self.likeness = likeness
        usable = np.asarray(np.isfinite(covariates).all((0, 1)))
        # one map against itself is one field: its structure alone is asked for
        alike = np.array_equal(mean[None], x, equal_nan=True)
        fitted = [
            _field(maps, covariates.mean(0), usable, likeness, seed)
            for maps in ([x] if alike else [mean[None], x])
        ]
        self.variances = [fitted[0], fitted[-1]]
        self._factors: dict[bytes, Factors] = {}
        self._sizes: dict[bytes, float] = {}

    def factors(self, where: Array) -> Factors:
        """Of the stimuli at ``where`` (m).

        Pairs come by their stimuli, and the mean of all pairs has its own: of few stimuli the last
        two sets are kept, of many one.
        """
        key = where.tobytes()
        if key not in self._factors:
            while len(self._factors) > (len(where) <= KEPT_UP_TO):
                del self._factors[next(iter(self._factors))]
            covariances = self._covariances(where)
            if key not in self._sizes:
                self._sizes[key] = effective_size(*covariances)
            # a covariance goes as its factor comes
            found = [lower_factor(covariances.pop(0)) for _ in (0, 1)]
            lower, added = zip(*found, strict=True)
            self._factors[key] = Factors(lower, not any(added))
        # the one that was asked for last goes last
        self._factors[key] = self._factors.pop(key)
        return self._factors[key]

    def n_effective(self, where: Array) -> float:
        """Independent stimuli that those at ``where`` (m) are worth to both maps."""
        if any(part is None for part in self.variances) or len(where) < LEAST:
            return np.nan
        key = where.tobytes()
        if key not in self._sizes:
            self._sizes[key] = effective_size(*self._covariances(where))
        return self._sizes[key]

    def _covariances(self, where: Array) -> list[Array]:
        return [
            self.likeness.covariance(part, where) for part in self.variances if part is not None
        ]


def field_factor(maps: Array, covariates: Array, likeness: Likeness, seed: int) -> Array | None:
    """Lower factor (n, n) of the field of the mean of maps (R, n), to draw surrogates from.

    None where too few stimuli have a value.
    """
    usable = np.asarray(np.isfinite(covariates).all((0, 1)))
    variances = _field(maps, covariates.mean(0), usable, likeness, seed)
    if variances is None:
        return None
    return lower_factor(likeness.covariance(variances, np.arange(maps.shape[1])))[0]


def _field(
    maps: Array, covariates: Array, usable: Array, likeness: Likeness, seed: int
) -> Array | None:
    """Variances of the field of the mean map; None where too few stimuli have one."""
    count = np.isfinite(maps).sum(0)
    mean = np.nansum(maps, axis=0) / np.maximum(count, 1)
    where = np.flatnonzero(usable & (count > 0))
    design = _design(covariates[:, where])
    fixed = max(design.shape[1], 1)
    if len(where) < fixed + LEAST:
        warnings.warn(
            f"a mixed model with {fixed} fixed effects needs at least "
            f"{fixed + LEAST} stimuli with a value, there are {len(where)}: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return fit(standard_ranks(mean[where]), design, likeness, where, seed)


def _design(covariates: Array) -> Array:
    """What a constant and the ranks of the covariates span (n, at most 1 + c), orthonormal."""
    columns = np.column_stack([np.ones(covariates.shape[1]), *map(standard_ranks, covariates)])
    # by SVD: covariates that repeat each other, or are constant, add nothing
    basis, size, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(basis[:, size > 1e-10 * size.max(initial=0.0)])


def morans(maps: Array, likeness: Likeness, k: int = 10) -> Array:
    """Moran's I (R) of maps (R, n) over the k nearest stimuli of all geometries together.

    Each geometry counts in its own median distances. NaN where nothing says what is near, or too
    few stimuli have a value.
    """
    result = np.full(len(maps), np.nan)
    if not likeness.squares:
        return result
    there = np.isfinite(maps)
    for rows in alike_rows(there, np.zeros(len(maps), np.int64)):
        where = np.flatnonzero(there[rows[0]])
        if len(where) > k + 1:
            lists = _nearest(likeness, where, k)
            result[rows] = moran(ranks(maps[np.ix_(rows, where)]), lists)
    return result


def _nearest(likeness: Likeness, where: Array, k: int) -> Array:
    """The k nearest (m, k) of each of the stimuli at ``where`` (m), among these, in any order."""
    return likeness.nearest(partial(_searched, likeness), where, k)


def _searched(likeness: Likeness, where: Array, k: int) -> Array:
    result = np.empty((len(where), k), np.int64)
    step = max(1, BUDGETS.gather_block // (8 * len(where)))
    for start in range(0, len(where), step):
        rows = where[start : start + step]
        pairs = zip(likeness.squares, likeness.units, strict=True)
        near = np.sum([square[rows][:, where] / unit for square, unit in pairs], axis=0)
        near[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf
        result[start : start + step] = np.argpartition(near, k - 1, axis=1)[:, :k]
    return result


class _Sides(NamedTuple):
    """Whitened maps (m, R) of both regressions, response first; what they rest on.

    ``among`` (m) are the stimuli whose covariance made them independent.
    """

    regressions: list[tuple[Array, Array]]
    freedom: int
    n_effective: float
    among: Array

    def products(self) -> list[Array]:
        """Response times predictor (m, R) of each regression."""
        return [response * predictor for response, predictor in self.regressions]

    def weighted(self, weights: Array) -> _Sides:
        """With these weights (R) of the rows in a sum over them."""
        return self._replace(regressions=[(y * weights, x) for y, x in self.regressions])


def _sides(
    fields: Fields,
    x: Array,
    y: Array,
    which: Array,
    covariates: Array,
    every: Array,
    rows: Array,
    where: Array,
) -> _Sides | None:
    """Rows of y and their x at some stimuli, whitened; None where there is too little.

    ``every`` are the stimuli that any row has. Each of them that a row misses has a fixed effect of
    its own, which fits it whatever its value: the regression is that of the stimuli that the row
    has (Bartlett 1937, Journal of the Royal Statistical Society Supplement 4), and rows share the
    factors.
    """
    if any(part is None for part in fields.variances):
        return None
    if len(where) < covariates.shape[1] + 1 + LEAST:
        return None
    scores = standard_ranks(y[np.ix_(rows, where)])
    targets = standard_ranks(x[np.ix_(which[rows], where)])
    if not (scores.any(1).all() and targets.any(1).all()):
        return None
    among = every if _shares(where, every) else where
    factors = fields.factors(among)
    if not factors.definite:
        # a larger nugget is for the stimuli of a row to need, and not for others
        among = where
        factors = fields.factors(among)
    here = np.isin(among, where)
    white = [np.empty((2, len(among), len(rows))) for _ in range(2)]
    freedom = len(where)
    for source in np.unique(which[rows]):
        mine = which[rows] == source
        maps = [_at(here, one[mine].T) for one in (scores, targets)]
        design = _at(here, _design(covariates[source][:, where]))
        design = np.column_stack([design, _at(~here, np.eye(len(among) - len(where)))])
        for factor, into in zip(factors.lower, white, strict=True):
            into[:, :, mine], left = whiten(factor, design, *maps)
            freedom = min(freedom, left)
    regressions = [(white[0][0], white[0][1]), (white[1][1], white[1][0])]
    return _Sides(regressions, freedom, fields.n_effective(where), among)


def _shares(where: Array, every: Array) -> bool:
    """Whether stimuli at ``where`` are nearly every one, and not all."""
    return 0 < len(every) - len(where) <= FEW_MISSING * len(every)


def _at(here: Array, values: Array) -> Array:
    """Values (m, c) of the stimuli that are ``here`` (n), among zeros (n, c)."""
    result = np.zeros((len(here), values.shape[1]))
    result[here] = values
    return result


def _told(sides: _Sides, by: Callable[[Array, Array, int], Array], tail: str) -> list[Array]:
    """Both t, both p, and the effective number, of every row."""
    t = [np.atleast_1d(by(*maps, sides.freedom)) for maps in sides.regressions]
    p = [tail_of(one, sides.freedom, tail) for one in t]
    return [*t, *p, np.full(len(t[0]), sides.n_effective)]


def _nothing(size: int, n_draws: int) -> Related:
    single = (np.full(size, np.nan) for _ in range(5))
    return Related(*single, *(np.full((1 + n_draws, size), np.nan) for _ in range(2)))
