"""Which model is nearest to a brain, over all stimuli and by dispersion?"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.kernels import model_comparison as kernels
from xconverge.kernels.ranks import quantile_bins
from xconverge.kernels.split_half import halves
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_representations, group_numbers
from xconverge.labels.joins import Join, join_labels, natural_rank
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import MEASURES
from xconverge.measures.layers import networks
from xconverge.measures.rdm import METHODS, join_rdms, make_rdm
from xconverge.study.leave_out import dispersion_without
from xconverge.study.selection.prediction import cross_modal_prediction

SUBSET = "subset"
PER_MODEL = (
    "rsa", "standard_error", "lower", "upper", "p_value", "p_value_max_t", "ceiling_lower",
    "ceiling_upper",
)  # fmt: skip
PER_PAIR = ("difference", "difference_p_value", "difference_p_value_max_t")


def select_models(
    reps: xr.DataArray,
    target: xr.DataArray,
    by: xr.DataArray | None = None,
    *,
    other: xr.DataArray | None = None,
    measure: str = "neighborhood",
    leave_out: str | None = None,
    k: int = 10,
    n_components: int | None = None,
    n_bins: int = 3,
    metric: str = "correlation",
    method: str = "spearman",
    over: Literal["stimulus", "both"] = "stimulus",
    level: float = 0.95,
    n_permutations: int = 1000,
    n_draws: int = 10_000,
    n_splits: int = 20,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Rank the models of one modality by their RSA with a brain, in each bin of dispersion.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature). Layers of one network, a dim ``layer`` or models with the same
        value of the coordinate ``network``, become one row of the result.
    target : DataArray
        What the models are to be like: RDMs (stimulus, stimulus_2), with ``subject`` where there
        are several, or vectors (stimulus, feature), with ``subject``. Extra dims (``region`` …)
        are mapped over. A brain, behaviour, or a model of another modality.
    by : DataArray, optional
        Dispersion (stimulus) or (model, stimulus) that makes the bins; by default ``measure`` of
        the *other* models, a set of bins for each model.
    other : DataArray, optional
        (model, stimulus, feature): another modality on the stimuli of ``reps``. With it the result
        says whether cross-modal alignment, over all stimuli or those of low dispersion, predicts
        ``rsa``: the variables of ``cross_modal_prediction`` with the prefix ``prediction_``.
    measure : str
        Any metric of ``dispersion``; a shared space is made of the other models alone.
    leave_out : str, optional
        Model coordinate (``family`` …) of what is left out of dispersion with the model that is
        ranked; by default its network, or itself.
    k, n_components : int
        Of ``measure``, as in ``leave_out_modulation``; ``k`` also of mutual-kNN with ``other``.
    n_bins : int
        Quantile bins of dispersion.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli.
    method : {"spearman", "pearson", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``.
    over : {"stimulus", "both"}
        What errors and tests of differences generalise to: other stimuli, or other stimuli and
        other subjects.
    level : float
        Coverage asked for; ``among_best`` tests at 1 - level.
    n_permutations : int
        Permutations of the target's stimulus labels behind the p-values, 0 for none.
    n_draws : int
        Draws behind p-values that are corrected for the number of differences.
    n_splits : int
        Random halves of the stimuli on which layers, and the best model, are chosen.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those that all have.
    pair_on : str or (str, str), optional
        To pair by a stimulus coordinate instead of the labels, as ``pair`` does; two names are
        those of ``reps`` and of ``target``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
        ``by`` and ``other`` carry the labels of one side, or those of the pairing, or have the
        coordinate too.
    rng : Generator, int or None
        Source of permutations, draws and halves, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``subset``: ``all`` stimuli, ``bin 0`` of the lowest dispersion, and so on.

        * (model, subset): ``rsa``, the mean over subjects of the similarity with each, in [-1, 1];
          ``rank``, 1 the best; ``standard_error``, ``lower``, ``upper``; ``p_value``,
          (1 + #{null ≥ observed}) / (1 + n_permutations), and ``p_value_max_t``, corrected for the
          choice among the models; ``ceiling_lower`` and ``ceiling_upper``, the noise ceiling of
          these stimuli, NaN for one subject; ``n_stimuli``; ``among_best``, whether no model is
          significantly better.
        * (model, model_2, subset): ``difference`` of the rsa, its two-sided
          ``difference_p_value``, and ``difference_p_value_max_t``, corrected for all pairs of
          models in the subset.
        * (subset): ``best``, and ``best_rsa_heldout``: what the best model on one half of the
          stimuli scores on the other half, mean over splits, without the optimism of a choice.
        * (layer): with several layers per network, ``layer_share``, how often each was chosen.

    Warns
    -----
    RuntimeWarning
        Bins that cannot be made, because a model has fewer than 2 others or too few stimuli have a
        dispersion; subsets of fewer than 3 stimuli (no score) or 10 (no error): NaN, by name.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; RDMs that are not symmetric, or miss single pairs; faulty rows.

    Notes
    -----
    A stimulus counts for a model if the model, all layers of its network, and every subject have
    it; ``n_stimuli`` says how many those are. Bins differ between models, because each has the
    dispersion of the others: read a difference in a bin with ``n_stimuli`` and the ceilings.

    Variance over stimuli is that of the jackknife, with the ranks of all stimuli: RSA is a function
    of U-statistics, and leaving out one stimulus takes row sums only (Arvesen 1969). With
    ``over="both"`` the variance between subjects is added, which counts what lies between stimuli
    and subjects twice, so that intervals are rather wide. Differences are corrected by draws of the
    jackknife's values with random weights (Chernozhukov et al. 2013). P-values against chance are
    Mantel's: target labels permuted, alike for all models.

    Layers are chosen over all stimuli of one half, scored on the other half, and the other way
    around; so a score rests on half as many stimuli at a time. With layers, twice the median of
    the splits' p-values is the p-value (Meinshausen et al. 2009).

    How often the best model is found, and how often intervals hold the truth: see
    ``docs/calibration.md``. Nili et al. (2014) for ceilings; Schütt et al. (2023). Everything is
    computed in memory: an RDM a model and subject.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=4, rng=0)
    >>> brain = study["language"].isel(model=[0]).rename(model="subject")
    >>> table = select_models(study["vision"], brain, n_permutations=99, rng=0)
    >>> table["rsa"].dims, table["subset"].values.tolist()
    (('model', 'subset'), ['all', 'bin 0', 'bin 1', 'bin 2'])
    >>> low, high = table["rsa"].mean("model").sel(subset=["bin 0", "bin 2"]).values
    >>> bool(low > high)
    True
    """
    refuse_keep(repeats, "select_models")
    reps, target, by, other = paired(pair_on, repeats, reps=reps, target=target, by=by, other=other)
    _check(measure, method, over, n_bins, level, n_permutations, n_draws, n_splits)
    named: dict[str, Any] = {"model": "model", "stimulus": "stimulus", "feature": "feature"}
    if "layer" in getattr(reps, "dims", ()):
        reps = networks(reps, "reps")
    reps = check_representations(reps)
    target = _target_rdms(target, metric)
    reps, target, dropped = _joined(reps, target, join)
    layered = (
        "network" in reps.coords and len(set(reps.coords["network"].values)) < reps.sizes["model"]
    )
    if layered and other is not None:
        raise SchemaError(
            "other=… needs one model a network: choose the layers first (layer_share), or call "
            "cross_modal_prediction with an alignment of networks"
        )
    owner, names = group_numbers(reps, "network" if layered else "model")
    without = leave_out or ("network" if layered else "model")
    if by is None:
        by = dispersion_without(reps, measure, without, k, n_components).compute()
        by = by.reset_coords(drop=True)
    spread, more = _by_model(by, reps, join)
    reps = reps.sel({"stimulus": spread.indexes["stimulus"]})
    second = "stimulus_2"
    labels = {
        "stimulus": spread.indexes["stimulus"],
        second: spread.indexes["stimulus"].rename(second),
    }
    target = target.sel(labels).compute()
    models = make_rdm(reps, metric).compute()
    members, few = _members(models, target, spread, owner, n_bins)
    rank = natural_rank(reps.indexes["stimulus"])
    seeds = np.random.default_rng(rng).integers(2**63, size=3)
    split = halves(rank, int(seeds[0]), n_splits)
    result_dims = ["_network", SUBSET]
    pair_dims = ["_network", "_network_2", SUBSET]
    parts = apply(
        kernels.rank_models,
        models.rename({"model": "_layer"}),
        target,
        members,
        xr.DataArray(owner, dims="_layer"),
        xr.DataArray(rank, dims="stimulus"),
        xr.DataArray(split, dims=("_split", "stimulus")),
        core=[
            ["_layer", "stimulus", second], ["subject", "stimulus", second],
            ["_network", SUBSET, "stimulus"], ["_layer"], ["stimulus"], ["_split", "stimulus"],
        ],
        out=[result_dims] * len(PER_MODEL) + [pair_dims] * len(PER_PAIR) + [["_layer"], [SUBSET]],
        sizes={"_network_2": len(names)},
        dtypes=[np.float64] * (len(PER_MODEL) + len(PER_PAIR) + 2),
        method=METHODS[method].function,
        subjects=over == "both",
        level=level,
        n_permutations=n_permutations,
        n_draws=n_draws,
        seed=int(seeds[1]),
    )  # fmt: skip
    _warn(members, few, names)
    parameters = {
        "metric": method, "rdm_metric": metric, "over": over, "level": level,
        "n_permutations": n_permutations, "n_splits": n_splits, "n_dropped": dropped + more,
        "n_subjects": target.sizes["subject"], "dispersion_metric": by.attrs.get("metric"),
        "dispersion_without": by.attrs.get("leave_out"), **told_of(pair_on, repeats),
    }  # fmt: skip
    table = xr.Dataset(dict(_described(parts, members, level, parameters)))
    table = table.rename(_network="model", _network_2="model_2").assign_coords(
        {"model": names, "model_2": names, SUBSET: _subsets(n_bins)}
    )
    table = _with_best(table, parameters)
    if layered:
        share = describe(parts[-2], "layer_share", **parameters).rename(_layer="layer")
        labels_of = {"layer": reps.indexes["model"].to_numpy(), "network": ("layer", names[owner])}
        return table.assign(layer_share=share.assign_coords(labels_of))
    table = table.assign_coords(_model_coords(reps))
    if other is None:
        return table
    agreement = alignment(reps, other, "mutual_knn", k=k, join=join, **named)
    found = cross_modal_prediction(
        agreement, by, table["rsa"].sel({SUBSET: "all"}, drop=True), n_bins=n_bins, level=level, n_permutations=n_permutations, join=join, rng=int(seeds[2]))  # fmt: skip
    return table.merge(found.rename({name: f"prediction_{name}" for name in found.data_vars}))


