"""The demo: a whole study on the real data that is shipped with the package."""

from __future__ import annotations

import io
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import xarray as xr

from xconverge import plot
from xconverge.io.results import write_study
from xconverge.io.store import (
    create_store,
    modalities,
    open_representations,
    open_store,
    write_representations,
)
from xconverge.labels.messages import escaped
from xconverge.measures.dispersion import dispersion
from xconverge.measures.rdm import rsa
from xconverge.study.analysis import analyze, rsa_by_dispersion
from xconverge.study.binned_rsa import binned_rsa_contrast
from xconverge.study.bins import bin_labels, dispersion_bins

FACTS = {
    "mean mutual-kNN": "0.1528",
    "ViT-S/14 × MiniLM-L6": "0.1467",
    "consensus dispersion × alignment": "-0.471",
    "… density partialled out": "-0.09",
    "mean neighbourhood dispersion": "0.752",
    "alignment, lowest fifth": "0.261",
    "alignment, second fifth": "0.197",
    "alignment, third fifth": "0.136",
    "alignment, fourth fifth": "0.096",
    "alignment, highest fifth": "0.074",
    "mobilenetv2 × mean human IT": "0.266",
    "opennsfw × mean human IT": "0.290",
    "ViT-S/14 × mean human IT": "0.228",
    "hsv_hist × mean human IT": "0.169",
    "mean human IT × monkey IT": "0.439",
    "mean human IT × behaviour": "0.392",
}
"""What an independent plain-loop program found on the same data."""


@contextmanager
def shipped() -> Iterator[Path]:
    """The folder with the data that is shipped with the package."""
    with as_file(files("xconverge.cli") / "demo_data") as folder:
        yield folder


def run(out: Path, n_permutations: int = 1000) -> dict[str, Path]:
    """Run the demo, print what was found, and save everything into a folder.

    Parameters
    ----------
    out : Path
        The folder; a demo that lies there is replaced, anything else is refused.
    n_permutations : int
        Permutations behind every p-value.

    Returns
    -------
    dict of str to Path
        Where the store, the results and the figures lie.

    Raises
    ------
    ImportError
        The extras ``plot`` and ``cli`` are not installed.
    FileExistsError
        The folder holds something else.
    """
    try:
        import matplotlib

        console = _console()
    except ImportError as error:
        raise ImportError("the demo needs pip install 'xconverge[plot,cli]'") from error
    matplotlib.use("agg")
    progress = _progress(console)
    _empty(out)
    with shipped() as data:
        progress("writing the store")
        store = _write_store(data, out / "demo.zarr")
        brains = open_store(data / "demo.zarr").load()
        images = _thumbnails(data)
    human = _table_of(brains, "images92_it")["rdm"].mean(["subject", "session"])
    kinds: dict[str, Any] = {
        "groups": ("group", "subgroup"), "n_permutations": n_permutations, "rng": 0,
        "progress": progress,
    }  # fmt: skip
    every = analyze(store, n_equal_noise=0, **kinds)
    vision = open_representations(store, "vision")
    sets = {
        "vision": vision.isel(model=np.flatnonzero(vision["family"].values == "neural")),
        "language": open_representations(store, "language"),
    }
    # draws of equal noise are recomputed whole, and take a minute
    neural = analyze(sets, n_equal_noise=min(199, n_permutations), **kinds)
    progress("RSA against human IT")
    pictures = open_representations(store, "images92")
    brain = rsa_by_dispersion(pictures, human, n_permutations=n_permutations, rng=0)
    contrast = binned_rsa_contrast(
        pictures, human, dispersion(pictures, "neighborhood"), groups="category",
        n_permutations=n_permutations, rng=0,
    ).compute()  # fmt: skip
    study = xr.DataTree.from_dict(
        {"all_models": every, "neural_models": neural, "brain": brain, "brain_contrast": contrast}
    )
    write_study(out / "results.zarr", study)
    progress("drawing")
    figures = _figures(out, every, neural, brain, images)
    progress("")
    report(console, every, neural, brain, brains, human, contrast, pictures)
    where = {"store": store, "results": out / "results.zarr", **figures}
    _say_where(console, where)
    return where


