"""Whole calls with their defaults: none lets a small job run for minutes.

Fifteen models of each side, 600 stimuli and 768 features; and ``xconverge demo`` in a process of
its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import xconverge as xc
from tests.benchmarks.bench_procrustes import LATENTS, noisy_models
from tests.benchmarks.table import Figure, Table, best_of


def calls(models: int, stimuli: int, features: int, n: int) -> Table:
    """Seconds of each; stimuli are optimized to ``n``, and chosen by how models spread."""
    reps = noisy_models(2 * models, stimuli, features, min(LATENTS, features // 2))
    a, b = reps[:models], reps[models:]
    brain, spread = xc.rdm(b[:1]).isel(model=0, drop=True), xc.dispersion(a, "rdm")
    found = best_of(
        {
            "shared_space": lambda: xc.shared_space(a),
            "select_models": lambda: xc.select_models(a, brain, spread, rng=0),
            "optimize_stimuli": lambda: xc.optimize_stimuli(a, n, rng=0),
            "analyze": lambda: xc.analyze({"vision": a, "language": b}, rng=0),
        },
        1,
    )
    of = f"of {models} x {stimuli:,} x {features}, by default: seconds"
    return {f"{name} {of}": Figure(seconds, at_most=15) for name, seconds in found.items()}


def demo(folder: Path) -> Table:
    """Seconds of the command, with Python's start."""
    command = [sys.executable, "-m", "xconverge.cli.main", "demo", "--out", str(folder / "demo")]
    seconds = best_of(
        {"demo": lambda: subprocess.run(command, check=True, capture_output=True)}, 1
    )["demo"]
    return {"xconverge demo: seconds": Figure(seconds, at_most=25)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return calls(4, 60, 16, 10)
    return {**calls(15, 600, 768, 100), **demo(folder)}
