"""RSA of every neighbourhood of features inside bins of dispersion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.neighborhoods import neighborhoods_of
from xconverge.engine.searchlight import BIN, How, searched
from xconverge.kernels.vectors import METRICS
from xconverge.labels.arguments import whole
from xconverge.labels.checks import check_only
from xconverge.labels.coordinates import set_aside
from xconverge.labels.variables import dataset_of, describe
from xconverge.measures.rsa import METHODS
from xconverge.measures.searchlight import Lists, joined, within
from xconverge.study.bins import dispersion_bins, of_bins


def binned_searchlight(
    reps: xr.DataArray,
    target: xr.DataArray,
    dispersion: xr.DataArray,
    n_bins: int = 3,
    *,
    neighborhoods: Lists | None = None,
    coordinates: str | Sequence[str] | None = None,
    radius: float | None = None,
    centers: Iterable[Any] | None = None,
    rdm_metric: str = "correlation",
    method: str = "spearman",
    min_features: int = 2,
) -> xr.Dataset:
    """RSA of every neighbourhood among stimuli of low, middle and high dispersion.

    Parameters
    ----------
    reps, target
        As in ``searchlight``: ``reps`` is searched, the brain say; give ``rdm(models).mean("model",
        keep_attrs=True)`` as the target to compare with one RDM for all models.
    dispersion : DataArray
        (stimulus): cut into ``n_bins`` quantile bins.
    n_bins : int
        Number of bins.
    neighborhoods, coordinates, radius, centers, rdm_metric, method, min_features
        As in ``searchlight``.

    Returns
    -------
    Dataset
        ``rsa`` (model_a, …, model_b, …, center, bin), bin 0 the lowest dispersion, inside which
        alone stimuli are compared; ``n_features`` as in ``searchlight``; ``n_stimuli`` (bin) and
        ``dispersion_by_bin`` (bin) as in ``binned_rsa``, and ``attrs["edges"]``. NaN with a warning
        as in ``searchlight``, and in bins of fewer than 3 stimuli. Lazy in ``reps`` and ``target``.

    Warns
    -----
    RuntimeWarning
        As ``searchlight`` and ``dispersion_bins``.

    Raises
    ------
    SchemaError, TypeError, ValueError
        As ``searchlight`` and ``binned_rsa``.

    Notes
    -----
    Computes ``dispersion``. An RDM is made once a neighbourhood, and cut by bins. A distance
    between bins is not a distance in fit alone, see ``binned_rsa``; its p-value for one region is
    that of ``binned_rsa_contrast``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import stack_models
    >>> ids = [f"s{i}" for i in range(12)]
    >>> x = np.random.default_rng(0).standard_normal((12, 8))
    >>> brain = stack_models({"s1": x}, stimuli=ids)
    >>> spread = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": ids})
    >>> target = stack_models({"network": x[:, :4]}, stimuli=ids)
    >>> table = binned_searchlight(brain, target, spread, 2,
    ...     neighborhoods={"left": range(4), "right": range(4, 8)})
    >>> table["rsa"].squeeze().sel(center="left").values.round(6).tolist()
    [1.0, 1.0]
    """
    whole("n_bins", n_bins, 2)
    spread = check_only(dispersion, "stimulus", what="dispersion")
    reps, target, spread, attrs = joined(
        reps, target, rdm_metric, method, min_features, dispersion=spread
    )
    hoods = neighborhoods_of(reps, neighborhoods, coordinates, radius, centers)
    spread = spread.compute()
    bins = dispersion_bins(spread, n_bins)
    how = How(METRICS[rdm_metric], METHODS[method].make, min_features, bins, n_bins)
    rsa, counts = searched(reps, target, hoods, how)
    attrs |= {
        **within(coordinates, radius), "n_bins": n_bins,
        "merged_bins": bins.attrs.get("merged_bins"),
        "dispersion_metric": dispersion.attrs.get("metric"),
    }  # fmt: skip
    parts = {
        "rsa": describe(set_aside(rsa, ["bin"]).rename({BIN: "bin"}), "rsa", **attrs),
        "n_features": describe(counts, "n_features", **attrs),
        **of_bins(spread, bins, n_bins),
    }
    result = dataset_of(parts, **attrs).assign_attrs(edges=bins.attrs["edges"])
    return result.assign_coords(bin=np.arange(n_bins))
