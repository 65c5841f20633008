"""Dispersion against the physical limit: ratios to a plain sum of the same data, from one run.

Run ``python tests/benchmarks/bench_dispersion.py`` for the table; unset OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE first if they are set. ``--json FILE`` records it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc

MODELS, STIMULI, FEATURES = 20, 5_000, 768


def best_of(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Shortest seconds of each call, taken in turns so that noise falls on all alike."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def nearly_agreeing(models: int, stimuli: int, features: int, spread: float) -> xr.DataArray:
    """Models whose true cosine dispersion is about 0.0004 at ``spread=0.02``."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((stimuli, features), dtype=np.float32)
    noise = rng.standard_normal((models, stimuli, features), dtype=np.float32)
    return xr.DataArray(
        base + np.float32(spread) * noise,
        dims=("model", "stimulus", "feature"),
        coords={
            "model": [f"net{i}" for i in range(models)],
            "stimulus": [f"s{i}" for i in range(stimuli)],
        },
        attrs={"space": "shared", "modality": "vision"},
        name="representation",
    )


def exact_cosine(reps: xr.DataArray) -> np.ndarray:
    """Mean pair distance from float64 residuals, plainly."""
    x = reps.values.astype(np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    gap = x - x.mean(0)
    return (gap**2).sum((0, 2)) / (len(x) - 1)


def measure(models: int, stimuli: int, features: int, repeats: int) -> dict[str, float]:
    """The table: seconds, ratios and relative errors."""
    table: dict[str, float] = {}
    for label, spread in (("apart", 3.0), ("agreeing", 0.02)):
        reps = nearly_agreeing(models, stimuli, features, spread)
        sample = reps.isel(stimulus=slice(500))
        error = np.abs(xc.dispersion(sample).values / exact_cosine(sample) - 1).max()
        seconds = best_of(
            {"sum": lambda r=reps: np.sum(r.values), "dispersion": lambda r=reps: xc.dispersion(r)},
            repeats,
        )
        table[f"memory, {label}: sum, s"] = seconds["sum"]
        table[f"memory, {label}: dispersion, ratio to sum"] = seconds["dispersion"] / seconds["sum"]
        table[f"memory, {label}: relative error"] = float(error)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.zarr"
        xc.write_representations(path, reps, modality="vision")
        stored = xc.open_representations(path, "vision")
        stored.attrs["space"] = "shared"
        seconds = best_of(
            {
                "sum": lambda: stored.sum().compute(),
                "dispersion": lambda: xc.dispersion(stored).compute(),
            },
            repeats,
        )
        table["store: sum, s"] = seconds["sum"]
        table["store: dispersion, ratio to sum"] = seconds["dispersion"] / seconds["sum"]
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small sizes, for the tests")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    size = (5, 200, 64, 2) if arguments.short else (MODELS, STIMULI, FEATURES, 9)
    table = measure(*size)
    for name, value in table.items():
        print(f"{name:45s} {value:10.3g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
