"""Any cluster: what docs/clusters.md says is what jobs and pods get, and no call needs a client."""

import inspect
import json
import os
import re
import sys
import types
from itertools import pairwise
from pathlib import Path

import dask.base
import pytest
import xarray as xr
from dask.utils import parse_bytes

import xconverge as xc
from tests.helpers import make_reps
from tests.test_coordinates import CALLS, inputs
from xconverge.accessor import ArrayAccessor
from xconverge.engine.resources import SHARE, _blas, calm_blas, rooms
from xconverge.kernels.budgets import BUDGETS

pytest.importorskip("distributed")

PAGE = Path(xc.__file__).parents[1] / "docs" / "clusters.md"


def snippet(heading, until="\0"):
    """The code below a heading of the page, up to a line that begins so."""
    code = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("```py\n")[1]
    return code.split("```")[0].split(f"\n{until}")[0]


def run(code, **names):
    exec(compile(code, PAGE.name, "exec"), names)
    return names


# --- no call needs a client


def test_no_function_is_given_a_client():
    functions = {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (xc, xc.io, xc.plot, xc.report)
        for name in module.__all__
        if not name.endswith(("Error", "Warning"))
    }
    names = dir(ArrayAccessor(make_reps()))
    functions |= {f".xc.{name}": getattr(make_reps().xc, name) for name in names if name != "plot"}
    assert len(functions) > 120
    named = {"client", "cluster", "scheduler", "get", "n_jobs", "n_workers", "num_workers"}
    for name, function in functions.items():
        assert not named & set(inspect.signature(function).parameters), name


def one_model_a_chunk(array):
    return array.chunk({dim: 1 if dim in ("model", "subject") else -1 for dim in array.dims})


# made of the others, and of so many tasks that each takes a minute
LONG = {"analyze", "leave_out_modulation by consensus", "alignment_reliability"}
# neighbourhoods of what is in memory are scored here, and no cluster is sent them
HERE = {"searchlight", "binned_searchlight"}


@pytest.mark.slow_after(3)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of so few stimuli and models
@pytest.mark.parametrize("name", ["rdm", *sorted(CALLS.keys() - LONG - HERE - {"rdm"})])
def test_the_client_that_is_there_computes(client, monkeypatch, name):
    """Every public function that computes: no thread of this process does, while there is one."""
    given = {key: one_model_a_chunk(array) for key, array in inputs().items()}

    def refused(*args, **kwargs):
        raise AssertionError("computed in this process")

    for scheduler in dask.base.named_schedulers:
        monkeypatch.setitem(dask.base.named_schedulers, scheduler, refused)
    before = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    result = CALLS[name](given)
    result.load()
    after = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    assert after > before


# --- jobs of a queue


