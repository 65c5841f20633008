"""Which model is nearest to a brain, over all stimuli and by dispersion?"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.names import marked
from xconverge.engine.pair import pairing_attrs, refuse_repeats
from xconverge.engine.resampling import DRAW, seed_of
from xconverge.inference.multiplicity import Over, family_of, tell_short
from xconverge.kernels import model_comparison as kernels
from xconverge.kernels.multiplicity import max_adjusted
from xconverge.kernels.ranks import quantile_bins
from xconverge.kernels.rsa import differs
from xconverge.kernels.split_half import halves
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed, real, whole
from xconverge.labels.checks import check_per_model, check_representations
from xconverge.labels.coordinates import carried, set_aside
from xconverge.labels.families import Families, as_subjects, families
from xconverge.labels.joins import join_all, join_extra, natural_rank
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe, described
from xconverge.measures.layers import networks
from xconverge.measures.rdm import DISTANCES, make_rdm
from xconverge.measures.rsa import METHODS
from xconverge.study.bins import SUBSET, subset_labels, tell_merged
from xconverge.study.leave_out import dispersion_of_others
from xconverge.study.noise_correction import ceilings, trials_of, trials_or_rdms

PER_MODEL = (
    "rsa", "standard_error", "lower", "upper", "p_value", "ceiling_lower", "ceiling_upper",
)  # fmt: skip
PER_PAIR = ("difference", "difference_p_value", "_reached")
FURTHER = ("_most", "_null", "layer_share", "best_rsa_heldout")


def select_models(
    reps: xr.DataArray,
    target: xr.DataArray,
    dispersion: xr.DataArray | None = None,
    *,
    n_bins: int = 3,
    rdm_metric: str = "correlation",
    method: str = "spearman",
    over: Literal["stimulus", "both"] = "stimulus",
    level: float = 0.95,
    corrected_over: Over = None,
    n_permutations: int = 1000,
    n_draws: int = 10_000,
    n_splits: int = 20,
    noise: Any = None,
    unit: str = "repetition",
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
        are mapped over. A brain, behaviour, or a model of another modality. Models that have the
        coordinate ``subject``, one each, or one of each ``region``, are taken for subjects. Of
        trials, with ``repetition``, the ``crossnobis`` RDM.
    dispersion : DataArray, optional
        (stimulus) or (model, stimulus), as ``dispersion(leave_out=…)`` gives it: makes the bins.
        By default the neighbourhood dispersion among the *other* networks, a set of bins for each
        model: no model chooses the stimuli that it is judged by. For coordinate metrics
        ``xconverge.study.leave_out.dispersion_of_others`` fits a space to the others alone.
    n_bins : int
        Quantile bins of dispersion.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli.
    method : {"spearman", "pearson", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``.
    over : {"stimulus", "both"}
        What errors and tests of differences generalise to: other stimuli, or other stimuli and
        other subjects.
    level : float
        Coverage asked for; ``among_best`` tests at 1 - level.
    corrected_over : str or sequence of str, optional
        Dims whose tests are corrected for together, besides the models, which always are: by
        default all, ``subset`` and extra dims (``region`` …).
    n_permutations : int
        Permutations of the target's stimulus labels behind the p-values, 0 for none.
    n_draws : int
        Draws behind p-values that are corrected for the number of differences.
    n_splits : int
        Random halves of the stimuli on which layers, and the best model, are chosen; and of
        repetitions.
    noise, unit
        Of trials, as in ``binned_rsa``. A model that is the brain has an RSA of 1 without noise
        only where ``rdm_metric`` is of the kind of ``crossnobis``: ``"sqeuclidean"``.
    rng : Generator, int or None
        Source of permutations, draws and halves, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``subset``: ``all`` stimuli, ``1 of 3`` of the lowest dispersion, and so on.

        * (model, subset): ``rsa``, the mean over subjects of the similarity with each, in [-1, 1];
          ``rank``, 1 the best; ``standard_error``, ``lower``, ``upper``; ``p_value``,
          (1 + #{null ≥ observed}) / (1 + n_permutations), and ``p_value_max_t``, corrected for the
          choice among models, subsets and extra dims; ``ceiling_lower`` and ``ceiling_upper``, the
          noise ceiling of these stimuli, NaN for one subject; ``n_stimuli``; ``among_best``,
          whether no model is significantly better. Of trials with ``method="pearson"`` also
          ``trial_ceiling``, the mean over subjects of the RSA that a true model without noise would
          have, and ``rsa_corrected``, ``rsa`` / ``trial_ceiling``; NaN where repetitions do not
          suffice (``binned_rsa``).
        * (model, model_2, subset): ``difference`` of the rsa, its two-sided
          ``difference_p_value``, and ``difference_p_value_max_t``, corrected for all pairs of
          models, subsets and extra dims.
        * (subset): ``best``, and ``best_rsa_heldout``: what the best model on one half of the
          stimuli scores on the other half, mean over splits, without the optimism of a choice.
        * (layer): with several layers per network, ``layer_share``, how often each was chosen, with
          their coordinates (``layer`` of the input is ``layer_name``).

    Warns
    -----
    RuntimeWarning
        Fewer permutations than a p-value of 1 - level needs.
        Bins that cannot be made, because a model has fewer than 2 others or too few stimuli have a
        dispersion; bins that are merged for equal dispersions (``dispersion_bins``), which
        ``attrs["merged_bins"]`` lists; subsets of fewer than 3 stimuli (no score) or 10 (no error):
        NaN, by name.
        Subjects without distances, or with equal ones alone: left out, by name.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; RDMs that are not symmetric, or miss single pairs; faulty rows.

    Notes
    -----
    A stimulus counts for a model if the model, all layers of its network, and every subject have
    it (layers and subjects that have none at all do not count); ``n_stimuli`` says how many those
    are. Bins differ between models, because each has the dispersion of the others: read a
    difference in a bin with ``n_stimuli`` and the ceilings.

    Variance over stimuli is that of the jackknife, with the ranks of all stimuli: RSA is a function
    of U-statistics, and leaving out one stimulus takes row sums only (Arvesen 1969). With
    ``over="both"`` the variance between subjects is added, which counts what lies between stimuli
    and subjects twice, so that intervals are rather wide. Differences are corrected by draws of the
    jackknife's values with random weights (Chernozhukov et al. 2013). P-values against chance are
    Mantel's: target labels permuted, alike for all models.

    Layers are chosen over all stimuli of one half, scored on the other half, and the other way
    around; so a score rests on half as many stimuli at a time. With layers, twice the median of
    the splits' p-values is the p-value (Meinshausen et al. 2009).

    Whether cross-modal alignment would have ordered the models alike, over all stimuli or those of
    low dispersion, is asked of ``rsa`` by ``cross_modal_prediction``.

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
    (('model', 'subset'), ['all', '1 of 3', '2 of 3', '3 of 3'])
    >>> low, high = table["rsa"].mean("model").sel(subset=["1 of 3", "3 of 3"]).values
    >>> bool(low > high)
    True
    """
    refuse_repeats("select_models", reps, target, dispersion)
    choose("method", method, [name for name, row in METHODS.items() if row.make.vector])
    choose("over", over, ["stimulus", "both"])
    choose("rdm_metric", rdm_metric, DISTANCES)
    for name, value in (("n_bins", n_bins), ("n_draws", n_draws), ("n_splits", n_splits)):
        whole(name, value, 1)
    whole("n_permutations", n_permutations, 0)
    real("level", level, above=0, below=1)
    check_seed(rng)
    reps = check_representations(
        networks(reps, "reps") if "layer" in getattr(reps, "dims", ()) else reps
    )
    brain = _subjects(trials_or_rdms(target, rdm_metric))
    (reps, brain), _ = join_all("exact", reps=reps, target=brain)
    brain = join_extra(reps, brain, ("reps", "target"))
    trials, told = trials_of(brain, noise, unit), {}
    if trials is not None:
        brain = trials.rdm()
        told = trials.attrs(brain)
    brain = brain.reset_coords(drop=True)
    known = [side.isel(dict.fromkeys({"subject"} & set(side.dims), 0)) for side in (reps, brain)]
    family = family_of(corrected_over, *known, more=["model", SUBSET], name="corrected_over")
    of = families(reps)
    by_network = of.owner == "network"
    # regions of one subject are left out together, and are no layers to choose from
    owner, names = (
        (of.numbers, of.names)
        if by_network
        else (np.arange(len(of.numbers)), reps.indexes["model"].to_numpy())
    )
    if dispersion is None:
        dispersion = dispersion_of_others(reps).reset_coords(drop=True)
    spread = _of_each_model(dispersion, reps, names[owner])
    brain = brain.compute()
    models = make_rdm(reps, rdm_metric).compute()
    usable = apply(
        partial(differs, method=METHODS[method].make),
        brain, core=[["stimulus", "stimulus_2"]], dtypes=[bool],
    )  # fmt: skip
    members, unbinned = _members(models, brain, usable, spread, owner, n_bins)
    rank = natural_rank(reps.indexes["stimulus"])
    seed, _ = seed_of(rng)
    # one stream for the halves, one for permutations and draws
    streams = np.random.default_rng(seed).integers(2**63, size=2)
    parts = apply(
        kernels.rank_models,
        models.reset_coords(drop=True).rename({"model": "_layer"}),
        brain,
        usable,
        members,
        xr.DataArray(owner, dims="_layer"),
        xr.DataArray(rank, dims="stimulus"),
        xr.DataArray(halves(rank, int(streams[0]), n_splits), dims=("_split", "stimulus")),
        core=[
            ["_layer", "stimulus", "stimulus_2"], ["subject", "stimulus", "stimulus_2"],
            ["subject"], ["_network", SUBSET, "stimulus"], ["_layer"], ["stimulus"],
            ["_split", "stimulus"],
        ],
        out=[
            *[["_network", SUBSET]] * len(PER_MODEL),
            *[["_network", "_network_2", SUBSET]] * len(PER_PAIR), ["_weighted", SUBSET],
            ["_way", DRAW, "_network", SUBSET], ["_layer"], [SUBSET],
        ],
        sizes={
            "_network_2": len(names), "_weighted": n_draws, DRAW: 1 + n_permutations,
            "_way": n_splits if len(owner) > len(names) else 1,
        },
        dtypes=[np.float64] * len(PER_MODEL + PER_PAIR + FURTHER),
        method=METHODS[method].make,
        subjects=over == "both",
        level=level,
        n_permutations=n_permutations,
        n_draws=n_draws,
        seed=int(streams[1]),
    )  # fmt: skip
    merged = np.flatnonzero((members.sum("stimulus").values[~unbinned, 1:] == 0).any(0)).tolist()
    tell_merged(merged, n_bins, "dispersion of some models")
    _warn(members, unbinned, names, of)
    _warn_unusable(
        usable, models, parts[0].isnull() & (members.sum("stimulus") >= kernels.LEAST), names
    )
    parameters = {
        "metric": method, "rdm_metric": rdm_metric, "over": over, "level": level,
        "n_bins": n_bins, "merged_bins": merged or None,
        "n_permutations": n_permutations, "n_draws": n_draws, "n_splits": n_splits,
        "n_subjects": brain.sizes["subject"], "dispersion_metric": dispersion.attrs.get("metric"),
        "dispersion_without": dispersion.attrs.get("leave_out"), "seed": seed,
        **told, **pairing_attrs(reps, target, dispersion),
    }  # fmt: skip
    found = dict(zip(PER_MODEL + PER_PAIR + FURTHER, parts, strict=True))
    tell_short(n_permutations, found["p_value"].size, 1 - level, ["max_t"])
    table = described(dict(_variables(found, members, level, family.dims)), **parameters)
    table = table.rename(_network="model", _network_2="model_2").assign_coords(
        {"model": names, "model_2": names, SUBSET: subset_labels(n_bins)}
    )
    table = table.assign(best=describe(_best(table["rsa"]), "best", **parameters))
    if trials is not None and method == "pearson":
        inside = members.rename(_network="model")
        ceiling = _trial_ceiling(
            ceilings(brain, trials, inside, n_splits, int(streams[0])).assign_coords(
                {SUBSET: subset_labels(n_bins)}
            ),
            usable,
        )
        of_trials = {"trial_ceiling": ceiling.transpose(*table["rsa"].dims)}
        of_trials["rsa_corrected"] = table["rsa"] / of_trials["trial_ceiling"]
        table = table.assign(
            {name: describe(part, name, **parameters) for name, part in of_trials.items()}
        )
    coords = reps["model"].drop_vars("n_features", errors="ignore").coords
    if not by_network:
        return carried(table, coords)
    share = describe(found["layer_share"], "layer_share", **parameters)
    return carried(table.assign(layer_share=share.rename(_layer="layer")), _of_layers(coords))


