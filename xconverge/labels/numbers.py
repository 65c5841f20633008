"""Numbers that come in: as floats, not one of them changed, or refused with the reason."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xconverge.labels.messages import SchemaError

Array = np.ndarray[Any, np.dtype[Any]]

WHOLE = 2**53
"""Up to here float64 skips no whole number."""

REFUSED = {
    "O": "holds Python objects, which only unpickling could read; unpickling runs code",
    "c": "holds complex numbers; save their real and imaginary parts, or their magnitude",
    "U": "holds text, not numbers",
    "S": "holds bytes, not numbers",
    "T": "holds text, not numbers",
    "V": "holds records of several fields; save each field as an array of its own",
    "M": "holds dates, not numbers",
    "m": "holds durations; save them as numbers",
}
RAW = {1: ("one raw byte", "float8"), 2: ("two raw bytes", "bfloat16")}
"""What files keep of the numbers of ml_dtypes, which NumPy has no names for."""
SMALL_FLOAT = re.compile(r"bfloat16|float[468]_\w+")
SMALL_WHOLE = re.compile(r"u?int[124]")


def numpy_dtype(of: Any) -> np.dtype[Any]:
    """The dtype of NumPy's own that holds every number of this one.

    bfloat16 and the smaller numbers of ml_dtypes, which JAX and PyTorch have, become float32 and
    int8; NumPy would not compute with them as with others.
    """
    dtype: np.dtype[Any] = np.dtype(of)
    if SMALL_FLOAT.fullmatch(dtype.name):
        return np.dtype(np.float32)
    if SMALL_WHOLE.fullmatch(dtype.name):
        return np.dtype(np.uint8 if dtype.name.startswith("u") else np.int8)
    return dtype


def why_no_numbers(dtype: Any) -> str | None:
    """What an array of this dtype holds, where it is no real numbers."""
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return REFUSED["O"]
    if dtype.kind == "V" and dtype.names is None and numpy_dtype(dtype).kind == "V":
        if dtype.itemsize not in RAW:
            return f"holds raw bytes, not numbers (dtype {dtype}); save numbers"
        # not guessed: two bytes may be bfloat16, and may be anything else
        many, probably = RAW[dtype.itemsize]
        return (
            f"holds {many} a number (dtype {dtype}), probably {probably}, whose name was not kept; "
            "save array.astype('float32'), which keeps every digit"
        )
    if dtype.kind in REFUSED and numpy_dtype(dtype).kind in REFUSED:
        return f"{REFUSED[dtype.kind]} (dtype {dtype})"
    if dtype.kind == "f" and dtype.itemsize > 8:
        return f"holds {dtype}, which no computation here keeps; save float64"
    return None


def cure_of(dtype: np.dtype[Any]) -> str | None:
    """What to do about an array in memory that NumPy does not compute with, where it is known."""
    if numpy_dtype(dtype) != dtype:
        return f".astype({numpy_dtype(dtype).name!r}) keeps every digit"
    raw = dtype.kind == "V" and dtype.names is None
    return f"it {why_no_numbers(dtype)}" if raw else None


def check_numbers(dtype: Any, what: str) -> None:
    """Refuse an array that does not hold real numbers, with the reason."""
    why = why_no_numbers(dtype)
    if why is not None:
        raise SchemaError(f"{what} {why}")


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Floats as they are, in the byte order of this machine; all else as float64."""
    dtype = numpy_dtype(dtype)
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)


def floats(array: Array, what: str, dtype: np.dtype[Any] | None = None) -> Array:
    """Numbers as floats, not one of them changed; as ``dtype``, where one is given."""
    check_numbers(array.dtype, what)
    check_whole(array, what)
    return array.astype(float_dtype(array.dtype) if dtype is None else dtype, copy=False)


def check_whole(array: Array, what: str) -> None:
    """Refuse whole numbers that a float would round."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        low, high = int(array.min()), int(array.max())
        if max(-low, high) > WHOLE:
            raise SchemaError(
                f"{what} holds whole numbers beyond 2**53 ({low if -low > high else high}), which "
                "floats would round; are they ids, not features?"
            )


def check_digits(cell: str, value: float, what: str) -> None:
    """Refuse digits in a text that a float rounds."""
    digits = re.fullmatch(r"\s*([+-]?\d+)(\.0*)?\s*", cell)
    # as whole numbers: beside a float, Python rounds the other side too
    if digits and not (np.isfinite(value) and int(digits[1]) == int(value)):
        raise SchemaError(
            f"{what} holds whole numbers beyond 2**53 ({digits[1]}), which floats would round; are "
            "they ids, not features?"
        )


def float_array(array: xr.DataArray, what: str, dtype: np.dtype[Any] | None = None) -> xr.DataArray:
    """As `floats`, of an array that may be lazy."""
    check_numbers(array.dtype, what)
    dtype = float_dtype(array.dtype) if dtype is None else dtype
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "f":
        return array.astype(dtype)
    result: xr.DataArray = xr.apply_ufunc(
        floats,
        array,
        kwargs={"what": what, "dtype": dtype},
        dask="parallelized",
        output_dtypes=[dtype],
        keep_attrs=True,
    )
    return result
