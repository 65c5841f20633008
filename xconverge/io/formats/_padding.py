"""Features that were not measured everywhere: those of no value at a place are its padding.

A *place* is a model, and each combination of the other dims that have features of their own
(subject, region …). Along all others the same features are measured again.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from xconverge.io.formats._places import joined
from xconverge.io.formats._sets import gaps_error, place_name, places_of
from xconverge.labels.checks import widths
from xconverge.labels.messages import SchemaError, choose, escaped

Gaps = Literal["error", "drop"]
CHOICES = ("error", "drop")
CURE = (
    "A row is whole or missing: leave these features out with gaps='drop', which says how many, "
    "make these rows NaN in all features, or average the repetitions in which the features were "
    "recorded. Features may differ along model, subject, region, layer and network alone; .rename "
    "a dim that is one of these"
)


def trimmed(array: xr.DataArray, gaps: Gaps | None, what: str) -> xr.DataArray:
    """The set with the features that a place lacks at its end, and not in ``n_features``."""
    if gaps is not None:
        choose("gaps", gaps, CHOICES)
    # unless asked for, nothing lazy is read
    if (gaps is None and array.chunks is not None) or array.dtype.kind != "f":
        return array
    width = widths(array, what)
    places = places_of(array)
    rows = [dim for dim in array.dims if dim not in ("feature", *places)]
    inside = (xr.DataArray(np.arange(array.sizes["feature"]), dims="feature") < width).drop_vars(
        list(width.coords)
    )
    known = array.drop_vars(list(array.coords)).notnull() & inside
    seen = known.any("feature")
    counts = xr.Dataset({"there": known.sum(rows), "rows": seen.sum(rows)}).compute()
    n_there, n_rows = counts["there"], counts["rows"]
    some = (n_there > 0) & (n_there < n_rows)
    if some.any():
        if gaps != "drop":
            raise gaps_error(array, some & seen & ~known, what, CURE)
        _tell(array, some, n_there > 0, what)
    keep = (inside & (n_there == n_rows) & (n_rows > 0)).transpose(*places, "feature")
    lost = (n_rows == 0).transpose(*places)
    _check_some(array, keep | lost, what)
    same = bool(((keep == inside) | lost).all())
    return array if same or bool(lost.all()) else _moved(array, keep, lost, width, what)


def _moved(
    array: xr.DataArray, keep: xr.DataArray, lost: xr.DataArray, before: xr.DataArray, what: str
) -> xr.DataArray:
    """The features to keep at the front of every place, all that is known of them along."""
    places = [str(dim) for dim in keep.dims[:-1]]
    about = {name: coord for name, coord in array.coords.items() if "feature" not in coord.dims}
    alone = array.drop_vars([n for n in about if n not in array.indexes or n in places])
    # of what was never seen nobody knows which features are real
    first = np.flatnonzero(keep.values[~lost.values][0])
    sets = {
        tuple(map(str, at)): alone.isel(dict(zip(places, at, strict=True))).isel(
            feature=first if lost.values[at] else np.flatnonzero(keep.values[at])
        )
        for at in np.ndindex(lost.shape)
    }
    moved = joined(sets, places, "exact", what).drop_vars([*places, "n_features"], errors="ignore")
    width = moved.sizes["feature"]
    n_features = keep.sum("feature").where(~lost, np.minimum(before, width)).transpose(*places)
    has_widths = about.pop("n_features", None) is not None
    moved = moved.transpose(*array.dims).assign_coords(about)
    if has_widths or bool((n_features < width).any()):
        moved = moved.assign_coords(n_features=(places, n_features.values.astype(np.int64)))
    return moved.assign_attrs(array.attrs).rename(array.name)


def _tell(array: xr.DataArray, some: xr.DataArray, there: xr.DataArray, what: str) -> None:
    """How many features are left out as they have gaps, place by place."""
    lost, of = some.sum("feature"), there.sum("feature")
    where = [
        f"{int(lost.values[at])} of {int(of.values[at])} of {_name(array, lost, at)}"
        for at in zip(*np.nonzero(lost.values), strict=True)
    ]
    warnings.warn(
        f"{escaped(what)} has features that are NaN in some rows and not in others, which are left "
        f"out (gaps='drop'): {'; '.join(where[:5])}"
        f"{f'; and of {len(where) - 5} more places' if len(where) > 5 else ''}",
        RuntimeWarning,
        stacklevel=4,
    )


def _name(array: xr.DataArray, of: xr.DataArray, at: Sequence[int]) -> str:
    where = dict(zip(map(str, of.dims), at, strict=True))
    return place_name(array, {dim: where[dim] for dim in places_of(array)})


def _check_some(array: xr.DataArray, keep: xr.DataArray, what: str) -> None:
    none = ~keep.any("feature")
    if none.any():
        where = [_name(array, none, at) for at in zip(*np.nonzero(none.values), strict=True)]
        raise SchemaError(
            f"{what} has no feature without gaps in {'; '.join(where[:5])}: every one is NaN in "
            "some rows and not in others; make those rows missing as a whole, NaN in all "
            "features, or leave them out"
        )
