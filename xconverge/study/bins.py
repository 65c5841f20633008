"""Quantile bins of dispersion."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.kernels.ranks import quantile_bins
from xconverge.labels.checks import check_only
from xconverge.labels.variables import describe


def dispersion_bins(dispersion: xr.DataArray, n_bins: int = 3) -> xr.DataArray:
    """Sort stimuli into equally filled bins, from low to high dispersion.

    Parameters
    ----------
    dispersion : DataArray
        (stimulus); any value per stimulus.
    n_bins : int
        Number of bins, at least 2.

    Returns
    -------
    DataArray
        ``bin`` (stimulus), int: 0 for the lowest, ``n_bins - 1`` for the highest, -1 where
        dispersion is not finite. ``attrs["edges"]`` holds the ``n_bins + 1`` quantile edges; a
        value equal to an edge falls into the lower bin.

    Raises
    ------
    ValueError
        Fewer distinct values than bins, or equal edges.

    Notes
    -----
    Computes a lazy input: quantile edges need the values.

    Examples
    --------
    >>> import xarray as xr
    >>> spread = xr.DataArray([0.1, 0.9, 0.5], dims="stimulus",
    ...     coords={"stimulus": ["cat", "dog", "cow"]})
    >>> dispersion_bins(spread).values.tolist()
    [0, 2, 1]
    """
    values = check_only(dispersion, "stimulus", what="dispersion")
    if n_bins < 2:
        raise ValueError(f"n_bins={n_bins}: at least 2 bins are needed")
    bins, edges = quantile_bins(np.asarray(values.values, np.float64), n_bins)
    result = values.copy(data=bins)
    return describe(
        result, "bin", n_bins=n_bins, edges=edges.tolist(), of=str(dispersion.name or "values")
    )


def bin_labels(n_bins: int) -> list[str]:
    """Bins as people read them, the lowest first: ``1 of 3``, where data count from 0."""
    return [f"{number} of {n_bins}" for number in range(1, n_bins + 1)]


SUBSET = "subset"
"""Dim of results that say the same of all stimuli and of each bin."""


def subset_labels(n_bins: int) -> list[str]:
    """Labels of ``subset``: all stimuli, then the bins."""
    return ["all", *bin_labels(n_bins)]
