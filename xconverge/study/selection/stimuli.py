"""Stimuli for an experiment, chosen by a value of each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Unpack

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import pairing_attrs, refuse_repeats
from xconverge.engine.resampling import seed_of
from xconverge.kernels.correlation import ranks as ranked
from xconverge.kernels.subsets import pick
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed
from xconverge.labels.checks import check_only
from xconverge.labels.coordinates import carried, set_aside
from xconverge.labels.families import families
from xconverge.labels.joins import join_labels, on_side
from xconverge.labels.messages import SchemaError, choose
from xconverge.labels.variables import describe, stated
from xconverge.study.selection.constraints import (
    Cells,
    Constraints,
    Labels,
    Pool,
    Rules,
    cells,
    pool_of,
    rules_of,
    tell_merged_cells,
)

CRITERION = "criterion"
WHICH = ("low", "high", "random", "matched")
EXTRAS = ("chosen_by", "overlap", f"{CRITERION}_2", "stability", "overlap_without")
"""What some selections hold beside the values of their stimuli."""
Criteria = xr.DataArray | xr.Dataset | Mapping[str, xr.DataArray]


def select_stimuli(
    dispersion: Criteria,
    n: int,
    which: str = "low",
    *,
    match_to: Labels | None = None,
    without: xr.DataArray | None = None,
    rng: np.random.Generator | int | None = None,
    **constraints: Unpack[Constraints],
) -> xr.Dataset:
    """Choose the n stimuli of lowest or highest dispersion, random ones, or a matched control set.

    Parameters
    ----------
    dispersion : DataArray, mapping of str to DataArray, or Dataset
        What orders the stimuli, any values (stimulus); several of them are criteria, by name.
    n : int
        Stimuli to choose.
    which : {"low", "high", "random", "matched"}
        The lowest or highest values; of several criteria, the lowest mean rank. ``"random"``
        draws evenly. ``"matched"`` draws a control set for ``match_to``.
    match_to : Dataset, DataArray or labels, optional
        n stimuli, another selection say: the set has as many in every cell as they have, and none
        of them.
    without : DataArray, optional
        (model, stimulus): the values without each model, as ``dispersion(leave_out="model")``
        gives them. The selection is made again with each.
    rng : Generator, int or None
        Source of random draws, which follow labels.
    **constraints
        What the set must hold, and of what it must be made up:

        groups : str or DataArray, optional
            A stimulus coordinate (category …) or values (stimulus).
        quotas : int or mapping of group to int, optional
            How many of every group; they must sum to n, and a group that is not named gets none.
            By default every group has its share of the pool.
        match : str or DataArray, or sequence of them
            Stimulus coordinates or values (stimulus): numbers (norm, caption length …) in quantile
            bins, everything else value by value. The set has as many stimuli in every cell (bin or
            value, crossed with groups) as its share of the pool asks for, by largest remainders, so
            that low, high and random sets are matched to each other.
        match_bins : int
            Quantile bins of numbers.
        distances, min_distance : DataArray, float, optional
            RDM (stimulus, stimulus_2), and what two chosen stimuli are apart at least. Stimuli are
            taken greedily, in the order of their value or draw, and those too near to one taken
            before are passed over.

    Returns
    -------
    Dataset
        In memory, over ``stimulus`` in order of choice, with the coordinates of ``dispersion``:
        ``value``, ``rank`` (among all that can be chosen, 1 the first of its end; from the lowest
        for draws) and ``reason`` in words. With several criteria the first two have the dim
        ``criterion``, and there is ``mean_rank``; each criterion also chooses n stimuli alone:
        ``chosen_by`` (criterion, stimulus) says of the chosen ones whether it has them too, and
        ``overlap`` (criterion, criterion_2) is the share of n that two of these sets have in
        common. With ``without``: ``stability`` (stimulus), the share of models without which the
        stimulus is still chosen, and ``overlap_without`` (model), the share of the set that stays.

    Warns
    -----
    RuntimeWarning
        Values that are all equal, or a number to match that makes fewer bins, for many of its
        values are equal (``attrs["merged_bins"]``, by name): match it as text, value by value.

    Raises
    ------
    SchemaError
        Too few stimuli that can be chosen, in all or in a cell, or that are ``min_distance``
        apart: it says how many there are. Unknown groups; labels that do not match.
    ValueError
        Quotas that do not sum to n, arguments that do not go together.

    Notes
    -----
    Stimuli that have a value that is not finite (of any criterion, of ``match``, a missing group,
    no distances) are never chosen. Ties are decided by the natural order of labels. Computes lazy
    inputs. The values of a chosen set are extreme by construction (the winner's curse): measure
    the set anew, with other models, before speaking of its size.

    Examples
    --------
    >>> import xarray as xr
    >>> spread = xr.DataArray([0.1, 0.9, 0.5, 0.3], dims="stimulus", name="dispersion",
    ...     coords={"stimulus": ["cat", "dog", "car", "bus"],
    ...             "kind": ("stimulus", ["animal", "animal", "vehicle", "vehicle"])})
    >>> chosen = select_stimuli(spread, 2, "high", groups="kind", quotas=1)
    >>> chosen["stimulus"].values.tolist()
    ['dog', 'car']
    >>> chosen["reason"].values[1]
    "2nd highest of 4 by dispersion, 0.5; kind 'vehicle': 1 of 1"
    """
    choose("which", which, WHICH)
    check_seed(rng)
    rules = rules_of("select_stimuli", constraints, match_to)
    named = _by_name(dispersion)
    refuse_repeats("select_stimuli", *named.values(), without, rules.distances)
    criteria = _joined(named)
    drawn = which in ("random", "matched")
    if which == "matched" and match_to is None:
        raise ValueError("which='matched' needs match_to, the stimuli to be matched")
    if drawn and (without is not None or len(criteria) > 1):
        raise ValueError(
            f"which={which!r} does not look at the values: it goes with one criterion, and not "
            "with without"
        )
    sides = list(criteria.values())
    others = None if without is None else _without(criteria, without)
    pool = pool_of(sides, n, rules, "dispersion")
    values = np.stack([one.values.astype(np.float64) for one in sides])
    chosen_from = cells(pool, np.asarray(np.isfinite(values).all(0)), n)
    if not drawn:
        _tell_equal(list(criteria), values[:, chosen_from.number >= 0])
    ranks = _ranks(values, pool, chosen_from, which)
    seed = None
    if drawn:
        # the seed itself, not its stream: labels in natural order, permuted
        seed, _ = seed_of(rng)
        order = np.argsort(pool.rank)[np.random.default_rng(seed).permutation(len(pool.rank))]
    else:
        order = np.lexsort((pool.rank, ranks.mean(0)))
    members = taken(order, chosen_from, pool, n)
    result = _described(criteria, values, ranks, members, which, chosen_from, pool)
    if len(criteria) > 1:
        sets = [taken(np.argsort(row), chosen_from, pool, n) for row in ranks]
        result = result.assign(_overlaps(sets, members, result.indexes[CRITERION]))
    if others is not None:
        again = [_chosen_by(row, pool, n, which) for row in others.values.astype(np.float64)]
        family = families(others).numbers
        result = result.assign(stability_of(members, again, others["model"], family))
        result = carried(result, others["model"].coords)
    result.attrs = stated(
        which=which, n=n, n_eligible=int((chosen_from.number >= 0).sum()), seed=seed,
        merged_bins=tell_merged_cells(chosen_from, rules.match_bins),
        **rules.attrs, **pairing_attrs(*sides, without, rules.distances),
    )  # fmt: skip
    return result


def _tell_equal(names: list[str], values: Array) -> None:
    """Warn of criteria whose values (K, N) are all equal."""
    for name, row in zip(names, values, strict=True):
        if len(np.unique(ranked(row))) == 1 < len(row):
            warnings.warn(
                f"all values of {name} are equal: the order of labels decides what it chooses",
                RuntimeWarning,
                stacklevel=3,
            )


def _by_name(dispersion: Criteria) -> dict[str, xr.DataArray]:
    """The criteria by name."""
    if isinstance(dispersion, Mapping):
        named = {str(name): one for name, one in dict(dispersion).items()}
    else:
        named = {str(getattr(dispersion, "name", None) or "value"): dispersion}
    if not named:
        raise ValueError("dispersion has no criterion")
    return named


def _joined(named: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Criteria over the same stimuli, in the order of the first."""
    criteria: dict[str, xr.DataArray] = {}
    for name, given in named.items():
        one = check_only(given, "stimulus", what=f"dispersion {name!r}")
        if criteria:
            first = next(iter(criteria))
            names = (f"dispersion {first!r}", f"dispersion {name!r}")
            _, one, _ = join_labels(criteria[first], one, "stimulus", "exact", names)
        criteria[name] = one
    return criteria


def _without(criteria: dict[str, xr.DataArray], without: xr.DataArray) -> xr.DataArray:
    """Values (model, stimulus) of the criterion without each model."""
    if len(criteria) > 1:
        raise ValueError("without goes with one criterion, whose values it holds")
    without = check_only(without, "model", "stimulus", what="without")
    (one,) = criteria.values()
    _, without, _ = join_labels(one, without, "stimulus", "exact", ("dispersion", "without"))
    return without.transpose("model", "stimulus")


def _chosen_by(values: Array, pool: Pool, n: int, which: str) -> Array:
    """The n stimuli that fit, chosen by these values (N) alone."""
    chosen_from = cells(pool, np.isfinite(values), n)
    return taken(
        np.argsort(_ranks(values[None], pool, chosen_from, which)[0]), chosen_from, pool, n
    )


def _ranks(values: Array, pool: Pool, chosen_from: Cells, which: str) -> Array:
    """Rank (K, N) of every value from its end, 1 the first; inf for what cannot be chosen."""
    result = np.full(values.shape, np.inf)
    eligible = chosen_from.number >= 0
    for row, out in zip(-values if which == "high" else values, result, strict=True):
        order = np.lexsort((pool.rank, np.where(eligible, row, np.inf)))[: eligible.sum()]
        out[order] = np.arange(1, len(order) + 1)
    return result


def taken(order: Array, chosen_from: Cells, pool: Pool, n: int) -> Array:
    """The n stimuli that fit, in this order."""
    members = pick(order, chosen_from.number, chosen_from.wanted, pool.near)
    if len(members) < n:
        raise too_near(len(members), n, pool.rules)
    return members


def too_near(count: int, n: int, rules: Rules) -> SchemaError:
    """That stimuli far enough from each other ran out."""
    return SchemaError(
        f"{count} of n={n} stimuli were found that are min_distance={rules.min_distance} "
        "apart, taken in order; lower min_distance, ask for fewer, or relax groups and match"
    )


def _described(
    criteria: dict[str, xr.DataArray],
    values: Array,
    ranks: Array,
    members: Array,
    which: str,
    chosen_from: Cells,
    pool: Pool,
) -> xr.Dataset:
    """The chosen stimuli with their values, ranks and reasons."""
    first = next(iter(criteria.values()))
    names = [_called(name, one) for name, one in criteria.items()]
    mean, values, ranks = ranks.mean(0)[members], values[:, members], ranks[:, members].astype(int)
    table = {"value": values, "rank": ranks, "mean_rank": mean}
    if len(criteria) == 1:
        table = {"value": values[0], "rank": ranks[0]}
    table["reason"] = _reasons(names, values, ranks, which, chosen_from, pool, members)
    dims = (CRITERION, "stimulus")
    result = xr.Dataset(
        {
            name: describe(
                xr.DataArray(one, dims=dims[-one.ndim :]), name, of=", ".join(names), which=which
            )
            for name, one in table.items()
        }
    )
    if len(criteria) > 1:
        result = result.assign_coords({CRITERION: pd.Index(list(criteria), dtype=object)})
    kept = set_aside(first.isel({"stimulus": members}), EXTRAS)
    return carried(result, kept.coords)


def _called(name: str, values: xr.DataArray) -> str:
    metric = values.attrs.get("metric")
    return f"{name} ({metric})" if metric and str(metric) != name else name


def _reasons(
    names: list[str],
    values: Array,
    ranks: Array,
    which: str,
    chosen_from: Cells,
    pool: Pool,
    members: Array,
) -> Array:
    of = f"{(chosen_from.number >= 0).sum():,}"
    result = []
    for i, note in enumerate(cell_notes(chosen_from, pool, members)):
        if which == "matched":
            text = f"drawn at random from {of}, matched to {len(members)} stimuli"
        elif which == "random":
            text = f"drawn at random from {of}"
        elif len(names) > 1:
            each = zip(ranks[:, i], names, strict=True)
            text = (
                f"mean rank {ranks[:, i].mean():,.6g} from the {which}est of {of}: "
                f"{', '.join(f'{ordinal(rank)} by {name}' for rank, name in each)}"
            )
        else:
            text = f"{ordinal(ranks[0, i])} {which}est of {of} by {names[0]}, {values[0, i]:.3g}"
        result.append(text + note)
    return np.array(result, dtype=object)


def cell_notes(chosen_from: Cells, pool: Pool, members: Array) -> list[str]:
    """Which of its cell's stimuli each member is, in words."""
    count = np.zeros(len(chosen_from.wanted), np.int64)
    apart = "" if pool.near is None else f"; at least {pool.rules.min_distance:g} from the others"
    result = []
    for cell in chosen_from.number[members]:
        count[cell] += 1
        place = f"{chosen_from.words[cell]}: {count[cell]} of {chosen_from.wanted[cell]}"
        result.append((f"; {place}" if chosen_from.words[cell] else "") + apart)
    return result


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``1,013th``."""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def _overlaps(sets: list[Array], members: Array, names: pd.Index) -> dict[str, xr.DataArray]:
    shares = np.array([[np.isin(one, other).mean() for other in sets] for one in sets])
    label = xr.DataArray(names, dims=CRITERION, coords={CRITERION: names})
    second = on_side(label, CRITERION, "_2")
    overlap = xr.DataArray(shares, coords={CRITERION: names, f"{CRITERION}_2": second.values})
    chosen = np.stack([np.isin(members, one) for one in sets])
    return {
        "chosen_by": describe(xr.DataArray(chosen, dims=(CRITERION, "stimulus")), "chosen_by"),
        "overlap": describe(overlap, "overlap"),
    }


def stability_of(
    members: Array, again: list[Array], groups: xr.DataArray, family: Array | None = None
) -> dict[str, xr.DataArray]:
    """How much of a set stays when each of ``groups`` (group) is left out.

    Groups of one ``family`` (group) count once in the share of sets.
    """
    (group,) = map(str, groups.dims)
    held = np.stack([np.isin(members, one) for one in again])
    shares = xr.DataArray(held.mean(1), dims=group, coords={group: groups.values})
    return {
        "stability": describe(
            xr.DataArray(_once(held, family), dims="stimulus"), "stability", leave_out=group
        ),
        "overlap_without": describe(shares, "overlap_without", leave_out=group),
    }


def _once(held: Array, family: Array | None) -> Array:
    """Mean (n) over the families of rows (group, n)."""
    if family is None or len(set(family)) == len(family):
        return np.asarray(held.mean(0))
    return np.asarray(np.mean([held[family == one].mean(0) for one in np.unique(family)], axis=0))
