"""Two workers of one thread each against one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr
from distributed import Client, LocalCluster

import xconverge as xc
from tests.benchmarks.stores import stored
from tests.benchmarks.table import Figure, Table, best_of

Calls = dict[str, Callable[[], xr.DataArray]]


def timed(
    calls: Calls, workers: int, repeats: int
) -> tuple[dict[str, float], dict[str, xr.DataArray]]:
    """Seconds of each call on that many workers, and what it gave."""
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster):
        results = {name: call().compute() for name, call in calls.items()}
        seconds = best_of({n: lambda call=c: call().compute() for n, c in calls.items()}, repeats)
    return seconds, results


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    width = 16 if short else 768
    long, pairs = (300, 100) if short else (30_000, 3_000)
    one = xc.open_representations(stored(folder, 1, long, width), "bench")
    ten = xc.open_representations(stored(folder, 10, pairs, width), "bench")
    calls: Calls = {
        f"neighbour graph of {long:,}": lambda: xc.neighbor_graph(one),
        f"mutual-kNN of 10 x 10, {pairs:,}": lambda: xc.alignment(ten, ten),
        f"linear CKA of 10 x 10, {pairs:,}": lambda: xc.alignment(ten, ten, "cka"),
    }
    (alone, before), (both, after) = (timed(calls, n, 1 if short else 2) for n in (1, 2))
    table: Table = {}
    for name in calls:
        xr.testing.assert_identical(before[name], after[name])
        gain = Figure(alone[name] / both[name], at_least=1.6)
        table[f"{name}: one worker over two, seconds"] = gain
    return table
