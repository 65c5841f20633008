"""Generalised Procrustes: the fit of a shared space, to models or to their cross-products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from dask.base import compute

from xconverge.engine.apply import named_rows
from xconverge.engine.blockwise import Reduction, reduce_models, reduce_rows
from xconverge.engine.resources import check_memory, workers
from xconverge.kernels import procrustes as kernels
from xconverge.kernels.blocks import on_cores
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.procrustes import Frame, Solution
from xconverge.kernels.sums import added_products
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.joins import natural_rank


class Options(NamedTuple):
    """How a shared space is fitted."""

    n_components: int | None
    start: str
    n_restarts: int
    tolerance: float
    max_iterations: int


class Fit(NamedTuple):
    """One shared space: x (n, F) of model m is at (x - center) @ rotation / scale + shift.

    ``center`` (M, F), ``rotation`` (M, F, d), ``scale`` (M), ``shift`` (M, d), the objective of
    every iteration, ``total``, the models' sum of squares, and ``error``, how far rounding leaves
    coordinates of a stimulus off.
    """

    center: Array
    rotation: Array
    scale: Array
    shift: Array
    objective: Array
    total: float
    error: float

    def turned(self, turn: Array) -> Fit:
        """The same space after a rotation (d, d)."""
        return self._replace(rotation=self.rotation @ turn, shift=self.shift @ turn)

    def scaled(self, scale: Array) -> Fit:
        """The same space with the models on these scales (M)."""
        return self._replace(scale=scale, shift=self.shift * (self.scale / scale)[:, None])


def fits(
    reps: xr.DataArray, fold: xr.DataArray | None, options: Options, rng: np.random.Generator
) -> tuple[xr.DataArray, Array, list[Fit]]:
    """The space of all stimuli, then for each fold that of the others, turned onto the first.

    All have the scales of the first. A norm without the held-out rows differs from fold to fold,
    and one long row would make all of its fold larger than the others.

    Returns also the representations, loaded if the fit was in memory, and which stimuli each
    model saw (M, n).
    """
    number = np.zeros(reps.sizes["stimulus"], np.int64) if fold is None else fold.values
    if _are_long(reps, options):
        found = _from_products(reps, number, options, rng)
        if found is not None:
            return reps, *found
    _check_memory(reps, options)
    reps = reps.compute()
    return reps, *_in_memory(reps, number, options, rng)


def _dim(reps: xr.DataArray, n: int, options: Options) -> int:
    """Components of a space of ``n`` stimuli."""
    return min(options.n_components or n, int(widths(reps).max()))


def _held_out(number: Array) -> range:
    """The folds, if there are any."""
    return range(int(number.max()) + 1 if number.any() else 0)


def _are_long(reps: xr.DataArray, options: Options) -> bool:
    """Whether a lazy set is not small, and its cross-products are smaller than its rows."""
    n_models, n = reps.sizes["model"], reps.sizes["stimulus"]
    return (
        reps.chunks is not None
        and reps.size * 8 > BUDGETS.loaded_space
        and n > 2 * max(n_models * _dim(reps, n, options), reps.sizes["feature"])
    )


def _check_memory(reps: xr.DataArray, options: Options) -> None:
    n_models, n = reps.sizes["model"], reps.sizes["stimulus"]
    rows = n_models * n * _dim(reps, n, options)
    own = 0 if reps.chunks is None else reps.nbytes
    check_memory(
        own + 32 * rows + 16 * n * reps.sizes["feature"],
        1,
        f"A shared space of {n_models} models × {n:,} stimuli in memory",
        "fewer n_components, or no missing stimuli: .isel() those that all models saw and "
        "xconverge.transform() the others; with lazy input it is then fitted to cross-products",
        here=True,
    )


def _in_memory(
    reps: xr.DataArray, number: Array, options: Options, rng: np.random.Generator
) -> tuple[Array, list[Fit]]:
    """Stimuli are taken in the order of their labels."""
    order = np.argsort(natural_rank(reps.indexes["stimulus"]))
    number = number[order]
    reps = reps.transpose("model", "stimulus", "feature").isel({"stimulus": order})
    everything = np.ones(len(order), bool)
    seen, fit, consensus = _fit_to(reps, everything, options, rng)
    found = [fit]
    for left_out in _held_out(number):
        train = number != left_out
        _, part, own = _fit_to(reps, train, options, rng)
        turn = kernels.rotation_onto(own[train], consensus[train])
        found.append(part.turned(turn).scaled(fit.scale))
    return seen[:, np.argsort(order)], found


def _fit_to(
    reps: xr.DataArray, train: Array, options: Options, rng: np.random.Generator
) -> tuple[Array, Fit, Array]:
    """Which stimuli are there (M, n), the fit to ``train`` (n) of them, its consensus (n, d)."""
    real = np.broadcast_to(widths(reps), reps.sizes["model"])

    def reduced(model: int) -> Any:
        return named_rows(
            kernels.reduce,
            reps.values[model],
            int(real[model]),
            train,
            options.n_components,
            _dim(reps, int(train.sum()), options),
            reps.indexes["model"][model],
            reps.indexes["stimulus"],
            what="model",
        )

    # in double, its rows and those of its components
    size = 24 * reps.sizes["stimulus"] * reps.sizes["feature"]
    models = on_cores(reduced, range(len(real)), size)
    x = np.stack([part.rows for part in models])
    seen = np.stack([part.seen for part in models])
    solution = _best(x, seen, reps.indexes["model"], options, rng)
    total = sum(float(np.vdot(rows, rows)) for rows in x)
    return seen, _fit([part.frame for part in models], solution, total), solution.consensus


def _fit(models: Sequence[Frame], solution: Solution, total: float) -> Fit:
    center, basis, scale, error = (np.stack(field) for field in zip(*models, strict=True))
    rotation, most = basis @ solution.rotation, float(error.max())
    return Fit(center, rotation, scale, solution.shift, solution.objective, total, most)


def _best(
    x: Array, seen: Array, names: Sequence[str], options: Options, rng: np.random.Generator
) -> Solution:
    """The alignment with the lowest objective of all starts."""
    by_name = options.start != "spectral"
    starts = [x[list(names).index(options.start)] if by_name else kernels.spectral_start(x)]
    starts += [kernels.random_start(x, rng) for _ in range(options.n_restarts)]
    solutions = on_cores(
        lambda start: kernels.align(x, seen, start, *options[-2:]), starts, 3 * x.nbytes
    )
    return min(solutions, key=lambda solution: float(solution.objective[-1]))


def _from_products(
    reps: xr.DataArray, number: Array, options: Options, rng: np.random.Generator
) -> tuple[Array, list[Fit]] | None:
    """One pass for the frames of all folds, one for the cross-products of each fit.

    None where a model misses a stimulus: cross-products then do not suffice, for every pair of
    models has other stimuli.
    """
    n_models, n, dim = reps.sizes["model"], len(number), _dim(reps, len(number), options)
    size, *every = _framed(reps, number, options, dim)
    if (size < n).any():
        return None
    trains = [np.ones(n, bool), *(number != fold for fold in _held_out(number))]
    found: list[Fit] = []
    goal = np.zeros((n_models, reps.sizes["feature"], dim))
    for position, train in enumerate(trains):
        frames = [field[:, position] for field in every]
        gram, onto = _gathered(reps, train, frames[:3], goal)
        x = kernels.virtual_rows(gram, n_models)
        solution = _best(x, np.ones(x.shape[:2], bool), reps.indexes["model"], options, rng)
        models = [Frame(*one) for one in zip(*frames, strict=True)]
        fit = _fit(models, solution, float(np.trace(gram)))
        if found:
            # the products of the models with the consensus of all stimuli, which is linear in them
            turn = kernels.rotation_onto(solution.rotation.reshape(-1, dim), onto)
            fit = fit.turned(turn).scaled(found[0].scale)
        else:
            goal = fit.rotation / fit.scale[:, None, None]
        found.append(fit)
    return np.ones((n_models, n), bool), found


def _framed(reps: xr.DataArray, number: Array, options: Options, dim: int) -> list[Array]:
    """Stimuli seen (M), centers (M, K, F), bases (M, K, F, d), scales, errors (M, K) of K fits."""
    n_folds, size = len(_held_out(number)), (reps.sizes["feature"], dim)
    finish = partial(
        kernels.frames, n_stimuli=len(number), n_folds=n_folds,
        n_components=options.n_components, size=size,
    )  # fmt: skip
    framing = reduce_rows(
        reps,
        Reduction(kernels.folds_of, kernels.merged_blocks, finish),
        out=[[], ["_fit", "feature"], ["_fit", "feature", "_axis"], ["_fit"], ["_fit"]],
        sizes={"_fit": 1 + n_folds, "_axis": dim, "feature": reps.sizes["feature"]},
        dtypes=[np.int64, float, float, float, float],
        given=[xr.DataArray(number, dims="stimulus")],
        what="model",
    )
    return [part.transpose("model", ...).values for part in compute(*framing)]


def _gathered(
    reps: xr.DataArray, train: Array, frames: Sequence[Array], goal: Array
) -> tuple[Array, Array]:
    """Cross-products over the stimuli ``train`` of the models in their frames, and with a goal."""
    center, basis, scale = frames
    size = len(basis) * basis.shape[2]
    for here in (False, True):  # products are added by tasks, and the fit is made here
        check_memory(
            32 * size**2,
            workers()[1],
            f"A shared space of {size:,} components of all models together",
            "fewer n_components or fewer models",
            here=here,
        )
    gram, onto = reduce_models(
        reps,
        Reduction(kernels.joined, added_products, partial(kernels.cross_products, size=size)),
        out=[["_all", "_all_2"], ["_all", "_goal"]],
        sizes={"_all": size, "_all_2": size, "_goal": goal.shape[2]},
        dtypes=[float, float],
        given=[
            xr.DataArray(train, dims="stimulus"),
            xr.DataArray(center, dims=("model", "feature")),
            xr.DataArray(basis, dims=("model", "feature", "_axis")),
            xr.DataArray(scale, dims="model"),
            xr.DataArray(goal, dims=("model", "feature", "_goal")),
        ],
        what="model",
    )
    gram, onto = compute(gram, onto)
    return gram.values, onto.values
