"""Does RSA change from bin to bin of dispersion? Tests of its contrasts, and how sure they are."""

from __future__ import annotations

import warnings

import numpy as np

from xconverge.kernels.bins import contrasts, in_bins
from xconverge.kernels.correlation import Method, Tell, undefined
from xconverge.kernels.crossed import bin_influence, crossed
from xconverge.kernels.groups import table_mean
from xconverge.kernels.nulls import all_orders, orders_of
from xconverge.kernels.permutations import as_extreme
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
