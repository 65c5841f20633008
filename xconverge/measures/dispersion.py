"""Intra-modal dispersion: how differently the models represent each single stimulus."""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply, entrywise
from xconverge.engine.measure import Measure
from xconverge.engine.pair import pairing_attrs, seen_of
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.rdm_rows import RdmRows
from xconverge.kernels.vectors import METRICS, Array
from xconverge.labels.arguments import flags, text, whole
from xconverge.labels.checks import (
    check_features,
    check_representations,
    check_shared,
    model_groups,
    widths,
)
from xconverge.labels.coordinates import set_aside, with_own
from xconverge.labels.families import OWNERS, Families, families, families_left, left_out_groups
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe
from xconverge.measures.dispersion_metrics import (
    Consensus,
    Coordinates,
    Disagreement,
    DispersionMetric,
)
from xconverge.measures.neighbors import check_lists


def dispersion(
    reps: xr.DataArray,
    metric: str = "cosine",
    *,
    pairwise: bool = False,
    normalize: bool = False,
    min_models: int = 2,
    by: str | None = None,
    leave_out: str | None = None,
    k: int = 10,
    rdm_metric: str = "correlation",
) -> xr.DataArray:
    """How differently the models represent each stimulus.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), extra dims allowed and mapped over. The coordinate metrics
        compare position by position and want a shared space: ``shared_space(reps)["aligned"]``
        (its dim ``component`` is taken for ``feature``), or features that share their axes and
        are marked so, ``reps.attrs["space"] = "shared"``.
    metric : str
        Coordinate metrics: ``cosine``, ``correlation``, ``euclidean``, ``sqeuclidean``, the mean
        of scipy's distance over unordered pairs of models; ``consensus``,
        ``sqrt(Σ_m |a_m - z|² / (M - 1))`` with z the mean over the M models that saw the stimulus.
        Basis-free, for raw features of any width:
        ``neighborhood``, 1 - mean overlap of the k nearest neighbours over pairs of models;
        ``rdm``, 1 - mean correlation of the stimulus's row in two models' RDMs; each pair among
        the stimuli that both saw, so that a copy with rows missing has dispersion 0.
    pairwise : bool
        Give the distance of every pair of models instead of their mean.
    normalize : bool
        Divide by the mean squared norm of the stimulus's vectors (by its root for ``euclidean``
        and ``consensus``), because raw dispersion follows the norm. Coordinate metrics only, and
        not with ``pairwise``.
    min_models : int
        Stimuli that fewer models saw are NaN; at least 2.
    by : str, optional
        Model coordinate (``family`` …): dispersion inside each group of models, over that dim.
    leave_out : str, optional
        ``"model"``, or a model coordinate (``family`` …): for every model the dispersion of all
        models but itself, or but its group, so that it never comes from the model being scored.
        Layers of its network (see Notes) are left out with it.
    k : int
        Neighbours, for ``neighborhood``.
    rdm_metric : str
        Distance between stimuli, for ``rdm``.

    Returns
    -------
    DataArray
        ``dispersion`` (…, stimulus), float64, 0 where all models agree but for rounding, with the
        coordinate ``n_models`` (models that saw the stimulus; of layers, networks). With
        ``pairwise``: (…, model, model_2, stimulus), zero on the diagonal. With ``leave_out``: (…,
        model, stimulus), model the one left out. ``cosine`` and ``correlation`` lie in [0, 2] for a
        pair and in [0, M/(M-1)] as a mean, ``neighborhood`` in [0, 1], ``rdm`` in [0, 2]; the
        others are not bounded. No measure is less (or more) for stimuli that fewer models saw;
        of two models it scatters more than of ten, see ``min_models``.
        Lazy if ``reps`` is.

    Warns
    -----
    UnalignedSpaceWarning
        A coordinate metric on features that are not marked as a shared space.
    RuntimeWarning
        Fewer than two others are left with ``leave_out``: NaN.

    Raises
    ------
    SchemaError
        Fewer than two models; differing widths under a coordinate metric; NaN or infinity inside
        a row, zero vectors under ``cosine`` and constant ones under ``correlation``, by name;
        results too large or too small for float64; when computed.

    Notes
    -----
    Layers of one network, models with the same value of the coordinate ``network`` (else of
    ``subject``), count once: the mean is over pairs of networks, each the mean over pairs of their
    layers (``docs/methods.md``). To compare layers, ``by="network"``, or drop the coordinate. All
    layers of a block of stimuli are then in memory.

    ``cosine``, ``correlation``, ``sqeuclidean`` and ``consensus`` need one pass and no pairs,
    and merge over chunks of models: a block and eight states (stimuli of a block × features) are
    in memory at a time, or, without a cluster, the rows of all models of a block where they take
    less than 256 MiB. Rows in single precision are summed in it where six digits are left, and in
    double where models nearly agree. ``euclidean`` and ``pairwise`` need all models of a block of
    stimuli. ``neighborhood`` and ``rdm`` read long models block by block (``docs/scaling.md``), and
    then need all lists (model × stimulus × k), or correlations of all pairs; short models are held
    whole, all of them. A neighbour graph may stand for ``reps`` in ``neighborhood``.

    ``consensus`` is the measure of Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836),
    ``sqrt(Σ_m |a_m - z|²)``, divided by sqrt(M - 1): theirs is smaller where fewer models saw the
    stimulus. Where all saw all stimuli it is the same but for that factor.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((3, 4, 8))
    >>> reps = xr.DataArray(x, dims=("model", "stimulus", "feature"),
    ...     coords={"model": list("abc"), "stimulus": ["cat", "dog", "cow", "emu"]},
    ...     attrs={"space": "shared"})
    >>> dispersion(reps).dims
    ('stimulus',)
    >>> reps[1:] = reps[0]
    >>> float(dispersion(reps).max())
    0.0
    """
    row = MEASURES[choose("metric", metric, MEASURES)]
    own = _own(row, k=k, rdm_metric=rdm_metric)
    choose("rdm_metric", rdm_metric, METRICS)
    how: DispersionMetric = row.make(**own)
    reps = set_aside(check_representations(reps), ("model_a", "model_b", "model_2"))
    if "k" in own:
        check_lists(reps, k)
    else:
        whole("k", k, 1)
        check_features(reps)
    of = families(reps)
    if reps.sizes["model"] < 2:
        raise SchemaError(
            f"dispersion needs at least 2 models, got {listing(reps.indexes['model'])}"
        )
    if len(of.names) < 2 and not pairwise and by != of.owner:
        raise SchemaError(
            f"dispersion needs at least 2 {of.what}, and all models are of the {of.owner} "
            f"{listing(of.names)}; by={of.owner!r} gives the dispersion among its models"
        )
    flags(pairwise=pairwise, normalize=normalize)
    if leave_out is not None:
        text("leave_out", leave_out, "the name of a coordinate on 'model'")
    whole("min_models", min_models, 2)
    if sum([pairwise, by is not None, leave_out is not None]) > 1:
        raise ValueError("pairwise, by and leave_out exclude each other")
    if leave_out is not None and normalize:
        raise ValueError("normalize=True does not go with leave_out")
    if by is not None:
        return _by_group(
            reps, by, metric=metric, normalize=normalize, min_models=min_models, k=k,
            rdm_metric=rdm_metric,
        )  # fmt: skip
    if normalize and (row.basis_free or pairwise):
        raise ValueError(
            f"normalize=True divides by the norm of the vectors; it does not go with "
            f"{'pairwise=True' if pairwise else f'metric={metric!r}'}"
        )
    if not row.basis_free:
        check_shared(reps, f"metric={metric!r}")
        reps = _real(reps)
    if pairwise:
        result = how.pairs(reps)
    elif leave_out is not None:
        leave_out = of.owner if leave_out == "model" else leave_out
        result = _of_enough(*_without(how, reps, leave_out, of), min_models)
    else:
        result = _of_enough(*how.mean(reps, normalize, of.numbers), min_models)
    return describe(
        result,
        "dispersion",
        **{
            "metric": metric,
            "modality": reps.attrs.get("modality"),
            **own,
            "normalize": int(normalize),
            "min_models": None if pairwise else min_models,
            "leave_out": leave_out,
            "counted_once": of.owner if of.several and not pairwise else None,
            **pairing_attrs(reps),
        },
    )


