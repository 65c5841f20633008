"""Neighbour graphs to keep: made once, exactly or by an index, saved and used again."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import handles
from xconverge.engine.resources import check_memory
from xconverge.kernels import approximate
from xconverge.labels.checks import (
    NEIGHBOR_DIM,
    check_features,
    check_representations,
    is_graph,
    widths,
)
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import choose
from xconverge.labels.variables import describe
from xconverge.measures.neighbors import NEIGHBOR, check_k, neighbor_lists


def neighbor_graph(
    reps: xr.DataArray,
    k: int = 10,
    *,
    neighbors: str = "exact",
    n_probes: int | None = None,
    n_checked: int = 1000,
    rng: np.random.Generator | int | None = 0,
) -> xr.DataArray:
    """The k nearest neighbours of each stimulus inside each model, to save and use again.

    Give it in place of ``reps`` to what compares neighbours: ``alignment`` and ``calibrate`` by
    ``mutual_knn``, ``cycle_knn``, ``lcs_knn`` and ``edit_distance_knn``, ``dispersion`` by
    ``neighborhood``, with this k or a smaller one.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width.
    k : int
        Neighbours, by cosine, the stimulus itself excluded.
    neighbors : {"exact", "approximate"}
        Search all stimuli, or those of the nearest cells of an index (inverted file of faiss,
        extra ``approximate``).
    n_probes : int, optional
        Cells searched for each stimulus, of about 4 sqrt(n); 32 by default. More raise the recall
        and the time.
    n_checked : int
        Stimuli whose exact neighbours are searched too, for the recall.
    rng : Generator, int or None
        Chooses these, and the cells.

    Returns
    -------
    DataArray
        ``neighbor_graph`` (model, stimulus, neighbor): positions of the neighbours, nearest first,
        in the order that the coordinate ``position`` (stimulus) keeps, so that the graph may be
        reordered; NaN where the stimulus is missing. With ``approximate``, the coordinate
        ``recall`` (model): the share of the exact neighbours of the checked stimuli that were
        found. Lazy if ``reps`` is. Exact search holds one block of stimuli and another; the index
        holds a model in single precision.

    Raises
    ------
    SchemaError, ValueError
        Faulty rows or zero vectors, by name, when computed; k not below the number of stimuli.
    ImportError
        ``approximate`` without faiss.

    Notes
    -----
    Douze et al. (2024), The Faiss library, arXiv 2401.08281. An approximate graph lacks neighbours
    at random: mutual-kNN falls by about recall squared.

    Examples
    --------
    >>> from xconverge import alignment, stack_models
    >>> x = np.random.default_rng(0).standard_normal((20, 8))
    >>> reps = stack_models({"net": x}, stimuli=[f"s{i}" for i in range(20)])
    >>> graph = neighbor_graph(reps, k=5)
    >>> graph.dims, float(alignment(graph, reps[:, ::-1], k=3).mean())
    (('model', 'stimulus', 'neighbor'), 1.0)
    """
    choose("neighbors", neighbors, ["exact", "approximate"])
    reps = check_representations(reps)
    check_features(reps)
    check_k(k, reps.sizes["stimulus"])
    recall = None
    if neighbors == "exact":
        lists, *_ = neighbor_lists(reps, k)
    else:
        lists, recall = _approximate(reps, k, n_probes, n_checked, rng)
    order = xr.DataArray(np.arange(reps.sizes["stimulus"]), dims="stimulus")
    graph = lists.where(lists >= 0).rename({NEIGHBOR: NEIGHBOR_DIM}).assign_coords(position=order)
    graph = graph.drop_vars("n_features", errors="ignore")
    if recall is not None:
        graph = graph.assign_coords(recall=describe(recall, "recall").reset_coords(drop=True))
    return describe(
        graph.transpose(..., "model", "stimulus", NEIGHBOR_DIM),
        "neighbor_graph",
        metric="cosine",
        k=k,
        search=neighbors,
        modality=reps.attrs.get("modality"),
    )


def standing_for(reps: xr.DataArray, k: int, neighbors: str) -> xr.DataArray:
    """The neighbour graph of ``reps`` with its dims; a graph as it is."""
    if is_graph(reps):
        return reps
    graph = neighbor_graph(reps, k, neighbors=neighbors)
    return graph.rename({NEIGHBOR_DIM: "feature"})


def _approximate(
    reps: xr.DataArray,
    k: int,
    n_probes: int | None,
    n_checked: int,
    rng: np.random.Generator | int | None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Lists (model, stimulus, neighbor) from an index, and their recall (model)."""
    approximate.faiss()
    n, width = reps.sizes["stimulus"], reps.sizes["feature"]
    check_memory(
        4.5 * n * width + 16 * n * k,
        reps.sizes["model"],
        f"An index of {n:,} stimuli × {width:,} features",
        "neighbors='exact', which reads blocks, or fewer features (xconverge.pca)",
    )
    seed = int(np.random.default_rng(rng).integers(2**31 - 1))
    found: Any = apply(
        approximate.nearest,
        handles(reps),
        widths(reps),
        xr.DataArray(natural_rank(reps.indexes["stimulus"]), dims="stimulus"),
        core=[[], [], ["stimulus"]],
        out=[["stimulus", NEIGHBOR], []],
        sizes={NEIGHBOR: k, "stimulus": reps.sizes["stimulus"]},
        dtypes=[np.int64, np.float64],
        labels=("model", "stimulus"),
        named=reps,
        k=k,
        n_probes=n_probes,
        n_checked=n_checked,
        seed=seed,
    )
    lists, recall = found
    lists = lists.assign_coords(reps["stimulus"].coords)
    if reps.chunks is None:
        return lists.compute(), recall.compute()
    return lists, recall
