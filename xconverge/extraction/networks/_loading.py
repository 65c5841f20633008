"""What all loaders share: no download by surprise, random weights with a seed, a checksum."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import google_crc32c

from xconverge.extraction.network import PRETRAINED, RANDOM, known_as
from xconverge.io.formats._needs import needs
from xconverge.io.paths import local_path
from xconverge.labels.messages import SchemaError, escaped

EXTRA = "'xconverge[extract]'"
GONE = ("OfflineModeIsEnabled", "LocalEntryNotFoundError", "NoDownloadError")


class NoDownloadError(OSError):
    """Something would have been downloaded."""


def library(name: str, spec: str) -> Any:
    """A library that a network needs."""
    return needs(name, f"network={spec!r}", EXTRA)


def check_weights(spec: str, weights: str, folder: bool) -> None:
    """A folder has the weights that are in it, and for open_clip an id on the hub too."""
    if folder and weights not in (PRETRAINED, RANDOM):
        raise SchemaError(
            f"network={spec!r} has the weights that lie there, and no others; leave out "
            f"weights={weights!r}"
        )


def called(name: str) -> str:
    """What a network is called: as its folder on disk, or as it was asked for."""
    folder = local_path(name)
    return folder.name if folder.is_dir() else name


def source_of(name: str) -> str:
    """A name as timm and open_clip take it, where it is a folder on disk or an id on the hub."""
    folder = local_path(name)
    return f"local-dir:{folder}" if folder.is_dir() else f"hf-hub:{name}" if "/" in name else name


@contextmanager
def loading(spec: str, download: bool) -> Iterator[None]:
    """Nothing is downloaded unless it may be; what a library raises says which network it was."""
    try:
        with offline(not download):
            yield
    except (SchemaError, ImportError):
        raise
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        if not download and _was_gone(error):
            raise FileNotFoundError(
                f"network={spec!r}: what it needs is not on this machine, and nothing is "
                f"downloaded unless you ask for it: download=True, or --download. ({escaped(told)})"
            ) from error
        raise ValueError(f"network={spec!r} cannot be loaded: {escaped(told)}") from error


def _was_gone(error: BaseException | None) -> bool:
    """Whether something was not on this machine."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if type(error).__name__ in GONE:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def offline(wanted: bool) -> Iterator[None]:
    """Keep libraries from downloading: those that go through the hub, and those that open URLs."""
    if not wanted:
        yield
        return

    def refused(opener: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
        address = getattr(url, "full_url", url)
        raise NoDownloadError(f"{address} would be downloaded")

    with ExitStack() as patches:
        patches.enter_context(patch.object(urllib.request.OpenerDirector, "open", refused))
        if find_spec("huggingface_hub") is not None:
            # the hub's client looks there at every request
            hub = import_module("huggingface_hub.constants")
            patches.enter_context(patch.object(hub, "HF_HUB_OFFLINE", True))
        yield


def commit_of(*names: str, revision: str | None = None) -> str | None:
    """The commit on the hub of what is in its cache by the first of these names that is there."""
    if find_spec("huggingface_hub") is None:
        return None
    cached = import_module("huggingface_hub").try_to_load_from_cache
    for name in names:
        for file in ("config.json", "modules.json", "open_clip_config.json"):
            found = cached(name, file, revision=revision) if name.count("/") == 1 else None
            if isinstance(found, str):
                return Path(found).parent.name
    return None


@contextmanager
def seeded(torch: Any) -> Iterator[None]:
    """Random weights are those of seed 0, in every process and at every start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def checksum_of(module: Any) -> str:
    """The checksum (crc32c) of all weights and buffers of a module."""
    found = 0
    for name, tensor in sorted(module.state_dict().items()):
        if hasattr(tensor, "detach"):
            head = f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            # as bytes, because NumPy has no bfloat16
            values = plain.view(plain[:0].byte().dtype).numpy().tobytes() if plain.numel() else b""
            found = google_crc32c.extend(google_crc32c.extend(found, head), values)
    return f"crc32c {found:08x}"


def record_of(
    spec: str, weights: str, module: Any, *packages: str, **more: str | None
) -> dict[str, str]:
    """What is known of a module that a library loaded."""
    return known_as(
        {
            "model": spec,
            "weights": "random, seed 0" if weights == RANDOM else weights,
            **more,
            "weights_checksum": checksum_of(module),
            "software": software(*packages, "torch"),
        }
    )


def software(*names: str) -> str:
    """Packages and their versions."""
    return ", ".join(f"{name} {version(name)}" for name in names)


def in_words(thing: Any) -> str:
    """What something is, in one line that is the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(thing).split()))
