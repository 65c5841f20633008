"""AnnData: observations are stimuli, and models are X or entries of obsm."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse
import xarray as xr

from xconverge.engine.resources import free_bytes
from xconverge.io.formats._flat import free_our_names, joined_text, listed
from xconverge.io.formats._hdf5 import hdf5_rows
from xconverge.io.formats._labels import carried, column_values, text_labels
from xconverge.io.formats._needs import BRIDGES, needs
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._places import Place
from xconverge.io.formats._presentations import Repetitions, by_stimulus
from xconverge.io.formats._rows import lazy_rows
from xconverge.io.formats._stacked import models_of, representations
from xconverge.io.formats._tables import check_names
from xconverge.io.zarr.encoding import encoded
from xconverge.labels.arrays import as_array, of_frame
from xconverge.labels.checks import check_representations, widths
from xconverge.labels.coordinates import read, read_coordinates
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import check_numbers

OBS, VAR = "_obs", "feature"
X = "X"
LABEL = "feature_label"
SHARED = "all models"
"""Table of what is known of features, whatever the model."""
ABOUT = "xconverge"
"""Entry of uns with what AnnData has no place for: see `to_anndata`."""
NAMES = "obs_names"


def from_anndata(
    adata: Any,
    *,
    obsm: str | Sequence[str] | None = None,
    layer: str | None = None,
    stimulus: str | None = None,
    repetitions: Repetitions = "error",
    model: str | None = None,
    by: str | Sequence[str] | None = None,
    gaps: Gaps | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of an AnnData object.

    Parameters
    ----------
    adata : anndata.AnnData
        Observations are stimuli, or trials of them. In memory, backed (``backed="r"``), or with
        dask arrays (``anndata.experimental.read_lazy``).
    obsm : str or sequence of str, optional
        Entries of ``adata.obsm``, each a model. Default: ``adata.X`` is the model, or if there is
        none all entries of ``obsm``.
    layer : str, optional
        Entry of ``adata.layers`` in place of ``adata.X``.
    stimulus : str, optional
        Column of ``adata.obs`` that says which stimulus an observation is of, or ``"obs_names"``.
        Default: ``adata.obs_names``, unless they are the numbers that AnnData makes by itself.
    repetitions : {"error", "mean", "keep"}
        What to do with several observations of one stimulus, as in `from_brainio`.
    model : str, optional
        Name of the only model; of what `to_anndata` made it is known, and so is the key of the
        only entry of ``obsm``.
    by : str or sequence of str, optional
        Column of ``adata.var`` that makes the models of X, one of each value: ``"region"``.
    gaps : {"error", "drop"}, optional
        What to do with features that are NaN for some stimuli, as in `from_xarray`.
    modality : str, optional
        Goes into ``attrs["modality"]``; default the one that `to_anndata` kept.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature[, repetition]). Columns of ``obs`` are
        coordinates on ``stimulus``, those of ``var`` on ``feature``, ``var_names`` as
        ``feature_label``. Lazy where the arrays of ``adata`` are on disk or of dask.

    Raises
    ------
    ImportError
        anndata is not installed.
    SchemaError
        No such entry or column; observations without names; names that are not unique, under
        ``"error"``; a sparse array too large to be made dense; what `from_xarray` refuses.

    Notes
    -----
    Sparse arrays become dense, as zeros are features too: all at once, or block by block where
    they are of dask. What is backed is read from its file when it is computed, so the file must
    not be open for writing; views of it are read at once, as AnnData does. ``obsp``, ``varm``,
    ``varp``, ``raw`` and other layers are left out. Virshup et al. (2024).

    Examples
    --------
    >>> import anndata
    >>> adata = anndata.AnnData(
    ...     np.eye(2), obs=pd.DataFrame({"category": ["animal", "animal"]}, index=["cat", "dog"]),
    ...     var=pd.DataFrame(index=["gene 1", "gene 2"]), obsm={"pca": np.ones((2, 1))})
    >>> reps = from_anndata(adata, model="brain")
    >>> reps.sel(model="brain", stimulus="dog").values.tolist(), reps.feature_label.values.tolist()
    ([0.0, 1.0], ['gene 1', 'gene 2'])
    >>> from_anndata(adata, obsm="pca").model.values.tolist()
    ['pca']
    """
    anndata = needs("anndata", "from_anndata", BRIDGES)
    if not isinstance(adata, anndata.AnnData):
        raise TypeError(f"adata must be an anndata.AnnData, got {came(adata)}")
    about = _About.of(adata)
    keys = _entries(adata, about, obsm, layer, by)
    if model is not None and len(keys) > 1:
        raise SchemaError(f"model={model!r} names one model, and obsm has {listing(keys)}")
    observed = _columns(_frame(adata.obs), OBS, "adata.obs", listed(stimulus))
    sets: dict[Place, xr.DataArray] = {}
    for key in keys or [X]:
        array = _array(adata, key if keys else None, layer, about, listed(by))
        array = free_our_names(array.assign_coords(observed), keep=("n_repetitions",))
        ids = _ids(array, adata, stimulus, about)
        array = by_stimulus(array, OBS, ids, repetitions, "adata")
        own = dict(about.models.get(key, {}))
        name = own.pop("model", key if keys else None)
        if model is not None or by is not None:
            name = model
        for place, made in models_of(array, VAR, name, by, "adata").items():
            if place in sets:
                raise SchemaError(f"two models of adata are called {place[0]!r}")
            if "n_features" in own:
                own["n_features"] = made.sizes["feature"]
            sets[place] = made.assign_coords(own)
    reps = representations(sets, "adata", gaps=gaps, modality=modality)
    reps = reps.assign_coords(_shared(reps, about))
    return reps.assign_attrs({**about.attrs, **reps.attrs})


