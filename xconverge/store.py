"""Every Zarr policy and guard: labelled arrays on disk, read and written block by block.

Whatever is written is built beside the store and takes its place by a rename, once it is whole
and its values are checked: an error, an interruption or bad input leaves the store as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.chunks import CHUNK_BYTES, recommend_chunks
from xconverge.schema import (
    SchemaError,
    is_graph,
    join_labels,
    listing,
    validate,
    widths,
)
from xconverge.storable import NAME, labels_where, modality_of, storable, storable_set

SCHEMA = 1
GRAPHS = "neighbor_graphs"
WRITE: dict[str, Any] = {"zarr_format": 3, "consolidated": False}
READ: dict[str, Any] = {
    "consolidated": False,
    "chunks": {},
    "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
}

# What can follow what along a coordinate; all else is a number
KINDS = {"O": "text", "T": "text", "U": "text", "b": "bool", "M": "time", "m": "duration"}

StrPath = str | os.PathLike[str]


def create_store(path: StrPath, *, overwrite: bool = False) -> Path:
    """Make an empty store: a Zarr format 3 group that records its schema and our version.

    Parameters
    ----------
    path : str or path
        A folder that does not exist yet, or is empty; its parents are made.
    overwrite : bool
        Replace a store that is there, with all it holds. A folder that is not a Zarr store is
        never deleted.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    FileExistsError
        Something is there.

    Examples
    --------
    >>> import tempfile
    >>> create_store(tempfile.mkdtemp() + "/study.zarr").name
    'study.zarr'
    """
    from xconverge import __version__

    root = _local(path)
    _check_free(root, overwrite)
    with _staged(root, root) as stage:
        attrs = {"xconverge_version": __version__, "xconverge_schema": SCHEMA}
        _new_group(stage, attrs)
    return Path(path)


def write_representations(
    path: StrPath,
    reps: xr.DataArray,
    *,
    modality: str | None = None,
    overwrite: bool = False,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> None:
    """Write a representation set as one group of a store, which is created if missing.

    Parameters
    ----------
    path : str or path
        The store.
    reps : DataArray
        (model, stimulus, feature), extra dims allowed; a lazy one is computed once, block by
        block. Integers are stored as floats.
    modality : str, optional
        Name of the group; default ``reps.attrs["modality"]``.
    overwrite : bool
        Replace a modality of that name; ``reps`` may be read from it.
    model, stimulus, feature : str
        Names of the dims; in the store they are ``model``, ``stimulus`` and ``feature``.

    Raises
    ------
    SchemaError
        Whatever `validate` refuses, missing text, or coordinates and attrs that Zarr cannot hold.
    FileExistsError
        The modality is there already, or the path is not a Zarr store.

    Notes
    -----
    A chunk holds one model, one position on every extra dim, all features, and as many stimuli
    as make 12 MiB; dask is rechunked to that, which bounds the memory.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> modalities(path)
    ['vision']
    """
    array = storable_set(reps, (model, stimulus, feature))
    modality = modality_of(array, modality)
    array.attrs["modality"] = modality
    root = _local(path)
    if not _is_group(root):
        _check_free(root, overwrite=False)
    _check_free(root / modality, overwrite)
    chunks = _chunks(array)
    array = array.chunk(dict(zip(array.dims, chunks, strict=True)))
    with _staged(root / modality, root) as stage:
        encoding = {NAME: {**_vectors(), "chunks": chunks}}
        array.to_dataset(name=NAME).to_zarr(stage, mode="w-", encoding=encoding, **WRITE)
        validate(_open_array(stage))
        if not _is_group(root):
            create_store(root)


def append_models(
    path: StrPath,
    reps: xr.DataArray,
    *,
    modality: str | None = None,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> None:
    """Add models to a modality of a store, joined on the stimulus labels.

    Stimuli in another order are aligned to the store's. Narrower models are padded; wider ones
    widen the store. ``n_features`` is written for all models.

    Parameters
    ----------
    path : str or path
        The store.
    reps : DataArray
        (model, stimulus, feature) with the stimuli, extra dims and coordinates of the store; may
        be lazy.
    modality : str, optional
        The group; default ``reps.attrs["modality"]``.
    model, stimulus, feature : str
        Names of the dims of ``reps``.

    Raises
    ------
    SchemaError
        A model is there already, labels or coordinates are missing, extra or contradict the
        store's, the dtype would lose digits, or a fault that `validate` finds. The store is then
        untouched.
    FileNotFoundError
        There is no store.

    Notes
    -----
    Earlier chunks are linked, not copied (copied where the file system has no links). Of two
    appends at the same time, the later one to finish is refused.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"], modality="vision")
    >>> write_representations(path, reps)
    >>> append_models(path, stack_models({"b": np.ones((2, 5))}, stimuli=["dog", "cat"]),
    ...               modality="vision")
    >>> open_representations(path, "vision").n_features.values.tolist()
    [3, 5]
    """
    array = storable_set(reps, (model, stimulus, feature))
    modality = modality_of(array, modality)
    root = _existing(path)
    with _staged(root / modality, root) as stage:
        old = open_representations(root, modality)
        new = _fitting(old, array)
        coords = _grown_coords(old, new)
        width = max(old.sizes["feature"], new.sizes["feature"])
        steps = _check_growth(root / modality, old, width)
        grown = {**old.sizes, "model": coords.sizes["model"], "feature": width}
        _link_group(root / modality, stage, leave_out=map(str, coords.variables))
        _stored(stage, "r+").resize(tuple(grown[d] for d in old.dims))
        coords.attrs = _open_group(root / modality).attrs
        coords.to_zarr(stage, mode="a", **WRITE)
        blocks = new.drop_vars(new.coords).pad(feature=(0, width - new.sizes["feature"]))
        blocks = blocks.chunk(dict(zip(old.dims, steps, strict=True)))
        here = slice(old.sizes["model"], grown["model"])
        blocks.to_dataset(name=NAME).to_zarr(stage, mode="r+", region={"model": here}, **WRITE)
        validate(_open_array(stage).isel(model=here))


def open_representations(path: StrPath, modality: str) -> xr.DataArray:
    """Open one modality of a store.

    Parameters
    ----------
    path : str or path
        The store.
    modality : str
        Name of the group.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature, and extra dims): lazy, in the chunks of the
        store. Its coordinates are in memory, text as Python objects.

    Raises
    ------
    FileNotFoundError
        There is no store.
    SchemaError
        The store has no such modality.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> open_representations(path, "vision").sel(model="a", stimulus="dog").values
    array([1., 1., 1.])
    """
    known = modalities(path)
    if modality not in known:
        raise SchemaError(
            f"{path} has no modality {modality!r}; it has {listing(known) or 'none'}. "
            "write_representations adds one"
        )
    array = _open_array(_local(path) / modality)
    array.attrs["modality"] = modality
    return array


def open_store(path: StrPath) -> xr.DataTree:
    """Open a whole store, or a study that was saved with `write_study`.

    Parameters
    ----------
    path : str or path
        The store.

    Returns
    -------
    DataTree
        One node for each group: variables lazy, coordinates in memory.

    Raises
    ------
    FileNotFoundError
        There is no store.

    Examples
    --------
    >>> import tempfile
    >>> path = create_store(tempfile.mkdtemp() + "/study.zarr")
    >>> open_store(path).attrs["xconverge_schema"]
    1
    """
    with _quiet():
        tree = xr.open_datatree(_existing(path), engine="zarr", **READ)
    return xr.DataTree.from_dict(
        {node.path: _readable(node.to_dataset(inherit=False)) for node in tree.subtree}
    )


def write_study(path: StrPath, tree: xr.DataTree, *, overwrite: bool = False) -> None:
    """Save a tree of results, such as `analyze` gives, for `open_store` to read.

    Parameters
    ----------
    path : str or path
        A folder that does not exist yet, or is empty.
    tree : DataTree
        Results; lazy ones are computed, block by block. Tuples and arrays in attrs become lists.
    overwrite : bool
        Replace a store that is there.

    Raises
    ------
    SchemaError
        Missing text, or variables and attrs that Zarr cannot hold.
    FileExistsError
        Something is there.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/results.zarr"
    >>> write_study(path, xr.DataTree(xr.Dataset({"rsa": 0.5})))
    >>> float(open_store(path)["rsa"])
    0.5
    """
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"write_study needs an xarray.DataTree, got {type(tree).__name__}; "
            "wrap results in one with xarray.DataTree.from_dict({'name': dataset})"
        )
    root = _local(path)
    _check_free(root, overwrite)
    nodes = {
        node.path: storable(node.to_dataset(inherit=False), f"{node.path}: ").map(
            _even, keep_attrs=True
        )
        for node in tree.subtree
    }
    with _staged(root, root) as stage:
        xr.DataTree.from_dict(nodes).to_zarr(stage, mode="w-", **WRITE)


def write_neighbors(path: StrPath, graph: xr.DataArray, *, overwrite: bool = False) -> None:
    """Save a neighbour graph into a store, for `open_neighbors` to read.

    Parameters
    ----------
    path : str or path
        A store.
    graph : DataArray
        What ``neighbor_graph`` returned; a lazy one is computed, block by block. Its
        ``attrs["modality"]`` names it.
    overwrite : bool
        Replace the graph of that modality.

    Raises
    ------
    SchemaError
        Not a neighbour graph, or one without a modality.
    FileExistsError
        There is a graph of that modality.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import neighbor_graph, stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.eye(4)}, stimuli=list("wxyz"), modality="vision")
    >>> write_representations(path, reps)
    >>> write_neighbors(path, neighbor_graph(reps, k=2))
    >>> open_neighbors(path, "vision").sizes["neighbor"]
    2
    """
    if not isinstance(graph, xr.DataArray) or not is_graph(graph):
        raise SchemaError("write_neighbors needs what neighbor_graph returns")
    modality = modality_of(graph, None)
    root = _existing(path)
    target = root / GRAPHS / modality
    _check_free(target, overwrite)
    if not _is_group(root / GRAPHS):
        _new_group(root / GRAPHS)
    dataset = storable(graph.to_dataset(name="neighbor_graph")).map(_even, keep_attrs=True)
    with _staged(target, root) as stage:
        dataset.to_zarr(stage, mode="w-", **WRITE)


def open_neighbors(path: StrPath, modality: str) -> xr.DataArray:
    """Open a neighbour graph of a store, to give it in place of the representations.

    Parameters
    ----------
    path : str or path
        The store.
    modality : str
        Whose graph.

    Returns
    -------
    DataArray
        ``neighbor_graph`` (model, stimulus, neighbor), lazy.

    Raises
    ------
    FileNotFoundError
        There is no store, or no such graph in it.

    Examples
    --------
    See `write_neighbors`.
    """
    folder = _existing(path) / GRAPHS / modality
    if not _is_group(folder):
        raise FileNotFoundError(
            f"{path} has no neighbour graph of {modality!r}; write_neighbors saves one"
        )
    return _readable(_open_group(folder))["neighbor_graph"]


def modalities(path: StrPath) -> list[str]:
    """Names of the groups of a store that hold representations, sorted.

    Parameters
    ----------
    path : str or path
        The store.

    Returns
    -------
    list of str
        Names that `open_representations` takes.

    Raises
    ------
    FileNotFoundError
        There is no store.

    Examples
    --------
    >>> import tempfile
    >>> modalities(create_store(tempfile.mkdtemp() + "/study.zarr"))
    []
    """
    return sorted(file.parts[-3] for file in _existing(path).glob(f"*/{NAME}/zarr.json"))


# Zarr, which takes a third of the time of importing everything and is loaded when it is needed


def _vectors() -> dict[str, Any]:
    """How representations are stored.

    Float vectors hardly compress: zstd saves 8 % and doubles the time of reading; a checksum adds
    a tenth. What is not written reads as NaN by Zarr's own ``fill_value``; xarray's ``_FillValue``
    would mask every value that is read, at half the speed.
    """
    from zarr.codecs import Crc32cCodec

    return {"compressors": (Crc32cCodec(),), "fill_value": np.nan, "_FillValue": None}


def _new_group(folder: Path, attrs: dict[str, Any] | None = None) -> None:
    import zarr

    zarr.create_group(folder, zarr_format=3, attributes=attrs)


def _stored(folder: Path, mode: Literal["r", "r+"]) -> Any:
    """The array of representations as Zarr has it."""
    import zarr

    return zarr.open_array(folder, path=NAME, mode=mode)


# Folders


def _local(path: StrPath) -> Path:
    if "://" in os.fspath(path):
        raise ValueError(f"a store is a local folder, got {path!r}; copy it to this machine first")
    return Path(path).resolve()


def _is_group(folder: Path) -> bool:
    try:
        metadata = json.loads((folder / "zarr.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and metadata.get("node_type") == "group"


def _existing(path: StrPath) -> Path:
    root = _local(path)
    if not root.exists():
        raise FileNotFoundError(f"there is no store at {path}; write_representations makes one")
    if not _is_group(root):
        raise FileNotFoundError(f"{path} is not a Zarr format 3 store: it holds no group")
    return root


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not _is_group(folder):
        raise FileExistsError(
            f"{folder} exists and is not a Zarr format 3 group, so it is left alone; "
            "choose another path"
        )
    if not overwrite:
        raise FileExistsError(
            f"{folder} exists already; choose another name, or replace it with all it holds by "
            "overwrite=True (append_models adds models to a modality)"
        )


@contextmanager
def _staged(target: Path, root: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``target`` if nothing went wrong."""
    root.parent.mkdir(parents=True, exist_ok=True)
    before = _state(target)
    with tempfile.TemporaryDirectory(
        prefix=f".{root.name}-", dir=root.parent, ignore_cleanup_errors=True
    ) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        with _quiet():
            yield new
        if _state(target) != before:
            raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            if old.exists() and not target.exists():
                old.rename(target)


