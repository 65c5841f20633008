"""One model in a file, and what a reader must make of it."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.io import savemat

import xconverge as xc

DATA = Path(__file__).parent / "data" / "brainio"
X = np.arange(12.0).reshape(4, 3) / 7
IDS = ["007", "NA", "größe/ü.jpg", "日本"]


def assert_model(reps, values, ids, model="m"):
    """A valid set of one model, with these rows under these ids."""
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


def assembly(seed=0, n_stimuli=5, repeats=3, n_neuroids=4, regions=("V4", "IT")):
    """Presentations in random order, each stimulus ``repeats`` times, with metadata."""
    rng = np.random.default_rng(seed)
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), repeats))
    seen: dict = defaultdict(int)
    number = []
    for s in shown:
        number.append(seen[s])
        seen[s] += 1
    return xr.DataArray(
        rng.standard_normal((len(shown), n_neuroids)),
        dims=("presentation", "neuroid"),
        coords={
            "stimulus_id": ("presentation", [f"bild_ü{s}" for s in shown]),
            "category": ("presentation", [f"c{s % 2}" for s in shown]),
            "trial": ("presentation", np.arange(len(shown))),
            "repetition": ("presentation", number),
            "neuroid_id": ("neuroid", [f"n{i}" for i in range(n_neuroids)]),
            "region": ("neuroid", [regions[i % len(regions)] for i in range(n_neuroids)]),
            "animal": ("neuroid", ["monkey"] * n_neuroids),
            "depth": ("neuroid", np.arange(n_neuroids) * 10),
        },
        attrs={"identifier": "dicarlo.Test"},
    )
