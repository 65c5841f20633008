"""How cost grows: seconds at ten times more stimuli, models and features, and the exponent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

import xconverge as xc
from tests.benchmarks.bench_procrustes import noisy_models
from tests.benchmarks.table import Figure, Table, best_of

DIMS = ("models", "stimuli", "features")


class Grown(NamedTuple):
    """A call, the sizes it starts from, and the powers of them that its work has at most.

    ``prepared`` makes what the call is given of a set of that size; none where a power is None.
    """

    call: Callable[[Any], object]
    sizes: tuple[int, int, int]
    powers: tuple[float | None, float | None, float | None]
    prepared: Callable[[xr.DataArray], Any] = lambda reps: reps


def _modulation(sides: Mapping[str, xr.DataArray]) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xc.modulation(sides["spread"], sides["agreement"], n_permutations=99, rng=0,
                             geometry=(sides["reps"],))  # fmt: skip


def _maps(reps: xr.DataArray) -> Mapping[str, xr.DataArray]:
    reps = reps.assign_attrs(modality="vision")
    return {
        "reps": reps,
        "spread": xc.dispersion(reps, "neighborhood"),
        "agreement": xc.alignment(reps, reps[:1]),
    }


def _space(reps: xr.DataArray) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xc.shared_space(reps, max_iterations=10)


CALLS = {
    "dispersion, cosine": Grown(
        xc.dispersion, (8, 2_000, 128), (1, 1, 1), lambda reps: reps.assign_attrs(space="shared")
    ),
    "dispersion, neighborhood": Grown(
        lambda reps: xc.dispersion(reps, "neighborhood"), (4, 800, 64), (1, 2, 1)
    ),
    "mutual_knn with one model": Grown(
        lambda reps: xc.alignment(reps, reps[:1]), (4, 800, 64), (1, 2, 1)
    ),
    "cka with one model": Grown(
        lambda reps: xc.alignment(reps, reps[:1], "cka"), (4, 2_000, 64), (1, 1, 2)
    ),
    "procrustes with one model": Grown(
        lambda reps: xc.alignment(reps, reps[:1], "procrustes"), (4, 1_000, 64), (1, 1, 3)
    ),
    "rdm": Grown(xc.rdm, (4, 800, 64), (1, 2, 1)),
    "rsa, spearman, of RDMs": Grown(
        lambda rdms: xc.rsa(rdms, rdms[0]), (4, 400, 16), (1, 2, None), xc.rdm
    ),
    "shared_space, ten passes": Grown(_space, (4, 800, 32), (1, 1, 3)),
    "modulation": Grown(_modulation, (4, 150, 32), (1, 3, None), _maps),
}


def growth(name: str, of: Grown, times: int, repeats: int) -> Table:
    """Seconds of a call, and the exponent of each size that its work depends on."""
    table: Table = {}
    sizes = dict(zip(DIMS, of.sizes, strict=True))
    at = " x ".join(f"{size:,}" for size in of.sizes)
    base = _seconds(of, sizes, repeats)
    table[f"{name}, {at}: seconds"] = Figure(base)
    for dim, power in zip(DIMS, of.powers, strict=True):
        if power is not None:
            longer = _seconds(of, {**sizes, dim: sizes[dim] * times}, repeats)
            # overhead makes exponents smaller, caches that are full make them larger
            bound = power + 0.25
            exponent = math.log(longer / base) / math.log(times)
            table[f"{name}, {at}: exponent of {dim}"] = Figure(exponent, at_most=bound)
    return table


def _seconds(of: Grown, sizes: Mapping[str, int], repeats: int) -> float:
    reps = noisy_models(*(sizes[dim] for dim in DIMS), latents=8)
    given = of.prepared(reps)
    of.call(given)  # what is imported or made at a first call is no cost of sizes
    return best_of({"call": lambda: of.call(given)}, repeats)["call"]


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    table: Table = {}
    for name, of in CALLS.items():
        if short:
            of = of._replace(sizes=(3, 60, 12))
        table |= growth(name, of, 2 if short else 10, 1 if short else 3)
    return table