def _check(
    measure: str,
    method: str,
    over: str,
    n_bins: int,
    level: float,
    n_permutations: int,
    n_draws: int,
    n_splits: int,
) -> None:
    choose("measure", measure, MEASURES)
    choose("method", method, [name for name, row in METHODS.items() if row.function.vector])
    choose("over", over, ["stimulus", "both"])
    if n_bins < 1 or not 0 < level < 1 or n_permutations < 0 or n_draws < 1 or n_splits < 1:
        raise ValueError(
            f"n_bins={n_bins}, n_draws={n_draws} and n_splits={n_splits} must be at least 1, "
            f"level={level} between 0 and 1, n_permutations={n_permutations} at least 0"
        )


def _target_rdms(target: xr.DataArray, metric: str) -> xr.DataArray:
    """RDMs (…, subject, stimulus, stimulus_2); one without a subject is the only one."""
    if isinstance(target, xr.DataArray) and "stimulus_2" not in target.dims:
        target = make_rdm(target, metric, "target")
    if "model" in getattr(target, "dims", ()):
        raise SchemaError(
            "target has the dim 'model': .rename(model='subject') to average over it, or choose "
            "one with .sel(model=…)"
        )
    target, _, _ = join_rdms(target, target, "exact")
    if "subject" not in target.dims:
        target = target.drop_vars("subject", errors="ignore").expand_dims({"subject": ["target"]})
    if "subject" in target.indexes:
        target = target.isel({"subject": np.argsort(natural_rank(target.indexes["subject"]))})
    return target.reset_coords(drop=True)


