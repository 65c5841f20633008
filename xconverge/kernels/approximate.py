"""Nearest neighbours by an index that searches only the nearest cells."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from xconverge.kernels.neighbors import TooFewError, nearest_among, warn_none
from xconverge.kernels.vectors import METRICS, Array, Blocks, directed

PROBES = 32
"""Cells searched for each row, unless said otherwise."""
TRAINED = 64
"""Rows a cell that the cells are learned from."""


def faiss() -> Any:
    """The library, or how to get it; with one thread inside a worker."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "neighbors='approximate' needs faiss: pip install 'xconverge[approximate]'"
        ) from error
    if threading.current_thread() is not threading.main_thread():
        faiss.omp_set_num_threads(1)
    return faiss


def nearest(
    rows: Blocks,
    width: int,
    rank: Array,
    k: int,
    n_probes: int | None,
    n_checked: int,
    seed: int,
) -> tuple[Array, float]:
    """Neighbours (n, k) of every row by cosine, nearest first, and their recall.

    Three passes over the rows: cells are learned from a sample, filled, and searched. The recall
    is that of ``n_checked`` random rows, whose exact neighbours are searched in a fourth.
    """
    n = rows.shape[0]
    mixed = np.random.default_rng(seed).permutation(n)
    cells = max(1, min(int(4 * np.sqrt(n)), n // 40))
    sample, seen = _some(rows, width, np.sort(mixed[: TRAINED * cells]))
    if not seen.any():
        warn_none(k)
        return np.full((n, k), -1, np.int64), np.nan
    if seen.sum() <= k:
        raise TooFewError(f"k={k} needs at least {k + 1} stimuli, it saw {seen.sum()}")
    library, width = faiss(), int(width)
    cells = min(cells, max(1, len(sample)))
    index = library.IndexIVFFlat(
        library.IndexFlatIP(width), width, cells, library.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1
    index.train(sample.astype(np.float32))
    for asked, block in _present(rows, width):
        index.add_with_ids(block, asked)
    index.nprobe = min(cells, n_probes or PROBES)
    lists = np.full((n, k), -1, np.int64)
    for asked, block in _present(rows, width):
        lists[asked] = _found(index, cells, asked, block, k)
    checked = np.sort(mixed[seen[mixed]][:n_checked])
    queries, _ = _some(rows, width, checked)
    exact, *_ = nearest_among(rows, width, rank, queries, checked, k)
    hits = (lists[checked][:, :, None] == exact[:, None]).any(2)
    return lists, float(hits.mean())


def _some(rows: Blocks, width: int, chosen: Array) -> tuple[Array, Array]:
    """Unit rows of the chosen positions that are there, and which of all are there (n)."""
    found, seen = [], np.zeros(rows.shape[0], bool)
    for part in rows.spans:
        block, seen[part] = directed(rows.read(part), width, METRICS["cosine"], part.start)
        inside = chosen[(chosen >= part.start) & (chosen < part.stop)]
        found.append(block[inside[seen[inside]] - part.start])
    return np.concatenate(found), seen


def _present(rows: Blocks, width: int) -> Any:
    """Positions and unit rows that are there, block by block."""
    for part in rows.spans:
        block, seen = directed(rows.read(part), width, METRICS["cosine"], part.start)
        yield np.flatnonzero(seen) + part.start, block[seen].astype(np.float32)


def _found(index: Any, cells: int, asked: Array, block: Array, k: int) -> Array:
    """Neighbours (q, k) other than the row itself; all cells where the nearest hold too few."""
    result, probes = np.full((len(asked), k), -1, np.int64), index.nprobe
    left = np.arange(len(asked))
    for n_probes in (probes, cells):
        index.nprobe = n_probes
        if len(left):
            _, found = index.search(block[left], k + 1)
            other = found != asked[left, None]
            other[other.all(1), k] = False
            result[left] = found[other].reshape(len(left), k)
        left = np.flatnonzero((result < 0).any(1))
    index.nprobe = probes
    return result
