"""Would other models, or other stimuli, have said the same? Split-half reliability."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.names import names_along
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import seed_of
from xconverge.engine.scores import scores
from xconverge.kernels import split_half as kernels
from xconverge.kernels.permutations import corrected
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed, real, whole
from xconverge.labels.checks import check_representations, check_shared
from xconverge.labels.families import families
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.measures.alignment import MEASURES as SCORES
from xconverge.measures.alignment import chance_of, plan_of
from xconverge.measures.dispersion import MEASURES, dispersion

SPLIT = "_split"
NAMES = ("half_correlation", "reliability", "lower", "upper")
TEXTS = {
    name: {"long_name": f"{name} quantile over splits of the reliability, no confidence interval"}
    for name in ("lower", "upper")
}


def reliability(
    reps: xr.DataArray,
    metric: str = "cosine",
    *,
    n_splits: int = 100,
    level: float = 0.95,
    k: int = 10,
    rdm_metric: str = "correlation",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Does one half of the models find the same stimuli dispersed as the other half?

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), at least 4 models; extra dims are mapped over.
    metric : str
        Any metric of ``dispersion``. For ``consensus`` the consensus of a half is the mean of its
        own models, in the space as it was given.
    n_splits : int
        Random splits of the models into halves, the smaller one rounded down. Where there are no
        more distinct splits than this, each is taken once: 3 for 4 models, 10 for 5 or 6, 35 for
        7 or 8.
    level : float
        Share of the splits between ``lower`` and ``upper``.
    k, rdm_metric
        As in ``dispersion``. Neighbours and RDMs are those of all stimuli.
    rng : Generator, int or None
        Source of the splits; they follow the labels of the models, not their order.

    Returns
    -------
    Dataset
        ``half_correlation``, the mean over splits of Spearman's correlation r over stimuli of the
        dispersion of one half with that of the other, in [-1, 1]; ``reliability``, the
        Spearman–Brown value 2r / (1 + r) of that mean, an estimate for the dispersion of all
        models, at most 1 and without a lower bound; ``lower`` and ``upper``, the value of
        quantiles of r over splits, by default 2.5 and 97.5 %, NaN for r = -1: how much the choice
        of split matters, not a confidence interval. ``attrs["n_splits"]`` is the number of splits
        made. Lazy if ``reps`` is; a task holds the distances of all pairs of models
        (model × model × stimulus), which are computed once.

    Warns
    -----
    RuntimeWarning
        Fewer than 4 models: NaN. Models that saw nothing, by name, and splits without a
        correlation, which are left out.
    UnalignedSpaceWarning
        A coordinate metric on features that are not marked as a shared space.

    Raises
    ------
    SchemaError, ValueError
        As ``dispersion``.

    Notes
    -----
    A stimulus that a half saw with fewer than 2 models drops out of that split. Of a few models
    Spearman–Brown says too little: the whole has its halves' pairs and those across, and the noise
    of a mean over pairs falls with M - 1 rather than M (simulated, 6 models: 0.46 where 6 new
    models correlated with 0.58). For an odd number of models the halves differ by one. Models of
    one family are in both halves, and agree for that reason: the value is for more models of the
    same kinds, not for other families. Layers of one network (``network``, else ``subject``) are
    in one half, and count as one model. A shared space that was fitted to all models ties the
    halves together, and so do neighbours among the same stimuli.
    The mean over splits is taken before Spearman–Brown, whose curve would pull it down: averaged
    after it, unrelated models seem to have a reliability far below 0.
    Where the value is ρ, no correlation of the dispersion with anything else exceeds about √ρ.

    Spearman (1910), Brown (1910).

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=6, n_stimuli=60, rng=0)
    >>> found = reliability(study["vision"], "neighborhood", k=5, rng=0)
    >>> bool(0.3 < found["half_correlation"] < found["reliability"] < 1)
    True
    >>> found["reliability"].attrs["n_splits"]
    10
    """
    choose("metric", metric, MEASURES)
    _check(n_splits, level)
    check_seed(rng)
    reps = check_representations(reps)
    if not MEASURES[metric].basis_free:
        check_shared(reps, f"metric={metric!r}")
        reps = reps.assign_attrs(space="shared")
    # of ranks alone: the consensus squared, Σ|x_m - z|² / (M-1), is half the mean squared distance
    squared = metric in ("consensus", "sqeuclidean")
    distances = dispersion(
        reps,
        "euclidean" if squared else metric,
        pairwise=True,
        k=k,
        rdm_metric=rdm_metric,
    )
    told, seed = seed_of(rng)
    of = families(reps)
    rank = natural_rank(list(of.names))
    parts = apply(
        _model_halves,
        distances,
        xr.DataArray(rank, dims="_family"),
        xr.DataArray(of.numbers, dims="model"),
        names_along(reps, "model"),
        core=[["model", "model_2", "stimulus"], ["_family"], ["model"], ["model"]],
        out=[[]] * len(NAMES),
        dtypes=[np.float64] * len(NAMES),
        seed=seed,
        n_splits=n_splits,
        level=level,
        squared=squared,
    )
    return _table(
        parts,
        metric=metric,
        modality=reps.attrs.get("modality"),
        k=k if metric == "neighborhood" else None,
        rdm_metric=rdm_metric if metric == "rdm" else None,
        n_models=len(rank),
        n_splits=len(kernels.halves(rank, seed, n_splits)),
        level=level,
        seed=told,
    )


