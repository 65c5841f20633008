"""Any function of a batch: networks of other libraries, features that are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xconverge.extraction.layers import OUTPUT
from xconverge.extraction.network import Asked, Door, Network, known_as
from xconverge.extraction.networks._preparing import arrays_of, given, words_of
from xconverge.kernels.pooling import pooled
from xconverge.labels.messages import SchemaError


@dataclass(repr=False)
class FunctionNetwork(Network):
    """A function of a batch, whose layers it says itself."""

    function: Callable[[Any], Any] = dict

    @property
    def layers(self) -> list[str]:
        """What is known before it has run."""
        return [OUTPUT]

    def layers_for(self, door: Door, batch: Any) -> list[str]:
        """Its layers: the keys of what it returns."""
        return list(self._outputs(batch))

    def run(self, door: Door, batch: Any, n: int, asked: Asked) -> dict[str, Any]:
        """Pooled outputs of the layers."""
        if asked.device is not None or asked.precision != "float32":
            raise SchemaError(
                f"network {self.name!r} is a function, and decides itself on device and precision; "
                "leave them out"
            )
        outputs = self._outputs(batch)
        return {
            layer: pooled(np.asarray(outputs[layer], np.float32), asked.pool, layer, n)
            for layer in asked.layers
        }

    def _outputs(self, batch: Any) -> dict[str, Any]:
        found = self.function(batch)
        return dict(found) if isinstance(found, Mapping) else {OUTPUT: found}


def of_function(function: Callable[[Any], Any], preprocess: Any) -> FunctionNetwork:
    """A function: of an array (stimulus, …) of images, or of a list of texts."""
    own = given(preprocess)
    told = "none" if own is None else words_of(own)

    def prepared(item: Any) -> Any:
        return np.asarray(item) if own is None else np.asarray(own(item))

    doors = {
        "images": Door(prepared, arrays_of, told),
        "texts": Door(str, list if own is None else own, told),
        "arrays": Door(prepared, arrays_of, told),
    }
    name = getattr(function, "__name__", type(function).__name__)
    record = known_as({"model": words_of(function)})
    return FunctionNetwork(name, doors, record, function=function)
