"""Modulation by dispersion that never comes from the model being scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import PairOn, Repeats, paired, told_of
from xconverge.engine.resampling import strata_of
from xconverge.labels.checks import check_representations, group_numbers
from xconverge.labels.joins import Join, join_labels
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import MEASURES, dispersion
from xconverge.measures.neighbors import local_density
from xconverge.measures.norms import stimulus_norm
from xconverge.measures.shared_space import shared_space
from xconverge.study.modulation import Tail, modulation

NUISANCES = ("local_density", "norm")


def leave_out_modulation(
    a: xr.DataArray,
    b: xr.DataArray,
    measure: str = "neighborhood",
    *,
    leave_out: str = "model",
    nuisance: Sequence[str | xr.DataArray] = ("local_density",),
    metric: str = "mutual_knn",
    k: int = 10,
    n_components: int | None = None,
    strata: str | xr.DataArray | None = None,
    n_bins: int = 5,
    n_permutations: int = 10_000,
    tail: Tail = "two-sided",
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Does the dispersion among the other models predict how well a model aligns?

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature): the modality whose dispersion is measured and the one it is
        aligned with, raw features.
    measure : str
        Any metric of ``dispersion``. For the coordinate metrics and ``consensus`` a shared space
        is fitted to the other models alone.
    leave_out : str
        ``"model"``, or a model coordinate of ``a`` (``family`` …): what is left out with the model
        that is scored.
    nuisance : sequence of str or DataArray
        Whose ranks are partialled out: ``"local_density"`` and ``"norm"`` of the scored model, or
        values (stimulus), (model, stimulus).
    metric : str
        Per-stimulus metric of ``alignment``.
    k : int
        Neighbours, of ``mutual_knn``, of ``neighborhood`` and of ``local_density``.
    n_components : int, optional
        Of the shared space; by default 64, or a quarter of the stimuli if that is fewer.
    strata, n_bins, n_permutations, tail, rng
        As in ``modulation``.
    join, pair_on
        As in ``alignment``. A nuisance and strata carry the labels of their side, or those of the
        pairing.
    repeats : {"mean", "keep"}
        As in ``alignment``; rows of ``b`` can be kept, rows of ``a`` only averaged.

    Returns
    -------
    Dataset
        What ``modulation`` returns for dispersion (model, stimulus): ``correlation`` and
        ``p_value`` (model_a, model_b), their ``mean_correlation`` and ``mean_p_value``, and the
        means by bin.

    Warns
    -----
    RuntimeWarning
        As ``modulation``.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; fewer than two models left beside one or its group.

    Notes
    -----
    Dispersion that includes the scored model is related to its alignment by construction: its own
    noise enters both. ``neighborhood`` and ``rdm`` are made once for all pairs of models and only
    averaged anew. For coordinate metrics the shared space is computed once a group left out.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(rng=0)
    >>> table = leave_out_modulation(study["vision"], study["language"], nuisance=(),
    ...     n_permutations=99, rng=0)
    >>> table["correlation"].dims, bool(table["mean_correlation"] < 0)
    (('model_a', 'model_b'), True)
    """
    a, b, nuisance, strata = paired(pair_on, repeats, a=a, b=b, nuisance=nuisance, strata=strata)
    choose("measure", measure, MEASURES)
    names = [one for one in nuisance if isinstance(one, str)]
    for name in names:
        choose("nuisance", name, NUISANCES)
    a = check_representations(a, "a")
    b = check_representations(b, "b")
    a, b, dropped = join_labels(a, b, "stimulus", join)
    groups_of = strata_of(strata, (a, b))
    numbers, groups = group_numbers(a, leave_out)
    few = [value for i, value in enumerate(groups) if (numbers != i).sum() < 2]
    if few:
        raise SchemaError(
            f"leave_out={leave_out!r}: dispersion needs at least 2 other models, and fewer are "
            f"left without {listing(few)}"
        )
    spread = dispersion_without(a, measure, leave_out, k, n_components)
    ready = {
        "local_density": lambda: local_density(a, k),
        "norm": lambda: stimulus_norm(a),
    }
    options: dict[str, Any] = {"k": k} if metric == "mutual_knn" else {}
    result = modulation(
        spread,
        alignment(a, b, metric, **options),
        covariates=[ready[one]() if isinstance(one, str) else one for one in nuisance],
        strata=groups_of,
        n_bins=n_bins,
        n_permutations=n_permutations,
        tail=tail,
        rng=rng,
    )
    for value in result.data_vars.values():
        value.attrs |= {"n_dropped": dropped, **told_of(pair_on, repeats)}
    return result


def dispersion_without(
    a: xr.DataArray,
    measure: str,
    leave_out: str,
    k: int,
    n_components: int | None,
) -> xr.DataArray:
    """Dispersion (model, stimulus) of the other models; NaN where fewer than 2 are left.

    For coordinate metrics in a space that only they are in.
    """
    numbers, _ = group_numbers(a, leave_out)
    others = np.array([(numbers != number).sum() for number in numbers])
    if (others < 2).all():
        spread = xr.full_like(a.isel({"feature": 0}), np.nan, np.float64).drop_attrs()
    elif callable(MEASURES[measure].function):
        spread = dispersion(a, measure, leave_out=leave_out, k=k)
    else:
        components = n_components or max(1, min(64, a.sizes["stimulus"] // 4))
        spread = _refitted(a, measure, numbers, components)
    return spread.assign_attrs(metric=measure, leave_out=leave_out)


def _refitted(
    a: xr.DataArray, measure: str, numbers: np.ndarray, n_components: int
) -> xr.DataArray:
    """Dispersion (model, stimulus) of the other models, in a space that only they are in."""
    parts = []
    for group in np.unique(numbers):
        others = a.isel({"model": np.flatnonzero(numbers != group)})
        if others.sizes["model"] < 2:
            continue
        space = shared_space(others, n_components=n_components)
        spread = dispersion(space["aligned"], measure)
        names = pd.Index(a.indexes["model"][numbers == group], name="model")
        parts.append(spread.drop_vars("n_models").expand_dims({"model": names}))
    whole: xr.DataArray = xr.concat(
        parts, "model", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )
    return whole.reindex({"model": a.indexes["model"]})
