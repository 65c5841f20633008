"""Writing a store against ``numpy.tofile`` of the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec

import xconverge as xc
from tests.benchmarks.bench_store import PIPELINES
from tests.benchmarks.table import Figure, Table, best_of

Values = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def by_zarr(path: Path, values: Values, pipe: str) -> None:
    """Zarr's own writing, chunks and checksums as in our stores."""
    rows = max(1, 12 * 2**20 // values[0].nbytes)
    with zarr.config.set({"codec_pipeline.path": PIPELINES[pipe]}):
        array = zarr.create_array(
            path,
            shape=(1, *values.shape),
            chunks=(1, rows, values.shape[1]),
            dtype="float32",
            compressors=(Crc32cCodec(),),
            fill_value=np.nan,
        )
        array[:] = values[None]


def at_once(path: Path, values: Values, reps: xr.DataArray) -> None:
    """``write_representations`` of one model."""
    xc.write_representations(path, reps, modality="vision")


Batches = list[tuple[list[str], Values]]


def in_batches(path: Path, values: Values, ids: list[str], batches: Batches) -> None:
    """``ModelWriter`` with these batches."""
    with xc.ModelWriter(path, "vision", "model", ids, values.shape[1]) as w:
        for labels, batch in batches:
            w.write(labels, batch)


def writing(folder: Path, stimuli: int, features: int, repeats: int) -> Table:
    """Time of every way of writing, over that of ``tofile``."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((stimuli, features), dtype=np.float32)
    ids = [f"s{i}" for i in range(stimuli)]
    reps = xc.stack_models({"model": values}, stimuli=ids)
    path, raw = folder / "study.zarr", folder / "raw.bin"

    def fresh(call: Callable[..., None], *args: object) -> None:
        call(path, values, *args)

    def batches(size: int, order: list[int]) -> Batches:
        parts = [order[start : start + size] for start in range(0, stimuli, size)]
        return [([ids[i] for i in part], values[part]) for part in parts]

    small = max(1, min(256, stimuli // 4))
    whole = [(ids, values)]
    straight = batches(small, list(range(stimuli)))
    mixed = batches(small, rng.permutation(stimuli).tolist())
    calls: dict[str, Callable[[], object]] = {
        "numpy.tofile": lambda: values.tofile(raw),
        **{f"zarr's array, pipeline {pipe}": partial(fresh, by_zarr, pipe) for pipe in PIPELINES},
        "write_representations": partial(fresh, at_once, reps),
        "ModelWriter, one batch": partial(fresh, in_batches, ids, whole),
        f"ModelWriter, batches of {small}": partial(fresh, in_batches, ids, straight),
        f"ModelWriter, batches of {small} in random order": partial(fresh, in_batches, ids, mixed),
    }
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        # the yardstick most often: what the disk did before slows it down most
        for name in ["numpy.tofile"] * 3 + list(calls):
            seconds[name] = min(seconds[name], best_of({name: calls[name]}, 1)[name])
            shutil.rmtree(path, ignore_errors=True)
            raw.unlink(missing_ok=True)
    what = f"writing {stimuli:,} x {features:,}:"
    table = {f"{what} numpy.tofile, GB/s": Figure(values.nbytes / 1e9 / seconds["numpy.tofile"])}
    for name, taken in list(seconds.items())[1:]:
        ours = "ModelWriter" in name or "write_" in name
        asked = 3.0 if ours and "random" not in name and features >= 4096 else None
        table[f"{what} {name}, over tofile"] = Figure(taken / seconds["numpy.tofile"], asked)
    return table


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return writing(folder, 64, 8, 1)
    return {**writing(folder, 25_000, 4096, 5), **writing(folder, 100_000, 768, 5)}
