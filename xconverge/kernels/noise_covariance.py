"""Covariance of measurement noise over features, from what repetitions of a stimulus differ in.

The residual of a trial is what it is away from the mean of its stimulus. With c_i trials of
stimulus i there are Σ (c_i - 1) degrees of freedom; all estimates are Σ e e' over these, shrunk or
not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.vectors import Array


class NoiseError(ValueError):
    """Noise that cannot be told, or no covariance."""


class Residuals(NamedTuple):
    """Residuals (N, p) of all trials, the stimulus (N) of each, and trials of each stimulus (n).

    ``floor`` (p): standard deviations that are not larger are rounding.
    """

    rows: Array
    stimulus: Array
    counts: Array
    floor: Array

    @property
    def freedom(self) -> int:
        """Degrees of freedom."""
        return int(np.maximum(self.counts - 1, 0).sum())


def residuals(rows: Array, seen: Array, rounding: float) -> Residuals:
    """Of trials (n, R, p), zero where they are not ``seen`` (n, R); ``rounding`` of the entries."""
    counts = seen.sum(1)
    means = rows.sum(1) / np.maximum(counts, 1)[:, None]
    stimulus, trial = np.nonzero(seen)
    floor = rounding * np.abs(rows).max((0, 1), initial=0.0)
    return Residuals(rows[stimulus, trial] - means[stimulus], stimulus, counts, floor)


def variances(found: Residuals) -> Array:
    """Pooled variance (p) of the noise of every feature."""
    _check_freedom(found.freedom, 1)
    result = np.einsum("kp,kp->p", found.rows, found.rows) / found.freedom
    silent = np.flatnonzero(np.sqrt(result) <= found.floor)
    if len(silent):
        few = ", ".join(map(str, silent[:5]))
        raise NoiseError(
            f"features {few}{f', … ({len(silent)} in all)' if len(silent) > 5 else ''} have no "
            "noise, their values are equal in all repetitions of a stimulus; leave these out with "
            ".isel(feature=…), or give a covariance"
        )
    return np.asarray(result)


class Parts(NamedTuple):
    """What Ledoit and Wolf need of some trials: sums that add up over groups of stimuli.

    ``gram`` (p, p) of residuals, ``quartic`` the sum of their fourth powers of norms, ``count`` how
    many there are.
    """

    gram: Array
    quartic: float
    count: float  # type: ignore[assignment]  # tuples have a method of that name


def parts_of(found: Residuals, chosen: Array) -> Parts:
    """Of the stimuli ``chosen`` (n), residuals weighed so that they count as degrees of freedom.

    A residual e of c trials has covariance Σ (c - 1) / c: as e √(c / (c - 1)), with the weight
    (c - 1) / c, the c of them have covariance Σ and count as c - 1.
    """
    use = chosen[found.stimulus] & (found.counts[found.stimulus] > 1)
    rows, counts = found.rows[use], found.counts[found.stimulus[use]]
    larger = counts / (counts - 1)
    quartic = float((larger * np.vecdot(rows, rows) ** 2).sum())
    return Parts(rows.T @ rows, quartic, float((1 / larger).sum()))


def shrunk(parts: Parts) -> Array:
    """Covariance (p, p) shrunk to a multiple of the identity (Ledoit & Wolf 2004).

    With S the mean of x x': m = tr S / p, d² = |S - m I|², b² = Σ |x x' - S|² / N², at most d²;
    b²/d² m I + (1 - b²/d²) S. Σ |x x' - S|² = Σ |x|⁴ - N |S|² needs no loop over rows.
    """
    gram, quartic, count = parts
    result = gram / count
    p = len(result)
    square = float(np.vdot(result, result))
    middle = np.trace(result) / p
    apart = square - p * middle**2
    within = min((quartic / count - square) / count, apart)
    share = within / apart if apart > 0 else 0.0
    result *= 1 - share
    result[np.diag_indices(p)] += share * middle
    return np.asarray(result)


def shrunk_outside(found: Residuals, folds: Array, wanted: Array) -> dict[tuple[int, int], Array]:
    """For folds f ≤ g, both ``wanted``, the covariance of the noise of all stimuli outside both.

    ``folds`` (n) says which stimulus is in which. Their own trials would bias the distances of the
    pairs: Σ is then small along the noise that these happen to have.
    """
    numbers = np.unique(folds)
    own = {f: parts_of(found, folds == f) for f in numbers}
    result = {}
    for f in np.unique(wanted):
        for g in np.unique(wanted[wanted >= f]):
            others = [own[h] for h in numbers if h not in (f, g)]
            count = sum(part.count for part in others)
            # sums of (c - 1) / c are off a whole number by rounding
            _check_freedom(round(count), 2)
            quartic = sum(part.quartic for part in others)
            gram = np.sum([part.gram for part in others], axis=0)
            _check_noise(gram, count, found.floor)
            result[int(f), int(g)] = shrunk(Parts(gram, quartic, count))
    return result


def shrunk_eye(found: Residuals) -> Array:
    """Rsatoolbox's ``shrinkage_eye``: Ledoit & Wolf of residuals as if they were independent."""
    _check_freedom(found.freedom, 1)
    rows, count = found.rows, len(found.rows)
    gram = rows.T @ rows
    _check_noise(gram, found.freedom, found.floor)
    quartic = float((np.vecdot(rows, rows) ** 2).sum())
    return shrunk(Parts(gram, quartic, count)) * (count / found.freedom)


