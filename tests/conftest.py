from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

# one process a core already: threads of BLAS would fight for them
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dask
import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import no_compute
from xconverge.kernels import compiled
from xconverge.kernels.budgets import BUDGETS

settings.register_profile(
    "here",
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest --machine-code` has compiled loops work on the smallest arrays too."""
    parser.addoption("--machine-code", action="store_true", help="compiled loops throughout")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--machine-code"):
        pytest.importorskip("numba")
        compiled.WORTH = 0


@pytest.hookimpl(tryfirst=True)  # pytest drops what is marked slow in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `slow_after(n)` all but the first n sets of parameters are long."""
    seen: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("slow_after")
        if mark is not None:
            name = item.nodeid.split("[")[0]
            seen[name] += 1
            if seen[name] > mark.args[0]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def one_cluster() -> Iterator[Any]:
    """Two workers of one thread, each a process; started once for all tests that want them.

    Once a process of xdist, that is: groups of xdist 3.8 do nothing under pytest 9.2.
    """
    distributed = pytest.importorskip("distributed")
    # workers that wait for the next test would sample themselves a hundred times a second
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="2GiB"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(one_cluster: Any) -> Iterator[Any]:
    """A client of the one cluster: what this test computes runs there, other tests' work does not.

    A test in which a worker is killed must wait until there are two again.
    """
    import distributed

    with distributed.Client(one_cluster) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["numpy", "machine code"])
def machine_code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A test without and with compiled loops, of whatever size the arrays are."""
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "WORTH", 0 if request.param else float("inf"))
    return bool(request.param)


@pytest.fixture
def raising_scheduler() -> Iterator[None]:
    """Computing anything in this test is an error."""
    with no_compute():
        yield


@pytest.fixture(scope="module")
def everything_is_long() -> Iterator[None]:
    """Models are read in blocks of six stimuli of eight features, whatever their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "whole_model", 0)
        patch.setattr(BUDGETS, "read_block", 8 * 6 * 8)
        patch.setattr(BUDGETS, "query_block", 16 * 6 * 8)
        yield
