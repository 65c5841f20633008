"""Sets of stimuli on whose distances models agree, or disagree: local search, updated exactly.

The agreement of a set is a function of sums S_m = Σ d_m and products P_mk = Σ d_m d_k of its
distances: with c = P - S Sᵀ / pairs the correlation of models m and k is c_mk / √(c_mm c_kk). An
exchange of one member changes only the distances to it, so that S and P of all N exchanges follow
from three sums over the set for each candidate (``Moments``), at N M² operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import chain, pairwise
from typing import NamedTuple, Protocol

import numpy as np

from xconverge.kernels.blocks import split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rounding import relative
from xconverge.kernels.subsets import pick
from xconverge.kernels.vectors import METRICS, Array, square_distances

LANDMARKS = 200
"""Stimuli, spread over all, to which a first set is chosen by its distances."""
AHEAD = 16
"""Candidates whose distances are made together with those of the best one."""
GAIN = 1e-9
"""An exchange must raise the objective by more, so that rounding never makes it go round."""
TRIES = 20
"""Draws of a random set before it is given up: most of them do not fit a tight ``min_distance``."""
SHARES = (0.1, 0.2)
"""Of the members, those that a perturbation replaces, in turns."""


class TooNearError(ValueError):
    """Stimuli far enough from each other ran out; ``count`` says after how many."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def agreement(inside: Array) -> float:
    """Mean Pearson correlation, over pairs of models, of the distances inside a set (M, n, n).

    NaN where those of a model do not differ.
    """
    return float(_mean_off_diagonal(correlations(inside)))


def correlations(inside: Array) -> Array:
    """Pearson correlation (M, M) of the distances (M, n, n) of every two models.

    NaN where those of a model do not differ.
    """
    upper = np.triu_indices(inside.shape[1], 1)
    values = np.asarray(inside[:, *upper], np.float64)
    gap = values - values.mean(1, keepdims=True)
    norm = np.linalg.norm(gap, axis=1, keepdims=True)
    fine = norm[:, 0] > 1e-12 * np.abs(values).max(1) * np.sqrt(values.shape[1])
    unit = np.divide(gap, norm, out=np.full(gap.shape, np.nan), where=fine[:, None])
    return np.asarray(unit @ unit.T)


def _mean_off_diagonal(matrix: Array) -> Array:
    count = len(matrix)
    return np.asarray((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))


class Source(Protocol):
    """Distances of some stimuli to all N, in every model."""

    shape: tuple[int, int]
    dtype: np.dtype[np.floating]

    def to_all(self, where: Sequence[int]) -> Array:
        """Distances (k, M, N) of these stimuli to all."""
        ...

    def inside(self, members: Array) -> Array:
        """Distances (M, n, n) among the members, in double."""
        ...

    def only(self, models: Array) -> Source:
        """The distances in these models."""
        ...


class Matrices:
    """Distances from an RDM (N, N) of every model."""

    def __init__(self, rdms: Sequence[Array]) -> None:
        self.rdms = rdms
        self.shape = len(rdms), len(rdms[0])
        self.dtype = rdms[0].dtype

    def to_all(self, where: Sequence[int]) -> Array:
        """Distances (k, M, N) of these stimuli to all."""
        return np.stack([rdm[list(where)] for rdm in self.rdms], 1)

    def inside(self, members: Array) -> Array:
        """Distances (M, n, n) among the members, in double."""
        return np.stack([rdm[np.ix_(members, members)].astype(np.float64) for rdm in self.rdms])

    def only(self, models: Array) -> Matrices:
        """The distances in these models."""
        return Matrices([self.rdms[m] for m in models])


