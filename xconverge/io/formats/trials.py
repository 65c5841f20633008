"""Responses trial by trial, and a design that says which stimulus each trial showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._numpy import NPY, map_npy
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._places import Join, Place, by_place
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._stacked import model_name, representations
from xconverge.io.formats._tables import DELIMITERS, inferred, numbers_of, text_table
from xconverge.io.formats._trials import PLACES, Side, by_subject, designs_of, of_trials, trials_of
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.messages import SchemaError


def from_trials(
    responses: Any,
    design: Any = None,
    *,
    stimulus: str = "stimulus_id",
    features: Sequence[Any] | None = None,
    times: Sequence[float] | None = None,
    repetition: str | None = None,
    repetitions: Repetitions = "keep",
    subject: str = "subject",
    model: str | None = None,
    gaps: Gaps | None = None,
    join: Join = "exact",
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of responses trial by trial and the design of the experiment.

    Parameters
    ----------
    responses : array, DataFrame, list of arrays, or dict of these
        (trial, feature), or (trial, feature, time) with ``times``: NumPy, dask, Zarr, HDF5, torch.
        A list has one array for each session. A table has one row a trial; with no ``design``, it
        holds the columns of one too. A dict has the responses of each subject, or of each
        ``(subject, region)``.
    design : sequence, DataFrame, list of these, or dict of these
        What each trial showed, in the order of the trials: ids, or a table with a column of them.
        A list has one for each session. A dict has that of each subject (or subject and region);
        what is no dict holds for all.
    stimulus : str
        Column of the design with the ids of the stimuli.
    features : sequence, optional
        Columns of the table of responses that are features, which one that holds the design too
        must name; of arrays, labels of the features (the coordinate ``feature_label``).
    times : sequence of float, optional
        Seconds of the third axis, which becomes the dim ``time``.
    repetition : str, optional
        Column of the design that numbers the trials of a stimulus. Default: the column
        ``repetition``, if it tells all of them apart, else 0, 1, … in order of appearance.
    repetitions : {"keep", "mean", "error"}
        What to do with several trials of one stimulus: keep them apart, on the dim
        ``repetition``, where a stimulus with fewer trials than others has rows of NaN; average
        them; or refuse them.
    subject : str
        Column of the design that says whose trial it is; where it is there, it becomes a dim.
    model : str
        What the source of the responses is called: ``"brain"``.
    gaps : {"error", "drop"}, optional
        What to do with features that are NaN in some trials, as in `from_xarray`. Those that are
        NaN in all trials of a subject and region are its padding.
    join : {"exact", "inner", "outer"}
        What to do where subjects saw different stimuli: refuse, keep those that all saw, or keep
        all, with NaN for what a subject never saw.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, [subject, [region,]] stimulus, feature, [repetition, [time]]),
        stimuli in order of appearance, with ``n_repetitions`` (stimulus), the number of trials,
        and ``n_features`` where widths differ. Lazy if any response is.

    Warns
    -----
    RuntimeWarning
        Features that ``gaps="drop"`` leaves out. Columns that no coordinate can hold.

    Raises
    ------
    SchemaError
        Designs and responses of different length; no column of ids; a column ``repetition=`` that
        does not tell the trials of a stimulus apart; sessions of different width; stimuli that
        differ between subjects under ``"exact"``; what `from_xarray` refuses.
    TypeError
        Labelled arrays, whose dims say more: `from_allen` takes those of any names.

    Notes
    -----
    Other columns of the design are coordinates: of ``stimulus`` where all trials of each stimulus
    agree, else (stimulus, repetition), as ``onset`` or ``trial``. ``session`` and ``run`` are
    always (stimulus, repetition): trials of one share noise. Lists give ``session`` 0, 1, …, where
    the designs have no such column. What differs between subjects is over them too. Ids become text
    as in all that reads the files of others: 12 and 12.0 are ``"12"``.

    Examples
    --------
    Two sessions of betas with their lists of what was shown:

    >>> betas = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])]
    >>> reps = from_trials(betas, [["cat", "dog"], ["cat", "emu"]], model="brain")
    >>> reps.sel(model="brain", stimulus="cat").values.tolist()  # (feature, repetition)
    [[1.0, 5.0], [2.0, 6.0]]
    >>> reps.session.values.tolist(), reps.n_repetitions.values.tolist()
    ([[0.0, 1.0], [0.0, nan], [1.0, nan]], [2, 1, 1])

    A table that has both, of two subjects:

    >>> table = pd.DataFrame({"subject": ["s1", "s1", "s2", "s2"], "v1": [1.0, 2.0, 3.0, 4.0],
    ...                       "stimulus_id": ["cat", "dog", "dog", "cat"]})
    >>> from_trials(table, features=["v1"], model="brain").squeeze(drop=True).values.tolist()
    [[1.0, 2.0], [4.0, 3.0]]
    """
    sets = {}
    places = _places(responses, design, stimulus, features, subject)
    name = model_name(model, "feature", "responses")
    for place, (table, values, what) in places.items():
        known = _known(values, features, times, what)
        made = of_trials(values, table, known, stimulus, repetition, repetitions, what)
        sets[name, *place] = made
    return representations(sets, "responses", gaps=gaps, join=join, modality=modality)


