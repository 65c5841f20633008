"""Searchlights: every form of neighbourhoods, labels, chunks, and rsatoolbox's numbers."""

import warnings

import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge.engine import neighborhoods as hoods_module
from xconverge.kernels.budgets import BUDGETS

GRID = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.1
LISTS = [[0, 1, 2], [5, 2, 9, 20], [3, 26, 11, 4, 8]]


def brain(n=10, n_models=2, seed=0, **options):
    """A set of 27 voxels on a grid of tenths, and RDMs of three models."""
    reps = make_reps(n_models, n, options.pop("widths", 27), seed=seed, **options)
    places = {name: ("feature", column) for name, column in zip("xyz", GRID.T, strict=True)}
    target = xc.rdm(make_reps(3, n, 6, seed=seed + 1), "euclidean")
    return reps.assign_coords(places), target


def one_by_one(reps, target, lists, rdm_metric="correlation", method="spearman"):
    """RSA of each neighbourhood by `rdm` and `rsa`."""
    found = []
    for members in lists:
        part = reps.isel(feature=sorted(members))
        if "n_features" in reps.coords:
            width = int(reps["n_features"][0])
            part = reps.isel(feature=[f for f in sorted(members) if f < width])
        part = part.drop_vars("n_features", errors="ignore")
        found.append(xc.rsa(xc.rdm(part, rdm_metric), target, method))
    return xr.concat(found, "center")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", ["spearman", "pearson", "rho-a"])
