"""Nearest neighbours of every stimulus inside one model: graphs to keep, and how near they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.resampling import seed_of
from xconverge.engine.resources import check_memory
from xconverge.engine.scores import prepared_models
from xconverge.kernels import approximate
from xconverge.kernels.kernel import Model
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.neighbors import most_shared, warn_if_few
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_neighbors, check_seed, whole
from xconverge.labels.checks import (
    check_features,
    check_representations,
    is_graph,
    widths,
)
from xconverge.labels.coordinates import carried, with_own
from xconverge.labels.joins import stimulus_rank
from xconverge.labels.messages import SchemaError, choose
from xconverge.labels.pools import pool_hash
from xconverge.labels.variables import describe, named


def check_lists(reps: xr.DataArray, k: int, what: str = "reps") -> None:
    """Vectors or a neighbour graph, that have this many neighbours."""
    check_neighbors(k, reps.sizes["stimulus"])
    if is_graph(reps) and reps.sizes["feature"] < k:
        raise SchemaError(
            f"{what} is a graph of {reps.sizes['feature']} neighbours, k={k} are asked for; make "
            f"it again with neighbor_graph(reps, k={k})"
        )


def neighbor_graph(
    reps: xr.DataArray,
    k: int = 10,
    *,
    neighbors: str = "exact",
    n_probes: int | None = None,
    n_checked: int = 1000,
    rng: np.random.Generator | int | None = None,
) -> xr.DataArray:
    """The k nearest neighbours of each stimulus inside each model, to save and use again.

    Give it in place of ``reps`` to what compares neighbours: ``alignment`` and ``calibrate`` by
    ``mutual_knn``, ``cycle_knn``, ``lcs_knn`` and ``edit_distance_knn``, ``dispersion`` by
    ``neighborhood``, with this k or a smaller one. Every pair of models looks among the stimuli
    that both saw: make the lists longer by as many as others miss, else an error says how long.

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
        Chooses these, and the cells, of an index; the seed is in ``attrs["seed"]``.

    Returns
    -------
    DataArray
        ``neighbor_graph`` (model, stimulus, neighbor): positions of the neighbours, nearest first,
        in the order that the coordinate ``position`` (stimulus) keeps, so that the graph may be
        reordered; NaN where the stimulus is missing, and, with a warning, beyond the neighbours
        that a model has which saw fewer. ``attrs["pool_hash"]`` names the stimuli that were
        searched, ``n_stimuli`` of them, in any order. With ``approximate``, the coordinate
        ``recall`` (model): the share of the exact neighbours of the checked stimuli that were
        found. Lazy if ``reps`` is. Exact search holds one block of stimuli and another; the index
        holds a model, and another copy in single precision.

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
    whole("n_checked", n_checked, 1)
    if n_probes is not None:
        whole("n_probes", n_probes, 1)
    check_seed(rng)
    reps = check_representations(reps)
    check_features(reps)
    check_neighbors(k, reps.sizes["stimulus"])
    told = recall = None
    if neighbors == "exact":
        lists, _ = nearest_lists(reps, k)
    else:
        told, _ = seed_of(rng)
        lists, recall = _approximate(reps, k, n_probes, n_checked, told)
    order = xr.DataArray(np.arange(reps.sizes["stimulus"]), dims="stimulus")
    graph = with_own(carried(lists.where(lists >= 0), reps["stimulus"].coords), {"position": order})
    if "n_features" in reps.coords:
        graph = with_own(graph, {"n_features": reps["n_features"].reset_coords(drop=True)})
    if recall is not None:
        graph = with_own(graph, {"recall": describe(recall, "recall").reset_coords(drop=True)})
    return describe(
        graph.transpose(..., "model", "stimulus", "neighbor"),
        "neighbor_graph",
        metric="cosine",
        k=k,
        search=neighbors,
        n_stimuli=reps.sizes["stimulus"],
        pool_hash=pool_hash(reps.indexes["stimulus"]),
        seed=told,
        modality=reps.attrs.get("modality"),
        **pairing_attrs(reps),
    )


