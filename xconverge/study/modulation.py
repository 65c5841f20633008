"""Does dispersion predict alignment, stimulus by stimulus?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.families import family_mean
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.resampling import seed_of, strata_name, strata_of
from xconverge.inference.geometry import (
    CATEGORY,
    SIDE,
    likeness,
    structure,
    warn_of_missing_side,
)
from xconverge.kernels.ranks import bin_means, empty_bins, rank_correlations
from xconverge.kernels.related_maps import morans, related
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import several, whole
from xconverge.labels.checks import check_dims, check_labels, check_only, check_scores
from xconverge.labels.coordinates import set_aside
from xconverge.labels.families import families
from xconverge.labels.joins import join_labels, natural_rank, on_side, take
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.study.bins import told_bins

Tail = Literal["two-sided", "greater", "less"]


def modulation(
    dispersion: xr.DataArray,
    alignment: xr.DataArray,
    *,
    geometry: xr.DataArray | Sequence[xr.DataArray] = (),
    groups: str | xr.DataArray | Sequence[str | xr.DataArray] = (),
    null: str | None = None,
    n_bins: int = 5,
    covariates: xr.DataArray | Sequence[xr.DataArray] = (),
    strata: str | xr.DataArray | None = None,
    n_permutations: int = 10_000,
    tail: Tail = "two-sided",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Rank correlation of dispersion with alignment, for every model pair and for their mean.

    Parameters
    ----------
    dispersion : DataArray
        (stimulus); or (model, stimulus), as ``dispersion(leave_out=…)`` gives it: every pair then
        has the dispersion of its ``model_a``, by label.
    alignment : DataArray
        (model_a, model_b, stimulus), from ``alignment``; the model dims may be absent, extra
        dims are mapped over.
    geometry : DataArray or sequence of DataArray
        Where stimuli lie: representations (model, stimulus, feature) or RDMs (stimulus,
        stimulus_2) of every modality that either map was made from, such as ``(vision,
        language)``. Stimuli that lie close to each other have alike values in any map.
    groups : str, DataArray or sequence of these
        Categories of the stimuli: coordinates by name, or values (stimulus). Of ``null="mixed"``.
    null : {"mixed", "labels"}, optional
        What the p-values are of; "mixed" where ``geometry`` or ``groups`` are given, else "labels".
        ``"mixed"``: the larger p of two linear mixed models, alignment on dispersion and
        dispersion on alignment, each with kernels of every geometry, an indicator of every
        category and noise. Holds its level where stimuli lie in clusters or maps are smooth.
        ``"labels"``: stimulus labels are permuted. Holds its level only where stimuli are
        exchangeable: no categories, no near-duplicates, no smooth maps.
    n_bins : int
        Quantile bins of dispersion for ``alignment_by_bin``.
    covariates : DataArray or sequence of DataArray
        One value per stimulus each, ``local_density`` or ``stimulus_norm`` say, with ``model`` or
        without; their ranks are partialled out of the ranks of both sides.
    strata : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): labels are permuted only inside
        its values. The correlations are the same, the p-values are of what is left inside.
    n_permutations : int
        Permutations of the stimulus labels of dispersion, the same for all pairs; 0 for none,
        where the p-values are NaN.
    tail : {"two-sided", "greater", "less"}
        Which null correlations count as extreme.
    rng : Generator, int or None
        Source of the permutations; the same one gives the same p-values, whatever the chunking.

    Returns
    -------
    Dataset
        For every pair: ``correlation`` (model_a, model_b), Spearman's, in [-1, 1]; ``p_value``,
        (1 + #{null at least as extreme}) / (1 + n_permutations); ``n_stimuli`` that entered;
        ``alignment_by_bin`` (model_a, model_b, bin), NaN in bins that equal values have merged
        into those below (``dispersion_bins``), with a warning and ``attrs["merged_bins"]``; the
        correlation is not made from bins. ``mean_correlation``, the mean of the
        correlations, and ``mean_p_value``, under the same permutations for all pairs. Where
        dispersion is the same for all pairs, correlation and the others also for the mean
        alignment over the pairs, with the suffix ``_of_mean``. ``dispersion_by_bin``, bin 0 the
        lowest. With ``null="mixed"`` also ``p_value_alignment`` and ``p_value_dispersion``, of
        which ``p_value`` is the larger, ``t_alignment`` and ``t_dispersion``; ``n_effective``, the
        independent stimuli that the maps are worth; ``moran_i``, how alike alignment is at
        neighbouring stimuli (near 0 for none), and ``dispersion_moran_i``.
        NaN with a warning where fewer than 3 stimuli are left, or values are all equal.
        Lazy if an input is; a task holds dispersion, all pairs of alignment and their null. Bins
        of a lazy dispersion are made, and warn, when it is computed, and are not in attrs.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match.

    Notes
    -----
    Exchangeable under the null are the stimulus labels of dispersion; with covariates, of its
    residual ranks, from which what the covariates explain is taken out again (Freedman & Lane
    1983). Only sums are computed under a permutation. Strata are taken out of both sides before,
    so that the statistic has a mean of 0 under the null and both tails mean the same.

    The mixed model regresses ranks. Its kernels are exp(-d²/(2 (l h)²)), d² the mean squared
    distance of two stimuli over the models of a geometry, of unit rows, h its median and l = 0.15,
    0.4 and 1; variances are fitted once by restricted maximum likelihood, to the mean over pairs,
    which share their ratios. With more than 2,000 stimuli they are fitted to 2,000 of them. A task
    holds a stimulus × stimulus matrix of every geometry. Equal noise over an uneven geometry makes
    a correlation too (neighbours are unstable where stimuli crowd), which no null here knows: see
    `docs/statistics.md`.

    Layers of one network (models with the same ``network_a``, ``network_b``, else ``subject_a``,
    ``subject_b``) count once in means over pairs: the mean over pairs of networks of the mean over
    their layers.

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
    places, kinds = several("geometry", geometry), several("groups", groups)
    null = null or ("mixed" if places or kinds else "labels")
    choose("null", null, ["mixed", "labels"])
    if (null == "mixed") != bool(places or kinds):
        raise ValueError(
            f"null={null!r} with {len(places)} geometry and {len(kinds)} groups: a mixed model "
            'needs them, and null="labels" has no use for them; strata= permutes inside groups'
        )
    whole("n_bins", n_bins, 2)
    whole("n_permutations", n_permutations, 0)
    dispersion = check_dims(dispersion, "stimulus", what="dispersion")
    alignment = check_scores(alignment, "stimulus", what="alignment")
    covariates = [
        check_dims(one, "stimulus", what=f"covariates[{number}]")
        for number, one in enumerate(several("covariates", covariates))
    ]
    seed, stream = seed_of(rng)
    parameters = {
        "metric": "spearman", "n_bins": n_bins, "null": null,
        "n_permutations": n_permutations if null == "labels" else None, "tail": tail,
        "n_covariates": len(covariates), "strata": strata_name(strata),
        "dispersion_metric": dispersion.attrs.get("metric"),
        "dispersion_without": dispersion.attrs.get("leave_out"),
        "alignment_metric": alignment.attrs.get("metric"), "seed": seed,
        **pairing_attrs(dispersion, alignment, *covariates),
    }  # fmt: skip
    spread = _of_models(dispersion, "dispersion", alignment)
    spread, alignment, _ = join_labels(
        spread, alignment, "stimulus", "exact", ("dispersion", "alignment")
    )
    partialled = _covariates(covariates, spread, alignment)
    of_each_model = "model_a" in spread.dims or "model_a" in partialled.dims
    if of_each_model:
        spread, partialled = (
            part
            if "model_a" in part.dims
            else set_aside(part, ["model_a"]).expand_dims({"model_a": alignment.indexes["model_a"]})
            for part in (spread, partialled)
        )
    inside = strata_of(strata, (spread, alignment))
    if null == "mixed" and inside is not None:
        raise ValueError('strata= are of null="labels"; give groups= instead')
    where: tuple[xr.DataArray, ...] = ()
    if null == "mixed":
        warn_of_missing_side(places, dispersion, alignment)
        where = structure(places, kinds, (spread, alignment))
    rank = xr.DataArray(natural_rank(spread.indexes["stimulus"]), dims="stimulus")
    pair_dims = [dim for dim in ("model_a", "model_b") if dim in alignment.dims]
    scores = {"": (alignment, pair_dims)}
    if not of_each_model:
        scores["_of_mean"] = (family_mean(alignment, pair_dims), [])
    lead = ["model_a"] if of_each_model else []
    bins = apply(
        told_bins, spread, core=[[*lead, "stimulus"]], out=[[*lead, "stimulus"]],
        dtypes=[np.int64], n_bins=n_bins,
    )  # fmt: skip
    if bins.chunks is None:
        parameters["merged_bins"] = empty_bins(bins.values, n_bins) or None
    told = _MIXED if where else ()
    table = {}
    for suffix, (values, dims) in scores.items():
        parts = apply(
            _one_table,
            spread,
            bins,
            values,
            partialled,
            rank,
            xr.zeros_like(rank) if inside is None else inside,
            _pairs_of_families(alignment, dims),
            *where,
            core=[
                [*lead, "stimulus"], [*lead, "stimulus"], [*dims, "stimulus"],
                [*lead, "_covariate", "stimulus"],
                ["stimulus"], ["stimulus"], dims,
                *([SIDE, "stimulus", "stimulus_2"], [CATEGORY, "stimulus"])[: len(where)],
            ],
            out=[dims, dims, dims, [*dims, "bin"], [], [], *[dims] * len(told)],
            sizes={"bin": n_bins},
            dtypes=[np.float64, np.float64, np.int64, *[np.float64] * (3 + len(told))],
            n_bins=n_bins,
            n_permutations=n_permutations if null == "labels" else 0,
            seed=stream,
            tail=tail,
        )  # fmt: skip
        # the mean over pairs of one row is the row itself: it is said once
        named = dict(zip((*_NAMES, *told), parts, strict=True))
        for name in (*_NAMES[: 4 if suffix else 6], *told):
            result = describe(named[name], name, **parameters)
            table[f"{name}{suffix}"] = result.rename(f"{name}{suffix}")
    means = apply(
        bin_means, spread, bins, core=[["stimulus"]] * 2, out=[["bin"]],
        sizes={"bin": n_bins}, n_bins=n_bins,
    )  # fmt: skip
    table["dispersion_by_bin"] = describe(means, "dispersion_by_bin")
    if where:
        alike = apply(
            _dispersion_moran, spread, *where,
            core=[["stimulus"], [SIDE, "stimulus", "stimulus_2"], [CATEGORY, "stimulus"]],
        )  # fmt: skip
        table["dispersion_moran_i"] = describe(alike, "dispersion_moran_i", **parameters)
    return dataset_of(table, **parameters).assign_coords(bin=np.arange(n_bins))


def mean_correlation(
    dispersion: xr.DataArray, alignment: xr.DataArray, covariates: Sequence[xr.DataArray] = ()
) -> float:
    """The ``mean_correlation`` of `modulation`, of inputs in memory, and nothing else."""
    spread = _of_models(dispersion, "dispersion", alignment)
    spread, alignment, _ = join_labels(
        spread, alignment, "stimulus", "exact", ("dispersion", "alignment")
    )
    partialled = _covariates(covariates, spread, alignment)
    lead = {"model_a": alignment.sizes["model_a"]}
    own = spread.broadcast_like(alignment["model_a"]).transpose("model_a", "stimulus")
    partialled = partialled.expand_dims({d: n for d, n in lead.items() if d not in partialled.dims})
    scores = alignment.transpose("model_a", "model_b", "stimulus")
    n_b, n = scores.shape[1:]
    *_, mean, _ = rank_correlations(
        own.values,
        scores.values.reshape(-1, n),
        np.repeat(np.arange(len(own)), n_b),
        partialled.transpose("model_a", "_covariate", "stimulus").values,
        rank=np.zeros(n, np.int64),
        strata=np.zeros(n, np.int64),
        n_permutations=0,
        seed=0,
        tail="two-sided",
        family=_pairs_of_families(alignment, ["model_a", "model_b"]).values.reshape(-1),
    )
    return mean


_NAMES = (
    "correlation", "p_value", "n_stimuli", "alignment_by_bin", "mean_correlation", "mean_p_value",
)  # fmt: skip
_MIXED = (
    "t_alignment", "t_dispersion", "p_value_alignment", "p_value_dispersion", "n_effective",
    "moran_i",
)  # fmt: skip


def _of_models(array: xr.DataArray, what: str, alignment: xr.DataArray) -> xr.DataArray:
    """One value per stimulus, or one per ``model_a`` of the alignment and stimulus."""
    array = check_dims(array, "stimulus", what=what)
    if "model" not in array.dims:
        return check_only(array, "stimulus", what=what)
    check_labels(array, "model", "stimulus", what=what)
    if set(array.dims) != {"model", "stimulus"} or "model_a" not in alignment.dims:
        raise SchemaError(
            f"{what} has the dims {list(map(str, array.dims))} and alignment "
            f"{list(map(str, alignment.dims))}: {what} needs 'stimulus', and 'model' "
            "only where alignment has 'model_a'"
        )
    wanted = alignment.indexes["model_a"]
    missing = wanted[~wanted.isin(array.indexes["model"])]
    if len(missing):
        raise SchemaError(
            f"{what} has no model {listing(missing)}, which alignment has as 'model_a'"
        )
    return on_side(take(array, "model", wanted), "model", "_a").transpose("model_a", "stimulus")


def _covariates(
    covariates: Sequence[xr.DataArray], dispersion: xr.DataArray, alignment: xr.DataArray
) -> xr.DataArray:
    """Covariates (…, covariate, stimulus), the first a constant: dask maps over no empty dim."""
    index = dispersion.indexes["stimulus"]
    constant = xr.DataArray(np.zeros(len(index)), dims="stimulus", coords={"stimulus": index})
    aligned = [constant]
    for number, covariate in enumerate(covariates):
        what = f"covariates {covariate.name or f'[{number}]'}"
        values = _of_models(covariate, what, alignment).reset_coords(drop=True)
        _, values, _ = join_labels(dispersion, values, "stimulus", "exact", ("dispersion", what))
        aligned.append(values.astype(np.float64))
    whole: xr.DataArray = xr.concat(
        xr.broadcast(*aligned), "_covariate", coords="minimal", compat="override", join="exact"
    )
    return whole


def _pairs_of_families(alignment: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Number (model_a, model_b) of the pair of families of each pair of models."""
    number = xr.DataArray(0)
    for dim in dims:
        of = families(alignment, dim)
        number = number * len(of.names) + xr.DataArray(of.numbers, dims=dim)
    return number.transpose(*dims)


