"""What is 0 by construction but for rounding says what exact zeros say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc

N, D = 12, 30
IDS = [f"s{i}" for i in range(N)]
TYPES = ["f2", "f4", "f8", "i8"]
rng = np.random.default_rng(0)
OTHER = rng.standard_normal((N, 9))


def reps_of(*models, dtype="f8", **attrs):
    rows = {f"m{i}": np.asarray(rows).astype(dtype) for i, rows in enumerate(models)}
    return xc.stack_models(rows, stimuli=IDS).assign_attrs(attrs)


def base_of(dtype, offset=0.0):
    values = np.random.default_rng(1).standard_normal(D) + offset
    return np.round(50 * values) if dtype == "i8" else values.astype(dtype)


def collapsed(metric, dtype):
    """Rows (N, D), made in their own type, whose distances are all 0 by construction."""
    base, i = base_of(dtype, 2.0), np.arange(1, N + 1)
    kind = np.dtype(dtype).type
    if dtype == "i8":
        scales, offsets = i, 7 * i
        same = np.tile(base, (N, 1))
    else:
        scales, offsets = [kind(0.3 * s) for s in i], [kind(0.7 * s) for s in i]
        same = np.stack([base * s / s for s in scales])
    if metric == "correlation":
        return np.stack([s * base + o for s, o in zip(scales, offsets, strict=True)])
    return np.stack([s * base for s in scales]) if metric == "cosine" else same


METRICS = ["correlation", "cosine", "euclidean", "sqeuclidean"]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_rdms_of_a_collapsed_model_are_zero_and_have_no_rsa(metric, dtype):
    reps = reps_of(collapsed(metric, dtype), dtype=dtype)
    other = reps_of(OTHER)
    rdm = xc.rdm(reps, metric)
    assert not rdm.values.any()
    for method in ("spearman", "pearson"):
        with pytest.warns(RuntimeWarning, match="got equal values"):
            assert np.isnan(xc.rsa(rdm, xc.rdm(other), method))
        with pytest.warns(RuntimeWarning, match="got equal values"):
            found = xc.alignment(reps, other, "rsa", rdm_metric=metric, method=method)
        assert np.isnan(found).all()
    with pytest.warns(RuntimeWarning, match="none that differ"):
        assert np.isnan(xc.alignment(reps, other, "rdm", rdm_metric=metric)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table = xc.calibrate_rsa(rdm, xc.rdm(other), n_permutations=19, rng=0)
        assert np.isnan(table["p_value"]).all()
        two = xr.concat([rdm, rdm], "model").rename(model="subject")
        assert np.isnan(xc.noise_ceiling(two)["lower"])


@pytest.mark.slow
def test_long_models_say_the_same(monkeypatch):
    from xconverge.kernels.budgets import BUDGETS

    for name in ("whole_model", "many_models"):
        monkeypatch.setattr(BUDGETS, name, 0)
    monkeypatch.setattr(BUDGETS, "read_block", 8 * 5 * D)
    monkeypatch.setattr(BUDGETS, "query_block", 8 * 5 * D)
    for metric in ("correlation", "euclidean"):
        reps = reps_of(collapsed(metric, "f4"), dtype="f4").chunk(stimulus=5)
        other = reps_of(OTHER).chunk(stimulus=5)
        for measure, options in (("rdm", {}), ("rsa", {"method": "pearson"})):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                found = xc.alignment(reps, other, measure, rdm_metric=metric, **options).compute()
            assert np.isnan(found).all()


def copies(metric, dtype):
    """Three models (N, D) whose dispersion is 0 by construction, made in their own type."""
    kind = np.dtype(dtype).type
    x = np.random.default_rng(2).standard_normal((N, D)) + 2
    if dtype == "i8":
        x = np.round(50 * x)
        return [x, 2 * x, 3 * x] if metric == "cosine" else [x, x, x]
    x, s, t = x.astype(dtype), kind(2.7), kind(0.31)
    if metric == "cosine":
        return [x, x * s, x * t]
    if metric == "correlation":
        return [x, x * s + kind(0.4), x * t - kind(1.3)]
    return [x, x * s / s, x * t / t]


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", [*METRICS, "consensus"])
def test_copies_of_a_model_have_no_dispersion(metric, dtype):
    reps = reps_of(*copies(metric, dtype), dtype=dtype, space="shared")
    reps[2, 4] = np.nan if dtype != "i8" else reps[2, 4]
    for given in (reps, reps.chunk(model=1, stimulus=5)) if dtype == "f4" else (reps,):
        assert not xc.dispersion(given, metric).values.any()
        assert not xc.dispersion(given, metric, normalize=True).values.any()
        assert not np.nan_to_num(xc.dispersion(given, metric, leave_out="model")).any()
        if metric != "consensus":
            assert not np.nan_to_num(xc.dispersion(given, metric, pairwise=True)).any()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("dtype", "options"),
    [("f2", {}), ("f8", {}), ("f4", {"n_components": 4}), ("f8", {"folds": 3, "rng": 0})],
)
def test_rotated_copies_have_no_dispersion_in_their_space(dtype, options):
    x = np.random.default_rng(3).standard_normal((N, 6)) + 3
    q, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((6, 6)))
    x = x.astype(dtype)
    reps = reps_of(x, (2 * x.astype("f8") @ q).astype(dtype), dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        space = xc.shared_space(reps, **options)
        fitted = xc.shared_space(reps[:, :10])
    assert not space["residual"].values.any()
    assert space["unexplained"] == 0
    for aligned in (space["aligned"], 1000 * space["aligned"], xc.transform(reps[:, 10:], fitted)):
        for metric in ("consensus", "euclidean", "cosine"):
            assert not xc.dispersion(aligned.assign_attrs(space["aligned"].attrs), metric).any()
    # what differs by more does so in the space
    other = reps.astype("f8").copy(deep=True)
    other[0, 3] *= 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        space = xc.shared_space(other, **options)
    assert (space["residual"] > 0).any()
    assert space["unexplained"] > 0


def test_an_rdm_of_equal_distances_has_no_rsa():
    noise = 1e-16 * np.random.default_rng(6).standard_normal((N, N))
    rdm = xc.rdm(reps_of(OTHER))
    equal = rdm.copy(data=(1 - np.eye(N) + noise + noise.T)[None])
    for method in ("spearman", "pearson"):
        with pytest.warns(RuntimeWarning, match="got equal values"):
            assert np.isnan(xc.rsa(equal, rdm, method))
    with pytest.warns(RuntimeWarning, match="got equal values"):
        assert np.isnan(xc.rsa(equal.astype("f4") * np.float32(0.1), rdm))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_stimuli_that_are_equally_far_have_no_structure(dtype):
    q, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((N, N)))
    reps, other = reps_of(q, dtype=dtype), reps_of(OTHER)
    calls = [
        ("cka", {}),
        ("cka", {"kernel": "rbf"}),
        ("distance_correlation", {}),
        ("rsa", {"rdm_metric": "euclidean"}),
        ("rdm", {"rdm_metric": "euclidean"}),
        ("cknna", {"k": 3}),
    ]
    for metric, options in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.isnan(xc.alignment(reps, other, metric, **options)).all(), metric


def test_half_precision_that_was_centred_stays_half_precision():
    base = base_of("f2", 2.0)
    rows = np.stack([np.float16(s) * base for s in np.linspace(0.5, 2, N)])
    for step in (xc.center, xc.unit_rows):
        after = step(reps_of(rows, dtype="f2"))
        assert after.dtype == np.float32
        assert after.attrs["rounding"] > 1e-3
    assert not xc.rdm(xc.unit_rows(reps_of(rows, dtype="f2")), "cosine").values.any()
    assert "rounding" not in xc.center(reps_of(rows, dtype="f4")).attrs


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_no_set_of_stimuli_makes_a_collapsed_model_agree(metric):
    reps = reps_of(collapsed(metric, "f4"), *np.random.default_rng(8).random((2, N, D)), dtype="f4")
    with pytest.warns(RuntimeWarning, match="all distances of 'm0' are equal"):
        found = xc.optimize_stimuli(reps, 5, rdm_metric=metric, rng=0)
    assert np.isnan(found["agreement"])
