"""What a store holds beside representations: RDMs and neighbour graphs; and studies of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.rdms import checked_rdms
from xconverge.io.graphs import checked_graph
from xconverge.io.manifest import study_manifest
from xconverge.io.zarr import groups
from xconverge.io.zarr.encoding import encoded, modality_of
from xconverge.io.zarr.exchange import found, staged
from xconverge.io.zarr.locks import locked
from xconverge.io.zarr.places import MANIFEST, Options, Place, StorePath, place_of
from xconverge.io.zarr.root import check_root, ensure_store, existing_store
from xconverge.io.zarr.snapshot import Snapshot, steadily
from xconverge.labels.checks import check_dims, check_labels
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError

GRAPHS = "neighbor_graphs"
RDMS = "rdms"


def write_study(
    path: StorePath,
    tree: xr.DataTree,
    *,
    inputs: Sequence[StorePath] = (),
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
    inputs : sequence of str, path or zarr Store
        Stores that it was made of: the manifest names them, with hashes of what they hold now.
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

    Notes
    -----
    The study carries a manifest (``ro-crate-metadata.json``, an RO-Crate) of the version of this
    package, seeds, parameters and inputs. `xconverge.io.write_manifest` adds title, authors,
    license and citation. A store of Icechunk has no room for one.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import open_store
    >>> path = tempfile.mkdtemp() + "/results.zarr"
    >>> write_study(path, xr.DataTree(xr.Dataset({"rsa": 0.5})))
    >>> float(open_store(path)["rsa"])
    0.5
    """
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"tree must be an xarray.DataTree, got {came(tree)}; "
            "wrap results in one with xarray.DataTree.from_dict({'name': dataset})"
        )
    nodes = {
        node.path.strip("/"): _even(encoded(node.to_dataset(inherit=False), f"{node.path}: "))
        for node in tree.subtree
    }
    root = place_of(path, storage_options)
    with staged(root, root, overwrite) as stage:
        groups.write_group(stage, nodes)
        if stage.holds_files:
            stage.put({MANIFEST: study_manifest(tree, stage, inputs)})


def write_neighbors(
    path: StorePath,
    graph: xr.DataArray,
    *,
    overwrite: bool = False,
    storage_options: Options | None = None,
) -> None:
    """Save a neighbour graph into a store, for `open_neighbors` to read, here or elsewhere.

    Parameters
    ----------
    path : str, path or zarr Store
        A store, which is created if missing: graphs can be shared without representations.
    graph : DataArray
        What ``neighbor_graph`` or ``merge_neighbors`` returned; a lazy one is computed, block by
        block. Its ``attrs["modality"]`` names it.
    overwrite : bool
        Replace the graph of that modality.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Raises
    ------
    SchemaError
        Not a neighbour graph, or one without a modality; labels that are not those whose lists it
        holds.
    FileExistsError
        There is a graph of that modality.

    Notes
    -----
    Positions are stored as integers, two bytes each up to 32,767 stimuli and else four, -1 for
    none, and read as floats with NaN, by plain xarray too. ``attrs`` say what the lists hold:
    ``k``, ``metric``, ``search``, ``n_stimuli`` and ``pool_hash``, the hash of the set of labels
    (``docs/atlas.md``).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge import neighbor_graph, stack_models
    >>> path = tempfile.mkdtemp() + "/graphs.zarr"
    >>> reps = stack_models({"a": np.eye(4)}, stimuli=list("wxyz"), modality="vision")
    >>> write_neighbors(path, neighbor_graph(reps, k=2))
    >>> open_neighbors(path, "vision").sizes["neighbor"]
    2
    """
    checked = checked_graph(graph, "graph")
    modality_of(checked, None)  # first: bad input leaves no empty store
    # a graph that was cut names stimuli that are gone, and one without attrs does not say how many
    most = max(graph.attrs.get("n_stimuli", np.inf), int(read(checked["position"]).max()) + 1)
    dtype = np.int16 if most <= np.iinfo(np.int16).max else np.int32
    root = _root_for(path, storage_options)
    _write_beside(root, GRAPHS, checked, overwrite, {"dtype": dtype, "_FillValue": -1})


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
    root = existing_store(path, storage_options)
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
    # an RDM of a selection along one dim alone is none; readers lean on the one order
    if not array.indexes["stimulus"].equals(array.indexes["stimulus_2"]):
        raise SchemaError("rdms must have the same labels, in one order, on both stimulus dims")
    array = checked_rdms(array, "rdms").assign_attrs(modality=modality_of(array, modality))
    _write_beside(_root_for(path, storage_options), RDMS, array.rename("rdm"), overwrite)


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
    root = existing_store(path, storage_options)
    return _open_beside(root, RDMS, modality, "RDMs", "write_rdms")


def _root_for(path: StorePath, storage_options: Options | None) -> Place:
    """The place of a store, which is made where there is none."""
    root = place_of(path, storage_options)
    check_root(root)
    with locked(root, f"making {root}"):
        ensure_store(root)
    return root


def _write_beside(
    root: Place,
    kind: str,
    array: xr.DataArray,
    overwrite: bool,
    encoding: dict[str, Any] | None = None,
) -> None:
    """Write what belongs to a modality into a group beside the modalities."""
    target = root / kind / modality_of(array, None)
    dataset = _even(encoded(array.to_dataset(name=array.name)))
    dataset[array.name].encoding = encoding or {}
    with staged(target, root, overwrite) as stage:
        groups.write_group(stage, {"": dataset})
        with locked(root, f"writing {kind} of {root}"):
            if not (root / kind).is_group():
                groups.new_group(root / kind)


def _open_beside(root: Place, kind: str, modality: str, what: str, by: str) -> xr.DataArray:
    if not found(root / kind / modality).is_group():
        raise FileNotFoundError(f"{root} has no {what} of {modality!r}; {by} saves them")
    dataset = steadily(lambda: Snapshot.of(found(root / kind / modality)).dataset())
    (name,) = dataset.data_vars
    return dataset[name]


def _even(dataset: xr.Dataset) -> xr.Dataset:
    """Dask chunks of one size, as Zarr needs."""

    # xarray refuses uneven dask chunks, of which several would lie in one of Zarr's
    def even(array: xr.DataArray) -> xr.DataArray:
        longest = {dim: max(sizes) for dim, sizes in array.chunksizes.items()}
        return array.chunk(longest) if longest else array

    return dataset.map(even, keep_attrs=True)
