"""Fitted maps between models too long for one task are those between models in memory."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import Counting, chunked, make_reps, no_compute
from xconverge.engine import resources as _resources
from xconverge.engine.blockwise import is_long
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.canonical import Svcca
from xconverge.kernels.ridge import Predictivity

pytestmark = pytest.mark.usefixtures("everything_is_long")


@pytest.fixture
def _never_in_memory(monkeypatch):
    def refuse(*args):
        raise AssertionError("held in memory")

    monkeypatch.setattr(Svcca, "prepare", refuse)
    monkeypatch.setattr(Predictivity, "prepare", refuse)


def pair(missing=0.1, dtype=np.float64, offset=1.0, n=60):
    """Models of other widths, of which each misses other stimuli."""
    given = {"missing": missing, "shared": False, "noise": 1.0, "offset": offset}
    a = make_reps(3, n, [4, 6, 5], seed=1, **given)
    b = make_reps(2, n, [6, 3], seed=2, **given).assign_coords(model=["x", "y"])
    b = b.sel(stimulus=a["stimulus"].values)
    b = b + a[1].drop_vars(["model", "n_features", "family"]).fillna(0.0) * [1, 1, 1, 0, 0, 0]
    return a.astype(dtype), b.assign_attrs(modality="language").astype(dtype)


CASES = [
    ("svcca", {"n_components": 2}),
    ("svcca", {"n_components": 3, "folds": 3, "groups": "category"}),
    ("svcca", {"n_components": 2, "folds": None}),
    ("svcca", {"n_components": 6, "folds": 4}),
    ("linear_predictivity", {}),
    ("linear_predictivity", {"score": "r2"}),
    ("linear_predictivity", {"folds": 3, "groups": "category"}),
]
CASES = [(metric, {**options, "rng": 0}) for metric, options in CASES]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.1, 0.0])
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_maps_in_blocks_are_maps_in_memory(metric, options, missing, request):
    a, b = pair(missing)
    expected = xc.alignment(a, b, metric, **options)
    request.getfixturevalue("_never_in_memory")
    long_a, long_b = a.chunk(model=2, stimulus=7, feature=3), b.chunk(stimulus=9)
    for sides in ((long_a, long_b), (long_a, b), (a, long_b)):
        with no_compute():
            found = xc.alignment(*sides, metric, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-9, atol=1e-12)
        assert found.attrs == expected.attrs
        assert set(found.coords) == set(expected.coords)


@pytest.mark.slow
@settings(max_examples=5)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_chunks_change_no_score(data, dtype):
    a, b = pair(dtype=dtype, offset=data.draw(st.sampled_from([0.0, 1e3])))
    lazy = [data.draw(chunked(side)) for side in (a, b)]
    for metric, options in (CASES[0], CASES[4], CASES[5]):
        expected = xc.alignment(a, b, metric, **options)
        found = xc.alignment(*lazy, metric, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_offsets_do_not_cancel(offset):
    a, b = pair(offset=0.0)
    moved = [(side + offset).chunk(stimulus=7) for side in (a, b)]
    for metric, options in CASES:
        expected = xc.alignment(a, b, metric, **options)
        found = xc.alignment(*moved, metric, **options)
        xr.testing.assert_allclose(found.compute(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("_never_in_memory")
@pytest.mark.parametrize("metric", ["svcca", "linear_predictivity"])
@pytest.mark.parametrize("both", [False, True])
def test_extra_dims_are_mapped_over(metric, both):
    a = make_reps(2, 60, 5, extra={"layer": 2}, shared=False)
    b = make_reps(2, 60, 4, extra={"layer": 2} if both else {"part": 3}, shared=False, noise=2.0)
    found = xc.alignment(a.chunk(stimulus=7), b.chunk(stimulus=11), metric, folds=3, rng=0)
    for layer in a["layer"].values:
        other = b.sel(layer=layer) if both else b.isel(part=1)
        one = xc.alignment(
            a.sel(layer=layer).chunk(stimulus=7), other.chunk(stimulus=7), metric, folds=3, rng=0
        )
        mine = found.sel(layer=layer) if both else found.sel(layer=layer).isel(part=1)
        np.testing.assert_allclose(mine, one, rtol=1e-9)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("metric", "reads"), [("svcca", (3, 4)), ("linear_predictivity", (3, 4))])
def test_a_model_is_read_once_and_once_more_for_every_partner(metric, reads):
    sides = [make_reps(m, 80, 5, missing=[(0, 7)], shared=False, noise=m) for m in (3, 2)]
    sides[1] = sides[1].sel(stimulus=sides[0]["stimulus"].values)
    sources = [Counting(side.values) for side in sides]
    lazy = [
        side.copy(data=da.from_array(source, chunks=(1, 10, 5), asarray=False, lock=True))
        for side, source in zip(sides, sources, strict=True)
    ]
    found = xc.alignment(*lazy, metric, folds=3, rng=0)
    found.data.compute()
    assert tuple(source.reads.min() for source in sources) == reads
    assert tuple(source.reads.max() for source in sources) == reads


@pytest.mark.parametrize("metric", ["procrustes", "svcca", "linear_predictivity"])
def test_a_short_model_is_not_the_block_of_a_long_one(metric):
    sides = [make_reps(1, 60, 5, shared=False, noise=m) for m in (1, 2)]
    sources = [Counting(side.values) for side in sides]
    lazy = [
        side.copy(data=da.from_array(source, chunks=(1, rows, 5), asarray=False, lock=True))
        for side, source, rows in zip(sides, sources, (16, 8), strict=True)
    ]
    xc.alignment(*lazy, metric).data.compute()
    # once to be measured, once for the only pair
    assert all(source.reads.max() == 2 for source in sources)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", ["svcca", "linear_predictivity"])
def test_faults_far_into_a_model_are_named(metric):
    for side in (0, 1):
        sides = list(pair(missing=0.0))
        sides[side][1, 53, 1] = np.inf
        name, label = (sides[side][dim].values[at] for dim, at in (("model", 1), ("stimulus", 53)))
        with pytest.raises(xc.SchemaError, match=f"{'ab'[side]} has NaN.*'{name}'.*'{label}'"):
            xc.alignment(*(s.chunk(stimulus=7) for s in sides), metric, folds=3, rng=0).compute()


@pytest.mark.slow
@pytest.mark.usefixtures("_never_in_memory")
@pytest.mark.parametrize("metric", ["svcca", "linear_predictivity"])
def test_too_few_common_stimuli_are_nan_with_a_warning(metric):
    a, b = pair(missing=0.0)
    a[0, :30] = np.nan
    b[:, 33:] = np.nan
    options = {"n_components": 2, "folds": 3} if metric == "svcca" else {"folds": 8}
    a, b = (side.chunk(stimulus=7) for side in (a, b))
    with pytest.warns(RuntimeWarning, match="common stimuli.*: NaN"):
        found = xc.alignment(a, b, metric, **options).compute()
    assert found[0].isnull().all()
    assert found[1:].notnull().all()


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_what_does_not_vary_is_left_out(lazy):
    a, b = pair(missing=0.0)
    a[0], b[:, :, 1] = xr.where(a[0].notnull(), 0.1, np.nan), 0.1
    sides = [side.chunk(stimulus=7) if lazy else side for side in (a, b)]
    for score in ("r", "r2"):
        found = xc.alignment(*sides, "linear_predictivity", score=score, rng=0).compute()
        assert found[0].values == pytest.approx(0.0, abs=1e-12)
        assert (found[1:] != 0).all()
        back = xc.alignment(*sides[::-1], "linear_predictivity", score=score, rng=0).compute()
        assert back[:, 0].isnull().all()
        assert back[:, 1:].notnull().all()
    with pytest.warns(RuntimeWarning, match="do not vary"):
        found = xc.alignment(*sides, "svcca", n_components=2, rng=0).compute()
    assert found[0].isnull().all()
    kept = b.isel(feature=[0, 2]).assign_coords(n_features=("model", [2, 2]))
    expected = xc.alignment(a[1:], kept, "svcca", n_components=2, rng=0)
    np.testing.assert_allclose(found[1:, 1], expected[:, 1], rtol=1e-9)


@pytest.mark.slow
def test_wide_models_are_held_whole():
    a, _ = pair()
    wide = make_reps(2, 60, 14, seed=3, shared=False)
    for sides in ((a, wide), (wide, a)):
        for metric in ("svcca", "linear_predictivity"):
            lazy = [side.chunk(stimulus=7) for side in sides]
            assert all(map(is_long, lazy))
            xr.testing.assert_allclose(
                xc.alignment(*lazy, metric, rng=0).compute(), xc.alignment(*sides, metric, rng=0)
            )


@pytest.mark.parametrize("metric", ["svcca", "linear_predictivity"])
def test_products_of_features_that_do_not_fit_are_refused(metric, monkeypatch):
    a, b = (side.chunk(stimulus=7) for side in pair())
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr(_resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"6 × 6.*by fold.*xconverge\.pca"):
        xc.alignment(a, b, metric)
