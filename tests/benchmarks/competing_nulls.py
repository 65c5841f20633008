"""Other nulls for two maps over stimuli, plainly, to compare with; all of them of ranks.

Each takes maps ``x`` and ``y`` (n), squared distances (n, n), and draws from ``rng``, and returns
a two-sided p-value.
"""

from __future__ import annotations

import numpy as np
import scipy
from scipy.stats import rankdata

DRAWS = 199


def standard(values: np.ndarray) -> np.ndarray:
    """Ranks (…, n) of mean 0 and unit length."""
    ranked = rankdata(values, axis=-1) - (np.shape(values)[-1] + 1) / 2
    return ranked / np.linalg.norm(ranked, axis=-1, keepdims=True)


def of_draws(drawn: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """P-value of a rank correlation among those of drawn maps (D, n)."""
    target = standard(y)
    seen = abs(standard(x) @ target)
    return (1 + (np.abs(standard(drawn) @ target) >= seen - 1e-12).sum()) / (1 + len(drawn))


def labels(x: np.ndarray, y: np.ndarray, square: np.ndarray, rng: np.random.Generator) -> float:
    """Single labels permuted: by Student's t, which is the same for so many stimuli."""
    return float(scipy.stats.pearsonr(standard(x), standard(y)).pvalue)


def moran_vectors(square: np.ndarray) -> np.ndarray:
    """Eigenvectors (n, n - 1) of inverse distances, centred, but for the constant."""
    apart = np.sqrt(square)
    weights = np.divide(1, apart, out=np.zeros_like(apart), where=apart > 0)
    np.fill_diagonal(weights, 0)
    return eigenvectors(weights)


def eigenvectors(weights: np.ndarray) -> np.ndarray:
    """Of weights (n, n), centred, but for the constant one (n, n - 1)."""
    centred = weights - weights.mean(0) - weights.mean(1)[:, None] + weights.mean()
    values, vectors = np.linalg.eigh(centred)
    return np.delete(vectors, np.abs(values).argmin(), axis=1)


def moran_drawn(
    x: np.ndarray, vectors: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Maps (count, n) with the Moran's I of a map: signs of its coefficients at random.

    Wagner & Dray 2015, Methods in Ecology and Evolution 6, the singleton procedure.
    """
    signs = rng.choice([-1.0, 1.0], (count, vectors.shape[1]))
    return (signs * (vectors.T @ (x - x.mean()))) @ vectors.T


def moran(x: np.ndarray, y: np.ndarray, square: np.ndarray, rng: np.random.Generator) -> float:
    """Moran spectral randomisation."""
    return of_draws(moran_drawn(standard(x), moran_vectors(square), DRAWS, rng), x, y)


def variogram(x: np.ndarray, y: np.ndarray, square: np.ndarray, rng: np.random.Generator) -> float:
    """Surrogates with the variogram of ``x`` (Burt et al. 2020, NeuroImage 220).

    Its values permuted, smoothed over a share of the nearest stimuli, scaled and with noise added
    so that the variogram up to a quarter of the distances is nearest.
    """
    n, apart = len(x), np.sqrt(square)
    first, second = np.triu_indices(n, 1)
    gap = apart[first, second]
    near = gap <= np.quantile(gap, 0.25)
    first, second, gap = first[near], second[near], gap[near]
    at = np.linspace(gap.min(), gap.max(), 25)
    weights = np.exp(-((2.68 * (at[:, None] - gap) / (3 * (at[1] - at[0]))) ** 2) / 2)
    weights /= weights.sum(1, keepdims=True)

    def of(maps: np.ndarray) -> np.ndarray:
        return 0.5 * (maps[:, first] - maps[:, second]) ** 2 @ weights.T

    x = standard(x)
    goal = of(x[None])[0]
    moved = rng.permuted(np.tile(x, (DRAWS, 1)), axis=1)
    best, drawn = np.full(DRAWS, np.inf), np.empty((DRAWS, n))
    order = np.sort(apart, axis=1)
    for share in np.arange(0.1, 1.0, 0.1):
        count = max(int(share * n), 2)
        reach = order[:, count - 1 : count]
        kernel = np.where(apart <= reach, np.exp(-apart / np.maximum(reach, 1e-12)), 0.0)
        smooth = moved @ (kernel / kernel.sum(1, keepdims=True)).T
        own = of(smooth)
        centred = own - own.mean(1, keepdims=True)
        slope = centred @ goal / (centred**2).sum(1)
        offset = goal.mean() - slope * own.mean(1)
        error = ((goal - offset[:, None] - slope[:, None] * own) ** 2).sum(1)
        noise = rng.standard_normal((DRAWS, n))
        made = np.sqrt(np.abs(slope))[:, None] * smooth + np.sqrt(np.abs(offset))[:, None] * noise
        better = error < best
        best[better], drawn[better] = error[better], made[better]
    return of_draws(drawn, x, y)


def dutilleul(x: np.ndarray, y: np.ndarray, square: np.ndarray, rng: np.random.Generator) -> float:
    """Student's t with the degrees of freedom of the maps' correlograms (Dutilleul 1993)."""
    n, x, y = len(x), standard(x), standard(y)
    first, second = np.triu_indices(n, 1)
    gap = np.sqrt(square[first, second])
    edges = np.quantile(gap, np.linspace(0, 1, 14))[1:-1]
    inside = np.searchsorted(edges, gap)
    count = np.bincount(inside, minlength=13)
    covariances = []
    for one in (x, y):
        by_class = np.bincount(inside, one[first] * one[second], minlength=13) / count
        v = np.zeros((n, n))
        v[first, second] = by_class[inside]
        covariances.append(v + v.T + np.eye(n) / n)
    centring = np.eye(n) - 1 / n
    a, b = (centring @ v for v in covariances)
    together = np.vdot(a.T, b)
    worth = 1 + np.trace(a) * np.trace(b) / together if together > 0 else float(n)
    worth = min(max(worth, 3.0), float(n))
    r = x @ y
    return float(
        2 * scipy.stats.t.sf(abs(r) * np.sqrt((worth - 2) / max(1 - r**2, 1e-12)), worth - 2)
    )


COMPETITORS = {
    "labels": labels,
    "Moran randomisation": moran,
    "variogram": variogram,
    "modified t": dutilleul,
}
