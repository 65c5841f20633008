"""Dispersion as a training signal: encoders of real data, with and without the penalty.

1,380 emoji and their captions, which are shipped with the package. Four vision encoders (a small
CNN on pixels; MLPs on frozen features of MobileNetV2, of a ViT-S/14, and on gradient histograms)
and four language encoders (MLPs on words, MiniLM, GloVe, spaCy) are trained on tasks of their own
modality: to tell two disturbed views of a stimulus from those of others (``views``), or to classify
Unicode's subgroup (``labels``). The penalty acts between the encoders of one modality; nothing is
ever shown to both modalities. Measured on held-out stimuli: dispersion, alignment across
modalities, linear probes, and retrieval across modalities by a linear map fitted to training
stimuli.

    pip install ".[plot,torch]" scikit-learn
    python examples/train_with_dispersion.py --seeds 5 --csv results.csv --figure results.svg

Every seed draws another split, other weights and other batches, the same for all conditions.
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional

import xconverge as xc
from xconverge.cli.demo import shipped
from xconverge.torch import DispersionRegularizer

FROZEN = {
    "vision": ["mobilenetv2_in1k", "vit_s14_saliency", "hog"],
    "language": ["minilm_l6", "glove6b_50d_mean", "spacy_sm_tok2vec"],
}
WIDTH, BATCH, DISTURBED = 64, 128, 0.3
PENALTIES = ["cosine", "cosine, centred", "neighborhood", "consensus"]
CONDITIONS = [("none", 0.0), *((name, weight) for name in PENALTIES for weight in (1.0, 10.0))]
OPTIONS = {"consensus": {"normalize": True, "tolerance": 1e-4}}
# weights are of the root of the *sum* over encoders, as in the published measure: four of them
UNITS = {"consensus": 3**0.5}


class Data:
    """Inputs of every encoder by modality, and the labels of the stimuli."""

    def __init__(self, n_stimuli: int | None = None) -> None:
        with shipped() as folder:
            sets = {
                modality: xc.open_representations(folder / "demo.zarr", modality)
                .sel(model=names)
                .load()
                for modality, names in FROZEN.items()
            }
            names = sets["vision"]["stimulus"].values
            some = np.random.default_rng(0).permutation(len(names))[:n_stimuli]
            self.stimuli = names[some].astype(object)
            images = pixels(folder / "thumbnails.zip", self.stimuli)
        self.inputs: dict[str, dict[str, torch.Tensor]] = {"vision": {"cnn": images}}
        chosen = {modality: reps.isel(stimulus=some) for modality, reps in sets.items()}
        self.inputs["language"] = {"words": words(chosen["language"]["caption"].values)}
        for modality, reps in chosen.items():
            for name, width in zip(FROZEN[modality], reps["n_features"].values, strict=True):
                values = reps.sel(model=name).values[:, :width].astype(np.float32)
                self.inputs[modality][name] = torch.from_numpy(values)
        self.labels = {
            name: np.unique(chosen["vision"][name].values.astype(str), return_inverse=True)[1]
            for name in ("group", "subgroup")
        }


def pixels(path: Path, stimuli: np.ndarray) -> torch.Tensor:
    """Thumbnails (n, 3, 32, 32) on white, from -1 to 1."""
    from PIL import Image

    white = Image.new("RGBA", (64, 64), "white")
    images = []
    with zipfile.ZipFile(path) as archive:
        for name in stimuli:
            image = Image.open(io.BytesIO(archive.read(f"{name}.webp"))).convert("RGBA")
            flat = Image.alpha_composite(white, image).convert("RGB").resize((32, 32))
            images.append(np.asarray(flat, np.float32).transpose(2, 0, 1) / 127.5 - 1)
    return torch.from_numpy(np.stack(images))


def words(captions: np.ndarray) -> torch.Tensor:
    """Which words each caption holds (n, vocabulary), rows of unit norm."""
    lists = [
        set(str(caption).lower().replace(":", ",").replace(",", " ").split())
        for caption in captions
    ]
    counts = Counter(word for row in lists for word in row)
    index = {word: i for i, word in enumerate(sorted(w for w in counts if counts[w] > 1))}
    table = np.zeros((len(lists), len(index)), np.float32)
    for row, held in zip(table, lists, strict=True):
        row[[index[word] for word in held if word in index]] = 1
    return torch.from_numpy(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1))


def encoder(inputs: torch.Tensor) -> nn.Module:
    """A small network from these inputs to WIDTH features."""
    if inputs.ndim == 2:
        return nn.Sequential(nn.Linear(inputs.shape[1], 256), nn.GELU(), nn.Linear(256, WIDTH))
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(64 * 16, WIDTH),
    )


def view(inputs: torch.Tensor) -> torch.Tensor:
    """The inputs disturbed: a share of the features, or of the patches of 4 × 4 pixels, is zero."""
    if inputs.ndim == 2:
        return functional.dropout(inputs, DISTURBED)
    kept = (torch.rand(len(inputs), 1, 8, 8) > DISTURBED).float()
    shift = torch.randint(-3, 4, (2,)).tolist()
    return torch.roll(inputs, shift, (2, 3)) * functional.interpolate(kept, scale_factor=4)


def standardized(inputs: torch.Tensor, train: np.ndarray) -> torch.Tensor:
    """Features centred, and scaled so that rare ones are not blown up; pixels as they are."""
    if inputs.ndim > 2:
        return inputs
    variance = inputs[train].var(0)
    return (inputs - inputs[train].mean(0)) / (variance + variance.mean()).sqrt()


Penalty = Callable[[list[torch.Tensor]], torch.Tensor]


def penalty_of(name: str, weight: float) -> Penalty:
    """The penalty of a condition; centred, it does not see a direction that all outputs share."""
    if name == "none":
        return lambda outputs: torch.zeros(())
    metric, *centred = name.split(", ")
    together = DispersionRegularizer(
        weight * UNITS.get(metric, 1), metric, **OPTIONS.get(metric, {})
    )
    if not centred:
        return together
    return lambda outputs: together([rows - rows.mean(0) for rows in outputs])


def contrast(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of finding the same stimulus in the other view, by cosine over 0.2."""
    one, other = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
    logits, own = one @ other.T / 0.2, torch.arange(len(one))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def train_encoders(
    inputs: dict[str, torch.Tensor],
    labels: np.ndarray,
    train: np.ndarray,
    task: str,
    penalty: Penalty,
    epochs: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Outputs (n, WIDTH) for all stimuli of encoders trained together on ``train``."""
    torch.manual_seed(seed)
    inputs = {name: standardized(values, train) for name, values in inputs.items()}
    nets = nn.ModuleDict({name: encoder(values) for name, values in inputs.items()})
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, int(labels.max()) + 1) for name in inputs})
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW([*nets.parameters(), *heads.parameters()], 1e-3)
    order = np.random.default_rng(seed)
    for _ in range(epochs):
        shuffled = order.permutation(train)
        for start in range(0, len(train) - BATCH + 1, BATCH):
            batch = torch.from_numpy(shuffled[start : start + BATCH])
            outputs = {name: nets[name](view(values[batch])) for name, values in inputs.items()}
            if task == "views":
                own = [contrast(outputs[n], nets[n](view(x[batch]))) for n, x in inputs.items()]
            else:
                own = [
                    functional.cross_entropy(heads[name](output), targets[batch])
                    for name, output in outputs.items()
                ]
            loss = torch.stack(own).mean() + penalty(list(outputs.values()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return {name: nets[name].eval()(values).numpy() for name, values in inputs.items()}


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What ridge regression of ``y`` on ``x`` says of ``new``; its penalty by leaving one out."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
    predicted: np.ndarray = model.fit(x, y).predict(new)
    return predicted


def probe(x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy of a linear classifier (ridge regression of indicators) on held-out stimuli."""
    scores = ridge(x[train], np.eye(labels.max() + 1)[labels[train]], x[test])
    return float((scores.argmax(1) == labels[test]).mean())


def retrieval(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[float, float]:
    """How often the stimulus itself is first, or among the first ten, of all held-out ones."""
    mapped, goal = ridge(x[train], y[train], x[test]), y[test] - y[train].mean(0)
    mapped = mapped - y[train].mean(0)
    mapped, goal = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (mapped, goal))
    cosine = mapped @ goal.T
    place = (cosine > np.diagonal(cosine)[:, None]).sum(1)
    return float((place < 1).mean()), float((place < 10).mean())


def measure(
    outputs: dict[str, dict[str, np.ndarray]], data: Data, train: np.ndarray, test: np.ndarray
) -> dict[str, float]:
    """Everything that is measured, on held-out stimuli."""
    held: dict[str, xr.DataArray] = {}
    found: dict[str, float] = {}
    for modality, nets in outputs.items():
        reps = xc.stack_models(
            {name: values[test] for name, values in nets.items()},
            stimuli=data.stimuli[test],
            modality=modality,
        )
        held[modality] = reps.assign_attrs(space="shared")  # the penalty made axes comparable
        aligned = xc.shared_space(reps, folds=5, tolerance=1e-5, rng=0)["aligned"]
        spreads = {
            "cosine": xc.dispersion(held[modality], "cosine"),
            "cosine, centred": xc.dispersion(xc.center(held[modality]), "cosine"),
            "consensus": xc.dispersion(aligned, "consensus", normalize=True),
            "neighborhood": xc.dispersion(reps, "neighborhood", k=10),
        }
        for name, values in spreads.items():
            found[f"dispersion {name} {modality}"] = float(values.mean())
        for label, values in data.labels.items():
            scores = [probe(x, values, train, test) for x in nets.values()]
            found[f"probe {label} {modality}"] = float(np.mean(scores))
    overlap = xc.alignment(held["vision"], held["language"], "mutual_knn", k=10)
    chance = float(overlap["chance"].mean())  # the same for all pairs: nothing is missing
    found["alignment mutual_knn, corrected"] = float((overlap.mean() - chance) / (1 - chance))
    found["alignment cka"] = float(xc.alignment(held["vision"], held["language"], "cka").mean())
    pairs = [(v, w) for v in outputs["vision"].values() for w in outputs["language"].values()]
    hits = [retrieval(*pair, train, test) for a, b in pairs for pair in ((a, b), (b, a))]
    found["retrieval top-1"], found["retrieval top-10"] = map(float, np.mean(hits, axis=0))
    return found


def run(
    tasks: list[str],
    conditions: list[tuple[str, float]],
    seeds: int,
    epochs: int,
    n_stimuli: int | None = None,
) -> pd.DataFrame:
    """One row for each task, condition, seed and measure."""
    data = Data(n_stimuli)
    rows = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(data.stimuli))
        train, test = np.split(order, [int(0.7 * len(order))])
        for task in tasks:
            for name, weight in conditions:
                began = time.perf_counter()
                penalty = penalty_of(name, weight)
                outputs = {
                    modality: train_encoders(
                        inputs, data.labels["subgroup"], train, task, penalty, epochs, seed
                    )
                    for modality, inputs in data.inputs.items()
                }
                found = measure(outputs, data, train, test)
                rows += [
                    {"task": task, "penalty": name, "weight": weight, "seed": seed}
                    | {"measure": measured, "value": value}
                    for measured, value in found.items()
                ]
                took = time.perf_counter() - began
                print(f"{task:6s} {name:15s} {weight:5g} seed {seed}: {took:.0f} s", flush=True)
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, and the paired difference to no penalty with its 95 % t interval."""
    wide = table.pivot_table(
        index=["task", "measure", "penalty", "weight"], columns="seed", values="value", sort=False
    )
    rows = []
    for (task, name, penalty, weight), values in wide.iterrows():
        gap = values - wide.loc[(task, name, "none", 0.0)]
        half = stats.t.ppf(0.975, len(gap) - 1) * gap.std() / np.sqrt(len(gap))
        row = {"task": task, "measure": name, "penalty": penalty, "weight": weight}
        row |= {"mean": values.mean(), "difference": gap.mean()}
        rows.append(row | {"low": gap.mean() - half, "high": gap.mean() + half})
    return pd.DataFrame(rows)


DRAWN = {
    "dispersion neighborhood vision": "dispersion\n(neighbourhood, vision)",
    "alignment mutual_knn, corrected": "alignment\n(mutual-kNN)",
    "alignment cka": "alignment\n(CKA)",
    "retrieval top-10": "retrieval\n(top 10)",
    "probe subgroup vision": "probe\n(vision)",
    "probe subgroup language": "probe\n(language)",
}


def draw(result: pd.DataFrame, path: Path) -> None:
    """Differences to no penalty with their intervals: a column a measure, a row a penalty."""
    from matplotlib.figure import Figure

    result = result[result["penalty"] != "none"]
    names = (result["penalty"] + ", " + result["weight"].map("{:g}".format)).unique()[::-1]
    tasks = result["task"].unique()
    figure = Figure((11, 0.4 * len(names) + 1.4), layout="constrained")
    columns = figure.subplots(1, len(DRAWN), sharey=True)
    for axes, (measure, title) in zip(columns, DRAWN.items(), strict=True):
        for number, task in enumerate(tasks):
            rows = result[(result["measure"] == measure) & (result["task"] == task)].iloc[::-1]
            place = np.arange(len(names)) + 0.2 * ((len(tasks) - 1) / 2 - number)
            middle, low, high = rows[["difference", "low", "high"]].to_numpy().T
            error = np.stack([middle - low, high - middle])
            axes.errorbar(middle, place, xerr=error, fmt="o", ms=4, label=task)
        axes.axvline(0, color="0.6", lw=1, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    columns[0].set_yticks(range(len(names)), names)
    figure.legend(*columns[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.supxlabel("difference to training without penalty, 95 % t interval over seeds", size=9)
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Train, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--tasks", nargs="+", choices=["views", "labels"], default=["views", "labels"]
    )
    parser.add_argument("--short", action="store_true", help="400 stimuli, one epoch, two seeds")
    parser.add_argument("--csv", type=Path, help="write every value here")
    parser.add_argument("--figure", type=Path, help="draw the differences here")
    options = parser.parse_args(arguments)
    with threadpool_limits(1):  # many small problems: threads would wait for each other
        if options.short:
            table = run(["views"], [("none", 0.0), ("cosine", 1.0)], 2, 1, 400)
        else:
            table = run(options.tasks, CONDITIONS, options.seeds, options.epochs)
    result = summary(table)
    with pd.option_context("display.width", 120, "display.max_rows", None):
        print(result.to_string(index=False, float_format="{:.4f}".format))
    if options.csv:
        table.to_csv(options.csv, index=False)
    if options.figure:
        draw(result, options.figure)
    return result


if __name__ == "__main__":
    main()
