"""How reliable trials are: patterns of stimuli, responses of features, RDMs, from split halves.

Patterns and responses are means over the trials of a half, whose noise falls with their number, so
that Spearman and Brown's formula tells of all trials. That of an unbiased RDM falls faster: with
D_1, D_2 the RDMs of both halves and D that of all trials, over pairs of stimuli,

    reliability = mean over splits of cov(D_1, D_2) / var D,

the share of var D that is not noise; its root is what a model without noise that is right would
reach. An unbiased RDM of a half needs two units. Of two or three units in all, the covariance is

    mean over pairs u, v of units of var D_uv - var Q_uv

(``crossnobis.UnitRdms``): Q is what the units differ by, and its variance that of the noise
of D_uv where noise is normal, and of one size in all units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy

from xconverge.kernels.crossnobis import Trials, UnitRdms, Units, by_unit
from xconverge.kernels.noise_correction import LEAST_REPETITIONS, LEAST_STIMULI, error_of
from xconverge.kernels.rounding import relative
from xconverge.kernels.split_half import halves, spearman_brown
from xconverge.kernels.vectors import Array

LEAST_UNITS = 2
"""Independent measurements that anything can be told of."""
LEAST_VALUES = 4
"""Values that correlate, so that three are left without one."""
ALMOST_ONE = 1 - 1e-12


class Reliability(NamedTuple):
    """Mean correlation r of the halves, the reliability of the whole, ends of its interval."""

    half_correlation: Array
    reliability: Array
    lower: Array
    upper: Array

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Reliability:
        """Of what nothing can be told."""
        return cls(*(np.full(shape, np.nan) for _ in cls._fields))


def n_units(found: Trials, units: Array) -> int:
    """Units that have trials."""
    return len(np.unique(units[found.seen]))


class _Sums:
    """Mean over splits of values (k), and of those without each of m others (k, m)."""

    def __init__(self, k: int, m: int) -> None:
        self.value, self.count = np.zeros(k), np.zeros(k)
        self.without, self.used = np.zeros((k, m)), np.zeros((k, m), bool)

    def add(self, where: Array, others: Array, value: Array, without: Array) -> None:
        """Values of ``where``, and without each of ``others``: the rest changes them not."""
        some = ~np.isnan(value)
        where, value = where[some], value[some]
        wide = np.repeat(value[:, None], self.used.shape[1], 1)
        wide[:, others] = without[some]
        self.value[where] += value
        self.count[where] += 1
        self.without[where] += wide
        self.used[np.ix_(where, others)] = True

    def means(self) -> tuple[Array, Array]:
        """Both; NaN where no split has a value, and without what no split uses."""
        count = np.where(self.count > 0, self.count, np.nan)
        without = np.where(self.used, self.without / count[:, None], np.nan)
        return self.value / count, without


def patterns(
    found: Trials,
    units: Array,
    kind: str,
    bins: Array | None,
    n_bins: int,
    seed: int,
    n_splits: int,
    level: float,
) -> Reliability:
    """Of the mean patterns of ``kind`` stimulus (n), or responses of features (p).

    Means of a half less their mean over stimuli, which is of no stimulus. ``units`` (n, R) are the
    numbers of independent units; ``bins`` (n) sort stimuli: then (n_bins) of stimuli, the mean over
    those of a bin, and (n_bins, p) of features. A stimulus is correlated over features, a feature
    over stimuli (of its bin), and the interval is a jackknife over what it is correlated over,
    or over the stimuli of a bin.
    """
    parts = by_unit(found, units)
    n, width = len(found.rows), found.rows.shape[2]
    splits = halves(np.arange(len(parts.rows)), seed, n_splits)
    share = splits[0].mean() if len(splits) else 0.5
    if kind == "feature":
        some = [np.arange(n)] if bins is None else _members(bins, n_bins)
        each = [
            _interval(*_responses(parts, one, splits, found.unit), level, share) for one in some
        ]
        stacked = Reliability(*(np.stack(part) for part in zip(*each, strict=True)))
        return stacked if bins is not None else Reliability(*(part[0] for part in stacked))
    sums = _Sums(n, width)
    for half in splits:
        here, one, other = _means(parts, half, np.arange(n))
        sums.add(here, np.arange(width), *_correlated(one, other, found.unit))
    value, without = sums.means()
    if bins is None:
        return _interval(value, without, level, share)
    mean, left = np.full(n_bins, np.nan), np.full((n_bins, n), np.nan)
    for number, inside in enumerate(_members(bins, n_bins)):
        inside = inside[~np.isnan(value[inside])]
        if len(inside):
            mean[number] = value[inside].mean()
        if len(inside) > 1:
            left[number, inside] = (value[inside].sum() - value[inside]) / (len(inside) - 1)
    return _interval(mean, left, level, share)


def _members(bins: Array, n_bins: int) -> list[Array]:
    return [np.flatnonzero(bins == number) for number in range(n_bins)]


def _responses(
    parts: Units, some: Array, splits: Array, unit: np.dtype[Any]
) -> tuple[Array, Array]:
    """Mean correlation of features (p) over ``some`` stimuli, and without each stimulus (p, n)."""
    width = parts.rows[0].shape[1]
    sums = _Sums(width, len(parts.counts))
    for half in splits:
        here, one, other = _means(parts, half, some)
        sums.add(np.arange(width), here, *_correlated(one.T, other.T, unit))
    return sums.means()


def _means(parts: Units, half: Array, some: Array) -> tuple[Array, Array, Array]:
    """Those of some stimuli that both halves of the units have, and their means (k, p).

    Means of a half are less their mean over these stimuli.
    """
    there = parts.counts[some] > 0
    both = some[there[:, half].any(1) & there[:, ~half].any(1)]
    means = []
    for side in (half, ~half):
        total = np.zeros((len(parts.counts), parts.rows[0].shape[1]))
        for number in np.flatnonzero(side):
            total[parts.where[number]] += parts.rows[number]
        mean = total[both] / parts.counts[np.ix_(both, side)].sum(1)[:, None]
        means.append(mean - mean.mean(0) if len(both) else mean)
    return both, means[0], means[1]


def _correlated(x: Array, y: Array, unit: np.dtype[Any]) -> tuple[Array, Array]:
    """Correlation of rows (k, m), and without each entry (k, m); NaN where one does not vary.

    Of rows without their means Σxy without entry i, and with the means of the others, is
    Σxy - x_i y_i m / (m - 1).
    """
    k, m = x.shape
    if m < LEAST_VALUES:
        return np.full(k, np.nan), np.full((k, m), np.nan)
    off = [relative(unit, m) ** 2 * np.vecdot(side, side) for side in (x, y)]
    x, y = (side - side.mean(1, keepdims=True) for side in (x, y))
    own = m / (m - 1)
    xy, xx, yy = np.vecdot(x, y), np.vecdot(x, x), np.vecdot(y, y)
    some = (xx > off[0]) & (yy > off[1])
    value = np.divide(xy, np.sqrt(xx * yy), out=np.full(k, np.nan), where=some)
    cross = xy[:, None] - own * x * y
    squares = [whole[:, None] - own * side**2 for whole, side in ((xx, x), (yy, y))]
    # what an entry alone makes vary is rounding without it
    left = (squares[0] > 1e-12 * xx[:, None]) & (squares[1] > 1e-12 * yy[:, None])
    size = np.sqrt(np.where(left, squares[0] * squares[1], 1.0))
    without = np.where(left, cross / size, value[:, None])
    return np.clip(value, -1, 1), np.clip(without, -1, 1)


def _interval(value: Array, without: Array, level: float, share: float) -> Reliability:
    """Of mean correlations (k), and without each (k, m), NaN for what is not used.

    Student's t of the jackknife of arctanh r, whose ends are then those of the whole: Spearman and
    Brown's curve rises.
    """
    used = ~np.isnan(without)
    m = used.sum(1)
    z, left = (np.arctanh(np.clip(r, -ALMOST_ONE, ALMOST_ONE)) for r in (value, without))
    mean = np.where(used, left, 0.0).sum(1) / np.maximum(m, 1)
    squares = np.where(used, (left - mean[:, None]) ** 2, 0.0).sum(1)
    error = np.sqrt(np.maximum(m - 1, 0) / np.maximum(m, 1) * squares)
    enough = m >= LEAST_VALUES
    reach = np.where(enough, _reach(np.maximum(m, 2), level) * error, np.nan)
    ends = (spearman_brown(np.tanh(end), share) for end in (z - reach, z + reach))
    return Reliability(value, spearman_brown(value, share), *ends)


def _reach(m: Array | int, level: float) -> Any:
    """Errors of a jackknife over m that an interval reaches to either side."""
    return scipy.special.stdtrit(m - 1, (1 + level) / 2)


def rdms(
    found: Trials,
    units: Array,
    noise: Array | str | None,
    folds: Array | None,
    bins: Array | None,
    n_bins: int,
    seed: int,
    n_splits: int,
    level: float,
) -> Reliability:
    """Of the crossnobis RDM of all trials, or (n_bins) of those inside bins (n) of stimuli.

    ``noise`` and ``folds`` are those of ``crossnobis.distances``. The interval is a jackknife over
    stimuli, whose lower end is the lower one of those that t of the share and of the logarithm of
    the rest give. Of fewer than four units r is NaN.
    """
    some = [np.arange(len(units))] if bins is None else _members(bins, n_bins)
    made = UnitRdms(found, units, noise, folds)
    whole = made.rdm(np.ones(made.count, bool))
    left = [_Signal(whole[np.ix_(one, one)]) for one in some]
    if made.count < LEAST_REPETITIONS:
        for pair in made.differences():
            for signal, one in zip(left, some, strict=True):
                signal.add_differences(*(rdm[np.ix_(one, one)] for rdm in pair))
    else:
        for half in halves(np.arange(made.count), seed, n_splits):
            both = made.rdm(half), made.rdm(~half)
            for signal, one in zip(left, some, strict=True):
                signal.add_halves(*(rdm[np.ix_(one, one)] for rdm in both))
    each = [np.array(signal.reliability(level)) for signal in left]
    parts = np.stack(each, 1)
    return Reliability(*(parts if bins is not None else parts[:, 0]))


class _Signal:
    """Share of the variance of an RDM (n, n) that is not noise, and without each stimulus."""

    def __init__(self, whole: Array) -> None:
        self.spread, self.without = _covariance(whole, whole)
        self.shared: list[tuple[float, Array]] = []
        self.r: list[float] = []

    def add_halves(self, one: Array, other: Array) -> None:
        """RDMs of both halves."""
        shared = _covariance(one, other)
        here = ~(np.isnan(one) | np.isnan(other))
        own = [_covariance(np.where(here, rdm, np.nan))[0] for rdm in (one, other)]
        if not np.isnan(shared[0]) and min(own) > 0:
            self.shared.append(shared)
            self.r.append(shared[0] / np.sqrt(own[0] * own[1]))

    def add_differences(self, distance: Array, difference: Array) -> None:
        """Those of two units."""
        whole, noise = (_covariance(rdm) for rdm in (distance, difference))
        if not np.isnan(whole[0]):
            self.shared.append((whole[0] - noise[0], whole[1] - noise[1]))

    def reliability(self, level: float) -> tuple[float, float, float, float]:
        """r, the share, and both ends."""
        if not self.shared or not self.spread > 0:
            return (np.nan,) * 4
        values, without = (np.array(part) for part in zip(*self.shared, strict=True))
        used = ~np.isnan(without).all(0) & ~np.isnan(self.without)
        # a stimulus that a split does not use changes it not
        filled = np.where(np.isnan(without), values[:, None], without).mean(0)
        left = np.where(used, filled / self.without, np.nan)
        value = values.mean() / self.spread
        t = _reach(max(int(used.sum()), 2), level)
        reach = t * error_of(left)
        lower = value - reach
        if value < 1 and (left[used] < 1).all():
            # the share of noise is as far off by a factor as its logarithm is: where there is much
            # of it the share of signal comes out too large with an error that is too small
            noise = np.exp(t * error_of(np.log1p(-left))) * (1 - value)
            lower = min(lower, 1 - noise)
        r = np.mean(self.r) if self.r else np.nan
        return float(r), min(value, 1.0), max(lower, -1.0), min(value + reach, 1.0)


def _covariance(one: Array, other: Array | None = None) -> tuple[float, Array]:
    """Of RDMs over the pairs of stimuli that both have, and without each stimulus (n).

    NaN for fewer than four stimuli, and for one that is missing.
    """
    other = one if other is None else other
    n = len(one)
    here = np.flatnonzero(~(np.isnan(one).all(1) | np.isnan(other).all(1)))
    without = np.full(n, np.nan)
    m = len(here)
    if m < LEAST_STIMULI:
        return np.nan, without
    x, y = (rdm[np.ix_(here, here)] for rdm in (one, other))
    # near 0 nothing cancels
    x, y = (side - side.sum() / (m * (m - 1)) for side in (x, y))
    for side in (x, y):
        np.fill_diagonal(side, 0.0)
    rows = [side.sum(1) for side in (x * y, x, y)]
    sums = [row.sum() / 2 for row in rows]

    def of(pairs: float, products: Any, a: Any, b: Any) -> Any:
        return products / pairs - a * b / pairs**2

    without[here] = of((m - 1) * (m - 2) / 2, *(s - row for s, row in zip(sums, rows, strict=True)))
    return float(of(m * (m - 1) / 2, *sums)), without


def ceiling(found: Reliability) -> tuple[Array, Array, Array]:
    """RSA of a right model without noise, and both ends: signed roots of the reliability's.

    Below 0 noise is all that the RDM need be made of, and a model may correlate with it by chance.
    """
    roots = [np.sign(part) * np.sqrt(np.abs(part)) for part in found[1:]]
    return roots[0], roots[1], roots[2]
