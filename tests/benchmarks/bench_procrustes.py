"""Shared spaces and Procrustes distances against plain alternation, netrep and their products.

netrep (Williams et al. 2021) is written out from its formulas, for the registry has no release of
it: after centring and scaling to unit norm, arccos of the sum of the singular values of X'Y, a pair
after the other.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.bench_alignment import labelled, plain_alternation
from tests.benchmarks.table import Figure, Table, best_of
from xconverge.kernels import procrustes

LATENTS = 64


def noisy_models(models: int, stimuli: int, features: int, latents: int = LATENTS) -> xr.DataArray:
    """Latents, turned anew for each model, with as much noise in all features."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((stimuli, latents))
    values = np.empty((models, stimuli, features), np.float32)
    for one in values:
        turn = np.linalg.qr(rng.standard_normal((features, latents)))[0]
        one[...] = common @ turn.T * np.sqrt(features / latents)
        one += rng.standard_normal(one.shape)
    return labelled(values)


def unit(reps: xr.DataArray) -> np.ndarray:
    """Centred models of unit Frobenius norm, in double."""
    x = reps.values.astype(np.float64)
    x -= x.mean(1, keepdims=True)
    return x / np.linalg.norm(x, axis=(1, 2), keepdims=True)


def netrep(x: np.ndarray) -> np.ndarray:
    """Angles of the pairs above the diagonal, mirrored."""
    angles = np.zeros((len(x), len(x)))
    for i, j in zip(*np.triu_indices(len(x), 1), strict=True):
        values = np.linalg.svd(x[i].T @ x[j], compute_uv=False)
        angles[i, j] = angles[j, i] = np.arccos(min(values.sum(), 1.0))
    return angles


def to_the_end_of_plain(models: int, stimuli: int, features: int, passes: int) -> Table:
    """Seconds to the objective at which plain alternation is after so many passes."""
    x = unit(noisy_models(models, stimuli, features, min(LATENTS, features // 2)))
    plain, goal = plain_alternation(x, 0.0, passes)
    seen = np.ones(x.shape[:2], bool)
    for most in range(1, passes + 1):
        begin = time.perf_counter()
        found = procrustes.align(x, seen, procrustes.spectral_start(x), 0.0, most)
        ours = time.perf_counter() - begin
        if found.objective[-1] <= goal:
            break
    # a pass has two products a model, which single precision is enough for
    single = x.astype(np.float32)
    products = best_of(
        {"pass": lambda: [rows @ (rows.T @ single[0]) for rows in single]}, repeats=3
    )["pass"]
    name = f"shared space of {models} x {stimuli:,} x {features}:"
    return {
        f"{name} plain alternation, {passes} passes, over ours": Figure(plain / ours, at_least=10),
        f"{name} objective of ours over that": Figure(found.objective[-1] / goal, at_most=1.0),
        f"{name} passes of ours": Figure(float(most)),
        f"{name} ours over the products of its passes": Figure(ours / (most * products)),
    }


def by_default(models: int, stimuli: int, features: int, n_components: int | None = None) -> Table:
    """Seconds of a call with its default tolerance."""
    reps = noisy_models(models, stimuli, features, min(LATENTS, features // 2))
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ components for", RuntimeWarning)
        space = xc.shared_space(reps, n_components=n_components)
    seconds = time.perf_counter() - begin
    beside = "" if n_components is None else f", {n_components} components"
    name = f"shared_space of {models} x {stimuli:,} x {features}{beside}, by default:"
    return {
        f"{name} seconds": Figure(seconds, at_most=15),
        f"{name} passes": Figure(float(space.sizes["iteration"])),
    }


def distances(models: int, stimuli: int, features: int, repeats: int) -> Table:
    """All angles of a set with itself."""
    reps = noisy_models(models, stimuli, features, min(LATENTS, features // 2))
    x = unit(reps)
    ours = xc.alignment(reps, reps, "procrustes").values
    assert np.abs(ours - netrep(x))[~np.eye(models, dtype=bool)].max() < 1e-10
    pairs = list(zip(*np.triu_indices(models, 1), strict=True))
    seconds = best_of(
        {
            "ours": lambda: xc.alignment(reps, reps, "procrustes"),
            "netrep": lambda: netrep(unit(reps)),
            "products": lambda: [x[i].T @ x[j] for i, j in pairs],
        },
        repeats,
    )
    name = f"Procrustes distances of {models} x {stimuli:,} x {features}:"
    return {
        f"{name} netrep over ours": Figure(seconds["netrep"] / seconds["ours"], at_least=8),
        f"{name} ours over the products": Figure(seconds["ours"] / seconds["products"]),
    }


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {
            **to_the_end_of_plain(3, 60, 16, 4),
            **by_default(3, 60, 16),
            **distances(3, 60, 16, 2),
        }
    return {
        **to_the_end_of_plain(10, 1_000, 768, 12),
        **by_default(10, 1_000, 768),
        **by_default(15, 600, 768, 50),
        **distances(10, 1_000, 768, 2),
    }
