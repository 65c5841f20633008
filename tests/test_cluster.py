"""The same numbers on a cluster of processes, also when one of them is killed."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge import _stream

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="2GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(_stream, "WHOLE_BYTES", 0)
    monkeypatch.setattr(_stream, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(_stream, "MOST_BYTES", 2**16)
    reps = make_reps(3, 3000, 32, dtype=np.float32, missing=0.02)
    path = tmp_path / "study.zarr"
    xc.write_representations(path, reps)
    return xc.open_representations(path, "vision").chunk(stimulus=500)


CALLS = {
    "graph": lambda reps: xc.local_density(reps, k=5),
    "mutual_knn": lambda reps: xc.alignment(reps, reps, k=5),
    "cka": lambda reps: xc.alignment(reps, reps, "cka"),
    "rbf": lambda reps: xc.alignment(reps, reps[:2], "cka", kernel="rbf"),
    "rdm": lambda reps: xc.alignment(reps, reps[:2], "rdm"),
    "rows": lambda reps: xc.dispersion(reps, "rdm"),
    "dispersion": lambda reps: xc.dispersion(reps.assign_attrs(space="shared")),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_cluster_gives_the_numbers_of_threads(client, stored, name):
    lazy = CALLS[name](stored)
    with client.as_current():
        found = lazy.compute(scheduler=client)
    xr.testing.assert_identical(found, lazy.compute(scheduler="threads"))


def test_a_worker_that_is_killed_changes_no_digit(client, stored):
    lazy = CALLS["mutual_knn"](stored)
    expected = lazy.compute(scheduler="threads")
    pids = client.run(os.getpid)
    future = client.compute(lazy)
    killed = threading.Timer(0.3, os.kill, (next(iter(pids.values())), signal.SIGKILL))
    killed.start()
    found = future.result(timeout=120)
    killed.join()
    time.sleep(0.1)
    xr.testing.assert_identical(found, expected)
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(pids.values())
