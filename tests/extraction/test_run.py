"""The loop, with networks that are functions: every word of it without PyTorch."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.extraction.stimuli import (
    LABELS,
    SQUARE,
    TEXTS,
    check_layers,
    check_same_models,
    pixels_of,
)
from xconverge.extraction.stimuli import Stimuli, stimuli_of
from xconverge.io.writer import ModelWriter

FILTERS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


def convolved(batch):
    """Two layers of images (stimulus, channel, row, column)."""
    maps = np.maximum(np.einsum("fc,ncxy->nfxy", FILTERS, batch), 0)
    return {"relu": maps, "head": maps.mean((2, 3)) @ FILTERS}


def lengths(texts):
    return np.array([[len(text), text.count(" ")] for text in texts])


@pytest.fixture
def network():
    return xc.load_network(convolved, preprocess=SQUARE, name="conv")


def extracted(folder, network, store, **options):
    options = {"modality": "vision", "layers": "*", "batch_size": 4, **options}
    return xc.extract(folder, network, store, **options)


def means(folder):
    found = convolved(pixels_of(folder))
    return {"relu": found["relu"].mean((2, 3)), "head": found["head"]}


class Killed(Exception):
    pass


@pytest.fixture
def dies(monkeypatch):
    """Let a run die at its n-th write."""

    def at(n):
        left, write = [n], ModelWriter.write

        def until(writer, stimuli, batch):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            write(writer, stimuli, batch)

        monkeypatch.setattr(ModelWriter, "write", until)

    yield at
    monkeypatch.undo()


def test_what_is_stored(folder, network, tmp_path):
    reps = extracted(folder, network, tmp_path / "s.zarr")
    check_layers(reps, means(folder), "conv")
    assert reps.pooling.values.tolist() == ["mean", "mean"]
    assert reps.dtype == np.float32
    by_xarray = xr.open_zarr(tmp_path / "s.zarr" / "vision")["representation"]
    for one in (reps, by_xarray):
        known = one.attrs["provenance"]["conv"]
        assert known["model"].endswith("test_run.convolved")
        assert (
            known["preprocessing"] == "Square(size=20, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))"
        )
        assert known["precision"] == "float32"
        assert one.attrs["modality"] == "vision"


def test_texts_and_their_coordinates(tmp_path):
    table = pd.DataFrame({"id": list(TEXTS), "text": list(TEXTS.values()), "n": range(5)})
    table.to_csv(tmp_path / "t.csv", index=False)
    reps = xc.extract(f"{tmp_path}/t.csv:text", lengths, tmp_path / "s.zarr", modality="language")
    check_layers(reps, {"output": lengths(TEXTS.values()).astype(np.float32)}, "lengths", TEXTS)
    found = xc.open_representations(tmp_path / "s.zarr", "language")
    assert found.sel(stimulus="dog").n == 1
    assert found.sel(stimulus="dog").text == TEXTS["dog"]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("at", [5, 0, 1, 10, 11])
def test_interrupted_and_started_again(folder, network, tmp_path, dies, monkeypatch, at):
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    extracted(folder, network, one)
    dies(at)
    with pytest.raises(Killed):
        extracted(folder, network, other)
    monkeypatch.undo()
    extracted(folder, network, other)
    check_same_models(one, other)


def test_only_what_is_pending_is_read(folder, network, tmp_path, dies, monkeypatch):
    dies(5)  # two batches of two layers, and one layer of the third
    with pytest.raises(Killed):
        extracted(folder, network, tmp_path / "s.zarr")
    monkeypatch.undo()
    seen = []
    inner = stimuli_of(folder)

    def read(label):
        seen.append(label)
        return inner.read(label)

    noted = Stimuli(inner.labels, inner.kind, read)
    extracted(noted, network, tmp_path / "s.zarr")
    assert sorted(seen[1:]) == sorted(inner.names[8:])  # the first tells how wide layers are
    seen.clear()
    extracted(noted, network, tmp_path / "s.zarr")
    assert seen == inner.names[:1]


def test_what_another_cut_into_batches_left_is_finished(
    folder, network, tmp_path, dies, monkeypatch
):
    dies(3)
    with pytest.raises(Killed):
        extracted(folder, network, tmp_path / "s.zarr", batch_size=5)
    monkeypatch.undo()
    reps = extracted(folder, network, tmp_path / "s.zarr", batch_size=3)
    check_layers(reps, means(folder), "conv")


CHANGES = {
    "pooling": ({"pool": "last"}, {}, "pooling"),  # of vectors it changes nothing but this word
    "preprocessing": ({}, {"preprocess": {"size": 20, "std": [1, 1, 1]}}, "preprocessing 'Square"),
    "coords": ({}, {"coords": {"family": "b"}}, "family"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("complete", [False, True])
def test_settings_are_not_mixed(folder, tmp_path, dies, monkeypatch, what, complete):
    kept = {"preprocess": SQUARE, "name": "conv", "coords": {"family": "a"}}
    run, load, said = CHANGES[what]
    one, other = (xc.load_network(convolved, **{**kept, **more}) for more in ({}, load))
    first = {"folder": folder, "store": tmp_path / "s.zarr", "layers": "head"}
    if complete:
        extracted(network=one, **first)
    else:
        dies(1)
        with pytest.raises(Killed):
            extracted(network=one, **first)
        monkeypatch.undo()
    with pytest.raises(xc.SchemaError, match=said):
        extracted(network=other, **first, **run)
    if not complete:
        again = extracted(network=other, **first, **run, restart=True)
        assert again.sizes["stimulus"] == len(LABELS)


def test_a_network_is_made_in_one_way_in_all_of_its_layers(folder, network, tmp_path):
    extracted(folder, network, tmp_path / "s.zarr", layers="head")
    other = xc.load_network(convolved, preprocess={**SQUARE, "mean": [0] * 3}, name="conv")
    with pytest.raises(xc.SchemaError, match="'conv' in modality 'vision'.* give what is made"):
        extracted(folder, other, tmp_path / "s.zarr", layers="relu")
    other.name = "other"
    extracted(folder, other, tmp_path / "s.zarr", layers="relu")
    reps = xc.open_representations(tmp_path / "s.zarr", "vision")
    assert reps.model.values.tolist() == ["conv head", "other relu"]
    assert set(reps.attrs["provenance"]) == {"conv", "other"}


def test_into_an_object_store(folder, network, tmp_path):
    stores = tmp_path / "a.zarr", f"memory://{tmp_path.name}/b.zarr"
    a, b = (extracted(folder, network, store).load() for store in stores)
    xr.testing.assert_identical(a, b)


def test_arrays(tmp_path):
    rng = np.random.default_rng(0)
    given = {f"s{i}": rng.standard_normal((3, 4, 4)).astype(np.float32) for i in range(5)}
    reps = xc.extract(given, convolved, tmp_path / "s.zarr", modality="v", layers="head")
    expected = convolved(np.stack(list(given.values())))["head"]
    check_layers(reps, {"head": expected}, "convolved", given)
    with pytest.raises(xc.SchemaError, match=r"have the shapes \(3, 3\), \(3, 4\); give preproc"):
        xc.extract(
            {"a": np.zeros((3, 3)), "b": np.zeros((3, 4))}, lambda batch: batch.mean(2),
            tmp_path / "x.zarr", modality="v",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"layers": ["head", "heads"]}, ValueError, "no layer 'heads'; close to it are 'head'"),
        ({"pool": "cls"}, ValueError, r"'relu': no cls of an output of the shape \(1, 6, 20, 20\)"),
        ({"pool": "max"}, ValueError, "pool='max' is not known"),
        ({"precision": "int8"}, ValueError, "precision='int8' is not known"),
        ({"precision": "float16"}, ValueError, "is a function, and decides itself"),
        ({"device": "cpu"}, ValueError, "is a function, and decides itself"),
        ({"device": 3}, TypeError, "device must be text"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number, 1 at least"),
        ({"modality": None}, TypeError, "modality must be text"),
        ({"layers": 3}, TypeError, "layers"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    folder, network, tmp_path, options, error, said
):
    with pytest.raises(error, match=said):
        extracted(folder, network, tmp_path / "s.zarr", **options)
    assert not (tmp_path / "s.zarr").exists()


def test_another_process_at_one_model(folder, network, tmp_path):
    store = tmp_path / "s.zarr"
    coords = {"network": "conv", "layer": "head", "pooling": "mean"}
    with ModelWriter(
        store, "vision", "conv head", LABELS, 3, coords=coords, dtype="float32"
    ) as one:
        with pytest.raises(FileExistsError, match="another ModelWriter of this one"):
            extracted(folder, network, store, layers="head")
        one.write(LABELS, np.ones((len(LABELS), 3), np.float32))


def test_numbers_that_are_none_name_the_stimulus(tmp_path):
    def bad(texts):
        return np.array([[1.0, np.nan if text == "sun" else 2.0] for text in texts])

    with pytest.raises(xc.SchemaError, match="NaN inside a row: stimulus 'sun'"):
        xc.extract(TEXTS, bad, tmp_path / "s.zarr", modality="v")


@pytest.mark.parametrize(
    ("given", "options", "error", "said"),
    [
        (3, {}, TypeError, "network must be text as 'timm:vit_tiny_patch16_224'"),
        ("resnet18", {}, ValueError, "does not say its library"),
        ("timm:", {}, ValueError, "does not say its library"),
        ("no_such_module:made", {}, ImportError, "torch|no function that can be imported"),
        ("none.onnx", {}, (FileNotFoundError, ImportError), "there is no file|needs onnx"),
        (len, {"weights": "random"}, xc.SchemaError, "weights='random' is for networks of 'timm'"),
        ("a.onnx", {"weights": "b"}, xc.SchemaError, "weights='b' is for networks of 'timm'"),
        (len, {"weights": 3}, TypeError, "weights must be the name of weights"),
        (len, {"name": ""}, ValueError, "name must be text, and is empty"),
        (len, {"preprocess": 3}, TypeError, "preprocess must be a function, a dict or None"),
        (len, {"coords": {"layer": "x"}}, xc.SchemaError, "coords has 'layer'"),
    ],
)
def test_networks_that_cannot_be(given, options, error, said):
    with pytest.raises((error, xc.SchemaError) if isinstance(error, type) else error, match=said):
        xc.load_network(given, **options)


@pytest.mark.parametrize("library", ["timm", "torchvision", "open_clip", "transformers",
                                     "sentence_transformers"])  # fmt: skip
def test_without_its_library_an_error_says_what_to_install(library, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    name = library.replace("sentence_t", "sentence-t")
    with pytest.raises(ImportError, match=rf"network='{name}:x' needs .*xconverge\[extract\]"):
        xc.load_network(f"{name}:x")
