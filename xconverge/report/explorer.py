"""What the explorer of a report knows of each stimulus."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.plot.inputs import over_pairs
from xconverge.report.tables import MEASURES, group_of, needed, sides

MOST = 5000
"""Stimuli that a page holds; of more, those of every step of the ranks of dispersion."""
DIGITS = 4
CAPTIONS = ("caption", "text", "sentence", "label", "name", "description")
"""Coordinates that describe a stimulus."""


def explorer(study: xr.DataTree, caption: str | None = None) -> dict[str, Any]:
    """Numbers, text and neighbours of stimuli, to be written as JSON."""
    spread = needed(study, "dispersion")["dispersion"]
    scores = needed(study, "alignment")["mutual_knn"]
    # as in the figures and in `modulation`: layers of one network count once
    mean = over_pairs(scores)
    mean = mean.sel(stimulus=spread["stimulus"])
    kept = _kept(spread)
    spread, mean = spread.isel(stimulus=kept), mean.isel(stimulus=kept)
    labels = [str(label) for label in spread["stimulus"].values]
    told = _texts(scores.sel(stimulus=spread["stimulus"]))
    known: dict[str, Any] = {
        "sides": list(sides(study)),
        "measures": {
            str(name): [MEASURES.get(str(name), str(name)), _list(spread.sel(measure=name))]
            for name in spread["measure"].values
        },
        "alignment": _list(mean),
        "labels": labels,
        "texts": told,
        "caption": caption or next((name for name in CAPTIONS if name in told), None),
        "total": needed(study, "dispersion").sizes["stimulus"],
    }
    known["residuals"] = _residuals(study, labels)
    known["neighbors"] = _neighbors(study, labels)
    return known


def _kept(spread: xr.DataArray) -> Any:
    """Positions of all stimuli, or of ``MOST`` of them, with the lowest and the highest."""
    n = spread.sizes["stimulus"]
    if n <= MOST:
        return np.arange(n)
    order = np.argsort(spread.isel(measure=0).values, kind="stable")
    return np.sort(order[np.linspace(0, n - 1, MOST).round().astype(int)])


def _texts(spread: xr.DataArray) -> dict[str, list[str]]:
    """Coordinates of stimuli that say something: text and whole numbers."""
    return {
        str(name): [str(value) for value in coord.values]
        for name, coord in sorted(spread.coords.items(), key=lambda item: _worth(item[0]))
        if coord.dims == ("stimulus",) and name not in ("stimulus", "n_models")
        and coord.dtype.kind in "OUTiub"
    }  # fmt: skip


def _worth(name: object) -> tuple[int, str]:
    """Captions first, then labels, then the rest."""
    return (CAPTIONS.index(str(name)) if name in CAPTIONS else len(CAPTIONS), str(name))


def _residuals(study: xr.DataTree, labels: list[str]) -> dict[str, Any]:
    """How far each model is from the consensus, over the mean of all its stimuli."""
    space = group_of(study, "shared_space")
    if space is None or "residual" not in space or space["residual"].ndim != 2:
        return {}
    residual = space["residual"].transpose("model", "stimulus")
    share = residual / residual.mean("stimulus")
    share = share.sel(stimulus=labels)
    return {str(name): _list(share.sel(model=name)) for name in share["model"].values}


def _neighbors(study: xr.DataTree, labels: list[str]) -> dict[str, Any]:
    """Of each side, the neighbours of each stimulus: their places in ``labels``, or their names."""
    group = group_of(study, "neighbors")
    if group is None:
        return {}
    place = {label: i for i, label in enumerate(labels)}
    group = group.sel(stimulus=labels)
    found = {}
    for side in group["side"].values:
        one = group.sel(side=side).transpose("stimulus", "rank")
        found[str(side)] = [
            [
                [place.get(str(name), str(name)), round(float(share), 2)]
                for name, share in zip(row, shares, strict=True)
                if name
            ]
            for row, shares in zip(one["shared_neighbor"].values, one["share"].values, strict=True)
        ]
    return found


def _list(values: xr.DataArray) -> list[float | None]:
    """Numbers as JSON has them, which knows no NaN."""
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in values.values.tolist()]
