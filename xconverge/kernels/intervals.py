"""Variances of scores over stimuli and models drawn again, and the intervals they give."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import scipy

from xconverge.kernels.edges import mutual_edges
from xconverge.kernels.groups import family_shares
from xconverge.kernels.kernel import Model, pools
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.vectors import Array


def n_units(seen_a: Array, seen_b: Array, units: Array) -> int:
    """How many units (n) have a stimulus that both saw."""
    return len(np.unique(units[seen_a & seen_b]))


def subsample_factor(n: Array, fraction: float | None) -> Array:
    """What a variance over draws is multiplied by to be that of all ``n`` stimuli.

    m / (n - m) for m of them without replacement (Politis & Romano 1994), 1 with replacement.
    """
    if fraction is None:
        return np.ones(np.shape(n))
    drawn = np.round(fraction * np.asarray(n))
    rest = n - drawn
    factor: Array = np.divide(drawn, rest, out=np.full(np.shape(n), np.nan), where=rest > 0)
    return factor


def pair_variance(draws: Array, n: Array, fraction: float | None) -> Array:
    """Variance (A, B) of the score of every pair from draws (D, A, B), the observed one first."""
    return np.asarray(draws[1:].var(0, ddof=1) * subsample_factor(n, fraction))


def mean_variance(
    draws: Array, n: Array, fraction: float | None, seed: int, over: str
) -> tuple[float, float]:
    """Variance of the mean over pairs, and its degrees of freedom, from draws (D, A, B).

    Crossed factors: stimuli, and the models of either side, which are drawn with replacement as
    rows and columns of the table, because pairs share models. What lies between two factors is
    counted three times where both are drawn, and between three seven times, once where one is:
    2 ΣV_one - V_both for two of them (Schütt et al. 2023), and likewise 4 ΣV_one - 2 ΣV_two + V_all
    for three; no less than the largest V_one, and no more than V_all. Degrees of freedom after
    Satterthwaite.
    """
    again = draws[1:]
    if over != "model" and np.isnan(again).all((1, 2)).any():
        return np.nan, 1.0
    rng = np.random.default_rng(seed)
    sizes = {"rows": draws.shape[1], "columns": draws.shape[2], "stimuli": int(np.min(n))}
    weights = {side: _model_weights(rng, sizes[side], len(again)) for side in ("rows", "columns")}
    factors = [] if over == "stimulus" else [side for side in weights if sizes[side] > 1]
    factors += [] if over == "model" else ["stimuli"]
    whole = float(np.min(subsample_factor(n, fraction)))

    def variance(drawn: Sequence[str]) -> float:
        tables = again if "stimuli" in drawn else draws[:1]
        rows, columns = (
            weights[side] if side in drawn else np.ones((1, sizes[side])) for side in weights
        )
        return float(_means(tables, rows, columns).var(ddof=1)) * (
            whole if "stimuli" in drawn else 1.0
        )

    by_size = [
        [variance(drawn) for drawn in itertools.combinations(factors, size)]
        for size in range(1, len(factors) + 1)
    ]
    signed = sum(
        (-1) ** place * 2 ** (len(factors) - place - 1) * sum(values)
        for place, values in enumerate(by_size)
    )
    least, most = max(by_size[0]), by_size[-1][0]
    total = float(np.clip(signed, least, max(least, most)))
    spread = sum(v**2 / (sizes[f] - 1) for v, f in zip(by_size[0], factors, strict=True))
    return total, float(sum(by_size[0]) ** 2 / spread) if spread > 0 else 1.0


def _model_weights(rng: np.random.Generator, size: int, count: int) -> Array:
    """Weights (D, M) of models drawn with replacement, of mean 1.

    Spread by M / (M - 1), the share of the variance that drawing from few of them loses.
    """
    drawn = rng.multinomial(size, np.full(size, 1 / size), size=count) - 1.0
    return np.asarray(1 + drawn * np.sqrt(size / max(size - 1, 1)))


def _means(tables: Array, rows: Array, columns: Array) -> Array:
    """Means (D) of tables (D, A, B) over the pairs that have a score, weighted (D, A), (D, B)."""
    weights = rows[:, :, None] * columns[:, None]
    there = ~np.isnan(tables)
    total = (weights * np.where(there, tables, 0.0)).sum((1, 2))
    size = (weights * there).sum((1, 2))
    return np.asarray(total[size > 0] / size[size > 0])


def local_variances(
    a: Sequence[Model],
    b: Sequence[Model],
    of_a: Array | None = None,
    of_b: Array | None = None,
    blocks: Array | None = None,
    *,
    kernel: MutualKnn,
) -> tuple[Array, Array, float]:
    """Mean overlap (A, B) of every pair, its variance (A, B), and that of the mean over pairs.

    Overlaps of stimuli depend on each other where these are neighbours: the covariances of those
    that are among each other's neighbours, in a model of the pair, are counted; for the mean over
    pairs, with the share of pairs. There models of one family, numbers ``of_a`` (A) and ``of_b``
    (B), have the weight of one. Stimuli of one of the ``blocks`` (n) are linked in all models, and
    count as one where their number does.
    """
    n = len(a[0].seen)
    units = np.arange(n) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    means, variances = np.full((2, len(a), len(b)), np.nan)
    # of the mean over pairs each stimulus moves what it moves of every pair, 1 / n of the pair's n
    moved = np.zeros(n)
    linked: list[tuple[Array, Array]] = []
    w_a, w_b = (family_shares(of, len(side)) for of, side in ((of_a, a), (of_b, b)))
    for pool in pools(kernel, a, b, with_own=False):
        shares = kernel.sums(*pool.states, None)
        lists = (np.stack([kernel.lists(state) for state in side]) for side in pool.states)
        source, target, in_a, in_b = mutual_edges(*lists)
        count = shares.shape[2]
        means[np.ix_(pool.i, pool.j)] = mean = shares.mean(2)
        where = np.flatnonzero(pool.common)
        unit = units[where]
        several = len(np.unique(unit))
        # Σ gap² of n stimuli is the variance of their mean: / n², and n / (n - 1) of units
        gaps = (shares - mean[:, :, None]) / count * np.sqrt(several / max(several - 1, 1))
        for x, y in np.ndindex(mean.shape):
            place, links = (pool.i[x], pool.j[y]), in_a[x] | in_b[y]
            variances[place] = _linked_variance(gaps[x, y], source, target, links, unit)
        w_i, w_j = w_a[pool.i], w_b[pool.j]
        moved[where] += np.einsum("i,j,ijn->n", w_i, w_j, gaps)
        share_a, share_b = w_i @ in_a / w_i.sum(), w_j @ in_b / w_j.sum()
        # the share of pairs (i, j) in which i or j links two stimuli
        either = share_a + share_b - share_a * share_b
        linked.append((where[source] * n + where[target], either * w_i.sum() * w_j.sum()))
    if not linked:
        return means, variances, np.nan
    scored = w_a @ np.isfinite(means) @ w_b
    edges, which = np.unique(np.concatenate([keys for keys, _ in linked]), return_inverse=True)
    weights = np.bincount(which, np.concatenate([w for _, w in linked])) / scored
    of_mean = _linked_variance(moved / scored, edges // n, edges % n, weights, units)
    return means, variances, of_mean


def _linked_variance(
    gaps: Array, source: Array, target: Array, linked: Array, units: Array
) -> float:
    """Sum of the squares of gaps (n), and of the products of those that are linked so much.

    All gaps of one unit are linked wholly: the square of their sum.
    """
    whole = np.bincount(units, gaps)
    between = linked * (units[source] != units[target])
    return float(max(whole @ whole + (between * gaps[source]) @ gaps[target], 0.0))


def interval(
    score: Array, variance: Array, freedom: Array, level: float
) -> tuple[Array, Array, Array]:
    """Standard error, lower and upper end: score ∓ Student's t times the standard error."""
    error = np.sqrt(variance)
    reach = scipy.stats.t.ppf((1 + level) / 2, np.maximum(freedom, 1)) * error
    return error, score - reach, score + reach
