"""Two workers of one thread each against one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def small_workers(folder: Path, models: int, stimuli: int, features: int) -> Table:
    """Dispersion of a store on workers of 1 GB: its time over the sum, what they spill and hold."""
    reps = xc.open_representations(stored(folder, models, stimuli, features), "bench")
    reps = reps.assign_attrs(space="shared")
    spilled, peaks = 0, []

    def watched(call: Callable[[], xr.DataArray], client: Client) -> float:
        nonlocal spilled
        begin = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(lambda: call().compute())
            while not result.done():
                for worker in client.scheduler_info(n_workers=-1)["workers"].values():
                    spilled = max(spilled, worker["metrics"]["spilled_bytes"]["disk"])
                    peaks.append(worker["metrics"]["memory"])
                time.sleep(0.05)
            result.result()
        return time.perf_counter() - begin

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address=":0"
    )
    with cluster, Client(cluster) as client:
        pids = set(client.run(os.getpid).values())
        plain = watched(lambda: reps.sum(skipna=False), client)
        ours = watched(lambda: xc.dispersion(reps), client)
        killed = len(pids - set(client.run(os.getpid).values()))
    name = f"dispersion of {models} x {stimuli:,} on two workers of 1 GB:"
    return {
        f"{name} over the sum": Figure(ours / plain, at_most=1.6),
        f"{name} largest worker, MB": Figure(max(peaks, default=0) / 1e6, at_most=1000),
        f"{name} bytes spilled, workers killed": Figure(float(spilled + killed), at_most=0),
    }


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
        # a model with itself is another product of numpy's than with its copy from another worker
        xr.testing.assert_allclose(before[name], after[name], rtol=2e-6)
        gain = Figure(alone[name] / both[name], at_least=1.6)
        table[f"{name}: one worker over two, seconds"] = gain
    return table | small_workers(folder, 20, *((300, 16) if short else (100_000, 768)))
