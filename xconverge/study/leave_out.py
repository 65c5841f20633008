"""Modulation by dispersion that never comes from the model being scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.pair import Pair, pairing_attrs, seen_of
from xconverge.engine.resampling import per_label, strata_of
from xconverge.engine.scores import prepared_models
from xconverge.inference.equal_noise import by_label, equal_noise
from xconverge.inference.geometry import NO_PLACES
from xconverge.inference.multiplicity import Over
from xconverge.inference.nulls import Geometry, Groups, Null
from xconverge.kernels.equal_noise import Prepare
from xconverge.kernels.knn import MutualKnn
from xconverge.kernels.left_out_overlap import LeftOutOverlap
from xconverge.labels.arguments import check_neighbors, several, text, whole
from xconverge.labels.checks import check_per_model, check_representations, is_graph
from xconverge.labels.families import families, families_left, left_out_groups, left_out_with
from xconverge.labels.joins import join_labels, stimulus_rank, take
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.measures.alignment import MEASURES as SCORES
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import MEASURES, dispersion
from xconverge.measures.layers import networks
from xconverge.measures.neighbors import local_density
from xconverge.measures.preprocess import stimulus_norm
from xconverge.measures.shared_space import shared_space
from xconverge.study.conclusion import conclusion
from xconverge.study.modulation import Tail, mean_correlation, modulation

NUISANCES = {"local_density": local_density, "norm": lambda reps, k: stimulus_norm(reps)}


def leave_out_modulation(
    a: xr.DataArray,
    b: xr.DataArray,
    dispersion_metric: str = "neighborhood",
    *,
    leave_out: str = "model",
    nuisance: Sequence[str | xr.DataArray] = ("local_density",),
    alignment_metric: str = "mutual_knn",
    k: int = 10,
    n_components: int | None = None,
    geometry: Geometry = (),
    groups: Groups = (),
    blocks: str | xr.DataArray | None = None,
    null: str | Null | None = None,
    strata: str | xr.DataArray | None = None,
    n_bins: int = 5,
    n_permutations: int = 10_000,
    n_equal_noise: int = 0,
    tail: Tail = "two-sided",
    over: Over = None,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Does the dispersion among the other models predict how well a model aligns?

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature): the modality whose dispersion is measured and the one it is
        aligned with, raw features. Or neighbour graphs (``neighbor_graph``), with ``geometry`` or
        a ``null`` that needs none, and without nuisances by name and ``n_equal_noise``.
    dispersion_metric : str
        Any metric of ``dispersion``. For the coordinate metrics and ``consensus`` a shared space
        is fitted to the other models alone.
    leave_out : str
        ``"model"``, or a model coordinate of ``a`` (``family`` …): what is left out with the model
        that is scored. Layers of its network, models with the same value of ``network`` (else of
        ``subject``), are always left out with it; a dim ``layer`` is stacked onto ``model``.
    nuisance : sequence of str or DataArray
        Whose ranks are partialled out: ``"local_density"`` and ``"norm"`` of the scored model, or
        values (stimulus), (model, stimulus).
    alignment_metric : str
        Per-stimulus metric of ``alignment``.
    k : int
        Neighbours, of ``mutual_knn``, of ``neighborhood`` and of ``local_density``.
    n_components : int, optional
        Of the shared space; by default 64, or a quarter of the stimuli if that is fewer.
    n_equal_noise : int
        Draws of models whose noise is equal at every stimulus, the whole statistic made anew of
        each, leaving out included; 0 for none. Loads ``a`` and ``b``, and shows how far it is.
        Each model is taken apart into the consensus of all, in a shared space whose rank predicts
        held-out stimuli best, and the rest, which is dealt to other stimuli independently of the
        other models.
    geometry : DataArray or sequence of DataArray
        As in ``modulation``; ``a`` and ``b`` are always among them, but for neighbour graphs,
        which say who is near and not how near.
    groups, blocks, null, strata, n_bins, n_permutations, tail, over, level, rng
        As in ``modulation``.

    Returns
    -------
    Dataset
        What ``modulation`` returns for dispersion (model, stimulus): ``correlation`` and
        ``p_value`` (model_a, model_b), their ``mean_correlation`` and ``mean_p_value``, and the
        means by bin. With ``n_equal_noise`` also ``expected_correlation``, the mean correlation
        that equal noise over this geometry makes; ``excess``, the mean correlation less that, with
        ``excess_lower`` and ``excess_upper`` over draws of noise; ``equal_noise_p_value``. All are
        of the reading of "equal" (as it is, or against the norm of a stimulus) with the larger p,
        in ``attrs["noise"]``; the attrs of the p-value have both, and how often each was drawn:
        after 49 draws only the one that counts is drawn further. ``expected_by_rank`` and
        ``equal_noise_p_by_rank`` (space_rank) tell the same at half and at twice the rank of the
        space, from fewer draws (their ``attrs["n_equal_noise"]``). ``attrs["conclusion"]`` says in
        one sentence what that and the mixed models allow to say.

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

    Draws of equal noise are quick for ``neighborhood`` with ``mutual_knn`` where all of ``a``, and
    all but at most k stimuli of each model of ``b``, were seen: on 1,380 stimuli and 6 × 6 models a
    twentieth of a second each. Others take as long as the observed statistic.

    Rows of ``b`` may be kept along ``repeat`` (``pair(repeats="keep")``), those of ``a`` not.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(rng=0)
    >>> table = leave_out_modulation(study["vision"], study["language"], nuisance=(),
    ...     n_permutations=99, rng=0)
    >>> table["correlation"].dims, bool(table["mean_correlation"] < 0)
    (('model_a', 'model_b'), True)
    """
    choose("dispersion_metric", dispersion_metric, MEASURES)
    choose("tail", tail, ["two-sided", "greater", "less"])
    choose("alignment_metric", alignment_metric, SCORES)
    a, b = (
        networks(side, what) if "layer" in getattr(side, "dims", ()) else side
        for side, what in ((a, "a"), (b, "b"))
    )
    pair = Pair(a, b, rng)
    text("leave_out", leave_out, "the name of a coordinate on 'model'")
    nuisance = several("nuisance", nuisance)
    for number, one in enumerate(nuisance):
        if isinstance(one, str):
            choose("nuisance", one, NUISANCES)
        else:
            what = f"nuisance[{number}]"
            check_per_model(one, what)
            join_labels(pair.a, one, "stimulus", "exact", ("a", what))
    whole("n_bins", n_bins, 2)
    whole("n_permutations", n_permutations, 0)
    whole("n_equal_noise", n_equal_noise, 0)
    if n_components is not None:
        whole("n_components", n_components, 1)
    check_neighbors(k, pair.a.sizes["stimulus"])
    of, left = families(pair.a), families_left(pair.a, leave_out)
    few = np.flatnonzero(left < 2)
    if len(few):
        raise SchemaError(
            f"leave_out={leave_out!r}: dispersion needs at least 2 other {of.what}, and fewer are "
            f"left without {listing(dict.fromkeys(of.names[of.numbers[few]]))}"
        )
    # of a, where both sides have the coordinate: the pair has renamed those that differ
    strata, blocks = (
        strata_of(given, (a, b), what) for given, what in ((strata, "strata"), (blocks, "blocks"))
    )
    kinds = [per_label(one, (a, b), "groups") for one in several("groups", groups)]
    places = [side for side in (pair.a, pair.b) if not is_graph(side)]
    _check_graphs(pair, geometry, blocks, null, nuisance, n_equal_noise)
    maps = Maps(dispersion_metric, alignment_metric, leave_out, tuple(nuisance), k, n_components)
    spread, scores, covariates = maps(pair.a, pair.b)
    table = modulation(
        spread,
        scores,
        geometry=[*places, *several("geometry", geometry)],
        groups=kinds,
        blocks=blocks,
        null=null,
        covariates=covariates,
        strata=strata,
        n_bins=n_bins,
        n_permutations=n_permutations,
        tail=tail,
        over=over,
        level=level,
        rng=pair.seed,
    )
    if not n_equal_noise:
        return table
    if {*pair.a.dims, *pair.b.dims} != {"model", "stimulus", "feature"}:
        raise SchemaError(
            f"n_equal_noise= takes no further dims, a has {list(map(str, pair.a.dims))} and b "
            f"{list(map(str, pair.b.dims))}; choose one of each with .sel"
        )
    return against_equal_noise(table, pair.a, pair.b, maps, n_equal_noise, tail, pair.stream)