@pytest.mark.parametrize("rdm_metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
def test_it_is_rsa_of_the_rdm_of_each_neighbourhood(rdm_metric, method):
    reps, target = brain(missing=[(0, 3), (1, 5), (1, 6)])
    right = one_by_one(reps, target, LISTS, rdm_metric, method)
    found = xc.searchlight(
        read_only(reps), shuffled(read_only(target)), neighborhoods=LISTS,
        rdm_metric=rdm_metric, method=method,
    )  # fmt: skip
    assert found["rsa"].dims == ("model_a", "model_b", "center")
    np.testing.assert_allclose(found["rsa"], right.transpose(*found["rsa"].dims), atol=1e-12)
    assert found["n_features"].values.tolist() == [3, 4, 5]
    assert found["rsa"].attrs["rdm_metric"] == rdm_metric
    assert found.attrs["metric"] == method
    assert found["center"].values.tolist() == [0, 1, 2]


def masks():
    rows = np.zeros((3, 27), bool)
    for row, members in zip(rows, LISTS, strict=True):
        row[members] = True
    return rows


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("labelled", [False, True])
def test_every_form_of_neighbourhoods_is_the_same(labelled):
    reps, target = brain()
    right = xc.searchlight(reps, target, neighborhoods=LISTS)["rsa"].values
    names = np.array([f"v{i}" for i in range(27)], dtype=object)
    lists = LISTS
    mask = xr.DataArray(masks(), dims=("center", "feature"))
    if labelled:
        reps = reps.assign_coords(feature=names)
        lists = [[names[i] for i in members] for members in LISTS]
        mask = mask.assign_coords(feature=names)[:, ::-1]
    sparse = scipy.sparse.csc_matrix(masks() * 2.5)
    wide = masks() * 2.5
    wide[0, 20] = 1.0
    sparse = scipy.sparse.csr_matrix(wide)
    sparse.data[sparse.data == 1.0] = 0.0  # an explicit zero is no neighbour
    for given_lists in (
        lists,
        tuple(map(set, lists)),
        (iter(one) for one in lists),
        mask,
        mask.transpose(),
        masks(),
        sparse,
        scipy.sparse.coo_array(masks()),
        [np.array(one) for one in lists],
        [list(np.array(one)) for one in lists],
        mask.chunk(),
    ):
        found = xc.searchlight(reps, target, neighborhoods=given_lists)
        np.testing.assert_array_equal(found["rsa"], right)
    named = xc.searchlight(reps, target, neighborhoods=dict(zip("abc", lists, strict=True)))
    np.testing.assert_array_equal(named["rsa"].sel(center=["c", "a"]), right[..., [2, 0]])
    around = [3, 5, 26] if not labelled else ["v3", "v5", "v26"]
    found = xc.searchlight(reps, target, neighborhoods=lists, centers=around)["rsa"]
    assert found["center"].values.tolist() == around
    np.testing.assert_array_equal(found["x"], GRID[[3, 5, 26], 0])


@pytest.mark.slow
def test_features_within_a_radius():
    reps, target = brain()
    # distances of exactly 0.1 on a grid of tenths differ by rounding
    for radius in (0.1, 0.15, 0.2):
        far = np.sqrt(((GRID[:, None] - GRID) ** 2).sum(-1))
        lists = [np.flatnonzero(row <= radius + 1e-9) for row in far]
        found = xc.searchlight(reps, target, coordinates=("x", "y", "z"), radius=radius)
        right = xc.searchlight(reps, target, neighborhoods=lists, centers=range(27))
        xr.testing.assert_identical(found["rsa"].drop_attrs(), right["rsa"].drop_attrs())
        assert found["n_features"].values.tolist() == [len(one) for one in lists]
    assert found["n_features"].max() > 7
    assert {"x", "y", "z"} <= set(found.coords)
    assert found.attrs["radius"] == 0.2
    assert found.attrs["coordinates"] == ["x", "y", "z"]
    few = xc.searchlight(reps, target, coordinates=["x", "y", "z"], radius=0.1, centers=[13, 0])
    whole = xc.searchlight(reps, target, coordinates=["x", "y", "z"], radius=0.1)
    xr.testing.assert_allclose(few, whole.sel(center=[13, 0]), rtol=1e-13)
    line = xc.searchlight(reps, target, coordinates="x", radius=0.05)
    assert (line["n_features"] == 9).all()


@pytest.fixture
def many_blocks(monkeypatch):
    """Blocks of two neighbourhoods."""
    monkeypatch.setattr(BUDGETS, "product_block", 0)
    monkeypatch.setattr(hoods_module, "FEWEST", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("many_blocks")
@settings(max_examples=4)
@given(st.data())
def test_chunks_and_blocks_change_nothing(data):
    reps, target = brain(missing=[(0, 3)], n=8)
    options = {"coordinates": ("x", "y"), "radius": 0.1, "centers": [4, 8, 12, 16, 20]}
    right = xc.searchlight(reps, target, **options)
    np.testing.assert_allclose(right["rsa"], one_whole(reps, target, options), atol=1e-14)
    lazy, lazy_target = data.draw(chunked(reps)), data.draw(chunked(target))
    with no_compute():
        found = xc.searchlight(lazy, lazy_target, **options)
        other = xc.searchlight(lazy, target, **options)
        third = xc.searchlight(reps, lazy_target, **options)
    for one in (found, other, third):
        assert one["rsa"].chunks is not None
        xr.testing.assert_identical(one.compute(), right)


def one_whole(reps, target, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BUDGETS, "product_block", 2**25)
        return xc.searchlight(reps, target, **options)["rsa"]


def test_a_task_reads_the_features_of_its_block_alone(many_blocks):
    reps, target = brain()
    lazy = reps.chunk(feature=3, model=1)
    lists = [[0, 1], [1, 2], [24, 25], [24, 26]]
    found = xc.searchlight(lazy, target, neighborhoods=lists, rdm_metric="euclidean")["rsa"]
    first = (
        found.isel(center=[0, 1])
        .data.__dask_graph__()
        .cull(found.isel(center=[0, 1]).data.__dask_keys__())
    )
    name = lazy.data.name
    read = {key[-1] for key in first.to_dict() if isinstance(key, tuple) and key[0] == name}
    assert read == {0}


def test_models_of_several_widths_leave_padding_out():
    reps, target = brain(widths=[27, 10])
    with pytest.warns(RuntimeWarning, match=r"1 of 3 .* fewer than 3 features of some models.*0"):
        found = xc.searchlight(reps, target, neighborhoods=[[0, 1, 26], *LISTS[1:]], min_features=3)
    assert found["n_features"].dims == ("model_a", "center")
    assert found["n_features"].values.tolist() == [[3, 4, 5], [2, 3, 3]]
    assert np.isnan(found["rsa"][1, :, 0]).all()
    assert int(np.isnan(found["rsa"]).sum()) == 3
    for i in range(2):
        right = one_by_one(reps.isel(model=[i]), target, LISTS[1:])
        np.testing.assert_allclose(
            found["rsa"][i, :, 1:], right.transpose("model_a", "model_b", "center")[0], atol=1e-12
        )


@pytest.mark.slow
def test_extra_dims_of_both_are_matched_and_of_one_kept():
    reps, target = brain(extra={"time": 3, "subject": 2})
    times = xr.concat([target * (i + 1) + i * target**2 for i in range(3)], "time")
    times = times.assign_coords(time=reps["time"].values).isel(time=[2, 0, 1])
    found = xc.searchlight(reps, times, neighborhoods=LISTS)["rsa"]
    assert found.dims == ("time", "subject", "model_a", "model_b", "center")
    for at in range(3):
        one = reps.isel(time=at, drop=True)
        right = xc.searchlight(one, times.sel(time=f"time{at}", drop=True), neighborhoods=LISTS)
        np.testing.assert_array_equal(found.isel(time=at), right["rsa"])
    other = times.rename(time="layer")
    outer = xc.searchlight(reps, other, neighborhoods=LISTS)["rsa"]
    assert set(outer.dims) == {*found.dims, "layer"}
    both = outer.sel(time="time1", layer="time1", drop=True)
    one = found.sel(time="time1", drop=True)
    np.testing.assert_allclose(both.transpose(*one.dims), one, atol=1e-14)
    with pytest.raises(xc.SchemaError, match="'t4'"):
        xc.searchlight(
            reps, times.assign_coords(time=["time0", "time1", "t4"]), neighborhoods=LISTS
        )


def test_sides_without_models():
    reps, target = brain()
    whole = xc.searchlight(reps, target, neighborhoods=LISTS)["rsa"]
    turned = xc.searchlight(
        reps.transpose("feature", "model", "stimulus"), target.transpose(), neighborhoods=LISTS
    )["rsa"]
    np.testing.assert_allclose(turned.transpose(*whole.dims), whole, atol=1e-14)
    one = xc.searchlight(
        reps.isel(model=0, drop=True), target.isel(model=1, drop=True), neighborhoods=LISTS
    )["rsa"]
    assert one.dims == ("center",)
    np.testing.assert_allclose(one, whole[0, 1], atol=1e-14)
    sets = make_reps(3, 10, 6, seed=1)
    of_sets = xc.searchlight(reps, sets, neighborhoods=LISTS, rdm_metric="cosine")["rsa"]
    of_rdms = xc.searchlight(reps, xc.rdm(sets, "cosine"), neighborhoods=LISTS, rdm_metric="cosine")
    np.testing.assert_array_equal(of_sets, of_rdms["rsa"])


def test_the_order_of_stimuli_and_features_is_irrelevant():
    reps, target = brain()
    options = {"coordinates": ("x", "y", "z"), "radius": 0.1}
    found = xc.searchlight(reps, target, **options)["rsa"]
    mixed = xc.searchlight(shuffled(reps, 3), shuffled(target, 4), **options)["rsa"]
    np.testing.assert_allclose(mixed, found, atol=1e-12)
    order = np.random.default_rng(0).permutation(27)
    names = reps.assign_coords(feature=[f"v{i}" for i in range(27)])
    found = xc.searchlight(names, target, **options)["rsa"]
    mixed = xc.searchlight(names.isel(feature=order), target, **options)["rsa"]
    np.testing.assert_allclose(mixed.sel(center=found["center"]), found, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_other_types_of_numbers(dtype):
    reps, target = brain(dtype=dtype)
    found = xc.searchlight(reps, target, neighborhoods=LISTS)["rsa"]
    wide = xc.searchlight(reps.astype(np.float64), target, neighborhoods=LISTS)["rsa"]
    np.testing.assert_allclose(found, wide, atol=1e-12)
    assert found.dtype == np.float64


def flat(reps):
    values = reps.values.copy()
    values[0, 2, [0, 1, 2]] = 0.5
    values[1, :, [3, 4, 8, 11, 26]] = 1.0
    return reps.copy(data=values)


def test_what_has_no_result_is_told_once_by_name(many_blocks):
    reps, target = brain()
    lists = dict(zip("abc", LISTS, strict=True)) | {"d": [7], "e": [], "f": [0, 1, 2]}
    for lazy in (False, True):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            array = flat(reps).chunk() if lazy else flat(reps)
            found = xc.searchlight(array, target, neighborhoods=lists)["rsa"].compute()
        texts = [str(one.message) for one in told]
        assert any("2 of 6 neighbourhoods have fewer than 2 features: NaN at center 'd', 'e'" in t
                   for t in texts)  # fmt: skip
        assert np.isnan(found[0, 0]).values.tolist() == [True, False, False, True, True, True]
        assert np.isnan(found[1, 0]).values.tolist() == [False, False, True, True, True, False]
        if not lazy:
            assert len(texts) == 2
            assert "3 of 6 neighbourhoods have stimuli whose features are all equal" in texts[1]
            assert "'a', 'c', 'f'" in texts[1]
        assert all(issubclass(one.category, RuntimeWarning) for one in told)
    same = flat(reps).isel(model=[1])
    with pytest.warns(RuntimeWarning, match="1 of 1 neighbourhoods have distances that are all eq"):
        found = xc.searchlight(same, target, neighborhoods=[LISTS[2]], rdm_metric="euclidean")
    assert np.isnan(found["rsa"]).all()


def test_a_target_without_a_result_is_told_by_name():
    reps, target = brain()
    values = target.values.copy()
    values[1] = 1 - np.eye(10)
    with pytest.warns(RuntimeWarning, match=r"in all neighbourhoods: NaN for 'net1'$"):
        found = xc.searchlight(reps, target.copy(data=values), neighborhoods=LISTS)["rsa"]
    assert np.isnan(found).any(["model_a", "center"]).values.tolist() == [False, True, False]


def test_coordinates_step_aside():
    reps, target = brain()
    odd = reps.assign_coords(
        rsa=("feature", np.arange(27)), center=("feature", np.arange(27)), bin=("model", [1, 2]),
        model_b=7, n_models=("stimulus", np.arange(10)),
    )  # fmt: skip
    found = xc.searchlight(odd, target, coordinates=("rsa",), radius=1)
    right = xc.searchlight(
        reps,
        target,
        neighborhoods=[[i for i in (j - 1, j, j + 1) if 0 <= i < 27] for j in range(27)],
    )
    np.testing.assert_array_equal(found["rsa"], right["rsa"])
    assert found["source_rsa"].dims == ("center",)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, TypeError, "neighborhoods=.*got neither"),
        ({"neighborhoods": LISTS, "coordinates": "x", "radius": 1}, TypeError, "got both"),
        ({"neighborhoods": LISTS, "radius": 1}, TypeError, "radius=1 goes with coordinates"),
        ({"coordinates": "x"}, TypeError, "radius must be a number above 0, got radius=None"),
        ({"coordinates": "x", "radius": 0}, ValueError, "radius must be a number above 0"),
        ({"coordinates": "w", "radius": 1}, xc.SchemaError, "'w' must be a coordinate.*'x', 'y'"),
        ({"coordinates": 3, "radius": 1}, TypeError, "coordinates must be names.*=3"),
        ({"coordinates": (), "radius": 1}, xc.SchemaError, "coordinates"),
        ({"coordinates": "name", "radius": 1}, xc.SchemaError, "'name' must hold numbers"),
        ({"coordinates": "hole", "radius": 1}, xc.SchemaError, "1 features lie nowhere.*'4'"),
        ({"neighborhoods": []}, ValueError, "neighborhoods is empty"),
        ({"neighborhoods": 3}, TypeError, "neighborhoods must be a list of lists.*=3"),
        ({"neighborhoods": "abc"}, TypeError, "neighborhoods must be a list of lists.*'abc'"),
        ({"neighborhoods": [3, 4]}, TypeError, r"neighborhoods\[0\] must be a list.*got 3"),
        ({"neighborhoods": [[0, 27]]}, ValueError, r"\[0\] must hold positions.*26, got 27"),
        ({"neighborhoods": [[0, -1]]}, ValueError, "from 0 to 26, got -1"),
        ({"neighborhoods": [np.array([0, 27])]}, ValueError, "from 0 to 26, got 27"),
        ({"neighborhoods": [[0, 1.5]]}, TypeError, "positions of features.*1.5"),
        ({"neighborhoods": [[True, False]]}, TypeError, "True.*a mask of all features is one row"),
        ({"neighborhoods": [["v1"]]}, TypeError, "positions of features.*'v1'"),
        ({"neighborhoods": {"a": [0, 0, 1]}}, ValueError, r"\['a'\] has features twice: '0'"),
        ({"neighborhoods": np.ones((2, 5), bool)}, ValueError, r"with 27 columns.*\(2, 5\)"),
        ({"neighborhoods": scipy.sparse.eye_array(4)}, ValueError, r"with 27 columns.*\(4, 4\)"),
        ({"neighborhoods": xr.DataArray(np.ones((2, 27)), dims=("center", "feature"))},
         xc.SchemaError, "mask of True and False, got dtype float64"),
        ({"neighborhoods": xr.DataArray(np.ones(27), dims="feature")}, xc.SchemaError, "mask with"),
        ({"neighborhoods": LISTS, "centers": [1, 2]}, ValueError, "2 centers, 3 neighborhoods"),
        ({"neighborhoods": LISTS, "centers": [1, 2, 2]}, ValueError, "centers has features twice"),
        ({"neighborhoods": LISTS, "centers": 5}, TypeError, "centers must be a list.*5"),
        ({"coordinates": "x", "radius": 1, "centers": []}, ValueError, "centers is empty"),
        ({"neighborhoods": {None: [1, 2], "b": [1]}}, xc.SchemaError, "neighborhoods has missing"),
        ({"neighborhoods": LISTS, "min_features": 0}, ValueError, "min_features"),
    ],
)  # fmt: skip
def test_what_is_no_neighbourhood_is_refused(options, error, text):
    reps, target = brain()
    reps = reps.assign_coords(
        name=("feature", [f"v{i}" for i in range(27)]),
        hole=("feature", np.where(np.arange(27) == 4, np.nan, 1.0)),
    )
    with no_compute(), pytest.raises(error, match=f"(?s){text}"):
        xc.searchlight(reps.chunk(), target, **options)


