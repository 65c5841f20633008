"""Alignment by nearest neighbours: which stimuli two models put next to each other."""

from __future__ import annotations

from xconverge.engine.measure import Measure, Plan
from xconverge.engine.pair import Pair
from xconverge.kernels.knn import Cknna, CycleKnn, EditKnn, LcsKnn, ListKernel, MutualKnn
from xconverge.labels.arguments import flags, whole
from xconverge.measures.neighbors import check_lists


def _plan(pair: Pair, kernel: ListKernel) -> Plan:
    for side, what in pair.sides:
        check_lists(side, kernel.k, what)
    return Plan(kernel, attrs={"depth": None})


def mutual_knn(pair: Pair, *, k: int = 10) -> Plan:
    """Share of the k neighbours that both have, per stimulus."""
    return _plan(pair, MutualKnn(k))


def cycle_knn(pair: Pair, *, k: int = 10) -> Plan:
    """How often a neighbour in b leads back in a."""
    return _plan(pair, CycleKnn(k))


def lcs_knn(pair: Pair, *, k: int = 10) -> Plan:
    """Mean length of the longest common subsequence of the ordered lists, as a share of k."""
    return _plan(pair, LcsKnn(k))


def edit_distance_knn(pair: Pair, *, k: int = 10) -> Plan:
    """1 - mean Levenshtein distance of the ordered lists / k."""
    return _plan(pair, EditKnn(k))


def cknna(pair: Pair, *, k: int = 10, centered: bool = False) -> Plan:
    """CKA on common nearest neighbours, as coded by its authors, or as published (centered)."""
    whole("k", k, 2, why="of cknna")
    flags(centered=centered)
    return _plan(pair, Cknna(k, centered=bool(centered)))


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
        chance="k/(n-1), exactly, under permutation of labels, n the stimuli that both saw; in the "
        "coordinate `chance`",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="to compare pools of different size or k: it falls as the pool grows. Near-duplicate "
        "stimuli raise it whatever the models do (see `local_density`)",
        resample=True,
        lists=True,
    ),
    "cycle_knn": Measure(
        cycle_knn,
        per="model pair",
        kind="similarity",
        formula="mean over i of 1[i ∈ ∪_{j ∈ N_B(i)} N_A(j)]",
        range="0 to 1; of a model with itself the share of stimuli with a mutual neighbour",
        chance="1 - (1 - k/(n-1))^k; in the coordinate `chance`",
        invariant=_COSINE_NEIGHBORS,
        cost=_GRAPH,
        reference=_PLATONIC,
        avoid="where direction must not matter: it is not symmetric. Its chance level is about k "
        "times that of `mutual_knn`, and a model with itself may score below 1",
        resample=True,
        lists=True,
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
        resample=True,
        lists=True,
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
        resample=True,
        lists=True,
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
        resample=True,
    ),
}
