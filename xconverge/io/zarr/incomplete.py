"""Incomplete models, begun and not finished: where they lie, and what of them is there.

``incomplete_models/<modality>`` is a group with the stimuli, and in it one group for each model,
whose array (stimulus, feature) has the chunks that the model will have in its modality. So plain
Zarr opens them too, and they cannot be taken for models of the modality.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.zarr import groups
from xconverge.io.zarr.backends import Backend, KeyValueBackend
from xconverge.io.zarr.chunks_on_disk import Index, Layout
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.pending_rows import PendingRows, pending_rows_of
from xconverge.io.zarr.reader import ChunkReader
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths

INCOMPLETE = "incomplete_models"
FLAT = "."
"""Between the numbers of a chunk: all lie in one folder, and none is made for each of them."""


def folder_name(model: str) -> str:
    """A name for files: what can be read of the model's, and what tells it from all others."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", model)[:40].strip("-")
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:12]}".lstrip("-")


@dataclass(frozen=True)
class IncompleteModel:
    """A model of which stimuli may be pending."""

    backend: KeyValueBackend
    model: str
    n_features: int
    coords: Mapping[str, Any]
    layout: Layout
    stimuli: pd.Index

    @cached_property
    def pending_rows(self) -> PendingRows:
        """What waits for its chunks to be full."""
        return pending_rows_of(self.backend / NAME, self.layout)

    def n_chunk_rows(self) -> int:
        """How many chunks follow each other along the stimuli."""
        return -(-self.layout.shape[0] // self.layout.chunks[0])

    def has_chunks(self, i: int) -> bool:
        """Whether a chunk row is complete."""
        array = self.backend / NAME
        return all(array.exists(self.layout.key((i, p))) for p in range(self.pending_rows.n_pieces))

    def written(self) -> tuple[Array, bool]:
        """Which stimuli are there (stimulus), and whether all that was kept is as written."""
        done = np.zeros(self.layout.shape[0], bool)
        whole = True
        for i in range(self.n_chunk_rows()):
            first = i * self.pending_rows.step
            # chunks are made of whole rows only, so that all of their stimuli are there
            if self.has_chunks(i):
                done[first : first + self.pending_rows.size(i)] = True
            else:
                rows, _, good = self.pending_rows.read(i)
                done[first + rows] = True
                whole &= good
        return done, whole

    def progress(self) -> str:
        """How far it is, in words."""
        done, _ = self.written()
        return f"{self.model} ({np.count_nonzero(~done)} of {len(done)} stimuli pending)"

    def lazy(self) -> xr.DataArray:
        """The model as it is: (model, stimulus, feature), pending stimuli NaN."""
        dims = ("stimulus", "feature")
        reader = IncompleteReader.of_layout(self.backend, NAME, dims, self.layout, whole=False)
        reader.pending_rows = self.pending_rows
        data = reader.lazy()
        return xr.DataArray(
            data[None],
            {
                "model": ("model", np.array([self.model], object)),
                "stimulus": self.stimuli,
                "n_features": ("model", [self.n_features]),
                **{name: ("model", np.array([value])) for name, value in self.coords.items()},
            },
            ("model", "stimulus", "feature"),
            NAME,
        )


class IncompleteReader(ChunkReader):
    """Reads the chunks of an incomplete model, and the rows that wait for theirs."""

    pending_rows: PendingRows

    def chunk(self, index: Index) -> Array:
        """One chunk, NaN where stimuli are pending."""
        array = self.backend / NAME
        if not array.exists(self.pending_rows.layout.key(index)):
            i, p = index
            rows, values, _ = self.pending_rows.read(i)
            block = np.full(self.chunks, np.nan, self.dtype)
            block[rows] = self.pending_rows.of_piece(values, p)
            # a writer may have made the chunk meanwhile, and then its rows pend no longer
            if not array.exists(self.pending_rows.layout.key(index)):
                part = tuple(
                    slice(0, s.stop - s.start) for s in self.pending_rows.layout.region(index)
                )
                return block[part]
        return super().chunk(index)


def incomplete_models(root: Backend, modality: str) -> list[IncompleteModel]:
    """All incomplete models of a modality."""
    folder = root / INCOMPLETE / modality
    if not isinstance(folder, KeyValueBackend) or not folder.is_group():
        return []
    return incomplete_models_in(folder, shared(folder).indexes["stimulus"])


def incomplete_models_in(folder: KeyValueBackend, stimuli: pd.Index) -> list[IncompleteModel]:
    """All incomplete models in the group of a modality."""
    found = [one for name in folder.names() if (one := incomplete_model_at(folder / name, stimuli))]
    return sorted(found, key=lambda one: one.model)


def shared(folder: Backend) -> xr.Dataset:
    """What all incomplete models have in common: stimuli with their coordinates, dtype."""
    return groups.decoded(groups.open_group(folder), folder)


def incomplete_model_at(backend: KeyValueBackend, stimuli: pd.Index) -> IncompleteModel | None:
    """The incomplete model in a group, if there is one."""
    attrs = (backend.metadata() or {}).get("attributes", {})
    stored = (backend / NAME).metadata()
    layout = Layout.of(stored, FLAT) if stored else None
    if layout is None or "xconverge_model" not in attrs:
        return None
    return IncompleteModel(
        backend,
        attrs["xconverge_model"],
        attrs["n_features"],
        attrs["coords"],
        layout,
        stimuli,
    )


def with_incomplete(
    complete: xr.DataArray | None, incomplete: Sequence[IncompleteModel]
) -> xr.DataArray:
    """Complete and incomplete models, told apart by the coordinate ``complete``."""
    sides = [one.lazy().assign_coords(complete=("model", [False])) for one in incomplete]
    if complete is not None:
        real = widths(complete).broadcast_like(complete["model"])
        done = ("model", np.ones(complete.sizes["model"], bool))
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
