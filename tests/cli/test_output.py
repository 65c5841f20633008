"""What is printed fits into the terminal, and is complete."""

import io

import pytest

from xconverge.cli.output import show
from xconverge.report.tables import Table

rich = pytest.importorskip("rich.console")


def printed(table, width=80):
    file = io.StringIO()
    show(rich.Console(file=file, width=width, markup=False, highlight=False), table)
    return file.getvalue()


def test_names_without_room_are_numbered():
    names = [f"a long name of a model {i}" for i in range(5)]
    text = printed(Table("A title", ["model", *names], [["x", *"12345"]], "A note."))
    assert "…" not in text
    for number, name in enumerate(names, 1):
        assert f"{number} {name}" in " ".join(text.split())
    assert "A note." in text


def test_names_with_room_stay():
    text = printed(Table("A title", ["model", "one", "[red]two"], [["x", "1", "2"]]))
    assert "[red]two" in text
    assert "Columns" not in text
