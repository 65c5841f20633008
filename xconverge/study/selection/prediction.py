"""What dispersion adds: does agreement on some stimuli predict a score of the models better?"""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.families import each_family, family_mean
from xconverge.engine.pair import pairing_attrs, refuse_repeats
from xconverge.engine.resampling import DRAW, seed_of
from xconverge.inference.multiplicity import Family, adjusted
from xconverge.inference.nulls import Geometry, Groups, null_of
from xconverge.kernels import prediction as kernels
from xconverge.kernels.ranks import empty_bins, rows_in_bins
from xconverge.labels.arguments import check_seed, real, whole
from xconverge.labels.checks import check_only, check_per_model, check_scores
from xconverge.labels.coordinates import set_aside
from xconverge.labels.families import families
from xconverge.labels.joins import join_labels, natural_rank
from xconverge.labels.messages import listing
from xconverge.labels.variables import described
from xconverge.study.bins import SUBSET, subset_labels, tell_merged

ONE_LAYER = (
    "agreement has several layers of a network: choose the one that the score is of, with "
    ".sel(model_a=[…]), and name it as the score does"
)
OUT = (
    "correlation", "p_value", "gain", "gain_lower", "gain_upper", "random_correlation",
    "gain_p_value",
)  # fmt: skip


def cross_modal_prediction(
    agreement: xr.DataArray,
    dispersion: xr.DataArray,
    score: xr.DataArray,
    *,
    geometry: Geometry = (),
    groups: Groups = (),
    blocks: str | xr.DataArray | None = None,
    null: str | None = None,
    n_bins: int = 3,
    n_permutations: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Does agreement on stimuli of low dispersion order the models as a brain does, and better?

    Parameters
    ----------
    agreement : DataArray
        (model_a, model_b, stimulus): per-stimulus ``alignment`` of the models with another
        modality; averaged over model_b, which may be absent.
    dispersion : DataArray
        (stimulus), or (model, stimulus) as ``dispersion(leave_out=…)`` gives it.
    score : DataArray
        (model): what is to be predicted, the overall RSA with a brain say
        (``select_models(…)["rsa"].sel(subset="all")``), of the same models; it may rest on other
        stimuli.
    geometry, groups, blocks
        As in ``modulation``.
    null : {"surrogates", "blocks", "labels"}, optional
        What the gain of a bin is compared with: bins of maps that are drawn from the mixed model of
        dispersion, the default with ``geometry`` or ``groups``; bins of blocks that change places;
        or random subsets of as many stimuli, with a warning where not asked for.
    n_bins : int
        Quantile bins of dispersion.
    n_permutations : int
        Permutations behind the p-values, and draws of models behind the ends; 0 for none.
    level : float
        Share of the draws of models between ``gain_lower`` and ``gain_upper``.
    rng : Generator, int or None
        Source of permutations and draws, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``subset`` (``all``, ``1 of 3`` the bin of lowest dispersion, …):
        ``agreement_by_subset`` (model, subset), the predictor; ``correlation``, Spearman's over the
        models with ``score``; ``p_value``, two-sided, models permuted; ``gain``, the correlation
        less that over all stimuli; ``gain_lower`` and ``gain_upper``, quantiles over models drawn
        again; ``random_correlation``, the mean over subsets as large as the bin, drawn by the
        null; ``gain_p_value``, two-sided, whether the bin predicts otherwise than those. Both
        p-values also corrected for the number of subsets, as in ``modulation``. ``n_effective``,
        ``moran_i`` and ``dispersion_moran_i`` as in ``modulation``, of means over models.

    Warns
    -----
    RuntimeWarning
        Fewer than 4 models: all NaN. Models without agreement in a bin: NaN there, which is also
        what bins are that equal dispersions have merged into those below (``dispersion_bins``), in
        ``attrs["merged_bins"]``. Dispersions that are all equal make no bins.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match.

    Notes
    -----
    Layers of one network (models with the same ``network_a``, else ``subject_a``) are one model, at
    their mean agreement, dispersion and score. Where the score is that of the network, by its best
    layer say, choose this layer in the agreement too.

    A mean over a third of the stimuli is noisier than over all, and correlates less for that
    reason: hence the comparison with random subsets, where exchangeable is which stimulus is in
    which bin, the models fixed. ``p_value`` and the ends ask about other models of the same kind;
    with ten models they tell little. Quantiles over draws of few models are rough.

    Examples
    --------
    >>> import xarray as xr
    >>> from xconverge import alignment, dispersion
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=5, rng=0)
    >>> agreement = alignment(study["vision"], study["language"])
    >>> spread = dispersion(study["vision"], "neighborhood", leave_out="model")
    >>> score = agreement.mean(["model_b", "stimulus"]).rename(model_a="model")
    >>> sides = study["vision"], study["language"]
    >>> table = cross_modal_prediction(agreement, spread, score, geometry=sides, n_permutations=99,
    ...     rng=0)
    >>> float(table["correlation"].sel(subset="all").round(6))
    1.0
    """
    refuse_repeats("cross_modal_prediction", agreement, dispersion)
    whole("n_bins", n_bins, 1)
    whole("n_permutations", n_permutations, 0)
    real("level", level, above=0, below=1)
    check_seed(rng)
    dispersion = check_per_model(dispersion, "dispersion")
    shares, spread, score = _joined(agreement, dispersion, score)
    values, ranked_by = shares.values, spread.values.astype(np.float64)
    # a stimulus that a model never saw is in none of its bins
    bins = rows_in_bins(np.where(np.isnan(values), np.nan, ranked_by), n_bins)
    merged = empty_bins(bins, n_bins)
    tell_merged(merged, n_bins, "dispersion")
    # one bin of all is no bin: its gain over all would be 0 by construction
    bins[(bins < 1).all(1)] = -1
    seed, stream = seed_of(rng)
    chosen = null_of(
        null, (shares,), usual="surrogates", geometry=geometry, groups=groups, blocks=blocks,
        made_from=(dispersion, agreement),
    )  # fmt: skip
    arrays, core = chosen.dealing(spread.drop_vars("model").compute())
    means, *parts = apply(
        kernels.prediction,
        xr.DataArray(values, dims=("model", "stimulus")),
        xr.DataArray(bins, dims=("model", "stimulus")),
        score.drop_vars(score.coords).compute(),
        xr.DataArray(ranked_by, dims=("model", "stimulus")),
        xr.DataArray(natural_rank(shares.indexes["model"]), dims="model"),
        *arrays,
        core=[["model", "stimulus"]] * 2 + [["model"], ["model", "stimulus"], ["model"], *core],
        out=[[SUBSET, "model"], *[[SUBSET]] * len(OUT), *[[DRAW, SUBSET]] * 2],
        sizes={SUBSET: n_bins + 1, DRAW: 1 + n_permutations},
        dtypes=[np.float64] * (3 + len(OUT)),
        null=chosen.name,
        n_bins=n_bins,
        n_permutations=n_permutations,
        level=level,
        seed=stream,
    )
    if parts[OUT.index("correlation")].isnull().any():
        unscored = shares.indexes["model"][np.isnan(means.values).any(0)]
        warnings.warn(
            f"a correlation over models needs at least {kernels.LEAST} that differ, there are "
            f"{len(score)}; without agreement in a bin: {listing(unscored) or 'none'}: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    *parts, permuted, gains = parts
    found = dict(zip(OUT, parts, strict=True))
    family = Family((SUBSET,))
    for draws, prefix in ((permuted, ""), (gains, "gain_")):
        found |= adjusted(
            draws, found[f"{prefix}p_value"], family, tail="two-sided", prefix=prefix,
            tell=not prefix,
        )  # fmt: skip
    return described(
        {
            "agreement_by_subset": means.transpose("model", SUBSET),
            **found,
            **chosen.told(spread.mean("model"), shares.mean("model")),
        },
        metric="spearman",
        **chosen.attrs,
        n_bins=n_bins,
        merged_bins=merged or None,
        n_permutations=n_permutations,
        level=level,
        n_models=len(score),
        alignment_metric=agreement.attrs.get("metric"),
        dispersion_metric=dispersion.attrs.get("metric"),
        dispersion_without=dispersion.attrs.get("leave_out"),
        seed=seed,
        **pairing_attrs(agreement, dispersion),
    ).assign_coords({"model": shares.indexes["model"], SUBSET: subset_labels(n_bins)})


def _joined(
    agreement: xr.DataArray, dispersion: xr.DataArray, score: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Agreement and dispersion (model, stimulus) and score (model), of the same labels."""
    shares = check_scores(agreement, "model_a", "stimulus", what="agreement")
    of = families(shares, "model_a")
    if "model_b" in shares.dims:
        shares = family_mean(shares, ["model_b"])
    shares = shares.drop_vars(set(shares.coords) - set(shares.dims)).rename({"model_a": "model"})
    score = check_only(score, "model", what="score")
    cure = ONE_LAYER if of.several else None
    shares, score, _ = join_labels(shares, score, "model", "exact", ("agreement", "score"), cure)
    names = ("agreement", "dispersion")
    shares, spread, _ = join_labels(shares, dispersion, "stimulus", "exact", names)
    if "model" in spread.dims:
        shares, spread, _ = join_labels(shares, spread, "model", "exact", names)
    else:
        spread = set_aside(spread, ["model"]).expand_dims({"model": shares.indexes["model"]})
    dims = ("model", "stimulus")
    shares, spread, score = (each_family(one, of) for one in (shares, spread, score))
    return shares.transpose(*dims), spread.transpose(*dims), score
