"""Does RSA change from bin to bin of dispersion? Tests of its contrasts, and how sure they are."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.bins import contrasts, in_bins
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import (
    Method,
    Tell,
    ranks,
    standard_rows,
    standardize,
    undefined,
)
from xconverge.kernels.crossed import bin_influence, crossed, jackknife_influence
from xconverge.kernels.groups import table_mean
from xconverge.kernels.nulls import all_orders, orders_of
from xconverge.kernels.permutations import as_extreme
from xconverge.kernels.rdm import check_symmetric
from xconverge.kernels.vectors import Array


def contrast_test(
    a: Array,
    b: Array,
    spread: Array,
    bins: Array,
    *dealing: Array,
    null: str,
    method: Method,
    n_permutations: int,
    seed: int,
    tail: str,
    tell: Tell | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Both contrasts (2) of the RSA by bin, p-values, draws (D, 2), and the influence (2, n).

    Draws are those of the contrasts in units of their jackknife error, the observed ones first:
    where noise follows dispersion, real bins differ more in it than drawn ones. Plain contrasts
    where that error is not defined (Kendall's tau, bins of three stimuli).

    ``bins`` (n) of dispersion ``spread`` (n) are negative for stimuli without one; numbers that no
    stimulus has were merged into others, and are no bins. Stimuli without a bin, and stimuli that
    either RDM misses, stay where they are. RDMs are never made again, only ranked inside the bins
    of a draw (`nulls.orders_of` with ``dealing``). The null is centred on its mean, which is not 0
    inside strata, so that two-sided makes sense.
    """
    here = ~(np.isnan(a).all(1) | np.isnan(b).all(1)) & (bins >= 0)
    none, no_draws = np.full(2, np.nan), np.full((1 + n_permutations, 2), np.nan)
    nothing = np.full((2, len(bins)), np.nan)
    numbers = np.unique(bins[bins >= 0])
    if len(numbers) < 2:
        warnings.warn(
            "a contrast of bins needs two, and dispersion takes too few values: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return none, none, no_draws, nothing
    own = np.where(here, np.searchsorted(numbers, bins), -1)
    values = in_bins(a, b, own, len(numbers), method)
    observed = contrasts(values, numbers)
    if np.isnan(values).any():
        message = (
            "a bin has fewer than 3 stimuli, or distances that do not differ: no RSA, no contrasts"
        )
        (tell or undefined)(message, np.zeros((1, 2), int))
        return none, none, no_draws, nothing
    _, added = bin_influence(a, b, bins, method)
    orders = orders_of(null, seed, *dealing)
    strata = dealing[1]
    if not n_permutations or orders is None or _fixed(own, np.where(here, strata, -1)):
        return observed, none, no_draws, added
    drawn = all_orders(orders, spread, here, n_permutations)
    if method.vector is not None and np.isfinite(added).any():
        # bins keep their numbers: where some were merged away, the trend is over what is left
        kept = np.where(here, bins, -1)
        if _are_plain(a, b, kept, method):
            draws = _of_all(a, b, kept[drawn])
        else:
            draws = np.array([_studentised(a, b, kept[p], method) for p in drawn])
    else:
        draws = np.array(
            [contrasts(in_bins(a, b, own[p], len(numbers), method), numbers) for p in drawn]
        )
    gap = draws - np.nanmean(draws, axis=0)
    # a draw without a contrast counts as extreme: dropping it would make p smaller
    reached = as_extreme(gap[1:], gap[0], tail) | np.isnan(gap[1:])
    return observed, (1 + reached.sum(0)) / len(draws), draws, added


def _studentised(a: Array, b: Array, bins: Array, method: Method) -> Array:
    """Both contrasts (2) in units of their jackknife error."""
    values, added = bin_influence(a, b, bins, method)
    used = np.isfinite(added[0])
    error = np.sqrt(added[:, used].var(1, ddof=1) / used.sum()) if used.any() else values * np.nan
    return np.asarray(np.divide(values, error, out=np.full(2, np.nan), where=error > 0))


def _are_plain(a: Array, b: Array, bins: Array, method: Method) -> bool:
    """Whether correlations are of ranks, and no two stimuli that have a bin lack a distance."""
    inside = np.flatnonzero(bins >= 0)
    own = np.eye(len(inside), dtype=bool)
    blocks = [rdm[np.ix_(inside, inside)] for rdm in (a, b)]
    for block in blocks:
        check_symmetric(block)
    whole = all((np.isfinite(block) | own).all() for block in blocks)
    return method.ranked and method.vector is standardize and whole


def _of_all(a: Array, b: Array, bins: Array) -> Array:
    """`_studentised` (D, 2) of all draws of bins (D, n), which are `_are_plain`, many at a time."""
    largest = np.bincount(bins[0][bins[0] >= 0]).max()
    step = max(1, BUDGETS.product_block // (32 * largest**2))
    parts = [bins[start : start + step] for start in range(0, len(bins), step)]
    return np.concatenate([_of_some(a, b, part) for part in parts])


def _of_some(a: Array, b: Array, bins: Array) -> Array:
    """As `bin_influence` has it for one: similarities of triangles, with and without a stimulus."""
    numbers, sizes = np.unique(bins[0][bins[0] >= 0], return_counts=True)
    values, added, n = np.empty((len(bins), len(numbers))), [], int(sizes.sum())
    for place, (number, m) in enumerate(zip(numbers, sizes, strict=True)):
        # a draw moves bins among stimuli, and changes no size
        members = np.nonzero(bins == number)[1].reshape(len(bins), m)
        one, other = np.triu_indices(m, 1)
        x, y = (standard_rows(ranks(rdm[members[:, one], members[:, other]])) for rdm in (a, b))
        # which pairs a stimulus is in
        pairs = np.zeros((len(one), m))
        pairs[np.arange(len(one)), one] = pairs[np.arange(len(one)), other] = 1
        sums = [np.vecdot(p, q) for p, q in ((x, y), (x, x), (y, y))]
        products = (x * y, x * x, y * y)
        left = [s[:, None] - p @ pairs for s, p in zip(sums, products, strict=True)]
        sx, sy, count = x @ pairs, y @ pairs, (m - 1) * (m - 2) / 2
        cross, xx, yy = (
            whole - p * q / count
            for whole, p, q in zip(left, (sx, sx, sy), (sy, sx, sy), strict=True)
        )
        # what is left of equal values is rounding
        some = (xx > 1e-12) & (yy > 1e-12)
        size = np.sqrt(np.maximum(xx * yy, 0))
        without = np.divide(cross, size, out=np.full(cross.shape, np.nan), where=some)
        values[:, place] = np.clip(sums[0], -1, 1)
        added.append(jackknife_influence(without, n))
    each = np.concatenate(added, axis=1)
    weights = np.repeat(contrasts(np.eye(len(numbers)), numbers), sizes, axis=1)
    found = contrasts(values, numbers).T
    error = np.stack([np.sqrt((each * w).var(1, ddof=1) / n) for w in weights], axis=1)
    return np.asarray(np.divide(found, error, out=np.full(found.shape, np.nan), where=error > 0))


def mean_ends(
    values: Array,
    added: Array,
    n_effective: float,
    of_a: Array,
    of_b: Array,
    *,
    level: float,
) -> tuple[float, float, float, float]:
    """Mean of a contrast over pairs ([A, ][B]), its error and ends, from influences (…, n)."""
    shape = len(of_a), len(of_b)
    values, added = values.reshape(shape), added.reshape(*shape, -1)
    found = crossed(values, added, n_effective, of_a, of_b, level)
    return float(table_mean(values, of_a, of_b)), found.error, found.lower, found.upper


def _fixed(bins: Array, groups: Array) -> bool:
    """Whether no group has stimuli of two bins; warns if so."""
    pairs = np.unique(np.stack([groups, bins])[:, groups >= 0], axis=1)
    fixed = bool(len(np.unique(pairs[0])) == pairs.shape[1])
    if fixed:
        warnings.warn(
            "no stratum has stimuli of two bins: nothing can be permuted, the p-values are NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    return fixed
