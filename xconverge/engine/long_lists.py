"""Neighbour lists of models that are too long for one task: every block of rows answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import xarray as xr

from xconverge.engine.blockwise import Sources, query_spans, read_spans, seen_rows
from xconverge.engine.graph import Graph, cell
from xconverge.kernels import neighbors
from xconverge.kernels.kernel import modeled
from xconverge.kernels.knn import ListKernel
from xconverge.kernels.vectors import Array


def lists_by_blocks(
    kernel: ListKernel, reps: xr.DataArray, rank: xr.DataArray, others: xr.DataArray, what: str
) -> xr.DataArray:
    """Lists of every model, among each set of stimuli that it shares with one of the others.

    Only some rows, one block and their nearest so far are in memory at a time.
    """
    sources, order, k = Sources(reps, what), rank.values, max(kernel.depth, kernel.k)
    # of a pair, the other side has the other letter
    whose = what if others is reps else {"a": "b", "b": "a"}.get(what, what)
    own = seen_rows(reps, what)
    theirs = own if others is reps else seen_rows(others, whose)
    graph = Graph("lists", reps.data, others.data, kernel, order, what)
    shared = graph.value(theirs.reshape(-1, theirs.shape[-1]).rechunk(-1))
    blocks, queries = read_spans(reps), query_spans(reps)
    keys = []
    models = zip(sources.positions, sources.rows, sources.widths, strict=True)
    for number, (position, rows, width) in enumerate(models):
        sets = graph.call(neighbors.shared_sets, graph.value(own[position].rechunk(-1)), shared)
        parts = []
        for asking in queries:
            ask = sources.named(partial(_asking, width, asking.start), number, asking)
            asked = graph.call(ask, graph.block(rows, asking))
            found = [
                graph.call(
                    sources.named(partial(_answers, part, order, k), number, part),
                    graph.block(rows, part),
                    asked,
                    sets,
                )
                for part in blocks
            ]
            merged = graph.merged(partial(neighbors.best_answers, rank=order, k=k), found)
            parts.append(graph.call(neighbors.with_mean, merged, asked, sets))
        whole = sources.named(partial(_whole, kernel, order, width), number, slice(None))
        keys.append(graph.call(whole, parts, sets))
    return sources.labelled(graph.arrays(keys, (), object), [])


def _asking(width: int, start: int, block: Array) -> neighbors.Asked:
    return neighbors.asking(block, width, start)


def _answers(
    part: slice, rank: Array, k: int, block: Array, asked: neighbors.Asked, sets: Array
) -> list[neighbors.Found]:
    return neighbors.answers(block, asked, sets, part, rank, k)


def _whole(kernel: ListKernel, rank: Array, width: int, parts: Any, sets: Array) -> Array:
    return cell(modeled(kernel, kernel.of_blocks(parts, sets, rank, width)))
