"""Whether RSA by dispersion bin is free of measurement noise, and its contrast holds its level.

Run ``python -m tests.benchmarks.bench_noise_correction`` for the table, ``--write`` to put it into
docs/calibration.md, ``--short`` for a few runs.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_calibration
from tests.benchmarks.bench_calibration import ALPHA
from xconverge.kernels.bin_contrast import contrast_test
from xconverge.measures.rsa import METHODS

TITLE = "RSA without noise"
VOXELS, LATENTS, BINS = 50, 6, 3


class Case(NamedTuple):
    """Standard deviation of the noise of a trial in each bin, RSA of the patterns, repetitions."""

    noise: tuple[float, float, float]
    truth: tuple[float, float, float] = (1.0, 1.0, 1.0)
    repetitions: int = 4
    stimuli: int = 90


CASES = {
    "the brain itself, growing noise": Case((1.0, 1.5, 2.0)),
    "the brain itself, growing noise, 180 stimuli": Case((1.0, 1.5, 2.0), stimuli=180),
    "the brain itself, equal noise": Case((1.5, 1.5, 1.5)),
    "a model of 0.8, growing noise": Case((1.0, 1.5, 2.0), (0.8, 0.8, 0.8)),
    "the brain itself, 8 repetitions": Case((1.5, 2.2, 3.0), repetitions=8),
    "fit falls, growing noise": Case((1.0, 1.5, 2.0), (0.9, 0.8, 0.6)),
    "fit falls, growing noise, 180 stimuli": Case((1.0, 1.5, 2.0), (0.9, 0.8, 0.6), stimuli=180),
    "the brain itself, halves that agree by 0.3": Case((2.35, 2.35, 2.35)),
    "a model of 0.8, halves that agree by 0.3": Case((2.35, 2.35, 2.35), (0.8, 0.8, 0.8)),
    "the brain itself, much noise": Case((1.5, 2.5, 4.0)),
}
"""What a model is, and how noisy the trials are; signals have a standard deviation of 1."""


def sides(case: Case, rng: np.random.Generator) -> tuple[xr.DataArray, ...]:
    """Model, brain without noise, trials, and a map whose bins have the noise of the case."""
    n = case.stimuli
    ids = [f"s{i}" for i in range(n)]
    brain, own = (
        rng.standard_normal((n, LATENTS))
        @ rng.standard_normal((LATENTS, VOXELS))
        / np.sqrt(LATENTS)
        for _ in range(2)
    )
    place = np.arange(n) * BINS // n
    share = np.array(case.truth)[place][:, None]
    model = share * brain + np.sqrt(1 - share**2) * own
    size = np.array(case.noise)[place][:, None]
    trials = brain + size * rng.standard_normal((case.repetitions, n, VOXELS))
    by = place + 0.5 * rng.random(n)
    return (
        xc.stack_models({"model": model}, stimuli=ids),
        xc.stack_models({"brain": brain}, stimuli=ids),
        xr.DataArray(trials, dims=("repetition", "stimulus", "feature"), coords={"stimulus": ids}),
        xr.DataArray(by, dims="stimulus", coords={"stimulus": ids}),
    )


def one_study(case: Case, seed: list[int]) -> dict[str, np.ndarray]:
    """What comes out by bin, what is true of these stimuli, and p-values of lowest less highest."""
    model, brain, trials, by = sides(case, np.random.default_rng(seed))
    how = {"rdm_metric": "sqeuclidean", "method": "pearson", "n_bins": BINS, "rng": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = xc.binned_rsa(model, trials, by, n_permutations=0, **how)
        true = xc.binned_rsa(model, brain, by, n_permutations=0, **how)
        contrast = xc.binned_rsa_contrast(model, trials, by, **how)
        rdms = [xc.rdm(model, "sqeuclidean").values[0], xc.rdm(trials, "crossnobis").values]
    bins = xc.dispersion_bins(by, BINS).values
    value, _, _, added = contrast_test(
        *rdms, by.values, bins, np.arange(len(bins)), np.zeros(len(bins), int),
        np.arange(len(bins)), null="labels", method=METHODS["pearson"].make, n_permutations=0,
        seed=0, tail="two-sided",
    )  # fmt: skip
    error = np.sqrt(added[1].var(ddof=1) / len(bins))
    plain = 2 * scipy.stats.t.sf(abs(value[1]) / error, len(bins) - BINS)
    corrected, truth = table["rsa_corrected"].values, true["rsa"].values.ravel()
    corrected = corrected.reshape(len(truth))
    lower, upper = (
        table[f"rsa_corrected_{end}"].values.reshape(len(truth)) for end in ("lower", "upper")
    )
    return {
        "r": table["split_half"].values.ravel(),
        "rsa": table["rsa"].values.ravel(),
        "corrected": corrected,
        "error": corrected - truth,
        "truth": truth,
        "holds": np.where(np.isnan(corrected), np.nan, (lower <= truth) & (truth <= upper)),
        "p": np.array([float(contrast["low_minus_high_corrected_p_value"])]),
        "p plain": np.array([plain]),
    }


def row(name: str, runs: int, seed: int) -> list[str]:
    """Means over runs of every bin, and how often the contrasts reject."""
    found = [one_study(CASES[name], [seed, run]) for run in range(runs)]
    stacked = {key: np.array([one[key] for one in found]) for key in found[0]}
    with warnings.catch_warnings():
        # bins in which nothing is told
        warnings.simplefilter("ignore", RuntimeWarning)
        cells = [
            " / ".join(f"{value:.{digits}f}" for value in np.nanmean(stacked[key], 0))
            for key, digits in (("r", 2), ("truth", 2), ("rsa", 2), ("error", 3), ("holds", 3))
        ]
        silent = " / ".join(f"{s:.2f}" for s in np.isnan(stacked["corrected"]).mean(0))
    told = ~np.isnan(stacked["p"])
    rates = [
        f"{(stacked[key][told] <= ALPHA).mean():.3f}" if told.any() else "–"
        for key in ("p", "p plain")
    ]
    return [name, *cells, silent, *rates, str(runs)]


def measure(runs: int, seed: int) -> pd.DataFrame:
    """The table."""
    rows = []
    for name in CASES:
        rows.append(row(name, runs, seed))
        print(*rows[-1], sep=" | ", flush=True)
    columns = [
        "data", "split-half r", "true RSA", "RSA", "corrected less true", "interval holds",
        "not told", "rejects, corrected", "rejects, plain", "runs",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Print the table."""
    bench_calibration.write_one(__doc__, TITLE, measure)


if __name__ == "__main__":
    main()
