"""Datasets and RDMs of rsatoolbox, both ways; its HDF5 files, with no pickle on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._flat import free_our_names
from xconverge.io.formats._hdf5 import is_hdf5, open_hdf5
from xconverge.io.formats._labels import decoded, text_labels
from xconverge.io.formats._needs import needs
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._reading import reading
from xconverge.io.formats._stacked import stacked
from xconverge.kernels.rdm import triangle
from xconverge.labels.checks import (
    as_features,
    check_dims,
    check_labels,
    check_representations,
    widths,
)
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.variables import describe

SETTINGS = ("modality", "space")
"""Attrs of a set that travel as descriptors."""
VLEN_TEXT = np.dtype("O", metadata={"vlen": str})
"""How h5py is told that objects are text in UTF-8."""


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
    several = isinstance(dataset, Sequence)
    models: dict[str, xr.DataArray] = {}
    for one in dataset if several else [dataset]:
        array = _dataset_array(one)
        key = model if several and model is not None else "model"
        name = array.attrs.pop(key, None) if several or model is None else model
        if name is None:
            raise SchemaError(
                f"dataset has no descriptor {key!r} that names its model; name it with "
                f"model='…'; there is {listing(one.descriptors) or 'none'}"
            )
        if str(name) in models:
            raise SchemaError(f"two datasets have the name {name!r}; models need different names")
        models[str(name)] = _one_model(array, stimulus, repetitions)
    if not models:
        raise SchemaError("dataset is an empty list; give at least one rsatoolbox Dataset")
    modality = modality or next(
        (a.attrs["modality"] for a in models.values() if "modality" in a.attrs), None
    )
    return stacked(models, modality, what="dataset", join="outer")


def _dataset_array(dataset: Any) -> xr.DataArray:
    """(observation, feature[, time]); descriptors as coordinates, those of the whole as attrs."""
    measured = getattr(dataset, "measurements", None)
    if measured is None or not hasattr(dataset, "obs_descriptors"):
        raise TypeError(f"dataset must be an rsatoolbox Dataset, got {type(dataset).__name__}")
    measured = np.asarray(measured)
    if measured.ndim not in (2, 3) or measured.dtype.kind not in "biuf":
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
        array = array.assign_coords(_coordinates(table, dim, array.sizes[dim]))
    array.attrs = {key: _scalar(value) for key, value in dict(dataset.descriptors).items()}
    array.attrs = {key: value for key, value in array.attrs.items() if value is not None}
    return array


def _coordinates(table: Mapping[str, Any] | None, dim: str, size: int) -> dict[str, Any]:
    """The descriptors that have one value for each label of a dim."""
    found = {}
    for key, value in (table or {}).items():
        values = decoded(_objects(value), repr(key))
        if values.shape == (size,):
            found[str(key)] = (dim, values)
    return found


def _objects(value: Any) -> Any:
    """An array of the values, of numbers or of objects; ragged ones have one dim."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str | bytes):
        value = [value]
    values = np.empty(len(value), object) if hasattr(value, "__len__") else np.asarray(value)
    if values.ndim:
        values[:] = list(value)
    return values


def _scalar(value: Any) -> Any:
    """A descriptor of the whole as text, number or boolean; None if it is none of these."""
    value = np.asarray(value, dtype=object).item() if np.ndim(value) == 0 else None
    value = value.item() if isinstance(value, np.generic) else value
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str | bool | int | float) else None


def _one_model(array: xr.DataArray, stimulus: str, repetitions: Repetitions) -> xr.DataArray:
    """(stimulus, feature[, time]); attrs that are no settings are scalar coordinates."""
    settings = {key: array.attrs[key] for key in SETTINGS if key in array.attrs}
    if stimulus not in array.coords or array.coords[stimulus].dims != ("observation",):
        there = [n for n, c in array.coords.items() if c.dims == ("observation",)]
        raise SchemaError(
            f"dataset has no observation descriptor {stimulus!r}; name the one that says which "
            f"stimulus was shown with stimulus='…': there is {listing(there, 30) or 'none'}"
        )
    ids = text_labels(array.coords[stimulus].values, repr(stimulus))
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
    ImportError
        rsatoolbox is not installed.
    SchemaError
        Other dims than these, or no labels.

    Notes
    -----
    Labels go out as the observation descriptor ``stimulus``, and coordinates of stimuli, features
    and time as descriptors; name and coordinates of the model, and the attrs ``modality`` and
    ``space``, as descriptors of the whole. Missing stimuli stay rows of NaN, so that all Datasets
    have the same rows. ``dataset.save(path)`` writes HDF5, which `read_rsatoolbox_dataset` reads.
    Text that is not ASCII is an array of objects, which ``save`` can write where it refuses
    numpy's text; rsatoolbox itself reads it back as bytes.

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
    _check_no_other(reps, {"model", *dims}, "reps", "or .rename the one that is time to 'time'")
    reps = reps.compute()
    n_models = reps.sizes.get("model")
    out = []
    for one in [reps] if n_models is None else [reps.isel(model=i) for i in range(n_models)]:
        real = one.isel(feature=slice(int(widths(one)))).transpose(*dims)
        whole = {n: c.values for n, c in real.coords.items() if not c.dims}
        whole.update({key: reps.attrs[key] for key in SETTINGS if key in reps.attrs})
        tables = [
            _descriptors({n: c for n, c in real.coords.items() if c.dims == (dim,)})
            for dim in ("stimulus", "feature", "time")
        ]
        parts = (real.values, {key: _plain(value) for key, value in whole.items()}, *tables[:2])
        if temporal:
            tables[2].setdefault("time", np.arange(real.sizes["time"]))
            out.append(data.TemporalDataset(*parts, tables[2]))
        else:
            out.append(data.Dataset(*parts))
    return out[0] if len(out) == 1 else out


