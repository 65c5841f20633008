"""Groups of a store: how they are read, made, grown and replaced, and what an interruption leaves.

A new group is built aside and takes its place when it is whole and its values are checked. A group
that grows gets its chunks first, beyond its shape, where nobody looks. Then everything else that
changes is written down in one file, the commit, and from there to its places; whoever finds a
commit carries it out before reading on.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.checksums import checksum
from xconverge.chunk_files import Index, Layout, key, write_chunk
from xconverge.chunk_reader import ChunkReader
from xconverge.places import Bucket, Files, Folder, Inside, Place
from xconverge.schema import (
    DamagedStoreError,
    SchemaError,
    join_labels,
    listing,
    validate,
    widths,
)
from xconverge.storable import NAME, labels_where, storable

WHOLE: dict[str, Any] = {"xconverge_layout": 2}
"""Attrs of a group of which every chunk is written and has a checksum: a missing one is damage."""
WRITE: dict[str, Any] = {"zarr_format": 3, "consolidated": False}
READ: dict[str, Any] = {
    "consolidated": False,
    "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
}
COMMIT = f"{NAME}/.commit"
OF_A_GROUP = re.compile(r"([^/\\.][^/\\]*/)?(zarr\.json|c(/\d+)*)")
"""What a commit may write: metadata and chunks of the group, and nothing outside of it."""

# What can follow what along a coordinate; all else is a number
KINDS = {"O": "text", "T": "text", "U": "text", "b": "bool", "M": "time", "m": "duration"}

Fill = Callable[[Files, Layout, Index], bool]
"""Writes the chunks of an array, from this one on; whether its values are surely good."""


# How things are stored. Zarr takes a third of the time of importing everything, and is loaded late


def vectors() -> dict[str, Any]:
    """Encoding of representations.

    Float vectors hardly compress: zstd saves 8 % and doubles the time of reading; a checksum adds
    a tenth. What is not written reads as NaN by Zarr's own ``fill_value``; xarray's ``_FillValue``
    would mask every value that is read, at half the speed.
    """
    from zarr.codecs import Crc32cCodec

    return {"compressors": (Crc32cCodec(),), "fill_value": np.nan, "_FillValue": None}


def checked(dataset: xr.Dataset) -> dict[str, Any]:
    """Encoding of all other variables: compressed, with a checksum."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs = {"compressors": (ZstdCodec(), Crc32cCodec())}
    return {str(name): codecs for name in dataset.variables}


def to_zarr(dataset: xr.Dataset, place: Place, **kwargs: Any) -> None:
    """Write a dataset as a group, checksums and empty chunks included."""
    encoding = {**checked(dataset), **kwargs.pop("encoding", {})}
    dataset.assign_attrs(WHOLE).to_zarr(
        place.store,
        group=place.inside or None,
        encoding=encoding,
        write_empty_chunks=True,
        **WRITE,
        **kwargs,
    )


