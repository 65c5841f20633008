"""Names of models, stimuli and places, which travel with blocks, as messages say them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.kernels.vectors import Array
from xconverge.labels.messages import listing, shown


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


def named_at(dims: Sequence[str], labels: Sequence[Array], position: Iterable[int]) -> str:
    """What lies at a position along these dims: ``region 'V1', subject 'S1'``."""
    # a block has the labels of its rows and columns after those of these dims
    own = zip(dims, labels, position, strict=False)
    return ", ".join(f"{dim} {shown(names[at])}" for dim, names, at in own)


def marked(mask: xr.DataArray) -> list[str]:
    """What each True of a mask in memory is, in words."""
    dims = [str(dim) for dim in mask.dims]
    labels = [names_along(mask, dim).values for dim in dims]
    return [named_at(dims, labels, position) for position in np.argwhere(mask.values)]


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
