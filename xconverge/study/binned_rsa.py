"""RSA against a brain inside bins of dispersion, and whether it changes from bin to bin."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.families import family_numbers
from xconverge.engine.resampling import DRAW, seed_of, summarized
from xconverge.inference.multiplicity import Over, adjusted, family_of
from xconverge.inference.nulls import Geometry, Groups, null_of
from xconverge.kernels.bin_contrast import contrast_test, mean_ends
from xconverge.kernels.noise_correction import bin_contrasts, contrast_ends
from xconverge.kernels.rsa import mantel
from xconverge.labels.arguments import check_seed, real, several, whole
from xconverge.labels.coordinates import set_aside
from xconverge.labels.joins import stimulus_rank
from xconverge.labels.messages import choose
from xconverge.labels.variables import dataset_of, describe, described
from xconverge.measures.rsa import METHODS
from xconverge.study.binned_rdms import Average, BinnedRdms, binned_rdms, told_by_name
from xconverge.study.bins import of_bins
from xconverge.study.modulation import Tail
from xconverge.study.noise_correction import corrected_bins, untold

NULL = ("chance", "threshold")
"""What permutations reach: their mean, and what a share ALPHA of them exceeds."""
ALPHA = 0.05


def binned_rsa(
    reps: xr.DataArray,
    target: xr.DataArray,
    dispersion: xr.DataArray,
    n_bins: int = 3,
    *,
    average: Average | None = "rdm",
    rdm_metric: str = "correlation",
    method: str = "spearman",
    noise: Any = None,
    unit: str = "repetition",
    n_splits: int = 20,
    level: float = 0.95,
    n_permutations: int = 1000,
    over: Over = None,
    clusters: Over = None,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Similarity of model and target RDMs among stimuli of low, middle and high dispersion.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature).
    target : DataArray
        RDMs (…, stimulus, stimulus_2), or a representation set, a brain's say, whose RDMs are
        made with ``rdm_metric``. Extra dims (``subject`` …) and its own models are kept. Trials,
        (…, repetition, stimulus, feature), are compared by their ``crossnobis`` RDM, and RSA is
        told without their noise too.
    dispersion : DataArray
        (stimulus): cut into ``n_bins`` quantile bins.
    n_bins : int
        Number of bins.
    average : {"rdm", "representation", None}
        The model RDM: the mean of the models' RDMs, the RDM of the mean over models (wants a
        shared space), or one for each model. Layers of one network count once in a mean.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``. Noise is corrected for with ``pearson`` alone.
    noise, unit
        Of trials: ``noise`` and ``over`` of ``rdm``, the covariance of the noise and what is
        independent, repetitions or the coordinate of a session.
    n_splits : int
        Splits of the repetitions into halves: all there are, or so many random ones.
    level : float
        Coverage asked of the intervals.
    n_permutations : int
        Permutations of the stimulus labels inside the bin, 0 for none.
    over : str or sequence of str, optional
        Dims whose tests are corrected for together, as in ``calibrate``: by default all, bins,
        pairs and extra dims.
    clusters : str or sequence of str, optional
        Ordered ones of them (``"time"``), as in ``calibrate``.
    rng : Generator, int or None
        Source of the permutations; the same ones serve all RDMs of a bin.

    Returns
    -------
    Dataset
        Over ``bin``, 0 the lowest dispersion: ``rsa`` (bin[, model_a][, model_b], …) in [-1, 1];
        ``p_value``, (1 + #{null ≥ observed}) / (1 + n_permutations), ``chance``, the mean of the
        permutations, and ``threshold``, which 5 % of them exceed; corrected for the number
        of tests ``p_value_bh``, ``p_value_by``, ``p_value_max_t`` and, with ``clusters``,
        ``p_value_cluster`` (``calibrate``); ``n_stimuli`` (bin), and ``dispersion_by_bin`` (bin).
        ``attrs["edges"]`` holds the edges. NaN with a warning in a bin of fewer than 3 stimuli;
        bins that equal values have merged into those below (``dispersion_bins``) hold none, and
        ``attrs["merged_bins"]`` lists them. Lazy in ``reps`` and ``target``; a task holds the RDMs
        of one bin, or makes one of all stimuli from trials.

        Of trials also ``split_half`` (bin, …), the mean correlation r of the RDMs of both halves of
        the repetitions; and with ``method="pearson"`` ``ceiling``, the RSA that a true model
        without noise would have, and ``rsa_corrected``, the mean RSA with the halves / √r, which
        noise does not lower and which may pass 1, with its ``_standard_error``, ``_lower`` and
        ``_upper`` for other stimuli and trials (a jackknife over stimuli, Student's t). NaN with a
        warning for fewer than 4 independent repetitions, and where r is less than an error above
        0.1 or two errors above 0: it says how many repetitions would do; and for RDMs that have
        ``repetition``.

    Warns
    -----
    RuntimeWarning
        Corrections for many tests that a single effect among so many cannot pass; too few
        repetitions.
    UserWarning
        Trials with a ``method`` of ranks, for which no correction is known.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match, faulty rows by name.

    Notes
    -----
    Computes ``dispersion``: which stimuli enter a bin depends on its values. A distance between
    bins in RSA is not a distance in fit alone: the noise ceiling and the spread of the distances
    differ between bins too. Measurement noise that grows with dispersion lowers RSA with it, of a
    model that is the brain itself too. Compare models with an RDM of the same distance,
    ``rdm_metric="sqeuclidean"``, or the true model has not an RSA of 1. Where r is small, the bins
    that pass are those in which it came out large: their ``rsa_corrected`` is too low by some
    hundredths at r of 0.15 to 0.25.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import rdm, stack_models
    >>> ids = [f"s{i}" for i in range(12)]
    >>> x = np.random.default_rng(0).standard_normal((12, 8))
    >>> reps = stack_models({"a": x, "b": x}, stimuli=ids)
    >>> spread = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": ids})
    >>> brain = rdm(reps).sel(model="a", drop=True)
    >>> result = binned_rsa(reps, brain, spread, n_bins=2, n_permutations=99, rng=0)
    >>> result["rsa"].values.round(6).tolist(), result["n_stimuli"].values.tolist()
    ([1.0, 1.0], [6, 6])
    """
    whole("n_permutations", n_permutations, 0)
    whole("n_splits", n_splits, 1)
    real("level", level, above=0, below=1)
    check_seed(rng)
    sides = binned_rdms(
        reps, target, dispersion, n_bins, average, rdm_metric, method, (noise, unit), in_bins=True
    )
    bins = sides.bins.values
    rank = stimulus_rank(sides.bins)
    family = family_of(over, sides.models, sides.target, more=["bin"], clusters=clusters)
    seed, stream = seed_of(rng)
    # bins move independently of each other, and alike for all pairs
    streams = np.random.default_rng(stream).integers(2**63, size=n_bins)
    names, each = sides.names, []
    for number in range(n_bins):
        # pairs of stimuli that straddle two bins enter no bin: the block is cut out of the RDM
        inside = np.flatnonzero(bins == number)
        block = {"stimulus": inside, "stimulus_2": inside}
        draws = apply(
            partial(told_by_name, kernel=mantel, extra=sides.extra, place=f" in bin {number}"),
            sides.models.isel(block) if sides.inside is None else sides.inside(inside),
            sides.target.isel(block),
            rank.isel({"stimulus": inside}),
            *names,
            core=[
                ["stimulus", "stimulus_2"],
                ["stimulus", "stimulus_2"],
                ["stimulus"],
                *([] for _ in names),
            ],
            out=[[DRAW]],
            sizes={DRAW: 1 + n_permutations},
            method=method,
            n_permutations=n_permutations,
            seed=int(streams[number]),
        )
        each.append(set_aside(draws, ["bin"]))
    parameters = {**sides.attrs, "n_permutations": n_permutations, "alpha": ALPHA, "seed": seed}
    draws = xr.concat(each, "bin", coords="minimal", compat="override", join="exact")
    told = summarized(draws, ALPHA, 1.0)
    parts = {"rsa": told["score"]} | {name: told[name] for name in ("p_value", *NULL)}
    parts |= adjusted(draws, told["p_value"], family)
    if sides.trials is not None:
        parts |= _corrected_bins(sides, method, n_bins, n_splits, stream, level)[0]
        parameters |= {"n_splits": n_splits, "level": level}
    elif "repetition" in sides.target.dims:
        parts |= untold(sides.models, sides.target, n_bins)
    table = {name: describe(part, name, **parameters) for name, part in parts.items()}
    table |= of_bins(sides.spread, sides.bins, n_bins)
    result = dataset_of(table, **parameters).assign_attrs(edges=sides.bins.attrs["edges"])
    return result.assign_coords(bin=np.arange(n_bins))


