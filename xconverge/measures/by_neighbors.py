"""Alignment by nearest neighbours: which stimuli two models put next to each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure, Recipe
from xconverge.kernels import graphs, intervals, resampled
from xconverge.kernels import neighbors as kernels
from xconverge.kernels.cka import cknna as cknna_kernel
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_features
from xconverge.labels.joins import on_side
from xconverge.measures.neighbors import NEIGHBOR, check_k, neighbor_lists


def _compare(
    a: xr.DataArray, b: xr.DataArray, k: int, kernel: Callable[[Array, Array], Array]
) -> xr.DataArray:
    check_k(k, a.sizes["stimulus"])
    lists = [
        on_side(neighbor_lists(side, k, what)[0], "model", f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        kernel, *lists, core=[["stimulus", NEIGHBOR]] * 2, out=[["stimulus"]]
    )
    return result


def mutual_knn(a: xr.DataArray, b: xr.DataArray, *, k: int = 10) -> xr.DataArray:
    """Share of the k neighbours that both have, per stimulus."""
    result = _compare(a, b, k, kernels.overlap)
    return result.assign_attrs(k=k, chance=k / (a.sizes["stimulus"] - 1))


def cycle_knn(a: xr.DataArray, b: xr.DataArray, *, k: int = 10) -> xr.DataArray:
    """How often a neighbour in b leads back in a."""
    result = _compare(a, b, k, kernels.cycle).mean("stimulus")
    return result.assign_attrs(k=k, chance=1 - (1 - k / (a.sizes["stimulus"] - 1)) ** k)


def lcs_knn(a: xr.DataArray, b: xr.DataArray, *, k: int = 10) -> xr.DataArray:
    """Mean length of the longest common subsequence of the ordered lists, as a share of k."""
    return _compare(a, b, k, kernels.common_subsequence).mean("stimulus").assign_attrs(k=k)


def edit_distance_knn(a: xr.DataArray, b: xr.DataArray, *, k: int = 10) -> xr.DataArray:
    """1 - mean Levenshtein distance of the ordered lists / k."""
    return _compare(a, b, k, kernels.edit_similarity).mean("stimulus").assign_attrs(k=k)


def _check_cknna(k: int, a: xr.DataArray, b: xr.DataArray) -> None:
    check_features(a, "a")
    check_features(b, "b")
    if k < 2:
        raise ValueError(f"cknna needs k of at least 2, got {k}")
    check_k(k, a.sizes["stimulus"])


def cknna(a: xr.DataArray, b: xr.DataArray, *, k: int = 10, centered: bool = False) -> xr.DataArray:
    """CKA on common nearest neighbours, as coded by its authors, or as published (centered)."""
    _check_cknna(k, a, b)
    sides = [
        on_side(part, "model", f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
        for part in neighbor_lists(side, k, what)
    ]
    core = [["stimulus", NEIGHBOR], ["stimulus", NEIGHBOR], ["stimulus"]] * 2
    result: xr.DataArray = apply(cknna_kernel, *sides, core=core, centered=centered)
    return result.assign_attrs(k=k, centered=int(np.bool_(centered)))


def _null(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    k: int = 10,
    scores: Callable[..., Array],
    exact: bool = False,
) -> Recipe:
    """The null of what compares neighbour lists; ``exact`` where its mean is k / (n - 1)."""
    n = a.sizes["stimulus"]
    check_k(k, n)
    lists_a, lists_b = (
        [(neighbor_lists(side, k, what)[0], ["stimulus", NEIGHBOR])]
        for side, what in ((a, "a"), (b, "b"))
    )
    return Recipe(scores, lists_a, lists_b, chance=k / (n - 1) if exact else None, least=2)


def _resampled(
    a: xr.DataArray, b: xr.DataArray, *, k: int = 10, scores: Callable[..., Array]
) -> Recipe:
    """What lists among stimuli drawn again are made of: lists of many more neighbours."""
    n = a.sizes["stimulus"]
    check_k(k, n)
    depth = min(n - 1, 8 * k + 40)
    core = ["stimulus", NEIGHBOR]
    parts_a, parts_b = (
        [
            (part, core)
            for part in neighbor_lists(side, depth, what, search=resampled.long_lists)[:2]
        ]
        for side, what in ((a, "a"), (b, "b"))
    )
    return Recipe(scores, parts_a, parts_b, least=2, options={"k": k})


def _cknna_resampled(
    a: xr.DataArray, b: xr.DataArray, *, k: int = 10, centered: bool = False
) -> Recipe:
    if centered:
        raise ValueError("centered=True has no interval: its means change with every draw")
    return _resampled(a, b, k=k, scores=resampled.drawn_cknna)


def _compared(compare: Callable[[Array, Array], Array]) -> Callable[..., Recipe]:
    return partial(_resampled, scores=partial(resampled.compared_lists, compare=compare))


def local_variances(
    a: xr.DataArray, b: xr.DataArray, *, k: int = 10
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Mean overlap (model_a, model_b), its variance, and that of the mean over pairs ()."""
    pairs = ["model_a", "model_b"]
    lists = [
        on_side(neighbor_lists(side, k, what)[0], "model", f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
    ]
    shares = apply(kernels.overlap, *lists, core=[["stimulus", NEIGHBOR]] * 2, out=[["stimulus"]])
    variance, of_mean = apply(
        intervals.local_variances,
        shares,
        *lists,
        core=[[*pairs, "stimulus"], *([side, "stimulus", NEIGHBOR] for side in pairs)],
        out=[pairs, []],
        dtypes=[np.float64] * 2,
    )
    return shares.mean("stimulus"), variance, of_mean


def _cknna_null(a: xr.DataArray, b: xr.DataArray, *, k: int = 10, centered: bool = False) -> Recipe:
    _check_cknna(k, a, b)
    core = [["stimulus", NEIGHBOR], ["stimulus", NEIGHBOR], ["stimulus"]]
    parts_a, parts_b = (
        list(zip(neighbor_lists(side, k, what), core, strict=True))
        for side, what in ((a, "a"), (b, "b"))
    )
    return Recipe(graphs.cknna_null, parts_a, parts_b, options={"centered": centered})


_COSINE_NEIGHBORS = ("rotation", "scale", "row norm")
_GRAPH = "one neighbour graph a model, n² d; then n k² a pair"
_PLATONIC = "Huh et al. (2024), The Platonic Representation Hypothesis"

MEASURES = {
    "mutual_knn": Measure(
        mutual_knn,
        per="stimulus",
        kind="similarity",
        formula="|N_A(i) ∩ N_B(i)| / k, N(i) the k nearest stimuli by cosine, i excluded",
        range="0 to 1",
        chance="k/(n-1), exactly, under permutation of labels; in `attrs`",
        invariant=_COSINE_NEIGHBORS,
        cost="one neighbour graph a model, n² d; then n k² a pair",
        reference=_PLATONIC,
        avoid="to compare pools of different size or k: it falls as the pool grows. Near-duplicate "
        "stimuli raise it whatever the models do (see `local_density`)",
        null=partial(_null, scores=graphs.mutual_null, exact=True),
        resampled=_compared(kernels.overlap),
    ),
    "cycle_knn": Measure(
        cycle_knn,
        per="model pair",
        kind="similarity",
        formula="mean over i of 1[i ∈ ∪_{j ∈ N_B(i)} N_A(j)]",
        range="0 to 1; of a model with itself the share of stimuli with a mutual neighbour",
        chance="1 - (1 - k/(n-1))^k; in `attrs`",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="where direction must not matter: it is not symmetric. Its chance level is about k "
        "times that of `mutual_knn`, and a model with itself may score below 1",
        null=partial(_null, scores=graphs.cycle_null),
        resampled=_compared(kernels.cycle),
    ),
    "lcs_knn": Measure(
        lcs_knn,
        per="model pair",
        kind="similarity",
        formula="mean over i of the length of the longest common subsequence of the two neighbour "
        "lists, nearest first, divided by k (the authors' code does not divide)",
        range="0 to 1",
        chance="a little below k/(n-1); permute labels",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="where the order among neighbours is noise; `mutual_knn` then has less variance",
        null=partial(_null, scores=graphs.lcs_null),
        resampled=_compared(kernels.common_subsequence),
    ),
    "edit_distance_knn": Measure(
        edit_distance_knn,
        per="model pair",
        kind="similarity",
        formula="1 - mean over i of the Levenshtein distance of the two neighbour lists / k",
        range="0 to 1",
        chance="below that of `lcs_knn`; permute labels",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="where the order among neighbours is noise. Despite its name it is a similarity",
        null=partial(_null, scores=graphs.edit_null),
        resampled=_compared(kernels.edit_similarity),
    ),
    "cknna": Measure(
        cknna,
        per="model pair",
        kind="similarity",
        formula="S(K,L) / sqrt(S(K,K) S(L,L)), S(K,L) = unbiased HSIC of K∘M and L∘M, K and L "
        "cosines, M_ij = 1[j ∈ N_A(i) ∩ N_B(i)], in S(K,K) that of A alone: as the authors coded "
        "it. `centered=True`: S = Σ M∘K̄∘L̄, K̄ without its row means: as they published it",
        range="about -0.1 to 1",
        chance="not 0: 0.086, 0.033, 0.010 for n = 100, 256, 1,024 at k = 10; permute labels",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="to compare subsets of different size; the two readings do not agree, name yours",
        null=_cknna_null,
        resampled=_cknna_resampled,
    ),
}
