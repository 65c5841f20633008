"""Searchlights in one process: beside rsatoolbox, and beside what no searchlight can do without."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import dask
import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.table import Figure, Table, best_of
from xconverge.kernels.correlation import ranks


def scene(
    centers: int, stimuli: int, voxels: int, targets: int
) -> tuple[xr.DataArray, np.ndarray, xr.DataArray]:
    """A brain, lists of voxels (centers, voxels), and RDMs of some models."""
    rng = np.random.default_rng(0)
    width = 2 * centers
    lists = np.sort(rng.permuted(np.tile(np.arange(width), (centers, 1)), axis=1)[:, :voxels])
    names = [f"s{i}" for i in range(stimuli)]
    brain = xr.DataArray(
        rng.standard_normal((stimuli, width)),
        dims=("stimulus", "feature"),
        coords={"stimulus": names},
    )
    models = {f"net{m}": rng.standard_normal((stimuli, 20)) for m in range(targets)}
    return brain, lists, xc.rdm(xc.stack_models(models, stimuli=names), "euclidean")


def floor(x: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """A product and the ranks of every neighbourhood, alone."""
    i, j = np.triu_indices(len(x), 1)
    return np.array([ranks((x[:, one] @ x[:, one].T)[i, j])[0] for one in lists])


def theirs(x: np.ndarray, lists: np.ndarray, triangles: np.ndarray, method: str) -> np.ndarray:
    """The same by rsatoolbox: RSA (centers, targets)."""
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.util.searchlight import evaluate_models_searchlight, get_searchlight_RDMs

    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rdms = get_searchlight_RDMs(x, np.arange(len(lists)), lists, np.arange(len(x)))
        models = [ModelFixed(str(i), RDMs(row[None])) for i, row in enumerate(triangles)]
        found = evaluate_models_searchlight(rdms, models, eval_fixed, method=method)
    return np.array([one.evaluations[0, :, 0] for one in found])


def beside(centers: int, stimuli: int, voxels: int, targets: int, repeats: int) -> Table:
    """Seconds in one thread, and ratios."""
    brain, lists, rdms = scene(centers, stimuli, voxels, targets)
    i, j = np.triu_indices(stimuli, 1)
    triangles = rdms.values[:, i, j]
    size = f"{centers:,} x {stimuli} stimuli x {voxels} voxels, {targets} targets"
    table: Table = {}
    for method, other in (("spearman", "spearman"), ("pearson", "corr")):
        found = {}

        def ours(method: str = method, found: dict[str, np.ndarray] = found) -> None:
            with dask.config.set(scheduler="synchronous"):
                result = xc.searchlight(brain, rdms, neighborhoods=lists, method=method)
            found["ours"] = result["rsa"].transpose("center", "model_b").values

        def peer(other: str = other, found: dict[str, np.ndarray] = found) -> None:
            found["theirs"] = theirs(brain.values, lists, triangles, other)

        calls = {"ours": ours, "floor": lambda: floor(brain.values, lists), "theirs": peer}
        best = best_of(calls, repeats)
        table[f"{method}, {size}: seconds"] = Figure(best["ours"])
        table[f"{method}, {size}: over a product and ranks a centre"] = Figure(
            best["ours"] / best["floor"]
        )
        table[f"{method}, {size}: rsatoolbox over it"] = Figure(
            best["theirs"] / best["ours"], at_least=10
        )
        table[f"{method}, {size}: largest difference, an error"] = Figure(
            float(np.abs(found["ours"] - found["theirs"]).max()), at_most=1e-10
        )
    return table


def many_targets(centers: int, stimuli: int, voxels: int, repeats: int) -> Table:
    """What 100 targets cost beside one."""
    brain, lists, one = scene(centers, stimuli, voxels, 1)
    _, _, many = scene(centers, stimuli, voxels, 100)
    with dask.config.set(scheduler="synchronous"):
        best = best_of(
            {
                "one": lambda: xc.searchlight(brain, one, neighborhoods=lists),
                "many": lambda: xc.searchlight(brain, many, neighborhoods=lists),
            },
            repeats,
        )
    size = f"{centers:,} x {stimuli} stimuli x {voxels} voxels"
    return {f"spearman, {size}: 100 targets over 1": Figure(best["many"] / best["one"], at_most=2)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {**beside(40, 20, 10, 2, 1), **many_targets(40, 20, 10, 1)}
    return {**beside(2000, 60, 50, 3, 3), **many_targets(2000, 60, 50, 3)}
