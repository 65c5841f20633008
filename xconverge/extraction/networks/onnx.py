"""Models in ONNX files, by onnxruntime: any tensor inside of them is a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from xconverge.extraction.layers import OUTPUT
from xconverge.extraction.network import Asked, Door, Network, known_as
from xconverge.extraction.networks._loading import library, loading, software
from xconverge.extraction.networks._preparing import arrays_of, given, masked, words_of
from xconverge.io.paths import local_path
from xconverge.kernels.pooling import pooled
from xconverge.labels.messages import SchemaError, escaped

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(repr=False)
class OnnxNetwork(Network):
    """The model of a file."""

    model: Any = None
    path: str = ""

    def __post_init__(self) -> None:
        """Nothing has run yet."""
        self._sessions: dict[tuple[Any, ...], Any] = {}
        self._outputs = [one.name for one in self.model.graph.output]

    @property
    def layers(self) -> list[str]:
        """Names of all tensors that nodes give, and the output."""
        names = [name for node in self.model.graph.node for name in node.output if name]
        return names if OUTPUT in names else [*names, OUTPUT]

    def run(self, door: Door, batch: Any, n: int, asked: Asked) -> dict[str, Any]:
        """Pooled tensors, in single precision."""
        if asked.precision != "float32":
            raise SchemaError(
                f"{self.path} has its precision inside; leave precision out, or export it in "
                f"{asked.precision}"
            )
        tensors = {layer: self._tensor(layer) for layer in asked.layers}
        session = self._session(tuple(tensors.values()), asked.device or "cpu")
        wanted = {one.name: one.type for one in session.get_inputs()}
        feed = batch if isinstance(batch, Mapping) else dict.fromkeys(list(wanted)[:1], batch)
        lacking = sorted(set(wanted) - set(feed))
        if lacking:
            raise SchemaError(f"{self.path} needs the inputs {lacking}; preprocess must give them")
        found = session.run(
            list(tensors.values()), {name: _as(feed[name], kind) for name, kind in wanted.items()}
        )
        mask = door.mask(batch)
        return {
            layer: pooled(_floats(values, layer), asked.pool, layer, n, mask)
            for layer, values in zip(tensors, found, strict=True)
        }

    def _tensor(self, layer: str) -> str:
        """The tensor of a layer; the output is the first that the file says."""
        if layer == OUTPUT and OUTPUT not in self.layers[:-1]:
            return str(self._outputs[0])
        return layer

    def _session(self, tensors: tuple[str, ...], device: str) -> Any:
        """A session that gives these tensors."""
        runtime, onnx = library("onnxruntime", self.path), library("onnx", self.path)
        kind = device.partition(":")[0]
        if PROVIDERS.get(kind) not in runtime.get_available_providers():
            raise SchemaError(
                f"device={device!r}: onnxruntime has {', '.join(runtime.get_available_providers())}"
            )
        key = (tensors, device)
        if key not in self._sessions:
            del self.model.graph.output[:]
            # onnxruntime finds out their type and shape
            self.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
            number = {"device_id": device.partition(":")[2] or "0"} if kind == "cuda" else {}
            self._sessions = {
                key: runtime.InferenceSession(
                    self.model.SerializeToString(), providers=[(PROVIDERS[kind], number)]
                )
            }
        return self._sessions[key]


def load(path: str, preprocess: Any) -> OnnxNetwork:
    """The model of a file, which is not changed."""
    onnx = library("onnx", path)
    library("onnxruntime", path)
    file = local_path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {escaped(file)}")
    with loading(path, False):
        model = onnx.load(file)
        content = model.SerializeToString()
    own = given(preprocess)
    told = "none" if own is None else words_of(own)

    def one(item: Any) -> Any:
        return np.asarray(item if own is None else own(item))

    doors = {"arrays": Door(one, arrays_of, told)}
    if own is not None:
        doors["images"] = Door(one, arrays_of, told)
        doors["texts"] = Door(str, own, told, mask=masked)
    record = {
        "model": Path(file).name,
        "weights_checksum": f"crc32c {google_crc32c.value(content):08x}",
        "software": software("onnxruntime"),
    }
    return OnnxNetwork(file.stem, doors, known_as(record), model=model, path=str(file))


def _as(values: Any, kind: str) -> Any:
    """Values of a batch in the type of an input: float16, float32, whole numbers."""
    array = np.asarray(values)
    dtypes = {"float16": np.float16, "float": np.float32, "double": np.float64, "int64": np.int64,
              "int32": np.int32, "bool": np.bool_}  # fmt: skip
    dtype = dtypes.get(kind.removeprefix("tensor(").rstrip(")"))
    return array if dtype is None else array.astype(dtype)


def _floats(values: Any, layer: str) -> Any:
    if values.dtype.kind != "f":
        raise SchemaError(f"layer {layer!r} gives no floats but {values.dtype}; name another")
    return values.astype(np.float32)
