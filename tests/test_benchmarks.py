"""Every benchmark runs on a small set, so that none can rot; what holds at any size is checked."""

import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import bench_graphs
from tests.benchmarks.table import ROOT, Figure, printed, recorded

PARTS = {
    "dispersion": ("over numpy.sum", 9),
    "alignment": ("over the blocked product", 11),
    "inference": ("in statistics", 6),
    "store": ("over import xarray", 35),
    "writing": ("over tofile", 6),
    "scaling": ("over the bare product", 13),
    "workers": ("one worker over two", 3),
    "graphs": ("tasks", 12),
    "selection": ("models held out", 38),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "workers" else ()) for n in PARTS]
)
def test_a_part_runs_in_short(name, tmp_path):
    out = tmp_path / "table.json"
    command = [sys.executable, "-m", "tests.benchmarks", name, "--short", "--json", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    table = recorded(out)[name]
    words, least = PARTS[name]
    assert len(table) >= least
    assert any(words in row for row in table)
    assert all(math.isfinite(figure.value) for figure in table.values())
    for row, figure in table.items():
        assert row in run.stdout
        if "less 1" in row:
            assert abs(figure.value) < 1e-4
        elif "agreement" in row and "seconds" not in row:
            assert -1 <= figure.value <= 2
        elif "error" in row:
            assert figure.value < 1e-6
        else:
            assert figure.value > 0, row


def test_what_falls_short_is_marked():
    table = {"slow": Figure(2.0, at_most=1.6), "fast": Figure(2.0, at_least=1.6)}
    slow, fast = printed(table).splitlines()
    assert slow.endswith("at most 1.6    SHORT")
    assert fast.rstrip().endswith("at least 1.6")


def test_graphs_grow_with_chunks_and_pairs_only(tmp_path):
    """No call makes more tasks than a few for each chunk and each pair of models."""
    few, many = (bench_graphs.sizes(tmp_path, 20, n, 768) for n in (10_000, 50_000))
    for (row, small), large in zip(few.items(), many.values(), strict=True):
        if row.endswith("tasks"):
            assert large.value <= 6 * small.value, row
    tasks = {row.split(",")[0]: f.value for row, f in many.items() if row.endswith("tasks")}
    chunks = 260
    assert tasks["sum"] < 2 * chunks
    assert tasks["dispersion"] < 10 * chunks
    assert tasks["neighbor_graph"] < 3 * chunks


@pytest.mark.slow
def test_the_calibration_runs_in_short():
    script = Path(__file__).parent / "benchmarks" / "bench_calibration.py"
    printed = subprocess.run(
        [sys.executable, str(script), "--short"], check=True, capture_output=True, text=True
    ).stdout
    for title in ("True nulls", "Planted effects", "Intervals", "Ranking models"):
        assert title in printed
    assert "nan" not in printed


def test_the_pages_are_those_of_the_record():
    docs = ROOT / "docs"
    names = runpy.run_path(str(docs / "generate" / "benchmarks.py"))
    assert (docs / "benchmarks.md").read_text("utf-8") == names["page"]()
    assert (docs / "scaling.md").read_text("utf-8") == names["scaling"]()
