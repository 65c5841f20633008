"""Models that are their consensus plus noise of one size at every stimulus.

Where a stimulus lies makes its neighbours steady or unsteady in all models at once, whatever the
noise. What that alone makes of a statistic is seen by dealing every model's residuals around the
consensus to other stimuli, independently of the other models: how noisy a stimulus is in one model
then says nothing about another, and all geometry stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.procrustes import align, reduce, spectral_start
from xconverge.kernels.vectors import Array

FOLDS = 4
"""Parts of the stimuli that are predicted from the others, to choose a rank."""
LOOSE = 1e-5
"""Tolerance of the spaces that a rank is chosen by."""
OUTER, INNER = 8, 8
"""Draws that are taken apart themselves, and draws of each, to see how far off a draw is."""


class Parts(NamedTuple):
    """One model (n, d): what the consensus says of it, and the rest; NaN where missing."""

    fitted: Array
    residual: Array


class _Space(NamedTuple):
    """Rows (M, n, q) of models in their space, who saw what (M, n), and the way to their features.

    A place a of model m has the features center + scale (a - shift) back.
    """

    placed: Array
    seen: Array
    center: Sequence[Array]
    back: Sequence[Array]
    shift: Array


def _space(models: Sequence[Array], train: Array, rank: int, tolerance: float) -> _Space:
    """Generalised Procrustes of the first ``rank`` components, fitted to the stimuli ``train``."""
    dim = min(rank, max(x.shape[1] for x in models))
    reduced = [reduce(x, x.shape[1], train, min(rank, x.shape[1]), dim) for x in models]
    rows = np.stack([one.rows for one in reduced])
    seen = np.stack([one.seen for one in reduced])
    solution = align(rows, seen, spectral_start(rows), tolerance, 500)
    placed, there = [], []
    for x, one, rotation, shift in zip(
        models, reduced, solution.rotation, solution.shift, strict=True
    ):
        frame = one.frame
        there.append(np.asarray(np.isfinite(x).all(1)))
        moved = (x - frame.center) @ frame.basis @ rotation / frame.scale + shift
        placed.append(np.where(there[-1][:, None], moved, 0.0))
    back = [
        one.frame.scale * (one.frame.basis @ rotation).T
        for one, rotation in zip(reduced, solution.rotation, strict=True)
    ]
    return _Space(
        np.stack(placed), np.stack(there), [one.frame.center for one in reduced], back,
        solution.shift,
    )  # fmt: skip


def parts(models: Sequence[Array], rank: int, tolerance: float = 1e-8) -> list[Parts]:
    """Each model (n, d) as its consensus in a space of this rank, and what is left.

    What lies outside the space belongs to the rest. A consensus holds a share of each model's own
    noise: residuals inside the space are too small by sqrt((M - 1) / M), which is taken back.
    """
    n = len(models[0])
    space = _space(models, np.ones(n, bool), rank, tolerance)
    count = space.seen.sum(0)
    consensus = space.placed.sum(0) / np.maximum(count, 1)[:, None]
    growth = np.sqrt(count / np.maximum(count - 1, 1))[:, None]
    result = []
    for m, x in enumerate(models):
        inside = (space.placed[m] - consensus) @ space.back[m]
        fitted = space.center[m] + (consensus - space.shift[m]) @ space.back[m]
        rest = x - fitted + (growth - 1) * inside
        fitted[~space.seen[m]] = np.nan
        result.append(Parts(fitted, rest))
    return result


def relative(model: Parts) -> tuple[Array, Parts]:
    """Norms (n) of what is fitted, and the model with residuals divided by them."""
    norm = np.linalg.norm(model.fitted, axis=1)
    size = np.where(norm > 0, norm, 1.0)
    return size, Parts(model.fitted, model.residual / size[:, None])


def drawn(model: Parts, order: Array, size: Array | None = None) -> Array:
    """The model (n, d) with the residuals of other stimuli, times a ``size`` (n) where given."""
    rest = model.residual[order]
    if size is not None:
        rest = rest * size[:, None]
    return np.asarray(model.fitted + rest)


def null(
    models: Sequence[Parts],
    space_rank: int,
    statistic: Callable[[Sequence[Array]], float],
    n_draws: int,
    label_rank: Array,
    seed: int,
    by_norm: bool,
) -> Array:
    """Values (B) of a statistic of the models where their noise is equal at every stimulus.

    A consensus keeps a share of the noise, so that draws have more of it than the models, part of
    it alike in all: their statistic is off by a little. How much is seen by taking a few draws
    apart as if they were the data, and drawing from these again; all values are moved by it (a
    nested bootstrap, Beran 1987, Biometrika 74).

    Parameters
    ----------
    models : sequence of Parts
        From `parts`, of a space of ``space_rank``.
    statistic : callable
        Of models (n, d).
    n_draws : int
        B.
    label_rank : int array (n)
        Rank of every stimulus's label: what is dealt follows labels.
    seed : int
        What the draws depend on.
    by_norm : bool
        Whether noise is equal against the norm of a stimulus, or as it is.
    """

    def dealt(of: Sequence[Parts], *number: int) -> list[Array]:
        result = []
        for m, part in enumerate(of):
            size, part = relative(part) if by_norm else (None, part)
            there = np.asarray(np.isfinite(part.fitted).all(1))
            place = np.argsort(label_rank)
            place = place[there[place]]
            order = np.arange(len(there))
            order[place] = np.random.default_rng([seed, m, *number]).permutation(place)
            result.append(drawn(part, order, size))
        return result

    values = np.empty(n_draws)
    gaps = []
    for number in range(n_draws):
        draw = dealt(models, number)
        values[number] = statistic(draw)
        if number < OUTER:
            inner = parts(draw, space_rank, LOOSE)
            again = [statistic(dealt(inner, number, 1 + one)) for one in range(INNER)]
            gaps.append(values[number] - np.mean(again))
    return np.asarray(values + np.mean(gaps))


def ranks_tried(models: Sequence[Array], n: int) -> list[int]:
    """Ranks that a choice is made from: powers of 2, up to a quarter of the stimuli."""
    most = max(1, min(n // FOLDS, *(x.shape[1] for x in models)))
    return [rank for rank in 2 ** np.arange(12) if rank < most] + [most]


def chosen_rank(models: Sequence[Array], fold: Array) -> tuple[int, Array, Array]:
    """The rank of the space that predicts held-out stimuli of a model from the others best.

    The largest rank that is not worse than the best by more than its standard error: a space that
    is too small moves what the models share into the residuals, and the test then rejects too
    often; one that is too large costs power.

    Parameters
    ----------
    models : sequence of arrays (n, d)
    fold : int array (n)
        The part of every stimulus.

    Returns
    -------
    rank : int
    tried : int array (R)
    error : array (R)
        Share of the models' sum of squares that is not predicted.
    """
    errors, tried = [], []
    for rank in ranks_tried(models, len(fold)):
        errors.append(_held_out(models, rank, fold))
        tried.append(rank)
        best = min(errors, key=np.sum)
        # far beyond the best, larger spaces only get worse
        if len(errors) > 2 and all(_worse(error, best) for error in errors[-2:]):
            break
    fine = [rank for rank, error in zip(tried, errors, strict=True) if not _worse(error, best)]
    return max(fine), np.array(tried), np.array([error.sum() for error in errors])


def _worse(error: Array, best: Array) -> bool:
    """Whether errors (n) exceed the best ones by more than the standard error of the sum."""
    gap = error - best
    return bool(gap.sum() > gap.std() * np.sqrt(len(gap)))


def _held_out(models: Sequence[Array], rank: int, fold: Array) -> Array:
    """Squared error (n) of every stimulus as the other models tell it, as a share of all squares.

    Each direction of the consensus counts as much as it did inside the fit: noisy ones little.
    """
    error = np.zeros(len(fold))
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        space = _space(models, train, rank, LOOSE)
        count = space.seen.sum(0)
        total = space.placed.sum(0)
        _, _, axes = np.linalg.svd(total[train], full_matrices=False)
        for m, x in enumerate(models):
            others = count - space.seen[m]
            mean = (total - space.placed[m]) / np.maximum(others, 1)[:, None] @ axes.T
            own = space.placed[m] @ axes.T
            known = space.seen[m] & (others > 0)
            fit = known & train
            share = (own[fit] * mean[fit]).sum(0) / np.maximum((mean[fit] ** 2).sum(0), 1e-300)
            asked = known & test
            place = (share * mean[asked]) @ axes
            told = space.center[m] + (place - space.shift[m]) @ space.back[m]
            size = np.nanvar(x, axis=0).sum() * space.seen[m].sum()
            error[asked] += ((x[asked] - told) ** 2).sum(1) / size
    return error / len(models)
