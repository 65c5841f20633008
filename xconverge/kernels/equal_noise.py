"""Models that are their consensus plus noise of one size at every stimulus.

Where a stimulus lies makes its neighbours steady or unsteady in all models at once, whatever the
noise. What that alone makes of a statistic is seen by dealing every model's residuals around the
consensus to other stimuli, independently of the other models: how noisy a stimulus is in one model
then says nothing about another, and all geometry stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from xconverge.kernels.axes import leading_in_single, told_in_single
from xconverge.kernels.blocks import on_cores
from xconverge.kernels.procrustes import Reduced, align, reduce, spectral_start
from xconverge.kernels.vectors import Array

FOLDS = 4
"""Parts of the stimuli that are predicted from the others, to choose a rank."""
HELD_OUT = 300
"""Stimuli that are enough to choose a rank by: of many stimuli not every part is held out."""
LOOSE = 1e-4
"""Tolerance of spaces: what is left moves a statistic of draws less than their number does."""


class Parts(NamedTuple):
    """One model (n, d): what the consensus says of it, and the rest; NaN where missing.

    The rest is to be multiplied by ``size`` (n), where given, of the stimulus that it falls to.
    Orthonormal ``axes`` (d, q), where given, span all that is fitted.
    """

    fitted: Array
    residual: Array
    size: Array | None = None
    axes: Array | None = None


Statistic = Callable[[Sequence[Array]], float]
"""Of models (n, d)."""


class OfDraws(Protocol):
    """A statistic of draws, each given by the orders (n) of every model's residuals."""

    def __call__(self, orders: Sequence[Array]) -> float:
        """Of one draw."""

    def of_several(self, draws: Sequence[Sequence[Array]]) -> list[float]:
        """Of several, which may share what they read."""


Prepare = Callable[[Sequence[Parts]], OfDraws]
"""Makes, once for all draws, what they need of models taken apart."""


class _Scored(NamedTuple):
    """A model by its components: the scores (n, q) of all that it saw (n), 0 of the others."""

    reduced: Reduced
    scores: Array
    seen: Array


class _Space(NamedTuple):
    """Rows (M, n, r) of models in their space, and the way back to their components.

    A place a of model m has the scores (a - shift) @ back.
    """

    placed: Array
    back: Sequence[Array]
    shift: Array


def components_of(models: Sequence[Array], train: Array, most: int) -> list[Reduced]:
    """Principal components of each model (n, d), fitted to the stimuli ``train``, up to ``most``.

    Those of a smaller space are the first of them.
    """

    def fitted(x: Array) -> Reduced:
        return _fitted_to(train, x, min(most, x.shape[1]))

    return on_cores(fitted, models, 3 * max(x.nbytes for x in models))


def _fitted_to(train: Array, x: Array, count: int) -> Reduced:
    """A model reduced to ``count`` components of the stimuli ``train``, from their rows alone."""
    seen = np.ones(np.count_nonzero(train), bool)
    one = reduce(x[train], x.shape[1], seen, count, count, leading_in_single)
    if train.all():
        return one
    # as if the others were there, and missing
    grown = np.sqrt(len(train) / len(one.rows))
    rows, seen = np.zeros((len(train), count)), np.zeros(len(train), bool)
    rows[train], seen[train] = one.rows / grown, one.seen
    return Reduced(rows, seen, one.frame._replace(scale=float(one.frame.scale * grown)))


def _scored(x: Array, one: Reduced) -> _Scored:
    """A model (n, d) by its components, with stimuli that these were not fitted to."""
    seen = np.asarray(np.isfinite(x).all(1))
    scores = (x - one.frame.center) @ one.frame.basis
    return _Scored(one, np.where(seen[:, None], scores, 0.0), seen)


def _first(one: Reduced, rank: int, dim: int) -> tuple[Array, float]:
    """Rows (n, dim) of the first components, as if never reduced to more, and their scale."""
    rows = one.rows[:, :rank]
    share = np.linalg.norm(rows) / np.linalg.norm(one.rows)
    return np.pad(rows / share, ((0, 0), (0, dim - rows.shape[1]))), one.frame.scale * float(share)


