"""Does dispersion predict alignment, stimulus by stimulus?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.families import family_mean, family_numbers
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.resampling import DRAW, seed_of
from xconverge.inference.multiplicity import Family, Over, adjusted, family_of
from xconverge.inference.nulls import Geometry, Groups, Null, moran_of, null_of
from xconverge.kernels.groups import pair_numbers
from xconverge.kernels.modulation import OF_MEAN, Settings, modulations
from xconverge.kernels.nulls import Permuted
from xconverge.kernels.ranks import bin_means, empty_bins, rank_correlations
from xconverge.labels.arguments import real, several, whole
from xconverge.labels.checks import check_dims, check_labels, check_only, check_scores
from xconverge.labels.coordinates import set_aside
from xconverge.labels.joins import join_extra, join_labels, on_side, take
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.study.bins import told_bins

Tail = Literal["two-sided", "greater", "less"]
CAVEAT = (
    "models with equal noise at every stimulus make a correlation too, where neighbours crowd; "
    "leave_out_modulation(n_equal_noise=199) says how large"
)
"""What no test of two maps can see, because it has no models."""
PAIRS = ("model_a", "model_b")
OF_EACH = (
    "correlation", "p_value", "n_stimuli", "n_effective", "moran_i", "t_alignment",
    "t_dispersion", "p_value_alignment", "p_value_dispersion",
)  # fmt: skip


def modulation(
    dispersion: xr.DataArray,
    alignment: xr.DataArray,
    *,
    geometry: Geometry = (),
    groups: Groups = (),
    blocks: str | xr.DataArray | None = None,
    null: str | Null | None = None,
    n_bins: int = 5,
    covariates: xr.DataArray | Sequence[xr.DataArray] = (),
    strata: str | xr.DataArray | None = None,
    n_permutations: int = 10_000,
    tail: Tail = "two-sided",
    over: Over = None,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Rank correlation of dispersion with alignment, for every model pair and for their mean.

    Parameters
    ----------
    dispersion : DataArray
        (stimulus); or (model, stimulus), as ``dispersion(leave_out=…)`` gives it: every pair then
        has the dispersion of its ``model_a``, by label. Extra dims that alignment has too
        (``time``) are matched by label.
    alignment : DataArray
        (model_a, model_b, stimulus), from ``alignment``; the model dims may be absent, extra
        dims are mapped over.
    geometry : DataArray or sequence of DataArray
        Where stimuli lie: representations (model, stimulus, feature) or RDMs (stimulus,
        stimulus_2) of every modality that either map was made from, such as ``(vision,
        language)``. Stimuli that lie close to each other have alike values in any map.
    groups : str, DataArray or sequence of these
        Categories of the stimuli: coordinates by name, or values (stimulus). Stimuli of one
        category have alike values too.
    blocks : str or DataArray, optional
        As ``groups``, one: what moves whole with ``null="blocks"``, near-duplicates say.
    null : {"mixed", "surrogates", "blocks", "labels"}, optional
        What the p-values are of; "blocks" where ``blocks`` are given, "mixed" where ``geometry`` or
        ``groups`` are, else "labels", with a warning; ``attrs["null_holds_for"]`` says for what
        stimuli each holds. ``"mixed"``: the larger p of two linear mixed models, alignment on
        dispersion and dispersion on alignment, each with kernels of every geometry, an indicator
        of every category and noise. ``"surrogates"``: dispersion lies as maps do that are drawn
        from its mixed model. ``"blocks"``: whole blocks change places. ``"labels"``: single labels
        do, which holds only where stimuli are exchangeable: no categories, no near-duplicates, no
        smooth maps.
    n_bins : int
        Quantile bins of dispersion for ``alignment_by_bin``.
    covariates : DataArray or sequence of DataArray
        One value per stimulus each, ``local_density`` or ``stimulus_norm`` say, with ``model`` or
        without; their ranks are partialled out of the ranks of both sides.
    strata : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): labels are permuted only inside
        its values. The correlations are the same, the p-values are of what is left inside.
    n_permutations : int
        Draws of the null, the same for all pairs; 0 for none, where the p-values of permutations
        and surrogates are NaN. Those of mixed models need none but for their correction.
    tail : {"two-sided", "greater", "less"}
        Which null correlations count as extreme.
    over : str or sequence of str, optional
        Dims of the result whose tests are corrected together, by default all.
    level : float
        Coverage asked of the interval of the mean correlation.
    rng : Generator, int or None
        Source of the draws; the same one gives the same p-values, whatever the chunking.

    Returns
    -------
    Dataset
        For every pair: ``correlation`` (model_a, model_b), Spearman's, in [-1, 1]; ``p_value``,
        (1 + #{null at least as extreme}) / (1 + n_permutations); ``n_stimuli`` that entered;
        ``alignment_by_bin`` (model_a, model_b, bin), NaN in bins that equal values have merged
        into those below (``dispersion_bins``), with a warning and ``attrs["merged_bins"]``; the
        correlation is not made from bins. ``mean_correlation``, the mean of the
        correlations, and ``mean_p_value``, under the same draws for all pairs;
        ``mean_correlation_standard_error``, ``_lower`` and ``_upper`` for other stimuli, worth
        ``n_effective`` independent ones (all of them without a geometry), and other models of both
        sides, families where they are known; a side of one model is taken as it is. Where
        dispersion is the same for all pairs, correlation and the others also for the mean
        alignment over the pairs, with the suffix ``_of_mean``. ``dispersion_by_bin``, bin 0 the
        lowest. ``n_effective``, the independent stimuli that both maps are worth, and ``moran_i``,
        how alike alignment is at neighbouring stimuli (near 0 for none), beside
        ``dispersion_moran_i``: NaN without a geometry. With ``null="mixed"`` also
        ``p_value_alignment`` and ``p_value_dispersion``, of which ``p_value`` is the larger,
        ``t_alignment`` and ``t_dispersion``. Of several tests, p-values corrected for their number:
        ``p_value_max_t`` (family-wise error), ``p_value_bh`` and ``p_value_by`` (false discovery),
        and over a dim ``time`` ``p_value_cluster`` (family-wise error of bins in a row).
        NaN with a warning where fewer than 3 stimuli are left, or values are all equal.
        Lazy if an input is; a task holds dispersion, all pairs of alignment and their null. Bins
        of a lazy dispersion are made, and warn, when it is computed, and are not in attrs.

    Warns
    -----
    UserWarning
        Labels are permuted and ``null`` did not ask for it; a modality that a map was made from is
        not among the geometries.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; a null without what it needs.

    Notes
    -----
    Permuted are the stimulus labels of dispersion; with covariates, of its residual ranks, from
    which what the covariates explain is taken out again (Freedman & Lane 1983). Only sums are
    computed under a permutation. Strata are taken out of both sides before, so that the statistic
    has a mean of 0 under the null and both tails mean the same.

    The mixed model regresses ranks. Its kernels are exp(-d²/(2 (l h)²)), d² the mean squared
    distance of two stimuli over the models of a geometry, of unit rows, h its median and l = 0.15,
    0.4 and 1; variances are fitted once by restricted maximum likelihood, to the mean over pairs,
    which share their ratios. With more than 1,000 stimuli they are fitted to 1,000 of them. A task
    holds a stimulus × stimulus matrix of every geometry. Equal noise over an uneven geometry makes
    a correlation too (neighbours are unstable where stimuli crowd), which no null here knows:
    ``attrs["caveat"]``, and ``docs/statistics.md``.

    Layers of one network (models with the same ``network_a``, ``network_b``, else ``subject_a``,
    ``subject_b``) count once in means over pairs: the mean over pairs of networks of the mean over
    their layers.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> x = xr.DataArray(np.arange(9.0), dims="stimulus",
    ...     coords={"stimulus": [f"s{i}" for i in range(9)]})
    >>> result = modulation(x, -x, null="labels", n_bins=3, n_permutations=999, rng=0)
    >>> round(float(result["correlation"]), 6), float(result["p_value"]) < 0.01
    (-1.0, True)
    """
    choose("tail", tail, ["two-sided", "greater", "less"])
    whole("n_bins", n_bins, 2)
    whole("n_permutations", n_permutations, 0)
    real("level", level, above=0, below=1)
    dispersion = check_dims(dispersion, "stimulus", what="dispersion")
    alignment = check_scores(alignment, "stimulus", what="alignment")
    covariates = [
        check_dims(one, "stimulus", what=f"covariates[{number}]")
        for number, one in enumerate(several("covariates", covariates))
    ]
    family = family_of(over, alignment)
    seed, stream = seed_of(rng)
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
    chosen = null_of(
        null, (spread, alignment), usual="mixed", geometry=geometry, groups=groups, blocks=blocks,
        strata=strata, made_from=(dispersion, alignment),
    )  # fmt: skip
    parameters = {
        "metric": "spearman", "n_bins": n_bins, **chosen.attrs, "n_permutations": n_permutations,
        "tail": tail, "level": level, "n_covariates": len(covariates), "caveat": CAVEAT,
        "dispersion_metric": dispersion.attrs.get("metric"),
        "dispersion_without": dispersion.attrs.get("leave_out"),
        "alignment_metric": alignment.attrs.get("metric"), "seed": seed,
        **pairing_attrs(dispersion, alignment, *covariates),
    }  # fmt: skip
    pairs = [dim for dim in PAIRS if dim in alignment.dims]
    lead = ["model_a"] if of_each_model else []
    bins = apply(
        told_bins, spread, core=[[*lead, "stimulus"]], out=[[*lead, "stimulus"]],
        dtypes=[np.int64], n_bins=n_bins,
    )  # fmt: skip
    if bins.chunks is None:
        parameters["merged_bins"] = empty_bins(bins.values, n_bins) or None
    numbers = family_numbers(alignment, PAIRS)
    outputs = _outputs(pairs, not of_each_model, chosen.name)
    found = apply(
        modulations,
        spread,
        bins,
        alignment,
        family_mean(alignment, pairs),
        partialled,
        *numbers,
        *chosen.arrays,
        core=[
            *[[*lead, "stimulus"]] * 2, [*pairs, "stimulus"], ["stimulus"],
            [*lead, "_covariate", "stimulus"],
            *([str(one.dims[0])] for one in numbers), *chosen.core,
        ],
        out=list(outputs.values()),
        sizes={"bin": n_bins, DRAW: 1 + n_permutations},
        dtypes=[np.int64 if name.startswith("n_stimuli") else np.float64 for name in outputs],
        names=tuple(outputs),
        n_squares=len(chosen.squares),
        settings=Settings(chosen.name, n_bins, n_permutations, stream, tail, level),
    )  # fmt: skip
    parts = dict(zip(outputs, found, strict=True))
    table = {
        name: describe(values, name.removesuffix(OF_MEAN), **parameters).rename(name)
        for name, values in (parts | _corrected(parts, family, tail)).items()
        if not name.startswith("_")
    }
    means = apply(
        bin_means, spread, bins, core=[["stimulus"]] * 2, out=[["bin"]],
        sizes={"bin": n_bins}, n_bins=n_bins,
    )  # fmt: skip
    table["dispersion_by_bin"] = describe(means, "dispersion_by_bin")
    table["dispersion_moran_i"] = moran_of(spread, chosen, "dispersion_moran_i")
    result = dataset_of(table, **parameters).assign_coords(bin=np.arange(n_bins))
    return result


