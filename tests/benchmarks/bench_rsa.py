"""RSA by ranks beside rsatoolbox in one process: pairs of RDMs, bins, stimuli drawn again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.bench_alignment import labelled
from tests.benchmarks.table import Figure, Table, best_of


def latent_set(models: int, stimuli: int, features: int, seed: int = 0) -> xr.DataArray:
    """Models of the same latent dimensions, 64 at most, with as much noise in their features."""
    rng = np.random.default_rng(seed)
    count = min(64, features)
    latent = np.random.default_rng(99).standard_normal((stimuli, count))
    values = np.empty((models, stimuli, features), np.float32)
    for rows in values:
        turn = rng.standard_normal((count, features)) / np.sqrt(count)
        rows[...] = latent @ turn + rng.standard_normal((stimuli, features))
    return labelled(values, seed)


def sorting(size: int, times: int) -> Callable[[], None]:
    """Bare sorts of so many distances in double."""
    values = np.random.default_rng(0).random(size)

    def sort() -> None:
        for _ in range(times):
            np.sort(values)

    return sort


def told(name: str, seconds: dict[str, float], limit: str, at_least: float) -> Table:
    """How often faster than the peer, and how much slower than the limit."""
    return {
        f"{name}: times faster than rsatoolbox": Figure(
            seconds["peer"] / seconds["ours"], at_least=at_least
        ),
        f"{name}: over {limit}": Figure(seconds["ours"] / seconds["limit"]),
    }


def pairs(stimuli: int, features: int, repeats: int) -> Table:
    """Spearman RSA of 4 x 5 RDMs."""
    from rsatoolbox.rdm import RDMs, compare

    a, b = (xc.rdm(latent_set(n, stimuli, features, n)) for n in (4, 5))
    one, other = (RDMs(side.values.astype(np.float64)) for side in (a, b))
    np.testing.assert_allclose(
        xc.rsa(a, b).values, compare(one, other, method="spearman"), atol=1e-6
    )
    seconds = best_of(
        {
            "limit": sorting(stimuli * (stimuli - 1) // 2, 9),
            "peer": lambda: compare(one, other, method="spearman"),
            "ours": lambda: xc.rsa(a, b),
        },
        repeats,
    )
    name = f"Spearman RSA of 20 pairs of RDMs, {stimuli} stimuli"
    return told(name, seconds, "a sort of each RDM", 6)


def bins(stimuli: int, features: int, repeats: int) -> Table:
    """RSA in 10 bins: theirs of RDMs that are made before, ours of representations."""
    from rsatoolbox.rdm import RDMs, compare

    reps = latent_set(1, stimuli, features)
    target = xc.rdm(latent_set(1, stimuli, features, 1)).isel(model=0, drop=True)
    labels = reps["stimulus"].values
    spread = xr.DataArray(
        np.random.default_rng(0).random(stimuli), dims="stimulus", coords={"stimulus": labels}
    )
    number = xc.dispersion_bins(spread, 10).values
    members = [np.flatnonzero(number == k) for k in range(10)]
    model = RDMs(xc.rdm(reps).values.astype(np.float64))
    brain = RDMs(target.values[None].astype(np.float64))

    def peer() -> list[float]:
        return [
            compare(*(side.subset_pattern("index", inside) for side in (model, brain)), "spearman")[
                0, 0
            ]
            for inside in members
        ]

    def ours() -> xr.Dataset:
        return xc.binned_rsa(reps, target, spread, 10, n_permutations=0, rng=0)

    np.testing.assert_allclose(ours()["rsa"].values.ravel(), peer(), atol=1e-6)
    size = len(members[0])
    seconds = best_of(
        {"limit": sorting(size * (size - 1) // 2, 20), "peer": peer, "ours": ours}, repeats
    )
    name = f"RSA in 10 bins of {stimuli} stimuli"
    return told(name, seconds, "a sort of each bin of both RDMs", 6)


def bootstrap(stimuli: int, features: int, repeats: int, draws: int) -> Table:
    """Standard error of a Spearman RSA: theirs of RDMs, ours from representations."""
    from rsatoolbox.inference import bootstrap_sample_pattern
    from rsatoolbox.rdm import RDMs, compare

    a, b = (latent_set(1, stimuli, features, seed) for seed in (0, 1))
    one, other = (RDMs(xc.rdm(side).values.astype(np.float64)) for side in (a, b))

    def peer() -> float:
        scores = []
        for _ in range(draws):
            sample, drawn = bootstrap_sample_pattern(one)
            again = other.subsample_pattern("index", drawn)
            scores.append(compare(sample, again, "spearman")[0, 0])
        return float(np.std(scores, ddof=1))

    def ours() -> xr.Dataset:
        return xc.confidence_interval(
            a, b, "rsa", resample="bootstrap", n_resamples=draws, rng=0, progress=_silent
        )

    ratio = float(ours()["standard_error"].mean()) / peer()
    assert 0.3 < ratio < 3, ratio
    often = np.ones(stimuli * (stimuli - 1) // 2, np.int32)

    def limit() -> None:
        for _ in range(2 * draws):
            np.cumsum(often, dtype=np.int32)

    seconds = best_of({"limit": limit, "peer": peer, "ours": ours}, repeats)
    name = f"bootstrap of a Spearman RSA, {draws} draws of {stimuli} stimuli"
    return told(name, seconds, "a cumulative sum for each draw and RDM", 10)


def _silent(done: int, total: int) -> None:
    """No progress."""


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {**pairs(60, 16, 2), **bins(100, 16, 2), **bootstrap(40, 16, 2, 20)}
    return {**pairs(1_000, 768, 5), **bins(3_000, 768, 4), **bootstrap(300, 768, 4, 100)}