def binned_rsa_contrast(
    reps: xr.DataArray,
    target: xr.DataArray,
    dispersion: xr.DataArray,
    n_bins: int = 3,
    *,
    average: Average | None = "rdm",
    rdm_metric: str = "correlation",
    method: str = "spearman",
    geometry: Geometry = (),
    groups: Groups = (),
    blocks: str | xr.DataArray | None = None,
    null: str | None = None,
    strata: str | xr.DataArray | None = None,
    noise: Any = None,
    unit: str = "repetition",
    n_splits: int = 20,
    n_permutations: int = 1000,
    tail: Tail = "two-sided",
    over: Over = None,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Trend of RSA over dispersion bins, and lowest against highest bin, when bins are permuted.

    Parameters
    ----------
    reps, target, dispersion, n_bins, average, rdm_metric, method
        As in ``binned_rsa``.
    geometry : DataArray or sequence of DataArray
        As in ``modulation``; ``reps`` and ``target`` are always among them.
    groups, blocks
        As in ``modulation``.
    null : {"surrogates", "blocks", "labels"}, optional
        What is dealt anew to stimuli: by default dispersion, as maps that are drawn from its mixed
        model, or blocks where ``blocks`` are given. ``"labels"`` holds only where stimuli are
        exchangeable.
    strata : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): with ``null="labels"`` bins are
        permuted only inside its values.
    noise, unit, n_splits
        Of trials, as in ``binned_rsa``.
    n_permutations : int
        Draws of which stimulus is in which bin, the same for all pairs.
    tail : {"two-sided", "greater", "less"}
        Which null contrasts count as extreme.
    over
        As in ``modulation``.
    level : float
        Coverage asked of the intervals.
    rng : Generator, int or None
        Source of the permutations.

    Returns
    -------
    Dataset
        For every pair of RDMs: ``trend``, the least-squares slope of the bins' RSA per bin, and
        ``low_minus_high``, the RSA of the lowest bin less that of the highest, over the bins that
        hold stimuli where equal values have merged some (``attrs["merged_bins"]``);
        ``trend_p_value`` and ``low_minus_high_p_value``, (1 + #{null at least as extreme}) / (1 +
        n_permutations), of the contrast in units of its jackknife error, and corrected ones as in
        ``modulation`` where there are several. ``mean_trend`` and ``mean_low_minus_high`` over
        pairs, with ``_standard_error``, ``_lower`` and ``_upper`` for other stimuli, models and
        subjects, of which a side of one is taken as it is. NaN with a warning where a bin has
        fewer than 3 stimuli, or one bin is left; p-values also where no stratum has stimuli of two
        bins. ``n_effective``, the independent stimuli that dispersion is worth, ``moran_i`` and
        ``dispersion_moran_i``, here the same: dispersion is the only map. Lazy in ``reps`` and
        ``target`` but for geometry; a task holds two RDMs.

        Of trials with ``method="pearson"`` also ``trend_corrected`` and
        ``low_minus_high_corrected``, contrasts of ``rsa_corrected``, with ``_standard_error``,
        ``_lower``, ``_upper`` and ``_p_value``: whether *these* bins differ, by a jackknife over
        stimuli, two-sided; and ``mean_…``, of the pairs that have one: warnings name the subjects
        whose repetitions allow none. P-values of the map are then withheld, and no draws
        made: noise that follows dispersion makes its bins differ from drawn ones.

    Raises
    ------
    SchemaError, ValueError
        As ``binned_rsa``.

    Notes
    -----
    Dealt anew under the null is the bin of a stimulus; the RDMs are the same in every draw, ranked
    again inside the bins. Stimuli of one category have alike dispersion, so that bins of single
    permuted labels are more alike than bins of any real map: hence surrogates. ``binned_rsa``
    tests another null: that inside a bin the target has nothing to do with the model. Bins of
    different spread of distances differ in RSA without a difference in fit: match with ``strata``,
    or read the noise ceilings of the bins.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import rdm, stack_models
    >>> ids = [f"s{i}" for i in range(30)]
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((30, 8))
    >>> noisy = x + np.linspace(0, 3, 30)[:, None] * rng.standard_normal((30, 8))
    >>> spread = xr.DataArray(np.arange(30.0), dims="stimulus", coords={"stimulus": ids})
    >>> brain = rdm(stack_models({"brain": noisy}, stimuli=ids)).isel(model=0, drop=True)
    >>> table = binned_rsa_contrast(stack_models({"a": x}, stimuli=ids), brain, spread,
    ...     n_permutations=99, rng=0)
    >>> bool(table["trend"] < 0), float(table["trend_p_value"]) <= 0.05
    (True, True)
    """
    choose("tail", tail, ["two-sided", "greater", "less"])
    whole("n_permutations", n_permutations, 0)
    real("level", level, above=0, below=1)
    check_seed(rng)
    whole("n_splits", n_splits, 1)
    sides = binned_rdms(
        reps, target, dispersion, n_bins, average, rdm_metric, method, (noise, unit)
    )
    if sides.trials is not None:
        if not (null is blocks is strata is None):
            raise TypeError(
                "null, blocks and strata are of p-values of the map, which are withheld of trials: "
                "noise that follows dispersion makes its bins differ from drawn ones; leave them "
                "out, or give the RDM of the trials as target"
            )
        null, n_permutations = "labels", 0
    chosen = null_of(
        null, (sides.spread, sides.models), usual="surrogates",
        geometry=[*sides.geometry, *several("geometry", geometry)], groups=groups, blocks=blocks,
        strata=strata,
    )  # fmt: skip
    seed, stream = seed_of(rng)
    arrays, core = chosen.dealing(sides.spread)
    value, p_value, draws, added = apply(
        partial(told_by_name, kernel=contrast_test, extra=sides.extra),
        sides.models,
        sides.target,
        *(
            part.reset_coords(drop=True).drop_vars("stimulus")
            for part in (sides.spread, sides.bins)
        ),
        *arrays,
        *sides.names,
        core=[
            *[["stimulus", "stimulus_2"]] * 2,
            *[["stimulus"]] * 2,
            *core,
            *([] for _ in sides.names),
        ],
        out=[["_contrast"], ["_contrast"], [DRAW, "_contrast"], ["_contrast", "stimulus"]],
        sizes={
            "_contrast": 2,
            DRAW: 1 + n_permutations,
            "stimulus": sides.spread.sizes["stimulus"],
        },
        dtypes=[np.float64] * 4,
        null=chosen.name,
        method=METHODS[method].make,
        n_permutations=n_permutations,
        seed=stream,
        tail=tail,
    )
    parts = chosen.told(sides.spread, sides.spread)
    family = family_of(over, sides.models, sides.target)
    size = parts["n_effective"].fillna((sides.bins >= 0).sum())
    for i, name in enumerate(("trend", "low_minus_high")):
        one = {"_contrast": i}
        parts |= {name: value.isel(one)}
        if sides.trials is None:
            parts |= {f"{name}_p_value": p_value.isel(one)}
        if sides.trials is None and set(family.dims) & set(p_value.dims):
            # both are of the same pairs: what is too few is said once
            parts |= adjusted(
                draws.isel(one), p_value.isel(one), family, tail=tail, prefix=f"{name}_",
                tell=i == 0,
            )  # fmt: skip
        parts |= _mean(name, value.isel(one), added.isel(one), size, level)
    if sides.trials is not None:
        told, without = _corrected_bins(sides, method, n_bins, n_splits, stream, level)
        if "rsa_corrected" in told:
            parts |= _contrasts_of_trials(sides, without, told["rsa_corrected"], level)
    return described(
        parts,
        **sides.attrs,
        **(chosen.attrs if sides.trials is None else {}),
        n_permutations=n_permutations,
        tail=tail,
        level=level,
        seed=seed,
    )


def _mean(
    name: str, value: xr.DataArray, added: xr.DataArray, size: xr.DataArray, level: float
) -> dict[str, xr.DataArray]:
    """The mean of a contrast over models and subjects, its error and ends.

    Where the target has no models its subjects are the other side.
    """
    side_b = "model_b" if "model_b" in value.dims else "subject"
    pairs = [dim for dim in ("model_a", side_b) if dim in value.dims]
    of = family_numbers(value, ("model_a", side_b))
    found = apply(
        mean_ends, value, added, size, *of,
        core=[pairs, [*pairs, "stimulus"], [], *([str(one.dims[0])] for one in of)],
        out=[[]] * 4, dtypes=[np.float64] * 4, level=level,
    )  # fmt: skip
    names = ("", "_standard_error", "_lower", "_upper")
    return {f"mean_{name}{end}": part for end, part in zip(names, found, strict=True)}


def _corrected_bins(
    sides: BinnedRdms, method: str, n_bins: int, n_splits: int, seed: int, level: float
) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """What trials tell of the bins, but for what no correction is known for."""
    assert sides.trials is not None
    parts, without = corrected_bins(
        sides.models, sides.target, sides.trials, sides.bins.values, n_bins, n_splits, seed, level
    )
    if method != "pearson":
        warnings.warn(
            f"no correction for noise is known for method={method!r}, which compares ranks or "
            "angles; method='pearson' gives rsa_corrected and its ceiling",
            UserWarning,
            stacklevel=3,
        )
        # a true model of that noise has another RSA by another method: .80 by kendall for .95
        parts = {"split_half": parts["split_half"]}
    return parts, without


def _contrasts_of_trials(
    sides: BinnedRdms, without: xr.DataArray, corrected: xr.DataArray, level: float
) -> dict[str, xr.DataArray]:
    """Contrasts of the corrected RSA of these bins, their errors, ends and p-values."""
    bins = sides.bins.reset_coords(drop=True)
    value, added = apply(
        bin_contrasts, corrected, without, bins,
        core=[["bin"], ["bin", "stimulus"], ["stimulus"]],
        out=[["_contrast"], ["_contrast", "stimulus"]], sizes={"_contrast": 2},
        dtypes=[np.float64] * 2,
    )  # fmt: skip
    told = apply(
        contrast_ends, value, added,
        core=[[], ["stimulus"]], out=[[]] * 4, dtypes=[np.float64] * 4,
        n_bins=len(np.unique(bins.values[bins.values >= 0])), level=level,
    )  # fmt: skip
    # of stimuli in bins: trials are noise of each stimulus, and bins are as they are
    size = xr.DataArray(float((bins >= 0).sum()))
    parts: dict[str, xr.DataArray] = {}
    for i, name in enumerate(("trend_corrected", "low_minus_high_corrected")):
        one = {"_contrast": i}
        ends = zip(("standard_error", "lower", "upper", "p_value"), told, strict=True)
        parts |= {name: value.isel(one)} | {f"{name}_{end}": part.isel(one) for end, part in ends}
        parts |= _mean(name, value.isel(one), added.isel(one), size, level)
    return parts
