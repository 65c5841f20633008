"""Any module of PyTorch: one that is there, or that a function returns."""

from __future__ import annotations

import pkgutil
from typing import Any

from xconverge.extraction.network import Door, known_as
from xconverge.extraction.networks._loading import checksum_of, library, software
from xconverge.extraction.networks._preparing import (
    given,
    images_door,
    tensors_of,
    texts_door,
    words_of,
)
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.labels.messages import SchemaError


def load(spec: str, preprocess: Any) -> TorchNetwork:
    """What ``module:function`` returns: a module, or a module and its preprocessing."""
    library("torch", spec)
    try:
        function = pkgutil.resolve_name(spec)
    except (ImportError, AttributeError, ValueError) as error:
        raise SchemaError(
            f"network={spec!r} is no function that can be imported ({error}), nor one of the "
            "libraries timm:, torchvision:, open_clip:, transformers:, sentence-transformers:; a "
            "file of yours must lie in the working folder, or on PYTHONPATH"
        ) from error
    made = function()
    if isinstance(made, tuple) and len(made) == 2:
        made, theirs = made
        preprocess = preprocess if preprocess is not None else theirs
    if not hasattr(made, "named_modules"):
        raise SchemaError(
            f"network={spec!r} must return a torch.nn.Module, or one and its preprocess; it "
            f"returned {type(made).__name__}"
        )
    return of_module(made, spec.rpartition(":")[2], preprocess, spec)


def of_module(module: Any, name: str, preprocess: Any, spec: str = "") -> TorchNetwork:
    """A module that is there."""
    doors = {"arrays": Door(lambda array: array, tensors_of, "none")}
    if hasattr(preprocess, "pad") and callable(preprocess):
        from xconverge.extraction.networks.transformers import tokenizer_door

        config = getattr(module, "config", None)
        doors = tokenizer_door(preprocess, config, lambda network, batch: network(**batch))
    elif preprocess is not None:
        own = given(preprocess)
        doors = {
            **images_door(own, None),
            "arrays": Door(own, tensors_of, words_of(own)),
            **texts_door(own, words_of(own), forward=_called),
        }
    kind = type(module)
    record = {
        "model": spec or f"{kind.__module__}:{kind.__qualname__}",
        "weights_checksum": checksum_of(module),
        "software": software("torch"),
    }
    return TorchNetwork(name, doors, known_as(record), module=module)


def _called(module: Any, batch: Any) -> Any:
    """A batch of texts as keywords, where it is a dict."""
    return module(**batch) if isinstance(batch, dict) else module(batch)
