"""Representational similarity analysis (RSA): how RDMs compare, and the Mantel test of it.

Stimuli, never entries, are exchangeable: a permutation moves rows and columns of an RDM together
(Mantel 1967), and its entries keep their ranks, mean and norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels.blocks import on_cores, split
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import (
    METHODS,
    Method,
    Tell,
    centered_ranks,
    inner_products,
    ranks,
    settled,
    similarities,
    similarity,
    standardize,
    tau_a,
    undefined,
)
from xconverge.kernels.entries import Entries, correlations
from xconverge.kernels.kernel import EntryKernel, alike
from xconverge.kernels.permutations import gathered_products, run_of, within
from xconverge.kernels.rdm import Distance, check_symmetric, distances, square, triangle, upper
from xconverge.kernels.rounding import power_of_two
from xconverge.kernels.vectors import METRICS, Array

SINGLE = "an RDM has NaN for single pairs; a stimulus is missing whole or not"


@dataclass(frozen=True)
class Geometry:
    """RDM (n, n) of one model, and which stimuli (n) it and every nuisance have.

    ``nuisance`` (n, n, c) are RDMs of what should not count, the same for all models of a call.
    ``counts`` (n) say how often each stimulus is there.
    """

    rdm: Array
    seen: Array
    ranked: bool
    nuisance: Array | None = None
    counts: Array | None = None

    @cached_property
    def triangle(self) -> Array:
        """Distances of all pairs, or their ranks; made when first asked for, once a model."""
        return self._values(self.rdm)

    @cached_property
    def controls(self) -> Array | None:
        """The same (c, pairs) of the nuisances."""
        if self.nuisance is None:
            return None
        return np.stack([self._values(rdm) for rdm in np.moveaxis(self.nuisance, 2, 0)])

    def _values(self, rdm: Array) -> Array:
        if self.counts is None:
            return upper(rdm, self.ranked)
        index = np.repeat(np.arange(len(rdm)), self.counts)
        i, j = np.triu_indices(len(index), 1)
        # two copies of a stimulus make no pair: their distance is 0 by construction
        apart = index[i] != index[j]
        values = settled(rdm[index[i[apart]], index[j[apart]]])
        return ranks(values) if self.ranked else values


@dataclass(frozen=True)
class Rsa(EntryKernel[Geometry]):
    """Similarity of RDMs by ``metric``, a row of METRICS or a function of two vectors."""

    metric: str | Distance = "correlation"
    method: str = "spearman"

    # 3 pairs of stimuli: two distances can always be ordered alike, or not
    min_stimuli = 3
    # each RDM is ranked once, and all pairs are one product
    together = (True, True)

    @property
    def how(self) -> Method:
        """What the method does."""
        return METHODS[self.method]

    def prepare(self, rows: Array, width: int, rank: Array, given: Array | None) -> Geometry:
        """The RDM; ``given`` are nuisance RDMs (n, n, c)."""
        metric = METRICS[self.metric] if isinstance(self.metric, str) else self.metric
        return self._state(distances(rows, width, metric, any_scale=True), given)

    def prepare_rdm(self, rdm: Array, given: Array | None = None) -> Geometry:
        """Of an RDM (n, n) that was made elsewhere."""
        check_symmetric(rdm)
        for control in [] if given is None else np.moveaxis(given, 2, 0):
            check_symmetric(control)
        return self._state(rdm, given)

    def _state(self, rdm: Array, given: Array | None) -> Geometry:
        seen = _present(rdm)
        for control in [] if given is None else np.moveaxis(given, 2, 0):
            seen = seen & _present(control)
        return Geometry(rdm, seen, self.how.ranked, given)

    def take(self, state: Geometry, where: Array, counts: Array | None = None) -> Geometry:
        """The RDM of these stimuli, ranked among them."""
        both = np.ix_(where, where)
        nuisance = None if state.nuisance is None else state.nuisance[both]
        return Geometry(state.rdm[both], state.seen[where], state.ranked, nuisance, counts)

    def sums(self, a: Sequence[Geometry], b: Sequence[Geometry], given: Array | None) -> Array:
        """Similarity (A, B), of all pairs at once.

        Nuisances are in the states: they have to be cut like RDMs.
        """
        u, v = ([state.triangle for state in side] for side in (a, b))
        return comparisons(u, v, a[0].controls, method=self.how)

    def finish(self, sums: Array, own_a: Sequence[Any], own_b: Sequence[Any]) -> Array:
        """As it is."""
        return sums

    def scores_of_orders(
        self, a: Sequence[Geometry], b: Sequence[Geometry], orders: Array, given: Array | None
    ) -> Array:
        """Ranks and norms are made once; a permutation changes neither.

        With nuisances Z, residuals of b are permuted (Freedman & Lane 1983), and what Z explains of
        the permuted ones is taken out again: for unit residuals u of a and v of b and orthonormal
        Z, r = u·Pv / √(1 - |Z Pv|²), since u·Z = 0.
        """
        u, v = ([state.triangle for state in side] for side in (a, b))
        controls = a[0].controls
        if any(np.isnan(row).any() for row in (*u, *v, *([] if controls is None else controls))):
            raise ValueError(SINGLE)
        vector, n = self.how.vector, orders.shape[1]
        if vector is None:
            return _tau_of_orders(u, v, orders)
        basis = None
        if controls is not None:
            basis = orthonormal(list(controls))
            u, v = ([without(row, basis) for row in side] for side in (u, v))
        first, second = (np.stack([square(vector(row), n) for row in side]) for side in (u, v))
        # every pair stands twice in the squares
        similar = gathered_products(first, second, orders) / 2
        if basis is not None and len(basis):
            squares = np.stack([square(row, n) for row in basis])
            explained = gathered_products(squares, second, orders) / 2
            left = (1 - (explained**2).sum(1))[:, None]
            some = left > 1e-12
            # a permuted residual that is explained wholly has no correlation: it counts as extreme
            similar = np.where(some, similar / np.sqrt(np.where(some, left, 1.0)), 1.0)
        return similar

    def scores_of_counts(
        self, a: Sequence[Geometry], b: Sequence[Geometry], counts: Array
    ) -> Array:
        """Nothing is sorted again: a draw changes how often each value is there, not their order.

        A pair of stimuli that are drawn c and d times is there c d times.
        """
        u, v = ([state.triangle for state in side] for side in (a, b))
        vector = self.how.vector
        if vector is None or any(np.isnan(row).any() for row in (*u, *v)):
            return super().scores_of_counts(a, b, counts)
        if self.how.ranked:
            return _scores_of_weighted_ranks(u, v, counts, rho_a=vector is centered_ranks)
        i, j = np.triu_indices(counts.shape[1], 1)
        result = np.full((len(counts), len(a), len(b)), np.nan)
        for count, scores in zip(counts, result, strict=True):
            weights = (count[i] * count[j]).astype(np.float64)
            drawn = np.flatnonzero(weights)
            weights = weights[drawn]
            if weights.sum() < 3:
                continue
            vectors = [[vector(row[drawn], weights) for row in side] for side in (u, v)]
            scores[...] = np.clip(inner_products(*vectors), -1, 1)
        return result

    def chance(self, a: Geometry, b: Geometry) -> float | None:
        """0 where vectors have a mean of 0, or pairs are as often ordered alike as not."""
        return 0.0 if self.how.centered and a.nuisance is None else None

    # --- models too long for an RDM: sums over its entries

    @property
    def has_sums(self) -> bool:
        """Whether the score is made of sums over entries, which ranks are not."""
        return not self.how.ranked

    @property
    def needs_scale(self) -> bool:  # type: ignore[override]
        """Unit rows have one."""
        return isinstance(self.metric, str) and not METRICS[self.metric].unit

    def scale(self, sample: Array) -> float:
        """A power of two, where squares would leave the range of numbers."""
        return power_of_two(sample)

    @property
    def entries(self) -> Entries:
        """What these sums are over."""
        assert isinstance(self.metric, str)
        return Entries.of_metric(METRICS[self.metric])

    def of_rows(self, sums: Array, common: Array, both: Array) -> Array:
        """Sums (5, A, B) over these rows too."""
        return np.asarray(sums.sum(-1))

    def of_terms(self, terms: Array, common: Array) -> Array:
        """Similarity (A, B) from sums over all rows (5, A, B), and the common stimuli (A, B).

        Every distance is summed twice, which changes neither a correlation nor a cosine.
        """
        result = correlations(common * (common - 1), terms, self.how.centered)
        if np.isnan(result).any():
            undefined("an RDM has fewer than 3 pairs of stimuli, or distances that do not differ")
        return result


DRAWS = 64
"""Draws that are ranked together: fewer make more steps, more do not fit into a cache."""
PAIRS = 2048
"""Pairs of stimuli whose ranks are multiplied before they leave the cache."""
STRETCH = 128
"""Rows that are added up one after the other, in all stretches of so many side by side."""


def _scores_of_weighted_ranks(
    u: Sequence[Array], v: Sequence[Array], counts: Array, rho_a: bool
) -> Array:
    """Correlations (P, A, B) of ranks that are made again with each pair there so many times."""
    # in the order of the first of them, which then needs no moves
    order = np.argsort(u[0])
    i, j = (k[order] for k in np.triu_indices(counts.shape[1], 1))
    sides = [[_Sorted.of(row[order], i, j) for row in side] for side in (u, v)]
    result = np.full((len(counts), len(u), len(v)), np.nan)
    step = min(DRAWS, max(1, BUDGETS.product_block // (4 * max(len(i), 1))))
    # twice the ranks, of whole numbers without rounding
    small = counts.sum(1, dtype=np.int64).max(initial=0) ** 2 < 2**31
    whole = counts.astype(np.int32 if small else np.int64)

    def fill(part: slice) -> None:
        drawn = np.ascontiguousarray(whole[part].T)
        weights: Array = drawn.take(i, 0) * drawn.take(j, 0)
        total = weights.sum(0, dtype=drawn.dtype)
        ranked = [[x.ranks(drawn, weights, total) for x in side] for side in sides]
        products, own_a, own_b = _weighted_products(weights, *ranked)
        pairs = total.astype(np.float64)[:, None, None]
        size = (pairs**3 - pairs) / 3 if rho_a else np.sqrt(own_a[:, :, None] * own_b[:, None])
        some = (pairs >= 3) & (size > 0)
        into = result[part]
        np.divide(products, size, out=into, where=np.broadcast_to(some, into.shape))

    room = whole.itemsize * step * len(i) * (4 + len(u) + len(v))
    on_cores(fill, split(slice(0, len(counts)), step), room)
    return np.asarray(np.clip(result, -1, 1))


def _weighted_products(
    weights: Array, a: Sequence[Array], b: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Σ w x y (D, A, B) of ranks (N, D), and Σ w x² (D, A) and (D, B) of either side."""
    draws = weights.shape[1]
    products = np.zeros((draws, len(a), len(b)))
    own = [np.zeros((draws, len(side))) for side in (a, b)]
    for start in range(0, len(weights), PAIRS):
        part = slice(start, start + PAIRS)
        weight = weights[part].astype(np.float64)
        x, y = ([row[part].astype(np.float64) for row in side] for side in (a, b))
        for side, total in zip((x, y), own, strict=True):
            for k, row in enumerate(side):
                total[:, k] += np.einsum("pd,pd,pd->d", weight, row, row)
        for k, row in enumerate(x):
            row *= weight
            for m, other in enumerate(y):
                products[:, k, m] += np.einsum("pd,pd->d", row, other)
    return products, own[0], own[1]


