"""Image models of timm, with their data configuration."""

from __future__ import annotations

from typing import Any

from xconverge.extraction.network import PRETRAINED, RANDOM
from xconverge.extraction.networks._loading import (
    called,
    commit_of,
    library,
    loading,
    record_of,
    seeded,
    source_of,
)
from xconverge.extraction.networks._preparing import images_door
from xconverge.extraction.networks._torch import TorchNetwork
from xconverge.io.paths import local_path
from xconverge.labels.messages import SchemaError

SOURCES = ("hf_hub_id", "url", "file", "source")
"""Where a configuration says that weights are."""


def load(name: str, weights: str, preprocess: Any, download: bool) -> TorchNetwork:
    """A model by its name, a folder on disk, or an id on the hub; weights may be a file."""
    spec = f"timm:{name}"
    timm, torch = library("timm", spec), library("torch", spec)
    source = source_of(name)
    file = "" if weights in (PRETRAINED, RANDOM) else str(local_path(weights))
    with loading(spec, download), seeded(torch):
        module = timm.create_model(source, pretrained=weights == PRETRAINED, checkpoint_path=file)
        config = timm.data.resolve_model_data_config(module)
        own = timm.data.create_transform(**config, is_training=False)
    about = getattr(module, "pretrained_cfg", {})
    if weights == PRETRAINED and not any(about.get(key) for key in SOURCES):
        raise SchemaError(f"timm has no weights for {name!r}; give a file, or weights='random'")
    record = record_of(
        spec,
        weights,
        module,
        "timm",
        revision=_revision(name, about) if weights == PRETRAINED else None,
    )
    doors = images_door(preprocess, own)
    return TorchNetwork(called(name), doors, record, module=module)


def _revision(name: str, about: Any) -> str:
    """The tag of the weights, and their commit where they came from the hub."""
    commit = commit_of(name, str(about.get("hf_hub_id") or ""))
    return " ".join(filter(None, [about.get("tag"), commit]))
