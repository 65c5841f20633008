"""Whether a change made a call slower: this checkout against another commit, in turns.

``python -m tests.benchmarks.compare COMMIT`` takes a few minutes and fails where a call takes more
than 1.3 times as long; ``--record`` adds the seconds, in those of a yardstick of plain numpy, to
``docs/benchmarks.json``, an entry a commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.calls import YARDSTICK
from tests.benchmarks.table import ROOT

RECORD = ROOT / "docs" / "benchmarks.json"
SLOWER = 1.3
LEAST = 0.003
"""Seconds that a call must have lost at least: below it is the noise of a scheduler."""

Seconds = dict[str, float]


def git(*arguments: str) -> str:
    """What git says in this checkout."""
    run = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout.strip()


def timed(checkout: Path, rounds: int) -> Seconds:
    """Shortest seconds of each call with the package of a checkout, in a process of its own."""
    script = ROOT / "tests" / "benchmarks" / "calls.py"
    run = subprocess.run(
        [sys.executable, str(script), str(rounds)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )
    found: Seconds = json.loads(run.stdout.splitlines()[-1])
    return found


def shortest(runs: Sequence[Seconds]) -> Seconds:
    """Of every call the shortest of several runs."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def slower(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Calls that take more than 1.3 times as long."""
    return [
        name
        for name in now
        if name in before and name != YARDSTICK
        if now[name] > SLOWER * before[name] and now[name] - before[name] > LEAST
    ]


def entry(commit: str, date: str, now: Mapping[str, float]) -> dict[str, Any]:
    """What is recorded of a commit: its calls in yardsticks, and how long that was."""
    calls = {name: round(s / now[YARDSTICK], 4) for name, s in now.items() if name != YARDSTICK}
    return {"commit": commit, "date": date, YARDSTICK: round(now[YARDSTICK], 4), "calls": calls}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a call became slower."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__)
    parser.add_argument(
        "commit", nargs="?", default="HEAD", help="default: what was committed last"
    )
    parser.add_argument("--runs", type=int, default=3, help="of each side, in turns")
    parser.add_argument("--rounds", type=int, default=3, help="in each run")
    parser.add_argument("--record", action="store_true", help=f"add to {RECORD.name}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git("worktree", "add", "--quiet", "--detach", str(other), options.commit)
        try:
            sides = [
                (timed(other, options.rounds), timed(ROOT, options.rounds))
                for _ in range(options.runs)
            ]
        finally:
            git("worktree", "remove", "--force", str(other))
    before, now = (shortest(side) for side in zip(*sides, strict=True))
    worse = slower(before, now)
    for name, seconds in now.items():
        ratio = f"{seconds / before[name]:6.2f}  {'SLOWER' if name in worse else ''}"
        print(f"{name:28s} {before[name]:9.4f} s {seconds:9.4f} s {ratio}")
    if options.record:
        entries = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else []
        commit, date = git("log", "-1", "--format=%h %cs").split()
        entries = [one for one in entries if one["commit"] != commit]
        RECORD.write_text(
            json.dumps([*entries, entry(commit, date, now)], indent=1) + "\n", "utf-8"
        )
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
