"""One model in a file, and what a reader must make of it."""

import numpy as np
import pytest
from scipy.io import savemat

import xconverge as xc

X = np.arange(12.0).reshape(4, 3) / 7
IDS = ["007", "NA", "größe/ü.jpg", "日本"]


def same(reps, values, ids, model="m"):
    assert reps.name == "representation"
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.indexes["model"].tolist() == [model]
    assert reps.indexes["stimulus"].tolist() == ids
    np.testing.assert_array_equal(reps.values[0], values)
    xc.validate(reps)


def folder_of(tmp_path, names=IDS, name="alexnet"):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    (folder / "file_names.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")
    return folder


def save_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array)


def write_whole(folder, kind, values):
    if kind == "npy":
        np.save(folder / "features.npy", values)
    elif kind == "hdf5":
        save_hdf5(folder / "features.hdf5", features=values)
    elif kind == "mat":
        savemat(folder / "features.mat", {"features": values})
    else:
        np.savetxt(folder / "features.txt", values)
