"""Models of equal noise: what geometry alone makes of a correlation, and what exceeds it."""

from __future__ import annotations

import numpy as np
import pytest

import xconverge as xc
from xconverge.inference.equal_noise import equal_noise
from xconverge.kernels.axes import leading
from xconverge.kernels.equal_noise import dealt, drawn, parts, places, relative
from xconverge.study.modulation import mean_correlation

RNG = np.random.default_rng
NAMES = (
    "expected_correlation", "equal_noise_p_value", "excess", "excess_lower", "excess_upper",
    "expected_by_rank", "equal_noise_p_by_rank",
)  # fmt: skip
FEW = {"OUTER": 1, "INNER": 2, "NEAR": 3}
"""Draws enough to see that a number is the same."""


@pytest.fixture
def few(monkeypatch):
    """Fewer draws of draws, and at other ranks."""
    for name, count in FEW.items():
        monkeypatch.setattr(f"xconverge.inference.equal_noise.{name}", count)


def study(seed, noise, n=60, models=4):
    """Two modalities that see clusters of stimuli, with noise of these sizes (n) in both."""
    rng = RNG(seed)
    latent = np.repeat(rng.standard_normal((n // 10, 6)), 10, 0) + 0.5 * rng.standard_normal((n, 6))

    def model():
        basis, _ = np.linalg.qr(rng.standard_normal((20, 6)))
        return latent @ basis.T + rng.standard_normal((n, 20)) * noise[:, None] / np.sqrt(10)

    return [
        xc.stack_models(
            {f"{name} {i}": model() for i in range(models)},
            stimuli=[f"s{i}" for i in range(n)],
            modality=name,
        )
        for name in ("vision", "language")
    ]


def slope_on_norms_of(a):
    """A statistic that follows the norms of these stimuli."""
    size = np.linalg.norm(a.values, axis=2).mean(0)

    def slope(reps):
        gap = np.linalg.norm(reps.values - reps.values.mean(1, keepdims=True), axis=2).mean(0)
        return float(np.corrcoef(gap, size)[0, 1])

    return slope


def test_the_quick_mean_correlation_is_that_of_modulation():
    a, b = study(0, np.ones(60))
    spread = xc.dispersion(a, "neighborhood", leave_out="model", k=5)
    scores, density = xc.alignment(a, b, k=5), xc.local_density(a, 5)
    for covariates in ([], [density], [density, xc.stimulus_norm(a)]):
        right = xc.modulation(
            spread, scores, covariates=covariates, n_bins=2, n_permutations=0, null="labels"
        )
        assert mean_correlation(spread, scores, covariates) == float(right["mean_correlation"])


@pytest.mark.slow
def test_the_reading_of_the_larger_p_counts():
    """A statistic that only noise relative to norms can reach, and the other way round."""
    a, _ = study(0, np.ones(60))
    slope = slope_on_norms_of(a)
    found = equal_noise(a, slope, slope(a), 19, "two-sided", 0)
    assert set(found) == set(NAMES)
    assert found["excess"] == pytest.approx(slope(a) - float(found["expected_correlation"]))
    assert found["excess_lower"] < found["excess"] < found["excess_upper"]
    assert found["excess"].attrs["noise"] in ("absolute", "relative")
    assert found["excess"].attrs["space_rank"] >= 6
    p_value = found["equal_noise_p_value"]
    both = {name: p_value.attrs[f"p_{name}"] for name in ("absolute", "relative")}
    assert p_value == max(both.values()) == both[p_value.attrs["noise"]]


@pytest.mark.parametrize("shift", [0.0, 0.1, 3.0])
def test_the_other_reading_is_drawn_until_it_is_seen_not_to_count(shift, few, monkeypatch):
    a, _ = study(0, np.ones(60))
    slope = slope_on_norms_of(a)

    def asked(first):
        monkeypatch.setattr("xconverge.inference.equal_noise.FIRST", first)
        return equal_noise(a, slope, slope(a) + shift, 40, "greater", 0)

    found, whole = asked(10), asked(40)
    for name in NAMES:
        np.testing.assert_array_equal(found[name], whole[name])
    own, both = found["equal_noise_p_value"].attrs, whole["equal_noise_p_value"].attrs
    counts = whole["excess"].attrs["noise"]
    (other,) = {"absolute", "relative"} - {counts}
    assert (both["n_absolute"], both["n_relative"]) == (40, 40)
    assert (own[f"n_{counts}"], own[f"n_{other}"]) == (40, 10)
    assert own[f"p_{counts}"] == both[f"p_{counts}"] == found["equal_noise_p_value"]


def interrupted(statistic, number):
    """A statistic whose call of that number is interrupted."""
    calls = []

    def counted(reps):
        calls.append(reps)
        if len(calls) == number:
            raise KeyboardInterrupt
        return statistic(reps)

    return counted


def test_an_interrupt_keeps_draws_of_the_reading_that_counts(few, monkeypatch):
    monkeypatch.setattr("xconverge.inference.equal_noise.FIRST", 5)
    a, _ = study(0, np.ones(60))
    slope = slope_on_norms_of(a)
    # five of each reading, then two of one draw of each; 55 are left, in tasks of 18, 18 and 19
    before = 2 * 5 + 2 * FEW["INNER"]

    def asked(number):
        return equal_noise(a, interrupted(slope, number), slope(a) + 3, 60, "greater", 0)

    with pytest.warns(RuntimeWarning, match="rests on the 23 of 60"):
        found = asked(before + 20)
    assert found["equal_noise_p_value"].attrs["n_equal_noise"] == 23
    # nothing else is computed after it
    assert found["expected_by_rank"].sizes["space_rank"] == 1
    with pytest.warns(RuntimeWarning, match="other ranks say is left out"):
        found = asked(before + 55 + 2)
    assert found["equal_noise_p_value"].attrs["n_equal_noise"] == 60
    assert found["expected_by_rank"].sizes["space_rank"] == 1
    with pytest.raises(KeyboardInterrupt):
        asked(7)


def test_a_direction_that_dwarfs_the_others_is_no_matter_of_precision(few, monkeypatch):
    """Single precision does not tell the others, and what it makes of them are no directions."""
    a, _ = study(1, np.ones(60))
    large = a.copy(data=np.where(np.arange(20) == 3, 1e5, 1.0) * a.values)

    def asked():
        found = equal_noise(large, slope_on_norms_of(a), 0.5, 9, "less", 0)
        return np.concatenate([np.ravel(found[name]) for name in NAMES])

    found = asked()
    assert np.isfinite(found).all()
    kernel = "xconverge.kernels.equal_noise"
    monkeypatch.setattr(f"{kernel}.leading_in_single", leading)
    monkeypatch.setattr(f"{kernel}.told_in_single", lambda variances, size: False)
    np.testing.assert_allclose(asked(), found, rtol=1e-6)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("tail", ["two-sided", "greater", "less"])
def test_p_is_the_share_of_draws_as_far_from_what_is_expected(tail, few, monkeypatch):
    a, _ = study(0, np.ones(60))
    draws = []

    def first(reps):
        draws.append(float(np.linalg.norm(reps.values[0, 0])))
        return draws[-1]

    monkeypatch.setattr("xconverge.inference.equal_noise.OUTER", 0)
    monkeypatch.setattr("xconverge.inference.equal_noise.READINGS", {"absolute": False})
    observed = float(np.linalg.norm(a.values[0, 0])) - 0.3
    found = equal_noise(a, first, observed, 29, tail, 0)
    values = np.array(draws[:29])
    gap, own = values - values.mean(), observed - values.mean()
    count = {
        "greater": (gap >= own).sum(),
        "less": (gap <= own).sum(),
        "two-sided": (abs(gap) >= abs(own)).sum(),
    }[tail]
    assert found["equal_noise_p_value"] == (1 + count) / 30
    assert found["expected_correlation"] == pytest.approx(values.mean())
    assert found["excess_lower"] == pytest.approx(observed - np.quantile(values, 0.975))


def test_half_and_twice_the_rank_are_told(few):
    a, _ = study(0, np.ones(60))
    found = equal_noise(a, lambda reps: float(reps.values[0, 0, 0]), 0.0, 7, "less", 0)
    rank = found["excess"].attrs["space_rank"]
    by_rank = found["expected_by_rank"]
    assert by_rank["space_rank"].values.tolist() == [rank // 2, rank, 2 * rank]
    assert by_rank.attrs["n_equal_noise"] == 3
    assert by_rank.sel(space_rank=rank) == found["expected_correlation"]
    assert found["equal_noise_p_by_rank"].sel(space_rank=rank) == found["equal_noise_p_value"]
    assert len(set(by_rank.values)) == 3


CALL = {"n_permutations": 0, "k": 5, "n_bins": 2, "rng": 0, "tail": "less", "n_equal_noise": 4}


def told(a, b, **options):
    """All that equal noise says."""
    found = xc.leave_out_modulation(a, b, **CALL, **options, null="labels")
    return np.concatenate([np.ravel(found[name].values) for name in NAMES])


@pytest.mark.slow
def test_leaving_out_tells_what_equal_noise_makes(few):
    a, b = study(1, np.exp(0.8 * RNG(5).standard_normal(60)))
    found = xc.leave_out_modulation(a, b, nuisance=(), **CALL, null="labels")
    plain = xc.leave_out_modulation(
        a, b, nuisance=(), **{**CALL, "n_equal_noise": 0}, null="labels"
    )
    assert set(found) - set(plain) == set(NAMES)
    assert found["mean_correlation"] == plain["mean_correlation"]
    assert found["excess"] == found["mean_correlation"] - found["expected_correlation"]
    again = told(a.chunk(model=1), b.chunk(), nuisance=())
    np.testing.assert_allclose(again, told(a, b, nuisance=()), rtol=1e-9)
    with pytest.raises(xc.SchemaError, match="n_equal_noise= takes no further dims"):
        xc.leave_out_modulation(a, b.expand_dims(time=2), **CALL, null="labels")


class CapturedError(Exception):
    """What `equal_noise` would have been called with."""


def asked(a, b, monkeypatch, **options):
    """The set that is taken apart, its statistic by public functions, and the quick one."""

    def capture(*arguments):
        raise CapturedError(*arguments)

    monkeypatch.setattr("xconverge.study.leave_out.equal_noise", capture)
    with pytest.raises(CapturedError) as raised:
        xc.leave_out_modulation(a, b, **CALL, **options, null="labels")
    reps, statistic, *_, quick = raised.value.args
    return reps, statistic, quick


def one_draw(reps, statistic, quick, by_norm):
    """A draw by the public functions on labelled rows, and by the quick way if there is one."""
    taken = parts([rows.astype(float) for rows in reps.values], 6)
    if by_norm:
        taken = [relative(one) for one in taken]
    orders = dealt(places(taken, np.arange(60)), 60, 0, 1)
    rows = [drawn(one, order) for one, order in zip(taken, orders, strict=True)]
    return statistic(reps.copy(data=np.stack(rows))), quick and quick(taken)(orders)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize("case", ["whole", "layers", "missing in b", "values as nuisance"])
def test_quick_draws_are_those_of_the_public_functions(case, by_norm, monkeypatch):
    a, b = study(2, np.ones(60))
    options = {"nuisance": ("local_density", "norm")}
    if case == "layers":
        a = a.assign_coords(network=("model", ["u", "u", "v", "w"]))
        b = b.assign_coords(network=("model", ["x", "y", "y", "z"]))
    if case == "missing in b":
        b[1, [7, 20]] = np.nan
        b[2, 8] = np.nan
    if case == "values as nuisance":
        each = a[::-1, ::-1].mean("feature")
        options["nuisance"] = (each, each.isel(model=0, drop=True))
    plain, quick = one_draw(*asked(a, b, monkeypatch, **options), by_norm)
    assert plain == pytest.approx(quick, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["other metric", "missing in a", "many missing in b", "missing values"]
)
def test_what_has_no_quick_way_is_drawn_by_the_public_functions(case, monkeypatch):
    a, b = study(4, np.ones(60))
    options = {}
    if case == "other metric":
        options = {"dispersion_metric": "cosine", "alignment_metric": "rdm", "n_components": 4}
    if case == "missing in a":
        a[0, [3, 9]] = np.nan
    if case == "many missing in b":
        b[0, :8] = np.nan
    if case == "missing values":
        options = {"nuisance": (a.isel(model=0, feature=0, drop=True).where(a.stimulus != "s3"),)}
    reps, statistic, quick = asked(a, b, monkeypatch, **options)
    assert quick is None
    assert np.isfinite(one_draw(reps, statistic, quick, True)[0])


@pytest.mark.slow
def test_the_order_of_stimuli_changes_no_digit(few):
    a, b = study(3, np.ones(60))
    order = RNG(0).permutation(60)
    one, other = told(a, b), told(a[:, order], b[:, order[::-1]])
    assert np.isfinite(one).all()
    # what is observed is a sum in another order
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.slow
def test_missing_stimuli_stay_missing_whatever_the_order(few, monkeypatch):
    """By public functions: what they are given, draw after draw, is the same to the last digit."""
    a, _ = study(3, np.ones(60))
    a[0, [3, 9]] = np.nan
    order = RNG(0).permutation(60)

    def values(reps):
        given = []

        def watch(draw):
            assert np.isnan(draw.sel(model="vision 0", stimulus=["s3", "s9"])).all()
            assert draw.isnull().sum() == 2 * draw.sizes["feature"]
            given.append(float(draw.sel(model="vision 2", stimulus="s5").sum()))
            return given[-1]

        equal_noise(reps, watch, 0.0, 3, "less", 0)
        return given

    assert values(a) == values(a[:, order])


@pytest.mark.slow
def test_equal_noise_is_seldom_found_and_unequal_noise_often():
    def p_value(seed, noise):
        a, b = study(seed, noise)
        table = xc.leave_out_modulation(
            a,
            b,
            n_permutations=0,
            n_equal_noise=79,
            nuisance=(),
            k=5,
            n_bins=2,
            rng=0,
            tail="less",
            null="labels",
        )
        return float(table["equal_noise_p_value"])

    runs = 12
    equal = [p_value(seed, np.ones(60)) for seed in range(runs)]
    unequal = [p_value(s, np.exp(0.8 * RNG(s).standard_normal(60))) for s in range(runs // 2)]
    assert np.mean(np.array(equal) <= 0.05) <= 2 / runs
    assert np.mean(np.array(unequal) <= 0.05) >= 0.5
