"""Sets that swaps find: how long it takes, and against plain swaps, random sets and a ranking."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.table import Figure, Table
from xconverge.demo import shipped
from xconverge.kernels.swaps import correlations


def models(n_models: int, stimuli: int, features: int) -> xr.DataArray:
    """Models that share latents, some stimuli clearly and some dimly, in float32."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((stimuli, 30), np.float32)
    noise = rng.uniform(0.3, 3, (stimuli, 1)).astype(np.float32)
    values = np.empty((n_models, stimuli, features), np.float32)
    for one in values:
        one[:] = latent @ rng.standard_normal((30, features), np.float32) / np.sqrt(30)
        one += noise * rng.standard_normal((stimuli, features), np.float32)
    coords = {
        "model": [f"net{m}" for m in range(n_models)],
        "stimulus": [f"s{i}" for i in range(stimuli)],
    }
    return xr.DataArray(values, dims=("model", "stimulus", "feature"), coords=coords)


def large(n_models: int, stimuli: int, features: int, n: int) -> Table:
    """Seconds of a whole call, and what the further searches gain over greedy swaps."""
    reps = models(n_models, stimuli, features)
    table: Table = {}
    for which in ("high", "low"):
        name = f"{n} of {stimuli:,} stimuli, {n_models} models x {features}, {which} agreement:"
        begin = time.perf_counter()
        found = xc.optimize_stimuli(reps, n, which, rng=0)
        table[f"{name} seconds"] = Figure(time.perf_counter() - begin, at_most=60)
        greedy = xc.optimize_stimuli(reps, n, which, rng=0, n_restarts=0, n_perturbations=0)
        sign = 1 if which == "high" else -1
        scores = [sign * float(one["agreement"]) for one in (found, greedy)]
        table[f"{name} found"] = Figure(sign * scores[0])
        table[f"{name} greedy swaps from the same start"] = Figure(sign * scores[1])
        table[f"{name} found over greedy swaps, 1 + gain"] = Figure(
            1 + scores[0] - scores[1], at_least=1
        )
        table[f"{name} random sets"] = Figure(float(found["agreement_of_random"]))
    return table


def emoji(n: int, stimuli: int | None, splits: int) -> Table:
    """Half of the six networks choose; the agreement of either half inside the set.

    For each of some ways to split them, against random sets and the ranking by dispersion.
    """
    with shipped() as folder:
        vision = xc.open_representations(folder / "demo.zarr", "vision").load()[:, :stimuli]
    vision = vision.sel(model=vision["family"] == "neural")
    rdms, labels = xc.rdm(vision).values, vision.indexes["stimulus"]
    rng = np.random.default_rng(0)
    halves = [rng.permutation(6) for _ in range(splits)]
    random = [_inside(rdms, rng.permutation(len(labels))[:n]) for _ in range(200)]
    table: Table = {}
    for which, end in (("high", "low"), ("low", "high")):
        rows = []
        for half in halves:
            used = vision.isel(model=np.sort(half[:3]))
            sets = [
                xc.optimize_stimuli(used, n, which, rng=0),
                xc.select_stimuli(xc.dispersion(used, "rdm"), n, end),
            ]
            inside = [
                *(_inside(rdms, labels.get_indexer(one["stimulus"])) for one in sets),
                np.mean(random, 0),
            ]
            rows.append([[_mean(one, models) for models in np.split(half, 2)] for one in inside])
        means = np.mean(rows, 0)
        for name, (own, other) in zip(
            ("optimised", "ranked by dispersion", "random"), means, strict=True
        ):
            what = f"{n} emoji of {which} agreement, mean of {splits} splits, {name}:"
            table[f"{what} models used"] = Figure(own)
            table[f"{what} models held out"] = Figure(other)
    return table


def _inside(rdms: np.ndarray, members: np.ndarray) -> np.ndarray:
    return correlations(np.stack([rdm[np.ix_(members, members)] for rdm in rdms]))


def _mean(matrix: np.ndarray, models: np.ndarray) -> float:
    """Mean over pairs of these models."""
    own = matrix[np.ix_(models, models)]
    return float(own[np.triu_indices(len(models), 1)].mean())


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {**large(4, 300, 16, 20), **emoji(20, 200, 2)}
    return {
        **large(20, 10_000, 768, 100),
        **emoji(100, None, 10),
    }
