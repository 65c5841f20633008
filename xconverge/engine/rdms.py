"""RDMs that were made elsewhere, checked at the door of every call that takes them."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.names import named_at, names_along
from xconverge.kernels.rdm import RdmError, check_finite, check_symmetric, off_diagonal
from xconverge.kernels.vectors import Array
from xconverge.labels.joins import square_rdm
from xconverge.labels.messages import SchemaError, shown

SQUARE = ("stimulus", "stimulus_2")
WHOLE, BLOCK = 1e-6, 1e-3
"""Rounding, as a share of the largest distance: of all of an RDM, and of a block of it alone."""


def checked_rdms(array: xr.DataArray, what: str) -> xr.DataArray:
    """RDMs (…, stimulus, stimulus_2) with the same labels in one order, numbers that are distances.

    Labels are looked at here. Values are looked at too where they are in memory; lazy ones by the
    tasks that come after, a block at a time with the block on the other side of the diagonal.
    Booleans and integers become floats.

    Raises
    ------
    SchemaError
        Labels that differ. Infinity, triangles that differ by more than rounding, or a similarity
        (`off_diagonal`), by the names of the RDM and the stimuli.

    Warns
    -----
    RuntimeWarning
        A diagonal that is neither 0 nor NaN, nor that of a similarity.
    """
    array = square_rdm(array, what)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    return _told(array, partial(_checked, what=what, n=array.sizes["stimulus"]))


def told_missing(array: xr.DataArray, what: str) -> xr.DataArray:
    """RDMs (…, stimulus, stimulus_2) as they are; a warning names those without any distance."""
    return _told(array, partial(_missing, what=what))


def _told(array: xr.DataArray, check: Any) -> xr.DataArray:
    """The array as it is, seen by a check that is told the names of its RDMs and stimuli."""
    dims = array.dims
    array = array.transpose(..., *SQUARE)
    lead = [str(dim) for dim in array.dims[:-2]]
    names = [names_along(array, dim).values for dim in (*lead, "stimulus")]
    check = partial(check, lead=lead, alone=_alone(array))
    if array.chunks is None:
        values = array.values
        check(values, values, *names, names[-1])
    else:
        array = array.copy(data=_lazily(array.data, check, names))
    return array.transpose(*dims)


def _lazily(data: da.Array, check: Any, names: list[Array]) -> da.Array:
    """The same blocks, each checked in a task with the one on the other side of the diagonal."""
    rows = data.chunks[-2]
    data = data.rechunk({data.ndim - 1: rows})
    *lead, i, j = range(data.ndim)
    chunks = [*data.chunks[:-1], rows]
    labels: list[Any] = []
    for axis, own in zip((*lead, i, j), (*names, names[-1]), strict=True):
        # names of one chunk are the same in every task, and need no tasks of their own
        several = len(chunks[axis]) > 1
        labels += [da.from_array(own, chunks=(chunks[axis],)), (axis,)] if several else [own, None]
    result: da.Array = da.blockwise(
        check, (*lead, i, j), data, (*lead, i, j), data, (*lead, j, i), *labels,
        dtype=data.dtype, meta=data._meta,
    )  # fmt: skip
    return result


def _alone(array: xr.DataArray) -> str:
    """Whose RDM a single one is, where a coordinate says so."""
    one = [d for d in ("model", "subject") if d in array.coords and not array.coords[d].dims]
    return ", ".join(f"{d} {shown(array.coords[d].item())}" for d in one)


def _checked(
    block: Array, across: Array, *names: Array, what: str, lead: list[str], alone: str, n: int
) -> Array:
    """The block (…, r, c) as it is; ``across`` (…, c, r) lies on the other side of the diagonal."""
    *lead_names, rows, columns = names
    # of two blocks that meet the diagonal, the labels tell
    diagonal = len(rows) == len(columns) and bool((rows == columns).all())
    uneven: dict[str, float] = {}
    for position in np.ndindex(block.shape[:-2]):
        who = named_at(lead, lead_names, position) or alone
        matrix = block[position]
        try:
            check_finite(matrix)
            if across is block:
                check_symmetric(matrix, None, WHOLE)
            else:
                # infinity on one side of the diagonal alone is told as what it is in both blocks
                check_finite(across[position].T)
                check_symmetric(matrix, across[position].T, WHOLE if len(rows) == n else BLOCK)
            away = off_diagonal(matrix) if diagonal else 0.0
        except RdmError as error:
            raise SchemaError(_fault(error, what, who, rows, columns)) from error
        if away:
            uneven[who] = away
    if uneven:
        whose = f" ({'; '.join(list(uneven)[:5])})" if any(uneven) else ""
        warnings.warn(
            f"{what} has up to {max(uneven.values()):.3g} on the diagonal{whose}, where an RDM has "
            "0: the diagonal is left out. If these are similarities, make distances of them",
            RuntimeWarning,
            stacklevel=2,
        )
    return block


def _missing(
    block: Array, across: Array, *names: Array, what: str, lead: list[str], alone: str
) -> Array:
    """The block (…, r, c) as it is."""
    empty = np.argwhere(np.isnan(block).all((-1, -2)))
    if len(empty):
        who = [named_at(lead, names, at) or alone for at in empty[:5]]
        warnings.warn(
            f"{what} is that of the others: {'; '.join(who)} saw no stimulus",
            RuntimeWarning,
            stacklevel=2,
        )
    return block


def _fault(error: RdmError, what: str, who: str, rows: Array, columns: Array) -> str:
    pairs = list(dict.fromkeys(frozenset((rows[i], columns[j])) for i, j in error.where))
    named = [" and ".join(map(shown, sorted(pair, key=str))) for pair in pairs[:3]]
    more = f"; {len(pairs)} pairs in all" if len(pairs) > 3 else ""
    between = f" (stimuli {'; '.join(named)}{more})" if named else ""
    return f"{what}{f', {who}' if who else ''}: {error.reason}{between}"