def slurm(monkeypatch, **changes):
    """The cluster of the page, with other sizes; no job is sent yet."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    whole = jobqueue.SLURMCluster
    # the scheduler of a test listens on this machine alone
    changes = {"scheduler_options": {"host": "127.0.0.1", "dashboard_address": ":0"}} | changes
    monkeypatch.setattr(jobqueue, "SLURMCluster", lambda **given: whole(**(given | changes)))
    return run(snippet("SLURM", until="cluster.scale"))["cluster"]


def test_the_script_of_slurm_asks_for_what_workers_take(monkeypatch, capsys):
    with slurm(monkeypatch) as cluster:
        script = cluster.job_script()
    assert capsys.readouterr().out.strip() == script.strip()
    asked = dict(re.findall(r"^#SBATCH --?([\w-]+)[ =](\S+)$", script, re.M))
    command = script.strip().splitlines()[-1].split()
    options = dict(pairwise(command))
    workers = int(options["--nworkers"])
    assert (asked["p"], asked["A"], asked["t"]) == ("cpu", "lab", "04:00:00")
    assert int(asked["cpus-per-task"]) == workers * int(options["--nthreads"])
    assert options["--nthreads"] == "1"
    assert options["--local-directory"] == "$TMPDIR"
    assert "--nanny" in command
    # SLURM kills a job that takes more: workers and their nannies, of some 200 MB each, stay below
    each = parse_bytes(options["--memory-limit"])
    assert workers * (each + 2e8) < parse_bytes(asked["mem"] + "iB")
    enough_for_every_budget(each)
    lifetime = int(options["--lifetime"].removesuffix("m"))
    assert lifetime + int(options["--lifetime-stagger"].removesuffix("m")) < 4 * 60


def enough_for_every_budget(limit):
    """A worker of this limit may hold at once all that one task ever is planned to hold."""
    of_a_task = ("whole_model", "all_models", "many_models", "tile", "targets", "products")
    assert SHARE * limit > sum(getattr(BUDGETS, name) for name in of_a_task)


QUEUES = {
    "PBSCluster": ["#PBS -l select=1:ncpus=8:mem=36gb", "#PBS -l walltime=04:00:00"],
    "LSFCluster": ["#BSUB -n 8", "#BSUB -M 38654706", "#BSUB -W 04:00\n"],
}


@pytest.mark.parametrize("name", QUEUES)
def test_other_queues_take_the_same_words(monkeypatch, name):
    jobqueue = pytest.importorskip("dask_jobqueue")
    (words,) = re.findall(rf"`{name}` with\s+`([^`]+)`", PAGE.read_text("utf-8"))
    words = eval(f"dict({words})")
    whole = getattr(jobqueue, name)
    local = {"host": "127.0.0.1", "dashboard_address": ":0"}

    def instead(job_mem, account, **given):
        return whole(**(given | words), scheduler_options=local)

    monkeypatch.setattr(jobqueue, "SLURMCluster", instead)
    with run(snippet("SLURM", until="cluster.scale"))["cluster"] as cluster:
        script = cluster.job_script()
    for line in QUEUES[name]:
        assert line in script
    assert "--nthreads 1 --memory-limit 4.00GiB --nworkers 8 --nanny" in script


def a_queue_of_this_machine(folder):
    """Commands that do what SLURM's do: a job is a group of processes, and its number theirs."""
    for name, body in {
        # SLURM keeps a copy too: the script is gone when its job starts
        "sbatch": f'cp "$1" {folder}/job; setsid bash {folder}/job >{folder}/log 2>&1 &\n'
        'echo "Submitted batch job $!"',
        "scancel": 'for job in "$@"; do kill -- "-$job"; done; true',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n", "utf-8")
        (folder / name).chmod(0o755)


def threads_of_blas():
    with calm_blas():
        return {library.get_num_threads() for library in _blas()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the queue is made of shell scripts")
def test_jobs_that_slurm_starts_give_the_same_numbers(monkeypatch, tmp_path):
    """The script is run as SLURM would: its workers read a store, and refuse what is too large."""
    a_queue_of_this_machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    xc.write_representations(tmp_path / "study.zarr", make_reps(3, 60, 8))
    vision = xc.open_representations(tmp_path / "study.zarr", "vision").assign_attrs(space="shared")
    calls = [lambda: xc.dispersion(vision), lambda: xc.alignment(vision, vision, k=5)]
    expected = [call().compute(scheduler="threads") for call in calls]
    with (
        slurm(monkeypatch, cores=2, processes=2, memory="1GiB") as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(jobs=1)
        client.wait_for_workers(2, timeout=180)
        pids = client.run(os.getpid)
        assert set(client.nthreads().values()) == {1}
        assert [room[:2] for room in rooms()] == [(int(SHARE * 2**29), 1)] * 2
        # set before numpy is there; while tasks run, whatever it says
        assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {"1"}
        assert client.submit(threads_of_blas).result(180) == {1}
        folders = client.run(lambda dask_worker: dask_worker.local_directory).values()
        assert all(Path(one).is_relative_to(tmp_path / "node") for one in folders)
        for call, one in zip(calls, expected, strict=True):
            xr.testing.assert_identical(call().compute(), one)
        many = make_reps(2, 8, 4).isel(stimulus=[0] * 9000)
        many = many.assign_coords(stimulus=[f"s{i}" for i in range(9000)]).chunk(model=1)
        with pytest.raises(MemoryError, match="on a worker of the cluster"):
            xc.rdm(many)
    for pid in pids.values():
        wait_until_gone(pid)


def wait_until_gone(pid):
    import psutil

    if psutil.pid_exists(pid):
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
    assert not psutil.pid_exists(pid)


# --- pods


@pytest.fixture
def manifest(monkeypatch):
    """What the page sends to Kubernetes."""
    operator = pytest.importorskip("dask_kubernetes.operator")
    sent = {}
    monkeypatch.setattr(operator, "KubeCluster", lambda **given: sent.update(given))
    run(snippet("Kubernetes", until="client ="))
    return sent["custom_cluster_spec"]


def test_a_manifest_of_kubernetes_is_one_that_it_knows(manifest):
    """By the types of Kubernetes itself: a field that they lack would not come back."""
    kubernetes = pytest.importorskip("kubernetes.client")
    from dask_kubernetes.operator.validation import validate_cluster_name

    validate_cluster_name(manifest["metadata"]["name"])
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    spec = manifest["spec"]
    api = kubernetes.ApiClient()
    for given, kind in [
        (spec["worker"]["spec"], "V1PodSpec"),
        (spec["scheduler"]["spec"], "V1PodSpec"),
        (spec["scheduler"]["service"], "V1ServiceSpec"),
    ]:
        known = api.deserialize(json.dumps(given), kind, "application/json")
        assert api.sanitize_for_serialization(known) == given
    assert spec["worker"]["replicas"] == 10


def test_pods_are_larger_than_their_workers(manifest):
    (container,) = manifest["spec"]["worker"]["spec"]["containers"]
    command = container["args"]
    options = dict(pairwise(command))
    limit = parse_bytes(options["--memory-limit"])
    assert limit + 2e8 < parse_bytes(container["resources"]["limits"]["memory"] + "B")
    enough_for_every_budget(limit)
    assert options["--nthreads"] == container["resources"]["limits"]["cpu"] == "1"
    (mount,) = container["volumeMounts"]
    assert options["--local-directory"] == mount["mountPath"]
    (volume,) = manifest["spec"]["worker"]["spec"]["volumes"]
    assert volume["name"] == mount["name"]


# --- services


@pytest.mark.slow
def test_whatever_has_get_client_will_do():
    from distributed import Client, LocalCluster

    class Cluster:
        """Not a class of dask's: all that is asked of it is a client."""

        def __init__(self, n_workers, worker_memory, worker_options):
            self.inside = LocalCluster(
                n_workers=1,
                threads_per_worker=worker_options["nthreads"],
                memory_limit=worker_memory,
                dashboard_address=":0",
            )

        def get_client(self):
            return Client(self.inside.scheduler_address)

    coiled = types.SimpleNamespace(Cluster=Cluster)
    names = run(snippet("Coiled and others"), coiled=coiled)
    reps = make_reps(3, 40, 8).chunk(model=1)
    with names["cluster"].inside, names["client"]:
        assert [room[:2] for room in rooms()] == [(int(SHARE * 4 * 2**30), 1)]
        found = xc.dispersion(reps, "neighborhood", k=5).compute()
    xr.testing.assert_identical(found, xc.dispersion(reps, "neighborhood", k=5).compute())
