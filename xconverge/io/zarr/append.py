"""Models are appended to a modality.

Chunks come first, beyond the shape of the arrays, where nobody looks; then the documents of the
arrays, and last the one document of the group, by which readers go. A process that is killed in
between leaves documents that disagree: the next that changes the modality puts them right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.zarr.checksums import chunk_grid
from xconverge.io.zarr.draft import commit, draft_of
from xconverge.io.zarr.encoding import NAME, encoded, labels_where
from xconverge.io.zarr.exchange import UNFINISHED, remove_left, remove_partial, restore_replaced
from xconverge.io.zarr.groups import (
    check_written,
    finish,
    plain_array,
    store_blocks,
    stored_array,
)
from xconverge.io.zarr.places import Place, to_json
from xconverge.io.zarr.provenance import PROVENANCE, merged, provenance_of
from xconverge.io.zarr.root import ensure_store, open_array
from xconverge.io.zarr.snapshot import (
    DECODE,
    Documents,
    Snapshot,
    consolidated,
    has_grown,
    same,
    walk,
)
from xconverge.labels.checks import validate, widths
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, listing

WHAT_IT_HAS = "Append what the store has, or write another modality with write_representations"
# What can follow what along a coordinate; all else is a number
KINDS = {"O": "text", "T": "text", "U": "text", "b": "bool", "M": "time", "m": "duration"}


def append(root: Place, modality: str, new: xr.DataArray) -> None:
    """Add models to a modality; the caller holds the lock of the root."""
    root.check_changes()
    place = root / modality
    remove_left(root)
    restore(place)
    ensure_store(root)
    old = open_array(root, modality)
    new = _aligned(old, new)
    coords = _appended_coords(old, new)
    made = merged(provenance_of(old.attrs), provenance_of(new.attrs), f"modality {modality!r}")
    n_old, width = old.sizes["model"], max(old.sizes["feature"], new.sizes["feature"])
    snapshot = Snapshot.of(place)
    _check_append(snapshot, old, width)
    draft = draft_of(place)
    _append_coordinates(draft, coords, n_old)
    grown = {**old.sizes, "model": coords.sizes["model"], "feature": width}
    target = stored_array(draft, NAME, "r+")
    target.resize(tuple(grown[dim] for dim in old.dims))
    named = str(target.attrs.get("coordinates", "")).split()
    target.attrs["coordinates"] = " ".join(dict.fromkeys([*named, "n_features"]))
    if made:
        target.attrs[PROVENANCE] = made
    blocks = new.drop_vars(new.coords).pad(feature=(0, width - new.sizes["feature"]))
    try:
        good, full = store_blocks(blocks, target, widths(new), n_old)
        if not good:
            validate(plain_array(draft).isel(model=slice(n_old, None)))
        ends = finish(draft, snapshot.checksums).chunks[NAME]
        added = tuple(slice(n_old if dim == "model" else 0, None) for dim in old.dims)
        check_written(place / NAME, ends[added], full)
    except BaseException:
        # Zarr deletes the chunks outside
        target.resize(old.shape)
        raise
    commit(draft, place)


def restore(place: Place) -> None:
    """Put a group right, where somebody else has added to it or was killed.

    The caller holds the lock of the root.
    """
    if place.folder is not None:
        restore_replaced(place.folder)
        remove_partial(place.folder)
    if place.consolidates:
        _restore_documents(place)
        _remove_unseen(place)


def _restore_documents(place: Place) -> None:
    """Make the documents of a group agree."""
    documents = consolidated(place)
    own = walk(place)
    if not documents:
        if own and not own[""].get("attributes", {}).get(UNFINISHED):
            _finish(place, own)
        return
    wrong = [path for path in documents if path and not same(documents[path], own.get(path))]
    if not wrong and set(own) == set(documents):
        return
    if has_grown(own, documents):
        # all arrays have grown, which is the last thing that is done before the group is told
        _finish(place, own)
        return
    place.put({f"{path}/zarr.json": to_json(documents[path]) for path in wrong})
    if "n_features" not in documents:
        # made by an append that was killed
        place.remove("n_features")


def _remove_unseen(place: Place) -> None:
    """Remove chunks of models beyond the array: one that grows later would show them."""
    document = (place / NAME).document() or {}
    dims = document.get("dimension_names") or ()
    if "model" in dims:
        axis = dims.index("model")
        _remove_from(place / NAME / "c", axis, chunk_grid(document)[axis])


def _remove_from(chunks: Place, axis: int, first: int) -> None:
    """Remove chunks from one on along an axis."""
    for name in chunks.names():
        if axis:
            _remove_from(chunks / name, axis - 1, first)
        elif name.isdecimal() and int(name) >= first:
            chunks.remove(name)


def _finish(place: Place, own: Documents) -> None:
    draft = draft_of(place)
    finish(draft, Snapshot(place, own).checksums)
    commit(draft, place)


def _append_coordinates(draft: Place, coords: xr.Dataset, n_old: int) -> None:
    """Coordinates grow by those of the new models; ``n_features`` is made where it was not."""
    before = draft.document() or {}
    wanted = coords.drop_vars([n for n, c in coords.variables.items() if "model" not in c.dims])
    there: dict[Any, Any] = dict(plain_array(draft).coords)
    made = wanted.drop_vars([name for name in wanted.variables if name in there])
    options: dict[str, Any] = {"group": draft.group, "mode": "a", "consolidated": False}
    if made.variables:
        made.isel(model=slice(n_old)).to_zarr(draft.store, **options)
        there |= _as_written(draft, made)
    new = wanted.isel(model=slice(n_old, None))
    new = new.assign_coords({name: _as_stored(c, there[name]) for name, c in new.coords.items()})
    new.to_zarr(draft.store, append_dim="model", **options)
    # xarray has replaced the attrs of the group by those of the coordinates
    draft.put({"zarr.json": to_json(before)})
    for name, variable in _as_written(draft, wanted).items():
        _check_stored(str(name), variable.values, wanted[name].values)


def _as_written(draft: Place, wanted: xr.Dataset) -> dict[Any, xr.Variable]:
    """Coordinates as they are read back; representations have not grown yet, and are left out."""
    dataset = xr.open_zarr(
        draft.store, group=draft.group, consolidated=False, drop_variables=NAME, **DECODE
    )
    there = dataset.variables
    return {name: there[name].transpose(*c.dims) for name, c in wanted.variables.items()}


def _as_stored(new: xr.DataArray, there: xr.DataArray) -> xr.DataArray:
    """Numbers in the dtype of the store, if it can hold them."""
    if new.dtype.kind == "T" and there.dtype.kind == "O":
        return new.astype(object)  # as xarray 2026.2 has text
    if new.dtype == there.dtype or new.dtype.kind not in "iuf":
        return new
    with np.errstate(invalid="ignore"):
        cast = new.astype(there.dtype)
    _check_stored(str(new.name), cast.values, new.values)
    return cast


def _check_stored(name: str, stored: Any, wanted: Any) -> None:
    if not np.all((stored == wanted) | (pd.isna(stored) & pd.isna(wanted))):
        raise SchemaError(
            f"coordinate {name!r} is stored as {stored.dtype}, which cannot hold "
            f"{listing(np.unique(wanted[stored != wanted]))}; make them alike, or write all models "
            "anew with write_representations(overwrite=True)"
        )


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
    for name in sorted(ours - {"model", "n_features"}):
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


def _check_append(snapshot: Snapshot, old: xr.DataArray, width: int) -> None:
    """The array on disk can grow by whole chunks."""
    place, documents = snapshot.place, snapshot.arrays()
    array = stored_array(place, NAME)
    steps = array.shards or array.chunks
    anew = "open it and write it anew with write_representations(overwrite=True)"
    wider = width > old.sizes["feature"]
    if steps[old.get_axis_num("model")] != 1:
        raise SchemaError(f"{place} was not written by xconverge: its chunks mix models; {anew}")
    if wider and not np.isnan(array.fill_value):
        raise SchemaError(f"{place} would pad with {array.fill_value}, where NaN is meant; {anew}")
    growing = {"model", "feature"} if wider else {"model"}
    others = set(documents) - set(map(str, old.coords)) - {NAME}
    stuck = [n for n in sorted(others) if growing & set(documents[n]["dimension_names"] or ())]
    if stuck:
        raise SchemaError(
            f"{place} also holds {listing(stuck)} over {sorted(growing)}, which reps lacks; "
            "move it out of the group"
        )
