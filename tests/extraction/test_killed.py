"""The shipped emoji through small networks: killed at any moment, and by two processes at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import xconverge as xc
from tests.extraction.networks import small
from tests.extraction.stimuli import check_same_models
from xconverge.io.demo import shipped

pytest.importorskip("torch")
pytest.importorskip("PIL")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SQUARE = ["--size", "32"]
NETWORKS = {
    "timm": ["--layers", "blocks.*", "output", "--pool", "cls"],
    "torchvision": ["--weights", "random", *SQUARE, "--layers", "maxpool", "stage?.0", "output"],
    "transformers": ["--layers", "embeddings", "layers.*", "output"],
}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory):
    """The command for a network and a store; the network lies on disk."""
    root = tmp_path_factory.mktemp("networks")
    made: dict[str, str] = {}

    def of(library: str, store: Path, *more: str) -> list[str]:
        pytest.importorskip(library)
        if library not in made:
            made[library] = {
                "timm": lambda: f"timm:{small.timm_folder(root / 'small timm')}",
                "torchvision": lambda: "torchvision:shufflenet_v2_x0_5",
                "transformers": lambda: f"transformers:{small.vit_folder(root / 'small vit')}",
            }[library]()
        with shipped() as data:
            return [
                *(sys.executable, "-m", "xconverge.cli.main", "extract"),
                *(str(data / "thumbnails.zip"), str(store), "--modality", "vision"),
                *("--network", made[library], *NETWORKS[library], "--device", "cpu"),
                *("--batch-size", "32", *more),
            ]

    return of


def environment() -> dict[str, str]:
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **more}


def started(command: list[str]) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(), **pipes)


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def writing(store: Path, process: subprocess.Popen[str]) -> bool:
    """Wait until a process has begun to write; False where it has ended before."""
    while process.poll() is None:
        if list(store.glob("incomplete_models/vision/*/rows_*/c")):
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("library", NETWORKS)
def test_killed_at_random_moments_and_equal_to_one_run(command, tmp_path, library):
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    begin = time.monotonic()
    process = started(command(library, one))
    writing(one, process)
    began = time.monotonic()
    finished(process)
    took, seed = time.monotonic() - began, random.randrange(10**6)
    print(f"seed {seed}; {began - begin:.1f} s to begin, {took:.1f} s to write")
    rng, killed = random.Random(seed), 0
    for _ in range(2):
        process = started(command(library, other))
        if writing(other, process):
            time.sleep(rng.uniform(0, took / 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    finished(started(command(library, other)))
    check_same_models(one, other)
    reps = xc.open_representations(other, "vision")
    assert reps.sizes["stimulus"] == 1380
    assert set(reps.attrs["provenance"]) == set(reps.network.values.tolist())


def test_two_processes_for_two_models_at_once(command, tmp_path):
    both, each = tmp_path / "both.zarr", tmp_path / "each.zarr"
    pair = ("timm", "transformers")
    processes = [started(command(library, both)) for library in pair]
    for process in processes:
        finished(process)
    for library in pair:
        finished(started(command(library, each)))
    check_same_models(each, both)
    reps = xc.open_representations(both, "vision", incomplete="error")
    assert len(set(reps.network.values.tolist())) == 2
    # what is complete runs nothing
    assert "of 1380 stimuli" in finished(started(command("timm", both)))
