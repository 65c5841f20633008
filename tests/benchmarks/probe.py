"""One call on a store in a process of its own: seconds, and peak memory of the whole process.

Run ``python -m tests.benchmarks.probe STORE CALL``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import xarray as xr

import xconverge as xc

MIB = 2**20


def product(reps: xr.DataArray) -> None:
    """The bare blocked product of the first model with itself."""
    x = reps.values[0]
    step = max(1, 2**25 // (4 * len(x)))
    for start in range(0, len(x), step):
        x[start : start + step] @ x.T


def products(reps: xr.DataArray) -> None:
    """The three products that linear CKA of the first two models needs."""
    x, y = reps.values[:2]
    for one, other in ((x, y), (x, x), (y, y)):
        one.T @ other


def spread(reps: xr.DataArray) -> None:
    """Dispersion of the stimuli in a shared space that is fitted for it."""
    space = xc.shared_space(reps, n_components=32, folds=3, rng=0)
    xc.dispersion(space["aligned"], "consensus").compute()


CALLS: dict[str, Callable[[xr.DataArray], object]] = {
    "sum": lambda reps: reps.sum().compute(),
    "dispersion": lambda reps: xc.dispersion(reps).compute(),
    "product": product,
    "graph": lambda reps: xc.neighbor_graph(reps[:1]).compute(),
    "approximate": lambda reps: xc.neighbor_graph(
        reps[:1], neighbors="approximate", rng=0
    ).compute(),
    "products": products,
    "cka": lambda reps: xc.alignment(reps[:1], reps[1:2], "cka").compute(),
    "procrustes": lambda reps: xc.alignment(reps[:1], reps[1:2], "procrustes").compute(),
    "shared space": spread,
}
LIMITS = ("product", "products")
"""What is timed with the representations in memory."""


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Print the figures as JSON."""
    path, call = sys.argv[1:]
    reps = xc.open_representations(path, "bench").assign_attrs(space="shared")
    if call in LIMITS:
        reps.load()
    before = psutil.Process().memory_info().rss / MIB
    start = time.perf_counter()
    result = CALLS[call](reps)
    found = {"seconds": time.perf_counter() - start, "peak": peak(), "before": before}
    if isinstance(result, xr.DataArray) and "recall" in result.coords:
        found["recall"] = float(np.mean(result["recall"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