@dataclass(frozen=True)
class _Sorted:
    """Pairs of stimuli by their rank: both stimuli, and the number of each pair's distinct value.

    ``pairs`` are None where they are in that order already. ``last`` is the last pair (distinct) of
    each value, None where none is there twice.
    """

    pairs: tuple[Array, Array] | None
    number: Array
    last: Array | None

    @classmethod
    def of(cls, triangle: Array, i: Array, j: Array) -> _Sorted:
        # of ranks: what ties is equal there to the bit
        found, number, size = np.unique(triangle, return_inverse=True, return_counts=True)
        last = size.cumsum() - 1 if len(found) < len(triangle) else None
        if (number[1:] >= number[:-1]).all():
            return cls(None, number, last)
        order = np.argsort(number)
        return cls((i[order], j[order]), number, last)

    def ranks(self, counts: Array, weights: Array, total: Array) -> Array:
        """Twice the mean ranks (N, D), less their mean, of pairs that are drawn with ``counts``.

        m equal values after c smaller ones have the mean rank (c + (c + m) + 1) / 2, and all of a
        ``total`` (D) the mean (total + 1) / 2. ``weights`` (N, D) are how often each pair is there.
        """
        if self.pairs is None:
            places = running_sums(weights)
        else:
            places = running_sums(counts.take(self.pairs[0], 0) * counts.take(self.pairs[1], 0))
        if self.last is not None:
            places = places.take(self.last, 0)
        twice = places - total
        twice[1:] += places[:-1]
        moved = self.pairs is not None or self.last is not None
        return twice.take(self.number, 0) if moved else twice


