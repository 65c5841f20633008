"""RSA as it would be without measurement noise, from halves of the repetitions.

Halves hold different trials, so that noise is in each of their RDMs and not in what both share.
With r the mean correlation of both halves' unbiased RDMs D_1, D_2 over splits, and M the model's,

    corrected = mean over halves and splits of corr(M, D_h) / √r,
    ceiling   = √(mean cov(D_1, D_2) / var D),    D that of all trials:

what a model without noise that is right would reach (Spearman 1904, American Journal of Psychology
15), both over the stimuli of each split, which missing trials make fewer. The covariance of the
halves is the variance of the RDM without noise; Spearman and Brown's formula does not hold here,
since the noise of a distance falls faster than by its trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.bins import contrasts
from xconverge.kernels.correlation import METHODS
from xconverge.kernels.crossed import jackknife_influence
from xconverge.kernels.model_comparison import jackknifed, vector
from xconverge.kernels.rdm import square
from xconverge.kernels.vectors import Array

LEAST_REPETITIONS = 4
"""Two in each half: an unbiased distance needs two."""
LEAST_RELIABILITY = 0.1
"""Split-half correlation below which the root of it is too uncertain to divide by."""
LEAST_ERRORS = 2.0
"""Jackknife errors that a split-half correlation must be above 0, for the same reason.

And one above LEAST_RELIABILITY: of correlations that are truly below it, those that pass by chance
are too large, and what is divided by them is too small by a third.
"""
LEAST_STIMULI = 4
"""Three distances are the least that correlate, and so many must be left without a stimulus."""
PEARSON = METHODS["pearson"]


class Halves(NamedTuple):
    """Of the RDMs of both halves: their correlation r, its error, the ceiling; r without each.

    ``without`` (n) is NaN for stimuli that no split has; all of it is where there is no r.
    """

    correlation: float
    error: float
    ceiling: float
    without: Array

    @property
    def least(self) -> float:
        """The r from which on a score may be divided by its root."""
        return max(LEAST_RELIABILITY + self.error, LEAST_ERRORS * self.error)

    @property
    def enough(self) -> bool:
        """Whether r is that large."""
        return bool(self.correlation >= self.least)


def halves_of(halves: Array, whole: Array) -> Halves:
    """How alike the RDMs of both halves are (S, 2, n, n), whose trials are those of ``whole``.

    Each split counts with the stimuli that both of its halves have.
    """
    splits = [_Split(split) for split in halves]
    splits = [split for split in splits if split.usable]
    n = len(whole)
    if not splits:
        return Halves(np.nan, np.nan, np.nan, np.full(n, np.nan))
    correlation, without = _mean(split.agreement(n) for split in splits)
    shared = float(np.mean([split.shared() for split in splits]))
    # of the same stimuli: others, and a variance of more of them, are not those of the halves
    spread = float(np.mean([split.spread_of(whole) for split in splits]))
    ceiling = np.sqrt(max(shared, 0.0) / spread) if spread > 0 else np.nan
    return Halves(correlation, error_of(without), float(min(ceiling, 1.0)), without)


def corrected(model: Array, halves: Array, found: Halves) -> tuple[float, Array]:
    """RSA of a model's RDM (n, n) without the noise of the halves (S, 2, n, n), without each too.

    The second is (n), NaN for stimuli that are not used. NaN where r is too small, or the model or
    a half has no distances that differ.
    """
    n = len(model)
    nothing = np.nan, np.full(n, np.nan)
    if not found.enough:
        return nothing
    splits = [split for split in (_Split(one, model) for one in halves) if split.usable]
    if not splits:
        return nothing
    value, without = _mean(one for split in splits for one in split.scores(n))
    with np.errstate(invalid="ignore"):
        # a stimulus that the model alone lacks is in r, and not left out of it
        return value / np.sqrt(found.correlation), without / np.sqrt(found.without)


def common(halves: Array) -> int:
    """Stimuli that both halves of a split have, of the one (S, 2, n, n) that has most."""
    there = ~np.all(np.isnan(halves), axis=-1)
    return int(np.all(there, axis=1).sum(-1).max(initial=0))


def error_of(without: Array) -> float:
    """Jackknife error of a value from those without each stimulus, NaN for unused ones."""
    left = without[~np.isnan(without)]
    if len(left) < LEAST_STIMULI:
        return np.nan
    return float(np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()))


class _Split:
    """Both halves of one split, and a model's RDM, among the stimuli that all have."""

    def __init__(self, halves: Array, model: Array | None = None) -> None:
        rdms = [*halves, *([] if model is None else [model])]
        self.here = np.flatnonzero(np.all([~np.isnan(rdm).all(1) for rdm in rdms], axis=0))
        block = np.ix_(self.here, self.here)
        self.rdms = [rdm[block] for rdm in rdms]
        self.usable = len(self.here) >= LEAST_STIMULI
        if self.usable:
            m = len(self.here)
            self.squares = [square(vector(rdm, PEARSON), m) for rdm in self.rdms]
            self.usable = not any(np.isnan(one).any() for one in self.squares)

    def shared(self) -> float:
        """Covariance of both halves over pairs of stimuli."""
        pairs = np.triu_indices(len(self.here), 1)
        one, other = (rdm[pairs] for rdm in self.rdms[:2])
        return float(np.mean((one - one.mean()) * (other - other.mean())))

    def spread_of(self, whole: Array) -> float:
        """Variance of an RDM (n, n) over the same pairs of stimuli."""
        block = whole[np.ix_(self.here, self.here)]
        return float(block[np.triu_indices(len(self.here), 1)].var())

    def agreement(self, n: int) -> tuple[float, Array]:
        """Correlation of both halves, and without each stimulus (n)."""
        one, other = self.squares[:2]
        return self._placed(*jackknifed(one, other, PEARSON), n)

    def scores(self, n: int) -> list[tuple[float, Array]]:
        """Correlation of the model with each half, and without each stimulus (n)."""
        model = self.squares[2]
        return [self._placed(*jackknifed(model, half, PEARSON), n) for half in self.squares[:2]]

    def _placed(self, value: float, without: Array, n: int) -> tuple[float, Array]:
        result = np.full(n, np.nan)
        result[self.here] = without
        return value, result


