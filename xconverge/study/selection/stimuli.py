"""Stimuli for an experiment, chosen by a value of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.kernels.subsets import pick
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_only
from xconverge.labels.joins import Join, join_labels, on_side
from xconverge.labels.messages import SchemaError, choose
from xconverge.labels.variables import describe
from xconverge.study.selection.constraints import (
    Cells,
    Labels,
    Pool,
    Quotas,
    Rules,
    cells,
    pool_of,
)

CRITERION = "criterion"
WHICH = ("low", "high", "random", "matched")
Criteria = xr.DataArray | xr.Dataset | Mapping[str, xr.DataArray]


def select_stimuli(
    by: Criteria,
    n: int,
    which: str = "low",
    *,
    groups: str | xr.DataArray | None = None,
    quotas: Quotas | None = None,
    match: str | xr.DataArray | Sequence[str | xr.DataArray] = (),
    match_bins: int = 5,
    match_to: Labels | None = None,
    distances: xr.DataArray | None = None,
    min_distance: float | None = None,
    without: xr.DataArray | None = None,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Choose the n stimuli of lowest or highest dispersion, random ones, or a matched control set.

    Parameters
    ----------
    by : DataArray, mapping of str to DataArray, or Dataset
        Values (stimulus); several of them are criteria, by name.
    n : int
        Stimuli to choose.
    which : {"low", "high", "random", "matched"}
        The lowest or highest values; of several criteria, the lowest mean rank. ``"random"``
        draws evenly. ``"matched"`` draws a control set for ``match_to``.
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
    match_to : Dataset, DataArray or labels, optional
        n stimuli, another selection say: the set has as many in every cell as they have, and none
        of them.
    distances, min_distance : DataArray, float, optional
        RDM (stimulus, stimulus_2), and what two chosen stimuli are apart at least. Stimuli are
        taken greedily, in the order of their value or draw, and those too near to one taken
        before are passed over.
    without : DataArray, optional
        (model, stimulus): the values without each model, as ``dispersion(leave_out="model")``
        gives them. The selection is made again with each.
    join : {"exact", "inner"}
        Refuse criteria or ``without`` with differing stimuli, or keep those in all.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``by`` and of ``distances``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
        The result, ``match_to`` and quotas are of the values of the pairing; ``without``, ``match``
        and ``groups`` carry these, the labels of one side, or the coordinate too.
    rng : Generator, int or None
        Source of random draws, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``stimulus`` in order of choice, with the coordinates of ``by``: ``value``,
        ``rank`` (among all that can be chosen, 1 the first of its end; from the lowest for draws)
        and ``reason`` in words. With several criteria these two have the dim ``criterion``, and
        there is ``mean_rank``; each criterion also chooses n stimuli alone: ``chosen_by``
        (criterion, stimulus) says of the chosen ones whether it has them too, and ``overlap``
        (criterion, criterion_2) is the share of n that two of these sets have in common. With
        ``without``: ``stability`` (stimulus), the share of models without which the stimulus is
        still chosen, and ``overlap_without`` (model), the share of the set that stays.

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
    refuse_keep(repeats, "select_stimuli")
    by, distances, without, match, groups = paired(
        pair_on, repeats, by=by, distances=distances, without=without, match=match, groups=groups)  # fmt: skip
    choose("which", which, WHICH)
    criteria, dropped = _criteria(by, join)
    drawn = which in ("random", "matched")
    if (which == "matched") > (match_to is not None):
        raise ValueError("which='matched' needs match_to, the stimuli to be matched")
    if drawn and (without is not None or len(criteria) > 1):
        raise ValueError(
            f"which={which!r} does not look at the values: it goes with one criterion, and not "
            "with without"
        )
    if without is not None:
        criteria, without, more = _joined_without(criteria, without, join)
        dropped += more
    sides = list(criteria.values())
    rules = Rules(groups, quotas, match, match_bins, match_to, distances, min_distance)
    pool = pool_of(sides, n, rules)
    values = np.stack([one.values.astype(np.float64) for one in sides])
    found = cells(pool, np.asarray(np.isfinite(values).all(0)), n)
    ranks = _ranks(values, pool, found, which)
    if drawn:
        order = np.argsort(pool.rank)[np.random.default_rng(rng).permutation(len(pool.rank))]
    else:
        order = np.lexsort((pool.rank, ranks.mean(0)))
    members = taken(order, found, pool, n)
    result = _described(criteria, values, ranks, members, which, found, pool)
    if len(criteria) > 1:
        sets = [taken(np.argsort(row), found, pool, n) for row in ranks]
        result = result.assign(_overlaps(sets, members, result.indexes[CRITERION]))
    if without is not None:
        again = []
        for row in without.transpose("model", "stimulus").values.astype(np.float64):
            other = cells(pool, np.isfinite(row), n)
            order = np.argsort(_ranks(row[None], pool, other, which)[0])
            again.append(taken(order, other, pool, n))
        result = result.assign(stability_of(members, again, without["model"]))
    result.attrs = {
        "which": which, "n": n, "n_eligible": int((found.number >= 0).sum()),
        "n_dropped": dropped, **said(rules), **told_of(pair_on, repeats),
    }  # fmt: skip
    return result


def said(rules: Rules) -> dict[str, Any]:
    """What attrs say of rules."""
    match = [rules.match] if isinstance(rules.match, str | xr.DataArray) else rules.match
    quotas = rules.quotas
    if isinstance(quotas, Mapping):
        quotas = {str(name): int(count) for name, count in quotas.items()}
    told = {
        "groups": _name(rules.groups) if rules.groups is not None else None,
        "quotas": quotas,
        "match": [_name(one) for one in match] or None,
        "match_bins": rules.match_bins if match else None,
        "min_distance": rules.min_distance,
    }
    return {key: value for key, value in told.items() if value is not None}


def _name(given: str | xr.DataArray) -> str:
    return given if isinstance(given, str) else str(given.name or "given")


def _criteria(by: Criteria, join: Join) -> tuple[dict[str, xr.DataArray], int]:
    """Criteria over the same stimuli, and how many were dropped."""
    if isinstance(by, Mapping):
        given = {str(name): one for name, one in dict(by).items()}
    else:
        given = {str(getattr(by, "name", None) or "value"): by}
    if not given:
        raise ValueError("by has no criterion")
    result: dict[str, xr.DataArray] = {}
    dropped = 0
    for name, one in given.items():
        one = check_only(one, "stimulus", what=f"by {name}")
        if result:
            first = next(iter(result))
            kept, one, more = join_labels(
                result[first], one, "stimulus", join, (f"by {first}", f"by {name}")
            )
            result = {
                key: join_labels(kept, v, "stimulus", "inner")[1] for key, v in result.items()
            }
            dropped += more
        result[name] = one
    return result, dropped


def _joined_without(
    criteria: dict[str, xr.DataArray], without: xr.DataArray, join: Join
) -> tuple[dict[str, xr.DataArray], xr.DataArray, int]:
    if len(criteria) > 1:
        raise ValueError("without goes with one criterion, whose values it holds")
    without = check_only(without, "model", "stimulus", what="without")
    ((name, one),) = criteria.items()
    one, without, dropped = join_labels(one, without, "stimulus", join, ("by", "without"))
    return {name: one}, without, dropped


def _ranks(values: Array, pool: Pool, found: Cells, which: str) -> Array:
    """Rank (K, N) of every value from its end, 1 the first; inf for what cannot be chosen."""
    result = np.full(values.shape, np.inf)
    there = found.number >= 0
    for row, out in zip(-values if which == "high" else values, result, strict=True):
        order = np.lexsort((pool.rank, np.where(there, row, np.inf)))[: there.sum()]
        out[order] = np.arange(1, len(order) + 1)
    return result


def taken(order: Array, found: Cells, pool: Pool, n: int) -> Array:
    """The n stimuli that fit, in this order."""
    members = pick(order, found.number, found.wanted, pool.near)
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
    found: Cells,
    pool: Pool,
) -> xr.Dataset:
    """The chosen stimuli with their values, ranks and reasons."""
    first = next(iter(criteria.values()))
    names = [_called(name, one) for name, one in criteria.items()]
    mean, values, ranks = ranks.mean(0)[members], values[:, members], ranks[:, members].astype(int)
    table = {"value": values, "rank": ranks, "mean_rank": mean}
    if len(criteria) == 1:
        table = {"value": values[0], "rank": ranks[0]}
    table["reason"] = _reasons(names, values, ranks, which, found, pool, members)
    dims = (CRITERION, "stimulus")
    return xr.Dataset(
        {
            name: describe(
                xr.DataArray(one, dims=dims[-one.ndim :]), name, of=", ".join(names), which=which
            )
            for name, one in table.items()
        },
        first.isel({"stimulus": members}).coords,
    ).assign_coords(
        {CRITERION: pd.Index(list(criteria), dtype=object)} if len(criteria) > 1 else {}
    )


def _called(name: str, by: xr.DataArray) -> str:
    metric = by.attrs.get("metric")
    return f"{name} ({metric})" if metric and str(metric) != name else name


def _reasons(
    names: list[str],
    values: Array,
    ranks: Array,
    which: str,
    found: Cells,
    pool: Pool,
    members: Array,
) -> Array:
    of = f"{(found.number >= 0).sum():,}"
    result = []
    for i, place in enumerate(places(found, pool, members)):
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
        result.append(text + place)
    return np.array(result, dtype=object)


def places(found: Cells, pool: Pool, members: Array) -> list[str]:
    """Which place each member has in its cell, in words."""
    count = np.zeros(len(found.wanted), np.int64)
    apart = "" if pool.near is None else f"; at least {pool.rules.min_distance:g} from the others"
    result = []
    for cell in found.number[members]:
        count[cell] += 1
        place = f"{found.words[cell]}: {count[cell]} of {found.wanted[cell]}"
        result.append((f"; {place}" if found.words[cell] else "") + apart)
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
    members: Array, again: list[Array], groups: xr.DataArray
) -> dict[str, xr.DataArray]:
    """How much of a set stays when each of ``groups`` (group) is left out."""
    (group,) = map(str, groups.dims)
    held = np.stack([np.isin(members, one) for one in again])
    shares = xr.DataArray(held.mean(1), dims=group, coords=groups.coords)
    return {
        "stability": describe(
            xr.DataArray(held.mean(0), dims="stimulus"), "stability", leave_out=group
        ),
        "overlap_without": describe(shares, "overlap_without", leave_out=group),
    }