def _space(models: Sequence[_Scored], rank: int) -> _Space:
    """Generalised Procrustes of the first ``rank`` components."""
    dim = min(rank, max(len(one.reduced.frame.basis) for one in models))
    rows, scales = zip(*(_first(one.reduced, rank, dim) for one in models), strict=True)
    x, seen = np.stack(rows), np.stack([one.reduced.seen for one in models])
    # stimuli that are held out of all models are zero rows, which cost as much as others
    fit = seen.any(0)
    variances = np.einsum("mnd,mnd->md", x, x)
    told = all(told_in_single(own[own > 0], x.shape[1]) for own in variances)
    alone = np.ascontiguousarray(x[:, fit], np.float32 if told else np.float64)
    start = spectral_start(alone, leading_in_single)
    solution = align(alone, seen[:, fit], start, LOOSE, 500)
    rotations, shifts = (x.astype(np.float64) for x in (solution.rotation, solution.shift))
    placed, back = [], []
    for one, scale, rotation, shift in zip(models, scales, rotations, shifts, strict=True):
        scores = one.scores[:, :rank]
        turn = rotation[: scores.shape[1]]
        placed.append(np.where(one.seen[:, None], scores @ (turn / scale) + shift, 0.0))
        back.append(scale * turn.T)
    return _Space(np.stack(placed), back, shifts)


def parts(
    models: Sequence[Array],
    rank: int,
    components: Sequence[Reduced] | None = None,
) -> list[Parts]:
    """Each model (n, d) as its consensus in a space of this rank, and what is left.

    What lies outside the space belongs to the rest. A consensus holds a share of each model's own
    noise: residuals inside the space are too small by sqrt((M - 1) / M), which is taken back.
    ``components`` are those of all stimuli, at least as many, where they are known.
    """
    if components is None:
        components = components_of(models, np.ones(len(models[0]), bool), rank)
    scored = [_scored(*one) for one in zip(models, components, strict=True)]
    space, seen = _space(scored, rank), [one.seen for one in scored]
    count = np.sum(seen, axis=0)
    consensus = space.placed.sum(0) / np.maximum(count, 1)[:, None]
    growth = np.sqrt(count / np.maximum(count - 1, 1))[:, None]
    result = []
    for m, x in enumerate(models):
        center, basis, *_ = components[m].frame
        back = space.back[m] @ basis[:, : space.back[m].shape[1]].T
        inside = (space.placed[m] - consensus) @ back
        fitted = center + (consensus - space.shift[m]) @ back
        rest = x - fitted + (growth - 1) * inside
        fitted[~seen[m]] = np.nan
        result.append(Parts(fitted, rest, axes=_axes(center, back)))
    return result


def _axes(center: Array, back: Array) -> Array | None:
    """Orthonormal axes (d, 1 + q) of what is fitted, where these are so few that they save time."""
    q, d = back.shape
    return np.linalg.qr(np.column_stack([center, back.T]))[0] if 7 * (1 + q) < 3 * d else None


def relative(model: Parts) -> Parts:
    """The model with residuals divided by the norms (n) of what is fitted, to be given back."""
    norm = np.linalg.norm(model.fitted, axis=1)
    size = np.where(norm > 0, norm, 1.0)
    return Parts(model.fitted, model.residual / size[:, None], size, model.axes)


def drawn(model: Parts, order: Array) -> Array:
    """The model (n, d) with the residuals of other stimuli."""
    rest = model.residual[order]
    if model.size is not None:
        rest = rest * model.size[:, None]
    return np.asarray(model.fitted + rest)


def rows_of(statistic: Statistic) -> Prepare:
    """Any statistic of models, to be made of every draw anew."""
    return partial(_OfRows, statistic)


