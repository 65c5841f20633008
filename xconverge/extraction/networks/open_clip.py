"""Image and text towers of open_clip, with its preprocessing and tokenizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from xconverge.extraction.network import PRETRAINED, RANDOM, Door
from xconverge.extraction.networks._loading import (
    called,
    check_weights,
    commit_of,
    library,
    loading,
    record_of,
    seeded,
    source_of,
)
from xconverge.extraction.networks._preparing import images_door
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing


def load(name: str, weights: str, preprocess: Any, download: bool) -> TorchNetwork:
    """A model by its name, a folder on disk, or an id on the hub; weights are a tag or a file."""
    spec = f"open_clip:{name}"
    library_, torch = library("open_clip", spec), library("torch", spec)
    source = source_of(name)
    check_weights(spec, weights, source != name)
    tag = None if weights in (PRETRAINED, RANDOM) else weights
    with loading(spec, download), seeded(torch):
        if weights == PRETRAINED and source == name:
            tag = _only_tag(name, library_.list_pretrained_tags_by_model(name))
        module, _, own = library_.create_model_and_transforms(
            source,
            pretrained=tag,
            load_weights=weights != RANDOM,
            pretrained_text=False,
            # else it draws what it does not find
            require_pretrained=weights != RANDOM,
        )
        tokenizer = library_.get_tokenizer(source)
    record = record_of(
        spec,
        weights,
        module,
        "open_clip_torch",
        revision=commit_of(name) or (tag if tag != weights else None),
    )
    doors = images_door(preprocess, own, forward=lambda clip, batch: clip.encode_image(batch))
    length = getattr(tokenizer, "context_length", None)
    doors["texts"] = Door(
        str,
        tokenizer,
        f"{type(tokenizer).__name__}, {length} tokens",
        lambda clip, batch: clip.encode_text(batch),
        lambda batch: _tokens(batch, tokenizer),
    )
    return TorchNetwork(called(name), doors, record, module=module)


def _only_tag(name: str, tags: list[str]) -> str:
    """The one tag that a model has; of several there is no guess."""
    if len(tags) == 1:
        return tags[0]
    raise SchemaError(
        f"open_clip has {f'several weights for {name!r}' if tags else f'no weights for {name!r}'}: "
        f"{listing(tags, 30) or 'none'}; name one with weights=, or --weights"
    )


def _tokens(batch: Any, tokenizer: Any) -> Array:
    """Which tokens are no padding."""
    ids = np.asarray(batch)
    own = getattr(tokenizer, "tokenizer", None)
    if own is not None and getattr(own, "pad_token_id", None) is not None:
        return np.asarray(ids != own.pad_token_id)
    # padding is 0, which is a token too; the text ends with the highest number
    return np.asarray(np.arange(ids.shape[1]) <= ids.argmax(1)[:, None])
