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


def test_spikes_of_a_recording_become_a_modality(run):
    pytest.importorskip("pynwb")
    from tests.io.formats.test_nwb import write

    write(Path("mouse.nwb"))
    code, said = run(
        "nwb", "mouse.nwb", "s.zarr", "--modality", "brain", "--window", "-0.5", "0.5",
        "--bin-size", "0.25", "--rate", "--by", "location",
    )  # fmt: skip
    assert code == 0, said
    expected = xc.io.read_nwb(
        "mouse.nwb", window=(-0.5, 0.5), bin_size=0.25, rate=True, by="location"
    )
    found = opened("brain")
    assert found.model.values.tolist() == ["V1", "IT"]
    np.testing.assert_array_equal(found.transpose(*expected.dims), expected)


def assert_same_features(found, expected):
    """The same but for coordinates that repeat the ids, and ``n_features`` where none differ."""
    more = [name for name in found.coords if name not in found.dims]
    for name in more:
        assert found[name].values.tolist() == (IDS if name != "n_features" else [X.shape[1]])
    found = found.drop_vars(more)
    xr.testing.assert_identical(found, expected.drop_vars("n_features"))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("kind", "make", "source", "options"), list(sources()))
def test_every_kind_becomes_a_modality(run, kind, make, source, options):
    make()
    code, said = run(kind, source, "s.zarr", "--modality", "vision", *options)
    assert code == 0, said
    assert "vision has 1 model, 2 stimulus, 3 feature" in said
    expected = xc.stack_models({"m": X}, stimuli=IDS, modality="vision")
    assert_same_features(opened(), expected)
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
    assert_same_features(opened(), expected)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def stored():
    """A modality ``vision`` of three stimuli; its model is called ``old``."""
    reps = xc.stack_models({"old": np.arange(6.0).reshape(3, 2)}, stimuli=["a", "b", "c"])
    xc.write_representations("s.zarr", reps, modality="vision")
    return reps


def rows(name, values, ids):
    """A table with its ids."""
    table = pd.DataFrame(values).add_prefix("f").assign(id=ids)
    table.to_csv(name, index=False)


IN = ["s.zarr", "--modality", "vision"]


@pytest.mark.slow
def test_several_files_become_as_many_models(run):
    """As if they were imported one by one; stimuli are joined by label."""
    rows("a.csv", [[1, 2], [3, 4]], ["x", "y"])
    rows("b.csv", [[9, 8, 7], [6, 5, 4]], ["y", "x"])
    code, said = run("csv", "a.csv", "b.csv", *IN, "--ids", "id")
    assert code == 0, said
    assert said == "s.zarr: vision has 2 model, 2 stimulus, 3 feature from a.csv, b.csv\n"
    both = opened()
    assert both.sel(model="b", stimulus="x").values.tolist() == [6, 5, 4]
    assert run("csv", "a.csv", "one.zarr", *IN[1:], "--ids", "id")[0] == 0
    assert run("csv", "b.csv", "one.zarr", *IN[1:], "--ids", "id", "--append")[0] == 0
    xr.testing.assert_identical(both, xc.open_representations("one.zarr", "vision").compute())
    code, said = run("csv", "a.csv", "b.csv", *IN, "--ids", "id", "--append")
    assert (code, "'a', 'b'" in said) == (1, True)
    names = ["--model", "p", "--model", "q"]
    assert run("csv", "a.csv", "b.csv", *IN, "--ids", "id", "--append", *names)[0] == 0
    assert opened().model.values.tolist() == ["a", "b", "p", "q"]


@pytest.mark.slow
def test_several_recordings_keep_what_is_known_of_their_neuroids(run):
    wide = assembly(repeats=1, n_neuroids=6, seed=1)
    for name, array in {"p": assembly(repeats=1), "q": wide}.items():
        array.to_netcdf(f"{name}.nc", engine="scipy")
    command = ["brainio", "p.nc", "q.nc", "s.zarr", "--modality", "brain"]
    code, said = run(*command, "--by", "region")
    assert (code, "p.nc and q.nc both have the model 'V4'; give --model" in said) == (1, True)
    names = ["--model", "p", "--model", "q"]
    code, said = run(*command, *names)
    assert code == 1
    assert "p.nc, q.nc: coordinate 'trial' of some models contradicts that of others at" in said
    wide = wide.drop_vars("trial")
    wide.to_netcdf("q.nc", engine="scipy")
    code, said = run(*command, *names)
    assert code == 0, said
    found = opened("brain")
    assert found.n_features.values.tolist() == [4, 6]
    one = xc.io.from_brainio(wide, model="q", modality="brain").sel(model="q")
    two = found.sel(model="q", stimulus=one.stimulus)
    np.testing.assert_array_equal(two, one)
    for name in ("neuroid_id", "region", "depth", "category"):
        assert two[name].values.tolist() == one[name].values.tolist(), name
    assert found.depth.sel(model="p")[:4].values.tolist() == [0, 10, 20, 30]


