"""The protocol of a measure of two models, on arrays: prepare, take, sums, finish.

Scoring, permutation and resampling are written here once, for every measure. What a measure has
of its own is how one model is prepared, what is summed over two models, and what number the sums
make; see ``docs/architecture.md``.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from xconverge.kernels.vectors import Array


class Prepared(Protocol):
    """What a state of any measure has: which stimuli (n) its model saw."""

    @property
    def seen(self) -> Array: ...


State = TypeVar("State", bound=Prepared)


class Kernel(ABC, Generic[State]):
    """A measure of two models. Its options are the fields of a frozen dataclass.

    Law, a property test of every measure: ``take(prepare(rows), where)`` scores as
    ``prepare(rows[where])`` does, but for what ``fixed`` lists.
    """

    per_stimulus: bool = False
    """Whether a score is one number a stimulus, or one number a pair of models."""
    min_stimuli: int = 4
    """Common stimuli that a score needs; NaN with fewer."""
    fixed: str = ""
    """What is not formed anew among other stimuli, in words."""
    permuted_inside_folds: bool = False
    """Whether the null moves stimuli inside their folds alone, so that fits of one side stay."""

    @abstractmethod
    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> State:
        """One model (n, F), ``width`` leading features real, NaN throughout where not seen.

        ``rank`` (n) orders the labels, for ties. ``given`` belongs to the pair: folds (n), or
        None.
        """

    @abstractmethod
    def take(self, state: State, where: Array, counts: Array | None = None) -> State:
        """The state among the stimuli ``where`` (m), all of them seen, in that order.

        ``counts`` (m) say how often each is there; copies of one are never compared.
        """

    @abstractmethod
    def sums(self, a: Sequence[State], b: Sequence[State], given: Array | None) -> Any:
        """What the scores of all pairs are made of, over stimuli that all of them saw."""

    @abstractmethod
    def finish(self, sums: Any, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """Scores (…, A, B), or (A, B, n) where they are one a stimulus."""

    def own(self, state: State) -> Any:
        """What a score is divided by: sums of a model with itself; None where there is nothing."""
        return None

    def scores_of_orders(
        self, a: Sequence[State], b: Sequence[State], orders: Array, given: Array | None
    ) -> Array:
        """Mean scores (P, A, B) where stimuli of b are in the orders (P, n) given.

        The plain way; a measure may have a faster one, which a test compares with this.
        """
        own_a, own_b = ([self.own(state) for state in side] for side in (a, b))
        result = np.empty((len(orders), len(a), len(b)))
        for order, scores in zip(orders, result, strict=True):
            moved = [self.take(state, order) for state in b]
            scores[...] = self.mean(self.finish(self.sums(a, moved, given), own_a, own_b))
        return result

    def scores_of_counts(self, a: Sequence[State], b: Sequence[State], counts: Array) -> Array:
        """Mean scores (P, A, B) where each stimulus is there ``counts`` (P, n) times."""
        result = np.empty((len(counts), len(a), len(b)))
        for count, scores in zip(counts, result, strict=True):
            where = np.flatnonzero(count)
            one, other = ([self.take(s, where, count[where]) for s in side] for side in (a, b))
            own = [[self.own(state) for state in side] for side in (one, other)]
            scores[...] = self.mean(self.finish(self.sums(one, other, None), *own), count[where])
        return result

    def mean(self, scores: Array, counts: Array | None = None) -> Array:
        """One number a pair: the mean over stimuli, where scores are of them."""
        return mean_of(scores, counts) if self.per_stimulus else scores

    def chance(self, a: State, b: State) -> float | None:
        """Mean over all permutations of a pair that saw the same, where it has a closed form."""
        return None


def mean_of(scores: Array, counts: Array | None = None) -> Array:
    """Mean over the last axis (n) of the numbers that are there, each ``counts`` (n) times."""
    if not np.isnan(scores).any():
        mean = scores.mean(-1) if counts is None else (scores * counts).sum(-1) / counts.sum()
        return np.asarray(mean)
    there = ~np.isnan(scores) * (1 if counts is None else counts)
    size = there.sum(-1)
    total = (np.nan_to_num(scores) * there).sum(-1)
    return np.asarray(np.divide(total, size, out=np.full(size.shape, np.nan), where=size > 0))


class RowKernel(Kernel[State]):
    """A measure whose sums are over stimuli, so that blocks of them add up.

    Models too long for one task are then read block by block: once to be measured, once for each
    pair. In memory a model is one block.
    """

    @abstractmethod
    def measure(self, block: Array, width: int, given: Array | None) -> Any:
        """What a block of rows (b, F) that were all seen says of its model."""

    @abstractmethod
    def merge(self, parts: Sequence[Any]) -> Any:
        """What several blocks say."""

    @abstractmethod
    def place(self, block: Array, width: int, fit: Any) -> Array:
        """Rows of a block as they enter the sums, by what all blocks of the model say."""

    @abstractmethod
    def cross(self, x: Array, y: Array, given: Array | None) -> Any:
        """What the rows of a block add to the sums of a pair."""

    @abstractmethod
    def combine(self, parts: Sequence[Any]) -> Any:
        """What several blocks add."""

    @abstractmethod
    def reduced(self, parts: Any) -> Any:
        """What ``finish`` takes of one pair."""

    def own_of(self, parts: Any) -> Any:
        """``own``, from what all blocks of a model add to its sums with itself."""
        return None


class Pool(NamedTuple):
    """Models that all saw the same: which stimuli both sides have (n), and which models."""

    common: Array
    a: Array
    b: Array


def pools(a: Sequence[Prepared], b: Sequence[Prepared]) -> Iterator[Pool]:
    """Every distinct set of common stimuli, with the models of either side that have it."""
    for mine, i in alike([state.seen for state in a]):
        for theirs, j in alike([state.seen for state in b]):
            yield Pool(mine & theirs, i, j)


def alike(seen: Sequence[Array]) -> list[tuple[Array, Array]]:
    """The distinct masks (n), and the positions of each."""
    rows: dict[bytes, list[int]] = {}
    for position, row in enumerate(seen):
        rows.setdefault(row.tobytes(), []).append(position)
    return [(seen[positions[0]], np.array(positions)) for positions in rows.values()]


def within(kernel: Kernel[State], states: Sequence[State], common: Array) -> list[State]:
    """States among the common stimuli; as they are where that is all they have."""
    where = np.flatnonzero(common)
    whole = len(where) == len(common)
    return list(states) if whole else [kernel.take(state, where) for state in states]


def score(
    kernel: Kernel[State], a: Sequence[State], b: Sequence[State], given: Array | None
) -> Array:
    """Scores (A, B), or (A, B, n) with NaN where either model misses the stimulus.

    Every pair in its own pool: the stimuli that both saw.
    """
    n = len(a[0].seen)
    each = kernel.per_stimulus
    result = np.full((len(a), len(b), n) if each else (len(a), len(b)), np.nan)
    few: set[int] = set()
    for pool in pools(a, b):
        size = np.count_nonzero(pool.common)
        if size < kernel.min_stimuli:
            few.add(size)
            continue
        one = within(kernel, [a[i] for i in pool.a], pool.common)
        other = within(kernel, [b[j] for j in pool.b], pool.common)
        inside = None if given is None else given[pool.common]
        own = [[kernel.own(state) for state in side] for side in (one, other)]
        values = kernel.finish(kernel.sums(one, other, inside), *own)
        if each:
            result[np.ix_(pool.a, pool.b, pool.common)] = values
        else:
            result[np.ix_(pool.a, pool.b)] = values
    if few:
        warn_few(few, kernel.min_stimuli)
    return result


def warn_few(sizes: set[int], needed: int) -> None:
    """Say that pairs have no score because they share too few stimuli."""
    warnings.warn(
        f"a score needs at least {needed} stimuli that both models saw; pairs that share "
        f"{', '.join(map(str, sorted(sizes)))} have none: NaN",
        RuntimeWarning,
        stacklevel=3,
    )
