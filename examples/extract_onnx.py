"""Features of tensors inside an ONNX model, by onnxruntime, into a store: one model a tensor.

    pip install ".[plot]" onnx onnxruntime
    python examples/extract_onnx.py --store features.zarr
    python examples/extract_onnx.py --images photos --size 224 --model resnet50.onnx \
        --outputs /layer3/Relu_output_0 /layer4/Relu_output_0

Without ``--model`` a small network with random weights sees the 1,380 emoji that are shipped: it
shows how, and its numbers mean nothing. Stopped and started again, it goes on where it was.
What the page docs/extraction.md says of pooling, precision and several processes holds here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from extraction import extract, images_of, parser_of, pooled, show
from onnx import TensorProto, helper, numpy_helper


def small_cnn() -> onnx.ModelProto:
    """Three convolutions and a linear layer, with seeded random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "pixels"

    def add(kind: str, name: str, shape: tuple[int, ...] = (), **attributes: object) -> None:
        nonlocal last
        inputs = [last]
        if shape:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            values = (scale * rng.standard_normal(shape)).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"{name}.weight"))
            inputs.append(f"{name}.weight")
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        last = name

    widths = [3, 32, 64, 128]
    for i in (1, 2, 3):
        shape = (widths[i], widths[i - 1], 3, 3)
        add("Conv", f"conv{i}", shape, strides=[2, 2], pads=[1, 1, 1, 1])
        add("Relu", f"relu{i}")
    add("GlobalAveragePool", "pool")
    add("Flatten", "flat")
    add("Gemm", "head", (64, 128), transB=1)
    image = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "row", "column"])
    head = helper.make_tensor_value_info("head", TensorProto.FLOAT, ["n", 64])
    graph = helper.make_graph(nodes, "small cnn", [image], [head], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def features_of(
    model: onnx.ModelProto, options: argparse.Namespace
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from pixels (image, 3, row, column) to (image, feature) of each tensor."""
    names = [name for node in model.graph.node for name in node.output if name]
    unknown = sorted(set(options.outputs) - set(names))
    if unknown or not options.outputs:
        raise ValueError(f"--outputs {' '.join(unknown)}: needed are some of {', '.join(names)}")
    asked = [onnx.ValueInfoProto(name=name) for name in options.outputs]
    del model.graph.output[:]
    model.graph.output.extend(asked)  # onnxruntime finds out their type and shape
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (first,) = session.get_inputs()
    dtype = np.float16 if first.type == "tensor(float16)" else np.float32

    def features(pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(options.outputs, {first.name: pixels.astype(dtype)})
        return {
            name: pooled(values.astype(np.float32), options.pool, name, len(pixels))
            for name, values in zip(options.outputs, found, strict=True)
        }

    return features


def main(arguments: list[str] | None = None) -> None:
    """Extract, and show."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="an .onnx file (default: a small CNN)")
    parser.add_argument("--outputs", nargs="+", default=[], help="names of its tensors")
    options = parser.parse_args(arguments)
    if options.model:
        model = onnx.load(options.model)
    else:
        model = small_cnn()
        options.outputs = options.outputs or ["relu1", "relu2", "relu3", "head"]
    options.network = options.network or (options.model.stem if options.model else "small cnn")
    with images_of(options) as images:
        extract(options, images, features_of(model, options))
    show(options)


if __name__ == "__main__":
    main()
