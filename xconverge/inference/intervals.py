"""Confidence intervals of alignment: over stimuli, over models, and over both."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.families import family_mean
from xconverge.engine.measure import Plan
from xconverge.engine.pair import Pair
from xconverge.engine.progress import Progress, Report
from xconverge.engine.resampling import DRAW, blocks_of, run, strata_name
from xconverge.engine.scores import PAIRS, models, scores
from xconverge.kernels import intervals as kernels
from xconverge.kernels.groups import table_means
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.permutations import resamples
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import callback, real, whole
from xconverge.labels.coordinates import carried
from xconverge.labels.families import Families, families
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.measures.alignment import MEASURES, plan_of

LEAST_STIMULI = 10
TEXTS = {end: {"long_name": f"{end} end of the confidence interval"} for end in ("lower", "upper")}


def confidence_interval(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    over: Literal["stimulus", "model", "both"] = "stimulus",
    resample: Literal["local", "subsample", "bootstrap"] | None = None,
    fraction: float = 0.8,
    blocks: str | xr.DataArray | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
    k: int = 10,
    rdm_metric: str = "correlation",
    progress: Progress | None = None,
    rng: np.random.Generator | int | None = None,
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
    resample : {"local", "subsample", "bootstrap"}, optional
        ``local``, the default for ``mutual_knn`` over stimuli: a closed form without draws, from
        the covariances of the overlaps of stimuli that are among each other's neighbours.
        ``subsample``, the default elsewhere: a share ``fraction`` of the stimuli without
        replacement. ``bootstrap``, the default for ``both``, whose formula rests on it: as many as
        there are with replacement, where a stimulus is never compared with its copies (no
        neighbours, no pair of an RDM).
    fraction : float
        Share drawn without replacement, 0.5 to 0.95; the variance is scaled by m / (n - m).
    blocks : str or DataArray, optional
        A stimulus coordinate or values (stimulus) of near-duplicates (``find_duplicates``) or other
        groups that are one unit: they are drawn whole, ``local`` takes their overlaps for linked,
        and stimuli are counted by them.
    level : float
        Coverage asked for.
    n_resamples : int
        Draws of stimuli, and of models.
    k, rdm_metric
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
        Fewer than 10 common stimuli, or in some draw fewer than the metric needs; for ``model`` and
        ``both`` fewer than 3 models on the side that has several: the ends are NaN. Models that
        have no stimulus in common with the other side: NaN, by name; the mean over pairs is that of
        the others. An interrupt.

    Raises
    ------
    SchemaError, ValueError, TypeError
        As ``alignment``; a metric without an interval; a single pair of models with
        ``over="model"`` or ``"both"``.

    Notes
    -----
    The interval is the estimate ∓ Student's t times the standard error, with the stimuli less one
    as degrees of freedom, over models after Satterthwaite. Neighbours are searched again among the
    stimuli drawn, from longer lists that are made once; kernels are weighted; RDMs are ranked
    again. A task holds these for all models and 250 draws.

    Models of both sides are drawn with replacement as rows and columns of the table, because pairs
    share models; layers of one network (``network``, else ``subject``) are drawn together, and
    count once in the mean over pairs. Neighbour statistics react to every change of the pool, so
    that draws overstate their variance, about twofold for ``mutual_knn`` (as a jackknife does,
    Efron & Stein 1981),
    and the plain standard error of its per-stimulus values understates it as much; hence
    ``local``. ``both`` is the dual bootstrap 2 (V_model + V_stimulus) - V_together, between the
    larger of the two and V_together (Schütt et al. 2023, eLife), and for several models on both
    sides its extension to three crossed factors, 4 ΣV_one - 2 ΣV_two + V_all. Not valid where
    stimuli depend on each other. Coverage is in ``docs/calibration.md``.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=2, n_stimuli=60, rng=0)
    >>> found = confidence_interval(study["vision"], study["language"], "cka", n_resamples=200,
    ...     rng=0)
    >>> bool(((found["lower"] < found["estimate"]) & (found["estimate"] < found["upper"])).all())
    True
    """
    callback("progress", progress)
    how = _checked(metric, over, resample, fraction, level, n_resamples)
    given = Pair(a, b, rng)
    pair = _of_scored(given)
    plan = plan_of(pair, metric, options, k=k, rdm_metric=rdm_metric)
    units = blocks_of(blocks, (pair.a, pair.b))
    counts = (pair.n_stimuli() if units is None else _n_units(pair, units)).compute()
    sides = [families(side) for side, _ in pair.sides]
    sizes = len(sides[0].names), len(sides[1].names)
    if over != "stimulus" and max(sizes) == 1:
        raise SchemaError(
            f"over={over!r} needs several models on a side, there are "
            f"{listing(pair.a.indexes['model'])} and "
            f"{listing(pair.b.indexes['model'])}; use over='stimulus'"
        )
    enough = _enough(counts, over, sizes)
    share = fraction if how == "subsample" else None
    done = None
    if how == "local":
        found = _local(plan, pair, sides, units, counts)
    else:
        draws, done = _draws(plan, pair, metric, share, n_resamples, progress, units)
        found = _of_draws(draws, plan, pair, sides, counts, share, over)
        if over != "model":
            enough &= _always_scored(draws, found.score, plan, how)
    mean = family_mean(found.score, PAIRS, dict(zip(PAIRS, sides, strict=True)))
    tables = {"_of_mean": (mean, found.of_mean.where(enough.all(PAIRS)), found.freedom)}
    if over == "stimulus":
        tables[""] = (found.score, found.variance.where(enough), counts - 1)
    parameters = {
        **plan.options(), "metric": metric, "over": over, "resample": how, "fraction": share,
        "blocks": strata_name(blocks), "level": level, "n_resamples": done,
        "seed": pair.seed if done else None, **pair.attrs,
    }  # fmt: skip
    result = dataset_of(
        {
            name + suffix: value
            for suffix, table in tables.items()
            for name, value in _ends(*table, level, parameters, suffix).items()
        },
        **parameters,
    )
    return result if pair is given or over != "stimulus" else _of_all(result, given)


