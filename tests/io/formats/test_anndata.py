"""AnnData: X, obsm, layers; sparse, backed and lazy; files; there and back."""

import sys

import dask
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute

anndata = pytest.importorskip("anndata")
VALUES = np.arange(12.0, dtype=np.float32).reshape(4, 3)
IDS = ["cat", "dog", "emu", "fox"]
# anndata 0.12, on writing folders of Zarr's older format, which it still prefers
OLD_ZARR = pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")


def adata(x=VALUES, ids=IDS, **options):
    obs = pd.DataFrame({"category": ["pet", "pet", "bird", "wild"], "rt": [0.1, 0.2, np.nan, 0.4]})
    var = pd.DataFrame({"region": ["V1", "IT", "V1"], "unit": [7, 8, 9]}, index=["a", "b", "c"])
    return anndata.AnnData(x, obs.set_index(pd.Index(ids)), var, **options)


def sets():
    several = make_reps(3, 12, [4, 6, 5], missing=[(0, 1)], shared=False)
    names = np.array([f"f{i}" for i in range(6)], dtype=object)
    return {
        "several": several.assign_coords(
            unit=("feature", np.arange(6)),
            feature_label=("feature", names),
            channel=(("model", "feature"), np.arange(18.0).reshape(3, 6)),
            model=["vit", "alexnet/fc", "alexnet/conv1"],
            rt=("stimulus", np.linspace(0, 1, 12)),
            shown=("stimulus", np.arange(12)),
            depth=("model", [1, 2, 3]),
        ),
        "one": make_reps(1, 12, 5, missing=[(0, 3)]).assign_coords(
            feature_label=("feature", names[:5]), unit=("feature", np.arange(5))
        ),
        "same width": make_reps(2, 12, 4, dtype=np.float32),
        "counted": make_reps(1, 12, 2).assign_coords(feature_label=("feature", ["0", "1"])),
        "bare": xc.stack_models({"a": np.ones((2, 3))}, stimuli=["1", "0"]),
        "numbered": xc.stack_models({"a": np.ones((2, 3))}, stimuli=["0", "1"], modality="v"),
    }


def padded(reps):
    """Where there is no feature, (model, feature) coordinates are NaN, as in a store."""
    if "channel" not in reps.coords:
        return reps
    real = xr.DataArray(np.arange(6), dims="feature") < reps.n_features
    return reps.assign_coords(channel=reps.channel.where(real.drop_vars(real.coords)))


@OLD_ZARR
@pytest.mark.parametrize("name", sets())
def test_there_and_back(tmp_path, name):
    reps = padded(sets()[name])
    made = xc.io.to_anndata(reps)
    assert made.obs_names.tolist() == reps.stimulus.values.tolist()
    xr.testing.assert_identical(xc.io.from_anndata(made), reps)
    made.write_h5ad(tmp_path / "a.h5ad")
    made.write_zarr(tmp_path / "a.zarr")
    for again in (
        anndata.read_h5ad(tmp_path / "a.h5ad"),
        anndata.read_zarr(tmp_path / "a.zarr"),
        anndata.read_h5ad(tmp_path / "a.h5ad", backed="r"),
    ):
        xr.testing.assert_identical(xc.io.from_anndata(again).compute(), reps)


