"""Mean distance of null data by every estimate of the noise, as a share of the noise itself.

Run ``python -m tests.benchmarks.bench_trials`` for the tables, ``--write`` to put them into
docs/calibration.md, ``--short`` for a few runs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_calibration
from tests.benchmarks.bench_calibration import DOCS
from tests.benchmarks.table import best_of

BIAS, COST = "Distances without a signal", "What repetitions cost"
SETTINGS = ((60, 4, 100), (20, 4, 50), (92, 2, 100))
"""Stimuli, repetitions, features."""
NOISES = {
    "none": None,
    "diagonal": "diagonal",
    "shrinkage": "shrinkage",
    "shrinkage_same_trials, shrinkage_eye": "shrinkage_eye",
    "shrinkage_diag": "shrinkage_diag",
}
NEIGHBORS = 0.65
"""Correlation of the noise of neighbouring features; it falls with the power of their distance."""
AT_A_TIME = 50


def trials(shape: tuple[int, int, int], runs: int, rng: np.random.Generator) -> xr.DataArray:
    """Noise of unit variance (run, repetition, stimulus, feature) and nothing else."""
    n, repetitions, p = shape
    apart = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    mix = np.linalg.cholesky(NEIGHBORS**apart)
    return xr.DataArray(
        rng.standard_normal((runs, repetitions, n, p)) @ mix.T,
        dims=("run", "repetition", "stimulus", "feature"),
        coords={"stimulus": [f"s{i}" for i in range(n)]},
    )


def means(shape: tuple[int, int, int], noise: str | None, runs: int, seed: int) -> np.ndarray:
    """Mean distance (run) of different stimuli, over that of noise: 2 / repetitions.

    The distance of two means of R trials that are whitened by the true Σ is 2 / R on average, where
    nothing is crossed.
    """
    n, repetitions, _ = shape
    found = []
    for start in range(0, runs, AT_A_TIME):
        rng = np.random.default_rng([seed, *shape, start])
        reps = trials(shape, min(AT_A_TIME, runs - start), rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rdms = xc.rdm(reps, "crossnobis", noise=noise)
        found.append(rdms.sum(["stimulus", "stimulus_2"]).values / (n * (n - 1)))
    return np.concatenate(found) * repetitions / 2


def row(name: str, shape: tuple[int, int, int], runs: int, seed: int) -> list[str]:
    """One row of the table of distances."""
    found = means(shape, NOISES[name], runs, seed)
    error = found.std(ddof=1) / np.sqrt(runs)
    size = "{} × {} × {}".format(*shape)
    return [f"`{name}`", size, f"{found.mean():+.4f}", f"{error:.4f}", str(runs)]


def bias(runs: int, seed: int) -> pd.DataFrame:
    """The table of distances."""
    rows = [row(name, shape, runs, seed) for name in NOISES for shape in SETTINGS]
    columns = ["noise", "stimuli × repetitions × features", "mean", "standard error", "runs"]
    return pd.DataFrame(rows, columns=columns)


def cost(n: int = 5000, repetitions: int = 4, p: int = 500, repeats: int = 5) -> pd.DataFrame:
    """Seconds, and matrix products n² p that they are more than those of a plain RDM.

    Of the processor, on one core (OPENBLAS_NUM_THREADS=1): others may be at work on the machine.
    """
    rng = np.random.default_rng(0)
    rows, sigma = [], np.eye(p) + 0.1
    for dtype in (np.float64, np.float32):
        x = rng.standard_normal((repetitions, n, p)).astype(dtype)
        coords = {"stimulus": [f"s{i}" for i in range(n)]}
        reps = xr.DataArray(x, dims=("repetition", "stimulus", "feature"), coords=coords)
        one, other = x[0], x[1]
        calls: dict[str, Callable[[], object]] = {
            "product": lambda one=one, other=other: one @ other.T,
            "plain": lambda reps=reps: xc.rdm(reps.isel(repetition=0), "sqeuclidean"),
            "none": lambda reps=reps: xc.rdm(reps, "crossnobis"),
            "given": lambda reps=reps: xc.rdm(reps, "crossnobis", noise=sigma),
            "diagonal": lambda reps=reps: xc.rdm(reps, "crossnobis", noise="diagonal"),
            "shrinkage": lambda reps=reps: xc.rdm(reps, "crossnobis", noise="shrinkage"),
        }
        seconds = best_of(calls, repeats, time.process_time)
        for name in list(calls)[2:]:
            more = (seconds[name] - seconds["plain"]) / seconds["product"]
            rows.append([f"`{name}`", np.dtype(dtype).name, f"{seconds[name]:.2f}", f"{more:.1f}"])
    return pd.DataFrame(rows, columns=["noise", "type", "seconds", "products more than `rdm`"])


def main() -> None:
    """Print the tables."""
    given = bench_calibration.parser_of(__doc__, 300).parse_args()
    short = given.short
    tables = {
        BIAS: bias(2 if short else given.runs, given.seed),
        COST: cost(60, 4, 20, 1) if short else cost(),
    }
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string(index=False)}", flush=True)
    if given.write:
        DOCS.write_text(bench_calibration.page(tables), "utf-8")


if __name__ == "__main__":
    main()
