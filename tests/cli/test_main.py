import subprocess
import sys

import numpy as np
import pytest
import zarr

import xconverge as xc
from xconverge.cli.main import main
from xconverge.testing import planted_study


@pytest.fixture
def store(tmp_path):
    for modality, reps in planted_study(n_stimuli=12, rng=0).items():
        xc.write_representations(tmp_path / "study.zarr", reps, modality=modality)
    return tmp_path / "study.zarr"


def test_info_says_what_a_store_holds(store, capsys):
    assert main(["info", str(store)]) == 0
    text = capsys.readouterr().out
    assert "2 modalities" in text
    assert "vision: 4 model, 12 stimulus, 15 feature" in text
    assert "with noise" in text


@pytest.mark.slow
def test_validate_passes_a_good_store(store, capsys):
    assert main(["validate", str(store)]) == 0
    assert "vision: good, 4 models, 12 stimuli" in capsys.readouterr().out


@pytest.mark.slow
def test_validate_names_what_is_wrong(store, capsys):
    array = zarr.open_array(store, path="vision/representation", mode="r+")
    array[1, 3, 2] = np.nan
    assert main(["validate", str(store)]) == 1
    text = capsys.readouterr().out
    assert "vision: FAULTY" in text
    assert "'vision 1'" in text
    assert "'stimulus 0', 'stimulus 1', 'stimulus 2', … (12 in all)" in text
    assert "language: good" in text


@pytest.mark.parametrize("command", ["info", "validate"])
def test_a_store_that_is_not_there(command, tmp_path, capsys):
    assert main([command, str(tmp_path / "none.zarr")]) == 1
    assert "none.zarr" in capsys.readouterr().err


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert {"demo", "info", "validate"} <= set(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_demo_runs_and_saves_everything(tmp_path):
    out = tmp_path / "de\x1b[1mmo[red]"
    command = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore:19 permutations are too few:RuntimeWarning",
        "-m",
        "xconverge.cli.main",
        "demo",
        "--permutations",
        "19",
    ]
    run = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert "\x1b" not in run.stdout + run.stderr
    assert r"de\x1b[1mmo[red]/demo.zarr" in run.stdout
    assert run.returncode == 0, run.stderr
    assert "0.1528" in run.stdout
    assert "trials of four independent repetitions" in " ".join(run.stdout.split())
    assert "the lowest bin holds 12 of 12 human faces" in " ".join(run.stdout.split())
    page = (out / "report.html").read_text("utf-8")
    assert 10**6 < len(page) < 5 * 2**20
    assert page.count("data:image/webp") > 1300
    results = xc.open_store(out / "results.zarr")
    assert results["alignment/mutual_knn"].shape == (6, 6, 1380)
    assert results["neighbors/shared_neighbor"].sizes["side"] == 2
    assert xc.open_store(out / "brain.zarr")["rsa/rsa_by_bin"].sizes["bin"] == 3
    assert xc.open_representations(out / "demo.zarr", "vision").sizes["model"] == 10


def test_the_demo_replaces_no_folder_but_its_own(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "thesis.txt" in {path.name for path in tmp_path.iterdir()}
    assert "--out" in capsys.readouterr().err
