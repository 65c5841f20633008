"""Does dispersion predict alignment, stimulus by stimulus?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels.ranks import bin_means, quantile_bins, rank_correlations
from xconverge.kernels.rows import Array
from xconverge.schema import Join, check_dims, check_labels, choose, describe, join_labels
from xconverge.study.bins import per_stimulus

Tail = Literal["two-sided", "greater", "less"]


def modulation(
    dispersion: xr.DataArray,
    alignment: xr.DataArray,
    *,
    n_bins: int = 5,
    covariates: xr.DataArray | Sequence[xr.DataArray] = (),
    n_permutations: int = 10_000,
    tail: Tail = "two-sided",
    join: Join = "exact",
    rng: np.random.Generator | int | None = None,
    model: str = "model",
    stimulus: str = "stimulus",
) -> xr.Dataset:
    """Rank correlation of dispersion with alignment, for every model pair and for their mean.

    Parameters
    ----------
    dispersion : DataArray
        (stimulus).
    alignment : DataArray
        (model_a, model_b, stimulus), from ``alignment``; the model dims may be absent, extra
        dims are mapped over.
    n_bins : int
        Quantile bins of dispersion for ``alignment_by_bin``.
    covariates : DataArray or sequence of DataArray
        One value per stimulus each, local density say; their ranks are partialled out of the
        ranks of both sides.
    n_permutations : int
        Permutations of the stimulus labels of dispersion, the same for all pairs; 0 for none,
        where the p-values are NaN.
    tail : {"two-sided", "greater", "less"}
        Which null correlations count as extreme.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those that all have.
    rng : Generator, int or None
        Source of the permutations; the same one gives the same p-values, whatever the chunking.
    model, stimulus : str
        Names of the dims; the model dims are ``{model}_a`` and ``{model}_b``.

    Returns
    -------
    Dataset
        For every pair: ``correlation`` (model_a, model_b), Spearman's, in [-1, 1]; ``p_value``,
        (1 + #{null at least as extreme}) / (1 + n_permutations); ``n_stimuli`` that entered;
        ``alignment_by_bin`` (model_a, model_b, bin). The same with the suffix ``_of_mean`` for
        the mean over the pairs. ``dispersion_by_bin`` (bin), bin 0 the lowest.
        NaN with a warning where fewer than 3 stimuli are left, or values are all equal.
        Lazy if an input is; a task holds dispersion, all pairs of alignment and 500
        permutations.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match, bins that cannot be made.

    Notes
    -----
    Exchangeable under the null are the stimulus labels of dispersion; with covariates, of its
    residual ranks (Freedman & Lane 1983). Only sums are computed under a permutation.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> x = xr.DataArray(np.arange(9.0), dims="stimulus",
    ...     coords={"stimulus": [f"s{i}" for i in range(9)]})
    >>> result = modulation(x, -x, n_bins=3, n_permutations=999, rng=0)
    >>> round(float(result["correlation"]), 6), float(result["p_value"]) < 0.01
    (-1.0, True)
    """
    choose("tail", tail, ["two-sided", "greater", "less"])
    if n_permutations < 0 or n_bins < 2:
        raise ValueError(f"n_permutations={n_permutations}, n_bins={n_bins}: at least 0 and 2")
    dispersion = per_stimulus(dispersion, "dispersion", stimulus)
    alignment = check_dims(alignment, stimulus, what="alignment")
    check_labels(alignment, stimulus, what="alignment")
    names = ("dispersion", "alignment")
    dispersion, alignment, dropped = join_labels(dispersion, alignment, stimulus, join, names)
    covariates = [covariates] if isinstance(covariates, xr.DataArray) else list(covariates)
    aside = _covariates(covariates, dispersion, stimulus)
    sides = [dim for dim in (f"{model}_a", f"{model}_b") if dim in alignment.dims]
    seed = int(np.random.default_rng(rng).integers(2**63))
    parameters = {
        "metric": "spearman", "n_permutations": n_permutations, "tail": tail,
        "n_covariates": len(covariates), "n_dropped": dropped,
        "dispersion_metric": dispersion.attrs.get("metric"),
        "alignment_metric": alignment.attrs.get("metric"),
    }  # fmt: skip
    tables = {}
    for suffix, scores in (("", alignment), ("_of_mean", alignment.mean(sides))):
        dims = sides if suffix == "" else []
        correlation, p_value, count, by_bin = apply(
            _one_table,
            dispersion,
            scores,
            aside,
            core=[[stimulus], [*dims, stimulus], ["_covariate", stimulus]],
            out=[dims, dims, dims, [*dims, "bin"]],
            sizes={"bin": n_bins},
            dtypes=[np.float64, np.float64, np.int64, np.float64],
            n_bins=n_bins,
            n_permutations=n_permutations,
            seed=seed,
            tail=tail,
        )
        for name, value in (
            ("correlation", correlation),
            ("p_value", p_value),
            ("n_stimuli", count),
            ("alignment_by_bin", by_bin),
        ):
            described = describe(value, name, **parameters)
            tables[f"{name}{suffix}"] = described.rename(f"{name}{suffix}")
    means = apply(
        _mean_in_bins, dispersion, dispersion, core=[[stimulus]] * 2, out=[["bin"]],
        sizes={"bin": n_bins}, n_bins=n_bins,
    )  # fmt: skip
    tables["dispersion_by_bin"] = describe(means, "dispersion_by_bin")
    return xr.Dataset(tables).assign_coords(bin=np.arange(n_bins))


def _covariates(
    covariates: Sequence[xr.DataArray], dispersion: xr.DataArray, stimulus: str
) -> xr.DataArray:
    """Covariates (covariate, stimulus), the first a constant: dask maps over no empty dim."""
    index = dispersion.indexes[stimulus]
    aligned = [xr.zeros_like(dispersion, np.float64).reset_coords(drop=True)]
    for number, covariate in enumerate(covariates):
        what = f"covariate {covariate.name or number}"
        one = per_stimulus(covariate, what, stimulus).reset_coords(drop=True)
        one = one.isel({stimulus: one.indexes[stimulus].isin(index)})
        _, one, _ = join_labels(dispersion, one, stimulus, "exact", ("dispersion", what))
        aligned.append(one.astype(np.float64))
    return xr.concat(aligned, "_covariate", coords="minimal", compat="override", join="exact")


def _one_table(
    dispersion: Array,
    scores: Array,
    covariates: Array,
    n_bins: int,
    n_permutations: int,
    seed: int,
    tail: str,
) -> tuple[Array, Array, Array, Array]:
    correlation, p_value, count = rank_correlations(
        dispersion, scores, covariates, n_permutations, seed, tail
    )
    return correlation, p_value, count, _mean_in_bins(dispersion, scores, n_bins)


def _mean_in_bins(dispersion: Array, scores: Array, n_bins: int) -> Array:
    bins, _ = quantile_bins(dispersion, n_bins)
    return bin_means(scores, bins, n_bins)
