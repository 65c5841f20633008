"""Features that were not measured at every place: padding, gaps, and what goes along."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunkings, no_compute

DIMS = ("subject", "region", "repetition", "stimulus", "voxel")


def recording(seed=0, sizes=(2, 3, 2, 5, 8), lost=6, rows=2, dtype=np.float64):
    """(subject, region, repetition, stimulus, voxel), NaN in up to ``lost`` voxels of a place."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(sizes).astype(dtype)
    for s in range(sizes[0]):
        for r in range(sizes[1]):
            gone = rng.permutation(sizes[-1])[: rng.integers(0, lost + 1)]
            values[s, r][..., gone] = np.nan
    for _ in range(rows):
        values[tuple(rng.integers(0, n) for n in sizes[:-1])] = np.nan
    return xr.DataArray(
        values,
        dims=DIMS,
        coords={
            "subject": [f"s{i}" for i in range(sizes[0])],
            "region": [f"r{i}" for i in range(sizes[1])],
            "repetition": np.arange(sizes[2]),
            "stimulus": [f"image {i}" for i in range(sizes[3])],
            "voxel": [f"v{i}" for i in range(sizes[4])],
            "x": ("voxel", rng.standard_normal(sizes[4])),
            "snr": (("subject", "voxel"), rng.standard_normal((sizes[0], sizes[4]))),
        },
    )


def by_loops(array):
    """The voxels of each place that have a value, its rows of them, and their names."""
    found = {}
    for s in array.subject.values:
        for r in array.region.values:
            here = array.sel(subject=s, region=r)
            voxels = [v for v in array.voxel.values if not np.isnan(here.sel(voxel=v)).all()]
            found[s, r] = here.sel(voxel=voxels or array.voxel.values)
    return found


def check_places(reps, array):
    for (s, r), here in by_loops(array).items():
        mine = reps.sel(model="brain", subject=s, region=r)
        width = int(mine.n_features) if "n_features" in mine.coords else mine.sizes["feature"]
        assert width == here.sizes["voxel"]
        real = mine.isel(feature=slice(width)).transpose("repetition", "stimulus", "feature")
        np.testing.assert_array_equal(real.values, here.transpose(*DIMS[2:]).values)
        assert np.isnan(mine.isel(feature=slice(width, None))).all()
        assert real.voxel.values.tolist() == here.voxel.values.tolist()
        for name in ("x", "snr"):
            np.testing.assert_array_equal(real[name].values, here[name].values)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_each_place_has_its_own_voxels_in_their_order(data):
    array = recording(data.draw(st.integers(0, 999)), lost=data.draw(st.integers(0, 7)))
    array = array.transpose(*data.draw(st.permutations(DIMS)))
    reps = xc.from_xarray(array, model="brain", feature="voxel")
    check_places(reps, array)
    xc.validate(reps)
    chunks = data.draw(chunkings(dict(array.sizes)))
    lazy = xc.from_xarray(array.chunk(chunks), model="brain", feature="voxel", gaps="error")
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), reps)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_dtype_and_attrs_stay(dtype):
    array = recording(dtype=dtype).assign_attrs(scanner="7T")
    reps = xc.from_xarray(array, model="brain", feature="voxel", modality="brain")
    assert reps.dtype == dtype
    assert reps.attrs == {"scanner": "7T", "modality": "brain"}


def test_subjects_or_regions_as_models():
    array = recording()
    reps = xc.from_xarray(array, model="subject", feature="voxel")
    assert reps.n_features.dims == ("model", "region")
    whole = xc.from_xarray(array, model="brain", feature="voxel")
    np.testing.assert_array_equal(reps.n_features, whole.n_features.isel(model=0))
    alone = xc.from_xarray(array.sel(region="r1", drop=True), model="subject", feature="voxel")
    assert alone.n_features.dims == ("model",)
    mine = reps.sel(region="r1", drop=True).isel(feature=slice(alone.sizes["feature"]))
    np.testing.assert_array_equal(mine.values, alone.transpose(*mine.dims).values)


