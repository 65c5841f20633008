"""What the tests of the examples of extraction share."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import xconverge as xc

ROOT = Path(__file__).parents[2]
SIZE = 20
LABELS = sorted([*(f"photo {i:02d}" for i in range(20)), "deep/er/é 猫.v2", "deep/photo 00"])
SHORT = ["--size", str(SIZE), "--batch", "4"]

KILLED = """
import os, runpy, signal, sys
import xconverge as xc

write, left = xc.ModelWriter.write, int(sys.argv.pop(1))

def until_killed(writer, *batch):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(writer, *batch)

xc.ModelWriter.write = until_killed
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an example defines; it finds its neighbours as it does when it is run."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def photos(folder: Path) -> Path:
    """A folder of images of many sizes and kinds, and something else."""
    rng = np.random.default_rng(0)
    for i, label in enumerate(LABELS):
        path = folder / f"{label}.{['png', 'PNG', 'webp', 'tiff'][i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = (3, 4)[i % 2]
        pixels = rng.integers(0, 256, (30 + i, 40 - i, channels), np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def killed(name: str, writes: int, *arguments: object) -> None:
    """Run an example that SIGKILL ends instead of its write after so many."""
    command = [sys.executable, "-c", KILLED, writes, ROOT / "examples" / f"{name}.py", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")])}
    run = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr


def reading(found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the images that are read from now on."""
    read: list[str] = []
    images = found["extract"].__globals__["Images"]
    before = images.read

    def noted(self: Any, label: str) -> np.ndarray:
        read.append(label)
        values: np.ndarray = before(self, label)
        return values

    monkeypatch.setattr(images, "read", noted)
    return read


def pixels_of(folder: Path) -> dict[str, np.ndarray]:
    """The images by label, read one by one with plain Pillow; squares need no cutting."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".txt":
            image = Image.open(path).convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box = (left, top, left + side, top + side)
            square = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)
            values = np.asarray(square, np.float32).transpose(2, 0, 1) / 127.5 - 1
            found[str(path.relative_to(folder).parent / path.stem)] = values
    return found


def check(store: Path, expected: dict[str, np.ndarray], network: str = "small cnn") -> None:
    """The store holds these layers, in this order, with every label at its own row."""
    reps = xc.open_representations(store, "vision", incomplete="error")
    assert reps.model.values.tolist() == [f"{network} {layer}" for layer in expected]
    assert reps.layer.values.tolist() == list(expected)
    assert set(reps.network.values.tolist()) == {network}
    assert sorted(reps.stimulus.values.tolist()) == LABELS
    for layer, rows in expected.items():
        found = reps.sel(model=f"{network} {layer}", stimulus=LABELS).values[:, : rows.shape[1]]
        np.testing.assert_allclose(found, rows, rtol=1e-4, atol=1e-5)


def same(one: Path, other: Path) -> None:
    """Two stores hold the same, but for the last bits that the cut into batches decides."""
    a, b = (xc.open_representations(path, "vision", incomplete="error") for path in (one, other))
    xr.testing.assert_allclose(a, b.sel(model=a.model, stimulus=a.stimulus), rtol=1e-5, atol=1e-6)
    xc.validate_store(other, deep=True)
