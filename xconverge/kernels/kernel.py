"""The protocol of a measure of two models, on arrays: prepare, take, sums, finish.

Scoring, permutation and resampling are written here once, for every measure. What a measure has
of its own is how one model is prepared, what is summed over two models, and what number the sums
make; see ``docs/architecture.md``.
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from xconverge.kernels.entries import Entries
from xconverge.kernels.neighbors import ShortListsError
from xconverge.kernels.vectors import Array


class Prepared(Protocol):
    """What a state of any measure has: which stimuli (n) its model saw."""

    @property
    def seen(self) -> Array:
        """Which stimuli (n) are there."""


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
    together: tuple[bool, bool] = (False, False)
    """Whether a task takes several models of a, and of b: something is made once for all."""
    symmetric: bool = False
    """Whether pairs are scored one by one and in either order alike: a set with itself by half."""
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

    def ready(self, state: State) -> bool:
        """Whether a state serves for all of its stimuli as it is, without ``take``."""
        return True

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

    def scores_of_pools(
        self, a: Sequence[State], b: Sequence[State], seen_a: Array, seen_b: Array
    ) -> Array | None:
        """Scores of all pairs, each in its pool, where masks (A, n) and (B, n) make it one call.

        None where a pool has to be taken out of the states first.
        """
        return None

    def mean(self, scores: Array, counts: Array | None = None) -> Array:
        """One number a pair: the mean over stimuli, where scores are of them."""
        return mean_of(scores, counts) if self.per_stimulus else scores

    def mean_over_models(self, states: Sequence[State]) -> Array:
        """Mean (n) over all pairs of models that saw the same, where scores are of stimuli."""
        models = [Model(state, self.own(state)) for state in states]
        scores = score(self, models, models)
        return np.asarray(scores[np.triu_indices(len(models), 1)].mean(0))

    def for_draws(self, n: int) -> Kernel[State]:
        """The measure as it prepares models whose n stimuli will be drawn again."""
        return self

    def chance_among(self, n: Any) -> Any:
        """Mean over all permutations of n stimuli, where it depends on their number alone."""
        return None

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

    def fitted(self, merged: Any) -> Any:
        """What ``place`` needs of what all blocks say: made once a model, and often smaller."""
        return merged

    @abstractmethod
    def place(self, block: Array, width: int, fit: Any) -> Array:
        """Rows of a block as they enter the sums, by what ``fitted`` made of the whole model."""

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

    @property
    def has_own(self) -> bool:
        """Whether there is an own term, for which models are read once more."""
        return type(self).own_of is not RowKernel.own_of

    def has_row_sums(self, n: int, width: int, folds: int) -> bool:
        """Whether the sums of models of this width are smaller than their n rows."""
        return True


class EntryKernel(Kernel[State]):
    """A measure of RDMs or kernels whose sums are over their entries, so that blocks add up.

    Where the matrices are too large, blocks of rows and of columns are read, and their distances
    formed once for all models of a tile (``kernels.entries``).
    """

    together = (True, True)

    @property
    def has_sums(self) -> bool:
        """Whether the score is made of these sums; ranks are not."""
        return True

    @property
    @abstractmethod
    def entries(self) -> Entries:
        """What the matrices are made of."""

    @abstractmethod
    def of_rows(self, sums: Array, common: Array, both: Array) -> Array:
        """What sums over all columns (5, A, B, q) of some rows make.

        Scores (A, B, q) where they are one a stimulus, else terms (T, A, B) that rows add to.
        ``common`` (A, B) counts the stimuli that both models of a pair saw, ``both`` (A, B, q) says
        whether a row is one of them.
        """

    def of_terms(self, terms: Array, common: Array) -> Array:
        """Scores (A, B) from the terms (T, A, B) of all rows."""
        raise NotImplementedError

    needs_scale: bool = False
    """Whether rows are divided by a number that a sample of them decides."""

    def scale(self, sample: Array) -> float:
        """That number, from rows (s, f) of a model."""
        return 1.0


@dataclass(frozen=True)
class Model:
    """One model, prepared: its state, and its own term over all stimuli that it saw."""

    state: Any
    own: Any
    among: Array | None = None
    """The stimuli (n) that alone are looked at, if not all."""

    @property
    def seen(self) -> Array:
        """Which stimuli (n) it saw, of those that are looked at."""
        seen = self.state.seen
        return np.asarray(seen if self.among is None else seen & self.among)


def prepared(
    kernel: Kernel[Any], rows: Array, width: int, rank: Array, given: Array | None
) -> Model:
    """A model (n, F) as a task keeps it."""
    return modeled(kernel, kernel.prepare(rows, int(width), rank, given))


def modeled(kernel: Kernel[Any], state: Any) -> Model:
    """A state with its own term, where it saw enough for one."""
    if type(kernel).own is Kernel.own:
        return Model(state, None)
    seen = state.seen
    if np.count_nonzero(seen) < kernel.min_stimuli:
        return Model(state, np.nan)
    whole = state if seen.all() else kernel.take(state, np.flatnonzero(seen))
    return Model(state, kernel.own(whole))


class Pool(NamedTuple):
    """Models of either side whose pairs share the same stimuli: which, where, and prepared."""

    common: Array
    i: Array
    j: Array
    a: list[Model]
    b: list[Model]

    @property
    def states(self) -> tuple[list[Any], list[Any]]:
        """Of both sides."""
        return [model.state for model in self.a], [model.state for model in self.b]

    @property
    def own(self) -> tuple[list[Any], list[Any]]:
        """Own terms of both sides."""
        return [model.own for model in self.a], [model.own for model in self.b]


def pools(
    kernel: Kernel[Any], a: Sequence[Model], b: Sequence[Model], with_own: bool = True
) -> Iterator[Pool]:
    """Every distinct set of common stimuli, large enough, with the models of either side.

    Warns of those that are too small: their pairs have no score.
    """
    few: set[int] = set()
    short: list[ShortListsError] = []
    for mine, i in alike([model.seen for model in a]):
        for theirs, j in alike([model.seen for model in b]):
            common = mine & theirs
            if (size := np.count_nonzero(common)) < kernel.min_stimuli:
                few.add(int(size))
                continue
            try:
                one, other = (
                    [_within(kernel, model, common, with_own) for model in side]
                    for side in ([a[x] for x in i], [b[x] for x in j])
                )
            except ShortListsError as error:
                short.append(error)
                continue
            yield Pool(common, i, j, one, other)
    if short:
        # the length that one pool needs may be too short for the next
        raise max(short, key=lambda error: error.enough)
    if few:
        warn_few(few, kernel.min_stimuli)


def warn_few(sizes: set[int], needed: int) -> None:
    """Say that pairs have no score because they share too few stimuli."""
    warnings.warn(
        f"a score needs at least {needed} stimuli that both models saw; pairs that share "
        f"{', '.join(map(str, sorted(sizes)))} have none: NaN",
        RuntimeWarning,
        stacklevel=4,
    )


def alike(seen: Sequence[Array] | Array) -> list[tuple[Array, Array]]:
    """The distinct masks (n), and the positions of each."""
    rows: dict[bytes, list[int]] = {}
    for position, row in enumerate(seen):
        rows.setdefault(row.tobytes(), []).append(position)
    return [(seen[positions[0]], np.array(positions)) for positions in rows.values()]


def _within(kernel: Kernel[Any], model: Model, common: Array, with_own: bool) -> Model:
    """A model among the common stimuli: as it is where these are all of them."""
    if common.all() and kernel.ready(model.state):
        return model
    state = kernel.take(model.state, np.flatnonzero(common))
    # over all that it saw, the own term is known
    own = model.own if (common == model.seen).all() else kernel.own(state) if with_own else None
    return Model(state, own)


def score(
    kernel: Kernel[Any], a: Sequence[Model], b: Sequence[Model], given: Array | None = None
) -> Array:
    """Scores (A, B), or (A, B, n) with NaN where either model misses the stimulus.

    Every pair in its own pool: the stimuli that both saw.
    """
    each = kernel.per_stimulus
    seen_a, seen_b = (np.stack([model.seen for model in side]) for side in (a, b))
    if seen_a.all() and kernel.symmetric and len(a) > 1 and _are_same(a, b):
        return _mirrored(kernel, a, given)
    if not (seen_a.all() and seen_b.all()):
        found = kernel.scores_of_pools(
            [model.state for model in a], [model.state for model in b], seen_a, seen_b
        )
        if found is not None:
            sizes = seen_a.astype(np.int64) @ seen_b.T.astype(np.int64)
            if (sizes < kernel.min_stimuli).any():
                warn_few(set(sizes[sizes < kernel.min_stimuli].tolist()), kernel.min_stimuli)
            return found
    shape = (len(a), len(b), len(a[0].seen)) if each else (len(a), len(b))
    result = np.full(shape, np.nan)
    for pool in pools(kernel, a, b):
        inside = None if given is None else given[pool.common]
        values = kernel.finish(kernel.sums(*pool.states, inside), *pool.own)
        if each:
            result[np.ix_(pool.i, pool.j, pool.common)] = values
        else:
            result[np.ix_(pool.i, pool.j)] = values
    return result


def _are_same(a: Sequence[Model], b: Sequence[Model]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _mirrored(kernel: Kernel[Any], models: Sequence[Model], given: Array | None) -> Array:
    """Scores of a set with itself: of the pairs of two halves, and of each half with itself."""
    one, other = models[: len(models) // 2], models[len(models) // 2 :]
    across = score(kernel, one, other, given)
    upper = np.concatenate([score(kernel, one, one, given), across], 1)
    lower = np.concatenate([across.swapaxes(0, 1), score(kernel, other, other, given)], 1)
    return np.concatenate([upper, lower])


def permuted(
    kernel: Kernel[Any],
    a: Sequence[Model],
    b: Sequence[Model],
    draw: Callable[[Array], Array],
    given: Array | None = None,
) -> Array:
    """Mean scores (P, A, B) under permutations; ``draw`` gives (P, n) that leave others in place.

    Of the common stimuli of a pair, its own; what one side alone decides is not made again.
    """

    def scores(pool: Pool, draws: Array, inside: Array | None) -> Array:
        # positions among all stimuli become positions in the pool
        return kernel.scores_of_orders(*pool.states, (np.cumsum(pool.common) - 1)[draws], inside)

    return _drawn(kernel, a, b, draw, given, scores)


def resampled(
    kernel: Kernel[Any],
    a: Sequence[Model],
    b: Sequence[Model],
    draw: Callable[[Array], Array],
    given: Array | None = None,
) -> Array:
    """Mean scores (P, A, B) of draws; ``draw`` gives how often (P, n) each stimulus is there."""

    def scores(pool: Pool, counts: Array, inside: Array | None) -> Array:
        return kernel.scores_of_counts(*pool.states, counts)

    return _drawn(kernel, a, b, draw, given, scores)


def _drawn(
    kernel: Kernel[Any],
    a: Sequence[Model],
    b: Sequence[Model],
    draw: Callable[[Array], Array],
    given: Array | None,
    scores: Callable[[Pool, Array, Array | None], Array],
) -> Array:
    result: Array | None = None
    with warnings.catch_warnings():
        # the caller tells which pairs have no score, by name
        warnings.simplefilter("ignore", RuntimeWarning)
        for pool in pools(kernel, a, b, with_own=False):
            inside = None if given is None else given[pool.common]
            values = scores(pool, draw(pool.common)[:, pool.common], inside)
            if result is None:
                result = np.full((len(values), len(a), len(b)), np.nan)
            result[:, pool.i[:, None], pool.j] = values
    return np.full((1, len(a), len(b)), np.nan) if result is None else result


def chances(kernel: Kernel[Any], a: Sequence[Model], b: Sequence[Model]) -> Array:
    """Mean (A, B) over all permutations of every pair, in its own pool; NaN where unknown."""
    result = np.full((len(a), len(b)), np.nan)
    with warnings.catch_warnings():
        # the caller tells which pairs have no score, by name
        warnings.simplefilter("ignore", RuntimeWarning)
        for pool in pools(kernel, a, b, with_own=False):
            one, other = pool.states
            for (i, x), (j, y) in itertools.product(
                zip(pool.i, one, strict=True), zip(pool.j, other, strict=True)
            ):
                chance = kernel.chance(x, y)
                result[i, j] = np.nan if chance is None else chance
    return result
