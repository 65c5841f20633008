"""Scores of all model pairs under permutations of the stimuli of one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Part, Recipe
from xconverge.kernels.permutations import BLOCK, drawn_scores, n_blocks, permutations, summary
from xconverge.kernels.vectors import Array
from xconverge.labels.joins import natural_rank, on_side
from xconverge.labels.messages import SchemaError, listing

Rng = np.random.Generator | int | None
DRAW = "_draw"
PERMUTATIONS = "_block"


def seed_of(rng: Rng) -> tuple[int, int]:
    """The seed that a result tells, and the one of its draws.

    A result that tells s is that of ``rng=s``: an int is kept, anything else gives one.
    """
    if isinstance(rng, int | np.integer):
        told = int(rng)
    else:
        told = int(np.random.default_rng(rng).integers(2**32))
    return told, int(np.random.default_rng(told).integers(2**63))


def blocks_of(n_permutations: int, lazy: bool) -> xr.DataArray:
    """Numbers of the blocks of permutations, each a task of its own if lazy."""
    numbers = xr.DataArray(np.arange(n_blocks(n_permutations)), dims=PERMUTATIONS)
    return numbers.chunk({PERMUTATIONS: 1}) if lazy else numbers


def draw(
    recipe: Recipe,
    seen_a: xr.DataArray,
    seen_b: xr.DataArray,
    blocks: xr.DataArray,
    seed: int,
    strata: xr.DataArray | None = None,
    draws: Callable[..., Array] = permutations,
) -> xr.DataArray:
    """Scores (block, draw, model_a, model_b), the first draw of block 0 the observed one.

    ``seen_a``, ``seen_b`` (model, stimulus) say which stimuli each side has, in the same order.
    What a block holds depends on ``seed`` and its number alone. A task holds the parts of all
    models.
    """
    sides = ("model_a", "model_b")
    parts = [*_on(recipe.a, seen_a, "a"), *_on(recipe.b, seen_b, "b"), *recipe.both]
    rank = xr.DataArray(natural_rank(seen_a.indexes["stimulus"]), dims="stimulus")
    result: xr.DataArray = apply(
        drawn_scores,
        blocks,
        rank,
        _inside(recipe.strata, strata, rank),
        on_side(seen_a, "model", "_a"),
        on_side(seen_b, "model", "_b"),
        *(array for array, _ in parts),
        core=[
            *([], ["stimulus"], ["stimulus"]),
            *([side, "stimulus"] for side in sides),
            *(core for _, core in parts),
        ],
        out=[[DRAW, *sides]],
        sizes={DRAW: BLOCK},
        draws=draws,
        scores=recipe.scores,
        of_a=len(recipe.a),
        of_b=len(recipe.b),
        seed=seed,
        least=recipe.least,
        **recipe.options,
    )
    return result


def joined(blocks: xr.DataArray, n_permutations: int) -> xr.DataArray:
    """Draws (draw, …) of all blocks: the observed score, then ``n_permutations`` others."""
    flat = blocks.stack({"_all": (PERMUTATIONS, DRAW)}, create_index=False)
    flat = flat.drop_vars([PERMUTATIONS, DRAW], errors="ignore").rename({"_all": DRAW})
    return flat.isel({DRAW: slice(n_permutations + 1)}).transpose(DRAW, ...)


def summarized(draws: xr.DataArray, alpha: float, best: float) -> dict[str, xr.DataArray]:
    """What draws (draw, …) say of the first: its chance level, p-value and threshold."""
    names = ("score", "chance", "p_value", "threshold")
    parts = apply(
        partial(summary, alpha=alpha, best=best),
        draws,
        core=[[DRAW]],
        out=[[]] * len(names),
        dtypes=[np.float64] * len(names),
    )
    return dict(zip(names, parts, strict=True))


def seen(reps: xr.DataArray) -> xr.DataArray:
    """Which stimuli (model, stimulus) are there."""
    there: xr.DataArray = reps.isel({"feature": 0}).notnull()
    return there.reset_coords(drop=True)


def strata_of(
    strata: str | xr.DataArray | None, sides: Sequence[xr.DataArray]
) -> xr.DataArray | None:
    """Number (stimulus) of the group of each stimulus: a coordinate by name, or values by label."""
    if strata is None:
        return None
    given = per_label(strata, sides, "strata")
    _, numbers = np.unique(given.values.astype(str), return_inverse=True)
    return given.copy(data=numbers)


def per_label(given: str | xr.DataArray, sides: Sequence[xr.DataArray], what: str) -> xr.DataArray:
    """Values (stimulus) in the order of the first side: a coordinate by name, or given by label."""
    index = sides[0].indexes["stimulus"]
    if isinstance(given, str):
        found = [side.coords[given] for side in sides if given in side.coords]
        found = [coord for coord in found if coord.dims == ("stimulus",)]
        if not found:
            there = {str(n) for s in sides for n, c in s.coords.items() if c.dims == ("stimulus",)}
            raise SchemaError(
                f"{what}={given!r} must be a coordinate on 'stimulus'; there is "
                f"{listing(sorted(there))}"
            )
        return per_label(found[0], sides, what)
    known = given.indexes.get("stimulus")
    if given.dims != ("stimulus",) or known is None or not index.isin(known).all():
        raise SchemaError(
            f"{what} must have one value for each label of 'stimulus' and no other dim; it has "
            f"the dims {list(map(str, given.dims))}"
        )
    values = given.isel({"stimulus": known.get_indexer(index)}).values
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": index}, name=given.name)


def strata_name(strata: str | xr.DataArray | None) -> str | None:
    """What attrs say of strata."""
    return strata if strata is None or isinstance(strata, str) else str(strata.name or "given")


def _inside(
    first: xr.DataArray | None, second: xr.DataArray | None, rank: xr.DataArray
) -> xr.DataArray:
    """Groups that lie inside those of both."""
    given = [part.values for part in (first, second) if part is not None]
    if not given:
        return xr.zeros_like(rank)
    _, numbers = np.unique(np.stack(given), axis=1, return_inverse=True)
    return rank.copy(data=np.asarray(numbers).reshape(-1))


def _on(parts: Sequence[Part], reps: xr.DataArray, what: str) -> Iterator[Part]:
    """Parts with the model dim of their side, first among the core dims."""
    for array, core in parts:
        if "model" not in array.dims:
            array = array.expand_dims({"model": reps.indexes["model"]})
        yield on_side(array, "model", f"_{what}"), [f"model_{what}", *core]
