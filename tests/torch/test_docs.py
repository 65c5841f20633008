"""What docstrings and the page on training show runs."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


def test_the_examples_of_docstrings_run():
    import xconverge.torch as package

    tried = 0
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        result = doctest.testmod(importlib.import_module(module.name))
        assert not result.failed, module.name
        tried += result.attempted
    assert tried > 8


def test_the_snippets_of_the_page_run():
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    snippets = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(snippets) == 4
    exec(compile("\n".join(snippets), "training.md", "exec"), {})