def _model_halves(
    distances: Array, rank: Array, family: Array, names: Array, **options: Any
) -> kernels.Summary:
    """``model_halves`` of the models that have a distance to another, told who has none."""
    apart = np.where(np.eye(len(family), dtype=bool)[..., None], np.nan, distances)
    has = ~np.isnan(apart).all((1, 2))
    # a model that saw nothing would make the half smaller that it falls into
    if not has.all() and has.any():
        warnings.warn(
            f"reliability leaves out {listing(names[~has])}, which have no dispersion with any "
            "other model; it is that of the others",
            RuntimeWarning,
            stacklevel=2,
        )
        left, family = np.unique(family[has], return_inverse=True)
        distances, rank = distances[np.ix_(has, has)], np.argsort(np.argsort(rank[left]))
    return kernels.model_halves(distances, rank, family=family, **options)


def alignment_reliability(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    n_splits: int = 20,
    pool: Literal["all", "half"] = "half",
    level: float = 0.95,
    k: int = 10,
    rdm_metric: str = "correlation",
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> xr.Dataset:
    """Does one half of the stimuli order the model pairs as the other half does?

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), as in ``alignment``; at least 3 model pairs.
    metric : str
        Any metric of ``alignment``. Those of a model pair are scored again on each half.
    n_splits : int
        Random splits of the stimuli into halves, the smaller one rounded down.
    pool : {"half", "all"}
        Metrics per stimulus are scored again inside each half, which then share nothing; or once,
        with the neighbours and RDM rows of all stimuli, and averaged over each half.
    level : float
        Share of the splits between ``lower`` and ``upper``.
    k, rdm_metric
        As in ``alignment``.
    rng : Generator, int or None
        Source of the splits, which follow the labels of the stimuli, and of folds.
    **options
        Of the metric, as in ``alignment``.

    Returns
    -------
    Dataset
        ``half_correlation``, the mean over splits of Spearman's correlation r over model pairs of
        the scores of one half of the stimuli with those of the other, in [-1, 1];
        ``reliability``, 2r / (1 + r) (Spearman–Brown) of that mean, an estimate for the scores of
        all stimuli, at most 1 and without a lower bound; ``lower`` and ``upper``, the value of
        quantiles of r over splits, NaN for r = -1: how much the choice of split matters, not a
        confidence interval. Lazy if an input is; a metric of a model pair then adds the tasks of
        2 × ``n_splits`` alignments.

    Warns
    -----
    RuntimeWarning
        Fewer than 3 model pairs: NaN. Splits without a correlation, which are left out.

    Raises
    ------
    SchemaError, ValueError, TypeError
        As ``alignment``.

    Notes
    -----
    Where models miss stimuli, pairs of fewer common ones have a higher chance level: ``mutual_knn``
    and ``cycle_knn`` are compared as (score - chance) / (1 - chance); do not compare such pairs by
    other measures whose chance level is not 0.

    Of reliable *differences between pairs* alone: pairs that all score alike have none, however
    exact their scores. With ``pool="all"`` neighbours and RDM rows reach into the other half: r of
    unrelated models is then not 0 but 0.2 for ``mutual_knn`` and 0.3 for ``rdm`` (simulated, 100
    stimuli, k = 5). Inside halves it is 0, but neighbours are sparser, and a score of half as many
    stimuli may have another chance level. Stimuli that depend on each other (several captions of
    one image, frames of a movie) fall into both halves and raise r.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=4, n_stimuli=80, rng=0)
    >>> found = alignment_reliability(study["vision"], study["language"], k=5, rng=0)
    >>> bool(found["lower"] <= found["reliability"] <= found["upper"] <= 1)
    True
    """
    _check(n_splits, level)
    choose("pool", pool, ["all", "half"])
    pair = Pair(a, b, rng)
    plan = plan_of(pair, metric, options, k=k, rdm_metric=rdm_metric)
    first = kernels.halves(pair.rank.values, pair.stream, n_splits)
    pairs = ["model_a", "model_b"]
    each = SCORES[metric].per == "stimulus"

    def scored(half: Array | slice) -> xr.DataArray:
        """Scores among these stimuli alone, with folds of their own.

        Beyond chance, where that is known: pairs that miss more stimuli score more by chance, in
        both halves.
        """
        a, b = (side.isel(stimulus=half) for side, _ in pair.sides)
        some = Pair(a, b, pair.stream)
        plan = plan_of(some, metric, options, k=k, rdm_metric=rdm_metric)
        found = scores(plan, some).reset_coords(drop=True)
        if (chance := chance_of(plan, some.n_stimuli())) is not None:
            found = apply(partial(corrected, best=1.0), found, chance, core=[[], []])
        return found.mean("stimulus") if each and pool == "half" else found

    if each and pool == "all":
        both = apply(
            kernels.half_means,
            scored(slice(None)),
            xr.DataArray(first, dims=(SPLIT, "stimulus")),
            core=[[*pairs, "stimulus"], [SPLIT, "stimulus"]],
            out=[[SPLIT, *pairs]] * 2,
            dtypes=[np.float64] * 2,
        )
    else:
        both = [
            xr.concat([scored(np.flatnonzero(half)) for half in side], SPLIT)
            for side in (first, ~first)
        ]
    parts = apply(
        kernels.pair_halves,
        *both,
        core=[[SPLIT, *pairs]] * 2,
        out=[[]] * len(NAMES),
        dtypes=[np.float64] * len(NAMES),
        level=level,
    )
    return _table(
        parts,
        **{
            **plan.options(),
            "metric": metric,
            "n_model_pairs": pair.a.sizes["model"] * pair.b.sizes["model"],
            "n_splits": len(first),
            "pool": pool if each else None,
            "level": level,
            "seed": pair.seed,
            **pair.attrs,
        },
    )


def _check(n_splits: int, level: float) -> None:
    whole("n_splits", n_splits, 1)
    real("level", level, above=0, below=1)


def _table(parts: Any, **parameters: Any) -> xr.Dataset:
    return dataset_of(
        {
            name: describe(part, name, **TEXTS.get(name, {}), **parameters)
            for name, part in zip(NAMES, parts, strict=True)
        },
        **parameters,
    )
