"""Reading a store against numpy on the same bytes, dispersion from it, and ``import xconverge``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

import xconverge as xc
from tests.benchmarks.stores import lazy_reps, stored
from tests.benchmarks.table import MIB, Figure, Table, alone, best_of

CODECS = {"none": (), "crc32c": (Crc32cCodec(),), "zstd": (ZstdCodec(level=0),)}
PIPELINES = {"zarr": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
if find_spec("zarrs"):
    PIPELINES["zarrs"] = "zarrs.ZarrsCodecPipeline"
OURS = "12 MiB, crc32c, zarr,"


@contextmanager
def pipeline(name: str, path: Path) -> Iterator[None]:
    """Arrays that are opened in here use this codec pipeline, which is looked at."""
    with zarr.config.set({"codec_pipeline.path": PIPELINES[name]}):
        used = type(zarr.open_array(path, path="x", mode="r")._async_array.codec_pipeline)
        assert f"{used.__module__}.{used.__name__}".endswith(PIPELINES[name].split(".")[-1])
        yield


def total(path: Path, pipe: str, skipna: bool | None = None) -> float:
    """The sum of a store, from opening it on."""
    with pipeline(pipe, path):
        array = xr.open_zarr(path, consolidated=False, chunks={})["x"]
        return float(array.sum(skipna=skipna).compute())


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
    """Speed of ``sum`` over stores of every kind, over that of ``numpy.fromfile`` and ``sum``."""
    reps = lazy_reps(models, stimuli, features).drop_vars(["model", "stimulus"])
    raw = folder / "raw.bin"
    with raw.open("wb") as file:
        for one in range(models):
            file.write(reps[one].values.tobytes())
    bare = best_of(
        {
            "whole": lambda: np.fromfile(raw, np.float32).sum(),
            "pieces": lambda: pieces(raw, 12 * MIB),
        },
        3 * repeats,
    )
    calls: dict[str, Callable[[], object]] = {}
    for mib in (3, 12, 24, 48):
        sizes = xc.recommend_chunks(reps, memory=mib * MIB)
        for codec, compressors in CODECS.items():
            path = folder / f"{codec}-{mib}.zarr"
            how = {"compressors": compressors, "fill_value": np.nan, "_FillValue": None}
            encoding = {"x": {**how, "chunks": tuple(sizes.values())}}
            blocks = reps.chunk(sizes).to_dataset(name="x")
            blocks.to_zarr(path, encoding=encoding, zarr_format=3, consolidated=False)
            for pipe in PIPELINES:
                name = f"{mib} MiB, {codec}, {pipe}"
                calls[f"{name}, sum()"] = partial(total, path, pipe)
                calls[f"{name}, sum(skipna=False)"] = partial(total, path, pipe, False)
    seconds = best_of(calls, repeats)
    size = models * stimuli * features * 4 / 1e9
    table = {
        "reading: numpy.fromfile and sum, GB/s": Figure(size / bare["whole"]),
        "reading: the same in pieces of 12 MiB, GB/s": Figure(size / bare["pieces"]),
    }
    for name, taken in seconds.items():
        asked = 0.55 if name.startswith(OURS) else None
        speed = bare["whole"] / taken
        table[f"reading: {name}, speed over numpy"] = Figure(speed, at_least=asked)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return table


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
