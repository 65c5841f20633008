"""Models are appended to a modality.

Their chunks come first, beyond the shape of the array, where nobody looks; then everything else
that changes, in one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.zarr.backends import Backend, KeyValueBackend
from xconverge.io.zarr.chunks_on_disk import Layout
from xconverge.io.zarr.encoding import NAME, encoded, labels_where
from xconverge.io.zarr.groups import (
    Fill,
    array_of,
    by_blocks,
    files_of,
    in_chunks,
    open_array,
    open_group,
    to_json,
    to_zarr,
)
from xconverge.io.zarr.journal import commit, replay
from xconverge.io.zarr.reader import ChunkReader
from xconverge.labels.checks import validate, widths
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, listing

WHAT_IT_HAS = "Append what the store has, or write another modality with write_representations"
# What can follow what along a coordinate; all else is a number
KINDS = {"O": "text", "T": "text", "U": "text", "b": "bool", "M": "time", "m": "duration"}


def append(root: Backend, modality: str, new: xr.DataArray, fill: Fill | None = None) -> None:
    """Add models to a modality; the caller holds the lock of the root."""
    backend = root / modality
    replay(backend)
    old = open_array(root, modality)
    new = _aligned(old, new)
    coords = _appended_coords(old, new)
    changed = coords.drop_vars([n for n, c in coords.variables.items() if "model" not in c.dims])
    n_old, width = old.sizes["model"], max(old.sizes["feature"], new.sizes["feature"])
    steps = _check_append(backend, old, width)
    grown = {**old.sizes, "model": coords.sizes["model"], "feature": width}
    shape = tuple(grown[dim] for dim in old.dims)
    blocks = in_chunks(new.drop_vars(new.coords), steps)
    blocks = in_chunks(blocks.pad(feature=(0, width - new.sizes["feature"])), steps)
    region = tuple(slice(n_old, None) if dim == "model" else slice(None) for dim in old.dims)
    metadata = {**((backend / NAME).metadata() or {}), "shape": list(shape)}
    # where xarray looks up which variables are coordinates
    attrs = metadata.setdefault("attributes", {})
    named = str(attrs.get("coordinates", "")).split()
    attrs["coordinates"] = " ".join(dict.fromkeys([*named, "n_features"]))
    if not isinstance(backend, KeyValueBackend):
        _append_in_transaction(backend, changed, blocks, metadata, region)
        validate(array_of(backend)[region])
        return
    layout = Layout.of(metadata)
    target: Any = None if layout else _beyond(backend, shape)
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
                    backend.remove(f"{NAME}/c/{number}")
            good = (fill or by_blocks(blocks, widths(new)))(backend / NAME, layout, first)
            data = ChunkReader.of_layout(backend, NAME, old.dims, layout, whole=True).lazy()
        if not good:
            validate(xr.DataArray(data, coords.coords, old.dims)[region])
    except BaseException:
        key_of = layout.key if layout else target.metadata.encode_chunk_key
        for index in Layout(shape, steps, old.dtype).indices(region):
            backend.remove(f"{NAME}/{key_of(index)}")
        raise
    commit(backend, {**_coordinate_files(backend, changed), f"{NAME}/zarr.json": to_json(metadata)})


def _coordinate_files(backend: Backend, changed: xr.Dataset) -> dict[str, bytes]:
    """Files of coordinates that grow; ``n_features`` first, without which padding is data."""
    files = files_of(changed)
    del files["zarr.json"]
    group = backend.metadata() or {}
    if group.pop("consolidated_metadata", None):
        files["zarr.json"] = to_json(group)
    order = sorted(files, key=lambda key: not key.startswith("n_features/"))
    return {key: files[key] for key in order}


def _store_in(target: Any, blocks: xr.DataArray, region: tuple[slice, ...]) -> None:
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):
        da.store(blocks.data, target, regions=region, lock=False)


def _beyond(backend: Backend, shape: tuple[int, ...]) -> Any:
    """The array of representations as it will be; only what we hold of it knows of its growth."""
    import zarr

    array = _stored(backend, "r+")
    inner = zarr.AsyncArray(array.metadata.update_shape(shape), array.store_path)
    return zarr.Array(inner)


def _append_in_transaction(
    backend: Backend,
    changed: xr.Dataset,
    blocks: xr.DataArray,
    metadata: Mapping[str, Any],
    region: tuple[slice, ...],
) -> None:
    """In a transaction, where the order does not matter."""
    import zarr

    group = zarr.open_group(backend.store, path=backend.inside, mode="r+")
    stored = _stored(backend, "r+")
    stored.resize(tuple(metadata["shape"]))
    stored.attrs.update(metadata["attributes"])
    for name in map(str, changed.variables):
        if name in group:
            del group[name]
    attrs = {key: value for key, value in group.attrs.items() if key != "coordinates"}
    to_zarr(changed.assign_attrs(attrs), backend, mode="a")
    _store_in(stored, blocks, region)


def _stored(backend: Backend, mode: Any) -> Any:
    """The array of representations as Zarr has it."""
    import zarr

    return zarr.open_array(backend.store, path=f"{backend.inside}/{NAME}".lstrip("/"), mode=mode)


# What may grow
def _aligned(old: xr.DataArray, new: xr.DataArray) -> xr.DataArray:
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
            new = join_labels(old, new, str(dim), "exact", ("the store", "reps"), WHAT_IT_HAS)[1]
        elif old.sizes[dim] != new.sizes[dim]:
            raise SchemaError(
                f"{dim!r} has {old.sizes[dim]} positions in the store and {new.sizes[dim]} in reps"
            )
    return new.transpose(*old.dims).astype(old.dtype)


def _appended_coords(old: xr.DataArray, new: xr.DataArray) -> xr.Dataset:
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
    return encoded(
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


def _check_append(backend: Backend, old: xr.DataArray, width: int) -> tuple[int, ...]:
    """The blocks to write, if the array on disk can grow by whole ones."""
    array = _stored(backend, "r")
    steps = array.shards or array.chunks
    anew = "open it and write it anew with write_representations(overwrite=True)"
    wider = width > old.sizes["feature"]
    if steps[old.get_axis_num("model")] != 1:
        raise SchemaError(f"{backend} was not written by xconverge: its chunks mix models; {anew}")
    if wider and not np.isnan(array.fill_value):
        raise SchemaError(
            f"{backend} would pad with {array.fill_value}, where NaN is meant; {anew}"
        )
    growing = {"model", "feature"} if wider else {"model"}
    others = {n: v for n, v in open_group(backend).data_vars.items() if n != NAME}
    stuck = [name for name, variable in others.items() if growing & set(variable.dims)]
    if stuck:
        raise SchemaError(
            f"{backend} also holds {listing(stuck)} over {sorted(growing)}, which reps lacks; "
            "move it out of the group"
        )
    return tuple(steps)
