"""The door for dims of other names: any labelled array, and netCDF files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._flat import flat, free_our_names, listed, one_variable, rename_dim
from xconverge.io.formats._needs import needs
from xconverge.io.formats._netcdf import load_netcdf
from xconverge.io.formats._padding import Gaps, trimmed
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._sets import checked
from xconverge.io.formats._writing import writing
from xconverge.io.paths import FilePath, local_path
from xconverge.io.zarr.encoding import NAME, encoded, encoded_set
from xconverge.labels.checks import check_representations, check_text
from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.text import label_text, one_label

JSON = "xconverge_json"
NEAR = {
    "subject": ("sub", "subs", "subj", "subjs", "subjects", "participant", "participants"),
    "region": ("roi", "rois", "regions", "area", "areas"),
    "repetition": ("rep", "reps", "repetitions", "repeats", "trial", "trials"),
    "layer": ("layers",),
    "network": ("networks", "net", "nets"),
}
"""Names that others give to dims which are treated in a way of their own, by our name."""


def from_xarray(
    array: xr.DataArray | xr.Dataset,
    *,
    model: str | None = None,
    stimulus: str = "stimulus",
    feature: str | Sequence[str] = "feature",
    variable: str | None = None,
    gaps: Gaps | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of any labelled array, by naming its dims.

    Parameters
    ----------
    array : DataArray or Dataset
        With a dim of stimuli, one or more dims of features, perhaps one of models, and any
        others, which stay. May be lazy.
    model : str, optional
        The dim whose labels are compared; where the array has no dim of that name, the name of
        its only model. Default: the dim ``model``, else the scalar coordinate ``model``, else the
        array's name. With another dim (``model="subject"``), a dim ``model`` that is there too
        stays, as the extra dim ``network``.
    stimulus : str
        The dim of stimuli, or a coordinate on it that labels them.
    feature : str or sequence of str
        The dim of features, or several to be flattened, the last one fastest.
    variable : str, optional
        Variable of a Dataset that holds the data; default ``representation``, or the only one
        with several dims.
    gaps : {"error", "drop"}, optional
        What to do with features that are NaN in some rows of a place and not in others (see
        Notes): refuse them by name, or leave them out with a warning that says how many. Default:
        ``"error"``, and a lazy array is not read; given, it is read once.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, …), the dims in the order of ``array``; lazy
        if it is.

    Warns
    -----
    RuntimeWarning
        Features that ``gaps="drop"`` leaves out, by the number at each place.
    UserWarning
        A dim ``subj``, ``roi`` or ``rep``, say, that may be what is called ``subject``, ``region``
        or ``repetition`` here: under its own name it is only mapped over.

    Raises
    ------
    SchemaError
        Dims that are not there; labels missing, or several times the same; features with gaps;
        what `validate` refuses (said when the values are read, where they are lazy).

    Notes
    -----
    Labels of models and stimuli become text as everywhere; floats, bytes and mixtures are refused.
    Labels of features stay, as coordinates. A MultiIndex becomes flat coordinates, of which
    ``stimulus=`` can name one. A coordinate with a name of ours that means something else is
    called ``source_model`` and so on. Attributes that are not plain data are left out.

    *Places*: each model has features of its own, and so has each combination of labels on the
    extra dims ``subject``, ``region``, ``layer`` and ``network``; along all other dims
    (``repetition``, ``session``, ``time`` …) the same features are measured again. A feature that
    is NaN in all rows of a place was not measured there: it is padding, moved to the end and not
    counted in ``n_features`` (over model and these dims). The coordinates of features go along. A
    row that is NaN in all features is missing.

    Examples
    --------
    >>> activations = xr.DataArray(
    ...     np.arange(12.0).reshape(2, 3, 2), dims=("image", "channel", "x"), name="conv1",
    ...     coords={"image": [7, 8], "channel": ["r", "g", "b"]})
    >>> reps = from_xarray(activations, stimulus="image", feature=["channel", "x"])
    >>> dict(reps.sizes), reps.sel(model="conv1", stimulus="8").values.tolist()
    ({'model': 1, 'stimulus': 2, 'feature': 6}, [6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    >>> reps.channel.values.tolist()
    ['r', 'r', 'g', 'g', 'b', 'b']

    To compare subjects, with the networks as an extra dim:

    >>> scores = xr.DataArray(
    ...     np.ones((1, 2, 3, 4)), dims=("model", "subject", "stimulus", "feature"),
    ...     coords={"model": ["vit"], "subject": ["s1", "s2"], "stimulus": ["cat", "dog", "emu"]})
    >>> dict(from_xarray(scores, model="subject").sizes)
    {'network': 1, 'model': 2, 'stimulus': 3, 'feature': 4}

    A recording of two regions, whose voxels lie side by side in one array:

    >>> betas = np.full((2, 3, 5), np.nan)  # (region, image, voxel)
    >>> betas[0, :, :2], betas[1, :, 2:] = 1, 2
    >>> brain = from_xarray(
    ...     xr.DataArray(betas, dims=("region", "image", "voxel"),
    ...                  coords={"region": ["V1", "IT"], "image": ["cat", "dog", "emu"]}),
    ...     model="brain", stimulus="image", feature="voxel")
    >>> dict(brain.sizes), brain.n_features.values.tolist()
    ({'model': 1, 'region': 2, 'stimulus': 3, 'feature': 3}, [[2, 3]])
    """
    chosen = one_variable(array, variable, (NAME,), "array")
    features = listed(feature)
    # not a table that carries whatever was measured: what rides along here was put there
    plain = flat(chosen, list(map(str, chosen.coords)))
    dim = stimulus
    if dim not in plain.dims and dim in plain.coords and plain.coords[dim].ndim == 1:
        dim = str(plain.coords[dim].dims[0])
    lacking = [name for name in (dim, *features) if name not in plain.dims]
    if lacking or not features or len({dim, *features}) < 1 + len(features):
        raise SchemaError(
            f"array has the dims {list(map(str, plain.dims))}, and {listing(lacking) or 'none'} "
            f"of stimulus={stimulus!r}, feature={feature!r} is not among them; name one dim, or "
            "a coordinate, of stimuli and others of features"
        )
    models = model or "model"
    if model is None and "model" not in plain.dims:
        there = "model" in plain.coords and not plain.coords["model"].dims
        name = plain.coords["model"].item() if there else plain.name
        plain = plain.drop_vars("model", errors="ignore")
        model = None if name is None else one_label(name, "array: the name of its model")
        if model is None:
            raise SchemaError(
                "array has no dim 'model', and does not say what its model is called: name the "
                "dim, or the model, with model='…'"
            )
    if models in (dim, *features):
        raise SchemaError(f"model={models!r} is a dim of stimuli or features")
    if models not in plain.dims:
        models, plain = "model", _of_one_model(plain, str(model))
    elif models != "model" and "model" in plain.dims and "model" not in (dim, *features):
        plain = _as_networks(plain, models)
    if stimulus not in plain.coords:
        raise SchemaError(
            f"array has no labels on {dim!r}; give them with .assign_coords({dim}=[…]), or name "
            "the coordinate that labels the stimuli"
        )
    # before coordinates make way for ours: they may be called ``model`` or ``stimulus`` themselves
    stimuli = label_text(_given(chosen, plain, stimulus), "array", f" on {stimulus!r}")
    names = label_text(_given(chosen, plain, models), "array", f" on {models!r}")
    plain = free_our_names(plain, keep=("n_features", "n_repetitions"))
    plain = _without_index(_without_index(plain, models, drop=True), dim, drop=dim == stimulus)
    plain = _one_feature_dim(plain, features)
    _tell_near_names(plain, (models, dim, "feature"))
    for old, new in ((models, "model"), (dim, "stimulus")):
        plain = rename_dim(plain, old, new) if old != new else plain
    plain = plain.assign_coords(model=names, stimulus=stimuli).rename(NAME)
    check_representations(plain, "array")
    check_text(plain, "model", "array")
    check_text(plain, "stimulus", "array")
    return checked(trimmed(plain, gaps, "array"), "array", modality)


