"""Generalised Procrustes: orthogonal maps of many models into one space (Gower 1975).

From the rows of models in memory, or from their cross-products: the objective and every fit of one
model to the others are functions of the X_m'X_l alone, so that rows which have the same products,
however few, do as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from xconverge.kernels.axes import LEAST, Eigenvectors, leading, principal_axes
from xconverge.kernels.blocks import on_cores
from xconverge.kernels.lapack import singular_vectors
from xconverge.kernels.rounding import DOUBLE, exponent_of, of_spectrum, relative, scaled
from xconverge.kernels.sums import (
    Products,
    Spread,
    by_fold,
    merged_folds,
    merged_spreads,
    products,
    spread,
)
from xconverge.kernels.vectors import Array, present

MOMENTUM = 0.3
"""Share of the consensus's last step that is added to it: 3 to 4 times fewer passes."""
LARGE = 200
"""Components from which on passes are in single precision first, and a loose tolerance usual."""
SINGLE = 1e-7
"""Share of the objective that single precision can tell."""
SETTLED = 3
"""Passes in single precision after which models only turn a little more: products do for an SVD."""
STEPS = 5
"""Steps of conjugate gradients to such a turn."""
TOGETHER, MANY, WIDE = 2, 8, 500
"""Models that turn side by side, where these are so many and have so many components.

A turn of fewer takes not much longer than what a second core needs to start.
"""


class Frame(NamedTuple):
    """How one model is centred, reduced and scaled: (x - center) @ basis / scale.

    ``center`` (F) is NaN beyond the width; ``basis`` (F, d) has orthonormal columns, or zero
    columns where the model is narrower. Rounding leaves rows off by ``error``.
    """

    center: Array
    basis: Array
    scale: float
    error: float = 0.0

    def times(self, power: int) -> Frame:
        """Of rows multiplied by 2^power."""
        if not power:
            return self
        scale = float(np.ldexp(self.scale, power))
        return self._replace(center=scaled(self.center, power), scale=scale)


class Reduced(NamedTuple):
    """Rows (n, d) of one model in its frame, zero where missing, and which are there (n)."""

    rows: Array
    seen: Array
    frame: Frame


class Solution(NamedTuple):
    """Rotations (M, d, d), shifts (M, d), consensus (n, d), objective per iteration."""

    rotation: Array
    shift: Array
    consensus: Array
    objective: Array


def reduce(
    x: Array,
    width: int,
    train: Array,
    n_components: int | None,
    dim: int,
    eigenvectors: Eigenvectors = leading,
) -> Reduced:
    """Centre the real features of ``x`` (n, F), reduce them, zero-pad to ``dim``, scale.

    Fitted to the stimuli ``train`` (n), the others count as missing. The rows end with the sum of
    squares n_seen / n, a Frobenius norm of 1 where none is missing. More features than stimuli are
    first reduced to the directions that these stimuli span, which loses nothing of them.
    ``eigenvectors`` says how directions are found.
    """
    rows = x[:, :width].astype(np.float64)
    seen = present(rows) & train
    rows[~seen] = 0.0
    exponent = exponent_of(rows)
    rows = scaled(rows, -exponent)
    center = rows[seen].mean(0) if seen.any() else np.zeros(width)
    rows[seen] -= center
    if n_components is None and width <= seen.sum():
        basis = np.eye(width)
    else:
        least = of_spectrum(x.dtype, width)
        count = n_components or max(1, int(seen.sum()))
        basis = principal_axes(rows, count, least, eigenvectors)
        rows = rows @ basis
    counts, size = (int(seen.sum()), len(seen)), (x.shape[1], dim)
    norm, off = float(np.linalg.norm(rows)), relative(x.dtype, width)
    frame = framed(center, basis, norm, counts, size, off)
    padding = ((0, 0), (0, dim - rows.shape[1]))
    return Reduced(np.pad(rows / frame.scale, padding), seen, frame.times(exponent))


def framed(
    center: Array,
    basis: Array,
    norm: float,
    counts: tuple[int, int],
    size: tuple[int, int],
    off: float,
) -> Frame:
    """The frame (F, d) of ``size``, of a model whose reduced rows have this norm.

    ``counts`` are the stimuli that it was fitted to, and all; rows were off by a share ``off``.
    """
    n_seen, n = counts
    if not n_seen:
        raise ValueError("it saw no stimulus; leave it out")
    if norm <= off * np.hypot(np.linalg.norm(center) * np.sqrt(n_seen), norm):
        raise ValueError("all its stimuli have the same vector; it has no place in a shared space")
    width, axes = basis.shape
    below, beside = size[0] - width, size[1] - axes
    # as if the stimuli that it missed were as large as the others
    scale = float(norm * np.sqrt(n / n_seen))
    # of rows up to four times the usual size; a rotation of d columns is off by √d units and more
    usual = norm / np.sqrt(n_seen)
    error = off * (float(np.linalg.norm(center)) + 4 * usual) / scale
    error += 16 * DOUBLE * np.sqrt(size[1]) * usual / scale
    return Frame(
        np.pad(center, (0, below), constant_values=np.nan),
        np.pad(basis, ((0, below), (0, beside))),
        scale,
        float(error),
    )


