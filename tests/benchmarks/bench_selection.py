"""Sets that swaps find: how long it takes, and against plain swaps, random sets and a ranking."""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.table import Figure, Table
from xconverge.cli.demo import shipped
from xconverge.kernels.set_search import correlations


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
    """Three of six networks choose; the agreement, inside the set, of these and of the other three.

    Over ways to split the networks, beside rankings by dispersion and random sets.
    """
    with shipped() as folder:
        vision = xc.open_representations(folder / "demo.zarr", "vision").load()[:, :stimuli]
    vision = vision.sel(model=vision["family"] == "neural")
    rdms, labels = xc.rdm(vision).values, vision.indexes["stimulus"]
    rng = np.random.default_rng(0)
    random = [_inside(rdms, rng.permutation(len(labels))[:n]) for _ in range(1000)]
    table: Table = {}
    for which, end, sign in (("high", "low", 1), ("low", "high", -1)):
        scores: dict[str, list[list[float]]] = {}
        for used in list(combinations(range(6), 3))[:splits]:
            sides = [list(used), [m for m in range(6) if m not in used]]
            half = vision.isel(model=sides[0])
            sets = {
                "optimised": xc.optimize_stimuli(half, n, which, rng=0),
                "ranked by rdm": xc.select_stimuli(xc.dispersion(half, "rdm"), n, end),
                "ranked by neighborhood": xc.select_stimuli(
                    xc.dispersion(half, "neighborhood"), n, end
                ),
            }
            null = np.array([[_mean(one, side) for side in sides] for one in random])
            edge = np.quantile(sign * null[:, 1], 0.95)
            for name, chosen in sets.items():
                inside = _inside(rdms, labels.get_indexer(chosen["stimulus"]))
                own, other = (_mean(inside, side) for side in sides)
                scores.setdefault(name, []).append([own, other, sign * other > edge])
            scores.setdefault("random", []).append([*null.mean(0), 0.05])
        for name, rows in scores.items():
            what = f"{n} emoji of {which} agreement, {splits} splits, {name}:"
            own, other, beyond = np.mean(rows, 0)
            table[f"{what} models used"] = Figure(own)
            table[f"{what} models held out"] = Figure(other)
            table[f"{what} splits beyond 95 % of random, held out"] = Figure(beyond)
        best = sign * np.array(scores["optimised"])[:, 1]
        for name in ("ranked by rdm", "ranked by neighborhood"):
            ahead = (best > sign * np.array(scores[name])[:, 1]).mean()
            table[f"{n} emoji of {which} agreement, {splits} splits, optimised before {name}"] = (
                Figure(ahead)
            )
    return table


def _inside(rdms: np.ndarray, members: np.ndarray) -> np.ndarray:
    return correlations(np.stack([rdm[np.ix_(members, members)] for rdm in rdms]))


def _mean(matrix: np.ndarray, models: list[int]) -> float:
    """Mean over pairs of these models."""
    own = matrix[np.ix_(models, models)]
    return float(own[np.triu_indices(len(models), 1)].mean())


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {**large(4, 300, 16, 20), **emoji(20, 200, 2)}
    return {
        **large(20, 10_000, 768, 100),
        **emoji(100, None, 20),
    }
