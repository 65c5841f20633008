"""Writing one model batch by batch, as it is extracted, so that a crash costs one batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from itertools import repeat
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.system import CPU_COUNT

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.writer_checks import (
    Asked,
    check_complete,
    check_incomplete,
    check_modality,
    check_same_labels,
    numbers,
    stored_rows,
)
from xconverge.io.zarr import groups
from xconverge.io.zarr.append import append
from xconverge.io.zarr.backends import FULL, KeyValueBackend, StorePath, backend_of
from xconverge.io.zarr.chunks_on_disk import Index, Layout
from xconverge.io.zarr.encoding import NAME, encoded, encoded_set, modality_of
from xconverge.io.zarr.incomplete import (
    FLAT,
    INCOMPLETE,
    IncompleteModel,
    folder_name,
    incomplete_model_at,
    incomplete_models,
    incomplete_models_in,
    shared,
)
from xconverge.io.zarr.journal import replay
from xconverge.io.zarr.pending_rows import runs
from xconverge.io.zarr.root import Options, ensure_store, modality_names
from xconverge.io.zarr.staging import check_free, staged
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import flags
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.text import label_text

NARROWEST = 1024
"""Chunk rows are no longer than those of a model of this width: wider models share them."""
THREADS = min(4, CPU_COUNT)
"""Chunk rows of a batch that are written at once."""


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
    restart : bool
        Drop what an earlier start has left of this model.
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
        Rows that an earlier start left were damaged: their stimuli are pending again. On leaving
        the ``with`` block without an error while stimuli are pending.

    Notes
    -----
    What `write` has returned from outlives the process. The model joins its modality in one step,
    when the ``with`` block ends and nothing is pending; before that, `open_representations` leaves
    it out. A second start with the same arguments goes on where the first one ended; for a model
    that is complete it has nothing pending. Memory: one batch, and at most four chunk rows (12 MiB
    each, more for models wider than the first of their modality). Several processes may write
    different models. Models join a modality in the order in which their writers are closed; an
    ``ExitStack`` closes the last first. A chunk is as wide as the first model that is begun, and
    narrower models are padded to it: features of very different widths belong into modalities of
    their own.

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
        restart: bool = False,
        storage_options: Options | None = None,
    ) -> None:
        flags(restart=restart)
        root = backend_of(path, storage_options)
        # a Zarr store may be a transaction: what it holds would not outlive the process
        if not isinstance(root, KeyValueBackend):
            raise TypeError(
                f"ModelWriter writes to a path or a URL, got a {type(path).__name__}; write a "
                "finished model into it by append_models"
            )
        asked = Asked.of(model, stimuli, n_features, dtype, coords or {})
        self._root, self._asked = root, asked
        self._modality = modality_of(xr.DataArray(), modality)
        self._folder = root / INCOMPLETE / self._modality
        self._backend = self._folder / folder_name(asked.model)
        self._held = ExitStack()
        self._incomplete: IncompleteModel | None = None
        ensure_store(root)
        doing = f"model {asked.model!r} of {modality!r} in {root}"
        with root.lock(f"starting {doing}"):
            self._held.enter_context((self._backend / NAME).lock(f"writing {doing}", patience=0))
            try:
                self._start(restart, asked.dtype)
            except BaseException:
                self._held.close()
                if not self._backend.is_group():
                    self._tidy()
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
        if self._incomplete is None and self.pending:
            with self._root.lock(f"starting model {self._asked.model!r}"):
                self._start(False, np.result_type(values.dtype, np.float32))
        positions = self._positions(stimuli)
        dtype = None if self._incomplete is None else self._incomplete.layout.dtype
        values = stored_rows(values, self._asked, dtype, self._stimuli[positions])
        if not len(positions):
            return
        assert self._incomplete is not None
        pending_rows = self._incomplete.pending_rows
        values = pending_rows.padded(values)
        order = np.argsort(positions, kind="stable")
        chunk_rows = positions[order] // pending_rows.step
        cuts = np.flatnonzero(np.diff(chunk_rows)) + 1

        def keep(here: Array) -> None:
            block = values[here[0] : here[-1] + 1] if len(runs(here)) == 1 else values[here]
            self._keep(int(positions[here[0]]) // pending_rows.step, positions[here], block)

        # chunk rows are independent files, and writing them at once hides the wait for each
        each = np.split(order, cuts)
        at_once = len(cuts) and values.nbytes >= pending_rows.worth_a_thread * len(each)
        with self._on_a_full_disk():
            if at_once:
                with ThreadPoolExecutor(THREADS) as pool:
                    list(pool.map(keep, each))
            else:
                list(map(keep, each))

    def _keep(self, i: int, positions: Array, block: Array) -> None:
        """Keep rows of one chunk row, and make its chunks once it is full."""
        assert self._incomplete is not None
        pending_rows = self._incomplete.pending_rows
        here = slice(i * pending_rows.step, i * pending_rows.step + pending_rows.size(i))
        if len(positions) == pending_rows.size(i):
            pending_rows.put(i, block)
            self._done[here] = True
            return
        pending_rows.add(i, positions - here.start, block)
        self._done[positions] = True
        if self._done[here].all():
            pending_rows.finish(i)

    def close(self) -> None:
        """Add the model to its modality if nothing is pending, and let others write it."""
        if not self._open:
            return
        self._open = False
        with self._held:
            if self._incomplete is None or self._done.all():
                with self._on_a_full_disk(), self._root.lock(f"adding {self._asked.model!r}"):
                    if self._incomplete is not None:
                        self._complete(self._incomplete)
                    self._tidy()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the writer; after an error the model stays incomplete."""
        if error is not None and self._incomplete is not None:
            self._open = False
            self._held.close()
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

    def _start(self, restart: bool, dtype: np.dtype[Any] | None) -> None:
        """Find what is there of the model, or make its group once its dtype is known."""
        asked = self._asked
        existing = None
        replay(self._root / self._modality)
        if self._modality in modality_names(self._root):
            existing = groups.open_array(self._root, self._modality)
            check_modality(existing, f"modality {self._modality!r} in {self._root}")
            if asked.model in existing.indexes["model"]:
                check_complete(existing, asked)
                self._clear()
                self._stimuli = existing.indexes["stimulus"]
                self._done = np.ones(len(self._stimuli), bool)
                return
        if existing is None and dtype is None and not self._folder.is_group():
            self._stimuli = asked.labels.indexes["stimulus"]
            self._done = np.zeros(len(self._stimuli), bool)
            return
        self._common = self._shared(existing, dtype)
        self._stimuli = self._common.indexes["stimulus"]
        self._check_coords(existing)
        incomplete = None if restart else incomplete_model_at(self._backend, self._stimuli)
        if incomplete is None:
            self._clear()
            self._incomplete = self._new(self._common)
            self._done = np.zeros(len(self._stimuli), bool)
            return
        check_incomplete(incomplete, asked)
        self._done, whole = incomplete.written()
        if not whole:
            warnings.warn(
                f"rows of model {asked.model!r} that an earlier start left are damaged; their "
                "stimuli are pending again",
                RuntimeWarning,
                stacklevel=4,
            )
        self._incomplete = incomplete

    def _shared(self, existing: xr.DataArray | None, dtype: np.dtype[Any] | None) -> xr.Dataset:
        """What all incomplete models share, from the modality, from them, or from here."""
        folder, asked = self._folder, self._asked
        if existing is not None:
            stimuli = existing.coords.to_dataset().drop_dims("model", errors="ignore")
        else:
            stimuli = asked.labels.coords.to_dataset()
        if folder.is_group():
            common = shared(folder)
            if existing is not None and not common.indexes["stimulus"].equals(
                existing.indexes["stimulus"]
            ):
                others = [one.model for one in incomplete_models(self._root, self._modality)]
                raise SchemaError(
                    f"models {listing(others)} were begun for other stimuli than those that "
                    f"{self._modality!r} has now; delete {folder}, or choose another modality"
                )
        else:
            dtype = np.dtype(existing.dtype if existing is not None else dtype)
            steps = self._steps(stimuli.sizes["stimulus"], dtype)
            stored = encoded(stimuli).assign_attrs(dtype=dtype.name, chunks=steps)
            if not (self._root / INCOMPLETE).is_group():
                groups.new_group(self._root / INCOMPLETE)
            for name, data in groups.files_of(stored).items():
                folder.put(name, data)
            coords = stored.coords.variables
            common = stored.assign_coords(
                {name: groups.with_objects(coord) for name, coord in coords.items()}
            )
        check_same_labels(common["stimulus"], asked.labels)
        if asked.dtype is not None and asked.dtype.name != common.attrs["dtype"]:
            raise SchemaError(
                f"modality {self._modality!r} is stored as {common.attrs['dtype']}, and dtype is "
                f"{asked.dtype.name}; leave dtype out, or choose another modality"
            )
        return common

    def _steps(self, n_stimuli: int, dtype: np.dtype[Any]) -> list[int]:
        """Stimuli and features of a chunk: those of the modality, or what suits the width."""
        layout = self._layout_of_modality()
        if layout is not None:
            return list(layout.chunks[1:])
        shape = (n_stimuli, max(self._asked.n_features, NARROWEST))
        blank = xr.DataArray(
            np.broadcast_to(np.empty((), dtype), shape), dims=("stimulus", "feature")
        )
        return [recommend_chunks(blank)["stimulus"], self._asked.n_features]

    def _layout_of_modality(self) -> Layout | None:
        """How the modality is cut, where its chunks are ours and have the usual order of dims."""
        stored = (self._root / self._modality / NAME).metadata()
        if not stored or list(stored.get("dimension_names", ())) != [
            "model",
            "stimulus",
            "feature",
        ]:
            return None
        layout = Layout.of(stored)
        return layout if layout is not None and layout.chunks[0] == 1 else None

    def _check_coords(self, existing: xr.DataArray | None) -> None:
        """Every model of a modality has the same coordinates."""
        mine = set(self._asked.coords)
        if existing is not None:
            theirs = {str(name) for name, c in existing.coords.items() if "model" in c.dims}
        else:
            incomplete = incomplete_models_in(self._folder, self._stimuli)
            others = [one for one in incomplete if one.model != self._asked.model]
            theirs = set(others[0].coords) if others else mine
        theirs -= {"model", "n_features"}
        if mine != theirs:
            raise SchemaError(
                f"models of {self._modality!r} have the coordinates "
                f"{listing(sorted(theirs)) or 'none'}, and coords gives "
                f"{listing(sorted(mine)) or 'none'}; give one value for each"
            )

    def _new(self, common: xr.Dataset) -> IncompleteModel:
        """Make the group of the model; its metadata are the last, and make it one."""
        asked = self._asked
        shape = (len(self._stimuli), asked.n_features)
        chunks, dtype = tuple(common.attrs["chunks"]), np.dtype(common.attrs["dtype"])
        layout = Layout(shape, chunks, dtype.newbyteorder("<"), FLAT)
        metadata = layout.metadata(("stimulus", "feature"))
        (self._backend / NAME).put("zarr.json", groups.to_json(metadata))
        attrs = {
            "xconverge_model": asked.model,
            "n_features": asked.n_features,
            "coords": dict(asked.coords),
        }
        groups.new_group(self._backend, attrs)
        return IncompleteModel(
            self._backend, asked.model, asked.n_features, asked.coords, layout, self._stimuli
        )

    def _clear(self) -> None:
        """Drop what is there of the model, but its lock."""
        self._backend.remove("zarr.json")
        for name in self._backend.names(NAME):
            if not name.startswith("."):
                self._backend.remove(f"{NAME}/{name}")

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

    def _complete(self, incomplete: IncompleteModel) -> None:
        """Add the model to its modality."""
        for i in range(incomplete.n_chunk_rows()):
            if not incomplete.has_chunks(i):
                incomplete.pending_rows.finish(i)
        array = incomplete.lazy().assign_coords(self._common.coords)
        if self._modality in modality_names(self._root):
            layout = self._layout_of_modality()
            fits = layout is not None and (layout.chunks[1:], layout.dtype) == (
                incomplete.layout.chunks,
                incomplete.layout.dtype,
            )
            fill = self._link if fits else None
            append(self._root, self._modality, array, fill)
        else:
            array = encoded_set(array.assign_attrs(modality=self._modality))
            target = self._root / self._modality
            check_free(target, overwrite=False)
            with staged(target, self._root) as stage:
                groups.write_array(stage, array, (1, *incomplete.layout.chunks), self._link)

    def _link(self, target: KeyValueBackend, layout: Layout, first: Index) -> bool:
        """Take the chunks over as they are; their values were checked batch by batch."""
        assert self._incomplete is not None
        source, own = self._incomplete.backend / NAME, self._incomplete.layout
        for index in own.indices():
            target.take_over(source, own.key(index), layout.key((first[0], *index)))
        return True

    def _tidy(self) -> None:
        """Remove what only incomplete models need."""
        self._backend.remove()
        names = [name for name in self._folder.names() if name != "zarr.json"]
        kinds = [((self._folder / name).metadata() or {}).get("node_type") for name in names]
        if set(kinds) <= {"array"}:
            self._folder.remove()
        if set((self._root / INCOMPLETE).names()) <= {"zarr.json"}:
            (self._root / INCOMPLETE).remove()
