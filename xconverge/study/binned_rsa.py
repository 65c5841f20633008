"""RSA against a brain, inside bins of dispersion."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import PairOn, Repeats, paired, told_of
from xconverge.kernels.moved import mantel
from xconverge.labels.checks import check_representations, check_shared
from xconverge.labels.joins import Join, join_labels, natural_rank, on_side
from xconverge.labels.messages import choose
from xconverge.labels.variables import describe
from xconverge.measures.rdm import METHODS, join_rdms, rdm
from xconverge.study.bins import dispersion_bins

Average = Literal["rdm", "representation"]


def binned_rsa(
    reps: xr.DataArray,
    target: xr.DataArray,
    by: xr.DataArray,
    n_bins: int = 3,
    *,
    average: Average | None = "rdm",
    metric: str = "correlation",
    method: str = "spearman",
    n_permutations: int = 1000,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Similarity of model and target RDMs among stimuli of low, middle and high dispersion.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature).
    target : DataArray
        RDMs (…, stimulus, stimulus_2), or a representation set, a brain's say, whose RDMs are
        made with ``metric``. Extra dims (``subject`` …) and its own models are kept.
    by : DataArray
        (stimulus): dispersion, cut into ``n_bins`` quantile bins.
    n_bins : int
        Number of bins.
    average : {"rdm", "representation", None}
        The model RDM: the mean of the models' RDMs, the RDM of the mean over models (wants a
        shared space), or one for each model.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``.
    n_permutations : int
        Permutations of the stimulus labels inside the bin, 0 for none.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those that all three have.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``reps`` and of ``target``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on``: averaged, or each kept along a dim ``repeat``.
        ``by`` carries the labels of one side, or those of the pairing; it is averaged.
    rng : Generator, int or None
        Source of the permutations; the same ones serve all RDMs of a bin.

    Returns
    -------
    Dataset
        Over ``bin``, 0 the lowest dispersion: ``rsa`` (bin[, model_a][, model_b], …) in [-1, 1];
        ``p_value``, (1 + #{null ≥ observed}) / (1 + n_permutations); ``n_stimuli`` (bin), and
        ``dispersion_by_bin`` (bin). ``attrs["edges"]`` holds the edges. NaN with a warning in
        a bin of fewer than 3 stimuli. Lazy in ``reps`` and ``target``; a task holds the RDMs of
        one bin.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match, bins that cannot be made, faulty rows by name.

    Notes
    -----
    Computes ``by``: which stimuli enter a bin depends on its values. A distance between bins in
    RSA is not a distance in fit alone: the noise ceiling and the spread of the distances
    differ between bins too.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import rdm, stack_models
    >>> ids = [f"s{i}" for i in range(12)]
    >>> x = np.random.default_rng(0).standard_normal((12, 8))
    >>> reps = stack_models({"a": x, "b": x}, stimuli=ids)
    >>> by = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": ids})
    >>> brain = rdm(reps).sel(model="a", drop=True)
    >>> result = binned_rsa(reps, brain, by, n_bins=2, n_permutations=99, rng=0)
    >>> result["rsa"].values.round(6).tolist(), result["n_stimuli"].values.tolist()
    ([1.0, 1.0], [6, 6])
    """
    reps, target, by = paired(pair_on, repeats, reps=reps, target=target, by=by)
    sides = rdms_by_bin(reps, target, by, n_bins, average, metric, method, join)
    models, target, by, bins, dropped = sides
    second = "stimulus_2"
    rank = xr.DataArray(natural_rank(bins.indexes["stimulus"]), dims="stimulus")
    seed = int(np.random.default_rng(rng).integers(2**63))
    parts = []
    for number in range(n_bins):
        inside = np.flatnonzero(bins.values == number)
        chosen = {"stimulus": inside, second: inside}
        value, p_value = apply(
            mantel,
            models.isel(chosen),
            target.isel(chosen),
            rank.isel({"stimulus": inside}),
            core=[["stimulus", second], ["stimulus", second], ["stimulus"]],
            out=[[], []],
            dtypes=[np.float64, np.float64],
            method=METHODS[method].function,
            n_permutations=n_permutations,
            seed=seed,
        )
        parts.append(xr.Dataset({"rsa": value, "p_value": p_value}))
    result = xr.concat(parts, "bin", coords="minimal", compat="override", join="exact")
    parameters = {
        "metric": method, "rdm_metric": metric, "average": average or "none",
        "n_permutations": n_permutations, "n_dropped": dropped,
        **told_of(pair_on, repeats),
    }  # fmt: skip
    for name in ("rsa", "p_value"):
        result[name] = describe(result[name], name, **parameters)
    inside = bins.values == np.arange(n_bins)[:, None]
    counts = xr.DataArray(inside.sum(1), dims="bin")
    means = xr.DataArray([float(by.values[mask].mean()) for mask in inside], dims="bin")
    result["n_stimuli"] = describe(counts, "n_stimuli")
    result["dispersion_by_bin"] = describe(means, "dispersion_by_bin")
    result.attrs["edges"] = bins.attrs["edges"]
    return result.assign_coords(bin=np.arange(n_bins))


def rdms_by_bin(
    reps: xr.DataArray,
    target: xr.DataArray,
    by: xr.DataArray,
    n_bins: int,
    average: Average | None,
    metric: str,
    method: str,
    join: Join,
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray, int]:
    """Model and target RDMs, dispersion, its bins, and how many stimuli were dropped."""
    choose("method", method, METHODS)
    if average is not None:
        choose("average", average, ["rdm", "representation"])
    reps = check_representations(reps)
    second = "stimulus_2"
    if second not in getattr(target, "dims", ()):
        target = rdm(target, metric)
    if average == "representation":
        check_shared(reps, "average='representation'")
    reps, by, dropped = join_labels(reps, by, "stimulus", join, ("reps", "by"))
    if join == "inner":
        common = reps.indexes["stimulus"].intersection(target.indexes["stimulus"], sort=False)
        dropped += reps.sizes["stimulus"] - len(common)
        reps, by = reps.sel({"stimulus": common}), by.sel({"stimulus": common})
        target = target.sel({"stimulus": common, second: common})
    bins = dispersion_bins(by, n_bins)
    models = _model_rdm(reps, average, metric)
    models, target, _ = join_rdms(models, target, "exact")
    return on_side(models, "model", "_a"), on_side(target, "model", "_b"), by, bins, dropped


def _model_rdm(reps: xr.DataArray, average: Average | None, metric: str) -> xr.DataArray:
    if average == "representation":
        reps = reps.mean("model")
    models = rdm(reps, metric)
    return models.mean("model") if average == "rdm" else models
