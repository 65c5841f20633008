"""The example that extracts from an ONNX model, and what it shares with the one of torch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import xconverge as xc
from tests.examples.extracting import (
    LABELS,
    SHORT,
    check,
    example,
    killed,
    photos,
    pixels_of,
    reading,
    same,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LAYERS = ["relu1", "relu2", "relu3", "head"]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return example("extract_onnx", monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


def forward(model: Any, folder: Path, outputs: list[str]) -> dict[str, np.ndarray]:
    """Outputs of each tensor, image by image, by the reference implementation of ONNX."""
    from onnx.reference import ReferenceEvaluator

    inner = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(inner)
    plain = ReferenceEvaluator(model)
    images = pixels_of(folder)
    rows = [plain.run(outputs, {"pixels": images[label][None]}) for label in LABELS]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(outputs)}


def means(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.mean((2, 3)) if x.ndim == 4 else x for name, x in maps.items()}


@pytest.mark.slow
def test_values_are_those_of_a_plain_forward_pass(
    found: dict[str, Any], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "features.zarr"
    found["main"]([*SHORT, "--images", str(folder), "--store", str(store)])
    expected = means(forward(found["small_cnn"](), folder, LAYERS))
    assert [rows.shape[1] for rows in expected.values()] == [32, 64, 128, 64]
    check(store, expected)
    said = capsys.readouterr().out
    assert "22 of 22 images to run, 4 layers" in said
    assert "vision: 4 model, 22 stimulus, 128 feature; float32" in said
    assert said.splitlines()[-1].startswith("small cnn head")


@pytest.mark.slow
def test_a_file_of_ones_own_and_every_position(
    found: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    model, store = found["small_cnn"](), tmp_path / "features.zarr"
    onnx.save(model, tmp_path / "mine.onnx")
    own = ["--model", str(tmp_path / "mine.onnx"), "--outputs", "conv3", "flat"]
    found["main"]([*SHORT, *own, "--pool", "flatten", "--images", str(folder), f"--store={store}"])
    maps = forward(model, folder, ["conv3", "flat"])
    check(store, {name: x.reshape(len(x), -1) for name, x in maps.items()}, "mine")


@pytest.mark.slow
def test_killed_and_started_again(
    found: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    arguments = [*SHORT, "--images", str(folder), "--store"]
    found["main"]([*arguments, str(one)])
    killed("extract_onnx", 10, *arguments, other)  # of the third batch, two layers of four
    with pytest.raises(xc.SchemaError, match="not complete"):
        xc.open_representations(other, "vision")
    with pytest.raises(xc.SchemaError, match="was begun with coords"):
        found["main"]([*arguments, str(other), "--mean", "0", "0", "0"])
    read = reading(found, monkeypatch)
    found["main"]([*arguments, str(other)])
    assert len(read) == len(set(read[1:])) + 1 == 1 + len(LABELS) - 8  # one to see the widths
    same(one, other)
    read.clear()
    found["main"]([*arguments, str(other)])
    assert len(read) == 1


@pytest.mark.slow
def test_two_networks_share_a_modality(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    arguments = [*SHORT, "--images", str(folder), "--store", str(tmp_path / "both.zarr")]
    found["main"]([*arguments, "--outputs", "head"])
    found["main"]([*arguments, "--outputs", "head", "relu3", "--network", "again"])
    reps = xc.open_representations(tmp_path / "both.zarr", "vision")
    assert reps.model.values.tolist() == ["small cnn head", "again head", "again relu3"]
    assert reps.n_features.values.tolist() == [64, 64, 128]
    np.testing.assert_array_equal(reps[0], reps[1])


@pytest.mark.slow
def test_from_an_archive_into_an_object_store(
    found: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    stores = {"a": tmp_path / "a.zarr", "b": f"memory://{tmp_path.name}/b.zarr"}
    for store, images in zip(stores.values(), (folder, f"zip://::{archive}"), strict=True):
        found["main"]([*SHORT, "--images", str(images), "--store", str(store)])
    a, b = (xc.open_representations(store, "vision") for store in stores.values())
    xr.testing.assert_identical(a.load(), b.load())


def test_the_shipped_emoji(found: dict[str, Any]) -> None:
    shared = found["extract"].__globals__
    options = shared["parser_of"]("An example.").parse_args([])
    with shared["images_of"](options) as images, shared["shipped"]() as data:
        emoji = xc.open_representations(data / "demo.zarr", "vision")["stimulus"]
        assert set(images.paths) == set(emoji.values.tolist())
        grin = images.read("1F600")
    assert grin.shape == (3, 64, 64)
    np.testing.assert_array_equal(grin[:, 0, 0], 1)  # white behind it
    assert grin[2].mean() < grin[0].mean()  # yellow: less blue than red


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--outputs", "relu9", "relu1"], "--outputs relu9: needed are some of conv1, relu1"),
        (["--pool", "cls"], r"'relu1': no cls of an output \(1, 32, 10, 10\)"),
    ],
)
def test_what_cannot_be_is_refused(
    found: dict[str, Any], folder: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        found["main"]([*SHORT, "--images", str(folder), f"--store={tmp_path / 'x'}", *arguments])
    assert not (tmp_path / "x").exists()


def test_bad_folders_are_named(found: dict[str, Any], tmp_path: Path) -> None:
    arguments = [*SHORT, "--images", str(tmp_path), "--store", str(tmp_path / "x.zarr")]
    with pytest.raises(FileNotFoundError, match=r"no images \(.bmp, .*\) in"):
        found["main"](arguments)
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    Image.new("L", (9, 9)).save(tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"a.png and .*a.gif would have one label"):
        found["main"](arguments)
    (tmp_path / "a.gif").unlink()
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"(?s)image file.*reading .*a\.png"):
        found["main"](arguments)


def test_upright(found: dict[str, Any], tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(0, 256, dtype=np.uint8).reshape(16, 16))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned: a quarter clockwise makes it upright
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", exif=turned)
    images = found["extract"].__globals__["Images"](str(tmp_path), 16, [0] * 3, [1] * 3)
    plain, upright = images.read("a"), images.read("b")
    np.testing.assert_array_equal(plain[0], np.asarray(image, np.float32) / 255)
    np.testing.assert_array_equal(upright[0], np.rot90(plain[0], -1))


def test_tokens_are_pooled(found: dict[str, Any]) -> None:
    pooled = found["pooled"]
    tokens = np.random.default_rng(0).standard_normal((5, 7, 3))
    np.testing.assert_allclose(pooled(tokens, "mean", "x", 5), sum(tokens.swapaxes(0, 1)) / 7)
    np.testing.assert_array_equal(pooled(tokens, "cls", "x", 5), tokens[:, 0])
    np.testing.assert_array_equal(pooled(tokens, "flatten", "x", 5), tokens.reshape(5, 21))
    for bad in (tokens.swapaxes(0, 1), tokens[:, 0, 0]):
        with pytest.raises(ValueError, match="layer 'x': no mean of an output"):
            pooled(bad, "mean", "x", 5)
