"""Every benchmark runs on a small set, so that none can rot; what holds at any size is checked."""

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import (
    __main__,
    bench_atlas,
    bench_calibration,
    bench_ceilings,
    bench_equal_noise,
    bench_graphs,
    bench_noise_correction,
    bench_nulls,
    bench_scaling,
    bench_store,
    bench_trials,
    compare,
    probe,
    stores,
)
from tests.benchmarks.table import ROOT, Figure, printed, recorded
from xconverge.kernels.budgets import BUDGETS

PARTS = {
    "dispersion": ("over numpy.sum", 9),
    "alignment": ("over the blocked product", 11),
    "inference": ("in statistics", 6),
    "peers": ("platonic-rep in numpy over ours", 8),
    "procrustes": ("netrep over ours", 8),
    "store": ("over zarr's array", 12),
    "writing": ("over zarr's array", 8),
    "scaling": ("over the bare product", 13),
    "workers": ("one worker over two", 6),
    "graphs": ("tasks", 12),
    "growth": ("exponent of stimuli", 30),
    "selection": ("models held out", 38),
    "defaults": ("analyze", 4),
    "searchlight": ("rsatoolbox over it", 9),
    "rsa": ("times faster than rsatoolbox", 6),
    "ridge": ("times faster than RidgeCV", 2),
}


LONG = ("scaling", "store", "workers", "graphs", "growth", "selection")
"""Parts that take seconds in short, too; the next tests have a part of each."""


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in PARTS]
)
def test_a_part_runs_in_short(name, tmp_path, monkeypatch, capsys):
    out = tmp_path / "table.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--short", "--json", str(out)])
    __main__.main()
    told = capsys.readouterr().out
    table = recorded(out)[name]
    words, least = PARTS[name]
    assert len(table) >= least
    assert any(words in row for row in table)
    assert all(math.isfinite(figure.value) for figure in table.values())
    for row, figure in table.items():
        assert row in told
        if "less 1" in row:
            assert abs(figure.value) < 1e-4
        elif "agreement" in row and "seconds" not in row:
            assert -1 <= figure.value <= 2
        elif "error" in row:
            assert figure.value < 1e-6
        elif "exponent" in row:
            assert abs(figure.value) < 8
        elif "spilled" in row:
            assert figure.value == 0
        else:
            assert figure.value > 0, row


def test_every_command_of_the_benchmarks_is_a_part():
    assert set(__main__.PARTS) == set(PARTS)


BEFORE = {"yardstick": 0.1, "cka": 0.2, "rdm": 0.01, "rsa": 0.001}


def test_what_became_slower_is_told():
    now = {"yardstick": 0.9, "cka": 0.25, "rdm": 0.02, "rsa": 0.003, "new": 9.0}
    # of the rsa a scheduler may have taken the two milliseconds
    assert compare.slower(BEFORE, now) == ["rdm"]
    assert compare.shortest([BEFORE, {**BEFORE, "cka": 0.1}])["cka"] == 0.1


def test_a_comparison_fails_where_a_call_is_slower_and_is_recorded(tmp_path, monkeypatch, capsys):
    record, checkouts = tmp_path / "record.json", []

    def timed(checkout, rounds):
        checkouts.append(checkout)
        return {**BEFORE, "cka": 0.3} if checkout == ROOT else BEFORE

    monkeypatch.setattr(compare, "timed", timed)
    monkeypatch.setattr(compare, "git", lambda *words: "abc 2026-01-01" if "log" in words else "")
    monkeypatch.setattr(compare, "RECORD", record)
    for _ in range(2):
        assert compare.main(["--record", "--runs", "2"]) == 1
    assert checkouts[0] != ROOT == checkouts[1]
    assert len(checkouts) == 8
    assert "1.50  SLOWER" in capsys.readouterr().out
    (entry,) = json.loads(record.read_text("utf-8"))
    assert entry["calls"] == {"cka": 3.0, "rdm": 0.1, "rsa": 0.01}
    assert (entry["commit"], entry["yardstick"]) == ("abc", 0.1)


@pytest.mark.slow
def test_the_calls_that_are_compared_run():
    found = compare.timed(ROOT, 1)
    assert set(found) >= {"yardstick", "dispersion", "modulation", "shared_space"}
    assert all(0 < seconds < 120 for seconds in found.values())


def test_a_store_is_read_in_every_way(tmp_path):
    table = bench_store.reading(tmp_path, 2, 40, 8, 1)
    assert any("over zarr's array" in row for row in table)
    assert all(figure.value > 0 for figure in table.values())


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", probe.CALLS)
def test_what_is_timed_in_a_process_of_its_own_runs(name, tmp_path, monkeypatch, capsys):
    path = stores.stored(tmp_path, 3, 120, 8)
    monkeypatch.setattr(sys, "argv", ["probe", str(path), name])
    probe.main()
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) - {"recall"} == {"seconds", "peak", "before"}
    assert ("recall" in figures) == (name == "approximate")
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
def test_a_process_of_its_own_is_timed(tmp_path):
    table = bench_scaling.curve(tmp_path, ["cka"], 2, [60], 8, 1)
    assert any("over the bare product" in row for row in table)
    assert all(figure.value > 0 for figure in table.values())