@dataclass(frozen=True)
class _About:
    """What `to_anndata` wrote into uns: of models, of features of entries of obsm, attrs."""

    models: dict[str, dict[str, Any]]
    """By key: the name of the model and its coordinates."""
    features: Mapping[str, pd.DataFrame]
    shared: pd.DataFrame
    """Of features, whatever the model."""
    attrs: dict[str, Any]
    written: bool

    @classmethod
    def of(cls, adata: Any) -> _About:
        held = adata.uns.get(ABOUT)
        if not isinstance(held, Mapping) or "models" not in held:
            return cls({}, {}, pd.DataFrame(), {}, False)
        table = _frame(held["models"])
        columns = _columns(table.reset_index(names="model"), OBS, "adata.uns")
        rows = {name: coord[1] for name, coord in columns.items()}
        keys = rows.pop("key")
        models = {
            str(key): {name: values[i] for name, values in rows.items()}
            for i, key in enumerate(keys)
        }
        features = {str(key): _frame(held) for key, held in held.get("features", {}).items()}
        shared = features.pop(SHARED, pd.DataFrame())
        return cls(models, features, shared, json.loads(str(held["attrs"])), True)


def _shared(reps: xr.DataArray, about: _About) -> dict[str, Any]:
    """Coordinates that all models had in common, where none has lost a feature since."""
    width = reps.sizes["feature"]
    found = _columns(about.shared[:width], VAR, "adata.uns")
    real = np.arange(width) < _real(reps)[:, None]
    return {
        name: (VAR, values)
        for name, (_, values) in found.items()
        if name in reps.coords
        and len(values) == width
        and (reps[name].broadcast_like(reps["model"]).values == values)[real].all()
    }


def _entries(adata: Any, about: _About, obsm: Any, layer: str | None, by: Any) -> list[str]:
    """Which entries of obsm are models; none if X is."""
    if obsm is None and layer is None and _x(adata) is None:
        # files sort them by name
        obsm = sorted(adata.obsm, key=[*about.models, *adata.obsm].index)
        if not obsm:
            raise SchemaError("adata has no X and nothing in obsm, so no features")
    if obsm is None:
        return []
    keys = listed(obsm)
    lacking = [key for key in keys if key not in adata.obsm]
    if lacking or not keys:
        raise SchemaError(
            f"adata.obsm has no {listing(lacking) or 'entry of an empty list'}; it has "
            f"{listing(adata.obsm) or 'none'}"
        )
    if layer is not None or by is not None:
        raise ValueError(
            "layer= and by= are of adata.X, and obsm= takes other arrays; leave out one"
        )
    return keys


def _x(adata: Any) -> Any:
    """The array X, None where there is none; in a file it may be a name of nothing, or missing."""
    try:
        found = adata.X
    except KeyError:
        return None
    return None if getattr(found, "shape", ()) is None else found


