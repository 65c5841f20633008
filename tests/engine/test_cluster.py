"""The same numbers on a cluster of processes, also when one of them is killed."""

import os
import signal
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.kernels.budgets import BUDGETS

pytest.importorskip("distributed")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(BUDGETS, "whole_model", 0)
    monkeypatch.setattr(BUDGETS, "read_block", 2**16)
    monkeypatch.setattr(BUDGETS, "query_block", 2**16)
    reps = make_reps(3, 3000, 32, dtype=np.float32, missing=0.02)
    path = tmp_path / "study.zarr"
    xc.write_representations(path, reps)
    return xc.open_representations(path, "vision").chunk(stimulus=500)


def spread(reps):
    space = xc.shared_space(reps, n_components=8, folds=3, rng=0)
    return xc.dispersion(space["aligned"], "consensus")


ALIGNMENTS = {
    "mutual_knn": {"k": 5},
    "cycle_knn": {"k": 5},
    "lcs_knn": {"k": 5},
    "edit_distance_knn": {"k": 5},
    "cknna": {"k": 5},
    "cka": {},
    "rbf": {"metric": "cka", "kernel": "rbf"},
    "procrustes": {},
    "svcca": {"n_components": 4},
    "linear_predictivity": {},
    "rdm": {},
    "rsa": {},
    "pearson": {"metric": "rsa", "method": "pearson"},
    "cosine": {},
}
CALLS = {
    **{
        name: lambda reps, o={"metric": name, **options}: xc.alignment(reps, reps, rng=0, **o)
        for name, options in ALIGNMENTS.items()
    },
    **{
        f"dispersion {metric}": lambda reps, m=metric: xc.dispersion(reps, m, k=5)
        for metric in ("cosine", "correlation", "euclidean", "sqeuclidean", "neighborhood", "rdm")
    },
    "pairwise dispersion": lambda reps: xc.dispersion(reps, pairwise=True),
    "consensus dispersion": spread,
    "local_density": lambda reps: xc.local_density(reps, k=5),
    "neighbor_graph": lambda reps: xc.neighbor_graph(reps, k=5),
    "approximate": lambda reps: xc.neighbor_graph(reps, k=5, neighbors="approximate", rng=0),
    "rdm of each": lambda reps: xc.rdm(reps),
    "stimulus_norm": lambda reps: xc.stimulus_norm(reps),
    "center": lambda reps: xc.center(reps),
    "zscore": lambda reps: xc.zscore(reps),
    "clamp": lambda reps: xc.clamp(reps),
    "pca": lambda reps: xc.pca(reps, 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_cluster_gives_the_numbers_of_threads(client, stored, name):
    """Whatever the chunks: these mix models, and split stimuli and features."""
    reps = stored.isel(stimulus=slice(300)).chunk(model=2, stimulus=80, feature=20)
    reps.attrs["space"] = "shared"
    with dask.config.set(scheduler="threads"):
        expected = CALLS[name](reps).compute()
    found = CALLS[name](reps).compute(scheduler=client)
    # sums of a matrix product depend on where its operands lie; arcs of a cosine of 1 - 1e-16: 1e-8
    tolerance = {"atol": 1e-7} if name == "procrustes" else {"rtol": 1e-12}
    xr.testing.assert_allclose(found, expected, **tolerance)
    assert found.attrs == expected.attrs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cosine", "neighborhood", "local_density", "neighbor_graph"])
def test_a_client_computes_results_and_their_coordinates(client, stored, name):
    """``client.compute(result)`` takes data and lazy coordinates as one; dask 2026.8 loses some."""
    calls = {**CALLS, "cosine": lambda reps: xc.dispersion(reps)}
    reps = (
        stored.isel(stimulus=slice(200)).chunk(model=1, stimulus=100).assign_attrs(space="shared")
    )
    lazy = calls.get(name, lambda reps: xc.dispersion(reps, name))(reps)
    found = client.compute(lazy).result(timeout=60)
    xr.testing.assert_allclose(found, lazy.compute())


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_no_number(client, stored):
    lazy = xc.alignment(stored, stored, k=5)
    expected = lazy.compute(scheduler="threads")
    pids = client.run(os.getpid)
    future = client.compute(lazy)
    killed = threading.Timer(0.3, os.kill, (next(iter(pids.values())), signal.SIGKILL))
    killed.start()
    found = future.result(timeout=120)
    killed.join()
    time.sleep(0.1)
    xr.testing.assert_allclose(found, expected, rtol=1e-12)
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(pids.values())


SOURCES = {
    "opened": lambda reps: reps,
    "from_array": lambda reps: reps.copy(
        data=da.from_array(reps.values, chunks=(1, 75, 32), asarray=False)
    ),
    "map_blocks": lambda reps: reps.copy(data=reps.data.map_blocks(np.negative, dtype=reps.dtype)),
    "rechunk": lambda reps: reps.copy(data=reps.data.rechunk((2, 90, 20)).rechunk((1, 70, -1))),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_any_dask_array_may_be_persisted_on_a_cluster(client, stored, source):
    """The engine puts tasks together by hand, from graphs of any kind, and of futures."""
    reps = SOURCES[source](stored.isel(stimulus=slice(300), model=slice(2)))
    with dask.config.set(scheduler="threads"):
        values = reps.compute()
        expected = [xc.alignment(values, values, m, **o) for m, o in PASSES.items()]
    there = reps.persist(scheduler=client)
    for (metric, options), one in zip(PASSES.items(), expected, strict=True):
        for lazy in (reps, there):
            found = xc.alignment(lazy, lazy, metric, **options).compute(scheduler=client)
            xr.testing.assert_allclose(found, one, rtol=1e-5, atol=1e-6)


PASSES = {
    "mutual_knn": {"k": 5},
    "cka": {},
    "rdm": {},
}
"""One of each kind of pass: lists, rows, entries."""