def _state(folder: Path) -> tuple[int, int] | None:
    if not folder.exists():
        return None
    stat = folder.stat()
    return stat.st_ino, stat.st_mtime_ns


def _link_group(old: Path, new: Path, leave_out: Iterable[str]) -> None:
    """Copy a group: chunks, which never change, as links; not its own metadata and these arrays."""

    def link(source: str, target: str) -> None:
        if os.path.basename(source) != "zarr.json":
            try:
                return os.link(source, target)
            except OSError:
                pass
        shutil.copyfile(source, target)

    skip = {"zarr.json", *leave_out}
    shutil.copytree(
        old,
        new,
        copy_function=link,
        ignore=lambda folder, names: skip.intersection(names) if Path(folder) == old else (),
    )


# Reading


@contextmanager
def _quiet() -> Iterator[None]:
    """Files that are not Zarr's, such as ``.DS_Store``, may lie in a store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized as a component")
        yield


def _open_group(folder: Path) -> xr.Dataset:
    with _quiet():
        dataset: xr.Dataset = xr.open_zarr(folder, **READ)
    return dataset


def _open_array(folder: Path) -> xr.DataArray:
    return _readable(_open_group(folder)[[NAME]])[NAME]


def _readable(dataset: xr.Dataset) -> xr.Dataset:
    """Coordinates in memory, text as objects; no encoding, which a slice would take along."""
    coords = dataset.coords.to_dataset().compute(scheduler="synchronous").variables
    loaded = {n: v.astype(object) if v.dtype.kind == "T" else v for n, v in coords.items()}
    return dataset.assign_coords(loaded).drop_encoding()


# Chunks


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    return tuple(recommend_chunks(array, memory=CHUNK_BYTES).values())


def _even(array: xr.DataArray) -> xr.DataArray:
    """Dask chunks of one size, as Zarr needs."""
    longest = {dim: max(sizes) for dim, sizes in array.chunksizes.items()}
    return array.chunk(longest) if longest else array


# Appending


def _fitting(old: xr.DataArray, new: xr.DataArray) -> xr.DataArray:
    """New models in the dims, the order of labels and the dtype of the store."""
    if set(old.dims) != set(new.dims):
        raise SchemaError(f"the store has the dims {list(old.dims)}, reps has {list(new.dims)}")
    there = new.indexes["model"].intersection(old.indexes["model"])
    if len(there):
        raise SchemaError(
            f"the store has models of these names already: {listing(there)}; rename them, or write "
            "all models anew with write_representations(overwrite=True)"
        )
    if not np.can_cast(new.dtype, old.dtype):
        raise SchemaError(
            f"the store holds {old.dtype} and reps {new.dtype}, which would lose digits; if they "
            f"may go, append reps.astype({old.dtype.name!r})"
        )
    if old.attrs.get("space") != new.attrs.get("space"):
        raise SchemaError(
            f"attrs['space'] is {old.attrs.get('space')!r} in the store and "
            f"{new.attrs.get('space')!r} in reps; only models of one space go together"
        )
    for dim in old.dims:
        if dim in ("model", "feature"):
            continue
        if dim in old.indexes or dim in new.indexes:
            new = _joined(old, new, str(dim))
        elif old.sizes[dim] != new.sizes[dim]:
            raise SchemaError(
                f"{dim!r} has {old.sizes[dim]} positions in the store and {new.sizes[dim]} in reps"
            )
    return new.transpose(*old.dims).astype(old.dtype)


def _joined(old: xr.DataArray, new: xr.DataArray, dim: str) -> xr.DataArray:
    try:
        return join_labels(old, new, dim, "exact", ("the store", "reps"))[1]
    except SchemaError as error:
        said = str(error).removesuffix(' Use join="inner" to keep those in both')
        raise SchemaError(
            f"{said} Append what the store has, or write another modality with "
            "write_representations"
        ) from None


def _grown_coords(old: xr.DataArray, new: xr.DataArray) -> xr.Dataset:
    """The coordinates of both, ``n_features`` among them: joined on ``model``, equal elsewhere."""
    sides = [
        side.coords.to_dataset().assign_coords(n_features=real.broadcast_like(side["model"]))
        for side, real in ((s.transpose(*old.dims), widths(s)) for s in (old, new))
    ]
    ours, theirs = (set(map(str, side.variables)) for side in sides)
    if ours != theirs:
        raise SchemaError(
            "reps must have the coordinates of the store; "
            f"missing from reps: {listing(sorted(ours - theirs)) or 'none'}; "
            f"not in the store: {listing(sorted(theirs - ours)) or 'none'}. "
            "Use .assign_coords or .drop_vars"
        )
    for name in ours - {"model", "n_features"}:
        _check_coordinate(name, sides[0], sides[1])
    return storable(
        xr.concat(
            sides,
            "model",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="override",
            combine_attrs="override",
        )
    )


def _check_coordinate(name: str, old: xr.Dataset, new: xr.Dataset) -> None:
    """A coordinate of new models is of the store's kind and, off ``model``, has its values."""
    before, after = old.variables[name], new.variables[name]
    kinds = [KINDS.get(variable.dtype.kind, "number") for variable in (before, after)]
    if kinds[0] != kinds[1] or before.dims != after.dims:
        raise SchemaError(
            f"coordinate {name!r} is {kinds[0]} over {list(before.dims)} in the store and "
            f"{kinds[1]} over {list(after.dims)} in reps; make it alike, or .drop_vars it"
        )
    if {**before.sizes, "model": 0} != {**after.sizes, "model": 0}:
        raise SchemaError(
            f"coordinate {name!r} over {list(before.dims)} has the shape {before.shape} in the "
            f"store and {after.shape} in reps, and cannot grow; .drop_vars it on both sides"
        )
    if "model" in before.dims:
        return
    differ = (before.values != after.values) & ~(pd.isna(before.values) & pd.isna(after.values))
    if np.any(differ):
        raise SchemaError(
            f"coordinate {name!r} contradicts that of the store at "
            f"{labels_where(differ, before, old)}; correct it, or rename it"
        )


def _check_growth(folder: Path, old: xr.DataArray, width: int) -> tuple[int, ...]:
    """The blocks to write, if the array on disk can grow by whole ones."""
    array = _stored(folder, "r")
    steps = array.shards or array.chunks
    anew = "open it and write it anew with write_representations(overwrite=True)"
    wider = width > old.sizes["feature"]
    if steps[old.get_axis_num("model")] != 1:
        raise SchemaError(f"{folder} was not written by xconverge: its chunks mix models; {anew}")
    if wider and not np.isnan(array.fill_value):
        raise SchemaError(f"{folder} would pad with {array.fill_value}, where NaN is meant; {anew}")
    growing = {"model", "feature"} if wider else {"model"}
    others = {n: v for n, v in _open_group(folder).data_vars.items() if n != NAME}
    stuck = [name for name, variable in others.items() if growing & set(variable.dims)]
    if stuck:
        raise SchemaError(
            f"{folder} also holds {listing(stuck)} over {sorted(growing)}, which reps lacks; "
            "move it out of the group"
        )
    return tuple(steps)
