"""Responses trial by trial, and a design that says which stimulus each trial showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import flat, free_name, free_our_names, joined_text
from xconverge.io.formats._labels import carried, column_values, text_labels
from xconverge.io.formats._numpy import NPY, map_npy
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._places import Join, Place, by_place
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._rows import all_rows
from xconverge.io.formats._stacked import model_name, representations
from xconverge.io.formats._tables import DELIMITERS, inferred, numbers_of, text_table
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.arrays import as_array, of_frame
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.plain import is_default

TRIAL = "_trial"
PLACES = ("subject", "region")
Side = tuple[pd.DataFrame, Any, str]
"""Design and responses of the trials of a place, and what they are called."""


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


def designs_of(design: Any, places: Sequence[Place]) -> dict[Place, Any]:
    """The design of each place: its own, that of its subject, or the only one."""
    if not isinstance(design, Mapping):
        return dict.fromkeys(places, design)
    given = by_place(design, PLACES, "design")
    lacking = [p for p in places if p not in given and p[:1] not in given]
    more = [k for k in given if not any(p[: len(k)] == k for p in places)]
    if lacking or more:
        raise SchemaError(
            "design and responses must have the same keys: design lacks "
            f"{listing(map('/'.join, lacking)) or 'none'}, responses "
            f"{listing(map('/'.join, more)) or 'none'}"
        )
    return {place: given.get(place, given.get(place[:1])) for place in places}


def trials_of(
    design: Any, given: Any, stimulus: str, features: Sequence[Any] | None, what: str
) -> tuple[pd.DataFrame, Any]:
    """The design and responses of all trials of a place."""
    if isinstance(given, xr.DataArray | xr.Dataset):
        raise TypeError(
            f"{what} must be arrays (trial, feature) or tables; of a labelled array, give "
            "xconverge.io.from_allen(array, presentation='…', unit='…', presentations=design), "
            "which knows its dims"
        )
    listed = given if isinstance(given, list | tuple) else ()
    sessions = [len(one) for one in listed if hasattr(one, "__len__")]
    table = None if design is None else _table(design, sessions, stimulus, what)
    if isinstance(given, pd.DataFrame):
        table, values = _of_table(table, given, features, what)
    elif table is None:
        raise SchemaError(
            f"{what} does not say which stimulus each trial showed; give design=, one id a trial "
            "or a table with a column of them"
        )
    else:
        values = _one_array(given, what)
    if len(table) != values.shape[0]:
        raise SchemaError(
            f"{what} has {values.shape[0]} trials, and its design {len(table)}; each trial "
            "needs one row of the design"
        )
    return table, values


def by_subject(
    place: Place, table: pd.DataFrame, values: Any, what: str, subject: str = "subject"
) -> dict[Place, Side]:
    """Trials of a place, or of no place by subject; columns that say so are not in the tables."""
    for name, label in zip((subject, *PLACES[1:]), place, strict=False):
        if name in table.columns:
            if set(text_labels(column_values(table[name]), repr(name))) != {label}:
                raise SchemaError(
                    f"the design of {what} has a column {name!r} that says "
                    f"{listing(table[name].unique())}; give the trials of {label!r} alone"
                )
            table = table.drop(columns=name)
    if place or subject not in table.columns:
        return {place: (table, values, what)}
    whose = text_labels(column_values(table[subject]), repr(subject))
    table = table.drop(columns=subject)
    found: dict[Place, Side] = {}
    for name in dict.fromkeys(whose):
        mine = np.flatnonzero(whose == name)
        found[(str(name),)] = (table.iloc[mine], values[mine], f"{what} of {name!r}")
    return found


def _table(design: Any, sessions: list[int], stimulus: str, what: str) -> pd.DataFrame:
    """One table of all trials; of lists of sessions, on either side, with the number of each."""
    listed = _is_list_of_sessions(design)
    parts = list(design) if listed else [design]
    if listed and sessions and sessions != [len(one) for one in parts]:
        raise SchemaError(
            f"{what} has sessions of {listing(sessions, 10)} trials, and its design of "
            f"{listing([len(one) for one in parts], 10)}; they must be the same"
        )
    tables = [_one_table(one, stimulus, f"the design of {what}") for one in parts]
    if len({"session" in table.columns for table in tables}) > 1:
        raise SchemaError(f"{what}: some sessions have a column 'session' and others do not")
    table = pd.concat(tables, ignore_index=True) if listed else tables[0]
    numbers = [len(one) for one in tables] if listed else sessions if len(sessions) > 1 else []
    if "session" not in table.columns and numbers and sum(numbers) == len(table):
        table = table.assign(session=np.repeat(np.arange(len(numbers)), numbers))
    return table


def _is_list_of_sessions(given: Any) -> bool:
    """Whether this is a list of tables, arrays or lists, and no list of ids."""
    return (
        isinstance(given, list | tuple)
        and bool(len(given))
        and all(
            isinstance(one, list | tuple | pd.DataFrame | pd.Series | pd.Index)
            or getattr(one, "ndim", 0) > 0
            for one in given
        )
    )


def _one_table(design: Any, stimulus: str, what: str) -> pd.DataFrame:
    if isinstance(design, pd.DataFrame):
        return design
    if isinstance(design, str | bytes) or not np.iterable(design):
        raise TypeError(
            f"{what} must be a sequence of the ids of the stimuli, one a trial, or a DataFrame "
            f"with a column {stimulus!r}; got {came(design)}"
        )
    ids = design if isinstance(design, pd.Series) else np.asarray(design)
    if ids.ndim != 1:
        raise SchemaError(
            f"{what} must have one id a trial, got the shape {ids.shape}; take .ravel() of a column"
        )
    return pd.DataFrame({stimulus: ids.to_numpy() if isinstance(ids, pd.Series) else ids})


def _of_table(
    design: pd.DataFrame | None, table: pd.DataFrame, features: Sequence[Any] | None, what: str
) -> tuple[pd.DataFrame, Any]:
    """A table of responses, with the design in it or beside it."""
    if design is None and features is None:
        raise SchemaError(
            f"{what} holds the design too, and does not say which columns are features; name them "
            f"with features=[…], it has {listing(table.columns, 30)}"
        )
    wanted = list(table.columns if features is None else features)
    lacking = [name for name in wanted if name not in table.columns]
    if lacking or len(set(wanted)) < len(wanted) or not table.columns.is_unique:
        raise SchemaError(
            f"features= must name columns of {what}, each once; {listing(lacking) or 'none'} is "
            f"not there, it has {listing(table.columns, 30)}"
        )
    values = of_frame(table[wanted], what)
    if design is None:
        return table.drop(columns=wanted), values
    if not is_default(table.index) and not is_default(design.index):
        same = design.index.is_unique and table.index.is_unique
        if not same or set(design.index) != set(table.index):
            raise SchemaError(
                f"{what} and its design both have labels of trials, and not the same ones, each "
                "once; .reset_index(drop=True) takes them by their order"
            )
        design = design.loc[table.index]
    return design, values


def _one_array(given: Any, what: str) -> Any:
    """(trial, feature, …), sessions of a list one after the other."""
    if not isinstance(given, list | tuple):
        array = as_array(given, what)
        if getattr(array, "ndim", 0) not in (2, 3):
            shape = getattr(array, "shape", None)
            raise SchemaError(
                f"{what} must have the shape (trial, feature), or (trial, feature, time), got "
                f"{came(given) if shape is None else shape}"
            )
        return array
    if not given:
        raise SchemaError(f"{what} has no sessions: it is an empty list")
    arrays = [_one_array(one, f"session {number} of {what}") for number, one in enumerate(given)]
    return all_rows(arrays, f"sessions of {what}", "; NaN is where a session lacks a feature")


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


def of_trials(
    values: Any,
    table: pd.DataFrame,
    known: Mapping[str, Any],
    stimulus: str,
    repetition: str | None,
    repetitions: Repetitions,
    what: str,
) -> xr.DataArray:
    """(stimulus, feature, …) of trials, their table, and what is known of features and times."""
    columns = list(map(str, table.columns))
    needed = [stimulus, *([repetition] if repetition else [])]
    lacking = [name for name in needed if columns.count(name) != 1]
    if lacking:
        raise SchemaError(
            f"the design of {what} needs one column {listing(lacking)}; it has "
            f"{listing(columns, 30) or 'none'}. Name the column of the ids with stimulus='…'"
        )
    found = carried({str(k): column_values(table[k]) for k in table.columns}, needed, "design: ")
    taken = [name for name in found if name in (*known, TRIAL, "feature")]
    if taken:
        raise SchemaError(f"the design of {what} has the columns {listing(taken)}; rename them")
    array = xr.DataArray(values, dims=[TRIAL, "feature", "time"][: values.ndim])
    array = array.assign_coords({**{n: (TRIAL, column) for n, column in found.items()}, **known})
    array = free_our_names(flat(array, [*needed, *known]))
    ids = joined_text(array, stimulus, TRIAL, "stimulus")
    number = free_name(array, repetition) if repetition else "repetition"
    made = by_stimulus(array, TRIAL, ids, repetitions, what, number)
    if repetition and repetitions == "keep":
        _check_told(array, ids, number, what)
    return made


def _check_told(array: xr.DataArray, ids: Any, number: str, what: str) -> None:
    """A column that numbers the trials of a stimulus gives none twice, and none nothing."""
    pairs = pd.DataFrame({"id": ids, "number": array.coords[number].values})
    wrong = pairs[pairs.duplicated(keep=False) | pairs["number"].isna()]
    if len(wrong):
        raise SchemaError(
            f"repetition={number!r} does not tell the trials of {what} apart: stimuli "
            f"{listing(wrong['id'].unique())} have one number twice, or none; leave it out to "
            "count them in their order"
        )