def _of_all(result: xr.Dataset, given: Pair) -> xr.Dataset:
    """The result with NaN for the models that were left out, in the order that was given."""
    sides = [on_side(side["model"], "model", f"_{what}") for side, what in given.sides]
    wanted = {str(side.dims[0]): side for side in sides}
    coords = {name: coord for side in sides for name, coord in side.coords.items()}
    return carried(result.reindex(wanted), coords)


class _Found(NamedTuple):
    """Scores of pairs, their variance, that of their mean, and its degrees of freedom."""

    score: xr.DataArray
    variance: xr.DataArray
    of_mean: xr.DataArray
    freedom: xr.DataArray


def _of_scored(pair: Pair) -> Pair:
    """The pair without models that have no stimulus in common with any other: they are named.

    They would leave the mean over pairs without an interval, though it is that of the others.
    """
    common = (pair.n_stimuli() > 0).compute()
    keep = [common.any([dim for dim in common.dims if dim != side]) for side in PAIRS]
    if all(one.all() for one in keep) or not all(one.any() for one in keep):
        return pair
    gone = [name for one in keep for name in one.indexes[one.dims[0]][~one.values]]
    warnings.warn(
        f"no interval for {listing(gone)}: no stimulus in common with a model of the other side; "
        "the mean over pairs is that of the others",
        RuntimeWarning,
        stacklevel=3,
    )
    a, b = (side.isel(model=one.values) for (side, _), one in zip(pair.sides, keep, strict=True))
    return Pair(a, b, pair.seed)


def _checked(
    metric: str, over: str, resample: str | None, fraction: float, level: float, n_resamples: int
) -> str:
    """How the variance comes about: as asked, or as is best for the metric."""
    choose("over", over, ["stimulus", "model", "both"])
    # draws overstate the variance of neighbours, which react to every change of the pool
    usual = "local" if metric == "mutual_knn" and over == "stimulus" else "subsample"
    how = ("bootstrap" if over == "both" else usual) if resample is None else resample
    choose("resample", how, ["local", "subsample", "bootstrap"])
    if over == "both" and how != "bootstrap":
        raise ValueError("over='both' needs resample='bootstrap', which its formula rests on")
    if how == "local" and (metric != "mutual_knn" or over != "stimulus"):
        raise ValueError("resample='local' is for metric='mutual_knn' and over='stimulus'")
    real("fraction", fraction, least=0.5, most=0.95)
    real("level", level, above=0, below=1)
    whole("n_resamples", n_resamples, 2)
    return how


def _draws(
    plan: Plan,
    pair: Pair,
    metric: str,
    fraction: float | None,
    n_resamples: int,
    progress: Progress | None,
    blocks: xr.DataArray | None,
) -> tuple[xr.DataArray, int]:
    """Scores of stimuli drawn again, the observed ones first, and how many draws were done."""
    if not MEASURES[metric].resample:
        there = [name for name, row in MEASURES.items() if row.resample]
        raise ValueError(f"metric={metric!r} has no interval; choose one of {', '.join(there)}")
    kernel = plan.kernel.for_draws(pair.a.sizes["stimulus"])
    return run(
        kernel,
        models(replace(plan, kernel=kernel), pair),
        pair.rank,
        n_resamples,
        pair.stream,
        progress or Report(f"confidence_interval {metric}"),
        plan.given,
        resample=partial(resamples, fraction=fraction),
        blocks=blocks,
    )


