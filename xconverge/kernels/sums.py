"""Sums over rows that merge; of models read block by block for a shared space.

Frames first, then their cross-products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.procrustes import Frame, framed, leading
from xconverge.kernels.vectors import Array, Blocks, column_means, in_blocks


class Scatter(NamedTuple):
    """Number, mean (f) and centred X'X (f, f) of some rows."""

    size: int
    mean: Array
    gram: Array


def scatter(rows: Array) -> Scatter:
    """Of rows (n, f) that are all there."""
    if not len(rows):
        return Scatter(0, np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2))
    mean = column_means(rows)
    rows = rows - mean
    return Scatter(len(rows), mean, rows.T @ rows)


def merged(one: Scatter, other: Scatter) -> Scatter:
    """Of the rows of both."""
    size = one.size + other.size
    share = other.size / max(size, 1)
    gap = other.mean - one.mean
    between = one.size * share * np.outer(gap, gap)
    return Scatter(size, one.mean + share * gap, one.gram + other.gram + between)


def scatters(rows: Blocks, width: int, fold: Array) -> tuple[Array, list[Scatter]]:
    """Which rows are there (n), and the scatter of each fold of them, in one pass."""
    seen = np.zeros(rows.shape[0], bool)
    parts = [scatter(np.empty((0, width)))] * (int(fold.max()) + 1)
    for part, values, here in in_blocks(rows, width):
        seen[part] = here
        for number in np.unique(fold[part]):
            mine = values[here & (fold[part] == number)].astype(np.float64)
            parts[number] = merged(parts[number], scatter(mine))
    return seen, parts


def frames(
    rows: Blocks, width: int, fold: Array, n_components: int | None, dim: int
) -> tuple[Array, Array, Array, Array]:
    """Which stimuli are there (n), and the frames of all of them, then of all but each fold.

    Returns seen (n), centers (K, F), bases (K, F, d) and scales (K); K is 1 for a single fold.
    """
    seen, parts = scatters(rows, width, fold)
    trains = [seen]
    if len(parts) > 1:
        trains += [seen & (fold != number) for number in range(len(parts))]
    found = []
    for left_out, train in enumerate(trains, -1):
        total = scatter(np.empty((0, width)))
        for number, part in enumerate(parts):
            if number != left_out:
                total = merged(total, part)
        basis = np.eye(width) if n_components is None else leading(total.gram, n_components)
        norm = float(np.sqrt(np.vdot(basis, total.gram @ basis)))
        found.append(framed(total.mean, basis, norm, train, (rows.shape[1], dim)))
    centers, bases, scales = (np.stack(field) for field in zip(*found, strict=True))
    return seen, centers, bases, scales


def cross_products(
    rows: Sequence[Blocks],
    widths: Array,
    centers: Array,
    bases: Array,
    scales: Array,
    train: Array,
    goal: Array,
    asking: slice,
) -> tuple[Array, Array]:
    """Of the models in their frames: all cross-products (M d, M d), and those with a goal.

    Over the rows ``train`` (n) of the part ``asking``. The goal is linear in the features,
    ``goal`` (M, F, e) of them. Returns (M d, M d) and (M d, e).
    """
    n_models, _, dim = bases.shape
    size = n_models * dim
    gram, onto = np.zeros((size, size)), np.zeros((size, goal.shape[2]))
    for part in rows[0].spans:
        part = slice(max(part.start, asking.start), min(part.stop, asking.stop))
        here = train[part]
        if not here.any():
            continue
        joined = np.empty((int(here.sum()), n_models, dim))
        target = np.zeros((len(joined), goal.shape[2]))
        for m, (source, width) in enumerate(zip(rows, widths, strict=True)):
            frame = Frame(centers[m, :width], bases[m, :width], scales[m])
            values = source.read(part)[here, :width] - frame.center
            joined[:, m] = values @ frame.basis / frame.scale
            target += values @ goal[m, :width]
        flat = joined.reshape(len(joined), size)
        gram += flat.T @ flat
        onto += flat.T @ target
    return gram, onto
