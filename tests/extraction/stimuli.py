"""Stimuli of tests, and what a plain program reads of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import xconverge as xc

SIZE = 20
LABELS = sorted([*(f"photo {i:02d}" for i in range(20)), "deep/er/é 猫.v2", "deep/photo 00"])
SQUARE = {"size": SIZE}
TEXTS = {
    "cat": "A cat sleeps.",
    "dog": "The dog runs after the ball, and then it sleeps",
    "rain": "it rains",
    "snow": "snow falls on the quiet hills and on the road",
    "sun": "sun",
}


def photos(folder: Path) -> Path:
    """A folder of images of many sizes and kinds, and something else."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i, label in enumerate(LABELS):
        path = folder / f"{label}.{['png', 'PNG', 'webp', 'tiff'][i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (30 + i, 40 - i, (3, 4)[i % 2]), np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def pixels_of(folder: Path) -> np.ndarray:
    """The images in the order of `LABELS`, read one by one with plain Pillow."""
    from PIL import Image

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
            found[(path.relative_to(folder).parent / path.stem).as_posix()] = values
    return np.stack([found[label] for label in LABELS])


def check_layers(
    reps: Any, expected: dict[str, np.ndarray], network: str, labels: Any = LABELS
) -> None:
    """These layers, in this order, with every label at its own row."""
    assert reps.model.values.tolist() == [f"{network} {layer}" for layer in expected]
    assert reps.layer.values.tolist() == list(expected)
    assert set(reps.network.values.tolist()) == {network}
    assert sorted(reps.stimulus.values.tolist()) == sorted(labels)
    for layer, rows in expected.items():
        found = reps.sel(model=f"{network} {layer}", stimulus=list(labels)).values
        np.testing.assert_allclose(found[:, : rows.shape[1]], rows, rtol=1e-4, atol=1e-5)
        assert reps.n_features.sel(model=f"{network} {layer}") == rows.shape[1]


def check_same_models(one: Any, other: Any, modality: str = "vision") -> None:
    """Two stores hold the same models, to the bit, whatever the order they were completed in."""
    a, b = (xc.open_representations(path, modality, incomplete="error") for path in (one, other))
    assert a.attrs == b.attrs
    a, b = a.load(), b.load()
    b = b.sel(model=a.model, stimulus=a.stimulus)
    np.testing.assert_array_equal(a.values, b.values)
    assert (
        a.coords.to_dataset()
        .drop_vars("feature", errors="ignore")
        .equals(b.coords.to_dataset().drop_vars("feature", errors="ignore"))
    )
    xc.validate_store(other, deep=True)
