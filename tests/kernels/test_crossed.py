"""Intervals crossed over stimuli and models, against plain loops and against truth."""

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from xconverge.kernels import bin_contrast
from xconverge.kernels import crossed as kernels
from xconverge.kernels.bin_contrast import contrast_test
from xconverge.kernels.correlation import METHODS
from xconverge.kernels.groups import table_mean
from xconverge.kernels.nulls import Permuted
from xconverge.kernels.ranks import rank_correlations


def no_covariates(count, n):
    return np.empty((count, 0, n))


def jackknife_variance(without):
    m = len(without)
    return (m - 1) / m * ((without - without.mean()) ** 2).sum()


def one_pair(influence, n_effective=None):
    """The variance over stimuli alone that ``crossed`` makes of the influence on one value."""
    n = np.isfinite(influence).sum()
    one = np.zeros(1, int)
    found = kernels.crossed(
        np.zeros((1, 1)), influence[None, None], n_effective or float(n), one, one
    )
    return found.variance_stimulus


def plain_without(x, y):
    """Spearman's r without each stimulus: of ranks that stay, and its slope by those that fall."""
    u, v = (scipy.stats.rankdata(side) for side in (x, y))
    zu, zv = (side - side.mean() for side in (u, v))
    nu, nv = np.linalg.norm(zu), np.linalg.norm(zv)
    r = zu @ zv / nu / nv
    result = []
    for i in range(len(x)):
        value = np.corrcoef(np.delete(u, i), np.delete(v, i))[0, 1]
        for j in range(len(x)):
            if j != i:
                fall_u, fall_v = ((np.sign(side[j] - side[i]) + 1) / 2 for side in (x, y))
                value -= fall_u * (zv[j] / nv - r * zu[j] / nu) / nu
                value -= fall_v * (zu[j] / nu - r * zv[j] / nv) / nv
        result.append(value)
    return np.array(result)


def test_influence_is_the_jackknife_of_plain_loops():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (2, 20)).astype(float)
    y = np.round(x[[0, 0, 1]] + 4 * rng.standard_normal((3, 20)))
    y[1, :4] = np.nan
    x[1, 7] = np.nan
    which = np.array([0, 0, 1])
    found = kernels.influence(x, y, which, no_covariates(2, 20))
    for row in range(3):
        there = np.isfinite(y[row]) & np.isfinite(x[which[row]])
        without = plain_without(x[which[row], there], y[row, there])
        assert np.array_equal(np.isfinite(found[row]), there)
        # all 20 stimuli are in some row: Σ / (n (n - 1)) is the variance
        m = there.sum()
        expected = np.sqrt((m - 1) / m * 20 * 19) * (without.mean() - without)
        np.testing.assert_allclose(found[row, there], expected, atol=1e-10)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("slope", [0.0, 0.75, 2.0])
@pytest.mark.parametrize("steps", [0, 2])
def test_influence_is_about_the_jackknife_of_ranks_made_again(slope, steps):
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(4):
        x = rng.standard_normal(60)
        y = slope * x + rng.standard_normal(60)
        if steps:
            x, y = (np.round(steps * side) for side in (x, y))
        found = kernels.influence(x[None], y[None], np.zeros(1, int), no_covariates(1, 60))[0]
        again = np.array(
            [scipy.stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(60)]
        )
        assert np.corrcoef(found, -again)[0, 1] > 0.997
        ratios.append(one_pair(found) / jackknife_variance(again))
    assert 0.99 < np.sqrt(np.mean(ratios)) < 1.03


def test_influence_at_chance_is_that_of_a_mean_of_products():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 1, 2000))
    found = kernels.influence(x, y, np.zeros(1, int), no_covariates(1, 2000))[0]
    u, v = (scipy.stats.zscore(scipy.stats.rankdata(side[0])) for side in (x, y))
    np.testing.assert_allclose(found, u * v, atol=0.25)
    assert np.corrcoef(found, u * v)[0, 1] > 0.995


@pytest.mark.slow
def test_covariates_take_degrees_of_freedom():
    rng = np.random.default_rng(3)
    errors, values = [], []
    for _ in range(150):
        x, y = rng.standard_normal((2, 1, 40))
        covariates = rng.standard_normal((1, 20, 40))
        zero = np.zeros(1, int)
        errors.append(one_pair(kernels.influence(x, y, zero, covariates)[0]))
        orders = Permuted(np.arange(40), 0)
        r, *_ = rank_correlations(x, y, zero, covariates, orders, np.zeros(40, int), 0, "two-sided")
        values.append(r[0])
    # without them the ratio would be √(19 / 39) = .70
    assert np.sqrt(np.mean(errors)) / np.std(values) == pytest.approx(1.0, abs=0.15)