def test_labels_of_features_are_asked_for():
    reps, target = brain()
    named = reps.assign_coords(feature=[f"v{i}" for i in range(27)])
    with pytest.raises(xc.SchemaError, match=r"names the feature '3'.*no such label.*hold labels"):
        xc.searchlight(named, target, neighborhoods=LISTS[2:])
    twice = named.assign_coords(feature=["v0", *[f"v{i}" for i in range(26)]])
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'feature': 'v0'"):
        xc.searchlight(twice, target, neighborhoods=[["v0", "v1"]])
    mask = xr.DataArray(masks(), dims=("center", "feature"))
    with pytest.raises(xc.SchemaError, match="neighborhoods has no labels on 'feature'"):
        xc.searchlight(named, target, neighborhoods=mask)
    wrong = mask.assign_coords(feature=[f"v{i + 1}" for i in range(27)])
    with pytest.raises(xc.SchemaError, match="same labels on 'feature'.*missing from neighb.*'v0'"):
        xc.searchlight(named, target, neighborhoods=wrong)


def test_dims_that_a_result_has_are_refused():
    reps, target = brain()
    for one, other in ((reps.expand_dims(center=2), target), (reps, target.expand_dims(center=2))):
        with pytest.raises(xc.SchemaError, match=r"dim 'center', which the result has too"):
            xc.searchlight(one, other, neighborhoods=LISTS)
    binned = xc.searchlight(reps, target.expand_dims(bin=2), neighborhoods=LISTS)["rsa"]
    assert "bin" in binned.dims


