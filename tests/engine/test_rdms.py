"""RDMs at the door: what is no RDM is refused by name, by every call that takes one."""

import warnings

import dask
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, read_only
from xconverge.engine.rdms import checked_rdms

IDS = [f"s{i}" for i in range(12)]
REPS = xc.stack_models(
    {name: np.random.default_rng(i).standard_normal((12, 9)) for i, name in enumerate("mk")},
    stimuli=IDS,
)
SPREAD = xc.dispersion(REPS, "rdm")
RDMS = xc.rdm(REPS)
CATEGORY = np.arange(12) % 3


def square(values, names=("category",), dim="model"):
    """RDMs (model, stimulus, stimulus_2) of the same values each."""
    values = np.broadcast_to(values, (len(names), 12, 12)).copy()
    coords = {dim: list(names), "stimulus": IDS, "stimulus_2": IDS}
    return xr.DataArray(values, dims=(dim, "stimulus", "stimulus_2"), coords=coords, name="rdm")


def one(rdms):
    return rdms.isel(model=0, drop=True)


def ceiling(rdms):
    both = xr.concat([rdms, rdms], "subject").isel(model=0, drop=True)
    return xc.noise_ceiling(both.assign_coords(subject=["a", "b"])).lower


def stored(rdms, path):
    xc.io.write_rdms(path, rdms, modality="m", overwrite=True)
    return xc.io.open_rdms(path, "m").values


def as_rsatoolbox(rdms):
    pytest.importorskip("rsatoolbox")
    return xc.io.to_rsatoolbox_rdms(rdms).dissimilarities


FEW = {"n_permutations": 9, "n_draws": 20, "n_splits": 2, "n_bins": 1, "rng": 0}
CALLS = {
    "rsa": lambda r: xc.rsa(RDMS, r),
    "rsa first": lambda r: xc.rsa(r, RDMS),
    "nuisance": lambda r: xc.rsa(RDMS, RDMS, nuisance=one(r)),
    "calibrate_rsa": lambda r: xc.calibrate_rsa(RDMS, r, n_permutations=9, rng=0).p_value,
    "its nuisance": lambda r: xc.calibrate_rsa(
        RDMS, RDMS, nuisance=one(r), n_permutations=9, rng=0
    ).p_value,
    "binned_rsa": lambda r: xc.binned_rsa(REPS, one(r), SPREAD, 2, n_permutations=9, rng=0).rsa,
    "binned_rsa_contrast": lambda r: xc.binned_rsa_contrast(
        REPS, one(r), SPREAD, 2, n_permutations=9, rng=0
    , null="labels").trend,
    "select_models": lambda r: xc.select_models(REPS, one(r), SPREAD, **FEW).rsa,
    "noise_ceiling": ceiling,
    "pair": lambda r: xc.pair(REPS, REPS, r)[2],
    "optimize_stimuli": lambda r: xc.optimize_stimuli(
        xr.concat([r, r.assign_coords(model=["again"])], "model"),
        6, n_restarts=1, n_perturbations=1, rng=0,
    ).agreement,
    "select_stimuli": lambda r: xc.select_stimuli(
        SPREAD, 3, "low", distances=one(r), min_distance=0.0
    ).value,
    "to_rsatoolbox_rdms": as_rsatoolbox,
}  # fmt: skip


@pytest.fixture(params=[*CALLS, "write_rdms"])
def call(request, tmp_path):
    """A call that takes RDMs."""
    if request.param == "write_rdms":
        return lambda rdms: stored(rdms, tmp_path / "s.zarr")
    return CALLS[request.param]


@pytest.mark.slow_after(1)
def test_booleans_and_integers_are_their_float_copies(call):
    model = square(CATEGORY[:, None] != CATEGORY)
    with warnings.catch_warnings():
        # constant inside a bin of few stimuli
        warnings.simplefilter("ignore", RuntimeWarning)
        right = np.asarray(call(model.astype(float)))
        for dtype in (bool, np.uint8, np.int64):
            found = np.asarray(call(model.astype(dtype)))
            np.testing.assert_array_equal(found, right)
            assert found.dtype == right.dtype


def test_infinity_names_the_rdm_and_the_stimuli(call):
    rdms = square(RDMS.values[0])
    rdms[0, 2, 7] = rdms[0, 7, 2] = np.inf
    with pytest.raises(xc.SchemaError, match=r"must be finite.*\(stimuli 's2' and 's7'\)"):
        call(rdms)


def test_triangles_that_differ_are_refused_by_name(call):
    rdms = square(RDMS.values[0])
    rdms[0, 4, 9] += 0.1
    with pytest.raises(xc.SchemaError, match=r"must be symmetric.*\(stimuli 's4' and 's9'\)"):
        call(rdms)


def test_a_similarity_is_refused(call):
    x = REPS.values[0]
    for values in (1 - RDMS.values[0], x @ x.T, np.exp(-RDMS.values[0])):
        with pytest.raises(xc.SchemaError, match="this is a similarity"):
            call(square(values))