def test_a_row_without_a_correlation_has_no_influence():
    x = np.stack([np.arange(8.0), np.zeros(8)])
    y = np.stack([np.arange(8.0)[::-1] ** 2 + [0, 9, 0, 9, 0, 0, 9, 9]] * 2)
    with pytest.warns(RuntimeWarning, match="equal values"):
        found = kernels.influence(x, y, np.arange(2), no_covariates(2, 8))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_one_stimulus_that_carries_it_all_has_no_jackknife():
    x = np.zeros((1, 9))
    x[0, 3] = 1
    y = np.arange(9.0)[None]
    found = kernels.influence(x, y, np.zeros(1, int), no_covariates(1, 9))
    assert np.isnan(found).all()
    one = np.zeros(1, int)
    assert np.isnan(kernels.crossed(np.ones((1, 1)), found[:, None], 9.0, one, one)).all()


def plain_parts(values, influence, n_effective, of_a, of_b):
    """The three variances in loops over families."""
    n = influence.shape[-1]

    def family(pick, g, h):
        cells = [
            pick(i, j)
            for i in np.flatnonzero(of_a == g)
            for j in np.flatnonzero(of_b == h)
            if not np.isnan(values[i, j])
        ]
        return np.mean(cells, axis=0) if cells else None

    def mean_of(pick, pairs):
        known = [v for v in (family(pick, g, h) for g, h in pairs) if v is not None]
        return None if not known else np.mean(known, axis=0)

    def value(i, j):
        return values[i, j]

    def added(i, j):
        return np.nan_to_num(influence[i, j])

    a, b = range(of_a.max() + 1), range(of_b.max() + 1)
    parts = [np.var(mean_of(added, [(g, h) for g in a for h in b]), ddof=1) / n_effective]
    for lines in ([[(g, h) for h in b] for g in a], [[(g, h) for g in a] for h in b]):
        means = [m for m in (mean_of(value, line) for line in lines) if m is not None]
        moved = np.array([m for m in (mean_of(added, line) for line in lines) if m is not None])
        if len(means) < 2:
            parts.append(0.0)
            continue
        stimuli = sum(
            ((moved[:, s] - moved[:, s].mean()) ** 2).sum() / (len(means) - 1) for s in range(n)
        )
        rest = np.var(means, ddof=1) - stimuli / (n * (n - 1))
        parts.append(max(rest, 0.0) / len(means))
    return parts


def a_table(shape, n=30, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    influence = rng.standard_normal((*shape, n))
    influence -= influence.mean(-1, keepdims=True)
    return spread * rng.standard_normal(shape), influence


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [([0, 1, 2, 3], [0, 1, 2]), ([1, 0, 0, 1], [2, 0, 1, 0, 2]), ([0, 0, 0], [0, 1, 1])],
)
@pytest.mark.parametrize("missing", [False, True])
def test_the_variances_are_those_of_plain_loops(of_a, of_b, missing):
    of_a, of_b = np.array(of_a), np.array(of_b)
    values, influence = a_table((len(of_a), len(of_b)))
    if missing:
        values[0, 1] = values[2, 0] = np.nan
        influence[0, 1] = influence[2, 0] = np.nan
        influence[1, 1, :5] = 0  # a pair that lacks stimuli, others have them
        influence[1, 1] -= influence[1, 1].sum() / 25 * (np.arange(30) >= 5)
        influence[1, 1, :5] = np.nan
    found = kernels.crossed(values, influence, 20.0, of_a, of_b)
    parts = plain_parts(values, influence, 20.0, of_a, of_b)
    np.testing.assert_allclose(found[4:], parts, rtol=1e-12)
    assert max(parts[1:]) > 0
    assert found.error == pytest.approx(np.sqrt(sum(parts)))
    mean = table_mean(values, of_a, of_b)
    assert (found.lower + found.upper) / 2 == pytest.approx(float(mean))


def test_a_family_of_many_layers_is_one():
    values, influence = a_table((3, 2))
    alone = kernels.crossed(values, influence, 30.0, np.arange(3), np.arange(2))
    often = np.array([0, 1, 2, 2, 2, 2])
    again = kernels.crossed(values[often], influence[often], 30.0, often, np.arange(2))
    np.testing.assert_allclose(again, alone)


