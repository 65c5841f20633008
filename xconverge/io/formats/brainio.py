"""Assemblies of Brain-Score and BrainIO: presentation × neuroid, metadata on each dim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import (
    flat,
    free_our_names,
    joined_text,
    known_name,
    listed,
    on_dim,
    one_variable,
    plain_attrs,
)
from xconverge.io.formats._labels import as_text, decoded
from xconverge.io.formats._netcdf import load_netcdf
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._stacked import models_of, representations
from xconverge.io.paths import FilePath
from xconverge.labels.messages import SchemaError, listing

VARIABLES = ("data", "__xarray_dataarray_variable__")
PRESENTATION = "presentation"
FEATURES = ("neuroid", "choice")
Regions = Any
"""Values of a coordinate, text or numbers: one, or several."""
IDS = ("stimulus_id", "image_id")


def from_brainio(
    assembly: xr.DataArray | xr.Dataset,
    *,
    region: Regions | None = None,
    repetitions: Repetitions = "error",
    stimulus_id: str | None = None,
    model: str | None = None,
    by: str | Sequence[str] | None = None,
    gaps: Gaps | None = None,
    modality: str | None = None,
    variable: str | None = None,
) -> xr.DataArray:
    """Make a representation set of a BrainIO assembly.

    Parameters
    ----------
    assembly : DataArray or Dataset
        (presentation, neuroid) or (presentation, choice), and any further dims such as
        ``time_bin``; metadata as flat coordinates or as the levels of a MultiIndex. May be lazy.
    region : value, text of a value, or sequence of them, optional
        Only the neuroids whose coordinate ``region`` has this value, or one of these: ``"IT"``, or
        where regions are numbers ``1`` or ``"1"``.
    repetitions : {"error", "mean", "keep"}
        What to do with several presentations of one stimulus: refuse them; average them, each
        neuroid over the presentations in which it was recorded; or keep them apart, on the dim
        ``repetition``.
    stimulus_id : str, optional
        Coordinate that says which stimulus a presentation showed; default ``stimulus_id``, or
        the older ``image_id``.
    model : str, optional
        Name of the only model; default the region if it is a single one, then
        ``attrs["identifier"]``.
    by : str or sequence of str, optional
        Coordinate of the neuroids that makes the models, one of each value: ``"region"``,
        ``"animal"``, ``"layer"``; of several coordinates, one of each combination:
        ``monkey1/IT``.
    gaps : {"error", "drop"}, optional
        What to do with neuroids of which a stimulus or repetition lacks the value and others have
        it, as in `from_xarray`; those that a model lacks everywhere are its padding.
    modality : str, optional
        Goes into ``attrs["modality"]``.
    variable : str, optional
        Variable of a Dataset that holds the data; default ``data``,
        ``__xarray_dataarray_variable__``, or the only one with several dims.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, …): stimuli in order of appearance, features
        in the order of the neuroids. Lazy if ``assembly`` is; ``mean`` then holds all
        presentations of a block of neuroids at once. ``mean`` and ``keep`` add ``n_repetitions``
        (stimulus), the number of presentations.

    Raises
    ------
    SchemaError
        Missing or ambiguous dims, ids or variables; an unknown region; repeated stimuli under
        ``"error"``; a stimulus for which some neuroids of a model have no value and others do.

    Notes
    -----
    The layout is BrainIO's (github.com/brain-score/brainio, docs/SPECIFICATION.md).

    *Ids* become text: 12 and 12.0 are ``"12"``. *Coordinates* of presentations stay if all
    presentations of a stimulus agree on them; those of neuroids are on ``feature``, ``model`` or
    both, as far as models differ. *Time*: ``time_bin`` has the labels ``"70-170"``. *NaN*: a
    neuroid that was not recorded in a presentation does not count in its mean; a row that is NaN
    throughout is a missing stimulus, and one with gaps an error, which of a lazy assembly comes
    when the values are read. All rules are in the documentation (docs/interop.md).

    Examples
    --------
    >>> assembly = xr.DataArray(
    ...     [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dims=("presentation", "neuroid"),
    ...     coords={"stimulus_id": ("presentation", ["cat", "dog", "cat"]),
    ...             "region": ("neuroid", ["V4", "IT"])})
    >>> reps = from_brainio(assembly, region="IT", repetitions="mean")
    >>> reps.sel(model="IT").squeeze().to_series().to_dict()
    {'cat': 4.0, 'dog': 4.0}
    >>> from_brainio(assembly, by="region", repetitions="keep").sizes["repetition"]
    2
    """
    chosen = one_variable(assembly, variable, VARIABLES, "assembly")
    feature = _feature_dim(chosen)
    dims = [str(dim) for dim in chosen.dims if dim not in (PRESENTATION, feature)]
    needed = [*dims, *listed(by), *listed(stimulus_id or IDS), *["region"] * (region is not None)]
    array = free_our_names(flat(chosen, needed))
    array = _in_region(array, region, feature)
    if model is None and by is None:
        model = _only(region) or array.attrs.get("identifier") or None
    name = known_name(array, PRESENTATION, stimulus_id, IDS, "stimulus_id")
    labels = joined_text(array, name, PRESENTATION, "stimulus_id")
    array = by_stimulus(array, PRESENTATION, labels, repetitions, "assembly")
    models = models_of(_with_time_bins(array), feature, model, by, "assembly")
    return representations(models, "assembly", gaps=gaps, modality=modality)


@keywords_of(from_brainio)
def read_brainio(path: FilePath, **options: Any) -> xr.DataArray:
    """Read a netCDF file of Brain-Score or BrainIO as a representation set.

    Parameters
    ----------
    path : path
        A netCDF file: netCDF4, or classic netCDF 3.
    **options
        As in `from_brainio`; the last default of ``model`` is the name of the file.

    Returns
    -------
    DataArray
        As `from_brainio` makes it, in memory. For a file larger than that, open it with
        ``xarray.open_dataset(path, chunks={})`` and give it to `from_brainio`.

    Raises
    ------
    SchemaError
        A damaged file, one of another kind, or what `from_brainio` refuses.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/recording.nc"
    >>> xr.DataArray(
    ...     [[1.0, 2.0], [3.0, 4.0]], dims=("presentation", "neuroid"), name="data",
    ...     coords={"image_id": ("presentation", ["cat", "dog"])}).to_netcdf(path, engine="scipy")
    >>> read_brainio(path).sel(stimulus="dog").values.tolist()
    [[3.0, 4.0]]
    """
    with reading(path, "a BrainIO assembly in netCDF") as file:
        data = load_netcdf(file)
        named = [options.get(name) for name in ("model", "by")]
        # the converter knows no file, whose name is the last resort
        if named == [None, None] and _only(options.get("region")) is None:
            array = one_variable(data, options.get("variable"), VARIABLES, str(file))
            options["model"] = str(plain_attrs(array.attrs).get("identifier") or file.stem)
        return from_brainio(data, **options)


def _feature_dim(array: xr.DataArray) -> str:
    found = [dim for dim in FEATURES if dim in array.dims]
    if PRESENTATION not in array.dims or len(found) != 1:
        raise SchemaError(
            f"assembly needs the dim {PRESENTATION!r} and one of {listing(FEATURES)}, and has "
            f"{list(map(str, array.dims))}; .rename them, or use xconverge.from_xarray, which "
            "takes dims of any name"
        )
    return found[0]


def _names(region: Regions | None) -> list[str]:
    """Regions as text, whether they were given so or as the values of a coordinate."""
    if region is None:
        return []
    single = isinstance(region, str | bytes) or not np.iterable(region)
    items = [region] if single else region
    # not .tolist(), which makes plain integers of times
    return [as_text(item, "region=") for item in getattr(items, "values", items)]


def _only(region: Regions | None) -> str | None:
    """The region, if it is a single one."""
    names = _names(region)
    return names[0] if len(names) == 1 else None


def _in_region(array: xr.DataArray, region: Regions | None, feature: str) -> xr.DataArray:
    """The neuroids of these regions."""
    if region is None:
        return array
    if "region" not in array.coords or array.coords["region"].dims != (feature,):
        raise SchemaError(
            f"region={region!r} needs a coordinate 'region' on {feature!r}; there is "
            f"{listing(on_dim(array, feature), 30) or 'none'}"
        )
    values = decoded(array.coords["region"].values, "'region'")
    # a neuroid of no region is in none that is asked for
    there = pd.Series([None if pd.isna(v) else as_text(v, "'region'") for v in values])
    known = set(there.dropna())
    wanted = _names(region)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise SchemaError(
            f"assembly has no region {listing(unknown) or 'of an empty list'}; it has "
            f"{listing(sorted(known), 30) or 'none'}"
        )
    return array.isel({feature: np.flatnonzero(there.isin(wanted))})


def _with_time_bins(array: xr.DataArray) -> xr.DataArray:
    """Time bins with a text label each, ``70-170``, unless they have labels."""
    ends = ("time_bin_start", "time_bin_end")
    if (
        "time_bin" not in array.dims
        or "time_bin" in array.coords
        or not all(name in on_dim(array, "time_bin") for name in ends)
    ):
        return array
    start, end = (array.coords[name].values for name in ends)
    labels = np.empty(len(start), object)
    labels[:] = [
        f"{as_text(a, ends[0])}-{as_text(b, ends[1])}" for a, b in zip(start, end, strict=True)
    ]
    return array.assign_coords(time_bin=labels)
