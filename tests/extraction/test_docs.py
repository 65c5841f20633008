"""The page on extraction runs, on small networks of the names that it speaks of."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.extraction.networks import small
from tests.extraction.stimuli import TEXTS
from xconverge.cli.main import main

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "extraction.md").read_text("utf-8")


@pytest.fixture
def work(folder, tmp_path, monkeypatch):
    """A folder with what the page speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "photos").symlink_to(folder)
    rows = [f'{i},"{text}",photo {i:02d}' for i, text in enumerate(TEXTS.values())]
    (tmp_path / "captions.csv").write_text("\n".join(["id,caption,image_id", *rows]))
    # a folder of the name of a network is the network
    small.timm_folder(tmp_path / "vit_tiny_patch16_224")
    small.bert_folder(tmp_path / "bert-base-uncased")
    small.sentence_folder(tmp_path / "made").rename(tmp_path / "all-MiniLM-L6-v2")
    (tmp_path / "mine.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n\n\ndef resnet():\n"
        "    return nn.Sequential(OrderedDict(layer3=nn.Conv2d(3, 4, 9, 8), layer4=nn.ReLU()))\n"
    )
    return tmp_path


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_commands_run(work, capsys):
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    ours = [command[1:] for command in commands if command and command[0] == "xconverge"]
    assert len(ours) == 4
    for command in ours:
        assert main(command) == 0, capsys.readouterr().err
    assert "vision: 2 model, 22 stimulus" in capsys.readouterr().out


def test_the_snippets_run(work):
    snippets = blocks("python")
    assert len(snippets) == 5
    exec(compile("\n".join(snippets), "extraction.md", "exec"), {})
