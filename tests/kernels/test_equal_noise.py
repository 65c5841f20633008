"""Models as consensus plus noise: what is taken apart adds up, and ranks are not too small."""

from __future__ import annotations

import numpy as np
import pytest

from xconverge.kernels.equal_noise import (
    Noise,
    Parts,
    chosen_rank,
    components_of,
    drawn,
    errors_of,
    held_out,
    off_by,
    parts,
    ranks_tried,
    relative,
    rows_of,
)

RNG = np.random.default_rng


def models(n=80, rank=4, count=5, width=12, noise=0.5, seed=0):
    """Rotated copies of common latents, with noise in every feature."""
    rng = RNG(seed)
    latent = rng.standard_normal((n, rank))
    made = []
    for _ in range(count):
        basis, _ = np.linalg.qr(rng.standard_normal((width, rank)))
        made.append(3 + latent @ basis.T + noise * rng.standard_normal((n, width)) / np.sqrt(width))
    return latent, made


def test_without_noise_all_of_a_model_is_fitted():
    _, made = models(noise=0.0)
    for x, part in zip(made, parts(made, 4), strict=True):
        np.testing.assert_allclose(part.fitted, x, atol=4e-6)
        np.testing.assert_allclose(part.residual, 0, atol=4e-6)


def test_consensus_and_rest_by_the_formula():
    """Two models of full rank: the rest is the model less the mean of both, times sqrt(2)."""
    rng = RNG(0)
    x = rng.standard_normal((50, 3))
    x -= x.mean(0)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    y = (x + 0.1 * rng.standard_normal(x.shape)) @ turn
    y -= y.mean(0)
    one, _ = parts([x, y], 3)
    a, b = x / np.linalg.norm(x), y / np.linalg.norm(y)
    u, _, vt = np.linalg.svd(b.T @ a)
    consensus = (a + b @ (u @ vt)) / 2
    np.testing.assert_allclose(one.fitted, consensus * np.linalg.norm(x), atol=1e-5)
    expected = (x - consensus * np.linalg.norm(x)) * np.sqrt(2)
    np.testing.assert_allclose(one.residual, expected, atol=1e-5)


def test_what_lies_outside_the_space_is_noise():
    """And its size is that of the noise, inside and outside."""
    latent, made = models(n=400, noise=0.5, width=12)
    for part in parts(made, 4):
        assert (part.residual**2).sum(1).mean() == pytest.approx(0.25, rel=0.1)
        # of a mean over 5 models a fifth of the noise inside is left
        inside = (part.fitted - part.fitted.mean(0)) ** 2
        assert inside.sum(1).mean() == pytest.approx(latent.var(0).sum(), rel=0.1)


def test_missing_stimuli_stay_missing_and_the_others_have_their_consensus():
    _, made = models(noise=0.0)
    made[0][:7] = np.nan
    taken = parts(made, 4)
    assert np.isnan(taken[0].fitted[:7]).all()
    assert np.isnan(taken[0].residual[:7]).all()
    # scales differ a little, as each model is scaled by the stimuli that it saw
    np.testing.assert_allclose(taken[0].fitted[7:], made[0][7:], atol=0.05)
    np.testing.assert_allclose(taken[1].fitted, made[1], atol=0.05)


def test_a_draw_deals_the_rest_of_other_stimuli():
    _, made = models()
    part, order = parts(made, 4)[0], RNG(1).permutation(80)
    found = drawn(part, order)
    for i, j in enumerate(order):
        np.testing.assert_allclose(found[i], part.fitted[i] + part.residual[j])
    np.testing.assert_allclose(drawn(part, np.arange(80)), part.fitted + part.residual)


def test_a_relative_draw_keeps_the_size_of_noise_against_the_norm():
    _, made = models()
    part, order = parts(made, 4)[0], RNG(1).permutation(80)
    found = drawn(relative(part), order)
    for i, j in enumerate(order):
        norms = [np.linalg.norm(part.fitted[s]) for s in (i, j)]
        np.testing.assert_allclose(
            found[i], part.fitted[i] + part.residual[j] * norms[0] / norms[1]
        )


