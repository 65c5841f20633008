"""Modules of one's own: hooks, precision, and what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xconverge as xc
from tests.extraction.stimuli import LABELS, SQUARE, TEXTS, check_layers, pixels_of

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.usefixtures("one_thread")


class Tokens(nn.Module):
    """Patches and a token in front, through an encoder, then something that works in place."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
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


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.act(x))


class Indices(nn.Module):
    """Outputs that are no features."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.words = nn.Identity()

    def forward(self, x: Any) -> Any:
        self.inner({"a": x, "b": x})
        self.words(x.long())
        return x.flatten(1)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that can be imported; its function ``made`` is what a test puts there."""
    module = ModuleType("my_networks")
    monkeypatch.setitem(sys.modules, "my_networks", module)
    return module


def extracted(folder: Path, network: Any, store: Path, **options: Any) -> Any:
    if not isinstance(network, xc.extraction.network.Network):
        network = xc.load_network(network, preprocess=SQUARE)
    options = {"modality": "vision", "batch_size": 4, "device": "cpu", **options}
    return xc.extract(folder, network, store, **options)


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_tokens_before_they_are_changed_in_place(folder: Path, tmp_path: Path, pool: str) -> None:
    network = Tokens()
    network.head.eval()
    modes = [module.training for module in network.modules()]
    layers = ["block", "both", "output"]
    reps = extracted(folder, network, tmp_path / "s.zarr", layers=layers, pool=pool)
    plain = Tokens().eval()
    with torch.no_grad():
        pixels = torch.from_numpy(pixels_of(folder))
        tokens = plain.tokens(pixels)
        found = {"block": tokens, "both": plain.both(tokens)[0]}
    of = {"mean": lambda x: x.mean(1), "cls": lambda x: x[:, 0], "last": lambda x: x[:, -1]}[pool]
    expected = {name: of(x).numpy() for name, x in found.items()}
    with torch.no_grad():
        expected["output"] = plain(pixels).numpy()
    assert expected["block"].min() < 0
    check_layers(reps, expected, "Tokens")
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())


def test_what_a_function_returns(folder: Path, tmp_path: Path, mine: ModuleType) -> None:
    mine.made = Tokens
    mine.both = lambda: (Tokens(), SQUARE)
    network = xc.load_network("my_networks:made", preprocess=SQUARE)
    assert network.layers[:3] == ["patches", "block", "block.self_attn"]
    assert network.layers[-1] == "output"
    one = extracted(folder, network, tmp_path / "s.zarr")
    other = extracted(folder, xc.load_network("my_networks:both"), tmp_path / "s.zarr")
    np.testing.assert_array_equal(one.values, other.values)
    known = other.attrs["provenance"]
    assert known["made"]["weights_checksum"] == known["both"]["weights_checksum"]
    assert known["made"]["model"] == "my_networks:made"
    mine.made = lambda: 3
    with pytest.raises(xc.SchemaError, match="must return a torch.nn.Module"):
        xc.load_network("my_networks:made")


def test_half_precision(folder: Path, tmp_path: Path) -> None:
    network = Tokens()
    # torch has no LSTM of bfloat16 for every processor
    network.both = nn.Identity()
    found = {
        precision: extracted(
            folder, network, tmp_path / f"{precision}.zarr", layers="block", precision=precision
        ).load()
        for precision in ("float32", "bfloat16")
    }
    full, half = found.values()
    assert half.dtype == np.float32
    assert half.attrs["provenance"]["Tokens"]["precision"] == "bfloat16"
    gap = abs(half - full).max("stimulus") / abs(full).max(["stimulus", "feature"])
    assert 1e-5 < gap.max() < 0.02


def test_other_weights_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    extracted(folder, Tokens(), store, layers="head")
    with pytest.raises(xc.SchemaError, match=r"weights_checksum 'crc32c \w+', not 'crc32c"):
        extracted(folder, Tokens(seed=2), store, layers="block")
    extracted(folder, Tokens(), store, layers="block")


@pytest.mark.parametrize(
    ("network", "layer", "said"),
    [
        (Twice, "act", "'act' is called twice in one pass"),
        (Tokens, "unused", "layers 'unused' of 'Tokens' are not called"),
        (Tokens, "blok", "no layer 'blok'; close to it are 'block'"),
        (Indices, "inner", "'inner' gives no tensor of floats"),
        (Indices, "words", r"'words' gives no tensor of floats \(torch.int64\)"),
    ],
)
def test_layers_that_cannot_be_are_refused(
    folder: Path, tmp_path: Path, network: type, layer: str, said: str
) -> None:
    kept = network()
    with pytest.raises(xc.SchemaError, match=said):
        extracted(folder, kept, tmp_path / "x", layers=layer)
    assert not any(module._forward_hooks for module in kept.modules())
    assert not (tmp_path / "x").exists()


def test_images_need_a_preprocessing_and_arrays_none(folder: Path, tmp_path: Path) -> None:
    network = xc.load_network(Tokens())
    with pytest.raises(xc.SchemaError, match="'Tokens' takes arrays, and stimuli are images"):
        extracted(folder, network, tmp_path / "x.zarr")
    pixels = dict(zip(LABELS, pixels_of(folder), strict=True))
    one = xc.extract(pixels, network, tmp_path / "s.zarr", modality="v", device="cpu")
    other = extracted(folder, Tokens(), tmp_path / "t.zarr")
    np.testing.assert_allclose(one.values, other.sel(stimulus=LABELS).values, rtol=1e-5, atol=1e-6)


def test_shapes_that_differ_are_refused(folder: Path, tmp_path: Path) -> None:
    network = xc.load_network(
        Tokens(), preprocess=lambda image: np.asarray(image, np.float32).transpose(2, 0, 1)
    )
    with pytest.raises(xc.SchemaError, match="prepared stimuli have the shapes"):
        extracted(folder, network, tmp_path / "x.zarr")


class Words(nn.Module):
    """Texts as numbers of words and a mask; padding is poison."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, tokens: Any, attention_mask: Any) -> Any:
        return self.inner(tokens[..., None].repeat(1, 1, 2) * 1.0)


def lengths(texts: list[str]) -> dict[str, Any]:
    words = [[len(word) for word in text.split()] for text in texts]
    width = max(map(len, words))
    padded = [[10**6] * (width - len(own)) + own for own in words]
    mask = [[0] * (width - len(own)) + [1] * len(own) for own in words]
    return {"tokens": torch.tensor(padded), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_texts_by_a_function_of_ones_own(tmp_path: Path, pool: str) -> None:
    network = xc.load_network(Words(), preprocess=lengths)
    reps = xc.extract(
        TEXTS, network, tmp_path / "s.zarr", modality="t", layers=["inner", "output"], pool=pool,
        batch_size=3, device="cpu",
    )  # fmt: skip
    of = {"mean": np.mean, "cls": lambda own: own[0], "last": lambda own: own[-1]}[pool]
    rows = np.array([[of([len(word) for word in text.split()])] * 2 for text in TEXTS.values()])
    check_layers(reps, {"inner": rows, "output": rows}, "Words", TEXTS)
