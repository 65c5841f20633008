"""Sets as the readers make them, and labels of any look, through whole studies."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
import xconverge.io
import xconverge.plot

N = 30
IDS = [f"img {i}.jpg" for i in range(N)]
QUICK = {"n_permutations": 9, "rng": 0}
BINS = {"n_bins": 2, **QUICK}


def seen(width, seed):
    """What a model of this width sees of the stimuli."""
    common = np.random.default_rng(0).standard_normal((N, 6))
    rng = np.random.default_rng([1, seed])
    return common @ rng.standard_normal((6, width)) + rng.standard_normal((N, width))


def platonic(networks, depth, modality):
    """As read_platonic makes it: each layer a model, with what the files say of networks."""
    each = [(name, layer) for name in networks for layer in range(depth)]
    models = {f"{name} {layer}": seen(8 + layer, i) for i, (name, layer) in enumerate(each)}
    numbers = np.arange(len(each))
    return xc.stack_models(models, stimuli=IDS, modality=modality).assign_coords(
        network=("model", np.array([name for name, _ in each], object)),
        layer=("model", np.array([layer for _, layer in each])),
        num_params=("model", numbers * 1.0),
        loss=("model", numbers / 7),
        n_tokens=(("model", "stimulus"), np.add.outer(numbers, np.arange(N))),
    )


def thingsvision(folder):
    for i, net in enumerate(("alexnet", "vgg", "vit")):
        where = folder / net / "features.1"
        where.mkdir(parents=True)
        np.save(where / "features.npy", seen(7, 50 + i))
        (where / "file_names.txt").write_text("\n".join(IDS))
    return xc.io.read_thingsvision(folder, modality="vision")


def brainio(by):
    """Three subjects, two regions, two presentations; neuroids say layer, subject and region."""
    cells = [(s, r) for s in ("m1", "m2", "m3") for r in ("V4", "IT") for _ in range(4)]
    array = xr.DataArray(
        np.repeat(seen(len(cells), 70), 2, axis=0),
        dims=("presentation", "neuroid"),
        coords={
            "stimulus_id": ("presentation", np.repeat(IDS, 2)),
            "repetition": ("presentation", np.tile([0, 1], N)),
            "time": ("presentation", np.arange(2.0 * N)),
            "subject": ("neuroid", [s for s, _ in cells]),
            "region": ("neuroid", [r for _, r in cells]),
            "layer": ("neuroid", np.arange(len(cells))),
        },
    )
    return xc.io.from_brainio(array, by=by, repetitions="mean", modality="brain")


def allen():
    units = pd.DataFrame({"subject": list("aabbcc"), "region": ["V1", "LM"] * 3})
    shown = pd.DataFrame({"frame": IDS, "time": np.arange(N) / 3, "bin": np.arange(N)})
    counts = xr.DataArray(
        seen(18, 80),
        dims=("stimulus_presentation_id", "unit_id"),
        coords={"stimulus_presentation_id": np.arange(N), "unit_id": np.arange(18)},
        name="spike_counts",
    )
    return xc.io.from_allen(
        counts,
        stimulus="frame",
        presentations=shown,
        units=pd.concat([units] * 3, ignore_index=True),
        by="subject",
    )


def rsatoolbox(folder):
    pytest.importorskip("rsatoolbox")
    datasets = xc.io.to_rsatoolbox_dataset(brainio("subject"))
    return xc.io.from_rsatoolbox_dataset(datasets)


def networks(folder):
    return platonic(["vit", "dino", "mae", "clip"], 2, "vision")


SETS = {
    "platonic": networks,
    "thingsvision": thingsvision,
    "brainio": lambda folder: brainio(["subject", "region"]),
    "allen": lambda folder: allen(),
    "rsatoolbox": rsatoolbox,
}
SELECT = {"n_bins": 2, "n_splits": 2, "n_draws": 9, **QUICK}


def agreed(v, b):
    return xc.alignment(v, b, k=4)


def spread(v, leave_out=None):
    return xc.dispersion(v, "neighborhood", k=4, leave_out=leave_out)


CALLS = {
    "select_models": lambda v, b: xc.select_models(v, b, **SELECT),
    "leave_out_modulation": lambda v, b: xc.leave_out_modulation(v, b, k=4, **BINS, null="labels"),
    "modulation": lambda v, b: xc.modulation(spread(v), agreed(v, b), **BINS, null="labels"),
    "binned_rsa": lambda v, b: xc.binned_rsa(v, b, spread(v), 2, average=None, **QUICK),
    "binned_rsa_contrast": lambda v, b: xc.binned_rsa_contrast(
        v, b, spread(v), 2, **QUICK, null="labels"
    ),
    "subset_contrast": lambda v, b: xc.subset_contrast(
        spread(v), v, b, size=8, k=3, n_random=9, rng=0
    , null="labels"),
    "select_stimuli": lambda v, b: xc.select_stimuli(
        spread(v), 6, without=spread(v, "model")
    ),
    "optimize_stimuli": lambda v, b: xc.optimize_stimuli(
        v, 6, n_restarts=0, n_perturbations=0, rng=0
    ),
    "cross_modal_prediction": lambda v, b: xc.cross_modal_prediction(
        agreed(v, b), spread(v), agreed(v, b).mean(["model_b", "stimulus"]).rename(model_a="model"),
        **BINS,
     null="labels"),
    "calibrate": lambda v, b: xc.calibrate(v, b, k=4, **QUICK),
    "confidence_interval": lambda v, b: xc.confidence_interval(v, b, k=4, rng=0),
    "reliability": lambda v, b: xc.reliability(v, "rdm", n_splits=3, rng=0),
    "shared_space": lambda v, b: xc.shared_space(v, n_components=3),
    "noise_ceiling": lambda v, b: xc.noise_ceiling(xc.rdm(b)),
    "analyze": lambda v, b: xc.analyze(
        {"a": v, "b": b}, target=b, k=4, rsa_bins=2, **BINS, n_equal_noise=0
    ),
}  # fmt: skip


def assert_store_keeps(result, path):
    """A result is written, and every one of its values is there when the store is opened."""
    whole = result.compute()
    study = whole if isinstance(whole, xr.DataTree) else xr.DataTree.from_dict({"result": whole})
    xc.write_study(path, study)
    again = xc.open_store(path)
    for group in study.groups:
        for name, value in study[group].data_vars.items():
            xr.testing.assert_equal(again[group][name].variable, value.variable)


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of so few stimuli and models
@pytest.mark.parametrize("call", [*CALLS][:2])
def test_a_set_of_layers_against_a_brain_as_read(tmp_path, call):
    result = CALLS[call](networks(tmp_path), brainio("subject"))
    assert_store_keeps(result, tmp_path / "study.zarr")


@pytest.mark.slow
def test_layers_and_networks_of_a_selection_are_told_apart(tmp_path):
    reps, brain = networks(tmp_path), brainio("subject")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table = CALLS["select_models"](reps, brain)
    assert table["model"].values.tolist() == ["vit", "dino", "mae", "clip"]
    assert table["layer"].values.tolist() == reps["model"].values.tolist()
    assert table["network"].values.tolist() == reps["network"].values.tolist()
    assert table["layer_name"].values.tolist() == [0, 1] * 4
    regions = xc.select_models(
        reps, brainio(["subject", "region"]), **SELECT | {"n_bins": 1, "n_permutations": 0}
    )
    assert set(regions["rsa"].dims) == {"model", "subset", "region"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "brain"),
    # each reader on each side
    [*((name, "brainio") for name in SETS), ("platonic", "allen"), ("platonic", "rsatoolbox")],
)
def test_every_study_takes_what_readers_make(tmp_path, name, brain, call):
    result = CALLS[call](SETS[name](tmp_path / "a"), SETS[brain](tmp_path / "b"))
    assert_store_keeps(result, tmp_path / "study.zarr")


ODD = ["same", "with space", "../a/b", "λ é ß", "x" * 300, "$\\alpha_1$"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_labels_of_any_look_and_alike_on_both_sides(tmp_path):
    """The same names in both modalities, also through a store and figures."""
    pytest.importorskip("matplotlib").use("agg")
    vision, language = (
        xc.stack_models({name: seen(8, 90 + s + i) for i, name in enumerate(ODD)}, stimuli=IDS)
        for s in (0, 20)
    )
    plain = [
        reps.assign_coords(model=[f"{w}{i}" for i in range(len(ODD))])
        for reps, w in ((vision, "v"), (language, "l"))
    ]
    options = {"k": 4, "rsa_bins": 2, "target": xc.rdm(language[0]), **BINS, "n_permutations": 0}
    study = xc.analyze({"vision": vision, "language": language}, **options, n_equal_noise=0)
    right = xc.analyze(
        dict(zip(("vision", "language"), plain, strict=True)), **options, n_equal_noise=0
    )
    for path in right.groups:
        for name, value in right[path].data_vars.items():
            np.testing.assert_array_equal(study[path][name].values, value.values, err_msg=name)
    xc.write_study(tmp_path / "study.zarr", study)
    again = xc.open_store(tmp_path / "study.zarr").load()
    assert again["alignment"]["model_b"].values.tolist() == ODD
    xr.testing.assert_equal(again["alignment"].to_dataset(), study["alignment"].to_dataset())
    for reps, modality in ((vision, "vision"), (language, "language")):
        xc.write_representations(tmp_path / "sets.zarr", reps, modality=modality)
    opened = xc.open_representations(tmp_path / "sets.zarr", "language")
    assert opened["model"].values.tolist() == ODD
    table = xc.select_models(
        vision, language[0], n_bins=1, n_splits=1, n_draws=9, rng=0, n_permutations=0
    )
    for axes in (
        xc.plot.alignment_matrix(again["alignment/mutual_knn"]),
        xc.plot.rsa_by_bin(again["rsa"].to_dataset()),
        xc.plot.models_by_subset(table),
    ):
        axes.figure.canvas.draw()