def _mean_variance(
    draws: Array, n: Array, of_a: Array, of_b: Array, **options: Any
) -> tuple[float, float]:
    """Variance of the mean over pairs of families, from draws (D, A, B) of pairs of models."""
    return kernels.mean_variance(table_means(draws, of_a, of_b), n, **options)


def _numbers(sides: Sequence[Families]) -> list[xr.DataArray]:
    """Family of each model of either side."""
    return [xr.DataArray(of.numbers, dims=f"model_{w}") for of, w in zip(sides, "ab", strict=True)]


def _local(
    plan: Plan,
    pair: Pair,
    sides: Sequence[Families],
    blocks: xr.DataArray | None,
    counts: xr.DataArray,
) -> _Found:
    """From the lists alone, without draws."""
    more = [] if blocks is None else [blocks.drop_vars("stimulus")]
    score, variance, of_mean = (
        part.compute()
        for part in apply(
            partial(kernels.local_variances, kernel=cast(MutualKnn, plan.kernel)),
            *models(plan, pair),
            *_numbers(sides),
            *more,
            core=[*([side] for side in PAIRS * 2), *(["stimulus"] for _ in more)],
            out=[PAIRS, PAIRS, []],
            dtypes=[np.float64] * 3,
        )
    )
    # cautious where pairs share different numbers of stimuli
    return _Found(score, variance, of_mean, counts.min(PAIRS) - 1)


def _of_draws(
    draws: xr.DataArray,
    plan: Plan,
    pair: Pair,
    sides: Sequence[Families],
    counts: xr.DataArray,
    fraction: float | None,
    over: str,
) -> _Found:
    """From scores of stimuli drawn again."""
    score = scores(plan, pair).compute()
    score = score.mean("stimulus") if "stimulus" in score.dims else score
    variance = apply(
        partial(kernels.pair_variance, fraction=fraction),
        draws, counts, core=[[DRAW, *PAIRS], PAIRS], out=[PAIRS],
    )  # fmt: skip
    of_mean, freedom = apply(
        partial(_mean_variance, fraction=fraction, seed=pair.stream, over=over),
        draws, counts, *_numbers(sides),
        core=[[DRAW, *PAIRS], PAIRS, *([side] for side in PAIRS)],
        out=[[]] * 2, dtypes=[np.float64] * 2,
    )  # fmt: skip
    return _Found(score, variance, of_mean, freedom)


def _ends(
    score: xr.DataArray,
    variance: xr.DataArray,
    freedom: xr.DataArray,
    level: float,
    parameters: dict[str, Any],
    suffix: str,
) -> dict[str, xr.DataArray]:
    """Estimate, standard error and both ends, described."""
    ends = apply(
        partial(kernels.interval, level=level),
        score, variance, freedom, core=[[]] * 3, out=[[]] * 3, dtypes=[np.float64] * 3,
    )  # fmt: skip
    names = ("estimate", "standard_error", "lower", "upper")
    return {
        name: describe(value, name, **{**parameters, **TEXTS.get(name, {})}).rename(name + suffix)
        for name, value in zip(names, (score, *ends), strict=True)
    }


def _always_scored(
    draws: xr.DataArray, estimate: xr.DataArray, plan: Plan, how: str
) -> xr.DataArray:
    """Which pairs have a score in every draw; warns of the others."""
    there = draws.notnull().all(DRAW)
    if (lacking := ~there & estimate.notnull()).any():
        warnings.warn(
            f"{int(lacking.sum())} pairs have no score in some draws by {how!r}, which leave fewer "
            f"than the {plan.kernel.min_stimuli} common stimuli that one needs: NaN. Ask for a "
            "smaller k or a larger fraction",
            RuntimeWarning,
            stacklevel=3,
        )
    return there


def _n_units(pair: Pair, blocks: xr.DataArray) -> xr.DataArray:
    """How many blocks (model_a, model_b) have a stimulus that both models of a pair saw."""
    there = [on_side(seen, "model", f"_{w}") for seen, w in zip(pair.seen, "ab", strict=True)]
    bare = blocks.drop_vars("stimulus")
    count: xr.DataArray = apply(
        kernels.n_units, *there, bare, core=[["stimulus"]] * 3, dtypes=[np.int64]
    )
    return count.reset_coords(drop=True)


def _enough(counts: xr.DataArray, over: str, sizes: tuple[int, int]) -> xr.DataArray:
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
