"""What dispersion adds: does agreement on some stimuli predict a score of the models better?"""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.kernels import prediction as kernels
from xconverge.kernels.ranks import quantile_bins
from xconverge.labels.checks import check_dims, check_labels, check_only
from xconverge.labels.joins import Join, join_labels, natural_rank
from xconverge.labels.messages import listing
from xconverge.labels.variables import describe

SUBSET = "subset"
OUT = (
    "correlation", "p_value", "gain", "gain_lower", "gain_upper", "random_correlation",
    "gain_p_value",
)  # fmt: skip


def cross_modal_prediction(
    agreement: xr.DataArray,
    dispersion: xr.DataArray,
    score: xr.DataArray,
    *,
    n_bins: int = 3,
    n_permutations: int = 1000,
    level: float = 0.95,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
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
    n_bins : int
        Quantile bins of dispersion.
    n_permutations : int
        Permutations behind the p-values, and draws of models behind the ends; 0 for none.
    level : float
        Share of the draws of models between ``gain_lower`` and ``gain_upper``.
    join : {"exact", "inner"}
        Refuse stimuli that differ between agreement and dispersion, or keep those in both.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``agreement`` and of ``dispersion``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
    rng : Generator, int or None
        Source of permutations and draws, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``subset`` (``all``, ``bin 0`` the lowest dispersion, …):
        ``agreement_by_subset`` (model, subset), the predictor; ``correlation``, Spearman's over the
        models with ``score``; ``p_value``, two-sided, models permuted; ``gain``, the correlation
        less that over all stimuli; ``gain_lower`` and ``gain_upper``, quantiles over models drawn
        again; ``random_correlation``, the mean over random subsets as large as the bin;
        ``gain_p_value``, two-sided, whether the bin predicts otherwise than those.

    Warns
    -----
    RuntimeWarning
        Fewer than 4 models, or models without agreement in a bin: all NaN.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; bins that cannot be made.

    Notes
    -----
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
    >>> found = cross_modal_prediction(agreement, spread, score, n_permutations=99, rng=0)
    >>> float(found["correlation"].sel(subset="all").round(6))
    1.0
    """
    refuse_keep(repeats, "cross_modal_prediction")
    agreement, dispersion = paired(pair_on, repeats, agreement=agreement, dispersion=dispersion)
    if n_bins < 1 or n_permutations < 0 or not 0 < level < 1:
        raise ValueError(
            f"n_bins={n_bins} must be at least 1, n_permutations={n_permutations} at least 0 and "
            f"level={level} between 0 and 1"
        )
    side, aside = "model_a", "model_b"
    agreement = check_dims(agreement, side, "stimulus", what="agreement")
    check_labels(agreement, side, "stimulus", what="agreement")
    if aside in agreement.dims:
        agreement = agreement.mean(aside)
    agreement = agreement.reset_coords(drop=True).rename({side: "model"})
    score = check_only(score, "model", what="score")
    agreement, score, _ = join_labels(agreement, score, "model", "exact", ("agreement", "score"))
    agreement, spread, dropped = join_labels(
        agreement, dispersion, "stimulus", join, ("agreement", "dispersion")
    )
    if "model" in spread.dims:
        agreement, spread, _ = join_labels(
            agreement, spread, "model", "exact", ("agreement", "dispersion")
        )
    else:
        spread = spread.expand_dims({"model": agreement.indexes["model"]})
    values = agreement.transpose("model", "stimulus").values
    there = spread.transpose("model", "stimulus").values.astype(np.float64)
    bins = np.stack(
        [
            quantile_bins(np.where(np.isnan(one), np.nan, row), n_bins)[0]
            for one, row in zip(values, there, strict=True)
        ]
    )
    seed = int(np.random.default_rng(rng).integers(2**63))
    means, *parts = apply(
        kernels.prediction,
        xr.DataArray(values, dims=("model", "stimulus")),
        xr.DataArray(bins, dims=("model", "stimulus")),
        score.drop_vars(score.coords).compute(),
        xr.DataArray(natural_rank(agreement.indexes["stimulus"]), dims="stimulus"),
        xr.DataArray(natural_rank(agreement.indexes["model"]), dims="model"),
        core=[["model", "stimulus"]] * 2 + [["model"], ["stimulus"], ["model"]],
        out=[[SUBSET, "model"], *[[SUBSET]] * len(OUT)],
        sizes={SUBSET: n_bins + 1},
        dtypes=[np.float64] * (1 + len(OUT)),
        n_bins=n_bins,
        n_permutations=n_permutations,
        level=level,
        seed=seed,
    )
    correlation = parts[0]
    if correlation.isnull().any():
        lost = agreement.indexes["model"][np.isnan(means.values).any(0)]
        warnings.warn(
            f"a correlation over models needs at least {kernels.LEAST} that differ, there are "
            f"{len(score)}; without agreement in a bin: {listing(lost) or 'none'}: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    parameters = {
        "metric": "spearman", "n_permutations": n_permutations, "level": level,
        "n_models": len(score), "n_dropped": dropped,
        "dispersion_metric": dispersion.attrs.get("metric"),
        "dispersion_without": dispersion.attrs.get("leave_out"), **told_of(pair_on, repeats),
    }  # fmt: skip
    table = {name: describe(one, name, **parameters) for name, one in zip(OUT, parts, strict=True)}
    predictor = describe(means.transpose("model", SUBSET), "agreement_by_subset", **parameters)
    return xr.Dataset({"agreement_by_subset": predictor, **table}).assign_coords(
        {"model": agreement.indexes["model"], SUBSET: ["all", *(f"bin {i}" for i in range(n_bins))]}
    )
