"""Variances of scores over stimuli and models drawn again, and the intervals they give."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from xconverge.kernels.graphs import mutual_edges
from xconverge.kernels.rows import Array


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


def mean_variances(
    draws: Array, n: Array, fraction: float | None, seed: int
) -> tuple[float, float, float]:
    """Variance of the mean over pairs: of stimuli, of models, and of both, from draws (D, A, B).

    Models of both sides are drawn with replacement, rows and columns of the table, because pairs
    share models. Both: 2 (V_model + V_stimulus) - V_together, no less than the larger of the two
    and no more than V_together (Schütt et al. 2023), because together each draw counts what is
    between models and stimuli three times.
    """
    table, again = draws[0], draws[1:]
    rng = np.random.default_rng(seed)
    rows, columns = (
        rng.multinomial(size, np.full(size, 1 / size), size=len(again)).astype(np.float64)
        for size in table.shape
    )
    factor = float(np.min(subsample_factor(n, fraction)))
    of_stimuli = float(_means(again, *map(np.ones_like, (rows, columns))).var(ddof=1)) * factor
    of_models = float(_means(table[None], rows, columns).var(ddof=1))
    together = float(_means(again, rows, columns).var(ddof=1))
    largest = max(of_stimuli, of_models)
    dual = 2 * (of_models + of_stimuli) - together
    return of_stimuli, of_models, float(np.clip(dual, largest, max(largest, together)))


def _means(tables: Array, rows: Array, columns: Array) -> Array:
    """Means (D) of tables (D, A, B) over the pairs that have a score, weighted (D, A), (D, B)."""
    weights = rows[:, :, None] * columns[:, None]
    there = ~np.isnan(tables)
    total = (weights * np.where(there, tables, 0.0)).sum((1, 2))
    size = (weights * there).sum((1, 2))
    return np.asarray(total[size > 0] / size[size > 0])


def local_variances(shares: Array, lists_a: Array, lists_b: Array) -> tuple[Array, float]:
    """Variance (A, B) of the mean overlap of every pair, and of the mean over pairs.

    From overlaps (A, B, n) and neighbour lists (M, n, k). Overlaps of stimuli depend on each other
    where these are neighbours: the covariances of those that are among each other's neighbours,
    in a model of the pair, are counted; for the mean over pairs, with the share of pairs.
    """
    source, target, in_a, in_b = mutual_edges(lists_a, lists_b)

    def variance(values: Array, linked: Array) -> float:
        seen = ~np.isnan(values)
        gap = np.where(seen, values - values[seen].mean() if seen.any() else 0.0, 0.0)
        total = gap @ gap + (linked * gap[source]) @ gap[target]
        count = int(seen.sum())
        return float(max(total, 0.0) / (count * (count - 1))) if count > 1 else np.nan

    pairs = np.empty(shares.shape[:2])
    for i, j in np.ndindex(pairs.shape):
        pairs[i, j] = variance(shares[i, j], in_a[i] | in_b[j])
    share_a, share_b = in_a.mean(0), in_b.mean(0)
    there = ~np.isnan(shares)
    count = there.sum((0, 1))
    total = np.where(there, shares, 0.0).sum((0, 1))
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return pairs, variance(mean, share_a + share_b - share_a * share_b)


def interval(
    score: Array, variance: Array, freedom: Array, level: float
) -> tuple[Array, Array, Array]:
    """Standard error, lower and upper end: score ∓ Student's t times the standard error."""
    error = np.sqrt(variance)
    reach = t.ppf((1 + level) / 2, np.maximum(freedom, 1)) * error
    return error, score - reach, score + reach