def test_what_falls_short_is_marked():
    table = {"slow": Figure(2.0, at_most=1.6), "fast": Figure(2.0, at_least=1.6)}
    slow, fast = printed(table).splitlines()
    assert slow.endswith("at most 1.6    SHORT")
    assert fast.rstrip().endswith("at least 1.6")


@pytest.mark.slow
def test_graphs_grow_with_chunks_and_pairs_only(tmp_path):
    """No call makes more tasks than a few for each chunk and each pair of models.

    A search for neighbours reads every chunk once for each block of 64 MiB that asks.
    """
    few, many = (bench_graphs.sizes(tmp_path, 6, n, 768) for n in (10_000, 50_000))
    asking = -(-50_000 * 768 * 4 // BUDGETS.query_block)
    for (row, small), large in zip(few.items(), many.values(), strict=True):
        if row.endswith("tasks"):
            passes = asking if "neighbor" in row or "knn" in row else 1
            assert large.value <= 6 * passes * small.value, row
    tasks = {row.split(", 6 x")[0]: f.value for row, f in many.items() if row.endswith("tasks")}
    chunks, models, pairs = 78, 6, 36
    assert tasks["sum"] < 2 * chunks
    assert tasks["dispersion, cosine"] < 10 * chunks
    assert tasks["neighbor_graph"] < 3 * chunks * asking
    assert tasks["cka, all pairs"] < 3 * pairs * chunks / models


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("title", bench_calibration.TABLES)
def test_a_row_of_the_calibration_runs(title):
    rows, tell, columns, _ = bench_calibration.TABLES[title]
    row = bench_calibration.row(rows, 0, tell, 5, 0)
    assert len(row) == len(columns)
    assert "nan" not in row


@pytest.mark.slow
def test_a_row_of_equal_noise_runs(monkeypatch):
    monkeypatch.setattr(bench_equal_noise, "DRAWS", 3)
    row = bench_equal_noise.row("clusters", "log-normal, sd 0.8", 1, 0)
    assert row[:2] == ["clusters", "log-normal, sd 0.8"]
    assert all(0 <= float(rate) <= 1 for rate in row[2:5])
    told = bench_equal_noise.p_values("one cloud", "equal against the norm", [0, 1])
    assert told.larger == max(told.absolute, told.relative)


def test_tables_of_trials_run_in_short(monkeypatch, capsys):
    shapes = ((6, 2, 5), (8, 3, 4))
    monkeypatch.setattr(bench_trials, "SETTINGS", shapes)
    monkeypatch.setattr(sys, "argv", ["bench_trials", "--short"])
    bench_trials.main()
    told = capsys.readouterr().out
    assert "8 × 3 × 4" in told
    assert "nan" not in told
    for noise in bench_trials.NOISES:
        assert f"`{noise}`" in told


@pytest.mark.slow
def test_equal_noise_runs_in_short(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_equal_noise", "--short"])
    bench_equal_noise.main()
    told = capsys.readouterr().out
    for noise in bench_equal_noise.NOISES:
        assert noise in told


@pytest.mark.slow
def test_ceilings_run_in_short(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_ceilings", "--short"])
    bench_ceilings.main()
    told = capsys.readouterr().out
    for title in bench_ceilings.TABLES:
        assert title in told


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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("title", bench_nulls.TABLES)
def test_a_table_of_the_nulls_runs_in_short(title, tmp_path):
    keep = tmp_path / "runs.jsonl"
    table = bench_nulls.measure(title, 1, 0, short=True, keep=keep)
    assert set(table["runs"]) == {str(2 if "pairs" in table["data"][0] else 1)}
    shares = table.drop(columns=["data", "runs"])
    assert shares.isin(["0.000", "0.500", "1.000", "–"]).all(axis=None)
    # runs that are kept are not made again
    assert bench_nulls.measure(title, 1, 0, short=True, keep=keep).equals(table)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("title", bench_nulls.SINGLE)
def test_what_a_mixed_model_costs_is_told_in_short(title):
    _, short = bench_nulls.SINGLE[title]
    table = short()
    assert len(table) >= 2
    assert not table.isin(["nan"]).any(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["the brain itself, growing noise", "the brain itself, much noise"]
)
def test_a_row_of_noise_correction_runs(name):
    row = bench_noise_correction.row(name, 1, 0)
    assert row[0] == name
    assert len(row) == 10
    # what noise hides is not told
    assert row[6].endswith("1.00" if "much" in name else "0.00")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_benchmark_of_graphs_alone_runs_in_short():
    found = bench_atlas.rates(1, sizes=(60,))
    assert len(found) == 3
    assert set(next(iter(found.values()))) == {
        "distances themselves",
        *(f"lists of {what}" for what in bench_atlas.SHARES),
    }
    for row in bench_atlas.sizes(12, lengths=(5,)).values():
        assert row["graph, k = 5"] < row["features"] / 10
    # a hundred models, of few stimuli
    assert bench_atlas.costs(100, 60)["open and merge"] < 60