@keywords_of(from_trials)
def read_trials(path: FilePath, design: FilePath | None = None, **options: Any) -> xr.DataArray:
    r"""Read responses trial by trial from a table or an array, and their design from a table.

    Parameters
    ----------
    path : path
        A table, ``.csv`` or ``.tsv``, with one row a trial; or ``.npy``, (trial, feature), which
        stays on disk until it is computed.
    design : path, optional
        A table, ``.csv`` or ``.tsv``, with one row a trial, as BIDS has in ``events.tsv``.
        Default: ``path`` holds its columns too.
    stimulus, features, times, repetition, repetitions, subject, gaps, join, modality
        As in `from_trials`.
    model : str, optional
        What the source of the responses is called; default the name of the file.

    Returns
    -------
    DataArray
        As `from_trials` makes it; lazy for ``.npy``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SchemaError
        The file is of another kind or damaged, or what `from_trials` refuses.

    Notes
    -----
    Ids are text and stay as they are: ``007``, ``NA``.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "betas.npy", np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    >>> n = (folder / "events.tsv").write_text("stimulus_id\tonset\n007\t0\n8\t2\n007\t4\n")
    >>> reps = read_trials(folder / "betas.npy", folder / "events.tsv", model="brain")
    >>> reps.sel(model="brain", stimulus="007").values.tolist(), reps.onset.values[0].tolist()
    ([[1.0, 5.0], [2.0, 6.0]], [0.0, 4.0])
    """
    column = options.get("stimulus", "stimulus_id")
    options.setdefault("model", local_path(path).stem)
    table = None if design is None else _read_table(design, column)
    if local_path(path).suffix == ".npy":
        with reading(path, NPY) as file:
            return from_trials(map_npy(file), table, **options)
    return from_trials(_read_table(path, column, options.get("features") or ()), table, **options)


def _read_table(path: FilePath, stimulus: str, features: Sequence[Any] = ()) -> pd.DataFrame:
    """A table of numbers and text, the ids as they stand."""
    with reading(path, "a table of trials, .csv or .tsv in UTF-8") as file:
        if file.suffix not in DELIMITERS:
            raise SchemaError(f"{file} is no .csv, .tsv or .npy; read it, and use from_trials")
        table = text_table(file)
        rows = [f"row {row}" for row in range(2, len(table) + 2)]
        found: dict[str, Any] = {}
        for name, cells in table.items():
            if name in features:
                found[str(name)] = numbers_of(cells.to_frame(), rows, file)[:, 0]
            else:
                found[str(name)] = cells if name == stimulus else inferred(cells, file)
        return pd.DataFrame(found)


def _places(
    responses: Any, design: Any, stimulus: str, features: Sequence[Any] | None, subject: str
) -> dict[Place, Side]:
    """The trials of every key of a dict, of every subject in a column, or of the only place, ()."""
    if isinstance(design, Mapping) and not isinstance(responses, Mapping):
        raise SchemaError(
            "design is a dict of subjects, and responses is none; give a dict of both, or one "
            "table with a column of the subjects"
        )
    places = by_place(responses, PLACES, "responses")
    designs = designs_of(design, list(places))
    found: dict[Place, Side] = {}
    for place, given in places.items():
        who = f"responses of {'/'.join(place)!r}" if place else "responses"
        table, values = trials_of(designs[place], given, stimulus, features, who)
        found.update(by_subject(place, table, values, who, subject))
    return found


def _known(
    values: Any, features: Sequence[Any] | None, times: Sequence[float] | None, what: str
) -> dict[str, Any]:
    """Coordinates of features and times."""
    if (values.ndim == 3) != (times is not None):
        raise SchemaError(
            f"{what} has the shape {values.shape}: times= labels the third axis, and both or "
            "none are needed"
        )
    known: dict[str, Any] = {}
    if features is not None:
        known["feature_label"] = ("feature", np.asarray(list(features)))
    if times is not None:
        known["time"] = ("time", np.asarray(times, np.float64), {"units": "s"})
    for axis, name, word in ((1, "feature_label", "features"), (2, "time", "times")):
        if name in known and len(known[name][1]) != values.shape[axis]:
            raise SchemaError(
                f"{word}= has {len(known[name][1])} labels, and {what} the shape {values.shape}"
            )
    return known
