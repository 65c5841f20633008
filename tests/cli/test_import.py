"""The command ``xconverge import``."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from tests.io.formats.sets import assembly
from xconverge.cli.formats import KINDS
from xconverge.cli.main import main

X = np.arange(6.0).reshape(2, 3)
IDS = ["cät", "007"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; the exit code, and what was said."""
    monkeypatch.chdir(tmp_path)
    Path("ids.txt").write_text("".join(f"{i}\n" for i in IDS), "utf-8")

    def command(*arguments):
        code = main(["import", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return command


def opened(modality="vision"):
    return xc.open_representations("s.zarr", modality).compute()


def sources():
    """A source of every kind that is written here, its options, and what it becomes."""
    yield "npy", lambda: np.save("m.npy", X), "m.npy", ["--ids", "ids.txt"]
    yield "npz", lambda: np.savez("m.npz", m=X), "m.npz", ["--ids", "ids.txt"]
    table = pd.DataFrame(X, columns=list("abc")).assign(id=IDS)
    yield "csv", lambda: table.to_csv("m.csv", index=False), "m.csv", ["--ids", "id"]
    yield (
        "csv", lambda: table.assign(x="text").to_csv("m.csv", index=False, sep=";"), "m.csv",
        ["--ids", "id", "--delimiter", ";", "--features", "a", "b", "c"],
    )  # fmt: skip
    yield "parquet", lambda: table.to_parquet("m.parquet"), "m.parquet", ["--ids", "id"]

    def folder():
        Path("m").mkdir()
        Path("m/file_names.txt").write_text("x/cät.jpg\nx/007.png\n", "utf-8")
        np.save("m/features.npy", X[:, :, None])

    yield (
        "thingsvision", folder, "m", ["--flatten", "--strip-folder", "--strip-extension"]
    )  # fmt: skip

    def netcdf(dims, coords, name="m"):
        array = xr.DataArray(X, dims=dims, coords=coords, name=name)
        return lambda: array.to_netcdf("m.nc", engine="scipy")

    presentation = "stimulus_presentation_id"
    yield (
        "brainio",
        netcdf(("presentation", "neuroid"), {"image_id": ("presentation", IDS)}),
        "m.nc",
        [],
    )
    yield (
        "allen", netcdf((presentation, "unit"), {"frame": (presentation, IDS)}), "m.nc",
        ["--stimulus", "frame", "--unit", "unit"],
    )  # fmt: skip
    yield (
        "netcdf", netcdf(("image", "unit"), {"image": IDS}), "m.nc",
        ["--stimulus", "image", "--feature", "unit", "--variable", "m"],
    )  # fmt: skip

    def dataset():
        from rsatoolbox.data import Dataset

        Dataset(X, {}, {"image": np.array(IDS, dtype=object)}).save("m.hdf5")

    yield "rsatoolbox", dataset, "m.hdf5", ["--stimulus", "image"]


def test_trials_and_their_design_become_a_modality(run):
    np.save("betas.npy", np.arange(8.0).reshape(4, 2))
    Path("events.tsv").write_text("stimulus_id\trun\n007\t1\ncät\t1\n007\t2\ncät\t2\n", "utf-8")
    code, said = run(
        "trials", "betas.npy", "s.zarr", "--modality", "brain", "--design", "events.tsv",
        "--model", "it",
    )  # fmt: skip
    assert code == 0, said
    found = opened("brain")
    assert found.sel(model="it", stimulus="007").values.tolist() == [[0.0, 4.0], [1.0, 5.0]]
    assert found.run.values.tolist() == [[1, 2], [1, 2]]


def same_features(found, expected):
    """The same but for coordinates that repeat the ids, and ``n_features`` where none differ."""
    more = [name for name in found.coords if name not in found.dims]
    for name in more:
        assert found[name].values.tolist() == (IDS if name != "n_features" else [X.shape[1]])
    found = found.drop_vars(more)
    xr.testing.assert_identical(found, expected.drop_vars("n_features"))


@pytest.mark.parametrize(("kind", "make", "source", "options"), list(sources()))
def test_every_kind_becomes_a_modality(run, kind, make, source, options):
    make()
    code, said = run(kind, source, "s.zarr", "--modality", "vision", *options)
    assert code == 0, said
    assert "vision has 1 model, 2 stimulus, 3 feature" in said
    expected = xc.stack_models({"m": X}, stimuli=IDS, modality="vision")
    same_features(opened(), expected)
    code, said = run(kind, source, "s.zarr", "--modality", "vision", *options)
    assert code == 1
    assert "has the modality 'vision' already; --append adds models" in said
    code, said = run(
        kind, source, "s.zarr", "--modality", "vision", "--append", "--model", "n", *options
    )
    assert code == 0, said
    assert opened().indexes["model"].tolist() == ["m", "n"]
    code, said = run(kind, source, "s.zarr", "--modality", "vision", "--overwrite", *options)
    assert code == 0, said
    same_features(opened(), expected)


def test_what_write_npz_wrote(run):
    reps = make_reps(2, 5, [3, 4])
    xc.io.write_npz("m.npz", reps)
    assert run("npz", "m.npz", "s.zarr", "--modality", "brain", "--append")[0] == 0
    back = opened("brain")
    assert back.attrs.pop("modality") == "brain"
    del reps.attrs["modality"]
    xr.testing.assert_identical(back, reps)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["npy", "none.npy", "s.zarr", "--ids", "ids.txt"], "there is no file none.npy"),
        (["npy", "m.npy", "s.zarr"], "never named by their position"),
        (["npy", "m.npy", "s.zarr", "--ids", "none.txt"], "there is no file none.txt"),
        (["npy", "ids.txt", "s.zarr", "--ids", "ids.txt"], "cannot be read as a NumPy"),
        (["csv", "m.npy", "s.zarr", "--ids", "id"], "cannot be read as a CSV"),
        (["npy", "m.npy", "ids.txt", "--ids", "ids.txt"], "ids.txt"),
        (["npy", "m.npy", "ids.txt/s.zarr", "--ids", "ids.txt"], "ids.txt"),
        (["thingsvision", ".", "s.zarr"], "no features of thingsvision"),
    ],
)
def test_wrong_input_is_one_clear_line(run, arguments, match):
    np.save("m.npy", X)
    code, said = run(*arguments, "--modality", "vision")
    assert code == 1
    assert said.startswith("xconverge import: ")
    assert match in said
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert not Path("s.zarr").exists()