@dataclass(frozen=True)
class Maps:
    """What is related: dispersion without each model, alignment, and what is partialled out."""

    dispersion_metric: str = "neighborhood"
    alignment_metric: str = "mutual_knn"
    leave_out: str = "model"
    nuisance: Sequence[str | xr.DataArray] = ("local_density",)
    k: int = 10
    n_components: int | None = None

    def __call__(
        self, a: xr.DataArray, b: xr.DataArray
    ) -> tuple[xr.DataArray, xr.DataArray, list[xr.DataArray]]:
        """Of models of two modalities."""
        options: dict[str, Any] = {"k": self.k} if self.alignment_metric == "mutual_knn" else {}
        return (
            dispersion_of_others(
                a, self.dispersion_metric, self.leave_out, k=self.k, n_components=self.n_components
            ),
            alignment(a, b, self.alignment_metric, **options),
            [NUISANCES[x](a, self.k) if isinstance(x, str) else x for x in self.nuisance],
        )

    def quick(self, a: xr.DataArray, b: xr.DataArray) -> Prepare | None:
        """The mean correlation on arrays, by neighbours that are searched once a model and draw.

        None where it is none of neighbours, a model of ``a`` missed a stimulus, or one of ``b``
        many: most pairs then have neighbours of their own.
        """
        if (self.dispersion_metric, self.alignment_metric) != ("neighborhood", "mutual_knn"):
            return None
        seen = [seen_of(side).transpose("model", "stimulus").values for side in (a, b)]
        missed = (~seen[1]).sum(1).max()
        if not seen[0].all() or missed > self.k or self.k + missed >= a.sizes["stimulus"]:
            return None
        covariates = [
            one if isinstance(one, str) else _of_each_model(one, a) for one in self.nuisance
        ]
        if not all(isinstance(one, str) or np.isfinite(one).all() for one in covariates):
            return None
        known = prepared_models(MutualKnn(self.k), b, stimulus_rank(b)).values
        neighbors = [model.state.order[:, : self.k] for model in known]
        group = left_out_groups(a, self.leave_out)
        of_a, of_b = (families(side).numbers for side in (a, b))
        return LeftOutOverlap(self.k, np.stack(neighbors), seen[1], group, of_a, of_b, covariates)


