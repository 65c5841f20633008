"""Text and vision models of Hugging Face transformers; the config says which one it is."""

from __future__ import annotations

import warnings
from typing import Any

from xconverge.extraction.network import PRETRAINED, RANDOM, Door
from xconverge.extraction.networks._loading import (
    called,
    check_weights,
    commit_of,
    in_words,
    library,
    loading,
    record_of,
    seeded,
)
from xconverge.extraction.networks._preparing import images_door, texts_door, warn_of_cut, words_of
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.io.paths import local_path
from xconverge.labels.messages import SchemaError, listing


def load(name: str, weights: str, preprocess: Any, download: bool) -> TorchNetwork:
    """A model by its id on the hub, or a folder on disk; weights may be a revision."""
    spec = f"transformers:{name}"
    transformers, torch = library("transformers", spec), library("torch", spec)
    folder = local_path(name)
    check_weights(spec, weights, folder.is_dir())
    source = str(folder) if folder.is_dir() else name
    where: dict[str, Any] = {"local_files_only": not download}
    if weights not in (PRETRAINED, RANDOM):
        where["revision"] = weights
    drawn: list[str] = []
    with loading(spec, download), seeded(torch):
        config = transformers.AutoConfig.from_pretrained(source, **where)
        if weights == RANDOM:
            module = transformers.AutoModel.from_config(config)
        else:
            # in single precision: what a checkpoint is kept in is no setting of a run
            module, told = transformers.AutoModel.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, **where
            )
            drawn = sorted(told["missing_keys"])
        doors = _doors(transformers, config, source, where, preprocess)
    if drawn:
        warnings.warn(
            f"network={spec!r}: the checkpoint lacks {listing(drawn)}, which are random (seed 0); "
            "layers that use them say nothing",
            RuntimeWarning,
            stacklevel=4,
        )
    record = record_of(
        spec,
        weights,
        module,
        "transformers",
        revision=commit_of(source, revision=where.get("revision")),
        not_in_checkpoint=", ".join(drawn),
    )
    return TorchNetwork(called(name), doors, record, module=module)


def _doors(
    transformers: Any, config: Any, source: str, where: dict[str, Any], preprocess: Any
) -> dict[str, Door]:
    """Where images and texts go in, as far as a model takes them."""
    both = hasattr(config, "vision_config") and hasattr(config, "text_config")
    sees = both or hasattr(config, "patch_size") or _has_processor(transformers, config)
    doors: dict[str, Door] = {}
    if sees:
        own, told = None, ""
        if preprocess is None:
            processor = transformers.AutoImageProcessor.from_pretrained(source, **where)
            own, told = _processed(processor), _settings(processor)
        doors |= images_door(preprocess, own, told, forward=_seen if both else _looked_at)
    if both or not sees:
        tokenizer = preprocess if hasattr(preprocess, "pad") else None
        if tokenizer is None and preprocess is not None and not both:
            return texts_door(preprocess, words_of(preprocess), forward=_read)
        if tokenizer is None:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **where)
        doors |= tokenizer_door(tokenizer, config, _understood if both else _read)
    return doors


def _has_processor(transformers: Any, config: Any) -> bool:
    """Whether models of this type have an image processor."""
    return type(config) in transformers.IMAGE_PROCESSOR_MAPPING


def _processed(processor: Any) -> Any:
    """The pixels of one image, as an image processor has them."""
    return lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0]


def _settings(processor: Any) -> str:
    """What an image processor does, in words."""
    told = {k: v for k, v in sorted(processor.to_dict().items()) if v is not None}
    return in_words(f"{type(processor).__name__} {told}")


def tokenizer_door(tokenizer: Any, config: Any, forward: Any) -> dict[str, Door]:
    """How texts go in, by a tokenizer of transformers."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise SchemaError(
                "the tokenizer has no token for padding; set tokenizer.pad_token, and give it as "
                "preprocess"
            )
        tokenizer.pad_token = tokenizer.eos_token
    room = [tokenizer.model_max_length]
    room += [getattr(getattr(config, "text_config", config), "max_position_embeddings", None)]
    # a tokenizer without a limit says so by a huge number
    length = min((n for n in room if isinstance(n, int) and 0 < n < 10**9), default=None)
    cut: dict[str, Any] = {"truncation": True, "max_length": length} if length else {}

    # to the right: many models count positions from the first token, be it padding or not, so that
    # padding to the left would make what they give depend on the other texts of a batch
    tokenizer.padding_side = "right"

    def tokenized(texts: list[str]) -> Any:
        if length:
            warn_of_cut(texts, tokenizer, length)
        return dict(tokenizer(texts, padding=True, return_tensors="pt", **cut))

    told = f"{type(tokenizer).__name__}, at most {length or 'any number of'} tokens"
    return texts_door(tokenized, told, forward=forward)


def _looked_at(module: Any, pixels: Any) -> Any:
    return module(pixel_values=pixels)


def _read(module: Any, batch: Any) -> Any:
    """The states of all tokens; a decoder behind an encoder would need a text of its own."""
    if getattr(module.config, "is_encoder_decoder", False):
        batch = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        return module.get_encoder()(**batch)
    return module(**batch)


def _seen(module: Any, pixels: Any) -> Any:
    return _projected(module.get_image_features(pixel_values=pixels))


def _understood(module: Any, batch: Any) -> Any:
    return _projected(module.get_text_features(**batch))


def _projected(output: Any) -> Any:
    """The embedding in the space that both towers share; transformers 5 has it in an output."""
    return output.pooler_output if hasattr(output, "pooler_output") else output
