"""Reading a store against numpy on the same bytes, dispersion from it, and ``import xconverge``.

Run ``python tests/benchmarks/bench_store.py`` for the table; unset OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE first if they are set. ``--json FILE`` records it, ``--folder`` says where 14 GB
may lie for a while, ``--stimuli`` how many there are for dispersion.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

import xconverge as xc
from xconverge.chunks import recommend_chunks

MODELS, FEATURES = 20, 768
CODECS = {"none": (), "crc32c": (Crc32cCodec(),), "zstd": (ZstdCodec(level=0),)}
PIPELINES = {"default": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
if find_spec("zarrs"):
    PIPELINES["zarrs"] = "zarrs.ZarrsCodecPipeline"

PROBE = """
import sys, time
import psutil
import xconverge as xc
path, call = sys.argv[1:]
reps = xc.open_representations(path, "v").assign_attrs(space="shared")
before = psutil.Process().memory_info().rss
start = time.perf_counter()
if call == "sum":
    reps.sum().compute()
else:
    xc.dispersion(reps).compute()
seconds = time.perf_counter() - start
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
print(seconds, peak / 2**20, (peak - before) / 2**20)
"""


def best_of(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Shortest seconds of each call, taken in turns so that noise falls on all alike."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def block(rows: int, features: int, block_info: dict | None = None) -> np.ndarray:
    """Random rows of one model, the same for the same place."""
    seed = block_info[None]["chunk-location"] if block_info else (0, 0, 0)
    return np.random.default_rng(seed).standard_normal((1, rows, features), dtype=np.float32)


def lazy_reps(models: int, stimuli: int, features: int) -> xr.DataArray:
    """Random representations that are made block by block."""
    shape = xr.DataArray(
        da.zeros((models, stimuli, features), dtype=np.float32),
        dims=("model", "stimulus", "feature"),
    )
    chunks = da.core.normalize_chunks(
        tuple(recommend_chunks(shape).values()), shape.shape, dtype=np.float32
    )

    def make(block_info: dict | None = None) -> np.ndarray:
        _, rows, width = block_info[None]["chunk-shape"]
        return block(rows, width, block_info)

    values = da.map_blocks(make, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), "f4"))
    labels = {
        "model": [f"net{i}" for i in range(models)],
        "stimulus": [f"s{i}" for i in range(stimuli)],
    }
    return xr.DataArray(values, labels, ("model", "stimulus", "feature"))


@contextmanager
def pipeline(name: str) -> Iterator[None]:
    """Open arrays with another codec pipeline; an open array keeps it."""
    with zarr.config.set({"codec_pipeline.path": PIPELINES[name]}):
        yield


def total(path: Path, pipe: str, skipna: bool | None = None) -> float:
    """The sum of a store, from opening it on."""
    with pipeline(pipe):
        array = xr.open_zarr(path, consolidated=False, chunks={})["x"]
    return float(array.sum(skipna=skipna).compute())


def reading(folder: Path, models: int, stimuli: int, features: int, repeats: int) -> dict:
    """Speed of ``sum`` over stores of every kind, over that of ``numpy.fromfile`` and ``sum``."""
    reps = lazy_reps(models, stimuli, features).drop_vars(["model", "stimulus"])
    raw = folder / "raw.bin"
    with raw.open("wb") as file:
        for one in range(models):
            file.write(reps[one].values.tobytes())
    calls: dict[str, Callable[[], object]] = {"numpy": lambda: np.fromfile(raw, np.float32).sum()}
    for mib in (3, 12, 24, 48):
        sizes = recommend_chunks(reps, memory=mib * 2**20)
        for codec, compressors in CODECS.items():
            path = folder / f"{codec}-{mib}.zarr"
            encoding = {"x": {"compressors": compressors, "chunks": tuple(sizes.values())}}
            blocks = reps.chunk(sizes).to_dataset(name="x")
            blocks.to_zarr(path, encoding=encoding, zarr_format=3, consolidated=False)
            for pipe in PIPELINES:
                name = f"{mib} MiB, {codec}, {pipe}"
                calls[name] = partial(total, path, pipe)
                calls[f"{name}, skipna=False"] = partial(total, path, pipe, False)
    seconds = best_of(calls, repeats)
    base = seconds.pop("numpy")
    speeds = {f"reading: {name}, speed over numpy": base / s for name, s in seconds.items()}
    return {"reading: numpy, s": base, **speeds}


def in_process(path: Path, call: str) -> tuple[float, float, float]:
    """Seconds, peak MiB and peak above that after opening, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE, str(path), call], check=True, capture_output=True, text=True
    )
    seconds, peak, above = map(float, run.stdout.split())
    return seconds, peak, above


def dispersing(folder: Path, models: int, stimuli: int, features: int, repeats: int) -> dict:
    """Cosine dispersion of a store against its sum, and its peak memory."""
    path = folder / f"{stimuli}.zarr"
    xc.write_representations(path, lazy_reps(models, stimuli, features), modality="v")
    runs: dict[str, list[tuple[float, float, float]]] = {"sum": [], "dispersion": []}
    for _ in range(repeats):
        for call, done in runs.items():
            done.append(in_process(path, call))
    seconds = {call: min(run[0] for run in done) for call, done in runs.items()}
    name = f"dispersion, {stimuli} stimuli:"
    return {
        f"{name} sum, s": seconds["sum"],
        f"{name} ratio to sum": seconds["dispersion"] / seconds["sum"],
        f"{name} ns an element": seconds["dispersion"] / (models * stimuli * features) * 1e9,
        f"{name} peak, MiB": max(run[1] for run in runs["dispersion"]),
        f"{name} peak above that after opening, MiB": max(run[2] for run in runs["dispersion"]),
    }


def importing(repeats: int) -> dict[str, float]:
    """Seconds of ``import xconverge``, over those of what it cannot do without."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    codes = {"empty": "", "stack": "import xarray, dask.array", "ours": "import xconverge"}
    seconds = best_of({name: partial(run, code) for name, code in codes.items()}, repeats)
    stack, ours = (seconds[name] - seconds["empty"] for name in ("stack", "ours"))
    return {
        "import xarray, dask.array, s": stack,
        "import xconverge, ratio to both": ours / stack,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small sizes, for the tests")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the data lies for a while")
    parser.add_argument(
        "--stimuli", type=int, nargs="+", default=[10_000, 50_000, 100_000, 200_000]
    )
    parser.add_argument("--only", choices=["reading", "dispersing", "importing"])
    arguments = parser.parse_args()
    models, features = (3, 16) if arguments.short else (MODELS, FEATURES)
    lengths = [50, 100] if arguments.short else arguments.stimuli
    repeats = 1 if arguments.short else 3
    table: dict[str, float] = {}
    if arguments.only in (None, "importing"):
        table |= importing(repeats)
    if arguments.only in (None, "reading"):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            table |= reading(Path(folder), models, min(16_000, lengths[-1]), features, repeats)
    if arguments.only in (None, "dispersing"):
        for stimuli in lengths:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                table |= dispersing(Path(folder), models, stimuli, features, repeats)
    for name, value in table.items():
        print(f"{name:65s} {value:10.3g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
