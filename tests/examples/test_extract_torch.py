"""The example that extracts from a torch module, in its short form."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xconverge as xc
from tests.examples.extracting import (
    LABELS,
    SHORT,
    check,
    example,
    killed,
    photos,
    pixels_of,
    reading,
    same,
)

torch = pytest.importorskip("torch")
nn = torch.nn

LAYERS = ["relu1", "relu2", "relu3", "head"]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return example("extract_torch", monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that can be imported; its function ``made`` is what a test puts there."""
    module = ModuleType("my_networks")
    monkeypatch.setitem(sys.modules, "my_networks", module)
    return module


def images(folder: Path) -> Any:
    """All images as one batch."""
    found = pixels_of(folder)
    return torch.from_numpy(np.stack([found[label] for label in LABELS]))


class Tokens(nn.Module):
    """Patches and a token in front, through an encoder, then something that works in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(3, 16, 5, stride=5)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.5, batch_first=True)
        self.head = nn.Linear(16, 8)
        self.act = nn.ReLU(inplace=True)
        self.both = nn.LSTM(16, 4, batch_first=True)
        self.unused = nn.Linear(2, 2)

    def tokens(self, x: Any) -> Any:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return self.block(torch.cat([self.cls.expand(len(x), -1, -1), patches], 1))

    def forward(self, x: Any) -> Any:
        tokens = self.tokens(x)
        self.both(tokens)
        self.act(tokens)
        return self.act(self.head(tokens[:, 0]))


def test_values_are_those_of_a_plain_forward_pass(
    found: dict[str, Any], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "features.zarr"
    found["main"]([*SHORT, "--images", str(folder), "--store", str(store), "--device", "cpu"])
    with torch.no_grad():
        outputs, x = {}, images(folder)
        for name, layer in found["small_cnn"]().named_children():
            x = outputs[name] = layer(x)
    expected = {name: outputs[name].numpy() for name in LAYERS}
    check(store, {n: x.mean((2, 3)) if x.ndim == 4 else x for n, x in expected.items()})
    assert "22 of 22 images to run, 4 layers" in capsys.readouterr().out


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_tokens_before_they_are_changed_in_place(
    found: dict[str, Any], folder: Path, tmp_path: Path, mine: ModuleType, pool: str
) -> None:
    made: list[Tokens] = []
    mine.made = lambda: made.append(Tokens()) or made[0]  # type: ignore[func-returns-value]
    store = tmp_path / "features.zarr"
    own = ["--module", "my_networks:made", "--layers", "block", "both", "--pool", pool]
    found["main"]([*SHORT, *own, "--images", str(folder), f"--store={store}", "--device=cpu"])
    plain = Tokens().eval()
    with torch.no_grad():
        tokens = plain.tokens(images(folder))
        layers = {"block": tokens, "both": plain.both(tokens)[0]}
    expected = {name: x[:, 0] if pool == "cls" else x.mean(1) for name, x in layers.items()}
    assert expected["block"].min() < 0
    check(store, {name: x.numpy() for name, x in expected.items()}, "made")
    assert not any(module._forward_hooks for module in made[0].modules())


def test_half_precision(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    stores = {name: tmp_path / f"{name}.zarr" for name in ("full", "half")}
    for name, store in stores.items():
        half = ["--autocast", "bfloat16"] if name == "half" else []
        arguments = ["--images", str(folder), "--store", str(store), "--device", "cpu"]
        found["main"]([*SHORT, *half, *arguments])
    full, half = (xc.open_representations(store, "vision") for store in stores.values())
    assert half.dtype == np.float32
    gap = abs(half - full).max("stimulus") / abs(full).max(["stimulus", "feature"])
    assert 1e-5 < gap.max() < 0.02


def test_killed_and_started_again(
    found: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    arguments = [*SHORT, "--device", "cpu", "--images", str(folder), "--store"]
    found["main"]([*arguments, str(one)])
    killed("extract_torch", 10, *arguments, other)
    read = reading(found, monkeypatch)
    found["main"]([*arguments, str(other)])
    assert sorted(read[1:]) == LABELS[8:]
    same(one, other)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.act(x))


@pytest.mark.parametrize(
    ("network", "layer", "said"),
    [
        (Twice, "act", "'act' is called twice in one pass"),
        (Tokens, "unused", r"layers \['unused'\] are not called"),
        (Tokens, "nothing", "--layers nothing: needed are some of patches, block, block.self_attn"),
    ],
)
def test_layers_that_cannot_be_are_refused(
    found: dict[str, Any],
    folder: Path,
    tmp_path: Path,
    mine: ModuleType,
    network: type,
    layer: str,
    said: str,
) -> None:
    kept = network()
    mine.made = lambda: kept
    own = ["--module", "my_networks:made", "--layers", layer, "--device", "cpu"]
    with pytest.raises(ValueError, match=said):
        found["main"]([*SHORT, *own, "--images", str(folder), f"--store={tmp_path / 'x'}"])
    assert not any(module._forward_hooks for module in kept.modules())
    assert not (tmp_path / "x").exists()
