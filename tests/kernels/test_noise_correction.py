"""RSA without measurement noise beside plain loops over splits, and beside the truth."""

from itertools import combinations

import numpy as np
import pytest

from xconverge.kernels import noise_correction as kernels
from xconverge.kernels.crossnobis import distances, trials
from xconverge.kernels.split_half import halves as split_halves


def crossnobis(x):
    """Unbiased RDM of trials (R, n, p)."""
    repetitions, n, p = x.shape
    units = np.broadcast_to(np.arange(repetitions), (n, repetitions))
    return distances(trials(x, p), units, "crossnobis").rdm


def study(rng, n=24, p=30, repetitions=4, noise=0.7, truth=1.0):
    """RDMs of a model and of the brain without noise, and its trials (R, n, p)."""
    brain, own = (
        rng.standard_normal((n, 5)) @ rng.standard_normal((5, p)) / np.sqrt(5) for _ in range(2)
    )
    model = truth * brain + np.sqrt(1 - truth**2) * own
    measured = brain + noise * rng.standard_normal((repetitions, n, p))
    # the same twice is an unbiased RDM without noise
    return (*(crossnobis(np.stack([x, x])) for x in (model, brain)), measured)


def halves_of(x):
    inside = split_halves(np.arange(len(x)), 0, 20)
    return np.array([[crossnobis(x[half]), crossnobis(x[~half])] for half in inside])


def by_loops(model, x, without=()):
    """Corrected RSA and r, from the formula; some stimuli left out."""
    some = [i for i in range(len(model)) if i not in without]
    pairs = list(combinations(some, 2))

    def over_pairs(rdm):
        return np.array([rdm[i, j] for i, j in pairs])

    agreements, scores, shared = [], [], []
    repetitions = range(len(x))
    for first in combinations(repetitions, len(x) // 2):
        if 0 in first:
            second = [r for r in repetitions if r not in first]
            one, other = (over_pairs(crossnobis(x[list(half)])) for half in (first, second))
            agreements.append(np.corrcoef(one, other)[0, 1])
            shared.append(np.cov(one, other, bias=True)[0, 1])
            scores += [np.corrcoef(over_pairs(model), half)[0, 1] for half in (one, other)]
    r = np.mean(agreements)
    ceiling = np.sqrt(np.mean(shared) / over_pairs(crossnobis(x)).var())
    return np.mean(scores) / np.sqrt(r), r, ceiling


@pytest.mark.parametrize("repetitions", [4, 6])
def test_plain_loops(repetitions):
    model, _, x = study(np.random.default_rng(0), n=10, repetitions=repetitions, truth=0.8)
    found = kernels.halves_of(halves_of(x), crossnobis(x))
    value, without = kernels.corrected(model, halves_of(x), found)
    expected, r, ceiling = by_loops(model, x)
    np.testing.assert_allclose(
        [value, found.correlation, found.ceiling], [expected, r, ceiling], rtol=1e-10
    )
    left = [by_loops(model, x, [i]) for i in range(10)]
    np.testing.assert_allclose(without, [one[0] for one in left], rtol=1e-10)
    np.testing.assert_allclose(found.without, [one[1] for one in left], rtol=1e-10)
    n = 10
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    assert kernels.error_of(without) == pytest.approx(error)


def test_contrasts_are_those_of_the_bins_and_their_jackknife():
    rng = np.random.default_rng(1)
    bins = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, -1])
    values = np.array([0.9, 0.5, np.nan, 0.4])
    without = np.full((4, len(bins)), np.nan)
    for number in (0, 1, 3):
        own = bins == number
        without[number, own] = values[number] + 0.1 * rng.standard_normal(own.sum())
    found, added = kernels.bin_contrasts(values, without, bins)
    steps = np.array([0, 1, 3]) - 4 / 3
    np.testing.assert_allclose(found, [steps @ [0.9, 0.5, 0.4] / (steps @ steps), 0.5])
    # bins hold other stimuli: their variances add up
    variances = np.array([kernels.error_of(without[number]) ** 2 for number in (0, 1, 3)])
    weights = np.array([steps / (steps @ steps), [1, 0, -1]])
    for contrast, row, weight in zip(found, added, weights, strict=True):
        error, low, high, p = kernels.contrast_ends(contrast, row, n_bins=3, level=0.95)
        assert error == pytest.approx(np.sqrt((weight**2 * variances).sum()))
        assert low < contrast < high
        assert (p <= 0.05) == (not low <= 0 <= high)