def test_what_lies_where():
    reps = sets()["several"]
    made = xc.io.to_anndata(reps)
    assert made.X is None
    assert list(made.obsm) == ["vit", "alexnet|fc", "alexnet|conv1"]
    np.testing.assert_array_equal(made.obsm["vit"], reps[0, :, :4])
    assert made.obs["category"].tolist() == reps.category.values.tolist()
    models = made.uns["xconverge"]["models"]
    assert models.loc["alexnet/fc", ["key", "family", "n_features"]].tolist() == [
        "alexnet|fc", "family1", 6,
    ]  # fmt: skip
    one = xc.io.to_anndata(sets()["one"])
    assert one.var_names.tolist() == ["f0", "f1", "f2", "f3", "f4"]
    assert one.var["unit"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(one.X, sets()["one"][0])
    # parts of it come back as parts
    part = xc.io.from_anndata(one[2:5, ["f3", "f1"]])
    xr.testing.assert_identical(part, sets()["one"].isel(stimulus=slice(2, 5), feature=[3, 1]))
    named = xc.io.from_anndata(made, obsm="alexnet|fc")
    assert named.model.values.tolist() == ["alexnet/fc"]


def test_x_is_a_model_with_the_columns_as_coordinates():
    reps = xc.io.from_anndata(adata(), model="brain", modality="brain")
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.dtype == np.float32
    np.testing.assert_array_equal(reps.sel(model="brain", stimulus=IDS), VALUES)
    assert reps.feature_label.values.tolist() == ["a", "b", "c"]
    assert reps.unit.values.tolist() == [7, 8, 9]
    assert reps.category.values.tolist() == ["pet", "pet", "bird", "wild"]
    np.testing.assert_array_equal(reps.rt, [0.1, 0.2, np.nan, 0.4])
    assert reps.attrs == {"modality": "brain"}
    xc.validate(reps)
    regions = xc.io.from_anndata(adata(), by="region")
    assert regions.model.values.tolist() == ["V1", "IT"]
    np.testing.assert_array_equal(regions.sel(model="V1").values, VALUES[:, [0, 2]])
    with pytest.raises(xc.SchemaError, match="what it is called; name it with model="):
        xc.io.from_anndata(adata())


def test_layers_and_obsm():
    frame = pd.DataFrame({"p": [1.0, 2, 3, 4], "q": [5.0, 6, 7, 8]}, index=IDS)
    given = adata(layers={"raw": VALUES * 2}, obsm={"pca": VALUES[:, :2], "table": frame})
    np.testing.assert_array_equal(xc.io.from_anndata(given, layer="raw", model="m")[0], VALUES * 2)
    both = xc.io.from_anndata(given, obsm=["table", "pca"])
    assert both.model.values.tolist() == ["table", "pca"]
    np.testing.assert_array_equal(both.sel(model="table"), frame)
    assert xc.io.from_anndata(given, obsm="table").feature_label.values.tolist() == ["p", "q"]
    assert xc.io.from_anndata(given, obsm="pca", model="m").model.item() == "m"
    only = anndata.AnnData(obs=given.obs, obsm={"a": VALUES, "b": VALUES[:, :1]})
    assert xc.io.from_anndata(only).n_features.values.tolist() == [3, 1]
    with pytest.raises(xc.SchemaError, match="no 'umap'; it has 'pca', 'table'"):
        xc.io.from_anndata(given, obsm=["pca", "umap"])
    with pytest.raises(xc.SchemaError, match="no layer 'x'; it has 'raw'"):
        xc.io.from_anndata(given, layer="x", model="m")
    with pytest.raises(xc.SchemaError, match="model='m' names one model"):
        xc.io.from_anndata(given, obsm=["pca", "table"], model="m")
    with pytest.raises(ValueError, match="obsm= takes other arrays"):
        xc.io.from_anndata(given, obsm="pca", by="region")


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_trials_of_stimuli():
    given = adata(ids=["t1", "t2", "t3", "t4"])
    given.obs["image"] = ["cat", "dog", "cat", "cat"]
    with pytest.raises(xc.SchemaError, match=r"cat \(3 times\)"):
        xc.io.from_anndata(given, stimulus="image", model="m")
    mean = xc.io.from_anndata(given, stimulus="image", model="m", repetitions="mean")
    np.testing.assert_allclose(mean.sel(model="m", stimulus="cat"), VALUES[[0, 2, 3]].mean(0))
    kept = xc.io.from_anndata(given, stimulus="image", model="m", repetitions="keep")
    assert kept.n_repetitions.values.tolist() == [3, 1]
    np.testing.assert_array_equal(kept.sel(model="m", stimulus="cat", repetition=2), VALUES[3])
    assert kept.sel(model="m", stimulus="dog", repetition=1).isnull().all()
    twice = adata(ids=["cat", "cat", "dog", "emu"])
    with pytest.raises(xc.SchemaError, match=r"cat \(2 times\)"):
        xc.io.from_anndata(twice, model="m")


def test_rows_are_never_named_by_position():
    bare = anndata.AnnData(VALUES)
    with pytest.raises(
        xc.SchemaError, match=r"never named by their position.*stimulus='obs_names'"
    ):
        xc.io.from_anndata(bare, model="m")
    named = xc.io.from_anndata(bare, model="m", stimulus="obs_names")
    assert named.stimulus.values.tolist() == ["0", "1", "2", "3"]
    assert "feature_label" not in named.coords


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_sparse_arrays_become_dense(tmp_path, kind, monkeypatch):
    given = adata(kind(VALUES))
    dense = xc.io.from_anndata(adata(), model="m")
    xr.testing.assert_identical(xc.io.from_anndata(given, model="m"), dense)
    given.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    xr.testing.assert_identical(xc.io.from_anndata(backed, model="m"), dense)
    monkeypatch.setattr("xconverge.io.formats.anndata.free_bytes", lambda: 10)
    with pytest.raises(xc.SchemaError, match="sparse, and with its zeros.*take fewer features"):
        xc.io.from_anndata(given, model="m")


@OLD_ZARR
@pytest.mark.parametrize("x", [VALUES, scipy.sparse.csr_matrix(VALUES)], ids=["dense", "sparse"])
def test_lazy_objects_stay_lazy(tmp_path, x):
    adata(x).write_zarr(tmp_path / "a.zarr")
    expected = xc.io.from_anndata(adata(), model="m")
    lazy = anndata.experimental.read_lazy(tmp_path / "a.zarr")
    reps = xc.io.from_anndata(lazy, model="m")
    assert reps.chunks is not None
    xr.testing.assert_identical(reps.compute(scheduler="synchronous"), expected)


def test_backed_arrays_are_read_when_they_are_computed(tmp_path):
    path = tmp_path / "a.h5ad"
    adata(layers={"raw": VALUES * 2}).write_h5ad(path)
    backed = anndata.read_h5ad(path, backed="r")
    expected = xc.io.from_anndata(adata(), model="m")
    with no_compute():
        reps = xc.io.from_anndata(backed, model="m")
        raw = xc.io.from_anndata(backed, model="m", layer="raw")
    assert reps.chunks is not None
    # a view is read at once by anndata itself
    view = xc.io.from_anndata(backed[1:3], model="m")
    xr.testing.assert_identical(view, expected[:, 1:3])
    backed.file.close()
    xr.testing.assert_identical(reps.compute(), expected)
    np.testing.assert_array_equal(raw[0], VALUES * 2)
    writable = anndata.read_h5ad(path, backed="r+")
    with pytest.raises(xc.SchemaError, match="open for writing.*backed='r'"):
        xc.io.from_anndata(writable, model="m")
    writable.file.close()


@pytest.mark.slow
def test_other_processes_read_what_is_backed(tmp_path):
    adata().write_h5ad(tmp_path / "a.h5ad")
    reps = xc.io.from_anndata(anndata.read_h5ad(tmp_path / "a.h5ad", backed="r"), model="m")
    with dask.config.set(scheduler="processes", num_workers=2):
        np.testing.assert_array_equal(reps.compute()[0], VALUES)


def test_features_that_are_left_out_take_their_coordinates_along():
    reps = padded(sets()["several"])
    made = xc.io.to_anndata(reps)
    made.obsm["vit"][3, 1] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 4 of model 'vit'"):
        dropped = xc.io.from_anndata(made, gaps="drop")
    assert dropped.unit.sel(model="vit").values[:3].tolist() == [0, 2, 3]
    assert dropped.unit.sel(model="alexnet/fc").values.tolist() == [0, 1, 2, 3, 4, 5]
    assert dropped.feature_label.sel(model="vit").values[:3].tolist() == ["f0", "f2", "f3"]


def test_a_lazy_set_is_written_without_being_held(tmp_path):
    reps = sets()["same width"]
    with no_compute():
        made = xc.io.to_anndata(reps.chunk(model=1, stimulus=5))
    with dask.config.set(scheduler="synchronous"):
        made.write_h5ad(tmp_path / "a.h5ad")
    again = xc.io.from_anndata(anndata.read_h5ad(tmp_path / "a.h5ad"))
    xr.testing.assert_identical(again, reps)


def test_what_anndata_has_no_place_for_is_refused():
    with pytest.raises(xc.SchemaError, match="dims 'layer' too"):
        xc.io.to_anndata(make_reps(extra={"layer": 2}))
    odd = make_reps().assign_coords(seen=(("stimulus", "model"), np.ones((12, 4))))
    with pytest.raises(xc.SchemaError, match="coordinates 'seen' over dims"):
        xc.io.to_anndata(odd)
    with pytest.raises(TypeError, match=r"anndata\.AnnData, got"):
        xc.io.from_anndata(VALUES)
    with pytest.raises(xc.SchemaError, match="no X and nothing in obsm"):
        xc.io.from_anndata(anndata.AnnData(obs=pd.DataFrame(index=IDS)))


def test_gaps_are_refused_or_dropped():
    holes = VALUES.copy()
    holes[1, 2] = np.nan
    with pytest.raises(xc.SchemaError, match="stimuli 'dog'"):
        xc.io.from_anndata(adata(holes), model="m")
    with pytest.warns(RuntimeWarning, match="1 of 3"):
        reps = xc.io.from_anndata(adata(holes), model="m", gaps="drop")
    assert reps.feature_label.values.tolist() == ["a", "b"]


def test_without_anndata_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    for call, given in ((xc.io.from_anndata, 0), (xc.io.to_anndata, make_reps())):
        with pytest.raises(ImportError, match=r"needs anndata.*xconverge\[bridges\]"):
            call(given)