def _subjects(target: xr.DataArray) -> xr.DataArray:
    """With the dim ``subject``, in an order that is that of labels; what has none is the only one.

    RDMs, or trials.
    """
    target = as_subjects(target, "target")
    if "model" in target.dims:
        raise SchemaError(
            "target has the dim 'model': .rename(model='subject') to average over it, or choose "
            "one with .sel(model=…)"
        )
    if "subject" not in target.dims:
        target = set_aside(target, ["subject"]).expand_dims({"subject": ["target"]})
    if "subject" in target.indexes:
        # sums over subjects are the same digits whatever their order
        target = target.isel({"subject": np.argsort(natural_rank(target.indexes["subject"]))})
    return target


def _of_each_model(dispersion: xr.DataArray, reps: xr.DataArray, owners: Array) -> xr.DataArray:
    """Dispersion (model, stimulus) of every model of ``reps``, or of its network, in memory."""
    dispersion = check_per_model(dispersion, "dispersion")
    (_, spread), _ = join_all("exact", reps=reps, dispersion=dispersion)
    wanted = reps.indexes["model"]
    if "model" not in spread.dims:
        spread = set_aside(spread, ["model"]).expand_dims({"model": wanted})
    there = spread.indexes["model"]
    if not wanted.isin(there).all() and np.isin(owners, there).all():
        wanted = pd.Index(owners)
    missing = wanted[~wanted.isin(there)]
    if len(missing):
        raise SchemaError(f"dispersion has no model {listing(missing)}, which reps has")
    return spread.sel({"model": wanted}).transpose("model", "stimulus").compute()


