"""Models too long for one task, in every measure, give what models in memory give."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute
from xconverge.engine import resources
from xconverge.engine.blockwise import is_long
from xconverge.kernels.budgets import BUDGETS

pytestmark = pytest.mark.usefixtures("everything_is_long")


def two_sides(missing=0.1, dtype=np.float64, n=40, extra=None):
    a = make_reps(
        3, n, [4, 6, 5], seed=1, missing=missing, dtype=dtype, shared=False, offset=1.0, extra=extra
    )
    b = make_reps(2, n, [6, 3], seed=1, missing=missing, dtype=dtype, shared=False, extra=extra)
    b = b.assign_coords(model=["x", "y"]) + 0.5 * np.random.default_rng(0).standard_normal(b.shape)
    return a, b.assign_attrs(modality="language").astype(dtype)


def on_common_axes(missing=0.1, dtype=np.float64, n=40, extra=None):
    """Two sets in one space, where features are compared by position."""
    sides = [
        make_reps(m, n, 6, seed=1, missing=missing, dtype=dtype, noise=m, extra=extra)
        for m in (3, 2)
    ]
    sides[1] = sides[1].assign_coords(model=["x", "y"])
    return sides


CASES = [
    ("mutual_knn", {"k": 3}),
    ("cycle_knn", {"k": 3}),
    ("lcs_knn", {"k": 3}),
    ("edit_distance_knn", {"k": 3}),
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
    ("svcca", {"n_components": 2, "folds": 3, "rng": 0}),
    ("linear_predictivity", {"folds": 3, "rng": 0}),
    ("cosine", {}),
    ("distance_correlation", {}),
    ("distance_correlation", {"debiased": False}),
]
PATHS = [CASES[i] for i in (0, 5, 9, 15)]
"""One of each way in which blocks are put together."""
WHOLE = [CASES[i] for i in (0, 10)]
SINGLE_PRECISION = [CASES[i] for i in (0, 5, 10, 15)]
"""What is not slow of the cases without missing rows, and of those in single precision."""


def sides_of(metric, **options):
    return on_common_axes(**options) if metric == "cosine" else two_sides(**options)


def check_in_blocks(metric, options, sides, rtol=1e-6, mixed=False):
    """Of two lazy sides, and of one of them: the score in memory, with its coordinates."""
    expected = xc.alignment(*sides, metric, **options)
    a, b = sides
    long_a, long_b = a.chunk(model=2, stimulus=7, feature=3), b.chunk(stimulus=9)
    assert is_long(long_a)
    assert is_long(long_b)
    for pair in ((long_a, long_b), *(((long_a, b), (a, long_b)) if mixed else ())):
        with no_compute():
            found = xc.alignment(*pair, metric, **options)
        assert found.chunks is not None
        xr.testing.assert_allclose(found.compute(), expected, rtol=rtol, atol=rtol / 10)
        assert found.dims == expected.dims
        assert found.attrs == expected.attrs
        assert set(found.coords) == set(expected.coords)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "options"),
    [pytest.param(*c, marks=() if c in PATHS else pytest.mark.slow) for c in CASES],
    ids=str,
)
def test_alignment_in_blocks_is_alignment_in_memory(metric, options):
    check_in_blocks(metric, options, sides_of(metric), mixed=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "options"),
    [pytest.param(*c, marks=() if c in WHOLE else pytest.mark.slow) for c in CASES],
    ids=str,
)
def test_alignment_in_blocks_where_nothing_is_missing(metric, options):
    check_in_blocks(metric, options, sides_of(metric, missing=0.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "options"),
    [pytest.param(*c, marks=() if c in SINGLE_PRECISION else pytest.mark.slow) for c in CASES],
    ids=str,
)
def test_alignment_in_blocks_of_single_precision(metric, options):
    tolerance = 1e-4 if metric in ("svcca", "linear_predictivity", "procrustes") else 1e-5
    check_in_blocks(metric, options, sides_of(metric, dtype=np.float32), rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "options"), PATHS, ids=str)
def test_extra_dims_are_mapped_over(metric, options):
    a, b = sides_of(metric, extra={"layer": 2}, n=30)
    for other in (b, b.isel(layer=0, drop=True)):
        check_in_blocks(metric, options, (a, other))


@pytest.mark.slow_after(2)
@pytest.mark.filterwarnings("ignore:no dispersion without 'net0'")
@pytest.mark.parametrize("metric", ["neighborhood", "rdm"])
@pytest.mark.parametrize("how", [{}, {"pairwise": True}, {"leave_out": "family"}], ids=str)
def test_dispersion_in_blocks(metric, how):
    a, _ = two_sides()
    expected = xc.dispersion(a, metric, k=3, **how)
    with no_compute():
        found = xc.dispersion(a.chunk(stimulus=7), metric, k=3, **how)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9)
    assert found.dims == expected.dims
    assert set(found.coords) == set(expected.coords)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("extra", [None, {"layer": 2}])
def test_neighbors_and_density_in_blocks(dtype, extra):
    a, _ = two_sides(dtype=dtype, extra=extra)
    for call in (xc.local_density, xc.neighbor_graph):
        expected = call(a, k=3)
        with no_compute():
            found = call(a.chunk(model=2, stimulus=7, feature=3), k=3)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6)
        assert set(found.coords) == set(expected.coords)
        assert found.attrs == expected.attrs


def test_rdms_and_rsa_of_long_models():
    a, b = two_sides()
    expected = xc.rsa(xc.rdm(a), xc.rdm(b))
    with no_compute():
        found = xc.rsa(xc.rdm(a.chunk(stimulus=7, feature=3)), xc.rdm(b.chunk(stimulus=9)))
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_stimuli_in_different_blocks_tie_by_label(dtype):
    a, _ = two_sides(missing=0.0, dtype=dtype)
    a[:, 20:] = a[:, :20].values
    expected = xc.alignment(a, a[:, ::-1], k=3)
    found = xc.alignment(a.chunk(stimulus=5), a[:, ::-1].chunk(stimulus=3), k=3)
    xr.testing.assert_equal(found.compute(), expected)
    assert (found.values[np.arange(3), np.arange(3)] == 1.0).all()


SINGLE = two_sides(dtype=np.float32)


def check_chunks(data):
    lazy = (data.draw(chunked(side)) for side in SINGLE)
    xr.testing.assert_equal(xc.alignment(*lazy, k=3).compute(), xc.alignment(*SINGLE, k=3))


@pytest.mark.slow
@given(data=st.data())
def test_chunks_change_no_list(data):
    check_chunks(data)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("metric", "fault"), [("mutual_knn", 0.0), ("cka", np.inf), ("rdm", 1.0)])
def test_faults_far_into_a_model_are_named(metric, fault):
    a, b = two_sides(missing=0.0)
    a[1, 33, :6] = fault
    if fault == np.inf:
        a[1, 33, 1:] = 0.0
    label = a["stimulus"].values[33]
    with pytest.raises(xc.SchemaError, match=f"'net1'.*'{label}'"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), metric).compute()


def test_too_few_stimuli_for_k_are_nan_with_a_warning():
    a, b = two_sides(missing=0.0)
    expected = xc.alignment(a, b, k=10)
    a[1, 5:] = np.nan
    with pytest.warns(RuntimeWarning, match="at least 11 stimuli.*that share 5 have none"):
        found = xc.alignment(a.chunk(stimulus=7), b, k=10).compute(scheduler="single-threaded")
    assert found[1].isnull().all()
    xr.testing.assert_allclose(found[[0, 2]], expected[[0, 2]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lists_longer_than_the_pool_do_not_name_the_stimulus_itself():
    a, b = two_sides(missing=0.0)
    a[:, 13:], b[:, :1] = np.nan, np.nan
    lazy = a.chunk(stimulus=7), b.chunk(stimulus=9)
    graph = xc.neighbor_graph(lazy[0], k=20).compute()
    xr.testing.assert_equal(graph, xc.neighbor_graph(a, k=20))
    assert not (graph == np.arange(40)[:, None]).any()
    assert (graph.notnull().sum("neighbor")[:, :13] == 12).all()
    for resample in ("subsample", "bootstrap"):
        call = {"k": 10, "resample": resample, "n_resamples": 9, "rng": 0}
        found = xc.confidence_interval(*lazy, **call)
        assert found["standard_error"].isnull().all()
        xr.testing.assert_allclose(found, xc.confidence_interval(a, b, **call))


@pytest.mark.slow
def test_the_published_cknna_is_not_drawn_from_blocks():
    sides = (side.chunk(stimulus=7) for side in two_sides())
    with pytest.raises(ValueError, match=r"read block by block.*\.load\(\)"):
        xc.confidence_interval(*sides, "cknna", k=4, centered=True, n_resamples=3)


def test_what_does_not_fit_is_refused_before_it_starts(monkeypatch):
    a, b = two_sides()
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr(resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"MiB.*xconverge\.pca"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), "svcca", folds=8)  # n < 8 × 6
    with no_compute(), pytest.raises(MemoryError, match="pearson"):
        xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), "rsa", method="spearman")


def test_chunks_that_do_not_fit_are_refused_with_the_cure(monkeypatch):
    a, b = two_sides()
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr(resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"chunks of 25 stimuli.*recommend_chunks"):
        xc.alignment(a.chunk(stimulus=25), b.chunk(stimulus=7), "cka")
