"""Studies in a store; graphs and RDMs are tested where they are made."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from tests.io.sets import digest, make
from xconverge.io.results import open_rdms, write_rdms, write_study
from xconverge.io.store import open_store
from xconverge.labels.messages import SchemaError
from xconverge.measures.rdm import rdm

pytestmark = pytest.mark.usefixtures("no_warning_and_no_litter")


def study() -> xr.DataTree:
    models = np.array(["a", "b"], object)
    grid = xr.Dataset(
        {
            "alignment": (("model_a", "model_b"), [[0.1, np.nan], [0.3, 0.4]], {"units": "1"}),
            "count": ("model_a", np.array([0, 7])),
            "passed": ("model_b", [True, False]),
            "word": ("model_a", np.array(["é", ""], object)),
        },
        coords={"model_a": models, "model_b": models, "family": ("model_a", np.array(["x", "y"]))},
        attrs={
            "k": np.int64(10),
            "sizes": (1, 2),
            "none": None,
            "ok": np.bool_(True),
            "l": [1, "a"],
        },
    )
    bins = xr.Dataset({"rsa": ("bin", da.arange(5, chunks=((1, 3, 1),)) / 2)}, {"bin": range(5)})
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"title": "t"}),
            "/pairs": grid,
            "/pairs/bins": bins,
            "/empty": xr.Dataset(),
        }
    )


def test_study_round_trip(path: Path) -> None:
    tree = study()
    write_study(path, tree)
    opened = open_store(path)
    assert opened["pairs/alignment"].chunks is not None
    xr.testing.assert_equal(opened.load(), tree.compute())
    assert opened["pairs"].attrs == {
        "k": 10,
        "sizes": [1, 2],
        "none": None,
        "ok": True,
        "l": [1, "a"],
    }
    assert opened["pairs/alignment"].attrs == {"units": "1"}
    assert opened.attrs == {"title": "t"}
    assert opened["pairs/passed"].dtype == bool
    assert opened["pairs/count"].dtype == np.int64
    assert tree["pairs"].attrs["sizes"] == (1, 2)


@pytest.mark.slow
def test_a_study_that_was_opened_is_saved_again(path: Path, tmp_path: Path) -> None:
    write_study(path, study())
    part = open_store(path).isel(model_a=[1], missing_dims="ignore")
    write_study(tmp_path / "again.zarr", part)
    xr.testing.assert_equal(open_store(tmp_path / "again.zarr").load(), part.load())
    write_study(path, open_store(path), overwrite=True)
    xr.testing.assert_equal(open_store(path).load(), study().compute())


def test_study_needs_a_fresh_path(path: Path) -> None:
    write_study(path, study())
    before = digest(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_study(path, study())
    bad = study()
    bad["pairs"] = bad["pairs"].to_dataset().assign(gap=("model_a", np.array(["x", None], object)))
    with pytest.raises(SchemaError, match=r"/pairs: 'gap' is text and is missing for model_a 'b'"):
        write_study(path, bad, overwrite=True)
    with pytest.raises(TypeError, match=r"DataTree\.from_dict"):
        write_study(path, xr.Dataset(), overwrite=True)  # type: ignore[arg-type]
    assert digest(path) == before


def test_scalar_and_lazy_text_in_a_study(path: Path) -> None:
    words = da.from_array(np.array(["a", "bb"], object), chunks=1)
    tree = xr.DataTree(xr.Dataset({"words": ("x", words), "best": "net", "p": np.float32(0.5)}))
    write_study(path, tree)
    opened = open_store(path).load()
    assert opened["words"].values.tolist() == ["a", "bb"]
    assert opened["best"].item() == "net"
    assert opened["p"].dtype == np.float32


@pytest.mark.parametrize("name", ["correlation", "c", "cc"])
def test_names_that_begin_as_chunks_do(path: Path, name: str) -> None:
    numbers = xr.Dataset({name: 0.5, "c": ("x", [1.0, 2.0])})
    tree = xr.DataTree.from_dict({"of": numbers if name != "c" else numbers[["c"]]})
    tree[f"of/{name}s"] = xr.DataTree(numbers)
    write_study(path, tree)
    again = open_store(path).load()
    for group in tree.groups:
        for key, value in tree[group].data_vars.items():
            xr.testing.assert_equal(again[group][key].variable, value.variable)


def test_a_handle_on_rdms_says_that_they_were_overwritten(path: Path) -> None:
    rdms = rdm(make().astype(float), "euclidean")
    write_rdms(path, rdms, modality="vision")
    old = open_rdms(path, "vision")
    write_rdms(path, rdms[:, ::-1, ::-1], modality="vision", overwrite=True)
    with pytest.raises(FileNotFoundError, match="was overwritten since it was opened"):
        old.compute()
