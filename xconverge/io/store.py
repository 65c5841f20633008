"""Stores: labelled arrays on disk or in an object store, written and read block by block.

Whatever is written is built aside and takes its place once it is whole and its values are
checked: an error, an interruption or bad input leaves the store as it was. ``zarr/`` holds how;
``writer.py`` writes one model batch by batch, ``results.py`` what is not representations.
"""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.zarr import groups
from xconverge.io.zarr.append import append
from xconverge.io.zarr.encoding import encoded_set, modality_of
from xconverge.io.zarr.exchange import staged
from xconverge.io.zarr.incomplete import incomplete_models, with_incomplete
from xconverge.io.zarr.locks import locked
from xconverge.io.zarr.places import Options, Place, StorePath, place_of
from xconverge.io.zarr.root import (
    check_root,
    ensure_store,
    existing_store,
    modality_names,
    open_groups,
    read_array,
    store_attrs,
)
from xconverge.io.zarr.snapshot import steadily
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError, choose, listing

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
    with staged(root, root, overwrite) as stage:
        groups.new_group(stage, store_attrs())
    return root.folder or path


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
    array = encoded_set(reps)
    modality = modality_of(array, modality)
    array.attrs["modality"] = modality
    root = place_of(path, storage_options)
    check_root(root)
    with staged(root / modality, root, overwrite) as stage:
        groups.write_array(stage, array, _chunks(array))
        # not before: bad input leaves no empty store; not later: the stage moves into the root
        with locked(root, f"making {root}"):
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
    array = encoded_set(reps)
    modality = modality_of(array, modality)
    root = existing_store(path, storage_options)
    with locked(root, f"adding to {modality!r} of {root}"):
        if modality not in modality_names(root):
            raise _unknown(root, modality)
        append(root, modality, array)


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
    return open_modality(existing_store(path, storage_options), modality, incomplete)


def open_modality(
    root: Place, modality: str, incomplete: Incomplete, chunked: bool = True
) -> xr.DataArray:
    """Representations of a store that is there; without ``chunked``, as xarray's engines do it."""
    array = steadily(lambda: _open(root, modality, incomplete, chunked))
    array.attrs["modality"] = modality
    return array


def _open(root: Place, modality: str, incomplete: Incomplete, chunked: bool) -> xr.DataArray:
    # one reading: who calls reads again, and tries of tries would be ten thousand
    # first: a model that is completed meanwhile is then among the complete ones
    begun = incomplete_models(root.as_reader(), modality) if incomplete != "skip" else []
    there = modality in modality_names(root)
    array = read_array(root, modality, chunked) if there else None
    if array is None and incomplete == "skip":
        begun = incomplete_models(root.as_reader(), modality)
    known = () if array is None else array.indexes["model"]
    # one may have been completed and not tidied up
    unfinished = [one for one in begun if one.model not in known]
    for one in unfinished:
        one.read()
    if unfinished and incomplete == "include":
        return with_incomplete(array, unfinished)
    if unfinished:
        raise SchemaError(
            f"{root} has models of {modality!r} that are not complete: "
            f"{listing(one.progress() for one in unfinished)}; finish them with ModelWriter, "
            'open them with incomplete="include", or leave them out with incomplete="skip"'
        )
    if array is None:
        raise _unknown(root, modality)
    return array


def _unknown(root: Place, modality: str) -> SchemaError:
    return SchemaError(
        f"{root} has no modality {modality!r}; it has {listing(modality_names(root)) or 'none'}. "
        "write_representations adds one"
    )


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
    2
    """
    return xr.DataTree.from_dict(open_groups(existing_store(path, storage_options)))


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
    return modality_names(existing_store(path, storage_options))


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    return tuple(recommend_chunks(array, memory=BUDGETS.store_chunk).values())