def running_sums(rows: Array) -> Array:
    """Sums (N, D) over the rows (N, D) up to each of them.

    numpy goes down one column after the other, each of which crosses all of the memory. Here
    stretches of rows are added up side by side, and then what lies before each.
    """
    result = np.empty_like(rows)
    stretch = min(STRETCH, len(rows)) or 1
    whole = len(rows) // stretch * stretch
    several, sums = (x[:whole].reshape(-1, stretch, x.shape[1]) for x in (rows, result))
    sums[:, 0] = several[:, 0]
    for k in range(1, stretch):
        np.add(sums[:, k - 1], several[:, k], out=sums[:, k])
    for before, own in pairwise(sums):
        own += before[-1]
    rest = result[whole:]
    np.cumsum(rows[whole:], 0, out=rest)
    if whole and len(rest):
        rest += result[whole - 1]
    return result


def _present(rdm: Array) -> Array:
    """Stimuli (n) that have a distance to another."""
    there = ~np.isnan(rdm)
    np.fill_diagonal(there, False)
    return np.asarray(there.any(1))


def comparisons(
    u: Sequence[Array],
    v: Sequence[Array],
    nuisance: Array | None = None,
    *,
    method: Method,
    tell: Tell | None = None,
) -> Array:
    """Similarity (A, B) of triangles ``u`` (A) and ``v`` (B), over the pairs that both have.

    ``nuisance`` (c, pairs) is regressed out of both, over the pairs that it has too. Triangles are
    ranked already where the method ranks: ranks of ranks are ranks, so that triangles ranked once
    serve all that have the same pairs. What has no similarity is told to ``tell``, else a warning.
    """
    if nuisance is None and not any(np.isnan(row).any() for row in (*u, *v)):
        return similarities(u, v, "pairs of stimuli", method, tell)
    known = True if nuisance is None else ~np.isnan(nuisance).any(0)
    result = np.empty((len(u), len(v)))
    for mine, i in alike([~np.isnan(row) for row in u]):
        for theirs, j in alike([~np.isnan(row) for row in v]):
            common = mine & theirs & known
            given = [] if nuisance is None else _among(nuisance, common, method)
            one, other = (
                _among([side[k] for k in where], common, method) for side, where in ((u, i), (v, j))
            )
            # c nuisances and a mean leave no freedom to fewer pairs
            if given and len(given[0]) > len(given) + 2:
                basis = orthonormal(given)
                one, other = ([without(row, basis) for row in side] for side in (one, other))
            inside = None if tell is None else partial(_of_all, tell, i, j)
            result[np.ix_(i, j)] = similarities(one, other, "pairs of stimuli", method, inside)
    return result


