"""How sure a mean over pairs of models is, where stimuli and the models of both sides are a sample.

A mean over pairs can be off in three ways: other stimuli, other models on side a, other models on
side b. The three variances add up. What other stimuli do comes from an *influence*: what each
stimulus adds to a statistic, on a scale on which its sample variance over stimuli / n is the
variance of the statistic, as it is for a mean. All influences here are those of the jackknife.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.bins import contrasts, in_bins
from xconverge.kernels.correlation import Method, ranks
from xconverge.kernels.groups import alike_rows, table_mean, table_means
from xconverge.kernels.model_comparison import jackknifed, vector
from xconverge.kernels.ranks import Rows, residual_ranks
from xconverge.kernels.rdm import square
from xconverge.kernels.vectors import Array

LEAST = 5
"""Effective stimuli below which no interval can be told."""


class Crossed(NamedTuple):
    """Standard error and interval of a mean over pairs, and the variances that make the error.

    ``freedom`` is that of the Student's t by which the ends lie that many errors off.
    """

    error: float
    lower: float
    upper: float
    freedom: float
    variance_stimulus: float
    variance_a: float
    variance_b: float


def crossed(
    values: Array,
    influence: Array,
    n_effective: float,
    of_a: Array,
    of_b: Array,
    level: float = 0.95,
) -> Crossed:
    """Interval of the mean over pairs for other stimuli, and other models of both sides.

    Parameters
    ----------
    values : array (A, B)
        Of every pair; NaN ones drop out. The mean is ``table_mean``: every family counts once.
    influence : array (A, B, n)
        What each stimulus adds to each value; NaN where it adds nothing. All NaN is not known.
    n_effective : float
        Independent stimuli that those with an influence are worth, no more than there are. Of the
        map that is the mean over pairs: single pairs, with noise of their own, are worth more
        stimuli than their mean is, and the interval would be too short.
    of_a, of_b : int array (A) and (B)
        Numbers of the families of the models, from 0. A side of one family is taken as it is.
    level : float

    Returns
    -------
    Crossed
        NaN for fewer than ``LEAST`` effective stimuli, where no pair has a value, or where the
        influence on one is not known.

    Notes
    -----
    Means of families differ for the stimuli alone, which are counted already: what they differ by
    is taken out of the variance over families. How many effective stimuli that part is worth is
    not known, and it is taken for that of independent ones: too little goes rather than too much.

    The interval reaches √Σ t²V, Student's t of every part by its own degrees of freedom. With
    independent parts it holds at least its level, whatever their shares (Banerjee 1960, Sankhyā
    22). Satterthwaite's degrees of freedom do not where few models make the largest part: 95 %
    intervals held in 90 to 93 of 100 for two models a side.
    """
    there = ~np.isnan(values)
    used = (np.isfinite(influence) & there[..., None]).any((0, 1))
    unknown = there & ~np.isfinite(influence).any(-1)
    if not there.any() or unknown.any() or not n_effective >= LEAST:
        return Crossed(*np.full(len(Crossed._fields), np.nan))
    n_effective = min(n_effective, float(used.sum()))
    added = np.moveaxis(np.nan_to_num(influence[..., used]), -1, 0)
    added = np.where(there, added - added.mean(0), np.nan)
    means, moved = table_means(values, of_a, of_b), table_means(added, of_a, of_b)
    sides = [_family_variance(*(_row_means(x) for x in (means, moved)))]
    sides.append(_family_variance(*(_row_means(np.swapaxes(x, -1, -2)) for x in (means, moved))))
    whole = np.nanmean(moved, (-2, -1))
    parts = np.array([whole.var(ddof=1) / n_effective, *(variance for variance, _ in sides)])
    freedom = np.array([n_effective - 1, *(freedom for _, freedom in sides)])
    error = float(np.sqrt(parts.sum()))
    reach = float(np.sqrt((scipy.special.stdtrit(freedom, (1 + level) / 2) ** 2 * parts).sum()))
    mean = float(table_mean(values, of_a, of_b))
    return Crossed(
        error, mean - reach, mean + reach, _freedom_of(error, reach, freedom, level), *parts
    )


def _row_means(table: Array) -> Array:
    """Means (…, G) of the rows of a table (…, G, H) that have a value."""
    some = ~np.isnan(table).all(-1).reshape(-1, table.shape[-2]).all(0)
    return np.asarray(np.nanmean(table[..., some, :], -1))


def _family_variance(means: Array, moved: Array) -> tuple[float, float]:
    """Variance of the mean of families (G), less what stimuli make of it (n, G), and its freedom.

    0 with a single family.
    """
    n, count = moved.shape
    if count < 2:
        return 0.0, 1.0
    by_stimuli = moved.var(1, ddof=1).sum() / (n * (n - 1))
    return float(max(means.var(ddof=1) - by_stimuli, 0.0) / count), count - 1.0


def _freedom_of(error: float, reach: float, freedom: Array, level: float) -> float:
    """Degrees of freedom of the t that ``reach`` is of ``error``."""
    if error == 0:
        return float(freedom[0])
    found = scipy.special.stdtridf((1 + level) / 2, reach / error)
    return float(np.clip(found, freedom.min(), freedom.max()))


def influence(x: Array, y: Array, which: Array, covariates: Array) -> Array:
    """What each stimulus adds to the Spearman correlation of every row, as ``rank_correlations``.

    Parameters
    ----------
    x, y, which, covariates
        As in ``rank_correlations``.

    Returns
    -------
    float array (R, n)
        NaN for stimuli that a row does not use, and for rows without a correlation, or without one
        when some stimulus is left out. n counts the stimuli that some row uses.
    """
    rows = residual_ranks(x, y, which, covariates)
    defined = np.flatnonzero(~np.isnan(rows.correlation))
    result = np.full(y.shape, np.nan)
    n = int(rows.usable[defined].any(0).sum())
    for alike in alike_rows(rows.usable[defined], which[defined]):
        numbers = defined[alike]
        there, i = rows.usable[numbers[0]], which[numbers[0]]
        values = x[i, there], y[np.ix_(numbers, there)]
        own = Rows(*(part[numbers] for part in rows))
        result[np.ix_(numbers, there)] = _of_rows(own, there, n, values)
    return result


def _of_rows(rows: Rows, there: Array, n: int, values: tuple[Array, Array]) -> Array:
    """Influence (r, m) of the stimuli ``there`` (n), made from ``values`` (m) and (r, m).

    The rows have the target and these stimuli in common.
    """
    u, v, r = rows.target[:, there], rows.score[:, there], rows.correlation[:, None]
    m = u.shape[1]
    # unit norm and mean 0: without stimulus i, Σ uv - (Σ u)(Σ v) / (m - 1) = r - u v m / (m - 1)
    share = m / (m - 1)
    squares = np.maximum((1 - share * u * u) * (1 - share * v * v), 0.0)
    without = np.divide(
        r - share * u * v, np.sqrt(squares), out=np.full(v.shape, np.nan), where=squares > 1e-12
    )
    # the same ranks without i, and then what r loses when the others are ranked anew, to first
    # order: without it errors are 1 % too small at r = 0, 3 % at 0.6 and 10 % at 0.9
    without -= _ranked_anew(values[0][None], u, v - r * u) + _ranked_anew(values[1], v, u - r * v)
    # residuals are smaller than errors: covariates take degrees of freedom
    left = m - 1 - int(rows.explained[0])
    taken = (m - 1) / left if left > 0 else np.nan
    return np.asarray(jackknife_influence(without, n) * np.sqrt(taken))


def _ranked_anew(values: Array, side: Array, slope: Array) -> Array:
    """Loss (r, m) of a correlation as each of the ``values`` goes and ranks above it fall by one.

    Those that are equal to it fall by a half. ``values`` are (r, m), or (1, m) for all rows;
    ``slope`` (r, m) is what the correlation gains by a larger ``side`` (r, m), of which the
    residual ranks are a multiple.
    """
    count, m = slope.shape
    ranked = ranks(values)
    # what covariates took from the ranks is orthogonal to the residual: this is its length
    length = np.vecdot(ranked, side)[:, None]
    # mean ranks are whole or half: equal values share twice their rank
    number = np.broadcast_to((2 * ranked).astype(np.int64), (count, m))
    place = number + np.arange(count)[:, None] * (2 * m + 1)
    sums = np.bincount(place.ravel(), slope.ravel(), count * (2 * m + 1)).reshape(count, -1)
    above = sums.sum(1, keepdims=True) - np.cumsum(sums, axis=1)
    lost = np.take_along_axis(above, number, 1)
    lost += (np.take_along_axis(sums, number, 1) - slope) / 2
    return np.asarray(lost / length)


def jackknife_influence(without: Array, n: int) -> Array:
    """Influence (…, m), of n stimuli in all, of values (…, m) without each of m stimuli.

    Its sum of squares / (n (n - 1)) is the jackknife's variance, (m - 1) / m Σ (θ_i - θ̄)².
    """
    m = without.shape[-1]
    return np.asarray(
        (without.mean(-1, keepdims=True) - without) * np.sqrt((m - 1) / m * n * (n - 1))
    )


def contrast_influence(scores: Array, low: Array, high: Array) -> Array:
    """What each stimulus adds to the mean score (…) among the low stimuli less that of the high.

    Parameters
    ----------
    scores : array (…, n)
        NaN ones drop out of their row.
    low, high : bool array (n)
        Which stimuli; none is both.

    Returns
    -------
    float array (…, n)
        NaN for stimuli of neither, and for rows that have fewer than two scores at an end. n counts
        the stimuli of both: `crossed` wants the effective number of these.
    """
    n = int(low.sum() + high.sum())
    result = np.full(scores.shape, np.nan)
    defined = np.ones(scores.shape[:-1], bool)
    for sign, end in ((1, low), (-1, high)):
        part = scores[..., end]
        there = ~np.isnan(part)
        size = there.sum(-1, keepdims=True)
        defined &= size[..., 0] >= 2
        mean = np.where(there, part, 0.0).sum(-1, keepdims=True) / np.maximum(size, 1)
        # as of jackknife_influence: the sum of squares / (n (n - 1)) is the variance of the mean
        result[..., end] = (
            sign * (part - mean) * np.sqrt(n * (n - 1) / np.maximum(size * (size - 1), 1))
        )
    result[~defined] = np.nan
    return result


def bin_influence(a: Array, b: Array, bins: Array, method: Method) -> tuple[Array, Array]:
    """The contrasts (2) of the RSA by bin, and what each stimulus adds to them (2, n).

    Parameters
    ----------
    a, b, bins, method
        As in ``contrast_test``: RDMs (n, n), and the bin (n) of each stimulus, negative for none.

    Returns
    -------
    contrasts : float array (2)
        Least-squares slope over bins, and lowest less highest bin.
    influence : float array (2, n)
        NaN for stimuli without a bin or a distance; all NaN where there is no contrast. Ranks are
        those of all stimuli of the bin, as ``jackknifed`` has them, but for Kendall's tau.
    """
    here = ~(np.isnan(a).all(1) | np.isnan(b).all(1)) & (bins >= 0)
    numbers = np.unique(bins[bins >= 0])
    none = np.full(2, np.nan), np.full((2, len(bins)), np.nan)
    if len(numbers) < 2:
        return none
    own = np.where(here, np.searchsorted(numbers, bins), -1)
    values, added = np.full(len(numbers), np.nan), np.full(len(bins), np.nan)
    for number in range(len(numbers)):
        inside = np.flatnonzero(own == number)
        # three distances are the least that correlate, and so many must be left
        if len(inside) < 4:
            return none
        block = np.ix_(inside, inside)
        values[number], without = _with_and_without(a[block], b[block], method)
        added[inside] = jackknife_influence(without, int(here.sum()))
    if np.isnan(added[here]).any():
        return contrasts(values, numbers), none[1]
    weights = contrasts(np.eye(len(numbers)), numbers)
    return contrasts(values, numbers), np.where(here, weights[:, own] * added, np.nan)


def _with_and_without(a: Array, b: Array, method: Method) -> tuple[float, Array]:
    """Similarity of two RDMs (m, m), and without each stimulus (m)."""
    m = len(a)
    if method.vector is not None:
        x, y = (square(vector(rdm, method), m) for rdm in (a, b))
        return jackknifed(x, y, method)
    left_out = np.where(np.eye(m, dtype=bool), -1, 0)
    without = np.concatenate([in_bins(a, b, bins, 1, method) for bins in left_out])
    return float(in_bins(a, b, np.zeros(m, int), 1, method)[0]), without
