"""Incomplete models, begun and not finished: where they lie, and what of them is there.

``incomplete_models/<modality>/<model>`` is a group with the stimuli and, for batches of about one
size, two plain arrays: ``vectors_<size>`` has rows in order of arrival, in chunks of the first
batch, and ``rows_<size>`` says for each which stimulus it is (-1: none yet), beside a checksum of
the vectors in its chunk. It is written after the vectors: a batch is there once its rows are.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.zarr.checksums import checksum, of_json
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.exchange import UNFINISHED
from xconverge.io.zarr.places import Place, place_of, to_json
from xconverge.io.zarr.provenance import PROVENANCE, Provenance, provenance_of
from xconverge.io.zarr.reader import GoneError
from xconverge.io.zarr.root import INCOMPLETE
from xconverge.io.zarr.snapshot import LAYOUT, Snapshot, damage_of
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.messages import DamagedStoreError, SchemaError, listing

MODEL = "xconverge_model"
SIGNATURE = "xconverge_checksum"
CHUNK = re.compile(r"(vectors|rows)_(\d+)/c/")
JOINED = "joined"
"""Attr of a model that is in its modality: what is left of it here may go."""


def folder_name(model: str) -> str:
    """A name for files: what can be read of the model's, and what tells it from all others."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", model)[:40].strip("-")
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:12]}".lstrip("-")


