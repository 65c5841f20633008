"""What a command says: text for people, or with ``--json`` one object for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

from xconverge.report.tables import Table


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command has."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, not text")


def say(options: argparse.Namespace, data: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print the data, or the lines."""
    if options.json:
        print(json.dumps(data, indent=2, default=str))
    else:
        for line in lines:
            print(line)


def console() -> Any:
    """A plain console: what is printed is escaped, brackets and colons in a path are its own."""
    try:
        from rich.console import Console
    except ImportError as error:
        raise ImportError("tables in a terminal need pip install 'xconverge[cli]'") from error
    return Console(highlight=False, markup=False, emoji=False, color_system=None)


def show(where: Any, table: Table) -> None:
    """Print a table, and below it what it says; names of columns that have no room are numbered."""
    key = ""
    if _width(table) > where.width:
        first, *names = table.columns
        key = ", ".join(f"{i} {name}" for i, name in enumerate(names, 1))
        table = table._replace(columns=[first, *map(str, range(1, len(names) + 1))])
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Printed

    printed = Printed(
        title=table.title,
        box=SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for number, column in enumerate(table.columns):
        printed.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in table.rows:
        printed.add_row(*row)
    where.print(printed)
    if key:
        where.print(f"Columns: {key}.")
    if table.note:
        where.print(table.note + "\n")


def _width(table: Table) -> int:
    """Characters of a line."""
    columns = zip(table.columns, *table.rows, strict=True)
    return sum(max(map(len, column)) + 2 for column in columns)
