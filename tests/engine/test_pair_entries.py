"""Pairs of long models in tiles: the numbers of models in memory, and how often they are formed."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import Counting, chunked, make_reps, no_compute
from xconverge.kernels import tiles

N = 40


pytestmark = pytest.mark.usefixtures("everything_is_long")


def pair(missing=0.1, n=N):
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
]


@pytest.mark.parametrize(("size", "missing"), [(1, 0.1), (2, 0.1), (3, 0.1), (8, 0.1), (2, 0.0)])
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_tiles_of_any_size_give_alignment_in_memory(metric, options, missing, size, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", size)
    a, b = pair(missing)
    expected = xc.alignment(a, b, metric, **options)
    with no_compute():
        found = xc.alignment(a.chunk(model=2, stimulus=17), b.chunk(stimulus=9), metric, **options)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-7)
    assert found.dims == expected.dims
    assert set(found.coords) == set(expected.coords)


@pytest.mark.parametrize(("size", "pairwise"), [(1, False), (2, True), (3, False), (8, True)])
def test_tiles_of_a_set_with_itself(size, pairwise, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", size)
    a, _ = pair()
    expected = xc.dispersion(a, "rdm", pairwise=pairwise)
    with no_compute():
        found = xc.dispersion(a.chunk(stimulus=7), "rdm", pairwise=pairwise)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9, atol=1e-12)
    assert found.dims == expected.dims
    assert set(found.coords) == set(expected.coords)


@settings(max_examples=10)
@given(data=st.data(), metric=st.sampled_from(["rdm", "cka"]))
def test_chunks_change_no_score(data, metric):
    options = {"kernel": "rbf"} if metric == "cka" else {}
    a, b = pair()
    expected = xc.alignment(a, b, metric, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", data.draw(st.integers(2, 6)))
        lazy = [data.draw(chunked(side)) for side in (a, b)]
        found = xc.alignment(*lazy, metric, **options).compute()
    xr.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


class Held:
    """Rows in memory, in blocks of seven."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.spans = [slice(start, min(start + 7, len(values))) for start in range(0, N, 7)]

    def read(self, part):
        return self.values[part]


@given(
    exponent=st.integers(6, 20),
    start=st.integers(0, N - 1),
    length=st.integers(1, N),
    debiased=st.booleans(),
)
def test_memory_and_place_change_no_sum(exponent, start, length, debiased):
    reps = make_reps(5, N, 6, missing=0.2, shared=False)
    handles = np.empty(5, dtype=object)
    handles[:] = [Held(values) for values in reps.values]
    parts = (handles, np.full(5, 6), ~np.isnan(reps.values[..., 0]), np.linspace(1.0, 2.0, 5))
    sides = [part[:3] for part in parts] + [part[3:] for part in parts]
    asking = slice(start, min(start + length, N))
    expected = tiles.rbf_totals(*sides, asking=asking, debiased=debiased)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TASK_BYTES", 2**exponent)
        found = tiles.rbf_totals(*sides, asking=asking, debiased=debiased)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_extra_dims_are_mapped_over(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 2)
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

    def count(rows, others):
        sizes.append(len(rows) * len(others))
        return square_distances(rows, others)

    square_distances = tiles.square_distances
    monkeypatch.setattr(tiles, "square_distances", count)
    return sizes


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("name", CALLS)
def test_an_rdm_is_formed_once_a_tile(name, size, formed, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", size)
    a, b = pair()
    CALLS[name](a.chunk(stimulus=7), b.chunk(stimulus=9)).compute(scheduler="synchronous")
    tiles_a, tiles_b = -(-5 // size), -(-3 // size)
    expected = 5 * tiles_a if name == "itself" else 5 * tiles_b + 3 * tiles_a
    assert sum(formed) == expected * N**2


@pytest.mark.parametrize(("size", "n_tiles"), [(2, 3), (8, 1)])
def test_a_task_reads_every_block_once(size, n_tiles, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", size)
    a, _ = pair(missing=0.0)
    source = Counting(a.values)
    lazy = a.copy(data=da.from_array(source, chunks=(1, 8, 6), asarray=False, lock=True))
    spread = xc.dispersion(lazy, "rdm")
    assert source.reads.max() == 0
    spread.compute()
    tasks = N // 8
    real = np.arange(6) < a["n_features"].values[:, None]
    reads = source.reads[np.broadcast_to(real[:, None], source.reads.shape)]
    # to see what is there, then the rows that ask and all others in every task
    assert (reads.min(), reads.max()) == (1 + n_tiles * (tasks + 1),) * 2


def test_wide_models_come_in_smaller_tiles():
    assert [tiles.tile_size(width) for width in (1, 1024, 4096, 8192, 10**6)] == [8, 8, 8, 4, 1]
    for width in (64, 1024, 4096):
        rows = tiles.asking_rows(width, 8)
        assert rows > tiles.LEAST // 2
        assert rows * 16 * width * 8 <= 3 * tiles.TASK_BYTES // 8
    assert tiles.asking_rows(10**9, 1) == 1
