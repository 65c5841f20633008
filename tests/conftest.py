from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import no_compute

settings.register_profile(
    "here",
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("here")


@pytest.fixture
def raising_scheduler() -> Iterator[None]:
    """Computing anything in this test is an error."""
    with no_compute():
        yield
