"""Pairs of long models in tiles: the numbers of models in memory, and how often they are formed."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import Counting, chunked, make_reps, no_compute
from xconverge.engine import long_entries
from xconverge.kernels import entries
from xconverge.kernels.budgets import BUDGETS

N = 40


pytestmark = pytest.mark.usefixtures("everything_is_long")


def two_sides(missing=0.1, n=N):
    a = make_reps(5, n, [4, 6, 5, 3, 6], seed=1, missing=missing, shared=False, offset=1.0)
    b = make_reps(3, n, [6, 3, 5], seed=1, missing=missing, shared=False)
    b = b.assign_coords(model=["x", "y", "z"])
    b = b + 0.5 * np.random.default_rng(0).standard_normal(b.shape)
    return a, b.assign_attrs(modality="language")


CASES = [
    ("cka", {"kernel": "rbf"}),
    ("cka", {"kernel": "rbf", "debiased": False}),
    ("rdm", {}),
    ("rdm", {"rdm_metric": "euclidean"}),
    ("rsa", {"method": "pearson", "rdm_metric": "cosine"}),
    ("rsa", {"method": "cosine", "rdm_metric": "sqeuclidean"}),
    ("distance_correlation", {}),
    ("distance_correlation", {"debiased": False}),
]
SLOW = pytest.mark.slow


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("size", "missing"),
    [
        pytest.param(1, 0.1, marks=SLOW),
        (2, 0.1),
        pytest.param(3, 0.1, marks=SLOW),
        pytest.param(8, 0.1, marks=SLOW),
        pytest.param(2, 0.0, marks=SLOW),
    ],
)
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_tiles_of_any_size_give_alignment_in_memory(metric, options, missing, size, monkeypatch):
    monkeypatch.setattr(long_entries, "MOST_MODELS", size)
    a, b = two_sides(missing)
    expected = xc.alignment(a, b, metric, **options)
    with no_compute():
        found = xc.alignment(a.chunk(model=2, stimulus=17), b.chunk(stimulus=9), metric, **options)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-7)
    assert found.dims == expected.dims
    assert set(found.coords) == set(expected.coords)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("size", "pairwise"),
    [
        pytest.param(1, False, marks=SLOW),
        (2, True),
        (3, False),
        pytest.param(8, True, marks=SLOW),
    ],
)
def test_tiles_of_a_set_with_itself(size, pairwise, monkeypatch):
    monkeypatch.setattr(long_entries, "MOST_MODELS", size)
    a, _ = two_sides()
    expected = xc.dispersion(a, "rdm", pairwise=pairwise)
    with no_compute():
        found = xc.dispersion(a.chunk(stimulus=7), "rdm", pairwise=pairwise)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9, atol=1e-12)
    assert found.dims == expected.dims
    assert set(found.coords) == set(expected.coords)


BOTH = two_sides()


@SLOW
@settings(max_examples=10)
@given(data=st.data(), metric=st.sampled_from(["rdm", "cka"]))
def test_chunks_change_no_score(data, metric):
    options = {"kernel": "rbf"} if metric == "cka" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_entries, "MOST_MODELS", data.draw(st.integers(2, 6)))
        lazy = [data.draw(chunked(side)) for side in BOTH]
        found = xc.alignment(*lazy, metric, **options).compute()
    xr.testing.assert_allclose(found, xc.alignment(*BOTH, metric, **options), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [17, pytest.param(20, marks=SLOW)])
def test_memory_changes_no_score(exponent, monkeypatch):
    monkeypatch.setattr(BUDGETS, "tile", 2**exponent)
    a, b = two_sides()
    for metric, options in (CASES[0], CASES[2]):
        expected = xc.alignment(a, b, metric, **options)
        found = xc.alignment(a.chunk(stimulus=40), b.chunk(stimulus=20), metric, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_extra_dims_are_mapped_over(monkeypatch):
    monkeypatch.setattr(long_entries, "MOST_MODELS", 2)
    a = make_reps(3, 30, [5, 4, 5], extra={"layer": 2}, shared=False, missing=0.1)
    b = make_reps(3, 30, 5, extra={"layer": 2}, shared=False, noise=1.0).isel(layer=0, drop=True)
    for metric, options in [("rdm", {}), ("cka", {"kernel": "rbf"}), ("rsa", {"method": "cosine"})]:
        expected = xc.alignment(a, b, metric, **options)
        found = xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=7), metric, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6)
    expected = xc.dispersion(a, "rdm")
    xr.testing.assert_allclose(xc.dispersion(a.chunk(stimulus=7), "rdm").compute(), expected)


CALLS = {
    "rdm": lambda a, b: xc.alignment(a, b, "rdm"),
    "rsa": lambda a, b: xc.alignment(a, b, "rsa", method="pearson"),
    "rbf": lambda a, b: xc.alignment(a, b, "cka", kernel="rbf"),
    "itself": lambda a, _: xc.dispersion(a, "rdm"),
}


@pytest.fixture
def formed(monkeypatch):
    """Sizes of the pieces of RDMs and kernels that are formed."""
    sizes = []

    def count(rows, others, *more):
        sizes.append(len(rows) * len(others))
        return square_distances(rows, others, *more)

    square_distances = entries.square_distances
    monkeypatch.setattr(entries, "square_distances", count)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(n, s, marks=() if (n, s) in {("rdm", 2), ("itself", 8)} else SLOW)
        for n in CALLS
        for s in (1, 2, 8)
    ],
)
def test_an_rdm_is_formed_once_a_tile(name, size, formed, monkeypatch):
    monkeypatch.setattr(long_entries, "MOST_MODELS", size)
    a, b = two_sides()
    CALLS[name](a.chunk(stimulus=7), b.chunk(stimulus=9)).compute(scheduler="synchronous")
    tiles_a, tiles_b = -(-5 // size), -(-3 // size)
    expected = 5 * tiles_a if name == "itself" else 5 * tiles_b + 3 * tiles_a
    assert sum(formed) == expected * N**2


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("size", "n_tiles"), [(2, 3), (8, 1)])
def test_a_task_reads_every_block_once(size, n_tiles, monkeypatch):
    monkeypatch.setattr(long_entries, "MOST_MODELS", size)
    a, _ = two_sides(missing=0.0)
    source = Counting(a.values)
    lazy = a.copy(data=da.from_array(source, chunks=(1, 8, 6), asarray=False, lock=True))
    spread = xc.dispersion(lazy, "rdm")
    assert source.reads.max() == 0
    spread.compute()
    tasks = -(-N // 16)
    real = np.arange(6) < a["n_features"].values[:, None]
    reads = source.reads[np.broadcast_to(real[:, None], source.reads.shape)]
    # to see what is there, then the rows that ask and all others in every task; the count of models
    # looks at one feature again
    assert (reads.min(), reads.max()) == tuple(n_tiles * (tasks + 1) + n for n in (1, 2))


def test_wide_models_come_in_smaller_tiles():
    sizes = [long_entries._tile_models(width) for width in (1, 1024, 4096, 8192, 10**6)]
    assert sizes == [8, 8, 8, 4, 1]
    for width in (64, 1024, 4096):
        rows = long_entries._asking_rows(width, 8)
        assert rows > long_entries.LEAST_ROWS // 2
        assert rows * 16 * width * 8 <= 3 * BUDGETS.tile // 8
    assert long_entries._asking_rows(10**9, 1) == 1