def against_equal_noise(
    table: xr.Dataset,
    a: xr.DataArray,
    b: xr.DataArray,
    maps: Maps,
    n_draws: int,
    tail: Tail,
    seed: int,
) -> xr.Dataset:
    """The table of `modulation` of ``maps(a, b)`` with what equal noise makes of it, and a verdict.

    Models of both sides have the same stimuli.
    """
    a, b = by_label(a), by_label(b).compute()
    told = equal_noise(
        a,
        lambda reps: mean_correlation(*maps(reps, b)),
        float(table["mean_correlation"]),
        n_draws,
        tail,
        seed,
        maps.quick(a, b),
    )
    table = table.assign(told)
    # these draws have models: what no test of two maps can see, they see
    del table.attrs["caveat"]
    return table.assign_attrs(conclusion=conclusion(table))


def _check_graphs(
    pair: Pair,
    geometry: Geometry,
    blocks: str | xr.DataArray | None,
    null: str | Null | None,
    nuisance: Sequence[str | xr.DataArray],
    n_equal_noise: int,
) -> None:
    """Refuse what needs more than lists, where a side is a neighbour graph.

    Nothing is left out in silence: without a place for every side, a null is asked for by name.
    """
    graphs = [what for side, what in pair.sides if is_graph(side)]
    if graphs and null is None and blocks is None and not several("geometry", geometry):
        raise SchemaError(f"{' and '.join(graphs)}: a neighbour graph is no geometry. {NO_PLACES}")
    if n_equal_noise and graphs:
        raise SchemaError(
            f"n_equal_noise= takes models apart, and {' and '.join(graphs)} is a neighbour graph; "
            "give the representations themselves"
        )
    named = [one for one in nuisance if isinstance(one, str)]
    if named and "a" in graphs:
        raise SchemaError(
            f"nuisance {listing(named)} is made of the representations of a, which is a neighbour "
            "graph; give its values, nuisance=[xconverge.local_density(reps)] of who has them, or "
            "nuisance=()"
        )