def choice(made, fold):
    """The rank that is chosen by held-out parts."""
    tests = held_out(fold)
    return chosen_rank(made, tests, [errors_of(made, test) for test in tests])


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("rank", [3, 4])
def test_the_rank_is_not_below_the_true_one(rank, noise):
    _, made = models(rank=rank, noise=noise)
    found, tried, error = choice(made, np.arange(80) % 4)
    assert found >= rank
    assert found <= 8
    assert len(tried) == len(error)
    assert error[list(tried).index(1)] > error.min()


def test_ranks_tried_stay_below_a_quarter_of_the_stimuli():
    assert ranks_tried([np.ones((80, 12))], 80) == [1, 2, 4, 8, 12]
    assert ranks_tried([np.ones((20, 12))], 20) == [1, 2, 4]
    assert ranks_tried([np.ones((20, 4)), np.ones((20, 9))], 20) == [1, 2, 4]


def test_unrelated_models_predict_nothing():
    rng = RNG(0)
    _, _, error = choice([rng.standard_normal((80, 6)) for _ in range(4)], np.arange(80) % 4)
    assert error.min() > 0.95


def test_of_many_stimuli_some_parts_are_held_out():
    fold = RNG(0).permutation(800) % 4
    tests = held_out(fold)
    assert [int(test.sum()) for test in tests] == [200, 200]
    assert not (tests[0] & tests[1]).any()
    assert len(held_out(np.arange(80) % 4)) == 4


def test_a_space_of_known_components_is_that_of_its_own():
    """The first components of many are the components of a few, and their rows as large."""
    _, made = models(n=60)
    made[2][5] = np.nan
    known = components_of(made, np.ones(60, bool), 12)
    for one, other in zip(parts(made, 3), parts(made, 3, components=known), strict=True):
        np.testing.assert_allclose(one.fitted, other.fitted, atol=1e-5)
        np.testing.assert_allclose(one.residual, other.residual, atol=1e-5)


def spread_of(rows):
    """A statistic that notices everything: how far models are apart at the first stimuli."""
    return float(
        np.nanmean([np.linalg.norm(one[:5] - rows[0][:5, : one.shape[1]]) for one in rows])
    )


@pytest.mark.parametrize("by_norm", [False, True])
def test_draws_and_draws_of_a_draw_are_those_of_plain_loops(by_norm):
    _, made = models(n=40)
    taken = parts(made, 4)
    noise = Noise(taken, 4, rows_of(spread_of), np.arange(40), 7, by_norm)

    def by_hand(of, *number):
        result = []
        for m, part in enumerate(of):
            order = np.random.default_rng([7, m, *number]).permutation(40)
            rows = np.empty_like(part.fitted)
            for i, j in enumerate(order):
                share = (
                    np.linalg.norm(part.fitted[i]) / np.linalg.norm(part.fitted[j])
                    if by_norm
                    else 1.0
                )
                rows[i] = part.fitted[i] + part.residual[j] * share
            result.append(rows)
        return result

    for number in range(3):
        assert noise.value(number) == pytest.approx(spread_of(by_hand(taken, number)))
        again = parts(by_hand(taken, number), 4)
        inner = [spread_of(by_hand(again, number, one)) for one in (1, 2)]
        assert noise.of_its_draws(number, 2) == pytest.approx(np.mean(inner))


def test_values_are_moved_by_what_draws_of_draws_lie_below():
    assert off_by(np.array([1.0, 2.0, 6.0]), np.array([2.0, 3.0])) == pytest.approx(0.5)
    assert off_by(np.array([1.0, 2.0]), np.array([])) == 0.0


def test_draws_follow_labels_and_leave_missing_stimuli_alone():
    _, made = models(n=40)
    made[1][3] = np.nan
    order = RNG(3).permutation(40)
    seen = []

    def watch(rows):
        seen.append(rows)
        return float(np.nanmean(rows[1] ** 2))

    def values(taken, rank):
        noise = Noise(taken, 4, rows_of(watch), rank, 0, False)
        return [noise.value(number) for number in range(3)]

    one = values(parts(made, 4), np.arange(40))
    assert all(np.isnan(rows[1][3]).all() and np.isfinite(rows[0]).all() for rows in seen)
    other = values(parts([x[order] for x in made], 4), np.arange(40)[order])
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_stimulus_of_which_nothing_is_fitted_keeps_its_residuals():
    part = Parts(np.zeros((3, 2)), np.arange(6.0).reshape(3, 2))
    np.testing.assert_allclose(drawn(relative(part), np.arange(3)), part.residual)