def test_the_names_of_all_dims_are_told():
    rdms = xc.rdm(make_reps(3, 8, extra={"region": 2})).rename(model="subject")
    rdms[{"region": 1, "subject": 2, "stimulus": 3, "stimulus_2": 5}] = np.inf
    rdms[{"region": 1, "subject": 2, "stimulus": 5, "stimulus_2": 3}] = np.inf
    ids = rdms["stimulus"].values
    told = f"rdms, region 'region1', subject 'net2': .*{sorted([ids[3], ids[5]])[0]}"
    with pytest.raises(xc.SchemaError, match=told):
        xc.noise_ceiling(rdms)
    single = rdms.isel(region=1).rename(subject="model").sel(model="net2")
    with pytest.raises(xc.SchemaError, match="rdm_b, model 'net2': "):
        xc.rsa(xc.rdm(make_reps(1, 8)), single)


CHUNKS = (
    {},
    {"model": 1},
    {"stimulus": 4},
    {"stimulus": (2, 7), "stimulus_2": 3, "region": 1},
    {"stimulus": 1, "stimulus_2": 9},
)


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_lazy_rdms_are_looked_at_by_their_tasks_in_any_chunks(chunks):
    rdms = xc.rdm(make_reps(2, 9, missing=[(0, 3)], extra={"region": 2}))
    with no_compute():
        lazy = checked_rdms(rdms.chunk(chunks), "rdms")
    xr.testing.assert_identical(lazy.compute(), rdms)
    for i, j in ((0, 1), (8, 2), (3, 4)):
        for bad in (np.inf, 50.0, np.nan):
            wrong = rdms.copy(deep=True)
            wrong[1, 1, i, j] = bad
            told = "finite" if bad == np.inf else "symmetric"
            with no_compute():
                lazy = checked_rdms(wrong.chunk(chunks), "rdms")
            told = rf"rdms, region 'region1', model 'net1'.*{told}"
            with pytest.raises(xc.SchemaError, match=told):
                lazy.compute(scheduler="synchronous")


def test_a_lazy_similarity_is_refused_by_the_blocks_on_its_diagonal():
    for chunks in ({}, {"stimulus": 5, "stimulus_2": 4}):
        lazy = checked_rdms(square(1 - RDMS.values[0]).chunk(chunks), "rdms")
        with pytest.raises(xc.SchemaError, match="model 'category'.*this is a similarity"):
            lazy.compute(scheduler="synchronous")


def test_an_array_in_memory_is_neither_copied_nor_changed():
    rdms = read_only(RDMS)
    assert np.shares_memory(checked_rdms(rdms, "rdms").values, rdms.values)
    xr.testing.assert_identical(checked_rdms(rdms, "rdms"), RDMS)
    turned = rdms.transpose("stimulus_2", "model", "stimulus")
    assert checked_rdms(turned, "rdms").dims == turned.dims


def diagonal(value, rdm=None):
    values = np.array(RDMS.values[0] if rdm is None else rdm)
    np.fill_diagonal(values, value)
    return square(values)


def test_what_a_diagonal_may_be():
    right = xc.rsa(RDMS, square(RDMS.values[0])).values
    noise = RDMS.values[0] - 0.9
    for rdms in (
        diagonal(0.0),
        diagonal(np.nan),
        diagonal(1e-8),
        diagonal(1e-4 * np.random.default_rng(0).random(12)),
        square(2 * RDMS.values[0] + 1),  # a constant was added
    ):
        np.testing.assert_array_equal(xc.rsa(RDMS, rdms), right)
    # cross-validated distances are below 0 as often as above, where nothing differs
    np.testing.assert_allclose(xc.rsa(RDMS, diagonal(0.0, noise)), right)


def test_a_diagonal_that_is_neither_is_warned_about():
    rng = np.random.default_rng(0)
    rdms = diagonal(0.9 + 0.3 * rng.standard_normal(12))
    right = xc.rsa(RDMS, square(RDMS.values[0])).values
    with pytest.warns(RuntimeWarning, match=r"rdm_b has up to 1\.\d+ on the diagonal \(model 'cat"):
        np.testing.assert_array_equal(xc.rsa(RDMS, rdms), right)


def test_rdms_that_are_equal_throughout_are_no_similarity():
    with pytest.warns(RuntimeWarning, match="that differ"):
        assert np.isnan(xc.rsa(RDMS, square(np.ones((12, 12))))).all()


def test_a_store_is_written_in_the_chunks_it_was_given(tmp_path):
    lazy = RDMS.chunk(stimulus=5, stimulus_2=5, model=1)
    with dask.config.set(scheduler="synchronous"):
        xc.io.write_rdms(tmp_path / "s.zarr", lazy, modality="m")
    found = xc.io.open_rdms(tmp_path / "s.zarr", "m")
    np.testing.assert_array_equal(found, RDMS)
    assert found.chunks[1] == (5, 5, 2)