def _tell_near_names(array: xr.DataArray, known: Sequence[str]) -> None:
    """Warn of dims that would be treated in another way under the name that we know."""
    ours = {theirs: name for name, near in NEAR.items() for theirs in near}
    names = [str(dim) for dim in array.dims if dim not in known]
    found = {dim: ours[dim.lower()] for dim in names if ours.get(dim.lower(), dim) not in names}
    if found:
        renamed = ", ".join(f"{old}={new!r}" for old, new in found.items())
        warnings.warn(
            f"array: {listing(found)} stays an extra dim with no meaning to xconverge. If it is "
            f"what is called {listing(found.values())} here, .rename({renamed}) first",
            UserWarning,
            stacklevel=3,
        )


def _of_one_model(array: xr.DataArray, name: str) -> xr.DataArray:
    if "model" in array.coords or "model" in array.dims:
        raise SchemaError(
            f"array has something else named 'model', and no dim {name!r}; name its dim of models, "
            "or .rename what is called 'model'"
        )
    return array.expand_dims(model=np.asarray([name], dtype=object))


def _as_networks(array: xr.DataArray, models: str) -> xr.DataArray:
    """The old dim ``model`` as the extra dim ``network``, beside the dim that becomes ``model``."""
    if "network" in array.dims:
        raise SchemaError(
            f"array has the dims 'model' and 'network' beside {models!r}; .rename one of them: "
            "what was 'model' becomes 'network'"
        )
    if "network" in array.coords:
        array = array.rename(network="source_network")
    array = array.rename(model="network")
    if "n_features" in array.coords and array.coords["n_features"].dims:
        # widths are said of every model: those of a network hold for all labels that are new
        real = array.coords["n_features"]
        if models not in real.dims:
            whole = real.expand_dims({models: array.sizes[models]}).variable
            array = array.assign_coords(n_features=whole)
    return array


