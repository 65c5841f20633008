"""Blocks of draws: on how many cores, and the same numbers on any."""

import os

import dask
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.engine import resampling
from xconverge.kernels import blocks


def prepared(**chunks):
    sizes = {"model_a": 2, "model_b": 2, "time": 6, "block": 2}
    dims = [dim for dim in sizes if dim == "time" or dim in chunks]
    return xr.DataArray(np.zeros([sizes[dim] for dim in dims]), dims=dims).chunk(chunks)


def test_tasks_are_counted_as_the_finer_chunks_make_them():
    numbers = prepared(block=1)
    assert resampling._n_tasks(numbers, prepared(model_a=1, time=1), prepared(model_b=2)) == 12
    assert resampling._n_tasks(numbers, prepared(time=6), prepared(time=1)) == 12
    assert resampling._n_tasks(prepared(block=2), prepared(), prepared(model_b=1)) == 1


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(("n_draws", "n_blocks"), [(60, 1), (300, 2), (900, 4)])
def test_few_blocks_share_the_cores_and_give_the_same(n_draws, n_blocks, workers, monkeypatch):
    a, b = make_reps(2, 12, 5, seed=1), make_reps(2, 12, 4, seed=2)
    options = {"resample": "bootstrap", "n_resamples": n_draws, "rng": 0}
    expected = xc.confidence_interval(a, b, "rsa", **options)
    seen, real = [], resampling.resampled

    def counted(*args):
        seen.append(blocks._cores())
        return real(*args)

    monkeypatch.setattr(resampling, "resampled", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: workers)
    with dask.config.set(num_workers=workers):
        found = xc.confidence_interval(a, b, "rsa", **options)
    xr.testing.assert_identical(found, expected)
    assert seen == [max(1, workers // n_blocks)] * n_blocks
