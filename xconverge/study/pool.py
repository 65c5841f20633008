"""Alignment as the pool of stimuli grows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from xconverge.engine.families import family_mean
from xconverge.engine.pair import Pair, refuse_repeats
from xconverge.kernels.permutations import corrected
from xconverge.kernels.subsets import disjoint_pairs
from xconverge.labels.arguments import check_neighbors, whole, wholes
from xconverge.labels.families import families
from xconverge.labels.joins import natural_rank
from xconverge.labels.variables import described
from xconverge.study.subset_scores import chances_inside, scores_inside


def pool_curve(
    a: xr.DataArray,
    b: xr.DataArray,
    sizes: Sequence[int] | None = None,
    *,
    k: int = 10,
    n_repeats: int = 20,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Mutual-kNN alignment in random pools of growing size, at fixed k and at fixed k/n.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), as in ``alignment``.
    sizes : sequence of int, optional
        Pool sizes, above k; by default an eighth, a quarter, half and all of the stimuli.
    k : int
        Neighbours; at fixed k/n the same share of a smaller pool, at least 1.
    n_repeats : int
        Random pools of every size.
    rng : Generator, int or None
        Source of the pools, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``pool_size`` and ``neighbors`` (``fixed_k``, ``fixed_share``):
        ``alignment`` (…, model_a, model_b), the mean over pools; ``chance``, that of k/(n - 1), n
        the stimuli of the pool that both models saw; ``corrected``,
        (alignment - chance) / (1 - chance); ``k`` as used; ``standard_deviation``, over the pools,
        of the mean over pairs.

    Warns
    -----
    RuntimeWarning
        Pools of which a pair of models saw no more than k stimuli: they do not count for it, NaN if
        none is left.

    Raises
    ------
    SchemaError, ValueError
        As ``alignment``; sizes that are not between k + 1 and the number of stimuli.

    Notes
    -----
    At fixed k the score falls as the pool grows, also beyond chance: neighbours become nearer
    (Koepke et al. 2026, arXiv 2604.18572). Compare sets at one pool size; where models miss
    stimuli, the pools of a pair, and those of its ``chance``, are smaller by what it does not
    share. A task holds the features of all models.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=1, rng=0)
    >>> curve = pool_curve(study["vision"], study["language"], [30, 60, 120], k=5, rng=0)
    >>> curve["k"].sel(neighbors="fixed_share").values.tolist()
    [1, 2, 5]
    """
    refuse_repeats("pool_curve", a, b)
    pair = Pair(a, b, rng)
    n = pair.a.sizes["stimulus"]
    whole("n_repeats", n_repeats, 1)
    check_neighbors(k, n)
    if sizes is None:
        sizes = sorted({n // 8, n // 4, n // 2, n} - set(range(k + 1)))
    sizes = wholes("sizes", sizes, k + 1, n, f"above k={k}, of {n} stimuli")
    rank = natural_rank(pair.a.indexes["stimulus"])
    seeds = np.random.default_rng(pair.seed).integers(2**63, size=len(sizes))
    neighbors = np.array([[k, max(1, round(k * size / n))] for size in sizes])
    pairs = ["model_a", "model_b"]
    of = {side: families(reps) for side, reps in zip(pairs, (pair.a, pair.b), strict=True)}
    parts, levels, deviations = [], [], np.empty(neighbors.shape)
    undefined = 0
    for number, (size, seed) in enumerate(zip(sizes, seeds, strict=True)):
        # the whole set is one pool: drawing it again gives it again
        members, _ = disjoint_pairs(
            np.ones(n, bool), rank, size, n_repeats if size < n else 1, int(seed)
        )
        both = [scores_inside(pair.a, pair.b, members, int(own)) for own in neighbors[number]]
        chances = [chances_inside(pair.a, pair.b, members, int(own)) for own in neighbors[number]]
        undefined += int(sum(one.isnull().any(pairs).sum() for one in chances))
        parts.append(xr.concat([one.mean("subset") for one in both], "neighbors"))
        levels.append(xr.concat([one.mean("subset") for one in chances], "neighbors"))
        deviations[number] = [float(family_mean(one, pairs, of).std("subset")) for one in both]
    if undefined:
        warnings.warn(
            f"k neighbours need at least k + 1 stimuli that both models of a pair saw; {undefined} "
            "pools have fewer for some pairs and do not count for these: NaN if none is left. Ask "
            "for larger sizes or a smaller k",
            RuntimeWarning,
            stacklevel=2,
        )
    score, chance = (
        xr.concat(one, "pool_size", coords="minimal", compat="override").transpose(
            "pool_size", "neighbors", *pairs, ...
        )
        for one in (parts, levels)
    )
    dims = ("pool_size", "neighbors")
    level = chance.broadcast_like(score).transpose(*score.dims)
    return described(
        {
            "alignment": score,
            "corrected": score.copy(data=corrected(score.values, level.values, 1.0)),
            "chance": chance,
            "k": xr.DataArray(neighbors, dims=dims),
            "standard_deviation": xr.DataArray(deviations, dims=dims),
        },
        metric="mutual_knn",
        n_repeats=n_repeats,
        seed=pair.seed,
        **pair.attrs,
    ).assign_coords(pool_size=sizes, neighbors=["fixed_k", "fixed_share"])