def _given(array: xr.DataArray, plain: xr.DataArray, name: str) -> Any:
    """Labels as they came, before bytes and numbers beside text were made text."""
    if name not in plain.coords:
        raise SchemaError(
            f"array has no labels on {name!r}; give them with .assign_coords({name}=[…])"
        )
    same = name in array.coords and array.coords[name].ndim == 1
    return read(array.coords[name]) if same else plain.coords[name].values


def _without_index(array: xr.DataArray, dim: str, drop: bool) -> xr.DataArray:
    """Labels of a dim out of the way of the new ones; kept as a coordinate unless ``drop``."""
    if drop or dim not in array.coords:
        return array.drop_vars(dim, errors="ignore")
    labels = array.coords[dim].values
    kept = f"source_{dim}" if dim in ("model", "stimulus") else f"{dim}_label"
    return array.drop_vars(dim).assign_coords({kept: (dim, labels)})


def _one_feature_dim(array: xr.DataArray, features: Sequence[str]) -> xr.DataArray:
    """Several dims flattened to ``feature``, their labels kept as coordinates."""
    if len(features) == 1:
        return rename_dim(array, features[0], "feature")
    new = array.stack(_feature=list(features), create_index=False)
    place = min(array.dims.index(dim) for dim in features)
    dims = [dim for dim in array.dims if dim not in features]
    dims.insert(place, "_feature")
    new = new.transpose(*dims)
    if "feature" in new.coords:
        new = new.rename(feature="feature_label")
    return new.rename(_feature="feature")


@keywords_of(from_xarray)
def read_netcdf(path: FilePath, **options: Any) -> xr.DataArray:
    """Read a netCDF file as a representation set, by naming its dims.

    Parameters
    ----------
    path : path
        netCDF4, as `write_netcdf` or any other program writes it, or classic netCDF 3.
    **options
        As in `from_xarray`; an array with no dim of models and no name of its own is the model
        of the file's name.

    Returns
    -------
    DataArray
        ``representation``, in memory. What `write_netcdf` wrote comes back identical. For a file
        larger than memory, open it with ``xarray.open_dataset(path, chunks={})`` and give it to
        `from_xarray`.

    Raises
    ------
    SchemaError
        A damaged file, one of another kind, or what `from_xarray` refuses.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/layer.nc"
    >>> xr.DataArray([[1.0, 2.0]], dims=("image", "unit"), coords={"image": ["cat"]},
    ...              name="layer4").to_netcdf(path, engine="scipy")
    >>> read_netcdf(path, stimulus="image", feature="unit").sel(model="layer4").values.tolist()
    [[1.0, 2.0]]
    """
    with reading(path, "netCDF") as file:
        data = _with_json_attrs(load_netcdf(file))
        array = one_variable(data, options.pop("variable", None), (NAME,), str(file))
        unnamed = array.name is None or str(array.name).startswith("__xarray")
        has_models = "model" in array.dims or "model" in array.coords
        if options.get("model") is None and unnamed and not has_models:
            options["model"] = file.stem
        # what netCDF holds as bytes is text in UTF-8
        return from_xarray(flat(array), **options)