def test_values_that_are_wrong_leave_no_store(run):
    np.save("m.npy", np.where(X == 4, np.nan, X))
    code, said = run("npy", "m.npy", "s.zarr", "--modality", "v", "--ids", "ids.txt")
    assert code == 1
    assert "NaN inside a row: model 'm', stimulus '007'" in said
    assert not Path("s.zarr").exists()


def test_the_modality_that_the_source_says(run):
    reps = make_reps(2, 5, [3, 4])
    xc.io.write_npz("m.npz", reps.assign_attrs(modality="vision"))
    assert run("npz", "m.npz", "s.zarr")[0] == 0
    xr.testing.assert_identical(opened(), reps.assign_attrs(modality="vision"))
    code, said = run("npz", "m.npz", "s.zarr")
    assert (code, said.count("\n")) == (1, 1)
    assert "has the modality 'vision' already" in said
    np.save("m.npy", X)
    code, said = run("npy", "m.npy", "s.zarr", "--ids", "ids.txt")
    assert code == 1
    assert said == "xconverge import: m.npy does not say its modality; name it with --modality\n"


def test_repetitions_regions_and_variables(run):
    array = assembly(n_stimuli=3, repeats=2)
    array.rename("rates").to_dataset().assign(other=array).to_netcdf("a.nc", engine="scipy")
    command = ["brainio", "a.nc", "s.zarr", "--modality", "brain", "--variable", "rates"]
    code, said = run(*command)
    assert code == 1
    assert "several times" in said
    with pytest.raises(SystemExit):
        run(*command, "--repetitions", "median")
    assert run(*command, "--repetitions", "mean", "--region", "IT")[0] == 0
    expected = xc.io.from_brainio(array, repetitions="mean", region="IT", modality="brain")
    xr.testing.assert_identical(opened("brain"), expected)
    assert expected.model.values.tolist() == ["IT"]
    command.append("--overwrite")
    assert run(*command, "--repetitions", "keep", "--by", "animal", "region")[0] == 0
    expected = xc.io.from_brainio(
        array, repetitions="keep", by=["animal", "region"], modality="brain"
    )
    xr.testing.assert_identical(opened("brain"), expected)
    assert run(*command, "--repetitions", "mean", "--stimulus-id", "category")[0] == 0
    assert opened("brain").stimulus.values.tolist() == list(
        dict.fromkeys(array.category.values.tolist())
    )


def test_rdms_of_rsatoolbox(run):
    rdms = xc.rdm(make_reps(2, 4, 3), "correlation").assign_attrs(modality="brain")
    half = xc.io.from_rsatoolbox_rdms(xc.io.to_rsatoolbox_rdms(rdms))
    xc.io.to_rsatoolbox_rdms(rdms).save("r.hdf5")
    code, said = run("rsatoolbox-rdms", "r.hdf5", "s.zarr")
    assert code == 0, said
    xr.testing.assert_identical(xc.io.open_rdms("s.zarr", "brain").compute(), half)
    code, said = run("rsatoolbox-rdms", "r.hdf5", "s.zarr")
    assert code == 1
    assert "brain" in said
    assert said.count("\n") == 1
    more = ["--modality", "brain", "--overwrite", "--model", "index"]
    assert run("rsatoolbox-rdms", "r.hdf5", "s.zarr", *more)[0] == 0
    assert xc.io.open_rdms("s.zarr", "brain").model.values.tolist() == ["0", "1"]


def test_a_set_with_everything_through_every_format(run):
    """What is written here, imported by the command, is what was written."""
    reps = make_reps(2, 5, [3, 4]).assign_attrs(modality="vision", note={"ü": [1]})
    xc.io.write_npz("m.npz", reps)
    xc.io.write_netcdf("m.nc", reps)
    for kind, source in (("npz", "m.npz"), ("netcdf", "m.nc")):
        assert run(kind, source, "s.zarr", "--overwrite")[0] == 0
        xr.testing.assert_identical(opened(), reps)
    datasets = xc.io.to_rsatoolbox_dataset(reps)
    for number, dataset in enumerate(datasets):
        dataset.save(f"{number}.h5")
        more = ["--append"] if number else ["--overwrite"]
        code, said = run("rsatoolbox", f"{number}.h5", "s.zarr", *more)
        assert code == 0, said
    found = opened()
    for name in reps.model.values:
        width = int(reps.n_features.sel(model=name))
        np.testing.assert_array_equal(
            found.sel(model=name)[:, :width], reps.sel(model=name)[:, :width]
        )


def test_help_lists_every_kind_with_its_sentence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, kind in KINDS.items():
        assert f" {name} {kind.text}" in text
    with pytest.raises(SystemExit):
        main(["import", "thingsvision", "--help"])
    assert "--strip-folder " in capsys.readouterr().out


@pytest.mark.parametrize("name", KINDS)
def test_options_are_keywords_of_the_reader(name):
    kind = KINDS[name]
    assert set(kind.options) <= set(inspect.signature(kind.load()).parameters)
