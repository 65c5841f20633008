"""A report: one HTML file that opens without a network and runs no script but its own."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge import __version__, plot
from xconverge.io.paths import local_path
from xconverge.io.store import open_store
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError
from xconverge.plot.pictures import Images
from xconverge.report.explorer import explorer
from xconverge.report.findings import HEADLINE, findings
from xconverge.report.methods import methods
from xconverge.report.pictures import thumbnails
from xconverge.report.tables import Table, models, needed, rsa_of, sides, tables, target_of

ROOM = 3 * 2**20
"""Bytes of pictures, so that a report can be sent by mail."""
LARGE = 2**19
"""Bytes of a figure, above which its pixels are kept and not its lines."""
SECTIONS = {
    "findings": "Findings",
    "explorer": "Explore the stimuli",
    "figures": "Figures",
    "tables": "Tables",
    "stimuli": "All stimuli",
    "methods": "Methods",
}


def write(
    study: xr.DataTree | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    images: Images | None = None,
    caption: str | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a study as one self-contained HTML file, to look at, to send and to keep.

    Parameters
    ----------
    study : DataTree or path
        What ``analyze`` returns, or the store that ``write_study`` or ``xconverge run`` wrote.
    path : path
        The file, ``report.html`` say.
    images : folder, ZIP file or mapping, optional
        Pictures of stimuli: files that are named as their stimulus (``s1.png``), or a dict of label
        to path or array (height, width[, channel]), floats from 0 to 1. They are made small, and
        where they take more than 3 MiB those of the lowest and highest dispersion are kept.
    caption : str, optional
        The stimulus coordinate that describes a stimulus best; by default ``caption``, ``text`` or
        the first that is there.
    title : str, optional
        What the page is called.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    SchemaError
        This is no study, or it has more dims than models and stimuli, a region or a time say.
    FileExistsError
        The file is there already.
    ValueError
        No image is that of a stimulus; the caption is no coordinate of stimuli.
    ImportError
        matplotlib, or Pillow for images, is not installed (extra ``plot``).

    Notes
    -----
    The page has findings in sentences, an explorer of all stimuli, figures, tables that can be
    sorted, and a paragraph for a methods section. It loads nothing from anywhere, and every label
    is shown as text, whatever it holds. Of more than 5,000 stimuli the explorer has 5,000.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import analyze
    >>> from xconverge.testing import planted_study
    >>> study = analyze(planted_study(3, 60, rng=0), n_permutations=19, rng=0)
    >>> write(study, tempfile.mkdtemp() + "/report.html").name
    'report.html'
    """
    if isinstance(study, str | os.PathLike):
        study = open_store(study)
    if not isinstance(study, xr.DataTree):
        raise TypeError(f"study must be what xconverge.analyze(…) returns, got {came(study)}")
    _check_dims(study)
    file = local_path(path)
    if file.exists() and not overwrite:
        raise FileExistsError(f"{file} exists already; choose another name, or overwrite=True")
    text = page(study.compute(), images, caption, title)
    file.write_text(text, encoding="utf-8")
    return file


def _check_dims(study: xr.DataTree) -> None:
    """One value a stimulus and measure, or the page would mix what does not belong together."""
    spread = needed(study, "dispersion")["dispersion"]
    scores = needed(study, "alignment")["mutual_knn"]
    for array, own in (
        (spread, {"measure", "stimulus"}),
        (scores, {"model_a", "model_b", "stimulus"}),
    ):
        extra = [str(dim) for dim in array.dims if dim not in own]
        if extra:
            raise SchemaError(
                f"{array.name} of the study has the dims {extra} too, and a report shows one of "
                f"them: analyze a set of one {extra[0]}, reps.sel({extra[0]}=…)"
            )


