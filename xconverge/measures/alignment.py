"""Cross-modal alignment: how well the models of two modalities agree."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure, Plan
from xconverge.engine.pair import Pair, pairing_attrs
from xconverge.engine.scores import scores
from xconverge.kernels.rdm_rows import row_correlations
from xconverge.labels.arguments import whole
from xconverge.labels.checks import check_features, is_graph
from xconverge.labels.coordinates import with_own
from xconverge.labels.joins import join_all, join_extra, on_side
from xconverge.labels.messages import choose, listing
from xconverge.labels.variables import describe
from xconverge.measures import cka, geometry, knn, linear_maps
from xconverge.measures.layers import networks, on_halves
from xconverge.measures.neighbors import neighbor_graph
from xconverge.measures.rdm import DISTANCES, rdms_of

MEASURES: dict[str, Measure] = {
    **knn.MEASURES,
    **cka.MEASURES,
    **linear_maps.MEASURES,
    **geometry.MEASURES,
}
"""Every measure of two models. A row makes the plan of a call; nothing else knows a name."""


def alignment(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    k: int = 10,
    rdm_metric: str = "correlation",
    neighbors: Literal["exact", "approximate"] = "exact",
    layers: Literal["half"] | None = None,
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> xr.DataArray:
    """How well every model of one modality agrees with every model of another.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), joined on the labels of ``stimulus``, never by position.
        Extra dims that both have are matched by label, others make an outer product. For ``rdm``
        a side may be RDMs (…, stimulus, stimulus_2), of trials say (``rdm(…, "crossnobis")``).
    metric : str
        Per stimulus: ``mutual_knn``, ``rdm``, and ``cosine`` for one shared space. Per model
        pair: ``cka``, ``distance_correlation``, ``cknna``, ``cycle_knn``, ``lcs_knn``,
        ``edit_distance_knn``, ``svcca``, ``procrustes`` (a distance), ``linear_predictivity`` (of b
        from a), ``rsa``. Formulas, ranges, chance levels, invariances and cost are in
        ``docs/measures.md``.
    k : int
        Neighbours, for ``mutual_knn``, ``cycle_knn``, ``lcs_knn``, ``edit_distance_knn`` and
        ``cknna``.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli, for ``rdm`` and ``rsa``.
    neighbors : {"exact", "approximate"}
        How neighbours are searched, for the measures of neighbour lists (all of those but
        ``cknna``): among all stimuli, or by the index of ``neighbor_graph``, whose recall is in the
        coordinates ``recall_a`` and ``recall_b``; with ``layers``, in each half apart, and without
        them.
    layers : {"half"}, optional
        Score networks by their best pair of layers, chosen on a random half of the stimuli and
        scored on the other; per-stimulus measures are averaged. Which models are layers of one
        network says the coordinate ``network`` on ``model``, or a dim ``layer``. The maximum over
        pairs has a null of its own: ``calibrate(…, layers="max")``.
    rng : Generator, int or None
        Source of halves and folds; the seed that was used is in ``attrs["seed"]``.
    **options
        Of the metric. ``cknna``: ``centered=False``, True for its published reading instead of
        the coded one. ``cka``: ``kernel="linear"`` or ``"rbf"``, ``debiased=True``, ``sigma=1.0``
        (of the median distance). ``distance_correlation``: ``debiased=True``, False for the root of
        the biased ratio. ``svcca``: ``n_components=10``, ``folds=5`` (None: in-sample),
        ``groups`` (a stimulus coordinate, or values (stimulus): equal ones are held out together).
        ``linear_predictivity``: ``folds=5``, ``groups``, ``score="r"`` or ``"r2"``. ``rsa``:
        ``method="spearman"``.

    Returns
    -------
    DataArray
        ``alignment`` (…, model_a, model_b[, stimulus]), in the order of ``a``; ``attrs["kind"]``
        says whether large means alike. NaN where either model misses the stimulus. Every pair is
        scored among the stimuli that both saw; of measures per model pair the coordinate
        ``n_stimuli`` counts them. The value under chance is in the coordinate ``chance`` (model_a,
        model_b) where it depends on their number alone (``mutual_knn``, ``cycle_knn``). Model
        coordinates carry the suffix of their side; stimulus coordinates too where the two sides
        contradict each other. With ``layers``, the model dims hold networks, and the coordinates
        ``layer_a`` and ``layer_b`` the chosen layers. Lazy if an input is.

    Warns
    -----
    UnalignedSpaceWarning
        ``cosine`` on features that are not marked as a shared space.
    RuntimeWarning
        Too few stimuli, or values that do not vary: the result is NaN there. ``procrustes``,
        biased ``cka`` and in-sample ``svcca`` of as many features as stimuli.

    Raises
    ------
    SchemaError, ValueError, TypeError
        Labels that do not match, options that the metric does not have; faulty rows and vectors
        without a direction, by name, when computed.
    MemoryError
        A task that cannot fit, with what it needs and what to do instead.

    Notes
    -----
    Neighbour lists, centred rows and RDMs are made once for each model, however many pairs are
    scored. A neighbour graph (``neighbor_graph``) may stand for a side where lists are compared;
    where stimuli are missing, it must be long enough to have k left among those that both saw.
    Memory of a task: models of up to 16 MiB as they are; longer lazy ones are read block by block
    for neighbours, ``cka``, ``procrustes``, ``cosine``, ``rdm``, ``rsa`` by pearson and cosine,
    and, with more stimuli than folds × features on both sides, ``svcca`` and
    ``linear_predictivity``. What the others hold is in ``docs/scaling.md``. Ties between equal
    neighbours go to the label that sorts first (numbers inside labels by value), so that order
    changes nothing.

    Huh et al. (2024), The Platonic Representation Hypothesis, for the neighbour measures; the
    other sources are in ``docs/measures.md``.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> x = np.random.default_rng(0).standard_normal((20, 8))
    >>> reps = stack_models({"net": x}, stimuli=[f"s{i}" for i in range(20)])
    >>> score = alignment(reps, reps[:, ::-1], k=3)
    >>> score.dims, float(score.mean())
    (('model_a', 'model_b', 'stimulus'), 1.0)
    >>> alignment(reps, 2 * reps + 1, "cka").values.round(6).tolist()
    [[1.0]]
    """
    if metric == "rdm" and any("stimulus_2" in getattr(side, "dims", ()) for side in (a, b)):
        return _of_rdms(a, b, rdm_metric, (neighbors, layers, options))
    pair = Pair(a, b, rng)
    measure = MEASURES[choose("metric", metric, MEASURES)]
    choose("neighbors", neighbors, ["exact", "approximate"])
    if layers is not None:
        choose("layers", layers, ["half"])
        pair = pair.mapped(networks)

    plan = plan_of(pair, metric, options, k=k, rdm_metric=rdm_metric)
    if neighbors != "exact":
        _check_index(metric, neighbors)

    def scored(pair: Pair) -> xr.DataArray:
        """Scores over these stimuli, which may be a half: what is indexed are they alone."""
        plan = plan_of(pair, metric, options, k=k, rdm_metric=rdm_metric)
        if neighbors == "exact":
            return scores(plan, pair)
        return scores(replace(plan, vectors=pair), _by_index(pair, k, neighbors))

    if layers is None:
        result = scored(pair)
        counts = pair.n_stimuli()
        if not plan.kernel.per_stimulus:
            result = with_own(result, {"n_stimuli": counts})
        if (chance := chance_of(plan, counts)) is not None:
            result = with_own(result, {"chance": chance})
    else:

        def per_pair(half: Pair) -> xr.DataArray:
            found = scored(half)
            return found.mean("stimulus") if "stimulus" in found.dims else found

        result = on_halves(pair, per_pair, -1 if measure.kind == "distance" else 1)
    return describe(
        result,
        "alignment",
        **{
            "metric": metric,
            "kind": measure.kind,
            "layers": layers,
            "neighbors": None if neighbors == "exact" else neighbors,
            **plan.options(),
            **pair.attrs,
            "seed": pair.seed if layers or plan.given is not None else None,
            **result.attrs,
        },
    )


def _of_rdms(
    a: xr.DataArray, b: xr.DataArray, rdm_metric: str, others: tuple[Any, ...]
) -> xr.DataArray:
    """Agreement of RDMs row by row; a side that is representations gives its RDMs."""
    choose("rdm_metric", rdm_metric, DISTANCES)
    if others != ("exact", None, {}):
        raise TypeError("neighbors, layers and options of metrics do not go with RDMs")
    sides = {what: rdms_of(side, rdm_metric, what) for what, side in (("a", a), ("b", b))}
    (first, second), _ = join_all("exact", **sides)
    second = join_extra(first, second, ("a", "b"))
    square = ["stimulus", "stimulus_2"]
    result = apply(
        row_correlations, on_side(first, "model", "_a"), on_side(second, "model", "_b"),
        core=[square, square], out=[["stimulus"]],
    )  # fmt: skip
    models = [dim for dim in ("model_a", "model_b") if dim in result.dims]
    return describe(
        result.transpose(..., *models, "stimulus"),
        "alignment",
        metric="rdm",
        kind="similarity",
        rdm_metric=[str(side.attrs.get("metric")) for side in (first, second)],
        **pairing_attrs(a, b),
    )


def chance_of(plan: Plan, counts: xr.DataArray) -> xr.DataArray | None:
    """What unrelated models score (model_a, model_b) over so many common stimuli.

    None where their number does not tell. Too few have no score, and no level of it.
    """
    chance = plan.kernel.chance_among(counts.where(counts >= plan.kernel.min_stimuli))
    return None if chance is None else describe(chance, "chance").reset_coords(drop=True)


def _check_index(metric: str, neighbors: str) -> None:
    if not MEASURES[metric].lists:
        lists = [name for name, row in MEASURES.items() if row.lists]
        raise ValueError(
            f"neighbors={neighbors!r} is for measures of neighbour lists ({listing(lists)}); "
            f"metric={metric!r} is none"
        )


def _by_index(pair: Pair, k: int, neighbors: str) -> Pair:
    """The pair with neighbour graphs in place of its sets."""

    def indexed(side: xr.DataArray, _: str) -> xr.DataArray:
        if is_graph(side):
            return side
        return neighbor_graph(side, k, neighbors=neighbors, rng=pair.seed)

    return pair.mapped(indexed)


def check_shared_options(k: int = 1, rdm_metric: str = "correlation") -> None:
    """Arguments that several measures have, where the one at hand has no use for them."""
    whole("k", k, 1)
    choose("rdm_metric", rdm_metric, DISTANCES)


def plan_of(pair: Pair, metric: str, options: dict[str, Any], **shared: Any) -> Plan:
    """The plan of a metric, from its own options and the shared arguments that it has.

    An option that it lacks is an error with those it has.
    """
    row = MEASURES[choose("metric", metric, MEASURES)]
    known = inspect.signature(row.make).parameters.values()
    mine = [parameter.name for parameter in known if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in mine]
    if unknown:
        raise TypeError(
            f"metric={metric!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(mine) or 'none'}"
        )
    check_shared_options(**{name: v for name, v in shared.items() if name not in mine})
    own = options | {name: value for name, value in shared.items() if name in mine}
    if not row.lists:
        for side, what in pair.sides:
            check_features(side, what)
    plan: Plan = row.make(pair, **own)
    return plan
