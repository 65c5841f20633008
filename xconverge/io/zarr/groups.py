"""Groups of a store: how they are stored and made whole.

A group is what is written as one: a modality, a neighbour graph, RDMs, or a whole study. All its
metadata are in one document, the consolidated metadata of Zarr, which is set last. So a reader who
asks for the group sees it as it was before a change, or after.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.io.zarr import checksums
from xconverge.io.zarr.checksums import Checksums
from xconverge.io.zarr.draft import commit, draft_of
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.exchange import UNFINISHED
from xconverge.io.zarr.places import Place, to_json
from xconverge.io.zarr.snapshot import DECODE, Documents, coordinate_paths, own_part, walk
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import validate, widths
from xconverge.labels.messages import listing

MODELS = 1024
"""Models of a chunk of their coordinates, which grow when models are added."""
INTEGERS = ("dtype", "_FillValue")
"""Encoding of floats that are whole numbers and NaN, for which -1 stands."""
GOOD, FULL = 1, 2
"""Of a block: its values are surely good; it holds anything but NaN."""
WRITE: dict[str, Any] = {"zarr_format": 3, "consolidated": False}


# How things are stored. Zarr takes a third of the time of importing everything, and is loaded late


def vectors() -> dict[str, Any]:
    """Encoding of representations.

    Float vectors hardly compress: zstd saves 8 % and doubles the time of reading; a checksum adds
    a tenth. What is not written reads as NaN by Zarr's own ``fill_value``; xarray's ``_FillValue``
    would mask every value that is read, at half the speed.
    """
    from zarr.codecs import Crc32cCodec

    return {"compressors": (Crc32cCodec(),), "fill_value": np.nan, "_FillValue": None}


def _encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Encoding of all other variables: compressed, with a checksum; as integers if so asked."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs = {"compressors": (ZstdCodec(), Crc32cCodec())}
    return {
        str(name): {
            **codecs,
            **{key: variable.encoding[key] for key in INTEGERS if key in variable.encoding},
            **({"chunks": _whole(variable)} if name in dataset.coords else {}),
        }
        for name, variable in dataset.variables.items()
    }


def _whole(variable: xr.Variable) -> tuple[int, ...]:
    """A coordinate is one chunk, with room for models."""
    return tuple(MODELS if dim == "model" else max(size, 1) for dim, size in variable.sizes.items())


@contextmanager
def quiet() -> Iterator[None]:
    """Consolidated metadata are not part of the Zarr specification yet, as zarr says each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield


# Writing


def new_group(place: Place, attrs: Mapping[str, Any] | None = None) -> None:
    """An empty group."""
    import zarr

    zarr.create_group(place.store, path=place.path, zarr_format=3, attributes=dict(attrs or {}))


