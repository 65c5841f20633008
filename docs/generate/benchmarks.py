"""Write ``docs/benchmarks.md`` and the curves of ``docs/scaling.md`` from their record.

Run ``python docs/generate/benchmarks.py`` after ``python -m tests.benchmarks --json
docs/generate/benchmarks.json``; a test compares the pages with the record.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

RECORD = Path(__file__).with_name("benchmarks.json")
DOCS = Path(__file__).parents[1]
PAGE, SCALING, CURVES = (DOCS / name for name in ("benchmarks.md", "scaling.md", "scaling.svg"))
START, END = "<!-- measured -->", "<!-- end of what was measured -->"
# the benchmarks are part of the tests, which are not installed
sys.path.insert(0, str(DOCS.parent))

from tests.benchmarks.table import Table, recorded  # noqa: E402

TOPICS = {
    "dispersion": "Cosine dispersion in memory. It uses both cores, `numpy.sum` one.",
    "alignment": "In memory, models of 768 features in float32.",
    "inference": "Permutations, in evaluations of the statistic that they test.",
    "store": "Reading, dispersion from a store, `import`. `skipna=False` leaves out xarray's look "
    "for NaN. The sum of a store that is read in pieces may beat `numpy.fromfile`, which takes "
    "fresh memory from the system for the whole file. Other jobs ran on the machine.",
    "writing": "One model of float32 into a store on disk, labels, checks and checksums included; "
    "a batch is two chunks of Zarr, some milliseconds however narrow it is. Other jobs ran on the "
    "machine.",
    "scaling": "Calls on a store against bare products in memory; peak memory is that of the whole "
    "process, with the interpreter.",
    "workers": "Clusters of one and of two processes of one thread each; their numbers are equal "
    "but for the rounding of single precision.",
    "selection": "Sets of stimuli by swaps; seconds are of a whole call with default arguments.",
    "defaults": "Whole calls with default arguments, models of 64 latent dimensions with as much "
    "noise in all features: none may let a small job run for minutes.",
    "searchlight": "In one thread, lists of random voxels, beside rsatoolbox 0.3.2 in one process; "
    "other jobs ran on the machine.",
    "peers": "Dispersion and neighbours beside scipy and platonic-rep (written out from its "
    "formulas), and beside the plain sum or product that they cannot do without.",
    "procrustes": "Models of 64 latent dimensions with as much noise in all features, beside plain "
    "alternation and netrep, written out from their formulas.",
    "rsa": "RSA of ranks beside rsatoolbox 0.3.2, and beside the sorts that it cannot do without.",
    "ridge": "Nested ridge regression for all targets beside scikit-learn's RidgeCV a fold.",
    "growth": "Exponents of cost, from ten times more models, stimuli or features. Below the power "
    "of the work where overhead or memory is a part of the cost.",
    "graphs": "What the scheduler is given. Making a graph reads no values.",
}

TITLES = {
    "peers": "Beside peers: dispersion and neighbours",
    "procrustes": "Beside peers: Procrustes",
    "rsa": "Beside peers: RSA",
    "ridge": "Beside peers: linear predictivity",
}
SHORT = """## What falls short, and what the limit is

What is bold is less than was asked. Where the limit lies:

* **Generalised Procrustes.** Ours ends in 3 passes where plain alternation takes 12, and needs a
  singular value decomposition for each model in each of them, as that does: a quarter of the
  passes, in single precision, is 5.7 times as fast. The passes of the default that follow are
  products alone, at the speed of the processor.
* **Procrustes distances.** Each pair of models needs the singular values of its 768 x 768
  product. LAPACK takes 64 ms for them, in single precision as well, because it reads the matrix
  once for each column. Both cores are busy with that. The products alone take less than a third
  of the time.
* **Linear predictivity.** Each pair of folds needs a decomposition and a product. These alone
  take half of the time, and would be 9 times as fast as scikit-learn.
* **RSA of ranks.** The sort of each RDM is a quarter of the time. Equal distances have to tie,
  and ranks go back to their places, past all caches. On another machine this code was 6.4 times
  as fast as rsatoolbox.
* **CKNNA.** The two products are half of the time. The rest is the search for the k largest of
  each row, and what single precision cannot tell, in double.
* **The demo.** Half of it is models of equal noise: some 270 draws of six models, each of which
  reads four matrices of 1,380 x 1,380, and spaces of three ranks. A quarter is mixed models. Both
  cores are busy there. The page, the store and imports take 8 seconds of one core.
* **A cluster.** Workers of 1 GB do not hold the rows of all models together. They merge sums in
  double precision, which are twice the bytes of what is read.
