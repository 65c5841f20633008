"""Reliability of trials beside plain loops over splits, and beside the truth."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from xconverge.kernels import trial_reliability as kernels
from xconverge.kernels.crossnobis import UnitRdms, distances, trials
from xconverge.kernels.split_half import spearman_brown

OPTIONS = {"bins": None, "n_bins": 0, "seed": 0, "n_splits": 50, "level": 0.9}


def study(rng, repetitions=4, n=9, p=7, noise=1.0, missing=0):
    """Patterns without noise, and trials (R, n, p) of them, some of which are missing."""
    truth = rng.standard_normal((n, 3)) @ rng.standard_normal((3, p)) + 2 * rng.standard_normal(p)
    x = truth + noise * rng.standard_normal((repetitions, n, p))
    for _ in range(missing):
        x[rng.integers(repetitions), rng.integers(n)] = np.nan
    return truth, x


def given(x, units=None):
    repetitions, n, p = x.shape
    numbers = np.arange(repetitions) if units is None else np.asarray(units)
    return trials(x, p), np.broadcast_to(numbers, (n, repetitions))


def splits_of(count):
    """Every split of these units once."""
    for first in combinations(range(count), count // 2):
        if count % 2 or 0 in first:
            yield list(first), [u for u in range(count) if u not in first]


def unbiased(x):
    """Crossnobis (n, n) of trials without gaps, from its formula."""
    repetitions, n, p = x.shape
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            d = x[:, i] - x[:, j]
            products = d @ d.T
            result[i, j] = products[~np.eye(repetitions, dtype=bool)].mean() / p
    return result


def mean_r(x, kind, units):
    """Mean correlation over splits of what each stimulus or feature has."""
    each = []
    for halves in splits_of(max(units) + 1):
        sides = [np.nanmean(x[np.isin(units, half)], 0) for half in halves]
        both = ~np.isnan(sides).any((0, 2))
        one, other = (np.where(both[:, None], side, np.nan) for side in sides)
        one, other = (side - np.nanmean(side, 0) for side in (one, other))
        if kind == "feature":
            one, other = one[both].T, other[both].T
        row = [
            np.nan if np.isnan(u).any() else np.corrcoef(u, v)[0, 1]
            for u, v in zip(one, other, strict=True)
        ]
        each.append(row)
    return np.nanmean(each, 0)


def share_of(count):
    return (count // 2) / count


def horst(r, share):
    """What the whole has, from the signal over noise that one unit must have."""
    a, b = share, 1 - share
    # r² = a s / (1 + a s) · b s / (1 + b s), with s that of the whole
    roots = np.roots([a * b * (1 - r**2), -(r**2) * (a + b), -(r**2)])
    s = max(roots.real)
    return s / (1 + s)


def ends_by_loops(value, left, level, share):
    """Of one mean correlation, and those without each."""
    m = len(left)
    z, others = np.arctanh(value), np.arctanh(left)
    error = np.sqrt((m - 1) / m * ((others - others.mean()) ** 2).sum())
    t = scipy.stats.t.ppf((1 + level) / 2, m - 1)
    return spearman_brown(np.tanh(np.array([z - t * error, z + t * error])), share)


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("units", [[0, 1], [0, 1, 2], [0, 1, 2, 3, 4], [0, 0, 1, 1, 2, 2]])
@pytest.mark.parametrize("kind", ["stimulus", "feature"])
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_patterns_and_responses_by_plain_loops(kind, units):
    _, x = study(np.random.default_rng(1), len(units), missing=1 if len(units) > 4 else 0)
    found = kernels.patterns(*given(x, units), kind, **OPTIONS)
    value = mean_r(x, kind, units)
    share = share_of(max(units) + 1)
    np.testing.assert_allclose(found.half_correlation, value, atol=1e-12)
    np.testing.assert_allclose(found.reliability, spearman_brown(value, share), atol=1e-12)
    axis = 2 if kind == "stimulus" else 1
    left = [mean_r(np.delete(x, k, axis), kind, units) for k in range(x.shape[axis])]
    for k in range(len(value)):
        ends = ends_by_loops(value[k], np.array([one[k] for one in left]), 0.9, share)
        np.testing.assert_allclose([found.lower[k], found.upper[k]], ends, atol=1e-9)


def test_what_the_whole_has_where_parts_differ():
    for share in (0.5, 1 / 3, 0.4):
        for r in (0.05, 0.4, 0.9):
            assert spearman_brown(np.array([r]), share)[0] == pytest.approx(horst(r, share))
    assert spearman_brown(np.array([0.0, 1.0]), 0.4).tolist() == [0, 1]
    assert spearman_brown(np.array([-0.5]))[0] == -2


def over_pairs(rdm):
    return rdm[np.triu_indices(len(rdm), 1)]


def signal_by_loops(x):
    """Share of the variance of the RDM that is no noise, and r."""
    count = len(x)
    whole = over_pairs(unbiased(x)).var()
    shared, r = [], []
    if count > 3:
        for halves in splits_of(count):
            one, other = (over_pairs(unbiased(x[half])) for half in halves)
            shared.append(np.cov(one, other, bias=True)[0, 1])
            r.append(np.corrcoef(one, other)[0, 1])
    for u, v in combinations(range(count), 2) if count < 4 else ():
        plain = [((x[k][:, None] - x[k]) ** 2).mean(2) for k in (u, v)]
        noise = over_pairs(plain[0] - plain[1]) / 2
        shared.append(over_pairs(unbiased(x[[u, v]])).var() - noise.var())
    return np.mean(shared) / whole, np.mean(r) if r else np.nan


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("repetitions", [2, 3, 4, 5])
def test_rdms_by_plain_loops(repetitions):
    _, x = study(np.random.default_rng(2), repetitions)
    n = x.shape[1]
    found = kernels.rdms(*given(x), None, None, **OPTIONS)
    value, r = signal_by_loops(x)
    assert float(found.reliability) == pytest.approx(min(value, 1), abs=1e-12)
    assert float(found.half_correlation) == pytest.approx(r, abs=1e-12, nan_ok=True)
    left = np.array([signal_by_loops(np.delete(x, i, 1))[0] for i in range(n)])
    t = scipy.stats.t.ppf(0.95, n - 1)

    def error(values):
        return np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())

    lower = value - t * error(left)
    if value < 1 and (left < 1).all():
        lower = min(lower, 1 - (1 - value) * np.exp(t * error(np.log(1 - left))))
    assert float(found.lower) == pytest.approx(max(lower, -1), abs=1e-9)
    assert float(found.upper) == pytest.approx(min(value + t * error(left), 1), abs=1e-9)


@pytest.mark.parametrize("noise", [None, "given", "shrinkage", "diagonal"])
def test_what_units_differ_by_is_of_the_metric_of_the_noise(noise):
    rng = np.random.default_rng(3)
    _, x = study(rng, 3, n=12, p=5, missing=0)
    x[2, 4] = np.nan
    found, units = given(x)
    half = rng.standard_normal((5, 9))
    sigma = half @ half.T / 9
    folds = np.arange(12) % 4
    how = sigma if noise == "given" else noise
    made = UnitRdms(found, units, how, folds)
    whole = made.rdm(np.ones(3, bool))
    right = distances(found, units, "crossnobis", how, folds).rdm
    np.testing.assert_allclose(whole, right, atol=1e-12)
    pairs = list(made.differences())
    assert len(pairs) == 3
    for (distance, difference), (u, v) in zip(pairs, combinations(range(3), 2), strict=True):
        gone = [4] if 2 in (u, v) else []
        for rdm in (distance, difference):
            assert np.flatnonzero(np.isnan(rdm).all(1)).tolist() == gone
        if noise in (None, "given"):
            right = distances(*given(x[[u, v]]), "crossnobis", how).rdm
            np.testing.assert_allclose(distance, right, atol=1e-12)
            white = np.linalg.inv(sigma) if noise else np.eye(5)
            d = x[:, :, None] - x[:, None]
            plain = np.einsum("rijp,pq,rijq->rij", d, white, d) / 5
            np.testing.assert_allclose(difference, (plain[u] - plain[v]) / 2, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [None, "shrinkage"])
def test_differences_of_units_vary_as_the_noise_of_distances(noise):
    """Over many draws, with signal and noise that is correlated over features."""
    rng = np.random.default_rng(4)
    n, p = 10, 12
    truth, _ = study(rng, 2, n, p)
    mix = rng.standard_normal((p, p)) / 3
    sizes = np.linspace(0.3, 1.5, n)[:, None]
    drawn = []
    draws = 300 if noise is None else 30
    for _ in range(draws):
        x = truth + sizes * (rng.standard_normal((2, n, p)) @ mix)
        ((distance, difference),) = UnitRdms(*given(x), noise, np.arange(n) % 5).differences()
        drawn.append([over_pairs(distance), over_pairs(difference)])
    distance, difference = np.moveaxis(drawn, 1, 0)
    if noise is None:
        assert distance.var(0).mean() == pytest.approx(difference.var(0).mean(), rel=0.1)
    assert abs(difference.mean(0)).max() < 5 * difference.std(0).max() / np.sqrt(draws)


@pytest.mark.parametrize("repetitions", [2, 4])
def test_bins_are_as_their_stimuli_alone(repetitions):
    _, x = study(np.random.default_rng(5), repetitions, n=15)
    bins = np.r_[np.arange(14) % 2, -1]
    options = OPTIONS | {"bins": bins, "n_bins": 3}
    rdms = kernels.rdms(*given(x), None, None, **options)
    features = kernels.patterns(*given(x), "feature", **options)
    for number in range(2):
        some = x[:, bins == number]
        alone = kernels.rdms(*given(some), None, None, **OPTIONS)
        np.testing.assert_allclose([part[number] for part in rdms], alone, atol=1e-12)
        alone = kernels.patterns(*given(some), "feature", **OPTIONS)
        for part, right in zip(features, alone, strict=True):
            np.testing.assert_allclose(part[number], right, atol=1e-12)
    assert np.isnan(rdms.reliability[2])
    assert np.isnan(features.reliability[2]).all()
    each = kernels.patterns(*given(x), "stimulus", **OPTIONS).half_correlation
    binned = kernels.patterns(*given(x), "stimulus", **options)
    for number in range(2):
        assert binned.half_correlation[number] == pytest.approx(each[bins == number].mean())
    assert np.isnan(binned.reliability[2])
    assert (binned.lower[:2] < binned.reliability[:2]).all()


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_units_of_the_features_change_nothing(scale):
    _, x = study(np.random.default_rng(6))
    for kind in ("stimulus", "feature"):
        one, other = (kernels.patterns(*given(s * x), kind, **OPTIONS) for s in (1, scale))
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_single_precision_is_as_double():
    _, x = study(np.random.default_rng(7), 5, n=12)
    for kind in ("stimulus", "feature"):
        one, other = (
            kernels.patterns(*given(x.astype(d)), kind, **OPTIONS) for d in (np.float32, np.float64)
        )
        np.testing.assert_allclose(one, other, atol=1e-4)
    one, other = (
        kernels.rdms(*given(x.astype(d)), None, None, **OPTIONS) for d in (np.float32, np.float64)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_what_does_not_vary_has_no_reliability():
    _, x = study(np.random.default_rng(8))
    x[:, :, 2] = 0.1  # of no stimulus
    found = kernels.patterns(*given(x), "feature", **OPTIONS).reliability
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    x[1:, 4] = np.nan  # one repetition alone
    found = kernels.patterns(*given(x), "stimulus", **OPTIONS).reliability
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]
    same = np.broadcast_to(x[0, :1], x.shape) + np.zeros((4, 1, 1))
    assert np.isnan(kernels.rdms(*given(same), None, None, **OPTIONS)).all()


def test_reliability_is_what_it_is_called():
    """Of patterns: the mean squared correlation with the truth. Of RDMs: that of RSA."""
    rng = np.random.default_rng(9)
    found, right = [], []
    for _ in range(40):
        truth, x = study(rng, 3, n=30, p=40, noise=2.5)
        table = kernels.patterns(*given(x), "stimulus", **OPTIONS)
        found.append(table.reliability.mean())
        mean, own = x.mean(0) - x.mean((0, 1)), truth - truth.mean(0)
        r = [np.corrcoef(u, v)[0, 1] for u, v in zip(mean, own, strict=True)]
        right.append(np.mean(np.square(r)))
    assert np.mean(found) == pytest.approx(np.mean(right), abs=0.03)
