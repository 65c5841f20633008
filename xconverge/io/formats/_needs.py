"""Libraries that only some readers and writers need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

BRIDGES = "'xconverge[bridges]'"
"""What brings the libraries of objects that are handed over and taken back."""


def needs(name: str, what: str, install: str = "'xconverge[interop]'") -> Any:
    """Import an optional library for ``what``, or say what to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise
        raise ImportError(
            f"{what} needs {package}, which is not installed: pip install {install}"
        ) from error
