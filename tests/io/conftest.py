from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.io.operations import models
from tests.io.sets import make
from xconverge.io.store import write_representations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.zarr"


@pytest.fixture
def filled(path: Path) -> Path:
    write_representations(path, make(), modality="vision")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Models a and b of ``operations.py``, which operations and readers meet at."""
    write_representations(tmp_path / "s.zarr", models("ab"))
    return tmp_path / "s.zarr"


@pytest.fixture
def no_warning_and_no_litter(tmp_path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