def _one_table(
    dispersion: Array,
    bins: Array,
    scores: Array,
    covariates: Array,
    rank: Array,
    strata: Array,
    family: Array,
    *where: Array,
    n_bins: int,
    n_permutations: int,
    seed: int,
    tail: str,
) -> tuple[Any, ...]:
    """What ``modulation`` says of scores (A, B, n), (A, n), (B, n) or (n).

    ``where`` (squares and codes of `structure`) is given where the p-values are of mixed models.
    """
    shape = scores.shape[:-1]
    rows = scores.reshape(-1, scores.shape[-1])
    own = np.atleast_2d(dispersion)
    # rows run over model_b fastest, so rows of one model_a lie side by side
    which = np.arange(len(rows)) * len(own) // max(len(rows), 1)
    partialled = covariates.reshape(len(own), -1, covariates.shape[-1])
    correlation, p_value, count, mean, of_mean = rank_correlations(
        own,
        rows,
        which,
        partialled,
        rank,
        strata,
        n_permutations,
        seed,
        tail,
        np.reshape(family, -1),
    )
    told: list[Array] = []
    if where:
        alike = likeness(*where)
        each, together = related(
            own, rows, which, partialled[:, 1:], alike, tail, seed, np.reshape(family, -1)
        )
        p_value, of_mean = each.p_value, float(together.p_value[0])
        told = [part.reshape(shape) for part in (*each, morans(rows, alike))]
    own_bins = np.atleast_2d(bins)
    by_bin = np.stack(
        [bin_means(row, own_bins[i], n_bins) for i, row in zip(which, rows, strict=True)]
    )
    return (
        correlation.reshape(shape),
        p_value.reshape(shape),
        count.reshape(shape),
        by_bin.reshape(*shape, n_bins),
        mean,
        of_mean,
        *told,
    )


def _dispersion_moran(dispersion: Array, squares: Array, codes: Array) -> Array:
    return np.asarray(morans(dispersion[None], likeness(squares, codes))[0])