def _members(
    models: xr.DataArray,
    target: xr.DataArray,
    usable: xr.DataArray,
    spread: xr.DataArray,
    owner: Array,
    n_bins: int,
) -> tuple[xr.DataArray, Array]:
    """Which stimuli (network, subset, stimulus) are in a subset, and which networks have no bins.

    Those that all layers of a network and all ``usable`` subjects have. A layer that saw nothing
    is never chosen, and takes nothing from the others.
    """
    # an RDM may have 0 on the diagonal of a stimulus that was never seen: the others are NaN
    off = xr.DataArray(
        ~np.eye(models.sizes["stimulus"], dtype=bool), dims=("stimulus", "stimulus_2")
    )
    has = [(side.notnull() & off).any("stimulus_2") for side in (models, target)]
    seen = has[0].transpose("model", "stimulus").values
    known = has[1] | ~usable
    measured = known.all([dim for dim in known.dims if dim != "stimulus"]).values
    count = owner.max() + 1
    members = np.zeros((count, n_bins + 1, len(measured)), bool)
    unbinned = np.zeros(count, bool)
    for g in range(count):
        own = owner == g
        there = own & seen.any(1) if seen[own].any() else own
        members[g, 0] = seen[there].all(0) & measured
        values = np.where(members[g, 0], _of_network(spread.values[there]), np.nan)
        unbinned[g] = np.isfinite(values).sum() < n_bins
        if not unbinned[g]:
            bins, _ = quantile_bins(values.astype(np.float64), n_bins)
            members[g, 1:] = bins == np.arange(n_bins)[:, None]
    return xr.DataArray(members, dims=("_network", SUBSET, "stimulus")), unbinned


