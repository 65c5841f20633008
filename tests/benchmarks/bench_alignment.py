"""Alignment, RDMs and the shared space in memory: against their matrix products and naive loops."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests import oracles
from tests.benchmarks.table import Figure, Table, allocated, best_of
from xconverge.kernels import procrustes


def model_set(models: int, stimuli: int, features: int, seed: int = 0) -> xr.DataArray:
    """Rotated copies of one structure with noise in axes of its own, spectra as activations'."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, features + 1) ** -0.7
    latent = rng.standard_normal((stimuli, features)) * spectrum
    values = np.empty((models, stimuli, features), np.float32)
    for rows in values:
        turns = np.linalg.qr(rng.standard_normal((2, features, features)))[0]
        noise = rng.standard_normal((stimuli, features)) * spectrum
        rows[...] = latent @ turns[0] + 0.5 * noise @ turns[1]
    return labelled(values, seed)


def labelled(values: np.ndarray, seed: int = 0) -> xr.DataArray:
    """Rows (model, stimulus, feature) with names; those of models tell the seed."""
    return xr.DataArray(
        values,
        dims=("model", "stimulus", "feature"),
        coords={
            "model": [f"net{seed}.{i}" for i in range(values.shape[0])],
            "stimulus": [f"s{i}" for i in range(values.shape[1])],
        },
        name="representation",
    )


def cka(stimuli: int, features: int, repeats: int) -> Table:
    """Unbiased linear CKA and the three products that it needs."""
    a, b = model_set(1, stimuli, features), model_set(1, stimuli, features, 1)
    x, y = a.values[0], b.values[0]
    seconds = best_of(
        {"products": lambda: (x.T @ y, x.T @ x, y.T @ y), "cka": lambda: xc.alignment(a, b, "cka")},
        repeats,
    )
    ratio = seconds["cka"] / seconds["products"]
    return {f"linear CKA of {stimuli}: over its three products": Figure(ratio, at_most=2.0)}


def rdm(stimuli: int, features: int, repeats: int) -> Table:
    """Correlation RDM, its product and the copy into the result."""
    reps = model_set(1, stimuli, features)
    x = reps.values[0]
    result = np.empty((stimuli, stimuli), np.float32)

    def limit() -> None:
        result[...] = x @ x.T

    seconds = best_of({"limit": limit, "rdm": lambda: xc.rdm(reps)}, repeats)
    ratio = seconds["rdm"] / seconds["limit"]
    return {f"correlation RDM of {stimuli}: over product and copy": Figure(ratio, at_most=1.4)}


def graph(stimuli: int, features: int, repeats: int) -> Table:
    """One neighbour graph and the bare blocked product."""
    reps = model_set(1, stimuli, features)
    x = reps.values[0]
    step = max(1, 2**25 // (4 * stimuli))

    def product() -> None:
        for start in range(0, stimuli, step):
            x[start : start + step] @ x.T

    seconds = best_of({"product": product, "graph": lambda: xc.local_density(reps)}, repeats)
    name = f"neighbour graph of {stimuli} in memory:"
    peak = allocated(lambda: xc.local_density(reps))
    return {
        f"{name} over the blocked product": Figure(seconds["graph"] / seconds["product"], 1.6),
        f"{name} MiB over the input": Figure(peak, at_most=300),
    }


def pairs(stimuli: int, features: int, repeats: int, sizes: tuple[int, int]) -> Table:
    """All pairs of two sets of models, in graphs of one model."""
    a, b = (model_set(n, stimuli, features, n) for n in sizes)
    one = a.isel(model=[0])
    seconds = best_of(
        {"graph": lambda: xc.local_density(one), "pairs": lambda: xc.alignment(a, b)}, repeats
    )
    name = f"mutual-kNN of {sizes[0]} x {sizes[1]} models: in graphs of one model"
    return {name: Figure(seconds["pairs"] / seconds["graph"], at_most=float(sum(sizes)))}


def against_loops(stimuli: int, features: int) -> Table:
    """How much sooner than plain loops over stimuli."""
    a, b = model_set(1, stimuli, features), model_set(1, stimuli, features, 1)
    labels = a["stimulus"].values

    def loops() -> float:
        one, other = (oracles.neighbors(side.values[0], labels, 10) for side in (a, b))
        return float(np.mean([len({*x} & {*y}) / 10 for x, y in zip(one, other, strict=True)]))

    assert abs(loops() - float(xc.alignment(a, b).mean())) < 1e-12
    seconds = best_of({"loops": loops, "ours": lambda: xc.alignment(a, b)}, 1)
    return {
        f"mutual-kNN of {stimuli}: naive loops over ours": Figure(
            seconds["loops"] / seconds["ours"]
        )
    }


def plain_alternation(x: np.ndarray, goal: float, most: int) -> tuple[float, float]:
    """Seconds to reach ``goal``, and the objective: all models onto their mean, from the first."""
    begin = time.perf_counter()
    consensus = x[0]
    for _ in range(most):
        aligned = []
        for rows in x:
            u, _, vt = np.linalg.svd(rows.T @ consensus)
            aligned.append(rows @ (u @ vt))
        consensus = np.mean(aligned, 0)
        objective = float(sum(np.sum((rows - consensus) ** 2) for rows in aligned))
        if objective <= goal:
            break
    return time.perf_counter() - begin, objective


def shared_space(models: int, stimuli: int, features: int) -> Table:
    """Time to come within 1e-4 of the converged objective, against plain alternation."""
    reps = model_set(models, stimuli, features)
    x = reps.values.astype(np.float64)
    x -= x.mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=(1, 2), keepdims=True)
    seen = np.ones(x.shape[:2], bool)
    history = procrustes.align(x, seen, procrustes.spectral_start(x), 1e-7, 500).objective
    converged = float(history[-1])
    goal = converged * (1 + 1e-4)
    passes = int(np.argmax(history <= goal)) + 1
    begin = time.perf_counter()
    procrustes.align(x, seen, procrustes.spectral_start(x), 0.0, passes)
    ours = time.perf_counter() - begin
    plain, reached = plain_alternation(x, goal, 60)
    name = f"shared space of {models} x {stimuli}, to within 1e-4:"
    return {
        f"{name} seconds": Figure(ours),
        f"{name} passes": Figure(float(passes)),
        f"{name} objective over the best, less 1": Figure(history[passes - 1] / converged - 1),
        f"{name} plain alternation over ours": Figure(plain / ours, at_least=5),
        f"{name} objective of that, less 1": Figure(reached / converged - 1),
    }


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {
            **cka(300, 32, 2),
            **rdm(300, 32, 2),
            **graph(300, 32, 2),
            **pairs(100, 16, 2, (2, 3)),
            **against_loops(30, 8),
            **shared_space(3, 60, 16),
        }
    return {
        **cka(5_000, 768, 9),
        **rdm(5_000, 768, 7),
        **graph(5_000, 768, 5),
        **graph(20_000, 768, 2),
        **pairs(1_024, 768, 3, (12, 17)),
        **against_loops(500, 768),
        **shared_space(10, 1_000, 768),
    }
