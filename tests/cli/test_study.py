"""The commands ``run`` and ``report``: a study of anybody's data."""

import json

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.cli.main import main
from xconverge.testing import planted_study

pytest.importorskip("matplotlib")
QUICK = ["--permutations", "9", "--equal-noise", "0", "--neighbors", "5", "--bins", "3"]


@pytest.fixture
def store(tmp_path):
    sets = planted_study(3, 30, rng=0)
    vision = sets["vision"].assign_coords(
        family=("model", ["cnn", "vit", "cnn"]), image=("stimulus", [f"i{i}" for i in range(30)])
    )
    # two captions of each image, under ids of their own
    captions = sets["language"].isel(stimulus=np.repeat(np.arange(30), 2))
    captions = captions.assign_coords(
        stimulus=[f"caption {i}" for i in range(60)],
        image=("stimulus", [f"i{i // 2}" for i in range(60)]),
    )
    path = tmp_path / "study.zarr"
    xc.write_representations(path, vision, modality="vision")
    xc.write_representations(path, sets["language"], modality="language")
    xc.write_representations(path, captions, modality="captions")
    brain = xc.rdm(sets["language"].assign_attrs(modality="brain"))
    xc.io.write_rdms(path, brain.rename(model="subject"), modality="it")
    return path


def run(store, *given, out="results.zarr"):
    return main(["run", str(store), *QUICK, *given, "-o", str(store.parent / out)])


@pytest.mark.slow
def test_a_study_is_that_of_analyze(store, capsys):
    assert run(store, "--target", "it", "--rsa-bins", "2") == 0
    said = capsys.readouterr().out
    study = xc.open_store(store.parent / "results.zarr")
    sets = {name: xc.open_representations(store, name).load() for name in ("vision", "language")}
    expected = xc.analyze(
        sets, k=5, n_bins=3, n_permutations=9, n_equal_noise=0, rsa_bins=2, rng=0,
        target=xc.open_store(store)["rdms/it/rdm"].mean("subject"),
    )  # fmt: skip
    for group in ("dispersion", "modulation", "rsa"):
        one, other = study[group].to_dataset().load(), expected[group].to_dataset()
        for name in other.data_vars:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9, err_msg=name)
    assert "Mean mutual-kNN of vision with language models" in said
    assert "RSA of the models' mean RDM with it, Spearman's" in " ".join(said.split())
    page = ["report", str(store.parent / "results.zarr"), "-o", str(store.parent / "r.html")]
    assert main(page) == 0
    assert (store.parent / "r.html").stat().st_size < 5 * 2**20
    # nothing is replaced unasked
    assert run(store) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(page) == 1
    assert main(["info", str(store.parent / "results.zarr")]) == 0
    assert "study of 3 vision and 3 language models, 30 stimuli, seed 0" in capsys.readouterr().out
    assert main(["validate", str(store.parent / "results.zarr")]) == 0