def test_layers_of_several_networks_in_one_archive_each(run):
    np.savez("p.npz", early=X, late=X[:, :1] + 1)
    np.savez("q.npz", middle=X - 1)
    code, said = run("npz", "p.npz", "q.npz", *IN, "--ids", "ids.txt", "--overwrite")
    assert code == 0, said
    expected = {"early": X, "late": X[:, :1] + 1, "middle": X - 1}
    xr.testing.assert_identical(opened(), xc.stack_models(expected, stimuli=IDS, modality="vision"))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda: np.save("b.npy", X[:1]), [], "b.npy: model 'b' has 1 rows, and there are 2 ids"),
        (
            lambda: np.save("b.npy", np.where(X == 4, np.nan, X)),
            [],
            "b.npy: reps has NaN inside",
        ),
        (lambda: Path("b.npy").write_text("no"), [], "b.npy cannot be read as a NumPy"),
        (lambda: Path("b.npy").unlink(), [], "b.npy: there is no file b.npy"),
        (lambda: None, ["--model", "m"], "a.npy and b.npy both have the model 'm'; give --model"),
        (lambda: None, ["--model", "m"] * 3, "--model is given 3 times ('m', 'm', 'm')"),
    ],
)
def test_one_wrong_file_of_several_is_named_and_nothing_written(run, change, options, match):
    np.save("a.npy", X)
    np.save("b.npy", X)
    change()
    code, said = run("npy", "a.npy", "b.npy", *IN, "--ids", "ids.txt", *options)
    assert code == 1
    assert match in said
    assert said.count("\n") == 1
    assert not Path("s.zarr").exists()


def test_several_files_must_have_the_same_stimuli_and_be_different(run):
    rows("a.csv", [[1], [3]], ["x", "y"])
    rows("b.csv", [[1], [3]], ["x", "z"])
    code, said = run("csv", "a.csv", "b.csv", *IN, "--ids", "id")
    assert code == 1
    assert "a.csv and b.csv must have the same labels on 'stimulus'" in said
    assert "missing from b.csv: 'y'" in said
    assert "--append --missing" in said
    code, said = run("csv", "a.csv", "a.csv", *IN, "--ids", "id")
    assert (code, "not all different" in said) == (1, True)
    with pytest.raises(SystemExit):
        run("rsatoolbox-rdms", "a.hdf5", "b.hdf5", "s.zarr")
    assert not Path("s.zarr").exists()


def test_the_modality_that_several_sources_say_must_be_one(run):
    for name in ("vision", "language"):
        xc.io.write_npz(f"{name}.npz", make_reps(1, 4, 3).assign_attrs(modality=name))
    code, said = run("npz", "vision.npz", "language.npz", "s.zarr")
    assert code == 1
    assert "vision.npz is of 'vision'; language.npz is of 'language'" in said


@pytest.mark.slow
def test_ids_of_a_column(run):
    np.save("m.npy", np.eye(4))
    ids = ["007", "NA", " x", "1e5"]
    pd.DataFrame({"n": range(4), "nsd_id": ids, "a:b": ids[::-1]}).to_csv("ids.csv", index=False)
    Path("ids.tsv").write_text("\ufeffn\tnsd id\n" + "".join(f"1\t{i}\n" for i in ids), "utf-8")
    Path("C:").mkdir()
    for source, expected in {
        "ids.csv:nsd_id": ids, "ids.csv:a:b": ids[::-1], "ids.tsv:nsd id": ids,
        f"{Path.cwd()}/ids.csv:nsd_id": ids,
    }.items():  # fmt: skip
        code, said = run("npy", "m.npy", *IN, "--overwrite", "--ids", source)
        assert code == 0, said
        assert opened().stimulus.values.tolist() == expected
    # a file that is there is one, whatever its name
    Path("ids.csv:nsd_id").write_text("p\nq\nr\ns\n")
    assert run("npy", "m.npy", *IN, "--overwrite", "--ids", "ids.csv:nsd_id")[0] == 0
    assert opened().stimulus.values.tolist() == list("pqrs")
    rows("t.csv", np.eye(4).tolist(), list("pqrs"))
    assert (
        run("csv", "t.csv", *IN, "--overwrite", "--ids", "ids.csv:a:b", "--features", "f0")[0] == 0
    )
    assert opened().stimulus.values.tolist() == ids[::-1]


