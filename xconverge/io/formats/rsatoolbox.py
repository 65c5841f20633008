"""Datasets of rsatoolbox, both ways, and the HDF5 files that they are saved in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._flat import free_our_names, joined_text
from xconverge.io.formats._labels import as_text, decoded, text_labels
from xconverge.io.formats._needs import needs
from xconverge.io.formats._places import Place
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._rsatoolbox import (
    check_no_other,
    coordinates,
    descriptors_of,
    load,
    scalar,
)
from xconverge.io.formats._stacked import representations
from xconverge.io.paths import FilePath
from xconverge.labels.checks import (
    as_features,
    check_dims,
    check_labels,
    check_representations,
    widths,
)
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import check_numbers, numpy_dtype
from xconverge.labels.text import one_label

SETTINGS = ("modality", "space")
"""Attrs of a set that travel as descriptors."""
TABLES = ("descriptors", "obs_descriptors", "channel_descriptors", "time_descriptors")


def from_rsatoolbox_dataset(
    dataset: Any,
    *,
    stimulus: str = "stimulus",
    repetitions: Repetitions = "error",
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of an rsatoolbox Dataset, or of several, one a model.

    Parameters
    ----------
    dataset : rsatoolbox.data.Dataset, TemporalDataset, or sequence of them
        (observation, channel) or (observation, channel, time).
    stimulus : str
        Observation descriptor that says which stimulus was shown.
    repetitions : {"error", "mean", "keep"}
        What to do with several observations of one stimulus, as in `from_brainio`.
    model : str, optional
        Name of the only model; default the descriptor ``model``. Of several Datasets, the
        descriptor that names each; default ``model``.
    modality : str, optional
        Goes into ``attrs["modality"]``; default the descriptor ``modality``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature[, time]). Observation descriptors are
        coordinates on ``stimulus`` (those that all observations of a stimulus agree on), channel
        descriptors on ``feature``, time descriptors on ``time``, and those of the whole on
        ``model``. Several Datasets are joined on the stimulus labels; what one of them lacks is
        missing for its model.

    Raises
    ------
    SchemaError
        No such descriptor, no name for a model, two of one name, repeated stimuli under
        ``"error"``, or NaN in a part of a row.

    Notes
    -----
    rsatoolbox matches by position; here the descriptor ``stimulus`` does. Ids become text.
    Descriptors with other than one value for each observation, channel, time or for the whole are
    left out.

    Examples
    --------
    >>> from rsatoolbox.data import Dataset
    >>> dataset = Dataset(np.eye(2), {"model": "vit"}, {"stimulus": ["cat", "dog"]},
    ...                   {"unit": [7, 9]})
    >>> reps = from_rsatoolbox_dataset(dataset)
    >>> reps.sel(model="vit", stimulus="dog").values.tolist(), reps.unit.values.tolist()
    ([0.0, 1.0], [7, 9])
    """
    # a Dataset is no sequence, and a list of one Dataset names its model as longer ones do
    several = isinstance(dataset, Sequence)
    models: dict[Place, xr.DataArray] = {}
    for one in dataset if several else [dataset]:
        array = _dataset_array(one, stimulus)
        key = model if several and model is not None else "model"
        name = array.attrs.pop(key, None) if several or model is None else model
        if name is None:
            raise SchemaError(
                f"dataset has no descriptor {key!r} that names its model; name it with "
                f"model='…'; there is {listing(one.descriptors) or 'none'}"
            )
        place = (one_label(str(name), "dataset: the name of its model"),)
        if place in models:
            raise SchemaError(f"two datasets have the name {name!r}; models need different names")
        models[place] = _one_model(array, stimulus, repetitions)
    if not models:
        raise SchemaError("dataset is an empty list; give at least one rsatoolbox Dataset")
    modality = modality or next(
        (a.attrs["modality"] for a in models.values() if "modality" in a.attrs), None
    )
    return representations(models, "dataset", join="outer", modality=modality)


def _dataset_array(dataset: Any, stimulus: str) -> xr.DataArray:
    """(observation, feature[, time]); descriptors as coordinates, those of the whole as attrs."""
    measured = getattr(dataset, "measurements", None)
    if measured is None or not hasattr(dataset, "obs_descriptors"):
        raise TypeError(f"dataset must be an rsatoolbox Dataset, got {type(dataset).__name__}")
    measured = np.asarray(measured)
    measured = measured.astype(numpy_dtype(measured.dtype), copy=False)
    check_numbers(measured.dtype, "dataset.measurements")
    if measured.ndim not in (2, 3):
        raise SchemaError(
            f"dataset.measurements must be numbers (observation, channel[, time]), got the shape "
            f"{measured.shape} of {measured.dtype}"
        )
    temporal = measured.ndim == 3
    dims = ("observation", "feature", *(["time"] if temporal else []))
    array = xr.DataArray(measured, dims=dims)
    for dim, table in (
        ("observation", dataset.obs_descriptors),
        ("feature", dataset.channel_descriptors),
        *([("time", getattr(dataset, "time_descriptors", {}))] if temporal else []),
    ):
        array = array.assign_coords(coordinates(table, dim, array.sizes[dim], (stimulus, "time")))
    array.attrs = {key: scalar(value) for key, value in dict(dataset.descriptors).items()}
    array.attrs = {key: value for key, value in array.attrs.items() if value is not None}
    return array


