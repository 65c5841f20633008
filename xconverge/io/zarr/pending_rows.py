"""Rows of a model that is being written, until the chunks that they belong to are full.

Chunk row ``i`` holds the stimuli of the chunks ``c.i.*``. In a folder, rows go to their places in
files that become the chunks, and a log says which rows are whole; in an object store, where
nothing can be changed in place, each batch is an object until its chunks are put.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np

from xconverge.io.zarr.backends import FolderBackend, KeyValueBackend, ObjectStoreBackend, reserve
from xconverge.io.zarr.checksums import as_bytes, checksum, joined
from xconverge.io.zarr.chunks_on_disk import Layout
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array

APPENDING = Lock()
"""Held by a thread while it adds to the end of a log."""


def pending_rows_of(backend: KeyValueBackend, layout: Layout) -> PendingRows:
    """The pending rows of an array (stimulus, feature)."""
    if isinstance(backend, FolderBackend):
        return PendingRowsInFolder(backend, layout)
    assert isinstance(backend, ObjectStoreBackend)
    return PendingRowsInObjectStore(backend, layout)


class PendingRows(ABC):
    """Rows that wait for their chunk rows to be full.

    Parameters
    ----------
    backend : KeyValueBackend
        Of the array.
    layout : Layout
        Of the array (stimulus, feature).
    """

    worth_a_thread: int
    """Bytes of a chunk row that are written faster beside others than after them."""

    def __init__(self, backend: KeyValueBackend, layout: Layout) -> None:
        self.backend, self.layout = backend, layout
        self.step, self.piece = layout.chunks
        self.n_pieces = -(-layout.shape[1] // self.piece)
        self.width = self.n_pieces * self.piece

    @abstractmethod
    def read(self, i: int) -> tuple[Array, Array, bool]:
        """Rows of a chunk row, their values (rows, width), and whether all were as written."""

    @abstractmethod
    def add(self, i: int, rows: Array, values: Array) -> None:
        """Keep rows of a chunk row; when it returns, they outlive the process."""

    @abstractmethod
    def finish(self, i: int) -> None:
        """Make the chunks of a chunk row of which all rows are there; twice is as good as once."""

    def put(self, i: int, values: Array) -> None:
        """Put the chunks of a chunk row that is there as a whole."""
        for p in range(self.n_pieces):
            self.backend.put(self.layout.key((i, p)), *self.layout.encode(self.of_piece(values, p)))

    def size(self, i: int) -> int:
        """Number of stimuli of a chunk row."""
        return min(self.step, self.layout.shape[0] - i * self.step)

    def padded(self, values: Array) -> Array:
        """Rows in the dtype of the store, as wide as its chunks."""
        rows = np.ascontiguousarray(values, self.layout.dtype)
        if rows.shape[1] == self.width:
            return rows
        return np.pad(rows, ((0, 0), (0, self.width - rows.shape[1])), constant_values=np.nan)

    def of_piece(self, values: Array, p: int) -> Array:
        """Columns that lie in one chunk."""
        return values[:, p * self.piece : (p + 1) * self.piece]


class PendingRowsInFolder(PendingRows):
    """Rows in files that become chunks; a log says which rows are there, and their checksums."""

    backend: FolderBackend
    worth_a_thread = BUDGETS.threaded_write

    def __init__(self, backend: FolderBackend, layout: Layout) -> None:
        super().__init__(backend, layout)
        self.folder = backend.path / "parts"
        self.log = self.folder / "log"
        self.row_bytes = self.piece * layout.dtype.itemsize
        self.entry = np.dtype(
            [("first", "<u4"), ("count", "<u4"), ("checksums", "<u4", (self.n_pieces,))]
        )

    def add(self, i: int, rows: Array, values: Array) -> None:
        each = runs(rows)
        entries = np.zeros(len(each), self.entry)
        entries["first"] = i * self.step + rows[[run.start for run in each]]
        entries["count"] = [run.stop - run.start for run in each]
        for p in range(self.n_pieces):
            part, chunk = self._part(i, p), self._chunk(i, p)
            if self.n_pieces > 1 and chunk.exists():
                # made in a finish that was interrupted, before damage was found in other pieces
                chunk.replace(part)
            piece = self.of_piece(values, p)
            with _opened(part) as file:
                if not os.fstat(file).st_size:
                    reserve(file, self.layout.nbytes + 4)
                for number, run in enumerate(each):
                    entries["checksums"][number, p] = checksum(piece[run])
                    _write(file, piece[run], int(rows[run.start]) * self.row_bytes)
        # what is not in the log does not count
        with APPENDING, _opened(self.log) as file:
            size = os.fstat(file).st_size
            # over what a killed process has left of its last entry
            _write(file, entries, size - size % self.entry.itemsize)

    def read(self, i: int) -> tuple[Array, Array, bool]:
        logged = self._logged(i)
        pieces = [self._piece(i, p) for p in range(self.n_pieces) if len(logged)]
        rows = [np.empty(0, np.int64)]
        for entry in logged:
            first, last = int(entry["first"]), int(entry["first"]) + int(entry["count"])
            run = slice(first, last)
            if [checksum(piece[run]) for piece in pieces] == entry["checksums"].tolist():
                rows.append(np.arange(first, last))
        there = np.concatenate(rows)
        values = np.empty((len(there), self.width), self.layout.dtype)
        for p, piece in enumerate(pieces):
            self.of_piece(values, p)[:] = piece[there]
        return there, values, len(rows) == len(logged) + 1

    def finish(self, i: int) -> None:
        logged = self._logged(i)
        counts = [*logged["count"].tolist(), self.step - self.size(i)]
        assert sum(counts) == self.step
        padding = np.full((counts[-1], self.piece), np.nan, self.layout.dtype)
        for p in range(self.n_pieces):
            part, chunk = self._part(i, p), self._chunk(i, p)
            if not part.exists():
                continue
            checksums = [*logged["checksums"][:, p].tolist(), checksum(padding)]
            # of the whole chunk, without reading it again: what the log says, not what lies there
            crc = joined(checksums, counts, self.row_bytes)
            with _opened(part) as file:
                _write(file, padding, self.size(i) * self.row_bytes)
                _write(file, np.array(crc, "<u4"), self.layout.nbytes)
            part.replace(chunk)

    def _part(self, i: int, p: int) -> Path:
        return self.folder / f"{i}.{p}"

    def _chunk(self, i: int, p: int) -> Path:
        return self.backend.path / self.layout.key((i, p))

    def _logged(self, i: int) -> Array:
        """Runs of rows, in order; one of which rows were written again is gone."""
        entries = np.fromfile(self.log if self.log.exists() else os.devnull, self.entry)
        entries = entries[entries["first"] // self.step == i]
        entries["first"] -= i * self.step
        taken, kept = np.zeros(self.size(i), bool), []
        bounds = zip(entries["first"].tolist(), entries["count"].tolist(), strict=True)
        # from the last on: rows that were damaged and written again are in two entries
        for number, (first, count) in reversed(list(enumerate(bounds))):
            run = slice(first, first + count)
            if count and run.stop <= len(taken) and not taken[run].any():
                taken[run] = True
                kept.append(number)
        ordered: Array = np.sort(entries[kept], order="first")
        return ordered

    def _piece(self, i: int, p: int) -> Array:
        """All rows of one piece, NaN where its file ends before them."""
        part = self._part(i, p)
        if not part.exists():
            part = self._chunk(i, p)
        there = np.fromfile(part if part.exists() else os.devnull, np.uint8, self.layout.nbytes)
        whole = np.full((self.step, self.piece), np.nan, self.layout.dtype)
        whole.reshape(-1).view(np.uint8)[: there.size] = there
        return whole


class PendingRowsInObjectStore(PendingRows):
    """Each batch of rows an object: their number, which they are, their values, a checksum."""

    worth_a_thread = 0

    def add(self, i: int, rows: Array, values: Array) -> None:
        head = np.array([len(rows), *rows], np.uint32)
        crc = checksum(values, checksum(head))
        self.backend.put(
            f"parts/{i}/{uuid4().hex}", as_bytes(head), as_bytes(values), crc.to_bytes(4, "little")
        )

    def read(self, i: int) -> tuple[Array, Array, bool]:
        found = [self._record(self.backend.read(f"parts/{i}/{name}")) for name in self._names(i)]
        good = [record for record in found if record is not None]
        empty = np.empty(0, np.int64), np.empty((0, self.width), self.layout.dtype)
        rows, values = (np.concatenate(side) for side in zip(empty, *good, strict=True))
        return rows, values, len(good) == len(found)

    def finish(self, i: int) -> None:
        rows, values, _ = self.read(i)
        if len(rows):
            whole = np.empty((self.size(i), self.width), self.layout.dtype)
            whole[rows] = values
            self.put(i, whole)
            self.backend.remove(f"parts/{i}")

    def _names(self, i: int) -> list[str]:
        return self.backend.names(f"parts/{i}")

    def _record(self, data: Array) -> tuple[Array, Array] | None:
        if data.size < 8 or checksum(data[:-4]).to_bytes(4, "little") != data[-4:].tobytes():
            return None
        count = int(data[:4].view(np.uint32)[0])
        head = 4 * (count + 1)
        rows = data[4:head].view(np.uint32).astype(np.int64)
        return rows, data[head:-4].view(self.layout.dtype).reshape(count, self.width)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file to change in place, made where it is not there."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, values: Array, at: int) -> None:
    """Write all of an array at a place of a file."""
    rest: Any = as_bytes(values)
    while len(rest):
        os.lseek(file, at, os.SEEK_SET)
        done = os.write(file, rest)
        rest, at = rest[done:], at + done


def runs(rows: Array) -> list[slice]:
    """Stretches of consecutive rows."""
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(*cut) for cut in pairwise(cuts)]
