"""Neighbour graphs that several people have made become one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.scores import POSITION
from xconverge.kernels.neighbors import renumbered
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import GRAPH, check_dims, check_labels, is_graph
from xconverge.labels.coordinates import read, read_coordinates, with_own
from xconverge.labels.joins import join_extra, join_labels
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.pools import pool_hash
from xconverge.labels.variables import describe

OTHER_POOL = (
    "Neighbours are of one pool: ask for a graph of the same stimuli; or keep those in both with "
    'xconverge.pair(one, other, join="inner"), for which lists must be as much longer as stimuli '
    "are left out"
)


def merge_neighbors(*graphs: xr.DataArray) -> xr.DataArray:
    """One neighbour graph of the models of several, of the same stimuli in any order.

    Parameters
    ----------
    *graphs : DataArray
        (model, stimulus, neighbor), as ``neighbor_graph`` returns them and ``open_neighbors`` opens
        them, your own and those that others share.

    Returns
    -------
    DataArray
        ``neighbor_graph`` (model, stimulus, neighbor), models in the order given, stimuli and
        positions in the order of the first graph. As long as the longest lists; shorter ones end in
        NaN, and a call that needs more of them says so. ``attrs["k"]`` is what all of them hold.
        Of graphs that an index made, ``recall`` (model), 1 where the search was exact. Lazy if a
        graph is; one task holds the lists of one model.

    Raises
    ------
    SchemaError
        Graphs of other stimuli, with their numbers and the first labels that differ; models of one
        name; another modality or metric; coordinates that contradict each other, or that only some
        have of their models; no neighbour graph.

    Notes
    -----
    A graph that was cut since it was made (``pair(…, join="inner")``) is merged too: stimuli that
    are left out drop out of its lists. Its ``n_stimuli`` then stays, so that an error names the
    length that lists must have.

    Examples
    --------
    >>> from xconverge import neighbor_graph, stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(20)]
    >>> mine, theirs = (
    ...     neighbor_graph(stack_models({name: rng.standard_normal((20, 4))}, stimuli=ids), k=5)
    ...     for name in ("vit", "bert"))
    >>> both = merge_neighbors(mine, theirs[:, ::-1])
    >>> both["model"].values.tolist(), both.sizes["neighbor"]
    (['vit', 'bert'], 5)
    """
    if not graphs:
        raise TypeError("merge_neighbors needs at least one graph, merge_neighbors(mine, theirs)")
    named = {f"graph {i}": checked_graph(g, f"graph {i}") for i, g in enumerate(graphs)}
    (first_name, first), *others = named.items()
    _check_models(named)
    sides = {first_name: first}
    for name, graph in others:
        _check_alike(first, graph, (first_name, name))
        first, graph, _ = join_labels(
            first, graph, "stimulus", "exact", (first_name, name), OTHER_POOL
        )
        sides[name] = join_extra(first, graph, (first_name, name))
    sides[first_name] = first
    common = _common_coordinates(sides)
    sides = {name: _of_models(graph) for name, graph in sides.items()}
    _check_coordinates(sides)
    longest = max(graph.sizes["neighbor"] for graph in graphs)
    whole: xr.DataArray = xr.concat(
        [
            _in_order(graph).pad(neighbor=(0, longest - graph.sizes["neighbor"]))
            for graph in sides.values()
        ],
        "model",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop",
    ).transpose(..., "model", "stimulus", "neighbor")
    if whole.chunks is not None:
        whole = whole.chunk(neighbor=-1)
    hashes = {graph.attrs["pool_hash"] for graph in named.values()}
    whole = with_own(
        whole.assign_coords(common),
        {POSITION: ("stimulus", np.arange(whole.sizes["stimulus"]))},
    )
    return describe(
        whole,
        GRAPH,
        metric=first.attrs.get("metric"),
        k=min(graph.attrs["k"] for graph in named.values()),
        search="approximate" if "recall" in whole.coords else "exact",
        n_stimuli=max(graph.attrs["n_stimuli"] for graph in named.values()),
        pool_hash=hashes.pop() if len(hashes) == 1 else pool_hash(whole.indexes["stimulus"]),
        modality=first.attrs.get("modality"),
        **pairing_attrs(*named.values()),
    )


def checked_graph(graph: object, what: str) -> xr.DataArray:
    """A neighbour graph that says its pool, and whose labels are those of that pool.

    Unless it was cut since: then nothing here knows the labels of all that was searched.
    """
    if not isinstance(graph, xr.DataArray) or not is_graph(graph):
        raise SchemaError(
            f"{what} must be what xconverge.neighbor_graph(reps) returns, got {came(graph)}"
        )
    array = read_coordinates(check_dims(graph, "model", "stimulus", "neighbor", what=what))
    check_labels(array, "model", "stimulus", what=what)
    if POSITION not in array.coords or array[POSITION].dims != ("stimulus",):
        raise SchemaError(
            f"{what} is a neighbour graph without its coordinate {POSITION!r} on 'stimulus'; "
            "xconverge.io.merge_neighbors puts graphs together"
        )
    size, own = array.sizes["stimulus"], pool_hash(array.indexes["stimulus"])
    attrs = {"n_stimuli": size, "pool_hash": own, **array.attrs}
    # lists may have been cut since, and those of a merged graph are of several lengths
    attrs["k"] = min(attrs.get("k", np.inf), array.sizes["neighbor"])
    if attrs["n_stimuli"] == size and attrs["pool_hash"] != own:
        raise SchemaError(
            f"{what} was made of {size} stimuli of other labels than it has now: its pool_hash is "
            f"{attrs['pool_hash']}, that of its labels {own}. Give it the labels that it was made "
            "with; if these were renamed on purpose, leave the attribute 'pool_hash' out"
        )
    return array.rename(GRAPH).assign_attrs(attrs)


def _check_models(named: Mapping[str, xr.DataArray]) -> None:
    owners: dict[Any, str] = {}
    for name, graph in named.items():
        twice = [model for model in graph.indexes["model"] if model in owners]
        if twice:
            raise SchemaError(
                f"{name} has models of the same name as {owners[twice[0]]}: {listing(twice)}; "
                "leave them out with .drop_sel(model=[…]), or rename them with "
                ".assign_coords(model=[…])"
            )
        owners |= dict.fromkeys(graph.indexes["model"], name)


def _check_alike(one: xr.DataArray, other: xr.DataArray, names: tuple[str, str]) -> None:
    """Lists of one kind: of the same modality, by the same metric, over the same further dims."""
    for key in ("modality", "metric"):
        values = [graph.attrs.get(key) for graph in (one, other)]
        if values[0] != values[1]:
            raise SchemaError(
                f"{names[0]} has the {key} {values[0]!r}, {names[1]} {values[1]!r}; graphs of one "
                f"{key} are merged"
                + ("; .assign_attrs(modality=…) says that they are" if key == "modality" else "")
            )
    dims = [sorted(map(str, set(graph.dims))) for graph in (one, other)]
    if dims[0] != dims[1]:
        raise SchemaError(
            f"{names[0]} has the dims {dims[0]}, {names[1]} {dims[1]}; choose one of each further "
            "dim with .sel, or add it with .expand_dims"
        )


def _is_common(graph: xr.DataArray, name: Any) -> bool:
    """Whether a coordinate says nothing of models, and is neither labels nor positions."""
    return "model" not in graph.coords[name].dims and name not in (*graph.indexes, POSITION)


def _common_coordinates(sides: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """What any graph says of stimuli and further dims, which are in one order by now."""
    found: dict[str, xr.DataArray] = {}
    for name, graph in sides.items():
        for key, coord in graph.coords.items():
            if not _is_common(graph, key):
                continue
            own = coord.reset_coords(drop=True)
            known = found.setdefault(str(key), own)
            if own.equals(known):
                continue
            where = ""
            if own.dims == known.dims == ("stimulus",):
                differ = (own != known).values & ~(own.isnull() & known.isnull()).values
                where = f" at {listing(graph.indexes['stimulus'][differ])}"
            raise SchemaError(
                f"coordinate {key!r} of {name} contradicts that of the graphs before it{where}; "
                f".drop_vars({key!r}) or rename one of them"
            )
    return found


def _of_models(graph: xr.DataArray) -> xr.DataArray:
    """The graph with labels, positions and what is said of its models."""
    return graph.drop_vars([name for name in graph.coords if _is_common(graph, name)])


def _check_coordinates(sides: dict[str, xr.DataArray]) -> None:
    """Every graph has the same coordinates of its models; what is known where it lacks is given.

    An exact search found all, and graphs of before this version say no widths.
    """
    if any("recall" in graph.coords for graph in sides.values()):
        for name, graph in sides.items():
            if "recall" not in graph.coords:
                sides[name] = graph.assign_coords(recall=("model", np.ones(graph.sizes["model"])))
    if any("n_features" not in graph.coords for graph in sides.values()):
        for name, graph in sides.items():
            sides[name] = graph.drop_vars("n_features", errors="ignore")
    every = reduce(set.union, (set(graph.coords) for graph in sides.values()))
    for name, graph in sides.items():
        lacking = sorted(map(str, every - set(graph.coords)))
        if lacking:
            raise SchemaError(
                f"{name} lacks the coordinate {listing(lacking)} of its models, which others have; "
                f".assign_coords({lacking[0]}=('model', [values])) gives it, .drop_vars leaves it "
                "out of the others"
            )


def _in_order(graph: xr.DataArray) -> xr.DataArray:
    """Positions in the order that stimuli have now."""
    position = graph[POSITION]
    now = graph.drop_vars(POSITION)
    whole = graph.attrs["n_stimuli"] == len(position)
    if whole and np.array_equal(read(position), np.arange(len(position))):
        return now
    lists = ["stimulus", "neighbor"]
    result: xr.DataArray = apply(
        _renumbered,
        now,
        position.drop_vars(position.coords),
        core=[lists, ["stimulus"]],
        out=[lists],
    )
    return result.transpose(*graph.dims)


def _renumbered(graph: Array, position: Array) -> Array:
    lists = renumbered(graph, position)
    return np.where(lists >= 0, lists, np.nan)