class Features:
    """Distances from prepared rows (N, F) of every model, made when they are asked for."""

    def __init__(self, rows: Sequence[Array], metric: str) -> None:
        self.rows = rows
        self.metric = metric
        self.squares = [np.vecdot(one, one) for one in rows]
        off = relative(rows[0].dtype, rows[0].shape[1])
        self.errors = [off * np.sqrt(square) for square in self.squares]
        self.shape = len(rows), len(rows[0])
        self.dtype = rows[0].dtype

    def to_all(self, where: Sequence[int]) -> Array:
        """Distances (k, M, N) of these stimuli to all."""
        result = np.empty((len(where), *self.shape), self.dtype)
        some = list(where)
        for m, (rows, squares, error) in enumerate(
            zip(self.rows, self.squares, self.errors, strict=True)
        ):
            result[:, m] = self._distances(rows[some], rows, squares, (error[some], error))
        return result

    def inside(self, members: Array) -> Array:
        """Distances (M, n, n) among the members, in double."""
        own = [rows[members].astype(np.float64) for rows in self.rows]
        errors = [(error[members],) * 2 for error in self.errors]
        return np.stack(
            [self._distances(x, x, None, off) for x, off in zip(own, errors, strict=True)]
        )

    def only(self, models: Array) -> Features:
        """The distances in these models."""
        return Features([self.rows[m] for m in models], self.metric)

    def _distances(
        self, rows: Array, others: Array, squares: Array | None, errors: tuple[Array, Array]
    ) -> Array:
        square = square_distances(rows, others, squares, *errors)
        return METRICS[self.metric].of_square(np.maximum(square, 0, out=square))