def test_voxels_that_nobody_has_are_left_out():
    array = recording(lost=0)
    array = array.where(array.voxel != "v2")
    reps = xc.from_xarray(array, model="brain", feature="voxel")
    assert "n_features" not in reps.coords
    assert reps.voxel.dims == ("feature",)
    assert reps.voxel.values.tolist() == ["v0", "v1", "v3", "v4", "v5", "v6", "v7"]
    without = array.where((array.subject != "s0") | (array.region != "r1"))
    again = xc.from_xarray(without, model="brain", feature="voxel")
    assert again.voxel.identical(reps.voxel)
    nothing = xc.from_xarray(array.where(False), model="brain", feature="voxel")
    assert nothing.isnull().all()
    assert nothing.sizes["feature"] == 8


def test_a_region_that_a_subject_lacks_is_missing():
    array = recording(lost=3)
    array = array.where((array.subject != "s0") | (array.region != "r1"))
    reps = xc.from_xarray(array, model="brain", feature="voxel")
    assert reps.sel(subject="s0", region="r1").isnull().all()
    # as wide as the others, of which nobody has all voxels
    others = reps.n_features.where((reps.subject != "s0") | (reps.region != "r1"))
    assert reps.sizes["feature"] == others.max() == reps.n_features[0, 0, 1]
    xc.validate(reps)
    distances = xc.rdm(reps, "euclidean")
    assert distances.sel(subject="s0", region="r1").isnull().all()
    assert distances.sel(subject="s1", region="r1").notnull().any()


def test_a_voxel_with_gaps_is_an_error_by_name():
    array = recording(lost=0, rows=0)
    array[1, 2, 0, 3, 4] = np.nan
    with pytest.raises(
        xc.SchemaError,
        match=r"model 'brain', subject 's1', region 'r2', 1 of 8 features: 'v4'; "
        r"stimuli 'image 3'\. .*gaps='drop'",
    ):
        xc.from_xarray(array, model="brain", feature="voxel")
    with pytest.warns(RuntimeWarning, match=r"1 of 8 of model 'brain', subject 's1', region 'r2'"):
        reps = xc.from_xarray(array, model="brain", feature="voxel", gaps="drop")
    assert reps.n_features.sel(subject="s1", region="r2").item() == 7
    assert "v4" not in reps.voxel.sel(subject="s1", region="r2").values
    assert reps.n_features.sum() == 47


def test_every_voxel_with_gaps_leaves_nothing():
    array = recording(lost=0, rows=0, sizes=(1, 1, 1, 3, 2))
    array[0, 0, 0, 0, 0] = array[0, 0, 0, 1, 1] = np.nan
    with (
        pytest.warns(RuntimeWarning, match="2 of 2"),
        pytest.raises(xc.SchemaError, match=r"no feature without gaps in model 'brain'"),
    ):
        xc.from_xarray(array, model="brain", feature="voxel", gaps="drop")


@pytest.mark.parametrize("dim", ["repetition", "session", "time", "day"])
def test_along_other_dims_voxels_are_the_same(dim):
    # a voxel that lacks a session would be another one there, at the same position
    array = recording(lost=0, rows=0).rename({"repetition": dim})
    array[:, :, 0, :, 3] = np.nan
    with pytest.raises(xc.SchemaError, match=r"1 of 8 features: 'v3'"):
        xc.from_xarray(array, model="brain", feature="voxel")


def test_widths_that_were_given_stay():
    array = recording(lost=4)
    reps = xc.from_xarray(array, model="brain", feature="voxel")
    xr.testing.assert_identical(xc.from_xarray(reps), reps)
    bad = reps.copy()
    bad[{"model": 0, "subject": 0, "region": 0, "feature": -1}] = 1.0
    if int(bad.n_features[0, 0, 0]) < bad.sizes["feature"]:
        with pytest.raises(xc.SchemaError, match="padding"):
            xc.from_xarray(bad)


def test_a_lazy_array_is_read_only_where_gaps_are_asked_for():
    array = recording(rows=0)
    lazy = array.chunk(stimulus=2)
    with no_compute():
        reps = xc.from_xarray(lazy, model="brain", feature="voxel")
    assert reps.sizes["feature"] == 8
    assert "n_features" not in reps.coords
    blocks = da.map_blocks(lambda x: x, lazy.data)
    whole = xc.from_xarray(array.copy(data=blocks), model="brain", feature="voxel", gaps="drop")
    check_places(whole.compute(), array)


def test_gaps_is_one_of_its_choices():
    with pytest.raises(ValueError, match="gaps='fill' is not known; choose one of error, drop"):
        xc.from_xarray(recording(), model="brain", feature="voxel", gaps="fill")
