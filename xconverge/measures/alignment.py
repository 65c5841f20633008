"""Cross-modal alignment: how well the models of two modalities agree."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.measure import Measure
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import blocks_of, draw, joined, seen, summarized
from xconverge.labels.messages import choose, listing
from xconverge.labels.variables import describe
from xconverge.measures import by_kernels, by_maps, by_neighbors, by_rdm
from xconverge.measures.graph import standing_for
from xconverge.measures.layers import ALPHA, maximum, networks, on_halves

MEASURES: dict[str, Measure] = {
    **by_neighbors.MEASURES,
    **by_kernels.MEASURES,
    **by_maps.MEASURES,
    **by_rdm.MEASURES,
}


def alignment(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    k: int = 10,
    rdm_metric: str = "correlation",
    neighbors: Literal["exact", "approximate"] = "exact",
    layers: Literal["half", "max"] | None = None,
    n_permutations: int = 200,
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> xr.DataArray:
    """How well every model of one modality agrees with every model of another.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), joined on the labels of ``stimulus``, never by position.
        Extra dims that both have are matched by label, others make an outer product.
    metric : str
        Per stimulus: ``mutual_knn``, ``rdm``, and ``cosine`` for one shared space. Per model
        pair: ``cka``, ``cknna``, ``cycle_knn``, ``lcs_knn``, ``edit_distance_knn``, ``svcca``,
        ``procrustes`` (a distance), ``linear_predictivity`` (of b from a), ``rsa``. Formulas,
        ranges, chance levels, invariances and cost are in ``docs/measures.md``.
    k : int
        Neighbours, for ``mutual_knn``, ``cycle_knn``, ``lcs_knn``, ``edit_distance_knn`` and
        ``cknna``.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli, for ``rdm`` and ``rsa``.
    neighbors : {"exact", "approximate"}
        How neighbours are searched, for the measures of neighbour lists (all of those but
        ``cknna``): among all stimuli, or by the index of ``neighbor_graph``, whose recall is in the
        coordinates ``recall_a`` and ``recall_b``.
    layers : {"half", "max"}, optional
        Score networks by their best pair of layers. ``half``: the pair is chosen on a random half
        of the stimuli and scored on the other. ``max``: the maximum over pairs, with the
        coordinates ``p_value`` and ``threshold`` (alpha 0.05) under a null that permutes the
        stimuli of b, the same way for all layers. Per-stimulus measures are averaged.
    network : str
        Coordinate on ``model`` that says which models are layers of one network; a dim ``layer``
        needs none.
    n_permutations : int
        Of the null of ``layers="max"``.
    rng : Generator, int or None
        Source of halves, permutations and folds; the seed that was used is in ``attrs["seed"]``.
    **options
        Of the metric. ``cknna``: ``centered=False``, True for its published reading instead of
        the coded one. ``cka``: ``kernel="linear"`` or ``"rbf"``, ``debiased=True``, ``sigma=1.0``
        (of the median distance). ``svcca``: ``n_components=10``, ``folds=5`` (None: in-sample),
        ``groups`` (a stimulus coordinate whose equal values are held out together).
        ``linear_predictivity``: ``folds=5``, ``groups``, ``score="r"`` or ``"r2"``. ``rsa``:
        ``method="spearman"``.

    Returns
    -------
    DataArray
        ``alignment`` (…, model_a, model_b[, stimulus]), in the order of ``a``; ``attrs["kind"]``
        says whether large means alike. NaN where either model misses the stimulus; measures of a
        pair use the stimuli that both saw, counted in the coordinate ``n_stimuli``. The value
        under chance is in ``attrs["chance"]`` where it has a closed form. Model coordinates carry
        the suffix of their side; stimulus coordinates too where the two sides contradict each
        other. With ``layers``, the model dims hold networks, and the coordinates ``layer_a`` and
        ``layer_b`` the chosen layers. Lazy if an input is.

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
    scored. A neighbour graph (``neighbor_graph``) may stand for a side where lists are compared.
    Memory of a task: models of up to 16 MiB as they are; longer lazy ones are read block by block
    for neighbours, ``cka``, ``procrustes``, ``rdm``, ``rsa`` by pearson and cosine, and, with more
    stimuli than folds × features on both sides, ``svcca`` and ``linear_predictivity``. What the
    others hold is in ``docs/scaling.md``. Ties between equal neighbours go to the label that sorts
    first (numbers inside labels by value), so that order changes nothing.

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
    pair = Pair(a, b, rng)
    a, b = pair.a, pair.b
    options = own_options(metric, options, k=k, rdm_metric=rdm_metric, rng=pair.stream)
    measure = MEASURES[metric]
    choose("neighbors", neighbors, ["exact", "approximate"])
    if neighbors != "exact":
        if metric not in OF_LISTS:
            raise ValueError(
                f"neighbors={neighbors!r} is for measures of neighbour lists "
                f"({listing(OF_LISTS)}); metric={metric!r} is none"
            )
        a, b = (standing_for(side, k, neighbors) for side in (a, b))
    score = partial(measure.function, **options)
    sign = -1 if measure.kind == "distance" else 1
    if layers is not None:
        choose("layers", layers, ["half", "max"])
        a, b = (networks(side, what) for side, what in ((a, "a"), (b, "b")))
    if layers == "half":

        def per_pair(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
            scores: xr.DataArray = score(a, b)
            return scores.mean("stimulus", keep_attrs=True) if "stimulus" in scores.dims else scores

        result = on_halves(a, b, per_pair, sign, np.random.default_rng(rng))
    elif layers == "max":
        if n_permutations < 1:
            raise ValueError(f"n_permutations={n_permutations} must be at least 1")
        assert measure.null is not None
        blocks = blocks_of(n_permutations, lazy=bool(a.chunks or b.chunks))
        null = measure.null(a, b, **options)
        draws = joined(draw(null, seen(a), seen(b), blocks, pair.stream), n_permutations)
        table = summarized(maximum(draws, a, b, sign), ALPHA, best_of(measure))
        result = table["score"].assign_coords(
            p_value=table["p_value"], threshold=table["threshold"]
        )
        result.attrs = {**plain(options), "n_permutations": n_permutations, "alpha": ALPHA}
    else:
        result = score(a, b)
        if measure.per == "model pair":
            result = result.assign_coords(n_stimuli=pair.n_stimuli())
    order = ["model_a", "model_b", *(["stimulus"] if "stimulus" in result.dims else [])]
    result = describe(
        result.transpose(..., *order),
        "alignment",
        **{
            "metric": metric,
            "kind": measure.kind,
            "layers": layers,
            "neighbors": None if neighbors == "exact" else neighbors,
            **pair.attrs,
            **result.attrs,
        },
    )
    return result


OF_LISTS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def best_of(measure: Measure) -> float:
    """The value of perfect agreement."""
    return 0.0 if measure.kind == "distance" else 1.0


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as attrs."""
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in options.items()
        if name != "rng"
    }


def own_options(metric: str, options: dict[str, Any], **shared: Any) -> dict[str, Any]:
    """Options of a metric, and those of the shared arguments that it has; others are an error."""
    choose("metric", metric, MEASURES)
    known = inspect.signature(MEASURES[metric].function).parameters.values()
    mine = [parameter.name for parameter in known if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in mine]
    if unknown:
        raise TypeError(
            f"metric={metric!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(mine) or 'none'}"
        )
    return options | {name: value for name, value in shared.items() if name in mine}
