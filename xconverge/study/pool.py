"""Alignment as the pool of stimuli grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xconverge.engine.pair import PairOn, Repeats, paired, refuse_keep, told_of
from xconverge.kernels.permutations import corrected
from xconverge.kernels.subsets import disjoint_pairs
from xconverge.labels.joins import Join, natural_rank
from xconverge.labels.variables import describe
from xconverge.measures.alignment import sides
from xconverge.study.subset_scores import scores_inside


def pool_curve(
    a: xr.DataArray,
    b: xr.DataArray,
    sizes: Sequence[int] | None = None,
    *,
    k: int = 10,
    n_repeats: int = 20,
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
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
    join, pair_on
        As in ``alignment``.
    repeats : {"mean", "keep"}
        Rows of one value of ``pair_on`` are averaged; ``"keep"`` is refused, see ``pair``.
    rng : Generator, int or None
        Source of the pools, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``pool_size`` and ``neighbors`` (``fixed_k``, ``fixed_share``):
        ``alignment`` (…, model_a, model_b), the mean over pools; ``corrected``, its
        (s - chance) / (1 - chance); ``chance``; ``k`` as used; ``standard_deviation``, over the
        pools, of the mean over pairs.

    Raises
    ------
    SchemaError, ValueError
        As ``alignment``; sizes that are not between k + 1 and the number of stimuli.

    Notes
    -----
    At fixed k the score falls as the pool grows, also beyond chance: neighbours become nearer
    (Koepke et al. 2026, arXiv 2604.18572). Compare sets at one pool size. A task holds the
    features of all models.

    Examples
    --------
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=1, rng=0)
    >>> curve = pool_curve(study["vision"], study["language"], [30, 60, 120], k=5, rng=0)
    >>> curve["k"].sel(neighbors="fixed_share").values.tolist()
    [1, 2, 5]
    """
    refuse_keep(repeats, "pool_curve")
    a, b = paired(pair_on, repeats, a=a, b=b)
    a, b, dropped = sides(a, b, join)
    n = a.sizes["stimulus"]
    if sizes is None:
        sizes = sorted({n // 8, n // 4, n // 2, n} - set(range(k + 1)))
    wrong = [size for size in sizes if not k < size <= n]
    if wrong or not sizes or n_repeats < 1:
        raise ValueError(
            f"sizes={list(sizes)}, n_repeats={n_repeats}: sizes must be above k={k} and at most "
            f"{n}, the number of stimuli; n_repeats at least 1"
        )
    rank = natural_rank(a.indexes["stimulus"])
    seeds = np.random.default_rng(rng).integers(2**63, size=len(sizes))
    shares = np.array([[k, max(1, round(k * size / n))] for size in sizes])
    parts, deviations = [], np.empty(shares.shape)
    for number, (size, seed) in enumerate(zip(sizes, seeds, strict=True)):
        members, _ = disjoint_pairs(
            np.ones(n, bool), rank, size, n_repeats if size < n else 1, int(seed)
        )
        both = [scores_inside(a, b, members, int(own)) for own in shares[number]]
        parts.append(xr.concat([one.mean("subset") for one in both], "neighbors"))
        pairs = ["model_a", "model_b"]
        deviations[number] = [float(one.mean(pairs).std("subset")) for one in both]
    score = xr.concat(parts, "pool_size", coords="minimal", compat="override")
    score = score.transpose("pool_size", "neighbors", "model_a", "model_b", ...)
    chance = xr.DataArray(shares / (np.array(sizes)[:, None] - 1), dims=("pool_size", "neighbors"))
    level = chance.broadcast_like(score).transpose(*score.dims)
    parameters = {"metric": "mutual_knn", "n_repeats": n_repeats, "n_dropped": dropped} | told_of(
        pair_on, repeats
    )
    return xr.Dataset(
        {
            "alignment": describe(score, "alignment", **parameters),
            "corrected": describe(
                score.copy(data=corrected(score.values, level.values, 1.0)),
                "corrected",
                **parameters,
            ),
            "chance": describe(chance, "chance", **parameters),
            "k": describe(chance.copy(data=shares), "k", **parameters),
            "standard_deviation": describe(
                chance.copy(data=deviations), "standard_deviation", **parameters
            ),
        }
    ).assign_coords(pool_size=sizes, neighbors=["fixed_k", "fixed_share"])