def _mean(found: Iterable[tuple[float, Array]]) -> tuple[float, Array]:
    """Mean of values, and without each stimulus: one that a value does not use changes it not."""
    values, without = map(np.array, zip(*found, strict=True))
    used = ~np.isnan(without).all(0)
    filled = np.where(np.isnan(without), values[:, None], without)
    return float(np.mean(values)), np.where(used, filled.mean(0), np.nan)


def bin_contrasts(values: Array, without: Array, bins: Array) -> tuple[Array, Array]:
    """Contrasts (2) of values (K) of bins, and what each stimulus adds to them (2, n).

    ``without`` (K, n) are the values without each stimulus of their bin. NaN where a bin that has
    stimuli has no value.
    """
    numbers = np.unique(bins[bins >= 0])
    result = np.full((2, len(bins)), np.nan)
    if len(numbers) < 2 or np.isnan(values[numbers]).any():
        return np.full(2, np.nan), result
    used = ~np.isnan(without[numbers]).all(0)
    weights = contrasts(np.eye(len(numbers)), numbers)
    for column, number in enumerate(numbers):
        inside = np.flatnonzero(~np.isnan(without[number]))
        added = jackknife_influence(without[number, inside], int(used.sum()))
        result[:, inside] = weights[:, column, None] * added
    return contrasts(values[numbers], numbers), result


def contrast_ends(
    value: float, added: Array, *, n_bins: int, level: float
) -> tuple[float, float, float, float]:
    """Error, ends and two-sided p of a contrast of bins, from what each stimulus (n) adds to it."""
    used = np.isfinite(added)
    freedom = int(used.sum()) - n_bins
    if freedom < 1:
        return (np.nan,) * 4
    error = float(np.sqrt(added[used].var(ddof=1) / used.sum()))
    reach = float(scipy.special.stdtrit(freedom, (1 + level) / 2)) * error
    p_value = 2 * scipy.special.stdtr(freedom, -abs(value) / error) if error > 0 else np.nan
    return error, value - reach, value + reach, float(p_value)
