"""Scales at which squares leave the range of numbers: the same result, or a true error."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.kernels.budgets import BUDGETS
from xconverge.labels.messages import SchemaError

N = 14
IDS = [f"s{i}" for i in range(N)]
rng = np.random.default_rng(0)
X = rng.standard_normal((3, N, 6))
Y = X[:2, :, :5] + rng.standard_normal((2, N, 5))
SCALES = [
    ("f8", 1e160),
    pytest.param("f4", 1e-25, marks=pytest.mark.slow),
    pytest.param("f8", 1e-160, marks=pytest.mark.slow),
    pytest.param("f4", 1e25, marks=pytest.mark.slow),
]


def reps_of(x, scale=1.0, dtype="f8"):
    rows = {f"m{i}": (scale * rows).astype(dtype) for i, rows in enumerate(x)}
    return xc.stack_models(rows, stimuli=IDS).assign_attrs(space="shared")


def dispersed(metric, **options):
    return lambda reps: xc.dispersion(reps, metric, **options)


def aligned(metric, **options):
    return lambda reps: xc.alignment(
        reps, reps_of(Y if metric != "cosine" else X[:2] + 1), metric, **options
    )


FREE = {
    **{f"dispersion {m}": dispersed(m) for m in ("cosine", "correlation", "rdm")},
    "dispersion rdm euclidean": dispersed("rdm", rdm_metric="euclidean"),
    "dispersion neighborhood": dispersed("neighborhood", k=4),
    **{
        f"dispersion {m} normalized": dispersed(m, normalize=True)
        for m in ("cosine", "euclidean", "sqeuclidean", "consensus")
    },
    **{
        f"alignment {m} {r}": aligned(m, rdm_metric=r)
        for m in ("rdm", "rsa")
        for r in ("correlation", "euclidean", "sqeuclidean")
    },
    "rsa cosine": aligned("rsa", rdm_metric="euclidean", method="cosine"),
    "rsa pearson euclidean": aligned("rsa", rdm_metric="euclidean", method="pearson"),
    "rsa pearson sqeuclidean": aligned("rsa", rdm_metric="sqeuclidean", method="pearson"),
    "cosine": aligned("cosine"),
    "mutual_knn": aligned("mutual_knn", k=4),
    "cknna": aligned("cknna", k=4),
    "cka": aligned("cka"),
    "cka biased": aligned("cka", debiased=False),
    "cka rbf": aligned("cka", kernel="rbf"),
    "distance_correlation": aligned("distance_correlation"),
    "procrustes": aligned("procrustes"),
    "svcca": aligned("svcca", n_components=2, folds=3, rng=0),
    "linear_predictivity": aligned("linear_predictivity", folds=3, rng=0),
    "local_density": lambda reps: xc.local_density(reps, k=4),
    "zscore": xc.zscore,
    "unit_rows": xc.unit_rows,
    **{
        f"reliability {m}": lambda reps, m=m: xc.reliability(
            xr.concat(
                [reps, reps.isel(feature=slice(None, None, -1)).assign_coords(model=list("abc"))],
                "model",
            ),
            m,
            rng=0,
        )["half_correlation"]
        for m in ("sqeuclidean", "consensus")
    },
    "shared_space": lambda reps: xc.shared_space(reps)["aligned"],
    "shared_space cut": lambda reps: xc.shared_space(reps, n_components=2)["residual"],
}
GROWING = {
    "dispersion euclidean": dispersed("euclidean"),
    "dispersion consensus": dispersed("consensus"),
    "dispersion consensus without": dispersed("consensus", leave_out="model"),
    "rdm euclidean": lambda reps: xc.rdm(reps, "euclidean"),
    "stimulus_norm": xc.stimulus_norm,
    "center": xc.center,
    "clamp": xc.clamp,
    "pca": lambda reps: xc.pca(reps, 2),
}
ALL = {**FREE, **GROWING}
assert len(ALL) == len(FREE) + len(GROWING)


def as_given(reps):
    return reps


def in_blocks(reps):
    return reps.chunk(model=1, stimulus=5)


def assert_scales(measure, scale, dtype, power, change=as_given):
    """What the measure gives of scaled rows is what it gives of the rows, times scale^power."""
    with warnings.catch_warnings():
        # too few stimuli for a score to mean something, not for it to be the same
        warnings.filterwarnings("ignore", "score|.*features|.*components", RuntimeWarning)
        usual, found = (measure(change(reps_of(X, s, dtype))).compute() for s in (1, scale))
    usual, found = (np.asarray(v, np.float64) for v in (usual, found))
    largest = np.nanmax(np.abs(usual))
    np.testing.assert_allclose(
        found / scale**power / largest, usual / largest, rtol=1e-6, atol=1e-6
    )


@pytest.mark.slow_after(17)
@pytest.mark.parametrize(("dtype", "scale"), SCALES)
@pytest.mark.parametrize("name", ALL)
def test_the_scale_changes_nothing_else(name, dtype, scale):
    assert_scales(ALL[name], scale, dtype, power=int(name in GROWING))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "name", ["dispersion consensus", "cka", "alignment rsa euclidean", "zscore"]
)
def test_nor_in_single_precision(name):
    assert_scales(ALL[name], 1e-25, "f4", power=int(name in GROWING))


@pytest.fixture
def small_blocks(monkeypatch):
    """Models are read in blocks, even so small ones."""
    monkeypatch.setattr(BUDGETS, "whole_model", 0)
    monkeypatch.setattr(BUDGETS, "many_models", 0)
    monkeypatch.setattr(BUDGETS, "read_block", 8 * 5 * 6)
    monkeypatch.setattr(BUDGETS, "query_block", 8 * 5 * 6)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["dispersion consensus", "cka", "svcca"])
def test_nor_where_models_come_in_blocks(name):
    assert_scales(ALL[name], 1e160, "f8", power=int(name in GROWING), change=in_blocks)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("dtype", "scale"), [("f8", 1e160), ("f8", 1e-160), ("f4", 1e25), ("f4", 1e-25)]
)
def test_nor_for_any_measure_in_blocks(dtype, scale):
    for name in (
        "dispersion consensus", "dispersion euclidean", "dispersion sqeuclidean normalized",
        "cka", "procrustes", "svcca", "linear_predictivity", "distance_correlation", "mutual_knn",
        "rdm euclidean", "zscore", "center", "pca", "cka rbf",
        "alignment rdm euclidean", "alignment rdm sqeuclidean", "rsa pearson euclidean",
        "rsa pearson sqeuclidean",
    ):  # fmt: skip
        assert_scales(ALL[name], scale, dtype, power=int(name in GROWING), change=in_blocks)


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("scale", [1e-100, 1e-150, 1e-165, 1e100, 1e150])
def test_svcca_at_every_scale(scale):
    assert_scales(FREE["svcca"], scale, "f8", power=0)


def test_models_and_stimuli_of_different_scales():
    x = X.copy()
    x[1] *= 1e160
    np.testing.assert_allclose(
        xc.dispersion(reps_of(x), "cosine"), xc.dispersion(reps_of(X), "cosine")
    )
    space, usual = xc.shared_space(reps_of(x)), xc.shared_space(reps_of(X))
    np.testing.assert_allclose(space["residual"], usual["residual"], atol=1e-9)
    x = X * np.where(np.arange(N) % 2, 1e160, 1e-160)[:, None]
    found, usual = (xc.dispersion(reps_of(y), "consensus") for y in (x, X))
    np.testing.assert_allclose(found[::2], 1e-160 * usual[::2])
    np.testing.assert_allclose(found[1::2], 1e160 * usual[1::2])


def test_a_result_that_fits_is_exact_and_another_is_an_error():
    x = (X[:1] * 1e-18).astype("f4")
    truth = ((x[0, :, None].astype("f8") - x[0].astype("f8")) ** 2).sum(-1)
    np.testing.assert_allclose(xc.rdm(reps_of(x, dtype="f4"), "sqeuclidean")[0], truth, rtol=1e-6)
    calls = [
        lambda: xc.rdm(reps_of(X, 1e25, "f4"), "sqeuclidean"),
        lambda: xc.rdm(reps_of(X, 1e-25, "f4"), "sqeuclidean"),
        lambda: xc.rdm(reps_of(X, 1e160), "sqeuclidean"),
        lambda: xc.dispersion(reps_of(X, 1e160), "sqeuclidean"),
        lambda: xc.dispersion(reps_of(X, 1e-160), "sqeuclidean"),
        lambda: xc.dispersion(reps_of(X, 1e160), "sqeuclidean", pairwise=True),
    ]
    for call in calls:
        with pytest.raises(SchemaError, match=r"'m0'.* is beyond float(32|64), .*divide the data"):
            call()


def test_finite_numbers_are_not_called_infinite():
    huge = reps_of(np.full((2, N, 6), 1.7e308) * np.where(np.arange(6) % 2, 1, -1))
    with pytest.raises(SchemaError, match="norm is beyond float64"):
        xc.stimulus_norm(huge)
    broken = huge.copy(deep=True)
    broken[0, 3, 2] = np.inf
    with pytest.raises(SchemaError, match="NaN or infinity.*'m0'.*'s3'"):
        xc.dispersion(broken, "cosine")
    assert (xc.dispersion(huge, "cosine") == 0).all()
