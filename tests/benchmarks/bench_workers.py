"""Two workers of one thread each against one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr
from distributed import Client, LocalCluster

import xconverge as xc
from tests.benchmarks.stores import stored
from tests.benchmarks.table import Figure, Table, best_of


def gain(name: str, call: Callable[[], xr.DataArray], repeats: int) -> Table:
    """How much sooner two workers are done; their numbers are the same."""
    seconds, results = [], []
    for workers in (1, 2):
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
        with cluster, Client(cluster):
            results.append(call().compute())
            seconds.append(best_of({name: lambda: call().compute()}, repeats)[name])
    xr.testing.assert_identical(*results)
    return {f"{name}: one worker over two, seconds": Figure(seconds[0] / seconds[1], at_least=1.6)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    width = 16 if short else 768
    long, pairs = (300, 100) if short else (30_000, 3_000)
    one = xc.open_representations(stored(folder, 1, long, width), "bench")
    ten = xc.open_representations(stored(folder, 10, pairs, width), "bench")
    repeats = 1 if short else 2
    return {
        **gain(f"neighbour graph of {long:,}", lambda: xc.neighbor_graph(one), repeats),
        **gain(f"mutual-kNN of 10 x 10, {pairs:,}", lambda: xc.alignment(ten, ten), repeats),
        **gain(f"linear CKA of 10 x 10, {pairs:,}", lambda: xc.alignment(ten, ten, "cka"), repeats),
    }
