"""What runs a measure of pairs on labelled arrays: prepared once a model, scored, drawn again.

The row of a table says what a measure is, in words and as a kernel; ``kernels.kernel`` says how
kernels are made. Here they meet labels: a state is one object in an array (…, model), so that
laziness, extra dims and coordinates are xarray's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine import blockwise
from xconverge.engine.apply import CURE, apply
from xconverge.engine.pair import Pair
from xconverge.engine.resources import check_memory
from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.kernel import Kernel, Model, RowKernel, prepared, score
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.joins import on_side
from xconverge.labels.messages import listing

PAIRS = ("model_a", "model_b")


@dataclass(frozen=True)
class Measure:
    """One row of a table of measures.

    Parameters
    ----------
    kernel : callable
        Makes the kernel from the options of the measure; or a row of a table of kernels.
    per : str
        What one number stands for: ``stimulus``, ``model pair``, ``stimulus pair``, ``RDM pair``.
    kind : {"distance", "similarity"}
        Whether large means different or alike.
    formula, range, chance, cost, reference, avoid : str
        Sentences for ``docs/measures.md``; ``avoid`` says when not to use it.
    invariant : tuple of str
        Maps of one model's features that change nothing, out of ``INVARIANCES``.
    resample : bool
        Whether it has intervals over stimuli drawn again.
    lists : bool
        Whether neighbour lists are all it needs, so that a neighbour graph may stand for a side.
    basis_free : bool
        Of dispersion: whether models need not share axes, nor a width.
    """

    kernel: Any
    per: str
    kind: str
    formula: str
    range: str
    chance: str
    invariant: tuple[str, ...]
    cost: str
    reference: str
    avoid: str
    resample: bool = False
    lists: bool = False
    basis_free: bool = False

    @property
    def best(self) -> float:
        """The value of perfect agreement."""
        return 0.0 if self.kind == "distance" else 1.0


INVARIANCES = {
    "rotation": "an orthogonal map of the features",
    "translation": "the same vector added to every stimulus",
    "scale": "one positive factor for all features",
    "row norm": "a positive factor for each stimulus",
    "common rotation": "one rotation of all models",
    "common translation": "one vector added to all models",
}


@dataclass(frozen=True)
class Plan:
    """A measure of one call: its kernel, what belongs to the pair, and what attrs say of it.

    Parameters
    ----------
    kernel : Kernel
    given : DataArray, optional
        (stimulus): folds.
    attrs : dict
        Of the result.
    """

    kernel: Kernel[Any]
    given: xr.DataArray | None = None
    attrs: dict[str, Any] | None = None

    def options(self) -> dict[str, Any]:
        """What the kernel was made with, as attrs; a Boolean is a number there."""
        made = {field.name: getattr(self.kernel, field.name) for field in fields(self.kernel)}
        told = {name: int(v) if isinstance(v, bool) else v for name, v in made.items()}
        return {**told, **(self.attrs or {})}


def scores(plan: Plan, pair: Pair) -> xr.DataArray:
    """Scores (…, model_a, model_b[, stimulus]) of all pairs, lazy where an input is."""
    kernel = plan.kernel
    if isinstance(kernel, RowKernel) and by_blocks(kernel, pair, plan.given):
        result = _scores_by_rows(kernel, pair, plan.given)
    else:
        result = _scores_of_models(kernel, *models(plan, pair), plan.given)
    if kernel.per_stimulus:
        coords = {**pair.a["stimulus"].coords, **pair.b["stimulus"].coords}
        result = result.assign_coords(coords)
    return result.transpose(..., *PAIRS, *(["stimulus"] if kernel.per_stimulus else []))


def models(plan: Plan, pair: Pair) -> tuple[xr.DataArray, xr.DataArray]:
    """The models of both sides, prepared: objects (…, model_a) and (…, model_b)."""
    a, b = (
        on_side(_prepared(plan, side, pair.rank, what), "model", f"_{what}")
        for side, what in pair.sides
    )
    return a, b


def _prepared(plan: Plan, reps: xr.DataArray, rank: xr.DataArray, what: str) -> xr.DataArray:
    """Every model of a set, once, in a task of its own."""
    given = [] if plan.given is None else [plan.given]
    result: xr.DataArray = apply(
        partial(_one_model, kernel=plan.kernel),
        reps,
        widths(reps, what),
        rank,
        *given,
        core=[["stimulus", "feature"], [], ["stimulus"], *(["stimulus"] for _ in given)],
        dtypes=[object],
        labels=("model", "stimulus"),
        what=what,
    )
    if "model" not in result.dims:
        result = result.expand_dims(model=reps["model"])
    return result


def _one_model(rows: Array, width: int, rank: Array, *given: Array, kernel: Kernel[Any]) -> Model:
    return prepared(kernel, rows, width, rank, given[0] if given else None)


def _scores_of_models(
    kernel: Kernel[Any], a: xr.DataArray, b: xr.DataArray, given: xr.DataArray | None
) -> xr.DataArray:
    """Scores of prepared models: in memory in one call, else in tasks of some models each."""
    inside = ["stimulus"] if kernel.per_stimulus else []
    more = [] if given is None else [given]
    cores = [["stimulus"] for _ in more]
    if not (a.chunks or b.chunks):
        together = (True, True)
    else:
        together = kernel.together
    if not any(together):
        result: xr.DataArray = apply(
            partial(_score_one, kernel=kernel), a, b, *more, core=[[], [], *cores], out=[inside],
            sizes={} if given is None else None, **_sized(kernel, a, given),
        )  # fmt: skip
        return result
    return result
