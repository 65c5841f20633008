"""What tests of extraction share: images and texts, and that nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# before any of these libraries is imported, in this process and those it starts
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from tests.extraction.stimuli import photos


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of many sizes and kinds, and something else."""
    pytest.importorskip("PIL")
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch as it runs everywhere."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
