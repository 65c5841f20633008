"""Writing one model batch by batch, as it is extracted, so that a crash costs one batch."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from itertools import repeat
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.writer_checks import (
    Asked,
    check_complete,
    check_incomplete,
    check_modality,
    check_others,
    check_same_labels,
    numbers,
    stored_rows,
)
from xconverge.io.zarr import groups
from xconverge.io.zarr.append import append, restore
from xconverge.io.zarr.encoding import NAME, encoded, encoded_set, modality_of
from xconverge.io.zarr.exchange import remove_left, remove_partial, staged
from xconverge.io.zarr.groups import stored_array
from xconverge.io.zarr.incomplete import (
    JOINED,
    MODEL,
    Batches,
    IncompleteModel,
    folder_name,
    incomplete_model_at,
    incomplete_models,
)
from xconverge.io.zarr.locks import Lock, locked, try_lock, unlock
from xconverge.io.zarr.places import Options, Place, StorePath, place_of, to_json
from xconverge.io.zarr.provenance import PROVENANCE, Provenance
from xconverge.io.zarr.root import INCOMPLETE, check_root, ensure_store, modality_names, open_array
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import flags
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.text import label_text

NARROWEST = 1024
"""Chunks are no longer than those of a model of this width: wider models share them."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class ModelWriter(AbstractContextManager["ModelWriter"]):
    """Write one model into a store, batch by batch, in any order.

    Parameters
    ----------
    path : str, path or URL
        The store, which is made if missing.
    modality : str
        Name of the modality.
    model : str
        Name of the model.
    stimuli : sequence of str, or DataArray
        Labels of all stimuli; those of the modality where it exists, in any order. A DataArray
        with a ``stimulus`` dim brings its stimulus coordinates along.
    n_features : int
        Width of the model.
    dtype : dtype, optional
        What floats are stored as, and rounded to; default that of the modality. A new one takes
        that of the first batch, at least ``float32``. Digits are lost only where it is given.
    coords : mapping, optional
        One value for each model coordinate of the modality (network, layer, family …).
    provenance : mapping, optional
        How the model was made: ``{"vit": {"weights": …, "preprocessing": …}}``. It joins those of
        other models in ``attrs["provenance"]`` of the modality; what is there of the same network
        must be the same.
    restart : bool
        Drop what an earlier start has left of this model; nothing else does.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Attributes
    ----------
    pending : list of str
        Stimuli that are not written yet, in the order of the store.

    Raises
    ------
    FileExistsError
        Another process, or another writer of this one, writes the model.
    SchemaError
        Labels, widths, dtype or coordinates that are not those of the modality, or of an earlier
        start.

    Warns
    -----
    RuntimeWarning
        Batches that an earlier start left are damaged: their stimuli are pending again, and what
        cannot be read stays until the model is complete. On leaving the ``with`` block without an
        error while stimuli are pending.

    Notes
    -----
    What `write` has returned from outlives the process. The model joins its modality in one step,
    when the ``with`` block ends and nothing is pending; before that, `open_representations` leaves
    it out. A second start with the same arguments goes on where the first one ended; for a model
    that is complete it has nothing pending. Several processes may write different models. Models
    join a modality in the order in which their writers are closed; an ``ExitStack`` closes the
    last first. A chunk is as wide as the first model of its modality, and narrower models are
    padded to it: features of very different widths belong into modalities of their own.

    Memory: one batch. When the model joins, a chunk (12 MiB) for each thread, or 256 MiB where
    batches came in no order. Joining reads and writes the model once more.

    A power cut can take what the operating system had not written yet; checksums tell.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge import ModelWriter, open_representations
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> with ModelWriter(path, "vision", "vit", ["cat", "dog", "emu"], 4) as w:
    ...     w.write(["emu", "cat"], np.ones((2, 4)))
    ...     print(w.pending)
    ...     w.write(["dog"], np.zeros((1, 4)))
    ['dog']
    >>> open_representations(path, "vision").sel(model="vit", stimulus="dog").values
    array([0., 0., 0., 0.])
    """

    def __init__(
        self,
        path: StorePath,
        modality: str,
        model: str,
        stimuli: Sequence[str] | xr.DataArray,
        n_features: int,
        *,
        dtype: Any = None,
        coords: Mapping[str, Any] | None = None,
        provenance: Provenance | None = None,
        restart: bool = False,
        storage_options: Options | None = None,
    ) -> None:
        flags(restart=restart)
        root = place_of(path, storage_options)
        # a transaction does not outlive the process, nor does a batch in it
        if not root.consolidates or not root.store.supports_deletes:
            raise TypeError(
                f"ModelWriter writes to a path, a URL or a store that keeps each batch, got a "
                f"{type(path).__name__}; write a finished model into it by append_models"
            )
        asked = Asked.of(model, stimuli, n_features, dtype, coords or {}, provenance)
        self._root, self._asked = root, asked
        self._modality = modality_of(xr.DataArray(), modality)
        self._place = root / INCOMPLETE / self._modality / folder_name(asked.model)
        self._incomplete: IncompleteModel | None = None
        self._batches: dict[int, Batches] = {}
        check_root(root)
        doing = f"model {asked.model!r} of {modality!r} in {root}"
        with locked(root, f"starting {doing}"):
            ensure_store(root)
            self._held = self._lock(doing)
            try:
                self._start(restart)
            except BaseException:
                self._unlock()
                raise
        self._open = True

    def __repr__(self) -> str:
        """Say how far the writer is."""
        return (
            f"<ModelWriter {self._asked.model!r} of {self._modality!r} in {self._root}: "
            f"{np.count_nonzero(self._done)} of {len(self._done)} stimuli written>"
        )

    @property
    def pending(self) -> list[str]:
        """Stimuli that are not written yet, in the order of the store."""
        return list(self._stimuli[~self._done])

    def write(self, stimuli: Sequence[str], batch: Any) -> None:
        """Write the vectors of some stimuli.

        Parameters
        ----------
        stimuli : sequence of str
            Their labels, each still pending.
        batch : array or torch tensor
            (stimulus, feature), on any device, of any float (bfloat16 too) or of integers. A row
            of NaN only is a stimulus that the model cannot represent.

        Raises
        ------
        SchemaError
            Labels that are unknown, written already or there twice; another shape; NaN inside a
            row, or infinity; numbers that the store's dtype would round. Nothing is then written.
        OSError
            The disk is full: what was written stays, and the rest of the batch is pending.
        """
        if not self._open:
            raise ValueError("this ModelWriter is closed; start another one")
        values = numbers(batch, f"model {self._asked.model!r}")
        positions = self._positions(stimuli)
        dtype = self._dtype or np.result_type(values.dtype, np.float32)
        vectors = stored_rows(values, self._asked, dtype, self._stimuli[positions])
        if not len(positions):
            return
        with self._on_a_full_disk():
            if self._incomplete is None:
                with locked(self._root, f"starting model {self._asked.model!r}"):
                    self._begin(self._common_dtype() or dtype)
                vectors = stored_rows(values, self._asked, self._dtype, self._stimuli[positions])
            self._batches_like(len(positions)).write(positions, vectors)
        self._done[positions] = True

    def _batches_like(self, size: int) -> Batches:
        """Where batches of about this size are kept."""
        assert self._incomplete is not None
        # up to twice the size share an array, so that no batch leaves much of its chunks empty
        kind = (size - 1).bit_length()
        if kind not in self._batches:
            self._batches[kind] = self._incomplete.batches_of(size)
        return self._batches[kind]

    def close(self) -> None:
        """Add the model to its modality if nothing is pending, and let others write it."""
        if not self._open:
            return
        self._open = False
        try:
            if self._done.all():
                with self._on_a_full_disk():
                    self._join()
        finally:
            self._end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the writer; after an error the model stays incomplete."""
        if error is not None and self._incomplete is not None:
            self._open = False
            self._end()
            return
        self.close()
        if error is not None:
            return
        pending = self.pending
        if pending:
            warnings.warn(
                f"model {self._asked.model!r} is not complete and stays out of "
                f"{self._modality!r}: {listing(pending)} pending; start ModelWriter again to "
                "write them",
                RuntimeWarning,
                stacklevel=2,
            )

    # Starting

    def _lock(self, doing: str) -> Lock | None:
        """Keep others from this model; the lock ends with the process."""
        folder = self._place.folder
        if folder is None:
            return None
        if folder.resolve() != folder:
            raise FileExistsError(
                f"{folder} is a link, or lies behind one, and a model that is begun anew would "
                "delete what it leads to; remove the link"
            )
        folder.mkdir(parents=True, exist_ok=True)
        held = try_lock(folder)
        if held is None:
            raise FileExistsError(
                f"writing {doing}: another process, or another ModelWriter of this one, is at it "
                "already; wait for it to end"
            )
        return held

    def _end(self) -> None:
        with locked(self._root, f"closing {self._asked.model!r}"):
            self._unlock()

    def _unlock(self) -> None:
        """Let others write the model; nothing is left where nothing was written."""
        folder = self._place.folder
        if folder is not None:
            with suppress(OSError):
                # they stay where something was written
                for empty in (folder, folder.parent, folder.parent.parent):
                    empty.rmdir()
        if self._held is not None:
            unlock(self._held)

    def _start(self, restart: bool) -> None:
        """Find what is there of the model."""
        asked = self._asked
        existing = None
        self._dtype = asked.dtype
        remove_left(self._root)
        if self._place.folder is not None:
            remove_partial(self._place.folder)
        restore(self._root / self._modality)
        if self._modality in modality_names(self._root):
            existing = open_array(self._root, self._modality)
            check_modality(existing, f"modality {self._modality!r} in {self._root}")
            if asked.model in existing.indexes["model"]:
                check_complete(existing, asked)
                self._tidy()
                self._stimuli = existing.indexes["stimulus"]
                self._done = np.ones(len(self._stimuli), bool)
                return
            check_same_labels(existing["stimulus"], asked.labels)
            self._common = existing.coords.to_dataset().drop_dims("model", errors="ignore")
        else:
            self._common = asked.labels.coords.to_dataset()
        others = [one for one in self._others() if one.model != asked.model]
        check_others(existing, others, asked, f"modality {self._modality!r} in {self._root}")
        if restart:
            self._clear()
        incomplete = incomplete_model_at(self._place)
        if incomplete is None:
            self._clear()
            self._stimuli = self._common.indexes["stimulus"]
            self._done = np.zeros(len(self._stimuli), bool)
            dtype = asked.dtype or self._common_dtype()
            if dtype is not None:
                self._begin(dtype)
            return
        check_incomplete(incomplete, asked)
        check_same_labels(incomplete.stimuli["stimulus"], asked.labels)
        self._go_on(incomplete)

    def _others(self) -> list[IncompleteModel]:
        return incomplete_models(self._root, self._modality, damaged=True)

    def _common_dtype(self) -> np.dtype[Any] | None:
        """The dtype of the modality, or of a model of it that others have begun."""
        if self._modality in modality_names(self._root):
            found: np.dtype[Any] = stored_array(self._root / self._modality, NAME).dtype
            return found
        return next((one.dtype for one in self._others()), None)

    def _begin(self, dtype: np.dtype[Any]) -> None:
        """Make the group of the model."""
        asked = self._asked
        attrs = {
            MODEL: asked.model,
            "n_features": asked.n_features,
            "coords": dict(asked.coords),
            "dtype": np.dtype(dtype).name,
            PROVENANCE: dict(asked.provenance),
        }
        for place in (self._root / INCOMPLETE, self._root / INCOMPLETE / self._modality):
            if not place.is_group():
                groups.new_group(place)
        groups.write_begun(self._place, encoded(self._common).assign_attrs(attrs))
        self._incomplete = incomplete_model_at(self._place)
        self._dtype = np.dtype(dtype)

    def _go_on(self, incomplete: IncompleteModel) -> None:
        """Take up what an earlier start has left."""
        self._incomplete, self._dtype = incomplete, incomplete.dtype
        self._stimuli = incomplete.labels
        self._done, damaged = incomplete.written()
        for batches in incomplete.batches:
            self._batches[(batches.size - 1).bit_length()] = batches
        if damaged:
            warnings.warn(
                f"what an earlier start left of model {self._asked.model!r} is damaged: "
                f"{listing(damaged)}; their stimuli are pending again",
                RuntimeWarning,
                stacklevel=4,
            )

    # Writing

    def _positions(self, stimuli: Sequence[str]) -> Array:
        """Positions of labels that are pending."""
        who = f"model {self._asked.model!r}"
        labels = label_text(stimuli, f"{who}: stimuli")
        names = labels.tolist()
        positions = np.fromiter(map(self._position.get, names, repeat(-1)), np.int64, len(names))
        if len(set(names)) < len(names):
            twice = pd.Index(labels, dtype=object)
            twice = twice[twice.duplicated()].unique()
            raise SchemaError(f"{who}: the batch has {listing(twice)} more than once")
        if (positions < 0).any():
            raise SchemaError(
                f"{who}: {listing(labels[positions < 0])} not among its {len(self._stimuli)} "
                f"stimuli ({listing(self._stimuli, 3)}); labels are text and must match exactly"
            )
        if self._done[positions].any():
            raise SchemaError(
                f"{who}: {listing(labels[self._done[positions]])} written already; write what "
                "ModelWriter.pending lists"
            )
        return positions

    @cached_property
    def _position(self) -> dict[str, int]:
        labels = self._stimuli.tolist()
        return dict(zip(labels, range(len(labels)), strict=True))

    @contextmanager
    def _on_a_full_disk(self) -> Iterator[None]:
        """Say what is kept when the disk is full."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise OSError(
                error.errno,
                f"no space left while writing model {self._asked.model!r}: "
                f"{np.count_nonzero(self._done)} of {len(self._done)} stimuli are kept; free some "
                "space and start ModelWriter again",
            ) from error

    # Completing

    def _join(self) -> None:
        """Add the model to its modality, and remove what only incomplete models need."""
        incomplete = incomplete_model_at(self._place)
        if incomplete is None:
            return  # it was there already
        array, target = incomplete.lazy(whole=True), self._root / self._modality
        if self._modality not in modality_names(self._root):
            new = encoded_set(array.assign_attrs(modality=self._modality))
            with suppress(FileExistsError), staged(target, self._root, overwrite=False) as stage:
                groups.write_array(stage, new, self._chunks())
        with locked(self._root, f"adding {self._asked.model!r}"):
            existing = open_array(self._root, self._modality)
            if self._asked.model not in existing.indexes["model"]:
                append(self._root, self._modality, _described_like(array, existing))
            self._tidy()

    def _chunks(self) -> tuple[int, int, int]:
        """Models, stimuli and features of a chunk of a new modality."""
        shape = (len(self._stimuli), max(self._asked.n_features, NARROWEST))
        blank = xr.DataArray(
            np.broadcast_to(np.empty((), self._dtype), shape), dims=("stimulus", "feature")
        )
        return 1, recommend_chunks(blank)["stimulus"], self._asked.n_features

    def _tidy(self) -> None:
        """Remove what only incomplete models need; the caller holds the lock of the root."""
        if _content(self._place):
            # from here on, whatever is left of it may go
            joined = {"zarr_format": 3, "node_type": "group", "attributes": {JOINED: True}}
            self._place.put({"zarr.json": to_json(joined)})
            self._clear()
        modality = self._root / INCOMPLETE / self._modality
        for place in (self._place, modality, self._root / INCOMPLETE):
            if set(_content(place)) <= {"zarr.json"}:
                place.remove()

    def _clear(self) -> None:
        """Remove what is there of the model, its own document last."""
        for name in sorted(_content(self._place), key="zarr.json".__eq__):
            self._place.remove(name)


def _content(place: Place) -> list[str]:
    """What is in a group, but a lock."""
    return [name for name in place.names() if not name.startswith(".lock")]


def _described_like(array: xr.DataArray, existing: xr.DataArray) -> xr.DataArray:
    """A model with the coordinates that its modality has by now."""
    there = existing.coords.to_dataset().drop_dims("model", errors="ignore")
    own = [name for name, coord in array.coords.items() if "model" not in coord.dims]
    there = there.sel(stimulus=array["stimulus"].values)
    return array.drop_vars(own).assign_coords(there.coords)
