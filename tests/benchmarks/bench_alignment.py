"""Alignment, RDMs and the shared space against their matrix products: ratios from one run.

Run ``python tests/benchmarks/bench_alignment.py`` for the table; unset OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE first if they are set. ``--json FILE`` records it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.bench_dispersion import best_of
from xconverge.kernels import procrustes

MIB = 2**20


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
    return xr.DataArray(
        values,
        dims=("model", "stimulus", "feature"),
        coords={
            "model": [f"net{seed}.{i}" for i in range(models)],
            "stimulus": [f"s{i}" for i in range(stimuli)],
        },
        name="representation",
    )


def cka(stimuli: int, features: int, repeats: int) -> dict[str, float]:
    """Unbiased linear CKA and the three products that it needs."""
    a, b = model_set(1, stimuli, features), model_set(1, stimuli, features, 1)
    x, y = a.values[0], b.values[0]
    seconds = best_of(
        {"products": lambda: (x.T @ y, x.T @ x, y.T @ y), "cka": lambda: xc.alignment(a, b, "cka")},
        repeats,
    )
    return {"cka: ratio to its three products": seconds["cka"] / seconds["products"]}


def rdm(stimuli: int, features: int, repeats: int) -> dict[str, float]:
    """Correlation RDM, its product and the copy into the result."""
    reps = model_set(1, stimuli, features)
    x = reps.values[0]
    result = np.empty((stimuli, stimuli), np.float32)

    def limit() -> None:
        result[...] = x @ x.T

    seconds = best_of({"limit": limit, "rdm": lambda: xc.rdm(reps)}, repeats)
    return {"rdm: ratio to product and copy": seconds["rdm"] / seconds["limit"]}


def graph(stimuli: int, features: int, repeats: int) -> dict[str, float]:
    """One neighbour graph and the bare blocked product."""
    reps = model_set(1, stimuli, features)
    x = reps.values[0]
    step = max(1, 2**25 // (4 * stimuli))

    def product() -> None:
        for start in range(0, stimuli, step):
            x[start : start + step] @ x.T

    seconds = best_of({"product": product, "graph": lambda: xc.local_density(reps)}, repeats)
    return {
        f"graph of {stimuli}: ratio to blocked product": seconds["graph"] / seconds["product"],
        f"graph of {stimuli}: MiB over the input": memory(lambda: xc.local_density(reps)),
    }


def memory(call: Callable[[], object]) -> float:
    """Peak of what numpy allocates during a call, in MiB."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / MIB


def pairs(stimuli: int, features: int, repeats: int, sizes: tuple[int, int]) -> dict[str, float]:
    """All pairs of two sets of models, in graphs of one model."""
    a, b = (model_set(n, stimuli, features, n) for n in sizes)
    one = a.isel(model=[0])
    seconds = best_of(
        {"graph": lambda: xc.local_density(one), "pairs": lambda: xc.alignment(a, b)}, repeats
    )
    return {f"{sizes[0]} x {sizes[1]} models: cost in graphs": seconds["pairs"] / seconds["graph"]}


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


def shared_space(models: int, stimuli: int, features: int) -> dict[str, float]:
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
    return {
        "procrustes: seconds to within 1e-4": ours,
        "procrustes: passes to within 1e-4": float(passes),
        "procrustes: objective over the converged one, less 1": history[passes - 1] / converged - 1,
        "procrustes: plain alternation, times as long": plain / ours,
        "procrustes: its objective then, over the converged one, less 1": reached / converged - 1,
    }


def measure(short: bool) -> dict[str, float]:
    """The table."""
    if short:
        return {
            **cka(300, 32, 2), **rdm(300, 32, 2), **graph(300, 32, 2), **pairs(100, 16, 2, (2, 3)),
            **shared_space(3, 60, 16),
        }  # fmt: skip
    return {
        **cka(5_000, 768, 9),
        **rdm(5_000, 768, 7),
        **graph(5_000, 768, 5),
        **graph(20_000, 768, 2),
        **pairs(1_024, 768, 3, (12, 17)),
        **shared_space(10, 1_000, 768),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small sizes, for the tests")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = measure(arguments.short)
    for name, value in table.items():
        print(f"{name:65s} {value:10.3g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
