"""Distances that measurement noise does not lift: products of independent measurements alone.

X_iu is the sum of the trials of stimulus i in unit u (a repetition, a run), c_iu how many they are:

    G_ij = Σ_{u≠v} X_iu · Σ⁻¹ X_jv / Σ_{u≠v} c_iu c_jv,    d_ij = G_ii + G_jj - 2 G_ij.

Noise that is independent between units has mean 0 in G, so that d is unbiased, and as often below 0
as above where two stimuli do not differ. For complete data it is the mean of (x_i - x_j)^u · Σ⁻¹
(x_i - x_j)^v over all u ≠ v. Walther et al. (2016); Diedrichsen et al. (2020) for unequal numbers.

With S_i = Σ_u X_iu the sum over u ≠ v is S_i · S_j - Σ_u X_iu · X_ju: symmetric products, which
take half of what others take, and one matrix (n, n). Where all units have all stimuli there are U
of them: Σ_u X_u X_u' = S S' / U + Σ_k H_k H_k', H the U - 1 orthonormal contrasts of the units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels import noise_covariance as noises
from xconverge.kernels.blocks import over_blocks
from xconverge.kernels.rounding import exponent_of, held, of_columns, relative, scaled
from xconverge.kernels.vectors import Array, RowError, present, working_dtype

ESTIMATED = ("diagonal", "shrinkage", "shrinkage_same_trials", "shrinkage_eye", "shrinkage_diag")
"""Covariances of noise that are made of the trials themselves."""


class Trials(NamedTuple):
    """Trials (n, R, p) in double, zero where not ``seen`` (n, R), divided by 2^exponent."""

    rows: Array
    seen: Array
    exponent: int
    unit: np.dtype[Any]


def trials(x: Array, width: int) -> Trials:
    """The real features of the trials of one model (R, n, F); RowError names stimuli (k, 1)."""
    rows = np.array(np.swapaxes(x[..., :width], 0, 1), np.float64, order="C")  # always a copy
    n, repetitions, _ = rows.shape
    try:
        seen = present(rows.reshape(n * repetitions, width)).reshape(n, repetitions)
    except RowError as error:
        where = np.unique(error.where // repetitions)[:, None]
        raise RowError(error.reason, where) from None
    rows[~seen] = 0.0
    exponent = exponent_of(rows)
    return Trials(scaled(rows, -exponent), seen, exponent, x.dtype)


class Units(NamedTuple):
    """Sums of trials of each independent unit: rows (n_u, p) of the stimuli ``where`` (n_u) in it.

    Rows may be views, and are not to be changed. ``counts`` (n, U): trials of each stimulus in it.
    """

    rows: list[Array]
    where: list[Array]
    counts: Array

    def among(self, stimuli: Array) -> Units:
        """The same of these stimuli (k), which ascend; units that have none of them are gone."""
        if len(stimuli) == len(self.counts):
            return self
        place = np.full(len(self.counts), -1)
        place[stimuli] = np.arange(len(stimuli))
        counts = self.counts[stimuli]
        rows, where = [], []
        for own, at in zip(self.rows, self.where, strict=True):
            keep = place[at] >= 0
            if keep.any():
                rows.append(own[keep])
                where.append(place[at[keep]])
        return Units(rows, where, counts[:, counts.any(0)])

    def mapped(self, change: Any) -> Units:
        """The same with other rows."""
        return self._replace(rows=[change(rows) for rows in self.rows])

    @property
    def balanced(self) -> bool:
        """Whether every stimulus has as many trials as the others in each unit."""
        return bool((self.counts == self.counts[:1]).all())

    def total(self) -> Array:
        """Sums (n, p) over all units."""
        result = np.zeros((len(self.counts), self.rows[0].shape[1]), self.rows[0].dtype)
        for rows, where in zip(self.rows, self.where, strict=True):
            result[where] += rows
        return result

    def weights(self, part: slice) -> Array:
        """Pairs of trials of different units (k, n) of stimuli in a part with all others."""
        counts = self.counts.astype(np.float64)
        own = counts[part]
        return np.asarray(np.multiply.outer(own.sum(1), counts.sum(1)) - own @ counts.T)


def by_unit(found: Trials, units: Array) -> Units:
    """Sums over the trials of each unit; ``units`` (n, R) are their numbers."""
    rows, seen = found.rows, found.seen
    sums, where = [], []
    numbers = np.unique(units[seen])
    counts = np.zeros((len(rows), len(numbers)), np.int64)
    for column, number in enumerate(numbers):
        mine = seen & (units == number)
        counts[:, column] = mine.sum(1)
        place = np.flatnonzero(counts[:, column])
        trial = mine[place].argmax(1)
        if (counts[place, column] > 1).any():
            sums.append(np.einsum("nr,nrp->np", mine[place].astype(np.float64), rows[place]))
        elif len(place) == len(rows) and (trial == trial[0]).all():
            sums.append(rows[:, trial[0]])  # a view: complete trials are the bulk of what is held
        else:
            sums.append(rows[place, trial])
        where.append(place)
    return Units(sums, where, counts)


class Found(NamedTuple):
    """Distances (n, n); stimuli of which one unit alone was measured, or that have no direction."""

    rdm: Array
    lone: Array
    undirected: Array


def distances(
    found: Trials,
    units: Array,
    metric: str,
    noise: Array | str | None = None,
    folds: Array | None = None,
) -> Found:
    """Unbiased distances of the trials of one model; NaN where a stimulus has none.

    ``units`` (n, R) are numbers of independent units. ``metric`` is crossnobis (divided by the
    number of features), sqeuclidean, cosine or correlation. ``noise`` goes with crossnobis: a
    covariance (p, p), one of ESTIMATED, or None; for ``shrinkage``, ``folds`` (n) of stimuli.
    Single precision for features of up to 4 bytes.
    """
    n, _, width = found.rows.shape
    parts = by_unit(found, units)
    measured = (parts.counts > 0).sum(1)
    used = np.flatnonzero(measured > 1)
    lone = np.flatnonzero(measured == 1)
    dtype = working_dtype(found.unit)
    result = np.full((n, n), np.nan, dtype)
    if not len(used):
        return Found(result, lone, used[:0])
    mine = parts.among(used)
    if metric in ("cosine", "correlation"):
        values, flat = _directions(mine, metric, relative(found.unit, width))
        result[np.ix_(used, used)] = values
        return Found(result, lone, used[flat])
    values = _former(found, folds, used, metric, noise, dtype)(mine)
    if len(used) == n:
        return Found(values, lone, used[:0])
    result[np.ix_(used, used)] = values
    return Found(result, lone, used[:0])


class UnitRdms:
    """Crossnobis RDMs (n, n) of some of the units of one model, in the metric of all its trials.

    One Σ for all of them: of few trials its inverse is too large, of fewer more so, and RDMs of
    parts that had their own would be of another scale than that of the whole. The other arguments
    are those of ``distances``; RDMs are in double precision.
    """

    def __init__(
        self,
        found: Trials,
        units: Array,
        noise: Array | str | None = None,
        folds: Array | None = None,
    ) -> None:
        self.n = len(found.rows)
        self.parts = by_unit(found, units)
        every = np.arange(self.n)
        self.form = _former(found, folds, every, "crossnobis", noise, np.dtype(np.float64))

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.parts.rows)

    def rdm(self, chosen: Array) -> Array:
        """Of the units ``chosen`` (U); NaN for stimuli that fewer than two of them have."""
        where = np.flatnonzero((self.parts.counts[:, chosen] > 0).sum(1) > 1)
        some = Units(
            [self.parts.rows[u] for u in np.flatnonzero(chosen)],
            [self.parts.where[u] for u in np.flatnonzero(chosen)],
            self.parts.counts[:, chosen],
        )
        return self._wide(some.among(where), where)

    def differences(self) -> Iterator[tuple[Array, Array]]:
        """Of every pair of units: the RDM of the two, and what has its noise alone.

        With δ_u the difference of two stimuli in unit u, the distance is δ_1 · Σ⁻¹ δ_2, and the
        second (|δ_1|² - |δ_2|²) / 2 in the metric of Σ. That has no signal, and for normal noise of
        one size in both units the variance, and covariance with other pairs of stimuli, that the
        noise of the distance has: δ_1 · δ_2 is such a difference too, of (δ_1 ± δ_2) / √2.
        """
        for pair in combinations(range(self.count), 2):
            both = np.flatnonzero((self.parts.counts[:, pair] > 0).all(1))
            one, other = (self._wide(_twice(self.parts, unit).among(both), both) for unit in pair)
            yield self.rdm(np.isin(np.arange(self.count), pair)), (one - other) / 2

    def _wide(self, units: Units, where: Array) -> Array:
        result = np.full((self.n, self.n), np.nan)
        if len(where):
            result[np.ix_(where, where)] = self.form(units, where)
        return result


def _twice(parts: Units, unit: int) -> Units:
    """One unit as two that are equal: their distances are those of the unit, noise and all."""
    return Units([parts.rows[unit]] * 2, [parts.where[unit]] * 2, parts.counts[:, [unit, unit]])


def _former(
    found: Trials,
    folds: Array | None,
    used: Array,
    metric: str,
    noise: Array | str | None,
    dtype: Any,
) -> Callable[..., Array]:
    """What makes distances (k, k) of units of k stimuli, by default those ``used``."""
    power = 0 if isinstance(noise, str) else 2 * found.exponent
    share = 1 / found.rows.shape[2] if metric == "crossnobis" else 1.0
    if isinstance(noise, str) and noise == "shrinkage":
        assert folds is not None
        away = noises.residuals(found.rows, found.seen, of_columns(found.unit))
        # one covariance at a time: those of all pairs of folds may be large
        return lambda units, where=used: _outside_folds(
            units, folds[where], noises.shrunk_outside(away, folds, folds[where]), share, dtype
        )
    lower = _lower(found, noise)
    return lambda units, where=used: _whole(units, lower, share, power, dtype)


def _lower(found: Trials, noise: Array | str | None) -> Array | None:
    """What whitens rows: the lower factor (p, p) of Σ, standard deviations (p), or nothing."""
    if noise is None:
        return None
    if not isinstance(noise, str):
        return noises.factor(noises.checked(noise))
    away = noises.residuals(found.rows, found.seen, of_columns(found.unit))
    if noise == "diagonal":
        return np.sqrt(noises.variances(away))
    if noise == "shrinkage_diag":
        return noises.factor(noises.shrunk_diagonal(away))
    return noises.factor(noises.shrunk_eye(away))


def _whole(units: Units, lower: Array | None, share: float, power: int, dtype: Any) -> Array:
    """Distances (n, n) of all stimuli in one metric, times ``share`` and 2^power."""
    balanced = units.balanced
    single = balanced and dtype == np.float32

    def prepared(rows: Array) -> Array:
        if balanced:
            # d is made of differences inside a unit, which have the same weights for all stimuli:
            # the mean of a unit goes, and with it the digits that it would cost
            rows = rows - rows.mean(0)
        if lower is None:
            return rows
        return rows / lower if lower.ndim == 1 else noises.whitened(rows, lower)

    units = units.mapped(prepared)
    if single:
        exponent = max(exponent_of(rows, 30) for rows in units.rows)
        power += 2 * exponent
        units = units.mapped(lambda rows: scaled(rows, -exponent).astype(np.float32))
    products = crossed(units)
    off = _rounding(units)
    values = _differences(products, units, off, share)
    return values if not power and values.dtype == dtype else held(values, power, dtype)


def _rounding(units: Units) -> Array:
    """How far G_ii (n) are off by rounding: of as many products of rows of these norms."""
    eps = float(np.finfo(units.rows[0].dtype).eps)
    terms = units.rows[0].shape[1] * len(units.rows)
    # |S|² ≤ U Σ |X_u|²
    return np.asarray(relative(eps, terms) * (1 + len(units.rows)) * _squares(units))


def _squares(units: Units) -> Array:
    """Σ_u |X_u|² (n)."""
    result = np.zeros(len(units.counts))
    for rows, where in zip(units.rows, units.where, strict=True):
        result[where] += np.vecdot(rows, rows)
    return result


def crossed(units: Units) -> Array:
    """Σ_{u≠v} X_u X_v' (n, n), symmetric to the bit, of at least two units."""
    n, count = len(units.counts), len(units.rows)
    syrk: Any = scipy.linalg.get_blas_funcs("syrk", (units.rows[0],))
    # BLAS counts along columns: rows in our order are columns in its own, and nothing is copied
    if all(len(where) == n for where in units.where):
        total = np.array(units.rows[0], order="C")
        contrast, result = np.empty_like(total), None
        for k, own in enumerate(units.rows[1:], 1):
            # a unit less the mean of those before it, of unit length
            np.multiply(own, -k, out=contrast)
            contrast += total
            contrast /= np.sqrt(k * (k + 1)).astype(total.dtype)
            total += own
            before: Any = {} if result is None else {"beta": 1.0, "c": result, "overwrite_c": 1}
            result = syrk(-1.0, contrast.T, trans=1, **before)
        result = syrk(1 - 1 / count, total.T, beta=1.0, c=result, trans=1, overwrite_c=1)
        return _mirrored(result.T)
    result = syrk(1.0, units.total().T, trans=1)
    for rows, where in zip(units.rows, units.where, strict=True):
        result[np.ix_(where, where)] -= rows @ rows.T
    return _mirrored(result.T)


