"""How often `leave_out_modulation` calls equal noise unequal, and finds unequal noise.

Run ``python -m tests.benchmarks.bench_equal_noise`` for the table, ``--write`` to put it into
docs/calibration.md, ``--short`` for a few runs.
"""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_calibration
from tests.benchmarks.bench_calibration import ALPHA
from xconverge.inference import equal_noise

TITLE = "Equal noise"
LATENTS, FEATURES = 6, 20
DRAWS = 79
PLACES = ("clusters", "one cloud")
NOISES = ("equal", "equal against the norm", "log-normal, sd 0.8")
SIZE = {"log-normal, sd 0.8": (120, 5)}
"""Stimuli, and models a side, where they are not 80 and 4."""
PART = {"log-normal, sd 0.8": 3}
"""What the runs are divided by."""


class PValues(NamedTuple):
    """Of the null of noise that is equal as it is, against the norm, and the larger."""

    absolute: float
    relative: float
    larger: float


def pair(places: str, noise: str, rng: np.random.Generator) -> list[xr.DataArray]:
    """Two modalities that see the same latents, under noise of their own of the same sizes."""
    n, n_models = SIZE.get(noise, (80, 4))
    latent = rng.standard_normal((n, LATENTS))
    if places == "clusters":
        centers = np.repeat(rng.standard_normal((n // 10, LATENTS)), 10, axis=0)
        latent = centers + 0.5 * latent
    sizes = np.ones(n)
    if noise == "equal against the norm":
        sizes = np.linalg.norm(latent, axis=1) / np.sqrt((latent**2).sum(1).mean())
    elif noise.startswith("log-normal"):
        sizes = np.exp(0.8 * rng.standard_normal(n))

    def model() -> np.ndarray:
        basis, _ = np.linalg.qr(rng.standard_normal((FEATURES, LATENTS)))
        own = rng.standard_normal((n, FEATURES)) * sizes[:, None]
        return latent @ basis.T + own / np.sqrt(FEATURES / 2)

    return [
        bench_calibration.labelled(
            np.stack([model() for _ in range(n_models)])[None], name
        ).isel(run=0, drop=True)
        for name in ("vision", "language")
    ]  # fmt: skip


def p_values(places: str, noise: str, seed: list[int], tail: str = "two-sided") -> PValues:
    """Of one study; the rank of the space is chosen anew in each."""
    a, b = pair(places, noise, np.random.default_rng(seed))
    # of other ranks, which change no p-value that is told here, a draw alone; all of both readings
    with mock.patch.multiple(equal_noise, NEAR=1, FIRST=DRAWS):
        table = xc.leave_out_modulation(
            a,
            b,
            k=5,
            n_bins=2,
            n_permutations=0,
            n_equal_noise=DRAWS,
            tail=tail,
            rng=seed[-1],
            null="labels",
        )
    found = table["equal_noise_p_value"]
    return PValues(found.attrs["p_absolute"], found.attrs["p_relative"], float(found))


def row(places: str, noise: str, runs: int, seed: int) -> list[str]:
    """Shares of runs in which each p is at most 0.05."""
    found = np.array([p_values(places, noise, [seed, run]) for run in range(runs)])
    rates = (found <= ALPHA + 1e-12).mean(0)
    return [places, noise, *(f"{rate:.3f}" for rate in rates), str(runs)]


def measure(runs: int, seed: int) -> pd.DataFrame:
    """The table."""
    rows = []
    for places in PLACES:
        for noise in NOISES:
            rows.append(row(places, noise, max(runs // PART.get(noise, 1), 1), seed))
            print(*rows[-1], sep=" | ", flush=True)
    columns = ["stimuli", "noise", *(f"rejects, {name}" for name in PValues._fields), "runs"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Print the table."""
    bench_calibration.write_one(__doc__, TITLE, measure)


if __name__ == "__main__":
    main()
