"""Stores: labelled arrays on disk or in an object store, written and read block by block.

Whatever is written is built aside and takes its place once it is whole and its values are
checked: an error, an interruption or bad input leaves the store as it was. ``storage/`` holds
how; ``model_writer.py`` writes one model batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import xarray as xr

from xconverge.engine.chunks import CHUNK_BYTES, recommend_chunks
from xconverge.io.zarr import groups
from xconverge.io.zarr.append import grow
from xconverge.io.zarr.backends import Files, Folder, Place, StorePath, place_of
from xconverge.io.zarr.encoding import NAME, modality_of, storable, storable_set
from xconverge.io.zarr.incomplete import INCOMPLETE, Begun, begun_models, with_begun
from xconverge.io.zarr.journal import finish_commit
from xconverge.io.zarr.staging import check_free, staged
from xconverge.labels.checks import check_dims, check_labels, is_graph
from xconverge.labels.messages import SchemaError, choose, listing

SCHEMA = 1
GRAPHS = "neighbor_graphs"
RDMS = "rdms"
Options = Mapping[str, Any]
Incomplete = Literal["skip", "include", "error"]


def create_store(
    path: StorePath, *, overwrite: bool = False, storage_options: Options | None = None
) -> StorePath:
    """Make an empty store: a Zarr format 3 group that records its schema and our version.

    Parameters
    ----------
    path : str, path or zarr Store
        A folder that does not exist yet, or is empty; its parents are made. Or a URL
        (``s3://bucket/study.zarr``), or a Zarr store object, Icechunk's for example.
    overwrite : bool
        Replace a store that is there, with all it holds. A folder that is not a Zarr store is
        never deleted.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Returns
    -------
    path, str or zarr Store
        ``path``, a local one as a ``pathlib.Path``.

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
    root = place_of(path, storage_options)
    check_free(root, overwrite)
    with staged(root, root) as stage:
        groups.new_group(stage, _store_attrs())
    return root.path if isinstance(root, Folder) else path


def _store_attrs() -> dict[str, Any]:
    from xconverge import __version__

    return {"xconverge_version": __version__, "xconverge_schema": SCHEMA}


def write_representations(
    path: StorePath,
    reps: xr.DataArray,
    *,
    modality: str | None = None,
    overwrite: bool = False,
    storage_options: Options | None = None,
) -> None:
    """Write a representation set as one group of a store, which is created if missing.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    reps : DataArray
        (model, stimulus, feature), extra dims allowed; a lazy one is computed once, block by
        block. Integers are stored as floats.
    modality : str, optional
        Name of the group; default ``reps.attrs["modality"]``.
    overwrite : bool
        Replace a modality of that name; ``reps`` may be read from it.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    >>> import numpy as np
    >>> from xconverge.labels.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> modalities(path)
    ['vision']
    """
    array = storable_set(reps)
    modality = modality_of(array, modality)
    array.attrs["modality"] = modality
    root = place_of(path, storage_options)
    _check_root(root)
    check_free(root / modality, overwrite)
    with staged(root / modality, root) as stage:
        groups.write_array(stage, array, _chunks(array))
        ensure_store(root)


def append_models(
    path: StorePath,
    reps: xr.DataArray,
    *,
    modality: str | None = None,
    storage_options: Options | None = None,
) -> None:
    """Add models to a modality of a store, joined on the stimulus labels.

    Stimuli in another order are aligned to the store's. Narrower models are padded; wider ones
    widen the store. ``n_features`` is written for all models.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    reps : DataArray
        (model, stimulus, feature) with the stimuli, extra dims and coordinates of the store; may
        be lazy.
    modality : str, optional
        The group; default ``reps.attrs["modality"]``.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    Earlier chunks are not touched. New ones are written beyond the array, checked, and then the
    array grows in one step, which an interruption cannot halve. Appends wait for each other.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge.labels.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"], modality="vision")
    >>> write_representations(path, reps)
    >>> append_models(path, stack_models({"b": np.ones((2, 5))}, stimuli=["dog", "cat"]),
    ...               modality="vision")
    >>> open_representations(path, "vision").n_features.values.tolist()
    [3, 5]
    """
    array = storable_set(reps)
    modality = modality_of(array, modality)
    root = existing(path, storage_options)
    with root.lock(f"adding to {root}") if isinstance(root, Files) else nullcontext():
        if modality not in names_of(root):
            raise _unknown(root, modality)
        grow(root, modality, array)


def open_representations(
    path: StorePath,
    modality: str,
    *,
    incomplete: Incomplete = "skip",
    storage_options: Options | None = None,
) -> xr.DataArray:
    """Open one modality of a store.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    modality : str
        Name of the group.
    incomplete : {"skip", "include", "error"}
        What to do with models that a `ModelWriter` has begun and not finished: leave them out; open
        them too, with NaN for stimuli that are pending and the coordinate ``complete`` on
        ``model``; or refuse.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    >>> import numpy as np
    >>> from xconverge.labels.stack import stack_models
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> open_representations(path, "vision").sel(model="a", stimulus="dog").values
    array([1., 1., 1.])
    """
    choose("incomplete", incomplete, ["skip", "include", "error"])
    root = existing(path, storage_options)
    there = modality in names_of(root)
    array = groups.open_array(root, modality) if there else None
    if incomplete != "skip" or array is None:
        begun = _unfinished(root, modality, array)
        if begun and incomplete == "include":
            array = with_begun(array, begun)
        elif begun:
            raise SchemaError(
                f"{root} has models of {modality!r} that are not complete: "
                f"{listing(one.progress() for one in begun)}; finish them with ModelWriter, open "
                'them with incomplete="include", or leave them out with incomplete="skip"'
            )
    if array is None:
        raise _unknown(root, modality)
    array.attrs["modality"] = modality
    return array


def _unknown(root: Place, modality: str) -> SchemaError:
    return SchemaError(
        f"{root} has no modality {modality!r}; it has {listing(names_of(root)) or 'none'}. "
        "write_representations adds one"
    )


def _unfinished(root: Place, modality: str, complete: xr.DataArray | None) -> list[Begun]:
    """Models that were begun; one may have been completed and not tidied up."""
    known = () if complete is None else complete.indexes["model"]
    return [one for one in begun_models(root, modality) if one.model not in known]


def open_store(path: StorePath, *, storage_options: Options | None = None) -> xr.DataTree:
    """Open a whole store, or a study that was saved with `write_study`.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    root = existing(path, storage_options)
    for name in names_of(root):
        finish_commit(root, root / name)
    with groups.quiet():
        tree = xr.open_datatree(
            root.store, group=root.inside or None, engine="zarr", chunks=None, **groups.READ
        )
    nodes = {}
    for node in tree.subtree:
        if node.path.split("/")[1] != INCOMPLETE:
            place = root / node.path.strip("/") if node.path != "/" else root
            nodes[node.path] = groups.readable(node.to_dataset(inherit=False), place)
    return xr.DataTree.from_dict(nodes)


def write_study(
    path: StorePath,
    tree: xr.DataTree,
    *,
    overwrite: bool = False,
    storage_options: Options | None = None,
) -> None:
    """Save a tree of results, such as `analyze` gives, for `open_store` to read.

    Parameters
    ----------
    path : str, path or zarr Store
        A folder that does not exist yet, or is empty; or a URL, or a Zarr store.
    tree : DataTree
        Results; lazy ones are computed, block by block. Tuples and arrays in attrs become lists.
    overwrite : bool
        Replace a store that is there.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    root = place_of(path, storage_options)
    check_free(root, overwrite)
    nodes = {
        node.path.strip("/"): storable(node.to_dataset(inherit=False), f"{node.path}: ")
        for node in tree.subtree
    }
    with staged(root, root) as stage:
        for name, dataset in nodes.items():
            groups.to_zarr(_even(dataset), stage / name if name else stage, mode="w-")


def write_neighbors(
    path: StorePath,
    graph: xr.DataArray,
    *,
    overwrite: bool = False,
    storage_options: Options | None = None,
) -> None:
    """Save a neighbour graph into a store, for `open_neighbors` to read.

    Parameters
    ----------
    path : str, path or zarr Store
        A store.
    graph : DataArray
        What ``neighbor_graph`` returned; a lazy one is computed, block by block. Its
        ``attrs["modality"]`` names it.
    overwrite : bool
        Replace the graph of that modality.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Raises
    ------
    SchemaError
        Not a neighbour graph, or one without a modality.
    FileExistsError
        There is a graph of that modality.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
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
    _write_beside(existing(path, storage_options), GRAPHS, graph, overwrite)


def open_neighbors(
    path: StorePath, modality: str, *, storage_options: Options | None = None
) -> xr.DataArray:
    """Open a neighbour graph of a store, to give it in place of the representations.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    modality : str
        Whose graph.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    root = existing(path, storage_options)
    return _open_beside(root, GRAPHS, modality, "neighbour graph", "write_neighbors")


def write_rdms(
    path: StorePath,
    rdms: xr.DataArray,
    *,
    modality: str | None = None,
    overwrite: bool = False,
    storage_options: Options | None = None,
) -> None:
    """Save RDMs into a store, for `open_rdms` to read.

    Parameters
    ----------
    path : str, path or zarr Store
        A store, which is created if missing.
    rdms : DataArray
        (…, stimulus, stimulus_2), as ``rdm`` returns them; lazy ones are computed, block by block.
    modality : str, optional
        Their name; default ``rdms.attrs["modality"]``.
    overwrite : bool
        Replace the RDMs of that name.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Raises
    ------
    SchemaError
        No RDMs, labels that differ between rows and columns, or no modality.
    FileExistsError
        There are RDMs of that name.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge import rdm, stack_models
    >>> reps = stack_models({"a": np.eye(4)}, stimuli=list("wxyz"))
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> write_rdms(path, rdm(reps, "euclidean"), modality="vision")
    >>> open_rdms(path, "vision").sizes["stimulus_2"]
    4
    """
    array = check_dims(rdms, "stimulus", "stimulus_2", what="rdms")
    check_labels(array, "stimulus", "stimulus_2", what="rdms")
    if not array.indexes["stimulus"].equals(array.indexes["stimulus_2"]):
        raise SchemaError("rdms must have the same labels, in one order, on both stimulus dims")
    array = array.assign_attrs(modality=modality_of(array, modality))
    root = place_of(path, storage_options)
    _check_root(root)
    ensure_store(root)
    _write_beside(root, RDMS, array.rename("rdm"), overwrite)


def open_rdms(
    path: StorePath, modality: str, *, storage_options: Options | None = None
) -> xr.DataArray:
    """Open RDMs of a store.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    modality : str
        Their name.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Returns
    -------
    DataArray
        ``rdm`` (…, stimulus, stimulus_2), lazy.

    Raises
    ------
    FileNotFoundError
        There is no store, or no such RDMs in it.

    Examples
    --------
    See `write_rdms`.
    """
    root = existing(path, storage_options)
    return _open_beside(root, RDMS, modality, "RDMs", "write_rdms")


def _write_beside(root: Place, kind: str, array: xr.DataArray, overwrite: bool) -> None:
    """Write what belongs to a modality into a group beside the modalities."""
    target = root / kind / modality_of(array, None)
    check_free(target, overwrite)
    if not (root / kind).is_group():
        groups.new_group(root / kind)
    dataset = _even(storable(array.to_dataset(name=array.name)))
    with staged(target, root) as stage:
        groups.to_zarr(dataset, stage, mode="w-")


def _open_beside(root: Place, kind: str, modality: str, what: str, by: str) -> xr.DataArray:
    place = root / kind / modality
    if not place.is_group():
        raise FileNotFoundError(f"{root} has no {what} of {modality!r}; {by} saves them")
    dataset = groups.readable(groups.open_group(place), place)
    (name,) = dataset.data_vars
    return dataset[name]


def modalities(path: StorePath, *, storage_options: Options | None = None) -> list[str]:
    """Names of the groups of a store that hold representations, sorted.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

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
    return names_of(existing(path, storage_options))


# What the store's own files have in common


def names_of(root: Place) -> list[str]:
    """Names of the groups that hold representations."""
    names = [name for name in root.names() if not name.startswith(".")]
    return [name for name in names if (root / name).exists(f"{NAME}/zarr.json")]


def ensure_store(root: Place) -> None:
    """Make the store where there is none, whoever is first; not among files of others."""
    _check_root(root)
    if not root.is_group():
        groups.new_group(root, _store_attrs())


def _check_root(root: Place) -> None:
    """A store is here, or one can be made: hidden files, such as a lock, are in nobody's way."""
    hidden = [name.startswith(".") for name in root.names()]
    if not root.is_group() and not (hidden and all(hidden)):
        check_free(root, overwrite=False)


def existing(path: StorePath, storage_options: Options | None) -> Place:
    """The place of a store that is there."""
    root = place_of(path, storage_options)
    if not root.is_group():
        if root.exists() or (isinstance(root, Folder) and root.path.exists()):
            raise FileNotFoundError(f"{root} is not a Zarr format 3 store: it holds no group")
        raise FileNotFoundError(f"there is no store at {root}; write_representations makes one")
    return root


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    return tuple(recommend_chunks(array, memory=CHUNK_BYTES).values())


def _even(dataset: xr.Dataset) -> xr.Dataset:
    """Dask chunks of one size, as Zarr needs."""

    def even(array: xr.DataArray) -> xr.DataArray:
        longest = {dim: max(sizes) for dim, sizes in array.chunksizes.items()}
        return array.chunk(longest) if longest else array

    return dataset.map(even, keep_attrs=True)
