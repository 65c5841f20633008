"""Everything that decides speed, as ratios to what the machine can do, each from one run.

Run ``python -m tests.benchmarks`` for the whole table, with the names of parts for some of it;
unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE first if they are set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    bench_alignment,
    bench_defaults,
    bench_dispersion,
    bench_graphs,
    bench_growth,
    bench_inference,
    bench_peers,
    bench_procrustes,
    bench_ridge,
    bench_rsa,
    bench_scaling,
    bench_searchlight,
    bench_selection,
    bench_store,
    bench_workers,
    bench_writing,
)
from tests.benchmarks.table import Table, printed, record, recorded

PARTS: dict[str, Callable[[bool, Path], Table]] = {
    "dispersion": bench_dispersion.measure,
    "alignment": bench_alignment.measure,
    "inference": bench_inference.measure,
    "peers": bench_peers.measure,
    "procrustes": bench_procrustes.measure,
    "store": bench_store.measure,
    "writing": bench_writing.measure,
    "scaling": bench_scaling.measure,
    "workers": bench_workers.measure,
    "graphs": bench_graphs.measure,
    "growth": bench_growth.measure,
    "selection": bench_selection.measure,
    "defaults": bench_defaults.measure,
    "searchlight": bench_searchlight.measure,
    "rsa": bench_rsa.measure,
    "ridge": bench_ridge.measure,
}


def main() -> None:
    """Print the table part by part."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--short", action="store_true", help="small sizes, as the tests run them")
    parser.add_argument("--json", type=Path, help="record the parts in this file")
    parser.add_argument("--folder", type=Path, help="where up to 14 GB may lie for a while")
    arguments = parser.parse_args()
    tables: dict[str, Table] = {}
    if arguments.json and arguments.json.exists():
        tables = recorded(arguments.json)
    for name in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            tables[name] = PARTS[name](arguments.short, Path(folder))
        print(f"\n{name}\n{printed(tables[name])}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(record(tables), indent=2) + "\n")


if __name__ == "__main__":
    main()