def _console() -> Any:
    """A plain console: what is printed is escaped, brackets and colons in a path are its own."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, color_system=None)


def _progress(console: Any) -> Callable[[str], None]:
    """Say each step as it starts, and how long the one before took."""
    began = [time.perf_counter()]

    def step(name: str) -> None:
        now = time.perf_counter()
        if len(began) > 1:
            console.print(f"  {now - began[-1]:5.1f} s")
        began.append(now)
        if name:
            console.print(f"• {name} …", end="")
        else:
            console.print(f"Done in {now - began[0]:.0f} s.\n")

    return step


def _empty(out: Path) -> None:
    """An empty folder: a demo that lies there goes, anything else stays and is an error."""
    marker = out / ".xconverge-demo"
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise FileExistsError(
                f"{out} holds something that no demo wrote; name another folder with --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _write_store(data: Path, store: Path) -> Path:
    source = data / "demo.zarr"
    create_store(store)
    for modality in modalities(source):
        reps = open_representations(source, modality).load()
        write_representations(store, reps.astype(np.float32), modality=modality)
    return store


def _thumbnails(data: Path) -> dict[str, Any]:
    from PIL import Image

    with zipfile.ZipFile(data / "thumbnails.zip") as archive:
        return {
            Path(name).stem: np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGBA"))
            for name in archive.namelist()
            if name.endswith(".webp")
        }


def _table_of(tree: xr.DataTree, group: str) -> xr.Dataset:
    return tree[group].to_dataset()


def _figures(
    out: Path, every: xr.DataTree, neural: xr.DataTree, brain: xr.Dataset, images: dict[str, Any]
) -> dict[str, Path]:
    by_bin = plot.alignment_by_bin(neural)
    # what is drawn is the raw effect: the title says what it amounts to
    verdict = str(neural.attrs["conclusion"]).partition(":")[0]
    by_bin.set_title(
        "\n".join(["Dispersion of vision models, alignment with language:", *wrap(verdict, 52)])
    )
    matrix = plot.alignment_matrix(every)
    matrix.set_title("Alignment of vision with language models")
    in_brain = plot.rsa_by_bin(brain)
    in_brain.set_title("Vision models and human IT, by dispersion")
    spread = _table_of(neural, "dispersion")["dispersion"].sel(measure="consensus")
    order = spread["stimulus"].values[np.argsort(spread.values)].tolist()
    rows = {"lowest\ndispersion": order[:12], "highest\ndispersion": order[-12:]}
    figures = {
        "alignment_by_dispersion": by_bin,
        "alignment_of_pairs": matrix,
        "rsa_by_dispersion": in_brain,
        "stimuli": plot.stimuli(images, rows, "Dispersion of six neural vision models"),
    }
    paths = {name: out / f"{name}.png" for name in figures}
    for name, ax in figures.items():
        ax.figure.get_figure(root=True).savefig(paths[name], dpi=150)
    return paths


def report(
    console: Any,
    every: xr.DataTree,
    neural: xr.DataTree,
    brain: xr.Dataset,
    brains: xr.DataTree,
    human: xr.DataArray,
    contrast: xr.Dataset,
    pictures: xr.DataArray,
) -> None:
    """Print what was found, as tables."""
    _print_pairs(console, every)
    _print_modulation(console, neural, "six neural vision models")
    _print_modulation(console, every, "all ten vision models")
    _print_conclusion(console, neural)
    _print_brain(console, brain, brains, contrast, pictures)
    _print_facts(console, neural, brain, brains, human)


def _table(title: str, *columns: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        box=SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _print_pairs(console: Any, study: xr.DataTree) -> None:
    scores = _table_of(study, "alignment")["mutual_knn"]
    means = scores.mean("stimulus")
    names = [f"{i + 1} {name}" for i, name in enumerate(means["model_b"].values)]
    table = _table(
        f"Alignment: mean mutual-kNN (k = {scores.attrs['k']}, chance "
        f"{float(scores['chance'].mean()):.4f})",
        "vision model",
        *(name.split()[0] for name in names),
    )
    for name, row in zip(means["model_a"].values, means.values, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in row))
    console.print(table)
    console.print(f"Language models: {', '.join(names)}.\n")


def _print_modulation(console: Any, study: xr.DataTree, who: str) -> None:
    effect = _table_of(study, "modulation")
    table = _table(
        f"Modulation: dispersion of {who} and alignment",
        "dispersion", "as it is, p", "given norm", "density", "both",
    )  # fmt: skip
    fifths = _table(
        "Mean alignment by bin of dispersion, low to high",
        "dispersion", *bin_labels(effect.sizes["bin"]),
    )  # fmt: skip
    for measure in effect["measure"].values:
        one = effect.sel(measure=measure)
        cells = []
        for control in effect["control"].values:
            result = one.sel(control=control)
            cells.append(
                f"{float(result['correlation_of_mean']):+.3f} "
                f"{float(result['p_value_of_mean']):.4f}"
            )
        means = one.sel(control="none")["alignment_by_bin_of_mean"].values
        table.add_row(str(measure), *cells)
        fifths.add_row(str(measure), *(f"{value:.3f}" for value in means))
    console.print(table)
    console.print(
        "Rank correlation over stimuli and its p-value, of mixed models that know where stimuli "
        "lie and their categories; then with the norm of the stimulus, local density, or both "
        "partialled out. consensus is divided by the norm, consensus_raw is not.\n"
    )
    console.print(fifths)


def _print_conclusion(console: Any, study: xr.DataTree) -> None:
    """What the study allows to say, and the figures behind it."""
    told = _table_of(study, "equal_noise")
    effect = _table_of(study, "modulation").sel(measure="neighborhood", control="local_density")
    table = _table(
        "Is the effect real? Dispersion of the other five models, given local density",
        "mean rank correlation", "value", "interval", "p",
    )  # fmt: skip

    def ends(name: str) -> str:
        lower, upper = (float(told[f"{name}_{end}"]) for end in ("lower", "upper"))
        return f"{lower:+.3f} to {upper:+.3f}"

    table.add_row(
        "observed (p: mixed models)", f"{float(told['mean_correlation']):+.3f}",
        ends("mean_correlation"), f"{float(told['mean_p_value']):.2g}",
    )  # fmt: skip
    table.add_row("expected of equal noise", f"{float(told['expected_correlation']):+.3f}", "", "")
    table.add_row(
        "excess (p: equal noise)", f"{float(told['excess']):+.3f}", ends("excess"),
        f"{float(told['equal_noise_p_value']):.3f}",
    )  # fmt: skip
    console.print(table)
    n = int(effect["n_stimuli_of_mean"])
    console.print(
        f"{n:,} stimuli are worth {float(effect['n_effective_of_mean']):.0f} independent ones "
        f"(Moran's I {float(effect['moran_i_of_mean']):.2f}).\n"
        f"What may be said: {study.attrs['conclusion']}.\n"
    )


def _print_brain(
    console: Any,
    brain: xr.Dataset,
    brains: xr.DataTree,
    contrast: xr.Dataset,
    pictures: xr.DataArray,
) -> None:
    counts = brain["n_stimuli"].values
    bins = [f"{name}: {n}" for name, n in zip(bin_labels(len(counts)), counts, strict=True)]
    table = _table(
        "RSA with mean human IT: 92 images, and by bin of dispersion",
        "vision model", "all", *bins,
    )  # fmt: skip
    for name in brain["model_a"].values:
        one = brain.sel(model_a=name)
        values = [float(one["rsa"]), *one["rsa_by_bin"].values]
        table.add_row(str(name), *(f"{value:+.3f}" for value in values))
    mean, p_values = brain["rsa_of_mean_by_bin"].values, brain["p_value_of_mean_by_bin"].values
    table.add_row("mean RDM", "", *(f"{value:+.3f}" for value in mean))
    table.add_row("  its p-value", "", *(f"{p:.3f}" for p in p_values))
    console.print(table)
    console.print(
        f"Lowest less highest bin: {float(contrast['low_minus_high']):+.3f}, "
        f"p = {float(contrast['low_minus_high_p_value']):.2g} against maps as smooth as dispersion "
        "and as alike inside categories. Noise that grows with dispersion would do the same.\n"
    )
    human = _table_of(brains, "images92_it")["rdm"].mean("session")
    ceiling = [
        float(rsa(human.sel(subject=s), human.drop_sel(subject=s).mean("subject")))
        for s in human["subject"].values
    ]
    console.print(
        "Each subject against the mean of the others: "
        + ", ".join(f"{value:.2f}" for value in ceiling)
        + " (the noise ceiling's lower bound).\n"
    )
    _print_what_cannot_be_said(console, brains, pictures)


def _print_what_cannot_be_said(console: Any, brains: xr.DataTree, pictures: xr.DataArray) -> None:
    sizes = _table_of(brains, "images92_it")["rdm"].sizes
    bins = dispersion_bins(dispersion(pictures, "neighborhood"), 3).values
    faces = pictures["category"].values == "human face"
    inside = int((faces & (bins == 0)).sum())
    console.print(
        "What cannot be said: how much of the fall of RSA with dispersion is measurement noise. "
        f"That takes trials of four independent repetitions, and there are RDMs of "
        f"{sizes['session']} sessions of {sizes['subject']} subjects; a ceiling over subjects does "
        f"not correct for it. Nor that dispersion is what does it: the lowest bin holds {inside} "
        f"of {int(faces.sum())} human faces, which alone may lift its RSA.\n"
    )


def _print_facts(
    console: Any,
    neural: xr.DataTree,
    brain: xr.Dataset,
    brains: xr.DataTree,
    human: xr.DataArray,
) -> None:
    scores = _table_of(neural, "alignment")["mutual_knn"]
    # the plain program has the raw distance
    effect = _table_of(neural, "modulation").sel(measure="consensus_raw")
    spread = _table_of(neural, "dispersion")["dispersion"]
    monkey = _table_of(brains, "monkey_it")["rdm"]
    behaviour = _table_of(brains, "behaviour")["rdm"].mean("subject")
    found = {
        "mean mutual-kNN": f"{float(scores.mean()):.4f}",
        "ViT-S/14 × MiniLM-L6": (
            f"{float(scores.sel(model_a='vit_s14_saliency', model_b='minilm_l6').mean()):.4f}"
        ),
        "consensus dispersion × alignment": (
            f"{float(effect['correlation_of_mean'].sel(control='none')):+.3f}"
        ),
        "… density partialled out": (
            f"{float(effect['correlation_of_mean'].sel(control='local_density')):+.2f}"
        ),
        "mean neighbourhood dispersion": f"{float(spread.sel(measure='neighborhood').mean()):.3f}",
        "mean human IT × monkey IT": f"{float(rsa(human, monkey)):.3f}",
        "mean human IT × behaviour": f"{float(rsa(human, behaviour)):.3f}",
    }
    for name, label in (
        ("mobilenetv2_in1k", "mobilenetv2"),
        ("opennsfw_resnet50thin", "opennsfw"),
        ("vit_s14_saliency", "ViT-S/14"),
        ("hsv_hist", "hsv_hist"),
    ):
        found[f"{label} × mean human IT"] = f"{float(brain['rsa'].sel(model_a=name)):.3f}"
    fifths = effect["alignment_by_bin_of_mean"].sel(control="none").values
    names = [name for name in FACTS if name.endswith("fifth")]
    found |= {name: f"{value:.3f}" for name, value in zip(names, fifths, strict=True)}
    table = _table(
        "Beside an independent plain-loop program on the same data",
        "fact", "here", "there",
    )  # fmt: skip
    for name, there in FACTS.items():
        table.add_row(name, found[name], there)
    console.print(table)
    console.print(
        "Where the third digit differs: the Procrustes objective has several optima close to each "
        "other. The plain program alternates from the first model; the fit here starts from what "
        "all models share and reaches a lower objective.\n"
    )


def _say_where(console: Any, where: dict[str, Path]) -> None:
    console.print("Everything lies in")
    for name, path in where.items():
        console.print(f"  {name.replace('_', ' '):24s} {escaped(path)}", soft_wrap=True)
    console.print(
        f"\nLook on with: xconverge info {escaped(where['store'])}\n"
        f"or in Python: xconverge.open_store({str(where['results'])!r})",
        soft_wrap=True,
    )