def _array(
    adata: Any, key: str | None, layer: str | None, about: _About, needed: Sequence[str]
) -> xr.DataArray:
    """(observation, feature) of an entry of obsm, of a layer, or of X, with what is known of it."""
    if key is not None:
        what, values = f"adata.obsm[{key!r}]", adata.obsm[key]
        shared = about.shared[: values.shape[1]] if key in about.models else None
        known = (about.features.get(key), shared)
        parts = [part for part in known if part is not None and len(part.columns)]
        table = pd.concat(parts, axis=1) if parts else None
        if hasattr(values, "columns"):
            frame = _frame(values)
            values, table = of_frame(frame, what), pd.DataFrame(index=frame.columns)
    elif layer is not None:
        if layer not in adata.layers:
            raise SchemaError(
                f"adata has no layer {layer!r}; it has {listing(adata.layers) or 'none'}"
            )
        what, values, table = f"adata.layers[{layer!r}]", adata.layers[layer], _frame(adata.var)
    else:
        what, values, table = "adata.X", _x(adata), _frame(adata.var)
        if values is None:
            raise SchemaError("adata has no X; name entries of obsm with obsm='…', or a layer")
    values = _dense(values, what)
    if values.ndim != 2:
        raise SchemaError(f"{what} must be (observation, feature), got the shape {values.shape}")
    array = xr.DataArray(values, dims=(OBS, VAR))
    if table is None:
        return array
    coords = _columns(table, VAR, f"columns of {what}", needed)
    if not _is_counted(table.index):
        coords[VAR] = (VAR, text_labels(column_values(table.index), f"the features of {what}"))
    return array.assign_coords(coords)


def _dense(values: Any, what: str) -> Any:
    """Numbers of an array of AnnData, as NumPy or dask have them."""
    if type(values).__module__.startswith("h5py"):
        return _backed(values, what)
    if hasattr(values, "to_memory"):  # sparse, in a file
        values = values.to_memory()
    if _is_sparse(getattr(values, "_meta", None)):
        return values.map_blocks(_toarray, dtype=values.dtype, meta=np.empty((0, 0), values.dtype))
    if _is_sparse(values):
        n_bytes = math.prod(values.shape) * values.dtype.itemsize
        if n_bytes > free_bytes():
            raise SchemaError(
                f"{what} is sparse, and with its zeros it takes {n_bytes / 2**30:.3g} GiB, of "
                f"which {free_bytes() / 2**30:.3g} GiB are free; take fewer features "
                "(adata[:, adata.var['highly_variable']]), or components of it (obsm='X_pca')"
            )
        return values.toarray()
    return as_array(values, what)


def _is_sparse(values: Any) -> bool:
    return bool(scipy.sparse.issparse(values))


def _toarray(block: Any) -> Any:
    return block.toarray()


def _backed(dataset: Any, what: str) -> da.Array:
    """An array of a file, which every task opens anew, wherever it runs."""
    if dataset.file.mode != "r":
        raise SchemaError(
            f"{what} is in a file that is open for writing, which nobody else can read meanwhile; "
            "open it with anndata.read_h5ad(path, backed='r')"
        )
    check_numbers(dataset.dtype, what)
    path, part = Path(dataset.file.filename), dataset.name
    return lazy_rows(hdf5_rows, path, part, dataset.shape, dataset.dtype, f"{what} in a .h5ad file")


def _ids(array: xr.DataArray, adata: Any, stimulus: str | None, about: _About) -> Any:
    """The stimulus of each observation."""
    if stimulus is not None and stimulus != NAMES:
        return joined_text(array, stimulus, OBS, "stimulus")
    if stimulus is None and not about.written and _is_counted(adata.obs_names):
        raise SchemaError(
            "adata has no names of observations but the numbers that AnnData gives, and rows are "
            "never named by their position; set adata.obs_names, or name a column with "
            f"stimulus='…': {listing(_frame(adata.obs).columns, 30) or 'there is none'}. If they "
            f"are the names, say stimulus={NAMES!r}"
        )
    return text_labels(column_values(adata.obs_names), "adata.obs_names")


def _is_counted(names: pd.Index) -> bool:
    """Whether names are those that AnnData makes where it is given none: 0, 1, …"""
    return bool(len(names)) and [*map(str, names)] == [*map(str, range(len(names)))]


def _frame(table: Any) -> pd.DataFrame:
    """A table in memory, also of one that AnnData reads lazily."""
    frame: pd.DataFrame = table if isinstance(table, pd.DataFrame) else table.to_memory()
    return frame


def _columns(
    table: pd.DataFrame, dim: str, what: str, needed: Sequence[str] = ()
) -> dict[str, tuple[str, Any]]:
    """Columns of a table as coordinates."""
    check_names(table.columns, what)
    columns = {str(name): column_values(table[name]) for name in table.columns}
    found = carried(columns, [name for name in needed if name != NAMES], f"{what}: ")
    return {name: (dim, values) for name, values in found.items()}


