"""Which stimuli are held out together."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.engine.pair import Pair
from xconverge.engine.resampling import group_codes, per_label, strata_name
from xconverge.labels.arguments import whole
from xconverge.labels.joins import natural_rank


def fold_numbers(
    reps: xr.DataArray,
    folds: int,
    groups: str | xr.DataArray | None = None,
    rng: np.random.Generator | int | None = 0,
) -> xr.DataArray:
    """Number of the fold (stimulus) that holds out each stimulus; it follows the labels alone.

    Stimuli with the same value of ``groups``, a coordinate by name or values (stimulus), are held
    out together; the largest
    groups are dealt first, each to the fold that has the fewest stimuli so far.
    """
    labels = reps.indexes["stimulus"]
    whole("folds", folds, 2)
    if groups is None:
        members = natural_rank(labels)
    else:
        given = per_label(groups, (reps,), "groups")
        members = group_codes(given, f"groups={strata_name(groups)!r}")
    count = int(members.max()) + 1
    if not 2 <= folds <= count:
        raise ValueError(
            f"folds={folds} must be between 2 and {count}, the number of "
            f"{'stimuli' if groups is None else f'groups in {strata_name(groups)!r}'}"
        )
    sizes = np.bincount(members)
    mixed = np.random.default_rng(rng).permutation(count)
    fold_of, filled = np.empty(count, np.int64), np.zeros(folds, np.int64)
    for group in mixed[np.argsort(-sizes[mixed], kind="stable")]:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return xr.DataArray(fold_of[members], dims="stimulus")


def folds_of_pair(pair: Pair, folds: int, groups: str | xr.DataArray | None = None) -> xr.DataArray:
    """The same of a pair, by its seed; groups may be a coordinate of either side."""
    side = pair.b if isinstance(groups, str) and groups in pair.b.coords else pair.a
    return fold_numbers(side, folds, groups, pair.stream)
