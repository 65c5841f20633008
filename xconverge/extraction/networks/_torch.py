"""Modules of PyTorch: layers by forward hooks, pooled as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from xconverge.extraction.layers import OUTPUT
from xconverge.extraction.network import Asked, Door, Network
from xconverge.extraction.networks._loading import EXTRA
from xconverge.io.formats._needs import needs
from xconverge.kernels.pooling import pooled
from xconverge.labels.messages import SchemaError, listing


@dataclass(repr=False)
class TorchNetwork(Network):
    """A module of PyTorch."""

    module: Any = None

    @property
    def layers(self) -> list[str]:
        """Names of submodules, as `named_modules` has them, and the output."""
        named = [name for name, _ in self.module.named_modules(remove_duplicate=False) if name]
        # a submodule of this name is what a user of the module means by it
        return named if OUTPUT in named else [*named, OUTPUT]

    def run(self, door: Door, batch: Any, n: int, asked: Asked) -> dict[str, Any]:
        """Pooled outputs of the layers, in single precision."""
        torch = needs("torch", "extracting", EXTRA)
        device = torch.device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.module = self.module.to(device)
        dtype = getattr(torch, asked.precision)
        mask = door.mask(batch)
        submodules = dict(self.module.named_modules())
        hooked = [one for one in asked.layers if one != OUTPUT or OUTPUT in submodules]

        def keep(output: Any, layer: str) -> Any:
            # pooled at once, in single precision; cloned, because what follows may work in place
            values = first_tensor(output, layer)
            return pooled(values.float(), asked.pool, layer, n, mask).clone()

        with ExitStack() as stack:
            stack.enter_context(evaluated(self.module))
            stack.enter_context(torch.inference_mode())
            half = dtype != torch.float32
            stack.enter_context(torch.autocast(device.type, dtype, enabled=half))
            seen = stack.enter_context(recorded(self.module, hooked, keep))
            output = door.forward(self.module, moved(batch, device))
            if OUTPUT in asked.layers and OUTPUT not in hooked:
                seen[OUTPUT] = keep(output, OUTPUT)
        silent = sorted(set(asked.layers) - set(seen))
        if silent:
            raise SchemaError(
                f"layers {listing(silent)} of {self.name!r} are not called in a forward pass; name "
                "others"
            )
        return {layer: seen[layer].cpu().numpy() for layer in asked.layers}


@contextmanager
def evaluated(module: Any) -> Iterator[None]:
    """Evaluation mode; afterwards each submodule is in the one that it was in."""
    before = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, training in before:
            one.training = training


@contextmanager
def recorded(module: Any, layers: list[str], keep: Any) -> Iterator[dict[str, Any]]:
    """What ``keep`` makes of the outputs of layers; the hooks go in any case."""
    seen: dict[str, Any] = {}

    def hook(layer: str, called: Any, inputs: Any, output: Any) -> None:
        if layer in seen:
            raise SchemaError(f"layer {layer!r} is called twice in one pass; name one around it")
        seen[layer] = keep(output, layer)

    with ExitStack() as hooks:
        for layer in layers:
            of_layer = module.get_submodule(layer).register_forward_hook(partial(hook, layer))
            hooks.enter_context(of_layer)
        yield seen


OF_DICTS = ("sentence_embedding", "token_embeddings", "last_hidden_state")
"""What is taken of a dict of several tensors."""


def first_tensor(output: Any, layer: str) -> Any:
    """The tensor of an output: of a tuple or an output of transformers the first."""
    if hasattr(output, "to_tuple"):
        output = output.to_tuple()
    if isinstance(output, Mapping):
        named = [output[key] for key in OF_DICTS if key in output]
        output = named[:1] if named else list(output.values())
        if len(output) > 1:
            output = None
    if isinstance(output, list | tuple) and len(output):
        return first_tensor(output[0], layer)
    if not hasattr(output, "detach") or not output.is_floating_point():
        what = getattr(output, "dtype", type(output).__name__)
        raise SchemaError(f"layer {layer!r} gives no tensor of floats ({what}); name another")
    return output


def moved(batch: Any, device: Any) -> Any:
    """A batch on the device."""
    if isinstance(batch, Mapping):
        return {name: moved(value, device) for name, value in batch.items()}
    return batch.to(device) if hasattr(batch, "to") else batch