@pytest.mark.parametrize(
    ("text", "source", "match"),
    [
        ("a,b\n1,2\n", "ids.csv:c", "ids.csv has no column 'c' of ids; its columns are 'a', 'b'"),
        ("a,a\n1,2\n", "ids.csv:a", "ids.csv has several columns of one name: 'a'"),
        ("a,b\n1,2\n3\n", "ids.csv:a", "ids.csv has 2 columns, and row 3 has 1 cells"),
        ("a,b\n1,2\n\n", "ids.csv:a", "ids.csv has 2 columns, and row 3 has none, it is blank"),
        ("a,b\n1,2\n ,3\n", "ids.csv:a", "an id in every row of 'a'; it has none in rows '3'"),
        ("a,b\n", "ids.csv:a", "an id in every row of 'a'; it has no rows"),
        (
            "",
            "ids.csv:a",
            "ids.csv cannot be read as a table with ids, .csv or .tsv in UTF-8: it is empty",
        ),
        ('a,b\n"1,2\n', "ids.csv:a", "ids.csv cannot be read as a table with ids"),
        ("a,b\n1,2\n", "ids.csv:", "there is no file ids.csv:"),
        ("a,b\n1,2\n", "none.csv:a", "there is no file none.csv:a"),
        ("a,b\n1,2\n", r"C:\ids.csv", r"there is no file C:\ids.csv"),
        ("a,b\n1,2\n", "m.npy:a", "m.npy is no .csv or .tsv"),
    ],
)
def test_a_column_that_has_no_ids(run, text, source, match):
    np.save("m.npy", np.eye(2))
    Path("ids.csv").write_text(text)
    code, said = run("npy", "m.npy", *IN, "--ids", source)
    assert code == 1
    assert match in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_model_that_lacks_stimuli(run):
    old = stored()
    rows("few.csv", [[5, 6, 7]], ["b"])
    command = ["csv", "few.csv", *IN, "--ids", "id", "--append"]
    code, said = run(*command)
    assert code == 1
    assert "few.csv lacks 2 of 3 stimuli of 'vision': 'a', 'c'; --missing appends" in said
    xr.testing.assert_identical(opened(), old.assign_attrs(modality="vision"))
    code, said = run(*command, "--missing")
    assert code == 0, said
    assert "few.csv lacks 2 of 3 stimuli of 'vision', which are NaN: 'a', 'c'\n" in said
    found = opened().sel(model="few")
    assert found.sel(stimulus="b").values.tolist() == [5, 6, 7]
    assert found.sel(stimulus=["a", "c"]).isnull().all()
    np.testing.assert_array_equal(opened().sel(model="old")[:, :2], old[0])
    assert main(["validate", "s.zarr"]) == 0


@pytest.mark.slow
def test_several_models_that_lack_other_stimuli(run):
    stored()
    rows("p.csv", [[5], [6]], ["c", "a"])
    rows("q.csv", [[7]], ["b"])
    rows("r.csv", [[1], [2], [3]], ["c", "b", "a"])
    code, said = run("csv", "p.csv", "q.csv", "r.csv", *IN, "--ids", "id", "--append", "--missing")
    assert code == 0, said
    assert "p.csv lacks 1 of 3 stimuli of 'vision', which are NaN: 'b'\n" in said
    assert "q.csv lacks 2 of 3" in said
    assert "r.csv lacks" not in said
    found = opened().isel(feature=0)
    np.testing.assert_array_equal(
        found.sel(model=["p", "q", "r"], stimulus=["a", "b", "c"]),
        [[6, np.nan, 5], [np.nan, 7, np.nan], [3, 2, 1]],
    )


@pytest.mark.slow
def test_what_is_known_of_the_missing_stimuli_is_what_the_store_says(run):
    reps = make_reps(2, 5, [3, 4]).assign_attrs(modality="vision")
    reps = reps.assign_coords(shown=("stimulus", [True, False, True, True, False]))
    xc.write_representations("s.zarr", reps, modality="vision")
    few = reps.isel(model=[0], stimulus=[3, 1]).assign_coords(model=["few"])
    xc.io.write_npz("few.npz", few)
    code, said = run("npz", "few.npz", "s.zarr", "--append", "--missing")
    assert code == 0, said
    found = opened()
    for name, coord in reps.coords.items():
        if coord.dims == ("stimulus",):
            xr.testing.assert_identical(found[name].variable, coord.variable)
    back = found.sel(model="few", stimulus=few.stimulus)[:, : few.n_features.item()]
    np.testing.assert_array_equal(back, few[0, :, : few.n_features.item()])
    other = few.assign_coords(model=["other"], shown=("stimulus", [True, True]))
    xc.io.write_npz("other.npz", other)
    code, said = run("npz", "other.npz", "s.zarr", "--append", "--missing")
    assert (code, "'shown' contradicts that of the store" in said) == (1, True)
    assert opened().sizes["model"] == 3


@pytest.mark.parametrize("missing", [[], ["--missing"]])
def test_stimuli_that_the_modality_does_not_have_stay_an_error(run, missing):
    old = stored()
    rows("more.csv", [[5], [6]], ["b", "B"])
    code, said = run("csv", "more.csv", *IN, "--ids", "id", "--append", *missing)
    assert code == 1
    assert "missing from the modality 'vision': 'B'" in said
    xr.testing.assert_identical(opened(), old.assign_attrs(modality="vision"))


def test_missing_goes_with_append(run):
    stored()
    rows("few.csv", [[5]], ["b"])
    code, said = run("csv", "few.csv", *IN, "--ids", "id", "--overwrite", "--missing")
    assert (code, "--missing goes with --append" in said) == (1, True)
    assert opened().model.values.tolist() == ["old"]


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
