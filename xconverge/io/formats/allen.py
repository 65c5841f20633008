"""Spike counts as AllenSDK gives them: stimulus presentation × time × unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import (
    flat,
    free_our_names,
    joined_text,
    known_name,
    listed,
    one_variable,
)
from xconverge.io.formats._labels import carried, column_values
from xconverge.io.formats._netcdf import load_netcdf
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._stacked import models_of, representations
from xconverge.io.formats._tables import check_names
from xconverge.io.paths import FilePath
from xconverge.labels.messages import SchemaError, listing

VARIABLES = ("spike_counts",)
STIMULI = ("stimulus", "stimulus_id", "stimulus_condition_id")


def from_allen(
    array: xr.DataArray | xr.Dataset,
    *,
    stimulus: str | Sequence[str] | None = None,
    presentations: pd.DataFrame | None = None,
    units: pd.DataFrame | None = None,
    repetitions: Repetitions = "error",
    model: str | None = None,
    by: str | Sequence[str] | None = None,
    gaps: Gaps | None = None,
    modality: str | None = None,
    variable: str | None = None,
    presentation: str = "stimulus_presentation_id",
    unit: str = "unit_id",
) -> xr.DataArray:
    """Make a representation set of responses to presentations, as AllenSDK lays them out.

    Parameters
    ----------
    array : DataArray or Dataset
        (``stimulus_presentation_id``, ``time_relative_to_stimulus_onset``, ``unit_id``), as
        ``session.presentationwise_spike_counts`` returns it; other dims, or no time, are
        allowed. May be lazy.
    stimulus : str or sequence of str, optional
        Column of ``presentations``, or coordinate of the array, that says which stimulus was
        shown (``"frame"`` for natural scenes, ``"stimulus_condition_id"``); of several, the
        stimulus is each combination: ``natural_scenes/12``. Default: the one of ``stimulus``,
        ``stimulus_id``, ``stimulus_condition_id`` that is there.
    presentations : DataFrame, optional
        ``session.stimulus_presentations``: its index holds the presentation ids.
    units : DataFrame, optional
        ``session.units``: its index holds the unit ids.
    repetitions : {"error", "mean", "keep"}
        What to do with several presentations of one stimulus, as in `from_brainio`.
    model : str, optional
        Name of the only model; default the array's name (``spike_counts``).
    by : str or sequence of str, optional
        Column of ``units``, or coordinate of the units, that makes the models, one of each value:
        ``"ecephys_structure_acronym"``.
    gaps : {"error", "drop"}, optional
        What to do with units of which a stimulus or repetition lacks the value and others have
        it, as in `from_xarray`; those that a model lacks everywhere are its padding.
    modality : str, optional
        Goes into ``attrs["modality"]``.
    variable : str, optional
        Variable of a Dataset that holds the data; default ``spike_counts``, or the only one with
        several dims.
    presentation, unit : str
        Names of the dims.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, time_relative_to_stimulus_onset), with
        ``n_repetitions`` (stimulus) for ``mean`` and ``keep``. Lazy if ``array`` is.

    Raises
    ------
    SchemaError
        Presentations or units that the tables do not have, or have twice; no stimulus, or several
        that differ; repeated stimuli under ``"error"``.

    Notes
    -----
    Presentation ids alone do not say what was shown. Tables are joined on ids, never by position;
    their columns become coordinates by the rules of `from_brainio`.

    Examples
    --------
    >>> counts = xr.DataArray(
    ...     [[[1, 0]], [[2, 4]], [[3, 0]]], name="spike_counts",
    ...     dims=("stimulus_presentation_id", "time_relative_to_stimulus_onset", "unit_id"),
    ...     coords={"stimulus_presentation_id": [51, 52, 53], "unit_id": [9, 7]})
    >>> table = pd.DataFrame({"frame": [4.0, 0.0, 4.0]}, index=[51, 52, 53])
    >>> reps = from_allen(counts, stimulus="frame", presentations=table, repetitions="mean")
    >>> reps.sel(model="spike_counts", stimulus="4").values.tolist()
    [[2.0], [0.0]]
    """
    needed = [*listed(stimulus or ("stimulus", *STIMULI)), *listed(by)]
    chosen = one_variable(array, variable, VARIABLES, "array")
    dims = [str(dim) for dim in chosen.dims if dim not in (presentation, unit)]
    plain = flat(chosen, [*needed, *dims])
    lacking = [dim for dim in (presentation, unit) if dim not in plain.dims]
    if lacking:
        raise SchemaError(
            f"array needs the dims {presentation!r} and {unit!r}, and has "
            f"{list(map(str, plain.dims))}; name yours with presentation='…', unit='…'"
        )
    plain = _with_table(plain, presentation, presentations, needed, "presentations")
    plain = free_our_names(_with_table(plain, unit, units, needed, "units"), keep=())
    if model is None and by is None and plain.name is not None:
        model = str(plain.name)
    known, how = ("source_stimulus", *STIMULI), ", or a column of presentations="
    names = known_name(plain, presentation, stimulus, known, "stimulus", how)
    ids = joined_text(plain, names, presentation, "stimulus")
    plain = by_stimulus(plain, presentation, ids, repetitions, "array")
    models = models_of(plain, unit, model, by, "array")
    return representations(models, "array", gaps=gaps, modality=modality)


@keywords_of(from_allen)
def read_allen(path: FilePath, **options: Any) -> xr.DataArray:
    """Read a netCDF file of responses to presentations, as AllenSDK lays them out.

    Parameters
    ----------
    path : path
        A netCDF file: netCDF4, or classic netCDF 3.
    **options
        As in `from_allen`.

    Returns
    -------
    DataArray
        As `from_allen` makes it, in memory.

    Raises
    ------
    SchemaError
        A damaged file, one of another kind, or what `from_allen` refuses.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/counts.nc"
    >>> xr.DataArray(
    ...     [[1.0, 0.0], [2.0, 4.0]], dims=("stimulus_presentation_id", "unit_id"),
    ...     coords={"stimulus_presentation_id": [51, 52], "unit_id": [9, 7],
    ...             "stimulus_id": ("stimulus_presentation_id", [3, 1])},
    ...     name="spike_counts").to_netcdf(path, engine="scipy")
    >>> read_allen(path).sel(stimulus="1").values.tolist()
    [[2.0, 4.0]]
    """
    with reading(path, "spike counts in netCDF") as file:
        variable = options.pop("variable", None)
        array = one_variable(load_netcdf(file), variable, VARIABLES, str(file))
        return from_allen(array, **options)


def _with_table(
    array: xr.DataArray, dim: str, table: pd.DataFrame | None, needed: Sequence[str], what: str
) -> xr.DataArray:
    """The columns of a table as coordinates, joined on the labels of the dim."""
    if table is None:
        return array
    if dim not in array.coords:
        raise SchemaError(f"array has no ids on {dim!r} to look up in {what}=")
    ids = array.indexes[dim]
    if not table.index.is_unique:
        raise SchemaError(
            f"{what} has ids twice: {listing(table.index[table.index.duplicated()].unique())}"
        )
    # not reindex, which would fill a presentation of another session with NaN
    lacking = ids[~ids.isin(table.index)]
    if len(lacking):
        raise SchemaError(
            f"{what} lacks {len(lacking)} of {len(ids)} ids on {dim!r}: {listing(lacking)}; is it "
            "the table of this session, with the ids as its index?"
        )
    rows = table.loc[ids]
    check_names(rows.columns, what)
    twice = [str(name) for name in rows.columns if str(name) in array.coords or name == dim]
    if twice:
        raise SchemaError(
            f"{what} has columns that the array has as coordinates: {listing(twice)}; drop one"
        )
    columns = {str(k): column_values(rows[k]) for k in rows.columns}
    found = carried(columns, needed, f"{what}: ")
    return array.assign_coords({name: (dim, values) for name, values in found.items()})
