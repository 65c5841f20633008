"""Groups of a store: how they are stored, read and made."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import xarray as xr

from xconverge.io.zarr.backends import Backend, KeyValueBackend, ZarrStoreBackend
from xconverge.io.zarr.chunks_on_disk import Index, Layout, key, write_chunk
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.journal import recover
from xconverge.io.zarr.reader import ChunkReader
from xconverge.labels.checks import validate, widths
from xconverge.labels.messages import DamagedStoreError, SchemaError

WHOLE: dict[str, Any] = {"xconverge_layout": 2}
"""Attrs of a group of which every chunk is written and has a checksum: a missing one is damage."""
WRITING = "xconverge_writing"
"""Attr of each variable with data: a new text each time it is written, so that a handle that was
opened before is told that the numbers are no longer those of its labels."""
# consolidated metadata warn for format 3, and go stale once others append: a reader of ours looks
# at each group itself
WRITE: dict[str, Any] = {"zarr_format": 3, "consolidated": False}
READ: dict[str, Any] = {
    "consolidated": False,
    # else xarray makes durations of numbers whose attrs say units="s"
    "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
}
Fill = Callable[[KeyValueBackend, Layout, Index], bool]
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


def to_zarr(dataset: xr.Dataset, backend: Backend, **kwargs: Any) -> None:
    """Write a dataset as a group, checksums and empty chunks included."""
    encoding = {**checked(dataset), **kwargs.pop("encoding", {})}
    writing = {WRITING: uuid4().hex}
    dataset = dataset.assign({k: v.assign_attrs(writing) for k, v in dataset.data_vars.items()})
    # Zarr leaves out chunks that hold the fill value alone, and a missing one is damage to us
    dataset.assign_attrs(WHOLE).to_zarr(
        backend.store,
        group=backend.inside or None,
        encoding=encoding,
        write_empty_chunks=True,
        **WRITE,
        **kwargs,
    )


def files_of(dataset: xr.Dataset, encoding: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The files of a group by key, without the chunks of what is lazy; ``zarr.json`` comes last."""
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    # compute=False: xarray writes metadata and what is in memory, and leaves dask arrays alone
    to_zarr(
        dataset,
        ZarrStoreBackend(MemoryStore(held), ""),
        encoding=encoding or {},
        mode="w",
        compute=False,
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


def open_group(backend: Backend) -> xr.Dataset:
    """A group as xarray opens it: all lazy, but labels."""
    with quiet(), damage_of(backend, "its labels or metadata"):
        dataset: xr.Dataset = xr.open_zarr(
            backend.store, group=backend.inside or None, chunks=None, **READ
        )
    for name in set(backend.names()) - set(map(str, dataset.variables)):
        # Zarr passes over what it cannot read
        if (backend / name).exists("zarr.json") and not (backend / name).is_group():
            raise DamagedStoreError(
                f"{backend}: the metadata of {name!r} cannot be read. Bring {name}/zarr.json back "
                "from a copy"
            )
    return dataset


@contextmanager
def damage_of(backend: Backend, what: str) -> Iterator[None]:
    """Whatever a library says of files that are not as they were written."""
    try:
        yield
    except (OSError, SchemaError):
        raise
    except Exception as error:
        raise DamagedStoreError(
            f"{backend}: {what} cannot be read: {type(error).__name__}: {error}. Bring the file "
            "back from a copy"
        ) from error


def open_array(root: Backend, modality: str) -> xr.DataArray:
    """Representations: lazy in the chunks of the store, coordinates in memory, no encoding."""
    backend = root / modality
    # an append changes several files: what was read counts if no append ended meanwhile
    for _ in range(100):
        before = recover(root, backend)
        try:
            array = array_of(backend)
        except ValueError:
            # read while someone committed
            if recover(root, backend) == before:
                raise
            continue
        if recover(root, backend) == before:
            return array
    raise FileExistsError(f"{backend} is being written again and again; open it later")


def array_of(backend: Backend) -> xr.DataArray:
    """What `open_array` opens, whatever happens meanwhile."""
    return decoded(open_group(backend)[[NAME]], backend)[NAME]


def is_whole(backend: Backend) -> bool:
    """Whether every chunk of a group was written, so that a missing one is damage."""
    attrs = (backend.metadata() or {}).get("attributes", {})
    return bool(WHOLE.items() <= attrs.items())


def decoded(dataset: xr.Dataset, backend: Backend) -> xr.Dataset:
    """A group as it was given to us: data lazy, coordinates in memory, nothing of its files.

    Text coordinates are objects; there is no encoding, which a slice would take along.
    """
    whole = is_whole(backend)
    data, coords = {}, {}
    for name, variable in dataset.variables.items():
        if name in dataset.coords:
            coords[name] = _in_memory(str(name), variable, backend, whole)
        else:
            layout = Layout.of((backend / str(name)).metadata() or {}) if name == NAME else None
            attrs = dict(variable.attrs)
            reader = ChunkReader(
                backend, str(name), variable, layout, whole, (WRITING, attrs.pop(WRITING, None))
            )
            data[name] = xr.Variable(variable.dims, reader.lazy(), attrs)
    attrs = {key: value for key, value in dataset.attrs.items() if key not in WHOLE}
    return xr.Dataset(data, coords, attrs).drop_encoding()


def _in_memory(name: str, variable: xr.Variable, backend: Backend, whole: bool) -> xr.Variable:
    if whole:
        check_chunks(backend, name)
    with (
        damage_of(backend, f"the coordinate {name!r}"),
        dask.config.set(scheduler="synchronous"),
    ):
        loaded: xr.Variable = variable.compute()
    return with_objects(loaded)


def with_objects(variable: xr.Variable) -> xr.Variable:
    """Text as Python objects, as xarray's users have it."""
    return variable.astype(object) if variable.dtype.kind == "T" else variable


def check_chunks(backend: Backend, name: str) -> None:
    """Every chunk of a variable is there; Zarr would read 0 or empty text where one is not."""
    for index in chunk_indices((backend / name).metadata() or {}):
        check_chunk(backend, name, index)


def chunk_indices(metadata: Mapping[str, Any]) -> Iterator[Index]:
    """The chunks of an array, in order; none where the grid is not a regular one."""
    steps = metadata.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    if steps is not None:
        sizes = zip(metadata["shape"], steps, strict=True)
        yield from np.ndindex(*(-(-size // step) for size, step in sizes))


def check_chunk(backend: Backend, name: str, index: Index) -> None:
    """A chunk of a variable is there."""
    if not (backend / name).exists(key(index)):
        raise DamagedStoreError(
            f"{backend}: chunk {key(index)} of {name!r} is missing. Bring the file back from a copy"
        )


# Making


def new_group(backend: Backend, attrs: Mapping[str, Any] | None = None) -> None:
    """An empty group."""
    import zarr

    if isinstance(backend, KeyValueBackend):
        metadata = {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs or {})}
        backend.put("zarr.json", to_json(metadata))
    else:
        zarr.create_group(
            backend.store, path=backend.inside, zarr_format=3, attributes=dict(attrs or {})
        )


def to_json(metadata: Mapping[str, Any]) -> bytes:
    """Metadata as ``zarr.json`` has them."""
    return json.dumps(metadata, indent=2).encode()


def write_array(
    backend: Backend,
    array: xr.DataArray,
    chunks: tuple[int, ...],
    fill: Fill | None = None,
) -> None:
    """Write representations as a group, and check their values."""
    array = in_chunks(array, chunks)
    encoding = {NAME: {**vectors(), "chunks": chunks}}
    if not isinstance(backend, KeyValueBackend):
        to_zarr(array.to_dataset(name=NAME), backend, encoding=encoding, mode="w-")
        validate(array_of(backend))
        return
    blank = array.copy(data=unwritten(array.shape, array.dtype))
    files = files_of(blank.to_dataset(name=NAME), encoding)
    for name, data in files.items():
        backend.put(name, data)
    layout = Layout.of(json.loads(files[f"{NAME}/zarr.json"]))
    assert layout is not None
    if not (fill or by_blocks(array, widths(array)))(backend / NAME, layout, (0,) * array.ndim):
        validate(array_of(backend))


def unwritten(shape: tuple[int, ...], dtype: Any) -> da.Array:
    """Data of an array of which only the metadata are to be written."""
    blank: da.Array = da.zeros(shape, dtype=dtype, chunks=shape)
    return blank


def in_chunks(array: xr.DataArray, chunks: tuple[int, ...]) -> xr.DataArray:
    """The array in dask chunks; of one in memory, views, where dask would copy all of it."""
    name = f"{NAME}-{uuid4().hex}"
    if array.chunks is not None:
        sizes = dict(zip(array.dims, chunks, strict=True))
        return array.copy(data=array.chunk(sizes, token=name).data)
    layout = Layout(array.shape, chunks, array.dtype)
    blocks = {(name, *index): array.values[layout.region(index)] for index in layout.indices()}
    cuts = da.core.normalize_chunks(chunks, array.shape)
    data = da.Array(blocks, name, cuts, meta=np.empty((0,) * array.ndim, array.dtype))
    return array.copy(data=data)


def by_blocks(array: xr.DataArray, real: xr.DataArray) -> Fill:
    """Fill with the blocks of a lazy array, computed once."""
    n_models = array.sizes["model"]
    by_model = set(real.dims) <= {"model"}

    def fill(backend: KeyValueBackend, layout: Layout, first: Index) -> bool:
        written = array.data.map_blocks(
            write_chunk,
            backend=backend,
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
