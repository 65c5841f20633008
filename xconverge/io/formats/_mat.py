"""Arrays of numbers in MATLAB files of version 5 to 7.2.

scipy reads these files too, and more of them, but kills the process where one is damaged (scipy
1.17: a flag that calls numbers complex is enough). Here every length is checked before it is used.
After "MAT-File Format", The MathWorks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xconverge.io.formats._sets import check_memory
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError

MATRIX, COMPRESSED = 14, 15
INT8, INT32, UINT32, UTF8 = 1, 5, 6, 16
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
OTHER = {1: "cells", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
COMPLEX = 0x800


class Element(NamedTuple):
    """A tagged stretch of bytes, and where the next one starts."""

    kind: int
    data: Array
    stop: int


def read_mat(path: Path, order: str) -> dict[str, Callable[[], Array]]:
    """All variables by name; called, each must be a full array of real numbers.

    ``order`` is that of the bytes. What nobody calls may be text, cells or anything else.
    """
    content: Array = np.memmap(path, np.uint8, mode="r")
    found: dict[str, Callable[[], Array]] = {}
    at = 128
    while at < len(content):
        element = _element(content, at, order, short=False)
        at = element.stop
        if element.kind == COMPRESSED:
            element = _unpacked(element.data, order, path)
        if element.kind != MATRIX:
            raise SchemaError(f"{path} has an element of kind {element.kind}, and no variable")
        name, read = _variable(element.data, order, path)
        if name in found:
            raise SchemaError(f"{path} has several variables called {name!r}")
        found[name] = read
    return found


def _element(content: Array, at: int, order: str, *, short: bool = True) -> Element:
    """The element at a place; inside a variable, a short one has its data in its tag."""
    if at + 8 > len(content):
        raise SchemaError("it ends inside a tag")
    kind, size = (int(number) for number in content[at : at + 8].view(f"{order}u4"))
    if short and kind >> 16:
        kind, size, start, stop = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if size > 4:
            raise SchemaError(f"a short element claims {size} bytes")
    else:
        start = at + 8
        stop = start + (size + -size % 8 if short else size)
    if start + size > len(content):
        raise SchemaError(f"an element claims {size} bytes, and {len(content) - start} are left")
    return Element(kind, content[start : start + size], stop)


def _unpacked(data: Array, order: str, path: Path) -> Element:
    """The variable in a compressed element, which says how large it is."""
    packed = zlib.decompressobj()
    tag = packed.decompress(data.tobytes(), 8)
    if len(tag) < 8:
        raise SchemaError("a compressed variable is empty")
    kind, size = (int(number) for number in np.frombuffer(tag, f"{order}u4"))
    check_memory(size, str(path))
    body = packed.decompress(packed.unconsumed_tail, size + 1)
    if len(body) != size or not packed.eof:
        raise SchemaError(f"a compressed variable claims {size} bytes and has others")
    return Element(kind, np.frombuffer(body, np.uint8), 0)


def _variable(content: Array, order: str, path: Path) -> tuple[str, Callable[[], Array]]:
    """Name of a variable, and what reads its values."""
    flags = _numbers(first := _element(content, 0, order), order, UINT32)
    sizes = _numbers(second := _element(content, first.stop, order), order, INT32)
    third = _element(content, second.stop, order)
    if third.kind not in (INT8, UTF8) or len(flags) != 2 or min(sizes, default=-1) < 0:
        raise SchemaError("a variable has no name, flags or sizes")
    name = third.data.tobytes().decode("utf-8" if third.kind == UTF8 else "latin-1")
    shape = tuple(int(size) for size in sizes)
    what = f"{path}: {name!r}"
    return name, partial(_values, content, third.stop, order, int(flags[0]), shape, what)


def _values(
    content: Array, at: int, order: str, flags: int, shape: tuple[int, ...], what: str
) -> Array:
    """The numbers of a variable."""
    kind = flags & 0xFF
    if kind not in CLASSES:
        raise SchemaError(f"{what} is {OTHER.get(kind, 'of a kind')}, not numbers")
    if flags & COMPLEX:
        raise SchemaError(f"{what} holds complex numbers; save real and imaginary parts")
    values: Array = _numbers(_element(content, at, order), order)
    if math.prod(shape) != len(values):
        raise SchemaError(f"{what} has the shape {shape} and {len(values)} numbers")
    return values.astype(CLASSES[kind], copy=False).reshape(shape, order="F")


def _numbers(element: Element, order: str, kind: int | None = None) -> Any:
    if element.kind not in STORED or kind not in (None, element.kind):
        raise SchemaError(f"an element of kind {element.kind} is where numbers must be")
    dtype = np.dtype(f"{order}{STORED[element.kind]}")
    if len(element.data) % dtype.itemsize:
        raise SchemaError(f"{len(element.data)} bytes are no whole number of {dtype}")
    return element.data.view(dtype)