def _of_each_model(values: xr.DataArray, reps: xr.DataArray) -> np.ndarray:
    """Values (model, stimulus) by the labels of a set."""
    values = take(values.reset_coords(drop=True), "stimulus", reps.indexes["stimulus"])
    if "model" in values.dims:
        values = take(values, "model", reps.indexes["model"])
    shape = (reps.sizes["model"], reps.sizes["stimulus"])
    return np.broadcast_to(values.transpose(..., "stimulus").values.astype(np.float64), shape)


def dispersion_of_others(
    reps: xr.DataArray,
    metric: str = "neighborhood",
    leave_out: str | None = None,
    *,
    k: int = 10,
    n_components: int | None = None,
) -> xr.DataArray:
    """Dispersion (model, stimulus) among the other models; NaN where fewer than 2 are left.

    What ``dispersion(leave_out=…)`` gives for basis-free metrics. For coordinate metrics the
    shared space is fitted anew to the other models alone, or a model would reach its own bins
    through the axes of the space.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features. A dim ``layer`` is stacked onto ``model``.
    metric : str
        Any metric of ``dispersion``.
    leave_out : str, optional
        ``"model"``, or a model coordinate (``family`` …) of what is left out with each model,
        beside the other layers of its ``network``; by default no more than these.
    k : int
        Neighbours, of ``neighborhood``.
    n_components : int, optional
        Of the shared spaces; by default 64, or a quarter of the stimuli if that is fewer.
    """
    choose("metric", metric, MEASURES)
    reps = check_representations(networks(reps, "reps") if "layer" in reps.dims else reps)
    of = families(reps)
    leave_out = leave_out if leave_out not in (None, "model") else of.owner
    if (families_left(reps, leave_out) < 2).all():
        spread = xr.full_like(reps.isel({"feature": 0}), np.nan, np.float64).drop_attrs()
    elif MEASURES[metric].basis_free:
        spread = dispersion(reps, metric, leave_out=leave_out, k=k)
    else:
        components = n_components or max(1, min(64, reps.sizes["stimulus"] // 4))
        spread = _in_own_spaces(reps, metric, left_out_with(reps, leave_out), components)
    return spread.assign_attrs(metric=metric, leave_out=leave_out, **pairing_attrs(reps))


def _in_own_spaces(
    reps: xr.DataArray, metric: str, own: np.ndarray, n_components: int
) -> xr.DataArray:
    """Dispersion (model, stimulus) of the other models, in a space that only they are in.

    ``own`` (model, model) says which are no others.
    """
    parts = []
    for left_out in np.unique(own, axis=0):
        others = reps.isel({"model": np.flatnonzero(~left_out)})
        if others.sizes["model"] < 2 or len(families(others).names) < 2:
            continue
        space = shared_space(others, n_components=n_components)
        spread = dispersion(space["aligned"], metric)
        names = pd.Index(reps.indexes["model"][(own == left_out).all(1)], name="model")
        parts.append(spread.drop_vars("n_models").expand_dims({"model": names}))
    whole: xr.DataArray = xr.concat(
        parts, "model", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )
    return whole.reindex({"model": reps.indexes["model"]})