def page(study: xr.DataTree, images: Images | None, caption: str | None, title: str | None) -> str:
    """The text of the file."""
    known = explorer(study, caption)
    if caption is not None and caption not in known["texts"]:
        raise ValueError(
            f"caption={caption!r} is no text of the stimuli; choose one of {list(known['texts'])}"
        )
    known["images"] = (
        {} if images is None else thumbnails(images, _by_importance(study, known["labels"]), ROOM)
    )
    verdict, *others = findings(study)
    one, other = sides(study)
    parts = {
        "title": escape(title or f"Dispersion of {one}, alignment with {other}"),
        "lead": escape(_lead(study)),
        "nav": "".join(f'<a href="#{name}">{text}</a> ' for name, text in SECTIONS.items()),
        "findings": f'<p class="verdict">{escape(verdict)}</p><ul>'
        + "".join(f"<li><p>{escape(text)}</p></li>" for text in others)
        + "</ul>",
        "figures": "\n".join(_figures(study)),
        "tables": "\n".join(map(_html, tables(study))),
        "methods": escape(methods(study)),
        "footer": escape(
            f"Made by xconverge {__version__} from a study of version "
            f"{study.attrs.get('xconverge_version', 'unknown')}, seed {study.attrs.get('seed')}."
        ),
        # no "</script>" can stand in it, whatever the labels are
        "data": json.dumps(known, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        .replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
        "css": _asset("page.css"),
        "js": _asset("page.js"),
    }  # fmt: skip
    # in one pass: what is put in is not looked at again
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (files("xconverge.report") / name).read_text("utf-8")


def _lead(study: xr.DataTree) -> str:
    stimuli = needed(study, "alignment").sizes["stimulus"]
    one, _ = sides(study)
    dropped = study.attrs.get("n_dropped")
    others = f" ({dropped:,} more are not in all sets)" if dropped else ""
    return (
        f"{models(study, 'a')}, {models(study, 'b')}, {stimuli:,} stimuli{others}. "
        f"Dispersion is how differently the {one} models represent "
        f"a stimulus; alignment is how many nearest neighbours it has in common across modalities."
    )


def _by_importance(study: xr.DataTree, labels: list[str]) -> list[str]:
    """Stimuli from both ends of dispersion inwards."""
    spread = needed(study, "dispersion")["dispersion"]
    spread = spread.sel(measure=HEADLINE, stimulus=labels)
    order = np.argsort(spread.values, kind="stable").tolist()
    return [labels[order[i // 2 if i % 2 == 0 else -(i // 2) - 1]] for i in range(len(order))]


def _html(table: Table) -> str:
    """A table whose columns can be sorted."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        "<tr>"
        + f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table class="sortable"><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _figures(study: xr.DataTree) -> Iterator[str]:
    """Figures with what they show in words, for those who cannot see them."""
    one, other = sides(study)
    coords = needed(study, "dispersion").coords
    names = next((name for name in ("label", "name") if name in coords), None)
    yield _figure(
        plot.dispersion_alignment(study, measure=HEADLINE, names=names),
        f"Dispersion of {one} models and alignment with {other} models; a point is a stimulus.",
    )
    yield _figure(
        plot.alignment_by_bin(study),
        f"Mean alignment with {other} models in each bin of {one} dispersion.",
    )
    yield _figure(
        plot.alignment_matrix(study, order="cluster"),
        f"Mean alignment of each {one} model with each {other} model; models that are alike stand "
        "beside each other.",
    )
    yield _figure(
        plot.consensus_map(study, measure=HEADLINE, names=names),
        f"What the {one} models agree on: the consensus of their shared space on its first two "
        "principal components, coloured by dispersion.",
    )
    yield _figure(
        plot.dispersion_histogram(study, measure=HEADLINE),
        "How dispersion is distributed over the stimuli.",
    )
    if "rsa" in study.children:
        yield _figure(
            plot.rsa_by_bin(rsa_of(study)),
            f"RSA with {target_of(study)} in each bin of dispersion.",
        )


def _figure(ax: Any, text: str) -> str:
    import matplotlib.pyplot as plt

    figure = ax.get_figure(root=True)
    drawn, kind = _drawn(figure, "svg"), "svg+xml"
    if len(drawn) > LARGE:  # each of many points is a line of it
        drawn, kind = _drawn(figure, "png"), "png"
    plt.close(figure)
    data = base64.b64encode(drawn).decode("ascii")
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="{escape(text)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def _drawn(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, bbox_inches="tight", dpi=160)
    return file.getvalue()
