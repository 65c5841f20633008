"""Outputs of three encoders."""

import pytest

from tests.helpers import make_reps


@pytest.fixture
def x():
    torch = pytest.importorskip("torch")
    return torch.tensor(make_reps(3, 12, 6).values)