def test_what_cannot_be_told_is_nan():
    model, _, x = study(np.random.default_rng(2), noise=30.0)
    found = kernels.halves_of(halves_of(x), crossnobis(x))
    assert not found.enough
    assert np.isnan(kernels.corrected(model, halves_of(x), found)[0])
    three = np.arange(3)
    found = kernels.halves_of(halves_of(x[:, three]), crossnobis(x[:, three]))
    assert np.isnan(found.correlation)
    # a model whose distances are all equal
    model, _, x = study(np.random.default_rng(3))
    found = kernels.halves_of(halves_of(x), crossnobis(x))
    assert found.enough
    assert np.isnan(kernels.corrected(1.0 - np.eye(24), halves_of(x), found)[0])


def test_a_stimulus_that_a_half_or_the_model_lacks_drops_out():
    model, _, x = study(np.random.default_rng(4), n=12)
    halves, whole = halves_of(x), crossnobis(x)
    gone = halves.copy()
    gone[:, 0, 3], gone[:, 0, :, 3] = np.nan, np.nan
    found = kernels.halves_of(gone, whole)
    some = np.delete(np.arange(12), 3)
    kept = halves_of(x[:, some])
    expected = kernels.halves_of(kept, whole[np.ix_(some, some)])
    assert found.correlation == pytest.approx(expected.correlation)
    assert np.isnan(found.without[3])
    np.testing.assert_allclose(found.without[some], expected.without)
    value, without = kernels.corrected(model, gone, found)
    expected, left = kernels.corrected(model[np.ix_(some, some)], kept, expected)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(without[some], left)
    lacking = model.copy()
    lacking[5], lacking[:, 5] = np.nan, np.nan
    value, without = kernels.corrected(lacking, halves, kernels.halves_of(halves, whole))
    assert np.isfinite(value)
    assert np.flatnonzero(np.isnan(without)).tolist() == [5]


@pytest.mark.slow
@pytest.mark.parametrize("truth", [1.0, 0.8])
def test_noise_lowers_rsa_and_not_the_corrected_one(truth):
    plain, free, held = [], [], []
    for run in range(100):
        rng = np.random.default_rng([int(10 * truth), run])
        model, brain, x = study(rng, n=30, p=50, noise=1.5, truth=truth)
        halves, whole = halves_of(x), crossnobis(x)
        pairs = np.triu_indices(30, 1)
        true = np.corrcoef(model[pairs], brain[pairs])[0, 1]
        found = kernels.halves_of(halves, whole)
        value, without = kernels.corrected(model, halves, found)
        plain.append(np.corrcoef(model[pairs], whole[pairs])[0, 1] - true)
        free.append(value - true)
        held.append(abs(value - true) <= 2.045 * kernels.error_of(without))
    assert np.mean(plain) < -0.05
    assert abs(np.mean(free)) < 0.02
    assert np.mean(held) >= 0.93


def test_the_ceiling_of_unequal_repetitions_is_of_the_stimuli_of_each_split():
    """Of other stimuli the variance is another one, and the larger the more they are."""
    _, _, x = study(np.random.default_rng(4), n=12, repetitions=4)
    x[0, :4] = np.nan
    halves = halves_of(x)
    whole = crossnobis(x)
    found = kernels.halves_of(halves, whole)
    shared, spread = [], []
    for one, other in halves:
        pairs = list(combinations(range(4, 12), 2))
        a, b, all_ = (np.array([rdm[i, j] for i, j in pairs]) for rdm in (one, other, whole))
        shared.append(np.cov(a, b, bias=True)[0, 1])
        spread.append(all_.var())
    assert found.ceiling == pytest.approx(np.sqrt(np.mean(shared) / np.mean(spread)), rel=1e-9)


@pytest.mark.slow
def test_missing_trials_leave_the_ceiling_where_a_true_model_is():
    ratios = []
    for run in range(150):
        rng = np.random.default_rng(run)
        model, _, x = study(rng, n=20, repetitions=4)
        x[rng.random(x.shape[:2]) < 0.06] = np.nan
        whole, pairs = crossnobis(x), np.triu_indices(20, 1)
        there = ~np.isnan(whole[pairs])
        rsa = np.corrcoef(model[pairs][there], whole[pairs][there])[0, 1]
        ratios.append(rsa / kernels.halves_of(halves_of(x), whole).ceiling)
    assert abs(np.mean(ratios) - 1) < 0.015
