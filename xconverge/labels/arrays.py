"""Rows of numbers as NumPy or dask have them, from whatever library they come."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pandas as pd

from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import check_whole, numpy_dtype


def as_array(given: Any, who: str) -> Any:
    """An array of NumPy, or of dask where it is read in parts; all else as it is.

    Tensors come from any device, bfloat16 and smaller floats as float32, which keeps all of their
    digits; arrays on disk (Zarr, HDF5) stay there until they are computed; masked values are NaN.
    """
    # none of these libraries is imported for this
    if hasattr(given, "nnz") and hasattr(given, "shape"):
        raise SchemaError(
            f"{who} is sparse ({type(given).__name__}), and zeros are features too: give its "
            ".toarray() (.todense() of pydata/sparse), or fewer features of it"
        )
    if hasattr(given, "detach") and hasattr(given, "cpu"):
        given = given.detach().cpu()
        if "bfloat16" in str(given.dtype) or "float8" in str(given.dtype):
            given = given.float()
        given = given.numpy()
    if isinstance(given, np.ma.MaskedArray):
        check_whole(given.compressed(), who)
        given = np.ma.filled(given.astype(np.result_type(given.dtype, np.float16)), np.nan)
    elif _is_on_disk(given) and not np.dtype(given.dtype).hasobject:
        # name=False: else dask reads all of it for a name
        given = da.from_array(given, chunks=given.chunks or "auto", name=False)
    dtype = getattr(given, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype != numpy_dtype(dtype):
        given = given.astype(numpy_dtype(dtype))
    return given


def _is_on_disk(given: Any) -> bool:
    """Whether this is an array of Zarr or HDF5, or one like them."""
    if isinstance(given, np.ndarray | da.Array):
        return False
    return all(hasattr(given, name) for name in ("shape", "dtype", "chunks", "__getitem__"))


def of_frame(frame: pd.DataFrame, who: str) -> Any:
    """The numbers of a DataFrame, missing ones as NaN."""
    numeric = pd.api.types.is_numeric_dtype
    other = [name for name, dtype in frame.dtypes.items() if not numeric(dtype)]
    if other:
        raise SchemaError(
            f"{who} has columns that are no numbers: {listing(other)}; leave them out, or make the "
            "one that holds the labels of the stimuli the index, with .set_index(…)"
        )
    for name, column in frame.items():
        if pd.api.types.is_integer_dtype(column.dtype):
            check_whole(column.dropna().to_numpy(), f"{who}: column {name!r}")
    if all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return frame.to_numpy()
    return frame.to_numpy(np.float64, na_value=np.nan)
