"""Scores against their chance level: permutation p-values, corrected and calibrated scores."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure
from xconverge.engine.pair import Pair, pairing_attrs
from xconverge.engine.progress import Progress, Report
from xconverge.engine.resampling import (
    blocks_of,
    run,
    seed_of,
    strata_name,
    strata_of,
    summarized,
    tell_few,
)
from xconverge.engine.scores import models
from xconverge.inference.multiplicity import Family, Over, adjusted, family_of
from xconverge.kernels import permutations as kernels
from xconverge.kernels.kernel import Kernel, chances
from xconverge.kernels.rsa import Rsa
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import callback, real, whole
from xconverge.labels.coordinates import set_aside, with_own
from xconverge.labels.joins import on_side, stimulus_rank
from xconverge.labels.messages import choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.measures.alignment import MEASURES, plan_of
from xconverge.measures.layers import maximum, networks
from xconverge.measures.rsa import METHODS, join_controls, rdm_models

Rng = np.random.Generator | int | None


def calibrate(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    n_permutations: int = 1000,
    alpha: float = 0.05,
    layers: Literal["max"] | None = None,
    strata: str | xr.DataArray | None = None,
    blocks: str | xr.DataArray | None = None,
    over: Over = None,
    clusters: Over = None,
    k: int = 10,
    rdm_metric: str = "correlation",
    progress: Progress | None = None,
    rng: Rng = None,
    **options: Any,
) -> xr.Dataset:
    """Alignment of every model pair against what permuted stimulus labels give.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), as in ``alignment``.
    metric : str
        Any metric of ``alignment``; per-stimulus ones are averaged over the stimuli.
    n_permutations : int
        Permutations of the stimulus labels of ``b``, the same for all pairs.
    alpha : float
        Rate at which permutations exceed the threshold.
    layers : {"max"}, optional
        Score networks by the best pair of their layers: the maximum is taken again under every
        permutation, which is the same for all layers.
    strata : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): labels are permuted only inside
        its values, for a null that keeps what the strata explain.
    blocks : str or DataArray, optional
        The same, of near-duplicates (``find_duplicates``) or other groups that are one unit:
        whole groups change places with groups of their size, and of sizes alike where few have
        it. Folds of ``svcca`` and ``linear_predictivity`` hold whole groups.
    over : str or sequence of str, optional
        Dims whose tests are corrected for together (``"time"``, ``["model_a", "model_b"]`` …), by
        default all of the result; every position of the others is a family of its own.
    clusters : str or sequence of str, optional
        An ordered one of them: neighbouring bins that stand out are tested together; by default
        ``"time"``. Two (``["time", "time_2"]``) make clusters in the plane.
    k, rdm_metric
        As in ``alignment``.
    progress : callable, optional
        Called with the permutations done and their number; by default a line on the terminal
        after five seconds.
    rng : Generator, int or None
        Source of the permutations (and of folds); the same one gives the same numbers, whatever
        the chunks, the workers or the order of the stimuli.
    **options
        Of the metric, as in ``alignment``.

    Returns
    -------
    Dataset
        In memory, (…, model_a, model_b): ``alignment``, the score s; ``p_value``,
        (1 + #{null >= s}) / (1 + n_permutations), never 0; ``chance`` c, the mean over
        permutations, exact where it has a closed form (``mutual_knn``, ``cka``, ``rdm``, ``rsa``
        but cosine), else that of the draws; ``corrected``, (s - c) / (best - c);
        ``threshold`` τ, the ceil((1 - alpha)(n_permutations + 1))-th of the ordered draws and s;
        ``calibrated``, (s - τ) / (best - τ), above 0 where s exceeds τ. ``best`` is 1, and 0 for
        a distance, where small is alike. ``p_value`` has coordinates corrected for the number
        of tests, over pairs and extra dims (``over``): ``p_value_bh`` and ``p_value_by`` (false
        discovery rate, under positive and under any dependence), ``p_value_max_t`` (family-wise
        error), and with ``clusters`` ``p_value_cluster`` (family-wise error, of clusters).
        ``n_stimuli`` counts the stimuli that both models saw. ``attrs["n_permutations"]`` is the
        number that was done.

    Warns
    -----
    RuntimeWarning
        Corrections that a single effect among so many tests cannot pass, with the permutations
        that it needs. Pairs without a p-value, because too few stimuli are common or the score is
        undefined; an interrupt (Ctrl-C), after which the result rests on the permutations that were
        done.

    Raises
    ------
    SchemaError, ValueError, TypeError
        As ``alignment``.

    Notes
    -----
    Computes its inputs: a long run shows progress and can be interrupted. Neighbour lists, ranks
    and kernels are made once; a permutation only moves them. A task holds them for all models,
    and 250 permutations: n × n numbers a model for ``rdm``, ``rsa``, RBF ``cka``, and for linear
    ``cka`` where features are many against stimuli. ``procrustes`` needs a singular value
    decomposition a permutation, ``linear_predictivity`` a regression.

    Exchangeable under the null are the stimuli of b (inside strata). ``svcca`` and
    ``linear_predictivity`` are permuted inside their folds, so that what was fitted to other
    folds stays. Not valid where stimuli depend on each other (frames of a movie, sentences of a
    story): give the blocks as strata of something that repeats, or thin the stimuli. See
    ``docs/statistics.md``.

    Gröger et al. (2026), arXiv 2602.14486, for threshold and calibrated score; Phipson & Smyth
    (2010) for p; Westfall & Young (1993) for max-T; Maris & Oostenveld (2007) for clusters: bins
    stand out where the score exceeds what a share ``alpha`` of permutations do, and a cluster says
    that there is an effect, not where it begins.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=2, n_stimuli=60, rng=0)
    >>> table = calibrate(study["vision"], study["language"], k=5, n_permutations=199, rng=0)
    >>> table["p_value"].values.tolist()
    [[0.005, 0.005], [0.005, 0.005]]
    >>> bool((table["corrected"] < table["alignment"]).all())
    True
    """
    check_draws(n_permutations, alpha)
    callback("progress", progress)
    pair = Pair(a, b, rng)
    if layers is not None:
        choose("layers", layers, ["max"])
        pair = pair.mapped(networks)
    row = MEASURES[choose("metric", metric, MEASURES)]
    options = _whole_in_folds(row, options, blocks)
    plan = plan_of(pair, metric, options, k=k, rdm_metric=rdm_metric)
    family = family_of(over, *_sided(pair), clusters=clusters)
    groups = strata_of(strata, (pair.a, pair.b))
    inside = plan.given if plan.kernel.permuted_inside_folds else None
    units = blocks_of(blocks, (pair.a, pair.b), groups, inside)
    tell_few(units, groups)
    sides = models(plan, pair)
    draws, done = run(
        plan.kernel,
        sides,
        pair.rank,
        n_permutations,
        pair.stream,
        progress or Report(f"calibrate {metric}"),
        plan.given,
        groups,
        blocks=units,
    )
    exact = None
    if layers:
        draws = maximum(draws, pair.a, pair.b, -1 if row.kind == "distance" else 1)
    else:
        draws = with_own(draws, {"n_stimuli": pair.n_stimuli().compute()})
        known = strata is None and blocks is None
        exact = _closed_chance(plan.kernel, *sides) if known else None
    parameters = {
        **plan.options(), "metric": metric, "kind": row.kind, "n_permutations": done,
        "alpha": alpha, "layers": layers, "strata": strata_name(strata),
        "blocks": strata_name(blocks), "seed": pair.seed,
        **pair.attrs,
    }  # fmt: skip
    return table_of(
        draws, "alignment", exact, row.best, plan.kernel.min_stimuli, family, parameters
    )


def calibrate_rsa(
    rdm_a: xr.DataArray,
    rdm_b: xr.DataArray,
    method: str = "spearman",
    *,
    n_permutations: int = 1000,
    alpha: float = 0.05,
    nuisance: xr.DataArray | Sequence[xr.DataArray] = (),
    strata: str | xr.DataArray | None = None,
    blocks: str | xr.DataArray | None = None,
    over: Over = None,
    clusters: Over = None,
    progress: Progress | None = None,
    rng: Rng = None,
) -> xr.Dataset:
    """Similarity of RDMs against what permuted stimulus labels give (Mantel test).

    Parameters
    ----------
    rdm_a, rdm_b : DataArray
        (…, stimulus, stimulus_2), as in ``rsa``; ``model`` may be absent.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison, as in ``rsa``.
    n_permutations : int
        Permutations of the labels of ``rdm_b``, rows and columns together.
    alpha, strata, blocks, over, clusters, progress, rng
        As in ``calibrate``.
    nuisance
        As in ``rsa``.

    Returns
    -------
    Dataset
        As ``calibrate``, with ``rsa`` in place of ``alignment``. In memory.

    Warns
    -----
    RuntimeWarning
        As ``calibrate``.

    Raises
    ------
    SchemaError, ValueError
        As ``rsa``; an RDM with NaN for single pairs of stimuli.

    Notes
    -----
    Mantel (1967). Entries of an RDM depend on each other: their permutation, or the p-value of
    ``spearmanr`` over them, rejects true nulls several times too often. Ranks and norms are made
    once; a task holds the RDMs of all models. With nuisances, residuals are permuted, and what
    the nuisances explain of the permuted residuals is taken out again (Freedman & Lane 1983).
    ``kendall`` sorts all pairs again under every permutation.

    Examples
    --------
    >>> from xconverge import rdm
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=1, n_stimuli=40, rng=0)
    >>> table = calibrate_rsa(rdm(study["vision"]), rdm(study["language"]), n_permutations=99,
    ...     rng=0)
    >>> float(table["p_value"].item()), float(table["chance"].item())
    (0.01, 0.0)
    """
    choose("method", method, METHODS)
    check_draws(n_permutations, alpha)
    callback("progress", progress)
    told, seed = seed_of(rng)
    a, b, controls = join_controls(rdm_a, rdm_b, nuisance, method)
    absent = [f"model{s}" for s, side in (("_a", a), ("_b", b)) if "model" not in side.dims]
    family = family_of(over, *with_models(a, b), clusters=clusters)
    draws, exact, done = permuted_rdms(
        a, b, controls, method, n_permutations, seed, progress or Report(f"calibrate_rsa {method}"),
        strata, blocks,
    )  # fmt: skip
    parameters = {
        "metric": method, "n_permutations": done, "alpha": alpha, "strata": strata_name(strata),
        "blocks": strata_name(blocks), "n_nuisance": len(controls) or None, "seed": told,
        **pairing_attrs(a, b, *controls),
    }  # fmt: skip
    table = table_of(draws, "rsa", exact, 1.0, Rsa.min_stimuli, family, parameters)
    return table.squeeze(absent)


def with_models(a: xr.DataArray, b: xr.DataArray) -> list[xr.DataArray]:
    """RDMs of both sides, ``model_a`` and ``model_b`` among their dims, one where there is none."""
    return [
        on_side(
            side if "model" in side.dims else set_aside(side, ["model"]).expand_dims("model"),
            "model", end,
        )
        for side, end in ((a, "_a"), (b, "_b"))
    ]  # fmt: skip


def permuted_rdms(
    a: xr.DataArray,
    b: xr.DataArray,
    controls: Sequence[xr.DataArray],
    method: str,
    n_permutations: int,
    seed: int,
    report: Progress,
    strata: str | xr.DataArray | None,
    blocks: str | xr.DataArray | None,
) -> tuple[xr.DataArray, xr.DataArray | None, int]:
    """Draws (draw, …, model_a, model_b) of joined RDMs, the observed score first.

    Beside them the mean over all permutations, where it is known, and how many were done.
    """
    kernel = Rsa(method=method)
    groups = strata_of(strata, (a, b))
    units = blocks_of(blocks, (a, b), groups)
    tell_few(units, groups)
    sides = rdm_models(kernel, a, b, controls)
    draws, done = run(
        kernel,
        sides,
        stimulus_rank(a),
        n_permutations,
        seed,
        report,
        strata=groups,
        blocks=units,
    )
    known = strata is None and blocks is None and not controls
    return draws, _closed_chance(kernel, *sides) if known else None, done


def _whole_in_folds(
    row: Measure, options: dict[str, Any], blocks: str | xr.DataArray | None
) -> dict[str, Any]:
    """Options of a metric whose folds hold whole blocks, where nothing else is asked of them."""
    mine = inspect.signature(row.make).parameters
    given = blocks is None or options.get("groups") is not None
    folded = "groups" in mine and options.get("folds", mine["folds"].default) is not None
    return options if given or not folded else {**options, "groups": blocks}


def _sided(pair: Pair) -> list[xr.DataArray]:
    """Both sides with the dims that a result has."""
    return [on_side(side, "model", f"_{what}") for side, what in pair.sides]


def _closed_chance(kernel: Kernel[Any], a: xr.DataArray, b: xr.DataArray) -> xr.DataArray | None:
    """Mean over all permutations (model_a, model_b), where the measure knows it."""
    found: xr.DataArray = apply(
        partial(_chances, kernel=kernel), a, b, core=[["model_a"], ["model_b"]],
        out=[["model_a", "model_b"]],
    ).compute()  # fmt: skip
    return None if found.isnull().all() else found


def _chances(a: Array, b: Array, *, kernel: Kernel[Any]) -> Array:
    return chances(kernel, list(a), list(b))


def check_draws(n_permutations: int, alpha: float) -> None:
    """Refuse what is no number of permutations, and no rate."""
    real("alpha", alpha, above=0, below=1)
    whole("n_permutations", n_permutations, 1)


def table_of(
    draws: xr.DataArray,
    name: str,
    exact: xr.DataArray | float | None,
    best: float,
    least: int,
    family: Family,
    parameters: dict[str, Any],
    beside: xr.DataArray | None = None,
) -> xr.Dataset:
    """What the draws say, described; ``exact`` stands for the mean of the draws where given.

    Tests that are left out on purpose, ``beside``, are NaN and not told.
    """
    pairs = ["model_a", "model_b"]
    if beside is not None:
        draws = draws.where(~beside)
    parts = summarized(draws, parameters["alpha"], best)
    score, p_value = parts["score"], parts["p_value"]
    lost = p_value.isnull() if beside is None else p_value.isnull() & ~beside
    if lost.any():
        missing = p_value.stack(pair=p_value.dims, create_index=False)
        who = missing[lost.transpose(*p_value.dims).values.ravel()]
        sides = [
            [str(name) for name in who.coords[side].values] for side in pairs if side in who.coords
        ]
        # a pair once, at however many times or regions it has none
        names = list(dict.fromkeys(map(" × ".join, zip(*sides, strict=True))))
        warnings.warn(
            f"no p-value for {listing(names)}: fewer than the {least} common stimuli that it "
            "needs, or a score that is undefined; the result is NaN there",
            RuntimeWarning,
            stacklevel=3,
        )
    if exact is not None:
        parts["chance"] = xr.zeros_like(score) + exact
    corrections = adjusted(
        draws, p_value, family, tail="greater" if best else "less", alpha=parameters["alpha"],
        stacklevel=4,
    )  # fmt: skip
    found = {
        name: describe(score, name, **parameters),
        "chance": describe(parts["chance"], "chance", exact=int(exact is not None), **parameters),
        "corrected": describe(_corrected(score, parts["chance"], best), "corrected", **parameters),
        "p_value": describe(p_value, "p_value", **{**parameters, "kind": None}),
        "threshold": describe(parts["threshold"], "threshold", **parameters),
        "calibrated": describe(
            _corrected(score, parts["threshold"], best), "calibrated", **parameters
        ),
    }
    return with_own(
        dataset_of(found, **parameters),
        {key: describe(value, key).reset_coords(drop=True) for key, value in corrections.items()},
    )


def _corrected(score: xr.DataArray, chance: xr.DataArray, best: float) -> xr.DataArray:
    result: xr.DataArray = apply(
        partial(kernels.corrected, best=best), score, chance, core=[[], []]
    )
    return result
