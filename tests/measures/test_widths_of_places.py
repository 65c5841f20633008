"""Sets whose width varies over subject and region: each place gives what it gives alone."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc

WIDTHS = np.array([[[7, 4], [5, 6]], [[6, 7], [7, 5]], [[4, 5], [6, 7]], [[5, 7], [7, 4]]])
N = 10


@pytest.fixture(scope="module")
def reps():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 2, 2, 2, N, 7))
    values[0, 1, 0, 1, 3] = np.nan
    array = xr.DataArray(
        values,
        dims=("model", "subject", "region", "repetition", "stimulus", "feature"),
        coords={
            "model": list("abcd"),
            "subject": ["p", "q"],
            "region": ["V1", "IT"],
            "repetition": [0, 1],
            "stimulus": [f"s{i}" for i in range(N)],
            "session": (("stimulus", "repetition"), rng.integers(0, 3, (N, 2))),
            "voxel": (("subject", "region", "feature"), np.full((2, 2, 7), "v", object)),
            "n_features": (("model", "subject", "region"), WIDTHS),
        },
        name="representation",
        attrs={"modality": "brain"},
    )
    return array.where(xr.DataArray(np.arange(7), dims="feature") < array.n_features)


def alone(reps, subject, region):
    """One place, every model cut to its own width."""
    here = reps.sel(subject=subject, region=region, drop=True)
    models = {
        name: here.sel(model=name, drop=True)
        .isel(feature=slice(int(here.n_features.sel(model=name))))
        .drop_vars("n_features", errors="ignore")
        for name in here.model.values
    }
    return xc.stack_models(models, modality="brain")


def assert_each_place_as_alone(call, reps):
    """In memory and lazily, each subject and region has what a call gives for it alone."""
    for source in (reps, reps.chunk(subject=1, region=1, model=1, stimulus=4)):
        whole = call(source).compute()
        for subject, region in itertools.product("pq", ["V1", "IT"]):
            mine = whole.sel(subject=subject, region=region)
            expected = call(alone(reps, subject, region))
            if "feature" in mine.dims:
                width = expected.sizes["feature"]
                assert mine.isel(feature=slice(width, None)).isnull().all()
                mine = mine.isel(feature=slice(width))
            assert set(mine.dims) == set(expected.dims)
            np.testing.assert_allclose(
                mine.transpose(*expected.dims).values, expected.values, atol=1e-10
            )


SIMPLE = {
    "rdm": lambda x: xc.rdm(x, "correlation"),
    "rdm euclidean": lambda x: xc.rdm(x, "euclidean"),
    "dispersion": lambda x: xc.dispersion(x, "rdm"),
    "dispersion of lists": lambda x: xc.dispersion(x, "neighborhood", k=3),
    "rows": lambda x: xc.alignment(x, x, "rdm"),
    "cka": lambda x: xc.alignment(x, x, "cka"),
    "knn": lambda x: xc.alignment(x, x, "mutual_knn", k=3),
    "procrustes": lambda x: xc.alignment(x, x, "procrustes"),
    "maps": lambda x: xc.alignment(x, x, "linear_predictivity", rng=0),
    "center": xc.center,
    "zscore": xc.zscore,
    "unit_rows": xc.unit_rows,
    "clamp": xc.clamp,
    "pca": lambda x: abs(xc.pca(x, 3)),
    "norm": xc.stimulus_norm,
    "density": lambda x: xc.local_density(x, k=3),
    "reliability": lambda x: xc.reliability(x, "rdm", rng=0).to_array(),
}


QUICK = ("rdm", "dispersion", "cka", "zscore")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SIMPLE]
)
def test_each_place_gives_what_it_gives_alone(reps, name):
    with warnings.catch_warnings():
        # a lone place whose models are narrow, and pca of fewer components than asked
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_each_place_as_alone(SIMPLE[name], reps)


def test_reliability_takes_widths_of_places(reps):
    found = xc.reliability(reps.isel(repetition=0), "rdm", rng=0).to_array()
    assert found.sizes["region"] == 2
    assert found.notnull().all()


@pytest.mark.slow
@pytest.mark.usefixtures("everything_is_long")
@pytest.mark.parametrize(
    "name",
    ["rows", *(pytest.param(n, marks=pytest.mark.slow) for n in ("cka", "knn", "dispersion"))],
)
def test_long_models_too(reps, name):
    one = reps.isel(repetition=0, drop=True)
    whole = SIMPLE[name](one.chunk(subject=1, region=1, model=1, stimulus=4)).compute()
    for subject, region in itertools.product("pq", ["V1", "IT"]):
        mine = whole.sel(subject=subject, region=region)
        expected = SIMPLE[name](alone(one, subject, region))
        np.testing.assert_allclose(
            mine.transpose(*expected.dims).values, expected.values, atol=1e-8
        )


def test_one_rdm_array_has_the_subjects_and_regions(reps, tmp_path):
    distances = xc.rdm(reps, "correlation")
    assert set(distances.dims) == {
        "model", "subject", "region", "repetition", "stimulus", "stimulus_2"
    }  # fmt: skip
    assert distances.session.dims == ("stimulus", "repetition")
    # two RDMs of one place each, and that of both at once
    both = xc.rsa(distances, distances.sel(model=["a"]))
    one = xc.rsa(
        *(d.sel(subject="p", region="IT", repetition=0) for d in (distances, distances[:1]))
    )
    picked = both.sel(subject="p", region="IT", repetition=0, model_b="a")
    np.testing.assert_allclose(picked, one.sel(model_b="a"))
    xc.io.write_rdms(tmp_path / "s.zarr", distances)
    again = xc.io.open_rdms(tmp_path / "s.zarr", "brain").load()
    xr.testing.assert_identical(
        again.transpose(*distances.dims), distances.transpose(*distances.dims)
    )


@pytest.mark.slow
def test_the_store_keeps_widths_of_places(reps, tmp_path):
    order = reps.dims
    xc.write_representations(tmp_path / "a.zarr", reps)
    again = xc.open_representations(tmp_path / "a.zarr", "brain").load()
    xr.testing.assert_identical(again.transpose(*order), reps.transpose(*order))
    xc.write_representations(tmp_path / "b.zarr", reps.isel(model=[0]))
    xc.append_models(tmp_path / "b.zarr", reps.isel(model=[1, 2, 3]))
    grown = xc.open_representations(tmp_path / "b.zarr", "brain").load()
    xr.testing.assert_identical(grown.transpose(*order), reps.transpose(*order))
    xc.validate_store(tmp_path / "b.zarr")


@pytest.mark.slow
def test_files_keep_widths_of_places(reps, tmp_path):
    order = reps.dims
    xc.io.write_npz(tmp_path / "a.npz", reps)
    xr.testing.assert_identical(
        xc.io.read_npz(tmp_path / "a.npz").transpose(*order), reps.transpose(*order)
    )
    plain = reps.isel(model=[0, 1], stimulus=slice(4)).drop_vars("voxel")
    long = xc.io.from_long(xc.io.to_long(plain))
    xr.testing.assert_identical(long.transpose(*order), plain.transpose(*order))


def test_pairing_cuts_them_alike(reps):
    fewer = reps.isel(stimulus=slice(2, None))
    a, b = xc.pair(reps, fewer, join="inner")
    assert a.sizes["stimulus"] == b.sizes["stimulus"] == N - 2
    assert a.n_features.dims == ("model", "subject", "region")
    xr.testing.assert_identical(a.session.drop_vars("n_features", errors="ignore"), b.session)
