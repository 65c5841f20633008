"""Mixed-model tests of many pairs of maps."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from tests.kernels.test_mixed_model import likeness, places
from xconverge.kernels.mixed_model import Likeness, fit, regress, whiten
from xconverge.kernels.related_maps import related, standard_ranks, tail_of

N = 40


def maps(count: int, seed: int) -> np.ndarray:
    return places(N, count, seed).T


def by_hand(x, y, covariates, field_x, field_y, like, where):
    """Both t of one pair: regressions with the covariances of the two fields."""
    design = np.column_stack([np.ones(len(where)), *(standard_ranks(c[where]) for c in covariates)])
    sides = standard_ranks(y[where])[:, None], standard_ranks(x[where])[:, None]
    found = []
    for field, (response, predictor) in ((field_y, sides), (field_x, sides[::-1])):
        factor = np.linalg.cholesky(like.covariance(field, where))
        (a, b), freedom = whiten(factor, design, response, predictor)
        found.append(regress(a, b, freedom)[0])
    return found, freedom


@pytest.mark.parametrize("n_covariates", [0, 1])
def test_each_pair_is_two_regressions_in_the_fields_of_the_means(n_covariates):
    like, every = likeness(N), np.arange(N)
    x, y = maps(2, 0), maps(6, 1)
    covariates = np.stack([maps(n_covariates, 5 + i) for i in range(2)]).reshape(2, -1, N)
    which = np.array([0, 0, 0, 1, 1, 1])
    y[4, :5] = np.nan
    x[0, 7] = np.nan
    each, _ = related(x, y, which, covariates, like, "two-sided", 0)
    design = np.column_stack([np.ones(N), *map(standard_ranks, covariates.mean(0))])
    field_y, field_x = (
        fit(standard_ranks(np.nanmean(side, 0)), design, like, every) for side in (y, x)
    )
    for row in range(6):
        seen = np.isfinite(y[row]) & np.isfinite(x[which[row]])
        (of_alignment, of_dispersion), freedom = by_hand(
            x[which[row]], y[row], covariates[which[row]], field_x, field_y, like,
            np.flatnonzero(seen),
        )  # fmt: skip
        assert each.t_alignment[row] == pytest.approx(of_alignment)
        assert each.t_dispersion[row] == pytest.approx(of_dispersion)
        t = min(abs(of_alignment), abs(of_dispersion))
        assert each.p_value[row] == pytest.approx(2 * scipy.stats.t.sf(t, freedom))
    assert (each.n_effective <= N).all()


def test_the_mean_of_one_pair_is_that_pair():
    each, mean = related(
        maps(1, 0), maps(1, 1), np.zeros(1, int), np.empty((1, 0, N)), likeness(N), "less", 0
    )
    for one, other in zip(each, mean, strict=True):
        np.testing.assert_allclose(one, other)


def test_tails():
    assert tail_of(np.array([2.0]), 10, "greater") == pytest.approx(scipy.stats.t.sf(2, 10))
    assert tail_of(np.array([2.0]), 10, "less") == pytest.approx(scipy.stats.t.cdf(2, 10))


@pytest.mark.parametrize("case", ["few", "constant", "nothing"])
def test_too_little_is_nan(case):
    x, y = maps(1, 0), maps(2, 1)
    if case == "few":
        y[:, 5:] = np.nan
    elif case == "constant":
        x[:] = 1.0
    else:
        y[:] = np.nan
    for found in related(x, y, np.zeros(2, int), np.empty((1, 0, N)), likeness(N), "less", 0):
        assert np.isnan(found.p_value).all()


def test_order_of_stimuli_changes_nothing():
    x, y, order = maps(1, 0), maps(2, 1), np.random.default_rng(0).permutation(N)
    like = likeness(N)
    turned = Likeness(
        [square[np.ix_(order, order)] for square in like.squares],
        [codes[order] for codes in like.categories],
    )
    which, none = np.zeros(2, int), np.empty((1, 0, N))
    one = related(x, y, which, none, like, "two-sided", 0)
    other = related(x[:, order], y[:, order], which, none, turned, "two-sided", 0)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.p_value, b.p_value, rtol=1e-6)