class Batches:
    """Batches of about one size, in order of arrival.

    Parameters
    ----------
    place : Place
        The group of the model.
    size : int
        Rows of the first of them, and of a chunk.
    """

    def __init__(self, place: Place, size: int) -> None:
        self.place, self.size = place, size
        self.vectors, self.rows = self._array("vectors"), self._array("rows")
        # a process that was killed may have left the folder of a chunk
        chunks = [key for key in (place / f"rows_{size}" / "c").keys() if key.endswith("/0")]  # noqa: SIM118
        self.n_chunks = 1 + max((int(key.partition("/")[0]) for key in chunks), default=-1)
        """Chunks of row numbers that are there; others may follow."""

    def _array(self, name: str) -> Any:
        import zarr

        place = self.place / f"{name}_{self.size}"
        document = place.document() or {}
        if document.get("attributes") != {SIGNATURE: _signature(document)}:
            raise DamagedStoreError(f"{place}/zarr.json is missing or damaged. {KEPT}")
        mode = "r" if place.store.read_only else "r+"
        return zarr.open_array(place.store, path=place.path, mode=mode, zarr_format=3)

    def write(self, rows: Array, vectors: Array) -> None:
        """Add rows; when it returns, they outlive the process."""
        first = self.n_chunks * self.size
        slots = slice(first, first + len(rows))
        n_chunks = self.n_chunks + -(-len(rows) // self.size)
        if n_chunks * self.size > self.rows.shape[0]:
            # only where rows that were damaged are written again
            for array in (self.vectors, self.rows):
                array.resize((2 * n_chunks * self.size, array.shape[1]))
        self.vectors[slots] = vectors
        # one chunk after another, so that a kill leaves no gap: what is not there then was lost
        for start in range(0, len(rows), self.size):
            part = rows[start : start + self.size]
            crc = np.full(len(part), checksum(vectors[start : start + self.size]))
            at = first + start
            self.rows[at : at + len(part)] = np.stack([part, crc], axis=1)
        self.n_chunks = n_chunks

    def entries(self) -> list[Array | None]:
        """Row numbers and checksums of each chunk, None of one that is damaged or missing."""
        every = _read(self.rows, slice(0, self.n_chunks * self.size))
        if every is None:
            chunks = [_read(self.rows, self._slots(i)) for i in range(self.n_chunks)]
        else:
            chunks = [*np.split(every, self.n_chunks)] if self.n_chunks else []
        return [None if c is None or (c[:, 0] < 0).all() else c for c in chunks]

    def _slots(self, i: int) -> slice:
        return slice(i * self.size, (i + 1) * self.size)

    def chunk(self, i: int, entries: Array) -> tuple[Array, Array]:
        """Rows of a chunk and their vectors, if they are as they were written; else none."""
        there = np.flatnonzero(entries[:, 0] >= 0)
        vectors = _read(self.vectors, self._slots(i))
        if vectors is None or (entries[there, 1] != checksum(vectors[there])).any():
            return np.empty(0, np.int64), np.empty((0, self.vectors.shape[1]), self.vectors.dtype)
        return entries[there, 0], vectors[there]


def _read(array: Any, slots: slice) -> Array | None:
    """Rows of an array, or None where they are damaged."""
    try:
        return np.asarray(array[slots])
    except OSError:
        raise
    except Exception:
        return None


def _begin_batches(place: Place, size: int, shape: tuple[int, int], dtype: Any) -> None:
    """Make the two arrays where they are not there."""
    # a batch of this class fills at least half of its chunks
    n_slots, slot = 2 * size + 2 * shape[0], f"slot_{size}"
    for name, width, of_type, fill, entry in (
        ("vectors", shape[1], dtype, np.nan, "feature"),
        ("rows", 2, np.int64, -1, "entry"),
    ):
        array = place / f"{name}_{size}"
        if not {"zarr.json", "c"} & set(array.names()):
            document = _new_document(
                shape=(n_slots, width),
                chunks=(size, width),
                dtype=of_type,
                fill_value=fill,
                dimension_names=(slot, entry),
            )
            array.put({"zarr.json": to_json(document)})


def _new_document(**kwargs: Any) -> dict[str, Any]:
    """The document of a new array, with what shows that it is as it was written."""
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    store = MemoryStore()
    zarr.create_array(store, compressors=[Crc32cCodec()], zarr_format=3, **kwargs)
    document = place_of(store).document() or {}
    return {**document, "attributes": {SIGNATURE: _signature(document)}}


def _signature(document: Mapping[str, Any]) -> str:
    """The checksum of a document, but for the size, which may grow."""
    own = {key: value for key, value in document.items() if key not in ("attributes", "shape")}
    return of_json({**own, "shape": document.get("shape", ())[1:]})


@dataclass(frozen=True)
class IncompleteModel:
    """A model of which stimuli may be pending."""

    place: Place
    model: str
    n_features: int
    coords: Mapping[str, Any]
    dtype: np.dtype[Any]
    writing: str
    """Which of its beginnings this is."""
    provenance: Provenance

    @cached_property
    def stimuli(self) -> xr.Dataset:
        """The stimuli with their coordinates."""
        return Snapshot.of(self.place).dataset().coords.to_dataset()

    @cached_property
    def labels(self) -> pd.Index:
        """The labels of the stimuli."""
        return self.stimuli.indexes["stimulus"]

    @cached_property
    def batches(self) -> list[Batches]:
        """All that was written, the classes of sizes in order."""
        # where there are no chunks, the first batch was killed
        chunks = [CHUNK.match(key) for key in self.place.keys()]  # noqa: SIM118
        return [self._batches(size) for size in sorted({int(c[2]) for c in chunks if c})]

    def _batches(self, size: int) -> Batches:
        with damage_of(self.place, f"what was written in batches of {size}"):
            return Batches(self.place, size)

    def read(self) -> None:
        """Read what is there of it; GoneError if it is there no more."""
        try:
            _ = self.labels, self.table
        except Exception:
            self._check_there()
            raise
        self._check_there()

    @cached_property
    def table(self) -> list[tuple[Batches, int, Array | None]]:
        """Each chunk that was there when this was first asked: its number and its entries."""
        return [
            (batches, i, entries)
            for batches in self.batches
            for i, entries in enumerate(batches.entries())
        ]

    def batches_of(self, size: int) -> Batches:
        """Those of one size, made where there are none."""
        _begin_batches(self.place, size, (len(self.labels), self.n_features), self.dtype)
        return self._batches(size)

    def written(self) -> tuple[Array, list[str]]:
        """Which stimuli are there (stimulus), and what was damaged, in words."""
        done, damaged = np.zeros(len(self.labels), bool), self.unknown()
        for batches, i, rows, lost in self._checked():
            done[rows] = True
            damaged += _lost(batches, i, self.labels[lost])
        return done, damaged

    def damage(self) -> list[str]:
        """What was damaged, in words, whether or not the labels can be read."""
        labels: Any = None
        with suppress(SchemaError):
            labels = self.labels
        found = self.unknown()
        for batches, i, _, lost in self._checked():
            found += _lost(batches, i, lost if labels is None else labels[lost])
        return found

    def _checked(self) -> Iterator[tuple[Batches, int, Array, Array]]:
        """Rows of each batch that are as they were written, and those that are not."""
        for batches, i, entries in self.table:
            if entries is not None:
                rows = batches.chunk(i, entries)[0]
                yield batches, i, rows, np.setdiff1d(entries[entries[:, 0] >= 0, 0], rows)

    def unknown(self) -> list[str]:
        """Batches of which nobody can tell what stimuli they hold, in words."""
        lost = [(batches.rows.path, i) for batches, i, entries in self.table if entries is None]
        return [f"the row numbers of batch {i} of {path}" for path, i in lost]

    def progress(self) -> str:
        """How far it is, in words."""
        done, _ = self.written()
        return f"{self.model} ({np.count_nonzero(~done)} of {len(done)} stimuli pending)"

    def lazy(self, whole: bool = False) -> xr.DataArray:
        """The model as it is: (model, stimulus, feature), pending stimuli NaN.

        With ``whole`` none may be pending.
        """
        dtype, shape = self.dtype, (len(self.labels), self.n_features)
        blank = xr.DataArray(
            np.broadcast_to(np.empty((), dtype), shape), dims=("stimulus", "feature")
        )
        step = recommend_chunks(blank, memory=self._memory())["stimulus"]
        starts = da.arange(0, shape[0], step, chunks=1)
        data = starts.map_blocks(
            _rows_from,
            self,
            step,
            whole,
            new_axis=1,
            chunks=(da.core.normalize_chunks(step, shape[:1])[0], shape[1]),
            dtype=dtype,
            meta=np.empty((0, 0), dtype),
        )
        return xr.DataArray(
            data[None],
            {
                "model": ("model", np.array([self.model], object)),
                **self.stimuli.coords,
                "n_features": ("model", [self.n_features]),
                **{name: ("model", np.array([value])) for name, value in self.coords.items()},
            },
            ("model", "stimulus", "feature"),
            NAME,
            {PROVENANCE: self.provenance} if self.provenance else None,
        )

    def _memory(self) -> int:
        """Bytes of a block: a chunk where rows came in order, else as much as a task may take."""
        seen = [e[e[:, 0] >= 0, 0] for _, _, e in self.table if e is not None]
        order = np.concatenate([np.empty(0, np.int64), *seen])
        jumps = np.count_nonzero(np.diff(order) != 1)
        return BUDGETS.store_chunk if jumps <= len(seen) else BUDGETS.small_task

    def rows(self, start: int, stop: int, whole: bool = False) -> Array:
        """Vectors of a stretch of stimuli, NaN where they are pending: with ``whole``, none is."""
        n = min(stop, len(self.labels)) - start
        block = np.full((n, self.n_features), np.nan, self.dtype)
        there, told = np.zeros(n, bool), np.full(n, whole)
        for batches, i, entries in self.table:
            if entries is not None and _meets(entries[:, 0], start, stop):
                rows, vectors = batches.chunk(i, entries)
                inside = (rows >= start) & (rows < stop)
                block[rows[inside] - start] = vectors[inside]
                there[rows[inside] - start] = True
                named = entries[:, 0]
                told[named[(named >= start) & (named < stop)] - start] = True
        lost = told & ~there
        if lost.any():
            self._check_there()
            raise DamagedStoreError(
                f"model {self.model!r} of {self.place}: the rows of stimulus "
                f"{listing(self.labels[start + np.flatnonzero(lost)])} are damaged. "
                "ModelWriter has them pending when it starts again"
            )
        return block

    def check_complete(self) -> None:
        """Every stimulus has been written, as far as row numbers tell."""
        rows = [entries[:, 0] for _, _, entries in self.table if entries is not None]
        lost = np.setdiff1d(np.arange(len(self.labels)), np.concatenate([*rows, [-1]]))
        if len(lost):
            raise DamagedStoreError(
                f"{self.place}: row numbers of model {self.model!r} are damaged: stimulus "
                f"{listing(self.labels[lost])}. Start ModelWriter again, which has them pending"
            )

    def _check_there(self) -> None:
        """It was not joined, begun anew or removed since it was opened."""
        try:
            now = incomplete_model_at(self.place)
        except DamagedStoreError:
            return
        if now is None or now.writing != self.writing:
            raise GoneError(
                f"the incomplete model {self.model!r} was completed, begun anew or removed since "
                f"{self.place} was opened. Open it again"
            )


def _lost(batches: Batches, i: int, names: Any) -> list[str]:
    what = f"batch {i} of {batches.vectors.path}: stimulus {listing(names)}"
    return [what] if len(names) else []


def _meets(rows: Array, start: int, stop: int) -> bool:
    return bool(((rows >= start) & (rows < stop)).any())


def _rows_from(start: Array, model: IncompleteModel, step: int, whole: bool) -> Array:
    """A block of a lazy array."""
    return model.rows(int(start[0]), int(start[0]) + step, whole)


def incomplete_models(root: Place, modality: str, damaged: bool = False) -> list[IncompleteModel]:
    """All incomplete models of a modality; with ``damaged``, without those that cannot be read."""
    folder = root / INCOMPLETE / modality
    found = []
    for name in folder.names():
        if name != "zarr.json" and not _are_labels_of_0_1(folder, name):
            with suppress(*([SchemaError] if damaged else [])):
                found.append(incomplete_model_at(folder / name))
    return sorted((one for one in found if one is not None), key=lambda one: one.model)


def _are_labels_of_0_1(folder: Place, name: str) -> bool:
    """Version 0.1 kept the labels of all models of a modality beside them."""
    if LAYOUT not in ((folder.document() or {}).get("attributes") or {}):
        return False
    return ((folder / name).document() or {}).get("node_type") == "array"


def incomplete_model_at(place: Place) -> IncompleteModel | None:
    """The incomplete model in a group, if there is one; DamagedStoreError if it cannot be read."""
    try:
        document = place.document()
    except DamagedStoreError as error:
        raise DamagedStoreError(f"{error}. {KEPT}") from None
    if document is None:
        if any(CHUNK.match(key) for key in place.keys()):  # noqa: SIM118
            raise DamagedStoreError(f"{place}/zarr.json is missing. {KEPT}")
        return None
    attrs = document.get("attributes", {})
    # begun and killed before the first row, or joined and killed before all was removed
    if JOINED in attrs or UNFINISHED in attrs:
        return None
    if folder_name(str(attrs.get(MODEL))) != place.path.rpartition("/")[2]:
        raise DamagedStoreError(f"{place}/zarr.json is that of another group. {KEPT}")
    try:
        sums = Snapshot.of(place).checksums
    except DamagedStoreError as error:
        raise DamagedStoreError(f"{error}. {KEPT}") from None
    if sums is None and NAME in place.names():
        raise SchemaError(
            f"model {attrs[MODEL]!r} ({place}) was begun by xconverge 0.1. Its rows are kept, and "
            "only that version can go on with them; finish it there, or drop its rows by "
            "ModelWriter(…, restart=True)"
        )
    if sums is None or sums.attrs.get("") != of_json(attrs):
        raise DamagedStoreError(f"{place}/zarr.json is damaged. {KEPT}")
    return IncompleteModel(
        place,
        attrs[MODEL],
        attrs["n_features"],
        attrs["coords"],
        np.dtype(attrs["dtype"]),
        sums.writing,
        attrs.get(PROVENANCE, {}),
    )


KEPT = (
    "The rows of the model are kept. Bring the file back from a copy, or drop the rows by "
    "ModelWriter(…, restart=True)"
)


def with_incomplete(
    complete: xr.DataArray | None, incomplete: list[IncompleteModel]
) -> xr.DataArray:
    """Complete and incomplete models, told apart by the coordinate ``complete``."""
    for one in incomplete:
        if one.unknown():
            warnings.warn(
                f"model {one.model!r} is damaged: {listing(one.unknown())}; their stimuli are NaN",
                RuntimeWarning,
                stacklevel=3,
            )
    sides = [one.lazy().assign_coords(complete=("model", [False])) for one in incomplete]
    if complete is not None:
        real = widths(complete).broadcast_like(complete["model"])
        done = ("model", np.ones(complete.sizes["model"], bool))
        sides = [side.reindex_like(complete["stimulus"]) for side in sides]
        sides.insert(0, complete.assign_coords(n_features=real, complete=done))
    width = max(side.sizes["feature"] for side in sides)
    padded = [side.pad(feature=(0, width - side.sizes["feature"])) for side in sides]
    joined: xr.DataArray = xr.concat(
        padded,
        "model",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    known = [provenance_of(side.attrs) for side in reversed(sides)]
    made = {name: one for side in known for name, one in side.items()}
    return joined.assign_attrs({PROVENANCE: made} if made else {})
