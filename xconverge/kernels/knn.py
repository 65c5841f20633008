"""Which stimuli two models put next to each other: measures of neighbour lists.

All of them look at the k nearest stimuli of each stimulus by cosine, among the stimuli that both
models of a pair saw, itself excluded (Huh et al. 2024, The Platonic Representation Hypothesis).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import scipy

from xconverge.kernels import edges
from xconverge.kernels.hsic import hsic, normalized, own_hsic, sums_of
from xconverge.kernels.kernel import Kernel, mean_of
from xconverge.kernels.neighbors import (
    Answered,
    ShortListsError,
    filtered,
    mean_cosines,
    nearest,
    nearest_of_rows,
    overlap_share,
    renumbered,
    same_row,
    warn_if_few,
    whole_lists,
)
from xconverge.kernels.vectors import METRICS, Array, prepare, present

Self = TypeVar("Self", bound="ListKernel")


@dataclass(frozen=True)
class Lists:
    """Neighbours of one model: positions (n, K), nearest first, -1 beyond what is known.

    ``cosines`` (n, K) to them, ``mean`` (n) to all where that is needed. ``rows`` (n, F), of which
    ``width`` features are real, are what they were searched in; None for a graph that was made
    before.
    """

    order: Array
    cosines: Array | None
    mean: Array | None
    seen: Array
    rank: Array
    rows: Array | None
    width: int
    known: Mapping[bytes, tuple[Array, Array, Array]] = field(default_factory=dict)
    """Order, cosines and means among other sets of stimuli, by the bytes of their mask (n)."""
    left_out: int = 0
    """Stimuli that the lists may name and that are no longer there."""
    short: bool = False
    """Whether some list misses neighbours that there are."""


@dataclass(frozen=True)
class ListKernel(Kernel[Lists]):
    """A comparison of the two lists of a stimulus, averaged over stimuli."""

    k: int = 10
    depth: int = 0
    """Neighbours that are searched; more than k where lists will be filtered, by draws."""

    @property
    def min_stimuli(self) -> int:  # type: ignore[override]
        """Every stimulus needs k others."""
        return self.k + 1

    def compare(self, a: Array, b: Array) -> Array:
        """A number a stimulus (n), of lists (n, k)."""
        raise NotImplementedError

    def for_draws(self: Self, n: int) -> Self:
        """The same, with lists so long that few of them run short in a draw of n stimuli."""
        return replace(self, depth=min(n - 1, 8 * self.k + 40))

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Lists:
        """Lists of this depth, or longer ones where stimuli are missing: others will miss some too.

        -1 beyond the neighbours that a model has which saw fewer.
        """
        seen = present(rows[:, :width])
        size = int(seen.sum())
        depth = max(self.depth, self.k)
        if 0 < size < len(seen):
            # of a list this long, k are left with few exceptions when another model misses as many
            depth = max(depth, int(np.ceil((self.k + 3 * self.k**0.5) * len(seen) / size)))
        if not size:
            warn_if_few(self.k, size)
        order, cosines = nearest(rows, width, rank, min(depth, max(size - 1, self.k)))
        mean = mean_cosines(rows, width, rank) if self.needs_mean else None
        return Lists(order, cosines, mean, seen, rank, rows, width)

    def unsearched(self, rows: Array, width: int, rank: Array) -> Lists:
        """A model whose lists are made when ``take`` says among which stimuli."""
        none = np.full((len(rows), 1), -1)
        seen = present(rows[:, :width])
        return Lists(none, none + np.nan, None, seen, rank, rows, width)

    def take(self, state: Lists, where: Array, counts: Array | None = None) -> Lists:
        """Lists filtered; those that run short are searched again.

        The copies of a drawn stimulus have positions one after the other and one list, in which
        none of them stands.
        """
        copies = np.ones(len(where), np.int64) if counts is None else counts
        mask = np.zeros(len(state.seen), bool)
        mask[where] = True
        if counts is None and (known := state.known.get(mask.tobytes())):
            among, values, means = known
            return Lists(
                *filtered(among, values, where), means[where], mask[where], state.rank[where],
                None, state.width,
            )  # fmt: skip
        # of the long lists that draws need, a first part holds enough, but for a few draws; without
        # counts all is kept, for draws that may follow
        part, whole = 4 * self.k, state.order.shape[1]
        for length in [whole] if counts is None or whole <= part else [part, whole]:
            first = None if state.cosines is None else state.cosines[:, :length]
            order, cosines = filtered(state.order[:, :length], first, where)
            reached = np.where(order >= 0, copies[order], 0).sum(1)
            # of a list that names all others nothing is left to be found
            whole_list = (order >= 0).sum(1) == len(where) - 1
            short = np.flatnonzero((reached < self.k) & ~whole_list)
            if not len(short):
                break
        unit = None
        left_out = state.left_out + int(state.seen.sum()) - len(where)
        if len(short) and state.rows is None:
            raise ShortListsError(self.k, left_out, order.shape[1])
        if self.needs_mean and state.rows is None:
            raise ValueError(
                f"{self} is taken among other stimuli from the rows themselves, and a model that "
                "is read block by block has none at hand; .load() it"
            )
        if (len(short) or self.needs_mean) and state.rows is not None:
            unit, *_ = prepare(state.rows[where], state.width, METRICS["cosine"])
        if len(short) and unit is not None and state.rows is not None:
            order, cosines = self._completed(
                order,
                cosines,
                short,
                unit,
                state.rank[where],
                same_row(state.rows.dtype, state.width),
            )
        mean = None if unit is None else np.asarray(unit @ (copies @ unit / copies.sum()))
        rows = None if state.rows is None else state.rows[where]
        rank, seen = state.rank[where], state.seen[where]
        if counts is not None:
            order, cosines = expanded(order, cosines, counts, self.k)
            again = np.repeat(np.arange(len(where)), counts)
            rows = None if rows is None else rows[again]
            mean = None if mean is None else mean[again]
            rank, seen = rank[again], seen[again]
        return Lists(order, cosines, mean, seen, rank, rows, state.width, left_out=left_out)

    def _completed(
        self,
        order: Array,
        cosines: Array | None,
        short: Array,
        unit: Array,
        rank: Array,
        same: float,
    ) -> tuple[Array, Array | None]:
        """Lists whose rows ``short`` are searched again among the unit rows (m, f)."""
        found, values = nearest_of_rows(unit, rank, short, self.k, same)
        size = max(order.shape[1], self.k)
        longer = ((0, 0), (0, size - order.shape[1]))
        order = np.pad(order, longer, constant_values=-1)
        order[short] = -1
        order[short, : found.shape[1]] = found
        if cosines is not None:
            cosines = np.pad(cosines, longer, constant_values=np.nan)
            cosines[short, : values.shape[1]] = values
        return order, cosines

    needs_mean = False

    def of_graph(
        self,
        graph: Array,
        position: Array,
        rank: Array,
        rows: Array | None = None,
        width: int = 0,
        made_of: int = 0,
    ) -> Lists:
        """Lists of a graph (n, K) that was made before, of stimuli where they are now.

        From ``rows`` (n, F), if given, those that run short are searched again. ``made_of`` is how
        many stimuli there were; by default as many as the graph still names.
        """
        seen = ~np.isnan(graph[:, 0])
        order = renumbered(graph, position)
        named = int(max(position.max(), np.nanmax(graph, initial=0))) + 1
        left_out = max(made_of, named) - len(seen)
        most = min(self.k, int(seen.sum()) - 1)
        short = bool((seen & ((order >= 0).sum(1) < most)).any())
        return Lists(
            order, None, None, seen, rank, rows, int(width), left_out=left_out, short=short
        )

    def ready(self, state: Lists) -> bool:
        """Whether no list of a graph that was made before runs short; else ``take`` finds out."""
        return not state.short

    def of_blocks(
        self, parts: Sequence[Sequence[Answered]], sets: Array, rank: Array, width: int
    ) -> Lists:
        """Lists of a model that was read block by block, among each of the sets (P, n)."""
        if not sets[0].any():
            warn_if_few(self.k, 0)
        found = whole_lists(parts, sets, max(self.depth, self.k))
        known = {mask.tobytes(): lists for mask, lists in zip(sets, found, strict=True)}
        return Lists(*found[0], sets[0], rank, None, width, known)

    def lists(self, state: Lists) -> Array:
        """The k nearest (n, k)."""
        return state.order[:, : self.k]

    def sums(self, a: Sequence[Lists], b: Sequence[Lists], given: Array | None) -> Array:
        """What the comparison says (A, B, n); NaN where a stimulus has too few neighbours."""
        lists_a, lists_b = ([self.lists(state) for state in side] for side in (a, b))
        return np.array([[self._compared(x, y) for y in lists_b] for x in lists_a])

    def _compared(self, a: Array, b: Array) -> Array:
        values = self.compare(a, b)
        short = (a[:, -1] < 0) | (b[:, -1] < 0)
        return np.where(short, np.nan, values) if short.any() else values

    def finish(self, sums: Array, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """The mean over stimuli (A, B), or one number for each (A, B, n)."""
        return sums if self.per_stimulus else mean_of(sums)

    def mean(self, scores: Array, counts: Array | None = None) -> Array:
        """Copies are in the lists already, each with its own place."""
        return mean_of(scores) if self.per_stimulus else scores

    def null(self, orders: Array, a: Array, b: Array) -> Array:
        """Mean (P, A, B) under permutations, from lists (A, n, k) and (B, n, k)."""
        raise NotImplementedError

    def scores_of_orders(
        self, a: Sequence[Lists], b: Sequence[Lists], orders: Array, given: Array | None
    ) -> Array:
        """Only edges that the graphs of both sides share are looked at."""
        sides = (np.stack([self.lists(state) for state in side]) for side in (a, b))
        return self.null(orders, *sides)


@dataclass(frozen=True)
class MutualKnn(ListKernel):
    """Share of the k neighbours that both models have."""

    per_stimulus = True

    def compare(self, a: Array, b: Array) -> Array:
        """|N_a(i) ∩ N_b(i)| / k."""
        return overlap(a, b)

    def mean_over_models(self, states: Sequence[Lists]) -> Array:
        """Without pairing anything."""
        return mean_overlap(np.stack([self.lists(state) for state in states]))

    def null(self, orders: Array, a: Array, b: Array) -> Array:
        """Edges that both have."""
        return edges.mutual_null(orders, a, b)

    def chance_among(self, n: Any) -> Any:
        """Exactly k / (n - 1): every other stimulus is as likely as any."""
        return self.k / (n - 1)

    def chance(self, a: Lists, b: Lists) -> float:
        """The same for every pair of models that saw the same."""
        return float(self.chance_among(len(a.seen)))


@dataclass(frozen=True)
class CycleKnn(ListKernel):
    """Share of the stimuli to which a neighbour in b leads back in a."""

    def compare(self, a: Array, b: Array) -> Array:
        """1[i ∈ ∪_{j ∈ N_b(i)} N_a(j)]; not symmetric."""
        back = (a[b] == np.arange(len(a))[:, None, None]).any((1, 2))
        return np.asarray(back, np.float64)

    def chance_among(self, n: Any) -> Any:
        """1 - (1 - k / (n - 1))^k, where the ways back are independent."""
        return 1 - (1 - self.k / (n - 1)) ** self.k

    def null(self, orders: Array, a: Array, b: Array) -> Array:
        """Edges there and back."""
        return edges.cycle_null(orders, a, b)


@dataclass(frozen=True)
class LcsKnn(ListKernel):
    """Length of the longest common subsequence of the ordered lists, as a share of k."""

    def compare(self, a: Array, b: Array) -> Array:
        """A row of the usual table for all stimuli at once."""
        return common_subsequence(a, b)

    def null(self, orders: Array, a: Array, b: Array) -> Array:
        """Disjoint lists have none."""
        return edges.ordered_null(orders, a, b, common_subsequence)


@dataclass(frozen=True)
class EditKnn(ListKernel):
    """1 - Levenshtein distance of the ordered lists / k."""

    def compare(self, a: Array, b: Array) -> Array:
        """A row of the usual table for all stimuli at once."""
        return edit_similarity(a, b)

    def null(self, orders: Array, a: Array, b: Array) -> Array:
        """Disjoint lists are k apart."""
        return edges.ordered_null(orders, a, b, edit_similarity)


@dataclass(frozen=True)
class Cknna(ListKernel):
    """CKA on common nearest neighbours, as its authors coded it, or as they published it.

    Coded: S(K, L) is the unbiased HSIC of M∘K and M∘L, K and L cosines, M_ij = 1[j ∈ N_a(i) and
    j ∈ N_b(i)]; in S(K, K) the mask is that of a alone. Published (``centered``): S = Σ M∘K̄∘L̄,
    K̄ without its row means. The two do not agree.
    """

    centered: bool = False

    @property
    def min_stimuli(self) -> int:  # type: ignore[override]
        """HSIC needs 4."""
        return max(4, self.k + 1)

    @property
    def needs_mean(self) -> bool:  # type: ignore[override]
        """Row means change with the pool."""
        return self.centered

    def values(self, state: Lists) -> Array:
        """Cosines (n, k) to the neighbours, without the row means if published."""
        assert state.cosines is not None
        values = state.cosines[:, : self.k]
        if not self.centered:
            return values
        assert state.mean is not None
        return np.asarray(values - state.mean[:, None])

    def masked(self, state: Lists) -> scipy.sparse.csr_array:
        """Kernel (n, n) that is zero, and empty, beyond the neighbours."""
        lists, values = self.lists(state), self.values(state)
        n, k = lists.shape
        indices = np.where(lists >= 0, lists, 0).ravel()
        filled = np.where(lists >= 0, values, 0.0).ravel()
        return scipy.sparse.csr_array((filled, indices, np.arange(0, n * k + 1, k)), shape=(n, n))

    def similar(self, k: scipy.sparse.csr_array, m: scipy.sparse.csr_array) -> float:
        """S of two masked kernels."""
        if self.centered:
            return float((k * m).sum())
        return float(hsic(sums_of(k, m), debiased=True))

    def own(self, state: Lists) -> float:
        """S(K, K), with the mask of the model alone."""
        k = self.masked(state)
        if self.centered:
            return self.similar(k, k)
        return float(own_hsic(sums_of(k, k), True, float((k * k).sum())))

    def sums(self, a: Sequence[Lists], b: Sequence[Lists], given: Array | None) -> Array:
        """S(K, L) (A, B)."""
        sides = [[self.masked(state) for state in side] for side in (a, b)]
        ones = [
            [
                scipy.sparse.csr_array((np.ones_like(x.data), x.indices, x.indptr), x.shape)
                for x in s
            ]
            for s in sides
        ]
        return np.array(
            [
                [
                    self.similar(k * in_m, m * in_k)
                    for m, in_m in zip(sides[1], ones[1], strict=True)
                ]
                for k, in_k in zip(sides[0], ones[0], strict=True)
            ]
        )

    def finish(self, sums: Array, own_a: Sequence[float], own_b: Sequence[float]) -> Array:
        """CKNNA (A, B)."""
        return normalized(sums, np.asarray(own_a)[:, None], np.asarray(own_b))

    def scores_of_orders(
        self, a: Sequence[Lists], b: Sequence[Lists], orders: Array, given: Array | None
    ) -> Array:
        """Only edges that the graphs of both sides share are looked at."""
        lists_a, lists_b = (np.stack([self.lists(state) for state in side]) for side in (a, b))
        on_a, on_b = (np.stack([self.values(state) for state in side]) for side in (a, b))
        cross = edges.masked_null(orders, lists_a, lists_b, on_a, on_b, self.centered)
        own_a, own_b = (np.array([self.own(state) for state in side]) for side in (a, b))
        return normalized(cross, own_a[:, None], own_b)


def overlap(a: Array, b: Array) -> Array:
    """Share (n) of the neighbours in ``a`` (n, k) that are in ``b`` (n, k) too."""
    shared = np.zeros(len(a))
    for column in a.T:
        shared += (b == column[:, None]).any(1)
    return np.asarray(overlap_share(shared, a.shape[1]))


def common_subsequence(a: Array, b: Array) -> Array:
    """Length (n) of the longest common subsequence of two ordered lists, as a share of k."""
    k = a.shape[1]
    above = np.zeros((k + 1, len(a)), np.int64)
    for mine in a.T:
        row = np.zeros_like(above)
        for j, theirs in enumerate(b.T):
            longest = np.maximum(above[j + 1], row[j])
            row[j + 1] = np.where(mine == theirs, above[j] + 1, longest)
        above = row
    return np.asarray(above[k] / k)


def edit_similarity(a: Array, b: Array) -> Array:
    """1 - Levenshtein distance / k (n) of two ordered lists."""
    k = a.shape[1]
    above = np.repeat(np.arange(k + 1)[:, None], len(a), 1)
    for i, mine in enumerate(a.T):
        row = np.full_like(above, i + 1)
        for j, theirs in enumerate(b.T):
            one = np.minimum(above[j + 1], row[j]) + 1
            row[j + 1] = np.minimum(one, above[j] + (mine != theirs))
        above = row
    return np.asarray(1 - above[k] / k)


def expanded(
    order: Array, cosines: Array | None, counts: Array, k: int
) -> tuple[Array, Array | None]:
    """Lists (Σ counts, k) of all copies, as positions among them, and their cosines.

    From lists (m, K) of the distinct stimuli; copies of one have positions one after the other.
    -1 throughout where fewer than k others are there.
    """
    first = np.cumsum(counts) - counts
    times = np.where(order >= 0, counts[order], 0)
    reached = times.cumsum(1)
    lists = np.full((len(order), k), -1, np.int64)
    values = None if cosines is None else np.full((len(order), k), np.nan)
    enough = np.flatnonzero(reached[:, -1] >= k)
    for place in range(k):
        at = (reached[enough] <= place).sum(1)
        before = reached[enough, at] - times[enough, at]
        lists[enough, place] = first[order[enough, at]] + place - before
        if values is not None and cosines is not None:
            values[enough, place] = cosines[enough, at]
    again = np.repeat(np.arange(len(order)), counts)
    return lists[again], None if values is None else values[again]


def mean_overlap(lists: Array) -> Array:
    """Mean overlap (n) over all pairs of models that saw the same, from lists (model, n, k).

    A neighbour that c of the models have is shared by c (c - 1) / 2 pairs; nothing is paired.
    """
    models, n, k = lists.shape
    entries = np.sort(lists.transpose(1, 0, 2).reshape(n, models * k), axis=1)
    shared = np.zeros(n)
    # sorted, a neighbour that c models have is equal to the entry 1, 2, … c - 1 places before it
    for lag in range(1, models):
        equal = (entries[:, lag:] == entries[:, :-lag]).sum(1)
        if not equal.any():
            break
        shared += equal
    return np.asarray(overlap_share(shared, k, models * (models - 1) / 2))
