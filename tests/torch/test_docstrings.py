import doctest
import importlib
import pkgutil

import pytest

torch = pytest.importorskip("torch")


def test_the_examples_of_docstrings_run():
    import xconverge.torch as package

    tried = 0
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        result = doctest.testmod(importlib.import_module(module.name))
        assert not result.failed, module.name
        tried += result.attempted
    assert tried > 8
