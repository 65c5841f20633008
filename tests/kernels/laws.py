"""Laws that every measure of two models keeps, on arrays."""

import numpy as np

from xconverge.kernels.kernel import Kernel, modeled, score


def states_of(kernel, models, given=None):
    """States of models (n, F), all of their features real."""
    rank = np.arange(len(models[0]))
    return [kernel.prepare(rows, rows.shape[1], rank, given) for rows in models]


def scores_of(kernel, a, b):
    """Scores of states, every pair in its pool."""
    return score(kernel, *([modeled(kernel, state) for state in side] for side in (a, b)))


def some_models(n=14, widths=(5, 3, 6), seed=0, missing=0.0):
    """Models (n, F) with a common structure, rows of NaN where missing."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).standard_normal((n, max(widths)))
    models = []
    for width in widths:
        rows = common[:, :width] + 0.7 * rng.standard_normal((n, width))
        rows[rng.random(n) < missing] = np.nan
        models.append(rows)
    return models


def some_orders(n, count=6, seed=1):
    """The identity, and permutations."""
    rng = np.random.default_rng(seed)
    return np.stack([np.arange(n), *(rng.permutation(n) for _ in range(count - 1))])


def some_counts(n, count=6, seed=2):
    """How often stimuli are drawn: each once, then with replacement."""
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(count - 1))
    return np.stack([np.ones(n, int), *draws])


def check_take(kernel, models_a, models_b, where, rtol=1e-10):
    """``take(prepare(rows), where)`` scores as ``prepare(rows[where])``."""
    a, b = (states_of(kernel, side) for side in (models_a, models_b))
    taken = [[kernel.take(state, where) for state in side] for side in (a, b)]
    anew = [states_of(kernel, [rows[where] for rows in side]) for side in (models_a, models_b)]
    expected = scores_of(kernel, *anew)
    np.testing.assert_allclose(scores_of(kernel, *taken), expected, rtol=rtol, atol=1e-12)


def check_orders(kernel, a, b, orders, given=None):
    """The fast null is the plain one."""
    found = kernel.scores_of_orders(a, b, orders, given)
    plain = Kernel.scores_of_orders(kernel, a, b, orders, given)
    np.testing.assert_allclose(found, plain, rtol=1e-10, atol=1e-12)
    assert found.shape == (len(orders), len(a), len(b))


def check_counts(kernel, a, b, counts):
    """The fast resampling is the plain one."""
    found = kernel.scores_of_counts(a, b, counts)
    plain = Kernel.scores_of_counts(kernel, a, b, counts)
    np.testing.assert_allclose(found, plain, rtol=1e-10, atol=1e-12)
    assert found.shape == (len(counts), len(a), len(b))
