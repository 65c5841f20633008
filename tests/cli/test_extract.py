"""The command ``xconverge extract``."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest

import xconverge as xc
from tests.extraction.networks.test_onnx import small_cnn
from tests.extraction.stimuli import photos
from xconverge.cli.main import main

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("PIL")

NET = ["--network", "small.onnx", "--size", "20", "--batch-size", "4"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command where a network and a folder of images lie; the code, and what was said."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_cnn(), "small.onnx")
    (tmp_path / "photos").mkdir()
    photos(tmp_path / "photos")

    def command(*arguments):
        code = main(["extract", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.mark.slow
def test_a_folder_becomes_a_modality(run):
    layers = ["--layers", "relu?", "head", "--coord", "family=cnn"]
    code, said, wrong = run("photos", "s.zarr", "--modality", "vision", *NET, *layers)
    assert code == 0, wrong
    assert said.splitlines() == [
        "s.zarr: vision has 'small relu1', 'small relu2', 'small head' of 22 stimuli",
        "features of each: '8', '16', '5'",
    ]
    reps = xc.open_representations("s.zarr", "vision")
    assert reps.family.values.tolist() == ["cnn"] * 3
    assert reps.attrs["provenance"]["small"]["preprocessing"].startswith(
        "Square(size=20, mean=(0.5"
    )
    code, said, wrong = run("photos", "s.zarr", "--modality", "vision", *NET, *layers, "--json")
    told = json.loads(said)
    assert told["models"] == ["small relu1", "small relu2", "small head"]
    assert (told["stimuli"], told["n_features"]) == (22, [8, 16, 5])
    assert told["provenance"]["precision"] == "float32"
    code, said, wrong = run(
        "photos", "s.zarr", "--modality", "vision", *NET, *layers, "--mean", "0", "0", "0"
    )
    assert code == 1
    assert wrong.startswith("xconverge extract: 'small' in")
    assert "was made with preprocessing 'Square(size=20, mean=(0.5, 0.5, 0.5)" in wrong


def test_layers_are_listed(run):
    code, said, _ = run("--network", "small.onnx", "--list-layers")
    assert (code, said.split()) == (
        0, ["conv1", "relu1", "conv2", "relu2", "pool", "flat", "head", "output"]
    )  # fmt: skip
    code, said, _ = run("--network", "small.onnx", "--list-layers", "--json")
    assert json.loads(said)["layers"][0] == "conv1"


def test_what_is_lacking_was_not_understood(run, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["extract", "photos", *NET])
    assert ended.value.code == 2
    assert "needed are also store, modality" in capsys.readouterr().err


def test_functions_of_the_working_folder(run, tmp_path, monkeypatch):
    module = ModuleType("mine_of_this_test")
    module.small = lambda image: np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = ["--network", "small.onnx", "--preprocess", "mine_of_this_test:small"]
    code, _, wrong = run("photos", "s.zarr", "--modality", "v", *own)
    assert code == 0, wrong
    assert str(tmp_path) in sys.path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", *NET], "there is no folder or file none"),
        (["photos", *NET, "--layers", "relu9"], "no layer 'relu9'; close to it are 'relu"),
        (["photos", "--network", "none.onnx"], "there is no file none.onnx"),
        (["photos", "--network", "resnet18"], "does not say its library"),
        (["photos", "--network", "small.onnx"], "takes arrays, and stimuli are images"),
        (["photos", "--network", "small.onnx", "--mean", "0", "0", "0"], "go with --size"),
        (["photos", "--network", "small.onnx", "--preprocess", "no:no"], "cannot be imported"),
        (["photos", *NET, "--coord", "family"], "--coord family must be NAME=VALUE"),
        (["photos", *NET, "--ids", "id"], "images of photos are named by their files"),
        (["t.csv", *NET], "there is no file t.csv"),
        (["photos", *NET, "--pool", "cls", "--layers", "relu1"], "maps have no tokens"),
    ],
)
def test_wrong_input_is_one_clear_line(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setattr(sys, "path", list(sys.path))
    source, *more = arguments
    code, _, wrong = run(source, "s.zarr", "--modality", "v", *more)
    assert code == 1
    assert wrong.startswith("xconverge extract: ")
    assert said in wrong
    assert wrong.count("\n") == 1
    assert not (tmp_path / "s.zarr").exists()