def shrunk_diagonal(found: Residuals) -> Array:
    """Rsatoolbox's ``shrinkage_diag``: correlations shrunk to 0 (Schäfer & Strimmer 2005)."""
    variance = variances(found)
    rows, count, freedom = found.rows, len(found.rows), found.freedom
    unit = rows / np.sqrt(variance)
    correlation = unit.T @ unit / (count - 1)
    unit *= unit
    spread = count / freedom**2 * (unit.T @ unit / (count - 1) - correlation**2)
    off = ~np.eye(len(variance), dtype=bool)
    square = (correlation[off] ** 2).sum()
    share = np.clip(spread[off].sum() / square, 0.0, 1.0) if square > 0 else 0.0
    result = rows.T @ rows / freedom
    result[off] *= 1 - share
    return np.asarray(result)


def checked(covariance: Array) -> Array:
    """A covariance (p, p) that was given: finite, and symmetric but for rounding."""
    covariance = covariance.astype(np.float64)
    if not np.isfinite(covariance).all():
        raise NoiseError(
            "noise holds NaN or infinity among the real features; it must be a covariance, "
            "symmetric and positive definite"
        )
    away = np.abs(covariance - covariance.T).max(initial=0.0)
    if away > 1e-6 * np.abs(covariance).max(initial=0.0):
        raise NoiseError(
            f"noise must be symmetric, as covariances are; entries differ by up to {away:.3g} from "
            "those on the other side of the diagonal"
        )
    return np.asarray((covariance + covariance.T) / 2)


def factor(covariance: Array) -> Array:
    """Lower L (p, p) with L L' = Σ; an error where Σ is not positive definite."""
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(covariance)
    steps = np.diagonal(lower)
    # a share of the largest below which a pivot is the rounding of the others
    least = np.sqrt(len(lower) * np.finfo(np.float64).eps)
    if not steps.min(initial=1.0) > least * steps.max(initial=0.0):
        values = np.linalg.eigvalsh(covariance)
        raise NoiseError(
            "noise must be positive definite, its eigenvalues lie between "
            f"{values[0]:.3g} and {values[-1]:.3g}; shrink it, or use noise='shrinkage' or "
            "'diagonal'"
        )
    return np.asarray(lower)


def whitened(rows: Array, lower: Array) -> Array:
    """Rows (k, p) as L⁻¹ x, whose inner products are x' Σ⁻¹ y."""
    solved = scipy.linalg.solve_triangular(lower, rows.T, lower=True, check_finite=False)
    return np.ascontiguousarray(solved.T)


def _check_freedom(freedom: int, least: int) -> None:
    if freedom < least:
        raise NoiseError(
            f"the covariance of the noise needs {least} degrees of freedom at least, repetitions "
            f"of a stimulus beyond its first, and has {freedom}; measure more stimuli twice, or "
            "give noise=None or a covariance"
        )


def _check_noise(gram: Array, freedom: float, floor: Array) -> None:
    if (np.sqrt(np.diagonal(gram) / freedom) <= floor).all():
        raise NoiseError(
            "there is no noise, values are equal in all repetitions of a stimulus; give noise=None "
            "or a covariance"
        )