@dataclass(frozen=True)
class _OfRows:
    statistic: Statistic
    models: Sequence[Parts]

    def __call__(self, orders: Sequence[Array]) -> float:
        return self.statistic(
            [drawn(model, order) for model, order in zip(self.models, orders, strict=True)]
        )

    def of_several(self, draws: Sequence[Sequence[Array]]) -> list[float]:
        return [self(orders) for orders in draws]


def places(models: Sequence[Parts], label_rank: Array) -> list[Array]:
    """Stimuli that each model has, in the order of their labels, of this rank (n)."""
    there = [np.asarray(np.isfinite(model.fitted).all(1)) for model in models]
    by_label = np.argsort(label_rank)
    return [by_label[seen[by_label]] for seen in there]


def dealt(places: Sequence[Array], n: int, seed: int, *number: int) -> list[Array]:
    """Whose residual (n) every stimulus gets, in each model apart; missing ones keep their own.

    What is dealt follows labels, not positions.
    """
    result = []
    for m, place in enumerate(places):
        order = np.arange(n)
        order[place] = np.random.default_rng([seed, m, *number]).permutation(place)
        result.append(order)
    return result


class Noise:
    """Draws of models whose noise is equal at every stimulus, and their statistic.

    Parameters
    ----------
    models : sequence of Parts
        From `parts`, of a space of ``space_rank``.
    prepare : callable
        The statistic.
    label_rank : int array (n)
        Rank of every stimulus's label: what is dealt follows labels.
    seed : int
        What the draws depend on.
    by_norm : bool
        Whether noise is equal against the norm of a stimulus, or as it is.
    """

    def __init__(
        self, models: Sequence[Parts], space_rank: int, prepare: Prepare, label_rank: Array,
        seed: int, by_norm: bool,
    ) -> None:  # fmt: skip
        self.space_rank, self.prepare, self.by_norm = space_rank, prepare, by_norm
        self.label_rank, self.seed = label_rank, seed
        self.models = [relative(model) for model in models] if by_norm else list(models)
        self.places = places(self.models, label_rank)
        self.of_draw = prepare(self.models)

    def orders(self, *number: int) -> list[Array]:
        """Of a draw, or of a draw of a draw."""
        return dealt(self.places, len(self.label_rank), self.seed, *number)

    def value(self, *number: int) -> float:
        """The statistic of such a draw."""
        return self.of_draw(self.orders(*number))

    def values(self, numbers: Sequence[int]) -> list[float]:
        """The statistic of several draws."""
        return self.of_draw.of_several([self.orders(number) for number in numbers])

    def of_its_draws(self, number: int, count: int) -> float:
        """Mean statistic of draws of a draw that is taken apart as if it were the data."""
        pairs = zip(self.models, self.orders(number), strict=True)
        again = parts([drawn(*pair) for pair in pairs], self.space_rank)
        noise = Noise(
            again, self.space_rank, self.prepare, self.label_rank, self.seed, self.by_norm
        )
        draws = [noise.orders(number, 1 + one) for one in range(count)]
        return float(np.mean(noise.of_draw.of_several(draws)))


def off_by(values: Array, of_their_draws: Array) -> float:
    """How far a statistic lies above that of its draws, to move the values (B) of all by.

    A consensus keeps a share of the noise, so that draws have more of it than the models, part of
    it alike in all: their statistic is off by a little. How much is seen by drawing from a few
    draws again (a nested bootstrap, Beran 1987, Biometrika 74).
    """
    return float(values.mean() - of_their_draws.mean()) if len(of_their_draws) else 0.0


