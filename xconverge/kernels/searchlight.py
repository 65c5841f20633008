"""RSA of many small sets of features of one model: a searchlight.

Every neighbourhood has an RDM of its own, over the same stimuli, that is compared with the same
targets. Targets are cut, ranked and standardised once a model. Neighbourhoods of one size are one
stack: one batched product makes their distances, one call ranks them, and one more product compares
them with all targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xconverge.kernels import rounding
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import Method, Tell, ranks, settled, similarities
from xconverge.kernels.kernel import alike
from xconverge.kernels.rounding import are_equal, exponents, of_distances, scaled, without_rounding
from xconverge.kernels.vectors import Array, Metric, RowError, norms, present, unchanged

Distances = Callable[[Array, float], Array]
"""Makes RDMs (B, pairs) of the rows (B, n, k) of B neighbourhoods, that are off by a share.

The one place that knows what a distance is: another one, of repetitions say, is another such call.
"""

FLAT, EQUAL = 1, 2
"""Why a neighbourhood has no RSA: stimuli without a direction there; distances all equal."""


@dataclass(frozen=True)
class Cut:
    """Pairs of stimuli of one bin that the model and some targets have.

    ``where`` are their positions among all pairs that the model has, ``sides`` (T, where)
    the targets' side of all comparisons there, and ``columns`` which targets these are.
    """

    number: int
    where: Array | slice
    sides: Array
    columns: Array


@dataclass(frozen=True)
class Targets:
    """Targets as one model is compared with them, of which it saw the stimuli ``seen`` (m)."""

    seen: Array
    cuts: tuple[Cut, ...]
    shape: tuple[int, ...]
    n_bins: int


class Block(NamedTuple):
    """Neighbourhoods (B) as lists of features, one after the other.

    ``members`` are positions among ``columns``, the sorted features of all of them; those of
    neighbourhood b are from ``starts[b]`` up to ``starts[b + 1]``.
    """

    columns: Array
    starts: Array
    members: Array


def targets_of(
    seen: Array, targets: Array, bins: Array | None, n_bins: int, method: Method, tell: Tell
) -> Targets:
    """Targets (…, n, n) among the stimuli that are ``seen`` (n), inside each bin (n) if given.

    What has no similarity with anything, for want of pairs or of distances that differ, is told,
    and has no cut.
    """
    here = np.flatnonzero(seen)
    i, j = np.triu_indices(len(here), 1)
    values = targets[..., here[i], here[j]].reshape(int(np.prod(targets.shape[:-2])), len(i))
    cuts = []
    for number in range(n_bins):
        inside, place = np.ones(len(i), bool), ""
        if bins is not None:
            if not (bins == number).any():
                continue  # merged into another, which who made the bins has told
            inside, place = (
                (bins[here[i]] == number) & (bins[here[j]] == number),
                f" in bin {number}",
            )
        few, equal = np.ones(len(values), bool), np.zeros(len(values), bool)
        for known, columns in alike(~np.isnan(values)):
            common = known & inside
            if common.sum() < 3:
                continue
            few[columns] = False
            rows = [settled(values[column][common]) for column in columns]
            sides = np.stack([_side(ranks(r) if method.ranked else r, method) for r in rows])
            differ = ~np.isnan(sides).any(1)
            equal[columns[~differ]] = True
            if differ.any():
                where = slice(None) if common.all() else np.flatnonzero(common)
                cuts.append(Cut(number, where, sides[differ], columns[differ]))
        for gone, message in (
            (few, f"a correlation needs at least 3 pairs of stimuli{place}, got fewer"),
            (equal, f"a correlation needs pairs of stimuli{place} that differ, got equal values"),
        ):
            where = np.flatnonzero(gone)
            if len(where):
                tell(message, np.stack([np.zeros_like(where), where], 1))
    return Targets(here, tuple(cuts), targets.shape[:-2], n_bins)


def _side(values: Array, method: Method) -> Array:
    """Values or ranks as the side of a product; NaN where they are all equal."""
    return values if method.vector is None else method.vector(values)


def neighborhood_rsa(
    x: Array,
    width: int,
    targets: Targets,
    block: Block,
    metric: Metric,
    method: Method,
    min_features: int,
    share: float = 0.0,
) -> tuple[Array, Array]:
    """RSA (B, …, n_bins) of every neighbourhood with every target, and why (B) there is none.

    ``x`` (n, columns) are the features of the block; real ones are those before ``width`` in the
    model. NaN where fewer than ``min_features`` are, which is no reason that is given.
    """
    real = int(np.searchsorted(block.columns, width))
    x = x[:, :real]
    _check_seen(x, targets.seen)
    rows = x[targets.seen].astype(np.float64)
    n_targets = int(np.prod(targets.shape))
    scores = np.full((len(block.starts) - 1, n_targets, targets.n_bins), np.nan)
    why = np.zeros(len(scores), np.int8)
    make = partial(distances, metric=metric)
    off = max(share, rounding.relative(x.dtype, 1)), x.dtype
    if targets.cuts:
        for batch, values in _batches(rows, block, real, min_features, make, off):
            for cut in targets.cuts:
                part = values[:, cut.where]
                there = ~np.isnan(part).any(1)
                found = _compared(part[there], cut.sides, method)
                scores[np.ix_(batch[there], cut.columns, np.array([cut.number]))] = found[
                    :, :, None
                ]
                why[batch[~there]] = FLAT
                equal = batch[there][np.isnan(found).any(1)]
                why[equal] = np.where(why[equal], why[equal], EQUAL)
    return scores.reshape(len(scores), *targets.shape, targets.n_bins), why


def _check_seen(x: Array, seen: Array) -> None:
    """Every stimulus is there in all features or in none: those that others saw are wanted too."""
    if not x.shape[1]:
        return
    there = present(x)
    expected = np.zeros(len(x), bool)
    expected[seen] = True
    if (there != expected).any():
        raise RowError("NaN or infinity inside a row", np.argwhere(there != expected))


def _batches(
    rows: Array,
    block: Block,
    real: int,
    min_features: int,
    make: Distances,
    off: tuple[float, np.dtype[Any]],
) -> Iterator[tuple[Array, Array]]:
    """Neighbourhoods (b) of enough features, and their RDMs (b, pairs), as many as a cache holds.

    Those of one size follow each other, and are made together.
    """
    # members are sorted: padding of a narrow model is what each list ends with
    counts = np.array(
        [np.searchsorted(block.members[a:b], real) for a, b in _edges(block.starts)], np.int64
    )
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] >= min_features]
    n = len(rows)
    step = max(1, BUDGETS.gather_block // max(8 * n * n, 1))
    for start in range(0, len(order), step):
        batch = order[start : start + step]
        values = np.empty((len(batch), n * (n - 1) // 2))
        sizes, first = np.unique(counts[batch], return_index=True)
        for size, a, b in zip(sizes, first, np.append(first[1:], len(batch)), strict=True):
            # rows of one neighbourhood are not larger than its RDM takes, or few
            few = max(1, BUDGETS.product_block // max(8 * n * int(size), 1))
            for at in range(a, b, few):
                mine = batch[at : min(at + few, b)]
                lists = block.members[block.starts[mine][:, None] + np.arange(size)]
                stack = np.ascontiguousarray(np.moveaxis(rows[:, lists], 1, 0))
                share = max(off[0], rounding.relative(off[1], int(size)))
                values[at : at + len(mine)] = make(stack, share)
        yield batch, values


def _edges(starts: Array) -> Iterator[tuple[int, int]]:
    return zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)


def _compared(values: Array, sides: Array, method: Method) -> Array:
    """Similarity (b, T) of RDMs (b, pairs) with the sides (T, pairs) of targets."""
    if not len(values):
        return np.empty((0, len(sides)))
    if method.ranked:
        values = ranks(values)
    elif (same := are_equal(values, -1)).any():
        values = np.where(same[:, None], values.min(-1, keepdims=True), values)
    if method.vector is None:
        return similarities(list(values), list(sides), "pairs of stimuli", method, _quietly)
    mine = np.stack([_side(row, method) for row in values])
    return np.asarray(np.clip(mine @ sides.T, -1, 1))


def _quietly(message: str, where: Array) -> None:
    """NaN tells: who asks for many neighbourhoods says so, once."""


def distances(rows: Array, share: float, metric: Metric) -> Array:
    """Upper triangles (B, pairs) of the RDMs of rows (B, n, k), each on a scale of its own.

    Rows may be changed. NaN in all pairs of a stimulus without the direction that the metric
    needs. Rounding left rows off by a ``share`` of their norm; numbers are those of
    ``rdm.distances`` in double, of which this is the form for many small sets of features.
    """
    largest = np.abs(rows).max(-1, keepdims=True)
    if not metric.unit:
        largest = largest.max(-2, keepdims=True)
    rows = scaled(rows, -exponents(largest))
    found = norms(rows, metric._replace(unit=False), share)
    error = share * found.whole
    flat = np.zeros(found.norm.shape, bool)
    if metric.unit:
        flat = found.norm == 0
        norm = np.where(flat, 1.0, found.norm)
        rows /= norm[..., None]
        error /= norm
    else:
        rows -= rows.mean(1, keepdims=True)
    n, width = rows.shape[1:]
    i, j = np.triu_indices(n, 1)
    own = 0.5 * np.vecdot(rows, rows)
    # |x - y|² / 2 = |x|² / 2 + |y|² / 2 - x·y
    total = own[:, i] + own[:, j]
    half = total - (rows @ rows.mT).reshape(len(rows), -1).take(i * n + j, axis=1)
    # entries that cancel in it come from differences
    total *= 1e-5
    if 2 * error.max(initial=0.0) ** 2 > total.min(initial=np.inf):
        np.maximum(total, 0.5 * np.square(error[:, i] + error[:, j]), out=total)
    some, pair = np.nonzero(half < total)
    for start in range(0, len(some), 65536):
        b, p = some[start : start + 65536], pair[start : start + 65536]
        gap = rows[b, i[p]] - rows[b, j[p]]
        off = error[b, i[p]] + error[b, j[p]]
        half[b, p] = 0.5 * without_rounding(np.vecdot(gap, gap), off)
    if flat.any():
        half[flat[:, i] | flat[:, j]] = np.nan
    if n > 2:
        # distances that rounding alone parts are one
        high = np.fmax.reduce(half, axis=1)
        gap = 2.0 * (high - np.fmin.reduce(half, axis=1))
        # the same bound as of a whole model
        bound = of_distances(unchanged, 2.0 * high, 2 * error.max(1), width)
        same = gap <= bound
        if same.any():
            half[same] = np.where(np.isnan(half[same]), np.nan, high[same][:, None])
    return half if metric.unit else np.asarray(metric.of_square(2 * half))
