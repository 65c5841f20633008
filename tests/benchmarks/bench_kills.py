"""Processes that are killed at random moments while they write: kills, losses and errors.

Run ``python -m tests.benchmarks.bench_kills --runs 200``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import xconverge as xc
from tests.io.kills import Sweep, ended, fork, forked, without_threads
from tests.io.operations import DEBRIS

STIMULI = [f"s{i}" for i in range(60)]
WIDTHS = {"a": 6, "b": 6, "c": 3, "d": 11, "e": 20, "f": 2}
VALUES = {
    name: np.random.default_rng(ord(name)).standard_normal((60, width)).astype(np.float32)
    for name, width in WIDTHS.items()
}
OTHERS = ("append wider", "overwrite", "overwrite study", "overwrite graph")


class Kills(NamedTuple):
    """What became of processes that were killed."""

    kills: int
    losses: int
    """Rows from which ``write`` had returned and that were not there, or not as written."""
    errors: list[str]
    """What readers, those who went on, or ``validate_store`` said."""


def write_on(store: Path, model: str, seed: int, told: Path) -> None:
    """Write what is pending of a model in batches of any size and order, telling each."""
    rng = np.random.default_rng(seed)
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with xc.ModelWriter(store, "v", model, STIMULI, WIDTHS[model]) as writer:
        pending = rng.permutation([STIMULI.index(label) for label in writer.pending])
        while len(pending):
            batch, pending = np.split(pending, [int(rng.integers(1, 13))])
            writer.write([STIMULI[i] for i in batch], VALUES[model][batch])
            os.write(file, bytes(batch.tolist()))
            time.sleep(0.005)


def lost_rows(store: Path, told: dict[str, list[int]]) -> int:
    """Rows that were told and are not there, or are not what was written."""
    if not any(told.values()):
        return 0
    reps = xc.open_representations(store, "v", incomplete="include")
    lost = 0
    for model, rows in told.items():
        if rows and model not in reps.indexes["model"]:
            lost += len(rows)
        elif model in reps.indexes["model"]:
            values = reps.sel(model=model).values[:, : WIDTHS[model]]
            same = (values == VALUES[model]).all(1)
            lost += len(set(rows) - set(np.flatnonzero(same).tolist()))
            # nothing else reads as data
            lost += np.count_nonzero(~same & ~np.isnan(values).all(1))
    return lost


def _count_lost(store: Path, told: dict[str, list[int]], found: Path) -> None:
    found.write_text(str(lost_rows(store, told)))


def _check_whole(store: Path) -> None:
    xc.validate_store(store, deep=True)
    left = [str(path) for path in store.rglob("*") if DEBRIS.search(str(path))]
    assert not left, f"left behind: {left}"
    assert sorted(os.listdir(store)) == ["v", "zarr.json"]


def kill_writers(runs: int, folder: Path, seed: int = 0) -> Kills:
    """Six processes write six models at once, each is killed at a random moment, and goes on."""
    moments = random.Random(seed)
    kills, losses, errors, turn = 0, 0, [], 0
    store, said, found = folder / "s.zarr", folder / "said", folder / "found"
    while kills < runs:
        turn += 1
        ends = _one_round(store, folder, moments, 1000 * seed + 10 * turn)
        kills += list(ends.values()).count(-signal.SIGKILL)
        bad = [model for model, end in ends.items() if end not in (0, -signal.SIGKILL)]
        errors += [f"model {model}: {(folder / f'said {model}').read_text()}" for model in bad]
        told = {model: list(_told(folder, model)) for model in WIDTHS}
        said.write_text("")
        if forked(partial(_count_lost, store, told, found), said):
            errors.append(f"reading: {said.read_text()}")
        else:
            losses += int(found.read_text())
        if not any(ends.values()):
            # all are complete: begin anew
            if forked(partial(_check_whole, store), said):
                errors.append(f"in the end: {said.read_text()}")
            for path in (store, *(folder / f"told {model}" for model in WIDTHS)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Kills(kills, losses, errors)


def _told(folder: Path, model: str) -> bytes:
    path = folder / f"told {model}"
    return path.read_bytes() if path.exists() else b""


def _one_round(store: Path, folder: Path, moments: random.Random, seed: int) -> dict[str, int]:
    """Start all writers, kill most of them: the exit code of each."""
    running: dict[int, str] = {}
    for i, model in enumerate(WIDTHS):
        write = partial(write_on, store, model, seed + i, folder / f"told {model}")
        running[fork(write, folder / f"said {model}")] = model
    longest = moments.choice([0.3, 1.0, 3.0])
    deadlines = sorted((moments.random() * longest, pid) for pid in running)
    spared = moments.sample(sorted(running), moments.choice([0, 0, 1, 2, 6]))
    start = time.monotonic()
    for deadline, pid in deadlines:
        time.sleep(max(0.0, start + deadline - time.monotonic()))
        if pid not in spared:
            os.kill(pid, signal.SIGKILL)
    return {model: ended(pid) for pid, model in running.items()}


def kill_others(name: str, runs: int, folder: Path, seed: int = 0) -> Kills:
    """Something else that changes a store is killed at random moments, and done again."""
    moments, errors = random.Random(seed), []
    sweep = Sweep(name, folder, True)
    sweep.start()
    longest, kills, lost = sweep.seconds(), 0, 0
    while kills < runs:
        try:
            kills += sweep.kill_after(moments.random() * longest)
        except AssertionError as error:
            kills += 1
            lost += "told" in str(error)
            errors.append(f"{name}: {error}")
    return Kills(kills, lost, errors)


def measure(runs: int, others: int, folder: Path) -> dict[str, Kills]:
    """All of them, each in a folder of its own."""
    table = {}
    for name in ("six ModelWriters at once", *OTHERS):
        within = folder / name
        within.mkdir(parents=True)
        if name in OTHERS:
            table[name] = without_threads(kill_others, name, others, within)
        else:
            table[name] = without_threads(kill_writers, runs, within)
        shutil.rmtree(within)
    return table


def main() -> None:
    """Print how often what was killed, and what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_kills")
    parser.add_argument("--runs", type=int, default=200, help="kills of ModelWriters")
    parser.add_argument("--others", type=int, help="of each other operation; a quarter by default")
    parser.add_argument("--folder", type=Path, help="where the stores may lie for a while")
    arguments = parser.parse_args()
    others = arguments.runs // 4 if arguments.others is None else arguments.others
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        table = measure(arguments.runs, others, Path(folder))
    for name, (kills, losses, errors) in table.items():
        print(f"{name:26s} {kills:4d} kills, {losses} losses, {len(errors)} errors")
        print(*errors, sep="\n", end="\n" if errors else "")


if __name__ == "__main__":
    main()
