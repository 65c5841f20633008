"""Text models of sentence-transformers: their sentence embedding, and the layers below it."""

from __future__ import annotations

from typing import Any

from xconverge.extraction.network import PRETRAINED, RANDOM
from xconverge.extraction.networks._loading import (
    called,
    check_weights,
    commit_of,
    library,
    loading,
    record_of,
)
from xconverge.extraction.networks._preparing import texts_door, warn_of_cut
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.io.paths import local_path
from xconverge.labels.messages import SchemaError


def load(name: str, weights: str, preprocess: Any, download: bool) -> TorchNetwork:
    """A model by its id on the hub, or a folder on disk; weights may be a revision."""
    spec = f"sentence-transformers:{name}"
    if weights == RANDOM:
        raise SchemaError(f"network={spec!r} has no random weights; save such a model to a folder")
    if preprocess is not None:
        raise SchemaError(f"network={spec!r} tokenizes by itself; leave preprocess out")
    sentences = library("sentence_transformers", spec)
    folder, revision = local_path(name), None if weights == PRETRAINED else weights
    check_weights(spec, weights, folder.is_dir())
    with loading(spec, download):
        model = sentences.SentenceTransformer(
            str(folder) if folder.is_dir() else name,
            device="cpu",
            local_files_only=not download,
            revision=revision,
        )
    # what `encode` puts before every text
    prompt = model.prompts.get(model.default_prompt_name or "", "")

    def tokenized(texts: list[str]) -> Any:
        if model.max_seq_length:
            warn_of_cut([prompt + text for text in texts], model.tokenizer, model.max_seq_length)
        return dict(model.preprocess(texts, prompt=prompt or None))

    told = f"{type(model.tokenizer).__name__}, at most {model.max_seq_length} tokens"
    told += f", prompt {prompt!r}" if prompt else ""
    record = record_of(
        spec,
        weights,
        model,
        "sentence-transformers",
        "transformers",
        revision=commit_of(name, f"sentence-transformers/{name}", revision=revision),
    )
    doors = texts_door(tokenized, told)
    return TorchNetwork(called(name), doors, record, module=model)