def _of_all(tell: Tell, i: Array, j: Array, message: str, where: Array) -> None:
    """Tell of pairs of the rows i and j by their positions among all."""
    tell(message, np.stack([i[where[:, 0]], j[where[:, 1]]], 1))


def _among(rows: Sequence[Array] | Array, common: Array, method: Method) -> list[Array]:
    """Values of the common pairs, ranked again among them."""
    if common.all():
        return list(rows)
    return [ranks(row[common]) if method.ranked else row[common] for row in rows]


def orthonormal(given: Sequence[Array]) -> Array:
    """Orthonormal rows (≤ c, N) that span c rows without their means."""
    rows = np.stack([row - row.mean() for row in given])
    q, r = np.linalg.qr(rows.T)
    # rows that repeat others, or are constant, add nothing
    return np.asarray(q[:, np.abs(np.diagonal(r)) > 1e-10 * np.abs(r).max(initial=0.0)].T)


def without(values: Array, basis: Array) -> Array:
    """What a linear fit of the orthonormal rows ``basis`` leaves of the centred values (N)."""
    values = values - values.mean()
    left = values - basis.T @ (basis @ values)
    # what is explained wholly is 0, not a correlation of rounding errors
    small = np.linalg.norm(left) <= 1e-10 * np.linalg.norm(values)
    return np.zeros_like(left) if small else np.asarray(left)


