"""What a network is to the loop, and `load_network`, which finds it in its library."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from xconverge.extraction.images import Preprocess
from xconverge.extraction.stimuli import TAKEN
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import flags, text
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing

LIBRARIES = {
    "timm": "timm",
    "torchvision": "torchvision",
    "open_clip": "open_clip",
    "transformers": "transformers",
    "sentence-transformers": "sentence_transformers",
}
"""What a name begins with, and the file in ``networks`` that loads it."""
PRETRAINED, RANDOM = "pretrained", "random"


@dataclass(frozen=True)
class Door:
    """How stimuli of one kind go into a network."""

    one: Callable[[Any], Any]
    """A stimulus, prepared; called in several threads."""
    batch: Callable[[list[Any]], Any]
    """Prepared stimuli, together."""
    told: str
    """The preprocessing in words."""
    forward: Callable[[Any, Any], Any] = lambda module, batch: module(batch)
    """What a module gives for a batch."""
    mask: Callable[[Any], Array | None] = lambda batch: None
    """(stimulus, token), which tokens of a batch are no padding."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a network in one run."""

    layers: Sequence[str]
    pool: str
    device: str | None
    precision: str


@dataclass
class Network(ABC):
    """A network that stimuli can be sent through; `load_network` makes one.

    Attributes
    ----------
    name : str
        What it is called in a store.
    provenance : dict
        What is known of it: the model, its weights, software.
    coords : dict
        Further coordinates of its models.
    layers : list of str
        Names of its layers; ``"output"`` is what the network as a whole gives.
    """

    name: str
    doors: Mapping[str, Door]
    provenance: dict[str, str] = field(default_factory=dict)
    coords: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what it is called and takes."""
        return f"<Network {self.name!r}: takes {' or '.join(self.doors)}>"

    @property
    @abstractmethod
    def layers(self) -> list[str]:
        """Names of its layers."""

    @abstractmethod
    def run(self, door: Door, batch: Any, n: int, asked: Asked) -> dict[str, Any]:
        """Pooled outputs (stimulus, feature) of the layers."""

    def layers_for(self, door: Door, batch: Any) -> list[str]:
        """Names of the layers; some networks know them only when they have run."""
        return self.layers

    def door(self, kind: str) -> Door:
        """Where stimuli of a kind go in."""
        if kind not in self.doors:
            cure = {
                "arrays": "give load_network preprocess=, or images as paths",
                "texts": "texts that are paths of images must all end as such (.png, .jpg …)",
            }
            raise SchemaError(
                f"network {self.name!r} takes {' or '.join(self.doors)}, and stimuli are {kind}; "
                f"{cure.get(kind, 'choose another network, or other stimuli')}"
            )
        return self.doors[kind]


def load_network(
    network: Any,
    *,
    weights: str = PRETRAINED,
    preprocess: Preprocess = None,
    name: str | None = None,
    coords: Mapping[str, Any] | None = None,
    download: bool = False,
) -> Network:
    """Load a network of any library, for `extract`.

    Parameters
    ----------
    network : str, torch.nn.Module or function
        ``"timm:vit_tiny_patch16_224"``, ``"torchvision:resnet18"``, ``"open_clip:ViT-B-32"``,
        ``"transformers:bert-base-uncased"`` (text or vision, as its config says),
        ``"sentence-transformers:all-MiniLM-L6-v2"``: a name, an id on the Hugging Face hub, or a
        folder on disk. ``"mine:resnet"`` calls the function ``resnet`` of ``mine.py``, which
        returns a module, or a module and its ``preprocess``. ``"resnet.onnx"``. A module that is
        there already; or a function of a batch that returns (stimulus, feature), or a dict of
        these by layer.
    weights : str
        ``"pretrained"``: those that the library has for the name. ``"random"``: drawn with seed 0.
        Else what the library calls them: a revision on the hub (transformers,
        sentence-transformers), a tag (open_clip), ``"IMAGENET1K_V1"`` (torchvision), or a file
        (timm, torchvision, open_clip).
    preprocess : function or dict, optional
        Instead of the library's own. Of an image of Pillow, or an array, to what the network takes;
        of texts, a function of a list of them, or a tokenizer of transformers. As a dict
        ``{"size": 224, "mean": […], "std": […]}``: the middle square, resized.
    name : str, optional
        What it is called in the store; default as in its library.
    coords : dict, optional
        Further coordinates of its models, such as ``{"family": "transformer"}``.
    download : bool
        Fetch weights that are not on this machine. Nothing else does.

    Returns
    -------
    Network
        With ``layers``, the names of its layers, ``name`` and ``provenance``.

    Raises
    ------
    ImportError
        The library is not there: ``pip install 'xconverge[extract]'``.
    FileNotFoundError
        Weights are not on this machine, and ``download`` is False.
    ValueError
        A name that the library does not know.

    Notes
    -----
    The checksum of all weights is part of the ``provenance``, so that a network that was loaded
    with other weights is never taken for the same one.

    Examples
    --------
    >>> import numpy as np
    >>> network = load_network(lambda batch: batch.mean((1, 2)), name="mean colour")
    >>> network
    <Network 'mean colour': takes images or texts or arrays>
    """
    flags(download=download)
    text("weights", weights, "the name of weights, 'pretrained' or 'random'")
    if name is not None:
        text("name", name)
    if not (preprocess is None or callable(preprocess) or isinstance(preprocess, Mapping)):
        raise TypeError(
            f"preprocess must be a function, a dict or None, got preprocess={came(preprocess)}"
        )
    found = _loaded(network, weights, preprocess, download)
    found.name = name or found.name
    found.coords = dict(coords or {})
    wrong = [key for key in found.coords if key in TAKEN]
    if wrong:
        raise SchemaError(f"coords has {listing(wrong)}, which every model gets; leave them out")
    return found


def _loaded(network: Any, weights: str, preprocess: Any, download: bool) -> Network:
    from xconverge.extraction.networks import function, onnx, own

    library, colon, rest = network.partition(":") if isinstance(network, str) else ("", "", "")
    if weights != PRETRAINED and library not in LIBRARIES:
        raise SchemaError(
            f"weights={weights!r} is for networks of {listing(LIBRARIES, 9)}; this one has its own"
        )
    if hasattr(network, "named_modules"):
        return own.of_module(network, type(network).__name__, preprocess)
    if callable(network):
        return function.of_function(network, preprocess)
    if isinstance(network, os.PathLike):
        network = os.fspath(network)
    if not isinstance(network, str):
        raise TypeError(
            "network must be text as 'timm:vit_tiny_patch16_224', a torch.nn.Module or a function, "
            f"got network={came(network)}"
        )
    if network.lower().endswith(".onnx"):
        return onnx.load(network, preprocess)
    if not colon or not rest:
        raise ValueError(
            f"network={network!r} does not say its library: write 'timm:…', 'torchvision:…', "
            "'open_clip:…', 'transformers:…', 'sentence-transformers:…', 'module:function', or the "
            "path of an .onnx file"
        )
    if library not in LIBRARIES:
        return own.load(network, preprocess)
    module = import_module(f"xconverge.extraction.networks.{LIBRARIES[library]}")
    loaded: Network = module.load(rest, weights, preprocess, download)
    return loaded


def known_as(record: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a network, without what is not."""
    return {key: str(value) for key, value in record.items() if value not in (None, "")}
