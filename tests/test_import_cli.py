"""The command ``xconverge import``."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps
from xconverge import store as stores
from xconverge.cli import main
from xconverge.interop.kinds import KINDS

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


@pytest.mark.parametrize(("kind", "make", "source", "options"), list(sources()))
def test_every_kind_becomes_a_modality(run, kind, make, source, options):
    make()
    code, said = run(kind, source, "s.zarr", "--modality", "vision", *options)
    assert code == 0, said
    assert "vision has 1 model, 2 stimulus, 3 feature" in said
    expected = xc.stack_models({"m": X}, stimuli=IDS, modality="vision")
    xr.testing.assert_identical(opened(), expected)
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
    xr.testing.assert_identical(opened(), expected)


def test_what_write_npz_wrote(run):
    reps = make_reps(2, 5, [3, 4])
    xc.write_npz("m.npz", reps)
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


def test_rdms_go_where_rdms_are_written(run, monkeypatch):
    """A row that gives RDMs is written by ``store.write_rdms``."""
    rdms = xc.rdm(make_reps(2, 4, 3))
    calls = []
    module = type(importlib)("fake_reader")
    module.read = lambda source: rdms
    monkeypatch.setitem(__import__("sys").modules, "fake_reader", module)
    monkeypatch.setattr(
        stores, "write_rdms", lambda path, what, **keywords: calls.append((path, what, keywords)),
        raising=False,
    )  # fmt: skip
    row = KINDS["rsatoolbox-rdms"]
    monkeypatch.setitem(
        KINDS, "rsatoolbox-rdms", type(row)("fake_reader:read", row.text, {}, "rdms")
    )
    code, said = run("rsatoolbox-rdms", "x.hdf5", "s.zarr", "--modality", "brain", "--overwrite")
    assert code == 0, said
    assert calls == [(Path("s.zarr"), rdms, {"modality": "brain", "overwrite": True})]


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
    module = kind.reader.split(":")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not there yet")
    assert set(kind.options) <= set(inspect.signature(kind.load()).parameters)
