"""Graphs alone: whether kernels made of their lists hold the level of tests, sizes, and costs.

Run ``python -m tests.benchmarks.bench_atlas`` for the tables of docs/atlas.md, ``--short`` for a
few runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xconverge as xc
from tests.benchmarks.bench_calibration import ALPHA
from tests.benchmarks.bench_nulls import PLACES, Field, mixed, synthetic
from xconverge.cli.demo import shipped
from xconverge.kernels.mixed_model import Likeness

SHARES = {"a twelfth": 12, "a quarter": 4, "half": 2, "all": 1}
"""How long lists are: one of so many of the stimuli."""


def squares_of_lists(lists: np.ndarray) -> np.ndarray:
    """Squared distances (n, n) of unit rows: weights of the others, which fall with rank."""
    n, k = lists.shape
    near = np.eye(n)
    np.put_along_axis(near, lists, (1 - np.arange(1, k + 1) / (k + 1))[None].repeat(n, 0), axis=1)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return 2 * np.maximum(1 - near @ near.T, 0)


def levels(run: int, seed: int, sizes: tuple[int, ...] = (60, 120)) -> dict[str, dict[str, float]]:
    """P-values of maps that are independent of each other, by the kernels of the test."""
    found: dict[str, dict[str, float]] = {}
    for name in PLACES:
        for n in sizes:
            rng = np.random.default_rng([seed, run, n])
            distances, (x, y), _ = synthetic(name, n, rng, 2)
            square = distances.squares[0].copy()
            np.fill_diagonal(square, np.inf)
            nearest = np.argsort(square, axis=1)
            kernels = {"distances themselves": distances} | {
                f"lists of {what}": Likeness(
                    [squares_of_lists(nearest[:, : min(n // share, n - 1)])], []
                )
                for what, share in SHARES.items()
            }
            found[f"{name}, {n}"] = {
                what: mixed(like, Field(like, y), x, y)["mixed"] for what, like in kernels.items()
            }
    return found


def rates(runs: int, seed: int = 5, **kwargs: Any) -> dict[str, dict[str, float]]:
    """How often each is at most 0.05."""
    every = [levels(run, seed, **kwargs) for run in range(runs)]
    return {
        data: {
            what: float(np.mean([one[data][what] <= ALPHA for one in every])) for what in columns
        }
        for data, columns in every[0].items()
    }


def stored(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def sizes(step: int = 1, lengths: tuple[int, ...] = (10, 20, 100)) -> dict[str, dict[str, float]]:
    """Bytes of one model of the shipped set: real features in single precision, and graphs."""
    found = {}
    with shipped() as data, tempfile.TemporaryDirectory() as folder:
        for side in ("vision", "language"):
            reps = xc.open_representations(data / "demo.zarr", side).load()[:, ::step]
            real = float(reps["n_features"].mean()) * reps.sizes["stimulus"] * 4
            found[side] = {"features": real}
            for k in lengths:
                path = Path(folder) / f"{side}{k}.zarr"
                xc.io.write_neighbors(path, xc.neighbor_graph(reps, k))
                array = path / "neighbor_graphs" / side / "neighbor_graph"
                found[side][f"graph, k = {k}"] = stored(array) / reps.sizes["model"]
    return found


def costs(models: int = 100, stimuli: int = 1380, stores: int = 10) -> dict[str, float]:
    """Seconds of an analysis of synthetic models, whose graphs lie in several stores."""
    rng = np.random.default_rng(0)
    common, ids = rng.standard_normal((stimuli, 32)), [f"s{i}" for i in range(stimuli)]
    each, found = models // stores, {}

    def timed(what: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        found[what] = time.perf_counter() - start
        return result

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.zarr" for number in range(stores)]
        for number, path in enumerate(paths):
            nets = {
                f"net {number} {i}": common + (0.5 + i / 5) * rng.standard_normal(common.shape)
                for i in range(each)
            }
            reps = xc.stack_models(nets, stimuli=ids, modality="nets")
            graph = xc.neighbor_graph(reps[:, rng.permutation(stimuli)], 15)
            xc.io.write_neighbors(path, graph)
        merged = timed(
            "open and merge",
            lambda: xc.io.merge_neighbors(*(xc.io.open_neighbors(path, "nets") for path in paths)),
        )
        merged = timed("read", merged.load)
    a, b = merged[: 6 * models // 10], merged[6 * models // 10 :]
    spread = timed("dispersion of all", lambda: xc.dispersion(merged, "neighborhood"))
    assert spread.notnull().all()
    agreement = timed("alignment, 60 % with 40 %", lambda: xc.alignment(a, b))
    timed("alignment of all pairs", lambda: xc.alignment(merged, merged))
    timed("calibrate, 199", lambda: xc.calibrate(a, b, n_permutations=199, rng=0))
    mine = xc.dispersion(a, "neighborhood")
    timed(
        "modulation, 1,000",
        lambda: xc.modulation(mine, agreement, null="labels", n_permutations=1000, rng=0),
    )
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    for name, row in rates(2 if short else 300).items():
        print(name, {what: round(rate, 3) for what, rate in row.items()})
    for name, row in sizes(12 if short else 1).items():
        print(name, {what: round(size) for what, size in row.items()})
    small = {"models": 20, "stimuli": 100, "stores": 4}
    for name, seconds in (costs(**small) if short else costs()).items():
        print(f"{name}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
