"""Stimuli for an experiment, chosen together: sets on which models agree, or disagree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.engine.resources import check_memory
from xconverge.kernels import set_search as swaps
from xconverge.kernels.rdm import triangle
from xconverge.kernels.vectors import METRICS, Array, working_dtype
from xconverge.labels.checks import (
    check_dims,
    check_features,
    check_labels,
    check_representations,
    group_numbers,
    widths,
)
from xconverge.labels.joins import square_rdm
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe
from xconverge.measures.rdm import prepared_rows
from xconverge.study.selection.constraints import (
    Cells,
    Labels,
    Pool,
    Quotas,
    Rules,
    cells,
    pool_of,
    positions,
    whole_square,
)
from xconverge.study.selection.stimuli import places, said, stability_of, too_near

CURE = "fewer stimuli (.isel), fewer features (xconverge.pca), or a machine with more memory"
N_RANDOM = 100
SIGNS = {"high": 1, "low": -1}


def optimize_stimuli(
    reps: xr.DataArray,
    n: int,
    agreement: str = "high",
    *,
    metric: str = "correlation",
    start: Labels | None = None,
    n_restarts: int = 4,
    n_perturbations: int = 10,
    groups: str | xr.DataArray | None = None,
    quotas: Quotas | None = None,
    match: str | xr.DataArray | Sequence[str | xr.DataArray] = (),
    match_bins: int = 5,
    distances: xr.DataArray | None = None,
    min_distance: float | None = None,
    leave_out: str | None = None,
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
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
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli, where ``reps`` are representations.
    start : Dataset, DataArray or labels, optional
        A set to start from, within the constraints; by default the stimuli on whose distances to
        200 others, spread over all, the models agree most (or least).
    n_restarts : int
        Further searches from random sets.
    n_perturbations : int
        Further searches from the best set with a tenth or a fifth of it replaced at random.
    groups, quotas, match, match_bins, distances, min_distance
        Constraints, as in ``select_stimuli``. A swap stays inside its cell.
    leave_out : str, optional
        ``"model"``, or a model coordinate (``family`` …): the whole search is made again without
        each of its groups.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``reps`` and of ``distances``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
        The result, ``start`` and quotas are of the values of the pairing; ``match`` and ``groups``
        carry these, the labels of one side, or the coordinate too.
    rng : Generator, int or None
        Source of random sets, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``stimulus``, with its coordinates, the largest contribution first:
        ``contribution``, the agreement of the set less that of the set without the stimulus, and
        ``reason`` in words. ``agreement`` of the set, ``agreement_of_start``,
        ``agreement_of_random``, the mean over 100 random sets within the same constraints (fewer,
        or NaN, where random stimuli are hardly ever ``min_distance`` apart), and ``n_swaps`` of
        all searches. With ``leave_out``, over its groups: ``agreement_heldout``,
        the mean correlation of left-out models with the others inside the set that was chosen
        without them, and ``agreement_heldout_of_random``; ``stability`` (stimulus), the share of
        these sets that hold the stimulus, and ``overlap_without``, the share of the set that each
        of them keeps.

    Warns
    -----
    RuntimeWarning
        The distances of a model do not differ inside any set that was found: ``agreement`` is
        NaN; n is 3: contributions are NaN.

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
    Greedy swaps: each member in turn gives way to the candidate that makes the set best, until
    none helps. Sums of products of distances are kept for every candidate, so that all N of them
    are tried at N M² operations, exactly, whatever n. The first search does that from ``start``,
    the others can only better it: the result is never worse than greedy swaps from the same
    start. It is a local optimum: no single swap raises it by more than rounding (1e-6 for
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
    refuse_keep(repeats, "optimize_stimuli")
    reps, distances, match, groups = paired(
        pair_on, repeats, reps=reps, distances=distances, match=match, groups=groups)  # fmt: skip
    choose("agreement", agreement, SIGNS)
    choose("metric", metric, METRICS)
    if n < 3:
        raise ValueError(f"n={n}: RDMs need at least 3 stimuli to be correlated")
    if n_restarts < 0 or n_perturbations < 0:
        raise ValueError(f"n_restarts={n_restarts}, n_perturbations={n_perturbations}: not below 0")
    square = "stimulus_2" in getattr(reps, "dims", ()) and "feature" not in reps.dims
    reps = _checked(reps, square)
    left_out = None if leave_out is None else _groups(reps, leave_out)
    _check_models(reps.indexes["model"], left_out)
    rules = Rules(groups, quotas, match, match_bins, None, distances, min_distance)
    pool = pool_of([reps], n, rules)
    parts, seen = _squares(reps) if square else _rows(reps, metric, n)
    found = cells(pool, seen, n)
    order, limits = _limits(pool, found)
    for m, part in enumerate(parts):
        parts[m] = part[np.ix_(order, order)] if square else part[order]
    source = swaps.Matrices(parts) if square else swaps.Features(parts, metric)
    first = None if start is None else _start(start, pool, order, limits)
    seed = int(np.random.default_rng(rng).integers(2**63))

    def search(source: swaps.Source) -> swaps.Found:
        return swaps.optimize(
            source, limits, SIGNS[agreement], first, n_restarts, n_perturbations,
            np.random.default_rng(seed),
        )  # fmt: skip

    try:
        best = search(source)
    except swaps.TooNearError as error:
        raise too_near(error.found, n, rules) from error
    draws = swaps.random_sets(limits, N_RANDOM, np.random.default_rng([seed, 1]))
    drawn = np.array([swaps.correlations(source.inside(one)) for one in draws])
    drawn = drawn.reshape(-1, len(parts), len(parts))
    parameters = {
        "metric": reps.attrs.get("metric") if square else metric,
        "modality": reps.attrs.get("modality"),
        "which": agreement,
        **told_of(pair_on, repeats),
    }
    members, table = _scored(source, best, drawn, SIGNS[agreement], order, pool, found)
    if np.isnan(table["agreement"]):
        flat = np.isnan(np.diagonal(swaps.correlations(source.inside(best.members))))
        _warn(
            f"all distances of {listing(reps.indexes['model'][flat])} are equal inside every set "
            "that was found: the agreement is NaN; leave the model out"
        )
    elif n == 3:
        _warn("without one of 3 stimuli there is one distance: contributions are NaN")
    result = xr.Dataset(
        {
            name: describe(xr.DataArray(one, dims=("stimulus",) * np.ndim(one)), name, **parameters)
            for name, one in table.items()
        }
    ).assign_coords(_stimulus_coords(reps, members))
    if left_out is not None:
        numbers, names = left_out
        heldout, sets = _without(source, search, numbers, drawn)
        result = result.assign(
            {k: describe(names.copy(data=v), k, **parameters) for k, v in heldout.items()}
        ).assign(stability_of(members, [order[one] for one in sets], names))
    result.attrs = {
        "n": n, "n_eligible": int((found.number >= 0).sum()),
        "n_not_seen_by_all": int((~seen).sum()), "n_restarts": n_restarts,
        "n_perturbations": n_perturbations, **said(rules),
    }  # fmt: skip
    return result


def _scored(
    source: swaps.Source,
    best: swaps.Found,
    drawn: Array,
    sign: int,
    order: Array,
    pool: Pool,
    found: Cells,
) -> tuple[Array, dict[str, Any]]:
    """Where the chosen stimuli are in the pool, the largest contribution first, and what is said.

    ``drawn`` (draw, M, M) are the correlations inside random sets.
    """
    inside = source.inside(best.members)
    n, pairs = len(best.members), ~np.eye(len(inside), dtype=bool)
    value, random = swaps.agreement(inside), _mean(drawn.mean((1, 2), where=pairs))
    by = swaps.contributions(inside) if n > 3 else np.full(n, np.nan)
    members = order[best.members]
    ranked = np.lexsort((pool.rank[members], -sign * by))
    members, by = members[ranked], by[ranked]
    reasons = [
        f"one of {n} of {len(order):,} with an agreement of {value:.3f}, random sets "
        f"{random:.3f}; without it {value - one:.3f}{place}"
        for one, place in zip(by, places(found, pool, members), strict=True)
    ]
    return members, {
        "contribution": by,
        "reason": np.array(reasons, dtype=object),
        "agreement": value,
        "agreement_of_start": swaps.agreement(source.inside(best.start)),
        "agreement_of_random": random,
        "n_swaps": best.n_swaps,
    }


def _checked(reps: xr.DataArray, square: bool) -> xr.DataArray:
    """A representation set or RDMs, of no other dims."""
    if square:
        reps = square_rdm(reps, "reps")
        reps = check_dims(reps, "model")
        check_labels(reps, "model")
    else:
        reps = check_representations(reps)
        check_features(reps)
    extra = [
        str(d) for d in reps.dims if d not in (*("model", "stimulus", "feature"), "stimulus_2")
    ]
    if extra:
        raise SchemaError(
            f"optimize_stimuli takes {list(('model', 'stimulus', 'feature'))} or RDMs and got {extra} too; choose one with "
            ".sel(), or stack it onto 'model'"
        )
    return reps


def _groups(reps: xr.DataArray, leave_out: str) -> tuple[Array, xr.DataArray]:
    """Number of the group of each model, and the names of the groups, labelled by themselves."""
    numbers, values = group_numbers(reps, leave_out)
    index = pd.Index(values, dtype=object)
    return numbers, xr.DataArray(index, dims=leave_out, coords={leave_out: index})


def _check_models(models: pd.Index, left_out: tuple[Array, xr.DataArray] | None) -> None:
    """Two models at least, also without any group."""
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


def _rows(reps: xr.DataArray, metric: str, n: int) -> tuple[list[Array], Array]:
    """Prepared rows (N, F) of every model, read one by one, and which stimuli all of them saw."""
    dtype = np.dtype(working_dtype(reps.dtype))
    models, stimuli = reps.sizes["model"], reps.sizes["stimulus"]
    kept = max(swaps.CACHE_BYTES, dtype.itemsize * models * stimuli * (n + swaps.AHEAD))
    numbers = models * stimuli * (reps.sizes["feature"] + models)
    check_memory(
        dtype.itemsize * numbers + kept, 1, f"Rows of {models} models × {stimuli:,} stimuli", CURE
    )
    parts, seen = [], np.ones(stimuli, bool)
    for m in range(models):
        one = reps.isel({"model": [m]})
        width = int(widths(one).max())
        rows = prepared_rows(one, metric).isel({"model": 0}).values[:, :width].astype(dtype)
        seen &= ~np.isnan(rows[:, 0])
        parts.append(rows)
    return parts, seen


def _squares(rdms: xr.DataArray) -> tuple[list[Array], Array]:
    """The RDM (N, N) of every model, and which stimuli all of them have."""
    need = math.prod(rdms.shape) * np.dtype(working_dtype(rdms.dtype)).itemsize
    check_memory(need, 1, f"RDMs of {rdms.sizes['model']} models", CURE)
    parts, seen = [], np.ones(rdms.sizes["stimulus"], bool)
    for name in rdms.indexes["model"]:
        values, there = whole_square(rdms.sel({"model": name}), f"the RDM of {name!r}")
        triangle(values, ranked=False)
        parts.append(values)
        seen &= there
    return parts, seen


def _limits(pool: Pool, found: Cells) -> tuple[Array, swaps.Limits]:
    """Stimuli that may be chosen, those of a cell side by side in the order of their labels."""
    there = np.flatnonzero(found.number >= 0)
    there = there[found.wanted[found.number[there]] > 0]
    order = there[np.lexsort((pool.rank[there], found.number[there]))]
    kept = np.flatnonzero(found.wanted)
    edges = np.searchsorted(found.number[order], [*kept, len(found.wanted)])
    near = None if pool.near is None else pool.near[np.ix_(order, order)]
    return order, swaps.Limits(edges, found.wanted[kept], near)


def _start(start: Labels, pool: Pool, order: Array, limits: swaps.Limits) -> Array:
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
    source: swaps.Source,
    search: Callable[[swaps.Source], swaps.Found],
    numbers: Array,
    drawn: Array,
) -> tuple[dict[str, Array], list[Array]]:
    """How left-out models agree with the others in the set of the others, and these sets."""
    sets, heldout, of_random = [], [], []
    for group in range(numbers.max() + 1):
        others, mine = np.flatnonzero(numbers != group), np.flatnonzero(numbers == group)
        sets.append(search(source.only(others)).members)
        own = swaps.correlations(source.inside(sets[-1]))
        heldout.append(own[mine][:, others].mean())
        of_random.append(_mean(drawn[:, mine][:, :, others].mean((1, 2))))
    values = {"agreement_heldout": heldout, "agreement_heldout_of_random": of_random}
    return {name: np.array(one) for name, one in values.items()}, sets


def _mean(values: Array) -> float:
    """Mean of those that are defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _stimulus_coords(reps: xr.DataArray, members: Array) -> Mapping[Hashable, xr.DataArray]:
    return {
        name: coord.isel({"stimulus": members})
        for name, coord in reps.coords.items()
        if coord.dims == ("stimulus",)
    }