def _check_no_other(array: xr.DataArray, known: set[str], what: str, cure: str) -> None:
    other = [dim for dim in array.dims if dim not in known]
    if other:
        raise SchemaError(
            f"{what} has the dims {listing(other)} too, which rsatoolbox has no place for; select "
            f"from them, or average them ({cure})"
        )


def _descriptors(coords: Mapping[Any, Any]) -> dict[str, Any]:
    """Coordinates as rsatoolbox has them: numbers, ASCII text, or text as objects."""
    slashed = [name for name in coords if "/" in str(name)]
    if slashed:
        raise SchemaError(f"names of descriptors cannot hold '/': {listing(slashed)}; .rename them")
    names = {"feature": "feature_label"}
    return {names.get(str(n), str(n)): _descriptor(c.values) for n, c in coords.items()}


def _descriptor(values: Any) -> Any:
    if values.dtype.kind in "biuf":
        return values
    texts = text_labels(values, "a coordinate")
    if all(text.isascii() and text for text in texts):
        return texts.astype(str)
    return np.array(texts.tolist(), dtype=VLEN_TEXT)


def _plain(value: Any) -> Any:
    value = np.asarray(value).item() if np.ndim(value) == 0 else value
    return value if isinstance(value, str | bool | int | float) else str(value)


