from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.store import open_representations, write_representations
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError


def lazy(
    shape: tuple[int, ...] = (2, 5000, 1024),
    dims: tuple[str, ...] = ("model", "stimulus", "feature"),
    dtype: str = "f4",
) -> xr.DataArray:
    return xr.DataArray(da.zeros(shape, dtype=dtype), dims=dims)


def test_chunks_are_even_and_hold_one_model_and_all_features() -> None:
    assert recommend_chunks(lazy()) == {"model": 1, "stimulus": 2500, "feature": 1024}
    assert recommend_chunks(lazy(dtype="f8"))["stimulus"] == 1250


def test_extra_dims_and_order_are_kept() -> None:
    reps = lazy((3, 100, 2, 8), ("layer", "feature", "model", "stimulus"))
    chunks = recommend_chunks(reps)
    assert list(chunks.items()) == [("layer", 1), ("feature", 100), ("model", 1), ("stimulus", 8)]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("memory", [1, 4096, 10_000, 2**20, None])
def test_no_chunk_is_larger_than_said_unless_it_is_one_stimulus(memory: int | None) -> None:
    reps = lazy()
    chunked = reps.chunk(recommend_chunks(reps, memory=memory))
    block = int(np.prod(chunked.data.chunksize)) * 4
    assert block <= max(memory or BUDGETS.store_chunk, 1024 * 4)


@pytest.mark.parametrize("shape", [(2, 0, 4), (2, 4, 0), (0, 4, 4)])
def test_empty_arrays_have_chunks(shape: tuple[int, ...]) -> None:
    reps = lazy(shape)
    assert reps.chunk(recommend_chunks(reps)).shape == shape


def test_a_set_of_one_model_needs_no_model_dim() -> None:
    assert recommend_chunks(lazy((6, 4), ("stimulus", "feature"))) == {"stimulus": 6, "feature": 4}


def test_faults_are_named() -> None:
    with pytest.raises(SchemaError, match=r"'item'.*\['stimulus'\] missing"):
        recommend_chunks(lazy(dims=("model", "item", "feature")))
    with pytest.raises(ValueError, match="memory must be .* 1 at least .bytes., got memory=0"):
        recommend_chunks(lazy(), memory=0)


def test_a_store_has_these_chunks(tmp_path: Path) -> None:
    values = np.ones((2, 5000, 1024), dtype=np.float32)
    labels = {"model": ["a", "b"], "stimulus": [f"s{i}" for i in range(5000)]}
    reps = xr.DataArray(values, labels, ("model", "stimulus", "feature"))
    write_representations(tmp_path / "s.zarr", reps, modality="v")
    opened = open_representations(tmp_path / "s.zarr", "v")
    assert dict(zip(opened.dims, opened.data.chunksize, strict=True)) == recommend_chunks(reps)