def test_a_single_pair_has_a_t_interval_over_stimuli():
    values, influence = a_table((1, 1))
    one = np.zeros(1, int)
    found = kernels.crossed(values, influence, 30.0, one, one, 0.9)
    expected = scipy.stats.ttest_1samp(influence[0, 0] + values[0, 0], 0).confidence_interval(0.9)
    assert (found.lower, found.upper) == pytest.approx(tuple(expected))
    assert found.freedom == pytest.approx(29)
    assert (found.variance_a, found.variance_b) == (0, 0)
    # worth a quarter of the stimuli, the variance is fourfold
    fewer = kernels.crossed(values, influence, 7.5, one, one, 0.9)
    assert fewer.variance_stimulus == pytest.approx(4 * found.variance_stimulus)
    assert fewer.freedom == pytest.approx(6.5)
    assert kernels.crossed(values, influence, 99.0, one, one, 0.9) == found


def test_the_interval_is_the_estimate_less_and_plus_t_errors():
    values, influence = a_table((6, 2))
    found = kernels.crossed(values, influence, 30.0, np.arange(6), np.arange(2), 0.9)
    reach = scipy.stats.t.ppf(0.95, found.freedom) * found.error
    assert (found.upper - found.lower) / 2 == pytest.approx(reach)
    t = scipy.stats.t.ppf(0.95, [29, 5, 1])
    assert reach == pytest.approx(np.sqrt(t**2 @ found[4:]))
    assert 1 < found.freedom < 29


@pytest.mark.slow
def test_models_that_differ_for_the_stimuli_alone_add_nothing():
    rng = np.random.default_rng(4)
    plain, found = [], []
    for _ in range(200):
        noise = rng.standard_normal((5, 4, 40))
        values = noise.mean(-1)
        influence = noise - values[..., None]
        told = kernels.crossed(values, influence, 40.0, np.arange(5), np.arange(4))
        found.append(told.error**2)
        # an influence that all pairs share says nothing of how they differ
        shared = np.broadcast_to(influence.mean((0, 1)), influence.shape)
        told = kernels.crossed(values, shared, 40.0, np.arange(5), np.arange(4))
        plain.append(told.error**2)
    truth = 1 / (5 * 4 * 40)
    assert truth < np.mean(found) < 2 * truth
    assert np.mean(plain) > 2.5 * truth


@pytest.mark.parametrize(
    ("values", "n_effective"), [(np.full((2, 2), np.nan), 30.0), (np.ones((2, 2)), 4.9), (None, 30)]
)
def test_too_little_is_nan(values, n_effective):
    given, influence = a_table((2, 2))
    if values is None:
        values = given
        influence[1, 1] = np.nan
    found = kernels.crossed(values, influence, n_effective, np.arange(2), np.arange(2))
    assert np.isnan(found).all()


def test_an_unknown_number_of_effective_stimuli_is_nan():
    found = kernels.crossed(*a_table((2, 2)), np.nan, np.arange(2), np.arange(2))
    assert np.isnan(found).all()


def studies(rng, size, spread, n=60):
    """Correlations of pairs whose slopes differ by models of both sides, and their influence."""
    x = rng.standard_normal((1, n))
    slope = spread * (rng.standard_normal((size, 1, 1)) + rng.standard_normal((size, 1)))
    noise = [0.6 * rng.standard_normal(shape) for shape in ((n,), (size, 1, n), (size, n))]
    y = slope * x[0] + sum(noise) + 0.6 * rng.standard_normal((size, size, n))
    rows, which = y.reshape(-1, n), np.zeros(size * size, int)
    values = 1 - scipy.spatial.distance.cdist(
        *(scipy.stats.rankdata(side, axis=1) for side in (x, rows)), "correlation"
    )
    influence = kernels.influence(x, rows, which, no_covariates(1, n))
    return values.reshape(size, size), influence.reshape(size, size, n)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "spread"),
    [(3, 0.3), pytest.param(2, 0.1, marks=pytest.mark.slow),
     pytest.param(6, 0.0, marks=pytest.mark.slow)],
)  # fmt: skip
def test_intervals_hold_the_mean_over_all_models(size, spread):
    rng = np.random.default_rng(5)
    missed = alone = 0
    runs = 150
    for _ in range(runs):
        values, influence = studies(rng, size, spread)
        models, none = np.arange(size), np.zeros(size, int)
        found = kernels.crossed(values, influence, 60.0, models, models)
        missed += not found.lower < 0 < found.upper
        fixed = kernels.crossed(values, influence, 60.0, none, none)
        alone += not fixed.lower < 0 < fixed.upper
    # .05 and three binomial errors
    assert missed / runs < 0.104
    if spread == 0.3:
        assert alone / runs > 0.25


