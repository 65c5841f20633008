"""Incomplete models, begun and not finished: where they lie, and what of them is there.

``incomplete_models/<modality>/<model>`` is a group with the stimuli and, for batches of about one
size, two plain arrays: ``vectors_<size>`` has rows in order of arrival, in chunks of the first
batch, and ``rows_<size>`` says for each which stimulus it is (-1: none yet), with a checksum. It is
written after the vectors, so that a batch is there once its row numbers are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.zarr.checksums import of_json, of_row
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.exchange import UNFINISHED
from xconverge.io.zarr.places import Place
from xconverge.io.zarr.reader import GoneError
from xconverge.io.zarr.root import INCOMPLETE
from xconverge.io.zarr.snapshot import Snapshot, damage_of
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.messages import DamagedStoreError, listing

MODEL = "xconverge_model"
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
    shape : (int, int)
        Stimuli and features of the model.
    dtype : dtype
        Of the vectors.
    """

    def __init__(self, place: Place, size: int, shape: tuple[int, int], dtype: Any) -> None:
        self.place, self.size = place, size
        self.vectors = self._array("vectors", shape, dtype, np.nan)
        self.rows = self._array("rows", (shape[0], 2), np.int64, -1)
        self.n_chunks = 1 + max(map(int, (place / f"rows_{size}" / "c").names()), default=-1)
        """Chunks of row numbers that are there; others may follow."""

    def _array(self, name: str, shape: tuple[int, int], dtype: Any, fill: Any) -> Any:
        """One of the two arrays, which is made where it is not there."""
        import zarr
        from zarr.codecs import Crc32cCodec

        place = self.place / f"{name}_{self.size}"
        if place.document() is not None:
            mode = "r" if self.place.store.read_only else "r+"
            return zarr.open_array(place.store, path=place.path, mode=mode)
        if self.place.store.read_only:
            raise DamagedStoreError(f"{place}/zarr.json is missing. {KEPT}")
        return zarr.create_array(
            place.store,
            name=place.path,
            # a batch of this class fills at least half of its chunks
            shape=(2 * self.size + 2 * shape[0], shape[1]),
            chunks=(self.size, shape[1]),
            dtype=dtype,
            compressors=[Crc32cCodec()],
            fill_value=fill,
            dimension_names=(f"slot_{self.size}", "feature" if name == "vectors" else "entry"),
        )

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
        entries = np.array([rows, [of_row(vector) for vector in vectors]], np.int64).T
        self.rows[slots] = entries
        self.n_chunks = n_chunks

    def entries(self) -> list[Array | None]:
        """Row numbers and checksums of each chunk, None of one that is damaged."""
        try:
            every = np.asarray(self.rows[: self.n_chunks * self.size])
            return np.split(every, self.n_chunks) if self.n_chunks else []
        except OSError:
            raise
        except Exception:
            return [self._entries_of(i) for i in range(self.n_chunks)]

    def _entries_of(self, i: int) -> Array | None:
        try:
            return np.asarray(self.rows[i * self.size : (i + 1) * self.size])
        except OSError:
            raise
        except Exception:
            return None

    def chunk(self, i: int, entries: Array) -> tuple[Array, Array]:
        """Rows of a chunk that are as they were written, and their vectors."""
        there = np.flatnonzero(entries[:, 0] >= 0)
        nothing = np.empty(0, np.int64), np.empty((0, self.vectors.shape[1]), self.vectors.dtype)
        try:
            vectors = np.asarray(self.vectors[i * self.size : (i + 1) * self.size])
        except OSError:
            raise
        except Exception:
            return nothing
        good = [slot for slot in there if of_row(vectors[slot]) == entries[slot, 1]]
        return entries[good, 0], vectors[good]


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

    @cached_property
    def stimuli(self) -> xr.Dataset:
        """The stimuli with their coordinates."""
        return Snapshot.of(self.place).dataset().coords.to_dataset()

    @cached_property
    def labels(self) -> pd.Index:
        """The labels of the stimuli."""
        return self.stimuli.indexes["stimulus"]

    def batches(self) -> list[Batches]:
        """All that was written, the classes of sizes in order."""
        names = [name for name in self.place.names() if name.startswith("rows_")]
        sizes = [int(name.removeprefix("rows_")) for name in names if self._holds_any(name)]
        return [self.batches_of(size) for size in sorted(sizes)]

    def _holds_any(self, name: str) -> bool:
        # it may just be made, or be left by a process that was killed in that
        return (self.place / name).document() is not None or bool((self.place / name / "c").names())

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
            for batches in self.batches()
            for i, entries in enumerate(batches.entries())
        ]

    def batches_of(self, size: int) -> Batches:
        """Those of one size, made where there are none."""
        with damage_of(self.place, f"what was written in batches of {size}"):
            return Batches(self.place, size, (len(self.labels), self.n_features), self.dtype)

    def written(self) -> tuple[Array, list[str]]:
        """Which stimuli are there (stimulus), and what was damaged, in words."""
        done, damaged = np.zeros(len(self.labels), bool), []
        for batches, i, entries in self.table:
            if entries is None:
                damaged.append(f"the row numbers of batch {i} of {batches.rows.path}")
                continue
            rows = batches.chunk(i, entries)[0]
            done[rows] = True
            lost = np.setdiff1d(entries[entries[:, 0] >= 0, 0], rows)
            if len(lost):
                names = listing(self.labels[lost])
                damaged.append(f"batch {i} of {batches.vectors.path}: stimulus {names}")
        return done, damaged

    def progress(self) -> str:
        """How far it is, in words."""
        done, _ = self.written()
        return f"{self.model} ({np.count_nonzero(~done)} of {len(done)} stimuli pending)"

    def lazy(self, whole: bool = False) -> xr.DataArray:
        """The model as it is: (model, stimulus, feature), pending stimuli NaN.

        Of one that is ``whole``, rows that are damaged are an error.
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
        )

    def _memory(self) -> int:
        """Bytes of a block: a chunk where rows came in order, else as much as a task may take."""
        seen = [e[e[:, 0] >= 0, 0] for _, _, e in self.table if e is not None]
        order = np.concatenate([np.empty(0, np.int64), *seen])
        jumps = np.count_nonzero(np.diff(order) != 1)
        return BUDGETS.store_chunk if jumps <= len(seen) else BUDGETS.small_task

    def rows(self, start: int, stop: int, whole: bool = False) -> Array:
        """Vectors of a stretch of stimuli, NaN where they are pending."""
        shape = (min(stop, len(self.labels)) - start, self.n_features)
        block = np.full(shape, np.nan, self.dtype)
        lost = np.zeros(shape[0], bool)
        for _, _, entries in self.table:
            if entries is not None:
                told = entries[:, 0]
                lost[told[(told >= start) & (told < stop)] - start] = True
        for batches, i, entries in self.table:
            if entries is not None and _meets(entries[:, 0], start, stop):
                rows, vectors = batches.chunk(i, entries)
                inside = (rows >= start) & (rows < stop)
                block[rows[inside] - start] = vectors[inside]
                lost[rows[inside] - start] = False
        if lost.any():
            self._check_there()
            if whole:
                raise DamagedStoreError(
                    f"{self.place}: {listing(self.labels[start:stop][lost])} of {self.model!r} "
                    "are damaged; start ModelWriter again, which lists them as pending"
                )
        return block

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


def _meets(rows: Array, start: int, stop: int) -> bool:
    return bool(((rows >= start) & (rows < stop)).any())


def _rows_from(start: Array, model: IncompleteModel, step: int, whole: bool) -> Array:
    """A block of a lazy array."""
    return model.rows(int(start[0]), int(start[0]) + step, whole)


def incomplete_models(root: Place, modality: str) -> list[IncompleteModel]:
    """All incomplete models of a modality that can be read."""
    folder = root / INCOMPLETE / modality
    found = []
    for name in folder.names():
        if name != "zarr.json":
            try:
                one = incomplete_model_at(folder / name)
            except DamagedStoreError:
                continue
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: one.model)


def incomplete_model_at(place: Place) -> IncompleteModel | None:
    """The incomplete model in a group, if there is one; DamagedStoreError if it cannot be read."""
    try:
        document = place.document()
    except DamagedStoreError as error:
        raise DamagedStoreError(f"{error}. {KEPT}") from None
    if document is None:
        if any(name.startswith(("vectors_", "rows_")) for name in place.names()):
            raise DamagedStoreError(f"{place}/zarr.json is missing. {KEPT}")
        return None
    attrs = document.get("attributes", {})
    # begun and killed before the first row, or joined and killed before all was removed
    if JOINED in attrs or UNFINISHED in attrs:
        return None
    if folder_name(str(attrs.get(MODEL))) != place.path.rpartition("/")[2]:
        raise DamagedStoreError(f"{place}/zarr.json is that of another group. {KEPT}")
    sums = Snapshot.of(place).checksums
    if sums is None or sums.attrs.get("") != of_json(attrs):
        raise DamagedStoreError(f"{place}/zarr.json is damaged. {KEPT}")
    return IncompleteModel(
        place,
        attrs[MODEL],
        attrs["n_features"],
        attrs["coords"],
        np.dtype(attrs["dtype"]),
        sums.writing,
    )


KEPT = (
    "The rows of the model are kept. Bring the file back from a copy, or drop the rows by "
    "ModelWriter(…, restart=True)"
)


def with_incomplete(
    complete: xr.DataArray | None, incomplete: list[IncompleteModel]
) -> xr.DataArray:
    """Complete and incomplete models, told apart by the coordinate ``complete``."""
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
    return joined
