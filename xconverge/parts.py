"""Rows of a model that is being written, until the chunks that they belong to are full.

Chunk row ``i`` holds the stimuli of the chunks ``c/i/*``. In a folder, rows go to their places in
files that become the chunks, and a log says which rows are whole; in an object store, where
nothing can be changed in place, each batch is an object until its chunks are put.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np

from xconverge.chunk_files import Layout, checksum, key
from xconverge.kernels.rows import Array
from xconverge.places import Bucket, Files, Folder


def parts_of(place: Files, layout: Layout) -> Parts:
    """The parts of an array (stimulus, feature)."""
    if isinstance(place, Folder):
        return FolderParts(place, layout)
    assert isinstance(place, Bucket)
    return BucketParts(place, layout)


class Parts(ABC):
    """Rows that wait for their chunk rows to be full.

    Parameters
    ----------
    place : Files
        Of the array.
    layout : Layout
        Of the array (stimulus, feature).
    """

    def __init__(self, place: Files, layout: Layout) -> None:
        self.place, self.layout = place, layout
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
            part = values[:, p * self.piece : (p + 1) * self.piece]
            self.place.put(key((i, p)), *self.layout.encode(part))

    def size(self, i: int) -> int:
        """Number of stimuli of a chunk row."""
        return min(self.step, self.layout.shape[0] - i * self.step)

    def padded(self, values: Array) -> Array:
        """Rows in the dtype of the store, as wide as its chunks."""
        rows = np.ascontiguousarray(values, self.layout.dtype)
        if rows.shape[1] == self.width:
            return rows
        return np.pad(rows, ((0, 0), (0, self.width - rows.shape[1])), constant_values=np.nan)


class FolderParts(Parts):
    """Rows in files that become chunks; the log has a record of each batch of rows."""

    def __init__(self, place: Folder, layout: Layout) -> None:
        super().__init__(place, layout)
        self.chunks = place.path
        self.folder = place.path / "parts"
        self.row_bytes = self.piece * layout.dtype.itemsize
        self.log_sizes: dict[int, int] = {}
        self.running: dict[int, tuple[int, list[int]]] = {}
        """Of chunk rows that grow in order: the next row, and the checksum of each piece so far."""

    def add(self, i: int, rows: Array, values: Array) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for p in range(self.n_pieces):
            with _open(self._part(i, p)) as file:
                for run in _runs(rows):
                    file.seek(int(rows[run.start]) * self.row_bytes)
                    file.write(_bytes(self._of_piece(values[run], p)))
        if i not in self.log_sizes:
            self._records(i)
        done, crcs = self.running.pop(i, (0, [0] * self.n_pieces))
        if rows[0] == done and len(_runs(rows)) == 1 and (done or not self.log_sizes[i]):
            crcs = [checksum(self._of_piece(values, p), crc) for p, crc in enumerate(crcs)]
            self.running[i] = done + len(rows), crcs
        # what is not in the log does not count
        body = np.array([len(rows), *rows, checksum(values)], np.uint32)
        record = np.append(body, np.uint32(checksum(body)))
        with _open(self._log(i)) as file:
            file.truncate(self.log_sizes[i])
            file.seek(self.log_sizes[i])
            file.write(_bytes(record))
        self.log_sizes[i] += record.nbytes

    def read(self, i: int) -> tuple[Array, Array, bool]:
        found = [(rows, self._values(i, rows), crc) for rows, crc in self._records(i)]
        good = [(rows, values) for rows, values, crc in found if checksum(values) == crc]
        empty = np.empty(0, np.int64), np.empty((0, self.width), self.layout.dtype)
        rows, values = (np.concatenate(side) for side in zip(empty, *good, strict=True))
        return rows, values, len(good) == len(found)

    def finish(self, i: int) -> None:
        size, dtype = self.size(i), self.layout.dtype
        done, crcs = self.running.pop(i, (0, []))
        padding = np.full((self.step - size, self.piece), np.nan, dtype)
        for p in range(self.n_pieces):
            part, chunk = self._part(i, p), self.chunks / key((i, p))
            if not part.exists():
                continue
            with _open(part) as file:
                file.seek(size * self.row_bytes)
                file.write(_bytes(padding))
                file.flush()
                if done == size:
                    crc = checksum(padding, crcs[p])
                else:
                    crc = checksum(np.fromfile(part, np.uint8, self.layout.nbytes))
                file.truncate(self.layout.nbytes)
                file.seek(self.layout.nbytes)
                file.write(crc.to_bytes(4, "little"))
            chunk.parent.mkdir(parents=True, exist_ok=True)
            part.replace(chunk)
        self._log(i).unlink(missing_ok=True)
        self.log_sizes.pop(i, None)

    def _part(self, i: int, p: int) -> Path:
        return self.folder / f"{i}.{p}"

    def _log(self, i: int) -> Path:
        return self.folder / f"{i}.log"

    def _of_piece(self, values: Array, p: int) -> Array:
        return values[:, p * self.piece : (p + 1) * self.piece]

    def _records(self, i: int) -> list[tuple[Array, int]]:
        """Rows and checksum of each batch; what follows a record that is not whole is cut off."""
        log = self._log(i)
        words = np.fromfile(log, np.uint32) if log.exists() else np.empty(0, np.uint32)
        records, at = [], 0
        while at < words.size:
            end = at + int(words[at]) + 3
            if end > words.size or words[end - 1] != checksum(words[at : end - 1]):
                break
            records.append((words[at + 1 : end - 2].astype(np.int64), int(words[end - 2])))
            at = end
        self.log_sizes[i] = at * words.itemsize
        return records

    def _values(self, i: int, rows: Array) -> Array:
        values = np.empty((len(rows), self.width), self.layout.dtype)
        for p in range(self.n_pieces):
            part = self._part(i, p)
            if not part.exists():
                part = self.chunks / key((i, p))
            if not part.exists():
                values[:] = np.nan
                break
            for run in _runs(rows):
                start = int(rows[run.start]) * self.row_bytes
                block = np.fromfile(
                    part, self.layout.dtype, (run.stop - run.start) * self.piece, offset=start
                )
                into = self._of_piece(values[run], p)
                into[: block.size // self.piece] = block[
                    : block.size // self.piece * self.piece
                ].reshape(-1, self.piece)
        return values


class BucketParts(Parts):
    """Each batch of rows an object: their number, which they are, their values, a checksum."""

    def add(self, i: int, rows: Array, values: Array) -> None:
        head = np.array([len(rows), *rows], np.uint32)
        crc = checksum(values, checksum(head))
        self.place.put(
            f"parts/{i}/{uuid4().hex}", _bytes(head), _bytes(values), crc.to_bytes(4, "little")
        )

    def read(self, i: int) -> tuple[Array, Array, bool]:
        found = [self._record(self.place.read(f"parts/{i}/{name}")) for name in self._names(i)]
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
            self.place.remove(f"parts/{i}")

    def _names(self, i: int) -> list[str]:
        return self.place.names(f"parts/{i}")

    def _record(self, data: Array) -> tuple[Array, Array] | None:
        if data.size < 8 or checksum(data[:-4]).to_bytes(4, "little") != data[-4:].tobytes():
            return None
        count = int(data[:4].view(np.uint32)[0])
        head = 4 * (count + 1)
        rows = data[4:head].view(np.uint32).astype(np.int64)
        return rows, data[head:-4].view(self.layout.dtype).reshape(count, self.width)


def _open(path: Path) -> BinaryIO:
    """A file to change in place, made where it is not there."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+b")


def _bytes(values: Array) -> memoryview:
    flat: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _runs(rows: Array) -> list[slice]:
    """Stretches of consecutive rows."""
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(*cut) for cut in pairwise(cuts)]
