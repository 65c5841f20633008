"""Trials of a place: responses and the design that says what each showed, and what they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._flat import flat, free_name, free_our_names, joined_text
from xconverge.io.formats._labels import carried, column_values, text_labels
from xconverge.io.formats._places import Place, by_place
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._rows import all_rows
from xconverge.labels.arrays import as_array, of_frame
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.plain import is_default

TRIAL = "_trial"
"""The dim of trials; a column of this name is refused."""
PLACES = ("subject", "region")
Side = tuple[pd.DataFrame, Any, str]
"""Design and responses of the trials of a place, and what they are called."""


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