# --- frames and cross-products of models that are read block by block


class Folds(NamedTuple):
    """How many features a model has, and the spread of its rows, fold by fold."""

    width: int
    spreads: dict[int, Spread]


def folds_of(block: Array, width: int, fold: Array) -> Folds:
    """Of a block (b, F) and its folds (b); rows that are missing are left out."""
    rows = block[:, :width]
    seen = present(rows)
    return Folds(width, by_fold(rows[seen], fold[seen]))


def merged_blocks(parts: Sequence[Folds]) -> Folds:
    """Of several blocks."""
    return Folds(parts[0].width, merged_folds([part.spreads for part in parts]))


def frames(
    of: Folds, n_stimuli: int, n_folds: int, n_components: int | None, size: tuple[int, int]
) -> tuple[Array, Array, Array, Array, Array]:
    """The frames (F, d) of ``size`` of all stimuli, then of all but each of ``n_folds``.

    Returns the number of stimuli seen (), centers (K, F), bases (K, F, d), scales and errors (K).
    """
    found = []
    for left_out in range(-1, n_folds):
        found.append(_frame(_known(of, left_out), n_stimuli, n_components, size))
    total = sum(part.size for part in of.spreads.values())
    centers, bases, scales, errors = (np.stack(field) for field in zip(*found, strict=True))
    return np.asarray(total), centers, bases, scales, errors


def _known(of: Folds, left_out: int) -> Spread:
    known = [part for number, part in of.spreads.items() if number != left_out]
    return merged_spreads(known or [spread(np.empty((0, of.width)))])


def _frame(of: Spread, n_stimuli: int, n_components: int | None, size: tuple[int, int]) -> Frame:
    gram, width = of.products.gram, len(of.mean)
    least = of_spectrum(of.eps, width)
    basis = np.eye(width) if n_components is None else leading(gram, n_components, least)
    norm = float(np.sqrt(np.vdot(basis, gram @ basis)))
    counts, off = (of.size, n_stimuli), relative(of.eps, width)
    return framed(of.mean, basis, norm, counts, size, off).times(of.exponent)


def joined(
    block: Array,
    widths: Array,
    train: Array,
    centers: Array,
    bases: Array,
    scales: Array,
    goal: Array,
) -> Products:
    """Products of the models (M, b, F) in their frames, side by side, and with a goal after them.

    Over the rows ``train`` (b). The goal is linear in the features, ``goal`` (M, F, e) of them.
    """
    (n_models, _, dim), e = bases.shape, goal.shape[2]
    rows = np.zeros((np.count_nonzero(train), n_models * dim + e))
    for m, width in enumerate(widths):
        values = block[m][train, :width] - centers[m, :width]
        rows[:, m * dim : (m + 1) * dim] = values @ bases[m, :width] / scales[m]
        rows[:, n_models * dim :] += values @ goal[m, :width]
    return products(rows)


def cross_products(of: Products, size: int) -> tuple[Array, Array]:
    """All cross-products (M d, M d) of the models, ``size`` being M d, and those with the goal."""
    gram = of.gram
    return gram[:size, :size], gram[:size, size:]


def virtual_rows(gram: Array, n_models: int) -> Array:
    """Rows (M, r, d) that have these cross-products (M d, M d): as good as the rows themselves.

    A factor R of R'R, so that the rows are those of the stimuli in an orthonormal basis of what
    the models span. Rotations, objective and starts are the same; r <= M d.
    """
    factor, order, rank, _ = scipy.linalg.lapack.dpstrf(gram)
    rows = np.empty((rank, len(gram)))
    rows[:, order - 1] = np.triu(factor)[:rank]
    return rows.reshape(rank, n_models, -1).swapaxes(0, 1)


def usual_tolerance(dim: int) -> float:
    """Of a space of so many components: the last digits of large ones take too many passes.

    What is left then is as much as optima differ that other starts lead to.
    """
    return 1e-5 if dim >= LARGE else 1e-8