def _joined(
    reps: xr.DataArray, target: xr.DataArray, join: Join
) -> tuple[xr.DataArray, xr.DataArray, int]:
    reps, same, dropped = join_labels(reps, target, "stimulus", join, ("reps", "target"))
    second = "stimulus_2"
    common = reps.indexes["stimulus"]
    return reps, same.sel({second: common.rename(second)}), dropped


def _by_model(by: xr.DataArray, reps: xr.DataArray, join: Join) -> tuple[xr.DataArray, int]:
    """Dispersion (model, stimulus) of every model of ``reps``, over the stimuli of both."""
    if set(by.dims) not in ({"stimulus"}, {"model", "stimulus"}):
        raise SchemaError(
            "by must have the dim 'stimulus', and 'model' if it differs between models; it "
            f"has {list(map(str, by.dims))}"
        )
    _, by, dropped = join_labels(reps, by, "stimulus", join, ("reps", "by"))
    wanted = reps.indexes["model"]
    if "model" not in by.dims:
        by = by.expand_dims({"model": wanted})
    missing = wanted[~wanted.isin(by.indexes["model"])]
    if len(missing):
        raise SchemaError(f"by has no model {listing(missing)}, which reps has")
    return by.sel({"model": wanted}).transpose("model", "stimulus").compute(), dropped