def _outputs(pairs: Sequence[str], of_mean: bool, null: str) -> dict[str, list[str]]:
    """Names of what a table holds, and their dims."""
    mixed = null == "mixed"
    names = OF_EACH if mixed else OF_EACH[:5]
    result = {name: list(pairs) for name in names} | {"alignment_by_bin": [*pairs, "bin"]}
    sides = ("", "_dispersion") if mixed else ("",)
    result |= {f"_draws{side}": [DRAW, *pairs] for side in sides}
    if of_mean:
        result |= {
            name + OF_MEAN: [dim for dim in dims if dim not in pairs]
            for name, dims in result.items()
        }
    result |= {f"_mean_draws{side}": [DRAW] for side in sides}
    ends = (f"mean_correlation_{end}" for end in ("standard_error", "lower", "upper"))
    return result | {name: [] for name in ("mean_correlation", "mean_p_value", *ends)}


def _corrected(
    parts: Mapping[str, xr.DataArray], family: Family, tail: str
) -> dict[str, xr.DataArray]:
    """P-values corrected for the number of tests, wherever there are several.

    Of mixed models the larger of both regressions'.
    """
    result = {}
    for before, after in (("", ""), ("", OF_MEAN), ("mean_", "")):
        p_value = parts.get(f"{before}p_value{after}")
        if p_value is None or not set(family.dims) & set(p_value.dims):
            continue
        several = []
        for side in ("", "_dispersion"):
            if f"_{before}draws{side}{after}" not in parts:
                continue
            corrections = adjusted(
                parts[f"_{before}draws{side}{after}"], p_value, family, tail=tail, prefix=before,
                # p-values of mixed models are as small as they like; the pairs are most tests
                tell="_draws_dispersion" not in parts and not before + after, stacklevel=4,
            )  # fmt: skip
            several.append(corrections)
        for name in several[0]:
            largest = several[0][name]
            for other in several[1:]:
                largest = largest.where(~(other[name] > largest), other[name])
            result[name + after] = largest
    return result


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
    return rank_correlations(
        own.values,
        scores.values.reshape(-1, n),
        np.repeat(np.arange(len(own)), n_b),
        partialled.transpose("model_a", "_covariate", "stimulus").values,
        Permuted(np.arange(n), 0),
        strata=np.zeros(n, np.int64),
        n_draws=0,
        tail="two-sided",
        family=pair_numbers(*(one.values for one in family_numbers(alignment, PAIRS))),
    ).mean


