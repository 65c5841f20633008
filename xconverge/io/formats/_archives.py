"""Zip archives from strangers: read in memory, never unpacked, never larger than they may be."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xconverge.io.formats._npy import check_size, read_header
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import check_numbers

DEFLATE = 1032
"""The most bytes that one byte of deflate can stand for."""


@contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members have names of their own and sizes that can be true."""
    with zipfile.ZipFile(path) as opened:
        infos = opened.infolist()
        names = [info.filename for info in infos]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SchemaError(f"{path} has several members of one name: {listing(twice)}")
        for info in infos:
            what = f"{path}: member {info.filename!r}"
            if info.flag_bits & 0x1:
                raise SchemaError(f"{what} is encrypted; save the archive without a password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise SchemaError(f"{what} is compressed in a way that NumPy never writes")
            most = DEFLATE if info.compress_type == zipfile.ZIP_DEFLATED else 1
            if info.file_size > most * info.compress_size:
                raise SchemaError(
                    f"{what} claims {info.file_size} bytes in {info.compress_size}, which cannot "
                    "be; the archive is damaged, or made to fill the memory"
                )
        packed = sum(info.compress_size for info in infos)
        if packed > path.stat().st_size:
            raise SchemaError(f"the members of {path} overlap; it is made to fill the memory")
        yield opened


def read_array(opened: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> Array:
    """One array of an .npz file; its size is checked before room is made for it."""
    with opened.open(info) as file:
        header = read_header(file, what)
        if header.dtype.hasobject:
            check_numbers(header.dtype, what)
        check_size(header, info.file_size, what)
        buffer = bytearray(header.stop - header.start)
        view, at = memoryview(buffer), 0
        while at < len(buffer):
            block = file.read(min(BUDGETS.archive_block, len(buffer) - at))
            if not block:
                raise SchemaError(f"{what} ends after {at} of {len(buffer)} bytes; it was cut off")
            view[at : at + len(block)] = block
            at += len(block)
        file.read(1)  # the checksum is compared at the end
    if not buffer:
        return np.zeros(header.shape, header.dtype)
    values: Array = np.frombuffer(buffer, header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")
