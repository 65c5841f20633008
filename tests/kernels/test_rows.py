"""Centred rows of unit scale, on arrays."""

import numpy as np

from tests.kernels.laws import some_models
from xconverge.kernels.rows import standard, standard_rows


def test_wide_rows_are_rotated_into_as_many_as_there_are_stimuli():
    (x,) = some_models(6, (40,))
    rows = standard_rows(x)
    assert rows.shape == (6, 6)
    centred = x - x.mean(0)
    gram = centred @ centred.T
    np.testing.assert_allclose(rows @ rows.T, gram * 6 / np.trace(gram), atol=1e-12)
    assert not standard_rows(np.full((5, 3), 7.0)).any()


def test_missing_rows_are_zero_and_move_no_centre():
    (x,) = some_models(8, (3,))
    x[2] = np.nan
    found = standard(x)
    there = np.arange(8) != 2
    np.testing.assert_array_equal(found.seen, there)
    np.testing.assert_array_equal(found.rows[there], standard_rows(x[there]))
    assert not found.rows[2].any()
