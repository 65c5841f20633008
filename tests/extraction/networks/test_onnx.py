"""Models in ONNX files, against the reference implementation of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xconverge as xc
from tests.extraction.stimuli import LABELS, SQUARE, check_layers, pixels_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WIDTHS = {"relu1": 8, "relu2": 16, "head": 5}


def small_cnn() -> Any:
    """Two convolutions and a linear layer, with seeded random weights."""
    helper = onnx.helper
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "pixels"

    def add(kind: str, name: str, shape: tuple[int, ...] = (), **attributes: object) -> None:
        nonlocal last
        inputs = [last]
        if shape:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            values = (scale * rng.standard_normal(shape)).astype(np.float32)
            weights.append(onnx.numpy_helper.from_array(values, f"{name}.weight"))
            inputs.append(f"{name}.weight")
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        last = name

    for i, shape in enumerate([(8, 3, 3, 3), (16, 8, 3, 3)], 1):
        add("Conv", f"conv{i}", shape, strides=[2, 2], pads=[1, 1, 1, 1])
        add("Relu", f"relu{i}")
    add("GlobalAveragePool", "pool")
    add("Flatten", "flat")
    add("Gemm", "head", (5, 16), transB=1)
    kind = onnx.TensorProto.FLOAT
    image = helper.make_tensor_value_info("pixels", kind, ["n", 3, "row", "column"])
    head = helper.make_tensor_value_info("head", kind, ["n", 5])
    graph = helper.make_graph(nodes, "small cnn", [image], [head], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    onnx.save(small_cnn(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def forward(folder: Path, outputs: list[str]) -> dict[str, np.ndarray]:
    """Outputs of each tensor, image by image, by the reference implementation of ONNX."""
    from onnx.reference import ReferenceEvaluator

    model = small_cnn()
    del model.graph.output[:]
    model.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, outputs))
    plain = ReferenceEvaluator(model)
    rows = [plain.run(outputs, {"pixels": pixels[None]}) for pixels in pixels_of(folder)]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(outputs)}


@pytest.mark.slow
def test_values_are_those_of_the_reference(folder: Path, tmp_path: Path, file: Path) -> None:
    network = xc.load_network(str(file), preprocess=SQUARE)
    assert network.layers == ["conv1", "relu1", "conv2", "relu2", "pool", "flat", "head", "output"]
    reps = xc.extract(
        folder, network, tmp_path / "s.zarr", modality="vision", layers=["relu?", "head"],
        batch_size=4,
    )  # fmt: skip
    maps = forward(folder, list(WIDTHS))
    check_layers(reps, {n: x.mean((2, 3)) if x.ndim == 4 else x for n, x in maps.items()}, "small")
    assert reps.n_features.values.tolist() == list(WIDTHS.values())
    known = reps.attrs["provenance"]["small"]
    assert known["model"] == "small.onnx"
    assert known["software"].startswith("onnxruntime ")
    assert file.read_bytes() == onnx_bytes()


def onnx_bytes() -> bytes:
    content: bytes = small_cnn().SerializeToString()
    return content


@pytest.mark.slow
def test_every_position(folder: Path, tmp_path: Path, file: Path) -> None:
    network = xc.load_network(file, preprocess=SQUARE, name="mine")
    reps = xc.extract(
        folder, network, tmp_path / "s.zarr", modality="v", layers="relu2", pool="flatten"
    )
    expected = forward(folder, ["relu2"])["relu2"].reshape(len(LABELS), -1)
    check_layers(reps, {"relu2": expected}, "mine")


def test_the_output_is_that_of_the_file(tmp_path: Path, file: Path) -> None:
    pixels = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    given = dict(zip("abc", pixels, strict=True))
    network = xc.load_network(file)
    one = xc.extract(given, network, tmp_path / "s.zarr", modality="v", device="cpu")
    other = xc.extract(given, network, tmp_path / "s.zarr", modality="v", layers="head")
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": "relu9"}, "no layer 'relu9'; close to it are 'relu"),
        ({"pool": "cls", "layers": "relu1"}, r"'relu1': no cls of an output of the shape \(1, 8"),
        ({"precision": "float16"}, "has its precision inside"),
        ({"device": "tpu"}, "device='tpu': onnxruntime has "),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, file: Path, options: dict[str, Any], said: str
) -> None:
    given = {"a": np.ones((3, 8, 8), np.float32)}
    with pytest.raises(ValueError, match=said):
        xc.extract(given, str(file), tmp_path / "x.zarr", modality="v", **options)
    assert not (tmp_path / "x.zarr").exists()


def test_images_need_a_preprocessing(folder: Path, tmp_path: Path, file: Path) -> None:
    with pytest.raises(xc.SchemaError, match="'small' takes arrays, and stimuli are images"):
        xc.extract(folder, str(file), tmp_path / "x.zarr", modality="v")


def test_texts_through_an_embedding(tmp_path: Path) -> None:
    """Ids and a mask by name; padding counts nowhere."""
    helper, kinds = onnx.helper, onnx.TensorProto
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["embedded"], "embed")]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("ids", kinds.INT64, ["n", "token"])],
        [helper.make_tensor_value_info("embedded", kinds.FLOAT, ["n", "token", 2])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "words.onnx")

    def tokens(texts: list[str]) -> dict[str, Any]:
        width = max(map(len, texts))
        ids = [[9] * (width - len(text)) + [int(c) for c in text] for text in texts]
        mask = [[0] * (width - len(text)) + [1] * len(text) for text in texts]
        return {"ids": np.array(ids), "attention_mask": np.array(mask)}

    texts = {"a": "1", "b": "123"}
    network = xc.load_network(str(tmp_path / "words.onnx"), preprocess=tokens)
    reps = xc.extract(texts, network, tmp_path / "s.zarr", modality="t")
    np.testing.assert_allclose(reps.values[0], [table[1], table[1:4].mean(0)])
    other = xc.load_network(str(tmp_path / "words.onnx"), preprocess=lambda t: {"x": np.ones(1)})
    with pytest.raises(xc.SchemaError, match=r"needs the inputs \['ids'\]"):
        xc.extract(texts, other, tmp_path / "t.zarr", modality="t")
