"""The demo: a whole study on the real data that is shipped with the package."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.cli.output import console, say, show
from xconverge.cli.study import print_study, steps, study_of, told_of
from xconverge.io.demo import open_demo, shipped
from xconverge.io.results import write_study
from xconverge.io.store import (
    create_store,
    modalities,
    open_representations,
    write_representations,
)
from xconverge.labels.messages import escaped
from xconverge.measures.dispersion import dispersion
from xconverge.measures.rsa import rsa
from xconverge.report import write
from xconverge.report.tables import Table, needed, of_rsa
from xconverge.study.analysis import rsa_by_dispersion
from xconverge.study.binned_rsa import binned_rsa_contrast
from xconverge.study.bins import dispersion_bins

EMOJI = {
    "modality": "vision", "other": "language", "where": ["family=neural"],
    "target": None, "target_where": [], "on": None, "join": "exact", "repeats": "mean",
    "groups": ["group", "subgroup"],
    "neighbors": 10, "bins": 5, "rsa_bins": 3, "seed": 0,
}  # fmt: skip
"""What 'xconverge run' is asked of the emoji."""
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


def run(options: argparse.Namespace) -> None:
    """Run the demo, print what was found, and save everything into a folder.

    Parameters
    ----------
    options : Namespace
        ``out``, the folder: a demo that lies there is replaced, anything else is refused;
        ``permutations`` behind every p-value; ``json``.

    Raises
    ------
    ImportError
        The extras ``plot`` and ``cli`` are not installed.
    FileExistsError
        The folder holds something else.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the demo needs pip install 'xconverge[plot,cli]'") from error
    matplotlib.use("agg")
    where = None if options.json else console()
    progress = steps(where)
    out, n_permutations = options.out, options.permutations
    _empty(out)
    with shipped() as data:
        progress("writing the store")
        store = _write_store(data, out / "demo.zarr")
        asked = argparse.Namespace(
            **EMOJI, store=store, permutations=n_permutations,
            equal_noise=min(99, n_permutations),
        )  # fmt: skip
        study = study_of(asked, progress)
        write_study(out / "results.zarr", study, inputs=[store])
        progress("the page")
        page = write(study, out / "report.html", images=data / "thumbnails.zip")
    progress("RSA of 92 images against human IT")
    brains = open_demo("images92")
    human = brains["human_it"].mean(["subject", "session"])
    pictures = open_representations(store, "images92")
    brain = rsa_by_dispersion(pictures, human, n_permutations=n_permutations, rng=0)
    contrast = binned_rsa_contrast(
        pictures, human, dispersion(pictures, "neighborhood"), groups="category",
        n_permutations=n_permutations, rng=0,
    ).compute()  # fmt: skip
    write_study(
        out / "brain.zarr", xr.DataTree.from_dict({"rsa": brain, "binned_rsa_contrast": contrast})
    )
    progress("")
    facts, told = _facts(study, brain, brains, human), told_of(study)
    if where is not None:
        print_study(where, told)
        _print_brain(where, brain, brains, contrast, pictures)
        show(where, facts)
    paths = {
        "store": store, "results": out / "results.zarr", "brain": out / "brain.zarr",
        "report": page,
    }  # fmt: skip
    say(options, {"findings": told["findings"], "facts": facts._asdict(), **paths}, _where(paths))


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


def _print_brain(
    where: Any,
    brain: xr.Dataset,
    brains: dict[str, xr.DataArray],
    contrast: xr.Dataset,
    pictures: xr.DataArray,
) -> None:
    table = of_rsa(xr.DataTree.from_dict({"rsa": brain}))
    show(where, table._replace(title="RSA with mean human IT: 92 images, by bin of dispersion"))
    where.print(
        f"Lowest less highest bin: {float(contrast['low_minus_high']):+.3f}, "
        f"p = {float(contrast['low_minus_high_p_value']):.2g} against maps as smooth as dispersion "
        "and as alike inside categories. Noise that grows with dispersion would do the same.\n"
    )
    human = brains["human_it"].mean("session")
    ceiling = [
        float(rsa(human.sel(subject=s), human.drop_sel(subject=s).mean("subject")))
        for s in human["subject"].values
    ]
    where.print(
        "Each subject against the mean of the others: "
        + ", ".join(f"{value:.2f}" for value in ceiling)
        + " (the noise ceiling's lower bound).\n"
    )
    _print_what_cannot_be_said(where, brains, pictures)


def _print_what_cannot_be_said(
    where: Any, brains: dict[str, xr.DataArray], pictures: xr.DataArray
) -> None:
    sizes = brains["human_it"].sizes
    bins = dispersion_bins(dispersion(pictures, "neighborhood"), 3).values
    faces = pictures["category"].values == "human face"
    inside = int((faces & (bins == 0)).sum())
    where.print(
        "What cannot be said: how much of the fall of RSA with dispersion is measurement noise. "
        f"That takes trials of four independent repetitions, and there are RDMs of "
        f"{sizes['session']} sessions of {sizes['subject']} subjects; a ceiling over subjects does "
        f"not correct for it. Nor that dispersion is what does it: the lowest bin holds {inside} "
        f"of {int(faces.sum())} human faces, which alone may lift its RSA.\n"
    )


def _facts(
    study: xr.DataTree, brain: xr.Dataset, brains: dict[str, xr.DataArray], human: xr.DataArray
) -> Table:
    """What a plain program found on the same data, beside what was found here."""
    scores = needed(study, "alignment")["mutual_knn"]
    # the plain program has the raw distance
    effect = needed(study, "modulation").sel(measure="consensus_raw")
    spread = needed(study, "dispersion")["dispersion"]
    monkey = brains["monkey_it"]
    behaviour = brains["behaviour"].mean("subject")
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
    return Table(
        "Beside an independent plain-loop program on the same data",
        ["fact", "here", "there"],
        [[name, found[name], there] for name, there in FACTS.items()],
        "Where the third digit differs: the Procrustes objective has several optima close to each "
        "other. The plain program alternates from the first model; the fit here starts from what "
        "all models share and reaches a lower objective.",
    )


def _where(paths: dict[str, Path]) -> list[str]:
    return [
        "Everything lies in",
        *(f"  {name:8s} {escaped(path)}" for name, path in paths.items()),
        "",
        f"Open the page {escaped(paths['report'])} in a browser.",
        f"Look on with: xconverge info {escaped(paths['store'])}",
        f"or in Python: xconverge.open_store({str(paths['results'])!r})",
    ]
