"""Generalised Procrustes: orthogonal maps of many models into one space."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from xconverge.kernels.rows import Array, RowError


class Reduced(NamedTuple):
    """One model, centred, reduced and scaled: rows (n, d), zero where missing."""

    rows: Array
    seen: Array
    center: Array
    basis: Array
    scale: float


class Solution(NamedTuple):
    """Rotations (M, d, d), aligned rows (M, n, d), consensus (n, d), objective per iteration."""

    rotation: Array
    aligned: Array
    consensus: Array
    objective: Array


def reduce(x: Array, width: int, n_components: int | None, dim: int) -> Reduced:
    """Centre the real features of ``x`` (n, F), reduce them, zero-pad to ``dim``, scale.

    The rows end with the sum of squares n_seen / n, a Frobenius norm of 1 where none is missing.
    ``basis`` (F, dim) has orthonormal columns, or zero columns where the model is narrower.
    """
    rows = x[:, :width].astype(np.float64)
    missing = np.isnan(rows).all(1)
    faulty = ~np.isfinite(rows).all(1) & ~missing
    if faulty.any():
        raise RowError("NaN or infinity inside a row", np.argwhere(faulty))
    seen = np.asarray(~missing)
    if not seen.any():
        raise ValueError("it saw no stimulus; leave it out")
    center = rows[seen].mean(0)
    rows[seen] -= center
    rows[~seen] = 0.0
    basis = np.eye(width) if n_components is None else principal_axes(rows, n_components)
    rows = rows if n_components is None else rows @ basis
    norm = np.linalg.norm(rows)
    if norm <= 1e-12 * np.linalg.norm(center) * np.sqrt(seen.sum()):
        raise ValueError("all its stimuli have the same vector; it has no place in a shared space")
    scale = float(norm * np.sqrt(len(rows) / seen.sum()))
    pad = dim - rows.shape[1]
    return Reduced(
        np.pad(rows / scale, ((0, 0), (0, pad))),
        seen,
        np.pad(center, (0, x.shape[1] - width), constant_values=np.nan),
        np.pad(basis, ((0, x.shape[1] - width), (0, pad))),
        scale,
    )


def principal_axes(rows: Array, n_components: int) -> Array:
    """Orthonormal axes (f, c) of the largest variance of centred rows (n, f); c <= n_components.

    From the smaller of the two Gram matrices; axes without variance are left out.
    """
    n, width = rows.shape
    wide = width > n
    gram = rows @ rows.T if wide else rows.T @ rows
    first = max(0, len(gram) - n_components)
    values, vectors = eigh(gram, subset_by_index=(first, len(gram) - 1))
    real = values > 1e-13 * max(values[-1], 0.0)
    vectors = vectors[:, real][:, ::-1]
    if not wide:
        return np.asarray(vectors)
    axes, _ = np.linalg.qr(rows.T @ vectors)
    return np.asarray(axes)


def spectral_start(x: Array) -> Array:
    """Consensus (n, d) from the leading directions that the models (M, n, d) share."""
    models, n, dim = x.shape
    if models * dim <= n:
        joined = x.transpose(1, 0, 2).reshape(n, -1)
        values, vectors = np.linalg.eigh(joined.T @ joined)
        start = joined @ vectors[:, ::-1][:, :dim]
    else:
        values, vectors = np.linalg.eigh(np.einsum("mid,mjd->ij", x, x, optimize=True))
        start = vectors[:, ::-1][:, :dim] * np.sqrt(np.maximum(values[::-1][:dim], 0))
    return np.pad(start, ((0, 0), (0, dim - start.shape[1])))


def random_start(x: Array, rng: np.random.Generator) -> Array:
    """Consensus (n, d) of randomly rotated models (M, n, d)."""
    rotation, _ = np.linalg.qr(rng.standard_normal((len(x), x.shape[2], x.shape[2])))
    return np.asarray(np.matmul(x, rotation).mean(0))


def align(x: Array, seen: Array, start: Array, tolerance: float, max_iterations: int) -> Solution:
    """Minimise the sum of |X_m Q_m + t_m - Z|² over orthogonal Q_m and shifts t_m, Z the mean.

    One model after the other is fitted exactly to the mean of the *others*, so that the objective
    never rises, and no model holds itself in place. Shifts are zero unless stimuli are missing.
    Stops when a pass over the models lowers the objective by less than ``tolerance`` of itself.
    """
    count = np.maximum(seen.sum(0), 1)[:, None]
    here = seen[:, :, None].astype(np.float64)
    rotation = np.stack([_polar(rows.T @ start) for rows in x])
    aligned = x @ rotation
    history = [np.inf]
    while True:
        total = aligned.sum(0)
        for m, rows in enumerate(x):
            rest, others = total - aligned[m], count - here[m]
            weight = here[m] * others / count
            goal = rest / np.maximum(others, 1)
            share = weight / max(weight.sum(), 1e-300)
            center, goal_center = (share * rows).sum(0), (share * goal).sum(0)
            rotation[m] = _polar((weight * (rows - center)).T @ (goal - goal_center))
            aligned[m] = here[m] * ((rows - center) @ rotation[m] + goal_center)
            total = rest + aligned[m]
        consensus = aligned.sum(0) / count
        gap = (aligned - consensus) * here
        history.append(float(np.vecdot(gap, gap).sum()))
        small = history[-2] - history[-1] <= tolerance * history[-1]
        if small or history[-1] <= 1e-28 * len(x) or len(history) > max_iterations:
            return Solution(rotation, aligned, consensus, np.asarray(history[1:]))


def _polar(matrix: Array) -> Array:
    """The orthogonal matrix closest to this one."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)


def angle(x: Array, width_x: int, y: Array, width_y: int) -> float:
    """Angle in radians between centred rows ``x`` (n, F) and ``y`` (n, G), rotated to be least.

    arccos of the nuclear norm of X'Y at unit Frobenius norm; from the residual where it is small,
    because a cosine near 1 has lost its digits.
    """
    common = ~(np.isnan(x[:, 0]) | np.isnan(y[:, 0]))
    x, y = (
        np.asarray(rows[common, :width], np.float64) for rows, width in ((x, width_x), (y, width_y))
    )
    x, y = x - x.mean(0), y - y.mean(0)
    size = np.linalg.norm(x), np.linalg.norm(y)
    if common.sum() < 2 or not all(size):
        warnings.warn(
            "a Procrustes angle needs at least 2 common stimuli that differ: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return np.nan
    x, y = x / size[0], y / size[1]
    u, values, vt = np.linalg.svd(x.T @ y, full_matrices=False)
    if values.sum() < 1 - 1e-6:
        return float(np.arccos(values.sum()))
    gap = x @ u - y @ vt.T
    rest = x - (x @ u) @ u.T, y - (y @ vt.T) @ vt
    square = np.vdot(gap, gap) + sum(np.vdot(part, part) for part in rest)
    return float(2 * np.arcsin(min(1.0, np.sqrt(square) / 2)))
