"""Epochs of MNE: events × channels × times; and what is known of channels and times back to it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._needs import needs
from xconverge.io.formats._places import Join, by_place
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._stacked import model_name, representations
from xconverge.io.formats._trials import by_subject, of_trials
from xconverge.labels.checks import widths
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing

EVENT = "event"
OF_EVOKED = {"feature", "time", "stimulus"}
ID = "stimulus_id"
UNITS = {-1: "none", 0: "unitless", 6: "mol", 107: "V", 112: "T", 201: "T/m", 202: "Am"}
"""Names of FIFF's units: those that MNE converts data to."""


def from_mne(
    epochs: Any,
    *,
    stimulus: str | None = None,
    picks: str | Sequence[str] | None = "data",
    repetition: str | None = None,
    repetitions: Repetitions = "keep",
    model: str | None = None,
    join: Join = "exact",
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of epochs of MNE, with ``time`` as a dim.

    Parameters
    ----------
    epochs : mne.Epochs, mne.EpochsArray, or dict of these
        A dict has the epochs of each subject, and gives the dim ``subject``; so does a column
        ``subject`` of the metadata.
    stimulus : str, optional
        Column of ``epochs.metadata`` that says which stimulus was shown, or ``"event"`` for the
        names of the events (``epochs.event_id``). Default: the column ``stimulus_id`` if it is
        there, else the names of the events.
    picks : str or sequence of str, optional
        Channels, as MNE takes them: types (``"eeg"``, ``"mag"``), or names. Default: those of
        data that are not marked as bad; None for all.
    repetition : str, optional
        Column of the metadata that numbers the repetitions of a stimulus, as in `from_trials`.
    repetitions : {"keep", "mean", "error"}
        What to do with several epochs of one stimulus, as in `from_trials`.
    model : str
        What the source is called: ``"meg"``.
    join : {"exact", "inner", "outer"}
        What to do where subjects saw different stimuli, as in `from_trials`.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, [subject,] stimulus, feature, repetition, time), in memory.
        ``time`` in seconds; the coordinates ``channel``, ``channel_type`` and ``unit`` on
        ``feature``; the columns of the metadata and ``event`` on ``stimulus``, or on (stimulus,
        repetition) where they differ between epochs of a stimulus; ``baseline`` and ``units``
        in attrs, the latter where all channels have the same.

    Warns
    -----
    RuntimeWarning
        Channels of several units in one vector: the largest numbers decide every distance.

    Raises
    ------
    ImportError
        mne is not installed.
    SchemaError
        No such column; no channels; subjects with other times; an event that has no name;
        what `from_trials` refuses.
    TypeError
        No epochs: raw recordings and averages (Evoked) have no trials.

    Notes
    -----
    Epochs that MNE dropped are not there. Subjects may have different channels: the padding of
    those with fewer is NaN, and ``n_features`` says how many are real; ``channel`` is then
    over (subject, feature). Units are those of MNE's arrays: V, T, T/m. Gramfort et al. (2013).

    Examples
    --------
    >>> import mne
    >>> info = mne.create_info(["Oz", "Cz"], 100.0, "eeg")
    >>> epochs = mne.EpochsArray(
    ...     np.arange(12.0).reshape(3, 2, 2), info, tmin=-0.01, verbose="error",
    ...     metadata=pd.DataFrame({"stimulus_id": ["cat", "dog", "cat"]}))
    >>> reps = from_mne(epochs, model="eeg")
    >>> dict(reps.sizes)
    {'model': 1, 'stimulus': 2, 'feature': 2, 'repetition': 2, 'time': 2}
    >>> reps.sel(model="eeg", stimulus="cat", time=0.0).values.tolist()
    [[1.0, 9.0], [3.0, 11.0]]
    """
    mne = needs("mne", "from_mne", "mne")
    sets: dict[tuple[str, ...], xr.DataArray] = {}
    for place, one in by_place(epochs, ("subject",), "epochs").items():
        what = f"epochs of {place[0]!r}" if place else "epochs"
        if not isinstance(one, mne.BaseEpochs):
            raise TypeError(
                f"{what} must be mne.Epochs, with one event a trial, or a dict of them; got "
                f"{came(one)}"
            )
        sets.update(_of_subject(one, place, stimulus, picks, repetition, repetitions, what))
    name = model_name(model, "feature", "epochs")
    named = {(name, *place): set_ for place, set_ in sets.items()}
    reps = representations(named, "epochs", join=join, modality=modality)
    units = {str(unit) for unit in np.unique(reps["unit"].values) if unit}
    if len(units) > 1:
        kinds = sorted({str(kind) for kind in np.unique(reps["channel_type"].values) if kind})
        warnings.warn(
            f"epochs have channels of several units ({', '.join(sorted(units))}), and the largest "
            f"numbers decide every distance; choose one type with picks=: {listing(kinds)}; or "
            "use xconverge.zscore",
            RuntimeWarning,
            stacklevel=2,
        )
        return reps
    return reps.assign_attrs(units=units.pop())


def _of_subject(
    epochs: Any,
    place: tuple[str, ...],
    stimulus: str | None,
    picks: Any,
    repetition: str | None,
    repetitions: Repetitions,
    what: str,
) -> dict[tuple[str, ...], xr.DataArray]:
    """(stimulus, feature, repetition, time) of the epochs of a subject, or of each in a column."""
    # a copy: loading drops what is bad, and picking the other channels
    epochs = epochs.copy().load_data()
    bads = () if picks is None else "bads"
    try:
        epochs.pick("all" if picks is None else picks, exclude=bads, verbose="error")
    except ValueError as error:
        raise SchemaError(
            f"{what} have no channels of picks={picks!r}: {error}; there are "
            f"{listing(sorted(set(epochs.get_channel_types())))}"
        ) from error
    if not len(epochs):
        raise SchemaError(f"{what} are empty: all were dropped, or there were none")
    table, column = _table(epochs, stimulus, what)
    kinds = epochs.get_channel_types()
    units = [UNITS.get(int(c["unit"]), str(c["unit"])) for c in epochs.info["chs"]]
    known = {
        "channel": ("feature", np.asarray(epochs.ch_names, dtype=object)),
        "channel_type": ("feature", np.asarray(kinds, dtype=object)),
        "unit": ("feature", np.asarray(units, dtype=object)),
        "time": ("time", np.asarray(epochs.times, np.float64), {"units": "s"}),
    }
    baseline = None if epochs.baseline is None else [float(t) for t in epochs.baseline]
    values = epochs.get_data(copy=False)
    return {
        key: of_trials(rows, part, known, column, repetition, repetitions, who).assign_attrs(
            baseline=baseline
        )
        for key, (part, rows, who) in by_subject(place, table, values, what).items()
    }


def _table(epochs: Any, stimulus: str | None, what: str) -> tuple[pd.DataFrame, str]:
    """Metadata with the name of each event, and the column that names the stimuli."""
    names = {number: name for name, number in epochs.event_id.items()}
    numbers = epochs.events[:, 2]
    unknown = sorted(set(numbers.tolist()) - set(names))
    if unknown:
        raise SchemaError(f"{what} have events without a name in event_id: {listing(unknown)}")
    table = pd.DataFrame() if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
    if stimulus is None:
        stimulus = ID if ID in table.columns else EVENT
    if EVENT not in table.columns:
        table = table.assign(**{EVENT: [names[number] for number in numbers]})
    if stimulus not in table.columns:
        raise SchemaError(
            f"{what} have no metadata {stimulus!r}; there is {listing(table.columns, 30)}. Name "
            "the column of the ids with stimulus='…', or set epochs.metadata"
        )
    return table, stimulus


def to_mne(reps: xr.DataArray, like: Any = None) -> Any:
    """Make MNE's averages (channel × time) of responses or scores, to plot them on the head.

    Parameters
    ----------
    reps : DataArray
        (feature, time), with the coordinate ``channel`` of `from_mne`, and ``stimulus`` where
        there is one; models, subjects and repetitions averaged or selected first. A lazy one is
        computed.
    like : mne.Info, or what has one (Epochs), optional
        Where the sensors are. Default: nobody knows, and channels have the type ``channel_type``,
        or ``"misc"``.

    Returns
    -------
    mne.EvokedArray, or dict of str to EvokedArray
        One, or one a stimulus, whose name is its comment; ``nave`` is ``n_repetitions``.

    Raises
    ------
    ImportError
        mne is not installed.
    SchemaError
        Other dims; no channels, or others than ``like`` has; times that are not evenly spaced, or
        not as far apart as those of ``like``.

    Examples
    --------
    >>> reps = xr.DataArray(
    ...     np.eye(2), dims=("feature", "time"),
    ...     coords={"channel": ("feature", ["Oz", "Cz"]), "time": [0.0, 0.01]})
    >>> evoked = to_mne(reps)
    >>> evoked.ch_names, evoked.times.tolist(), evoked.info["sfreq"]
    (['Oz', 'Cz'], [0.0, 0.01], 100.0)
    """
    mne = needs("mne", "to_mne", "mne")
    if not isinstance(reps, xr.DataArray):
        raise TypeError(f"reps must be an xarray.DataArray, got {came(reps)}")
    single = [dim for dim in reps.dims if dim not in OF_EVOKED and reps.sizes[dim] == 1]
    reps = reps.squeeze(single)
    channels = reps.coords.get("channel")
    if not {"feature", "time"} <= set(reps.dims) <= OF_EVOKED or channels is None:
        raise SchemaError(
            "reps must be over feature, with the coordinate 'channel', and time, and stimulus if "
            f"you like; got {list(map(str, reps.dims))} and the coordinates "
            f"{listing(reps.coords, 30)}; select or average the others"
        )
    if channels.dims != ("feature",):
        raise SchemaError(f"'channel' must be over feature alone, got {channels.dims}")
    reps = reps.isel(feature=slice(int(widths(reps)))).compute()
    info = _info(reps, like, mne)
    if "stimulus" not in reps.dims:
        return _evoked(reps, info, mne)
    return {
        str(name): _evoked(reps.isel(stimulus=i), info, mne)
        for i, name in enumerate(reps.indexes["stimulus"])
    }


def _info(reps: xr.DataArray, like: Any, mne: Any) -> Any:
    """What MNE knows of these channels, and how many times a second has."""
    names = [str(name) for name in reps["channel"].values]
    times = np.asarray(reps["time"].values, np.float64)
    steps = np.diff(times)
    if len(times) < 2 or not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3)):
        raise SchemaError("times must be evenly spaced, two at least, for MNE to have a rate")
    rate = float((len(times) - 1) / (times[-1] - times[0]))
    if like is None:
        kinds = reps["channel_type"].values.tolist() if "channel_type" in reps.coords else "misc"
        return mne.create_info(names, round(rate, 6), kinds, verbose="error")
    info = getattr(like, "info", like)
    lacking = [name for name in names if name not in info["ch_names"]]
    if lacking:
        raise SchemaError(f"like has no channels {listing(lacking)}")
    if not np.isclose(info["sfreq"], rate, rtol=1e-3):
        raise SchemaError(
            f"like has {info['sfreq']:.6g} times a second, and reps {rate:.6g}; give epochs that "
            "were decimated alike, as epochs.copy().decimate(…)"
        )
    return mne.pick_info(info, [info["ch_names"].index(name) for name in names])


def _evoked(one: xr.DataArray, info: Any, mne: Any) -> Any:
    n_trials = one.coords.get("n_repetitions")
    return mne.EvokedArray(
        np.asarray(one.transpose("feature", "time").values, np.float64),
        info,
        tmin=float(one["time"][0]),
        comment=str(one["stimulus"].item()) if "stimulus" in one.coords else "",
        nave=int(n_trials) if n_trials is not None and n_trials.ndim == 0 else 1,
        verbose="error",
    )
