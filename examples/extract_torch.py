"""Features of the layers of a torch module, by forward hooks, into a store: one model a layer.

    pip install ".[plot,torch]"
    python examples/extract_torch.py --store features.zarr
    PYTHONPATH=. python examples/extract_torch.py --images photos --size 224 \
        --module mine:resnet50 --layers layer3 layer4 --autocast bfloat16

Without ``--module`` a small network with random weights sees the 1,380 emoji that are shipped: it
shows how, and its numbers mean nothing. Stopped and started again, it goes on where it was.
What the page docs/extraction.md says of pooling, precision and several processes holds here.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from extraction import extract, images_of, parser_of, pooled, show
from torch import nn


def small_cnn() -> nn.Module:
    """Three convolutions and a linear layer, with seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 32, 5, stride=2, padding=2),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 64, 3, stride=2, padding=1),
                relu2=nn.ReLU(),
                conv3=nn.Conv2d(64, 128, 3, stride=2, padding=1),
                relu3=nn.ReLU(),
                pool=nn.AdaptiveAvgPool2d(2),
                flat=nn.Flatten(),
                head=nn.Linear(512, 64),
            )
        )


@contextmanager
def recorded(module: nn.Module, layers: list[str], pool: str, n: int) -> Iterator[dict[str, Any]]:
    """Pooled outputs of the layers, filled as they are called; the hooks go in any case."""
    seen: dict[str, torch.Tensor] = {}

    def keep(layer: str, called: nn.Module, inputs: Any, output: Any) -> None:
        if layer in seen:
            raise ValueError(f"layer {layer!r} is called twice in one pass; name one around it")
        if not isinstance(output, torch.Tensor):
            output = output[0]
        # pooled at once, in single precision; cloned, because what follows may work in place
        seen[layer] = pooled(output.float(), pool, layer, n).clone()

    with ExitStack() as hooks:
        for layer in layers:
            hook = module.get_submodule(layer).register_forward_hook(partial(keep, layer))
            hooks.enter_context(hook)
        yield seen


def features_of(
    module: nn.Module, options: argparse.Namespace
) -> Callable[[np.ndarray], dict[str, torch.Tensor]]:
    """A function from pixels (image, 3, row, column) to (image, feature) of each layer."""
    names = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    unknown = sorted(set(options.layers) - set(names))
    if unknown or not options.layers:
        raise ValueError(f"--layers {' '.join(unknown)}: needed are some of {', '.join(names)}")
    module = module.to(options.device).eval()
    dtype = getattr(torch, options.autocast) if options.autocast else None

    def features(pixels: np.ndarray) -> dict[str, torch.Tensor]:
        batch = torch.from_numpy(pixels).to(options.device)
        autocast = torch.autocast(batch.device.type, dtype, enabled=dtype is not None)
        record = recorded(module, options.layers, options.pool, len(batch))
        with torch.inference_mode(), autocast, record as seen:
            module(batch)
        silent = sorted(set(options.layers) - set(seen))
        if silent:
            raise ValueError(f"layers {silent} are not called in a forward pass; name others")
        return seen

    return features


def main(arguments: list[str] | None = None) -> None:
    """Extract, and show."""
    parser = parser_of(__doc__)
    parser.add_argument("--module", help="PACKAGE:FUNCTION that returns it (default: a small CNN)")
    parser.add_argument("--layers", nargs="+", default=[], help="names of its submodules")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--autocast", choices=["bfloat16", "float16"], help="default: none")
    options = parser.parse_args(arguments)
    if options.module:
        module = pkgutil.resolve_name(options.module)()
    else:
        module = small_cnn()
        options.layers = options.layers or ["relu1", "relu2", "relu3", "head"]
    options.network = options.network or (options.module or "small cnn").rpartition(":")[2]
    with images_of(options) as images:
        extract(options, images, features_of(module, options))
    show(options)


if __name__ == "__main__":
    main()
