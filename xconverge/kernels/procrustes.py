"""Generalised Procrustes: orthogonal maps of many models into one space."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.rows import Array, present

MOMENTUM = 0.3
"""Share of the consensus's last step that is added to it: 3 to 4 times fewer passes."""


class Reduced(NamedTuple):
    """One model, centred, reduced and scaled: rows (n, d), zero where missing."""

    rows: Array
    seen: Array
    center: Array
    basis: Array
    scale: float


class Solution(NamedTuple):
    """Rotations (M, d, d), shifts (M, d), consensus (n, d), objective per iteration."""

    rotation: Array
    shift: Array
    consensus: Array
    objective: Array


def reduce(x: Array, width: int, train: Array, n_components: int | None, dim: int) -> Reduced:
    """Centre the real features of ``x`` (n, F), reduce them, zero-pad to ``dim``, scale.

    Fitted to the stimuli ``train`` (n), the others count as missing. The rows end with the sum of
    squares n_seen / n, a Frobenius norm of 1 where none is missing. More features than stimuli are
    first reduced to the directions that these stimuli span, which loses nothing of them.
    ``basis`` (F, dim) has orthonormal columns, or zero columns where the model is narrower.
    """
    rows = x[:, :width].astype(np.float64)
    seen = present(rows) & train
    if not seen.any():
        raise ValueError("it saw no stimulus; leave it out")
    center = rows[seen].mean(0)
    rows[seen] -= center
    rows[~seen] = 0.0
    if n_components is None and width <= seen.sum():
        basis = np.eye(width)
    else:
        basis = principal_axes(rows, n_components or int(seen.sum()))
        rows = rows @ basis
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
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
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

    One model after the other is fitted exactly to the mean of the *others*, so that no model holds
    itself in place, and to where that mean is moving: extrapolated by a share of its last step. A
    pass that raises the objective is undone and its share halved, so that the objective never
    rises. Shifts are zero unless stimuli are missing.
    Stops when a pass over the models lowers the objective by less than ``tolerance`` of itself.
    """
    count = np.maximum(seen.sum(0), 1)[:, None]
    here = seen[:, :, None].astype(np.float64)
    rotation = np.stack([_polar(rows.T @ start) for rows in x])
    shift = np.zeros((len(x), x.shape[2]))
    aligned = x @ rotation
    history, share = [np.inf], MOMENTUM
    best = rotation.copy(), shift.copy()
    goal = previous = aligned.sum(0)
    for _ in range(max_iterations):
        total = _one_pass(x, here, count, rotation, shift, aligned, goal.copy())
        gap = (aligned - total / count) * here
        objective = float(np.vdot(gap, gap))
        if objective > history[-1]:
            rotation[...], shift[...] = best
            aligned = here * (x @ rotation + shift[:, None])
            goal = previous = aligned.sum(0)
            if objective - history[-1] <= tolerance * history[-1] or share < 0.01 * MOMENTUM:
                break
            share /= 2
            continue
        drop = history[-1] - objective
        history.append(objective)
        if drop <= tolerance * objective or objective <= 1e-28 * len(x):
            break
        goal = total + share * (total - previous)
        previous, best = total, (rotation.copy(), shift.copy())
    return Solution(rotation, shift, aligned.sum(0) / count, np.asarray(history[1:]))


def _one_pass(
    x: Array, here: Array, count: Array, rotation: Array, shift: Array, aligned: Array, goal: Array
) -> Array:
    """Fit every model to the others, in place; ``goal`` (n, d) is the sum over models to aim at.

    Without missing stimuli all means are zero, and so are the shifts. Returns the sum over the
    models as they are now.
    """
    whole = bool(here.all())
    for m, rows in enumerate(x):
        rest = goal - aligned[m]
        if whole:
            rotation[m] = _polar(rows.T @ rest)
            goal = np.add(rest, np.matmul(rows, rotation[m], out=aligned[m]), out=rest)
            continue
        others = count - here[m]
        weight = here[m] * others / count
        target = rest / np.maximum(others, 1)
        share = weight / max(weight.sum(), 1e-300)
        center, target_center = (share * rows).sum(0), (share * target).sum(0)
        rotation[m] = _polar((weight * (rows - center)).T @ (target - target_center))
        shift[m] = target_center - center @ rotation[m]
        aligned[m] = here[m] * (rows @ rotation[m] + shift[m])
        goal = rest + aligned[m]
    return np.asarray(aligned.sum(0))


def _polar(matrix: Array) -> Array:
    """The matrix with orthonormal rows or columns that is closest to this one."""
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
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


def transformed(
    x: Array, width: int, rotation: Array, center: Array, scale: float, shift: Array
) -> Array:
    """Coordinates (n, c) of rows ``x`` (n, F) in the space; NaN where missing."""
    rows = x[:, :width].astype(np.float64)
    present(rows)
    return np.asarray((rows - center[:width]) @ rotation[:width] / scale + shift)


def rotation_onto(start: Array, goal: Array) -> Array:
    """The orthogonal matrix that brings ``start`` (n, d) closest to ``goal`` (n, d)."""
    return _polar(start.T @ goal)