def test_contrast_influence_is_that_of_two_means():
    rng = np.random.default_rng(6)
    scores = rng.standard_normal((2, 3, 25))
    scores[1, 2, [0, 3]] = np.nan
    low, high = np.arange(25) < 8, np.arange(25) >= 18
    found = kernels.contrast_influence(scores, low, high)
    assert np.isnan(found[..., 8:18]).all()
    for pair in np.ndindex(2, 3):
        ends = [scores[pair][end] for end in (low, high)]
        ends = [end[~np.isnan(end)] for end in ends]
        variance = sum(end.var(ddof=1) / len(end) for end in ends)
        assert np.nansum(found[pair] ** 2) / (15 * 14) == pytest.approx(variance)
    assert one_pair(found[0, 0]) == pytest.approx(
        scores[0, 0, :8].var(ddof=1) / 8 + scores[0, 0, 18:].var(ddof=1) / 7
    )
    # what a low stimulus adds, a high one takes away
    np.testing.assert_allclose(
        found[0, 0, :8] * np.sqrt(8 * 7 / (15 * 14)), scores[0, 0, :8] - scores[0, 0, :8].mean()
    )
    assert found[0, 0, 18] * (scores[0, 0, 18] - scores[0, 0, 18:].mean()) < 0


def test_a_contrast_of_one_score_at_an_end_has_no_influence():
    scores = np.arange(8.0)
    scores[1:4] = np.nan
    found = kernels.contrast_influence(scores, np.arange(8) < 4, np.arange(8) >= 4)
    assert np.isnan(found).all()


def rdms(n=18, seed=7):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 3))
    return [
        np.round(
            scipy.spatial.distance.squareform(
                scipy.spatial.distance.pdist(common + 0.7 * rng.standard_normal((n, 3)))
            ),
            1,
        )
        for _ in range(2)
    ]


def plain_contrasts(a, b, bins, numbers, method, left_out=None):
    """Both contrasts in loops; ranks are those of all stimuli of a bin."""
    values = []
    for number in numbers:
        inside = np.flatnonzero(bins == number)
        pairs = [(i, j) for i in inside for j in inside if i < j]
        sides = [np.array([rdm[pair] for pair in pairs]) for rdm in (a, b)]
        if method == "spearman":
            sides = [scipy.stats.rankdata(side) for side in sides]
        kept = np.array([left_out not in pair for pair in pairs])
        u, v = (side[kept] for side in sides)
        if method == "cosine":
            values.append(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
        elif method == "kendall":
            signs = [np.sign(side[:, None] - side) for side in (u, v)]
            values.append((signs[0] * signs[1]).sum() / (len(u) * (len(u) - 1)))
        else:
            values.append(np.corrcoef(u, v)[0, 1])
    values = np.array(values)
    return np.polyfit(numbers, values, 1)[0], values[0] - values[-1]


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "kendall"])
def test_bin_influence_is_the_jackknife_of_plain_loops(method):
    a, b = rdms()
    bins = np.array([0, 1, 3, 0, 1, 3, 0, 1, 3, 0, 1, 3, 0, 1, 3, -1, 1, 0])
    a[4] = a[:, 4] = np.nan
    seen = np.where(np.arange(18) == 4, -1, bins)
    values, found = kernels.bin_influence(a, b, bins, METHODS[method])
    np.testing.assert_allclose(values, plain_contrasts(a, b, seen, [0, 1, 3], method))
    used = seen >= 0
    assert np.array_equal(np.isfinite(found), np.broadcast_to(used, (2, 18)))
    without = np.array(
        [
            plain_contrasts(a, b, seen, [0, 1, 3], method, i) if used[i] else (np.nan, np.nan)
            for i in range(18)
        ]
    ).T
    n = used.sum()
    for contrast in range(2):
        total = 0.0
        for number in (0, 1, 3):
            inside = seen == number
            part = without[contrast, inside]
            total += jackknife_variance(part)
            ratio = np.sqrt((inside.sum() - 1) / inside.sum() * n * (n - 1))
            np.testing.assert_allclose(
                found[contrast, inside], ratio * (part.mean() - part), atol=1e-9
            )
        assert one_pair(found[contrast]) == pytest.approx(total)


