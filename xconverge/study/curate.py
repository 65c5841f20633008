"""Sets without the stimuli that models disagree on."""

from __future__ import annotations

import warnings
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import PairOn, paired, row_values, told_of
from xconverge.engine.resampling import per_label
from xconverge.labels.checks import check_labels, check_only
from xconverge.labels.joins import Join, join_labels, natural_rank
from xconverge.labels.messages import SchemaError, choose, listing

Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def exclude_high_dispersion(
    array: Data,
    dispersion: xr.DataArray,
    share: float = 0.1,
    *,
    groups: str | xr.DataArray | None = None,
    missing: Literal["error", "keep", "drop"] = "error",
    join: Join = "exact",
    pair_on: PairOn | None = None,
) -> Data:
    """Leave out the stimuli of highest dispersion.

    Parameters
    ----------
    array : DataArray or Dataset
        Anything with stimuli: a representation set, RDMs (both their dims), results.
    dispersion : DataArray
        (stimulus).
    share : float
        Of the stimuli with a dispersion, the part that is left out, rounded down; below 1.
    groups : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): the share of every group is left
        out, so that no group is thinned more than another.
    missing : {"error", "keep", "drop"}
        Stimuli without a finite dispersion: refuse them, by name, keep or drop them.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those in both.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``array`` and of ``dispersion``. Rows of one value, the captions of an image, have
        one dispersion (the mean of its rows) and go or stay together; the result has the rows and
        labels of ``array``. Groups carry the labels of their side, or those of the pairing.

    Returns
    -------
    DataArray or Dataset
        The other stimuli in their order, lazy if ``array`` is. ``attrs`` say ``n_excluded``,
        ``excluded_share``, ``excluded_from``, the lowest dispersion that was left out (by group),
        and ``n_without_dispersion``.

    Warns
    -----
    RuntimeWarning
        The share of no group comes to one stimulus: nothing is left out.

    Raises
    ------
    SchemaError
        Labels that do not match, stimuli without a dispersion or a group.
    ValueError
        A share outside [0, 1).

    Notes
    -----
    Of equal values the later label in natural order is left out. Computes ``dispersion``.

    Examples
    --------
    >>> import xarray as xr
    >>> spread = xr.DataArray([0.1, 0.9, 0.5, 0.3], dims="stimulus",
    ...     coords={"stimulus": ["cat", "dog", "car", "bus"]})
    >>> kept = exclude_high_dispersion(spread, spread, 0.25)
    >>> kept["stimulus"].values.tolist(), kept.attrs["excluded_from"]
    (['cat', 'car', 'bus'], 0.9)
    """
    choose("missing", missing, ["error", "keep", "drop"])
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: at least 0 and below 1")
    spread = check_only(dispersion, "stimulus", what="dispersion")
    if "stimulus" not in array.dims:
        raise SchemaError("array has no dim 'stimulus'; name yours by keyword (stimulus='…')")
    both = [dim for dim in ("stimulus", "stimulus_2") if dim in array.dims]
    for dim in both:
        check_labels(array[dim], dim, what="array")
    rows, names = array.indexes["stimulus"], array["stimulus"]
    if pair_on is not None:
        carrier = xr.DataArray(np.zeros(len(rows)), dims="stimulus", coords=names.coords)
        rows = row_values(carrier, spread, pair_on, ("array", "dispersion"))
        carrier, spread, groups = paired(
            pair_on, "mean", array=carrier, dispersion=spread, groups=groups
        )
        names = carrier["stimulus"]
    labels, spread, dropped = join_labels(names, spread, "stimulus", join, ("array", "dispersion"))
    values = spread.values.astype(np.float64)
    finite = np.isfinite(values)
    if missing == "error" and not finite.all():
        raise SchemaError(
            f"dispersion is missing for {listing(spread.indexes['stimulus'][~finite])}; "
            "missing='keep' keeps these stimuli, missing='drop' leaves them out"
        )
    group = np.zeros(len(values), dtype=object)
    if groups is not None:
        group = per_label(groups, [labels, spread], "groups").values.astype(object)
        none = np.asarray(pd.isna(group))
        if none.any():
            raise SchemaError(
                f"groups has no value for {listing(labels.indexes['stimulus'][none])}; every "
                "stimulus needs a group"
            )
    order = np.lexsort((natural_rank(labels.indexes["stimulus"]), values))
    order = order[finite[order]]
    out = np.zeros(len(values), bool)
    edges: dict[str, float] = {}
    for one in dict.fromkeys(group):
        mine = order[group[order] == one]
        count = int(share * len(mine) + 1e-9)
        if count:
            out[mine[-count:]] = True
            edges[str(one)] = float(values[mine[-count]])
    if share and not out.any():
        warnings.warn(
            f"share={share} of {len(order)} stimuli does not come to one (in any group): nothing "
            "is left out",
            RuntimeWarning,
            stacklevel=2,
        )
    keep = ~out if missing == "keep" else ~out & finite
    kept = array.indexes["stimulus"][rows.isin(labels.indexes["stimulus"][keep])]
    result = array.isel({dim: np.flatnonzero(array.indexes[dim].isin(kept)) for dim in both})
    told = {
        "n_excluded": int(out.sum()),
        "excluded_share": float(share),
        "excluded_from": next(iter(edges.values()), None) if groups is None else edges,
        "n_without_dispersion": int((~finite).sum()),
        "n_dropped": dropped,
        "pair_on": told_of(pair_on, "mean").get("pair_on"),
    }
    return result.assign_attrs({key: value for key, value in told.items() if value is not None})
