"""What figures take: labelled results, or groups of a study as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.families import family_mean
from xconverge.labels.arguments import text
from xconverge.labels.checks import check_only, check_scores, check_table
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.plot.axes import readable

MEASURES = {
    "consensus": "distance to consensus",
    "consensus_raw": "distance to consensus, raw",
    "neighborhood": "neighbourhood dispersion",
    "rdm": "dispersion of RDM rows",
}
"""What axes call the dispersion measures of a study."""
USUAL = "neighborhood"
"""The measure that is drawn where none is chosen: those of ``equal_noise`` and ``rsa``."""
PAIRS = ("model_a", "model_b")


def group_of(given: object, name: str) -> object:
    """The group of this name where a whole study was given, else what was given."""
    if isinstance(given, xr.DataTree) and name in given.children:
        return given.children[name]
    return given


def table_of(
    given: object, group: str, what: str, made: str, **dims: list[str] | None
) -> xr.Dataset:
    """A Dataset with these variables, of these dims and no others (None: any)."""
    table = check_table(group_of(given, group), *dims, what=what, made=made)
    for name, own in dims.items():
        if own is not None:
            alone(table[name], own, f"{name} of {what}")
    return table


def alone(array: xr.DataArray, dims: list[str], what: str) -> None:
    """Refuse other dims than these, by name."""
    extra = [str(dim) for dim in array.dims if dim not in dims]
    if extra:
        raise SchemaError(
            f"{what} has the dims {extra} too, and one figure shows one of them: choose with "
            f".sel({extra[0]}=…)"
        )
    lacking = [dim for dim in dims if dim not in array.dims]
    if lacking:
        raise SchemaError(f"{what} lacks the dims {lacking}, it has {list(map(str, array.dims))}")


def dispersions_of(given: object, what: str) -> xr.DataArray:
    """Dispersion (stimulus) or (measure, stimulus): an array, a group ``dispersion``, a study."""
    given = group_of(given, "dispersion")
    if isinstance(given, xr.DataTree | xr.Dataset):
        given = check_table(given, "dispersion", what=what, made="analyze(…)['dispersion']")[
            "dispersion"
        ]
    if isinstance(given, xr.DataArray) and "measure" in given.dims:
        alone(given, ["measure", "stimulus"], what)
        return given.transpose("measure", "stimulus")
    return check_only(given, "stimulus", what=what)


def dispersion_of(given: object, measure: str | None, what: str) -> xr.DataArray:
    """Dispersion (stimulus) of one measure, in memory."""
    found = dispersions_of(given, what)
    if "measure" in found.dims:
        there = [str(name) for name in found["measure"].values]
        if measure is None:
            measure = USUAL if USUAL in there else there[0]
        found = found.sel(measure=choose("measure", measure, there))
    elif measure is not None and str(found.coords.get("measure", measure)) != measure:
        raise ValueError(
            f"measure={measure!r} was asked for, and {what} is of {found['measure'].item()!r}"
        )
    elif measure is not None and "measure" not in found.coords:
        raise SchemaError(
            f"measure={measure!r} chooses along the dim 'measure', which {what} has not; give the "
            "group 'dispersion' of a study, or leave measure out"
        )
    return found.compute()


def measure_name(spread: xr.DataArray) -> str:
    """What an axis calls this dispersion."""
    if "measure" in spread.coords and not spread.coords["measure"].dims:
        name = str(spread["measure"].item())
    else:
        name = str(spread.attrs.get("metric", ""))
    return MEASURES.get(name) or f"{readable(name, 24)} dispersion".strip()


def scores_of(given: object, what: str, *dims: str) -> xr.DataArray:
    """Alignment with these dims: an array, a group ``alignment`` of one variable, a study."""
    given = group_of(given, "alignment")
    table = given.to_dataset() if isinstance(given, xr.DataTree) else given
    if isinstance(table, xr.Dataset):
        names = list(table.data_vars)
        own = "alignment" if "alignment" in names else names[0] if len(names) == 1 else None
        given = table[own] if own else given
    return check_scores(given, *dims, what=what)


def over_pairs(scores: xr.DataArray) -> xr.DataArray:
    """The mean over model pairs, layers of one network counted once; in memory."""
    dims = [dim for dim in PAIRS if dim in scores.dims]
    return family_mean(scores, dims).compute() if dims else scores.compute()


def chance_of(result: xr.DataArray | xr.Dataset) -> float:
    """The mean chance level of a result, NaN where it says none."""
    chance = result.coords.get("chance")
    if chance is None:
        return np.nan
    values = np.asarray(read(chance), dtype=float)
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def names_of(array: xr.DataArray, names: str | None) -> list[str]:
    """What stimuli are called: their labels, or the values of a coordinate of theirs."""
    return [str(name) for name in per_stimulus(array, names or "stimulus", "names")]


def per_stimulus(array: xr.DataArray, given: Any, what: str) -> np.ndarray[Any, Any]:
    """Values of the stimuli of an array: a coordinate of it by name, or labelled values."""
    if isinstance(given, xr.DataArray):
        values = given
        if values.dims != ("stimulus",) or "stimulus" not in values.indexes:
            raise SchemaError(
                f"{what} must be values with labels on 'stimulus' alone, got {came(given)}"
            )
        lacking = array.indexes["stimulus"].difference(values.indexes["stimulus"])
        if len(lacking):
            raise SchemaError(f"{what} has no value for {listing(lacking)}")
        values = values.sel(stimulus=array["stimulus"].values)
        return np.asarray(read(values))
    text(what, given, "the name of a coordinate on 'stimulus'")
    if given not in array.coords or array.coords[given].dims != ("stimulus",):
        own = [str(name) for name, coord in array.coords.items() if coord.dims == ("stimulus",)]
        raise SchemaError(
            f"{what}={given!r} must be a coordinate on 'stimulus'; there is {listing(own)}"
        )
    return np.asarray(read(array.coords[given]))


METRICS = {
    "mutual_knn": "mutual kNN",
    "cycle_knn": "cycle kNN",
    "lcs_knn": "LCS kNN",
    "edit_distance_knn": "edit-distance kNN",
    "rdm": "RDM rows",
    "rsa": "RSA",
    "cka": "CKA",
    "cknna": "CKNNA",
    "svcca": "SVCCA",
}
"""What axes call metrics whose names are not words."""


def metric_name(result: xr.DataArray | xr.Dataset) -> str:
    """What an axis calls the metric of a result."""
    name = str(result.attrs.get("metric", "alignment"))
    return METRICS.get(name) or readable(name.replace("_", " "))


def control_of(table: xr.Dataset, control: str = "none") -> xr.Dataset:
    """One control of a group of ``analyze``; other results as they are."""
    return table.sel(control=control) if "control" in table.dims else table
