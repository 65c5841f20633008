"""Quantile bins of dispersion."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge.kernels.ranks import bin_means, empty_bins, quantile_bins, rows_in_bins
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import whole
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
        value equal to an edge falls into the lower bin. Bins between equal edges are merged into
        the lowest of them: the others hold nothing, keep their numbers, and are listed in
        ``attrs["merged_bins"]``.

    Warns
    -----
    RuntimeWarning
        Many equal values, or few: bins are merged.

    Raises
    ------
    ValueError
        ``n_bins`` below 2.

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

    Of a rating with one frequent value, the lowest two thirds are one bin:

    >>> import warnings
    >>> rating = xr.DataArray([1, 1, 1, 1, 2], dims="stimulus", coords={"stimulus": list("abcde")})
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     bins = dispersion_bins(rating)
    >>> bins.values.tolist(), bins.attrs["merged_bins"]
    ([0, 0, 0, 0, 2], [1])
    """
    values = check_only(dispersion, "stimulus", what="dispersion")
    whole("n_bins", n_bins, 2)
    bins, edges = quantile_bins(np.asarray(values.values, np.float64), n_bins)
    merged = empty_bins(bins, n_bins)
    tell_merged(merged, n_bins, "dispersion")
    return describe(
        values.copy(data=bins), "bin", n_bins=n_bins, edges=edges.tolist(),
        merged_bins=merged or None, of=str(dispersion.name or "values"),
    )  # fmt: skip


def told_bins(values: Array, n_bins: int) -> Array:
    """Bins (…, n) of dispersion (…, n), each row by its own edges; says if some are merged."""
    bins = rows_in_bins(values, n_bins)
    tell_merged(empty_bins(bins, n_bins), n_bins, "dispersion")
    return bins


def tell_merged(merged: list[int], n_bins: int, what: str) -> None:
    """Warn of bins that hold nothing because edges are equal."""
    if merged:
        names = ", ".join(bin_labels(n_bins)[number] for number in merged)
        warnings.warn(
            f"{what} has too few different finite values for {n_bins} quantile bins: edges are "
            f"equal, and of the bins from low to high {names} are empty, merged into those below. "
            "What is not made from bins (a correlation) is not affected; for even bins ask for "
            "fewer, or break ties by a finer measure",
            RuntimeWarning,
            stacklevel=3,
        )


def bin_labels(n_bins: int) -> list[str]:
    """Bins as people read them, the lowest first: ``1 of 3``, where data count from 0."""
    return [f"{number} of {n_bins}" for number in range(1, n_bins + 1)]


SUBSET = "subset"
"""Dim of results that say the same of all stimuli and of each bin."""


def subset_labels(n_bins: int) -> list[str]:
    """Labels of ``subset``: all stimuli, then the bins."""
    return ["all", *bin_labels(n_bins)]


def of_bins(spread: xr.DataArray, bins: xr.DataArray, n_bins: int) -> dict[str, xr.DataArray]:
    """How many stimuli (bin) are in every bin, and their mean dispersion (bin)."""
    members = bins.values == np.arange(n_bins)[:, None]
    means = bin_means(spread.values, bins.values, n_bins)
    return {
        "n_stimuli": describe(xr.DataArray(members.sum(1), dims="bin"), "n_stimuli"),
        "dispersion_by_bin": describe(xr.DataArray(means, dims="bin"), "dispersion_by_bin"),
    }
