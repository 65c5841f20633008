"""The command line: ``xconverge demo``, ``extract``, ``import``, ``info``, ``run`` and others."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xconverge import __version__
from xconverge.cli.extract import add_extract
from xconverge.cli.import_ import add_import
from xconverge.cli.output import add_json
from xconverge.cli.store import add_store
from xconverge.cli.study import add_study
from xconverge.cli.terminal import escaping
from xconverge.io.paths import local_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 where something is wrong with the data."""
    with escaping():
        options = _parser().parse_args(arguments)
        try:
            return int(options.run(options))
        except (ValueError, OSError, ImportError) as error:
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
        epilog="'xconverge COMMAND --help' has an example of each. Exit codes: 0 all is well; 1 "
        "something is wrong with the data, or could not be done, and the message says what; 2 the "
        "command was not understood; 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    add_extract(commands)
    add_import(commands)
    add_store(commands)
    add_study(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="run a whole study on real data that is shipped",
        description="Run a whole study on real data that is shipped: 'xconverge run' and 'report' "
        "on 1,380 emoji, and RSA of 92 images against human IT.",
        epilog="example: xconverge demo --out emoji",
    )
    demo.add_argument(
        "--out",
        type=local_path,
        default=Path("xconverge-demo"),
        help="folder for the store, the results, the page and the figures (default: %(default)s); "
        "a demo that lies there is replaced",
    )
    demo.add_argument(
        "--permutations",
        type=int,
        # enough for every correction over the thirty tests of its RSA by bin; fewer would warn
        default=2500,
        help="permutations behind each p-value (default: %(default)s); of equal noise at most 99",
    )
    add_json(demo)
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from xconverge.cli.demo import run

    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
