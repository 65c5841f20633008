"""The one rule for chunks: those of our stores, and those that our calls read fastest."""

from __future__ import annotations

from collections.abc import Hashable

import xarray as xr

from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.arguments import whole
from xconverge.labels.checks import check_dims


def recommend_chunks(reps: xr.DataArray, *, memory: int | None = None) -> dict[Hashable, int]:
    """Chunks in which our calls read representations fastest; those that our stores have.

    Parameters
    ----------
    reps : DataArray
        (stimulus, feature), with model and extra dims where there are any; only its sizes and
        its dtype are looked at.
    memory : int, optional
        The most bytes of a chunk; default 12 MiB. A chunk holds at least one stimulus.

    Returns
    -------
    dict
        Size of the chunks along each dim, for ``reps.chunk``.

    Raises
    ------
    SchemaError
        The stimulus or the feature dim is missing.
    ValueError
        ``memory`` is not positive.

    Notes
    -----
    One model: models are added and picked one by one, and results of models merge. All features:
    every measure needs whole rows. As many stimuli as fit, in chunks of even size: chunks of
    3 MiB read slower, 12 and 24 MiB alike, and 12 take less memory.
    ``tests/benchmarks/bench_store.py`` measures it.

    Examples
    --------
    >>> import dask.array as da
    >>> values = da.zeros((20, 100_000, 768), dtype="float32")
    >>> reps = xr.DataArray(values, dims=("model", "stimulus", "feature"))
    >>> recommend_chunks(reps)
    {'model': 1, 'stimulus': 4000, 'feature': 768}
    >>> reps.chunk(recommend_chunks(reps)).data.chunksize
    (1, 4000, 768)
    """
    check_dims(reps, "stimulus", "feature")
    limit = BUDGETS.store_chunk if memory is None else memory
    whole("memory", limit, 1, why="bytes")
    rows, width = reps.sizes["stimulus"], reps.sizes["feature"]
    row_bytes = max(1, width * reps.dtype.itemsize)
    pieces = max(1, -(-rows // max(1, limit // row_bytes)))
    size = dict.fromkeys(reps.dims, 1)
    return {**size, "stimulus": -(-rows // pieces), "feature": width}