@pytest.mark.slow
def test_captions_with_other_ids_are_paired(store, capsys):
    assert run(store, "--modality", "vision", "--other", "captions", "--on", "image", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tables"][0]["title"] == "Mean mutual-kNN of vision with captions models"
    assert len(told["findings"]) >= 3
    assert "30 stimuli" in told["methods"]
    study = xc.open_store(told["results"])
    assert study["alignment/mutual_knn"].sizes["stimulus"] == 30
    assert "i3" in study["alignment"].indexes["stimulus"]


@pytest.mark.slow
def test_models_are_chosen_by_a_coordinate(store, capsys):
    assert run(store, "--modality", "vision", "--other", "language", "--where", "family=cnn") == 0
    study = xc.open_store(store.parent / "results.zarr")
    assert study["alignment"].indexes["model_a"].tolist() == ["vision 0", "vision 2"]
    capsys.readouterr()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--modality", "vision"], "name two of them by --modality and --other"),
        (["--modality", "vision", "--other", "sound"], "'captions', 'language', 'vision'"),
        (["--modality", "vision", "--other", "captions"], "--join inner"),
        (["--where", "family=rnn"], "no model has family='rnn'"),
        (["--where", "noise=1"], r"'family'"),
        (["--target", "it2"], "no modality and no group of RDMs 'it2'"),
        (["--neighbors", "99"], "99"),
        (["--bins", "1"], "n_bins"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(store, given, said, capsys):
    assert run(store, *given) == 1
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert said in text
    assert not (store.parent / "results.zarr").exists()


@pytest.mark.slow
def test_info_and_validate_tell_all_there_is(store, capsys):
    sets = {name: xc.open_representations(store, name).load() for name in ("vision", "language")}
    xc.io.write_neighbors(store, xc.neighbor_graph(sets["vision"], k=3))
    with pytest.warns(RuntimeWarning, match="pending"), xc.ModelWriter(
        store, "vision", "begun\x1b[1m", list(sets["vision"]["stimulus"].values),
        sets["vision"].sizes["feature"], coords={"family": "cnn"},
    ) as writer:  # fmt: skip
        writer.write(["stimulus 0"], np.ones((1, sets["vision"].sizes["feature"])))
    assert main(["info", str(store)]) == 0
    said = capsys.readouterr().out
    assert r"Not complete, of vision: begun\x1b[1m (29 stimuli pending)" in said
    assert "RDMs:\n  rdms/it: 3 subject, 30 stimulus, 30 stimulus_2" in said
    assert "Neighbour graphs:\n" in said
    assert main(["info", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["incomplete"] == {"vision": {"begun\x1b[1m": 29}}
    assert set(told["modalities"]) == {"vision", "language", "captions"}
    assert main(["validate", str(store), "--deep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True


@pytest.mark.slow
def test_a_study_of_parts_that_do_not_belong_together_is_faulty(store, capsys):
    sets = planted_study(3, 30, rng=0)
    call = {"k": 5, "n_bins": 3, "n_permutations": 9, "n_equal_noise": 0, "rng": 0}
    study = xc.analyze(sets, **call)
    fewer = xc.analyze({key: reps[:, :20] for key, reps in sets.items()}, **call)
    study["dispersion"] = fewer["dispersion"]
    xc.write_study(store.parent / "mixed.zarr", study)
    assert main(["validate", str(store.parent / "mixed.zarr")]) == 1
    said = capsys.readouterr().out
    assert "study /: FAULTY" in said
    assert "are of other stimulus labels: 'stimulus 20'" in said


@pytest.mark.parametrize("command", ["demo", "import", "info", "validate", "run", "report"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"xconverge {command} " in capsys.readouterr().out.partition("example")[2]


@pytest.mark.slow
def test_trials_of_several_subjects_are_a_target(store, capsys):
    """Their RSA is told as a mean over subjects, which has no p-value, or of one of them."""
    rng = np.random.default_rng(0)
    seen = xc.open_representations(store, "vision")["stimulus"].values[:24]
    reps = xc.open_representations(store, "vision").load().sel(stimulus=seen)[0, :, :12]
    trials = reps.values + 0.5 * rng.standard_normal((2, 4, *reps.shape))
    brain = xr.DataArray(
        trials, dims=("subject", "repetition", "stimulus", "voxel"),
        coords={"subject": ["s1", "s2"], "repetition": list("abcd"), "stimulus": seen},
    )  # fmt: skip
    brain = xc.from_xarray(brain, model="fmri", feature="voxel", modality="brain")
    xc.write_representations(store, brain, modality="brain")
    given = ("--modality", "vision", "--other", "language", "--target", "brain", "--rsa-bins", "2")
    with pytest.warns(RuntimeWarning):
        assert run(store, *given, "--join", "inner") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "30 of vision, 30 of language, 24 of brain: the 24 stimuli that all have" in said
    assert "RSA with brain (mean over 2 subject)" in said
    assert "Distances of the halves of its repetitions correlate by +0." in said
    study = xc.open_store(store.parent / "results.zarr")
    mean = study["rsa/rsa_of_mean_by_bin"].mean(["subject", "model_b"])
    assert f"{float(mean[0]):+.3f} (" in said
    page = ["report", str(store.parent / "results.zarr"), "-o", str(store.parent / "r.html")]
    assert main(page) == 0
    given = (*given, "--join", "inner")
    with pytest.warns(RuntimeWarning):
        assert run(store, *given, "--target-where", "subject=s2", out="one.zarr") == 0
    said = " ".join(capsys.readouterr().out.split())
    one = study["rsa/rsa_of_mean_by_bin"].sel(subject="s2").squeeze()
    assert f"{float(one[0]):+.3f} (p = " in said
    assert run(store, *given, "--target-where", "subject=s9", out="none.zarr") == 1
    assert "no subject='s9', but 's1', 's2'" in capsys.readouterr().err
