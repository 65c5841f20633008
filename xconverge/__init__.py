"""Dispersion, alignment and RSA of many models and brains, on labelled arrays."""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("xconverge")
except _PackageNotFoundError:
    # results and stores say which version made them, which a bare checkout does not know
    raise ImportError(
        "xconverge is not installed: run `python -m pip install -e .` in its checkout "
        "(the folder of pyproject.toml)"
    ) from None

import lazy_loader as _lazy_loader

from xconverge import accessor as _accessor  # noqa: F401  registers `.xc`

# the names are those of __init__.pyi, where type checkers and editors find them too
__getattr__, __dir__, _names = _lazy_loader.attach_stub(__name__, __file__)
# without submodules: not everybody has what plot, sklearn and torch need
_modules = ("io", "plot", "report", "sklearn", "testing", "torch")
__all__ = [name for name in _names if name not in _modules]