def _of_models(array: xr.DataArray, what: str, alignment: xr.DataArray) -> xr.DataArray:
    """One value per stimulus, or one per ``model_a`` of the alignment and stimulus.

    Further dims (``time``) are those of the alignment, by label.
    """
    array = check_dims(array, "stimulus", what=what)
    more = [dim for dim in array.dims if dim not in ("model", "stimulus")]
    if not {*more} & {*alignment.dims} and "model" not in array.dims:
        return check_only(array, "stimulus", what=what)
    known = {dim for dim in alignment.dims if dim not in (*PAIRS, "stimulus")}
    if {*more} - known or ("model" in array.dims and "model_a" not in alignment.dims):
        raise SchemaError(
            f"{what} has the dims {list(map(str, array.dims))} and alignment "
            f"{list(map(str, alignment.dims))}: {what} needs 'stimulus', and 'model' "
            "only where alignment has 'model_a', and no dim that alignment lacks"
        )
    array = join_extra(alignment, array, ("alignment", what))
    if "model" not in array.dims:
        check_labels(array, "stimulus", what=what)
        return array.transpose(*more, "stimulus")
    check_labels(array, "model", "stimulus", what=what)
    wanted = alignment.indexes["model_a"]
    missing = wanted[~wanted.isin(array.indexes["model"])]
    if len(missing):
        raise SchemaError(
            f"{what} has no model {listing(missing)}, which alignment has as 'model_a'"
        )
    mine = on_side(take(array, "model", wanted), "model", "_a")
    return mine.transpose(*more, "model_a", "stimulus")


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