def _mirrored(lower: Array) -> Array:
    """The symmetric matrix of its lower triangle, in place, block by block."""
    step = 256
    for start in range(0, len(lower), step):
        end = min(start + step, len(lower))
        lower[start:end, end:] = lower[end:, start:end].T
        block = lower[start:end, start:end]
        upper = np.triu_indices(len(block), 1)
        block[upper] = block.T[upper]
    return lower


def _differences(products: Array, units: Units, off: Array, share: float) -> Array:
    """G_ii + G_jj - 2 G_ij in place of sums of products, times ``share``; 0 where rounding is."""
    n = len(products)
    own_weights = _own_weights(units)
    own = (np.diagonal(products) / own_weights).astype(products.dtype)
    off = (off / own_weights).astype(products.dtype)
    balanced = units.balanced
    share = products.dtype.type(share)

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            block = products[part]
            block *= -2
            block /= own_weights[0].astype(products.dtype) if balanced else units.weights(part)
            block += own[part, None] + own
            # the largest of others bounds it: most blocks have nothing that small
            least = np.abs(block).min(initial=np.inf) if n else np.inf
            if least <= 2 * off.max(initial=0.0):
                block[np.abs(block) <= off[part, None] + off] = 0.0
            block *= share

    over_blocks(work, n, products.itemsize * n)
    np.fill_diagonal(products, 0.0)
    return products


