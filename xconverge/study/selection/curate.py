"""Sets without the stimuli that models disagree on."""

from __future__ import annotations

import warnings
from typing import Literal, TypeVar

import numpy as np
import xarray as xr

from xconverge.engine.resampling import per_label
from xconverge.labels.arguments import real
from xconverge.labels.checks import check_kind, check_labels, check_only, check_whole
from xconverge.labels.joins import join_labels, natural_rank
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.plain import plain

Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def exclude_high_dispersion(
    array: Data,
    dispersion: xr.DataArray,
    share: float = 0.1,
    *,
    groups: str | xr.DataArray | None = None,
    missing: Literal["error", "keep", "drop"] = "error",
) -> Data:
    """Leave out the stimuli of highest dispersion.

    Parameters
    ----------
    array : DataArray or Dataset
        Anything with stimuli: a representation set, RDMs (both their dims), results.
    dispersion : DataArray
        (stimulus), of the same stimuli. Captions of an image, paired with the dispersion of the
        images by ``pair(…, on=…, repeats="keep")``, go or stay together.
    share : float
        Of the stimuli with a dispersion, the part that is left out, rounded down; below 1.
    groups : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): the share of every group is left
        out, so that no group is thinned more than another.
    missing : {"error", "keep", "drop"}
        Stimuli without a finite dispersion: refuse them, by name, keep or drop them.

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
    real("share", share, least=0, below=1)
    spread = check_only(dispersion, "stimulus", what="dispersion")
    if not isinstance(array, xr.Dataset):
        array = check_kind(array, "stimulus", what="array")
    elif "stimulus" not in array.dims:
        raise SchemaError(f"array needs the dim 'stimulus', got {came(array)} without it")
    array = plain(array, "array")
    dims = [dim for dim in ("stimulus", "stimulus_2") if dim in array.dims]
    for dim in dims:
        check_labels(array[dim], dim, what="array")
    labels, spread, _ = join_labels(
        array["stimulus"], spread, "stimulus", "exact", ("array", "dispersion")
    )
    values = spread.values.astype(np.float64)
    finite = np.isfinite(values)
    index = labels.indexes["stimulus"]
    if missing == "error" and not finite.all():
        raise SchemaError(
            f"dispersion is missing for {listing(index[~finite])}; "
            "missing='keep' keeps these stimuli, missing='drop' leaves them out"
        )
    group = np.zeros(len(values), dtype=object)
    if groups is not None:
        group = per_label(groups, [labels, spread], "groups").values.astype(object)
        check_whole(group, index, "groups")
    order = np.lexsort((natural_rank(index), values))
    order = order[finite[order]]
    excluded = np.zeros(len(values), bool)
    lowest: dict[str, float] = {}
    for one in dict.fromkeys(group):
        mine = order[group[order] == one]
        # 0.1 × 30 is 2.999… in floating point, and 3 stimuli are meant
        count = int(share * len(mine) + 1e-9)
        if count:
            excluded[mine[-count:]] = True
            lowest[str(one)] = float(values[mine[-count]])
    if share and not excluded.any():
        warnings.warn(
            f"share={share} of {len(order)} stimuli does not come to one (in any group): nothing "
            "is left out",
            RuntimeWarning,
            stacklevel=2,
        )
    kept = index[~excluded if missing == "keep" else ~excluded & finite]
    result = array.isel({dim: np.flatnonzero(array.indexes[dim].isin(kept)) for dim in dims})
    attrs = {
        "n_excluded": int(excluded.sum()),
        "excluded_share": float(share),
        "excluded_from": next(iter(lowest.values()), None) if groups is None else lowest,
        "n_without_dispersion": int((~finite).sum()),
    }
    return result.assign_attrs({key: value for key, value in attrs.items() if value is not None})
