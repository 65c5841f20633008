"""Nearest neighbours by an index that searches only the nearest cells."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from xconverge.kernels.neighbors import nearest_of_rows, same_row, warn_if_few
from xconverge.kernels.vectors import METRICS, Array, prepare

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
    x: Array,
    width: int,
    rank: Array,
    k: int,
    n_probes: int | None,
    n_checked: int,
    seed: int,
) -> tuple[Array, float]:
    """Neighbours (n, k) of every row of ``x`` (n, F) by cosine, nearest first, and their recall.

    -1 where there are no more. Cells are learned from a sample, filled, and searched. The recall is
    that of ``n_checked`` random rows, whose exact neighbours are searched too.
    """
    n, width = len(x), int(width)
    rows, seen, *_ = prepare(x, width, METRICS["cosine"])
    warn_if_few(k, int(seen.sum()))
    if seen.sum() < 2:
        return np.full((n, k), -1, np.int64), np.nan
    there = np.flatnonzero(seen)
    single = rows[there].astype(np.float32)
    mixed = np.random.default_rng(seed).permutation(n)
    cells = max(1, min(int(4 * np.sqrt(n)), n // 40))
    mixed = mixed[seen[mixed]]
    sample = rows[np.sort(mixed[: TRAINED * cells])].astype(np.float32)
    cells = min(cells, len(sample))
    library = faiss()
    index = library.IndexIVFFlat(
        library.IndexFlatIP(width), width, cells, library.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1
    index.train(sample)
    index.add_with_ids(single, there)
    index.nprobe = min(cells, n_probes or PROBES)
    lists = np.full((n, k), -1, np.int64)
    lists[there] = _found(index, cells, there, single, k)
    checked = np.sort(mixed[:n_checked])
    place = np.cumsum(seen) - 1
    exact, _ = nearest_of_rows(
        rows[there], rank[there], place[checked], k, same_row(x.dtype, width)
    )
    hits = (lists[checked][:, :, None] == there[exact][:, None]).any(2)
    return lists, float(hits.mean())


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
