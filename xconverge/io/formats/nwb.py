"""Neurodata Without Borders: the table of units, and a table of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._needs import BRIDGES, needs
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._reading import reading
from xconverge.io.formats._spikes import How, Spikes, Window, sets_of
from xconverge.io.formats._stacked import representations
from xconverge.io.paths import FilePath
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing

TRIALS = "trials"
INVALID = "invalid_times"
OBSERVED = "obs_intervals"
GROUP = "electrode_group"


def read_nwb(
    path: FilePath,
    *,
    trials: str | None = None,
    stimulus: str = "stimulus_id",
    window: Window | None = None,
    bin_size: float | None = None,
    rate: bool = False,
    repetition: str | None = None,
    repetitions: Repetitions = "keep",
    model: str | None = None,
    by: str | Sequence[str] | None = None,
    gaps: Gaps | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read the spikes of a file of Neurodata Without Borders, trial by trial.

    Parameters
    ----------
    path : path
        An NWB file in HDF5, with units.
    trials : str, optional
        Name of the table of intervals that holds the trials, as
        ``natural_scenes_presentations``. Default: ``trials``, or the only one there is.
    stimulus : str
        Column of it with the ids of the stimuli: ``"frame"``.
    window, bin_size, rate
        In which seconds spikes are counted, and how, as in `from_pynapple`.
    repetition, repetitions
        What numbers the trials of a stimulus, and what to do with several, as in `from_trials`.
    model : str, optional
        What the source is called; default the name of the file.
    by : str or sequence of str, optional
        Column of the units that makes the models, one of each value: ``"location"``.
    gaps : {"error", "drop"}, optional
        What to do with units that were not recorded in some trials, as in `from_xarray`.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, repetition[, time]), in memory, with the
        coordinates that `from_pynapple` gives; ``electrode_group`` and its ``location`` on
        ``feature``, ``subject`` on ``model`` where the file names it.

    Warns
    -----
    RuntimeWarning
        Counts of trials that last differently long; trials in ``invalid_times``, which are rows of
        NaN.

    Raises
    ------
    ImportError
        pynwb is not installed.
    FileNotFoundError
        There is no such file.
    SchemaError
        No units, no such table or column; units that were not recorded in some trials, by their
        ``obs_intervals``, unless ``gaps="drop"`` leaves them out; a damaged file; what
        `from_trials` refuses.

    Notes
    -----
    Columns with several values a row (waveforms, tags, electrodes) are left out. Rübel et al.
    (2022).

    Examples
    --------
    >>> import datetime, tempfile
    >>> import pynwb
    >>> now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    >>> file = pynwb.NWBFile("a recording", "id", now)
    >>> for times in ([0.1, 0.2, 4.5], [2.5, 3.5]):
    ...     file.add_unit(spike_times=times)
    >>> file.add_trial_column(name="image", description="what was shown")
    >>> for start, image in [(0.0, "cat"), (2.0, "dog"), (4.0, "cat")]:
    ...     file.add_trial(start_time=start, stop_time=start + 1, image=image)
    >>> path = tempfile.mkdtemp() + "/mouse.nwb"
    >>> with pynwb.NWBHDF5IO(path, "w") as writer:
    ...     writer.write(file)
    >>> reps = read_nwb(path, stimulus="image")
    >>> reps.sel(model="mouse", stimulus="cat").values.tolist()  # (feature, repetition)
    [[2.0, 1.0], [0.0, 0.0]]
    """
    how = How(window, bin_size, rate)
    with reading(path, "a file of Neurodata Without Borders") as file:
        pynwb = needs("pynwb", "read_nwb", BRIDGES)
        with pynwb.NWBHDF5IO(str(file), "r") as opened:
            content = opened.read()
            spikes = _spikes(content, file)
            table, invalid = _trials(content, trials, file), _invalid(content)
            subject = getattr(content.subject, "subject_id", None)
        name = file.stem if model is None and by is None else model
        sets = sets_of(
            spikes, table, how, (), str(file), stimulus=stimulus, repetition=repetition,
            repetitions=repetitions, model=name, by=by, invalid=invalid,
        )  # fmt: skip
        if subject is not None:
            # a column of the trials may say so too: it is a dim then
            sets = {
                place: one.assign_coords(subject=subject) if len(place) == 1 else one
                for place, one in sets.items()
            }
        reps = representations(sets, str(file), gaps=gaps, modality=modality)
    return reps.assign_attrs(how.attrs())


def _spikes(content: Any, file: Path) -> Spikes:
    """Units of a file: their spikes, what is known of them, when they were observed."""
    units = content.units
    if units is None or "spike_times" not in units.colnames or not len(units):
        raise SchemaError(f"{file} has no units with spike_times, and spikes are what is counted")
    n = len(units)
    times = [np.asarray(units["spike_times"][i], np.float64) for i in range(n)]
    observed = None
    if OBSERVED in units.colnames:
        observed = [np.reshape(np.asarray(units[OBSERVED][i], float), (-1, 2)) for i in range(n)]
    table = _plain_columns(units, "unit")
    if GROUP in units.colnames:
        groups = [units[GROUP][i] for i in range(n)]
        table = table.assign(**{GROUP: [group.name for group in groups]})
        if "location" not in table:
            table = table.assign(location=[str(group.location) for group in groups])
    return Spikes(times, table, observed)


def _trials(content: Any, name: str | None, file: Path) -> pd.DataFrame:
    """The table of intervals that holds the trials."""
    tables = {key: table for key, table in (content.intervals or {}).items() if key != INVALID}
    if name is None:
        name = TRIALS if TRIALS in tables or len(tables) != 1 else next(iter(tables))
    if name not in tables:
        raise SchemaError(
            f"{file} has no table of intervals {name!r}; name one with trials='…': "
            f"{listing(tables) or 'there is none'}"
        )
    table = _plain_columns(tables[name], "trial")
    return table if "trial" in table.columns else table.reset_index()


def _invalid(content: Any) -> Array | None:
    table = content.invalid_times
    if table is None:
        return None
    return np.stack([table[name].data[:] for name in ("start_time", "stop_time")], axis=1)


def _plain_columns(table: Any, ids: str) -> pd.DataFrame:
    """The columns with one value a row, which is no reference; ids are the index."""
    names = [column.name for column in table.columns]
    # an index says where the values of a row begin
    several = {name for name in names if f"{name}_index" in names}
    columns = {}
    for name in table.colnames:
        values = None if name in several else np.asarray(table[name].data[:])
        if values is not None and values.ndim == 1 and name != GROUP:
            if hasattr(table[name], "elements"):
                values = np.asarray(table[name].elements.data[:])[values]
            columns[name] = values
    return pd.DataFrame(columns, index=pd.Index(table.id[:], name=ids))
