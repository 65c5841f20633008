"""Models too long for one task give what models in memory give."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute
from xconverge.engine import apply as _apply
from xconverge.engine import blockwise as _stream
from xconverge.engine import resources as _resources

pytestmark = pytest.mark.usefixtures("everything_is_long")


def pair(missing=0.1, dtype=np.float64, n=40):
    a = make_reps(3, n, [4, 6, 5], seed=1, missing=missing, dtype=dtype, shared=False, offset=1.0)
    b = make_reps(2, n, [6, 3], seed=1, missing=missing, dtype=dtype, shared=False)
    b = b.assign_coords(model=["x", "y"]) + 0.5 * np.random.default_rng(0).standard_normal(b.shape)
    return a, b.assign_attrs(modality="language").astype(dtype)


CASES = [
    ("mutual_knn", {"k": 3}),
    ("cycle_knn", {"k": 3}),
    ("cknna", {"k": 4}),
    ("cka", {}),
    ("cka", {"debiased": False}),
    ("cka", {"kernel": "rbf"}),
    ("cka", {"kernel": "rbf", "debiased": False}),
    ("procrustes", {}),
    ("rdm", {}),
    ("rdm", {"rdm_metric": "euclidean"}),
    ("rsa", {"method": "pearson"}),
    ("rsa", {"method": "cosine", "rdm_metric": "sqeuclidean"}),
]


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_alignment_in_blocks_is_alignment_in_memory(metric, options, missing):
    a, b = pair(missing)
    expected = xc.alignment(a, b, metric, **options)
    chunked_a = a.chunk(model=2, stimulus=7, feature=3)
    with no_compute():
        found = xc.alignment(chunked_a, b.chunk(stimulus=9), metric, **options)
        mixed = xc.alignment(chunked_a, b, metric, **options)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-7)
    xr.testing.assert_allclose(mixed.compute(), expected, rtol=1e-6, atol=1e-7)
    assert found.attrs == expected.attrs


@pytest.mark.parametrize("metric", ["neighborhood", "rdm"])
@pytest.mark.parametrize("pairwise", [False, True])
def test_dispersion_in_blocks(metric, pairwise):
    a, _ = pair()
    expected = xc.dispersion(a, metric, k=3, pairwise=pairwise)
    with no_compute():
        found = xc.dispersion(a.chunk(stimulus=7), metric, k=3, pairwise=pairwise)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9)
    assert set(found.coords) == set(expected.coords)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_stimuli_in_different_blocks_tie_by_label(dtype):
    a, _ = pair(missing=0.0, dtype=dtype)
    a[:, 20:] = a[:, :20].values
    expected = xc.alignment(a, a[:, ::-1], k=3)
    found = xc.alignment(a.chunk(stimulus=5), a[:, ::-1].chunk(stimulus=3), k=3)
    xr.testing.assert_equal(found.compute(), expected)
    assert (found.values[np.arange(3), np.arange(3)] == 1.0).all()


@given(data=st.data())
def test_chunks_change_no_list(data):
    a, b = pair(dtype=np.float32)
    expected = xc.alignment(a, b, k=3)
    lazy = (data.draw(chunked(side)) for side in (a, b))
    xr.testing.assert_equal(xc.alignment(*lazy, k=3).compute(), expected)


def test_extra_dims_are_mapped_over():
    a = make_reps(2, 30, 5, extra={"layer": 2}, shared=False)
    b = make_reps(2, 30, 5, extra={"layer": 2}, shared=False, noise=1.0)
    for metric in ("mutual_knn", "cka", "rdm"):
        expected = xc.alignment(a, b, metric)
        found = xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), metric)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-7)


@pytest.mark.parametrize(("metric", "fault"), [("mutual_knn", 0.0), ("cka", np.inf), ("rdm", 1.0)])
def test_faults_far_into_a_model_are_named(metric, fault):
    a, b = pair(missing=0.0)
    a[1, 33, :6] = fault
    if fault == np.inf:
        a[1, 33, 1:] = 0.0
    label = a["stimulus"].values[33]
    with pytest.raises(xc.SchemaError, match=f"'net1'.*'{label}'"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), metric).compute()


def test_too_few_stimuli_for_k_are_named():
    a, b = pair(missing=0.0)
    a[1, 5:] = np.nan
    with pytest.raises(xc.SchemaError, match="'net1'.*saw 5"):
        xc.alignment(a.chunk(stimulus=7), b, k=10).compute()


def test_blocks_are_whole_chunks():
    assert _stream.spans((3, 3, 3, 3), 6) == [slice(0, 6), slice(6, 12)]
    assert _stream.spans((3, 9, 1, 1), 6) == [slice(0, 3), slice(3, 12), slice(12, 14)]
    assert _stream.spans((5,), 2) == [slice(0, 5)]


def test_what_does_not_fit_is_refused_before_it_starts(monkeypatch):
    a, b = pair()
    monkeypatch.setattr(_apply, "SMALL", 0)
    monkeypatch.setattr(_resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"GiB.*xconverge\.pca"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), "svcca", folds=8)  # n < 8 × 6
    with no_compute(), pytest.raises(MemoryError, match="pearson"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), "rsa", method="spearman")


def test_blas_has_one_thread_inside_a_worker():
    def threads(_):
        with _resources.calm_blas():
            pools = _resources._controller().info()
            return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]

    before = threads(0)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(threads, range(4)):
            assert set(found) == {1}
    assert threads(0) == before


def test_chunks_that_do_not_fit_are_refused_with_the_cure(monkeypatch):
    a, b = pair()
    monkeypatch.setattr(_stream, "SMALL", 0)
    monkeypatch.setattr(_resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"chunks of 25 stimuli.*recommend_chunks"):
        xc.alignment(a.chunk(stimulus=25), b.chunk(stimulus=7), "cka")