def _tau_of_orders(u: Sequence[Array], v: Sequence[Array], orders: Array) -> Array:
    """Kendall's tau is no product: it is counted anew for every permutation."""
    n = orders.shape[1]
    i, j = np.triu_indices(n, 1)
    squares = [square(row, n) for row in v]
    return np.array(
        [[[tau_a(one, other[p[i], p[j]]) for other in squares] for one in u] for p in orders]
    )


def mantel(
    a: Array,
    b: Array,
    rank: Array,
    method: str,
    n_permutations: int,
    seed: int,
    tell: Tell | None = None,
) -> Array:
    """Similarity (1 + n_permutations) of two RDMs (n, n), the observed one first.

    The others are under permutations of stimulus labels: rows and columns of ``b`` move together,
    those of common stimuli alike for all pairs of RDMs. NaN where there is no similarity.
    """
    common = np.asarray((~(np.isnan(a) | np.isnan(b)) & ~np.eye(len(a), dtype=bool)).any(1))
    both = np.ix_(common, common)
    kernel = Rsa(method=method)
    one, other = (kernel.prepare_rdm(rdm[both]) for rdm in (a, b))
    if np.isnan(one.triangle).any() or np.isnan(other.triangle).any():
        raise ValueError(SINGLE)
    sides = [one.triangle], [other.triangle]
    draws = np.full(1 + n_permutations, np.nan)
    draws[0] = comparisons(*sides, method=kernel.how, tell=tell)[0, 0]
    if not np.isnan(draws[0]) and n_permutations:
        orders = within(run_of(rank, seed, n_permutations, usable=common), common)
        draws[:] = kernel.scores_of_orders([one], [other], orders, None)[:, 0, 0]
    return draws


class Ceiling(NamedTuple):
    """Both ends, which measurements (M) and how many stimuli they rest on."""

    lower: float
    upper: float
    used: Array
    n_stimuli: int


def differs(rdm: Array, method: Method) -> bool:
    """Whether an RDM (n, n) orders anything: 3 distances that are not all equal (0, for cosine)."""
    return _differ(upper(rdm, ranked=False), method)


def _differ(values: Array, method: Method) -> bool:
    values = values[~np.isnan(values)]
    if len(values) < 3:
        return False
    if not method.centered:
        return bool(np.any(values))
    return not np.isnan(standardize(ranks(values) if method.ranked else values)).any()


def noise_ceiling(rdms: Array, method: Method, others: Array | None = None) -> Ceiling:
    """Lower and upper noise ceiling of measured RDMs (M, n, n), over the pairs that all have.

    Similarity of each measurement with the mean of the others, and with the mean of all; ranked, or
    of unit size, before they are averaged, so that no other RDM is nearer to them: Σ_s u_s·m is
    largest, for m of unit size, at m ∝ Σ_s u_s (Nili et al. 2014). ``others`` (M, M) says which
    share nothing with each; by default all but itself. Measurements whose distances order nothing
    are left out, and so are, one after the other, those that no other is left for.
    """
    if others is None:
        others = ~np.eye(len(rdms), dtype=bool)
    values = np.array([triangle(rdm, ranked=False) for rdm in rdms])
    used = np.array([_differ(row, method) for row in values])
    while used.any():
        common = ~np.isnan(values[used]).any(0)
        flat = used & ~np.array([_differ(row[common], method) for row in values])
        if common.sum() < 3 or not flat.any():
            break
        # without those that are flat where all others are known, others may have more in common
        used &= ~flat
    while used.sum() > 1 and (alone := used & ~others[:, used].any(1)).any():
        used &= ~alone
        common = ~np.isnan(values[used]).any(0)
    if used.sum() < 2:
        return Ceiling(np.nan, np.nan, used, 0)
    n_stimuli = int((square(common, len(rdms[0])) > 0).any(0).sum())
    if common.sum() < 3:
        return Ceiling(np.nan, np.nan, used, n_stimuli)
    values = values[np.ix_(used, common)]
    if method.ranked:
        values = np.array([ranks(row) for row in values])
    vector = method.vector
    sized = values if vector is None else np.array([vector(row) for row in values])
    total = sized.sum(0)
    apart = ~others[np.ix_(used, used)]

    def like(row: Array, pool: Array) -> float:
        return similarity(row, ranks(pool) if method.ranked else pool, "pairs of stimuli", method)

    below = [like(row, total - sized[own].sum(0)) for row, own in zip(values, apart, strict=True)]
    above = [like(row, total) for row in values]
    return Ceiling(float(np.mean(below)), float(np.mean(above)), used, n_stimuli)