def _subsets(n_bins: int) -> list[str]:
    return ["all", *(f"bin {number}" for number in range(n_bins))]


def _members(
    models: xr.DataArray, target: xr.DataArray, spread: xr.DataArray, owner: Array, n_bins: int
) -> tuple[xr.DataArray, Array]:
    """Which stimuli (network, subset, stimulus) are in a subset, and which networks have no bins.

    Those that all layers of a network and all subjects have.
    """
    second = "stimulus_2"
    off = xr.DataArray(~np.eye(models.sizes["stimulus"], dtype=bool), dims=("stimulus", second))
    there = [(side.notnull() & off).any(second) for side in (models, target)]
    seen = there[0].transpose("model", "stimulus").values
    brain = there[1].all([dim for dim in there[1].dims if dim != "stimulus"]).values
    count = owner.max() + 1
    members = np.zeros((count, n_bins + 1, len(brain)), bool)
    few = np.zeros(count, bool)
    for g in range(count):
        own = owner == g
        members[g, 0] = seen[own].all(0) & brain
        values = np.where(members[g, 0], spread.values[own][0], np.nan)
        few[g] = np.isfinite(values).sum() < n_bins
        if not few[g]:
            bins, _ = quantile_bins(values.astype(np.float64), n_bins)
            members[g, 1:] = bins == np.arange(n_bins)[:, None]
    return xr.DataArray(members, dims=("_network", SUBSET, "stimulus")), few


def _warn(members: xr.DataArray, few: Array, names: Array) -> None:
    """Say which models have no bins, no score or no error."""
    sizes = members.values.sum(2)
    messages = []
    if few.any():
        messages.append(
            f"no bins for {listing(names[few])}: too few of its stimuli have a dispersion, which "
            "needs at least 2 other models (give by=… from elsewhere)"
        )
    for least, what in ((kernels.LEAST, "score"), (kernels.ENOUGH, "standard error")):
        small = (sizes < least).any(1) & ~few
        if small.any():
            messages.append(
                f"a {what} needs at least {least} stimuli; {listing(names[small])} has subsets of "
                f"{sorted(set(sizes[small][sizes[small] < least].tolist()))}"
            )
    for message in messages:
        warnings.warn(f"{message}: NaN", RuntimeWarning, stacklevel=3)


def _described(
    parts: Any, members: xr.DataArray, level: float, parameters: dict[str, Any]
) -> Iterator[tuple[str, xr.DataArray]]:
    found = dict(zip(PER_MODEL + PER_PAIR, parts, strict=False))
    for name, value in found.items():
        yield name, describe(value, name, **parameters)
    yield "best_rsa_heldout", describe(parts[-1], "best_rsa_heldout", **parameters)
    yield "n_stimuli", describe(members.sum("stimulus"), "n_stimuli", **parameters)
    score = found["rsa"]
    order = apply(kernels.places, score, core=[["_network"]], out=[["_network"]])
    yield "rank", describe(order.transpose(*score.dims), "rank", **parameters)
    worse = (found["difference"] < 0) & (found["difference_p_value_max_t"] <= 1 - level)
    among = ~worse.any("_network_2") & score.notnull()
    yield "among_best", describe(among, "among_best", **parameters)


def _model_coords(reps: xr.DataArray) -> dict[Hashable, tuple[str, Array]]:
    """What else is known of the models: family and so on."""
    return {
        name: ("model", coord.values)
        for name, coord in reps.coords.items()
        if coord.dims == ("model",) and name not in ("model", "n_features")
    }


def _with_best(table: xr.Dataset, parameters: dict[str, Any]) -> xr.Dataset:
    """The table with the name of the best model of each subset, empty where none has a score."""
    score = table["rsa"]
    place = score.fillna(-np.inf).argmax("model")
    named = xr.DataArray(np.asarray(table.indexes["model"], dtype=object), dims="_name")
    best = named.isel(_name=place).where(score.notnull().any("model"), "")
    return table.assign(
        best=describe(best.drop_vars("model", errors="ignore"), "best", **parameters)
    )
