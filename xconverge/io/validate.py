"""Whether a store is as it was written: labels and values, and on request every file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from xconverge.io.manifest import crate_of
from xconverge.io.zarr.checksums import GROUP, Checksums, chunk_grid, of_json, says
from xconverge.io.zarr.exchange import REPLACED, found
from xconverge.io.zarr.incomplete import incomplete_model_at
from xconverge.io.zarr.locks import unchanged
from xconverge.io.zarr.places import Options, Place, StorePath, place_of
from xconverge.io.zarr.reader import damaged
from xconverge.io.zarr.root import (
    CHECKSUM,
    FILES,
    INCOMPLETE,
    existing_store,
    modality_names,
    open_array,
)
from xconverge.io.zarr.snapshot import (
    MISSING,
    Documents,
    Snapshot,
    coordinate_paths,
    has_grown,
    same,
)
from xconverge.labels.arguments import flags
from xconverge.labels.checks import validate
from xconverge.labels.messages import DamagedStoreError, SchemaError, listing


def validate_store(
    path: StorePath, *, deep: bool = False, storage_options: Options | None = None
) -> None:
    """Check every label and value of a store, and with ``deep`` every chunk of it.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    deep : bool
        Read every file: metadata, and every chunk of every array, coordinates, neighbour graphs,
        RDMs, studies and models that are not complete among them, and go on after one that is
        damaged, so that all are found. A store without it is read up to the first damage of each
        modality.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them.

    Raises
    ------
    SchemaError
        One error that names every fault: what `validate` finds, and chunks that are missing,
        truncated or changed, with their model and stimuli. `DamagedStoreError` where it is damage
        alone.
    FileNotFoundError
        There is no store.

    Notes
    -----
    What we wrote has checksums (crc32c), which also bind each chunk and each label to its place:
    files that are missing, were exchanged, or come from an older copy are found. Of stores that
    others wrote, only what fails to decode is. Writers wait meanwhile.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge import stack_models, write_representations
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> validate_store(path, deep=True)
    """
    flags(deep=deep)
    damaged, by_modality = examine(path, deep, storage_options)
    # first damage: values of a damaged chunk cannot be judged
    if damaged:
        raise DamagedStoreError("\n".join(damaged))
    faults = [f"{name}: {fault}" for name, found in by_modality.items() for fault in found]
    if faults:
        raise SchemaError("\n".join(faults))


def examine(
    path: StorePath, deep: bool, storage_options: Options | None = None
) -> tuple[list[str], dict[str, list[str]]]:
    """What is damaged, in words, and what is wrong with each modality."""
    root = place_of(path, storage_options)
    if not deep or not root.names():
        root = existing_store(path, storage_options)
    with unchanged(root):
        damaged = list(dict.fromkeys(_damage(root))) if deep else []
        return damaged, {name: _modality_faults(root, name) for name in modality_names(root)}


def _modality_faults(root: Place, name: str) -> list[str]:
    """What is wrong with the labels and values of a modality."""
    try:
        validate(open_array(root, name))
    except (SchemaError, FileNotFoundError) as error:
        return str(error).splitlines()
    return []


def _damage(place: Place) -> Iterator[str]:
    """Every file of a group and of the groups in it that is missing or not what was written."""
    if _is_left_over(place):
        return
    document = _read(place)
    if isinstance(document, str):
        yield document
    else:
        yield from _untrue(place, document)
    names = [name.removeprefix(REPLACED) for name in place.names()]
    if place.path == "":
        try:
            crate_of(place)
        except DamagedStoreError as error:
            yield str(error)
    if place.path == "" and GROUP not in names and not isinstance(document, str):
        # a study is a whole, of which the checksums know all attributes
        yield from _root_faults(place, document)
    if GROUP in names:
        yield from _faults_of_a_whole(place, {} if isinstance(document, str) else document)
        return
    arrays: Documents = {}
    for name in dict.fromkeys(names):
        below = found(place / name)
        if name in FILES or name.startswith(".") or not below.names():
            continue
        inside = _read(below)
        if "c" not in below.names() and (isinstance(inside, str) or inside["node_type"] == "group"):
            yield from _damage(below)
        elif isinstance(inside, str):
            yield inside
        elif _holds_others(below):
            yield f"{below}/zarr.json is damaged: it is that of an array. Bring it back from a copy"
            yield from _damage(below)
        else:
            arrays[name] = inside
    yield from _array_faults(Snapshot(place, {"": {}, **arrays}))


def _holds_others(array: Place) -> bool:
    """Whether there are documents below what says that it is an array."""
    names = [name for name in array.names() if name not in ("c", "zarr.json")]
    return any(data is not None for data in array.read(f"{name}/zarr.json" for name in names))


def _is_left_over(place: Place) -> bool:
    """Whether a model was locked, killed before its first row, joined, or is not for us to read."""
    if place.path.count("/") != 2 or not place.path.startswith(f"{INCOMPLETE}/"):
        # folders in which there is nothing but locks
        return place.path != "" and not [k for k in place.keys() if "/.lock" not in f"/{k}"]  # noqa: SIM118
    try:
        return incomplete_model_at(place.as_reader()) is None
    except DamagedStoreError:
        return False
    except SchemaError:
        return True  # of version 0.1, whose batches nobody here can read


def _read(place: Place) -> dict[str, Any] | str:
    """A document that Zarr can read too, or what is wrong with it."""
    import zarr

    try:
        document = place.document()
        if document is None:
            return MISSING.format(place)
        zarr.open(place.reading, path=place.path, mode="r", zarr_format=3)
        document["node_type"], document["zarr_format"], document.setdefault("attributes", {})
    except DamagedStoreError as error:
        return str(error)
    except Exception as error:
        return f"{place}/zarr.json is damaged: {type(error).__name__}: {error}"
    return document


def _root_faults(root: Place, document: Mapping[str, Any]) -> Iterator[str]:
    attrs = dict(document["attributes"])
    if attrs.get("xconverge_schema") == 1 and CHECKSUM not in attrs:
        return  # version 0.1 had none
    said = attrs.pop(CHECKSUM, None)
    if any(name.startswith("xconverge_") for name in attrs) and said != of_json(attrs):
        yield f"{root}/zarr.json is damaged: its attributes are not those that were written"


def _faults_of_a_whole(place: Place, document: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a group that was written as one."""
    told = (document.get("consolidated_metadata") or {}).get("metadata") or {}
    begun = place.path.startswith(f"{INCOMPLETE}/")
    paths = list(told) or list(_paths(place))
    read = {path: _read(place / path) for path in paths}
    own = {path: doc for path, doc in read.items() if not isinstance(doc, str)}
    yield from (doc for doc in read.values() if isinstance(doc, str))
    documents = {"": dict(document), **(told if told and not has_grown(own, told) else own)}
    for path, one in own.items():
        yield from _untrue(place / path, one)
    for path, one in documents.items():
        if path in own and not same(one, own[path]):
            yield (
                f"{place / path}/zarr.json is not what {place}/zarr.json says of it: one of them "
                "is damaged, or an append was interrupted, which the next one puts right"
            )
    snapshot = Snapshot(place, documents)
    try:
        sums = snapshot.checksums
    except DamagedStoreError as error:
        yield str(error)
        documents.pop(GROUP)
        snapshot, sums = Snapshot(place, documents), None
    for path, crc in (sums.documents if sums else {}).items():
        if path in own and not says(own[path], crc):
            yield f"{place / path}/zarr.json is damaged: it does not say what was written"
    # other programs that add models leave neither the one document nor the attrs as they were
    for path, crc in (sums.attrs if sums and not _has_more_models(documents, sums) else {}).items():
        if of_json(documents.get(path, {}).get("attributes", {})) != crc:
            yield f"{place / path}/zarr.json is damaged: its attributes are not those written"
    if begun:
        yield from _row_faults(place)
        batches = [path for path in documents if path.startswith(("vectors_", "rows_"))]
        snapshot = Snapshot(place, {p: d for p, d in documents.items() if p not in batches})
    yield from _array_faults(snapshot)


