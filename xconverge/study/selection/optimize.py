"""Stimuli for an experiment, chosen together: sets on which models agree, or disagree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import pairing_attrs, refuse_repeats
from xconverge.engine.rdms import checked_rdms
from xconverge.engine.resampling import seed_of
from xconverge.engine.resources import check_memory
from xconverge.kernels import set_search as kernels
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rdm import triangle
from xconverge.kernels.vectors import METRICS, Array, working_dtype
from xconverge.labels.arguments import check_seed, text, whole
from xconverge.labels.checks import (
    check_dims,
    check_features,
    check_labels,
    check_representations,
    group_numbers,
    widths,
)
from xconverge.labels.coordinates import carried
from xconverge.labels.families import families
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe, described, stated
from xconverge.measures.rdm import prepared_rows
from xconverge.study.selection.constraints import (
    Cells,
    Constraints,
    Labels,
    Pool,
    cells,
    pool_of,
    positions,
    rules_of,
    tell_merged_cells,
    whole_square,
)
from xconverge.study.selection.stimuli import cell_notes, stability_of, too_near

CURE = "fewer stimuli (.isel), fewer features (xconverge.pca), or a machine with more memory"
N_RANDOM = 100
SIGNS = {"high": 1, "low": -1}


def optimize_stimuli(
    reps: xr.DataArray,
    n: int,
    agreement: str = "high",
    *,
    rdm_metric: str = "correlation",
    start: Labels | None = None,
    n_restarts: int = 4,
    n_perturbations: int = 10,
    leave_out: str | None = None,
    rng: np.random.Generator | int | None = None,
    **constraints: Unpack[Constraints],
) -> xr.Dataset:
    """Choose the n stimuli on whose distances the models agree most, or least, as a set.

    The agreement of a set is the mean over pairs of models of the Pearson correlation of their
    RDMs inside it.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width; or RDMs (model, stimulus,
        stimulus_2). At least two models.
    n : int
        Stimuli of the set, at least 3.
    agreement : {"high", "low"}
        What is sought.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli, where ``reps`` are representations.
    start : Dataset, DataArray or labels, optional
        A set to start from, within the constraints; by default the stimuli on whose distances to
        200 others, spread over all, the models agree most (or least).
    n_restarts : int
        Further searches from random sets.
    n_perturbations : int
        Further searches from the best set with a tenth or a fifth of it replaced at random.
    leave_out : str, optional
        ``"model"``, or a model coordinate (``family`` …): the whole search is made again without
        each of its groups. ``"model"`` is a whole network where models are layers of one (the same
        value of ``network``, else of ``subject``).
    rng : Generator, int or None
        Source of random sets, which follow labels.
    **constraints
        ``groups``, ``quotas``, ``match``, ``match_bins``, ``distances`` and ``min_distance``, as in
        ``select_stimuli``. An exchange stays inside its cell.

    Returns
    -------
    Dataset
        In memory, over ``stimulus``, with its coordinates, the largest contribution first:
        ``contribution``, the agreement of the set less that of the set without the stimulus, and
        ``reason`` in words. ``agreement`` of the set, ``agreement_of_start``,
        ``agreement_of_random``, the mean over 100 random sets within the same constraints (fewer,
        or NaN, where random stimuli are hardly ever ``min_distance`` apart), and ``n_exchanges``
        of all searches. With ``leave_out``, over its groups: ``agreement_heldout``,
        the mean correlation of left-out models with the others inside the set that was chosen
        without them, and ``agreement_heldout_of_random``; ``stability`` (stimulus), the share of
        these sets that hold the stimulus, and ``overlap_without``, the share of the set that each
        of them keeps.

    Warns
    -----
    RuntimeWarning
        The distances of a model do not differ inside any set that was found: ``agreement`` is
        NaN; n is 3: contributions are NaN. Models are layers of one network: each of them counts.

    Raises
    ------
    SchemaError
        Fewer than two models (in all, or without a group), by name; too few stimuli, or too few
        that are ``min_distance`` apart; labels that do not match; faulty rows.
    ValueError
        n below 3, quotas that do not sum to n, a start that is not within the constraints.
    MemoryError
        The rows of all models do not fit.

    Notes
    -----
    Local search: each member in turn gives way to the candidate that makes the set best, until
    none helps. Sums of products of distances are kept for every candidate, so that all N of them
    are tried at N M² operations, exactly, whatever n. The first search does that from ``start``,
    the others can only better it: the result is never worse than one local search from the same
    start. It is a local optimum: no single exchange raises it by more than rounding (1e-6 for
    features of up to 4 bytes, which are searched in single precision). Sets where the distances
    of a model do not differ are never preferred.

    Only stimuli that every model saw are candidates; ``attrs`` say how many. Computes a lazy
    input: in memory are the rows of all models, ``model × stimulus × feature``, in the working
    precision (or all RDMs), and up to 512 MiB of distances; no matrix over all pairs of stimuli.

    The agreement of an optimised set is too high (or too low) for models that were not asked: see
    ``agreement_heldout``.

    Hosseini et al. (2024), Universality of representation in biological and artificial neural
    networks.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> vision = planted_study(n_models=3, n_stimuli=60, rng=0)["vision"]
    >>> chosen = optimize_stimuli(vision, 10, rng=0)
    >>> chosen.sizes["stimulus"], bool(chosen["agreement"] > chosen["agreement_of_random"])
    (10, True)
    >>> bool(chosen["noise"].mean() < vision["noise"].mean())
    True
    """
    rules = rules_of("optimize_stimuli", constraints)
    refuse_repeats("optimize_stimuli", reps, rules.distances)
    choose("agreement", agreement, SIGNS)
    choose("rdm_metric", rdm_metric, METRICS)
    whole("n", n, 3, why="stimuli, for RDMs to be correlated")
    whole("n_restarts", n_restarts, 0)
    whole("n_perturbations", n_perturbations, 0)
    check_seed(rng)
    square = "stimulus_2" in getattr(reps, "dims", ()) and "feature" not in reps.dims
    reps = _checked(reps, square)
    left_out = None if leave_out is None else _groups(reps, leave_out)
    _check_models(reps, left_out)
    pool = pool_of([reps], n, rules, "reps")
    parts, seen = _squares(reps) if square else _rows(reps, rdm_metric, n)
    chosen_from = cells(pool, seen, n)
    order, limits = _limits(pool, chosen_from)
    for m, part in enumerate(parts):
        parts[m] = part[np.ix_(order, order)] if square else part[order]
    source = kernels.Matrices(parts) if square else kernels.Features(parts, rdm_metric)
    first = None if start is None else _start(start, pool, order, limits)
    sign = SIGNS[agreement]
    seed, stream = seed_of(rng)

    def search(source: kernels.Source) -> kernels.Optimum:
        # a search without some models draws the same random sets as the one with all
        return kernels.optimize(
            source, limits, sign, first, n_restarts, n_perturbations, np.random.default_rng(stream)
        )

    try:
        best = search(source)
    except kernels.TooNearError as error:
        raise too_near(error.count, n, rules) from error
    random = _random_correlations(source, limits, stream)
    chosen = _scored(source, best, random, sign, order, pool, chosen_from)
    _warn_if_undefined(chosen.table["agreement"], source, best.members, reps.indexes["model"])
    parameters = {
        "metric": reps.attrs.get("metric") if square else rdm_metric,
        "modality": reps.attrs.get("modality"),
        "which": agreement,
        "seed": seed,
        **pairing_attrs(reps, rules.distances),
    }
    result = described(
        {
            name: xr.DataArray(one, dims=("stimulus",) * np.ndim(one))
            for name, one in chosen.table.items()
        },
        **parameters,
    )
    if left_out is not None:
        numbers, names = left_out
        heldout, sets = _without(source, search, numbers, random)
        result = result.assign(
            {k: describe(names.copy(data=v), k, **parameters) for k, v in heldout.items()}
        ).assign(stability_of(chosen.members, [order[one] for one in sets], names))
    result = carried(result, _stimulus_coords(reps, chosen.members))
    result.attrs = stated(
        **parameters, n=n, n_eligible=int((chosen_from.number >= 0).sum()),
        n_not_seen_by_all=int((~seen).sum()), n_restarts=n_restarts,
        n_perturbations=n_perturbations,
        merged_bins=tell_merged_cells(chosen_from, rules.match_bins), **rules.attrs,
    )  # fmt: skip
    return result


def _random_correlations(source: kernels.Source, limits: kernels.Limits, stream: int) -> Array:
    """Correlations (draw, M, M) of the models inside random sets within the constraints."""
    models = source.shape[0]
    # a stream of its own: the number of searches changes no random set
    sets = kernels.random_sets(limits, N_RANDOM, np.random.default_rng([stream, 1]))
    drawn = np.array([kernels.correlations(source.inside(one)) for one in sets])
    return drawn.reshape(-1, models, models)


class _Chosen(NamedTuple):
    """Where the chosen stimuli are in the pool, the largest contribution first; their variables."""

    members: Array
    table: dict[str, Any]


def _scored(
    source: kernels.Source,
    best: kernels.Optimum,
    random: Array,
    sign: int,
    order: Array,
    pool: Pool,
    chosen_from: Cells,
) -> _Chosen:
    """The best set with what each stimulus adds, beside its start and random sets."""
    inside = source.inside(best.members)
    n, off_diagonal = len(best.members), ~np.eye(len(inside), dtype=bool)
    value, of_random = kernels.agreement(inside), _mean(random.mean((1, 2), where=off_diagonal))
    contribution = kernels.contributions(inside) if n > 3 else np.full(n, np.nan)
    members = order[best.members]
    ranked = np.lexsort((pool.rank[members], -sign * contribution))
    members, contribution = members[ranked], contribution[ranked]
    reasons = [
        f"one of {n} of {len(order):,} with an agreement of {value:.3f}, random sets "
        f"{of_random:.3f}; without it {value - one:.3f}{note}"
        for one, note in zip(contribution, cell_notes(chosen_from, pool, members), strict=True)
    ]
    table = {
        "contribution": contribution,
        "reason": np.array(reasons, dtype=object),
        "agreement": value,
        "agreement_of_start": kernels.agreement(source.inside(best.start)),
        "agreement_of_random": of_random,
        "n_exchanges": best.n_exchanges,
    }
    return _Chosen(members, table)


def _warn_if_undefined(
    agreement: float, source: kernels.Source, members: Array, models: pd.Index
) -> None:
    if np.isnan(agreement):
        flat = np.isnan(np.diagonal(kernels.correlations(source.inside(members))))
        message = (
            f"all distances of {listing(models[flat])} are equal inside every set "
            "that was found: the agreement is NaN; leave the model out"
        )
    elif len(members) == 3:
        message = "without one of 3 stimuli there is one distance: contributions are NaN"
    else:
        return
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _checked(reps: xr.DataArray, square: bool) -> xr.DataArray:
    """A representation set or RDMs, of no other dims."""
    if square:
        reps = checked_rdms(reps, "reps")
        reps = check_dims(reps, "model")
        check_labels(reps, "model")
    else:
        reps = check_representations(reps)
        check_features(reps)
    known = ("model", "stimulus", "feature", "stimulus_2")
    extra = [str(dim) for dim in reps.dims if dim not in known]
    if extra:
        raise SchemaError(
            "optimize_stimuli takes (model, stimulus, feature) or RDMs (model, stimulus, "
            f"stimulus_2) and got {extra} too; choose one with .sel(), or stack it onto 'model'"
        )
    return reps


def _groups(reps: xr.DataArray, leave_out: str) -> tuple[Array, xr.DataArray]:
    """Number of the group of each model, and the names of the groups, labelled by themselves."""
    text("leave_out", leave_out, "the name of a coordinate on 'model'")
    of = families(reps)
    if leave_out in ("model", of.owner):
        # layers of one network are left out together
        numbers, values, leave_out = of.numbers, of.names, of.owner
    else:
        numbers, values = group_numbers(reps, leave_out, "leave_out")
    index = pd.Index(values, dtype=object)
    return numbers, xr.DataArray(index, dims=leave_out, coords={leave_out: index})


def _check_models(reps: xr.DataArray, left_out: tuple[Array, xr.DataArray] | None) -> None:
    """Two models at least, also without any group; says where layers of a network are several."""
    models, of = reps.indexes["model"], families(reps)
    if of.several:
        warnings.warn(
            f"the {len(models)} models are of {len(of.names)} {of.what}, and each of them counts "
            "in the agreement, also pairs of one; choose one of each with .isel(model=…)",
            RuntimeWarning,
            stacklevel=3,
        )
    if len(models) < 2:
        raise SchemaError(f"models agree or not where there are 2 at least, got {listing(models)}")
    if left_out is not None:
        numbers, names = left_out
        few = [name for i, name in enumerate(names.values) if (numbers != i).sum() < 2]
        if few:
            raise SchemaError(
                f"leave_out={names.dims[0]!r}: at least 2 models must be left, and fewer are "
                f"without {listing(few)}"
            )


def _rows(reps: xr.DataArray, rdm_metric: str, n: int) -> tuple[list[Array], Array]:
    """Prepared rows (N, F) of every model, read one by one, and which stimuli all of them saw."""
    dtype = np.dtype(working_dtype(reps.dtype))
    models, stimuli = reps.sizes["model"], reps.sizes["stimulus"]
    kept = max(BUDGETS.search_cache, dtype.itemsize * models * stimuli * (n + kernels.AHEAD))
    numbers = models * stimuli * (reps.sizes["feature"] + models)
    check_memory(
        dtype.itemsize * numbers + kept,
        1,
        f"Rows of {models} models × {stimuli:,} stimuli",
        CURE,
        here=True,
    )
    parts, seen = [], np.ones(stimuli, bool)
    for m in range(models):
        one = reps.isel({"model": [m]})
        width = int(widths(one).max())
        rows = prepared_rows(one, rdm_metric).isel({"model": 0}).values[:, :width].astype(dtype)
        seen &= ~np.isnan(rows[:, 0])
        parts.append(rows)
    return parts, seen


def _squares(rdms: xr.DataArray) -> tuple[list[Array], Array]:
    """The RDM (N, N) of every model, and which stimuli all of them have."""
    need = math.prod(rdms.shape) * np.dtype(working_dtype(rdms.dtype)).itemsize
    check_memory(need, 1, f"RDMs of {rdms.sizes['model']} models", CURE, here=True)
    parts, seen = [], np.ones(rdms.sizes["stimulus"], bool)
    for name in rdms.indexes["model"]:
        values, measured = whole_square(rdms.sel({"model": name}), f"the RDM of {name!r}")
        triangle(values, ranked=False)  # refuses what is not symmetric
        parts.append(values)
        seen &= measured
    return parts, seen


def _limits(pool: Pool, chosen_from: Cells) -> tuple[Array, kernels.Limits]:
    """Stimuli that may be chosen, those of a cell side by side in the order of their labels."""
    eligible = np.flatnonzero(chosen_from.number >= 0)
    eligible = eligible[chosen_from.wanted[chosen_from.number[eligible]] > 0]
    order = eligible[np.lexsort((pool.rank[eligible], chosen_from.number[eligible]))]
    kept = np.flatnonzero(chosen_from.wanted)
    edges = np.searchsorted(chosen_from.number[order], [*kept, len(chosen_from.wanted)])
    near = None if pool.near is None else pool.near[np.ix_(order, order)]
    return order, kernels.Limits(edges, chosen_from.wanted[kept], near)


def _start(start: Labels, pool: Pool, order: Array, limits: kernels.Limits) -> Array:
    """Where a given start is in the order of the search."""
    given = positions(start, pool.labels, limits.size, "start")
    where = pd.Index(order).get_indexer(pd.Index(given))
    if (where < 0).any() or len(limits.fill(where)) < limits.size:
        raise ValueError(
            "start must be a set within the constraints: stimuli that all models saw, as many of "
            "each cell as are wanted, and none too near to another"
        )
    return np.asarray(where)


def _without(
    source: kernels.Source,
    search: Callable[[kernels.Source], kernels.Optimum],
    numbers: Array,
    random: Array,
) -> tuple[dict[str, Array], list[Array]]:
    """How left-out models agree with the others in the set of the others, and these sets."""
    sets, heldout, of_random = [], [], []
    for group in range(numbers.max() + 1):
        others, mine = np.flatnonzero(numbers != group), np.flatnonzero(numbers == group)
        sets.append(search(source.only(others)).members)
        own = kernels.correlations(source.inside(sets[-1]))
        heldout.append(own[mine][:, others].mean())
        of_random.append(_mean(random[:, mine][:, :, others].mean((1, 2))))
    values = {"agreement_heldout": heldout, "agreement_heldout_of_random": of_random}
    return {name: np.array(one) for name, one in values.items()}, sets


def _mean(values: Array) -> float:
    """Mean of those that are defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _stimulus_coords(reps: xr.DataArray, members: Array) -> Mapping[Hashable, xr.DataArray]:
    return {
        name: coord.isel({"stimulus": members})
        for name, coord in reps.coords.items()
        if coord.dims == ("stimulus",)
    }