def ranks_tried(models: Sequence[Array], n: int) -> list[int]:
    """Ranks that a choice is made from: powers of 2, up to a quarter of the stimuli.

    Or up to the width of the narrowest model.
    """
    most, width = max(1, n // FOLDS), min(x.shape[1] for x in models)
    ranks = [int(rank) for rank in 2 ** np.arange(20) if rank <= most and rank < width]
    return ranks + [width] * (width <= most)


def held_out(fold: Array) -> list[Array]:
    """Stimuli (n) that are held out together, by the part of every stimulus: enough of them."""
    numbers, sizes = np.unique(fold, return_counts=True)
    enough = 1 + np.searchsorted(np.cumsum(sizes), HELD_OUT)
    return [fold == number for number in numbers[:enough]]


def errors_of(models: Sequence[Array], test: Array) -> Array:
    """Squared errors (R, n) of stimuli ``test`` (n) in spaces of the `ranks_tried`.

    0 of the other stimuli. Far beyond the best rank, where larger spaces only get worse, no more
    are tried: fewer rows.
    """
    ranks = ranks_tried(models, len(test))
    components = components_of(models, ~test, max(ranks))
    scored = [_scored(*one) for one in zip(models, components, strict=True)]
    squares = [
        np.nansum((x - one.reduced.frame.center) ** 2, axis=1)
        for x, one in zip(models, scored, strict=True)
    ]
    sizes = [
        float(np.nanvar(x, axis=0).sum()) * one.seen.sum()
        for x, one in zip(models, scored, strict=True)
    ]
    errors: list[Array] = []
    for rank in ranks:
        errors.append(_error(_space(scored, rank), scored, squares, test, sizes))
        best = min(errors, key=np.sum)
        if len(errors) > 2 and all(_worse((error - best)[test]) for error in errors[-2:]):
            break
    return np.stack(errors)


def chosen_rank(
    models: Sequence[Array], tests: Sequence[Array], errors: Sequence[Array]
) -> tuple[int, Array, Array]:
    """The rank of the space that predicts held-out stimuli of a model from the others best.

    The largest rank that is not worse than the best by more than its standard error: a space that
    is too small moves what the models share into the residuals, and the test then rejects too
    often; one that is too large costs power.

    Parameters
    ----------
    models : sequence of arrays (n, d)
    tests : sequence of arrays (n)
        Which stimuli were held out together.
    errors : sequence of arrays (R, n)
        From `errors_of` each.

    Returns
    -------
    rank : int
    tried : int array (R)
    error : array (R)
        Share of the models' sum of squares that is not predicted.
    """
    count = min(len(one) for one in errors)
    total = np.sum([one[:count] for one in errors], axis=0)[:, np.any(tests, axis=0)]
    tried = np.array(ranks_tried(models, len(tests[0]))[:count])
    best = total[total.sum(1).argmin()]
    fine = [not _worse(error - best) for error in total]
    return int(tried[fine].max()), tried, total.sum(1)


def _worse(gap: Array) -> bool:
    """Whether errors exceed the best, by ``gap`` (n), by more than the sum's standard error."""
    return bool(gap.sum() > gap.std() * np.sqrt(len(gap)))


def _error(
    space: _Space,
    models: Sequence[_Scored],
    squares: Sequence[Array],
    test: Array,
    sizes: Sequence[float],
) -> Array:
    """Squared error (n) of stimuli ``test`` (n) as the other models tell them, 0 of the others.

    As a share of all squares, the ``sizes`` of the models. Each direction of the consensus counts
    as much as it did inside the fit: noisy ones little. ``squares`` (n) are of rows about the
    center of each model.
    """
    error, train = np.zeros(len(test)), ~test
    count = np.sum([one.seen for one in models], axis=0)
    total = space.placed.sum(0)
    _, axes = np.linalg.eigh(total[train].T @ total[train])
    for m, one in enumerate(models):
        others = count - one.seen
        mean = (total - space.placed[m]) / np.maximum(others, 1)[:, None] @ axes
        own = space.placed[m] @ axes
        known = one.seen & (others > 0)
        fit = known & train
        share = (own[fit] * mean[fit]).sum(0) / np.maximum((mean[fit] ** 2).sum(0), 1e-300)
        asked = known & test
        told = ((share * mean[asked]) @ axes.T - space.shift[m]) @ space.back[m]
        # components are orthonormal: |x - t|² = |x|² - 2 x·t + |t|² in them
        scores = one.scores[asked, : told.shape[1]]
        missed = squares[m][asked] - 2 * np.vecdot(scores, told) + np.vecdot(told, told)
        error[asked] += missed / sizes[m]
    return error / len(models)