class Profiles:
    """Standardised distances (M, N) of a stimulus to all, kept up to a bound.

    Correlations stay as they are when the distances of a model lose a constant and are divided
    by another, and sums of squares keep their digits. The distance to itself becomes 0, so that
    sums over a set leave it out.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape, self.dtype = source.shape, source.dtype
        models, n = self.shape
        self._most_kept = BUDGETS.search_cache // (models * n * self.dtype.itemsize)
        self._kept: dict[int, Array] = {}
        some = source.to_all(spread_out(n, 32)).astype(np.float64)
        self._mean = some.mean((0, 2)).astype(self.dtype)[:, None]
        scale = some.std((0, 2))
        self._scale = np.where(scale > 0, scale, 1.0).astype(self.dtype)[:, None]

    def __contains__(self, stimulus: int) -> bool:
        """Whether it is kept."""
        return stimulus in self._kept

    def __getitem__(self, stimulus: int) -> Array:
        """The profile (M, N) of one stimulus."""
        if stimulus not in self._kept:
            self.make([stimulus])
        # the last in the dict is the one used last: the first is the oldest
        self._kept[stimulus] = one = self._kept.pop(stimulus)
        return one

    def make(self, stimuli: Sequence[int], keep: Sequence[int] = ()) -> None:
        """Make those that are not kept; the oldest that are neither here nor in ``keep`` go."""
        new = [i for i in dict.fromkeys(map(int, stimuli)) if i not in self._kept]
        stay = {*map(int, keep), *map(int, stimuli)}
        over = max(0, len(self._kept) + len(new) - self._most_kept)
        for old in [i for i in self._kept if i not in stay][:over]:
            del self._kept[old]
        for start in range(0, len(new), 32):
            part = new[start : start + 32]
            for i, one in zip(part, self.source.to_all(part), strict=True):
                mine = (one - self._mean) / self._scale
                mine[:, i] = 0
                self._kept[i] = mine


def spread_out(n: int, count: int) -> list[int]:
    """Up to ``count`` positions, evenly over all n."""
    return list(np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64)).tolist())


class Sums(NamedTuple):
    """Sums (M) and products (M, M) of distances."""

    total: Array
    products: Array

    def less(self, inside: Array) -> Sums:
        """Without distances (M, k)."""
        return Sums(self.total - inside.sum(1), self.products - inside @ inside.T)

    def plus(self, inside: Array) -> Sums:
        """With distances (M, k)."""
        return Sums(self.total + inside.sum(1), self.products + inside @ inside.T)

    def agreement(self, pairs: int, floor: float) -> float:
        """Mean correlation over pairs of models; NaN where a sum of squares is not above floor."""
        covariance = self.products - np.outer(self.total, self.total) / pairs
        variance = np.diagonal(covariance)
        if (variance <= floor).any():
            return np.nan
        weight = 1 / np.sqrt(variance)
        return float(_mean_off_diagonal(covariance * np.outer(weight, weight)))


def contributions(inside: Array) -> Array:
    """Agreement of a set less that of it without each member (n), from distances (M, n, n)."""
    models, n, _ = inside.shape
    upper = np.triu_indices(n, 1)
    values = inside[:, *upper]
    scale = values.std(1)
    gap = (inside - values.mean(1)[:, None, None]) / np.where(scale > 0, scale, 1.0)[:, None, None]
    gap[:, np.arange(n), np.arange(n)] = 0
    whole = Sums(np.zeros(models), np.zeros((models, models))).plus(gap[:, *upper])
    pairs = (n - 1) * (n - 2) // 2
    without = [whole.less(gap[:, i]).agreement(pairs, 1e-12 * pairs) for i in range(n)]
    return agreement(inside) - np.array(without)


class Moments:
    """Sums of products of the distances of every candidate to the stimuli of a set."""

    def __init__(self, profiles: Profiles, members: Sequence[int]) -> None:
        models, n = profiles.shape
        self.dtype = profiles.dtype
        self.first = np.zeros((models, n), self.dtype)
        self.second = np.zeros((models, n), self.dtype)
        self.mixed = np.zeros((models * (models - 1) // 2, n), self.dtype)
        ends = np.cumsum([0, *range(models - 1, 0, -1)])
        self.blocks = [slice(*edge) for edge in pairwise(ends.tolist())]
        profiles.make(members, members)
        for one in members:
            self.change(profiles[one])

    def copy(self) -> Moments:
        """Sums of their own."""
        other = copy(self)
        other.first, other.second = self.first.copy(), self.second.copy()
        other.mixed = self.mixed.copy()
        return other

    def floor(self, pairs: int) -> float:
        """Variances, times ``pairs``, up to this are those of equal distances."""
        return pairs * (1e-6 if self.dtype == np.float32 else 1e-12)

    def _parts(self, whole: slice) -> list[slice]:
        """Candidates whose sums stay in the cache; threads would wait for each other here."""
        return split(whole, BUDGETS.cache_block // (self.dtype.itemsize * max(len(self.mixed), 1)))

    def change(self, new: Array, old: Array | None = None) -> None:
        """Add the profile (M, N) of a new member, and take that of an old one away."""
        for part in self._parts(slice(0, new.shape[1])):
            self._change(new[:, part], part, np.add)
            if old is not None:
                self._change(old[:, part], part, np.subtract)

    def _change(self, one: Array, part: slice, add: np.ufunc) -> None:
        add(self.first[:, part], one, out=self.first[:, part])
        add(self.second[:, part], one**2, out=self.second[:, part])
        for m, block in enumerate(self.blocks):
            add(self.mixed[block, part], one[m] * one[m + 1 :], out=self.mixed[block, part])

    def scores(self, rest: Sums, gone: Array | None, within: slice, pairs: int) -> Array:
        """Mean correlation over pairs of models, with each candidate of a slice added to ``rest``.

        ``gone`` (M, N) is the profile of the member whose place it takes. -inf where the
        distances of a model do not differ.
        """
        models = len(self.first)
        result = np.empty(within.stop - within.start)
        total, products = (one.astype(self.dtype) for one in rest)
        own, upper = np.diagonal(products)[:, None], np.triu(products, 1)
        floor = self.floor(pairs)
        for part in self._parts(within):
            sums = self.first[:, part] + total[:, None]
            variance = self.second[:, part] + own
            if gone is not None:
                sums -= gone[:, part]
                variance -= gone[:, part] ** 2
            variance -= sums**2 / pairs
            defined = variance > floor
            weight = 1 / np.sqrt(np.where(defined, variance, 1))
            weighted = upper @ weight
            for m, block in enumerate(self.blocks):
                weighted[m] += np.einsum("kc,kc->c", self.mixed[block, part], weight[m + 1 :])
            # mean of c_mk / √(c_mm c_kk), c = P - S Sᵀ / pairs, as sums over pairs of models: first
            # those of P, then those of S Sᵀ, and of the products with the member that goes
            value = np.einsum("mc,mc->c", weighted, weight)
            value -= _off_diagonal(weight * sums) / pairs
            if gone is not None:
                value -= _off_diagonal(weight * gone[:, part])
            local = slice(part.start - within.start, part.stop - within.start)
            result[local] = np.where(defined.all(0), value, -np.inf)
        return result * (2 / (models * (models - 1)))


def _off_diagonal(one: Array) -> Array:
    """Sum (N) over pairs of models of the products of ``one`` (M, N)."""
    return np.asarray((one.sum(0) ** 2 - (one**2).sum(0)) / 2)


class Limits(NamedTuple):
    """What a set must hold: ``wanted`` (C) stimuli of each cell, none of them near to another.

    Stimuli of a cell lie side by side, between its ``edges`` (C + 1); ``near`` is (N, N).
    """

    edges: Array
    wanted: Array
    near: Array | None

    @property
    def size(self) -> int:
        """Stimuli of a set."""
        return int(self.wanted.sum())

    def fill(self, order: Array) -> Array:
        """The set that takes stimuli in this order wherever it may."""
        cells = np.repeat(np.arange(len(self.wanted)), np.diff(self.edges))
        return pick(order, cells, self.wanted, self.near)

    def cell(self, stimulus: int) -> slice:
        """The stimuli of the same cell."""
        end = int(np.searchsorted(self.edges, stimulus, side="right"))
        return slice(int(self.edges[end - 1]), int(self.edges[end]))

    def closed(self, members: Array, position: int, cell: slice) -> Array:
        """Which of a cell cannot take the place of a member: members, and those near to others."""
        result = np.zeros(cell.stop - cell.start, bool)
        mine = members[(members >= cell.start) & (members < cell.stop)]
        result[mine - cell.start] = True
        if self.near is not None:
            result |= self.near[np.delete(members, position), cell].any(0)
        return result


class Search:
    """A set, what its distances sum up to, and what every candidate would make of it."""

    def __init__(self, profiles: Profiles, members: Array, limits: Limits, sign: int) -> None:
        self.profiles, self.limits, self.sign = profiles, limits, sign
        self.members = members.copy()
        self.pairs = len(members) * (len(members) - 1) // 2
        self.refresh()

    def refresh(self) -> None:
        """All sums anew."""
        self.moments = Moments(self.profiles, self.members.tolist())
        inside = np.stack([self._to(one, self.members) for one in self.members])
        products = np.einsum("imj,ikj->mk", inside, inside, optimize=True)
        self.sums = Sums(inside.sum((0, 2)) / 2, products / 2)
        self.value = self._value(self.sums)

    def _to(self, one: int, others: Array) -> Array:
        return self.profiles[int(one)][:, others].astype(np.float64)

    def _value(self, sums: Sums) -> float:
        value = sums.agreement(self.pairs, self.moments.floor(self.pairs))
        return -np.inf if np.isnan(value) else self.sign * value

    def ascend(self) -> int:
        """Exchange each member in turn for the best candidate, until all were tried in vain.

        Returns how many exchanges it took.
        """
        count = tried = position = 0
        while tried < len(self.members):
            improved = self._improve(position)
            count += improved
            tried = 1 if improved else tried + 1
            position = (position + 1) % len(self.members)
        return count

    def _improve(self, position: int) -> bool:
        gone = int(self.members[position])
        cell = self.limits.cell(gone)
        rest = self.sums.less(self._to(gone, self.members))
        scores = self.sign * self.moments.scores(rest, self.profiles[gone], cell, self.pairs)
        scores[np.isinf(scores) | self.limits.closed(self.members, position, cell)] = -np.inf
        best = int(scores.argmax())
        if scores[best] <= self.value:
            return False
        if best + cell.start not in self.profiles:
            ahead = np.argsort(-scores, kind="stable")[:AHEAD]
            self.profiles.make(ahead[scores[ahead] > -np.inf] + cell.start, self.members.tolist())
        new = best + cell.start
        sums = rest.plus(self._to(new, np.delete(self.members, position)))
        if self._value(sums) <= self.value + GAIN:
            return False
        self._exchange(position, new, sums)
        return True

    def _exchange(self, position: int, new: int, sums: Sums) -> None:
        self.moments.change(self.profiles[new], self.profiles[int(self.members[position])])
        self.members[position] = new
        self.sums, self.value = sums, self._value(sums)

    def perturbed(self, share: float, rng: np.random.Generator) -> Search:
        """Another search, this share of its members, at least one, replaced at random."""
        members = self.members.copy()
        count = max(1, round(share * len(members)))
        changed = rng.choice(len(members), count, replace=False)
        for position in changed:
            cell = self.limits.cell(int(members[position]))
            free = np.flatnonzero(~self.limits.closed(members, position, cell))
            if len(free):
                members[position] = cell.start + rng.choice(free)
        self.profiles.make(members.tolist(), self.members.tolist())
        other = copy(self)
        other.members, other.moments = self.members.copy(), self.moments.copy()
        for position in changed:
            gone, new = int(other.members[position]), int(members[position])
            rest = other.sums.less(other._to(gone, other.members))
            inside = other._to(new, np.delete(other.members, position))
            other._exchange(position, new, rest.plus(inside))
        return other


class Optimum(NamedTuple):
    """The best set, the set it started from, and how many exchanges all searches took."""

    members: Array
    start: Array
    n_exchanges: int


def optimize(
    source: Source,
    limits: Limits,
    sign: int,
    start: Array | None,
    n_restarts: int,
    n_perturbations: int,
    rng: np.random.Generator,
) -> Optimum:
    """The set of highest (``sign`` 1) or lowest (-1) agreement that local searches find.

    From ``start`` (n), or from the stimuli on whose distances to landmarks the models agree most
    or least; from ``n_restarts`` random sets; and from the best set with some members replaced,
    ``n_perturbations`` times.
    """
    profiles = Profiles(source)
    if start is None:
        start = limits.fill(np.argsort(-sign * landmark_scores(profiles), kind="stable"))
        if len(start) < limits.size:
            start = _some_set(limits, len(start), rng)
    best = Search(profiles, start, limits, sign)
    count = best.ascend()
    others = chain(
        (Search(profiles, one, limits, sign) for one in random_sets(limits, n_restarts, rng)),
        (best.perturbed(SHARES[i % len(SHARES)], rng) for i in range(n_perturbations)),
    )
    for other in others:
        count += other.ascend()
        if other.value > best.value:
            best = other
    # sums that were updated many times have lost digits: made anew, they may show one step more
    best.refresh()
    return Optimum(best.members, start, count + best.ascend())


def random_sets(limits: Limits, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Sets drawn at random: as many as count, or fewer where most draws do not fit the limits."""
    for _ in range(count):
        for _ in range(TRIES):
            one = limits.fill(rng.permutation(limits.edges[-1]))
            if len(one) == limits.size:
                yield one
                break


def _some_set(limits: Limits, count: int, rng: np.random.Generator) -> Array:
    for one in random_sets(limits, TRIES, rng):
        return one
    raise TooNearError(count)


def landmark_scores(profiles: Profiles) -> Array:
    """How far the models agree on each stimulus's distances (N) to stimuli spread over all."""
    models, n = profiles.shape
    landmarks = spread_out(n, LANDMARKS)
    none = Sums(np.zeros(models), np.zeros((models, models)))
    moments = Moments(profiles, landmarks)
    scores = moments.scores(none, None, slice(0, n), len(landmarks))
    return np.where(np.isinf(scores), 0.0, scores)
