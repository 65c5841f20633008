"""Draw ``docs/images/question.png`` and ``docs/images/answer.png`` from the shipped emoji.

Run ``python docs/generate/pictures.py`` after a change to a measure that they show.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import xconverge as xc
from xconverge.io.demo import shipped

IMAGES = Path(__file__).parents[1] / "images"
BLUE, RED, INK = "#1b6ca8", "#d1495b", "#333333"


def opened() -> tuple[xr.DataArray, xr.DataArray]:
    """Six neural vision models, and six language models."""
    emoji = xc.open_demo("emoji")
    vision, language = emoji["vision"], emoji["language"]
    return vision.isel(model=np.flatnonzero(vision["family"] == "neural")), language


def thumbnails(labels: list[str]) -> dict[str, np.ndarray]:
    """Pictures of some emoji."""
    with shipped() as folder, zipfile.ZipFile(folder / "thumbnails.zip") as archive:
        return {
            label: plt.imread(io.BytesIO(archive.read(f"{label}.webp")), format="webp")
            for label in labels
        }


def apart(ordered: xr.DataArray, n: int) -> list[str]:
    """The first stimuli of differing subgroups: a row of twelve clocks says little."""
    found: dict[str, str] = {}
    for label, group in zip(ordered["stimulus"].values, ordered["subgroup"].values, strict=True):
        found.setdefault(str(group), str(label))
    return list(found.values())[:n]


def question(spread: xr.DataArray) -> None:
    """Two rows of emoji: do networks agree on these more than on those?"""
    ordered = spread.sortby(spread)
    rows = {
        "networks\nagree": apart(ordered, 10),
        "networks\ndisagree": apart(ordered.isel(stimulus=slice(None, None, -1)), 10),
    }
    images = thumbnails([label for labels in rows.values() for label in labels])
    fig, axes = plt.subplots(2, 10, figsize=(8, 1.9))
    fig.subplots_adjust(left=0.13, right=0.99, top=0.97, bottom=0.03, wspace=0.1, hspace=0.1)
    for line, (words, labels), color in zip(axes, rows.items(), (BLUE, RED), strict=True):
        for ax, label in zip(line, labels, strict=True):
            ax.imshow(images[label])
            ax.set_axis_off()
        place = {"ha": "right", "va": "center", "transform": line[0].transAxes}
        line[0].text(-0.2, 0.5, words, color=color, fontsize=11, fontweight="bold", **place)
    fig.savefig(IMAGES / "question.png", dpi=110)


def answer(spread: xr.DataArray, agreement: xr.DataArray) -> None:
    """Alignment by fifths of dispersion, with every pair of models and chance."""
    fifths = xc.dispersion_bins(spread, 5)
    each = agreement.assign_coords(fifth=fifths).groupby("fifth").mean()
    pairs = each.stack(pair=("model_a", "model_b")).transpose("fifth", "pair")
    fig, ax = plt.subplots(figsize=(6.2, 3.7), layout="constrained")
    ax.plot(range(5), pairs.values, color="#b8c4ce", lw=0.8)
    ax.plot(range(5), pairs.mean("pair").values, "o-", color=BLUE, lw=2.5, label="mean over pairs")
    ax.plot([], [], color="#b8c4ce", label="one vision and one language model")
    ax.axhline(float(agreement["chance"].mean()), color=INK, lw=1, ls="--", label="chance")
    names = ["networks agree\n(lowest fifth)", "", "", "", "networks disagree\n(highest fifth)"]
    ax.set_xticks(range(5), names)
    ax.set(
        ylabel="vision and language share neighbours", ylim=(0, None), xlabel="dispersion of emoji"
    )
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(IMAGES / "answer.png", dpi=110)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    seen, read = opened()
    dispersion = xc.dispersion(seen, "neighborhood", k=10)
    question(dispersion)
    answer(dispersion, xc.alignment(seen, read, k=10))
