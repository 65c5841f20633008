"""Mixed-model tests of many pairs of maps."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
import scipy

from tests.kernels.test_mixed_model import likeness, places
from xconverge.kernels import mixed_model, related_maps
from xconverge.kernels.mixed_model import Likeness, fit, lower_factor, regress, whiten
from xconverge.kernels.related_maps import (
    Fields,
    field_factor,
    morans,
    related,
    standard_ranks,
    tail_of,
)

N = 40


def maps(count: int, seed: int) -> np.ndarray:
    return places(N, count, seed).T


def fields(x, y, covariates, like, seed=0) -> Fields:
    """Of the mean of the rows of y that have a value."""
    there = np.isfinite(y)
    count = there.sum(0)
    mean = np.divide(np.where(there, y, 0).sum(0), count, out=np.full(N, np.nan), where=count > 0)
    return Fields(x, mean, covariates, like, seed)


def none(count: int = 1) -> np.ndarray:
    """No covariates."""
    return np.empty((count, 0, N))


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
    each, _ = related(fields(x, y, covariates, like), x, y, which, covariates, "two-sided")
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
    x, y, which = maps(1, 0), maps(1, 1), np.zeros(1, int)
    both = fields(x, y, none(), likeness(N))
    each, mean = related(both, x, y, which, none(), "less", 300, 4)
    for one, other in zip(each, mean, strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("family", [None, np.array([0, 0, 1])])
def test_the_mean_of_pairs_with_one_dispersion_is_the_pair_of_their_mean(family):
    x, which, like = maps(1, 0), np.zeros(3, int), likeness(N)
    y = np.stack([standard_ranks(row) for row in maps(3, 1)])
    both = fields(x, y, none(), like)
    weights = np.ones(3) if family is None else np.array([0.5, 0.5, 1.0])
    _, mean = related(both, x, y, which, none(), "two-sided", family=family)
    factor_y, factor_x = both.factors(np.arange(N)).lower
    design = np.ones((N, 1))
    target, score = standard_ranks(x[0])[:, None], (weights @ y)[:, None]
    (a, b), freedom = whiten(factor_y, design, score, target)
    assert mean.t_alignment == pytest.approx(regress(a, b, freedom))
    # of one dispersion the variance of a sum of regressions is that of the pairs' cross products
    sides = [
        whiten(factor_x, design, target, w * row[:, None])[0]
        for w, row in zip(weights, y, strict=True)
    ]
    cross = [float((u * v).sum()) for u, v in sides]
    rest = [u - v * c / (v * v).sum() for (u, v), c in zip(sides, cross, strict=True)]
    variance = sum(
        float((sides[k][1] * sides[j][1]).sum() * (rest[k] * rest[j]).sum())
        for k in range(3)
        for j in range(3)
    )
    assert mean.t_dispersion == pytest.approx(sum(cross) / np.sqrt(variance / freedom))


def test_draws_under_the_null_are_normal_and_alike_as_the_pairs_are():
    x, which = maps(1, 0), np.zeros(3, int)
    y = maps(3, 1)
    y[1] = y[0]
    y[2] = -y[0]
    found, _ = related(
        fields(x, y[:1], none(), likeness(N)), x, y, which, none(), "two-sided", 4000
    )
    for draws, p in (
        (found.draws_alignment, found.p_alignment),
        (found.draws_dispersion, found.p_dispersion),
    ):
        assert draws.shape == (4001, 3)
        np.testing.assert_allclose(2 * scipy.stats.norm.sf(draws[0]), p)
        np.testing.assert_allclose(draws[1:, 1], draws[1:, 0])
        np.testing.assert_allclose(draws[1:, 2], -draws[1:, 0], atol=1e-9)
        assert scipy.stats.kstest(draws[1:, 0], "norm").pvalue > 0.001


def test_a_field_has_a_factor_and_an_effective_number():
    like, y = likeness(N), maps(2, 3)
    factor = field_factor(y, none(), like, 0)
    variances = fit(standard_ranks(y.mean(0)), np.ones((N, 1)), like, np.arange(N))
    np.testing.assert_allclose(factor @ factor.T, like.covariance(variances, np.arange(N)))
    with pytest.warns(RuntimeWarning, match="at least 6 stimuli"):
        assert field_factor(np.full((1, N), np.nan), none(), like, 0) is None
    both = fields(y[:1], y[1:], none(), like)
    assert 1 < both.n_effective(np.arange(20)) <= 20
    assert np.isnan(both.n_effective(np.arange(4)))


def test_an_effective_number_needs_no_factors_and_is_found_once(monkeypatch):
    """Factors of the covariances would take longer than all the rest."""
    like, where = likeness(N), np.arange(20)
    both = fields(maps(1, 0), maps(2, 1), none(), like)
    monkeypatch.setattr("xconverge.kernels.related_maps.lower_factor", None)
    found = both.n_effective(where)
    monkeypatch.setattr("xconverge.kernels.related_maps.effective_size", None)
    assert found == both.n_effective(where)


@pytest.mark.parametrize("missing", [1, 4, 5])
def test_rows_that_miss_little_share_one_factor(missing, monkeypatch):
    """And say what they say by factors of their own."""
    like, x, y = likeness(N), maps(2, 0), maps(6, 1)
    covariates = maps(2, 2)[:, None]
    which = np.array([0, 0, 0, 1, 1, 1])
    rng = np.random.default_rng(3)
    for row in range(1, 6):
        y[row, rng.permutation(N)[:missing]] = np.nan
    both = fields(x, y, covariates, like)
    made = []

    def factor(covariance):
        made.append(len(covariance))
        return lower_factor(covariance)

    monkeypatch.setattr(related_maps, "lower_factor", factor)
    each, mean = related(both, x, y, which, covariates, "two-sided")
    if missing <= N * related_maps.FEW_MISSING:
        # what all rows have is less than that
        common = int(np.isfinite(y).all(0).sum())
        assert made.count(N) == 2
        assert set(made) <= {N, common}
    else:
        assert {N - missing, N} <= set(made)
    monkeypatch.setattr(related_maps, "FEW_MISSING", -1)
    own, mean_own = related(both, x, y, which, covariates, "two-sided")
    for one, other in zip((*each[:5], *mean[:5]), (*own[:5], *mean_own[:5]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_mean_where_a_row_misses_little_is_that_of_the_others():
    """Two rows alike, of which one misses stimuli: the mean is that one, and so are its draws."""
    x, which = maps(1, 0), np.zeros(2, int)
    y = np.repeat(maps(1, 1), 2, 0)
    y[1, [3, 30]] = np.nan
    each, mean = related(fields(x, y, none(), likeness(N)), x, y, which, none(), "less", 300, 4)
    for one, other in zip(each[:5], mean[:5], strict=True):
        np.testing.assert_allclose(one[1], other[0])
    for one, other in zip(each[5:], mean[5:], strict=True):
        np.testing.assert_allclose(one[:, 1], other[:, 0])


def test_a_larger_nugget_is_for_the_stimuli_of_a_row_alone():
    """What a row says does not hang on which others there are, whatever space the distances are of.

    A stimulus without a covariate is not among those that the field is fitted to.
    """
    for seed in (5, 17):
        rng = np.random.default_rng(seed)
        n = 20
        distances = rng.random((n, n))
        distances = (distances + distances.T) ** 2
        np.fill_diagonal(distances, 0)
        x, y, covariates = (rng.standard_normal(shape) for shape in ((2, n), (2, n), (2, 1, n)))
        covariates[0, 0, 2] = np.nan

        def found(rows, x=x, y=y, covariates=covariates, distances=distances):
            both = Fields(x, y.mean(0), covariates, Likeness([distances], []), 0)
            return related(both, x, y[rows], np.array(rows), covariates, "two-sided")[0]

        beside, alone = found([0, 1]), found([0])
        assert beside.t_dispersion[0] == pytest.approx(alone.t_dispersion[0])
        assert beside.t_alignment[0] == pytest.approx(alone.t_alignment[0])


@pytest.mark.parametrize("missing", [0, 10])
def test_many_stimuli_take_no_more_than_three_of_their_squares(missing, monkeypatch):
    for module in (related_maps, mixed_model):
        monkeypatch.setattr(module, "KEPT_UP_TO", 100)
    n = 700
    like, which = likeness(n), np.zeros(3, int)
    x, y = places(n, 1, 0).T, places(n, 3, 1).T
    for row in range(1, 3):
        y[row, row : row + missing] = np.nan
    covariates = np.empty((1, 0, n))
    both = Fields(x, np.nanmean(y, 0), covariates, like, 0)
    tracemalloc.start()
    try:
        related(both, x, y, which, covariates, "two-sided")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3.6 * 8 * n * n


def test_draws_of_rows_that_miss_little_are_as_alike_as_the_rows():
    like, x, which = likeness(N), maps(1, 0), np.zeros(3, int)
    y = np.repeat(maps(1, 1), 3, 0)
    y[2] = maps(1, 7)[0]
    y[1, 5:7] = np.nan
    found, _ = related(fields(x, y, none(), like), x, y, which, none(), "two-sided", 4000)
    for draws in (found.draws_alignment[1:], found.draws_dispersion[1:]):
        np.testing.assert_allclose(draws.mean(0), 0, atol=0.08)
        np.testing.assert_allclose(draws.std(0), 1, atol=0.06)
        # a pair without two of its stimuli is nearly the same pair
        assert np.corrcoef(draws.T)[0, 1] > 0.8
        assert abs(np.corrcoef(draws.T)[0, 2]) < 0.8


def test_morans_over_the_nearest_of_all_geometries():
    like, y = likeness(N), maps(2, 3)
    y[1, :3] = np.nan
    found = morans(y, like, k=4)
    for row, value in zip(y, found, strict=True):
        where = np.flatnonzero(np.isfinite(row))
        ranked = scipy.stats.rankdata(row[where])
        gap = ranked - ranked.mean()
        total = 0.0
        for i, one in enumerate(where):
            apart = [like.squares[0][one, other] if other != one else np.inf for other in where]
            total += sum(gap[i] * gap[j] for j in np.argsort(apart)[:4])
        assert value == pytest.approx(len(where) / (4 * len(where)) * total / (gap @ gap))
    assert np.isnan(morans(y, Likeness([], [np.zeros(N)]))).all()
    assert np.isnan(morans(y[:, :4], Likeness([like.squares[0][:4, :4]], []), k=4)).all()


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
    which = np.zeros(2, int)
    with pytest.warns(RuntimeWarning, match="at least 6 stimuli") if case in (
        "few", "nothing"
    ) else contextlib.nullcontext():  # fmt: skip
        both = fields(x, y, none(), likeness(N))
    for found in related(both, x, y, which, none(), "less", 3):
        assert np.isnan(found.p_value).all()
        assert np.isnan(found.draws_alignment).all()


def test_order_of_stimuli_changes_nothing():
    x, y, order = maps(1, 0), maps(2, 1), np.random.default_rng(0).permutation(N)
    like = likeness(N)
    turned = Likeness(
        [square[np.ix_(order, order)] for square in like.squares],
        [codes[order] for codes in like.categories],
    )
    which = np.zeros(2, int)
    moved = x[:, order], y[:, order]
    found = related(fields(x, y, none(), like), x, y, which, none(), "two-sided")
    again = related(fields(*moved, none(), turned), *moved, which, none(), "two-sided")
    for here, there in zip(found, again, strict=True):
        np.testing.assert_allclose(here.p_value, there.p_value, rtol=1e-6)
