"""Intra-modal dispersion: how differently the models represent each single stimulus."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import Merging, apply, over_models
from xconverge.engine.measure import Measure
from xconverge.kernels import dispersion as spread
from xconverge.kernels.neighbors import mean_overlap, overlap
from xconverge.kernels.rdm import row_correlations
from xconverge.kernels.vectors import METRICS, Metric
from xconverge.labels.checks import (
    check_representations,
    check_shared,
    group_numbers,
    model_groups,
    widths,
)
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe
from xconverge.measures import long_pairs
from xconverge.measures.neighbors import NEIGHBOR, check_k, neighbor_lists
from xconverge.measures.rdm import prepared_rows

SQUARED = ["cosine", "correlation", "sqeuclidean"]


def dispersion(
    reps: xr.DataArray,
    metric: str = "cosine",
    *,
    pairwise: bool = False,
    normalize: bool = False,
    min_models: int = 2,
    by: str | None = None,
    leave_out: str | None = None,
    k: int = 10,
    rdm_metric: str = "correlation",
) -> xr.DataArray:
    """How differently the models represent each stimulus.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), extra dims allowed and mapped over. The coordinate metrics
        compare position by position and want a shared space: ``shared_space(reps)["aligned"]``
        (its dim ``component`` is taken for ``feature``), or features that share their axes and
        are marked so, ``reps.attrs["space"] = "shared"``.
    metric : str
        Coordinate metrics: ``cosine``, ``correlation``, ``euclidean``, ``sqeuclidean``, the mean
        of scipy's distance over unordered pairs of models; ``consensus``, the root of the summed
        squared distances to the mean over models. Basis-free, for raw features of any width:
        ``neighborhood``, 1 - mean overlap of the k nearest neighbours over pairs of models;
        ``rdm``, 1 - mean correlation of the stimulus's row in two models' RDMs.
    pairwise : bool
        Give the distance of every pair of models instead of their mean.
    normalize : bool
        Divide by the mean squared norm of the stimulus's vectors (by its root for ``euclidean``
        and ``consensus``), because raw dispersion follows the norm. Coordinate metrics only, and
        not with ``pairwise``.
    min_models : int
        Stimuli that fewer models saw are NaN; at least 2.
    by : str, optional
        Model coordinate (``family`` …): dispersion inside each group of models, over that dim.
    leave_out : str, optional
        ``"model"``, or a model coordinate (``family`` …): for every model the dispersion of all
        models but itself, or but its group, so that it never comes from the model being scored.
    k : int
        Neighbours, for ``neighborhood``.
    rdm_metric : str
        Distance between stimuli, for ``rdm``.

    Returns
    -------
    DataArray
        ``dispersion`` (…, stimulus), float64, 0 where all models agree, with the coordinate
        ``n_models`` (models that saw the stimulus). With ``pairwise``: (…, model, model_2,
        stimulus), zero on the diagonal. With ``leave_out``: (…, model, stimulus), model the one
        left out. ``cosine`` and ``correlation`` lie in [0, 2] for a
        pair and in [0, M/(M-1)] as a mean, ``neighborhood`` in [0, 1], ``rdm`` in [0, 2]; the
        others are not bounded. ``consensus`` sums over models: where rows are missing, divide
        by ``sqrt(n_models)`` to compare stimuli.
        Lazy if ``reps`` is.

    Warns
    -----
    UnalignedSpaceWarning
        A coordinate metric on features that are not marked as a shared space.

    Raises
    ------
    SchemaError
        Fewer than two models; differing widths under a coordinate metric; NaN or infinity inside
        a row, zero vectors under ``cosine`` and constant ones under ``correlation``, by name,
        when computed.

    Notes
    -----
    ``cosine``, ``correlation``, ``sqeuclidean`` and ``consensus`` need one pass and no pairs,
    and merge over chunks of models: a block and eight states (stimuli of a block × features) are
    in memory at a time. ``euclidean`` and ``pairwise`` need all models of a block of stimuli.
    ``neighborhood`` and ``rdm`` read long models block by block (``docs/scaling.md``), and then
    need all lists (model × stimulus × k), or correlations of all pairs; short models are held
    whole, for ``rdm`` all of them. A neighbour graph may stand for ``reps`` in ``neighborhood``.

    ``consensus`` is the measure of Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((3, 4, 8))
    >>> reps = xr.DataArray(x, dims=("model", "stimulus", "feature"),
    ...     coords={"model": list("abc"), "stimulus": ["cat", "dog", "cow", "emu"]},
    ...     attrs={"space": "shared"})
    >>> dispersion(reps).dims
    ('stimulus',)
    >>> reps[1:] = reps[0]
    >>> float(dispersion(reps).max()) < 1e-15
    True
    """
    choose("metric", metric, MEASURES)
    reps = check_representations(reps)
    if reps.sizes["model"] < 2:
        raise SchemaError(
            f"dispersion needs at least 2 models, got {listing(reps.indexes['model'])}"
        )
    if min_models < 2:
        raise ValueError(f"min_models={min_models}: dispersion needs at least 2 models")
    basis_free = MEASURES[metric].basis_free
    if sum([pairwise, by is not None, leave_out is not None]) > 1:
        raise ValueError("pairwise, by and leave_out exclude each other")
    if leave_out is not None and normalize:
        raise ValueError("normalize=True does not go with leave_out")
    if by is not None:
        options = {"normalize": normalize, "min_models": min_models, "k": k}
        names = {"model": "model", "stimulus": "stimulus", "feature": "feature"}
        return _by_group(reps, by, metric=metric, rdm_metric=rdm_metric, **options, **names)
    if normalize and (basis_free or pairwise):
        raise ValueError(
            "normalize=True divides by the norm of the vectors; it does not go with "
            f"{'pairwise=True' if pairwise else f'metric={metric!r}'}"
        )
    if pairwise and metric == "consensus":
        raise ValueError(
            "metric='consensus' measures models against their mean, it has no pairs; "
            "use 'euclidean' for pairs"
        )
    if not basis_free:
        check_shared(reps, f"metric={metric!r}")
        reps = _real(reps)
    everyone = pairwise or leave_out is not None
    if metric == "neighborhood":
        check_k(k, reps.sizes["stimulus"])
        result = _neighborhood(reps, k, everyone)
    elif metric == "rdm":
        choose("rdm_metric", rdm_metric, METRICS)
        result = _row_disagreement(reps, rdm_metric, everyone)
    elif everyone:
        result = _pairs(reps, MEASURES[metric].function)
    else:
        result = _coordinates(reps, metric, normalize)
    if leave_out is not None:
        result = _without(result, reps, leave_out, metric == "consensus")
    if not pairwise:
        result = result.where(result["n_models"] >= min_models)
    return describe(
        result,
        "dispersion",
        metric=metric,
        modality=reps.attrs.get("modality"),
        k=k if metric == "neighborhood" else None,
        rdm_metric=rdm_metric if metric == "rdm" else None,
        normalize=int(normalize),
        min_models=None if pairwise else min_models,
        leave_out=leave_out,
    )


def _by_group(reps: xr.DataArray, by: str, **options: Any) -> xr.DataArray:
    model = options["model"]
    groups = model_groups(reps, by)
    few = [group for group, members in groups.items() if len(members) < 2]
    if few:
        raise SchemaError(
            f"dispersion by {by!r} needs at least 2 models in each; {listing(few)} has 1. Leave "
            "them out"
        )
    if reps.attrs.get("space") == f"shared within {by}":
        reps = reps.assign_attrs(space="shared")
    parts = [dispersion(reps.isel({model: members}), **options) for members in groups.values()]
    result: xr.DataArray = xr.concat(
        parts,
        pd.Index(list(groups), name=by, dtype=object),
        coords=["n_models"],
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return result


def _without(
    pairs: xr.DataArray, reps: xr.DataArray, leave_out: str, consensus: bool
) -> xr.DataArray:
    numbers, groups = group_numbers(reps, leave_out)
    if len(groups) < 2:
        raise SchemaError(f"leave_out={leave_out!r} leaves no model: all are of one group")
    value, count = apply(
        partial(spread.without, consensus=consensus),
        pairs,
        xr.DataArray(numbers, dims="model"),
        core=[["model", "model_2", "stimulus"], ["model"]],
        out=[["model", "stimulus"]] * 2,
        dtypes=[np.float64, np.int64],
    )
    return _counted(value, count)


def _real(reps: xr.DataArray) -> xr.DataArray:
    """Without the padding, where all models are equally wide."""
    width = int(np.max(widths(reps)))
    return reps if width == reps.sizes["feature"] else reps.isel({"feature": slice(width)})


def _coordinates(reps: xr.DataArray, metric: str, normalize: bool) -> xr.DataArray:
    distance: Metric = MEASURES[metric].function
    kernel, merging = partial(spread.mean_pair_distance, metric=distance), None
    if distance.linear:
        kernel = partial(spread.dispersion, metric=distance, name=metric)
        merging = Merging(
            partial(spread.leaf, metric=distance),
            partial(spread.merge, metric=distance),
            partial(spread.dispersion_of, name=metric),
        )
    outputs: xr.DataArray = over_models(reps, kernel, merging, {"_output": 3})
    value, count, square = (outputs.isel(_output=i) for i in range(3))
    if normalize:
        value = value / square.where(square > 0) ** (1 if metric in SQUARED else 0.5)
    return _counted(value, count)


def _neighborhood(reps: xr.DataArray, k: int, pairwise: bool) -> xr.DataArray:
    lists, *_ = neighbor_lists(reps, k)
    if pairwise:
        shared: xr.DataArray = apply(
            overlap,
            lists,
            on_side(lists, "model", "_2"),
            core=[["stimulus", NEIGHBOR]] * 2,
            out=[["stimulus"]],
        )
        return 1 - shared
    value, count = apply(
        mean_overlap,
        lists,
        core=[["model", "stimulus", NEIGHBOR]],
        out=[["stimulus"]] * 2,
        dtypes=[np.float64, np.int64],
    )
    return _counted(1 - value, count)


def _pairs(reps: xr.DataArray, metric: Metric) -> xr.DataArray:
    second = "model_2"
    size = reps.sizes["model"]
    pairs = over_models(
        reps, partial(spread.pair_distances, metric=metric), None, {"model": size, second: size}
    )
    pairs = pairs.transpose(..., "model", second, "stimulus")
    return pairs.assign_coords(on_side(reps["model"], "model", "_2").coords)


def _row_disagreement(reps: xr.DataArray, metric: str, pairwise: bool) -> xr.DataArray:
    second = "model_2"
    if long_pairs.come_in_tiles(reps, reps):
        pairs = long_pairs.own_row_correlations(reps, metric)
        own = xr.DataArray(np.arange(reps.sizes["model"]), dims="model")
        there = pairs.isel({"model": own, second: own}).notnull()
    else:
        rows = prepared_rows(reps, metric)
        there = rows.isel({"feature": 0}).notnull()
        pairs = apply(
            row_correlations,
            rows,
            on_side(rows, "model", "_2"),
            core=[["model", "stimulus", "feature"], [second, "stimulus", "feature"]],
            out=[["model", second, "stimulus"]],
            metric=metric,
        )
    if pairwise:
        return 1 - pairs
    value = apply(
        spread.mean_over_pairs, 1 - pairs, core=[["model", second, "stimulus"]], out=[["stimulus"]]
    )
    return _counted(value, there.sum("model"))


def _counted(value: xr.DataArray, count: xr.DataArray) -> xr.DataArray:
    count = describe(count.astype(np.int64), "n_models").reset_coords(drop=True)
    return value.assign_coords(n_models=count)


_ONE_PASS = "M n d, one pass, no pairs"
_SHARED = "on axes that models do not share: it warns. Call `shared_space` first"

MEASURES = {
    "cosine": Measure(
        METRICS["cosine"],
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of 1 - cos(x_a, x_b) = Σ|u_m - ū|²/(M-1) of unit rows u",
        range="0 to M/(M-1)",
        chance="1 for unrelated models",
        invariant=("common rotation", "scale", "row norm"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.cosine",
        avoid=_SHARED,
    ),
    "correlation": Measure(
        METRICS["correlation"],
        per="stimulus",
        kind="distance",
        formula="the same of rows less their mean over features",
        range="0 to M/(M-1)",
        chance="1 for unrelated models",
        invariant=("scale", "row norm"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.correlation",
        avoid=_SHARED + ". It depends on the basis: a common rotation changes it",
    ),
    "sqeuclidean": Measure(
        METRICS["sqeuclidean"],
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of |x_a - x_b|² = 2/(M-1) Σ|x_m - x̄|²",
        range="0 to ∞",
        chance="twice the mean squared norm for unrelated models",
        invariant=("common rotation", "common translation"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.sqeuclidean",
        avoid=_SHARED + ". It follows the norm of the stimulus: `normalize=True`",
    ),
    "euclidean": Measure(
        METRICS["euclidean"],
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of |x_a - x_b|",
        range="0 to ∞",
        chance="none",
        invariant=("common rotation", "common translation"),
        cost="M² n d",
        reference="scipy.spatial.distance.euclidean",
        avoid=_SHARED + ". It needs all pairs; `sqeuclidean` does not",
    ),
    "consensus": Measure(
        METRICS["sqeuclidean"],
        per="stimulus",
        kind="distance",
        formula="sqrt(Σ_m |a_mi - z_i|²), a the coordinates in the shared space, z their mean",
        range="0 to ∞, in Frobenius norms of a model",
        chance="sqrt((M-1)/M Σ|a_mi|²) for unrelated models",
        invariant=("common rotation", "common translation"),
        cost=_ONE_PASS,
        reference="Hosseini, Cheung, Fedorenko & Williams, arXiv 2604.21836",
        avoid=_SHARED + ". It follows the norm of the stimulus and the number of models that saw "
        "it. Of a space that was fitted to the same stimuli it is too small: `folds`",
    ),
    "neighborhood": Measure(
        _neighborhood,
        basis_free=True,
        per="stimulus",
        kind="distance",
        formula="1 - mean over pairs of models of |N_a(i) ∩ N_b(i)| / k",
        range="0 to 1",
        chance="1 - k/(n-1) for unrelated models",
        invariant=("rotation", "scale", "row norm"),
        cost="n² d a model, then M n k log",
        reference="after Huh et al. (2024)",
        avoid="to compare pools of different size. Crowded stimuli have less of it: partial out "
        "`local_density`",
    ),
    "rdm": Measure(
        _row_disagreement,
        basis_free=True,
        per="stimulus",
        kind="distance",
        formula="1 - mean over pairs of models of the correlation of row i of their RDMs",
        range="0 to 2",
        chance="1 for unrelated models",
        invariant=("scale", "row norm"),
        cost="n² d a model and n² a pair, in blocks",
        reference="after Kriegeskorte, Mur & Bandettini (2008)",
        avoid="where few distant stimuli decide the correlation. It is invariant to what its "
        "`rdm_metric` is",
    ),
}
