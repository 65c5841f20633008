"""All that is said of one set of pairs of maps, against its parts in plain code."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from tests.kernels.test_mixed_model import places, squares
from xconverge.kernels.groups import pair_numbers
from xconverge.kernels.mixed_model import Likeness
from xconverge.kernels.modulation import Settings, modulations
from xconverge.kernels.permutations import permutations
from xconverge.kernels.related_maps import Fields, related

N = 30
RNG = np.random.default_rng
NAMES = (
    "correlation", "p_value", "n_stimuli", "n_effective", "moran_i", "alignment_by_bin",
    "mean_correlation", "mean_p_value", "mean_correlation_lower", "mean_correlation_upper",
    "_draws", "_mean_draws",
)  # fmt: skip
MIXED = ("t_alignment", "t_dispersion", "p_value_alignment", "p_value_dispersion")
OPTIONS = {"n_bins": 2, "n_draws": 99, "seed": 3, "tail": "two-sided", "level": 0.95}


def table(null: str, names: tuple[str, ...] = NAMES, turn: np.ndarray | None = None) -> dict:
    """Of 2 x 3 pairs; stimuli in another order of rows with ``turn``."""
    turn = np.arange(N) if turn is None else turn
    x, y = places(N, 1, 0).T[0], scores()
    arrays = x, (x > np.median(x)).astype(int), y, y.mean((0, 1)), np.zeros((1, N))
    structure = np.arange(N), np.arange(N) % 2, np.arange(N) // 3, squares(places(N, 2, 1))
    found = modulations(
        *(part[..., turn] for part in arrays), np.arange(2), np.arange(3),
        *(part[turn] for part in structure[:3]), structure[3][np.ix_(turn, turn)],
        names=names, n_squares=1, settings=Settings(null=null, **OPTIONS),
    )  # fmt: skip
    return dict(zip(names, found, strict=True))


def scores() -> np.ndarray:
    """Alignment of 2 x 3 pairs, one of which misses a stimulus."""
    y = np.moveaxis(places(N, 6, 2).reshape(N, 2, 3), 0, -1).copy()
    y[1, 2, 4] = np.nan
    return np.where(np.isnan(y), np.nan, y)


@pytest.mark.parametrize("turned", [False, True])
def test_labels_by_plain_loops(turned):
    found = table("labels", turn=RNG(8).permutation(N) if turned else None)
    x, y = places(N, 1, 0).T[0], scores()
    orders = permutations(np.arange(N), 3, 0, np.arange(N) % 2)[:100]
    means = np.zeros(100)
    for a in range(2):
        for b in range(3):
            there = np.isfinite(y[a, b])
            expected = scipy.stats.spearmanr(x[there], y[a, b][there]).statistic
            assert found["correlation"][a, b] == pytest.approx(expected)
            assert found["n_stimuli"][a, b] == there.sum()
            for one in range(2):
                inside = there & ((x > np.median(x)) == one)
                assert found["alignment_by_bin"][a, b, one] == pytest.approx(y[a, b][inside].mean())
            if there.all():
                ranks_y = scipy.stats.rankdata(y[a, b])
                for stratum in (0, 1):
                    inside = np.arange(N) % 2 == stratum
                    ranks_y[inside] -= ranks_y[inside].mean()
                drawn = np.array([scipy.stats.rankdata(x)[order] @ ranks_y for order in orders])
                far = np.abs(drawn) >= abs(drawn[0]) - 1e-9
                assert found["p_value"][a, b] == pytest.approx((1 + far[1:].sum()) / 100)
            means += found["_draws"][:, a, b] / 6
    np.testing.assert_allclose(found["_mean_draws"], means)
    assert found["mean_correlation"] == pytest.approx(found["correlation"].mean())
    far = np.abs(means) >= abs(means[0]) - 1e-12
    assert found["mean_p_value"] == pytest.approx((1 + far[1:].sum()) / 100)
    assert (
        found["mean_correlation_lower"] < found["mean_correlation"]
        < found["mean_correlation_upper"]
    )  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
def test_mixed_is_the_larger_of_both_regressions(turned):
    found = table("mixed", NAMES + MIXED, RNG(8).permutation(N) if turned else None)
    x, y = places(N, 1, 0), scores()
    like, which, none = (
        Likeness([squares(places(N, 2, 1))], []),
        np.zeros(6, int),
        np.empty((1, 0, N)),
    )
    fields = Fields(x.T, y.mean((0, 1)), none, like, 3)
    rows = y.reshape(6, N)
    expected, together = related(fields, x.T, rows, which, none, "two-sided", 99, 3)
    np.testing.assert_allclose(found["p_value"].ravel(), expected.p_value)
    np.testing.assert_allclose(found["t_alignment"].ravel(), expected.t_alignment)
    np.testing.assert_allclose(found["t_dispersion"].ravel(), expected.t_dispersion)
    np.testing.assert_allclose(found["n_effective"].ravel(), expected.n_effective)
    np.testing.assert_allclose(
        found["p_value"], np.maximum(found["p_value_alignment"], found["p_value_dispersion"])
    )
    assert found["mean_p_value"] == pytest.approx(together.p_value[0])


def test_surrogates_and_labels_know_how_many_stimuli_count():
    mixed = table("mixed")
    for null in ("surrogates", "blocks", "labels"):
        found = table(null)
        for name in ("correlation", "n_effective", "moran_i"):
            np.testing.assert_allclose(found[name], mixed[name])


def test_what_is_said_of_the_mean_is_said_of_a_pair():
    names = ("correlation_of_mean", "p_value_of_mean", "n_effective_of_mean")
    found = table("mixed", names)
    x, mean = places(N, 1, 0), scores().mean((0, 1))
    there = np.isfinite(mean)
    expected = scipy.stats.spearmanr(x[there, 0], mean[there]).statistic
    assert found["correlation_of_mean"] == pytest.approx(expected)
    assert 0 < found["p_value_of_mean"] <= 1


def test_pairs_of_families_have_numbers():
    of_a, of_b = np.array([0, 0, 1]), np.array([0, 2])
    expected = [(a, b) for a in of_a for b in of_b]
    numbers = pair_numbers(of_a, of_b)
    for i, one in enumerate(expected):
        for j, other in enumerate(expected):
            assert (numbers[i] == numbers[j]) == (one == other)
