"""Time and memory as stimuli grow: calls on a store against their matrix products in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.benchmarks.stores import stored
from tests.benchmarks.table import Figure, Table, alone

LIMITS = {"graph": "product", "cka": "products"}
ASKED = {("graph", 50_000): 1.6}


def curve(
    folder: Path, calls: list[str], models: int, lengths: list[int], features: int, repeats: int
) -> Table:
    """Seconds, ratio to the product, and peak memory of each call on stores of each length."""
    table: Table = {}
    for stimuli in lengths:
        path = stored(folder, models, stimuli, features)
        for call in calls:
            limit = LIMITS.get(call)
            ours, bare = [], []
            for _ in range(repeats):
                ours.append(alone("probe", path, call))
                if limit:
                    bare.append(alone("probe", path, limit)["seconds"])
            seconds = min(run["seconds"] for run in ours)
            name = f"{call} of {models} x {stimuli:,}, from a store:"
            table[f"{name} seconds"] = Figure(seconds)
            table[f"{name} peak memory, MiB"] = Figure(max(run["peak"] for run in ours))
            if bare:
                table[f"{name} over the bare product"] = Figure(
                    seconds / min(bare), at_most=ASKED.get((call, stimuli))
                )
            if "recall" in ours[0]:
                table[f"{name} recall"] = Figure(ours[0]["recall"])
        shutil.rmtree(path)
    return table


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    neighbors, products, spaces = ["graph", "approximate"], ["cka", "procrustes"], ["shared space"]
    if short:
        return {
            **curve(folder, neighbors, 1, [300], 16, 1),
            **curve(folder, products, 2, [300], 16, 1),
            **curve(folder, spaces, 3, [200], 16, 1),
        }
    return {
        **curve(folder, neighbors, 1, [10_000, 20_000, 50_000], 768, 1),
        **curve(folder, products, 2, [20_000, 50_000, 200_000], 768, 1),
        **curve(folder, spaces, 10, [20_000, 50_000, 100_000], 768, 1),
    }
