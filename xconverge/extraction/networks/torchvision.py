"""Image models of torchvision, with the transforms of their weights."""

from __future__ import annotations

from typing import Any

from xconverge.extraction.network import PRETRAINED, RANDOM
from xconverge.extraction.networks._loading import (
    library,
    loading,
    record_of,
    seeded,
)
from xconverge.extraction.networks._preparing import images_door
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.io.paths import local_path


def load(name: str, weights: str, preprocess: Any, download: bool) -> TorchNetwork:
    """A model by its name; weights are a name of its weights, or a file with a state dict."""
    spec = f"torchvision:{name}"
    models, torch = library("torchvision", spec).models, library("torch", spec)
    file = local_path(weights)
    is_file = weights not in (PRETRAINED, RANDOM) and file.is_file()
    with loading(spec, download), seeded(torch):
        known = models.get_model_weights(name)
        named = known.DEFAULT if weights in (PRETRAINED, RANDOM) or is_file else None
        chosen = named or known[weights]
        untrained = is_file or weights == RANDOM
        module = models.get_model(name, weights=None if untrained else chosen)
        if is_file:
            module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    own = chosen.transforms()
    record = record_of(
        spec, weights, module, "torchvision", revision=None if untrained else chosen.name
    )
    return TorchNetwork(name, images_door(preprocess, own), record, module=module)
