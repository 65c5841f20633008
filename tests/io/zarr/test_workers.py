"""Stores in a bucket that the workers of a cluster read: each chunk by them, none by the client."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import fsspec
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge.kernels.budgets import BUDGETS

KEY, SECRET = "AKIAXCONVERGEWORKER", "never-to-be-written-anywhere"
PLACE = "s3://lab/study.zarr"


class Bucket:
    """A server of S3's interface on this machine that counts who read which chunk."""

    def __init__(self) -> None:
        server = pytest.importorskip("moto.server")
        from werkzeug.serving import make_server

        pytest.importorskip("s3fs")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.app = server.DomainDispatcherApplication(server.create_backend_app)
        self.server = make_server("127.0.0.1", 0, self._counted, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.read: Counter[tuple[str, str]] = Counter()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _counted(self, environ: dict[str, Any], start_response: Any) -> Any:
        path, agent = environ["PATH_INFO"], environ.get("HTTP_USER_AGENT", "")
        if environ["REQUEST_METHOD"] == "GET" and "/representation/c/" in path:
            who = "worker" if "exec-env/a-worker" in agent else "client"
            self.read[who, path] += 1
        return self.app(environ, start_response)

    def read_by(self, who: str) -> set[str]:
        return {path.split("/representation/c/")[1] for one, path in self.read if one == who}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    found = Bucket()
    yield found
    found.server.shutdown()


@pytest.fixture(params=["storage_options", "environment"])
def credentials(
    request: pytest.FixtureRequest, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, str], dict[str, Any]]:
    """What workers have in their environment, and what is given to the store."""
    names = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": bucket.url,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    if request.param == "environment":
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        # an option, since fsspec keeps what was made without any, of whatever environment
        return names, {"storage_options": {"client_kwargs": {"region_name": "us-east-1"}}}
    given = {"endpoint_url": bucket.url, "region_name": "us-east-1"}
    return {}, {"storage_options": {"key": KEY, "secret": SECRET, "client_kwargs": given}}


CALLS = {
    "cosine": lambda reps: xc.dispersion(reps),
    "neighborhood": lambda reps: xc.dispersion(reps, "neighborhood", k=5),
    "mutual_knn": lambda reps: xc.alignment(reps, reps, k=5),
    "graph": lambda reps: xc.neighbor_graph(reps, k=5),
    "norm": lambda reps: xc.stimulus_norm(reps),
}


@pytest.mark.slow
def test_workers_read_a_bucket_themselves(
    bucket: Bucket,
    credentials: tuple[dict[str, str], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed")
    environment, given = credentials
    reps = make_reps(3, 4000, 64, dtype=np.float32, missing=0.01)
    monkeypatch.setattr(BUDGETS, "store_chunk", 1000 * 64 * 4)
    fs = fsspec.filesystem("s3", **given["storage_options"])
    if not fs.exists("lab"):
        fs.call_s3("create_bucket", Bucket="lab")
    xc.write_representations(PLACE, reps, overwrite=True, **given)
    xc.write_representations(tmp_path / "study.zarr", reps)
    here = xc.open_representations(tmp_path / "study.zarr", "vision")
    with dask.config.set(scheduler="synchronous"):
        expected = {name: call(here).compute() for name, call in CALLS.items()}
    with (
        # its tools tell a service where they run: here, whether in a worker
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            env={"AWS_EXECUTION_ENV": "a-worker", **environment},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert os.getpid() not in client.run(os.getpid).values()
        there = xc.open_representations(PLACE, "vision", **given)
        chunks = {f"{m}/{s}/0" for m in range(3) for s in range(there.data.numblocks[1])}
        assert len(chunks) == 12
        for name, call in CALLS.items():
            bucket.read.clear()
            lazy = call(there)
            sent = cloudpickle.dumps(lazy.__dask_graph__())
            assert (SECRET.encode() in sent) != bool(environment)
            assert len(sent) < reps.nbytes / 5
            xr.testing.assert_identical(lazy.compute(), expected[name])
            assert bucket.read_by("worker") == chunks, name
            assert not bucket.read_by("client"), name
