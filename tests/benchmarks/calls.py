"""Seconds of the calls that people wait for, on little data; printed as JSON.

A script of public names alone, so that it runs with the package of another commit too:
``PYTHONPATH=… python tests/benchmarks/calls.py``. In turns with a yardstick of plain numpy, whose
seconds tell how fast the machine was meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

import xconverge as xc

YARDSTICK = "yardstick"


def models(count: int, stimuli: int, features: int, modality: str) -> xr.DataArray:
    """Noisy, turned copies of one structure, in single precision."""
    rng = np.random.default_rng(len(modality))
    latent = np.random.default_rng(0).standard_normal((stimuli, 16))
    arrays = {
        f"{modality} {m}": (
            latent @ rng.standard_normal((16, features))
            + 2 * rng.standard_normal((stimuli, features))
        ).astype(np.float32)
        for m in range(count)
    }
    labels = [f"s{i}" for i in range(stimuli)]
    return xc.stack_models(arrays, stimuli=labels, modality=modality)


def calls() -> dict[str, Callable[[], Any]]:
    """What is timed; every one takes some hundredths of a second or more."""
    a, b = models(8, 1_000, 256, "vision"), models(4, 1_000, 256, "language")
    some = [side.isel(stimulus=slice(300)) for side in (a, b)]
    shared = a.assign_attrs(space="shared")
    lazy = shared.chunk(model=1, stimulus=250)
    rdms, brain = xc.rdm(some[0]), xc.rdm(some[1][0])
    spread, agreement = xc.dispersion(some[0], "neighborhood"), xc.alignment(*some)
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((1_500, 1_500), dtype=np.float32)

    def imported() -> None:
        subprocess.run([sys.executable, "-c", "import xconverge; xconverge.alignment"], check=True)

    return {
        YARDSTICK: lambda: (matrix @ matrix, np.sort(matrix, axis=1)),
        "import": imported,
        "dispersion": lambda: xc.dispersion(shared),
        "dispersion, lazy": lambda: xc.dispersion(lazy).compute(),
        "dispersion, neighborhood": lambda: xc.dispersion(a, "neighborhood"),
        "mutual_knn": lambda: xc.alignment(a, b),
        "cka": lambda: xc.alignment(a, b, "cka"),
        "cknna": lambda: xc.alignment(a[:2], b[:2], "cknna"),
        "procrustes": lambda: xc.alignment(some[0], some[1], "procrustes"),
        "linear_predictivity": lambda: xc.alignment(
            some[0][:1], some[1][:1], "linear_predictivity"
        ),
        "rdm": lambda: xc.rdm(a),
        "rsa": lambda: xc.rsa(rdms, brain),
        "binned_rsa": lambda: xc.binned_rsa(some[0], brain, spread, n_permutations=19, rng=0),
        "modulation": lambda: xc.modulation(
            spread, agreement, geometry=tuple(some), n_permutations=99, rng=0
        ),
        "calibrate": lambda: xc.calibrate(some[0], some[1], "mutual_knn", n_permutations=99, rng=0),
        "shared_space": lambda: xc.shared_space(some[0]),
    }


def main() -> None:
    """Print the shortest seconds of each call, of as many rounds as the argument says."""
    warnings.simplefilter("ignore")
    timed = calls()
    best = dict.fromkeys(timed, float("inf"))
    for _ in range(int(sys.argv[1])):
        for name, call in timed.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    print(json.dumps(best))


if __name__ == "__main__":
    main()
