"""Each library against itself: small networks that it made, saved and runs without us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xconverge as xc
from tests.extraction.networks import small
from tests.extraction.stimuli import LABELS, TEXTS, check_layers
from xconverge.extraction.stimuli import stimuli_of

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    # of the libraries themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folders of small networks, each made once."""
    root = tmp_path_factory.mktemp("networks")
    kept: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in kept:
            kept[name] = getattr(small, f"{name}_folder")(root / name)
        return kept[name]

    return make


def run(stimuli: Any, network: Any, store: Path, **options: Any) -> Any:
    options = {"modality": "m", "batch_size": 3, "device": "cpu", **options}
    return xc.extract(stimuli, network, store, **options)


def images(folder: Path) -> list[Any]:
    found = stimuli_of(folder)
    return [found.read(label) for label in LABELS]


def numpy(values: Any) -> np.ndarray:
    return values.detach().numpy()


def test_timm(made: Any, folder: Path, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = xc.load_network(f"timm:{made('timm')}")
    reps = run(folder, network, tmp_path / "s.zarr", layers=["blocks.*", "output"], pool="cls")
    plain = timm.create_model(f"local-dir:{made('timm')}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(plain))
    with torch.no_grad():
        pixels = torch.stack([transform(image) for image in images(folder)])
        _, inner = plain.forward_intermediates(
            pixels, output_fmt="NLC", return_prefix_tokens=True, norm=False
        )
        expected = {f"blocks.{i}": numpy(both[1][:, 0]) for i, both in enumerate(inner)}
        expected["output"] = numpy(plain(pixels))
    check_layers(reps, expected, "timm")
    known = reps.attrs["provenance"]["timm"]
    assert known["revision"] == "small"
    assert "CenterCrop(size=(32, 32))" in known["preprocessing"]
    assert known["software"] == f"timm {timm.__version__}, torch {torch.__version__.split('+')[0]}"


def test_torchvision(folder: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    spec = "torchvision:shufflenet_v2_x0_5"
    one, other = (xc.load_network(spec, weights="random") for _ in range(2))
    assert one.provenance == other.provenance  # seed 0, in every process
    assert one.provenance["weights"] == "random, seed 0"
    torch.save(one.module.state_dict(), tmp_path / "weights.pt")
    kept = xc.load_network(spec, weights=str(tmp_path / "weights.pt"))
    assert kept.provenance["weights_checksum"] == one.provenance["weights_checksum"]
    few = dict(zip(LABELS[:4], images(folder)[:4], strict=True))
    reps = run(few, kept, tmp_path / "s.zarr", layers=["conv5", "output"])
    plain = models.get_model("shufflenet_v2_x0_5")
    plain.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    transform = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()
    with torch.no_grad():
        pixels = torch.stack([transform(image) for image in few.values()])
        inner = plain.eval()
        x = inner.maxpool(inner.conv1(pixels))
        x = inner.conv5(inner.stage4(inner.stage3(inner.stage2(x))))
        expected = {"conv5": numpy(x.mean((2, 3))), "output": numpy(plain(pixels))}
    check_layers(reps, expected, "shufflenet_v2_x0_5", few)
    with pytest.raises(ValueError, match="cannot be loaded: ValueError: Unknown model resnet1"):
        xc.load_network("torchvision:resnet1")
    with pytest.raises(ValueError, match="cannot be loaded: .*IMAGENET"):
        xc.load_network(spec, weights="IMAGENET9")


def test_a_vision_model_of_transformers(made: Any, folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = xc.load_network(f"transformers:{made('vit')}")
    assert list(network.doors) == ["images", "arrays"]
    reps = run(folder, network, tmp_path / "s.zarr", layers=["embeddings", "output"], pool="cls")
    plain = transformers.AutoModel.from_pretrained(made("vit")).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(made("vit"))
    with torch.no_grad():
        pixels = processor(images=images(folder), return_tensors="pt")["pixel_values"]
        found = plain(pixels, output_hidden_states=True)
    expected = {"embeddings": found.hidden_states[0], "output": found.last_hidden_state}
    check_layers(reps, {name: numpy(x[:, 0]) for name, x in expected.items()}, "vit")


@pytest.mark.parametrize("name", ["bert", "gpt"])
@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_a_text_model_of_transformers(made: Any, tmp_path: Path, name: str, pool: str) -> None:
    """Every text as it is alone, whatever else is in its batch and wherever padding stands."""
    transformers = pytest.importorskip("transformers")
    network = xc.load_network(f"transformers:{made(name)}")
    assert list(network.doors) == ["texts"]
    layers = {"bert": "encoder.layer.0", "gpt": "h.0"}[name]
    reps = run(TEXTS, network, tmp_path / "s.zarr", layers=[layers, "output"], pool=pool)
    plain = transformers.AutoModel.from_pretrained(made(name)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made(name))
    of = {"mean": lambda x: x.mean(1), "cls": lambda x: x[:, 0], "last": lambda x: x[:, -1]}[pool]
    expected: dict[str, list[Any]] = {layers: [], "output": []}
    with torch.no_grad():
        for text in TEXTS.values():
            found = plain(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            expected[layers].append(numpy(of(found.hidden_states[1])))
            expected["output"].append(numpy(of(found.last_hidden_state)))
    check_layers(reps, {layer: np.concatenate(x) for layer, x in expected.items()}, name, TEXTS)


@pytest.mark.parametrize("library", ["transformers:bert", "sentence-transformers:sentence"])
def test_texts_that_are_too_long_are_cut_and_told(made: Any, tmp_path: Path, library: str) -> None:
    pytest.importorskip(library.partition(":")[0].replace("-", "_"))
    library, name = library.split(":")
    long = {"long": "snow falls on the road " * 9, "short": "snow", "just": "snow " * 14}
    with pytest.warns(RuntimeWarning, match="cut at 16 tokens.* 'snow falls on.*characters.$"):
        reps = run(long, f"{library}:{made(name)}", tmp_path / "s.zarr")
    assert np.isfinite(reps.values).all()
    (known,) = reps.attrs["provenance"].values()
    assert "at most 16 tokens" in known["preprocessing"]


def test_what_a_checkpoint_lacks_is_told(made: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(made("bert"))
    small.seeded()
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "lm")
    transformers.AutoTokenizer.from_pretrained(made("bert")).save_pretrained(tmp_path / "lm")
    with pytest.warns(RuntimeWarning, match="the checkpoint lacks 'pooler.dense.bias'"):
        network = xc.load_network(f"transformers:{tmp_path / 'lm'}")
    assert network.provenance["not_in_checkpoint"] == "pooler.dense.bias, pooler.dense.weight"


def test_both_towers_of_transformers(made: Any, folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = xc.load_network(f"transformers:{made('clip')}")
    plain = transformers.AutoModel.from_pretrained(made("clip")).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(made("clip"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(made("clip"))
    with torch.no_grad():
        seen = plain.vision_model(**processor(images=images(folder), return_tensors="pt"))
        expected = {"output": numpy(plain.visual_projection(seen.pooler_output))}
        check_layers(run(folder, network, tmp_path / "a.zarr"), expected, "clip")
        read = [
            plain.text_projection(
                plain.text_model(**tokenizer(t, return_tensors="pt")).pooler_output
            )
            for t in TEXTS.values()
        ]
    expected = {"output": numpy(torch.cat(read))}
    check_layers(run(TEXTS, network, tmp_path / "b.zarr"), expected, "clip", TEXTS)


def test_sentence_transformers(made: Any, tmp_path: Path) -> None:
    sentences = pytest.importorskip("sentence_transformers")
    network = xc.load_network(f"sentence-transformers:{made('sentence')}", name="small")
    inner = next(name for name in network.layers if name.endswith("encoder.layer.1"))
    reps = run(TEXTS, network, tmp_path / "s.zarr", layers=["output", inner, "0"])
    plain = sentences.SentenceTransformer(str(made("sentence")), device="cpu")
    encoded = plain.encode(list(TEXTS.values()))
    # mean pooling of the last layer is what the model itself does
    check_layers(reps, {"output": encoded, inner: encoded, "0": encoded}, "small", TEXTS)
    with pytest.raises(xc.SchemaError, match="has no random weights"):
        xc.load_network("sentence-transformers:x", weights="random")


def test_open_clip(made: Any, folder: Path, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    network = xc.load_network(f"open_clip:{made('open_clip')}")
    plain, _, transform = open_clip.create_model_and_transforms(f"local-dir:{made('open_clip')}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{made('open_clip')}")
    plain.eval()
    with torch.no_grad():
        pixels = torch.stack([transform(image) for image in images(folder)])
        expected = {"output": numpy(plain.encode_image(pixels))}
        check_layers(run(folder, network, tmp_path / "a.zarr"), expected, "open_clip")
        tokens = tokenizer(list(TEXTS.values()))
        whole = plain.encode_text(tokens)
        lone = plain.ln_final(plain.transformer(plain.token_embedding(tokens)
                              + plain.positional_embedding, attn_mask=plain.attn_mask))  # fmt: skip
    ends = tokens.argmax(1).tolist()
    mean = torch.stack([row[: end + 1].mean(0) for row, end in zip(lone, ends, strict=True)])
    reps = run(TEXTS, network, tmp_path / "b.zarr", layers=["output", "ln_final"])
    check_layers(reps, {"output": numpy(whole), "ln_final": numpy(mean)}, "open_clip", TEXTS)
    with pytest.raises(xc.SchemaError, match="several weights for 'ViT-B-32': 'openai'"):
        xc.load_network("open_clip:ViT-B-32")


def test_weights_that_are_not_in_the_folder_are_not_drawn(made: Any, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    (tmp_path / "open_clip_config.json").write_bytes(
        (made("open_clip") / "open_clip_config.json").read_bytes()
    )
    with pytest.raises(ValueError, match="cannot be loaded: RuntimeError"):
        xc.load_network(f"open_clip:{tmp_path}")


@pytest.mark.parametrize("library", ["transformers:bert", "open_clip:open_clip",
                                     "sentence-transformers:sentence"])  # fmt: skip
def test_a_folder_has_the_weights_that_are_in_it(made: Any, library: str) -> None:
    library, name = library.split(":")
    pytest.importorskip(library.replace("-", "_"))
    with pytest.raises(xc.SchemaError, match="has the weights that lie there, and no others"):
        xc.load_network(f"{library}:{made(name)}", weights="v2")


@pytest.mark.parametrize(
    ("spec", "package"),
    [
        ("timm:resnet18", "timm"),
        ("torchvision:resnet18", "torchvision"),
        ("transformers:nobody/nothing", "transformers"),
        ("sentence-transformers:nobody/nothing", "sentence_transformers"),
        ("open_clip:hf-nobody/nothing", "open_clip"),
    ],
)
def test_nothing_is_downloaded(
    spec: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the hub may be asked: weights come from this machine, or not at all."""
    pytest.importorskip(package)
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="not on this machine.* download=True, or --downl"):
        xc.load_network(spec)
    assert constants.HF_HUB_OFFLINE is False


IN_THE_CACHE = """
import json, sys
import xconverge as xc

specs = json.loads(sys.argv[1])
print(json.dumps({spec: xc.load_network(spec).provenance for spec in specs}))
"""


def test_weights_come_from_the_cache_of_the_hub(made: Any, tmp_path: Path) -> None:
    """Laid out as its client lays it out; the commit is the revision."""
    for package in ("timm", "transformers", "sentence_transformers"):
        pytest.importorskip(package)
    folders = {"timm": "timm", "transformers": "bert", "sentence-transformers": "sentence"}
    commit = ("c0ffee" * 7)[:40]
    for name in folders.values():
        repository = tmp_path / "hub" / f"models--someone--{name}"
        shutil.copytree(made(name), repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    specs = [f"{library}:someone/{name}" for library, name in folders.items()]
    env = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", IN_THE_CACHE, json.dumps(specs)],
        env=env, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for spec, (library, name) in zip(specs, folders.items(), strict=True):
        here = xc.load_network(f"{library}:{made(name)}").provenance
        assert found[spec]["weights_checksum"] == here["weights_checksum"]
        assert found[spec]["revision"] == (f"small {commit}" if library == "timm" else commit)
        assert "revision" not in here or library == "timm"