def write_netcdf(
    path: FilePath,
    data: xr.DataArray | xr.Dataset,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a representation set, or a Dataset of results, as a netCDF4 file.

    Parameters
    ----------
    path : path
        The file; it appears when it is whole.
    data : DataArray or Dataset
        A representation set, for `read_netcdf`; or any array or Dataset, for
        ``xarray.open_dataset``. Lazy ones are computed, block by block.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        The file is there.
    SchemaError
        Missing text, complex numbers, or names and attributes that netCDF cannot hold.

    Notes
    -----
    Half precision, which netCDF lacks, is written as float32. Booleans, None, lists and dicts, for
    which its attributes have no place, are JSON in the attribute ``xconverge_json``, and
    `read_netcdf` puts them back.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dög"])
    >>> path = write_netcdf(tempfile.mkdtemp() + "/reps.nc", reps)
    >>> read_netcdf(path).identical(reps)
    True
    """
    needs("h5netcdf", "netCDF4")
    with writing(path, overwrite=overwrite) as part:
        _for_netcdf(data).to_netcdf(part, engine="h5netcdf", format="NETCDF4")
    return local_path(path)


def _for_netcdf(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Text as objects, no encoding but fill values that fill nothing, attrs that netCDF has."""
    if isinstance(data, xr.DataArray):
        if {"model", "stimulus", "feature"} <= set(data.dims):
            dataset = encoded_set(data).to_dataset(name=NAME)
        else:
            dataset = encoded(data.to_dataset(name=data.name or "data"))
    elif isinstance(data, xr.Dataset):
        dataset = encoded(data)
    else:
        raise TypeError(f"data must be an xarray.DataArray or Dataset, got {type(data).__name__}")
    new = {}
    for name, variable in dataset.variables.items():
        kind = variable.dtype.kind
        if kind == "c":
            raise SchemaError(f"{name!r} is complex, which netCDF cannot hold; write .real, .imag")
        values = variable.data
        if kind in "TUO":
            values = np.asarray(variable.values).astype(object)
            if any("\0" in text for text in values.ravel()):
                raise SchemaError(f"{name!r} has text with the character NUL, which ends a text")
        elif variable.dtype == np.float16:
            values = values.astype(np.float32)
        where = f"{name}.attrs"
        new[name] = xr.Variable(variable.dims, values, _netcdf_attrs(variable.attrs, where))
        if kind == "f":
            # else xarray writes _FillValue=NaN, an attribute that the set does not have
            new[name].encoding = {"_FillValue": None}
    return xr.Dataset(
        {name: variable for name, variable in new.items() if name in dataset.data_vars},
        {name: variable for name, variable in new.items() if name in dataset.coords},
        _netcdf_attrs(dataset.attrs, "attrs"),
    )


def _netcdf_attrs(attrs: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Text and numbers as they are, all else as JSON in one attribute."""
    plain: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for key, value in attrs.items():
        if not isinstance(key, str) or "\0" in f"{key}{value}":
            raise SchemaError(f"{where} has {key!r}, which netCDF cannot hold: NUL, or no text")
        small = type(value) is int and abs(value) < 2**63
        (plain if small or type(value) in (str, float) else other)[key] = value
    return {**plain, JSON: json.dumps(other)} if other else plain


def _with_json_attrs(data: xr.Dataset) -> xr.Dataset:
    """The attrs as they were before `write_netcdf`."""
    items: list[Any] = [data, *data.variables.values()]
    for item in items:
        attrs = {k: v.item() if isinstance(v, np.generic) else v for k, v in item.attrs.items()}
        item.attrs = {**attrs, **json.loads(attrs.pop(JSON, "{}"))}
        item.attrs.pop(JSON, None)
    return data
