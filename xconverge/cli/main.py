"""The command line: ``xconverge demo``, ``info``, ``validate`` and ``import``."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from xconverge import __version__
from xconverge.cli.import_ import add_import
from xconverge.cli.terminal import escaping
from xconverge.io.paths import local_path
from xconverge.io.store import modalities, open_representations, open_store
from xconverge.io.validate import examine
from xconverge.io.zarr.places import place_of
from xconverge.io.zarr.root import open_array
from xconverge.labels.messages import SchemaError, escaped, listing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 where something is wrong with the data."""
    with escaping():
        options = _parser().parse_args(arguments)
        try:
            return int(options.run(options))
        except (SchemaError, OSError, ImportError) as error:
            print(f"xconverge {options.command}: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"xconverge {options.command}: interrupted", file=sys.stderr)
            return 130
        except Exception:
            # here, where it is escaped: Python itself would print it as it is
            traceback.print_exc()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xconverge",
        description="Dispersion, alignment and RSA of many models and brains, on labelled arrays.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run a whole study on real data that is shipped")
    demo.add_argument(
        "--out",
        type=local_path,
        default=Path("xconverge-demo"),
        help="folder for the store, the results and the figures (default: %(default)s); "
        "a demo that lies there is replaced",
    )
    demo.add_argument(
        "--permutations",
        type=int,
        default=10_000,
        help="permutations behind each p-value (default: %(default)s); of equal noise at most 199",
    )
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="say what a store holds")
    info.add_argument("store")
    info.set_defaults(run=_info)
    check = commands.add_parser("validate", help="check every value and label of a store")
    check.add_argument("store")
    check.add_argument(
        "--deep", action="store_true", help="read every chunk, and list all that are damaged"
    )
    check.set_defaults(run=_validate)
    add_import(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from xconverge.cli.demo import run

    run(options.out, options.permutations)
    return 0


def _info(options: argparse.Namespace) -> int:
    names = modalities(options.store)
    print(f"{escaped(options.store)}: {len(names)} modalities")
    for name in names:
        print()
        print(_summary(name, open_representations(options.store, name)))
    tree = open_store(options.store)
    others = [node.path for node in tree.subtree if node.data_vars and node.name not in names]
    if others:
        print(f"\nOther groups: {', '.join(map(escaped, others))}")
    return 0


def _summary(name: str, reps: xr.DataArray) -> str:
    sizes = ", ".join(f"{size} {escaped(dim)}" for dim, size in reps.sizes.items())
    lines = [f"{escaped(name)}: {sizes}; {reps.dtype}, {reps.nbytes / 2**20:.1f} MiB unpacked"]
    for dim in ("model", "stimulus"):
        extra = [escaped(key) for key, coord in reps.coords.items() if coord.dims == (dim,)]
        extra.remove(dim)
        lines.append(f"  {dim}: {listing(reps.indexes[dim])}")
        if extra:
            lines.append(f"    with {', '.join(extra)}")
    if "n_features" in reps.coords:
        lines.append(f"  features of each model: {listing(reps['n_features'].values)}")
    return "\n".join(lines)


def _validate(options: argparse.Namespace) -> int:
    damaged, by_modality = examine(options.store, options.deep)
    if not by_modality and not options.deep:
        raise SchemaError(
            f"{options.store} holds no representations; --deep checks every file of it"
        )
    for fault in damaged:
        print(f"DAMAGED: {escaped(fault)}")
    if options.deep and not damaged:
        print("no file is damaged")
    for name, faults in by_modality.items():
        if faults:
            print(f"{escaped(name)}: FAULTY")
            print("\n".join(f"  {escaped(fault)}" for fault in faults))
        else:
            sizes = open_array(place_of(options.store), name).sizes
            print(f"{escaped(name)}: good, {sizes['model']} models, {sizes['stimulus']} stimuli")
    return int(bool(damaged) or any(by_modality.values()))


if __name__ == "__main__":
    sys.exit(main())