def _untrue(place: Place, document: Mapping[str, Any]) -> Iterator[str]:
    """What the document of a group tells of, and is not there: it is that of another group."""
    told = list((document.get("consolidated_metadata") or {}).get("metadata") or {})
    there = place.read(f"{path}/zarr.json" for path in told)
    if None in there:
        missing = listing(path for path, data in zip(told, there, strict=True) if data is None)
        yield f"{place}/zarr.json tells of {missing}, which is not there: one of them was damaged"


def _has_more_models(documents: Documents, sums: Checksums) -> bool:
    shape, _ = sums.values.get("model", ((), ""))
    return bool(shape) and documents.get("model", {}).get("shape", shape)[0] > shape[0]


def _paths(place: Place, path: str = "") -> Iterator[str]:
    """Paths of the arrays and groups below a group, whether they can be read or not."""
    for name in (place / path).names():
        if name not in ("c", "zarr.json") and (name == GROUP or not name.startswith(".")):
            below = f"{path}/{name}".lstrip("/")
            yield below
            yield from _paths(place, below)


def _row_faults(place: Place) -> Iterator[str]:
    """What is wrong with the rows of a model that is not complete."""
    try:
        model = incomplete_model_at(place.as_reader())
        lost = model.damage() if model else []
    except SchemaError as error:
        yield str(error)
        return
    for what in lost:
        yield f"{place}: {what} is damaged; its stimuli are pending when ModelWriter starts again"


def _array_faults(snapshot: Snapshot) -> Iterator[str]:
    """What is wrong with the chunks and the labels of a group and of those in it."""
    coordinates = coordinate_paths(snapshot.documents)
    sums = snapshot.checksums
    for path, document in snapshot.documents.items():
        if document.get("node_type") != "array":
            continue
        group, _, name = path.rpartition("/")
        place = snapshot.place / group
        try:
            array = _zarr_array(snapshot, group, name)
            grid = chunk_grid(document)
        except Exception as error:
            yield f"{place / name}/zarr.json is damaged: {type(error).__name__}: {error}"
            continue
        if sums is not None and path in coordinates:
            try:
                snapshot.check_labels(path, np.asarray(array[...]))
            except DamagedStoreError as error:
                yield str(error)
            except Exception as error:
                yield f"{place}: the labels {name!r} cannot be read: {error}"
            continue
        steps = array.shards or array.chunks
        dims = document.get("dimension_names") or [f"dim_{i}" for i in range(len(grid))]
        for index in np.ndindex(*grid):
            region = tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, steps, strict=True))
            why = _why_not(array, region)
            if why:
                yield str(damaged(place.as_reader(), name, dims, array.shape, region, why))


def _zarr_array(snapshot: Snapshot, group: str, name: str) -> Any:
    """An array of a snapshot as Zarr has it."""
    import zarr

    path = (snapshot.place / group / name).path
    return zarr.open_array(snapshot.store(group), path=path, mode="r", zarr_format=3)


def _why_not(array: Any, region: tuple[slice, ...]) -> str:
    """Why a chunk cannot be read, or nothing."""
    try:
        array[region]
    except DamagedStoreError as error:
        return str(error)
    except Exception as error:
        return f"a chunk is damaged: {type(error).__name__}: {error}"
    return ""