def _of_network(rows: Array) -> Array:
    """Dispersion (stimulus) for a network, from that for each of its layers (layer, stimulus).

    That of the other networks is the same for all; what was given may not be: then the mean.
    """
    alike = (rows == rows[0]) | np.isnan(rows) & np.isnan(rows[0])
    return np.asarray(rows[0] if alike.all() else rows.mean(0))


def _warn(members: xr.DataArray, unbinned: Array, names: Array, of: Families) -> None:
    """Say which models have no bins, no score or no error."""
    sizes = members.values.sum(2)
    messages = []
    if unbinned.any():
        messages.append(
            f"no bins for {listing(names[unbinned])}: too few of its stimuli have a dispersion, "
            f"which needs at least 2 other {of.what}{_counted(of)} (give dispersion=… from "
            "elsewhere)"
        )
    for least, what in ((kernels.LEAST, "score"), (kernels.ENOUGH, "standard error")):
        # bins that were merged into others hold none, and are said already
        short = (sizes > 0) & (sizes < least)
        small = short.any(1) & ~unbinned
        if small.any():
            messages.append(
                f"a {what} needs at least {least} stimuli; {listing(names[small])} has subsets of "
                f"{sorted(set(sizes[small][short[small]].tolist()))}"
            )
    for message in messages:
        warnings.warn(f"{message}: NaN", RuntimeWarning, stacklevel=3)


