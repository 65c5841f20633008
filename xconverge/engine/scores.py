"""A measure on labelled arrays: every model prepared once, every pair scored in its own pool.

A state is one object in an array (…, model), so that laziness, extra dims and coordinates are
xarray's own. Models that are too long for one task are never whole: their sums come block by block.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import xarray as xr

from xconverge.engine.apply import CURE, apply
from xconverge.engine.blockwise import are_large, is_long
from xconverge.engine.long_entries import by_entries
from xconverge.engine.long_lists import lists_by_blocks
from xconverge.engine.long_rows import by_rows, has_sums
from xconverge.engine.measure import Plan
from xconverge.engine.pair import Pair
from xconverge.kernels.kernel import (
    EntryKernel,
    Kernel,
    Model,
    RowKernel,
    modeled,
    prepared,
    score,
)
from xconverge.kernels.knn import ListKernel
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import is_graph, widths
from xconverge.labels.coordinates import carried, with_own
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError

PAIRS = ["model_a", "model_b"]
POSITION = "position"
"""Coordinate of a neighbour graph: where its stimuli were when it was made."""
WHOLE = (
    "fewer stimuli (.isel), or a measure of sums over blocks, which needs no RDM at once: "
    "method='pearson' or 'cosine' instead of ranks"
)
"""What to do where RDMs that must be whole do not fit."""


def scores(plan: Plan, pair: Pair) -> xr.DataArray:
    """Scores (…, model_a, model_b[, stimulus]) of all pairs, lazy where an input is."""
    kernel = plan.kernel
    long = is_long(pair.a) or is_long(pair.b)
    if isinstance(kernel, RowKernel) and long and has_sums(kernel, pair, plan.given):
        result = by_rows(kernel, pair, plan.given)
    elif isinstance(kernel, EntryKernel) and kernel.has_sums and are_large(pair.a, pair.b):
        result = by_entries(kernel, pair.a, pair.b)
    else:
        n = pair.a.sizes["stimulus"]
        result = of_models(kernel, *models(plan, pair), n, plan.given)
    result = with_own(result, _widths(pair))
    if not kernel.per_stimulus:
        return result.transpose(..., *PAIRS)
    coords = {
        name: coord.reset_coords(drop=True)
        for side, _ in pair.sides
        for name, coord in of_stimuli(side).items()
    }
    return carried(result.transpose(..., *PAIRS, "stimulus"), coords)


def of_stimuli(reps: xr.DataArray) -> dict[Hashable, xr.DataArray]:
    """The coordinates of stimuli, but for the positions that only the lists of a graph need."""
    return {
        name: coord
        for name, coord in reps["stimulus"].coords.items()
        if not (is_graph(reps) and str(name).startswith(POSITION))
    }


def _widths(pair: Pair) -> dict[str, xr.DataArray]:
    """The coordinate ``n_features`` of either side, where it has one."""
    return {
        f"n_features_{w}": on_side(side["n_features"].reset_coords(drop=True), "model", f"_{w}")
        for side, w in pair.sides
        if "n_features" in side.coords
    }


def models(plan: Plan, pair: Pair) -> tuple[xr.DataArray, xr.DataArray]:
    """The models of both sides, prepared: objects (…, model_a) and (…, model_b)."""
    vectors = (None, None) if plan.vectors is None else (plan.vectors.a, plan.vectors.b)
    found = [
        prepared_models(plan.kernel, side, pair.rank, plan.given, what, others, rows)
        for (side, what), others, rows in zip(pair.sides, (pair.b, pair.a), vectors, strict=True)
        if what == "a" or not pair.itself
    ]
    a, b = (
        on_side(one, "model", f"_{w}") for one, w in zip((found[0], found[-1]), "ab", strict=True)
    )
    return a, b


def prepared_models(
    kernel: Kernel[Any],
    reps: xr.DataArray,
    rank: xr.DataArray,
    given: xr.DataArray | None = None,
    what: str = "reps",
    others: xr.DataArray | None = None,
    vectors: xr.DataArray | None = None,
) -> xr.DataArray:
    """Every model (…, model) of a set, each once and in a task of its own.

    ``others`` is the set that it will be compared with: where lists are made block by block, they
    are made for each set of stimuli that it will share. ``vectors`` are what a graph is of, where
    its lists may be searched again.
    """
    if is_graph(reps):
        result = _of_graph(kernel, reps, rank, what, vectors)
    elif isinstance(kernel, ListKernel) and is_long(reps):
        result = lists_by_blocks(kernel, reps, rank, reps if others is None else others, what)
    else:
        more = [] if given is None else [given]
        result = apply(
            partial(_one_model, kernel=kernel),
            reps,
            widths(reps, what),
            rank,
            *more,
            core=[["stimulus", "feature"], [], ["stimulus"], *(["stimulus"] for _ in more)],
            dtypes=[object],
            labels=("model", "stimulus"),
            what=what,
            cure=WHOLE if isinstance(kernel, EntryKernel) and not kernel.has_sums else CURE,
        )
    result = result.drop_vars("n_features", errors="ignore")
    return result if "model" in result.dims else result.expand_dims(model=reps["model"])


def _one_model(rows: Array, width: int, rank: Array, *given: Array, kernel: Kernel[Any]) -> Model:
    return prepared(kernel, rows, width, rank, given[0] if given else None)


def _of_graph(
    kernel: Kernel[Any],
    graph: xr.DataArray,
    rank: xr.DataArray,
    what: str,
    vectors: xr.DataArray | None,
) -> xr.DataArray:
    """The lists of a neighbour graph that was made before."""
    assert isinstance(kernel, ListKernel)
    # a pair renames those of graphs in different orders; who asks for one side knows no letter
    names = (POSITION, f"{POSITION}_a", f"{POSITION}_b")
    name = next((n for n in names if n in graph.coords), None)
    if name is None:
        raise SchemaError(f"{what} is a neighbour graph without its coordinate 'position'")
    position = graph.coords[name].drop_vars(graph.coords[name].coords)
    more: list[xr.DataArray] = []
    if vectors is not None and not is_graph(vectors):
        # along a dim of its own: there are other numbers of features and of neighbours
        more = [vectors.rename(feature="_feature"), widths(vectors, what)]
    result: xr.DataArray = apply(
        partial(_one_graph, kernel=kernel, made_of=int(graph.attrs.get("n_stimuli", 0))),
        graph.drop_vars(name),
        position,
        rank,
        *more,
        core=[
            *(["stimulus", "feature"], ["stimulus"], ["stimulus"]),
            *([["stimulus", "_feature"], []] if more else []),
        ],
        dtypes=[object],
    )
    return result


def _one_graph(
    graph: Array, position: Array, rank: Array, *vectors: Any, kernel: ListKernel, made_of: int
) -> Model:
    rows, width = vectors or (None, 0)
    return modeled(kernel, kernel.of_graph(graph, position, rank, rows, width, made_of))


def of_models(
    kernel: Kernel[Any],
    a: xr.DataArray,
    b: xr.DataArray,
    n: int,
    given: xr.DataArray | None = None,
) -> xr.DataArray:
    """Scores of prepared models over n stimuli: in memory in one call, else in a task a pair.

    Or a task for all models of a side, where something is made once for all of them.
    """
    together = kernel.together if a.chunks or b.chunks else (True, True)
    several = [dim for dim, many in zip(PAIRS, together, strict=True) if many]
    more = [] if given is None else [given]
    result: xr.DataArray = apply(
        partial(_scored, kernel=kernel, together=together),
        a,
        b,
        *more,
        core=[
            *([d for d in several if d == side] for side in PAIRS),
            *(["stimulus"] for _ in more),
        ],
        out=[[*several, *(["stimulus"] if kernel.per_stimulus else [])]],
        sizes={"stimulus": n},
    )
    return result


def _scored(
    a: Any, b: Any, *given: Array, kernel: Kernel[Any], together: tuple[bool, bool]
) -> Array:
    one, other = (
        list(side) if many else [side] for side, many in zip((a, b), together, strict=True)
    )
    found = score(kernel, one, other, given[0] if given else None)
    # a side of a single model has no dim of its own
    return found[tuple(slice(None) if many else 0 for many in together)]
