"""Maps between models whose rows are read block by block, fitted to sums over each fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial, reduce

import numpy as np

from xconverge.kernels.canonical import directions, fit_and_score, mean_correlation
from xconverge.kernels.long import Moments, sized
from xconverge.kernels.ridge import FoldSums, FromSums, Scores, by_pattern, fold_sums, nested
from xconverge.kernels.sums import merged, scatter, scatters
from xconverge.kernels.vectors import Array, Blocks, together

TARGET_BYTES = 2**28
"""Cross-products of a source with several targets that are kept at a time."""


def components(
    rows: Blocks, width: int, fold: Array, n_components: int
) -> tuple[Array, Array, Array]:
    """Mean (F), maps (K, F, c) onto the leading components outside each fold, which are there (n).

    In one pass. A single map, of all stimuli, where ``fold`` (n) is -1.
    """
    seen, parts = scatters(rows, width, np.maximum(fold, 0))
    maps = np.zeros((len(parts), rows.shape[1], n_components))
    for number, turn in enumerate(maps):
        known = [part for other, part in enumerate(parts) if other != number or fold[0] < 0]
        turn[:width] = directions(reduce(merged, known), n_components)
    mean = np.zeros(rows.shape[1])
    mean[:width] = reduce(merged, parts).mean
    return mean, maps, seen


def canonical_correlation(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    maps_x: Array,
    seen_x: Array,
    y: Blocks,
    width_y: int,
    mean_y: Array,
    maps_y: Array,
    seen_y: Array,
    fold: Array,
) -> float:
    """Mean canonical correlation of two models, from what ``components`` gives of each."""
    n_folds, _, count = maps_x.shape
    nothing = scatter(np.empty((0, 2 * count)))
    sums = [[nothing, nothing] for _ in range(n_folds)]
    for where, block_x, block_y in together(x, y, seen_x & seen_y):
        scores_x = _scores(block_x, width_x, mean_x, maps_x)
        scores_y = _scores(block_y, width_y, mean_y, maps_y)
        for number in range(n_folds):
            rows = np.concatenate([scores_x[:, number], scores_y[:, number]], 1)
            for role, part in enumerate(fit_and_score(fold[where], number)):
                sums[number][role] = merged(sums[number][role], scatter(rows[part]))
    return mean_correlation((train, test) for train, test in sums)


def _scores(block: Array, width: int, mean: Array, maps: Array) -> Array:
    """Scores (b, K, c) of rows by all maps (K, F, c), in one product."""
    flat = maps[:, :width].swapaxes(0, 1).reshape(width, -1)
    return ((block[:, :width] - mean[:width]) @ flat).reshape(len(block), *maps.shape[::2])


def held_out_scores(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    size_x: float,
    seen_x: Array,
    ys: Sequence[Blocks],
    widths_y: Array,
    means_y: Array,
    sizes_y: Array,
    seen_y: Array,
    fold: Array,
) -> tuple[Array, Array]:
    """Held-out r and R² (B) of every target from the source, from what ``moments`` gives of each.

    One pass over each pair. The source's own products are made with the first target that has
    these stimuli; the decompositions once for as many targets as ``TARGET_BYTES`` allow.
    """
    n_folds, of_x = int(fold.max()) + 1, Moments(mean_x, size_x, seen_x)

    def scores(pattern: Array, chosen: Array) -> Iterator[Scores]:
        own = np.empty(0)
        step = max(1, TARGET_BYTES // (8 * n_folds * width_x * ys[0].shape[1]))
        for start in range(0, len(chosen), step):
            group: list[FoldSums] = []
            for b in chosen[start : start + step]:
                width = int(widths_y[b])
                of_y = Moments(means_y[b], sizes_y[b], seen_y[b])
                pieces = (
                    (sized(block_x, width_x, of_x), sized(block_y, width, of_y), fold[where])
                    for where, block_x, block_y in together(x, ys[b], pattern)
                )
                group.append(fold_sums(pieces, (n_folds, width_x, width), own=not own.size))
                own = own if own.size else group[0].own
            group[0] = group[0]._replace(own=own)
            yield from nested(partial(FromSums, group), fold[pattern], len(group))

    return by_pattern(seen_x & seen_y, fold, scores)
