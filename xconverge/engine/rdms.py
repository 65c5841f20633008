"""RDMs that were made elsewhere, checked at the door of every call that takes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.kernels.rdm import RdmError, check_finite, check_symmetric, off_diagonal
from xconverge.kernels.vectors import Array
from xconverge.labels.joins import square_rdm
from xconverge.labels.messages import SchemaError, listing, shown

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


def names_along(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Labels of a dim, or positions where it has none, as data that travels with the blocks."""
    found = array.indexes[dim] if dim in array.indexes else np.arange(array.sizes[dim])
    return xr.DataArray(np.asarray(found, dtype=object), dims=dim)


def side_names(side: xr.DataArray, dim: str) -> xr.DataArray:
    """Names of the models of a side; of one without the dim what a coordinate says, or nothing."""
    if dim in side.dims:
        return names_along(side, dim)
    single = [n for n in (dim, "model") if n in side.coords and not side.coords[n].dims]
    one = [side.coords[name].item() for name in single]
    return xr.DataArray(np.array(str(one[0]) if one else "", dtype=object))


def place(dims: Sequence[str], names: Sequence[Any]) -> str:
    """Where along further dims, as a message says it: `` (region 'V1')``."""
    named = [f"{dim} {shown(name)}" for dim, name in zip(dims, names, strict=True)]
    return f" ({', '.join(named)})" if named else ""


def tell_pairs(
    a: Sequence[Any], b: Sequence[Any], elsewhere: str, message: str, where: Array
) -> None:
    """Warn that pairs (k, 2) of the models named ``a`` and ``b`` have no score.

    A model that has none with any other is named alone.
    """
    missing = np.zeros((len(a), len(b)), bool)
    missing[where[:, 0], where[:, 1]] = True
    rows, columns = missing.all(1, keepdims=True), missing.all(0, keepdims=True)
    if missing.size == 1:
        who = [" and ".join(shown(name) for name in (a[0], b[0]) if name)]
    elif missing.all():
        who = ["all pairs"]
    else:
        pairs = [
            f"{shown(a[i])} × {shown(b[j])}" for i, j in np.argwhere(missing & ~rows & ~columns)
        ]
        who = [
            listing(name for name, gone in zip(names, whole.ravel(), strict=True) if gone)
            for names, whole in ((a, rows), (b, columns))
        ]
        who += [*pairs[:5], *([f"… ({len(pairs)} pairs)"] if len(pairs) > 5 else [])]
    named = "; ".join(filter(None, who))
    warnings.warn(
        f"{message}{elsewhere}: NaN{f' for {named}' if named else ''}",
        RuntimeWarning,
        stacklevel=2,
    )


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
        who = _who(lead, lead_names, position) or alone
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


def _who(lead: Sequence[str], names: Sequence[Array], position: Any) -> str:
    """The RDM at this position of its block."""
    own = zip(lead, names, position, strict=False)
    return ", ".join(f"{dim} {shown(labels[at])}" for dim, labels, at in own)


def _missing(
    block: Array, across: Array, *names: Array, what: str, lead: list[str], alone: str
) -> Array:
    """The block (…, r, c) as it is."""
    empty = np.argwhere(np.isnan(block).all((-1, -2)))
    if len(empty):
        who = [_who(lead, names, at) or alone for at in empty[:5]]
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
