"""The whole study in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.families import family_mean
from xconverge.engine.pair import Pair, pairing_attrs, refuse_repeats
from xconverge.engine.resampling import seed_of, strata_of
from xconverge.inference.geometry import squares_of
from xconverge.inference.nulls import Groups, null_of
from xconverge.io.store import modalities, open_representations
from xconverge.labels.arguments import callback, check_neighbors, several, text, whole
from xconverge.labels.checks import check_representations
from xconverge.labels.coordinates import set_aside
from xconverge.labels.families import families
from xconverge.labels.joins import join_all, join_labels
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.variables import named, stated
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import dispersion
from xconverge.measures.layers import networks
from xconverge.measures.neighbors import local_density, shared_neighbors
from xconverge.measures.preprocess import stimulus_norm
from xconverge.measures.rdm import rdm
from xconverge.measures.rsa import rsa
from xconverge.measures.shared_space import shared_space
from xconverge.study.binned_rsa import NULL, binned_rsa
from xconverge.study.leave_out import Maps, against_equal_noise, dispersion_of_others
from xconverge.study.modulation import modulation
from xconverge.study.noise_correction import CORRECTED, are_trials, trials_or_rdms

Data = TypeVar("Data", xr.DataArray, xr.Dataset)
Source = str | os.PathLike[str] | Mapping[str, xr.DataArray]
FEW = 100
"""Stimuli that a table takes little time of."""
MEASURES = ("consensus", "consensus_raw", "neighborhood", "rdm")
CONTROLS = {
    "none": (),
    "norm": ("stimulus_norm",),
    "local_density": ("local_density",),
    "both": ("stimulus_norm", "local_density"),
}
"""What is partialled out, by the name of the control."""


def analyze(
    source: Source,
    *,
    modality: str | None = None,
    other: str | None = None,
    target: xr.DataArray | None = None,
    n_components: int | None = None,
    k: int = 10,
    n_bins: int = 5,
    rsa_bins: int = 3,
    groups: Groups = (),
    n_equal_noise: int = 99,
    n_permutations: int = 1000,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> xr.DataTree:
    """Dispersion, alignment, modulation and RSA of two modalities.

    Parameters
    ----------
    source : path or mapping of modality to DataArray
        A store, or representation sets (model, stimulus, feature) in memory or lazy.
    modality, other : str, optional
        The modality whose dispersion is measured, and the one it is aligned with. By default
        ``vision`` and ``language`` where both are there, else the two that are there.
    target : DataArray, optional
        RDMs (…, stimulus, stimulus_2) or a representation set, a brain's say, of the same
        stimuli, for RSA by dispersion bin: of correlation distances by Spearman's correlation.
        Of trials, with ``repetition``, squared Euclidean distances of the models are compared with
        ``crossnobis`` of the repetitions by Pearson's, without noise too (``binned_rsa``, which
        takes the noise's covariance and sessions).
    n_components : int, optional
        Principal components of each model in the shared space; by default 64, or a quarter of
        the stimuli if that is fewer.
    k : int
        Neighbours.
    n_bins, rsa_bins : int
        Dispersion bins for alignment and for RSA.
    groups : str, DataArray or sequence of these
        Categories of the stimuli, as in ``modulation``: stimuli of one category are alike.
    n_equal_noise : int
        Draws of models with equal noise, as in ``leave_out_modulation``; 0 for none.
    n_permutations : int
        Draws behind corrections, and behind the p-values of RSA.
    rng : Generator, int or None
        Source of all permutations; ``attrs["seed"]`` is that of every step.
    progress : callable
        Called with the name of each step as it starts.

    Returns
    -------
    DataTree
        In memory, with the groups ``shared_space`` (what ``shared_space`` returns);
        ``dispersion`` (measure, stimulus), of ``consensus`` divided by the norm of the stimulus
        (``normalize=True``), ``consensus_raw`` as it is, ``neighborhood`` and ``rdm``, and beside
        it ``stimulus_norm``, in the shared space, and ``local_density`` (stimulus), means over
        models; ``alignment``, ``mutual_knn`` (model_a, model_b, stimulus); ``neighbors`` (side,
        stimulus, rank), of each modality the stimuli that most models have among the k nearest, and
        by which ``share`` of the models; ``modulation``, what
        ``modulation`` returns for each dispersion ``measure`` and ``control``: ``none``, with the
        ``norm`` of the stimulus, with ``local_density``, or with ``both`` partialled out;
        ``leave_out``, with at least four models, what ``leave_out_modulation`` returns for
        neighbourhood dispersion and the same controls, each model's own norm and density; and
        ``equal_noise``, what it returns given density and ``n_equal_noise``, without extra dims:
        ``attrs["conclusion"]``, of the study too, is the sentence to quote. With a target
        ``rsa``, of each model and of the mean RDM, over all stimuli and by bin of neighbourhood
        dispersion, beside what permutations reach with the mean RDM (``chance``, ``threshold``).
        Save it with ``write_study``, open it with ``open_store``.

    Warns
    -----
    RuntimeWarning
        What can not be had is NaN: bins of dispersions that take few values
        (``dispersion_bins``), as those of two models do; correlations of equal values.

    Raises
    ------
    SchemaError
        Modalities that are not there, labels that do not match (``pair`` makes them), and whatever
        the measures refuse.

    Notes
    -----
    Computes a lazy input, because the shared space iterates.

    All p-values of ``modulation``, ``leave_out`` and ``equal_noise`` are those of mixed models over
    the geometry of both modalities and ``groups``.

    Raw distance to the consensus follows the norm of the stimulus, and so may alignment: long rows
    have more noise, and the more so the better they are seen. Its correlation then says something
    of norms, with either sign; read it given the norm, or that of ``consensus``.

    In the group ``modulation`` dispersion includes the models that are scored against the other
    modality: a model's agreement with its own modality enters both sides. In ``leave_out`` it does
    not.

    Layers of one network, a dim ``layer`` or models with the same value of the coordinate
    ``network`` (else of ``subject``), count once: dispersion and means are over networks, and in
    ``leave_out`` a network is left out whole. Each layer has its own alignment and RSA.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> sets = planted_study(3, 60, rng=0)
    >>> study = analyze(sets, n_permutations=19, n_equal_noise=9, rng=0)
    >>> list(study.children)
    ['shared_space', 'dispersion', 'alignment', 'neighbors', 'modulation']
    >>> bool(study["modulation/correlation_of_mean"].sel(measure="consensus", control="none") < 0)
    True
    """
    whole("n_bins", n_bins, 2)
    whole("rsa_bins", rsa_bins, 2)
    whole("n_permutations", n_permutations, 0)
    whole("n_equal_noise", n_equal_noise, 0)
    if n_components is not None:
        whole("n_components", n_components, 1)
    callback("progress", progress)
    seed, _ = seed_of(rng)
    a, b, names = _two_sides(source, modality, other)
    refuse_repeats("analyze", a, b, target)
    a, b, _ = join_labels(a, b, "stimulus", "exact", names)
    check_neighbors(k, a.sizes["stimulus"])
    for one in several("groups", groups):
        strata_of(one, (a, b), "groups")
    if target is not None:
        # refused here, not after all that comes before its RSA
        target = trials_or_rdms(target, "correlation")
        (a, target), _ = join_all("exact", reps=a, target=target)
    quarter = max(1, a.sizes["stimulus"] // 4)
    progress(f"shared space of {a.sizes['model']} {names[0]} models")
    space = shared_space(a, n_components=n_components or min(64, quarter))
    progress("dispersion")
    aligned = space["aligned"]
    spread = _stacked(
        "measure",
        {
            "consensus": dispersion(aligned, "consensus", normalize=True),
            "consensus_raw": dispersion(aligned, "consensus"),
            "neighborhood": dispersion(a, "neighborhood", k=k),
            "rdm": dispersion(a, "rdm"),
        },
    ).compute()
    density = local_density(a, k).compute()
    # of all models in their shared space, where they are on one scale: raw features differ in it
    nuisances = {
        name: set_aside(family_mean(of_models, ["model"]).compute(), ["n_models"])
        for name, of_models in (
            ("stimulus_norm", stimulus_norm(aligned)),
            ("local_density", density),
        )
    }
    progress(f"alignment with {b.sizes['model']} {names[1]} models")
    agreement = alignment(a, b, "mutual_knn", k=k).compute()
    progress("modulation")
    # tables are many: lazy ones are computed side by side, where that takes longer than graphs do
    scores = agreement.chunk() if a.sizes["stimulus"] > FEW else agreement
    places = [
        squares_of(side).compute().assign_attrs(metric="sqeuclidean", modality=name)
        for side, name in ((a, names[0]), (b, names[1]))
    ]
    maps = spread.isel(measure=0, drop=True), scores
    # where the stimuli lie is the same in all tables: what is known of it is made once
    null = null_of(None, maps, usual="mixed", geometry=places, groups=groups, made_from=maps)
    options: dict[str, Any] = {
        "null": null, "n_bins": n_bins, "n_permutations": n_permutations, "rng": seed,
    }  # fmt: skip
    effect = _stacked(
        "measure",
        {
            measure: _controlled(
                spread.sel(measure=measure, drop=True), scores, nuisances, **options
            )
            for measure in MEASURES
        },
    ).compute()
    parts: dict[str, xr.Dataset] = {
        "shared_space": space,
        "dispersion": named({"dispersion": spread, **nuisances}),
        "alignment": named({"mutual_knn": agreement}),
        "neighbors": _stacked(
            "side",
            {name: shared_neighbors(side, k) for side, name in zip((a, b), names, strict=True)},
        ),
        "modulation": effect,
    }
    if len(families(a).names) > 3:
        progress("modulation with each model left out of its dispersion")
        own = {"stimulus_norm": stimulus_norm(a), "local_density": density}
        others = dispersion_of_others(a, "neighborhood", "model", k=k)
        parts["leave_out"] = _controlled(others.compute(), scores, own, **options).compute()
        if n_equal_noise and {*a.dims, *b.dims} == {"model", "stimulus", "feature"}:
            progress(f"equal noise, {n_equal_noise} draws")
            table = parts["leave_out"].sel(control="local_density", drop=True)
            table = table.assign_attrs(n_covariates=len(CONTROLS["local_density"]))
            pair = Pair(a, b, seed)
            told = against_equal_noise(
                table, pair.a, pair.b, Maps(k=k), n_equal_noise, "two-sided", pair.stream
            )
            parts["equal_noise"] = told[[name for name, one in told.items() if not one.dims]]
    if target is not None:
        progress("RSA by dispersion bin")
        parts["rsa"] = rsa_by_dispersion(
            a, target, k=k, n_bins=rsa_bins, n_permutations=n_permutations, rng=seed
        )
    study = xr.DataTree.from_dict(parts, name="study")
    study.attrs = stated(
        modality=names[0],
        other=names[1],
        target=None if target is None else target.attrs.get("modality"),
        k=k,
        n_bins=n_bins,
        n_permutations=n_permutations,
        seed=seed,
        conclusion=parts["equal_noise"].attrs["conclusion"] if "equal_noise" in parts else None,
        **pairing_attrs(a, b),
    )
    return study


def _two_sides(
    source: Source, modality: str | None, other: str | None
) -> tuple[xr.DataArray, xr.DataArray, tuple[str, str]]:
    if not isinstance(source, Mapping | str | os.PathLike):
        raise TypeError(
            "source must be the path of a store, or a dict of modality to representations, got "
            f"{came(source)}"
        )
    for name, value in (("modality", modality), ("other", other)):
        if value is not None:
            text(name, value)
    known = list(source) if isinstance(source, Mapping) else modalities(source)
    if modality is None and other is None and {"vision", "language"} <= set(known):
        modality, other = "vision", "language"
    unnamed = [name for name in known if name not in (modality, other)]
    first = modality or (unnamed.pop(0) if unnamed else None)
    second = other or (unnamed.pop(0) if unnamed else None)
    # of three modalities, which two are meant is not guessed
    ambiguous = unnamed and None in (modality, other)
    if first not in known or second not in known or first == second or ambiguous:
        raise SchemaError(
            f"analyze needs two modalities, modality={modality!r} and other={other!r}; there is "
            f"{listing(known) or 'none'}; name two of them"
        )
    sides = [
        source[name] if isinstance(source, Mapping) else open_representations(source, name)
        for name in (first, second)
    ]
    a, b = (
        check_representations(
            networks(side, name) if "layer" in getattr(side, "dims", ()) else side, name
        )
        for side, name in zip(sides, (first, second), strict=True)
    )
    a, b = (
        # dims of the groups of a study, which its tables are put together along
        set_aside(side, ("measure", "control")).assign_attrs(modality=name)
        for side, name in ((a, first), (b, second))
    )
    return a, b, (first, second)


def _controlled(
    spread: xr.DataArray,
    agreement: xr.DataArray,
    nuisances: Mapping[str, xr.DataArray],
    **options: Any,
) -> xr.Dataset:
    """Modulation (control) with each set of nuisances partialled out."""
    return _stacked(
        "control",
        {
            control: modulation(
                spread, agreement, covariates=[nuisances[name] for name in names], **options
            )
            for control, names in CONTROLS.items()
        },
    )


def _stacked(dim: str, parts: Mapping[str, Data]) -> Data:
    """Results side by side along a new dim."""
    return xr.concat(
        list(parts.values()),
        pd.Index(list(parts), name=dim, dtype=object),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    )


def rsa_by_dispersion(
    reps: xr.DataArray,
    target: xr.DataArray,
    *,
    k: int = 10,
    n_bins: int = 3,
    n_permutations: int = 1000,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """RSA of every model and of their mean RDM, over all stimuli and by neighbourhood dispersion.

    ``reps`` and ``target`` have the same stimuli; arguments as in ``analyze``.
    """
    repeated = are_trials(target)
    target = trials_or_rdms(target, "correlation")
    (reps, target), _ = join_all("exact", reps=reps, target=target)
    n = reps.sizes["stimulus"]
    if n < 3 * n_bins:
        raise SchemaError(
            f"RSA in {n_bins} bins needs at least {3 * n_bins} stimuli in both the models and "
            f"the target, there are {n}"
        )
    spread = dispersion(reps, "neighborhood", k=min(k, n - 1))
    seed, _ = seed_of(rng)
    # of trials, what noise does to it can be told with Pearson's correlation alone; and a model
    # that is the brain has its distances only where they are of one kind, which crossnobis's is
    method, metric = ("pearson", "sqeuclidean") if repeated else ("spearman", "correlation")
    each, mean = (
        binned_rsa(
            reps, target, spread, n_bins, average=average, rdm_metric=metric, method=method,
            n_permutations=n_permutations, rng=seed,
        ).compute()
        for average in (None, "rdm")
    )  # fmt: skip
    whole = rdm(target, "crossnobis") if repeated else target
    of_trials: dict[str, xr.DataArray] = {}
    if repeated:
        of_trials = {name: mean[name] for name in ("split_half", "ceiling")}
        for name in CORRECTED:
            of_trials |= {name: each[name], f"{name}_of_mean": mean[name]}
    return named(
        {
            "rsa_by_bin": each["rsa"],
            "p_value_by_bin": each["p_value"],
            "rsa_of_mean_by_bin": mean["rsa"],
            "p_value_of_mean_by_bin": mean["p_value"],
            **{f"{name}_of_mean_by_bin": mean[name] for name in NULL},
            "n_stimuli": mean["n_stimuli"],
            "dispersion_by_bin": mean["dispersion_by_bin"],
            "rsa": rsa(rdm(reps, metric), whole, method).compute(),
            **of_trials,
        }
    ).assign_attrs(mean.attrs)
