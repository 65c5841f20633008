"""Permutations against the statistic that they test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.table import Figure, Table
from xconverge.cli.demo import shipped


def models(stimuli: int, features: int, seed: int) -> xr.DataArray:
    """One model of normal features in float32."""
    values = np.random.default_rng(seed).standard_normal((1, stimuli, features), np.float32)
    coords = {"model": [f"net{seed}"], "stimulus": [f"s{i}" for i in range(stimuli)]}
    return xr.DataArray(values, dims=("model", "stimulus", "feature"), coords=coords)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def quiet(done: int, total: int) -> None:
    """No progress."""


def ratio(
    metric: str, stimuli: int, features: int, n_permutations: int, repeats: int, asked: float
) -> Table:
    """``calibrate`` of one pair, in ``alignment`` of it."""
    a, b = models(stimuli, features, 0), models(stimuli, features, 1)
    statistic = seconds(lambda: xc.alignment(a, b, metric), 3 * repeats)
    call = seconds(
        lambda: xc.calibrate(
            a, b, metric, n_permutations=n_permutations, progress=quiet, rng=0
        ),
        repeats,
    )  # fmt: skip
    what = f"{n_permutations:,} permutations of {metric}, {stimuli} x {features}"
    return {
        f"{what}: in statistics": Figure(call / statistic, at_most=asked),
        f"{what}: seconds": Figure(call),
    }


def mantel(stimuli: int, n_permutations: int, repeats: int) -> Table:
    """Seconds of the Mantel test of two RDMs."""
    a, b = (xc.rdm(models(stimuli, 32, seed)) for seed in (0, 1))
    taken = seconds(
        lambda: xc.calibrate_rsa(a, b, n_permutations=n_permutations, progress=quiet, rng=0),
        repeats,
    )
    name = f"{n_permutations:,} Mantel permutations of spearman RSA, {stimuli}: seconds"
    return {name: Figure(taken, at_most=8)}


def emoji(n_permutations: int, stimuli: int | None) -> Table:
    """All model pairs of the shipped set."""
    with shipped() as folder:
        a, b = (
            xc.open_representations(folder / "demo.zarr", side).load()[:, :stimuli]
            for side in ("vision", "language")
        )
    pairs = a.sizes["model"] * b.sizes["model"]
    taken = seconds(
        lambda: xc.calibrate(a, b, n_permutations=n_permutations, progress=quiet, rng=0), 1
    )
    name = f"{n_permutations:,} permutations of {pairs} emoji pairs: seconds"
    return {name: Figure(taken, at_most=60)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {
            **ratio("mutual_knn", 100, 16, 300, 1, 20),
            **ratio("cka", 60, 16, 300, 1, 200),
            **mantel(50, 300, 1),
            **emoji(300, 60),
        }
    return {
        **ratio("mutual_knn", 1024, 768, 10_000, 5, 20),
        **ratio("cka", 1000, 768, 1000, 3, 200),
        **mantel(1000, 1000, 2),
        **emoji(10_000, None),
    }
