"""Cosine dispersion in memory: against a plain sum, a copy, and naive loops over pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests import oracles
from tests.benchmarks.table import Figure, Table, best_of


def near_each_other(models: int, stimuli: int, features: int, spread: float) -> xr.DataArray:
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


def in_memory(models: int, stimuli: int, features: int, repeats: int) -> Table:
    """Ratios and errors where models are far apart, and where they nearly agree."""
    table: Table = {}
    for label, spread in (("far apart", 3.0), ("nearly agreeing", 0.02)):
        reps = near_each_other(models, stimuli, features, spread)
        sample = reps.isel(stimulus=slice(500))
        error = np.abs(xc.dispersion(sample).values / exact_cosine(sample) - 1).max()
        copy = np.empty_like(reps.values)
        seconds = best_of(
            {
                "sum": lambda r=reps: np.sum(r.values),
                "copy": lambda r=reps, c=copy: np.copyto(c, r.values),
                "dispersion": lambda r=reps: xc.dispersion(r),
            },
            repeats,
        )
        name = f"dispersion in memory, {label}:"
        ours = seconds["dispersion"]
        table[f"{name} over numpy.sum"] = Figure(ours / seconds["sum"], at_most=2.5)
        table[f"{name} over a copy of the array"] = Figure(ours / seconds["copy"])
        table[f"{name} largest relative error"] = Figure(float(error), at_most=1e-6)
    table["memory: sum, GB/s"] = Figure(reps.nbytes / seconds["sum"] / 1e9)
    table["memory: copy, GB/s read and written"] = Figure(2 * reps.nbytes / seconds["copy"] / 1e9)
    return table


def against_loops(models: int, stimuli: int, features: int) -> Table:
    """How much sooner than plain loops over stimuli and pairs of models."""
    reps = near_each_other(models, stimuli, features, 3.0)
    seconds = best_of(
        {
            "loops": lambda: oracles.dispersion(reps.values, "cosine"),
            "ours": lambda: xc.dispersion(reps),
        },
        1,
    )
    return {
        f"dispersion of {models} x {stimuli}: naive loops over ours": Figure(
            seconds["loops"] / seconds["ours"]
        )
    }


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    size = (5, 200, 64, 2) if short else (20, 5_000, 768, 9)
    return {**in_memory(*size), **against_loops(*((5, 20, 8) if short else (20, 500, 768)))}
