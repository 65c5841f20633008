"""Reading a store against Zarr's own array, dispersion from it, and ``import xconverge``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr

import xconverge as xc
from tests.benchmarks.stores import lazy_reps, stored
from tests.benchmarks.table import MIB, Figure, Table, alone, best_of


def by_zarr(path: Path) -> float:
    """The sum of a modality by Zarr's own array, chunk by chunk as dask reads it."""
    array = zarr.open_array(path, path="vision/representation", mode="r")
    lazy = da.from_array(array, chunks=array.chunks, name=False)
    return float(lazy.sum().compute())


def by_us(path: Path) -> float:
    """The same by what `open_representations` gives."""
    return float(xc.open_representations(path, "vision").sum(skipna=False).compute())


def by_xarray(path: Path) -> float:
    """The same by xarray alone."""
    return float(xr.open_zarr(path / "vision")["representation"].sum(skipna=False).compute())


def pieces(raw: Path, size: int) -> float:
    """The sum of a file that is read in pieces of so many bytes, into memory that is used again."""
    result, count = 0.0, 4096
    with raw.open("rb") as file:
        while count:
            piece = np.fromfile(file, np.float32, size // 4)
            count = len(piece)
            result += float(piece.sum())
    return result


def reading(folder: Path, models: int, stimuli: int, features: int, repeats: int) -> Table:
    """Speed of ``sum`` over a modality, from opening it on, over that of Zarr's own array."""
    reps = lazy_reps(models, stimuli, features)
    path, raw = folder / "study.zarr", folder / "raw.bin"
    xc.write_representations(path, reps, modality="vision")
    with raw.open("wb") as file:
        for one in range(models):
            file.write(reps[one].values.tobytes())
    calls: dict[str, Callable[[], object]] = {
        "numpy, in pieces of 12 MiB": partial(pieces, raw, 12 * MIB),
        "zarr's array": partial(by_zarr, path),
        "open_representations": partial(by_us, path),
        "xarray.open_zarr": partial(by_xarray, path),
    }
    if find_spec("zarrs"):
        calls["zarr's array, pipeline zarrs"] = partial(_by_zarrs, path)
    seconds = best_of(calls, repeats)
    size = models * stimuli * features * 4 / 1e9
    own = seconds["zarr's array"]
    table = {"reading: zarr's array, GB/s": Figure(size / own)}
    for name, taken in seconds.items():
        asked = 1.15 if name == "open_representations" else None
        table[f"reading: {name}, over zarr's array"] = Figure(taken / own, at_most=asked)
    shutil.rmtree(path)
    raw.unlink()
    return table


def _by_zarrs(path: Path) -> float:
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return by_zarr(path)


def dispersing(folder: Path, models: int, lengths: list[int], features: int, repeats: int) -> Table:
    """Cosine dispersion of a store against its sum, its time for an element, its peak memory."""
    table: Table = {}
    elements, peaks = [], []
    for stimuli in lengths:
        path = stored(folder, models, stimuli, features)
        runs = [
            {call: alone("probe", path, call) for call in ("sum", "dispersion")}
            for _ in range(repeats)
        ]
        shutil.rmtree(path)
        best = {call: min(run[call]["seconds"] for run in runs) for call in runs[0]}
        elements.append(best["dispersion"] / (models * stimuli * features) * 1e9)
        peaks.append(max(run["dispersion"]["peak"] for run in runs))
        name = f"dispersion from a store of {models} x {stimuli:,}:"
        table |= {
            f"{name} over the sum of it": Figure(best["dispersion"] / best["sum"], at_most=1.6),
            f"{name} ns an element": Figure(elements[-1]),
            f"{name} peak memory, MiB": Figure(peaks[-1], at_most=1000),
        }
    longest, shortest, half = (f"{lengths[i]:,}" for i in (-1, 0, -2))
    table[f"dispersion: ns an element of {longest} over {shortest}"] = Figure(
        elements[-1] / elements[0], at_most=1.2
    )
    table[f"dispersion: peak memory of {longest} over {half}"] = Figure(
        peaks[-1] / peaks[-2], at_most=1.2
    )
    return table


def importing(repeats: int) -> Table:
    """Seconds of ``import xconverge``, over those of what it cannot do without."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    codes = {"stack": "import xarray, dask.array", "ours": "import xconverge"}
    seconds = best_of({name: partial(run, code) for name, code in codes.items()}, repeats)
    ratio = seconds["ours"] / seconds["stack"]
    return {"import xconverge: over import xarray, dask.array": Figure(ratio, at_most=1.2)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {
            **importing(1),
            **reading(folder, 2, 100, 16, 1),
            **dispersing(folder, 3, [50, 100], 16, 1),
        }
    return {
        **importing(9),
        **reading(folder, 20, 16_000, 768, 3),
        **dispersing(folder, 20, [10_000, 50_000, 100_000, 200_000], 768, 3),
    }
