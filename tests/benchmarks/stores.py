"""Stores of any size to measure on, made block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

import xconverge as xc


def lazy_reps(models: int, stimuli: int, features: int) -> xr.DataArray:
    """Models that share a structure and have noise of their own, with activations' spectra."""
    shape = (models, stimuli, features)
    dims = ("model", "stimulus", "feature")
    sizes = xc.recommend_chunks(xr.DataArray(da.zeros(shape, dtype=np.float32), dims=dims))
    spectrum = (np.arange(1, features + 1) ** -0.7).astype(np.float32)

    def block(block_info: Any = None) -> np.ndarray:
        model, place, _ = block_info[None]["chunk-location"]
        _, rows, _ = block_info[None]["chunk-shape"]
        shared, own = (
            np.random.default_rng(seed).standard_normal((1, rows, features), dtype=np.float32)
            for seed in ((place,), (place, model + 1))
        )
        return (shared + own / 2) * spectrum

    chunks = da.core.normalize_chunks(tuple(sizes.values()), shape, dtype=np.float32)
    values = da.map_blocks(block, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), "f4"))
    labels = {
        "model": [f"net{i}" for i in range(models)],
        "stimulus": [f"s{i}" for i in range(stimuli)],
    }
    return xr.DataArray(values, labels, dims, name="representation")


def stored(folder: Path, models: int, stimuli: int, features: int) -> Path:
    """Such models in a store, under the modality ``bench``."""
    path = folder / f"{models}x{stimuli}x{features}.zarr"
    xc.write_representations(path, lazy_reps(models, stimuli, features), modality="bench")
    return path
