"""How stimuli of each kind go into a network: by its library's preprocessing, or somebody's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from xconverge.extraction.images import Preprocess, Square, as_image
from xconverge.extraction.network import Door
from xconverge.extraction.networks._loading import EXTRA, in_words
from xconverge.io.formats._needs import needs
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing


def given(preprocess: Preprocess) -> Any:
    """A preprocessing that somebody gave, as a function."""
    return Square.of(preprocess) if isinstance(preprocess, Mapping) else preprocess


def words_of(preprocess: Any) -> str:
    """What somebody's function is called; what an object of a library says of itself."""
    name = getattr(preprocess, "__qualname__", None)
    if name is not None:
        return f"{preprocess.__module__}.{name}"
    return in_words(repr(preprocess))


def images_door(preprocess: Preprocess, own: Any, told: str = "", **more: Any) -> dict[str, Door]:
    """How images go in: by a function of one that somebody gave, else by the library's own."""
    function = own if preprocess is None else given(preprocess)
    words = words_of(function) if preprocess is not None else told or in_words(own)
    return {
        "images": Door(function, tensors_of, words, **more),
        "arrays": Door(lambda array: function(as_image(array)), tensors_of, words, **more),
    }


def texts_door(tokenize: Any, told: str, **more: Any) -> dict[str, Door]:
    """How texts go in: by a function of a list of texts."""
    return {"texts": Door(str, tokenize, told, **{"mask": masked, **more})}


def warn_of_cut(texts: list[str], tokenizer: Any, length: int) -> None:
    """Say which texts are longer than a network takes."""
    # a token has a byte at least, and a few mark the ends: most texts need not be counted
    long = [text for text in texts if len(text.encode()) > length - 8]
    tokens = tokenizer(long, verbose=False)["input_ids"] if long else []
    cut = [text for text, own in zip(long, tokens, strict=True) if len(own) > length]
    if cut:
        warnings.warn(
            f"texts are cut at {length} tokens, all that the network takes: {listing(cut)}",
            RuntimeWarning,
            stacklevel=2,
        )


def masked(batch: Any) -> Array | None:
    """Which tokens are no padding, where a batch says so."""
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    return None if mask is None else np.asarray(mask).astype(bool)


def tensors_of(prepared: list[Any]) -> Any:
    """Prepared stimuli as one tensor; dicts, tensor by tensor."""
    torch = needs("torch", "extracting", EXTRA)
    if isinstance(prepared[0], Mapping):
        return {key: tensors_of([one[key] for one in prepared]) for key in prepared[0]}
    tensors = [torch.as_tensor(np.asarray(x)) if not hasattr(x, "detach") else x for x in prepared]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise SchemaError(
            f"prepared stimuli have the shapes {listing(sorted(map(str, shapes)))}; preprocess "
            "must give all of them one"
        )
    return torch.stack(tensors)


def arrays_of(prepared: list[Any]) -> Any:
    """Prepared stimuli as one array."""
    shapes = sorted({str(array.shape) for array in prepared})
    if len(shapes) > 1:
        raise SchemaError(
            f"stimuli have the shapes {', '.join(shapes[:5])}; give preprocess={{'size': 224}}, or "
            "a function that makes them one"
        )
    return np.stack(prepared)
