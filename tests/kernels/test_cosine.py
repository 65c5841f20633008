"""Cosine of the vectors of a stimulus in one shared space."""

import numpy as np
import pytest

from tests.kernels.laws import (
    check_counts,
    check_orders,
    check_take,
    scores_of,
    some_counts,
    some_models,
    some_orders,
    states_of,
)
from xconverge.kernels.cosine import SharedCosine

N = 14


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_every_stimulus_by_plain_loops(missing):
    sides = [some_models(N, (4, 4), seed, missing) for seed in (1, 2)]
    kernel = SharedCosine()
    found = scores_of(kernel, *(states_of(kernel, side) for side in sides))
    for i, j, s in np.ndindex(found.shape):
        x, y = sides[0][i][s], sides[1][j][s]
        expected = x @ y / np.sqrt((x @ x) * (y @ y))
        assert found[i, j, s] == pytest.approx(expected, abs=1e-14, nan_ok=True)


def test_take_orders_and_counts():
    sides = [some_models(N, (4, 4), seed) for seed in (1, 2)]
    kernel = SharedCosine()
    check_take(kernel, *sides, np.array([3, 0, 7, 12]))
    a, b = (states_of(kernel, side) for side in sides)
    check_orders(kernel, a, b, some_orders(N))
    check_counts(kernel, a, b, some_counts(N))


def test_blocks_stand_one_after_the_other():
    x, y = some_models(N, (4, 4))
    kernel = SharedCosine()
    parts = [
        kernel.cross(*(kernel.place(rows[part], 4, None) for rows in (x, y)), None)
        for part in (slice(0, 5), slice(5, 6), slice(6, N))
    ]
    found = kernel.finish(kernel.reduced(kernel.combine(parts)), [None], [None])
    a, b = ([state] for state in states_of(kernel, [x, y]))
    np.testing.assert_array_equal(found, scores_of(kernel, a, b))
