"""A figure with what was asked of it, how it is taken, and how a table of them is printed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
MIB = 2**20


class Figure(NamedTuple):
    """What was measured, and the bound that was asked for, if any."""

    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is as asked."""
        most = self.at_most is None or self.value <= self.at_most
        return most and (self.at_least is None or self.value >= self.at_least)

    @property
    def asked(self) -> str:
        """The bound in words."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"


Table = dict[str, Figure]


def best_of(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Shortest seconds of each call, taken in turns so that noise falls on all alike."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best


def allocated(call: Callable[[], object]) -> float:
    """Peak of what numpy allocates during a call, in MiB."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / MIB


def alone(module: str, *arguments: object) -> dict[str, float]:
    """What a module of this folder prints as JSON, run in a process of its own."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def printed(table: Table) -> str:
    """The table as text; what falls short is marked."""
    return "\n".join(
        f"{name:78s} {figure.value:10.3g}  {figure.asked:15s}{'' if figure.holds else 'SHORT'}"
        for name, figure in table.items()
    )


def record(parts: Mapping[str, Table]) -> dict[str, Any]:
    """Tables as JSON, with the machine and the versions they are of."""
    packages = ("xconverge", "numpy", "numba", "dask", "xarray", "zarr")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        # not all of them are needed
        **{name: version(name) for name in packages if find_spec(name)},
        "parts": {
            part: {name: figure._asdict() for name, figure in table.items()}
            for part, table in parts.items()
        },
    }


def recorded(file: Path) -> dict[str, Table]:
    """Tables from such JSON."""
    parts = json.loads(file.read_text("utf-8"))["parts"]
    return {part: {n: Figure(**f) for n, f in table.items()} for part, table in parts.items()}
