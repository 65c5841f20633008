"""The whole study in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.io.store import modalities, open_representations
from xconverge.labels.checks import check_representations
from xconverge.labels.joins import Join, join_labels
from xconverge.labels.messages import SchemaError, listing
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import dispersion
from xconverge.measures.neighbors import local_density
from xconverge.measures.rdm import rdm, rsa
from xconverge.measures.shared_space import shared_space
from xconverge.study.binned_rsa import binned_rsa
from xconverge.study.leave_out import leave_out_modulation
from xconverge.study.modulation import modulation

Source = str | os.PathLike[str] | Mapping[str, xr.DataArray]
MEASURES = ("consensus", "neighborhood", "rdm")


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
    n_permutations: int = 1000,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
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
        RDMs (…, stimulus, stimulus_2) or a representation set, a brain's say, for RSA by
        dispersion bin on the stimuli that it shares with ``modality``.
    n_components : int, optional
        Principal components of each model in the shared space; by default 64, or a quarter of
        the stimuli if that is fewer.
    k : int
        Neighbours.
    n_bins, rsa_bins : int
        Dispersion bins for alignment and for RSA.
    n_permutations : int
        Permutations of stimulus labels behind every p-value.
    join : {"exact", "inner"}
        Refuse modalities whose stimuli differ, or keep those in both.
    pair_on : str or (str, str), optional
        To pair the two modalities by a stimulus coordinate instead of the labels, as ``pair``
        does; two names are those of ``modality`` and of ``other``. The target carries the labels
        of one, those of the pairing, or has the coordinate too.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
    rng : Generator, int or None
        Source of all permutations.
    progress : callable
        Called with the name of each step as it starts.

    Returns
    -------
    DataTree
        In memory, with the groups ``shared_space`` (what ``shared_space`` returns);
        ``dispersion`` (measure, stimulus) and ``local_density`` (stimulus), the mean over models;
        ``alignment``, ``mutual_knn`` (model_a, model_b, stimulus); ``modulation``, what
        ``modulation`` returns for each dispersion ``measure``, with ``control`` none and
        local_density partialled out; ``leave_out``, with at least four models, what
        ``leave_out_modulation`` returns for neighbourhood dispersion, each model's own density
        partialled out; with a target ``rsa``, of each model and of the mean RDM,
        over all stimuli and by bin of neighbourhood dispersion. Save it with ``write_study``,
        open it with ``open_store``.

    Raises
    ------
    SchemaError
        Modalities that are not there, labels that do not match, and whatever the measures refuse.

    Notes
    -----
    Computes a lazy input, because the shared space iterates.

    In the group ``modulation`` dispersion includes the models that are scored against the other
    modality: a model's agreement with its own modality enters both sides. In ``leave_out`` it does
    not.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = analyze(planted_study(rng=0), n_permutations=99, rng=0)
    >>> list(study.children)
    ['shared_space', 'dispersion', 'alignment', 'modulation', 'leave_out']
    >>> bool(study["modulation/correlation_of_mean"].sel(measure="consensus", control="none") < 0)
    True
    """
    refuse_keep(repeats, "analyze")
    rng = np.random.default_rng(rng)
    a, b, names = _two_sides(source, modality, other)
    a, b, target = paired(pair_on, repeats, a=a, b=b, target=target)
    a, b, dropped = join_labels(a, b, "stimulus", join, names)
    quarter = max(1, a.sizes["stimulus"] // 4)
    progress(f"shared space of {a.sizes['model']} {names[0]} models")
    space = shared_space(a, n_components=n_components or min(64, quarter))
    progress("dispersion")
    density = local_density(a, k).mean("model", keep_attrs=True)
    spread = xr.concat(
        [
            dispersion(space["aligned"], "consensus"),
            dispersion(a, "neighborhood", k=k),
            dispersion(a, "rdm"),
        ],
        pd.Index(MEASURES, name="measure", dtype=object),
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    ).compute()
    progress(f"alignment with {b.sizes['model']} {names[1]} models")
    agreement = alignment(a, b, "mutual_knn", k=k).compute()
    progress(f"modulation, {n_permutations} permutations")
    effect = _modulation(spread, agreement, density.compute(), n_bins, n_permutations, rng)
    groups = {
        "shared_space": space,
        "dispersion": xr.Dataset({"dispersion": spread, "local_density": density}).compute(),
        "alignment": xr.Dataset({"mutual_knn": agreement}),
        "modulation": effect,
    }
    if a.sizes["model"] > 3:
        progress("modulation with each model left out of its dispersion")
        groups["leave_out"] = leave_out_modulation(
            a, b, k=k, n_bins=n_bins, n_permutations=n_permutations, rng=rng
        ).compute()
    if target is not None:
        progress("RSA by dispersion bin")
        groups["rsa"] = rsa_by_dispersion(
            a, target, k=k, n_bins=rsa_bins, n_permutations=n_permutations, rng=rng
        )
    study = xr.DataTree.from_dict(groups, name="study")
    study.attrs = {
        "modality": names[0], "other": names[1], "k": k, "n_bins": n_bins,
        "n_permutations": n_permutations, "n_dropped": dropped, **told_of(pair_on, repeats),
        "xconverge_version": agreement.attrs["xconverge_version"],
    }  # fmt: skip
    return study


def _two_sides(
    source: Source, modality: str | None, other: str | None
) -> tuple[xr.DataArray, xr.DataArray, tuple[str, str]]:
    there = list(source) if isinstance(source, Mapping) else modalities(source)
    if modality is None and other is None and {"vision", "language"} <= set(there):
        modality, other = "vision", "language"
    left = [name for name in there if name not in (modality, other)]
    first = modality or (left.pop(0) if left else None)
    second = other or (left.pop(0) if left else None)
    if first not in there or second not in there or first == second or (left and not modality):
        raise SchemaError(
            f"analyze needs two modalities, modality={modality!r} and other={other!r}; there is "
            f"{listing(there) or 'none'}; name two of them"
        )
    sides = [
        source[name] if isinstance(source, Mapping) else open_representations(source, name)
        for name in (first, second)
    ]
    a, b = (
        check_representations(side, name) for side, name in zip(sides, (first, second), strict=True)
    )
    a, b = a.assign_attrs(modality=first), b.assign_attrs(modality=second)
    return a, b, (first, second)


def _modulation(
    spread: xr.DataArray,
    agreement: xr.DataArray,
    density: xr.DataArray,
    n_bins: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> xr.Dataset:
    controls = {"none": (), "local_density": (density,)}
    tables = [
        xr.concat(
            [
                modulation(
                    spread.sel(measure=measure, drop=True),
                    agreement,
                    n_bins=n_bins,
                    covariates=covariates,
                    n_permutations=n_permutations,
                    rng=rng,
                )
                for covariates in controls.values()
            ],
            pd.Index(list(controls), name="control", dtype=object),
            data_vars="all",
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="drop_conflicts",
        )
        for measure in MEASURES
    ]
    return xr.concat(
        tables,
        pd.Index(MEASURES, name="measure", dtype=object),
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

    The stimuli are those that ``reps`` and ``target`` share; arguments as in ``analyze``.
    """
    if "stimulus_2" not in target.dims:
        target = rdm(target)
    common = reps.indexes["stimulus"]
    common = common[common.isin(target.indexes["stimulus"])]
    if len(common) < 3 * n_bins:
        raise SchemaError(
            f"RSA in {n_bins} bins needs at least {3 * n_bins} stimuli in both the models and "
            f"the target, there are {len(common)}"
        )
    reps = reps.sel(stimulus=common)
    target = target.sel(stimulus=common, stimulus_2=common)
    by = dispersion(reps, "neighborhood", k=min(k, len(common) - 1))
    seed = int(np.random.default_rng(rng).integers(2**63))
    each, mean = (
        binned_rsa(
            reps, target, by, n_bins, average=average, n_permutations=n_permutations, rng=seed
        ).compute()
        for average in (None, "rdm")
    )
    return xr.Dataset(
        {
            "rsa_by_bin": each["rsa"],
            "p_value_by_bin": each["p_value"],
            "rsa_of_mean_by_bin": mean["rsa"],
            "p_value_of_mean_by_bin": mean["p_value"],
            "n_stimuli": mean["n_stimuli"],
            "dispersion_by_bin": mean["dispersion_by_bin"],
            "rsa": rsa(rdm(reps), target).compute(),
        },
        attrs=mean.attrs,
    )
