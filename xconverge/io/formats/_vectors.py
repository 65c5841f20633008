"""Columns that hold a vector in each cell: lists of Arrow, arrays and lists among objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import floats


def is_vector(kind: Any) -> bool:
    """Whether cells of this Arrow type are lists: of any length, or of one."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def plain_type(kind: Any) -> Any:
    """The Arrow type; of a tensor of one dim, the list that holds it."""
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType) and len(kind.shape) == 1:
        return kind.storage_type
    return kind


def arrow_numbers(array: Any, what: str) -> Array:
    """Numbers of an Arrow array as floats, null as NaN; not by way of pandas, which rounds."""
    import pyarrow as pa

    if not array.null_count or pa.types.is_floating(array.type):
        return floats(array.to_numpy(zero_copy_only=False), what)
    zero = pa.scalar(False if pa.types.is_boolean(array.type) else 0, array.type)
    values = floats(array.fill_null(zero).to_numpy(zero_copy_only=False), what)
    values[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def arrow_vectors(array: Any, labels: Sequence[str], what: str) -> Array:
    """Rows (rows, features) of a column of lists, each as long as the others."""
    import pyarrow.compute as pc

    array = getattr(array, "storage", array)
    _refuse(array.is_null().to_numpy(zero_copy_only=False), labels, what, "no vector")
    values = array.flatten()
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    gone = np.repeat(np.arange(len(array)), lengths)[values.is_null().to_numpy(False)]
    _refuse(np.isin(np.arange(len(array)), gone), labels, what, "a null inside of its vector")
    other = lengths != lengths[:1]
    if other.any():
        raise SchemaError(
            f"{what} holds vectors of several lengths: {lengths[0]} numbers, and "
            f"{lengths[other][0]} for {listing(np.asarray(labels)[other])}; the vectors of one "
            "model have one length"
        )
    if not lengths.any():
        raise SchemaError(f"{what} holds empty vectors")
    return arrow_numbers(values, what).reshape(len(array), -1)


def _refuse(faulty: Array, labels: Sequence[str], what: str, fault: str) -> None:
    if faulty.any():
        raise SchemaError(
            f"{what} has {fault} for {listing(np.asarray(labels)[faulty])}; leave the row out, or "
            "make it NaN throughout if the model never saw the stimulus"
        )


def are_vectors(cells: Any) -> bool:
    """Whether the cells of a column of objects are lists or arrays."""
    kinds = set(map(type, cells))
    return any(issubclass(kind, list | tuple | np.ndarray) for kind in kinds)


def object_vectors(cells: Sequence[Any], labels: Sequence[str], what: str) -> list[Array]:
    """The vectors in the cells of a column of objects, each of its own length."""
    wrong = np.array([not isinstance(cell, list | tuple | np.ndarray) for cell in cells])
    _refuse(wrong, labels, what, "no vector")
    vectors = []
    for cell, label in zip(cells, labels, strict=True):
        try:
            vector = np.asarray(cell)
        except ValueError:
            vector = np.empty(0, object)
        if vector.ndim != 1 or vector.dtype.kind not in "biuf" or not len(vector):
            raise SchemaError(
                f"{what} holds {str(cell)[:40]!r} for {label!r}, which is no vector of numbers"
            )
        vectors.append(floats(vector, what))
    return vectors