"""
"""Reasons, for what stands in the tables."""


def page() -> str:
    """The whole page."""
    said = json.loads(RECORD.read_text("utf-8"))
    named = ("numpy", "numba", "dask", "xarray", "zarr")
    versions = ", ".join(f"{name} {said[name]}" for name in named if name in said)
    lines = [
        "# Benchmarks",
        "",
        "Generated by `docs/generate/benchmarks.py` from `docs/generate/benchmarks.json`, which",
        "one command records (an hour; `--short` takes a minute, as the tests do):",
        "",
        "```bash",
        "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .venv/bin/python -m tests.benchmarks "
        "--json docs/generate/benchmarks.json",
        "```",
        "",
        "Ratios are to what the machine can do, each call and its limit taken in turns in one run",
        f"and the shortest time of each kept. Here: {said['cores']} cores, Python "
        f"{said['python']}, {versions}.",
        "",
    ]
    for part, table in recorded(RECORD).items():
        lines += [
            f"## {TITLES.get(part, part.capitalize())}",
            "",
            TOPICS[part],
            "",
            *rows(table),
            "",
        ]
    return "\n".join([*lines, SHORT])


def rows(table: Table) -> list[str]:
    """A markdown table; what falls short is bold."""
    lines = ["| what | asked | measured |", "|---|---|---|"]
    for name, figure in table.items():
        value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
        lines.append(f"| {name} | {figure.asked} | {value if figure.holds else f'**{value}**'} |")
    return lines


class Call(NamedTuple):
    """What a measured call costs for so many models, stimuli and features; what it is called."""

    cost: Callable[[int, int, int], float]
    text: str
    of_all: bool = False


COMPONENTS, FITS = 32, 4
"""Of the shared space that is measured: without folds, and with each of three left out."""
CALLS = {
    "dispersion": Call(lambda m, n, f: m * n * f, "`dispersion`, cosine, of all models", True),
    "graph": Call(lambda m, n, f: n**2 * f, "`neighbor_graph` of one model"),
    "approximate": Call(lambda m, n, f: n**1.5 * f, "the same, approximate"),
    "cka": Call(lambda m, n, f: n * f**2, "linear `cka` of two models"),
    "procrustes": Call(lambda m, n, f: n * f**2, "`procrustes` of two models"),
    "shared space": Call(
        lambda m, n, f: FITS * n * (m * f**2 + (m * COMPONENTS) ** 2),
        f"`shared_space` of all models, {COMPONENTS} components, 3 folds, and dispersion in it",
        True,
    ),
}
GOAL = (100, 1_000_000, 1024)


def measured() -> dict[str, dict[tuple[int, int, int], tuple[float, float]]]:
    """Seconds and peak MiB of every call, by models, stimuli and features."""
    parts = recorded(RECORD)
    found: dict[str, dict[tuple[int, int, int], tuple[float, float]]] = {}
    for table, ending in ((parts["store"], "ns an element"), (parts["scaling"], "seconds")):
        for name, figure in table.items():
            match = re.fullmatch(
                rf"(.+?) (?:of|from a store of) (\d+) x ([\d,]+).*: {ending}", name
            )
            if match:
                size = int(match[2]), int(match[3].replace(",", "")), 768
                peak = table[name.replace(ending, "peak memory, MiB")].value
                scale = 1e-9 * math.prod(size) if ending.startswith("ns") else 1
                found.setdefault(match[1], {})[size] = figure.value * scale, peak
    return found


def extrapolation() -> list[str]:
    """The curve of every call, and what it comes to for the largest study."""
    lines = [
        "| call | models × stimuli × features | seconds | peak memory of the process, MiB |",
        "|---|---|---|---|",
    ]
    for name, points in measured().items():
        call = CALLS[name]
        for size, (seconds, peak) in points.items():
            shape = " × ".join(f"{n:,}" for n in size)
            lines.append(f"| {call.text} | {shape} | {seconds:.3g} | {peak:.0f} |")
        size, (seconds, _) = list(points.items())[-1]
        goal = GOAL if call.of_all else (size[0], *GOAL[1:])
        seconds *= call.cost(*goal) / call.cost(*size)
        shape = " × ".join(f"{n:,}" for n in goal)
        lines.append(f"| {call.text} | **{shape}** | **{long_time(seconds)}** | |")
    return lines


def long_time(seconds: float) -> str:
    """Seconds, minutes, hours or days."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"


def scaling() -> str:
    """docs/scaling.md with the table in its place."""
    head, rest = SCALING.read_text("utf-8").split(START)
    _, tail = rest.split(END)
    return "\n".join([f"{head}{START}", "", *extrapolation(), "", f"{END}{tail}"])


def draw(path: Path) -> None:
    """Seconds against stimuli, with straight lines of n and n²."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "xconverge"
    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name, points in measured().items():
        stimuli = [n for _, n, _ in points]
        seconds = [seconds for seconds, _ in points.values()]
        models = next(iter(points))[0]
        label = f"{name}, {models} model{'s' if models > 1 else ''}"
        axes.loglog(stimuli, seconds, "o-", label=label)
    x = [10_000, 100_000]
    axes.loglog(x, [0.2, 2], ":", color="0.5", label="n")
    axes.loglog(x, [0.2, 20], "--", color="0.5", label="n²")
    axes.set(xlabel="stimuli of 768 features", ylabel="seconds, two cores")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    figure.savefig(path, metadata=metadata)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCALING.write_text(scaling(), encoding="utf-8")
    draw(CURVES)
