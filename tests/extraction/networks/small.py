"""Small networks with random weights, made by the real libraries and saved to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.extraction.stimuli import TEXTS

SIZE = 32


def words(texts: Any = TEXTS) -> list[str]:
    """All words of some texts, in lower case."""
    spaced = " ".join(texts.values()).lower().replace(".", " .").replace(",", " ,")
    return sorted(set(spaced.split()))


def seeded() -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch


def timm_folder(folder: Path) -> Path:
    """A ViT of two blocks, with its configuration."""
    seeded()
    timm = pytest.importorskip("timm")
    args = {"img_size": SIZE, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **args)
    model.pretrained_cfg = {
        **model.pretrained_cfg, "input_size": (3, SIZE, SIZE), "num_classes": 5, "tag": "small",
    }  # fmt: skip
    from timm.models import save_for_hf

    save_for_hf(model, folder, model_args=args)
    return folder


def bert_folder(folder: Path, **config: Any) -> Path:
    """A BERT of two layers, and a tokenizer of a few words."""
    seeded()
    transformers = pytest.importorskip("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *words()]) + "\n", "utf-8")
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), **{"do_lower_case": True})
    tokenizer.model_max_length = 16
    tokenizer.save_pretrained(folder)
    made = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, **config,
    )  # fmt: skip
    transformers.BertModel(made).save_pretrained(folder)
    return folder


def gpt_folder(folder: Path) -> Path:
    """A GPT of two layers without a token for padding, which pads on the left."""
    seeded()
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: i for i, word in enumerate(["<|end|>", "<unk>", *words()])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "<unk>"))
    plain.normalizer = tokenizers.normalizers.Lowercase()
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|end|>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.save_pretrained(folder)
    config = transformers.GPT2Config(
        vocab_size=len(vocabulary), n_embd=16, n_layer=2, n_head=2, n_positions=32,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    transformers.GPT2Model(config).save_pretrained(folder)
    return folder


def vit_folder(folder: Path) -> Path:
    """A ViT of transformers, and its image processor."""
    seeded()
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torchvision")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=SIZE, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    side = {"height": SIZE, "width": SIZE}
    transformers.ViTImageProcessor(size=side).save_pretrained(folder)
    return folder


def clip_folder(folder: Path) -> Path:
    """A CLIP with towers of one layer."""
    seeded()
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torchvision")
    tower = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2
    }  # fmt: skip
    bert_folder(folder)
    config = transformers.CLIPConfig(
        text_config={
            **tower, "vocab_size": 5 + len(words()), "max_position_embeddings": 16,
            "eos_token_id": 3,
        },
        vision_config={**tower, "image_size": SIZE, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"shortest_edge": SIZE}
    crop = {"height": SIZE, "width": SIZE}
    transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return folder


def sentence_folder(folder: Path) -> Path:
    """A sentence transformer on that BERT."""
    sentences = pytest.importorskip("sentence_transformers")
    inner = bert_folder(folder / "bert")
    from sentence_transformers.sentence_transformer import modules

    word = modules.Transformer(str(inner))
    pool = modules.Pooling(16, "mean")
    sentences.SentenceTransformer(modules=[word, pool], device="cpu").save(str(folder / "all"))
    return folder / "all"


def open_clip_folder(folder: Path) -> Path:
    """A small CLIP as open_clip keeps it."""
    torch = seeded()
    open_clip = pytest.importorskip("open_clip")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 16, "head_width": 8,
                       "patch_size": 8},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 2},
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}}), "utf-8"
    )
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