def files_of(dataset: xr.Dataset, encoding: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The files of a group by key, without the chunks of what is lazy; ``zarr.json`` comes last."""
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    to_zarr(
        dataset, Inside(MemoryStore(held), ""), encoding=encoding or {}, mode="w", compute=False
    )
    files = {key: held[key].to_bytes() for key in sorted(held)}
    return {**files, "zarr.json": files.pop("zarr.json")}


# Reading


@contextmanager
def quiet() -> Iterator[None]:
    """Files that are not Zarr's, such as ``.DS_Store``, may lie in a store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized as a component")
        yield


def open_group(place: Place) -> xr.Dataset:
    """A group as xarray opens it: all lazy, but labels."""
    with quiet(), damage_of(place, "its labels or metadata"):
        dataset: xr.Dataset = xr.open_zarr(
            place.store, group=place.inside or None, chunks=None, **READ
        )
    for name in set(place.names()) - set(map(str, dataset.variables)):
        # Zarr passes over what it cannot read
        if (place / name).exists("zarr.json") and not (place / name).is_group():
            raise DamagedStoreError(
                f"{place}: the metadata of {name!r} cannot be read. Bring {name}/zarr.json back "
                "from a copy"
            )
    return dataset


@contextmanager
def damage_of(place: Place, what: str) -> Iterator[None]:
    """Whatever a library says of files that are not as they were written."""
    try:
        yield
    except (OSError, SchemaError):
        raise
    except Exception as error:
        raise DamagedStoreError(
            f"{place}: {what} cannot be read: {type(error).__name__}: {error}. Bring the file back "
            "from a copy"
        ) from error


def open_array(root: Place, modality: str) -> xr.DataArray:
    """Representations: lazy in the chunks of the store, coordinates in memory, no encoding."""
    place = root / modality
    for _ in range(100):
        before = finish_commit(root, place)
        try:
            array = _array_of(place)
        except ValueError:
            # read while someone committed
            if finish_commit(root, place) == before:
                raise
            continue
        if finish_commit(root, place) == before:
            return array
    raise FileExistsError(f"{place} is being written again and again; open it later")


def _array_of(place: Place) -> xr.DataArray:
    return readable(open_group(place)[[NAME]], place)[NAME]


def is_whole(place: Place) -> bool:
    """Whether every chunk of a group was written, so that a missing one is damage."""
    attrs = (place.metadata() or {}).get("attributes", {})
    return bool(WHOLE.items() <= attrs.items())


def readable(dataset: xr.Dataset, place: Place) -> xr.Dataset:
    """A group as it was given to us: data lazy, coordinates in memory, nothing of its files.

    Text coordinates are objects; there is no encoding, which a slice would take along.
    """
    whole = is_whole(place)
    data, coords = {}, {}
    for name, variable in dataset.variables.items():
        if name in dataset.coords:
            coords[name] = _in_memory(str(name), variable, place, whole)
        else:
            layout = Layout.of((place / str(name)).metadata() or {}) if name == NAME else None
            reader = ChunkReader(place, str(name), variable, layout, whole)
            data[name] = xr.Variable(variable.dims, reader.lazy(), variable.attrs)
    attrs = {key: value for key, value in dataset.attrs.items() if key not in WHOLE}
    return xr.Dataset(data, coords, attrs).drop_encoding()


def _in_memory(name: str, variable: xr.Variable, place: Place, whole: bool) -> xr.Variable:
    if whole:
        check_chunks(place, name)
    with (
        damage_of(place, f"the coordinate {name!r}"),
        dask.config.set(scheduler="synchronous"),
    ):
        loaded: xr.Variable = variable.compute()
    return with_objects(loaded)


def with_objects(variable: xr.Variable) -> xr.Variable:
    """Text as Python objects, as xarray's users have it."""
    return variable.astype(object) if variable.dtype.kind == "T" else variable


def check_chunks(place: Place, name: str) -> None:
    """Every chunk of a variable is there; Zarr would read 0 or empty text where one is not."""
    for index in chunk_indices((place / name).metadata() or {}):
        check_chunk(place, name, index)


def chunk_indices(metadata: Mapping[str, Any]) -> Iterator[Index]:
    """The chunks of an array, in order; none where the grid is not a regular one."""
    steps = metadata.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    if steps is not None:
        sizes = zip(metadata["shape"], steps, strict=True)
        yield from np.ndindex(*(-(-size // step) for size, step in sizes))


def check_chunk(place: Place, name: str, index: Index) -> None:
    """A chunk of a variable is there."""
    if not (place / name).exists(key(index)):
        raise DamagedStoreError(
            f"{place}: chunk {key(index)} of {name!r} is missing. Bring the file back from a copy"
        )


# Making


def new_group(place: Place, attrs: Mapping[str, Any] | None = None) -> None:
    """An empty group."""
    import zarr

    if isinstance(place, Files):
        metadata = {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs or {})}
        place.put("zarr.json", _json(metadata))
    else:
        zarr.create_group(
            place.store, path=place.inside, zarr_format=3, attributes=dict(attrs or {})
        )


def check_free(place: Place, overwrite: bool) -> None:
    """Nothing is there, or a group that may be replaced."""
    if not place.exists():
        return
    if not place.is_group():
        raise FileExistsError(
            f"{place} exists and is not a Zarr format 3 group, so it is left alone; "
            "choose another path"
        )
    if not overwrite:
        raise FileExistsError(
            f"{place} exists already; choose another name, or replace it with all it holds by "
            "overwrite=True (append_models adds models to a modality)"
        )


@contextmanager
def staged(target: Place, root: Place) -> Iterator[Place]:
    """A place to fill, which becomes ``target`` if nothing went wrong."""
    if isinstance(target, Folder) and isinstance(root, Folder):
        with _staged_folder(target, root) as stage:
            yield stage
    elif isinstance(target, Bucket) and isinstance(root, Bucket):
        with _staged_keys(target, root) as stage:
            yield stage
    else:
        # a transaction: what it holds counts when its owner commits it
        if target.exists():
            target.remove()
        with quiet():
            yield target


@contextmanager
def _staged_folder(target: Folder, root: Folder) -> Iterator[Folder]:
    root.path.parent.mkdir(parents=True, exist_ok=True)
    before = _state(target.path)
    with tempfile.TemporaryDirectory(
        prefix=f".{root.path.name}-", dir=root.path.parent, ignore_cleanup_errors=True
    ) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        with quiet():
            yield Folder(new)
        if _state(target.path) != before:
            raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")
        try:
            if target.path.exists():
                target.path.rename(old)
            new.rename(target.path)
        finally:
            if old.exists() and not target.path.exists():
                old.rename(target.path)


def _state(folder: Path) -> tuple[int, int] | None:
    if not folder.exists():
        return None
    stat = folder.stat()
    return stat.st_ino, stat.st_mtime_ns


@contextmanager
def _staged_keys(target: Bucket, root: Bucket) -> Iterator[Bucket]:
    """Where nothing can be renamed: the group's own metadata are set last, and make it one."""
    stage = root / f".{uuid4().hex}"
    before = target.metadata()
    try:
        with quiet():
            yield stage
        if target.metadata() != before:
            raise FileExistsError(f"{target} was changed by someone else meanwhile; run this again")
        for name in target.names():
            if not str(stage).endswith(f"/{name}"):
                target.remove(name)
        for name in sorted(stage.keys(), key="zarr.json".__eq__):
            target.take_over(stage, name, name)
    finally:
        stage.remove()


def write_array(
    place: Place,
    array: xr.DataArray,
    chunks: tuple[int, ...],
    fill: Fill | None = None,
) -> None:
    """Write representations as a group, and check their values."""
    sizes = dict(zip(array.dims, chunks, strict=True))
    # a name of its own: dask would hash the values to make one
    array = array.copy(data=array.chunk(sizes, token=uuid4().hex).data)
    encoding = {NAME: {**vectors(), "chunks": chunks}}
    dataset = array.to_dataset(name=NAME)
    if not isinstance(place, Files):
        to_zarr(dataset, place, encoding=encoding, mode="w-")
        validate(_array_of(place))
        return
    files = files_of(dataset, encoding)
    for name, data in files.items():
        place.put(name, data)
    layout = Layout.of(json.loads(files[f"{NAME}/zarr.json"]))
    assert layout is not None
    if not (fill or _blocks(array, widths(array)))(place / NAME, layout, (0,) * array.ndim):
        validate(_array_of(place))


def _blocks(array: xr.DataArray, real: xr.DataArray) -> Fill:
    """Fill with the blocks of a lazy array, computed once."""
    n_models = array.sizes["model"]
    by_model = set(real.dims) <= {"model"}

    def fill(place: Files, layout: Layout, first: Index) -> bool:
        written = array.data.map_blocks(
            write_chunk,
            place=place,
            layout=layout,
            first=first,
            real=np.broadcast_to(real.values, n_models) if by_model else None,
            axes=(array.get_axis_num("model"), array.get_axis_num("feature")),
            dtype=bool,
            chunks=tuple((1,) * len(sizes) for sizes in array.data.chunks),
            meta=np.empty((0,) * array.ndim, bool),
        )
        return bool(written.all().compute())

    return fill


# Growing


def grow(root: Place, modality: str, new: xr.DataArray, fill: Fill | None = None) -> None:
    """Add models to a modality; the caller holds the lock of the root."""
    place = root / modality
    carry_out(place)
    old = open_array(root, modality)
    new = _fitting(old, new)
    coords = _grown_coords(old, new)
    changed = coords.drop_vars([n for n, c in coords.variables.items() if "model" not in c.dims])
    n_old, width = old.sizes["model"], max(old.sizes["feature"], new.sizes["feature"])
    steps = _check_growth(place, old, width)
    grown = {**old.sizes, "model": coords.sizes["model"], "feature": width}
    shape = tuple(grown[dim] for dim in old.dims)
    blocks = new.drop_vars(new.coords).pad(feature=(0, width - new.sizes["feature"]))
    blocks = blocks.chunk(dict(zip(old.dims, steps, strict=True)), token=uuid4().hex)
    region = tuple(slice(n_old, None) if dim == "model" else slice(None) for dim in old.dims)
    metadata = {**((place / NAME).metadata() or {}), "shape": list(shape)}
    # where xarray looks up which variables are coordinates
    attrs = metadata.setdefault("attributes", {})
    named = str(attrs.get("coordinates", "")).split()
    attrs["coordinates"] = " ".join(dict.fromkeys([*named, "n_features"]))
    if not isinstance(place, Files):
        _grow_inside(place, changed, blocks, metadata, region)
        validate(_array_of(place)[region])
        return
    layout = Layout.of(metadata)
    target = None if layout else _beyond(place, shape)
    good = False
    try:
        if layout is None:
            _store_in(target, blocks, region)
            data = da.from_array(target, chunks=steps)
        else:
            first = tuple(n_old if dim == "model" else 0 for dim in old.dims)
            if first[0]:
                # what a writer that died has left there
                for number in range(n_old, shape[0]):
                    place.remove(f"{NAME}/c/{number}")
            good = (fill or _blocks(blocks, widths(new)))(place / NAME, layout, first)
            data = ChunkReader.of_layout(place, NAME, old.dims, layout, whole=True).lazy()
        if not good:
            validate(xr.DataArray(data, coords.coords, old.dims)[region])
    except BaseException:
        key_of = target.metadata.encode_chunk_key if target is not None else key
        for index in Layout(shape, steps, old.dtype).indices(region):
            place.remove(f"{NAME}/{key_of(index)}")
        raise
    commit(place, {**_coordinate_files(place, changed), f"{NAME}/zarr.json": _json(metadata)})


def _coordinate_files(place: Place, changed: xr.Dataset) -> dict[str, bytes]:
    """Files of coordinates that grow; ``n_features`` first, without which padding is data."""
    files = files_of(changed)
    del files["zarr.json"]
    group = place.metadata() or {}
    if group.pop("consolidated_metadata", None):
        files["zarr.json"] = _json(group)
    order = sorted(files, key=lambda key: not key.startswith("n_features/"))
    return {key: files[key] for key in order}


def _json(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()


def _store_in(target: Any, blocks: xr.DataArray, region: tuple[slice, ...]) -> None:
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):
        da.store(blocks.data, target, regions=region, lock=False)


def _beyond(place: Place, shape: tuple[int, ...]) -> Any:
    """The array of representations as it will be; only what we hold of it knows of its growth."""
    import zarr

    array = _stored(place, "r+")
    inner = zarr.AsyncArray(array.metadata.update_shape(shape), array.store_path)
    return zarr.Array(inner)


def _grow_inside(
    place: Place,
    changed: xr.Dataset,
    blocks: xr.DataArray,
    metadata: Mapping[str, Any],
    region: tuple[slice, ...],
) -> None:
    """In a transaction, where the order does not matter."""
    import zarr

    group = zarr.open_group(place.store, path=place.inside, mode="r+")
    stored = _stored(place, "r+")
    stored.resize(tuple(metadata["shape"]))
    stored.attrs.update(metadata["attributes"])
    for name in map(str, changed.variables):
        if name in group:
            del group[name]
    attrs = {key: value for key, value in group.attrs.items() if key != "coordinates"}
    to_zarr(changed.assign_attrs(attrs), place, mode="a")
    _store_in(stored, blocks, region)


def commit(place: Files, files: Mapping[str, bytes]) -> None:
    """Change small files of a group together; the caller holds the lock of the root."""
    listed = {key: base64.b64encode(data).decode() for key, data in files.items()}
    text = json.dumps(listed).encode()
    place.put(COMMIT, text, b"\n%d" % checksum(np.frombuffer(text, np.uint8)))
    carry_out(place)


def carry_out(place: Place) -> None:
    """Carry out a commit, if there is one; the caller holds the lock of the root."""
    if not isinstance(place, Files) or not place.exists(COMMIT):
        return
    text, _, crc = place.read(COMMIT).tobytes().rpartition(b"\n")
    files: dict[str, str] = {}
    if crc.isdigit() and int(crc) == checksum(np.frombuffer(text, np.uint8)):
        files = json.loads(text)
    if not files or not all(OF_A_GROUP.fullmatch(name) for name in files):
        raise DamagedStoreError(
            f"{place / COMMIT} is damaged; delete it if the modality opens without it"
        )
    for name, data in files.items():
        place.put(name, base64.b64decode(data))
    place.remove(COMMIT)


def finish_commit(root: Place, place: Place) -> bytes | None:
    """Carry out a commit that someone left behind, and tell the state of the group.

    The state is the metadata of the representations, which a commit changes last.
    """
    if not isinstance(place, Files) or not isinstance(root, Files):
        return None
    if place.exists(COMMIT):
        try:
            with root.lock(f"writing {place}"):
                carry_out(place)
        except PermissionError as error:
            raise PermissionError(
                f"{place} was interrupted while models were added, and cannot be finished without "
                "the right to write; open it once as its owner"
            ) from error
    try:
        return place.read(f"{NAME}/zarr.json").tobytes()
    except FileNotFoundError:
        return None


def _stored(place: Place, mode: Any) -> Any:
    """The array of representations as Zarr has it."""
    import zarr

    return zarr.open_array(place.store, path=f"{place.inside}/{NAME}".lstrip("/"), mode=mode)


# What may grow
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


def _check_growth(place: Place, old: xr.DataArray, width: int) -> tuple[int, ...]:
    """The blocks to write, if the array on disk can grow by whole ones."""
    array = _stored(place, "r")
    steps = array.shards or array.chunks
    anew = "open it and write it anew with write_representations(overwrite=True)"
    wider = width > old.sizes["feature"]
    if steps[old.get_axis_num("model")] != 1:
        raise SchemaError(f"{place} was not written by xconverge: its chunks mix models; {anew}")
    if wider and not np.isnan(array.fill_value):
        raise SchemaError(f"{place} would pad with {array.fill_value}, where NaN is meant; {anew}")
    growing = {"model", "feature"} if wider else {"model"}
    others = {n: v for n, v in open_group(place).data_vars.items() if n != NAME}
    stuck = [name for name, variable in others.items() if growing & set(variable.dims)]
    if stuck:
        raise SchemaError(
            f"{place} also holds {listing(stuck)} over {sorted(growing)}, which reps lacks; "
            "move it out of the group"
        )
    return tuple(steps)