def _own_weights(units: Units) -> Array:
    counts = units.counts.astype(np.float64)
    return np.asarray(counts.sum(1) ** 2 - (counts**2).sum(1))


def _outside_folds(
    units: Units,
    folds: Array,
    covariances: Iterable[tuple[int, int, Array]],
    share: float,
    dtype: Any,
) -> Array:
    """Distances (n, n), those of stimuli of the folds f and g in the metric of their own Σ."""
    n = len(folds)
    result = np.empty((n, n), dtype)
    for f, g, covariance in covariances:
        some = np.flatnonzero((folds == f) | (folds == g))
        values = _whole(units.among(some), noises.factor(covariance), share, 0, dtype)
        one, other = (np.flatnonzero(folds[some] == fold) for fold in (f, g))
        block = values[np.ix_(one, other)]
        result[np.ix_(some[one], some[other])] = block
        result[np.ix_(some[other], some[one])] = block.T
    return result


def _directions(units: Units, metric: str, stored: float) -> tuple[Array, Array]:
    """1 - G_ij / √(G_ii G_jj) (n, n), and the stimuli whose G_ii are not positive: NaN."""
    whole = _squares(units)
    if metric == "correlation":
        units = units.mapped(lambda rows: rows - rows.mean(1, keepdims=True))
    products = crossed(units)
    own_weights = _own_weights(units)
    square = np.diagonal(products) / own_weights
    # a row that is constant but for rounding has no direction, but that of the rounding
    off = (_rounding(units) + stored**2 * whole) / own_weights
    positive = square > off
    norm = np.sqrt(np.where(positive, square, np.nan))

    def work(parts: Sequence[slice]) -> None:
        for part in parts:
            block = products[part]
            block /= units.weights(part)
            block /= np.multiply.outer(norm[part], norm)
            np.subtract(1.0, block, out=block)

    over_blocks(work, len(products), products.itemsize * len(products))
    where = np.flatnonzero(positive)
    products[where, where] = 0.0
    return products, np.flatnonzero(~positive)