def nearest_lists(reps: xr.DataArray, k: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Neighbours and cosines to them (…, model, stimulus, neighbor), once a model.

    As many as a model has, -1 and NaN beyond, with a warning. Ties go to the label that sorts
    first, so that the order of stimuli changes nothing.
    """
    dims = ["stimulus", "neighbor"]
    lists, cosines = apply(
        _of_model,
        prepared_models(MutualKnn(k), reps, stimulus_rank(reps)),
        core=[[]],
        out=[dims, dims],
        sizes={"stimulus": reps.sizes["stimulus"], "neighbor": k},
        dtypes=[np.int64, np.float64],
        k=k,
    )
    return lists, cosines


def shared_neighbors(reps: xr.DataArray, k: int, n: int = 8) -> xr.Dataset:
    """The neighbours of each stimulus that most models agree on, by their labels.

    ``shared_neighbor`` (stimulus, rank), text, empty where there is none, and ``share`` of the
    models that saw the stimulus whose k nearest it is among. Computes; extra dims are models too.
    """
    lists = nearest_lists(reps, k)[0].transpose(..., "stimulus", "neighbor").values
    labels = np.asarray(reps["stimulus"].values, object)
    place, share = most_shared(lists.reshape(-1, *lists.shape[-2:]), min(n, len(labels) - 1))
    dims = ("stimulus", "rank")
    return named(
        {
            "shared_neighbor": xr.DataArray(np.where(place < 0, "", labels[place]), dims=dims),
            "share": xr.DataArray(share, dims=dims),
        }
    ).assign_coords(stimulus=labels, rank=np.arange(1, place.shape[1] + 1))


def _of_model(model: Model, k: int) -> tuple[Array, Array]:
    """The k nearest; -1 and NaN throughout where the stimulus was not seen."""
    state = model.state
    # of one that saw nothing this was said before
    if size := int(state.seen.sum()):
        warn_if_few(k, size)
    return state.order[:, :k], state.cosines[:, :k]


def _approximate(
    reps: xr.DataArray, k: int, n_probes: int | None, n_checked: int, seed: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Lists (model, stimulus, neighbor) from an index, and their recall (model)."""
    approximate.faiss()
    n, width = reps.sizes["stimulus"], reps.sizes["feature"]
    check_memory(
        4.5 * n * width + 16 * n * k,
        reps.sizes["model"],
        f"An index of {n:,} stimuli × {width:,} features",
        "neighbors='exact', which reads blocks, or fewer features (xconverge.pca)",
        here=reps.chunks is None,
    )
    found: Any = apply(
        approximate.nearest,
        reps,
        widths(reps),
        stimulus_rank(reps),
        core=[["stimulus", "feature"], [], ["stimulus"]],
        out=[["stimulus", "neighbor"], []],
        sizes={"neighbor": k},
        dtypes=[np.int64, np.float64],
        labels=("model", "stimulus"),
        k=k,
        n_probes=n_probes,
        n_checked=n_checked,
        seed=int(np.random.default_rng(seed).integers(2**31 - 1)),
    )
    lists, recall = (part.drop_vars("n_features", errors="ignore") for part in found)
    return lists, recall


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
        ``local_density`` (model, stimulus) in [-1, 1], a similarity; NaN where missing, and, with a
        warning, in a model that saw no more than k stimuli. Lazy if ``reps`` is; for the memory of
        a task see ``docs/scaling.md``.

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
    check_neighbors(k, reps.sizes["stimulus"])
    _, cosines = nearest_lists(reps, k)
    return describe(
        carried(cosines.mean("neighbor", skipna=False), reps["stimulus"].coords),
        "local_density",
        metric="cosine",
        k=k,
        modality=reps.attrs.get("modality"),
        **pairing_attrs(reps),
    )
