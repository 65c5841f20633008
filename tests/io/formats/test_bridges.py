"""The examples of bridges, where the other tool is installed."""

import doctest
import importlib

import pytest

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("anndata", "anndata"),
        ("himalaya", "himalaya"),
        ("mne", "mne"),
        ("nifti", "nibabel"),
        ("nwb", "pynwb"),
        ("pynapple", "pynapple"),
    ],
)
def test_the_examples_run(module, package):
    pytest.importorskip(package)
    found = importlib.import_module(f"xconverge.io.formats.{module}")
    result = doctest.testmod(found, optionflags=OPTIONS)
    assert result.attempted > 0
    assert result.failed == 0