def test_faulty_rows_are_told_by_name():
    reps, target = brain()
    values = reps.values.copy()
    values[1, 4, 2] = np.nan
    who = str(reps["stimulus"].values[4])
    with pytest.raises(xc.SchemaError, match=f"NaN or infinity.*'net1', stimulus '{who}'"):
        xc.searchlight(reps.copy(data=values), target, neighborhoods=LISTS)
    with pytest.raises(xc.SchemaError, match="same labels on 'stimulus'"):
        xc.searchlight(reps, target.isel(stimulus=slice(9), stimulus_2=slice(9)),
                       neighborhoods=LISTS)  # fmt: skip


def test_many_stimuli_that_do_not_fit_are_refused(monkeypatch):
    reps, target = brain()
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr("xconverge.engine.resources.free_bytes", lambda: 1)
    with pytest.raises(MemoryError, match="The RDM of a neighbourhood over 10 stimuli needs"):
        xc.searchlight(reps.chunk(), target, neighborhoods=LISTS)


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("rdm_metric", "theirs", "method", "compare"),
    [
        ("correlation", "correlation", "spearman", "spearman"),
        ("correlation", "correlation", "pearson", "corr"),
        ("sqeuclidean", "euclidean", "cosine", "cosine"),
        ("sqeuclidean", "euclidean", "rho-a", "rho-a"),
    ],
)
def test_numbers_are_those_of_rsatoolbox(rdm_metric, theirs, method, compare):
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.util.searchlight import (
        evaluate_models_searchlight,
        get_searchlight_RDMs,
        get_volume_searchlight,
    )

    rng = np.random.default_rng(0)
    centers, lists = get_volume_searchlight(np.ones((4, 4, 4)), radius=1.5, threshold=0.5)
    x = rng.standard_normal((8, 64))
    names = [f"s{i}" for i in range(8)]
    rdms = get_searchlight_RDMs(x, centers, lists, np.arange(8), method=theirs, verbose=False)
    given = rng.random((2, 28))
    models = [ModelFixed(str(i), RDMs(row[None])) for i, row in enumerate(given)]
    right = evaluate_models_searchlight(rdms, models, eval_fixed, method=compare)
    right = np.array([one.evaluations[0, :, 0] for one in right])
    reps = xr.DataArray(x, dims=("stimulus", "feature"), coords={"stimulus": names})
    square = np.zeros((2, 8, 8))
    square[:, *np.triu_indices(8, 1)] = given
    target = xr.DataArray(
        square + square.swapaxes(1, 2),
        dims=("model", "stimulus", "stimulus_2"),
        coords={"model": ["a", "b"], "stimulus": names, "stimulus_2": names},
    )
    found = xc.searchlight(
        reps, target, neighborhoods=lists, centers=centers, rdm_metric=rdm_metric, method=method
    )["rsa"]
    assert found["center"].values.tolist() == centers.tolist()
    np.testing.assert_allclose(found.transpose("center", "model_b"), right, atol=1e-10)


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers(client, many_blocks):
    reps, target = brain()
    right = xc.searchlight(reps, target, neighborhoods=LISTS)
    found = xc.searchlight(reps.chunk(model=1, feature=7), target, neighborhoods=LISTS).compute()
    xr.testing.assert_allclose(found, right, rtol=1e-13)
