"""Writing a store against Zarr's own array and ``numpy.tofile`` of the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec

import xconverge as xc
from tests.benchmarks.table import Figure, Table

Values = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Seconds = dict[str, float]


def by_numpy(path: Path, values: Values) -> Seconds:
    """The bytes alone."""
    path.mkdir()
    return {"": timed(partial(values.tofile, path / "raw.bin"))}


def by_zarr(path: Path, values: Values) -> Seconds:
    """Zarr's own writing, chunks and checksums as in our stores."""
    rows = max(1, 12 * 2**20 // values[0].nbytes)

    def write() -> None:
        array = zarr.create_array(
            path,
            shape=(1, *values.shape),
            chunks=(1, rows, values.shape[1]),
            dtype="float32",
            compressors=(Crc32cCodec(),),
            fill_value=np.nan,
        )
        array[:] = values[None]

    return {"": timed(write)}


def at_once(path: Path, values: Values, reps: xr.DataArray) -> Seconds:
    """``write_representations`` of one model."""
    return {"": timed(partial(xc.write_representations, path, reps, modality="vision"))}


Batches = list[tuple[list[str], Values]]


def in_batches(path: Path, values: Values, ids: list[str], batches: Batches) -> Seconds:
    """``ModelWriter`` with these batches: starting and writing, and closing."""
    writer = xc.ModelWriter(path, "vision", "model", ids, values.shape[1])

    def write() -> None:
        for labels, batch in batches:
            writer.write(labels, batch)

    return {", write": timed(write), ", close": timed(writer.close)}


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def writing(folder: Path, stimuli: int, features: int, repeats: int) -> Table:
    """Speed of every way of writing, and what was asked of it."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((stimuli, features), dtype=np.float32)
    ids = [f"s{i}" for i in range(stimuli)]
    reps = xc.stack_models({"model": values}, stimuli=ids)
    path = folder / "study.zarr"

    def batches(size: int, order: list[int]) -> Batches:
        parts = [order[start : start + size] for start in range(0, stimuli, size)]
        return [([ids[i] for i in part], values[part]) for part in parts]

    small = max(1, min(256, stimuli // 4))
    straight = batches(small, list(range(stimuli)))
    mixed = batches(small, rng.permutation(stimuli).tolist())
    calls: dict[str, Callable[[], Seconds]] = {
        "numpy.tofile": partial(by_numpy, path, values),
        "zarr's array": partial(by_zarr, path, values),
        "write_representations": partial(at_once, path, values, reps),
        f"ModelWriter, batches of {small}": partial(in_batches, path, values, ids, straight),
        f"ModelWriter, {small} in random order": partial(in_batches, path, values, ids, mixed),
    }
    best: Seconds = {}
    for _ in range(repeats):
        for name, call in calls.items():
            for part, taken in call().items():
                best[name + part] = min(best.get(name + part, np.inf), taken)
            shutil.rmtree(path)
    what = f"writing {stimuli:,} x {features:,}:"
    table = {}
    for name, taken in best.items():
        asked = 300.0 if name.endswith(f"of {small}, write") and small == 256 else None
        speed = values.nbytes / 1e6 / taken
        table[f"{what} {name}, MB/s"] = Figure(speed, at_least=asked)
    ratio = best["write_representations"] / best["zarr's array"]
    table[f"{what} write_representations, over zarr's array"] = Figure(ratio, at_most=1.3)
    return table


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return writing(folder, 64, 8, 1)
    return {**writing(folder, 25_000, 4096, 3), **writing(folder, 100_000, 768, 3)}