def _one_model(array: xr.DataArray, stimulus: str, repetitions: Repetitions) -> xr.DataArray:
    """(stimulus, feature[, time]); attrs that are no settings are scalar coordinates."""
    settings = {key: array.attrs[key] for key in SETTINGS if key in array.attrs}
    ids = joined_text(array, stimulus, "observation", "stimulus")
    array = array.drop_vars(stimulus if stimulus == "stimulus" else ())
    whole = {k: v for k, v in array.attrs.items() if k not in SETTINGS and k not in array.coords}
    kept = ("n_features", "n_repetitions") if repetitions == "error" else ("n_features",)
    array = free_our_names(array.assign_coords(whole), keep=kept)
    array = by_stimulus(array, "observation", ids, repetitions, "dataset")
    array.attrs = settings
    return array


def to_rsatoolbox_dataset(reps: xr.DataArray) -> Any:
    """Make rsatoolbox Datasets of a representation set.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), with ``time`` for a TemporalDataset; ``model`` may be absent.
        A lazy one is computed.

    Returns
    -------
    rsatoolbox.data.Dataset, TemporalDataset, or list of them
        One for the only model, or for a set without ``model``; else a list, one a model. Only
        real features are in it.

    Raises
    ------
    SchemaError
        Other dims than these, or no labels.

    Notes
    -----
    Labels and coordinates go out as descriptors, those of the model and the attrs ``modality`` and
    ``space`` as descriptors of the whole. Missing stimuli stay rows of NaN, so that all Datasets
    have the same rows. ``dataset.save(path)`` writes HDF5, which `read_rsatoolbox_dataset` reads.

    Examples
    --------
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dog"])
    >>> [dataset.n_channel for dataset in to_rsatoolbox_dataset(reps)]
    [3, 5]
    >>> from_rsatoolbox_dataset(to_rsatoolbox_dataset(reps)).identical(reps)
    True
    """
    data = needs("rsatoolbox.data.dataset", "to_rsatoolbox_dataset", "rsatoolbox")
    if "model" in getattr(reps, "dims", ()):
        reps = check_representations(reps)
    else:
        reps = check_dims(as_features(reps), "stimulus", "feature")
        check_labels(reps, "stimulus")
    temporal = "time" in reps.dims
    dims = ("stimulus", "feature", *(["time"] if temporal else []))
    check_no_other(reps, {"model", *dims}, "reps", "or .rename the one that is time to 'time'")
    reps = reps.compute()
    for name, coord in reps.coords.items():
        if coord.dtype.kind == "O":
            text_labels(coord.values, f"the coordinate {name!r}")
    n_models = reps.sizes.get("model")
    out = []
    for one in [reps] if n_models is None else [reps.isel(model=i) for i in range(n_models)]:
        real = one.isel(feature=slice(int(widths(one)))).transpose(*dims)
        whole = {n: c.values for n, c in real.coords.items() if not c.dims}
        whole.update({key: reps.attrs[key] for key in SETTINGS if key in reps.attrs})
        tables = [descriptors_of(real, dim) for dim in ("stimulus", "feature", "time")]
        parts = (
            real.values,
            {key: _plain(value, repr(key)) for key, value in whole.items()},
            *tables[:2],
        )
        if temporal:
            tables[2].setdefault("time", np.arange(real.sizes["time"]))
            out.append(data.TemporalDataset(*parts, tables[2]))
        else:
            out.append(data.Dataset(*parts))
    return out[0] if len(out) == 1 else out


def _plain(value: Any, what: str) -> Any:
    """One value as a number, a boolean or text."""
    found = decoded([value[()] if isinstance(value, np.ndarray) else value], what)
    if found.dtype.kind in "biuf":
        return found[0].item()
    return as_text(found[0], f"the coordinate {what}")


@keywords_of(from_rsatoolbox_dataset)
def read_rsatoolbox_dataset(path: FilePath, **options: Any) -> xr.DataArray:
    """Read a Dataset that rsatoolbox saved as HDF5.

    Parameters
    ----------
    path : path
        What ``dataset.save(path)`` wrote. A pickle, its other kind of file, is refused.
    **options
        As in `from_rsatoolbox_dataset`; the last default of ``model`` is the name of the file.

    Returns
    -------
    DataArray
        As `from_rsatoolbox_dataset` makes it. rsatoolbox need not be installed.

    Raises
    ------
    SchemaError
        A pickle, a damaged file, one of another kind, or what `from_rsatoolbox_dataset`
        refuses.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import stack_models
    >>> path = tempfile.mkdtemp() + "/vit.hdf5"
    >>> reps = stack_models({"vit": np.ones((2, 3))}, stimuli=["cat", "dög"])
    >>> to_rsatoolbox_dataset(reps).save(path)
    >>> read_rsatoolbox_dataset(path).stimulus.values.tolist()
    ['cat', 'dög']
    """
    with reading(path, "a Dataset of rsatoolbox") as file:
        dataset = load(file, TABLES)
        kind = getattr(dataset, "type", None)
        if kind not in ("Dataset", "DatasetBase", "TemporalDataset"):
            raise SchemaError(f"{file} holds no Dataset of rsatoolbox: its type is {kind!r}")
        if options.get("model") is None and "model" not in dataset.descriptors:
            options["model"] = file.stem
        return from_rsatoolbox_dataset(dataset, **options)
