"""Nearest neighbours of every stimulus inside one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import ROW, handles, is_long, on_stimuli, over_queries
from xconverge.kernels.neighbors import from_graph, nearest, nearest_of
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_features, check_representations, is_graph, widths
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError
from xconverge.labels.variables import describe

NEIGHBOR = "_neighbor"


def check_k(k: int, n_stimuli: int) -> None:
    """A number of neighbours that these stimuli have."""
    if not 1 <= k < n_stimuli:
        raise ValueError(
            f"k={k} neighbours need at least {max(k, 1) + 1} stimuli, there are {n_stimuli}; "
            "k must be between 1 and the number of stimuli - 1"
        )


def neighbor_lists(
    reps: xr.DataArray,
    k: int,
    what: str = "reps",
    search: Callable[..., tuple[Array, Array, Array]] = nearest,
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Neighbour positions and cosines to them (model, stimulus, neighbor), once a model.

    And the mean cosine (model, stimulus) to all stimuli.

    Ties go to the label that sorts first, so that the order of stimuli changes nothing. ``search``
    is ``nearest``, or ``long_lists``, which takes a k that not every model has.
    """
    if search is nearest and is_graph(reps):
        return (_of_graph(reps, k, what),) * 3
    rank = xr.DataArray(natural_rank(reps.indexes["stimulus"]), dims="stimulus")
    if search is nearest and is_long(reps):
        lists, cosines, mean = _in_blocks(reps, rank, k, what)
        return lists, cosines, mean
    lists, cosines, mean = apply(
        search,
        reps,
        widths(reps, what),
        rank,
        core=[["stimulus", "feature"], [], ["stimulus"]],
        out=[["stimulus", NEIGHBOR], ["stimulus", NEIGHBOR], ["stimulus"]],
        sizes={NEIGHBOR: k},
        dtypes=[np.int64, np.float64, np.float64],
        labels=("model", "stimulus"),
        what=what,
        k=k,
    )
    return lists, cosines, mean


def _of_graph(graph: xr.DataArray, k: int, what: str) -> xr.DataArray:
    if k > graph.sizes["feature"]:
        raise SchemaError(
            f"{what} is a graph of {graph.sizes['feature']} neighbours, k={k} are asked for; make "
            "one of more (neighbor_graph)"
        )
    name = next((n for n in ("position", f"position_{what}") if n in graph.coords), None)
    if name is None:
        raise SchemaError(f"{what} is a neighbour graph without its coordinate 'position'")
    position = graph.coords[name].drop_vars(graph.coords[name].coords)
    lists: xr.DataArray = apply(
        from_graph,
        graph.drop_vars(name),
        position,
        core=[["stimulus", "feature"], ["stimulus"]],
        out=[["stimulus", NEIGHBOR]],
        sizes={NEIGHBOR: k},
        dtypes=[np.int64],
        k=k,
    )
    return lists


def _in_blocks(reps: xr.DataArray, rank: xr.DataArray, k: int, what: str) -> list[xr.DataArray]:
    rows, real = handles(reps), widths(reps, what)

    def search(part: slice) -> Sequence[xr.DataArray]:
        found: Sequence[xr.DataArray] = apply(
            nearest_of,
            rows,
            real,
            rank,
            core=[[], [], ["stimulus"]],
            out=[[ROW, NEIGHBOR], [ROW, NEIGHBOR], [ROW]],
            sizes={NEIGHBOR: k, ROW: part.stop - part.start},
            dtypes=[np.int64, np.float64, np.float64],
            labels=("model", "stimulus"),
            named=reps,
            what=what,
            asking=part,
            k=k,
        )
        return found

    return [on_stimuli(part, reps) for part in over_queries(reps, search)]


def local_density(reps: xr.DataArray, k: int = 10) -> xr.DataArray:
    """Mean cosine similarity of each stimulus to its k nearest neighbours, in each model.

    Crowded stimuli have low dispersion and high neighbour overlap alike; partial the density out
    of ``modulation`` to see what is left.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width.
    k : int
        Neighbours, the stimulus itself excluded.

    Returns
    -------
    DataArray
        ``local_density`` (model, stimulus) in [-1, 1], a similarity; NaN where missing. Lazy if
        ``reps`` is; for the memory of a task see ``docs/scaling.md``.

    Raises
    ------
    SchemaError, ValueError
        Faulty rows or zero vectors, by name, when computed; k not below the number of stimuli.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> local_density(reps, k=2).values.round(6).tolist()
    [[0.0, 0.0, 0.0]]
    """
    reps = check_representations(reps)
    check_features(reps)
    check_k(k, reps.sizes["stimulus"])
    _, cosines, _ = neighbor_lists(reps, k)
    return describe(
        cosines.mean(NEIGHBOR, skipna=False),
        "local_density",
        metric="cosine",
        k=k,
        modality=reps.attrs.get("modality"),
    )
