"""Image models of torchvision, with the transforms of their weights."""

from __future__ import annotations

from typing import Any

from xconverge.extraction.network import PRETRAINED, RANDOM, known_as
from xconverge.extraction.networks._loading import (
    checksum_of,
    in_words,
    library,
    loading,
    seeded,
    software,
)
from xconverge.extraction.networks._torch import TorchNetwork, given, images_door, words_of
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
    record = {
        "model": spec,
        "weights": weights if weights != RANDOM else "random, seed 0",
        "revision": None if untrained else chosen.name,
        "weights_checksum": checksum_of(module),
        "software": software("torchvision", "torch"),
    }
    told = in_words(own) if preprocess is None else words_of(given(preprocess))
    return TorchNetwork(
        name, images_door(given(preprocess) or own, told), known_as(record), module=module
    )