def write_group(place: Place, nodes: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as a group and the groups in it; lazy ones are computed, block by block."""
    for name, dataset in nodes.items():
        _to_zarr(dataset, place / name, first=not name)
    draft = draft_of(place)
    for path, ends in finish(draft).chunks.items():
        check_written(place / path, ends, np.ones(ends.shape, bool))
    commit(draft, place)


def write_begun(place: Place, dataset: xr.Dataset) -> None:
    """Write labels as a group to which arrays will be added: it has no document of them all."""
    draft = draft_of(place)
    _to_zarr(dataset, draft)
    _describe(draft, begun=True)
    commit(draft, place)


def _to_zarr(dataset: xr.Dataset, place: Place, first: bool = True, **kwargs: Any) -> None:
    encoding = _encoding(dataset)
    for name, given in kwargs.pop("encoding", {}).items():
        encoding[name] = given
    dataset = dataset.assign_coords({name: c.load() for name, c in dataset.coords.items()})
    attrs = {**dataset.attrs, **({UNFINISHED: True} if first else {})}
    # a chunk that Zarr leaves out because it holds the fill value reads like one that is missing
    dataset.assign_attrs(attrs).to_zarr(
        place.store,
        group=place.group,
        encoding=encoding,
        write_empty_chunks=True,
        mode="a",  # a lock may lie there
        **WRITE,
        **kwargs,
    )


def write_array(place: Place, array: xr.DataArray, chunks: tuple[int, ...]) -> None:
    """Write representations as a group, and check their values."""
    blank = array.copy(data=da.zeros(array.shape, dtype=array.dtype, chunks=array.shape))
    encoding = {NAME: {**vectors(), "chunks": chunks}}
    # compute=False: metadata and what is in memory are written, and dask arrays are left alone
    _to_zarr(blank.to_dataset(name=NAME), place, encoding=encoding, compute=False)
    good, full = store_blocks(array, stored_array(place, NAME, "r+"), widths(array))
    if not good:
        validate(plain_array(place))
    draft = draft_of(place)
    check_written(place / NAME, finish(draft).chunks[NAME], full)
    commit(draft, place)


def check_written(place: Place, ends: Array, full: Array) -> None:
    """Chunks are there where blocks held anything: workers may write to another disk than ours."""
    lost = np.argwhere(full & (ends == checksums.NONE))
    if len(lost):
        keys = [checksums.chunk_key(tuple(index)) for index in lost.tolist()]
        raise OSError(
            f"{place}: chunks {listing(keys, 3)} were written and are not there; the workers of a "
            "cluster must share the folder of the store with whoever opens it"
        )


def stored_array(place: Place, name: str, mode: Any = "r") -> Any:
    """An array as Zarr has it."""
    import zarr

    return zarr.open_array(place.store, path=(place / name).path, mode=mode)


def plain_array(place: Place) -> xr.DataArray:
    """Representations as xarray opens them."""
    dataset = xr.open_zarr(place.store, group=place.group, consolidated=False, **DECODE)
    array: xr.DataArray = dataset[NAME]
    return array


def store_blocks(
    array: xr.DataArray, target: Any, real: xr.DataArray, first_model: int = 0
) -> tuple[bool, Array]:
    """Write the blocks of an array, computed once.

    ``target`` may be larger along ``model``, where ``array`` starts at ``first_model``. Returns
    whether all values are surely good, and for each block whether it holds anything but NaN.
    """
    steps = target.shards or target.chunks
    blocks: Any = _in_blocks(array, steps)
    by_model = set(real.dims) <= {"model"}
    written = blocks.map_blocks(
        _write_block,
        target=target,
        steps=steps,
        start=tuple(first_model if dim == "model" else 0 for dim in array.dims),
        real=np.broadcast_to(real.values, array.sizes["model"]) if by_model else None,
        axes=(array.get_axis_num("model"), array.get_axis_num("feature")),
        dtype=np.uint8,
        chunks=tuple((1,) * len(sizes) for sizes in blocks.chunks),
        meta=np.empty((0,) * array.ndim, np.uint8),
    ).compute()
    return bool((written & GOOD).all()), written & FULL > 0


def _in_blocks(array: xr.DataArray, steps: tuple[int, ...]) -> da.Array:
    """The array in dask blocks; of one in memory, views, where dask would copy all of it."""
    name = f"{NAME}-{uuid4().hex}"
    if array.chunks is not None:
        sizes = dict(zip(array.dims, steps, strict=True))
        lazy: da.Array = array.chunk(sizes, token=name).data
        return lazy
    cuts = da.core.normalize_chunks(steps, array.shape)
    regions = da.core.slices_from_chunks(cuts)
    indices = np.ndindex(*map(len, cuts))
    blocks = {(name, *i): array.values[at] for i, at in zip(indices, regions, strict=True)}
    return da.Array(blocks, name, cuts, meta=np.empty((0,) * array.ndim, array.dtype))


def _write_block(
    block: Array,
    target: Any,
    steps: tuple[int, ...],
    start: tuple[int, ...],
    real: Array | None,
    axes: tuple[int, int],
    block_id: tuple[int, ...],
) -> Array:
    """Write a block; `GOOD` if real features are finite and padding is NaN, `FULL` if it is not."""
    at = [first + i * step for first, i, step in zip(start, block_id, steps, strict=True)]
    target[tuple(slice(i, i + n) for i, n in zip(at, block.shape, strict=True))] = block
    good, full = False, not (np.isnan(block[..., :1]).all() and np.isnan(block).all())
    if real is not None:
        model, feature = axes
        rows = np.moveaxis(block, feature, -1)
        width = max(int(real[block_id[model]]) - at[feature], 0)
        good = is_finite(rows[..., :width]) and bool(np.isnan(rows[..., width:]).all())
    return np.full((1,) * block.ndim, good * GOOD + full * FULL, np.uint8)


def is_finite(values: Array) -> bool:
    """Whether all is finite, in one fast pass; the sum of huge numbers may overflow and say no."""
    with np.errstate(over="ignore", invalid="ignore"):
        dtype = np.result_type(values, np.float32)
        return bool(np.isfinite(np.add.reduce(values, axis=None, dtype=dtype)))


def finish(draft: Place, known: Checksums | None = None) -> Checksums:
    """Make a group whole: checksums of what is there, and one document for all of it.

    ``known`` has the checksums of chunks that are not new.
    """
    import zarr

    sums = _describe(draft, known)
    if draft.consolidates:
        with quiet():
            zarr.consolidate_metadata(draft.store, path=draft.group)
    return sums


def _describe(draft: Place, known: Checksums | None = None, begun: bool = False) -> Checksums:
    """Say of a group that it is not unfinished, and what its chunks and labels must be."""
    documents = walk(draft)
    own = own_part(documents[""])
    own.setdefault("attributes", {}).pop(UNFINISHED, None)
    sums = _checksums(draft, {**documents, "": own}, known)
    if begun:
        sums.documents = {path: checksums.of_whole(documents[path]) for path in sums.documents}
    group = {"zarr_format": 3, "node_type": "group", "attributes": sums.to_attrs()}
    draft.put({f"{checksums.GROUP}/zarr.json": to_json(group), "zarr.json": to_json(own)})
    return sums


def _checksums(place: Place, documents: Documents, known: Checksums | None) -> Checksums:
    sums = Checksums(known.writing if known else uuid4().hex)
    coordinates = coordinate_paths(documents)
    for path, document in documents.items():
        if path == checksums.GROUP:
            continue
        if document["node_type"] == "group":
            sums.attrs[path] = checksums.of_json(document.get("attributes", {}))
            continue
        sums.documents[path] = checksums.of_document(document)
        if path in coordinates:
            values = np.asarray(stored_array(place, path)[...])
            sums.values[path] = values.shape, checksums.of_values(values)
        else:
            before = known.chunks.get(path) if known else None
            sums.chunks[path] = _chunk_ends(place / path, document, before)
    return sums


def _chunk_ends(place: Place, document: Mapping[str, Any], known: Array | None) -> Array:
    """What all chunks of an array end with; models that were known are not read again."""
    grid = checksums.chunk_grid(document)
    start = [0] * len(grid)
    ends = np.full(grid, checksums.NONE)
    if known is not None and known.shape == grid:
        return known
    if known is not None:
        model = document["dimension_names"].index("model")
        start[model] = known.shape[model]
        # where models got wider, those that were there have no chunk for that
        ends[tuple(map(slice, known.shape))] = known
    new = tuple(slice(first, None) for first in start)
    ends[new] = checksums.read_chunk_ends(place, grid, tuple(start))
    return ends