def test_bin_contrasts_are_those_that_are_tested():
    a, b = rdms()
    bins = np.arange(18) % 3
    rank, zero = np.arange(18), np.zeros(18, int)
    expected, *_, added = contrast_test(
        a, b, bins * 1.0, bins, rank, zero, rank, null="labels", method=METHODS["rho-a"],
        n_permutations=0, seed=0, tail="two-sided",
    )  # fmt: skip
    values, found = kernels.bin_influence(a, b, bins, METHODS["rho-a"])
    np.testing.assert_allclose(values, expected)
    np.testing.assert_array_equal(found, added)
    assert np.isfinite(found).all()


def test_where_bins_were_merged_the_null_is_of_the_same_trend():
    a, b = rdms()
    bins = np.array([0, 1, 3])[np.arange(18) % 3]
    rank, zero, method = np.arange(18), np.zeros(18, int), METHODS["pearson"]
    observed, _, draws, added = contrast_test(
        a, b, bins * 1.0, bins, rank, zero, rank, null="labels", method=method, n_permutations=5,
        seed=0, tail="two-sided",
    )  # fmt: skip
    error = [np.sqrt(one.var(ddof=1) / 18) for one in added]
    np.testing.assert_allclose(draws[0], observed / error)


@pytest.mark.parametrize("bins", [np.zeros(18, int), np.r_[np.zeros(15, int), 1, 1, 1]])
def test_bins_too_small_for_a_jackknife_have_none(bins):
    values, found = kernels.bin_influence(*rdms(), bins, METHODS["spearman"])
    assert np.isnan(values).all()
    assert np.isnan(found).all()


def test_a_bin_whose_jackknife_is_undefined_has_no_influence():
    a, b = rdms()
    bins = np.arange(18) % 2
    one = np.flatnonzero(bins == 1)
    a[np.ix_(one, one)] = 1.0
    # without the stimulus that differs from all others, all distances of the bin are equal
    a[one[0], one] = a[one, one[0]] = 2.0
    a[one[0], one[0]] = 0.0
    values, found = kernels.bin_influence(a, b, bins, METHODS["spearman"])
    assert np.isfinite(values).all()
    assert np.isnan(found).all()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("case", ["plain", "ties", "outlier", "merged", "missing", "some", "hole"])
def test_all_draws_at_a_time_are_those_of_each(case, monkeypatch):
    """Bins of different sizes; equal distances; stimuli without a bin; distances that lack."""
    a, b = rdms(22)
    bins = np.r_[np.zeros(8, int), np.ones(6, int), np.full(8, 2)]
    plain = case not in ("hole",)
    if case == "ties":
        b = np.round(b / 2) * 2
        b[~np.eye(22, dtype=bool)] += 1
    if case == "outlier":
        # drawn bins of the first have distances that are all equal but for one stimulus
        a[...] = 1.0
        a[0] = a[:, 0] = 2.0
        a[np.diag_indices(22)] = 0.0
    if case == "merged":
        bins[bins == 2] = 4
    if case == "missing":
        bins[[3, 9]] = -1
        a[[3, 9]] = a[:, [3, 9]] = np.nan
    if case == "some":
        bins[[1, 20]] = -1
    if case == "hole":
        a[2, 5] = a[5, 2] = np.nan
    used = np.flatnonzero(bins >= 0)
    orders = np.tile(np.arange(22), (12, 1))
    for seed in range(1, 12):
        orders[seed, used] = used[np.random.default_rng(seed).permutation(len(used))]
    drawn = bins[orders]
    method = METHODS["spearman"]
    assert bin_contrast._are_plain(a, b, bins, method) == plain
    assert not bin_contrast._are_plain(a, b, bins, METHODS["pearson"])
    if plain:
        expected = [bin_contrast._studentised(a, b, one, method) for one in drawn]
        for budget in (2**25, 0):
            monkeypatch.setattr("xconverge.kernels.budgets.BUDGETS.product_block", budget)
            found = bin_contrast._of_all(a, b, drawn)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        assert np.isfinite(found).any() == (case != "outlier")