def spectral_start(x: Array, eigenvectors: Eigenvectors = leading) -> Array:
    """Consensus (n, d) from the leading directions that the models (M, n, d) share."""
    models, n, dim = x.shape
    if models * dim <= n:
        joined = x.swapaxes(0, 1).reshape(n, -1)
        start = joined @ eigenvectors(joined.T @ joined, dim, LEAST)
    else:
        gram = np.einsum("mid,mjd->ij", x, x, optimize=True)
        vectors = eigenvectors(gram, dim, LEAST)
        start = vectors * np.sqrt(np.vecdot(vectors.T, (gram @ vectors).T))
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
    rises. Shifts are zero unless stimuli are missing. Of many large models two turn at a time, each
    to where the other was; where that raises the objective, or is at its end, one after the other
    does from there on.
    Stops when a pass over the models lowers the objective by less than ``tolerance`` of itself.
    Large models are turned in single precision first, as far as that tells, and then in double;
    models in single precision stay there.
    """
    if x.dtype == np.float32:
        return _alternated(x, seen, _polars(x, start), tolerance, max_iterations, SINGLE)
    first, rotation = np.empty(0), np.empty(0)
    if x.shape[2] >= LARGE and max_iterations > 1:
        single, coarse = x.astype(np.float32), max(tolerance, SINGLE)
        turned = _alternated(
            single, seen, _polars(single, start), coarse, max_iterations - 1, SINGLE
        )
        # models that agree as well as single precision tells are fitted in double alone
        if turned.objective[-1] > SINGLE * len(x):
            first, rotation = turned.objective, _orthogonal(turned.rotation.astype(np.float64))
        del single, turned
    begun = len(first) > 0
    if not begun:
        rotation = _polars(x, start)
    # where single precision tells enough, a last pass makes the digits those of double
    left = 1 if begun and tolerance >= SINGLE else max_iterations - len(first)
    solution = _alternated(x, seen, rotation, tolerance, left, 1e-28, begun)
    # what single precision took for the objective may be off by its rounding
    history = np.maximum.accumulate(np.concatenate([first, solution.objective])[::-1])[::-1]
    return solution._replace(objective=history)


def _polars(x: Array, goal: Array) -> Array:
    """Rotations (M, d, d) of models (M, n, d), each onto the goal (n, d)."""
    goal = goal.astype(x.dtype)
    return np.stack(on_cores(lambda rows: _polar(rows.T @ goal), list(x), 4 * x[0].nbytes))


def _orthogonal(rotation: Array, steps: int = 2) -> Array:
    """Nearly orthogonal matrices (…, d, d) made so by steps of Newton and Schulz."""
    for _ in range(steps):
        half = rotation.swapaxes(-1, -2) @ rotation
        half *= -0.5
        np.einsum("...ii->...i", half)[...] += 1.5
        rotation = np.matmul(rotation, half)
    return rotation


def _alternated(
    x: Array,
    seen: Array,
    rotation: Array,
    tolerance: float,
    max_iterations: int,
    least: float,
    begun: bool = False,
) -> Solution:
    """`align` from these rotations (M, d, d), which are written to, in the precision of ``x``.

    ``least`` is an objective, as a share of the models, that is only rounding. Rotations that have
    ``begun`` to fit have an objective that the first pass must lower.
    """
    count = np.maximum(seen.sum(0), 1)[:, None].astype(x.dtype)
    here = seen[:, :, None].astype(x.dtype)
    shift = np.zeros((len(x), x.shape[2]), x.dtype)
    aligned = here * (x @ rotation)
    history = [_objective(aligned, here, aligned.sum(0) / count) if begun else np.inf]
    share = MOMENTUM
    best = rotation.copy(), shift.copy()
    goal = previous = aligned.sum(0)
    single = x.dtype == np.float32
    together = TOGETHER if len(x) >= MANY and x.shape[2] >= WIDE else 1
    for _ in range(max_iterations):
        settled = single and len(history) > SETTLED
        passed = _one_pass(x, here, count, rotation, shift, aligned, goal.copy(), settled, together)
        objective = _objective(aligned, here, passed / count)
        if objective > history[-1]:
            rotation[...], shift[...] = best
            aligned = here * (x @ rotation + shift[:, None])
            goal = previous = aligned.sum(0)
            if together > 1:
                together = 1
                continue
            if objective - history[-1] <= tolerance * history[-1] or share < 0.01 * MOMENTUM:
                break
            share /= 2
            continue
        ended = history[-1] - objective <= tolerance * objective
        history.append(objective)
        if objective <= least * len(x) or (ended and together == 1):
            break
        if ended:
            together = 1
        goal = passed + x.dtype.type(share) * (passed - previous)
        previous, best = passed, (rotation.copy(), shift.copy())
    return Solution(rotation, shift, aligned.sum(0) / count, np.asarray(history[1:] or history))


def _objective(aligned: Array, here: Array, mean: Array) -> float:
    """Sum of squares about the mean (n, d), added up in double whatever the precision."""
    gaps = ((rows - mean) * there for rows, there in zip(aligned, here, strict=True))
    return float(sum(np.vecdot(gap, gap).sum(dtype=np.float64) for gap in gaps))


def _one_pass(
    x: Array,
    here: Array,
    count: Array,
    rotation: Array,
    shift: Array,
    aligned: Array,
    goal: Array,
    settled: bool,
    together: int,
) -> Array:
    """Fit every model to the others, in place; ``goal`` (n, d) is the sum over models to aim at.

    Without missing stimuli all means are zero, and so are the shifts; ``settled`` models then turn
    from where they are. So many turn ``together``. Returns the sum over the models as they are now.
    """
    whole = bool(here.all())

    def fit(m: int) -> Array:
        """What the model adds to the goal, by turning to the others."""
        rows, before = x[m], aligned[m].copy()
        rest = goal - before
        if whole:
            turn = _small_turn(before.T @ rest) if settled else None
            if turn is not None:
                rotation[m] = rotation[m] @ turn
                np.matmul(before, turn, out=aligned[m])
            else:
                rotation[m] = _polar(rows.T @ rest)
                np.matmul(rows, rotation[m], out=aligned[m])
        else:
            others = count - here[m]
            weight = here[m] * others / count
            target = rest / np.maximum(others, 1)
            share = weight / max(weight.sum(), 1e-300)
            center, target_center = (share * rows).sum(0), (share * target).sum(0)
            rotation[m] = _polar((weight * (rows - center)).T @ (target - target_center))
            shift[m] = target_center - center @ rotation[m]
            aligned[m] = here[m] * (rows @ rotation[m] + shift[m])
        moved: Array = np.subtract(aligned[m], before, out=before)
        return moved

    for start in range(0, len(x), together):
        for moved in on_cores(fit, range(len(x))[start : start + together], 12 * x[0].nbytes):
            goal += moved
    return np.asarray(aligned.sum(0))


def _small_turn(matrix: Array) -> Array | None:
    """About the orthogonal matrix closest to a nearly symmetric one (d, d), by products alone.

    Of B = exp(A) H with H symmetric and A = -A' small, AH + HA = B - B' and H = (B + B') / 2 to
    first order. Conjugate gradients solve that: HA = -(AH)', and H is near its diagonal, for the
    axes of the space are those of the consensus. None where H is not positive or A not small.
    """
    left = matrix - matrix.T
    half = matrix - 0.5 * left
    size = half.diagonal()
    if size.min() <= 0:
        return None
    weight = 1 / (size[:, None] + size)
    result = np.zeros_like(left)
    step = weight * left
    square = np.vdot(left, step)
    for number in range(STEPS):
        if square == 0:
            break
        half_moved = step @ half
        moved = half_moved - half_moved.T
        curve = np.vdot(step, moved)
        if not curve > 0:
            return None
        length = square / curve
        result += np.multiply(step, length, out=half_moved)
        if number == STEPS - 1:
            break
        moved *= length
        left -= moved
        np.multiply(weight, left, out=moved)
        before, square = square, np.vdot(left, moved)
        step *= square / before
        step += moved
    # T = exp(A) to the second order, and T'T = 1 + E with E = A⁴ / 4
    turn = result @ result
    off = np.vdot(turn, turn) / 4
    if off > 0.1:
        return None
    too_much = turn @ turn if off > 1e-10 else None
    turn *= 0.5
    turn += result
    turn.flat[:: len(turn) + 1] += 1
    if too_much is not None:
        # times 1 / √(1 + E) = 1 - E/2 + 3 E²/8 - ...
        too_much *= 0.25
        less = too_much * -0.5
        if off > 1e-3:
            less += 0.375 * (too_much @ too_much)
        turn += turn @ less
    return np.asarray(turn if off < 0.01 else _orthogonal(turn, 1))


def _polar(matrix: Array) -> Array:
    """The matrix with orthonormal rows or columns that is closest to this one."""
    if matrix.dtype == np.float32:
        u, vt = singular_vectors(matrix)
    else:
        u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(u @ vt)


def placed(
    x: Array,
    width: int,
    fold: Array,
    rotation: Array,
    center: Array,
    scale: Array,
    shift: Array,
) -> Array:
    """Coordinates (n, c) of rows ``x`` (n, F) in the space; NaN where missing.

    By the fit of their ``fold`` (n): ``rotation`` (K, F, c), ``center`` (K, F), ``scale`` (K) and
    ``shift`` (K, c).
    """
    rows = x[:, :width].astype(np.float64)
    present(rows)
    result = np.empty((len(rows), rotation.shape[2]))
    for number in np.unique(fold):
        mine = fold == number
        turned = (rows[mine] - center[number, :width]) @ rotation[number, :width]
        result[mine] = turned / scale[number] + shift[number]
    return result


def rotation_onto(start: Array, goal: Array) -> Array:
    """The orthogonal matrix that brings ``start`` (n, d) closest to ``goal`` (n, d)."""
    return _polar(start.T @ goal)