def _own(row: Measure, **shared: Any) -> dict[str, Any]:
    """Those of the shared arguments that the measure has."""
    known = inspect.signature(row.make).parameters
    return {name: value for name, value in shared.items() if name in known}


def _by_group(reps: xr.DataArray, by: str, **options: Any) -> xr.DataArray:
    groups = model_groups(reps, by, "by")
    few = [group for group, members in groups.items() if len(members) < 2]
    if few:
        raise SchemaError(
            f"dispersion by {by!r} needs at least 2 models in each; {listing(few)} has 1. Leave "
            "them out"
        )
    if reps.attrs.get("space") == f"shared within {by}":
        reps = reps.assign_attrs(space="shared")
    if by in OWNERS:
        # among the models of one family, each counts
        reps = reps.drop_vars(by)
    parts = [dispersion(reps.isel(model=members), **options) for members in groups.values()]
    result: xr.DataArray = xr.concat(
        parts,
        pd.Index(list(groups), name=by, dtype=object),
        coords=["n_models"],
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return result


def _without(
    how: DispersionMetric, reps: xr.DataArray, leave_out: str, of: Families
) -> tuple[xr.DataArray, xr.DataArray]:
    """Dispersion (…, model, stimulus) without each model, and how many are left."""
    numbers = left_out_groups(reps, leave_out)
    if len(set(numbers)) < 2:
        raise SchemaError(f"leave_out={leave_out!r} leaves no model: all are of one group")
    few = reps.indexes["model"][families_left(reps, leave_out) < 2]
    if len(few):
        warnings.warn(
            f"no dispersion without {listing(few)}: it needs at least 2 other {of.what}: NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    value, count = apply(
        how.of_pieces,
        how.pieces(reps),
        seen_of(reps),
        xr.DataArray(numbers, dims="model"),
        xr.DataArray(of.numbers, dims="model"),
        core=[["model", "model_2", "stimulus"], ["model", "stimulus"], ["model"], ["model"]],
        out=[["model", "stimulus"]] * 2,
        dtypes=[np.float64, np.int64],
    )
    return value, count


def _real(reps: xr.DataArray) -> xr.DataArray:
    """Without the padding, where all models are equally wide."""
    width = int(widths(reps).values.max())
    return reps if width == reps.sizes["feature"] else reps.isel(feature=slice(width))


def _of_enough(value: xr.DataArray, count: xr.DataArray, least: int) -> xr.DataArray:
    """With the coordinate ``n_models``; NaN where fewer models saw the stimulus."""
    value, count = entrywise(
        partial(_masked, least=least), value, count, dtypes=[np.float64, np.int64]
    )
    return with_own(value, {"n_models": describe(count, "n_models").variable})


def _masked(value: Array, count: Array, least: int) -> tuple[Array, Array]:
    return np.where(count >= least, value, np.nan), count.astype(np.int64)


def _neighborhood(k: int) -> Disagreement:
    return Disagreement(MutualKnn(k))


def _rows(rdm_metric: str) -> Disagreement:
    return Disagreement(RdmRows(rdm_metric))


_ONE_PASS = "M n d, one pass, no pairs"
_SHARED = "on axes that models do not share: it warns. Call `shared_space` first"

MEASURES = {
    "cosine": Measure(
        partial(Coordinates, METRICS["cosine"]),
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of 1 - cos(x_a, x_b) = Σ|u_m - ū|²/(M-1) of unit rows u",
        range="0 to M/(M-1)",
        chance="1 for unrelated models",
        invariant=("common rotation", "scale", "row norm"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.cosine",
        avoid=_SHARED,
    ),
    "correlation": Measure(
        partial(Coordinates, METRICS["correlation"]),
        per="stimulus",
        kind="distance",
        formula="the same of rows less their mean over features",
        range="0 to M/(M-1)",
        chance="1 for unrelated models",
        invariant=("scale", "row norm"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.correlation",
        avoid=_SHARED + ". It depends on the basis: a common rotation changes it",
    ),
    "sqeuclidean": Measure(
        partial(Coordinates, METRICS["sqeuclidean"]),
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of |x_a - x_b|² = 2/(M-1) Σ|x_m - x̄|²",
        range="0 to ∞",
        chance="twice the mean squared norm for unrelated models",
        invariant=("common rotation", "common translation"),
        cost=_ONE_PASS,
        reference="scipy.spatial.distance.sqeuclidean",
        avoid=_SHARED + ". It follows the norm of the stimulus: `normalize=True`",
    ),
    "euclidean": Measure(
        partial(Coordinates, METRICS["euclidean"]),
        per="stimulus",
        kind="distance",
        formula="mean over pairs of models of |x_a - x_b|",
        range="0 to ∞",
        chance="none",
        invariant=("common rotation", "common translation"),
        cost="M² n d",
        reference="scipy.spatial.distance.euclidean",
        avoid=_SHARED + ". It needs all pairs; `sqeuclidean` does not",
    ),
    "consensus": Measure(
        Consensus,
        per="stimulus",
        kind="distance",
        formula="sqrt(Σ_m |a_mi - z_i|² / (M-1)), a the coordinates in the shared space, z their "
        "mean over the M models that saw the stimulus",
        range="0 to ∞, in Frobenius norms of a model",
        chance="the root mean square of the norms |a_mi| for unrelated models",
        invariant=("common rotation", "common translation"),
        cost=_ONE_PASS,
        reference="Hosseini, Cheung, Fedorenko & Williams, arXiv 2604.21836, there times sqrt(M-1)",
        avoid=_SHARED + ". It follows the norm of the stimulus: `normalize=True`. "
        "Of a space that was fitted to the same stimuli it is too small: `folds`",
    ),
    "neighborhood": Measure(
        _neighborhood,
        basis_free=True,
        per="stimulus",
        kind="distance",
        formula="1 - mean over pairs of models of |N_a(i) ∩ N_b(i)| / k",
        range="0 to 1",
        chance="1 - k/(n-1) for unrelated models",
        invariant=("rotation", "scale", "row norm"),
        cost="n² d a model, then M n k log",
        reference="after Huh et al. (2024)",
        avoid="to compare pools of different size. Crowded stimuli have less of it: partial out "
        "`local_density`",
    ),
    "rdm": Measure(
        _rows,
        basis_free=True,
        per="stimulus",
        kind="distance",
        formula="1 - mean over pairs of models of the correlation of row i of their RDMs",
        range="0 to 2",
        chance="1 for unrelated models",
        invariant=("scale", "row norm"),
        cost="n² d a model and n² a pair, in blocks",
        reference="after Kriegeskorte, Mur & Bandettini (2008)",
        avoid="where few distant stimuli decide the correlation. It is invariant to what its "
        "`rdm_metric` is",
    ),
}