def _warn_unusable(
    usable: xr.DataArray, models: xr.DataArray, missing: xr.DataArray, names: Array
) -> None:
    """Say which subjects and layers take no part, and which models have no score all the same.

    ``missing`` (…, network, subset) is where there are stimuli enough.
    """
    gone = marked(~usable.transpose(..., "subject"))
    empty = models.indexes["model"][models.isnull().all(("stimulus", "stimulus_2")).values]
    alone = names[missing.any([dim for dim in missing.dims if dim != "_network"]).values]
    messages = {
        "target has no distances, or equal ones alone, and rests on the others without": gone,
        "reps has models that saw no stimulus, and take no part:": empty,
        "distances that do not differ, and so no score (NaN), for": alone,
    }
    for message, who in messages.items():
        if len(who):
            warnings.warn(f"{message} {'; '.join(map(str, who[:5]))}", RuntimeWarning, stacklevel=3)


def _trial_ceiling(ceiling: xr.DataArray, usable: xr.DataArray) -> xr.DataArray:
    """The mean over the subjects that scores rest on, of (…, subject, model, subset)."""
    lacking = ceiling.isnull() & usable
    # of no repetitions that could be halved at all, their warning has told
    if lacking.any() and not ceiling.isnull().all():
        where = marked(lacking.any("model") if "model" in lacking.dims else lacking)
        few = "; ".join(where[:5]) + (f"; … ({len(where)} in all)" if len(where) > 5 else "")
        warnings.warn(
            f"the halves of the repetitions agree too little for a trial_ceiling in {few}: NaN; "
            "binned_rsa says how many repetitions are needed",
            RuntimeWarning,
            stacklevel=3,
        )
    inside = ceiling.where(usable, 0.0).sum("subject", skipna=False)
    return inside / usable.sum("subject")


def _counted(of: Families) -> str:
    """How many families the models are, where these are fewer."""
    return f": the {len(of.numbers)} models are of {len(of.names)}" if of.several else ""


def _variables(
    found: Mapping[str, xr.DataArray], members: xr.DataArray, level: float, over: Sequence[str]
) -> Iterator[tuple[str, xr.DataArray]]:
    """What the kernel gave, by name, and what follows from it, corrected over these dims."""
    for name in (*PER_MODEL, "difference", "difference_p_value", "best_rsa_heldout"):
        yield name, found[name]
    dims = [str(dim) for dim in found["p_value"].dims if dim in over or dim == "_network"]
    yield "p_value_max_t", _above_chance(found["_null"], dims).transpose(*found["p_value"].dims)
    difference = found["difference"]
    adjusted = apply(
        kernels.beyond,
        found["_most"].max([dim for dim in dims if dim != "_network"]),
        found["_reached"],
        core=[["_weighted"], ["_network", "_network_2"]],
        out=[["_network", "_network_2"]],
    ).transpose(*difference.dims)
    yield "difference_p_value_max_t", adjusted
    yield "n_stimuli", members.sum("stimulus")
    score = found["rsa"]
    order = apply(kernels.competition_ranks, score, core=[["_network"]], out=[["_network"]])
    yield "rank", order.transpose(*score.dims)
    worse = (difference < 0) & (adjusted <= 1 - level)
    yield "among_best", ~worse.any("_network_2") & score.notnull()


def _above_chance(draws: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """P-values of draws (…, _way, draw, …) against the largest over these dims."""
    each = apply(max_adjusted, draws, core=[[DRAW, *dims]], out=[list(dims)])
    found: xr.DataArray = apply(kernels.of_splits, each, core=[["_way"]])
    return found


def _best(score: xr.DataArray) -> xr.DataArray:
    """Name of the best model of each subset, empty where none has a score."""
    where = score.fillna(-np.inf).argmax("model")
    names = xr.DataArray(np.asarray(score.indexes["model"], dtype=object), dims="_name")
    best: xr.DataArray = names.isel(_name=where).where(score.notnull().any("model"), "")
    return best.drop_vars("model", errors="ignore")


def _of_layers(coords: Mapping[Hashable, xr.DataArray]) -> dict[Hashable, xr.DataArray]:
    """Coordinates of the models as those of ``layer``, whose labels say which layer of which one.

    What they call ``layer`` themselves, its number in its network say, is ``layer_name``.
    """
    bare = {n: c.variable for n, c in coords.items() if c.dims == ("model",)}
    moved = {"layer_name" if n == "layer" else n: v for n, v in bare.items() if n != "model"}
    found = xr.Dataset(coords={n: ("layer", v.data, v.attrs) for n, v in moved.items()})
    labels = bare["model"].to_base_variable()
    return dict(found.assign_coords(layer=("layer", labels.data)).coords)
