"""Confidence intervals of alignment: over stimuli, over models, and over both."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge._apply import apply
from xconverge.inference.run import Progress, Report, run
from xconverge.kernels import intervals as kernels
from xconverge.kernels.permutations import resamples
from xconverge.measures.alignment import MEASURES, common_stimuli, own_options, plain, sides
from xconverge.measures.draws import DRAW, seen
from xconverge.schema import Join, SchemaError, choose, describe, listing

LEAST_STIMULI = 10


def confidence_interval(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    over: Literal["stimulus", "model", "both"] = "stimulus",
    resample: Literal["subsample", "bootstrap"] | None = None,
    fraction: float = 0.8,
    level: float = 0.95,
    n_resamples: int = 1000,
    k: int = 10,
    rdm_metric: str = "correlation",
    join: Join = "exact",
    progress: Progress | None = None,
    rng: np.random.Generator | int | None = None,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
    **options: Any,
) -> xr.Dataset:
    """How far alignment would differ with other stimuli, other models, or both.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), as in ``alignment``.
    metric : str
        A metric of ``alignment`` but ``svcca``, ``procrustes`` and ``linear_predictivity``, whose
        fits would have to be made again for every draw.
    over : {"stimulus", "model", "both"}
        What the interval generalises to. ``model`` and ``both`` are intervals of the mean over
        pairs alone.
    resample : {"subsample", "bootstrap"}, optional
        Draw a share ``fraction`` of the stimuli without replacement, the default for
        ``over="stimulus"``; or as many as there are with replacement, where a stimulus is never
        compared with its copies (no neighbours, no pair of an RDM), the default for ``both``,
        whose formula rests on it.
    fraction : float
        Share drawn without replacement, 0.5 to 0.95; the variance is scaled by m / (n - m).
    level : float
        Coverage asked for.
    n_resamples : int
        Draws of stimuli, and of models.
    k, rdm_metric, join, model, stimulus, feature
        As in ``alignment``.
    progress : callable, optional
        As in ``calibrate``.
    rng : Generator, int or None
        Source of the draws; the same one gives the same numbers, whatever the chunks, the
        workers or the order of the stimuli.
    **options
        Of the metric, as in ``alignment``.

    Returns
    -------
    Dataset
        In memory: ``estimate``, ``standard_error``, ``lower`` and ``upper`` (…, model_a,
        model_b), and the same with the suffix ``_of_mean`` for the mean over pairs; for
        ``over="model"`` and ``"both"`` the latter alone. Ends may leave the range of the metric.

    Warns
    -----
    RuntimeWarning
        Fewer than 10 common stimuli, or for ``model`` and ``both`` fewer than 3 models on the side
        that has several: the ends are NaN. An interrupt.

    Raises
    ------
    SchemaError, ValueError, TypeError
        As ``alignment``; a metric without an interval; a single pair of models with
        ``over="model"`` or ``"both"``.

    Notes
    -----
    The interval is the estimate ∓ Student's t times the standard error, with the stimuli (models)
    less one as degrees of freedom. Neighbours are searched again among the stimuli drawn, from
    longer lists that are made once; kernels are weighted; RDMs are ranked again. A task holds
    these for all models and 250 draws.

    Models of both sides are drawn with replacement as rows and columns of the table, because pairs
    share models. ``both`` is the dual bootstrap 2 (V_model + V_stimulus) - V_together, between the
    larger of the two and V_together (Schütt et al. 2023, eLife). Not valid where stimuli depend on
    each other. Coverage is in ``docs/calibration.md``.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=2, n_stimuli=60, rng=0)
    >>> found = confidence_interval(study["vision"], study["language"], "cka", n_resamples=200,
    ...     rng=0)
    >>> bool(((found["lower"] < found["estimate"]) & (found["estimate"] < found["upper"])).all())
    True
    """
    choose("over", over, ["stimulus", "model", "both"])
    how = resample or ("bootstrap" if over == "both" else "subsample")
    choose("resample", how, ["subsample", "bootstrap"])
    if over == "both" and how != "bootstrap":
        raise ValueError("over='both' needs resample='bootstrap', which its formula rests on")
    if not 0.5 <= fraction <= 0.95 or not 0 < level < 1 or n_resamples < 2:
        raise ValueError(
            f"fraction={fraction} must be between 0.5 and 0.95, level={level} between 0 and 1, "
            f"n_resamples={n_resamples} at least 2"
        )
    seed = int(np.random.default_rng(rng).integers(2**63))
    own = own_options(metric, options, k=k, rdm_metric=rdm_metric, rng=seed)
    measure = MEASURES[metric]
    if measure.resampled is None:
        there = [name for name, row in MEASURES.items() if row.resampled]
        raise ValueError(f"metric={metric!r} has no interval; choose one of {', '.join(there)}")
    dims = (model, stimulus, feature)
    a, b, dropped = sides(a, b, dims, join)
    sizes = a.sizes[model], b.sizes[model]
    if over != "stimulus" and max(sizes) == 1:
        raise SchemaError(
            f"over={over!r} needs several models on a side, there are {listing(a.indexes[model])} "
            f"and {listing(b.indexes[model])}; use over='stimulus'"
        )
    share = fraction if how == "subsample" else None
    draws, done = run(
        measure.resampled(a, b, dims, **own),
        seen(a, dims),
        seen(b, dims),
        dims,
        n_resamples,
        seed,
        None,
        progress or Report(f"confidence_interval {metric}"),
        partial(resamples, fraction=share),
    )
    counts = common_stimuli(a, b, dims).compute()
    parameters = {
        "metric": metric, "over": over, "resample": how, "fraction": share, "level": level,
        "n_resamples": done, "n_dropped": dropped, **plain(own),
    }  # fmt: skip
    pairs = [f"{model}_a", f"{model}_b"]
    enough = _enough(counts, over, sizes, pairs)
    tables = {}
    estimate = draws.isel({DRAW: 0})
    if over == "stimulus":
        variance = apply(
            partial(kernels.pair_variance, fraction=share),
            draws,
            counts,
            core=[[DRAW, *pairs], pairs],
            out=[pairs],
        )
        tables[""] = estimate, variance.where(enough), counts - 1
    variances = apply(
        partial(kernels.mean_variances, fraction=share, seed=seed),
        draws,
        counts,
        core=[[DRAW, *pairs], pairs],
        out=[[]] * 3,
        dtypes=[np.float64] * 3,
    )
    variance = variances[("stimulus", "model", "both").index(over)]
    models = min(size for size in sizes if size > 1) - 1 if max(sizes) > 1 else 0
    freedom = counts.min(pairs) - 1
    if over != "stimulus":
        freedom = freedom.clip(max=models)
    tables["_of_mean"] = estimate.mean(pairs), variance.where(enough.all(pairs)), freedom
    result = {}
    for suffix, (score, spread, degrees) in tables.items():
        ends = apply(
            partial(kernels.interval, level=level),
            score, spread, degrees, core=[[]] * 3, out=[[]] * 3, dtypes=[np.float64] * 3,
        )  # fmt: skip
        names = ("estimate", "standard_error", "lower", "upper")
        for name, value in zip(names, (score, *ends), strict=True):
            result[name + suffix] = describe(
                value, name, **{**parameters, **_WORDS.get(name, {})}
            ).rename(name + suffix)
    return xr.Dataset(result)


_WORDS = {
    "lower": {"long_name": "lower end of the confidence interval"},
    "upper": {"long_name": "upper end of the confidence interval"},
}


def _enough(
    counts: xr.DataArray, over: str, sizes: tuple[int, int], pairs: list[str]
) -> xr.DataArray:
    """Which pairs have enough stimuli, and the table enough models; warns of the others."""
    enough = counts >= LEAST_STIMULI
    several = [size for size in sizes if size > 1]
    few = over != "stimulus" and min(several) < 3
    if few or not enough.all():
        warnings.warn(
            f"an interval needs at least {LEAST_STIMULI} common stimuli (there are "
            f"{int(counts.min())}) and, over models, at least 3 models on a side that has several "
            f"(there are {sizes[0]} and {sizes[1]}): NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    return enough & (not few)