def to_anndata(reps: xr.DataArray) -> Any:
    """Make an AnnData object of a representation set.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature). A lazy one gives an object of dask arrays, which
        ``adata.write_h5ad`` writes block by block.

    Returns
    -------
    anndata.AnnData
        Observations are the stimuli, in their order. Of one model, X holds the features and ``var``
        their coordinates; of several, each is an entry of ``obsm``. Only real features are in it.

    Raises
    ------
    ImportError
        anndata is not installed.
    SchemaError
        Other dims than these, or coordinates over stimuli and models, which AnnData has no place
        for; attrs that a store cannot hold.

    Notes
    -----
    Coordinates on ``stimulus`` are columns of ``obs``. ``feature_label`` is ``var_names``, if it is
    unique. ``uns["xconverge"]`` holds what AnnData has no place for: the table ``models`` (a row a
    model, its ``key`` and coordinates), the tables ``features`` of entries of ``obsm`` and of all
    of them, and ``attrs`` as JSON. Keys of ``obsm`` have ``|`` for ``/``, which files cannot hold;
    the table has the names. Missing stimuli stay rows of NaN.

    Examples
    --------
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dog"])
    >>> adata = to_anndata(reps)
    >>> {key: array.shape for key, array in adata.obsm.items()}
    {'a': (2, 3), 'b': (2, 5)}
    >>> from_anndata(adata).identical(reps)
    True
    """
    anndata = needs("anndata", "to_anndata", BRIDGES)
    reps = read_coordinates(check_representations(reps))
    other = [dim for dim in reps.dims if dim not in ("model", "stimulus", "feature")]
    if other:
        raise SchemaError(
            f"reps has the dims {listing(other)} too, which AnnData has no place for; select from "
            "them, average them, or make several objects"
        )
    reps = reps.transpose("model", "stimulus", "feature")
    odd = [n for n, c in reps.coords.items() if "stimulus" in c.dims and c.ndim > 1]
    if odd:
        raise SchemaError(
            f"reps has the coordinates {listing(odd)} over dims that no table of AnnData has; "
            "drop them with .drop_vars"
        )
    attrs = encoded(reps.to_dataset(name="representation")).representation.attrs
    keys = _keys(reps.indexes["model"]) if reps.sizes["model"] > 1 else [X]
    parts = [reps.isel(model=i, feature=slice(int(n))) for i, n in enumerate(_real(reps))]
    about: dict[str, Any] = {"models": _models(reps, keys), "attrs": json.dumps(attrs)}
    held = {key: part.data for key, part in zip(keys, parts, strict=True)}
    obs = _table(reps, "stimulus").set_axis(reps.indexes["stimulus"].rename(None), axis="index")
    if keys == [X]:
        return anndata.AnnData(held[X], obs, _features(parts[0]), {ABOUT: about})
    shared = _table(reps, "feature").rename(str)
    tables = {
        key: _table(part, "feature").drop(columns=shared.columns).rename(str)
        for key, part in zip(keys, parts, strict=True)
    }
    tables[SHARED] = shared
    about["features"] = {key: table for key, table in tables.items() if len(table.columns)}
    return anndata.AnnData(obs=obs, uns={ABOUT: about}, obsm=held)


def _real(reps: xr.DataArray) -> Any:
    return widths(reps).broadcast_like(reps["model"]).values


def _table(array: xr.DataArray, dim: str) -> pd.DataFrame:
    """Coordinates along a dim as columns, in memory."""
    columns = {
        str(name): read(coord)
        for name, coord in array.coords.items()
        if coord.dims == (dim,) and name != dim
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(array.sizes[dim]))


def _features(part: xr.DataArray) -> pd.DataFrame:
    """What is known of the features of a model, by their labels where these are unique."""
    table = _table(part, "feature")
    names = pd.Index([str(i) for i in range(len(table))])
    if LABEL in table:
        labels = pd.Index(table[LABEL], name=None)
        text = all(isinstance(label, str) for label in labels)
        # names that count would be taken for those that AnnData makes
        if text and labels.is_unique and not _is_counted(labels):
            names = labels
            table = table.drop(columns=LABEL)
    return table.set_axis(names, axis="index")


def _models(reps: xr.DataArray, keys: Sequence[str]) -> pd.DataFrame:
    """A row for each model: where it is, and its coordinates."""
    table = _table(reps, "model")
    whole = {str(name): coord.item() for name, coord in reps.coords.items() if not coord.dims}
    if "key" in table or "key" in whole:
        raise SchemaError("reps has a coordinate 'key', a name that the table needs; .rename it")
    table = table.assign(**whole, key=list(keys))
    return table.set_axis(reps.indexes["model"].rename(None), axis="index")


def _keys(names: pd.Index) -> list[str]:
    """Names of models as files of AnnData can hold them."""
    keys: list[str] = []
    for name in names:
        key = str(name).replace("/", "|")
        while key in (*keys, X, SHARED):
            key += "_"
        keys.append(key)
    return keys