def read_rsatoolbox_dataset(
    path: str | os.PathLike[str],
    *,
    stimulus: str = "stimulus",
    repetitions: Repetitions = "error",
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read a Dataset that rsatoolbox saved as HDF5.

    Parameters
    ----------
    path : path
        What ``dataset.save(path)`` wrote. A pickle, its other kind of file, is refused.
    stimulus, repetitions, modality
        As in `from_rsatoolbox_dataset`.
    model : str, optional
        Name of the model; default the descriptor ``model``, then the name of the file.

    Returns
    -------
    DataArray
        As `from_rsatoolbox_dataset` makes it. rsatoolbox need not be installed.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        h5py is not installed.
    SchemaError
        A pickle, a damaged file or another kind of file, or what `from_rsatoolbox_dataset`
        refuses.

    Notes
    -----
    Nothing in the file is run. It is first read by a process of its own, which a damaged file may
    crash or hang in place of yours. Links to other files are refused.

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
        data = _load(file)
        kind = data.get("type")
        if kind not in ("Dataset", "DatasetBase", "TemporalDataset"):
            raise SchemaError(f"{file} holds no Dataset of rsatoolbox: its type is {kind!r}")
        dataset = SimpleNamespace(
            measurements=data["measurements"],
            **{f"{key}descriptors": _table(data, f"{key}descriptors") for key in _TABLES},
        )
        if model is None and "model" not in dataset.descriptors:
            model = file.stem
        return from_rsatoolbox_dataset(
            dataset,
            stimulus=stimulus,
            repetitions=repetitions,
            model=model,
            modality=modality,
        )


_TABLES = ("", "obs_", "channel_", "time_")


def from_rsatoolbox_rdms(
    rdms: Any, *, stimulus: str = "stimulus", model: str = "model"
) -> xr.DataArray:
    """Make an RDM array of an rsatoolbox RDMs object.

    Parameters
    ----------
    rdms : rsatoolbox.rdm.RDMs
        One or more RDMs of the same patterns.
    stimulus : str
        Pattern descriptor that names the stimuli.
    model : str
        RDM descriptor that names the models; ``"index"``, which rsatoolbox always has, names them
        0, 1, …

    Returns
    -------
    DataArray
        ``rdm`` (model, stimulus, stimulus_2), as `rdm` returns it: symmetric, 0 on the diagonal,
        NaN there too for a stimulus whose every distance is NaN. Descriptors of patterns are
        coordinates on ``stimulus`` and ``stimulus_2``, those of RDMs on ``model``;
        ``attrs["metric"]`` is the dissimilarity measure.

    Raises
    ------
    SchemaError
        No such descriptor; stimuli or models twice.

    Notes
    -----
    The descriptor ``index``, a position, is left out. Its measures have their own names:
    ``squared euclidean`` there is divided by the number of channels.

    Examples
    --------
    >>> from rsatoolbox.rdm import RDMs
    >>> rdms = RDMs(np.array([[1.0, 2.0, 3.0]]), "correlation", {}, {"model": ["vit"]},
    ...             {"stimulus": ["cat", "dog", "cow"]})
    >>> from_rsatoolbox_rdms(rdms).sel(model="vit", stimulus="cat").values.tolist()
    [0.0, 1.0, 2.0]
    """
    vectors = np.atleast_2d(np.asarray(getattr(rdms, "dissimilarities", None)))
    if vectors.dtype.kind not in "biuf" or not hasattr(rdms, "pattern_descriptors"):
        raise TypeError(f"rdms must be rsatoolbox RDMs, got {type(rdms).__name__}")
    n_rdm, n_pairs = vectors.shape
    n = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    if vectors.ndim != 2 or n * (n - 1) // 2 != n_pairs:
        raise SchemaError(f"rdms has {n_pairs} distances, which is no whole number of patterns")
    dtype = vectors.dtype if vectors.dtype.kind == "f" else np.dtype(np.float64)
    matrices = np.zeros((n_rdm, n, n), dtype)
    upper = np.triu_indices(n, 1)
    matrices[:, *upper] = vectors
    matrices[:, *upper[::-1]] = vectors
    diagonal = np.arange(n)
    missing = np.isnan(matrices).sum(-1) == max(n - 1, 1)
    matrices[:, diagonal, diagonal] = np.where(missing, np.nan, 0.0)
    labels = {}
    tables = {"stimulus": (rdms.pattern_descriptors, n), "model": (rdms.rdm_descriptors, n_rdm)}
    array = xr.DataArray(matrices, dims=("model", "stimulus", "stimulus_2"))
    for (dim, (table, size)), name in zip(tables.items(), (stimulus, model), strict=True):
        coords = _coordinates(table, dim, size)
        if name not in coords:
            raise SchemaError(
                f"rdms has no {'pattern' if dim == 'stimulus' else 'RDM'} descriptor {name!r}; "
                f"name the one that names each {dim} with {dim}='…': there is "
                f"{listing(coords, 30) or 'none'}"
            )
        labels[dim] = text_labels(coords[name][1], repr(name))
        coords.pop(dim, None)
        coords.pop("index", None)
        array = array.assign_coords(coords)
    array = free_our_names(array, keep=("n_features", "n_repetitions")).assign_coords(labels)
    array = array.assign_coords(on_side(array["stimulus"], "stimulus", "_2").coords)
    check_labels(array, "model", "stimulus", what="rdms")
    measure = rdms.dissimilarity_measure
    modality = _scalar(rdms.descriptors.get("modality"))
    return describe(
        array, "rdm", metric=None if measure is None else str(measure), modality=modality
    )


def to_rsatoolbox_rdms(rdm: xr.DataArray) -> Any:
    """Make an rsatoolbox RDMs object of RDMs.

    Parameters
    ----------
    rdm : DataArray
        (model, stimulus, stimulus_2), as `rdm` returns it; ``model`` may be absent. A lazy one is
        computed.

    Returns
    -------
    rsatoolbox.rdm.RDMs
        With the pattern descriptor ``stimulus``, the RDM descriptor ``model``, and one for each
        coordinate on them; ``attrs["metric"]`` is the dissimilarity measure.

    Raises
    ------
    ImportError
        rsatoolbox is not installed.
    SchemaError
        Other dims than these, no labels, or an RDM that is not symmetric.

    Notes
    -----
    Above the diagonal nothing changes; below, the last digit may, as only one half is kept.
    ``rdms.save(path)`` writes HDF5, which `read_rsatoolbox_rdms` reads. Text that is not ASCII is
    an array of objects, which ``save`` can write where it refuses numpy's text; rsatoolbox itself
    reads it back as bytes.

    Examples
    --------
    >>> from xconverge import rdm, stack_models
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> rdms = to_rsatoolbox_rdms(rdm(reps, "sqeuclidean"))
    >>> rdms.pattern_descriptors["stimulus"].tolist(), rdms.dissimilarities.tolist()
    (['cat', 'dog', 'cow'], [[2.0, 2.0, 2.0]])
    >>> from_rsatoolbox_rdms(rdms).identical(rdm(reps, "sqeuclidean"))
    True
    """
    rsatoolbox = needs("rsatoolbox.rdm", "to_rsatoolbox_rdms", "rsatoolbox")
    dims = ("model", "stimulus", "stimulus_2")
    array = check_dims(rdm, "stimulus", "stimulus_2", what="rdm")
    check_labels(array, "stimulus", "stimulus_2", what="rdm")
    _check_no_other(array, set(dims), "rdm", "or make them models")
    if "model" not in array.dims:
        name = array.coords["model"].item() if "model" in array.coords else "rdm"
        array = array.drop_vars("model", errors="ignore").expand_dims(model=[name])
    check_labels(array, "model", what="rdm")
    # by label: rows and columns of a selection may be in different orders
    columns = array.indexes["stimulus"].rename("stimulus_2")
    array = array.transpose(*dims).sel(stimulus_2=columns)
    try:
        vectors = np.stack([triangle(matrix, ranked=False) for matrix in array.values])
    except ValueError as error:
        raise SchemaError(f"rdm: {error}") from error
    tables = [
        _descriptors({n: c for n, c in array.coords.items() if c.dims == (dim,)})
        for dim in ("model", "stimulus")
    ]
    whole = {key: array.attrs[key] for key in ("modality",) if key in array.attrs}
    vectors = vectors.astype(array.dtype if array.dtype.kind == "f" else np.float64)
    return rsatoolbox.RDMs(vectors, array.attrs.get("metric"), whole, *tables)


def read_rsatoolbox_rdms(
    path: str | os.PathLike[str], *, stimulus: str = "stimulus", model: str = "model"
) -> xr.DataArray:
    """Read RDMs that rsatoolbox saved as HDF5.

    Parameters
    ----------
    path : path
        What ``rdms.save(path)`` wrote. A pickle, its other kind of file, is refused.
    stimulus, model : str
        Descriptors that name the stimuli and the models, as in `from_rsatoolbox_rdms`.

    Returns
    -------
    DataArray
        As `from_rsatoolbox_rdms` makes it. rsatoolbox need not be installed.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        h5py is not installed.
    SchemaError
        A pickle, a damaged file or another kind of file, or what `from_rsatoolbox_rdms` refuses.

    Notes
    -----
    Nothing in the file is run. It is first read by a process of its own, which a damaged file may
    crash or hang in place of yours. Links to other files are refused.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import rdm, stack_models
    >>> path = tempfile.mkdtemp() + "/rdms.hdf5"
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> to_rsatoolbox_rdms(rdm(reps, "sqeuclidean")).save(path)
    >>> read_rsatoolbox_rdms(path).identical(rdm(reps, "sqeuclidean"))
    True
    """
    with reading(path, "RDMs of rsatoolbox") as file:
        data = _load(file)
        if "dissimilarities" not in data:
            raise SchemaError(f"{file} holds no RDMs of rsatoolbox; it has {listing(data)}")
        rdms = SimpleNamespace(
            dissimilarities=data["dissimilarities"],
            dissimilarity_measure=_scalar(data.get("dissimilarity_measure")),
            **{f"{key}descriptors": _table(data, f"{key}descriptors") for key in _RDM_TABLES},
        )
        return from_rsatoolbox_rdms(rdms, stimulus=stimulus, model=model)


_RDM_TABLES = ("", "rdm_", "pattern_")


def _load(file: Path) -> dict[str, Any]:
    """What a file of rsatoolbox holds, groups as dicts."""
    if not is_hdf5(file):
        with file.open("rb") as handle:
            start = handle.read(2)
        if start[:1] == b"\x80" or file.suffix in (".pkl", ".pickle"):
            raise SchemaError(
                f"{file} is a pickle, which can run any program when it is read, and is not read "
                "here. If you trust it, load it with rsatoolbox and .save(…, file_type='hdf5')"
            )
    with open_hdf5(file) as handle:
        return _group(handle)


def _group(group: Any) -> dict[str, Any]:
    h5py = needs("h5py", "HDF5")
    found: dict[str, Any] = {}
    for key, item in group.items():
        if isinstance(item, h5py.Group):
            found[key] = _group(item)
        elif item.shape is not None:
            found[key] = item[()]
    for key in group.attrs:
        value = group.attrs[key]
        found[key] = None if isinstance(value, h5py.Empty) else value
    return found


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Descriptors; a list that rsatoolbox wrote as a group, item by item, is a list again."""
    table = data.get(name) or {}
    if not isinstance(table, Mapping):
        raise SchemaError(f"{name} must be a group of descriptors")
    return {
        key: [value[k] for k in sorted(value, key=int)] if isinstance(value, Mapping) else value
        for key, value in table.items()
    }
